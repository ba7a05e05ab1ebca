//! The floors under a tap: programs that do a part of what it does, and nothing well.
//! In: a capture file (pcap, Ethernet, IPv4). Out: counts, so that the work is not in vain. Knows nothing of offhook.
//! Each floor does what the one before it does, and one thing more. None checks what it reads.

use std::fs::File;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::io::{self, Read};
use std::path::Path;

use etherparse::{LaxSlicedPacket, TransportSlice};
use hashbrown::{DefaultHashBuilder, HashMap};
use memchr::{memchr, memchr_iter};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Floor {
    /// Read the file in pieces and walk over its records.
    Read,
    /// Also take Ethernet, IP and UDP off each, with etherparse.
    Slice,
    /// Also find the header fields that a tap needs, with memchr.
    Scan,
    /// Also keep the state of each registration and call in hash tables.
    State,
}

const PIECE: usize = 256 << 10;
const FILE_HEAD: usize = 24;
const RECORD_HEAD: usize = 16;

/// Goes over a file; gives the number of records.
///
/// # Errors
/// The file cannot be read.
pub fn run(floor: Floor, file: &Path) -> io::Result<u64> {
    let (mut bytes, mut state) = (0, State::default());
    let frames = records(file, |_, frame| {
        bytes += frame.len();
        if floor == Floor::Read {
            return;
        }
        let Some(payload) = payload(frame) else { return };
        bytes += payload.len();
        if floor == Floor::Slice {
            return;
        }
        let needed = scan(payload);
        if floor == Floor::Scan {
            black_box(&needed);
        } else if needed.call_id.is_some() {
            state.handle(&needed);
        }
    })?;
    black_box((bytes, state.calls.len(), state.registrations.len()));
    Ok(frames)
}

/// Hands over each record with its time in microseconds; gives their number.
///
/// # Errors
/// The file cannot be read.
pub fn records(file: &Path, mut each: impl FnMut(u64, &[u8])) -> io::Result<u64> {
    let mut file = File::open(file)?;
    let mut piece = vec![0; PIECE];
    let (mut held, mut count) = (0, 0);
    file.read_exact(&mut [0; FILE_HEAD])?;
    loop {
        let read = file.read(piece.get_mut(held..).unwrap_or_default())?;
        if read == 0 {
            return Ok(count);
        }
        held += read;
        let mut rest = piece.get(..held).unwrap_or_default();
        while let Some((head, behind)) = rest.split_first_chunk::<RECORD_HEAD>() {
            let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let Some((frame, behind)) = behind.split_at_checked(word(8) as usize) else { break };
            each(u64::from(word(0)) * 1_000_000 + u64::from(word(4)), frame);
            count += 1;
            rest = behind;
        }
        let left = rest.len();
        piece.copy_within(held - left..held, 0);
        held = left;
    }
}

fn payload(frame: &[u8]) -> Option<&[u8]> {
    match LaxSlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Udp(udp) => Some(udp.payload()),
        TransportSlice::Tcp(tcp) => Some(tcp.payload()),
        _ => None,
    }
}

/// What a tap needs of a message, as it is in it.
#[derive(Default)]
struct Needed<'a> {
    start: &'a [u8],
    branch: Option<&'a [u8]>,
    from: Option<&'a [u8]>,
    from_tag: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    to_tag: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
    contact: Option<&'a [u8]>,
    expires: Option<&'a [u8]>,
    body: &'a [u8],
}

