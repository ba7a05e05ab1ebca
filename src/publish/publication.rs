//! One publication: what one presence server knows of one presentity in one event package.
//! In: what is to be said, answers, time. Out: which operation is due, and its body. Knows nothing of SIP messages,
//! transactions, sockets.
//! RFC 3903 section 4; the operations' names from its table 1.

use std::time::Duration;

use crate::base::{Random, Timestamp, backoff};
use crate::presence::dialog_info::DialogInfoOptions;
use crate::presence::{DialogView, EventPackage};
use crate::publish::document::{Document, farewell};
use crate::sip::Aor;
use crate::sip::transaction::TIMER_F;

/// What a PUBLISH does (RFC 3903 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Body, no entity-tag.
    Initial,
    /// Entity-tag, no body.
    Refresh,
    /// Body and entity-tag.
    Modify,
    /// Entity-tag and Expires 0.
    Remove,
}

impl Operation {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Refresh => "refresh",
            Self::Modify => "modify",
            Self::Remove => "remove",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// A final response, other than a challenge that can be answered.
    Response {
        status: u16,
        entity_tag: Option<&'a str>,
        expires_s: Option<u32>,
        min_expires_s: Option<u32>,
        retry_after_s: Option<u32>,
    },
    /// None came, or the request could not be delivered.
    Silence,
}

/// What an answer meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Acknowledged {
        expires_s: u32,
    },
    Failed,
    /// 423: the same again, with a longer time.
    Again,
}

/// A request that is due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) operation: Operation,
    pub(crate) entity_tag: Option<String>,
    pub(crate) expires_s: u32,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Idle {
    retry_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Publishing {
    operation: Operation,
    /// What the server acknowledged before, while that lasts.
    before: Option<Published>,
    /// What this request says.
    essence: Option<Vec<u8>>,
    /// The dialogs that it lists as live.
    live: Vec<DialogView>,
    /// It only takes back what another publication has replaced.
    tidies: bool,
}

#[derive(Clone, Debug)]
struct Published {
    /// A server that gives none (RFC 3903 section 6 demands one) gets initial publications only.
    entity_tag: Option<String>,
    essence: Vec<u8>,
    /// A dialog document without a live dialog. Kamailio takes no modification of such a one: it answers 200 and
    /// forgets it. The next document is an initial publication, then, and the old one is taken back after it.
    quiet: bool,
    /// The entity-tag of the publication that this one replaced.
    superseded: Option<String>,
    refresh_at: Timestamp,
    expires_at: Timestamp,
    retry_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum State {
    Idle(Idle),
    Publishing(Box<Publishing>),
    Published(Box<Published>),
}

/// The first wait after a failure, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// After a 412 the state is missing at the server: soon, but not all at once.
const CONDITIONAL_FIRST: Duration = Duration::from_millis(400);
/// What is refused for good is asked again each hour: an operator may have mended it.
const REFUSED_WAIT: Duration = Duration::from_secs(3_600);
/// No Retry-After and no Min-Expires is believed beyond this.
const LONGEST_S: u32 = 86_400;
/// 423 this often in a row: the server does not mean it.
const LONGER_TRIES: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) aor: Aor,
    pub(crate) event: EventPackage,
    state: State,
    wanted: Option<Document>,
    /// Dialogs that watchers may believe to be live.
    listed: Vec<DialogView>,
    version: u32,
    expires_s: u32,
    failures: u32,
    longer_tries: u32,
    /// The last answer was one that waiting does not mend.
    refused: bool,
    /// No refreshes any more: what is published stays until it expires.
    leaving: bool,
    options: DialogInfoOptions,
}

impl Publication {
    pub(crate) fn new(aor: Aor, event: EventPackage, expires_s: u32, options: DialogInfoOptions) -> Self {
        Self {
            aor,
            event,
            state: State::Idle(Idle { retry_at: None }),
            wanted: None,
            listed: Vec::new(),
            version: 0,
            expires_s,
            failures: 0,
            longer_tries: 0,
            refused: false,
            leaving: false,
            options,
        }
    }

