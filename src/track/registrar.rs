//! Registrations: REGISTERs under way, and what their answers do to the bindings.
//! In: REGISTER and its responses. Out: `Observation` of bindings. Knows nothing of dialogs, presence, clocks.
//! RFC 3261 section 10; RFC 5626 for instances.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::answered::{Answer, Answered};
use super::challenged::ChallengedRegistrations;
use super::dialog::Registered;
use super::heard::{Heard, is_copy};
use super::losses::Proof;
use super::open_registrars::OpenRegistrars;
use super::pending::{Pending, Right, expected_key};
use super::registration::{Asked, Order, Registration, Step};
use super::registrations::Registrations;
use super::transactions::{Ticket, Transactions};
use super::{Confidence, Fact, Findings, OVERTAKES, Rule};
use crate::base::{Limits, Oddities, Oddity, RegistrarLists, Timestamp};
use crate::sip::{Aor, Uri};

/// How long a REGISTER waits for its answer: 64·T1, and as much again for slow hops behind it.
const TRANSACTION_S: u32 = 64;
/// Timer F, 64·T1: so long after the first time a REGISTER may be repeated. Later, silence says nothing.
const REPEATED_FOR_S: u32 = 32;
/// T2, and a little: one that was repeated is repeated again within this time.
const REPEATED_WITHIN_S: u32 = 5;
/// A REGISTER that is not repeated for so long was answered out of our sight.
const PRESUMED_S: u32 = 4;
/// The same where the mirror is known to lose messages, over UDP: it would have been repeated after T1, half of that (RFC 3261
/// section 17.1.2.2). Over TCP nothing is repeated, but it shows if the phone has bytes of its registrar that were not seen.
const PRESUMED_IF_LOSSY_S: u32 = 1;

/// The REGISTERs under way, and what came of them.
pub(super) struct Registrar {
    table: Registrations,
    pending: Transactions<Pending>,
    order: VecDeque<(Timestamp, Ticket)>,
    /// REGISTERs that nobody answered, by when they may come to be believed.
    presumable: BinaryHeap<Reverse<(Timestamp, Ticket)>>,
    /// Registrars that owe answers, and when each was last heard.
    spoke: HashMap<SocketAddr, Timestamp>,
    /// REGISTERs to be believed as soon as their registrar speaks.
    silent: HashMap<SocketAddr, Vec<Ticket>>,
    /// How many there are in `silent`.
    silent_tickets: usize,
    answered: Answered,
    challenged: ChallengedRegistrations,
    domains: HashSet<Arc<str>>,
    open: OpenRegistrars,
    lists: RegistrarLists,
    limits: Limits,
    key: Vec<u8>,
}

/// What a 2xx lists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// All bindings that there are.
    Whole,
    /// What the phone asked for; there may be others.
    Own,
    /// It was cut off: a list of some.
    Cut,
}

impl List {
    fn of(heard: &Heard<'_, '_>, lists: RegistrarLists) -> Self {
        match lists {
            _ if !heard.whole || !heard.message.headers_are_whole() => Self::Cut,
            RegistrarLists::All => Self::Whole,
            RegistrarLists::Own => Self::Own,
        }
    }
}

impl Registered for Registrar {
    fn is_domain(&self, domain: &str) -> bool {
        self.domains.contains(domain)
    }
}

