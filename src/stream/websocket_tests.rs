//! SIP over WebSocket: what comes out of frames, however they are cut, lost and mixed.

use proptest::prelude::*;

use super::tests::{Wire, at, message, whole};
use crate::base::{HeardTransport, Limits, Oddity, Timestamp};

const REQUEST: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: pbx.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    sec-websocket-protocol: chat, sip\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n";
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame; `lengths`: bytes of the extended length, so that it may be written longer than it need be.
fn frame(flags: u8, key: Option<[u8; 4]>, lengths: usize, payload: &[u8]) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![flags];
    match lengths {
        0 => bytes.push(mask | u8::try_from(payload.len()).unwrap()),
        2 => {
            bytes.push(mask | 126);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(key.into_iter().flatten());
    bytes.extend(payload.iter().zip(key.unwrap_or_default().iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A whole message as a client sends it.
fn masked(text: &str) -> Vec<u8> {
    frame(0x81, Some(KEY), if text.len() > 125 { 2 } else { 0 }, text.as_bytes())
}

/// … and as a server does.
fn plain(text: &str) -> Vec<u8> {
    frame(0x82, None, if text.len() > 125 { 2 } else { 0 }, text.as_bytes())
}

/// A message over three frames with a ping between them.
fn fragmented(text: &str) -> Vec<u8> {
    let (first, rest) = text.as_bytes().split_at(10);
    let (second, third) = rest.split_at(rest.len() / 2);
    let pieces = [
        frame(0x01, Some(KEY), 0, first),
        frame(0x89, Some([1, 2, 3, 4]), 0, b"ping"),
        frame(0x00, Some([9, 0, 0, 7]), 0, second),
        frame(0x8a, Some(KEY), 0, b""),
        frame(0x80, Some(KEY), 8, third),
    ];
    pieces.concat()
}

#[test]
fn both_sides_of_a_connection_are_read_from_its_handshake_on() {
    let texts = ["one", "two", "three"].map(|subject| message(subject, "body"));
    for (handshake, size) in [(REQUEST, 1), (REQUEST, 7), (RESPONSE, 1), (RESPONSE, 1_400)] {
        let stream = [
            handshake.to_vec(),
            masked(&texts[0]),
            frame(0x81, Some(KEY), 0, b"\r\n\r\n"),
            fragmented(&texts[1]),
            plain(&texts[2]),
            frame(0x88, None, 0, &[3, 0xe8]),
        ]
        .concat();
        let mut wire = Wire::new();
        wire.syn(9);
        for (index, piece) in stream.chunks(size).enumerate() {
            wire.tcp(at(10, index * size), piece);
        }
        assert_eq!(wire.came(), whole(&texts.each_ref().map(String::as_str)));
        assert_eq!(wire.transports, [HeardTransport::WebSocket; 3]);
        assert_eq!(wire.noted(), []);
    }
}

#[test]
fn other_websockets_and_other_http_are_forgotten() {
    for handshake in [
        &b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
        b"POST / HTTP/1.1\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
    ] {
        let mut wire = Wire::new();
        wire.syn(9);
        wire.tcp(10, handshake);
        assert_eq!((wire.reassembler.tcp.len(), wire.held_bytes()), (0, 0));
    }
    let mut wire = Wire::new();
    wire.syn(9);
    let endless = [&b"GET / HTTP/1.1\r\nCookie: "[..], &[b'x'; 20_000]].concat();
    wire.tcp(10, &endless);
    assert_eq!((wire.reassembler.tcp.len(), wire.held_bytes()), (0, 0));
}

#[test]
fn a_connection_is_joined_where_a_segment_begins_with_the_frame_of_a_message() {
    let (one, two) = (message("one", "body"), message("two", ""));
    for framed in [masked(&one), plain(&one), frame(0x81, Some([0; 4]), 0, one.as_bytes())] {
        let mut wire = Wire::new();
        wire.tcp(1, &frame(0x89, Some(KEY), 0, b"ping"));
        wire.tcp(7, b"\x81\x05hello");
        assert_eq!(wire.reassembler.tcp.len(), 0);
        wire.tcp(100, &framed);
        wire.tcp(at(100, framed.len()), &fragmented(&two));
        assert_eq!(wire.came(), whole(&[&one, &two]));
        assert_eq!(wire.noted(), []);
    }
}

#[test]
fn a_connection_whose_handshake_was_lost_is_joined_too() {
    let (one, two) = (message("one", "body"), message("two", ""));
    for opened in [REQUEST, b"SIP/2.0 200 OK\r\nTo: x\r\n"] {
        let mut wire = Wire::new();
        wire.syn(9);
        let lost = at(10, opened.len());
        wire.tcp(lost, &masked(&one));
        wire.tcp(at(lost, masked(&one).len()), &masked(&two));
        wire.wait(Timestamp::from_secs(200));
        assert_eq!(wire.came(), whole(&[&one, &two]));
        assert_eq!(wire.noted(), [(Oddity::StreamGap, 1)]);
    }
}

/// Three messages, of which so many bytes in the middle do not come.
fn with_a_gap(stream: &[u8], from: usize, until: usize) -> Wire {
    let mut wire = Wire::new();
    wire.syn(9);
    wire.tcp(10, REQUEST);
    let begin = at(10, REQUEST.len());
    wire.tcp(begin, &stream[..from]);
    wire.tcp(at(begin, until), &stream[until..]);
    wire.wait(Timestamp::from_secs(200));
    wire
}

#[test]
fn a_lost_segment_loses_what_was_in_it_and_no_more() {
    let texts = ["one", "two", "three"].map(|subject| message(subject, "0123456789"));
    let mut used_in_part = 0;
    for two in [masked(&texts[1]), fragmented(&texts[1]), plain(&texts[1])] {
        let stream = [masked(&texts[0]), two.clone(), masked(&texts[2])].concat();
        let begin = masked(&texts[0]).len();
        for from in begin..begin + two.len() {
            for until in [from + 1, from + 9, begin + two.len()] {
                if until > begin + two.len() {
                    continue;
                }
                let mut wire = with_a_gap(&stream, from, until);
                let came = wire.came();
                assert_eq!(came.first(), whole(&[&texts[0]]).first(), "{from}..{until}");
                assert_eq!(came.last(), whole(&[&texts[2]]).first(), "{from}..{until}");
                // What came of the second one before the gap, if that is all its header fields, or if
                // the gap hid nothing of it.
                for (text, is_whole) in &came[1..came.len() - 1] {
                    assert!(texts[1].starts_with(text), "{from}..{until}: {text}");
                    assert!(text.contains("\r\n\r\n"));
                    assert_eq!(*is_whole, *text == texts[1]);
                    used_in_part += usize::from(!is_whole);
                }
                assert!(came.len() <= 3);
            }
        }
    }
    assert!(used_in_part > 30, "{used_in_part}");
}

#[test]
fn a_gap_over_several_frames_goes_on_at_the_next_that_begins_a_message() {
    let texts = ["one", "two", "three", "four"].map(|subject| message(subject, "0123456789"));
    let parts = [masked(&texts[0]), fragmented(&texts[1]), plain(&texts[2]), masked(&texts[3])];
    let stream = parts.concat();
    let ends: Vec<usize> = (1..5).map(|count| parts[..count].concat().len()).collect();
    for until in ends[0] + 1..ends[2] {
        let mut wire = with_a_gap(&stream, ends[0] - 4, until);
        let came = wire.came();
        assert_eq!(came.last(), whole(&[&texts[3]]).first(), "{until}");
        let third = came.contains(&(texts[2].clone(), true));
        assert_eq!(third, until <= ends[1], "{until}");
        assert_eq!(wire.noted().first(), Some(&(Oddity::StreamGap, 1)));
    }
}

#[test]
fn what_a_snapshot_length_left_of_a_message_is_used() {
    let (one, two) = (message("one", "body"), message("two", ""));
    let framed = masked(&one);
    let mut wire = Wire::new();
    wire.tcp_from(5060, 10, "cut", &framed[..framed.len() - 3]);
    wire.tcp(at(10, framed.len()), &masked(&two));
    assert_eq!(wire.came(), [(one[..one.len() - 3].to_owned(), false), (two, true)]);
    assert_eq!(wire.noted(), [(Oddity::MessageCut, 1)]);
}

#[test]
fn compressed_messages_are_counted_and_those_beside_them_read() {
    let (one, two) = (message("one", "body"), message("two", ""));
    let compressed =
        [frame(0x41, Some(KEY), 0, b"\xaa\x56"), frame(0x80, Some(KEY), 0, b"\x2a\xcd")].concat();
    let stream = [masked(&one), compressed, frame(0xc2, Some(KEY), 0, b"\x01\x02"), masked(&two)].concat();
    let mut wire = Wire::new();
    wire.tcp(10, &stream);
    assert_eq!(wire.came(), whole(&[&one, &two]));
    assert_eq!(wire.noted(), [(Oddity::WebsocketCompressed, 2)]);
}

#[test]
fn what_is_no_frame_is_searched_for_the_next_one() {
    let (one, two) = (message("one", "body"), message("two", ""));
    for nonsense in
        [&b"\x93\x00"[..], b"\xb1\x00", b"\x09\x00", b"\x89\x7e\x01\x00", b"\x83\x00", b"GET / HTTP/1.1\r\n"]
    {
        let stream = [masked(&one), nonsense.to_vec(), masked(&two), plain(&one)].concat();
        let mut wire = Wire::new();
        wire.tcp(10, &stream);
        assert_eq!(wire.came(), whole(&[&one, &two, &one]), "{nonsense:?}");
        assert_eq!(wire.noted(), [(Oddity::StreamNotSip, 1)]);
    }
}

#[test]
fn a_direction_in_which_nothing_more_is_found_is_forgotten() {
    let mut wire = Wire::new();
    wire.tcp(10, &masked(&message("one", "")));
    let mut place = at(10, masked(&message("one", "")).len());
    for _segment in 0..2_000 {
        wire.tcp(place, &[0xff; 1_000]);
        place = place.wrapping_add(1_000);
        assert!(wire.held_bytes() <= 4_096);
    }
    assert_eq!((wire.came().len(), wire.reassembler.tcp.len(), wire.held_bytes()), (1, 0, 0));
}

#[test]
fn a_message_longer_than_is_held_is_passed_over() {
    let limits = Limits { message_bytes: 1_000, ..Limits::default() };
    let (long, two) = (message("long", &"x".repeat(70_000)), message("two", ""));
    let many: Vec<u8> = long.as_bytes().chunks(100).flat_map(|piece| frame(0x00, None, 0, piece)).collect();
    let spread = [frame(0x01, None, 0, b"INVITE "), many, frame(0x80, None, 0, b"")].concat();
    for long in [frame(0x81, Some(KEY), 8, long.as_bytes()), spread] {
        let stream = [masked(&two), long, masked(&two)].concat();
        let mut wire = Wire::with(&limits);
        for (index, piece) in stream.chunks(1_400).enumerate() {
            wire.tcp(at(10, index * 1_400), piece);
            assert!(wire.held_bytes() <= 2_000);
        }
        assert_eq!(wire.came(), whole(&[&two, &two]));
        assert_eq!(wire.noted(), [(Oddity::MessageTooLong, 1)]);
    }
}

#[test]
fn a_message_that_its_connection_did_not_finish_is_used_as_far_as_its_fields_go() {
    let (one, two) = (message("one", ""), message("two", "0123456789"));
    let framed = masked(&two);
    for (left_out, used) in [(3, true), (20, false)] {
        let mut wire = Wire::new();
        wire.tcp(10, &masked(&one));
        wire.tcp_from(5060, at(10, masked(&one).len()), "fin", &framed[..framed.len() - left_out]);
        let came = wire.came();
        assert_eq!(came.get(1), used.then(|| (two[..two.len() - left_out].to_owned(), false)).as_ref());
        assert_eq!(wire.noted(), [(Oddity::MessageCut, 1)]);
    }
}

#[test]
fn a_new_message_before_the_end_of_the_last_one_ends_it() {
    let (one, two) = (message("one", ""), message("two", ""));
    let stream = [
        frame(0x80, Some(KEY), 0, b"the end of something"),
        frame(0x01, Some(KEY), 0, &one.as_bytes()[..30]),
        masked(&two),
    ];
    let mut wire = Wire::new();
    wire.tcp(10, &masked(&one));
    wire.tcp(at(10, masked(&one).len()), &stream.concat());
    assert_eq!(wire.came(), whole(&[&one, &two]));
}

#[test]
fn two_connections_do_not_mix() {
    let (one, two) = (message("one", "body"), message("two", "body"));
    let (first, second) = (masked(&one), masked(&two));
    let mut wire = Wire::new();
    for port in [1, 2] {
        wire.tcp_from(port, 9, "syn", b"");
        wire.tcp_from(port, 10, "", REQUEST);
    }
    let begin = at(10, REQUEST.len());
    for index in 0..first.len() {
        wire.tcp_from(1, at(begin, index), "", &first[index..=index]);
        wire.tcp_from(2, at(begin, index), "", &second[index..=index]);
    }
    assert_eq!(wire.came(), whole(&[&one, &two]));
}

proptest! {
    #[test]
    fn any_frames_in_any_segments_give_the_same_messages(
        bodies in proptest::collection::vec(("[ -~]{0,300}", any::<[u8; 4]>(), any::<bool>(), 1_usize..5), 1..6),
        sizes in proptest::collection::vec(1_usize..90, 1..12),
        shuffle in any::<u64>(),
    ) {
        let mut stream = REQUEST.to_vec();
        let mut texts = Vec::new();
        for (body, key, is_masked, count) in &bodies {
            let text = message("one", body);
            let size = text.len().div_ceil(*count);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            for (index, piece) in pieces.iter().enumerate() {
                let opcode = if index == 0 { 0x01 } else { 0x00 };
                let fin = if index + 1 == pieces.len() { 0x80 } else { 0 };
                let lengths = if piece.len() > 125 { 2 } else { 0 };
                stream.extend(frame(opcode | fin, is_masked.then_some(*key), lengths, piece));
                stream.extend(frame(0x89, Some(*key), 0, &key[..2]));
            }
            texts.push((text, true));
        }
        let mut segments = Vec::new();
        let (mut offset, mut turn) = (0, 0);
        while offset < stream.len() {
            let end = (offset + sizes[turn % sizes.len()]).min(stream.len());
            segments.push((at(10, offset), &stream[offset..end]));
            (offset, turn) = (end, turn + 1);
        }
        let mut state = shuffle | 1;
        for index in (1..segments.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            segments.swap(index, usize::try_from(state >> 33).unwrap() % (index + 1));
        }
        let mut wire = Wire::new();
        wire.syn(9);
        for (sequence, segment) in segments {
            wire.tcp(sequence, segment);
        }
        prop_assert_eq!(wire.came(), texts);
        prop_assert_eq!(wire.noted(), vec![]);
    }
}
