//! The client's side of an INVITE transaction, and the CANCEL that may follow it.
//! In: what an INVITE says, responses, time. Out: bytes to send, events. Knows nothing of sockets, clocks, dialogs: the
//! ACK to a 2xx is its user's.
//! RFC 3261 section 17.1.1 as RFC 6026 corrects it, section 9.1; timers from appendix A.

use std::time::Duration;

use super::transaction::{Reliability, T1, TIMER_F};
use super::write::{self, Header, RequestMethod, WriteError, header, unfolded};
use super::{HeaderName, Method, SipMessage};
use crate::base::Timestamp;

/// Timer B: how long any response is waited for. As long is a final one after CANCEL (section 9.1).
pub const TIMER_B: Duration = TIMER_F;
/// Timer D: how long copies of a refusal may come over UDP.
const TIMER_D: Duration = Duration::from_secs(32);
/// Timer M: how long copies of a 2xx, and those of other forks, may come (RFC 6026 section 8.4).
const TIMER_M: Duration = Duration::from_secs(32);

/// What an INVITE, its CANCEL and the ACK to its refusal say alike (sections 9.1 and 17.1.1.3).
#[derive(Clone, Debug)]
pub struct InviteHead {
    /// The Request-URI.
    pub uri: String,
    /// The only Via.
    pub via: Header,
    /// Its branch.
    pub branch: String,
    /// The From field's value, with our tag.
    pub from: String,
    /// The To field's value, without a tag: no dialog is begun.
    pub to: String,
    /// The Call-ID.
    pub call_id: String,
    /// The number in CSeq.
    pub cseq: u32,
}

impl InviteHead {
    /// The INVITE, with further fields and a body.
    ///
    /// # Errors
    /// [`WriteError`] when what it says cannot stand in a message.
    pub fn invite(&self, more: Vec<Header>, body: &[u8]) -> Result<Vec<u8>, WriteError> {
        self.write(RequestMethod::Invite, self.to.clone(), more, body)
    }

    /// Its CANCEL: a transaction of its own, with the INVITE's branch.
    ///
    /// # Errors
    /// As [`Self::invite`].
    pub fn cancel(&self) -> Result<Vec<u8>, WriteError> {
        self.write(RequestMethod::Cancel, self.to.clone(), Vec::new(), b"")
    }

    /// The ACK to a refusal with this To.
    fn ack(&self, to: String) -> Result<Vec<u8>, WriteError> {
        self.write(RequestMethod::Ack, to, Vec::new(), b"")
    }

    fn write(
        &self,
        method: RequestMethod,
        to: String,
        more: Vec<Header>,
        body: &[u8],
    ) -> Result<Vec<u8>, WriteError> {
        let mut headers = vec![
            self.via.clone(),
            Header::MaxForwards("70".to_owned().into()),
            header("From", self.from.clone()),
            header("To", to),
            Header::CallId(self.call_id.clone().into()),
            Header::CSeq(format!("{} {method}", self.cseq).into()),
        ];
        headers.extend(more);
        write::request(method, &self.uri, headers, body)
    }
}

/// What the transaction tells its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteEvent {
    /// A provisional response of this status.
    Provisional(u16),
    /// A 2xx of this status: the first, a copy or that of another fork. Each is to be acknowledged.
    Accepted(u16),
    /// The refusal of this status, 300 to 699; told once, acknowledged here.
    Refused(u16),
    /// Timer B: no response at all; or no final one after CANCEL.
    TimedOut,
    /// The transport could not deliver the INVITE.
    TransportFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    /// RFC 6026 section 7.2.
    Accepted,
    Completed,
    Terminated,
}

/// Whether the INVITE is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    /// It is not.
    Unwanted,
    /// It is, as soon as a provisional response shows that it arrived.
    Wanted,
    /// CANCEL can be sent now.
    Due,
    /// It was handed out.
    Sent,
}

/// One INVITE awaiting its answers.
#[derive(Debug)]
pub struct InviteTransaction {
    head: InviteHead,
    request: Vec<u8>,
    reliability: Reliability,
    state: State,
    cancel: Cancel,
    ack: Option<Vec<u8>>,
    /// Timer A: when to retransmit, and the interval after that.
    retransmit_at: Option<Timestamp>,
    retransmit_interval: Duration,
    /// Timer B, D or M, or the end of the wait after CANCEL.
    over_at: Option<Timestamp>,
    send_request: bool,
    send_ack: bool,
    event: Option<InviteEvent>,
}

