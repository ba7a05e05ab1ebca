//! Bytes as choices, and what was seen on the way.

use std::collections::BTreeMap;

/// Bytes, taken one after the other. Behind the last one all are zero.
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Begins at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// There are no more.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that were not taken.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next one.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&first, rest)) => {
                self.rest = rest;
                first
            }
            None => 0,
        }
    }

    /// The next two, the higher first.
    pub fn two(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// The next so many, or as many as there are.
    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// The next one chooses.
    pub fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[usize::from(self.byte()) % among.len()]
    }

    /// The next one chooses one of those that there are, counted from the last: 0 is the last.
    pub fn recent(&mut self, length: usize) -> Option<usize> {
        let back = usize::from(self.byte());
        (length > 0).then(|| length - 1 - back % length)
    }
}

/// How often something was seen.
#[derive(Clone, Debug, Default)]
pub struct Reached(pub BTreeMap<&'static str, u64>);

impl Reached {
    /// It was seen.
    pub fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// It was seen, if so.
    pub fn note_if(&mut self, so: bool, what: &'static str) {
        if so {
            self.note(what);
        }
    }

    /// What others saw, too.
    pub fn merge(&mut self, others: &Self) {
        for (what, count) in &others.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}
