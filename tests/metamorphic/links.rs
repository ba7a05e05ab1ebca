//! What encloses a packet: link headers, tags, IP itself, fragments of it.
//! In: captures. Out: the same in another envelope. Knows nothing of what is inside, but for addresses in IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use offhook::base::LinkType;

use crate::support::captures::{all, recordings};
use crate::support::outcome::end;
use crate::support::packets::{ETHERNET, LINUX_SLL, RAW, frames, ip_at, packets};
use crate::support::{Faults, Load, Packet, Seen, outcome, sip};

const NULL: LinkType = LinkType(0);
const LOOP: LinkType = LinkType(108);
const LINUX_SLL2: LinkType = LinkType(276);

fn same_in_another_envelope(what: &str, change: impl Fn(&Seen) -> Seen) {
    let mut changed = 0;
    let mut faults = Faults::default();
    for capture in all() {
        let frames: Vec<Seen> = capture.frames.iter().map(&change).collect();
        changed += usize::from(frames != capture.frames);
        let found = capture.outcome_of(&frames).everything(Duration::ZERO);
        let expected = capture.outcome().everything(Duration::ZERO);
        faults.compare(&format!("{}, {what}", capture.name), &found, &expected);
    }
    faults.assert_none();
    assert!(changed > 30, "{what}: only {changed} captures were changed");
}

/// Exact: a tag says which network a frame is of, and of two of them all frames here are of the same.
#[test]
fn tags_change_nothing() {
    for tags in [&[0x81, 0, 0, 7][..], &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 7], &[0x91, 0, 0xe0, 9, 0x81, 0, 0, 7]]
    {
        same_in_another_envelope(&format!("tagged {tags:x?}"), |seen| {
            if seen.link != ETHERNET || seen.bytes.len() < 14 {
                return seen.clone();
            }
            let mut bytes = seen.bytes.clone();
            bytes.splice(12..12, tags.iter().copied());
            seen.with(bytes)
        });
    }
}

/// Exact: `tcpdump -i any`, a tunnel interface and a BSD loopback show the same packets behind other headers. What a
/// snapshot length cut off stays cut off.
#[test]
fn link_types_change_nothing() {
    for link in [RAW, LINUX_SLL, LINUX_SLL2, NULL, LOOP] {
        same_in_another_envelope(&format!("{link:?}"), |seen| {
            let Some((at, ether_type)) = ip_at(seen) else { return seen.clone() };
            let [high, low] = ether_type.to_be_bytes();
            let family = if ether_type == 0x0800 { 2 } else { 30 };
            let mut bytes = match link {
                LINUX_SLL => vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, high, low],
                LINUX_SLL2 => vec![high, low, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0],
                NULL => vec![family, 0, 0, 0],
                LOOP => vec![0, 0, 0, family],
                _ => Vec::new(),
            };
            bytes.extend(&seen.bytes[at..]);
            Seen { link, ..seen.with(bytes) }
        });
    }
}

/// The order in which the fragments of one datagram come.
#[derive(Clone, Copy, Debug)]
enum Order {
    Forwards,
    Backwards,
    /// Each one twice, the second one first.
    Mixed,
}

/// One IPv4 or IPv6 packet as fragments that carry so many bytes each; anything else as it is.
fn fragments(seen: &Seen, piece_bytes: usize, identification: u32, order: Order) -> Vec<Seen> {
    let whole = || vec![seen.clone()];
    let Some((at, ether_type)) = ip_at(seen) else { return whole() };
    let (link, ip) = seen.bytes.split_at(at);
    let v4 = ether_type == 0x0800;
    let fixed_bytes = if v4 { usize::from(ip.first().copied().unwrap_or(0) & 15) * 4 } else { 40 };
    if fixed_bytes < 20 || ip.len() < fixed_bytes {
        return whole();
    }
    let (header, behind) = ip.split_at(fixed_bytes);
    let word = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let (length, protocol) = match v4 {
        true => (word(2).checked_sub(fixed_bytes), header[9]),
        false => (Some(word(4)), header[6]),
    };
    let is_fragment = v4 && word(6) & 0x3fff != 0;
    let payload = length.filter(|&length| length > piece_bytes).and_then(|length| behind.get(..length));
    let Some(payload) = payload.filter(|_| !is_fragment && matches!(protocol, 6 | 17)) else {
        return whole();
    };
    let count = payload.len().div_ceil(piece_bytes);
    let mut pieces: Vec<Seen> = (0..)
        .zip(payload.chunks(piece_bytes))
        .map(|(index, piece)| {
            let more = index + 1 < count;
            let units = (index * piece_bytes / 8) as u16;
            let mut header = header.to_vec();
            let mut extension = Vec::new();
            if v4 {
                header[2..4].copy_from_slice(&((fixed_bytes + piece.len()) as u16).to_be_bytes());
                header[4..6].copy_from_slice(&(identification as u16).to_be_bytes());
                header[6..8].copy_from_slice(&(units | u16::from(more) << 13).to_be_bytes());
            } else {
                header[4..6].copy_from_slice(&((8 + piece.len()) as u16).to_be_bytes());
                header[6] = 44;
                extension.extend([protocol, 0]);
                extension.extend((units << 3 | u16::from(more)).to_be_bytes());
                extension.extend(identification.to_be_bytes());
            }
            let bytes = [link, &header, &extension, piece].concat();
            Seen { wire_length: bytes.len(), bytes, ..*seen }
        })
        .collect();
    match order {
        Order::Forwards => {}
        Order::Backwards => pieces.reverse(),
        Order::Mixed => {
            pieces = pieces.chunks(2).flat_map(|two| [two, two].concat().into_iter().rev()).collect();
        }
    }
    pieces
}

