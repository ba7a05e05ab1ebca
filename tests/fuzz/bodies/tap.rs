//! Messages of a few phones in any order, with losses, copies and jumps of time, heard by a tap with little room: whatever
//! they are, no status without evidence, no table beyond its bounds, no deadline in the past; and silence ends every call.

use std::collections::{BTreeMap, BTreeSet};

use offhook::base::{
    Blindness, CaptureChange, CaptureEvent, EndedOn, FrameCounts, FrameId, Limits, LinkType, Rules,
    TalkingOn, Timestamp,
};
use offhook::decode::Frame;
use offhook::presence::{ChangeKind, ChangesWanted, PresentityChange, Session, Terminal};
use offhook::sip::{Aor, Scanner};
use offhook::tap::{Tap, TapOptions, TapOutput};
use offhook::track::{BindingEvent, Confidence, DialogState, EndId, Evidence, Fact, Observation, Rule};

use super::input::{Input, Reached};

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "unknown",
    "online",
    "offline",
    "offline-waiting",
    "idle",
    "calling",
    "ringing",
    "talking",
    "held",
    "watching",
    "contact",
    "document",
    "the same twice",
    "table_full",
    "malformed_message",
    "register-200",
    "register-presumed",
    "unregister-200",
    "register-missing",
    "register-expired",
    "invite",
    "invite-180",
    "invite-200",
    "ack",
    "ack-presumed",
    "ack-without-200",
    "invite-failed",
    "not-retried",
    "cancel",
    "bye",
    "bye-200",
    "bye-timeout",
    "hold",
    "resume",
    "in-dialog-200",
    "fork-lost",
    "no-response",
    "dialog-gone",
    "session-expired",
    "media-silent",
    "media-heard",
    "copy-ended",
    "dialog-cap",
    "blind",
    "between two runs",
    "evicted",
    "subscribe-200",
    "unsubscribed",
    "subscription-expired",
    "attributed",
    "grace-over",
];

const RAW_IP: LinkType = LinkType(101);
const START: Timestamp = Timestamp::from_secs(1_000_000);
/// More are not looked at.
const MOST_STEPS: usize = 150;

const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "SUBSCRIBE",
    "NOTIFY",
    "PRACK",
    "UPDATE",
    "REFER",
    "OPTIONS",
    "MESSAGE",
    "INFO",
    "PUBLISH",
];
const STATUSES: [u16; 20] =
    [200, 180, 100, 183, 487, 486, 401, 407, 481, 408, 202, 302, 404, 422, 491, 500, 503, 603, 199, 405];
const USERS: [&str; 4] = ["alice", "bob", "carol", "alice"];
const EXPIRES_S: [Option<u32>; 6] = [None, Some(300), Some(0), Some(60), Some(3_600), Some(1)];
const WAITS_MS: [u64; 14] =
    [1, 20, 100, 501, 1_000, 4_001, 32_000, 32_001, 61_000, 180_000, 332_000, 601_000, 3_601_000, 14_400_000];
const DESCRIPTIONS: [Option<&str>; 6] = [
    None,
    Some("c=IN IP4 192.0.2.11\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"),
    Some("c=IN IP4 192.0.2.11\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=sendonly\r\n"),
    Some("c=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"),
    Some(
        "c=IN IP4 192.0.2.12\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=inactive\r\nm=video 4002 RTP/AVP 99\r\n",
    ),
    Some("c=IN IP4 192.0.2.11\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n"),
];

/// A message before it is written. Places: 0 to 3 are phones, 4 and 5 proxies, 6 is a server.
#[derive(Clone, Debug)]
struct Message {
    method: &'static str,
    status: Option<u16>,
    from: u8,
    to: u8,
    from_tag: u8,
    /// 0: none.
    to_tag: u8,
    call: u8,
    cseq: u32,
    /// Who added each Via, and its branch; the top first.
    vias: Vec<(u8, u16)>,
    source: u8,
    destination: u8,
    description: Option<&'static str>,
    expires_s: Option<u32>,
    /// Further fields.
    more: u8,
}

