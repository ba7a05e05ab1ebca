//! Presence servers that keep to the letter, the network before them, and a publisher that is watched: all in virtual
//! time. Whatever a test does, this holds: a publication has one request in flight; no server has more than
//! `outstanding`; no second has more than `per_s`; an entity-tag that was replaced is never sent again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::{FrameId, Transport};
use crate::presence::{BindingView, ChangeKind, DialogView, PresentityState, Session, Terminal};
use crate::publish::options::{Facets, PublishMethod};
use crate::sip::transaction::TIMER_F;
use crate::sip::write::{Header, header, response_to};
use crate::sip::{HeaderName, Method};
use crate::track::{DialogState, Evidence, Rule};

pub(super) const START: Timestamp = Timestamp::from_secs(1_000);

/// What a server does with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Answers,
    /// Nothing arrives and nothing comes back.
    Silent,
    /// A closed port: the sender is told.
    Refuses,
    /// 503, with this Retry-After.
    Overloaded(Option<u32>),
}

/// One stored publication (RFC 3903 section 6).
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) aor: String,
    pub(super) event: String,
    pub(super) body: String,
    pub(super) expires_at: Timestamp,
}

pub(super) struct SimServer {
    pub(super) hop: Hop,
    pub(super) mood: Mood,
    /// Index of its store: servers of a cluster share one.
    pub(super) store: usize,
    pub(super) takes_tcp: bool,
    /// First transmissions of requests that were sent to it.
    pub(super) asked: u64,
}

enum Arrival {
    AtServer(usize, Hop, Vec<u8>),
    AtPublisher(Hop, Vec<u8>),
    Error(Hop),
}

/// The request of a publication that was sent last.
struct LastRequest {
    branch: Vec<u8>,
    hop: Hop,
    sent_at: Timestamp,
    over: bool,
    if_match: Option<String>,
}

/// What a server answers to the next request of an operation instead of what it should; the request is lost on it.
pub(super) struct Instead {
    pub(super) operation: Operation,
    pub(super) status: u16,
    pub(super) more: Vec<Header>,
}

pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) random: Random,
    pub(super) publisher: Publisher,
    pub(super) servers: Vec<SimServer>,
    pub(super) stores: Vec<BTreeMap<String, Stored>>,
    /// Messages are lost, doubled and late, and servers refuse at random.
    pub(super) bad: bool,
    pub(super) instead: Option<Instead>,
    pub(super) outcomes: Vec<PublicationOutcome>,
    pub(super) resolutions: u64,
    pub(super) sent: u64,
    pub(super) most_in_flight: usize,
    method: PublishMethod,
    outstanding: usize,
    per_s: usize,
    tags: u64,
    queue: BTreeMap<(Timestamp, u64), Arrival>,
    queued: u64,
    last: BTreeMap<Vec<u8>, LastRequest>,
    replaced: BTreeSet<String>,
    recent: VecDeque<Timestamp>,
    /// What awaits its answer, by whom it was sent to.
    waiting: BTreeMap<SocketAddr, BTreeSet<(Timestamp, Vec<u8>)>>,
    scanner: Scanner,
    name: String,
}

pub(super) fn hop(transport: Transport, number: u8) -> Hop {
    let address = |last| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 5060);
    Hop { transport, local: address(5), remote: address(20 + number) }
}

