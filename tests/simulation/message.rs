//! SIP messages as the simulated phones hold them, and their bytes.
//! In: what a phone or PBX wants to say. Out: [`Message`], its bytes. Knows nothing of transactions, calls, time.
//! RFC 3261, 3264, 3581, 4028, 7616, 8866.

use std::fmt::Write;
use std::net::SocketAddr;

use md5::{Digest, Md5};

/// The methods that the phones use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Register,
    Invite,
    Ack,
    Cancel,
    Bye,
    Update,
    Refer,
    Notify,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "REGISTER",
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Cancel => "CANCEL",
            Self::Bye => "BYE",
            Self::Update => "UPDATE",
            Self::Refer => "REFER",
            Self::Notify => "NOTIFY",
        }
    }
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Request(Method, String),
    Response(u16),
}

#[derive(Clone, Debug)]
pub struct Via {
    pub sent_by: SocketAddr,
    pub tcp: bool,
    pub branch: String,
    /// Where it really came from: written by the receiver as received and rport.
    pub seen_from: Option<SocketAddr>,
}

/// Which way sound goes (RFC 3264), with the old way to hold (c=0.0.0.0) beside the new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
    Zero,
}

impl Direction {
    /// The sender hears nothing, or is not heard: hold, by RFC 3264 section 8.4.
    const fn stops(self) -> bool {
        matches!(self, Self::SendOnly | Self::Inactive | Self::Zero)
    }
}

/// Whether an offer and its answer put the sound on hold. Who asks to only listen is not held by who only speaks.
pub fn held(offer: Direction, answer: Direction) -> bool {
    let only_listens = offer == Direction::RecvOnly && answer == Direction::SendOnly;
    (offer.stops() || answer.stops()) && !only_listens
}

#[derive(Clone, Debug)]
pub struct Sdp {
    pub user: String,
    pub session: u64,
    pub version: u32,
    pub address: SocketAddr,
    pub direction: Direction,
    pub answer: bool,
}

impl Sdp {
    /// Where its sender takes the sound.
    pub fn media_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), 16_384 + (self.session % 8_000 * 2) as u16)
    }
}

#[derive(Clone, Debug)]
pub struct ContactValue {
    pub uri: String,
    pub expires_s: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub start: Start,
    /// The topmost first.
    pub vias: Vec<Via>,
    pub from: String,
    pub from_tag: String,
    pub to: String,
    pub to_tag: Option<String>,
    pub call_id: String,
    pub cseq: u32,
    pub method: Method,
    pub contacts: Vec<ContactValue>,
    pub star: bool,
    pub routes: Vec<String>,
    pub record_routes: Vec<String>,
    pub expires_s: Option<u32>,
    pub session_expires_s: Option<u32>,
    /// Who answers this request keeps the session alive, not who sends it.
    pub answerer_refreshes: bool,
    pub subject: Option<u64>,
    pub refer_to: Option<String>,
    pub replaces: Option<(String, String, String)>,
    /// Digest credentials: username, nonce, use.
    pub credentials: Option<(String, String, u32)>,
    /// A challenge's nonce.
    pub challenge: Option<String>,
    pub sdp: Option<Sdp>,
    /// `message/sipfrag` of a NOTIFY: the status it tells.
    pub fragment: Option<u16>,
    pub agent: &'static str,
}

