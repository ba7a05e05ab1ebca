//! Who is in a call with whom, and who is calling: as far as redial has to know.
//! In: facts about dialog ends. Out: who is engaged, whether two talk, attempts to call. Knows nothing of wishes, bindings.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::identity::Attributed;
use crate::sip::{Aor, OWN_RECALL_PREFIX};
use crate::track::{DialogFact, DialogState, EndId, Engagement, Side};

/// Nobody is in more calls at once, all phones taken together.
const MOST_PER_AOR: usize = 32;

/// One live end.
struct LiveEnd {
    aor: Aor,
    call_id: Arc<str>,
    peer: Option<Aor>,
    engagement: Engagement,
    /// Only the To says whose it is: it was called, and somebody else may have answered.
    weak: bool,
    /// It is the phone that we ring ourselves.
    ours: bool,
}

/// What the facts about ends have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndChange {
    /// The end is new here.
    Began,
    /// So it is, and it is the phone that we ring.
    BeganForUs,
    /// It was known.
    Went,
}

/// All live ends of all AORs.
pub(super) struct Ends {
    ends: HashMap<EndId, LiveEnd>,
    by_aor: HashMap<Aor, SmallVec<[EndId; 2]>>,
    most: usize,
    times_full: u64,
}

impl Ends {
    /// Nobody calls; at most so many ends are remembered.
    pub(super) fn new(most: usize) -> Self {
        Self { ends: HashMap::new(), by_aor: HashMap::new(), most, times_full: 0 }
    }

    /// Takes in a fact about an end. `rung` says that we are ringing this AOR's phone just now, and that this was not seen yet:
    /// the call that it gets then is ours, whatever Call-ID a PBX in between gave it.
    pub(super) fn handle(&mut self, attributed: &Attributed, fact: &DialogFact, rung: bool) -> EndChange {
        let known = self.ends.contains_key(&fact.end);
        if fact.state == DialogState::Terminated || attributed.withdrawn {
            self.remove(fact.end);
            return EndChange::Went;
        }
        let moved = self.ends.get(&fact.end).is_some_and(|end| end.aor != attributed.aor);
        if moved {
            self.remove(fact.end);
        }
        if let Some(end) = self.ends.get_mut(&fact.end) {
            (end.engagement, end.weak) = (fact.engagement, attributed.weak);
            return EndChange::Went;
        }
        let ids = self.by_aor.get(&attributed.aor).map_or(0, SmallVec::len);
        if self.ends.len() >= self.most || ids >= MOST_PER_AOR {
            self.times_full += 1;
            return EndChange::Went;
        }
        let ours = (rung && fact.side == Side::Called) || fact.call_id.starts_with(OWN_RECALL_PREFIX);
        self.by_aor.entry(attributed.aor.clone()).or_default().push(fact.end);
        self.ends.insert(
            fact.end,
            LiveEnd {
                aor: attributed.aor.clone(),
                call_id: Arc::clone(&fact.call_id),
                peer: fact.peer.as_ref().and_then(|peer| Aor::from_uri(peer.as_bytes())),
                engagement: fact.engagement,
                weak: attributed.weak,
                ours,
            },
        );
        match (known, ours) {
            (true, _) => EndChange::Went,
            (false, true) => EndChange::BeganForUs,
            (false, false) => EndChange::Began,
        }
    }

    /// How often an end was left out, because there were too many.
    pub(super) const fn times_full(&self) -> u64 {
        self.times_full
    }

    fn remove(&mut self, id: EndId) {
        let Some(end) = self.ends.remove(&id) else { return };
        if let Some(ids) = self.by_aor.get_mut(&end.aor) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                self.by_aor.remove(&end.aor);
            }
        }
    }

    /// Its ends but for those that we ring, and those at which somebody else may have answered for it.
    fn of<'a>(&'a self, aor: &Aor) -> impl Iterator<Item = &'a LiveEnd> + use<'a> {
        let ids = self.by_aor.get(aor).into_iter().flatten();
        ids.filter_map(|id| self.ends.get(id)).filter(|end| !end.ours && !end.weak)
    }

    /// One of its phones calls, rings or is in a session that is not ours.
    pub(super) fn is_engaged(&self, aor: &Aor) -> bool {
        self.of(aor).any(|end| end.engagement != Engagement::None)
    }

    /// The two are in a session with each other: on one Call-ID, or on two that name each other, as behind a back-to-back user
    /// agent.
    pub(super) fn talk(&self, one: &Aor, other: &Aor) -> bool {
        let talking = |aor| self.of(aor).filter(|end| end.is_talking());
        talking(one).any(|end| {
            talking(other)
                .any(|peer| end.call_id == peer.call_id || name_each_other((one, end), (other, peer)))
        })
    }
}

/// One of them names the other as it is called; that one may bear a host of the agent in between.
fn name_each_other(one: (&Aor, &LiveEnd), other: (&Aor, &LiveEnd)) -> bool {
    let names = |(_, end): (&Aor, &LiveEnd), (aor, _): (&Aor, &LiveEnd)| match &end.peer {
        Some(peer) => (peer.user() == aor.user(), peer == aor),
        None => (false, false),
    };
    let ((by_user, whole), (back_by_user, back_whole)) = (names(one, other), names(other, one));
    by_user && back_by_user && (whole || back_whole)
}

impl LiveEnd {
    fn is_talking(&self) -> bool {
        matches!(self.engagement, Engagement::Talking | Engagement::Held)
    }
}
