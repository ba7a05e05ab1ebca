//! One SIP message as it passed.
//! In: a scanned message and its addresses. Out: the questions that several machines ask of it. Knows nothing of state.

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{AuthUser, EndIdentity};
use crate::base::{Flow, FrameId, HeardTransport, Texts, Timestamp};
use crate::sip::{Aor, NameAddr, SipMessage, Via};

/// A message, when and where it was heard.
#[derive(Clone, Copy)]
pub struct Heard<'a, 'm> {
    /// When its last byte passed.
    pub at: Timestamp,
    /// The frame that completed it.
    pub frame: FrameId,
    /// Sender of this hop.
    pub source: SocketAddr,
    /// Receiver of this hop.
    pub destination: SocketAddr,
    /// What carried it.
    pub transport: HeardTransport,
    /// All its bytes were seen.
    pub whole: bool,
    /// The message.
    pub message: &'m SipMessage<'a>,
    /// Where texts that many messages have are kept once.
    pub texts: &'m Texts,
}

/// Bytes of the wire as text: what is not UTF-8 is replaced.
pub(super) fn text(bytes: &[u8]) -> Arc<str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Arc::from(text),
        Err(_) => Arc::from(String::from_utf8_lossy(bytes)),
    }
}

/// Whether this is what [`text`] makes of these bytes.
pub(super) fn is_text(kept: &str, bytes: &[u8]) -> bool {
    kept.as_bytes() == bytes
        || (std::str::from_utf8(bytes).is_err() && *kept == *String::from_utf8_lossy(bytes))
}

/// The mirror's copy of a message comes within microseconds, a retransmission of it after T1 (500 ms).
pub(super) fn is_copy(first: Timestamp, again: Timestamp) -> bool {
    again.since(first).as_millis() < 100
}

impl Heard<'_, '_> {
    /// The Call-ID as text.
    pub(super) fn call_id(&self) -> Arc<str> {
        text(self.message.call_id())
    }

    /// Bytes of the message as a shared text: what other messages also have.
    pub(super) fn shared(&self, bytes: &[u8]) -> Arc<str> {
        self.texts.shared_lossy(bytes)
    }

    /// The AOR of a From, To or P-Asserted-Identity.
    pub(super) fn aor(&self, who: &NameAddr<'_>) -> Option<Aor> {
        Aor::shared(who.uri, self.texts)
    }

    /// The same, where it is to be looked for among what `known` has at hand and nowhere else.
    pub(super) fn aor_or(&self, who: &NameAddr<'_>, known: impl FnOnce(&str) -> Option<Aor>) -> Option<Aor> {
        Aor::known_or_new(who.uri, self.texts, known)
    }

    /// This hop's sender.
    pub(super) fn source_flow(&self) -> Flow {
        Flow { address: self.source.into(), transport: self.transport }
    }

    /// This hop's receiver.
    pub(super) fn destination_flow(&self) -> Flow {
        Flow { address: self.destination.into(), transport: self.transport }
    }

    /// Where the request came from in the first place: the sender of the first hop, which on later hops
    /// is the last Via with its received and rport (RFC 3261 section 18.2.1, RFC 3581).
    pub(super) fn origin(&self) -> Option<Flow> {
        if self.message.via_count() <= 1 {
            return Some(self.source_flow());
        }
        let last = self.message.vias().last()?;
        via_flow(&last)
    }

    /// What the sender of this request says and shows of itself.
    pub(super) fn sender_identity(&self) -> EndIdentity {
        self.sender_identity_from(|| self.aor(&self.message.from()))
    }

    /// The same, where the From was read already.
    pub(super) fn sender_identity_from(&self, from: impl FnOnce() -> Option<Aor>) -> EndIdentity {
        let message = self.message;
        let mut claimed = self.asserted();
        if claimed.is_empty() {
            claimed.extend(from());
        }
        EndIdentity {
            flow: self.origin(),
            neighbour: (message.via_count() <= 1).then(|| self.destination.into()),
            contact: self.contact(),
            claimed,
            ..EndIdentity::default()
        }
    }

