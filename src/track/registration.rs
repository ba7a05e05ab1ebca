//! One address of record: its bindings, and how an answer changes them.
//! In: what a REGISTER asked and its 2xx lists. Out: facts about bindings. Knows nothing of messages.
//! RFC 3261 section 10.3. A 2xx lists all bindings there are: reconcile to it, never add up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use super::heard::{Heard, text};
use super::pending::Pending;
use super::registrar::List;
use super::{
    AuthUser, Binding, BindingEvent, BindingFact, Confidence, Fact, Findings, OVERTAKES, RegistrationId, Rule,
};
use crate::base::{AddressMark, Flow, FrameId, Timestamp};
use crate::sip::{Aor, Contact, Uri, uri};

/// What a registrar grants that says nothing, and what is believed when its answer was not seen.
const EXPIRES_UNSAID_S: u32 = 3_600;
/// A listed expiry is whole seconds: one that differs by less says nothing new.
const EXPIRES_ROUNDING_S: u64 = 2;
/// A phone that goes on to speak after its granted time is held to have renewed that so long after.
const RENEWED_AFTER: Duration = Duration::from_millis(100);
/// Bindings of one AOR that ran out and are remembered.
const LAPSED_PER_AOR: usize = 4;
/// Call-IDs whose last CSeq is remembered for one AOR: phones in use, and a few that went.
const CALLS_PER_AOR: usize = 16;
/// Names of one contact on further hops.
const ALIASES: usize = 4;
/// Registrars that list one binding, and hops of one REGISTER: RFC 3261 gives a message 70 hops, nobody uses ten.
const HOPS: usize = 16;

/// A contact as a REGISTER or its 2xx has it.
#[derive(Clone)]
pub(super) struct Asked {
    pub uri: Arc<str>,
    pub expires_s: Option<u32>,
    /// RFC 5626: marks of the device and its flow.
    instance: Option<(u64, u64)>,
}

impl Asked {
    /// `at_hand` may be its URI.
    pub(super) fn read(contact: &Contact<'_>, heard: &Heard<'_, '_>, at_hand: Option<&Arc<str>>) -> Self {
        let (expires_s, instance, flow) = contact.binding_params();
        let mark = |bytes| heard.texts.mark(bytes);
        let instance = instance.map(|instance| (mark(instance), mark(flow.unwrap_or_default())));
        let uri = at_hand.filter(|known| known.as_bytes() == contact.addr.uri);
        let uri = uri.map_or_else(|| text(contact.addr.uri), Arc::clone);
        Self { uri, expires_s, instance }
    }
}

/// A binding, until when it lasts and why it is believed.
struct Held {
    binding: Arc<Binding>,
    expires_at: Timestamp,
    frame: FrameId,
    call_id: Arc<str>,
    cseq: u32,
    /// Vias on the hop that showed its flow: the fewer, the nearer to the phone.
    vias: usize,
    /// The registrars that listed it.
    listed_by: SmallVec<[AddressMark; 1]>,
    /// No 2xx has shown that it stands so.
    is_presumed: bool,
    /// How it stood before a REGISTER was believed whose answer was not seen.
    before: Option<Box<Standing>>,
}

/// Until when a binding lasts, and by what.
struct Standing {
    expires_at: Timestamp,
    frame: FrameId,
    call_id: Arc<str>,
    cseq: u32,
}

impl Held {
    fn is(&self, uri: &str) -> bool {
        uri::same(&self.binding.contact, uri)
            || self.binding.aliases.iter().any(|alias| uri::same(alias, uri))
    }

    fn listed_by(&mut self, registrar: SocketAddr) {
        let registrar = registrar.into();
        if !self.listed_by.contains(&registrar) {
            if self.listed_by.len() >= HOPS {
                self.listed_by.remove(0);
            }
            self.listed_by.push(registrar);
        }
    }

    fn removed(&self, confidence: Confidence) -> Fact {
        let (binding, event) = (Arc::clone(&self.binding), BindingEvent::Removed);
        Fact::Binding(BindingFact { binding, confidence, event })
    }

    fn registered(&self, confidence: Confidence) -> Fact {
        let event = BindingEvent::Registered { expires_at: self.expires_at };
        Fact::Binding(BindingFact { binding: Arc::clone(&self.binding), confidence, event })
    }
}

