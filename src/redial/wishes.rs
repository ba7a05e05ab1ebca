//! The list of wishes itself: who wishes to call whom, and how far that is.
//! In: wishes. Out: the same, by number, by caller and by callee. Knows nothing of what is done for them.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::{AskId, WaitsFor, Why};
use crate::base::{Deadlines, Timestamp};
use crate::sip::Aor;
use crate::track::Evidence;

/// How far a wish is.
///
/// ```text
///            the callee registers, becomes idle,           its turn, and the caller's
///  +---------+     answers a probe     +-------+     phone is free     +--------+    2xx    +-------+
///  | Waiting |------------------------>| Ready |---------------------->| Asking |---------->| Asked |
///  +---------+<------------------------+-------+                       +--------+           +-------+
///       |           it left again          |                                |                   |
///       |  expired, reached, cancelled     |       refused, silent, …       |   talked, failed  |
///       +----------------------------------+--------------------------------+-------------------+--> closed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For the callee.
    Waiting {
        /// A busy callee has become idle, and is believed to stay so from then on.
        idle_at: Option<Timestamp>,
    },
    /// The callee can be called; the caller is to be asked.
    Ready,
    /// The caller's phone is being asked.
    Asking(AskId),
    /// It accepted, or nobody is really asked.
    Asked,
}

/// One wish.
pub(super) struct Wish {
    pub id: u64,
    pub caller: Aor,
    pub callee: Aor,
    pub why: Why,
    pub made_at: Timestamp,
    pub until: Timestamp,
    pub state: State,
    /// The caller's own INVITE was seen after it was asked.
    pub dialled: bool,
    /// What was told last of what it waits for.
    pub waits_for: Option<WaitsFor>,
    /// A turn or a rate limit lets it through then.
    pub open_at: Option<Timestamp>,
    /// The callee is probed then.
    pub probe_at: Option<Timestamp>,
    /// What brought it about that it is as it is.
    pub because: Evidence,
    /// The caller's phone did not take a REFER: it is to be recalled.
    pub refuses_refer: bool,
    pub deadline: Option<Timestamp>,
}

impl Wish {
    /// The caller's phone was asked, or is being asked.
    pub(super) const fn is_asked(&self) -> bool {
        matches!(self.state, State::Asking(_) | State::Asked)
    }

    fn next_deadline(&self) -> Timestamp {
        let idle_at = match self.state {
            State::Waiting { idle_at } => idle_at,
            _ => None,
        };
        let timers = [idle_at, self.open_at, self.probe_at];
        timers.into_iter().flatten().fold(self.until, Timestamp::min)
    }
}

/// All wishes. The oldest has the smallest number.
#[derive(Default)]
pub(super) struct Wishes {
    wishes: BTreeMap<u64, Wish>,
    /// Of callers and callees.
    by_party: HashMap<Aor, BTreeSet<u64>>,
    deadlines: Deadlines<u64>,
}

impl Wishes {
    pub(super) fn len(&self) -> usize {
        self.wishes.len()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Wish> {
        self.wishes.get(&id)
    }

    /// Changes a wish, if it is there, and gives what `change` gives.
    pub(super) fn edit<T>(&mut self, id: u64, change: impl FnOnce(&mut Wish) -> T) -> Option<T> {
        let wish = self.wishes.get_mut(&id)?;
        let given = change(wish);
        let next = wish.next_deadline();
        self.deadlines.set(&mut wish.deadline, id, Some(next));
        Some(given)
    }

    pub(super) fn insert(&mut self, wish: Wish) {
        let id = wish.id;
        for party in [&wish.caller, &wish.callee] {
            self.by_party.entry(party.clone()).or_default().insert(id);
        }
        self.wishes.insert(id, wish);
        self.edit(id, |_| ());
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Wish> {
        let mut wish = self.wishes.remove(&id)?;
        self.deadlines.set(&mut wish.deadline, id, None);
        for party in [&wish.caller, &wish.callee] {
            if let Some(ids) = self.by_party.get_mut(party) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_party.remove(party);
                }
            }
        }
        Some(wish)
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.wishes.first_key_value().map(|(id, _)| *id)
    }

    /// Those of which it is the caller or the callee, the oldest first.
    pub(super) fn of(&self, party: &Aor) -> Vec<u64> {
        self.by_party.get(party).into_iter().flatten().copied().collect()
    }

    /// Those that wait for, or were made for, this callee, the oldest first.
    pub(super) fn for_callee(&self, callee: &Aor) -> Vec<u64> {
        let mut ids = self.of(callee);
        ids.retain(|id| self.get(*id).is_some_and(|wish| wish.callee == *callee));
        ids
    }

    /// Those of this caller, the oldest first.
    pub(super) fn by_caller(&self, caller: &Aor) -> Vec<u64> {
        let mut ids = self.of(caller);
        ids.retain(|id| self.get(*id).is_some_and(|wish| wish.caller == *caller));
        ids
    }

    /// That of this caller for this callee.
    pub(super) fn of_pair(&self, caller: &Aor, callee: &Aor) -> Option<u64> {
        self.by_caller(caller).into_iter().find(|id| self.get(*id).is_some_and(|wish| wish.callee == *callee))
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// The next that something is due for, at its time.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, u64)> {
        let (at, id) = self.deadlines.pop_due(now)?;
        if let Some(wish) = self.wishes.get_mut(&id) {
            wish.deadline = None;
        }
        Some((at, id))
    }
}
