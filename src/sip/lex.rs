//! The small words of SIP's grammar: white space, tokens, quoted strings, lists, numbers.
//! In: bytes of a value. Out: parts of them. Knows nothing of fields.
//! RFC 3261 section 25.1. White space may be a fold, so CR and LF count as such everywhere.

use wide::u8x16;

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

/// A bit for each byte of the piece that is one of these.
#[inline(always)]
fn places<const N: usize>(wanted: [u8; N], piece: [u8; 16]) -> u32 {
    let piece = u8x16::new(piece);
    let add = |all, &byte: &u8| all | piece.simd_eq(u8x16::splat(byte));
    wanted.iter().fold(u8x16::splat(0), add).to_bitmask()
}

/// Where the first of these bytes stands; none of them is a NUL. For what is near, as most things in a header field are:
/// sixteen bytes at a time, without what memchr needs to get going.
#[inline(always)]
pub(super) fn find<const N: usize>(wanted: [u8; N], text: &[u8]) -> Option<usize> {
    let (pieces, rest) = text.as_chunks();
    // Mostly it is in the first one.
    if let Some(piece) = pieces.first() {
        let found = places(wanted, *piece);
        if found != 0 {
            return Some(found.trailing_zeros() as usize);
        }
    }
    for (number, piece) in pieces.iter().enumerate().skip(1) {
        let found = places(wanted, *piece);
        if found != 0 {
            return Some(number * 16 + found.trailing_zeros() as usize);
        }
    }
    if rest.is_empty() {
        return None;
    }
    match text.last_chunk() {
        // It begins among bytes that were looked at already, and have none.
        Some(piece) => {
            let found = places(wanted, *piece);
            (found != 0).then(|| text.len() - 16 + found.trailing_zeros() as usize)
        }
        None => find_in_short(wanted, text),
    }
}

/// The same among fewer than sixteen bytes: the first eight and the last eight, which may overlap, are looked at together.
#[inline(always)]
fn find_in_short<const N: usize>(wanted: [u8; N], text: &[u8]) -> Option<usize> {
    let (half, piece) = if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (8, u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << 64)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (4, u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << 32)
    } else {
        return text.iter().position(|byte| wanted.contains(byte));
    };
    let found = places(wanted, piece.to_le_bytes());
    let at = found.trailing_zeros() as usize;
    (found != 0).then(|| if at < half { at } else { at + text.len() - 2 * half })
}

/// Where the line ends are, in their order: sixty-four bytes are looked at together.
pub(super) struct LineEnds<'a> {
    bytes: &'a [u8],
    /// Where the bytes are that `left` is of.
    at: usize,
    /// A bit for each line end among them that was not told yet.
    left: u64,
}

impl<'a> LineEnds<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, left: line_ends_at(bytes, 0) }
    }
}

impl Iterator for LineEnds<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            self.at += 64;
            if self.at >= self.bytes.len() {
                return None;
            }
            self.left = line_ends_at(self.bytes, self.at);
        }
        let found = self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        Some(self.at + found)
    }
}

/// A bit for each line end among the sixty-four bytes at `at`, or as many as there are.
#[inline]
fn line_ends_at(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or(b"");
    if let Some(block) = rest.first_chunk() {
        return line_ends_of(block);
    }
    if let Some(block) = bytes.last_chunk() {
        return line_ends_of(block).checked_shr(64 - rest.len() as u32).unwrap_or(0);
    }
    let mut padded = [0; 64];
    padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    line_ends_of(&padded)
}

#[inline(always)]
fn line_ends_of(block: &[u8; 64]) -> u64 {
    let pieces = block.as_chunks::<16>().0.iter().rev();
    pieces.fold(0, |ends, piece| ends << 16 | u64::from(places([b'\n'], *piece)))
}

/// Whether two names are the same but for their case. Nearly all are written alike, and equal bytes are found faster.
#[inline]
pub(super) fn is_name(found: &[u8], name: &[u8]) -> bool {
    found.len() == name.len() && (found == name || found.eq_ignore_ascii_case(name))
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
#[inline(always)]
pub(super) fn trim(text: &[u8]) -> &[u8] {
    if is_trimmed(text) { text } else { trim_end(trim_start(text)) }
}

/// Whether there is text without white space at either end, seen at a glance; if not, there may be all the same.
#[inline(always)]
pub(super) fn is_trimmed(text: &[u8]) -> bool {
    matches!(text, [first, .., last] if *first > b' ' && *last > b' ')
}

/// The text before and behind the byte at `at`.
#[inline]
pub(super) fn split_around(text: &[u8], at: usize) -> (&[u8], &[u8]) {
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, b""));
    (before, rest.get(1..).unwrap_or(b""))
}

/// The text before and behind the first `byte`.
#[inline]
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
        let found = if angles { find([separator, b'"', b'<'], rest) } else { find([separator, b'"'], rest) };
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
            // Most lists have but one value, without any comma.
            let comma = find([b','], self.rest).and_then(|_| find_outside_quotes(self.rest, b',', true));
            let (value, rest) = match comma {
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
    // More digits do not fit.
    const MOST: usize = 19;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    if text.len() <= MOST {
        return text.iter().try_fold(0, |number: u64, byte| Some(number.wrapping_mul(10) + digit(byte)?));
    }
    text.iter().try_fold(0, |number: u64, byte| Some(number.saturating_mul(10).saturating_add(digit(byte)?)))
}

/// The digits that a text begins with.
pub(super) fn leading_digits(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end).0
}

/// Texts of these pieces in any order, the same ones each time: so two ways of reading can be compared.
#[cfg(test)]
pub(super) fn jumbled(pieces: &[&str]) -> impl Iterator<Item = Vec<u8>> {
    let mut random = crate::base::Random::new(1);
    (0..40_000).map(move |_| {
        let mut below = |end: usize| (random.next() % end as u64) as usize;
        // Most begin as they should, and go wrong somewhere.
        let length = below(pieces.len() + 3);
        let mut text = Vec::new();
        for at in 0..length {
            let piece = if below(4) > 0 { at.min(pieces.len() - 1) } else { below(pieces.len()) };
            text.extend_from_slice(pieces[piece].as_bytes());
        }
        text
    })
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
            assert_eq!((find([b':', b';'], &text), LineEnds::new(&text).next()), (None, None));
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
                }
            }
        }
    }

    #[test]
    fn all_line_ends_are_told() {
        for length in 0..200 {
            for step in [1, 2, 3, 7, 31, 64, 65] {
                // Bytes that differ from a line end by one bit, and by one.
                let byte = |at: usize| if at % step == step - 1 { b'\n' } else { b"\x0b\x1a"[at % 2] };
                let text: Vec<u8> = (0..length).map(byte).collect();
                let expected: Vec<usize> = (step - 1..length).step_by(step).collect();
                assert_eq!(LineEnds::new(&text).collect::<Vec<_>>(), expected, "{length} {step}");
            }
        }
    }
}
