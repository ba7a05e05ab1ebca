//! The table `[redial]`: whether phones are asked to call again, and how.
//! In: its keys as TOML has them. Out: `RedialSection`. Knows nothing of files, sockets, wishes.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::show::{self, list, optional, quoted};
use super::{NextHop, Place, credentials};
use crate::base::{Listen, Transport};
use crate::redial::{RedialOptions, Until, WayWanted};
use crate::sip::Aor;

/// By which way a phone is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedialRoute {
    /// Through the proxy that it is registered at.
    #[default]
    Proxy,
    /// Straight to where its REGISTER came from.
    Direct,
}

/// Whether phones are asked to call again, and how.
#[derive(Clone, PartialEq)]
pub struct RedialSection {
    /// The list of wishes is kept.
    pub enabled: bool,
    /// By which way phones are reached.
    pub route: RedialRoute,
    /// The proxy.
    pub server: Option<NextHop>,
    /// PEM file with the certificates that vouch for the proxy over TLS; `None`: the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// The URI in From; `None`: `sip:offhook@` and our address.
    pub from: Option<String>,
    /// Digest user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Where requests of phones arrive, over UDP; `None`: at any free port of all addresses.
    pub local: Option<Listen>,
    /// Seconds that a phone is rung in a recall.
    pub ring_s: u32,
    /// When whom to ask.
    pub options: RedialOptions,
}

impl Default for RedialSection {
    fn default() -> Self {
        Self {
            enabled: false,
            route: RedialRoute::default(),
            server: None,
            tls_ca_file: None,
            from: None,
            user: None,
            password: None,
            password_file: None,
            local: None,
            ring_s: 30,
            options: RedialOptions::default(),
        }
    }
}

