//! Addresses of record in their one spelling.
//! In: a URI as somebody wrote it. Out: `Aor`. Knows nothing of registrations.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use memchr::memchr;

use super::lex::split_once;
use super::uri::{Scheme, Uri, is_in_small_letters, is_plain, push_host, push_user, tel_number};
use crate::base::{Redacted, Texts};

/// Longer ones are not believed: no registrar serves them, and they are kept in tables.
const MAX_BYTES: usize = 1_024;

/// A canonical address of record: `sip:user@host`, `sip:host` for a domain or a server, or `tel:number`.
///
/// sips is written sip. The user keeps its case, needless escapes are decoded, the others are in
/// upper-case hex. Password, port, parameters and headers are dropped. The host is in lower case
/// without a final dot, an IPv6 address in brackets as RFC 5952 writes it. A `tel:` number has no
/// visual separators. `Display` shows all of it, `Debug` what a log may show.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct Aor(Arc<str>);

/// Those of the same texts are mostly one copy: its address tells that, and the text need not be fetched.
impl PartialEq for Aor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Hash for Aor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Aor {
    /// The address of record that this URI (without angle brackets) names; `None` if it is no sip,
    /// sips or tel URI, or longer than anybody's.
    pub fn from_uri(text: &[u8]) -> Option<Self> {
        let mut aor = String::with_capacity(text.len().min(MAX_BYTES));
        write_canonical(text, &mut aor)?;
        Some(Self(aor.into()))
    }

    /// The same, kept once for all who ask these texts for it.
    pub fn shared(text: &[u8], texts: &Texts) -> Option<Self> {
        match canonical_as_written(text) {
            Some(aor) => Some(Self(texts.shared(aor))),
            None => texts.written(|aor| write_canonical(text, aor)).map(Self),
        }
    }

    /// The same, but not kept for others: `known` may have it at hand.
    pub fn known_or_new(
        text: &[u8],
        texts: &Texts,
        known: impl FnOnce(&str) -> Option<Self>,
    ) -> Option<Self> {
        let of = |aor: &str| known(aor).unwrap_or_else(|| Self(Arc::from(aor)));
        match canonical_as_written(text) {
            Some(aor) => Some(of(aor)),
            None => texts.written_by(|aor| write_canonical(text, aor), of),
        }
    }

    /// The text itself, to be held as text.
    pub fn to_text(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host of a `sip:` address; `None` for `tel:`.
    pub fn domain(&self) -> Option<&str> {
        let rest = self.0.strip_prefix("sip:")?;
        Some(split_at_sign(rest).map_or(rest, |(_, host)| host))
    }

    /// The user as it is spelled here; empty for a domain; the number of a `tel:` address.
    pub fn user(&self) -> &str {
        match self.0.strip_prefix("sip:") {
            Some(rest) => split_at_sign(rest).map_or("", |(user, _)| user),
            None => self.0.strip_prefix("tel:").unwrap_or(""),
        }
    }
}

fn split_at_sign(text: &str) -> Option<(&str, &str)> {
    let at = memchr(b'@', text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The text itself, if it is seen at a glance to be its one spelling, as most are: `sip:user@host` of letters and digits.
fn canonical_as_written(text: &[u8]) -> Option<&str> {
    let (user, host) = split_once(text.strip_prefix(b"sip:")?, b'@')?;
    // A host ends with a letter or a digit, so that it is no mere sign and has no empty label at its end.
    let (last, rest) = host.split_last()?;
    let is_canonical = !user.is_empty()
        && is_plain(user)
        && is_in_small_letters(rest)
        && (last.is_ascii_lowercase() || last.is_ascii_digit())
        && text.len() <= MAX_BYTES;
    is_canonical.then(|| std::str::from_utf8(text).ok()).flatten()
}

fn write_canonical(text: &[u8], aor: &mut String) -> Option<()> {
    let uri = Uri::parse(text)?;
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => {
            aor.push_str("sip:");
            if let Some(user) = uri.user {
                if user.len() > MAX_BYTES {
                    return None;
                }
                push_user(aor, user);
                aor.push('@');
            }
            let host = uri.host.strip_suffix(b".").unwrap_or(uri.host);
            if host.is_empty() || host.ends_with(b".") {
                return None; // an empty label: no name of any host
            }
            push_host(aor, host);
        }
        Scheme::Tel => {
            aor.push_str("tel:");
            aor.push_str(&tel_number(uri.user?));
        }
        Scheme::Other => return None,
    }
    (aor.len() <= MAX_BYTES).then_some(())
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Redacted(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::lex::jumbled;
    use super::*;

    #[test]
    fn what_is_taken_as_it_is_written_would_be_written_so() {
        let pieces = [
            "sip:",
            "alice",
            "@",
            "example",
            ".",
            "com",
            "",
            ":5060",
            ";transport=tcp",
            "?a=b",
            "EXAMPLE",
            "%41",
            "-",
            "_",
            "192.0.2.1",
            "[2001:db8::1]",
            ":",
            " ",
            "sips:",
            "tel:",
            "+1",
            "..",
            "\u{e4}",
            "@",
            "user@",
        ];
        let mut seen = 0;
        for text in jumbled(&pieces) {
            if let Some(as_written) = canonical_as_written(&text) {
                let mut aor = String::new();
                assert_eq!(write_canonical(&text, &mut aor), Some(()), "{as_written}");
                assert_eq!(aor, as_written);
                seen += 1;
            }
        }
        assert!(seen > 1_000, "{seen}");
        let long = |length| format!("sip:{}@example.com", "a".repeat(length - "sip:@example.com".len()));
        assert!(canonical_as_written(long(MAX_BYTES).as_bytes()).is_some());
        assert!(canonical_as_written(long(MAX_BYTES + 1).as_bytes()).is_none());
    }
}
