//! A client that answers digest challenges, request after request.
//! In: challenges in responses. Out: header fields for requests. Knows nothing of what the requests ask, sockets.
//! RFC 3261 section 22, RFC 7616.

use crate::base::Random;
use crate::sip::SipMessage;
use crate::sip::digest::{DigestChallenge, DigestSession, DigestUser};
use crate::sip::write::{Header, header};

/// A nonce is answered at most so often in one attempt, stale ones included.
pub const CHALLENGES_PER_ATTEMPT: u32 = 4;
/// Nonces in use at once: a server's, and those of proxies before it.
const DIGEST_SESSIONS: usize = 4;

/// One user's credentials and the nonces in use.
#[derive(Debug, Default)]
pub struct Authenticator {
    who: Option<DigestUser>,
    sessions: Vec<DigestSession>,
}

/// What was answered since a request was first sent: it goes from one sending to the next.
#[derive(Debug, Default)]
pub struct Attempt {
    /// Those that were not stale, by whether a proxy asked, and its realm.
    answered: Vec<(bool, String)>,
    challenges: u32,
}

impl Authenticator {
    /// Without a user or without a password no challenge is answered.
    pub fn new(user: Option<&str>, password: Option<&str>) -> Self {
        let who = user
            .zip(password)
            .map(|(user, password)| DigestUser { user: user.to_owned(), password: password.to_owned() });
        Self { who, sessions: Vec::new() }
    }

    /// The fields for a request to this Request-URI. Nonces that were given before are answered at once: no round
    /// trip for a challenge.
    pub fn headers(&mut self, method: &str, uri: &str) -> Vec<Header> {
        let Some(who) = &self.who else {
            return Vec::new();
        };
        self.sessions
            .iter_mut()
            .map(|session| {
                let answer = session.answer(who, method, uri);
                header(session.header_name(), answer)
            })
            .collect()
    }

    /// Remembers the challenge's nonce; `true` if the request is to be sent again with [`Self::headers`]. A password
    /// is tried once per attempt: a second challenge that does not say "stale" means that it is wrong.
    pub fn accept(&mut self, attempt: &mut Attempt, response: &SipMessage<'_>, random: &mut Random) -> bool {
        let proxy = match response.status() {
            Some(401) => false,
            Some(407) => true,
            _ => return false,
        };
        if self.who.is_none() || attempt.challenges >= CHALLENGES_PER_ATTEMPT {
            return false;
        }
        let raw = response.challenges().filter(|challenge| challenge.proxy == proxy);
        let Some(challenge) = DigestChallenge::strongest(raw) else {
            return false;
        };
        let name = (challenge.proxy, challenge.realm.clone());
        let is_same = |session: &DigestSession| {
            session.challenge().proxy == name.0 && session.challenge().realm == name.1
        };
        self.sessions.retain(|session| !is_same(session));
        if !challenge.stale {
            if attempt.answered.contains(&name) {
                return false;
            }
            attempt.answered.push(name);
        }
        attempt.challenges += 1;
        if self.sessions.len() >= DIGEST_SESSIONS {
            self.sessions.remove(0);
        }
        self.sessions.push(DigestSession::new(challenge, random.token()));
        true
    }
}
