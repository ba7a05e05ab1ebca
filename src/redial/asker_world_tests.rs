//! A phone that keeps to a script, the network before it, and an asker that is watched: all in virtual time. Whatever
//! a test does, this holds: every message is one, whole, with all that RFC 3261 asks for; every order ends once; every
//! request of the phone is answered; every final response to INVITE is acknowledged; no dialog is left up; silence that
//! began stops.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::base::Transport;
use crate::redial::Manner;
use crate::sip::invite_transaction::{InviteEvent, InviteHead, InviteTransaction};
use crate::sip::transaction::{ClientTransaction, Reliability, TransactionEvent};
use crate::sip::write::{Header, RequestMethod, via};
use crate::sip::{Aor, Direction, OWN_CALL_ID_PREFIX, OWN_RECALL_PREFIX, Sdp};

pub(super) const START: Timestamp = Timestamp::from_secs(1_000);
pub(super) const OURS: &str = "192.0.2.5:5060";
pub(super) const PHONE: &str = "192.0.2.7:5062";

pub(super) fn hop() -> Hop {
    Hop { transport: Transport::Udp, local: OURS.parse().unwrap(), remote: PHONE.parse().unwrap() }
}

pub(super) fn aor(text: &str) -> Aor {
    Aor::from_uri(text.as_bytes()).unwrap()
}

/// Alice's phone is to call bob; or it is bob's phone that is probed.
pub(super) fn order(id: u64, manner: Manner) -> AskOrder {
    let phone = if manner == Manner::Probe { "sip:bob@example.com" } else { "sip:alice@example.com" };
    let (phone, callee) = (aor(phone), aor("sip:bob@example.com"));
    AskOrder { id: AskId(id), manner, phone, callee, contact: None, flow: None }
}

pub(super) fn reach() -> Reach {
    let media = "192.0.2.5:40000".parse().unwrap();
    Reach { request_uri: format!("sip:alice@{PHONE}"), hop: hop(), media }
}

/// What every message of ours must be.
pub(super) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut scanner = Scanner::new(&Limits::default());
    let message = scanner.scan(bytes).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(message.headers_are_whole() && message.body_is_whole(), "{text}");
    assert_eq!(message.content_length(), Some(Ok(message.body().len())), "{text}");
    assert!(message.from_tag().is_some(), "{text}");
    assert_eq!(message.body().is_empty(), message.header(HeaderName::ContentType).is_none(), "{text}");
    if !message.body().is_empty() {
        assert!(Sdp::parse(message.sdp().expect("a session description")).is_some(), "{text}");
    }
    match message.method() {
        None => assert!(message.to_tag().is_some(), "{text}"),
        Some(method) => {
            assert!(message.top_branch().starts_with(b"z9hG4bK") && message.via_count() == 1, "{text}");
            assert_eq!(message.header(HeaderName::MaxForwards), Some(&b"70"[..]), "{text}");
            let own = [OWN_CALL_ID_PREFIX, OWN_RECALL_PREFIX];
            assert!(own.iter().any(|prefix| message.call_id().starts_with(prefix.as_bytes())), "{text}");
            // RFC 3261 section 12.1.1, RFC 3515 section 2.2.
            if matches!(method, Method::Invite | Method::Refer) {
                assert_eq!(message.contacts().count(), 1, "{text}");
            }
            assert_eq!(method == Method::Refer, message.header(HeaderName::ReferTo).is_some(), "{text}");
        }
    }
}

/// Who wants to know who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Challenges {
    Nobody,
    Phone,
    Proxy,
    Both,
}

/// What the phone does with REFER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnRefer {
    /// 202, then these NOTIFYs; the last says that the subscription is over.
    Accepts(&'static [u16]),
    /// 200 with Refer-Sub: false.
    AcceptsWithoutSubscription,
    Refuses(u16),
    IsSilent,
}

