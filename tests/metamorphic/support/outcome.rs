//! What a tap says of some frames: lines that can be compared, claims, and what holds of any lines at all.
//! In: [`Capture`], frames. Out: [`Outcome`]. Knows nothing of how the frames came about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offhook::base::{FrameId, Limits, Rules, Timestamp};
use offhook::decode::Frame;
use offhook::presence::{ChangeKind, PresentityChange, Session, Terminal};
use offhook::tap::{Counters, Tap, TapOptions, TapOutput};

use super::{Capture, Seen};

/// Everything that a tap said.
pub struct Outcome {
    /// Status and contact changes, and those that only documents show.
    pub changes: Vec<PresentityChange>,
    /// For whoever looks into a fault.
    #[allow(dead_code, reason = "printed by hand")]
    pub counters: Counters,
}

/// A presentity as a status line shows it.
pub type Status = (Terminal, Session, bool);

/// What this capture's frames as they are now, and silence until `until`, give.
pub fn outcome(rules: &Rules, frames: &[Seen], until: Timestamp) -> Outcome {
    let options = TapOptions { rules: rules.clone(), ..TapOptions::default() };
    let mut tap = Tap::new(options, Limits::default());
    let mut changes = Vec::new();
    let mut drain = |tap: &mut Tap| {
        while let Some(output) = tap.poll_output() {
            if let TapOutput::Change(change) = output {
                changes.push(change);
            }
        }
    };
    for (number, seen) in (1..).zip(frames) {
        let Seen { at, link, bytes, wire_length } = seen;
        let id = FrameId::new(0, number);
        tap.handle(&Frame { at: *at, id, link: *link, bytes, wire_length: *wire_length });
        drain(&mut tap);
    }
    tap.handle_timeout(until);
    drain(&mut tap);
    Outcome { changes, counters: tap.counters() }
}

/// The time of the last frame.
pub fn end(frames: &[Seen]) -> Timestamp {
    frames.iter().map(|seen| seen.at).max().unwrap_or(Timestamp::EPOCH)
}

impl Capture {
    /// What its frames give, and no silence after them.
    pub fn outcome(&self) -> Outcome {
        self.outcome_after_s(0)
    }

    /// What its frames and so many silent seconds give.
    pub fn outcome_after_s(&self, silent_s: u32) -> Outcome {
        outcome(&self.rules, &self.frames, end(&self.frames).after_s(silent_s))
    }

    /// What other frames give by this capture's rules, until its own end.
    pub fn outcome_of(&self, frames: &[Seen]) -> Outcome {
        outcome(&self.rules, frames, end(&self.frames))
    }
}

/// A change as a line, with all that lines and documents tell but frame numbers; the time as it stands after `back`.
pub fn line(change: &PresentityChange, back: Duration) -> String {
    let at = Timestamp::from_nanos(change.at.as_nanos().saturating_sub(back.as_nanos() as u64));
    format!("{at} {}", timeless(change))
}

/// The same without the time.
pub fn timeless(change: &PresentityChange) -> String {
    let (state, because) = (&change.state, &change.because);
    format!(
        "{:?} {} {:?}/{:?} → {:?}/{:?} watching {} {:?} {:?} {} peer {:?} type {:?} contact {:?} agent {:?} media {:?}",
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
        state.session_type,
        state.contact,
        state.user_agent,
        state.media,
    )
}

/// What the documents of this change list.
fn documents(change: &PresentityChange, back: Duration) -> String {
    let state = &change.state;
    let bindings = state.bindings.iter().map(|binding| {
        let expires_at =
            Timestamp::from_nanos(binding.expires_at.as_nanos().saturating_sub(back.as_nanos() as u64));
        format!("{} {:?} until {expires_at}", binding.contact, binding.user_agent)
    });
    let dialogs = state.dialogs.iter().map(|dialog| format!("{dialog:?}"));
    bindings.chain(dialogs).collect::<Vec<_>>().join(" | ")
}

impl Outcome {
    /// Status and contact changes.
    pub fn told(&self) -> impl Iterator<Item = &PresentityChange> {
        self.changes.iter().filter(|change| change.kind != ChangeKind::Document)
    }

