//! What a tap claims while its capture is blind, and after: what may have passed unseen is not claimed as if all had been
//! seen. SPEC sections 5, 7 and 11. The capture's events go in beside the frames of a ladder.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use offhook::base::{Blindness, CaptureChange, CaptureEvent, FrameCounts, Limits, Timestamp};
use offhook::presence::ChangeKind;
use offhook::tap::{Tap, TapOptions, TapOutput};
use support::ladder::{Ladder, START_US};
use support::wire::CapturedFrame;
use support::{heard, wire};

const PARTIES: &str = "phone alice 192.0.2.11\nphone bob 192.0.2.12\nproxy pbx 192.0.2.1\n";

const BLIND: CaptureChange = CaptureChange::Blind { why: Blindness::Drops, since: Timestamp::EPOCH };
/// Of that time no frame is shown.
const DOWN: CaptureChange = CaptureChange::Blind { why: Blindness::Down, since: Timestamp::EPOCH };
const SEEING: CaptureChange = CaptureChange::Seeing;

fn at(second: f64) -> Timestamp {
    Timestamp::from_nanos(START_US * 1_000 + (second * 1e9) as u64)
}

fn event(second: f64, interface: &str, what: CaptureChange) -> CaptureEvent {
    CaptureEvent { at: at(second), interface: interface.into(), what, counts: FrameCounts::default() }
}

/// The status lines of a ladder during which this happened to the capture: second, who, terminal/session, rule,
/// confidence; and the lines about the capture.
fn told(calls: &str, events: &[CaptureEvent], until: f64) -> Vec<String> {
    let ladder = Ladder::parse("blind", &format!("{PARTIES}{calls}")).unwrap();
    let frames = wire::frames(&ladder).unwrap();
    let mut tap = Tap::new(TapOptions::default(), Limits::default());
    let mut told = Vec::new();
    let mut events = events.iter().peekable();
    let mut is_down = false;
    for (number, captured) in (1..).zip(&frames) {
        let frame = heard::captured(number, captured);
        while let Some(event) = events.next_if(|event| event.at <= frame.at) {
            is_down = event.what == DOWN;
            tap.handle_capture(event);
            drain(&mut tap, &mut told);
        }
        if is_down {
            continue;
        }
        tap.handle(&frame);
        drain(&mut tap, &mut told);
    }
    for event in events {
        tap.handle_capture(event);
        drain(&mut tap, &mut told);
    }
    tap.handle_timeout(at(until));
    drain(&mut tap, &mut told);
    told
}

fn drain(tap: &mut Tap, told: &mut Vec<String>) {
    while let Some(output) = tap.poll_output() {
        let since_start = |time: Timestamp| time.since(at(0.0)).as_secs();
        match output {
            TapOutput::Change(change) if change.kind == ChangeKind::Status => told.push(format!(
                "{} {} {}/{} {} {}",
                since_start(change.at),
                change.aor.user(),
                change.state.terminal.name(),
                change.state.session.name(),
                change.because.rule.name(),
                change.state.confidence.name()
            )),
            TapOutput::Capture(event) => {
                let what = if event.what == SEEING { "seeing" } else { "blind" };
                told.push(format!("{} {what} {}", since_start(event.at), event.interface));
            }
            _ => {}
        }
    }
}

/// Lines about one user, or about the capture.
fn of(who: &str, told: &[String]) -> Vec<String> {
    told.iter().filter(|line| line.contains(who)).cloned().collect()
}

const CALL: &str = "
0.000 alice registers
0.100 bob registers
1.000 alice -> pbx -> bob INVITE
1.500 bob -> pbx -> alice 200
1.600 alice -> pbx -> bob ACK
15.000 alice -> pbx -> bob INVITE sdp=sendonly
15.100 bob -> pbx -> alice 200
15.200 alice -> pbx -> bob ACK
20.000 alice -> pbx -> bob BYE
20.100 bob -> pbx -> alice 200
30.000 [next] bob -> pbx -> alice INVITE
31.000 alice registers
31.100 bob registers
32.000 [next] alice -> pbx -> bob 486
32.010 [next] pbx -> alice ACK
32.020 [next] bob -> pbx ACK
";

