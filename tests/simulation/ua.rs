//! A user agent: calls as a phone makes and takes them, and each leg of a back-to-back user agent.
//! In: messages, timers, what a person wants. Out: messages, timers, events, truth. Knows nothing of mirrors, taps, people.
//! RFC 3261 sections 8, 9, 12 to 15; 3264, 3311, 3515, 3891, 4028.

mod arriving;

use std::net::SocketAddr;

use offhook::base::Random;

use super::message::{ContactValue, Direction, Message, Method, Sdp, Start, Via, held};
use super::transactions::{Out, T1_US, Transactions, Wake};
use super::truth::{Device, Happening};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Caller,
    Called,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its INVITE is out.
    Calling,
    /// An INVITE came.
    Incoming,
    /// A 2xx.
    Up,
    Over,
}

/// What whoever uses the agent should know.
#[derive(Clone, Debug)]
pub enum Event {
    Incoming(usize),
    Progress(usize, u16),
    Answered(usize),
    Failed(usize, u16),
    /// By the other end, or because nobody refreshed it.
    Ended(usize),
    Cancelled(usize),
    /// A re-INVITE with this offer awaits its answer.
    Reinvite(usize, Direction),
    /// Ours was answered.
    Reinvited(usize, u16, Direction),
    /// REFER: to call this, in place of that dialog.
    Refer(usize, String, Option<(String, String, String)>),
    /// How what was asked for by REFER goes.
    Told(usize, u16),
    Registered(u16),
}

struct Accepted {
    message: Message,
    to: SocketAddr,
    interval_us: u64,
    since_us: u64,
}

/// One dialog of this agent, or the attempt at one.
pub struct Leg {
    pub call_id: String,
    pub side: Side,
    pub state: State,
    pub plan: u64,
    pub local_uri: String,
    pub local_tag: String,
    pub remote_uri: String,
    pub remote_tag: Option<String>,
    pub remote_target: String,
    routes: Vec<String>,
    cseq: u32,
    /// The last INVITE: received where we are called, sent where we call.
    invite: Message,
    session: u64,
    version: u32,
    pub on_hold: bool,
    pub old_hold: bool,
    other_holds: bool,
    /// The offer is left to who is called.
    delayed: bool,
    offered: Direction,
    accepted: Option<Accepted>,
    last_ack: Option<(Message, SocketAddr)>,
    reinvite: Option<Message>,
    asked: Option<Message>,
    progressed: bool,
    cancel_wanted: bool,
    cancel_sent: bool,
    pub session_s: Option<u32>,
    pub refreshed_us: u64,
    pub by_update: bool,
}

impl Leg {
    /// The tag of who was called.
    pub fn called_tag(&self) -> String {
        match self.side {
            Side::Caller => self.remote_tag.clone().unwrap_or_default(),
            Side::Called => self.local_tag.clone(),
        }
    }

    /// Sound goes to its other end.
    pub fn speaks(&self) -> bool {
        self.state == State::Up && !self.on_hold && !self.other_holds
    }

    pub fn is_busy(&self) -> bool {
        self.state != State::Over
    }
}

/// What a call is to be like.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub from: String,
    pub to: String,
    /// The Request-URI, where it is not To's.
    pub uri: Option<String>,
    pub plan: u64,
    pub delayed: bool,
    pub session_s: Option<u32>,
    pub by_update: bool,
    pub replaces: Option<(String, String, String)>,
    pub direction: Direction,
}

/// Time, chance, and what comes of it.
pub struct Context<'a> {
    pub now_us: u64,
    pub random: &'a mut Random,
    pub out: &'a mut Vec<Out>,
    pub events: &'a mut Vec<Event>,
}

pub struct Agent {
    pub address: SocketAddr,
    pub tcp: bool,
    pub user: String,
    /// `None`: a PBX.
    pub device: Option<Device>,
    /// Where requests outside a dialog go.
    pub outbound: Option<SocketAddr>,
    pub name: &'static str,
    pub legs: Vec<Leg>,
    transactions: Transactions,
    nonce: Option<(String, u32)>,
    /// A PBX that asks callers who they are.
    pub challenges: bool,
    pub register_call_id: String,
    pub register_cseq: u32,
    register_tag: String,
}

