//! The voice: phones are asked to call.
//! In: orders, SIP messages, time. Out: SIP messages to send, what became of each order, where to send silence. Knows
//! nothing of wishes, sockets, clocks.
//!
//! Every request of an asking goes over the hop that it was ordered with, whatever Contact or Record-Route says: who
//! reaches the phone now reaches it later. The local end of that hop is our Contact: the phone's own requests come there.
//! So many askings as [`AskerOptions::most`] says run at once. Further orders wait in a queue, in their order,
//! [`MAX_WAITING`] at most; one that comes when that is full as well ends [`AskEnd::Undeliverable`] at once, as does one
//! that cannot be written.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;

use super::asking::{Asking, Means, Reply};
use super::{AskEnd, AskEvent, AskId, AskOrder, Manner, Reach};
use crate::base::{Deadlines, Hop, Limits, Random, Timestamp, Transmit};
use crate::sip::authenticator::Authenticator;
use crate::sip::flights::Flights;
use crate::sip::server_transaction::{ServerTransactionKey, ServerTransactions, response_hop};
use crate::sip::write::{self, header, unfolded};
use crate::sip::{HeaderName, Method, Scanner, SipMessage};

/// Orders that wait for their turn.
pub const MAX_WAITING: usize = 1_024;
/// Askings that are over keep answering their phone for a while. With them there are so many times
/// [`AskerOptions::most`].
const WITH_LINGERING: usize = 4;
/// Answers to phones' requests that are kept for retransmissions, and their bytes.
const MAX_SERVED: usize = 4_096;
const MAX_SERVED_BYTES: usize = 8 << 20;

/// How to ask. `Debug` does not show the password.
#[derive(Clone)]
pub struct AskerOptions {
    /// The URI in From and Referred-By. None: `sip:offhook@` our address.
    pub from: Option<String>,
    /// The digest user.
    pub user: Option<String>,
    /// The digest user's password.
    pub password: Option<String>,
    /// Seconds that a recalled phone rings.
    pub ring_s: u32,
    /// Seconds of silence after which a call that was asked for is followed no longer.
    pub follow_s: u32,
    /// Where tags, branches and waits come from. Two runs must not share it.
    pub seed: u64,
    /// Askings at once; 0 counts as 1.
    pub most: usize,
}

impl Default for AskerOptions {
    fn default() -> Self {
        Self { from: None, user: None, password: None, ring_s: 30, follow_s: 60, seed: 0, most: 64 }
    }
}

impl AskerOptions {
    pub(super) fn authenticator(&self) -> Authenticator {
        Authenticator::new(self.user.as_deref(), self.password.as_deref())
    }
}

impl fmt::Debug for AskerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskerOptions")
            .field("from", &self.from)
            .field("ring_s", &self.ring_s)
            .field("follow_s", &self.follow_s)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

/// Silence for a phone that was picked up: RTP packets of 20 ms from [`Reach::media`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaCommand {
    /// From now on. A Stop comes first if it goes elsewhere already.
    Start {
        /// For which asking.
        id: AskId,
        /// Where to.
        remote: SocketAddr,
        /// 0 (PCMU) or 8 (PCMA).
        payload_type: u8,
    },
    /// No more.
    Stop {
        /// For which asking.
        id: AskId,
    },
}

/// What went wrong and concerned no single asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskerCounters {
    /// Messages that belong to no asking.
    pub strangers: u64,
    /// What came and was no SIP message.
    pub unreadable: u64,
    /// Orders that found the queue full.
    pub turned_away: u64,
}

/// See the module. After each `handle…`, `withdraw` and `stop`, drain every `poll_…` until it gives `None`.
pub struct Asker {
    means: Means,
    /// Away while a message that it read is being looked at.
    scanner: Option<Scanner>,
    askings: BTreeMap<u32, Asking>,
    next_key: u32,
    /// Of those that are not over.
    ids: BTreeMap<AskId, u32>,
    call_ids: BTreeMap<String, u32>,
    waiting: VecDeque<(AskOrder, Reach)>,
    served: ServerTransactions,
    deadlines: Deadlines<u32>,
}

impl Asker {
    /// Nobody is asked yet.
    pub fn new(options: AskerOptions, limits: &Limits) -> Self {
        let means = Means {
            random: Random::new(options.seed),
            options,
            proxies: BTreeMap::new(),
            flights: Flights::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            media: VecDeque::new(),
            counters: AskerCounters::default(),
        };
        Self {
            means,
            scanner: Some(Scanner::new(limits)),
            askings: BTreeMap::new(),
            next_key: 0,
            ids: BTreeMap::new(),
            call_ids: BTreeMap::new(),
            waiting: VecDeque::new(),
            served: ServerTransactions::new(MAX_SERVED, MAX_SERVED_BYTES),
            deadlines: Deadlines::new(),
        }
    }

