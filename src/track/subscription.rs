//! Subscriptions to the presence service: who is watching.
//! In: SUBSCRIBE, NOTIFY and their responses. Out: `Observation` of subscriptions. Knows nothing of dialogs, presence.
//! RFC 6665; only `Event: presence` (RFC 3856) counts.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::heard::{Heard, text};
use super::registrar::transaction_key;
use super::{EndId, EndIdentity, Fact, Findings, Rule, SubscriptionFact};
use crate::base::{Deadlines, FrameId, Limits, Oddities, Oddity, Places, Timestamp};
use crate::sip::Method;

/// Ids of subscriptions are told apart from those of dialog ends by this bit.
const SUBSCRIPTION: u64 = 1 << 63;
/// How long a SUBSCRIBE waits for its answer.
const TRANSACTION_S: u32 = 64;

struct Pending {
    presence: bool,
    expires_s: Option<u32>,
    identity: EndIdentity,
    vias: usize,
    /// Its 2xx was seen: further ones are the mirror's copies or repetitions.
    accepted: bool,
}

struct Subscription {
    key: (Arc<str>, Arc<str>),
    identity: EndIdentity,
    vias: usize,
    id: u64,
    frame: FrameId,
    deadline: Option<Timestamp>,
}

/// All subscriptions to `presence`.
pub(super) struct Subscriptions {
    /// By Call-ID and the subscriber's tag.
    subscriptions: Places<Subscription>,
    pending: HashMap<Box<[u8]>, Pending>,
    pending_order: VecDeque<(Timestamp, Box<[u8]>)>,
    deadlines: Deadlines<u32>,
    most: usize,
    next_id: u64,
    key: Vec<u8>,
}

