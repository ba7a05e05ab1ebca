//! Where a message's header fields end, and what Content-Length says.
//! In: bytes that begin with a start line. Out: lengths. Knows nothing of streams.
//! RFC 3261 section 7.5, 18.3 and 20.14.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use super::content::StartLine;

/// Finds a line end and an empty line; made once, since making it costs as much as a search. Without the CR in front: LF
/// and CR are side by side nowhere else, so that nothing is found in vain.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n\r\n"));

/// The part of a message before its body.
pub(crate) struct Head {
    /// Bytes to the end of the empty line.
    pub length: usize,
    /// What it says of the body.
    pub content_length: ContentLength,
}

/// The Content-Length header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentLength {
    Absent,
    /// It is no number.
    Unreadable,
    /// Saturated when it is too large for any machine.
    Bytes(usize),
}

/// The head of the message at the front of `bytes`; `None` while its empty line has not come.
pub(crate) fn head(bytes: &[u8], start_line: &StartLine) -> Option<Head> {
    // The empty line may follow the start line at once: then its CRLF is part of the pattern searched for.
    let from = start_line.end.checked_sub(if start_line.bare_lf { 1 } else { 2 })?;
    let searched = bytes.get(from..)?;
    let end_of_fields = if start_line.bare_lf { empty_line(searched)? } else { empty_crlf_line(searched)? };
    let length = from + end_of_fields;
    Some(Head {
        length,
        content_length: content_length(bytes.get(start_line.end..length).unwrap_or_default()),
    })
}

/// The end of the first empty line between lines that end with CRLF.
fn empty_crlf_line(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + HEAD_END.find(bytes.get(from..)?)?;
        if at.checked_sub(1).and_then(|before| bytes.get(before)) == Some(&b'\r') {
            return Some(at + 3);
        }
        from = at + 1;
    }
}

/// The end of the first empty line, whatever ends the lines.
fn empty_line(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        from += memchr(b'\n', bytes.get(from..)?)? + 1;
        match bytes.get(from..)? {
            [b'\n', ..] => return Some(from + 1),
            [b'\r', b'\n', ..] => return Some(from + 2),
            _ => {}
        }
    }
}

fn content_length(fields: &[u8]) -> ContentLength {
    last_content_length(fields).map_or_else(|| any_content_length(fields), ContentLength::Bytes)
}

/// Searched from the end, since most senders put it there.
fn any_content_length(fields: &[u8]) -> ContentLength {
    let mut rest = fields.strip_suffix(b"\r\n").unwrap_or(fields);
    while !rest.is_empty() {
        let line_start =
            rest.split_last().and_then(|(_, before)| memrchr(b'\n', before)).map_or(0, |newline| newline + 1);
        if let Some(value) = fields.get(line_start..).and_then(value_of_content_length) {
            return read_number(value);
        }
        rest = rest.get(..line_start).unwrap_or_default();
    }
    ContentLength::Absent
}

/// What the last field says, if it is Content-Length as most write it.
fn last_content_length(fields: &[u8]) -> Option<usize> {
    /// Of a length that is not too large for any machine.
    const MOST_DIGITS: usize = 9;
    let fields = fields.strip_suffix(b"\r\n\r\n")?;
    let last_other = fields.iter().rposition(|byte| !byte.is_ascii_digit())?;
    let (before, number) = fields.split_at_checked(last_other + 1)?;
    let is_length = (1..=MOST_DIGITS).contains(&number.len()) && before.ends_with(b"\nContent-Length: ");
    is_length.then(|| number.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

/// What stands behind the colon, if the line is a Content-Length in its long or compact form.
fn value_of_content_length(line: &[u8]) -> Option<&[u8]> {
    const LONG: &[u8] = b"Content-Length";
    let behind_name = match line.first()? {
        b'c' | b'C' => {
            let (name, rest) = line.split_at_checked(LONG.len())?;
            (name == LONG || name.eq_ignore_ascii_case(LONG)).then_some(rest)?
        }
        b'l' | b'L' => line.get(1..)?,
        _ => return None,
    };
    behind_name.trim_ascii_start().strip_prefix(b":")
}

/// The number at the front of a value that may be folded (RFC 3261 section 7.3.1).
fn read_number(value: &[u8]) -> ContentLength {
    let value = unfold(value);
    let digits = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    let (number, behind) = value.split_at(digits);
    if number.is_empty() || !matches!(behind.first(), None | Some(b'\r' | b'\n' | b' ' | b'\t')) {
        return ContentLength::Unreadable;
    }
    ContentLength::Bytes(
        number
            .iter()
            .fold(0_usize, |sum, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))),
    )
}