impl World {
    /// One server for each store named.
    pub(super) fn new(name: String, options: PublishOptions, transport: Transport, stores: &[usize]) -> Self {
        let servers: Vec<SimServer> = (0..)
            .zip(stores)
            .map(|(number, &store)| SimServer {
                hop: hop(transport, number),
                mood: Mood::Answers,
                store,
                takes_tcp: true,
                asked: 0,
            })
            .collect();
        Self {
            now: START,
            random: Random::new(options.seed ^ 0xabcd),
            method: options.method,
            outstanding: options.outstanding,
            per_s: options.per_s as usize,
            publisher: Publisher::new(options, &Limits::default()),
            stores: vec![BTreeMap::new(); stores.iter().max().unwrap() + 1],
            servers,
            bad: false,
            instead: None,
            outcomes: Vec::new(),
            resolutions: 0,
            sent: 0,
            most_in_flight: 0,
            tags: 0,
            queue: BTreeMap::new(),
            queued: 0,
            last: BTreeMap::new(),
            replaced: BTreeSet::new(),
            recent: VecDeque::new(),
            waiting: BTreeMap::new(),
            scanner: Scanner::new(&Limits::default()),
            name,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.bad && self.random.next() % 100 < percent
    }

    pub(super) fn change(&mut self, change: &PresentityChange) {
        self.publisher.handle_change(self.now, change);
        self.drain();
    }

    /// Lets time pass.
    pub(super) fn run_until(&mut self, until: Timestamp) {
        self.drain();
        while let Some(at) = self.next_moment().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            match self.queue.first_key_value().map(|(&key, _)| key).filter(|key| key.0 <= self.now) {
                Some(key) => {
                    let arrival = self.queue.remove(&key).unwrap();
                    self.arrive(arrival);
                }
                None => self.publisher.handle_timeout(self.now),
            }
            self.drain();
        }
        self.now = until;
        self.publisher.handle_timeout(until);
        self.drain();
    }

    /// Lets time pass until the publisher has nothing to do, at most until then; says whether it has.
    pub(super) fn settle_until(&mut self, until: Timestamp) -> bool {
        while !self.publisher.is_settled() {
            match self.next_moment().filter(|&at| at <= until) {
                Some(at) => self.run_until(at.max(self.now)),
                None => return false,
            }
        }
        true
    }

    fn next_moment(&self) -> Option<Timestamp> {
        let queued = self.queue.first_key_value().map(|(key, _)| key.0);
        queued.into_iter().chain(self.publisher.poll_timeout()).min()
    }

    fn later(&mut self, delay: Duration, arrival: Arrival) {
        self.queued += 1;
        self.queue.insert((self.now.after(delay), self.queued), arrival);
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(500 + self.random.next() % 20_000)
    }

    fn drain(&mut self) {
        let mut sent_now = 0;
        loop {
            if self.publisher.poll_resolve() {
                self.resolutions += 1;
                let servers: Vec<Server> =
                    self.servers.iter().map(|server| Server { hop: server.hop }).collect();
                self.publisher.handle_servers(self.now, &servers);
            }
            let Some(Transmit { hop, bytes }) = self.publisher.poll_transmit() else {
                break;
            };
            sent_now += 1;
            assert!(sent_now < 20_000, "{}: a storm", self.name);
            self.watch(hop, &bytes);
            self.carry(hop, bytes);
        }
        while let Some(outcome) = self.publisher.poll_outcome() {
            self.outcomes.push(outcome);
        }
    }

    /// Looks at a request that leaves the publisher.
    fn watch(&mut self, hop: Hop, bytes: &[u8]) {
        let message = self.scanner.scan(bytes).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let call_id = message.call_id().to_vec();
        let branch = message.top_branch().to_vec();
        let if_match = message.header(HeaderName::SipIfMatch).map(text);
        assert!(call_id.starts_with(b"offhook-"), "{}", self.name);
        let via = format!("Via: SIP/2.0/{} ", hop.transport.via_name());
        assert!(bytes.windows(via.len()).any(|window| window == via.as_bytes()), "{}", self.name);
        let name = &self.name;
        match self.method {
            PublishMethod::Publish => assert_eq!(message.method(), Some(Method::Publish)),
            PublishMethod::Register => {
                assert_eq!(message.method(), Some(Method::Register));
                assert_eq!(message.request_uri(), Some(&b"sip:example.com"[..]));
                assert!(message.header(HeaderName::Contact).is_none(), "{name}");
                assert!(if_match.is_none(), "{name}");
                assert_eq!(message.body().is_empty(), message.expires() == Some(0), "{name}");
            }
        }
        if let Some(last) = self.last.get(&call_id) {
            if last.branch == branch {
                assert!(!hop.transport.is_reliable(), "{name}: retransmitted over TCP");
                assert!(!last.over, "{name}: retransmitted after the answer");
                return;
            }
            let timed_out = self.now.since(last.sent_at) >= TIMER_F;
            assert!(last.over || timed_out, "{name}: two in flight of one publication");
        }
        if let Some(tag) = &if_match {
            assert!(!self.replaced.contains(tag), "{name}: {tag} was replaced and is used again");
        }
        let waiting = self.waiting.entry(hop.remote).or_default();
        while waiting.first().is_some_and(|(sent_at, _)| self.now.since(*sent_at) >= TIMER_F) {
            waiting.pop_first();
        }
        waiting.insert((self.now, branch.clone()));
        assert!(waiting.len() <= self.outstanding, "{name}: {} in flight", waiting.len());
        self.most_in_flight = self.most_in_flight.max(waiting.len());
        let last = LastRequest { branch, hop, sent_at: self.now, over: false, if_match };
        self.last.insert(call_id, last);
        self.sent += 1;
        if let Some(server) = self.servers.iter_mut().find(|server| server.hop.remote == hop.remote) {
            server.asked += 1;
        }
        let second_ago = self.now.since(Timestamp::EPOCH).saturating_sub(Duration::from_secs(1));
        while self.recent.front().is_some_and(|at| at.since(Timestamp::EPOCH) <= second_ago) {
            self.recent.pop_front();
        }
        self.recent.push_back(self.now);
        let most = self.per_s + (self.per_s / 100).max(1);
        assert!(self.recent.len() <= most, "{name}: {} in a second", self.recent.len());
    }

