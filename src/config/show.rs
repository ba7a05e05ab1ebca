//! The configuration as a documented file.
//! In: `Config`. Out: TOML that says the same, with the meaning, unit and default of every key. Knows nothing of files.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::{Config, WebhookSection};
use crate::base::{EndedOn, RegistrarLists, TalkingOn};
use crate::publish::{Facets, LineKind, OnStop, PublishMethod, RefreshOn};

impl Config {
    /// It holds passwords or secrets, which [`Self::to_toml`] leaves out.
    pub fn has_secrets(&self) -> bool {
        let watch = self.watch.password.is_some() && self.watch.password_file.is_none();
        let publish = self.publish.password.is_some() && self.publish.password_file.is_none();
        let webhook =
            self.webhooks.iter().any(|webhook| !webhook.secrets.is_empty() && webhook.secret_file.is_none());
        let redial = self.redial.password.is_some() && self.redial.password_file.is_none();
        watch || publish || redial || webhook || !self.presence.users.is_empty()
    }

    /// A configuration file that says exactly this, with the meaning, unit and default of every key.
    /// Passwords and secrets are not shown.
    pub fn to_toml(&self) -> String {
        let (rules, publish, watch) = (&self.rules, &self.publish, &self.watch);
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
             Default: [], those for which a registration succeeds; users of other domains are shown as weak.",
            &format!("domains = {}", list(rules.domains.iter().map(String::as_str))),
        );
        say("", "[registration]");
        say(
            "Seconds for which a phone whose registration ended still counts as online. Default: 0.",
            &format!("grace_s = {}", rules.grace_s),
        );
        let lists = match rules.registrar_lists {
            RegistrarLists::All => "all",
            RegistrarLists::Own => "own",
        };
        say(
            "What registrars list in their 200: \"all\" bindings of a user, so that what is missing is gone; or the phone's\n\
             \"own\" only, as Cisco Unified CM does. Default: \"all\".",
            &format!("lists = {}", quoted(lists)),
        );
        say(
            "What kind of session it is, by the URI that was dialled: `*` stands for any characters, the first\n\
             match counts, what matches nothing is a \"call\". Default: empty. Example:\n\
             \"sip:*97@*\" = \"voicemail\"",
            &rules.session_types.iter().fold("[session_type]".to_owned(), |text, (pattern, session_type)| {
                format!("{text}\n{} = {}", quoted(pattern), quoted(session_type))
            }),
        );
        say(
            "Whose a telephone number is (a tel: URI, or a SIP URI whose user is a number): the number, or what it begins\n\
             with and `*`, and the address of record that is meant, where `*` is the rest. The first match counts.\n\
             Default: empty. Example:\n\
             \"+49301234*\" = \"sip:*@example.com\"",
            &rules.numbers.iter().fold("[numbers]".to_owned(), |text, (pattern, aor)| {
                format!("{text}\n{} = {}", quoted(pattern), quoted(aor))
            }),
        );
        say("", "[dialog]");
        say(
            "Seconds after which a call without a sign of life is believed no longer, at least 60.\nDefault: 14400.",
            &format!("cap_s = {}", rules.dialog_cap_s),
        );
        say(
            "Seconds without a packet of a call's media, after which it is believed to be over, where its media pass this\n\
             mirror port and it is not on hold; at least 10, or 0: media say nothing. Default: 60.",
            &format!("media_silence_s = {}", rules.media_silence_s),
        );
        say("", "[publish]");
        say(
            "The presence server that `--publish config` tells, \"sip:HOST[:PORT][;transport=udp|tcp|tls]\" or \"sips:…\",\n\
             or a list of them: the next one is for when the ones before do not answer. Default: none. Without\n\
             `--publish` nothing is sent to anybody.",
            &match publish.servers.as_slice() {
                [] => optional("server", None, "sip:presence.example.com"),
                [server] => format!("server = {}", quoted(&server.to_string())),
                servers => {
                    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
                    format!("server = {}", list(servers.iter().map(String::as_str)))
                }
            },
        );
        let authorities = publish.tls_ca_file.as_ref().map(|file| file.display().to_string());
        say(
            "A PEM file with the certificates that vouch for servers over TLS; relative to this file.\n\
             Default: none, the system's.",
            &optional("tls_ca_file", authorities.as_deref(), "ca.pem"),
        );
        say(
            "What carries the updates: \"publish\", or \"register\" with the document as its body and no Contact, for a\n\
             presence server that takes these. Default: \"publish\".",
            &format!(
                "method = {}",
                quoted(match publish.method {
                    PublishMethod::Publish => "publish",
                    PublishMethod::Register => "register",
                })
            ),
        );
        say(
            "\"combined\": one presence document tells terminal and session, for any presence server. \"separate\": each\n\
             is published by itself, for a presence server that composes. Default: \"combined\".",
            &format!(
                "facets = {}",
                quoted(match publish.facets {
                    Facets::Combined => "combined",
                    Facets::Separate => "separate",
                })
            ),
        );
        say(
            "\"own-timer\": what is published lasts `expires_s` and is refreshed before that is over.\n\
             \"follow-registration\": what says that a terminal is online lasts as long as its registration, and is\n\
             refreshed when the phone refreshes that; sessions go by the own timer. Default: \"own-timer\".",
            &format!(
                "refresh = {}",
                quoted(match publish.refresh {
                    RefreshOn::OwnTimer => "own-timer",
                    RefreshOn::Registration => "follow-registration",
                })
            ),
        );
        say(
            "Requests that are sent in a second, at most, 1 to 100000. Default: 1000.",
            &format!("per_s = {}", publish.per_s),
        );
        say(
            "Requests that await a server's answer at once, at most, 1 to 10000. Default: 64.",
            &format!("outstanding = {}", publish.outstanding),
        );
        say(
            "Who the publisher says it is (From): \"presentity\", or a SIP URI. Default: \"presentity\".",
            &format!("from = {}", quoted(publish.from.as_deref().unwrap_or("presentity"))),
        );
        for (comment, line) in credentials(
            "the publisher",
            publish.user.as_deref(),
            publish.password.as_deref(),
            publish.password_file.as_deref(),
        ) {
            say(&comment, &line);
        }
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
                quoted(if publish.on_stop == OnStop::Remove { "remove" } else { "keep" })
            ),
        );
        say(
            "Event packages that are published. Default: [\"presence\", \"dialog\"].",
            &format!("events = {}", list(publish.events.iter().map(|package| package.name()))),
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
        say("", "[watch]");
        for (comment, line) in credentials(
            "the watcher",
            watch.user.as_deref(),
            watch.password.as_deref(),
            watch.password_file.as_deref(),
        ) {
            say(&comment, &line);
        }
        for (comment, line) in self.presence.lines().into_iter().chain(self.capture.lines()) {
            say(comment, &line);
        }
        for (comment, line) in self.redial.lines() {
            say(&comment, &line);
        }
        match self.webhooks.as_slice() {
            [] => {
                let example = webhook(&WebhookSection::new("https://hooks.example.com/offhook"));
                for line in example.lines() {
                    let comment = line.is_empty() || line.starts_with('#');
                    let _ = writeln!(text, "{}{line}", if comment { "" } else { "# " });
                }
            }
            webhooks => text.extend(webhooks.iter().map(webhook)),
        }
        text
    }
}

