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
mod numbers;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::base::{Address, Limits, Oddities, Oddity, Rules, Timestamp};
use crate::sip::Aor;
use crate::track::{
    Binding, BindingEvent, BindingFact, DialogFact, DialogState, EndId, EndIdentity, Evidence, Fact,
    Observation, RegistrationId, Rule, Side,
};
use directory::{Directory, Key, Multimap};
use domains::Domains;
use numbers::Numbers;

/// An end that is withdrawn more often is listed no more when it comes back.
const MOST_RETURNS: usize = 16;

/// Whether managed domains were given, and that of this AOR is not among them: then it is no presentity, whatever is heard
/// of it.
pub fn leaves_out(given: &[String], aor: &Aor) -> bool {
    !given.is_empty() && !Domains::new(given, 0).is_given(aor)
}

/// An observation, and whose it is.
#[derive(Clone, Debug)]
pub struct Attributed {
    /// Whose.
    pub aor: Aor,
    /// What stands for that, where it has bindings.
    pub registration: Option<RegistrationId>,
    /// What.
    pub observation: Observation,
    /// When it was found out: before the observation's own time where a binding showed only later whose it is.
    pub seen_at: Timestamp,
    /// The contact of the binding that the end matched.
    pub contact: Option<Arc<str>>,
    /// Only the To says so: who was called, not who answered.
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
    registration: Option<RegistrationId>,
    ground: Ground,
    contact: Option<Arc<str>>,
}

impl Verdict {
    /// A binding says itself whose it is.
    fn of_binding(binding: &Binding) -> Self {
        let Binding { aor, registration, .. } = binding;
        Self { aor: aor.clone(), registration: Some(*registration), ground: Ground::Contact, contact: None }
    }

    /// An end that a binding tells.
    fn by_binding(binding: &Binding, ground: Ground) -> Self {
        Self { ground, contact: Some(Arc::clone(&binding.contact)), ..Self::of_binding(binding) }
    }

    /// An end that its own words tell.
    fn by_name(aor: &Aor, ground: Ground) -> Self {
        Self { aor: aor.clone(), registration: None, ground, contact: None }
    }
}

/// A live end.
struct Known {
    verdict: Option<Verdict>,
    /// What was last observed of it, while more could still change whose it is.
    open: Option<Box<Open>>,
}

struct Open {
    observation: Observation,
    keys: Box<[Key]>,
}

/// A call that an address was sent: who calls whom, and the called end.
struct Called {
    from: Arc<str>,
    to: Option<Aor>,
    end: EndId,
}

/// Says whose every observation is.
pub struct Identifier {
    directory: Directory,
    domains: Domains,
    numbers: Numbers,
    servers: HashSet<IpAddr>,
    /// Addresses and the AOR that their INVITEs say they come from; `None` when they say several.
    claims: HashMap<Address, Option<Aor>>,
    /// Addresses that are in a call now, and that call.
    called_by: HashMap<Address, Called>,
    /// Callers that call on in the name of whoever called them.
    relays: HashSet<EndId>,
    /// Those from whom a live end was withdrawn, once for each time.
    left: HashMap<EndId, Vec<Aor>>,
    ends: HashMap<EndId, Known>,
    /// Live ends whose owner may yet change, by what could tell whose they are.
    waiting: Multimap,
    limits: Limits,
    queue: VecDeque<Attributed>,
}

impl Identifier {
    /// Knows nobody yet.
    pub fn new(rules: &Rules, limits: &Limits) -> Self {
        Self {
            directory: Directory::new(limits),
            domains: Domains::new(&rules.domains, limits.known_addresses),
            numbers: Numbers::new(&rules.numbers),
            servers: HashSet::new(),
            claims: HashMap::new(),
            called_by: HashMap::new(),
            relays: HashSet::new(),
            left: HashMap::new(),
            ends: HashMap::new(),
            waiting: Multimap::default(),
            limits: limits.clone(),
            queue: VecDeque::new(),
        }
    }

