//! A phone on a real network: it registers, calls, is called, hangs up, goes away, by a seeded life of its own.
//! In: datagrams and the time. Out: datagrams, and what it knows to be so of itself. Knows nothing of sockets.
//! RFC 3261 sections 8, 9, 12, 13, 15, 17, over UDP; RFC 7616.

use std::collections::VecDeque;
use std::net::SocketAddr;

use offhook::base::{Limits, Random};
use offhook::sip::{Method, Scanner, SipMessage};

use crate::speech::{self, fields, response, text, uri_of};
use crate::testbed::truth::{Moment, Session, Status};
use crate::wire;

/// Timer T1, and as often a request is sent again.
const T1_S: f64 = 0.5;
const MOST_TRIES: u32 = 7;
/// What a registration is asked for, and when it is renewed.
const EXPIRES_S: f64 = 30.0;
const RENEWED_AFTER_S: f64 = 24.0;
/// On average so long between two calls that a phone makes.
const BETWEEN_CALLS_S: f64 = 40.0;
/// Who is not answered gives up then.
const PATIENCE_S: f64 = 8.0;

/// A request that awaits its final response.
struct Pending {
    method: &'static str,
    bytes: Vec<u8>,
    branch: String,
    again_at_s: f64,
    tries: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its INVITE is out.
    Calling,
    /// So is its CANCEL.
    Cancelling,
    /// It rings.
    Ringing,
    Talking,
}

/// The 200 to an INVITE, until its ACK comes.
struct Unacknowledged {
    answer: Vec<u8>,
    again_at_s: f64,
    /// Nobody waits for the ACK any longer.
    until_s: f64,
}

struct Call {
    state: State,
    call_id: String,
    /// From or To, with the tag.
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
    /// Of the INVITE that was sent.
    branch: String,
    /// That was received.
    invite: Vec<u8>,
    unacknowledged: Option<Unacknowledged>,
    is_challenged: bool,
    /// When it does the next thing: answers, hangs up, gives up.
    due_s: f64,
}

impl Call {
    /// Who was called hangs up when the ACK has come, and no sooner: RFC 3261 section 15.
    fn due_s(&self) -> f64 {
        self.unacknowledged.as_ref().map_or(self.due_s, |waiting| self.due_s.max(waiting.until_s))
    }
}

enum Registration {
    Away,
    Here { renew_at_s: f64, until_s: f64 },
}

/// One phone.
pub struct Phone {
    user: String,
    address: SocketAddr,
    random: Random,
    others: usize,
    registration: Registration,
    calls_at_s: f64,
    comes_at_s: f64,
    register_cseq: u32,
    /// What the last REGISTER asked for.
    asked_expires_s: u32,
    pending: Vec<Pending>,
    call: Option<Call>,
    last_ack: Vec<u8>,
    /// It does not take part in anything any more.
    resting: bool,
    /// Datagrams for the PBX.
    pub out: VecDeque<Vec<u8>>,
    /// What it was from when on.
    pub life: Vec<Moment>,
}

/// The name of the numbered user.
pub fn user(number: usize) -> String {
    format!("user{number}")
}

impl Phone {
    /// One of so many, that comes within the first seconds.
    pub fn new(number: usize, of: usize, address: SocketAddr, seed: u64, now_s: f64) -> Self {
        let mut random = Random::new(seed ^ ((number as u64) << 32));
        let comes_at_s = now_s + part(&mut random) * 5.0;
        Self {
            user: user(number),
            address,
            others: of,
            registration: Registration::Away,
            calls_at_s: comes_at_s + part(&mut random) * BETWEEN_CALLS_S,
            comes_at_s,
            random,
            register_cseq: 0,
            asked_expires_s: 0,
            pending: Vec::new(),
            call: None,
            last_ack: Vec::new(),
            resting: false,
            out: VecDeque::new(),
            life: Vec::new(),
        }
    }

