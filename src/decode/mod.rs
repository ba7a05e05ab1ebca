//! Frames: from what a capture gives to what one transport packet carries.
//! In: `Frame`. Out: `Segment`. Knows nothing of streams, SIP, files.

mod fragments;
mod link;
#[cfg(test)]
mod tests;
mod tunnel;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use etherparse::{Ipv6FragmentHeaderSlice, LaxIpSlice, LenSource, TcpSlice, UdpSlice, err};

use crate::base::{FrameId, Limits, LinkType, Oddities, Oddity, Timestamp};

use fragments::{Fragment, FragmentKey, FragmentTable};

pub use link::is_known_link;

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

/// What one UDP datagram, TCP segment or SCTP packet carried, and between whom.
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

impl Segment<'_> {
    /// A datagram that [`begins_as_media`].
    pub fn is_media(&self) -> bool {
        matches!(self.payload, Payload::Udp(bytes) if begins_as_media(bytes))
    }
}

/// These bytes of a datagram begin as RTP and RTCP do, and no SIP message does (RFC 3550 section 5.1: version 2 in the first
/// two bits).
#[inline]
pub fn begins_as_media(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first >> 6 == 2)
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
        /// All before this byte of the other direction has arrived, as the sender says.
        acknowledged: Option<u32>,
        /// The segment opens the connection.
        syn: bool,
        /// The sender sends no more after it.
        fin: bool,
        /// The connection is gone.
        rst: bool,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// An SCTP packet.
    Sctp {
        /// Names the association, as its receiver chose it.
        verification_tag: u32,
        /// All chunks, one behind the other.
        chunks: &'a [u8],
    },
}

/// How many headers inside each other are followed: VLAN tags, IP, extension headers, tunnels. A tagged frame that a
/// switch mirrors by ERSPAN out of another tunnel has about 16.
const MAX_LAYERS: usize = 24;

/// At how many IP headers inside each other fragments are put together.
const FRAGMENTED_DEPTHS: usize = 4;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_FRAGMENT: u8 = 44;
const AUTHENTICATION_HEADER: u8 = 51;
const IPV6_DESTINATION_OPTIONS: u8 = 60;

