//! The watcher's side of presence: SUBSCRIBE, and what NOTIFY tells.
//! In: whom to watch, SIP messages, time. Out: SIP messages to send, what was told. Knows nothing of sockets, clocks,
//! the presence server's inside.
//! RFC 6665, RFC 3856, RFC 4235. One server; all requests go there, whatever Contact or Record-Route it gives. A
//! SUBSCRIBE that forks gives one subscription: the notifier that comes first is believed, the others get 481.

mod dialogs;
mod request;
mod subscription;
mod told;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

pub use told::{DialogTold, Next, PresenceTold, Told, What};

use crate::base::{Deadlines, Hop, Limits, Random, Timestamp, Transmit};
use crate::presence::{EventPackage, dialog_info_read, pidf_read};
use crate::sip::authenticator::{Attempt, Authenticator};
use crate::sip::flights::{Flight, Flights};
use crate::sip::write::{self, Header, header};
use crate::sip::{Aor, HeaderName, Method, Scanner, SipMessage};
use dialogs::{Dialogs, Taken};
use request::{Dialog, Order};
use subscription::{Answer, Due, Notified, Subscription};

/// How to watch. `Debug` does not show the password.
#[derive(Clone)]
pub struct WatchOptions {
    /// The way to the server.
    pub hop: Hop,
    /// Where its NOTIFYs reach us: for Contact and Via.
    pub contact: SocketAddr,
    /// The digest user, the same for all presentities.
    pub user: Option<String>,
    /// The digest user's password.
    pub password: Option<String>,
    /// Seconds that are asked for in Expires.
    pub expires_s: u32,
    /// Where tags, branches and jitter come from. Two runs against one server must not share it.
    pub seed: u64,
    /// SUBSCRIBE requests that may await their answer at once; further ones wait their turn.
    pub outstanding: usize,
}

impl WatchOptions {
    /// Over this hop for an hour at a time, without credentials.
    pub const fn new(hop: Hop) -> Self {
        Self {
            hop,
            contact: hop.local,
            user: None,
            password: None,
            expires_s: 3_600,
            seed: 0,
            outstanding: 64,
        }
    }
}

impl std::fmt::Debug for WatchOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchOptions")
            .field("hop", &self.hop)
            .field("expires_s", &self.expires_s)
            .finish_non_exhaustive()
    }
}

/// What went wrong and concerned no single subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounters {
    /// Presentities that are not watched because there are too many.
    pub not_taken: u64,
    /// Documents that could not be read.
    pub unreadable: u64,
    /// NOTIFYs that came after a later one, or with an old version.
    pub out_of_order: u64,
    /// Requests that belong to no subscription.
    pub strangers: u64,
}

/// What an answer is for.
struct Cargo {
    due: Due,
    attempt: Attempt,
}

struct Entry {
    aor: Aor,
    event: EventPackage,
    subscription: Subscription,
    dialog: Dialog,
    dialogs: Dialogs,
    flight: Option<Flight<Cargo>>,
    /// Its place in the queue of those with something due.
    queued: bool,
    deadline: Option<Timestamp>,
    last: Option<What>,
}

/// Many subscriptions at one presence server.
pub struct Watcher {
    options: WatchOptions,
    most: usize,
    authenticator: Authenticator,
    /// Away while a message that it read is being looked at.
    scanner: Option<Scanner>,
    random: Random,
    index: BTreeMap<(Aor, EventPackage), u32>,
    entries: Vec<Entry>,
    flights: Flights,
    call_ids: BTreeMap<String, u32>,
    ready: VecDeque<u32>,
    deadlines: Deadlines<u32>,
    transmits: VecDeque<Transmit>,
    told: VecDeque<Told>,
    counters: WatchCounters,
}

impl Watcher {
    /// A watcher of nobody.
    pub fn new(options: WatchOptions, limits: &Limits) -> Self {
        let most = limits.presentities.saturating_mul(EventPackage::ALL.len());
        Self {
            most: most.min(u32::MAX as usize),
            authenticator: Authenticator::new(options.user.as_deref(), options.password.as_deref()),
            scanner: Some(Scanner::new(limits)),
            random: Random::new(options.seed),
            index: BTreeMap::new(),
            entries: Vec::new(),
            flights: Flights::default(),
            call_ids: BTreeMap::new(),
            ready: VecDeque::new(),
            deadlines: Deadlines::new(),
            transmits: VecDeque::new(),
            told: VecDeque::new(),
            counters: WatchCounters::default(),
            options,
        }
    }