/// What the phone does with INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnInvite {
    /// It rings and is picked up after so many milliseconds.
    PickedUp(u64),
    /// It rings and refuses after a second.
    Refuses(u16),
    RingsOn,
    IsSilent,
}

/// When the phone hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HangsUp {
    Never,
    /// 200 ms after it was picked up.
    BeforeRefer,
    /// As soon as it has accepted the REFER.
    AfterRefer,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    pub(super) challenges: Challenges,
    pub(super) refer: OnRefer,
    pub(super) invite: OnInvite,
    pub(super) hangs_up: HangsUp,
    /// It holds us before it calls.
    pub(super) holds: bool,
    /// Another phone picks up too.
    pub(super) forks: bool,
    /// REFERs that are answered 491.
    pub(super) glares: u32,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            challenges: Challenges::Nobody,
            refer: OnRefer::Accepts(&[100, 180, 200]),
            invite: OnInvite::PickedUp(2_000),
            hangs_up: HangsUp::Never,
            holds: false,
            forks: false,
            glares: 0,
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Ring(Vec<u8>),
    PickUp(Vec<u8>),
    Refuse(Vec<u8>, u16),
    HangUp,
    Hold,
    Notify,
}

/// A final response to INVITE, until it is acknowledged.
struct Final {
    bytes: Vec<u8>,
    status: u16,
    branch: Vec<u8>,
    cseq: u32,
    tag: String,
    again_at: Timestamp,
    interval: Duration,
    until: Timestamp,
}

enum Client {
    Plain(Method, ClientTransaction),
    Invite(InviteTransaction),
}

#[derive(Default)]
pub(super) struct Phone {
    script: Script,
    acts: Vec<(Timestamp, Act)>,
    /// By branch and method: what was answered last.
    served: BTreeMap<(Vec<u8>, Method), Option<Vec<u8>>>,
    finals: Vec<Final>,
    /// Forks whose dialog is up.
    pub(super) up: BTreeSet<String>,
    clients: Vec<Client>,
    /// The request that a dialog began with.
    begun: Option<Vec<u8>>,
    ringing: Option<Vec<u8>>,
    notifies_left: Vec<u16>,
    cseq: u32,
    branches: u32,
    out: Vec<Vec<u8>>,
    /// How its requests were answered, and by 0 those that were not.
    pub(super) answers: Vec<(Method, u16)>,
    pub(super) unacknowledged: u32,
    pub(super) refers: u32,
    pub(super) cancelled: bool,
    /// How the hold was answered.
    pub(super) held: Option<Direction>,
}

impl Phone {
    fn of(script: Script) -> Self {
        Self { script, ..Self::default() }
    }

    fn respond(&mut self, request: &SipMessage<'_>, status: u16, tag: &str, more: Vec<Header>, body: &str) {
        let mut more = more;
        more.push(header("Contact", format!("<sip:alice@{PHONE}>")));
        if !body.is_empty() {
            more.push(header("Content-Type", "application/sdp"));
        }
        let bytes = write::response_to(request, status, Some(tag), more, body.as_bytes()).unwrap();
        let key = (request.top_branch().to_vec(), request.cseq().method);
        self.served.insert(key, Some(bytes.clone()));
        self.out.push(bytes);
    }

    fn final_to_invite(&mut self, now: Timestamp, invite: &[u8], status: u16, tag: &str) {
        let mut scanner = Scanner::new(&Limits::default());
        let request = scanner.scan(invite).unwrap();
        let sdp = "v=0\r\no=alice 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
                   m=audio 6000 RTP/AVP 8\r\n";
        let (more, body) = match status {
            200 => (Vec::new(), sdp),
            401 => (vec![challenge("WWW-Authenticate")], ""),
            407 => (vec![challenge("Proxy-Authenticate")], ""),
            _ => (Vec::new(), ""),
        };
        self.respond(&request, status, tag, more, body);
        self.finals.push(Final {
            bytes: self.out.last().unwrap().clone(),
            status,
            branch: request.top_branch().to_vec(),
            cseq: request.cseq().number,
            tag: tag.to_owned(),
            again_at: now.after(Duration::from_millis(500)),
            interval: Duration::from_millis(500),
            until: now.after_s(32),
        });
    }

