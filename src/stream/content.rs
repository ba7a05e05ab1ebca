//! Does this begin like SIP? A cheap first look that refuses media, TLS, HTTP and RTSP.
//! In: bytes. Out: yes, no, or not known yet. Knows nothing of streams.
//! RFC 3261 section 7.1 and 7.2; any token is a method.

use memchr::{memchr, memrchr};

/// Longest start line that is waited for.
pub(super) const MAX_START_LINE: usize = 8_192;

/// Longest method that is waited for. Longer ones are taken when they come with the rest of their line.
const MAX_AWAITED_METHOD: usize = 64;

const VERSION: &[u8] = b"SIP/2.0";

/// RFC 3261, 3262, 3311, 3428, 3515, 3903, 6086 and 6665.
const METHODS: [&[u8]; 14] = [
    b"INVITE",
    b"ACK",
    b"BYE",
    b"CANCEL",
    b"REGISTER",
    b"OPTIONS",
    b"SUBSCRIBE",
    b"NOTIFY",
    b"PUBLISH",
    b"MESSAGE",
    b"INFO",
    b"UPDATE",
    b"PRACK",
    b"REFER",
];

/// What the bytes begin with.
pub(crate) enum Start {
    /// A whole SIP start line.
    Message(StartLine),
    /// Something that may become one.
    Undecided,
    /// Something else.
    Other,
}

/// A start line that was found.
pub(crate) struct StartLine {
    /// Where the header fields begin.
    pub end: usize,
    /// Lines end with LF alone.
    pub bare_lf: bool,
}

/// How many bytes at the front are keep-alives: empty lines, and the NULs that some phones send.
#[inline]
pub(crate) fn keep_alive(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | 0)).unwrap_or(bytes.len())
}

/// Looks at the front of `bytes`, of which [`keep_alive`] was taken off.
#[inline]
pub(crate) fn start(bytes: &[u8]) -> Start {
    // Media, TLS and most else ends here: their first byte is in no method.
    if bytes.first().is_none_or(|&first| is_token(first)) { start_of_token(bytes) } else { Start::Other }
}

fn start_of_token(bytes: &[u8]) -> Start {
    let looked_at = bytes.get(..MAX_START_LINE).unwrap_or(bytes);
    let Some(newline) = memchr(b'\n', looked_at) else {
        return if bytes.len() < MAX_START_LINE && may_become_start_line(bytes) {
            Start::Undecided
        } else {
            Start::Other
        };
    };
    let line = looked_at.get(..newline).unwrap_or_default();
    if is_status_line(line) || is_request_line(line.trim_ascii_end()) {
        Start::Message(StartLine { end: newline + 1, bare_lf: line.last() != Some(&b'\r') })
    } else {
        Start::Other
    }
}

/// Whether a start line begins so that nothing can be missing before it: any token is a method, also the rest of one.
pub(super) fn begins_surely(start_line: &[u8]) -> bool {
    let first = start_line.split(|&byte| byte == b' ').next().unwrap_or_default();
    first == VERSION || METHODS.contains(&first)
}

/// Whether what follows a start line can be a header field or the end of them. HTTP answers that carry the
/// words `SIP/2.0 200` are known by this.
pub(super) fn continues_as_header(behind_start_line: &[u8]) -> bool {
    let name_length =
        behind_start_line.iter().position(|&byte| !is_token(byte)).unwrap_or(behind_start_line.len());
    match behind_start_line.get(name_length) {
        None => true,
        Some(b'\r' | b'\n') => name_length == 0,
        Some(b':' | b' ' | b'\t') => name_length > 0,
        Some(_) => false,
    }
}

/// What there is up to the last line end behind which the line is not known to go on.
pub(super) fn complete_lines(mut bytes: &[u8]) -> &[u8] {
    loop {
        let end = memrchr(b'\n', bytes).map_or(0, |newline| newline + 1);
        let (lines, rest) = bytes.split_at_checked(end).unwrap_or_default();
        match rest.first() {
            Some(b' ' | b'\t') => bytes = lines.strip_suffix(b"\n").unwrap_or_default(),
            _ => return lines,
        }
    }
}

/// Where the first start line in the middle of a stream is, or from where on one may be unfinished. What
/// is searched may begin anywhere in a message, but also at the front of one.
pub(super) fn find_start(bytes: &[u8]) -> Found {
    let mut line_start = 0;
    while let Some(rest) = bytes.get(line_start..) {
        // As they are before any message, wherever the bytes were cut.
        let keep_alive = keep_alive(rest);
        line_start += keep_alive;
        let rest = rest.get(keep_alive..).unwrap_or_default();
        match start(rest) {
            Start::Message(_) => return Found::At(line_start),
            Start::Undecided => return Found::NotBefore(line_start),
            Start::Other => match memchr(b'\n', rest) {
                Some(newline) => line_start += newline + 1,
                None => return Found::BehindThisLine,
            },
        }
    }
    Found::NotBefore(bytes.len())
}

/// What [`find_start`] found.
pub(super) enum Found {
    At(usize),
    NotBefore(usize),
    /// All of it, and what comes next goes on in a line that is none.
    BehindThisLine,
}

/// `Method SP Request-URI SP SIP-Version`.
fn is_request_line(line: &[u8]) -> bool {
    let Some((before, version)) = line.split_last_chunk::<7>() else {
        return false;
    };
    if version != VERSION && !version.eq_ignore_ascii_case(VERSION) {
        return false;
    }
    let method = before.iter().position(|&byte| !is_token(byte)).unwrap_or(before.len());
    let behind = before.get(method..).unwrap_or_default();
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    method > 0 && is_space(behind.first()) && is_space(behind.last()) && !behind.trim_ascii().is_empty()
}

/// `SIP-Version SP Status-Code SP Reason-Phrase`, also without the last space.
fn is_status_line(line: &[u8]) -> bool {
    let Some((version, rest)) = line.split_first_chunk::<7>() else {
        return false;
    };
    let [b' ', a, b, c, behind @ ..] = rest else {
        return false;
    };
    (version == VERSION || version.eq_ignore_ascii_case(VERSION))
        && [a, b, c].into_iter().all(u8::is_ascii_digit)
        && behind.first().is_none_or(|next| !next.is_ascii_digit())
}

/// Whether a line whose end has not come may still be a start line.
pub(super) fn may_become_start_line(bytes: &[u8]) -> bool {
    let compared = bytes.len().min(VERSION.len());
    if bytes.get(..compared).is_some_and(|front| {
        VERSION.get(..compared).is_some_and(|version| front.eq_ignore_ascii_case(version))
    }) {
        return true;
    }
    let method = bytes.iter().take_while(|&&byte| is_token(byte)).count();
    match bytes.get(method..) {
        None | Some([]) => method <= MAX_AWAITED_METHOD,
        Some([b' ' | b'\t']) => true,
        // No SIP-URI begins with a slash or an asterisk, and most of HTTP's targets do.
        Some([b' ' | b'\t', next, ..]) => !matches!(next, b'/' | b'*'),
        Some(_) => false,
    }
}

/// RFC 3261 section 25.1. A table, since it is asked of many bytes.
const fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0_u8;
        while byte < 0x80 {
            table[byte as usize] = matches!(byte,
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
                | b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
            byte += 1;
        }
        table
    };
    TOKEN[byte as usize]
}