    /// Watches this too, if it is not watched already.
    pub fn watch(&mut self, now: Timestamp, aor: Aor, event: EventPackage) {
        self.handle_timeout(now);
        if self.index.contains_key(&(aor.clone(), event)) {
            return;
        }
        if self.entries.len() >= self.most {
            self.counters.not_taken += 1;
            return;
        }
        let key = self.entries.len() as u32;
        self.index.insert((aor.clone(), event), key);
        self.entries.push(Entry {
            aor,
            event,
            subscription: Subscription::new(now, self.options.expires_s),
            dialog: Dialog::new(&mut self.random),
            dialogs: Dialogs::default(),
            flight: None,
            queued: false,
            deadline: None,
            last: None,
        });
        self.settle(now, key);
        self.pump(now);
    }

    /// Takes a message that came over this hop. What belongs to no subscription is answered so, or ignored.
    pub fn handle_message(&mut self, now: Timestamp, hop: Hop, bytes: &[u8]) {
        self.handle_timeout(now);
        let Some(mut scanner) = self.scanner.take() else {
            return;
        };
        if let Ok(message) = scanner.scan(bytes) {
            match (message.status(), message.method()) {
                (Some(status), _) => self.handle_response(now, status, &message),
                // Nothing answers an ACK.
                (None, Some(Method::Ack) | None) => {}
                (None, Some(Method::Notify)) => self.handle_notify(now, hop, &message),
                (None, Some(_)) => {
                    self.counters.strangers += 1;
                    self.answer(hop, &message, 405, vec![header("Allow", "NOTIFY")]);
                }
            }
        }
        self.scanner = Some(scanner);
        self.pump(now);
    }

    /// The network said that nothing reaches the other end of this hop: what is in flight over it has failed.
    pub fn handle_transport_error(&mut self, now: Timestamp, hop: Hop) {
        self.handle_timeout(now);
        let ours = self.options.hop;
        if (hop.transport, hop.remote) == (ours.transport, ours.remote) {
            for key in self.flights.senders() {
                if let Some(flight) = self.entry(key).and_then(|entry| entry.flight.as_mut()) {
                    flight.handle_transport_error();
                }
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
                if let Some(flight) = &mut entry.flight {
                    flight.handle_timeout(now);
                }
            }
            self.after_timer(now, key);
        }
        self.pump(now);
    }