fn webhook(webhook: &WebhookSection) -> String {
    let mut text = String::from(
        "# An endpoint that `--webhooks` sends lines to over HTTP; there may be several such tables. Default: none.\n\
         [[webhook]]\n\n",
    );
    let mut say = |comment: &str, line: &str| {
        for comment in comment.lines() {
            let _ = writeln!(text, "# {comment}");
        }
        let _ = writeln!(text, "{line}\n");
    };
    let optional = |key: &str, value: Option<String>, example: &str| match value {
        Some(value) => format!("{key} = {}", quoted(&value)),
        None => format!("# {key} = {}", quoted(example)),
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    say("Where to. It has no default.", &format!("url = {}", quoted(&webhook.url)));
    say(
        &format!(
            "Kinds of lines that are sent: {}.\nDefault: [\"status\"].",
            LineKind::ALL.map(|kind| quoted(kind.name())).join(", ")
        ),
        &format!("kinds = {}", list(webhook.kinds.iter().map(|kind| kind.name()))),
    );
    let hidden = !webhook.secrets.is_empty() && webhook.secret_file.is_none();
    say(
        "What requests are signed with: \"whsec_\" and base64, or any text; better kept in a file of its own,\n\
         see `secret_file`. Default: none, requests are not signed.",
        if hidden { "# secret is set, and not shown" } else { "# secret = \"whsec_…\"" },
    );
    say(
        "A file of secrets, one a line, the request is signed with each; relative to this file. Not together\n\
         with `secret`. Default: none.",
        &optional("secret_file", path(&webhook.secret_file), "offhook.webhook-secret"),
    );
    say(
        "A PEM file of the certificate authorities that are trusted for https, relative to this file.\n\
         Default: none, those of the system.",
        &optional("ca_file", path(&webhook.ca_file), "ca.pem"),
    );
    say(
        "Events that may wait while the endpoint does not take them, 1 to 1000000; the oldest are lost first.\n\
         Default: 10000.",
        &format!("queue = {}", webhook.queue),
    );
    say(
        "What the events say they come from: a URI reference. Default: \"urn:offhook:\" and the host's name.",
        &optional("source", webhook.source.clone(), "urn:offhook:tap-1"),
    );
    text
}

/// The three keys that say who somebody is, each with its comment.
pub(super) fn credentials(
    whose: &str,
    user: Option<&str>,
    password: Option<&str>,
    password_file: Option<&Path>,
) -> [(String, String); 3] {
    let file = password_file.map(|file| file.display().to_string());
    let hidden = password.is_some() && file.is_none();
    let user = optional("user", user, "offhook");
    [
        (
            format!("Digest user of {whose}, with a password. Default: none."),
            // Without the password, which is not shown, it would be an error.
            if hidden { format!("# {user}") } else { user },
        ),
        (
            "Its password; better kept in a file of its own, see `password_file`. Default: none.".to_owned(),
            if hidden { "# password is set, and not shown" } else { "# password = \"…\"" }.to_owned(),
        ),
        (
            "A file whose first line is the password; relative to this file. Not together with `password`.\n\
             Default: none."
                .to_owned(),
            optional("password_file", file.as_deref(), "offhook.password"),
        ),
    ]
}

/// A key without a value is shown as an example.
pub(super) fn optional(key: &str, value: Option<&str>, example: &str) -> String {
    match value {
        Some(value) => format!("{key} = {}", quoted(value)),
        None => format!("# {key} = {}", quoted(example)),
    }
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(super) fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}
