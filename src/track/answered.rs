//! The REGISTERs that were answered a while ago.
//! In: keys of their transactions, and how they were answered. Out: the same, as long as an answer may be repeated. Knows nothing
//! of bindings.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::losses::Proof;
use crate::base::Timestamp;

/// 64·T1, in which a request is repeated and its answer with it, and as much again for slow hops.
const REMEMBERED_S: u32 = 64;

/// How a REGISTER was answered whose answer is not for those that are under way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Refused,
    /// By a 401 or 407.
    Challenged,
    /// By a 2xx that lists nothing, seen before its request.
    Emptied,
    /// By a 2xx that lists nothing though the request asked for a binding: its copies, on any hop, say no more. By
    /// Call-ID and CSeq alone.
    Bare,
    /// By a 2xx that lists bindings, seen before its request.
    Accepted,
}

/// An answer that was seen.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub at: Timestamp,
    pub answer: Answer,
    /// Its request had not been seen, which proves that the mirror loses messages unless that comes late.
    pub proof: Option<Proof>,
}

/// Answers of a while ago: a REGISTER that its own answer overtook, one that is sent again, and the answer to that are
/// nothing new. By hashes of their keys, in the order of time; at most so many.
pub(super) struct Answered {
    order: VecDeque<(Timestamp, u64)>,
    answers: HashMap<u64, Seen>,
    hasher: DefaultHashBuilder,
    most: usize,
}

impl Answered {
    pub(super) fn new(most: usize) -> Self {
        Self { order: VecDeque::new(), answers: HashMap::new(), hasher: DefaultHashBuilder::default(), most }
    }

    pub(super) fn remember(&mut self, key: &[u8], answer: Answer, proof: Option<Proof>, now: Timestamp) {
        self.forget_old(now);
        let hash = self.hasher.hash_one(key);
        if let Some(known) = self.answers.get_mut(&hash) {
            (known.answer, known.proof) = (answer, proof.or(known.proof));
            return;
        }
        if self.order.len() >= self.most
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
        self.answers.insert(hash, Seen { at: now, answer, proof });
        self.order.push_back((now, hash));
    }

    pub(super) fn was(&mut self, key: &[u8], now: Timestamp, wanted: Answer) -> bool {
        self.find(key, now).is_some_and(|seen| seen.answer == wanted)
    }

    /// How it was answered, if it was.
    pub(super) fn find(&mut self, key: &[u8], now: Timestamp) -> Option<&mut Seen> {
        self.forget_old(now);
        if self.answers.is_empty() {
            return None;
        }
        self.answers.get_mut(&self.hasher.hash_one(key))
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some(&(at, hash)) = self.order.front()
            && at.after_s(REMEMBERED_S) < now
        {
            self.order.pop_front();
            self.answers.remove(&hash);
        }
    }
}
