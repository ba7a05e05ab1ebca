//! One direction of a TCP connection: bytes into order, messages out of bytes, or out of the WebSocket frames in them.
//! In: segments' bytes with sequence numbers. Out: `RawMessage`. Knows nothing of other streams.
//! RFC 9293 section 3.4 (sequence numbers wrap), RFC 3261 section 18.3 (Content-Length frames a stream).
//!
//! ```text
//!            SYN                    whole message
//!   (none) ──────▶ Opening ───────────────────────▶ Following ◀─┐
//!     │               │ not SIP: forgotten            │   │     │ start line found
//!     └── a segment that begins like SIP ─────────────┘   │     │
//!                                                         ▼     │
//!                     a gap, or bytes that are no SIP: Searching┘
//! ```
//!
//! Where a WebSocket is opened for SIP, or a segment begins with a frame that begins a SIP message, frames are followed from
//! there on.

use std::collections::VecDeque;
use std::net::SocketAddr;

use memchr::memchr;

use crate::base::{HeardTransport, Oddities, Oddity, Timestamp};

use super::content::{self, Found, Start};
use super::framing::{self, ContentLength};
use super::websocket::{self, Opening, WebSocket};
use super::{Each, RawMessage, StreamLoss};

/// A segment that lies further back than this is none that is sent again: its sequence numbers began anew.
const RETRANSMISSION_WINDOW_BYTES: usize = 1 << 20;

/// Bodies longer than this are not passed over; the next message is searched for.
const MAX_PASSED_OVER_BYTES: usize = 16 << 20;

/// An acknowledgement of more than that is of another stream, or forged.
const MAX_MISSING_BYTES: usize = 65_536;

/// Bytes searched for a start line before the direction is forgotten.
const MAX_SEARCHED_BYTES: usize = 1 << 20;

/// Losses told of one segment.
const MAX_LOSSES: usize = 16;

/// What holding a piece costs beside its bytes.
const PIECE_OVERHEAD_BYTES: usize = 64;

/// A buffer of this size is kept for the next message that is cut, whosever it is.
const KEPT_CAPACITY_BYTES: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The SYN was seen, nothing else yet.
    Opening,
    /// What comes next is a message, or what is behind one.
    Following,
    /// Where messages begin is not known.
    Searching,
}

/// Bytes that came before those that stand before them.
#[derive(Debug)]
struct Piece {
    sequence: u32,
    length: usize,
    /// Empty if they were whole messages, which were handed on at once.
    bytes: Vec<u8>,
    cut: bool,
}

impl Piece {
    fn was_handed_on(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What holding it costs.
    fn cost_bytes(&self) -> usize {
        self.bytes.len() + PIECE_OVERHEAD_BYTES
    }
}

/// Whether there is a reason to go on with a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// It carries no SIP.
    Forget,
}

/// Where messages and oddities go, and what bounds them.
pub(super) struct Context<'c> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub message_bytes: usize,
    pub stream_bytes: usize,
    /// An empty buffer: that of the last message that was held.
    pub spare: &'c mut Vec<u8>,
    pub oddities: &'c mut Oddities,
    pub losses: &'c mut VecDeque<StreamLoss>,
    pub each: Each<'c>,
}

impl Context<'_> {
    pub fn deliver(&mut self, transport: HeardTransport, bytes: &[u8], whole: bool) {
        let message =
            RawMessage { source: self.source, destination: self.destination, transport, bytes, whole };
        (self.each)(message, self.oddities);
    }

    fn lose(&mut self, bytes: u32, sent_at: Timestamp) {
        self.oddities.note(Oddity::StreamGap);
        if self.losses.len() < MAX_LOSSES {
            let (source, destination) = (self.source, self.destination);
            self.losses.push_back(StreamLoss { sent_at, source, destination, bytes: bytes as usize });
        }
    }
}