    /// The same of a request inside a dialog: its From may be the name by which its sender was called (RFC 3261 section
    /// 12.2.1.1), and is no claim.
    pub(super) fn inside_sender_identity(&self) -> EndIdentity {
        let called = self.aor(&self.message.from());
        EndIdentity { called, ..self.sender_identity_from(|| None) }
    }

    /// What this request shows of its receiver.
    pub(super) fn receiver_identity(&self) -> EndIdentity {
        EndIdentity {
            flow: Some(Flow { address: self.destination.into(), transport: self.transport }),
            neighbour: Some(self.source.into()),
            request_uri: self.message.request_uri().map(|uri| self.shared(uri)),
            called: self.aor(&self.message.to()),
            ..EndIdentity::default()
        }
    }

    /// Whom the request's neighbour asserts its sender to be; of more than two, the first two.
    pub(super) fn asserted(&self) -> SmallVec<[Aor; 1]> {
        self.message.asserted().filter_map(|who| self.aor(&who)).take(2).collect()
    }

    /// The first Contact's URI.
    pub(super) fn contact(&self) -> Option<Arc<str>> {
        self.message.contacts().find(|contact| !contact.star).map(|contact| self.shared(contact.addr.uri))
    }

    /// The first digest user that the request names.
    pub(super) fn auth_user(&self) -> Option<AuthUser> {
        self.auth_user_or(|_, _| None)
    }

    /// The same; `known` may have it at hand.
    pub(super) fn auth_user_or(
        &self,
        known: impl FnOnce(&[u8], &[u8]) -> Option<AuthUser>,
    ) -> Option<AuthUser> {
        let (user, realm) = self.message.digest_user()?;
        let user_of = || AuthUser { user: text(user), realm: self.shared(realm) };
        Some(known(user, realm).unwrap_or_else(user_of))
    }
}

fn via_flow(via: &Via<'_>) -> Option<Flow> {
    let ip = via.received_ip().or_else(|| via.host_ip())?;
    let transport = HeardTransport::of_via(via.transport);
    let port = match transport {
        // A browser does not know its port, and many of them share the address of a NAT or of a proxy.
        HeardTransport::WebSocket => via.rport?,
        _ => via.rport.or(via.port).unwrap_or(5060),
    };
    Some(Flow { address: SocketAddr::new(ip, port).into(), transport })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Limits;
    use crate::sip::Scanner;

    fn flow(via: &str) -> Option<String> {
        let text = format!(
            "OPTIONS sip:a@example.com SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@example.com>;tag=1\r\n\
             To: <sip:a@example.com>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(text.as_bytes()).expect("a message");
        let flow = via_flow(&message.vias().next().expect("a Via"))?;
        Some(format!("{} {:?}", flow.address, flow.transport))
    }

    #[test]
    fn a_via_tells_where_a_request_came_from_if_it_knows() {
        let cases = [
            ("SIP/2.0/UDP 10.0.0.5:5070;branch=z9hG4bKa", Some("10.0.0.5:5070 Udp")),
            ("SIP/2.0/UDP 10.0.0.5;rport=4000;received=192.0.2.7", Some("192.0.2.7:4000 Udp")),
            ("SIP/2.0/TCP 10.0.0.5;branch=z9hG4bKa", Some("10.0.0.5:5060 Tcp")),
            ("SIP/2.0/SCTP 10.0.0.5;branch=z9hG4bKa", Some("10.0.0.5:5060 Sctp")),
            // A browser's own name is no address, and the port at which a server sees it no default one.
            ("SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKa", None),
            ("SIP/2.0/WSS df7jal23ls0d.invalid;received=192.0.2.7;branch=z9hG4bKa", None),
            (
                "SIP/2.0/WSS df7jal23ls0d.invalid;received=192.0.2.7;rport=4000",
                Some("192.0.2.7:4000 WebSocket"),
            ),
        ];
        for (via, expected) in cases {
            assert_eq!(flow(via).as_deref(), expected, "{via}");
        }
    }
}