/// What is left of a frame once some headers are taken off.
#[derive(Clone, Copy)]
enum Layer<'a> {
    /// From the destination MAC address on.
    Ethernet(&'a [u8]),
    /// What an EtherType announced.
    EtherType(u16, &'a [u8]),
    /// From the IP header on; its version is told by its first four bits.
    Ip(&'a [u8]),
    /// What an IP header, or an extension header, announced.
    IpPayload {
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        bytes: &'a [u8],
        /// Nothing is missing at the end.
        whole: bool,
    },
}

/// Takes frames apart and puts fragmented datagrams together.
#[derive(Debug)]
pub struct Decoder {
    /// One for each depth: the first is for fragments of the outermost packet, the next for what is in its tunnel.
    fragments: [FragmentTable; FRAGMENTED_DEPTHS],
}

impl Decoder {
    /// A decoder that holds at most `limits.fragmented_datagrams` for `limits.fragment_wait_s`.
    pub fn new(limits: &Limits) -> Self {
        let wait = Duration::from_secs(u64::from(limits.fragment_wait_s));
        let table = || FragmentTable::new(limits.fragmented_datagrams, wait);
        Self { fragments: std::array::from_fn(|_| table()) }
    }

    /// What the frame carried, or nothing: it is not UDP, TCP or SCTP over IP, it is a fragment of something
    /// that is still incomplete, or it cannot be read (then an oddity says so).
    pub fn decode<'s>(&'s mut self, frame: &Frame<'s>, oddities: &mut Oddities) -> Option<Segment<'s>> {
        let plain = plain_ipv4(frame);
        match plain.and_then(plain_segment) {
            Some(segment) => Some(segment),
            None => self.decode_layers(frame, plain, oddities),
        }
    }

    /// Takes off one header after the other. `plain`: what [`plain_ipv4`] says of the frame.
    fn decode_layers<'s>(
        &'s mut self,
        frame: &Frame<'s>,
        plain: Option<Layer<'s>>,
        oddities: &mut Oddities,
    ) -> Option<Segment<'s>> {
        let cut = frame.bytes.len() < frame.wire_length;
        let unreadable = if cut { Oddity::TruncatedFrame } else { Oddity::MalformedPacket };
        let mut tables = self.fragments.iter_mut();
        let mut tags = 0_u64;
        let mut layer = if let Some(layer) = plain {
            tables.next();
            layer
        } else {
            match link::strip(frame.link, frame.bytes) {
                Ok(Some(layer)) => layer,
                Ok(None) => return None,
                Err(link::Unreadable::UnknownType) => {
                    oddities.note(Oddity::UnknownLinkType);
                    return None;
                }
                Err(link::Unreadable::TooShort) => {
                    oddities.note(unreadable);
                    return None;
                }
            }
        };
        for _ in 0..MAX_LAYERS {
            layer = match layer {
                Layer::Ethernet(bytes) => match link::ethernet(bytes) {
                    Some((ether_type, rest)) => Layer::EtherType(ether_type, rest),
                    None => {
                        oddities.note(unreadable);
                        return None;
                    }
                },
                Layer::EtherType(0x8100 | 0x88a8 | 0x9100, bytes) => match link::vlan(bytes) {
                    Some((tag, ether_type, rest)) => {
                        tags = tags << 12 | u64::from(tag);
                        Layer::EtherType(ether_type, rest)
                    }
                    None => {
                        oddities.note(unreadable);
                        return None;
                    }
                },
                Layer::EtherType(0x0800 | 0x86dd, bytes) => Layer::Ip(bytes),
                Layer::EtherType(ether_type, bytes) => tunnel::behind_ether_type(ether_type, bytes)?,
                Layer::Ip(bytes) => {
                    let table = tables.next();
                    match ip(bytes, cut) {
                        Ok(Packet::Whole(layer)) => layer,
                        Ok(Packet::Fragment(fragment)) => {
                            let Some(table) = table else {
                                oddities.note(Oddity::NestedTooDeep);
                                return None;
                            };
                            reassemble(table, frame.at, tags, fragment, oddities)?
                        }
                        Err(broken) => {
                            oddities.note(match broken {
                                Broken::Short => unreadable,
                                Broken::Malformed => Oddity::MalformedPacket,
                            });
                            return None;
                        }
                    }
                }
                Layer::IpPayload { source, destination, protocol, bytes, whole } => match protocol {
                    UDP | TCP | SCTP => {
                        let segment = transport(source, destination, protocol, bytes, whole, oddities)?;
                        if let Some(inside) = tunnel::behind_udp(&segment) {
                            inside
                        } else {
                            // What media say is nobody's business: they may be cut on purpose.
                            if !segment.whole && !segment.is_media() {
                                oddities.note(Oddity::TruncatedFrame);
                            }
                            return Some(segment);
                        }
                    }
                    IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION_OPTIONS => {
                        let Some((protocol, bytes)) = extension_header(bytes) else {
                            oddities.note(unreadable);
                            return None;
                        };
                        Layer::IpPayload { source, destination, protocol, bytes, whole }
                    }
                    _ => tunnel::behind_ip(protocol, source, destination, bytes, whole)?,
                },
            };
        }
        oddities.note(Oddity::NestedTooDeep);
        None
    }
}

/// Nearly all frames: over Ethernet, a whole IPv4 packet without tags, options, fragments and AH. What it carries;
/// `None` for all others.
fn plain_ipv4<'a>(frame: &Frame<'a>) -> Option<Layer<'a>> {
    const HEADERS: usize = 14 + 20;
    if frame.link != link::ETHERNET_LINK {
        return None;
    }
    let (headers, behind) = frame.bytes.split_first_chunk::<HEADERS>()?;
    let [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, 0x45, _, ip @ ..] = headers else { return None };
    let &[l1, l2, _, _, f1, f2, _, protocol, _, _, s1, s2, s3, s4, d1, d2, d3, d4] = ip;
    // More fragments, or an offset.
    let is_fragment = u16::from_be_bytes([f1, f2]) & 0x3fff != 0;
    if is_fragment || protocol == AUTHENTICATION_HEADER {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([l1, l2])).checked_sub(20)?;
    Some(Layer::IpPayload {
        source: IpAddr::V4(Ipv4Addr::new(s1, s2, s3, s4)),
        destination: IpAddr::V4(Ipv4Addr::new(d1, d2, d3, d4)),
        protocol,
        bytes: behind.get(..length)?,
        whole: true,
    })
}