    /// The status with which the request is challenged.
    fn challenged(&self, request: &SipMessage<'_>) -> Option<u16> {
        let has = |proxy| request.credentials().any(|credentials| credentials.proxy == proxy);
        match self.script.challenges {
            Challenges::Proxy | Challenges::Both if !has(true) => Some(407),
            Challenges::Phone | Challenges::Both if !has(false) => Some(401),
            _ => None,
        }
    }

    fn handle(&mut self, now: Timestamp, bytes: &[u8]) {
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(bytes).unwrap();
        let Some(method) = message.method() else {
            self.handle_response(now, &message);
            return;
        };
        if method == Method::Ack {
            let (branch, tag) = (message.top_branch(), message.to_tag().unwrap_or_default());
            self.finals.retain(|sent| match sent.status {
                200..=299 => (sent.tag.as_bytes(), sent.cseq) != (tag, message.cseq().number),
                _ => sent.branch != branch,
            });
            return;
        }
        let key = (message.top_branch().to_vec(), method);
        if let Some(answer) = self.served.get(&key) {
            self.out.extend(answer.clone());
            return;
        }
        self.served.insert(key, None);
        match method {
            Method::Invite => self.handle_invite(now, bytes, &message),
            Method::Refer => self.handle_refer(now, bytes, &message),
            Method::Cancel => {
                self.respond(&message, 200, "main", Vec::new(), "");
                self.cancelled = true;
                if let Some(invite) = self.ringing.take() {
                    self.acts.clear();
                    self.final_to_invite(now, &invite, 487, "main");
                }
            }
            Method::Bye => {
                let tag = String::from_utf8(message.to_tag().unwrap().to_vec()).unwrap();
                let status = if self.up.remove(&tag) { 200 } else { 481 };
                self.respond(&message, status, &tag, Vec::new(), "");
            }
            Method::Options => match self.challenged(&message) {
                Some(401) => self.respond(&message, 401, "main", vec![challenge("WWW-Authenticate")], ""),
                Some(_) => self.respond(&message, 407, "main", vec![challenge("Proxy-Authenticate")], ""),
                None => self.respond(&message, 200, "main", Vec::new(), ""),
            },
            _ => panic!("{method:?}"),
        }
    }

    fn handle_invite(&mut self, now: Timestamp, bytes: &[u8], message: &SipMessage<'_>) {
        assert!(message.sdp().is_some());
        if self.script.invite == OnInvite::IsSilent {
            return;
        }
        if let Some(status) = self.challenged(message) {
            self.final_to_invite(now, bytes, status, "main");
            return;
        }
        let invite = bytes.to_vec();
        self.ringing = Some(invite.clone());
        self.begun = Some(invite.clone());
        self.respond(message, 100, "main", Vec::new(), "");
        let after = |ms| now.after(Duration::from_millis(ms));
        self.acts.push((after(50), Act::Ring(invite.clone())));
        match self.script.invite {
            OnInvite::PickedUp(ms) => self.acts.push((after(ms), Act::PickUp(invite))),
            OnInvite::Refuses(status) => self.acts.push((after(1_000), Act::Refuse(invite, status))),
            OnInvite::RingsOn | OnInvite::IsSilent => {}
        }
    }

