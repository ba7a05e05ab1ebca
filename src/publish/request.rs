//! PUBLISH, and REGISTER with a body, as bytes.
//! In: what is due. Out: the request. Knows nothing of states, transactions, sockets.
//! RFC 3903 section 4, RFC 3261 section 10.2.

use std::borrow::Cow;

use crate::base::Hop;
use crate::presence::EventPackage;
use crate::publish::operation::Due;
use crate::publish::options::PublishMethod;
use crate::sip::authenticator::Authenticator;
use crate::sip::write::{self, Header, RequestMethod, WriteError, header, tagged, via};
use crate::sip::{Aor, HeaderName, SipMessage};

/// What the header says besides the operation.
pub(crate) struct Head<'a> {
    pub(crate) method: PublishMethod,
    pub(crate) branch: &'a str,
    pub(crate) aor: &'a Aor,
    pub(crate) from: &'a str,
    pub(crate) from_tag: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) event: EventPackage,
}

/// A request that can be written for any way that it may take.
pub(crate) struct Request<'a> {
    head: &'a Head<'a>,
    due: &'a Due,
    uri: Cow<'a, str>,
    credentials: Vec<Header>,
}

impl<'a> Request<'a> {
    /// Nonces that the server gave before are answered at once: no round trip for a challenge.
    pub(crate) fn new(head: &'a Head<'a>, due: &'a Due, authenticator: &mut Authenticator) -> Self {
        let uri = match (head.method, head.aor.domain()) {
            // The domain of the location service, without a user (RFC 3261 section 10.2).
            (PublishMethod::Register, Some(domain)) => Cow::Owned(format!("sip:{domain}")),
            (PublishMethod::Publish | PublishMethod::Register, _) => write::uri_text(head.aor.as_str()),
        };
        let credentials = authenticator.headers(head.method.sip().name(), &uri);
        Self { head, due, uri, credentials }
    }

    /// Its bytes, with the Via for this hop.
    pub(crate) fn over(&self, hop: Hop) -> Result<Vec<u8>, WriteError> {
        let Self { head, due, uri, credentials } = self;
        let mut headers = vec![
            via(hop.transport.via_name(), hop.local, head.branch),
            Header::MaxForwards("70".to_owned().into()),
            Header::From(tagged(head.from, Some(head.from_tag)).into()),
            Header::To(tagged(head.aor.as_str(), None).into()),
            Header::CallId(head.call_id.to_owned().into()),
            Header::CSeq(format!("{} {}", head.cseq, head.method.sip().name()).into()),
            Header::Event(head.event.name().to_owned().into()),
            Header::Expires(due.expires_s.to_string().into()),
            Header::UserAgent(concat!("offhook/", env!("CARGO_PKG_VERSION")).to_owned().into()),
        ];
        if let Some(entity_tag) = &due.entity_tag {
            headers.push(header("SIP-If-Match", entity_tag.clone()));
        }
        // A REGISTER that takes back says by it which package it means: it has no body to show that.
        if !due.body.is_empty() || head.method == PublishMethod::Register {
            headers.push(Header::ContentType(head.event.content_type().to_owned().into()));
        }
        headers.extend(credentials.iter().cloned());
        let method = match head.method {
            PublishMethod::Publish => RequestMethod::Publish,
            PublishMethod::Register => RequestMethod::Register,
        };
        write::request(method, uri, headers, &due.body)
    }
}

/// SIP-ETag (RFC 3903 section 11.3.1), if it is one token.
pub(crate) fn entity_tag(message: &SipMessage<'_>) -> Option<String> {
    let text = std::str::from_utf8(message.header(HeaderName::SipEtag)?).ok()?;
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then(|| text.to_owned())
}
