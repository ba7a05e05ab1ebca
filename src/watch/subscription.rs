//! One subscription: what the watcher and the server owe each other.
//! In: answers to SUBSCRIBE, the states that NOTIFYs tell, time. Out: which SUBSCRIBE is due, what went wrong. Knows
//! nothing of SIP messages, documents, sockets.
//! RFC 6665 section 4.1.

use std::time::Duration;

use crate::base::{Random, Timestamp, backoff};
use crate::sip::transaction::{T1, TIMER_F};

use super::told::{Next, What};

/// Timer N: a NOTIFY comes so soon after a SUBSCRIBE, or there is no subscription (RFC 6665 section 4.1.2).
const TIMER_N: Duration = T1.saturating_mul(64);
/// The first wait after a failure, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// A subscription that lasted so long was a good one: its end is no failure.
const STEADY: Duration = Duration::from_secs(60);
/// A full document is asked for at most so often.
const FULL_AGAIN: Duration = Duration::from_secs(10);
/// No Retry-After, Min-Expires or Expires is believed beyond this.
const LONGEST_S: u32 = 86_400;
/// 423 this often in a row: the server does not mean it.
const LONGER_TRIES: u32 = 3;

/// What a SUBSCRIBE does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Begins a subscription: outside a dialog.
    Begin,
    /// Goes on with it.
    Refresh,
    /// Ends it.
    End,
}

/// A SUBSCRIBE that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) purpose: Purpose,
    pub(super) expires_s: u32,
}

/// What became of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A final response, other than a challenge that can be answered.
    Response { status: u16, expires_s: Option<u32>, min_expires_s: Option<u32>, retry_after_s: Option<u32> },
    /// None came, or the request could not be delivered.
    Silence,
}

