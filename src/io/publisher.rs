//! The publisher at work: a thread of its own with the wall clock and a socket.
//! In: changes from the capture side, which is never made to wait. Out: PUBLISH requests, outcomes. Knows nothing of
//! captures.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::{Hop, Limits, Timestamp, Transmit, Transport};
use crate::io::clock::{Clock, fresh_seed};
use crate::io::sip_socket::{LONGEST_DATAGRAM, SipSocket};
use crate::presence::PresentityChange;
use crate::publish::{PublicationOutcome, PublishOptions, Publisher, Server};
use crate::sip::{Aor, Scheme, Uri};

/// Why nothing can be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Not `sip:host[:port][;transport=udp]`.
    #[error("`{0}` is not a SIP URI such as sip:presence.example.com or sip:192.0.2.20:5060")]
    NotAUri(String),
    /// Only UDP is spoken.
    #[error("`{uri}` asks for transport {transport}: only udp is supported")]
    Transport {
        /// What was given.
        uri: String,
        /// What it asks for.
        transport: String,
    },
    /// The name has no address.
    #[error("the presence server's name `{host}` cannot be resolved: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The socket, the thread or its runtime.
    #[error("cannot publish to {next_hop}: {source}")]
    Socket {
        /// Where to.
        next_hop: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A presence server as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    host: String,
    port: u16,
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "sip:[{}]:{}", self.host, self.port),
            false => write!(f, "sip:{}:{}", self.host, self.port),
        }
    }
}

impl NextHop {
    /// Reads `sip:host[:port][;transport=udp]`; the port is 5060 unless given. A user part is ignored.
    ///
    /// # Errors
    /// [`PublishError::NotAUri`], [`PublishError::Transport`].
    pub fn parse(text: &str) -> Result<Self, PublishError> {
        let not_a_uri = || PublishError::NotAUri(text.to_owned());
        let unsupported = |transport: &str| PublishError::Transport {
            uri: text.to_owned(),
            transport: transport.to_owned(),
        };
        let uri = Uri::parse(text.as_bytes()).ok_or_else(not_a_uri)?;
        match uri.scheme {
            Scheme::Sip => {}
            Scheme::Sips => return Err(unsupported("tls")),
            _ => return Err(not_a_uri()),
        }
        if let Some(Some(transport)) = uri.params.get(b"transport")
            && !transport.eq_ignore_ascii_case(b"udp")
        {
            let transport = String::from_utf8_lossy(transport).to_lowercase();
            return Err(unsupported(&transport));
        }
        let host = std::str::from_utf8(uri.host).map_err(|_| not_a_uri())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(not_a_uri());
        }
        Ok(Self { host: host.to_owned(), port: uri.port.unwrap_or(5060) })
    }

    /// The first address that the system's resolver gives. Waits for it.
    ///
    /// # Errors
    /// [`PublishError::Resolve`].
    pub fn resolve(&self) -> Result<SocketAddr, PublishError> {
        let failed = |source| PublishError::Resolve { host: self.host.clone(), source };
        let runtime = runtime().map_err(failed)?;
        let found = runtime.block_on(tokio::net::lookup_host((self.host.as_str(), self.port)));
        let first = found.map_err(failed)?.next();
        first.ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "it has no address")))
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// How the operations went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Operations that the server took.
    pub acknowledged: u64,
    /// Operations that it did not take, or did not answer.
    pub failed: u64,
    /// All that was wanted is acknowledged, or was refused for good.
    pub settled: bool,
}

/// The newest change of each presentity that the publisher has not seen yet.
#[derive(Default)]
struct Inbox {
    changes: BTreeMap<Aor, PresentityChange>,
    order: VecDeque<Aor>,
    outcomes: VecDeque<PublicationOutcome>,
    outcomes_lost: u64,
    not_taken: u64,
    totals: Totals,
    finish: Option<Duration>,
    abandoned: bool,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Notify,
}

