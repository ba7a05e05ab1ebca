//! The scanner: where everything is in one message.
//! In: the bytes of one message. Out: `SipMessage`, which borrows them and the scanner's table. Knows
//! nothing of what the values mean, beyond the five fields that every message has.
//!
//! One pass over the header lines records where each field is that has a known name, by its name. Nothing is copied; the
//! table is used again, so scanning allocates only until it is as long as the longest message needs.
//! RFC 3261 section 7, with the leniency that RFC 4475 and the wire ask for.

use memchr::{memchr, memrchr2};

use super::HeaderName;
use super::headers::{NameAddr, Via, cseq};
use super::lex::{LineEnds, Values, find, is_space, is_token, is_trimmed, trim, trim_end, trim_start};
use super::message::{SipMessage, StartLine};
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

/// Where a field's value is, white space around it included.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field {
    begin: u32,
    end: u32,
}

impl Field {
    /// The value without white space around it.
    #[inline]
    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match bytes.get(self.begin as usize..self.end as usize).unwrap_or(b"") {
            // Nearly all look so.
            [b' ', value @ .., b'\r', b'\n'] if is_trimmed(value) => value,
            value => trim(value),
        }
    }

    /// Where the value begins.
    fn value_at(&self, bytes: &[u8]) -> usize {
        let value = bytes.get(self.begin as usize..self.end as usize).unwrap_or(b"");
        self.end as usize - trim_start(value).len()
    }
}

/// The fields of one message that have a known name.
#[derive(Debug)]
pub(super) struct Fields {
    /// The first of each name, by name. One that begins at zero, where the start line is, is none.
    first: [Field; HeaderName::KNOWN],
    /// All others, in their order.
    further: Vec<(HeaderName, Field)>,
}

impl Fields {
    fn clear(&mut self) {
        self.first = [Field::default(); HeaderName::KNOWN];
        self.further.clear();
    }

    /// Adds a field, and gives the first of its name, if that is another one.
    #[inline(always)]
    fn add(&mut self, name: HeaderName, field: Field) -> Option<Field> {
        let first = self.first.get_mut(name as usize)?;
        if first.begin == 0 {
            *first = field;
            return None;
        }
        self.further.push((name, field));
        Some(*first)
    }

    /// The first of this name.
    #[inline]
    pub(super) fn first(&self, name: HeaderName) -> Option<Field> {
        self.first.get(name as usize).copied().filter(|field| field.begin != 0)
    }

    /// All of this name but the first, in their order.
    #[inline]
    fn further(&self, name: HeaderName) -> impl Iterator<Item = Field> + use<'_> {
        self.further.iter().filter(move |(of, _)| *of == name).map(|(_, field)| *field)
    }

    /// All of this name, in their order.
    #[inline]
    pub(super) fn named(&self, name: HeaderName) -> impl Iterator<Item = Field> + use<'_> {
        self.first(name).into_iter().chain(self.further(name))
    }
}

/// Scans one message at a time and lends its table to each.
#[derive(Debug)]
pub struct Scanner {
    fields: Fields,
    max_fields: usize,
    max_bytes: usize,
}

