//! pcapng: sections, interfaces, packet blocks.
//! In: blocks. Out: records, and what happened to the capture. Knows nothing of pcap.
//! Packets and interfaces are parsed by `pcap-parser`. Block lengths are walked here, so that blocks of no
//! interest are passed over whatever their length, and a bogus length asks for no memory.

use std::sync::Arc;

use pcap_parser::{
    OptionCode, parse_enhancedpacketblock_be, parse_enhancedpacketblock_le,
    parse_interfacedescriptionblock_be, parse_interfacedescriptionblock_le,
    parse_interfacestatisticsblock_be, parse_interfacestatisticsblock_le,
};

use crate::base::{CaptureChange, FrameCounts, LinkType, Timestamp};

use super::MAX_RECORD_BYTES;
use super::error::CaptureError;
use super::event_text::event;
use super::reader::{CaptureReader, Current, known_link, link_name};

/// The first bytes of a section header block, the same in both byte orders.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const INTERFACE_DESCRIPTION: u32 = 1;
/// Obsolete, but still found in old files.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// What an interface dropped, and the system; the parser knows no names for these.
const ISB_IFRECV: OptionCode = OptionCode(4);
const ISB_IFDROP: OptionCode = OptionCode(5);
const ISB_OSDROP: OptionCode = OptionCode(7);

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Longest block that is held: a record with its options.
const MAX_BLOCK_BYTES: usize = MAX_RECORD_BYTES + (64 << 10);

/// Longest block of counters that is looked at.
const MAX_STATISTICS_BYTES: usize = 16 << 10;

/// Longest name of an interface that is kept. Those of Linux have 15 bytes.
const MAX_NAME_BYTES: usize = 64;

/// Interfaces of one section.
const MAX_INTERFACES: usize = 65_536;

/// Where a packet's bytes begin in the block types that name an interface.
const PACKET_BYTES_AT: usize = 28;
const SIMPLE_PACKET_BYTES_AT: usize = 12;

/// What is known of the section that is being read.
#[derive(Debug, Default)]
pub(super) struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// A simple packet block has no time of its own; it is given that of the packet before it.
    last: Timestamp,
}

#[derive(Debug)]
struct Interface {
    name: Arc<str>,
    number: u32,
    link: Option<LinkType>,
    /// That its link type is unknown was said.
    told: bool,
    snapshot_bytes: usize,
    /// `if_tsresol` as it is written.
    resolution: u8,
    offset_s: i64,
}

impl Interface {
    /// Ticks of the interface's resolution to nanoseconds.
    fn time(&self, ticks: u64) -> Timestamp {
        const NANOSECONDS: u128 = 1_000_000_000;
        let exponent = u32::from(self.resolution & 0x7f);
        let scaled = u128::from(ticks) * NANOSECONDS;
        let nanoseconds = if self.resolution & 0x80 == 0 {
            10_u128.checked_pow(exponent).map_or(0, |units| scaled / units)
        } else {
            scaled >> exponent
        };
        let offset = i128::from(self.offset_s) * 1_000_000_000;
        let shifted = i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_add(offset);
        Timestamp::from_nanos(u64::try_from(shifted.max(0)).unwrap_or(u64::MAX))
    }
}

/// A packet block's fields.
struct Packet {
    interface: usize,
    ticks: Option<u64>,
    captured: usize,
    wire_length: usize,
    bytes_at: usize,
}

impl CaptureReader {
    /// Goes to the next packet, through whatever blocks stand before it.
    pub(super) fn next_of_pcapng(&mut self, section: &mut Section) -> Result<bool, CaptureError> {
        loop {
            if !self.fill(8)? {
                return if self.buffer.available().is_empty() {
                    Ok(false)
                } else {
                    Err(self.truncated_block())
                };
            }
            if self.buffer.available().starts_with(&MAGIC) {
                self.begin_section(section)?;
            }
            let big_endian = section.big_endian;
            let kind = u32_at(self.buffer.available(), 0, big_endian).unwrap_or(0);
            let length = self.u32_at(4, big_endian);
            if length < 12 || !length.is_multiple_of(4) {
                return Err(self.damaged_block(format!("it says it is {length} bytes long")));
            }
            let is_packet = matches!(kind, PACKET | SIMPLE_PACKET | ENHANCED_PACKET);
            let is_counters = kind == INTERFACE_STATISTICS && length <= MAX_STATISTICS_BYTES;
            if !is_packet && !is_counters && kind != INTERFACE_DESCRIPTION {
                let cut = self.truncated_block();
                if !self.buffer.skip(length).map_err(|reason| self.read_error(reason))? {
                    return Err(cut);
                }
                continue;
            }
            if length > MAX_BLOCK_BYTES {
                return Err(self.damaged_block(format!("it says it is {length} bytes long")));
            }
            if !self.fill(length)? {
                return Err(if is_packet { self.truncated_record() } else { self.truncated_block() });
            }
            let again = self.u32_at(length - 4, big_endian);
            if again != length {
                let what = format!("it says it is {length} bytes long, and at its end {again}");
                return Err(self.damaged_block(what));
            }
            if kind == INTERFACE_DESCRIPTION {
                self.describe_interface(section, length)?;
                self.buffer.consume(length);
                continue;
            }
            if is_counters {
                if self.statistics(section, length) {
                    self.taken = length;
                    return Ok(true);
                }
                self.buffer.consume(length);
                continue;
            }
            if self.packet(section, kind, length)? {
                return Ok(true);
            }
        }
    }

