//! Changes, and answers of any kind, late, foreign, damaged or none at all, with jumps of time, servers that come and go,
//! and a stop anywhere: one request of a publication is in flight, no server has more than it may, no entity-tag that was
//! replaced is sent again, no deadline lies in the past; and once servers keep to the rules, they know what is so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook::base::{FrameId, Hop, Limits, Timestamp, Transmit, Transport};
use offhook::presence::{
    BindingView, ChangeKind, DialogView, PresentityChange, PresentityState, Session, Terminal,
};
use offhook::publish::{
    EventPackage, Facets, OnStop, Operation, PublishMethod, PublishOptions, Publisher, RefreshOn, Server,
};
use offhook::sip::transaction::TIMER_F;
use offhook::sip::write::{header, response_to};
use offhook::sip::{Aor, HeaderName, Method, Scanner};
use offhook::track::{DialogState, EndId, Evidence, Rule, Side};

use super::input::{Input, Reached};

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "initial",
    "refreshed",
    "modified",
    "removed",
    "refused",
    "no answer",
    "412",
    "423",
    "503",
    "challenged",
    "large",
    "several in flight",
    "several servers",
    "sent again",
    "transport error",
    "forgot all",
    "resolved",
    "healed",
    "stopped",
    "not taken",
];

const START: Timestamp = Timestamp::from_secs(1_000);
const MOST_STEPS: usize = 80;
const WAITS_MS: [u64; 10] = [10, 501, 2_000, 8_000, 32_000, 32_001, 60_000, 300_000, 600_000, 3_600_000];
const STATUSES: [u16; 18] =
    [200, 412, 423, 503, 500, 401, 407, 403, 404, 489, 415, 100, 202, 302, 408, 600, 699, 481];

/// What was sent of a publication last.
struct Last {
    branch: Vec<u8>,
    hop: Hop,
    sent_at: Timestamp,
    over: bool,
    if_match: Option<String>,
}

struct Stored {
    aor: String,
    event: String,
    body: String,
    expires_at: Timestamp,
}

struct World {
    publisher: Publisher,
    options: PublishOptions,
    limits: Limits,
    now: Timestamp,
    servers: Vec<Server>,
    /// All first transmissions, to be answered.
    asked: Vec<(Hop, Vec<u8>)>,
    last: BTreeMap<Vec<u8>, Last>,
    /// By Call-ID.
    replaced: BTreeSet<(Vec<u8>, String)>,
    waiting: BTreeMap<SocketAddr, BTreeMap<Vec<u8>, Timestamp>>,
    sent: VecDeque<Timestamp>,
    /// Requests that need not wait their turn: a challenge was answered, or a large one goes over UDP again.
    unpaced: VecDeque<Timestamp>,
    outcome_at: Timestamp,
    store: BTreeMap<String, Stored>,
    tags: u64,
    /// Servers kept to RFC 3903 with what they stored.
    honest: bool,
    /// From now on each request is answered as it should be.
    strict: bool,
    wanted: BTreeMap<Aor, PresentityChange>,
    reached: Reached,
}

fn hop(transport: Transport, last: u8) -> Hop {
    let address = |last| SocketAddr::from(([192, 0, 2, last], 5060));
    Hop { transport, local: address(5), remote: address(20 + last) }
}

