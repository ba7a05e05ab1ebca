//! Digest authentication, the client's side.
//! In: challenges, a user and a password. Out: the value of (Proxy-)Authorization. Knows nothing of sockets, presence.
//! RFC 7616, RFC 8760 (SHA-256 and SHA-512-256 in SIP), RFC 3261 section 22, and RFC 2617 for servers without qop.

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

use crate::sip::Challenge;
use crate::sip::write::quoted;

/// A digest algorithm; the greater, the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// `MD5`, also when nothing is said.
    Md5,
    /// `MD5-sess`.
    Md5Sess,
    /// `SHA-256`.
    Sha256,
    /// `SHA-256-sess`.
    Sha256Sess,
    /// `SHA-512-256`.
    Sha512Trunc256,
    /// `SHA-512-256-sess`.
    Sha512Trunc256Sess,
}

impl Algorithm {
    const ALL: [Self; 6] = [
        Self::Md5,
        Self::Md5Sess,
        Self::Sha256,
        Self::Sha256Sess,
        Self::Sha512Trunc256,
        Self::Sha512Trunc256Sess,
    ];

    /// The token in challenges and credentials.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
            Self::Sha512Trunc256 => "SHA-512-256",
            Self::Sha512Trunc256Sess => "SHA-512-256-sess",
        }
    }

    /// By its token, in any case; `None` for one that is not known here.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    const fn is_session(self) -> bool {
        matches!(self, Self::Md5Sess | Self::Sha256Sess | Self::Sha512Trunc256Sess)
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 | Self::Md5Sess => hex(&Md5::digest(text)),
            Self::Sha256 | Self::Sha256Sess => hex(&Sha256::digest(text)),
            Self::Sha512Trunc256 | Self::Sha512Trunc256Sess => hex(&Sha512_256::digest(text)),
        }
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// A challenge that can be answered. Texts are as they stood between the quotes, escapes untouched: RFC 7616
/// section 3.4 hashes them so, and they go back so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestChallenge {
    /// It came in Proxy-Authenticate (407), so the answer goes into Proxy-Authorization.
    pub proxy: bool,
    /// Who asks.
    pub realm: String,
    /// What the answer is bound to.
    pub nonce: String,
    /// To be sent back untouched.
    pub opaque: Option<String>,
    /// How to hash.
    pub algorithm: Algorithm,
    /// The server named the algorithm, so the answer does too.
    pub algorithm_named: bool,
    /// The server knows `qop=auth`; else RFC 2069's digest without nonce count.
    pub qop_auth: bool,
    /// The nonce of the refused request was too old, its password right.
    pub stale: bool,
}

impl DigestChallenge {
    /// `None` for a challenge that cannot be answered: an unknown algorithm, only `auth-int`, no nonce, no UTF-8.
    pub fn from_raw(raw: Challenge<'_>) -> Option<Self> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let algorithm = match raw.algorithm {
            None => Algorithm::Md5,
            Some(name) => Algorithm::from_name(std::str::from_utf8(name).ok()?.trim())?,
        };
        let qop_auth = match raw.qop {
            None => false,
            Some(list) => {
                let auth = |word: &[u8]| word.trim_ascii().eq_ignore_ascii_case(b"auth");
                if !list.split(|&byte| byte == b',').any(auth) {
                    return None;
                }
                true
            }
        };
        // A quote that was not closed, or that stands within, would close the text in the answer.
        let texts = [Some(raw.realm), Some(raw.nonce), raw.opaque];
        if raw.nonce.is_empty() || !texts.into_iter().flatten().all(is_between_quotes) {
            return None;
        }
        Some(Self {
            proxy: raw.proxy,
            realm: text(raw.realm)?,
            nonce: text(raw.nonce)?,
            opaque: match raw.opaque {
                Some(opaque) => Some(text(opaque)?),
                None => None,
            },
            algorithm,
            algorithm_named: raw.algorithm.is_some(),
            qop_auth,
            stale: raw.stale,
        })
    }

    /// The challenge with the strongest algorithm; among equals the first (RFC 7616 section 3.7).
    pub fn strongest<'a>(challenges: impl Iterator<Item = Challenge<'a>>) -> Option<Self> {
        challenges.filter_map(Self::from_raw).fold(None, |best, next| match best {
            Some(best) if next.algorithm <= best.algorithm => Some(best),
            _ => Some(next),
        })
    }
}

/// This may stand between quotes as it is: each quote and each backslash is escaped (RFC 3261 section 25.1).
fn is_between_quotes(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return false,
            b'\\' if bytes.next().is_none() => return false,
            _ => {}
        }
    }
    true
}