/// The last transaction of one Call-ID that was applied.
struct Applied {
    call_id: Arc<str>,
    cseq: u32,
    at: Timestamp,
    /// The registrars that answered; none, if what was believed of it was taken back.
    hops: SmallVec<[AddressMark; 1]>,
    /// Of that answer nothing was seen, or only its beginning: another copy of it may say more.
    partial: bool,
    /// A request of this Call-ID was seen, and its answer.
    is_followed: bool,
    /// The registrar that last answered with a whole list that was not empty.
    listed_by: Option<AddressMark>,
}

/// One AOR.
pub(super) struct Registration {
    pub aor: Aor,
    id: RegistrationId,
    held: SmallVec<[Held; 1]>,
    applied: SmallVec<[Applied; 1]>,
    pub deadline: Option<Timestamp>,
    /// A REGISTER without credentials was accepted.
    pub accepted_bare: bool,
    /// What was asked for last, in seconds, and how much of that was granted.
    granted_of_s: Option<(u32, u32)>,
    taken_back: Option<Box<TakenBack>>,
    /// Bindings whose granted time ran out last, while the mirror was known to lose messages.
    lapsed: Vec<Held>,
    /// When one of them is held to be renewed: where its phone is.
    renewal: Option<(Timestamp, Flow)>,
}

/// What the last REGISTER took back that was believed without its answer.
struct TakenBack {
    call_id: Arc<str>,
    cseq: u32,
    held: SmallVec<[Held; 1]>,
}

/// One answer being applied.
pub(super) struct Step<'a> {
    pub frame: FrameId,
    pub call_id: Arc<str>,
    pub cseq: u32,
    pub registrar: SocketAddr,
    /// Where the answer went, if there is no further hop behind it.
    pub sole_hop: Option<Flow>,
    /// The answer lists one contact only.
    pub sole_contact: bool,
    /// The answer's Expires.
    pub expires_s: Option<u32>,
    pub rule: Rule,
    pub confidence: Confidence,
    /// What the answer lists; of one that was not seen: as others do.
    pub list: List,
    pub asked: Option<&'a Pending>,
}

impl Step<'_> {
    /// Seconds granted to a contact: its `expires`, then the answer's Expires, then what was asked.
    fn granted_s(&self, contact: &Asked) -> u32 {
        let asked = self.asked.and_then(|asked| {
            let own = asked.contacts.iter().find(|own| uri::same(&own.uri, &contact.uri));
            own.and_then(|own| own.expires_s).or(asked.expires_s)
        });
        contact.expires_s.or(self.expires_s).or(asked).unwrap_or(EXPIRES_UNSAID_S)
    }

    /// What the request asked under this or another name: what the request shows belongs to it. Some
    /// registrars list a contact without its parameters, or with another host; `known` are its names so far.
    fn own(&self, contact: &Asked, known: Option<&Held>) -> Option<(&Pending, &Asked)> {
        let asked = self.asked?;
        let find = |same: &dyn Fn(&Asked) -> bool| asked.contacts.iter().find(|own| same(own));
        let key = |uri: &str| Uri::parse(uri.as_bytes()).map(|uri| uri.key());
        let own = find(&|own| uri::same(&own.uri, &contact.uri))
            .or_else(|| find(&|own| known.is_some_and(|known| known.is(&own.uri))))
            .or_else(|| find(&|own| own.instance.is_some() && own.instance == contact.instance))
            .or_else(|| find(&|own| key(&own.uri).is_some_and(|own| key(&contact.uri) == Some(own))));
        let only_one_of_each = known.is_none() && self.sole_contact && asked.contacts.len() == 1;
        let other_name = || {
            asked
                .contacts
                .first()
                .filter(|own| only_one_of_each && own.expires_s.or(asked.expires_s) != Some(0))
        };
        Some((asked, own.or_else(other_name)?))
    }

    /// The frame of its Call-ID that shows it: what proves it may be of a call.
    fn own_frame(&self) -> FrameId {
        let asked = self.asked.filter(|_| self.rule == Rule::RegisterProved);
        asked.map_or(self.frame, |asked| asked.frame)
    }

    /// By what a binding goes that the request took back: its 2xx, if that was seen.
    fn removal_rule(&self) -> Rule {
        if self.rule == Rule::Register200 { Rule::Unregister200 } else { self.rule }
    }

    /// The request took this binding back.
    fn asked_away(&self, held: &Held) -> bool {
        self.asked.is_some_and(|asked| {
            let gone =
                |contact: &Asked| contact.expires_s.or(asked.expires_s) == Some(0) && held.is(&contact.uri);
            asked.star || asked.contacts.iter().any(gone)
        })
    }
}

