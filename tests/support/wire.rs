//! What a mirror port shows of messages: Ethernet or cooked frames, IPv4 and IPv6, UDP, TCP and SCTP, and the pcap file.
//! In: [`WireMessage`]. Out: [`CapturedFrame`], bytes of a capture file. Knows nothing of SIP.
//! RFC 791, 768, 8200, 9293, 1071; IEEE 802.1Q; the pcap format with microseconds.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

pub use super::phones::WireMessage;
use super::phones::{self, Over};

use super::ladder::{Carrier, Ladder, Link};
use super::mirror::Mirror;
use super::{sctp, websocket};

/// A frame and when it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// Microseconds since the epoch.
    pub at_us: u64,
    /// All of it, from the link layer on.
    pub bytes: Vec<u8>,
}

/// How frames are wrapped.
#[derive(Clone, Copy, Debug)]
pub struct Wrapping {
    /// How they begin.
    pub link: Link,
    /// 802.1Q tag (Ethernet only).
    pub vlan: Option<u16>,
}

const MTU: usize = 1_500;
/// What a card that cuts segments itself is given.
const MOST_OFFLOADED: usize = 65_000;
const TCP_TICK_US: u64 = 100;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// The messages of a ladder, in time order.
///
/// # Errors
/// A sentence that names the line.
pub fn messages(ladder: &Ladder) -> Result<Vec<WireMessage>, String> {
    phones::act(ladder)
}

/// The frames of a ladder, in time order.
///
/// # Errors
/// A sentence that names the line.
pub fn frames(ladder: &Ladder) -> Result<Vec<CapturedFrame>, String> {
    let wrapping = Wrapping { link: ladder.link, vlan: ladder.vlan };
    let mtu = if ladder.mirror.contains(&Mirror::Offload) { MOST_OFFLOADED } else { MTU };
    let mut frames = wrap_to(&messages(ladder)?, wrapping, mtu);
    for mirror in &ladder.mirror {
        frames = mirror.shows(frames);
    }
    if let Some(tunnel) = ladder.tunnel {
        for frame in &mut frames {
            frame.bytes = tunnel.wrap(&frame.bytes);
        }
    }
    Ok(frames)
}

/// Messages as frames. TCP connections are opened 1 ms before their first message, and each segment is acknowledged.
pub fn wrap(messages: &[WireMessage], wrapping: Wrapping) -> Vec<CapturedFrame> {
    wrap_to(messages, wrapping, MTU)
}

fn wrap_to(messages: &[WireMessage], wrapping: Wrapping, mtu: usize) -> Vec<CapturedFrame> {
    let mut wire = Wire {
        wrapping,
        mtu,
        frames: Vec::new(),
        identification: 0,
        streams: BTreeMap::new(),
        associations: BTreeMap::new(),
    };
    for message in messages {
        match message.carrier {
            Carrier::Udp => wire.udp_message(message),
            Carrier::Tcp => wire.tcp_message(message, message.bytes.clone()),
            Carrier::WebSocket => wire.websocket_message(message),
            Carrier::Sctp => wire.sctp_message(message),
        }
    }
    wire.frames.sort_by_key(|frame| frame.at_us);
    wire.frames
}

/// The sender's address in an untagged Ethernet frame with IPv4.
pub fn sender(frame: &CapturedFrame) -> Option<IpAddr> {
    const SOURCE_AT: usize = 14 + 12;
    let address = frame.bytes.get(SOURCE_AT..)?.first_chunk::<4>()?;
    Some(IpAddr::from(*address))
}

/// The frames of a file that [`pcap`] could have written.
///
/// # Panics
/// It could not have.
pub fn frames_of_pcap(file: &[u8]) -> Vec<CapturedFrame> {
    let mut frames = Vec::new();
    let mut rest = &file[24..];
    while let Some((head, behind)) = rest.split_first_chunk::<16>() {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (bytes, behind) = behind.split_at(word(8) as usize);
        let at_us = u64::from(word(0)) * 1_000_000 + u64::from(word(4));
        frames.push(CapturedFrame { at_us, bytes: bytes.to_vec() });
        rest = behind;
    }
    frames
}

