//! One SIP message, read when asked.
//! In: what the scanner found. Out: views of header fields and body. Knows nothing of transactions and dialogs.

use super::headers::{AuthParams, CSeq, Challenge, Contact, Credentials, DigestSchemes, NameAddr, Via};
use super::lex::{Values, digits, is_space, leading_digits, seconds, split_once, trim};
use super::multipart;
use super::scan::Fields;
use super::{HeaderName, Method, Params, uri};

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartLine<'a> {
    Request { method: &'a [u8], uri: &'a [u8] },
    Status { status: u16, reason: &'a [u8] },
}

/// A message in which the scanner found all that every message has. It borrows the bytes and the
/// scanner's table, and reads other values when they are asked for. Values are trimmed, may contain
/// folds (CRLF and white space) and need not be UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct SipMessage<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) fields: &'a Fields,
    pub(super) start: StartLine<'a>,
    pub(super) call_id: &'a [u8],
    pub(super) cseq: CSeq,
    pub(super) cseq_method: &'a [u8],
    pub(super) from: NameAddr<'a>,
    pub(super) from_tag: Option<&'a [u8]>,
    pub(super) to: NameAddr<'a>,
    pub(super) to_tag: Option<&'a [u8]>,
    /// Its parameters are not read yet.
    pub(super) top_via: Via<'a>,
    pub(super) top_branch: &'a [u8],
    pub(super) via_count: usize,
    pub(super) headers_are_whole: bool,
    /// All that follows the header section.
    pub(super) rest: &'a [u8],
}

impl<'a> SipMessage<'a> {
    /// A request, not a response.
    pub const fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The method of a request. For a response ask [`Self::cseq`].
    pub const fn method(&self) -> Option<Method> {
        // The scanner refuses requests whose CSeq names another method.
        match self.start {
            StartLine::Request { .. } => Some(self.cseq.method),
            StartLine::Status { .. } => None,
        }
    }

