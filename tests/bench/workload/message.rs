//! What phones and the proxy write: requests, responses, session descriptions (RFC 3261, RFC 4566, RFC 8760).
//! In: who, in which dialog and transaction, on which hop. Out: the bytes of a message. Knows nothing of when, and of frames.

use std::fmt::Write as _;

use offhook::base::{Random, Transport};

use super::phone::{CallIdForm, PROXY, Phone};

const DOMAIN: &str = "example.com";
const PROXY_AGENT: &str = "example-proxy (5.6.3)";

/// The way of a message: from its sender to the proxy, or from there to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// From the sender of the request to the proxy; responses the other way.
    First,
    /// From the proxy to the receiver of the request; responses the other way.
    Second,
}

/// Which end of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who sent the first INVITE.
    Caller,
    /// Who received it.
    Callee,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// A call, or rather its one dialog.
pub struct Dialog {
    /// Who calls.
    pub caller: Phone,
    /// Who is called.
    pub callee: Phone,
    /// The Call-ID.
    pub call_id: String,
    /// The tag of each.
    pub tags: [String; 2],
    /// The RTP port of each.
    pub ports: [u16; 2],
    /// How often each has described the session.
    pub versions: [u32; 2],
}

/// One transaction of a dialog.
#[derive(Clone, Copy)]
pub struct Transaction {
    /// Of the request; an ACK or a CANCEL has that of its INVITE.
    pub method: &'static str,
    /// Its number.
    pub cseq: u32,
    /// The sender's branch; the proxy's is made of it.
    pub branch: u64,
    /// Who sent the request.
    pub by: Side,
    /// The receiver's tag is known: inside a dialog.
    pub inside: bool,
}

/// What is proved to whom.
pub enum Proof {
    /// Nothing.
    Without,
    /// With this nonce, as an answer to a 401 or a 407.
    Answer(u64),
}

/// The body of a message.
pub enum Body {
    /// None.
    Empty,
    /// A session description with this direction.
    Session(&'static str),
}

/// Writes messages.
pub struct Writer {
    transport: &'static str,
    /// What URIs say of it.
    parameter: &'static str,
    body: String,
}

impl Dialog {
    fn phone(&self, side: Side) -> &Phone {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    fn tag(&self, side: Side) -> &str {
        &self.tags[side as usize]
    }
}

impl Writer {
    /// For this transport.
    pub fn new(transport: Transport) -> Self {
        let parameter = if transport == Transport::Tcp { ";transport=tcp" } else { "" };
        Self { transport: transport.via_name(), parameter, body: String::new() }
    }

    /// A REGISTER.
    pub fn register(&self, phone: &Phone, cseq: u32, branch: u64, proof: &Proof) -> Vec<u8> {
        let mut out = Text::default();
        out.line(format_args!("REGISTER sip:{DOMAIN} SIP/2.0"));
        self.via_of_phone(&mut out, phone, branch, ";rport");
        out.line(format_args!("Max-Forwards: 70"));
        registration_ends(&mut out, phone, cseq, None);
        let (name, address, parameter) = (&phone.name, phone.address, self.parameter);
        out.line(format_args!("CSeq: {cseq} REGISTER"));
        let instance = Instance(phone);
        out.line(format_args!("Contact: <sip:{name}@{address}{parameter}>;expires=3600{instance}"));
        proof.write(&mut out, "Authorization", phone, "REGISTER", &format!("sip:{DOMAIN}"));
        out.line(format_args!("User-Agent: {}", phone.model.agent));
        out.line(format_args!("Allow: {}", phone.model.allow));
        out.line(format_args!("Supported: {}", phone.model.supported));
        out.line(format_args!("Allow-Events: presence, dialog, message-summary, refer"));
        out.end()
    }

    /// The 401 to a REGISTER.
    pub fn register_challenged(&self, phone: &Phone, cseq: u32, branch: u64, nonce: u64) -> Vec<u8> {
        let mut out = Text::default();
        out.line(format_args!("SIP/2.0 401 Unauthorized"));
        self.via_of_phone(&mut out, phone, branch, &received(phone));
        registration_ends(&mut out, phone, cseq, Some(branch));
        out.line(format_args!("CSeq: {cseq} REGISTER"));
        challenge(&mut out, "WWW-Authenticate", nonce);
        out.line(format_args!("Server: {PROXY_AGENT}"));
        out.end()
    }

