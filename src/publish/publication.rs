//! One publication: what a presence server knows of one presentity in one event package, or of one facet of it.
//! In: what is to be said, answers, time. Out: which operation is due, and its body. Knows nothing of SIP messages,
//! transactions, sockets.
//! RFC 3903 section 4.
//!
//! An entity-tag is known to the server that gave it, and to others that share its state. After a failover the next
//! server is sent it all the same. If it shares the state, it takes it, and there is still one publication. If it
//! answers 412, the publication begins anew there; the old one is kept in mind until it expires, and is gone on with,
//! not doubled, if its server is turned to again by then.

use std::time::Duration;

use crate::base::Timestamp;
use crate::base::{Random, backoff};
use crate::presence::DialogView;
use crate::presence::EventPackage;
use crate::presence::dialog_info::DialogInfoOptions;
use crate::publish::document::{Document, Lifetime, Part, farewell};
use crate::publish::operation::{Answer, Due, Operation, Verdict};
use crate::publish::options::PublishMethod;
use crate::publish::server::{AWAY_LONGEST, Blame, ServerId};
use crate::sip::Aor;
use crate::sip::transaction::TIMER_F;

/// What all publications have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublicationOptions {
    pub(crate) method: PublishMethod,
    /// Seconds that one lasts by the own timer.
    pub(crate) expires_s: u32,
    pub(crate) dialog_info: DialogInfoOptions,
}

#[derive(Clone, Debug)]
struct Idle {
    retry_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Publishing {
    operation: Operation,
    server: ServerId,
    /// What the server acknowledged before, while that lasts.
    before: Option<Published>,
    /// What this request says.
    essence: Option<Vec<u8>>,
    /// The dialogs that it lists as live.
    live: Vec<DialogView>,
    asked_s: u32,
    lifetime: Lifetime,
    /// It only takes back what another publication has replaced.
    tidies: bool,
}

#[derive(Clone, Debug)]
struct Published {
    /// Who stored it.
    server: ServerId,
    /// A server that gives none (RFC 3903 section 6 demands one) gets initial publications only.
    entity_tag: Option<String>,
    essence: Vec<u8>,
    /// A dialog document without a live dialog. Kamailio takes no modification of such a one: it answers 200 and
    /// forgets it. The next document is an initial publication, then, and the old one is taken back after it.
    quiet: bool,
    /// The entity-tag of the publication that this one replaced.
    superseded: Option<String>,
    /// What it was asked to last.
    lifetime: Lifetime,
    /// By the own timer; `None` while it lasts as long as the registration.
    refresh_at: Option<Timestamp>,
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
/// No Retry-After and no Min-Expires is believed beyond this, and no publication asks for more.
const LONGEST_S: u32 = 86_400;
/// 423 this often in a row: the server does not mean it.
const LONGER_TRIES: u32 = 3;
/// A registration that ends so much later, or sooner, was refreshed; less is the rounding of the registrar.
const REFRESHED: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) aor: Aor,
    pub(crate) part: Part,
    state: State,
    wanted: Option<Document>,
    /// What a server that shares no state with the one in use still stores.
    elsewhere: Option<Box<Published>>,
    /// Dialogs that watchers may believe to be live.
    listed: Vec<DialogView>,
    version: u32,
    /// No shorter time is asked for (423).
    least_s: u32,
    failures: u32,
    longer_tries: u32,
    /// The last answer was one that waiting does not mend.
    refused: bool,
    /// The last request failed for want of a server.
    awaits_server: bool,
    /// No refreshes any more: what is published stays until it expires.
    leaving: bool,
    options: PublicationOptions,
}

impl Publication {
    pub(crate) const fn new(aor: Aor, part: Part, options: PublicationOptions) -> Self {
        Self {
            aor,
            part,
            state: State::Idle(Idle { retry_at: None }),
            wanted: None,
            elsewhere: None,
            listed: Vec::new(),
            version: 0,
            least_s: 0,
            failures: 0,
            longer_tries: 0,
            refused: false,
            awaits_server: false,
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
            self.stop_waiting();
            self.refused = false;
        }
    }

    /// A server works again: no more waiting for that.
    pub(crate) fn handle_server_back(&mut self) {
        if std::mem::take(&mut self.awaits_server) {
            self.stop_waiting();
        }
    }

