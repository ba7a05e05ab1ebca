//! The TCP directions that are followed.
//! In: TCP segments. Out: `RawMessage`. Knows nothing of UDP.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::{Limits, Oddities, Oddity, Timestamp};
use crate::decode::{Payload, Segment};

use super::direction::{Context, Direction, Verdict};
use super::table::{Slot, Table};
use super::{Each, StreamLoss};

/// How long bytes are waited for that later ones have overtaken. A sender sends again within its
/// retransmission timeout, which seldom is longer; what the mirror lost never comes.
const GAP_WAIT: Duration = Duration::from_secs(2);

/// How long they are waited for when the receiver has acknowledged them: then they were not lost on their way, but by the
/// mirror, unless that mixes up the order.
const ACKNOWLEDGED_GAP_WAIT: Duration = Duration::from_millis(100);

/// Bytes that all directions together may hold.
const MAX_HELD_BYTES: usize = 64 << 20;

/// Sender and receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends(SocketAddr, SocketAddr);

/// Each segment is looked up by it: as few words as there are.
impl Hash for Ends {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        for end in [self.0, self.1] {
            match end {
                SocketAddr::V4(end) => {
                    state.write_u64(u64::from(end.ip().to_bits()) << 16 | u64::from(end.port()));
                }
                SocketAddr::V6(end) => {
                    state.write_u128(end.ip().to_bits());
                    state.write_u16(end.port());
                }
            }
        }
    }
}

/// Directions by their ends, and the gaps that are waited for.
#[derive(Debug)]
pub(super) struct Streams {
    table: Table<Ends, Direction>,
    /// Moments at which gaps are given up, in order. An entry holds if its direction still names that moment.
    gaps: VecDeque<(Timestamp, Slot)>,
    /// The same of those whose bytes were acknowledged.
    acknowledged: VecDeque<(Timestamp, Slot)>,
    /// Moments at which bytes count as lost that were acknowledged and that nothing came behind.
    unseen: VecDeque<(Timestamp, Slot)>,
    losses: VecDeque<StreamLoss>,
    /// The direction of the last segment that had bytes: what comes next is mostly its acknowledgement.
    last: Option<(Ends, Slot)>,
    limit: usize,
    held_bytes: usize,
    spare: Vec<u8>,
    stream_bytes: usize,
    message_bytes: usize,
}

impl Streams {
    pub fn new(limits: &Limits) -> Self {
        Self {
            table: Table::new(),
            gaps: VecDeque::new(),
            acknowledged: VecDeque::new(),
            unseen: VecDeque::new(),
            losses: VecDeque::new(),
            last: None,
            limit: limits.tcp_streams.max(1),
            held_bytes: 0,
            spare: Vec::new(),
            stream_bytes: limits.tcp_stream_bytes,
            message_bytes: limits.message_bytes.min(limits.tcp_stream_bytes),
        }
    }

    /// Directions that something is known of.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes held for all of them.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// What the mirror has lost, one by one.
    pub fn poll_loss(&mut self) -> Option<StreamLoss> {
        self.losses.pop_front()
    }

    /// Gives up what was waited for long enough; mostly nothing is waited for.
    #[inline]
    pub fn give_up_overdue(&mut self, now: Timestamp, oddities: &mut Oddities, each: Each<'_>) {
        if !(self.gaps.is_empty() && self.acknowledged.is_empty() && self.unseen.is_empty()) {
            self.give_up(now, oddities, each);
        }
    }

    fn give_up(&mut self, now: Timestamp, oddities: &mut Oddities, each: Each<'_>) {
        while let Some((due, slot)) = self.unseen.front().copied().filter(|&(due, _)| due <= now) {
            self.unseen.pop_front();
            let Some((_, direction)) = self.table.get_mut(slot) else { continue };
            if let Some((_, until)) = direction.unseen.take_if(|&mut (waits_until, _)| waits_until == due) {
                self.with(now, slot, oddities, each, |direction, context| {
                    direction.lose_before(until, due.before(ACKNOWLEDGED_GAP_WAIT), context);
                    Verdict::Keep
                });
            }
        }
        while let Some(due) = self.next_gap_end() {
            let is_first =
                |queue: &VecDeque<(Timestamp, Slot)>| queue.front().is_some_and(|first| first.0 == due);
            let queue = if self.gaps.len() > self.limit {
                &mut self.gaps
            } else if self.acknowledged.len() > self.limit || is_first(&self.acknowledged) {
                &mut self.acknowledged
            } else {
                &mut self.gaps
            };
            if due > now && queue.len() <= self.limit {
                return;
            }
            let Some((due, slot)) = queue.pop_front() else { return };
            let waits = |(_, direction): (&Ends, &mut Direction)| direction.gap_ends == Some(due);
            if self.table.get_mut(slot).is_some_and(waits) {
                self.with(now, slot, oddities, each, |direction, context| direction.give_up_gap(context));
            }
        }
    }

