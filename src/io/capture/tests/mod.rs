//! Captures made by hand, whole and damaged, and the sentences about them.

mod merge;

use std::io::{self, Cursor, Read, Write};
use std::sync::mpsc;

use proptest::prelude::*;

use super::source::decompress;
use super::*;
use crate::base::LinkType;

const ETHERNET: u32 = 1;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// Numbers in the byte order of a capture.
#[derive(Clone, Copy)]
struct Order(bool);

impl Order {
    fn u32(self, number: u32) -> [u8; 4] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u16(self, number: u16) -> [u8; 2] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}

const LITTLE: Order = Order(false);
const BIG: Order = Order(true);

fn pcap_header(order: Order, magic: u32, link: u32) -> Vec<u8> {
    [
        order.u32(magic),
        [order.u16(2), order.u16(4)].concat().try_into().unwrap(),
        [0; 4],
        [0; 4],
        order.u32(65_535),
        order.u32(link),
    ]
    .concat()
}

fn pcap_record(order: Order, seconds: u32, fraction: u32, bytes: &[u8], wire: u32) -> Vec<u8> {
    let captured = u32::try_from(bytes.len()).unwrap();
    let header = [seconds, fraction, captured, wire].map(|number| order.u32(number));
    [&header.concat(), bytes].concat()
}

/// A capture with a record at each of these seconds; the record's bytes are its letter.
fn pcap_of(records: &[(u32, &[u8])]) -> Vec<u8> {
    let mut capture = pcap_header(LITTLE, MICROSECONDS, ETHERNET);
    for (seconds, bytes) in records {
        let wire = u32::try_from(bytes.len()).unwrap();
        capture.extend(pcap_record(LITTLE, *seconds, 0, bytes, wire));
    }
    capture
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = order.u32(u32::try_from(body.len() + 12).unwrap());
    [&order.u32(kind)[..], &length, &body, &length].concat()
}

fn section(order: Order) -> Vec<u8> {
    let magic = order.u32(0x1a2b_3c4d);
    let version = [order.u16(1), order.u16(0)].concat();
    block(order, 0x0a0d_0d0a, &[&magic[..], &version, &[0xff; 8]].concat())
}

fn interface(order: Order, link: u16, snapshot: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = [&order.u16(link)[..], &[0; 2], &order.u32(snapshot)].concat();
    for (code, value) in options {
        body.extend(order.u16(*code));
        body.extend(order.u16(u16::try_from(value.len()).unwrap()));
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    if !options.is_empty() {
        body.extend([0; 4]);
    }
    block(order, 1, &body)
}

fn packet(order: Order, interface: u32, ticks: u64, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    let (high, low) = (u32::try_from(ticks >> 32).unwrap(), ticks as u32);
    let header = [interface, high, low, length, length].map(|number| order.u32(number));
    block(order, 6, &[&header.concat(), bytes].concat())
}

#[derive(Debug, PartialEq)]
struct Seen {
    nanos: u64,
    link: u16,
    bytes: Vec<u8>,
    wire: usize,
    number: u64,
}

/// All records and all sentences of a capture called `mirror.pcap`.
fn read_all(bytes: &[u8]) -> (Vec<Seen>, Vec<String>) {
    let raw = Box::new(Cursor::new(bytes.to_vec()));
    let opened = decompress("mirror.pcap".to_owned(), raw, None).and_then(CaptureReader::from_source);
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => return (vec![], vec![error.to_string()]),
    };
    let (mut records, mut errors) = (vec![], vec![]);
    loop {
        match reader.next() {
            Ok(Some(record)) => records.push(Seen {
                nanos: record.at.as_nanos(),
                link: record.link.0,
                bytes: record.bytes.to_vec(),
                wire: record.wire_length,
                number: record.number,
            }),
            Ok(None) => return (records, errors),
            Err(error) => errors.push(error.to_string()),
        }
    }
}

