//! Frames: from what a capture gives to what one transport packet carries.
//! In: `Frame`. Out: `Segment`. Knows nothing of streams, SIP, files.

use std::net::SocketAddr;

use crate::base::{FrameId, LinkType, Timestamp};

/// One record of a capture, borrowed from whoever read it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When the capture says it passed.
    pub at: Timestamp,
    /// Which input, and which record of it.
    pub id: FrameId,
    /// What the first byte is.
    pub link: LinkType,
    /// The bytes that were captured.
    pub bytes: &'a [u8],
    /// How many bytes there were on the wire; more than `bytes.len()` when a snapshot length cut them.
    pub wire_length: usize,
}

/// What one UDP datagram or TCP segment carried, and between whom.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// The bytes behind the transport header.
    pub payload: Payload<'a>,
    /// All bytes that the sender sent are in the payload.
    pub whole: bool,
}

/// The transport's own part of a [`Segment`].
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// A UDP datagram's bytes.
    Udp(&'a [u8]),
    /// A TCP segment.
    Tcp {
        /// Sequence number of the first byte (of the SYN, when there is one).
        sequence: u32,
        /// The segment opens the connection.
        syn: bool,
        /// The sender sends no more after it.
        fin: bool,
        /// The connection is gone.
        rst: bool,
        /// The bytes.
        bytes: &'a [u8],
    },
}
