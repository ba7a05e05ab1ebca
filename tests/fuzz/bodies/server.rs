//! Publishers and watchers that do anything in any order, with requests and answers that are late, foreign, doubled,
//! damaged or missing, and jumps of time: the presence server answers each request once, has one NOTIFY of a subscription
//! in flight, takes no entity-tag twice, keeps within its bounds; and time clears all that they left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use offhook::base::{Hop, Limits, Timestamp, Transmit, Transport};
use offhook::compositor::{PresenceServer, PresenceServerOptions};
use offhook::presence::dialog_info::{self, DialogInfoOptions};
use offhook::presence::pidf::{self, Facet};
use offhook::presence::{BindingView, DialogView, EventPackage, PresentityState, Session, Terminal};
use offhook::sip::transaction::TIMER_F;
use offhook::sip::write::{response_to, response_to_source};
use offhook::sip::{Aor, HeaderName, Method, Scanner, SipMessage};
use offhook::track::{DialogState, EndId, Side};

use super::input::{Input, Reached};

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "200",
    "400",
    "403",
    "405",
    "412",
    "415",
    "423",
    "481",
    "482",
    "489",
    "500",
    "503",
    "initial",
    "refreshed",
    "modified",
    "removed",
    "registered",
    "subscribed",
    "subscribed anew",
    "subscription refreshed",
    "notified",
    "sent again",
    "terminated",
    "talking",
    "offline-waiting",
    "transport error",
    "given up",
    "answers forgotten",
    "stopped",
];

const START: Timestamp = Timestamp::from_secs(1_000);
const MOST_STEPS: usize = 120;
const MIN_S: u32 = 60;
const MAX_S: u32 = 3_600;
const WAITS_MS: [u64; 10] = [10, 51, 501, 4_000, 30_000, 32_001, 59_000, 61_000, 600_000, 3_601_000];
const EXPIRES: [&str; 8] = ["600", "0", "60", "59", "3600", "4294967295", "soon", ""];
const STATUSES: [u16; 12] = [200, 481, 500, 100, 202, 404, 408, 503, 401, 489, 302, 699];

/// What is known of a watcher's dialog.
#[derive(Default)]
struct Watched {
    branch: Vec<u8>,
    cseq: u32,
    sent_at: Timestamp,
    over: bool,
    hop: Option<Hop>,
    terminated: bool,
    version: Option<u32>,
}

struct World {
    server: PresenceServer,
    limits: Limits,
    now: Timestamp,
    /// All requests to the server, to be sent again.
    asked: Vec<(Hop, Vec<u8>)>,
    /// All NOTIFY requests.
    notified: Vec<(Hop, Vec<u8>)>,
    /// By Call-ID and the server's tag.
    dialogs: BTreeMap<(String, String), Watched>,
    /// Given, with whose they are.
    tags: Vec<String>,
    replaced: BTreeSet<String>,
    /// Answers to SUBSCRIBE: what a dialog is known by.
    subscribed: Vec<Subscribed>,
    numbers: u32,
    reached: Reached,
}

#[derive(Clone)]
struct Subscribed {
    user: u8,
    package: EventPackage,
    call_id: String,
    tag: String,
    cseq: u32,
}

