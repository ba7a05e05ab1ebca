//! Registrations: the registrar's view.
//! In: REGISTER and its responses. Out: `Observation` of bindings. Knows nothing of dialogs, presence, clocks.
//! RFC 3261 section 10; RFC 5626 for instances. A 2xx lists all bindings there are: reconcile to it, never add up.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use slab::Slab;

use super::heard::{Heard, aor, text};
use super::{AuthUser, BindingEvent, BindingFact, Confidence, Fact, Findings, Rule};
use crate::base::{Deadlines, Flow, FrameId, Limits, Oddities, Oddity, Timestamp};
use crate::sip::{Aor, Contact, Uri};

/// What a registrar grants that says nothing (RFC 3261 section 10.2.1.1 leaves it to the registrar).
const EXPIRES_UNSAID_S: u32 = 3_600;
/// A listed expiry is whole seconds: one that differs by less says nothing new.
const EXPIRES_ROUNDING_S: u64 = 2;
/// How long a REGISTER waits for its answer: 64·T1, and as much again for slow hops behind it.
const TRANSACTION_S: u32 = 64;
/// Call-IDs whose last CSeq is remembered for one AOR: phones in use, and a few that went.
const CALLS_PER_AOR: usize = 16;

/// A REGISTER that was not answered yet.
struct Pending {
    aor: Aor,
    at: Timestamp,
    flow: Option<Flow>,
    vias: usize,
    contacts: Vec<Asked>,
    star: bool,
    expires_s: Option<u32>,
    auth: Option<AuthUser>,
    user_agent: Option<Arc<str>>,
}

/// A contact as a REGISTER or its 2xx has it.
struct Asked {
    uri: Arc<str>,
    expires_s: Option<u32>,
    instance: Option<Arc<str>>,
}

impl Asked {
    fn read(contact: &Contact<'_>) -> Self {
        // RFC 5626: one device may hold several flows, told apart by reg-id.
        let instance = contact.param(b"+sip.instance").map(|instance| {
            let flow = contact.param(b"reg-id").unwrap_or_default();
            let mut whole = instance.to_vec();
            whole.push(b';');
            whole.extend_from_slice(flow);
            text(&whole)
        });
        Self {
            uri: text(contact.addr.uri),
            expires_s: contact.expires(),
            instance,
        }
    }
}

struct Binding {
    contact: Arc<str>,
    aliases: Vec<Arc<str>>,
    instance: Option<Arc<str>>,
    flow: Option<Flow>,
    vias: usize,
    listed_by: Vec<SocketAddr>,
    auth: Option<AuthUser>,
    user_agent: Option<Arc<str>>,
    expires_at: Timestamp,
    frame: FrameId,
    call_id: Arc<str>,
    granted_in: Option<(Arc<str>, u32)>,
}

impl Binding {
    fn is(&self, uri: &str) -> bool {
        same_uri(&self.contact, uri) || self.aliases.iter().any(|alias| same_uri(alias, uri))
    }

    fn fact(&self, aor: &Aor, registrar: SocketAddr, event: BindingEvent) -> Fact {
        Fact::Binding(BindingFact {
            aor: aor.clone(),
            contact: Arc::clone(&self.contact),
            flow: self.flow,
            registrar,
            aliases: self.aliases.clone(),
            auth: self.auth.clone(),
            user_agent: self.user_agent.clone(),
            confidence: Confidence::Full,
            event,
        })
    }
}

fn same_uri(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (Uri::parse(one.as_bytes()), Uri::parse(other.as_bytes())) {
        (Some(one), Some(other)) => one.equivalent(&other),
        _ => false,
    }
}

/// The last transaction of one Call-ID that was applied.
struct Applied {
    call_id: Arc<str>,
    cseq: u32,
    hops: Vec<SocketAddr>,
}

struct Registration {
    aor: Aor,
    bindings: Vec<Binding>,
    applied: VecDeque<Applied>,
    deadline: Option<Timestamp>,
}

/// The REGISTERs under way, and what came of them.
pub(super) struct Registrar {
    table: Table,
    pending: HashMap<Box<[u8]>, Pending>,
    pending_order: VecDeque<(Timestamp, Box<[u8]>)>,
    domains: HashSet<Arc<str>>,
    limits: Limits,
    key: Vec<u8>,
}