impl Shared {
    /// A panic of the other side leaves the inbox as whole as it was: nothing in it depends on two steps.
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Outcomes that wait to be polled; older ones go first and are counted.
const OUTCOMES_KEPT: usize = 1 << 20;
/// A stop has at least so long, even when all the time went into waiting for acknowledgements.
const STOP_TIME: Duration = Duration::from_secs(2);

/// The capture side's end of the publisher's thread. Dropped without [`Self::finish`], it leaves what is published
/// to expire.
pub struct PublisherHandle {
    shared: Arc<Shared>,
    most_presentities: usize,
    thread: Option<JoinHandle<()>>,
}

impl PublisherHandle {
    /// Opens the socket and starts the thread. A seed of 0 is replaced by one that no other run has.
    ///
    /// # Errors
    /// [`PublishError::Socket`].
    pub fn start(
        next_hop: SocketAddr,
        options: PublishOptions,
        limits: &Limits,
    ) -> Result<Self, PublishError> {
        let failed = |source| PublishError::Socket { next_hop, source };
        let shared = Arc::new(Shared::default());
        let (started, answer) = mpsc::sync_channel(1);
        let (in_thread, limits_there) = (Arc::clone(&shared), limits.clone());
        let thread = std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || {
                let outcome = runtime().and_then(|runtime| {
                    let socket = runtime.block_on(SipSocket::connect(next_hop))?;
                    Ok((runtime, socket.local_addr()?, socket))
                });
                match outcome {
                    Ok((runtime, local, socket)) => {
                        // The receiver waits for exactly this.
                        let _ = started.send(Ok(()));
                        let seed = match options.seed {
                            0 => fresh_seed(),
                            given => given,
                        };
                        let options = PublishOptions { seed, ..options };
                        let publisher = Publisher::new(options, &limits_there);
                        let hop = Hop { transport: Transport::Udp, local, remote: next_hop };
                        runtime.block_on(run(publisher, hop, &socket, &in_thread));
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            })
            .map_err(failed)?;
        answer.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended"))).map_err(failed)?;
        Ok(Self { shared, most_presentities: limits.presentities, thread: Some(thread) })
    }

    /// Hands over a change; never waits. Until the publisher has taken it, a newer one of the same presentity
    /// replaces it.
    pub fn send(&self, change: PresentityChange) {
        let mut inbox = self.shared.inbox();
        if let Some(waiting) = inbox.changes.get_mut(&change.aor) {
            *waiting = change;
        } else if inbox.changes.len() < self.most_presentities {
            inbox.order.push_back(change.aor.clone());
            inbox.changes.insert(change.aor.clone(), change);
        } else {
            inbox.not_taken += 1;
        }
        drop(inbox);
        self.shared.wake.notify_one();
    }

    /// What became of an operation. Goes on giving what is left after [`Self::finish`].
    pub fn poll_outcome(&self) -> Option<PublicationOutcome> {
        self.shared.inbox().outcomes.pop_front()
    }

    /// How the operations have gone so far.
    pub fn totals(&self) -> Totals {
        self.shared.inbox().totals
    }

    /// Changes that were not taken because there were too many presentities, and outcomes that nobody polled in time.
    pub fn lost(&self) -> (u64, u64) {
        let inbox = self.shared.inbox();
        (inbox.not_taken, inbox.outcomes_lost)
    }

    /// Waits until all is acknowledged, at most for `timeout`; then stops as [`PublishOptions::on_stop`] says and waits
    /// for that, in what is left of the time but at least 2 s.
    pub fn finish(&mut self, timeout: Duration) -> Totals {
        self.shared.inbox().finish = Some(timeout);
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic over there has been told on stderr; the totals say what was done.
            let _ = thread.join();
        }
        self.totals()
    }
}

impl Drop for PublisherHandle {
    fn drop(&mut self) {
        self.shared.inbox().abandoned = true;
        self.shared.wake.notify_one();
    }
}

/// Where the end has got to.
enum Phase {
    Publishing,
    /// Until all is acknowledged, at most until then.
    Settling(Timestamp),
    /// Until all is taken back, at most until then.
    Stopping(Timestamp),
}

/// Nothing that is sent arrives.
fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

async fn run(mut publisher: Publisher, hop: Hop, socket: &SipSocket, shared: &Shared) {
    let clock = Clock::start();
    let mut phase = Phase::Publishing;
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let (changes, finish, abandoned) = take(shared);
        for change in &changes {
            publisher.handle_change(clock.now(), change);
        }
        publisher.handle_timeout(clock.now());
        let now = clock.now();
        phase = match (phase, finish) {
            (Phase::Publishing, Some(timeout)) => Phase::Settling(now.after(timeout)),
            (Phase::Settling(until), _) if publisher.is_settled() || until <= now => {
                publisher.stop(now);
                Phase::Stopping(until.max(now.after(STOP_TIME)))
            }
            (phase, _) => phase,
        };
        if publisher.poll_resolve() {
            publisher.handle_servers(clock.now(), &[Server { hop }]);
        }
        while let Some(Transmit { hop: way, bytes }) = publisher.poll_transmit() {
            if way.transport != Transport::Udp {
                publisher.handle_transport_error(clock.now(), way);
                continue;
            }
            match socket.send(&bytes).await {
                Err(error) if is_unreachable(&error) => {
                    publisher.handle_transport_error(clock.now(), hop);
                }
                // Another error is this datagram's own (too long, say): its transaction times out.
                Ok(()) | Err(_) => {}
            }
        }
        hand_over(&mut publisher, shared);
        let until = match phase {
            Phase::Stopping(until) if publisher.is_settled() || until <= clock.now() => {
                shared.inbox().totals.settled = publisher.is_settled();
                return;
            }
            Phase::Settling(_) if publisher.is_settled() => continue,
            Phase::Settling(until) | Phase::Stopping(until) => Some(until),
            Phase::Publishing => None,
        };
        if abandoned {
            return;
        }
        let due = match (publisher.poll_timeout(), until) {
            (Some(timer), Some(until)) => Some(timer.min(until)),
            (timer, until) => timer.or(until),
        };
        let wait = due.map_or(Duration::from_secs(3_600), |due| due.since(clock.now()));
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
            received = socket.receive(&mut buffer) => match received {
                Ok(length) => {
                    publisher.handle_message(clock.now(), hop, buffer.get(..length).unwrap_or_default());
                }
                Err(error) if is_unreachable(&error) => {
                    publisher.handle_transport_error(clock.now(), hop);
                }
                Err(_) => {}
            },
        }
    }
}