/// Where an answer stands among those of its Call-ID.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Newer,
    SameOnOtherHop,
    Repeated,
    Older,
}

impl Registration {
    pub(super) fn new(aor: Aor, id: RegistrationId) -> Self {
        Self {
            aor,
            id,
            held: SmallVec::new(),
            applied: SmallVec::new(),
            deadline: None,
            accepted_bare: false,
            granted_of_s: None,
            taken_back: None,
            lapsed: Vec::new(),
            renewal: None,
        }
    }

    /// The contact of one of its bindings, if that is its text.
    pub(super) fn contact(&self, uri: &[u8]) -> Option<&Arc<str>> {
        self.held.iter().map(|held| &held.binding.contact).find(|contact| contact.as_bytes() == uri)
    }

    /// A phone there is registered with this contact.
    pub(super) fn has(&self, contact: &str, flow: Option<Flow>) -> bool {
        self.held.iter().any(|held| held.is(contact) && held.binding.flow == flow)
    }

    /// The User-Agent of one of its bindings, if that is its text.
    pub(super) fn user_agent(&self, agent: &[u8]) -> Option<&Arc<str>> {
        let agents = self.held.iter().filter_map(|held| held.binding.user_agent.as_ref());
        agents.into_iter().find(|known| known.as_bytes() == agent)
    }

    /// The digest user of one of its bindings, if these are its texts.
    pub(super) fn user(&self, user: &[u8], realm: &[u8]) -> Option<AuthUser> {
        let users = self.held.iter().filter_map(|held| held.binding.auth.as_ref());
        let is = |known: &&AuthUser| known.user.as_bytes() == user && known.realm.as_bytes() == realm;
        users.into_iter().find(is).cloned()
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        let renewal = self.renewal.map(|(at, ..)| at);
        self.held.iter().map(|held| held.expires_at).chain(renewal).min()
    }

    /// Whether the 2xx of this transaction, or of a later one, was applied.
    pub(super) fn has_applied(&self, call_id: &[u8], cseq: u32) -> bool {
        self.applied.iter().any(|last| last.call_id.as_bytes() == call_id && last.cseq >= cseq)
    }

    /// The same, and nothing of that was taken back.
    pub(super) fn stands(&self, call_id: &[u8], cseq: u32) -> bool {
        let is_this = |last: &&Applied| last.call_id.as_bytes() == call_id && last.cseq >= cseq;
        self.applied.iter().find(is_this).is_some_and(|last| !last.hops.is_empty())
    }

    /// The request came after its answer: it is seen, too.
    pub(super) fn follow(&mut self, call_id: &[u8]) {
        if let Some(last) = self.applied.iter_mut().find(|last| last.call_id.as_bytes() == call_id) {
            last.is_followed = true;
        }
    }

    /// What was applied of this Call-ID, if all of that is earlier than this.
    fn earlier(&self, call_id: &[u8], cseq: u32) -> Option<&Applied> {
        self.applied.iter().find(|last| last.call_id.as_bytes() == call_id && last.cseq < cseq)
    }

    /// This registrar has answered an earlier request of this Call-ID with a list that was not empty.
    pub(super) fn was_listed_by(&self, call_id: &[u8], cseq: u32, registrar: SocketAddr) -> bool {
        self.earlier(call_id, cseq).is_some_and(|last| last.listed_by == Some(registrar.into()))
    }

    /// This registrar has answered an earlier request of this Call-ID, and requests of it are seen.
    pub(super) fn was_followed_at(&self, call_id: &[u8], cseq: u32, registrar: SocketAddr) -> bool {
        let earlier = self.earlier(call_id, cseq);
        earlier.is_some_and(|last| last.is_followed && last.hops.contains(&registrar.into()))
    }

