//! Many things that are found by a key of their own or by a number.
//! In: things. Out: the same. Knows nothing of what they are.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

/// So many stand together.
const CHUNK: usize = 1_024;

/// Things in numbered places, and an index by their keys. When there is no room for another, one more chunk is added
/// and nothing is moved, so that growing is no pause. A number is that of another thing once its own is gone.
#[derive(Debug)]
pub struct Places<T> {
    chunks: Vec<Slab<Place<T>>>,
    /// The chunks that are not full.
    roomy: Vec<usize>,
    len: usize,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Place<T> {
    /// The key's, so that a growing index need not read what is there.
    hash: u64,
    thing: T,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            roomy: Vec::new(),
            len: 0,
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<T> Places<T> {
    /// How many things there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// There is nothing.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of the thing with this key; `is` says whether it is that.
    pub fn find<K: Hash + ?Sized>(&self, key: &K, is: impl Fn(&T) -> bool) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let is =
            |&number: &u32| place(&self.chunks, number).is_some_and(|at| at.hash == hash && is(&at.thing));
        self.index.find(hash, is).copied()
    }

    /// Adds a thing with a key that nothing else has. `make` is told the number it gets.
    pub fn insert<K: Hash + ?Sized>(&mut self, key: &K, make: impl FnOnce(u32) -> T) -> u32 {
        let hash = self.hasher.hash_one(key);
        let at = self.roomy.last().copied().unwrap_or_else(|| {
            self.chunks.push(Slab::with_capacity(CHUNK));
            self.roomy.push(self.chunks.len() - 1);
            self.chunks.len() - 1
        });
        let Self { chunks, index, .. } = self;
        let entry = chunks[at].vacant_entry();
        let number = (at * CHUNK + entry.key()) as u32;
        entry.insert(Place { hash, thing: make(number) });
        if chunks[at].len() == CHUNK {
            self.roomy.pop();
        }
        self.len += 1;
        index.insert_unique(hash, number, |&number| place(chunks, number).map_or(0, |place| place.hash));
        number
    }

    /// The thing with this number.
    pub fn get(&self, number: u32) -> Option<&T> {
        place(&self.chunks, number).map(|place| &place.thing)
    }

    /// The thing with this number, to be changed; what makes its key stays as it is.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(number as usize / CHUNK)?;
        chunk.get_mut(number as usize % CHUNK).map(|place| &mut place.thing)
    }

    /// Takes the thing with this number out.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        let at = number as usize / CHUNK;
        let chunk = self.chunks.get_mut(at)?;
        let gone = chunk.try_remove(number as usize % CHUNK)?;
        if chunk.len() + 1 == CHUNK {
            self.roomy.push(at);
        }
        self.len -= 1;
        if let Ok(entry) = self.index.find_entry(gone.hash, |&known| known == number) {
            entry.remove();
        }
        Some(gone.thing)
    }

    /// A number that is in use.
    pub fn any(&self) -> Option<u32> {
        let in_chunk = |(at, chunk): (usize, &Slab<Place<T>>)| {
            chunk.iter().next().map(|(number, _)| (at * CHUNK + number) as u32)
        };
        self.chunks.iter().enumerate().find_map(in_chunk)
    }
}

fn place<T>(chunks: &[Slab<Place<T>>], number: u32) -> Option<&Place<T>> {
    chunks.get(number as usize / CHUNK)?.get(number as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_found_by_key_and_number_and_places_are_used_again() {
        let mut places = Places::default();
        assert_eq!((places.any(), places.is_empty()), (None, true));
        let many = 3 * CHUNK as u32;
        for key in 0..many {
            assert_eq!(places.insert(&key, |number| (key, number)), key);
        }
        let find = |places: &Places<(u32, u32)>, key: u32| places.find(&key, |known| known.0 == key);
        for key in (0..many).step_by(3) {
            assert_eq!(places.remove(key), Some((key, key)));
            assert_eq!((places.remove(key), places.get(key), find(&places, key)), (None, None, None));
        }
        assert_eq!((places.len(), places.any()), (2 * CHUNK, Some(1)));
        for key in many..many + CHUNK as u32 {
            let number = places.insert(&key, |number| (key, number));
            assert!(number < many, "{number} is behind the places that became free");
            assert_eq!(find(&places, key), Some(number));
            assert_eq!(places.get_mut(number), Some(&mut (key, number)));
        }
        assert_eq!((places.len(), find(&places, 1)), (3 * CHUNK, Some(1)));
        assert_eq!(places.insert(&0, |number| (0, number)), many, "all are taken: one more chunk");
    }
}
