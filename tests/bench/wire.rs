//! As little of SIP as takes an answer: lines are found and copied.
//! In: messages. Out: their answers, the fields asked for. Knows nothing of transactions, of presence, of sockets.

/// The lines of the head, each with its line break.
fn head(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut begin = 0;
    memchr::memchr_iter(b'\n', message).map_while(move |end| {
        let line = message.get(begin..=end)?;
        begin = end + 1;
        (line != b"\r\n").then_some(line)
    })
}

/// The value of a header field that begins a line with this, such as `Call-ID: `.
pub fn field<'a>(message: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head(message).find_map(|line| line.strip_prefix(name)).map(<[u8]>::trim_ascii)
}

/// What comes after the head.
pub fn body(message: &[u8]) -> &[u8] {
    message.get(head(message).map(<[u8]>::len).sum::<usize>() + 2..).unwrap_or_default()
}

/// Copies the lines that begin with one of these.
pub fn copy(message: &[u8], names: &[&[u8]], out: &mut Vec<u8>) {
    for line in head(message).filter(|line| names.iter().any(|name| line.starts_with(name))) {
        out.extend_from_slice(line);
    }
}

/// Writes the 200 to a request: its Via, From, To, Call-ID and CSeq, its Expires if there is one, and `more` lines.
pub fn answer(request: &[u8], more: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(b"SIP/2.0 200 OK\r\n");
    copy(request, &[b"Via: ", b"From: ", b"To: ", b"Call-ID: ", b"CSeq: ", b"Expires: "], out);
    out.extend_from_slice(more);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// What a PUBLISH is answered with besides: an entity-tag, always the same.
pub const ENTITY_TAG: &[u8] = b"SIP-ETag: 1\r\n";
