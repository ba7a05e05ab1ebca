//! A message that changes nothing costs no memory, not even for a moment; one that begins something costs a bounded number of
//! allocations. In: traffic that is repeated, through the whole tap; a global allocator that counts for each thread. Out: pass,
//! or what allocates too often. Knows nothing of where it happens.
//!
//! `cargo test --test allocations -- --nocapture` shows the counts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;
#[path = "bench/workload/mod.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod workload;

use std::fmt::Write as _;

use offhook::base::Limits;
use offhook::presence::ChangesWanted;
use offhook::tap::{Tap, TapOptions};
use support::heard;
use support::ladder::Ladder;
use support::wire::{self, CapturedFrame};
use workload::{Kind, Workload};

const SIP_PORT: [u8; 2] = 5060_u16.to_be_bytes();

/// What happens again and again in a call that goes on.
struct Again {
    what: &'static str,
    /// How they are connected.
    parties: &'static str,
    call: Call,
    /// Lines of a ladder, after which comes more of the same.
    lines: &'static str,
    /// Allocations that one message may cost, in thousandths.
    allowed_thousandths: u64,
}

/// How far the call is.
enum Call {
    Ringing,
    Answered,
}

const UDP: &str = "phone alice 192.0.2.11\nphone bob 192.0.2.12\nproxy pbx 192.0.2.1\n";
const TCP: &str = "phone alice 192.0.2.11 tcp\nphone bob 192.0.2.12 tcp\nproxy pbx 192.0.2.1 tcp\n";
const RINGING: &str = "\
    0.000 alice registers\n\
    0.100 bob registers\n\
    1.000 alice -> pbx -> bob INVITE\n\
    1.0005 pbx -> alice 100\n\
    1.100 bob -> pbx -> alice 180\n";
const ANSWERED: &str = "\
    2.000 bob -> pbx -> alice 200\n\
    2.020 alice -> pbx -> bob ACK\n";
/// The time of a line is put in for `@`.
const REPETITIONS: usize = 1_200;
const BEGIN_S: f64 = 10.0;
const APART_S: f64 = 0.3;
/// After so long, tables are as large as they will be.
const WARM_US: u64 = 220_000_000;

const AGAIN: &[Again] = &[
    Again {
        what: "while it rings: a retransmitted INVITE",
        parties: UDP,
        call: Call::Ringing,
        lines: "@ alice -> pbx INVITE again",
        allowed_thousandths: 80,
    },
    Again {
        what: "while it rings: a 100 and a 180 once more",
        parties: UDP,
        call: Call::Ringing,
        lines: "@ pbx -> alice 100 again\n@ bob -> pbx -> alice 180 again",
        allowed_thousandths: 0,
    },
    Again {
        what: "a retransmitted INVITE",
        parties: UDP,
        call: Call::Answered,
        lines: "@ alice -> pbx INVITE again",
        allowed_thousandths: 60,
    },
    Again {
        what: "a retransmitted 180",
        parties: UDP,
        call: Call::Answered,
        lines: "@ bob -> pbx 180 again",
        allowed_thousandths: 0,
    },
    Again {
        what: "a retransmitted 200 and its ACK",
        parties: UDP,
        call: Call::Answered,
        lines: "@ bob -> pbx -> alice 200 INVITE again\n@ alice -> pbx -> bob ACK again",
        allowed_thousandths: 0,
    },
    Again {
        what: "a retransmitted REGISTER",
        parties: UDP,
        call: Call::Answered,
        lines: "@ alice -> pbx REGISTER again",
        allowed_thousandths: 10,
    },
    Again {
        what: "a REGISTER that refreshes, and its 200",
        parties: UDP,
        call: Call::Answered,
        lines: "@ alice registers",
        allowed_thousandths: 0,
    },
    Again {
        what: "the same, challenged",
        parties: UDP,
        call: Call::Answered,
        lines: "@ alice registers challenged",
        allowed_thousandths: 0,
    },
    Again {
        what: "an OPTIONS inside the dialog, and its 200",
        parties: UDP,
        call: Call::Answered,
        lines: "@ alice -> pbx -> bob OPTIONS\n@ bob -> pbx -> alice 200 OPTIONS",
        allowed_thousandths: 0,
    },
    Again {
        what: "an INFO inside the dialog, and its 200",
        parties: UDP,
        call: Call::Answered,
        lines: "@ bob -> pbx -> alice INFO\n@ alice -> pbx -> bob 200 INFO",
        allowed_thousandths: 0,
    },
    Again {
        what: "an UPDATE that refreshes the session, and its 200",
        parties: UDP,
        call: Call::Answered,
        lines: "@ alice -> pbx -> bob UPDATE nosdp\n@ bob -> pbx -> alice 200 UPDATE nosdp",
        allowed_thousandths: 0,
    },
    Again {
        what: "a re-INVITE that changes nothing, its 200 and its ACK",
        parties: UDP,
        call: Call::Answered,
        lines: "@ alice -> pbx -> bob INVITE\n@ bob -> pbx -> alice 200 INVITE\n@ alice -> pbx -> bob ACK",
        allowed_thousandths: 340,
    },
    Again {
        what: "an OPTIONS of the proxy, and its 200",
        parties: UDP,
        call: Call::Answered,
        lines: "@ [ping] pbx -> alice OPTIONS\n@ [ping] alice -> pbx 200 OPTIONS",
        allowed_thousandths: 0,
    },
    Again {
        what: "over TCP: an OPTIONS inside the dialog, and its 200",
        parties: TCP,
        call: Call::Answered,
        lines: "@ alice -> pbx -> bob OPTIONS\n@ bob -> pbx -> alice 200 OPTIONS",
        allowed_thousandths: 0,
    },
    Again {
        what: "over TCP, cut in three: the same",
        parties: TCP,
        call: Call::Answered,
        lines: "@ alice -> pbx -> bob OPTIONS segments=3\n@ bob -> pbx -> alice 200 OPTIONS segments=3",
        allowed_thousandths: 0,
    },
    Again {
        what: "over TCP: a REGISTER that refreshes, and its 200",
        parties: TCP,
        call: Call::Answered,
        lines: "@ alice registers",
        allowed_thousandths: 0,
    },
];