    /// When something is given up next, at the earliest.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        Timestamp::earlier(self.next_gap_end(), self.unseen.front().map(|&(due, _)| due))
    }

    fn next_gap_end(&self) -> Option<Timestamp> {
        let first = |queue: &VecDeque<(Timestamp, Slot)>| queue.front().map(|&(due, _)| due);
        Timestamp::earlier(first(&self.gaps), first(&self.acknowledged))
    }

    /// The receiver of a direction says that all before this byte has arrived.
    fn acknowledge(&mut self, now: Timestamp, ends: Ends, acknowledged: u32) {
        let last = self.last.filter(|(last, _)| *last == ends).map(|(_, slot)| slot);
        let Some(slot) = last.or_else(|| self.table.find(&ends)) else { return };
        let Some((_, direction)) = self.table.get_mut(slot) else { return };
        let due = now.after(ACKNOWLEDGED_GAP_WAIT);
        if direction.gap_ends.is_some_and(|later| later > due) && direction.gap_is_before(acknowledged) {
            direction.gap_ends = Some(due);
            self.acknowledged.push_back((due, slot));
        }
        if direction.unseen.is_none()
            && direction.missing_before(acknowledged).is_some()
            && self.unseen.len() < self.limit
        {
            direction.unseen = Some((due, acknowledged));
            self.unseen.push_back((due, slot));
        }
    }

    /// Takes one segment. Those of UDP are passed over.
    pub fn handle(&mut self, now: Timestamp, segment: &Segment<'_>, oddities: &mut Oddities, each: Each<'_>) {
        let Payload::Tcp { sequence, acknowledged, syn, fin, rst, bytes } = segment.payload else {
            return;
        };
        if let Some(acknowledged) = acknowledged.filter(|_| bytes.is_empty() || !self.gaps.is_empty()) {
            self.acknowledge(now, Ends(segment.destination, segment.source), acknowledged);
        }
        // What an RST carries is for humans, and nothing is over until the sequence numbers begin anew: a
        // mirror may show the RST before what was sent before it.
        if rst || (bytes.is_empty() && !syn && !fin) {
            return;
        }
        let ends = Ends(segment.source, segment.destination);
        let sequence = sequence.wrapping_add(u32::from(syn));
        let found = self.table.find(&ends);
        let slot = match found {
            Some(slot) if syn => {
                self.reopen(slot, sequence);
                slot
            }
            Some(slot) => slot,
            None => {
                let fresh = if syn {
                    Some(Direction::opening(sequence))
                } else {
                    Direction::joining(sequence, bytes)
                };
                let Some(fresh) = fresh else {
                    return;
                };
                self.make_room(oddities);
                // A SYN alone stays the next to go, so that a flood of them drives out nothing but itself.
                self.table.insert_cold(ends, fresh)
            }
        };
        if !bytes.is_empty() {
            self.last = Some((ends, slot));
            self.table.touch(slot);
            let cut = !segment.whole;
            self.with(now, slot, oddities, each, |direction, context| {
                direction.take(sequence, bytes, cut, context)
            });
        }
        if fin {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let end = sequence.wrapping_add(length);
            self.with(now, slot, oddities, each, |direction, context| {
                direction.finish(end, context);
                Verdict::Keep
            });
            // It is kept, so that copies of its last segments are known as such.
            self.table.cool(slot);
        }
    }

    /// A SYN on a direction that is known: it begins anew, unless the SYN is a copy.
    fn reopen(&mut self, slot: Slot, sequence: u32) {
        let Some((_, direction)) = self.table.get_mut(slot) else {
            return;
        };
        if !direction.began_at(sequence) {
            self.held_bytes = self.held_bytes.saturating_sub(direction.held_bytes());
            *direction = Direction::opening(sequence);
        }
    }

    fn make_room(&mut self, oddities: &mut Oddities) {
        while self.table.len() >= self.limit || self.held_bytes > MAX_HELD_BYTES {
            let Some(oldest) = self.table.oldest() else {
                return;
            };
            let followed = |(_, direction): (&Ends, &mut Direction)| direction.is_followed();
            if self.table.get_mut(oldest).is_some_and(followed) {
                oddities.note(Oddity::StreamEvicted);
            }
            self.forget(oldest);
        }
    }

    fn forget(&mut self, slot: Slot) {
        self.last = None;
        if let Some(gone) = self.table.remove(slot) {
            self.held_bytes = self.held_bytes.saturating_sub(gone.held_bytes());
        }
    }

    /// Does something with a direction, and keeps the books.
    fn with(
        &mut self,
        now: Timestamp,
        slot: Slot,
        oddities: &mut Oddities,
        each: Each<'_>,
        act: impl FnOnce(&mut Direction, &mut Context<'_>) -> Verdict,
    ) {
        let Some((&Ends(source, destination), direction)) = self.table.get_mut(slot) else {
            return;
        };
        let mut context = Context {
            source,
            destination,
            message_bytes: self.message_bytes,
            stream_bytes: self.stream_bytes,
            spare: &mut self.spare,
            oddities,
            losses: &mut self.losses,
            each,
        };
        let before = direction.held_bytes();
        let gap = direction.gap();
        let verdict = act(direction, &mut context);
        let after = direction.held_bytes();
        self.held_bytes = (self.held_bytes + after).saturating_sub(before);
        if !direction.has_gap() {
            direction.gap_ends = None;
        } else if direction.gap_ends.is_none() || direction.gap() != gap {
            let due = now.after(GAP_WAIT);
            (direction.gap_ends, direction.gap_since) = (Some(due), now);
            self.gaps.push_back((due, slot));
        }
        if verdict == Verdict::Forget {
            self.forget(slot);
        }
        while self.held_bytes > MAX_HELD_BYTES {
            let Some(oldest) = self.table.oldest() else {
                return;
            };
            oddities.note(Oddity::StreamOverflow);
            self.forget(oldest);
        }
    }
}
