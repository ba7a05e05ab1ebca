//! Frames that the mirror lost.
//! In: captures. Out: what less of them shows. Knows nothing of which frames matter.
//!
//! The law is weak, since what is not seen cannot be told. What must hold of any part of a capture:
//! - no presentity, peer, online, ringing or talking that the whole capture never shows;
//! - nothing earlier than the whole shows it, and no end of what the whole shows to go on, but by a timer with a name;
//! - no call for ever: with the longest time that a dialog is believed, everybody is idle, and some day nobody is online.

use crate::support::captures::{all, ours, recording};
use crate::support::claims::{Claims, Courses};
use crate::support::outcome::end;
use crate::support::{Capture, Dice, Faults, Outcome, Seen, outcome};
use offhook::presence::{Session, Terminal};

/// The longest that anything a call needs is waited for after the last frame of it, beside the cap on a dialog.
const SETTLING_S: u32 = 2 * 32 + 5;

/// Captures in which what is lost may show somebody or a peer whom the whole does not show, and why.
const UNDECIDABLE: &[(&str, &str)] = &[
    (
        "NormB__sipnab__SIP_DTMF2",
        "three lines on one phone, and a server that writes other names into To: with the registration of one line \
         lost, its calls are those of the line that has its address (SPEC section 6, rule 1)",
    ),
    (
        "sipcapture__heplify__sip_ipv4_tcp_retrans",
        "a registrar that registers its phones at the next one, under another domain: a server is known by its answers, \
         and with those lost it is a phone of the next one",
    ),
    (
        "cisco-cucm",
        "a registrar that lists the phone's own contact only: with the registration of one of two phones lost, nothing \
         tells that the other's end is not the end of all",
    ),
    (
        "numbers-in-several-spellings",
        "two addresses of record that a rule makes one: with the registration of one lost, nothing tells that the other's \
         end is not the end of all",
    ),
    (
        "trunk-that-registers",
        "a PBX that is a provider's user: a server is known by its answers, and with those lost it is a phone of the \
         provider, and whom it calls is one of the house",
    ),
    (
        "another-fork-rings-unseen",
        "a fork that the mirror does not show: with the refusal of the other one lost, that may have answered",
    ),
    (
        "tcp-segments-that-disagree",
        "a forged segment in the place of one that was there before: with that lost, it came first",
    ),
    (
        "forks-answer-at-once-200-unseen",
        "two forks that answered: with more of their 200s lost, each passes hops of its own with one 200 on each, as \
         the copies of one call do (SPEC section 5)",
    ),
];

/// What the whole capture shows.
struct Whole<'c> {
    capture: &'c Capture,
    claims: Claims,
    courses: Courses,
}

impl<'c> Whole<'c> {
    fn of(capture: &'c Capture) -> Self {
        let outcome = capture.outcome();
        Self { capture, claims: Claims::of(&outcome), courses: Courses::of(&outcome) }
    }

    /// All that is wrong with what these frames of it show.
    fn faults(&self, kept: &[Seen]) -> Vec<String> {
        let shown = self.capture.outcome_of(kept);
        shown.assert_sound(&self.capture.name);
        if UNDECIDABLE.iter().any(|(name, _)| *name == self.capture.name) {
            return Vec::new();
        }
        let mut faults = self.courses.premature(&shown, &kept.iter().map(|seen| seen.at).collect());
        faults.extend(Claims::without_reserve(&shown).beyond(&self.claims));
        faults
    }

    fn check(&self, what: &str, kept: &[Seen], faults: &mut Faults) {
        for fault in self.faults(kept) {
            faults.add(format!("{}, {what}: {fault}", self.capture.name));
        }
    }
}

/// What is left when nothing more is heard.
fn check_over(what: &str, capture: &Capture, kept: &[Seen], faults: &mut Faults) {
    let cap_s = capture.rules.dialog_cap_s;
    let later = |seconds| outcome(&capture.rules, kept, end(&capture.frames).after_s(seconds));
    for (aor, (_, session, _)) in later(cap_s + SETTLING_S).last() {
        if session != Session::Idle {
            faults.add(format!("{}, {what}: {aor} {session:?} for ever", capture.name));
        }
    }
    let in_the_end: Outcome = later(u32::MAX);
    for (aor, (terminal, _, watching)) in in_the_end.last() {
        if watching || !matches!(terminal, Terminal::Offline | Terminal::Unknown) {
            faults.add(format!("{}, {what}: {aor} {terminal:?} for ever", capture.name));
        }
    }
}

#[test]
fn any_one_frame_may_be_lost() {
    let mut faults = Faults::default();
    for capture in all().into_iter().filter(|capture| capture.frames.len() <= 120) {
        let whole = Whole::of(&capture);
        for lost in 0..capture.frames.len() {
            let mut kept = capture.frames.clone();
            kept.remove(lost);
            let what = format!("frame {} lost", lost + 1);
            whole.check(&what, &kept, &mut faults);
            check_over(&what, &capture, &kept, &mut faults);
        }
    }
    faults.assert_none();
}

/// A share of all frames, by chance. The seeds 163 and 331 once were wrong among many.
#[test]
fn any_share_of_the_frames_may_be_lost() {
    let mut faults = Faults::default();
    for capture in all() {
        let seeds = match capture.frames.len() {
            0..200 => 32,
            200..2_000 => 8,
            _ if recording(&capture) => 3,
            _ => 0,
        };
        let whole = Whole::of(&capture);
        for seed in (0..seeds).chain([163, 331].into_iter().filter(|_| seeds > 8)) {
            let lost_in_100 = [1, 5, 20, 40][seed as usize % 4];
            let mut dice = Dice(seed);
            let mut kept = capture.frames.clone();
            kept.retain(|_| dice.below(100) >= lost_in_100);
            let what = format!("seed {seed}, {lost_in_100} % lost");
            whole.check(&what, &kept, &mut faults);
            check_over(&what, &capture, &kept, &mut faults);
        }
    }
    faults.assert_none();
}

/// The capture ends, or begins, at any frame.
#[test]
fn a_capture_may_begin_and_end_anywhere() {
    let mut faults = Faults::default();
    for capture in ours() {
        let whole = Whole::of(&capture);
        for at in 0..capture.frames.len() {
            let (before, behind) = capture.frames.split_at(at);
            whole.check(&format!("the first {at} frames"), before, &mut faults);
            whole.check(&format!("without the first {at} frames"), behind, &mut faults);
        }
    }
    faults.assert_none();
}
