//! Frames as the program is handed them.
//! In: bytes and when they were seen, [`CapturedFrame`]. Out: [`Frame`]. Knows nothing of what is in them.

use offhook::base::{FrameId, LinkType, Timestamp};
use offhook::decode::Frame;

use super::wire::CapturedFrame;

/// The `number`th frame of an Ethernet interface, seen as a whole.
pub fn frame(number: u64, at: Timestamp, bytes: &[u8]) -> Frame<'_> {
    Frame { at, id: FrameId::new(0, number), link: LinkType(1), bytes, wire_length: bytes.len() }
}

/// The same of a ladder.
pub fn captured(number: u64, frame: &CapturedFrame) -> Frame<'_> {
    self::frame(number, Timestamp::from_nanos(frame.at_us * 1_000), &frame.bytes)
}
