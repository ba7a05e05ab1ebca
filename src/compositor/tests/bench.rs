//! A server, and peers that write to it.

use std::net::SocketAddr;

use super::super::*;
use crate::base::Transport;
use crate::presence::pidf::{self, Facet};
use crate::presence::{BindingView, DialogView, EventPackage, Session, Terminal, dialog_info};
use crate::sip::write::{self, Header, RequestMethod, header};
use crate::track::DialogState;

pub(super) const START: Timestamp = Timestamp::from_secs(1_000);

pub(super) fn alice() -> Aor {
    Aor::from_uri(b"sip:alice@example.com").unwrap()
}

pub(super) fn udp(port: u16) -> Hop {
    Hop {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: SocketAddr::new("192.0.2.7".parse().unwrap(), port),
    }
}

/// A message that the server sent, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) hop: Hop,
    pub(super) text: String,
}

impl Got {
    pub(super) fn status(&self) -> Option<u16> {
        self.text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(super) fn fields(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    }

    pub(super) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub(super) fn is_notify(&self) -> bool {
        self.text.starts_with("NOTIFY ")
    }
}

/// The server, and the time.
pub(super) struct Bench {
    pub(super) server: PresenceServer,
    pub(super) now: Timestamp,
    /// All NOTIFYs so far.
    pub(super) heard: Vec<Got>,
    numbers: u32,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(PresenceServerOptions::new([7; 32]), &Limits::default())
    }

    pub(super) fn with(options: PresenceServerOptions, limits: &Limits) -> Self {
        Self { server: PresenceServer::new(options, limits), now: START, heard: Vec::new(), numbers: 0 }
    }

    pub(super) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// All that the server has to send now.
    pub(super) fn drain(&mut self) -> Vec<Got> {
        let sent: Vec<Got> = std::iter::from_fn(|| self.server.poll_transmit())
            .map(|sent| Got { hop: sent.hop, text: String::from_utf8(sent.bytes).unwrap() })
            .collect();
        self.heard.extend(sent.iter().filter(|sent| sent.is_notify()).cloned());
        sent
    }

    pub(super) fn send(&mut self, hop: Hop, bytes: &[u8]) -> Vec<Got> {
        self.server.handle_message(self.now, hop, bytes);
        self.drain()
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, how_long: Duration) -> Vec<Got> {
        let until = self.now.after(how_long);
        let mut sent = Vec::new();
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= until) {
            assert!(at > self.now || self.now == START || at == self.now, "time goes on");
            self.now = at.max(self.now);
            self.server.handle_timeout(self.now);
            sent.extend(self.drain());
        }
        self.now = until;
        sent
    }

    pub(super) fn status(&self) -> (Terminal, Session) {
        self.server.state(&alice()).map_or_else(Default::default, |state| (state.terminal, state.session))
    }

    /// A request from the usual peer; the answer comes first.
    pub(super) fn ask(&mut self, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<Got> {
        let number = self.number();
        let bytes = request(method, "sip:alice@example.com", number, headers, body);
        self.send(udp(5070), &bytes)
    }

    /// A publication; gives the answer.
    pub(super) fn publish(
        &mut self,
        package: EventPackage,
        tag: Option<&str>,
        expires_s: u32,
        body: &[u8],
    ) -> Got {
        let expires = expires_s.to_string();
        let mut headers = vec![("Event", package.name()), ("Expires", &expires)];
        headers.extend(tag.map(|tag| ("SIP-If-Match", tag)));
        if !body.is_empty() {
            headers.push(("Content-Type", package.content_type()));
        }
        self.ask("PUBLISH", &headers, body).remove(0)
    }
}

/// A request as its writer would write it. `headers` replace the usual ones of the same name; an empty value leaves
/// the field out.
pub(super) fn request(
    method: &str,
    uri: &str,
    number: u32,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let cseq = format!("{number} {method}");
    let via = format!("SIP/2.0/UDP 192.0.2.7:5070;rport;branch=z9hG4bKb{number}");
    let call_id = format!("call-{number}");
    let usual = [
        ("Via", &*via),
        ("Max-Forwards", "70"),
        ("From", "<sip:peer@example.com>;tag=peer"),
        ("To", "<sip:alice@example.com>"),
        ("Call-ID", &call_id),
        ("CSeq", &cseq),
    ];
    let mut fields: Vec<Header> = Vec::new();
    for (name, value) in usual {
        if headers.iter().all(|(given, _)| *given != name) {
            fields.push(header(name, value));
        }
    }
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        fields.push(header(name, *value));
    }
    let method: RequestMethod = method.parse().unwrap();
    write::request(method, uri, fields, body).unwrap()
}