    /// This answer is a whole list that is not empty.
    pub(super) fn note_listed(&mut self, step: &Step<'_>) {
        if let Some(last) = self.applied.iter_mut().find(|last| last.call_id == step.call_id) {
            last.listed_by = Some(step.registrar.into());
        }
    }

    /// Where a 2xx stands among those of its Call-ID (RFC 3261 section 10.3 step 7), remembering it. `partial`: it was cut, or not
    /// seen itself; the first whole copy of one that was so is newer than that.
    /// A phone that lost its power counts from the beginning again, and registrars take it: of a REGISTER that was
    /// first seen (`asked_at`) well after the last answer, the number says nothing.
    pub(super) fn order(
        &mut self,
        call_id: &[u8],
        cseq: u32,
        registrar: SocketAddr,
        asked_at: Option<Timestamp>,
        partial: bool,
        now: Timestamp,
    ) -> (Arc<str>, Order) {
        let known = self.applied.iter_mut().find(|last| last.call_id.as_bytes() == call_id);
        if let Some(last) = known {
            last.is_followed |= asked_at.is_some();
            let began_anew = asked_at.is_some_and(|asked_at| asked_at > last.at.after(OVERTAKES));
            let order = if cseq < last.cseq && !began_anew {
                Order::Older
            } else if cseq != last.cseq || began_anew {
                last.cseq = cseq;
                last.at = now;
                last.hops = smallvec![registrar.into()];
                last.partial = partial;
                Order::Newer
            } else if last.hops.is_empty() {
                last.hops.push(registrar.into());
                last.partial = partial;
                Order::Newer
            } else if last.partial && !partial && last.hops.contains(&registrar.into()) {
                last.partial = false;
                Order::Newer
            } else if last.hops.contains(&registrar.into()) || last.hops.len() >= HOPS {
                Order::Repeated
            } else {
                last.hops.push(registrar.into());
                Order::SameOnOtherHop
            };
            return (Arc::clone(&last.call_id), order);
        }
        if self.applied.len() >= CALLS_PER_AOR {
            self.applied.remove(0);
        }
        let call_id = text(call_id);
        let hops = smallvec![registrar.into()];
        self.applied.push(Applied {
            call_id: Arc::clone(&call_id),
            cseq,
            at: now,
            hops,
            partial,
            is_followed: asked_at.is_some(),
            listed_by: None,
        });
        (call_id, Order::Newer)
    }

    /// Makes the bindings what the 2xx says they are.
    pub(super) fn reconcile(
        &mut self,
        step: &Step<'_>,
        granted: SmallVec<[Asked; 1]>,
        out: &mut Findings,
        most: usize,
        next_binding: &mut u64,
    ) {
        let mut listed: SmallVec<[usize; 4]> = SmallVec::new();
        for contact in &granted {
            let granted_s = step.granted_s(contact);
            // RFC 5626: one contact over several flows is there as long as one of them.
            let outlived = |other: &Asked| {
                other.instance != contact.instance
                    && step.granted_s(other) > granted_s
                    && uri::same(&other.uri, &contact.uri)
            };
            if granted_s == 0 {
                listed.extend(self.ends_by_itself(step, contact, out.at));
            } else if !granted.iter().any(outlived)
                && let Some(at) = self.grant(step, contact, granted_s, out, most, next_binding)
            {
                listed.push(at);
            }
        }
        self.taken_back = None;
        self.lapsed = Vec::new();
        self.remove_unlisted(step, &listed, out);
    }

    /// The place of a contact that is listed with no time left, and that nobody takes back: registrars round down, and until
    /// its granted time is over it is there.
    fn ends_by_itself(&self, step: &Step<'_>, contact: &Asked, now: Timestamp) -> Option<usize> {
        self.held.iter().position(|held| {
            held.is(&contact.uri)
                && !step.asked_away(held)
                && held.expires_at.since(now).as_secs() < EXPIRES_ROUNDING_S
        })
    }

