//! A dialog that we began: whose it is, and the way of the requests in it.
//! In: what the peer's messages say of the dialog. Out: tags, numbers, Request-URI and Route of the next request.
//! Knows nothing of transactions, sockets, what the dialog is for.
//! RFC 3261 section 12.

use super::write::{Header, header, uri_text};
use super::{HeaderName, NameAddr, SipMessage, Uri};
use crate::base::{Hop, Transport};

/// Proxies between us and the peer that are believed.
const MAX_ROUTES: usize = 16;
/// The user part of our Contact, and of From where nobody else's name is wanted.
pub const OWN_USER: &str = "offhook";

/// What a request is to its dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is the next one.
    Next,
    /// One with a higher CSeq came before it (section 12.2.2: 500).
    Late,
    /// It is of another dialog.
    Stranger,
}

/// A dialog seen from the end that sent its first request. Until somebody answers, its peer is anybody.
#[derive(Clone, Debug)]
pub struct Dialog {
    call_id: String,
    local_tag: String,
    remote_tag: Option<String>,
    target: Option<String>,
    stand_in: Option<String>,
    /// URIs, the first proxy first.
    routes: Vec<String>,
    cseq: u32,
    remote_cseq: Option<u32>,
}

impl Dialog {
    /// One in which nothing was sent yet.
    pub const fn new(call_id: String, local_tag: String) -> Self {
        Self {
            call_id,
            local_tag,
            remote_tag: None,
            target: None,
            stand_in: None,
            routes: Vec::new(),
            cseq: 0,
            remote_cseq: None,
        }
    }

    /// The address that a registrar lists for the peer. Where its Contact is a GRUU (RFC 5627), which names no address and
    /// which not every proxy can resolve, requests are for this one.
    #[must_use]
    pub fn with_stand_in(self, contact: Option<&str>) -> Self {
        Self { stand_in: contact.filter(|uri| is_writable(uri) && !is_gruu(uri)).map(str::to_owned), ..self }
    }

    /// Its Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Our tag.
    pub fn local_tag(&self) -> &str {
        &self.local_tag
    }

    /// The peer's tag, if it is known.
    pub fn remote_tag(&self) -> Option<&str> {
        self.remote_tag.as_deref()
    }

    /// The number of the next request (section 8.1.1.5).
    pub const fn next_cseq(&mut self) -> u32 {
        self.cseq = self.cseq.wrapping_add(1) & 0x7fff_ffff;
        self.cseq
    }

    /// A response answers a request of this dialog, or one that was to begin it.
    pub fn is_answered_by(&self, response: &SipMessage<'_>) -> bool {
        response.call_id() == self.call_id.as_bytes()
            && response.from_tag() == Some(self.local_tag.as_bytes())
    }

    /// Takes in what a 2xx says of the dialog. That of another peer than the one that is known is not believed.
    pub fn learn_from_answer(&mut self, response: &SipMessage<'_>) {
        if self.accepts(response.to_tag()) {
            let routes = record_route(response).rev().collect();
            self.learn(response, response.to_tag(), routes);
        }
    }

    /// A request is of this dialog, or its sender may be the peer that is not known yet.
    pub fn is_of(&self, request: &SipMessage<'_>) -> bool {
        request.call_id() == self.call_id.as_bytes()
            && request.to_tag() == Some(self.local_tag.as_bytes())
            && self.accepts(request.from_tag())
    }

