//! SCTP: messages out of the DATA chunks of a packet, and out of those over which a message is spread.
//! In: SCTP packets. Out: `RawMessage`. Knows nothing of associations, retransmissions, other chunks.
//! RFC 9260 section 3.3.1 and 6.9, RFC 4168: one SIP message in each user message.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use hashbrown::HashMap;

use crate::base::{HeardTransport, Limits, Oddities, Oddity, Timestamp};
use crate::decode::{Payload, Segment};

use super::{Each, RawMessage, single};

/// Fragments of one message. The longest message that is taken, in fragments of the smallest IPv6 MTU, has fewer.
const MAX_FRAGMENTS: u32 = 128;

/// Bytes that all fragments together may hold, for each message that may be held.
const MEAN_MESSAGE_BYTES: usize = 8_192;

const DATA: u8 = 0;
const BEGINNING: u8 = 0x02;
const ENDING: u8 = 0x01;

/// No payload protocol identifier is assigned to SIP: other protocols' messages have theirs.
const UNSPECIFIED: u32 = 0;

/// A DATA chunk.
#[derive(Clone, Copy)]
struct Data<'a> {
    begins: bool,
    ends: bool,
    number: u32,
    stream: u16,
    protocol: u32,
    bytes: &'a [u8],
    /// Nothing is missing at the end.
    whole: bool,
}

/// A fragment's place: sender, receiver, verification tag, transmission sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    source: SocketAddr,
    destination: SocketAddr,
    verification_tag: u32,
    number: u32,
}

impl Place {
    const fn ahead(self, numbers: u32) -> Self {
        Self { number: self.number.wrapping_add(numbers), ..self }
    }

    const fn back(self, numbers: u32) -> Self {
        Self { number: self.number.wrapping_sub(numbers), ..self }
    }
}

#[derive(Debug)]
struct Fragment {
    begins: bool,
    ends: bool,
    stream: u16,
    /// None once its message was handed on. It stays until its time is over, so that copies are known as such.
    bytes: Option<Box<[u8]>>,
}

/// Fragments whose message is not complete, bounded in number, time and bytes.
#[derive(Debug)]
pub(super) struct Fragments {
    by_place: HashMap<Place, Fragment>,
    order: VecDeque<(Timestamp, Place)>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
    wait: Duration,
    message_bytes: usize,
}

impl Fragments {
    pub fn new(limits: &Limits) -> Self {
        let most = limits.fragmented_datagrams.max(1);
        Self {
            by_place: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            most,
            most_bytes: most.saturating_mul(MEAN_MESSAGE_BYTES),
            wait: Duration::from_secs(u64::from(limits.fragment_wait_s)),
            message_bytes: limits.message_bytes,
        }
    }

    /// Takes one packet. Those of other protocols are passed over.
    pub fn handle(&mut self, now: Timestamp, segment: &Segment<'_>, oddities: &mut Oddities, each: Each<'_>) {
        let Payload::Sctp { verification_tag, chunks } = segment.payload else {
            return;
        };
        let Segment { source, destination, .. } = *segment;
        let mut chunks = Chunks { rest: chunks, whole: segment.whole, is_broken: false };
        for data in chunks.by_ref() {
            let place = Place { source, destination, verification_tag, number: data.number };
            let put_together;
            let (bytes, whole) = match (data.begins, data.ends, data.whole) {
                (true, true, whole) => (data.bytes, whole),
                // The message can never be whole, but its beginning tells more than nothing.
                (true, false, false) => (data.bytes, false),
                (false, _, false) => continue,
                (_, _, true) if data.protocol != UNSPECIFIED => continue,
                (_, _, true) => match self.add(now, place, &data, oddities) {
                    Some(message) => {
                        put_together = message;
                        (put_together.as_slice(), true)
                    }
                    None => continue,
                },
            };
            if let Some((bytes, whole)) = single::message(bytes, whole, self.message_bytes, oddities) {
                let transport = HeardTransport::Sctp;
                each(RawMessage { source, destination, transport, bytes, whole }, oddities);
            }
        }
        if chunks.is_broken {
            oddities.note(Oddity::MalformedPacket);
        }
    }