/// Takes white space off the front, and line ends that white space follows.
fn unfold(mut value: &[u8]) -> &[u8] {
    loop {
        value = match value {
            [b' ' | b'\t', rest @ ..] | [b'\n', rest @ ..] | [b'\r', rest @ ..]
                if matches!(value.first(), Some(b' ' | b'\t')) || folds(value) =>
            {
                rest
            }
            _ => return value,
        };
    }
}

/// A line end with white space behind it.
fn folds(value: &[u8]) -> bool {
    matches!(value, [b'\n', b' ' | b'\t', ..] | [b'\r', b'\n', b' ' | b'\t', ..])
}

#[cfg(test)]
mod tests {
    use super::ContentLength::{Absent, Bytes, Unreadable};
    use super::*;

    #[test]
    fn the_head_ends_with_the_first_empty_line_between_crlf() {
        let end = |text: &str| {
            let start_line = StartLine { end: text.find('\n').unwrap() + 1, bare_lf: false };
            head(text.as_bytes(), &start_line).map(|head| head.length)
        };
        assert_eq!(end("a\r\nb\r\n\r\nc\r\n\r\n"), Some(8));
        assert_eq!(end("a\r\n\r\nc"), Some(5));
        assert_eq!(end("a\r\nb\n\r\n\r\n"), Some(9));
        assert_eq!(end("a\r\nb\n\r\nc\r\n"), None);
        assert_eq!(end("a\r\nb\r\n\r"), None);
    }

    #[test]
    fn content_length_in_every_spelling() {
        let cases: &[(&str, ContentLength)] = &[
            ("Via: x\r\nContent-Length: 12\r\n\r\n", Bytes(12)),
            ("CONTENT-LENGTH:12\r\nVia: x\r\n\r\n", Bytes(12)),
            ("content-length \t : 12 \r\n\r\n", Bytes(12)),
            ("l: 12\r\n\r\n", Bytes(12)),
            ("L : 0012\r\n\r\n", Bytes(12)),
            ("Content-Length:\r\n  12\r\nVia: x\r\n\r\n", Bytes(12)),
            ("Content-Length: 12\n\n", Bytes(12)),
            ("Content-Length: 99999999999999999999999\r\n\r\n", Bytes(usize::MAX)),
            ("Content-Length: -1\r\n\r\n", Unreadable),
            ("Content-Length: 12x\r\n\r\n", Unreadable),
            ("Content-Length:\r\n\r\n", Unreadable),
            ("Content-Length:\r\nVia: x\r\n\r\n", Unreadable),
            ("Content-Lengths: 12\r\n\r\n", Absent),
            ("Content-Length: 12\r\n", Bytes(12)),
            ("Subject: x\r\n Content-Length: 12\r\n\r\n", Absent),
            ("Location: 12\r\n\r\n", Absent),
            ("\r\n", Absent),
            ("", Absent),
        ];
        for (fields, expected) in cases {
            assert_eq!(content_length(fields.as_bytes()), *expected, "{fields:?}");
        }
    }

    #[test]
    fn the_last_field_says_the_same_read_alone_and_among_all() {
        let ends = ["\r\n\r\n", "\n\r\n", "\r\n", "\r\n \r\n\r\n", " \r\n\r\n"];
        let values =
            ["0", "00", "7", "142", "999999999", "1000000000", "99999999999999999999", "", "-1", "1 2", "1x"];
        let mut seen = 0;
        for front in ["", "Via: x\r\n", "Via: x\n", "\r\n", "X: y\r\n ", "Content-Length: 9\r\n"] {
            for name in
                ["Content-Length: ", "Content-Length:", "content-length: ", "l: ", "XContent-Length: "]
            {
                for (value, end) in values.iter().flat_map(|value| ends.map(|end| (value, end))) {
                    let fields = format!("{front}{name}{value}{end}");
                    if let Some(length) = last_content_length(fields.as_bytes()) {
                        assert_eq!(any_content_length(fields.as_bytes()), Bytes(length), "{fields:?}");
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 10, "{seen}");
    }
}
