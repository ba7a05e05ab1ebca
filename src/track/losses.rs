//! Whether the mirror loses messages, as what it shows proves.
//! In: proofs, and what takes one back. Out: whether that is known. Knows nothing of messages.
//!
//! While the mirror shows all there is, what is not seen has not happened. Where it loses messages, silence proves nothing,
//! and what stands beside it has to do.

use std::collections::VecDeque;
use std::net::SocketAddr;

use smallvec::SmallVec;

use crate::base::Timestamp;

/// So many of them are remembered: some turn out to be none.
const PROOFS: usize = 4;
/// The mirror is held to lose messages for so long after the second proof of it.
const LOSSY_S: u32 = 600;

/// So many bytes that were lost of streams are remembered.
const LOST_OF_STREAMS: usize = 64;
/// No response has fewer bytes than that: a status line and six header fields (RFC 3261 section 8.2.6).
const LEAST_MESSAGE_BYTES: usize = 100;

/// One of the proofs: it can be taken back, and no other with it that came at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof(u64);

/// The last proofs that the mirror lost messages.
#[derive(Default)]
pub(super) struct Losses {
    /// The oldest first.
    proofs: SmallVec<[(Proof, Timestamp); PROOFS]>,
    count: u64,
    /// Of streams, in the order in which that came to be known: when it had been sent, by whom and to whom.
    of_streams: VecDeque<(Timestamp, (SocketAddr, SocketAddr))>,
}

impl Losses {
    /// Something was seen that only a message can have brought about which was not.
    pub(super) fn note(&mut self, at: Timestamp) -> Proof {
        if self.proofs.len() >= PROOFS {
            self.proofs.remove(0);
        }
        self.count += 1;
        self.proofs.push((Proof(self.count), at));
        Proof(self.count)
    }

    /// Somebody has so many bytes of a stream that were not seen: who sent them, and to whom.
    pub(super) fn lose_of_stream(
        &mut self,
        sent_at: Timestamp,
        ends: (SocketAddr, SocketAddr),
        bytes: usize,
    ) {
        if bytes >= LEAST_MESSAGE_BYTES {
            while self.of_streams.len() >= LOST_OF_STREAMS {
                self.of_streams.pop_front();
            }
            self.of_streams.push_back((sent_at, ends));
        }
    }

    /// As much of a stream as a message was lost since then.
    pub(super) fn lost_message(&self, ends: (SocketAddr, SocketAddr), since: Timestamp) -> bool {
        self.of_streams.iter().any(|&(sent_at, lost)| sent_at >= since && lost == ends)
    }

    /// That proves nothing: the message comes late.
    pub(super) fn forgive(&mut self, proof: Proof) {
        self.proofs.retain(|(known, _)| *known != proof);
    }

    pub(super) fn are_known(&self, now: Timestamp) -> bool {
        self.proofs.iter().filter(|(_, at)| at.after_s(LOSSY_S) > now).count() >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_proofs_at_one_time_each_is_taken_back_once() {
        let (mut losses, now) = (Losses::default(), Timestamp::from_secs(1));
        let [first, second, third] = [now; 3].map(|at| losses.note(at));
        assert!(losses.are_known(now));
        losses.forgive(second);
        losses.forgive(second);
        assert!(losses.are_known(now), "two are left");
        losses.forgive(first);
        assert!(!losses.are_known(now));
        losses.forgive(third);
    }
}
