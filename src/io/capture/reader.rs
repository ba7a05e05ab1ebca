//! One input, record by record.
//! In: bytes. Out: records with time, link type and length. Knows nothing of other inputs.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pcap_parser::parse_pcap_header;

use crate::base::{CaptureEvent, LinkType, Timestamp};
use crate::decode::is_known_link;

use super::MAX_RECORD_BYTES;
use super::buffer::Buffer;
use super::error::{CaptureError, Compression, Place};
use super::pcapng::{self, Section};
use super::source::{self, Source};

/// The capture header of pcap.
const PCAP_HEADER_BYTES: usize = 24;

/// The upper bits of the link type tell of a frame check sequence.
const LINK_TYPE_MASK: u32 = 0x03ff_ffff;

/// One record, borrowed from the reader.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When it was captured.
    pub at: Timestamp,
    /// What its first byte is.
    pub link: LinkType,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// Its length on the wire in bytes.
    pub wire_length: usize,
    /// Its number in the input, from 1. Records of unknown link types are counted, too.
    pub number: u64,
}

/// Where a record is in the buffer, and what is known of it.
#[derive(Debug)]
pub(super) struct Current {
    pub at: Timestamp,
    pub link: LinkType,
    pub bytes: Range<usize>,
    pub wire_length: usize,
}

/// What the capture header of pcap says of all records.
#[derive(Clone, Copy)]
struct PcapLayout {
    link: LinkType,
    big_endian: bool,
    /// Before each frame.
    header_bytes: usize,
    /// Of the fraction of a second.
    nanoseconds_per_unit: u64,
}

enum Format {
    Pcap(PcapLayout),
    Pcapng(Section),
}

/// Reads pcap (microseconds or nanoseconds, both byte orders) and pcapng, as they are or compressed with
/// gzip or zstd, known by their content. Records are given as soon as their last byte was read.
pub struct CaptureReader {
    pub(super) name: String,
    pub(super) buffer: Buffer,
    format: Format,
    compression: Option<Compression>,
    position: Arc<AtomicU64>,
    size: Option<u64>,
    /// Bytes at the buffer's front that the current record takes.
    pub(super) taken: usize,
    pub(super) current: Option<Current>,
    /// Where the reader is at no record, but at what happened to the capture.
    pub(super) event: Option<CaptureEvent>,
    /// Records so far.
    pub(super) number: u64,
    ended: bool,
}

impl CaptureReader {
    /// Opens a file, or standard input for `-`, and reads its capture header.
    ///
    /// # Errors
    /// It cannot be opened, is empty, is no capture, or its link type is unknown.
    pub fn open(path: &str) -> Result<Self, CaptureError> {
        Self::from_source(source::open(path)?)
    }