/// What is known of one direction.
#[derive(Debug)]
pub(super) struct Direction {
    phase: Phase,
    /// Sequence number of the first byte there ever was, as far as was seen.
    origin: u32,
    /// Sequence number of the first byte that has not come.
    next: u32,
    /// The beginning of a message whose end has not come; it ends before `next`.
    held: Vec<u8>,
    /// Length of the message whose beginning is held; 0 while its header fields are not complete.
    expected: usize,
    /// Bytes to pass over before the next message.
    passing: usize,
    searched: usize,
    /// It is searched since bytes were lost.
    lost: bool,
    /// What is searched goes on in a line that is no start line.
    inside_line: bool,
    /// What came too early, in order, without overlap, all of it behind `next`.
    later: VecDeque<Piece>,
    later_bytes: usize,
    /// The bytes from `next` on were cut off by a snapshot length: waiting for them is no use.
    cut: bool,
    /// The sender sends no more.
    finished: bool,
    /// Until when the bytes from `next` on are waited for, if there are later ones.
    pub gap_ends: Option<Timestamp>,
    /// When the first of those later ones came.
    pub gap_since: Timestamp,
    /// The receiver acknowledged bytes up to there that have not come, and until when they are waited for.
    pub unseen: Option<(Timestamp, u32)>,
    /// That bytes before this one were lost was told.
    told_until: u32,
    /// What is in order goes there, if it is frames.
    websocket: Option<Box<WebSocket>>,
}

impl Direction {
    /// A direction whose SYN was seen; `sequence` is that of the first byte behind it.
    pub fn opening(sequence: u32) -> Self {
        Self {
            phase: Phase::Opening,
            origin: sequence,
            next: sequence,
            held: Vec::new(),
            expected: 0,
            passing: 0,
            searched: 0,
            lost: false,
            inside_line: false,
            later: VecDeque::new(),
            later_bytes: 0,
            cut: false,
            finished: false,
            gap_ends: None,
            gap_since: Timestamp::EPOCH,
            unseen: None,
            told_until: sequence,
            websocket: None,
        }
    }

    /// A direction that is joined in the middle, if these bytes begin a message.
    pub fn joining(sequence: u32, bytes: &[u8]) -> Option<Self> {
        let websocket = websocket::begins_message(bytes);
        (websocket || begins_message(bytes)).then(|| Self {
            phase: Phase::Following,
            websocket: websocket.then(|| Box::new(WebSocket::new())),
            ..Self::opening(sequence)
        })
    }

    /// Whether a SYN before `sequence` is one that was seen before, or belongs to what is followed already.
    pub fn began_at(&self, sequence: u32) -> bool {
        self.origin == sequence || {
            let behind = self.next.wrapping_sub(sequence);
            self.phase != Phase::Opening && behind > 0 && behind < 65_536
        }
    }

    /// Bytes held.
    pub fn held_bytes(&self) -> usize {
        self.held.len() + self.later_bytes + self.websocket.as_ref().map_or(0, |frames| frames.held_bytes())
    }

    /// Whether there are bytes behind some that have not come.
    pub fn has_gap(&self) -> bool {
        !self.later.is_empty()
    }

    /// Where the bytes begin that have not come, if there are some behind them.
    pub fn gap(&self) -> Option<u32> {
        self.has_gap().then_some(self.next)
    }

    /// Whether all the bytes that have not come, up to those that came later, lie before this one.
    pub fn gap_is_before(&self, sequence: u32) -> bool {
        self.later.front().is_some_and(|first| sequence.wrapping_sub(first.sequence).cast_signed() >= 0)
    }

    /// How many bytes before this one have not come, of a stream that is followed and has none behind them.
    pub fn missing_before(&self, sequence: u32) -> Option<u32> {
        let is_followed = self.phase == Phase::Following && !self.cut && !self.finished && !self.has_gap();
        let missing = self.untold_before(sequence);
        // One that is missing may be the FIN, which counts as one.
        (is_followed && missing > 1 && missing as usize <= MAX_MISSING_BYTES).then_some(missing)
    }

    /// How many bytes before this one have not come and were not told to be lost.
    fn untold_before(&self, sequence: u32) -> u32 {
        let ahead = |from: u32| u32::try_from(sequence.wrapping_sub(from).cast_signed()).unwrap_or(0);
        ahead(self.next).min(ahead(self.told_until))
    }

