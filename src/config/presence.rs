//! The part of the configuration that says how to serve presence.
//! In: the table `[presence]`. Out: `PresenceSection`, or one sentence. Knows nothing of files, sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::show::{list, quoted};
use super::{Config, Place};
use crate::base::{Listen, ListenError, Transport};
use crate::compositor::PresenceServerOptions;
use crate::sip::digest::DigestUser;

/// How to serve presence. `Debug` does not show the users.
#[derive(Clone, PartialEq)]
pub struct PresenceSection {
    /// Where it listens, each once.
    pub listen: Vec<Listen>,
    /// The certificate chain of `tls:` addresses, a PEM file.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key, a PEM file.
    pub tls_key: Option<PathBuf>,
    /// Seconds: the shortest time that is granted.
    pub min_expires_s: u32,
    /// Seconds: the longest time that is granted.
    pub max_expires_s: u32,
    /// The digest realm.
    pub realm: String,
    /// Passwords by user; empty: everybody may publish and watch.
    pub users: BTreeMap<String, String>,
}

impl Default for PresenceSection {
    fn default() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 5060));
        let options = PresenceServerOptions::new([0; 32]);
        Self {
            listen: [Transport::Udp, Transport::Tcp].map(|transport| Listen { transport, address }).to_vec(),
            tls_certificate: None,
            tls_key: None,
            min_expires_s: options.min_expires_s,
            max_expires_s: options.max_expires_s,
            realm: options.realm,
            users: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for PresenceSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceSection")
            .field("listen", &self.listen)
            .field("min_expires_s", &self.min_expires_s)
            .field("max_expires_s", &self.max_expires_s)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PresenceTable {
    listen: Option<Vec<Spanned<String>>>,
    tls_certificate: Option<Spanned<PathBuf>>,
    tls_key: Option<Spanned<PathBuf>>,
    min_expires_s: Option<Spanned<u32>>,
    max_expires_s: Option<Spanned<u32>>,
    realm: Option<Spanned<String>>,
    users: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
}

/// Seconds that may be granted.
const EXPIRES_S: std::ops::RangeInclusive<u32> = 1..=86_400;

/// What the table says.
pub(super) fn presence(table: PresenceTable, place: &Place<'_>) -> PresenceSection {
    let mut section = PresenceSection::default();
    if let Some(listen) = table.listen {
        section.listen.clear();
        for text in listen {
            let address: Listen = match text.as_ref().parse() {
                Ok(address) => address,
                Err(error) => {
                    let error: ListenError = error;
                    place.wrong(&text.span(), &format!("names no place to listen: {error}"));
                    continue;
                }
            };
            if section.listen.contains(&address) {
                place.wrong(&text.span(), &format!("names {address} twice"));
            }
            let tls = table.tls_certificate.is_some() && table.tls_key.is_some();
            if address.transport == Transport::Tls && !tls {
                place.wrong(&text.span(), "with TLS needs `tls_certificate` and `tls_key` beside it");
            }
            section.listen.push(address);
        }
    }
    match (&table.tls_certificate, &table.tls_key) {
        (Some(certificate), None) => {
            place.wrong(&certificate.span(), "needs a `tls_key` beside it");
        }
        (None, Some(key)) => {
            place.wrong(&key.span(), "needs a `tls_certificate` beside it");
        }
        _ => {}
    }
    section.tls_certificate = table.tls_certificate.map(|file| place.path(file.as_ref()));
    section.tls_key = table.tls_key.map(|file| place.path(file.as_ref()));
    let spans = [&table.min_expires_s, &table.max_expires_s].map(|value| value.as_ref().map(Spanned::span));
    let mut both_possible = true;
    for value in [&table.min_expires_s, &table.max_expires_s].into_iter().flatten() {
        if !EXPIRES_S.contains(value.as_ref()) {
            let what = format!("must be from {} to {} s", EXPIRES_S.start(), EXPIRES_S.end());
            place.wrong(&value.span(), &what);
            both_possible = false;
        }
    }
    section.min_expires_s = table.min_expires_s.map_or(section.min_expires_s, Spanned::into_inner);
    section.max_expires_s = table.max_expires_s.map_or(section.max_expires_s, Spanned::into_inner);
    if both_possible
        && section.min_expires_s > section.max_expires_s
        && let Some(span) = spans.into_iter().flatten().next()
    {
        let (min_s, max_s) = (section.min_expires_s, section.max_expires_s);
        let what = format!("leaves no time to grant: at least {min_s} s and at most {max_s} s");
        place.wrong(&span, &what);
    }
    if let Some(realm) = table.realm {
        if !is_quotable(realm.as_ref()) {
            place.wrong(&realm.span(), NOT_QUOTABLE);
        }
        section.realm = realm.into_inner();
    }
    for (user, password) in table.users.unwrap_or_default() {
        if !is_quotable(user.as_ref()) || user.as_ref().contains(':') {
            place.wrong(&user.span(), &format!("{NOT_QUOTABLE}, nor a colon"));
        }
        if password.as_ref().is_empty() {
            place.wrong(&password.span(), "needs a password that is not empty");
        }
        section.users.insert(user.into_inner(), password.into_inner());
    }
    section
}

const NOT_QUOTABLE: &str = "must not be empty or contain quotes, backslashes or control characters";

/// It goes between quotes as it is.
fn is_quotable(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control() || matches!(c, '"' | '\\'))
}

