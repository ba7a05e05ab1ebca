//! Responses: what a phone, a proxy or a registrar answers, and its way back.
//! In: a line of a ladder, and the request that it answers. Out: a response on each hop. Knows nothing of frames.
//! RFC 3261 §8.2.6, §10.3, §16.7.

use super::message::{ALLOW, Message, contact_uri, describe, reason};
use super::{Challenge, Hop, Stage};
use crate::support::ladder::{Kind, Party, Send};

impl Stage {
    pub(super) fn respond(&mut self, at_us: u64, send: &Send) -> Result<(), String> {
        let status: u16 = send.what.parse().map_err(|_| "not a status")?;
        let origin = self.party(&send.path[0])?.clone();
        let asked = |hop: &&Hop| hop.call == send.call && hop.to == origin.name && hop.from == send.path[1];
        let request = match &send.target {
            Some(method) => self.hops.iter().rfind(|hop| asked(hop) && hop.method == *method),
            None => self
                .hops
                .iter()
                .rfind(|hop| asked(hop) && hop.method != "ACK" && hop.status.is_none())
                .or_else(|| self.hops.iter().rfind(|hop| asked(hop) && hop.method != "ACK")),
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
        let (method, challenged) = (request.method.as_str(), send.path.last().cloned().unwrap_or_default());
        let call = self.call_mut(send)?;
        if (200..300).contains(&status) && ["INVITE", "SUBSCRIBE"].contains(&method) {
            call.established = true;
            call.called.clone_from(&origin.name);
        }
        if [401, 407].contains(&status) {
            let nonce = message.nonce().to_owned();
            let realm = origin.realm.clone();
            call.challenges.insert(challenged, Challenge { proxy: status == 407, realm, nonce, uses: 0 });
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
        let mut message =
            Message { start: format!("SIP/2.0 {status} {}", reason(status)), ..Message::default() };
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
                let stale = if words.contains_key("stale") { ", stale=true" } else { "" };
                let name = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
                let realm = &origin.realm;
                message.add(
                    name,
                    format!(r#"Digest realm="{realm}", nonce="{nonce}", algorithm=MD5, qop="auth"{stale}"#),
                );
            }
            (300..=399, _) => {
                let to = words.get("contact").ok_or("redirected where? contact=")?;
                message.add("Contact", format!("<{}>", self.uri(to)));
            }
            (423, _) => message.add("Min-Expires", words.get("expires").map_or("60", String::as_str)),
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
        message.add(if origin.kind == Kind::Proxy { "Server" } else { "User-Agent" }, &origin.agent);
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
        let (_, aor) = request.get("To").split_once('<').ok_or("To without an address")?;
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
}