    /// From now on this server is asked, and it knows nothing of what others store.
    pub(crate) fn move_to(&mut self, now: Timestamp, server: ServerId) {
        if let State::Published(published) = &mut self.state
            && published.server != server
            && !self.leaving
        {
            published.refresh_at = Some(now);
        }
    }

    fn stop_waiting(&mut self) {
        match &mut self.state {
            State::Idle(idle) => idle.retry_at = None,
            State::Published(published) => published.retry_at = None,
            State::Publishing(_) => {}
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

    /// The server knows which publication is meant: by its entity-tag, or a REGISTER by its Call-ID.
    fn is_named(&self, published: &Published) -> bool {
        self.options.method == PublishMethod::Register || published.entity_tag.is_some()
    }

    /// The next operation and the moment from which on it may be sent; `None` while one is in flight or none is
    /// needed.
    fn planned(&self) -> Option<(Timestamp, Operation)> {
        let published = match &self.state {
            State::Publishing(_) => return None,
            State::Idle(idle) => {
                self.wanted.as_ref()?;
                return Some((idle.retry_at.unwrap_or_default(), Operation::Initial));
            }
            State::Published(published) => published,
        };
        let soon = published.retry_at.unwrap_or_default();
        let named = self.is_named(published);
        match &self.wanted {
            // Busy lamps would go on showing what a removed document listed: it says "terminated" first.
            None if self.part.event == EventPackage::Dialog && !self.listed.is_empty() && named => {
                Some((soon, Operation::Modify))
            }
            None => Some((soon, Operation::Remove)),
            Some(wanted) if wanted.essence() != published.essence => {
                let operation =
                    if named && !published.quiet { Operation::Modify } else { Operation::Initial };
                Some((soon, operation))
            }
            Some(_) if published.superseded.is_some() => Some((soon, Operation::Remove)),
            Some(_) if self.leaving => None,
            Some(wanted) => {
                let at = match (wanted.lifetime(), published.lifetime) {
                    (Lifetime::Registration { ends, .. }, Lifetime::Registration { ends: told, .. })
                        if ends.since(told).max(told.since(ends)) > REFRESHED =>
                    {
                        Timestamp::EPOCH
                    }
                    _ => published.refresh_at?,
                };
                Some((at.max(soon), if named { Operation::Refresh } else { Operation::Initial }))
            }
        }
    }

    /// The operation that is due.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Operation> {
        self.planned().filter(|&(at, _)| at <= now).map(|(_, operation)| operation)
    }

    /// When an operation is due or what was published expires.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        let next = self.planned().map(|(at, _)| at);
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
        // A registration that is over is not announced again: the tap is about to say that it is.
        if let (State::Idle(_), Some(wanted)) = (&self.state, &self.wanted)
            && matches!(wanted.lifetime(), Lifetime::Registration { until, .. } if until <= now)
        {
            self.wanted = None;
        }
    }

