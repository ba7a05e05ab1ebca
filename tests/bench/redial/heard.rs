//! What passed an interface, message by message, with the kernel's time.
//! In: frames. Out: when a wait ended for whom, and how many messages that took. Knows nothing of who sent them why.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::pair::{Subscription, Waited};
use crate::ear::Hears;
use crate::speech::{text, user};
use crate::testbed::PBX;
use crate::wire;

/// What belongs to a refresh comes within this time.
const REFRESH_S: f64 = 0.9;

/// A SIP message over UDP.
struct Message {
    at_s: f64,
    from: IpAddr,
    to: IpAddr,
    first_line: String,
    call_id: String,
    cseq: String,
    /// The user in To.
    of: String,
    has_credentials: bool,
    says_open: bool,
}

/// All messages at one interface, in their order.
#[derive(Default)]
pub struct Log(Vec<Message>);

impl Hears for Log {
    fn frame(&mut self, at_s: f64, bytes: &[u8]) {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else { return };
        let Some(LaxNetSlice::Ipv4(ip)) = &packet.net else { return };
        let Some(TransportSlice::Udp(udp)) = &packet.transport else { return };
        let message = udp.payload();
        let line = message.split(|&byte| byte == b'\r').next().unwrap_or_default();
        let body = String::from_utf8_lossy(wire::body(message));
        self.0.push(Message {
            at_s,
            from: ip.header().source_addr().into(),
            to: ip.header().destination_addr().into(),
            first_line: String::from_utf8_lossy(line).into_owned(),
            call_id: text(message, b"Call-ID: "),
            cseq: text(message, b"CSeq: "),
            of: user(&text(message, b"To: ")),
            has_credentials: wire::field(message, b"Authorization: ").is_some(),
            says_open: body.contains("<basic>open"),
        });
    }

    fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// When the callee came back, and what followed, in seconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// Its REGISTER passed the mirror port.
    pub registered_s: f64,
    /// The registrar's 200 to it did.
    pub accepted_s: f64,
    /// Kamailio's PUBLISH left the PBX.
    pub published_s: f64,
    /// The REFER left the tap.
    pub referred_s: f64,
}

/// How many messages something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// On every hop.
    pub all: usize,
    /// To and from the caller's phone.
    pub at_phone: usize,
}

/// What a redial took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Redial {
    /// But for the challenge.
    pub count: Count,
    /// A REFER that was challenged, and the challenge.
    pub challenge: Count,
}

/// What a watch of the same wait took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// All of it, with the callee's PUBLISH.
    pub count: Count,
    /// Of that, its one refresh.
    pub refresh: Count,
}

/// What was heard at each place.
pub struct Heard {
    /// The PBX's port, both directions.
    pub mirror: Log,
    /// What left the tap.
    pub from_tap: Log,
    /// What came to the presence server and left it.
    pub presence: Log,
}

impl Heard {
    /// The moments of a wait's end.
    ///
    /// # Errors
    /// Something of it was not seen.
    pub fn moments(&self, waited: &Waited) -> Result<Moments> {
        let Waited { caller, callee, .. } = waited;
        let registered_s = self
            .mirror
            .last(|message| {
                message.of == *callee
                    && message.first_line.starts_with("REGISTER ")
                    && message.has_credentials
            })
            .with_context(|| format!("no REGISTER of {callee} was seen"))?;
        let first = |log: &Log, what: &str, pleases: &dyn Fn(&Message) -> bool| {
            let found = log.0.iter().find(|message| message.at_s >= registered_s && pleases(message));
            found.map(|message| message.at_s).with_context(|| format!("no {what} for {callee} was seen"))
        };
        let accepted_s = first(&self.mirror, "200 to REGISTER", &|message| {
            message.of == *callee
                && message.first_line.starts_with("SIP/2.0 200 ")
                && message.cseq.ends_with(" REGISTER")
        })?;
        let published_s =
            first(&self.mirror, "PUBLISH", &|message| message.says_open && message.publishes(callee))?;
        let referred_s = first(&self.from_tap, "REFER", &|message| message.asks(caller))?;
        Ok(Moments { registered_s, accepted_s, published_s, referred_s })
    }

    /// What asking the caller's phone took.
    ///
    /// # Errors
    /// It was not seen.
    pub fn redial(&self, waited: &Waited) -> Result<Redial> {
        let refer = self.mirror.0.iter().find(|message| message.asks(&waited.caller));
        let call_id = &refer.with_context(|| format!("no REFER for {} was seen", waited.caller))?.call_id;
        let of_it: Vec<_> = self.mirror.0.iter().filter(|message| message.call_id == *call_id).collect();
        let challenged = |message: &Message| {
            let is_challenge = |other: &&&Message| other.first_line.starts_with("SIP/2.0 407 ");
            of_it.iter().filter(is_challenge).any(|challenge| challenge.cseq == message.cseq)
        };
        let (challenge, rest): (Vec<_>, Vec<_>) =
            of_it.iter().copied().partition(|message| challenged(message));
        Ok(Redial { count: Count::of(rest, waited.address), challenge: Count::of(challenge, waited.address) })
    }

    /// What the subscription of the same wait took, and the callee's PUBLISH.
    pub fn watch(&self, waited: &Waited, subscription: &Subscription, since_s: f64) -> Watch {
        let Subscription { call_id, refreshed_s } = subscription;
        let of_it = || self.presence.0.iter().filter(|message| message.call_id == *call_id);
        let is_refresh = |message: &&Message| (*refreshed_s..refreshed_s + REFRESH_S).contains(&message.at_s);
        let publish = self
            .presence
            .0
            .iter()
            .filter(|message| message.at_s >= since_s && message.publishes(&waited.callee));
        let published: BTreeSet<_> = publish.map(|message| (&message.call_id, &message.cseq)).collect();
        let published = self.presence.0.iter().filter(|message| {
            message.at_s >= since_s && published.contains(&(&message.call_id, &message.cseq))
        });
        Watch {
            count: Count::of(of_it().chain(published), waited.address),
            refresh: Count::of(of_it().filter(is_refresh), waited.address),
        }
    }
}

impl Log {
    fn last(&self, pleases: impl Fn(&Message) -> bool) -> Option<f64> {
        self.0.iter().rfind(|message| pleases(message)).map(|message| message.at_s)
    }
}

impl Message {
    fn asks(&self, caller: &str) -> bool {
        self.first_line.starts_with(&format!("REFER sip:{caller}@"))
    }

    fn publishes(&self, callee: &str) -> bool {
        self.from.to_string() == PBX && self.first_line.starts_with(&format!("PUBLISH sip:{callee}@"))
    }
}

impl Count {
    /// What was sent again over the same hop counts once.
    fn of<'a>(messages: impl IntoIterator<Item = &'a Message>, phone: SocketAddr) -> Self {
        let different: BTreeSet<_> = messages
            .into_iter()
            .map(|message| (message.from, message.to, &message.first_line, &message.call_id, &message.cseq))
            .collect();
        let at_phone = different.iter().filter(|(from, to, ..)| [*from, *to].contains(&phone.ip()));
        Self { all: different.len(), at_phone: at_phone.count() }
    }
}
