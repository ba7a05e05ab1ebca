//! The two shapes of a PBX: a proxy that stays in the path, and a back-to-back user agent; both with a registrar.
//! In: messages, timers. Out: messages, timers, truth. Knows nothing of people, mirrors, taps.
//! RFC 3261 sections 10.3, 16; RFC 7092 for the back-to-back user agent.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use super::message::{ContactValue, Direction, Message, Method, Start, Via};
use super::transactions::{News, Out, Transactions, Wake};
use super::truth::{Device, Happening};
use super::ua::{Agent, Context, Event, Side, State, Wanted, address_of};

/// How this PBX is set up.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// REGISTER and INVITE must say who sends them.
    pub challenges: bool,
    /// A new binding replaces all others of its user.
    pub one_binding: bool,
    pub granted_s: u32,
    /// A proxy stays in the path.
    pub record_route: bool,
}

#[derive(Clone, Debug)]
struct Binding {
    contact: String,
    expires_us: u64,
}

/// Bindings by user.
pub struct Registrar {
    users: Vec<String>,
    bindings: Vec<Vec<Binding>>,
    manner: Manner,
    nonces: u64,
}

impl Registrar {
    fn new(users: Vec<String>, manner: Manner) -> Self {
        let bindings = vec![Vec::new(); users.len()];
        Self { users, bindings, manner, nonces: 0 }
    }

    fn user(&self, aor: &str) -> Option<usize> {
        let name = aor.strip_prefix("sip:")?.strip_suffix("@example.com")?;
        self.users.iter().position(|user| user == name)
    }

    /// The contacts of whoever is asked for; `team` is everybody of the first two users.
    fn contacts(&self, aor: &str, now_us: u64) -> Vec<String> {
        let users = match aor {
            "sip:team@example.com" => vec![0, 1],
            _ => self.user(aor).into_iter().collect(),
        };
        let live = |user: usize| self.bindings[user].iter().filter(|binding| binding.expires_us > now_us);
        users.into_iter().flat_map(live).map(|binding| binding.contact.clone()).collect()
    }

    fn handle(&mut self, cx: &mut Context<'_>, message: &Message, name: &'static str) -> Message {
        let tag = cx.random.token();
        let stale = message.credentials.as_ref().is_none_or(|(.., uses)| *uses > 7);
        if self.manner.challenges && stale {
            self.nonces += 1;
            let mut response = message.response(401, &tag, name);
            response.challenge = Some(format!("nonce{:08x}", self.nonces));
            return response;
        }
        let Some(user) = self.user(&message.to) else { return message.response(404, &tag, name) };
        let bindings = &mut self.bindings[user];
        bindings.retain(|binding| binding.expires_us > cx.now_us);
        let asked_s = message.expires_s.unwrap_or(3_600);
        if message.star {
            bindings.clear();
        }
        for contact in &message.contacts {
            let known = bindings.iter().position(|binding| binding.contact == contact.uri);
            if let Some(at) = known {
                bindings.remove(at);
            }
            if asked_s > 0 {
                if self.manner.one_binding {
                    bindings.clear();
                }
                let expires_us = cx.now_us + u64::from(asked_s.min(self.manner.granted_s)) * 1_000_000;
                bindings.push(Binding { contact: contact.uri.clone(), expires_us });
                cx.out.push(Out::Wake { at_us: expires_us, wake: Wake::Session(user) });
            }
        }
        let mut response = message.response(200, &tag, name);
        response.contacts = bindings
            .iter()
            .map(|binding| ContactValue {
                uri: binding.contact.clone(),
                expires_s: Some(((binding.expires_us - cx.now_us) / 1_000_000) as u32),
            })
            .collect();
        self.tell(cx, user);
        response
    }

    /// The granted time of some binding is over.
    fn expire(&mut self, cx: &mut Context<'_>, user: usize) {
        let before = self.bindings[user].len();
        self.bindings[user].retain(|binding| binding.expires_us > cx.now_us);
        if self.bindings[user].len() < before {
            self.tell(cx, user);
        }
    }

    fn tell(&self, cx: &mut Context<'_>, user: usize) {
        let contacts = self.bindings[user].iter().map(|binding| binding.contact.clone()).collect();
        cx.out.push(Out::Truth(Happening::Bound { user, contacts }));
    }
}

pub enum Pbx {
    Proxy(Box<Proxy>),
    B2bua(Box<B2bua>),
}