/// `sip:alice@192.0.2.11:5060;transport=tcp`, `sip:192.0.2.1:5060;lr` → the address.
pub fn address_of(uri: &str) -> Option<SocketAddr> {
    let rest = uri.strip_prefix("sip:")?.split(';').next()?;
    rest.rsplit('@').next()?.parse().ok()
}

pub fn token(random: &mut Random) -> String {
    random.token()
}

impl Agent {
    pub fn new(address: SocketAddr, tcp: bool, user: &str, device: Option<Device>) -> Self {
        Self {
            address,
            tcp,
            user: user.to_owned(),
            device,
            outbound: None,
            name: if device.is_some() { "Exampletel 300/2.4.1" } else { "example-pbx (7.1)" },
            legs: Vec::new(),
            transactions: Transactions::default(),
            nonce: None,
            challenges: false,
            register_call_id: String::new(),
            register_cseq: 0,
            register_tag: String::new(),
        }
    }

    pub fn contact(&self) -> String {
        let transport = if self.tcp { ";transport=tcp" } else { "" };
        format!("sip:{}@{}{transport}", self.user, self.address)
    }

    /// As after power was lost: nothing is remembered.
    pub fn forget(&mut self) {
        self.transactions = Transactions::default();
        self.nonce = None;
        for leg in &mut self.legs {
            leg.state = State::Over;
            leg.accepted = None;
        }
    }

    fn via(&self, random: &mut Random, tcp: bool) -> Via {
        Via { sent_by: self.address, tcp, branch: format!("z9hG4bK{}", random.token()), seen_from: None }
    }

    fn blank(&self, method: Method, uri: &str, cx: &mut Context<'_>, tcp: bool) -> Message {
        let start = Start::Request(method, uri.to_owned());
        Message { vias: vec![self.via(cx.random, tcp)], ..Message::blank(start, method, self.name) }
    }

    fn contact_value(&self) -> Vec<ContactValue> {
        vec![ContactValue { uri: self.contact(), expires_s: None }]
    }

    fn hop(&self, leg: &Leg) -> SocketAddr {
        let next = leg.routes.first().unwrap_or(&leg.remote_target);
        address_of(next).or(self.outbound).unwrap_or(self.address)
    }

    fn hop_is_tcp(&self, uri: &str) -> bool {
        self.tcp || uri.contains("transport=tcp")
    }

    fn with_credentials(&mut self, mut message: Message) -> Message {
        if let Some((nonce, uses)) = &mut self.nonce {
            *uses += 1;
            message.credentials = Some((self.user.clone(), nonce.clone(), *uses));
        }
        message
    }

    // ---- registering

    /// REGISTER; `star` takes all bindings back.
    pub fn register(&mut self, cx: &mut Context<'_>, expires_s: u32, star: bool) {
        if self.register_call_id.is_empty() {
            self.register_call_id = format!("{}@{}", cx.random.token(), self.address.ip());
            self.register_tag = cx.random.token();
        }
        self.register_cseq += 1;
        let aor = format!("sip:{}@example.com", self.user);
        let mut message = self.blank(Method::Register, "sip:example.com", cx, self.tcp);
        message.from.clone_from(&aor);
        message.from_tag.clone_from(&self.register_tag);
        message.to = aor;
        message.call_id.clone_from(&self.register_call_id);
        message.cseq = self.register_cseq;
        message.expires_s = Some(expires_s);
        message.star = star;
        if !star {
            message.contacts = self.contact_value();
        }
        let message = self.with_credentials(message);
        let to = self.outbound.unwrap_or(self.address);
        self.transactions.give_up(Method::Register);
        self.transactions.request(cx.now_us, message, to, cx.out);
    }

    fn registered(&mut self, message: &Message, cx: &mut Context<'_>) {
        let status = message.status().unwrap_or_default();
        if status == 401
            && let Some(nonce) = &message.challenge
        {
            self.nonce = Some((nonce.clone(), 0));
        }
        if status >= 200 {
            cx.events.push(Event::Registered(status));
        }
    }

    // ---- calling