    /// The next attributed observation.
    pub fn poll_attributed(&mut self) -> Option<Attributed> {
        self.queue.pop_front()
    }

    /// Takes in one observation.
    pub fn handle(&mut self, mut observation: Observation, oddities: &mut Oddities) {
        self.numbers.put_names(&mut observation.fact);
        match &observation.fact {
            Fact::Binding(_) => self.binding(observation, oddities),
            Fact::Server(address) => {
                let address = *address;
                self.server(address, &observation, oddities);
            }
            Fact::Domain(domain) => self.domains.registrar_seen(domain),
            Fact::Dialog(fact) => {
                let (end, over) = (fact.end, fact.state == DialogState::Terminated);
                match fact.side {
                    Side::Caller => {
                        self.note_claim(&fact.identity);
                        self.note_relay(fact, over);
                    }
                    Side::Called => self.note_called(fact, over),
                }
                self.end(end, over, observation, oddities);
            }
            Fact::Subscription(fact) => {
                let (end, over) = (fact.end, fact.expires_at.is_none());
                self.end(end, over, observation, oddities);
            }
        }
    }

    fn binding(&mut self, observation: Observation, oddities: &mut Oddities) {
        let Fact::Binding(BindingFact { binding, event, .. }) = &observation.fact else { return };
        let binding = Arc::clone(binding);
        let is_nobodys = self.is_trunk(&binding) && !self.domains.is_given(&binding.aor);
        match event {
            BindingEvent::Registered { .. } if is_nobodys => {}
            BindingEvent::Registered { .. } => {
                if let Some(domain) = binding.aor.domain() {
                    self.domains.learn(domain);
                }
                let (at, evidence) = (observation.at, observation.evidence.clone());
                let fresh = self.directory.put(&binding, oddities);
                self.pass(Verdict::of_binding(&binding), observation, false);
                if let Some(mut keys) = fresh {
                    for key in keys.iter_mut().filter(|key| self.waiting.is_crowded(**key)) {
                        // Of the ends behind a border controller's address, those that name this AOR.
                        *key = self.directory.aor_key(&binding.aor);
                    }
                    self.judge_again(&keys, at, &evidence, oddities);
                }
            }
            // One that was somebody's before its address proved to be a server's ends all the same.
            BindingEvent::Removed => {
                if !self.directory.remove(&binding) && is_nobodys {
                    return;
                }
                self.pass(Verdict::of_binding(&binding), observation, false);
            }
        }
    }

