//! Hand-made frames, what they carry, and what is noted about them.

use std::net::SocketAddr;

use etherparse::{IpNumber, PacketBuilder};
use proptest::prelude::*;

use super::*;

const ALICE: [u8; 4] = [192, 0, 2, 1];
const BOB: [u8; 4] = [198, 51, 100, 2];

fn ipv4_udp(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(ALICE, BOB, 64).udp(5060, 5080).write(&mut packet, payload).unwrap();
    packet
}

fn ipv6_udp(payload: &[u8]) -> Vec<u8> {
    let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let mut packet = Vec::new();
    PacketBuilder::ipv6(address(1), address(2), 64).udp(5060, 5080).write(&mut packet, payload).unwrap();
    packet
}

fn ipv4_tcp(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(ALICE, BOB, 64).tcp(5060, 5080, 77, 1000).fin().write(&mut packet, payload).unwrap();
    packet
}

fn ethernet(ether_type: u16, rest: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &ether_type.to_be_bytes(), rest].concat()
}

fn tagged(tags: &[(u16, u16)], ether_type: u16, rest: &[u8]) -> Vec<u8> {
    let mut inner = rest.to_vec();
    let mut announced = ether_type;
    for (tag_type, identifier) in tags.iter().rev() {
        inner = [&identifier.to_be_bytes()[..], &announced.to_be_bytes(), &inner].concat();
        announced = *tag_type;
    }
    ethernet(announced, &inner)
}

fn frame(link: u16, bytes: &[u8]) -> Frame<'_> {
    Frame {
        at: Timestamp::from_secs(1),
        id: FrameId::default(),
        link: LinkType(link),
        bytes,
        wire_length: bytes.len(),
    }
}

/// What the frame carried, its completeness, and the oddities.
fn decoded(decoder: &mut Decoder, frame: &Frame<'_>) -> (Option<(Vec<u8>, bool)>, Vec<Oddity>) {
    let mut oddities = Oddities::default();
    let carried = decoder.decode(frame, &mut oddities).map(|segment| {
        let bytes = match segment.payload {
            Payload::Udp(bytes) | Payload::Tcp { bytes, .. } | Payload::Sctp { chunks: bytes, .. } => {
                bytes.to_vec()
            }
        };
        (bytes, segment.whole)
    });
    (carried, oddities.counts().map(|(name, _)| name).collect())
}

fn decoder() -> Decoder {
    Decoder::new(&Limits::default())
}

#[track_caller]
fn assert_carries(link: u16, bytes: &[u8], payload: &[u8]) {
    let (carried, oddities) = decoded(&mut decoder(), &frame(link, bytes));
    assert_eq!(carried, Some((payload.to_vec(), true)));
    assert_eq!(oddities, []);
}

#[test]
fn every_link_type_and_both_ip_versions() {
    for (packet, ether_type) in [(ipv4_udp(b"hello"), 0x0800), (ipv6_udp(b"hello"), 0x86dd)] {
        let family: u32 = if ether_type == 0x0800 { 2 } else { 30 };
        let with = |before: &[u8]| [before, &packet].concat();
        assert_carries(1, &ethernet(ether_type, &packet), b"hello");
        let mut cooked = [0; 16];
        cooked[14..].copy_from_slice(&ether_type.to_be_bytes());
        assert_carries(113, &with(&cooked), b"hello");
        let mut cooked = [0; 20];
        cooked[..2].copy_from_slice(&ether_type.to_be_bytes());
        assert_carries(276, &with(&cooked), b"hello");
        for link in [101, 12, 14] {
            assert_carries(link, &packet, b"hello");
        }
        assert_carries(if family == 2 { 228 } else { 229 }, &packet, b"hello");
        assert_carries(0, &with(&family.to_be_bytes()), b"hello");
        assert_carries(0, &with(&family.to_le_bytes()), b"hello");
        assert_carries(108, &with(&family.to_be_bytes()), b"hello");
    }
}

