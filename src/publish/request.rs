//! PUBLISH as bytes.
//! In: what is due. Out: the request. Knows nothing of states, transactions, sockets.
//! RFC 3903 section 4.

use std::net::SocketAddr;

use crate::presence::EventPackage;
use crate::publish::publication::Due;
use crate::sip::digest::{DigestSession, DigestUser};
use crate::sip::write::{self, Header, RequestMethod, WriteError, header, tagged, via};
use crate::sip::{HeaderName, SipMessage};

/// What the header of a PUBLISH says besides the operation.
pub(crate) struct Head<'a> {
    pub(crate) local: SocketAddr,
    pub(crate) branch: &'a str,
    pub(crate) aor: &'a str,
    pub(crate) from: &'a str,
    pub(crate) from_tag: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) event: EventPackage,
}

/// The request. Nonces that the server gave before are answered at once: no round trip for a challenge.
pub(crate) fn publish_request(
    head: &Head<'_>,
    due: &Due,
    credentials: Option<(&DigestUser, &mut [DigestSession])>,
) -> Result<Vec<u8>, WriteError> {
    let mut headers = vec![
        via("UDP", head.local, head.branch),
        Header::MaxForwards("70".to_owned().into()),
        Header::From(tagged(head.from, Some(head.from_tag)).into()),
        Header::To(tagged(head.aor, None).into()),
        Header::CallId(head.call_id.to_owned().into()),
        Header::CSeq(format!("{} PUBLISH", head.cseq).into()),
        Header::Event(head.event.name().to_owned().into()),
        Header::Expires(due.expires_s.to_string().into()),
        Header::UserAgent(concat!("offhook/", env!("CARGO_PKG_VERSION")).to_owned().into()),
    ];
    if let Some(entity_tag) = &due.entity_tag {
        headers.push(header("SIP-If-Match", entity_tag.clone()));
    }
    if !due.body.is_empty() {
        headers.push(Header::ContentType(head.event.content_type().to_owned().into()));
    }
    if let Some((who, sessions)) = credentials {
        let uri = write::uri_text(head.aor);
        for session in sessions {
            let answer = session.answer(who, "PUBLISH", &uri);
            headers.push(header(session.header_name(), answer));
        }
    }
    write::request(RequestMethod::Publish, head.aor, headers, &due.body)
}

/// SIP-ETag (RFC 3903 section 11.3.1), if it is one token.
pub(crate) fn entity_tag(message: &SipMessage<'_>) -> Option<String> {
    let text = std::str::from_utf8(message.header(HeaderName::SipEtag)?).ok()?;
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then(|| text.to_owned())
}