    /// The bytes before this one have not come, and will not: the mirror lost them. Where the stream goes on its next segment
    /// will show.
    pub fn lose_before(&mut self, sequence: u32, sent_at: Timestamp, context: &mut Context<'_>) {
        if let Some(missing) = self.missing_before(sequence) {
            self.told_until = sequence;
            context.lose(missing, sent_at);
        }
    }

    /// Takes one segment's bytes. `cut`: the segment had more of them.
    pub fn take(&mut self, sequence: u32, bytes: &[u8], cut: bool, context: &mut Context<'_>) -> Verdict {
        let ahead = sequence.wrapping_sub(self.next).cast_signed();
        if ahead > 0 {
            if cut || self.cut || !self.hand_on_early(sequence, bytes, context) {
                self.hold_for_later(sequence, bytes, cut);
            }
            let too_far = usize::try_from(ahead).unwrap_or(0) > context.stream_bytes;
            if self.cut || too_far || self.later_bytes > self.most_later_bytes(context) {
                return self.give_up_gap(context);
            }
            return Verdict::Keep;
        }
        let known = ahead.unsigned_abs() as usize;
        if known > RETRANSMISSION_WINDOW_BYTES
            && let Some(anew) = Self::joining(sequence, bytes)
        {
            *self = anew;
            return self.in_order(bytes, cut, context);
        }
        let fresh = match bytes.get(known..) {
            None | Some([]) => return Verdict::Keep,
            Some(fresh) => fresh,
        };
        // What was handed on before is not framed again.
        let until = self.handed_on_next().map_or(fresh.len(), |at| at.min(fresh.len()));
        let (now, behind) = fresh.split_at(until);
        if self.in_order(now, cut && behind.is_empty(), context) == Verdict::Forget {
            return Verdict::Forget;
        }
        let at = self.next;
        match self.take_later(context) {
            Verdict::Keep if !behind.is_empty() => self.take(at, behind, cut, context),
            verdict => verdict,
        }
    }

    /// Hands on at once what comes too early, if it is one message or several, whole: whether what stands before it was lost
    /// or is only late, what it says holds now. Returns whether it was. A line end before the first of them may be a
    /// keep-alive, or the end of the body of a message before it.
    fn hand_on_early(&mut self, sequence: u32, bytes: &[u8], context: &mut Context<'_>) -> bool {
        let begins_with_line_end = content::keep_alive(bytes) > 0;
        if self.websocket.is_some() || begins_with_line_end || !are_messages(bytes, context.message_bytes) {
            return false;
        }
        let start = sequence.wrapping_sub(self.next) as usize;
        let end = start + bytes.len();
        let begins = |piece: &Piece| piece.sequence.wrapping_sub(self.next) as usize;
        let index = self.later.partition_point(|piece| begins(piece) < start);
        let before = index.checked_sub(1).and_then(|before| self.later.get(before));
        let overlaps = before.is_some_and(|piece| begins(piece) + piece.length > start)
            || self.later.get(index).is_some_and(|piece| begins(piece) < end);
        if overlaps {
            return false;
        }
        let mut rest = bytes;
        while let Some((message, behind)) = first_message(rest) {
            context.deliver(HeardTransport::Tcp, message, true);
            rest = behind;
        }
        if self.phase == Phase::Opening {
            // It is SIP, whatever its first bytes were.
            self.phase = Phase::Following;
        }
        let piece = Piece { sequence, length: bytes.len(), bytes: Vec::new(), cut: false };
        self.later_bytes += piece.cost_bytes();
        self.later.insert(index, piece);
        true
    }

    /// How many bytes there are up to those that were handed on early.
    fn handed_on_next(&self) -> Option<usize> {
        let piece = self.later.iter().find(|piece| piece.was_handed_on())?;
        Some(piece.sequence.wrapping_sub(self.next) as usize)
    }

    /// Goes on behind messages that were handed on early.
    fn pass_handed_on(&mut self, length: usize, context: &mut Context<'_>) {
        self.give_up_message(context);
        self.next = self.next.wrapping_add(u32::try_from(length).unwrap_or(u32::MAX));
        self.passing = 0;
        self.phase = Phase::Following;
        self.inside_line = false;
        self.searched = 0;
    }

