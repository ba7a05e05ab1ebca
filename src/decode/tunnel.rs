//! Tunnels: packets that carry packets, as remote mirror ports, providers and mobile networks wrap them.
//! In: what stands behind an EtherType, an IP protocol number or a UDP port. Out: the next layer. Knows nothing of
//! fragments, of what the innermost packet carries.
//!
//! Each function gives `None` where the bytes are not what their number announced, or end too early.

use std::net::IpAddr;

use etherparse::{TcpSlice, UdpSlice};

use super::link::u16_at;
use super::{Layer, Payload, Segment, TCP, UDP};

const IP_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
const ESP: u8 = 50;
const MPLS_IN_IP: u8 = 137;

const MPLS: [u16; 2] = [0x8847, 0x8848];
const PPPOE_SESSION: u16 = 0x8864;
const TRANSPARENT_ETHERNET: u16 = 0x6558;
const ERSPAN_I_AND_II: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;
const PPP_IN_GRE: u16 = 0x880b;

/// Linux used 8472 before a port was assigned, and some switches still do.
const VXLAN: [u16; 2] = [4789, 8472];
const GENEVE: u16 = 6081;
const GTP_U: u16 = 2152;
const TZSP: u16 = 37_008;

/// Whether an IP protocol number announces a tunnel.
pub(super) fn is_tunnel(protocol: u8) -> bool {
    matches!(protocol, IP_IN_IP | IPV6_IN_IP | GRE | ESP | MPLS_IN_IP)
}

/// Whether a UDP port may be a tunnel's.
pub(super) fn is_tunnel_port(port: u16) -> bool {
    matches!(port, GENEVE | GTP_U | TZSP) || VXLAN.contains(&port)
}

/// What an EtherType that is neither IP nor a VLAN tag announced.
pub(super) fn behind_ether_type(ether_type: u16, bytes: &[u8]) -> Option<Layer<'_>> {
    match ether_type {
        TRANSPARENT_ETHERNET => Some(Layer::Ethernet(bytes)),
        PPPOE_SESSION => pppoe(bytes),
        _ if MPLS.contains(&ether_type) => mpls(bytes),
        _ => None,
    }
}

/// What an IP protocol number for which [`is_tunnel`] holds announced. `whole`: nothing is missing at the end.
pub(super) fn behind_ip<'a>(
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    bytes: &'a [u8],
    whole: bool,
) -> Option<Layer<'a>> {
    match protocol {
        IP_IN_IP | IPV6_IN_IP => Some(Layer::Ip(bytes)),
        GRE => gre(bytes),
        MPLS_IN_IP => mpls(bytes),
        // The trailer, which names what is inside, stands at the end.
        ESP if whole => esp(source, destination, bytes),
        _ => None,
    }
}

/// What a UDP datagram carries when it is a tunnel's; a port alone proves nothing.
pub(super) fn behind_udp<'a>(segment: &Segment<'a>) -> Option<Layer<'a>> {
    let Payload::Udp(bytes) = segment.payload else {
        return None;
    };
    match segment.destination.port() {
        GENEVE => geneve(bytes),
        GTP_U => gtp_u(bytes),
        TZSP => tzsp(bytes),
        port if VXLAN.contains(&port) => vxlan(bytes),
        _ => None,
    }
}

/// RFC 3032 section 2.1. What is behind the last label nobody wrote down: IP by its version (RFC 4928 section 3),
/// Ethernet behind a control word of zeros (RFC 4448 section 4.6) or at once.
fn mpls(mut bytes: &[u8]) -> Option<Layer<'_>> {
    const BOTTOM_OF_STACK: u8 = 1;
    loop {
        let (label, rest) = bytes.split_first_chunk::<4>()?;
        bytes = rest;
        if label[2] & BOTTOM_OF_STACK != 0 {
            break;
        }
    }
    Some(match bytes.first()? >> 4 {
        4 | 6 => Layer::Ip(bytes),
        0 => Layer::Ethernet(bytes.get(4..)?),
        _ => Layer::Ethernet(bytes),
    })
}

