//! The server's side of non-INVITE transactions.
//! In: requests, their final responses, time. Out: the response again for a retransmission. Knows nothing of sockets,
//! clocks, presence.
//! RFC 3261 section 17.2.2, matching after its section 17.2.3, ways back after its section 18.2.2 and RFC 3581.
//!
//! ```text
//!            | Request received
//!            V                      A request is answered at once: there is no provisional
//!     +-------------+               response, and no time in which its retransmission could come.
//!     |   Trying    |
//!     +-------------+
//!            | 200–699 sent
//!            V
//!     +-------------+
//!     |  Completed  |<---+ Request again: response again
//!     +-------------+----+
//!            | Timer J: 64·T1 over UDP, 0 s otherwise
//!            V
//!     +-------------+
//!     | Terminated  |
//!     +-------------+
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::transaction::T1;
use super::{SipMessage, Via};
use crate::base::{Hop, Timestamp, Transmit};

/// By what a retransmission is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerTransactionKey(Vec<u8>);

impl ServerTransactionKey {
    /// Branch, sent-by and method; for a client of RFC 2543, whose branch is not unique, what such requests differ in.
    pub fn of(request: &SipMessage<'_>) -> Self {
        let via = request.top_via();
        let port = via.port.unwrap_or(0).to_be_bytes();
        let sequence = request.cseq().number.to_be_bytes();
        let modern = request.top_branch().starts_with(b"z9hG4bK");
        let old: [&[u8]; 5] = if modern {
            [b""; 5]
        } else {
            [
                request.request_uri().unwrap_or(b""),
                request.call_id(),
                request.from_tag().unwrap_or(b""),
                request.to_tag().unwrap_or(b""),
                &sequence,
            ]
        };
        let mut key = Vec::with_capacity(96);
        for part in [request.method_text(), request.top_branch(), &via.host.to_ascii_lowercase(), &port]
            .into_iter()
            .chain(old)
        {
            key.extend_from_slice(&(part.len() as u32).to_be_bytes());
            key.extend_from_slice(part);
        }
        Self(key)
    }
}

/// Where the response to a request goes that came over this hop. Over TCP and TLS back over the connection. Over UDP
/// to where it came from if `rport` asks for that, else to the port of the sent-by at that address. `maddr` is not
/// looked at: it would let anybody send our answers to anybody.
pub fn response_hop(request: &SipMessage<'_>, hop: Hop) -> Hop {
    way_back(request.top_via(), hop)
}

/// The same for the first Via alone.
pub(super) fn way_back(via: Via<'_>, hop: Hop) -> Hop {
    if hop.transport.is_reliable() || via.asks_rport {
        return hop;
    }
    Hop { remote: SocketAddr::new(hop.remote.ip(), via.port.unwrap_or(5060)), ..hop }
}

/// Requests that were answered not long ago.
#[derive(Debug)]
pub struct ServerTransactions {
    most: usize,
    most_bytes: usize,
    /// Of all keys and responses.
    bytes: usize,
    answered: BTreeMap<ServerTransactionKey, Transmit>,
    /// Oldest first: all last equally long.
    order: VecDeque<(Timestamp, ServerTransactionKey)>,
    evicted: u64,
}

impl ServerTransactions {
    /// Keeps at most so many, of at most so many bytes; the oldest goes first.
    pub const fn new(most: usize, most_bytes: usize) -> Self {
        Self { most, most_bytes, bytes: 0, answered: BTreeMap::new(), order: VecDeque::new(), evicted: 0 }
    }

    /// The response that this request was answered with, if it is a retransmission.
    pub fn answer(&self, key: &ServerTransactionKey) -> Option<&Transmit> {
        self.answered.get(key)
    }

