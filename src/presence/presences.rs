//! All presentities: one line of changes out of many observations.
//! In: `Attributed`. Out: `PresentityChange`, at most one status per presentity and frame. Knows nothing of sockets, clocks.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use smallvec::SmallVec;

use super::presentity::Presentity;
use super::session_type::SessionTypes;
use super::sight::Sight;
use super::{ChangeKind, ChangesWanted, PresentityChange, Terminal};
use crate::base::{Deadlines, Limits, Oddities, Oddity, Places, Rules, Timestamp};
use crate::identity::Attributed;
use crate::sip::Aor;
use crate::track::{DialogFact, Evidence, RegistrationId, Rule};

/// So many are looked at for one that may go when the table is full.
const FEW: usize = 32;

/// Keeps all presentities and says what changes about them. Observations of one frame or moment go in by
/// [`Self::handle`], then [`Self::flush`] makes the changes.
pub struct Presences {
    /// By AOR.
    presentities: Places<Presentity>,
    /// By registration, where one was last found: the place of another, or of nobody, if it went since.
    by_registration: Vec<u32>,
    /// Those that are kept, in the order in which they came, but for those that were passed over when one had to go.
    order: VecDeque<u32>,
    /// How many there were, with those that went.
    ever: usize,
    /// Those that the frame or moment did something to, and what.
    touched: Vec<(u32, Option<Evidence>)>,
    deadlines: Deadlines<u32>,
    session_types: SessionTypes,
    wanted: ChangesWanted,
    grace_s: u32,
    most: usize,
    sight: Sight,
    queue: VecDeque<PresentityChange>,
    changes: u64,
}

impl Presences {
    /// Nobody is known.
    pub fn new(wanted: ChangesWanted, rules: &Rules, limits: &Limits) -> Self {
        Self {
            presentities: Places::default(),
            by_registration: Vec::new(),
            order: VecDeque::new(),
            ever: 0,
            touched: Vec::new(),
            deadlines: Deadlines::new(),
            session_types: SessionTypes::new(&rules.session_types),
            wanted,
            grace_s: rules.grace_s,
            most: limits.presentities,
            sight: Sight::default(),
            queue: VecDeque::new(),
            changes: 0,
        }
    }

    /// The capture began then.
    pub fn start(&mut self, at: Timestamp) {
        self.sight.began(at);
    }

    /// From then on the capture does not show everything.
    pub fn blind(&mut self) {
        self.sight.blind();
    }

    /// From then on it does again.
    pub fn seeing(&mut self, at: Timestamp) {
        self.sight.seeing(at);
    }

    /// Takes in one observation.
    pub fn handle(&mut self, attributed: Attributed, oddities: &mut Oddities) {
        let id = match self.find(&attributed.aor, attributed.registration) {
            Some(id) => id,
            None => {
                if self.presentities.len() >= self.most {
                    oddities.note(Oddity::TableFull);
                    if !self.forget_one() {
                        return;
                    }
                }
                self.ever += 1;
                let aor = &attributed.aor;
                let id = self.presentities.insert(aor, |_| Presentity::new(aor.clone()));
                self.order.push_back(id);
                id
            }
        };
        self.note_registration(attributed.registration, id);
        let Some(presentity) = self.presentities.get_mut(id) else {
            return;
        };
        let because = because(&mut self.touched, presentity, id);
        let (at, evidence) = (attributed.observation.at, attributed.observation.evidence.clone());
        let mut grace = presentity.grace();
        if presentity.take(attributed, self.wanted, because) {
            if self.grace_s == 0 {
                presentity.offline(evidence, because);
            } else if grace.is_none() {
                let over_at = at.after_s(self.grace_s);
                self.deadlines.set(&mut grace, id, Some(over_at));
                presentity.rare().grace = Some((over_at, evidence));
            }
        } else if presentity.grace().is_none() {
            self.deadlines.set(&mut grace, id, None);
        }
    }

    /// Room for another: the oldest goes of whom nothing is left to tell, found among a few. Nobody's lamp goes
    /// out for a newcomer.
    fn forget_one(&mut self) -> bool {
        for _ in 0..FEW.min(self.order.len()) {
            let Some(id) = self.order.pop_front() else { return false };
            if !self.presentities.get(id).is_some_and(Presentity::is_forgettable) {
                self.order.push_back(id);
                continue;
            }
            return self.presentities.remove(id).is_some();
        }
        false
    }

    fn find(&self, aor: &Aor, registration: Option<RegistrationId>) -> Option<u32> {
        let is = |known: &Presentity| known.aor == *aor;
        let at_hand = registration.and_then(|registration| self.by_registration.get(registration.0 as usize));
        let at_hand = at_hand.copied().filter(|&id| self.presentities.get(id).is_some_and(is));
        at_hand.or_else(|| self.presentities.find(aor, is))
    }

    fn note_registration(&mut self, registration: Option<RegistrationId>, id: u32) {
        let Some(RegistrationId(at)) = registration else { return };
        if let Some(known) = self.by_registration.get_mut(at as usize) {
            *known = id;
        } else {
            self.by_registration.resize(at as usize + 1, id);
        }
    }

