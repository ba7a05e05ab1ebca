//! Redial itself: who called in vain, and whom to ask when.
//! In: what the tap found out, what becomes of askings, time. Out: orders to ask, steps, records. Knows nothing of SIP messages,
//! sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::attempts::{Attempt, Attempts, Judge, Verdict};
use super::ends::{EndChange, Ends};
use super::pace::Pace;
use super::phones::{Change, Phones};
use super::wishes::{State, Wish, Wishes};
use super::{
    AskEvent, AskId, AskOrder, BackBy, KeptWish, Manner, Outcome, RedialOptions, RedialTold, Step, WaitsFor,
    Why, WishRecord,
};
use crate::base::{CaptureChange, CaptureEvent, FrameId, Limits, Timestamp, matches_pattern};
use crate::identity::{Attributed, leaves_out};
use crate::sip::Aor;
use crate::track::{DialogFact, DialogState, Engagement, Evidence, Fact, Rule, Side};

/// Interfaces of which it is known that they are blind.
const MOST_BLIND: usize = 256;
/// One caller, or one callee, has so many wishes at most; its oldest makes room.
const MOST_PER_PARTY: usize = 100;

/// What was counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedialCounters {
    /// Wishes that were made.
    pub wished: u64,
    /// Times that a phone was asked, or would have been.
    pub asked: u64,
    /// Wishes that are kept now.
    pub open: u64,
    /// Wishes that ended, by outcome, those that occurred.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Times that a table was full, so that something was left out or forgotten: of phones, calls, pauses, kinds of phones. A wish
    /// that had to make room is among the outcomes.
    pub table_full: u64,
}

/// An asking that has not ended.
pub(super) struct Running {
    pub(super) wish: u64,
    /// Whose phone.
    pub(super) phone: Aor,
    pub(super) manner: Manner,
    pub(super) user_agent: Option<Arc<str>>,
    /// It said that it rings.
    pub(super) rang: bool,
    /// Of a recall: its call at the phone was seen, or has been picked up. Further calls there are others'.
    pub(super) was_seen: bool,
}

/// See the module. Observations of one frame or moment go in by [`Self::handle`], then [`Self::flush`] decides: what a frame
/// shows only together is not acted upon by halves. After each of them, drain every `poll_…` until it gives `None`; records are
/// to be kept before orders are followed.
pub struct Redialer {
    pub(super) options: RedialOptions,
    pub(super) now: Timestamp,
    pub(super) phones: Phones,
    pub(super) ends: Ends,
    pub(super) attempts: Attempts,
    pub(super) wishes: Wishes,
    /// Wishes of which something changed since the last decision.
    pub(super) touched: BTreeSet<u64>,
    pub(super) pace: Pace,
    pub(super) running: BTreeMap<AskId, Running>,
    /// Callees for whom nobody is asked until then, and why.
    pub(super) pauses: HashMap<Aor, Pause>,
    /// Callers that were asked for a callee: until when a call is the one that they were asked for.
    pub(super) referred: HashMap<(Aor, Aor), Timestamp>,
    /// Kinds of phones that refuse REFER outside a dialog.
    pub(super) refusing: HashSet<Arc<str>>,
    /// Interfaces that do not show all.
    blind: BTreeSet<Arc<str>>,
    /// Nobody is asked any more.
    pub(super) stopped: bool,
    pub(super) last_wish: u64,
    pub(super) last_ask: u64,
    pub(super) told: VecDeque<RedialTold>,
    pub(super) orders: VecDeque<AskOrder>,
    pub(super) withdrawals: VecDeque<AskId>,
    pub(super) records: VecDeque<WishRecord>,
    pub(super) wished: u64,
    pub(super) asked: u64,
    pub(super) outcomes: BTreeMap<&'static str, u64>,
    /// Of the tables here.
    pub(super) times_full: u64,
}

impl Running {
    /// It is a recall, and its call has not been seen at this phone.
    fn awaits_call_at(&self, aor: &Aor) -> bool {
        self.manner == Manner::Recall && !self.was_seen && self.phone == *aor
    }
}

/// Why nobody is asked for a callee just now.
#[derive(Clone, Copy)]
pub(super) struct Pause {
    /// Until then.
    pub(super) until: Timestamp,
    /// What for.
    pub(super) why: WaitsFor,
    /// Whose asking it follows: that wish itself it does not hold up.
    pub(super) wish: Option<u64>,
}

