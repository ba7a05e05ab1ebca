//! Opens an input and takes its compression off.
//! In: a path. Out: a reader of uncompressed bytes. Knows nothing of formats.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::error::{CaptureError, Compression, Place};
use crate::io::stop::StandardInput;

/// What stands for standard input on a command line.
const STANDARD_INPUT: &str = "-";

/// An input that was opened.
pub(super) struct Source {
    pub name: String,
    pub bytes: Box<dyn Read + Send>,
    pub compression: Option<Compression>,
    /// Bytes read so far, before decompression.
    pub position: Arc<AtomicU64>,
    /// Bytes there are, before decompression; unknown of pipes.
    pub size: Option<u64>,
}

/// What an input is called in sentences.
pub(super) fn name_of(path: &str) -> String {
    if path == STANDARD_INPUT { "standard input".to_owned() } else { path.to_owned() }
}

/// Opens a file, or standard input, and looks at its first bytes for compression.
pub(super) fn open(path: &str) -> Result<Source, CaptureError> {
    let (raw, size): (Box<dyn Read + Send>, _) = if path == STANDARD_INPUT {
        let input = StandardInput::open()
            .map_err(|reason| CaptureError::Unopenable { name: name_of(path), reason })?;
        (Box::new(input), None)
    } else {
        let (file, size) = open_file(path)?;
        (Box::new(file), size)
    };
    decompress(name_of(path), raw, size)
}

fn open_file(path: &str) -> Result<(File, Option<u64>), CaptureError> {
    let name = path.to_owned();
    let opened = File::open(path).and_then(|file| file.metadata().map(|facts| (file, facts)));
    match opened {
        Ok((_, facts)) if facts.is_dir() => Err(CaptureError::Directory { name }),
        Ok((file, facts)) => Ok((file, facts.is_file().then_some(facts.len()))),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Err(CaptureError::Missing { name }),
        Err(reason) => Err(CaptureError::Unopenable { name, reason }),
    }
}

/// Takes off gzip or zstd, if the first bytes say so.
pub(super) fn decompress(
    name: String,
    raw: Box<dyn Read + Send>,
    size: Option<u64>,
) -> Result<Source, CaptureError> {
    let position = Arc::new(AtomicU64::new(0));
    let mut counted = Counted { inner: raw, count: Arc::clone(&position) };
    let mut front = Vec::with_capacity(4);
    let place = Place { offset: 0, compression: None };
    if let Err(reason) = counted.by_ref().take(4).read_to_end(&mut front) {
        return Err(CaptureError::Unreadable { name, place, reason });
    }
    if front.is_empty() {
        return Err(CaptureError::Empty { name, place });
    }
    let compression = match front.as_slice() {
        [0x1f, 0x8b, ..] => Some(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(Compression::Zstd),
        _ => None,
    };
    let all = Cursor::new(front).chain(counted);
    let bytes: Box<dyn Read + Send> = match compression {
        None => Box::new(all),
        Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(all)),
        Some(compression @ Compression::Zstd) => match zstd::Decoder::new(all) {
            Ok(decoder) => Box::new(decoder),
            Err(reason) => {
                return Err(CaptureError::DamagedCompression { name, place, compression, reason });
            }
        },
    };
    Ok(Source { name, bytes, compression, position, size })
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