impl Scanner {
    /// Looks at so many header fields of a message as the limits say.
    pub fn new(limits: &Limits) -> Self {
        Self {
            fields: Fields { first: [Field::default(); HeaderName::KNOWN], further: Vec::with_capacity(16) },
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
        let mut line_ends = LineEnds::new(bytes);
        let line_end = line_ends.find(|&end| end > begin);
        let line = trim_end(bytes.get(begin..line_end.unwrap_or(bytes.len())).unwrap_or(b""));
        let start = start_line(line, begin)?;
        self.fields.clear();
        let section = match line_end {
            Some(end) => self.scan_fields(bytes, end + 1, line_ends)?,
            None => Section { end: bytes.len(), whole: false },
        };
        self.message(bytes, start, section)
    }

    /// Records the fields from `begin` up to the empty line or the end.
    fn scan_fields(
        &mut self,
        bytes: &[u8],
        mut begin: usize,
        line_ends: LineEnds<'_>,
    ) -> Result<Section, ScanError> {
        if let Some(length) = empty_line(rest_of(bytes, begin)) {
            return Ok(Section { end: begin + length, whole: true });
        }
        let mut left = self.max_fields;
        for line_end in line_ends {
            let end = line_end + 1;
            let next = bytes.get(end).copied().unwrap_or_default();
            // A field ends with the first line that no white space follows.
            if matches!(next, b' ' | b'\t') {
                continue;
            }
            if left > 0 {
                left -= 1;
                self.record(bytes, begin, end)?;
            }
            if next < b' '
                && let Some(length) = empty_line(rest_of(bytes, end))
            {
                return Ok(Section { end: end + length, whole: true });
            }
            begin = end;
        }
        Ok(Section { end: bytes.len(), whole: false })
    }

    /// Notes the field between these places, unless it has no colon: then it says nothing.
    #[inline]
    fn record(&mut self, bytes: &[u8], begin: usize, end: usize) -> Result<(), ScanError> {
        let Some((field, colon)) =
            bytes.get(begin..end).and_then(|field| Some((field, find([b':'], field)?)))
        else {
            return Ok(());
        };
        let length = match field.get(colon.wrapping_sub(1)) {
            // Hardly anybody writes white space before the colon.
            Some(last) if *last > b' ' => colon,
            _ => trim_end(field.get(..colon).unwrap_or(b"")).len(),
        };
        let name = HeaderName::at_front(field, length);
        // The message's length was checked to fit.
        let field = Field { begin: (begin + colon + 1) as u32, end: end as u32 };
        match self.fields.add(name, field) {
            Some(first) if is_single(name) && first.value(bytes) != field.value(bytes) => {
                Err(ScanError::Contradictory(name.text()))
            }
            _ => Ok(()),
        }
    }

    /// Checks the fields that every message has.
    fn message<'s>(
        &'s self,
        bytes: &'s [u8],
        start: StartLine<'s>,
        section: Section,
    ) -> Result<SipMessage<'s>, ScanError> {
        let missing = |name: HeaderName| ScanError::Missing(name.text());
        let required = |name| self.fields.first(name).ok_or(missing(name));
        let call_id = required(HeaderName::CallId)?;
        let cseq_at = required(HeaderName::CSeq)?;
        let from = required(HeaderName::From)?;
        let to = required(HeaderName::To)?;
        let via = required(HeaderName::Via)?;
        let malformed = |name: HeaderName, field: Field| ScanError::Malformed {
            name: name.text(),
            offset: field.value_at(bytes),
        };
        let call_id_text = call_id.value(bytes);
        if call_id_text.is_empty() {
            return Err(malformed(HeaderName::CallId, call_id));
        }
        let (cseq, cseq_method) =
            cseq(cseq_at.value(bytes)).ok_or_else(|| malformed(HeaderName::CSeq, cseq_at))?;
        if let StartLine::Request { method, .. } = start
            && method != cseq_method
        {
            return Err(ScanError::MethodMismatch { offset: cseq_at.value_at(bytes) });
        }
        let mut vias = Values::new(via.value(bytes));
        let top_via =
            vias.next().and_then(Via::parse_sent_by).ok_or_else(|| malformed(HeaderName::Via, via))?;
        let further_vias = self.fields.further(HeaderName::Via);
        let further_vias =
            further_vias.map(|via| readable_vias(Values::new(via.value(bytes)))).sum::<usize>();
        let from = NameAddr::parse(from.value(bytes)).ok_or_else(|| malformed(HeaderName::From, from))?;
        let to = NameAddr::parse(to.value(bytes)).ok_or_else(|| malformed(HeaderName::To, to))?;
        Ok(SipMessage {
            bytes,
            fields: &self.fields,
            start,
            call_id: call_id_text,
            cseq,
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

/// Whether a field of this name may stand but once. Of Via the further ones are those of the hops before.
const fn is_single(name: HeaderName) -> bool {
    matches!(name, HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq)
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
    let at = |part: &[u8]| offset + (line.len() - part.len());
    let status_line = |rest| status(rest).ok_or(ScanError::Status { offset: at(rest) });
    // Nearly all status lines begin so.
    if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
        return status_line(trim_start(rest));
    }
    let first_end = find([b' ', b'\t', b'\r'], line).ok_or(none)?;
    let (first, rest) = line.split_at_checked(first_end).ok_or(none)?;
    let rest = trim_start(rest);
    if is_version(first) {
        return status_line(rest);
    }
    if first.is_empty() || !first.iter().all(|&byte| is_token(byte)) {
        return Err(none);
    }
    // Nearly all end so; what is left is all the URI, but for white space.
    if let Some(uri) = rest.strip_suffix(b" SIP/2.0") {
        return request(first, uri).ok_or(none);
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
    request(first, uri).ok_or(none)
}

/// The status and its reason, behind the version.
fn status(text: &[u8]) -> Option<StartLine<'_>> {
    let ([hundreds @ b'1'..=b'6', tens @ b'0'..=b'9', units @ b'0'..=b'9'], reason) =
        text.split_first_chunk()?
    else {
        return None;
    };
    if reason.first().is_some_and(|&byte| !is_space(byte)) {
        return None;
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(units);
    Some(StartLine::Status { status, reason: trim(reason) })
}

fn request<'a>(method: &'a [u8], uri: &'a [u8]) -> Option<StartLine<'a>> {
    let uri = trim_end(uri);
    // RFC 4475 section 3.1.2.7: some enclose the Request-URI.
    let uri = match uri {
        [b'<', inside @ .., b'>'] => trim(inside),
        _ => uri,
    };
    (!uri.is_empty()).then_some(StartLine::Request { method, uri })
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
            memrchr2(b' ', b'\t', line).is_some_and(|at| is_version(rest_of(line, at + 1)))
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