impl Registrar {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            table: Table {
                registrations: Slab::new(),
                index: HashMap::new(),
                deadlines: Deadlines::new(),
                most: limits.registered_aors,
            },
            pending: HashMap::new(),
            pending_order: VecDeque::new(),
            domains: HashSet::new(),
            limits: limits.clone(),
            key: Vec::new(),
        }
    }

    pub(super) fn handle(
        &mut self,
        heard: &Heard<'_, '_>,
        out: &mut Findings,
        oddities: &mut Oddities,
    ) {
        self.forget_unanswered(heard.at);
        transaction_key(&mut self.key, heard);
        match heard.message.status() {
            None => self.request(heard, out, oddities),
            Some(200..=299) => self.accepted(heard, out, oddities),
            Some(300..) => {
                self.pending.remove(&*self.key);
            }
            Some(_) => {}
        }
    }

    fn request(&mut self, heard: &Heard<'_, '_>, out: &mut Findings, oddities: &mut Oddities) {
        let message = heard.message;
        let Some(aor) = aor(&message.to()) else {
            return oddities.note(Oddity::MalformedMessage);
        };
        if let Some(domain) = aor.domain()
            && !self.domains.contains(domain)
            && self.domains.len() < self.limits.known_addresses
        {
            let domain: Arc<str> = Arc::from(domain);
            self.domains.insert(Arc::clone(&domain));
            out.push(
                Rule::Attributed,
                heard.frame,
                &heard.call_id(),
                Fact::Domain(domain),
            );
        }
        if self.pending.contains_key(&*self.key) {
            return; // a retransmission, or the mirror's copy
        }
        if self.pending.len() >= self.limits.pending_transactions {
            oddities.note(Oddity::TableFull);
            if let Some((_, oldest)) = self.pending_order.pop_front() {
                self.pending.remove(&oldest);
            }
        }
        let pending = Pending {
            aor,
            at: heard.at,
            flow: heard.origin(),
            vias: message.via_count(),
            contacts: message
                .contacts()
                .filter(|contact| !contact.star)
                .take(self.limits.bindings_per_aor)
                .map(|contact| Asked::read(&contact))
                .collect(),
            star: message.contacts().any(|contact| contact.star),
            expires_s: message.expires(),
            auth: heard.auth_user(),
            user_agent: message.user_agent().map(text),
        };
        let key: Box<[u8]> = self.key.as_slice().into();
        self.pending_order.push_back((heard.at, key.clone()));
        self.pending.insert(key, pending);
    }

    fn accepted(&mut self, heard: &Heard<'_, '_>, out: &mut Findings, oddities: &mut Oddities) {
        let message = heard.message;
        if !heard.whole || !message.headers_are_whole() {
            // A list that was cut off is no list of all bindings.
            return oddities.note(Oddity::MessageCut);
        }
        let asked = self.pending.get(&*self.key);
        let Some(aor) = asked
            .map(|asked| asked.aor.clone())
            .or_else(|| aor(&message.to()))
        else {
            return oddities.note(Oddity::MalformedMessage);
        };
        let mut granted = Vec::new();
        for contact in message.contacts().take(self.limits.bindings_per_aor) {
            if contact.star || Uri::parse(contact.addr.uri).is_none() {
                oddities.note(Oddity::ContactUnreadable);
                continue;
            }
            granted.push(Asked::read(&contact));
        }
        let wanted = asked.is_some_and(|asked| {
            asked
                .contacts
                .iter()
                .any(|contact| contact.expires_s.or(asked.expires_s) != Some(0))
        });
        if granted.is_empty() && (wanted || asked.is_none()) {
            return oddities.note(Oddity::RegisterWithoutContact);
        }

        let id = self.table.registration(&aor, oddities);
        let Some(registration) = self.table.registrations.get_mut(id as usize) else {
            return;
        };
        let call_id = heard.call_id();
        let cseq = message.cseq().number;
        let registrar = heard.source;
        let mut step = Step {
            heard,
            call_id: &call_id,
            cseq,
            registrar,
            granted,
            asked,
        };
        match registration.order(&call_id, cseq, registrar) {
            Order::Older => return oddities.note(Oddity::RegisterOutOfOrder),
            Order::Repeated => return,
            Order::SameOnOtherHop => registration.other_hop(&mut step, out),
            Order::Newer => registration.reconcile(&mut step, out, self.limits.bindings_per_aor),
        }
        self.table.settle(id);
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.table.deadlines.next()
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp, out: &mut Findings) {
        while let Some((_, id)) = self.table.deadlines.pop_due(now) {
            if let Some(registration) = self.table.registrations.get_mut(id as usize) {
                registration.deadline = None;
                registration.expire(now, out);
            }
            self.table.settle(id);
        }
    }

    fn forget_unanswered(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.pending_order.front()
            && at.after_s(TRANSACTION_S) < now
        {
            if let Some((at, key)) = self.pending_order.pop_front()
                && self
                    .pending
                    .get(&key)
                    .is_some_and(|pending| pending.at == at)
            {
                self.pending.remove(&key);
            }
        }
    }
}