impl Message {
    fn write(&self) -> Vec<u8> {
        let uri = |who: u8| format!("sip:{}@example.com", USERS[usize::from(who % 4)]);
        let tag = |tag: u8| if tag == 0 { String::new() } else { format!(";tag=t{tag}") };
        let mut text = match self.status {
            Some(status) => format!("SIP/2.0 {status} Fuzz\r\n"),
            None => format!("{} {} SIP/2.0\r\n", self.method, uri(self.to)),
        };
        for (place, branch) in &self.vias {
            let address = address(*place);
            text.push_str(&format!("Via: SIP/2.0/UDP {address}:5060;branch=z9hG4bK{branch}\r\n"));
        }
        text.push_str(&format!("From: <{}>{}\r\n", uri(self.from), tag(self.from_tag)));
        text.push_str(&format!("To: <{}>{}\r\n", uri(self.to), tag(self.to_tag)));
        text.push_str(&format!("Call-ID: call-{}\r\nCSeq: {} {}\r\n", self.call, self.cseq, self.method));
        let sender = if self.status.is_some() { self.to } else { self.from };
        if self.more & 1 == 0 {
            text.push_str(&format!(
                "Contact: <sip:{}@{}>\r\n",
                USERS[usize::from(sender % 4)],
                address(sender)
            ));
        }
        if self.more & 2 != 0 {
            text.push_str("Session-Expires: 90;refresher=uac\r\n");
        }
        if self.more & 4 != 0 {
            text.push_str("Require: 100rel\r\nRSeq: 1\r\n");
        }
        if matches!(self.method, "SUBSCRIBE" | "NOTIFY") {
            text.push_str(if self.more & 8 == 0 { "Event: presence\r\n" } else { "Event: dialog\r\n" });
        }
        if self.method == "NOTIFY" {
            text.push_str(match self.more & 16 {
                0 => "Subscription-State: active;expires=100\r\n",
                _ => "Subscription-State: terminated\r\n",
            });
        }
        if self.more & 32 != 0 {
            text.push_str(&format!(
                "Authorization: Digest username=\"{}\", realm=\"example.com\", nonce=\"n\", uri=\"{}\", response=\"r\"\r\n",
                USERS[usize::from(self.from % 4)],
                uri(self.to)
            ));
        }
        if self.more & 64 != 0 {
            text.push_str("Replaces: call-1;to-tag=t1;from-tag=t2\r\n");
        }
        if let Some(seconds) = self.expires_s {
            text.push_str(&format!("Expires: {seconds}\r\n"));
        }
        let body =
            self.description.map(|lines| format!("v=0\r\no=- 1 1 IN IP4 192.0.2.11\r\ns=-\r\n{lines}"));
        let body = body.unwrap_or_default();
        if !body.is_empty() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        text.into_bytes()
    }
}

fn address(place: u8) -> String {
    format!("192.0.2.{}", 11 + place % 7)
}

/// IPv4 and UDP around a message.
fn packet(source: u8, destination: u8, bytes: &[u8]) -> Vec<u8> {
    datagram((source, 5_060), (destination, 5_060), bytes)
}

/// IPv4 and UDP from one place and port to another.
fn datagram((source, source_port): (u8, u16), (destination, port): (u8, u16), bytes: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(bytes.len() + more).unwrap_or(u16::MAX).to_be_bytes();
    let ip = |place: u8| [192, 0, 2, 11 + place % 7];
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(ip(source));
    packet.extend(ip(destination));
    packet.extend([source_port.to_be_bytes(), port.to_be_bytes()].concat());
    packet.extend(length(8));
    packet.extend([0, 0]);
    packet.extend(bytes);
    packet
}