    /// The 200 to a REGISTER, with the contact.
    pub fn registered(&self, phone: &Phone, cseq: u32, branch: u64) -> Vec<u8> {
        let mut out = Text::default();
        out.line(format_args!("SIP/2.0 200 OK"));
        self.via_of_phone(&mut out, phone, branch, &received(phone));
        registration_ends(&mut out, phone, cseq, Some(branch));
        out.line(format_args!("CSeq: {cseq} REGISTER"));
        let (name, address, parameter) = (&phone.name, phone.address, self.parameter);
        let instance = Instance(phone);
        out.line(format_args!("Contact: <sip:{name}@{address}{parameter}>;expires=3600{instance}"));
        out.line(format_args!("Date: Sun, 22 Nov 2026 08:00:00 GMT"));
        out.line(format_args!("Server: {PROXY_AGENT}"));
        out.end()
    }

    /// A request of a call on one of its hops. The method is the transaction's, or ACK or CANCEL.
    pub fn request(
        &mut self,
        dialog: &mut Dialog,
        transaction: &Transaction,
        method: &str,
        leg: Leg,
        proof: &Proof,
        body: &Body,
    ) -> Vec<u8> {
        let Transaction { cseq, by, inside, .. } = *transaction;
        let (sender, receiver) = (dialog.phone(by), dialog.phone(by.other()));
        let (name, address, parameter) = (&receiver.name, receiver.address, self.parameter);
        let target = match leg {
            Leg::First if !inside => format!("sip:{name}@{DOMAIN}"),
            _ => format!("sip:{name}@{address}{parameter}"),
        };
        // An ACK to a failure and a CANCEL are the proxy's own on its hop.
        let is_of_hop = !inside && method != transaction.method;
        let mut out = Text::default();
        out.line(format_args!("{method} {target} SIP/2.0"));
        match leg {
            Leg::First => self.via_of_phone(&mut out, sender, transaction.branch, ";rport"),
            Leg::Second if is_of_hop => self.via_of_proxy(&mut out, transaction.branch),
            Leg::Second => self.vias(&mut out, sender, transaction, leg),
        }
        if leg == Leg::Second && transaction.method == "INVITE" && !is_of_hop && method == "INVITE" {
            self.record_route(&mut out, dialog, by);
        }
        out.line(format_args!("Max-Forwards: {}", if leg == Leg::First { 70 } else { 69 }));
        if leg == Leg::First && inside {
            out.line(format_args!("Route: {}", self.route(dialog, Side::Caller)));
        }
        ends(&mut out, dialog, by, inside || (is_of_hop && method == "ACK"));
        out.line(format_args!("Call-ID: {}", dialog.call_id));
        out.line(format_args!("CSeq: {cseq} {method}"));
        if matches!(method, "INVITE" | "UPDATE") {
            self.contact(&mut out, sender);
            if leg == Leg::First {
                proof.write(&mut out, "Proxy-Authorization", sender, method, &target);
            }
            out.line(format_args!("Allow: {}", sender.model.allow));
            out.line(format_args!("Supported: {}", sender.model.supported));
            out.raw(sender.model.extra);
            if leg == Leg::Second && !inside {
                let (display_name, name) = (&sender.display_name, &sender.name);
                out.line(format_args!("P-Asserted-Identity: \"{display_name}\" <sip:{name}@{DOMAIN}>"));
            }
        }
        if method == "BYE" {
            out.line(format_args!("Reason: Q.850;cause=16;text=\"Normal call clearing\""));
            out.line(format_args!("X-RTP-Stat: PS=1502,OS=240320,PR=1498,OR=239680,PL=0,JI=4,LA=12"));
        }
        out.line(format_args!("User-Agent: {}", sender.model.agent));
        self.finish(out, dialog, by, body)
    }

