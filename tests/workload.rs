//! What the benches measure with is traffic that a tap understands. In: workloads, through the whole tap. Out: pass, or what
//! a workload should not have. Knows nothing of time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;
#[path = "bench/workload/mod.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod workload;

use std::collections::BTreeMap;

use offhook::base::Limits;
use offhook::presence::ChangeKind;
use offhook::tap::{Counters, Tap, TapOptions, TapOutput};
use support::heard;
use support::wire;
use workload::{Kind, Workload, Written};

const USERS: u32 = 1_000;
const MESSAGES: u64 = 10_000;

fn written(kind: Kind, seed: u64) -> (Vec<u8>, Written) {
    let mut file = Vec::new();
    let workload = Workload { kind, users: USERS, messages: MESSAGES, hours: 1, seed };
    let written = workload.write(&mut file).unwrap();
    (file, written)
}

struct Heard {
    counters: Counters,
    /// How often each rule changed a status.
    rules: BTreeMap<String, u64>,
}

fn hear(file: &[u8]) -> Heard {
    let mut tap = Tap::new(TapOptions::default(), Limits::default());
    let mut rules = BTreeMap::new();
    for (number, frame) in (1..).zip(wire::frames_of_pcap(file)) {
        tap.handle(&heard::captured(number, &frame));
        while let Some(output) = tap.poll_output() {
            if let TapOutput::Change(change) = output
                && change.kind == ChangeKind::Status
            {
                *rules.entry(change.because.rule.name().to_owned()).or_default() += 1;
            }
        }
    }
    Heard { counters: tap.counters(), rules }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (one, other) = (written(Kind::Udp, 1), written(Kind::Udp, 1));
    assert!(one == other, "two runs of one seed differ");
    assert!(one.0 != written(Kind::Udp, 2).0, "two seeds do not differ");
}

#[test]
fn the_hour_is_what_it_says() {
    let (file, written) = written(Kind::Udp, 1);
    let heard = hear(&file);
    let counters = &heard.counters;
    assert_eq!((counters.frames, counters.sip_messages), (MESSAGES, MESSAGES));
    assert_eq!((counters.presentities, written.registered), (u64::from(USERS), u64::from(USERS)));
    assert!(counters.oddities.is_empty(), "{:?}", counters.oddities);
    let bytes = written.sip_bytes / MESSAGES;
    assert!((680..740).contains(&bytes), "{bytes} bytes a frame");
    assert!(written.most_talking >= 10, "only {} calls at once", written.most_talking);
    // Everything that calls do happens, and nothing is inferred from silence.
    for rule in [
        "register-200",
        "invite",
        "invite-180",
        "invite-200",
        "bye",
        "cancel",
        "invite-failed",
        "hold",
        "resume",
    ] {
        assert!(heard.rules.contains_key(rule), "no {rule} in {:?}", heard.rules);
    }
    assert_eq!(heard.rules.len(), 9, "{:?}", heard.rules);
    assert_eq!(heard.rules["invite"], written.calls);
    assert_eq!(heard.rules["register-200"], u64::from(USERS));
}

#[test]
fn with_rtp_and_over_tcp_the_same_happens() {
    let plain = hear(&written(Kind::Udp, 1).0);
    let (file, rtp) = written(Kind::UdpAndRtp, 1);
    assert_eq!((rtp.rtp, rtp.frames), (4 * MESSAGES, 5 * MESSAGES));
    let with_rtp = hear(&file);
    let (file, tcp) = written(Kind::Tcp, 1);
    assert!(tcp.frames > 2 * MESSAGES);
    let over_tcp = hear(&file);
    for (name, heard) in [("with RTP", with_rtp), ("over TCP", over_tcp)] {
        assert_eq!(heard.counters.sip_messages, MESSAGES, "{name}");
        assert_eq!(heard.rules, plain.rules, "{name}");
        assert!(heard.counters.oddities.is_empty(), "{name}: {:?}", heard.counters.oddities);
    }
}

#[test]
fn open_calls_stay() {
    let (file, written) = written(Kind::Open { dialogs: 1_500 }, 1);
    let heard = hear(&file);
    assert_eq!((written.registered, written.calls, written.most_talking), (u64::from(USERS), 1_500, 1_500));
    assert!(heard.counters.ends.is_empty(), "{:?}", heard.counters.ends);
    assert!(heard.counters.oddities.is_empty(), "{:?}", heard.counters.oddities);
}