#[track_caller]
fn assert_says(bytes: &[u8], records: usize, sentence: &str) {
    let (read, errors) = read_all(bytes);
    assert_eq!((read.len(), errors), (records, vec![sentence.to_owned()]));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn pcap_in_both_byte_orders_and_resolutions() {
    for order in [LITTLE, BIG] {
        for (magic, nanos) in [(MICROSECONDS, 7_000_000_500_000), (NANOSECONDS, 7_000_000_000_500)] {
            let record = pcap_record(order, 7_000, 500, b"frame", 90);
            let capture = [pcap_header(order, magic, 113), record.clone(), record].concat();
            let expected = |number| Seen { nanos, link: 113, bytes: b"frame".to_vec(), wire: 90, number };
            assert_eq!(read_all(&capture), (vec![expected(1), expected(2)], vec![]));
        }
    }
}

#[test]
fn the_variant_with_longer_record_headers() {
    let mut record = pcap_record(LITTLE, 7, 0, b"", 5);
    record[8] = 5;
    let capture =
        [pcap_header(LITTLE, 0xa1b2_cd34, ETHERNET), record, vec![0; 8], b"frame".to_vec()].concat();
    let (read, errors) = read_all(&capture);
    assert_eq!((read[0].bytes.as_slice(), read.len()), (&b"frame"[..], 1));
    assert_eq!(errors, [""; 0]);
}

#[test]
fn a_frame_check_sequence_in_the_link_type_is_no_other_link_type() {
    let mut capture = pcap_of(&[(1, b"x")]);
    capture[23] = 0x24;
    assert_eq!(read_all(&capture).0[0].link, 1);
}

#[test]
fn pcapng_with_interfaces_of_their_own_link_type_and_clock() {
    for order in [LITTLE, BIG] {
        let offset = if order.0 { 1_000_i64.to_be_bytes() } else { 1_000_i64.to_le_bytes() };
        let capture = [
            section(order),
            interface(order, 1, 0, &[]),
            interface(order, 113, 0, &[(2, b"eth1"), (9, &[9])]),
            interface(order, 101, 0, &[(9, &[0x80 | 10]), (14, &offset)]),
            block(order, 0x0bad, b"nobody knows this block"),
            packet(order, 0, 5_000_001, b"one"),
            packet(order, 1, 5_000_000_002, b"two!"),
            packet(order, 2, 5 << 10, b"three"),
            block(order, 5, &[0; 12]),
            section(order),
            interface(order, 276, 0, &[]),
            packet(order, 0, 6_000_000, b"four"),
        ]
        .concat();
        let (read, errors) = read_all(&capture);
        let seen: Vec<_> = read
            .iter()
            .map(|record| (record.nanos, record.link, record.bytes.as_slice(), record.number))
            .collect();
        let expected: [(u64, u16, &[u8], u64); 4] = [
            (5_000_001_000, 1, b"one", 1),
            (5_000_000_002, 113, b"two!", 2),
            (1_005_000_000_000, 101, b"three", 3),
            (6_000_000_000, 276, b"four", 4),
        ];
        assert_eq!((seen.as_slice(), errors), (&expected[..], vec![]));
    }
}

#[test]
fn simple_and_obsolete_packet_blocks() {
    let simple = [&LITTLE.u32(9)[..], b"cut at 6"].concat();
    let obsolete = [
        &LITTLE.u16(0)[..],
        &[0; 2],
        &[0; 4],
        &LITTLE.u32(8_000_000),
        &LITTLE.u32(3),
        &LITTLE.u32(70),
        b"old",
    ]
    .concat();
    let capture = [
        section(LITTLE),
        interface(LITTLE, 1, 6, &[]),
        packet(LITTLE, 0, 5_000_000, b"x"),
        block(LITTLE, 3, &simple),
        block(LITTLE, 2, &obsolete),
    ]
    .concat();
    let (read, errors) = read_all(&capture);
    let seen: Vec<_> = read
        .iter()
        .map(|record| (record.nanos / 1_000_000_000, record.bytes.as_slice(), record.wire))
        .collect();
    let expected: [(u64, &[u8], usize); 3] = [(5, b"x", 1), (5, b"cut at", 9), (8, b"old", 70)];
    assert_eq!((seen.as_slice(), errors), (&expected[..], vec![]));
}

#[test]
fn captures_without_records_are_no_error() {
    assert_eq!(read_all(&pcap_of(&[])), (vec![], vec![]));
    assert_eq!(read_all(&section(BIG)), (vec![], vec![]));
}

#[test]
fn compressed_captures_are_known_by_their_content() {
    let plain = pcap_of(&[(1, b"a"), (2, b"b")]);
    let expected = read_all(&plain);
    assert_eq!(expected.0.len(), 2);
    assert_eq!(read_all(&gzip(&plain)), expected);
    assert_eq!(read_all(&zstd::encode_all(&plain[..], 1).unwrap()), expected);
    let in_two_members = [gzip(&plain[..30]), gzip(&plain[30..])].concat();
    assert_eq!(read_all(&in_two_members), expected);
}

#[test]
fn what_is_no_capture_is_said_in_one_sentence() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "mirror.pcap is empty: it ends at byte 0, before any capture header"),
        (
            b"hello, this is no capture at all",
            "mirror.pcap is not a capture file: at byte 0 it begins with 68 65 6c 6c, which is neither pcap nor pcapng",
        ),
        (
            b"hi",
            "mirror.pcap is not a capture file: at byte 0 it begins with 68 69, which is neither pcap nor pcapng",
        ),
        (&pcap_of(&[])[..20], "mirror.pcap is truncated: it ends at byte 20, inside the capture header"),
        (
            &pcap_header(LITTLE, MICROSECONDS, 105),
            "mirror.pcap has the unknown link type 105 (IEEE802_11), told at byte 20",
        ),
        (
            &pcap_header(LITTLE, MICROSECONDS, 70_000),
            "mirror.pcap has the unknown link type 70000, told at byte 20",
        ),
        (
            &gzip(b""),
            "mirror.pcap is empty: it ends at byte 0 of the uncompressed data, before any capture header",
        ),
        (
            &section(LITTLE)[..9],
            "mirror.pcap is truncated: it ends inside the block that begins at byte 0, after record 0",
        ),
    ];
    for (bytes, sentence) in cases {
        assert_says(bytes, 0, sentence);
    }
}

