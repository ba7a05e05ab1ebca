//! Whom to ask when, and what came of it.
//! In: wishes whose callee can be called, what becomes of askings. Out: orders to ask, steps. Knows nothing of who called whom,
//! SIP messages, sockets.

use std::sync::Arc;
use std::time::Duration;

use super::redialer::{Pause, Redialer, Running};
use super::wishes::State;
use super::{
    AskEnd, AskId, AskOrder, BackBy, Manner, Outcome, RedialOptions, Step, Until, WaitsFor, WayWanted,
};
use crate::base::Timestamp;
use crate::sip::Aor;

/// A call that begins so soon after its phone was asked is the one that it was asked for.
const REFERRED_WITHIN: Duration = Duration::from_secs(64);
/// Kinds of phones of which it is remembered that they refuse REFER.
const MOST_AGENTS: usize = 1_024;
/// Callees for whom there is a pause at once; so many calls that phones were asked for are expected.
const MOST_PAUSES: usize = 4_096;
/// Probes at once: askings are not to wait behind them.
const MOST_PROBES: usize = 16;

impl Redialer {
    /// Asks the caller if nothing is in the way, else says what is.
    pub(super) fn consider(&mut self, id: u64) {
        let Some(wish) = self.wishes.get(id).filter(|wish| wish.state == State::Ready && !self.stopped)
        else {
            return;
        };
        let (caller, callee, because) = (wish.caller.clone(), wish.callee.clone(), wish.because.clone());
        let refuses_refer = wish.refuses_refer;
        if self.phones.has_left(&callee, self.now) {
            // It answered a probe, and that is too long ago by now.
            return self.wait_again(id, &because);
        }
        let Some((waits_for, open_at)) = self.obstacle(id, &caller, &callee) else {
            let manner = if refuses_refer { Manner::Recall } else { self.manner_for(&caller) };
            return self.ask(id, manner);
        };
        let before = self.wishes.edit(id, |wish| {
            wish.open_at = open_at;
            wish.waits_for.replace(waits_for)
        });
        if before.flatten() != Some(waits_for) {
            self.tell(id, Step::Waits(waits_for));
        }
    }

    /// What is in the way of asking this caller now, and until when, if that is known.
    fn obstacle(&mut self, id: u64, caller: &Aor, callee: &Aor) -> Option<(WaitsFor, Option<Timestamp>)> {
        let now = self.now;
        if self.ends.is_engaged(callee) {
            return Some((WaitsFor::Callee, None));
        }
        let is_asked = |running: &Running| running.phone == *caller && running.manner != Manner::Probe;
        if self.running.values().any(is_asked) || self.ends.is_engaged(caller) {
            return Some((WaitsFor::Caller, None));
        }
        // After a restart it is not known who is there.
        if !self.phones.is_there(caller, now) {
            return Some((WaitsFor::CallerRegistration, None));
        }
        let pause = self.pauses.get(callee).filter(|pause| pause.until > now && pause.wish != Some(id));
        if let Some(pause) = pause {
            return Some((pause.why, Some(pause.until)));
        }
        self.pace.not_before(caller, now).map(|at| (WaitsFor::Rate, Some(at)))
    }

    fn manner_for(&self, caller: &Aor) -> Manner {
        match self.options.way {
            WayWanted::Refer => Manner::Refer,
            WayWanted::Recall => Manner::Recall,
            WayWanted::Auto => {
                let agent = self.phones.newest(caller).and_then(|binding| binding.user_agent.as_ref());
                let refuses = agent.is_some_and(|agent| self.refusing.contains(agent));
                if refuses { Manner::Recall } else { Manner::Refer }
            }
        }
    }

    pub(super) fn ask(&mut self, id: u64, manner: Manner) {
        let Some(wish) = self.wishes.get(id) else { return };
        let (caller, callee) = (wish.caller.clone(), wish.callee.clone());
        self.asked += 1;
        self.pace.asked(&caller, self.now);
        let until = self.now.after_s(self.options.spacing_s);
        self.pause(&callee, Pause { until, why: WaitsFor::Turn, wish: Some(id) });
        self.note_referred(&caller, &callee);
        let state = match self.options.dry_run {
            true => State::Asked,
            false => State::Asking(self.order(id, manner, &caller, &callee)),
        };
        self.wishes.edit(id, |wish| {
            (wish.state, wish.waits_for, wish.open_at, wish.probe_at) = (state, None, None, None);
        });
        self.tell(id, Step::Asked(manner));
        self.keep(id);
        if self.options.dry_run && self.options.until == Until::Refer {
            self.close(id, Outcome::Asked, None);
        }
    }

