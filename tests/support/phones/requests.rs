//! Requests: what a phone writes, what a proxy does to it on the way.
//! In: a line of a ladder. Out: a request on each hop of its path. Knows nothing of frames.
//! RFC 3261 §8.1.1, §9.1, §12.2.1.1, §16.6, §17.1.1.3.

use super::Stage;
use super::message::{ALLOW, Message, contact_uri, cseq_of, describe, route_uri};
use crate::support::ladder::{Kind, Party, Send};

impl Stage {
    pub(super) fn request(&mut self, at_us: u64, send: &Send) -> Result<(), String> {
        let origin = self.party(&send.path[0])?.clone();
        let method = send.what.as_str();
        if method == "CANCEL" {
            return self.cancel(at_us, send);
        }
        if method == "ACK" && self.invite_hop(send, 0)?.status.is_some_and(|status| status >= 300) {
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
        let call = self.call(send)?.clone();
        let in_dialog = match method {
            "INVITE" | "SUBSCRIBE" | "REFER" => call.established,
            "REGISTER" | "OPTIONS" | "MESSAGE" | "PUBLISH" => false,
            _ => true,
        };
        // A request that gets no further than a proxy is for the other end of the dialog all the same.
        let mut last = send.path.last().map_or("", String::as_str);
        if in_dialog && call.established && self.party(last)?.kind == Kind::Proxy {
            last = match call.caller == origin.name {
                true => &call.called,
                false => &call.caller,
            };
        }
        let other = self.party(last)?.clone();
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
            self.call_mut(send)?.cseq.insert(origin.name.clone(), number);
        }
        let mut message = Message { start: format!("{method} {request_uri} SIP/2.0"), ..Message::default() };
        let via = self.via(origin, send, 0, number, method);
        message.add("Via", via);
        message.add("Max-Forwards", "70");
        if in_dialog {
            for name in &send.path[1..] {
                let proxy = self.party(name)?;
                if proxy.record_route && proxy.name != last {
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
        message.add(if origin.kind == Kind::Proxy { "Server" } else { "User-Agent" }, &origin.agent);
        if ["INVITE", "OPTIONS", "UPDATE", "REGISTER", "SUBSCRIBE"].contains(&method) {
            message.add("Allow", ALLOW);
            message.add("Supported", "replaces, timer, 100rel");
        }
        let describes = method == "INVITE" || words.contains_key("sdp");
        if describes && !words.contains_key("nosdp") {
            let offer = call.offered_by_response.as_ref().filter(|_| ["ACK", "PRACK"].contains(&method));
            let description = describe(origin, words.get("sdp"), offer);
            self.attach(&mut message, origin, send, description)?;
        }
        Ok(message)
    }

    /// The header fields that belong to one method only.
    fn method_headers(&mut self, message: &mut Message, origin: &Party, send: &Send) -> Result<(), String> {
        let words = &send.words;
        match send.what.as_str() {
            "REGISTER" => {
                if words.get("contact").is_some_and(|contact| contact == "*") {
                    message.add("Contact", "*");
                    message.add("Expires", "0");
                } else {
                    let expires = words.get("expires").map_or("3600", String::as_str);
                    message.add("Contact", format!("<{}>;expires={expires}", contact_uri(origin)));
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
                    message.add("Subscription-State", words.get("state").map_or("active", String::as_str));
                } else {
                    message.add("Expires", words.get("expires").map_or("3600", String::as_str));
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
                        let escaped = replaces.replace(';', "%3B").replace('=', "%3D").replace('@', "%40");
                        format!("?Replaces={escaped}")
                    }
                    None => String::new(),
                };
                message.add("Refer-To", format!("<{uri}{query}>"));
                message.add("Referred-By", format!("<{}>", origin.aor));
            }
            "PRACK" => {
                let (rseq, cseq) = self.call(send)?.reliable.ok_or("nothing reliable to acknowledge")?;
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
        let method = message.start.split(' ').next().unwrap_or_default().to_owned();
        let next = self.party(&send.path[index + 1])?;
        let initial = !message.get("To").contains(";tag=");
        if initial && next.kind == Kind::Phone {
            message.start = format!("{method} {} SIP/2.0", contact_uri(next));
        }
        message.mark_received(&self.party(from)?.address);
        let forwards: u32 = message.get("Max-Forwards").parse().unwrap_or(70);
        message.set("Max-Forwards", &forwards.saturating_sub(1).to_string());
        let own = format!("<{}>", route_uri(proxy));
        message
            .headers
            .retain(|(name, value)| !(name == "Route" && *value == own) && name != "Proxy-Authorization");
        let via = self.via(proxy, send, index, cseq_of(&message), &method);
        message.headers.insert(0, ("Via".into(), via));
        if initial && proxy.record_route && ["INVITE", "SUBSCRIBE", "REFER"].contains(&&*method) {
            let place = message.headers.iter().position(|(name, _)| name != "Via").unwrap_or(0);
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
}
