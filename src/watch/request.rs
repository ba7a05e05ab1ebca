//! SUBSCRIBE as bytes, and the dialog that it is sent in.
//! In: what is due, what the server's messages say of the dialog. Out: the request. Knows nothing of states,
//! transactions, sockets.
//! RFC 6665 section 4.1, RFC 3261 section 12.

use std::collections::VecDeque;

use crate::base::{Random, Transport};
use crate::presence::EventPackage;
use crate::sip::write::{self, Header, RequestMethod, WriteError, header, tagged, via};
use crate::sip::{HeaderName, NameAddr, OWN_CALL_ID_PREFIX, SipMessage};

use super::WatchOptions;

/// Proxies between us and the server that are believed.
const MAX_ROUTES: usize = 16;
/// NOTIFYs whose answers are remembered, for when they come again.
const MAX_ANSWERED: usize = 8;

/// The user part of Contact, and of From without credentials.
const USER: &str = "offhook";

/// A dialog of a subscription, seen from the subscriber.
#[derive(Debug)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    local_tag: String,
    remote_tag: Option<String>,
    target: Option<String>,
    routes: Vec<String>,
    cseq: u32,
    remote_cseq: Option<u32>,
    /// Branches and answers, the newest last.
    answered: VecDeque<(Vec<u8>, u16)>,
}

/// What a NOTIFY is to its dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It is the next one.
    Next,
    /// It came before and was answered so.
    Again(u16),
    /// One with a higher CSeq came before it.
    Late,
    /// It is of another dialog.
    Stranger,
}

impl Dialog {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            call_id: format!("{OWN_CALL_ID_PREFIX}{}{}", random.token(), random.token()),
            local_tag: random.token(),
            remote_tag: None,
            target: None,
            routes: Vec::new(),
            cseq: 0,
            remote_cseq: None,
            answered: VecDeque::new(),
        }
    }

    /// Takes in what a 2xx to SUBSCRIBE says of the dialog. That of another than the NOTIFYs' notifier is not believed.
    pub(super) fn learn_from_answer(&mut self, response: &SipMessage<'_>) {
        if self.accepts(response.to_tag()) {
            let routes = record_route(response).rev().collect();
            self.learn(response, response.to_tag(), routes);
        }
    }

    fn accepts(&self, tag: Option<&[u8]>) -> bool {
        tag.is_some() && self.remote_tag.as_ref().is_none_or(|known| Some(known.as_bytes()) == tag)
    }

    fn learn(&mut self, message: &SipMessage<'_>, tag: Option<&[u8]>, routes: Vec<String>) {
        if self.remote_tag.is_none() {
            self.remote_tag = tag.and_then(text);
            self.routes = routes;
        }
        let contact = message.contacts().next().and_then(|contact| text(contact.addr.uri));
        self.target = contact.or_else(|| self.target.take());
    }

    /// Says what a NOTIFY with this Call-ID is, and takes in what the next one says of the dialog.
    pub(super) fn order(&mut self, notify: &SipMessage<'_>) -> Order {
        let ours = notify.to_tag() == Some(self.local_tag.as_bytes());
        if !ours || !self.accepts(notify.from_tag()) {
            return Order::Stranger;
        }
        let branch = notify.top_branch();
        if let Some(&(_, status)) = self.answered.iter().find(|(known, _)| known == branch) {
            return Order::Again(status);
        }
        let number = notify.cseq().number;
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return Order::Late;
        }
        self.remote_cseq = Some(number);
        let routes = record_route(notify).collect();
        self.learn(notify, notify.from_tag(), routes);
        Order::Next
    }

    /// Remembers how a NOTIFY was answered.
    pub(super) fn answered(&mut self, notify: &SipMessage<'_>, status: u16) {
        if self.answered.len() >= MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back((notify.top_branch().to_vec(), status));
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn record_route<'a>(message: &SipMessage<'a>) -> impl DoubleEndedIterator<Item = String> + use<'a> {
    let uris = message.values(HeaderName::RecordRoute).filter_map(NameAddr::parse);
    let routes: Vec<String> =
        uris.filter_map(|route| text(route.uri)).take(MAX_ROUTES).map(|uri| format!("<{uri}>")).collect();
    routes.into_iter()
}

/// The Request-URI: the server's Contact as soon as it is known, else whom we watch.
pub(super) fn request_uri<'a>(dialog: &'a Dialog, aor: &'a str) -> &'a str {
    dialog.target.as_deref().unwrap_or(aor)
}

/// The next SUBSCRIBE of the dialog.
pub(super) fn subscribe(
    options: &WatchOptions,
    dialog: &mut Dialog,
    (aor, event): (&str, EventPackage),
    branch: &str,
    expires_s: u32,
    credentials: Vec<Header>,
) -> Result<Vec<u8>, WriteError> {
    dialog.cseq = dialog.cseq.wrapping_add(1) & 0x7fff_ffff;
    let transport = options.hop.transport;
    let contact = match transport {
        Transport::Udp => format!("<sip:{USER}@{}>", options.contact),
        Transport::Tcp | Transport::Tls => {
            format!("<sip:{USER}@{};transport={transport}>", options.contact)
        }
    };
    let mut headers = vec![
        via(transport.via_name(), options.contact, branch),
        Header::MaxForwards("70".to_owned().into()),
        Header::From(tagged(&watcher(options, aor), Some(&dialog.local_tag)).into()),
        Header::To(tagged(aor, dialog.remote_tag.as_deref()).into()),
        Header::CallId(dialog.call_id.clone().into()),
        Header::CSeq(format!("{} SUBSCRIBE", dialog.cseq).into()),
        Header::Contact(contact.into()),
        Header::Event(event.name().to_owned().into()),
        Header::Accept(event.content_type().to_owned().into()),
        Header::Expires(expires_s.to_string().into()),
        Header::UserAgent(concat!("offhook/", env!("CARGO_PKG_VERSION")).to_owned().into()),
    ];
    headers.extend(dialog.routes.iter().map(|route| header("Route", route.clone())));
    headers.extend(credentials);
    write::request(RequestMethod::Subscribe, request_uri(dialog, aor), headers, b"")
}

/// Who we say that we are: the digest user, in the domain of whom we watch.
fn watcher(options: &WatchOptions, aor: &str) -> String {
    let user = options.user.as_deref().unwrap_or(USER);
    let host = aor.strip_prefix("sip:").map(|rest| rest.split_once('@').map_or(rest, |(_, host)| host));
    match host {
        Some(host) => format!("sip:{user}@{host}"),
        None => format!("sip:{user}@{}", options.hop.remote),
    }
}
