//! Texts that many hold, kept once.
//! In: a text. Out: the one copy of it. Knows nothing of what it says.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// So many buckets are looked at for texts that nobody holds any more, whenever a text is added. More than half of
/// them may be empty, and the forgotten texts are to stay fewer than the held ones.
const SWEPT_PER_TEXT: usize = 4;

/// A pool of shared texts. What nobody else holds is let go a little at a time as others come, so that it
/// is bounded by what its users hold.
#[derive(Debug, Default)]
pub struct Texts {
    pool: RefCell<Pool>,
    scratch: RefCell<String>,
}

#[derive(Debug, Default)]
struct Pool {
    texts: HashTable<Arc<str>>,
    hasher: DefaultHashBuilder,
    /// The bucket that is looked at next.
    hand: usize,
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
    fn hash(&self, text: &[u8]) -> u64 {
        self.hasher.hash_one(text)
    }

    fn find(&self, hash: u64, text: &[u8]) -> Option<Arc<str>> {
        self.texts.find(hash, |known| known.as_bytes() == text).map(Arc::clone)
    }

    /// Adds a text that is not known.
    fn insert(&mut self, hash: u64, text: &str) -> Arc<str> {
        self.sweep();
        let shared: Arc<str> = Arc::from(text);
        let Self { texts, hasher, .. } = self;
        texts.insert_unique(hash, Arc::clone(&shared), |known| hasher.hash_one(known.as_bytes()));
        shared
    }

    /// Lets go of what nobody else holds, in the next few buckets.
    fn sweep(&mut self) {
        for _ in 0..SWEPT_PER_TEXT {
            self.hand = if self.hand + 1 < self.texts.num_buckets() { self.hand + 1 } else { 0 };
            if let Ok(text) = self.texts.get_bucket_entry(self.hand)
                && Arc::strong_count(text.get()) == 1
            {
                text.remove();
            }
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
        assert!(texts.pool.borrow().texts.len() < 400, "{}", texts.pool.borrow().texts.len());
        for (number, text) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(text, &texts.shared(&format!("held {number}"))));
        }
    }
}