    /// Has a phone asked: the caller's, or for a probe the callee's.
    fn order(&mut self, wish: u64, manner: Manner, phone: &Aor, callee: &Aor) -> AskId {
        self.last_ask += 1;
        let id = AskId(self.last_ask);
        let binding = self.phones.newest(phone);
        let user_agent = binding.and_then(|binding| binding.user_agent.clone());
        self.orders.push_back(AskOrder {
            id,
            manner,
            phone: phone.clone(),
            callee: callee.clone(),
            contact: binding.map(|binding| Arc::clone(&binding.contact)),
            flow: binding.and_then(|binding| binding.flow),
        });
        let phone = phone.clone();
        self.running.insert(id, Running { wish, phone, manner, user_agent, rang: false, was_seen: false });
        id
    }

    /// Nobody is asked for this callee for a while.
    pub(super) fn pause(&mut self, callee: &Aor, pause: Pause) {
        let now = self.now;
        if self.pauses.len() >= MOST_PAUSES {
            self.pauses.retain(|_, pause| pause.until > now);
        }
        let has_room = self.pauses.len() < MOST_PAUSES;
        match self.pauses.get_mut(callee) {
            Some(known) if known.until < pause.until => *known = pause,
            Some(_) => {}
            None if has_room => {
                self.pauses.insert(callee.clone(), pause);
            }
            None => self.times_full += 1,
        }
    }

    fn note_referred(&mut self, caller: &Aor, callee: &Aor) {
        let now = self.now;
        if self.referred.len() >= MOST_PAUSES {
            self.referred.retain(|_, until| *until >= now);
        }
        let pair = (caller.clone(), callee.clone());
        if self.referred.len() < MOST_PAUSES || self.referred.contains_key(&pair) {
            self.referred.insert(pair, now.after(REFERRED_WITHIN));
        } else {
            self.times_full += 1;
        }
    }

    /// Looks whether the callee's last contact answers; one wish does so for all that wait for it.
    pub(super) fn probe(&mut self, id: u64, callee: &Aor) {
        let next = self.next_probe();
        self.wishes.edit(id, |wish| wish.probe_at = next);
        let waits =
            |id: &u64| self.wishes.get(*id).is_some_and(|wish| matches!(wish.state, State::Waiting { .. }));
        let is_first = self.wishes.for_callee(callee).iter().find(|id| waits(id)) == Some(&id);
        let is_running = self.running.values().any(|running| running.phone == *callee);
        let probes = self.running.values().filter(|running| running.manner == Manner::Probe).count();
        let may_probe = !self.stopped && !is_running && probes < MOST_PROBES;
        if is_first && may_probe && self.phones.has_left(callee, self.now) {
            self.order(id, Manner::Probe, callee, callee);
        }
    }

    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        let RedialOptions { probe_s, dry_run, .. } = self.options;
        (probe_s > 0 && !dry_run).then(|| self.now.after_s(probe_s))
    }

    /// The phone will call.
    pub(super) fn accepted(&mut self, id: u64, status: u16) {
        self.wishes.edit(id, |wish| wish.state = State::Asked);
        self.tell(id, Step::Accepted(status));
        // The call comes now, however long it took until the phone was picked up.
        if let Some(wish) = self.wishes.get(id).filter(|wish| !wish.dialled) {
            let (caller, callee) = (wish.caller.clone(), wish.callee.clone());
            self.note_referred(&caller, &callee);
        }
        if self.options.until == Until::Refer {
            self.close(id, Outcome::Asked, None);
        }
    }

    pub(super) fn ask_ended(&mut self, running: &Running, end: AskEnd) {
        if running.manner == Manner::Probe {
            return self.probed(&running.phone, end);
        }
        if self.stopped {
            return;
        }
        let id = running.wish;
        let dialled = self.wishes.get(id).map(|wish| wish.dialled);
        let outcome = match end {
            AskEnd::Followed { status: Some(300..) } => Some(Outcome::FailedAgain),
            AskEnd::Followed { .. } | AskEnd::There { .. } => None,
            // The answer was lost: its call was seen.
            _ if dialled == Some(true) => {
                self.wishes.edit(id, |wish| wish.state = State::Asked);
                None
            }
            // It is recalled as soon as nothing is in the way.
            _ if self.was_refer_refused(running, end) => {
                if let Some(agent) = &running.user_agent {
                    self.note_refusing(agent);
                }
                let pair = self.wishes.edit(id, |wish| {
                    (wish.state, wish.refuses_refer) = (State::Ready, true);
                    (wish.caller.clone(), wish.callee.clone())
                });
                pair.and_then(|pair| self.referred.remove(&pair));
                self.touched.insert(id);
                None
            }
            // So says a proxy to which the phone is silent.
            AskEnd::Silent | AskEnd::Refused { status: 408 } => Some(Outcome::Silent),
            AskEnd::Refused { status } => Some(Outcome::Refused { status }),
            AskEnd::NotPickedUp { status } if !running.rang => Some(never_rang(status)),
            AskEnd::NotPickedUp { .. } | AskEnd::HungUp => Some(Outcome::NotPickedUp),
            AskEnd::Undeliverable => Some(Outcome::Undeliverable),
        };
        if let Some((outcome, wish)) = outcome.zip(self.wishes.get(id).filter(|wish| wish.is_asked())) {
            if outcome != Outcome::FailedAgain {
                // It was not asked after all: what it dials is its own call.
                self.referred.remove(&(wish.caller.clone(), wish.callee.clone()));
            }
            self.close(id, outcome, None);
        }
        self.look_at_wishes_of(&running.phone);
    }

    /// The phone does not take REFER outside a dialog, and may be recalled instead.
    fn was_refer_refused(&self, running: &Running, end: AskEnd) -> bool {
        let refuses =
            matches!(end, AskEnd::Silent | AskEnd::Refused { status: 403 | 405 | 408 | 489 | 501 | 603 });
        // What we took back ourselves was not refused.
        let was_wanted =
            self.wishes.get(running.wish).is_some_and(|wish| matches!(wish.state, State::Asking(_)));
        let is_refer = running.manner == Manner::Refer && self.options.way == WayWanted::Auto;
        refuses && was_wanted && is_refer
    }

    /// Phones of this kind are recalled at once from now on.
    fn note_refusing(&mut self, agent: &Arc<str>) {
        if self.refusing.len() < MOST_AGENTS {
            self.refusing.insert(Arc::clone(agent));
        } else if !self.refusing.contains(agent) {
            self.times_full += 1;
        }
    }

    fn probed(&mut self, callee: &Aor, end: AskEnd) {
        if !matches!(end, AskEnd::There { .. }) {
            return;
        }
        let until = self.now.after_s(self.options.probe_s.saturating_mul(2));
        let change = self.phones.probed(callee, self.now, until);
        self.binding_changed(callee, change, BackBy::Probe, None);
    }
}