    /// Takes an order: its one [`AskEvent::Ended`] follows, whatever comes.
    pub fn handle_order(&mut self, now: Timestamp, order: AskOrder, reach: Reach) {
        self.handle_timeout(now);
        if self.waiting.len() >= MAX_WAITING {
            self.means.counters.turned_away += 1;
            self.means.events.push_back((order.id, AskEvent::Ended(AskEnd::Undeliverable)));
            return;
        }
        self.waiting.push_back((order, reach));
        self.pump(now);
    }

    /// Gives an order up, politely: CANCEL for a phone that rings, BYE for one that was picked up. Its end is told as
    /// what had not come yet: [`AskEnd::Silent`], [`AskEnd::NotPickedUp`], [`AskEnd::HungUp`] or [`AskEnd::Followed`].
    /// That of a phone that rings is told when it has stopped, or 32 s later.
    pub fn withdraw(&mut self, now: Timestamp, id: AskId) {
        self.handle_timeout(now);
        if let Some(place) = self.waiting.iter().position(|(order, _)| order.id == id) {
            if let Some((order, _)) = self.waiting.remove(place) {
                self.means.events.push_back((id, AskEvent::Ended(unasked(order.manner))));
            }
        } else if let Some(key) = self.ids.get(&id).copied() {
            self.with(now, key, |asking, means| asking.withdraw(now, means));
        }
        self.pump(now);
    }

    /// Gives up all orders. Call the others until [`Self::is_idle`].
    pub fn stop(&mut self, now: Timestamp) {
        self.handle_timeout(now);
        for (order, _) in self.waiting.drain(..) {
            self.means.events.push_back((order.id, AskEvent::Ended(unasked(order.manner))));
        }
        for key in self.keys() {
            self.with(now, key, |asking, means| asking.withdraw(now, means));
        }
    }

