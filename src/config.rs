//! The configuration file.
//! In: TOML, as text. Out: `Config`, or one sentence that names file, line and key. Knows nothing of captures and sockets.
//! Every key does something; unknown ones are errors. `Config::to_toml` is the documentation of all of them.

use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;

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
    pub rules: RulesSection,
    /// How to publish.
    pub publish: PublishSection,
}

/// The part of the configuration that the machines need.
#[derive(Clone, Debug, PartialEq)]
pub struct RulesSection {
    /// When talking begins.
    pub talking_on: TalkingOn,
    /// When talking ends.
    pub ended_on: EndedOn,
    /// Managed domains.
    pub domains: Vec<String>,
    /// Seconds.
    pub grace_s: u32,
    /// Pattern and session type; the first match counts.
    pub session_types: Vec<(String, String)>,
    /// Seconds.
    pub dialog_cap_s: u32,
}

impl Default for RulesSection {
    fn default() -> Self {
        let rules = Rules::default();
        Self {
            talking_on: rules.talking_on,
            ended_on: rules.ended_on,
            domains: rules.domains,
            grace_s: rules.grace_s,
            session_types: rules.session_types,
            dialog_cap_s: rules.dialog_cap_s,
        }
    }
}

/// The part of the configuration that says how to publish.
#[derive(Clone, PartialEq)]
pub struct PublishSection {
    /// The presence server, `sip:host[:port]`; `--publish` wins over it.
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
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read, or something in it is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| unreadable(&file, &error))?;
        let mut config = Self::parse(&file, &text)?;
        if let Some(password_file) = &config.publish.password_file {
            // Relative to the configuration, wherever offhook is started.
            let password_file = path.parent().unwrap_or(Path::new("")).join(password_file);
            let name = password_file.display().to_string();
            let password =
                fs::read_to_string(&password_file).map_err(|error| unreadable(&name, &error))?;
            let password = password.lines().next().unwrap_or_default();
            if password.is_empty() {
                let what = "its first line should be a password, and is empty".to_owned();
                return Err(ConfigError::Unreadable { file: name, what });
            }
            config.publish.password = Some(password.to_owned());
            config.publish.password_file = Some(password_file);
        }
        Ok(config)
    }

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
                let span = if pattern.as_ref().is_empty() {
                    pattern.span()
                } else {
                    session_type.span()
                };
                return Err(place.wrong(
                    &span,
                    "a pattern and its session type must not be empty".to_owned(),
                ));
            }
            rules
                .session_types
                .push((pattern.into_inner(), session_type.into_inner()));
        }
        if let Some(cap_s) = read.dialog.and_then(|table| table.cap_s) {
            if *cap_s.as_ref() < MIN_DIALOG_CAP_S {
                return Err(place.wrong(
                    &cap_s.span(),
                    format!("must be at least {MIN_DIALOG_CAP_S} s"),
                ));
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
        Ok(config)
    }

    /// What the machines need of it.
    pub fn rules(&self) -> Rules {
        let rules = &self.rules;
        Rules {
            talking_on: rules.talking_on,
            ended_on: rules.ended_on,
            domains: rules.domains.clone(),
            grace_s: rules.grace_s,
            session_types: rules.session_types.clone(),
            dialog_cap_s: rules.dialog_cap_s,
        }
    }
}

/// What is said of something that is no domain.
pub const NOT_A_DOMAIN: &str =
    "is neither a domain such as example.com, nor an IP address, nor \"any\"";

