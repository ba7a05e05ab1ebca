//! Redial in packet time: who wishes to call whom, who is asked when, and how each wish ends. SPEC section 10.
//! In: ladders, and what phones would answer. Out: pass, or the steps that were told. The voice itself is tested in its own room.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::VecDeque;

use offhook::base::{Blindness, CaptureChange, CaptureEvent, FrameCounts, Limits, Timestamp};
use offhook::redial::{
    AskEnd, AskEvent, AskId, AskOrder, Manner, RedialOptions, RedialTold, Redialer, Step, Until, WayWanted,
    WishRecord,
};
use offhook::tap::{Tap, TapOptions, TapOutput};
use support::ladder::{Ladder, START_US};
use support::{heard, wire};

/// Alice and Carol call, Bob is the one who is away, the PBX is registrar and proxy.
const PARTIES: &str = "phone alice 192.0.2.11\nphone bob 192.0.2.12\nphone carol 192.0.2.13\nproxy pbx 192.0.2.1\n\
                       server voicemail 192.0.2.30\n0.000 alice registers\n0.010 carol registers\n";
/// Bob registered, and left.
const BOB_LEFT: &str = "0.100 bob registers\n1.000 bob unregisters\n";
/// Alice calls Bob, who is not registered.
const IN_VAIN: &str =
    "2.000 [vain] alice -> pbx INVITE bob\n2.010 [vain] pbx -> alice 480\n2.012 [vain] alice -> pbx ACK\n";
/// Bob is back.
const BACK: &str = "100.000 bob registers\n";
/// Alice's phone calls Bob; they talk.
const CALL: &str = "101.000 [call] alice -> pbx -> bob INVITE\n101.100 [call] bob -> pbx -> alice 180\n\
                    103.000 [call] bob -> pbx -> alice 200\n103.010 [call] alice -> pbx -> bob ACK\n\
                    120.000 [call] alice -> pbx -> bob BYE\n120.010 [call] bob -> pbx -> alice 200\n";

const ACCEPTED: AskEvent = AskEvent::Accepted { status: 202 };
const FOLLOWED: AskEvent = AskEvent::Ended(AskEnd::Followed { status: Some(200) });
const BLIND: CaptureChange = CaptureChange::Blind { why: Blindness::Drops, since: Timestamp::EPOCH };

fn live() -> RedialOptions {
    RedialOptions::default()
}

fn dry() -> RedialOptions {
    RedialOptions { dry_run: true, ..live() }
}

fn at(second: f64) -> Timestamp {
    Timestamp::from_nanos(START_US * 1_000 + (second * 1e9).round() as u64)
}

fn second(at: Timestamp) -> f64 {
    at.since(Timestamp::from_nanos(START_US * 1_000)).as_secs_f64()
}

/// What becomes of an order, and how many seconds after it.
type Answer<'a> = Box<dyn FnMut(&AskOrder) -> Vec<(f64, AskEvent)> + 'a>;

/// A tap with redial beside it, and phones that answer as they are told to.
struct Story<'a> {
    now: Timestamp,
    tap: Tap,
    redialer: Redialer,
    answer: Answer<'a>,
    coming: VecDeque<(Timestamp, AskId, AskEvent)>,
    told: Vec<String>,
    records: Vec<WishRecord>,
    orders: Vec<AskOrder>,
    withdrawn: usize,
    end_of_withdrawn: AskEnd,
}

impl<'a> Story<'a> {
    fn new(options: RedialOptions, answer: impl FnMut(&AskOrder) -> Vec<(f64, AskEvent)> + 'a) -> Self {
        let limits = Limits::default();
        Self {
            now: Timestamp::EPOCH,
            tap: Tap::new(TapOptions { trace_observations: true, ..TapOptions::default() }, limits.clone()),
            redialer: Redialer::new(options, &limits),
            answer: Box::new(answer),
            coming: VecDeque::new(),
            told: Vec::new(),
            records: Vec::new(),
            orders: Vec::new(),
            withdrawn: 0,
            end_of_withdrawn: AskEnd::NotPickedUp { status: None },
        }
    }

    /// What a ladder's frames, and these events of the capture, bring about until `until`.
    fn hear(&mut self, calls: &str, events: &[(f64, CaptureChange)], until: f64) {
        let events: Vec<_> = events.iter().map(|(when, what)| (*when, "span", *what)).collect();
        self.hear_at(calls, &events, until);
    }

    /// The same where several interfaces are heard.
    fn hear_at(&mut self, calls: &str, events: &[(f64, &str, CaptureChange)], until: f64) {
        let ladder = Ladder::parse("redial", &format!("{PARTIES}{calls}")).unwrap();
        let mut events = events.iter().peekable();
        for (number, captured) in (1..).zip(&wire::frames(&ladder).unwrap()) {
            let frame = heard::captured(number, captured);
            while let Some((when, interface, what)) = events.next_if(|(when, ..)| at(*when) <= frame.at) {
                self.happens(at(*when), interface, *what);
            }
            self.reach(frame.at);
            self.now = frame.at;
            self.tap.handle(&frame);
            self.drain();
        }
        for (when, interface, what) in events {
            self.happens(at(*when), interface, *what);
        }
        self.reach(at(until));
    }

