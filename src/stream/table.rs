//! A bounded table that forgets what was not used for longest.
//! In: keys and values. Out: the values again. Knows nothing of what they are.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// No slot.
const NONE: u32 = u32::MAX;

/// Where an entry is, as long as it is there.
pub(super) type Slot = u32;

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    /// Used after this one; towards the newest.
    newer: Slot,
    /// Used before this one; towards the oldest.
    older: Slot,
}

/// Entries in slots, found by key, in the order of their last use.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    slots: Vec<Option<Entry<K, V>>>,
    free: Vec<Slot>,
    index: HashTable<Slot>,
    hasher: DefaultHashBuilder,
    newest: Slot,
    oldest: Slot,
}

impl<K: Hash + Eq + Copy, V> Table<K, V> {
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            newest: NONE,
            oldest: NONE,
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn find(&self, key: &K) -> Option<Slot> {
        let slots = &self.slots;
        self.index
            .find(self.hasher.hash_one(key), |&slot| {
                entry(slots, slot).is_some_and(|entry| entry.key == *key)
            })
            .copied()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<(&K, &mut V)> {
        let entry = entry_mut(&mut self.slots, slot)?;
        Some((&entry.key, &mut entry.value))
    }

    /// Adds an entry as the one that goes next; [`Self::touch`] makes it one that stays.
    pub fn insert_cold(&mut self, key: K, value: V) -> Slot {
        let fresh = Some(Entry { key, value, newer: NONE, older: NONE });
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.slots.get_mut(slot as usize) {
                    *place = fresh;
                }
                slot
            }
            None => {
                self.slots.push(fresh);
                Slot::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hasher.hash_one(key), slot, |&slot| {
            entry(slots, slot).map_or(0, |entry| hasher.hash_one(entry.key))
        });
        self.link_as_oldest(slot);
        slot
    }

    /// The entry was used just now.
    pub fn touch(&mut self, slot: Slot) {
        if self.newest == slot {
            return;
        }
        self.unlink(slot);
        let newest = self.newest;
        if let Some(entry) = entry_mut(&mut self.slots, slot) {
            (entry.newer, entry.older) = (NONE, newest);
        }
        match entry_mut(&mut self.slots, newest) {
            Some(before) => before.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    /// The entry is the next to go.
    pub fn cool(&mut self, slot: Slot) {
        self.unlink(slot);
        self.link_as_oldest(slot);
    }

    /// The entry that goes next.
    pub fn oldest(&self) -> Option<Slot> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub fn remove(&mut self, slot: Slot) -> Option<V> {
        self.unlink(slot);
        let gone = self.slots.get_mut(slot as usize)?.take()?;
        if let Ok(found) = self.index.find_entry(self.hasher.hash_one(gone.key), |&other| other == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some(gone.value)
    }

    fn link_as_oldest(&mut self, slot: Slot) {
        let oldest = self.oldest;
        if let Some(entry) = entry_mut(&mut self.slots, slot) {
            (entry.newer, entry.older) = (oldest, NONE);
        }
        match entry_mut(&mut self.slots, oldest) {
            Some(after) => after.older = slot,
            None => self.newest = slot,
        }
        self.oldest = slot;
    }

    fn unlink(&mut self, slot: Slot) {
        let Some(unlinked) = entry(&self.slots, slot) else {
            return;
        };
        let (newer, older) = (unlinked.newer, unlinked.older);
        match entry_mut(&mut self.slots, newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match entry_mut(&mut self.slots, older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }
}

fn entry<K, V>(slots: &[Option<Entry<K, V>>], slot: Slot) -> Option<&Entry<K, V>> {
    slots.get(slot as usize)?.as_ref()
}

fn entry_mut<K, V>(slots: &mut [Option<Entry<K, V>>], slot: Slot) -> Option<&mut Entry<K, V>> {
    slots.get_mut(slot as usize)?.as_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_slots_are_used_again() {
        let mut table = Table::new();
        for key in 0..4 {
            let slot = table.insert_cold(key, key * 10);
            table.touch(slot);
        }
        let zero = table.find(&0).unwrap();
        table.touch(zero);
        table.cool(table.find(&2).unwrap());
        let mut gone = Vec::new();
        while let Some(oldest) = table.oldest() {
            gone.extend(table.remove(oldest));
        }
        assert_eq!(gone, [20, 10, 30, 0]);
        assert_eq!((table.len(), table.find(&1)), (0, None));
        let slot = table.insert_cold(7, 70);
        assert!(slot < 4);
        assert_eq!(table.get_mut(slot), Some((&7, &mut 70)));
        assert_eq!((table.newest, table.oldest), (slot, slot));
    }
}
