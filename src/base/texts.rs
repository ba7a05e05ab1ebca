//! Texts that many hold, kept once.
//! In: a text. Out: the one copy of it. Knows nothing of what it says.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// So many places are looked at for texts that nobody holds any more, whenever a text is added: more than
/// one, so that the forgotten ones stay fewer than the held ones.
const SWEPT_PER_TEXT: usize = 2;

/// A pool of shared texts. What nobody else holds is let go a little at a time as others come, so that it
/// is bounded by what its users hold.
#[derive(Debug, Default)]
pub struct Texts {
    pool: RefCell<Pool>,
    scratch: RefCell<String>,
}

#[derive(Debug, Default)]
struct Pool {
    texts: Vec<Option<Arc<str>>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    hand: usize,
}

impl Texts {
    /// The shared copy of this text.
    pub fn shared(&self, text: &str) -> Arc<str> {
        let mut pool = self.pool.borrow_mut();
        pool.find(text.as_bytes()).unwrap_or_else(|| pool.insert(text))
    }

    /// The shared copy of these bytes, what is not UTF-8 replaced.
    pub fn shared_lossy(&self, bytes: &[u8]) -> Arc<str> {
        // What is known as these very bytes is UTF-8.
        let known = self.pool.borrow().find(bytes);
        known.unwrap_or_else(|| self.shared(&String::from_utf8_lossy(bytes)))
    }

    /// The shared copy of what `write` writes; `None` when it says so.
    pub fn written(&self, write: impl FnOnce(&mut String) -> Option<()>) -> Option<Arc<str>> {
        self.written_or(write, |_| None)
    }

    /// The same; `known` may have a copy at hand.
    pub fn written_or(
        &self,
        write: impl FnOnce(&mut String) -> Option<()>,
        known: impl FnOnce(&str) -> Option<Arc<str>>,
    ) -> Option<Arc<str>> {
        let mut scratch = self.scratch.take();
        scratch.clear();
        let shared = write(&mut scratch).map(|()| known(&scratch).unwrap_or_else(|| self.shared(&scratch)));
        self.scratch.replace(scratch);
        shared
    }
}

impl Pool {
    fn find(&self, text: &[u8]) -> Option<Arc<str>> {
        let held = |place: &u32| self.texts.get(*place as usize).and_then(Option::as_ref);
        let is = |place: &u32| held(place).is_some_and(|known| known.as_bytes() == text);
        self.index.find(self.hasher.hash_one(text), is).and_then(held).map(Arc::clone)
    }

    /// Adds a text that is not known.
    fn insert(&mut self, text: &str) -> Arc<str> {
        let Self { texts, free, index, hasher, .. } = self;
        let hash = hasher.hash_one(text.as_bytes());
        let shared: Arc<str> = Arc::from(text);
        let place = match free.pop() {
            Some(place) => place,
            None => {
                // More than 2^32 texts are not pooled: nobody holds so many.
                let Ok(place) = u32::try_from(texts.len()) else { return shared };
                texts.push(None);
                place
            }
        };
        if let Some(slot) = texts.get_mut(place as usize) {
            *slot = Some(Arc::clone(&shared));
        }
        let texts = &*texts;
        index.insert_unique(hash, place, |place| {
            let held = texts.get(*place as usize).and_then(Option::as_ref);
            held.map_or(0, |text| hasher.hash_one(text.as_bytes()))
        });
        self.sweep();
        shared
    }

    /// Lets go of what nobody else holds, at the next few places.
    fn sweep(&mut self) {
        for _ in 0..SWEPT_PER_TEXT {
            let place = if self.hand < self.texts.len() { self.hand } else { 0 };
            self.hand = place + 1;
            let Some(slot) = self.texts.get_mut(place) else { return };
            let Some(gone) = slot.take_if(|text| Arc::strong_count(text) == 1) else { continue };
            let place = place as u32;
            let hash = self.hasher.hash_one(gone.as_bytes());
            if let Ok(entry) = self.index.find_entry(hash, |&known| known == place) {
                entry.remove();
            }
            self.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_the_same_copy() {
        let texts = Texts::default();
        let one = texts.shared("sip:alice@example.com");
        let other = texts.shared_lossy(b"sip:alice@example.com");
        assert!(Arc::ptr_eq(&one, &other));
        assert!(!Arc::ptr_eq(&one, &texts.shared("sip:bob@example.com")));
        let written = texts.written(|out| {
            out.push_str("sip:alice@example.com");
            Some(())
        });
        assert!(written.is_some_and(|written| Arc::ptr_eq(&one, &written)));
        assert_eq!(texts.written(|_| None), None);
    }

    #[test]
    fn what_nobody_holds_goes_and_what_somebody_holds_stays() {
        let texts = Texts::default();
        let held: Vec<_> = (0..100).map(|number| texts.shared(&format!("held {number}"))).collect();
        for number in 0..10_000 {
            texts.shared(&format!("forgotten {number}"));
        }
        assert!(texts.pool.borrow().texts.len() < 400);
        for (number, text) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(text, &texts.shared(&format!("held {number}"))));
        }
    }
}
