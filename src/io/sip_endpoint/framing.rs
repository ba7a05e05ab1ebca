//! Messages out of a connection's bytes.
//! In: bytes as they arrive. Out: whole messages and keep-alive pings. Knows nothing of sockets.
//! RFC 3261 section 18.3 (Content-Length), section 7.5 (empty lines before a message); RFC 5626 section 3.5.1 (pings).

use crate::stream::{ContentLength, Start, head, keep_alive, start};

/// A ping; its answer is half of it.
pub(super) const PING: &[u8] = b"\r\n\r\n";
/// The answer to a ping.
pub(super) const PONG: &[u8] = b"\r\n";

/// An empty buffer that has grown beyond this gives its memory back.
const KEPT_BYTES: usize = 16_384;
/// Room made for one read.
const READ_BYTES: usize = 4_096;

/// What a stream holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// One whole message, from its start line to the end of its body.
    Message(Vec<u8>),
    /// The peer asks whether we are there.
    Ping,
}

/// Why a stream cannot be read on: where its next message begins is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FramingError {
    /// No start line where one should be.
    #[error("what came is not SIP")]
    NotSip,
    /// Content-Length is no number, or missing although a body follows.
    #[error("a message came without a Content-Length that can be read")]
    ContentLength,
    /// Longer than the bound.
    #[error("a message came that is longer than {0} bytes")]
    TooLong(usize),
}

/// Cuts a stream into messages. Holds at most one unfinished message and what one read brought.
#[derive(Debug)]
pub(super) struct Framer {
    buffer: Vec<u8>,
    /// Of the buffer, this much at the front was given out.
    taken: usize,
    /// The next message is not whole before so many bytes are there. Saves reading its header fields again.
    awaited: usize,
    /// So many bytes of the next message hold no empty line. Saves searching them again for each byte of a peer that
    /// sends one at a time.
    searched: usize,
    longest: usize,
}

impl Framer {
    /// A framer of messages of at most `longest` bytes.
    pub fn new(longest: usize) -> Self {
        Self { buffer: Vec::new(), taken: 0, awaited: 0, searched: 0, longest }
    }