#[test]
fn tags_in_tags_to_a_bounded_depth() {
    let packet = ipv4_udp(b"hello");
    assert_carries(1, &tagged(&[(0x8100, 7)], 0x0800, &packet), b"hello");
    let double = [(0x88a8, 7), (0x8100, 8)];
    assert_carries(1, &tagged(&double, 0x0800, &packet), b"hello");
    assert_carries(1, &tagged(&[(0x9100, 1); 8], 0x0800, &packet), b"hello");
    let deep = tagged(&[(0x8100, 1); 40], 0x0800, &packet);
    let (carried, oddities) = decoded(&mut decoder(), &frame(1, &deep));
    assert_eq!((carried, oddities), (None, vec![Oddity::NestedTooDeep]));
}

#[test]
fn addresses_ports_and_the_fields_of_tcp() {
    let bytes = ethernet(0x0800, &ipv4_tcp(b"hello"));
    let mut decoder = decoder();
    let segment = decoder.decode(&frame(1, &bytes), &mut Oddities::default()).unwrap();
    assert_eq!(segment.source, SocketAddr::from((ALICE, 5060)));
    assert_eq!(segment.destination, SocketAddr::from((BOB, 5080)));
    let Payload::Tcp { sequence, acknowledged: _, syn, fin, rst, bytes } = segment.payload else {
        panic!("TCP");
    };
    assert_eq!((sequence, syn, fin, rst), (77, false, true, false));
    assert_eq!(bytes, b"hello");
}

fn sctp_packet(chunks: &[u8]) -> Vec<u8> {
    let header = [0x13, 0xc4, 0x13, 0xd8, 0, 0, 0, 9, 1, 2, 3, 4];
    let mut packet = Vec::new();
    let packet_bytes = [&header[..], chunks].concat();
    PacketBuilder::ipv4(ALICE, BOB, 64).write(&mut packet, IpNumber::SCTP, &packet_bytes).unwrap();
    packet
}

#[test]
fn ports_tag_and_chunks_of_sctp_in_tunnels_too() {
    let packet = sctp_packet(b"chunks");
    let mut tunnelled = Vec::new();
    PacketBuilder::ipv4(ALICE, BOB, 64).write(&mut tunnelled, IpNumber::IPV4, &packet).unwrap();
    for bytes in [&packet, &tunnelled] {
        let bytes = ethernet(0x0800, bytes);
        let mut decoder = decoder();
        let segment = decoder.decode(&frame(1, &bytes), &mut Oddities::default()).unwrap();
        assert_eq!(segment.source, SocketAddr::from((ALICE, 5060)));
        assert_eq!(segment.destination, SocketAddr::from((BOB, 5080)));
        let Payload::Sctp { verification_tag, chunks } = segment.payload else { panic!("SCTP") };
        assert_eq!((verification_tag, chunks), (9, &b"chunks"[..]));
        let cut = Frame { wire_length: bytes.len() + 1, ..frame(1, &bytes) };
        assert!(decoder.decode(&cut, &mut Oddities::default()).is_some());
    }
    let short = ethernet(0x0800, &sctp_packet(b"")[..31]);
    let (carried, oddities) = decoded(&mut decoder(), &frame(1, &short));
    assert_eq!((carried, oddities), (None, vec![Oddity::TruncatedFrame]));
}

#[test]
fn ethernet_padding_is_no_payload_and_no_truncation() {
    let mut bytes = ethernet(0x0800, &ipv4_udp(b"hello"));
    bytes.resize(60, 0);
    assert_carries(1, &bytes, b"hello");
}

#[test]
fn a_total_length_of_zero_means_all_that_was_captured() {
    let mut packet = ipv4_tcp(b"hello");
    packet[2..4].fill(0);
    assert_carries(1, &ethernet(0x0800, &packet), b"hello");
    let bytes = ethernet(0x0800, &packet);
    let cut = Frame { wire_length: bytes.len() + 100, ..frame(1, &bytes) };
    let (carried, oddities) = decoded(&mut decoder(), &cut);
    assert_eq!(carried, Some((b"hello".to_vec(), false)));
    assert_eq!(oddities, [Oddity::TruncatedFrame]);
}

