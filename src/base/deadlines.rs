//! What is due when.
//! In: keys and moments. Out: the due ones, in (moment, key) order. Knows nothing of clocks.

use std::collections::BTreeSet;

use super::Timestamp;

/// An ordered set of deadlines. The owner of a deadline keeps the moment it set, so that moving or
/// clearing one needs no search and leaves nothing stale behind.
#[derive(Debug, Default)]
pub struct Deadlines<K> {
    due: BTreeSet<(Timestamp, K)>,
    /// The earliest, at hand: it is asked for with every frame.
    next: Option<Timestamp>,
}

impl<K: Ord + Copy> Deadlines<K> {
    /// No deadlines.
    pub const fn new() -> Self {
        Self { due: BTreeSet::new(), next: None }
    }

    /// Moves `key`'s deadline from `*slot` (where its owner keeps it) to `at`; `None` clears it.
    pub fn set(&mut self, slot: &mut Option<Timestamp>, key: K, at: Option<Timestamp>) {
        if *slot == at {
            return;
        }
        if let Some(old) = slot.take() {
            self.due.remove(&(old, key));
        }
        if let Some(new) = at {
            self.due.insert((new, key));
            *slot = Some(new);
        }
        self.next = self.due.first().map(|(at, _)| *at);
    }

    /// As [`Self::set`] where that costs nothing: a deadline that moves away keeps its place. Its owner is woken
    /// there, finds nothing due, and sets it again.
    pub fn set_lazily(&mut self, slot: &mut Option<Timestamp>, key: K, at: Option<Timestamp>) {
        if slot.is_none_or(|old| at.is_none_or(|new| new < old)) {
            self.set(slot, key, at);
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Whose deadline is the earliest.
    pub fn first_key(&self) -> Option<K> {
        self.due.first().map(|(_, key)| *key)
    }

    /// Takes the earliest deadline at or before `now`. The owner's slot still holds it: clear it there.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, K)> {
        if self.next()? > now {
            return None;
        }
        let due = self.due.pop_first();
        self.next = self.due.first().map(|(at, _)| *at);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_in_order_of_moment_then_key_and_moved_ones_fire_once() {
        let mut deadlines = Deadlines::new();
        let at = Timestamp::from_secs;
        let mut slots = [None; 3];
        deadlines.set(&mut slots[0], 2_u32, Some(at(5)));
        deadlines.set(&mut slots[1], 1, Some(at(5)));
        deadlines.set(&mut slots[2], 0, Some(at(1)));
        deadlines.set(&mut slots[2], 0, Some(at(9)));
        assert_eq!(deadlines.pop_due(at(4)), None);
        assert_eq!(deadlines.pop_due(at(6)), Some((at(5), 1)));
        assert_eq!(deadlines.pop_due(at(6)), Some((at(5), 2)));
        assert_eq!(deadlines.pop_due(at(6)), None);
        deadlines.set_lazily(&mut slots[2], 0, Some(at(20)));
        assert_eq!(deadlines.next(), Some(at(9)), "it stays where it was");
        deadlines.set_lazily(&mut slots[2], 0, Some(at(8)));
        assert_eq!(deadlines.next(), Some(at(8)));
        deadlines.set_lazily(&mut slots[2], 0, None);
        assert_eq!(deadlines.next(), None);
    }
}
