//! What every request is checked for, and what it is answered with.
//! In: a request. Out: what it asks for, or why not. Knows nothing of publications, subscriptions.
//! Statuses after RFC 3261 section 8.2, RFC 3903 section 6, RFC 6665 section 4.2.1.

use crate::presence::EventPackage;
use crate::sip::write::{Header, header, quoted};
use crate::sip::{Aor, HeaderName, Method, Scheme, SipMessage, Uri};

/// The methods that are taken.
pub(super) const ALLOW: &str = "PUBLISH, SUBSCRIBE, REGISTER, OPTIONS, ACK";

/// A final response, before it is written.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<Header>,
    /// The tag of a dialog that it makes; any other if `None`.
    pub(super) to_tag: Option<String>,
}

impl Answer {
    pub(super) const fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), to_tag: None }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push(header(name, value));
        self
    }

    /// With a sentence for people (RFC 3261 section 20.43).
    pub(super) fn because(self, why: &str) -> Self {
        let visible: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        let text = quoted(&visible);
        self.with("Warning", format!("399 offhook {text}"))
    }
}

/// The packages, as Allow-Events lists them.
pub(super) fn allow_events() -> String {
    EventPackage::ALL.map(EventPackage::name).join(", ")
}

/// The media types of their documents, as Accept lists them.
pub(super) fn accept() -> String {
    EventPackage::ALL.map(EventPackage::content_type).join(", ")
}

/// What holds for any request whose body counts.
pub(super) fn sound(request: &SipMessage<'_>) -> Result<(), Answer> {
    let malformed = |why| Err(Answer::new(400).because(why));
    if !request.headers_are_whole() {
        return malformed("The header section does not end.");
    }
    if matches!(request.content_length(), Some(Err(()))) {
        return malformed("Content-Length is not a number.");
    }
    if !request.body_is_whole() {
        return malformed("The body is shorter than Content-Length says.");
    }
    if request.from_tag().is_none() {
        return malformed("From has no tag.");
    }
    let required: Vec<String> = request
        .values(HeaderName::Require)
        .map(|option| String::from_utf8_lossy(option).into_owned())
        .collect();
    // Nothing is supported that somebody could require.
    if !required.is_empty() && request.method() != Some(Method::Ack) {
        return Err(Answer::new(420).with("Unsupported", required.join(", ")));
    }
    Ok(())
}

/// The address of record that a URI names.
pub(super) fn presentity(uri: &[u8]) -> Result<Aor, Answer> {
    let unreadable = || Answer::new(400).because("The URI of the presentity cannot be read.");
    match Uri::parse(uri).ok_or_else(unreadable)?.scheme {
        Scheme::Sip | Scheme::Sips => Aor::from_uri(uri).ok_or_else(unreadable),
        Scheme::Tel | Scheme::Other => Err(Answer::new(416)),
    }
}

/// The package in Event.
pub(super) fn package(request: &SipMessage<'_>) -> Result<EventPackage, Answer> {
    let named = request.event().unwrap_or_default();
    let known = EventPackage::ALL.into_iter().find(|package| package.name().as_bytes() == named);
    known.ok_or_else(|| Answer::new(489).with("Allow-Events", allow_events()))
}

/// The shortest and the longest time that is granted, in seconds, and the one for who does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    pub(super) min_s: u32,
    pub(super) max_s: u32,
    pub(super) default_s: u32,
}

impl Expiry {
    /// The time that is granted, in seconds; 0 ends what there is.
    pub(super) fn granted(self, request: &SipMessage<'_>) -> Result<u32, Answer> {
        match request.expires() {
            None => Ok(self.default_s),
            Some(0) => Ok(0),
            Some(asked) if asked < self.min_s => {
                Err(Answer::new(423).with("Min-Expires", self.min_s.to_string()))
            }
            Some(asked) => Ok(asked.min(self.max_s)),
        }
    }
}

/// The media type in Content-Type, in lower case, without parameters.
pub(super) fn media_type(request: &SipMessage<'_>) -> Option<String> {
    request.header(HeaderName::ContentType).map(bare_media_type)
}

fn bare_media_type(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let bare: String = text.split(';').next().unwrap_or_default().split_whitespace().collect();
    bare.to_ascii_lowercase()
}

/// Whoever asks takes documents of this package: Accept names their type or leaves it open.
pub(super) fn accepted(request: &SipMessage<'_>, package: EventPackage) -> Result<(), Answer> {
    if request.header(HeaderName::Accept).is_none() {
        return Ok(());
    }
    let wanted = package.content_type();
    let takes = request
        .values(HeaderName::Accept)
        .map(bare_media_type)
        .any(|range| range == wanted || range == "application/*" || range == "*/*");
    if takes { Ok(()) } else { Err(Answer::new(406).with("Accept", wanted)) }
}

/// The document that a request carries is one of this package, and one that is read here.
pub(super) fn document_type(request: &SipMessage<'_>, package: EventPackage) -> Result<(), Answer> {
    if media_type(request).as_deref() != Some(package.content_type()) {
        return Err(Answer::new(415).with("Accept", package.content_type()));
    }
    unencoded(request)
}

/// The body stands as it is.
pub(super) fn unencoded(request: &SipMessage<'_>) -> Result<(), Answer> {
    let plain = |encoding: &[u8]| encoding.eq_ignore_ascii_case(b"identity");
    match request.header(HeaderName::ContentEncoding) {
        Some(encoding) if !plain(encoding) => Err(Answer::new(415).with("Accept-Encoding", "identity")),
        _ => Ok(()),
    }
}
