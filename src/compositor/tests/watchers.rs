//! What watchers are told, when, and what becomes of those who do not answer.

use super::*;
use crate::base::Transport;
use crate::presence::pidf::Facet;
use crate::track::{DialogState, Side};

const CONTACT: (&str, &str) = ("Contact", "<sip:peer@192.0.2.7:5070>");

/// A subscription as its watcher sees it.
struct Watcher {
    package: &'static str,
    call_id: String,
    to: String,
    cseq: u32,
}

impl Watcher {
    fn new(bench: &mut Bench, package: &'static str) -> (Self, Got) {
        let call_id = format!("watch-{}", bench.number());
        let headers = [
            ("Event", package),
            ("Expires", "600"),
            CONTACT,
            ("Call-ID", &*call_id),
            ("CSeq", "1 SUBSCRIBE"),
        ];
        let mut got = bench.ask("SUBSCRIBE", &headers, b"");
        assert_eq!(got.len(), 2, "200 and NOTIFY: {got:?}");
        assert_eq!(got[0].status(), Some(200));
        let to = got[0].field("To").unwrap().to_owned();
        (Self { package, call_id, to, cseq: 1 }, got.remove(1))
    }

    fn again(&mut self, bench: &mut Bench, expires: &str) -> Vec<Got> {
        self.cseq += 1;
        let cseq = format!("{} SUBSCRIBE", self.cseq);
        let headers = [
            ("Event", self.package),
            ("Expires", expires),
            CONTACT,
            ("Call-ID", &*self.call_id),
            ("To", &*self.to),
            ("CSeq", &*cseq),
        ];
        bench.ask("SUBSCRIBE", &headers, b"")
    }
}

fn ok(bench: &mut Bench, told: &Got) -> Vec<Got> {
    let answer = answer_to(told, 200);
    bench.send(told.hop, &answer)
}

fn talk(bench: &mut Bench, tap: &mut Published, state: DialogState) -> Vec<Got> {
    let before = bench.heard.len();
    tap.say(bench, &Known::online().with(&[dialog(1, state)]));
    bench.heard.split_off(before)
}

#[test]
fn a_notify_names_its_dialog_and_its_time() {
    let mut bench = Bench::new();
    let (watcher, told) = Watcher::new(&mut bench, "dialog");
    assert!(told.text.starts_with("NOTIFY sip:peer@192.0.2.7:5070 SIP/2.0\r\n"), "{}", told.text);
    assert_eq!(told.field("From"), Some(&*watcher.to));
    assert_eq!(told.field("To"), Some("<sip:peer@example.com>;tag=peer"));
    assert_eq!(told.field("Call-ID"), Some(&*watcher.call_id));
    assert_eq!(told.field("CSeq"), Some("1 NOTIFY"));
    assert_eq!(told.field("Event"), Some("dialog"));
    assert_eq!(told.field("Subscription-State"), Some("active;expires=600"));
    assert_eq!(told.field("Contact"), Some("<sip:192.0.2.1:5060;transport=udp>"));
    assert_eq!(told.field("Content-Type"), Some("application/dialog-info+xml"));
    assert!(told.body().contains("version=\"0\"") && told.body().contains("<dialog "), "the placeholder");
}

#[test]
fn a_change_is_told_once_and_no_change_is_not() {
    let mut bench = Bench::new();
    let (_, told) = Watcher::new(&mut bench, "dialog");
    ok(&mut bench, &told);
    bench.pass(Duration::from_secs(1));
    let mut tap = Published::dialog();
    let told = talk(&mut bench, &mut tap, DialogState::Confirmed);
    assert_eq!(told.len(), 1);
    assert!(told[0].body().contains("version=\"1\"") && told[0].body().contains("confirmed"));
    ok(&mut bench, &told[0]);
    assert!(talk(&mut bench, &mut tap, DialogState::Confirmed).is_empty(), "the same again");
    tap.refresh(&mut bench);
    assert!(bench.pass(Duration::from_secs(60)).is_empty());

    let told = talk(&mut bench, &mut tap, DialogState::Terminated);
    let body = told[0].body();
    assert_eq!(body.matches("<state>terminated</state>").count(), 2, "placeholder and dialog: {body}");
    assert!(body.contains("call-id=\"call-1@192.0.2.9\""));
    ok(&mut bench, &told[0]);
    bench.pass(Duration::from_secs(1));
    tap.say(&mut bench, &Known::online().with(&[dialog(2, DialogState::Trying)]));
    let body = bench.heard.last().unwrap().body();
    assert!(!body.contains("call-1@"), "a dialog that is over is told once: {body}");
}

