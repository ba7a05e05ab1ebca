//! Where a packet came from and where it went.
//! In: numbers as a capture has them. Out: names for them. Knows nothing of what is inside.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;

use serde::Serialize;

/// A frame's place: which input, and its number there, counted from 1. A message is known by the frame
/// that completed it. Eight bytes, since every timer and every evidence holds one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(NonZeroU64);

impl FrameId {
    const NUMBER_BITS: u32 = 48;
    /// One is added to what is stored, so that it is never zero.
    const LAST_NUMBER: u64 = (1 << Self::NUMBER_BITS) - 2;

    /// The record `number` (from 1) of the input `source` (in command-line order). Numbers above 2^48 - 2
    /// count as that.
    pub const fn new(source: u16, number: u64) -> Self {
        let number = if number > Self::LAST_NUMBER { Self::LAST_NUMBER } else { number };
        let stored = NonZeroU64::MIN.saturating_add(number).get();
        match NonZeroU64::new((source as u64) << Self::NUMBER_BITS | stored) {
            Some(place) => Self(place),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Index of the input, in command-line order.
    pub const fn source(self) -> u16 {
        (self.0.get() >> Self::NUMBER_BITS) as u16
    }

    /// The record's number in its own file, from 1.
    pub const fn number(self) -> u64 {
        (self.0.get() & ((1 << Self::NUMBER_BITS) - 1)).saturating_sub(1)
    }
}

/// No frame: the number 0 of the first input.
impl Default for FrameId {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl fmt::Debug for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameId").field("source", &self.source()).field("number", &self.number()).finish()
    }
}

/// How the bytes of a frame begin: a `LINKTYPE_` number, as pcap and pcapng write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

/// What carried a message that was heard. What is encrypted is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeardTransport {
    /// RFC 768.
    Udp,
    /// RFC 9293.
    Tcp,
    /// RFC 6455 and 7118, over TCP.
    WebSocket,
    /// RFC 9260 and 4168.
    Sctp,
}

impl HeardTransport {
    /// The one that a Via names (RFC 3261 section 20.42, 7118 section 5.2, 4168 section 4). What was encrypted on its hop
    /// is heard where the encryption was taken off, over what carried it: TLS stands for TCP, WSS for WebSocket.
    /// Any other counts as TCP.
    pub const fn of_via(name: &[u8]) -> Self {
        if name.eq_ignore_ascii_case(b"UDP") {
            Self::Udp
        } else if name.eq_ignore_ascii_case(b"WS") || name.eq_ignore_ascii_case(b"WSS") {
            Self::WebSocket
        } else if name.eq_ignore_ascii_case(b"SCTP") || name.eq_ignore_ascii_case(b"TLS-SCTP") {
            Self::Sctp
        } else {
            Self::Tcp
        }
    }
}

/// What carries our own messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// RFC 768.
    Udp,
    /// RFC 9293.
    Tcp,
    /// RFC 8446, RFC 5246, over TCP.
    Tls,
}

impl Transport {
    /// The network loses nothing that was sent, or says so: nothing is retransmitted over it.
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// The word in Via (RFC 3261 section 20.42).
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

/// An IP address and a port as tables hold them: a socket address without what only sockets need, in twenty
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    ip: IpAddr,
    port: u16,
}

impl Address {
    /// The IP address.
    pub const fn ip(self) -> IpAddr {
        self.ip
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip(), port: address.port() }
    }
}

impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        Self::new(address.ip, address.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// Stands for an address in less than half of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressMark(u64);

impl From<SocketAddr> for AddressMark {
    fn from(address: SocketAddr) -> Self {
        const HASHED: u64 = 1 << 63;
        Self(match address.ip() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()) << 16 | u64::from(address.port()),
            IpAddr::V6(_) => {
                let mut hasher = DefaultHasher::new();
                address.hash(&mut hasher);
                hasher.finish() | HASHED
            }
        })
    }
}

/// One end's address as the wire showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Address and port.
    pub address: Address,
    /// What carries its messages.
    pub transport: HeardTransport,
}

/// One way between us and a SIP peer: over what, from which own address, to which of the peer's. Over TCP and TLS
/// the two addresses name a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// What carries the messages.
    pub transport: Transport,
    /// Our end. The port is 0 for a connection that is not open yet.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

/// A message to send. Over TCP and TLS it goes over the open connection to that address, whoever opened it; without
/// one, one is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where.
    pub hop: Hop,
    /// One whole SIP message.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_via_names_what_its_hop_is_heard_over() {
        use HeardTransport::{Sctp, Tcp, Udp, WebSocket};
        for (name, heard) in [
            ("UDP", Udp),
            ("udp", Udp),
            ("TCP", Tcp),
            ("TLS", Tcp),
            ("WS", WebSocket),
            ("wss", WebSocket),
            ("SCTP", Sctp),
            ("TLS-SCTP", Sctp),
            ("UDPX", Tcp),
        ] {
            assert_eq!(HeardTransport::of_via(name.as_bytes()), heard, "{name}");
        }
    }

    #[test]
    fn a_frame_id_gives_back_what_it_was_made_of_and_sorts_by_input_then_number() {
        let ids = [(0, 0), (0, 1), (0, FrameId::LAST_NUMBER), (1, 0), (u16::MAX, FrameId::LAST_NUMBER)];
        for (source, number) in ids {
            let id = FrameId::new(source, number);
            assert_eq!((id.source(), id.number()), (source, number));
        }
        assert!(ids.map(|(source, number)| FrameId::new(source, number)).is_sorted());
        assert_eq!(FrameId::new(3, u64::MAX).number(), FrameId::LAST_NUMBER);
        assert_eq!(size_of::<Option<(crate::base::Timestamp, FrameId)>>(), 16);
    }
}