#[test]
fn after_a_blind_spell_a_status_is_degraded_until_it_is_seen_anew() {
    let sighted = told(CALL, &[], 40.0);
    assert_eq!(
        of("alice", &sighted),
        [
            "0 alice online/idle register-200 degraded",
            "1 alice online/calling invite full",
            "1 alice online/talking invite-200 full",
            "15 alice online/held hold full",
            "20 alice online/idle bye full",
        ]
    );
    let blinded = told(CALL, &[event(10.0, "eth1", BLIND), event(12.0, "eth1", SEEING)], 40.0);
    assert_eq!(
        blinded.iter().skip(5).collect::<Vec<_>>(),
        [
            "10 blind eth1",
            "12 seeing eth1",
            "15 alice online/held hold degraded",
            "15 bob online/held hold degraded",
            // The end is seen; that they are still registered is not.
            "20 alice online/idle bye degraded",
            "20 bob online/idle bye degraded",
            "30 bob online/calling invite degraded",
            // Both registrations were refreshed meanwhile.
            "32 bob online/idle invite-failed full",
        ]
    );
}

#[test]
fn during_a_blind_spell_everything_is_degraded_and_one_seeing_interface_does_not_heal_another() {
    let events = [
        event(0.5, "eth1", BLIND),
        event(0.6, "eth1", BLIND),
        event(0.7, "eth2", BLIND),
        event(0.8, "eth1", SEEING),
        event(0.9, "eth3", SEEING),
    ];
    let blinded = told(CALL, &events, 40.0);
    assert_eq!(
        of("eth", &blinded),
        ["0 blind eth1", "0 blind eth2", "0 seeing eth1"],
        "a change is told once"
    );
    let statuses = blinded.iter().filter(|line| !line.contains("eth")).collect::<Vec<_>>();
    assert_eq!(statuses.len(), 11);
    assert!(statuses.iter().all(|line| line.ends_with("degraded")), "{statuses:#?}");
}

#[test]
fn who_called_and_who_rang_go_on_in_the_call_whose_answer_a_spell_has_hidden() {
    let spell = [event(2.0, "eth1", DOWN), event(4.0, "eth1", SEEING)];
    for holds in [["alice", "bob"], ["bob", "alice"]] {
        let [one, other] = holds;
        let calls = format!(
            "
0.000 alice registers
0.100 bob registers
1.000 alice -> pbx -> bob INVITE
1.500 bob -> pbx -> alice 180
3.000 bob -> pbx -> alice 200
3.100 alice -> pbx -> bob ACK
5.000 {one} -> pbx -> {other} INVITE sdp=sendonly
5.100 {other} -> pbx -> {one} 200
5.200 {one} -> pbx -> {other} ACK
9.000 alice -> pbx -> bob BYE
9.100 bob -> pbx -> alice 200
"
        );
        assert_eq!(
            told(&calls, &spell, 400.0).get(2..).unwrap_or_default(),
            [
                "1 alice online/calling invite full",
                "1 bob online/ringing invite-180 full",
                "2 blind eth1",
                "4 seeing eth1",
                "5 alice online/held hold degraded",
                "5 bob online/held hold degraded",
                "9 alice online/idle bye degraded",
                "9 bob online/idle bye degraded",
            ],
            "{one} holds the call"
        );
    }
}

const EXPIRING: &str = "
0.000 alice registers granted=20
0.100 bob registers granted=20
7.000 bob registers granted=20
8.000 alice -> pbx -> bob INVITE
8.050 bob -> pbx -> alice 180
8.100 bob -> pbx -> alice 486
8.110 pbx -> bob ACK
8.120 alice -> pbx ACK
";