#[test]
fn one_notify_is_in_flight_and_the_newest_state_waits() {
    let mut bench = Bench::new();
    let (_, told) = Watcher::new(&mut bench, "dialog");
    let mut tap = Published::dialog();
    assert!(talk(&mut bench, &mut tap, DialogState::Early).is_empty());
    assert!(talk(&mut bench, &mut tap, DialogState::Confirmed).is_empty());
    bench.pass(Duration::from_millis(100));
    let told = ok(&mut bench, &told);
    assert_eq!(told.len(), 1);
    assert!(told[0].body().contains("confirmed"), "{}", told[0].text);
    // A copy of the answer changes nothing.
    assert!(ok(&mut bench, &told[0]).is_empty() && ok(&mut bench, &told[0]).is_empty());
}

#[test]
fn the_rate_is_civil_and_the_first_change_goes_out_at_once() {
    let options = PresenceServerOptions {
        notify_interval: Duration::from_secs(1),
        ..PresenceServerOptions::new([7; 32])
    };
    let mut bench = Bench::with(options, &Limits::default());
    let (_, told) = Watcher::new(&mut bench, "dialog");
    ok(&mut bench, &told);
    bench.pass(Duration::from_secs(5));
    let mut tap = Published::dialog();
    let told = talk(&mut bench, &mut tap, DialogState::Trying);
    assert_eq!(told.len(), 1, "at once");
    ok(&mut bench, &told[0]);
    assert!(talk(&mut bench, &mut tap, DialogState::Early).is_empty());
    assert!(talk(&mut bench, &mut tap, DialogState::Confirmed).is_empty());
    assert!(bench.pass(Duration::from_millis(999)).is_empty());
    let told = bench.pass(Duration::from_millis(1));
    assert_eq!(told.len(), 1);
    assert!(told[0].body().contains("confirmed"));
    ok(&mut bench, &told[0]);
    // There and back within the interval is nothing new.
    let held = crate::presence::DialogView { held: true, ..dialog(1, DialogState::Confirmed) };
    tap.say(&mut bench, &Known::online().with(&[held]));
    talk(&mut bench, &mut tap, DialogState::Confirmed);
    assert!(bench.pass(Duration::from_secs(10)).is_empty());
}

#[test]
fn a_refresh_is_answered_with_full_state_and_the_version_goes_on() {
    let mut bench = Bench::new();
    let (mut watcher, told) = Watcher::new(&mut bench, "dialog");
    ok(&mut bench, &told);
    bench.pass(Duration::from_secs(300));
    let got = watcher.again(&mut bench, "900");
    assert_eq!((got[0].status(), got[0].field("Expires")), (Some(200), Some("900")));
    assert!(got[1].body().contains("version=\"1\"") && got[1].body().contains("state=\"full\""));
    assert_eq!(got[1].field("CSeq"), Some("2 NOTIFY"));
    ok(&mut bench, &got[1]);
    let ended = bench.pass(Duration::from_secs(900));
    assert_eq!(ended[0].field("Subscription-State"), Some("terminated;reason=timeout"));
}

#[test]
fn an_unsubscribe_and_a_fetch_get_their_last_notify() {
    let mut bench = Bench::new();
    let (mut watcher, told) = Watcher::new(&mut bench, "presence");
    // The NOTIFY in flight has to be done with first.
    let got = watcher.again(&mut bench, "0");
    assert_eq!((got.len(), got[0].status(), got[0].field("Expires")), (1, Some(200), Some("0")));
    let last = ok(&mut bench, &told);
    assert_eq!(last[0].field("Subscription-State"), Some("terminated;reason=timeout"));
    assert_eq!(watcher.again(&mut bench, "600")[0].status(), Some(481), "it has ended");
    ok(&mut bench, &last[0]);
    assert_eq!(bench.server.counters().subscriptions, 0);

    let headers = [("Event", "presence"), ("Expires", "0"), CONTACT];
    let got = bench.ask("SUBSCRIBE", &headers, b"");
    assert_eq!(got[0].status(), Some(200));
    assert_eq!(got[1].field("Subscription-State"), Some("terminated;reason=timeout"));
    assert!(!got[1].body().is_empty());
    ok(&mut bench, &got[1]);
    assert_eq!(bench.server.counters().subscriptions, 0);
    assert_eq!(bench.server.counters().presentities, 0);
    assert_eq!(bench.server.poll_timeout().map(|at| at.since(bench.now).as_secs()), Some(32), "timer J");
}

