//! The program under test in virtual time: the tap, its publisher, a presence server that fails, and a lamp's watcher.
//! In: frames that the mirror shows, what goes wrong. Out: status lines, what the server holds, what the lamp was told,
//! and every breach of what must always hold. Knows nothing of the truth.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use offhook::base::{
    Blindness, CaptureChange, CaptureEvent, FrameCounts, Hop, Limits, Random, Rules, Timestamp, Transmit,
    Transport,
};
use offhook::compositor::{PresenceServer, PresenceServerOptions};
use offhook::io::output::{JsonLines, Outlet, PublicationCounts, Sources, Summary};
use offhook::presence::{ChangeKind, DialogView, EventPackage, PresentityChange, Session, Terminal};
use offhook::publish::{PublishOptions, Publisher, Server};
use offhook::sip::transaction::TIMER_F;
use offhook::sip::write::{header, response_to};
use offhook::sip::{Aor, HeaderName, Method, Scanner};
use offhook::tap::{Tap, TapOptions, TapOutput};
use offhook::track::{Confidence, Rule};
use offhook::watch::{PresenceTold, WatchOptions, Watcher, What};

use super::mirror::Shown;
use super::world::{SOUND, USERS, aor};
use crate::support::heard;
use crate::support::ladder::START_US;

/// What the presence server does with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    Silent,
    Refuses,
    Overloaded(Option<u32>),
    /// Answers come after so many seconds.
    Slow(u64),
}

/// Something that goes wrong, or well again, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Server(Mood),
    /// It forgets everything.
    ServerRestarts,
    /// The tap is killed and started again: nothing is left of what it knew.
    TapRestarts,
    /// The mirror shows nothing any more, and the tap is told so.
    Blind,
    /// It shows everything again.
    Sees,
}

/// One status of one user as the tap told it.
#[derive(Clone, Debug)]
pub struct Told {
    pub at_us: u64,
    pub terminal: Terminal,
    pub session: Session,
    pub peer: Option<String>,
    pub rule: &'static str,
    pub frame: u64,
    pub confidence: Confidence,
    pub dialogs: Vec<DialogView>,
    /// A line was written, not only a document changed.
    pub line: bool,
    pub publishable: bool,
}

/// Terminal and session.
pub type Status = (Terminal, Session);

enum Parcel {
    ToServer(Hop, Vec<u8>),
    ToPublisher(Hop, Vec<u8>),
    ToWatcher(Hop, Vec<u8>),
    Broken(Hop),
}

/// A request of one publication that was sent last.
struct Asked {
    branch: Vec<u8>,
    remote: SocketAddr,
    transport: Transport,
    sent: Timestamp,
    over: bool,
    if_match: Option<Vec<u8>>,
}

/// What the run is to be like.
#[derive(Clone, Debug)]
pub struct Setup {
    pub rules: Rules,
    /// Of the tap; the others have their usual ones.
    pub limits: Limits,
    pub publish: PublishOptions,
    /// Sorted by time.
    pub troubles: Vec<(u64, Trouble)>,
    /// Of a thousand messages to and from the presence server so many are lost, until it is well.
    pub lost_per_mille: u64,
    pub well_from_us: u64,
    /// Break something on purpose (see `mutations`).
    pub sabotage: Sabotage,
}

/// What can be broken on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    #[default]
    Nothing,
    /// BYEs are kept from the tap.
    NoBye,
    /// The 180s.
    NoRinging,
    /// A replaced entity-tag is sent once more.
    OldTag,
    /// A status is lost on its way to the publisher.
    LostChange,
    /// What is known is believed a quarter of a second later.
    LateLine,
}