/// Exact: IP delivers whole datagrams, in however many pieces and in whatever order they travel.
#[test]
fn fragments_change_nothing() {
    let mut faults = Faults::default();
    for (piece_bytes, order) in
        [(8, Order::Backwards), (200, Order::Forwards), (200, Order::Backwards), (504, Order::Mixed)]
    {
        for capture in all() {
            let pieces: Vec<Seen> = (1..)
                .zip(&capture.frames)
                .flat_map(|(identification, seen)| fragments(seen, piece_bytes, identification, order))
                .collect();
            let found = capture.outcome_of(&pieces).everything(Duration::ZERO);
            let expected = capture.outcome().everything(Duration::ZERO);
            let what = format!("{}, fragments of {piece_bytes} bytes, {order:?}", capture.name);
            faults.compare(&what, &found, &expected);
        }
    }
    faults.assert_none();
}

/// Exact: the recordings that others tagged, and doubled as a router does, say what the plain one says. Their frames
/// are put in the order of time, in which the copies of the last one are not: time that goes back is another change.
#[test]
fn recordings_that_were_altered_by_others_say_the_same() {
    let mut faults = Faults::default();
    let recordings = recordings();
    let lines = |name: &str| {
        let mut capture = recordings.iter().find(|capture| capture.name == name)?.clone();
        capture.frames.sort_by_key(|seen| seen.at);
        Some(capture.outcome().lines())
    };
    let Some(plain) = lines("small.pcap") else { return };
    for altered in ["small-vlan.pcap", "small-qinq.pcap", "small-dup-routed.pcap"] {
        faults.compare(altered, &lines(altered).expect("it is beside the plain one"), &plain);
    }
    faults.assert_none();
}

/// Exact but for the names: a network of IPv6 is one of IPv4 with other addresses, if the messages speak of the same
/// ones as the packets do. Left alone they would speak of contacts and Vias that nobody has, which is other traffic.
/// Here each address of IPv4 becomes one of IPv6 wherever it stands, and the lines must be those of IPv4 with the same
/// done to them. TCP is left out: its sequence numbers would have to be made anew, which `streams` does; and so is what is
/// no whole message, whose text cannot be made anew.
#[test]
fn addresses_of_another_family_are_but_other_names() {
    let mut faults = Faults::default();
    let mut renamed = 0;
    for capture in all() {
        let packets = packets(&capture.frames);
        let flows = sip::flows_of_messages(&packets);
        let over_v4 = |packet: &Packet| packet.source.is_ipv4() && flows.contains(&packet.ends());
        let v4: Vec<Packet> = packets.into_iter().filter(over_v4).collect();
        let v6: Vec<Packet> = v4.iter().map(in_v6).collect();
        renamed += usize::from(!v4.is_empty());
        let rules = offhook::base::Rules {
            domains: capture
                .rules
                .domains
                .iter()
                .map(|domain| as_text(&in_v6_text(domain.as_bytes())))
                .collect(),
            ..capture.rules.clone()
        };
        let expected = capture.outcome_of(&frames(&v4)).lines();
        let expected: Vec<String> =
            expected.iter().map(|line| as_text(&in_v6_text(line.as_bytes()))).collect();
        let found = outcome(&rules, &frames(&v6), end(&capture.frames)).lines();
        faults.compare(&format!("{} over IPv6", capture.name), &found, &expected);
    }
    faults.assert_none();
    assert!(renamed > 30);
}

fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn v6_of(v4: Ipv4Addr) -> Ipv6Addr {
    if v4.is_unspecified() {
        return Ipv6Addr::UNSPECIFIED;
    }
    let [a, b, c, d] = v4.octets();
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

fn in_v6(packet: &Packet) -> Packet {
    let moved = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v6_of(v4).into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let bytes = match sip::split(packet.bytes()) {
        Some((head, body)) => sip::joined(&in_v6_text(head), &in_v6_text(body)),
        None => packet.bytes().to_vec(),
    };
    let (source, destination) = (moved(packet.source), moved(packet.destination));
    Packet { source, destination, load: Load::Udp(bytes), ..packet.clone() }
}

/// Each address of IPv4 in a text as one of IPv6: in brackets, but bare behind `IN IP4`, which becomes `IN IP6`.
fn in_v6_text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let mut at = 0;
    while at < text.len() {
        let run = text[at..].iter().take_while(|byte| is_part(byte)).count();
        let address =
            std::str::from_utf8(&text[at..at + run]).ok().and_then(|run| run.parse::<Ipv4Addr>().ok());
        let begins_a_word = !at.checked_sub(1).is_some_and(|before| text[before].is_ascii_alphanumeric());
        match address.filter(|_| begins_a_word) {
            Some(v4) if out.ends_with(b"IN IP4 ") => {
                let end = out.len() - 2;
                out.splice(end.., *b"6 ");
                out.extend(v6_of(v4).to_string().bytes());
            }
            Some(v4) => out.extend(format!("[{}]", v6_of(v4)).bytes()),
            None => out.extend(&text[at..at + run.max(1)]),
        }
        at += run.max(1);
    }
    out
}
