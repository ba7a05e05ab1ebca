//! SIP over SCTP: what comes out of chunks, whole and in pieces, twice and in any order.

use super::tests::{Wire, message, whole};
use crate::base::{HeardTransport, Limits, Oddity};
use crate::decode::Payload;

const WHOLE: u8 = 3;
const FIRST: u8 = 2;
const MIDDLE: u8 = 0;
const LAST: u8 = 1;

/// A DATA chunk with its padding.
fn data(flags: u8, number: u32, stream: u16, protocol: u32, bytes: &[u8]) -> Vec<u8> {
    let mut chunk = vec![0, flags];
    chunk.extend(u16::try_from(16 + bytes.len()).unwrap().to_be_bytes());
    chunk.extend(number.to_be_bytes());
    chunk.extend(stream.to_be_bytes());
    chunk.extend([0, 0]);
    chunk.extend(protocol.to_be_bytes());
    chunk.extend(bytes);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

fn selective_acknowledgement() -> Vec<u8> {
    vec![3, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0]
}

fn packet(wire: &mut Wire, chunks: &[Vec<u8>]) {
    packet_of(wire, 7, &chunks.concat(), true);
}

fn packet_of(wire: &mut Wire, verification_tag: u32, chunks: &[u8], is_whole: bool) {
    wire.segment(5060, Payload::Sctp { verification_tag, chunks }, is_whole);
}

/// A message in three pieces, as chunks, the first of which has this number.
fn in_pieces(text: &str, number: u32, stream: u16, protocol: u32) -> [Vec<u8>; 3] {
    let bytes = text.as_bytes();
    [(FIRST, 0..10), (MIDDLE, 10..50), (LAST, 50..bytes.len())].map(|(flags, range)| {
        let place = [FIRST, MIDDLE, LAST].iter().position(|&of| of == flags).unwrap();
        data(flags, number.wrapping_add(u32::try_from(place).unwrap()), stream, protocol, &bytes[range])
    })
}

#[test]
fn every_chunk_of_a_packet_is_a_message() {
    let texts = ["one", "two", "three"].map(|subject| message(subject, "body"));
    let mut wire = Wire::new();
    let mut chunks = vec![selective_acknowledgement()];
    chunks.extend((1..).zip(&texts).map(|(number, text)| data(WHOLE | 4, number, 0, 0, text.as_bytes())));
    chunks.push(data(WHOLE, 9, 0, 0, b"\r\n\r\n"));
    packet(&mut wire, &chunks);
    assert_eq!(wire.came(), whole(&texts.each_ref().map(String::as_str)));
    assert_eq!(wire.transports, [HeardTransport::Sctp; 3]);
    assert_eq!(wire.noted(), []);
}

#[test]
fn a_message_in_pieces_is_put_together_in_any_order_across_the_wrap_of_numbers() {
    let text = message("one", "body");
    let other = message("two", "body");
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
        let mut wire = Wire::new();
        let (pieces, others) = (in_pieces(&text, u32::MAX, 1, 0), in_pieces(&other, 2, 2, 0));
        for index in order {
            packet(&mut wire, &[pieces[index].clone(), others[index].clone()]);
            // A copy, as the mirror shows it.
            packet(&mut wire, &[pieces[index].clone()]);
        }
        let mut came = wire.came();
        came.sort();
        assert_eq!(came, whole(&[&text, &other]));
        for piece in pieces {
            packet(&mut wire, &[piece]);
        }
        assert_eq!((wire.came(), wire.noted()), (vec![], vec![]));
    }
}

#[test]
fn pieces_of_different_messages_are_not_put_together() {
    let (one, two) =
        (in_pieces(&message("one", "body"), 10, 1, 0), in_pieces(&message("two", "body"), 10, 2, 0));
    let mut wire = Wire::new();
    packet(&mut wire, &[one[0].clone(), two[1].clone(), one[2].clone()]);
    // Another association of the same ends.
    packet_of(&mut wire, 8, &one[1], true);
    // A beginning in the middle, an end in the middle.
    packet(
        &mut wire,
        &[data(FIRST, 20, 1, 0, b"INVITE "), data(FIRST, 21, 1, 0, b"x"), data(LAST, 22, 1, 0, b"x")],
    );
    packet(&mut wire, &[data(FIRST, 30, 1, 0, b"INVITE "), data(LAST, 32, 1, 0, b"x")]);
    assert_eq!(wire.came(), []);
}