    /// The sender sends no more from `sequence` on. What is held will not be completed.
    pub fn finish(&mut self, sequence: u32, context: &mut Context<'_>) {
        if sequence == self.next {
            if let Some(websocket) = &mut self.websocket {
                websocket.finish(context);
            }
            if self.expected == 0 && self.phase == Phase::Following && begins_message(&self.held) {
                // Its fields may be missing, and half a field would say something else than the whole.
                context.oddities.note(Oddity::MessageCut);
            }
            self.give_up_message(context);
            self.passing = 0;
            self.held = Vec::new();
            self.finished = true;
        }
    }

    /// Whether more messages may come.
    pub fn is_followed(&self) -> bool {
        self.phase != Phase::Opening && !self.finished
    }

    /// What has not come will not come: goes on behind it.
    pub fn give_up_gap(&mut self, context: &mut Context<'_>) -> Verdict {
        self.skip_gap(context);
        self.take_later(context)
    }

    fn skip_gap(&mut self, context: &mut Context<'_>) {
        let Some(first) = self.later.front() else {
            return;
        };
        let missing = first.sequence.wrapping_sub(self.next) as usize;
        let untold = self.untold_before(first.sequence);
        if !self.cut && untold > 0 {
            context.lose(untold, self.gap_since);
        }
        self.next = first.sequence;
        self.told_until = self.next;
        self.cut = false;
        self.gap_ends = None;
        self.inside_line = false;
        if let Some(websocket) = &mut self.websocket {
            return websocket.skip(missing, context);
        }
        self.give_up_message(context);
        // If the gap lies inside a body, where the next message begins is still known.
        if missing <= self.passing {
            self.passing -= missing;
        } else {
            self.passing = 0;
            self.phase = Phase::Searching;
            self.searched = 0;
            self.lost = true;
        }
    }

    /// Hands on a message whose header fields are complete but not its body, drops one without.
    fn give_up_message(&mut self, context: &mut Context<'_>) {
        let held = std::mem::take(&mut self.held);
        if self.expected > 0 {
            context.oddities.note(Oddity::MessageCut);
            context.deliver(HeardTransport::Tcp, &held, false);
            self.passing = self.expected.saturating_sub(held.len());
            self.expected = 0;
        } else if !held.is_empty() {
            self.passing = 0;
            self.phase = Phase::Searching;
        }
    }

    /// Hands on what there is of a message that a snapshot length cut. Without a complete head that is its
    /// complete lines: half a header field would say something else than the whole.
    fn give_up_cut_message(&mut self, context: &mut Context<'_>) {
        if self.expected == 0 && self.phase != Phase::Searching && begins_message(&self.held) {
            let held = std::mem::take(&mut self.held);
            context.oddities.note(Oddity::MessageCut);
            context.deliver(HeardTransport::Tcp, content::complete_lines(&held), false);
            self.phase = Phase::Searching;
        } else if self.expected > 0 {
            self.give_up_message(context);
        }
    }

    /// Keeps those bytes that did not come before: the first that came win.
    fn hold_for_later(&mut self, sequence: u32, bytes: &[u8], cut: bool) {
        let start = sequence.wrapping_sub(self.next) as usize;
        let mut from = 0;
        let mut index = 0;
        while from < bytes.len() {
            let (until, behind) = match self.later.get(index) {
                None => (bytes.len(), bytes.len()),
                Some(piece) => {
                    let piece_start = piece.sequence.wrapping_sub(self.next) as usize;
                    let piece_end = piece_start + piece.length;
                    (piece_start.saturating_sub(start).min(bytes.len()), piece_end.saturating_sub(start))
                }
            };
            if let Some(fresh) = bytes.get(from..until).filter(|fresh| !fresh.is_empty()) {
                let piece = Piece {
                    sequence: sequence.wrapping_add(u32::try_from(from).unwrap_or(u32::MAX)),
                    length: fresh.len(),
                    bytes: fresh.to_vec(),
                    cut: cut && until == bytes.len(),
                };
                self.later_bytes += piece.cost_bytes();
                self.later.insert(index, piece);
                index += 1;
            }
            from = from.max(behind);
            index += 1;
        }
    }