    fn happens(&mut self, at: Timestamp, interface: &str, what: CaptureChange) {
        self.reach(at);
        let counts = FrameCounts::default();
        self.tap.handle_capture(&CaptureEvent { at, interface: interface.into(), what, counts });
        self.drain();
    }

    /// Time passes: answers come, timers fire.
    fn reach(&mut self, until: Timestamp) {
        loop {
            let answer = self.coming.front().map(|(at, ..)| *at);
            let due =
                [answer, self.tap.poll_timeout(), self.redialer.poll_timeout()].into_iter().flatten().min();
            let Some(now) = due.filter(|&at| at <= until) else { break };
            self.now = self.now.max(now);
            self.tap.handle_timeout(now);
            self.drain();
            self.redialer.handle_timeout(now);
            while self.coming.front().is_some_and(|(at, ..)| *at <= now) {
                if let Some((_, id, event)) = self.coming.pop_front() {
                    self.redialer.handle_ask(now, id, event);
                }
            }
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.tap.poll_output() {
            match output {
                TapOutput::Observed(attributed) => self.redialer.handle(&attributed),
                TapOutput::Capture(event) => self.redialer.handle_capture(&event),
                _ => {}
            }
        }
        self.redialer.flush();
        let now = self.now;
        while let Some(told) = self.redialer.poll_told() {
            self.told.push(in_words(&told));
        }
        self.records.extend(std::iter::from_fn(|| self.redialer.poll_record()));
        while let Some(order) = self.redialer.poll_order() {
            for (seconds, event) in (self.answer)(&order) {
                self.coming.push_back((
                    now.after(std::time::Duration::from_secs_f64(seconds)),
                    order.id,
                    event,
                ));
            }
            self.coming.make_contiguous().sort_by_key(|(at, id, _)| (*at, *id));
            self.orders.push(order);
        }
        while let Some(id) = self.redialer.poll_withdrawal() {
            self.withdrawn += 1;
            self.coming.retain(|(_, of, _)| *of != id);
            self.coming.push_front((now, id, AskEvent::Ended(self.end_of_withdrawn)));
        }
    }
}

fn in_words(told: &RedialTold) -> String {
    let user = |aor: &offhook::sip::Aor| aor.user().to_owned();
    let more = match told.step {
        Step::Wished(why) | Step::Renewed(why) => {
            let status = why.status().map(|status| format!(" {status}")).unwrap_or_default();
            format!(" {}{status}", why.name())
        }
        Step::Back(by) => format!(" {}", by.name()),
        Step::Waits(what) => format!(" {}", what.name()),
        Step::Asked(manner) => format!(" {}", manner.name()),
        Step::Accepted(status) | Step::Progress(status) => format!(" {status}"),
        Step::Closed(outcome) => format!(" {}", outcome.name()),
        Step::Gone | Step::Ringing | Step::PickedUp | Step::Dialled => String::new(),
    };
    let (caller, callee) = (user(&told.caller), user(&told.callee));
    format!("{:.3} {caller}>{callee} {}{more}", second(told.at), told.step.name())
}

/// What is told of a ladder where the phones answer so, until the second `until`.
fn told_by(
    options: RedialOptions,
    calls: &str,
    answer: impl FnMut(&AskOrder) -> Vec<(f64, AskEvent)>,
    until: f64,
) -> Vec<String> {
    let mut story = Story::new(options, answer);
    story.hear(calls, &[], until);
    story.told
}

fn nobody_asks(order: &AskOrder) -> Vec<(f64, AskEvent)> {
    panic!("{order:?}")
}

fn accepts(_: &AskOrder) -> Vec<(f64, AskEvent)> {
    vec![
        (0.01, ACCEPTED),
        (0.02, AskEvent::Progress { status: 100 }),
        (4.0, AskEvent::Progress { status: 200 }),
        (4.0, FOLLOWED),
    ]
}

#[test]
fn who_called_in_vain_is_asked_when_the_callee_registers_and_they_talk() {
    let calls = format!("{BOB_LEFT}{IN_VAIN}{BACK}{CALL}");
    let told = told_by(live(), &calls, accepts, 200.0);
    let expected = [
        "2.010 alice>bob wished refused 480",
        "100.001 alice>bob back registered",
        "100.001 alice>bob asked refer",
        "100.011 alice>bob accepted 202",
        "100.021 alice>bob progress 100",
        "101.000 alice>bob dialled",
        "103.000 alice>bob closed talked",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_wish_can_end_when_the_phone_accepts() {
    let options = RedialOptions { until: Until::Refer, ..live() };
    let told = told_by(options, &format!("{BOB_LEFT}{IN_VAIN}{BACK}{CALL}"), accepts, 200.0);
    assert_eq!(told[3..], ["100.011 alice>bob accepted 202", "100.011 alice>bob closed asked"]);
}

#[test]
fn a_dry_run_asks_nobody_and_tells_the_same() {
    let calls = format!("{BOB_LEFT}{IN_VAIN}{BACK}{CALL}");
    let told = told_by(dry(), &calls, nobody_asks, 200.0);
    let expected = [
        "2.010 alice>bob wished refused 480",
        "100.001 alice>bob back registered",
        "100.001 alice>bob asked refer",
        "101.000 alice>bob dialled",
        "103.000 alice>bob closed talked",
    ];
    assert_eq!(told, expected);
    let told = told_by(RedialOptions { until: Until::Refer, ..dry() }, &calls, nobody_asks, 200.0);
    assert_eq!(told[2..], ["100.001 alice>bob asked refer", "100.001 alice>bob closed asked"]);
}

#[test]
fn a_callee_that_is_registered_is_not_wished_for() {
    for status in ["480", "503", "603"] {
        let calls = format!(
            "0.100 bob registers\n2.000 [a] alice -> pbx -> bob INVITE\n2.010 [a] bob -> pbx -> alice {status}\n\
             2.012 [a] pbx -> bob ACK\n2.013 [a] alice -> pbx ACK\n50.000 bob registers\n"
        );
        assert_eq!(told_by(live(), &calls, nobody_asks, 4_000.0), [""; 0], "{status}");
    }
}

#[test]
fn what_counts_as_in_vain() {
    let ways = [
        ("2.010 [a] pbx -> alice 404\n", "2.010 alice>bob wished refused 404"),
        ("2.010 [a] pbx -> alice 408\n", "2.010 alice>bob wished refused 408"),
        ("2.010 [a] pbx -> alice 430\n", "2.010 alice>bob wished refused 430"),
        ("2.010 [a] pbx -> alice 503\n", "2.010 alice>bob wished refused 503"),
        ("2.010 [a] pbx -> alice 486\n", ""),
        ("2.010 [a] pbx -> alice 603\n", ""),
        ("2.010 [a] pbx -> alice 403\n", ""),
        ("", "34.000 alice>bob wished unanswered"),
        (
            "2.010 [a] pbx -> alice 180\n9.000 [a] alice -> pbx CANCEL\n9.001 [a] pbx -> alice 200 CANCEL\n\
             9.002 [a] pbx -> alice 487\n",
            "9.002 alice>bob wished unanswered",
        ),
        (
            "2.010 [a] pbx -> voicemail INVITE uri=sip:bob@192.0.2.30\n2.100 [a] voicemail -> pbx -> alice 200\n\
             2.110 [a] alice -> pbx -> voicemail ACK\n9.000 [a] alice -> pbx -> voicemail BYE\n",
            "3.100 alice>bob wished answered-elsewhere",
        ),
    ];
    for (answer, expected) in ways {
        let calls = format!("{BOB_LEFT}2.000 [a] alice -> pbx INVITE bob\n{answer}");
        let told = told_by(live(), &calls, nobody_asks, 100.0);
        assert_eq!(told.first().map_or("", String::as_str), expected, "{answer}");
    }
}

#[test]
fn one_that_never_registered_counts_as_unregistered_after_a_404_or_when_all_must_have_renewed() {
    let call = |at: &str, status: u16| {
        format!("{at} [c{status}] alice -> pbx INVITE bob\n{at}5 [c{status}] pbx -> alice {status}\n")
    };
    assert_eq!(told_by(live(), &call("2.00", 480), nobody_asks, 60.0), [""; 0]);
    assert_eq!(
        told_by(live(), &call("2.00", 404), nobody_asks, 60.0),
        ["2.005 alice>bob wished refused 404"]
    );
    let late = "3000.000 alice registers\n".to_owned() + &call("3700.00", 480);
    assert_eq!(told_by(live(), &late, nobody_asks, 3_701.0), ["3700.005 alice>bob wished refused 480"]);
    // The capture was blind meanwhile: Bob may have registered then.
    let mut story = Story::new(live(), nobody_asks);
    story.hear(&late, &[(1_000.0, BLIND), (1_010.0, CaptureChange::Seeing)], 3_701.0);
    assert_eq!(story.told, [""; 0]);
}

/// The phone's registration is seen while it calls: the call is not of whom its From names.
#[test]
fn a_call_is_judged_as_whose_it_turns_out_to_be_even_after_its_answer() {
    let call = "phone desk 192.0.2.14 aor=sip:dave@example.com\n\
                2.000 [a] desk -> pbx -> voicemail INVITE bob from=sip:sales@example.com\n\
                2.100 [a] voicemail -> pbx -> desk 180\n2.200 [a] voicemail -> pbx -> desk 200\n\
                2.210 [a] desk -> pbx -> voicemail ACK\n";
    for registers in ["2.150", "2.200", "2.500"] {
        let judged = format!("{BOB_LEFT}{call}{registers} desk registers\n");
        let told = told_by(live(), &judged, nobody_asks, 50.0);
        assert_eq!(told, ["3.200 dave>bob wished answered-elsewhere"], "registers at {registers}");
    }
    let hung_up = format!("{BOB_LEFT}{call}2.500 desk registers\n2.800 [a] desk -> pbx -> voicemail BYE\n");
    assert_eq!(told_by(live(), &hung_up, nobody_asks, 50.0), ["2.800 dave>bob wished answered-elsewhere"]);
}

#[test]
fn strangers_and_whoever_is_not_let_have_no_wishes() {
    let calls = format!("{BOB_LEFT}{IN_VAIN}{BACK}");
    for options in [
        RedialOptions { allow: vec!["sip:carol@*".to_owned()], ..live() },
        RedialOptions { deny: vec!["sip:alice@*".to_owned()], ..live() },
        RedialOptions { deny: vec!["sip:bob@example.com".to_owned()], ..live() },
        RedialOptions { domains: vec!["example.net".to_owned()], ..live() },
    ] {
        assert_eq!(told_by(options, &calls, nobody_asks, 200.0), [""; 0]);
    }
    let other = IN_VAIN.replace("INVITE bob", "INVITE sip:dave@example.net").replace("480", "404");
    assert_eq!(told_by(live(), &other, nobody_asks, 200.0), [""; 0]);
    let stranger = IN_VAIN.replace("alice", "voicemail");
    assert_eq!(told_by(live(), &format!("{BOB_LEFT}{stranger}"), nobody_asks, 200.0), [""; 0]);
}

#[test]
fn callers_are_asked_oldest_first_and_spaced_out_and_a_busy_callee_is_waited_for() {
    let carols = IN_VAIN.replace("alice", "carol").replace("vain", "carols").replace("2.0", "3.0");
    let calls = format!("{BOB_LEFT}{IN_VAIN}{carols}{BACK}{CALL}");
    let told = told_by(live(), &calls, accepts, 130.0);
    let expected = [
        "2.010 alice>bob wished refused 480",
        "3.010 carol>bob wished refused 480",
        "100.001 alice>bob back registered",
        "100.001 carol>bob back registered",
        "100.001 alice>bob asked refer",
        "100.001 carol>bob waits turn",
        "100.011 alice>bob accepted 202",
        "100.021 alice>bob progress 100",
        "101.000 alice>bob dialled",
        "101.100 carol>bob waits callee",
        "103.000 alice>bob closed talked",
        "122.000 carol>bob asked refer",
        "122.010 carol>bob accepted 202",
        "122.020 carol>bob progress 100",
        "126.000 carol>bob progress 200",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_caller_in_a_call_or_away_is_asked_later() {
    let busy = "99.000 [other] alice -> pbx -> carol INVITE\n99.100 [other] carol -> pbx -> alice 180\n\
                130.000 [other] carol -> pbx -> alice 486\n130.010 [other] pbx -> carol ACK\n";
    let told = told_by(live(), &format!("{BOB_LEFT}{IN_VAIN}{busy}{BACK}"), accepts, 130.5);
    assert_eq!(
        told[1..4],
        [
            "100.001 alice>bob back registered",
            "100.001 alice>bob waits caller",
            "130.001 alice>bob asked refer"
        ]
    );
    let away = "90.000 alice unregisters\n150.000 alice registers\n";
    let told = told_by(live(), &format!("{BOB_LEFT}{IN_VAIN}{away}{BACK}"), accepts, 150.005);
    assert_eq!(told[2..4], ["100.001 alice>bob waits caller-registration", "150.001 alice>bob asked refer"]);
}

#[test]
fn a_callee_that_leaves_again_is_waited_for_again_and_a_refresh_is_no_return() {
    let calls = format!(
        "{BOB_LEFT}{IN_VAIN}90.000 alice unregisters\n{BACK}110.000 bob registers\n115.000 bob unregisters\n\
         120.000 alice registers\n130.000 bob registers\n"
    );
    let told = told_by(live(), &calls, accepts, 130.005);
    let expected = [
        "100.001 alice>bob back registered",
        "100.001 alice>bob waits caller-registration",
        "115.001 alice>bob gone",
        "130.001 alice>bob back registered",
        "130.001 alice>bob asked refer",
    ];
    assert_eq!(told[1..], expected);
}

#[test]
fn a_period_ends_and_an_invite_may_name_it() {
    let told = told_by(live(), &format!("{BOB_LEFT}{IN_VAIN}3700.000 bob registers\n"), nobody_asks, 3_800.0);
    assert_eq!(told[1..], ["3602.010 alice>bob closed expired"]);
    for (expires, until) in [("180", "3602.010"), ("900", "902.010"), ("90000000", "86402.010")] {
        let calls =
            format!("{BOB_LEFT}{}", IN_VAIN.replace("INVITE bob", &format!("INVITE bob expires={expires}")));
        let told = told_by(live(), &calls, nobody_asks, 100_000.0);
        assert_eq!(told[1..], [format!("{until} alice>bob closed expired")]);
    }
}

#[test]
fn a_second_call_in_vain_renews_the_wish() {
    let again = IN_VAIN.replace("vain", "again").replace("2.0", "50.0");
    let told = told_by(live(), &format!("{BOB_LEFT}{IN_VAIN}{again}"), nobody_asks, 4_000.0);
    assert_eq!(told[1..], ["50.010 alice>bob renewed refused 480", "3650.010 alice>bob closed expired"]);
}

#[test]
fn who_reaches_the_callee_by_itself_or_dials_the_code_wishes_no_more() {
    let away = "90.000 alice unregisters\n";
    let told = told_by(live(), &format!("{BOB_LEFT}{IN_VAIN}{away}{BACK}{CALL}"), nobody_asks, 200.0);
    assert_eq!(told.last().unwrap(), "103.000 alice>bob closed withdrawn-reached");
    let bob_calls = "101.000 [call] bob -> pbx -> alice INVITE\n102.000 [call] alice -> pbx -> bob 200\n";
    let told = told_by(dry(), &format!("{BOB_LEFT}{IN_VAIN}{BACK}{bob_calls}"), nobody_asks, 200.0);
    assert_eq!(told.last().unwrap(), "102.000 alice>bob closed talked");
    let options = RedialOptions { cancel_codes: vec![r"sip:\*37@*".to_owned()], ..live() };
    let code = "50.000 [code] alice -> pbx INVITE sip:*37@example.com\n50.010 [code] pbx -> alice 404\n";
    let told = told_by(options, &format!("{BOB_LEFT}{IN_VAIN}{code}{BACK}"), nobody_asks, 200.0);
    assert_eq!(told[1..], ["50.000 alice>bob closed withdrawn-code"]);
}

#[test]
fn a_call_that_was_asked_for_and_fails_again_is_not_asked_for_again() {
    let fails = CALL.replace(
        "101.100 [call] bob -> pbx -> alice 180\n103.000 [call] bob -> pbx -> alice 200\n",
        "101.050 [call] bob -> pbx -> alice 480\n",
    );
    let fails = fails.split("103.010").next().unwrap();
    let flaps = "102.000 bob unregisters\n104.000 bob registers\n";
    for until in [Until::Talking, Until::Refer] {
        let options = RedialOptions { until, ..live() };
        let gone = format!("{BOB_LEFT}{IN_VAIN}{BACK}100.500 bob unregisters\n{fails}{flaps}");
        let told = told_by(options, &gone, accepts, 200.0);
        let asked = told.iter().filter(|line| line.contains("asked refer")).count();
        assert_eq!(asked, 1, "{told:?}");
        let last = if until == Until::Refer { "closed asked" } else { "closed failed-again" };
        assert!(told.last().unwrap().ends_with(last), "{told:?}");
    }
}

#[test]
fn a_busy_callee_is_called_when_it_is_idle_and_who_declines_is_not_busy() {
    let bob_talks = "0.100 bob registers\n1.000 [talk] carol -> pbx -> bob INVITE\n1.500 [talk] bob -> pbx -> carol 200\n\
                     1.510 [talk] carol -> pbx -> bob ACK\n";
    let refused = "2.000 [vain] alice -> pbx -> bob INVITE\n2.010 [vain] bob -> pbx -> alice 486\n\
                   2.012 [vain] pbx -> bob ACK\n2.013 [vain] alice -> pbx ACK\n";
    let over = "60.000 [talk] carol -> pbx -> bob BYE\n60.010 [talk] bob -> pbx -> carol 200\n";
    let told = told_by(live(), &format!("{bob_talks}{refused}{over}"), accepts, 62.005);
    let expected =
        ["2.011 alice>bob wished busy 486", "62.000 alice>bob back idle", "62.000 alice>bob asked refer"];
    assert_eq!(told, expected);
    let off = RedialOptions { busy: false, ..live() };
    assert_eq!(told_by(off, &format!("{bob_talks}{refused}{over}"), nobody_asks, 90.0), [""; 0]);
    // He takes the next call at once.
    let next = "61.000 [next] carol -> pbx -> bob INVITE\n61.100 [next] bob -> pbx -> carol 180\n\
                70.000 [next] bob -> pbx -> carol 603\n";
    let told = told_by(live(), &format!("{bob_talks}{refused}{over}{next}"), accepts, 72.005);
    assert_eq!(told[1..], ["72.000 alice>bob back idle", "72.000 alice>bob asked refer"]);
    // Bob's phone rings, and he declines.
    let declined = refused
        .replace("486", "180")
        .replace("2.010", "2.005")
        .lines()
        .take(2)
        .collect::<Vec<_>>()
        .join("\n");
    let declines = format!("0.100 bob registers\n{declined}\n{}", refused.split_once('\n').unwrap().1);
    assert_eq!(told_by(live(), &declines, nobody_asks, 90.0), [""; 0]);
}

#[test]
fn a_phone_that_refuses_refer_is_recalled_and_its_kind_is_remembered() {
    let carols = IN_VAIN.replace("alice", "carol").replace("vain", "carols").replace("2.0", "3.0");
    for refusal in
        [501, 603, 408].map(|status| AskEnd::Refused { status }).into_iter().chain([AskEnd::Silent])
    {
        let answer = |order: &AskOrder| match order.manner {
            Manner::Refer => vec![(0.5, AskEvent::Ended(refusal))],
            _ => vec![
                (0.1, AskEvent::Ringing),
                (2.0, AskEvent::PickedUp),
                (2.5, ACCEPTED),
                (9.0, AskEvent::Ended(AskEnd::Followed { status: None })),
            ],
        };
        let mut story = Story::new(live(), answer);
        story.hear(&format!("{BOB_LEFT}{IN_VAIN}{carols}{BACK}"), &[], 115.0);
        let expected = [
            "100.001 alice>bob asked refer",
            "100.001 carol>bob waits turn",
            "100.501 alice>bob asked recall",
            "100.601 alice>bob ringing",
            "102.501 alice>bob picked-up",
            "103.001 alice>bob accepted 202",
            "110.501 carol>bob asked recall",
        ];
        assert_eq!(story.told[4..11], expected, "{refusal:?}");
    }
    // With a way that is fixed there is no other.
    for (way, end, outcome) in [
        (WayWanted::Refer, AskEnd::Refused { status: 501 }, "refused"),
        (WayWanted::Refer, AskEnd::Silent, "silent"),
        (WayWanted::Refer, AskEnd::Refused { status: 408 }, "silent"),
        (WayWanted::Auto, AskEnd::Refused { status: 480 }, "refused"),
        (WayWanted::Auto, AskEnd::Undeliverable, "undeliverable"),
        (WayWanted::Recall, AskEnd::NotPickedUp { status: Some(486) }, "not-picked-up"),
        (WayWanted::Recall, AskEnd::NotPickedUp { status: Some(603) }, "not-picked-up"),
        // It did not even ring.
        (WayWanted::Recall, AskEnd::NotPickedUp { status: Some(407) }, "refused"),
        (WayWanted::Recall, AskEnd::NotPickedUp { status: Some(488) }, "refused"),
        (WayWanted::Recall, AskEnd::NotPickedUp { status: Some(408) }, "silent"),
        (WayWanted::Recall, AskEnd::NotPickedUp { status: None }, "silent"),
        (WayWanted::Recall, AskEnd::HungUp, "not-picked-up"),
        (WayWanted::Recall, AskEnd::Refused { status: 501 }, "refused"),
    ] {
        let answer = |_: &AskOrder| vec![(0.5, AskEvent::Ended(end))];
        let told =
            told_by(RedialOptions { way, ..live() }, &format!("{BOB_LEFT}{IN_VAIN}{BACK}"), answer, 115.0);
        assert_eq!(told.last().unwrap(), &format!("100.501 alice>bob closed {outcome}"));
    }
    // One that rang was not silent, whoever gave up.
    for status in [None, Some(408), Some(500)] {
        let answer = |_: &AskOrder| {
            vec![(0.1, AskEvent::Ringing), (0.5, AskEvent::Ended(AskEnd::NotPickedUp { status }))]
        };
        let options = RedialOptions { way: WayWanted::Recall, ..live() };
        let told = told_by(options, &format!("{BOB_LEFT}{IN_VAIN}{BACK}"), answer, 115.0);
        assert_eq!(told.last().unwrap(), "100.501 alice>bob closed not-picked-up");
    }
}

#[test]
fn limits_hold() {
    let options = RedialOptions { per_caller_per_h: 1, ..live() };
    let twice = format!(
        "{BOB_LEFT}{IN_VAIN}{BACK}{CALL}130.000 bob unregisters\n{}140.000 bob registers\n",
        IN_VAIN.replace("vain", "again").replace("2.0", "131.0")
            + "3000.000 alice registers\n3000.000 bob registers\n"
    );
    let told = told_by(options, &twice, accepts, 3_699.0);
    assert_eq!(told[8..10], ["140.001 alice>bob back registered", "140.001 alice>bob waits rate"]);
    let told = told_by(RedialOptions { per_caller_per_h: 1, ..live() }, &twice, accepts, 3_700.002);
    assert!(told.contains(&"3700.001 alice>bob asked refer".to_owned()), "{told:?}");
    let options = RedialOptions { most_wishes: 1, ..live() };
    let carols = IN_VAIN.replace("alice", "carol").replace("vain", "carols").replace("2.0", "3.0");
    let told = told_by(options, &format!("{BOB_LEFT}{IN_VAIN}{carols}"), nobody_asks, 4.0);
    assert_eq!(told[1..], ["3.010 alice>bob closed evicted", "3.010 carol>bob wished refused 480"]);
}

#[test]
fn what_finds_a_table_full_is_counted() {
    let heard = |limits: Limits, calls: &str| {
        let mut story = Story::new(live(), nobody_asks);
        story.redialer = Redialer::new(live(), &limits);
        story.hear(calls, &[], 60.0);
        let counters = story.redialer.counters();
        (counters.wished, counters.table_full)
    };
    let roomy = Limits::default;
    let two = Limits { presentities: 2, ..roomy() };
    let alices = format!("{BOB_LEFT}{IN_VAIN}");
    assert_eq!(heard(roomy(), &alices), (1, 0));
    assert_eq!(heard(two.clone(), &alices), (0, 1), "Alice and Carol are there: no room for Bob");
    let carol_left = format!("0.050 carol unregisters\n{alices}");
    assert_eq!(heard(two, &carol_left), (1, 1), "Carol is forgotten for Bob");
    // One of them is still on its way when the other begins.
    let both = alices.clone()
        + &IN_VAIN.replace("alice", "carol").replace("vain", "carols").replace("2.000", "2.005");
    assert_eq!(heard(roomy(), &both), (2, 0));
    assert_eq!(heard(Limits { calls: 1, ..roomy() }, &both), (1, 1), "one attempt at once");
    assert_eq!(heard(Limits { calls: 0, ..roomy() }, &alices), (0, 1), "no end at all");
    let many = |count: usize| {
        let call = |number| {
            let call = IN_VAIN.replace("vain", &format!("call{number}"));
            call.replace("2.010", "3.010")
                .replace("2.012", "3.012")
                .replace("2.000", &format!("2.{number:03}"))
        };
        BOB_LEFT.to_owned() + &(1..=count).map(call).collect::<String>()
    };
    assert_eq!(heard(roomy(), &many(32)), (1, 0));
    assert_eq!(heard(roomy(), &many(33)), (1, 1), "nobody is in more calls at once");
    let mut redialer = Redialer::new(live(), &roomy());
    for number in (0..300).chain([0]) {
        let interface = format!("span{number}").into();
        let counts = FrameCounts::default();
        redialer.handle_capture(&CaptureEvent { at: at(1.0), interface, what: BLIND, counts });
    }
    assert_eq!(redialer.counters().table_full, 300 - 256, "interfaces of which it is known");
}

#[test]
fn a_code_during_the_asking_gives_it_up() {
    let options =
        RedialOptions { cancel_codes: vec!["sip:77@*".to_owned()], way: WayWanted::Recall, ..live() };
    let code = "105.000 [code] alice -> pbx INVITE sip:77@example.com\n105.010 [code] pbx -> alice 404\n";
    let mut story = Story::new(options, |_| vec![(0.1, AskEvent::Ringing)]);
    story.hear(&format!("{BOB_LEFT}{IN_VAIN}{BACK}{code}"), &[], 200.0);
    assert_eq!(story.told.last().unwrap(), "105.000 alice>bob closed withdrawn-code");
    assert_eq!(story.withdrawn, 1);
}

#[test]
fn a_callee_that_is_waited_for_is_probed_and_its_answer_counts() {
    let options = RedialOptions { probe_s: 30, ..live() };
    let mut probes = 0;
    let answer = |order: &AskOrder| match order.manner {
        Manner::Probe => {
            assert_eq!(
                (order.phone.user(), order.contact.as_deref()),
                ("bob", Some("sip:bob@192.0.2.12:5060"))
            );
            probes += 1;
            let end = if probes < 3 { AskEnd::Silent } else { AskEnd::There { status: 200 } };
            vec![(1.0, AskEvent::Ended(end))]
        }
        _ => accepts(order),
    };
    let told = told_by(options, &format!("{BOB_LEFT}{IN_VAIN}"), answer, 93.015);
    assert_eq!(told[1..3], ["93.010 alice>bob back probe", "93.010 alice>bob asked refer"]);
}

#[test]
fn the_list_survives_a_restart_and_nobody_is_asked_twice() {
    let mut first = Story::new(live(), |_| vec![(0.01, ACCEPTED)]);
    let carols = IN_VAIN.replace("alice", "carol").replace("vain", "carols").replace("2.0", "3.0");
    first.hear(&format!("{BOB_LEFT}{IN_VAIN}{carols}{BACK}"), &[], 105.0);
    assert_eq!(first.orders.len(), 1);
    let stored: Vec<String> =
        first.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    let mut second = Story::new(live(), |_| vec![(0.01, ACCEPTED)]);
    second.redialer.restore(at(106.0), stored.iter().map(|record| serde_json::from_str(record).unwrap()));
    assert_eq!(second.redialer.counters().open, 2);
    let ladder = "120.000 alice registers\n120.100 carol registers\n121.000 bob registers\n";
    second.hear(&format!("106.000 carol registers\n{ladder}"), &[], 4_000.0);
    let expected = [
        "121.001 carol>bob back registered",
        "121.001 carol>bob asked refer",
        "121.011 carol>bob accepted 202",
        "3602.010 alice>bob closed expired",
        "3603.010 carol>bob closed expired",
    ];
    assert_eq!(second.told, expected);
    let made = second.redialer.counters();
    assert_eq!((made.open, made.wished, made.outcomes), (0, 0, vec![("expired", 2)]));
}

/// Between the REFER that a phone refused and the recall the world may have changed: nobody is rung for somebody who is gone.
#[test]
fn a_recall_after_a_refused_refer_waits_for_what_any_asking_waits_for() {
    let answer = |order: &AskOrder| match order.manner {
        Manner::Refer => vec![(32.0, AskEvent::Ended(AskEnd::Silent))],
        _ => vec![(0.1, AskEvent::Ringing)],
    };
    let gone = "110.000 bob unregisters\n200.000 bob registers\n";
    let told = told_by(live(), &format!("{BOB_LEFT}{IN_VAIN}{BACK}{gone}"), answer, 201.0);
    let expected = [
        "100.001 alice>bob asked refer",
        "132.001 alice>bob gone",
        "200.001 alice>bob back registered",
        "200.001 alice>bob asked recall",
        "200.101 alice>bob ringing",
    ];
    assert_eq!(told[2..], expected);
    let options = RedialOptions { per_caller_per_h: 1, ..live() };
    let told = told_by(options, &format!("{BOB_LEFT}{IN_VAIN}{BACK}"), answer, 201.0);
    assert_eq!(told[3..], ["132.001 alice>bob waits rate"]);
}

/// A REFER that we take back ourselves says nothing of the phone.
#[test]
fn a_kind_of_phone_is_not_taken_to_refuse_what_was_withdrawn() {
    let options = RedialOptions { cancel_codes: vec!["sip:77@*".to_owned()], ..live() };
    let code = "105.000 [code] alice -> pbx INVITE sip:77@example.com\n105.010 [code] pbx -> alice 404\n";
    let later = IN_VAIN.replace("vain", "later").replace("2.0", "151.0");
    let calls =
        format!("{BOB_LEFT}{IN_VAIN}{BACK}{code}150.000 bob unregisters\n{later}160.000 bob registers\n");
    let mut story = Story::new(options, |_| Vec::new());
    story.end_of_withdrawn = AskEnd::Silent;
    story.hear(&calls, &[], 161.0);
    assert_eq!(story.told.last().unwrap(), "160.001 alice>bob asked refer");
}

/// What a run's end takes back is no refusal either, and nobody is asked any more.
#[test]
fn at_the_end_of_a_run_nobody_is_asked() {
    let mut story = Story::new(live(), |_| Vec::new());
    story.hear(&format!("{BOB_LEFT}{IN_VAIN}{BACK}"), &[], 101.0);
    story.redialer.stop();
    let id = story.orders[0].id;
    story.redialer.handle_ask(at(101.0), id, AskEvent::Ended(AskEnd::Silent));
    story.reach(at(4_000.0));
    assert_eq!(story.told.last().unwrap(), "3602.010 alice>bob closed expired");
    assert_eq!(story.orders.len(), 1);
}

/// Alice is probed for Carol's wish when she herself is to be asked.
#[test]
fn who_is_probed_can_be_asked_and_an_answer_serves_all_who_wait() {
    let options = RedialOptions { probe_s: 30, ..live() };
    let calls = format!(
        "{BOB_LEFT}{IN_VAIN}50.000 alice unregisters\n51.000 [hers] carol -> pbx INVITE alice\n\
         51.010 [hers] pbx -> carol 480\n51.012 [hers] carol -> pbx ACK\n90.000 alice registers\n95.000 bob registers\n"
    );
    let answer = |order: &AskOrder| match order.manner {
        Manner::Probe => vec![(32.0, AskEvent::Ended(AskEnd::Silent))],
        _ => Vec::new(),
    };
    let told = told_by(options.clone(), &calls, answer, 95.5);
    assert!(told.contains(&"95.001 alice>bob asked refer".to_owned()), "{told:#?}");
    // Carol waits for Bob as well; Alice's wish, by which he was probed, is over when he answers.
    let carols = IN_VAIN.replace("alice", "carol").replace("vain", "carols").replace("2.0", "3.0");
    let code = "35.000 [code] alice -> pbx INVITE sip:77@example.com\n35.010 [code] pbx -> alice 404\n";
    let options = RedialOptions { cancel_codes: vec!["sip:77@*".to_owned()], ..options };
    let answer = |order: &AskOrder| match order.manner {
        Manner::Probe => vec![(5.0, AskEvent::Ended(AskEnd::There { status: 200 }))],
        _ => Vec::new(),
    };
    let told = told_by(options, &format!("{BOB_LEFT}{IN_VAIN}{carols}{code}"), answer, 38.0);
    assert_eq!(told[3..], ["37.010 carol>bob back probe", "37.010 carol>bob asked refer"]);
}

/// While Alice's phone is recalled, somebody else calls her too: that call is no part of it.
#[test]
fn a_call_that_comes_in_during_a_recall_counts_as_a_call() {
    let options = RedialOptions { way: WayWanted::Recall, ..live() };
    let calls = format!(
        "{BOB_LEFT}{IN_VAIN}4.000 carol unregisters\n5.000 [hers] alice -> pbx INVITE carol\n\
         5.010 [hers] pbx -> alice 480\n5.012 [hers] alice -> pbx ACK\n{BACK}\
         100.100 [ours] pbx -> alice INVITE\n100.200 [ours] alice -> pbx 180\n\
         101.000 [other] bob -> pbx -> alice INVITE\n101.100 [other] alice -> pbx -> bob 180\n\
         102.000 [ours] pbx -> alice CANCEL\n102.001 [ours] alice -> pbx 200 CANCEL\n102.002 [ours] alice -> pbx 487 INVITE\n\
         110.000 carol registers\n"
    );
    let answer = |_: &AskOrder| {
        vec![(0.2, AskEvent::Ringing), (2.0, AskEvent::Ended(AskEnd::NotPickedUp { status: None }))]
    };
    let told = told_by(options, &calls, answer, 111.0);
    assert_eq!(told.last().unwrap(), "110.001 alice>carol waits caller", "{told:#?}");
}

/// As long as one interface is blind, the capture is.
#[test]
fn of_several_interfaces_all_must_see() {
    let late =
        "3000.000 alice registers\n3700.000 [a] alice -> pbx INVITE bob\n3700.005 [a] pbx -> alice 480\n";
    let mut story = Story::new(live(), nobody_asks);
    story.hear_at(
        late,
        &[(0.5, "span1", BLIND), (0.6, "span2", BLIND), (0.7, "span2", CaptureChange::Seeing)],
        3_701.0,
    );
    assert_eq!(story.told, [""; 0]);
}
