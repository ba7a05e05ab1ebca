//! TCP: the same messages over a stream, bare or in WebSocket frames, in whatever pieces and order its segments travel.
//! In: captures, whose UDP flows become TCP connections. Out: the same. Knows nothing of what messages mean.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::support::captures::{all, ours, recording};
use crate::support::packets::{Ends, frames, packets};
use crate::support::websocket;
use crate::support::{Capture, Dice, Faults, Load, Packet, sip};

/// Each sequence number begins so near its end that most streams run over it.
const FIRST_SEQUENCE: u32 = 0xffff_ff00;

/// What is in the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// The messages.
    Sip,
    /// WebSocket frames with the messages, opened by who speaks first.
    Frames,
}

/// Rest on what is sent again over UDP and never over TCP, or on what is acknowledged.
const BY_TRANSPORT: [&str; 7] = [
    "other-leg-rings-before-losses-are-known",
    "register-answer-unseen-granted-less",
    "register-answer-unseen-over-tcp",
    "register-answer-unseen-where-messages-are-lost",
    "register-challenge-answered-unseen",
    "register-without-credentials-answer-unseen",
    "unregister-refused-after-all",
];

/// How a connection is first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// With SYN and SYN-ACK.
    Handshake,
    /// In the middle, with its first message.
    Midstream,
}

/// What the Via of a message says of its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vias {
    /// What now carries it.
    Rewritten,
    /// Still UDP.
    Kept,
}

/// The packets with each flow that carries whole messages over UDP as a TCP connection, at the same times.
fn as_tcp(packets: &[Packet], inside: Inside, opening: Opening, vias: Vias) -> Vec<Packet> {
    let flows = sip::flows_of_messages(packets);
    let mut next: BTreeMap<(SocketAddr, SocketAddr), u32> = BTreeMap::new();
    let mut clients: BTreeMap<Ends, SocketAddr> = BTreeMap::new();
    let mut out = Vec::new();
    for packet in packets {
        // What was in a stream before may be a part of a message, which is none in a frame.
        let is_part = inside == Inside::Frames && !matches!(packet.load, Load::Udp(_));
        if is_part || !flows.contains(&packet.ends()) {
            out.push(packet.clone());
            continue;
        }
        let there = (packet.source, packet.destination);
        let back = (packet.destination, packet.source);
        if opening == Opening::Handshake && !next.contains_key(&there) {
            for (source, destination) in [there, back] {
                let load = Load::Tcp {
                    sequence: FIRST_SEQUENCE,
                    syn: true,
                    fin: false,
                    rst: false,
                    bytes: Vec::new(),
                };
                out.push(Packet { source, destination, load, ..packet.clone() });
                next.insert((source, destination), FIRST_SEQUENCE.wrapping_add(1));
            }
            if inside == Inside::Frames {
                for ((source, destination), bytes) in
                    [(there, websocket::request(packet.destination)), (back, websocket::response())]
                {
                    let sequence = next.entry((source, destination)).or_default();
                    out.push(Packet { source, destination, ..packet.segment(*sequence, &bytes) });
                    *sequence = sequence.wrapping_add(bytes.len() as u32);
                }
            }
        }
        let from_client = *clients.entry(packet.ends()).or_insert(packet.source) == packet.source;
        let bytes = match sip::split(packet.bytes()) {
            Some((head, body)) => {
                let head = match vias {
                    Vias::Rewritten if inside == Inside::Sip => {
                        replaced(head, b"SIP/2.0/UDP", b"SIP/2.0/TCP")
                    }
                    Vias::Rewritten => replaced(head, b"SIP/2.0/UDP", b"SIP/2.0/WS"),
                    Vias::Kept => head.to_vec(),
                };
                sip::joined(&head, body)
            }
            None => packet.bytes().to_vec(),
        };
        // A frame says how long it was; a stream of messages does not.
        let cut_off = usize::from(inside == Inside::Frames && !packet.whole);
        let bytes = match inside {
            Inside::Sip => bytes,
            Inside::Frames => {
                let all = [&bytes[..], &b"?"[..cut_off]].concat();
                let mut frames = websocket::frames(&all, 1, false, from_client);
                frames.truncate(frames.len() - cut_off);
                frames
            }
        };
        let sequence = next.entry(there).or_insert(FIRST_SEQUENCE);
        out.push(packet.segment(*sequence, &bytes));
        *sequence = sequence.wrapping_add((bytes.len() + cut_off) as u32);
    }
    out
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend(&rest[..at]);
        out.extend(to);
        rest = &rest[at + from.len()..];
    }
    out.extend(rest);
    out
}