/// What Subscription-State says (RFC 6665 section 8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notified<'a> {
    /// `active`, `pending`, and states that are not known: the subscription is there.
    Lasts { expires_s: Option<u32> },
    /// `terminated`.
    Ended { reason: &'a str, retry_after_s: Option<u32> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No subscription; `None`: nor will there be one.
    Resting { again_at: Option<Timestamp> },
    /// A SUBSCRIBE went out; no NOTIFY came yet.
    Asking { notify_by: Timestamp, granted_s: u32 },
    /// A NOTIFY came.
    Active {
        since: Timestamp,
        renew_at: Timestamp,
        expires_at: Timestamp,
        /// Timer N, after a refresh.
        notify_by: Option<Timestamp>,
    },
    /// The SUBSCRIBE that ends it went out; the last NOTIFY is awaited.
    Leaving { until: Timestamp },
    /// Ended by us.
    Over,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Subscription {
    state: State,
    expires_s: u32,
    failures: u32,
    longer_tries: u32,
    /// The last SUBSCRIBE.
    asked_at: Timestamp,
    leaving: bool,
}

impl Subscription {
    /// One that is to begin at once.
    pub(super) const fn new(now: Timestamp, expires_s: u32) -> Self {
        Self {
            state: State::Resting { again_at: Some(now) },
            expires_s,
            failures: 0,
            longer_tries: 0,
            asked_at: Timestamp::EPOCH,
            leaving: false,
        }
    }

    /// Nobody wants it any more.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        if let State::Resting { .. } = self.state {
            self.state = State::Over;
        }
    }

    /// Nothing will be sent, nor is anything awaited.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// A NOTIFY belongs to something: the subscription lasts, is being begun or ended.
    pub(super) const fn is_expecting(&self) -> bool {
        matches!(self.state, State::Asking { .. } | State::Active { .. } | State::Leaving { .. })
    }

    /// A refresh soon: the server answers one with a full document (RFC 6665 section 4.2.2).
    pub(super) fn ask_for_all(&mut self, now: Timestamp) {
        if let State::Active { renew_at, .. } = &mut self.state {
            *renew_at = (*renew_at).min(now.max(self.asked_at.after(FULL_AGAIN)));
        }
    }

    /// When something is due, while no SUBSCRIBE awaits its answer.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Resting { again_at } => again_at,
            State::Asking { notify_by, .. } => Some(notify_by),
            State::Active { .. } if self.leaving => Some(Timestamp::EPOCH),
            State::Active { renew_at, expires_at, notify_by, .. } => {
                let soonest = renew_at.min(expires_at);
                Some(notify_by.map_or(soonest, |by| by.min(soonest)))
            }
            State::Leaving { until } => Some(until),
            State::Over => None,
        }
    }

    /// Fires what is due: no NOTIFY came, or no refresh was accepted in time.
    pub(super) fn handle_timeout(&mut self, now: Timestamp, random: &mut Random) -> Option<What> {
        match self.state {
            State::Asking { notify_by, .. } if notify_by <= now => self.fell_silent(now, random),
            State::Active { expires_at, notify_by, .. }
                if expires_at <= now || notify_by.is_some_and(|by| by <= now) =>
            {
                self.fell_silent(now, random)
            }
            State::Leaving { until } if until <= now => {
                self.state = State::Over;
                None
            }
            _ => None,
        }
    }

    /// Begins the SUBSCRIBE that is due.
    ///
    /// ```text
    ///                  again_at:                     NOTIFY
    ///    +---------+   begin        +--------+       active, pending   +--------+---+ renew_at:
    ///    | Resting |--------------->| Asking |------------------------>| Active |   | refresh
    ///    +---------+                +--------+                         +--------+<--+
    ///      ^  ^  |  failed, 423,       |  |                              |  |  |
    ///      |  |  |  timer N            |  |                              |  |  |
    ///      |  +--|---------------------+  |     failed, 481, timer N,    |  |  |
    ///      |     |                        |     expires_at, terminated   |  |  |
    ///      +-----|------------------------|------------------------------+  |  |
    ///            | leave                  | terminated, leave         leave:|  |
    ///            |                        | failed, leave               end |  | terminated,
    ///            V                        V                                 V  | leave
    ///         +------+                               terminated,      +---------+
    ///         | Over |<--------------------------------------------- | Leaving |
    ///         +------+                               failed, timer N  +---------+
    /// ```
    pub(super) fn poll_due(&mut self, now: Timestamp) -> Option<Due> {
        let notify_by = now.after(TIMER_N);
        let due = match self.state {
            State::Resting { again_at: Some(at) } if at <= now => {
                self.state = State::Asking { notify_by, granted_s: self.expires_s };
                Due { purpose: Purpose::Begin, expires_s: self.expires_s }
            }
            State::Active { .. } if self.leaving => {
                self.state = State::Leaving { until: notify_by };
                Due { purpose: Purpose::End, expires_s: 0 }
            }
            State::Active { since, renew_at, expires_at, .. } if renew_at <= now => {
                self.state =
                    State::Active { since, renew_at: expires_at, expires_at, notify_by: Some(notify_by) };
                Due { purpose: Purpose::Refresh, expires_s: self.expires_s }
            }
            _ => return None,
        };
        self.asked_at = now;
        Some(due)
    }

    /// Takes the answer to a SUBSCRIBE. A subscription exists as soon as a NOTIFY came (RFC 6665 section 4.4.1),
    /// whatever becomes of the SUBSCRIBE that began it.
    pub(super) fn handle_answer(
        &mut self,
        now: Timestamp,
        purpose: Purpose,
        answer: Answer,
        random: &mut Random,
    ) -> Option<What> {
        let begun = purpose == Purpose::Begin && matches!(self.state, State::Active { .. });
        match (answer, self.state) {
            (_, State::Over | State::Resting { .. }) => None,
            (Answer::Response { status: 200..=299, .. }, State::Leaving { .. }) => None,
            (_, State::Leaving { .. }) => {
                self.state = State::Over;
                None
            }
            (Answer::Response { status: 200..=299, expires_s, .. }, _) => {
                self.longer_tries = 0;
                // Zero is what an unsubscription is granted.
                let granted_s = expires_s.filter(|&seconds| seconds > 0).unwrap_or(self.expires_s);
                self.granted(now, granted_s);
                None
            }
            (_, State::Active { .. }) if begun => None,
            (Answer::Silence, _) => self.fell_silent(now, random),
            (Answer::Response { status: 423, min_expires_s, .. }, _) if self.accept_longer(min_expires_s) => {
                match &mut self.state {
                    State::Active { renew_at, .. } => *renew_at = now,
                    state => *state = State::Resting { again_at: Some(now) },
                }
                None
            }
            (Answer::Response { status, retry_after_s, .. }, State::Active { expires_at, .. })
                if !ends_subscription(status) =>
            {
                let again_at = now.after(self.wait(now, retry_after_s, random)).min(expires_at);
                if let State::Active { renew_at, notify_by, .. } = &mut self.state {
                    (*renew_at, *notify_by) = (again_at, None);
                }
                None
            }
            // The server does not know it any more: the refresh becomes a beginning.
            (Answer::Response { status: 481, .. }, State::Active { .. }) => {
                let wait = self.wait_after_end(now, random);
                self.rest(now, Some(wait));
                None
            }
            (Answer::Response { status, retry_after_s, .. }, _) => {
                let next = if is_in_vain(status) { Next::Nothing } else { Next::Again };
                let wait = (next == Next::Again).then(|| self.wait(now, retry_after_s, random));
                self.rest(now, wait);
                Some(What::Refused { status, next })
            }
        }
    }

    /// Takes the state that a NOTIFY tells.
    pub(super) fn handle_notify(
        &mut self,
        now: Timestamp,
        notified: Notified<'_>,
        random: &mut Random,
    ) -> Option<What> {
        match (notified, self.state) {
            (_, State::Resting { .. } | State::Over) => None,
            (Notified::Lasts { .. }, State::Leaving { .. }) => None,
            (Notified::Lasts { expires_s }, State::Asking { granted_s, .. }) => {
                self.state = State::Active { since: now, renew_at: now, expires_at: now, notify_by: None };
                self.granted(now, expires_s.unwrap_or(granted_s));
                None
            }
            (Notified::Lasts { expires_s }, State::Active { .. }) => {
                if let State::Active { notify_by, .. } = &mut self.state {
                    *notify_by = None;
                }
                if let Some(expires_s) = expires_s {
                    self.granted(now, expires_s);
                }
                None
            }
            (Notified::Ended { .. }, _) if self.leaving => {
                self.state = State::Over;
                None
            }
            (Notified::Ended { reason, retry_after_s }, _) => {
                let (next, wait) = match reason {
                    "rejected" | "noresource" | "invariant" => (Next::Nothing, None),
                    "deactivated" | "timeout" => (Next::Again, Some(self.wait_after_end(now, random))),
                    _ => (Next::Again, Some(self.wait(now, retry_after_s, random))),
                };
                self.rest(now, wait);
                Some(What::Ended { reason: reason.to_owned(), next })
            }
        }
    }

    /// It lasts so long from now on. Half of a short time, and of a long one all but what a lost SUBSCRIBE needs to
    /// be given up and sent anew.
    fn granted(&mut self, now: Timestamp, seconds: u32) {
        let seconds = seconds.min(LONGEST_S);
        match &mut self.state {
            State::Asking { granted_s, .. } => *granted_s = seconds,
            State::Active { renew_at, expires_at, .. } => {
                let length = Duration::from_secs(u64::from(seconds));
                let margin = (length / 2).min(TIMER_F + RETRY_FIRST * 4);
                *expires_at = now.after(length);
                *renew_at = now.after(length.saturating_sub(margin));
            }
            _ => {}
        }
    }

    fn fell_silent(&mut self, now: Timestamp, random: &mut Random) -> Option<What> {
        if self.leaving {
            self.state = State::Over;
            return None;
        }
        let wait = self.wait(now, None, random);
        self.rest(now, Some(wait));
        Some(What::Silent)
    }

    /// After a failure: longer each time, and as long as the server says.
    fn wait(&mut self, now: Timestamp, retry_after_s: Option<u32>, random: &mut Random) -> Duration {
        self.forget_failures(now);
        let wait = backoff(random, RETRY_FIRST, RETRY_LONGEST, self.failures);
        self.failures = self.failures.saturating_add(1);
        let asked = Duration::from_secs(u64::from(retry_after_s.unwrap_or(0).min(LONGEST_S)));
        wait.max(asked)
    }

    /// After an end that is no failure: none, unless ends come one upon the other.
    fn wait_after_end(&mut self, now: Timestamp, random: &mut Random) -> Duration {
        self.forget_failures(now);
        if self.failures > 0 {
            return self.wait(now, None, random);
        }
        self.failures = 1;
        Duration::ZERO
    }

    fn forget_failures(&mut self, now: Timestamp) {
        if let State::Active { since, .. } = self.state
            && now.since(since) >= STEADY
        {
            self.failures = 0;
        }
    }

    fn rest(&mut self, now: Timestamp, wait: Option<Duration>) {
        self.state = match wait {
            _ if self.leaving => State::Over,
            wait => State::Resting { again_at: wait.map(|wait| now.after(wait)) },
        };
    }

    fn accept_longer(&mut self, min_expires_s: Option<u32>) -> bool {
        let Some(seconds) = min_expires_s.filter(|&seconds| seconds > self.expires_s && seconds <= LONGEST_S)
        else {
            return false;
        };
        self.longer_tries += 1;
        self.expires_s = seconds;
        self.longer_tries <= LONGER_TRIES
    }
}

/// A refresh that is refused so has no subscription to go on with (RFC 6665 section 4.1.2.2); after other refusals it
/// lasts until it expires.
const fn ends_subscription(status: u16) -> bool {
    matches!(status, 404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604)
}

/// Asking the same again gives the same answer.
const fn is_in_vain(status: u16) -> bool {
    !matches!(status, 408 | 423 | 429 | 480 | 481 | 486 | 487 | 491 | 500 | 502..=504)
}
