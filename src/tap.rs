//! The tap: decode, stream, sip, track, identity and presence as one machine without I/O.
//! In: `Frame`. Out: `TapOutput`. Knows nothing of clocks, sockets, files, output.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::{
    CaptureChange, CaptureEvent, FrameId, HeardTransport, Limits, Oddities, Oddity, Rules, Texts, Timestamp,
};
use crate::decode::{Decoder, Frame, Payload};
use crate::identity::{Attributed, Identifier};
use crate::presence::{ChangesWanted, Presences, PresentityChange};
use crate::sip::{CutMessages, OWN_CALL_ID_PREFIX, OWN_RECALL_PREFIX, Scanner, SipMessage};
use crate::stream::{RawMessage, Reassembler};
use crate::track::{Fact, Heard, Observation, Side, Tracker};

/// Interfaces of which it is known that they are blind; a recording may name any number.
const MOST_BLIND: usize = 256;

/// What a tap is to do and to tell.
#[derive(Clone, Debug, Default)]
pub struct TapOptions {
    /// What counts as what.
    pub rules: Rules,
    /// Which changes to tell.
    pub changes: ChangesWanted,
    /// Tell of every message, for a ladder.
    pub trace_messages: bool,
    /// Tell of every observation, for an explanation.
    pub trace_observations: bool,
}

/// What a tap tells.
#[derive(Clone, Debug)]
pub enum TapOutput {
    /// A presentity changed.
    Change(PresentityChange),
    /// The first oddity of its name.
    Oddity {
        /// Which.
        oddity: Oddity,
        /// When.
        at: Timestamp,
        /// In which frame.
        frame: FrameId,
    },
    /// The capture became blind at an interface, or sees again there.
    Capture(CaptureEvent),
    /// A message passed; told before the changes it causes.
    Message(MessageSeen),
    /// Something was found out about somebody; told before the changes it causes.
    Observed(Box<Attributed>),
    /// Something was found out that is nobody's.
    Nobodys(Observation),
}

/// A message as a ladder shows it.
#[derive(Clone, Debug)]
pub struct MessageSeen {
    /// When it was complete.
    pub at: Timestamp,
    /// The frame that completed it.
    pub frame: FrameId,
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// What carried it.
    pub transport: HeardTransport,
    /// `INVITE sip:bob@example.com` or `200 OK (INVITE)`; bytes of the wire, not made safe for a terminal.
    pub title: String,
    /// Its Call-ID.
    pub call_id: Arc<str>,
    /// The same for a retransmission or a copy of it on the same hop, and for nothing else.
    pub mark: u64,
    /// It carries a session description.
    pub has_sdp: bool,
    /// The From URI.
    pub from: String,
    /// The To URI.
    pub to: String,
}

