//! Acting a ladder out: short lines become whole SIP messages, as phones, proxies and registrars write them.
//! In: [`Ladder`]. Out: [`WireMessage`] in time order. Knows nothing of frames.
//! RFC 3261 (§8.1.1, §16.6, §17.1.1.3, §9.1), 3262, 3264, 3515, 3581, 3891, 4028, 6665, 7616; what a real PBX adds besides.

use std::collections::BTreeMap;
use std::net::SocketAddr;

mod message;
mod requests;
mod responses;

use message::{Description, Message, cseq_of, fold, format_of, host, md5_hex, sent_by};

use super::ladder::{Action, Carrier, Edit, HOP_US, Kind, Ladder, Party, START_US, Send};

/// A whole message between two addresses.
#[derive(Clone, Debug)]
pub struct WireMessage {
    /// Microseconds since the epoch.
    pub at_us: u64,
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// What carries it.
    pub carrier: Carrier,
    /// Its sender opened the WebSocket.
    pub from_client: bool,
    /// The message.
    pub bytes: Vec<u8>,
    /// Into how many TCP segments or SCTP packets it is cut; the last one leaves at `at_us`.
    pub segments: usize,
    /// Leaves in one TCP segment or SCTP packet with the next message of this direction.
    pub with_next: bool,
    /// Over how many WebSocket frames it is spread, with a ping between them.
    pub frames: usize,
    /// Its WebSocket frames say that it is binary.
    pub binary: bool,
    /// Its connection is opened anew for it, between the same ports.
    pub new_connection: bool,
    /// Where its bytes stand in a TCP stream.
    pub over: Option<Over>,
}

impl WireMessage {
    /// One that is sent in one piece.
    pub fn new(
        at_us: u64,
        source: SocketAddr,
        destination: SocketAddr,
        carrier: Carrier,
        bytes: Vec<u8>,
    ) -> Self {
        Self {
            at_us,
            source,
            destination,
            carrier,
            from_client: false,
            bytes,
            segments: 1,
            with_next: false,
            frames: 1,
            binary: false,
            new_connection: false,
            over: None,
        }
    }
}

/// A segment that takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Of the message before it.
    Last,
    /// Of the message behind it.
    Next,
}

/// A request as it went over one hop.
#[derive(Clone, Debug)]
struct Hop {
    call: String,
    from: String,
    to: String,
    method: String,
    cseq: u32,
    message: Message,
    status: Option<u16>,
    answer_to: Option<String>,
}

#[derive(Clone, Debug)]
struct Challenge {
    proxy: bool,
    realm: String,
    nonce: String,
    uses: u32,
}

#[derive(Clone, Debug, Default)]
struct Call {
    id: String,
    caller: String,
    called: String,
    from_value: String,
    to_value: String,
    established: bool,
    event: String,
    cseq: BTreeMap<String, u32>,
    challenges: BTreeMap<String, Challenge>,
    descriptions: BTreeMap<String, (u32, Description)>,
    offered_by_response: Option<Description>,
    reliable: Option<(u32, u32)>,
}

struct Stage {
    name: String,
    parties: BTreeMap<String, Party>,
    calls: BTreeMap<String, Call>,
    hops: Vec<Hop>,
    /// What was sent: call, from, to, what, method, message.
    sent: Vec<(String, String, String, String, String, Message)>,
    /// AOR → (contact, end in microseconds since second 0).
    bindings: BTreeMap<String, Vec<(String, u64)>>,
    out: Vec<WireMessage>,
}

/// Acts the ladder out.
///
/// # Errors
/// A sentence that names the line which asks for the impossible.
pub fn act(ladder: &Ladder) -> Result<Vec<WireMessage>, String> {
    let mut stage = Stage {
        name: ladder.name.clone(),
        parties: ladder.parties.iter().map(|party| (party.name.clone(), party.clone())).collect(),
        calls: BTreeMap::new(),
        hops: Vec::new(),
        sent: Vec::new(),
        bindings: BTreeMap::new(),
        out: Vec::new(),
    };
    let mut steps: Vec<_> = ladder.steps.iter().collect();
    steps.sort_by_key(|step| step.at_us);
    for step in steps {
        match &step.action {
            Action::Move(name, to) => {
                if let Some(party) = stage.parties.get_mut(name) {
                    // Behind a NAT the phone knows nothing of its new address.
                    if party.inside == party.address {
                        party.inside = *to;
                    }
                    party.address = *to;
                }
                Ok(())
            }
            Action::Send(send) => stage.send(step.at_us, send),
        }
        .map_err(|wrong| format!("{}.ladder line {}: {wrong}", ladder.name, step.line))?;
    }
    stage.out.sort_by_key(|message| message.at_us);
    Ok(stage.out)
}

