//! What a mirror port may do to traffic without making it mean something else: show frames twice, late, tagged, cut
//! short, swapped, or not at all. In: `captures/*.pcap`, changed here. Out: the statuses of both, compared. Knows
//! nothing of what the captures mean.
//!
//! Each test prints the seed with which a case that fails can be made again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use offhook::base::{FrameId, Limits, LinkType, Timestamp};
use offhook::decode::Frame;
use offhook::io::capture::CaptureReader;
use offhook::presence::{ChangeKind, PresentityChange, Session, Terminal};
use offhook::tap::{Tap, TapOptions, TapOutput};
use offhook::track::{Confidence, Rule};

const ETHERNET: u16 = 1;

#[derive(Clone)]
struct Seen {
    at: Timestamp,
    link: LinkType,
    bytes: Vec<u8>,
    wire_length: usize,
}

struct Capture {
    name: String,
    frames: Vec<Seen>,
}

fn captures() -> Vec<Capture> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .collect();
    paths.sort();
    assert!(paths.len() > 30, "the captures are beside the tests");
    paths
        .iter()
        .map(|path| {
            let mut reader = CaptureReader::open(path.to_str().unwrap()).unwrap();
            let mut frames = Vec::new();
            while let Some(record) = reader.next().unwrap() {
                let (at, link, wire_length) = (record.at, record.link, record.wire_length);
                frames.push(Seen { at, link, bytes: record.bytes.to_vec(), wire_length });
            }
            Capture { name: path.file_stem().unwrap().to_string_lossy().into_owned(), frames }
        })
        .collect()
}

/// All status and contact changes that these frames and `more_s` silent seconds give.
fn changes(frames: &[Seen], more_s: u32) -> Vec<PresentityChange> {
    let mut tap = Tap::new(TapOptions::default(), Limits::default());
    let mut changes = Vec::new();
    let mut drain = |tap: &mut Tap| {
        while let Some(output) = tap.poll_output() {
            if let TapOutput::Change(change) = output
                && change.kind != ChangeKind::Document
            {
                changes.push(change);
            }
        }
    };
    for (number, seen) in (1..).zip(frames) {
        let id = FrameId::new(0, number);
        let Seen { at, link, bytes, wire_length } = seen;
        tap.handle(&Frame { at: *at, id, link: *link, bytes, wire_length: *wire_length });
        drain(&mut tap);
    }
    let end = frames.iter().map(|seen| seen.at).max().unwrap_or(Timestamp::EPOCH);
    tap.handle_timeout(end.after_s(more_s));
    drain(&mut tap);
    changes
}

/// A change as a line, without what may differ: frame numbers, and the time as it stands after `back`.
fn line(change: &PresentityChange, back: Duration) -> String {
    let (state, because) = (&change.state, &change.because);
    let at = Timestamp::from_nanos(change.at.as_nanos() - back.as_nanos() as u64);
    format!(
        "{at} {:?} {} {:?}/{:?} → {:?}/{:?} watching {} {:?} {:?} {} peer {:?} contact {:?} media {:?}",
        change.kind,
        change.aor.as_str(),
        change.previous.0,
        change.previous.1,
        state.terminal,
        state.session,
        state.watching,
        state.confidence,
        because.rule,
        because.call_id,
        state.peer,
        state.contact,
        state.media,
    )
}

fn lines(frames: &[Seen]) -> Vec<String> {
    changes(frames, 0).iter().map(|change| line(change, Duration::ZERO)).collect()
}

/// Who was ever said to be online, ringing or talking, but for what is said with reserve.
fn claims(changes: &[PresentityChange]) -> BTreeSet<(String, &'static str)> {
    let mut claims = BTreeSet::new();
    for change in changes {
        let state = &change.state;
        if state.confidence == Confidence::Weak || change.because.rule == Rule::RegisterPresumed {
            continue;
        }
        let mut claim = |what| claims.insert((change.aor.as_str().to_owned(), what));
        if state.terminal == Terminal::Online {
            claim("online");
        }
        match state.session {
            Session::Ringing => {
                claim("ringing");
            }
            Session::Talking | Session::Held => {
                claim("talking");
            }
            Session::Idle | Session::Calling => {}
        }
    }
    claims
}

