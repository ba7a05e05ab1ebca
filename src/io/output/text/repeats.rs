//! Which messages were shown before: retransmissions, and the copies that a mirror port makes.
//! In: `MessageSeen`. Out: yes or no. Knows nothing of transactions' timers.
//!
//! A request is repeated when the same request passed this hop in the last 32 s (64·T1) and no final
//! response came back since; a response, when the same response passed and no new request went the other way.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::Timestamp;
use crate::tap::MessageSeen;

/// 64·T1 (RFC 3261 section 17): nothing is retransmitted for longer.
const WINDOW: Duration = Duration::from_secs(32);
/// Hops of Call-IDs that are remembered; the oldest goes first.
const MAX_HOPS: usize = 20_000;
/// Different messages of one hop that are remembered; the oldest goes first.
const MAX_TITLES: usize = 16;

type Hop = (Arc<str>, SocketAddr, SocketAddr);

/// Remembers the messages of the last 32 s.
#[derive(Default)]
pub struct Repeats {
    titles: HashMap<Hop, VecDeque<(String, Timestamp)>>,
    order: VecDeque<(Timestamp, Hop)>,
}

impl Repeats {
    /// Takes in a message and says whether it was seen before.
    pub fn is_repeat(&mut self, message: &MessageSeen) -> bool {
        self.forget(message.at);
        let hop = (Arc::clone(&message.call_id), message.source, message.destination);
        let back = (Arc::clone(&message.call_id), message.destination, message.source);
        let title = &message.title;
        let seen = self.titles.get(&hop).is_some_and(|titles| {
            titles.iter().any(|(before, at)| before == title && message.at.since(*at) <= WINDOW)
        });
        if seen {
            return true;
        }

        let (first_word, in_brackets) = (
            title.split(' ').next().unwrap_or_default(),
            title.rsplit_once(" (").map_or("", |(_, method)| method),
        );
        match first_word.parse::<u16>() {
            Ok(200..) => {
                let method = format!("{} ", in_brackets.trim_end_matches(')'));
                self.drop_titles(&back, |title| title.starts_with(&method));
            }
            Ok(_) => {}
            Err(_) => {
                let answers = format!(" ({first_word})");
                self.drop_titles(&back, |title| title.ends_with(&answers));
                if first_word == "INVITE" {
                    self.drop_titles(&hop, |title| title.starts_with("ACK "));
                }
            }
        }
        let titles = self.titles.entry(hop.clone()).or_default();
        if titles.len() >= MAX_TITLES {
            titles.pop_front();
        }
        titles.push_back((title.clone(), message.at));
        self.order.push_back((message.at, hop));
        false
    }

    fn drop_titles(&mut self, hop: &Hop, of: impl Fn(&str) -> bool) {
        if let Some(titles) = self.titles.get_mut(hop) {
            titles.retain(|(title, _)| !of(title));
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.order.front() {
            let (too_old, too_many) = (now.since(*at) > WINDOW, self.order.len() > MAX_HOPS);
            if !too_old && !too_many {
                return;
            }
            let Some((at, hop)) = self.order.pop_front() else {
                return;
            };
            if let Some(titles) = self.titles.get_mut(&hop) {
                titles.retain(|(_, seen)| *seen > at);
                if titles.is_empty() {
                    self.titles.remove(&hop);
                }
            }
        }
    }
}