/// A user and its password. `Debug` shows neither.
#[derive(Clone)]
pub struct DigestUser {
    /// The digest user name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for DigestUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestUser")
    }
}

/// The digest itself (RFC 7616 section 3.4.1). `once` is the nonce count, if there is `qop=auth`, and the client's
/// nonce; `what` is method and URI.
pub(super) fn response(
    algorithm: Algorithm,
    who: &DigestUser,
    realm: &str,
    nonce: &str,
    once: (Option<&str>, &str),
    what: (&str, &str),
) -> String {
    let hash = |text: String| algorithm.hash(&text);
    let (count, cnonce) = once;
    let mut a1 = hash(format!("{}:{realm}:{}", who.user, who.password));
    if algorithm.is_session() {
        a1 = hash(format!("{a1}:{nonce}:{cnonce}"));
    }
    let a2 = hash(format!("{}:{}", what.0, what.1));
    match count {
        Some(count) => hash(format!("{a1}:{nonce}:{count}:{cnonce}:auth:{a2}")),
        None => hash(format!("{a1}:{nonce}:{a2}")),
    }
}

/// A nonce in use: counts how often it was answered.
#[derive(Clone, Debug)]
pub struct DigestSession {
    challenge: DigestChallenge,
    cnonce: String,
    /// The `-sess` algorithms bind A1 to the client nonce of the first request (RFC 7616 section 3.4.2).
    nonce_count: u32,
}

impl DigestSession {
    /// Begins to use a challenge's nonce; `cnonce` is any fresh random text of hexadecimal digits.
    pub const fn new(challenge: DigestChallenge, cnonce: String) -> Self {
        Self { challenge, cnonce, nonce_count: 0 }
    }

    /// The challenge that is being answered.
    pub const fn challenge(&self) -> &DigestChallenge {
        &self.challenge
    }