    /// Does what a REGISTER asked, though nobody saw that it was granted, or not all that was: `listed` is what
    /// its answer shows.
    pub(super) fn believe(
        &mut self,
        step: &Step<'_>,
        listed: &[Asked],
        out: &mut Findings,
        most: usize,
        next_binding: &mut u64,
    ) {
        let unlisted = |contact: &&Asked| !listed.iter().any(|listed| uri::same(&listed.uri, &contact.uri));
        let wanted = |asked: &Pending, contact: &Asked| contact.expires_s.or(asked.expires_s) != Some(0);
        let of_request = step.asked.iter().flat_map(|&asked| {
            asked.contacts.iter().filter(unlisted).filter(move |contact| wanted(asked, contact))
        });
        for contact in listed.iter().chain(of_request) {
            let granted_s = step.granted_s(contact);
            if granted_s > 0 {
                self.grant(step, contact, granted_s, out, most, next_binding);
            }
        }
        let everything: SmallVec<[usize; 4]> = (0..self.held.len())
            .filter(|&at| self.held.get(at).is_some_and(|held| !step.asked_away(held)))
            .collect();
        self.remove_unlisted(step, &everything, out);
    }

    /// What was believed of this REGISTER is not so: bindings are as they were before it, at most so many.
    pub(super) fn disbelieve(
        &mut self,
        call_id: &[u8],
        cseq: u32,
        frame: FrameId,
        out: &mut Findings,
        most: usize,
    ) {
        let is_of = |of: &Arc<str>, number: u32| number == cseq && of.as_bytes() == call_id;
        if let Some(last) = self.applied.iter_mut().find(|last| is_of(&last.call_id, last.cseq)) {
            last.hops.clear();
        }
        let rule = Rule::RegisterDisproved;
        self.held.retain_mut(|held| {
            if !is_of(&held.call_id, held.cseq) || !held.is_presumed {
                return true;
            }
            let Some(before) = held.before.take() else {
                out.push(rule, frame, &held.call_id, held.removed(Confidence::Weak));
                return false;
            };
            (held.expires_at, held.frame) = (before.expires_at, before.frame);
            (held.call_id, held.cseq, held.is_presumed) = (before.call_id, before.cseq, false);
            out.push(rule, frame, &held.call_id, held.registered(Confidence::Weak));
            true
        });
        let taken_back = self.taken_back.take_if(|taken| is_of(&taken.call_id, taken.cseq));
        for held in taken_back.into_iter().flat_map(|taken| taken.held) {
            let came_anew = self.held.iter().any(|other| other.is(&held.binding.contact));
            if held.expires_at > out.at && !came_anew && self.held.len() < most {
                out.push(rule, frame, &held.call_id, held.registered(Confidence::Weak));
                self.held.push(held);
            }
        }
    }

