//! SCTP: the packets of an association.
//! In: chunks. Out: the bytes behind an IP header. Knows nothing of SIP, of time.
//! RFC 9260 section 3 and appendix A; RFC 4168.

use std::net::SocketAddr;

/// One direction of an association.
#[derive(Default)]
pub struct Direction {
    /// What the receiver has itself called by.
    pub verification_tag: u32,
    /// Number of the next DATA chunk.
    pub next: u32,
    /// Number of the next message.
    pub sequence: u16,
    /// Chunks that leave with the next ones.
    pub held: Vec<u8>,
}

/// The four packets that open an association: who sends, and their chunk. `tags` and `first`: of both sides, the
/// opening one's before the other's.
pub fn opening(tags: [u32; 2], first: [u32; 2]) -> [(bool, u32, Vec<u8>); 4] {
    let init = |kind, tag: u32, first: u32, more: &[u8]| {
        let mut value = tag.to_be_bytes().to_vec();
        value.extend(0x0001_a000_u32.to_be_bytes()); // receiver window
        value.extend([0, 10, 0, 10]); // streams out and in
        value.extend(first.to_be_bytes());
        value.extend(more);
        chunk(kind, 0, &value)
    };
    let cookie = b"a cookie";
    let parameter = [&[0, 7, 0, 12][..], cookie].concat();
    [
        (true, 0, init(1, tags[0], first[0], &[])),
        (false, tags[0], init(2, tags[1], first[1], &parameter)),
        (true, tags[1], chunk(10, 0, cookie)),
        (false, tags[0], chunk(11, 0, &[])),
    ]
}

/// A message as DATA chunks, all of them on stream 0 with payload protocol 0.
pub fn data(direction: &mut Direction, message: &[u8], count: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<_> = message.chunks(message.len().div_ceil(count.max(1)).max(1)).collect();
    let mut chunks = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let begins = if index == 0 { 2 } else { 0 };
        let ends = u8::from(index + 1 == pieces.len());
        let mut value = direction.next.to_be_bytes().to_vec();
        value.extend([0, 0]);
        value.extend(direction.sequence.to_be_bytes());
        value.extend([0; 4]);
        value.extend(*piece);
        chunks.push(chunk(0, begins | ends, &value));
        direction.next = direction.next.wrapping_add(1);
    }
    direction.sequence = direction.sequence.wrapping_add(1);
    chunks
}

/// All up to this number came.
pub fn acknowledgement(last: u32) -> Vec<u8> {
    let mut value = last.to_be_bytes().to_vec();
    value.extend(0x0001_a000_u32.to_be_bytes());
    value.extend([0; 4]);
    chunk(3, 0, &value)
}

fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, flags];
    bytes.extend((4 + value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A packet with its checksum.
pub fn packet(from: SocketAddr, to: SocketAddr, verification_tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut bytes = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    bytes.extend(verification_tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(chunks);
    let sum = crc32c(&bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (0_u32.wrapping_sub(sum & 1)));
        }
    }
    !sum
}
