//! Digest authentication, the server's side.
//! In: users, credentials, time. Out: who it is, or challenges. Knows nothing of sockets, clocks, presence.
//! RFC 7616 and RFC 8760: SHA-256 and MD5 are offered, with qop auth only. Nonces hold their own time under a keyed
//! hash, so that giving one out costs no memory; only those that were used are remembered, for their count.

use std::collections::BTreeMap;

use super::digest::{Algorithm, DigestUser, response};
use super::{Aor, Credentials};
use crate::base::{Secret, Timestamp};

/// Seconds for which a nonce may be used.
const NONCE_LIFE_S: u32 = 300;

/// The algorithms that are offered, the stronger first (RFC 8760 section 2.4).
const OFFERED: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Md5];

/// Why credentials were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are none that are right.
    Wrong,
    /// They are right, but their nonce is too old, or its count did not rise, or it is not ours: given out before a
    /// restart, most likely.
    Stale,
}

/// What was used of a nonce.
type NonceName = (u64, u64);

/// Checks who somebody is.
#[derive(Debug)]
pub struct DigestGuard {
    realm: String,
    users: BTreeMap<String, DigestUser>,
    secret: Secret,
    most_nonces: usize,
    given: u64,
    /// The highest count of each nonce that was used, by the nonce's moment and number.
    counts: BTreeMap<NonceName, u32>,
    /// Nonces up to this one are too old, since counts of theirs were given up.
    forgotten: NonceName,
}

impl DigestGuard {
    /// Knows these users. At most so many nonces are in use at once.
    pub fn new(realm: String, users: Vec<DigestUser>, secret: Secret, most_nonces: usize) -> Self {
        Self {
            realm,
            users: users.into_iter().map(|user| (user.user.clone(), user)).collect(),
            secret,
            most_nonces: most_nonces.max(1),
            given: 0,
            counts: BTreeMap::new(),
            forgotten: (0, 0),
        }
    }

    /// The values of WWW-Authenticate for a 401: one nonce, each algorithm.
    pub fn challenges(&mut self, now: Timestamp, stale: bool) -> Vec<String> {
        self.given += 1;
        let nonce = self.nonce((now.as_nanos(), self.given));
        let stale = if stale { ", stale=true" } else { "" };
        OFFERED
            .iter()
            .map(|algorithm| {
                let (realm, algorithm) = (&self.realm, algorithm.name());
                format!(
                    "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}"
                )
            })
            .collect()
    }

    /// Whose credentials a request has. `uri` is its Request-URI.
    ///
    /// # Errors
    /// [`Refused`]: answer with [`Self::challenges`].
    pub fn check<'a>(
        &mut self,
        now: Timestamp,
        credentials: impl Iterator<Item = Credentials<'a>>,
        method: &[u8],
        uri: &[u8],
    ) -> Result<&str, Refused> {
        let mut refused = Refused::Wrong;
        for given in credentials {
            let Some(user) = self.right(&given, method, uri) else { continue };
            match self.count(now, &given) {
                Some(()) => return self.users.get(&user).map(|user| &*user.user).ok_or(Refused::Wrong),
                None => refused = Refused::Stale,
            }
        }
        Err(refused)
    }

    /// The user, if the password is right for the nonce, whoever made that.
    fn right(&self, given: &Credentials<'_>, method: &[u8], uri: &[u8]) -> Option<String> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let algorithm = match given.algorithm {
            None => Algorithm::Md5,
            Some(name) => Algorithm::from_name(text(name)?)?,
        };
        let user = self.users.get(text(given.username)?)?;
        let auth = given.qop?.eq_ignore_ascii_case(b"auth") && OFFERED.contains(&algorithm);
        let asked = !given.proxy && given.realm == self.realm.as_bytes();
        // A proxy on the way may have written the Request-URI in another way: who is meant counts.
        let same =
            given.uri == uri || Aor::from_uri(given.uri).is_some_and(|aor| Aor::from_uri(uri) == Some(aor));
        let nonce = text(given.nonce)?;
        let expected = response(
            algorithm,
            user,
            &self.realm,
            nonce,
            (Some(text(given.nc?)?), text(given.cnonce?)?),
            (text(method)?, text(given.uri)?),
        );
        (auth && asked && same && equal(expected.as_bytes(), given.response)).then(|| user.user.clone())
    }

    /// Counts one use of a nonce; `None` if it is not ours, too old, or was used so often before.
    fn count(&mut self, now: Timestamp, given: &Credentials<'_>) -> Option<()> {
        let nonce = std::str::from_utf8(given.nonce).ok()?;
        let name = nonce_name(nonce).filter(|name| self.nonce(*name) == nonce)?;
        let count = u32::from_str_radix(std::str::from_utf8(given.nc?).ok()?, 16).ok()?;
        let over = |name: NonceName| Timestamp::from_nanos(name.0).after_s(NONCE_LIFE_S) <= now;
        while let Some(first) = self.counts.first_entry().filter(|first| over(*first.key())) {
            first.remove();
        }
        if over(name) || name <= self.forgotten || self.counts.get(&name).is_some_and(|&used| count <= used) {
            return None;
        }
        self.counts.insert(name, count);
        while self.counts.len() > self.most_nonces {
            if let Some((oldest, _)) = self.counts.pop_first() {
                self.forgotten = oldest;
            }
        }
        Some(())
    }

    fn nonce(&self, name: NonceName) -> String {
        let name = format!("{:016x}{:016x}", name.0, name.1);
        let seal = self.secret.text("nonce", name.as_bytes());
        name + &seal
    }
}