    /// Enters one granted contact; gives its place.
    fn grant(
        &mut self,
        step: &Step<'_>,
        contact: &Asked,
        granted_s: u32,
        out: &mut Findings,
        most: usize,
        next_binding: &mut u64,
    ) -> Option<usize> {
        let known = self.held.iter().position(|held| held.is(&contact.uri));
        let own = step.own(contact, known.and_then(|at| self.held.get(at)));
        let asked_s = own.and_then(|(asked, own)| own.expires_s.or(asked.expires_s));
        let is_answered = step.rule == Rule::Register200;
        if let Some(asked_s) = asked_s.filter(|_| is_answered) {
            self.granted_of_s = Some((asked_s, granted_s));
        }
        // Who asks the same again is granted the same again.
        let granted_s = match self.granted_of_s {
            Some((of_s, usual_s)) if !is_answered && asked_s == Some(of_s) => granted_s.min(usual_s),
            _ => granted_s,
        };
        let expires_at = out.at.after_s(granted_s);
        let (at, mut news) = match known {
            Some(at) => (at, false),
            None if self.held.len() >= most => return None,
            None => {
                *next_binding += 1;
                let binding = Binding {
                    id: *next_binding,
                    aor: self.aor.clone(),
                    registration: self.id,
                    contact: Arc::clone(&contact.uri),
                    flow: None,
                    registrar: step.registrar.into(),
                    aliases: Vec::new(),
                    auth: None,
                    user_agent: None,
                };
                self.held.push(Held {
                    binding: Arc::new(binding),
                    expires_at,
                    frame: step.own_frame(),
                    call_id: Arc::clone(&step.call_id),
                    cseq: step.cseq,
                    vias: usize::MAX,
                    listed_by: SmallVec::new(),
                    is_presumed: true,
                    before: None,
                });
                (self.held.len() - 1, true)
            }
        };
        let alone = self.held.len() == 1;
        let held = self.held.get_mut(at)?;
        held.listed_by(step.registrar);
        held.is_presumed = !is_answered;
        if is_answered {
            held.before = None;
        } else if known.is_some() && held.before.is_none() {
            let (call_id, expires_at) = (Arc::clone(&held.call_id), held.expires_at);
            held.before =
                Some(Box::new(Standing { expires_at, frame: held.frame, call_id, cseq: held.cseq }));
        }
        if let Some((asked, as_asked)) = own {
            news = true;
            held.vias = asked.vias;
            held.cseq = step.cseq;
            if !held.is(&as_asked.uri) && held.binding.aliases.len() < ALIASES {
                Arc::make_mut(&mut held.binding).aliases.push(Arc::clone(&as_asked.uri));
            }
            let flow = asked.flow.or(held.binding.flow);
            let auth = asked.auth.as_ref().or(held.binding.auth.as_ref());
            let user_agent = asked.user_agent.as_ref().or(held.binding.user_agent.as_ref());
            let known = &held.binding;
            if known.flow != flow || known.auth.as_ref() != auth || known.user_agent.as_ref() != user_agent {
                let (auth, user_agent) = (auth.cloned(), user_agent.cloned());
                let binding = Arc::make_mut(&mut held.binding);
                (binding.flow, binding.auth, binding.user_agent) = (flow, auth, user_agent);
            }
        } else if step.asked.is_none() && alone && held.binding.flow.is_none() && step.sole_hop.is_some() {
            // The request was lost: its answer went to where it came from.
            Arc::make_mut(&mut held.binding).flow = step.sole_hop;
        }
        let apart = held.expires_at.since(expires_at).max(expires_at.since(held.expires_at));
        if own.is_some() || apart.as_secs() >= EXPIRES_ROUNDING_S {
            news = true;
            held.expires_at = expires_at;
            held.frame = step.own_frame();
            held.call_id = Arc::clone(&step.call_id);
        }
        if news {
            out.push(step.rule, step.frame, &step.call_id, held.registered(step.confidence));
        }
        Some(at)
    }

    /// What the 2xx no longer lists: taken back by this very request, or gone at this registrar.
    fn remove_unlisted(&mut self, step: &Step<'_>, listed: &[usize], out: &mut Findings) {
        let had = self.held.len();
        let mut gone: SmallVec<[(Rule, Fact); 2]> = SmallVec::new();
        let mut held: SmallVec<[Held; 1]> = SmallVec::new();
        for at in (0..had).rev().filter(|at| !listed.contains(at)) {
            let Some(one) = self.held.get(at) else { continue };
            let rule = if step.asked_away(one) {
                step.removal_rule()
            } else if one.listed_by.contains(&step.registrar.into()) {
                Rule::RegisterMissing
            } else {
                continue;
            };
            gone.push((rule, one.removed(step.confidence)));
            held.push(self.held.remove(at));
        }
        gone.reverse();
        if step.rule == Rule::RegisterPresumed && !held.is_empty() {
            held.reverse();
            let (call_id, cseq) = (Arc::clone(&step.call_id), step.cseq);
            self.taken_back = Some(Box::new(TakenBack { call_id, cseq, held }));
        }
        if had == 0
            && let Some(asked) = step.asked
            && (asked.star || (!asked.contacts.is_empty() && step.list == List::Whole))
        {
            // Nothing was known of it, and now it is known that nothing is there.
            let binding = Binding {
                id: 0,
                aor: self.aor.clone(),
                registration: self.id,
                contact: asked
                    .contacts
                    .first()
                    .map_or_else(|| Arc::from("*"), |first| Arc::clone(&first.uri)),
                flow: None,
                registrar: step.registrar.into(),
                aliases: Vec::new(),
                auth: None,
                user_agent: None,
            };
            let fact = BindingFact {
                binding: Arc::new(binding),
                confidence: step.confidence,
                event: BindingEvent::Removed,
            };
            gone.push((step.removal_rule(), Fact::Binding(fact)));
        }
        for (rule, fact) in gone {
            out.push(rule, step.frame, &step.call_id, fact);
        }
    }