impl Message {
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request(..))
    }

    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Response(status) => Some(status),
            Start::Request(..) => None,
        }
    }

    pub fn uri(&self) -> &str {
        match &self.start {
            Start::Request(_, uri) => uri,
            Start::Response(_) => "",
        }
    }

    pub fn branch(&self) -> &str {
        self.vias.first().map_or("", |via| &via.branch)
    }

    /// A response to this request; the To-tag is the request's, else `tag`.
    pub fn response(&self, status: u16, tag: &str, agent: &'static str) -> Self {
        let to_tag = self.to_tag.clone().or_else(|| (status > 100).then(|| tag.to_owned()));
        Self {
            start: Start::Response(status),
            vias: self.vias.clone(),
            record_routes: if status < 300 { self.record_routes.clone() } else { Vec::new() },
            to_tag,
            agent,
            subject: self.subject,
            ..self.bare()
        }
    }

    /// The same dialog and CSeq, and nothing else.
    pub fn bare(&self) -> Self {
        Self {
            from: self.from.clone(),
            from_tag: self.from_tag.clone(),
            to: self.to.clone(),
            to_tag: self.to_tag.clone(),
            call_id: self.call_id.clone(),
            cseq: self.cseq,
            ..Self::blank(self.start.clone(), self.method, self.agent)
        }
    }

    /// Of no dialog yet, with nothing in it.
    pub fn blank(start: Start, method: Method, agent: &'static str) -> Self {
        Self {
            start,
            vias: Vec::new(),
            from: String::new(),
            from_tag: String::new(),
            to: String::new(),
            to_tag: None,
            call_id: String::new(),
            cseq: 1,
            method,
            contacts: Vec::new(),
            star: false,
            routes: Vec::new(),
            record_routes: Vec::new(),
            expires_s: None,
            session_expires_s: None,
            answerer_refreshes: false,
            subject: None,
            refer_to: None,
            replaces: None,
            credentials: None,
            challenge: None,
            sdp: None,
            fragment: None,
            agent,
        }
    }

    /// CANCEL, or the ACK to a failure: the INVITE's own topmost Via, URI, Route, number (RFC 3261 sections 9.1, 17.1.1.3).
    pub fn for_hop(&self, method: Method, to_tag: Option<String>) -> Self {
        Self {
            start: Start::Request(method, self.uri().to_owned()),
            vias: self.vias.iter().take(1).cloned().collect(),
            routes: self.routes.clone(),
            to_tag,
            method,
            ..self.bare()
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(1_100);
        match &self.start {
            Start::Request(method, uri) => line(&mut text, format_args!("{} {uri} SIP/2.0", method.name())),
            Start::Response(status) => line(&mut text, format_args!("SIP/2.0 {status} {}", reason(*status))),
        }
        for via in &self.vias {
            let transport = if via.tcp { "TCP" } else { "UDP" };
            let seen = match via.seen_from {
                Some(from) => format!(";rport={};received={}", from.port(), from.ip()),
                None => ";rport".to_owned(),
            };
            let Via { sent_by, branch, .. } = via;
            line(&mut text, format_args!("Via: SIP/2.0/{transport} {sent_by};branch={branch}{seen}"));
        }
        if self.is_request() {
            line(&mut text, format_args!("Max-Forwards: {}", 71_usize.saturating_sub(self.vias.len())));
        }
        for route in &self.routes {
            line(&mut text, format_args!("Route: <{route}>"));
        }
        for route in &self.record_routes {
            line(&mut text, format_args!("Record-Route: <{route}>"));
        }
        line(&mut text, format_args!("From: <{}>;tag={}", self.from, self.from_tag));
        match &self.to_tag {
            Some(tag) => line(&mut text, format_args!("To: <{}>;tag={tag}", self.to)),
            None => line(&mut text, format_args!("To: <{}>", self.to)),
        }
        line(&mut text, format_args!("Call-ID: {}", self.call_id));
        line(&mut text, format_args!("CSeq: {} {}", self.cseq, self.method.name()));
        if self.star {
            line(&mut text, format_args!("Contact: *"));
        }
        for contact in &self.contacts {
            match contact.expires_s {
                Some(expires_s) => {
                    line(&mut text, format_args!("Contact: <{}>;expires={expires_s}", contact.uri))
                }
                None => line(&mut text, format_args!("Contact: <{}>", contact.uri)),
            }
        }
        self.optional_fields(&mut text);
        let name = if self.is_request() { "User-Agent" } else { "Server" };
        line(&mut text, format_args!("{name}: {}", self.agent));
        let body = self.body();
        if !body.is_empty() {
            let kind = if self.sdp.is_some() { "application/sdp" } else { "message/sipfrag;version=2.0" };
            line(&mut text, format_args!("Content-Type: {kind}"));
        }
        line(&mut text, format_args!("Content-Length: {}", body.len()));
        line(&mut text, format_args!(""));
        text.push_str(&body);
        text.into_bytes()
    }

    fn optional_fields(&self, text: &mut String) {
        if let Some(expires_s) = self.expires_s {
            line(text, format_args!("Expires: {expires_s}"));
        }
        if let Some(interval_s) = self.session_expires_s {
            let refresher = if self.answerer_refreshes { "uas" } else { "uac" };
            line(text, format_args!("Session-Expires: {interval_s};refresher={refresher}"));
            line(text, format_args!("Supported: timer"));
        }
        if let Some(plan) = self.subject {
            line(text, format_args!("Subject: call {plan}"));
        }
        if let Some(target) = &self.refer_to {
            line(text, format_args!("Refer-To: <{target}>"));
        }
        if let Some((call_id, to_tag, from_tag)) = &self.replaces {
            line(text, format_args!("Replaces: {call_id};to-tag={to_tag};from-tag={from_tag}"));
        }
        if self.method == Method::Notify && self.is_request() {
            line(text, format_args!("Event: refer"));
            let over = self.fragment.is_none_or(|status| status >= 200);
            let state = if over { "terminated;reason=noresource" } else { "active;expires=60" };
            line(text, format_args!("Subscription-State: {state}"));
        }
        if let Some((user, nonce, uses)) = &self.credentials {
            let name = if self.method == Method::Register { "Authorization" } else { "Proxy-Authorization" };
            let (realm, uri) = ("example.com", self.uri());
            let secret = md5_hex(&format!("{user}:{realm}:{user}-secret"));
            let asked = md5_hex(&format!("{}:{uri}", self.method.name()));
            let response = md5_hex(&format!("{secret}:{nonce}:{uses:08x}:c0ffee:auth:{asked}"));
            line(
                text,
                format_args!(
                    r#"{name}: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{response}", algorithm=MD5, cnonce="c0ffee", qop=auth, nc={uses:08x}"#
                ),
            );
        }
        if let Some(nonce) = &self.challenge {
            let name = if self.status() == Some(401) { "WWW-Authenticate" } else { "Proxy-Authenticate" };
            line(
                text,
                format_args!(
                    r#"{name}: Digest realm="example.com", nonce="{nonce}", qop="auth", algorithm=MD5"#
                ),
            );
        }
    }

    fn body(&self) -> String {
        let mut text = String::new();
        if let Some(status) = self.fragment {
            line(&mut text, format_args!("SIP/2.0 {status} {}", reason(status)));
        }
        let Some(sdp) = &self.sdp else { return text };
        let Sdp { user, session, version, address, .. } = sdp;
        let ip = address.ip();
        let (zero, direction) = match sdp.direction {
            Direction::SendRecv => (false, "sendrecv"),
            Direction::SendOnly => (false, "sendonly"),
            Direction::RecvOnly => (false, "recvonly"),
            Direction::Inactive => (false, "inactive"),
            Direction::Zero => (true, "sendrecv"),
        };
        line(&mut text, format_args!("v=0"));
        line(&mut text, format_args!("o={user} {session} {version} IN IP4 {ip}"));
        line(&mut text, format_args!("s=-"));
        if zero {
            line(&mut text, format_args!("c=IN IP4 0.0.0.0"));
        } else {
            line(&mut text, format_args!("c=IN IP4 {ip}"));
        }
        line(&mut text, format_args!("t=0 0"));
        let port = sdp.media_address().port();
        if sdp.answer {
            line(&mut text, format_args!("m=audio {port} RTP/AVP 0 101"));
        } else {
            line(&mut text, format_args!("m=audio {port} RTP/AVP 0 8 101"));
            line(&mut text, format_args!("a=rtpmap:8 PCMA/8000"));
        }
        line(&mut text, format_args!("a=rtpmap:0 PCMU/8000"));
        line(&mut text, format_args!("a=rtpmap:101 telephone-event/8000"));
        line(&mut text, format_args!("a={direction}"));
        text
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(arguments);
    text.push_str("\r\n");
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        401 => "Unauthorized",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        491 => "Request Pending",
        603 => "Decline",
        _ => "Unknown",
    }
}