/// All addresses of record with bindings.
struct Table {
    registrations: Slab<Registration>,
    index: HashMap<Aor, u32>,
    deadlines: Deadlines<u32>,
    most: usize,
}

impl Table {
    /// The registration of `aor`, made when there is none.
    fn registration(&mut self, aor: &Aor, oddities: &mut Oddities) -> u32 {
        if let Some(&id) = self.index.get(aor) {
            return id;
        }
        if self.registrations.len() >= self.most {
            oddities.note(Oddity::TableFull);
            self.drop_emptiest();
        }
        let id = self.registrations.insert(Registration {
            aor: aor.clone(),
            bindings: Vec::new(),
            applied: VecDeque::new(),
            deadline: None,
        }) as u32;
        self.index.insert(aor.clone(), id);
        id
    }

    /// Room for another: the registration that ends soonest goes, else any without bindings.
    fn drop_emptiest(&mut self) {
        let soonest = self.deadlines.first_key();
        let id = soonest.or_else(|| self.registrations.iter().next().map(|(id, _)| id as u32));
        if let Some(mut gone) = id.and_then(|id| {
            self.registrations
                .try_remove(id as usize)
                .map(|gone| (id, gone))
        }) {
            self.index.remove(&gone.1.aor);
            self.deadlines.set(&mut gone.1.deadline, gone.0, None);
        }
    }

    fn settle(&mut self, id: u32) {
        if let Some(registration) = self.registrations.get_mut(id as usize) {
            let next = registration
                .bindings
                .iter()
                .map(|binding| binding.expires_at)
                .min();
            self.deadlines.set(&mut registration.deadline, id, next);
        }
    }
}

/// Call-ID, CSeq and branch: the same for a request and its responses on one hop.
pub(super) fn transaction_key(key: &mut Vec<u8>, heard: &Heard<'_, '_>) {
    key.clear();
    key.extend_from_slice(heard.message.call_id());
    key.push(0);
    key.extend_from_slice(&heard.message.cseq().number.to_be_bytes());
    key.extend_from_slice(heard.message.top_branch());
}

/// One 2xx being applied.
struct Step<'a, 'h, 'm> {
    heard: &'a Heard<'h, 'm>,
    call_id: &'a Arc<str>,
    cseq: u32,
    registrar: SocketAddr,
    granted: Vec<Asked>,
    asked: Option<&'a Pending>,
}

impl Step<'_, '_, '_> {
    /// Seconds that this 2xx grants to a contact that it lists.
    fn granted_s(&self, contact: &Asked) -> u32 {
        let asked = self.asked.and_then(|asked| {
            let own = asked
                .contacts
                .iter()
                .find(|own| same_uri(&own.uri, &contact.uri));
            own.and_then(|own| own.expires_s).or(asked.expires_s)
        });
        contact
            .expires_s
            .or_else(|| self.heard.message.expires())
            .or(asked)
            .unwrap_or(EXPIRES_UNSAID_S)
    }

    /// The request asked for this contact: what the request shows belongs to it.
    fn own(&self, contact: &Asked) -> Option<&Pending> {
        self.asked.filter(|asked| {
            asked.contacts.iter().any(|own| {
                same_uri(&own.uri, &contact.uri)
                    || (own.instance.is_some() && own.instance == contact.instance)
            })
        })
    }
}

