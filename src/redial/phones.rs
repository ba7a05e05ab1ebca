//! Who is registered, and who was: as far as redial has to know.
//! In: facts about bindings, answers to probes. Out: whether somebody can be called, and where its phone is. Knows nothing of
//! wishes, dialogs.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::base::Timestamp;
use crate::sip::Aor;
use crate::track::{Binding, BindingEvent, BindingFact};

/// Domains in which somebody registered; a network has few.
const MOST_DOMAINS: usize = 1_024;
/// An AOR that never registered is taken to be unregistered when this has passed unseen by nobody.
const LEAST_WATCHED: Duration = Duration::from_secs(3_600);

/// What a binding's change means for its AOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It can be called, and could not before.
    Appeared,
    /// It could be called, and cannot any more.
    Left,
    /// Neither.
    Same,
}

/// Somebody who registered while the tap listened.
#[derive(Default)]
struct Phone {
    /// The newest last.
    bindings: SmallVec<[Arc<Binding>; 1]>,
    /// The last that there was, once all are gone.
    last: Option<Arc<Binding>>,
    /// A probe was answered: it is there until then, whatever its registrar says.
    there_until: Option<Timestamp>,
}

/// All AORs that registered.
pub(super) struct Phones {
    known: HashMap<Aor, Phone>,
    domains: HashSet<Arc<str>>,
    most: usize,
    times_full: u64,
    /// Since when the capture shows everything; `None` while it does not.
    seeing_since: Option<Timestamp>,
    longest_granted: Duration,
}

impl Phones {
    /// Nobody has registered; at most so many AORs are remembered.
    pub(super) fn new(most: usize) -> Self {
        Self {
            known: HashMap::new(),
            domains: HashSet::new(),
            most,
            times_full: 0,
            seeing_since: None,
            longest_granted: LEAST_WATCHED,
        }
    }

    /// The capture shows everything from now on, or, with `None`, does not.
    pub(super) const fn seeing(&mut self, since: Option<Timestamp>) {
        self.seeing_since = since;
    }

    /// Takes in what happened to a binding.
    pub(super) fn handle(&mut self, at: Timestamp, fact: &BindingFact) -> Change {
        let binding = &fact.binding;
        match fact.event {
            BindingEvent::Registered { expires_at } => {
                self.longest_granted = self.longest_granted.max(expires_at.since(at));
                if let Some(domain) = binding.aor.domain() {
                    self.learn_domain(domain);
                }
                self.registered(at, binding)
            }
            BindingEvent::Removed => self.removed(at, binding),
        }
    }

    fn learn_domain(&mut self, domain: &str) {
        if self.domains.contains(domain) {
            return;
        }
        if self.domains.len() < MOST_DOMAINS {
            self.domains.insert(Arc::from(domain));
        } else {
            self.times_full += 1;
        }
    }

    fn registered(&mut self, at: Timestamp, binding: &Arc<Binding>) -> Change {
        if self.known.len() >= self.most && !self.known.contains_key(&binding.aor) {
            self.times_full += 1;
            // Who is gone makes room for who is there.
            self.known.retain(|_, phone| !phone.bindings.is_empty());
            if self.known.len() >= self.most {
                return Change::Same;
            }
        }
        let phone = self.known.entry(binding.aor.clone()).or_default();
        let was_there = phone.is_there(at);
        phone.bindings.retain(|known| known.id != binding.id);
        phone.bindings.push(Arc::clone(binding));
        (phone.last, phone.there_until) = (None, None);
        if was_there { Change::Same } else { Change::Appeared }
    }

    fn removed(&mut self, at: Timestamp, binding: &Arc<Binding>) -> Change {
        let Some(phone) = self.known.get_mut(&binding.aor) else { return Change::Same };
        let was_there = phone.is_there(at);
        phone.bindings.retain(|known| known.id != binding.id);
        if phone.bindings.is_empty() {
            phone.last = Some(Arc::clone(binding));
        }
        if was_there && !phone.is_there(at) { Change::Left } else { Change::Same }
    }

    /// A probe was answered: it can be called until then.
    pub(super) fn probed(&mut self, aor: &Aor, now: Timestamp, until: Timestamp) -> Change {
        let Some(phone) = self.known.get_mut(aor) else { return Change::Same };
        let was_there = phone.is_there(now);
        phone.there_until = Some(until);
        if was_there { Change::Same } else { Change::Appeared }
    }

    /// How often somebody, or a domain, was left out, or those who are gone were forgotten, because there were too many.
    pub(super) const fn times_full(&self) -> u64 {
        self.times_full
    }

    /// It registered at some time.
    pub(super) fn knows(&self, aor: &Aor) -> bool {
        self.known.contains_key(aor)
    }

    /// Somebody of its domain registered.
    pub(super) fn has_domain_of(&self, aor: &Aor) -> bool {
        aor.domain().is_some_and(|domain| self.domains.contains(domain))
    }

    /// It has a binding, or answered a probe.
    pub(super) fn is_there(&self, aor: &Aor, now: Timestamp) -> bool {
        self.known.get(aor).is_some_and(|phone| phone.is_there(now))
    }

    /// It registered once, and is gone.
    pub(super) fn has_left(&self, aor: &Aor, now: Timestamp) -> bool {
        self.known.get(aor).is_some_and(|phone| !phone.is_there(now))
    }

    /// It has no binding, as far as that can be known. One that never registered was perhaps registered before the tap
    /// listened: until a 404, or until all that was granted before would have had to be renewed.
    pub(super) fn is_unregistered(&self, aor: &Aor, status: Option<u16>, now: Timestamp) -> bool {
        if self.knows(aor) {
            return self.has_left(aor, now);
        }
        status == Some(404) || self.seeing_since.is_some_and(|since| now.since(since) >= self.longest_granted)
    }

    /// Its newest binding; the last that there was, if it has none.
    pub(super) fn newest(&self, aor: &Aor) -> Option<&Arc<Binding>> {
        let phone = self.known.get(aor)?;
        phone.bindings.last().or(phone.last.as_ref())
    }
}

impl Phone {
    fn is_there(&self, now: Timestamp) -> bool {
        !self.bindings.is_empty() || self.there_until.is_some_and(|until| until > now)
    }
}