/// What was counted so far.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Frames handed in.
    pub frames: u64,
    /// SIP messages read.
    pub sip_messages: u64,
    /// Presentities of which anything is known.
    pub presentities: u64,
    /// Status changes.
    pub changes: u64,
    /// Oddities by name, those that occurred.
    pub oddities: Vec<(&'static str, u64)>,
    /// Ends of dialogs and attempts by reason, those that occurred.
    pub ends: Vec<(&'static str, u64)>,
}

/// The whole way of a packet, without I/O. After each `handle` or `handle_timeout`, drain
/// [`Self::poll_output`] until it gives `None`.
pub struct Tap {
    now: Timestamp,
    /// When something is due next. Most frames are media, and change nothing of it.
    due: Option<Timestamp>,
    /// The same of streams alone.
    stream_due: Option<Timestamp>,
    decoder: Decoder,
    reassembler: Reassembler,
    spine: Spine,
    oddities: Oddities,
    /// The interfaces that do not show all.
    blind: Vec<Arc<str>>,
    frames: u64,
    /// The last one, which is cited for what comes of a gap in a stream that is given up.
    frame: FrameId,
}

/// From the bytes of a message to a changed presentity.
struct Spine {
    scanner: Scanner,
    cut_messages: CutMessages,
    texts: Texts,
    tracker: Tracker,
    identifier: Identifier,
    presences: Presences,
    output: VecDeque<TapOutput>,
    trace_messages: bool,
    trace_observations: bool,
    sip_messages: u64,
    /// Those that are not an offhook's own.
    of_phones: u64,
}

impl Tap {
    /// A tap that has heard nothing.
    pub fn new(options: TapOptions, limits: Limits) -> Self {
        let TapOptions { rules, changes, trace_messages, trace_observations } = options;
        Self {
            now: Timestamp::EPOCH,
            due: None,
            stream_due: None,
            decoder: Decoder::new(&limits),
            reassembler: Reassembler::new(&limits),
            spine: Spine {
                scanner: Scanner::new(&limits),
                cut_messages: CutMessages::new(&limits),
                texts: Texts::default(),
                tracker: Tracker::new(&rules, &limits),
                identifier: Identifier::new(&rules, &limits),
                presences: Presences::new(changes, &rules, &limits),
                output: VecDeque::new(),
                trace_messages,
                trace_observations,
                sip_messages: 0,
                of_phones: 0,
            },
            oddities: Oddities::default(),
            blind: Vec::new(),
            frames: 0,
            frame: FrameId::default(),
        }
    }

    /// Takes in what happened to the capture itself, after firing all that was due before it. As long as one interface
    /// is blind, the capture is.
    pub fn handle_capture(&mut self, event: &CaptureEvent) {
        if event.what != CaptureChange::Counted {
            self.see(event);
            self.look_ahead();
        }
    }

    fn see(&mut self, event: &CaptureEvent) {
        if event.what == CaptureChange::Began {
            // It showed nothing since whatever was heard before: of another run, or another interface.
            self.spine.blind();
        }
        self.handle_timeout(event.at);
        let at = event.at.max(self.now);
        let known = self.blind.iter().position(|blind| *blind == event.interface);
        let spine = &mut self.spine;
        match (event.what, known) {
            (CaptureChange::Began, known) => {
                known.map(|known| self.blind.remove(known));
                if self.blind.is_empty() {
                    spine.seeing(at);
                }
                return;
            }
            (CaptureChange::Continues, _) => return spine.presences.start(at),
            (CaptureChange::Blind { .. }, None) if self.blind.len() < MOST_BLIND => {
                self.blind.push(Arc::clone(&event.interface));
                spine.blind();
            }
            (CaptureChange::Seeing, Some(known)) => {
                self.blind.remove(known);
                if self.blind.is_empty() {
                    spine.seeing(at);
                }
            }
            _ => return,
        }
        self.spine.output.push_back(TapOutput::Capture(CaptureEvent { at, ..event.clone() }));
    }

    /// Takes in one frame, after firing all that was due before it. Time never goes back: a frame with
    /// an earlier stamp is taken to be of now.
    pub fn handle(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        self.oddities.at(frame.at, frame.id);
        if frame.at < self.now {
            self.oddities.note(Oddity::TimeWentBack);
        }
        let at = frame.at.max(self.now);
        self.handle_timeout(at);
        self.frame = frame.id;
        self.spine.presences.start(at);
        self.oddities.at(at, frame.id);
        self.spine.tracker.see_frame(at, frame.id);
        let Self { decoder, reassembler, spine, oddities, .. } = self;
        let messages = (spine.sip_messages, spine.of_phones);
        let (mut is_stream, mut came_back) = (false, false);
        if let Some(segment) = decoder.decode(frame, oddities) {
            is_stream = !matches!(segment.payload, Payload::Udp(_));
            reassembler.handle(at, &segment, oddities, &mut |raw, oddities| {
                spine.message(at, frame.id, &raw, oddities);
            });
            if !is_stream && spine.sip_messages == messages.0 {
                let ends = [segment.source, segment.destination];
                came_back = spine.tracker.handle_datagram(at, frame.id, ends, segment.is_media());
            }
        }
        if came_back {
            spine.drain(oddities);
        }
        spine.lose(reassembler, at);
        spine.flush(at, oddities);
        if came_back
            || spine.of_phones != messages.1
            || (is_stream && reassembler.poll_timeout() != self.stream_due)
        {
            self.look_ahead();
        }
    }

    /// Fires what is due up to `now`, each thing at its own time; with nearly all frames nothing.
    #[inline]
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.due.is_some_and(|at| at <= now) {
            self.fire(now);
        }
        self.now = self.now.max(now);
    }

    fn fire(&mut self, now: Timestamp) {
        while let Some(at) = self.due.filter(|&at| at <= now) {
            // A deadline that was set into the past by a late message fires now.
            let at = at.max(self.now);
            self.now = at;
            self.oddities.at(at, self.frame);
            self.spine.tracker.handle_timeout(at);
            self.spine.presences.handle_timeout(at);
            let Self { reassembler, spine, oddities, frame, .. } = self;
            spine.drain(oddities);
            reassembler.handle_timeout(at, oddities, &mut |raw, oddities| {
                spine.message(at, *frame, &raw, oddities);
            });
            spine.lose(reassembler, at);
            spine.flush(at, oddities);
            self.look_ahead();
        }
    }

    fn look_ahead(&mut self) {
        let spine =
            Timestamp::earlier(self.spine.tracker.poll_timeout(), self.spine.presences.poll_timeout());
        self.stream_due = self.reassembler.poll_timeout();
        self.due = Timestamp::earlier(spine, self.stream_due);
    }

    /// When something is due next.
    pub const fn poll_timeout(&self) -> Option<Timestamp> {
        self.due
    }

    /// There is something to tell.
    pub fn has_output(&self) -> bool {
        !self.spine.output.is_empty()
    }

    /// The next thing to tell.
    pub fn poll_output(&mut self) -> Option<TapOutput> {
        self.spine.output.pop_front()
    }

    /// SIP messages of which a status may come: all but those between an offhook and a presence server.
    pub const fn messages_of_phones(&self) -> u64 {
        self.spine.of_phones
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let spine = &self.spine;
        Counters {
            frames: self.frames,
            sip_messages: spine.sip_messages,
            presentities: spine.presences.len() as u64,
            changes: spine.presences.changes(),
            oddities: self.oddities.counts().map(|(oddity, count)| (oddity.name(), count)).collect(),
            ends: spine.tracker.ends().map(|(reason, count)| (reason.name(), count)).collect(),
        }
    }
}

