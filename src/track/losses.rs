//! Whether the mirror loses messages, as what it shows proves.
//! In: proofs, and what takes one back. Out: whether that is known. Knows nothing of messages.
//!
//! While the mirror shows all there is, what is not seen has not happened. Where it loses messages, silence proves nothing,
//! and what stands beside it has to do.

use smallvec::SmallVec;

use crate::base::Timestamp;

/// So many of them are remembered: some turn out to be none.
const PROOFS: usize = 4;
/// The mirror is held to lose messages for so long after the second proof of it.
const LOSSY_S: u32 = 600;

/// The last proofs that the mirror lost messages, the oldest first.
#[derive(Default)]
pub(super) struct Losses(SmallVec<[Timestamp; PROOFS]>);

impl Losses {
    /// Something was seen that only a message can have brought about which was not.
    pub(super) fn note(&mut self, at: Timestamp) {
        if self.0.len() >= PROOFS {
            self.0.remove(0);
        }
        self.0.push(at);
    }

    /// What was seen at that moment proves nothing: the message comes late.
    pub(super) fn forgive(&mut self, at: Timestamp) {
        if let Some(place) = self.0.iter().rposition(|&proof| proof == at) {
            self.0.remove(place);
        }
    }

    pub(super) fn are_known(&self, now: Timestamp) -> bool {
        self.0.iter().filter(|at| at.after_s(LOSSY_S) > now).count() >= 2
    }
}