/// A tap that is watched.
struct Watch {
    tap: Tap,
    limits: Limits,
    dialog_cap_s: u32,
    now: Timestamp,
    /// The Call-ID in each frame, from number 1 on.
    frames: Vec<Option<String>>,
    told: BTreeMap<Aor, (Terminal, Session)>,
    told_at: Timestamp,
    ends: BTreeMap<EndId, (u64, String, DialogState)>,
    bindings: BTreeMap<u64, (u64, Aor, BindingEvent)>,
    /// Interfaces that do not show all.
    blind: BTreeSet<&'static str>,
    /// What is told now happened between two runs of the capture.
    is_between_runs: bool,
    status_changes: u64,
    /// All that was told, for a comparison.
    log: Option<Vec<String>>,
    reached: Reached,
}

impl Watch {
    fn new(choices: [u8; 2], log: bool) -> Self {
        let rules = Rules {
            talking_on: [TalkingOn::Auto, TalkingOn::Response, TalkingOn::Ack][usize::from(choices[0] % 3)],
            ended_on: if choices[0] & 4 == 0 { EndedOn::Bye } else { EndedOn::Response },
            grace_s: if choices[0] & 8 == 0 { 0 } else { 30 },
            domains: match choices[0] >> 4 & 3 {
                0 => vec!["example.com".to_owned()],
                1 => vec!["any".to_owned()],
                _ => Vec::new(),
            },
            media_silence_s: if choices[1] & 8 == 0 { 60 } else { 0 },
            dialog_cap_s: if choices[0] & 64 == 0 { 4 * 3_600 } else { 600 },
            ..Rules::default()
        };
        let small = Limits {
            pending_transactions: 3,
            registered_aors: 2,
            bindings_per_aor: 2,
            calls: 3,
            media_addresses: 2,
            branches_per_call: 3,
            presentities: 2,
            known_addresses: 3,
            ..Limits::default()
        };
        let limits = if choices[1] & 1 == 0 { Limits::default() } else { small };
        let dialog_cap_s = rules.dialog_cap_s;
        let options = TapOptions {
            rules,
            changes: if choices[1] & 4 == 0 { ChangesWanted::All } else { ChangesWanted::Lines },
            trace_messages: choices[1] & 2 != 0,
            trace_observations: true,
        };
        Self {
            tap: Tap::new(options, limits.clone()),
            limits,
            dialog_cap_s,
            now: START,
            frames: Vec::new(),
            told: BTreeMap::new(),
            told_at: Timestamp::EPOCH,
            ends: BTreeMap::new(),
            bindings: BTreeMap::new(),
            blind: BTreeSet::new(),
            is_between_runs: false,
            status_changes: 0,
            log: log.then(Vec::new),
            reached: Reached::default(),
        }
    }

    /// Media pass between two places, of which two are where descriptions say that they go, every three seconds.
    fn media(&mut self, between: u8, count: u8) {
        const MEDIA: u16 = 4_000;
        let [one, other] = [between & 3, between >> 2 & 1];
        for number in 0..=count & 7 {
            self.pass(self.now.after_s(3));
            self.frames.push(None);
            let ends = [(one, MEDIA), (other, MEDIA + u16::from(number & 1))];
            let [from, to] = if number & 2 == 0 { ends } else { [ends[1], ends[0]] };
            self.show(&datagram(from, to, &[0x80, 0, 0, number]));
        }
    }

    fn hear(&mut self, source: u8, destination: u8, bytes: &[u8]) {
        self.now = Timestamp::from_nanos(self.now.as_nanos() + 3_000_000);
        let mut scanner = Scanner::new(&Limits::default());
        let call_id =
            scanner.scan(bytes).ok().map(|read| String::from_utf8_lossy(read.call_id()).into_owned());
        self.frames.push(call_id);
        self.show(&packet(source, destination, bytes));
    }