impl World {
    fn new(choices: [u8; 3]) -> Self {
        let bit = |byte: usize, bit: u8| choices[byte] >> bit & 1 == 1;
        let options = PublishOptions {
            method: if bit(0, 0) { PublishMethod::Register } else { PublishMethod::Publish },
            facets: if bit(0, 1) { Facets::Separate } else { Facets::Combined },
            refresh: if bit(0, 2) { RefreshOn::Registration } else { RefreshOn::OwnTimer },
            on_stop: if bit(0, 3) { OnStop::Keep } else { OnStop::Remove },
            user: bit(0, 4).then(|| "publisher".to_owned()),
            password: bit(0, 4).then(|| "secret".to_owned()),
            events: match choices[0] >> 5 & 3 {
                1 => vec![EventPackage::Presence],
                2 => vec![EventPackage::Dialog],
                _ => EventPackage::ALL.to_vec(),
            },
            placeholder: !bit(0, 7),
            outstanding: [64, 1, 2, 3][usize::from(choices[1] & 3)],
            per_s: [1_000, 1, 5, 20][usize::from(choices[1] >> 2 & 3)],
            expires_s: [600, 300, 3_600, 900][usize::from(choices[1] >> 4 & 3)],
            seed: 7,
            ..PublishOptions::default()
        };
        let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
        let transport = transports[usize::from(choices[2]) % 3];
        let servers = (0..4).map(|number| Server { hop: hop(transport, number) }).collect();
        let limits = Limits { presentities: if bit(1, 6) { 2 } else { 100 }, ..Limits::default() };
        let mut world = Self {
            publisher: Publisher::new(options.clone(), &limits),
            options,
            limits,
            now: START,
            servers,
            asked: Vec::new(),
            last: BTreeMap::new(),
            replaced: BTreeSet::new(),
            waiting: BTreeMap::new(),
            sent: VecDeque::new(),
            unpaced: VecDeque::new(),
            outcome_at: Timestamp::EPOCH,
            store: BTreeMap::new(),
            tags: 0,
            honest: true,
            strict: false,
            wanted: BTreeMap::new(),
            reached: Reached::default(),
        };
        world.publisher.handle_timeout(START);
        world.drain();
        world
    }

    /// Takes what the publisher has to say; a request may be answered at once.
    fn drain(&mut self) {
        let mut sent_now = 0;
        loop {
            let first = self.asked.len();
            if self.publisher.poll_resolve() {
                self.reached.note("resolved");
                let servers = self.servers.clone();
                self.publisher.handle_servers(self.now, &servers[..1 + usize::from(self.strict)]);
            }
            while let Some(Transmit { hop, bytes }) = self.publisher.poll_transmit() {
                sent_now += 1;
                assert!(sent_now < 2_000, "a storm");
                self.watch(hop, &bytes);
            }
            while let Some(outcome) = self.publisher.poll_outcome() {
                assert!(outcome.at >= self.outcome_at && outcome.at <= self.now, "an outcome out of time");
                self.outcome_at = outcome.at;
                assert_eq!(outcome.acknowledged, outcome.expires_s.is_some());
                let name = match (outcome.operation, outcome.acknowledged) {
                    (Operation::Initial, true) => "initial",
                    (Operation::Refresh, true) => "refreshed",
                    (Operation::Modify, true) => "modified",
                    (Operation::Remove, true) => "removed",
                    (_, false) => match outcome.status {
                        None => "no answer",
                        Some(412) => "412",
                        Some(503) => "503",
                        Some(_) => "refused",
                    },
                };
                self.reached.note(name);
            }
            if !self.strict || first == self.asked.len() {
                break;
            }
            for at in first..self.asked.len() {
                self.answer_strictly(at);
            }
        }
        assert!(self.publisher.poll_timeout().is_none_or(|at| at > self.now), "a deadline in the past");
    }