/// Exact: what carries a message is no part of what it says. One rule is UDP's alone (SPEC section 4): a REGISTER that is
/// sent again is not believed without its answer. No capture has one that would be believed over TCP.
#[test]
fn messages_over_tcp_mean_what_they_mean_over_udp() {
    let mut faults = Faults::default();
    let mut flows = 0;
    for capture in all().into_iter().filter(|capture| !BY_TRANSPORT.contains(&&*capture.name)) {
        let packets = packets(&capture.frames);
        flows += sip::flows_of_messages(&packets).len();
        for (inside, opening, vias) in [
            (Inside::Sip, Opening::Handshake, Vias::Rewritten),
            (Inside::Sip, Opening::Midstream, Vias::Rewritten),
            (Inside::Sip, Opening::Midstream, Vias::Kept),
            (Inside::Frames, Opening::Handshake, Vias::Rewritten),
            (Inside::Frames, Opening::Midstream, Vias::Rewritten),
        ] {
            let found = capture.outcome_of(&frames(&as_tcp(&packets, inside, opening, vias)));
            let what = format!("{} over TCP, {inside:?}, {opening:?}, Via {vias:?}", capture.name);
            faults.compare(
                &what,
                &found.everything(Duration::ZERO),
                &capture.outcome().everything(Duration::ZERO),
            );
        }
    }
    faults.assert_none();
    assert!(flows > 100, "only {flows} flows were made connections");
}

/// The capture over TCP, all connections from their handshake on, and what is to come of it in any pieces.
fn over_tcp(capture: &Capture) -> (Vec<Packet>, Vec<String>) {
    let packets = opened(as_tcp(&packets(&capture.frames), Inside::Sip, Opening::Handshake, Vias::Rewritten));
    let expected = capture.outcome_of(&frames(&packets)).everything(Duration::ZERO);
    (packets, expected)
}

/// A SYN before the first bytes of each direction that has none: pieces of what is joined in the middle could come in an
/// order in which nobody can tell that there was a beginning.
fn opened(packets: Vec<Packet>) -> Vec<Packet> {
    let mut known = BTreeSet::new();
    let mut out = Vec::new();
    for packet in packets {
        if let Load::Tcp { sequence, syn, bytes, .. } = &packet.load
            && (*syn || !bytes.is_empty())
            && known.insert((packet.source, packet.destination))
            && !syn
        {
            let sequence = sequence.wrapping_sub(1);
            let load = Load::Tcp { sequence, syn: true, fin: false, rst: false, bytes: Vec::new() };
            out.push(Packet { load, ..packet.clone() });
        }
        out.push(packet);
    }
    out
}

/// The segments cut into those pieces of theirs that `pieces` says, in its order, all at the same time. Only of
/// directions that begin like SIP: a piece of anything else could look like it, as what a WebSocket carries does. And of
/// none that a snapshot length cut: behind bytes that were cut off, what comes first is taken to be what comes next.
fn recut(packets: &[Packet], mut pieces: impl FnMut(usize) -> Vec<Range<usize>>) -> Vec<Packet> {
    let is_tcp = |packet: &&Packet| matches!(packet.load, Load::Tcp { .. });
    let cut: BTreeSet<_> =
        packets.iter().filter(is_tcp).filter(|packet| !packet.whole).map(Packet::ends).collect();
    let mut begins: BTreeMap<(SocketAddr, SocketAddr), bool> = BTreeMap::new();
    let mut out = Vec::new();
    for packet in packets {
        let Load::Tcp { sequence, syn: false, fin, rst: false, bytes } = &packet.load else {
            out.push(packet.clone());
            continue;
        };
        let like_sip = || {
            let line = bytes.split(|&byte| byte == b'\r').find(|line| !sip::is_keep_alive(line));
            line.is_some_and(|line| {
                line.trim_ascii_start().starts_with(b"SIP/2.0 ") || line.ends_with(b" SIP/2.0")
            })
        };
        let ends = (packet.source, packet.destination);
        if bytes.is_empty() || !*begins.entry(ends).or_insert_with(like_sip) || cut.contains(&packet.ends()) {
            out.push(packet.clone());
            continue;
        }
        for piece in pieces(bytes.len()) {
            let last = piece.end == bytes.len();
            let mut cut = packet.segment(sequence.wrapping_add(piece.start as u32), &bytes[piece]);
            if let Load::Tcp { fin: cut_fin, .. } = &mut cut.load {
                *cut_fin = *fin && last;
            }
            out.push(cut);
        }
    }
    out
}

fn same_in_pieces(
    capture: &Capture,
    what: &str,
    packets: &[Packet],
    expected: &[String],
    pieces: impl FnMut(usize) -> Vec<Range<usize>>,
    faults: &mut Faults,
) {
    let found = capture.outcome_of(&frames(&recut(packets, pieces))).everything(Duration::ZERO);
    faults.compare(&format!("{}, {what}", capture.name), &found, expected);
}

/// Exact: a stream is its bytes, not its segments. The longest of the recordings would take minutes.
#[test]
fn segments_of_one_byte_change_nothing() {
    let mut faults = Faults::default();
    for capture in all().into_iter().filter(|capture| capture.frames.len() < 2_000) {
        let (packets, expected) = over_tcp(&capture);
        let bytes = |length| (0..length).map(|at| at..at + 1).collect();
        same_in_pieces(&capture, "in segments of one byte", &packets, &expected, bytes, &mut faults);
    }
    faults.assert_none();
}

