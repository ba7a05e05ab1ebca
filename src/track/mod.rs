//! Tracking: from messages to observations.
//! In: `Heard`. Out: `Observation`. Knows nothing of presence, sockets, clocks.

mod answered;
mod challenged;
mod dialog;
mod heard;
mod losses;
mod observation;
mod open_registrars;
mod pending;
mod registrar;
mod registration;
mod registrations;
mod subscription;
mod transactions;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;

use crate::base::{FrameId, Limits, Oddities, Rules, Timestamp};
use crate::sip::Method;

use dialog::Dialogs;
pub use heard::Heard;
use losses::Losses;
pub use observation::*;
use registrar::Registrar;
use subscription::Subscriptions;

/// A mirror that mixes up the order of frames does so within this time.
const OVERTAKES: Duration = Duration::from_millis(500);

/// Where the machines of this room put what they found out.
struct Findings {
    at: Timestamp,
    sequence: u64,
    queue: VecDeque<Observation>,
    losses: Losses,
    /// When the first message was heard.
    began: Option<Timestamp>,
}

impl Findings {
    fn new(at: Timestamp) -> Self {
        Self { at, sequence: 0, queue: VecDeque::new(), losses: Losses::default(), began: None }
    }

    fn push(&mut self, rule: Rule, frame: FrameId, call_id: &Arc<str>, fact: Fact) {
        self.sequence += 1;
        self.queue.push_back(Observation {
            sequence: self.sequence,
            at: self.at,
            evidence: Evidence { rule, frame, call_id: Arc::clone(call_id) },
            fact,
        });
    }
}

/// Reads the messages of all phones and servers and says what they mean for bindings, dialogs and
/// subscriptions. Four verbs: [`Self::handle`], [`Self::handle_timeout`], [`Self::poll_timeout`],
/// [`Self::poll_observation`].
pub struct Tracker {
    registrar: Registrar,
    dialogs: Dialogs,
    subscriptions: Subscriptions,
    servers: HashSet<IpAddr>,
    known_addresses: usize,
    findings: Findings,
}

impl Tracker {
    /// A tracker that has heard nothing.
    pub fn new(rules: &Rules, limits: &Limits) -> Self {
        Self {
            registrar: Registrar::new(limits).with(rules.registrar_lists),
            dialogs: Dialogs::new(rules, limits),
            subscriptions: Subscriptions::new(limits),
            servers: HashSet::new(),
            known_addresses: limits.known_addresses,
            findings: Findings::new(Timestamp::EPOCH),
        }
    }

    /// Takes in one message. What was due before `heard.at` must have been fired already.
    pub fn handle(&mut self, heard: &Heard<'_, '_>, oddities: &mut Oddities) {
        self.findings.at = heard.at;
        self.findings.began.get_or_insert(heard.at);
        self.notice_server(heard);
        self.registrar.notice(heard, &mut self.findings);
        match heard.message.cseq().method {
            Method::Register => self.registrar.handle(heard, &mut self.findings, oddities),
            Method::Subscribe | Method::Notify => {
                self.subscriptions.handle(heard, &mut self.findings, oddities);
            }
            Method::Publish => {}
            // Inside a dialog their 2xx shows that it is up; those outside are many and say nothing.
            Method::Message | Method::Options if heard.message.to_tag().is_none() => {}
            Method::Invite if heard.message.status().is_none() && heard.message.to_tag().is_none() => {
                self.registrar.called(heard, &mut self.findings);
                self.dialogs.handle(heard, &self.registrar, &mut self.findings, oddities);
            }
            _ => self.dialogs.handle(heard, &self.registrar, &mut self.findings, oddities),
        }
    }

    /// The mirror lost so many bytes of a stream, which its receiver has. They were sent before `sent_at`, by the first of
    /// these ends to the other.
    pub fn handle_loss(
        &mut self,
        at: Timestamp,
        sent_at: Timestamp,
        ends: (SocketAddr, SocketAddr),
        bytes: usize,
    ) {
        self.findings.losses.note(at);
        self.findings.losses.lose_of_stream(sent_at, ends, bytes);
    }

    /// A frame passed, of whatever kind: its input is not silent.
    #[inline]
    pub fn see_frame(&mut self, at: Timestamp, frame: FrameId) {
        self.dialogs.see_frame(at, frame);
    }

    /// The capture shows what passes since then; `None` while it does not.
    pub const fn sees_since(&mut self, since: Option<Timestamp>) {
        self.dialogs.sees_since(since);
    }

    /// A datagram passed that is no SIP, from the first of these ends to the other: of a call's media, perhaps. `is_media`: it
    /// looks like that. True if something is to be told.
    pub fn handle_datagram(
        &mut self,
        at: Timestamp,
        frame: FrameId,
        ends: [SocketAddr; 2],
        is_media: bool,
    ) -> bool {
        self.findings.at = at;
        self.dialogs.hear_datagram(frame, ends, is_media, &mut self.findings)
    }

    /// Fires what is due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.findings.at = now;
        self.registrar.handle_timeout(now, &mut self.findings);
        self.subscriptions.handle_timeout(now, &mut self.findings);
        self.dialogs.handle_timeout(now, &mut self.findings);
    }

    /// When something is due next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let others = Timestamp::earlier(self.subscriptions.poll_timeout(), self.dialogs.poll_timeout());
        Timestamp::earlier(self.registrar.poll_timeout(), others)
    }

    /// The next thing found out.
    pub fn poll_observation(&mut self) -> Option<Observation> {
        self.findings.queue.pop_front()
    }

    /// How many dialogs ended for each reason.
    pub fn ends(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        self.dialogs.ends()
    }

    /// SPEC section 6: an address that answers REGISTER, or that forwards requests, is a server's.
    fn notice_server(&mut self, heard: &Heard<'_, '_>) {
        let message = heard.message;
        let serves = match message.status() {
            // A phone that is sent a REGISTER refuses the method; that makes it no registrar.
            Some(405 | 501) => false,
            Some(_) => message.cseq().method == Method::Register,
            None => message.via_count() > 1,
        };
        let address = heard.source.ip();
        if serves && self.servers.len() < self.known_addresses && self.servers.insert(address) {
            let call_id = heard.call_id();
            self.findings.push(Rule::Attributed, heard.frame, &call_id, Fact::Server(address));
        }
    }
}