    /// INVITE; gives the leg.
    pub fn call(&mut self, cx: &mut Context<'_>, wanted: &Wanted) -> usize {
        let uri = wanted.uri.clone().unwrap_or_else(|| wanted.to.clone());
        let tcp = self.hop_is_tcp(&uri);
        let mut message = self.blank(Method::Invite, &uri, cx, tcp);
        let leg = self.legs.len();
        message.from.clone_from(&wanted.from);
        message.from_tag = cx.random.token();
        message.to.clone_from(&wanted.to);
        message.call_id = format!("{}@{}", cx.random.token(), self.address.ip());
        message.cseq = 101;
        message.contacts = self.contact_value();
        message.subject = Some(wanted.plan);
        message.session_expires_s = wanted.session_s;
        message.replaces.clone_from(&wanted.replaces);
        let session = cx.random.next() % 1_000_000;
        let direction = wanted.direction;
        if !wanted.delayed {
            let user = self.user.clone();
            let address = self.address;
            message.sdp = Some(Sdp { user, session, version: 1, address, direction, answer: false });
        }
        let message = self.with_credentials(message);
        self.legs.push(Leg {
            call_id: message.call_id.clone(),
            side: Side::Caller,
            state: State::Calling,
            plan: wanted.plan,
            local_uri: message.from.clone(),
            local_tag: message.from_tag.clone(),
            remote_uri: message.to.clone(),
            remote_tag: None,
            remote_target: uri.clone(),
            routes: Vec::new(),
            cseq: message.cseq,
            invite: message.clone(),
            session,
            version: 1,
            on_hold: false,
            old_hold: false,
            other_holds: false,
            delayed: wanted.delayed,
            offered: direction,
            accepted: None,
            last_ack: None,
            reinvite: None,
            asked: None,
            progressed: false,
            cancel_wanted: false,
            cancel_sent: false,
            session_s: None,
            refreshed_us: 0,
            by_update: wanted.by_update,
        });
        cx.out.push(Out::Truth(Happening::Invited {
            call_id: message.call_id.clone(),
            caller: self.device,
            peer: wanted.to.clone(),
            contact: self.contact(),
        }));
        let to = self.outbound.or_else(|| address_of(&uri)).unwrap_or(self.address);
        self.transactions.request(cx.now_us, message, to, cx.out);
        leg
    }

    /// Gives up a call that is not answered.
    pub fn cancel(&mut self, cx: &mut Context<'_>, leg: usize) {
        let Some(leg) = self.legs.get_mut(leg).filter(|leg| leg.state == State::Calling) else { return };
        leg.cancel_wanted = true;
        if !leg.progressed || leg.cancel_sent {
            return;
        }
        leg.cancel_sent = true;
        let invite = leg.invite.clone();
        let cancel = invite.for_hop(Method::Cancel, None);
        let to = self.outbound.or_else(|| address_of(invite.uri())).unwrap_or(self.address);
        self.transactions.request(cx.now_us, cancel, to, cx.out);
    }

    // ---- being called

    fn respond(&mut self, cx: &mut Context<'_>, leg: usize, status: u16, sdp: Option<Direction>) {
        let Some(known) = self.legs.get(leg) else { return };
        let mut response = known.invite.response(status, &known.local_tag, self.name);
        if status < 300 {
            response.contacts = self.contact_value();
        }
        if (101..200).contains(&status) {
            let call_id = known.call_id.clone();
            cx.out.push(Out::Truth(Happening::Progressed { call_id }));
        }
        if status == 200 {
            response.session_expires_s = known.invite.session_expires_s;
        }
        response.sdp = sdp.map(|direction| self.describe(leg, direction, known.invite.sdp.is_some()));
        self.transactions.respond(cx.now_us, response, cx.out);
    }

    fn describe(&self, leg: usize, direction: Direction, answer: bool) -> Sdp {
        let leg = &self.legs[leg];
        Sdp {
            user: self.user.clone(),
            session: leg.session,
            version: leg.version,
            address: self.address,
            direction,
            answer,
        }
    }

    pub fn ring(&mut self, cx: &mut Context<'_>, leg: usize) {
        let Some(known) = self.legs.get(leg).filter(|leg| leg.state == State::Incoming) else { return };
        if let Some(device) = self.device {
            let (call_id, peer) = (known.call_id.clone(), known.remote_uri.clone());
            let contact = self.contact();
            cx.out.push(Out::Truth(Happening::Rings { call_id, device, peer, contact }));
        }
        self.respond(cx, leg, 180, None);
    }

    /// Early media.
    pub fn progress(&mut self, cx: &mut Context<'_>, leg: usize) {
        if self.legs.get(leg).is_some_and(|leg| leg.state == State::Incoming && leg.invite.sdp.is_some()) {
            self.respond(cx, leg, 183, Some(Direction::SendRecv));
        }
    }

