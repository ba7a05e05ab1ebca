//! Frames shown more than once: by a mirror of two ports, of two VLANs, before and behind a router.
//! In: captures. Out: the same said once. Knows nothing of what is a copy of what.

use std::time::Duration;

use crate::support::captures::all;
use crate::support::outcome::end;
use crate::support::packets::{ETHERNET, checksum, ip_at};
use crate::support::{Capture, Faults, Seen, outcome};

/// How a mirror's second port shows a frame.
type Disguise = fn(&Seen) -> Seen;

fn unchanged(seen: &Seen) -> Seen {
    seen.clone()
}

/// As behind a router: one hop less to live, other hardware addresses.
fn routed(seen: &Seen) -> Seen {
    let Some((at, ether_type)) = ip_at(seen) else { return seen.clone() };
    let mut bytes = seen.bytes.clone();
    if seen.link == ETHERNET {
        bytes[..12].copy_from_slice(&[2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2]);
    }
    let ip = &mut bytes[at..];
    if ether_type == 0x0800 && ip.len() >= 20 {
        ip[8] = ip[8].wrapping_sub(1);
        ip[10..12].fill(0);
        let header_bytes = usize::from(ip[0] & 15) * 4;
        let sum = checksum(&ip[..header_bytes.min(ip.len())]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    } else if ip.len() >= 40 {
        ip[7] = ip[7].wrapping_sub(1);
    }
    seen.with(bytes)
}

/// As on another VLAN.
fn tagged(seen: &Seen) -> Seen {
    if seen.link != ETHERNET || seen.bytes.len() < 12 {
        return seen.clone();
    }
    let mut bytes = seen.bytes.clone();
    bytes.splice(12..12, [0x81, 0, 0, 99]);
    seen.with(bytes)
}

/// As the network card is given a datagram whose checksum it fills in itself.
fn unsummed(seen: &Seen) -> Seen {
    let mut bytes = seen.bytes.clone();
    if let Some((at, 0x0800)) = ip_at(seen)
        && bytes.get(at + 9) == Some(&17)
        && bytes.get(at + 6..at + 8).is_some_and(|word| (word[0] & 0x3f, word[1]) == (0, 0))
    {
        let sum_at = at + usize::from(bytes[at] & 15) * 4 + 6;
        bytes.get_mut(sum_at..sum_at + 2).unwrap_or_default().fill(0);
    }
    seen.with(bytes)
}

/// Each frame, and a copy for each moment after it, in the order of time; at one moment, originals first.
fn with_copies(capture: &Capture, after: &[Duration], disguise: Disguise) -> Vec<Seen> {
    let originals = capture.frames.iter().cloned();
    let copies = after.iter().flat_map(|&apart| {
        capture.frames.iter().map(move |seen| Seen { at: seen.at.after(apart), ..disguise(seen) })
    });
    let mut all: Vec<Seen> = originals.chain(copies).collect();
    if after.iter().all(Duration::is_zero) {
        // A capture whose own time goes back is not put in order: each copy follows its original.
        all = capture
            .frames
            .iter()
            .flat_map(|seen| std::iter::once(seen.clone()).chain(after.iter().map(|_| disguise(seen))))
            .collect();
    } else {
        all.sort_by_key(|seen| seen.at);
    }
    all
}

/// The same frames in the order of time, as the copies among them are.
fn in_order(capture: &Capture, after: &[Duration]) -> Vec<Seen> {
    let mut frames = capture.frames.clone();
    if !after.iter().all(Duration::is_zero) {
        frames.sort_by_key(|seen| seen.at);
    }
    frames
}

fn copies_say_nothing(what: &str, after: &[Duration], disguise: Disguise) {
    let mut faults = Faults::default();
    for capture in all() {
        let doubled = with_copies(&capture, after, disguise);
        let until = end(&doubled);
        let expected = outcome(&capture.rules, &in_order(&capture, after), until).everything(Duration::ZERO);
        let found = outcome(&capture.rules, &doubled, until).everything(Duration::ZERO);
        faults.compare(&format!("{}, {what}, {after:?} later", capture.name), &found, &expected);
    }
    faults.assert_none();
}

/// Exact: a copy is no second message, whether it comes at once or microseconds later.
#[test]
fn copies_say_nothing_new() {
    for apart in [0, 1_000, 5_000].map(Duration::from_nanos) {
        copies_say_nothing("twice", &[apart], unchanged);
    }
    copies_say_nothing("four times", &[0, 1_000, 2_000].map(Duration::from_nanos), unchanged);
}

/// Exact: what a router, a second VLAN or a network card change of a frame is no part of the message.
#[test]
fn disguised_copies_say_nothing_new() {
    for (what, disguise) in [
        ("routed", routed as Disguise),
        ("tagged", tagged),
        ("without checksum", unsummed),
        ("routed and tagged", |seen| tagged(&routed(seen))),
    ] {
        copies_say_nothing(what, &[Duration::from_micros(3)], disguise);
    }
}

/// Exact: one frame alone may be copied, its answer not, and the copy may come by after that answer.
#[test]
fn a_late_copy_of_any_one_frame_says_nothing_new() {
    let mut faults = Faults::default();
    for capture in all().into_iter().filter(|capture| capture.frames.len() <= 120) {
        for late in [2, 90].map(Duration::from_millis) {
            let until = end(&capture.frames).after(late);
            let expected =
                outcome(&capture.rules, &in_order(&capture, &[late]), until).everything(Duration::ZERO);
            for at in 0..capture.frames.len() {
                let mut doubled = capture.frames.clone();
                let copied = &capture.frames[at];
                doubled.push(Seen { at: copied.at.after(late), ..routed(copied) });
                doubled.sort_by_key(|seen| seen.at);
                let found = outcome(&capture.rules, &doubled, until).everything(Duration::ZERO);
                faults.compare(
                    &format!("{}, frame {} again {late:?} later", capture.name, at + 1),
                    &found,
                    &expected,
                );
            }
        }
    }
    faults.assert_none();
}

/// Exact: a copy that comes by after the next messages, as from a second port with a queue of its own, is still a copy.
#[test]
fn late_copies_say_nothing_new() {
    for late_ms in [1, 7, 60] {
        copies_say_nothing("twice", &[Duration::from_millis(late_ms)], routed);
    }
}