    /// A direction that has not shown any SIP gets little.
    fn most_later_bytes(&self, context: &Context<'_>) -> usize {
        if self.phase == Phase::Opening { context.stream_bytes / 2 } else { context.stream_bytes }
    }

    /// Goes on with what came early, as far as it is next now.
    fn take_later(&mut self, context: &mut Context<'_>) -> Verdict {
        while let Some(first) = self.later.front() {
            let ahead = first.sequence.wrapping_sub(self.next).cast_signed();
            if ahead > 0 && self.cut {
                self.skip_gap(context);
                continue;
            }
            if ahead > 0 {
                break;
            }
            let Some(piece) = self.later.pop_front() else {
                break;
            };
            self.later_bytes = self.later_bytes.saturating_sub(piece.cost_bytes());
            let known = ahead.unsigned_abs() as usize;
            if piece.was_handed_on() {
                if let Some(length) = piece.length.checked_sub(known).filter(|&length| length > 0) {
                    self.pass_handed_on(length, context);
                }
                continue;
            }
            let Some(fresh @ [_, ..]) = piece.bytes.get(known..) else {
                continue;
            };
            if self.in_order(fresh, piece.cut, context) == Verdict::Forget {
                return Verdict::Forget;
            }
        }
        Verdict::Keep
    }

    /// Takes the bytes that are next. Whole messages are lent straight from them; only the rest is copied.
    fn in_order(&mut self, bytes: &[u8], cut: bool, context: &mut Context<'_>) -> Verdict {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.next = self.next.wrapping_add(length);
        self.cut = cut;
        if self.phase == Phase::Searching && self.lost && websocket::begins_message(bytes) {
            (self.phase, self.passing, self.held) = (Phase::Following, 0, Vec::new());
            self.websocket = Some(Box::new(WebSocket::new()));
        }
        if let Some(websocket) = &mut self.websocket {
            let verdict = websocket.take(bytes, context);
            if cut {
                websocket.cut(context);
            }
            return verdict;
        }
        let passed = self.passing.min(bytes.len());
        self.passing -= passed;
        let bytes = bytes.get(passed..).unwrap_or_default();
        let verdict = if self.held.is_empty() {
            let (used, verdict) = self.frame(bytes, context);
            let rest = bytes.get(used..).unwrap_or_default();
            if !rest.is_empty() {
                self.held = std::mem::take(context.spare);
                self.held.extend_from_slice(rest);
            }
            verdict
        } else {
            self.held.extend_from_slice(bytes);
            if self.held.len() >= self.expected {
                let mut held = std::mem::take(&mut self.held);
                let (used, verdict) = self.frame(&held, context);
                held.drain(..used.min(held.len()));
                if !held.is_empty() {
                    self.held = held;
                } else if held.capacity() <= KEPT_CAPACITY_BYTES {
                    // A stream that keeps it would hold it for as long as the phone is connected.
                    *context.spare = held;
                }
                verdict
            } else {
                Verdict::Keep
            }
        };
        if cut {
            self.give_up_cut_message(context);
        }
        verdict
    }

