//! Texts that many hold, kept once.
//! In: a text. Out: the one copy of it. Knows nothing of what it says.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// A pool of shared texts. What nobody else holds is let go whenever there is no room for another text, so that the
/// pool is bounded by what its users hold.
#[derive(Debug, Default)]
pub struct Texts {
    pool: RefCell<Pool>,
    scratch: RefCell<String>,
}

#[derive(Debug, Default)]
struct Pool {
    texts: HashTable<Kept>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Kept {
    text: Arc<str>,
    /// The text's, so that a growing pool need not read all texts.
    hash: u64,
}

impl Texts {
    /// The shared copy of this text.
    pub fn shared(&self, text: &str) -> Arc<str> {
        let mut pool = self.pool.borrow_mut();
        let hash = pool.hash(text.as_bytes());
        pool.find(hash, text.as_bytes()).unwrap_or_else(|| pool.insert(hash, text))
    }

    /// The shared copy of these bytes, what is not UTF-8 replaced.
    pub fn shared_lossy(&self, bytes: &[u8]) -> Arc<str> {
        let mut pool = self.pool.borrow_mut();
        let hash = pool.hash(bytes);
        // What is known as these very bytes is UTF-8.
        if let Some(known) = pool.find(hash, bytes) {
            return known;
        }
        if let Ok(text) = std::str::from_utf8(bytes) {
            return pool.insert(hash, text);
        }
        drop(pool);
        self.shared(&String::from_utf8_lossy(bytes))
    }

    /// Stands for these bytes among these texts.
    pub fn mark(&self, bytes: &[u8]) -> u64 {
        self.pool.borrow().hash(bytes)
    }

    /// The shared copy of what `write` writes; `None` when it says so.
    pub fn written(&self, write: impl FnOnce(&mut String) -> Option<()>) -> Option<Arc<str>> {
        self.written_by(write, |text| self.shared(text))
    }

    /// What `of` makes of what `write` writes; `None` when it says so. Only the room to write in is these texts'.
    pub fn written_by<T>(
        &self,
        write: impl FnOnce(&mut String) -> Option<()>,
        of: impl FnOnce(&str) -> T,
    ) -> Option<T> {
        let mut scratch = self.scratch.take();
        scratch.clear();
        let made = write(&mut scratch).map(|()| of(&scratch));
        self.scratch.replace(scratch);
        made
    }
}

impl Pool {
    fn hash(&self, text: &[u8]) -> u64 {
        self.hasher.hash_one(text)
    }

    fn find(&self, hash: u64, text: &[u8]) -> Option<Arc<str>> {
        let is = |known: &Kept| known.hash == hash && known.text.as_bytes() == text;
        self.texts.find(hash, is).map(|known| Arc::clone(&known.text))
    }

    /// Adds a text that is not known.
    fn insert(&mut self, hash: u64, text: &str) -> Arc<str> {
        if self.texts.len() >= self.texts.capacity() {
            self.make_room();
        }
        let text: Arc<str> = Arc::from(text);
        self.texts.insert_unique(hash, Kept { text: Arc::clone(&text), hash }, |known| known.hash);
        text
    }

    /// Lets go of what nobody else holds, and has room for as many more as there are then: it is not asked again soon.
    fn make_room(&mut self) {
        self.texts.retain(|known| Arc::strong_count(&known.text) > 1);
        self.texts.reserve(self.texts.len(), |known| known.hash);
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
        let pool = texts.pool.borrow().texts.num_buckets();
        assert!(pool <= 512, "{pool}");
        for (number, text) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(text, &texts.shared(&format!("held {number}"))));
        }
    }
}
