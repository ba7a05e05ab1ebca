//! The client's side of a non-INVITE transaction.
//! In: a request's bytes, responses, time. Out: bytes to send, events. Knows nothing of sockets, clocks, presence.
//! RFC 3261 section 17.1.2; timers from its section 17.1.1.1 and appendix A.

use std::time::Duration;

use crate::base::Timestamp;
use crate::sip::Method;

/// T1: an estimate of the round-trip time.
pub const T1: Duration = Duration::from_millis(500);
/// T2: the longest interval between retransmissions of a non-INVITE request.
pub const T2: Duration = Duration::from_secs(4);
/// T4: the longest time that a message stays in the network.
pub const T4: Duration = Duration::from_secs(5);
/// Timer F: how long a final response is waited for.
pub const TIMER_F: Duration = Duration::from_secs(32);

/// Does the transport see to it that the request arrives?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// UDP: the transaction retransmits.
    Unreliable,
    /// TCP, TLS: it does not.
    Reliable,
}

/// What the transaction tells its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEvent {
    /// A provisional response of this status.
    Provisional(u16),
    /// The final response of this status; told once.
    Final(u16),
    /// Timer F: no final response.
    TimedOut,
    /// The transport could not deliver the request.
    TransportFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

/// One request awaiting its answer.
#[derive(Debug)]
pub struct ClientTransaction {
    branch: Vec<u8>,
    method: Method,
    request: Vec<u8>,
    reliability: Reliability,
    state: State,
    /// Timer E: when to retransmit, and the interval after that.
    retransmit_at: Option<Timestamp>,
    retransmit_interval: Duration,
    /// Timer F before a final response, timer K after it.
    over_at: Option<Timestamp>,
    send: bool,
    event: Option<TransactionEvent>,
}

impl ClientTransaction {
    /// Begins: the request is to be sent now. `branch` is that of its top Via, `method` that of its CSeq.
    pub fn new(
        now: Timestamp,
        branch: &[u8],
        method: Method,
        request: Vec<u8>,
        reliability: Reliability,
    ) -> Self {
        Self {
            branch: branch.to_vec(),
            method,
            request,
            reliability,
            state: State::Trying,
            retransmit_at: (reliability == Reliability::Unreliable).then(|| now.after(T1)),
            retransmit_interval: T1,
            over_at: Some(now.after(TIMER_F)),
            send: true,
            event: None,
        }
    }

    /// A response belongs to this transaction (RFC 3261 section 17.1.3): same branch, same method in CSeq.
    pub fn matches(&self, branch: &[u8], method: Method) -> bool {
        self.method == method && self.branch == branch
    }

    /// Takes a response that [`Self::matches`].
    ///
    /// ```text
    ///                                    | Request sent
    ///              Timer E               V
    ///              send request +---------------+
    ///                 +---------|               |------------------+
    ///                 |         |    Trying     |  Timer F         |
    ///                 +-------->|               |  or transport    |
    ///                           +---------------+  error: told     |
    ///              200–699 told  |         |                       |
    ///              +-------------+         | 1xx told              |
    ///              |                       V                       |
    ///              |  Timer E   +---------------+                  |
    ///              |  send      |               | Timer F          |
    ///              |  +---------|  Proceeding   |----------------->|
    ///              |  |         |               | or transport     |
    ///              |  +-------->|               | error: told      |
    ///              |            +---------------+                  |
    ///              |               |   1xx told, stays             |
    ///              |  200–699 told |                               |
    ///              V               V                               |
    ///           +---------------------+                            |
    ///           |      Completed      | responses dropped          |
    ///           +---------------------+                            |
    ///                      | Timer K                               |
    ///                      V                                       |
    ///           +---------------------+                            |
    ///           |     Terminated      |<---------------------------+
    ///           +---------------------+
    /// ```
    pub fn handle(&mut self, now: Timestamp, status: u16) {
        match (self.state, status) {
            (State::Trying | State::Proceeding, 100..=199) => {
                // From now on timer E runs at T2 (section 17.1.2.2); the one that runs is left to fire.
                self.state = State::Proceeding;
                self.retransmit_interval = T2;
                self.event = Some(TransactionEvent::Provisional(status));
            }
            (State::Trying | State::Proceeding, 200..=699) => {
                self.event = Some(TransactionEvent::Final(status));
                self.retransmit_at = None;
                self.send = false;
                if self.reliability == Reliability::Reliable {
                    self.terminate();
                } else {
                    self.state = State::Completed;
                    self.over_at = Some(now.after(T4));
                }
            }
            _ => {}
        }
    }