    /// Reads an input that is open already, and calls it so.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn from_reader(name: &str, bytes: impl io::Read + Send + 'static) -> Result<Self, CaptureError> {
        Self::from_source(source::decompress(name.to_owned(), Box::new(bytes), None)?)
    }

    pub(super) fn from_source(source: Source) -> Result<Self, CaptureError> {
        let mut reader = Self {
            name: source.name,
            buffer: Buffer::new(source.bytes),
            format: Format::Pcapng(Section::default()),
            compression: source.compression,
            position: source.position,
            size: source.size,
            taken: 0,
            current: None,
            event: None,
            number: 0,
            ended: false,
        };
        if !reader.fill(4)? {
            let (name, place) = (reader.name.clone(), reader.place());
            return Err(match reader.buffer.available() {
                [] => CaptureError::Empty { name, place },
                front => CaptureError::NotACapture { name, place, front: in_hexadecimal(front) },
            });
        }
        if !reader.buffer.available().starts_with(&pcapng::MAGIC) {
            reader.format = reader.pcap_header()?;
        }
        Ok(reader)
    }

    /// The next record, or `None` behind the last. After an error there may be more: one interface's link
    /// type is unknown and the others are read on. After any other error there are none.
    ///
    /// # Errors
    /// The input is truncated or damaged, or cannot be read.
    #[expect(clippy::should_implement_trait, reason = "the record is lent, which no Iterator can do")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        while self.advance()? && self.current.is_none() {}
        Ok(self.current())
    }

    /// Bytes of the input that were read, compressed as they are.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Bytes of the input, compressed as they are; unknown of pipes.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// What the input is called: its path, or `standard input`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there are no more records.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The link type of all records, where the format has but one.
    pub(super) fn only_link(&self) -> Option<LinkType> {
        match &self.format {
            Format::Pcap(layout) => Some(layout.link),
            Format::Pcapng(_) => None,
        }
    }

    /// Goes to the next record or event. Whether there is one.
    pub(super) fn advance(&mut self) -> Result<bool, CaptureError> {
        (self.current, self.event) = (None, None);
        if self.ended {
            return Ok(false);
        }
        self.buffer.consume(std::mem::take(&mut self.taken));
        let found = match &mut self.format {
            Format::Pcap(layout) => {
                let layout = *layout;
                self.next_of_pcap(layout)
            }
            Format::Pcapng(section) => {
                let mut section = std::mem::take(section);
                let found = self.next_of_pcapng(&mut section);
                self.format = Format::Pcapng(section);
                found
            }
        };
        match &found {
            Ok(true) | Err(CaptureError::UnknownInterfaceLinkType { .. }) => {}
            Ok(false) | Err(_) => self.ended = true,
        }
        found
    }

    /// When that is from which [`Self::advance`] went to.
    pub(super) fn current_at(&self) -> Option<Timestamp> {
        self.event.as_ref().map(|event| event.at).or_else(|| self.current.as_ref().map(|current| current.at))
    }

    /// The record that [`Self::advance`] went to.
    pub(super) fn current(&self) -> Option<Record<'_>> {
        let current = self.current.as_ref()?;
        Some(Record {
            at: current.at,
            link: current.link,
            bytes: self.buffer.available().get(current.bytes.clone())?,
            wire_length: current.wire_length,
            number: self.number,
        })
    }

    fn pcap_header(&mut self) -> Result<Format, CaptureError> {
        let place = self.place();
        let complete = self.fill(PCAP_HEADER_BYTES)?;
        let front = self.buffer.available();
        let magic_is_known =
            front.first_chunk::<4>().is_some_and(|magic| is_pcap_magic(u32::from_le_bytes(*magic)));
        if !magic_is_known {
            return Err(CaptureError::NotACapture {
                name: self.name.clone(),
                place,
                front: in_hexadecimal(front),
            });
        }
        let header = match parse_pcap_header(front) {
            Ok((_, header)) if complete => header,
            _ => {
                return Err(CaptureError::TruncatedHeader {
                    name: self.name.clone(),
                    place: Place { offset: front.len() as u64, ..place },
                });
            }
        };
        self.buffer.consume(PCAP_HEADER_BYTES);
        let number = header.network.0.cast_unsigned() & LINK_TYPE_MASK;
        match known_link(number) {
            Some(link) => Ok(Format::Pcap(PcapLayout {
                link,
                big_endian: header.is_bigendian(),
                // Alexey Kuznetzov's variant has eight bytes more before each frame.
                header_bytes: if header.is_modified_format() { 24 } else { 16 },
                nanoseconds_per_unit: if header.is_nanosecond_precision() { 1 } else { 1_000 },
            })),
            None => Err(CaptureError::UnknownLinkType {
                name: self.name.clone(),
                place: Place { offset: 20, ..place },
                number,
                link_name: link_name(number),
            }),
        }
    }

    fn next_of_pcap(&mut self, layout: PcapLayout) -> Result<bool, CaptureError> {
        let PcapLayout { link, big_endian, header_bytes, nanoseconds_per_unit } = layout;
        if !self.fill(header_bytes)? {
            return if self.buffer.available().is_empty() { Ok(false) } else { Err(self.truncated_record()) };
        }
        let [seconds, fraction, captured, wire_length] = self.pcap_record_header(big_endian);
        let captured = captured as usize;
        if captured > MAX_RECORD_BYTES {
            return Err(self.damaged_record(format!("it says it has {captured} bytes")));
        }
        let length = header_bytes + captured;
        if !self.fill(length)? {
            return Err(self.truncated_record());
        }
        let nanoseconds = u64::from(fraction) * nanoseconds_per_unit;
        self.number += 1;
        self.taken = length;
        self.current = Some(Current {
            at: Timestamp::from_nanos(u64::from(seconds) * 1_000_000_000 + nanoseconds),
            link,
            bytes: header_bytes..length,
            wire_length: (wire_length as usize).max(captured),
        });
        Ok(true)
    }

    /// Seconds, fraction of a second, captured length and length on the wire, in the window, which must hold them.
    fn pcap_record_header(&self, big_endian: bool) -> [u32; 4] {
        let header = self.buffer.available().first_chunk().copied().unwrap_or([0; 16]);
        let [s1, s2, s3, s4, f1, f2, f3, f4, c1, c2, c3, c4, w1, w2, w3, w4] = header;
        let numbers = [[s1, s2, s3, s4], [f1, f2, f3, f4], [c1, c2, c3, c4], [w1, w2, w3, w4]];
        if big_endian { numbers.map(u32::from_be_bytes) } else { numbers.map(u32::from_le_bytes) }
    }

    /// A number in the window, which must hold it.
    pub(super) fn u32_at(&self, offset: usize, big_endian: bool) -> usize {
        pcapng::u32_at(self.buffer.available(), offset, big_endian).unwrap_or(0) as usize
    }

    /// Where the window begins.
    pub(super) fn place(&self) -> Place {
        Place { offset: self.buffer.offset(), compression: self.compression }
    }

    #[inline]
    pub(super) fn fill(&mut self, wanted: usize) -> Result<bool, CaptureError> {
        self.buffer.fill(wanted).map_err(|reason| self.read_error(reason))
    }

    #[cold]
    pub(super) fn read_error(&self, reason: io::Error) -> CaptureError {
        let name = self.name.clone();
        let place = Place {
            offset: self.buffer.offset() + self.buffer.available().len() as u64,
            compression: self.compression,
        };
        match self.compression {
            Some(compression) => CaptureError::DamagedCompression { name, place, compression, reason },
            None => CaptureError::Unreadable { name, place, reason },
        }
    }

    #[cold]
    pub(super) fn truncated_record(&self) -> CaptureError {
        CaptureError::TruncatedRecord {
            name: self.name.clone(),
            place: self.place(),
            record: self.number + 1,
        }
    }

    #[cold]
    pub(super) fn damaged_record(&self, what: String) -> CaptureError {
        CaptureError::DamagedRecord {
            name: self.name.clone(),
            place: self.place(),
            record: self.number + 1,
            what,
        }
    }
}

impl std::fmt::Debug for CaptureReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureReader")
            .field("name", &self.name)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// The link type of that number, if its frames can be read.
pub(super) fn known_link(number: u32) -> Option<LinkType> {
    let link = LinkType(u16::try_from(number).ok()?);
    is_known_link(link).then_some(link)
}

/// What libpcap calls it.
pub(super) fn link_name(number: u32) -> Option<String> {
    pcap::Linktype(number.cast_signed()).get_name().ok()
}

fn is_pcap_magic(magic: u32) -> bool {
    matches!(magic, 0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1 | 0xa1b2_cd34)
}

fn in_hexadecimal(front: &[u8]) -> String {
    let bytes: Vec<String> = front.iter().take(4).map(|b| format!("{b:02x}")).collect();
    bytes.join(" ")
}