/// What it means that a recall ended so at a phone that did not say that it rings: most final responses are no person's.
const fn never_rang(status: Option<u16>) -> Outcome {
    match status {
        // What answered was a proxy, which heard nothing either.
        None | Some(408) => Outcome::Silent,
        // Busy, declined, not to be disturbed.
        Some(480 | 486 | 487 | 600 | 603) => Outcome::NotPickedUp,
        Some(status) => Outcome::Refused { status },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Limits;

    /// How often a table was full, when so many were noted in it, and one of them once more; and how many it holds.
    fn noted(
        count: usize,
        note: impl Fn(&mut Redialer, &str),
        held: impl Fn(&Redialer) -> usize,
    ) -> (u64, usize) {
        let mut redialer = Redialer::new(RedialOptions::default(), &Limits::default());
        for number in (0..count).chain([0]) {
            note(&mut redialer, &format!("user{number}"));
        }
        (redialer.counters().table_full, held(&redialer))
    }

    #[test]
    fn pauses_calls_to_come_and_kinds_of_phones_are_bounded_and_it_is_counted_what_finds_no_room() {
        let aor = |user: &str| Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap();
        let pause = |redialer: &mut Redialer, user: &str| {
            let until = redialer.now.after_s(1);
            redialer.pause(&aor(user), Pause { until, why: WaitsFor::Turn, wish: None });
        };
        let refer = |redialer: &mut Redialer, user: &str| redialer.note_referred(&aor(user), &aor("bob"));
        let refuse = |redialer: &mut Redialer, agent: &str| redialer.note_refusing(&Arc::from(agent));
        for more in [0, 2] {
            let times = more as u64;
            assert_eq!(noted(MOST_PAUSES + more, pause, |held| held.pauses.len()), (times, MOST_PAUSES));
            assert_eq!(noted(MOST_PAUSES + more, refer, |held| held.referred.len()), (times, MOST_PAUSES));
            assert_eq!(noted(MOST_AGENTS + more, refuse, |held| held.refusing.len()), (times, MOST_AGENTS));
        }
    }

    #[test]
    fn pauses_that_are_over_make_room() {
        let aor = |user: &str| Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap();
        let pause = |redialer: &mut Redialer, user: &str| {
            redialer.now = redialer.now.after_s(1);
            let until = redialer.now.after_s(1);
            redialer.pause(&aor(user), Pause { until, why: WaitsFor::Turn, wish: None });
        };
        let (times, held) = noted(MOST_PAUSES + 1, pause, |held| held.pauses.len());
        assert_eq!((times, held), (0, 2));
    }
}