/// Lines are kept as they would be written.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct Listener {
    now: Timestamp,
    setup: Setup,
    random: Random,
    tap: Tap,
    publisher: Publisher,
    server: PresenceServer,
    mood: Mood,
    watcher: Watcher,
    lines: JsonLines<Kept>,
    kept: Kept,
    statuses: Vec<Vec<Told>>,
    aors: Vec<Aor>,
    held: Vec<Vec<(u64, Status)>>,
    lamp: Vec<Vec<(u64, Status)>>,
    counts: PublicationCounts,
    parcels: BTreeMap<(Timestamp, u64), Parcel>,
    posted: u64,
    asked: BTreeMap<Vec<u8>, Asked>,
    replaced: BTreeSet<Vec<u8>>,
    scanner: Scanner,
    frames: u64,
    seen: Vec<Shown>,
    last_line: Timestamp,
    restarts: u64,
    next_trouble: usize,
    changes_seen: u64,
    strangers: BTreeSet<Aor>,
    /// Since the tap began.
    register_seen: bool,
    breaches: Vec<String>,
}

/// What is left at the end.
pub struct Heard {
    pub lines: Vec<u8>,
    /// By user.
    pub statuses: Vec<Vec<Told>>,
    /// What the presence server held of each user, and what the lamp was told, from each moment on.
    pub held: Vec<Vec<(u64, Status)>>,
    pub lamp: Vec<Vec<(u64, Status)>>,
    pub settled: bool,
    pub breaches: Vec<String>,
}

pub fn timestamp(at_us: u64) -> Timestamp {
    Timestamp::from_nanos((START_US + at_us) * 1_000)
}

pub fn microseconds(at: Timestamp) -> u64 {
    (at.as_nanos() / 1_000).saturating_sub(START_US)
}

fn place(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port)
}

const PUBLISHER: u8 = 5;
const WATCHER: u8 = 6;
const SERVER: u8 = 7;

fn way_of(local: u8) -> Hop {
    Hop { transport: Transport::Udp, local: place(local, 5_060), remote: place(SERVER, 5_060) }
}

fn seed32(seed: u64) -> [u8; 32] {
    let mut random = Random::new(seed);
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    bytes
}

impl Listener {
    pub fn new(seed: u64, setup: Setup) -> Self {
        let now = timestamp(0);
        let limits = Limits::default();
        let mut watching = WatchOptions::new(way_of(WATCHER));
        (watching.seed, watching.expires_s) = (seed ^ 0xa11, 300);
        let mut watcher = Watcher::new(watching, &limits);
        let aors: Vec<Aor> =
            (0..USERS.len()).filter_map(|user| Aor::from_uri(aor(user).as_bytes())).collect();
        for aor in &aors {
            watcher.watch(now, aor.clone(), EventPackage::Presence);
        }
        let kept = Kept::default();
        let tap_options = TapOptions { rules: setup.rules.clone(), ..TapOptions::default() };
        Self {
            now,
            random: Random::new(seed ^ 0x11),
            tap: Tap::new(tap_options, setup.limits.clone()),
            publisher: Publisher::new(PublishOptions { seed, ..setup.publish.clone() }, &limits),
            server: PresenceServer::new(PresenceServerOptions::new(seed32(seed)), &limits),
            mood: Mood::Well,
            watcher,
            lines: JsonLines::new(kept.clone(), Sources::default()),
            kept,
            statuses: vec![Vec::new(); USERS.len()],
            aors,
            held: vec![Vec::new(); USERS.len()],
            lamp: vec![Vec::new(); USERS.len()],
            counts: PublicationCounts::default(),
            parcels: BTreeMap::new(),
            posted: 0,
            asked: BTreeMap::new(),
            replaced: BTreeSet::new(),
            scanner: Scanner::new(&limits),
            frames: 0,
            seen: Vec::new(),
            last_line: now,
            restarts: 0,
            next_trouble: 0,
            changes_seen: 0,
            strangers: BTreeSet::new(),
            register_seen: false,
            breaches: Vec::new(),
            setup,
        }
    }

    fn breach(&mut self, what: String) {
        if self.breaches.len() < 20 {
            self.breaches.push(format!("{:.3} s: {what}", microseconds(self.now) as f64 / 1e6));
        }
    }

