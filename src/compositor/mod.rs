//! The presence server: publications in, composed states out to whoever subscribed.
//! In: SIP messages with the hop that they came on, time. Out: SIP messages to send. Knows nothing of sockets, clocks,
//! captures, taps.
//! RFC 3903's event state compositor and RFC 6665's notifier in one machine; composition after SPEC section 9.
//!
//! ```text
//! request → transactions → checks → presentities → notifier → NOTIFY
//!               │ again?               │ composed     │ in flight, late, lost
//!               └→ the same answer     └→ what changed └→ subscriptions
//! ```

mod composition;
mod content;
mod names;
mod notifier;
mod presentities;
mod publish;
mod request;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use crate::base::{Hop, Limits, Secret, Timestamp, Transmit};
use crate::presence::PresentityState;
use crate::presence::dialog_info::DialogInfoOptions;
use crate::sip::digest::DigestUser;
use crate::sip::digest_guard::{DigestGuard, Refused};
use crate::sip::server_transaction::{ServerTransactionKey, ServerTransactions, response_hop};
use crate::sip::unreadable::refusal;
use crate::sip::write::response_to_source;
use crate::sip::{Aor, HeaderName, Method, Scanner, SipMessage};
use names::Names;
use notifier::Notifier;
use presentities::Presentities;
use request::{ALLOW, Answer, Expiry, accept, allow_events, sound};

/// How to serve. `Debug` does not show users and seed.
#[derive(Clone)]
pub struct PresenceServerOptions {
    /// Seconds: who asks for less is refused (423). 0, which ends what there is, is always taken.
    pub min_expires_s: u32,
    /// Seconds: who asks for more is granted this.
    pub max_expires_s: u32,
    /// Seconds granted to who does not ask, within the two above.
    pub default_expires_s: u32,
    /// Who must say who they are do so in this realm.
    pub realm: String,
    /// Who may publish and watch. Empty: everybody.
    pub users: Vec<DigestUser>,
    /// See [`DialogInfoOptions::placeholder`].
    pub placeholder: bool,
    /// See [`DialogInfoOptions::remote_identity`].
    pub remote_identity: bool,
    /// The shortest time between two NOTIFYs of one subscription, unless the watcher asks. The first goes out at once.
    pub notify_interval: Duration,
    /// Where tags, branches, entity-tags and nonces come from. Nobody may know it, and no two runs may share it: an
    /// entity-tag is never given twice.
    pub seed: [u8; 32],
}

impl PresenceServerOptions {
    /// Serves everybody, for an hour at most.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            min_expires_s: 60,
            max_expires_s: 3_600,
            default_expires_s: 3_600,
            realm: "offhook".to_owned(),
            users: Vec::new(),
            placeholder: true,
            remote_identity: true,
            notify_interval: Duration::from_millis(50),
            seed,
        }
    }
}

impl fmt::Debug for PresenceServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceServerOptions")
            .field("min_expires_s", &self.min_expires_s)
            .field("max_expires_s", &self.max_expires_s)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

/// How much there is, and what happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceServerCounters {
    /// Presentities that are published, watched, or remembered.
    pub presentities: usize,
    /// Publications that have not expired.
    pub publications: usize,
    /// Subscriptions that have not ended.
    pub subscriptions: usize,
    /// NOTIFY requests sent, without their retransmissions.
    pub notifies: u64,
    /// Subscriptions given up because their NOTIFYs were refused or got lost.
    pub given_up: u64,
    /// Requests answered 200.
    pub accepted: u64,
    /// Requests refused, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Retransmissions answered as before.
    pub retransmissions: u64,
    /// What came and was no SIP message, or one without what every message has: answered 400 where that is possible.
    pub unreadable: u64,
    /// Answers that were forgotten before their time because there were too many.
    pub evicted: u64,
}

/// The presence server.
pub struct PresenceServer {
    expiry: Expiry,
    document_bytes: usize,
    /// Away while a message that it read is being looked at.
    scanner: Option<Scanner>,
    names: Names,
    guard: Option<DigestGuard>,
    transactions: ServerTransactions,
    presentities: Presentities,
    notifier: Notifier,
    transmits: VecDeque<Transmit>,
    counters: PresenceServerCounters,
    stopping: bool,
}

/// Whoever is sent away while the server stops may come back after so long.
const STOPPING_RETRY_AFTER_S: u32 = 5;

impl PresenceServer {
    /// A server that nobody published to yet.
    pub fn new(options: PresenceServerOptions, limits: &Limits) -> Self {
        let secret = Secret::new(options.seed);
        let documents = DialogInfoOptions {
            placeholder: options.placeholder,
            remote_identity: options.remote_identity,
            dialogs_per_document: limits.dialogs_per_document,
        };
        let (min_s, max_s) = (options.min_expires_s, options.max_expires_s.max(options.min_expires_s).max(1));
        let guard = (!options.users.is_empty())
            .then(|| DigestGuard::new(options.realm, options.users, secret.clone(), limits.digest_nonces));
        Self {
            expiry: Expiry { min_s, max_s, default_s: options.default_expires_s.clamp(min_s.max(1), max_s) },
            document_bytes: limits.document_bytes,
            scanner: Some(Scanner::new(limits)),
            names: Names::new(secret),
            guard,
            transactions: ServerTransactions::new(
                limits.server_transactions,
                limits.server_transaction_bytes,
            ),
            presentities: Presentities::new(limits, documents, max_s),
            notifier: Notifier::new(limits, options.notify_interval, documents),
            transmits: VecDeque::new(),
            counters: PresenceServerCounters::default(),
            stopping: false,
        }
    }