enum Order {
    Newer,
    SameOnOtherHop,
    Repeated,
    Older,
}

impl Registration {
    /// Where a 2xx stands among those of its Call-ID (RFC 3261 section 10.3 step 7), remembering it.
    fn order(&mut self, call_id: &Arc<str>, cseq: u32, registrar: SocketAddr) -> Order {
        if let Some(last) = self
            .applied
            .iter_mut()
            .find(|last| last.call_id == *call_id)
        {
            if cseq < last.cseq {
                return Order::Older;
            }
            if cseq > last.cseq {
                last.cseq = cseq;
                last.hops = vec![registrar];
                return Order::Newer;
            }
            if last.hops.contains(&registrar) {
                return Order::Repeated;
            }
            last.hops.push(registrar);
            return Order::SameOnOtherHop;
        }
        if self.applied.len() >= CALLS_PER_AOR {
            self.applied.pop_front();
        }
        self.applied.push_back(Applied {
            call_id: Arc::clone(call_id),
            cseq,
            hops: vec![registrar],
        });
        Order::Newer
    }

    fn reconcile(&mut self, step: &mut Step<'_, '_, '_>, out: &mut Findings, most: usize) {
        let (now, frame) = (out.at, step.heard.frame);
        let mut listed = Vec::new();
        for contact in std::mem::take(&mut step.granted) {
            let granted_s = step.granted_s(&contact);
            if granted_s == 0 {
                continue;
            }
            let expires_at = now.after_s(granted_s);
            let own = step.own(&contact);
            let at = match self
                .bindings
                .iter()
                .position(|binding| binding.is(&contact.uri))
            {
                Some(at) => at,
                None if self.bindings.len() >= most => continue,
                None => {
                    self.bindings.push(Binding {
                        contact: Arc::clone(&contact.uri),
                        aliases: Vec::new(),
                        instance: contact.instance.clone(),
                        flow: None,
                        vias: usize::MAX,
                        listed_by: Vec::new(),
                        auth: None,
                        user_agent: None,
                        expires_at: Timestamp::EPOCH,
                        frame,
                        call_id: Arc::clone(step.call_id),
                        granted_in: None,
                    });
                    self.bindings.len() - 1
                }
            };
            listed.push(at);
            let alone = self.bindings.len() == 1;
            let Some(binding) = self.bindings.get_mut(at) else {
                continue;
            };
            if !binding.listed_by.contains(&step.registrar) {
                binding.listed_by.push(step.registrar);
            }
            let mut news = binding.expires_at == Timestamp::EPOCH;
            if let Some(asked) = own {
                news = true;
                binding.flow = asked.flow.or(binding.flow);
                binding.vias = asked.vias;
                binding.auth = asked.auth.clone().or_else(|| binding.auth.take());
                binding.user_agent = asked
                    .user_agent
                    .clone()
                    .or_else(|| binding.user_agent.take());
                binding.instance = contact.instance.clone().or_else(|| binding.instance.take());
                binding.granted_in = Some((Arc::clone(step.call_id), step.cseq));
            } else if step.asked.is_none()
                && step.heard.message.via_count() == 1
                && binding.flow.is_none()
            {
                // The request was lost: its answer went to where it came from, if it is the only one listed.
                binding.flow = alone.then_some(Flow {
                    address: step.heard.destination,
                    transport: step.heard.transport,
                });
            }
            let apart_s = binding
                .expires_at
                .since(expires_at)
                .max(expires_at.since(binding.expires_at))
                .as_secs();
            if own.is_some() || apart_s >= EXPIRES_ROUNDING_S {
                news = true;
                binding.expires_at = expires_at;
                binding.frame = frame;
                binding.call_id = Arc::clone(step.call_id);
            }
            if news {
                let event = BindingEvent::Registered {
                    expires_at: binding.expires_at,
                };
                out.push(
                    Rule::Register200,
                    frame,
                    step.call_id,
                    binding.fact(&self.aor, step.registrar, event),
                );
            }
        }
        self.remove_unlisted(step, &listed, out);
    }

