//! Frames of any link type, cut anywhere, with fragments among them: read or refused, and a VLAN tag makes no difference.

use offhook::base::{FrameId, Limits, LinkType, Oddities, Oddity, Timestamp};
use offhook::decode::{Decoder, Frame, Payload, Segment};

use super::input::{Input, Reached};

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "udp",
    "tcp",
    "sctp",
    "ipv6",
    "cut",
    "tagged",
    "truncated_frame",
    "malformed_packet",
    "nested_too_deep",
    "unknown_link_type",
    "fragments_given_up",
    "fragment_overlap",
    "put together",
    "in a tunnel",
];

const LINKS: [u16; 9] = [1, 113, 276, 101, 0, 108, 228, 229, 147];
const ETHERNET: LinkType = LinkType(1);

/// Frames: link type, time that passes before it (20 ms), bytes cut off at its end, length (two bytes), its bytes.
pub fn target(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let mut input = Input::new(data);
    let limits = Limits { fragmented_datagrams: 3, fragment_wait_s: 2, ..Limits::default() };
    let mut decoder = Decoder::new(&limits);
    let mut oddities = Oddities::default();
    let mut at = Timestamp::from_secs(1_000);
    let mut number = 0;
    let mut fragment_bytes = 0;
    while !input.is_empty() {
        let link = LinkType(input.pick(&LINKS));
        at = Timestamp::from_nanos(at.as_nanos() + u64::from(input.byte()) * 20_000_000);
        let cut = usize::from(input.byte());
        let length = usize::from(input.two());
        let bytes = input.bytes(length);
        number += 1;
        let frame = Frame { at, id: FrameId::new(0, number), link, bytes, wire_length: bytes.len() + cut };
        if link == ETHERNET {
            tagged_is_the_same(&frame, &mut reached);
        }
        fragment_bytes += bytes.len();
        let Some(segment) = decoder.decode(&frame, &mut oddities) else { continue };
        let payload = payload_of(&segment, &mut reached);
        assert!(payload.len() <= fragment_bytes, "there is more than there was in all frames");
        reached.note_if(payload.len() + 28 > bytes.len(), "put together");
        // More than the longest headers that a packet outside of tunnels has in the corpus.
        reached.note_if(payload.len() + 80 < bytes.len(), "in a tunnel");
        reached.note_if(segment.source.is_ipv6(), "ipv6");
        reached.note_if(!segment.whole, "cut");
        assert_eq!(segment.source.is_ipv6(), segment.destination.is_ipv6());
    }
    for (oddity, _) in oddities.counts() {
        reached.note(oddity.name());
    }
    reached
}

fn payload_of<'a>(segment: &Segment<'a>, reached: &mut Reached) -> &'a [u8] {
    match segment.payload {
        Payload::Udp(bytes) => {
            reached.note("udp");
            bytes
        }
        Payload::Tcp { bytes, .. } => {
            reached.note("tcp");
            bytes
        }
        Payload::Sctp { chunks, .. } => {
            reached.note("sctp");
            chunks
        }
    }
}

/// Behind a VLAN tag there is what was there without it.
fn tagged_is_the_same(frame: &Frame<'_>, reached: &mut Reached) {
    let Some((addresses, rest)) = frame.bytes.split_at_checked(12) else { return };
    let tagged = [addresses, &[0x81, 0, 0, 7], rest].concat();
    let tagged = Frame { bytes: &tagged, wire_length: frame.wire_length + 4, ..*frame };
    let (mut with, mut without) = (Oddities::default(), Oddities::default());
    let (mut one, mut other) = (Decoder::new(&Limits::default()), Decoder::new(&Limits::default()));
    let plain = one.decode(frame, &mut without);
    let behind_tag = other.decode(&tagged, &mut with);
    if with.count(Oddity::NestedTooDeep) > 0 {
        return;
    }
    let told = |segment: Option<Segment<'_>>| format!("{segment:?}");
    assert_eq!(told(plain), told(behind_tag));
    reached.note_if(plain.is_some(), "tagged");
}
