//! The scanner: where everything is in one message.
//! In: the bytes of one message. Out: `SipMessage`, which borrows them and the scanner's table. Knows
//! nothing of what the values mean, beyond the five fields that every message has.
//!
//! One pass over the header lines, driven by memchr, records which field is where. Nothing is copied;
//! the table is used again, so scanning allocates only until it is as long as the longest message needs.
//! RFC 3261 section 7, with the leniency that RFC 4475 and the wire ask for.

use memchr::{memchr, memrchr};

use super::headers::{NameAddr, Via, cseq};
use super::lex::{Values, is_space, is_token, trim, trim_end, trim_start};
use super::message::{SipMessage, StartLine};
use super::{CSeq, HeaderName, Method};
use crate::base::Limits;

/// Why bytes are not a SIP message that can be believed. Offsets are in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Nothing, or line ends only: a keep-alive.
    #[error("no message, only line ends")]
    Empty,
    /// Longer than is held.
    #[error("the message has {0} bytes, more than are held")]
    TooLong(usize),
    /// Neither a request line nor a status line.
    #[error("no request line and no status line at byte {offset}")]
    StartLine {
        /// Where the line begins.
        offset: usize,
    },
    /// The SIP version is not 2.0.
    #[error("the protocol version at byte {offset} is not SIP/2.0")]
    Version {
        /// Where the version is.
        offset: usize,
    },
    /// The status is not a number from 100 to 699.
    #[error("the status at byte {offset} is not a number from 100 to 699")]
    Status {
        /// Where the status is.
        offset: usize,
    },
    /// A field that every message has is not there, or only in a line that was cut.
    #[error("no {0} field")]
    Missing(&'static str),
    /// A field that may stand but once stands twice and differs (RFC 4475 section 3.3.8): whom to
    /// believe is anybody's guess.
    #[error("two {0} fields that differ")]
    Contradictory(&'static str),
    /// A field that every message has cannot be read.
    #[error("the {name} field at byte {offset} cannot be read")]
    Malformed {
        /// The field's name.
        name: &'static str,
        /// Where its value begins.
        offset: usize,
    },
    /// The CSeq names another method than the request line.
    #[error("the CSeq at byte {offset} names another method than the request line")]
    MethodMismatch {
        /// Where the CSeq value begins.
        offset: usize,
    },
}

/// Which field, and where its trimmed value is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: HeaderName,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Field {
    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or(b"")
    }
}

/// Scans one message at a time and lends its table to each.
#[derive(Debug)]
pub struct Scanner {
    fields: Vec<Field>,
    max_fields: usize,
    max_bytes: usize,
}

impl Scanner {
    /// Looks at so many header fields of a message as the limits say.
    pub fn new(limits: &Limits) -> Self {
        Self {
            fields: Vec::with_capacity(limits.message_headers.min(64)),
            max_fields: limits.message_headers,
            max_bytes: limits.message_bytes.min(u32::MAX as usize),
        }
    }

    /// Finds everything in one message. Line ends before it are skipped.
    ///
    /// # Errors
    /// When it has no start line, or when Call-ID, CSeq, From, To or the first Via is missing or broken:
    /// nothing could be told about such a message. All else is left to who asks for it.
    pub fn scan<'s>(&'s mut self, bytes: &'s [u8]) -> Result<SipMessage<'s>, ScanError> {
        if bytes.len() > self.max_bytes {
            return Err(ScanError::TooLong(bytes.len()));
        }
        let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(ScanError::Empty)?;
        let line_end = memchr(b'\n', rest_of(bytes, begin)).map(|at| begin + at);
        let line = trim_end(bytes.get(begin..line_end.unwrap_or(bytes.len())).unwrap_or(b""));
        let start = start_line(line, begin)?;
        self.fields.clear();
        let section = match line_end {
            Some(end) => self.scan_fields(bytes, end + 1),
            None => Section { end: bytes.len(), whole: false },
        };
        self.message(bytes, start, section)
    }

