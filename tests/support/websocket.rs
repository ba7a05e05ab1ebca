//! WebSocket as a browser and a server speak it: handshake and frames.
//! In: a message's bytes. Out: the bytes of a TCP stream. Knows nothing of SIP, segments.
//! RFC 6455 section 1.2, 5.2, 5.7; RFC 7118 section 4.1.

use std::net::SocketAddr;

/// What a browser asks for.
pub fn request(server: SocketAddr) -> Vec<u8> {
    // The key, and the answer to it below, are the example of RFC 6455.
    format!(
        "GET / HTTP/1.1\r\nHost: {server}\r\nOrigin: http://www.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
    )
    .into_bytes()
}

/// What a server answers that compresses nothing.
pub fn response() -> Vec<u8> {
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
        .into()
}

/// A message over so many frames, with a ping behind each but the last. What a client sends is masked.
pub fn frames(message: &[u8], count: usize, binary: bool, from_client: bool) -> Vec<u8> {
    let pieces: Vec<_> = message.chunks(message.len().div_ceil(count.max(1)).max(1)).collect();
    let mut bytes = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let opcode = if index > 0 { 0 } else { 1 + u8::from(binary) };
        let is_last = index + 1 == pieces.len();
        frame(&mut bytes, opcode, is_last, from_client, piece);
        if !is_last {
            frame(&mut bytes, 9, true, from_client, b"still there?");
        }
    }
    bytes
}

fn frame(into: &mut Vec<u8>, opcode: u8, is_last: bool, from_client: bool, payload: &[u8]) {
    let mask = if from_client { 0x80 } else { 0 };
    into.push(opcode | if is_last { 0x80 } else { 0 });
    match payload.len() {
        length @ 0..=125 => into.push(mask | length as u8),
        length @ 126..=0xffff => {
            into.push(mask | 126);
            into.extend((length as u16).to_be_bytes());
        }
        length => {
            into.push(mask | 127);
            into.extend((length as u64).to_be_bytes());
        }
    }
    if from_client {
        // Another key for each frame, the same each time.
        let key = (into.len() as u32 ^ payload.len() as u32).wrapping_mul(0x9e37_79b1).to_be_bytes();
        into.extend(key);
        into.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        into.extend(payload);
    }
}