struct Listener {
    tap: Tap,
    frames: u64,
}

impl Listener {
    fn new() -> Self {
        // As `offhook replay` has it: documents are built where somebody takes them.
        let options = TapOptions { changes: ChangesWanted::Lines, ..TapOptions::default() };
        Self { tap: Tap::new(options, Limits::default()), frames: 0 }
    }

    fn hear(&mut self, frames: &[CapturedFrame]) {
        for frame in frames {
            self.frames += 1;
            self.tap.handle(&heard::captured(self.frames, frame));
            while self.tap.poll_output().is_some() {}
        }
    }

    fn messages(&self) -> u64 {
        self.tap.counters().sip_messages
    }

    /// How many allocations that cost.
    fn allocations(&mut self, frames: &[CapturedFrame]) -> u64 {
        allocation_counter::measure(|| self.hear(frames)).count_total
    }
}

fn frames_of(again: &Again) -> Vec<CapturedFrame> {
    let Again { parties, lines, .. } = again;
    let answered = match again.call {
        Call::Ringing => "",
        Call::Answered => ANSWERED,
    };
    let mut text = format!("{parties}{RINGING}{answered}");
    for repetition in 0..REPETITIONS {
        for (number, line) in lines.lines().enumerate() {
            let at_s = BEGIN_S + repetition as f64 * APART_S + number as f64 * 0.05;
            writeln!(text, "{}", line.replacen('@', &format!("{at_s:.3}"), 1)).unwrap();
        }
    }
    let ladder = Ladder::parse("again", &text).unwrap();
    wire::frames(&ladder).unwrap()
}

/// The frames of a workload, as they are in its file.
fn workload_frames(kind: Kind, users: u32, messages: u64) -> Vec<CapturedFrame> {
    let mut file = Vec::new();
    Workload { kind, users, messages, hours: 1, seed: 3261 }.write(&mut file).unwrap();
    wire::frames_of_pcap(&file)
}

/// Either port is SIP's; IPv4 without options.
fn is_sip(frame: &CapturedFrame) -> bool {
    frame.bytes[34..36] == SIP_PORT || frame.bytes[36..38] == SIP_PORT
}