/// The changes in the order in which their presentities first changed, and what else is asked.
fn take(shared: &Shared) -> (Vec<PresentityChange>, Option<Duration>, bool) {
    let mut inbox = shared.inbox();
    let inbox = &mut *inbox;
    let changes = inbox.order.drain(..).filter_map(|aor| inbox.changes.remove(&aor)).collect();
    (changes, inbox.finish, inbox.abandoned)
}

fn hand_over(publisher: &mut Publisher, shared: &Shared) {
    let mut inbox = shared.inbox();
    while let Some(outcome) = publisher.poll_outcome() {
        if outcome.acknowledged {
            inbox.totals.acknowledged += 1;
        } else {
            inbox.totals.failed += 1;
        }
        if inbox.outcomes.len() >= OUTCOMES_KEPT {
            inbox.outcomes.pop_front();
            inbox.outcomes_lost += 1;
        }
        inbox.outcomes.push_back(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops() {
        let parsed = |text: &str| NextHop::parse(text).map(|hop| (hop.host, hop.port));
        let hop = |host: &str, port| (host.to_owned(), port);
        assert_eq!(parsed("sip:presence.example.com").unwrap(), hop("presence.example.com", 5060));
        assert_eq!(parsed("sip:192.0.2.20:5070;transport=UDP").unwrap(), hop("192.0.2.20", 5070));
        assert_eq!(parsed("sip:[2001:db8::1]").unwrap(), hop("2001:db8::1", 5060));
        for (text, said) in [
            ("", "not a SIP URI"),
            ("presence.example.com", "not a SIP URI"),
            ("http://example.com", "not a SIP URI"),
            ("sips:example.com", "transport tls: only udp"),
            ("sip:example.com;transport=tcp", "transport tcp: only udp"),
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_resolve_to_themselves_and_a_name_that_is_none_is_told() {
        let resolved = NextHop::parse("sip:[2001:db8::1]:5070").unwrap().resolve();
        assert_eq!(resolved.unwrap(), "[2001:db8::1]:5070".parse().unwrap());
        assert_eq!(NextHop::parse("sip:[2001:db8::1]").unwrap().to_string(), "sip:[2001:db8::1]:5060");
        let error = NextHop::parse("sip:nobody.invalid").unwrap().resolve();
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`nobody.invalid` cannot be resolved"), "{error}");
    }
}