#[test]
fn a_capture_cut_anywhere_keeps_what_was_read() {
    let capture = pcap_of(&[(1, b"first"), (2, b"second")]);
    for length in 24..capture.len() {
        let (read, errors) = read_all(&capture[..length]);
        let (complete, sentence) = match length {
            24 => (0, None),
            45 => (1, None),
            25..45 => (0, Some("record 1, which begins at byte 24")),
            _ => (1, Some("record 2, which begins at byte 45")),
        };
        let sentence = sentence
            .map(|place| format!("mirror.pcap is truncated: it ends inside {place}"))
            .into_iter()
            .collect();
        assert_eq!((read.len(), errors), (complete, sentence), "{length}");
    }
    assert_says(
        &gzip(&capture[..50]),
        1,
        "mirror.pcap is truncated: it ends inside record 2, which begins at byte 45 of the uncompressed data",
    );
    let blocks = [
        section(LITTLE),
        interface(LITTLE, 1, 0, &[]),
        packet(LITTLE, 0, 1, b"first"),
        packet(LITTLE, 0, 1, b"second"),
    ]
    .concat();
    assert_says(
        &blocks[..blocks.len() - 1],
        1,
        "mirror.pcap is truncated: it ends inside record 2, which begins at byte 88",
    );
}

#[test]
fn bogus_lengths_are_damage_and_ask_for_no_memory() {
    let mut capture = pcap_of(&[(1, b"first"), (2, b"second")]);
    capture[45 + 8..45 + 12].fill(0xfe);
    assert_says(
        &capture,
        1,
        "mirror.pcap is damaged in record 2 at byte 45: it says it has 4278124286 bytes",
    );
    let damaged = |block: &[u8], sentence: &str| {
        let capture = [
            &section(LITTLE)[..],
            &interface(LITTLE, 1, 0, &[]),
            &packet(LITTLE, 0, 1, b"first"),
            block,
            &packet(LITTLE, 0, 1, b"third"),
        ]
        .concat();
        assert_says(&capture, 1, sentence);
    };
    let mut long = packet(LITTLE, 0, 1, b"second");
    long[4..8].copy_from_slice(&LITTLE.u32(0xffff_fff0));
    damaged(
        &long,
        "mirror.pcap has a damaged block at byte 88, after record 1: it says it is 4294967280 bytes long",
    );
    let mut short = packet(LITTLE, 0, 1, b"second");
    short[4..8].copy_from_slice(&LITTLE.u32(8));
    damaged(&short, "mirror.pcap has a damaged block at byte 88, after record 1: it says it is 8 bytes long");
    let mut torn = packet(LITTLE, 0, 1, b"second");
    *torn.last_mut().unwrap() = 1;
    damaged(
        &torn,
        "mirror.pcap has a damaged block at byte 88, after record 1: it says it is 40 bytes long, and at its end 16777256",
    );
    let mut beyond = packet(LITTLE, 0, 1, b"second");
    beyond[20] = 200;
    damaged(&beyond, "mirror.pcap is damaged in record 2 at byte 88: its lengths contradict each other");
    damaged(
        &packet(LITTLE, 7, 1, b"second"),
        "mirror.pcap is damaged in record 2 at byte 88: its interface 7 was not described",
    );
    let mut skipped = block(LITTLE, 0x0bad, b"unknown");
    skipped[4..8].copy_from_slice(&LITTLE.u32(0xffff_fff0));
    damaged(
        &skipped,
        "mirror.pcap is truncated: it ends inside the block that begins at byte 88, after record 1",
    );
}