    /// Begins the operation that is due, with this server.
    ///
    /// ```text
    ///                 wanted: initial                2xx to initial
    ///     +--------+                 +------------+  modify, refresh    +-----------+
    ///     |        |---------------->|            |-------------------->|           |
    ///     |  Idle  |                 | Publishing |                     | Published |
    ///     |        |<----------------|            |<--------------------|           |
    ///     +--------+ 2xx, 404, 412,  +------------+  changed: modify    +-----------+
    ///         ^      500 to remove     |   ^   |     refresh_at, or the    |  ^
    ///         |      412, 500 to the   |   |   |     phone's: refresh      |  |
    ///         |      others; failed    +---+   |     not wanted: remove    |  |
    ///         |      with no entity-  423: again,                          |  |
    ///         |      tag that lasts   longer   +---------------------------+--+
    ///         |                                  failed, entity-tag still lasts
    ///         +------------------------------------------------------------+
    ///                     expires_at without an acknowledged refresh
    /// ```
    pub(crate) fn poll_due(&mut self, now: Timestamp, server: ServerId) -> Option<Due> {
        self.handle_timeout(now);
        self.next(now)?;
        self.turn_to(now, server);
        // Another server's publication may need another operation, but none that is not due.
        let operation = self.next(now)?;
        let before = match std::mem::replace(&mut self.state, State::Idle(Idle { retry_at: None })) {
            State::Published(published) => Some(*published),
            _ => None,
        };
        let names_none = before.as_ref().is_some_and(|published| !self.is_named(published));
        if operation == Operation::Remove && names_none {
            // Nothing to name it by: it expires.
            return None;
        }
        let tidies = operation == Operation::Remove && self.wanted.is_some();
        let entity_tag = before.as_ref().and_then(|published| match operation {
            Operation::Initial => None,
            _ if tidies => published.superseded.clone(),
            _ => published.entity_tag.clone(),
        });
        let lifetime = self.wanted.as_ref().map_or(Lifetime::OwnTimer, Document::lifetime);
        let asked_s = if operation == Operation::Remove { 0 } else { self.asked_s(now, lifetime) };
        let with_body = match operation {
            Operation::Initial | Operation::Modify => true,
            Operation::Refresh => self.options.method == PublishMethod::Register,
            Operation::Remove => false,
        };
        let mut publishing = Publishing {
            operation,
            server,
            before,
            essence: None,
            live: Vec::new(),
            asked_s,
            lifetime,
            tidies,
        };
        let mut body = Vec::new();
        if with_body {
            body = self.body();
            self.version = self.version.wrapping_add(1);
            let wanted = self.wanted.as_ref();
            publishing.live = wanted.map(|wanted| wanted.live(self.part)).unwrap_or_default();
            publishing.essence = Some(wanted.map(|wanted| wanted.essence().to_vec()).unwrap_or_default());
            self.list(&publishing.live);
        }
        self.state = State::Publishing(Box::new(publishing));
        Some(Due { operation, entity_tag, expires_s: asked_s, body })
    }

    /// What this server still stores is gone on with; what another one stores is kept in mind.
    fn turn_to(&mut self, now: Timestamp, server: ServerId) {
        let Some(elsewhere) =
            self.elsewhere.take_if(|elsewhere| elsewhere.expires_at <= now || elsewhere.server == server)
        else {
            return;
        };
        if elsewhere.expires_at <= now {
            return;
        }
        match &mut self.state {
            State::Published(published) if published.server == server => {}
            State::Published(published) => {
                let mut left = std::mem::replace(published, elsewhere);
                // What is due of the one is due of the other.
                published.retry_at = left.retry_at.take();
                published.refresh_at = left.refresh_at;
                self.elsewhere = Some(left);
            }
            State::Idle(_) => self.state = State::Published(elsewhere),
            State::Publishing(_) => {}
        }
    }

    fn asked_s(&self, now: Timestamp, lifetime: Lifetime) -> u32 {
        let asked_s = match lifetime {
            Lifetime::OwnTimer => self.options.expires_s,
            Lifetime::Registration { until, .. } => {
                // Rounded up: it must not end before the registration does.
                let left = until.since(now) + Duration::from_nanos(999_999_999);
                u32::try_from(left.as_secs()).unwrap_or(LONGEST_S).clamp(1, LONGEST_S)
            }
        };
        asked_s.max(self.least_s)
    }

    fn body(&self) -> Vec<u8> {
        let options = self.options.dialog_info;
        match &self.wanted {
            Some(wanted) => wanted.body(self.part, &self.aor, &self.listed, self.version, options),
            None => farewell(&self.aor, &self.listed, self.version, options),
        }
    }

    /// The server may take what is sent even if its answer is lost.
    fn list(&mut self, live: &[DialogView]) {
        for dialog in live {
            match self.listed.iter_mut().find(|seen| seen.end == dialog.end) {
                Some(seen) => seen.clone_from(dialog),
                None => self.listed.push(dialog.clone()),
            }
        }
        let too_many = self.listed.len().saturating_sub(2 * self.options.dialog_info.dialogs_per_document);
        self.listed.drain(..too_many);
    }