    /// Says what a request is, and takes in what the next one says of the dialog.
    pub fn order(&mut self, request: &SipMessage<'_>) -> Order {
        if !self.is_of(request) {
            return Order::Stranger;
        }
        let number = request.cseq().number;
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return Order::Late;
        }
        self.remote_cseq = Some(number);
        let routes = record_route(request).collect();
        self.learn(request, request.from_tag(), routes);
        Order::Next
    }

    /// Request-URI and Route of the next request (section 12.2.1.1): to the peer's Contact as soon as that is known,
    /// else to this URI. A first proxy that is no loose router has its own URI put in front, and the peer's last.
    pub fn way(&self, first: &str) -> (String, Vec<Header>) {
        let target = self.target.as_deref().unwrap_or(first);
        let target = self.stand_in.as_deref().filter(|_| is_gruu(target)).unwrap_or(target);
        let target = uri_text(target).into_owned();
        let route = |uri: &String| header("Route", format!("<{uri}>"));
        match self.routes.split_first() {
            Some((strict, others)) if !is_loose_router(strict) => {
                let fields = others.iter().chain([&target]).map(route).collect();
                (strict.clone(), fields)
            }
            _ => (target, self.routes.iter().map(route).collect()),
        }
    }

    fn accepts(&self, tag: Option<&[u8]>) -> bool {
        tag.is_some() && self.remote_tag.as_ref().is_none_or(|known| Some(known.as_bytes()) == tag)
    }

    fn learn(&mut self, message: &SipMessage<'_>, tag: Option<&[u8]>, routes: Vec<String>) {
        if self.remote_tag.is_none() {
            self.remote_tag = tag.and_then(text);
            self.routes = routes;
        }
        let contact = message.contacts().next().and_then(|contact| text(contact.addr.uri));
        self.target = contact.filter(|uri| is_writable(uri)).or_else(|| self.target.take());
    }
}

/// Our Contact, and From where nobody else is named: `sip:offhook@address`. A port of 0 stands for a connection that
/// is not open yet.
pub fn own_uri(hop: Hop) -> String {
    let local = hop.local;
    let host = match (local.port(), local.is_ipv6()) {
        (0, false) => local.ip().to_string(),
        (0, true) => format!("[{}]", local.ip()),
        _ => local.to_string(),
    };
    format!("sip:{OWN_USER}@{host}")
}