impl Subscriptions {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            subscriptions: Places::default(),
            pending: HashMap::new(),
            pending_order: VecDeque::new(),
            deadlines: Deadlines::new(),
            most: limits.pending_transactions,
            next_id: 0,
            key: Vec::new(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    pub(super) fn handle(&mut self, heard: &Heard<'_, '_>, out: &mut Findings, oddities: &mut Oddities) {
        while self.pending_order.front().is_some_and(|(at, _)| at.after_s(TRANSACTION_S) < heard.at)
            || self.pending.len() >= self.most
        {
            let Some((_, key)) = self.pending_order.pop_front() else {
                break;
            };
            self.pending.remove(&key);
        }
        match (heard.message.cseq().method, heard.message.status()) {
            (Method::Subscribe, None) => self.subscribe(heard),
            (Method::Subscribe, Some(status)) => self.answer(status, heard, out, oddities),
            (_, None) => self.notify(heard, out),
            _ => {}
        }
    }

    fn subscribe(&mut self, heard: &Heard<'_, '_>) {
        let message = heard.message;
        transaction_key(&mut self.key, heard);
        if self.pending.contains_key(&*self.key) {
            return;
        }
        let key: Box<[u8]> = self.key.as_slice().into();
        let identity = EndIdentity { auth: heard.auth_user(), answered: true, ..heard.sender_identity() };
        let presence = message.event().is_some_and(|event| event.eq_ignore_ascii_case(b"presence"));
        let (vias, expires_s) = (message.via_count(), message.expires());
        self.pending_order.push_back((heard.at, key.clone()));
        self.pending.insert(key, Pending { presence, expires_s, identity, vias, accepted: false });
    }

    fn answer(&mut self, status: u16, heard: &Heard<'_, '_>, out: &mut Findings, oddities: &mut Oddities) {
        transaction_key(&mut self.key, heard);
        let message = heard.message;
        let key = (heard.call_id(), text(message.from_tag().unwrap_or_default()));
        let known = self.find(&key);
        let Some(asked) = self.pending.get_mut(&*self.key) else {
            return;
        };
        match status {
            200..=299 if asked.presence && !std::mem::replace(&mut asked.accepted, true) => {
                let expires_s = message.expires().or(asked.expires_s).unwrap_or(3_600);
                if expires_s == 0 {
                    return self.end(known, Rule::Unsubscribed, heard.frame, out);
                }
                let (identity, vias) = (asked.identity.clone(), asked.vias);
                let until = heard.at.after_s(expires_s);
                if self.subscriptions.len() >= self.most && known.is_none() {
                    oddities.note(Oddity::TableFull);
                    self.end_soonest(out);
                }
                self.extend(key, identity, vias, until, heard.frame, out);
            }
            // RFC 6665 section 4.1.2.2: the subscription that was to be refreshed is gone.
            404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604 => {
                self.end(known, Rule::Unsubscribed, heard.frame, out);
            }
            _ => {}
        }
    }

    fn find(&self, key: &(Arc<str>, Arc<str>)) -> Option<u32> {
        self.subscriptions.find(key, |known| known.key == *key)
    }

    fn extend(
        &mut self,
        key: (Arc<str>, Arc<str>),
        identity: EndIdentity,
        vias: usize,
        until: Timestamp,
        frame: FrameId,
        out: &mut Findings,
    ) {
        let id = self.find(&key).unwrap_or_else(|| {
            self.next_id += 1;
            self.subscriptions.insert(&key, |_| Subscription {
                key: key.clone(),
                identity: identity.clone(),
                vias,
                id: SUBSCRIPTION | self.next_id,
                frame,
                deadline: None,
            })
        });
        let Some(subscription) = self.subscriptions.get_mut(id) else {
            return;
        };
        if vias <= subscription.vias {
            (subscription.identity, subscription.vias) = (identity, vias);
        }
        subscription.frame = frame;
        self.deadlines.set(&mut subscription.deadline, id, Some(until));
        subscription.tell(Some(until), Rule::Subscribe200, out);
    }

    /// A NOTIFY goes the other way: the subscriber's tag is in To.
    fn notify(&mut self, heard: &Heard<'_, '_>, out: &mut Findings) {
        let message = heard.message;
        let Some(tag) = message.to_tag() else { return };
        let key = (heard.call_id(), text(tag));
        let Some(id) = self.find(&key) else {
            return;
        };
        let Some((state, expires_s)) = message.subscription_state() else {
            return;
        };
        if state.eq_ignore_ascii_case(b"terminated") {
            return self.end(Some(id), Rule::Unsubscribed, heard.frame, out);
        }
        // A notifier may shorten what it granted (RFC 6665 section 4.2.2).
        let sooner = expires_s.map(|expires_s| heard.at.after_s(expires_s));
        if let Some(subscription) = self.subscriptions.get_mut(id)
            && let Some(sooner) = sooner.filter(|&sooner| Some(sooner) < subscription.deadline)
        {
            subscription.frame = heard.frame;
            self.deadlines.set(&mut subscription.deadline, id, Some(sooner));
        }
    }

    /// The table is full: the subscription that would run out first goes.
    fn end_soonest(&mut self, out: &mut Findings) {
        let soonest = self.deadlines.first_key();
        if let Some(frame) = soonest.and_then(|id| self.subscriptions.get(id)).map(|gone| gone.frame) {
            self.end(soonest, Rule::Evicted, frame, out);
        }
    }

    fn end(&mut self, id: Option<u32>, rule: Rule, frame: FrameId, out: &mut Findings) {
        let Some(id) = id else { return };
        if let Some(mut subscription) = self.subscriptions.remove(id) {
            self.deadlines.set(&mut subscription.deadline, id, None);
            subscription.frame = frame;
            subscription.tell(None, rule, out);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp, out: &mut Findings) {
        while let Some((_, id)) = self.deadlines.pop_due(now) {
            if let Some(subscription) = self.subscriptions.remove(id) {
                subscription.tell(None, Rule::SubscriptionExpired, out);
            }
        }
    }
}

impl Subscription {
    fn tell(&self, expires_at: Option<Timestamp>, rule: Rule, out: &mut Findings) {
        let fact = SubscriptionFact { end: EndId(self.id), expires_at, identity: self.identity.clone() };
        out.push(rule, self.frame, &self.key.0, Fact::Subscription(Arc::new(fact)));
    }
}