    /// An address proves to be a server's: its flow is nobody's.
    fn server(&mut self, address: IpAddr, observation: &Observation, oddities: &mut Oddities) {
        if self.servers.len() < self.limits.known_addresses && self.servers.insert(address) {
            let keys = [self.directory.address_key(address)];
            self.judge_again(&keys, observation.at, &observation.evidence, oddities);
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

    /// Who is called and who by, as long as that lasts.
    fn note_called(&mut self, fact: &DialogFact, over: bool) {
        let (Some(flow), Some(from)) = (fact.identity.flow, &fact.peer) else { return };
        if over {
            if self.called_by.get(&flow.address).is_some_and(|called| called.end == fact.end) {
                self.called_by.remove(&flow.address);
            }
        } else if self.called_by.len() < self.limits.known_addresses {
            let (from, to) = (Arc::clone(from), fact.identity.called.clone());
            self.called_by.insert(flow.address, Called { from, to, end: fact.end });
        }
    }

    /// Who is called by somebody and calls the same one on in that one's name is a server in between: its leg would double
    /// the caller.
    fn note_relay(&mut self, fact: &DialogFact, over: bool) {
        if over {
            self.relays.remove(&fact.end);
        } else if let Some(flow) = fact.identity.flow
            && let Some(called) = self.called_by.get(&flow.address)
            && fact.identity.claimed.first().is_some_and(|claim| *claim.as_str() == *called.from)
            && called.to.as_ref().is_some_and(|to| fact.peer.as_deref() == Some(to.as_str()))
        {
            self.relays.insert(fact.end);
        }
    }

    /// An end that was withdrawn from somebody is over for whoever listed it. Where it comes back, it does so as one that
    /// was revoked.
    fn note_return(&mut self, fact: &mut DialogFact, aor: &Aor, withdrawn: bool) {
        if withdrawn {
            let left = self.left.entry(fact.end).or_default();
            if left.len() < MOST_RETURNS {
                left.push(aor.clone());
            }
        } else if let Some(left) = self.left.get(&fact.end) {
            let times = left.iter().filter(|&known| known == aor).count();
            fact.revoked_ends = fact.revoked_ends.saturating_add(u32::try_from(times).unwrap_or(u32::MAX));
        }
    }

    fn end(&mut self, end: EndId, over: bool, observation: Observation, oddities: &mut Oddities) {
        let Some(identity) = identity_of(&observation.fact) else { return };
        if let Some(Known { verdict: Some(verdict), open: None }) = self.ends.get(&end)
            && !over
            && self.stays(verdict, identity)
        {
            return self.pass(verdict.clone(), observation, false);
        }
        let before = self.ends.remove(&end);
        if let Some(open) = before.as_ref().and_then(|before| before.open.as_ref()) {
            for &key in &open.keys {
                self.waiting.remove(key, end.0);
            }
        }
        let held = before.and_then(|before| before.verdict);
        let verdict = match held.clone().filter(|held| self.stays(held, identity)) {
            Some(held) => Some(held),
            None => self.judge(end, identity, oddities),
        };
        let keys = match verdict.as_ref().map(|verdict| verdict.ground) {
            Some(Ground::Contact | Ground::Digest) => None,
            _ => Some(self.directory.keys_of_end(identity)),
        };
        if let Some(gone) = held.filter(|held| verdict.as_ref().is_none_or(|verdict| verdict.aor != held.aor))
        {
            self.pass(Verdict { contact: None, ..gone }, observation.clone(), true);
        }
        if let Some(verdict) = &verdict {
            self.pass(verdict.clone(), observation.clone(), false);
        }
        if !over && self.ends.len() < 4 * self.limits.calls {
            let open = keys.map(|keys| {
                for &key in &keys {
                    self.waiting.insert(key, end.0);
                }
                Box::new(Open { observation, keys: keys.as_slice().into() })
            });
            self.ends.insert(end, Known { verdict, open });
        }
        if over {
            self.left.remove(&end);
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
        identity.flow.is_some_and(|flow| self.servers.contains(&flow.address.ip()))
    }

    /// Ends that could be told by one of these keys are judged anew, in the order in which they came.
    fn judge_again(&mut self, keys: &[Key], at: Timestamp, evidence: &Evidence, oddities: &mut Oddities) {
        let mut ends: SmallVec<[u64; 4]> = keys.iter().flat_map(|&key| self.waiting.ids(key)).collect();
        ends.sort_unstable();
        ends.dedup();
        for end in ends.into_iter().map(EndId) {
            let Some(known) = self.ends.get(&end) else { continue };
            let Some(open) = &known.open else { continue };
            let Some(identity) = identity_of(&open.observation.fact) else { continue };
            if known.verdict.as_ref().is_some_and(|verdict| self.stays(verdict, identity)) {
                continue;
            }
            let verdict = self.judge(end, identity, oddities);
            let before = known.verdict.clone();
            if verdict == before {
                continue;
            }
            let mut observation = open.observation.clone();
            let seen_at = std::mem::replace(&mut observation.at, at);
            observation.evidence = Evidence { rule: Rule::Attributed, ..evidence.clone() };
            if let Some(known) = self.ends.get_mut(&end) {
                known.verdict.clone_from(&verdict);
            }
            if let Some(gone) = before.filter(|gone| verdict.as_ref().is_none_or(|new| new.aor != gone.aor)) {
                self.pass_seen(Verdict { contact: None, ..gone }, observation.clone(), seen_at, true);
            }
            if let Some(verdict) = verdict {
                self.pass_seen(verdict, observation, seen_at, false);
            }
        }
    }

    /// SPEC section 6, rules 1 to 3.
    fn judge(&self, end: EndId, identity: &EndIdentity, oddities: &mut Oddities) -> Option<Verdict> {
        self.by_contact(identity, oddities)
            .or_else(|| self.by_flow(identity, oddities))
            .or_else(|| self.by_digest(identity))
            .or_else(|| self.by_claim(end, identity))
    }

    fn by_contact(&self, identity: &EndIdentity, oddities: &mut Oddities) -> Option<Verdict> {
        let request_uri = identity.request_uri.as_ref().filter(|&uri| identity.contact.as_ref() != Some(uri));
        let matching: SmallVec<[&Arc<Binding>; 2]> = identity
            .contact
            .iter()
            .chain(request_uri)
            .flat_map(|uri| self.directory.by_contact(uri, identity))
            .filter(|binding| {
                !self.is_trunk(binding)
                    || (self.domains.is_given(&binding.aor) && identity.neighbour == Some(binding.registrar))
            })
            .collect();
        choose(&matching, identity, oddities).map(|binding| Verdict::by_binding(binding, Ground::Contact))
    }

    fn by_flow(&self, identity: &EndIdentity, oddities: &mut Oddities) -> Option<Verdict> {
        if self.is_server(identity) {
            return None;
        }
        let matching: SmallVec<[&Arc<Binding>; 2]> =
            self.directory.by_flow(identity.flow?, identity).collect();
        choose(&matching, identity, oddities).map(|binding| Verdict::by_binding(binding, Ground::Flow))
    }

    fn by_digest(&self, identity: &EndIdentity) -> Option<Verdict> {
        let auth = identity.auth.as_ref().filter(|_| identity.answered)?;
        let aors = self.directory.by_digest(auth);
        let aor = match aors.as_slice() {
            [only] => only,
            several => several.iter().find(|aor| identity.claimed.contains(aor))?,
        };
        Some(Verdict::by_name(aor, Ground::Digest))
    }

    fn by_claim(&self, end: EndId, identity: &EndIdentity) -> Option<Verdict> {
        if !identity.answered || self.is_server(identity) {
            return None;
        }
        let many_names = identity.flow.is_some_and(|flow| self.claims.get(&flow.address) == Some(&None));
        let believed = !many_names && !self.relays.contains(&end);
        let claimed = identity.claimed.iter().find(|aor| believed && self.domains.may_show(aor));
        if let Some(aor) = claimed {
            return Some(Verdict::by_name(aor, Ground::Claim));
        }
        // Who was called may not be who answers: believed only where no registrar can tell.
        let called = identity.called.as_ref()?;
        let believed = self.domains.may_show(called) && !self.domains.has_registrar(called);
        believed.then(|| Verdict::by_name(called, Ground::Called))
    }

    /// A binding at another server than its registrar: a trunk, not a phone.
    fn is_trunk(&self, binding: &Binding) -> bool {
        let behind_server =
            |binding: &Binding| binding.flow.is_none_or(|flow| self.servers.contains(&flow.address.ip()));
        behind_server(binding)
            && binding
                .contact_ip()
                .is_some_and(|ip| ip != binding.registrar.ip() && self.servers.contains(&ip))
    }

    fn pass(&mut self, verdict: Verdict, observation: Observation, withdrawn: bool) {
        let seen_at = observation.at;
        self.pass_seen(verdict, observation, seen_at, withdrawn);
    }

    fn pass_seen(
        &mut self,
        verdict: Verdict,
        mut observation: Observation,
        seen_at: Timestamp,
        withdrawn: bool,
    ) {
        let Verdict { aor, registration, ground, contact } = verdict;
        if let Fact::Dialog(fact) = &mut observation.fact {
            self.note_return(fact, &aor, withdrawn);
        }
        if self.domains.may_show(&aor) {
            let (given, weak) = (self.domains.is_given(&aor), ground == Ground::Called);
            self.queue.push_back(Attributed {
                aor,
                registration,
                observation,
                seen_at,
                contact,
                weak,
                given,
                withdrawn,
            });
        }
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
    matching: &[&'a Arc<Binding>],
    identity: &EndIdentity,
    oddities: &mut Oddities,
) -> Option<&'a Binding> {
    let one_aor = |wanted: &dyn Fn(&Binding) -> bool| -> Option<&'a Binding> {
        let mut chosen = matching.iter().map(|binding| &***binding).filter(|binding| wanted(binding));
        let first = chosen.next()?;
        chosen.all(|binding| binding.aor == first.aor).then_some(first)
    };

    if matching.is_empty() {
        return None;
    }
    let chosen = one_aor(&|_| true)
        .or_else(|| one_aor(&|binding| identity.flow.is_some() && binding.flow == identity.flow))
        .or_else(|| one_aor(&|binding| identity.auth.is_some() && binding.auth == identity.auth))
        .or_else(|| one_aor(&|binding| identity.claimed.contains(&binding.aor)))
        .or_else(|| one_aor(&|binding| identity.called.as_ref() == Some(&binding.aor)));
    if chosen.is_none() {
        oddities.note(Oddity::AmbiguousEnd);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::base::FrameId;
    use crate::track::{Confidence, EndDescription, Engagement};

    /// Somebody's call, whose phone says that it is `claimed`.
    fn call_of(claimed: &str, state: DialogState) -> Observation {
        let claimed = Aor::from_uri(claimed.as_bytes()).unwrap();
        let identity = EndIdentity { claimed: smallvec![claimed], answered: true, ..EndIdentity::default() };
        let fact = DialogFact {
            end: EndId(1),
            about: Arc::new(EndDescription { identity, ..EndDescription::default() }),
            side: Side::Caller,
            revoked_ends: 0,
            state,
            engagement: Engagement::Talking,
            confirmed_at: None,
            ended: None,
            final_status: None,
            whole: true,
            confidence: Confidence::Full,
        };
        Observation {
            sequence: 1,
            at: Timestamp::EPOCH,
            evidence: Evidence { rule: Rule::Invite200, frame: FrameId::default(), call_id: "call".into() },
            fact: Fact::Dialog(fact),
        }
    }

    #[test]
    fn an_end_that_comes_back_to_whom_it_was_withdrawn_from_does_so_as_one_that_was_revoked() {
        let mut identifier = Identifier::new(&Rules::default(), &Limits::default());
        let mut step = |claimed: &str, state| {
            identifier.handle(call_of(claimed, state), &mut Oddities::default());
            let mut came = None;
            while let Some(attributed) = identifier.poll_attributed() {
                let Fact::Dialog(fact) = attributed.observation.fact else { continue };
                if !attributed.withdrawn {
                    came = Some((attributed.aor.as_str().to_owned(), fact.revoked_ends));
                }
            }
            came.unwrap()
        };
        let (alice, bob) = ("sip:alice@example.com", "sip:bob@example.com");
        let live = DialogState::Confirmed;
        assert_eq!(step(alice, live), (alice.to_owned(), 0));
        assert_eq!(step(bob, live), (bob.to_owned(), 0), "bob never lost it: in all taps it has one id");
        assert_eq!(step(alice, live), (alice.to_owned(), 1));
        assert_eq!(step(alice, live), (alice.to_owned(), 1));
        assert_eq!(step(bob, live), (bob.to_owned(), 1));
        assert_eq!(step(alice, DialogState::Terminated), (alice.to_owned(), 2));
        assert!(identifier.left.is_empty(), "it is over");
    }
}