    /// Takes the answer to the request in flight.
    pub(crate) fn handle_answer(
        &mut self,
        now: Timestamp,
        answer: Answer<'_>,
        blame: Blame,
        random: &mut Random,
    ) -> Verdict {
        self.awaits_server = false;
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
        // Of a REGISTER the server needs to know nothing before.
        let conditional =
            flight.operation != Operation::Initial && self.options.method == PublishMethod::Publish;
        let Answer::Response { status, entity_tag, expires_s, min_expires_s, retry_after_s } = answer else {
            return self.unserved(now, flight.before, blame, random);
        };
        match status {
            200..=299 if !removal => self.acknowledged(now, flight, entity_tag, expires_s, random),
            // 412, 404: the server does not have it, which is what was wanted. Some answer 500 for 412.
            200..=299 | 404 | 412 | 500 if removal => {
                self.reset_failures();
                self.listed.clear();
                Verdict::Acknowledged { expires_s: 0 }
            }
            // Another server gave this entity-tag, and has it still, for all that is known.
            412 if conditional
                && flight.before.as_ref().is_some_and(|before| before.server != flight.server) =>
            {
                self.elsewhere = flight.before.map(Box::new);
                let wait = self.next_backoff(random, CONDITIONAL_FIRST, RETRY_LONGEST);
                self.failed(now, None, wait);
                Verdict::NotShared
            }
            // The server lost it, or never gave this entity-tag: begin anew.
            412 | 500 if conditional => {
                let wait = self.next_backoff(random, CONDITIONAL_FIRST, RETRY_LONGEST);
                self.failed(now, None, wait)
            }
            423 if self.accept_longer(flight.asked_s, min_expires_s) => {
                self.state = match flight.before {
                    Some(before) => State::Published(Box::new(before)),
                    None => State::Idle(Idle { retry_at: None }),
                };
                Verdict::Again
            }
            // The servers' own Retry-After is kept with them.
            503 => self.unserved(now, flight.before, blame, random),
            // Overloaded, restarting, unreachable: it passes.
            408 | 480 | 500..=599 => {
                let mut wait = self.next_backoff(random, RETRY_FIRST, RETRY_LONGEST);
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
        let granted_s = expires_s.unwrap_or(flight.asked_s).min(LONGEST_S);
        let granted = Duration::from_secs(u64::from(granted_s));
        // One refresh may be lost for all of timer F and the next still comes in time; short times are halved.
        // The jitter spreads what was published at one moment (the tap's start) over a tenth of the time.
        let margin = (granted / 2).min(TIMER_F + Duration::from_secs(8));
        let jitter = random.jittered(granted / 10);
        let refresh_after = granted.saturating_sub(margin).saturating_sub(jitter);
        let refreshed_by_phone =
            matches!(flight.lifetime, Lifetime::Registration { .. }) && granted_s >= flight.asked_s;
        let (essence, quiet, superseded) = match (flight.essence, flight.before) {
            (Some(essence), before) => {
                let quiet = self.part.event == EventPackage::Dialog
                    && self.options.method == PublishMethod::Publish
                    && flight.live.is_empty();
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
            server: flight.server,
            entity_tag: entity_tag
                .filter(|_| self.options.method == PublishMethod::Publish)
                .map(str::to_owned),
            essence,
            quiet,
            superseded,
            lifetime: flight.lifetime,
            refresh_at: (!refreshed_by_phone).then(|| now.after(refresh_after.max(Duration::from_secs(1)))),
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

    /// Nobody took the request: to the next server at once, or wait until one works again or the time has come.
    fn unserved(
        &mut self,
        now: Timestamp,
        before: Option<Published>,
        blame: Blame,
        random: &mut Random,
    ) -> Verdict {
        let wait = match blame {
            Blame::OneServer => Duration::ZERO,
            Blame::AllServers => self.next_backoff(random, RETRY_FIRST, AWAY_LONGEST),
            Blame::Publication => self.next_backoff(random, RETRY_FIRST, RETRY_LONGEST),
        };
        self.awaits_server = blame != Blame::Publication;
        self.failed(now, before, wait)
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
        if self.leaving && self.wanted.is_none() && !self.awaits_server {
            // It was tried; it will expire.
            self.state = State::Idle(Idle { retry_at: None });
        }
        Verdict::Failed
    }

    fn accept_longer(&mut self, asked_s: u32, min_expires_s: Option<u32>) -> bool {
        self.longer_tries += 1;
        let Some(least_s) = min_expires_s.filter(|&least_s| {
            least_s > asked_s && least_s <= LONGEST_S && self.longer_tries <= LONGER_TRIES
        }) else {
            return false;
        };
        self.least_s = least_s;
        true
    }

    fn next_backoff(&mut self, random: &mut Random, first: Duration, longest: Duration) -> Duration {
        let wait = backoff(random, first, longest, self.failures);
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