/// Without the password.
impl fmt::Debug for RedialSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedialSection")
            .field("enabled", &self.enabled)
            .field("route", &self.route)
            .field("server", &self.server)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl RedialSection {
    /// Phones are to be reached through a proxy, and none is named.
    pub fn lacks_its_server(&self) -> bool {
        self.route == RedialRoute::Proxy && self.server.is_none() && !self.options.dry_run
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedialTable {
    enabled: Option<Spanned<bool>>,
    dry_run: Option<bool>,
    way: Option<WayWord>,
    until: Option<UntilWord>,
    route: Option<RouteWord>,
    server: Option<Spanned<String>>,
    tls_ca_file: Option<PathBuf>,
    from: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    local: Option<Spanned<String>>,
    watch_s: Option<Spanned<u32>>,
    min_watch_s: Option<Spanned<u32>>,
    max_watch_s: Option<Spanned<u32>>,
    busy: Option<bool>,
    after_busy_s: Option<Spanned<u32>>,
    spacing_s: Option<Spanned<u32>>,
    per_caller_per_h: Option<Spanned<u32>>,
    per_minute: Option<Spanned<u32>>,
    allow: Option<Vec<Spanned<String>>>,
    deny: Option<Vec<Spanned<String>>>,
    cancel_codes: Option<Vec<Spanned<String>>>,
    probe_s: Option<Spanned<u32>>,
    ring_s: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WayWord {
    Auto,
    Refer,
    Recall,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum UntilWord {
    Refer,
    Talking,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RouteWord {
    Proxy,
    Direct,
}

/// Seconds of a wish: less is no wish, more than a week nobody remembers.
const WATCH_S: RangeInclusive<u32> = 10..=604_800;
const AFTER_BUSY_S: RangeInclusive<u32> = 0..=600;
const SPACING_S: RangeInclusive<u32> = 0..=3_600;
/// More would be a nuisance, whatever is wished.
const PER_CALLER_PER_H: RangeInclusive<u32> = 1..=1_000;
const PER_MINUTE: RangeInclusive<u32> = 1..=1_000;
/// Seconds between two probes, if there are any: more often would be a load.
const PROBE_S: RangeInclusive<u32> = 10..=86_400;
const RING_S: RangeInclusive<u32> = 5..=180;

impl RedialTable {
    /// What it says, with the defaults for what it does not say.
    pub(super) fn read(self, place: &Place<'_>) -> RedialSection {
        let said = credentials::read(self.user, self.password, self.password_file, place);
        let mut section = RedialSection {
            enabled: self.enabled.as_ref().is_some_and(|enabled| *enabled.as_ref()),
            route: match self.route {
                Some(RouteWord::Direct) => RedialRoute::Direct,
                Some(RouteWord::Proxy) | None => RedialRoute::Proxy,
            },
            server: self.server.as_ref().and_then(|server| named_server(server, place)),
            tls_ca_file: self.tls_ca_file.map(|file| place.path(&file)),
            from: self.from.map(|from| who_asks(from, place)),
            user: said.user,
            password: said.password,
            password_file: said.password_file,
            local: self.local.and_then(|local| local_place(&local, place)),
            ..RedialSection::default()
        };
        let options = &mut section.options;
        options.dry_run = self.dry_run.unwrap_or(options.dry_run);
        options.busy = self.busy.unwrap_or(options.busy);
        options.way = match self.way {
            Some(WayWord::Auto) => WayWanted::Auto,
            Some(WayWord::Refer) => WayWanted::Refer,
            Some(WayWord::Recall) => WayWanted::Recall,
            None => options.way,
        };
        options.until = match self.until {
            Some(UntilWord::Refer) => Until::Refer,
            Some(UntilWord::Talking) => Until::Talking,
            None => options.until,
        };
        let span = |said: &Option<Spanned<u32>>| said.as_ref().map(Spanned::span);
        let (shortest, longest) = (span(&self.min_watch_s), span(&self.max_watch_s));
        let numbers = [
            (self.watch_s, &mut options.watch_s, WATCH_S, " s"),
            (self.min_watch_s, &mut options.min_watch_s, WATCH_S, " s"),
            (self.max_watch_s, &mut options.max_watch_s, WATCH_S, " s"),
            (self.after_busy_s, &mut options.after_busy_s, AFTER_BUSY_S, " s"),
            (self.spacing_s, &mut options.spacing_s, SPACING_S, " s"),
            (self.per_caller_per_h, &mut options.per_caller_per_h, PER_CALLER_PER_H, ""),
            (self.per_minute, &mut options.per_minute, PER_MINUTE, ""),
            (self.ring_s, &mut section.ring_s, RING_S, " s"),
        ];
        for (said, kept, range, unit) in numbers {
            let Some(said) = said else { continue };
            if !range.contains(said.as_ref()) {
                let what = format!("must be from {} to {}{unit}", range.start(), range.end());
                place.wrong(&said.span(), &what);
            }
            *kept = said.into_inner();
        }
        if let Some(probe_s) = self.probe_s {
            if *probe_s.as_ref() != 0 && !PROBE_S.contains(probe_s.as_ref()) {
                let what = format!("must be 0 or from {} to {} s", PROBE_S.start(), PROBE_S.end());
                place.wrong(&probe_s.span(), &what);
            }
            options.probe_s = probe_s.into_inner();
        }
        let both_may_be =
            [options.min_watch_s, options.max_watch_s].iter().all(|watch_s| WATCH_S.contains(watch_s));
        if both_may_be && options.min_watch_s > options.max_watch_s {
            match (shortest, longest) {
                (Some(span), _) => {
                    place.wrong(&span, &format!("is above `max_watch_s`, {} s", options.max_watch_s))
                }
                (None, Some(span)) => {
                    place.wrong(&span, &format!("is below `min_watch_s`, {} s", options.min_watch_s))
                }
                (None, None) => {}
            }
        }
        options.allow = patterns(self.allow, place);
        options.deny = patterns(self.deny, place);
        options.cancel_codes = patterns(self.cancel_codes, place);
        if let Some(enabled) = self.enabled.filter(|enabled| *enabled.as_ref())
            && section.lacks_its_server()
            && self.server.is_none()
        {
            place.wrong(
                &enabled.span(),
                "needs a `server` beside it, the proxy that reaches the phones; or `route = \"direct\"`, or `dry_run = true`",
            );
        }
        section
    }
}

fn named_server(server: &Spanned<String>, place: &Place<'_>) -> Option<NextHop> {
    NextHop::parse(server.as_ref())
        .map_err(|error| place.wrong(&server.span(), &format!("names no server: {error}")))
        .ok()
}

fn who_asks(from: Spanned<String>, place: &Place<'_>) -> String {
    if Aor::from_uri(from.as_ref().as_bytes()).is_none() {
        place.wrong(&from.span(), "must be a SIP URI such as \"sip:offhook@example.com\"");
    }
    from.into_inner()
}

fn local_place(local: &Spanned<String>, place: &Place<'_>) -> Option<Listen> {
    match local.as_ref().parse::<Listen>() {
        Ok(listen) if listen.transport == Transport::Udp => return Some(listen),
        Ok(_) => place.wrong(&local.span(), "must be a place for UDP, such as \"udp:192.0.2.30:5070\""),
        Err(error) => place.wrong(&local.span(), &format!("names no place to listen: {error}")),
    }
    None
}

/// Patterns of URIs. One that begins as no URI does would never match.
fn patterns(given: Option<Vec<Spanned<String>>>, place: &Place<'_>) -> Vec<String> {
    let given = given.unwrap_or_default().into_iter();
    given
        .map(|pattern| {
            if !["sip:", "sips:", "tel:", "*"].iter().any(|start| pattern.as_ref().starts_with(start)) {
                let what = format!(
                    "matches no URI by \"{}\": a pattern begins with sip:, tel: or *, as \"sip:*@example.com\"",
                    pattern.as_ref().escape_debug()
                );
                place.wrong(&pattern.span(), &what);
            }
            pattern.into_inner()
        })
        .collect()
}

impl RedialSection {
    /// Comment and line of each key, as [`super::Config::to_toml`] shows them. The password is not shown.
    pub(super) fn lines(&self) -> Vec<(String, String)> {
        let say = |comment: &str, line: String| (comment.to_owned(), line);
        let texts =
            |key: &str, texts: &[String]| format!("{key} = {}", list(texts.iter().map(String::as_str)));
        let options = &self.options;
        let mut lines = self.lines_of_the_way();
        lines.extend(show::credentials(
            "the one who asks",
            self.user.as_deref(),
            self.password.as_deref(),
            self.password_file.as_deref(),
        ));
        let local = self.local.as_ref().map(Listen::to_string);
        lines.extend([
            say(
                "Where phones reach offhook with their NOTIFY and BYE, \"udp:ADDRESS[:PORT]\". Default: none, any free port\n\
                 of all addresses.",
                optional("local", local.as_deref(), "udp:192.0.2.30:5070"),
            ),
            say(
                "Seconds that a wish lasts, 10 to 604800; a caller who tries again renews it. Default: 3600.",
                format!("watch_s = {}", options.watch_s),
            ),
            say(
                "An INVITE that names its own time (Expires) says how long its caller wishes, if that is so many seconds at\n\
                 least: shorter ones are limits for ringing. 10 to 604800. Default: 600.",
                format!("min_watch_s = {}", options.min_watch_s),
            ),
            say(
                "And counts as no more than this, 10 to 604800. Default: 86400.",
                format!("max_watch_s = {}", options.max_watch_s),
            ),
            say(
                "Who found the other busy (486, 600) is called back as well. Default: true.",
                format!("busy = {}", options.busy),
            ),
            say(
                "Seconds between the end of a busy callee's call and the asking, 0 to 600. Default: 2.",
                format!("after_busy_s = {}", options.after_busy_s),
            ),
            say(
                "Seconds between two callers of one callee, 0 to 3600. Default: 10.",
                format!("spacing_s = {}", options.spacing_s),
            ),
            say(
                "One caller's phone is asked so often in an hour, at most, 1 to 1000. Default: 20.",
                format!("per_caller_per_h = {}", options.per_caller_per_h),
            ),
            say(
                "All phones together are asked so often in a minute, at most, 1 to 1000. Default: 60.",
                format!("per_minute = {}", options.per_minute),
            ),
            say(
                "Callers whose phones may be asked: patterns of their addresses of record, `*` for any characters.\n\
                 Default: [], all. Example: [\"sip:alice@example.com\", \"sip:2*@example.com\"]",
                texts("allow", &options.allow),
            ),
            say(
                "Callers and callees that have no part in it, likewise; it wins over `allow`. Default: [].",
                texts("deny", &options.deny),
            ),
            say(
                "What a caller dials to take back all its wishes: patterns of the dialled URI; the PBX may answer what it\n\
                 likes. A `*` that is dialled is written `\\*`. Default: []. Example: ['sip:\\*37@*']",
                texts("cancel_codes", &options.cancel_codes),
            ),
            say(
                "Seconds between two OPTIONS to the last known contact of a callee that is waited for, 10 to 86400; 0: none.\n\
                 For phones that register rarely. Default: 0.",
                format!("probe_s = {}", options.probe_s),
            ),
            say(
                "Seconds that a phone is rung in a recall, 5 to 180. Default: 30.",
                format!("ring_s = {}", self.ring_s),
            ),
        ]);
        lines
    }

    fn lines_of_the_way(&self) -> Vec<(String, String)> {
        let say = |comment: &str, line: String| (comment.to_owned(), line);
        let options = &self.options;
        let server = self.server.as_ref().map(ToString::to_string);
        let authorities = self.tls_ca_file.as_ref().map(|file| file.display().to_string());
        vec![
            say("", "[redial]".to_owned()),
            say(
                "Who called in vain is called back when the other is there again: `offhook tap --redial`, always. It makes\n\
                 offhook speak to phones, and ring them. Default: false.",
                format!("enabled = {}", self.enabled),
            ),
            say(
                "Only say what would be done: no phone is asked. A replay never asks any. Default: false.",
                format!("dry_run = {}", options.dry_run),
            ),
            say(
                "How a phone is asked to call. \"refer\": by a REFER at once. \"recall\": it is rung, and once it is picked up\n\
                 gets the REFER inside that call. \"auto\": by REFER; kinds of phones that refuse that are recalled.\n\
                 Default: \"auto\".",
                format!(
                    "way = {}",
                    quoted(match options.way {
                        WayWanted::Auto => "auto",
                        WayWanted::Refer => "refer",
                        WayWanted::Recall => "recall",
                    })
                ),
            ),
            say(
                "When a wish is fulfilled: \"talking\", when the two talk; \"refer\", when the phone has said that it will\n\
                 call. Default: \"talking\".",
                format!(
                    "until = {}",
                    quoted(match options.until {
                        Until::Refer => "refer",
                        Until::Talking => "talking",
                    })
                ),
            ),
            say(
                "\"proxy\": phones are reached through `server`. \"direct\": straight to where their REGISTER came from.\n\
                 Default: \"proxy\".",
                format!(
                    "route = {}",
                    quoted(match self.route {
                        RedialRoute::Proxy => "proxy",
                        RedialRoute::Direct => "direct",
                    })
                ),
            ),
            say(
                "The PBX or proxy that phones are registered at, \"sip:HOST[:PORT][;transport=udp|tcp|tls]\" or \"sips:…\".\n\
                 It has no default.",
                optional("server", server.as_deref(), "sip:pbx.example.com"),
            ),
            say(
                "A PEM file with the certificates that vouch for it over TLS; relative to this file.\n\
                 Default: none, the system's.",
                optional("tls_ca_file", authorities.as_deref(), "ca.pem"),
            ),
            say(
                "Who asks (From, Referred-By), a SIP URI; many a PBX wants it to be one of its users. A phone that is rung shows\n\
                 besides who is back. Default: none, \"sip:offhook@\" and offhook's own address.",
                optional("from", self.from.as_deref(), "sip:offhook@example.com"),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn read(text: &str) -> Result<RedialSection, String> {
        Config::parse("offhook.toml", text).map(|config| config.redial).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_read_and_shown_as_it_was_read() {
        let section = RedialSection {
            enabled: true,
            route: RedialRoute::Direct,
            server: NextHop::parse("sip:192.0.2.1:5070;transport=tcp").ok(),
            tls_ca_file: Some("ca.pem".into()),
            from: Some("sip:offhook@example.com".to_owned()),
            user: Some("offhook".to_owned()),
            password: None,
            password_file: Some("offhook.password".into()),
            local: "udp:192.0.2.30:5070".parse().ok(),
            ring_s: 40,
            options: RedialOptions {
                dry_run: true,
                way: WayWanted::Recall,
                until: Until::Refer,
                watch_s: 1_800,
                min_watch_s: 300,
                max_watch_s: 7_200,
                busy: false,
                after_busy_s: 5,
                spacing_s: 0,
                per_caller_per_h: 3,
                per_minute: 10,
                allow: vec!["sip:*@example.com".to_owned()],
                deny: vec!["sip:boss@example.com".to_owned()],
                cancel_codes: vec!["sip:\\*37@*".to_owned()],
                probe_s: 60,
                ..RedialOptions::default()
            },
        };
        let text = "[redial]\nenabled = true\ndry_run = true\nway = \"recall\"\nuntil = \"refer\"\nroute = \"direct\"\n\
                    server = \"sip:192.0.2.1:5070;transport=tcp\"\ntls_ca_file = \"ca.pem\"\n\
                    from = \"sip:offhook@example.com\"\nuser = \"offhook\"\npassword_file = \"offhook.password\"\n\
                    local = \"udp:192.0.2.30:5070\"\nwatch_s = 1800\nmin_watch_s = 300\nmax_watch_s = 7200\n\
                    busy = false\nafter_busy_s = 5\nspacing_s = 0\nper_caller_per_h = 3\nper_minute = 10\n\
                    allow = [\"sip:*@example.com\"]\ndeny = [\"sip:boss@example.com\"]\n\
                    cancel_codes = ['sip:\\*37@*']\nprobe_s = 60\nring_s = 40\n";
        assert_eq!(read(text).unwrap(), section);
        let shown = Config { redial: section.clone(), ..Config::default() }.to_toml();
        assert_eq!(read(&shown).unwrap(), section, "{shown}");
    }

    #[test]
    fn it_is_off_by_default_and_asks_nobody_without_a_way_to_phones() {
        let section = RedialSection::default();
        assert!(!section.enabled && section.lacks_its_server());
        let needs = "offhook.toml, line 2: `redial.enabled` needs a `server` beside it, the proxy that reaches the phones; \
                     or `route = \"direct\"`, or `dry_run = true`";
        assert_eq!(read("[redial]\nenabled = true").unwrap_err(), needs);
        for enough in ["server = \"sip:192.0.2.1\"", "route = \"direct\"", "dry_run = true"] {
            assert!(read(&format!("[redial]\nenabled = true\n{enough}")).unwrap().enabled, "{enough}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        let cases = [
            ("way = \"call\"", "`redial.way` cannot be \"call\"; it can be \"auto\", \"refer\", \"recall\""),
            (
                "until = \"ringing\"",
                "`redial.until` cannot be \"ringing\"; it can be \"refer\" or \"talking\"",
            ),
            ("route = \"lan\"", "`redial.route` cannot be \"lan\"; it can be \"proxy\" or \"direct\""),
            ("user = \"offhook\"", "`redial.user` needs a `password` or a `password_file` beside it"),
            ("from = \"offhook\"", "`redial.from` must be a SIP URI such as \"sip:offhook@example.com\""),
            ("local = \"tcp:192.0.2.30\"", "`redial.local` must be a place for UDP, such as"),
            ("local = \"192.0.2.30\"", "`redial.local` names no place to listen: "),
            ("server = \"http://example.com\"", "`redial.server` names no server: "),
            ("watch_s = 1", "`redial.watch_s` must be from 10 to 604800 s"),
            ("max_watch_s = 300", "`redial.max_watch_s` is below `min_watch_s`, 600 s"),
            ("min_watch_s = 90000", "`redial.min_watch_s` is above `max_watch_s`, 86400 s"),
            ("max_watch_s = 0", "`redial.max_watch_s` must be from 10 to 604800 s"),
            ("after_busy_s = 601", "`redial.after_busy_s` must be from 0 to 600 s"),
            ("spacing_s = 4000", "`redial.spacing_s` must be from 0 to 3600 s"),
            ("per_caller_per_h = 0", "`redial.per_caller_per_h` must be from 1 to 1000"),
            ("per_minute = 0", "`redial.per_minute` must be from 1 to 1000"),
            ("probe_s = 5", "`redial.probe_s` must be 0 or from 10 to 86400 s"),
            ("ring_s = 200", "`redial.ring_s` must be from 5 to 180 s"),
            (
                "allow = [\"alice@example.com\"]",
                "`redial.allow` matches no URI by \"alice@example.com\": a pattern",
            ),
            ("deny = [\"\"]", "`redial.deny` matches no URI by \"\": a pattern"),
            ("cancel_codes = [\"37\"]", "`redial.cancel_codes` matches no URI by \"37\": a pattern"),
        ];
        for (line, expected) in cases {
            let said = read(&format!("[redial]\n{line}")).unwrap_err();
            let expected = format!("offhook.toml, line 2: {expected}");
            assert!(said.starts_with(&expected), "{line}\n said {said}\n not  {expected}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        let unknown = read("[redial]\nenable = true").unwrap_err();
        assert!(unknown.contains("line 2: there is no key `enable`"), "{unknown}");
    }

    #[test]
    fn a_password_is_not_shown() {
        let section = read("[redial]\nuser = \"offhook\"\npassword = \"s3cret\"").unwrap();
        assert!(!format!("{section:?}").contains("s3cret"));
        let config = Config { redial: section, ..Config::default() };
        assert!(config.has_secrets() && !config.to_toml().contains("s3cret"));
        assert!(Config::parse("shown", &config.to_toml()).is_ok());
    }
}
