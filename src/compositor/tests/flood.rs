//! What many and hostile peers may not do to the server: its tables stay within their bounds, and time clears them.

use super::*;
use crate::base::Random;
use crate::presence::pidf::Facet;
use crate::presence::{DialogView, EventPackage};
use crate::track::DialogState;

const CONTACT: (&str, &str) = ("Contact", "<sip:peer@192.0.2.7:5070>");

fn small() -> Limits {
    Limits {
        presentities: 20,
        publications_per_presentity: 3,
        published_bytes: 30_000,
        ended_dialogs_per_presentity: 4,
        subscriptions: 15,
        subscriptions_per_presentity: 4,
        server_transactions: 50,
        server_transaction_bytes: 20_000,
        ..Limits::default()
    }
}

const fn below(random: &mut Random, end: u64) -> u64 {
    random.next() % end
}

/// One of some requests, as often as not broken.
fn anything(random: &mut Random, number: u32) -> Vec<u8> {
    let user = format!("sip:user{}@example.com", below(random, 40));
    let state =
        [DialogState::Early, DialogState::Confirmed, DialogState::Terminated][below(random, 3) as usize];
    let calls: Vec<DialogView> = (0..below(random, 6)).map(|call| dialog(call, state)).collect();
    let known = Known::online().with(&calls);
    let (call_id, expires) = (format!("c{}", below(random, 50)), ["0", "60", "600", "4294967295"]);
    let expires = expires[below(random, 4) as usize];
    let branch = format!("SIP/2.0/UDP 192.0.2.7;rport;branch=z9hG4bK{}", below(random, 500));
    let long = "x".repeat(below(random, 6_000) as usize);
    let package = EventPackage::ALL[below(random, 2) as usize];
    let body = match package {
        EventPackage::Presence => known.pidf(Facet::Combined),
        EventPackage::Dialog => known.dialog_info(),
    };
    let common = [("Via", &*branch), ("Call-ID", &*call_id), ("Expires", expires), ("Event", package.name())];
    let publish = [("Content-Type", package.content_type()), ("Subject", &*long)];
    let route = format!("<sip:{long}@192.0.2.8;lr>");
    let subscribe = [CONTACT, ("Record-Route", &*route)];
    let mut bytes = match below(random, 3) {
        0 => request(
            "PUBLISH",
            &user,
            number,
            &[common, [publish[0], publish[1], CONTACT, CONTACT]].concat()[..6],
            &body,
        ),
        1 => request(
            "SUBSCRIBE",
            &user,
            number,
            &[&common[..], &subscribe[..1 + below(random, 2) as usize]].concat(),
            b"",
        ),
        _ => request("REGISTER", &user, number, &[&common[..3], &publish[..1]].concat(), &body),
    };
    if below(random, 2) == 0 {
        for _ in 0..below(random, 4) {
            let at = below(random, bytes.len() as u64) as usize;
            match below(random, 3) {
                0 => bytes[at] = below(random, 256) as u8,
                1 => bytes.truncate(at + 1),
                _ => bytes = [&bytes[..at], &bytes[..at], &bytes[at..]].concat(),
            }
        }
    }
    bytes
}