#[test]
fn a_watcher_that_knows_nothing_of_it_is_not_told_again() {
    let mut bench = Bench::new();
    let (_, told) = Watcher::new(&mut bench, "dialog");
    let gone = answer_to(&told, 481);
    bench.send(told.hop, &gone);
    assert_eq!(bench.server.counters().subscriptions, 0);
    assert_eq!(bench.server.counters().given_up, 1);
    assert!(talk(&mut bench, &mut Published::dialog(), DialogState::Confirmed).is_empty());
}

#[test]
fn one_lost_notify_is_tolerated_and_two_are_not() {
    let mut bench = Bench::new();
    let (_, told) = Watcher::new(&mut bench, "dialog");
    let sent = bench.pass(Duration::from_millis(31_999));
    assert_eq!(sent.len(), 10, "retransmissions");
    assert!(sent.iter().all(|again| again.text == told.text));
    let sent = bench.pass(Duration::from_secs(31));
    assert_eq!(sent.len(), 2, "after half a minute, and its first retransmission: {sent:?}");
    assert_eq!(sent[0].field("CSeq"), Some("2 NOTIFY"));
    // An answer makes good what was lost.
    ok(&mut bench, &sent[0]);
    let mut tap = Published::dialog();
    let lost = talk(&mut bench, &mut tap, DialogState::Confirmed);
    bench.server.handle_transport_error(bench.now, lost[0].hop);
    assert!(bench.drain().is_empty());
    bench.pass(Duration::from_secs(1));
    let told = talk(&mut bench, &mut tap, DialogState::Terminated);
    assert!(told[0].body().contains("call-1@"), "it may have heard of the call: {}", told[0].text);
    bench.pass(Duration::from_secs(32));
    assert_eq!(bench.server.counters().subscriptions, 0);
}

#[test]
fn a_refusal_that_says_nothing_of_the_subscription_counts_as_lost() {
    let mut bench = Bench::new();
    let (_, told) = Watcher::new(&mut bench, "presence");
    let refusal = answer_to(&told, 503);
    assert!(bench.send(told.hop, &refusal).is_empty());
    let told = bench.pass(Duration::from_secs(30));
    assert_eq!(told.len(), 1);
    let refusal = answer_to(&told[0], 503);
    bench.send(told[0].hop, &refusal);
    assert_eq!(bench.server.counters().subscriptions, 0);
}

#[test]
fn several_subscriptions_of_one_call_id_are_told_apart_by_their_id() {
    let mut bench = Bench::new();
    let mut to = Vec::new();
    for (cseq, event) in [("1 SUBSCRIBE", "presence;id=1"), ("2 SUBSCRIBE", "presence;id=2")] {
        let headers = [("Event", event), CONTACT, ("Call-ID", "same"), ("CSeq", cseq)];
        let got = bench.ask("SUBSCRIBE", &headers, b"");
        assert_eq!((got[0].status(), got[1].field("Event")), (Some(200), Some(event)));
        to.push(got[0].field("To").unwrap().to_owned());
    }
    assert_ne!(to[0], to[1]);
    assert_eq!(bench.server.counters().subscriptions, 2);
    let headers =
        [("Event", "presence;id=2"), CONTACT, ("Call-ID", "same"), ("CSeq", "3 SUBSCRIBE"), ("To", &*to[0])];
    assert_eq!(bench.ask("SUBSCRIBE", &headers, b"")[0].status(), Some(481));
    // A watcher that begins anew has forgotten what it had; one request over two ways is one.
    let headers = [("Event", "presence;id=2"), CONTACT, ("Call-ID", "same"), ("CSeq", "4 SUBSCRIBE")];
    assert_eq!(bench.ask("SUBSCRIBE", &headers, b"")[0].status(), Some(200));
    assert_eq!(bench.ask("SUBSCRIBE", &headers, b"")[0].status(), Some(482));
    assert_eq!(bench.server.counters().subscriptions, 2);
}

