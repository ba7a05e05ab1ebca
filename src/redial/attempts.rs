//! Calls that may turn out to be in vain.
//! In: facts about calling ends, who is registered, who is in a call. Out: what each attempt came to, once that is known. Knows
//! nothing of wishes, askings.

use std::time::Duration;

use hashbrown::HashMap;

use super::Why;
use super::ends::Ends;
use super::phones::Phones;
use crate::base::{Deadlines, Timestamp};
use crate::sip::Aor;
use crate::track::{DialogFact, EndId, EndReason, Evidence};

/// Who answered a call is known so long after its 2xx: the other end may be told of a little later.
const WHO_ANSWERED: Duration = Duration::from_secs(1);

/// Somebody calls somebody.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub caller: Aor,
    pub callee: Aor,
    /// The INVITE's Expires.
    pub expires_s: Option<u32>,
    /// The callee was not registered when it began, as far as that could be known.
    pub unregistered: bool,
    /// The phone was asked for this call.
    pub referred: bool,
    /// It was answered, and when it is to be judged who did so.
    answered: Option<(Timestamp, Evidence)>,
    deadline: Option<Timestamp>,
}

impl Attempt {
    pub(super) const fn new(
        caller: Aor,
        callee: Aor,
        expires_s: Option<u32>,
        unregistered: bool,
        referred: bool,
    ) -> Self {
        Self { caller, callee, expires_s, unregistered, referred, answered: None, deadline: None }
    }
}

/// The calls that are on their way.
pub(super) struct Attempts {
    attempts: HashMap<EndId, Attempt>,
    /// Of ends that turned out not to be whose they were taken for, until the frame is over: it may say whose they are.
    adrift: Vec<(EndId, Attempt)>,
    deadlines: Deadlines<EndId>,
    most: usize,
    times_full: u64,
}

impl Attempts {
    pub(super) fn new(most: usize) -> Self {
        Self {
            attempts: HashMap::new(),
            adrift: Vec::new(),
            deadlines: Deadlines::new(),
            most,
            times_full: 0,
        }
    }

    /// The end is not whose it was taken for.
    pub(super) fn cast_off(&mut self, end: EndId) {
        if let Some(mut attempt) = self.attempts.remove(&end) {
            self.deadlines.set(&mut attempt.deadline, end, None);
            self.adrift.push((end, attempt));
        }
    }

    /// The frame is over: what is adrift is nobody's.
    pub(super) fn forget_adrift(&mut self) {
        self.adrift.clear();
    }

    /// The end is this caller's, as whom it may turn out to be late. Says whether its attempt is on its way already.
    pub(super) fn goes_on_as(&mut self, end: EndId, caller: &Aor) -> bool {
        if let Some(place) = self.adrift.iter().position(|(adrift, _)| *adrift == end) {
            let (_, attempt) = self.adrift.swap_remove(place);
            self.begin(end, attempt);
        }
        let Some(attempt) = self.attempts.get_mut(&end) else { return false };
        if attempt.caller != *caller {
            attempt.caller = caller.clone();
        }
        true
    }

    pub(super) fn begin(&mut self, end: EndId, mut attempt: Attempt) {
        if self.attempts.len() < self.most {
            let judged_at = attempt.answered.as_ref().map(|(at, _)| *at);
            self.deadlines.set(&mut attempt.deadline, end, judged_at);
            self.attempts.insert(end, attempt);
        } else {
            self.times_full += 1;
        }
    }

    /// How often an attempt was left out, because there were too many.
    pub(super) const fn times_full(&self) -> u64 {
        self.times_full
    }

    /// It was answered: [`Self::pop_answered`] gives it a little later.
    pub(super) fn answered(&mut self, end: EndId, now: Timestamp, evidence: &Evidence) {
        if let Some(attempt) = self.attempts.get_mut(&end).filter(|attempt| attempt.answered.is_none()) {
            let judged_at = now.after(WHO_ANSWERED);
            attempt.answered = Some((judged_at, evidence.clone()));
            self.deadlines.set(&mut attempt.deadline, end, Some(judged_at));
        }
    }

    /// It is over; whether and with what evidence it was answered, while that is not judged yet.
    pub(super) fn end(&mut self, end: EndId) -> Option<(Attempt, Option<Evidence>)> {
        let mut attempt = self.attempts.remove(&end)?;
        self.deadlines.set(&mut attempt.deadline, end, None);
        let answered = attempt.answered.take();
        Some((attempt, answered.map(|(_, evidence)| evidence)))
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// One that was answered a little ago, and what showed that.
    pub(super) fn pop_answered(&mut self, now: Timestamp) -> Option<(Attempt, Evidence)> {
        let (_, end) = self.deadlines.pop_due(now)?;
        let mut attempt = self.attempts.remove(&end)?;
        let (_, evidence) = attempt.answered.take()?;
        Some((attempt, evidence))
    }
}

/// What an attempt came to, where that is of any consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The caller wishes to call again.
    InVain(Why),
    /// So did the phone that was asked for it.
    FailedAgain,
}

/// Judges attempts by what is known when they end.
pub(super) struct Judge<'a> {
    pub phones: &'a Phones,
    pub ends: &'a Ends,
    pub now: Timestamp,
    /// A busy callee is waited for as one that is not registered is.
    pub busy: bool,
}

impl Judge<'_> {
    /// A call without a 2xx is over.
    pub(super) fn failed(&self, attempt: &Attempt, fact: &DialogFact) -> Option<Verdict> {
        if attempt.referred {
            return Some(Verdict::FailedAgain);
        }
        let Attempt { callee, unregistered, .. } = attempt;
        let unregistered = *unregistered || self.phones.is_unregistered(callee, fact.final_status, self.now);
        match (in_vain(fact), was_busy(fact)) {
            (Some(why), _) if unregistered => Some(Verdict::InVain(why)),
            // Who refuses a call with 486 though it is in none does not want it.
            (_, Some(why)) if self.busy && self.ends.is_engaged(callee) => Some(Verdict::InVain(why)),
            _ => None,
        }
    }

    /// A call was answered: by the callee, or by somebody else in its place.
    pub(super) fn answered(&self, attempt: &Attempt) -> Option<Verdict> {
        let Attempt { caller, callee, .. } = attempt;
        // Of one that never registered it is not known whose answer would be its own.
        let unregistered =
            self.phones.knows(callee) && (attempt.unregistered || self.phones.has_left(callee, self.now));
        if !unregistered || self.ends.talk(caller, callee) {
            return None;
        }
        Some(if attempt.referred { Verdict::FailedAgain } else { Verdict::InVain(Why::AnsweredElsewhere) })
    }
}

/// What an attempt's end without a 2xx says, if the callee was not registered.
const fn in_vain(fact: &DialogFact) -> Option<Why> {
    match (fact.ended, fact.final_status) {
        (_, Some(status @ (404 | 408 | 430 | 480 | 503))) => Some(Why::Status(status)),
        (Some(EndReason::Cancelled | EndReason::NoResponse), _) => Some(Why::Unanswered),
        _ => None,
    }
}

/// It was refused because the callee is in a call.
const fn was_busy(fact: &DialogFact) -> Option<Why> {
    match fact.final_status {
        Some(status @ (486 | 600)) => Some(Why::Busy(status)),
        _ => None,
    }
}