impl Redialer {
    /// Nobody wishes anything.
    pub fn new(options: RedialOptions, limits: &Limits) -> Self {
        Self {
            now: Timestamp::EPOCH,
            phones: Phones::new(limits.presentities),
            ends: Ends::new(limits.calls.saturating_mul(2)),
            attempts: Attempts::new(limits.calls),
            wishes: Wishes::default(),
            touched: BTreeSet::new(),
            pace: Pace::new(options.per_minute, options.per_caller_per_h),
            running: BTreeMap::new(),
            pauses: HashMap::new(),
            referred: HashMap::new(),
            refusing: HashSet::new(),
            blind: BTreeSet::new(),
            stopped: false,
            last_wish: 0,
            last_ask: 0,
            told: VecDeque::new(),
            orders: VecDeque::new(),
            withdrawals: VecDeque::new(),
            records: VecDeque::new(),
            wished: 0,
            asked: 0,
            outcomes: BTreeMap::new(),
            times_full: 0,
            options,
        }
    }

    /// Takes back what a store kept, in its order. Whoever was asked before is not asked again; what expired meanwhile is
    /// told so with the next thing that happens.
    pub fn restore(&mut self, now: Timestamp, records: impl IntoIterator<Item = WishRecord>) {
        self.begin(now);
        self.now = self.now.max(now);
        let mut kept = BTreeMap::new();
        for record in records {
            match record {
                WishRecord::Kept(wish) => {
                    self.last_wish = self.last_wish.max(wish.wish);
                    kept.insert(wish.wish, wish);
                }
                WishRecord::Gone { wish } => {
                    self.last_wish = self.last_wish.max(wish);
                    kept.remove(&wish);
                }
            }
        }
        for wish in kept.into_values().filter_map(restored) {
            self.make_room(&wish.caller, &wish.callee);
            let probe_at = self.next_probe().filter(|_| !wish.is_asked());
            self.wishes.insert(Wish { probe_at, ..wish });
        }
    }

    /// Takes in what was found out, after firing all that was due before it.
    pub fn handle(&mut self, attributed: &Attributed) {
        let observation = &attributed.observation;
        self.handle_timeout(observation.at);
        match &observation.fact {
            Fact::Binding(fact) => {
                let change = self.phones.handle(self.now, fact);
                self.binding_changed(
                    &attributed.aor,
                    change,
                    BackBy::Registered,
                    Some(&observation.evidence),
                );
            }
            Fact::Dialog(fact) => self.dialog(attributed, fact, &observation.evidence),
            Fact::Subscription(_) | Fact::Server(_) | Fact::Domain(_) => {}
        }
    }

    /// Takes in what happened to the capture.
    pub fn handle_capture(&mut self, event: &CaptureEvent) {
        self.handle_timeout(event.at);
        match event.what {
            CaptureChange::Blind { .. } => self.note_blind(&event.interface),
            CaptureChange::Began | CaptureChange::Seeing => {
                self.blind.remove(&event.interface);
            }
            _ => return,
        }
        self.phones.seeing(self.blind.is_empty().then_some(self.now));
    }

    fn note_blind(&mut self, interface: &Arc<str>) {
        if self.blind.len() < MOST_BLIND {
            self.blind.insert(Arc::clone(interface));
        } else if !self.blind.contains(interface) {
            self.times_full += 1;
        }
    }

    /// Takes in what became of an asking.
    pub fn handle_ask(&mut self, now: Timestamp, id: AskId, event: AskEvent) {
        self.handle_timeout(now);
        let Some(running) = self.running.get_mut(&id) else { return };
        let wish = running.wish;
        running.rang |= event == AskEvent::Ringing;
        running.was_seen |= event == AskEvent::PickedUp;
        let is_current = self.wishes.get(wish).is_some_and(|wish| wish.is_asked());
        match event {
            AskEvent::Ringing if is_current => self.tell(wish, Step::Ringing),
            AskEvent::PickedUp if is_current => self.tell(wish, Step::PickedUp),
            AskEvent::Progress { status } if is_current => self.tell(wish, Step::Progress(status)),
            AskEvent::Accepted { status } if is_current => self.accepted(wish, status),
            AskEvent::Ended(end) => {
                if let Some(running) = self.running.remove(&id) {
                    self.ask_ended(&running, end);
                }
            }
            _ => {}
        }
    }

