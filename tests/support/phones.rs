//! Acting a ladder out: short lines become whole SIP messages, as phones, proxies and registrars write them.
//! In: [`Ladder`]. Out: [`WireMessage`] in time order. Knows nothing of frames.
//! RFC 3261 (§8.1.1, §16.6, §17.1.1.3, §9.1), 3262, 3264, 3515, 3581, 3891, 4028, 6665, 7616; what a real PBX adds besides.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use md5::{Digest, Md5};

use super::ladder::{Action, Edit, HOP_US, Kind, Ladder, Party, START_US, Send};

/// A whole message between two addresses.
#[derive(Clone, Debug)]
pub struct WireMessage {
    /// Microseconds since the epoch.
    pub at_us: u64,
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Over TCP; else UDP.
    pub tcp: bool,
    /// The message.
    pub bytes: Vec<u8>,
    /// Into how many TCP segments it is cut; the last one leaves at `at_us`.
    pub segments: usize,
    /// Leaves in one TCP segment with the next message of this direction.
    pub with_next: bool,
}

/// What a session description says.
#[derive(Clone, Debug, PartialEq)]
struct Description {
    direction: String,
    codecs: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Message {
    start: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    description: Option<Description>,
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
        parties: ladder
            .parties
            .iter()
            .map(|party| (party.name.clone(), party.clone()))
            .collect(),
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
                    (party.address, party.inside) = (*to, *to);
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
            let mut message = Message::default();
            message.start = send.text.clone().unwrap_or_default().join("\r\n");
            return self.emit(at_us, send, 0, &message, "raw");
        }
        if send.what.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.respond(at_us, send);
        }
        self.request(at_us, send)
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
            None => format!(
                "{}@{}",
                self.token(&["call-id", &send.call], 16),
                host(&party.inside)
            ),
        };
        self.calls.insert(
            send.call.clone(),
            Call {
                id,
                ..Call::default()
            },
        );
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

    // ---- requests

    fn request(&mut self, at_us: u64, send: &Send) -> Result<(), String> {
        let origin = self.party(&send.path[0])?.clone();
        let method = send.what.as_str();
        if method == "CANCEL" {
            return self.cancel(at_us, send);
        }
        if method == "ACK"
            && self
                .invite_hop(send, 0)?
                .status
                .is_some_and(|status| status >= 300)
        {
            return self.acknowledge_failure(at_us, send);
        }
        let received = self
            .hops
            .iter()
            .rfind(|hop| hop.call == send.call && hop.to == origin.name && hop.method == method);
        let (mut message, forwarded) = match received {
            Some(hop) if origin.kind == Kind::Proxy => {
                (self.forward(hop.message.clone(), &hop.from, send, 0)?, true)
            }
            _ => (self.originate(&origin, send)?, false),
        };
        if let (true, Some(uri)) = (forwarded, send.words.get("uri")) {
            message.start = format!("{method} {} SIP/2.0", self.uri(uri));
        }
        self.edit(&mut message, send);
        if !forwarded {
            self.remember_parties(send, &message);
        }
        for index in 0..send.path.len() - 1 {
            if index > 0 {
                message = self.forward(message, &send.path[index - 1], send, index)?;
            }
            self.record(send, index, &message)?;
            self.emit(at_us, send, index, &message, method)?;
        }
        Ok(())
    }

    fn originate(&mut self, origin: &Party, send: &Send) -> Result<Message, String> {
        let method = send.what.as_str();
        let words = &send.words;
        let last = send.path.last().map(String::as_str).unwrap_or_default();
        let other = self.party(last)?.clone();
        let call = self.call(send)?.clone();
        let in_dialog = match method {
            "INVITE" | "SUBSCRIBE" | "REFER" => call.established,
            "REGISTER" | "OPTIONS" | "MESSAGE" | "PUBLISH" => false,
            _ => true,
        };
        let to_uri = match words.get("to").or(send.target.as_ref()) {
            Some(name) => self.uri(name),
            None if method == "REGISTER" => origin.aor.clone(),
            None => other.aor.clone(),
        };
        let own = self.name_addr(origin, words.get("from"));
        let tag = self.tag(send, &origin.name);
        let (from, to) = if in_dialog && !call.from_value.is_empty() {
            let (own, theirs) = match call.caller == origin.name {
                true => (call.from_value.clone(), call.to_value.clone()),
                false => (call.to_value.clone(), call.from_value.clone()),
            };
            (own, format!("{theirs};tag={}", self.tag(send, last)))
        } else if in_dialog {
            (own, format!("<{to_uri}>;tag={}", self.tag(send, last)))
        } else {
            (own, format!("<{to_uri}>"))
        };
        let next = self.party(&send.path[1])?;
        let request_uri = match words.get("uri") {
            Some(uri) => self.uri(uri),
            None if in_dialog => contact_uri(&other),
            None if method == "REGISTER" => {
                format!("sip:{}", origin.aor.rsplit('@').next().unwrap_or_default())
            }
            None if next.kind == Kind::Phone => contact_uri(next),
            None => to_uri,
        };
        let invite_cseq = self.invite_cseq(send, &origin.name);
        let number = match (words.get("cseq"), method) {
            (Some(number), _) => number.parse().map_err(|_| "cseq is a number")?,
            (None, "ACK") => invite_cseq,
            (None, _) => call.cseq.get(&origin.name).copied().unwrap_or(0) + 1,
        };
        if method != "ACK" {
            self.call_mut(send)?
                .cseq
                .insert(origin.name.clone(), number);
        }
        let mut message = Message {
            start: format!("{method} {request_uri} SIP/2.0"),
            ..Message::default()
        };
        let via = self.via(origin, send, 0, number, method);
        message.add("Via", via);
        message.add("Max-Forwards", "70");
        if in_dialog {
            for name in &send.path[1..send.path.len() - 1] {
                let proxy = self.party(name)?;
                if proxy.record_route {
                    message.add("Route", format!("<{}>", route_uri(proxy)));
                }
            }
        }
        message.add("From", format!("{from};tag={tag}"));
        message.add("To", to);
        message.add("Call-ID", &call.id);
        message.add("CSeq", format!("{number} {method}"));
        if ["INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"].contains(&method) {
            message.add("Contact", format!("<{}>", contact_uri(origin)));
        }
        self.method_headers(&mut message, origin, send)?;
        if !words.contains_key("no-credentials") {
            self.credentials(&mut message, origin, send, method, &request_uri)?;
        }
        message.add(
            if origin.kind == Kind::Proxy {
                "Server"
            } else {
                "User-Agent"
            },
            &origin.agent,
        );
        if ["INVITE", "OPTIONS", "UPDATE", "REGISTER", "SUBSCRIBE"].contains(&method) {
            message.add("Allow", ALLOW);
            message.add("Supported", "replaces, timer, 100rel");
        }
        let describes = method == "INVITE" || words.contains_key("sdp");
        if describes && !words.contains_key("nosdp") {
            let offer = call
                .offered_by_response
                .as_ref()
                .filter(|_| ["ACK", "PRACK"].contains(&method));
            let description = describe(origin, words.get("sdp"), offer);
            self.attach(&mut message, origin, send, description)?;
        }
        Ok(message)
    }

    /// The header fields that belong to one method only.
    fn method_headers(
        &mut self,
        message: &mut Message,
        origin: &Party,
        send: &Send,
    ) -> Result<(), String> {
        let words = &send.words;
        match send.what.as_str() {
            "REGISTER" => {
                if words.get("contact").is_some_and(|contact| contact == "*") {
                    message.add("Contact", "*");
                    message.add("Expires", "0");
                } else {
                    let expires = words.get("expires").map_or("3600", String::as_str);
                    message.add(
                        "Contact",
                        format!("<{}>;expires={expires}", contact_uri(origin)),
                    );
                }
            }
            "SUBSCRIBE" | "NOTIFY" | "PUBLISH" => {
                let call = self.call_mut(send)?;
                if let Some(event) = words.get("event") {
                    call.event.clone_from(event);
                } else if call.event.is_empty() {
                    "presence".clone_into(&mut call.event);
                }
                message.add("Event", call.event.clone());
                if send.what == "NOTIFY" {
                    message.add(
                        "Subscription-State",
                        words.get("state").map_or("active", String::as_str),
                    );
                } else {
                    message.add(
                        "Expires",
                        words.get("expires").map_or("3600", String::as_str),
                    );
                }
                if call.event == "presence" && send.what == "SUBSCRIBE" {
                    message.add("Accept", "application/pidf+xml");
                }
            }
            "REFER" => {
                let target = words.get("refer-to").ok_or("REFER to whom? refer-to=")?;
                let uri = self.uri(target);
                let query = match words.get("replaces") {
                    Some(label) => {
                        let replaces = self.replaces(label, target)?;
                        let escaped = replaces
                            .replace(';', "%3B")
                            .replace('=', "%3D")
                            .replace('@', "%40");
                        format!("?Replaces={escaped}")
                    }
                    None => String::new(),
                };
                message.add("Refer-To", format!("<{uri}{query}>"));
                message.add("Referred-By", format!("<{}>", origin.aor));
            }
            "PRACK" => {
                let (rseq, cseq) = self
                    .call(send)?
                    .reliable
                    .ok_or("nothing reliable to acknowledge")?;
                message.add("RAck", format!("{rseq} {cseq} INVITE"));
            }
            "INVITE" => {
                if let Some(label) = words.get("replaces") {
                    let target = send.path.last().map(String::as_str).unwrap_or_default();
                    message.add("Replaces", self.replaces(label, target)?);
                }
                if let Some(expires) = words.get("expires") {
                    message.add("Expires", expires);
                }
            }
            "MESSAGE" => message.add("Content-Type", "text/plain"),
            "INFO" => message.add("Content-Type", "application/dtmf-relay"),
            _ => {}
        }
        if let Some(interval) = words.get("session-expires") {
            message.add("Session-Expires", interval);
            message.add("Min-SE", "90");
        }
        Ok(())
    }

    /// What a proxy does to a request: RFC 3261 §16.6.
    fn forward(
        &self,
        mut message: Message,
        from: &str,
        send: &Send,
        index: usize,
    ) -> Result<Message, String> {
        let proxy = self.party(&send.path[index])?;
        if proxy.kind != Kind::Proxy {
            return Err(format!("{} is no proxy: it does not forward", proxy.name));
        }
        let method = message
            .start
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        let next = self.party(&send.path[index + 1])?;
        let initial = !message.get("To").contains(";tag=");
        if initial && next.kind == Kind::Phone {
            message.start = format!("{method} {} SIP/2.0", contact_uri(next));
        }
        message.mark_received(&self.party(from)?.address);
        let forwards: u32 = message.get("Max-Forwards").parse().unwrap_or(70);
        message.set("Max-Forwards", &forwards.saturating_sub(1).to_string());
        let own = format!("<{}>", route_uri(proxy));
        message.headers.retain(|(name, value)| {
            !(name == "Route" && *value == own) && name != "Proxy-Authorization"
        });
        let via = self.via(proxy, send, index, cseq_of(&message), &method);
        message.headers.insert(0, ("Via".into(), via));
        if initial && proxy.record_route && ["INVITE", "SUBSCRIBE", "REFER"].contains(&&*method) {
            let place = message
                .headers
                .iter()
                .position(|(name, _)| name != "Via")
                .unwrap_or(0);
            message.headers.insert(place, ("Record-Route".into(), own));
        }
        Ok(message)
    }

    /// CANCEL goes hop by hop with the INVITE's branch (RFC 3261 §9.1).
    fn cancel(&mut self, at_us: u64, send: &Send) -> Result<(), String> {
        for index in 0..send.path.len() - 1 {
            let invite = self.invite_hop(send, index)?.message.clone();
            let mut message = invite.hop_request("CANCEL");
            message.add("User-Agent", &self.party(&send.path[index])?.agent);
            self.edit(&mut message, send);
            self.record(send, index, &message)?;
            self.emit(at_us, send, index, &message, "CANCEL")?;
        }
        Ok(())
    }

    /// The ACK to a failure belongs to the INVITE's transaction (RFC 3261 §17.1.1.3).
    fn acknowledge_failure(&mut self, at_us: u64, send: &Send) -> Result<(), String> {
        let hop = self.invite_hop(send, 0)?.clone();
        let mut message = hop.message.hop_request("ACK");
        if let Some(to) = hop.answer_to {
            message.set("To", &to);
        }
        message.add("User-Agent", &self.party(&send.path[0])?.agent);
        self.edit(&mut message, send);
        self.emit(at_us, send, 0, &message, "ACK")
    }

    // ---- responses

    fn respond(&mut self, at_us: u64, send: &Send) -> Result<(), String> {
        let status: u16 = send.what.parse().map_err(|_| "not a status")?;
        let origin = self.party(&send.path[0])?.clone();
        let asked =
            |hop: &&Hop| hop.call == send.call && hop.to == origin.name && hop.from == send.path[1];
        let request = match &send.target {
            Some(method) => self
                .hops
                .iter()
                .rfind(|hop| asked(hop) && hop.method == *method),
            None => self
                .hops
                .iter()
                .rfind(|hop| asked(hop) && hop.method != "ACK" && hop.status.is_none())
                .or_else(|| {
                    self.hops
                        .iter()
                        .rfind(|hop| asked(hop) && hop.method != "ACK")
                }),
        }
        .ok_or("there is no request to answer")?
        .clone();
        let mut message = self.response(at_us, &origin, send, status, &request)?;
        self.edit(&mut message, send);
        for index in 0..send.path.len() - 1 {
            if index > 0 {
                message.headers.remove(0); // the proxy's own Via
            }
            let (here, there) = (&send.path[index], &send.path[index + 1]);
            let to = message.get("To").to_owned();
            let hop = self.hops.iter_mut().rfind(|hop| {
                (&hop.call, &hop.from, &hop.to, &hop.method, hop.cseq)
                    == (&send.call, there, here, &request.method, request.cseq)
            });
            let hop = hop.ok_or_else(|| format!("{there} sent {here} no {}", request.method))?;
            if status >= 200 {
                hop.status = Some(status);
                hop.answer_to = Some(to);
            }
            self.emit(at_us, send, index, &message, &request.method)?;
        }
        let (method, challenged) = (
            request.method.as_str(),
            send.path.last().cloned().unwrap_or_default(),
        );
        let call = self.call_mut(send)?;
        if (200..300).contains(&status) && ["INVITE", "SUBSCRIBE"].contains(&method) {
            call.established = true;
            call.called.clone_from(&origin.name);
        }
        if [401, 407].contains(&status) {
            let nonce = message.nonce().to_owned();
            let realm = origin.realm.clone();
            call.challenges.insert(
                challenged,
                Challenge {
                    proxy: status == 407,
                    realm,
                    nonce,
                    uses: 0,
                },
            );
        }
        Ok(())
    }

    fn response(
        &mut self,
        at_us: u64,
        origin: &Party,
        send: &Send,
        status: u16,
        request: &Hop,
    ) -> Result<Message, String> {
        let (words, method) = (&send.words, request.method.as_str());
        let good = (200..300).contains(&status);
        let mut message = Message {
            start: format!("SIP/2.0 {status} {}", reason(status)),
            ..Message::default()
        };
        let mut asked = request.message.clone();
        asked.mark_received(&self.party(&request.from)?.address);
        for (name, value) in &asked.headers {
            let kept = match name.as_str() {
                "Via" | "From" | "Call-ID" | "CSeq" => true,
                "Record-Route" => status > 100 && status < 300,
                _ => false,
            };
            if kept {
                message.add(name, value);
            } else if name == "To" {
                let tag = match status > 100 && !value.contains(";tag=") {
                    true => format!(";tag={}", self.tag(send, &origin.name)),
                    false => String::new(),
                };
                message.add("To", format!("{value}{tag}"));
            }
        }
        match (status, method) {
            (401 | 407, _) => {
                let count = self.sent.len().to_string();
                let nonce = self.token(&["nonce", &send.call, &count], 32);
                let stale = if words.contains_key("stale") {
                    ", stale=true"
                } else {
                    ""
                };
                let name = if status == 401 {
                    "WWW-Authenticate"
                } else {
                    "Proxy-Authenticate"
                };
                let realm = &origin.realm;
                message.add(name, format!(r#"Digest realm="{realm}", nonce="{nonce}", algorithm=MD5, qop="auth"{stale}"#));
            }
            (300..=399, _) => {
                let to = words.get("contact").ok_or("redirected where? contact=")?;
                message.add("Contact", format!("<{}>", self.uri(to)));
            }
            (423, _) => message.add(
                "Min-Expires",
                words.get("expires").map_or("60", String::as_str),
            ),
            (_, "REGISTER") if good => {
                self.grant(at_us, &mut message, words.get("granted"), &request.message)?
            }
            (_, "SUBSCRIBE") if good => {
                let asked = request.message.get("Expires").to_owned();
                message.add("Contact", format!("<{}>", contact_uri(origin)));
                message.add("Expires", words.get("granted").unwrap_or(&asked));
            }
            (101.., "INVITE" | "UPDATE" | "REFER") if status < 300 => {
                message.add("Contact", format!("<{}>", contact_uri(origin)));
            }
            _ => {}
        }
        if words.contains_key("reliable") {
            let call = self.call_mut(send)?;
            let rseq = call.reliable.map_or(4_711, |(rseq, _)| rseq + 1);
            call.reliable = Some((rseq, request.cseq));
            message.add("Require", "100rel");
            message.add("RSeq", rseq.to_string());
        }
        if let Some(interval) = words.get("session-expires") {
            message.add("Require", "timer");
            message.add("Session-Expires", format!("{interval};refresher=uac"));
        }
        message.add(
            if origin.kind == Kind::Proxy {
                "Server"
            } else {
                "User-Agent"
            },
            &origin.agent,
        );
        if good && ["INVITE", "OPTIONS"].contains(&method) {
            message.add("Allow", ALLOW);
            message.add("Supported", "replaces, timer, 100rel");
        }
        let offered = request.message.description.as_ref();
        let describes = match (status, method) {
            (183, "INVITE") => true,
            (_, "INVITE") => good,
            (_, "UPDATE" | "PRACK") => good && offered.is_some(),
            _ => false,
        };
        if (describes || words.contains_key("sdp")) && !words.contains_key("nosdp") {
            let description = describe(origin, words.get("sdp"), offered);
            if offered.is_none() {
                self.call_mut(send)?.offered_by_response = Some(description.clone());
            }
            self.attach(&mut message, origin, send, description)?;
        }
        Ok(message)
    }

    /// What a registrar does: RFC 3261 §10.3. The answer lists all bindings that are left.
    fn grant(
        &mut self,
        at_us: u64,
        message: &mut Message,
        granted: Option<&String>,
        request: &Message,
    ) -> Result<(), String> {
        let (_, aor) = request
            .get("To")
            .split_once('<')
            .ok_or("To without an address")?;
        let aor = aor.split('>').next().unwrap_or_default().to_owned();
        let bindings = self.bindings.entry(aor).or_default();
        bindings.retain(|(_, until)| *until > at_us);
        for (name, value) in &request.headers {
            if name != "Contact" {
                continue;
            }
            let Some((uri, parameters)) = value.trim_start_matches('<').split_once('>') else {
                bindings.clear();
                continue;
            };
            let wanted = parameters.strip_prefix(";expires=").unwrap_or("3600");
            let expires: u64 = match granted {
                Some(granted) if wanted != "0" => granted.parse(),
                _ => wanted.parse(),
            }
            .map_err(|_| "expires is a number")?;
            bindings.retain(|(bound, _)| bound != uri);
            if expires > 0 {
                bindings.push((uri.to_owned(), at_us + expires * 1_000_000));
            }
        }
        for (uri, until) in bindings.iter() {
            let left = (until - at_us).div_ceil(1_000_000);
            message.add("Contact", format!("<{uri}>;expires={left}"));
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
        let Challenge {
            proxy,
            realm,
            nonce,
            uses,
        } = challenge.clone();
        let user = &origin.contact_user;
        let secret = md5_hex(&format!("{user}:{realm}:{}", origin.password));
        let asked = md5_hex(&format!("{method}:{uri}"));
        let response = md5_hex(&format!(
            "{secret}:{nonce}:{uses:08x}:{cnonce}:auth:{asked}"
        ));
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
        call.descriptions
            .insert(party.name.clone(), (version, description.clone()));
        let ip = party.inside.ip();
        let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
        let zero = description.direction == "zero";
        let shown = if zero {
            "0.0.0.0".to_owned()
        } else {
            ip.to_string()
        };
        let direction = if zero {
            "sendrecv"
        } else {
            &description.direction
        };
        let port = 16_384 + identity % 8_000 * 2;
        let formats: Vec<_> = description
            .codecs
            .iter()
            .map(|codec| format_of(codec))
            .collect();
        let numbers: Vec<_> = formats.iter().map(|(number, _)| *number).collect();
        let mut lines = vec![
            "v=0".to_owned(),
            format!(
                "o={} {} {version} IN {family} {ip}",
                party.contact_user,
                identity % 1_000_000
            ),
            "s=-".to_owned(),
            format!("c=IN {family} {shown}"),
            "t=0 0".to_owned(),
            format!("m=audio {port} RTP/AVP {} 101", numbers.join(" ")),
        ];
        lines.extend(
            formats
                .iter()
                .map(|(number, name)| format!("a=rtpmap:{number} {name}")),
        );
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
                    if refer {
                        "message/sipfrag;version=2.0"
                    } else {
                        "application/sdp"
                    },
                );
            }
        }
    }

    /// Who calls whom, as the first request of the call says it.
    fn remember_parties(&mut self, send: &Send, message: &Message) {
        let from = message
            .get("From")
            .split(";tag=")
            .next()
            .unwrap_or_default()
            .to_owned();
        let to = message
            .get("To")
            .split(";tag=")
            .next()
            .unwrap_or_default()
            .to_owned();
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
            Some(milliseconds) => {
                milliseconds
                    .parse::<u64>()
                    .map_err(|_| "hop=milliseconds")?
                    * 1_000
            }
            None => HOP_US,
        };
        let unseen = send.words.get("unseen").is_some_and(|hops| {
            hops.is_empty() || hops.split(',').any(|hop| hop == (index + 1).to_string())
        });
        if unseen {
            return Ok(());
        }
        let (from, to) = (self.party(from)?, self.party(to)?);
        let segments = send
            .words
            .get("segments")
            .map_or(Ok(1), |count| count.parse());
        let bytes = if send.what == "raw" {
            message.start.clone().into_bytes()
        } else {
            message.bytes()
        };
        self.out.push(WireMessage {
            at_us: START_US + at_us + index as u64 * hop_us,
            source: from.address,
            destination: to.address,
            tcp: from.tcp || to.tcp,
            bytes,
            segments: segments.map_err(|_| "segments is a number")?,
            with_next: send.words.contains_key("with-next"),
        });
        Ok(())
    }

    // ---- looking up

    fn party(&self, name: &str) -> Result<&Party, String> {
        self.parties
            .get(name)
            .ok_or_else(|| format!("nobody is called {name}"))
    }

    fn call(&self, send: &Send) -> Result<&Call, String> {
        self.calls
            .get(&send.call)
            .ok_or_else(|| format!("no call {}", send.call))
    }

    fn call_mut(&mut self, send: &Send) -> Result<&mut Call, String> {
        self.calls
            .get_mut(&send.call)
            .ok_or_else(|| format!("no call {}", send.call))
    }

    fn invite_hop(&self, send: &Send, index: usize) -> Result<&Hop, String> {
        let (from, to) = (&send.path[index], send.path.get(index + 1));
        self.hops
            .iter()
            .rfind(|hop| {
                hop.call == send.call
                    && hop.from == *from
                    && Some(&hop.to) == to
                    && hop.method == "INVITE"
            })
            .or_else(|| {
                // An ACK that goes straight to the other phone: the INVITE took another way.
                self.hops.iter().rfind(|hop| {
                    hop.call == send.call && hop.from == *from && hop.method == "INVITE"
                })
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
        self.parties
            .get(text)
            .map_or_else(|| text.to_owned(), |party| party.aor.clone())
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
        let call = self
            .calls
            .get(label)
            .ok_or_else(|| format!("no call {label}"))?;
        let other = if call.caller == target {
            &call.called
        } else {
            &call.caller
        };
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
        let tcp = party.tcp || self.parties.get(next).is_some_and(|next| next.tcp);
        let branch = self.token(
            &[
                "branch",
                &send.call,
                &party.name,
                next,
                &cseq.to_string(),
                method,
            ],
            12,
        );
        let rport = if party.kind == Kind::Proxy {
            ""
        } else {
            ";rport"
        };
        format!(
            "SIP/2.0/{} {};branch=z9hG4bK{branch}{rport}",
            if tcp { "TCP" } else { "UDP" },
            host_port(&party.inside)
        )
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

impl Message {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        self.headers
            .push((name.to_owned(), value.as_ref().to_owned()));
    }

    fn get(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map_or("", |(_, value)| value)
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.headers.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.add(name, value),
        }
    }

    fn nonce(&self) -> &str {
        let value = self
            .headers
            .iter()
            .find(|(name, _)| name.ends_with("-Authenticate"));
        value
            .and_then(|(_, value)| value.split("nonce=\"").nth(1)?.split('"').next())
            .unwrap_or_default()
    }

    /// What the receiver notes in the topmost Via (RFC 3581 §4).
    fn mark_received(&mut self, source: &SocketAddr) {
        if let Some((_, via)) = self.headers.iter_mut().find(|(name, _)| name == "Via")
            && via.ends_with(";rport")
        {
            via.push_str(&format!("={};received={}", source.port(), source.ip()));
        }
    }

    /// CANCEL, or the ACK to a failure: the INVITE's own Via, Route, From, To, Call-ID and number.
    fn hop_request(&self, method: &str) -> Self {
        let uri = self.start.split(' ').nth(1).unwrap_or_default();
        let mut message = Self {
            start: format!("{method} {uri} SIP/2.0"),
            ..Self::default()
        };
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

    fn bytes(&self) -> Vec<u8> {
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

const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY, SUBSCRIBE, MESSAGE";

fn cseq_of(message: &Message) -> u32 {
    message
        .get("CSeq")
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(1)
}

fn host(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

fn host_port(address: &SocketAddr) -> String {
    format!("{}:{}", host(address), address.port())
}

fn contact_uri(party: &Party) -> String {
    let transport = if party.tcp { ";transport=tcp" } else { "" };
    format!(
        "sip:{}@{}{transport}",
        party.contact_user,
        host_port(&party.inside)
    )
}

fn route_uri(proxy: &Party) -> String {
    format!("sip:{};lr", host(&proxy.inside))
}

/// An offer, or the answer to one: the first codec that both have, and the direction turned round (RFC 3264 §6.1).
fn describe(party: &Party, direction: Option<&String>, offer: Option<&Description>) -> Description {
    let codecs = match offer {
        Some(offer) => {
            let common = offer
                .codecs
                .iter()
                .find(|codec| party.codecs.contains(codec));
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
    let direction = direction
        .filter(|direction| !direction.is_empty())
        .map_or(mirrored, String::as_str);
    Description {
        direction: direction.to_owned(),
        codecs,
    }
}

/// RTP payload type and rtpmap (RFC 3551 §6).
fn format_of(codec: &str) -> (&'static str, String) {
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

fn reason(status: u16) -> &'static str {
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

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// FNV-1a over the parts, then a finaliser that spreads short inputs.
fn fold(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}