    /// Every order has ended, no phone rings, and none waits for our BYE.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.askings.values().all(Asking::is_quiet)
    }

    /// Takes a message that came over this hop. What belongs to no asking is answered so, or ignored.
    pub fn handle_message(&mut self, now: Timestamp, hop: Hop, bytes: &[u8]) {
        self.handle_timeout(now);
        let Some(mut scanner) = self.scanner.take() else {
            return;
        };
        match scanner.scan(bytes).as_ref().map(|message| (message, message.status(), message.method())) {
            Ok((message, Some(status), _)) => self.handle_response(now, status, message),
            // Nothing answers an ACK.
            Ok((_, None, Some(Method::Ack) | None)) => {}
            Ok((message, None, Some(method))) => self.handle_request(now, hop, method, message),
            Err(_) => self.means.counters.unreadable += 1,
        }
        self.scanner = Some(scanner);
        self.pump(now);
    }

    /// The network said that nothing reaches the other end of this hop: what is in flight over it has failed.
    pub fn handle_transport_error(&mut self, now: Timestamp, hop: Hop) {
        self.handle_timeout(now);
        for key in self.keys() {
            self.with(now, key, |asking, means| {
                let ours = asking.reach.hop;
                if (ours.transport, ours.remote) == (hop.transport, hop.remote) {
                    asking.handle_transport_error(now, means);
                }
            });
        }
        self.pump(now);
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.served.handle_timeout(now);
        while let Some((_, key)) = self.deadlines.pop_due(now) {
            if let Some(asking) = self.askings.get_mut(&key) {
                asking.deadline = None;
            }
            self.with(now, key, |asking, means| asking.handle_timeout(now, means));
        }
        self.pump(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        Timestamp::earlier(self.deadlines.next(), self.served.poll_timeout())
    }

    /// A message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.means.transmits.pop_front()
    }

    /// What became of an order.
    pub fn poll_event(&mut self) -> Option<(AskId, AskEvent)> {
        self.means.events.pop_front()
    }

    /// Where silence is to go.
    pub fn poll_media(&mut self) -> Option<MediaCommand> {
        self.means.media.pop_front()
    }

    /// What went wrong so far.
    pub const fn counters(&self) -> AskerCounters {
        self.means.counters
    }

    fn keys(&self) -> Vec<u32> {
        self.askings.keys().copied().collect()
    }

    /// Begins what waits, as far as the bounds allow.
    fn pump(&mut self, now: Timestamp) {
        let most = self.means.options.most.max(1);
        while self.ids.len() < most && self.askings.len() < most.saturating_mul(WITH_LINGERING) {
            let Some(next) = self.waiting.pop_front() else {
                return;
            };
            let key = self.next_key;
            self.next_key = self.next_key.wrapping_add(1);
            let asking = Asking::begin(now, key, next, &mut self.means);
            self.ids.insert(asking.id(), key);
            self.call_ids.insert(asking.dialog.call_id().to_owned(), key);
            self.askings.insert(key, asking);
            self.with(now, key, |_, _| {});
        }
    }

    /// Lets something happen to an asking, and keeps the tables in step with it.
    fn with<T>(
        &mut self,
        now: Timestamp,
        key: u32,
        happens: impl FnOnce(&mut Asking, &mut Means) -> T,
    ) -> Option<T> {
        let asking = self.askings.get_mut(&key)?;
        let result = happens(asking, &mut self.means);
        if asking.is_over() && self.ids.get(&asking.id()) == Some(&key) {
            self.ids.remove(&asking.id());
        }
        if asking.is_gone(now) {
            self.deadlines.set(&mut asking.deadline, key, None);
            self.call_ids.remove(asking.dialog.call_id());
            self.askings.remove(&key);
        } else {
            let at = asking.poll_timeout();
            self.deadlines.set(&mut asking.deadline, key, at);
        }
        Some(result)
    }

    fn handle_response(&mut self, now: Timestamp, status: u16, response: &SipMessage<'_>) {
        let key = self.key_of(response);
        let is_ours = key
            .and_then(|key| self.askings.get(&key))
            .is_some_and(|asking| asking.dialog.is_answered_by(response));
        let Some(key) = key.filter(|_| is_ours) else {
            self.means.counters.strangers += 1;
            return;
        };
        self.with(now, key, |asking, means| match response.cseq().method {
            Method::Invite => asking.handle_invite_answer(now, status, response, means),
            _ => asking.handle_answer(now, status, response, means),
        });
    }

    fn handle_request(&mut self, now: Timestamp, hop: Hop, method: Method, request: &SipMessage<'_>) {
        let transaction = ServerTransactionKey::of(request);
        if let Some(answer) = self.served.answer(&transaction) {
            self.means.transmits.push_back(answer.clone());
            return;
        }
        let key = self.key_of(request);
        let reply = self.reply_to(now, key, method, request);
        let tag = self.means.random.token();
        let Reply { status, headers, body } = reply;
        let written = write::response_to_source(request, hop.remote, status, Some(&tag), headers, &body)
            .or_else(|_| {
                // What we added would break the message: what it cost to say it is less than silence.
                write::response_to_source(request, hop.remote, status, Some(&tag), Vec::new(), b"")
            });
        if let Ok(bytes) = written {
            let answer = Transmit { hop: response_hop(request, hop), bytes };
            self.means.transmits.push_back(answer.clone());
            self.served.completed(now, transaction, answer);
        } else {
            self.means.counters.unreadable += 1;
        }
        // What the request brought about follows its answer.
        if let Some(key) = key {
            self.with(now, key, |asking, means| asking.settle(now, means));
        }
    }

    fn reply_to(
        &mut self,
        now: Timestamp,
        key: Option<u32>,
        method: Method,
        request: &SipMessage<'_>,
    ) -> Reply {
        let required: Vec<String> = request.headers(HeaderName::Require).map(unfolded).collect();
        if !required.is_empty() && method != Method::Cancel {
            // RFC 3261 section 8.2.2.3.
            let headers = vec![header("Unsupported", required.join(", "))];
            return Reply { status: 420, headers, ..Reply::default() };
        }
        let replied = key.and_then(|key| {
            self.with(now, key, |asking, means| asking.handle_request(now, method, request, means))
        });
        if let Some(reply) = replied {
            return reply;
        }
        self.means.counters.strangers += 1;
        match method {
            Method::Options => Reply::to_options(),
            Method::Notify | Method::Bye | Method::Cancel | Method::Update => Reply::of(481),
            // In a dialog that is none of ours, or is no more.
            _ if request.to_tag().is_some() => Reply::of(481),
            _ => Reply { status: 405, headers: vec![header("Allow", "NOTIFY, OPTIONS")], ..Reply::default() },
        }
    }

    fn key_of(&self, message: &SipMessage<'_>) -> Option<u32> {
        std::str::from_utf8(message.call_id()).ok().and_then(|id| self.call_ids.get(id)).copied()
    }
}

/// The end of an order that nobody was asked for.
const fn unasked(manner: Manner) -> AskEnd {
    match manner {
        Manner::Refer | Manner::Probe => AskEnd::Silent,
        Manner::Recall => AskEnd::NotPickedUp { status: None },
    }
}

#[cfg(test)]
#[path = "asker_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "asker_world_tests.rs"]
mod world;

#[cfg(test)]
#[path = "asker_any_order_tests.rs"]
mod any_order_tests;
