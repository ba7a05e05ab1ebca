//! Strings kept once.
//! In: bytes. Out: a `Symbol`, four bytes, equal exactly when the bytes are. Knows nothing of what they mean.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Stands for bytes kept by one [`Interner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(u32);

struct Entry {
    bytes: Box<[u8]>,
    uses: u32,
}

/// An arena of distinct byte strings with a count of their uses; what is used no more is given back.
pub struct Interner {
    entries: Vec<Entry>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Interner {
    fn hash(hasher: &DefaultHashBuilder, bytes: &[u8]) -> u64 {
        let mut state = hasher.build_hasher();
        state.write(bytes);
        state.finish()
    }

    /// The symbol of `bytes`, if they are kept; counts no use.
    pub fn find(&self, bytes: &[u8]) -> Option<Symbol> {
        let hash = Self::hash(&self.hasher, bytes);
        self.index
            .find(hash, |&at| &*self.entries[at as usize].bytes == bytes)
            .map(|&at| Symbol(at))
    }

    /// The symbol of `bytes`, kept from now on; counts one use.
    pub fn intern(&mut self, bytes: &[u8]) -> Symbol {
        if let Some(symbol) = self.find(bytes) {
            self.entries[symbol.0 as usize].uses += 1;
            return symbol;
        }
        let entry = Entry {
            bytes: bytes.into(),
            uses: 1,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index
            .insert_unique(Self::hash(hasher, bytes), at, |&at| {
                Self::hash(hasher, &entries[at as usize].bytes)
            });
        Symbol(at)
    }

    /// One use more of a symbol that is kept.
    pub fn keep(&mut self, symbol: Symbol) -> Symbol {
        self.entries[symbol.0 as usize].uses += 1;
        symbol
    }

    /// One use less; the last one frees the bytes, and the symbol may come to stand for others.
    pub fn release(&mut self, symbol: Symbol) {
        let entry = &mut self.entries[symbol.0 as usize];
        entry.uses -= 1;
        if entry.uses > 0 {
            return;
        }
        let bytes = std::mem::take(&mut entry.bytes);
        let hash = Self::hash(&self.hasher, &bytes);
        if let Ok(found) = self.index.find_entry(hash, |&at| at == symbol.0) {
            found.remove();
        }
        self.free.push(symbol.0);
    }

    /// The bytes that a symbol stands for.
    pub fn bytes(&self, symbol: Symbol) -> &[u8] {
        &self.entries[symbol.0 as usize].bytes
    }

    /// How many distinct strings are kept.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_share_a_symbol_until_the_last_use_ends() {
        let mut interner = Interner::default();
        let a = interner.intern(b"alice");
        assert_eq!(a, interner.intern(b"alice"));
        assert_ne!(a, interner.intern(b"bob"));
        interner.release(a);
        assert_eq!(interner.find(b"alice"), Some(a));
        interner.release(a);
        assert_eq!(interner.find(b"alice"), None);
        assert_eq!(interner.len(), 1);
        assert_eq!(interner.intern(b"carol"), a, "freed places are used again");
        assert_eq!(interner.bytes(a), b"carol");
    }
}
