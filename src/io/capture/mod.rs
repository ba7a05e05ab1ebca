//! Capture files and standard input.
//! In: paths. Out: `Frame`, in the order of time. Knows nothing of what is in a frame.
//! pcap and pcapng: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>,
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>.

mod buffer;
mod error;
mod filter;
mod merge;
mod pcapng;
mod reader;
mod source;
#[cfg(test)]
mod tests;

pub use error::{CaptureError, Compression, Place};
pub use merge::MergedCapture;
pub use reader::{CaptureReader, Record};

/// Longest record that is believed. Larger than any snapshot length in use: a length beyond it is damage.
const MAX_RECORD_BYTES: usize = 1 << 20;
