//! The scanner: where everything is in one message.
//! In: the bytes of one message. Out: `SipMessage`, which borrows them and the scanner's table. Knows
//! nothing of what the values mean, beyond the five fields that every message has.
//!
//! One pass over the header lines records where each field is and the shape of its name; which field it is, is told when
//! somebody asks for one. Nothing is copied; the table is used again, so scanning allocates only until it is as long as
//! the longest message needs.
//! RFC 3261 section 7, with the leniency that RFC 4475 and the wire ask for.

use memchr::{memchr, memrchr};

use super::headers::{NameAddr, Via, cseq};
use super::lex::{Values, find, is_space, is_token, line_end, trim, trim_end, trim_start};
use super::message::{SipMessage, StartLine};
use super::names::{Shape, Wanted};
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

/// Where a field is, and what its name looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    shape: Shape,
    begin: u32,
    colon: u32,
    end: u32,
}

impl Field {
    /// Whether it has this name.
    #[inline]
    pub(super) fn is(&self, name: &Wanted, bytes: &[u8]) -> bool {
        let begin = self.begin as usize;
        name.is(self.shape, || bytes.get(begin..begin + self.shape.length()).unwrap_or(b""))
    }

    /// The value without white space around it.
    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        trim(bytes.get(self.colon as usize + 1..self.end as usize).unwrap_or(b""))
    }

    /// Where the value begins.
    fn value_at(&self, bytes: &[u8]) -> usize {
        let value = bytes.get(self.colon as usize + 1..self.end as usize).unwrap_or(b"");
        self.end as usize - trim_start(value).len()
    }

    /// Which of the fields it is that every message has.
    fn required(&self, bytes: &[u8]) -> Option<HeaderName> {
        const REQUIRED: [HeaderName; 5] =
            [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];
        REQUIRED.into_iter().find(|name| self.is(name.wanted(), bytes))
    }
}

/// The fields that every message has, the first of each.
#[derive(Default)]
struct Required {
    call_id: Option<Field>,
    cseq: Option<Field>,
    from: Option<Field>,
    to: Option<Field>,
    via: Option<Field>,
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
    fn scan_fields(&mut self, bytes: &[u8], at: usize) -> Section {
        let mut rest = rest_of(bytes, at);
        if let Some(length) = empty_line(rest) {
            return Section { end: at + length, whole: true };
        }
        let mut left = self.max_fields;
        let mut searched = 0;
        while let Some(found) = line_end(rest_of(rest, searched)) {
            let length = searched + found + 1;
            let Some((field, behind)) = rest.split_at_checked(length) else {
                break;
            };
            // A field ends with the first line that no white space follows.
            if let Some(b' ' | b'\t') = behind.first() {
                searched = length;
                continue;
            }
            if left > 0 {
                left -= 1;
                self.record(field, bytes.len() - rest.len());
            }
            if let Some(length) = empty_line(behind) {
                return Section { end: bytes.len() - behind.len() + length, whole: true };
            }
            rest = behind;
            searched = 0;
        }
        Section { end: bytes.len(), whole: false }
    }

    /// Notes a field that begins at this place, unless it has no colon: then it says nothing.
    fn record(&mut self, field: &[u8], begin: usize) {
        let Some((name, _)) = find([b':'], field).and_then(|colon| field.split_at_checked(colon)) else {
            return;
        };
        // The message's length was checked to fit.
        self.fields.push(Field {
            shape: Shape::of(trim_end(name)),
            begin: begin as u32,
            colon: (begin + name.len()) as u32,
            end: (begin + field.len()) as u32,
        });
    }

    /// Checks the fields that every message has.
    fn message<'s>(
        &'s self,
        bytes: &'s [u8],
        start: StartLine<'s>,
        section: Section,
    ) -> Result<SipMessage<'s>, ScanError> {
        let mut required = Required::default();
        let mut further_vias = 0;
        for &field in &self.fields {
            let Some(name) = field.required(bytes) else {
                continue;
            };
            let first = match name {
                HeaderName::CallId => &mut required.call_id,
                HeaderName::CSeq => &mut required.cseq,
                HeaderName::From => &mut required.from,
                HeaderName::To => &mut required.to,
                _ => &mut required.via,
            };
            match first {
                None => *first = Some(field),
                Some(_) if name == HeaderName::Via => {
                    further_vias += readable_vias(Values::new(field.value(bytes)))
                }
                Some(first) if field.value(bytes) != first.value(bytes) => {
                    return Err(ScanError::Contradictory(name.text()));
                }
                Some(_) => {}
            }
        }
        let missing = |name: HeaderName| ScanError::Missing(name.text());
        let call_id = required.call_id.ok_or(missing(HeaderName::CallId))?;
        let cseq_at = required.cseq.ok_or(missing(HeaderName::CSeq))?;
        let from = required.from.ok_or(missing(HeaderName::From))?;
        let to = required.to.ok_or(missing(HeaderName::To))?;
        let via = required.via.ok_or(missing(HeaderName::Via))?;
        let malformed = |name: HeaderName, field: Field| ScanError::Malformed {
            name: name.text(),
            offset: field.value_at(bytes),
        };
        let call_id_text = call_id.value(bytes);
        if call_id_text.is_empty() {
            return Err(malformed(HeaderName::CallId, call_id));
        }
        let (number, cseq_method) =
            cseq(cseq_at.value(bytes)).ok_or_else(|| malformed(HeaderName::CSeq, cseq_at))?;
        if let StartLine::Request { method, .. } = start
            && method != cseq_method
        {
            return Err(ScanError::MethodMismatch { offset: cseq_at.value_at(bytes) });
        }
        let mut vias = Values::new(via.value(bytes));
        let top_via =
            vias.next().and_then(Via::parse_sent_by).ok_or_else(|| malformed(HeaderName::Via, via))?;
        let from = NameAddr::parse(from.value(bytes)).ok_or_else(|| malformed(HeaderName::From, from))?;
        let to = NameAddr::parse(to.value(bytes)).ok_or_else(|| malformed(HeaderName::To, to))?;
        Ok(SipMessage {
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
            top_branch: top_via.read_branch().unwrap_or(b""),
            via_count: 1 + readable_vias(vias) + further_vias,
            headers_are_whole: section.whole,
            rest: rest_of(bytes, section.end),
        })
    }
}

fn readable_vias(values: Values<'_>) -> usize {
    values.filter(|via| Via::parse_sent_by(via).is_some()).count()
}

/// Where the header section ends, and whether an empty line ends it.
#[derive(Clone, Copy)]
struct Section {
    end: usize,
    whole: bool,
}

/// The length of the empty line that these bytes begin with, if they do.
fn empty_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

fn rest_of(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or(b"")
}

const VERSION: &[u8] = b"SIP/2.0";

fn is_version(text: &[u8]) -> bool {
    text == VERSION || text.eq_ignore_ascii_case(VERSION)
}

/// Reads the first line, which stands at `offset` and has no white space behind it.
fn start_line(line: &[u8], offset: usize) -> Result<StartLine<'_>, ScanError> {
    let none = ScanError::StartLine { offset };
    let first_end = find([b' ', b'\t', b'\r'], line).ok_or(none)?;
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
