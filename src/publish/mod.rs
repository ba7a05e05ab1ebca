//! Publication: presentities' states to a presence server.
//! In: `PresentityChange`, datagrams, time. Out: datagrams, outcomes. Knows nothing of tracking, sockets, clocks.
//! RFC 3903. One PUBLISH is in flight per publication; what comes meanwhile waits, and the latest of it counts.

mod document;
mod publication;
mod request;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

pub use crate::presence::EventPackage;
pub use publication::Operation;

use crate::base::{Deadlines, Limits, Random, Timestamp};
use crate::presence::PresentityChange;
use crate::presence::dialog_info::DialogInfoOptions;
use crate::sip::digest::{DigestChallenge, DigestSession, DigestUser};
use crate::sip::transaction::{ClientTransaction, Reliability, TransactionEvent};
use crate::sip::{Aor, Method, Scanner, SipMessage};
use document::Document;
use publication::{Answer, Due, Publication, Verdict};
use request::{Head, publish_request};

/// What a clean stop does with what is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// Takes it back.
    #[default]
    Remove,
    /// Leaves it until it expires.
    Keep,
}

/// How to publish. `Debug` does not show the password.
#[derive(Clone)]
pub struct PublishOptions {
    /// Where every PUBLISH is sent.
    pub next_hop: SocketAddr,
    /// The own address for Via; [`crate::io::publisher`] fills it in.
    pub local: SocketAddr,
    /// The URI in From; `None`: the presentity itself.
    pub from: Option<String>,
    /// The digest user, its own and the same for all presentities.
    pub user: Option<String>,
    /// The digest user's password.
    pub password: Option<String>,
    /// Seconds that are asked for in Expires; also the longest time between refreshes.
    pub expires_s: u32,
    /// The packages that are published.
    pub events: Vec<EventPackage>,
    /// What a clean stop does.
    pub on_stop: OnStop,
    /// See [`DialogInfoOptions::placeholder`].
    pub placeholder: bool,
    /// See [`DialogInfoOptions::remote_identity`].
    pub remote_identity: bool,
    /// Where tags, branches and jitter come from. Two runs against one server must not share it: their branches
    /// would be equal, and a server takes the second's requests for retransmissions of the first's.
    pub seed: u64,
    /// PUBLISH requests that may await their answer at once; further ones wait their turn.
    pub outstanding: usize,
}

impl PublishOptions {
    /// Both packages to this next hop, for 600 s, without credentials.
    pub fn new(next_hop: SocketAddr) -> Self {
        Self {
            next_hop,
            local: SocketAddr::new(next_hop.ip(), 5060),
            from: None,
            user: None,
            password: None,
            expires_s: 600,
            events: EventPackage::ALL.to_vec(),
            on_stop: OnStop::default(),
            placeholder: true,
            remote_identity: true,
            seed: 0,
            outstanding: 64,
        }
    }
}

impl std::fmt::Debug for PublishOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishOptions")
            .field("next_hop", &self.next_hop)
            .field("events", &self.events)
            .field("expires_s", &self.expires_s)
            .finish_non_exhaustive()
    }
}

/// What became of one operation. A challenge that was answered and a 423 that was followed are steps, not outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationOutcome {
    /// When the answer came, or was given up.
    pub at: Timestamp,
    /// Whose publication.
    pub aor: Aor,
    /// Of which package.
    pub event: EventPackage,
    /// What was done.
    pub operation: Operation,
    /// The server took it. A 404, 412 or 500 to a removal counts: it is gone.
    pub acknowledged: bool,
    /// The final response; `None` when there was none.
    pub status: Option<u16>,
    /// Seconds granted, when acknowledged; 0 for a removal.
    pub expires_s: Option<u32>,
}

struct Flight {
    transaction: ClientTransaction,
    branch: Vec<u8>,
    due: Due,
    /// Challenges answered in this attempt, those that were not stale by whether a proxy asked and its realm.
    answered: Vec<(bool, String)>,
    challenges: u32,
}

struct Entry {
    publication: Publication,
    call_id: String,
    from_tag: String,
    cseq: u32,
    flight: Option<Flight>,
    queued: bool,
    deadline: Option<Timestamp>,
}

/// A nonce is answered at most so often in one attempt, stale ones included.
const CHALLENGES_PER_ATTEMPT: u32 = 4;
/// Nonces in use at once: a server's, and those of proxies before it.
const DIGEST_SESSIONS: usize = 4;