    /// The network, on the way there.
    fn carry(&mut self, hop: Hop, bytes: Vec<u8>) {
        let latency = self.latency();
        let place = self.servers.iter().position(|server| server.hop.remote == hop.remote).unwrap();
        let server = &self.servers[place];
        let no_tcp = hop.transport != server.hop.transport && !server.takes_tcp;
        if server.mood == Mood::Refuses || no_tcp {
            return self.later(latency, Arrival::Error(hop));
        }
        if hop.transport.is_reliable() {
            if self.chance(4) {
                // The connection breaks, before the request arrives or after.
                if self.chance(50) {
                    self.later(latency, Arrival::AtServer(place, hop, bytes));
                }
                return self.later(latency * 2, Arrival::Error(hop));
            }
        } else if self.chance(20) {
            return;
        }
        self.later(latency, Arrival::AtServer(place, hop, bytes));
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Error(hop) => {
                let waiting = self.waiting.entry(hop.remote).or_default();
                for last in self.last.values_mut() {
                    if last.hop.transport == hop.transport && last.hop.remote == hop.remote {
                        last.over = true;
                        waiting.remove(&(last.sent_at, last.branch.clone()));
                    }
                }
                self.publisher.handle_transport_error(self.now, hop);
            }
            Arrival::AtPublisher(hop, bytes) => {
                let message = self.scanner.scan(&bytes).unwrap();
                let in_time = |last: &&mut LastRequest| {
                    last.branch == message.top_branch() && self.now.since(last.sent_at) < TIMER_F
                };
                if let Some(last) = self.last.get_mut(message.call_id()).filter(in_time)
                    && !std::mem::replace(&mut last.over, true)
                {
                    let waiting = self.waiting.entry(hop.remote).or_default();
                    waiting.remove(&(last.sent_at, last.branch.clone()));
                    if let (Some(200), Some(tag)) = (message.status(), last.if_match.take()) {
                        self.replaced.insert(tag);
                    }
                }
                self.publisher.handle_message(self.now, hop, &bytes);
            }
            Arrival::AtServer(place, hop, bytes) => self.serve(place, hop, &bytes),
        }
    }

    fn serve(&mut self, place: usize, hop: Hop, bytes: &[u8]) {
        let (mood, store) = (self.servers[place].mood, self.servers[place].store);
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(bytes).unwrap();
        let operation = operation(&message, &self.stores[store]);
        let instead = self.instead.take_if(|instead| instead.operation == operation);
        if instead.as_ref().is_some_and(|instead| matches!(instead.status, 412 | 500))
            && let Some(tag) = message.header(HeaderName::SipIfMatch)
        {
            // It says so because it does not have it.
            self.stores[store].remove(&String::from_utf8_lossy(tag).into_owned());
        }
        let (status, more) = match (instead, mood) {
            (_, Mood::Silent | Mood::Refuses) => return,
            (_, Mood::Overloaded(None)) => (503, Vec::new()),
            (_, Mood::Overloaded(Some(seconds))) => (503, vec![header("Retry-After", seconds.to_string())]),
            (Some(instead), Mood::Answers) => (instead.status, instead.more),
            (None, Mood::Answers) if self.chance(10) => (503, vec![header("Retry-After", "3")]),
            (None, Mood::Answers) if self.chance(5) => (500, Vec::new()),
            (None, Mood::Answers) => self.store(store, &message),
        };
        let answer = response_to(&message, status, Some("s"), more, b"").unwrap();
        // A retransmitted request is answered anew: harsher than a server with transactions.
        let copies = 1 + u64::from(!hop.transport.is_reliable() && self.chance(10));
        for _ in 0..copies {
            if !hop.transport.is_reliable() && self.chance(20) {
                continue;
            }
            let mut delay = self.latency();
            if self.chance(3) {
                // Perhaps too late.
                delay = Duration::from_secs(20 + self.random.next() % 20);
            }
            self.later(delay, Arrival::AtPublisher(hop, answer.clone()));
        }
    }

    fn store(&mut self, store: usize, message: &SipMessage<'_>) -> (u16, Vec<Header>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let now = self.now;
        let (aor, event) = (text(message.to().uri), text(message.event().unwrap()));
        let expires_s = message.expires().unwrap();
        let mut body = text(message.body());
        let mut tag = None;
        match self.method {
            PublishMethod::Publish => {
                if let Some(old) = message.header(HeaderName::SipIfMatch).map(text) {
                    match self.stores[store].remove(&old) {
                        Some(old) if old.expires_at > now && old.aor == aor && old.event == event => {
                            if body.is_empty() {
                                body = old.body;
                            }
                        }
                        _ => return (412, Vec::new()),
                    }
                } else if body.is_empty() {
                    return (400, Vec::new());
                }
                if expires_s > 0 {
                    self.tags += 1;
                    tag = Some(format!("tag{}", self.tags));
                }
            }
            PublishMethod::Register => {
                let call_id = text(message.call_id());
                self.stores[store].remove(&call_id);
                if expires_s > 0 {
                    self.stores[store].insert(
                        call_id,
                        Stored {
                            aor: aor.clone(),
                            event: event.clone(),
                            body: body.clone(),
                            expires_at: now.after_s(expires_s),
                        },
                    );
                }
            }
        }
        let mut more = vec![header("Expires", expires_s.to_string())];
        if let Some(tag) = tag {
            more.push(header("SIP-ETag", tag.clone()));
            let stored = Stored { aor, event, body, expires_at: now.after_s(expires_s) };
            self.stores[store].insert(tag, stored);
        }
        (200, more)
    }

    /// All that a store says, by AOR and event package.
    pub(super) fn told(&self, store: usize) -> Told<'_> {
        let mut bodies: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for stored in self.stores[store].values().filter(|stored| stored.expires_at > self.now) {
            bodies.entry((stored.aor.as_str(), stored.event.as_str())).or_default().push(&stored.body);
        }
        Told { name: &self.name, bodies }
    }
}

