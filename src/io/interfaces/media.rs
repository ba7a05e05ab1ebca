//! Media, refused at the first look: on a mirror port most of what passes. That they pass is shown now and then, by a frame without
//! what it says.
//! In: a frame's bytes. Out: what of it goes on. Knows nothing of SIP, calls.

use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashSet};

use crate::base::{LinkType, Timestamp};
use crate::decode::begins_as_media;

const ETHERNET: u16 = 1;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];
const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;
/// Of RTP: type, number and time; of RTCP: type, and of whom. Nothing that was said.
const FIXED_HEADER_BYTES: usize = 8;
/// One frame is shown in so long of what passes between two ends in one direction.
const SHOWN_EVERY: Duration = Duration::from_secs(2);
/// Pairs of ends that are remembered; when there are more, all are shown anew.
const PAIRS: usize = 1 << 20;

/// What of a frame goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// All: it is no media.
    All,
    /// So many bytes, which show that media pass, and between whom.
    Headers(usize),
    /// Nothing.
    Nothing,
}

/// Which media were shown lately.
#[derive(Default)]
pub(super) struct MediaShown {
    hasher: DefaultHashBuilder,
    pairs: HashSet<u64>,
    since: Timestamp,
}

impl MediaShown {
    /// Looks at the next frame.
    pub(super) fn look(&mut self, at: Timestamp, link: LinkType, bytes: &[u8]) -> Look {
        let Some(datagram) = media(link, bytes) else { return Look::All };
        if self.since.after(SHOWN_EVERY) <= at || at < self.since || self.pairs.len() >= PAIRS {
            self.pairs.clear();
            self.since = at;
        }
        let pair = self.hasher.hash_one((datagram.addresses, datagram.ports));
        if self.pairs.insert(pair) { Look::Headers(datagram.headers_bytes) } else { Look::Nothing }
    }
}

/// A datagram of RTP or RTCP.
struct Datagram<'f> {
    addresses: &'f [u8],
    ports: &'f [u8],
    /// From the beginning of the frame.
    headers_bytes: usize,
}

/// The datagram of an Ethernet frame, with one VLAN tag at most, that is not a fragment and begins as RTP and RTCP do.
fn media(link: LinkType, bytes: &[u8]) -> Option<Datagram<'_>> {
    if link.0 != ETHERNET {
        return None;
    }
    let mut kind = bytes.get(12..14)?;
    let mut packet_at = 14;
    if TAGS.iter().any(|tag| kind == tag) {
        kind = bytes.get(16..18)?;
        packet_at = 18;
    }
    let packet = bytes.get(packet_at..)?;
    let first = *packet.first()?;
    let (header_bytes, addresses) = if kind == IPV4 && first >> 4 == 4 {
        let offset_and_more = u16::from_be_bytes(*packet.get(6..)?.first_chunk::<2>()?) & 0x3fff;
        if packet.get(9) != Some(&UDP) || offset_and_more != 0 {
            return None;
        }
        (usize::from(first & 0x0f) * 4, packet.get(12..20)?)
    } else if kind == IPV6 && first >> 4 == 6 && packet.get(6) == Some(&UDP) {
        (40, packet.get(8..40)?)
    } else {
        return None;
    };
    let datagram = packet.get(header_bytes..)?;
    let payload = datagram.get(UDP_HEADER_BYTES..)?;
    begins_as_media(payload).then_some(Datagram {
        addresses,
        ports: datagram.get(..4)?,
        headers_bytes: packet_at + header_bytes + UDP_HEADER_BYTES + FIXED_HEADER_BYTES.min(payload.len()),
    })
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
        let is = |bytes: &[u8]| media(LinkType(ETHERNET), bytes).is_some();
        assert!(is(&ethernet(&[], &ipv4(0, &[0x80, 0, 1, 2]))));
        assert!(is(&ethernet(&[], &ipv4(0x4000, &[0x81, 200, 1, 2]))), "don't fragment");
        assert!(is(&ethernet(&[0x81, 0, 0, 5], &ipv4(0, &[0x80, 0]))), "tagged");
        assert!(!is(&ethernet(&[], &ipv4(0x2000, &[0x80, 0]))), "a fragment may be one of a SIP message");
        assert!(!is(&ethernet(&[], &ipv4(0, b"INVITE sip:bob@example.com SIP/2.0"))));
        assert!(!is(&ethernet(&[], &ipv4(0, &[0x08, 0, 0, 0]))), "VXLAN");
        assert!(!is(&ethernet(&[], &ipv4(0, &[0x30, 0xff]))), "GTP-U");
        assert!(!is(&ethernet(&[], &ipv4(0, &[]))));
        assert!(media(LinkType(113), &ethernet(&[], &ipv4(0, &[0x80]))).is_none());
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

    #[test]
    fn that_media_pass_is_shown_now_and_then_without_what_they_say() {
        let link = LinkType(ETHERNET);
        let rtp = ethernet(&[0x81, 0, 0, 5], &ipv4(0, &[[0x80, 0].as_slice(), &[7; 170]].concat()));
        let mut backwards = rtp.clone();
        backwards[18 + 15] = 9;
        let at = |milliseconds: u64| Timestamp::from_nanos(1_000_000_000_000 + milliseconds * 1_000_000);
        let mut shown = MediaShown::default();
        let headers = Look::Headers(18 + 20 + 8 + 8);
        assert_eq!(shown.look(at(0), link, &rtp), headers);
        assert_eq!(shown.look(at(20), link, &rtp), Look::Nothing);
        assert_eq!(shown.look(at(25), link, &backwards), headers, "between others");
        assert_eq!(shown.look(at(1_999), link, &rtp), Look::Nothing);
        assert_eq!(shown.look(at(2_000), link, &rtp), headers);
        assert_eq!(shown.look(at(2_001), link, &ethernet(&[], b"?")), Look::All);
        // The clock was set back.
        assert_eq!(shown.look(at(1_000), link, &rtp), headers);
        let short = ethernet(&[], &ipv4(0, &[0x80]));
        assert_eq!(shown.look(at(6_001), link, &short), Look::Headers(short.len()));
    }
}