    /// Looks at a request that leaves.
    fn watch(&mut self, hop: Hop, bytes: &[u8]) {
        let mut scanner = Scanner::new(&Limits::default());
        let Ok(message) = scanner.scan(bytes) else { panic!("{}", String::from_utf8_lossy(bytes)) };
        let (call_id, branch) = (message.call_id().to_vec(), message.top_branch().to_vec());
        let if_match = message.header(HeaderName::SipIfMatch).map(text);
        match self.options.method {
            PublishMethod::Publish => assert_eq!(message.method(), Some(Method::Publish)),
            PublishMethod::Register => {
                assert_eq!(message.method(), Some(Method::Register));
                assert!(message.header(HeaderName::Contact).is_none() && if_match.is_none());
            }
        }
        if let Some(last) = self.last.get(&call_id) {
            if last.branch == branch {
                assert!(!hop.transport.is_reliable(), "sent again over a transport that loses nothing");
                assert!(!last.over, "sent again after its answer");
                self.reached.note("sent again");
                return;
            }
            let timed_out = self.now.since(last.sent_at) >= TIMER_F;
            assert!(last.over || timed_out, "two in flight of one publication");
        }
        if let Some(tag) = &if_match {
            let its = (call_id.clone(), tag.clone());
            assert!(!self.replaced.contains(&its), "{tag} was replaced and is sent again");
        }
        let now = self.now;
        let waiting = self.waiting.entry(hop.remote).or_default();
        waiting.retain(|_, sent_at| now.since(*sent_at) < TIMER_F);
        waiting.insert(branch.clone(), now);
        assert!(waiting.len() <= self.options.outstanding, "{} in flight to one server", waiting.len());
        self.reached.note_if(waiting.len() > 1, "several in flight");
        for recent in [&mut self.sent, &mut self.unpaced] {
            while recent.front().is_some_and(|at| now.since(*at) >= Duration::from_secs(1)) {
                recent.pop_front();
            }
        }
        self.sent.push_back(now);
        let per_s = self.options.per_s as usize;
        let most = per_s + (per_s / 100).max(1) + self.unpaced.len();
        assert!(self.sent.len() <= most, "{} in a second", self.sent.len());
        let last = Last { branch, hop, sent_at: now, over: false, if_match };
        self.last.insert(call_id, last);
        self.asked.push((hop, bytes.to_vec()));
    }

    /// A message reaches the publisher.
    fn deliver(&mut self, hop: Hop, bytes: &[u8]) {
        let mut scanner = Scanner::new(&Limits::default());
        if let Ok(message) = scanner.scan(bytes)
            && let Some(status) = message.status().filter(|&status| status >= 200)
            && let Some(last) = self.last.values_mut().find(|last| last.branch == message.top_branch())
            && self.now.since(last.sent_at) < TIMER_F
            && message.cseq().method == self.options.method.into_method()
            && !std::mem::replace(&mut last.over, true)
        {
            if let Some(waiting) = self.waiting.get_mut(&last.hop.remote) {
                waiting.remove(&last.branch);
            }
            let given = message.header(HeaderName::SipEtag).map(text);
            if let (200..=299, Some(tag)) = (status, last.if_match.take())
                && given.as_ref() != Some(&tag)
            {
                self.replaced.insert((message.call_id().to_vec(), tag));
            }
            if let (200..=299, Some(given)) = (status, given) {
                self.replaced.remove(&(message.call_id().to_vec(), given));
            }
            if matches!(status, 401 | 407) {
                self.unpaced.push_back(self.now);
            }
        }
        self.publisher.handle_message(self.now, hop, bytes);
        self.drain();
    }

    /// The server's side of a request, as RFC 3903 section 6 has it: the status and the entity-tag.
    fn store(&mut self, at: usize) -> (u16, Option<String>, u32) {
        let (_, bytes) = self.asked[at].clone();
        let mut scanner = Scanner::new(&Limits::default());
        let Ok(message) = scanner.scan(&bytes) else { return (400, None, 0) };
        let (aor, event) = (text(message.to().uri), text(message.event().unwrap_or_default()));
        let expires_s = message.expires().unwrap_or(0);
        let mut body = text(message.body());
        let name = match self.options.method {
            PublishMethod::Register => {
                let call_id = text(message.call_id());
                self.store.remove(&call_id);
                call_id
            }
            PublishMethod::Publish => {
                if let Some(tag) = message.header(HeaderName::SipIfMatch).map(text) {
                    match self.store.remove(&tag) {
                        Some(old) if old.expires_at > self.now && old.aor == aor && old.event == event => {
                            if body.is_empty() {
                                body = old.body;
                            }
                        }
                        _ => return (412, None, 0),
                    }
                }
                self.tags += 1;
                format!("tag{}", self.tags)
            }
        };
        if expires_s > 0 {
            let expires_at = self.now.after_s(expires_s);
            self.store.insert(name.clone(), Stored { aor, event, body, expires_at });
        }
        let tag = (self.options.method == PublishMethod::Publish && expires_s > 0).then_some(name);
        (200, tag, expires_s)
    }