    /// Hands on every whole message in `bytes`. Returns how many bytes are done with; the rest is the
    /// beginning of a message.
    fn frame(&mut self, bytes: &[u8], context: &mut Context<'_>) -> (usize, Verdict) {
        let mut done = 0;
        self.expected = 0;
        if self.inside_line {
            let line = memchr(b'\n', bytes).map(|newline| newline + 1);
            self.inside_line = line.is_none();
            done = line.unwrap_or(bytes.len());
            self.searched += done;
        }
        loop {
            done += content::keep_alive(bytes.get(done..).unwrap_or_default());
            let rest = bytes.get(done..).unwrap_or_default();
            if rest.is_empty() {
                return (done, self.searched_enough());
            }
            if self.phase == Phase::Searching {
                let passed = match content::find_start(rest) {
                    Found::At(at) => {
                        self.phase = Phase::Following;
                        self.searched = 0;
                        self.lost = false;
                        at
                    }
                    Found::NotBefore(at) => at,
                    Found::BehindThisLine => {
                        self.inside_line = true;
                        rest.len()
                    }
                };
                done += passed;
                if self.phase == Phase::Searching {
                    self.searched += passed;
                    return (done, self.searched_enough());
                }
                continue;
            }
            let start_line = match content::start(rest) {
                Start::Undecided => return (done, Verdict::Keep),
                Start::Other => {
                    if self.phase == Phase::Opening {
                        return self.open_websocket(bytes, done, context);
                    }
                    context.oddities.note(Oddity::StreamNotSip);
                    self.phase = Phase::Searching;
                    continue;
                }
                Start::Message(start_line) => start_line,
            };
            let behind = rest.get(start_line.end..).unwrap_or_default();
            if self.phase == Phase::Opening && !content::continues_as_header(behind) {
                return (bytes.len(), Verdict::Forget);
            }
            let Some(head) = framing::head(rest, &start_line) else {
                if rest.len() <= context.message_bytes {
                    return (done, Verdict::Keep);
                }
                context.oddities.note(Oddity::MessageTooLong);
                self.phase = Phase::Searching;
                done += start_line.end;
                continue;
            };
            self.phase = Phase::Following;
            let body = match head.content_length {
                ContentLength::Bytes(length) => length,
                ContentLength::Absent | ContentLength::Unreadable => {
                    context.oddities.note(Oddity::ContentLength);
                    0
                }
            };
            let length = head.length.saturating_add(body);
            if length > context.message_bytes {
                context.oddities.note(Oddity::MessageTooLong);
                if length > MAX_PASSED_OVER_BYTES {
                    self.phase = Phase::Searching;
                    done += head.length;
                } else {
                    let passed = length.min(rest.len());
                    self.passing = length - passed;
                    done += passed;
                }
                continue;
            }
            match rest.get(..length) {
                Some(message) => {
                    context.deliver(HeardTransport::Tcp, message, true);
                    done += length;
                }
                None => {
                    self.expected = length;
                    return (done, Verdict::Keep);
                }
            }
        }
    }

    /// What begins neither like SIP nor, from `done` on, like the opening of a WebSocket for it is forgotten.
    fn open_websocket(&mut self, bytes: &[u8], done: usize, context: &mut Context<'_>) -> (usize, Verdict) {
        let rest = bytes.get(done..).unwrap_or_default();
        match websocket::opening(rest) {
            Opening::Undecided => (done, Verdict::Keep),
            Opening::Other => (bytes.len(), Verdict::Forget),
            Opening::Sip(length) => {
                self.phase = Phase::Following;
                let websocket = self.websocket.insert(Box::new(WebSocket::new()));
                (bytes.len(), websocket.take(rest.get(length..).unwrap_or_default(), context))
            }
        }
    }

    fn searched_enough(&self) -> Verdict {
        if self.searched > MAX_SEARCHED_BYTES { Verdict::Forget } else { Verdict::Keep }
    }
}

/// The first message of these bytes, and what is behind it, if all of it is there.
fn first_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.get(content::keep_alive(bytes)..)?;
    let Start::Message(start_line) = content::start(bytes) else {
        return None;
    };
    if !content::begins_surely(bytes) {
        return None;
    }
    let head = framing::head(bytes, &start_line)?;
    let ContentLength::Bytes(body_bytes) = head.content_length else {
        return None;
    };
    bytes.split_at_checked(head.length.checked_add(body_bytes)?)
}

/// Whether these bytes are messages from end to end, none longer than may be.
fn are_messages(bytes: &[u8], message_bytes: usize) -> bool {
    let mut rest = bytes;
    while let Some((message, behind)) = first_message(rest) {
        if message.len() > message_bytes {
            return false;
        }
        if behind.is_empty() {
            return true;
        }
        rest = behind;
    }
    false
}

/// Whether these bytes are the front of a message, so much that a stream may be joined at them.
fn begins_message(bytes: &[u8]) -> bool {
    let bytes = bytes.get(content::keep_alive(bytes)..).unwrap_or_default();
    match content::start(bytes) {
        Start::Message(start_line) => {
            content::continues_as_header(bytes.get(start_line.end..).unwrap_or_default())
        }
        Start::Undecided | Start::Other => false,
    }
}