    /// It ends its call and begins none any more; it stays registered. Where it rings nobody answers.
    pub fn rest(&mut self, now_s: f64) {
        self.resting = true;
        match self.call.as_mut() {
            Some(call) if call.state == State::Ringing => call.due_s = f64::MAX,
            Some(call) if call.state != State::Cancelling => call.due_s = call.due_s.min(now_s),
            _ => {}
        }
    }

    fn becomes(&mut self, now_s: f64, change: impl FnOnce(&mut Status)) {
        let before = self.status();
        let mut status = before;
        change(&mut status);
        if status != before {
            self.life.push(Moment { at_s: now_s, status });
        }
    }

    fn status(&self) -> Status {
        self.life.last().map_or(Status { online: false, session: Session::Idle }, |moment| moment.status)
    }

    fn does(&mut self, now_s: f64, session: Session) {
        self.becomes(now_s, |status| status.session = session);
    }

    /// When time must be told to it at the latest.
    pub fn next_s(&self) -> f64 {
        let mut next_s = match self.registration {
            Registration::Away => self.comes_at_s,
            Registration::Here { renew_at_s, until_s } => renew_at_s.min(until_s),
        };
        for pending in &self.pending {
            next_s = next_s.min(pending.again_at_s);
        }
        match &self.call {
            Some(call) => {
                let again_s = call.unacknowledged.as_ref().map_or(f64::MAX, |waiting| waiting.again_at_s);
                next_s.min(call.due_s()).min(again_s)
            }
            None => next_s.min(self.calls_at_s),
        }
    }

    /// What is due.
    pub fn handle_time(&mut self, now_s: f64) {
        self.send_again(now_s);
        self.keep_registered(now_s);
        let due = self.call.as_ref().filter(|call| call.due_s() <= now_s).map(|call| call.state);
        match due {
            Some(State::Calling) => self.give_up(now_s),
            Some(State::Cancelling) => {
                self.call = None;
                self.does(now_s, Session::Idle);
            }
            Some(State::Ringing) => self.answer(now_s),
            Some(State::Talking) => self.hang_up(now_s),
            None if self.call.is_none() && self.calls_at_s <= now_s => self.begin_call(now_s),
            None => {}
        }
    }

    fn send_again(&mut self, now_s: f64) {
        let mut given_up = Vec::new();
        for pending in &mut self.pending {
            if pending.again_at_s > now_s {
                continue;
            }
            pending.tries += 1;
            if pending.tries > MOST_TRIES {
                given_up.push(pending.branch.clone());
                continue;
            }
            let wait_s = T1_S * f64::from(1 << pending.tries);
            pending.again_at_s = now_s + if pending.method == "INVITE" { wait_s } else { wait_s.min(4.0) };
            self.out.push_back(pending.bytes.clone());
        }
        self.pending.retain(|pending| !given_up.contains(&pending.branch));
        if let Some(call) = &mut self.call
            && let Some(waiting) = &mut call.unacknowledged
            && waiting.again_at_s <= now_s
        {
            waiting.again_at_s = now_s + 1.0;
            self.out.push_back(waiting.answer.clone());
        }
    }

    fn keep_registered(&mut self, now_s: f64) {
        match self.registration {
            Registration::Away if self.comes_at_s <= now_s => {
                self.comes_at_s = f64::MAX;
                self.register(now_s, EXPIRES_S as u32, None);
            }
            Registration::Here { until_s, .. } if until_s <= now_s => {
                // It said nothing any more, and nobody knows it now.
                self.registration = Registration::Away;
                self.comes_at_s = now_s + 5.0 + part(&mut self.random) * 20.0;
                self.becomes(now_s, |status| status.online = false);
            }
            Registration::Here { renew_at_s, until_s } if renew_at_s <= now_s => {
                self.registration = Registration::Here { renew_at_s: f64::MAX, until_s };
                // Some go, some are switched off, who talks stays.
                match self.random.next() % 20 {
                    0 if self.call.is_none() && !self.resting => self.register(now_s, 0, None),
                    1 if self.call.is_none() && !self.resting => {}
                    _ => self.register(now_s, EXPIRES_S as u32, None),
                }
            }
            _ => {}
        }
    }