    /// Where to append what is read next. To be asked for only when [`Self::next`] has given `None`.
    pub fn unfilled(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// The next message or ping, `None` until more has come. After an error nothing more can be read.
    pub fn next(&mut self) -> Result<Option<Frame>, FramingError> {
        let mut rest = self.buffer.get(self.taken..).unwrap_or_default();
        if rest.len() < self.awaited {
            return Ok(None);
        }
        if rest.starts_with(PING) {
            self.taken += PING.len();
            return Ok(Some(Frame::Ping));
        }
        if PING.starts_with(rest) {
            return Ok(None);
        }
        if self.searched > 0 && !may_hold_empty_line(rest, self.searched) {
            return self.unfinished(rest.len());
        }
        let skipped = keep_alive(rest);
        self.taken += skipped;
        rest = rest.get(skipped..).unwrap_or_default();
        let start_line = match start(rest) {
            Start::Message(start_line) => start_line,
            Start::Undecided => return Ok(None),
            Start::Other => return Err(FramingError::NotSip),
        };
        let Some(head) = head(rest, &start_line) else {
            return self.unfinished(rest.len());
        };
        let body = match head.content_length {
            ContentLength::Bytes(length) => length,
            ContentLength::Absent if !matches!(start(behind(rest, head.length)), Start::Other) => 0,
            ContentLength::Absent | ContentLength::Unreadable => return Err(FramingError::ContentLength),
        };
        let length = head.length.saturating_add(body);
        if length > self.longest {
            return Err(FramingError::TooLong(self.longest));
        }
        let Some(message) = rest.get(..length) else {
            self.awaited = length;
            return Ok(None);
        };
        let message = message.to_vec();
        self.taken += length;
        (self.awaited, self.searched) = (0, 0);
        Ok(Some(Frame::Message(message)))
    }

    /// The header fields do not end within so many bytes.
    const fn unfinished(&mut self, length: usize) -> Result<Option<Frame>, FramingError> {
        if length > self.longest {
            return Err(FramingError::TooLong(self.longest));
        }
        self.searched = length;
        Ok(None)
    }
}

/// Whether an empty line may end in what comes behind so many bytes.
fn may_hold_empty_line(bytes: &[u8], searched: usize) -> bool {
    let new = bytes.get(searched.saturating_sub(3)..).unwrap_or_default();
    new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}

/// What follows, without the empty lines before it.
fn behind(bytes: &[u8], from: usize) -> &[u8] {
    let bytes = bytes.get(from..).unwrap_or_default();
    bytes.get(keep_alive(bytes)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1\r\n";

    fn with_body(name: &str, body: &str) -> String {
        format!("{OPTIONS}{name}: {}\r\n\r\n{body}", body.len())
    }

    fn message(text: &str) -> Frame {
        Frame::Message(text.as_bytes().to_vec())
    }

    /// What comes out when the bytes arrive in pieces of this size.
    fn frames(stream: &[u8], piece: usize, longest: usize) -> (Vec<Frame>, Option<FramingError>) {
        let mut framer = Framer::new(longest);
        let mut frames = Vec::new();
        for piece in stream.chunks(piece) {
            framer.unfilled().extend_from_slice(piece);
            loop {
                match framer.next() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        (frames, None)
    }

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let (first, second) = (with_body("Content-Length", "one\r\n\r\ntwo"), with_body("l", ""));
        let third = "SIP/2.0 200 OK\r\nCall-ID: x\r\ncontent-length :3\r\n\r\nabc";
        let stream = format!("\r\n{first}{second}\r\n\r\n\r\n{third}\r\n\r\n");
        let expected = [message(&first), message(&second), Frame::Ping, message(third), Frame::Ping];
        for piece in 1..=stream.len() {
            let (frames, error) = frames(stream.as_bytes(), piece, 1_000);
            assert_eq!(error, None);
            assert_eq!(frames, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_message_without_content_length_has_no_body() {
        let bare = format!("{OPTIONS}\r\n");
        let two = format!("{bare}{bare}");
        assert_eq!(frames(two.as_bytes(), two.len(), 1_000), (vec![message(&bare), message(&bare)], None));
        let with_body = format!("{bare}<presence/>");
        assert_eq!(
            frames(with_body.as_bytes(), with_body.len(), 1_000),
            (vec![], Some(FramingError::ContentLength))
        );
    }

    #[test]
    fn what_cannot_be_framed_ends_the_stream() {
        let endless = format!("{OPTIONS}Subject: {}", "x".repeat(1_000));
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), FramingError::NotSip),
            ("\u{16}\u{3}\u{1}".to_owned(), FramingError::NotSip),
            (format!("{OPTIONS}Content-Length: -1\r\n\r\n"), FramingError::ContentLength),
            (format!("{OPTIONS}Content-Length: 951\r\n\r\n"), FramingError::TooLong(1_000)),
            (
                format!("{OPTIONS}Content-Length: 99999999999999999999999\r\n\r\n"),
                FramingError::TooLong(1_000),
            ),
            (endless, FramingError::TooLong(1_000)),
        ];
        for (stream, expected) in cases {
            for piece in [1, 7, stream.len()] {
                let (frames, error) = frames(stream.as_bytes(), piece, 1_000);
                assert_eq!((frames, error), (vec![], Some(expected)), "{stream}");
            }
        }
    }

    #[test]
    fn a_long_message_is_not_kept_in_memory() {
        let long = with_body("Content-Length", &"x".repeat(100_000));
        let mut framer = Framer::new(200_000);
        framer.unfilled().extend_from_slice(long.as_bytes());
        assert!(matches!(framer.next(), Ok(Some(Frame::Message(_)))));
        assert_eq!(framer.next(), Ok(None));
        assert!(framer.unfilled().capacity() < 20_000);
    }
}