    /// Records the fields from `at` up to the empty line or the end.
    fn scan_fields(&mut self, bytes: &[u8], mut at: usize) -> Section {
        let mut seen = 0;
        loop {
            match rest_of(bytes, at) {
                [b'\n', ..] => {
                    return Section { end: at + 1, whole: true };
                }
                [b'\r', b'\n', ..] => {
                    return Section { end: at + 2, whole: true };
                }
                _ => {}
            }
            // A field ends with the first line that no white space follows. (memchr finds line ends:
            // lines are long enough for it to pay.)
            let line = at;
            let mut search = at;
            let end = loop {
                let Some(found) = memchr(b'\n', rest_of(bytes, search)) else {
                    return Section { end: bytes.len(), whole: false };
                };
                search += found + 1;
                if !matches!(bytes.get(search), Some(b' ' | b'\t')) {
                    break search;
                }
            };
            at = end;
            if seen < self.max_fields {
                seen += 1;
                self.record(bytes, line, end);
            }
        }
    }

    fn record(&mut self, bytes: &[u8], line: usize, end: usize) {
        let text = bytes.get(line..end).unwrap_or(b"");
        // A line without a colon says nothing; neither does one that begins with white space, which
        // can only be the first.
        // Names are too short for memchr to pay.
        let Some(colon) = text.iter().position(|&byte| byte == b':') else {
            return;
        };
        let name = HeaderName::of(trim_end(text.get(..colon).unwrap_or(b"")));
        if name == HeaderName::Other {
            return;
        }
        let value = text.get(colon + 1..).unwrap_or(b"");
        let from_value = trim_start(value);
        let start = end - from_value.len();
        let length = trim_end(from_value).len();
        // The message's length was checked to fit.
        self.fields.push(Field { name, start: start as u32, end: (start + length) as u32 });
    }

    /// Checks the fields that every message has.
    fn message<'s>(
        &'s self,
        bytes: &'s [u8],
        start: StartLine<'s>,
        section: Section,
    ) -> Result<SipMessage<'s>, ScanError> {
        const ABSENT: Field = Field { name: HeaderName::Other, start: 0, end: 0 };
        let (mut call_id, mut cseq_at, mut from, mut to, mut via) = (ABSENT, ABSENT, ABSENT, ABSENT, ABSENT);
        for &field in &self.fields {
            let first = match field.name {
                HeaderName::CallId => &mut call_id,
                HeaderName::CSeq => &mut cseq_at,
                HeaderName::From => &mut from,
                HeaderName::To => &mut to,
                HeaderName::Via => &mut via,
                _ => continue,
            };
            if first.name == HeaderName::Other {
                *first = field;
            } else if field.name != HeaderName::Via && field.value(bytes) != first.value(bytes) {
                return Err(ScanError::Contradictory(field.name.text()));
            }
        }
        let required = [
            (call_id, HeaderName::CallId),
            (cseq_at, HeaderName::CSeq),
            (from, HeaderName::From),
            (to, HeaderName::To),
            (via, HeaderName::Via),
        ];
        for (field, name) in required {
            if field.name == HeaderName::Other {
                return Err(ScanError::Missing(name.text()));
            }
        }
        let malformed =
            |field: Field| ScanError::Malformed { name: field.name.text(), offset: field.start as usize };
        let call_id_text = call_id.value(bytes);
        if call_id_text.is_empty() {
            return Err(malformed(call_id));
        }
        let (number, cseq_method) = cseq(cseq_at.value(bytes)).ok_or_else(|| malformed(cseq_at))?;
        if let StartLine::Request { method, .. } = start
            && method != cseq_method
        {
            return Err(ScanError::MethodMismatch { offset: cseq_at.start as usize });
        }
        let top_via =
            Values::new(via.value(bytes)).next().and_then(Via::parse).ok_or_else(|| malformed(via))?;
        let from = NameAddr::parse(from.value(bytes)).ok_or_else(|| malformed(from))?;
        let to = NameAddr::parse(to.value(bytes)).ok_or_else(|| malformed(to))?;
        let mut message = SipMessage {
            bytes,
            fields: &self.fields,
            start,
            call_id: call_id_text,
            cseq: CSeq { number, method: Method::of(cseq_method) },
            cseq_method,
            from,
            from_tag: from.tag(),
            to,
            to_tag: to.tag(),
            top_via,
            via_count: 0,
            headers_are_whole: section.whole,
            rest: rest_of(bytes, section.end),
        };
        // The first was read already.
        message.via_count =
            1 + message.values(HeaderName::Via).skip(1).filter(|via| Via::is_readable(via)).count();
        Ok(message)
    }
}

