//! Identity: whose dialog end, binding or subscription it is.
//! In: `Observation`. Out: `Attributed`. Knows nothing of presence, sockets, clocks.
//!
//! An end is judged when it is first heard of, again whenever more is known of it, and again whenever a
//! binding appears that could be its own:
//! 1. its Contact or Request-URI is a binding's, else its own address is one from which a phone registered;
//! 2. its request used the digest user of an accepted REGISTER;
//! 3. what it says of itself (P-Asserted-Identity, From), where that domain is managed.
//!
//! What the first two find stays until the end is over. Servers are nobody.

mod directory;
mod domains;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::base::{Limits, Oddities, Oddity, Rules};
use crate::sip::Aor;
use crate::track::{
    BindingEvent, BindingFact, DialogState, EndId, EndIdentity, Evidence, Fact, Observation, Rule,
    Side,
};
use directory::{Directory, Key};
use domains::Domains;

/// An observation, and whose it is.
#[derive(Clone, Debug)]
pub struct Attributed {
    /// Whose.
    pub aor: Aor,
    /// What.
    pub observation: Observation,
    /// The contact of the binding that the end matched.
    pub contact: Option<Arc<str>>,
    /// Neither a registration nor a given domain supports the AOR.
    pub weak: bool,
    /// Its domain was given by the operator.
    pub given: bool,
    /// It is not theirs after all: what was attributed of this end no longer counts.
    pub withdrawn: bool,
}

/// How an end was recognised; the smaller, the surer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ground {
    Contact,
    Flow,
    Digest,
    Claim,
    Called,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    aor: Aor,
    ground: Ground,
    contact: Option<Arc<str>>,
}

/// A live end as it was last observed.
struct Known {
    observation: Observation,
    verdict: Option<Verdict>,
    keys: Vec<Key>,
}

/// Says whose every observation is.
pub struct Identifier {
    directory: Directory,
    domains: Domains,
    servers: HashSet<IpAddr>,
    /// Addresses and the AOR that their INVITEs say they come from; `None` when they say several.
    claims: HashMap<std::net::SocketAddr, Option<Aor>>,
    supported: HashSet<Aor>,
    ends: HashMap<EndId, Known>,
    /// Live ends by what could tell whose they are.
    waiting: HashMap<Key, Vec<EndId>>,
    limits: Limits,
    queue: VecDeque<Attributed>,
}

impl Identifier {
    /// Knows nobody yet.
    pub fn new(rules: &Rules, limits: &Limits) -> Self {
        Self {
            directory: Directory::new(limits),
            domains: Domains::new(&rules.domains),
            servers: HashSet::new(),
            claims: HashMap::new(),
            supported: HashSet::new(),
            ends: HashMap::new(),
            waiting: HashMap::new(),
            limits: limits.clone(),
            queue: VecDeque::new(),
        }
    }

    /// The next attributed observation.
    pub fn poll_attributed(&mut self) -> Option<Attributed> {
        self.queue.pop_front()
    }

    /// Takes in one observation.
    pub fn handle(&mut self, observation: Observation, oddities: &mut Oddities) {
        match &observation.fact {
            Fact::Binding(binding) => {
                let binding = binding.clone();
                self.binding(binding, observation, oddities);
            }
            Fact::Server(address) => {
                let address = *address;
                self.server(address, &observation, oddities);
            }
            Fact::Domain(domain) => self.domains.registrar_seen(domain),
            Fact::Dialog(fact) => {
                let (end, over) = (fact.end, fact.state == DialogState::Terminated);
                if fact.side == Side::Caller {
                    self.note_claim(&fact.identity.clone());
                }
                self.end(end, over, observation, oddities);
            }
            Fact::Subscription(fact) => {
                let (end, over) = (fact.end, fact.expires_at.is_none());
                self.end(end, over, observation, oddities);
            }
        }
    }

    fn binding(&mut self, binding: BindingFact, observation: Observation, oddities: &mut Oddities) {
        if self.is_trunk(binding.contact_ip(), &binding) && !self.domains.is_given(&binding.aor) {
            return;
        }
        match binding.event {
            BindingEvent::Registered { .. } => {
                if let Some(domain) = binding.aor.domain() {
                    self.domains.learn(domain);
                }
                if self.supported.len() < self.limits.registered_aors {
                    self.supported.insert(binding.aor.clone());
                }
                let fresh = self.directory.put(&binding, oddities);
                self.pass(
                    &binding.aor,
                    observation.clone(),
                    None,
                    Ground::Contact,
                    false,
                );
                if fresh {
                    self.judge_again(
                        &Directory::keys_of(&binding),
                        &observation.evidence,
                        oddities,
                    );
                }
            }
            BindingEvent::Removed => {
                self.directory.remove(&binding);
                self.pass(&binding.aor, observation, None, Ground::Contact, false);
            }
        }
    }