/// What of `shown` goes beyond `whole`. Who talks may be rung by another call, which shows when the first is lost.
fn beyond(
    shown: &[PresentityChange],
    whole: &BTreeSet<(String, &'static str)>,
) -> Vec<(String, &'static str)> {
    let covered = |(aor, what): &(String, &'static str)| {
        whole.contains(&(aor.clone(), what))
            || (*what == "ringing" && whole.contains(&(aor.clone(), "talking")))
    };
    claims(shown).into_iter().filter(|claim| !covered(claim)).collect()
}

/// Invariants of the lines themselves, whatever was on the wire.
fn assert_sound(name: &str, changes: &[PresentityChange]) {
    let mut last = std::collections::BTreeMap::new();
    let mut time = Timestamp::EPOCH;
    for change in changes {
        let told = line(change, Duration::ZERO);
        assert!(change.at >= time, "{name}: time goes back at {told}");
        time = change.at;
        if change.kind != ChangeKind::Status {
            continue;
        }
        let state = &change.state;
        let now = (state.terminal, state.session, state.watching);
        let before =
            last.insert(change.aor.clone(), now).unwrap_or((Terminal::Unknown, Session::Idle, false));
        assert_ne!(before, now, "{name}: no change: {told}");
        assert_eq!((before.0, before.1), change.previous, "{name}: another state before: {told}");
        let engaged = matches!(state.session, Session::Talking | Session::Held);
        let reachable = matches!(state.terminal, Terminal::Online | Terminal::OfflineWaiting);
        assert!(!engaged || reachable, "{name}: talks but is not there: {told}");
        assert!(engaged || state.terminal != Terminal::OfflineWaiting, "{name}: waits for nothing: {told}");
    }
}

/// Numbers that look random and are the same every time (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % end.max(1)
    }
}

#[test]
fn doubled_frames_change_nothing() {
    for apart in [0, 1_000, 5_000].map(Duration::from_nanos) {
        for Capture { name, frames } in captures() {
            let mut doubled: Vec<Seen> = frames
                .iter()
                .flat_map(|seen| [seen.clone(), Seen { at: seen.at.after(apart), ..seen.clone() }])
                .collect();
            doubled.sort_by_key(|seen| seen.at);
            assert_eq!(lines(&doubled), lines(&frames), "{name}, copies {apart:?} later");
        }
    }
}

#[test]
fn shifted_time_shifts_the_lines() {
    let shift = Duration::from_secs(3 * 365 * 86_400 + 17);
    for Capture { name, frames } in captures() {
        let shifted: Vec<Seen> =
            frames.iter().map(|seen| Seen { at: seen.at.after(shift), ..seen.clone() }).collect();
        let found: Vec<String> = changes(&shifted, 0).iter().map(|change| line(change, shift)).collect();
        assert_eq!(found, lines(&frames), "{name}");
    }
}

#[test]
fn vlan_tags_change_nothing() {
    for Capture { name, frames } in captures() {
        if frames.iter().any(|seen| seen.link != LinkType(ETHERNET)) {
            continue;
        }
        let tag = |seen: &Seen, tags: &[u8]| {
            let mut bytes = seen.bytes.clone();
            bytes.splice(12..12, tags.iter().copied());
            Seen { bytes, wire_length: seen.wire_length + tags.len(), ..seen.clone() }
        };
        for tags in [&[0x81, 0, 0, 7][..], &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 7]] {
            let tagged: Vec<Seen> = frames.iter().map(|seen| tag(seen, tags)).collect();
            assert_eq!(lines(&tagged), lines(&frames), "{name}, {tags:x?}");
        }
    }
}

#[test]
fn lost_frames_show_nothing_that_all_frames_do_not() {
    for Capture { name, frames } in captures() {
        let whole = claims(&changes(&frames, 0));
        // Two that once were wrong among the many.
        for seed in (0..40).chain([163, 331]) {
            let lost_in_100 = [1, 5, 20, 40][seed % 4];
            let mut dice = Dice(seed as u64);
            let mut kept = frames.clone();
            kept.retain(|_| dice.below(100) >= lost_in_100);
            let shown = changes(&kept, 0);
            assert_sound(&name, &shown);
            let new = beyond(&shown, &whole);
            assert!(new.is_empty(), "{name}, seed {seed}, {lost_in_100} % lost: {new:?}");
        }
    }
}

#[test]
fn swapped_neighbours_leave_nobody_ringing() {
    for Capture { name, frames } in captures() {
        let whole = claims(&changes(&frames, 0));
        for seed in 0..40 {
            let mut dice = Dice(seed);
            let mut swapped = frames.clone();
            let mut at = 0;
            while at + 1 < swapped.len() {
                if dice.below(100) < 30 {
                    swapped.swap(at, at + 1);
                    at += 1;
                }
                at += 1;
            }
            for (seen, in_order) in swapped.iter_mut().zip(&frames) {
                seen.at = in_order.at;
            }
            let shown = changes(&swapped, 400);
            assert_sound(&name, &shown);
            let new = beyond(&shown, &whole);
            assert!(new.is_empty(), "{name}, seed {seed}: {new:?}");
            let mut last = std::collections::BTreeMap::new();
            for change in &shown {
                last.insert(change.aor.clone(), change.state.session);
            }
            for (aor, session) in last {
                assert_ne!(session, Session::Ringing, "{name}, seed {seed}: {}", aor.as_str());
            }
        }
    }
}