    /// The same REGISTER on a further hop: its contact is another name of the binding that the first one
    /// brought; where it came from and until when it lasts is told by the hop nearest the phone.
    pub(super) fn other_hop(&mut self, step: &Step<'_>, granted: &[Asked], out: &mut Findings) {
        let Some(asked) = step.asked else { return };
        for contact in &asked.contacts {
            let listed = granted.iter().filter(|granted| uri::same(&granted.uri, &contact.uri));
            let granted_s =
                listed.map(|listed| step.granted_s(listed)).max().filter(|&granted_s| granted_s > 0);
            let known = self.held.iter().position(|held| held.is(&contact.uri)).or_else(|| {
                self.held.iter().position(|held| held.call_id == step.call_id && held.cseq == step.cseq)
            });
            let Some(held) = known.and_then(|at| self.held.get_mut(at)) else { continue };
            held.listed_by(step.registrar);
            if !held.is(&contact.uri) && held.binding.aliases.len() < ALIASES {
                Arc::make_mut(&mut held.binding).aliases.push(Arc::clone(&contact.uri));
            }
            if asked.vias < held.vias {
                held.vias = asked.vias;
                if asked.flow.is_some() && asked.flow != held.binding.flow {
                    Arc::make_mut(&mut held.binding).flow = asked.flow;
                }
                if let Some(granted_s) = granted_s {
                    held.expires_at = out.at.after_s(granted_s);
                    held.frame = step.frame;
                }
            }
            out.push(Rule::Register200, step.frame, &step.call_id, held.registered(Confidence::Full));
        }
    }

    /// Nobody will notice the end of these bindings any more: they end now.
    pub(super) fn evict(&mut self, out: &mut Findings) {
        for held in self.held.drain(..) {
            out.push(Rule::Evicted, held.frame, &held.call_id, held.removed(Confidence::Weak));
        }
    }

    /// Removes what the granted time of ran out. Gives where those phones were.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Findings) -> SmallVec<[Flow; 1]> {
        let mut flows = SmallVec::new();
        while let Some(at) = self.held.iter().position(|held| held.expires_at <= now) {
            let held = self.held.remove(at);
            out.push(Rule::RegisterExpired, held.frame, &held.call_id, held.removed(Confidence::Full));
            flows.extend(held.binding.flow);
            if self.lapsed.len() >= LAPSED_PER_AOR {
                self.lapsed.remove(0);
            }
            self.lapsed.push(held);
        }
        flows
    }

    /// Nothing that ran out was renewed unseen.
    pub(super) fn forget_lapsed(&mut self) {
        self.lapsed = Vec::new();
    }

    /// The phone there goes on to speak. What its message does to its calls is told first, and by itself.
    pub(super) fn speaks_on(&mut self, flow: Flow, now: Timestamp) {
        self.renewal = Some((now.after(RENEWED_AFTER), flow));
    }

    /// A phone that went on to speak has renewed what ran out, for as long as it was granted before.
    pub(super) fn renew_lapsed(&mut self, now: Timestamp, out: &mut Findings, most: usize) {
        let Some((_, flow)) = self.renewal.take_if(|(at, ..)| *at <= now) else { return };
        let Some((_, granted_s)) = self.granted_of_s else { return };
        for mut held in std::mem::take(&mut self.lapsed) {
            let until = held.expires_at.after_s(granted_s);
            let came_anew = self.held.iter().any(|other| other.is(&held.binding.contact));
            if held.binding.flow != Some(flow) {
                self.lapsed.push(held);
            } else if until > out.at && !came_anew && self.held.len() < most {
                (held.expires_at, held.is_presumed) = (until, true);
                held.before = None;
                out.push(Rule::RegisterProved, held.frame, &held.call_id, held.registered(Confidence::Weak));
                self.held.push(held);
            }
        }
    }
}