#[test]
fn a_notify_goes_back_where_the_subscribe_came_from() {
    let via = |text: &str| format!("SIP/2.0/{text};branch=z9hG4bKway{}", text.len());
    let cases = [
        // Behind a NAT with rport: its outside port.
        ("UDP 10.0.0.5:5060;rport", "<sip:peer@10.0.0.5:5060>", "", "192.0.2.7:40000"),
        // Without rport: where the Contact listens, at the address that it came from.
        ("UDP 10.0.0.5", "<sip:peer@10.0.0.5:5062>", "", "192.0.2.7:5062"),
        ("UDP 10.0.0.5:5064", "<sip:peer@phone.example.com>", "", "192.0.2.7:5064"),
        // Through a proxy: to the proxy, which has the phone's URI in the request line.
        ("UDP proxy.example.com", "<sip:peer@10.0.0.5:5062>", "<sip:proxy.example.com;lr>", "192.0.2.7:5060"),
        // Over a connection: over that connection.
        ("TCP 10.0.0.5:5060", "<sip:peer@10.0.0.5:5060;transport=tcp>", "", "192.0.2.7:40000"),
    ];
    for (number, (top, contact, route, expected)) in cases.into_iter().enumerate() {
        let mut bench = Bench::new();
        let transport = if top.starts_with("TCP") { Transport::Tcp } else { Transport::Udp };
        let hop = Hop { transport, ..udp(40_000) };
        let bytes = request(
            "SUBSCRIBE",
            "sip:alice@example.com",
            number as u32,
            &[("Via", &via(top)), ("Event", "presence"), ("Contact", contact), ("Record-Route", route)],
            b"",
        );
        let got = bench.send(hop, &bytes);
        assert_eq!(got[1].hop, Hop { remote: expected.parse().unwrap(), ..hop }, "{top}");
        assert_eq!(got[1].field("Route"), Some(route).filter(|route| !route.is_empty()));
        assert_eq!(got[0].field("Record-Route"), Some(route).filter(|route| !route.is_empty()));
        let target = &contact[1..contact.len() - 1];
        assert!(got[1].text.starts_with(&format!("NOTIFY {target} SIP/2.0\r\n")), "{}", got[1].text);
        if transport == Transport::Tcp {
            assert!(got[1].field("Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.1:5060;"));
            let silent = bench.pass(Duration::from_secs(31));
            assert!(silent.is_empty(), "nothing is retransmitted over TCP");
        }
    }
}

#[test]
fn a_strict_router_gets_its_own_uri() {
    let mut bench = Bench::new();
    let headers =
        [("Event", "presence"), CONTACT, ("Record-Route", "<sip:one.example.com>, <sip:two.example.com;lr>")];
    let got = bench.ask("SUBSCRIBE", &headers, b"");
    assert!(got[1].text.starts_with("NOTIFY sip:one.example.com SIP/2.0\r\n"), "{}", got[1].text);
    assert_eq!(got[1].fields("Route"), ["<sip:two.example.com;lr>", "<sip:peer@192.0.2.7:5070>"]);
}

#[test]
fn a_stop_tells_every_watcher_to_come_again() {
    let mut bench = Bench::new();
    let (_, told) = Watcher::new(&mut bench, "presence");
    ok(&mut bench, &told);
    bench.server.stop(bench.now);
    let last = bench.drain();
    assert_eq!(last[0].field("Subscription-State"), Some("terminated;reason=deactivated"));
    ok(&mut bench, &last[0]);
    assert_eq!(bench.server.counters().subscriptions, 0);
}