/// What a store says, for comparison with what it should.
pub(super) struct Told<'a> {
    name: &'a str,
    bodies: BTreeMap<(&'a str, &'a str), Vec<&'a str>>,
}

impl<'a> Told<'a> {
    pub(super) fn bodies<'s>(&'s self, aor: &'s str, event: &'s str) -> &'s [&'a str] {
        self.bodies.get(&(aor, event)).map(Vec::as_slice).unwrap_or_default()
    }

    /// [`Self::check`] of one that is known, for presence alone.
    pub(super) fn check_presence(&self, change: &PresentityChange) {
        let session = format!(" session=\"{}\"", change.state.session.name());
        let bodies = self.bodies(change.aor.as_str(), "presence");
        let [body] = *bodies else { panic!("{}: {bodies:?} of {:?}", self.name, change.aor) };
        assert!(body.contains(&session), "{}: {body}", self.name);
    }

    /// The store says of this presentity what the change says, once, and nothing else.
    pub(super) fn check(&self, change: &PresentityChange, facets: Facets) {
        let (state, aor, name) = (&*change.state, change.aor.as_str(), self.name);
        let presence = self.bodies(aor, "presence");
        let known = state.terminal != Terminal::Unknown;
        let session = format!(" session=\"{}\"", state.session.name());
        let registered = format!(" registered=\"{}\"", state.registered.name());
        let live = |body: &&str| body.contains("state=\"early\"") || body.contains("state=\"confirmed\"");
        let engaged = matches!(state.session, Session::Ringing | Session::Talking);
        match facets {
            Facets::Combined if known => {
                let [body] = *presence else { panic!("{name}: {presence:?} of {state:?}") };
                assert!(body.contains(&session) && body.contains(&registered), "{name}: {body}");
                assert_eq!(live(&body), engaged, "{name}: {body}");
            }
            Facets::Separate if known => {
                let is_terminal = |body: &&&str| body.contains(" registered=");
                let (terminals, sessions): (Vec<&str>, Vec<&str>) =
                    presence.iter().copied().partition(|body| is_terminal(&body));
                let [terminal] = terminals[..] else { panic!("{name}: {presence:?} of {state:?}") };
                let [told] = sessions[..] else { panic!("{name}: {presence:?} of {state:?}") };
                assert!(terminal.contains(&registered) && !terminal.contains(" session="), "{name}");
                assert!(told.contains(&session), "{name}: {told}");
                assert_eq!(live(&told), engaged, "{name}: {told}");
            }
            Facets::Combined | Facets::Separate => {
                assert!(presence.is_empty(), "{name}: {presence:?} of {state:?}");
            }
        }
        let dialogs = self.bodies(aor, "dialog");
        if known {
            let [body] = *dialogs else { panic!("{name}: {dialogs:?} of {state:?}") };
            let live = |word: &str| body.contains(&format!("<state>{word}</state>"));
            assert_eq!(live("confirmed"), state.session == Session::Talking, "{name}: {body}");
            assert_eq!(live("early"), state.session == Session::Ringing, "{name}: {body}");
        } else {
            assert!(dialogs.is_empty(), "{name}: {dialogs:?} of {state:?}");
        }
    }
}