    /// An address proves to be a server's: its flow is nobody's.
    fn server(&mut self, address: IpAddr, observation: &Observation, oddities: &mut Oddities) {
        if self.servers.len() < self.limits.known_addresses && self.servers.insert(address) {
            self.judge_again(&[Key::Address(address)], &observation.evidence, oddities);
        }
    }

    /// "Never for an address that sent INVITEs under two From AORs": a gateway says many names.
    fn note_claim(&mut self, identity: &EndIdentity) {
        let (Some(flow), Some(claim)) = (identity.flow, identity.claimed.first()) else {
            return;
        };
        if let Some(known) = self.claims.get_mut(&flow.address) {
            if known.as_ref() != Some(claim) {
                *known = None;
            }
        } else if self.claims.len() < self.limits.known_addresses {
            self.claims.insert(flow.address, Some(claim.clone()));
        }
    }

    fn end(&mut self, end: EndId, over: bool, observation: Observation, oddities: &mut Oddities) {
        let Some(identity) = identity_of(&observation.fact) else {
            return;
        };
        let keys = Key::of_end(identity);
        let before = self.ends.remove(&end);
        if let Some(before) = &before {
            self.unlist(end, &before.keys);
        }
        let held = before.and_then(|before| before.verdict);
        let verdict = match held.clone().filter(|held| self.stays(held, identity)) {
            Some(held) => Some(held),
            None => self.judge(identity, oddities),
        };
        if let Some(gone) = held.filter(|held| {
            verdict
                .as_ref()
                .is_none_or(|verdict| verdict.aor != held.aor)
        }) {
            self.pass(&gone.aor, observation.clone(), None, gone.ground, true);
        }
        if let Some(verdict) = &verdict {
            self.pass(
                &verdict.aor,
                observation.clone(),
                verdict.contact.clone(),
                verdict.ground,
                false,
            );
        }
        if !over && self.ends.len() < 4 * self.limits.calls {
            for key in &keys {
                self.waiting.entry(key.clone()).or_default().push(end);
            }
            self.ends.insert(
                end,
                Known {
                    observation,
                    verdict,
                    keys,
                },
            );
        }
    }

    fn unlist(&mut self, end: EndId, keys: &[Key]) {
        for key in keys {
            if let Some(ends) = self.waiting.get_mut(key) {
                ends.retain(|&other| other != end);
                if ends.is_empty() {
                    self.waiting.remove(key);
                }
            }
        }
    }

    /// Contact, flow and digest hold until the end is over, unless its address proves to be a server's.
    fn stays(&self, verdict: &Verdict, identity: &EndIdentity) -> bool {
        match verdict.ground {
            Ground::Contact | Ground::Digest => true,
            Ground::Flow => !self.is_server(identity),
            Ground::Claim | Ground::Called => false,
        }
    }

    fn is_server(&self, identity: &EndIdentity) -> bool {
        identity
            .flow
            .is_some_and(|flow| self.servers.contains(&flow.address.ip()))
    }

    /// Ends that could be told by one of these keys are judged anew, in the order in which they came.
    fn judge_again(&mut self, keys: &[Key], evidence: &Evidence, oddities: &mut Oddities) {
        let mut ends: Vec<EndId> = keys
            .iter()
            .filter_map(|key| self.waiting.get(key))
            .flatten()
            .copied()
            .collect();
        ends.sort_unstable();
        ends.dedup();
        for end in ends {
            let Some(known) = self.ends.get(&end) else {
                continue;
            };
            let Some(identity) = identity_of(&known.observation.fact) else {
                continue;
            };
            if known
                .verdict
                .as_ref()
                .is_some_and(|verdict| self.stays(verdict, identity))
            {
                continue;
            }
            let verdict = self.judge(identity, oddities);
            let before = known.verdict.clone();
            if verdict == before {
                continue;
            }
            let mut observation = known.observation.clone();
            observation.evidence = Evidence {
                rule: Rule::Attributed,
                ..evidence.clone()
            };
            if let Some(known) = self.ends.get_mut(&end) {
                known.verdict.clone_from(&verdict);
            }
            if let Some(gone) =
                before.filter(|gone| verdict.as_ref().is_none_or(|new| new.aor != gone.aor))
            {
                self.pass(&gone.aor, observation.clone(), None, gone.ground, true);
            }
            if let Some(verdict) = verdict {
                self.pass(
                    &verdict.aor,
                    observation,
                    verdict.contact,
                    verdict.ground,
                    false,
                );
            }
        }
    }

    /// SPEC section 6, rules 1 to 3.
    fn judge(&self, identity: &EndIdentity, oddities: &mut Oddities) -> Option<Verdict> {
        self.by_contact(identity, oddities)
            .or_else(|| self.by_flow(identity, oddities))
            .or_else(|| self.by_digest(identity))
            .or_else(|| self.by_claim(identity))
    }

