//! Which messages were shown before: retransmissions, and the copies that a mirror port makes.
//! In: `MessageSeen`. Out: yes or no. Knows nothing of transactions' timers.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::base::Timestamp;
use crate::tap::MessageSeen;

/// 64·T1 (RFC 3261 section 17): nothing is retransmitted for longer.
const WINDOW: Duration = Duration::from_secs(32);
/// Messages that are remembered; the oldest goes first.
const MAX_MESSAGES: usize = 20_000;

/// Remembers the messages of the last 32 s by their marks.
#[derive(Default)]
pub struct Repeats {
    seen: HashMap<u64, Timestamp>,
    order: VecDeque<(Timestamp, u64)>,
}

impl Repeats {
    /// Takes in a message and says whether it was seen before.
    pub fn is_repeat(&mut self, message: &MessageSeen) -> bool {
        self.forget(message.at);
        if self.seen.contains_key(&message.mark) {
            return true;
        }
        self.seen.insert(message.mark, message.at);
        self.order.push_back((message.at, message.mark));
        false
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(&(at, mark)) = self.order.front() {
            if now.since(at) <= WINDOW && self.order.len() <= MAX_MESSAGES {
                return;
            }
            self.order.pop_front();
            self.seen.remove(&mark);
        }
    }
}
