//! What the SIP tests share: the collected messages, and a walk through every accessor.
#![allow(dead_code, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

pub mod against_rsip;
pub mod plain;
pub mod reading;
pub mod spelling;
pub mod streamed;

use std::hint::black_box;
use std::path::{Path, PathBuf};

use offhook::base::Limits;
use offhook::sip::{Aor, HeaderName, Params, Scanner, Sdp, SipMessage, Uri, looks_like_sip, uri};

/// The folders with the call flows that the RFCs print.
pub const CALL_FLOWS: [&str; 3] = ["rfc3665", "rfc3666", "rfc5359"];

/// The folder of collected messages; `None`, and a line that says so, where it is not at hand.
pub fn collection() -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/messages"));
    if !folder.is_dir() {
        // Past the test runner, which shows nothing of a test that passes.
        let line = b"skipped: the collected messages are not at hand\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
        return None;
    }
    Some(folder.to_owned())
}

/// Name and bytes of every message in these folders of the collection, in order of name.
pub fn messages(folders: &[&str]) -> Vec<(String, Vec<u8>)> {
    let Some(collection) = collection() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(collection.join(folder)) else {
            continue;
        };
        for entry in entries.flatten() {
            if let Ok(bytes) = std::fs::read(entry.path()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                found.push((format!("{folder}/{name}"), bytes));
            }
        }
    }
    found.sort();
    found
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads all that can be asked of these bytes.
pub fn walk(bytes: &[u8]) {
    black_box(looks_like_sip(bytes));
    let mut scanner = Scanner::new(&Limits::default());
    match scanner.scan(bytes) {
        Ok(message) => walk_message(&message),
        Err(error) => {
            black_box(error.to_string());
        }
    }
    walk_uri(bytes);
    black_box(Sdp::parse(bytes));
}

fn walk_uri(bytes: &[u8]) {
    black_box(uri::display(bytes));
    black_box(uri::host_ip(bytes));
    if let Some(uri) = Uri::parse(bytes) {
        assert!(uri.equivalent(&uri));
        black_box((uri.key(), uri.address(), uri.ip()));
        walk_params(uri.params);
    }
    if let Some(aor) = Aor::from_uri(bytes) {
        assert_eq!(Aor::from_uri(aor.as_str().as_bytes()), Some(aor.clone()));
        black_box((aor.user(), aor.domain(), format!("{aor:?} {aor}")));
    }
}

fn walk_params(params: Params<'_>) {
    for (name, value) in params.iter() {
        black_box((params.get(name), value));
    }
}

pub fn walk_message(message: &SipMessage<'_>) {
    assert_eq!(message.is_request(), message.status().is_none());
    assert_eq!(message.is_request(), message.request_uri().is_some());
    assert!(!message.call_id().is_empty());
    black_box((message.method(), message.method_text(), message.reason(), message.cseq()));
    black_box((message.from_tag(), message.to_tag(), message.top_branch()));
    walk_uri(message.request_uri().unwrap_or(b""));
    for address in [message.from(), message.to()].into_iter().chain(message.asserted()) {
        walk_uri(address.uri);
        walk_params(address.params);
    }
    assert_eq!(message.vias().count(), message.via_count());
    assert_eq!(message.vias().next().map(|via| via.host), Some(message.top_via().host));
    for via in message.vias() {
        black_box((via.received_ip(), via.host_ip(), via.rport, via.branch));
    }
    for contact in message.contacts() {
        black_box((contact.expires(), contact.q(), contact.param(b"+sip.instance")));
        walk_uri(contact.addr.uri);
        walk_params(contact.addr.params);
    }
    for name in [HeaderName::Accept, HeaderName::Route, HeaderName::Other, HeaderName::Subject] {
        black_box((message.header(name), message.headers(name).count(), message.values(name).count()));
    }
    black_box((message.credentials().count(), message.challenges().count()));
    black_box((message.expires(), message.session_expires(), message.min_expires()));
    black_box((message.retry_after(), message.event(), message.subscription_state()));
    black_box((message.user_agent(), message.requires_100rel(), message.replaced_call_id()));
    black_box((message.headers_are_whole(), message.content_length(), message.body_is_whole()));
    assert!(!message.body_is_whole() || message.headers_are_whole());
    black_box((message.body(), message.sdp().and_then(Sdp::parse)));
}