impl Pbx {
    /// Who has part in each call, in the sound, too.
    pub fn agent(&self) -> Option<&Agent> {
        match self {
            Self::Proxy(_) => None,
            Self::B2bua(b2bua) => Some(&b2bua.agent),
        }
    }

    pub fn proxy(address: SocketAddr, users: Vec<String>, manner: Manner) -> Self {
        Self::Proxy(Box::new(Proxy {
            address,
            transactions: Transactions::default(),
            forks: Vec::new(),
            registrar: Registrar::new(users, manner),
            manner,
        }))
    }

    pub fn b2bua(address: SocketAddr, users: Vec<String>, manner: Manner) -> Self {
        let mut agent = Agent::new(address, false, "pbx", None);
        agent.challenges = manner.challenges;
        let registrar = Registrar::new(users, manner);
        Self::B2bua(Box::new(B2bua {
            agent,
            registrar,
            asking: BTreeMap::new(),
            partners: BTreeMap::new(),
            holding_off: Vec::new(),
        }))
    }

    pub fn handle(
        &mut self,
        cx: &mut Context<'_>,
        message: Message,
        from: SocketAddr,
        device_at: &BTreeMap<SocketAddr, Device>,
    ) {
        match self {
            Self::Proxy(proxy) => proxy.handle(cx, message, from, device_at),
            Self::B2bua(b2bua) => b2bua.handle(cx, message, from),
        }
    }

    pub fn wake(&mut self, cx: &mut Context<'_>, wake: &Wake, device_at: &BTreeMap<SocketAddr, Device>) {
        match self {
            Self::Proxy(proxy) => proxy.wake(cx, wake, device_at),
            Self::B2bua(b2bua) => b2bua.wake(cx, wake),
        }
    }
}

// ---- a proxy

struct Branch {
    request: Message,
    to: SocketAddr,
    progressed: bool,
    cancel_wanted: bool,
    cancelled: bool,
    status: Option<u16>,
    failure: Option<Message>,
}

/// An INVITE that was forwarded to one phone or several.
struct Fork {
    request: Message,
    branches: Vec<Branch>,
    over: bool,
}

pub struct Proxy {
    address: SocketAddr,
    transactions: Transactions,
    forks: Vec<Fork>,
    registrar: Registrar,
    manner: Manner,
}

const PROXY: &str = "example-proxy (5.6.3)";

impl Proxy {
    fn own_route(&self) -> String {
        format!("sip:{};lr", self.address)
    }

    /// The branch for what is forwarded without remembering it: the same for a retransmission (RFC 3261 section 16.11).
    fn derived(&self, message: &Message) -> String {
        let mut hasher = DefaultHasher::new();
        message.branch().hash(&mut hasher);
        format!("z9hG4bK-s{:016x}", hasher.finish())
    }