#[test]
fn a_watcher_behind_presence_sees_the_moment_of_the_change() {
    let mut bench = Bench::new();
    let (_, told) = Watcher::new(&mut bench, "presence");
    ok(&mut bench, &told);
    bench.pass(Duration::from_secs(60));
    Published::presence(Facet::Combined).say(&mut bench, &Known::online());
    let stamp = format!("<timestamp>{}</timestamp>", bench.now);
    assert!(bench.heard.last().unwrap().body().contains(&stamp));
}

/// What Alice's phone does, step by step.
fn whole_calls() -> [Vec<Vec<crate::presence::DialogView>>; 2] {
    use crate::presence::DialogView;
    let call = |state| dialog(1, state);
    let over = vec![call(DialogState::Terminated)];
    let talk = |side| {
        let held = DialogView { side, held: true, ..call(DialogState::Confirmed) };
        let talking = DialogView { held: false, ..held.clone() };
        [vec![talking.clone()], vec![held], vec![talking]]
    };
    let trying = vec![DialogView { remote_tag: None, ..call(DialogState::Trying) }];
    let ringing = vec![DialogView { side: Side::Called, ..call(DialogState::Early) }];
    let calls = [(trying, Side::Caller), (ringing, Side::Called)];
    calls.map(|(first, side)| [first].into_iter().chain(talk(side)).chain([over.clone()]).collect())
}

#[test]
fn of_a_call_that_is_published_in_both_packages_each_watcher_is_told_once_a_change() {
    for steps in whole_calls() {
        for presence_first in [true, false] {
            let mut bench = Bench::new();
            let mut taps = [Published::presence(Facet::Combined), Published::dialog()];
            for tap in &mut taps {
                tap.say(&mut bench, &Known::online());
            }
            for package in ["presence", "dialog"] {
                let (_, told) = Watcher::new(&mut bench, package);
                ok(&mut bench, &told);
            }
            bench.pass(Duration::from_secs(1));
            if !presence_first {
                taps.reverse();
            }
            for (at, step) in steps.iter().enumerate() {
                let known = Known::online().with(step);
                let mut told = Vec::new();
                for tap in &mut taps {
                    bench.heard.clear();
                    tap.say(&mut bench, &known);
                    let heard = bench.heard.clone();
                    for notify in &heard {
                        ok(&mut bench, notify);
                    }
                    bench.pass(Duration::from_secs(1));
                    assert_eq!(bench.heard.len(), heard.len(), "all was told at once");
                    told.extend(heard);
                }
                let of = |package| told.iter().filter(|told| told.field("Event") == Some(package)).count();
                assert_eq!((at, of("presence"), of("dialog")), (at, 1, 1), "{told:#?}");
                let dialogs = told.iter().find(|told| told.field("Event") == Some("dialog")).unwrap();
                let live = step.iter().filter(|dialog| dialog.state != DialogState::Terminated);
                for dialog in live {
                    let (id, state) =
                        (crate::presence::dialog_info::dialog_id(dialog).unwrap(), dialog.state.name());
                    let whole = format!("id=\"{id}\" call-id=\"call-1@192.0.2.9\" local-tag=\"a\"");
                    assert!(dialogs.body().contains(&whole), "{}", dialogs.body());
                    assert!(
                        dialogs.body().contains(&format!("<state>{state}</state>")),
                        "{}",
                        dialogs.body()
                    );
                    assert_eq!(dialogs.body().contains("remote-tag=\"b\""), dialog.remote_tag.is_some());
                    assert!(dialogs.body().contains("sip:bob@example.com"));
                }
            }
        }
    }
}

#[test]
fn a_dialog_that_only_a_mark_names_is_not_listed_but_counts() {
    let mut bench = Bench::new();
    let (_, told) = Watcher::new(&mut bench, "dialog");
    ok(&mut bench, &told);
    bench.pass(Duration::from_secs(1));
    bench.heard.clear();
    let mut marks = Published::presence(Facet::Session);
    let mut dialogs = Published::dialog();
    marks.say(&mut bench, &Known::default().with(&[dialog(1, DialogState::Confirmed)]));
    assert_eq!(bench.status().1, crate::presence::Session::Talking);
    assert!(bench.heard.is_empty(), "{:?}", bench.heard);
    // The tap that has the document is behind: what is known of the dialog goes out with how far it is.
    dialogs.say(&mut bench, &Known::default().with(&[dialog(1, DialogState::Early)]));
    let told = bench.heard.pop().unwrap();
    assert!(
        told.body().contains("<state>confirmed</state>") && told.body().contains("call-1@"),
        "{}",
        told.body()
    );
    ok(&mut bench, &told);
    bench.pass(Duration::from_secs(1));
    marks.say(&mut bench, &Known::default().with(&[dialog(1, DialogState::Terminated)]));
    let told = bench.heard.pop().unwrap();
    assert!(!told.body().contains("confirmed") && told.body().contains("call-1@"), "{}", told.body());
}