/// What nearly all of these carry: a whole datagram or segment that is no tunnel's.
fn plain_segment(layer: Layer<'_>) -> Option<Segment<'_>> {
    let Layer::IpPayload { source, destination, protocol: protocol @ (UDP | TCP), bytes, whole } = layer
    else {
        return None;
    };
    let segment = segment(source, destination, protocol, bytes, whole)?;
    (segment.whole && !tunnel::is_tunnel_port(segment.destination.port())).then_some(segment)
}

/// A UDP datagram, a TCP segment or an SCTP packet. `whole`: nothing is missing at the end of `bytes`.
fn transport<'a>(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    bytes: &'a [u8],
    whole: bool,
    oddities: &mut Oddities,
) -> Option<Segment<'a>> {
    let segment = segment(source, destination, protocol, bytes, whole);
    if segment.is_none() {
        oddities.note(if whole { Oddity::MalformedPacket } else { Oddity::TruncatedFrame });
    }
    segment
}

#[inline]
fn segment(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    bytes: &[u8],
    whole: bool,
) -> Option<Segment<'_>> {
    let (source_port, destination_port, payload, reached) = match protocol {
        UDP => udp(bytes, whole),
        TCP => tcp(bytes),
        _ => sctp(bytes),
    }?;
    Some(Segment {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
        payload,
        whole: whole && reached,
    })
}

/// What an IP header led to.
enum Packet<'a> {
    Whole(Layer<'a>),
    Fragment(IpFragment<'a>),
}

/// One fragment, and what it belongs to.
struct IpFragment<'a> {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    protocol: u8,
    piece: Fragment<'a>,
    whole: bool,
}

enum Broken {
    /// The bytes end inside a header.
    Short,
    Malformed,
}

/// Reads an IPv4 or IPv6 header with its extension headers. `cut`: the frame was cut by a snapshot length.
/// A total length of zero, as segmentation offload leaves it, means all bytes that were captured.
fn ip(bytes: &[u8], cut: bool) -> Result<Packet<'_>, Broken> {
    let (packet, stopped) = LaxIpSlice::from_slice(bytes).map_err(|error| match error {
        err::ip::LaxHeaderSliceError::Len(_) => Broken::Short,
        err::ip::LaxHeaderSliceError::Content(_) => Broken::Malformed,
    })?;
    let payload = packet.payload();
    let length_untold = payload.len_source == LenSource::Slice;
    let missing = payload.incomplete || (cut && length_untold);
    let whole = !missing;
    let (source, destination) = (packet.source_addr(), packet.destination_addr());
    let fragment = |identification, protocol, piece| {
        Packet::Fragment(IpFragment { source, destination, identification, protocol, piece, whole })
    };
    match &packet {
        LaxIpSlice::Ipv4(v4) if payload.fragmented => {
            let header = v4.header();
            let piece = Fragment {
                offset: header.fragments_offset(),
                more: header.more_fragments(),
                bytes: payload.payload,
            };
            let identification = u32::from(header.identification());
            return Ok(fragment(identification, payload.ip_number.0, piece));
        }
        LaxIpSlice::Ipv6(v6) if payload.fragmented => {
            let header = v6.header();
            let behind = bytes.get(40..).ok_or(Broken::Short)?;
            let length = match usize::from(header.payload_length()) {
                0 => behind.len(),
                length => length.min(behind.len()),
            };
            let behind = behind.get(..length).ok_or(Broken::Short)?;
            let (header, behind) =
                fragment_header(header.next_header().0, behind).ok_or(Broken::Malformed)?;
            let piece =
                Fragment { offset: header.fragment_offset(), more: header.more_fragments(), bytes: behind };
            let (identification, protocol) = (header.identification(), header.next_header().0);
            return Ok(fragment(identification, protocol, piece));
        }
        _ => {}
    }
    match stopped {
        Some((err::ipv6_exts::HeaderSliceError::Len(_), _)) => Err(Broken::Short),
        Some((err::ipv6_exts::HeaderSliceError::Content(_), _)) => Err(Broken::Malformed),
        None => Ok(Packet::Whole(Layer::IpPayload {
            source,
            destination,
            protocol: payload.ip_number.0,
            bytes: payload.payload,
            whole,
        })),
    }
}

