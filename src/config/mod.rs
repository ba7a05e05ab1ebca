//! The configuration.
//! In: TOML, as text. Out: `Config`, or sentences that name file, line and key. Knows nothing of where files are, captures and sockets.
//! Every key does something; unknown ones are errors. `Config::to_toml` is the documentation of all of them.

mod capture;
mod credentials;
mod next_hop;
mod presence;
mod publish;
mod redial;
mod show;
#[cfg(test)]
mod tests;
mod watch;
mod webhook;

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue, Deserializer};

pub use capture::CaptureSection;
pub use next_hop::{NextHop, NextHopError, Security};
pub use presence::PresenceSection;
pub use redial::{RedialRoute, RedialSection};
pub use webhook::WebhookSection;

use crate::base::{EndedOn, RegistrarLists, Rules, TalkingOn};
use crate::sip::Aor;
use publish::PublishTable;

pub use publish::PublishSection;

pub use watch::WatchSection;
use watch::WatchTable;

/// Why there is no configuration: one sentence for each fault, one a line.
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
    /// Places in the file, in their order.
    #[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
    Wrong(Vec<Fault>),
}

/// A place where the file is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which file.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, naming the key.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", self.file, self.line, self.what)
    }
}

/// The files that a configuration names.
pub trait Files {
    /// Where a file is that is named so.
    fn path(&self, named: &Path) -> PathBuf;

    /// What is in it, or why it cannot be read; `None`: it is not opened.
    fn text(&self, path: &Path) -> Option<Result<String, String>>;
}

/// None is opened, and each is where it says.
struct Unopened;

impl Files for Unopened {
    fn path(&self, named: &Path) -> PathBuf {
        named.to_owned()
    }

