//! Names of header fields.
//! In: a name as written, long or compact, in any case. Out: `HeaderName`. Knows nothing of values.
//! Compact forms: the IANA registry of SIP header fields.

/// First letter and length of a name, all that is noted of it while a message is scanned: few names share them, and most
/// fields are never asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape(u16);

/// A name that is looked for among shapes.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    text: &'static [u8],
    long: Shape,
    /// The same where there is no compact form.
    compact: Shape,
}

impl Wanted {
    const fn new(name: &'static str, compact: &'static str) -> Self {
        let (text, compact) = (name.as_bytes(), Shape::of(compact.as_bytes()));
        Self { text, long: Shape::of(text), compact }
    }

    /// Whether a text of this shape is the name, long or compact.
    #[inline]
    pub(super) fn is<'t>(&self, shape: Shape, text: impl FnOnce() -> &'t [u8]) -> bool {
        // A single letter is told by its shape.
        (shape == self.long && is_spelled(self.text, text()))
            || (shape == self.compact && self.compact.length() == 1)
    }
}

/// Whether a text is a registered name, in any case.
#[inline]
fn is_spelled(registered: &[u8], text: &[u8]) -> bool {
    // Nearly all are written as registered, and equal bytes are found faster than equal letters.
    registered == text || registered.eq_ignore_ascii_case(text)
}

impl Shape {
    /// The shape of a name as written. Very long names have the same length.
    pub(super) const fn of(name: &[u8]) -> Self {
        let Some(first) = name.first() else {
            return Self(0);
        };
        let length = if name.len() < 0xff { name.len() as u16 } else { 0xff };
        // In lower case if it is a letter.
        Self(length << 8 | (*first | 0x20) as u16)
    }

    /// The length of the name.
    pub(super) const fn length(self) -> usize {
        (self.0 >> 8) as usize
    }
}

macro_rules! header_names {
    ($($variant:ident = $name:literal $(| $compact:literal)?,)+) => {
        /// The header fields that are looked at; [`HeaderName::text`] is each one's registered name.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum HeaderName { $($variant,)+ Other }

        impl HeaderName {
            /// The registered name; empty for [`HeaderName::Other`].
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ Self::Other => "" }
            }

            /// What to look for to find the name.
            pub(super) const fn wanted(self) -> &'static Wanted {
                const ALL: &[Wanted] =
                    &[$(Wanted::new($name, header_names!(@shortest $name $(, $compact)?)),)+ NOBODYS];
                const NOBODYS: Wanted = Wanted { text: b"", long: Shape(u16::MAX), compact: Shape(u16::MAX) };
                &ALL[self as usize]
            }

            /// All that have a name.
            #[cfg(test)]
            pub(super) const ALL: &'static [(Self, &'static str, Option<&'static str>)] =
                &[$((Self::$variant, $name, header_names!(@compact $($compact)?)),)+];
        }
    };
    (@shortest $name:literal) => { $name };
    (@shortest $name:literal, $compact:literal) => { $compact };
    (@compact $compact:literal) => { Some($compact) };
    (@compact) => { None };
}

header_names! {
    Via = "Via" | "v",
    From = "From" | "f",
    To = "To" | "t",
    CallId = "Call-ID" | "i",
    CSeq = "CSeq",
    Contact = "Contact" | "m",
    Expires = "Expires",
    ContentLength = "Content-Length" | "l",
    ContentType = "Content-Type" | "c",
    ContentEncoding = "Content-Encoding" | "e",
    MaxForwards = "Max-Forwards",
    Route = "Route",
    RecordRoute = "Record-Route",
    Path = "Path",
    ServiceRoute = "Service-Route",
    Authorization = "Authorization",
    ProxyAuthorization = "Proxy-Authorization",
    WwwAuthenticate = "WWW-Authenticate",
    ProxyAuthenticate = "Proxy-Authenticate",
    AuthenticationInfo = "Authentication-Info",
    SessionExpires = "Session-Expires" | "x",
    MinSe = "Min-SE",
    MinExpires = "Min-Expires",
    RetryAfter = "Retry-After",
    Event = "Event" | "o",
    AllowEvents = "Allow-Events" | "u",
    SubscriptionState = "Subscription-State",
    PAssertedIdentity = "P-Asserted-Identity",
    PPreferredIdentity = "P-Preferred-Identity",
    RemotePartyId = "Remote-Party-ID",
    UserAgent = "User-Agent",
    Server = "Server",
    Subject = "Subject" | "s",
    Require = "Require",
    Supported = "Supported" | "k",
    Unsupported = "Unsupported",
    Allow = "Allow",
    Accept = "Accept",
    Date = "Date",
    Warning = "Warning",
    Reason = "Reason",
    RSeq = "RSeq",
    RAck = "RAck",
    Replaces = "Replaces",
    ReferTo = "Refer-To" | "r",
    ReferredBy = "Referred-By" | "b",
    ReferSub = "Refer-Sub",
    SipEtag = "SIP-ETag",
    SipIfMatch = "SIP-If-Match",
    AcceptContact = "Accept-Contact" | "a",
    RejectContact = "Reject-Contact" | "j",
    RequestDisposition = "Request-Disposition" | "d",
    Identity = "Identity" | "y",
    IdentityInfo = "Identity-Info" | "n",
    Diversion = "Diversion",
    HistoryInfo = "History-Info",
}