    /// A response of a call on one of its hops.
    pub fn response(
        &mut self,
        dialog: &mut Dialog,
        transaction: &Transaction,
        status: &str,
        leg: Leg,
        body: &Body,
    ) -> Vec<u8> {
        let Transaction { method, cseq, by, inside, .. } = *transaction;
        let by_proxy = leg == Leg::First && status.starts_with("100") || status.starts_with("407");
        let (sender, answerer) = (dialog.phone(by), dialog.phone(by.other()));
        let is_invite = method == "INVITE";
        let success = status.starts_with('2');
        let mut out = Text::default();
        out.line(format_args!("SIP/2.0 {status}"));
        match (method, leg) {
            ("CANCEL", Leg::Second) => self.via_of_proxy(&mut out, transaction.branch),
            _ => self.vias(&mut out, sender, transaction, leg),
        }
        if is_invite && !inside && (success || status.starts_with("18")) {
            self.record_route(&mut out, dialog, by);
        }
        ends(&mut out, dialog, by, inside || !status.starts_with("100"));
        out.line(format_args!("Call-ID: {}", dialog.call_id));
        out.line(format_args!("CSeq: {cseq} {method}"));
        if status.starts_with("407") {
            challenge(&mut out, "Proxy-Authenticate", transaction.branch.rotate_left(7));
        }
        if is_invite && (success || status.starts_with("18")) {
            self.contact(&mut out, answerer);
            out.line(format_args!("Allow: {}", answerer.model.allow));
        }
        if is_invite && success {
            out.line(format_args!("Supported: {}", answerer.model.supported));
            out.raw(answerer.model.extra);
        }
        if by_proxy {
            out.line(format_args!("Server: {PROXY_AGENT}"));
        } else {
            out.line(format_args!("User-Agent: {}", answerer.model.agent));
        }
        self.finish(out, dialog, by.other(), body)
    }

    fn finish(&mut self, mut out: Text, dialog: &Dialog, by: Side, body: &Body) -> Vec<u8> {
        let Body::Session(direction) = body else { return out.end() };
        self.body.clear();
        session(&mut self.body, dialog, by, direction);
        out.line(format_args!("Content-Type: application/sdp"));
        out.line(format_args!("Content-Length: {}\r\n", self.body.len()));
        out.raw(&self.body);
        out.0.into_bytes()
    }

    fn vias(&self, out: &mut Text, sender: &Phone, transaction: &Transaction, leg: Leg) {
        if leg == Leg::Second {
            self.via_of_proxy(out, transaction.branch);
        }
        self.via_of_phone(out, sender, transaction.branch, &received(sender));
    }

    fn via_of_phone(&self, out: &mut Text, phone: &Phone, branch: u64, parameters: &str) {
        let (transport, address) = (self.transport, phone.address);
        out.line(format_args!("Via: SIP/2.0/{transport} {address};branch=z9hG4bK{branch:016x}{parameters}"));
    }

    fn via_of_proxy(&self, out: &mut Text, branch: u64) {
        let own = branch.rotate_left(32);
        let transport = self.transport;
        out.line(format_args!(
            "Via: SIP/2.0/{transport} {PROXY};branch=z9hG4bK{:04x}.{own:016x}.0",
            branch & 0xfff
        ));
    }

    fn record_route(&self, out: &mut Text, dialog: &Dialog, by: Side) {
        out.line(format_args!("Record-Route: {}", self.route(dialog, by)));
    }

    /// The proxy writes the tag of who opened the dialog into its URI, to know the direction of what comes later.
    fn route(&self, dialog: &Dialog, by: Side) -> String {
        format!(
            "<sip:{}{};lr;ftag={};did=1d4.{:.4}>",
            PROXY.ip(),
            self.parameter,
            dialog.tag(by),
            dialog.tag(by)
        )
    }

    fn contact(&self, out: &mut Text, phone: &Phone) {
        out.line(format_args!("Contact: <sip:{}@{}{}>", phone.name, phone.address, self.parameter));
    }
}

/// What tells a phone from another at the registrar (RFC 5626).
struct Instance<'a>(&'a Phone);

impl std::fmt::Display for Instance<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = self.0.registration & 0xffff_ffff_ffff;
        write!(f, ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{number:012x}>\"")
    }
}

/// A Call-ID as the phone's maker makes them.
pub fn call_id(phone: &Phone, random: &mut Random) -> String {
    call_id_of(phone, random.next())
}

