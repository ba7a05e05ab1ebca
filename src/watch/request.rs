//! SUBSCRIBE as bytes, and the dialog that it is sent in.
//! In: what is due, what the server's messages say of the dialog. Out: the request. Knows nothing of states,
//! transactions, sockets.
//! RFC 6665 section 4.1, RFC 3261 section 12.

use std::collections::VecDeque;

use crate::base::{Hop, Random};
use crate::presence::EventPackage;
use crate::sip::dialog::{self, OWN_USER};
use crate::sip::write::{self, Header, RequestMethod, WriteError, tagged, via};
use crate::sip::{OWN_CALL_ID_PREFIX, SipMessage};

use super::WatchOptions;

/// NOTIFYs whose answers are remembered, for when they come again.
const MAX_ANSWERED: usize = 8;

/// A dialog of a subscription, seen from the subscriber.
#[derive(Debug)]
pub(super) struct Dialog {
    inner: dialog::Dialog,
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
        let call_id = format!("{OWN_CALL_ID_PREFIX}{}{}", random.token(), random.token());
        Self { inner: dialog::Dialog::new(call_id, random.token()), answered: VecDeque::new() }
    }

    pub(super) fn call_id(&self) -> &str {
        self.inner.call_id()
    }

    /// Takes in what a 2xx to SUBSCRIBE says of the dialog. That of another than the NOTIFYs' notifier is not believed.
    pub(super) fn learn_from_answer(&mut self, response: &SipMessage<'_>) {
        self.inner.learn_from_answer(response);
    }

    /// Says what a NOTIFY with this Call-ID is, and takes in what the next one says of the dialog.
    pub(super) fn order(&mut self, notify: &SipMessage<'_>) -> Order {
        let branch = notify.top_branch();
        if self.inner.is_of(notify)
            && let Some(&(_, status)) = self.answered.iter().find(|(known, _)| known == branch)
        {
            return Order::Again(status);
        }
        match self.inner.order(notify) {
            dialog::Order::Next => Order::Next,
            dialog::Order::Late => Order::Late,
            dialog::Order::Stranger => Order::Stranger,
        }
    }

    /// Remembers how a NOTIFY was answered.
    pub(super) fn answered(&mut self, notify: &SipMessage<'_>, status: u16) {
        if self.answered.len() >= MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back((notify.top_branch().to_vec(), status));
    }

    /// The Request-URI: the server's Contact as soon as it is known, else whom we watch.
    pub(super) fn request_uri(&self, aor: &str) -> String {
        self.inner.way(aor).0
    }
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
    let dialog = &mut dialog.inner;
    let transport = options.hop.transport;
    let (uri, routes) = dialog.way(aor);
    let mut headers = vec![
        via(transport.via_name(), options.contact, branch),
        Header::MaxForwards("70".to_owned().into()),
        Header::From(tagged(&watcher(options, aor), Some(dialog.local_tag())).into()),
        Header::To(tagged(aor, dialog.remote_tag()).into()),
        Header::CallId(dialog.call_id().to_owned().into()),
        Header::CSeq(format!("{} SUBSCRIBE", dialog.next_cseq()).into()),
        Header::Contact(dialog::own_contact(Hop { local: options.contact, ..options.hop }).into()),
        Header::Event(event.name().to_owned().into()),
        Header::Accept(event.content_type().to_owned().into()),
        Header::Expires(expires_s.to_string().into()),
        Header::UserAgent(concat!("offhook/", env!("CARGO_PKG_VERSION")).to_owned().into()),
    ];
    headers.extend(routes);
    headers.extend(credentials);
    write::request(RequestMethod::Subscribe, &uri, headers, b"")
}

/// Who we say that we are: the digest user, in the domain of whom we watch.
fn watcher(options: &WatchOptions, aor: &str) -> String {
    let user = options.user.as_deref().unwrap_or(OWN_USER);
    let host = aor.strip_prefix("sip:").map(|rest| rest.split_once('@').map_or(rest, |(_, host)| host));
    match host {
        Some(host) => format!("sip:{user}@{host}"),
        None => format!("sip:{user}@{}", options.hop.remote),
    }
}