    /// A message came over this hop.
    pub fn handle_message(&mut self, now: Timestamp, hop: Hop, bytes: &[u8]) {
        self.handle_timeout(now);
        let Some(mut scanner) = self.scanner.take() else {
            return;
        };
        match scanner.scan(bytes) {
            Ok(message) => match message.status() {
                Some(status) => self.notifier.handle_response(now, &message, status),
                None => self.handle_request(now, hop, &message),
            },
            Err(why) => {
                self.counters.unreadable += 1;
                self.transmits.extend(refusal(bytes, hop, &why, &self.names.next("tag")));
            }
        }
        self.scanner = Some(scanner);
        self.notify(now);
    }

    /// Nothing arrives there: what is in flight to it has failed.
    pub fn handle_transport_error(&mut self, now: Timestamp, hop: Hop) {
        self.handle_timeout(now);
        self.notifier.handle_transport_error(now, hop);
        self.notify(now);
    }

    /// Fires what is due, each at its own time.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(at) = self.poll_timeout().filter(|at| *at <= now) {
            self.transactions.handle_timeout(at);
            self.presentities.handle_timeout(at);
            self.notify(at);
        }
    }

    /// Ends all subscriptions and tells the watchers; takes nothing more (503), so that publishers and watchers turn to
    /// another server or come back later.
    pub fn stop(&mut self, now: Timestamp) {
        self.handle_timeout(now);
        self.stopping = true;
        self.notifier.stop(now);
        self.notify(now);
    }

    /// Nobody is subscribed, and no watcher's last answer is awaited.
    pub fn is_settled(&self) -> bool {
        self.notifier.len() == 0
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let next = [
            self.transactions.poll_timeout(),
            self.presentities.poll_timeout(),
            self.notifier.poll_timeout(),
        ];
        next.into_iter().flatten().min()
    }

    /// A message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// How much there is, and what happened so far.
    pub fn counters(&self) -> PresenceServerCounters {
        PresenceServerCounters {
            presentities: self.presentities.len(),
            publications: self.presentities.publications(),
            subscriptions: self.notifier.len(),
            notifies: self.notifier.notifies(),
            given_up: self.notifier.given_up(),
            evicted: self.transactions.evicted(),
            ..self.counters.clone()
        }
    }

    /// What a presentity is, as its publications make it; `None` for one that nobody publishes or watches.
    pub fn state(&self, aor: &Aor) -> Option<&PresentityState> {
        self.presentities.state(aor)
    }

    fn notify(&mut self, now: Timestamp) {
        for key in self.presentities.take_changed() {
            self.notifier.changed(now, key, &self.presentities);
        }
        let Self { notifier, presentities, names, transmits, .. } = self;
        notifier.handle_timeout(now, presentities, names, transmits);
    }

    fn handle_request(&mut self, now: Timestamp, hop: Hop, request: &SipMessage<'_>) {
        if request.method() == Some(Method::Ack) {
            return;
        }
        let key = ServerTransactionKey::of(request);
        if let Some(answer) = self.transactions.answer(&key) {
            self.counters.retransmissions += 1;
            self.transmits.push_back(answer.clone());
            return;
        }
        let answer = self.answer(now, hop, request).unwrap_or_else(|refusal| refusal);
        match answer.status {
            200 => self.counters.accepted += 1,
            status => *self.counters.refused.entry(status).or_default() += 1,
        }
        let tag = answer.to_tag.unwrap_or_else(|| self.names.next("tag"));
        match response_to_source(request, hop.remote, answer.status, Some(&tag), answer.headers, b"") {
            Ok(bytes) => {
                let response = Transmit { hop: response_hop(request, hop), bytes };
                self.transactions.completed(now, key, response.clone());
                self.transmits.push_back(response);
            }
            Err(_) => self.counters.unreadable += 1,
        }
    }

    fn answer(&mut self, now: Timestamp, hop: Hop, request: &SipMessage<'_>) -> Result<Answer, Answer> {
        sound(request)?;
        match request.method() {
            Some(Method::Options) => Ok(Answer::new(200)
                .with("Allow", ALLOW)
                .with("Accept", accept())
                .with("Allow-Events", allow_events())
                .with("Supported", "")),
            Some(Method::Publish) => {
                self.admit(now, request)?;
                self.publish(now, request)
            }
            Some(Method::Register) => {
                self.admit(now, request)?;
                self.register(now, request)
            }
            Some(Method::Subscribe) => {
                self.admit(now, request)?;
                let Self { notifier, presentities, names, expiry, .. } = self;
                notifier.subscribe(now, hop, request, *expiry, presentities, names)
            }
            _ => Err(Answer::new(405).with("Allow", ALLOW)),
        }
    }

    /// Whoever asks may, or is asked who it is. While it stops, nobody may: a watcher that was just told to subscribe
    /// again would never let it.
    fn admit(&mut self, now: Timestamp, request: &SipMessage<'_>) -> Result<(), Answer> {
        if self.stopping {
            return Err(Answer::new(503).with("Retry-After", STOPPING_RETRY_AFTER_S.to_string()));
        }
        let Some(guard) = &mut self.guard else { return Ok(()) };
        let uri = request.request_uri().unwrap_or_default();
        let refused = match guard.check(now, request.credentials(), request.method_text(), uri) {
            Ok(_) => return Ok(()),
            Err(refused) => refused,
        };
        let challenges = guard.challenges(now, refused == Refused::Stale);
        let answer = challenges.into_iter().fold(Answer::new(401), |answer, challenge| {
            answer.with(HeaderName::WwwAuthenticate.text(), challenge)
        });
        Err(answer)
    }
}