fn hop(which: u8) -> Hop {
    let address = |last, port| SocketAddr::from(([192, 0, 2, last], port));
    let transport = if which & 4 == 0 { Transport::Udp } else { Transport::Tcp };
    Hop { transport, local: address(1, 5060), remote: address(7, 5070 + u16::from(which & 3)) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn aor(user: u8) -> Aor {
    match Aor::from_uri(format!("sip:user{}@example.com", user % 5).as_bytes()) {
        Some(aor) => aor,
        None => panic!("an AOR"),
    }
}

/// What a tap, or a phone, says of somebody.
fn document(user: u8, package: EventPackage, what: u8) -> Vec<u8> {
    let aor = aor(user);
    let dialog = |number: u8, state| DialogView {
        end: EndId(u64::from(number)),
        call_id: format!("call-{number}").into(),
        local_tag: Some("a".into()),
        remote_tag: (state != DialogState::Trying).then(|| "b".into()),
        revoked_ends: u32::from(what >> 7),
        side: Side::Caller,
        state,
        held: what & 64 != 0,
        remote: Some("sip:bob@example.com".into()),
    };
    let states = [DialogState::Confirmed, DialogState::Early, DialogState::Trying, DialogState::Terminated];
    let calls = usize::from(what >> 4 & 3);
    let dialogs: Vec<DialogView> =
        (0..calls).map(|at| dialog(at as u8, states[(usize::from(what >> 2 & 3) + at) % 4])).collect();
    let session = dialogs
        .iter()
        .map(|dialog| match (dialog.state, dialog.held) {
            (DialogState::Trying, _) => Session::Calling,
            (DialogState::Early, _) => Session::Ringing,
            (DialogState::Confirmed, false) => Session::Talking,
            (DialogState::Confirmed, true) => Session::Held,
            (DialogState::Terminated, _) => Session::Idle,
        })
        .max()
        .unwrap_or_default();
    let talking = matches!(session, Session::Talking | Session::Held);
    let registered = [Terminal::Online, Terminal::Offline, Terminal::Unknown][usize::from(what & 3) % 3];
    let terminal = match registered {
        Terminal::Offline if talking => Terminal::OfflineWaiting,
        Terminal::Unknown if talking => Terminal::Online,
        registered => registered,
    };
    let binding = || BindingView {
        contact: "sip:user@192.0.2.50".into(),
        user_agent: None,
        expires_at: Timestamp::MAX,
    };
    let state = PresentityState {
        terminal,
        registered,
        session,
        bindings: (registered == Terminal::Online).then(binding).into_iter().collect(),
        ..PresentityState::default()
    };
    match package {
        EventPackage::Presence if what & 3 == 3 => {
            // A phone's own.
            let activity =
                if what & 16 == 0 { "" } else { "<rpid:activities><rpid:on-the-phone/></rpid:activities>" };
            format!(
                "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
                 entity=\"{}\"><tuple id=\"a\"><status><basic>open</basic></status></tuple>{activity}</presence>",
                aor.as_str()
            )
            .into_bytes()
        }
        EventPackage::Presence => {
            let facet = [Facet::Combined, Facet::Terminal, Facet::Session][usize::from(what >> 6) % 3];
            pidf::document(&aor, &state, &dialogs, facet, Some(START), 16)
        }
        EventPackage::Dialog => {
            let options =
                DialogInfoOptions { placeholder: true, remote_identity: true, dialogs_per_document: 16 };
            dialog_info::document(&aor, &dialogs, 0, options)
        }
    }
}

/// A request's parts.
struct Ask<'a> {
    method: &'a str,
    user: u8,
    number: u32,
    call_id: &'a str,
    to_tag: Option<&'a str>,
    cseq: u32,
    fields: Vec<(&'a str, String)>,
    body: Vec<u8>,
}

impl Ask<'_> {
    fn write(&self, hop: Hop) -> Vec<u8> {
        let aor = aor(self.user);
        let uri = aor.as_str();
        let to_tag = self.to_tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let mut out = format!("{} {uri} SIP/2.0\r\n", self.method);
        let (transport, peer) = (hop.transport.via_name(), hop.remote);
        out.push_str(&format!("Via: SIP/2.0/{transport} {peer};rport;branch=z9hG4bK{}\r\n", self.number));
        out.push_str(&format!("From: <sip:peer@example.com>;tag=peer\r\nTo: <{uri}>{to_tag}\r\n"));
        out.push_str(&format!("Call-ID: {}\r\nCSeq: {} {}\r\n", self.call_id, self.cseq, self.method));
        for (name, value) in &self.fields {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        let mut out = out.into_bytes();
        out.extend(&self.body);
        out
    }
}

impl World {
    fn new(choices: u8) -> Self {
        let small = Limits {
            presentities: 3,
            publications_per_presentity: 2,
            published_bytes: 6_000,
            ended_dialogs_per_presentity: 2,
            subscriptions: 3,
            subscriptions_per_presentity: 2,
            server_transactions: 4,
            server_transaction_bytes: 4_000,
            ..Limits::default()
        };
        let limits = if choices & 1 == 0 { Limits::default() } else { small };
        let mut options = PresenceServerOptions::new([7; 32]);
        (options.min_expires_s, options.max_expires_s, options.default_expires_s) = (MIN_S, MAX_S, 600);
        Self {
            server: PresenceServer::new(options, &limits),
            limits,
            now: START,
            asked: Vec::new(),
            notified: Vec::new(),
            dialogs: BTreeMap::new(),
            tags: Vec::new(),
            replaced: BTreeSet::new(),
            subscribed: Vec::new(),
            numbers: 0,
            reached: Reached::default(),
        }
    }

    /// A request goes to the server.
    fn ask(&mut self, hop: Hop, bytes: Vec<u8>, again: bool) {
        let mut scanner = Scanner::new(&Limits::default());
        let read = scanner.scan(&bytes).ok();
        let request = read.filter(SipMessage::is_request);
        let method = request.as_ref().and_then(SipMessage::method);
        if method == Some(Method::Notify) || (read.is_some() && request.is_none()) {
            // Damage made an answer of it: to be judged as one.
            self.over_by(&bytes);
        }
        self.server.handle_message(self.now, hop, &bytes);
        let mut answers = 0;
        while let Some(sent) = self.server.poll_transmit() {
            let mut scanner = Scanner::new(&Limits::default());
            let Ok(message) = scanner.scan(&sent.bytes) else {
                // What could not be read is answered with what it had.
                assert!(request.is_none(), "{}", text(&sent.bytes));
                self.reached.note("unreadable answered");
                continue;
            };
            match message.status() {
                Some(status) => {
                    answers += 1;
                    if let Some(request) = &request {
                        self.answered(request, &message, status, again);
                    }
                }
                None => self.notify(&sent),
            }
        }
        // What cannot be copied into an answer without beginning another field is left alone.
        let can_be_answered = request.as_ref().is_some_and(|request| {
            response_to_source(request, hop.remote, 200, Some("s"), Vec::new(), b"").is_ok()
        });
        assert!(answers <= 1, "{answers} answers to {}", text(&bytes));
        let unanswered = answers == 0 && can_be_answered && method != Some(Method::Ack);
        assert!(!unanswered, "no answer to {}", text(&bytes));
        self.check();
        self.asked.push((hop, bytes));
    }

    fn answered(&mut self, request: &SipMessage<'_>, answer: &SipMessage<'_>, status: u16, again: bool) {
        // A damaged copy of a request, with the branch of the first, gets the answer to that.
        if !again {
            assert_eq!(answer.cseq(), request.cseq());
            assert_eq!(text(answer.call_id()), text(request.call_id()));
        }
        self.reached.note(match status {
            200 => "200",
            400 => "400",
            403 => "403",
            405 => "405",
            412 => "412",
            415 => "415",
            423 => "423",
            481 => "481",
            482 => "482",
            489 => "489",
            500 => "500",
            503 => "503",
            513 => "513",
            _ => "another status",
        });
        if status != 200 {
            return;
        }
        let granted = answer.expires();
        if matches!(request.method(), Some(Method::Publish | Method::Subscribe | Method::Register)) {
            let Some(granted_s) = granted else { panic!("no Expires in the answer") };
            assert!(granted_s == 0 || (MIN_S..=MAX_S).contains(&granted_s), "{granted_s} s");
        }
        match request.method() {
            Some(Method::Publish) => {
                let used = request.header(HeaderName::SipIfMatch).map(text);
                let Some(given) = answer.header(HeaderName::SipEtag).map(text) else { panic!("no SIP-ETag") };
                self.reached.note(match (&used, granted, request.body().is_empty()) {
                    (None, ..) => "initial",
                    (_, Some(0), _) => "removed",
                    (_, _, true) => "refreshed",
                    (_, _, false) => "modified",
                });
                // A retransmission gets the answer that there was.
                if again && self.tags.contains(&given) {
                    return;
                }
                if let Some(used) = used {
                    assert!(self.replaced.insert(used.clone()), "{used} was taken twice");
                }
                assert!(!self.tags.contains(&given), "{given} is given twice");
                if granted == Some(0) {
                    self.replaced.insert(given.clone());
                }
                self.tags.push(given);
            }
            Some(Method::Register) => self.reached.note("registered"),
            Some(Method::Subscribe) => {
                let Some(tag) = answer.to_tag().map(text) else { panic!("a dialog without a tag") };
                self.reached.note(if request.to_tag().is_some() {
                    "subscription refreshed"
                } else {
                    "subscribed"
                });
                let call_id = text(request.call_id());
                // It subscribes anew: the dialog that there was is forgotten.
                if request.to_tag().is_none() && !again {
                    let package = request.event().map(text);
                    let uri = request.request_uri().map(text);
                    for known in &self.subscribed {
                        let same = known.call_id == call_id
                            && Some(known.package.name()) == package.as_deref()
                            && Some(aor(known.user).as_str()) == uri.as_deref();
                        if same && known.tag != tag {
                            let key = (known.call_id.clone(), known.tag.clone());
                            self.dialogs.entry(key).or_default().terminated = true;
                            self.reached.note("subscribed anew");
                        }
                    }
                }
                self.dialogs.entry((call_id, tag)).or_default();
            }
            _ => {}
        }
    }

    /// Looks at a NOTIFY that leaves.
    fn notify(&mut self, sent: &Transmit) {
        let mut scanner = Scanner::new(&Limits::default());
        let Ok(message) = scanner.scan(&sent.bytes) else { panic!("it was read before") };
        assert_eq!(message.method(), Some(Method::Notify));
        let Some(tag) = message.from_tag().map(text) else { panic!("no tag: {}", text(&sent.bytes)) };
        let key = (text(message.call_id()), tag);
        let known = self.dialogs.entry(key.clone()).or_default();
        let branch = message.top_branch().to_vec();
        if known.branch == branch {
            assert!(!sent.hop.transport.is_reliable(), "sent again over a transport that loses nothing");
            assert!(!known.over, "sent again after its answer");
            self.reached.note("sent again");
            return;
        }
        assert!(!known.terminated, "after the last NOTIFY: {}", text(&sent.bytes));
        let timed_out = self.now.since(known.sent_at) >= TIMER_F;
        assert!(known.branch.is_empty() || known.over || timed_out, "two NOTIFYs in flight");
        assert_eq!(message.cseq().number, known.cseq + 1, "{}", text(&sent.bytes));
        let Some((state, expires_s)) = message.subscription_state() else { panic!("no state") };
        let ends = state == b"terminated";
        assert!(
            ends || expires_s.is_some_and(|seconds| (1..=MAX_S).contains(&seconds)),
            "{}",
            text(&sent.bytes)
        );
        if message.event() == Some(b"dialog") {
            let read = match offhook::presence::dialog_info_read::read(message.body()) {
                Ok(read) => read,
                Err(why) => panic!("{why}"),
            };
            assert_eq!(read.version, Some(known.version.map_or(0, |version| version + 1)));
            known.version = read.version;
        } else {
            assert!(offhook::presence::pidf_read::read(message.body()).is_ok(), "{}", text(&sent.bytes));
        }
        known.branch = branch;
        known.cseq += 1;
        known.sent_at = self.now;
        known.over = false;
        known.hop = Some(sent.hop);
        known.terminated = ends;
        self.reached.note(if ends { "terminated" } else { "notified" });
        if key.0.len() < 200 && !self.subscribed.iter().any(|known| known.tag == key.1) {
            let user =
                text(message.from().uri).bytes().find(u8::is_ascii_digit).map_or(0, |digit| digit - b'0');
            let package = match message.event() {
                Some(b"dialog") => EventPackage::Dialog,
                _ => EventPackage::Presence,
            };
            self.subscribed.push(Subscribed { user, package, call_id: key.0, tag: key.1, cseq: 1 });
        }
        self.notified.push((sent.hop, sent.bytes.clone()));
    }

    /// These bytes may be the answer to a NOTIFY in flight.
    fn over_by(&mut self, bytes: &[u8]) {
        let mut scanner = Scanner::new(&Limits::default());
        let Ok(message) = scanner.scan(bytes) else { return };
        if message.status().is_none_or(|status| status < 200) || message.cseq().method != Method::Notify {
            return;
        }
        for known in self.dialogs.values_mut() {
            if known.branch == message.top_branch() {
                known.over = true;
            }
        }
    }

    fn deliver(&mut self, hop: Hop, bytes: &[u8]) {
        self.over_by(bytes);
        self.server.handle_message(self.now, hop, bytes);
        self.drain();
    }

    /// What leaves without having been asked for: NOTIFYs.
    fn drain(&mut self) {
        while let Some(sent) = self.server.poll_transmit() {
            self.notify(&sent);
        }
        self.check();
    }

    fn check(&mut self) {
        assert!(self.server.poll_timeout().is_none_or(|at| at > self.now), "a deadline in the past");
        let counters = self.server.counters();
        let limits = &self.limits;
        assert!(counters.presentities <= limits.presentities, "{counters:?}");
        assert!(counters.subscriptions <= limits.subscriptions, "{counters:?}");
        let most = limits.presentities.saturating_mul(limits.publications_per_presentity);
        assert!(counters.publications <= most, "{counters:?}");
        for user in 0..5 {
            let Some(state) = self.server.state(&aor(user)) else { continue };
            let talking = matches!(state.session, Session::Talking | Session::Held);
            match state.terminal {
                Terminal::Online => self.reached.note_if(talking, "talking"),
                Terminal::OfflineWaiting => {
                    self.reached.note("offline-waiting");
                    assert!(talking, "{state:?}");
                }
                Terminal::Offline | Terminal::Unknown => assert!(!talking, "{state:?}"),
            }
        }
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, until: Timestamp) {
        let mut steps = 0;
        while let Some(at) = self.server.poll_timeout().filter(|&at| at <= until) {
            steps += 1;
            assert!(steps < 20_000, "timers without end");
            self.now = self.now.max(at);
            self.server.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        self.server.handle_timeout(until);
        self.drain();
    }

    fn publish(&mut self, input: &mut Input<'_>) {
        let (user, how, what) = (input.byte(), input.byte(), input.byte());
        self.numbers += 1;
        let package = if user & 64 == 0 { EventPackage::Presence } else { EventPackage::Dialog };
        let mut fields = vec![
            ("Event", if user & 128 == 0 { package.name().to_owned() } else { "winfo".to_owned() }),
            ("Content-Type", package.content_type().to_owned()),
        ];
        let expires = EXPIRES[usize::from(how & 7)];
        if !expires.is_empty() {
            fields.push(("Expires", expires.to_owned()));
        }
        let mut body = document(user % 8, package, what);
        match how >> 3 & 7 {
            0 | 1 => {}
            2 => fields.push(("SIP-If-Match", "nobodys".to_owned())),
            modify => {
                let at = input.recent(self.tags.len());
                fields.extend(at.map(|at| ("SIP-If-Match", self.tags[at].clone())));
                if modify >= 5 {
                    body.clear();
                    fields.remove(1);
                }
            }
        }
        match how >> 6 {
            1 => body.truncate(usize::from(what)),
            2 => body.push(what),
            _ => {}
        }
        let call_id = format!("publication-{}", self.numbers);
        let number = self.numbers;
        let ask =
            Ask { method: "PUBLISH", user, number, call_id: &call_id, to_tag: None, cseq: 1, fields, body };
        let hop = hop(user >> 3);
        self.ask(hop, ask.write(hop), false);
    }

    fn subscribe(&mut self, input: &mut Input<'_>) {
        let (user, how) = (input.byte(), input.byte());
        self.numbers += 1;
        let hop = hop(user >> 3);
        let mut fields = Vec::new();
        if how & 64 == 0 {
            fields.push(("Contact", format!("<sip:peer@{};transport={}>", hop.remote, hop.transport)));
        }
        if how & 128 != 0 {
            fields.push(("Record-Route", "<sip:192.0.2.8;lr>, <sip:192.0.2.9>".to_owned()));
        }
        let expires = EXPIRES[usize::from(how & 7)];
        if !expires.is_empty() {
            fields.push(("Expires", expires.to_owned()));
        }
        let known = if how >> 3 & 7 < 4 { None } else { input.recent(self.subscribed.len()) };
        let ask = match known {
            Some(at) => {
                self.subscribed[at].cseq += u32::from(how >> 3 & 3);
                self.subscribed[at].clone()
            }
            None => Subscribed {
                user,
                package: if user & 64 == 0 { EventPackage::Presence } else { EventPackage::Dialog },
                call_id: format!("subscription-{}", if how & 8 == 0 { self.numbers } else { 0 }),
                tag: String::new(),
                cseq: self.numbers,
            },
        };
        fields.push(("Event", ask.package.name().to_owned()));
        let to_tag = (!ask.tag.is_empty()).then_some(&*ask.tag);
        let number = self.numbers;
        let request = Ask {
            method: "SUBSCRIBE",
            user: ask.user,
            number,
            call_id: &ask.call_id,
            to_tag,
            cseq: ask.cseq,
            fields,
            body: Vec::new(),
        };
        self.ask(hop, request.write(hop), false);
    }

    fn another(&mut self, input: &mut Input<'_>) {
        let (user, how, what) = (input.byte(), input.byte(), input.byte());
        self.numbers += 1;
        let package = if user & 64 == 0 { EventPackage::Presence } else { EventPackage::Dialog };
        let methods = ["REGISTER", "REGISTER", "OPTIONS", "INVITE", "ACK", "MESSAGE", "REGISTER", "REGISTER"];
        let method = methods[usize::from(how >> 3 & 7)];
        let mut fields = vec![("Content-Type", package.content_type().to_owned())];
        let expires = EXPIRES[usize::from(how & 7)];
        if !expires.is_empty() {
            fields.push(("Expires", expires.to_owned()));
        }
        if how >> 6 == 1 {
            fields.push(("Contact", "<sip:peer@192.0.2.7>".to_owned()));
        }
        let body = if how >> 6 == 2 { Vec::new() } else { document(user % 8, package, what) };
        let call_id = format!("registration-{}", user & 3);
        let (number, cseq) = (self.numbers, self.numbers);
        let ask = Ask { method, user, number, call_id: &call_id, to_tag: None, cseq, fields, body };
        let hop = hop(user >> 3);
        self.ask(hop, ask.write(hop), false);
    }
}

/// A byte of choices, then steps.
pub fn target(data: &[u8]) -> Reached {
    let mut input = Input::new(data);
    let choices = input.byte();
    let mut world = World::new(choices);
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0 => world.publish(&mut input),
            1 => world.subscribe(&mut input),
            // A watcher answers, perhaps again, perhaps late.
            2 | 3 => {
                if let Some(at) = input.recent(world.notified.len()) {
                    let (hop, bytes) = world.notified[at].clone();
                    let status = input.pick(&STATUSES);
                    let answer = answer(&bytes, status);
                    world.deliver(hop, &answer);
                }
            }
            4 => {
                let until = Timestamp::from_nanos(world.now.as_nanos() + input.pick(&WAITS_MS) * 1_000_000);
                world.pass(until);
            }
            5 => {
                let hop = hop(input.byte());
                for known in world.dialogs.values_mut() {
                    let there = known
                        .hop
                        .is_some_and(|its| its.transport == hop.transport && its.remote == hop.remote);
                    known.over |= there;
                }
                world.reached.note("transport error");
                world.server.handle_transport_error(world.now, hop);
                world.drain();
            }
            // The same request again, or a damaged one.
            6 => {
                if let Some(at) = input.recent(world.asked.len()) {
                    let (hop, mut bytes) = world.asked[at].clone();
                    if input.byte() & 1 != 0 {
                        let place = usize::from(input.two()) % bytes.len();
                        bytes[place] = input.byte();
                    }
                    world.ask(hop, bytes, true);
                }
            }
            _ => world.another(&mut input),
        }
    }
    end(world, choices)
}

/// Nobody says anything any more.
fn end(mut world: World, choices: u8) -> Reached {
    if choices & 2 != 0 {
        world.server.stop(world.now);
        world.drain();
        let until = world.now.after(TIMER_F).after(TIMER_F);
        world.pass(until);
        assert!(world.server.is_settled(), "it does not stop");
        world.reached.note("stopped");
    }
    let until = world.now.after_s(2 * MAX_S + 600);
    world.pass(until);
    let counters = world.server.counters();
    assert_eq!(world.server.poll_timeout(), None, "it goes on: {counters:?}");
    let left = (counters.presentities, counters.publications, counters.subscriptions);
    assert_eq!(left, (0, 0, 0), "something is left");
    world.reached.note_if(counters.given_up > 0, "given up");
    world.reached.note_if(counters.evicted > 0, "answers forgotten");
    world.reached
}

fn answer(request: &[u8], status: u16) -> Vec<u8> {
    let mut scanner = Scanner::new(&Limits::default());
    let Ok(request) = scanner.scan(request) else { panic!("it was read before") };
    match response_to(&request, status, None, Vec::new(), b"") {
        Ok(bytes) => bytes,
        Err(why) => panic!("{why}"),
    }
}