    pub fn reject(&mut self, cx: &mut Context<'_>, leg: usize, status: u16) {
        let Some(known) = self.legs.get_mut(leg).filter(|leg| leg.state == State::Incoming) else { return };
        known.state = State::Over;
        let call_id = known.call_id.clone();
        cx.out.push(Out::Truth(match self.device {
            Some(device) => Happening::StopsRinging { call_id, device },
            None => Happening::Failed { call_id },
        }));
        self.respond(cx, leg, status, None);
    }

    pub fn answer(&mut self, cx: &mut Context<'_>, leg: usize) {
        let Some(known) = self.legs.get_mut(leg).filter(|leg| leg.state == State::Incoming) else { return };
        known.state = State::Up;
        known.refreshed_us = cx.now_us;
        known.session_s = known.invite.session_expires_s;
        let delayed = known.invite.sdp.is_none();
        let (call_id, tag, peer) = (known.call_id.clone(), known.local_tag.clone(), known.remote_uri.clone());
        let direction = Direction::SendRecv;
        known.offered = direction;
        let (called, contact) = (self.device, self.contact());
        cx.out.push(Out::Truth(Happening::Answered { call_id, tag, called, peer, contact, delayed }));
        self.watch_session(cx, leg);
        self.respond(cx, leg, 200, Some(direction));
        self.await_ack(cx, leg);
    }

    /// The 2xx that was just sent is repeated until its ACK comes (RFC 3261 section 13.3.1.4).
    fn await_ack(&mut self, cx: &mut Context<'_>, leg: usize) {
        let Some(Out::Send { to, message }) = cx.out.last() else { return };
        let accepted =
            Accepted { message: message.clone(), to: *to, interval_us: T1_US, since_us: cx.now_us };
        self.legs[leg].accepted = Some(accepted);
        cx.out.push(Out::Wake { at_us: cx.now_us + T1_US, wake: Wake::Accepted(leg) });
    }

    fn watch_session(&mut self, cx: &mut Context<'_>, leg: usize) {
        let known = &self.legs[leg];
        let Some(interval_s) = known.session_s else { return };
        let wait_s = match known.side {
            Side::Caller => interval_s / 2,
            Side::Called => interval_s - (interval_s / 3).min(32),
        };
        let at_us = known.refreshed_us + u64::from(wait_s) * 1_000_000;
        cx.out.push(Out::Wake { at_us, wake: Wake::Session(leg) });
    }

    // ---- inside a dialog

    fn inside(&mut self, cx: &mut Context<'_>, leg: usize, method: Method) -> Message {
        let target = self.legs[leg].remote_target.clone();
        let tcp = self.hop_is_tcp(&target);
        let mut message = self.blank(method, &target, cx, tcp);
        let known = &mut self.legs[leg];
        if method != Method::Ack {
            known.cseq += 1;
        }
        message.from.clone_from(&known.local_uri);
        message.from_tag.clone_from(&known.local_tag);
        message.to.clone_from(&known.remote_uri);
        message.to_tag.clone_from(&known.remote_tag);
        message.call_id.clone_from(&known.call_id);
        message.cseq = known.cseq;
        message.routes.clone_from(&known.routes);
        if !matches!(method, Method::Bye | Method::Ack) {
            message.contacts = self.contact_value();
        }
        message
    }

    fn send_inside(&mut self, cx: &mut Context<'_>, leg: usize, message: Message) {
        let to = self.hop(&self.legs[leg]);
        self.transactions.request(cx.now_us, message, to, cx.out);
    }

    pub fn bye(&mut self, cx: &mut Context<'_>, leg: usize) {
        if !self.legs.get(leg).is_some_and(|leg| leg.state == State::Up) {
            return;
        }
        let message = self.inside(cx, leg, Method::Bye);
        let known = &mut self.legs[leg];
        known.state = State::Over;
        known.accepted = None;
        let (call_id, tag) = (known.call_id.clone(), known.called_tag());
        cx.out.push(Out::Truth(Happening::Ended { call_id, tag }));
        self.send_inside(cx, leg, message);
    }

    fn own_direction(leg: &Leg) -> Direction {
        match (leg.on_hold, leg.other_holds, leg.old_hold) {
            (false, ..) => Direction::SendRecv,
            (true, _, true) => Direction::Zero,
            (true, true, false) => Direction::Inactive,
            (true, false, false) => Direction::SendOnly,
        }
    }

