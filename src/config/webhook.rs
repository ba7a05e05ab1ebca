//! The `[[webhook]]` tables: whom to tell over HTTP.
//! In: TOML tables. Out: `WebhookSection`s, or what is wrong. Knows nothing of files, sockets.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

use super::Place;
use crate::publish::{LineKind, WebhookSecret};

/// One endpoint that lines are sent to. `Debug` shows neither its secrets nor its URL, which may be one.
#[derive(Clone, PartialEq)]
pub struct WebhookSection {
    /// Where to: `http:` or `https:`.
    pub url: String,
    /// The kinds of lines that are sent.
    pub kinds: Vec<LineKind>,
    /// What requests are signed with, each as [`WebhookSecret::parse`] reads it.
    pub secrets: Vec<String>,
    /// A file of secrets, one a line.
    pub secret_file: Option<PathBuf>,
    /// A PEM file of the authorities that are trusted; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Events that may wait.
    pub queue: usize,
    /// `source` of the events; `None`: `urn:offhook:` and the host's name.
    pub source: Option<String>,
}

impl WebhookSection {
    /// Status lines to this URL, not signed.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            kinds: vec![LineKind::Status],
            secrets: Vec::new(),
            secret_file: None,
            ca_file: None,
            queue: 10_000,
            source: None,
        }
    }
}

impl fmt::Debug for WebhookSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSection")
            .field("kinds", &self.kinds)
            .field("queue", &self.queue)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookTable {
    url: Option<Spanned<String>>,
    kinds: Option<Spanned<Vec<Spanned<String>>>>,
    secret: Option<Spanned<String>>,
    secret_file: Option<Spanned<PathBuf>>,
    ca_file: Option<PathBuf>,
    queue: Option<Spanned<usize>>,
    source: Option<Spanned<String>>,
}

/// Events: more would be no queue any more, but a memory leak.
const QUEUE: std::ops::RangeInclusive<usize> = 1..=1_000_000;

/// What the table says; nothing without a URL.
pub(super) fn webhook(table: Spanned<WebhookTable>, place: &Place<'_>) -> Option<WebhookSection> {
    let whole = table.span();
    let table = table.into_inner();
    let Some(url) = table.url else {
        place.wrong(&whole, "a [[webhook]] needs a `url`");
        return None;
    };
    if let Some(what) = not_an_endpoint(url.as_ref()) {
        place.wrong(&url.span(), what);
    }
    let mut section = WebhookSection::new(url.as_ref());
    if let Some(kinds) = table.kinds {
        if kinds.as_ref().is_empty() {
            place.wrong(&kinds.span(), "must name at least one kind of line");
        }
        section.kinds.clear();
        for word in kinds.into_inner() {
            let Some(kind) = LineKind::ALL.into_iter().find(|kind| kind.name() == word.as_ref()) else {
                let known = LineKind::ALL.map(|kind| format!("\"{}\"", kind.name())).join(", ");
                let what = format!("cannot have \"{}\" in it; it can have {known}", word.as_ref());
                place.wrong(&word.span(), &what);
                continue;
            };
            if !section.kinds.contains(&kind) {
                section.kinds.push(kind);
            }
        }
    }
    if let (Some(_), Some(file)) = (&table.secret, &table.secret_file) {
        place.wrong(&file.span(), "and `secret` exclude each other: give one of them");
    }
    if let Some(secret) = table.secret {
        if WebhookSecret::parse(secret.as_ref()).is_none() {
            place.wrong(&secret.span(), NOT_A_SECRET);
        }
        section.secrets.push(secret.into_inner());
    }
    if let Some(file) = table.secret_file {
        section.secret_file = Some(place.path(file.as_ref()));
        if let Some(secrets) = place.text(&file, one_a_line) {
            section.secrets = secrets;
        }
    }
    section.ca_file = table.ca_file.map(|file| place.path(&file));
    if let Some(queue) = table.queue {
        if !QUEUE.contains(queue.as_ref()) {
            place.wrong(&queue.span(), &format!("must be from {} to {} events", QUEUE.start(), QUEUE.end()));
        }
        section.queue = queue.into_inner();
    }
    if let Some(source) = table.source {
        if !is_uri_reference(source.as_ref()) {
            place.wrong(&source.span(), "must be a URI reference such as \"urn:offhook:tap-1\"");
        }
        section.source = Some(source.into_inner());
    }
    Some(section)
}

/// The secrets of a file; empty lines do not count.
fn one_a_line(text: &str) -> Result<Vec<String>, String> {
    let mut secrets = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
        if WebhookSecret::parse(line).is_none() {
            return Err(format!(", line {number}: a secret {NOT_A_SECRET}"));
        }
        secrets.push(line.to_owned());
    }
    if secrets.is_empty() { Err(": there is no secret in it".to_owned()) } else { Ok(secrets) }
}

/// What is said of a text that is no secret.
const NOT_A_SECRET: &str = "must be \"whsec_\" and base64, or any other text";

/// Only what the URL says is looked at, nothing is asked of anybody.
fn not_an_endpoint(text: &str) -> Option<&'static str> {
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            Some("must be an http or https URL such as \"https://hooks.example.com/offhook\"")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Some("must not hold a user or a password: use `secret` for the endpoint to know offhook by")
        }
        Ok(_) => None,
        Err(_) => Some("must be a URL such as \"https://hooks.example.com/offhook\""),
    }
}

/// RFC 3986 section 4.1, as far as characters go.
fn is_uri_reference(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