/// RFC 2516 section 4.
fn pppoe(bytes: &[u8]) -> Option<Layer<'_>> {
    let (header, rest) = bytes.split_first_chunk::<6>()?;
    if header[0] != 0x11 || header[1] != 0 {
        return None;
    }
    ppp(rest)
}

/// RFC 1661 section 2 with the short forms of section 6.5 and 6.6.
fn ppp(bytes: &[u8]) -> Option<Layer<'_>> {
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    let (protocol, rest) = match bytes {
        [short, rest @ ..] if short & 1 == 1 => (u16::from(*short), rest),
        [high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
        _ => return None,
    };
    matches!(protocol, 0x0021 | 0x0057).then_some(Layer::Ip(rest))
}

/// RFC 2784 and 2890; version 1 is PPTP's (RFC 2637 section 4.1). ERSPAN (draft-foschiano-erspan) rides on it.
fn gre(bytes: &[u8]) -> Option<Layer<'_>> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    const VERSION: u16 = 0x0007;

    let flags = u16_at(bytes, 0)?;
    let protocol = u16_at(bytes, 2)?;
    let version = flags & VERSION;
    if version > 1 || flags & ROUTING != 0 {
        return None;
    }
    let mut optional = CHECKSUM | KEY | SEQUENCE;
    if version == 1 {
        optional |= ACKNOWLEDGEMENT;
    }
    let rest = bytes.get(4 + 4 * (flags & optional).count_ones() as usize..)?;
    match protocol {
        // Type I has no header of its own, and no sequence number by which type II is known.
        ERSPAN_I_AND_II if flags & SEQUENCE == 0 => Some(Layer::Ethernet(rest)),
        ERSPAN_I_AND_II => Some(Layer::Ethernet(rest.get(8..)?)),
        ERSPAN_III => erspan_iii(rest),
        PPP_IN_GRE => ppp(rest),
        ether_type => Some(Layer::EtherType(ether_type, rest)),
    }
}

/// Twelve bytes, and eight more of the platform's own where the last bit says so.
fn erspan_iii(bytes: &[u8]) -> Option<Layer<'_>> {
    const PLATFORM_SUBHEADER: u16 = 0x0001;
    const FRAME_TYPE: u16 = 0x7c00;
    const FRAME_TYPE_IP: u16 = 2 << 10;

    let last = u16_at(bytes, 10)?;
    let rest = bytes.get(if last & PLATFORM_SUBHEADER == 0 { 12 } else { 20 }..)?;
    match last & FRAME_TYPE {
        0 => Some(Layer::Ethernet(rest)),
        FRAME_TYPE_IP => Some(Layer::Ip(rest)),
        _ => None,
    }
}

/// RFC 7348 section 5: the flag that a network identifier is there, and nothing that is reserved before it.
fn vxlan(bytes: &[u8]) -> Option<Layer<'_>> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    (header[0] & 0x08 != 0 && header[0] & 0x30 == 0).then_some(Layer::Ethernet(rest))
}

/// RFC 8926 section 3.4.
fn geneve(bytes: &[u8]) -> Option<Layer<'_>> {
    let first = *bytes.first()?;
    let (version, options) = (first >> 6, 4 * usize::from(first & 0x3f));
    let rest = bytes.get(8 + options..)?;
    (version == 0).then_some(Layer::EtherType(u16_at(bytes, 2)?, rest))
}