    fn handle_refer(&mut self, now: Timestamp, bytes: &[u8], message: &SipMessage<'_>) {
        self.refers += 1;
        let is_up = |tag: &[u8]| self.up.iter().any(|up| up.as_bytes() == tag);
        if message.to_tag().is_some_and(|tag| !is_up(tag)) {
            self.respond(message, 481, "main", Vec::new(), "");
            return;
        }
        match self.challenged(message) {
            Some(401) => return self.respond(message, 401, "main", vec![challenge("WWW-Authenticate")], ""),
            Some(_) => return self.respond(message, 407, "main", vec![challenge("Proxy-Authenticate")], ""),
            None => {}
        }
        if self.script.glares > 0 {
            self.script.glares -= 1;
            return self.respond(message, 491, "main", Vec::new(), "");
        }
        match self.script.refer {
            OnRefer::IsSilent => {}
            OnRefer::Refuses(status) => self.respond(message, status, "main", Vec::new(), ""),
            OnRefer::AcceptsWithoutSubscription => {
                self.respond(message, 200, "main", vec![header("Refer-Sub", "false")], "");
            }
            OnRefer::Accepts(notifies) => {
                self.respond(message, 202, "main", Vec::new(), "");
                self.begun = Some(bytes.to_vec());
                self.notifies_left = notifies.to_vec();
                let soon = now.after(Duration::from_millis(20));
                if self.script.hangs_up == HangsUp::AfterRefer {
                    self.acts.push((soon, Act::HangUp));
                }
                self.acts.push((soon, if self.script.holds { Act::Hold } else { Act::Notify }));
            }
        }
    }

    /// The fields of a request of ours in the dialog.
    fn head(&mut self) -> (InviteHead, Vec<Header>) {
        self.cseq += 1;
        self.branches += 1;
        let begun = self.begun.clone().unwrap();
        let mut scanner = Scanner::new(&Limits::default());
        let begun = scanner.scan(&begun).unwrap();
        let branch = format!("z9hG4bKphone{}", self.branches);
        let value = |name| unfolded(begun.header(name).unwrap());
        let to = value(HeaderName::To);
        let head = InviteHead {
            uri: String::from_utf8(begun.contacts().next().unwrap().addr.uri.to_vec()).unwrap(),
            via: via("UDP", PHONE.parse().unwrap(), &branch),
            branch,
            from: if to.contains(";tag=") { to } else { format!("{to};tag=main") },
            to: value(HeaderName::From),
            call_id: value(HeaderName::CallId),
            cseq: self.cseq,
        };
        (head, vec![header("Contact", format!("<sip:alice@{PHONE}>"))])
    }

    fn send(&mut self, now: Timestamp, method: Method, more: Vec<Header>, body: &str) {
        let (head, contact) = self.head();
        let written = match method {
            Method::Notify => RequestMethod::Notify,
            Method::Bye => RequestMethod::Bye,
            _ => panic!("{method:?}"),
        };
        let mut headers = vec![
            head.via.clone(),
            header("Max-Forwards", "70"),
            header("From", head.from),
            header("To", head.to),
            header("Call-ID", head.call_id),
            header("CSeq", format!("{} {}", head.cseq, method.name())),
        ];
        headers.extend(contact);
        headers.extend(more);
        let bytes = write::request(written, &head.uri, headers, body.as_bytes()).unwrap();
        let branch = head.branch.as_bytes();
        self.clients.push(Client::Plain(
            method,
            ClientTransaction::new(now, branch, method, bytes, Reliability::Unreliable),
        ));
    }