    fn register(&mut self, now_s: f64, expires_s: u32, credentials: Option<String>) {
        self.register_cseq += 1;
        self.asked_expires_s = expires_s;
        let (user, address) = (&self.user, self.address);
        let head = format!(
            "From: <sip:{user}@example.com>;tag=r{user}\r\nTo: <sip:{user}@example.com>\r\n\
             Call-ID: register-{user}@{address}\r\nCSeq: {} REGISTER\r\n\
             Contact: <sip:{user}@{address}>;expires={expires_s}\r\n{}",
            self.register_cseq,
            credentials.unwrap_or_default(),
        );
        self.send(now_s, "REGISTER", "sip:example.com", &head, "");
    }

    /// Sends a request, again and again until it is answered. Gives its branch.
    fn send(&mut self, now_s: f64, method: &'static str, uri: &str, head: &str, body: &str) -> String {
        let branch = format!("z9hG4bK{}", self.random.token());
        let bytes = self.request(method, uri, &branch, head, body);
        self.out.push_back(bytes.clone());
        let again_at_s = now_s + T1_S;
        self.pending.push(Pending { method, bytes, branch: branch.clone(), again_at_s, tries: 0 });
        branch
    }

    fn request(&self, method: &str, uri: &str, branch: &str, head: &str, body: &str) -> Vec<u8> {
        speech::request(self.address, (method, uri), branch, head, ("application/sdp", body))
    }