/// A domain to manage in its canonical spelling; `None` when it is neither a domain nor an address nor `any`.
pub fn managed_domain(text: &str) -> Option<String> {
    if text.eq_ignore_ascii_case("any") {
        return Some("any".to_owned());
    }
    let bare_ipv6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let uri = if bare_ipv6 {
        format!("sip:[{text}]")
    } else {
        format!("sip:{text}")
    };
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
        return Err(place.wrong(
            &file.span(),
            "and `password` exclude each other: give one of them".to_owned(),
        ));
    }
    let secret = table
        .password
        .as_ref()
        .map(Spanned::span)
        .or(table.password_file.as_ref().map(Spanned::span));
    match (&table.user, secret) {
        (Some(user), None) => {
            return Err(place.wrong(
                &user.span(),
                "needs a `password` or a `password_file` beside it".to_owned(),
            ));
        }
        (None, Some(span)) => return Err(place.wrong(&span, "needs a `user` beside it".to_owned())),
        _ => {}
    }
    if let Some(server) = table.server {
        let usable =
            Uri::parse(server.as_ref().as_bytes()).is_some_and(|uri| uri.scheme == Scheme::Sip);
        if !usable {
            let what = "must be a SIP URI such as \"sip:presence.example.com\"".to_owned();
            return Err(place.wrong(&server.span(), what));
        }
        section.server = Some(server.into_inner());
    }
    if let Some(from) = table.from {
        if from.as_ref() != "presentity" {
            if Aor::from_uri(from.as_ref().as_bytes()).is_none() {
                let what =
                    "must be \"presentity\" or a SIP URI such as \"sip:offhook@example.com\""
                        .to_owned();
                return Err(place.wrong(&from.span(), what));
            }
            section.from = Some(from.into_inner());
        }
    }
    if let Some(expires_s) = table.expires_s {
        if !EXPIRES_S.contains(expires_s.as_ref()) {
            let what = format!(
                "must be from {} to {} s",
                EXPIRES_S.start(),
                EXPIRES_S.end()
            );
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

fn unreadable(file: &str, error: &io::Error) -> ConfigError {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    ConfigError::Unreadable {
        file: file.to_owned(),
        what,
    }
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
        ConfigError::Wrong {
            file: self.file.to_owned(),
            line,
            what,
        }
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
            let expected = expected
                .strip_prefix("one of ")
                .unwrap_or(expected)
                .replace('`', "\"");
            let key = self.key(at).unwrap_or_default();
            format!(
                "`{key}` cannot be {}; it can be {expected}",
                word.replace('`', "\"")
            )
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
        let end = self
            .text
            .get(at..)?
            .find('\n')
            .map_or(self.text.len(), |length| at + length);
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

impl Config {
    /// A configuration file that says exactly this, with the meaning, unit and default of every key.
    /// A password is not shown.
    pub fn to_toml(&self) -> String {
        let (rules, publish) = (&self.rules, &self.publish);
        let mut text = String::from(
            "# offhook: every key there is, as it now is. A key that is left out has its default.\n\n",
        );
        let mut say = |comment: &str, line: &str| {
            for comment in comment.lines() {
                let _ = writeln!(text, "# {comment}");
            }
            let _ = writeln!(text, "{line}\n");
        };
        let talking_on = match rules.talking_on {
            TalkingOn::Auto => "auto",
            TalkingOn::Response => "200",
            TalkingOn::Ack => "ack",
        };
        say(
            "When a session counts as talking: \"200\" at the 2xx to the INVITE, \"ack\" at the ACK to it,\n\
             \"auto\" at the 2xx, but at the ACK where the 2xx itself makes the first offer.\nDefault: \"auto\".",
            &format!("talking_on = {}", quoted(talking_on)),
        );
        let ended_on = match rules.ended_on {
            EndedOn::Bye => "bye",
            EndedOn::Response => "200",
        };
        say(
            "When it is over: \"bye\" at the BYE, \"200\" at the final response to it.\nDefault: \"bye\".",
            &format!("ended_on = {}", quoted(ended_on)),
        );
        say(
            "Domains whose users are watched: names, aliases, IP addresses, or \"any\". `--domain` adds to them.\n\
             Default: [], those that a successful registration shows; users of others are shown as weak.",
            &format!(
                "domains = {}",
                list(rules.domains.iter().map(String::as_str))
            ),
        );
        say("", "[registration]");
        say(
            "Seconds for which a phone whose registration ended still counts as online. Default: 0.",
            &format!("grace_s = {}", rules.grace_s),
        );
        say(
            "What kind of session it is, by the URI that was dialled: `*` stands for any characters, the first\n\
             match counts, what matches nothing is a \"call\". Default: empty. Example:\n\
             \"sip:*97@*\" = \"voicemail\"",
            &rules.session_types.iter().fold(
                "[session_type]".to_owned(),
                |text, (pattern, session_type)| {
                    format!("{text}\n{} = {}", quoted(pattern), quoted(session_type))
                },
            ),
        );
        say("", "[dialog]");
        say(
            "Seconds after which a call without a sign of life is believed no longer, at least 60.\nDefault: 14400.",
            &format!("cap_s = {}", rules.dialog_cap_s),
        );
        say("", "[publish]");
        let optional = |key: &str, value: Option<&str>, example: &str| match value {
            Some(value) => format!("{key} = {}", quoted(value)),
            None => format!("# {key} = {}", quoted(example)),
        };
        say(
            "The presence server that is told, over UDP; `--publish` wins over it.\n\
             Default: none, and nothing is sent to anybody.",
            &optional(
                "server",
                publish.server.as_deref(),
                "sip:presence.example.com:5060",
            ),
        );
        say(
            "Who the publisher says it is (From): \"presentity\", or a SIP URI. Default: \"presentity\".",
            &format!(
                "from = {}",
                quoted(publish.from.as_deref().unwrap_or("presentity"))
            ),
        );
        let file = publish
            .password_file
            .as_ref()
            .map(|file| file.display().to_string());
        let hidden = publish.password.is_some() && file.is_none();
        let user = optional("user", publish.user.as_deref(), "offhook");
        say(
            "Digest user of the publisher, with a password. Default: none.",
            // Without the password, which is not shown, it would be an error.
            &if hidden { format!("# {user}") } else { user },
        );
        say(
            "Its password; better kept in a file of its own, see `password_file`. Default: none.",
            if hidden {
                "# password is set, and not shown"
            } else {
                "# password = \"…\""
            },
        );
        say(
            "A file whose first line is the password; relative to this file. Not together with `password`.\n\
             Default: none.",
            &optional("password_file", file.as_deref(), "offhook.password"),
        );
        say(
            "Seconds that a publication lasts without a refresh, 30 to 86400: when offhook dies, the lamps go\n\
             out after this time. Default: 600.",
            &format!("expires_s = {}", publish.expires_s),
        );
        say(
            "What a clean stop does with what is published: \"remove\" it, or \"keep\" it until it expires.\n\
             Default: \"remove\".",
            &format!(
                "on_stop = {}",
                quoted(if publish.on_stop == OnStop::Remove {
                    "remove"
                } else {
                    "keep"
                })
            ),
        );
        say(
            "Event packages that are published. Default: [\"presence\", \"dialog\"].",
            &format!(
                "events = {}",
                list(publish.events.iter().map(|package| package.name()))
            ),
        );
        say("", "[dialog_info]");
        say(
            "Keep an empty <dialog> element in every dialog-info document: some desk phones want one.\nDefault: true.",
            &format!("placeholder = {}", publish.placeholder),
        );
        say(
            "Tell watchers who the other party is. Default: true.",
            &format!("remote_identity = {}", publish.remote_identity),
        );
        text
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse("offhook.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(
            Config::parse("offhook.toml", "").unwrap(),
            Config::default()
        );
    }

    #[test]
    fn every_key_is_read() {
        let config = Config::parse(
            "offhook.toml",
            r#"
            talking_on = "ack"
            ended_on = "200"
            domains = ["Example.COM.", "192.0.2.1", "2001:DB8::1", "any"]
            [registration]
            grace = 30
            [dialog]
            cap_s = 7200
            [publish]
            server = "sip:192.0.2.20"
            from = "sip:offhook@example.com"
            user = "offhook"
            password = "s3cret"
            expires_s = 120
            on_stop = "keep"
            events = ["dialog"]
            [dialog_info]
            placeholder = false
            remote_identity = false
            "#,
        )
        .unwrap();
        assert_eq!(config.rules.talking_on, TalkingOn::Ack);
        assert_eq!(config.rules.ended_on, EndedOn::Response);
        assert_eq!(
            config.rules.domains,
            ["example.com", "192.0.2.1", "[2001:db8::1]", "any"]
        );
        assert_eq!(
            (config.rules.grace_s, config.rules.dialog_cap_s),
            (30, 7_200)
        );
        let publish = &config.publish;
        assert_eq!(publish.server.as_deref(), Some("sip:192.0.2.20"));
        assert_eq!(publish.from.as_deref(), Some("sip:offhook@example.com"));
        assert_eq!(
            (publish.user.as_deref(), publish.password.as_deref()),
            (Some("offhook"), Some("s3cret"))
        );
        assert_eq!((publish.expires_s, publish.on_stop), (120, OnStop::Keep));
        assert_eq!(publish.events, [EventPackage::Dialog]);
        assert!(!publish.placeholder && !publish.remote_identity);
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn session_types_keep_their_order() {
        let text = "[session_type]\n\"sip:*97@*\" = \"voicemail\"\n\"sip:9*@*\" = \"streaming\"\n\"sip:*\" = \"conference\"\n\"sip:1*\" = \"call\"\n";
        let config = Config::parse("offhook.toml", text).unwrap();
        let types: Vec<&str> = config
            .rules
            .session_types
            .iter()
            .map(|(_, name)| name.as_str())
            .collect();
        assert_eq!(types, ["voicemail", "streaming", "conference", "call"]);
    }

    #[test]
    fn errors_name_file_line_and_key_in_one_sentence() {
        let cases = [
            (
                "\n\ntalkin_on = \"ack\"",
                "offhook.toml, line 3: there is no key `talkin_on`; there are `talking_on`, `ended_on`,",
            ),
            (
                "[dialog]\ncap = 3",
                "offhook.toml, line 2: there is no key `cap`; there is `cap_s`",
            ),
            (
                "talking_on = \"ringing\"",
                "offhook.toml, line 1: `talking_on` cannot be \"ringing\"; it can be \"auto\", \"200\", \"ack\"",
            ),
            (
                "[registration]\n# a comment = with an equals sign\ngrace_s = -1",
                "offhook.toml, line 3: `registration.grace_s` has an invalid value: integer `-1`, expected u32",
            ),
            (
                "domains = [\n  \"example.com\",\n  \"sip:alice@example.com\"\n]",
                "offhook.toml, line 3: `domains` is neither a domain",
            ),
            (
                "domains = 3",
                "offhook.toml, line 1: `domains` has an invalid type: integer `3`",
            ),
            (
                "[publish]\nexpires_s = 5",
                "offhook.toml, line 2: `publish.expires_s` must be from 30 to 86400 s",
            ),
            (
                "[publish]\nserver = \"http://example.com\"",
                "offhook.toml, line 2: `publish.server` must be a SIP URI",
            ),
            (
                "[publish]\nfrom = \"me\"",
                "offhook.toml, line 2: `publish.from` must be \"presentity\" or a SIP URI",
            ),
            (
                "[publish]\nuser = \"me\"",
                "offhook.toml, line 2: `publish.user` needs a `password`",
            ),
            (
                "[publish]\npassword = \"x\"",
                "offhook.toml, line 2: `publish.password` needs a `user`",
            ),
            (
                "[publish]\nuser = \"me\"\npassword = \"x\"\npassword_file = \"y\"",
                "offhook.toml, line 4: `publish.password_file` and `password` exclude each other",
            ),
            (
                "[dialog]\ncap_s = 1",
                "offhook.toml, line 2: `dialog.cap_s` must be at least 60 s",
            ),
            ("[session_type]\n\"sip:*\" = \"\"", "offhook.toml, line 2:"),
            ("talking_on = ", "offhook.toml, line 1:"),
            (
                "talking_on = \"ack\"\ntalking_on = \"ack\"",
                "offhook.toml, line 2: duplicate key",
            ),
        ];
        for (text, expected) in cases {
            let said = refused(text);
            assert!(
                said.starts_with(expected),
                "{text:?}\n said {said}\n not  {expected}"
            );
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }

    #[test]
    fn what_is_shown_is_a_configuration_that_says_the_same() {
        let mut config = Config::default();
        assert_eq!(Config::parse("shown", &config.to_toml()).unwrap(), config);
        config.rules.talking_on = TalkingOn::Response;
        config.rules.ended_on = EndedOn::Response;
        config.rules.domains = vec!["example.com".to_owned(), "any".to_owned()];
        config.rules.grace_s = 5;
        config.rules.session_types = vec![
            ("sip:*97@*".to_owned(), "voicemail".to_owned()),
            ("sip:\"*".to_owned(), "a \\ b".to_owned()),
        ];
        config.rules.dialog_cap_s = 600;
        config.publish.server = Some("sip:192.0.2.20".to_owned());
        config.publish.from = Some("sip:offhook@example.com".to_owned());
        config.publish.expires_s = 60;
        config.publish.on_stop = OnStop::Keep;
        config.publish.events = vec![EventPackage::Presence];
        (config.publish.placeholder, config.publish.remote_identity) = (false, false);
        assert_eq!(
            Config::parse("shown", &config.to_toml()).unwrap(),
            config,
            "{}",
            config.to_toml()
        );
        (config.publish.user, config.publish.password) =
            (Some("offhook".into()), Some("s3cret".into()));
        assert!(!config.to_toml().contains("s3cret"));
    }

    #[test]
    fn a_password_file_is_read_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offhook.toml");
        fs::write(
            &path,
            "[publish]\nuser = \"offhook\"\npassword_file = \"secret\"\n",
        )
        .unwrap();
        let missing = Config::read(&path).unwrap_err().to_string();
        assert!(
            missing.ends_with("secret: there is no such file"),
            "{missing}"
        );
        fs::write(folder.path().join("secret"), "s3cret\nsecond line\n").unwrap();
        assert_eq!(
            Config::read(&path).unwrap().publish.password.as_deref(),
            Some("s3cret")
        );
        let missing = Config::read(&folder.path().join("no.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            missing.ends_with("no.toml: there is no such file"),
            "{missing}"
        );
    }
}