#[test]
fn pieces_of_other_protocols_are_not_kept() {
    let text = message("one", "body");
    let mut wire = Wire::new();
    packet(&mut wire, &in_pieces(&text, 10, 1, 18));
    assert_eq!(wire.came(), []);
    // A whole one tells what it is.
    packet(&mut wire, &[data(WHOLE, 13, 1, 18, text.as_bytes()), data(WHOLE, 14, 1, 18, b"\x00\x11\x00")]);
    assert_eq!(wire.came(), whole(&[&text]));
}

#[test]
fn pieces_are_bounded_in_number_bytes_and_time() {
    let limits = Limits { fragmented_datagrams: 4, fragment_wait_s: 30, ..Limits::default() };
    let mut wire = Wire::with(&limits);
    for number in 0..20 {
        packet(&mut wire, &[data(MIDDLE, number * 2, 1, 0, b"x")]);
    }
    assert_eq!(wire.noted(), [(Oddity::FragmentsGivenUp, 16)]);
    for number in 100..110 {
        packet(&mut wire, &[data(MIDDLE, number * 2, 1, 0, &[b'x'; 20_000])]);
    }
    assert_eq!(wire.noted(), [(Oddity::FragmentsGivenUp, 29)]);
    let text = message("one", "body");
    let pieces = in_pieces(&text, 1_000, 1, 0);
    wire.now_s += 40;
    packet(&mut wire, &pieces[..2]);
    wire.now_s += 31;
    packet(&mut wire, &pieces[2..]);
    assert_eq!((wire.came(), wire.noted()), (vec![], vec![(Oddity::FragmentsGivenUp, 32)]));
}

#[test]
fn a_message_of_too_many_pieces_or_bytes_is_none() {
    let limits = Limits { message_bytes: 1_000, ..Limits::default() };
    let text = message("long", &"x".repeat(2_000));
    let mut wire = Wire::with(&limits);
    packet(&mut wire, &in_pieces(&text, 1, 1, 0));
    packet(&mut wire, &[data(WHOLE, 9, 1, 0, text.as_bytes())]);
    assert_eq!((wire.came(), wire.noted()), (vec![], vec![(Oddity::MessageTooLong, 2)]));
    let bytes = text.as_bytes();
    for (number, byte) in (0..).zip(bytes.chunks(2)) {
        let flags = match number {
            0 => FIRST,
            _ if usize::try_from(number).unwrap() * 2 + 2 >= bytes.len() => LAST,
            _ => MIDDLE,
        };
        packet(&mut wire, &[data(flags, 50 + number, 1, 0, byte)]);
    }
    assert_eq!(wire.came(), []);
}

#[test]
fn what_a_snapshot_length_left_is_used() {
    let text = message("one", "body");
    let chunk = data(WHOLE, 1, 1, 0, text.as_bytes());
    let mut wire = Wire::new();
    packet_of(&mut wire, 7, &chunk[..chunk.len() - 2], false);
    packet_of(&mut wire, 7, &data(FIRST, 2, 1, 0, text.as_bytes())[..60], false);
    packet_of(&mut wire, 7, &data(LAST, 3, 1, 0, text.as_bytes())[..60], false);
    let came = wire.came();
    assert_eq!(came.len(), 2);
    assert!(came.iter().all(|(part, is_whole)| text.starts_with(part) && !is_whole), "{came:?}");
}

#[test]
fn chunks_that_are_none_are_counted_and_end_the_packet() {
    let text = message("one", "");
    let good = data(WHOLE, 1, 1, 0, text.as_bytes());
    let broken: [&[u8]; 5] =
        [&[0, 3, 0, 2], &[0, 3], &[0, 3, 0, 99, 1, 2, 3, 4], &[9, 0, 0, 0], &[0, 3, 0, 8, 0, 0, 0, 1]];
    for bad in broken {
        let mut wire = Wire::new();
        packet(&mut wire, &[good.clone(), bad.to_vec()]);
        assert_eq!(
            (wire.came(), wire.noted()),
            (whole(&[&text]), vec![(Oddity::MalformedPacket, 1)]),
            "{bad:?}"
        );
    }
}