impl InviteTransaction {
    /// Begins: the request, which [`InviteHead::invite`] made, is to be sent now.
    pub fn new(now: Timestamp, head: InviteHead, request: Vec<u8>, reliability: Reliability) -> Self {
        Self {
            head,
            request,
            reliability,
            state: State::Calling,
            cancel: Cancel::Unwanted,
            ack: None,
            retransmit_at: (reliability == Reliability::Unreliable).then(|| now.after(T1)),
            retransmit_interval: T1,
            over_at: Some(now.after(TIMER_B)),
            send_request: true,
            send_ack: false,
            event: None,
        }
    }

    /// What its INVITE says.
    pub const fn head(&self) -> &InviteHead {
        &self.head
    }

    /// A response belongs to this transaction (section 17.1.3).
    pub fn matches(&self, response: &SipMessage<'_>) -> bool {
        response.cseq().method == Method::Invite && response.top_branch() == self.head.branch.as_bytes()
    }

    /// Takes a response that [`Self::matches`].
    ///
    /// ```text
    ///                                    | INVITE sent
    ///              Timer A               V
    ///              send INVITE  +---------------+   Timer B or transport error: told
    ///                 +---------|    Calling    |--------------------------------------+
    ///                 +-------->|               |----------------+                     |
    ///                           +---------------+ 2xx told       |                     |
    ///        300–699 told, ACK   |         | 1xx told            |                     |
    ///        +-------------------+         V                     |                     |
    ///        |                  +---------------+ 2xx told       |                     |
    ///        |                  |  Proceeding   |--------------->|                     |
    ///        |<-----------------|               |----------------|-------------------->|
    ///        | 300–699 told,    +---------------+  32 s after CANCEL: told             |
    ///        | ACK                 1xx told, stays               |                     |
    ///        V                                                   V                     |
    ///   +---------------+ 300–699: ACK again            +---------------+ 2xx told     |
    ///   |   Completed   |--------+                      |   Accepted    |------+       |
    ///   |               |<-------+                      |               |<-----+       |
    ///   +---------------+                               +---------------+              |
    ///        | Timer D                                           | Timer M             |
    ///        V                                                   V                     |
    ///   +----------------------------------------------------------------+             |
    ///   |                           Terminated                           |<------------+
    ///   +----------------------------------------------------------------+
    /// ```
    pub fn handle(&mut self, now: Timestamp, status: u16, response: &SipMessage<'_>) {
        match (self.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => {
                if self.state == State::Calling {
                    self.state = State::Proceeding;
                    (self.retransmit_at, self.send_request, self.over_at) = (None, false, None);
                }
                self.event = Some(InviteEvent::Provisional(status));
                self.release_cancel(now);
            }
            (State::Calling | State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                (self.retransmit_at, self.send_request) = (None, false);
                self.over_at = Some(now.after(TIMER_M));
                self.event = Some(InviteEvent::Accepted(status));
            }
            (State::Accepted, 200..=299) => self.event = Some(InviteEvent::Accepted(status)),
            (State::Calling | State::Proceeding, 300..=699) => {
                self.event = Some(InviteEvent::Refused(status));
                (self.retransmit_at, self.send_request) = (None, false);
                self.state = State::Completed;
                // Over a reliable transport no copies come: it is over as soon as the ACK is sent.
                let wait = match self.reliability {
                    Reliability::Unreliable => TIMER_D,
                    Reliability::Reliable => Duration::ZERO,
                };
                self.over_at = Some(now.after(wait));
                let to = response.header(HeaderName::To).map(unfolded).unwrap_or_default();
                self.ack = self.head.ack(to).ok();
                self.send_ack = self.ack.is_some();
            }
            (State::Completed, 300..=699) => self.send_ack = self.ack.is_some(),
            _ => {}
        }
    }

    /// Takes the INVITE back. [`Self::poll_cancel`] says when CANCEL can be sent: not before a provisional response,
    /// and not after a final one (section 9.1).
    pub fn cancel(&mut self, now: Timestamp) {
        if self.cancel == Cancel::Unwanted {
            self.cancel = Cancel::Wanted;
            self.release_cancel(now);
        }
    }

    fn release_cancel(&mut self, now: Timestamp) {
        if self.cancel == Cancel::Wanted && self.state == State::Proceeding {
            self.cancel = Cancel::Due;
            self.over_at = Some(now.after(TIMER_B));
        }
    }

    /// The CANCEL to send, once.
    pub fn poll_cancel(&mut self) -> Option<Vec<u8>> {
        if self.cancel != Cancel::Due {
            return None;
        }
        self.cancel = Cancel::Sent;
        (self.state == State::Proceeding).then(|| self.head.cancel().ok()).flatten()
    }

