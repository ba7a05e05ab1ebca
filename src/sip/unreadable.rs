//! The answer to a request that cannot be read.
//! In: the bytes of a message that the scanner refused, and why. Out: a 400, where anybody can be told. Knows nothing of
//! transactions, sockets.
//! RFC 3261 section 8.2.6 as far as the request goes: what it has of the fields that a response copies is copied.

use super::lex::{Values, trim, trim_end};
use super::server_transaction::way_back;
use super::write::{header, quoted, response, unfolded, via_from};
use super::{HeaderName, ScanError, Via, looks_like_sip};
use crate::base::{Hop, Transmit};

/// Fields that are looked at; a request that needs more is not worth an answer.
const MOST_FIELDS: usize = 128;

/// The 400 to a request that came over this hop and that the scanner refused. `None` for what is no request, for an
/// ACK, which nobody answers, and when no Via says where the answer belongs.
pub fn refusal(bytes: &[u8], hop: Hop, why: &ScanError, to_tag: &str) -> Option<Transmit> {
    if !looks_like_sip(bytes) {
        return None;
    }
    let bytes = trim(bytes);
    if bytes.starts_with(b"SIP/") || bytes.starts_with(b"ACK ") {
        return None;
    }
    let fields: Vec<(HeaderName, &[u8])> = fields(bytes).take(MOST_FIELDS).collect();
    let all = |wanted| fields.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value);
    let mut vias = all(HeaderName::Via).flat_map(Values::new);
    let top = Via::parse(vias.next()?)?;
    let mut headers = vec![header("Via", via_from(top, hop.remote))];
    headers.extend(vias.map(|via| header("Via", unfolded(via))));
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        let Some(value) = all(name).next() else { continue };
        let mut value = unfolded(value);
        if name == HeaderName::To && !value.to_ascii_lowercase().contains(";tag=") {
            value = format!("{value};tag={to_tag}");
        }
        headers.push(header(name.text(), value));
    }
    headers.push(header("Warning", format!("399 offhook {}", quoted(&why.to_string()))));
    let bytes = response(400, headers, b"").ok()?;
    Some(Transmit { hop: way_back(top, hop), bytes })
}

/// Name and value of each field up to the empty line.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = (HeaderName, &[u8])> {
    let mut rest = bytes.split_inclusive(|&byte| byte == b'\n').skip(1).peekable();
    let mut at = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| end + 1);
    std::iter::from_fn(move || {
        let line = rest.next().filter(|line| !trim(line).is_empty())?;
        let begin = at;
        at += line.len();
        while let Some(fold) = rest.next_if(|line| matches!(line.first(), Some(b' ' | b'\t'))) {
            at += fold.len();
        }
        let field = bytes.get(begin..at)?;
        let colon = field.iter().position(|&byte| byte == b':').unwrap_or(field.len());
        let (name, value) = field.split_at_checked(colon)?;
        Some((HeaderName::of(trim_end(name)), trim(value.get(1..).unwrap_or(b""))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Limits, Transport};
    use crate::sip::Scanner;

    fn answer(text: &str) -> Option<String> {
        let hop = Hop {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.7:40000".parse().unwrap(),
        };
        let mut scanner = Scanner::new(&Limits::default());
        let why = scanner.scan(text.as_bytes()).expect_err("it can be read");
        let sent = refusal(text.as_bytes(), hop, &why, "t1")?;
        assert_eq!(sent.hop, hop);
        Some(String::from_utf8(sent.bytes).unwrap())
    }

    #[test]
    fn whoever_can_be_told_is_told_what_is_wrong() {
        let text = "PUBLISH sip:alice@example.com SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.5;rport;branch=z9hG4bKa\r\n\
                    From: <sip:tap@example.com>\r\n ;tag=a\r\nTo: <sip:alice@example.com>\r\nCSeq: 7 PUBLISH\r\n\r\n";
        assert_eq!(
            answer(text).unwrap(),
            "SIP/2.0 400 Bad Request\r\n\
             Via: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bKa;received=192.0.2.7;rport=40000\r\n\
             From: <sip:tap@example.com> ;tag=a\r\nTo: <sip:alice@example.com>;tag=t1\r\nCSeq: 7 PUBLISH\r\n\
             Warning: 399 offhook \"no Call-ID field\"\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn nobody_is_told_of_noise_answers_acks_and_what_has_no_via() {
        for text in [
            "hello\r\n\r\n",
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.5;rport\r\n\r\n",
            "ACK sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5;rport\r\n\r\n",
            "PUBLISH sip:alice@example.com SIP/2.0\r\nFrom: <sip:tap@example.com>\r\n\r\n",
            "PUBLISH sip:alice@example.com SIP/2.0",
            "PUBLISH sip:alice@example.com SIP/2.0\r\n\r\nVia: SIP/2.0/UDP 10.0.0.5;rport\r\n",
        ] {
            assert_eq!(answer(text), None, "{text}");
        }
    }
}