    /// What the 2xx no longer lists: taken back by this very request, or gone at this registrar.
    fn remove_unlisted(&mut self, step: &Step<'_, '_, '_>, listed: &[usize], out: &mut Findings) {
        let asked_away = |binding: &Binding| {
            step.asked.is_some_and(|asked| {
                asked.star
                    || asked.contacts.iter().any(|contact| {
                        contact.expires_s.or(asked.expires_s) == Some(0) && binding.is(&contact.uri)
                    })
            })
        };
        let had = self.bindings.len();
        let mut at = 0;
        let mut gone = Vec::new();
        self.bindings.retain(|binding| {
            let here = at;
            at += 1;
            if listed.contains(&here) {
                return true;
            }
            let rule = if asked_away(binding) {
                Rule::Unregister200
            } else if binding.listed_by.contains(&step.registrar) {
                Rule::RegisterMissing
            } else {
                return true;
            };
            gone.push((
                rule,
                binding.fact(&self.aor, step.registrar, BindingEvent::Removed),
            ));
            false
        });
        if had == 0
            && let Some(asked) = step.asked
            && (asked.star || !asked.contacts.is_empty())
        {
            // Nothing was known of it, and now it is known that nothing is there.
            let contact = asked
                .contacts
                .first()
                .map_or_else(|| Arc::from("*"), |first| Arc::clone(&first.uri));
            let fact = BindingFact {
                aor: self.aor.clone(),
                contact,
                flow: None,
                registrar: step.registrar,
                aliases: Vec::new(),
                auth: None,
                user_agent: None,
                confidence: Confidence::Full,
                event: BindingEvent::Removed,
            };
            gone.push((Rule::Unregister200, Fact::Binding(fact)));
        }
        for (rule, fact) in gone {
            out.push(rule, step.heard.frame, step.call_id, fact);
        }
    }

    /// The same REGISTER on a further hop: its contact is another name of the binding that the first one
    /// brought; where it came from and until when it lasts is told by the hop nearest the phone.
    fn other_hop(&mut self, step: &mut Step<'_, '_, '_>, out: &mut Findings) {
        let Some(asked) = step.asked else { return };
        let transaction = (Arc::clone(step.call_id), step.cseq);
        for contact in &asked.contacts {
            let granted = step
                .granted
                .iter()
                .find(|granted| same_uri(&granted.uri, &contact.uri));
            let granted_s = granted.map(|granted| step.granted_s(granted));
            let known = self
                .bindings
                .iter()
                .position(|binding| binding.is(&contact.uri))
                .or_else(|| {
                    self.bindings
                        .iter()
                        .position(|binding| binding.granted_in.as_ref() == Some(&transaction))
                });
            let Some(binding) = known.and_then(|at| self.bindings.get_mut(at)) else {
                continue;
            };
            if !binding.is(&contact.uri) && binding.aliases.len() < 4 {
                binding.aliases.push(Arc::clone(&contact.uri));
            }
            if !binding.listed_by.contains(&step.registrar) {
                binding.listed_by.push(step.registrar);
            }
            if asked.vias < binding.vias {
                binding.vias = asked.vias;
                binding.flow = asked.flow.or(binding.flow);
                if let Some(granted_s) = granted_s.filter(|&granted_s| granted_s > 0) {
                    binding.expires_at = out.at.after_s(granted_s);
                    binding.frame = step.heard.frame;
                }
            }
            let event = BindingEvent::Registered {
                expires_at: binding.expires_at,
            };
            let fact = binding.fact(&self.aor, step.registrar, event);
            out.push(Rule::Register200, step.heard.frame, step.call_id, fact);
        }
    }

    fn expire(&mut self, now: Timestamp, out: &mut Findings) {
        let aor = &self.aor;
        self.bindings.retain(|binding| {
            if binding.expires_at > now {
                return true;
            }
            let registrar = binding
                .listed_by
                .first()
                .copied()
                .unwrap_or_else(unspecified);
            let fact = binding.fact(aor, registrar, BindingEvent::Removed);
            out.push(Rule::RegisterExpired, binding.frame, &binding.call_id, fact);
            false
        });
    }
}

fn unspecified() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}
