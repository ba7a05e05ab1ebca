//! IP datagrams put together from their fragments.
//! In: fragments and the moment each came. Out: whole datagrams. Knows nothing of headers.
//! RFC 791 section 3.2, RFC 8200 section 4.5. A mirror port shows fragments twice, late and out of order.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use etherparse::defrag::IpDefragBuf;
use etherparse::{IpFragOffset, IpNumber};
use hashbrown::HashMap;

use crate::base::{Oddities, Oddity, Timestamp};

/// Pieces of one datagram that do not touch. 64 KiB in fragments of the smallest IPv4 MTU in use are fewer.
const MAX_SECTIONS: usize = 256;

/// Bytes that all datagrams together may hold, for each one that may be held.
const MEAN_DATAGRAM_BYTES: usize = 8_192;

/// What all fragments of one datagram share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub identification: u32,
    pub protocol: u8,
    /// The VLAN identifiers that enclosed it, 12 bits each: two networks may use the same addresses.
    pub tags: u64,
}

/// One fragment.
pub(super) struct Fragment<'a> {
    pub offset: IpFragOffset,
    /// More follow.
    pub more: bool,
    pub bytes: &'a [u8],
}

#[derive(Debug)]
struct Datagram {
    age: u64,
    since: Timestamp,
    buffer: IpDefragBuf,
    /// It was complete and was handed on. It stays until its time is over, so that copies of its fragments
    /// are known as such and do not begin a datagram that never ends.
    delivered: bool,
}

/// The datagrams that are being put together, bounded in number, time and bytes.
#[derive(Debug)]
pub(super) struct FragmentTable {
    limit: usize,
    wait: Duration,
    datagrams: HashMap<FragmentKey, Datagram>,
    by_age: BTreeMap<u64, FragmentKey>,
    next_age: u64,
    bytes: usize,
}

/// How a fragment fits to what is there already.
enum Fit {
    /// Nothing of it was there.
    New,
    /// All of it was there, byte for byte.
    Copy,
    /// Some of it was there, and that is equal.
    Overlap,
    /// What was there is different.
    Contradiction,
}

impl FragmentTable {
    pub fn new(limit: usize, wait: Duration) -> Self {
        Self {
            limit: limit.max(1),
            wait,
            datagrams: HashMap::new(),
            by_age: BTreeMap::new(),
            next_age: 0,
            bytes: 0,
        }
    }

    /// Adds a fragment. Returns the datagram's payload when this fragment completed it.
    pub fn add(
        &mut self,
        now: Timestamp,
        key: FragmentKey,
        fragment: &Fragment<'_>,
        oddities: &mut Oddities,
    ) -> Option<&[u8]> {
        self.forget_old(now, oddities);
        if fragment.bytes.is_empty() {
            oddities.note(Oddity::MalformedPacket);
            return None;
        }
        if let Some(datagram) = self.datagrams.get(&key) {
            match (fit(&datagram.buffer, fragment), datagram.delivered) {
                (Fit::Copy, _) => return None,
                (Fit::New, false) => {}
                (Fit::Overlap, false) => oddities.note(Oddity::FragmentOverlap),
                (Fit::Contradiction, false) => {
                    // The identification was used again, or somebody plays tricks. Neither datagram can be
                    // trusted to be whole; the newer one still may become so.
                    oddities.note(Oddity::FragmentOverlap);
                    self.remove(&key);
                }
                (_, true) => self.remove(&key),
            }
        }
        if !self.datagrams.contains_key(&key) {
            self.make_room(fragment.bytes.len(), oddities);
            let age = self.next_age;
            self.next_age += 1;
            self.by_age.insert(age, key);
            let datagram = Datagram {
                age,
                since: now,
                buffer: IpDefragBuf::new(IpNumber(key.protocol), Vec::new(), Vec::new()),
                delivered: false,
            };
            self.datagrams.insert(key, datagram);
        }
        let datagram = self.datagrams.get_mut(&key)?;
        let before = datagram.buffer.data().len();
        let added = datagram.buffer.add(fragment.offset, fragment.more, fragment.bytes);
        self.bytes += datagram.buffer.data().len().saturating_sub(before);
        let broken = added.is_err() || datagram.buffer.sections().len() > MAX_SECTIONS;
        datagram.delivered = !broken && datagram.buffer.is_complete();
        if broken {
            oddities.note(Oddity::MalformedPacket);
            self.remove(&key);
        }
        let datagram = self.datagrams.get(&key)?;
        datagram.delivered.then(|| datagram.buffer.data().as_slice())
    }

    fn forget_old(&mut self, now: Timestamp, oddities: &mut Oddities) {
        while let Some((_, key)) = self.by_age.first_key_value() {
            let key = *key;
            match self.datagrams.get(&key) {
                Some(oldest) if now.since(oldest.since) <= self.wait => return,
                _ => self.give_up(&key, oddities),
            }
        }
    }

    fn make_room(&mut self, bytes: usize, oddities: &mut Oddities) {
        let most_bytes = self.limit.saturating_mul(MEAN_DATAGRAM_BYTES);
        while self.datagrams.len() >= self.limit || self.bytes + bytes > most_bytes {
            let Some((_, key)) = self.by_age.first_key_value() else {
                return;
            };
            let key = *key;
            self.give_up(&key, oddities);
        }
    }

    fn give_up(&mut self, key: &FragmentKey, oddities: &mut Oddities) {
        if self.datagrams.get(key).is_some_and(|gone| !gone.delivered) {
            oddities.note(Oddity::FragmentsGivenUp);
        }
        self.remove(key);
    }

    fn remove(&mut self, key: &FragmentKey) {
        if let Some(gone) = self.datagrams.remove(key) {
            self.by_age.remove(&gone.age);
            self.bytes = self.bytes.saturating_sub(gone.buffer.data().len());
        }
    }
}

/// The buffer itself lets later bytes overwrite earlier ones, so every fragment is compared before.
fn fit(buffer: &IpDefragBuf, fragment: &Fragment<'_>) -> Fit {
    let start = usize::from(fragment.offset.byte_offset());
    let end = start + fragment.bytes.len();
    let total = buffer.end().map(usize::from);
    if total.is_some_and(|total| end > total || (!fragment.more && end != total)) {
        return Fit::Contradiction;
    }
    let mut shared = 0;
    for section in buffer.sections() {
        if !fragment.more && usize::from(section.end) > end {
            return Fit::Contradiction;
        }
        let from = start.max(usize::from(section.start));
        let to = end.min(usize::from(section.end));
        if from >= to {
            continue;
        }
        let held = buffer.data().get(from..to);
        if held != fragment.bytes.get(from - start..to - start) {
            return Fit::Contradiction;
        }
        shared += to - from;
    }
    if shared == 0 {
        Fit::New
    } else if shared == fragment.bytes.len() && (fragment.more || buffer.end().is_some()) {
        Fit::Copy
    } else {
        Fit::Overlap
    }
}