#[test]
fn a_registration_that_may_have_been_refreshed_unseen_is_not_surely_over() {
    let last = |events: &[CaptureEvent]| {
        let told = told(EXPIRING, events, 40.0);
        ["alice", "bob"].map(|who| of(who, &told).pop().unwrap_or_default())
    };
    let sure = "27 bob offline/idle register-expired full";
    assert_eq!(last(&[]), ["20 alice offline/idle register-expired full", sure]);
    let spell = [event(5.0, "eth1", BLIND), event(6.0, "eth1", SEEING)];
    assert_eq!(last(&spell), ["20 alice offline/idle register-expired degraded", sure]);
    let still_blind = [event(19.0, "eth1", BLIND)];
    let [alice, bob] = last(&still_blind);
    assert_eq!(alice, "20 alice offline/idle register-expired degraded");
    assert_eq!(bob, "27 bob offline/idle register-expired degraded");
}

#[test]
fn silence_that_may_have_been_broken_unseen_proves_less() {
    let unanswered = "
0.000 alice registers
0.100 alice registers
1.000 alice -> pbx -> bob INVITE
";
    let last =
        |events: &[CaptureEvent]| of("alice", &told(unanswered, events, 60.0)).pop().unwrap_or_default();
    assert_eq!(last(&[]), "33 alice online/idle no-response weak");
    let spell = [event(10.0, "eth1", BLIND), event(10.5, "eth1", SEEING)];
    assert_eq!(last(&spell), "33 alice online/idle no-response degraded");
    let before = [event(0.05, "eth1", BLIND), event(0.06, "eth1", SEEING)];
    assert_eq!(last(&before), "33 alice online/idle no-response weak", "the spell was over before");
}

#[test]
fn that_a_phone_unregistered_unseen_is_possible_until_it_registers_again_however_long_that_takes() {
    let calls = "
0.000 alice registers granted=86400
0.100 bob registers granted=86400
20000.000 alice -> pbx -> bob INVITE
20005.000 bob -> pbx -> alice 200
20005.100 alice -> pbx -> bob ACK
20006.000 alice registers granted=86400
20010.000 alice -> pbx -> bob BYE
20010.100 bob -> pbx -> alice 200
";
    let of_both = |events: &[CaptureEvent]| {
        let told = told(calls, events, 20_011.0);
        ["alice", "bob"].map(|who| of(who, &told).pop().unwrap_or_default())
    };
    let end = |who: &str, confidence: &str| format!("20010 {who} online/idle bye {confidence}");
    assert_eq!(of_both(&[]), [end("alice", "full"), end("bob", "full")]);
    let spell = [event(10.0, "eth1", BLIND), event(12.0, "eth1", SEEING)];
    assert_eq!(of_both(&spell), [end("alice", "full"), end("bob", "degraded")]);
}

#[test]
fn no_session_that_a_spell_may_have_hidden_matters_after_four_hours() {
    let events = [event(10.0, "eth1", BLIND), event(12.0, "eth1", SEEING)];
    let registrations = "
0.000 alice registers granted=60
14000.000 alice registers granted=60
14500.000 alice registers granted=60
";
    assert_eq!(
        of("alice", &told(registrations, &events, 14_501.0)),
        [
            "0 alice online/idle register-200 degraded",
            "60 alice offline/idle register-expired degraded",
            "14000 alice online/idle register-200 degraded",
            "14060 alice offline/idle register-expired degraded",
            "14500 alice online/idle register-200 full",
        ]
    );
}

/// Both are seen from here on: a session is sure once a call was seen.
const SHORT_CALL: &str = "
3.000 alice registers granted=60
3.100 bob registers granted=60
4.000 alice -> pbx -> bob INVITE
5.000 bob -> pbx -> alice 200
5.100 alice -> pbx -> bob ACK
6.000 alice -> pbx -> bob BYE
6.100 bob -> pbx -> alice 200
";

