//! Frames of one interface as they are handed from its thread to the tap: many at once, in one piece of memory.
//! In: frames. Out: the same, in their order. Knows nothing of libpcap, threads.

use std::ops::Range;

use crate::base::{CaptureEvent, FrameCounts, FrameId, LinkType, Timestamp};
use crate::decode::Frame;

/// A frame's place in a batch.
struct Placed {
    at: Timestamp,
    number: u64,
    link: LinkType,
    bytes: Range<usize>,
    wire_length: usize,
}

/// What one interface showed since its last batch.
#[derive(Default)]
pub(super) struct Batch {
    frames: Vec<Placed>,
    bytes: Vec<u8>,
    /// What happened to the capture behind these frames.
    pub events: Vec<CaptureEvent>,
    /// No frame of this interface from before that is still to come.
    pub reached: Timestamp,
    /// What was counted so far.
    pub counts: FrameCounts,
    /// Frames refused at the first look so far.
    pub refused: u64,
    /// It is the last one.
    pub is_last: bool,
}

impl Batch {
    /// Adds a frame.
    pub(super) fn push(
        &mut self,
        at: Timestamp,
        number: u64,
        link: LinkType,
        bytes: &[u8],
        wire_length: usize,
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.frames.push(Placed { at, number, link, bytes: start..self.bytes.len(), wire_length });
    }

    /// Frames in it.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of its frames.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// When the frame with this index passed.
    pub(super) fn at(&self, index: usize) -> Option<Timestamp> {
        self.frames.get(index).map(|frame| frame.at)
    }

    /// When its last frame passed.
    pub(super) fn last_at(&self) -> Option<Timestamp> {
        self.frames.last().map(|frame| frame.at)
    }

    /// The frame with this index, of the interface `source`.
    pub(super) fn frame(&self, index: usize, source: u16) -> Option<Frame<'_>> {
        let frame = self.frames.get(index)?;
        Some(Frame {
            at: frame.at,
            id: FrameId::new(source, frame.number),
            link: frame.link,
            bytes: self.bytes.get(frame.bytes.clone())?,
            wire_length: frame.wire_length,
        })
    }
}
