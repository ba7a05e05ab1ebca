//! Bytes of an input, a window of them in memory.
//! In: a reader. Out: bytes as soon as they are there. Knows nothing of formats.

use std::io::{self, Read};

/// What is asked for in one read.
const CAPACITY_BYTES: usize = 256 << 10;

/// A window on a reader. It grows to what is asked for and no further, so callers bound what they ask for.
pub(super) struct Buffer {
    source: Box<dyn Read + Send>,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
}

impl Buffer {
    pub fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, bytes: vec![0; CAPACITY_BYTES], start: 0, end: 0, offset: 0 }
    }

    /// Bytes of the input before the window.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The window.
    pub fn available(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads until the window holds `wanted` bytes or the input is at its end, and not one time more: more
    /// may not be there for long. Whether it holds them.
    #[inline]
    pub fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.end - self.start >= wanted { Ok(true) } else { self.read(wanted) }
    }

    fn read(&mut self, wanted: usize) -> io::Result<bool> {
        if self.start + wanted > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if wanted > self.bytes.len() {
                self.bytes.resize(wanted, 0);
            }
        }
        while self.end - self.start < wanted {
            let space = self.bytes.get_mut(self.end..).unwrap_or_default();
            match self.source.read(space) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Moves the window's front; at most to its end.
    pub fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.end - self.start);
        self.start += bytes;
        self.offset += bytes as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Passes over bytes without holding them. Whether there were as many.
    pub fn skip(&mut self, mut bytes: usize) -> io::Result<bool> {
        loop {
            let passed = bytes.min(self.end - self.start);
            self.consume(passed);
            bytes -= passed;
            if bytes == 0 {
                return Ok(true);
            }
            if !self.fill(1)? {
                return Ok(false);
            }
        }
    }
}