#[test]
fn one_interface_of_an_unknown_link_type_does_not_hide_the_others() {
    let capture = [
        section(LITTLE),
        interface(LITTLE, 1, 0, &[]),
        interface(LITTLE, 105, 0, &[]),
        packet(LITTLE, 0, 1, b"one"),
        packet(LITTLE, 1, 1, b"two"),
        packet(LITTLE, 1, 1, b"three"),
        packet(LITTLE, 0, 1, b"four"),
    ]
    .concat();
    let (read, errors) = read_all(&capture);
    let numbers: Vec<_> = read.iter().map(|record| record.number).collect();
    assert_eq!(numbers, [1, 4]);
    assert_eq!(
        errors,
        [
            "mirror.pcap: interface 1 has the unknown link type 105 (IEEE802_11); its frames, from record 2 at byte 104 on, are passed over"
        ]
    );
}

#[test]
fn damaged_compression_keeps_what_was_read() {
    let frame = [7; 60];
    let capture = pcap_of(&vec![(1, &frame[..]); 20_000]);
    let mut state = 1_u32;
    let noisy: Vec<u8> = capture
        .iter()
        .enumerate()
        .map(|(index, byte)| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let in_frame = index >= 24 && (index - 24) % 76 >= 16;
            if in_frame { (state >> 24) as u8 } else { *byte }
        })
        .collect();
    for (compressed, name) in [(gzip(&noisy), "gzip"), (zstd::encode_all(&noisy[..], 1).unwrap(), "zstd")] {
        let mut damaged = compressed.clone();
        let middle = damaged.len() / 2;
        damaged.truncate(middle);
        let (read, errors) = read_all(&damaged);
        assert!(read.len() > 1_000, "{}", read.len());
        assert_eq!(errors.len(), 1);
        let begins = format!("mirror.pcap: its {name} data is damaged behind byte ");
        assert!(errors[0].starts_with(&begins), "{errors:?}");
    }
    let mut front = gzip(&capture);
    front[2] = 99;
    let (read, errors) = read_all(&front);
    assert_eq!(read, []);
    let begins = "mirror.pcap: its gzip data is damaged behind byte 0 of the uncompressed data: ";
    assert!(errors[0].starts_with(begins), "{errors:?}");
}