    fn handle_response(&mut self, now: Timestamp, message: &SipMessage<'_>) {
        let status = message.status().unwrap();
        let (mut answered, mut ack) = (None, None);
        for client in &mut self.clients {
            match client {
                Client::Plain(method, transaction) => {
                    if transaction.matches(message.top_branch(), message.cseq().method) {
                        transaction.handle(now, status);
                        if transaction.poll_event().is_some() {
                            answered = Some((*method, status));
                        }
                    }
                }
                Client::Invite(transaction) if transaction.matches(message) => {
                    let first = transaction.is_pending();
                    transaction.handle(now, status, message);
                    if let Some(InviteEvent::Accepted(_)) = transaction.poll_event() {
                        ack = Some(transaction.head().clone());
                    }
                    if first {
                        answered = Some((Method::Invite, status));
                    }
                }
                Client::Invite(_) => {}
            }
        }
        if let Some(head) = ack {
            // The ACK to a 2xx has a branch of its own.
            self.branches += 1;
            let branch = format!("z9hG4bKphone{}", self.branches);
            let headers = vec![
                via("UDP", PHONE.parse().unwrap(), &branch),
                header("Max-Forwards", "70"),
                header("From", head.from),
                header("To", unfolded(message.header(HeaderName::To).unwrap())),
                header("Call-ID", head.call_id),
                header("CSeq", format!("{} ACK", head.cseq)),
            ];
            self.out.push(write::request(RequestMethod::Ack, &head.uri, headers, b"").unwrap());
        }
        let Some((method, status)) = answered else {
            return;
        };
        self.answers.push((method, status));
        match method {
            Method::Notify => self.acts.push((now.after(Duration::from_millis(400)), Act::Notify)),
            Method::Invite => {
                self.held = message.sdp().and_then(Sdp::parse).map(|sdp| sdp.media[0].direction);
                self.acts.push((now, Act::Notify));
            }
            _ => {}
        }
    }

    fn act(&mut self, now: Timestamp, act: Act) {
        match act {
            Act::Ring(invite) => {
                let mut scanner = Scanner::new(&Limits::default());
                let request = scanner.scan(&invite).unwrap();
                self.respond(&request, 180, "main", Vec::new(), "");
            }
            Act::PickUp(invite) => {
                self.ringing = None;
                for tag in ["main", "other"].iter().take(if self.script.forks { 2 } else { 1 }) {
                    self.final_to_invite(now, &invite, 200, tag);
                    self.up.insert((*tag).to_owned());
                }
                if self.script.hangs_up == HangsUp::BeforeRefer {
                    self.acts.push((now.after(Duration::from_millis(200)), Act::HangUp));
                }
            }
            Act::Refuse(invite, status) => {
                self.ringing = None;
                self.final_to_invite(now, &invite, status, "main");
            }
            Act::HangUp => {
                self.up.remove("main");
                self.send(now, Method::Bye, Vec::new(), "");
            }
            Act::Hold => {
                let (head, mut more) = self.head();
                more.push(header("Content-Type", "application/sdp"));
                let sdp = "v=0\r\no=alice 1 2 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
                           m=audio 6000 RTP/AVP 8 0\r\na=sendonly\r\n";
                let bytes = head.invite(more, sdp.as_bytes()).unwrap();
                let transaction = InviteTransaction::new(now, head, bytes, Reliability::Unreliable);
                self.clients.push(Client::Invite(transaction));
            }
            Act::Notify => {
                if self.notifies_left.is_empty() {
                    return;
                }
                let status = self.notifies_left.remove(0);
                let state = match self.notifies_left.is_empty() {
                    true => "terminated;reason=noresource",
                    false => "active;expires=60",
                };
                let more = vec![
                    header("Event", "refer"),
                    header("Subscription-State", state),
                    header("Content-Type", "message/sipfrag;version=2.0"),
                ];
                self.send(now, Method::Notify, more, &format!("SIP/2.0 {status} So\r\n"));
            }
        }
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(place) = self.acts.iter().position(|(at, _)| *at <= now) {
            let (_, act) = self.acts.remove(place);
            self.act(now, act);
        }
        for sent in &mut self.finals {
            if sent.again_at <= now && sent.until > now {
                self.out.push(sent.bytes.clone());
                sent.interval = (sent.interval * 2).min(Duration::from_secs(4));
                sent.again_at = now.after(sent.interval);
            }
        }
        let before = self.finals.len();
        self.finals.retain(|sent| sent.until > now);
        self.unacknowledged += (before - self.finals.len()) as u32;
        for client in &mut self.clients {
            match client {
                Client::Plain(method, transaction) => {
                    transaction.handle_timeout(now);
                    if let Some(TransactionEvent::TimedOut) = transaction.poll_event() {
                        self.answers.push((*method, 0));
                    }
                }
                Client::Invite(transaction) => {
                    transaction.handle_timeout(now);
                    if let Some(InviteEvent::TimedOut) = transaction.poll_event() {
                        self.answers.push((Method::Invite, 0));
                    }
                }
            }
        }
    }

