//! What a switch, a cloud or a mobile core puts around frames to carry them elsewhere.
//! In: an Ethernet frame. Out: an Ethernet frame with that one, or its IP packet, inside. Knows nothing of SIP.
//! RFC 2003, 2410, 2516, 2784, 2890, 3032, 4303, 7348, 8926; draft-foschiano-erspan; 3GPP TS 29.281.

/// Where the datagrams of tunnels over UDP come from.
pub const OUTER_PORT: u16 = 54_321;

/// What is put around a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    Gre,
    /// Ethernet in GRE, with key and sequence number.
    GreEthernet,
    ErspanI,
    ErspanII,
    ErspanIII,
    /// With the platform's own header behind it.
    ErspanIIIPlatform,
    Vxlan,
    /// With one option.
    Geneve,
    Tzsp,
    /// With sequence number and an extension header, as 5G has it.
    GtpU,
    IpInIp,
    /// Two labels above IP.
    Mpls,
    /// An Ethernet frame behind a control word.
    MplsEthernet,
    Pppoe,
    /// Tunnel mode, encryption NULL, 12 bytes of integrity check value.
    EspAroundIp,
    /// Transport mode, encryption NULL, 16 bytes of integrity check value.
    EspInsideIp,
}

impl Tunnel {
    /// Each with its name in ladders.
    pub const ALL: [(&str, Self); 16] = [
        ("gre", Self::Gre),
        ("gre-ethernet", Self::GreEthernet),
        ("erspan-i", Self::ErspanI),
        ("erspan-ii", Self::ErspanII),
        ("erspan-iii", Self::ErspanIII),
        ("erspan-iii-platform", Self::ErspanIIIPlatform),
        ("vxlan", Self::Vxlan),
        ("geneve", Self::Geneve),
        ("tzsp", Self::Tzsp),
        ("gtp-u", Self::GtpU),
        ("ip-in-ip", Self::IpInIp),
        ("mpls", Self::Mpls),
        ("mpls-ethernet", Self::MplsEthernet),
        ("pppoe", Self::Pppoe),
        ("esp-tunnel", Self::EspAroundIp),
        ("esp-transport", Self::EspInsideIp),
    ];

    /// The tunnel that a ladder names.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, tunnel)| *tunnel)
    }

    /// The frame inside the tunnel; as it is when it carries no IP. What already stands inside is cut into packets
    /// before it is wrapped, so the outer frame may be longer than an MTU, as a mirror's is.
    pub fn wrap(self, frame: &[u8]) -> Vec<u8> {
        let Some((ether_type, packet)) = ip_of(frame) else {
            return frame.to_vec();
        };
        let ip_version = packet[0] >> 4;
        let ethernet = |before: &[u8]| [before, frame].concat();
        let ip = |before: &[u8]| [before, packet].concat();
        match self {
            Self::Gre => outer(47, &[&[0, 0], &ether_type.to_be_bytes(), packet].concat()),
            Self::GreEthernet => outer(47, &ethernet(&[0x30, 0, 0x65, 0x58, 0, 0, 0x12, 0x34, 0, 0, 0, 7])),
            Self::ErspanI => outer(47, &ethernet(&[0, 0, 0x88, 0xbe])),
            // Version 1, VLAN 10, session 100, index 0.
            Self::ErspanII => {
                outer(47, &ethernet(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0x0a, 0x00, 0x64, 0, 0, 0, 0]))
            }
            // Version 2, VLAN 10, session 100, a timestamp, frame type 0.
            Self::ErspanIII => outer(
                47,
                &ethernet(&[
                    0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0x0a, 0x00, 0x64, 1, 2, 3, 4, 0, 0, 0x80, 0,
                ]),
            ),
            Self::ErspanIIIPlatform => outer(
                47,
                &ethernet(&[
                    0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0x0a, 0x00, 0x64, 1, 2, 3, 4, 0, 0, 0x80, 1, 0x0c,
                    0, 0, 0, 0, 0, 0, 0,
                ]),
            ),
            Self::Vxlan => outer_udp(4789, &ethernet(&[8, 0, 0, 0, 0, 0, 42, 0])),
            Self::Geneve => outer_udp(
                6081,
                &ethernet(&[2, 0, 0x65, 0x58, 0, 0, 42, 0, 0x01, 0x02, 0x03, 0x01, 9, 9, 9, 9]),
            ),
            // A time stamp field, padding, the end.
            Self::Tzsp => outer_udp(37_008, &ethernet(&[1, 0, 0, 1, 0x0d, 4, 0, 0, 0, 1, 0, 1])),
            Self::GtpU => {
                let length = (8 + packet.len()) as u16;
                let length = length.to_be_bytes();
                outer_udp(
                    2152,
                    &ip(&[0x36, 0xff, length[0], length[1], 0, 0, 0, 9, 0, 1, 0, 0x85, 1, 0, 5, 0]),
                )
            }
            Self::IpInIp => outer(if ip_version == 4 { 4 } else { 41 }, packet),
            Self::Mpls => plain(0x8847, &ip(&[0, 1, 0, 64, 0, 2, 1, 64])),
            Self::MplsEthernet => plain(0x8847, &ethernet(&[0, 1, 1, 64, 0, 0, 0, 0])),
            Self::Pppoe => {
                let length = ((2 + packet.len()) as u16).to_be_bytes();
                let protocol = if ip_version == 4 { 0x21 } else { 0x57 };
                plain(0x8864, &ip(&[0x11, 0, 0, 5, length[0], length[1], 0, protocol]))
            }
            Self::EspAroundIp => outer(50, &esp(packet, if ip_version == 4 { 4 } else { 41 }, 12)),
            Self::EspInsideIp => transport_mode(ether_type, packet),
        }
    }
}