    fn by_contact(&self, identity: &EndIdentity, oddities: &mut Oddities) -> Option<Verdict> {
        let matching: Vec<&BindingFact> = [&identity.contact, &identity.request_uri]
            .into_iter()
            .flatten()
            .flat_map(|uri| self.directory.by_contact(uri))
            .filter(|binding| {
                !self.is_trunk(binding.contact_ip(), binding)
                    || (self.domains.is_given(&binding.aor)
                        && identity.neighbour == Some(binding.registrar))
            })
            .collect();
        let ground = Ground::Contact;
        choose(&matching, identity, oddities).map(|binding| Verdict {
            aor: binding.aor.clone(),
            ground,
            contact: Some(Arc::clone(&binding.contact)),
        })
    }

    fn by_flow(&self, identity: &EndIdentity, oddities: &mut Oddities) -> Option<Verdict> {
        if self.is_server(identity) {
            return None;
        }
        let matching: Vec<&BindingFact> = self.directory.by_flow(identity.flow?).collect();
        choose(&matching, identity, oddities).map(|binding| Verdict {
            aor: binding.aor.clone(),
            ground: Ground::Flow,
            contact: Some(Arc::clone(&binding.contact)),
        })
    }

    fn by_digest(&self, identity: &EndIdentity) -> Option<Verdict> {
        let auth = identity.auth.as_ref().filter(|_| identity.answered)?;
        let aors = self.directory.by_digest(auth);
        let aor = match aors {
            [only] => only,
            several => several.iter().find(|aor| identity.claimed.contains(aor))?,
        };
        Some(Verdict {
            aor: aor.clone(),
            ground: Ground::Digest,
            contact: None,
        })
    }

    fn by_claim(&self, identity: &EndIdentity) -> Option<Verdict> {
        if !identity.answered || self.is_server(identity) {
            return None;
        }
        let many_names = identity
            .flow
            .is_some_and(|flow| self.claims.get(&flow.address) == Some(&None));
        let claimed = identity
            .claimed
            .iter()
            .find(|aor| !many_names && self.domains.may_show(aor));
        if let Some(aor) = claimed {
            return Some(Verdict {
                aor: aor.clone(),
                ground: Ground::Claim,
                contact: None,
            });
        }
        // Who was called may not be who answers: believed only where no registrar can tell.
        let called = identity.called.as_ref()?;
        let believed = self.domains.may_show(called) && !self.domains.has_registrar(called);
        believed.then(|| Verdict {
            aor: called.clone(),
            ground: Ground::Called,
            contact: None,
        })
    }

    /// A binding at another server than its registrar: a trunk, not a phone.
    fn is_trunk(&self, contact_ip: Option<IpAddr>, binding: &BindingFact) -> bool {
        contact_ip.is_some_and(|ip| ip != binding.registrar.ip() && self.servers.contains(&ip))
            && binding
                .flow
                .is_none_or(|flow| self.servers.contains(&flow.address.ip()))
    }

    fn pass(
        &mut self,
        aor: &Aor,
        observation: Observation,
        contact: Option<Arc<str>>,
        ground: Ground,
        withdrawn: bool,
    ) {
        if !self.domains.may_show(aor) {
            return;
        }
        let given = self.domains.is_given(aor);
        let weak = ground == Ground::Called || !(given || self.supported.contains(aor));
        self.queue.push_back(Attributed {
            aor: aor.clone(),
            observation,
            contact,
            weak,
            given,
            withdrawn,
        });
    }
}

fn identity_of(fact: &Fact) -> Option<&EndIdentity> {
    match fact {
        Fact::Dialog(fact) => Some(&fact.identity),
        Fact::Subscription(fact) => Some(&fact.identity),
        Fact::Binding(_) | Fact::Server(_) | Fact::Domain(_) => None,
    }
}

/// Among several AORs the flow chooses, then the digest user, then From and To; else nobody.
fn choose<'a>(
    matching: &[&'a BindingFact],
    identity: &EndIdentity,
    oddities: &mut Oddities,
) -> Option<&'a BindingFact> {
    let first = *matching.first()?;
    if matching.iter().all(|binding| binding.aor == first.aor) {
        return Some(first);
    }
    let one_aor = |chosen: Vec<&'a BindingFact>| -> Option<&'a BindingFact> {
        let first = *chosen.first()?;
        chosen
            .iter()
            .all(|binding| binding.aor == first.aor)
            .then_some(first)
    };
    let among = |test: &dyn Fn(&BindingFact) -> bool| -> Option<&'a BindingFact> {
        one_aor(
            matching
                .iter()
                .copied()
                .filter(|binding| test(binding))
                .collect(),
        )
    };
    let chosen = among(&|binding| identity.flow.is_some() && binding.flow == identity.flow)
        .or_else(|| among(&|binding| identity.auth.is_some() && binding.auth == identity.auth))
        .or_else(|| among(&|binding| identity.claimed.contains(&binding.aor)))
        .or_else(|| among(&|binding| identity.called.as_ref() == Some(&binding.aor)));
    if chosen.is_none() {
        oddities.note(Oddity::AmbiguousEnd);
    }
    chosen
}