impl HeaderName {
    /// The field that this text names. By length and first letter, then one or two comparisons.
    pub fn of(text: &[u8]) -> Self {
        use HeaderName as N;
        let Some(first) = text.first().map(u8::to_ascii_lowercase) else {
            return N::Other;
        };
        let candidates: &[N] = match (text.len(), first) {
            (1, compact) => return Self::of_compact(compact),
            (2, b't') => &[N::To],
            (3, b'v') => &[N::Via],
            (4, b'f') => &[N::From],
            (4, b'c') => &[N::CSeq],
            (4, b'p') => &[N::Path],
            (4, b'd') => &[N::Date],
            (4, b'r') => &[N::RSeq, N::RAck],
            (5, b'r') => &[N::Route],
            (5, b'e') => &[N::Event],
            (5, b'a') => &[N::Allow],
            (6, b's') => &[N::Server],
            (6, b'm') => &[N::MinSe],
            (6, b'a') => &[N::Accept],
            (6, b'r') => &[N::Reason],
            (7, b'c') => &[N::CallId, N::Contact],
            (7, b'e') => &[N::Expires],
            (7, b's') => &[N::Subject],
            (7, b'r') => &[N::Require],
            (7, b'w') => &[N::Warning],
            (8, b's') => &[N::SipEtag],
            (8, b'r') => &[N::Replaces, N::ReferTo],
            (8, b'i') => &[N::Identity],
            (9, b's') => &[N::Supported],
            (9, b'r') => &[N::ReferSub],
            (9, b'd') => &[N::Diversion],
            (10, b'u') => &[N::UserAgent],
            (11, b'm') => &[N::MinExpires],
            (11, b'r') => &[N::RetryAfter, N::ReferredBy],
            (11, b'u') => &[N::Unsupported],
            (12, b'c') => &[N::ContentType],
            (12, b'm') => &[N::MaxForwards],
            (12, b'r') => &[N::RecordRoute],
            (12, b'a') => &[N::AllowEvents],
            (12, b's') => &[N::SipIfMatch],
            (12, b'h') => &[N::HistoryInfo],
            (13, b'a') => &[N::Authorization],
            (13, b's') => &[N::ServiceRoute],
            (13, b'i') => &[N::IdentityInfo],
            (14, b'c') => &[N::ContentLength],
            (14, b'a') => &[N::AcceptContact],
            (14, b'r') => &[N::RejectContact],
            (15, b's') => &[N::SessionExpires],
            (15, b'r') => &[N::RemotePartyId],
            (16, b'c') => &[N::ContentEncoding],
            (16, b'w') => &[N::WwwAuthenticate],
            (18, b's') => &[N::SubscriptionState],
            (18, b'p') => &[N::ProxyAuthenticate],
            (19, b'p') => &[N::ProxyAuthorization, N::PAssertedIdentity],
            (19, b'a') => &[N::AuthenticationInfo],
            (19, b'r') => &[N::RequestDisposition],
            (20, b'p') => &[N::PPreferredIdentity],
            _ => &[],
        };
        candidates.iter().copied().find(|name| is_spelled(name.text().as_bytes(), text)).unwrap_or(N::Other)
    }

    const fn of_compact(letter: u8) -> Self {
        match letter {
            b'v' => Self::Via,
            b'f' => Self::From,
            b't' => Self::To,
            b'm' => Self::Contact,
            b'i' => Self::CallId,
            b's' => Self::Subject,
            b'l' => Self::ContentLength,
            b'c' => Self::ContentType,
            b'e' => Self::ContentEncoding,
            b'k' => Self::Supported,
            b'o' => Self::Event,
            b'u' => Self::AllowEvents,
            b'r' => Self::ReferTo,
            b'b' => Self::ReferredBy,
            b'x' => Self::SessionExpires,
            b'a' => Self::AcceptContact,
            b'j' => Self::RejectContact,
            b'd' => Self::RequestDisposition,
            b'y' => Self::Identity,
            b'n' => Self::IdentityInfo,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_compact() {
        for &(name, text, compact) in HeaderName::ALL {
            assert_eq!(HeaderName::of(text.as_bytes()), name, "{text}");
            let is = |text: &str| name.wanted().is(Shape::of(text.as_bytes()), || text.as_bytes());
            assert!(is(text) && is(&text.to_uppercase()) && compact.is_none_or(is), "{text}");
            assert!(
                !is("X-Other") && !is("z") && !is("") && !is(&format!("{}_", &text[..text.len() - 1])),
                "{text}"
            );
            assert_eq!(HeaderName::of(text.to_uppercase().as_bytes()), name, "{text}");
            if let Some(compact) = compact {
                assert_eq!(HeaderName::of(compact.as_bytes()), name, "{compact}");
                assert_eq!(HeaderName::of(compact.to_uppercase().as_bytes()), name);
            }
        }
        for other in [&b"X-Other"[..], b"z", b"", b"Via2", b"\xff"] {
            assert_eq!(HeaderName::of(other), HeaderName::Other);
        }
    }
}
