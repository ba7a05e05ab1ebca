//! Many publications at a presence server, or at the next of several.
//! In: `PresentityChange`, messages, candidates, time. Out: messages, outcomes. Knows nothing of sockets, clocks.

use std::collections::{BTreeMap, VecDeque};

use crate::base::Random;
use crate::base::{Deadlines, Hop, Limits, Timestamp, Transmit};
use crate::presence::EventPackage;
use crate::presence::PresentityChange;
use crate::presence::dialog_info::DialogInfoOptions;
use crate::publish::PublicationOutcome;
use crate::publish::document::{Document, Part};
use crate::publish::operation::{Answer, Due, Operation, Verdict};
use crate::publish::options::{OnStop, PublishOptions, RefreshOn};
use crate::publish::publication::{Publication, PublicationOptions};
use crate::publish::request::{self, Head, Request};
use crate::publish::server::{Blame, Blocked, Failure, Server, ServerId, Servers, Service, same_peer};
use crate::sip::authenticator::{Attempt, Authenticator};
use crate::sip::flights::{Flight, Flights, Loss};
use crate::sip::{Aor, OWN_CALL_ID_PREFIX, Scanner, SipMessage};

/// What an answer is for.
struct Cargo {
    server: ServerId,
    sent_at: Timestamp,
    due: Due,
    attempt: Attempt,
}

struct Entry {
    publication: Publication,
    call_id: String,
    from_tag: String,
    cseq: u32,
    flight: Option<Flight<Cargo>>,
    queued: bool,
    deadline: Option<Timestamp>,
}

/// What is to be sent, and to whom.
struct Departure {
    due: Due,
    server: ServerId,
    /// How the server is reached, other than with what is too large for it.
    hop: Hop,
    attempt: Attempt,
}

/// Many publications at one of several servers.
pub struct Publisher {
    options: PublishOptions,
    each: PublicationOptions,
    parts: Vec<Part>,
    most_publications: usize,
    authenticator: Authenticator,
    /// Away while a message that it read is being looked at.
    scanner: Option<Scanner>,
    random: Random,
    index: BTreeMap<(Aor, Part), u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    flights: Flights,
    /// Publications with something due, in the order in which that came.
    ready: VecDeque<u32>,
    deadlines: Deadlines<u32>,
    servers: Servers,
    /// When more of what is ready may be sent.
    pump_at: Option<Timestamp>,
    packages_off: Vec<EventPackage>,
    /// A server did not know what another one stored.
    stores_are_separate: bool,
    transmits: VecDeque<Transmit>,
    outcomes: VecDeque<PublicationOutcome>,
    resolve: bool,
    not_taken: u64,
    stopped: bool,
}

