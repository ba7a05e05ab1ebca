//! Frames that the mirror shows in another order than they passed.
//! In: captures. Out: what they show then. Knows nothing of which order is right.
//!
//! The law is weak, as for what is merged late: nothing is claimed that was not so, and nobody rings for ever.

use std::collections::BTreeMap;

use offhook::presence::Session;

use crate::support::captures::{our, ours};
use crate::support::claims::Claims;
use crate::support::outcome::end;
use crate::support::{Dice, Faults, Seen, outcome};

/// Frames in another order, each at the time of its place.
fn at_the_times_of(mut frames: Vec<Seen>, in_order: &[Seen]) -> Vec<Seen> {
    for (seen, in_order) in frames.iter_mut().zip(in_order) {
        seen.at = in_order.at;
    }
    frames
}

#[test]
fn swapped_neighbours_leave_nobody_ringing() {
    let mut faults = Faults::default();
    for capture in ours() {
        let whole = Claims::of(&capture.outcome());
        for seed in 0..40 {
            let mut dice = Dice(seed);
            let mut swapped = capture.frames.clone();
            let mut at = 0;
            while at + 1 < swapped.len() {
                if dice.below(100) < 30 {
                    swapped.swap(at, at + 1);
                    at += 1;
                }
                at += 1;
            }
            let swapped = at_the_times_of(swapped, &capture.frames);
            let what = format!("{}, seed {seed}", capture.name);
            let shown = outcome(&capture.rules, &swapped, end(&swapped).after_s(400));
            shown.assert_sound(&what);
            let new = Claims::without_reserve(&shown).beyond(&whole);
            new.into_iter().for_each(|new| faults.add(format!("{what}: {new}")));
            for (aor, (_, session, _)) in shown.last() {
                if session == Session::Ringing {
                    faults.add(format!("{what}: {aor} rings for ever"));
                }
            }
        }
    }
    faults.assert_none();
}

/// A mirror that swaps the INVITEs of two hops: the caller's hop is no phone's own.
#[test]
fn a_call_that_is_over_rings_nowhere_though_its_hops_were_swapped() {
    let capture = our("call-through-proxy");
    let sessions = |frames: &[Seen]| -> BTreeMap<String, Session> {
        let outcome = capture.outcome_of(frames);
        outcome.last().into_iter().map(|(aor, (_, session, _))| (aor.to_owned(), session)).collect()
    };
    let whole = sessions(&capture.frames);
    for at in 0..capture.frames.len() - 1 {
        let mut swapped = capture.frames.clone();
        swapped.swap(at, at + 1);
        let swapped = at_the_times_of(swapped, &capture.frames);
        assert_eq!(sessions(&swapped), whole, "frames {} and {}", at + 1, at + 2);
    }
}