    /// The frame or moment is over: whoever can be asked is asked.
    pub fn flush(&mut self) {
        self.attempts.forget_adrift();
        for id in std::mem::take(&mut self.touched) {
            self.consider(id);
        }
    }

    /// The run ends: nobody is asked any more, and what becomes of those who are asked is not looked at.
    pub const fn stop(&mut self) {
        self.stopped = true;
    }

    /// Fires what is due, each thing at its own time.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.begin(now);
        if now > self.now {
            self.flush();
        }
        while let Some(at) = self.poll_timeout().filter(|&at| at <= now) {
            self.now = self.now.max(at);
            if let Some((attempt, evidence)) = self.attempts.pop_answered(at) {
                self.judged(&attempt, self.judge().answered(&attempt), &evidence);
            } else if let Some((_, id)) = self.wishes.pop_due(at) {
                self.wake(id);
            }
            self.flush();
        }
        self.now = self.now.max(now);
    }

    /// A capture that does not say when it began did so with what it shows first.
    fn begin(&mut self, now: Timestamp) {
        if self.now == Timestamp::EPOCH {
            self.phones.seeing(Some(now));
        }
    }

    /// When something is due next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        Timestamp::earlier(self.attempts.next_deadline(), self.wishes.next_deadline())
    }

    /// The next step to tell.
    pub fn poll_told(&mut self) -> Option<RedialTold> {
        self.told.pop_front()
    }

    /// Whom to ask next; in a dry run nobody.
    pub fn poll_order(&mut self) -> Option<AskOrder> {
        self.orders.pop_front()
    }

    /// The next asking that is to be given up: its wish is over. Its end is still to be told by [`Self::handle_ask`].
    pub fn poll_withdrawal(&mut self) -> Option<AskId> {
        self.withdrawals.pop_front()
    }

    /// The next record for a store.
    pub fn poll_record(&mut self) -> Option<WishRecord> {
        self.records.pop_front()
    }

    /// What was counted so far.
    pub fn counters(&self) -> RedialCounters {
        RedialCounters {
            wished: self.wished,
            asked: self.asked,
            open: self.wishes.len() as u64,
            outcomes: self.outcomes.iter().map(|(name, count)| (*name, *count)).collect(),
            table_full: self.times_full
                + self.ends.times_full()
                + self.attempts.times_full()
                + self.phones.times_full(),
        }
    }

    /// `evidence` is what shows it; a probe's answer does not come by the mirror, so that each wish cites what it did before.
    pub(super) fn binding_changed(
        &mut self,
        aor: &Aor,
        change: Change,
        by: BackBy,
        evidence: Option<&Evidence>,
    ) {
        match change {
            Change::Same => return,
            Change::Appeared => {
                for id in self.wishes.for_callee(aor) {
                    self.back(id, by, evidence);
                }
            }
            Change::Left => {
                for id in self.wishes.for_callee(aor) {
                    let ready = self.wishes.get(id).filter(|wish| wish.state == State::Ready);
                    if let Some(because) = ready.map(|wish| evidence.unwrap_or(&wish.because).clone()) {
                        self.wait_again(id, &because);
                    }
                }
            }
        }
        self.look_at_wishes_of(aor);
    }

    /// The callee can be called.
    fn back(&mut self, id: u64, by: BackBy, evidence: Option<&Evidence>) {
        let waited = self.wishes.edit(id, |wish| {
            let waited = matches!(wish.state, State::Waiting { .. });
            if waited {
                (wish.state, wish.probe_at) = (State::Ready, None);
                wish.because = evidence.unwrap_or(&wish.because).clone();
            }
            waited
        });
        if waited == Some(true) {
            self.tell(id, Step::Back(by));
        }
    }

    pub(super) fn wait_again(&mut self, id: u64, evidence: &Evidence) {
        let probe_at = self.next_probe();
        self.wishes.edit(id, |wish| {
            wish.state = State::Waiting { idle_at: None };
            (wish.waits_for, wish.open_at, wish.probe_at) = (None, None, probe_at);
            wish.because = evidence.clone();
        });
        self.tell(id, Step::Gone);
    }

    fn dialog(&mut self, attributed: &Attributed, fact: &DialogFact, evidence: &Evidence) {
        let aor = &attributed.aor;
        let was_engaged = self.ends.is_engaged(aor);
        let rung = self.running.values().any(|running| running.awaits_call_at(aor));
        let change = self.ends.handle(attributed, fact, rung);
        if change == EndChange::BeganForUs {
            for running in self.running.values_mut().filter(|running| running.awaits_call_at(aor)) {
                running.was_seen = true;
            }
        }
        match (fact.side, attributed.withdrawn) {
            (Side::Caller, true) => self.attempts.cast_off(fact.end),
            (Side::Caller, false) => self.calling(attributed, fact, change, evidence),
            (Side::Called, _) => {}
        }
        if matches!(fact.engagement, Engagement::Talking | Engagement::Held) {
            self.close_those_who_talk(aor, evidence);
        }
        match (was_engaged, self.ends.is_engaged(aor)) {
            (true, false) => self.became_idle(aor, evidence),
            (false, true) => self.became_engaged(aor),
            _ => return,
        }
        self.look_at_wishes_of(aor);
    }

    /// A calling end: an attempt begins, is answered or ends.
    fn calling(
        &mut self,
        attributed: &Attributed,
        fact: &DialogFact,
        change: EndChange,
        evidence: &Evidence,
    ) {
        let goes_on = self.attempts.goes_on_as(fact.end, &attributed.aor);
        match fact.state {
            DialogState::Trying | DialogState::Early if !goes_on && change == EndChange::Began => {
                self.attempt_begins(&attributed.aor, fact, evidence);
            }
            DialogState::Trying | DialogState::Early => {}
            DialogState::Confirmed => self.attempts.answered(fact.end, self.now, evidence),
            DialogState::Terminated => match self.attempts.end(fact.end) {
                Some((attempt, Some(answered))) => {
                    self.judged(&attempt, self.judge().answered(&attempt), &answered);
                }
                Some((attempt, None)) => {
                    self.judged(&attempt, self.judge().failed(&attempt, fact), evidence);
                }
                None => {}
            },
        }
    }

    fn attempt_begins(&mut self, caller: &Aor, fact: &DialogFact, evidence: &Evidence) {
        if self.is_cancel_code(fact) {
            for id in self.wishes.by_caller(caller) {
                self.close(id, Outcome::Cancelled, Some(evidence));
            }
            return;
        }
        let Some(callee) = fact.peer.as_ref().and_then(|peer| Aor::from_uri(peer.as_bytes())) else { return };
        if callee == *caller {
            return;
        }
        let pair = (caller.clone(), callee);
        let referred = self.referred.remove(&pair).is_some_and(|until| until >= self.now);
        let (caller, callee) = pair;
        if referred && let Some(id) = self.wishes.of_pair(&caller, &callee) {
            let dialled = |wish: &mut Wish| (wish.dialled, wish.because) = (true, evidence.clone());
            self.wishes.edit(id, dialled);
            self.tell(id, Step::Dialled);
        }
        let unregistered = self.phones.is_unregistered(&callee, None, self.now);
        self.attempts.begin(fact.end, Attempt::new(caller, callee, fact.expires_s, unregistered, referred));
    }

    fn is_cancel_code(&self, fact: &DialogFact) -> bool {
        let dialled = fact.dialled.as_ref().and_then(|dialled| Aor::from_uri(dialled.as_bytes()));
        let texts = [dialled.as_ref().map(Aor::as_str), fact.peer.as_deref()];
        matches_any(&self.options.cancel_codes, texts.into_iter().flatten())
    }

    const fn judge(&self) -> Judge<'_> {
        Judge { phones: &self.phones, ends: &self.ends, now: self.now, busy: self.options.busy }
    }

    /// What follows from what an attempt came to.
    fn judged(&mut self, attempt: &Attempt, verdict: Option<Verdict>, evidence: &Evidence) {
        match verdict {
            Some(Verdict::InVain(why)) => self.wish(attempt, why, evidence),
            Some(Verdict::FailedAgain) => self.failed_again(attempt, evidence),
            None => {}
        }
    }

    fn failed_again(&mut self, attempt: &Attempt, evidence: &Evidence) {
        let asked = self.wishes.of_pair(&attempt.caller, &attempt.callee);
        if let Some(id) = asked.filter(|id| self.wishes.get(*id).is_some_and(Wish::is_asked)) {
            self.close(id, Outcome::FailedAgain, Some(evidence));
        }
    }

    /// Somebody called in vain.
    fn wish(&mut self, attempt: &Attempt, why: Why, evidence: &Evidence) {
        let Attempt { caller, callee, .. } = attempt;
        if !self.may_wish(caller, callee) {
            return;
        }
        let RedialOptions { watch_s, min_watch_s, max_watch_s, .. } = self.options;
        let asked_for = attempt.expires_s.filter(|&expires_s| expires_s >= min_watch_s);
        let until = self.now.after_s(asked_for.map_or(watch_s, |expires_s| expires_s.min(max_watch_s)));
        let known = self.wishes.of_pair(caller, callee);
        if let Some(id) = known.filter(|id| self.wishes.get(*id).is_some_and(Wish::is_asked)) {
            // A new call of its own, and in vain: the old wish is not going to be fulfilled.
            self.close(id, Outcome::FailedAgain, Some(evidence));
        } else if let Some(id) = known {
            self.wishes.edit(id, |wish| {
                wish.until = wish.until.max(until);
                (wish.why, wish.because) = (why, evidence.clone());
            });
            self.tell(id, Step::Renewed(why));
            return self.keep(id);
        }
        self.make_room(caller, callee);
        self.last_wish += 1;
        self.wished += 1;
        let id = self.last_wish;
        self.wishes.insert(Wish {
            id,
            caller: caller.clone(),
            callee: callee.clone(),
            why,
            made_at: self.now,
            until,
            state: State::Waiting { idle_at: None },
            dialled: false,
            waits_for: None,
            open_at: None,
            probe_at: self.next_probe(),
            because: evidence.clone(),
            refuses_refer: false,
            deadline: None,
        });
        self.tell(id, Step::Wished(why));
        self.keep(id);
        if self.phones.is_there(callee, self.now) && !matches!(why, Why::Busy(_)) {
            // It came back while the call was still on its way.
            self.back(id, BackBy::Registered, Some(evidence));
            self.touched.insert(id);
        }
    }

    /// Both are let, the caller is known by its registration, and the callee is of a domain that is managed.
    fn may_wish(&self, caller: &Aor, callee: &Aor) -> bool {
        let RedialOptions { allow, deny, domains, .. } = &self.options;
        // A caller may turn out to be whom it calls.
        let denied = caller == callee || matches_any(deny, [caller.as_str(), callee.as_str()].into_iter());
        let allowed = allow.is_empty() || matches_any(allow, std::iter::once(caller.as_str()));
        let managed = match domains.is_empty() {
            true => self.phones.has_domain_of(callee),
            false => !leaves_out(domains, callee) && !leaves_out(domains, caller),
        };
        allowed && !denied && managed && self.phones.knows(caller)
    }

    fn make_room(&mut self, caller: &Aor, callee: &Aor) {
        while self.wishes.len() >= self.options.most_wishes.max(1) {
            let Some(id) = self.wishes.oldest() else { break };
            self.close(id, Outcome::Evicted, None);
        }
        for party in [caller, callee] {
            let ids = self.wishes.of(party);
            if let Some(id) = ids.first().filter(|_| ids.len() >= MOST_PER_PARTY) {
                self.close(*id, Outcome::Evicted, None);
            }
        }
    }

    fn close_those_who_talk(&mut self, aor: &Aor, evidence: &Evidence) {
        for id in self.wishes.of(aor) {
            let Some(wish) = self.wishes.get(id) else { continue };
            if self.ends.talk(&wish.caller, &wish.callee) {
                let outcome = if wish.is_asked() { Outcome::Talked } else { Outcome::Reached };
                self.close(id, outcome, Some(evidence));
            }
        }
    }

    /// Those who wait for it are asked a moment later.
    fn became_idle(&mut self, aor: &Aor, evidence: &Evidence) {
        let idle_at = Some(self.now.after_s(self.options.after_busy_s));
        let ids = self.wishes.for_callee(aor);
        if !ids.is_empty() {
            let until = self.now.after_s(self.options.after_busy_s);
            self.pause(aor, Pause { until, why: WaitsFor::Callee, wish: None });
        }
        for id in ids {
            self.wishes.edit(id, |wish| {
                // That its own call is over is no sign.
                let other = wish.because.call_id != evidence.call_id;
                if matches!((wish.state, wish.why), (State::Waiting { .. }, Why::Busy(_))) && other {
                    (wish.state, wish.because) = (State::Waiting { idle_at }, evidence.clone());
                }
            });
        }
    }

    fn became_engaged(&mut self, aor: &Aor) {
        for id in self.wishes.for_callee(aor) {
            self.wishes.edit(id, |wish| {
                if let State::Waiting { idle_at } = &mut wish.state {
                    *idle_at = None;
                }
            });
        }
    }

    pub(super) fn look_at_wishes_of(&mut self, aor: &Aor) {
        self.touched.extend(self.wishes.of(aor));
    }

    /// Something is due for a wish.
    fn wake(&mut self, id: u64) {
        let now = self.now;
        let Some(wish) = self.wishes.get(id) else { return };
        if wish.until <= now {
            return self.close(id, Outcome::Expired, None);
        }
        let was_idle = matches!(wish.state, State::Waiting { idle_at: Some(at) } if at <= now);
        let probe = wish.probe_at.is_some_and(|at| at <= now);
        let callee = wish.callee.clone();
        self.wishes.edit(id, |wish| {
            wish.open_at = wish.open_at.filter(|&at| at > now);
            if was_idle {
                wish.state = State::Waiting { idle_at: None };
            }
        });
        if was_idle && !self.phones.has_left(&callee, now) {
            self.back(id, BackBy::Idle, None);
        }
        if probe {
            self.probe(id, &callee);
        }
        self.touched.insert(id);
    }

    pub(super) fn close(&mut self, id: u64, outcome: Outcome, evidence: Option<&Evidence>) {
        if let Some(evidence) = evidence {
            self.wishes.edit(id, |wish| wish.because = evidence.clone());
        }
        self.tell(id, Step::Closed(outcome));
        let Some(wish) = self.wishes.remove(id) else { return };
        *self.outcomes.entry(outcome.name()).or_default() += 1;
        if matches!(outcome, Outcome::Cancelled | Outcome::Reached | Outcome::Expired | Outcome::Evicted) {
            // What the caller dials from now on it dials by itself.
            self.referred.remove(&(wish.caller.clone(), wish.callee.clone()));
        }
        self.records.push_back(WishRecord::Gone { wish: id });
        if let State::Asking(ask) = wish.state
            && self.running.contains_key(&ask)
            && outcome != Outcome::Talked
        {
            self.withdrawals.push_back(ask);
        }
    }

    pub(super) fn tell(&mut self, id: u64, step: Step) {
        let Some(wish) = self.wishes.get(id) else { return };
        self.told.push_back(RedialTold {
            at: self.now,
            wish: id,
            caller: wish.caller.clone(),
            callee: wish.callee.clone(),
            until: wish.until,
            step,
            dry_run: self.options.dry_run,
            because: wish.because.clone(),
        });
    }

    pub(super) fn keep(&mut self, id: u64) {
        let Some(wish) = self.wishes.get(id) else { return };
        self.records.push_back(WishRecord::Kept(KeptWish {
            wish: id,
            caller: wish.caller.as_str().to_owned(),
            callee: wish.callee.as_str().to_owned(),
            why: wish.why,
            made_at_us: wish.made_at.as_nanos() / 1_000,
            until_us: wish.until.as_nanos() / 1_000,
            asked: wish.is_asked(),
        }));
    }
}

fn restored(kept: KeptWish) -> Option<Wish> {
    let moment = |microseconds: u64| Timestamp::from_nanos(microseconds.saturating_mul(1_000));
    Some(Wish {
        id: kept.wish,
        caller: Aor::from_uri(kept.caller.as_bytes())?,
        callee: Aor::from_uri(kept.callee.as_bytes())?,
        why: kept.why,
        made_at: moment(kept.made_at_us),
        until: moment(kept.until_us),
        state: if kept.asked { State::Asked } else { State::Waiting { idle_at: None } },
        dialled: false,
        waits_for: None,
        open_at: None,
        probe_at: None,
        because: Evidence { rule: Rule::InviteFailed, frame: FrameId::default(), call_id: Arc::from("") },
        refuses_refer: false,
        deadline: None,
    })
}

fn matches_any<'a>(patterns: &[String], mut texts: impl Iterator<Item = &'a str>) -> bool {
    texts.any(|text| patterns.iter().any(|pattern| matches_pattern(pattern.as_bytes(), text.as_bytes())))
}
