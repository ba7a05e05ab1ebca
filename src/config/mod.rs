//! The configuration.
//! In: TOML, as text. Out: `Config`, or one sentence that names file, line and key. Knows nothing of files, captures and sockets.
//! Every key does something; unknown ones are errors. `Config::to_toml` is the documentation of all of them.

mod presence;
mod show;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;

pub use presence::{ListenAddress, NOT_A_LISTEN_ADDRESS, PresenceSection};

use crate::base::{EndedOn, Rules, TalkingOn};
use crate::publish::{EventPackage, OnStop};
use crate::sip::{Aor, Scheme, Uri};

/// Where the configuration is wrong: one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: {what}")]
    Unreadable {
        /// Which file.
        file: String,
        /// What the system says.
        what: String,
    },
    /// A place in the file.
    #[error("{file}, line {line}: {what}")]
    Wrong {
        /// Which file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong, naming the key.
        what: String,
    },
}

/// All that can be configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// What counts as what.
    pub rules: Rules,
    /// How to publish.
    pub publish: PublishSection,
    /// How to serve presence.
    pub presence: PresenceSection,
}

/// The part of the configuration that says how to publish.
#[derive(Clone, PartialEq)]
pub struct PublishSection {
    /// The presence server, `sip:host[:port]`, for `--publish config`.
    pub server: Option<String>,
    /// The URI in From; `None`: the presentity itself.
    pub from: Option<String>,
    /// Digest user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Seconds asked for in Expires.
    pub expires_s: u32,
    /// What a clean stop does with what is published.
    pub on_stop: OnStop,
    /// The packages that are published.
    pub events: Vec<EventPackage>,
    /// An empty `<dialog>` in every dialog-info document.
    pub placeholder: bool,
    /// The other party's URI in dialog-info documents.
    pub remote_identity: bool,
}

impl Default for PublishSection {
    fn default() -> Self {
        Self {
            server: None,
            from: None,
            user: None,
            password: None,
            password_file: None,
            expires_s: 600,
            on_stop: OnStop::default(),
            events: EventPackage::ALL.to_vec(),
            placeholder: true,
            remote_identity: true,
        }
    }
}

/// Without the password.
impl fmt::Debug for PublishSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishSection")
            .field("server", &self.server)
            .field("expires_s", &self.expires_s)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct File {
    talking_on: Option<TalkingOnWord>,
    ended_on: Option<EndedOnWord>,
    domains: Option<Vec<Spanned<String>>>,
    registration: Option<RegistrationTable>,
    session_type: Option<InOrder>,
    dialog: Option<DialogTable>,
    publish: Option<PublishTable>,
    dialog_info: Option<DialogInfoTable>,
    presence: Option<presence::PresenceTable>,
}

#[derive(Deserialize)]
enum TalkingOnWord {
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "200")]
    Response,
    #[serde(rename = "ack")]
    Ack,
}

#[derive(Deserialize)]
enum EndedOnWord {
    #[serde(rename = "bye")]
    Bye,
    #[serde(rename = "200")]
    Response,
}

#[derive(Deserialize)]
enum OnStopWord {
    #[serde(rename = "remove")]
    Remove,
    #[serde(rename = "keep")]
    Keep,
}

