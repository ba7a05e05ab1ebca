//! Media, refused at the first look: on a mirror port most of what passes.
//! In: a frame's bytes. Out: whether they are surely RTP or RTCP over UDP. Knows nothing of SIP.
//! RFC 3550 section 5.1: version 2 is in the first two bits, and no SIP message begins with such a byte.

use crate::base::LinkType;

const ETHERNET: u16 = 1;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];
const UDP: u8 = 17;

/// Whether this is an Ethernet frame, with one VLAN tag at most, whose UDP datagram begins as RTP and RTCP do.
pub(super) fn is_media(link: LinkType, bytes: &[u8]) -> bool {
    link.0 == ETHERNET
        && udp_payload(bytes).is_some_and(|payload| payload.first().is_some_and(|first| first >> 6 == 2))
}

/// What stands behind the UDP header of an unfragmented datagram.
fn udp_payload(bytes: &[u8]) -> Option<&[u8]> {
    let mut kind = bytes.get(12..14)?;
    let mut packet = bytes.get(14..)?;
    if TAGS.iter().any(|tag| kind == tag) {
        (kind, packet) = (packet.get(2..4)?, packet.get(4..)?);
    }
    let first = *packet.first()?;
    let header_bytes = if kind == IPV4 && first >> 4 == 4 {
        let offset_and_more = u16::from_be_bytes(*packet.get(6..)?.first_chunk::<2>()?) & 0x3fff;
        if packet.get(9) != Some(&UDP) || offset_and_more != 0 {
            return None;
        }
        usize::from(first & 0x0f) * 4
    } else if kind == IPV6 && first >> 4 == 6 && packet.get(6) == Some(&UDP) {
        40
    } else {
        return None;
    };
    packet.get(header_bytes..)?.get(8..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, UDP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        packet.extend([0x40, 0, 0x40, 2, 0, 0, 0, 0]);
        packet.extend(payload);
        packet
    }

    fn ethernet(tags: &[u8], packet: &[u8]) -> Vec<u8> {
        [&[0; 12], tags, &IPV4, packet].concat()
    }

    #[test]
    fn rtp_and_rtcp_are_media_and_whatever_may_be_sip_is_not() {
        let is = |bytes: &[u8]| is_media(LinkType(ETHERNET), bytes);
        assert!(is(&ethernet(&[], &ipv4(0, &[0x80, 0, 1, 2]))));
        assert!(is(&ethernet(&[], &ipv4(0x4000, &[0x81, 200, 1, 2]))), "don't fragment");
        assert!(is(&ethernet(&[0x81, 0, 0, 5], &ipv4(0, &[0x80, 0]))), "tagged");
        assert!(!is(&ethernet(&[], &ipv4(0x2000, &[0x80, 0]))), "a fragment may be one of a SIP message");
        assert!(!is(&ethernet(&[], &ipv4(0, b"INVITE sip:bob@example.com SIP/2.0"))));
        assert!(!is(&ethernet(&[], &ipv4(0, &[0x08, 0, 0, 0]))), "VXLAN");
        assert!(!is(&ethernet(&[], &ipv4(0, &[0x30, 0xff]))), "GTP-U");
        assert!(!is(&ethernet(&[], &ipv4(0, &[]))));
        assert!(!is_media(LinkType(113), &ethernet(&[], &ipv4(0, &[0x80]))));
        let mut ipv6 = vec![0x60, 0, 0, 0, 0, 9, UDP, 64];
        ipv6.extend([0; 32]);
        ipv6.extend([0; 8]);
        ipv6.push(0x80);
        assert!(is(&[&[0; 12], &IPV6[..], &ipv6].concat()));
        let rtp = ethernet(&[], &ipv4(0, &[0x80]));
        for length in 0..rtp.len() {
            assert!(!is(&rtp[..length]), "cut at {length}");
        }
    }
}