    /// The transport said that what was sent cannot be delivered (section 17.1.4).
    pub fn handle_transport_error(&mut self) {
        match self.state {
            State::Calling => {
                self.event = Some(InviteEvent::TransportFailed);
                self.terminate();
            }
            State::Completed => self.terminate(),
            State::Proceeding | State::Accepted | State::Terminated => {}
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.over_at.is_some_and(|at| at <= now) {
            if matches!(self.state, State::Calling | State::Proceeding) {
                self.event = Some(InviteEvent::TimedOut);
            }
            self.terminate();
        } else if let Some(at) = self.retransmit_at.filter(|&at| at <= now) {
            self.send_request = true;
            self.retransmit_interval *= 2;
            // From the moment it was due, unless that would send several at once.
            let next = at.after(self.retransmit_interval);
            self.retransmit_at = Some(next.max(now.after(T1)));
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        (self.retransmit_at, self.over_at, self.send_request) = (None, None, false);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        Timestamp::earlier(self.retransmit_at, self.over_at)
    }

    /// INVITE or ACK, if one is to be sent (again) now.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        if std::mem::take(&mut self.send_ack) {
            return self.ack.as_deref();
        }
        std::mem::take(&mut self.send_request).then_some(&*self.request)
    }

    /// What there is to tell.
    pub fn poll_event(&mut self) -> Option<InviteEvent> {
        self.event.take()
    }

