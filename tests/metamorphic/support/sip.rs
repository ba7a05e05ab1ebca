//! As much of SIP as is needed to put a message into another envelope: where its body begins and how long it is.
//! In: the bytes of a datagram. Out: head and body, and both as one whole message. Knows nothing of what they mean.
//! RFC 3261 sections 7.3 and 18.3. Written apart from the program's own reader, which is what is tested.

use std::collections::{BTreeMap, BTreeSet};

use super::packets::{Ends, Load, Packet};

/// Start line and header fields with the empty line behind them, and the body; `None` for what is no whole message,
/// or one that UDP and TCP do not frame alike: with lines that end in LF alone, or one without an empty line.
pub fn split(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = datagram.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | 0))?;
    let message = datagram.get(start..)?;
    let head_bytes = message.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (head, behind) = message.split_at(head_bytes);
    let line = head.split(|&byte| byte == b'\r').next()?;
    let is_sip = line.starts_with(b"SIP/2.0 ") || line.ends_with(b" SIP/2.0");
    let lines_end_alike = head.iter().filter(|&&byte| byte == b'\n').count()
        == head.windows(2).filter(|two| two == b"\r\n").count();
    let body = match fields(head).rev().find_map(content_length) {
        None => behind,
        Some(value) => behind.get(..std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()?)?,
    };
    (is_sip && lines_end_alike).then_some((head, body))
}

/// A message of these parts that says how long its body is.
pub fn joined(head: &[u8], body: &[u8]) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    let kept = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    let mut message = Vec::new();
    for (index, line) in lines(kept).enumerate() {
        if index == 0 || content_length(line).is_none() {
            message.extend(line);
            message.extend(b"\r\n");
        }
    }
    message.extend(length.bytes());
    message.extend(body);
    message
}

fn fields(head: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    lines(head).skip(1).collect::<Vec<_>>().into_iter()
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The value, if this line is a Content-Length.
fn content_length(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at(colon);
    let name = name.trim_ascii_end();
    let is_it = name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l");
    is_it.then(|| &value[1..])
}

/// Nothing but what keeps a flow open.
pub fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// The flows that carry SIP over UDP, if each of them carries whole messages and keep-alives and nothing else: what a
/// stream can carry alike. A datagram that is cut, or without an empty line, is still read as far as it goes; a stream
/// would wait for the rest. Otherwise none: a phone is known by its address and transport, which are to change for all
/// its flows or for none.
pub fn flows_of_messages(packets: &[Packet]) -> BTreeSet<Ends> {
    let mut carries: BTreeMap<Ends, (bool, bool)> = BTreeMap::new();
    for packet in packets.iter().filter(|packet| matches!(packet.load, Load::Udp(_))) {
        let (any, all) = carries.entry(packet.ends()).or_insert((false, true));
        let is_message = split(packet.bytes()).is_some();
        let names_sip = || packet.bytes().windows(7).any(|seven| seven == b"SIP/2.0");
        *any |= is_message || names_sip();
        *all &= packet.whole && (is_message || is_keep_alive(packet.bytes()));
    }
    carries.retain(|_, (any, _)| *any);
    if carries.values().any(|(_, all)| !all) {
        return BTreeSet::new();
    }
    carries.into_keys().collect()
}