impl Publisher {
    /// A publisher that has published nothing.
    pub fn new(options: PublishOptions, limits: &Limits) -> Self {
        let parts = Part::chosen(&options.events, options.facets);
        Self {
            each: PublicationOptions {
                method: options.method,
                expires_s: options.expires_s,
                dialog_info: DialogInfoOptions {
                    placeholder: options.placeholder,
                    remote_identity: options.remote_identity,
                    dialogs_per_document: limits.dialogs_per_document,
                },
            },
            most_publications: limits.presentities.saturating_mul(parts.len()).min(u32::MAX as usize),
            parts,
            authenticator: Authenticator::new(options.user.as_deref(), options.password.as_deref()),
            scanner: Some(Scanner::new(limits)),
            random: Random::new(options.seed),
            index: BTreeMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            flights: Flights::default(),
            ready: VecDeque::new(),
            deadlines: Deadlines::new(),
            servers: Servers::new(options.outstanding, options.per_s),
            pump_at: None,
            packages_off: Vec::new(),
            stores_are_separate: false,
            transmits: VecDeque::new(),
            outcomes: VecDeque::new(),
            resolve: false,
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
        for part in self.parts.clone() {
            let mut document = match change.state.publishable {
                true => Document::new(part, change, self.each.dialog_info),
                false => None,
            };
            if let (Some(document), RefreshOn::Registration) = (&mut document, self.options.refresh) {
                document.follow_registration(part, now);
            }
            let name = (change.aor.clone(), part);
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

    /// These are the servers' addresses now, the best first: the answer to [`Self::poll_resolve`], or news. An empty
    /// list says that there are none; it is asked again later.
    pub fn handle_servers(&mut self, now: Timestamp, servers: &[Server]) {
        self.handle_timeout(now);
        self.servers.replace(now, servers, &mut self.random);
        self.pump(now);
    }

    /// A whole message came over this hop. What is no response to a request in flight is ignored; whose response it
    /// is says its branch, whatever way it took (RFC 3261 section 17.1.3).
    pub fn handle_message(&mut self, now: Timestamp, _hop: Hop, bytes: &[u8]) {
        self.handle_timeout(now);
        let Some(mut scanner) = self.scanner.take() else {
            return;
        };
        if let Ok(message) = scanner.scan(bytes)
            && let Some(status) = message.status()
            && let Some(key) = self.flights.sender_of(&message)
        {
            self.handle_response(now, key, status, &message);
        }
        self.scanner = Some(scanner);
        self.pump(now);
    }

    /// Nothing that was sent over this hop's transport to its remote address arrives (ICMP, a refused or broken
    /// connection): what is in flight there has failed.
    pub fn handle_transport_error(&mut self, now: Timestamp, hop: Hop) {
        self.handle_timeout(now);
        for key in self.flights.senders() {
            if let Some(flight) = self.entry(key).and_then(|entry| entry.flight.as_mut())
                && same_peer(&flight.hop, &hop)
            {
                flight.handle_transport_error();
                self.after_timer(now, key);
            }
        }
        self.pump(now);
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.deadlines.pop_due(now) {
            if let Some(entry) = self.entry(key) {
                entry.deadline = None;
                match &mut entry.flight {
                    Some(flight) => flight.handle_timeout(now),
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
        self.for_each(now, |publication| publication.leave(remove));
        self.pump(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.deadlines.next(), self.pump_at, self.servers.poll_timeout()].into_iter().flatten().min()
    }

    /// A message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The servers' addresses are to be looked up (RFC 3263), at first and when none of them answers; told once. The
    /// answer is [`Self::handle_servers`].
    pub fn poll_resolve(&mut self) -> bool {
        std::mem::take(&mut self.resolve)
    }

    /// What became of an operation.
    pub fn poll_outcome(&mut self) -> Option<PublicationOutcome> {
        self.outcomes.pop_front()
    }

    /// All that is wanted is acknowledged, or was refused for good; nothing is in flight.
    pub fn is_settled(&self) -> bool {
        self.flights.is_empty()
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

    fn insert(&mut self, name: (Aor, Part)) -> Option<u32> {
        if self.index.len() >= self.most_publications {
            return None;
        }
        let (aor, part) = name.clone();
        let entry = Entry {
            publication: Publication::new(aor, part, self.each),
            call_id: format!("{OWN_CALL_ID_PREFIX}{}{}", self.random.token(), self.random.token()),
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
            Some(flight) => flight.poll_timeout(),
            None if entry.queued => None,
            None if entry.publication.is_over() => {
                self.deadlines.set(&mut entry.deadline, key, None);
                let name = (entry.publication.aor.clone(), entry.publication.part);
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

    /// Sends what is due, as far as the servers allow.
    fn pump(&mut self, now: Timestamp) {
        self.pump_at = None;
        self.resolve |= self.servers.poll_resolve(now);
        while let Some(&key) = self.ready.front() {
            let next = self.entry(key).filter(|entry| entry.flight.is_none()).and_then(|entry| {
                entry.publication.handle_timeout(now);
                entry.publication.next(now)
            });
            let taken = match next {
                Some(operation) => self.servers.take(now, operation == Operation::Refresh).map(Some),
                None => Ok(None),
            };
            let taken = match taken {
                Ok(taken) => taken,
                Err(blocked) => {
                    self.pump_at = match blocked {
                        Blocked::Until(at) => Some(at),
                        Blocked::UntilTold => None,
                    };
                    return;
                }
            };
            self.ready.pop_front();
            let mut due = None;
            if let Some(entry) = self.entry(key) {
                entry.queued = false;
                due = taken.and_then(|(server, _)| entry.publication.poll_due(now, server));
            }
            match (taken, due) {
                (Some((server, hop)), Some(due)) => {
                    self.begin(now, key, Departure { due, server, hop, attempt: Attempt::default() });
                }
                (Some((server, _)), None) => self.servers.untake(server),
                (None, _) => {}
            }
            self.settle(now, key);
        }
    }

    fn begin(&mut self, now: Timestamp, key: u32, departure: Departure) {
        let Departure { due, server, hop, attempt } = departure;
        // RFC 3261 section 8.1.1.7: the magic cookie.
        let branch = format!("z9hG4bK{}", self.random.token());
        let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        entry.cseq = entry.cseq.wrapping_add(1) & 0x7fff_ffff;
        let head = Head {
            method: self.options.method,
            branch: &branch,
            aor: &entry.publication.aor,
            from: self.options.from.as_deref().unwrap_or(entry.publication.aor.as_str()),
            from_tag: &entry.from_tag,
            call_id: &entry.call_id,
            cseq: entry.cseq,
            event: entry.publication.part.event,
        };
        let message = Request::new(&head, &due, &mut self.authenticator);
        let sent = message.over(hop).and_then(|bytes| {
            let large = self.servers.hop_for(now, server, hop, bytes.len());
            if large == hop { Ok((hop, bytes)) } else { message.over(large).map(|bytes| (large, bytes)) }
        });
        match sent {
            Ok((hop, bytes)) => {
                let cargo = Cargo { server, sent_at: now, due, attempt };
                let request = (self.options.method.sip(), branch.as_str(), bytes);
                let mut flight = self.flights.begin(now, key, request, hop, cargo);
                self.transmits.extend(flight.poll_transmit());
                entry.flight = Some(flight);
            }
            Err(_) => {
                // Its AOR or the configured From cannot stand in a message; asked for again hourly, as a refusal.
                self.servers.untake(server);
                let operation = due.operation;
                self.conclude(now, key, operation, None, Answer::refusal(400), Blame::Publication);
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
        blame: Blame,
    ) {
        let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        let verdict = entry.publication.handle_answer(now, answer, blame, &mut self.random);
        let expires_s = match verdict {
            Verdict::Acknowledged { expires_s } => Some(expires_s),
            Verdict::Failed | Verdict::NotShared => None,
            Verdict::Again => return,
        };
        self.outcomes.push_back(PublicationOutcome {
            at: now,
            aor: entry.publication.aor.clone(),
            event: entry.publication.part.event,
            facet: entry.publication.part.facet,
            operation,
            acknowledged: expires_s.is_some(),
            status,
            expires_s,
        });
        if verdict == Verdict::NotShared && !self.stores_are_separate {
            self.stores_are_separate = true;
            self.move_all(now);
        }
    }

    fn after_timer(&mut self, now: Timestamp, key: u32) {
        let mut lost = None;
        if let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::as_mut) {
            self.transmits.extend(entry.flight.as_mut().and_then(Flight::poll_transmit));
            lost = self.flights.poll_lost(&mut entry.flight);
        }
        if let Some((loss, flight)) = lost {
            let failure = match loss {
                Loss::Silence => Failure::Silence,
                Loss::Transport => Failure::Transport,
            };
            self.handle_failure(now, key, flight, failure);
        }
        self.settle(now, key);
    }

    fn handle_failure(&mut self, now: Timestamp, key: u32, flight: Flight<Cargo>, failure: Failure) {
        let Flight { hop, cargo: Cargo { server, sent_at, due, attempt }, .. } = flight;
        if let Some(usual) = self.servers.hop_of(server).filter(|usual| usual.transport != hop.transport) {
            // It was sent over TCP for its length alone: once more over UDP (RFC 3261 section 18.1.1).
            self.servers.no_tcp(now, server);
            self.begin(now, key, Departure { due, server, hop: usual, attempt });
            return;
        }
        let blame = self.servers.failed(now, server, sent_at, failure, key, &mut self.random);
        self.conclude(now, key, due.operation, None, Answer::Silence, blame);
    }

    fn handle_response(&mut self, now: Timestamp, key: u32, status: u16, message: &SipMessage<'_>) {
        let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some((status, flight)) = self.flights.handle_response(now, &mut entry.flight, status, message)
        {
            self.handle_final(now, key, status, flight, message);
        }
        self.settle(now, key);
    }

    fn handle_final(
        &mut self,
        now: Timestamp,
        key: u32,
        status: u16,
        mut flight: Flight<Cargo>,
        message: &SipMessage<'_>,
    ) {
        let (server, sent_at) = (flight.cargo.server, flight.cargo.sent_at);
        let blame = if status == 503 {
            let failure = Failure::Unavailable { retry_after_s: message.retry_after() };
            self.servers.failed(now, server, sent_at, failure, key, &mut self.random)
        } else {
            match self.servers.answered(now, server) {
                Service::AsBefore => {}
                Service::Moved => self.move_all(now),
                Service::Restored => {
                    self.wake_all(now);
                    self.move_all(now);
                }
            }
            Blame::Publication
        };
        if self.authenticator.accept(&mut flight.cargo.attempt, message, &mut self.random) {
            let Flight { hop, cargo: Cargo { due, attempt, .. }, .. } = flight;
            self.servers.take_again(now, server);
            let hop = self.servers.hop_of(server).unwrap_or(hop);
            self.begin(now, key, Departure { due, server, hop, attempt });
            return;
        }
        let operation = flight.cargo.due.operation;
        let entity_tag = request::entity_tag(message);
        let answer = Answer::Response {
            status,
            entity_tag: entity_tag.as_deref(),
            expires_s: message.expires(),
            min_expires_s: message.min_expires(),
            retry_after_s: message.retry_after(),
        };
        self.conclude(now, key, operation, Some(status), answer, blame);
        if matches!(status, 415 | 489)
            && let Some(event) = self.entry(key).map(|entry| entry.publication.part.event)
            && !self.packages_off.contains(&event)
        {
            self.packages_off.push(event);
            self.parts.retain(|part| part.event != event);
            self.for_each(now, |publication| {
                if publication.part.event == event {
                    publication.want(None);
                }
            });
        }
    }

    /// A server works again: what waited for one need wait no longer.
    fn wake_all(&mut self, now: Timestamp) {
        self.for_each(now, Publication::handle_server_back);
    }

    /// Servers that share no state each have to be told all of it: so they are, as soon as one is turned to.
    fn move_all(&mut self, now: Timestamp) {
        if let Some(server) = self.servers.in_use().filter(|_| self.stores_are_separate) {
            self.for_each(now, |publication| publication.move_to(now, server));
        }
    }

    fn for_each(&mut self, now: Timestamp, mut tell: impl FnMut(&mut Publication)) {
        for key in 0..self.entries.len() as u32 {
            if let Some(entry) = self.entry(key) {
                tell(&mut entry.publication);
                self.settle(now, key);
            }
        }
    }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "world_tests.rs"]
mod world;

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod simulation_tests;

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod recovery_tests;