impl Stage {
    fn send(&mut self, at_us: u64, send: &Send) -> Result<(), String> {
        self.open_call(send)?;
        if send.words.contains_key("again") {
            return self.repeat(at_us, send);
        }
        if send.what == "raw" {
            let start = send.text.clone().unwrap_or_default().join("\r\n");
            let message = Message { start, ..Message::default() };
            return self.emit(at_us, send, 0, &message, "raw");
        }
        if send.what == "rtp" {
            return self.media(at_us, send);
        }
        if send.what.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.respond(at_us, send);
        }
        self.request(at_us, send)
    }

    /// Packets of the call's media from one party to the next (RFC 3550 section 5.1), or of their control (section 6.4).
    fn media(&mut self, at_us: u64, send: &Send) -> Result<(), String> {
        let number = |word: &str, default: u64| {
            let text = send.words.get(word);
            text.map_or(Ok(default), |text| text.parse()).map_err(|_| format!("{word} is a number"))
        };
        let (for_us, every_us) = (number("for", 1)? * 1_000_000, number("every", 500)?.max(1) * 1_000);
        let rtcp = send.words.contains_key("rtcp");
        let [from, to] = [&send.path[0], &send.path[1]].map(|name| {
            let mut address = self.party(name)?.address;
            address.set_port(self.media_port(&send.call, name) + u16::from(rtcp));
            Ok::<_, String>(address)
        });
        let (from, to) = (from?, to?);
        let source = (fold(&[&self.name, &send.call, &send.path[0], "ssrc"]) as u32).to_be_bytes();
        for count in 0..for_us / every_us {
            let after_us = count * every_us;
            let mut packet = vec![0x80, 0];
            if rtcp {
                packet = vec![0x80, 201, 0, 1]; // a receiver report about nobody
            } else {
                packet.extend((count as u16).to_be_bytes());
                packet.extend(((after_us / 125) as u32).to_be_bytes());
            }
            packet.extend(source);
            packet.extend([0xff; 20].iter().filter(|_| !rtcp));
            let at_us = START_US + at_us + after_us;
            self.out.push(WireMessage::new(at_us, from, to, Carrier::Udp, packet));
        }
        Ok(())
    }

    /// Where a party of a call takes its sound.
    fn media_port(&self, call: &str, party: &str) -> u16 {
        16_384 + (fold(&[&self.name, call, party]) % 8_000 * 2) as u16
    }

    fn open_call(&mut self, send: &Send) -> Result<(), String> {
        if self.calls.contains_key(&send.call) {
            return Ok(());
        }
        let party = self.party(&send.path[0])?;
        let id = match send.words.get("call-id") {
            Some(other) => match self.calls.get(other) {
                Some(call) => call.id.clone(),
                None => other.clone(),
            },
            None => format!("{}@{}", self.token(&["call-id", &send.call], 16), host(&party.inside)),
        };
        self.calls.insert(send.call.clone(), Call { id, ..Call::default() });
        Ok(())
    }

    /// The very same bytes once more, on each hop of the path.
    fn repeat(&mut self, at_us: u64, send: &Send) -> Result<(), String> {
        for index in 0..send.path.len() - 1 {
            let (from, to) = (&send.path[index], &send.path[index + 1]);
            let (.., method, message) = self
                .sent
                .iter()
                .rev()
                .find(|(call, f, t, what, method, _)| {
                    (call, f, t, what) == (&send.call, from, to, &send.what)
                        && send.target.as_ref().is_none_or(|wanted| wanted == method)
                })
                .cloned()
                .ok_or("nothing to send again")?;
            self.emit(at_us, send, index, &message, &method)?;
        }
        Ok(())
    }

    // ---- what both share

    fn credentials(
        &mut self,
        message: &mut Message,
        origin: &Party,
        send: &Send,
        method: &str,
        uri: &str,
    ) -> Result<(), String> {
        let count = self.sent.len().to_string();
        let cnonce = self.token(&["cnonce", &count], 16);
        let Some(challenge) = self.call_mut(send)?.challenges.get_mut(&origin.name) else {
            return Ok(());
        };
        challenge.uses += 1;
        let Challenge { proxy, realm, nonce, uses } = challenge.clone();
        let user = &origin.contact_user;
        let secret = md5_hex(&format!("{user}:{realm}:{}", origin.password));
        let asked = md5_hex(&format!("{method}:{uri}"));
        let response = md5_hex(&format!("{secret}:{nonce}:{uses:08x}:{cnonce}:auth:{asked}"));
        message.add(
            if proxy { "Proxy-Authorization" } else { "Authorization" },
            format!(
                r#"Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{response}", algorithm=MD5, cnonce="{cnonce}", qop=auth, nc={uses:08x}"#
            ),
        );
        Ok(())
    }

    /// Writes the session description (RFC 8866). The version counts up when it differs from the party's last.
    fn attach(
        &mut self,
        message: &mut Message,
        party: &Party,
        send: &Send,
        description: Description,
    ) -> Result<(), String> {
        let identity = fold(&[&self.name, &send.call, &party.name]);
        let call = self.call_mut(send)?;
        let version = match call.descriptions.get(&party.name) {
            Some((version, last)) if *last == description => *version,
            Some((version, _)) => version + 1,
            None => 1,
        };
        call.descriptions.insert(party.name.clone(), (version, description.clone()));
        let ip = party.inside.ip();
        let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
        let zero = description.direction == "zero";
        let shown = if zero { "0.0.0.0".to_owned() } else { ip.to_string() };
        let direction = if zero { "sendrecv" } else { &description.direction };
        let port = self.media_port(&send.call, &party.name);
        let formats: Vec<_> = description.codecs.iter().map(|codec| format_of(codec)).collect();
        let numbers: Vec<_> = formats.iter().map(|(number, _)| *number).collect();
        let mut lines = vec![
            "v=0".to_owned(),
            format!("o={} {} {version} IN {family} {ip}", party.contact_user, identity % 1_000_000),
            "s=-".to_owned(),
            format!("c=IN {family} {shown}"),
            "t=0 0".to_owned(),
            format!("m=audio {port} RTP/AVP {} 101", numbers.join(" ")),
        ];
        lines.extend(formats.iter().map(|(number, name)| format!("a=rtpmap:{number} {name}")));
        lines.extend([
            "a=rtpmap:101 telephone-event/8000".to_owned(),
            "a=fmtp:101 0-16".to_owned(),
            "a=ptime:20".to_owned(),
            format!("a={direction}"),
            String::new(),
        ]);
        message.add("Content-Type", "application/sdp");
        message.body = lines.join("\r\n").into_bytes();
        message.description = Some(description);
        Ok(())
    }

    fn edit(&self, message: &mut Message, send: &Send) {
        for edit in &send.edits {
            match edit {
                Edit::Add(name, value) => message.add(name, value),
                Edit::Remove(name) => message.headers.retain(|(other, _)| other != name),
                Edit::Replace(name, value) => message.set(name, value),
            }
        }
        if let Some(text) = &send.text {
            let mut body = text.join("\r\n");
            body.push_str("\r\n");
            message.body = body.into_bytes();
            if message.get("Content-Type").is_empty() {
                let refer = message.get("Event") == "refer";
                message.add(
                    "Content-Type",
                    if refer { "message/sipfrag;version=2.0" } else { "application/sdp" },
                );
            }
        }
    }

    /// Who calls whom, as the first request of the call says it.
    fn remember_parties(&mut self, send: &Send, message: &Message) {
        let from = message.get("From").split(";tag=").next().unwrap_or_default().to_owned();
        let to = message.get("To").split(";tag=").next().unwrap_or_default().to_owned();
        if let Some(call) = self.calls.get_mut(&send.call)
            && call.caller.is_empty()
        {
            call.caller.clone_from(&send.path[0]);
            (call.from_value, call.to_value) = (from, to);
        }
    }

    fn record(&mut self, send: &Send, index: usize, message: &Message) -> Result<(), String> {
        self.hops.push(Hop {
            call: send.call.clone(),
            from: send.path[index].clone(),
            to: send.path[index + 1].clone(),
            method: send.what.clone(),
            cseq: cseq_of(message),
            message: message.clone(),
            status: None,
            answer_to: None,
        });
        Ok(())
    }

    fn emit(
        &mut self,
        at_us: u64,
        send: &Send,
        index: usize,
        message: &Message,
        method: &str,
    ) -> Result<(), String> {
        let (from, to) = (&send.path[index], &send.path[index + 1]);
        self.sent.push((
            send.call.clone(),
            from.clone(),
            to.clone(),
            send.what.clone(),
            method.to_owned(),
            message.clone(),
        ));
        let hop_us = match send.words.get("hop") {
            Some(milliseconds) => milliseconds.parse::<u64>().map_err(|_| "hop=milliseconds")? * 1_000,
            None => HOP_US,
        };
        let unseen = send
            .words
            .get("unseen")
            .is_some_and(|hops| hops.is_empty() || hops.split(',').any(|hop| hop == (index + 1).to_string()));
        if unseen {
            return Ok(());
        }
        let (from, to) = (self.party(from)?, self.party(to)?);
        let count = |word| send.words.get(word).map_or(Ok(1), |count| count.parse());
        let over = match send.words.get("over").map(String::as_str) {
            None => None,
            Some("last") => Some(Over::Last),
            Some("next") => Some(Over::Next),
            Some(_) => return Err("over is last or next".into()),
        };
        let bytes = if send.what == "raw" { message.start.clone().into_bytes() } else { message.bytes() };
        let at_us = START_US + at_us + index as u64 * hop_us;
        let (carrier, from_client) = (from.carrier_to(to), from.kind != Kind::Proxy);
        self.out.push(WireMessage {
            from_client,
            segments: count("segments").map_err(|_| "segments is a number")?,
            with_next: send.words.contains_key("with-next"),
            frames: count("frames").map_err(|_| "frames is a number")?,
            binary: send.words.contains_key("binary"),
            new_connection: send.words.contains_key("new-connection"),
            over,
            ..WireMessage::new(at_us, from.address, to.address, carrier, bytes)
        });
        Ok(())
    }

    // ---- looking up

    fn party(&self, name: &str) -> Result<&Party, String> {
        self.parties.get(name).ok_or_else(|| format!("nobody is called {name}"))
    }

    fn call(&self, send: &Send) -> Result<&Call, String> {
        self.calls.get(&send.call).ok_or_else(|| format!("no call {}", send.call))
    }

    fn call_mut(&mut self, send: &Send) -> Result<&mut Call, String> {
        self.calls.get_mut(&send.call).ok_or_else(|| format!("no call {}", send.call))
    }

    fn invite_hop(&self, send: &Send, index: usize) -> Result<&Hop, String> {
        let (from, to) = (&send.path[index], send.path.get(index + 1));
        self.hops
            .iter()
            .rfind(|hop| {
                hop.call == send.call && hop.from == *from && Some(&hop.to) == to && hop.method == "INVITE"
            })
            .or_else(|| {
                // An ACK that goes straight to the other phone: the INVITE took another way.
                self.hops
                    .iter()
                    .rfind(|hop| hop.call == send.call && hop.from == *from && hop.method == "INVITE")
            })
            .ok_or_else(|| format!("{from} sent no INVITE"))
    }

    fn invite_cseq(&self, send: &Send, origin: &str) -> u32 {
        self.hops
            .iter()
            .rfind(|hop| hop.call == send.call && hop.from == origin && hop.method == "INVITE")
            .map_or(1, |hop| hop.cseq)
    }

    /// A party's name, or a URI as it is.
    fn uri(&self, text: &str) -> String {
        self.parties.get(text).map_or_else(|| text.to_owned(), |party| party.aor.clone())
    }

    fn name_addr(&self, party: &Party, from: Option<&String>) -> String {
        if let Some(from) = from {
            return format!("<{}>", self.uri(from));
        }
        let mut name = party.contact_user.clone();
        if let Some(first) = name.get_mut(0..1) {
            first.make_ascii_uppercase();
        }
        format!("\"{name}\" <{}>", party.aor)
    }

    /// The dialog of another call, for a Replaces field that goes to `target` (RFC 3891 §3).
    fn replaces(&self, label: &str, target: &str) -> Result<String, String> {
        let call = self.calls.get(label).ok_or_else(|| format!("no call {label}"))?;
        let other = if call.caller == target { &call.called } else { &call.caller };
        Ok(format!(
            "{};to-tag={};from-tag={}",
            call.id,
            self.tag_in(label, target),
            self.tag_in(label, other)
        ))
    }

    fn tag(&self, send: &Send, party: &str) -> String {
        self.tag_in(&send.call, party)
    }

    fn tag_in(&self, call: &str, party: &str) -> String {
        self.token(&["tag", call, party], 10)
    }

    fn via(&self, party: &Party, send: &Send, index: usize, cseq: u32, method: &str) -> String {
        let next = &send.path[index + 1];
        let carrier = self.parties.get(next).map_or(party.carrier, |next| party.carrier_to(next));
        let branch = self.token(&["branch", &send.call, &party.name, next, &cseq.to_string(), method], 12);
        let rport = if party.kind == Kind::Proxy { "" } else { ";rport" };
        format!("SIP/2.0/{} {};branch=z9hG4bK{branch}{rport}", carrier.via_name(), sent_by(party))
    }

    /// Hexadecimal digits that depend on the case and on `parts` only.
    fn token(&self, parts: &[&str], digits: usize) -> String {
        let mut all = vec![self.name.as_str()];
        all.extend(parts);
        let first = fold(&all);
        all.push("2");
        let mut text = format!("{first:016x}{:016x}", fold(&all));
        text.truncate(digits);
        text
    }
}
