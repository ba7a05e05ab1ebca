//! Who hears the same users for days holds no more after the last day than after the first. In: hours of a made-up site's
//! traffic, through the whole tap; a global allocator that counts for each thread. Out: pass, or what was held when. Knows
//! nothing of where it is held, nor of what the allocator keeps of it: `scripts/bench live` measures that.
//!
//! `cargo test --test steady_memory -- --nocapture` shows what was held.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "bench/workload/mod.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod workload;

use std::io::{self, Write};

use offhook::base::{FrameId, Limits, LinkType, Timestamp};
use offhook::decode::Frame;
use offhook::tap::{Tap, TapOptions};
use workload::{Kind, Workload};

const USERS: u32 = 400;
/// Each user registers four times an hour, and calls every second hour.
const MESSAGES_PER_HOUR: u64 = 10_000;
/// An end that was inferred is remembered for an hour, and a registration lasts one: then all tables have what they will have.
const WARM_HOURS: usize = 4;
const HOURS: usize = 24;
/// Of what was held at most in the hours till [`WARM_HOURS`], so much is held at most in all later ones. One entry left of each
/// call would be several times of that.
const ALLOWED_PERCENT: i64 = 108;
/// The same of the whole program, by the day: what an entry left of each call would take in one is more than that.
const PROGRAM_ALLOWED_PERCENT: u64 = 125;
/// Frames that are lost one behind the other: so whole hang-ups are, and ends have to be inferred.
const BURST: u64 = 10;

const PCAP_HEAD_BYTES: usize = 24;
const RECORD_HEAD_BYTES: usize = 16;

/// A capture file that is heard while it is written.
struct Listener {
    tap: Tap,
    /// Not yet a whole record.
    unread: Vec<u8>,
    is_begun: bool,
    frames: u64,
    began_s: u64,
    /// Of so many bursts of frames one is not heard; 0: of none.
    loses_one_of: u64,
    held_bytes: i64,
    /// What was held at most, by the hour.
    most_bytes: Vec<i64>,
}

impl Listener {
    fn new(loses_one_of: u64) -> Self {
        let mut tap = None;
        let held_bytes = allocation_counter::measure(|| {
            tap = Some(Tap::new(TapOptions::default(), Limits::default()));
        })
        .bytes_current;
        Self {
            tap: tap.unwrap(),
            unread: Vec::new(),
            is_begun: false,
            frames: 0,
            began_s: 0,
            loses_one_of,
            held_bytes,
            most_bytes: Vec::new(),
        }
    }

    fn record(&mut self, head: &[u8], bytes: &[u8]) {
        let number = |place: usize| u32::from_le_bytes(head[place..place + 4].try_into().unwrap());
        let (at_s, at_us) = (u64::from(number(0)), u64::from(number(4)));
        self.frames += 1;
        if self.frames == 1 {
            self.began_s = at_s;
        }
        if self.loses_one_of > 0 && (self.frames / BURST).is_multiple_of(self.loses_one_of) {
            return;
        }
        let frame = Frame {
            at: Timestamp::from_nanos((at_s * 1_000_000 + at_us) * 1_000),
            id: FrameId::new(0, self.frames),
            link: LinkType(1),
            bytes,
            wire_length: bytes.len(),
        };
        let tap = &mut self.tap;
        self.held_bytes += allocation_counter::measure(|| {
            tap.handle(&frame);
            while tap.poll_output().is_some() {}
        })
        .bytes_current;
        let hour = usize::try_from((at_s - self.began_s) / 3_600).unwrap();
        if self.most_bytes.len() <= hour {
            self.most_bytes.resize(hour + 1, 0);
        }
        self.most_bytes[hour] = self.most_bytes[hour].max(self.held_bytes);
    }
}

impl Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unread.extend_from_slice(bytes);
        let unread = std::mem::take(&mut self.unread);
        let mut rest = &unread[..];
        if !self.is_begun && rest.len() >= PCAP_HEAD_BYTES {
            rest = &rest[PCAP_HEAD_BYTES..];
            self.is_begun = true;
        }
        while self.is_begun
            && let Some((head, behind)) = rest.split_at_checked(RECORD_HEAD_BYTES)
            && let length = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize
            && let Some((frame, next)) = behind.split_at_checked(length)
        {
            self.record(head, frame);
            rest = next;
        }
        self.unread = rest.to_vec();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hear_a_day(what: &str, kind: Kind, loses_one_of: u64) {
    let mut listener = Listener::new(loses_one_of);
    let workload =
        Workload { kind, users: USERS, messages: MESSAGES_PER_HOUR, hours: HOURS as u64, seed: 3261 };
    let written = workload.write(&mut listener).unwrap();
    assert!(written.calls > 100 * HOURS as u64, "{what}: {} calls", written.calls);
    assert_eq!(listener.tap.counters().presentities, u64::from(USERS), "{what}");
    let most = &listener.most_bytes;
    println!(
        "{what}: KiB held at most, by the hour: {:?}",
        most.iter().map(|bytes| bytes / 1024).collect::<Vec<_>>()
    );
    assert!(most.len() >= HOURS - 1, "{what}: {} hours", most.len());
    let early = most[..WARM_HOURS].iter().max().unwrap();
    let late = most[WARM_HOURS..].iter().max().unwrap();
    assert!(late * 100 <= early * ALLOWED_PERCENT, "{what}: {early} bytes in the first hours, later {late}");
}

#[test]
fn a_day_of_calls_that_end_leaves_nothing_behind() {
    hear_a_day("UDP", Kind::Udp, 0);
}

#[test]
fn nor_does_one_over_connections_that_stay() {
    hear_a_day("TCP", Kind::Tcp, 0);
}

#[test]
fn nor_does_one_of_which_bursts_of_frames_are_lost() {
    hear_a_day("UDP, one burst of 20 lost", Kind::Udp, 20);
}

/// The program, while a capture is written to its standard input.
struct Program {
    child: std::process::Child,
    /// Most resident memory until half was written.
    half_kib: u64,
    written_bytes: u64,
    half_bytes: u64,
}

impl Program {
    fn most_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Write for Program {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.child.stdin.as_mut().unwrap().write(bytes)?;
        self.written_bytes += length as u64;
        if self.half_kib == 0 && self.written_bytes >= self.half_bytes {
            self.half_kib = self.most_kib();
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.child.stdin.as_mut().unwrap().flush()
    }
}

/// What the allocator keeps, and what stands before standard output, are in it.
#[test]
fn the_program_takes_no_more_for_two_days_than_for_one() {
    use std::process::{Command, Stdio};
    let workload =
        |hours| Workload { kind: Kind::Udp, users: USERS, messages: MESSAGES_PER_HOUR, hours, seed: 3261 };
    let one_day = workload(24).write(io::sink()).unwrap().sip_bytes;
    let child = Command::new(env!("CARGO_BIN_EXE_offhook"))
        .args(["replay", "--format", "jsonl", "-"])
        .env_remove("OFFHOOK_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut program = Program { child, half_kib: 0, written_bytes: 0, half_bytes: one_day };
    workload(48).write(&mut program).unwrap();
    let end_kib = program.most_kib();
    drop(program.child.stdin.take());
    assert!(program.child.wait().unwrap().success());
    let half_kib = program.half_kib;
    println!("the program: at most {half_kib} KiB in a day, {end_kib} KiB in two");
    assert!(half_kib > 0);
    assert!(
        end_kib * 100 <= half_kib * PROGRAM_ALLOWED_PERCENT,
        "{half_kib} KiB in a day, {end_kib} KiB in two"
    );
}
