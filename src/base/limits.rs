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
    /// Addresses at which phones and servers take media, as calls agreed on them in the last while.
    pub media_addresses: usize,
    /// Branches and dialogs of one Call-ID.
    pub branches_per_call: usize,
    /// Presentities with a status.
    pub presentities: usize,
    /// Addresses remembered as a server's, or as one phone's.
    pub known_addresses: usize,
    /// Dialogs listed in one published document.
    pub dialogs_per_document: usize,
    /// Bytes of one document that a presence server takes; larger ones are refused.
    pub document_bytes: usize,
    /// Publications of one presentity; further ones are refused.
    pub publications_per_presentity: usize,
    /// Ended dialogs that are remembered of one presentity, so that nobody's late word revives them. The oldest goes
    /// first.
    pub ended_dialogs_per_presentity: usize,
    /// Bytes of all documents that a presence server holds, with the names of whom they are about; further ones are
    /// refused.
    pub published_bytes: usize,
    /// Subscriptions; further ones are refused.
    pub subscriptions: usize,
    /// Subscriptions to one presentity; further ones are refused.
    pub subscriptions_per_presentity: usize,
    /// Bytes of what names a subscription and its way (Call-ID, From, To, Contact, Record-Route, the presentity); one with
    /// more is refused.
    pub subscription_bytes: usize,
    /// Requests over UDP whose answer is kept for their retransmissions. The oldest goes first.
    pub server_transactions: usize,
    /// Bytes of all those answers. The oldest goes first.
    pub server_transaction_bytes: usize,
    /// Digest nonces whose count is known. The oldest goes first, and with it all that were given out before.
    pub digest_nonces: usize,
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
            media_addresses: 4_000_000,
            branches_per_call: 64,
            presentities: 2_000_000,
            known_addresses: 4_000_000,
            dialogs_per_document: 16,
            document_bytes: 65_536,
            publications_per_presentity: 32,
            ended_dialogs_per_presentity: 64,
            published_bytes: 1 << 30,
            subscriptions: 200_000,
            subscriptions_per_presentity: 2_000,
            subscription_bytes: 4_096,
            server_transactions: 100_000,
            server_transaction_bytes: 128 << 20,
            digest_nonces: 100_000,
        }
    }
}
