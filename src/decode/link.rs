//! Link headers: what stands before IP.
//! In: a link type and a frame's bytes. Out: the next layer. Knows nothing of IP.
//! Numbers and layouts: <https://www.tcpdump.org/linktypes.html>.

use crate::base::LinkType;

use super::Layer;

const NULL: u16 = 0;
const ETHERNET: u16 = 1;
/// Raw IP has three numbers: the official one, and those of two systems' own.
const RAW: [u16; 3] = [101, 12, 14];
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_SLL2: u16 = 276;

/// Ethernet, which nearly all captures have.
pub(super) const ETHERNET_LINK: LinkType = LinkType(ETHERNET);

/// Why a link header gave no layer.
pub(super) enum Unreadable {
    UnknownType,
    TooShort,
}

/// Whether frames of this link type are read at all.
pub fn is_known_link(link: LinkType) -> bool {
    matches!(link.0, NULL | ETHERNET | LOOP | LINUX_SLL | LINUX_SLL2 | IPV4 | IPV6) || RAW.contains(&link.0)
}

/// Takes the link header off. `None`: a frame that carries no IP.
pub(super) fn strip(link: LinkType, bytes: &[u8]) -> Result<Option<Layer<'_>>, Unreadable> {
    let layer = match link.0 {
        ETHERNET => Some(Layer::Ethernet(bytes)),
        LINUX_SLL => {
            let ether_type = u16_at(bytes, 14).ok_or(Unreadable::TooShort)?;
            Some(Layer::EtherType(ether_type, from(bytes, 16)?))
        }
        LINUX_SLL2 => {
            let ether_type = u16_at(bytes, 0).ok_or(Unreadable::TooShort)?;
            Some(Layer::EtherType(ether_type, from(bytes, 20)?))
        }
        NULL | LOOP => {
            let family = bytes.first_chunk::<4>().ok_or(Unreadable::TooShort)?;
            // NULL is in the byte order of the machine that captured, which nobody wrote down.
            let family = u32::from_be_bytes(*family).min(u32::from_le_bytes(*family));
            // 2 is IPv4 everywhere. IPv6 is 24, 28 or 30 among the BSDs, 10 on Linux.
            matches!(family, 2 | 10 | 24 | 28 | 30).then_some(Layer::Ip(from(bytes, 4)?))
        }
        IPV4 | IPV6 => Some(Layer::Ip(bytes)),
        number if RAW.contains(&number) => Some(Layer::Ip(bytes)),
        _ => return Err(Unreadable::UnknownType),
    };
    Ok(layer)
}

/// EtherType and what it announces. A length (IEEE 802.3) is returned as it stands: it announces no IP.
pub(super) fn ethernet(bytes: &[u8]) -> Option<(u16, &[u8])> {
    Some((u16_at(bytes, 12)?, bytes.get(14..)?))
}

/// VLAN identifier (IEEE 802.1Q), EtherType, and what it announces.
pub(super) fn vlan(bytes: &[u8]) -> Option<(u16, u16, &[u8])> {
    Some((u16_at(bytes, 0)? & 0x0fff, u16_at(bytes, 2)?, bytes.get(4..)?))
}

/// In network byte order.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let two = bytes.get(offset..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*two))
}

fn from(bytes: &[u8], offset: usize) -> Result<&[u8], Unreadable> {
    bytes.get(offset..).ok_or(Unreadable::TooShort)
}
