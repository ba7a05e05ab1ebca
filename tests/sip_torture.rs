//! What a listener makes of the torture messages (RFC 4475, RFC 5118) and of the texts that other projects test with.
//! `sip_torture.txt` has an entry for each: what kind of text it is, why, what the scanner reads of it, and, where
//! that is not one whole message each, what the stream makes of it as a datagram and over a connection.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod sip_common;

use std::collections::{BTreeMap, BTreeSet};

use offhook::base::Limits;
use offhook::sip::{Scanner, SipMessage};
use sip_common::{collection, messages, streamed, text};

/// All texts but the call flows, which are so many and so regular that `sip_call_flows.rs` has rules for them.
const FOLDERS: [&str; 9] = [
    "aflnet-seed",
    "hep",
    "kamailio-test-misc",
    "opensips-parser-tests",
    "pjsip-fuzz-seed",
    "protos-c07-sip",
    "rfc4475",
    "rfc5118",
    "sip3-salto-tests",
];

/// What a text is to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Right by the grammar, and read.
    Right,
    /// Wrong, or odd, where a listener does not look, or where what is meant is clear: read.
    Harmless,
    /// Wrong, read as far as it is clear, and the fault is counted as an oddity.
    Counted,
    /// Wrong where nothing could be told of the message: refused.
    Refused,
}

struct Entry {
    kind: Kind,
    why: String,
    /// What the scanner reads.
    read: String,
    /// What the stream makes of it; `None`: one whole message, as a datagram and over a connection.
    streamed: Option<String>,
    /// What is read of the messages behind the first in the same connection.
    behind: Vec<String>,
}

fn entries() -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    let mut lines = include_str!("sip_torture.txt").lines().peekable();
    while let Some(line) = lines.next() {
        let (name, rest) = line.strip_prefix("# ").and_then(|line| line.split_once(", ")).expect(line);
        let (kind, why) = rest.split_once(": ").expect(line);
        let kind = match kind {
            "right" => Kind::Right,
            "harmless" => Kind::Harmless,
            "counted" => Kind::Counted,
            "refused" => Kind::Refused,
            other => panic!("{name}: what is {other}?"),
        };
        let read = lines.next().expect("what is read follows").to_owned();
        let streamed = lines.next_if(|line| line.starts_with("datagram: ")).map(str::to_owned);
        let mut behind = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("then: ")) {
            behind.push(line["then: ".len()..].to_owned());
        }
        let entry = Entry { kind, why: why.to_owned(), read, streamed, behind };
        assert!(entries.insert(name.to_owned(), entry).is_none(), "{name} has two entries");
    }
    entries
}

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
                "{} {}{}{}",
                text(via.transport),
                text(via.host),
                via.port.map(|port| format!(":{port}")).unwrap_or_default(),
                via.branch.map(|branch| format!(";{}", text(branch))).unwrap_or_default(),
            )
        })
        .collect();
    let contacts: Vec<_> = message.contacts().map(|contact| text(contact.addr.uri)).collect();
    let line = format!(
        "{first} | {} {} | {} > {} | {}{} | {} | {} {}{}",
        text(message.call_id()),
        message.cseq().number,
        tagged(message.from().uri, message.from_tag()),
        tagged(message.to().uri, message.to_tag()),
        vias.join(", "),
        match message.via_count() {
            count @ 6.. => format!(" and {} more", count - 5),
            _ => String::new(),
        },
        contacts.join(", "),
        message.body().len(),
        if message.body_is_whole() { "whole" } else { "cut" },
        if message.sdp().is_some() { ", sdp" } else { "" },
    );
    line.replace('\r', "␍").replace('\n', "␊")
}

fn told_or_refused(scanner: &mut Scanner, bytes: &[u8]) -> String {
    match scanner.scan(bytes) {
        Ok(message) => told(&message),
        Err(error) => format!("refused: {error}"),
    }
}

fn told_streams(bytes: &[u8]) -> String {
    format!(
        "datagram: {}; connection: {}",
        streamed::datagram(bytes).told(),
        streamed::connection(bytes, 1_000).told()
    )
}

/// A stream is not waited for any longer than this for the end of a method: no phone has one of that length.
const AWAITED_METHOD_BYTES: usize = 64;

const USUAL: &str = "datagram: 1 whole; connection: 1 whole";