    /// The header field's name.
    pub const fn header_name(&self) -> &'static str {
        if self.challenge.proxy { "Proxy-Authorization" } else { "Authorization" }
    }

    /// The header field's value for one request; the nonce count goes up.
    pub fn answer(&mut self, who: &DigestUser, method: &str, uri: &str) -> String {
        self.nonce_count = self.nonce_count.saturating_add(1);
        let challenge = &self.challenge;
        let count = format!("{:08x}", self.nonce_count);
        let once = challenge.qop_auth.then_some(&*count);
        let response = response(
            challenge.algorithm,
            who,
            &challenge.realm,
            &challenge.nonce,
            (once, &self.cnonce),
            (method, uri),
        );
        let mut value = format!(
            "Digest username={}, realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"",
            quoted(&who.user),
            challenge.realm,
            challenge.nonce
        );
        if challenge.algorithm_named {
            value.push_str(", algorithm=");
            value.push_str(challenge.algorithm.name());
        }
        if challenge.qop_auth {
            value.push_str(&format!(", qop=auth, nc={count}"));
        }
        if challenge.qop_auth || challenge.algorithm.is_session() {
            value.push_str(&format!(", cnonce=\"{}\"", self.cnonce));
        }
        if let Some(opaque) = &challenge.opaque {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_that_would_close_its_quotes_in_the_answer_is_not_answered() {
        let answerable = |nonce: &[u8]| {
            let raw = Challenge { realm: b"example.com", nonce, ..Challenge::default() };
            DigestChallenge::from_raw(raw).is_some()
        };
        assert!(
            answerable(b"a\\\"b\\\\")
                && !answerable(b"\"not closed")
                && !answerable(b"a\"b")
                && !answerable(b"a\\")
        );
    }

    fn response_of(value: &str) -> &str {
        let (_, rest) = value.split_once("response=\"").unwrap();
        rest.split_once('"').unwrap().0
    }

    fn answer(raw: Challenge<'_>, cnonce: &str, user: &str, password: &str, uri: &str) -> String {
        let challenge = DigestChallenge::from_raw(raw).unwrap();
        let who = DigestUser { user: user.to_owned(), password: password.to_owned() };
        DigestSession::new(challenge, cnonce.to_owned()).answer(&who, "GET", uri)
    }

    #[test]
    fn rfc_2617_section_3_5() {
        let raw = Challenge {
            realm: b"testrealm@host.com",
            nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            opaque: Some(b"5ccc069c403ebaf9f0171e9517f40e41"),
            qop: Some(b"auth,auth-int"),
            ..Challenge::default()
        };
        let value = answer(raw, "0a4f113b", "Mufasa", "Circle Of Life", "/dir/index.html");
        assert_eq!(response_of(&value), "6629fae49393a05397450978507c4ef1");
        assert!(value.contains("qop=auth, nc=00000001, cnonce=\"0a4f113b\""));
        assert!(value.ends_with("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""));
        assert!(!value.contains("algorithm"));
    }

    #[test]
    fn rfc_2069_without_qop() {
        let raw = Challenge {
            realm: b"testrealm@host.com",
            nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            ..Challenge::default()
        };
        let value = answer(raw, "ignored", "Mufasa", "Circle Of Life", "/dir/index.html");
        // The value that RFC 2617's own algorithm gives for its example without qop.
        assert_eq!(response_of(&value), "670fd8c2df070c60b045671b8b24ff02");
        assert!(!value.contains("nc="));
        assert!(!value.contains("cnonce"));
    }

    #[test]
    fn rfc_7616_section_3_9_1() {
        let raw = |algorithm: &'static [u8]| Challenge {
            realm: b"http-auth@example.org",
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            opaque: Some(b"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"),
            algorithm: Some(algorithm),
            qop: Some(b"auth, auth-int"),
            ..Challenge::default()
        };
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let uri = "/dir/index.html";
        let md5 = answer(raw(b"MD5"), cnonce, "Mufasa", "Circle of Life", uri);
        assert_eq!(response_of(&md5), "8ca523f5e9506fed4657c9700eebdbec");
        let sha = answer(raw(b"SHA-256"), cnonce, "Mufasa", "Circle of Life", uri);
        assert_eq!(response_of(&sha), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    #[test]
    fn the_session_variants_bind_the_client_nonce() {
        for (name, plain) in [("MD5-sess", "MD5"), ("SHA-256-sess", "SHA-256")] {
            let raw = |algorithm| Challenge {
                realm: b"example.com",
                nonce: b"n",
                algorithm: Some(algorithm),
                qop: Some(b"auth"),
                ..Challenge::default()
            };
            let algorithm = Algorithm::from_name(name).unwrap();
            let value = answer(raw(name.as_bytes()), "c", "alice", "secret", "sip:x");
            let a1 = algorithm.hash("alice:example.com:secret");
            let a1 = algorithm.hash(&format!("{a1}:n:c"));
            let a2 = algorithm.hash("GET:sip:x");
            let expected = algorithm.hash(&format!("{a1}:n:00000001:c:auth:{a2}"));
            assert_eq!(response_of(&value), expected);
            let other = answer(raw(plain.as_bytes()), "c", "alice", "secret", "sip:x");
            assert_ne!(response_of(&other), expected);
        }
        // FIPS 180-4's own example value for SHA-512/256.
        assert_eq!(
            Algorithm::Sha512Trunc256.hash("abc"),
            "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
        );
    }

    #[test]
    fn the_strongest_known_algorithm_is_chosen() {
        let raw = |algorithm: Option<&'static [u8]>, realm: &'static [u8]| Challenge {
            realm,
            nonce: b"n",
            algorithm,
            qop: Some(b"auth"),
            ..Challenge::default()
        };
        let all = [
            raw(None, b"md5"),
            raw(Some(b"sha-256"), b"sha"),
            raw(Some(b"SHA3-512"), b"unknown"),
            raw(Some(b"SHA-256"), b"second"),
        ];
        let best = DigestChallenge::strongest(all.into_iter()).unwrap();
        assert_eq!(best.realm, "sha");
        let unusable = Challenge { qop: Some(b"auth-int"), ..raw(None, b"md5") };
        assert_eq!(DigestChallenge::from_raw(unusable), None);
    }

    #[test]
    fn the_nonce_count_goes_up_and_names_are_quoted() {
        let challenge = DigestChallenge::from_raw(Challenge {
            proxy: true,
            realm: b"example.com",
            nonce: b"n",
            qop: Some(b"auth"),
            ..Challenge::default()
        });
        let mut session = DigestSession::new(challenge.unwrap(), "c".to_owned());
        let who = DigestUser { user: "al\"ice".to_owned(), password: "secret".to_owned() };
        assert_eq!(session.header_name(), "Proxy-Authorization");
        let first = session.answer(&who, "PUBLISH", "sip:alice@example.com");
        assert!(first.contains("username=\"al\\\"ice\""));
        assert!(first.contains("nc=00000001"));
        assert!(session.answer(&who, "PUBLISH", "sip:x").contains("nc=00000002"));
        assert_eq!(format!("{who:?}"), "DigestUser");
    }
}