    /// Holds or resumes; `direction` is what a PBX passes on instead of its own.
    pub fn reinvite(&mut self, cx: &mut Context<'_>, leg: usize, direction: Option<Direction>) -> bool {
        let busy = |leg: &Leg| leg.reinvite.is_some() || leg.asked.is_some() || leg.accepted.is_some();
        if !self.legs.get(leg).is_some_and(|leg| leg.state == State::Up && !busy(leg)) {
            return false;
        }
        let mut message = self.inside(cx, leg, Method::Invite);
        let known = &mut self.legs[leg];
        let direction = direction.unwrap_or_else(|| Self::own_direction(known));
        known.version += 1;
        known.offered = direction;
        message.session_expires_s = known.session_s;
        message.answerer_refreshes = known.side == Side::Called;
        message.sdp = Some(self.describe(leg, direction, false));
        self.legs[leg].reinvite = Some(message.clone());
        self.send_inside(cx, leg, message);
        true
    }

    /// Answers a re-INVITE that came.
    pub fn answer_reinvite(
        &mut self,
        cx: &mut Context<'_>,
        leg: usize,
        status: u16,
        direction: Option<Direction>,
    ) {
        let Some(asked) = self.legs.get_mut(leg).and_then(|leg| leg.asked.take()) else { return };
        let known = &mut self.legs[leg];
        let mut response = asked.response(status, &known.local_tag, self.name);
        if status != 200 {
            return self.transactions.respond(cx.now_us, response, cx.out);
        }
        let offer = asked.sdp.as_ref().map_or(Direction::SendRecv, |sdp| sdp.direction);
        known.other_holds = matches!(offer, Direction::SendOnly | Direction::Inactive | Direction::Zero);
        let answer = direction.unwrap_or(match (known.on_hold, offer) {
            (true, Direction::SendRecv | Direction::RecvOnly) => Direction::SendOnly,
            (true, _) => Direction::Inactive,
            (false, Direction::SendOnly | Direction::Zero) => Direction::RecvOnly,
            (false, Direction::RecvOnly) => Direction::SendOnly,
            (false, Direction::Inactive) => Direction::Inactive,
            (false, Direction::SendRecv) => Direction::SendRecv,
        });
        known.version += 1;
        let (call_id, tag) = (known.call_id.clone(), known.called_tag());
        response.session_expires_s = asked.session_expires_s;
        response.answerer_refreshes = asked.answerer_refreshes;
        if asked.session_expires_s.is_some() {
            known.session_s = asked.session_expires_s;
            known.refreshed_us = cx.now_us;
            self.watch_session(cx, leg);
        }
        response.contacts = self.contact_value();
        response.sdp = Some(self.describe(leg, answer, true));
        cx.out.push(Out::Truth(Happening::Directed { call_id, tag, held: held(offer, answer) }));
        self.transactions.respond(cx.now_us, response, cx.out);
        self.await_ack(cx, leg);
    }

    /// Asks the other end to call somebody else.
    pub fn refer(
        &mut self,
        cx: &mut Context<'_>,
        leg: usize,
        target: &str,
        replaces: Option<(String, String, String)>,
    ) {
        if !self.legs.get(leg).is_some_and(|leg| leg.state == State::Up) {
            return;
        }
        let mut message = self.inside(cx, leg, Method::Refer);
        message.refer_to = Some(match &replaces {
            Some((call_id, to_tag, from_tag)) => format!(
                "{target}?Replaces={}%3Bto-tag%3D{to_tag}%3Bfrom-tag%3D{from_tag}",
                call_id.replace('@', "%40")
            ),
            None => target.to_owned(),
        });
        self.send_inside(cx, leg, message);
    }

    /// Tells who sent a REFER how it goes.
    pub fn notify(&mut self, cx: &mut Context<'_>, leg: usize, status: u16) {
        if !self.legs.get(leg).is_some_and(|leg| leg.state == State::Up) {
            return;
        }
        let mut message = self.inside(cx, leg, Method::Notify);
        message.fragment = Some(status);
        self.send_inside(cx, leg, message);
    }

    fn refresh(&mut self, cx: &mut Context<'_>, leg: usize) {
        if self.legs[leg].by_update {
            let mut message = self.inside(cx, leg, Method::Update);
            message.session_expires_s = self.legs[leg].session_s;
            self.send_inside(cx, leg, message);
        } else {
            self.reinvite(cx, leg, None);
        }
    }
}
