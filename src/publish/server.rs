//! Which presence server is asked next, and how much it is asked at once.
//! In: candidates, how requests to them went, time. Out: the server for the next request. Knows nothing of
//! publications, messages, sockets.
//! RFC 3263 section 4.3 (the next one), RFC 3261 section 21.5.4 (503), section 18.1.1 (too large for UDP).
//!
//! The rule. The earliest candidate that works is used. One that fails is left alone for a while, longer each time,
//! and then proven by one request: while another works by a refresh, since nothing that is shown depends on it, else
//! by whatever is due. When none is left, fresh addresses are asked for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::{Hop, Timestamp, Transport};
use crate::base::{Random, backoff};
use crate::publish::pace::Pace;

/// A presence server's address, one of several in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// The way there. The local port of one over TCP or TLS may be 0: that connection is opened when it is needed.
    pub hop: Hop,
}

/// A server, by the order in which servers were first named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId(pub(crate) u32);

/// How a request failed, other than by a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing came.
    Silence,
    /// It could not be delivered.
    Transport,
    /// 503.
    Unavailable { retry_after_s: Option<u32> },
}

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The server answered others meanwhile.
    Publication,
    /// The server's, and another can be asked now.
    OneServer,
    /// The server's, and there is no other now.
    AllServers,
}

/// What an answer says of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// As it was.
    AsBefore,
    /// Another one is used from now on, before the one that was has failed.
    Moved,
    /// One works again: before this, none did.
    Restored,
}

/// Why a request cannot be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// Until then.
    Until(Timestamp),
    /// Until an answer, or a list of servers.
    UntilTold,
}

#[derive(Clone, Copy, Debug)]
enum Health {
    /// Not yet asked, or failed some time ago.
    Unproven,
    Working {
        since: Timestamp,
        answered_at: Timestamp,
        /// Requests that may await their answer at once.
        window: usize,
    },
    Away {
        until: Timestamp,
    },
}

#[derive(Debug)]
struct Candidate {
    id: ServerId,
    hop: Hop,
    health: Health,
    in_flight: usize,
    failures: u32,
    /// Whose request failed last. That of the same publication again says little about the server.
    failed_last: Option<u32>,
    no_tcp_until: Option<Timestamp>,
}

impl Candidate {
    const fn works(&self) -> bool {
        matches!(self.health, Health::Working { .. })
    }
}

/// How long a server is left alone after its first failure, and at most.
const AWAY_FIRST: Duration = Duration::from_secs(2);
pub(crate) const AWAY_LONGEST: Duration = Duration::from_secs(60);
/// Failures count on until a server has worked for so long.
const STEADY: Duration = Duration::from_secs(60);
/// How long a server that refused TCP is not asked again.
const NO_TCP: Duration = Duration::from_secs(3_600);
/// No Retry-After is believed beyond this.
const LONGEST_S: u32 = 86_400;
/// More candidates are not looked at.
const MOST_CANDIDATES: usize = 32;

/// All presence servers that there are.
#[derive(Debug)]
pub(crate) struct Servers {
    candidates: Vec<Candidate>,
    /// Those that are none any more, while something is in flight to them: they may come back before it is answered.
    left: Vec<Candidate>,
    named: u32,
    outstanding: usize,
    pace: Pace,
    resolve_at: Option<Timestamp>,
    /// Resolutions in a row that gave nothing.
    unresolved: u32,
}

impl Servers {
    /// None yet: addresses are to be asked for at once.
    pub(crate) fn new(outstanding: usize, per_s: u32) -> Self {
        Self {
            candidates: Vec::new(),
            left: Vec::new(),
            named: 0,
            outstanding: outstanding.max(1),
            pace: Pace::new(per_s),
            resolve_at: Some(Timestamp::EPOCH),
            unresolved: 0,
        }
    }