    fn poll_transmits(&mut self) -> Vec<Vec<u8>> {
        for client in &mut self.clients {
            let bytes = match client {
                Client::Plain(_, transaction) => transaction.poll_transmit().map(<[u8]>::to_vec),
                Client::Invite(transaction) => transaction.poll_transmit().map(<[u8]>::to_vec),
            };
            self.out.extend(bytes);
        }
        std::mem::take(&mut self.out)
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        let clients = self.clients.iter().filter_map(|client| match client {
            Client::Plain(_, transaction) => transaction.poll_timeout(),
            Client::Invite(transaction) => transaction.poll_timeout(),
        });
        let finals = self.finals.iter().map(|sent| sent.again_at.min(sent.until));
        clients.chain(finals).chain(self.acts.iter().map(|(at, _)| *at)).min()
    }
}

fn challenge(name: &str) -> Header {
    header(name, format!("Digest realm=\"{name}\", nonce=\"n\", qop=\"auth\""))
}

/// How bad the network is, in percent of all messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Milliseconds at most; one at least.
    pub(super) late_ms: u64,
}

impl Weather {
    pub(super) const FAIR: Self = Self { lost: 0, doubled: 0, late_ms: 1 };
    pub(super) const FOUL: Self = Self { lost: 15, doubled: 15, late_ms: 80 };
}

enum End {
    Asker,
    Phone,
}

/// Call-ID and the phone's tag.
type DialogName = (Vec<u8>, Option<Vec<u8>>);

pub(super) struct World {
    pub(super) asker: Asker,
    pub(super) now: Timestamp,
    pub(super) phone: Phone,
    pub(super) events: Vec<AskEvent>,
    pub(super) media: Vec<MediaCommand>,
    /// All that the asker sent, copies too.
    pub(super) sent: Vec<String>,
    /// CSeq and branch of all requests of each dialog.
    numbers: BTreeMap<DialogName, Vec<(u32, Vec<u8>)>>,
    weather: Weather,
    random: Random,
    wire: BTreeMap<(Timestamp, u64), (End, Vec<u8>)>,
    number: u64,
}

impl World {
    pub(super) fn new(seed: u64, script: Script, weather: Weather) -> Self {
        let options = AskerOptions {
            user: Some("offhook".to_owned()),
            password: Some("secret".to_owned()),
            ring_s: 20,
            seed,
            ..AskerOptions::default()
        };
        Self {
            asker: Asker::new(options, &Limits::default()),
            now: START,
            phone: Phone::of(script),
            events: Vec::new(),
            media: Vec::new(),
            sent: Vec::new(),
            numbers: BTreeMap::new(),
            weather,
            random: Random::new(seed ^ 0x5eed),
            wire: BTreeMap::new(),
            number: 0,
        }
    }

    fn carry(&mut self, to: fn() -> End, bytes: &[u8]) {
        let mut chance = |percent| self.random.next() % 100 < percent;
        let copies = match (chance(self.weather.lost), chance(self.weather.doubled)) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        for _ in 0..copies {
            let late = Duration::from_millis(1 + self.random.next() % self.weather.late_ms.max(1));
            self.number += 1;
            self.wire.insert((self.now.after(late), self.number), (to(), bytes.to_vec()));
        }
    }