    fn text(&self, _: &Path) -> Option<Result<String, String>> {
        None
    }
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
    /// How to capture on interfaces.
    pub capture: CaptureSection,
    /// Whether phones are asked to call again, and how.
    pub redial: RedialSection,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct File {
    talking_on: Option<TalkingOnWord>,
    ended_on: Option<EndedOnWord>,
    domains: Option<Vec<Spanned<String>>>,
    registration: Option<RegistrationTable>,
    session_type: Option<InOrder>,
    numbers: Option<InOrder>,
    dialog: Option<DialogTable>,
    publish: Option<PublishTable>,
    dialog_info: Option<DialogInfoTable>,
    #[serde(default)]
    webhook: Vec<Spanned<webhook::WebhookTable>>,
    watch: Option<WatchTable>,
    presence: Option<presence::PresenceTable>,
    capture: Option<capture::CaptureTable>,
    redial: Option<redial::RedialTable>,
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
    lists: Option<ListsWord>,
}

#[derive(Deserialize)]
enum ListsWord {
    #[serde(rename = "all")]
    All,
    #[serde(rename = "own")]
    Own,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DialogTable {
    cap_s: Option<Spanned<u32>>,
    media_silence_s: Option<Spanned<u32>>,
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
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = InOrder;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of patterns, and what each means")
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
/// Seconds: a phone that sends nothing while its user is silent is silent for some.
const MIN_MEDIA_SILENCE_S: u32 = 10;

impl Config {
    /// Reads the text of a file of this name. Files that it names are not opened.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`], with all faults that are found.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        Self::parse_with(file, text, &Unopened)
    }

    /// The same, and reads passwords and secrets in the files that it names.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`], with all faults that are found.
    pub fn parse_with(file: &str, text: &str, files: &dyn Files) -> Result<Self, ConfigError> {
        let place = Place { file, text, files, faults: RefCell::default() };
        let mut config = Self::default();
        let (table, errors) = DeTable::parse_recoverable(text);
        match errors.as_slice() {
            // What is not TOML could be read in more than one way: nothing more is said of it.
            [_, ..] => errors.iter().for_each(|error| place.syntax(error)),
            [] => config.read(readable(table, &place), &place),
        }
        let mut faults = place.faults.into_inner();
        faults.sort_by_key(|fault| fault.line);
        faults.dedup();
        if faults.is_empty() { Ok(config) } else { Err(ConfigError::Wrong(faults)) }
    }

    fn read(&mut self, read: File, place: &Place<'_>) {
        let rules = &mut self.rules;
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
            match managed_domain(domain.as_ref()) {
                Some(name) => rules.domains.push(name),
                None => place.wrong(&domain.span(), NOT_A_DOMAIN),
            }
        }
        if let Some(table) = read.registration {
            rules.grace_s = table.grace_s.unwrap_or(rules.grace_s);
            rules.registrar_lists = match table.lists {
                Some(ListsWord::Own) => RegistrarLists::Own,
                Some(ListsWord::All) | None => RegistrarLists::All,
            };
        }
        for (pattern, session_type) in read.session_type.map(|table| table.0).unwrap_or_default() {
            if pattern.as_ref().is_empty() || session_type.as_ref().is_empty() {
                let span = if pattern.as_ref().is_empty() { pattern.span() } else { session_type.span() };
                place.wrong(&span, "a pattern and its session type must not be empty");
            }
            rules.session_types.push((pattern.into_inner(), session_type.into_inner()));
        }
        for (pattern, aor) in read.numbers.map(|table| table.0).unwrap_or_default() {
            if !is_number_pattern(pattern.as_ref()) {
                place.wrong(&pattern.span(), "a number has digits, +, -, (, ) and ., and may end in *");
            }
            let stars = aor.as_ref().matches('*').count();
            let wanted = usize::from(pattern.as_ref().ends_with('*'));
            if stars > wanted || Aor::from_uri(aor.as_ref().replace('*', "0").as_bytes()).is_none() {
                place.wrong(
                    &aor.span(),
                    "must be a SIP URI, with one * at most, for the rest of a number that ends in *",
                );
            }
            rules.numbers.push((pattern.into_inner(), aor.into_inner()));
        }
        if let Some(table) = read.dialog {
            let seconds = |read: Option<Spanned<u32>>, least: u32, is_off: bool| {
                let read = read?;
                if *read.as_ref() < least && !(is_off && *read.as_ref() == 0) {
                    let or_off = if is_off { ", or 0" } else { "" };
                    place.wrong(&read.span(), &format!("must be at least {least} s{or_off}"));
                }
                Some(read.into_inner())
            };
            rules.dialog_cap_s = seconds(table.cap_s, MIN_DIALOG_CAP_S, false).unwrap_or(rules.dialog_cap_s);
            rules.media_silence_s =
                seconds(table.media_silence_s, MIN_MEDIA_SILENCE_S, true).unwrap_or(rules.media_silence_s);
        }
        if let Some(table) = read.publish {
            self.publish = table.read(place);
        }
        if let Some(table) = read.dialog_info {
            let publish = &mut self.publish;
            publish.placeholder = table.placeholder.unwrap_or(publish.placeholder);
            publish.remote_identity = table.remote_identity.unwrap_or(publish.remote_identity);
        }
        self.webhooks.extend(read.webhook.into_iter().filter_map(|table| webhook::webhook(table, place)));
        if let Some(table) = read.watch {
            self.watch = table.read(place);
        }
        if let Some(table) = read.presence {
            self.presence = presence::presence(table, place);
        }
        if let Some(table) = read.capture {
            self.capture = table.read(place);
        }
        if let Some(table) = read.redial {
            self.redial = table.read(place);
        }
    }
}

/// The keys and tables that can be read: what is unknown or of another type is told, key by key, and left out with the
/// table that it stands in, of which nothing sure can be said then.
fn readable(table: Spanned<DeTable<'_>>, place: &Place<'_>) -> File {
    let span = table.span();
    let mut kept = DeTable::new();
    for (key, value) in table.into_inner() {
        if let Some(value) = readable_value(&key, value, place) {
            kept.insert(key, value);
        }
    }
    File::deserialize(Deserializer::from(Spanned::new(span, kept))).unwrap_or_else(|error| {
        place.syntax(&error);
        File::default()
    })
}

/// What of one key at the top can be read.
fn readable_value<'t>(
    key: &Spanned<DeString<'t>>,
    value: Spanned<DeValue<'t>>,
    place: &Place<'_>,
) -> Option<Spanned<DeValue<'t>>> {
    let span = value.span();
    let is_readable = |value: DeValue<'t>| {
        let alone = DeTable::from_iter([(key.clone(), Spanned::new(span.clone(), value))]);
        let read = File::deserialize(Deserializer::from(Spanned::new(span.clone(), alone)));
        read.map_err(|error| place.syntax(&error)).is_ok()
    };
    match value.into_inner() {
        DeValue::Table(table) if !table.is_empty() => {
            let alone = |(key, value): (&Spanned<DeString<'t>>, &Spanned<DeValue<'t>>)| {
                is_readable(DeValue::Table(DeTable::from_iter([(key.clone(), value.clone())])))
            };
            let faulty = table.iter().filter(|&entry| !alone(entry)).count();
            (faulty == 0).then(|| Spanned::new(span.clone(), DeValue::Table(table)))
        }
        DeValue::Array(array) if array.iter().all(|element| element.as_ref().is_table()) => {
            let mut kept = DeArray::new();
            for element in array {
                let element_span = element.span();
                let mut faulty = 0;
                for (key, value) in element.as_ref().as_table().into_iter().flatten() {
                    let alone = DeValue::Table(DeTable::from_iter([(key.clone(), value.clone())]));
                    let mut one = DeArray::new();
                    one.push(Spanned::new(element_span.clone(), alone));
                    faulty += usize::from(!is_readable(DeValue::Array(one)));
                }
                if faulty == 0 {
                    kept.push(element);
                }
            }
            is_readable(DeValue::Array(kept.clone()))
                .then(|| Spanned::new(span.clone(), DeValue::Array(kept)))
        }
        value => is_readable(value.clone()).then(|| Spanned::new(span.clone(), value)),
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

/// Knows where something stands, and keeps what is wrong there.
struct Place<'a> {
    file: &'a str,
    text: &'a str,
    files: &'a dyn Files,
    faults: RefCell<Vec<Fault>>,
}