    /// The transport said that the request cannot be delivered (section 17.1.4).
    pub fn handle_transport_error(&mut self) {
        if matches!(self.state, State::Trying | State::Proceeding) {
            self.event = Some(TransactionEvent::TransportFailed);
            self.terminate();
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.over_at.is_some_and(|at| at <= now) {
            if self.state != State::Completed {
                self.event = Some(TransactionEvent::TimedOut);
            }
            self.terminate();
        } else if let Some(at) = self.retransmit_at.filter(|&at| at <= now) {
            self.send = true;
            self.retransmit_interval = (self.retransmit_interval * 2).min(T2);
            // From the moment it was due, unless that would send several at once.
            let next = at.after(self.retransmit_interval);
            self.retransmit_at = Some(next.max(now.after(T1)));
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.retransmit_at = None;
        self.over_at = None;
        self.send = false;
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match (self.retransmit_at, self.over_at) {
            (Some(retransmit), Some(over)) => Some(retransmit.min(over)),
            (retransmit, over) => retransmit.or(over),
        }
    }

    /// The request, if it is to be sent (again) now.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        std::mem::take(&mut self.send).then_some(&*self.request)
    }

    /// What there is to tell.
    pub fn poll_event(&mut self) -> Option<TransactionEvent> {
        self.event.take()
    }

    /// Nothing more will happen.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(100);

    fn begin(reliability: Reliability) -> ClientTransaction {
        ClientTransaction::new(START, b"z9hG4bKa", Method::Publish, b"PUBLISH".to_vec(), reliability)
    }

    /// Milliseconds after the start at which the request is sent, until the transaction says something.
    fn sent_until_event(transaction: &mut ClientTransaction) -> (Vec<u128>, TransactionEvent) {
        let (mut now, mut sent) = (START, Vec::new());
        loop {
            if transaction.poll_transmit().is_some() {
                sent.push(now.since(START).as_millis());
            }
            if let Some(event) = transaction.poll_event() {
                return (sent, event);
            }
            now = transaction.poll_timeout().unwrap();
            transaction.handle_timeout(now);
        }
    }

    #[test]
    fn silence_over_udp_is_retransmitted_into_and_ends_after_32_s() {
        let mut transaction = begin(Reliability::Unreliable);
        let (sent, event) = sent_until_event(&mut transaction);
        let expected = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(sent, expected);
        assert_eq!(event, TransactionEvent::TimedOut);
        assert!(transaction.is_terminated());
    }

    #[test]
    fn a_reliable_transport_is_sent_to_once() {
        let mut transaction = begin(Reliability::Reliable);
        let (sent, event) = sent_until_event(&mut transaction);
        assert_eq!((sent, event), (vec![0], TransactionEvent::TimedOut));
    }

    #[test]
    fn after_a_provisional_response_the_interval_is_t2() {
        let mut transaction = begin(Reliability::Unreliable);
        transaction.handle(START, 100);
        assert_eq!(transaction.poll_event(), Some(TransactionEvent::Provisional(100)));
        let (sent, _) = sent_until_event(&mut transaction);
        assert_eq!(sent[..4], [0, 500, 4_500, 8_500]);
    }

    #[test]
    fn a_final_response_is_told_once_and_its_copies_are_absorbed_for_t4() {
        let mut transaction = begin(Reliability::Unreliable);
        assert!(transaction.poll_transmit().is_some());
        transaction.handle(START.after_s(1), 200);
        assert_eq!(transaction.poll_event(), Some(TransactionEvent::Final(200)));
        transaction.handle(START.after_s(2), 200);
        assert_eq!(transaction.poll_event(), None);
        assert_eq!(transaction.poll_timeout(), Some(START.after_s(6)));
        transaction.handle_timeout(START.after_s(6));
        assert!(transaction.is_terminated());
        assert_eq!(transaction.poll_event(), None);
        assert_eq!(transaction.poll_timeout(), None);
    }

    #[test]
    fn a_transport_error_is_told_and_a_late_timer_sends_once() {
        let mut transaction = begin(Reliability::Unreliable);
        assert!(transaction.poll_transmit().is_some());
        transaction.handle_timeout(START.after_s(20));
        assert!(transaction.poll_transmit().is_some());
        assert!(transaction.poll_timeout().unwrap() > START.after_s(20));
        transaction.handle_transport_error();
        assert_eq!(transaction.poll_event(), Some(TransactionEvent::TransportFailed));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn a_response_of_another_branch_or_method_is_not_its_own() {
        let transaction = begin(Reliability::Unreliable);
        assert!(transaction.matches(b"z9hG4bKa", Method::Publish));
        assert!(!transaction.matches(b"z9hG4bKb", Method::Publish));
        assert!(!transaction.matches(b"z9hG4bKa", Method::Options));
    }
}