fn scan(payload: &[u8]) -> Needed<'_> {
    let mut needed = Needed::default();
    if !payload.first().is_some_and(u8::is_ascii_uppercase) {
        return needed; // RTP
    }
    let mut begin = 0;
    // One search for all ends of lines: the vectors are set up once.
    for end in memchr_iter(b'\n', payload) {
        let line = payload.get(begin..end).unwrap_or_default();
        begin = end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(&first) = line.first() else {
            needed.body = payload.get(begin..).unwrap_or_default();
            break;
        };
        if needed.start.is_empty() {
            needed.start = line;
            continue;
        }
        match first | 0x20 {
            b'v' if needed.branch.is_none() => {
                let value = value(line, b"via:");
                needed.branch = value.and_then(|value| parameter(value, b"branch="));
            }
            b'f' => {
                if let Some(value) = value(line, b"from:") {
                    (needed.from, needed.from_tag) = (uri(value), parameter(value, b"tag="));
                }
            }
            b't' => {
                if let Some(value) = value(line, b"to:") {
                    (needed.to, needed.to_tag) = (uri(value), parameter(value, b"tag="));
                }
            }
            b'c' => {
                if let Some(value) = value(line, b"call-id:") {
                    needed.call_id = Some(value);
                } else if let Some(value) = value(line, b"cseq:") {
                    needed.cseq = Some(value);
                } else if let Some(value) = value(line, b"contact:") {
                    (needed.contact, needed.expires) = (uri(value), parameter(value, b"expires="));
                }
            }
            _ => {}
        }
    }
    needed
}

fn uri(value: &[u8]) -> Option<&[u8]> {
    let behind = value.get(memchr(b'<', value)? + 1..)?;
    behind.get(..memchr(b'>', behind)?)
}

/// The value of a field of that name, which is in lower case.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, value) = line.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then(|| value.trim_ascii_start())
}

fn parameter<'a>(value: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // Not those inside of the URI.
    let after_uri = memchr(b'>', value).unwrap_or(0);
    let mut rest = value.get(after_uri..)?;
    while let Some(at) = memchr(b';', rest) {
        rest = rest.get(at + 1..)?;
        if let Some(found) = rest.strip_prefix(name) {
            return found.get(..memchr(b';', found).unwrap_or(found.len()));
        }
    }
    None
}

/// Registrations by address of record, calls by Call-ID; both by the hash alone.
#[derive(Default)]
struct State {
    hasher: DefaultHashBuilder,
    registrations: HashMap<u64, Registration>,
    calls: HashMap<u64, Call>,
}

struct Registration {
    contact: u64,
    expires_s: u32,
}

struct Call {
    from_tag: u64,
    to_tag: u64,
    phase: Phase,
}

enum Phase {
    Calling,
    Ringing,
    Talking,
}

impl State {
    fn handle(&mut self, needed: &Needed<'_>) {
        let hash = |bytes: Option<&[u8]>| self.hasher.hash_one(bytes.unwrap_or_default());
        let method =
            needed.cseq.and_then(|cseq| cseq.rsplit(|&byte| byte == b' ').next()).unwrap_or_default();
        let status = needed.start.strip_prefix(b"SIP/2.0 ").and_then(|status| status.get(..3));
        black_box((hash(needed.branch), needed.body.len()));
        let call_id = hash(needed.call_id);
        match (method, status) {
            (b"REGISTER", Some(b"200")) => {
                let expires = needed.expires.and_then(|expires| std::str::from_utf8(expires).ok());
                let expires_s = expires.and_then(|expires| expires.parse().ok()).unwrap_or_default();
                let (aor, contact) = (hash(needed.to), hash(needed.contact));
                let registration =
                    self.registrations.entry(aor).or_insert(Registration { contact, expires_s });
                *registration = Registration { contact, expires_s };
                black_box((registration.contact, registration.expires_s));
            }
            (b"INVITE", None) => {
                let from_tag = hash(needed.from_tag);
                let call = Call { from_tag, to_tag: 0, phase: Phase::Calling };
                let call = self.calls.entry(call_id).or_insert(call);
                black_box((call.from_tag, call.to_tag));
            }
            (b"INVITE", Some(status)) => {
                let to_tag = hash(needed.to_tag);
                match (status[0], self.calls.get_mut(&call_id)) {
                    (b'1', Some(call)) => (call.to_tag, call.phase) = (to_tag, Phase::Ringing),
                    (b'2', Some(call)) => (call.to_tag, call.phase) = (to_tag, Phase::Talking),
                    (_, Some(_)) => drop(self.calls.remove(&call_id)),
                    (_, None) => {}
                }
            }
            (b"BYE", _) => drop(self.calls.remove(&call_id)),
            _ => {}
        }
    }
}
