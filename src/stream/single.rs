//! What carries one message or none: a datagram, a WebSocket message, an SCTP user message.
//! In: its bytes. Out: those of the SIP message. Knows nothing of frames, chunks, streams.
//! RFC 3261 section 18.3, RFC 7118 section 4.2, RFC 4168 section 5.

use crate::base::{Oddities, Oddity};

use super::content::{self, Start, StartLine};
use super::framing::{self, ContentLength};

/// The message, and whether that is all of it. What is behind its Content-Length is no part of it. `whole`: nothing is
/// missing at the end of `bytes`.
#[inline]
pub(super) fn message<'a>(
    bytes: &'a [u8],
    whole: bool,
    message_bytes: usize,
    oddities: &mut Oddities,
) -> Option<(&'a [u8], bool)> {
    let bytes = bytes.get(content::keep_alive(bytes)..).unwrap_or_default();
    match content::start(bytes) {
        Start::Message(start_line) => framed(bytes, &start_line, whole, message_bytes, oddities),
        Start::Undecided | Start::Other => None,
    }
}

fn framed<'a>(
    bytes: &'a [u8],
    start_line: &StartLine,
    whole: bool,
    message_bytes: usize,
    oddities: &mut Oddities,
) -> Option<(&'a [u8], bool)> {
    let (bytes, whole) = match framing::head(bytes, start_line) {
        // The empty line is missing, so header fields may be. Half a field would say something else than
        // the whole.
        None if whole => {
            oddities.note(Oddity::MessageCut);
            (bytes, false)
        }
        None => (content::complete_lines(bytes), false),
        Some(head) => match head.content_length {
            ContentLength::Absent => (bytes, whole),
            ContentLength::Unreadable => {
                oddities.note(Oddity::ContentLength);
                (bytes, whole)
            }
            ContentLength::Bytes(length) => {
                let length = head.length.saturating_add(length);
                match bytes.get(..length) {
                    Some(message) => (message, true),
                    None => {
                        if whole {
                            oddities.note(Oddity::ContentLength);
                        }
                        (bytes, false)
                    }
                }
            }
        },
    };
    if bytes.len() > message_bytes {
        oddities.note(Oddity::MessageTooLong);
        return None;
    }
    Some((bytes, whole))
}

/// Whether these bytes begin a message, and all its header fields are there.
pub(super) fn has_head(bytes: &[u8]) -> bool {
    let bytes = bytes.get(content::keep_alive(bytes)..).unwrap_or_default();
    match content::start(bytes) {
        Start::Message(start_line) => framing::head(bytes, &start_line).is_some(),
        Start::Undecided | Start::Other => false,
    }
}
