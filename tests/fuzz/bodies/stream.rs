//! Datagrams and TCP segments in any order, with losses: what is taken for a message is one; and a stream says the same
//! however it was cut into segments, in whatever order they came.

use std::net::SocketAddr;

use offhook::base::{HeardTransport, Limits, Oddities, Timestamp};
use offhook::decode::{Payload, Segment};
use offhook::sip::looks_like_sip;
use offhook::stream::{RawMessage, Reassembler};

use super::input::{Input, Reached};

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "udp message",
    "tcp message",
    "websocket message",
    "sctp message",
    "fragments_given_up",
    "websocket_compressed",
    "not whole",
    "several messages",
    "same however cut",
    "same in any order",
    "stream_gap",
    "stream_evicted",
    "stream_not_sip",
    "message_too_long",
    "message_cut",
    "content_length",
];

const BEGIN: u32 = 0xffff_ff00;

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 5060))
}

/// The first byte chooses between segments and the cutting of one stream.
pub fn target(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let mut input = Input::new(data);
    if input.byte().is_multiple_of(2) {
        segments(input, &mut reached)
    } else {
        cuts(input, &mut reached)
    }
    reached
}

/// Segments: which connection and what it does, for data where it stands, its length (two bytes), its bytes.
fn segments(mut input: Input<'_>, reached: &mut Reached) {
    let limits = Limits {
        tcp_streams: 3,
        tcp_stream_bytes: 2_048,
        message_bytes: 4_096,
        fragmented_datagrams: 3,
        ..Limits::default()
    };
    let mut reassembler = Reassembler::new(&limits);
    let mut oddities = Oddities::default();
    let mut now = Timestamp::from_secs(1_000);
    // Where each direction's next byte stands.
    let mut next = [BEGIN; 8];
    while !input.is_empty() {
        let (what, whose) = (input.byte(), input.byte());
        let which = usize::from(whose % 8);
        now = Timestamp::from_nanos(now.as_nanos() + u64::from(what >> 4) * 300_000_000);
        let place = next[which];
        let tcp = |sequence, syn, fin, rst, bytes| Payload::Tcp {
            sequence,
            acknowledged: None,
            syn,
            fin,
            rst,
            bytes,
        };
        let payload = match what % 8 {
            0 if whose >= 0x80 => {
                Payload::Sctp { verification_tag: u32::from(whose >> 6), chunks: take(&mut input) }
            }
            0 => Payload::Udp(take(&mut input)),
            1 | 2 => {
                let bytes = take(&mut input);
                next[which] = place.wrapping_add(bytes.len() as u32);
                tcp(place, false, false, false, bytes)
            }
            3 => {
                // Somewhere else: again, too early, far away.
                let offset = i32::from(input.byte().cast_signed()) * 16;
                tcp(place.wrapping_add_signed(offset), false, false, false, take(&mut input))
            }
            4 => {
                next[which] = BEGIN.wrapping_add(1);
                tcp(BEGIN, true, false, false, b"")
            }
            5 => tcp(place, false, true, false, b""),
            6 => tcp(place, false, false, true, b""),
            _ => {
                // Bytes that the mirror lost.
                next[which] = place.wrapping_add(u32::from(input.two()));
                continue;
            }
        };
        let (source, destination) = (address(1 + which as u8 / 2), address(9 + which as u8 % 2));
        let segment = Segment { source, destination, payload, whole: what & 8 == 0 };
        reassembler.handle(now, &segment, &mut oddities, &mut |message, _| {
            looks_right(&message, &limits, reached);
        });
    }
    for (oddity, _) in oddities.counts() {
        reached.note(oddity.name());
    }
}

fn take<'a>(input: &mut Input<'a>) -> &'a [u8] {
    let length = usize::from(input.two());
    input.bytes(length)
}

fn looks_right(message: &RawMessage<'_>, limits: &Limits, reached: &mut Reached) {
    assert!(message.bytes.len() <= limits.message_bytes, "a message of {} bytes", message.bytes.len());
    // A form feed counts as white space at the end of a start line here, and makes it malformed for the scanner.
    // A method so long is none at a glance, and taken here where it comes with the rest of its line.
    let method_length = message.bytes.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
    let odd = message.bytes.contains(&0x0c) || method_length > 64;
    assert!(looks_like_sip(message.bytes) || odd, "{}", String::from_utf8_lossy(message.bytes));
    reached.note(match message.transport {
        HeardTransport::Udp => "udp message",
        HeardTransport::Tcp => "tcp message",
        HeardTransport::WebSocket => "websocket message",
        HeardTransport::Sctp => "sctp message",
    });
    reached.note_if(!message.whole, "not whole");
}

/// How many cuts, their places (two bytes each), an order, and then the stream.
fn cuts(mut input: Input<'_>, reached: &mut Reached) {
    let count = usize::from(input.byte() % 12);
    let mut places: Vec<usize> = (0..count).map(|_| usize::from(input.two())).collect();
    let order: Vec<u8> = (0..=count).map(|_| input.byte()).collect();
    let stream = input.rest();
    if stream.is_empty() {
        return;
    }
    for place in &mut places {
        *place %= stream.len();
    }
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places.dedup();
    let pieces: Vec<(usize, &[u8])> =
        places.windows(2).map(|pair| (pair[0], &stream[pair[0]..pair[1]])).collect();
    let whole = messages(&[(0, stream)]);
    if whole.is_empty() {
        // It does not begin like SIP and is forgotten; a segment in the middle of it may begin so.
        return;
    }
    if stream.split(|&byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).any(|word| word.len() > 64) {
        // A method so long is only taken when it comes with the rest of its line.
        return;
    }
    assert_eq!(messages(&pieces), whole, "cut at {places:?}");
    let mut shuffled: Vec<_> = order.iter().zip(&pieces).collect();
    shuffled.sort_by_key(|(rank, _)| **rank);
    let shuffled: Vec<(usize, &[u8])> = shuffled.into_iter().map(|(_, piece)| *piece).collect();
    assert_eq!(messages(&shuffled), whole, "cut at {places:?}, in the order {order:?}");
    reached.note("tcp message");
    reached.note_if(whole.len() > 1, "several messages");
    reached.note_if(pieces.len() > 1, "same however cut");
    reached.note_if(shuffled != pieces, "same in any order");
}

/// The messages of a stream that begins with a SYN and of which nothing is lost.
fn messages(pieces: &[(usize, &[u8])]) -> Vec<(String, bool)> {
    let mut reassembler = Reassembler::new(&Limits::default());
    let mut oddities = Oddities::default();
    let mut found = Vec::new();
    let now = Timestamp::from_secs(1_000);
    let mut handle = |sequence, syn, bytes| {
        let payload = Payload::Tcp { sequence, acknowledged: None, syn, fin: false, rst: false, bytes };
        let segment = Segment { source: address(1), destination: address(2), payload, whole: true };
        reassembler.handle(now, &segment, &mut oddities, &mut |message, _| {
            found.push((String::from_utf8_lossy(message.bytes).into_owned(), message.whole));
        });
    };
    handle(BEGIN, true, b"");
    for (place, bytes) in pieces {
        handle(BEGIN.wrapping_add(1 + *place as u32), false, bytes);
    }
    found
}