    /// Learns the byte order and forgets the interfaces. The block itself is passed over by its length.
    fn begin_section(&mut self, section: &mut Section) -> Result<(), CaptureError> {
        if !self.fill(12)? {
            return Err(self.truncated_block());
        }
        let big_endian = match u32_at(self.buffer.available(), 8, true) {
            Some(BYTE_ORDER_MAGIC) => true,
            Some(swapped) if swapped == BYTE_ORDER_MAGIC.swap_bytes() => false,
            _ => return Err(self.damaged_block("it tells no byte order".to_owned())),
        };
        *section = Section { big_endian, interfaces: Vec::new(), last: section.last };
        Ok(())
    }

    fn describe_interface(&self, section: &mut Section, length: usize) -> Result<(), CaptureError> {
        let block = self.buffer.available().get(..length).unwrap_or_default();
        let parsed = if section.big_endian {
            parse_interfacedescriptionblock_be(block)
        } else {
            parse_interfacedescriptionblock_le(block)
        };
        let Ok((_, described)) = parsed else {
            return Err(self.damaged_block("it describes no interface".to_owned()));
        };
        if section.interfaces.len() >= MAX_INTERFACES {
            return Err(self.damaged_block("there are too many interfaces".to_owned()));
        }
        // The parser reads this option in one byte order only.
        let offset_s = described
            .options
            .iter()
            .find(|option| option.code == OptionCode::IfTsoffset)
            .and_then(|option| option.value().first_chunk::<8>())
            .map_or(0, |offset| {
                if section.big_endian { i64::from_be_bytes(*offset) } else { i64::from_le_bytes(*offset) }
            });
        let number = described.linktype.0.cast_unsigned();
        let name = described.options.iter().find(|option| option.code == OptionCode::IfName);
        let name = name.and_then(|option| Some(text(option.as_bytes().ok()?, MAX_NAME_BYTES)));
        let name = name.unwrap_or_else(|| format!("interface {}", section.interfaces.len()));
        section.interfaces.push(Interface {
            name: name.into(),
            number,
            link: known_link(number),
            told: false,
            snapshot_bytes: described.snaplen as usize,
            resolution: described.if_tsresol,
            offset_s,
        });
        Ok(())
    }

    /// Reads the counters of an interface, and what happened there. Whether they can be read.
    fn statistics(&mut self, section: &Section, length: usize) -> bool {
        let block = self.buffer.available().get(..length).unwrap_or_default();
        let parsed = if section.big_endian {
            parse_interfacestatisticsblock_be(block)
        } else {
            parse_interfacestatisticsblock_le(block)
        };
        let Ok((_, counted)) = parsed else { return false };
        let Some(interface) = section.interfaces.get(counted.if_id as usize) else { return false };
        let option = |code| {
            let option = counted.options.iter().find(|option| option.code == code)?;
            option.as_bytes().ok()
        };
        let number = |code| {
            let bytes = option(code).and_then(|bytes| bytes.first_chunk::<8>()).copied().unwrap_or_default();
            if section.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
        };
        let counts = FrameCounts {
            received: number(ISB_IFRECV),
            kernel_dropped: number(ISB_OSDROP),
            interface_dropped: number(ISB_IFDROP),
        };
        let at = interface.time(u64::from(counted.ts_high) << 32 | u64::from(counted.ts_low));
        let comment = option(OptionCode::Comment).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let mut event = event(comment, at, Arc::clone(&interface.name), counts);
        if event.what == CaptureChange::Counted {
            // Whoever wrote it may have done so at any time: it must not hold up what follows.
            event.at = section.last;
        }
        self.event = Some(event);
        true
    }