/// A capture file: 24 bytes of header, then records (little-endian, microseconds).
pub fn pcap(link: Link, frames: &[CapturedFrame]) -> Vec<u8> {
    let link_type: u32 = match link {
        Link::Ethernet => 1,
        Link::LinuxCooked => 113,
    };
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend(2_u16.to_le_bytes());
    file.extend(4_u16.to_le_bytes());
    file.extend([0; 8]); // time zone and accuracy: always 0
    file.extend(262_144_u32.to_le_bytes());
    file.extend(link_type.to_le_bytes());
    for frame in frames {
        let length = frame.bytes.len() as u32;
        file.extend(((frame.at_us / 1_000_000) as u32).to_le_bytes());
        file.extend(((frame.at_us % 1_000_000) as u32).to_le_bytes());
        file.extend(length.to_le_bytes());
        file.extend(length.to_le_bytes());
        file.extend(&frame.bytes);
    }
    file
}

/// One direction of a TCP connection.
#[derive(Default)]
struct Stream {
    next: u32,
    /// Where the last message began.
    last: u32,
    held: Vec<u8>,
}

struct Wire {
    wrapping: Wrapping,
    mtu: usize,
    frames: Vec<CapturedFrame>,
    identification: u16,
    streams: BTreeMap<(SocketAddr, SocketAddr), Stream>,
    associations: BTreeMap<(SocketAddr, SocketAddr), sctp::Direction>,
}

struct Segment<'a> {
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    options: &'a [u8],
    payload: &'a [u8],
}

impl Wire {
    fn udp_message(&mut self, message: &WireMessage) {
        let (from, to) = (message.source, message.destination);
        let length = (8 + message.bytes.len()) as u16;
        let mut datagram = Vec::with_capacity(usize::from(length));
        datagram.extend(from.port().to_be_bytes());
        datagram.extend(to.port().to_be_bytes());
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(&message.bytes);
        let sum = match transport_checksum(from.ip(), to.ip(), 17, &datagram) {
            0 => 0xffff, // 0 would say "none"
            sum => sum,
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        self.packet(message.at_us, from.ip(), to.ip(), 17, &datagram);
    }

    fn sctp_message(&mut self, message: &WireMessage) {
        let (from, to) = (message.source, message.destination);
        if !self.associations.contains_key(&(from, to)) {
            self.associate(message.at_us - 10 * TCP_TICK_US, from, to);
        }
        let direction = self.associations.entry((from, to)).or_default();
        let verification_tag = direction.verification_tag;
        let mut chunks = sctp::data(direction, &message.bytes, message.segments);
        if message.with_next {
            direction.held.extend(chunks.concat());
            return;
        }
        chunks[0].splice(0..0, std::mem::take(&mut direction.held));
        let last = direction.next.wrapping_sub(1);
        let count = chunks.len() as u64;
        for (index, chunk) in (1..).zip(&chunks) {
            let at_us = message.at_us - (count - index) * 2 * TCP_TICK_US;
            self.packet(at_us, from.ip(), to.ip(), 132, &sctp::packet(from, to, verification_tag, chunk));
        }
        let back = self.associations.entry((to, from)).or_default().verification_tag;
        let answer = sctp::packet(to, from, back, &sctp::acknowledgement(last));
        self.packet(message.at_us + TCP_TICK_US, to.ip(), from.ip(), 132, &answer);
    }

    fn associate(&mut self, at_us: u64, from: SocketAddr, to: SocketAddr) {
        let number = 1 + self.associations.len() as u32;
        // The numbers of whoever opens run over their end soon.
        let (tags, first) = ([0x0a00_0000 + number, 0x0b00_0000 + number], [u32::MAX - 2, 1_000 * number]);
        let packets = sctp::opening(tags, first);
        for (index, (opens, tag, chunk)) in packets.into_iter().enumerate() {
            let (source, destination) = if opens { (from, to) } else { (to, from) };
            let packet = sctp::packet(source, destination, tag, &chunk);
            self.packet(at_us + index as u64 * 2 * TCP_TICK_US, source.ip(), destination.ip(), 132, &packet);
        }
        for (ends, verification_tag, next) in
            [((from, to), tags[1], first[0]), ((to, from), tags[0], first[1])]
        {
            self.associations.insert(ends, sctp::Direction { verification_tag, next, ..Default::default() });
        }
    }

    fn websocket_message(&mut self, message: &WireMessage) {
        let (from, to) = (message.source, message.destination);
        if message.new_connection || !self.streams.contains_key(&(from, to)) {
            let (client, server) = if message.from_client { (from, to) } else { (to, from) };
            let at_us = message.at_us - 30 * TCP_TICK_US;
            self.open(at_us, client, server);
            self.in_segments(at_us + 6 * TCP_TICK_US, client, server, 1, &websocket::request(server));
            self.in_segments(at_us + 8 * TCP_TICK_US, server, client, 1, &websocket::response());
        }
        let frames = websocket::frames(&message.bytes, message.frames, message.binary, message.from_client);
        self.tcp_message(&WireMessage { new_connection: false, ..message.clone() }, frames);
    }

    fn tcp_message(&mut self, message: &WireMessage, bytes: Vec<u8>) {
        let (from, to) = (message.source, message.destination);
        if message.new_connection || !self.streams.contains_key(&(from, to)) {
            self.open(message.at_us.saturating_sub(10 * TCP_TICK_US), from, to);
        }
        if let Some(over) = message.over {
            let stream = self.stream(from, to);
            let sequence = if over == Over::Last { stream.last } else { stream.next };
            let acknowledged = self.stream(to, from).next;
            let data = Segment { flags: PSH | ACK, sequence, acknowledged, options: &[], payload: &bytes };
            self.segment(message.at_us, from, to, &data);
            return;
        }
        let mut all = std::mem::take(&mut self.stream(from, to).held);
        all.extend(bytes);
        if message.with_next {
            self.stream(from, to).held = all;
            return;
        }
        let stream = self.stream(from, to);
        stream.last = stream.next;
        self.in_segments(message.at_us, from, to, message.segments, &all);
    }

    /// Bytes in so many segments, the last at this time, and their acknowledgements.
    fn in_segments(&mut self, last_us: u64, from: SocketAddr, to: SocketAddr, segments: usize, bytes: &[u8]) {
        let cut = bytes.len().div_ceil(segments.max(1)).clamp(1, self.mtu - 60);
        let pieces: Vec<_> = bytes.chunks(cut).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let at_us = last_us - (pieces.len() - 1 - index) as u64 * 2 * TCP_TICK_US;
            let sequence = self.stream(from, to).next;
            let acknowledged = self.stream(to, from).next;
            let data = Segment { flags: PSH | ACK, sequence, acknowledged, options: &[], payload: piece };
            self.segment(at_us, from, to, &data);
            let after = sequence.wrapping_add(piece.len() as u32);
            self.stream(from, to).next = after;
            let answer = Segment {
                flags: ACK,
                sequence: acknowledged,
                acknowledged: after,
                options: &[],
                payload: &[],
            };
            self.segment(at_us + TCP_TICK_US, to, from, &answer);
        }
    }

