//! WebSocket: messages out of the frames of one direction.
//! In: bytes in order, and how many are missing between them. Out: `RawMessage`. Knows nothing of sequence numbers.
//! RFC 6455 section 4 (handshake) and 5 (frames), RFC 7118 (SIP over it: one message in each WebSocket message).
//!
//! ```text
//!               header complete                   payload complete
//!   ┌─▶ Header ─────────────────▶ Payload ──────────────────────────┐
//!   │     │ no frame begins so       │ a gap that goes beyond it     │
//!   │     ▼                          ▼                               │
//!   │   Searching ◀──────────────────┘                               │
//!   └─────┴──────────── a frame that begins a SIP message ◀──────────┘
//! ```

use memchr::{memchr, memmem};

use crate::base::{HeardTransport, Oddity};

use super::content::{self, Start};
use super::direction::{Context, Verdict};
use super::single;

/// Frames longer than this are none.
const MAX_FRAME_BYTES: u64 = 16 << 20;

/// Bytes searched for a frame before the direction is forgotten.
const MAX_SEARCHED_BYTES: usize = 1 << 20;

/// Longest start line by which a frame is found where it is not known that one begins.
const MAX_FOUND_START_LINE: usize = 1_024;

/// Longest HTTP request or response that is waited for.
const MAX_HANDSHAKE_BYTES: usize = 16_384;

/// A buffer of this size is kept for the next message.
const KEPT_CAPACITY_BYTES: usize = 4_096;

/// Two bytes, eight of length, four of the key.
const MAX_HEADER_BYTES: usize = 14;

const FIN: u8 = 0x80;
/// RFC 7692 section 6: the message is compressed.
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;
const MAX_CONTROL_BYTES: u64 = 125;

/// What the first bytes of a connection are.
pub(super) enum Opening {
    /// The HTTP request or response that agrees on SIP, so many bytes of it. Frames follow.
    Sip(usize),
    /// It may become that.
    Undecided,
    /// Something else.
    Other,
}

/// RFC 6455 section 4.1 and 4.2.2, RFC 7118 section 4.1: the subprotocol is `sip`.
pub(super) fn opening(bytes: &[u8]) -> Opening {
    let begins = |with: &[u8]| {
        let compared = bytes.len().min(with.len());
        bytes.get(..compared) == with.get(..compared)
    };
    if !begins(b"GET ") && !begins(b"HTTP/1.1 101") {
        return Opening::Other;
    }
    let head = bytes.get(..MAX_HANDSHAKE_BYTES).unwrap_or(bytes);
    let Some(end) = memmem::find(head, b"\r\n\r\n") else {
        return if head.len() < MAX_HANDSHAKE_BYTES { Opening::Undecided } else { Opening::Other };
    };
    let lines = head.get(..end).unwrap_or_default().split(|&byte| byte == b'\n');
    let names_sip = |line: &[u8]| {
        let Some(colon) = memchr(b':', line) else { return false };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        name.eq_ignore_ascii_case(b"Sec-WebSocket-Protocol")
            && value.split(|&byte| byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"sip"))
    };
    if lines.skip(1).any(names_sip) { Opening::Sip(end + 4) } else { Opening::Other }
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
struct Header {
    /// All that are behind it.
    payload_bytes: u64,
    /// Zeros where the payload is not masked.
    key: [u8; 4],
    flags: u8,
    header_bytes: usize,
}