    /// Takes the packet block of that length at the buffer's front. Whether its link type is known.
    fn packet(&mut self, section: &mut Section, kind: u32, length: usize) -> Result<bool, CaptureError> {
        let block = self.buffer.available().get(..length).unwrap_or_default();
        let packet = match kind {
            ENHANCED_PACKET => enhanced_packet(block, section.big_endian),
            SIMPLE_PACKET => simple_packet(block, section),
            _ => packet(block, section.big_endian),
        };
        let Some(packet) = packet else {
            return Err(self.damaged_record("its lengths contradict each other".to_owned()));
        };
        if packet.captured > MAX_RECORD_BYTES {
            let what = format!("it says it has {} bytes", packet.captured);
            return Err(self.damaged_record(what));
        }
        let Some(interface) = section.interfaces.get_mut(packet.interface) else {
            let what = format!("its interface {} was not described", packet.interface);
            return Err(self.damaged_record(what));
        };
        let at = packet.ticks.map_or(section.last, |ticks| interface.time(ticks));
        section.last = at;
        let place = self.place();
        self.number += 1;
        let Some(link) = interface.link else {
            self.buffer.consume(length);
            if interface.told {
                return Ok(false);
            }
            interface.told = true;
            return Err(CaptureError::UnknownInterfaceLinkType {
                name: self.name.clone(),
                place,
                record: self.number,
                interface: packet.interface,
                number: interface.number,
                link_name: link_name(interface.number),
            });
        };
        self.taken = length;
        self.current = Some(Current {
            at,
            link,
            bytes: packet.bytes_at..packet.bytes_at + packet.captured,
            wire_length: packet.wire_length.max(packet.captured),
        });
        Ok(true)
    }

    fn truncated_block(&self) -> CaptureError {
        CaptureError::TruncatedBlock { name: self.name.clone(), place: self.place(), record: self.number }
    }

    fn damaged_block(&self, what: String) -> CaptureError {
        CaptureError::DamagedBlock { name: self.name.clone(), place: self.place(), record: self.number, what }
    }
}

fn enhanced_packet(block: &[u8], big_endian: bool) -> Option<Packet> {
    let parsed =
        if big_endian { parse_enhancedpacketblock_be(block) } else { parse_enhancedpacketblock_le(block) };
    let (_, parsed) = parsed.ok()?;
    let captured = parsed.caplen as usize;
    (captured <= parsed.data.len()).then_some(Packet {
        interface: parsed.if_id as usize,
        ticks: Some(u64::from(parsed.ts_high) << 32 | u64::from(parsed.ts_low)),
        captured,
        wire_length: parsed.origlen as usize,
        bytes_at: PACKET_BYTES_AT,
    })
}

/// It belongs to the first interface, whose snapshot length is the only one to tell what was captured.
fn simple_packet(block: &[u8], section: &Section) -> Option<Packet> {
    let wire_length = u32_at(block, 8, section.big_endian)? as usize;
    let space = block.len().checked_sub(SIMPLE_PACKET_BYTES_AT + 4)?;
    let snapshot_bytes = match section.interfaces.first()?.snapshot_bytes {
        0 => usize::MAX,
        bytes => bytes,
    };
    Some(Packet {
        interface: 0,
        ticks: None,
        captured: wire_length.min(snapshot_bytes).min(space),
        wire_length,
        bytes_at: SIMPLE_PACKET_BYTES_AT,
    })
}

fn packet(block: &[u8], big_endian: bool) -> Option<Packet> {
    let interface = block.get(8..)?.first_chunk::<2>()?;
    let interface = if big_endian { u16::from_be_bytes(*interface) } else { u16::from_le_bytes(*interface) };
    let number = |offset| u32_at(block, offset, big_endian);
    let captured = number(20)? as usize;
    let space = block.len().checked_sub(PACKET_BYTES_AT + 4)?;
    (captured <= space).then_some(Packet {
        interface: usize::from(interface),
        ticks: Some(u64::from(number(12)?) << 32 | u64::from(number(16)?)),
        captured,
        wire_length: number(24)? as usize,
        bytes_at: PACKET_BYTES_AT,
    })
}

/// At most so many bytes of a text, what is not UTF-8 replaced.
fn text(bytes: &[u8], most: usize) -> String {
    String::from_utf8_lossy(bytes.get(..most).unwrap_or(bytes)).into_owned()
}

/// Four bytes as a number.
pub(super) fn u32_at(bytes: &[u8], offset: usize, big_endian: bool) -> Option<u32> {
    let four = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(if big_endian { u32::from_be_bytes(*four) } else { u32::from_le_bytes(*four) })
}