fn call_id_of(phone: &Phone, number: u64) -> String {
    match phone.model.call_id {
        CallIdForm::NumberAtAddress => format!("{number}@{}", phone.address.ip()),
        CallIdForm::Token => format!("{number:016x}"),
        CallIdForm::Uuid => {
            let more = number.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!(
                "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                number >> 32,
                number >> 16 & 0xffff,
                number & 0xfff,
                more >> 48 & 0xfff,
                more & 0xffff_ffff_ffff
            )
        }
    }
}

fn received(phone: &Phone) -> String {
    format!(";rport={};received={}", phone.address.port(), phone.address.ip())
}

fn registration_ends(out: &mut Text, phone: &Phone, cseq: u32, to_tag: Option<u64>) {
    let (display_name, name) = (&phone.display_name, &phone.name);
    let tag = phone.registration.rotate_left(cseq) as u32;
    out.line(format_args!("From: \"{display_name}\" <sip:{name}@{DOMAIN}>;tag={tag:08x}"));
    match to_tag {
        Some(tag) => {
            out.line(format_args!(
                "To: \"{display_name}\" <sip:{name}@{DOMAIN}>;tag=b27e1a1d33761e85.{:08x}",
                tag as u32
            ));
        }
        None => out.line(format_args!("To: \"{display_name}\" <sip:{name}@{DOMAIN}>")),
    }
    out.line(format_args!("Call-ID: {}", call_id_of(phone, phone.registration)));
}

/// From and To; the receiver's tag where it is known.
fn ends(out: &mut Text, dialog: &Dialog, by: Side, with_to_tag: bool) {
    let (sender, receiver) = (dialog.phone(by), dialog.phone(by.other()));
    let (display_name, name, tag) = (&sender.display_name, &sender.name, dialog.tag(by));
    out.line(format_args!("From: \"{display_name}\" <sip:{name}@{DOMAIN}>;tag={tag}"));
    let name = &receiver.name;
    if with_to_tag {
        out.line(format_args!("To: <sip:{name}@{DOMAIN}>;tag={}", dialog.tag(by.other())));
    } else {
        out.line(format_args!("To: <sip:{name}@{DOMAIN}>"));
    }
}

fn challenge(out: &mut Text, name: &str, nonce: u64) {
    let nonce = Nonce(nonce);
    out.line(format_args!(
        "{name}: Digest realm=\"{DOMAIN}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\""
    ));
}

struct Nonce(u64);

impl std::fmt::Display for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.0.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }
}

impl Proof {
    /// Nobody here checks the digest: it has the form of one.
    fn write(&self, out: &mut Text, header: &str, phone: &Phone, method: &str, uri: &str) {
        let Self::Answer(nonce) = *self else { return };
        let response = Nonce(nonce ^ phone.registration ^ method.len() as u64);
        let (name, nonce, client) = (&phone.name, Nonce(nonce), phone.registration as u32);
        out.line(format_args!(
            "{header}: Digest username=\"{name}\", realm=\"{DOMAIN}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5, cnonce=\"{client:08x}\", qop=auth, nc=00000001"
        ));
    }
}

fn session(body: &mut String, dialog: &Dialog, by: Side, direction: &str) {
    let phone = dialog.phone(by);
    let (ip, port, id) = (phone.address.ip(), dialog.ports[by as usize], phone.registration as u32);
    let version = u64::from(id) + u64::from(dialog.versions[by as usize]);
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = body.write_fmt(text);
        body.push_str("\r\n");
    };
    line(format_args!("v=0"));
    line(format_args!("o={} {id} {version} IN IP4 {ip}", phone.name));
    line(format_args!("s=-"));
    line(format_args!("c=IN IP4 {ip}"));
    line(format_args!("t=0 0"));
    let types: Vec<_> = phone.model.codecs.iter().map(|(payload_type, _)| *payload_type).collect();
    line(format_args!("m=audio {port} RTP/AVP {}", types.join(" ")));
    for (payload_type, mapping) in phone.model.codecs {
        line(format_args!("a=rtpmap:{payload_type} {mapping}"));
    }
    line(format_args!("a=fmtp:101 0-15"));
    line(format_args!("a=ptime:20"));
    line(format_args!("a={direction}"));
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.0.write_fmt(text);
        self.0.push_str("\r\n");
    }

    fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push_str("Content-Length: 0\r\n\r\n");
        self.0.into_bytes()
    }
}