/// A line of the table, and whether it is too much.
fn tell(what: &str, allocations: u64, of: u64, allowed_thousandths: u64, breaches: &mut Vec<String>) {
    assert!(of > 0, "{what}: nothing was heard");
    let each = allocations as f64 / of as f64;
    let line = format!(
        "{each:>8.3} of {:>6.3} allowed  {what} ({allocations} in {of})",
        allowed_thousandths as f64 / 1e3
    );
    println!("{line}");
    if allocations * 1_000 > allowed_thousandths * of {
        breaches.push(line);
    }
}

#[test]
fn the_allocator_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 64])));
    assert_eq!((counted.count_total, counted.bytes_total), (1, 64));
}

#[test]
fn what_changes_nothing_allocates_nothing() {
    let mut breaches = Vec::new();
    for again in AGAIN {
        let frames = frames_of(again);
        let warm = frames.iter().position(|frame| frame.at_us > support::ladder::START_US + WARM_US).unwrap();
        let mut listener = Listener::new();
        listener.hear(&frames[..warm]);
        let before = listener.messages();
        let allocations = listener.allocations(&frames[warm..]);
        let messages = listener.messages() - before;
        assert!(messages > 400, "{}: {messages} messages", again.what);
        tell(again.what, allocations, messages, again.allowed_thousandths, &mut breaches);
        let oddities = listener.tap.counters().oddities;
        assert!(oddities.is_empty(), "{}: {oddities:?}", again.what);
    }
    assert!(breaches.is_empty(), "too many allocations a message:\n{}", breaches.join("\n"));
}

#[test]
fn rtp_allocates_nothing() {
    let frames = workload_frames(Kind::UdpAndRtp, 200, 2_000);
    let mut listener = Listener::new();
    listener.hear(&frames);
    let last_us = frames.last().unwrap().at_us;
    let rtp: Vec<_> = frames
        .iter()
        .filter(|frame| !is_sip(frame))
        .map(|frame| CapturedFrame { at_us: last_us, bytes: frame.bytes.clone() })
        .collect();
    let before = listener.messages();
    let allocations = listener.allocations(&rtp);
    assert_eq!(listener.messages(), before, "RTP was taken for SIP");
    let mut breaches = Vec::new();
    tell("an RTP packet", allocations, rtp.len() as u64, 0, &mut breaches);
    assert!(breaches.is_empty(), "too many allocations a packet:\n{}", breaches.join("\n"));
}

/// Allocations that the first registration of a phone may cost, whatever it takes, in thousandths.
const NEW_BINDING_THOUSANDTHS: u64 = 7_500;
/// The same for a call over two hops that is answered: 12 messages.
const NEW_CALL_THOUSANDTHS: u64 = 42_500;
/// The same for a message of an hour as a site has it, on average.
const AVERAGE_THOUSANDTHS: u64 = 1_850;

#[test]
fn what_begins_costs_a_bounded_number() {
    let mut breaches = Vec::new();
    let (users, dialogs) = (4_000, 4_000);
    let frames = workload_frames(Kind::Open { dialogs }, users, 0);
    let half_hour_us = 1_800_000_000;
    let calls_begin = frames.partition_point(|frame| frame.at_us < frames[0].at_us + half_hour_us);
    let mut listener = Listener::new();
    // The first half of each lets tables grow; doubling them later costs few allocations, which count.
    let (first, second) = frames[..calls_begin].split_at(calls_begin / 2);
    listener.hear(first);
    let known = listener.tap.counters().presentities;
    let allocations = listener.allocations(second);
    let more = listener.tap.counters().presentities - known;
    tell("a phone that registers", allocations, more, NEW_BINDING_THOUSANDTHS, &mut breaches);
    let calls = &frames[calls_begin..];
    let (first, second) = calls.split_at(calls.len() / 2);
    listener.hear(first);
    let allocations = listener.allocations(second);
    tell("a call that is answered", allocations, dialogs / 2, NEW_CALL_THOUSANDTHS, &mut breaches);

    let frames = workload_frames(Kind::Udp, 1_000, 20_000);
    let (first, second) = frames.split_at(frames.len() / 2);
    let mut listener = Listener::new();
    listener.hear(first);
    let allocations = listener.allocations(second);
    tell("a message, on average", allocations, second.len() as u64, AVERAGE_THOUSANDTHS, &mut breaches);
    assert!(breaches.is_empty(), "too many allocations:\n{}", breaches.join("\n"));
}