    /// Ends all subscriptions. Call the others until [`Self::is_settled`].
    pub fn stop(&mut self, now: Timestamp) {
        for key in 0..self.entries.len() as u32 {
            if let Some(entry) = self.entry(key) {
                entry.subscription.leave();
            }
            self.settle(now, key);
        }
        self.pump(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// A message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What was told.
    pub fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// After [`Self::stop`]: all subscriptions are ended.
    pub fn is_settled(&self) -> bool {
        self.flights.is_empty() && self.entries.iter().all(|entry| entry.subscription.is_over())
    }

    /// The server refused or ended for good whatever it was asked for.
    pub fn is_in_vain(&self) -> bool {
        let has_hope = |entry: &Entry| {
            entry.flight.is_some() || entry.queued || entry.subscription.poll_timeout().is_some()
        };
        !self.entries.is_empty() && !self.entries.iter().any(has_hope)
    }

    /// What went wrong so far.
    pub const fn counters(&self) -> WatchCounters {
        self.counters
    }

    fn entry(&mut self, key: u32) -> Option<&mut Entry> {
        self.entries.get_mut(key as usize)
    }

    /// After anything that changed an entry: its next deadline, or its place in the queue.
    fn settle(&mut self, now: Timestamp, key: u32) {
        let Some(entry) = self.entries.get_mut(key as usize) else {
            return;
        };
        let at = match &entry.flight {
            Some(flight) => flight.poll_timeout(),
            None if entry.queued => None,
            None => match entry.subscription.poll_timeout() {
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

    /// Does what is due, as far as the bound on requests in flight allows.
    fn pump(&mut self, now: Timestamp) {
        while self.flights.len() < self.options.outstanding.max(1) {
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            let Some(entry) = self.entries.get_mut(key as usize) else {
                continue;
            };
            entry.queued = false;
            if entry.flight.is_none() {
                let trouble = entry.subscription.handle_timeout(now, &mut self.random);
                let due = entry.subscription.poll_due(now);
                self.tell(now, key, trouble);
                if let Some(due) = due {
                    self.begin(now, key, due);
                }
            }
            self.settle(now, key);
        }
    }

    fn begin(&mut self, now: Timestamp, key: u32, due: Due) {
        if due.purpose == subscription::Purpose::Begin {
            let dialog = Dialog::new(&mut self.random);
            self.call_ids.insert(dialog.call_id().to_owned(), key);
            if let Some(entry) = self.entries.get_mut(key as usize) {
                self.call_ids.remove(entry.dialog.call_id());
                (entry.dialog, entry.dialogs) = (dialog, Dialogs::default());
            }
        }
        self.send(now, key, due, Attempt::default());
    }

    fn send(&mut self, now: Timestamp, key: u32, due: Due, attempt: Attempt) {
        // RFC 3261 section 8.1.1.7: the magic cookie.
        let branch = format!("z9hG4bK{}", self.random.token());
        let Some(entry) = self.entries.get_mut(key as usize) else {
            return;
        };
        let uri = entry.dialog.request_uri(entry.aor.as_str());
        let credentials = self.authenticator.headers("SUBSCRIBE", &uri);
        let whom = (entry.aor.as_str(), entry.event);
        let written =
            request::subscribe(&self.options, &mut entry.dialog, whom, &branch, due.expires_s, credentials);
        let Ok(bytes) = written else {
            // The AOR, or what the server put into Contact, cannot stand in a message.
            self.conclude(now, key, due, refusal(400));
            return;
        };
        let request = (Method::Subscribe, branch.as_str(), bytes);
        let mut flight = self.flights.begin(now, key, request, self.options.hop, Cargo { due, attempt });
        self.transmits.extend(flight.poll_transmit());
        entry.flight = Some(flight);
    }

    fn conclude(&mut self, now: Timestamp, key: u32, due: Due, answer: Answer) {
        let Some(entry) = self.entries.get_mut(key as usize) else {
            return;
        };
        let trouble = entry.subscription.handle_answer(now, due.purpose, answer, &mut self.random);
        self.tell(now, key, trouble);
    }

    /// Tells what is different from what was told last.
    fn tell(&mut self, now: Timestamp, key: u32, what: Option<What>) {
        let Some(entry) = self.entries.get_mut(key as usize) else {
            return;
        };
        let Some(what) = what.filter(|what| entry.last.as_ref() != Some(what)) else {
            return;
        };
        entry.last = Some(what.clone());
        self.told.push_back(Told { at: now, aor: entry.aor.clone(), event: entry.event, what });
    }

    fn after_timer(&mut self, now: Timestamp, key: u32) {
        let mut lost = None;
        if let Some(entry) = self.entries.get_mut(key as usize) {
            self.transmits.extend(entry.flight.as_mut().and_then(Flight::poll_transmit));
            lost = self.flights.poll_lost(&mut entry.flight);
        }
        if let Some((_, flight)) = lost {
            self.conclude(now, key, flight.cargo.due, Answer::Silence);
        }
        self.settle(now, key);
    }

    fn handle_response(&mut self, now: Timestamp, status: u16, message: &SipMessage<'_>) {
        let Some(key) = self.flights.sender_of(message) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(key as usize) else {
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
        if self.authenticator.accept(&mut flight.cargo.attempt, message, &mut self.random) {
            self.send(now, key, flight.cargo.due, flight.cargo.attempt);
            return;
        }
        if let (200..=299, Some(entry)) = (status, self.entry(key)) {
            entry.dialog.learn_from_answer(message);
        }
        let answer = Answer::Response {
            status,
            expires_s: message.expires(),
            min_expires_s: message.min_expires(),
            retry_after_s: message.retry_after(),
        };
        self.conclude(now, key, flight.cargo.due, answer);
    }

    fn handle_notify(&mut self, now: Timestamp, hop: Hop, notify: &SipMessage<'_>) {
        let key = std::str::from_utf8(notify.call_id()).ok().and_then(|id| self.call_ids.get(id)).copied();
        let Some(entry) = key.and_then(|key| self.entries.get_mut(key as usize)) else {
            self.refuse_stranger(hop, notify);
            return;
        };
        let of_package = notify.event().is_some_and(|event| event == entry.event.name().as_bytes());
        let status = match entry.dialog.order(notify) {
            Order::Again(status) => status,
            Order::Stranger => {
                self.refuse_stranger(hop, notify);
                return;
            }
            _ if !of_package || !entry.subscription.is_expecting() => {
                self.refuse_stranger(hop, notify);
                return;
            }
            // RFC 3261 section 12.2.2.
            Order::Late => {
                self.counters.out_of_order += 1;
                500
            }
            Order::Next => {
                let key = key.unwrap_or_default();
                let status = self.take_notify(now, key, notify);
                if let Some(entry) = self.entry(key) {
                    entry.dialog.answered(notify, status);
                }
                self.settle(now, key);
                status
            }
        };
        let more = match status {
            415 => EventPackage::ALL.map(|event| header("Accept", event.content_type())).to_vec(),
            _ => Vec::new(),
        };
        self.answer(hop, notify, status, more);
    }

    /// The next NOTIFY of a subscription: its document, then its state. Gives the status to answer it with.
    fn take_notify(&mut self, now: Timestamp, key: u32, notify: &SipMessage<'_>) -> u16 {
        let Some((state, expires_s)) = notify.subscription_state() else {
            return 400;
        };
        let is = |word: &[u8]| state.eq_ignore_ascii_case(word);
        let (reason, retry_after_s) = notify.subscription_end();
        let reason = String::from_utf8_lossy(reason.unwrap_or_default()).to_ascii_lowercase();
        let notified = match is(b"terminated") {
            true => Notified::Ended { reason: &reason, retry_after_s },
            false => Notified::Lasts { expires_s },
        };
        // Who may not watch yet is told nothing true (RFC 3856 section 6.6.2), and a last NOTIFY need not say anything.
        let says_nothing = is(b"pending") || (is(b"terminated") && notify.body().is_empty());
        let (status, what) = if says_nothing { (200, None) } else { self.read(now, key, notify) };
        let Some(entry) = self.entries.get_mut(key as usize) else {
            return status;
        };
        let trouble = entry.subscription.handle_notify(now, notified, &mut self.random);
        self.tell(now, key, what);
        self.tell(now, key, trouble);
        status
    }

    /// What a NOTIFY's body says, and the status to answer it with. An empty one says that nothing is known.
    fn read(&mut self, now: Timestamp, key: u32, notify: &SipMessage<'_>) -> (u16, Option<What>) {
        let Some(entry) = self.entries.get_mut(key as usize) else {
            return (200, None);
        };
        let body = notify.body();
        if !body.is_empty() && !is_media_type(notify, entry.event.content_type()) {
            self.counters.unreadable += 1;
            return (415, None);
        }
        let what = match entry.event {
            EventPackage::Presence if body.is_empty() => Ok(Some(What::Presence(PresenceTold::default()))),
            EventPackage::Presence => {
                pidf_read::read(body).map(|document| Some(What::Presence(PresenceTold::of(&document))))
            }
            EventPackage::Dialog if body.is_empty() => {
                entry.dialogs = Dialogs::default();
                Ok(Some(What::Dialogs(Vec::new())))
            }
            EventPackage::Dialog => {
                dialog_info_read::read(body).map(|document| match entry.dialogs.take(document) {
                    Taken::Merged => Some(What::Dialogs(entry.dialogs.told())),
                    Taken::Old => {
                        self.counters.out_of_order += 1;
                        None
                    }
                    Taken::Gap => {
                        entry.subscription.ask_for_all(now);
                        None
                    }
                })
            }
        };
        // A document that we cannot read is no reason to lose the subscription, which another answer would cost.
        let what = what.unwrap_or_else(|_| {
            self.counters.unreadable += 1;
            None
        });
        (200, what)
    }

    fn refuse_stranger(&mut self, hop: Hop, request: &SipMessage<'_>) {
        self.counters.strangers += 1;
        self.answer(hop, request, 481, Vec::new());
    }

    fn answer(&mut self, hop: Hop, request: &SipMessage<'_>, status: u16, more: Vec<Header>) {
        let tag = self.random.token();
        if let Ok(bytes) = write::response_to(request, status, Some(&tag), more, b"") {
            self.transmits.push_back(Transmit { hop, bytes });
        }
    }
}

fn is_media_type(message: &SipMessage<'_>, wanted: &str) -> bool {
    let value = message.header(HeaderName::ContentType).unwrap_or_default();
    let media_type = value.split(|&byte| byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
}

const fn refusal(status: u16) -> Answer {
    Answer::Response { status, expires_s: None, min_expires_s: None, retry_after_s: None }
}

#[cfg(test)]
mod tests;
