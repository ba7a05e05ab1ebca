//! What can be wrong with a capture, in one sentence each.
//! In: names, offsets, reasons. Out: sentences. Knows nothing of formats.

use std::fmt;
use std::io;

/// How an input was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// An offset in an input, and whether it counts the bytes behind the decompression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes before it.
    pub offset: u64,
    /// How the input was compressed, if it was.
    pub compression: Option<Compression>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}", self.offset)?;
        match self.compression {
            Some(_) => f.write_str(" of the uncompressed data"),
            None => Ok(()),
        }
    }
}

/// Why a capture could not be read, or not to its end. Each is told in one sentence that names the input.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No such file.
    #[error("{name}: there is no such file")]
    Missing {
        /// The input.
        name: String,
    },
    /// A directory was named.
    #[error("{name} is a directory, not a capture file")]
    Directory {
        /// The input.
        name: String,
    },
    /// The file is there, but cannot be opened.
    #[error("{name} cannot be opened: {reason}")]
    Unopenable {
        /// The input.
        name: String,
        /// What the operating system says.
        reason: io::Error,
    },
    /// Reading failed.
    #[error("{name} cannot be read on from {place}: {reason}")]
    Unreadable {
        /// The input.
        name: String,
        /// How far it was read.
        place: Place,
        /// What the operating system says.
        reason: io::Error,
    },
    /// There is nothing in it.
    #[error("{name} is empty: it ends at {place}, before any capture header")]
    Empty {
        /// The input.
        name: String,
        /// Its beginning, which is its end.
        place: Place,
    },
    /// It begins like no known format.
    #[error(
        "{name} is not a capture file: at {place} it begins with {front}, which is neither pcap nor pcapng"
    )]
    NotACapture {
        /// The input.
        name: String,
        /// Its beginning.
        place: Place,
        /// Its first bytes in hexadecimal.
        front: String,
    },
    /// It ends inside the header that comes before all records.
    #[error("{name} is truncated: it ends at {place}, inside the capture header")]
    TruncatedHeader {
        /// The input.
        name: String,
        /// Its end.
        place: Place,
    },
    /// Frames begin with something that is not read.
    #[error("{name} has the unknown link type {number}{}, told at {place}", link_name_in_brackets(.link_name.as_deref()))]
    UnknownLinkType {
        /// The input.
        name: String,
        /// Where it says so.
        place: Place,
        /// The `LINKTYPE_` number.
        number: u32,
        /// Its name, if libpcap knows one.
        link_name: Option<String>,
    },
    /// Frames of one interface begin with something that is not read. The others are read on.
    #[error(
        "{name}: interface {interface} has the unknown link type {number}{}; its frames, from record {record} at {place} on, are passed over",
        link_name_in_brackets(.link_name.as_deref())
    )]
    UnknownInterfaceLinkType {
        /// The input.
        name: String,
        /// The first frame that is passed over.
        place: Place,
        /// That frame's number.
        record: u64,
        /// The interface's number in its section, from 0.
        interface: usize,
        /// The `LINKTYPE_` number.
        number: u32,
        /// Its name, if libpcap knows one.
        link_name: Option<String>,
    },
    /// It ends inside a record.
    #[error("{name} is truncated: it ends inside record {record}, which begins at {place}")]
    TruncatedRecord {
        /// The input.
        name: String,
        /// Where the record begins.
        place: Place,
        /// The record's number, from 1.
        record: u64,
    },
    /// A record cannot be what it says.
    #[error("{name} is damaged in record {record} at {place}: {what}")]
    DamagedRecord {
        /// The input.
        name: String,
        /// Where the record begins.
        place: Place,
        /// The record's number, from 1.
        record: u64,
        /// What it says.
        what: String,
    },
    /// It ends inside a block that is no record.
    #[error("{name} is truncated: it ends inside the block that begins at {place}, after record {record}")]
    TruncatedBlock {
        /// The input.
        name: String,
        /// Where the block begins.
        place: Place,
        /// Records before it.
        record: u64,
    },
    /// A block that cannot be what it says.
    #[error("{name} has a damaged block at {place}, after record {record}: {what}")]
    DamagedBlock {
        /// The input.
        name: String,
        /// Where the block begins.
        place: Place,
        /// Records before it.
        record: u64,
        /// What it says.
        what: String,
    },
    /// Decompression failed.
    #[error("{name}: its {compression} data is damaged behind {place}: {reason}")]
    DamagedCompression {
        /// The input.
        name: String,
        /// How far it was decompressed.
        place: Place,
        /// What it is compressed with.
        compression: Compression,
        /// What the decompressor says.
        reason: io::Error,
    },
    /// The filter expression cannot be used.
    #[error("the filter \"{expression}\" cannot be used for {name}: {reason}")]
    Filter {
        /// The input.
        name: String,
        /// The expression.
        expression: String,
        /// What libpcap says.
        reason: String,
    },
}

impl CaptureError {
    /// Whether the input could not even be opened: it was named wrongly, or there is no permission.
    pub fn is_unopened(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Directory { .. } | Self::Unopenable { .. })
    }
}

fn link_name_in_brackets(name: Option<&str>) -> String {
    name.map(|name| format!(" ({name})")).unwrap_or_default()
}