/// Where the header section ends, and whether an empty line ends it.
#[derive(Clone, Copy)]
struct Section {
    end: usize,
    whole: bool,
}

fn rest_of(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or(b"")
}

const VERSION: &[u8] = b"SIP/2.0";

fn is_version(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(VERSION)
}

/// Reads the first line, which stands at `offset` and has no white space behind it.
fn start_line(line: &[u8], offset: usize) -> Result<StartLine<'_>, ScanError> {
    let none = ScanError::StartLine { offset };
    let first_end = line.iter().position(|&byte| is_space(byte)).ok_or(none)?;
    let (first, rest) = line.split_at_checked(first_end).ok_or(none)?;
    let rest = trim_start(rest);
    let at = |part: &[u8]| offset + (line.len() - part.len());
    if is_version(first) {
        let status_end = rest.iter().position(|&byte| is_space(byte)).unwrap_or(rest.len());
        let (status, reason) = rest.split_at_checked(status_end).ok_or(none)?;
        return match *status {
            [hundreds @ b'1'..=b'6', tens @ b'0'..=b'9', units @ b'0'..=b'9'] => {
                let digit = |byte: u8| u16::from(byte - b'0');
                Ok(StartLine::Status {
                    status: digit(hundreds) * 100 + digit(tens) * 10 + digit(units),
                    reason: trim(reason),
                })
            }
            _ => Err(ScanError::Status { offset: at(rest) }),
        };
    }
    if first.is_empty() || !first.iter().all(|&byte| is_token(byte)) {
        return Err(none);
    }
    let version_at = rest.iter().rposition(|&byte| is_space(byte)).ok_or(none)?;
    let (uri, version) = rest.split_at_checked(version_at).ok_or(none)?;
    let version = trim_start(version);
    if !is_version(version) {
        let starts_like_one = version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
        return Err(match starts_like_one {
            true => ScanError::Version { offset: at(version) },
            false => none,
        });
    }
    let uri = trim_end(uri);
    // RFC 4475 section 3.1.2.7: some enclose the Request-URI.
    let uri = match uri {
        [b'<', inside @ .., b'>'] => trim(inside),
        _ => uri,
    };
    if uri.is_empty() {
        return Err(none);
    }
    Ok(StartLine::Request { method: first, uri })
}

/// Longest method that is believed at first glance; registered ones have up to nine letters.
const GLANCE_METHOD: usize = 80;
/// How much of a first line is looked at.
const GLANCE_LINE: usize = 8_192;

/// Could these bytes begin with a SIP message? Cheap, for packets on any port: a status line, or a
/// request line that ends in `SIP/2.0`, or, where the line is cut, one that begins with a method in
/// capitals and a sip, sips or tel URI. Line ends in front are skipped.
pub fn looks_like_sip(bytes: &[u8]) -> bool {
    let Some(begin) = bytes.iter().take(64).position(|byte| !matches!(byte, b'\r' | b'\n')) else {
        return false;
    };
    let bytes = rest_of(bytes, begin);
    if let Some(start) = bytes.get(..VERSION.len() + 1)
        && is_version(start.get(..VERSION.len()).unwrap_or(b""))
    {
        return start.last().is_some_and(|&byte| is_space(byte));
    }
    let Some(method_length) = bytes.iter().take(GLANCE_METHOD + 1).position(|&byte| !is_token(byte)) else {
        return false;
    };
    let (method, rest) = bytes.split_at_checked(method_length).unwrap_or((b"", b""));
    if method.is_empty() || !matches!(rest.first(), Some(b' ' | b'\t')) {
        return false;
    }
    let glance = rest.get(..GLANCE_LINE).unwrap_or(rest);
    match memchr(b'\n', glance) {
        Some(end) => {
            let line = trim_end(glance.get(..end).unwrap_or(b""));
            memrchr(b' ', line).is_some_and(|at| is_version(rest_of(line, at + 1)))
        }
        None => {
            let uri = trim_start(rest);
            method.iter().all(u8::is_ascii_uppercase)
                && [&b"sip:"[..], b"sips:", b"tel:"].iter().any(|scheme| {
                    uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
                })
        }
    }
}