/// Many publications at one next hop over UDP. A body too large for UDP (RFC 3261 section 18.1.1) is sent over it
/// all the same.
pub struct Publisher {
    options: PublishOptions,
    dialog_info: DialogInfoOptions,
    most_publications: usize,
    who: Option<DigestUser>,
    /// Away while a message that it read is being looked at.
    scanner: Option<Scanner>,
    random: Random,
    index: BTreeMap<(Aor, EventPackage), u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    branches: BTreeMap<Vec<u8>, u32>,
    /// Publications with something due, in the order in which that came.
    ready: VecDeque<u32>,
    deadlines: Deadlines<u32>,
    digest: Vec<DigestSession>,
    packages_off: Vec<EventPackage>,
    transmits: VecDeque<Vec<u8>>,
    outcomes: VecDeque<PublicationOutcome>,
    not_taken: u64,
    stopped: bool,
}

impl Publisher {
    /// A publisher that has published nothing.
    pub fn new(options: PublishOptions, limits: &Limits) -> Self {
        let who = match (&options.user, &options.password) {
            (Some(user), Some(password)) => {
                Some(DigestUser { user: user.clone(), password: password.clone() })
            }
            _ => None,
        };
        Self {
            dialog_info: DialogInfoOptions {
                placeholder: options.placeholder,
                remote_identity: options.remote_identity,
                dialogs_per_document: limits.dialogs_per_document,
            },
            most_publications: limits
                .presentities
                .saturating_mul(EventPackage::ALL.len())
                .min(u32::MAX as usize),
            who,
            scanner: Some(Scanner::new(limits)),
            random: Random::new(options.seed),
            index: BTreeMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            branches: BTreeMap::new(),
            ready: VecDeque::new(),
            deadlines: Deadlines::new(),
            digest: Vec::new(),
            packages_off: Vec::new(),
            transmits: VecDeque::new(),
            outcomes: VecDeque::new(),
            not_taken: 0,
            stopped: false,
            options,
        }
    }

    /// A presentity is now as the change says. One that may not be published takes back what was.
    pub fn handle_change(&mut self, now: Timestamp, change: &PresentityChange) {
        self.handle_timeout(now);
        if self.stopped {
            return;
        }
        for event in EventPackage::ALL {
            if !self.options.events.contains(&event) || self.packages_off.contains(&event) {
                continue;
            }
            let document = if change.state.publishable {
                Document::new(event, &change.aor, change.at, &change.state, self.dialog_info)
            } else {
                None
            };
            let name = (change.aor.clone(), event);
            let key = match self.index.get(&name) {
                Some(&key) => key,
                None if document.is_none() => continue,
                None => match self.insert(name) {
                    Some(key) => key,
                    None => {
                        self.not_taken += 1;
                        continue;
                    }
                },
            };
            if let Some(entry) = self.entry(key) {
                entry.publication.want(document);
            }
            self.settle(now, key);
        }
        self.pump(now);
    }

    /// A datagram came from the next hop. What is no response to a request in flight is ignored.
    pub fn handle_datagram(&mut self, now: Timestamp, bytes: &[u8]) {
        self.handle_timeout(now);
        let Some(mut scanner) = self.scanner.take() else {
            return;
        };
        if let Ok(message) = scanner.scan(bytes)
            && let Some(status) = message.status()
            && let Some(&key) = self.branches.get(message.top_branch())
        {
            self.handle_response(now, key, status, &message);
        }
        self.scanner = Some(scanner);
        self.pump(now);
    }

    /// The network said that the next hop cannot be reached (ICMP): what is in flight has failed.
    pub fn handle_transport_error(&mut self, now: Timestamp) {
        self.handle_timeout(now);
        let keys: Vec<u32> = self.branches.values().copied().collect();
        for key in keys {
            if let Some(flight) = self.entry(key).and_then(|entry| entry.flight.as_mut()) {
                flight.transaction.handle_transport_error();
            }
            self.after_timer(now, key);
        }
        self.pump(now);
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.deadlines.pop_due(now) {
            if let Some(entry) = self.entry(key) {
                entry.deadline = None;
                match &mut entry.flight {
                    Some(flight) => flight.transaction.handle_timeout(now),
                    None => entry.publication.handle_timeout(now),
                }
            }
            self.after_timer(now, key);
        }
        self.pump(now);
    }

