//! The publisher at work: a thread of its own with the wall clock and sockets.
//! In: changes from the capture side, which is never made to wait. Out: requests to presence servers, outcomes. Knows
//! nothing of captures.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::{Clock, fresh_seed};
use super::mailbox::{LastFailure, Mailbox};
use super::sip_endpoint::EndpointEvent;
use super::way::{Target, Way, WayError, failure};
use super::worker::{self, WorkerError};
use crate::base::{Hop, Limits, Timestamp};
use crate::presence::PresentityChange;
use crate::publish::{PublicationOutcome, PublishOptions, Publisher, Server};
use crate::sip::Aor;

/// Why nothing can be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The presence servers cannot be reached from here.
    #[error("cannot publish")]
    Way(#[from] WayError),
    /// There is no thread for it.
    #[error("cannot publish")]
    Worker(#[from] WorkerError),
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
    /// Why a server could not be reached last, while nothing was acknowledged since.
    failure: LastFailure,
    finish: Option<Duration>,
    abandoned: bool,
}

/// Outcomes that wait to be polled; older ones go first and are counted.
const OUTCOMES_KEPT: usize = 1 << 20;
/// A stop has at least so long, even when all the time went into waiting for acknowledgements.
const STOP_TIME: Duration = Duration::from_secs(2);

/// The capture side's end of the publisher's thread. Dropped without [`Self::finish`], it leaves what is published
/// to expire.
pub struct PublisherHandle {
    mailbox: Arc<Mailbox<Inbox>>,
    most_presentities: usize,
    thread: Option<JoinHandle<()>>,
}

impl PublisherHandle {
    /// Finds the servers' addresses, waiting for that, and starts the thread. A seed of 0 is replaced by one that no other
    /// run has.
    ///
    /// # Errors
    /// [`PublishError`]. Later, when addresses can no longer be found, it goes on with those that it knows.
    pub fn start(target: Target, options: PublishOptions, limits: &Limits) -> Result<Self, PublishError> {
        let mailbox = Arc::new(Mailbox::default());
        let (in_thread, limits_there) = (Arc::clone(&mailbox), limits.clone());
        let seed = if options.seed == 0 { fresh_seed() } else { options.seed };
        let options = PublishOptions { seed, ..options };
        let begin = async move || Ok::<_, PublishError>((find(target, seed).await?, ()));
        let (thread, ()) = worker::start("publisher", begin, async move |(way, servers)| {
            run(Publisher::new(options, &limits_there), way, servers, &in_thread).await;
        })?;
        Ok(Self { mailbox, most_presentities: limits.presentities, thread: Some(thread) })
    }

    /// Hands over a change; never waits. Until the publisher has taken it, a newer one of the same presentity
    /// replaces it.
    pub fn send(&self, change: PresentityChange) {
        self.mailbox.put(|inbox| {
            if let Some(waiting) = inbox.changes.get_mut(&change.aor) {
                *waiting = change;
            } else if inbox.changes.len() < self.most_presentities {
                inbox.order.push_back(change.aor.clone());
                inbox.changes.insert(change.aor.clone(), change);
            } else {
                inbox.not_taken += 1;
            }
        });
    }

    /// What became of an operation. Goes on giving what is left after [`Self::finish`].
    pub fn poll_outcome(&self) -> Option<PublicationOutcome> {
        self.mailbox.open().outcomes.pop_front()
    }

    /// How the operations have gone so far.
    pub fn totals(&self) -> Totals {
        self.mailbox.open().totals
    }

    /// Changes that were not taken because there were too many presentities, and outcomes that nobody polled in time.
    pub fn lost(&self) -> (u64, u64) {
        let inbox = self.mailbox.open();
        (inbox.not_taken, inbox.outcomes_lost)
    }

    /// Why a server could not be reached last, in words; `None` while all could.
    pub fn last_failure(&self) -> Option<String> {
        self.mailbox.open().failure.words().map(str::to_owned)
    }

    /// The same, once each time that it became so.
    pub fn poll_failure(&self) -> Option<String> {
        self.mailbox.open().failure.poll()
    }

    /// Waits until all is acknowledged, at most for `timeout`; then stops as [`PublishOptions::on_stop`] says and waits
    /// for that, in what is left of the time but at least 2 s.
    pub fn finish(&mut self, timeout: Duration) -> Totals {
        self.mailbox.put(|inbox| inbox.finish = Some(timeout));
        if let Some(thread) = self.thread.take() {
            // A panic over there has been told on stderr; the totals say what was done.
            let _ = thread.join();
        }
        self.totals()
    }
}

impl Drop for PublisherHandle {
    fn drop(&mut self) {
        self.mailbox.put(|inbox| inbox.abandoned = true);
    }
}

async fn find(target: Target, seed: u64) -> Result<(Way, Vec<Server>), WayError> {
    let mut way = Way::open(target, seed).await?;
    let servers = servers(way.find().await?);
    Ok((way, servers))
}

fn servers(hops: Vec<Hop>) -> Vec<Server> {
    hops.into_iter().map(|hop| Server { hop }).collect()
}

/// Where the end has got to.
enum Phase {
    Publishing,
    /// Until all is acknowledged, at most until then.
    Settling(Timestamp),
    /// Until all is taken back, at most until then.
    Stopping(Timestamp),
}

async fn run(mut publisher: Publisher, mut way: Way, mut known: Vec<Server>, mailbox: &Mailbox<Inbox>) {
    let clock = Clock::start();
    let mut phase = Phase::Publishing;
    publisher.handle_servers(clock.now(), &known);
    // What is looked up anew while all goes on.
    let (located, mut looked_up) = tokio::sync::mpsc::channel(1);
    loop {
        let (changes, finish, abandoned) = take(mailbox);
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
        while let Some(transmit) = publisher.poll_transmit() {
            way.endpoint.send(transmit);
        }
        if publisher.poll_resolve() {
            let (look_up, located) = (way.look_up(), located.clone());
            tokio::spawn(async move {
                // Nobody listens any more when all is over.
                let _ = located.send(look_up.await.unwrap_or_default()).await;
            });
        }
        hand_over(&mut publisher, mailbox);
        let until = match phase {
            Phase::Stopping(until) if publisher.is_settled() || until <= clock.now() => {
                mailbox.open().totals.settled = publisher.is_settled();
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
            () = mailbox.called() => {}
            () = tokio::time::sleep(wait) => {}
            event = way.endpoint.next() => match event {
                EndpointEvent::Message { hop, bytes } => publisher.handle_message(clock.now(), hop, &bytes),
                EndpointEvent::Failed { hop, error } => {
                    // One that takes no TCP is asked over UDP: that is no trouble.
                    let is_way = |way: &Server| (way.hop.transport, way.hop.remote) == (hop.transport, hop.remote);
                    if known.iter().any(is_way) {
                        mailbox.open().failure.fail(failure(hop, &error, "publish.tls_ca_file"));
                    }
                    publisher.handle_transport_error(clock.now(), hop);
                }
            },
            Some(found) = looked_up.recv() => {
                let found = servers(way.reach(found));
                publisher.handle_servers(clock.now(), &found);
                // Where nothing is found, those that are known stay.
                if !found.is_empty() {
                    known = found;
                }
            }
        }
    }
}

/// The changes in the order in which their presentities first changed, and what else is asked.
fn take(mailbox: &Mailbox<Inbox>) -> (Vec<PresentityChange>, Option<Duration>, bool) {
    let mut inbox = mailbox.open();
    let inbox = &mut *inbox;
    let changes = inbox.order.drain(..).filter_map(|aor| inbox.changes.remove(&aor)).collect();
    (changes, inbox.finish, inbox.abandoned)
}

fn hand_over(publisher: &mut Publisher, mailbox: &Mailbox<Inbox>) {
    let mut inbox = mailbox.open();
    while let Some(outcome) = publisher.poll_outcome() {
        if outcome.acknowledged {
            inbox.totals.acknowledged += 1;
            inbox.failure.mend();
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
