//! Streams: from what one transport packet carries to the bytes of one message.
//! In: `Segment`. Out: `RawMessage`. Knows nothing of header fields but Content-Length, of files, clocks.
//! RFC 3261 section 18.3 (framing), RFC 5626 section 3.5.1 (keep-alives), RFC 9293.
//!
//! SIP is found by what it looks like, on any port. A TCP direction that does not begin like SIP is forgotten
//! at once.

mod content;
mod direction;
mod framing;
mod table;
mod tcp;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use crate::base::{Limits, Oddities, Oddity, Timestamp, Transport};
use crate::decode::{Payload, Segment};

// Our own sockets frame their streams by the same rules.
pub(crate) use content::{Start, keep_alive, start};
pub(crate) use framing::{ContentLength, head};

/// The bytes of one message, borrowed from the segment that completed it or from what was put together.
#[derive(Clone, Copy, Debug)]
pub struct RawMessage<'a> {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// What carried it.
    pub transport: Transport,
    /// From the first byte of the start line to the last of the body, as Content-Length tells it.
    pub bytes: &'a [u8],
    /// False if the end is missing: cut by a snapshot length, Content-Length not reached, or a gap.
    pub whole: bool,
}

/// What is done with each message. The oddities are lent on, so that it can note its own.
pub(crate) type Each<'e> = &'e mut dyn FnMut(RawMessage<'_>, &mut Oddities);

/// Finds the messages in datagrams and streams.
#[derive(Debug)]
pub struct Reassembler {
    tcp: tcp::Streams,
    message_bytes: usize,
}

impl Reassembler {
    /// A reassembler with the bounds `tcp_streams`, `tcp_stream_bytes` and `message_bytes`.
    pub fn new(limits: &Limits) -> Self {
        Self { tcp: tcp::Streams::new(limits), message_bytes: limits.message_bytes }
    }

    /// Calls `each` once for each message that this segment completed, in stream order, after those behind gaps that were
    /// waited for long enough.
    pub fn handle(
        &mut self,
        now: Timestamp,
        segment: &Segment<'_>,
        oddities: &mut Oddities,
        each: &mut dyn FnMut(RawMessage<'_>, &mut Oddities),
    ) {
        self.tcp.give_up_overdue(now, oddities, each);
        match segment.payload {
            Payload::Udp(bytes) => self.datagram(segment, bytes, oddities, each),
            Payload::Tcp { .. } => self.tcp.handle(now, segment, oddities, each),
        }
    }

    /// When a gap in a stream is given up next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.tcp.next_gap_end()
    }

    /// Gives up the gaps that were waited for long enough: the messages behind them.
    pub fn handle_timeout(
        &mut self,
        now: Timestamp,
        oddities: &mut Oddities,
        each: &mut dyn FnMut(RawMessage<'_>, &mut Oddities),
    ) {
        self.tcp.give_up_overdue(now, oddities, each);
    }

    /// A datagram holds one message or none. What is behind its Content-Length is no part of it.
    fn datagram(&self, segment: &Segment<'_>, bytes: &[u8], oddities: &mut Oddities, each: Each<'_>) {
        let bytes = bytes.get(content::keep_alive(bytes)..).unwrap_or_default();
        let Start::Message(start_line) = content::start(bytes) else {
            return;
        };
        let (bytes, whole) = match framing::head(bytes, &start_line) {
            // The empty line is missing, so header fields may be. Half a field would say something else than
            // the whole.
            None if segment.whole => {
                oddities.note(Oddity::MessageCut);
                (bytes, false)
            }
            None => (content::complete_lines(bytes), false),
            Some(head) => match head.content_length {
                ContentLength::Absent => (bytes, segment.whole),
                ContentLength::Unreadable => {
                    oddities.note(Oddity::ContentLength);
                    (bytes, segment.whole)
                }
                ContentLength::Bytes(length) => {
                    let length = head.length.saturating_add(length);
                    match bytes.get(..length) {
                        Some(message) => (message, true),
                        None => {
                            if segment.whole {
                                oddities.note(Oddity::ContentLength);
                            }
                            (bytes, false)
                        }
                    }
                }
            },
        };
        if bytes.len() > self.message_bytes {
            oddities.note(Oddity::MessageTooLong);
            return;
        }
        let message = RawMessage {
            source: segment.source,
            destination: segment.destination,
            transport: Transport::Udp,
            bytes,
            whole,
        };
        each(message, oddities);
    }
}