    /// Adds a fragment. Gives the message that it completed.
    fn add(
        &mut self,
        now: Timestamp,
        place: Place,
        data: &Data<'_>,
        oddities: &mut Oddities,
    ) -> Option<Vec<u8>> {
        self.forget_old(now, data.bytes.len(), oddities);
        if self.by_place.contains_key(&place) {
            return None;
        }
        let &Data { begins, ends, stream, bytes, .. } = data;
        self.bytes += bytes.len();
        self.by_place.insert(place, Fragment { begins, ends, stream, bytes: Some(bytes.into()) });
        self.order.push_back((now, place));
        self.message(place, stream)
    }

    /// The message that this fragment belongs to, if all of it is there: from the fragment that begins it to the one that
    /// ends it the numbers have no gap.
    fn message(&mut self, place: Place, stream: u16) -> Option<Vec<u8>> {
        let fragment = |place: Place| {
            self.by_place.get(&place).filter(|fragment| fragment.stream == stream && fragment.bytes.is_some())
        };
        let mut first = None;
        for back in 0..MAX_FRAGMENTS {
            let at = place.back(back);
            let here = fragment(at).filter(|here| back == 0 || !here.ends)?;
            if here.begins {
                first = Some(at);
                break;
            }
        }
        let first = first?;
        let mut length = None;
        for ahead in 0..MAX_FRAGMENTS {
            let here = fragment(first.ahead(ahead)).filter(|here| ahead == 0 || !here.begins)?;
            if here.ends {
                length = Some(ahead + 1);
                break;
            }
        }
        let mut message = Vec::new();
        for ahead in 0..length? {
            let fragment = self.by_place.get_mut(&first.ahead(ahead))?;
            message.extend_from_slice(&fragment.bytes.take()?);
        }
        self.bytes = self.bytes.saturating_sub(message.len());
        Some(message)
    }

    /// Makes room for so many bytes, and lets go what was waited for long enough.
    fn forget_old(&mut self, now: Timestamp, bytes: usize, oddities: &mut Oddities) {
        while let Some(&(since, place)) = self.order.front() {
            let is_full = self.order.len() >= self.most || self.bytes + bytes > self.most_bytes;
            if now.since(since) <= self.wait && !is_full {
                return;
            }
            self.order.pop_front();
            if let Some(Fragment { bytes: Some(gone), .. }) = self.by_place.remove(&place) {
                self.bytes = self.bytes.saturating_sub(gone.len());
                oddities.note(Oddity::FragmentsGivenUp);
            }
        }
    }
}

/// The DATA chunks of a packet.
struct Chunks<'a> {
    rest: &'a [u8],
    /// Nothing is missing at the end of the packet.
    whole: bool,
    /// It ends in the middle of a chunk, and nothing was cut off.
    is_broken: bool,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Data<'a>;

    fn next(&mut self) -> Option<Data<'a>> {
        loop {
            let Some((&[kind, flags, l1, l2], _)) = self.rest.split_first_chunk::<4>() else {
                self.is_broken |= self.whole && !self.rest.is_empty();
                return None;
            };
            let length = usize::from(u16::from_be_bytes([l1, l2]));
            let there = self.rest.get(..length).unwrap_or(self.rest);
            let whole = there.len() == length;
            self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if length < 4 || (!whole && self.whole) {
                self.is_broken = true;
                self.rest = &[];
                return None;
            }
            if kind != DATA {
                continue;
            }
            let Some((&header, bytes)) = there.split_first_chunk::<16>() else {
                self.is_broken |= whole;
                continue;
            };
            let [_, _, _, _, n1, n2, n3, n4, s1, s2, _, _, p1, p2, p3, p4] = header;
            return Some(Data {
                begins: flags & BEGINNING != 0,
                ends: flags & ENDING != 0,
                number: u32::from_be_bytes([n1, n2, n3, n4]),
                stream: u16::from_be_bytes([s1, s2]),
                protocol: u32::from_be_bytes([p1, p2, p3, p4]),
                bytes,
                whole,
            });
        }
    }
}