#[test]
fn what_ran_out_between_two_runs_of_a_recording_is_not_sure_and_a_new_file_of_one_run_changes_nothing() {
    let last = |second| {
        let events = [event(0.0, "eth1", CaptureChange::Began), event(100.0, "eth1", second)];
        of("alice", &told(SHORT_CALL, &events, 200.0)).pop().unwrap()
    };
    assert_eq!(last(CaptureChange::Continues), "63 alice offline/idle register-expired full");
    assert_eq!(last(CaptureChange::Began), "63 alice offline/idle register-expired degraded");
}

#[test]
fn a_run_that_ended_blind_does_not_make_the_next_one_blind() {
    let began = |second| event(second, "eth1", CaptureChange::Began);
    let alice = of("alice", &told(SHORT_CALL, &[began(0.0), event(1.0, "eth1", BLIND), began(2.0)], 10.0));
    assert_eq!(alice.last().unwrap(), "6 alice online/idle bye full");
}

#[test]
fn while_the_clock_that_was_set_back_has_not_caught_up_times_stand_still_and_no_timer_fires() {
    let calls = "
0.000 alice registers granted=20
12.000 bob registers granted=60
15.000 bob registers granted=60
";
    let ladder = Ladder::parse("set back", &format!("{PARTIES}{calls}")).unwrap();
    let frames = wire::frames(&ladder).unwrap();
    let (before, after) = frames.split_at(frames.len() / 3);
    let mut tap = Tap::new(TapOptions::default(), Limits::default());
    let mut lines = Vec::new();
    for (number, captured) in (1..).zip(before) {
        tap.handle(&heard::captured(number, captured));
    }
    let jumped = CaptureChange::Blind { why: Blindness::ClockJump, since: at(9.8) };
    tap.handle_capture(&event(10.0, "eth1", jumped));
    // A minute back: what came at 12 s bears a stamp of 48 s before the beginning.
    for (number, captured) in (10..).zip(after) {
        let captured = CapturedFrame { at_us: captured.at_us - 60_000_000, ..captured.clone() };
        tap.handle(&heard::captured(number, &captured));
        tap.handle_timeout(heard::captured(number, &captured).at);
    }
    tap.handle_capture(&event(11.0, "eth1", SEEING));
    tap.handle_timeout(at(25.0));
    drain(&mut tap, &mut lines);
    assert_eq!(
        lines,
        [
            "0 alice online/idle register-200 degraded",
            "10 blind eth1",
            "10 bob online/idle register-200 degraded",
            "11 seeing eth1",
            "20 alice offline/idle register-expired degraded",
        ]
    );
    assert_eq!(tap.counters().oddities, [("time_went_back", after.len() as u64)]);
}

#[test]
fn media_that_nobody_could_see_have_not_ceased() {
    let call = "0.000 alice registers\n1.000 alice -> pbx INVITE sip:bob@example.com\n1.100 pbx -> alice 200\n\
                1.120 alice -> pbx ACK\n2.000 alice -> pbx rtp for=10\n2.000 pbx -> alice rtp for=10\n\
                55.000 [one] pbx -> alice OPTIONS\n69.000 [more] pbx -> alice OPTIONS\n80.000 [two] pbx -> alice OPTIONS\n100.000 [three] pbx -> alice OPTIONS\n\
                120.000 [four] pbx -> alice OPTIONS\n";
    let over = |events: &[CaptureEvent]| {
        let lines = told(call, events, 130.0);
        lines.into_iter().find(|line| line.contains("media-silent"))
    };
    assert_eq!(over(&[]).as_deref(), Some("71 alice online/idle media-silent weak"));
    let spell = [event(40.0, "eth1", BLIND), event(45.0, "eth1", SEEING)];
    assert_eq!(over(&spell).as_deref(), Some("105 alice online/idle media-silent degraded"));
    assert_eq!(over(&[event(40.0, "eth1", BLIND)]), None);
    // Of another run, an hour later for all we know.
    assert_eq!(
        over(&[event(40.0, "eth1", CaptureChange::Began)]).as_deref(),
        Some("105 alice online/idle media-silent degraded")
    );
}