#[test]
fn a_frame_cut_anywhere_is_told_so() {
    let whole = ethernet(0x0800, &ipv4_udp(b"hello"));
    for length in 0..whole.len() {
        let cut = Frame { wire_length: whole.len(), ..frame(1, &whole[..length]) };
        let (carried, oddities) = decoded(&mut decoder(), &cut);
        assert_eq!(oddities, [Oddity::TruncatedFrame], "{length}");
        assert_eq!(carried.is_some(), length >= 42);
        assert!(carried.is_none_or(|(_, whole)| !whole));
    }
}

#[test]
fn a_udp_checksum_that_the_card_had_yet_to_fill_in_is_no_matter() {
    let mut packet = ipv4_udp(b"hello");
    packet[26..28].copy_from_slice(&[0xde, 0xad]);
    assert_carries(101, &packet, b"hello");
}

#[test]
fn what_is_not_ip_is_passed_over_in_silence() {
    for bytes in [ethernet(0x0806, &[0; 28]), ethernet(0x0026, &[0x42; 38])] {
        assert_eq!(decoded(&mut decoder(), &frame(1, &bytes)), (None, vec![]));
    }
    let unknown = decoded(&mut decoder(), &frame(105, &[0; 64]));
    assert_eq!(unknown, (None, vec![Oddity::UnknownLinkType]));
}

/// An IPv4 packet's payload cut into fragments of `size` bytes, each in an Ethernet frame.
fn fragments(packet: &[u8], identification: u16, size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(20);
    let pieces: Vec<&[u8]> = payload.chunks(size).collect();
    let count = pieces.len();
    pieces
        .into_iter()
        .enumerate()
        .map(|(index, piece)| {
            let mut header = header.to_vec();
            let total = u16::try_from(20 + piece.len()).unwrap();
            header[2..4].copy_from_slice(&total.to_be_bytes());
            header[4..6].copy_from_slice(&identification.to_be_bytes());
            let more = if index + 1 < count { 0x2000 } else { 0 };
            let offset = u16::try_from(index * size / 8).unwrap() | more;
            header[6..8].copy_from_slice(&offset.to_be_bytes());
            ethernet(0x0800, &[&header, piece].concat())
        })
        .collect()
}

fn fragments_v6(packet: &[u8], identification: u32, size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(40);
    let pieces: Vec<&[u8]> = payload.chunks(size).collect();
    let count = pieces.len();
    pieces
        .into_iter()
        .enumerate()
        .map(|(index, piece)| {
            let mut header = header.to_vec();
            let length = u16::try_from(8 + piece.len()).unwrap();
            header[4..6].copy_from_slice(&length.to_be_bytes());
            header[6] = IPV6_FRAGMENT;
            let offset = u16::try_from(index * size).unwrap() | u16::from(index + 1 < count);
            let fragment = [&[UDP, 0][..], &offset.to_be_bytes(), &identification.to_be_bytes()].concat();
            ethernet(0x86dd, &[&header, &fragment[..], piece].concat())
        })
        .collect()
}

#[test]
fn fragments_in_any_order_and_doubled_make_one_datagram() {
    let payload: Vec<u8> = (0..100).collect();
    let v4 = fragments(&ipv4_udp(&payload), 9, 40);
    let v6 = fragments_v6(&ipv6_udp(&payload), 9, 40);
    for pieces in [v4, v6] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut decoder = decoder();
            let mut seen = Vec::new();
            for index in order.into_iter().flat_map(|index| [index, index]) {
                let (carried, oddities) = decoded(&mut decoder, &frame(1, &pieces[index]));
                assert_eq!(oddities, []);
                seen.extend(carried);
            }
            assert_eq!(seen, [(payload.clone(), true)]);
        }
    }
}

