//! Bodies in several parts.
//! In: a Content-Type and a body. Out: the session description in it. Knows nothing of messages.
//! RFC 2046 section 5.1, RFC 5621.

use memchr::{memchr, memmem};

use super::lex::{split_once, trim, trim_end};
use super::{HeaderName, Params};

/// Parts inside parts that are followed.
const MAX_DEPTH: u8 = 3;
/// Parts of one body, all levels together, that are looked at.
const MAX_PARTS: u8 = 32;

/// The first `application/sdp`: the body itself or a part of it.
pub(super) fn find_sdp<'a>(content_type: &[u8], body: &'a [u8]) -> Option<&'a [u8]> {
    let mut parts_left = MAX_PARTS;
    find(content_type, body, MAX_DEPTH, &mut parts_left)
}

fn find<'a>(content_type: &[u8], body: &'a [u8], depth: u8, parts_left: &mut u8) -> Option<&'a [u8]> {
    let (kind, subtype) = media_type(content_type)?;
    if kind.eq_ignore_ascii_case(b"application") && subtype.eq_ignore_ascii_case(b"sdp") {
        return Some(body);
    }
    if !kind.eq_ignore_ascii_case(b"multipart") || depth == 0 {
        return None;
    }
    let boundary = Params::new(content_type).value(b"boundary")?;
    let mut rest = after_delimiter(body, boundary)?.1;
    while *parts_left > 0 {
        *parts_left -= 1;
        let (part, next) = match after_delimiter(rest, boundary) {
            Some((before, next)) => (before, next),
            None => (rest, &b""[..]),
        };
        let (fields, content) = split_part(part);
        let found = match fields.content_type {
            Some(inner) if !fields.encoded => find(inner, content, depth - 1, parts_left),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        if next.is_empty() {
            return None;
        }
        rest = next;
    }
    None
}

fn media_type(content_type: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = split_once(content_type, b';').map_or(content_type, |(before, _)| before);
    let (kind, subtype) = split_once(text, b'/')?;
    Some((trim(kind), trim(subtype)))
}

/// The text before the next delimiter line (without the line end that belongs to it) and the text
/// behind that line; empty behind the closing delimiter.
fn after_delimiter<'a>(text: &'a [u8], boundary: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let finder = memmem::Finder::new(boundary);
    let mut from = 0;
    loop {
        let at = from + finder.find(text.get(from..)?)?;
        from = at + 1;
        let Some(before) = text.get(..at).and_then(|before| before.strip_suffix(b"--")) else {
            continue;
        };
        if !matches!(before.last(), None | Some(b'\n')) {
            continue;
        }
        let behind = text.get(at + boundary.len()..)?;
        let line_end = memchr(b'\n', behind).unwrap_or(behind.len());
        let line = trim(behind.get(..line_end)?);
        let next = match line {
            b"" => behind.get(line_end + 1..).unwrap_or(b""),
            b"--" => b"",
            // A longer boundary that begins with this one.
            _ => continue,
        };
        let before = before.strip_suffix(b"\n").unwrap_or(before);
        return Some((before.strip_suffix(b"\r").unwrap_or(before), next));
    }
}

#[derive(Default)]
struct PartFields<'a> {
    content_type: Option<&'a [u8]>,
    encoded: bool,
}

/// The fields of a part that matter, and its content.
fn split_part(part: &[u8]) -> (PartFields<'_>, &[u8]) {
    let mut fields = PartFields::default();
    let mut rest = part;
    while !rest.is_empty() {
        let mut end = 0;
        loop {
            end += memchr(b'\n', rest.get(end..).unwrap_or(b"")).map_or(rest.len() - end, |at| at + 1);
            if end >= rest.len() || !matches!(rest.get(end), Some(b' ' | b'\t')) || is_empty_line(rest) {
                break;
            }
        }
        let (line, next) = rest.split_at_checked(end).unwrap_or((rest, b""));
        rest = next;
        if trim_end(line).is_empty() {
            break;
        }
        let Some((name, value)) = split_once(line, b':') else {
            continue;
        };
        let name = trim(name);
        if HeaderName::of(name) == HeaderName::ContentType {
            fields.content_type = fields.content_type.or(Some(trim(value)));
        } else if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
            let encoding = trim(value);
            fields.encoded = !["7bit", "8bit", "binary"]
                .iter()
                .any(|plain| encoding.eq_ignore_ascii_case(plain.as_bytes()));
        }
    }
    (fields, rest)
}

fn is_empty_line(text: &[u8]) -> bool {
    matches!(text, [b'\n', ..] | [b'\r', b'\n', ..])
}