/// The Contact field's value for requests that go over this hop.
pub fn own_contact(hop: Hop) -> String {
    match hop.transport {
        Transport::Udp => format!("<{}>", own_uri(hop)),
        transport @ (Transport::Tcp | Transport::Tls) => format!("<{};transport={transport}>", own_uri(hop)),
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// A URI that can stand in a message of ours.
fn is_writable(uri: &str) -> bool {
    !uri.chars().any(char::is_control)
        && uri.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
}

/// RFC 5627 section 5.1.
fn is_gruu(uri: &str) -> bool {
    Uri::parse(uri.as_bytes()).is_some_and(|uri| uri.params.get(b"gr").is_some())
}

fn is_loose_router(uri: &str) -> bool {
    // What is no SIP URI cannot stand as a Request-URI in another one's place.
    Uri::parse(uri.as_bytes()).is_none_or(|uri| uri.params.get(b"lr").is_some())
}

fn record_route<'a>(message: &SipMessage<'a>) -> impl DoubleEndedIterator<Item = String> + use<'a> {
    let uris = message.values(HeaderName::RecordRoute).filter_map(NameAddr::parse);
    let routes: Vec<String> = uris
        .filter_map(|route| text(route.uri))
        .filter(|uri| is_writable(uri))
        .take(MAX_ROUTES)
        .map(|uri| uri_text(&uri).into_owned())
        .collect();
    routes.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Limits;
    use crate::sip::Scanner;

    fn begun() -> Dialog {
        Dialog::new("call".to_owned(), "ours".to_owned())
    }

    fn with<T>(text: &str, read: impl FnOnce(&SipMessage<'_>) -> T) -> T {
        let mut scanner = Scanner::new(&Limits::default());
        read(&scanner.scan(text.as_bytes()).unwrap())
    }

    fn answer(tag: &str, more: &str) -> String {
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.5;branch=z9hG4bKa\r\nFrom: <sip:o@example.com>;tag=ours\r\n\
             To: <sip:alice@example.com>;tag={tag}\r\nCall-ID: call\r\nCSeq: 1 INVITE\r\n{more}\r\n"
        )
    }

    fn request(from_tag: &str, to_tag: &str, cseq: u32) -> String {
        format!(
            "NOTIFY sip:o@192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKb\r\n\
             From: <sip:alice@example.com>;tag={from_tag}\r\nTo: <sip:o@example.com>;tag={to_tag}\r\nCall-ID: call\r\n\
             CSeq: {cseq} NOTIFY\r\n\r\n"
        )
    }

    fn way(dialog: &Dialog) -> (String, Vec<String>) {
        let (uri, routes) = dialog.way("sip:alice@example.com");
        (uri, routes.into_iter().map(|route| route.to_string()).collect())
    }

    #[test]
    fn the_route_is_the_record_route_backwards_and_the_target_the_contact() {
        let mut dialog = begun();
        assert_eq!(way(&dialog), ("sip:alice@example.com".to_owned(), Vec::new()));
        let more =
            "Contact: <sip:alice@192.0.2.7;x>\r\nRecord-Route: <sip:b@192.0.2.2;lr>, <sip:192.0.2.1;lr>\r\n";
        with(&answer("theirs", more), |message| dialog.learn_from_answer(message));
        let routes = ["Route: <sip:192.0.2.1;lr>", "Route: <sip:b@192.0.2.2;lr>"].map(str::to_owned).to_vec();
        assert_eq!(way(&dialog), ("sip:alice@192.0.2.7;x".to_owned(), routes));
        with(&answer("other", "Contact: <sip:x@192.0.2.9>\r\n"), |message| dialog.learn_from_answer(message));
        assert_eq!(way(&dialog).0, "sip:alice@192.0.2.7;x", "another fork is another dialog");
    }

    #[test]
    fn a_peer_whose_contact_is_a_gruu_is_reached_at_the_address_that_its_registrar_lists() {
        let gruu = "Contact: <sip:alice@example.com;gr=urn:uuid:1>\r\n";
        for (listed, at) in [
            (Some("sip:alice@192.0.2.7:5082"), "sip:alice@192.0.2.7:5082"),
            (Some("sip:alice@example.com;gr=urn:uuid:2"), "sip:alice@example.com;gr=urn:uuid:1"),
            (None, "sip:alice@example.com;gr=urn:uuid:1"),
        ] {
            let mut dialog = begun().with_stand_in(listed);
            assert_eq!(way(&dialog).0, "sip:alice@example.com");
            with(&answer("theirs", gruu), |message| dialog.learn_from_answer(message));
            assert_eq!(way(&dialog).0, at);
        }
        let mut dialog = begun().with_stand_in(Some("sip:alice@192.0.2.7:5082"));
        with(&answer("theirs", "Contact: <sip:alice@192.0.2.9>\r\n"), |message| {
            dialog.learn_from_answer(message)
        });
        assert_eq!(way(&dialog).0, "sip:alice@192.0.2.9", "an address of its own is better");
    }

    #[test]
    fn a_strict_router_stands_in_the_request_uri_and_the_target_last() {
        let mut dialog = begun();
        let more = "Contact: <sip:alice@192.0.2.7>\r\nRecord-Route: <sip:192.0.2.2;lr>, <sip:192.0.2.1>\r\n";
        with(&answer("theirs", more), |message| dialog.learn_from_answer(message));
        let routes =
            ["Route: <sip:192.0.2.2;lr>", "Route: <sip:alice@192.0.2.7>"].map(str::to_owned).to_vec();
        assert_eq!(way(&dialog), ("sip:192.0.2.1".to_owned(), routes));
    }

    #[test]
    fn only_the_peer_that_came_first_is_in_the_dialog_and_numbers_only_grow() {
        let mut dialog = begun();
        assert_eq!(with(&request("theirs", "else", 5), |notify| dialog.order(notify)), Order::Stranger);
        assert_eq!(with(&request("theirs", "ours", 5), |notify| dialog.order(notify)), Order::Next);
        assert_eq!(with(&request("other", "ours", 6), |notify| dialog.order(notify)), Order::Stranger);
        assert_eq!(with(&request("theirs", "ours", 5), |notify| dialog.order(notify)), Order::Late);
        assert_eq!(with(&request("theirs", "ours", 7), |notify| dialog.order(notify)), Order::Next);
        assert_eq!((dialog.next_cseq(), dialog.next_cseq()), (1, 2));
    }

    #[test]
    fn a_contact_that_cannot_be_written_is_not_believed() {
        let mut dialog = begun();
        with(&answer("theirs", "Contact: <sip:a\u{1}@192.0.2.7>\r\n"), |message| {
            dialog.learn_from_answer(message)
        });
        assert_eq!((dialog.remote_tag(), way(&dialog).0.as_str()), (Some("theirs"), "sip:alice@example.com"));
    }
}