    /// All that is told, in lines and in documents, as if it had been so much earlier.
    pub fn everything(&self, back: Duration) -> Vec<String> {
        let whole = |change| format!("{} [{}]", line(change, back), documents(change, back));
        self.changes.iter().map(whole).collect()
    }

    /// Status and contact lines.
    pub fn lines(&self) -> Vec<String> {
        self.told().map(|change| line(change, Duration::ZERO)).collect()
    }

    /// How each presentity ends up.
    pub fn last(&self) -> BTreeMap<&str, Status> {
        let of =
            |change: &PresentityChange| (change.state.terminal, change.state.session, change.state.watching);
        self.told().map(|change| (change.aor.as_str(), of(change))).collect()
    }

    /// Statuses as they were between moments: where one moment shows several, the last of them; no change is none.
    pub fn settled(&self) -> Vec<(Timestamp, String, Status)> {
        let mut of_moment: BTreeMap<(Timestamp, String), Status> = BTreeMap::new();
        for change in self.told() {
            let state = &change.state;
            of_moment.insert(
                (change.at, change.aor.as_str().to_owned()),
                (state.terminal, state.session, state.watching),
            );
        }
        let mut last: BTreeMap<String, Status> = BTreeMap::new();
        of_moment
            .into_iter()
            .filter(|((_, aor), status)| {
                last.insert(aor.clone(), *status).unwrap_or((Terminal::Unknown, Session::Idle, false))
                    != *status
            })
            .map(|((at, aor), status)| (at, aor, status))
            .collect()
    }

    /// Invariants of the lines themselves, whatever was on the wire: one that is broken makes all laws worthless.
    pub fn assert_sound(&self, name: &str) {
        let mut last: BTreeMap<&str, Status> = BTreeMap::new();
        let mut time = Timestamp::EPOCH;
        let mut moment = BTreeSet::new();
        for change in self.told() {
            let told = || line(change, Duration::ZERO);
            assert!(change.at >= time, "{name}: time goes back at {}", told());
            if change.at > time {
                moment.clear();
            }
            time = change.at;
            if change.kind != ChangeKind::Status {
                continue;
            }
            let frame = change.because.frame;
            // At the end of all time, timers of several moments fall together.
            let again = !moment.insert((frame, change.aor.as_str())) && change.at < Timestamp::MAX;
            assert!(!again, "{name}: a second line: {}", told());
            let state = &change.state;
            let now = (state.terminal, state.session, state.watching);
            let before =
                last.insert(change.aor.as_str(), now).unwrap_or((Terminal::Unknown, Session::Idle, false));
            assert_ne!(before, now, "{name}: no change: {}", told());
            assert_eq!((before.0, before.1), change.previous, "{name}: another state before: {}", told());
            let engaged = matches!(state.session, Session::Talking | Session::Held);
            let reachable = matches!(state.terminal, Terminal::Online | Terminal::OfflineWaiting);
            assert!(!engaged || reachable, "{name}: talks but is not there: {}", told());
            assert!(
                engaged || state.terminal != Terminal::OfflineWaiting,
                "{name}: waits for nothing: {}",
                told()
            );
        }
    }
}

/// All that a test found wrong, told at its end, so that one fault does not hide the others.
#[derive(Default)]
pub struct Faults(Vec<String>);

impl Faults {
    pub fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    /// Says in what two lists differ, in a form that a person can read.
    pub fn compare(&mut self, what: &str, found: &[String], expected: &[String]) {
        self.0.extend(difference(what, found, expected));
    }

    /// # Panics
    /// If there was any.
    pub fn assert_none(self) {
        let shown: String = self.0.iter().take(40).map(|fault| format!("\n{fault}")).collect();
        assert!(self.0.is_empty(), "{} faults:{shown}", self.0.len());
    }
}

fn difference(what: &str, found: &[String], expected: &[String]) -> Option<String> {
    if found == expected {
        return None;
    }
    let first = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let shown = |lines: &[String]| {
        lines.iter().skip(first).take(3).map(|line| format!("\n      {line}")).collect::<String>()
    };
    Some(format!(
        "{what}: {} lines, expected {}; from line {} on\n   found:{}\n   expected:{}",
        found.len(),
        expected.len(),
        first + 1,
        shown(found),
        shown(expected),
    ))
}
