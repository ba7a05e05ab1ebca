//! The small words of SIP's grammar: white space, tokens, quoted strings, lists, numbers.
//! In: bytes of a value. Out: parts of them. Knows nothing of fields.
//! RFC 3261 section 25.1. White space may be a fold, so CR and LF count as such everywhere.

use memchr::{memchr2, memchr3};

/// SP, HTAB, and the CR and LF of a fold.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Which bytes are of a kind, as a table: looking one up is faster than asking what it is.
pub(super) const fn table(bytes: &[u8], letters_and_digits: bool) -> [bool; 256] {
    let mut of = [false; 256];
    let mut at = 0;
    while at < 256 {
        of[at] = letters_and_digits && (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    at = 0;
    while at < bytes.len() {
        of[bytes[at] as usize] = true;
        at += 1;
    }
    of
}

/// A byte of a `token`.
pub(super) const fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = table(b"-.!%*_+`'~", true);
    TOKEN[byte as usize]
}

/// Where the first of these bytes stands. For what is near, as most things in a header field are: eight bytes at a time,
/// without what memchr needs to get going.
#[inline(always)]
pub(super) fn find<const N: usize>(wanted: [u8; N], text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks();
    for (number, word) in words.iter().enumerate() {
        if let Some(found) = find_in_word(wanted, *word) {
            return Some(number * 8 + found);
        }
    }
    if rest.is_empty() {
        return None;
    }
    match text.last_chunk() {
        // It begins among bytes that were looked at already, and have none.
        Some(word) => find_in_word(wanted, *word).map(|found| text.len() - 8 + found),
        None => rest.iter().position(|byte| wanted.contains(byte)),
    }
}

/// Where the line ends. Lines are too long for [`find`] and too short for memchr.
#[inline]
pub(super) fn line_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    for chunk in text.as_chunks::<16>().0 {
        // Without a branch for each byte: the compiler makes three vector instructions of it.
        if chunk.iter().fold(false, |ends, byte| ends | (*byte == b'\n')) {
            break;
        }
        at += 16;
    }
    find([b'\n'], text.get(at..)?).map(|end| at + end)
}

#[inline(always)]
fn find_in_word<const N: usize>(wanted: [u8; N], word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    let word = u64::from_le_bytes(word);
    let mut found = 0;
    for byte in wanted {
        // Zero where the byte stands. Subtracting one from a zero byte sets its highest bit; a borrow may set further
        // ones, but only behind it.
        let differing = word ^ (ONES * u64::from(byte));
        found |= differing.wrapping_sub(ONES) & !differing & (ONES << 7);
    }
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// Without white space in front.
pub(super) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    text
}

/// Without white space behind.
pub(super) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// Without white space at either end.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// The text before and behind the byte at `at`.
pub(super) fn split_around(text: &[u8], at: usize) -> (&[u8], &[u8]) {
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, b""));
    (before, rest.get(1..).unwrap_or(b""))
}

/// The text before and behind the first `byte`.
pub(super) fn split_once(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    find([byte], text).map(|at| split_around(text, at))
}

/// Where the quoted string ends that begins with the `"` at `open`: the place of its closing `"`.
pub(super) fn closing_quote(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        let next = at + find([b'"', b'\\'], text.get(at..)?)?;
        match text.get(next)? {
            b'"' => return Some(next),
            _ => at = next + 2,
        }
    }
}

/// Where `separator` stands first outside quoted strings (and, if `angles`, outside `<…>`).
pub(super) fn find_outside_quotes(text: &[u8], separator: u8, angles: bool) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let found =
            if angles { memchr3(separator, b'"', b'<', rest) } else { memchr2(separator, b'"', rest) };
        let next = at + found?;
        match *text.get(next)? {
            found if found == separator => return Some(next),
            b'"' => at = closing_quote(text, next)? + 1,
            _ => at = next + find([b'>'], text.get(next..)?)? + 1,
        }
    }
}

/// What is between the quotes of a quoted string, its escapes as written; other text as it is.
pub(super) fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inside @ .., b'"'] => inside,
        _ => text,
    }
}

/// The values of a list: split at commas outside quotes and angle brackets, trimmed, empty ones left out.
#[derive(Clone, Debug)]
pub(super) struct Values<'a> {
    rest: &'a [u8],
}

impl<'a> Values<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (value, rest) = match find_outside_quotes(self.rest, b',', true) {
                Some(at) => split_around(self.rest, at),
                None => (self.rest, &b""[..]),
            };
            self.rest = rest;
            let value = trim(value);
            if !value.is_empty() {
                return Some(value);
            }
        }
        None
    }
}

/// A decimal number of digits alone; `None` for anything else and for one above `u32::MAX`.
pub(super) fn exact_u32(text: &[u8]) -> Option<u32> {
    digits(text).and_then(|number| u32::try_from(number).ok())
}

/// A port. RFC 3261 says 1*DIGIT: leading zeros are none of our business.
pub(super) fn port(text: &[u8]) -> Option<u16> {
    digits(text).and_then(|number| u16::try_from(number).ok())
}

/// Seconds (`delta-seconds`), saturating: RFC 3261 section 20.19 lets a recipient shorten what is too large.
pub(super) fn seconds(text: &[u8]) -> Option<u32> {
    digits(text).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// A decimal number of digits alone, saturating.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// The digits that a text begins with.
pub(super) fn leading_digits(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found_wherever_it_stands_and_whatever_stands_around_it() {
        for length in 0..40 {
            // Bytes that differ from the wanted ones by one bit, and by one.
            let text: Vec<u8> =
                b"\xba:<\xbb".iter().copied().cycle().filter(|byte| *byte != b':').take(length).collect();
            assert_eq!((find([b':', b';'], &text), line_end(&text)), (None, None));
            for at in 0..length {
                for byte in [b':', b';'] {
                    let mut text = text.clone();
                    text[at] = byte;
                    if let Some(behind) = text.get_mut(at + 1) {
                        *behind = byte - 1;
                    }
                    if let Some(last) = text.last_mut().filter(|_| at + 2 < length) {
                        *last = b';';
                    }
                    assert_eq!(find([b';', b':'], &text), Some(at), "{text:?}");
                    assert_eq!(find([b':', b';', b','], &text), Some(at), "{text:?}");
                    let ends = |byte: &u8| if matches!(byte, b':' | b';') { b'\n' } else { *byte };
                    assert_eq!(line_end(&text.iter().map(ends).collect::<Vec<_>>()), Some(at), "{text:?}");
                }
            }
        }
    }
}
