//! A webhook: lines to one HTTP endpoint, in order, each until it is taken or given up.
//! In: JSON lines, answers, time. Out: requests, notices. Knows nothing of sockets, clocks, TLS.
//! CloudEvents 1.0 in structured content mode, signed as Standard Webhooks says.

use std::collections::VecDeque;
use std::time::Duration;

use super::cloud_event::{self, Line, LineKind};
use super::webhook_signature::{WebhookSecret, signatures};
use crate::base::Timestamp;
use crate::base::{Random, backoff};

/// Where to send what, and how it is signed.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// The endpoint, `http:` or `https:`.
    pub url: String,
    /// The kinds of lines that are sent.
    pub kinds: Vec<LineKind>,
    /// Every request is signed with each; none: not signed.
    pub secrets: Vec<WebhookSecret>,
    /// `source` of every event: a URI reference (CloudEvents 1.0 section 3.1).
    pub source: String,
    /// Events that may wait; the oldest goes first.
    pub queue: usize,
    /// Where ids and jitter come from. Two runs of one source must not share it: their ids would be equal.
    pub seed: u64,
}

/// One attempt to deliver one event: a POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRequest {
    /// The event's id, the same in every attempt.
    pub id: String,
    /// Where to.
    pub url: String,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// The event.
    pub body: Vec<u8>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookAnswer {
    /// A response.
    Status {
        /// Its status.
        status: u16,
        /// Its Retry-After in seconds (RFC 9110 section 10.2.3), if it has one.
        retry_after_s: Option<u32>,
    },
    /// None: the connection failed, or the time was up.
    Failed,
}

/// How the events of an endpoint have gone so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookCounters {
    /// Answered 2xx.
    pub delivered: u64,
    /// Given up, for any [`DropReason`].
    pub dropped: u64,
    /// Under way, or still to be sent.
    pub waiting: u64,
}

/// Why events were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The queue was full, and they were its oldest.
    QueueFull,
    /// The endpoint does not want it, and would not want it later either.
    Refused {
        /// What it answered.
        status: u16,
    },
    /// They were tried for [`TRIED_FOR`].
    TooOld,
    /// The endpoint said 410: it is switched off, and nothing is sent to it any more.
    Gone,
}

/// Something that an operator should hear. Each is given when it happens first, and then whenever its count has doubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookNotice {
    /// The endpoint stopped taking events; they wait and are tried again.
    Failing {
        /// What it answered; `None`: nothing.
        status: Option<u16>,
    },
    /// Events were given up.
    Dropped {
        /// Why.
        reason: DropReason,
        /// How many so far, for such a reason.
        so_far: u64,
    },
}

/// An event that was not taken is tried again for so long after it came.
pub const TRIED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The wait after the first failure, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// An endpoint is believed that it wants to be left alone for so long, but no longer.
const LONGEST_RETRY_AFTER_S: u32 = 60 * 60;
/// Bytes of all bodies that wait: the bound when events are uncommonly large.
const QUEUE_BYTES: usize = 64 << 20;

/// One event.
#[derive(Debug)]
struct Event {
    id: String,
    body: Vec<u8>,
    came_at: Timestamp,
}

#[derive(Debug)]
enum State {
    /// The next event, if there is one, is sent at once.
    Ready,
    /// One request is under way.
    InFlight(Event),
    /// The last attempt failed.
    Resting { until: Timestamp, asked: Asked },
    /// The endpoint is gone for good.
    Gone,
}

/// Whether the endpoint itself said how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    ByRetryAfter,
    No,
}

/// A count of which an operator hears now and then.
#[derive(Debug, Default)]
struct Tally {
    total: u64,
    told: u64,
}

impl Tally {
    /// Adds to it. `true` when it is to be told: at first, and then whenever it has doubled.
    fn add(&mut self, count: u64) -> bool {
        self.total += count;
        let tell = count > 0 && self.total >= self.told * 2;
        if tell {
            self.told = self.total;
        }
        tell
    }
}