#[test]
fn files_that_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.pcap").to_str().unwrap().to_owned();
    let directory = folder.path().to_str().unwrap().to_owned();
    let say = |path: &str| CaptureReader::open(path).unwrap_err().to_string();
    assert_eq!(say(&missing), format!("{missing}: there is no such file"));
    assert_eq!(say(&directory), format!("{directory} is a directory, not a capture file"));
    let reason = io::Error::from(io::ErrorKind::PermissionDenied);
    let name = "mirror.pcap".to_owned();
    assert_eq!(
        CaptureError::Unopenable { name, reason }.to_string(),
        "mirror.pcap cannot be opened: permission denied"
    );
    let merged = MergedCapture::open(&[directory, missing], None);
    assert!(merged.unwrap_err().is_unopened());
}

/// Hands out what it is sent, piece by piece.
struct Pipe(mpsc::Receiver<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Nothing sent: a reader that asks now would wait, though it may have all it needs.
        let sent = self.0.try_recv().map_err(|_| io::ErrorKind::WouldBlock)?;
        into[..sent.len()].copy_from_slice(&sent);
        Ok(sent.len())
    }
}

#[test]
fn a_record_from_a_pipe_is_given_as_soon_as_it_is_there() {
    let blocks = [
        [section(BIG), interface(BIG, 1, 0, &[])].concat(),
        packet(BIG, 0, 1, b"one"),
        packet(BIG, 0, 1, b"two"),
    ];
    let plain = [pcap_of(&[]), pcap_record(LITTLE, 1, 0, b"one", 3), pcap_record(LITTLE, 1, 0, b"two", 3)];
    for pieces in [blocks, plain] {
        let (sender, receiver) = mpsc::channel();
        let [head, one, two] = pieces;
        let (magic, rest) = head.split_at(4);
        sender.send(magic.to_vec()).unwrap();
        sender.send(rest.to_vec()).unwrap();
        let source = decompress("standard input".to_owned(), Box::new(Pipe(receiver)), None);
        let mut reader = CaptureReader::from_source(source.unwrap()).unwrap();
        for (record, bytes) in [(one, b"one"), (two, b"two")] {
            for piece in record.chunks(7) {
                sender.send(piece.to_vec()).unwrap();
            }
            assert_eq!(reader.next().unwrap().unwrap().bytes, bytes);
        }
        drop(sender);
    }
}

#[test]
fn every_link_type_that_is_decoded_is_read() {
    for link in [0_u16, 1, 12, 14, 101, 108, 113, 228, 229, 276] {
        let capture = pcap_header(LITTLE, MICROSECONDS, u32::from(link));
        assert_eq!(read_all(&capture), (vec![], vec![]));
        assert!(crate::decode::is_known_link(LinkType(link)));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        front in 0_usize..5,
    ) {
        let front = [
            vec![],
            pcap_of(&[]),
            section(LITTLE),
            [section(BIG), interface(BIG, 1, 0, &[])].concat(),
            vec![0x1f, 0x8b, 8, 0],
        ][front].clone();
        read_all(&[front, bytes].concat());
    }

    #[test]
    fn damaged_captures_never_panic(
        damage in proptest::collection::vec((0_usize..240, any::<u8>()), 1..6),
        blocks in any::<bool>(),
        big in any::<bool>(),
    ) {
        let order = Order(big);
        let mut capture = if blocks {
            [
                section(order),
                interface(order, 1, 0, &[(9, &[9]), (14, &[0; 8])]),
                packet(order, 0, 1, b"one"),
                block(order, 3, b"\0\0\0\x03two"),
                packet(order, 0, 1, b"three"),
            ].concat()
        } else {
            pcap_of(&[(1, b"one"), (2, b"two"), (3, &[7; 100])])
        };
        for (at, byte) in damage {
            if let Some(place) = capture.get_mut(at) {
                *place = byte;
            }
        }
        let (read, errors) = read_all(&capture);
        prop_assert!(read.len() <= 4 && errors.len() <= 2);
    }
}
