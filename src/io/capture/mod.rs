//! Capture files and standard input.
//! In: paths. Out: frames, and what happened to the capture, in the order of time. Knows nothing of what is in a frame.
//! pcap and pcapng: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>,
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>.

mod buffer;
mod error;
mod event_text;
mod filter;
mod merge;
mod pcapng;
mod reader;
mod source;
#[cfg(test)]
mod tests;

pub use error::{CaptureError, Compression, Place};
pub(in crate::io) use event_text::comment;
pub(in crate::io) use filter::{is_tagged, knows_tags};
pub use merge::MergedCapture;
pub use reader::{CaptureReader, Record};

use crate::base::CaptureEvent;
use crate::decode::Frame;

/// Something that was captured, in files or on interfaces.
#[derive(Clone, Debug)]
pub enum Captured<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// Something happened to the capture at one interface; files say so that `offhook tap` recorded.
    Event(CaptureEvent),
}

/// Longest record that is believed. Larger than any snapshot length in use: a length beyond it is damage.
const MAX_RECORD_BYTES: usize = 1 << 20;
