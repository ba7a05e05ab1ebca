//! The publisher at work: a thread of its own with the wall clock and a socket.
//! In: changes from the capture side, which is never made to wait. Out: PUBLISH requests, outcomes. Knows nothing of
//! captures.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::base::{Limits, Timestamp, Transport};
use crate::io::dns::{Dns, DnsError};
use crate::io::next_hop::NextHop;
use crate::io::sip_socket::{LONGEST_DATAGRAM, SipSocket};
use crate::presence::PresentityChange;
use crate::publish::{PublicationOutcome, PublishOptions, Publisher};
use crate::sip::Aor;

/// Why nothing can be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The presence server's name has no address.
    #[error("the presence server's name {0}")]
    Resolve(#[from] DnsError),
    /// The presence server is reached otherwise.
    #[error("{0} is not reached over UDP: only udp is supported for publishing")]
    NotUdp(NextHop),
    /// The socket, the thread or its runtime.
    #[error("cannot publish to {next_hop}: {source}")]
    Socket {
        /// Where to.
        next_hop: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl NextHop {
    /// The first address for UDP. Waits for DNS.
    ///
    /// # Errors
    /// [`PublishError::Resolve`], [`PublishError::NotUdp`].
    pub fn resolve(&self) -> Result<SocketAddr, PublishError> {
        let failed = |error: io::Error| DnsError::Failed { host: self.host.clone(), what: error.to_string() };
        let runtime = runtime().map_err(failed)?;
        let servers = runtime.block_on(async { Dns::of_system()?.resolve(self, || seed(0)).await })?;
        let udp = servers.iter().find(|server| server.transport == Transport::Udp);
        udp.map(|server| server.address).ok_or_else(|| PublishError::NotUdp(self.clone()))
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
    pub fn start(options: PublishOptions, limits: &Limits) -> Result<Self, PublishError> {
        let next_hop = options.next_hop;
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
                        let options = PublishOptions { local, seed: seed(options.seed), ..options };
                        let publisher = Publisher::new(options, &limits_there);
                        runtime.block_on(run(publisher, &socket, &in_thread));
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

fn seed(given: u64) -> u64 {
    if given != 0 {
        return given;
    }
    // RandomState is keyed by the system's random numbers.
    RandomState::new().build_hasher().finish()
}

/// The wall clock as it was at the start, going on without jumps.
struct Clock {
    began: Timestamp,
    since: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    fn start() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { began: Timestamp::EPOCH.after(wall), since: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.began.after(self.since.elapsed())
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

async fn run(mut publisher: Publisher, socket: &SipSocket, shared: &Shared) {
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
        while let Some(bytes) = publisher.poll_transmit() {
            match socket.send(&bytes).await {
                Err(error) if is_unreachable(&error) => {
                    publisher.handle_transport_error(clock.now());
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
                    publisher.handle_datagram(clock.now(), buffer.get(..length).unwrap_or_default());
                }
                Err(error) if is_unreachable(&error) => {
                    publisher.handle_transport_error(clock.now());
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
    fn addresses_resolve_to_themselves_and_a_name_that_is_none_is_told() {
        let resolved = NextHop::parse("sip:[2001:db8::1]:5070").unwrap().resolve();
        assert_eq!(resolved.unwrap(), "[2001:db8::1]:5070".parse().unwrap());
        let error = NextHop::parse("sip:192.0.2.20;transport=tcp").unwrap().resolve().unwrap_err();
        assert!(error.to_string().contains("only udp is supported"), "{error}");
        let error = NextHop::parse("sip:nobody.invalid").unwrap().resolve();
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`nobody.invalid` cannot be resolved"), "{error}");
    }

    #[test]
    fn a_seed_is_found_when_none_is_given() {
        assert_eq!(seed(5), 5);
        assert_ne!(seed(0), seed(0));
    }
}