    /// The frame that was noted last.
    fn show(&mut self, packet: &[u8]) {
        let id = FrameId::new(0, self.frames.len() as u64);
        let frame = Frame { at: self.now, id, link: RAW_IP, bytes: packet, wire_length: packet.len() };
        self.tap.handle(&frame);
        self.drain();
        // A late message may have set a deadline that is past already: it is due now, and once.
        self.tap.handle_timeout(self.now);
        self.drain();
        self.check();
    }

    /// Something happens to the capture. A run begins at that time, after one that showed nothing since now.
    fn happens(&mut self, choice: u8, begins: Timestamp) {
        let interface = ["eth1", "eth2"][usize::from(choice & 1)];
        let what = match choice {
            0 => CaptureChange::Reached,
            1 => CaptureChange::Continues,
            2 | 3 => CaptureChange::Blind { why: Blindness::Drops, since: self.now },
            4 | 5 => CaptureChange::Began,
            _ => CaptureChange::Seeing,
        };
        match what {
            CaptureChange::Blind { .. } => {
                self.blind.insert(interface);
            }
            CaptureChange::Began => {
                self.now = begins;
                self.is_between_runs = true;
            }
            CaptureChange::Seeing => {
                self.blind.remove(interface);
            }
            _ => {}
        }
        let counts = FrameCounts::default();
        self.tap.handle_capture(&CaptureEvent { at: self.now, interface: interface.into(), what, counts });
        self.drain();
        if std::mem::take(&mut self.is_between_runs) {
            self.blind.remove(interface);
        }
        self.check();
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, until: Timestamp) {
        let mut steps = 0;
        while let Some(at) = self.tap.poll_timeout().filter(|&at| at <= until) {
            steps += 1;
            assert!(steps < 10_000, "timers without end");
            self.now = self.now.max(at);
            self.tap.handle_timeout(self.now);
            self.drain();
            self.check();
        }
        self.now = until;
        self.tap.handle_timeout(until);
        self.drain();
        self.check();
    }

    fn drain(&mut self) {
        while let Some(output) = self.tap.poll_output() {
            if let Some(log) = &mut self.log {
                log.push(format!("{output:?}"));
            }
            match output {
                TapOutput::Change(change) => self.changed(&change),
                TapOutput::Oddity { oddity, at, .. } => {
                    self.in_time(at);
                    self.reached.note(oddity.name());
                }
                TapOutput::Capture(event) => self.in_time(event.at),
                TapOutput::Message(message) => self.in_time(message.at),
                TapOutput::Observed(attributed) => self.observed(&attributed.observation),
                TapOutput::Nobodys(observation) => self.observed(&observation),
            }
        }
    }