/// What a nonce says of itself, whoever made it.
fn nonce_name(nonce: &str) -> Option<NonceName> {
    let number = |at: std::ops::Range<usize>| u64::from_str_radix(nonce.get(at)?, 16).ok();
    Some((number(0..16)?, number(16..32)?))
}

/// In a time that does not depend on where they differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::digest::{DigestChallenge, DigestSession};
    use crate::sip::headers::DigestSchemes;
    use crate::sip::{Challenge, Credentials};

    const START: Timestamp = Timestamp::from_secs(1_000);
    const URI: &str = "sip:alice@example.com";

    fn user(password: &str) -> DigestUser {
        DigestUser { user: "alice".to_owned(), password: password.to_owned() }
    }

    fn guard() -> DigestGuard {
        DigestGuard::new("example.com".to_owned(), vec![user("secret")], Secret::new([7; 32]), 2)
    }

    fn session(guard: &mut DigestGuard, now: Timestamp, algorithm: Algorithm) -> DigestSession {
        let values = guard.challenges(now, false);
        let challenge = values
            .iter()
            .flat_map(|value| DigestSchemes::new(value.as_bytes()))
            .filter_map(|params| DigestChallenge::from_raw(Challenge::read(params, false)))
            .find(|challenge| challenge.algorithm == algorithm);
        DigestSession::new(challenge.unwrap(), "c0ffee".to_owned())
    }

    fn check(guard: &mut DigestGuard, now: Timestamp, answer: &str) -> Result<String, Refused> {
        let credentials =
            DigestSchemes::new(answer.as_bytes()).map(|params| Credentials::read(params, false));
        guard.check(now, credentials, b"PUBLISH", URI.as_bytes()).map(str::to_owned)
    }

    #[test]
    fn who_knows_the_password_is_let_in_by_either_algorithm() {
        for algorithm in OFFERED {
            let mut guard = guard();
            let mut session = session(&mut guard, START, algorithm);
            for _ in 0..3 {
                let answer = session.answer(&user("secret"), "PUBLISH", URI);
                assert_eq!(check(&mut guard, START.after_s(1), &answer), Ok("alice".to_owned()));
            }
        }
    }

    #[test]
    fn a_wrong_password_another_method_another_uri_and_a_forged_nonce_are_wrong() {
        let mut guard = guard();
        let mut session = session(&mut guard, START, Algorithm::Sha256);
        let right = session.answer(&user("secret"), "PUBLISH", URI);
        let nonce = session.challenge().nonce.clone();
        for answer in [
            session.answer(&user("guess"), "PUBLISH", URI),
            session.answer(&user("secret"), "SUBSCRIBE", URI),
            session.answer(&user("secret"), "PUBLISH", "sip:bob@example.com"),
            right.replace(&nonce, &format!("{}{}", &nonce[..32], "0".repeat(32))),
            right.replace("alice", "bob"),
            right.replace("qop=auth, ", ""),
            String::new(),
            "Digest username=\"alice\", realm=\"example.com\", nonce=\"é\", qop=auth".to_owned(),
        ] {
            assert_eq!(check(&mut guard, START, &answer), Err(Refused::Wrong), "{answer}");
        }
        assert!(check(&mut guard, START, &right).is_ok());
    }

    #[test]
    fn an_old_nonce_and_a_count_that_does_not_rise_are_stale() {
        let mut guard = guard();
        let mut session = session(&mut guard, START, Algorithm::Sha256);
        let first = session.answer(&user("secret"), "PUBLISH", URI);
        let second = session.answer(&user("secret"), "PUBLISH", URI);
        assert!(check(&mut guard, START, &second).is_ok());
        for again in [&first, &second] {
            assert_eq!(check(&mut guard, START, again), Err(Refused::Stale));
        }
        let third = session.answer(&user("secret"), "PUBLISH", URI);
        assert_eq!(check(&mut guard, START.after_s(NONCE_LIFE_S), &third), Err(Refused::Stale));
        assert!(guard.challenges(START, true).iter().all(|value| value.ends_with(", stale=true")));
    }

    #[test]
    fn who_knows_the_password_but_has_its_nonce_from_before_a_restart_is_asked_again() {
        let mut before = guard();
        let mut session = session(&mut before, START, Algorithm::Sha256);
        let mut after =
            DigestGuard::new("example.com".to_owned(), vec![user("secret")], Secret::new([8; 32]), 2);
        let (right, wrong) = (user("secret"), user("guess"));
        let answer = session.answer(&right, "PUBLISH", URI);
        assert_eq!(check(&mut after, START, &answer), Err(Refused::Stale));
        assert_eq!(check(&mut after, START, &session.answer(&wrong, "PUBLISH", URI)), Err(Refused::Wrong));
    }

    #[test]
    fn a_nonce_whose_count_was_given_up_is_stale_not_new() {
        let mut guard = guard();
        let mut sessions: Vec<_> = (0..3).map(|_| session(&mut guard, START, Algorithm::Md5)).collect();
        let answers: Vec<_> =
            sessions.iter_mut().map(|session| session.answer(&user("secret"), "PUBLISH", URI)).collect();
        for answer in &answers {
            assert!(check(&mut guard, START, answer).is_ok());
        }
        assert_eq!(check(&mut guard, START, &answers[0]), Err(Refused::Stale));
    }
}