#[test]
fn fragments_of_two_networks_or_two_datagrams_do_not_mix() {
    let payload = [7; 100];
    let other = [8; 100];
    let mut decoder = decoder();
    let first = fragments(&ipv4_udp(&payload), 9, 64);
    let second = fragments(&ipv4_udp(&other), 10, 64);
    let strip = |bytes: &[u8]| tagged(&[(0x8100, 5)], 0x0800, &bytes[14..]);
    assert_eq!(decoded(&mut decoder, &frame(1, &first[0])).0, None);
    assert_eq!(decoded(&mut decoder, &frame(1, &strip(&first[1]))).0, None);
    assert_eq!(decoded(&mut decoder, &frame(1, &second[1])).0, None);
    let (carried, _) = decoded(&mut decoder, &frame(1, &second[0]));
    assert_eq!(carried, Some((other.to_vec(), true)));
    let (carried, _) = decoded(&mut decoder, &frame(1, &first[1]));
    assert_eq!(carried, Some((payload.to_vec(), true)));
}

#[test]
fn an_identification_used_again_begins_anew() {
    let mut decoder = decoder();
    for byte in [1, 2, 3] {
        let payload = [byte; 100];
        let pieces = fragments(&ipv4_udp(&payload), 9, 64);
        assert_eq!(decoded(&mut decoder, &frame(1, &pieces[0])).0, None);
        let (carried, oddities) = decoded(&mut decoder, &frame(1, &pieces[1]));
        assert_eq!(carried, Some((payload.to_vec(), true)));
        assert_eq!(oddities, []);
    }
}

#[test]
fn fragments_that_contradict_each_other_are_noted_and_the_newer_stands() {
    let old = fragments(&ipv4_udp(&[1; 100]), 9, 64);
    let new = fragments(&ipv4_udp(&[2; 100]), 9, 64);
    let mut decoder = decoder();
    decoded(&mut decoder, &frame(1, &old[0]));
    let (_, oddities) = decoded(&mut decoder, &frame(1, &new[0]));
    assert_eq!(oddities, [Oddity::FragmentOverlap]);
    let (carried, _) = decoded(&mut decoder, &frame(1, &new[1]));
    assert_eq!(carried, Some((vec![2; 100], true)));
}

#[test]
fn an_end_before_bytes_that_came_is_a_contradiction() {
    let pieces = fragments(&ipv4_udp(&[1; 200]), 9, 64);
    let mut last = pieces[0].clone();
    last[14 + 6] = 0;
    let mut early_end = last;
    early_end[14 + 7] = 1;
    let mut decoder = decoder();
    decoded(&mut decoder, &frame(1, &pieces[0]));
    decoded(&mut decoder, &frame(1, &pieces[1]));
    let (carried, oddities) = decoded(&mut decoder, &frame(1, &early_end));
    assert_eq!((carried, oddities), (None, vec![Oddity::FragmentOverlap]));
}

#[test]
fn fragments_that_never_come_are_given_up_after_a_while_and_when_there_are_too_many() {
    let limits = Limits { fragmented_datagrams: 2, fragment_wait_s: 30, ..Limits::default() };
    let mut decoder = Decoder::new(&limits);
    let first_of = |identification| fragments(&ipv4_udp(&[1; 100]), identification, 64).remove(0);
    let mut oddities = Oddities::default();
    for identification in 0..3 {
        decoder.decode(&frame(1, &first_of(identification)), &mut oddities);
    }
    assert_eq!(oddities.count(Oddity::FragmentsGivenUp), 1);
    let bytes = first_of(4);
    let later = Frame { at: Timestamp::from_secs(32), ..frame(1, &bytes) };
    decoder.decode(&later, &mut oddities);
    assert_eq!(oddities.count(Oddity::FragmentsGivenUp), 3);
}

#[test]
fn a_first_fragment_cut_by_the_snapshot_length_tells_its_beginning() {
    let pieces = fragments(&ipv4_udp(&[1; 200]), 9, 104);
    let cut = Frame { wire_length: pieces[0].len(), ..frame(1, &pieces[0][..80]) };
    let (carried, oddities) = decoded(&mut decoder(), &cut);
    assert_eq!(carried, Some((vec![1; 38], false)));
    assert_eq!(oddities, [Oddity::TruncatedFrame]);
}

