//! What a listener makes of the torture messages (RFC 4475, RFC 5118), and that it reads the messages of
//! the call flow documents as another parser does.
#![allow(missing_docs)]

mod sip_common;

use offhook::base::Limits;
use offhook::sip::{Scanner, SipMessage};
use sip_common::{messages, text};

/// The message in one line.
fn told(message: &SipMessage<'_>) -> String {
    let first = match message.status() {
        Some(status) => format!("{status} ({})", text(message.method_text())),
        None => format!("{} {}", text(message.method_text()), text(message.request_uri().unwrap_or(b""))),
    };
    let tagged = |uri: &[u8], tag: Option<&[u8]>| match tag {
        Some(tag) => format!("{};{}", text(uri), text(tag)),
        None => text(uri),
    };
    let vias: Vec<_> = message
        .vias()
        .take(5)
        .map(|via| {
            format!(
                "{} {}{}",
                text(via.transport),
                text(via.host),
                via.port.map(|port| format!(":{port}")).unwrap_or_default()
            )
        })
        .collect();
    let contacts: Vec<_> = message.contacts().map(|contact| text(contact.addr.uri)).collect();
    format!(
        "{first} | {} {} | {} > {} | {}{} | {} | {}{}",
        text(message.call_id()),
        message.cseq().number,
        tagged(message.from().uri, message.from_tag()),
        tagged(message.to().uri, message.to_tag()),
        vias.join(", "),
        if message.via_count() > 5 {
            format!(" and {} more", message.via_count() - 5)
        } else {
            String::new()
        },
        contacts.join(", "),
        if message.body_is_whole() { "whole" } else { "cut" },
        if message.sdp().is_some() { ", sdp" } else { "" },
    )
}

fn told_or_refused(scanner: &mut Scanner, bytes: &[u8]) -> String {
    match scanner.scan(bytes) {
        Ok(message) => told(&message),
        Err(error) => format!("refused: {error}"),
    }
}

/// `sip_torture.txt` holds two lines for each message: why it is as it is, and what is read.
#[test]
fn torture_messages_are_read_as_written_down() {
    let mut scanner = Scanner::new(&Limits::default());
    let found = messages(&["rfc4475", "rfc5118"]);
    let mut expected = include_str!("sip_torture.txt").lines();
    for (name, bytes) in &found {
        let why = expected.next().unwrap_or("");
        assert!(why.starts_with(&format!("# {name}: ")), "{name} is not expected at {why:?}");
        assert_eq!(Some(told_or_refused(&mut scanner, bytes).as_str()), expected.next(), "{why}");
    }
    assert!(found.is_empty() || expected.next().is_none());
}

/// Their printed text is no message: an empty line behind the status line, no From, `<allOneLine>` in a fold.
const NOT_AS_IN_THE_RFC: [&str; 6] = [
    "rfc3666/3.3-F12-BYE_Proxy_1_Bob.sip",
    "rfc5359/2.10-F03-200_OK_Bob_Alice.sip",
    "rfc5359/2.10-F06-200_OK_Alice_Bob.sip",
    "rfc5359/2.15-F05-REFER_Bob_Park_Server.sip",
    "rfc5359/2.3-F08-REFER_Bob_Music_Server.sip",
    "rfc5359/2.5-F15-REFER_Bob_Alice.sip",
];

/// Where rsip reads a message at all, it is right about these; both must say the same.
#[test]
fn call_flows_are_read_as_rsip_reads_them() {
    use rsip::prelude::*;
    let mut scanner = Scanner::new(&Limits::default());
    let (mut compared, mut total) = (0, 0);
    for (name, bytes) in messages(&["rfc3665", "rfc3666", "rfc5359"]) {
        total += 1;
        // rsip knows no folds.
        let unfolded = text(&bytes).replace("\r\n ", " ").replace("\r\n\t", " ");
        let Ok(theirs) = rsip::SipMessage::try_from(unfolded.as_bytes()) else {
            continue;
        };
        let ours = match scanner.scan(&bytes) {
            Ok(ours) => ours,
            Err(_) if NOT_AS_IN_THE_RFC.contains(&name.as_str()) => continue,
            Err(error) => panic!("{name}: {error}"),
        };
        compared += 1;
        match &theirs {
            rsip::SipMessage::Request(request) => {
                assert_eq!(text(ours.method_text()), request.method.to_string(), "{name}");
                assert_eq!(ours.status(), None, "{name}");
            }
            rsip::SipMessage::Response(response) => {
                assert_eq!(ours.status(), Some(response.status_code.code()), "{name}");
            }
        }
        if let Ok(call_id) = theirs.call_id_header() {
            assert_eq!(text(ours.call_id()), call_id.value(), "{name}");
        }
        if let Ok(cseq) = theirs.cseq_header() {
            if let Ok(number) = cseq.seq() {
                assert_eq!(ours.cseq().number, number, "{name}");
            }
            if let Ok(method) = cseq.method() {
                assert_eq!(text(ours.method_text()), method.to_string(), "{name}");
            }
        }
        if let Ok(Ok(tag)) = theirs.from_header().map(|from| from.tag()) {
            assert_eq!(ours.from_tag().map(text), tag.map(|tag| tag.to_string()), "{name}");
        }
        if let Ok(Ok(tag)) = theirs.to_header().map(|to| to.tag()) {
            assert_eq!(ours.to_tag().map(text), tag.map(|tag| tag.to_string()), "{name}");
        }
    }
    println!("{compared} of {total} messages compared");
    assert!(total == 0 || compared > total / 2, "rsip read but {compared} of {total}");
}

#[test]
fn every_call_flow_message_is_read() {
    let mut scanner = Scanner::new(&Limits::default());
    let refused: Vec<String> = messages(&["rfc3665", "rfc3666", "rfc5359"])
        .iter()
        .filter_map(|(name, bytes)| {
            let error = scanner.scan(bytes).err()?;
            (!NOT_AS_IN_THE_RFC.contains(&name.as_str())).then(|| format!("{name}: {error}"))
        })
        .collect();
    assert_eq!(refused, Vec::<String>::new());
}

#[test]
fn every_collected_message_that_is_read_looks_like_sip() {
    let mut scanner = Scanner::new(&Limits::default());
    for (name, bytes) in messages(&["rfc3665", "rfc4475", "rfc5118", "pjsip-fuzz-seed", "kamailio-test-misc"])
    {
        if scanner.scan(&bytes).is_ok() {
            assert!(offhook::sip::looks_like_sip(&bytes), "{name}");
        }
    }
}