/// EtherType and packet of a frame with or without VLAN tags.
fn ip_of(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut at = 12;
    loop {
        let ether_type = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
        match ether_type {
            0x8100 | 0x88a8 => at += 4,
            0x0800 | 0x86dd => return Some((ether_type, frame.get(at + 2..)?)),
            _ => return None,
        }
    }
}

/// Between two routers, or a switch and the listener.
fn plain(ether_type: u16, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 203, 0, 113, 2, 0x02, 0, 203, 0, 113, 1];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(bytes);
    frame
}

fn outer(protocol: u8, bytes: &[u8]) -> Vec<u8> {
    plain(0x0800, &ipv4(protocol, [203, 0, 113, 1], [203, 0, 113, 2], bytes))
}

fn ipv4(protocol: u8, from: [u8; 4], to: [u8; 4], bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(((20 + bytes.len()) as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    let mut sum: u32 = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet.extend(bytes);
    packet
}

/// Without a checksum, as RFC 7348 section 5 has it.
fn outer_udp(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::from(OUTER_PORT.to_be_bytes());
    datagram.extend(port.to_be_bytes());
    datagram.extend(((8 + bytes.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(bytes);
    outer(17, &datagram)
}

fn esp(inside: &[u8], next_header: u8, check_value: usize) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0x10, 1, 0, 0, 0, 1];
    bytes.extend(inside);
    let padding = (4 - (inside.len() + 2) % 4) % 4;
    bytes.extend(1..=padding as u8);
    bytes.extend([padding as u8, next_header]);
    bytes.extend((0..check_value).map(|number| (number as u8).wrapping_mul(37).wrapping_add(0x5a)));
    bytes
}

/// The packet with ESP between its IP header and its transport header; a fragment, or a packet with extension
/// headers, in tunnel mode, which is what gateways do with those.
fn transport_mode(ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let (header, protocol, fragmented) = if ether_type == 0x0800 {
        let more_or_offset = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff;
        (usize::from(packet[0] & 0x0f) * 4, packet[9], more_or_offset != 0)
    } else {
        (40, packet[6], false)
    };
    if fragmented || !matches!(protocol, 6 | 17) {
        return Tunnel::EspAroundIp.wrap(&plain(ether_type, packet));
    }
    let inside = esp(&packet[header..], protocol, 16);
    let mut packet = packet[..header].to_vec();
    if ether_type == 0x0800 {
        packet[2..4].copy_from_slice(&((header + inside.len()) as u16).to_be_bytes());
        packet[9] = 50;
    } else {
        packet[4..6].copy_from_slice(&(inside.len() as u16).to_be_bytes());
        packet[6] = 50;
    }
    packet.extend(inside);
    plain(ether_type, &packet)
}