#[test]
fn every_text_is_read_as_written_down() {
    let mut scanner = Scanner::new(&Limits::default());
    let entries = entries();
    let found = messages(&FOLDERS);
    let mut wrong = Vec::new();
    for (name, bytes) in &found {
        let Some(entry) = entries.get(name) else {
            wrong.push(format!(
                "{name} has no entry\n  {}\n  {}",
                told_or_refused(&mut scanner, bytes),
                told_streams(bytes)
            ));
            continue;
        };
        let mut compare = |what: &str, found: &str, expected: &str| {
            if found != expected {
                wrong.push(format!(
                    "{name} ({}): {what}\n  found    {found}\n  expected {expected}",
                    entry.why
                ));
            }
        };
        compare("read", &told_or_refused(&mut scanner, bytes), &entry.read);
        compare("stream", &told_streams(bytes), entry.streamed.as_deref().unwrap_or(USUAL));
        let connection = streamed::connection(bytes, 1_000);
        let behind: Vec<_> = connection
            .messages
            .iter()
            .skip(1)
            .map(|(bytes, _)| told_or_refused(&mut scanner, bytes))
            .collect();
        compare("behind", &behind.join("\n"), &entry.behind.join("\n"));
        let method_bytes = bytes.iter().position(|&byte| byte == b' ').unwrap_or(0);
        if method_bytes > AWAITED_METHOD_BYTES {
            let bytewise = streamed::connection(bytes, 1);
            compare("long method, byte by byte", &bytewise.told(), "none");
            continue;
        }
        // However the segments are cut, the same comes of them.
        for segment_bytes in [1, 7, 400] {
            if streamed::connection(bytes, segment_bytes) != connection {
                compare("segments", &format!("something else with {segment_bytes} bytes each"), "the same");
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), found.len(), wrong.join("\n"));
    let found: BTreeSet<_> = found.into_iter().map(|(name, _)| name).collect();
    assert!(found.is_empty() || found.len() == entries.len(), "an entry without a text");
}

/// A text that its source calls wrong is refused, counted, or its fault is named as one that does no harm; one that it
/// calls right is read.
#[test]
fn no_entry_contradicts_the_verdict_of_its_source() {
    let Some(collection) = collection() else { return };
    let index = std::fs::read_to_string(collection.join("INDEX.tsv")).expect("the index is beside the texts");
    let entries = entries();
    let mut judged = 0;
    for line in index.lines().skip(1) {
        let mut columns = line.split('\t');
        let (name, verdict) = (columns.next().unwrap_or(""), columns.nth(2).unwrap_or(""));
        let Some(entry) = entries.get(name) else { continue };
        let refused = entry.read.starts_with("refused: ");
        assert_eq!(refused, entry.kind == Kind::Refused, "{name}");
        let counted = entry.streamed.as_deref().is_some_and(|line| {
            ["content_length", "message_cut", "stream_not_sip", "message_too_long"]
                .iter()
                .any(|name| line.contains(name))
        });
        assert!(counted || entry.kind != Kind::Counted, "{name}: nothing counts its fault");
        match (verdict, entry.kind) {
            ("invalid", Kind::Right) => panic!("{name} is wrong, says its source"),
            // HEP is right, and is no SIP. Where a source is wrong about its own text, the entry cites the RFC.
            ("valid", Kind::Refused | Kind::Counted) => {
                let contradicts = name.starts_with("hep/") || entry.why.contains("(RFC 3261 section ");
                assert!(contradicts, "{name} is right, says its source");
            }
            _ => {}
        }
        judged += 1;
    }
    assert_eq!(judged, entries.len(), "the index has all texts");
}

/// No text of the collection is left out: each has its entry, or is a call flow.
#[test]
fn every_text_of_the_collection_has_its_expectation() {
    let Some(collection) = collection() else { return };
    let index = std::fs::read_to_string(collection.join("INDEX.tsv")).expect("the index is beside the texts");
    let listed: BTreeSet<_> = index.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
    let mut expected: BTreeSet<String> = entries().into_keys().collect();
    expected.extend(messages(&sip_common::CALL_FLOWS).into_iter().map(|(name, _)| name));
    let expected: BTreeSet<_> = expected.iter().map(String::as_str).collect();
    assert_eq!(listed, expected);
}

#[test]
fn every_text_that_is_read_looks_like_sip() {
    let mut scanner = Scanner::new(&Limits::default());
    for (name, bytes) in messages(&FOLDERS) {
        if scanner.scan(&bytes).is_ok() {
            assert!(offhook::sip::looks_like_sip(&bytes), "{name}");
        }
    }
}
