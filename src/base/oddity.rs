//! Strange things on the wire: counted, never fatal.
//! In: what a room noticed. Out: counts, and the first of each for whoever wants to tell. Knows nothing of output.

use super::{FrameId, Timestamp};

macro_rules! oddities {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Something strange on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Oddity { $($(#[doc = $doc])+ $variant,)+ }

        impl Oddity {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in JSON lines.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

oddities! {
    /// A frame's time was before that of the frame before it.
    TimeWentBack = "time_went_back",
    /// A frame shorter than its headers say, or cut by the capture's snapshot length.
    TruncatedFrame = "truncated_frame",
    /// A frame whose IP or transport header cannot be read.
    MalformedPacket = "malformed_packet",
    /// More tags or headers inside each other than are followed.
    NestedTooDeep = "nested_too_deep",
    /// A frame of a link type that is not read.
    UnknownLinkType = "unknown_link_type",
    /// Fragments given up: their datagram never came together, or the table was full.
    FragmentsGivenUp = "fragments_given_up",
    /// Fragments that overlap or contradict each other.
    FragmentOverlap = "fragment_overlap",
    /// Bytes of a TCP stream that never came: what follows was searched for the next message.
    StreamGap = "stream_gap",
    /// A TCP stream evicted because too many were followed.
    StreamEvicted = "stream_evicted",
    /// A TCP stream's buffer was full: its bytes were given up.
    StreamOverflow = "stream_overflow",
    /// Text on a SIP stream that is not SIP.
    StreamNotSip = "stream_not_sip",
    /// A WebSocket message that is compressed (RFC 7692): it cannot be read.
    WebsocketCompressed = "websocket_compressed",
    /// A message without a field that every message has (Call-ID, CSeq, From, To, Via), or with a broken one.
    MalformedMessage = "malformed_message",
    /// A message longer than is held.
    MessageTooLong = "message_too_long",
    /// A message that ended before the empty line behind its fields, or before its Content-Length.
    MessageCut = "message_cut",
    /// A Content-Length that is no number, or on UDP more than came.
    ContentLength = "content_length",
    /// A 2xx to REGISTER that lists no contact although one was asked for.
    RegisterWithoutContact = "register_without_contact",
    /// A 2xx to REGISTER of a transaction older than the last that was applied.
    RegisterOutOfOrder = "register_out_of_order",
    /// A contact that is no URI.
    ContactUnreadable = "contact_unreadable",
    /// Several addresses of record match one end of a dialog, and nothing decides between them.
    AmbiguousEnd = "ambiguous_end",
    /// A table was full: the oldest entry was given up.
    TableFull = "table_full",
}

/// Counts of oddities, and those that were not told of yet.
#[derive(Debug, Default)]
pub struct Oddities {
    counts: Vec<u64>,
    fresh: Vec<(Oddity, Timestamp, FrameId)>,
    now: Timestamp,
    frame: FrameId,
}

impl Oddities {
    /// From now on, what is noted belongs to this frame.
    pub fn at(&mut self, now: Timestamp, frame: FrameId) {
        (self.now, self.frame) = (now, frame);
    }

    /// Counts one. The first of its name is also kept for [`Self::poll_first`].
    pub fn note(&mut self, oddity: Oddity) {
        if self.counts.is_empty() {
            self.counts = vec![0; Oddity::ALL.len()];
        }
        let count = &mut self.counts[oddity as usize];
        *count += 1;
        if *count == 1 {
            self.fresh.push((oddity, self.now, self.frame));
        }
    }

    /// How many of this name were noted.
    pub fn count(&self, oddity: Oddity) -> u64 {
        self.counts.get(oddity as usize).copied().unwrap_or(0)
    }

    /// Names and counts of those that were noted at all.
    pub fn counts(&self) -> impl Iterator<Item = (Oddity, u64)> + '_ {
        Oddity::ALL.iter().map(|&oddity| (oddity, self.count(oddity))).filter(|&(_, count)| count > 0)
    }

    /// There is a first occurrence that was not told of yet.
    pub fn has_first(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// The next first occurrence that was not told of yet.
    pub fn poll_first(&mut self) -> Option<(Oddity, Timestamp, FrameId)> {
        (!self.fresh.is_empty()).then(|| self.fresh.remove(0))
    }
}
