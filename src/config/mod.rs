//! The configuration.
//! In: TOML, as text. Out: `Config`, or one sentence that names file, line and key. Knows nothing of files, captures and sockets.
//! Every key does something; unknown ones are errors. `Config::to_toml` is the documentation of all of them.

mod credentials;
mod presence;
mod publish;
mod show;
#[cfg(test)]
mod tests;
mod watch;
mod webhook;

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;

pub use presence::PresenceSection;
pub use webhook::{NOT_A_SECRET, WebhookSection};

use crate::base::{EndedOn, Rules, TalkingOn};
use crate::sip::Aor;
use publish::PublishTable;

pub use publish::PublishSection;

pub use watch::WatchSection;
use watch::WatchTable;

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
    /// Whom to tell over HTTP.
    pub webhooks: Vec<WebhookSection>,
    /// How to watch.
    pub watch: WatchSection,
    /// How to serve presence.
    pub presence: PresenceSection,
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
    #[serde(default)]
    webhook: Vec<Spanned<webhook::WebhookTable>>,
    watch: Option<WatchTable>,
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

/// Seconds: a shorter cap would end calls that go on.
const MIN_DIALOG_CAP_S: u32 = 60;

impl Config {
    /// Reads the text of a file of this name. Files that it names are not opened.
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
            config.publish = table.read(&place)?;
        }
        if let Some(table) = read.dialog_info {
            let publish = &mut config.publish;
            publish.placeholder = table.placeholder.unwrap_or(publish.placeholder);
            publish.remote_identity = table.remote_identity.unwrap_or(publish.remote_identity);
        }
        for table in read.webhook {
            config.webhooks.push(webhook::webhook(table, &place)?);
        }
        if let Some(table) = read.watch {
            config.watch = table.read(&place)?;
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
                // Not one inside quotes, as in `sip:example.com;transport=tcp` on a line of its own.
                let equals = line.match_indices('=').find(|&(at, _)| {
                    line.get(..at).is_some_and(|before| before.matches('"').count() % 2 == 0)
                });
                key = equals.and_then(|(at, _)| line.get(..at)).map(str::trim);
            }
        }
        match (table, key) {
            (Some(table), Some(key)) => Some(format!("{table}.{key}")),
            (None, Some(key)) => Some(key.to_owned()),
            (_, None) => None,
        }
    }
}