impl Place<'_> {
    fn fault(&self, at: usize, what: String) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        self.faults.borrow_mut().push(Fault { file: self.file.to_owned(), line, what });
    }

    /// A value that is read but cannot be meant.
    fn wrong(&self, span: &Range<usize>, what: &str) {
        let what = match self.key(span.start) {
            Some(key) => format!("`{key}` {what}"),
            None => what.to_owned(),
        };
        self.fault(span.start, what);
    }

    /// Where a file is that is named so.
    fn path(&self, named: &Path) -> PathBuf {
        self.files.path(named)
    }

    /// What a file says, as this reads it; its errors go on behind the file's name. `None`: it is not opened, or it
    /// says nothing that can be used.
    fn text<T>(&self, named: &Spanned<PathBuf>, read: fn(&str) -> Result<T, String>) -> Option<T> {
        let path = self.path(named.as_ref());
        let said = self.files.text(&path)?.map_err(|what| format!(": {what}")).and_then(|text| read(&text));
        said.map_err(|what| {
            self.wrong(&named.span(), &format!("names a file that cannot be used: {}{what}", path.display()));
        })
        .ok()
    }

    /// What the parser or the types refused.
    fn syntax(&self, error: &toml::de::Error) {
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
        self.fault(at, what);
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

/// A telephone number with its separators, or what it begins with and a `*`.
fn is_number_pattern(pattern: &str) -> bool {
    let number = pattern.strip_suffix('*').unwrap_or(pattern);
    !pattern.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || b"+-().".contains(&byte))
}