    /// From now on this is to be said; `None`: nothing. What was to be said before and was not sent is forgotten.
    pub(crate) fn want(&mut self, document: Option<Document>) {
        self.wanted = document;
    }

    /// The publisher stops: no more refreshes, no more waiting for better times.
    pub(crate) fn leave(&mut self, remove: bool) {
        self.leaving = true;
        if remove {
            self.wanted = None;
            // One try now, whatever was being waited for.
            match &mut self.state {
                State::Idle(idle) => idle.retry_at = None,
                State::Published(published) => published.retry_at = None,
                State::Publishing(_) => {}
            }
            self.refused = false;
        }
    }

    /// Nothing is in flight and nothing is to be said to the server that it does not know, except what it refused.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.state {
            State::Publishing(_) => false,
            State::Idle(_) => self.wanted.is_none() || self.refused,
            State::Published(published) => {
                self.refused
                    || self.wanted.as_ref().is_some_and(|wanted| wanted.essence() == published.essence)
                        && published.superseded.is_none()
            }
        }
    }

    /// There is no publication and none is wanted.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Idle(_)) && self.wanted.is_none()
    }

    /// The next operation and the moment from which on it may be sent; `None` while one is in flight or none is
    /// needed.
    fn next(&self) -> Option<(Timestamp, Operation)> {
        match &self.state {
            State::Publishing(_) => None,
            State::Idle(idle) => {
                self.wanted.as_ref()?;
                Some((idle.retry_at.unwrap_or_default(), Operation::Initial))
            }
            State::Published(published) => {
                let soon = published.retry_at.unwrap_or_default();
                let conditional = published.entity_tag.is_some();
                match &self.wanted {
                    // Watchers would go on showing what a removed document listed: it says "terminated" first.
                    None if !self.listed.is_empty() && conditional => Some((soon, Operation::Modify)),
                    None => Some((soon, Operation::Remove)),
                    Some(wanted) if wanted.essence() != published.essence => Some((
                        soon,
                        if conditional && !published.quiet { Operation::Modify } else { Operation::Initial },
                    )),
                    Some(_) if published.superseded.is_some() => Some((Timestamp::EPOCH, Operation::Remove)),
                    Some(_) if self.leaving => None,
                    Some(_) if !conditional => Some((published.refresh_at.max(soon), Operation::Initial)),
                    Some(_) => Some((published.refresh_at.max(soon), Operation::Refresh)),
                }
            }
        }
    }

    /// When an operation is due or what was published expires.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        let next = self.next().map(|(at, _)| at);
        match &self.state {
            State::Published(published) => {
                Some(next.map_or(published.expires_at, |at| at.min(published.expires_at)))
            }
            _ => next,
        }
    }

    /// Lets go of what has expired.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if let State::Published(published) = &self.state
            && published.expires_at <= now
        {
            let retry_at = published.retry_at;
            self.state = State::Idle(Idle { retry_at });
            self.listed.clear();
            if self.leaving {
                self.wanted = None;
            }
        }
    }

    /// Begins the operation that is due.
    ///
    /// ```text
    ///                 wanted: initial                2xx to initial
    ///     +--------+                 +------------+  modify, refresh    +-----------+
    ///     |        |---------------->|            |-------------------->|           |
    ///     |  Idle  |                 | Publishing |                     | Published |
    ///     |        |<----------------|            |<--------------------|           |
    ///     +--------+ 2xx, 404, 412,  +------------+  changed: modify    +-----------+
    ///         ^      500 to remove     |   ^   |     refresh_at: refresh      |  ^
    ///         |      412, 500 to the   |   |   |     not wanted: remove       |  |
    ///         |      others; failed    +---+   |                              |  |
    ///         |      with no entity-  423: again,                             |  |
    ///         |      tag that lasts   longer   +------------------------------+--+
    ///         |                                  failed, entity-tag still lasts
    ///         +-------------------------------------------------------+
    ///                     expires_at without an acknowledged refresh
    /// ```
    pub(crate) fn poll_due(&mut self, now: Timestamp) -> Option<Due> {
        self.handle_timeout(now);
        let (at, operation) = self.next()?;
        if at > now {
            return None;
        }
        if operation == Operation::Remove
            && let State::Published(published) = &self.state
            && published.entity_tag.is_none()
        {
            // Nothing to name it by: it expires.
            self.state = State::Idle(Idle { retry_at: None });
            return None;
        }
        let before = match std::mem::replace(&mut self.state, State::Idle(Idle { retry_at: None })) {
            State::Published(published) => Some(*published),
            _ => None,
        };
        let with_body = matches!(operation, Operation::Initial | Operation::Modify);
        let tidies = operation == Operation::Remove && self.wanted.is_some();
        let mut due = Due {
            operation,
            entity_tag: match operation {
                Operation::Initial => None,
                _ if tidies => before.as_ref().and_then(|published| published.superseded.clone()),
                _ => before.as_ref().and_then(|published| published.entity_tag.clone()),
            },
            expires_s: if operation == Operation::Remove { 0 } else { self.expires_s },
            body: Vec::new(),
        };
        let mut live = Vec::new();
        if with_body {
            due.body = self.body();
            self.version = self.version.wrapping_add(1);
            live = self.wanted.as_ref().map(|wanted| wanted.live(self.event)).unwrap_or_default();
            // The server may take it even if its answer is lost.
            for dialog in &live {
                match self.listed.iter_mut().find(|seen| seen.end == dialog.end) {
                    Some(seen) => seen.clone_from(dialog),
                    None => self.listed.push(dialog.clone()),
                }
            }
            let too_many = self.listed.len().saturating_sub(2 * self.options.dialogs_per_document);
            self.listed.drain(..too_many);
        }
        self.state = State::Publishing(Box::new(Publishing {
            operation,
            essence: match with_body {
                true => {
                    Some(self.wanted.as_ref().map(|wanted| wanted.essence().to_vec()).unwrap_or_default())
                }
                false => None,
            },
            before,
            live,
            tidies,
        }));
        Some(due)
    }

    fn body(&self) -> Vec<u8> {
        match &self.wanted {
            Some(wanted) => wanted.body(self.event, &self.aor, &self.listed, self.version, self.options),
            None => farewell(&self.aor, &self.listed, &[], self.version, self.options),
        }
    }

    /// Takes the answer to the request in flight.
    pub(crate) fn handle_answer(
        &mut self,
        now: Timestamp,
        answer: Answer<'_>,
        random: &mut Random,
    ) -> Verdict {
        let idle = State::Idle(Idle { retry_at: None });
        let flight = match std::mem::replace(&mut self.state, idle) {
            State::Publishing(flight) => *flight,
            other => {
                self.state = other;
                return Verdict::Failed;
            }
        };
        if flight.tidies {
            return self.tidied(flight, answer);
        }
        let removal = flight.operation == Operation::Remove;
        let conditional = flight.operation != Operation::Initial;
        let Answer::Response { status, entity_tag, expires_s, min_expires_s, retry_after_s } = answer else {
            let wait = self.next_backoff(random, RETRY_FIRST);
            return self.failed(now, flight.before, wait);
        };
        match status {
            200..=299 if !removal => self.acknowledged(now, flight, entity_tag, expires_s, random),
            // 412, 404: the server does not have it, which is what was wanted. Some answer 500 for 412.
            200..=299 | 404 | 412 | 500 if removal => {
                self.reset_failures();
                self.listed.clear();
                Verdict::Acknowledged { expires_s: 0 }
            }
            // The server lost it, or never gave this entity-tag: begin anew.
            412 | 500 if conditional => {
                let wait = self.next_backoff(random, CONDITIONAL_FIRST);
                self.failed(now, None, wait)
            }
            423 if self.accept_longer(min_expires_s) => {
                self.state = match flight.before {
                    Some(before) => State::Published(Box::new(before)),
                    None => State::Idle(Idle { retry_at: None }),
                };
                Verdict::Again
            }
            // Overloaded, restarting, unreachable: it passes.
            408 | 480 | 500..=599 => {
                let mut wait = self.next_backoff(random, RETRY_FIRST);
                if let Some(seconds) = retry_after_s {
                    let asked = Duration::from_secs(u64::from(seconds.min(LONGEST_S)));
                    wait = wait.max(asked + random.jittered(RETRY_FIRST));
                }
                self.failed(now, flight.before, wait)
            }
            _ => {
                self.failures = 0;
                let wait = REFUSED_WAIT + random.jittered(REFUSED_WAIT / 10);
                let verdict = self.failed(now, flight.before, wait);
                self.refused = true;
                verdict
            }
        }
    }

    fn acknowledged(
        &mut self,
        now: Timestamp,
        flight: Publishing,
        entity_tag: Option<&str>,
        expires_s: Option<u32>,
        random: &mut Random,
    ) -> Verdict {
        self.reset_failures();
        let granted_s = expires_s.unwrap_or(self.expires_s).min(LONGEST_S);
        let granted = Duration::from_secs(u64::from(granted_s));
        // One refresh may be lost for all of timer F and the next still comes in time; short times are halved.
        // The jitter spreads what was published at one moment (the tap's start) over a tenth of the time.
        let margin = (granted / 2).min(TIMER_F + Duration::from_secs(8));
        let jitter = random.jittered(granted / 10);
        let refresh_after = granted.saturating_sub(margin).saturating_sub(jitter);
        let (essence, quiet, superseded) = match (flight.essence, flight.before) {
            (Some(essence), before) => {
                let quiet = self.event == EventPackage::Dialog && flight.live.is_empty();
                self.listed = flight.live;
                let superseded = before.and_then(|before| match flight.operation {
                    Operation::Initial => before.entity_tag,
                    _ => before.superseded,
                });
                (essence, quiet, superseded)
            }
            (None, Some(before)) => (before.essence, before.quiet, before.superseded),
            (None, None) => (Vec::new(), false, None),
        };
        self.state = State::Published(Box::new(Published {
            entity_tag: entity_tag.map(str::to_owned),
            essence,
            quiet,
            superseded,
            refresh_at: now.after(refresh_after.max(Duration::from_secs(1))),
            expires_at: now.after(granted),
            retry_at: None,
        }));
        Verdict::Acknowledged { expires_s: granted_s }
    }

    /// The replaced publication is gone, or will expire: it is asked for once.
    fn tidied(&mut self, flight: Publishing, answer: Answer<'_>) -> Verdict {
        if let Some(mut published) = flight.before {
            published.superseded = None;
            self.state = State::Published(Box::new(published));
        }
        match answer {
            Answer::Response { status: 200..=299 | 404 | 412 | 500, .. } => {
                Verdict::Acknowledged { expires_s: 0 }
            }
            _ => Verdict::Failed,
        }
    }

    /// Back to what the server still has, if anything, and wait.
    fn failed(&mut self, now: Timestamp, before: Option<Published>, wait: Duration) -> Verdict {
        let retry_at = Some(now.after(wait));
        self.state = match before {
            Some(mut before) if before.expires_at > now => {
                before.retry_at = retry_at;
                State::Published(Box::new(before))
            }
            _ => State::Idle(Idle { retry_at }),
        };
        if self.leaving && self.wanted.is_none() {
            // It was tried; it will expire.
            self.state = State::Idle(Idle { retry_at: None });
        }
        Verdict::Failed
    }

    fn accept_longer(&mut self, min_expires_s: Option<u32>) -> bool {
        self.longer_tries += 1;
        let Some(least_s) = min_expires_s.filter(|&least_s| {
            least_s > self.expires_s && least_s <= LONGEST_S && self.longer_tries <= LONGER_TRIES
        }) else {
            return false;
        };
        self.expires_s = least_s;
        true
    }

    fn next_backoff(&mut self, random: &mut Random, first: Duration) -> Duration {
        let wait = backoff(random, first, RETRY_LONGEST, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.refused = false;
        wait
    }

    fn reset_failures(&mut self) {
        self.failures = 0;
        self.longer_tries = 0;
        self.refused = false;
    }
}

#[cfg(test)]
#[path = "publication_tests.rs"]
mod tests;