    /// These are the candidates now, the best first. What is known of those that stay is kept. None at all: those
    /// that are known stay, and addresses are asked for again after a while.
    pub(crate) fn replace(&mut self, now: Timestamp, servers: &[Server], random: &mut Random) {
        if servers.is_empty() {
            let wait = backoff(random, AWAY_FIRST, AWAY_LONGEST, self.unresolved);
            self.unresolved = self.unresolved.saturating_add(1);
            self.resolve_at = Some(now.after(wait));
            return;
        }
        self.unresolved = 0;
        self.resolve_at = None;
        let mut known = std::mem::take(&mut self.candidates);
        known.append(&mut self.left);
        for server in servers.iter().take(MOST_CANDIDATES) {
            let is_this = |candidate: &Candidate| same_peer(&candidate.hop, &server.hop);
            if self.candidates.iter().any(is_this) {
                continue;
            }
            let candidate = match known.iter().position(is_this) {
                Some(at) => Candidate { hop: server.hop, ..known.swap_remove(at) },
                None => {
                    self.named += 1;
                    Candidate {
                        id: ServerId(self.named),
                        hop: server.hop,
                        health: Health::Unproven,
                        in_flight: 0,
                        failures: 0,
                        failed_last: None,
                        no_tcp_until: None,
                    }
                }
            };
            self.candidates.push(candidate);
        }
        known.retain(|candidate| candidate.in_flight > 0);
        self.left = known;
    }

    /// What was taken of a server is given back. Says where it stands among the candidates, if it is still one.
    fn give_back(&mut self, id: ServerId) -> Option<usize> {
        if let Some(candidate) = self.candidates.iter_mut().chain(&mut self.left).find(|it| it.id == id) {
            candidate.in_flight = candidate.in_flight.saturating_sub(1);
        }
        self.left.retain(|candidate| candidate.in_flight > 0);
        self.candidates.iter().position(|candidate| candidate.id == id)
    }

    /// Takes the server for a request that is due, if one can be sent now. Each taken is given back by
    /// [`Self::answered`] or [`Self::failed`].
    pub(crate) fn take(&mut self, now: Timestamp, is_refresh: bool) -> Result<(ServerId, Hop), Blocked> {
        let outstanding = self.outstanding;
        let one_works = self.candidates.iter().any(Candidate::works);
        let mut again_at = None;
        for candidate in &mut self.candidates {
            if let Health::Away { until } = candidate.health
                && until <= now
            {
                candidate.health = Health::Unproven;
            }
            let window = match candidate.health {
                Health::Away { until } => {
                    again_at = Some(again_at.map_or(until, |at: Timestamp| at.min(until)));
                    continue;
                }
                Health::Unproven if one_works && !(is_refresh && candidate.in_flight == 0) => continue,
                Health::Unproven => 1,
                Health::Working { window, .. } => window.min(outstanding),
            };
            if candidate.in_flight >= window {
                return Err(Blocked::UntilTold);
            }
            self.pace.take(now).map_err(Blocked::Until)?;
            candidate.in_flight += 1;
            return Ok((candidate.id, candidate.hop));
        }
        Err(again_at.map_or(Blocked::UntilTold, Blocked::Until))
    }

    /// A final response came, other than 503. What was taken is given back.
    pub(crate) fn answered(&mut self, now: Timestamp, id: ServerId) -> Service {
        let outstanding = self.outstanding;
        let one_worked = self.candidates.iter().any(Candidate::works);
        let from_it_on = self.give_back(id).and_then(|at| self.candidates.get_mut(at..));
        let Some((candidate, worse)) = from_it_on.and_then(<[_]>::split_first_mut) else {
            return Service::AsBefore;
        };
        candidate.failed_last = None;
        match &mut candidate.health {
            Health::Working { answered_at, window, .. } => {
                *answered_at = now;
                *window = window.saturating_add(1).min(outstanding);
                return Service::AsBefore;
            }
            // The answer to what was under way when it failed.
            Health::Away { .. } => return Service::AsBefore,
            Health::Unproven => {
                candidate.health =
                    Health::Working { since: now, answered_at: now, window: 2.min(outstanding) };
            }
        }
        // No longer used: each is proven again when it is needed.
        for candidate in worse.iter_mut().filter(|candidate| candidate.works()) {
            candidate.health = Health::Unproven;
        }
        if one_worked { Service::Moved } else { Service::Restored }
    }

    /// What was taken is given back: nothing was sent.
    pub(crate) fn untake(&mut self, id: ServerId) {
        self.give_back(id);
    }

    /// The same request goes to this server once more, with an answer to its challenge.
    pub(crate) fn take_again(&mut self, now: Timestamp, id: ServerId) {
        if let Some(candidate) = self.candidates.iter_mut().chain(&mut self.left).find(|it| it.id == id) {
            candidate.in_flight += 1;
        }
        self.pace.borrow(now);
    }