impl Header {
    /// How long the header is that begins with these two bytes.
    const fn length(second: u8) -> usize {
        let key = if second & MASKED == 0 { 0 } else { 4 };
        key + match second & !MASKED {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    /// `None` while it is not complete.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[flags, second], _) = bytes.split_first_chunk::<2>()?;
        let header_bytes = Self::length(second);
        let fields = bytes.get(2..header_bytes)?;
        let masked = second & MASKED != 0;
        let (length, key) = fields.split_at_checked(fields.len() - if masked { 4 } else { 0 })?;
        let payload_bytes = match length {
            [] => u64::from(second & !MASKED),
            _ => length.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        };
        let key = key.first_chunk::<4>().copied().unwrap_or_default();
        Some(Self { payload_bytes, key, flags, header_bytes })
    }

    const fn opcode(self) -> u8 {
        self.flags & OPCODE
    }

    const fn is_last(self) -> bool {
        self.flags & FIN != 0
    }

    const fn is_control(self) -> bool {
        self.opcode() >= CLOSE
    }

    /// RFC 6455 section 5.2 and 5.5.
    const fn is_valid(self) -> bool {
        let is_compressed = self.flags & RSV1 != 0;
        self.flags & RSV2_AND_3 == 0
            && self.payload_bytes <= MAX_FRAME_BYTES
            && match self.opcode() {
                CONTINUATION => !is_compressed,
                TEXT | BINARY => true,
                CLOSE..=PONG => !is_compressed && self.is_last() && self.payload_bytes <= MAX_CONTROL_BYTES,
                _ => false,
            }
    }

    /// The length is written as short as it can be.
    const fn is_minimal(self) -> bool {
        matches!(self.header_bytes, 2 | 6) || self.payload_bytes > 125
    }
}

/// Whether bytes are the beginning of a frame, and that of a SIP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Yes,
    Undecided,
    No,
}

/// Whether a frame stands here that begins a SIP message, so much of it that there is no doubt.
pub(super) fn begins_message(bytes: &[u8]) -> bool {
    begins(bytes) == Begins::Yes
}

fn begins(bytes: &[u8]) -> Begins {
    // Nearly all else ends here: a message's first frame, not compressed.
    if bytes.first().is_some_and(|&first| !is_first_byte(first)) {
        return Begins::No;
    }
    let Some(header) = Header::read(bytes) else {
        return Begins::Undecided;
    };
    if !header.is_valid() || !header.is_minimal() {
        return Begins::No;
    }
    let there = bytes.get(header.header_bytes..).unwrap_or_default();
    let in_frame = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
    let payload = there.get(..in_frame.min(MAX_FOUND_START_LINE)).unwrap_or(there);
    let more_may_come = payload.len() == there.len() && there.len() < in_frame;
    let mut plain = [0; MAX_FOUND_START_LINE];
    let mut done = 0;
    // Little by little: most of what looks like a header has other bytes behind it.
    while done < payload.len() {
        let end = payload.len().min(2 * done + 16);
        let pieces =
            plain.get_mut(done..end).into_iter().flatten().zip(payload.get(done..end).into_iter().flatten());
        for ((to, from), key) in pieces.zip(header.key.iter().cycle().skip(done % 4)) {
            *to = from ^ key;
        }
        done = end;
        let plain = plain.get(..done).unwrap_or_default();
        match content::start(plain) {
            Start::Other => return Begins::No,
            Start::Undecided => {}
            // One that nobody would have waited for is none, so that it does not count how much of it is there.
            Start::Message(line)
                if content::may_become_start_line(plain.get(..line.end).unwrap_or_default()) =>
            {
                return Begins::Yes;
            }
            Start::Message(_) => return Begins::No,
        }
    }
    if more_may_come { Begins::Undecided } else { Begins::No }
}

const fn is_first_byte(byte: u8) -> bool {
    matches!(byte & !FIN, TEXT | BINARY)
}

/// What becomes of the bytes of the message that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// None has begun.
    Absent,
    /// They are put together.
    Kept,
    /// They are passed over: compressed, too long, damaged, or it began out of sight.
    Passed,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a frame's header, of which so many bytes came.
    Header([u8; MAX_HEADER_BYTES], usize),
    /// In a frame's payload: what is left of it, and how far the key was used.
    Payload { header: Header, left: u64, used: usize },
    /// Where frames begin is not known.
    Searching,
}