    /// Stops: nothing is refreshed any more, and what is published is taken back or left, as the options say.
    /// Call the others until [`Self::is_settled`].
    pub fn stop(&mut self, now: Timestamp) {
        self.stopped = true;
        let remove = self.options.on_stop == OnStop::Remove;
        for key in 0..self.entries.len() as u32 {
            if let Some(entry) = self.entry(key) {
                entry.publication.leave(remove);
                self.settle(now, key);
            }
        }
        self.pump(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// A datagram to send to the next hop.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    /// What became of an operation.
    pub fn poll_outcome(&mut self) -> Option<PublicationOutcome> {
        self.outcomes.pop_front()
    }

    /// All that is wanted is acknowledged, or was refused for good; nothing is in flight.
    pub fn is_settled(&self) -> bool {
        self.branches.is_empty()
            && self.ready.is_empty()
            && self.entries.iter().flatten().all(|entry| entry.publication.is_settled())
    }

    /// Packages that the server does not want (489, 415): nothing of them is published any more.
    pub fn packages_off(&self) -> &[EventPackage] {
        &self.packages_off
    }

    /// Changes that were not published because there were too many publications.
    pub const fn not_taken(&self) -> u64 {
        self.not_taken
    }

    fn entry(&mut self, key: u32) -> Option<&mut Entry> {
        self.entries.get_mut(key as usize)?.as_mut()
    }

    fn insert(&mut self, name: (Aor, EventPackage)) -> Option<u32> {
        if self.index.len() >= self.most_publications {
            return None;
        }
        let (aor, event) = name.clone();
        let entry = Entry {
            publication: Publication::new(aor, event, self.options.expires_s, self.dialog_info),
            call_id: format!("{}{}", self.random.token(), self.random.token()),
            from_tag: self.random.token(),
            cseq: 0,
            flight: None,
            queued: false,
            deadline: None,
        };
        let key = match self.free.pop() {
            Some(key) => {
                if let Some(place) = self.entries.get_mut(key as usize) {
                    *place = Some(entry);
                }
                key
            }
            None => {
                self.entries.push(Some(entry));
                (self.entries.len() - 1) as u32
            }
        };
        self.index.insert(name, key);
        Some(key)
    }

    /// After anything that changed an entry: its next deadline, its place in the queue, or its end.
    fn settle(&mut self, now: Timestamp, key: u32) {
        let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        let at = match &entry.flight {
            Some(flight) => flight.transaction.poll_timeout(),
            None if entry.queued => None,
            None if entry.publication.is_over() => {
                self.deadlines.set(&mut entry.deadline, key, None);
                let name = (entry.publication.aor.clone(), entry.publication.event);
                self.index.remove(&name);
                self.free.push(key);
                if let Some(place) = self.entries.get_mut(key as usize) {
                    *place = None;
                }
                return;
            }
            None => match entry.publication.poll_timeout() {
                Some(at) if at <= now => {
                    entry.queued = true;
                    self.ready.push_back(key);
                    None
                }
                at => at,
            },
        };
        self.deadlines.set(&mut entry.deadline, key, at);
    }

    /// Sends what is due, as far as the bound on requests in flight allows.
    fn pump(&mut self, now: Timestamp) {
        while self.branches.len() < self.options.outstanding.max(1) {
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            let Some(entry) = self.entry(key) else {
                continue;
            };
            entry.queued = false;
            if entry.flight.is_none()
                && let Some(due) = entry.publication.poll_due(now)
            {
                self.begin(now, key, due, Vec::new(), 0);
            }
            self.settle(now, key);
        }
    }

    fn begin(&mut self, now: Timestamp, key: u32, due: Due, answered: Vec<(bool, String)>, challenges: u32) {
        // RFC 3261 section 8.1.1.7: the magic cookie.
        let branch = format!("z9hG4bK{}", self.random.token());
        let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        entry.cseq = entry.cseq.wrapping_add(1) & 0x7fff_ffff;
        let head = Head {
            local: self.options.local,
            branch: &branch,
            aor: entry.publication.aor.as_str(),
            from: self.options.from.as_deref().unwrap_or(entry.publication.aor.as_str()),
            from_tag: &entry.from_tag,
            call_id: &entry.call_id,
            cseq: entry.cseq,
            event: entry.publication.event,
        };
        let credentials = self.who.as_ref().map(|who| (who, self.digest.as_mut_slice()));
        match publish_request(&head, &due, credentials) {
            Ok(bytes) => {
                let mut transaction = ClientTransaction::new(
                    now,
                    branch.as_bytes(),
                    Method::Publish,
                    bytes,
                    Reliability::Unreliable,
                );
                if let Some(bytes) = transaction.poll_transmit() {
                    self.transmits.push_back(bytes.to_vec());
                }
                self.branches.insert(branch.clone().into_bytes(), key);
                entry.flight =
                    Some(Flight { transaction, branch: branch.into_bytes(), due, answered, challenges });
            }
            Err(_) => {
                // Its AOR or the configured From cannot stand in a message; asked for again hourly, as a refusal.
                let operation = due.operation;
                self.conclude(now, key, operation, None, refusal(400));
            }
        }
    }

    /// Tells a publication its answer, and the outcome.
    fn conclude(
        &mut self,
        now: Timestamp,
        key: u32,
        operation: Operation,
        status: Option<u16>,
        answer: Answer<'_>,
    ) {
        let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        let verdict = entry.publication.handle_answer(now, answer, &mut self.random);
        let expires_s = match verdict {
            Verdict::Acknowledged { expires_s } => Some(expires_s),
            Verdict::Failed => None,
            Verdict::Again => return,
        };
        self.outcomes.push_back(PublicationOutcome {
            at: now,
            aor: entry.publication.aor.clone(),
            event: entry.publication.event,
            operation,
            acknowledged: expires_s.is_some(),
            status,
            expires_s,
        });
    }

    fn after_timer(&mut self, now: Timestamp, key: u32) {
        let mut silence = None;
        if let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::as_mut)
            && let Some(flight) = &mut entry.flight
        {
            if let Some(bytes) = flight.transaction.poll_transmit() {
                self.transmits.push_back(bytes.to_vec());
            }
            if let Some(TransactionEvent::TimedOut | TransactionEvent::TransportFailed) =
                flight.transaction.poll_event()
            {
                self.branches.remove(&flight.branch);
                silence = entry.flight.take().map(|flight| flight.due.operation);
            }
        }
        if let Some(operation) = silence {
            self.conclude(now, key, operation, None, Answer::Silence);
        }
        self.settle(now, key);
    }

    fn handle_response(&mut self, now: Timestamp, key: u32, status: u16, message: &SipMessage<'_>) {
        let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        let Some(flight) = entry
            .flight
            .as_mut()
            .filter(|flight| flight.transaction.matches(message.top_branch(), message.cseq().method))
        else {
            return;
        };
        flight.transaction.handle(now, status);
        if let Some(TransactionEvent::Final(status)) = flight.transaction.poll_event() {
            // Copies of this response find no branch and are ignored, which is all that timer K is for.
            self.branches.remove(&flight.branch);
            if let Some(flight) = entry.flight.take() {
                self.handle_final(now, key, status, flight, message);
            }
        }
        self.settle(now, key);
    }

    fn handle_final(
        &mut self,
        now: Timestamp,
        key: u32,
        status: u16,
        mut flight: Flight,
        message: &SipMessage<'_>,
    ) {
        if matches!(status, 401 | 407) && self.accept_challenge(&mut flight, status, message) {
            let Flight { due, answered, challenges, .. } = flight;
            self.begin(now, key, due, answered, challenges);
            return;
        }
        let operation = flight.due.operation;
        let entity_tag = request::entity_tag(message);
        let answer = Answer::Response {
            status,
            entity_tag: entity_tag.as_deref(),
            expires_s: message.expires(),
            min_expires_s: message.min_expires(),
            retry_after_s: message.retry_after(),
        };
        self.conclude(now, key, operation, Some(status), answer);
        if matches!(status, 415 | 489)
            && let Some(event) = self.entry(key).map(|entry| entry.publication.event)
            && !self.packages_off.contains(&event)
        {
            self.packages_off.push(event);
            for key in 0..self.entries.len() as u32 {
                if let Some(entry) = self.entry(key)
                    && entry.publication.event == event
                {
                    entry.publication.want(None);
                    self.settle(now, key);
                }
            }
        }
    }

    /// Remembers the challenge's nonce; `true` if the request is to be sent again with an answer to it. A password
    /// is tried once per attempt: a second challenge that does not say "stale" means that it is wrong.
    fn accept_challenge(&mut self, flight: &mut Flight, status: u16, message: &SipMessage<'_>) -> bool {
        if self.who.is_none() || flight.challenges >= CHALLENGES_PER_ATTEMPT {
            return false;
        }
        let proxy = status == 407;
        let raw = message.challenges().filter(|challenge| challenge.proxy == proxy);
        let Some(challenge) = DigestChallenge::strongest(raw) else {
            return false;
        };
        let name = (challenge.proxy, challenge.realm.clone());
        let is_same = |session: &DigestSession| {
            session.challenge().proxy == name.0 && session.challenge().realm == name.1
        };
        self.digest.retain(|session| !is_same(session));
        if !challenge.stale {
            if flight.answered.contains(&name) {
                return false;
            }
            flight.answered.push(name);
        }
        flight.challenges += 1;
        if self.digest.len() >= DIGEST_SESSIONS {
            self.digest.remove(0);
        }
        let cnonce = self.random.token();
        self.digest.push(DigestSession::new(challenge, cnonce));
        true
    }
}

const fn refusal(status: u16) -> Answer<'static> {
    Answer::Response { status, entity_tag: None, expires_s: None, min_expires_s: None, retry_after_s: None }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod simulation_tests;