/// One endpoint and what is to be sent to it. One request is in flight at a time, so that events arrive in order.
#[derive(Debug)]
pub struct Webhook {
    options: WebhookOptions,
    random: Random,
    /// The first part of every id; the second counts.
    run: String,
    taken: u64,
    waiting: VecDeque<Event>,
    waiting_bytes: usize,
    state: State,
    /// Attempts that failed since the endpoint last answered in earnest.
    failures: u32,
    delivered: u64,
    outages: Tally,
    overflowed: Tally,
    refused: Tally,
    too_old: Tally,
    gone: Tally,
    notices: VecDeque<WebhookNotice>,
}

impl Webhook {
    /// An endpoint that has been sent nothing.
    pub fn new(options: WebhookOptions) -> Self {
        let mut random = Random::new(options.seed);
        Self {
            run: random.token(),
            random,
            options,
            taken: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            state: State::Ready,
            failures: 0,
            delivered: 0,
            outages: Tally::default(),
            overflowed: Tally::default(),
            refused: Tally::default(),
            too_old: Tally::default(),
            gone: Tally::default(),
            notices: VecDeque::new(),
        }
    }

    /// Lines of this kind are sent.
    pub fn wants(&self, kind: LineKind) -> bool {
        self.options.kinds.contains(&kind)
    }

    /// Takes a line to send, if it is of a kind that is wanted. It has an id from now on, and keeps it.
    pub fn handle_line(&mut self, now: Timestamp, line: &Line<'_>) {
        self.handle_timeout(now);
        if !self.wants(line.kind) {
            return;
        }
        self.taken += 1;
        if matches!(self.state, State::Gone) {
            self.dropped(DropReason::Gone, 1);
            return;
        }
        let id = format!("{}-{}", self.run, self.taken);
        let body = cloud_event::body(line, &id, &self.options.source);
        self.waiting_bytes += body.len();
        self.waiting.push_back(Event { id, body, came_at: now });
        self.keep_within_bounds();
    }

    /// The next attempt, if one is due. Its answer goes to [`Self::handle_answer`]; till then there is no other.
    /// `wall` is the wall clock, which endpoints compare `webhook-timestamp` with; unlike `now` it may jump.
    pub fn poll_request(&mut self, now: Timestamp, wall: Timestamp) -> Option<WebhookRequest> {
        self.handle_timeout(now);
        if !matches!(self.state, State::Ready) {
            return None;
        }
        let event = self.next_waiting()?;
        let timestamp_s = wall.since(Timestamp::EPOCH).as_secs();
        let mut headers = vec![
            ("content-type", cloud_event::CONTENT_TYPE.to_owned()),
            ("webhook-id", event.id.clone()),
            ("webhook-timestamp", timestamp_s.to_string()),
        ];
        let signature = signatures(&self.options.secrets, &event.id, timestamp_s, &event.body);
        headers.extend(signature.map(|signature| ("webhook-signature", signature)));
        let request = WebhookRequest {
            id: event.id.clone(),
            url: self.options.url.clone(),
            headers,
            body: event.body.clone(),
        };
        self.state = State::InFlight(event);
        Some(request)
    }