    /// A request was answered.
    pub fn completed(&mut self, now: Timestamp, key: ServerTransactionKey, response: Transmit) {
        if response.hop.transport.is_reliable() || self.answered.contains_key(&key) {
            return;
        }
        self.bytes += size(&key, &response);
        self.order.push_back((now.after(T1 * 64), key.clone()));
        self.answered.insert(key, response);
        while self.answered.len() > self.most || self.bytes > self.most_bytes {
            self.forget_oldest();
            self.evicted += 1;
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_front().and_then(|(_, key)| self.answered.remove_entry(&key));
        if let Some((key, response)) = oldest {
            self.bytes -= size(&key, &response);
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| *at <= now) {
            self.forget_oldest();
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.order.front().map(|(at, _)| *at)
    }

    /// How many were given up before their time.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// The key is there twice.
const fn size(ServerTransactionKey(key): &ServerTransactionKey, response: &Transmit) -> usize {
    2 * key.len() + response.bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Limits, Transport};
    use crate::sip::Scanner;

    const START: Timestamp = Timestamp::from_secs(100);

    fn hop(transport: Transport) -> Hop {
        Hop {
            transport,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.7:40000".parse().unwrap(),
        }
    }

    fn options(via: &str, call_id: &str) -> Vec<u8> {
        format!(
            "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:a@example.com>;tag=1\r\n\
             To: <sip:example.com>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    fn with<T>(bytes: &[u8], read: impl FnOnce(&SipMessage<'_>) -> T) -> T {
        let mut scanner = Scanner::new(&Limits::default());
        read(&scanner.scan(bytes).unwrap())
    }

    fn key(via: &str, call_id: &str) -> ServerTransactionKey {
        with(&options(via, call_id), ServerTransactionKey::of)
    }

    #[test]
    fn branch_and_sent_by_name_a_transaction_and_an_old_branch_does_not() {
        let one = key("192.0.2.7;branch=z9hG4bKa", "1");
        assert_eq!(one, key("192.0.2.7;branch=z9hG4bKa;rport", "2"));
        assert_ne!(one, key("192.0.2.7;branch=z9hG4bKb", "1"));
        assert_ne!(one, key("192.0.2.8;branch=z9hG4bKa", "1"));
        assert_ne!(one, key("192.0.2.7:5062;branch=z9hG4bKa", "1"));
        assert_ne!(key("192.0.2.7;branch=1", "1"), key("192.0.2.7;branch=1", "2"));
    }

    #[test]
    fn the_answer_is_kept_for_32_s_over_udp_and_not_at_all_over_tcp() {
        let mut table = ServerTransactions::new(10, 10_000);
        let answer = |transport| Transmit { hop: hop(transport), bytes: b"200".to_vec() };
        let (one, other) = (key("192.0.2.7;branch=z9hG4bKa", "1"), key("192.0.2.7;branch=z9hG4bKb", "1"));
        table.completed(START, one.clone(), answer(Transport::Udp));
        table.completed(START, other.clone(), answer(Transport::Tcp));
        assert_eq!(table.answer(&other), None);
        assert_eq!(table.poll_timeout(), Some(START.after_s(32)));
        table.handle_timeout(START.after_s(31));
        assert_eq!(table.answer(&one), Some(&answer(Transport::Udp)));
        table.handle_timeout(START.after_s(32));
        assert_eq!((table.answer(&one), table.poll_timeout()), (None, None));
    }

    #[test]
    fn at_the_bound_the_oldest_goes() {
        let mut table = ServerTransactions::new(2, 10_000);
        let keys = ["a", "b", "c"].map(|branch| key(&format!("192.0.2.7;branch=z9hG4bK{branch}"), "1"));
        for key in &keys {
            table.completed(START, key.clone(), Transmit { hop: hop(Transport::Udp), bytes: Vec::new() });
        }
        assert!(table.answer(&keys[0]).is_none() && table.answer(&keys[2]).is_some());
        assert_eq!(table.evicted(), 1);
    }

    #[test]
    fn long_answers_are_kept_for_fewer_requests() {
        let mut table = ServerTransactions::new(100, 100_000);
        let answer = Transmit { hop: hop(Transport::Udp), bytes: vec![b'x'; 30_000] };
        let keys: Vec<_> = (0..10).map(|n| key(&format!("192.0.2.7;branch=z9hG4bK{n}"), "1")).collect();
        for key in &keys {
            table.completed(START, key.clone(), answer.clone());
        }
        assert_eq!(keys.iter().filter(|key| table.answer(key).is_some()).count(), 3);
        assert!(table.answer(&keys[9]).is_some());
        let too_long = Transmit { bytes: vec![b'x'; 200_000], ..answer };
        table.completed(START, key("192.0.2.7;branch=z9hG4bKlong", "1"), too_long);
        table.handle_timeout(START.after_s(32));
        assert_eq!((table.bytes, table.poll_timeout()), (0, None));
    }

    #[test]
    fn the_way_back_is_the_source_if_rport_asks_else_the_port_of_the_sent_by() {
        let cases = [
            (Transport::Udp, "10.0.0.1:5070;rport;branch=z9hG4bKa", 40_000),
            (Transport::Udp, "10.0.0.1:5070;branch=z9hG4bKa", 5_070),
            (Transport::Udp, "10.0.0.1;branch=z9hG4bKa;maddr=198.51.100.1", 5_060),
            (Transport::Tcp, "10.0.0.1:5070;branch=z9hG4bKa", 40_000),
        ];
        for (transport, via, port) in cases {
            let back = with(&options(via, "1"), |request| response_hop(request, hop(transport)));
            assert_eq!(back.remote, SocketAddr::new("192.0.2.7".parse().unwrap(), port), "{via}");
        }
    }
}
