//! Capture files: pcap and pcapng, plain and compressed, damaged anywhere: records come in order and within bounds, and a
//! file that is cut short gives the first of the records that the whole one gives.

use std::io::Cursor;

use offhook::base::{LinkType, Timestamp};
use offhook::io::capture::{CaptureError, CaptureReader};

use super::input::{Input, Reached};

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "records",
    "refused",
    "damaged",
    "cut",
    "pcapng",
    "gzip",
    "zstd",
    "big endian",
    "nanoseconds",
    "unknown link",
];

/// What is looked at of one file.
const MOST_RECORDS: usize = 2_000;
/// Longer records are damage.
const MOST_BYTES: usize = 1 << 20;

type Told = (u64, Timestamp, LinkType, usize, Vec<u8>);

/// Where the file is cut (two bytes), and the file.
pub fn target(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let mut input = Input::new(data);
    let end = usize::from(input.two());
    let file = input.rest();
    match *file {
        [0x0a, 0x0d, 0x0d, 0x0a, ..] => reached.note("pcapng"),
        [0x1f, 0x8b, ..] => reached.note("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => reached.note("zstd"),
        [0xa1, 0xb2, ..] => reached.note("big endian"),
        [0x4d, 0x3c, ..] => reached.note("nanoseconds"),
        _ => {}
    }
    let (records, error) = read(file, &mut reached);
    reached.note_if(!records.is_empty(), "records");
    reached.note_if(error.is_some(), if records.is_empty() { "refused" } else { "damaged" });
    if end < file.len() {
        let (first, _) = read(&file[..end], &mut Reached::default());
        assert!(first.len() <= records.len(), "more records without the end");
        assert!(first == records[..first.len()], "other records without the end");
        reached.note_if(!first.is_empty() && first.len() < records.len(), "cut");
    }
    reached
}

fn read(file: &[u8], reached: &mut Reached) -> (Vec<Told>, Option<String>) {
    let mut records: Vec<Told> = Vec::new();
    let mut reader = match CaptureReader::from_reader("a capture", Cursor::new(file.to_vec())) {
        Ok(reader) => reader,
        Err(error) => return (records, Some(sentence(&error))),
    };
    let mut error = None;
    while records.len() < MOST_RECORDS {
        match reader.next() {
            Ok(Some(record)) => {
                assert!(record.bytes.len() <= MOST_BYTES, "a record of {} bytes", record.bytes.len());
                assert!(records.last().is_none_or(|(number, ..)| *number < record.number));
                assert!(record.number >= 1);
                let bytes = record.bytes.to_vec();
                records.push((record.number, record.at, record.link, record.wire_length, bytes));
            }
            Ok(None) => break,
            Err(why @ CaptureError::UnknownInterfaceLinkType { .. }) => {
                // The other interfaces are read on.
                reached.note("unknown link");
                error = Some(sentence(&why));
            }
            Err(why) => {
                error = Some(sentence(&why));
                let behind = reader.next().is_ok_and(|record| record.is_none());
                assert!(behind, "there is something behind the error {why}");
                break;
            }
        }
        assert!(reader.position() <= file.len() as u64);
    }
    (records, error)
}

fn sentence(error: &CaptureError) -> String {
    let sentence = error.to_string();
    assert!(sentence.contains("a capture"), "{sentence}");
    sentence
}
