//! Streams: from what one transport packet carries to the bytes of one message.
//! In: `Segment`. Out: `RawMessage`. Knows nothing of header fields but Content-Length, of files, clocks.
//! RFC 3261 section 18.3 (framing), RFC 5626 section 3.5.1 (keep-alives), RFC 9293, RFC 6455 and 7118 (WebSocket), RFC 9260
//! and 4168 (SCTP).
//!
//! SIP is found by what it looks like, on any port. A TCP direction that does not begin like SIP is forgotten
//! at once.

mod content;
mod direction;
mod framing;
mod sctp;
#[cfg(test)]
mod sctp_tests;
mod single;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod websocket;
#[cfg(test)]
mod websocket_tests;

use std::net::SocketAddr;

use crate::base::{HeardTransport, Limits, Oddities, Timestamp};
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
    pub transport: HeardTransport,
    /// From the first byte of the start line to the last of the body, as Content-Length tells it.
    pub bytes: &'a [u8],
    /// False if the end is missing: cut by a snapshot length, Content-Length not reached, or a gap.
    pub whole: bool,
}

/// Bytes of a stream that its receiver has and the mirror has not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLoss {
    /// When they had been sent: the receiver acknowledged them, or there were later ones.
    pub sent_at: Timestamp,
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// How many.
    pub bytes: usize,
}

/// What is done with each message. The oddities are lent on, so that it can note its own.
pub(crate) type Each<'e> = &'e mut dyn FnMut(RawMessage<'_>, &mut Oddities);

/// Finds the messages in datagrams and streams.
#[derive(Debug)]
pub struct Reassembler {
    tcp: tcp::Streams,
    sctp: sctp::Fragments,
    message_bytes: usize,
}

impl Reassembler {
    /// A reassembler with the bounds `tcp_streams`, `tcp_stream_bytes`, `message_bytes` and, for fragments of SCTP messages,
    /// `fragmented_datagrams` and `fragment_wait_s`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            tcp: tcp::Streams::new(limits),
            sctp: sctp::Fragments::new(limits),
            message_bytes: limits.message_bytes,
        }
    }

    /// Calls `each` once for each message that this segment completed, in stream order, after those behind gaps that were
    /// waited for long enough.
    #[inline]
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
            Payload::Sctp { .. } => self.sctp.handle(now, segment, oddities, each),
        }
    }

    /// What the mirror lost of streams, one by one.
    pub fn poll_loss(&mut self) -> Option<StreamLoss> {
        self.tcp.poll_loss()
    }

    /// When a gap in a stream is given up next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.tcp.poll_timeout()
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

    fn datagram(&self, segment: &Segment<'_>, bytes: &[u8], oddities: &mut Oddities, each: Each<'_>) {
        if let Some((bytes, whole)) = single::message(bytes, segment.whole, self.message_bytes, oddities) {
            let Segment { source, destination, .. } = *segment;
            each(RawMessage { source, destination, transport: HeardTransport::Udp, bytes, whole }, oddities);
        }
    }
}