    /// Takes what came of the request in flight; an answer to any other is ignored.
    ///
    /// ```text
    ///                  an event waits          408, 429, 5xx, failed
    ///     +-------+                 +----------+                +---------+
    ///     |       |---------------->|          |--------------->|         |
    ///     | Ready |                 | InFlight |                | Resting |
    ///     |       |<----------------|          |                |         |
    ///     +-------+  2xx: delivered +----------+                +---------+
    ///         ^      else: dropped       |                           |
    ///         |                          | 410                       |
    ///         |                          v                           |
    ///         |                       +------+                       |
    ///         |                       | Gone |                       |
    ///         |                       +------+                       |
    ///         +------------------------------------------------------+
    ///                   the backoff or Retry-After has passed
    /// ```
    pub fn handle_answer(&mut self, now: Timestamp, id: &str, answer: WebhookAnswer) {
        let event = match std::mem::replace(&mut self.state, State::Ready) {
            State::InFlight(event) if event.id == id => event,
            other => {
                self.state = other;
                return;
            }
        };
        let (status, retry_after_s) = match answer {
            WebhookAnswer::Status { status, retry_after_s } => (Some(status), retry_after_s),
            WebhookAnswer::Failed => (None, None),
        };
        match status {
            Some(200..=299) => {
                self.failures = 0;
                self.delivered += 1;
            }
            None | Some(408 | 429 | 500..=599) => self.rest(now, event, status, retry_after_s),
            Some(410) => {
                self.state = State::Gone;
                let count = 1 + self.waiting.len();
                self.waiting.clear();
                self.waiting_bytes = 0;
                self.dropped(DropReason::Gone, count as u64);
            }
            Some(status) => {
                self.failures = 0;
                self.dropped(DropReason::Refused { status }, 1);
            }
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if matches!(self.state, State::Resting { until, .. } if until <= now) {
            self.state = State::Ready;
        }
    }

    /// When [`Self::handle_timeout`] is due, and then perhaps [`Self::poll_request`].
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Resting { until, .. } if !self.waiting.is_empty() => Some(until),
            _ => None,
        }
    }

    /// Something to tell the operator.
    pub fn poll_notice(&mut self) -> Option<WebhookNotice> {
        self.notices.pop_front()
    }

    /// Nothing more comes, and there is little time: what waits for another attempt has it at once, and then again
    /// after short waits at first. A Retry-After is still kept.
    pub fn stop(&mut self, now: Timestamp) {
        self.handle_timeout(now);
        self.failures = self.failures.min(1);
        if matches!(self.state, State::Resting { asked: Asked::No, .. }) {
            self.state = State::Ready;
        }
    }

    /// Nothing waits and nothing is in flight.
    pub fn is_settled(&self) -> bool {
        self.waiting.is_empty() && !matches!(self.state, State::InFlight(_))
    }

    /// How the events have gone.
    pub fn counters(&self) -> WebhookCounters {
        let in_flight = u64::from(matches!(self.state, State::InFlight(_)));
        let dropped = [&self.overflowed, &self.refused, &self.too_old, &self.gone];
        WebhookCounters {
            delivered: self.delivered,
            dropped: dropped.iter().map(|tally| tally.total).sum(),
            waiting: self.waiting.len() as u64 + in_flight,
        }
    }

    /// The event goes back to the head of the queue, and the endpoint is left alone for a while.
    fn rest(&mut self, now: Timestamp, event: Event, status: Option<u16>, retry_after_s: Option<u32>) {
        if self.failures == 0 && self.outages.add(1) {
            self.notices.push_back(WebhookNotice::Failing { status });
        }
        let mut wait = backoff(&mut self.random, RETRY_FIRST, RETRY_LONGEST, self.failures);
        self.failures = self.failures.saturating_add(1);
        let mut asked = Asked::No;
        if let Some(seconds) = retry_after_s {
            let least = Duration::from_secs(u64::from(seconds.min(LONGEST_RETRY_AFTER_S)));
            wait = wait.max(least + self.random.jittered(RETRY_FIRST));
            asked = Asked::ByRetryAfter;
        }
        self.state = State::Resting { until: now.after(wait), asked };
        self.waiting_bytes += event.body.len();
        self.waiting.push_front(event);
        let too_old = |event: &Event| now.since(event.came_at) >= TRIED_FOR;
        let mut given_up = 0;
        while self.waiting.front().is_some_and(too_old) {
            self.next_waiting();
            given_up += 1;
        }
        self.dropped(DropReason::TooOld, given_up);
        self.keep_within_bounds();
    }

    fn next_waiting(&mut self) -> Option<Event> {
        let event = self.waiting.pop_front()?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(event.body.len());
        Some(event)
    }

    /// The oldest go: what is newest tells most of how things are.
    fn keep_within_bounds(&mut self) {
        let mut evicted = 0;
        while self.waiting.len() > self.options.queue.max(1) || self.waiting_bytes > QUEUE_BYTES {
            self.next_waiting();
            evicted += 1;
        }
        self.dropped(DropReason::QueueFull, evicted);
    }

    fn dropped(&mut self, reason: DropReason, count: u64) {
        let tally = match reason {
            DropReason::QueueFull => &mut self.overflowed,
            DropReason::Refused { .. } => &mut self.refused,
            DropReason::TooOld => &mut self.too_old,
            DropReason::Gone => &mut self.gone,
        };
        if tally.add(count) {
            self.notices.push_back(WebhookNotice::Dropped { reason, so_far: tally.total });
        }
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