const NEXT_FRAME: Place = Place::Header([0; MAX_HEADER_BYTES], 0);

/// One direction of a connection, behind its handshake.
#[derive(Debug)]
pub(super) struct WebSocket {
    place: Place,
    fate: Fate,
    /// The beginning of a message, without masks.
    message: Vec<u8>,
    /// While searching: bytes at which a frame may begin.
    unsure: Vec<u8>,
    searched: usize,
}

impl WebSocket {
    /// One whose next byte begins a frame.
    pub fn new() -> Self {
        Self { place: NEXT_FRAME, fate: Fate::Absent, message: Vec::new(), unsure: Vec::new(), searched: 0 }
    }

    /// Bytes held.
    pub fn held_bytes(&self) -> usize {
        self.message.len() + self.unsure.len()
    }

    /// Takes the bytes that are next.
    pub fn take(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Verdict {
        if self.unsure.is_empty() {
            let used = self.frames(bytes, context);
            self.unsure.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            let mut all = std::mem::take(&mut self.unsure);
            all.extend_from_slice(bytes);
            let used = self.frames(&all, context);
            self.unsure = all.split_off(used.min(all.len()));
        }
        if self.searched > MAX_SEARCHED_BYTES { Verdict::Forget } else { Verdict::Keep }
    }

    /// So many bytes did not come, and will not.
    pub fn skip(&mut self, missing: usize, context: &mut Context<'_>) {
        let missing = missing as u64;
        match self.place {
            Place::Payload { header, left, used } if missing <= left => {
                if !header.is_control() {
                    self.give_up(false, context);
                    self.fate = Fate::Passed;
                }
                // Only where it stands in the key counts.
                let used = used.wrapping_add((missing % 4) as usize);
                self.place = Place::Payload { header, left: left - missing, used };
                if left == missing {
                    self.end_frame(header, context);
                }
            }
            Place::Payload { .. } | Place::Header(..) | Place::Searching => {
                self.give_up(false, context);
                self.search();
            }
        }
    }

    /// The next bytes were cut off by a snapshot length: hands on what there is of a message.
    pub fn cut(&mut self, context: &mut Context<'_>) {
        if self.fate == Fate::Kept {
            self.give_up(true, context);
            self.fate = Fate::Passed;
        }
    }

    /// Nothing more will come.
    pub fn finish(&mut self, context: &mut Context<'_>) {
        if self.fate == Fate::Kept && !single::has_head(&self.message) && begins_like_sip(&self.message) {
            context.oddities.note(Oddity::MessageCut);
        }
        self.give_up(false, context);
        *self = Self::new();
    }

    /// Hands on a message whose header fields are complete but not its body. `cut`: also one of which only some fields are
    /// there.
    fn give_up(&mut self, cut: bool, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.fate, Fate::Absent) != Fate::Kept {
            return;
        }
        let message = std::mem::take(&mut self.message);
        if single::has_head(&message) || (cut && begins_like_sip(&message)) {
            context.oddities.note(Oddity::MessageCut);
            hand_on(&message, false, context);
        }
    }

    fn search(&mut self) {
        self.place = Place::Searching;
        self.fate = Fate::Absent;
        self.message = Vec::new();
        self.unsure = Vec::new();
    }

