//! What `rsip`, a parser by other people, reads rightly, our scanner reads the same: over the collected texts and over
//! every SIP message of the captures. Where rsip is wrong the difference is named in `sip_common/against_rsip.rs`; one that
//! is named and never met is an error too.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod sip_common;

use std::path::{Path, PathBuf};

use offhook::base::{FrameId, Limits, Oddities};
use offhook::decode::{Decoder, Frame};
use offhook::io::capture::CaptureReader;
use offhook::sip::Scanner;
use offhook::stream::Reassembler;
use sip_common::against_rsip::{Comparison, Met};
use sip_common::{CALL_FLOWS, messages};

const FOLDERS: [&str; 7] = [
    "aflnet-seed",
    "kamailio-test-misc",
    "opensips-parser-tests",
    "pjsip-fuzz-seed",
    "rfc4475",
    "rfc5118",
    "sip3-salto-tests",
];

fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in [root.join("captures"), root.join("../shared/captures")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_capture = path.extension().is_some_and(|extension| {
                ["pcap", "pcapng", "cap", "libpcap"].iter().any(|known| extension == *known)
            });
            if is_capture {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths
}

/// Every whole message of a capture, as far as it can be read.
fn each_message(path: &Path, each: &mut dyn FnMut(usize, &[u8])) {
    let limits = Limits::default();
    let (mut decoder, mut reassembler) = (Decoder::new(&limits), Reassembler::new(&limits));
    let mut oddities = Oddities::default();
    let Ok(mut reader) = CaptureReader::open(path.to_str().unwrap()) else { return };
    let mut number = 0;
    while let Ok(Some(record)) = reader.next() {
        let frame = Frame {
            at: record.at,
            id: FrameId::new(0, record.number),
            link: record.link,
            bytes: record.bytes,
            wire_length: record.wire_length,
        };
        let Some(segment) = decoder.decode(&frame, &mut oddities) else { continue };
        reassembler.handle(record.at, &segment, &mut oddities, &mut |message, _| {
            if message.whole {
                number += 1;
                each(number, message.bytes);
            }
        });
    }
}

#[test]
fn what_rsip_reads_rightly_is_read_the_same() {
    let mut scanner = Scanner::new(&Limits::default());
    let mut comparison = Comparison::default();
    for path in captures() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        each_message(&path, &mut |number, bytes| {
            comparison.compare(&mut scanner, &format!("{name} message {number}"), bytes);
        });
    }
    println!("captures: {}", comparison.told());
    assert!(comparison.read_by_both > 500, "{}", comparison.told());
    let texts: Vec<_> = messages(&FOLDERS).into_iter().chain(messages(&CALL_FLOWS)).collect();
    for (name, bytes) in &texts {
        comparison.compare(&mut scanner, name, bytes);
    }
    println!("with the texts: {}", comparison.told());
    assert!(
        comparison.wrong.is_empty(),
        "{} differ:\n{}",
        comparison.wrong.len(),
        comparison.wrong.join("\n")
    );
    if !texts.is_empty() {
        assert_eq!(comparison.never_met(Met::Texts), Vec::<&str>::new(), "named, and in no text");
    }
}
