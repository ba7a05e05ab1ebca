//! The list of wishes: who called in vain, and whom to ask when.
//! In: what the tap found out, what becomes of askings, time. Out: orders to ask, steps, records. Knows nothing of SIP messages, sockets.

use std::collections::VecDeque;

use super::{AskEvent, AskId, AskOrder, RedialOptions, RedialTold, WishRecord};
use crate::base::{CaptureEvent, Limits, Timestamp};
use crate::identity::Attributed;

/// What was counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedialCounters {
    /// Wishes that were made.
    pub wished: u64,
    /// Askings that were ordered.
    pub asked: u64,
    /// Wishes that are kept now.
    pub open: u64,
    /// Wishes that ended, by outcome, those that occurred.
    pub outcomes: Vec<(&'static str, u64)>,
}

/// See the module. After each `handle…`, drain every `poll_…` until it gives `None`; records are to be kept before
/// orders are followed.
pub struct Redialer {
    told: VecDeque<RedialTold>,
    orders: VecDeque<AskOrder>,
    records: VecDeque<WishRecord>,
    counters: RedialCounters,
}

impl Redialer {
    /// Nobody wishes anything.
    pub fn new(options: RedialOptions, limits: &Limits) -> Self {
        let _ = (options, limits);
        Self {
            told: VecDeque::new(),
            orders: VecDeque::new(),
            records: VecDeque::new(),
            counters: RedialCounters::default(),
        }
    }

    /// Takes in what was found out, after firing all that was due before it.
    pub fn handle(&mut self, attributed: &Attributed) {
        let _ = attributed;
    }

    /// Takes in what happened to the capture.
    pub fn handle_capture(&mut self, event: &CaptureEvent) {
        let _ = event;
    }

    /// Takes in what became of an asking.
    pub fn handle_ask(&mut self, now: Timestamp, id: AskId, event: AskEvent) {
        let _ = (now, id, event);
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// When something is due next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// The next step to tell.
    pub fn poll_told(&mut self) -> Option<RedialTold> {
        self.told.pop_front()
    }

    /// Whom to ask next; in a dry run nobody.
    pub fn poll_order(&mut self) -> Option<AskOrder> {
        self.orders.pop_front()
    }

    /// The next record for a store.
    pub fn poll_record(&mut self) -> Option<WishRecord> {
        self.records.pop_front()
    }

    /// What was counted so far.
    pub fn counters(&self) -> RedialCounters {
        self.counters.clone()
    }
}
