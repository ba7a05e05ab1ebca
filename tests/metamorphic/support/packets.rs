//! Packets: what a frame carries, and a frame that carries it.
//! In: [`Seen`]. Out: [`Packet`], and [`Seen`] again. Knows nothing of SIP.
//!
//! Frames are taken apart by the program's own `decode`: what it cannot read is no packet here either. They are
//! made with the packet library's builder, in full, checksums and all, so that a failing case opens in Wireshark.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep};
use offhook::base::{FrameId, Limits, LinkType, Oddities, Timestamp};
use offhook::decode::{Decoder, Frame, Payload};

use super::Seen;

pub const ETHERNET: LinkType = LinkType(1);
pub const RAW: LinkType = LinkType(101);
pub const LINUX_SLL: LinkType = LinkType(113);

/// The transport's part of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    Udp(Vec<u8>),
    Tcp {
        sequence: u32,
        syn: bool,
        fin: bool,
        rst: bool,
        bytes: Vec<u8>,
    },
    /// All chunks of a packet. Their checksum is left out.
    Sctp {
        verification_tag: u32,
        bytes: Vec<u8>,
    },
}

/// One UDP datagram or SCTP packet, put together where it was fragmented, or one TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub at: Timestamp,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub load: Load,
    /// Nothing of it was cut off.
    pub whole: bool,
}

/// What the frames carry: those that carry no UDP, TCP or SCTP, and all fragments but the last, are left out.
pub fn packets(frames: &[Seen]) -> Vec<Packet> {
    let mut decoder = Decoder::new(&Limits::default());
    let mut oddities = Oddities::default();
    let mut packets = Vec::new();
    for Seen { at, link, bytes, wire_length } in frames {
        let id = FrameId::default();
        let frame = Frame { at: *at, id, link: *link, bytes, wire_length: *wire_length };
        let Some(segment) = decoder.decode(&frame, &mut oddities) else { continue };
        let load = match segment.payload {
            Payload::Udp(bytes) => Load::Udp(bytes.to_vec()),
            Payload::Tcp { sequence, syn, fin, rst, bytes, acknowledged: _ } => {
                Load::Tcp { sequence, syn, fin, rst, bytes: bytes.to_vec() }
            }
            Payload::Sctp { verification_tag, chunks } => {
                Load::Sctp { verification_tag, bytes: chunks.to_vec() }
            }
        };
        let (source, destination, whole) = (segment.source, segment.destination, segment.whole);
        packets.push(Packet { at: *at, source, destination, load, whole });
    }
    packets
}

/// One frame for each packet.
pub fn frames(packets: &[Packet]) -> Vec<Seen> {
    packets.iter().map(Packet::frame).collect()
}

/// Both ends of a flow, whichever way.
pub type Ends = (SocketAddr, SocketAddr);

impl Packet {
    pub fn ends(&self) -> Ends {
        (self.source.min(self.destination), self.source.max(self.destination))
    }

    pub fn bytes(&self) -> &[u8] {
        match &self.load {
            Load::Udp(bytes) | Load::Tcp { bytes, .. } | Load::Sctp { bytes, .. } => bytes,
        }
    }

    /// A TCP segment of the same ends at the same time.
    pub fn segment(&self, sequence: u32, bytes: &[u8]) -> Self {
        let load = Load::Tcp { sequence, syn: false, fin: false, rst: false, bytes: bytes.to_vec() };
        Self { load, ..self.clone() }
    }

    /// The packet as raw IP.
    pub fn frame(&self) -> Seen {
        let builder = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
            _ => panic!("a packet between two kinds of address"),
        };
        let mut bytes = Vec::new();
        // A byte more, which is then taken off, stands for what was cut off.
        let mut payload = self.bytes().to_vec();
        payload.resize(payload.len() + usize::from(!self.whole), 0);
        self.write(builder, &payload, &mut bytes);
        let wire_length = bytes.len();
        bytes.truncate(wire_length - usize::from(!self.whole));
        Seen { at: self.at, link: RAW, bytes, wire_length }
    }

    fn write(&self, builder: PacketBuilderStep<IpHeaders>, payload: &[u8], into: &mut Vec<u8>) {
        let (from, to) = (self.source.port(), self.destination.port());
        match &self.load {
            Load::Udp(_) => builder.udp(from, to).write(into, payload).unwrap(),
            Load::Tcp { sequence, syn, fin, rst, .. } => {
                let mut builder = builder.tcp(from, to, *sequence, 65_535);
                builder = if *syn { builder.syn() } else { builder.ack(1) };
                builder = if *fin { builder.fin() } else { builder };
                builder = if *rst { builder.rst() } else { builder };
                builder.write(into, payload).unwrap();
            }
            Load::Sctp { verification_tag, .. } => {
                let mut packet = [from.to_be_bytes(), to.to_be_bytes()].concat();
                packet.extend(verification_tag.to_be_bytes());
                packet.extend([0; 4]);
                packet.extend(payload);
                builder.write(into, IpNumber::SCTP, &packet).unwrap();
            }
        }
    }
}

/// Where IP begins in a frame, behind link header and tags, and its EtherType; `None` for other frames.
pub fn ip_at(seen: &Seen) -> Option<(usize, u16)> {
    let word = |at: usize| Some(u16::from_be_bytes(*seen.bytes.get(at..)?.first_chunk()?));
    let (mut ether_type, mut at) = match seen.link {
        ETHERNET => (word(12)?, 14),
        LINUX_SLL => (word(14)?, 16),
        RAW => (if seen.bytes.first()? >> 4 == 6 { 0x86dd } else { 0x0800 }, 0),
        _ => return None,
    };
    while matches!(ether_type, 0x8100 | 0x88a8 | 0x9100) {
        ether_type = word(at + 2)?;
        at += 4;
    }
    matches!(ether_type, 0x0800 | 0x86dd).then_some((at, ether_type))
}

/// The Internet checksum (RFC 1071) of bytes whose own checksum field is 0.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
