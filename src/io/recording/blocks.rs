//! The blocks of pcapng that a recording is made of.
//! In: interfaces, frames, events. Out: bytes. Knows nothing of files.
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>; little-endian, stamps in nanoseconds.

use crate::base::{CaptureEvent, FrameCounts, LinkType, Timestamp};
use crate::decode::Frame;
use crate::io::capture::comment;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const IF_FILTER: u16 = 11;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;

/// The beginning of a file.
pub(super) fn section_header(out: &mut Vec<u8>) {
    block(out, SECTION_HEADER, |out| {
        out.extend(0x1a2b_3c4d_u32.to_le_bytes());
        out.extend([1, 0, 0, 0]);
        out.extend((-1_i64).to_le_bytes());
        option(out, SHB_USERAPPL, concat!("offhook ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(out, OPT_END, &[]);
    });
}

/// An interface; the first in a file has the number 0.
pub(super) fn interface(
    out: &mut Vec<u8>,
    name: &str,
    link: LinkType,
    snap_bytes: u32,
    filter: Option<&str>,
) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend(link.0.to_le_bytes());
        out.extend([0, 0]);
        out.extend(snap_bytes.to_le_bytes());
        option(out, IF_NAME, name.as_bytes());
        option(out, IF_TSRESOL, &[9]);
        if let Some(filter) = filter {
            option(out, IF_FILTER, &[&[0], filter.as_bytes()].concat());
        }
        option(out, OPT_END, &[]);
    });
}

/// A frame of the interface with this number.
pub(super) fn frame(out: &mut Vec<u8>, interface: u32, frame: &Frame<'_>) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend(interface.to_le_bytes());
        time(out, frame.at);
        out.extend(length(frame.bytes.len()).to_le_bytes());
        out.extend(length(frame.wire_length).to_le_bytes());
        out.extend(frame.bytes);
        pad(out, frame.bytes.len());
    });
}

/// What happened at the interface with this number, beside its counters.
pub(super) fn event(out: &mut Vec<u8>, interface: u32, event: &CaptureEvent) {
    let FrameCounts { received, kernel_dropped, interface_dropped } = event.counts;
    block(out, INTERFACE_STATISTICS, |out| {
        out.extend(interface.to_le_bytes());
        time(out, event.at);
        if let Some(comment) = comment(event.what) {
            option(out, OPT_COMMENT, comment.as_bytes());
        }
        option(out, ISB_IFRECV, &received.to_le_bytes());
        option(out, ISB_IFDROP, &interface_dropped.to_le_bytes());
        option(out, ISB_OSDROP, &kernel_dropped.to_le_bytes());
        option(out, OPT_END, &[]);
    });
}

fn block(out: &mut Vec<u8>, kind: u32, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    content(out);
    let bytes = length(out.len() - start + 4).to_le_bytes();
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&bytes);
    }
    out.extend(bytes);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    let value = value.get(..usize::from(length)).unwrap_or_default();
    out.extend(code.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(value);
    pad(out, value.len());
}

/// Fills up to a multiple of four.
fn pad(out: &mut Vec<u8>, length: usize) {
    out.extend(std::iter::repeat_n(0, length.wrapping_neg() % 4));
}

fn time(out: &mut Vec<u8>, at: Timestamp) {
    let nanoseconds = at.as_nanos();
    out.extend(((nanoseconds >> 32) as u32).to_le_bytes());
    out.extend((nanoseconds as u32).to_le_bytes());
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