    /// A request of this publication that was sent at this moment failed. What was taken is given back.
    ///
    /// ```text
    ///              answered: window 2              answered: window + 1
    ///    +----------+            +---------+-----------------------+
    ///    | Unproven |----------->| Working |                       |
    ///    | window 1 |            |         |<----------------------+
    ///    +----------+<-----------+---------+-----------------------+
    ///      ^   |   a better works     |    | failed, but answered  |
    ///      |   |                      |    | something since it    |
    ///      |   | failed               |    | was sent: window / 2  |
    ///      |   V                      |    +-----------------------+
    ///    +----------+                 |
    ///    |   Away   |<----------------+
    ///    +----------+  failed, and answered nothing since it was sent; Retry-After; transport error
    ///      until: to Unproven
    /// ```
    pub(crate) fn failed(
        &mut self,
        now: Timestamp,
        id: ServerId,
        sent_at: Timestamp,
        failure: Failure,
        publication: u32,
        random: &mut Random,
    ) -> Blame {
        let Some(candidate) = self.give_back(id).and_then(|at| self.candidates.get_mut(at)) else {
            return self.blame(now);
        };
        let asked = match failure {
            Failure::Unavailable { retry_after_s } => retry_after_s,
            Failure::Silence | Failure::Transport => None,
        };
        match &mut candidate.health {
            Health::Working { answered_at, window, .. }
                if *answered_at >= sent_at && asked.is_none() && failure != Failure::Transport =>
            {
                *window = (*window / 2).max(1);
                return Blame::Publication;
            }
            // The others that were under way when it failed.
            Health::Away { .. } if asked.is_none() => return self.blame(now),
            Health::Working { since, .. } if since.after(STEADY) <= now => candidate.failures = 0,
            Health::Working { .. } | Health::Unproven | Health::Away { .. } => {}
        }
        let mut until = now.after(backoff(random, AWAY_FIRST, AWAY_LONGEST, candidate.failures));
        if let Some(seconds) = asked {
            let spread = random.jittered(AWAY_FIRST);
            until = until.max(now.after_s(seconds.min(LONGEST_S)).after(spread));
        }
        if let Health::Away { until: before } = candidate.health {
            until = until.max(before);
        }
        if candidate.failed_last != Some(publication) {
            candidate.failures = candidate.failures.saturating_add(1);
            candidate.failed_last = Some(publication);
        }
        candidate.health = Health::Away { until };
        let blame = self.blame(now);
        if blame == Blame::AllServers {
            self.resolve_at = Some(now);
        }
        blame
    }

    fn blame(&self, now: Timestamp) -> Blame {
        let is_away =
            |candidate: &Candidate| matches!(candidate.health, Health::Away { until } if until > now);
        if self.candidates.iter().all(is_away) { Blame::AllServers } else { Blame::OneServer }
    }

    /// How a request of this length goes over this hop: one too large for UDP goes over TCP, unless that was refused.
    pub(crate) fn hop_for(&self, now: Timestamp, id: ServerId, hop: Hop, length: usize) -> Hop {
        let no_tcp = self
            .candidates
            .iter()
            .any(|candidate| candidate.id == id && candidate.no_tcp_until.is_some_and(|until| until > now));
        if hop.transport != Transport::Udp || length <= LONGEST_UDP_REQUEST || no_tcp {
            return hop;
        }
        Hop { transport: Transport::Tcp, local: SocketAddr::new(hop.local.ip(), 0), ..hop }
    }

    /// This server takes no TCP.
    pub(crate) fn no_tcp(&mut self, now: Timestamp, id: ServerId) {
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.id == id) {
            candidate.no_tcp_until = Some(now.after(NO_TCP));
        }
    }

    /// The one that works.
    pub(crate) fn in_use(&self) -> Option<ServerId> {
        self.candidates.iter().find(|candidate| candidate.works()).map(|candidate| candidate.id)
    }

    /// How a server is reached, while it is one of the candidates.
    pub(crate) fn hop_of(&self, id: ServerId) -> Option<Hop> {
        self.candidates.iter().find(|candidate| candidate.id == id).map(|candidate| candidate.hop)
    }

    /// When addresses are to be asked for, although nothing is sent or answered.
    pub(crate) const fn poll_timeout(&self) -> Option<Timestamp> {
        self.resolve_at
    }

    /// Addresses are to be asked for; told once.
    pub(crate) fn poll_resolve(&mut self, now: Timestamp) -> bool {
        self.resolve_at.take_if(|at| *at <= now).is_some()
    }
}

/// RFC 3261 section 18.1.1: the longest request over UDP where the path MTU is not known.
const LONGEST_UDP_REQUEST: usize = 1_300;

/// The same transport to the same address.
pub(crate) fn same_peer(one: &Hop, other: &Hop) -> bool {
    one.transport == other.transport && one.remote == other.remote
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