/// A dialog of Alice's.
pub(super) fn dialog(call: u64, state: DialogState) -> DialogView {
    let call_id = format!("call-{call}@192.0.2.9").into();
    DialogView { call_id, ..DialogView::to_bob(call, state) }
}

/// What a tap knows of Alice.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) registered: Terminal,
    pub(super) contacts: Vec<&'static str>,
    pub(super) dialogs: Vec<DialogView>,
}

impl Known {
    pub(super) fn online() -> Self {
        Self { registered: Terminal::Online, contacts: vec!["sip:alice@192.0.2.50"], dialogs: Vec::new() }
    }

    pub(super) fn offline() -> Self {
        Self { registered: Terminal::Offline, ..Self::default() }
    }

    pub(super) fn with(mut self, dialogs: &[DialogView]) -> Self {
        self.dialogs = dialogs.to_vec();
        self
    }

    fn state(&self) -> PresentityState {
        let session = self
            .dialogs
            .iter()
            .map(|dialog| match (dialog.state, dialog.held) {
                (DialogState::Trying, _) => Session::Calling,
                (DialogState::Early, _) => Session::Ringing,
                (DialogState::Confirmed, false) => Session::Talking,
                (DialogState::Confirmed, true) => Session::Held,
                (DialogState::Terminated, _) => Session::Idle,
            })
            .max()
            .unwrap_or_default();
        let talking = matches!(session, Session::Talking | Session::Held);
        let terminal = match self.registered {
            Terminal::Offline if talking => Terminal::OfflineWaiting,
            Terminal::Unknown if talking => Terminal::Online,
            registered => registered,
        };
        let binding = |contact: &&str| BindingView {
            contact: (*contact).into(),
            user_agent: None,
            expires_at: Timestamp::MAX,
        };
        PresentityState {
            terminal,
            registered: self.registered,
            session,
            bindings: self.contacts.iter().map(binding).collect(),
            ..PresentityState::default()
        }
    }

    pub(super) fn pidf(&self, facet: Facet) -> Vec<u8> {
        pidf::document(&alice(), &self.state(), &self.dialogs, facet, Some(START), 16)
    }

    pub(super) fn dialog_info(&self) -> Vec<u8> {
        let options =
            DialogInfoOptions { placeholder: true, remote_identity: true, dialogs_per_document: 16 };
        dialog_info::document(&alice(), &self.dialogs, 0, options)
    }
}

/// A publication of a tap's that lives on.
pub(super) struct Published {
    pub(super) package: EventPackage,
    pub(super) facet: Facet,
    pub(super) tag: Option<String>,
    pub(super) expires_s: u32,
}

impl Published {
    pub(super) const fn presence(facet: Facet) -> Self {
        Self { package: EventPackage::Presence, facet, tag: None, expires_s: 600 }
    }

    pub(super) const fn dialog() -> Self {
        Self { package: EventPackage::Dialog, facet: Facet::Combined, tag: None, expires_s: 600 }
    }

    pub(super) fn say(&mut self, bench: &mut Bench, known: &Known) {
        let body = match self.package {
            EventPackage::Presence => known.pidf(self.facet),
            EventPackage::Dialog => known.dialog_info(),
        };
        self.raw(bench, &body);
    }

    pub(super) fn raw(&mut self, bench: &mut Bench, body: &[u8]) {
        let answer = bench.publish(self.package, self.tag.as_deref(), self.expires_s, body);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        self.tag = answer.field("SIP-ETag").map(str::to_owned);
    }

    pub(super) fn refresh(&mut self, bench: &mut Bench) {
        self.raw(bench, b"");
    }

    pub(super) fn remove(&mut self, bench: &mut Bench) {
        let answer = bench.publish(self.package, self.tag.as_deref(), 0, b"");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        self.tag = None;
    }
}

/// The answer of a watcher.
pub(super) fn answer_to(request: &Got, status: u16) -> Vec<u8> {
    let mut scanner = Scanner::new(&Limits::default());
    let request = scanner.scan(request.text.as_bytes()).unwrap();
    write::response_to(&request, status, None, Vec::new(), b"").unwrap()
}
