//! SIP messages as text, and what is written into them: addresses, session descriptions, digests.
//! In: parties. Out: [`Message`], its bytes. Knows nothing of calls and steps.

use std::net::SocketAddr;

use md5::{Digest, Md5};

use crate::support::ladder::{Carrier, Kind, Party};

/// What a session description says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    pub(super) direction: String,
    pub(super) codecs: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pub(super) start: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) description: Option<Description>,
}

impl Message {
    pub(super) fn add(&mut self, name: &str, value: impl AsRef<str>) {
        self.headers.push((name.to_owned(), value.as_ref().to_owned()));
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.headers.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.add(name, value),
        }
    }

    pub(super) fn nonce(&self) -> &str {
        let value = self.headers.iter().find(|(name, _)| name.ends_with("-Authenticate"));
        value.and_then(|(_, value)| value.split("nonce=\"").nth(1)?.split('"').next()).unwrap_or_default()
    }

    /// What the receiver notes in the topmost Via (RFC 3581 §4).
    pub(super) fn mark_received(&mut self, source: &SocketAddr) {
        if let Some((_, via)) = self.headers.iter_mut().find(|(name, _)| name == "Via")
            && via.ends_with(";rport")
        {
            via.push_str(&format!("={};received={}", source.port(), source.ip()));
        }
    }

    /// CANCEL, or the ACK to a failure: the INVITE's own Via, Route, From, To, Call-ID and number.
    pub(super) fn hop_request(&self, method: &str) -> Self {
        let uri = self.start.split(' ').nth(1).unwrap_or_default();
        let mut message = Self { start: format!("{method} {uri} SIP/2.0"), ..Self::default() };
        let via = self.get("Via").to_owned();
        message.add("Via", via);
        message.add("Max-Forwards", "70");
        for (name, value) in &self.headers {
            match name.as_str() {
                "Route" | "From" | "To" | "Call-ID" => message.add(name, value),
                "CSeq" => message.add("CSeq", format!("{} {method}", cseq_of(self))),
                _ => {}
            }
        }
        message
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.get("Content-Length").is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

pub(super) const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY, SUBSCRIBE, MESSAGE";

pub(super) fn cseq_of(message: &Message) -> u32 {
    message.get("CSeq").split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(1)
}

pub(super) fn host(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

pub(super) fn host_port(address: &SocketAddr) -> String {
    format!("{}:{}", host(address), address.port())
}

pub(super) fn contact_uri(party: &Party) -> String {
    let transport = match party.carrier {
        Carrier::Udp => "",
        Carrier::Tcp => ";transport=tcp",
        Carrier::WebSocket => ";transport=ws",
        Carrier::Sctp => ";transport=sctp",
    };
    format!("sip:{}@{}{transport}", party.contact_user, sent_by(party))
}

/// What a party calls its place. A browser knows no address: RFC 7118 appendix B has it make up a name.
pub(super) fn sent_by(party: &Party) -> String {
    if party.carrier == Carrier::WebSocket && party.kind == Kind::Phone {
        let mut name = format!("{:016x}", fold(&["invalid", &party.name, &host_port(&party.inside)]));
        name.truncate(12);
        return format!("{name}.invalid");
    }
    host_port(&party.inside)
}

pub(super) fn route_uri(proxy: &Party) -> String {
    format!("sip:{};lr", host(&proxy.inside))
}

/// An offer, or the answer to one: the first codec that both have, and the direction turned round (RFC 3264 §6.1).
pub(super) fn describe(
    party: &Party,
    direction: Option<&String>,
    offer: Option<&Description>,
) -> Description {
    let codecs = match offer {
        Some(offer) => {
            let common = offer.codecs.iter().find(|codec| party.codecs.contains(codec));
            vec![common.or(offer.codecs.first()).cloned().unwrap_or_default()]
        }
        None => party.codecs.clone(),
    };
    let mirrored = match offer.map(|offer| offer.direction.as_str()) {
        Some("sendonly" | "zero") => "recvonly",
        Some("recvonly") => "sendonly",
        Some("inactive") => "inactive",
        _ => "sendrecv",
    };
    let direction = direction.filter(|direction| !direction.is_empty()).map_or(mirrored, String::as_str);
    Description { direction: direction.to_owned(), codecs }
}

/// RTP payload type and rtpmap (RFC 3551 §6).
pub(super) fn format_of(codec: &str) -> (&'static str, String) {
    match codec {
        "PCMU" => ("0", "PCMU/8000".into()),
        "GSM" => ("3", "GSM/8000".into()),
        "PCMA" => ("8", "PCMA/8000".into()),
        "G722" => ("9", "G722/8000".into()),
        "G729" => ("18", "G729/8000".into()),
        "opus" => ("96", "opus/48000/2".into()),
        other => ("97", format!("{other}/8000")),
    }
}

pub(super) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        503 => "Service Unavailable",
        603 => "Decline",
        _ => "Unknown",
    }
}

pub(super) fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// FNV-1a over the parts, then a finaliser that spreads short inputs.
pub(super) fn fold(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}