#[test]
fn extension_headers_of_ipv6_before_and_behind_the_fragment_header() {
    let plain = ipv6_udp(b"hello");
    let options = [UDP, 0, 1, 4, 0, 0, 0, 0];
    let mut packet = [&plain[..40], &options, &plain[40..]].concat();
    packet[5] += 8;
    packet[6] = IPV6_DESTINATION_OPTIONS;
    assert_carries(229, &packet, b"hello");
    // The same, with the options inside the fragmented part.
    let mut pieces = fragments_v6(&packet, 3, 8);
    let mut decoder = decoder();
    let last = pieces.pop().unwrap();
    for piece in &mut pieces {
        piece[14 + 40] = IPV6_DESTINATION_OPTIONS;
        assert_eq!(decoded(&mut decoder, &frame(1, piece)), (None, vec![]));
    }
    let mut last = last;
    last[14 + 40] = IPV6_DESTINATION_OPTIONS;
    let (carried, _) = decoded(&mut decoder, &frame(1, &last));
    assert_eq!(carried, Some((b"hello".to_vec(), true)));
}

fn any_link() -> impl Strategy<Value = u16> {
    proptest::sample::select(vec![0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 500])
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(link in any_link(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decoded(&mut decoder(), &frame(link, &bytes));
    }

    #[test]
    fn damaged_packets_never_panic(
        damage in proptest::collection::vec((0_usize..200, any::<u8>()), 0..6),
        cut in 0_usize..200,
        v6 in any::<bool>(),
    ) {
        let payload = [1; 100];
        let pieces = if v6 {
            fragments_v6(&ipv6_udp(&payload), 1, 40)
        } else {
            fragments(&ipv4_udp(&payload), 1, 40)
        };
        let mut decoder = decoder();
        for mut piece in pieces {
            for (at, byte) in &damage {
                if let Some(place) = piece.get_mut(*at) {
                    *place = *byte;
                }
            }
            let kept = piece.len() - cut.min(piece.len());
            decoded(&mut decoder, &frame(1, &piece[..kept]));
            decoded(&mut decoder, &frame(1, &piece));
        }
    }
}

/// Plain IPv4 in an Ethernet frame has a shorter way than behind any other link header.
#[test]
fn the_short_way_leads_where_the_long_one_does() {
    const RAW_IP: u16 = 101;
    const ETHERNET: u16 = 1;
    let seen = |link: u16, bytes: &[u8], uncaptured: usize| {
        let mut oddities = Oddities::default();
        let frame = Frame { wire_length: bytes.len() + uncaptured, ..frame(link, bytes) };
        let segment = decoder().decode(&frame, &mut oddities).map(|segment| format!("{segment:?}"));
        (segment, oddities.counts().collect::<Vec<_>>())
    };
    let mut different = std::collections::BTreeSet::new();
    let mut compare = |packet: &[u8], uncaptured: usize| {
        let long = seen(RAW_IP, packet, uncaptured);
        let short = seen(ETHERNET, &ethernet(0x0800, packet), uncaptured);
        assert_eq!(short, long, "{packet:?}, {uncaptured} not captured");
        different.insert(long);
    };
    for packet in [ipv4_udp(b"twelve bytes"), ipv4_tcp(b"twelve bytes")] {
        let padded = [&packet[..], &[0; 6]].concat();
        for uncaptured in [0, 4] {
            compare(&padded, uncaptured);
            for length in 0..=packet.len() {
                compare(&packet[..length], uncaptured);
            }
            for (at, value) in (0..packet.len()).flat_map(|at| (0..=255).map(move |value| (at, value))) {
                let mut changed = packet.clone();
                changed[at] = value;
                compare(&changed, uncaptured);
            }
        }
    }
    assert!(different.len() > 1_000, "{}", different.len());
}