/// The fragment header of an IPv6 packet and all that stands behind it, given what stands behind the fixed
/// header. What follows the fragment header is payload even if its next-header number names an extension
/// (RFC 8200 section 4.5), which is why the slicer's own payload is not it.
fn fragment_header(mut protocol: u8, mut bytes: &[u8]) -> Option<(Ipv6FragmentHeaderSlice<'_>, &[u8])> {
    for _ in 0..MAX_LAYERS {
        match protocol {
            IPV6_FRAGMENT => {
                let header = Ipv6FragmentHeaderSlice::from_slice(bytes).ok()?;
                let behind = bytes.get(header.slice().len()..)?;
                return Some((header, behind));
            }
            IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION_OPTIONS => {
                (protocol, bytes) = extension_header(bytes)?;
            }
            _ => return None,
        }
    }
    None
}

/// Adds a fragment; what it completed, if it did.
fn reassemble<'s>(
    table: &'s mut FragmentTable,
    now: Timestamp,
    tags: u64,
    fragment: IpFragment<'s>,
    oddities: &mut Oddities,
) -> Option<Layer<'s>> {
    let IpFragment { source, destination, identification, protocol, piece, whole } = fragment;
    let followed = tunnel::is_tunnel(protocol)
        || matches!(
            protocol,
            UDP | TCP | SCTP | IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_FRAGMENT | IPV6_DESTINATION_OPTIONS
        );
    if !followed {
        return None;
    }
    let is_first = piece.offset.value() == 0;
    if !whole && !is_first {
        oddities.note(Oddity::TruncatedFrame);
        return None;
    }
    let (bytes, whole) = if whole {
        let key = FragmentKey { source, destination, identification, protocol, tags };
        (table.add(now, key, &piece, oddities)?, true)
    } else {
        // A first fragment that the snapshot length cut: the datagram can never be whole, but its beginning
        // tells more than nothing.
        (piece.bytes, false)
    };
    let announced = (protocol == UDP && whole)
        .then(|| bytes.get(4..6))
        .flatten()
        .map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
    if announced.is_some_and(|announced| announced != bytes.len()) {
        // Pieces of two datagrams that had the same identification.
        oddities.note(Oddity::MalformedPacket);
        return None;
    }
    Some(Layer::IpPayload { source, destination, protocol, bytes, whole })
}

/// Next protocol and the bytes behind an IPv6 extension header (RFC 8200 section 4.3 to 4.6), as it stands
/// in a datagram that was put together.
fn extension_header(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let next = *bytes.first()?;
    let length = 8 + 8 * usize::from(*bytes.get(1)?);
    Some((next, bytes.get(length..)?))
}

/// Ports, payload, and whether it reaches as far as the header says.
type Transported<'a> = (u16, u16, Payload<'a>, bool);

/// RFC 768. The checksum is not looked at: a mirror port shows those that the network card had yet to fill in.
fn udp(bytes: &[u8], whole: bool) -> Option<Transported<'_>> {
    let datagram = UdpSlice::from_slice_lax(bytes).ok()?;
    let length = usize::from(datagram.length());
    if (1..8).contains(&length) {
        return None;
    }
    let reached = !whole || length <= bytes.len();
    Some((datagram.source_port(), datagram.destination_port(), Payload::Udp(datagram.payload()), reached))
}

/// RFC 9260 section 3.1. The checksum is not looked at, for the same reason.
fn sctp(bytes: &[u8]) -> Option<Transported<'_>> {
    let (header, chunks) = bytes.split_first_chunk::<12>()?;
    let [s1, s2, d1, d2, v1, v2, v3, v4, ..] = *header;
    let verification_tag = u32::from_be_bytes([v1, v2, v3, v4]);
    let (source, destination) = (u16::from_be_bytes([s1, s2]), u16::from_be_bytes([d1, d2]));
    Some((source, destination, Payload::Sctp { verification_tag, chunks }, true))
}

/// RFC 9293 section 3.1.
fn tcp(bytes: &[u8]) -> Option<Transported<'_>> {
    let segment = TcpSlice::from_slice(bytes).ok()?;
    Some((
        segment.source_port(),
        segment.destination_port(),
        Payload::Tcp {
            sequence: segment.sequence_number(),
            acknowledged: segment.ack().then(|| segment.acknowledgment_number()),
            syn: segment.syn(),
            fin: segment.fin(),
            rst: segment.rst(),
            bytes: segment.payload(),
        },
        true,
    ))
}