/// Exact: wherever a message is cut in two. Every place in the captures that are TCP of themselves, and every place of the
/// others in turn: capture by capture another one of eleven.
#[test]
fn segments_cut_in_two_anywhere_change_nothing() {
    let mut faults = Faults::default();
    let captures = ours();
    for (turn, capture) in captures.iter().enumerate() {
        let is_tcp = packets(&capture.frames).iter().any(|packet| matches!(packet.load, Load::Tcp { .. }));
        let (packets, expected) = over_tcp(capture);
        let longest = packets.iter().map(|packet| packet.bytes().len()).max().unwrap_or(0);
        let (first, step) = if is_tcp { (1, 1) } else { (1 + turn % 11, 11) };
        for cut in (first..longest).step_by(step) {
            let two = |length| if cut < length { vec![0..cut, cut..length] } else { vec![0..length; 1] };
            same_in_pieces(capture, &format!("cut at {cut}"), &packets, &expected, two, &mut faults);
        }
    }
    faults.assert_none();
}

/// Exact: pieces that come in any order, overlap each other, or come twice, are the stream that they are pieces of.
#[test]
fn segments_in_any_order_and_overlapping_change_nothing() {
    let mut faults = Faults::default();
    for capture in all().into_iter().filter(|capture| capture.frames.len() < 2_000 || recording(capture)) {
        let (packets, expected) = over_tcp(&capture);
        for seed in 0..4 {
            let mut dice = Dice(seed);
            let shuffled = |length| {
                let mut pieces = Vec::new();
                let mut at = 0;
                while at < length {
                    let end = (at + 1 + dice.below(400)).min(length);
                    pieces.push(at.saturating_sub(dice.below(60))..end);
                    at = end;
                }
                for at in 0..pieces.len() {
                    let other = dice.below(pieces.len());
                    if dice.below(3) == 0 {
                        pieces.push(pieces[other].clone());
                    }
                    pieces.swap(at, other);
                }
                pieces
            };
            let what = format!("shuffled, seed {seed}");
            same_in_pieces(&capture, &what, &packets, &expected, shuffled, &mut faults);
        }
    }
    faults.assert_none();
}

/// Exact between moments: messages that wait for the next one of their direction and leave with it in one segment mean
/// what they mean one by one at that moment. A frame gives at most one line for each presentity, so that what is true
/// for no time at all need not be told: what is compared is how all stand after each moment.
#[test]
fn several_messages_in_one_segment_mean_what_they_mean_one_by_one() {
    let mut faults = Faults::default();
    let mut joined = 0;
    let captures = all();
    // The recordings have hundreds; without them there are those of our own captures.
    let least = if captures.iter().any(recording) { 100 } else { 10 };
    for capture in captures {
        let (packets, _) = over_tcp(&capture);
        let mut apart: Vec<Packet> = Vec::new();
        let mut together: Vec<Packet> = Vec::new();
        let mut run: Vec<Packet> = Vec::new();
        let mut leave = |run: &mut Vec<Packet>, at| {
            joined += usize::from(run.len() > 1);
            let Some(first) = run.first() else { return };
            let bytes: Vec<u8> = run.iter().flat_map(|packet| packet.bytes().to_vec()).collect();
            together.push(match &first.load {
                Load::Tcp { sequence, syn: false, .. } if run.len() > 1 => {
                    Packet { at, ..first.segment(*sequence, &bytes) }
                }
                _ => first.clone(),
            });
            apart.extend(run.drain(..).map(|packet| Packet { at, ..packet }));
        };
        for packet in packets {
            let follows = run.last().is_some_and(|last| follows(last, &packet)) && run.len() < 4;
            if !follows && let Some(at) = run.last().map(|last| last.at) {
                leave(&mut run, at);
            }
            run.push(packet);
        }
        if let Some(at) = run.last().map(|last| last.at) {
            leave(&mut run, at);
        }
        let found = capture.outcome_of(&frames(&together)).settled();
        let expected = capture.outcome_of(&frames(&apart)).settled();
        let shown = |settled: &[_]| settled.iter().map(|status| format!("{status:?}")).collect::<Vec<_>>();
        let what = format!("{}, several messages in a segment", capture.name);
        faults.compare(&what, &shown(&found), &shown(&expected));
    }
    faults.assert_none();
    assert!(joined > least, "only {joined} segments were joined");
}

/// Two whole segments with bytes, of one direction and one behind the other, within a time that a sender may wait.
fn follows(last: &Packet, packet: &Packet) -> bool {
    let plain = |packet: &Packet| match &packet.load {
        Load::Tcp { sequence, syn: false, fin: false, rst: false, bytes } if packet.whole => {
            Some((*sequence, bytes.len() as u32)).filter(|_| !bytes.is_empty())
        }
        _ => None,
    };
    let (Some((before, length)), Some((sequence, _))) = (plain(last), plain(packet)) else { return false };
    (last.source, last.destination) == (packet.source, packet.destination)
        && before.wrapping_add(length) == sequence
        && packet.at.since(last.at) < Duration::from_millis(300)
}
