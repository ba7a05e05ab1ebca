//! The two directions of each flow, captured by two machines whose clocks differ, or one of which is slow, and merged.
//! In: captures. Out: the same, later. Knows nothing of clocks.
//!
//! The law is weak: an answer may come before its question, and what lasted less than the difference may not be seen.
//! Within half a second, in which a mirror's own mix-ups lie too: nothing is claimed that was not so; and once the
//! timers of what was under way have run, everybody stands as they would without the difference.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::captures::all;
use crate::support::claims::Claims;
use crate::support::outcome::end;
use crate::support::packets::{frames, packets};
use crate::support::{Faults, Packet, outcome};

/// The longest Expires of an INVITE in these captures, and 64·T1 of what waits for the end of it.
const SETTLING_S: u32 = 300 + 64;

/// Where only the order tells, from a lateness in milliseconds on: a phone that calls itself through a server that shows no
/// Via of the hop before (which hop is the first?); what a registrar grants to whom (its answer comes before the question);
/// which messages were lost (as long as an answer may be but late).
const ORDER_TELLS: [(&str, u64); 3] = [
    ("NormB__sipnab__SIP_DTMF2", 90),
    ("register-answer-unseen-granted-less", 20),
    ("register-answer-unseen-where-messages-are-lost", 400),
];

/// Cut within the header fields: what such a message lacks its request tells, if that came before it.
const CUT: &str = "small-snap512.pcap";

#[test]
fn directions_merged_late_say_the_same_later() {
    let mut faults = Faults::default();
    for late_ms in [1, 20, 90, 400] {
        for first_is_late in [true, false] {
            for capture in all() {
                let order_tells = |&(name, from_ms): &(&str, u64)| capture.name == name && late_ms >= from_ms;
                if capture.name == CUT || ORDER_TELLS.iter().any(order_tells) {
                    continue;
                }
                let late = Duration::from_millis(late_ms);
                let delay = |packet: Packet| {
                    let is_late = (packet.source < packet.destination) == first_is_late;
                    let at = if is_late { packet.at.after(late) } else { packet.at };
                    Packet { at, ..packet }
                };
                let mut packets: Vec<Packet> = packets(&capture.frames).into_iter().map(delay).collect();
                packets.sort_by_key(|packet| packet.at);
                let merged = frames(&packets);
                let what = format!("{}, late by {late_ms} ms, first {first_is_late}", capture.name);
                let until = end(&capture.frames).after(late);
                let shown = outcome(&capture.rules, &merged, until);
                shown.assert_sound(&what);
                let whole = outcome(&capture.rules, &capture.frames, until);
                let new = Claims::without_reserve(&shown).beyond(&Claims::of(&whole));
                new.into_iter().for_each(|new| faults.add(format!("{what}: {new}")));
                let settled = until.after_s(SETTLING_S);
                let found = outcome(&capture.rules, &merged, settled);
                let expected = outcome(&capture.rules, &capture.frames, settled);
                let (found, expected) = (found.last(), expected.last());
                for aor in found.keys().chain(expected.keys()).collect::<BTreeSet<_>>() {
                    let (found, expected) = (found.get(aor), expected.get(aor));
                    if found != expected {
                        faults.add(format!("{what}: {aor} in the end {found:?}, expected {expected:?}"));
                    }
                }
            }
        }
    }
    faults.assert_none();
}