    fn handle(
        &mut self,
        cx: &mut Context<'_>,
        message: Message,
        from: SocketAddr,
        device_at: &BTreeMap<SocketAddr, Device>,
    ) {
        let passes = message.is_request() && message.to_tag.is_some() && message.method != Method::Cancel;
        let of_ours = passes
            && message.method == Method::Ack
            && self.forks.iter().any(|fork| fork.request.branch() == message.branch());
        if passes && !of_ours {
            return self.pass_on(cx, message);
        }
        match self.transactions.handle(message, from, cx.out) {
            None => {}
            Some(News::Request(message)) => self.request(cx, message, device_at),
            Some(News::Response(message)) => self.response(cx, message, device_at),
            Some(News::Stray(message)) => self.pass_back(cx, message),
            Some(News::Timeout(message)) => {
                self.response(cx, message.response(408, "timeout", PROXY), device_at);
            }
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>, wake: &Wake, device_at: &BTreeMap<SocketAddr, Device>) {
        match wake {
            Wake::Session(user) => self.registrar.expire(cx, *user),
            _ => {
                if let Some(News::Timeout(message)) = self.transactions.wake(cx.now_us, wake, cx.out) {
                    self.response(cx, message.response(408, "timeout", PROXY), device_at);
                }
            }
        }
    }

    /// A request inside a dialog goes where its Route says.
    fn pass_on(&mut self, cx: &mut Context<'_>, mut message: Message) {
        let branch = self.derived(&message);
        if message.routes.first().is_some_and(|route| *route == self.own_route()) {
            message.routes.remove(0);
        }
        let next = message.routes.first().map_or(message.uri(), String::as_str);
        let Some(to) = address_of(next) else { return };
        let tcp = next.contains("transport=tcp");
        message.vias.insert(0, Via { sent_by: self.address, tcp, branch, seen_from: None });
        cx.out.push(Out::Send { to, message });
    }

    /// A response goes where the next Via says.
    fn pass_back(&mut self, cx: &mut Context<'_>, mut message: Message) {
        if message.vias.first().is_none_or(|via| via.sent_by != self.address) {
            return;
        }
        message.vias.remove(0);
        if let Some(via) = message.vias.first() {
            let to = via.seen_from.unwrap_or(via.sent_by);
            cx.out.push(Out::Send { to, message });
        }
    }

    fn request(&mut self, cx: &mut Context<'_>, message: Message, device_at: &BTreeMap<SocketAddr, Device>) {
        match message.method {
            Method::Register => {
                let response = self.registrar.handle(cx, &message, PROXY);
                self.transactions.respond(cx.now_us, response, cx.out);
            }
            Method::Invite => self.invite(cx, message),
            Method::Cancel => {
                let response = message.response(200, "cancel", PROXY);
                self.transactions.respond(cx.now_us, response, cx.out);
                let fork = self
                    .forks
                    .iter()
                    .position(|fork| !fork.over && fork.request.branch() == message.branch());
                if let Some(fork) = fork {
                    self.cancel_all(cx, fork, device_at);
                }
            }
            _ => {}
        }
    }

    fn invite(&mut self, cx: &mut Context<'_>, message: Message) {
        if self.manner.challenges && message.credentials.is_none() {
            let mut response = message.response(407, &cx.random.token(), PROXY);
            response.challenge = Some(cx.random.token());
            return self.transactions.respond(cx.now_us, response, cx.out);
        }
        let contacts = self.registrar.contacts(message.uri(), cx.now_us);
        if contacts.is_empty() {
            let call_id = message.call_id.clone();
            cx.out.push(Out::Truth(Happening::Failed { call_id }));
            let response = message.response(480, &cx.random.token(), PROXY);
            return self.transactions.respond(cx.now_us, response, cx.out);
        }
        self.transactions.respond(cx.now_us, message.response(100, "", PROXY), cx.out);
        let mut branches = Vec::new();
        for contact in contacts {
            let Some(to) = address_of(&contact) else { continue };
            let mut request = message.clone();
            let tcp = contact.contains("transport=tcp");
            request.start = Start::Request(Method::Invite, contact);
            request.credentials = None;
            let branch = format!("z9hG4bK{}", cx.random.token());
            request.vias.insert(0, Via { sent_by: self.address, tcp, branch, seen_from: None });
            if self.manner.record_route {
                request.record_routes.insert(0, self.own_route());
            }
            self.transactions.request(cx.now_us, request.clone(), to, cx.out);
            branches.push(Branch {
                request,
                to,
                progressed: false,
                cancel_wanted: false,
                cancelled: false,
                status: None,
                failure: None,
            });
        }
        self.forks.push(Fork { request: message, branches, over: false });
    }

    fn cancel_all(&mut self, cx: &mut Context<'_>, fork: usize, device_at: &BTreeMap<SocketAddr, Device>) {
        for at in 0..self.forks[fork].branches.len() {
            self.cancel(cx, fork, at, device_at);
        }
    }

    fn cancel(
        &mut self,
        cx: &mut Context<'_>,
        fork: usize,
        at: usize,
        device_at: &BTreeMap<SocketAddr, Device>,
    ) {
        let branch = &mut self.forks[fork].branches[at];
        if branch.status.is_some() || branch.cancelled {
            return;
        }
        if !branch.progressed {
            branch.cancel_wanted = true;
            return;
        }
        branch.cancelled = true;
        if let Some(&device) = device_at.get(&branch.to) {
            let call_id = branch.request.call_id.clone();
            cx.out.push(Out::Truth(Happening::StopsRinging { call_id, device }));
        }
        let cancel = branch.request.for_hop(Method::Cancel, None);
        self.transactions.request(cx.now_us, cancel, branch.to, cx.out);
    }

    fn response(&mut self, cx: &mut Context<'_>, message: Message, device_at: &BTreeMap<SocketAddr, Device>) {
        if message.method != Method::Invite {
            return;
        }
        let status = message.status().unwrap_or_default();
        let place = self.forks.iter().enumerate().rev().find_map(|(fork, known)| {
            let at = known.branches.iter().position(|it| it.request.branch() == message.branch())?;
            Some((fork, at))
        });
        let Some((fork, at)) = place else { return };
        let branch = &mut self.forks[fork].branches[at];
        if status < 200 {
            branch.progressed = true;
            if std::mem::take(&mut branch.cancel_wanted) {
                self.cancel(cx, fork, at, device_at);
            }
            if status > 100 && !self.forks[fork].over {
                self.pass_back(cx, message);
            }
            return;
        }
        branch.status = Some(status);
        if status < 300 {
            self.forks[fork].over = true;
            self.pass_back(cx, message);
            return self.cancel_all(cx, fork, device_at);
        }
        branch.failure = Some(message);
        let known = &self.forks[fork];
        if known.over || known.branches.iter().any(|branch| branch.status.is_none()) {
            return;
        }
        // 6xx first, then the lowest (RFC 3261 section 16.7 step 6).
        let best = known.branches.iter().filter_map(|branch| branch.failure.as_ref());
        let best = best.min_by_key(|it| it.status().map_or(0, |it| if it >= 600 { 0 } else { it }));
        let Some(mut best) = best.cloned() else { return };
        best.vias.clone_from(&known.request.vias);
        let call_id = best.call_id.clone();
        self.forks[fork].over = true;
        cx.out.push(Out::Truth(Happening::Failed { call_id }));
        self.transactions.respond(cx.now_us, best, cx.out);
    }
}

// ---- a back-to-back user agent

pub struct B2bua {
    agent: Agent,
    registrar: Registrar,
    /// Legs that phones are called on, by the leg that asks for it.
    asking: BTreeMap<usize, Vec<usize>>,
    partners: BTreeMap<usize, usize>,
    /// Legs that are to be told that sound goes both ways again.
    holding_off: Vec<usize>,
}

impl B2bua {
    fn handle(&mut self, cx: &mut Context<'_>, message: Message, from: SocketAddr) {
        if message.method == Method::Register && message.is_request() {
            // Without memory of the transaction: whoever asks again is answered again.
            let response = self.registrar.handle(cx, &message, self.agent.name);
            let to = message.vias.first().and_then(|via| via.seen_from).unwrap_or(from);
            cx.out.push(Out::Send { to, message: response });
            return;
        }
        self.agent.handle(cx, message, from);
        self.drain(cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>, wake: &Wake) {
        // Users and legs are numbered apart, and both have timers of this name: each looks for its own.
        if let Wake::Session(number) = wake
            && *number < self.registrar.users.len()
        {
            self.registrar.expire(cx, *number);
        }
        self.agent.wake(cx, wake);
        self.drain(cx);
    }

    fn drain(&mut self, cx: &mut Context<'_>) {
        while !cx.events.is_empty() {
            for event in std::mem::take(cx.events) {
                self.event(cx, event);
            }
        }
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        match event {
            Event::Incoming(leg) => self.incoming(cx, leg),
            Event::Progress(leg, status) => {
                if let Some(asking) = self.asker(leg) {
                    match status {
                        180 => self.agent.ring(cx, asking),
                        _ => self.agent.progress(cx, asking),
                    }
                }
            }
            Event::Answered(leg) => self.answered(cx, leg),
            Event::Failed(leg, status) => self.failed(cx, leg, status),
            Event::Cancelled(leg) => {
                for called in self.asking.remove(&leg).unwrap_or_default() {
                    self.agent.cancel(cx, called);
                }
            }
            Event::Ended(leg) => {
                for called in self.asking.remove(&leg).unwrap_or_default() {
                    self.agent.cancel(cx, called);
                }
                if let Some(partner) = self.partners.remove(&leg) {
                    self.partners.remove(&partner);
                    self.agent.bye(cx, partner);
                }
            }
            Event::Reinvite(leg, offer) => {
                let passed = self
                    .partners
                    .get(&leg)
                    .copied()
                    .is_some_and(|partner| self.agent.reinvite(cx, partner, Some(offer)));
                if !passed {
                    self.agent.answer_reinvite(cx, leg, 491, None);
                }
            }
            Event::Reinvited(leg, status, direction) => {
                if let Some(partner) = self.partners.get(&leg).copied() {
                    let status = if status < 300 { 200 } else { status };
                    self.agent.answer_reinvite(cx, partner, status, Some(direction));
                }
            }
            Event::Refer(leg, uri, replaces) => self.refer(cx, leg, &uri, replaces),
            Event::Told(..) | Event::Registered(_) => {}
        }
        for leg in std::mem::take(&mut self.holding_off) {
            if !self.agent.reinvite(cx, leg, Some(Direction::SendRecv)) {
                self.agent.bye(cx, leg);
            }
        }
    }

    fn asker(&self, leg: usize) -> Option<usize> {
        self.asking.iter().find(|(_, called)| called.contains(&leg)).map(|(asking, _)| *asking)
    }

    fn incoming(&mut self, cx: &mut Context<'_>, leg: usize) {
        let known = &self.agent.legs[leg];
        let (from, to, plan) = (known.remote_uri.clone(), known.local_uri.clone(), known.plan);
        let contacts = self.registrar.contacts(&to, cx.now_us);
        if contacts.is_empty() {
            return self.agent.reject(cx, leg, 480);
        }
        let called = contacts.into_iter().map(|contact| {
            let wanted = Wanted {
                from: from.clone(),
                to: to.clone(),
                uri: Some(contact),
                plan,
                delayed: false,
                session_s: None,
                by_update: true,
                replaces: None,
                direction: Direction::SendRecv,
            };
            self.agent.call(cx, &wanted)
        });
        let called = called.collect();
        self.asking.insert(leg, called);
    }

    fn answered(&mut self, cx: &mut Context<'_>, leg: usize) {
        let Some(asking) = self.asker(leg) else {
            return self.agent.bye(cx, leg);
        };
        let others = self.asking.remove(&asking).unwrap_or_default();
        for other in others.into_iter().filter(|&other| other != leg) {
            self.agent.cancel(cx, other);
        }
        match self.agent.legs[asking].state {
            State::Incoming => self.agent.answer(cx, asking),
            // A leg that was transferred to here: its phone hears somebody else now.
            State::Up => {
                if let Some(old) = self.partners.remove(&asking) {
                    self.partners.remove(&old);
                    self.agent.notify(cx, old, 200);
                    self.agent.bye(cx, old);
                }
                self.holding_off.push(asking);
            }
            _ => return self.agent.bye(cx, leg),
        }
        self.partners.insert(asking, leg);
        self.partners.insert(leg, asking);
    }

    fn failed(&mut self, cx: &mut Context<'_>, leg: usize, status: u16) {
        let Some(asking) = self.asker(leg) else { return };
        let agent = &self.agent;
        let all_over = self
            .asking
            .get(&asking)
            .is_some_and(|called| called.iter().all(|&leg| !agent.legs[leg].is_busy()));
        if !all_over {
            return;
        }
        self.asking.remove(&asking);
        match self.agent.legs[asking].state {
            State::Incoming => self.agent.reject(cx, asking, status),
            // The transfer failed; whoever asked for it is told and has the other back.
            State::Up => {
                if let Some(&old) = self.partners.get(&asking) {
                    self.agent.notify(cx, old, status);
                }
            }
            _ => {}
        }
    }

    fn refer(
        &mut self,
        cx: &mut Context<'_>,
        leg: usize,
        uri: &str,
        replaces: Option<(String, String, String)>,
    ) {
        let Some(transferred) = self.partners.get(&leg).copied() else { return };
        if let Some((call_id, to_tag, from_tag)) = replaces {
            // Between the transferor and us: our tag is the To-tag of the dialog that is replaced.
            let other = self.agent.legs.iter().position(|known| {
                known.call_id == call_id && known.local_tag == to_tag && {
                    known.remote_tag.as_deref() == Some(&from_tag) && known.state == State::Up
                }
            });
            let Some(target) = other.and_then(|other| self.partners.remove(&other)) else { return };
            let Some(other) = other else { return };
            self.partners.remove(&leg);
            self.agent.notify(cx, leg, 200);
            self.agent.bye(cx, leg);
            self.agent.bye(cx, other);
            self.partners.insert(transferred, target);
            self.partners.insert(target, transferred);
            self.holding_off.push(transferred);
            return;
        }
        self.agent.notify(cx, leg, 100);
        let contacts = self.registrar.contacts(uri, cx.now_us);
        if contacts.is_empty() {
            return self.agent.notify(cx, leg, 480);
        }
        let known = &self.agent.legs[transferred];
        debug_assert!(known.side == Side::Caller || known.side == Side::Called);
        let (from, plan) = (known.remote_uri.clone(), known.plan);
        let called: Vec<usize> = contacts
            .into_iter()
            .map(|contact| {
                let wanted = Wanted {
                    from: from.clone(),
                    to: uri.to_owned(),
                    uri: Some(contact),
                    plan,
                    delayed: false,
                    session_s: None,
                    by_update: true,
                    replaces: None,
                    direction: Direction::SendRecv,
                };
                self.agent.call(cx, &wanted)
            })
            .collect();
        self.asking.insert(transferred, called);
    }
}