#[test]
fn one_call_id_may_watch_several() {
    let mut bench = Bench::new();
    for (number, user) in (1..).zip(["alice", "bob"]) {
        let cseq = format!("{number} SUBSCRIBE");
        let (uri, common) = (format!("sip:{user}@example.com"), [("Event", "dialog"), CONTACT]);
        let headers = [("Call-ID", "watch"), ("CSeq", &*cseq), common[0], common[1]];
        let bytes = request("SUBSCRIBE", &uri, number, &headers, b"");
        let got = bench.send(udp(5070), &bytes);
        ok(&mut bench, &got[1]);
    }
    assert_eq!(bench.server.counters().subscriptions, 2);
    // Who asks anew for the same one knows nothing of the dialog that it had.
    let headers = [("Call-ID", "watch"), ("CSeq", "3 SUBSCRIBE"), ("Event", "dialog"), CONTACT];
    assert_eq!(bench.ask("SUBSCRIBE", &headers, b"")[0].status(), Some(200));
    assert_eq!(bench.server.counters().subscriptions, 2);
    bench.server.stop(bench.now);
    for told in bench.drain() {
        ok(&mut bench, &told);
    }
    bench.pass(Duration::from_secs(40));
    assert_eq!(bench.server.counters().subscriptions, 0);
}

#[test]
fn a_dialog_document_that_comes_late_says_nothing_new_to_who_watches_presence() {
    for (first, second) in [(1, 2), (2, 1), (3, 4), (4, 3), (5, 6), (6, 5)] {
        let mut bench = Bench::new();
        let (mut marks, mut dialogs) = (Published::presence(Facet::Combined), Published::dialog());
        let held = crate::presence::DialogView { held: true, ..dialog(first, DialogState::Confirmed) };
        let talking = Known::online().with(&[dialog(first, DialogState::Confirmed)]);
        marks.say(&mut bench, &talking);
        dialogs.say(&mut bench, &talking);
        let (_, told) = Watcher::new(&mut bench, "presence");
        ok(&mut bench, &told);
        bench.pass(Duration::from_secs(1));
        // The presence document follows each change, the dialog document skips one.
        for known in [vec![held.clone()], vec![held.clone(), dialog(second, DialogState::Early)]] {
            bench.heard.clear();
            marks.say(&mut bench, &Known::online().with(&known));
            let told = bench.heard[0].clone();
            ok(&mut bench, &told);
            bench.pass(Duration::from_secs(1));
        }
        bench.heard.clear();
        dialogs.say(&mut bench, &Known::online().with(&[held, dialog(second, DialogState::Early)]));
        assert!(bench.heard.is_empty(), "{first} {second}: {:?}", bench.heard);
    }
}

#[test]
fn a_notify_in_flight_goes_on_its_way_when_the_watcher_subscribes_from_elsewhere() {
    let mut bench = Bench::new();
    let headers = [("Event", "presence"), ("Contact", "<sip:peer@192.0.2.7:5070>"), ("Call-ID", "watch")];
    let told = bench.ask("SUBSCRIBE", &headers, b"").remove(1);
    let tag = told.field("From").unwrap().split(";tag=").nth(1).unwrap();
    let to = format!("<sip:alice@example.com>;tag={tag}");
    let number = bench.number();
    let again =
        request("SUBSCRIBE", "sip:alice@example.com", number, &[&headers[..], &[("To", &*to)]].concat(), b"");
    assert_eq!(bench.send(udp(5071), &again)[0].status(), Some(200));
    let sent_again = bench.pass(Duration::from_millis(500));
    assert_eq!((sent_again[0].hop, &sent_again[0].text), (told.hop, &told.text));
}