    fn check(&self) {
        assert!(self.tap.poll_timeout().is_none_or(|at| at > self.now), "a deadline in the past");
        let counters = self.tap.counters();
        let known = self.told.values().filter(|status| **status != Default::default()).count();
        assert!(known <= self.limits.presentities, "{known} presentities");
        assert_eq!(counters.changes, self.status_changes);
        let live = self.ends.values().filter(|(_, _, state)| *state != DialogState::Terminated);
        let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, call_id, _) in live {
            *calls.entry(call_id).or_default() += 1;
        }
        assert!(calls.len() <= self.limits.calls, "calls: {calls:?}");
        // Two parties to each dialog, a caller to each attempt, and a phone for each To-tag behind each branch.
        let most = self.limits.branches_per_call * (3 + self.limits.branches_per_call);
        for (call_id, ends) in calls {
            assert!(ends <= most, "{ends} ends of {call_id}");
        }
        let mut aors: BTreeMap<&Aor, usize> = BTreeMap::new();
        for (_, aor, _) in self.bindings.values().filter(|(_, _, event)| *event != BindingEvent::Removed) {
            *aors.entry(aor).or_default() += 1;
        }
        assert!(aors.len() <= self.limits.registered_aors, "registered: {aors:?}");
        for (aor, bindings) in aors {
            assert!(bindings <= self.limits.bindings_per_aor, "{bindings} bindings of {aor}");
        }
    }

    fn in_time(&mut self, at: Timestamp) {
        assert!(at <= self.now, "told before it happens");
    }

    /// The frame was heard, and is of this call.
    fn proves(&self, evidence: &Evidence) {
        let number = usize::try_from(evidence.frame.number()).unwrap_or(0);
        let frame = number.checked_sub(1).and_then(|at| self.frames.get(at));
        let Some(call_id) = frame else { panic!("{evidence:?} is of a frame that there never was") };
        if matches!(evidence.rule, Rule::Evicted | Rule::OtherLeg) {
            // The frame is of the message that needed the room, or of the other leg.
            assert!(call_id.is_some(), "{evidence:?}");
        } else if let Some(call_id) = call_id {
            assert_eq!(**call_id, *evidence.call_id, "{evidence:?}");
        } else {
            // Cut before its Call-ID, and completed by what was heard before.
            let mut before = self.frames.iter().take(number).flatten();
            assert!(before.any(|known| **known == *evidence.call_id), "{evidence:?}");
        }
    }

    fn changed(&mut self, change: &PresentityChange) {
        self.in_time(change.at);
        assert!(change.at >= self.told_at, "{:?} after {:?}", change.at, self.told_at);
        self.told_at = change.at;
        self.proves(&change.because);
        let state = &change.state;
        let status = (state.terminal, state.session);
        let is_blind = !self.blind.is_empty() || self.is_between_runs;
        assert!(!is_blind || state.confidence == Confidence::Degraded, "{change:?}");
        self.reached.note_if(!self.blind.is_empty(), "blind");
        self.reached.note_if(self.is_between_runs, "between two runs");
        match change.kind {
            ChangeKind::Status => {
                self.status_changes += 1;
                let before = self.told.get(&change.aor).copied().unwrap_or_default();
                // Of one who was forgotten for want of room nothing is known any more.
                assert!(change.previous == before || change.previous == Default::default(), "{change:?}");
                self.told.insert(change.aor.clone(), status);
                self.reached.note(state.terminal.name());
                self.reached.note(state.session.name());
                self.reached.note_if(state.watching, "watching");
                self.reached.note(change.because.rule.name());
            }
            ChangeKind::Contact => self.reached.note("contact"),
            ChangeKind::Document => self.reached.note("document"),
        }
        let talking = matches!(state.session, Session::Talking | Session::Held);
        match state.terminal {
            Terminal::Online => {}
            Terminal::OfflineWaiting => assert!(talking, "{change:?}"),
            Terminal::Offline | Terminal::Unknown => assert!(!talking, "{change:?}"),
        }
        assert_eq!(state.session == Session::Idle, state.peer.is_none() && state.session_type.is_none());
        assert!(state.bindings.len() <= self.limits.bindings_per_aor);
        assert!(state.registered != Terminal::Online || !state.bindings.is_empty() || state.publishable);
    }

    fn observed(&mut self, observation: &Observation) {
        self.in_time(observation.at);
        self.proves(&observation.evidence);
        let sequence = observation.sequence;
        self.reached.note(observation.evidence.rule.name());
        match &observation.fact {
            Fact::Dialog(fact) => {
                let known = self.ends.entry(fact.end).or_insert((0, String::new(), DialogState::Trying));
                if sequence > known.0 {
                    *known = (sequence, fact.call_id.to_string(), fact.state);
                }
                assert_eq!(fact.state == DialogState::Terminated, fact.ended.is_some(), "{fact:?}");
                if let Some(ended) = fact.ended {
                    self.reached.note(ended.name());
                }
            }
            Fact::Binding(fact) => {
                let aor = fact.binding.aor.clone();
                let known = self.bindings.entry(fact.binding.id).or_insert((0, aor, BindingEvent::Removed));
                if sequence > known.0 {
                    known.0 = sequence;
                    known.2 = fact.event;
                }
            }
            Fact::Subscription(_) | Fact::Server(_) | Fact::Domain(_) => {}
        }
    }

    /// Nobody says anything any more.
    fn silence(&mut self) {
        // What the longest Expires of an INVITE gives it to ring, and the waiting for what does not come.
        let until = self.now.after_s(self.dialog_cap_s + 3_600 + 400);
        self.pass(until);
        for (end, (_, call_id, state)) in &self.ends {
            assert_eq!(*state, DialogState::Terminated, "{end:?} of {call_id} goes on in silence");
        }
        for (aor, (_, session)) in &self.told {
            assert_eq!(*session, Session::Idle, "{aor} after a long silence");
        }
        let mut steps = 0;
        while let Some(at) = self.tap.poll_timeout() {
            steps += 1;
            assert!(steps < 1_000, "timers without end");
            self.pass(at);
        }
        for (aor, (terminal, _)) in &self.told {
            assert!(
                matches!(terminal, Terminal::Offline | Terminal::Unknown),
                "{aor} is {terminal:?} forever"
            );
        }
        let registered: BTreeSet<&Aor> = self
            .bindings
            .values()
            .filter(|(_, _, event)| *event != BindingEvent::Removed)
            .map(|(_, aor, _)| aor)
            .collect();
        assert!(registered.is_empty(), "{registered:?} are registered forever");
    }
}

