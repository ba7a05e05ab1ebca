//! Requests that await their answer, one for each of their senders at most.
//! In: requests' bytes, responses, time. Out: bytes to send, how each ended, with what its sender gave along. Knows nothing
//! of sockets, clocks, what is asked for.
//! RFC 3261 section 17.1.3: whose response it is says its branch, whatever way it took.

use std::collections::BTreeMap;

use super::transaction::{ClientTransaction, Reliability, TransactionEvent};
use super::{Method, SipMessage};
use crate::base::{Hop, Timestamp, Transmit};

/// A request that is on its way.
#[derive(Debug)]
pub struct Flight<C> {
    /// How it travels.
    pub hop: Hop,
    /// What its sender gave along.
    pub cargo: C,
    transaction: ClientTransaction,
    branch: Vec<u8>,
}

impl<C> Flight<C> {
    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.transaction.poll_timeout()
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.transaction.handle_timeout(now);
    }

    /// It does not arrive: told by [`Flights::poll_lost`].
    pub fn handle_transport_error(&mut self) {
        self.transaction.handle_transport_error();
    }

    /// The request once more, if it is to be sent again.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let bytes = self.transaction.poll_transmit()?.to_vec();
        Some(Transmit { hop: self.hop, bytes })
    }
}

/// Why no answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Timer F.
    Silence,
    /// The transport said so.
    Transport,
}

/// Whose request is on its way, by its branch. The flights themselves are kept by their senders.
#[derive(Debug, Default)]
pub struct Flights {
    branches: BTreeMap<Vec<u8>, u32>,
}

impl Flights {
    /// Requests on their way.
    pub fn len(&self) -> usize {
        self.branches.len()
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.branches.is_empty()
    }

    /// Their senders, in order of branch.
    pub fn senders(&self) -> Vec<u32> {
        self.branches.values().copied().collect()
    }

    /// Whose request this answers.
    pub fn sender_of(&self, response: &SipMessage<'_>) -> Option<u32> {
        self.branches.get(response.top_branch()).copied()
    }

    /// Lets a request off; [`Flight::poll_transmit`] gives it at once.
    pub fn begin<C>(
        &mut self,
        now: Timestamp,
        sender: u32,
        request: (Method, &str, Vec<u8>),
        hop: Hop,
        cargo: C,
    ) -> Flight<C> {
        let (method, branch, bytes) = request;
        let reliability = match hop.transport.is_reliable() {
            true => Reliability::Reliable,
            false => Reliability::Unreliable,
        };
        let branch = branch.as_bytes().to_vec();
        let transaction = ClientTransaction::new(now, &branch, method, bytes, reliability);
        self.branches.insert(branch.clone(), sender);
        Flight { hop, cargo, transaction, branch }
    }

    /// Takes a response to it. The final one ends it: it is gone from its place then, and comes with its status. Copies
    /// of that response find no branch and are ignored, which is all that timer K is for.
    pub fn handle_response<C>(
        &mut self,
        now: Timestamp,
        place: &mut Option<Flight<C>>,
        status: u16,
        response: &SipMessage<'_>,
    ) -> Option<(u16, Flight<C>)> {
        let flight = place.as_mut()?;
        if !flight.transaction.matches(response.top_branch(), response.cseq().method) {
            return None;
        }
        flight.transaction.handle(now, status);
        match flight.transaction.poll_event() {
            Some(TransactionEvent::Final(status)) => {
                self.branches.remove(&flight.branch);
                place.take().map(|flight| (status, flight))
            }
            _ => None,
        }
    }

    /// The flight, gone from its place, if no answer to it comes any more.
    pub fn poll_lost<C>(&mut self, place: &mut Option<Flight<C>>) -> Option<(Loss, Flight<C>)> {
        let flight = place.as_mut()?;
        let loss = match flight.transaction.poll_event() {
            Some(TransactionEvent::TimedOut) => Loss::Silence,
            Some(TransactionEvent::TransportFailed) => Loss::Transport,
            _ => return None,
        };
        self.branches.remove(&flight.branch);
        place.take().map(|flight| (loss, flight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Limits, Transport};
    use crate::sip::Scanner;

    const HOP: Hop = Hop {
        transport: Transport::Udp,
        local: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5060),
        remote: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5070),
    };

    fn response(status: u16, branch: &str, method: &str) -> String {
        format!(
            "SIP/2.0 {status} x\r\nVia: SIP/2.0/UDP 127.0.0.1;branch={branch}\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 {method}\r\n\r\n"
        )
    }

    #[test]
    fn a_final_response_ends_a_flight_once() {
        let now = Timestamp::EPOCH;
        let mut flights = Flights::default();
        let mut flight =
            flights.begin(now, 7, (Method::Publish, "z9hG4bKa", b"PUBLISH".to_vec()), HOP, "cargo");
        assert_eq!(flight.poll_transmit().map(|transmit| transmit.bytes), Some(b"PUBLISH".to_vec()));
        let mut place = Some(flight);
        let mut scanner = Scanner::new(&Limits::default());
        for (status, branch, method, ends) in [
            (200, "z9hG4bKb", "PUBLISH", false),
            (200, "z9hG4bKa", "SUBSCRIBE", false),
            (100, "z9hG4bKa", "PUBLISH", false),
            (200, "z9hG4bKa", "PUBLISH", true),
            (200, "z9hG4bKa", "PUBLISH", false),
        ] {
            let text = response(status, branch, method);
            let message = scanner.scan(text.as_bytes()).unwrap();
            let ended = flights.handle_response(now, &mut place, status, &message);
            assert_eq!(ended.map(|(status, flight)| (status, flight.cargo)), ends.then_some((200, "cargo")));
        }
        assert!(flights.is_empty() && place.is_none());
    }

    #[test]
    fn a_flight_is_lost_by_silence_or_by_the_transport() {
        let now = Timestamp::EPOCH;
        let mut flights = Flights::default();
        let mut silent = Some(flights.begin(now, 1, (Method::Publish, "z9hG4bKa", Vec::new()), HOP, ()));
        let mut failed = Some(flights.begin(now, 2, (Method::Publish, "z9hG4bKb", Vec::new()), HOP, ()));
        assert_eq!((flights.len(), flights.senders()), (2, vec![1, 2]));
        assert!(flights.poll_lost(&mut silent).is_none());
        if let Some(flight) = &mut failed {
            flight.handle_transport_error();
        }
        assert_eq!(flights.poll_lost(&mut failed).map(|(loss, _)| loss), Some(Loss::Transport));
        if let Some(flight) = &mut silent {
            flight.handle_timeout(now.after_s(32));
        }
        assert_eq!(flights.poll_lost(&mut silent).map(|(loss, _)| loss), Some(Loss::Silence));
        assert!(flights.is_empty());
    }
}