    /// The method as written: of a request line, or of the CSeq of a response.
    pub const fn method_text(&self) -> &'a [u8] {
        self.cseq_method
    }

    /// The Request-URI as written, without angle brackets.
    pub const fn request_uri(&self) -> Option<&'a [u8]> {
        match self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Status { .. } => None,
        }
    }

    /// The status of a response, 100 to 699.
    pub const fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Status { status, .. } => Some(status),
            StartLine::Request { .. } => None,
        }
    }

    /// The reason phrase of a response, often empty.
    pub const fn reason(&self) -> &'a [u8] {
        match self.start {
            StartLine::Status { reason, .. } => reason,
            StartLine::Request { .. } => b"",
        }
    }

    /// The Call-ID, never empty.
    pub const fn call_id(&self) -> &'a [u8] {
        self.call_id
    }

    /// The CSeq.
    pub const fn cseq(&self) -> CSeq {
        self.cseq
    }

    /// The From field.
    pub const fn from(&self) -> NameAddr<'a> {
        self.from
    }

    /// The To field.
    pub const fn to(&self) -> NameAddr<'a> {
        self.to
    }

    /// The From tag; an empty one counts as none.
    pub const fn from_tag(&self) -> Option<&'a [u8]> {
        self.from_tag
    }

    /// The To tag; an empty one counts as none.
    pub const fn to_tag(&self) -> Option<&'a [u8]> {
        self.to_tag
    }

    /// The first Via: that of the hop the message is on.
    pub fn top_via(&self) -> Via<'a> {
        self.top_via.with_params_read()
    }

    /// All Via values of all Via fields that can be read, from the top.
    pub fn vias(&self) -> impl Iterator<Item = Via<'a>> + use<'a> {
        self.values(HeaderName::Via).filter_map(Via::parse)
    }

    /// How many [`Self::vias`] there are.
    pub const fn via_count(&self) -> usize {
        self.via_count
    }

    /// The branch of the first Via as written; empty when it has none.
    pub const fn top_branch(&self) -> &'a [u8] {
        self.top_branch
    }

    /// All Contact values of all Contact fields.
    pub fn contacts(&self) -> impl Iterator<Item = Contact<'a>> + use<'a> {
        self.values(HeaderName::Contact).map(Contact::parse)
    }

    /// The Expires field in seconds, saturating; `None` when absent or no number.
    pub fn expires(&self) -> Option<u32> {
        self.header(HeaderName::Expires).and_then(seconds)
    }

    /// The first field of this name.
    #[inline]
    pub fn header(&self, name: HeaderName) -> Option<&'a [u8]> {
        self.fields.first(name).map(|field| field.value(self.bytes))
    }

    /// All fields of this name, in their order.
    #[inline]
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.fields.named(name).map(move |field| field.value(bytes))
    }

    /// All values of all fields of this name, split at commas outside quotes and angle brackets.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers(name).flat_map(Values::new)
    }

    /// The digest credentials of Authorization and Proxy-Authorization.
    pub fn credentials(&self) -> impl Iterator<Item = Credentials<'a>> + use<'a> {
        let of = |message: &Self, name, proxy| {
            message
                .headers(name)
                .flat_map(DigestSchemes::new)
                .map(move |params| Credentials::read(params, proxy))
        };
        of(self, HeaderName::Authorization, false).chain(of(self, HeaderName::ProxyAuthorization, true))
    }

    /// Username and realm of the first of [`Self::credentials`].
    pub fn digest_user(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut fields =
            self.headers(HeaderName::Authorization).chain(self.headers(HeaderName::ProxyAuthorization));
        fields.find_map(|value| {
            let user = || DigestSchemes::new(value).next().map(AuthParams::user);
            AuthParams::user_in_front(value).or_else(user)
        })
    }

    /// The digest challenges of WWW-Authenticate and Proxy-Authenticate.
    pub fn challenges(&self) -> impl Iterator<Item = Challenge<'a>> + use<'a> {
        let of = |message: &Self, name, proxy| {
            message
                .headers(name)
                .flat_map(DigestSchemes::new)
                .map(move |params| Challenge::read(params, proxy))
        };
        of(self, HeaderName::WwwAuthenticate, false).chain(of(self, HeaderName::ProxyAuthenticate, true))
    }

    /// The interval of Session-Expires in seconds (RFC 4028 section 4).
    pub fn session_expires(&self) -> Option<u32> {
        self.header(HeaderName::SessionExpires).and_then(|value| seconds(before_params(value)))
    }

    /// Min-Expires in seconds.
    pub fn min_expires(&self) -> Option<u32> {
        self.header(HeaderName::MinExpires).and_then(seconds)
    }

    /// Retry-After in seconds, without its comment and parameters (RFC 3261 section 20.33).
    pub fn retry_after(&self) -> Option<u32> {
        let value = self.header(HeaderName::RetryAfter)?;
        let number = leading_digits(value);
        match value.get(number.len()) {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(') => seconds(number),
            _ => None,
        }
    }

    /// The event package, without parameters, as written (RFC 6665 section 8.2.1).
    pub fn event(&self) -> Option<&'a [u8]> {
        self.header(HeaderName::Event).map(before_params).filter(|package| !package.is_empty())
    }

    /// The `id` of the event, which tells subscriptions of one package apart (RFC 6665 section 8.2.1).
    pub fn event_id(&self) -> Option<&'a [u8]> {
        Params::new(self.header(HeaderName::Event)?).value(b"id")
    }

    /// The state of a subscription, as written, and its `expires` in seconds (RFC 6665 section 8.2.3).
    pub fn subscription_state(&self) -> Option<(&'a [u8], Option<u32>)> {
        let value = self.header(HeaderName::SubscriptionState)?;
        let expires = Params::new(value).value(b"expires").and_then(seconds);
        Some((before_params(value), expires))
    }

    /// Why a subscription ended, as written, and the seconds after which to ask again (RFC 6665 section 4.1.3).
    pub fn subscription_end(&self) -> (Option<&'a [u8]>, Option<u32>) {
        let value = self.header(HeaderName::SubscriptionState).unwrap_or_default();
        let params = Params::new(value);
        (params.value(b"reason"), params.value(b"retry-after").and_then(seconds))
    }

    /// The identities that a trusted neighbour asserts (RFC 3325 section 9.1).
    pub fn asserted(&self) -> impl Iterator<Item = NameAddr<'a>> + use<'a> {
        self.values(HeaderName::PAssertedIdentity).filter_map(NameAddr::parse)
    }

    /// The User-Agent field.
    pub fn user_agent(&self) -> Option<&'a [u8]> {
        self.header(HeaderName::UserAgent).filter(|agent| !agent.is_empty())
    }

    /// `Require: 100rel`: of a 1xx, that it is sent reliably (RFC 3262 section 3).
    pub fn requires_100rel(&self) -> bool {
        self.values(HeaderName::Require).any(|option| option.eq_ignore_ascii_case(b"100rel"))
    }

    /// The Call-ID of the dialog whose place this INVITE takes (RFC 3891 section 6.1), or that of which this REFER asks for
    /// one that does (section 4: Replaces as a header of the Refer-To URI, escaped).
    pub fn replaced_call_id(&self) -> Option<Vec<u8>> {
        let replaces = match self.header(HeaderName::Replaces) {
            Some(value) => value.to_vec(),
            None => uri::header(self.header(HeaderName::ReferTo)?, b"replaces")?,
        };
        replaces.split(|&byte| byte == b';').next().map(|call_id| call_id.trim_ascii().to_vec())
    }

    /// An empty line ends the header section. If not, the message was cut there and fields may be missing.
    pub const fn headers_are_whole(&self) -> bool {
        self.headers_are_whole
    }

    /// Content-Length: `None` when absent, an error when it is no number or two fields differ.
    #[allow(clippy::result_unit_err)]
    pub fn content_length(&self) -> Option<Result<usize, ()>> {
        let mut lengths = self
            .headers(HeaderName::ContentLength)
            .map(|value| digits(value).and_then(|length| usize::try_from(length).ok()));
        let first = lengths.next()?;
        let agreed = lengths.all(|length| length == first);
        Some(first.filter(|_| agreed).ok_or(()))
    }

    /// The body: as many bytes as Content-Length says, if there are so many, else all that came.
    pub fn body(&self) -> &'a [u8] {
        match self.content_length() {
            Some(Ok(length)) => self.rest.get(..length).unwrap_or(self.rest),
            _ => self.rest,
        }
    }

    /// The body has the length that Content-Length says, or Content-Length says nothing and the
    /// header section ended.
    pub fn body_is_whole(&self) -> bool {
        self.headers_are_whole
            && match self.content_length() {
                Some(Ok(length)) => self.rest.len() >= length,
                Some(Err(())) => false,
                None => true,
            }
    }

    /// The session description: the body, or the first part of a multipart body, that is
    /// `application/sdp`. A body without Content-Type is taken for one if it begins like one.
    pub fn sdp(&self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let body = self.body();
        let encoded = self
            .header(HeaderName::ContentEncoding)
            .is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity"));
        if body.is_empty() || encoded {
            return None;
        }
        match self.header(HeaderName::ContentType) {
            Some(content_type) => multipart::find_sdp(content_type, body),
            None => body.starts_with(b"v=0").then_some(body),
        }
    }
}

/// What stands before the first `;` or white space.
fn before_params(value: &[u8]) -> &[u8] {
    let value = split_once(value, b';').map_or(value, |(before, _)| before);
    let value = trim(value);
    let end = value.iter().position(|&byte| is_space(byte)).unwrap_or(value.len());
    value.get(..end).unwrap_or(value)
}