/// What a request does, as its server sees it.
fn operation(message: &SipMessage<'_>, store: &BTreeMap<String, Stored>) -> Operation {
    let known = std::str::from_utf8(message.call_id()).ok().and_then(|call_id| store.get(call_id));
    let conditional = message.header(HeaderName::SipIfMatch).is_some() || known.is_some();
    match (message.expires(), conditional, message.body().is_empty()) {
        (Some(0), ..) => Operation::Remove,
        (_, false, _) => Operation::Initial,
        (_, true, true) => Operation::Refresh,
        (_, true, false) => {
            // A REGISTER carries the body each time.
            let said = |text: &str| text.split("oh:status").nth(1).map(str::to_owned);
            let same = known.is_some_and(|known| {
                said(&known.body) == std::str::from_utf8(message.body()).ok().and_then(said)
            });
            if same { Operation::Refresh } else { Operation::Modify }
        }
    }
}

pub(super) fn dialog(number: u64, state: DialogState) -> DialogView {
    DialogView::numbered(number, state)
}

/// A presentity whose session says all: it rings or talks in this dialog.
pub(super) fn change(
    at: Timestamp,
    user: u64,
    terminal: Terminal,
    session: Session,
    call: u64,
) -> PresentityChange {
    let dialogs = match session {
        Session::Ringing => vec![dialog(call, DialogState::Early)],
        Session::Talking => vec![dialog(call, DialogState::Confirmed)],
        Session::Idle | Session::Calling | Session::Held => Vec::new(),
    };
    let binding = |terminal| BindingView {
        contact: format!("sip:user{user}@192.0.2.99").into(),
        user_agent: Some("Phone".into()),
        expires_at: at.after_s(if terminal == Terminal::Online { 300 } else { 0 }),
    };
    let bindings = if terminal == Terminal::Online { vec![binding(terminal)] } else { Vec::new() };
    PresentityChange {
        at,
        aor: Aor::from_uri(format!("sip:user{user}@example.com").as_bytes()).unwrap(),
        kind: ChangeKind::Status,
        previous: (Terminal::Unknown, Session::Idle),
        previous_contact: None,
        because: Evidence { rule: Rule::Invite200, frame: FrameId::default(), call_id: "call".into() },
        state: Arc::new(PresentityState {
            terminal,
            registered: terminal,
            session,
            publishable: true,
            bindings,
            dialogs,
            ..PresentityState::default()
        }),
    }
}
