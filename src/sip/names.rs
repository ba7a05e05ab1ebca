//! Names of header fields.
//! In: a name as written, long or compact, in any case. Out: `HeaderName`. Knows nothing of values.
//! Compact forms: the IANA registry of SIP header fields.

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

            /// How many have a name.
            pub(super) const KNOWN: usize = Self::Other as usize;

        }

        /// The registered names, and the compact forms as small letters.
        static SPELLINGS: &[Spelling] = &[
            $(Spelling::new(HeaderName::$variant, $name), $(Spelling::new(HeaderName::$variant, $compact),)?)+
        ];
    };
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
    /// The field that this text names.
    pub fn of(text: &[u8]) -> Self {
        Self::at_front(text, text.len())
    }

    /// The field that the text of this length names with which the bytes begin.
    #[inline(always)]
    pub(super) fn at_front(bytes: &[u8], length: usize) -> Self {
        let front = front(bytes, length);
        let Some(spelling) = SPELLINGS.get(usize::from(SLOTS[slot(front, length, MULTIPLIER)])) else {
            return Self::Other;
        };
        // Nearly all are written as registered, and few are longer than both ends.
        if front == spelling.front
            && length == spelling.text.len()
            && (length <= 8 || (length <= 16 && back(bytes, length) == spelling.back))
        {
            return spelling.name;
        }
        spelling.name_of(bytes.get(..length).unwrap_or(b""))
    }
}

/// A registered name or a compact form.
struct Spelling {
    name: HeaderName,
    text: &'static [u8],
    /// Its first eight bytes.
    front: u64,
    /// Its last eight bytes.
    back: u64,
}

impl Spelling {
    const fn new(name: HeaderName, text: &'static str) -> Self {
        let text = text.as_bytes();
        Self { name, text, front: front(text, text.len()), back: back(text, text.len()) }
    }

    /// The name if the text is it, in any case.
    fn name_of(&self, text: &[u8]) -> HeaderName {
        let is_it = self.text == text || self.text.eq_ignore_ascii_case(text);
        if is_it { self.name } else { HeaderName::Other }
    }

    const fn slot(&self, multiplier: u64) -> usize {
        slot(self.front, self.text.len(), multiplier)
    }
}

const SLOT_BITS: u32 = 9;

/// A slot for each length and first eight bytes, which no two spellings share: in it is the place among [`SPELLINGS`], or
/// one behind them all.
static SLOTS: [u8; 1 << SLOT_BITS] = {
    let mut slots = [u8::MAX; 1 << SLOT_BITS];
    assert!(SPELLINGS.len() < u8::MAX as usize);
    let mut at = 0;
    while at < SPELLINGS.len() {
        slots[SPELLINGS[at].slot(MULTIPLIER)] = at as u8;
        at += 1;
    }
    slots
};

/// One that gives each spelling a slot of its own.
const MULTIPLIER: u64 = {
    let mut multiplier: u64 = 0x9e37_79b9_7f4a_7c15;
    while !is_one_slot_each(multiplier) {
        multiplier = multiplier.wrapping_mul(0xd134_2543_de82_ef95);
    }
    multiplier
};

const fn is_one_slot_each(multiplier: u64) -> bool {
    let mut taken = [false; 1 << SLOT_BITS];
    let mut at = 0;
    while at < SPELLINGS.len() {
        let slot = SPELLINGS[at].slot(multiplier);
        if taken[slot] {
            return false;
        }
        taken[slot] = true;
        at += 1;
    }
    true
}

/// The slot of a name, the same in any case.
const fn slot(front: u64, length: usize, multiplier: u64) -> usize {
    const SMALL_LETTERS: u64 = u64::MAX / 0xff * 0x20;
    let mixed = ((front | SMALL_LETTERS) ^ length as u64).wrapping_mul(multiplier);
    (mixed >> (u64::BITS - SLOT_BITS)) as usize
}

/// The first eight bytes of the name of this length with which the bytes begin; zeros behind a shorter one.
#[inline(always)]
const fn front(bytes: &[u8], length: usize) -> u64 {
    if let Some(front) = bytes.first_chunk() {
        let missing = 8 - if length < 8 { length } else { 8 };
        return u64::from_le_bytes(*front) & u64::MAX.wrapping_shr(missing as u32 * 8);
    }
    let mut front = 0;
    let mut at = 0;
    while at < length && at < bytes.len() {
        front |= (bytes[at] as u64) << (8 * at);
        at += 1;
    }
    front
}

/// The last eight bytes of the name of this length with which the bytes begin; of a shorter one no matter what.
#[inline(always)]
const fn back(bytes: &[u8], length: usize) -> u64 {
    match bytes.split_at_checked(length) {
        Some((name, _)) => match name.last_chunk() {
            Some(back) => u64::from_le_bytes(*back),
            None => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found_in_any_case_whatever_follows() {
        for &Spelling { name, text, .. } in SPELLINGS {
            assert!(text.len() > 1 || text[0].is_ascii_lowercase(), "{name:?}");
            for text in [text, &text.to_ascii_uppercase(), &text.to_ascii_lowercase()] {
                assert_eq!(HeaderName::of(text), name, "{name:?}");
                for behind in [&b": x"[..], b"  : and more", b"X"] {
                    assert_eq!(HeaderName::at_front(&[text, behind].concat(), text.len()), name, "{name:?}");
                }
                assert_ne!(HeaderName::of(&[text, b"_"].concat()), name, "{name:?}");
                // `T` is To in its compact form.
                assert!(text.len() == 2 || HeaderName::of(&text[..text.len() - 1]) != name, "{name:?}");
                for at in 0..text.len() {
                    let mut other = text.to_vec();
                    // A small letter becomes a sign that differs from the capital, and so on.
                    other[at] ^= 0x40;
                    assert_eq!(HeaderName::of(&other), HeaderName::Other, "{name:?}");
                }
            }
        }
        for other in [&b"X-Other"[..], b"z", b"", b"Via2", b"\xff", b"Call\rID"] {
            assert_eq!(HeaderName::of(other), HeaderName::Other);
        }
        assert_eq!(HeaderName::at_front(b"Via", 4), HeaderName::Other);
    }
}