impl Registrar {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            table: Registrations::new(limits),
            pending: Transactions::new(),
            order: VecDeque::new(),
            presumable: BinaryHeap::new(),
            spoke: HashMap::new(),
            silent: HashMap::new(),
            silent_tickets: 0,
            answered: Answered::new(limits.pending_transactions),
            challenged: ChallengedRegistrations::new(limits.pending_transactions),
            domains: HashSet::new(),
            open: OpenRegistrars::new(limits.known_addresses),
            lists: RegistrarLists::All,
            limits: limits.clone(),
            key: Vec::new(),
        }
    }

    /// The same, for registrars that list so much.
    pub(super) fn with(self, lists: RegistrarLists) -> Self {
        Self { lists, ..self }
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let presumption = self.presumable.peek().map(|Reverse((at, _))| *at);
        Timestamp::earlier(self.table.poll_timeout(), presumption)
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp, out: &mut Findings) {
        self.table.handle_timeout(now, out);
        while self.presumable.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, ticket))) = self.presumable.pop() else { break };
            self.presume(ticket, now, out);
        }
    }

    /// Any message shows that its sender is alive: a registrar that speaks would have answered, too.
    pub(super) fn notice(&mut self, heard: &Heard<'_, '_>, out: &mut Findings) {
        self.table.notice(heard);
        let Some(spoke) = self.spoke.get_mut(&heard.source) else { return };
        *spoke = heard.at;
        let silent = self.silent.remove(&heard.source).unwrap_or_default();
        self.silent_tickets = self.silent_tickets.saturating_sub(silent.len());
        for ticket in silent {
            self.presume(ticket, heard.at, out);
        }
    }

    pub(super) fn handle(&mut self, heard: &Heard<'_, '_>, out: &mut Findings, oddities: &mut Oddities) {
        self.forget_unanswered(heard.at);
        transaction_key(&mut self.key, heard);
        if out.losses.are_known(heard.at) {
            self.meet_expectation(heard);
        }
        match heard.message.status() {
            None => self.request(heard, out, oddities),
            Some(200..=299) => self.accepted(heard, out, oddities),
            Some(status @ 300..) => {
                let answer = if matches!(status, 401 | 407) { Answer::Challenged } else { Answer::Refused };
                self.open.note(heard.source, false);
                let proof = match self.pending.remove(&self.key) {
                    Some(pending) => {
                        pending.unrepeated.into_iter().for_each(|proof| out.losses.forgive(proof));
                        if pending.is_presumed {
                            self.table.disbelieve(&pending, heard.message.call_id(), heard.frame, out);
                        }
                        if answer == Answer::Challenged {
                            if out.losses.are_known(heard.at) {
                                self.expect_credentials(&pending, heard);
                            }
                            self.challenged.remember(heard.message.call_id(), pending, heard.at);
                        }
                        None
                    }
                    None => self.refused_unseen(heard, out),
                };
                self.answered.remember(&self.key, answer, proof, heard.at);
            }
            // It will not be repeated so soon (RFC 3261 section 17.1.2.2).
            Some(_) => {
                if let Some((_, pending)) = self.pending.find(&self.key) {
                    pending.again_at = heard.at;
                }
            }
        }
    }

    /// A phone that is registered answers a challenge at once, with the next CSeq: if neither that nor what became of it is
    /// seen, both were lost.
    fn expect_credentials(&mut self, challenged: &Pending, heard: &Heard<'_, '_>) {
        let known = challenged.registered.and_then(|id| self.table.still(id, &challenged.aor));
        let known = known.and_then(|id| self.table.get(id));
        let is_its_own =
            |known: &Registration| challenged.contacts.iter().all(|it| known.has(&it.uri, challenged.flow));
        let is_full = self.presumable.len() >= self.limits.pending_transactions;
        if is_full || challenged.contacts.is_empty() || !known.is_some_and(is_its_own) {
            return;
        }
        let cseq = challenged.cseq.saturating_add(1);
        let expected = Pending {
            at: heard.at,
            again_at: heard.at,
            cseq,
            presume_at: Some(heard.at.after_s(PRESUMED_S)),
            is_presumed: false,
            by_right_of: Right::Challenge,
            unrepeated: None,
            ..challenged.clone()
        };
        expected_key(&mut self.key, heard.message.call_id(), cseq);
        if self.pending.find(&self.key).is_some() {
            return transaction_key(&mut self.key, heard); // a late copy of what was challenged
        }
        let ticket = self.pending.insert(&self.key, expected);
        transaction_key(&mut self.key, heard);
        self.order.push_back((heard.at, ticket));
        self.presumable.push(Reverse((heard.at.after_s(PRESUMED_IF_LOSSY_S), ticket)));
        if self.spoke.len() < self.limits.known_addresses {
            self.spoke.entry(challenged.registrar).or_insert(Timestamp::EPOCH);
        }
    }

    /// The phone has answered the challenge: by this REGISTER, or as the answer to it shows.
    fn meet_expectation(&mut self, heard: &Heard<'_, '_>) {
        expected_key(&mut self.key, heard.message.call_id(), heard.message.cseq().number);
        self.pending.remove(&self.key);
        transaction_key(&mut self.key, heard);
    }

    /// Anybody can answer what nobody asked: it shows that a REGISTER was lost where those before it were seen.
    fn refused_unseen(&mut self, heard: &Heard<'_, '_>, out: &mut Findings) -> Option<Proof> {
        let (call_id, cseq) = (heard.message.call_id(), heard.message.cseq().number);
        let is_followed = || {
            let aor = heard.aor(&heard.message.to())?;
            let known = self.table.get(self.table.find(aor.as_str())?)?;
            Some(known.was_followed_at(call_id, cseq, heard.source))
        };
        let proves = is_followed() == Some(true) && self.answered.find(&self.key, heard.at).is_none();
        proves.then(|| out.losses.note(heard.at))
    }

    fn request(&mut self, heard: &Heard<'_, '_>, out: &mut Findings, oddities: &mut Oddities) {
        let message = heard.message;
        let mut registered = None;
        let aor = heard.aor_or(&message.to(), |aor| {
            registered = self.table.find(aor);
            self.table.get(registered?).map(|registration| registration.aor.clone())
        });
        let Some(aor) = aor else {
            return oddities.note(Oddity::MalformedMessage);
        };
        self.notice_domain(&aor, heard, out);
        if self.repeated(heard, out) {
            return;
        }
        if self.pending.len() >= self.limits.pending_transactions {
            oddities.note(Oddity::TableFull);
            if let Some((_, oldest)) = self.order.pop_front() {
                self.pending.remove_ticket(oldest);
            }
        }
        let known = registered.and_then(|id| self.table.get(id));
        let accepted_bare = known.is_some_and(|registration| registration.accepted_bare);
        let auth = heard.auth_user_or(|user, realm| known?.user(user, realm));
        let mut contacts: SmallVec<[Asked; 1]> = SmallVec::new();
        let mut star = false;
        for contact in message.contacts() {
            star |= contact.star;
            if !contact.star && contacts.len() < self.limits.bindings_per_aor {
                let at_hand = known.and_then(|known| known.contact(contact.addr.uri));
                contacts.push(Asked::read(&contact, heard, at_hand));
            }
        }
        let asks = (star || !contacts.is_empty())
            && heard.whole
            && self.presumable.len() < self.limits.pending_transactions;
        let answer = self.answered.find(&self.key, heard.at).map(|seen| {
            if heard.at.since(seen.at) <= OVERTAKES
                && let Some(proof) = seen.proof.take()
            {
                out.losses.forgive(proof); // it was but late
            }
            seen.answer
        });
        let refused = matches!(answer, Some(Answer::Refused | Answer::Challenged));
        let is_credible = auth.is_some() || accepted_bare;
        let may_be_open = || self.open.get(heard.destination) != Some(false);
        let presumable = asks && !refused && (is_credible || may_be_open());
        let presume_at = presumable.then(|| heard.at.after_s(PRESUMED_S));
        let pending = Pending {
            aor,
            registered,
            at: heard.at,
            again_at: heard.at,
            frame: heard.frame,
            call_id_bytes: message.call_id().len(),
            cseq: message.cseq().number,
            flow: heard.origin(),
            sender: heard.source,
            transport: heard.transport,
            registrar: heard.destination,
            vias: message.via_count(),
            contacts,
            star,
            expires_s: message.expires(),
            auth,
            user_agent: message.user_agent().map(|agent| {
                known
                    .and_then(|known| known.user_agent(agent))
                    .map_or_else(|| heard.shared(agent), Arc::clone)
            }),
            presume_at,
            is_presumed: false,
            by_right_of: if is_credible { Right::Credentials } else { Right::Nothing },
            unrepeated: None,
        };
        let shows_all = heard.whole || pending.star || !pending.contacts.is_empty();
        if answer == Some(Answer::Emptied) && shows_all && !pending.wants_a_binding() {
            return self.emptied(&pending, heard, out, oddities);
        }
        if answer == Some(Answer::Challenged) {
            if out.losses.are_known(heard.at) {
                self.expect_credentials(&pending, heard);
            }
            return self.challenged.remember(message.call_id(), pending, heard.at);
        }
        if answer == Some(Answer::Accepted)
            && let Some(registration) = pending.registered.and_then(|id| self.table.by_aor.get_mut(id))
        {
            registration.follow(message.call_id());
            if pending.auth.is_none() {
                self.open.note(heard.destination, true);
            }
        }
        let ticket = self.pending.insert(&self.key, pending);
        self.order.push_back((heard.at, ticket));
        if presume_at.is_some() {
            self.presumable.push(Reverse((heard.at.after_s(PRESUMED_IF_LOSSY_S), ticket)));
            if self.spoke.len() < self.limits.known_addresses {
                self.spoke.entry(heard.destination).or_insert(Timestamp::EPOCH);
            }
        }
        self.sweep();
    }

    /// Says whether this REGISTER was seen before. A repetition shows that no answer arrived until then; that none follows
    /// it may show that one did.
    fn repeated(&mut self, heard: &Heard<'_, '_>, out: &mut Findings) -> bool {
        let Some((ticket, pending)) = self.pending.find(&self.key) else { return false };
        if is_copy(pending.again_at, heard.at) {
            return true;
        }
        pending.again_at = heard.at;
        pending.unrepeated.take().into_iter().for_each(|proof| out.losses.forgive(proof));
        let until = heard.at.after_s(REPEATED_WITHIN_S);
        let is_due = until <= pending.at.after_s(REPEATED_FOR_S);
        pending.presume_at = pending.presume_at.filter(|_| is_due).map(|_| until);
        if std::mem::take(&mut pending.is_presumed) {
            self.table.disbelieve(pending, heard.message.call_id(), heard.frame, out);
            // Until then it waits where it was put when it was seen first.
            if self.presumable.len() < self.limits.pending_transactions {
                self.presumable.push(Reverse((until, ticket)));
            }
        }
        true
    }

    /// Answered transactions leave their place in the queues, and those of a registrar that is never heard
    /// wait for it in vain: swept when they are the most of what is queued.
    fn sweep(&mut self) {
        let Self { pending, order, silent, silent_tickets, .. } = self;
        let most = 2 * pending.len() + 64;
        if order.len() > most {
            order.retain(|&(_, ticket)| pending.is_open(ticket));
        }
        if *silent_tickets > most {
            *silent_tickets = 0;
            silent.retain(|_, tickets| {
                tickets.retain(|&ticket| pending.is_open(ticket));
                *silent_tickets += tickets.len();
                !tickets.is_empty()
            });
        }
    }

    /// A domain for which a REGISTER passes has a registrar: its bindings will tell who answers a call.
    fn notice_domain(&mut self, aor: &Aor, heard: &Heard<'_, '_>, out: &mut Findings) {
        if let Some(domain) = aor.domain()
            && !self.domains.contains(domain)
            && self.domains.len() < self.limits.known_addresses
        {
            let domain: Arc<str> = Arc::from(domain);
            self.domains.insert(Arc::clone(&domain));
            out.push(Rule::Attributed, heard.frame, &heard.call_id(), Fact::Domain(domain));
        }
    }

    fn accepted(&mut self, heard: &Heard<'_, '_>, out: &mut Findings, oddities: &mut Oddities) {
        let message = heard.message;
        let list = List::of(heard, self.lists);
        if list == List::Cut {
            oddities.note(Oddity::MessageCut);
        }
        let asked = self.pending.remove(&self.key);
        let unrepeated = asked.as_ref().and_then(|asked| asked.unrepeated);
        unrepeated.into_iter().for_each(|proof| out.losses.forgive(proof));
        let Some(aor) = asked.as_ref().map(|asked| asked.aor.clone()).or_else(|| heard.aor(&message.to()))
        else {
            return oddities.note(Oddity::MalformedMessage);
        };
        let mut granted: SmallVec<[Asked; 1]> = SmallVec::new();
        for contact in message.contacts().take(self.limits.bindings_per_aor) {
            if contact.star || Uri::parse(contact.addr.uri).is_none() {
                oddities.note(Oddity::ContactUnreadable);
                continue;
            }
            let uri = contact.addr.uri;
            let own = asked.iter().flat_map(|asked| &asked.contacts).find(|own| own.uri.as_bytes() == uri);
            granted.push(Asked::read(&contact, heard, own.map(|own| &own.uri)));
        }
        let mut is_followed = false;
        for contact in granted.iter().chain(asked.iter().flat_map(|asked| &asked.contacts)) {
            is_followed |= self.challenged.forget(contact.uri.as_bytes(), heard);
        }
        let wanted = asked.as_ref().is_none_or(Pending::wants_a_binding);
        let known = || self.table.find(aor.as_str()).and_then(|id| self.table.get(id));
        let (call_id, cseq) = (message.call_id(), message.cseq().number);
        let of_any_hop = self.key.len().saturating_sub(message.top_branch().len());
        let of_any_hop = self.key.get(..of_any_hop).unwrap_or_default();
        let is_bare = granted.is_empty() && self.answered.was(of_any_hop, heard.at, Answer::Bare);
        // A registrar that lists has emptied its list, as it seems by a request that was not seen.
        let emptied = || {
            list == List::Whole
                && asked.is_none()
                && !is_bare
                && known().is_some_and(|known| known.was_listed_by(call_id, cseq, heard.source))
        };
        if granted.is_empty() && wanted && list != List::Cut && !emptied() {
            // A copy of one that was applied says nothing. Any other is not remembered as applied: its request
            // may be seen after it, and be believed.
            if !known().is_some_and(|known| known.has_applied(call_id, cseq)) {
                oddities.note(Oddity::RegisterWithoutContact);
                match asked {
                    Some(_) => self.answered.remember(of_any_hop, Answer::Bare, None, heard.at),
                    None if is_bare => {}
                    None => self.answered.remember(&self.key, Answer::Emptied, None, heard.at),
                }
            }
            return;
        }
        let registered = asked.as_ref().and_then(|asked| self.table.still(asked.registered?, &aor));
        let Some(id) = registered.or_else(|| self.table.registration(&aor, out, oddities)) else { return };
        let Registrations { by_aor, next_binding, .. } = &mut self.table;
        let Some(registration) = by_aor.get_mut(id) else { return };
        is_followed |= registration.was_followed_at(call_id, cseq, heard.source);
        let (call_id, order) = registration.order(
            call_id,
            cseq,
            heard.source,
            asked.as_ref().map(|asked| asked.at),
            list == List::Cut,
            heard.at,
        );
        let step = Step {
            frame: heard.frame,
            call_id,
            cseq,
            registrar: heard.source,
            sole_hop: (message.via_count() == 1).then_some(heard.destination_flow()),
            sole_contact: granted.len() == 1 && list != List::Cut,
            expires_s: message.expires(),
            rule: Rule::Register200,
            confidence: if list == List::Cut { Confidence::Weak } else { Confidence::Full },
            list,
            asked: asked.as_ref(),
        };
        if order == Order::Newer && asked.is_none() {
            let proof = is_followed.then(|| out.losses.note(heard.at));
            self.answered.remember(&self.key, Answer::Accepted, proof, heard.at);
        }
        match order {
            Order::Repeated => return,
            Order::Older => return oddities.note(Oddity::RegisterOutOfOrder),
            Order::SameOnOtherHop => registration.other_hop(&step, &granted, out),
            Order::Newer if list != List::Whole => {
                registration.believe(&step, &granted, out, self.limits.bindings_per_aor, next_binding);
            }
            Order::Newer => {
                if !granted.is_empty() {
                    registration.note_listed(&step);
                }
                registration.reconcile(&step, granted, out, self.limits.bindings_per_aor, next_binding);
                registration.accepted_bare |= asked.as_ref().is_some_and(|asked| asked.auth.is_none());
            }
        }
        self.table.settle(id);
        if order == Order::Newer && asked.is_some_and(|asked| asked.auth.is_none()) {
            self.open.note(heard.source, true);
        }
    }

    /// A REGISTER that its 2xx overtook, which lists nothing: now it shows that nothing was asked for.
    fn emptied(
        &mut self,
        asked: &Pending,
        heard: &Heard<'_, '_>,
        out: &mut Findings,
        oddities: &mut Oddities,
    ) {
        let Some(id) = self.table.registration(&asked.aor, out, oddities) else { return };
        let Registrations { by_aor, next_binding, .. } = &mut self.table;
        let Some(registration) = by_aor.get_mut(id) else { return };
        let (call_id, order) = registration.order(
            heard.message.call_id(),
            asked.cseq,
            asked.registrar,
            Some(asked.at),
            false,
            heard.at,
        );
        if !matches!(order, Order::Newer) {
            return;
        }
        let step = Step {
            frame: heard.frame,
            call_id,
            cseq: asked.cseq,
            registrar: asked.registrar,
            sole_hop: None,
            sole_contact: false,
            expires_s: None,
            rule: Rule::Register200,
            confidence: Confidence::Full,
            list: List::Whole,
            asked: Some(asked),
        };
        registration.reconcile(&step, SmallVec::new(), out, self.limits.bindings_per_aor, next_binding);
        self.table.settle(id);
    }

    /// SPEC section 4: a REGISTER whose 2xx was lost is believed when it could prove who it is, was not
    /// repeated, nothing later corrects it, and its registrar spoke since.
    fn presume(&mut self, ticket: Ticket, now: Timestamp, out: &mut Findings) {
        let Some((key, pending)) = self.pending.get(ticket) else { return };
        let Some(presume_at) = pending.presume_at.filter(|_| !pending.is_presumed) else { return };
        let call_id = key.get(..pending.call_id_bytes).unwrap_or_default();
        let known = self.table.find(pending.aor.as_str()).and_then(|id| self.table.get(id));
        if known.is_some_and(|known| known.stands(call_id, pending.cseq)) {
            self.pending.remove_ticket(ticket); // a late copy of one that was answered
            return;
        }
        let is_silent = self.spoke.get(&pending.registrar).is_none_or(|&spoke| spoke <= pending.again_at);
        let was_answered = pending.was_answered(&out.losses);
        let proves_loss = was_answered && pending.is_over_udp() && pending.by_right_of != Right::Challenge;
        if proves_loss && !is_silent && pending.unrepeated.is_none() {
            pending.unrepeated = Some(out.losses.note(now));
        }
        let is_lossy = out.losses.are_known(now);
        let is_open = self.open.get(pending.registrar) == Some(true);
        let is_credible = pending.by_right_of != Right::Nothing || (is_open && is_lossy && was_answered);
        if presume_at > now && !(is_credible && is_lossy && was_answered) {
            // Until then it may come to be known.
            let is_early = now < pending.at.after_s(PRESUMED_S);
            let later = if is_early { now.after_s(PRESUMED_IF_LOSSY_S) } else { now.after_s(PRESUMED_S) };
            let look_again_at = later.min(presume_at);
            self.presumable.push(Reverse((look_again_at, ticket)));
            return;
        }
        if !is_credible {
            // A call may prove it, or its registrar may turn out to let everybody in.
            let last_at = pending.at.after_s(REPEATED_FOR_S);
            if presume_at < last_at {
                self.challenged.remember(call_id, pending.clone(), now);
                pending.presume_at = Some(last_at);
                self.presumable.push(Reverse((now.after_s(PRESUMED_S), ticket)));
            }
            return;
        }
        if is_silent {
            // It has not spoken yet: `notice` will see when it does.
            self.silent.entry(pending.registrar).or_default().push(ticket);
            self.silent_tickets += 1;
            return;
        }
        debug_assert_eq!(out.at, now);
        if self.table.believe(call_id, pending, Rule::RegisterPresumed, pending.frame, out) {
            // It stays open: a late answer may deny it.
            pending.is_presumed = true;
        } else {
            self.pending.remove_ticket(ticket);
        }
    }

    /// A call shows what became of a REGISTER that was challenged and of which no more was seen.
    pub(super) fn called(&mut self, heard: &Heard<'_, '_>, out: &mut Findings) {
        if let Some((call_id, pending)) = self.challenged.proved_by(heard) {
            self.table.believe(&call_id, &pending, Rule::RegisterProved, heard.frame, out);
        }
    }

    fn forget_unanswered(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.order.front()
            && at.after_s(TRANSACTION_S) < now
        {
            if let Some((_, ticket)) = self.order.pop_front() {
                self.pending.remove_ticket(ticket);
            }
        }
        if self.pending.is_empty() {
            self.spoke.clear();
            self.silent.clear();
            self.silent_tickets = 0;
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

#[cfg(test)]
#[path = "registrar_tests.rs"]
mod tests;