impl Config {
    /// How to serve, as configured. `seed`: see [`PresenceServerOptions::seed`].
    pub fn presence_server_options(&self, seed: [u8; 32]) -> PresenceServerOptions {
        let section = &self.presence;
        let user = |(user, password): (&String, &String)| DigestUser {
            user: user.clone(),
            password: password.clone(),
        };
        PresenceServerOptions {
            min_expires_s: section.min_expires_s,
            max_expires_s: section.max_expires_s,
            default_expires_s: section.max_expires_s,
            realm: section.realm.clone(),
            users: section.users.iter().map(user).collect(),
            placeholder: self.publish.placeholder,
            remote_identity: self.publish.remote_identity,
            ..PresenceServerOptions::new(seed)
        }
    }
}

impl PresenceSection {
    /// Comment and line of each key, as [`Config::to_toml`] shows them. Passwords are not shown.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let path = |key: &str, path: &Option<PathBuf>, example: &str| match path {
            Some(path) => format!("{key} = {}", quoted(&path.display().to_string())),
            None => format!("# {key} = {}", quoted(example)),
        };
        let addresses: Vec<String> = self.listen.iter().map(Listen::to_string).collect();
        let users = self
            .users
            .keys()
            .fold("[presence.users]".to_owned(), |text, user| format!("{text}\n# {} = \"…\"", quoted(user)));
        vec![
            ("", "[presence]".to_owned()),
            (
                "Where the presence server listens: \"udp:\", \"tcp:\" or \"tls:\", an IP address, a port.\n\
                 Default: [\"udp:127.0.0.1:5060\", \"tcp:127.0.0.1:5060\"].",
                format!("listen = {}", list(addresses.iter().map(String::as_str))),
            ),
            (
                "The certificate chain for \"tls:\", a PEM file; relative to this file. Default: none.",
                path("tls_certificate", &self.tls_certificate, "presence.pem"),
            ),
            ("Its private key, a PEM file. Default: none.", path("tls_key", &self.tls_key, "presence.key")),
            (
                "Seconds: publications and subscriptions for a shorter time are refused, 1 to 86400. Default: 60.",
                format!("min_expires_s = {}", self.min_expires_s),
            ),
            (
                "Seconds: none lasts longer without a refresh, 1 to 86400. Default: 3600.",
                format!("max_expires_s = {}", self.max_expires_s),
            ),
            (
                "The digest realm in which users say who they are. Default: \"offhook\".",
                format!("realm = {}", quoted(&self.realm)),
            ),
            (
                "Who may publish and watch: user and password. Passwords are not shown. Default: empty, everybody.\n\
                 Example: \"tap\" = \"a password\"",
                users,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PresenceSection, String> {
        Config::parse("offhook.toml", text).map(|config| config.presence).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_of_the_presence_server_is_read() {
        let section = read(
            r#"
            [presence]
            listen = ["udp:192.0.2.1:5060", "tcp:[2001:db8::1]:5070", "tls:0.0.0.0:5061"]
            tls_certificate = "chain.pem"
            tls_key = "key.pem"
            min_expires_s = 30
            max_expires_s = 600
            realm = "example.com"
            [presence.users]
            tap = "s3cret"
            "#,
        )
        .unwrap();
        let listen: Vec<String> = section.listen.iter().map(Listen::to_string).collect();
        assert_eq!(listen, ["udp:192.0.2.1:5060", "tcp:[2001:db8::1]:5070", "tls:0.0.0.0:5061"]);
        assert_eq!(section.tls_certificate, Some("chain.pem".into()));
        assert_eq!(section.tls_key, Some("key.pem".into()));
        assert_eq!((section.min_expires_s, section.max_expires_s), (30, 600));
        assert!(!format!("{section:?}").contains("s3cret"));
        let config = Config { presence: section, ..Config::default() };
        let options = config.presence_server_options([1; 32]);
        assert_eq!((options.min_expires_s, options.max_expires_s, &*options.realm), (30, 600, "example.com"));
        assert_eq!((&*options.users[0].user, &*options.users[0].password), ("tap", "s3cret"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        let cases = [
            (
                "listen = [\"127.0.0.1:5060\"]",
                "`presence.listen` names no place to listen: `127.0.0.1:5060` does not begin with",
            ),
            (
                "listen = [\"udp:localhost:5060\"]",
                "`presence.listen` names no place to listen: `udp:localhost:5060` names no IP",
            ),
            ("listen = [\"udp:[::1]:1\", \"udp:[::1]:1\"]", "`presence.listen` names udp:[::1]:1 twice"),
            ("listen = [\"tls:127.0.0.1:5061\"]", "`presence.listen` with TLS needs `tls_certificate`"),
            ("tls_key = \"x\"", "`presence.tls_key` needs a `tls_certificate` beside it"),
            ("tls_certificate = \"x\"", "`presence.tls_certificate` needs a `tls_key` beside it"),
            ("min_expires_s = 0", "`presence.min_expires_s` must be from 1 to 86400 s"),
            ("max_expires_s = 10", "`presence.max_expires_s` leaves no time to grant"),
            ("realm = \"a\\\"b\"", "`presence.realm` must not be empty or contain quotes"),
            ("users = { tap = \"\" }", "`presence.users` needs a password that is not empty"),
            ("users = { \"a:b\" = \"x\" }", "`presence.users` must not be empty or contain quotes"),
            ("port = 5060", "there is no key `port`; there are `listen`,"),
        ];
        for (line, expected) in cases {
            let said = read(&format!("[presence]\n{line}")).unwrap_err();
            let expected = format!("offhook.toml, line 2: {expected}");
            assert!(said.starts_with(&expected), "{line}\n said {said}\n not  {expected}");
        }
    }

    #[test]
    fn what_is_shown_of_the_presence_server_says_the_same() {
        let mut section = PresenceSection {
            listen: vec!["tls:[::1]:0".parse().unwrap()],
            tls_certificate: Some("chain.pem".into()),
            tls_key: Some("key.pem".into()),
            min_expires_s: 5,
            max_expires_s: 50,
            realm: "example.com".to_owned(),
            users: BTreeMap::new(),
        };
        let shown = Config { presence: section.clone(), ..Config::default() }.to_toml();
        assert_eq!(read(&shown).unwrap(), section, "{shown}");
        section.users.insert("tap".to_owned(), "s3cret".to_owned());
        let shown = Config { presence: section, ..Config::default() }.to_toml();
        assert!(shown.contains("# \"tap\" = ") && !shown.contains("s3cret"), "{shown}");
        assert!(read(&shown).unwrap().users.is_empty());
    }
}