#[test]
fn a_flood_keeps_within_the_bounds_and_time_clears_all_that_it_left() {
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let mut bench = Bench::with(PresenceServerOptions::new([7; 32]), &small());
        let mut taken = (0, 0);
        for number in 0..1_500 {
            let bytes = anything(&mut random, number);
            let hop = udp(5_070 + below(&mut random, 20) as u16);
            bench.server.handle_message(bench.now, hop, &bytes);
            while let Some(sent) = bench.server.poll_transmit() {
                // Watchers answer with anything, twice, or not at all.
                let notify = Got { hop: sent.hop, text: String::from_utf8_lossy(&sent.bytes).into_owned() };
                let status = 100 + below(&mut random, 600) as u16;
                if notify.is_notify() && !notify.text.contains('\u{fffd}') && below(&mut random, 4) > 0 {
                    let answer = answer_to(&notify, status);
                    bench.server.handle_message(bench.now, sent.hop, &answer);
                    bench.server.handle_message(bench.now, sent.hop, &answer);
                }
            }
            if below(&mut random, 10) == 0 {
                bench.server.handle_transport_error(bench.now, hop);
            }
            if below(&mut random, 20) == 0 {
                bench.now = bench.now.after_s(below(&mut random, 100) as u32);
                bench.server.handle_timeout(bench.now);
            }
            assert!(bench.server.poll_timeout().is_none_or(|at| at > bench.now));
            let (counters, limits) = (bench.server.counters(), small());
            assert!(counters.presentities <= limits.presentities, "{seed}: {counters:?}");
            assert!(counters.subscriptions <= limits.subscriptions, "{seed}: {counters:?}");
            assert!(bench.server.presentities.bytes() <= limits.published_bytes, "{seed}");
            taken = (taken.0.max(counters.publications), taken.1.max(counters.subscriptions));
        }
        assert!(taken.0 > 10 && taken.1 > 5, "the flood does flood: {taken:?}");
        // Nobody answers any more: two hours later nothing is left but what was counted.
        while let Some(at) = bench.server.poll_timeout() {
            bench.server.handle_timeout(at);
            while bench.server.poll_transmit().is_some() {}
            assert!(at < bench.now.after_s(2 * 3_600 + 600), "{seed}: it does not end");
        }
        let counters = bench.server.counters();
        let left = (counters.presentities, counters.publications, counters.subscriptions);
        assert_eq!((left, bench.server.presentities.bytes()), ((0, 0, 0), 0), "{seed}");
    }
}

#[test]
fn documents_together_are_bounded_and_one_that_goes_makes_room() {
    let body = Known::online().pidf(Facet::Combined);
    let limits = Limits { published_bytes: body.len() * 2 + 200, ..Limits::default() };
    let mut bench = Bench::with(PresenceServerOptions::new([7; 32]), &limits);
    let publish = |bench: &mut Bench, tag: Option<&str>, expires_s, body: &[u8]| {
        bench.publish(EventPackage::Presence, tag, expires_s, body)
    };
    let first = publish(&mut bench, None, 60, &body);
    let second = publish(&mut bench, None, 600, &body);
    let mut tag = second.field("SIP-ETag").map(str::to_owned);
    assert_eq!(publish(&mut bench, None, 600, &body).status(), Some(503));
    // What is there may be refreshed and said anew, but not be made much longer.
    for body in [&b""[..], &body] {
        let again = publish(&mut bench, tag.as_deref(), 600, body);
        assert_eq!(again.status(), Some(200), "{}", again.text);
        tag = again.field("SIP-ETag").map(str::to_owned);
    }
    let long = [&body[..], " ".repeat(1_000).as_bytes()].concat();
    assert_eq!(publish(&mut bench, tag.as_deref(), 600, &long).status(), Some(503));
    assert_eq!(publish(&mut bench, tag.as_deref(), 600, b"").status(), Some(200), "it is still there");
    assert_eq!(first.status(), Some(200));
    bench.pass(Duration::from_secs(60));
    assert_eq!(publish(&mut bench, None, 600, &body).status(), Some(200), "the first has expired");
}

#[test]
fn a_subscription_does_not_keep_a_book() {
    let mut bench = Bench::new();
    let long = format!("<sip:{}@192.0.2.8;lr>", "x".repeat(5_000));
    for field in ["Record-Route", "Contact", "Call-ID", "From", "To"] {
        let value = if field == "From" { format!("{long};tag=a") } else { long.clone() };
        let mut headers = vec![("Event", "dialog"), (field, &*value)];
        if field != "Contact" {
            headers.push(CONTACT);
        }
        let got = bench.ask("SUBSCRIBE", &headers, b"");
        assert_eq!((got.len(), got[0].status()), (1, Some(513)), "{field}");
    }
    assert_eq!(bench.server.counters().presentities, 0);
}