    /// Goes through the frames. Returns how many bytes are done with: all, but where a frame may begin in the last.
    fn frames(&mut self, bytes: &[u8], context: &mut Context<'_>) -> usize {
        let mut done = 0;
        while let Some(rest @ [_, ..]) = bytes.get(done..) {
            match self.place {
                Place::Searching => {
                    let (passed, found) = find_frame(rest);
                    done += passed;
                    if !found {
                        self.searched += passed;
                        return done;
                    }
                    self.searched = 0;
                    self.place = NEXT_FRAME;
                }
                Place::Header(mut header, mut there) => {
                    let wanted = if there < 2 { 2 } else { Header::length(header[1]) };
                    let taken = rest.len().min(wanted - there);
                    let (Some(to), Some(from)) = (header.get_mut(there..there + taken), rest.get(..taken))
                    else {
                        return bytes.len();
                    };
                    to.copy_from_slice(from);
                    (there, done) = (there + taken, done + taken);
                    self.place = Place::Header(header, there);
                    if let Some(header) = header.get(..there).and_then(Header::read) {
                        self.begin_frame(header, context);
                    }
                }
                Place::Payload { header, left, used } => {
                    let taken = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                    let payload = rest.get(..taken).unwrap_or_default();
                    done += taken;
                    let left = left - taken as u64;
                    self.place = Place::Payload { header, left, used: used.wrapping_add(taken) };
                    if !header.is_control() && self.fate == Fate::Kept {
                        let is_all = left == 0 && used == 0 && header.is_last() && self.message.is_empty();
                        if self.message.len() + payload.len() > context.message_bytes {
                            context.oddities.note(Oddity::MessageTooLong);
                            self.message = Vec::new();
                            self.fate = Fate::Passed;
                        } else if is_all && header.key == [0; 4] {
                            // Nothing to take off, and nothing before it: lent as it stands.
                            hand_on(payload, true, context);
                            self.fate = Fate::Passed;
                        } else {
                            let key = header.key.iter().cycle().skip(used % 4);
                            self.message.extend(payload.iter().zip(key).map(|(byte, key)| byte ^ key));
                        }
                    }
                    if left == 0 {
                        self.end_frame(header, context);
                    }
                }
            }
        }
        done
    }

    fn begin_frame(&mut self, header: Header, context: &mut Context<'_>) {
        if !header.is_valid() {
            context.oddities.note(Oddity::StreamNotSip);
            return self.search();
        }
        match header.opcode() {
            TEXT | BINARY => {
                // One that was not finished: what was missing was not missed.
                self.give_up(false, context);
                self.fate = if header.flags & RSV1 == 0 {
                    Fate::Kept
                } else {
                    context.oddities.note(Oddity::WebsocketCompressed);
                    Fate::Passed
                };
            }
            CONTINUATION if self.fate == Fate::Absent => self.fate = Fate::Passed,
            _ => {}
        }
        self.place = Place::Payload { header, left: header.payload_bytes, used: 0 };
        if header.payload_bytes == 0 {
            self.end_frame(header, context);
        }
    }

    fn end_frame(&mut self, header: Header, context: &mut Context<'_>) {
        self.place = NEXT_FRAME;
        if header.is_control() || !header.is_last() {
            return;
        }
        let fate = std::mem::replace(&mut self.fate, Fate::Absent);
        if fate == Fate::Kept {
            let mut message = std::mem::take(&mut self.message);
            hand_on(&message, true, context);
            if message.capacity() <= KEPT_CAPACITY_BYTES {
                message.clear();
                self.message = message;
            }
        }
    }
}

fn hand_on(bytes: &[u8], whole: bool, context: &mut Context<'_>) {
    if let Some((message, whole)) = single::message(bytes, whole, context.message_bytes, context.oddities) {
        context.deliver(HeardTransport::WebSocket, message, whole);
    }
}

fn begins_like_sip(bytes: &[u8]) -> bool {
    let bytes = bytes.get(content::keep_alive(bytes)..).unwrap_or_default();
    matches!(content::start(bytes), Start::Message(_))
}

/// How many bytes stand before the first frame that begins a SIP message, and whether there is one. Without one:
/// before the first that may become one.
fn find_frame(bytes: &[u8]) -> (usize, bool) {
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| is_first_byte(**byte)) {
        match begins(bytes.get(at..).unwrap_or_default()) {
            Begins::Yes => return (at, true),
            Begins::Undecided => return (at, false),
            Begins::No => {}
        }
    }
    (bytes.len(), false)
}