    fn respond(&mut self, at: usize, status: u16, more: Vec<(&str, String)>) {
        let (hop, bytes) = self.asked[at].clone();
        let answer = answer(&bytes, status, more);
        self.deliver(hop, &answer);
    }

    fn answer_strictly(&mut self, at: usize) {
        let (status, tag, expires_s) = self.store(at);
        let mut more = vec![("Expires", expires_s.to_string())];
        more.extend(tag.map(|tag| ("SIP-ETag", tag)));
        self.respond(at, status, more);
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, until: Timestamp) {
        let mut steps = 0;
        while let Some(at) = self.publisher.poll_timeout().filter(|&at| at <= until) {
            steps += 1;
            assert!(steps < 20_000, "timers without end");
            self.now = self.now.max(at);
            self.publisher.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        self.publisher.handle_timeout(until);
        self.drain();
    }

    fn change(&mut self, user: u8, what: u8, call: u8) {
        let (terminal, session) = [
            (Terminal::Online, Session::Idle),
            (Terminal::Online, Session::Talking),
            (Terminal::Online, Session::Ringing),
            (Terminal::Offline, Session::Idle),
            (Terminal::Unknown, Session::Idle),
            (Terminal::OfflineWaiting, Session::Talking),
        ][usize::from(what & 7) % 6];
        let large = what & 8 != 0;
        let publishable = what & 16 == 0;
        let change = change(self.now, user % 4, (terminal, session), u64::from(call % 4), large, publishable);
        self.reached.note_if(large, "large");
        self.wanted.insert(change.aor.clone(), change.clone());
        self.publisher.handle_change(self.now, &change);
        self.drain();
    }

    /// The servers keep to the rules from now on: what is so is told soon, and nothing else.
    fn heal(&mut self, stopped: bool) {
        self.strict = true;
        // What is refused for good is asked again each hour, and a Retry-After is believed.
        let until = self.now.after_s(3_600 + 700);
        self.pass(until);
        // Phones refresh their registrations.
        for mut change in self.wanted.clone().into_values().filter(|_| !stopped) {
            change.at = self.now;
            let state = Arc::make_mut(&mut change.state);
            for binding in &mut state.bindings {
                binding.expires_at = self.now.after_s(300);
            }
            self.publisher.handle_change(self.now, &change);
            self.drain();
        }
        let until = self.now.after_s(120);
        self.pass(until);
        assert!(self.publisher.is_settled(), "not settled");
        assert!(
            self.waiting
                .values()
                .all(|waiting| { waiting.values().all(|sent_at| self.now.since(*sent_at) >= TIMER_F) })
        );
        if self.honest && !stopped && self.publisher.packages_off().is_empty() {
            self.reached.note("healed");
            if self.publisher.not_taken() == 0 {
                self.told();
            }
        }
        self.publisher.stop(self.now);
        self.drain();
        let until = self.now.after_s(120);
        self.pass(until);
        assert!(self.publisher.is_settled(), "not settled after the stop");
        self.reached.note("stopped");
        if self.options.on_stop == OnStop::Remove && self.honest && !stopped {
            let left = self.store.values().filter(|stored| stored.expires_at > self.now).count();
            assert_eq!(left, 0, "something is left after the stop");
        }
    }

    /// The server says of each presentity what was told last.
    fn told(&mut self) {
        for (aor, change) in &self.wanted {
            let known = change.state.publishable && change.state.terminal != Terminal::Unknown;
            for event in &self.options.events {
                let bodies: Vec<&str> = self
                    .store
                    .values()
                    .filter(|stored| stored.expires_at > self.now)
                    .filter(|stored| stored.aor == aor.as_str() && stored.event == event.name())
                    .map(|stored| &*stored.body)
                    .collect();
                let parts = match (event, self.options.facets) {
                    (EventPackage::Presence, Facets::Separate) => 2,
                    _ => 1,
                };
                assert_eq!(bodies.len(), if known { parts } else { 0 }, "{aor} {event:?}: {bodies:?}");
                if known && *event == EventPackage::Presence {
                    let session = format!(" session=\"{}\"", change.state.session.name());
                    assert!(bodies.iter().any(|body| body.contains(&session)), "{aor}: {bodies:?}");
                }
            }
        }
    }
}

trait IntoMethod {
    fn into_method(self) -> Method;
}

impl IntoMethod for PublishMethod {
    fn into_method(self) -> Method {
        match self {
            Self::Publish => Method::Publish,
            Self::Register => Method::Register,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn answer(request: &[u8], status: u16, more: Vec<(&str, String)>) -> Vec<u8> {
    let mut scanner = Scanner::new(&Limits::default());
    let Ok(request) = scanner.scan(request) else { panic!("it was read before") };
    let more = more.into_iter().map(|(name, value)| header(name, value)).collect();
    match response_to(&request, status, Some("s"), more, b"") {
        Ok(bytes) => bytes,
        Err(why) => panic!("{why}"),
    }
}

fn change(
    at: Timestamp,
    user: u8,
    (terminal, session): (Terminal, Session),
    call: u64,
    large: bool,
    publishable: bool,
) -> PresentityChange {
    let state = match session {
        Session::Ringing => Some(DialogState::Early),
        Session::Talking | Session::Held => Some(DialogState::Confirmed),
        Session::Idle | Session::Calling => None,
    };
    let dialogs = state.map(|state| DialogView {
        end: EndId(call),
        call_id: format!("call-{call}").into(),
        local_tag: Some("a".into()),
        remote_tag: Some("b".into()),
        revoked_ends: 0,
        side: Side::Called,
        state,
        held: false,
        remote: None,
    });
    let user_agent: Arc<str> =
        if large { "A Phone With Much To Say ".repeat(60).into() } else { "Phone".into() };
    let bindings = (terminal == Terminal::Online).then(|| BindingView {
        contact: format!("sip:user{user}@192.0.2.99").into(),
        user_agent: Some(user_agent.clone()),
        expires_at: at.after_s(300),
    });
    let Some(aor) = Aor::from_uri(format!("sip:user{user}@example.com").as_bytes()) else { panic!("an AOR") };
    PresentityChange {
        at,
        aor,
        kind: ChangeKind::Status,
        previous: (Terminal::Unknown, Session::Idle),
        previous_contact: None,
        because: Evidence { rule: Rule::Invite200, frame: FrameId::default(), call_id: "call".into() },
        state: Arc::new(PresentityState {
            terminal,
            registered: if terminal == Terminal::OfflineWaiting { Terminal::Offline } else { terminal },
            session,
            publishable,
            user_agent: Some(user_agent),
            bindings: bindings.into_iter().collect(),
            dialogs: dialogs.into_iter().collect(),
            ..PresentityState::default()
        }),
    }
}

/// Three bytes of choices, then steps.
pub fn target(data: &[u8]) -> Reached {
    let mut input = Input::new(data);
    let mut world = World::new([input.byte(), input.byte(), input.byte()]);
    let mut stopped = false;
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0 => {
                let (user, what, call) = (input.byte(), input.byte(), input.byte());
                world.change(user, what, call);
            }
            // Answered as it should be.
            1 => {
                if let Some(at) = input.recent(world.asked.len()) {
                    world.answer_strictly(at);
                }
            }
            // Answered anyhow.
            2 => {
                if let Some(at) = input.recent(world.asked.len()) {
                    let (status, how) = (input.pick(&STATUSES), input.byte());
                    anyhow(&mut world, at, status, how);
                }
            }
            3 => {
                let until = Timestamp::from_nanos(world.now.as_nanos() + input.pick(&WAITS_MS) * 1_000_000);
                world.pass(until);
            }
            4 => {
                if let Some(at) = input.recent(world.asked.len()) {
                    let hop = world.asked[at].0;
                    for last in world.last.values_mut() {
                        if last.hop.transport == hop.transport && last.hop.remote == hop.remote && !last.over
                        {
                            last.over = true;
                            world.unpaced.push_back(world.now);
                            if let Some(waiting) = world.waiting.get_mut(&hop.remote) {
                                waiting.remove(&last.branch);
                            }
                        }
                    }
                    world.publisher.handle_transport_error(world.now, hop);
                    world.reached.note("transport error");
                    world.drain();
                }
            }
            5 => {
                let which = input.byte();
                let chosen: Vec<Server> =
                    (0..4).filter(|at| which >> at & 1 == 1).map(|at| world.servers[at]).collect();
                let chosen: Vec<Server> =
                    if which & 16 == 0 { chosen } else { chosen.into_iter().rev().collect() };
                world.reached.note_if(chosen.len() > 1, "several servers");
                world.publisher.handle_servers(world.now, &chosen);
                world.drain();
            }
            // A damaged answer.
            6 => {
                if let Some(at) = input.recent(world.asked.len()) {
                    let (hop, bytes) = world.asked[at].clone();
                    let mut bytes = answer(&bytes, input.pick(&STATUSES), Vec::new());
                    let place = usize::from(input.two()) % bytes.len();
                    bytes[place] = input.byte();
                    world.deliver(hop, &bytes);
                }
            }
            _ => match input.byte() {
                0..64 => {
                    // A restart without a disk.
                    world.store.clear();
                    world.reached.note("forgot all");
                }
                64..72 => {
                    stopped = true;
                    world.publisher.stop(world.now);
                    world.drain();
                }
                _ => {}
            },
        }
    }
    world.heal(stopped);
    assert!(world.publisher.not_taken() == 0 || world.limits.presentities == 2);
    world.reached.note_if(world.publisher.not_taken() > 0, "not taken");
    world.reached
}

fn anyhow(world: &mut World, at: usize, status: u16, how: u8) {
    let mut more = Vec::new();
    let mut stored = None;
    if (200..300).contains(&status) {
        let (status, tag, expires_s) = world.store(at);
        if status == 200 {
            stored = Some((tag, expires_s));
        } else {
            // It takes what it does not have.
            world.honest = false;
        }
    }
    let asked_s = stored.as_ref().map_or(600, |(_, expires_s)| *expires_s);
    match how & 7 {
        0 => {
            more.extend(stored.and_then(|(tag, _)| tag).map(|tag| ("SIP-ETag", tag)));
            more.push(("Expires", asked_s.to_string()));
        }
        1 => world.honest = false,
        2 => {
            // The entity-tag that it was sent.
            let (_, bytes) = &world.asked[at];
            let mut scanner = Scanner::new(&Limits::default());
            let Ok(message) = scanner.scan(bytes) else { return };
            more.extend(message.header(HeaderName::SipIfMatch).map(|tag| ("SIP-ETag", text(tag))));
            world.honest = false;
        }
        3 => {
            more.push(("SIP-ETag", "tag1".to_owned()));
            world.honest = false;
        }
        4 => {
            more.extend(stored.and_then(|(tag, _)| tag).map(|tag| ("SIP-ETag", tag)));
            more.push(("Expires", "0".to_owned()));
            world.honest = false;
        }
        5 => more.push(("Retry-After", [0, 3, 30, 600][usize::from(how >> 3 & 3)].to_string())),
        6 => more.push(("Min-Expires", [0_u32, 700, 4_000, u32::MAX][usize::from(how >> 3 & 3)].to_string())),
        _ => {
            let stale = if how & 8 == 0 { "" } else { ", stale=true" };
            let nonce = how >> 4;
            let name = if status == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" };
            let value = format!("Digest realm=\"example.com\", nonce=\"n{nonce}\", qop=\"auth\"{stale}");
            more.push((name, value));
        }
    }
    if (200..300).contains(&status) && !matches!(how & 7, 0..=4) {
        world.honest = false;
    }
    world.reached.note_if(matches!(status, 401 | 407) && how & 7 == 7, "challenged");
    world.reached.note_if(status == 423, "423");
    world.respond(at, status, more);
}
