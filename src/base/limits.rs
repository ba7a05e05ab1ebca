//! The bounds of every table, queue and buffer, in one place.
//! In: nothing. Out: numbers. Knows nothing of what is bounded.

/// How much offhook will hold of each thing. Where something is given up at a bound that was believed till then,
/// that is told.
#[derive(Clone, Debug)]
pub struct Limits {
    /// IP datagrams being put together from fragments, at once. The oldest goes first.
    pub fragmented_datagrams: usize,
    /// Seconds that a datagram's fragments are waited for (RFC 8200 section 4.5 says 60).
    pub fragment_wait_s: u32,
    /// TCP directions followed at once. The least recently used goes first.
    pub tcp_streams: usize,
    /// Bytes held for one TCP direction: an unfinished message and what came out of order.
    pub tcp_stream_bytes: usize,
    /// Bytes of one SIP message; longer ones are given up.
    pub message_bytes: usize,
    /// Header fields of one SIP message; further ones are not looked at.
    pub message_headers: usize,
    /// REGISTERs, and as many SUBSCRIBEs, awaiting their answer; as many subscriptions to presence.
    pub pending_transactions: usize,
    /// Addresses of record with bindings.
    pub registered_aors: usize,
    /// Bindings of one address of record.
    pub bindings_per_aor: usize,
    /// Call-IDs with a live dialog. The oldest goes first.
    pub calls: usize,
    /// Branches and dialogs of one Call-ID.
    pub branches_per_call: usize,
    /// Presentities with a status.
    pub presentities: usize,
    /// Addresses remembered as a server's, or as one phone's.
    pub known_addresses: usize,
    /// Dialogs listed in one published document.
    pub dialogs_per_document: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fragmented_datagrams: 4_096,
            fragment_wait_s: 30,
            tcp_streams: 200_000,
            tcp_stream_bytes: 262_144,
            message_bytes: 131_072,
            message_headers: 512,
            pending_transactions: 1_000_000,
            registered_aors: 2_000_000,
            bindings_per_aor: 32,
            calls: 2_000_000,
            branches_per_call: 64,
            presentities: 2_000_000,
            known_addresses: 4_000_000,
            dialogs_per_document: 16,
        }
    }
}
