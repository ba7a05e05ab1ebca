//! The configuration as a documented file.
//! In: `Config`. Out: TOML that says the same, with the meaning, unit and default of every key. Knows nothing of files.

use std::fmt::Write;

use super::Config;
use crate::base::{EndedOn, TalkingOn};
use crate::publish::OnStop;

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
             Default: [], those for which a registration succeeds; users of other domains are shown as weak.",
            &format!("domains = {}", list(rules.domains.iter().map(String::as_str))),
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
            &rules.session_types.iter().fold("[session_type]".to_owned(), |text, (pattern, session_type)| {
                format!("{text}\n{} = {}", quoted(pattern), quoted(session_type))
            }),
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
            "The presence server that `--publish config` tells, over UDP. Default: none. Without `--publish`\n\
             nothing is sent to anybody.",
            &optional("server", publish.server.as_deref(), "sip:presence.example.com:5060"),
        );
        say(
            "Who the publisher says it is (From): \"presentity\", or a SIP URI. Default: \"presentity\".",
            &format!("from = {}", quoted(publish.from.as_deref().unwrap_or("presentity"))),
        );
        let file = publish.password_file.as_ref().map(|file| file.display().to_string());
        let hidden = publish.password.is_some() && file.is_none();
        let user = optional("user", publish.user.as_deref(), "offhook");
        say(
            "Digest user of the publisher, with a password. Default: none.",
            // Without the password, which is not shown, it would be an error.
            &if hidden { format!("# {user}") } else { user },
        );
        say(
            "Its password; better kept in a file of its own, see `password_file`. Default: none.",
            if hidden { "# password is set, and not shown" } else { "# password = \"…\"" },
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
        for (comment, line) in self.presence.lines() {
            say(comment, &line);
        }
        text
    }
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(super) fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}