    /// Fires what is due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((_, id)) = self.deadlines.pop_due(now) {
            let Some(presentity) = self.presentities.get_mut(id) else {
                continue;
            };
            if let Some(began) = presentity.end_grace() {
                let because = because(&mut self.touched, presentity, id);
                presentity.offline(Evidence { rule: Rule::GraceOver, ..began }, because);
            }
        }
    }

    /// When something is due next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// The frame or moment did something to somebody: [`Self::flush`] may make changes.
    pub fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The frame or moment is over: makes its changes, in the order of the AORs' bytes.
    pub fn flush(&mut self, at: Timestamp) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable_by(|one, other| {
            let aor = |touched: &(u32, Option<Evidence>)| {
                self.presentities.get(touched.0).map(|presentity| &presentity.aor)
            };
            aor(one).cmp(&aor(other))
        });
        for (id, because) in touched.drain(..) {
            let Some(presentity) = self.presentities.get_mut(id) else {
                continue;
            };
            presentity.touched = None;
            let status = presentity.status();
            let before = std::mem::replace(&mut presentity.announced, status);
            let contact_before = presentity.announce_contact();
            // Online before and after, and reachable elsewhere now.
            let moved =
                contact_before.is_some() && before.0 == Terminal::Online && status.0 == Terminal::Online;
            let Some(because) = because else {
                continue;
            };
            let mut kinds: SmallVec<[ChangeKind; 2]> = SmallVec::new();
            if status != before {
                self.changes += 1;
                kinds.push(ChangeKind::Status);
            }
            if moved {
                kinds.push(ChangeKind::Contact);
            }
            if kinds.is_empty() && self.wanted == ChangesWanted::All {
                kinds.push(ChangeKind::Document);
            }
            if kinds.is_empty() {
                presentity.settle();
                continue;
            }
            let types = &self.session_types;
            // The line about a new address tells one of those that documents list.
            let wanted = if moved { ChangesWanted::All } else { self.wanted };
            let session_type = |fact: &DialogFact| types.of(fact.dialled.as_deref());
            let state = Arc::new(presentity.state(wanted, self.sight, at, session_type));
            presentity.settle();
            for kind in kinds {
                self.queue.push_back(PresentityChange {
                    at,
                    aor: presentity.aor.clone(),
                    kind,
                    previous: (before.0, before.1),
                    previous_contact: contact_before.clone().filter(|_| kind == ChangeKind::Contact),
                    because: because.clone(),
                    state: Arc::clone(&state),
                });
            }
        }
        self.touched = touched;
    }

    /// The next change.
    pub fn poll_change(&mut self) -> Option<PresentityChange> {
        self.queue.pop_front()
    }

    /// Presentities of which anything was ever known.
    pub fn len(&self) -> usize {
        self.ever
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.ever == 0
    }

    /// Status changes so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

/// Why this presentity changed since the last flush.
fn because<'t>(
    touched: &'t mut Vec<(u32, Option<Evidence>)>,
    presentity: &mut Presentity,
    id: u32,
) -> &'t mut Option<Evidence> {
    let known = presentity.touched.map(|place| place.get() as usize - 1);
    let at = known.filter(|&at| at < touched.len()).unwrap_or_else(|| {
        touched.push((id, None));
        presentity.touched = u32::try_from(touched.len()).ok().and_then(NonZeroU32::new);
        touched.len() - 1
    });
    &mut touched[at].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FrameId;
    use crate::track::{Confidence, DialogState, EndId, Engagement, Fact, Observation, Side};

    fn call(user: u32, engagement: Engagement) -> Attributed {
        let over = engagement == Engagement::None;
        let fact = DialogFact {
            end: EndId(u64::from(user)),
            about: Arc::default(),
            side: Side::Caller,
            revoked_ends: 0,
            state: if over { DialogState::Terminated } else { DialogState::Trying },
            engagement,
            confirmed_at: None,
            ended: None,
            final_status: None,
            whole: true,
            confidence: Confidence::Full,
        };
        Attributed {
            aor: Aor::from_uri(format!("sip:user{user}@example.com").as_bytes()).unwrap(),
            registration: None,
            observation: Observation {
                sequence: 1,
                at: Timestamp::EPOCH,
                evidence: Evidence { rule: Rule::Invite, frame: FrameId::default(), call_id: "call".into() },
                fact: Fact::Dialog(fact),
            },
            seen_at: Timestamp::EPOCH,
            contact: None,
            weak: false,
            given: false,
            withdrawn: false,
        }
    }

    #[test]
    fn a_full_table_forgets_whom_nothing_is_known_of_and_nobody_else() {
        let limits = Limits { presentities: 2, ..Limits::default() };
        let mut presences = Presences::new(ChangesWanted::All, &Rules::default(), &limits);
        let mut oddities = Oddities::default();
        let mut step = |user, engagement| {
            presences.handle(call(user, engagement), &mut oddities);
            presences.flush(Timestamp::EPOCH);
            let mut changes = Vec::new();
            while let Some(change) = presences.poll_change() {
                changes.push(change.aor.as_str().to_owned());
            }
            (changes, presences.len(), oddities.count(Oddity::TableFull))
        };
        assert_eq!(step(1, Engagement::Calling), (vec!["sip:user1@example.com".to_owned()], 1, 0));
        assert_eq!(step(2, Engagement::Calling), (vec!["sip:user2@example.com".to_owned()], 2, 0));
        assert_eq!(step(3, Engagement::Calling), (vec![], 2, 1), "both are calling: there is no room");
        assert_eq!(step(1, Engagement::None), (vec!["sip:user1@example.com".to_owned()], 2, 1));
        assert_eq!(step(3, Engagement::Calling), (vec!["sip:user3@example.com".to_owned()], 3, 2));
        assert_eq!(step(2, Engagement::None), (vec!["sip:user2@example.com".to_owned()], 3, 2), "2 was kept");
    }
}