    /// One frame after all that is due before it.
    pub fn frame(&mut self, shown: &Shown) {
        if is_kept_back(self.setup.sabotage, &shown.bytes) {
            return;
        }
        let at = timestamp(shown.at_us);
        self.run_until(at);
        self.frames += 1;
        self.seen.push(shown.clone());
        self.tap.handle(&heard::frame(self.frames, at, &shown.bytes));
        self.drain();
        self.register_seen |= holds(&shown.bytes, b" REGISTER\r\n");
    }

    /// Lets time pass.
    pub fn run_until(&mut self, until: Timestamp) {
        self.drain();
        while let Some(at) = self.next_moment().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            let now = self.now;
            if let Some(&(at_us, trouble)) = self.setup.troubles.get(self.next_trouble)
                && timestamp(at_us) <= now
            {
                self.next_trouble += 1;
                self.trouble(trouble);
            }
            while let Some((&key, _)) = self.parcels.first_key_value().filter(|(key, _)| key.0 <= now) {
                if let Some(parcel) = self.parcels.remove(&key) {
                    self.arrives(parcel);
                }
            }
            self.tap.handle_timeout(now);
            self.publisher.handle_timeout(now);
            self.server.handle_timeout(now);
            self.watcher.handle_timeout(now);
            self.drain();
            self.look_at_server();
        }
        self.now = self.now.max(until);
    }

    fn next_moment(&self) -> Option<Timestamp> {
        [
            self.tap.poll_timeout(),
            self.publisher.poll_timeout(),
            self.server.poll_timeout(),
            self.watcher.poll_timeout(),
            self.parcels.first_key_value().map(|(key, _)| key.0),
            self.setup.troubles.get(self.next_trouble).map(|(at_us, _)| timestamp(*at_us)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn trouble(&mut self, trouble: Trouble) {
        let now = self.now;
        match trouble {
            Trouble::Server(mood) => self.mood = mood,
            Trouble::Blind => {
                self.capture(CaptureChange::Blind { why: Blindness::Drops, since: now });
            }
            Trouble::Sees => self.capture(CaptureChange::Seeing),
            Trouble::ServerRestarts => {
                self.restarts += 1;
                let seed = seed32(self.random.next() ^ self.restarts);
                self.server = PresenceServer::new(PresenceServerOptions::new(seed), &Limits::default());
            }
            Trouble::TapRestarts => {
                self.restarts += 1;
                let limits = &self.setup.limits;
                let rules = self.setup.rules.clone();
                self.tap = Tap::new(TapOptions { rules, ..TapOptions::default() }, limits.clone());
                let seed = self.random.next();
                self.publisher =
                    Publisher::new(PublishOptions { seed, ..self.setup.publish.clone() }, &Limits::default());
                self.asked.clear();
                self.register_seen = false;
                for statuses in &mut self.statuses {
                    statuses.push(Told {
                        at_us: microseconds(now),
                        terminal: Terminal::Unknown,
                        session: Session::Idle,
                        peer: None,
                        rule: "restart",
                        frame: 0,
                        confidence: Confidence::Full,
                        dialogs: Vec::new(),
                        line: false,
                        publishable: false,
                    });
                }
            }
        }
    }

    fn capture(&mut self, what: CaptureChange) {
        let counts = FrameCounts::default();
        self.tap.handle_capture(&CaptureEvent { at: self.now, interface: "span0".into(), what, counts });
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.tap.poll_output() {
            self.lines.output(&output).expect("lines are kept in memory");
            if let TapOutput::Change(change) = output {
                self.change(&change);
            }
        }
        let mut storm = 0;
        loop {
            if self.publisher.poll_resolve() {
                let servers = [Server { hop: way_of(PUBLISHER) }];
                self.publisher.handle_servers(self.now, &servers);
            }
            let sent = [
                self.publisher.poll_transmit().inspect(|transmit| self.look_at_request(transmit)),
                self.watcher.poll_transmit(),
                self.server.poll_transmit(),
            ];
            let mut any = false;
            for transmit in sent.into_iter().flatten() {
                any = true;
                self.post(transmit);
            }
            if !any {
                break;
            }
            storm += 1;
            assert!(storm < 20_000, "a storm of messages");
        }
        while let Some(outcome) = self.publisher.poll_outcome() {
            self.counts.count(&outcome);
            self.lines.publication(&outcome).expect("lines are kept in memory");
        }
        while let Some(told) = self.watcher.poll_told() {
            self.lines.told(&told).expect("lines are kept in memory");
            if let What::Presence(PresenceTold { terminal, session, .. }) = told.what
                && let Some(user) = self.aors.iter().position(|aor| *aor == told.aor)
            {
                let status = (terminal.unwrap_or_default(), session.unwrap_or_default());
                self.lamp[user].push((microseconds(told.at), status));
            }
        }
    }

    /// What the presence server holds now.
    fn look_at_server(&mut self) {
        let at_us = microseconds(self.now);
        for (aor, held) in self.aors.iter().zip(&mut self.held) {
            let status = self.server.state(aor).map_or_else(Status::default, |it| (it.terminal, it.session));
            if held.last().map_or_else(Status::default, |(_, last)| *last) != status {
                held.push((at_us, status));
            }
        }
    }

    fn change(&mut self, change: &PresentityChange) {
        self.now = self.now.max(change.at);
        self.check_change(change);
        self.changes_seen += 1;
        let lost = self.setup.sabotage == Sabotage::LostChange && self.changes_seen.is_multiple_of(40);
        if !lost {
            self.publisher.handle_change(self.now, change);
        }
        let user = (0..USERS.len()).find(|&user| change.aor.as_str() == aor(user));
        let Some(user) = user else {
            return self.stranger(change);
        };
        let state = &change.state;
        self.statuses[user].push(Told {
            at_us: microseconds(change.at)
                + if self.setup.sabotage == Sabotage::LateLine { 250_000 } else { 0 },
            terminal: state.terminal,
            session: state.session,
            peer: state.peer.as_deref().map(str::to_owned),
            rule: change.because.rule.name(),
            frame: change.because.frame.number(),
            confidence: state.confidence,
            dialogs: state.dialogs.clone(),
            line: change.kind == ChangeKind::Status,
            publishable: state.publishable,
        });
    }

    /// Somebody who is no user: only who was called may be, weakly, while no REGISTER of the domain has been seen since
    /// the tap began (SPEC section 6, rule 3).
    fn stranger(&mut self, change: &PresentityChange) {
        let allowed = !self.register_seen && change.state.confidence != Confidence::Full;
        if allowed {
            self.strangers.insert(change.aor.clone());
        } else if !self.strangers.contains(&change.aor) {
            self.breach(format!("{} is nobody", change.aor.as_str()));
        }
    }

    /// What must hold of each change, whatever the mirror shows.
    fn check_change(&mut self, change: &PresentityChange) {
        if change.at < self.last_line {
            self.breach(format!("time goes back: {} after {}", change.at, self.last_line));
        }
        self.last_line = change.at;
        let evidence = &change.because;
        let frame = evidence.frame.number();
        let shown = frame.checked_sub(1).and_then(|at| self.seen.get(at as usize));
        match shown {
            None => self.breach(format!("{} cites frame {frame}, which is none", evidence.rule.name())),
            Some(shown) => {
                let call_id = evidence.call_id.as_bytes();
                // Known gap: what waited for lost bytes of a TCP stream comes with the next frame of any stream, and
                // that one is cited (`Reassembler::handle`).
                let over_tcp = || self.seen.iter().any(|it| is_tcp(&it.bytes) && holds(&it.bytes, call_id));
                // These rest on what was seen under another Call-ID.
                let elsewhere = matches!(evidence.rule, Rule::OtherLeg | Rule::RegisterProved);
                let of_sound = matches!(evidence.rule, Rule::MediaSilent | Rule::MediaHeard);
                let sound = of_sound && shown.bytes.ends_with(&SOUND);
                let named =
                    holds(&shown.bytes, call_id) || elsewhere || sound || is_tcp(&shown.bytes) || over_tcp();
                if !named {
                    let rule = evidence.rule.name();
                    self.breach(format!("{rule} cites frame {frame}, which is not of {}", evidence.call_id));
                }
            }
        }
        let unchanged = change.kind == ChangeKind::Status
            && change.previous == (change.state.terminal, change.state.session)
            && change.at > timestamp(0);
        if unchanged && !change.state.watching {
            self.breach(format!("a line for {} without a change", change.aor.as_str()));
        }
        let limits = &self.setup.limits;
        let told = self.statuses.iter().filter_map(|told| told.last());
        let presentities = told.filter(|it| (it.terminal, it.session) != Status::default()).count();
        let publications = self.server.counters().publications;
        let most = Limits::default().publications_per_presentity * (USERS.len() + self.strangers.len());
        if presentities > limits.presentities || publications > most {
            self.breach(format!("{presentities} presentities, {publications} publications"));
        }
        if change.state.dialogs.len() > 64 {
            self.breach(format!("{} dialogs of one presentity", change.state.dialogs.len()));
        }
    }

    /// A request of the publisher: one in flight of each publication, no entity-tag that was replaced.
    fn look_at_request(&mut self, transmit: &Transmit) {
        let mut scanner = std::mem::replace(&mut self.scanner, Scanner::new(&Limits::default()));
        let Ok(message) = scanner.scan(&transmit.bytes) else {
            return self.breach("an unreadable request".to_owned());
        };
        let (call_id, branch) = (message.call_id().to_vec(), message.top_branch().to_vec());
        let if_match = message.header(HeaderName::SipIfMatch).map(<[u8]>::to_vec);
        if message.method() != Some(Method::Publish) {
            self.breach("not a PUBLISH".to_owned());
        }
        let mut wrong = None;
        if let Some(last) = self.asked.get(&call_id) {
            if last.branch == branch {
                if last.over || transmit.hop.transport.is_reliable() {
                    wrong = Some("sent again after its answer, or over TCP");
                }
            } else if !last.over && self.now.since(last.sent) < TIMER_F {
                wrong = Some("two in flight of one publication");
            }
        }
        if if_match.as_ref().is_some_and(|tag| self.replaced.contains(tag)) {
            wrong = Some("an entity-tag that was replaced is used again");
        }
        if let Some(wrong) = wrong {
            self.breach(wrong.to_owned());
        }
        if self.asked.get(&call_id).is_none_or(|last| last.branch != branch) {
            let (remote, transport) = (transmit.hop.remote, transmit.hop.transport);
            let asked = Asked { branch, remote, transport, sent: self.now, over: false, if_match };
            self.asked.insert(call_id, asked);
        }
        self.scanner = scanner;
    }

    /// The network between publisher, watcher and server.
    fn post(&mut self, transmit: Transmit) {
        let Transmit { hop, bytes } = transmit;
        let bad = microseconds(self.now) < self.setup.well_from_us;
        let lost =
            bad && !hop.transport.is_reliable() && self.random.next() % 1_000 < self.setup.lost_per_mille;
        let latency = Duration::from_micros(500 + self.random.next() % 5_000);
        let other_end = |hop: Hop| {
            let local_port = if hop.local.port() == 0 { 40_000 } else { hop.local.port() };
            let local = SocketAddr::new(hop.local.ip(), local_port);
            Hop { transport: hop.transport, local: hop.remote, remote: local }
        };
        let (delay, parcel) = if hop.remote.ip() == place(SERVER, 0).ip() {
            if self.mood == Mood::Refuses {
                (latency, Parcel::Broken(hop))
            } else if lost {
                return;
            } else {
                (latency, Parcel::ToServer(other_end(hop), bytes))
            }
        } else if lost || self.mood == Mood::Silent {
            return;
        } else {
            let slow = match self.mood {
                Mood::Slow(seconds) => Duration::from_secs(seconds),
                _ => Duration::ZERO,
            };
            let hop = other_end(hop);
            let parcel = match hop.local.ip() == place(WATCHER, 0).ip() {
                true => Parcel::ToWatcher(hop, bytes),
                false => Parcel::ToPublisher(hop, bytes),
            };
            (latency + slow, parcel)
        };
        self.posted += 1;
        self.parcels.insert((self.now.after(delay), self.posted), parcel);
    }

    fn arrives(&mut self, parcel: Parcel) {
        let now = self.now;
        match parcel {
            Parcel::ToServer(hop, bytes) => match self.mood {
                Mood::Silent | Mood::Refuses => {}
                Mood::Overloaded(retry_after_s) => self.overloaded(hop, &bytes, retry_after_s),
                Mood::Well | Mood::Slow(_) => self.server.handle_message(now, hop, &bytes),
            },
            Parcel::ToWatcher(hop, bytes) => self.watcher.handle_message(now, hop, &bytes),
            Parcel::ToPublisher(hop, bytes) => {
                self.look_at_answer(&bytes);
                self.publisher.handle_message(now, hop, &bytes);
            }
            Parcel::Broken(hop) => {
                if hop.local.ip() == place(WATCHER, 0).ip() {
                    self.watcher.handle_transport_error(now, hop);
                } else {
                    for asked in self.asked.values_mut() {
                        asked.over |= asked.remote == hop.remote && asked.transport == hop.transport;
                    }
                    self.publisher.handle_transport_error(now, hop);
                }
            }
        }
    }

    fn overloaded(&mut self, hop: Hop, bytes: &[u8], retry_after_s: Option<u32>) {
        let mut scanner = Scanner::new(&Limits::default());
        let Ok(message) = scanner.scan(bytes) else { return };
        if message.status().is_some() {
            return;
        }
        let more = retry_after_s.map(|seconds| header("Retry-After", seconds.to_string()));
        if let Ok(bytes) = response_to(&message, 503, Some("s"), more.into_iter().collect(), b"") {
            self.post(Transmit { hop, bytes });
        }
    }

    fn look_at_answer(&mut self, bytes: &[u8]) {
        let mut scanner = Scanner::new(&Limits::default());
        let Ok(message) = scanner.scan(bytes) else { return };
        let sabotage = self.setup.sabotage;
        if let Some(last) = self.asked.get_mut(message.call_id())
            && last.branch == message.top_branch()
            && !last.over
            && self.now.since(last.sent) < TIMER_F
            && message.status().is_some_and(|status| status >= 200)
        {
            last.over = true;
            if message.status() == Some(200)
                && let Some(tag) = last.if_match.take()
            {
                self.replaced.insert(tag);
            }
            if sabotage == Sabotage::OldTag
                && let Some(tag) = message.header(HeaderName::SipEtag)
            {
                self.replaced.insert(tag.to_vec());
            }
        }
    }

    /// The end: what everybody believes now.
    pub fn finish(mut self) -> Heard {
        self.drain();
        // What is in flight arrives.
        let until = self.now.after_s(2);
        while !self.publisher.is_settled()
            && let Some(at) = self.next_moment().filter(|&at| at <= until)
        {
            self.run_until(at);
        }
        let settled = self.publisher.is_settled();
        self.look_at_server();
        let summary = Summary {
            redial: None,
            last: Some(self.now),
            counters: self.tap.counters(),
            capture: Vec::new(),
            publications: self.counts,
        };
        self.lines.summary(&summary).expect("lines are kept in memory");
        let lines = self.kept.0.take();
        Heard {
            lines,
            statuses: self.statuses,
            held: self.held,
            lamp: self.lamp,
            settled,
            breaches: self.breaches,
        }
    }
}

fn is_tcp(bytes: &[u8]) -> bool {
    let tagged = bytes.get(12..14) == Some(&[0x81, 0x00]);
    bytes.get(if tagged { 27 } else { 23 }) == Some(&6)
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn is_kept_back(sabotage: Sabotage, bytes: &[u8]) -> bool {
    match sabotage {
        Sabotage::NoBye => holds(bytes, b" BYE\r\n"),
        Sabotage::NoRinging => holds(bytes, b"SIP/2.0 180 "),
        Sabotage::Nothing | Sabotage::OldTag | Sabotage::LostChange | Sabotage::LateLine => false,
    }
}