#[derive(Deserialize)]
enum EventWord {
    #[serde(rename = "presence")]
    Presence,
    #[serde(rename = "dialog")]
    Dialog,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrationTable {
    #[serde(alias = "grace")]
    grace_s: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DialogTable {
    cap_s: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishTable {
    server: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    expires_s: Option<Spanned<u32>>,
    on_stop: Option<OnStopWord>,
    events: Option<Vec<EventWord>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DialogInfoTable {
    placeholder: Option<bool>,
    remote_identity: Option<bool>,
}

/// A table whose order counts: the parser sorts keys, their places in the file put them back in order.
struct InOrder(Vec<(Spanned<String>, Spanned<String>)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = InOrder;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of patterns and session types")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut pairs: Vec<(Spanned<String>, Spanned<String>)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                pairs.sort_by_key(|(pattern, _)| pattern.span().start);
                Ok(InOrder(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Seconds of the shortest and the longest publication that make sense.
const EXPIRES_S: std::ops::RangeInclusive<u32> = 30..=86_400;
/// Seconds: a shorter cap would end calls that go on.
const MIN_DIALOG_CAP_S: u32 = 60;

impl Config {
    /// Reads the text of a file of this name. A `password_file` is not opened.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`].
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let place = Place { file, text };
        let read: File = toml::from_str(text).map_err(|error| place.syntax(&error))?;
        let mut config = Self::default();
        let rules = &mut config.rules;
        rules.talking_on = match read.talking_on {
            Some(TalkingOnWord::Response) => TalkingOn::Response,
            Some(TalkingOnWord::Ack) => TalkingOn::Ack,
            Some(TalkingOnWord::Auto) | None => TalkingOn::Auto,
        };
        rules.ended_on = match read.ended_on {
            Some(EndedOnWord::Response) => EndedOn::Response,
            Some(EndedOnWord::Bye) | None => EndedOn::Bye,
        };
        for domain in read.domains.unwrap_or_default() {
            let name = managed_domain(domain.as_ref())
                .ok_or_else(|| place.wrong(&domain.span(), NOT_A_DOMAIN.to_owned()))?;
            rules.domains.push(name);
        }
        if let Some(grace_s) = read.registration.and_then(|table| table.grace_s) {
            rules.grace_s = grace_s;
        }
        for (pattern, session_type) in read.session_type.map(|table| table.0).unwrap_or_default() {
            if pattern.as_ref().is_empty() || session_type.as_ref().is_empty() {
                let span = if pattern.as_ref().is_empty() { pattern.span() } else { session_type.span() };
                return Err(place.wrong(&span, "a pattern and its session type must not be empty".to_owned()));
            }
            rules.session_types.push((pattern.into_inner(), session_type.into_inner()));
        }
        if let Some(cap_s) = read.dialog.and_then(|table| table.cap_s) {
            if *cap_s.as_ref() < MIN_DIALOG_CAP_S {
                return Err(place.wrong(&cap_s.span(), format!("must be at least {MIN_DIALOG_CAP_S} s")));
            }
            rules.dialog_cap_s = cap_s.into_inner();
        }
        if let Some(table) = read.publish {
            config.publish = publish(table, &place)?;
        }
        if let Some(table) = read.dialog_info {
            let publish = &mut config.publish;
            publish.placeholder = table.placeholder.unwrap_or(publish.placeholder);
            publish.remote_identity = table.remote_identity.unwrap_or(publish.remote_identity);
        }
        if let Some(table) = read.presence {
            config.presence = presence::presence(table, &place)?;
        }
        Ok(config)
    }
}

/// What is said of something that is no domain.
pub const NOT_A_DOMAIN: &str = "is neither a domain such as example.com, nor an IP address, nor \"any\"";

/// A domain to manage in its canonical spelling; `None` when it is neither a domain nor an address nor `any`.
pub fn managed_domain(text: &str) -> Option<String> {
    if text.eq_ignore_ascii_case("any") {
        return Some("any".to_owned());
    }
    let bare_ipv6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let uri = if bare_ipv6 { format!("sip:[{text}]") } else { format!("sip:{text}") };
    if text.contains(['@', ';', '?', '<', '>'])
        || (!bare_ipv6 && !text.starts_with('[') && text.contains(':'))
    {
        return None;
    }
    Aor::from_uri(uri.as_bytes())?.domain().map(str::to_owned)
}

fn publish(table: PublishTable, place: &Place<'_>) -> Result<PublishSection, ConfigError> {
    let mut section = PublishSection::default();
    if let (Some(_), Some(file)) = (&table.password, &table.password_file) {
        return Err(
            place.wrong(&file.span(), "and `password` exclude each other: give one of them".to_owned())
        );
    }
    let secret =
        table.password.as_ref().map(Spanned::span).or(table.password_file.as_ref().map(Spanned::span));
    match (&table.user, secret) {
        (Some(user), None) => {
            return Err(
                place.wrong(&user.span(), "needs a `password` or a `password_file` beside it".to_owned())
            );
        }
        (None, Some(span)) => return Err(place.wrong(&span, "needs a `user` beside it".to_owned())),
        _ => {}
    }
    if let Some(server) = table.server {
        let usable = Uri::parse(server.as_ref().as_bytes()).is_some_and(|uri| uri.scheme == Scheme::Sip);
        if !usable {
            let what = "must be a SIP URI such as \"sip:presence.example.com\"".to_owned();
            return Err(place.wrong(&server.span(), what));
        }
        section.server = Some(server.into_inner());
    }
    if let Some(from) = table.from.filter(|from| from.as_ref() != "presentity") {
        if Aor::from_uri(from.as_ref().as_bytes()).is_none() {
            let what = "must be \"presentity\" or a SIP URI such as \"sip:offhook@example.com\"".to_owned();
            return Err(place.wrong(&from.span(), what));
        }
        section.from = Some(from.into_inner());
    }
    if let Some(expires_s) = table.expires_s {
        if !EXPIRES_S.contains(expires_s.as_ref()) {
            let what = format!("must be from {} to {} s", EXPIRES_S.start(), EXPIRES_S.end());
            return Err(place.wrong(&expires_s.span(), what));
        }
        section.expires_s = expires_s.into_inner();
    }
    section.user = table.user.map(Spanned::into_inner);
    section.password = table.password.map(Spanned::into_inner);
    section.password_file = table.password_file.map(Spanned::into_inner);
    section.on_stop = match table.on_stop {
        Some(OnStopWord::Remove) => OnStop::Remove,
        Some(OnStopWord::Keep) => OnStop::Keep,
        None => section.on_stop,
    };
    if let Some(events) = table.events {
        section.events = EventPackage::ALL
            .into_iter()
            .filter(|package| {
                events.iter().any(|word| match word {
                    EventWord::Presence => *package == EventPackage::Presence,
                    EventWord::Dialog => *package == EventPackage::Dialog,
                })
            })
            .collect();
    }
    Ok(section)
}

/// Tells where something stands.
struct Place<'a> {
    file: &'a str,
    text: &'a str,
}

impl Place<'_> {
    fn error(&self, at: usize, what: String) -> ConfigError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        ConfigError::Wrong { file: self.file.to_owned(), line, what }
    }

    /// A value that is read but cannot be meant.
    fn wrong(&self, span: &Range<usize>, what: String) -> ConfigError {
        let what = match self.key(span.start) {
            Some(key) => format!("`{key}` {what}"),
            None => what,
        };
        self.error(span.start, what)
    }

    /// What the parser or the types refused.
    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(": ");
        let refused = |prefix: &str| message.strip_prefix(prefix).map(str::to_owned);
        let what = if let Some(rest) = refused("unknown field ") {
            format!("there is no key {rest}")
                .replace(", expected one of ", "; there are ")
                .replace(", expected ", "; there is ")
        } else if let Some(rest) = refused("unknown variant ") {
            let (word, expected) = rest.split_once(", expected ").unwrap_or((&rest, ""));
            let expected = expected.strip_prefix("one of ").unwrap_or(expected).replace('`', "\"");
            let key = self.key(at).unwrap_or_default();
            format!("`{key}` cannot be {}; it can be {expected}", word.replace('`', "\""))
        } else if message.starts_with("invalid type") || message.starts_with("invalid value") {
            let key = self.key(at).unwrap_or_default();
            format!("`{key}` has an {message}")
        } else {
            message
        };
        self.error(at, what)
    }

    /// The key whose value stands there: what is before the `=` on that line or, in a list of several
    /// lines, on one before.
    fn key(&self, at: usize) -> Option<String> {
        let end = self.text.get(at..)?.find('\n').map_or(self.text.len(), |length| at + length);
        let mut key = None;
        let mut table = None;
        for line in self.text.get(..end)?.lines().rev().map(str::trim) {
            if line.starts_with('[') && line.ends_with(']') && !line.contains('=') {
                table = Some(line.trim_matches(['[', ']']).trim());
                break;
            }
            if key.is_none() && !line.starts_with('#') {
                key = line.split_once('=').map(|(key, _)| key.trim());
            }
        }
        match (table, key) {
            (Some(table), Some(key)) => Some(format!("{table}.{key}")),
            (None, Some(key)) => Some(key.to_owned()),
            (_, None) => None,
        }
    }
}