/// A mirror that swaps the INVITEs of two hops: the caller's hop is no phone's own.
#[test]
fn a_call_that_is_over_rings_nowhere_though_its_hops_were_swapped() {
    let capture = captures().into_iter().find(|capture| capture.name == "call-through-proxy").unwrap();
    let whole = changes(&capture.frames, 0);
    for at in 0..capture.frames.len() - 1 {
        let mut swapped = capture.frames.clone();
        swapped.swap(at, at + 1);
        for (seen, in_order) in swapped.iter_mut().zip(&capture.frames) {
            seen.at = in_order.at;
        }
        let end = |changes: &[PresentityChange]| {
            let of = |change: &PresentityChange| (change.aor.clone(), change.state.session);
            changes.iter().map(of).collect::<std::collections::BTreeMap<_, _>>()
        };
        assert_eq!(end(&changes(&swapped, 0)), end(&whole), "frames {} and {}", at + 1, at + 2);
    }
}

#[test]
fn frames_cut_anywhere_show_nothing_new() {
    for (offset, Capture { name, frames }) in captures().into_iter().enumerate() {
        let whole = claims(&changes(&frames, 0));
        let longest = frames.iter().map(|seen| seen.bytes.len()).max().unwrap_or(0);
        for length in (offset % 5..longest).step_by(5) {
            let mut cut = frames.clone();
            for seen in &mut cut {
                seen.bytes.truncate(length);
            }
            let shown = changes(&cut, 0);
            assert_sound(&name, &shown);
            let new = beyond(&shown, &whole);
            assert!(new.is_empty(), "{name}, frames of {length} bytes: {new:?}");
        }
    }
}

#[test]
fn any_bytes_give_sound_lines() {
    for Capture { name, frames } in captures() {
        for seed in 0..40 {
            let mut dice = Dice(seed);
            let mut broken = frames.clone();
            for seen in &mut broken {
                for _ in 0..dice.below([2, 4, 20, 200][seed as usize % 4]) {
                    let at = dice.below(seen.bytes.len());
                    if let Some(byte) = seen.bytes.get_mut(at) {
                        *byte = dice.below(256) as u8;
                    }
                }
                if dice.below(8) == 0 {
                    let far = [Timestamp::EPOCH, seen.at.after_s(u32::MAX), Timestamp::MAX];
                    seen.at = far[dice.below(64).min(3) % 3];
                }
            }
            println!("{name}, seed {seed}");
            assert_sound(&name, &changes(&broken, u32::MAX));
        }
    }
}

/// Time per message stays what it is, however many calls stand at one address.
#[test]
fn calls_at_one_address_cost_the_same_each() {
    let few = cost_of_calls(1_000);
    let many = cost_of_calls(8_000);
    assert!(many < few * 8 * 4, "1,000 calls took {few:?}, 8,000 took {many:?}");
}

fn cost_of_calls(calls: u32) -> Duration {
    let mut frames = Vec::new();
    for call in 0..calls {
        let [high, low] = [(call >> 8) as u8, call as u8];
        let (phone, pbx) = ([10, 0, high, low], [192, 0, 2, 1]);
        let fields = format!(
            "Via: SIP/2.0/UDP 10.0.{high}.{low};branch=z9hG4bK{call}\r\nFrom: <sip:u{call}@example.com>;tag=f\r\n\
             Call-ID: {call}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\nTo: <sip:bob@example.com>"
        );
        let invite = format!("INVITE sip:bob@example.com SIP/2.0\r\n{fields}\r\n\r\n");
        let accepted = format!("SIP/2.0 200 OK\r\n{fields};tag=t\r\nContact: <sip:192.0.2.1>\r\n\r\n");
        let at = Timestamp::from_nanos(1_795_327_681_000_000_000 + u64::from(call) * 100_000);
        frames.push(Seen::datagram(at, phone, pbx, &invite));
        frames.push(Seen::datagram(at, pbx, phone, &accepted));
    }
    #[expect(clippy::disallowed_methods, reason = "what is measured here is this machine")]
    let begin = Instant::now();
    assert!(changes(&frames, 0).len() > calls as usize);
    begin.elapsed()
}

impl Seen {
    /// A UDP datagram between ports 5060, as raw IPv4.
    fn datagram(at: Timestamp, from: [u8; 4], to: [u8; 4], text: &str) -> Self {
        let length = (28 + text.len()) as u16;
        let mut bytes = vec![0x45, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        bytes.extend([from, to].concat());
        bytes.extend([5_060_u16, 5_060, length - 20, 0].map(u16::to_be_bytes).concat());
        bytes.extend(text.as_bytes());
        Self { at, link: LinkType(101), wire_length: bytes.len(), bytes }
    }
}