/// 3GPP TS 29.281 section 5: version 1, a G-PDU, with whatever extension headers.
fn gtp_u(bytes: &[u8]) -> Option<Layer<'_>> {
    const VERSION_1: u8 = 0x30;
    const G_PDU: u8 = 0xff;
    const MORE: u8 = 0x07;
    const EXTENDED: u8 = 0x04;

    let flags = *bytes.first()?;
    if flags & 0xf0 != VERSION_1 || *bytes.get(1)? != G_PDU {
        return None;
    }
    if flags & MORE == 0 {
        return Some(Layer::Ip(bytes.get(8..)?));
    }
    let mut next = if flags & EXTENDED == 0 { 0 } else { *bytes.get(11)? };
    let mut rest = bytes.get(12..)?;
    while next != 0 {
        let length = 4 * usize::from(*rest.first()?);
        next = *rest.get(length.checked_sub(1)?)?;
        rest = rest.get(length..)?;
    }
    Some(Layer::Ip(rest))
}

/// TaZmen Sniffer Protocol, version 1: a received or sent Ethernet frame behind tagged fields.
fn tzsp(bytes: &[u8]) -> Option<Layer<'_>> {
    const PADDING: u8 = 0;
    const END: u8 = 1;

    let (header, mut rest) = bytes.split_first_chunk::<4>()?;
    let [version, kind, carried @ ..] = *header;
    if version != 1 || kind > 1 || carried != [0, 1] {
        return None;
    }
    loop {
        let (tag, behind) = rest.split_first()?;
        rest = match *tag {
            END => return Some(Layer::Ethernet(behind)),
            PADDING => behind,
            _ => behind.get(1 + usize::from(*behind.first()?)..)?,
        };
    }
}

/// RFC 4303 section 2 with NULL encryption (RFC 2410), which no field tells: the trailer must be one, and what it
/// names must be it to the last byte.
fn esp(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> Option<Layer<'_>> {
    /// Lengths of integrity check values (RFC 8221 section 6, RFC 2404), the usual one first.
    const CHECK_VALUES: [usize; 5] = [12, 16, 0, 24, 32];

    let inside = bytes.get(8..)?;
    CHECK_VALUES.iter().find_map(|check_value| {
        let (rest, [padding, protocol]) =
            inside.get(..inside.len().checked_sub(*check_value)?)?.split_last_chunk::<2>()?;
        let (payload, padding) = rest.split_at_checked(rest.len().checked_sub(usize::from(*padding))?)?;
        if !padding.iter().zip(1..).all(|(byte, number)| *byte == number) {
            return None;
        }
        let (protocol, whole) = (*protocol, true);
        match protocol {
            IP_IN_IP | IPV6_IN_IP => is_ip_packet(payload).then_some(Layer::Ip(payload)),
            UDP | TCP => is_checked(protocol, source, destination, payload).then_some(Layer::IpPayload {
                source,
                destination,
                protocol,
                bytes: payload,
                whole,
            }),
            _ => None,
        }
    })
}

/// An IP header whose length is that of the bytes.
fn is_ip_packet(bytes: &[u8]) -> bool {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => u16_at(bytes, 2).is_some_and(|length| usize::from(length) == bytes.len()),
        Some(6) => u16_at(bytes, 4).is_some_and(|length| 40 + usize::from(length) == bytes.len()),
        _ => false,
    }
}

/// A UDP datagram of just this length or a TCP segment, with the checksum of these addresses. No network card
/// fills in a checksum inside ESP, so it is there.
fn is_checked(protocol: u8, source: IpAddr, destination: IpAddr, bytes: &[u8]) -> bool {
    if protocol == UDP {
        // A transport mode datagram whose sender left the checksum out still has its length.
        return UdpSlice::from_slice(bytes).is_ok_and(|udp| usize::from(udp.length()) == bytes.len());
    }
    TcpSlice::from_slice(bytes).is_ok_and(|tcp| {
        let checksum = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                tcp.calc_checksum_ipv4(source.octets(), destination.octets()).ok()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                tcp.calc_checksum_ipv6(source.octets(), destination.octets()).ok()
            }
            _ => None,
        };
        checksum == Some(tcp.checksum())
    })
}