    /// The three-way handshake. First numbers are fixed, one of them close to the wrap.
    fn open(&mut self, at_us: u64, from: SocketAddr, to: SocketAddr) {
        let (ours, theirs) = match self.streams.remove(&(from, to)) {
            None => (u32::MAX - 600, 1_000_000 * (1 + self.streams.len() as u32)),
            // Far behind where the one before it was, so that nobody takes it for a part of that.
            Some(before) => {
                (before.next.wrapping_add(1_700_000_000), before.next.wrapping_add(1_800_000_000))
            }
        };
        let options = [2, 4, 0x05, 0xa0, 1, 1, 4, 2]; // maximum segment size 1440, selective acknowledgement
        let steps = [
            (from, to, SYN, ours, 0, &options[..]),
            (to, from, SYN | ACK, theirs, ours.wrapping_add(1), &options[..]),
            (from, to, ACK, ours.wrapping_add(1), theirs + 1, &[][..]),
        ];
        for (index, (source, destination, flags, sequence, acknowledged, options)) in
            steps.into_iter().enumerate()
        {
            let segment = Segment { flags, sequence, acknowledged, options, payload: &[] };
            self.segment(at_us + index as u64 * 2 * TCP_TICK_US, source, destination, &segment);
        }
        self.stream(from, to).next = ours.wrapping_add(1);
        self.stream(to, from).next = theirs + 1;
    }

    fn stream(&mut self, from: SocketAddr, to: SocketAddr) -> &mut Stream {
        self.streams.entry((from, to)).or_default()
    }