    /// A final response is still awaited.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling | State::Proceeding)
    }

    /// Nothing more will happen.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Limits;
    use crate::sip::Scanner;

    const START: Timestamp = Timestamp::from_secs(100);

    fn begin(reliability: Reliability) -> InviteTransaction {
        let head = InviteHead {
            uri: "sip:alice@192.0.2.7".to_owned(),
            via: write::via("UDP", "192.0.2.5:5060".parse().unwrap(), "z9hG4bKa"),
            branch: "z9hG4bKa".to_owned(),
            from: "<sip:offhook@192.0.2.5>;tag=ours".to_owned(),
            to: "<sip:alice@example.com>".to_owned(),
            call_id: "call".to_owned(),
            cseq: 7,
        };
        let request = head.invite(Vec::new(), b"").unwrap();
        InviteTransaction::new(START, head, request, reliability)
    }

    fn respond(transaction: &mut InviteTransaction, now: Timestamp, status: u16) -> Option<InviteEvent> {
        let text = format!(
            "SIP/2.0 {status} x\r\nVia: SIP/2.0/UDP 192.0.2.5:5060;branch=z9hG4bKa\r\n\
             From: <sip:offhook@192.0.2.5>;tag=ours\r\nTo: <sip:alice@example.com>;tag=theirs\r\nCall-ID: call\r\n\
             CSeq: 7 INVITE\r\n\r\n"
        );
        let mut scanner = Scanner::new(&Limits::default());
        let response = scanner.scan(text.as_bytes()).unwrap();
        assert!(transaction.matches(&response));
        transaction.handle(now, status, &response);
        transaction.poll_event()
    }

    /// What was sent, as text.
    fn sent(transaction: &mut InviteTransaction) -> Option<String> {
        transaction.poll_transmit().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn run_until_event(transaction: &mut InviteTransaction) -> (Vec<u128>, InviteEvent) {
        let (mut now, mut moments) = (START, Vec::new());
        loop {
            if sent(transaction).is_some() {
                moments.push(now.since(START).as_millis());
            }
            if let Some(event) = transaction.poll_event() {
                return (moments, event);
            }
            now = transaction.poll_timeout().unwrap();
            transaction.handle_timeout(now);
        }
    }

    #[test]
    fn timer_a_doubles_without_a_ceiling_and_timer_b_ends_it() {
        let mut transaction = begin(Reliability::Unreliable);
        let (moments, event) = run_until_event(&mut transaction);
        assert_eq!(moments, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
        assert_eq!((event, transaction.is_terminated()), (InviteEvent::TimedOut, true));
        let (moments, event) = run_until_event(&mut begin(Reliability::Reliable));
        assert_eq!((moments, event), (vec![0], InviteEvent::TimedOut));
    }

    #[test]
    fn a_provisional_response_ends_retransmission_and_every_timer() {
        let mut transaction = begin(Reliability::Unreliable);
        sent(&mut transaction);
        assert_eq!(respond(&mut transaction, START, 180), Some(InviteEvent::Provisional(180)));
        assert_eq!((transaction.poll_timeout(), transaction.is_pending()), (None, true));
    }

    #[test]
    fn a_refusal_is_told_once_and_every_copy_is_acknowledged_until_timer_d() {
        let mut transaction = begin(Reliability::Unreliable);
        sent(&mut transaction);
        assert_eq!(respond(&mut transaction, START, 486), Some(InviteEvent::Refused(486)));
        let ack = sent(&mut transaction).unwrap();
        assert_eq!(
            ack,
            "ACK sip:alice@192.0.2.7 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.5:5060;rport;branch=z9hG4bKa\r\n\
             Max-Forwards: 70\r\nFrom: <sip:offhook@192.0.2.5>;tag=ours\r\n\
             To: <sip:alice@example.com>;tag=theirs\r\nCall-ID: call\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(respond(&mut transaction, START.after_s(1), 486), None);
        assert_eq!(sent(&mut transaction), Some(ack));
        assert_eq!(respond(&mut transaction, START.after_s(1), 200), None, "too late");
        transaction.handle_timeout(START.after_s(32));
        assert!(transaction.is_terminated());
        assert_eq!(respond(&mut transaction, START.after_s(33), 486), None);
        assert_eq!(sent(&mut transaction), None);
    }

    #[test]
    fn over_a_reliable_transport_a_refusal_is_acknowledged_and_over() {
        let mut transaction = begin(Reliability::Reliable);
        sent(&mut transaction);
        respond(&mut transaction, START, 603);
        assert!(sent(&mut transaction).unwrap().starts_with("ACK "));
        transaction.handle_timeout(START);
        assert!(transaction.is_terminated());
    }

    #[test]
    fn every_copy_of_a_2xx_is_told_until_timer_m_and_none_is_acknowledged_here() {
        let mut transaction = begin(Reliability::Unreliable);
        sent(&mut transaction);
        for second in [0, 1, 31] {
            let event = respond(&mut transaction, START.after_s(second), 200);
            assert_eq!((event, sent(&mut transaction)), (Some(InviteEvent::Accepted(200)), None));
        }
        assert_eq!(respond(&mut transaction, START.after_s(31), 486), None);
        assert_eq!(transaction.poll_timeout(), Some(START.after_s(32)));
        transaction.handle_timeout(START.after_s(32));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn cancel_waits_for_a_provisional_response_and_has_the_branch_of_the_invite() {
        let mut transaction = begin(Reliability::Unreliable);
        sent(&mut transaction);
        transaction.cancel(START);
        assert_eq!(transaction.poll_cancel(), None);
        respond(&mut transaction, START.after_s(1), 100);
        let cancel = String::from_utf8(transaction.poll_cancel().unwrap()).unwrap();
        assert!(cancel.starts_with("CANCEL sip:alice@192.0.2.7 SIP/2.0\r\nVia: "), "{cancel}");
        for line in ["branch=z9hG4bKa\r\n", "\r\nTo: <sip:alice@example.com>\r\n", "\r\nCSeq: 7 CANCEL\r\n"] {
            assert!(cancel.contains(line), "{line}");
        }
        assert_eq!(transaction.poll_cancel(), None);
        assert_eq!(respond(&mut transaction, START.after_s(2), 487), Some(InviteEvent::Refused(487)));
    }

    #[test]
    fn a_cancelled_invite_that_nobody_ends_is_over_after_32_s() {
        let mut transaction = begin(Reliability::Unreliable);
        respond(&mut transaction, START, 180);
        transaction.cancel(START.after_s(30));
        assert!(transaction.poll_cancel().is_some());
        transaction.handle_timeout(START.after_s(62));
        assert_eq!(transaction.poll_event(), Some(InviteEvent::TimedOut));
    }

    #[test]
    fn nothing_is_cancelled_that_has_its_final_response() {
        let mut transaction = begin(Reliability::Unreliable);
        respond(&mut transaction, START, 180);
        respond(&mut transaction, START, 200);
        transaction.cancel(START);
        assert_eq!(transaction.poll_cancel(), None);
    }

    #[test]
    fn a_transport_error_ends_what_was_not_heard_of_yet() {
        let mut transaction = begin(Reliability::Unreliable);
        transaction.handle_transport_error();
        assert_eq!(transaction.poll_event(), Some(InviteEvent::TransportFailed));
        let mut transaction = begin(Reliability::Unreliable);
        respond(&mut transaction, START, 180);
        transaction.handle_transport_error();
        assert_eq!((transaction.poll_event(), transaction.is_pending()), (None, true));
    }
}