    fn session_description(&self) -> String {
        let address = self.address.ip();
        format!(
            "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
    }

    fn begin_call(&mut self, now_s: f64) {
        let pause_s = -part(&mut self.random).max(1e-3).ln() * BETWEEN_CALLS_S;
        self.calls_at_s = now_s + pause_s.max(1.0);
        if self.resting || !self.status().online {
            return;
        }
        let other = self.random.next() as usize % self.others;
        let callee = user(other);
        if callee == self.user {
            return;
        }
        let remote = format!("<sip:{callee}@example.com>");
        self.call = Some(Call {
            state: State::Calling,
            call_id: format!("{}@{}", self.random.token(), self.address.ip()),
            local: format!("<sip:{}@example.com>;tag={}", self.user, self.random.token()),
            target: format!("sip:{callee}@example.com"),
            remote,
            routes: Vec::new(),
            cseq: 0,
            branch: String::new(),
            invite: Vec::new(),
            unacknowledged: None,
            is_challenged: false,
            due_s: now_s + PATIENCE_S,
        });
        self.invite(now_s, "");
        self.does(now_s, Session::Calling);
    }

    fn invite(&mut self, now_s: f64, credentials: &str) {
        let body = self.session_description();
        let Some(call) = &mut self.call else { return };
        call.cseq += 1;
        let head = format!(
            "{}Contact: <sip:{}@{}>\r\n{credentials}",
            dialog_head(call, "INVITE"),
            self.user,
            self.address
        );
        let target = call.target.clone();
        let branch = self.send(now_s, "INVITE", &target, &head, &body);
        if let Some(call) = &mut self.call {
            call.branch = branch;
        }
    }

    fn give_up(&mut self, now_s: f64) {
        let Some(call) = &mut self.call else { return };
        call.state = State::Cancelling;
        // What is not answered by then is over, too: section 9.1.
        call.due_s = now_s + 64.0 * T1_S;
        let head = dialog_head(call, "CANCEL");
        let (target, branch) = (call.target.clone(), call.branch.clone());
        // The same branch: RFC 3261 section 9.1.
        let bytes = self.request("CANCEL", &target, &branch, &head, "");
        self.out.push_back(bytes);
    }

    fn answer(&mut self, now_s: f64) {
        let body = self.session_description();
        let talks_s = 2.0 + part(&mut self.random) * 18.0;
        let Some(call) = &mut self.call else { return };
        call.state = State::Talking;
        call.due_s = now_s + talks_s;
        let more = format!(
            "Contact: <sip:{}@{}>\r\nUser-Agent: Exampletel 300\r\nContent-Type: application/sdp\r\n",
            self.user, self.address
        );
        let answer = response(&call.invite, "200 OK", &call.local, &more, &body);
        call.unacknowledged = Some(Unacknowledged {
            answer: answer.clone(),
            again_at_s: now_s + 1.0,
            until_s: now_s + 64.0 * T1_S,
        });
        self.out.push_back(answer);
        self.does(now_s, Session::Talking);
    }

    fn hang_up(&mut self, now_s: f64) {
        let Some(mut call) = self.call.take() else { return };
        call.cseq += 1;
        let head = dialog_head(&call, "BYE");
        self.send(now_s, "BYE", &call.target, &head, "");
        self.does(now_s, Session::Idle);
    }

    /// A datagram came.
    pub fn handle(&mut self, now_s: f64, bytes: &[u8]) {
        let mut scanner = Scanner::new(&Limits::default());
        let Ok(message) = scanner.scan(bytes) else { return };
        match (message.status(), message.method()) {
            (Some(status), _) => self.handle_response(now_s, bytes, &message, status),
            (None, Some(method)) => self.handle_request(now_s, bytes, method),
            _ => {}
        }
    }

    fn handle_response(&mut self, now_s: f64, bytes: &[u8], message: &SipMessage<'_>, status: u16) {
        let via = text(bytes, b"Via: ");
        let method = text(bytes, b"CSeq: ").split(' ').nth(1).unwrap_or_default().to_owned();
        let place = self
            .pending
            .iter()
            .position(|pending| pending.method == method && via.contains(pending.branch.as_str()));
        if status < 200 {
            // The INVITE need not be sent again.
            if let Some(pending) = place.and_then(|place| self.pending.get_mut(place)) {
                pending.again_at_s = f64::MAX;
            }
            return;
        }
        let was_pending = place.map(|place| self.pending.remove(place)).is_some();
        match method.as_str() {
            "REGISTER" if was_pending => self.registered(now_s, bytes, message, status),
            "INVITE" if status < 300 && !was_pending => self.out.push_back(self.last_ack.clone()),
            "INVITE" => self.invite_answered(now_s, bytes, message, status),
            _ => {}
        }
    }

    fn credentials(&mut self, message: &SipMessage<'_>, method: &str, uri: &str) -> Option<String> {
        speech::credentials(message, &self.user, (method, uri), &mut self.random)
    }

    fn registered(&mut self, now_s: f64, bytes: &[u8], message: &SipMessage<'_>, status: u16) {
        if status == 401 {
            let credentials = self.credentials(message, "REGISTER", "sip:example.com");
            return self.register(now_s, self.asked_expires_s, credentials);
        }
        if status != 200 {
            return;
        }
        if wire::field(bytes, b"Contact: ").is_some() {
            let renew_at_s = now_s + RENEWED_AFTER_S;
            self.registration = Registration::Here { renew_at_s, until_s: now_s + EXPIRES_S };
            self.becomes(now_s, |status| status.online = true);
        } else {
            self.registration = Registration::Away;
            self.comes_at_s = now_s + 3.0 + part(&mut self.random) * 20.0;
            self.becomes(now_s, |status| status.online = false);
        }
    }

    fn invite_answered(&mut self, now_s: f64, bytes: &[u8], message: &SipMessage<'_>, status: u16) {
        let Some(call) = &mut self.call else { return };
        let gave_up = call.state == State::Cancelling;
        if !(gave_up || call.state == State::Calling) || call.call_id != text(bytes, b"Call-ID: ") {
            return;
        }
        let is_own = text(bytes, b"Via: ").contains(call.branch.as_str());
        if status < 300 {
            call.remote = text(bytes, b"To: ");
            call.routes = fields(bytes, b"Record-Route: ");
            call.routes.reverse();
            call.target = uri_of(&text(bytes, b"Contact: "));
            call.state = State::Talking;
            let talks_s = 2.0 + part(&mut self.random) * 18.0;
            let head = dialog_head(call, "ACK");
            // Who gave up hangs up at once.
            call.due_s = if gave_up { now_s } else { now_s + talks_s };
            let target = call.target.clone();
            let branch = format!("z9hG4bK{}", self.random.token());
            self.last_ack = self.request("ACK", &target, &branch, &head, "");
            self.out.push_back(self.last_ack.clone());
            return self.does(now_s, Session::Talking);
        }
        let mut answered = dialog_head(call, "ACK");
        answered =
            answered.replace(&format!("To: {}", call.remote), &format!("To: {}", text(bytes, b"To: ")));
        let (target, branch) = (call.target.clone(), call.branch.clone());
        let is_first = !std::mem::replace(&mut call.is_challenged, true);
        let ack = self.request("ACK", &target, &branch, &answered, "");
        self.out.push_back(ack);
        if !is_own {
            return;
        }
        if status == 407 && is_first {
            let credentials = self.credentials(message, "INVITE", &target);
            return self.invite(now_s, &credentials.unwrap_or_default());
        }
        self.call = None;
        self.does(now_s, Session::Idle);
    }

    fn handle_request(&mut self, now_s: f64, bytes: &[u8], method: Method) {
        let call_id = text(bytes, b"Call-ID: ");
        let is_mine = self.call.as_ref().is_some_and(|call| call.call_id == call_id);
        let to = text(bytes, b"To: ");
        match method {
            Method::Invite if is_mine => {} // sent again: the answer will be, too
            Method::Invite if self.call.is_some() || self.resting => {
                let local = format!("{to};tag={}", self.random.token());
                self.out.push_back(response(bytes, "486 Busy Here", &local, "", ""));
            }
            Method::Invite => self.ring(now_s, bytes, call_id),
            Method::Cancel => {
                self.out.push_back(response(bytes, "200 OK", &to, "", ""));
                if let Some(call) = self.call.take_if(|call| is_mine && call.state == State::Ringing) {
                    let refused = response(&call.invite, "487 Request Terminated", &call.local, "", "");
                    self.out.push_back(refused);
                    self.does(now_s, Session::Idle);
                }
            }
            Method::Ack => {
                if let Some(call) = self.call.as_mut().filter(|_| is_mine) {
                    call.unacknowledged = None;
                }
            }
            Method::Bye => {
                self.out.push_back(response(bytes, "200 OK", &to, "", ""));
                if is_mine {
                    self.call = None;
                    self.does(now_s, Session::Idle);
                }
            }
            _ => self.out.push_back(response(bytes, "501 Not Implemented", &to, "", "")),
        }
    }

    fn ring(&mut self, now_s: f64, bytes: &[u8], call_id: String) {
        let local = format!("{};tag={}", text(bytes, b"To: "), self.random.token());
        // One in five is not at the desk.
        let rings_s = match self.random.next() % 5 {
            0 => 60.0,
            _ => 0.5 + part(&mut self.random) * 5.0,
        };
        let contact = format!("Contact: <sip:{}@{}>\r\n", self.user, self.address);
        self.out.push_back(response(bytes, "180 Ringing", &local, &contact, ""));
        self.call = Some(Call {
            state: State::Ringing,
            call_id,
            local,
            remote: text(bytes, b"From: "),
            target: uri_of(&text(bytes, b"Contact: ")),
            routes: fields(bytes, b"Record-Route: "),
            cseq: 0,
            branch: String::new(),
            invite: bytes.to_vec(),
            unacknowledged: None,
            is_challenged: false,
            due_s: now_s + rings_s,
        });
        self.does(now_s, Session::Ringing);
    }
}

/// Between 0 and 1.
fn part(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1_u64 << 53) as f64
}

fn dialog_head(call: &Call, method: &str) -> String {
    let routes: String = call.routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    format!(
        "{routes}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n",
        call.local, call.remote, call.call_id, call.cseq
    )
}