fn steps(mut input: Input<'_>, watch: &mut Watch) {
    let mut sent: Vec<Message> = Vec::new();
    let mut branches = 0_u16;
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            return;
        }
        let what = input.byte();
        let next = match what % 8 {
            0 => {
                let (method, who, how) = (input.byte(), input.byte(), input.byte());
                branches += 1;
                let (from, to) = (who & 3, who >> 2 & 3);
                let place = [4, to, 5, 6][usize::from(who >> 4 & 3)];
                Some(Message {
                    method: METHODS[usize::from(method) % METHODS.len()],
                    status: None,
                    from,
                    to,
                    from_tag: 1 + (who >> 6),
                    to_tag: 0,
                    call: how & 7,
                    cseq: 1 + u32::from(how >> 3 & 3),
                    vias: vec![(from, branches)],
                    source: from,
                    destination: place,
                    description: DESCRIPTIONS[usize::from(how >> 5) % DESCRIPTIONS.len()],
                    expires_s: EXPIRES_S[usize::from(method >> 5) % EXPIRES_S.len()],
                    more: method & 16,
                })
            }
            // Answered.
            1 => input.recent(sent.len()).map(|at| {
                let asked = sent[at].clone();
                let (status, how) = (input.pick(&STATUSES), input.byte());
                Message {
                    status: Some(status),
                    to_tag: if asked.to_tag == 0 && status > 100 { how & 3 } else { asked.to_tag },
                    source: asked.destination,
                    destination: asked.source,
                    description: DESCRIPTIONS[usize::from(how >> 2 & 7) % DESCRIPTIONS.len()],
                    expires_s: if how & 32 == 0 { asked.expires_s } else { Some(300) },
                    more: how >> 6 << 1,
                    ..asked
                }
            }),
            // What follows it: in its dialog, or for its transaction.
            2 => input.recent(sent.len()).map(|at| {
                let before = sent[at].clone();
                let (method, how) = (input.pick(&METHODS), input.byte());
                let reverse = how & 1 != 0;
                let same_branch = how & 2 != 0;
                let turned = before.status.is_some() != reverse;
                let (from, to) = if reverse { (before.to, before.from) } else { (before.from, before.to) };
                let (from_tag, to_tag) = match reverse {
                    true => (before.to_tag, before.from_tag),
                    false => (before.from_tag, before.to_tag),
                };
                let (source, destination) = match turned {
                    true => (before.destination, before.source),
                    false => (before.source, before.destination),
                };
                if !same_branch {
                    branches += 1;
                }
                let branch = if same_branch { before.vias.first().map_or(0, |via| via.1) } else { branches };
                Message {
                    method,
                    status: None,
                    from,
                    to,
                    from_tag,
                    to_tag,
                    cseq: before.cseq + u32::from(how >> 2 & 1),
                    vias: vec![(source, branch)],
                    source,
                    destination,
                    description: DESCRIPTIONS[usize::from(how >> 3 & 7) % DESCRIPTIONS.len()],
                    expires_s: None,
                    more: how >> 6 << 4,
                    ..before
                }
            }),
            // Forwarded over the next hop.
            3 => input.recent(sent.len()).map(|at| {
                let mut on = sent[at].clone();
                let how = input.byte();
                match on.status {
                    None => {
                        branches += 1;
                        on.source = on.destination;
                        on.destination = how % 7;
                        on.vias.insert(0, (on.source, branches));
                        on.to = if how & 64 != 0 { how >> 3 & 3 } else { on.to };
                    }
                    Some(_) => {
                        on.vias.remove(0);
                        on.source = on.destination;
                        on.destination = on.vias.first().map_or(how % 7, |via| via.0);
                        if on.vias.is_empty() {
                            on.vias.push((on.source, branches));
                        }
                    }
                }
                on
            }),
            // Once more: a copy, or sent again.
            4 => input.recent(sent.len()).map(|at| sent[at].clone()),
            5 => {
                if what >> 3 & 3 == 2 {
                    watch.media(what >> 5, input.byte());
                }
                let until = Timestamp::from_nanos(watch.now.as_nanos() + input.pick(&WAITS_MS) * 1_000_000);
                if what >> 3 & 3 == 3 {
                    watch.happens(what >> 5, until);
                }
                watch.pass(until);
                None
            }
            // Damaged on its way, or by whoever wrote it.
            6 => {
                if let Some(at) = input.recent(sent.len()) {
                    let mut bytes = sent[at].write();
                    let place = usize::from(input.two()) % bytes.len();
                    match input.byte() {
                        0 => bytes.truncate(place),
                        byte => bytes[place] = byte,
                    }
                    watch.hear(sent[at].source, sent[at].destination, &bytes);
                }
                None
            }
            // A registration and its answer.
            _ => {
                let (who, how) = (input.byte(), input.byte());
                branches += 1;
                let user = who & 3;
                let request = Message {
                    method: "REGISTER",
                    status: None,
                    from: user,
                    to: user,
                    from_tag: 1,
                    to_tag: 0,
                    call: 8 + (who >> 2 & 3),
                    cseq: u32::from(branches),
                    vias: vec![(user, branches)],
                    source: user,
                    destination: 4 + (who >> 4 & 1),
                    description: None,
                    expires_s: EXPIRES_S[usize::from(how & 7) % EXPIRES_S.len()],
                    more: how >> 3 << 3 & 32,
                };
                watch.hear(request.source, request.destination, &request.write());
                sent.push(request.clone());
                (how & 128 == 0).then_some(Message {
                    status: Some(200),
                    source: request.destination,
                    destination: request.source,
                    to_tag: 9,
                    // What registrars list is the phone's Contact, which is the To's here.
                    ..request
                })
            }
        };
        if let Some(message) = next {
            watch.hear(message.source, message.destination, &message.write());
            sent.push(message);
        }
    }
}

/// Two bytes of choices, then steps.
pub fn target(data: &[u8]) -> Reached {
    let mut input = Input::new(data);
    let choices = [input.byte(), input.byte()];
    let twice = choices[1] & 4 != 0;
    let mut watch = Watch::new(choices, twice);
    steps(Input::new(input.rest()), &mut watch);
    watch.silence();
    if twice {
        let mut again = Watch::new(choices, true);
        steps(Input::new(input.rest()), &mut again);
        again.silence();
        assert_eq!(again.log, watch.log, "the same frames say something else");
        watch.reached.note("the same twice");
    }
    watch.reached
}
