//! One message, in any of the spellings that the grammar allows.
//! In: what a message says, and bytes that choose among spellings. Out: the bytes of the message, and the reading that
//! all of them must give. Knows nothing of scanners.
//! RFC 3261 section 7.3, 20 and 25.1.
#![allow(dead_code, missing_docs)]

use super::reading::{Reading, host};

/// Chooses among spellings; without bytes, or when they are used up, always the first, which is the plainest.
pub struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The plainest spelling.
    pub const fn plain() -> Self {
        Self { bytes: &[] }
    }

    fn below(&mut self, count: usize) -> usize {
        match self.bytes {
            [first, rest @ ..] => {
                self.bytes = rest;
                usize::from(*first) % count
            }
            [] => 0,
        }
    }

    fn one<'t>(&mut self, spellings: &[&'t str]) -> &'t str {
        spellings[self.below(spellings.len())]
    }

    /// White space that may be left out.
    fn sws(&mut self) -> &'static str {
        self.one(&["", "", "", " ", "\t", "  ", "\r\n ", "\r\n\t", " \r\n  "])
    }

    /// White space that may not.
    fn lws(&mut self) -> &'static str {
        self.one(&[" ", " ", "  ", "\t", "\r\n ", " \r\n\t "])
    }

    fn case(&mut self, text: &str) -> String {
        match self.below(4) {
            0 | 1 => text.to_owned(),
            2 => text.to_ascii_uppercase(),
            _ => text.to_ascii_lowercase(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct SpelledUri {
    pub scheme: &'static str,
    pub user: Option<&'static str>,
    pub password: Option<&'static str>,
    pub host: &'static str,
    pub port: Option<u16>,
    pub params: Vec<(&'static str, Option<&'static str>)>,
    pub headers: &'static str,
}

impl SpelledUri {
    /// As it is written: a URI has one spelling, what is chosen is left to whoever makes it.
    pub fn text(&self) -> String {
        let mut text = format!("{}:", self.scheme);
        if let Some(user) = self.user {
            text.push_str(user);
            if let Some(password) = self.password {
                text.push(':');
                text.push_str(password);
            }
            text.push('@');
        }
        text.push_str(self.host);
        if let Some(port) = self.port {
            text.push_str(&format!(":{port}"));
        }
        for (name, value) in &self.params {
            text.push_str(&format!(";{name}"));
            if let Some(value) = value {
                text.push_str(&format!("={value}"));
            }
        }
        if !self.headers.is_empty() {
            text.push_str(&format!("?{}", self.headers));
        }
        text
    }

    fn reading(&self) -> String {
        let params: Vec<_> = self
            .params
            .iter()
            .map(|(name, value)| match value {
                Some(value) if *name == "transport" => format!("{name}={}", value.to_ascii_lowercase()),
                Some(value) => format!("{name}={value}"),
                None => (*name).to_owned(),
            })
            .collect();
        format!(
            "{}:{}|{}|{}|{}|{}",
            self.scheme,
            self.user.unwrap_or_default(),
            self.password.filter(|_| self.user.is_some()).unwrap_or_default(),
            host(self.host),
            self.port.map(|port| port.to_string()).unwrap_or_default(),
            params.join(";"),
        )
    }

    /// Whether it may stand without angle brackets (RFC 3261 section 20).
    fn may_stand_bare(&self) -> bool {
        !self.text().contains([',', ';', '?'])
    }
}

#[derive(Clone, Debug)]
pub struct SpelledAddress {
    /// A display name as it is written: nothing, tokens, or a quoted string.
    pub display: &'static str,
    pub uri: SpelledUri,
    /// Parameters of the field: name, value as it is written.
    pub params: Vec<(&'static str, Option<&'static str>)>,
}

impl SpelledAddress {
    fn spell(&self, tag: Option<&str>, choices: &mut Choices<'_>) -> String {
        let mut text = String::new();
        if self.display.is_empty() && self.uri.may_stand_bare() && choices.below(2) == 1 {
            text.push_str(&self.uri.text());
        } else {
            text.push_str(self.display);
            if !self.display.is_empty() {
                // LAQUOT takes white space in; between tokens and it none is needed either.
                text.push_str(choices.one(&[" ", " ", "", "\t", "\r\n "]));
            }
            text.push_str(&format!("<{}>", self.uri.text()));
        }
        let mut params: Vec<(&str, Option<&str>)> = self.params.clone();
        if let Some(tag) = tag {
            let place = choices.below(params.len() + 1);
            params.insert(place, ("tag", Some(tag)));
        }
        spell_params(&params, &mut text, choices);
        text
    }
}

fn spell_params(params: &[(&str, Option<&str>)], text: &mut String, choices: &mut Choices<'_>) {
    for (name, value) in params {
        text.push_str(&format!("{};{}{}", choices.sws(), choices.sws(), choices.case(name)));
        if let Some(value) = value {
            text.push_str(&format!("{}={}{value}", choices.sws(), choices.sws()));
        }
    }
}

#[derive(Clone, Debug)]
pub struct SpelledVia {
    pub transport: &'static str,
    pub host: &'static str,
    pub port: Option<u16>,
    pub branch: Option<&'static str>,
    pub received: Option<&'static str>,
    /// `Some(None)`: an `rport` without a value.
    pub rport: Option<Option<&'static str>>,
    pub other: Vec<(&'static str, Option<&'static str>)>,
}

impl SpelledVia {
    fn spell(&self, choices: &mut Choices<'_>) -> String {
        let mut text = choices.case("SIP");
        for part in ["2.0", self.transport] {
            text.push_str(&format!("{}/{}{part}", choices.sws(), choices.sws()));
        }
        text.push_str(choices.lws());
        text.push_str(self.host);
        if let Some(port) = self.port {
            text.push_str(&format!("{}:{}{port}", choices.sws(), choices.sws()));
        }
        let mut params: Vec<(&str, Option<&str>)> = self.other.clone();
        for (name, value) in
            [("branch", self.branch.map(Some)), ("received", self.received.map(Some)), ("rport", self.rport)]
        {
            if let Some(value) = value {
                let place = choices.below(params.len() + 1);
                params.insert(place, (name, value));
            }
        }
        spell_params(&params, &mut text, choices);
        text
    }
}

#[derive(Clone, Debug)]
pub enum First {
    Request(&'static str, SpelledUri),
    Status(u16, &'static str, &'static str),
}

#[derive(Clone, Debug)]
pub enum Contacts {
    Star,
    /// Each with its `expires`.
    List(Vec<(SpelledAddress, Option<u32>)>),
}

#[derive(Clone, Debug)]
pub enum Body {
    None,
    Sdp,
    Text,
    /// The session description is the second part.
    Multipart,
}

pub const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

impl Body {
    fn text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Sdp => SDP.to_owned(),
            Self::Text => "From: nobody\r\n\r\nSIP/2.0 200 OK\r\n".to_owned(),
            Self::Multipart => format!(
                "preamble\r\n--a b\r\nContent-Type: text/plain\r\n\r\n--a bc\r\n--a b \r\ncontent-type :\r\n application/SDP\r\n\r\n{SDP}\r\n--a b--\r\n"
            ),
        }
    }

    fn content_type(&self, choices: &mut Choices<'_>) -> Option<String> {
        let (kind, subtype, params): (_, _, &[(&str, Option<&str>)]) = match self {
            Self::None => return None,
            Self::Sdp => ("application", "sdp", &[]),
            Self::Text => ("text", "plain", &[("charset", Some("UTF-8"))]),
            Self::Multipart => {
                ("multipart", "mixed", &[("x", Some("\"boundary=z;\"")), ("boundary", Some("\"a b\""))])
            }
        };
        let mut text =
            format!("{}{}/{}{}", choices.case(kind), choices.sws(), choices.sws(), choices.case(subtype));
        spell_params(params, &mut text, choices);
        Some(text)
    }

    /// What the session description of it is.
    pub fn sdp(&self) -> Option<&'static str> {
        matches!(self, Self::Sdp | Self::Multipart).then_some(SDP)
    }
}

#[derive(Clone, Debug)]
pub struct SpelledMessage {
    pub first: First,
    pub vias: Vec<SpelledVia>,
    pub from: SpelledAddress,
    pub from_tag: Option<&'static str>,
    pub to: SpelledAddress,
    pub to_tag: Option<&'static str>,
    pub call_id: &'static str,
    pub cseq: u32,
    pub contacts: Contacts,
    pub expires: Option<u32>,
    /// Lines that say nothing that is read here, whole with their line ends.
    pub others: Vec<&'static str>,
    pub body: Body,
}

fn or_absent<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

impl SpelledMessage {
    fn method(&self) -> &'static str {
        match self.first {
            First::Request(method, _) | First::Status(_, _, method) => method,
        }
    }

    /// One of its spellings.
    pub fn spell(&self, choices: &mut Choices<'_>) -> String {
        let mut fields: Vec<(&str, &str, Vec<String>)> = Vec::new();
        let vias: Vec<String> = self.vias.iter().map(|via| via.spell(choices)).collect();
        fields.push(("Via", "v", vias));
        fields.push(("From", "f", vec![self.from.spell(self.from_tag, choices)]));
        fields.push(("To", "t", vec![self.to.spell(self.to_tag, choices)]));
        fields.push(("Call-ID", "i", vec![self.call_id.to_owned()]));
        let number = format!("{}{}", choices.one(&["", "", "", "0", "000"]), self.cseq);
        fields.push(("CSeq", "CSeq", vec![format!("{number}{}{}", choices.lws(), self.method())]));
        match &self.contacts {
            Contacts::Star => fields.push(("Contact", "m", vec!["*".to_owned()])),
            Contacts::List(contacts) if !contacts.is_empty() => {
                let values = contacts.iter().map(|(address, expires)| {
                    let mut text = address.spell(None, choices);
                    if let Some(expires) = expires {
                        spell_params(&[("expires", Some(&expires.to_string()))], &mut text, choices);
                    }
                    text
                });
                fields.push(("Contact", "m", values.collect()));
            }
            Contacts::List(_) => {}
        }
        if let Some(expires) = self.expires {
            fields.push(("Expires", "Expires", vec![expires.to_string()]));
        }
        let body = self.body.text();
        if let Some(content_type) = self.body.content_type(choices) {
            fields.push(("Content-Type", "c", vec![content_type]));
        }
        let length = format!("{}{}", choices.one(&["", "", "00"]), body.len());
        fields.push(("Content-Length", "l", vec![length]));
        let mut lines = Vec::new();
        for (long, compact, values) in fields {
            lines.push(spell_field(long, compact, &values, choices));
        }
        for other in &self.others {
            let place = choices.below(lines.len() + 1);
            lines.insert(place, (*other).to_owned());
        }
        // Any order will do.
        for place in 1..lines.len() {
            if choices.below(3) == 1 {
                let other = choices.below(place);
                lines.swap(place, other);
            }
        }
        let first = match &self.first {
            First::Request(method, uri) => format!("{method} {} {}\r\n", uri.text(), choices.case("SIP/2.0")),
            First::Status(status, reason, _) => format!("{} {status} {reason}\r\n", choices.case("SIP/2.0")),
        };
        format!("{first}{}\r\n{body}", lines.concat())
    }

    /// What everybody must read of it, however it is spelled.
    pub fn reading(&self) -> Reading {
        let mut reading = Reading::new();
        let (status, uri) = match &self.first {
            First::Request(_, uri) => (None, Some(uri.reading())),
            First::Status(status, ..) => (Some(*status), None),
        };
        reading.insert("method", self.method().to_owned());
        reading.insert("status", or_absent(status));
        reading.insert("request-uri", or_absent(uri));
        reading.insert("call-id", self.call_id.to_owned());
        reading.insert("cseq", self.cseq.to_string());
        reading.insert("from", self.from.uri.reading());
        reading.insert("from-tag", or_absent(self.from_tag));
        reading.insert("to", self.to.uri.reading());
        reading.insert("to-tag", or_absent(self.to_tag));
        let via = &self.vias[0];
        reading.insert("via-transport", via.transport.to_owned());
        reading.insert("via-host", host(via.host));
        reading.insert("via-port", or_absent(via.port));
        reading.insert("via-branch", or_absent(via.branch));
        reading.insert("via-received", or_absent(via.received.map(host)));
        reading.insert("via-rport", or_absent(via.rport.flatten()));
        reading.insert("vias", self.vias.len().to_string());
        let contacts: Vec<String> = match &self.contacts {
            Contacts::Star => vec!["*".to_owned()],
            Contacts::List(contacts) => contacts
                .iter()
                .map(|(address, expires)| format!("{} {expires:?}", address.uri.reading()))
                .collect(),
        };
        reading.insert("contacts", contacts.join(", "));
        reading.insert("expires", or_absent(self.expires));
        let body = self.body.text();
        reading.insert("content-length", body.len().to_string());
        reading.insert("body", body);
        reading
    }
}

/// The values of one field: in one line or in several, under any of its names.
fn spell_field(long: &str, compact: &str, values: &[String], choices: &mut Choices<'_>) -> String {
    let mut lines = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 && choices.below(2) == 1 {
            lines.push_str(&format!("{},{}{value}", choices.sws(), choices.sws()));
            continue;
        }
        if index > 0 {
            lines.push_str("\r\n");
        }
        let name = match choices.below(3) {
            1 => choices.case(compact),
            _ => choices.case(long),
        };
        lines.push_str(&format!(
            "{name}{}:{}{value}",
            choices.one(&["", "", "", " ", "\t "]),
            match choices.below(4) {
                0 | 1 => " ",
                _ => choices.sws(),
            }
        ));
    }
    lines.push_str(choices.one(&["", " ", "\t"]));
    lines.push_str("\r\n");
    lines
}
