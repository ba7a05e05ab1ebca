//! Where a packet came from and where it went.
//! In: numbers as a capture has them. Out: names for them. Knows nothing of what is inside.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

/// A frame's place: which input, and its number there, counted from 1. A message is known by the frame
/// that completed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    /// Index of the input, in command-line order.
    pub source: u16,
    /// The record's number in its own file, from 1.
    pub number: u64,
}

/// How the bytes of a frame begin: a `LINKTYPE_` number, as pcap and pcapng write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

/// What carried a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// RFC 768.
    Udp,
    /// RFC 9293.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// One end's address as the wire showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Address and port.
    pub address: SocketAddr,
    /// UDP or TCP.
    pub transport: Transport,
}
