//! The table `[publish]`: whom to tell, and how.
//! In: its keys as TOML has them. Out: `PublishSection`. Knows nothing of files, sockets, publications.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use super::{NextHop, Place, credentials};
use crate::publish::{EventPackage, Facets, OnStop, PublishMethod, RefreshOn};
use crate::sip::Aor;

/// The part of the configuration that says how to publish.
#[derive(Clone, PartialEq)]
pub struct PublishSection {
    /// The presence servers for `--publish config`, the best first. None: there is none.
    pub servers: Vec<NextHop>,
    /// PEM file with the certificates that vouch for servers over TLS; `None`: the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// What carries the updates.
    pub method: PublishMethod,
    /// How much one presence publication tells.
    pub facets: Facets,
    /// When what is published is refreshed.
    pub refresh: RefreshOn,
    /// Requests a second, at most.
    pub per_s: u32,
    /// Requests that await an answer at once, at most.
    pub outstanding: usize,
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
            servers: Vec::new(),
            tls_ca_file: None,
            method: PublishMethod::default(),
            facets: Facets::default(),
            refresh: RefreshOn::default(),
            per_s: 1_000,
            outstanding: 64,
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
            .field("servers", &self.servers)
            .field("expires_s", &self.expires_s)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishTable {
    server: Option<Spanned<OneOrMore>>,
    tls_ca_file: Option<PathBuf>,
    method: Option<MethodWord>,
    facets: Option<FacetsWord>,
    refresh: Option<RefreshWord>,
    per_s: Option<Spanned<u32>>,
    outstanding: Option<Spanned<u32>>,
    from: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    expires_s: Option<Spanned<u32>>,
    on_stop: Option<OnStopWord>,
    events: Option<Vec<EventWord>>,
}

/// A text, or a list of texts.
enum OneOrMore {
    One(String),
    More(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMore;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a SIP URI or a list of them")
            }
            fn visit_str<E>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore::One(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMore, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMore::More(texts))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MethodWord {
    Publish,
    Register,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FacetsWord {
    Combined,
    Separate,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RefreshWord {
    OwnTimer,
    FollowRegistration,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnStopWord {
    Remove,
    Keep,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EventWord {
    Presence,
    Dialog,
}

/// Seconds of the shortest and the longest publication that make sense.
const EXPIRES_S: RangeInclusive<u32> = 30..=86_400;
/// More than a server can be asked in a second, or at once.
const PER_S: RangeInclusive<u32> = 1..=100_000;
const OUTSTANDING: RangeInclusive<u32> = 1..=10_000;

impl PublishTable {
    /// What it says, with the defaults for what it does not say.
    pub(super) fn read(self, place: &Place<'_>) -> PublishSection {
        let said = credentials::read(self.user, self.password, self.password_file, place);
        let default = PublishSection::default();
        let mut servers = Vec::new();
        let given = self.server.map(|given| (given.span(), given.into_inner()));
        let given = match given {
            Some((span, OneOrMore::One(server))) => vec![Spanned::new(span, server)],
            Some((_, OneOrMore::More(servers))) => servers,
            None => Vec::new(),
        };
        for server in given {
            match NextHop::parse(server.as_ref()) {
                Ok(server) => servers.push(server),
                Err(error) => place.wrong(&server.span(), &format!("names no server: {error}")),
            }
        }
        let from = self.from.filter(|from| from.as_ref() != "presentity");
        if let Some(from) = &from
            && Aor::from_uri(from.as_ref().as_bytes()).is_none()
        {
            let what = "must be \"presentity\" or a SIP URI such as \"sip:offhook@example.com\"";
            place.wrong(&from.span(), what);
        }
        let within = |value: Option<Spanned<u32>>, range: RangeInclusive<u32>, unit: &str, default: u32| {
            let Some(value) = value else { return default };
            if !range.contains(value.as_ref()) {
                place.wrong(
                    &value.span(),
                    &format!("must be from {} to {}{unit}", range.start(), range.end()),
                );
            }
            value.into_inner()
        };
        let outstanding = u32::try_from(default.outstanding).unwrap_or(u32::MAX);
        PublishSection {
            servers,
            tls_ca_file: self.tls_ca_file.map(|file| place.path(&file)),
            method: match self.method {
                Some(MethodWord::Publish) => PublishMethod::Publish,
                Some(MethodWord::Register) => PublishMethod::Register,
                None => default.method,
            },
            facets: match self.facets {
                Some(FacetsWord::Combined) => Facets::Combined,
                Some(FacetsWord::Separate) => Facets::Separate,
                None => default.facets,
            },
            refresh: match self.refresh {
                Some(RefreshWord::OwnTimer) => RefreshOn::OwnTimer,
                Some(RefreshWord::FollowRegistration) => RefreshOn::Registration,
                None => default.refresh,
            },
            per_s: within(self.per_s, PER_S, "", default.per_s),
            outstanding: within(self.outstanding, OUTSTANDING, "", outstanding) as usize,
            from: from.map(Spanned::into_inner),
            user: said.user,
            password: said.password,
            password_file: said.password_file,
            expires_s: within(self.expires_s, EXPIRES_S, " s", default.expires_s),
            on_stop: match self.on_stop {
                Some(OnStopWord::Remove) => OnStop::Remove,
                Some(OnStopWord::Keep) => OnStop::Keep,
                None => default.on_stop,
            },
            events: match self.events {
                Some(words) => EventPackage::ALL
                    .into_iter()
                    .filter(|package| {
                        words.iter().any(|word| match word {
                            EventWord::Presence => *package == EventPackage::Presence,
                            EventWord::Dialog => *package == EventPackage::Dialog,
                        })
                    })
                    .collect(),
                None => default.events,
            },
            placeholder: default.placeholder,
            remote_identity: default.remote_identity,
        }
    }
}