impl Spine {
    fn message(&mut self, at: Timestamp, frame: FrameId, raw: &RawMessage<'_>, oddities: &mut Oddities) {
        let completed = if raw.whole { None } else { self.cut_messages.complete(raw.bytes) };
        // It is large, and stays where it was scanned to.
        let scanned = self.scanner.scan(completed.as_deref().unwrap_or(raw.bytes));
        let Ok(message) = &scanned else {
            return oddities.note(if raw.whole { Oddity::MalformedMessage } else { Oddity::MessageCut });
        };
        self.sip_messages += 1;
        self.cut_messages.read(message);
        let heard = Heard {
            at,
            frame,
            source: raw.source,
            destination: raw.destination,
            transport: raw.transport,
            whole: raw.whole,
            message,
            texts: &self.texts,
        };
        if self.trace_messages {
            self.output.push_back(TapOutput::Message(message_seen(&heard)));
        }
        // What an offhook sends to a presence server, and the answers, say nothing of phones: that server is no
        // registrar, and the publisher's digest user is nobody's phone.
        if !message.call_id().starts_with(OWN_CALL_ID_PREFIX.as_bytes()) {
            self.of_phones += 1;
            self.tracker.handle(&heard, oddities);
            self.drain(oddities);
        }
    }

    /// The capture does not show all that passes.
    fn blind(&mut self) {
        self.tracker.sees_since(None);
        self.presences.blind();
    }

    /// It does again.
    fn seeing(&mut self, at: Timestamp) {
        self.tracker.sees_since(Some(at));
        self.presences.seeing(at);
    }

    /// What the mirror has lost of streams; with nearly all frames nothing.
    #[inline]
    fn lose(&mut self, reassembler: &mut Reassembler, at: Timestamp) {
        while let Some(loss) = reassembler.poll_loss() {
            self.tracker.handle_loss(at, loss.sent_at, (loss.source, loss.destination), loss.bytes);
        }
    }

    /// Carries observations on to presence.
    fn drain(&mut self, oddities: &mut Oddities) {
        while let Some(observation) = self.tracker.poll_observation() {
            if is_our_own_end(&observation) {
                continue;
            }
            let traced = self.trace_observations.then(|| observation.clone());
            self.identifier.handle(observation, oddities);
            let mut whose = false;
            while let Some(attributed) = self.identifier.poll_attributed() {
                if self.trace_observations {
                    whose = true;
                    self.output.push_back(TapOutput::Observed(Box::new(attributed.clone())));
                }
                self.presences.handle(attributed, oddities);
            }
            if let Some(observation) = traced.filter(|_| !whose) {
                self.output.push_back(TapOutput::Nobodys(observation));
            }
        }
    }

    /// The frame or moment is over: what came of it is told. Of most frames nothing came.
    #[inline]
    fn flush(&mut self, at: Timestamp, oddities: &mut Oddities) {
        if oddities.has_first() || self.presences.has_touched() {
            self.tell(at, oddities);
        }
    }

    #[inline(never)]
    fn tell(&mut self, at: Timestamp, oddities: &mut Oddities) {
        while let Some((oddity, at, frame)) = oddities.poll_first() {
            self.output.push_back(TapOutput::Oddity { oddity, at, frame });
        }
        self.presences.flush(at);
        while let Some(change) = self.presences.poll_change() {
            self.output.push_back(TapOutput::Change(change));
        }
    }
}

/// The end from which we ring somebody's phone is nobody's; the phone's end is tracked as any.
fn is_our_own_end(observation: &Observation) -> bool {
    matches!(&observation.fact, Fact::Dialog(end)
        if end.side == Side::Caller && end.call_id.starts_with(OWN_RECALL_PREFIX))
}

fn message_seen(heard: &Heard<'_, '_>) -> MessageSeen {
    let message: &SipMessage<'_> = heard.message;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut mark = DefaultHasher::new();
    (heard.source, heard.destination, message.status(), message.method_text()).hash(&mut mark);
    (message.call_id(), message.cseq().number, message.top_branch(), message.to_tag()).hash(&mut mark);
    let title = match message.status() {
        Some(status) => {
            format!("{status} {} ({})", text(message.reason()), message.cseq().method.name())
        }
        None => {
            format!("{} {}", text(message.method_text()), text(message.request_uri().unwrap_or_default()))
        }
    };
    MessageSeen {
        at: heard.at,
        frame: heard.frame,
        source: heard.source,
        destination: heard.destination,
        transport: heard.transport,
        title,
        call_id: Arc::from(text(message.call_id())),
        mark: mark.finish(),
        has_sdp: message.sdp().is_some(),
        from: text(message.from().uri),
        to: text(message.to().uri),
    }
}
