//! The call flows that RFC 3665, 3666 and 5359 print, 689 messages. The rule: each is read, as its file's name and a
//! reader that is too simple to be wrong say; the stream frames it by its Content-Length as printed, which counts other
//! bytes than are there in some (RFC 3261 section 18.3). Those that break the rule are named here, with why.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod sip_common;

use offhook::base::Limits;
use offhook::sip::Scanner;
use sip_common::reading::Reading;
use sip_common::{CALL_FLOWS, messages, plain, reading, streamed, text};

/// Their text is no message: what is said of it, what the stream makes of it, and why.
const REFUSED: [(&str, &str, &str, &str); 6] = [
    ("rfc3666/3.3-F12-BYE_Proxy_1_Bob.sip", "no From field", USUAL, "it has none (RFC 3261 section 8.1.1)"),
    (
        "rfc5359/2.10-F03-200_OK_Bob_Alice.sip",
        "no Call-ID field",
        "datagram: 1 whole; connection: 1 whole, stream_not_sip, content_length",
        "an empty line behind the status line: all fields are body (RFC 3261 section 7)",
    ),
    (
        "rfc5359/2.10-F06-200_OK_Alice_Bob.sip",
        "no Call-ID field",
        "datagram: 1 whole; connection: 1 whole, stream_not_sip, content_length",
        "an empty line behind the status line: all fields are body (RFC 3261 section 7)",
    ),
    (
        "rfc5359/2.15-F05-REFER_Bob_Park_Server.sip",
        "the CSeq field at byte 281 cannot be read",
        USUAL,
        "<allOneLine> stands in a fold of CSeq, and is no token (RFC 3261 section 7.3.1, 25.1)",
    ),
    (
        "rfc5359/2.3-F08-REFER_Bob_Music_Server.sip",
        "the CSeq field at byte 284 cannot be read",
        USUAL,
        "<allOneLine> stands in a fold of CSeq, and is no token (RFC 3261 section 7.3.1, 25.1)",
    ),
    (
        "rfc5359/2.5-F15-REFER_Bob_Alice.sip",
        "the CSeq field at byte 298 cannot be read",
        USUAL,
        "<allOneLine> stands in a fold of CSeq, and is no token (RFC 3261 section 7.3.1, 25.1)",
    ),
];

/// What they are, where their title says something else: the title leaves the number out, or is wrong.
const OTHER_THAN_NAMED: [(&str, &str); 3] = [
    ("rfc3665/2.5-F02-Unauthorized_SIP_Server_Bob.sip", "401"),
    ("rfc5359/2.10-F09-180_Ringing_Carol_Bob.sip", "200"),
    ("rfc5359/2.3-F21-200_ACK_Bob_Alice.sip", "ACK"),
];

const USUAL: &str = "datagram: 1 whole; connection: 1 whole";

/// The method or the status that the file name says.
fn named_kind(name: &str) -> &str {
    if let Some((_, kind)) = OTHER_THAN_NAMED.iter().find(|(other, _)| *other == name) {
        return kind;
    }
    let kind = name.split('-').nth(2).unwrap_or_default();
    kind.split(['_', '.']).next().unwrap_or_default()
}

/// What RFC 3261 section 18.3 has the stream do with a body of so many bytes.
fn expected_streams(plain: &Reading, bytes: &[u8]) -> &'static str {
    let message = text(bytes);
    let body = message.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match plain["content-length"].parse::<usize>() {
        // Over a connection nothing but Content-Length says where a body ends.
        Err(_) => "datagram: 1 whole; connection: 1 whole, content_length",
        Ok(length) if length > body.len() => {
            "datagram: 1 cut, content_length; connection: 1 cut, message_cut"
        }
        Ok(length) if body[length..].trim().is_empty() => USUAL,
        Ok(_) => "datagram: 1 whole; connection: 1 whole, stream_not_sip",
    }
}

#[test]
fn every_message_of_the_call_flows_is_read_as_it_is_written() {
    let mut scanner = Scanner::new(&Limits::default());
    let found = messages(&CALL_FLOWS);
    let mut wrong = Vec::new();
    for (name, bytes) in &found {
        let streams = format!(
            "datagram: {}; connection: {}",
            streamed::datagram(bytes).told(),
            streamed::connection(bytes, 1_000).told()
        );
        let read = scanner.scan(bytes);
        if let Some((_, error, expected, why)) = REFUSED.iter().find(|(refused, ..)| refused == name) {
            let told = read.map_or_else(|told| told.to_string(), |_| "read".to_owned());
            if told != *error || streams != *expected {
                wrong.push(format!("{name}: {told}, {streams}; expected {error}, {expected}: {why}"));
            }
            continue;
        }
        let ours = match read {
            Ok(message) => reading::ours(&message),
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let plain = plain::read(&text(bytes));
        assert_eq!(ours.len(), plain.len());
        for (field, expected) in &plain {
            if ours.get(field) != Some(expected) {
                wrong.push(format!("{name} {field}: {:?} instead of {expected:?}", ours.get(field)));
            }
        }
        let kind = if ours["status"] == "-" { &ours["method"] } else { &ours["status"] };
        if kind != named_kind(name) {
            wrong.push(format!("{name} is a {kind}"));
        }
        let expected = expected_streams(&plain, bytes);
        if streams != expected {
            wrong.push(format!("{name}: {streams}; expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
    assert!(found.is_empty() || found.len() == 689, "{} messages", found.len());
}