    /// A new request in a dialog has a higher number than all before it (RFC 3261 section 12.2.1.1); one that is sent
    /// again has its own.
    fn check_number(&mut self, bytes: &[u8]) {
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(bytes).unwrap();
        if matches!(message.method(), None | Some(Method::Ack | Method::Cancel)) {
            return;
        }
        let dialog = (message.call_id().to_vec(), message.to_tag().map(<[u8]>::to_vec));
        let this = (message.cseq().number, message.top_branch().to_vec());
        let known = self.numbers.entry(dialog).or_default();
        if !known.contains(&this) {
            let grows = known.last().is_none_or(|last| last.0 < this.0);
            assert!(grows, "{}", String::from_utf8_lossy(bytes));
            known.push(this);
        }
    }

    pub(super) fn drain(&mut self) {
        while let Some(transmit) = self.asker.poll_transmit() {
            check(&transmit.bytes);
            assert_eq!(transmit.hop, hop());
            self.check_number(&transmit.bytes);
            self.sent.push(String::from_utf8(transmit.bytes.clone()).unwrap());
            self.carry(|| End::Phone, &transmit.bytes);
        }
        for bytes in self.phone.poll_transmits() {
            self.carry(|| End::Asker, &bytes);
        }
        self.events.extend(std::iter::from_fn(|| self.asker.poll_event()).map(|(_, event)| event));
        self.media.extend(std::iter::from_fn(|| self.asker.poll_media()));
    }

    /// Lets happen what happens until then; `false` if nothing more would.
    pub(super) fn pass(&mut self, until: Timestamp) -> bool {
        loop {
            self.drain();
            let wire = self.wire.keys().next().map(|(at, _)| *at);
            let due = [wire, self.asker.poll_timeout(), self.phone.poll_timeout()];
            let Some(next) = due.into_iter().flatten().min() else {
                return false;
            };
            if next > until {
                self.now = until;
                return true;
            }
            assert!(self.sent.len() < 2_000, "a storm");
            self.now = self.now.max(next);
            if let Some(first) = self.wire.first_entry().filter(|first| first.key().0 <= self.now) {
                match first.remove() {
                    (End::Asker, bytes) => self.asker.handle_message(self.now, hop(), &bytes),
                    (End::Phone, bytes) => self.phone.handle(self.now, &bytes),
                }
            } else {
                self.asker.handle_timeout(self.now);
                self.phone.handle_timeout(self.now);
            }
        }
    }

    pub(super) fn ask(&mut self, manner: Manner) {
        self.asker.handle_order(self.now, order(1, manner), reach());
    }

    /// Lets happen all that happens, and looks at what holds always.
    pub(super) fn finish(&mut self, name: &str) {
        assert!(!self.pass(START.after_s(3_600)), "{name}: it goes on for ever");
        assert!(self.asker.is_idle() && self.asker.askings.is_empty(), "{name}");
        assert!(self.asker.call_ids.is_empty() && self.asker.means.flights.is_empty(), "{name}");
        let ends = self.events.iter().filter(|event| matches!(event, AskEvent::Ended(_))).count();
        assert_eq!((ends, self.events.last().is_some()), (1, true), "{name}: {:?}", self.events);
        assert!(matches!(self.events.last(), Some(AskEvent::Ended(_))), "{name}: {:?}", self.events);
        assert!(
            self.phone.answers.iter().all(|(_, status)| *status != 0),
            "{name}: {:?}",
            self.phone.answers
        );
        assert_eq!(self.phone.unacknowledged, 0, "{name}");
        assert!(self.phone.up.is_empty(), "{name}: {:?} is left up", self.phone.up);
        let mut flows = 0;
        for command in &self.media {
            flows += if matches!(command, MediaCommand::Start { .. }) { 1 } else { -1 };
            assert!((0..=1).contains(&flows), "{name}: {:?}", self.media);
        }
        assert_eq!(flows, 0, "{name}: {:?}", self.media);
    }

    /// The end that was told.
    pub(super) fn end(&self) -> AskEnd {
        match self.events.last() {
            Some(AskEvent::Ended(end)) => *end,
            other => panic!("{other:?}"),
        }
    }
}