    fn segment(&mut self, at_us: u64, from: SocketAddr, to: SocketAddr, segment: &Segment<'_>) {
        let words = 5 + segment.options.len() as u8 / 4;
        let mut bytes = Vec::with_capacity(40 + segment.payload.len());
        bytes.extend(from.port().to_be_bytes());
        bytes.extend(to.port().to_be_bytes());
        bytes.extend(segment.sequence.to_be_bytes());
        bytes.extend(segment.acknowledged.to_be_bytes());
        bytes.extend([words << 4, segment.flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        bytes.extend(segment.options);
        bytes.extend(segment.payload);
        let sum = transport_checksum(from.ip(), to.ip(), 6, &bytes);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        self.packet(at_us, from.ip(), to.ip(), 6, &bytes);
    }

    /// IPv4 fragments what is longer than the link takes; IPv6 senders do so too (RFC 8200 §4.5).
    fn packet(&mut self, at_us: u64, from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) {
        self.identification = self.identification.wrapping_add(1);
        let identification = self.identification;
        let header = if from.is_ipv4() { 20 } else { 48 };
        let room = (self.mtu - header) / 8 * 8;
        let whole = payload.len() + if from.is_ipv4() { 20 } else { 40 } <= self.mtu;
        let pieces: Vec<_> = if whole { vec![payload] } else { payload.chunks(room).collect() };
        let last = pieces.len() - 1;
        for (index, piece) in pieces.into_iter().enumerate() {
            let (offset, more) = ((index * room / 8) as u16, index < last);
            let packet = match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    let mut packet = vec![0x45, 0];
                    packet.extend(((20 + piece.len()) as u16).to_be_bytes());
                    packet.extend(identification.to_be_bytes());
                    packet.extend((offset | if more { 0x2000 } else { 0 }).to_be_bytes());
                    packet.extend([64, protocol, 0, 0]);
                    packet.extend(from.octets());
                    packet.extend(to.octets());
                    let sum = fold_sum(sum_of(&packet));
                    packet[10..12].copy_from_slice(&sum.to_be_bytes());
                    packet.extend(piece);
                    packet
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    let extension = if whole { 0 } else { 8 };
                    let mut packet = vec![0x60, 0, 0, 0];
                    packet.extend(((extension + piece.len()) as u16).to_be_bytes());
                    packet.extend([if whole { protocol } else { 44 }, 64]);
                    packet.extend(from.octets());
                    packet.extend(to.octets());
                    if !whole {
                        packet.extend([protocol, 0]);
                        packet.extend((offset << 3 | u16::from(more)).to_be_bytes());
                        packet.extend(u32::from(identification).to_be_bytes());
                    }
                    packet.extend(piece);
                    packet
                }
                _ => continue, // no packet has two families: the ladder's parties are of one
            };
            let at_us = at_us - (last - index) as u64;
            self.frame(at_us, from, to, &packet);
        }
    }

    fn frame(&mut self, at_us: u64, from: IpAddr, to: IpAddr, packet: &[u8]) {
        let ether_type: u16 = if from.is_ipv4() { 0x0800 } else { 0x86dd };
        let mut bytes = Vec::with_capacity(18 + packet.len());
        match self.wrapping.link {
            Link::Ethernet => {
                bytes.extend(hardware_address(to));
                bytes.extend(hardware_address(from));
                if let Some(tag) = self.wrapping.vlan {
                    bytes.extend(0x8100_u16.to_be_bytes());
                    bytes.extend(tag.to_be_bytes());
                }
                bytes.extend(ether_type.to_be_bytes());
            }
            Link::LinuxCooked => {
                bytes.extend([0, 0, 0, 1, 0, 6]); // to us, Ethernet, six bytes of address
                bytes.extend(hardware_address(from));
                bytes.extend([0, 0]);
                bytes.extend(ether_type.to_be_bytes());
            }
        }
        bytes.extend(packet);
        self.frames.push(CapturedFrame { at_us, bytes });
    }
}

/// Locally administered, from the last bytes of the IP address.
fn hardware_address(ip: IpAddr) -> [u8; 6] {
    let tail = match ip {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            [octets[12], octets[13], octets[14], octets[15]]
        }
    };
    [0x02, 0x00, tail[0], tail[1], tail[2], tail[3]]
}

fn sum_of(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn fold_sum(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Over the pseudo-header and the segment, whose own checksum field is 0.
fn transport_checksum(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let addresses = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum_of(&from.octets()) + sum_of(&to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum_of(&from.octets()) + sum_of(&to.octets()),
        _ => 0,
    };
    fold_sum(addresses + u64::from(protocol) + segment.len() as u64 + sum_of(segment))
}
