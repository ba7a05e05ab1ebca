//! What is read, what is refused and how, and that what is shown reads back.
//! In: TOML. Out: configurations and sentences. Knows nothing of files.

use std::path::Path;

use super::*;
use crate::publish::{EventPackage, Facets, LineKind, OnStop, PublishMethod, RefreshOn};

fn refused(text: &str) -> String {
    Config::parse("offhook.toml", text).unwrap_err().to_string()
}

fn servers(texts: &[&str]) -> Vec<NextHop> {
    texts.iter().map(|text| NextHop::parse(text).unwrap()).collect()
}

#[test]
fn an_empty_file_is_all_defaults() {
    assert_eq!(Config::parse("offhook.toml", "").unwrap(), Config::default());
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
        media_silence_s = 30
        [publish]
        server = ["sips:presence@a.example.com", "sip:192.0.2.20;transport=TCP"]
        tls_ca_file = "ca.pem"
        method = "register"
        facets = "separate"
        refresh = "follow-registration"
        per_s = 50
        outstanding = 8
        from = "sip:offhook@example.com"
        user = "offhook"
        password = "s3cret"
        expires_s = 120
        on_stop = "keep"
        events = ["dialog"]
        [dialog_info]
        placeholder = false
        remote_identity = false
        [[webhook]]
        url = "https://hooks.example.com/offhook?key=k3y"
        kinds = ["summary", "status", "summary"]
        secret = "wh-s3cret"
        ca_file = "ca.pem"
        queue = 5
        source = "/taps/1"
        [[webhook]]
        url = "http://127.0.0.1:8080"
        secret_file = "secrets"
        [watch]
        user = "board"
        password_file = "board.password"
        "#,
    )
    .unwrap();
    assert_eq!(config.rules.talking_on, TalkingOn::Ack);
    assert_eq!(config.rules.ended_on, EndedOn::Response);
    assert_eq!(config.rules.domains, ["example.com", "192.0.2.1", "[2001:db8::1]", "any"]);
    let rules = &config.rules;
    assert_eq!((rules.grace_s, rules.dialog_cap_s, rules.media_silence_s), (30, 7_200, 30));
    let publish = &config.publish;
    assert_eq!(publish.servers, servers(&["sips:a.example.com", "sip:192.0.2.20;transport=tcp"]));
    assert_eq!(publish.tls_ca_file.as_deref(), Some(std::path::Path::new("ca.pem")));
    assert_eq!((publish.method, publish.facets), (PublishMethod::Register, Facets::Separate));
    assert_eq!(publish.refresh, RefreshOn::Registration);
    assert_eq!((publish.per_s, publish.outstanding), (50, 8));
    assert_eq!(publish.from.as_deref(), Some("sip:offhook@example.com"));
    assert_eq!((publish.user.as_deref(), publish.password.as_deref()), (Some("offhook"), Some("s3cret")));
    assert_eq!((publish.expires_s, publish.on_stop), (120, OnStop::Keep));
    assert_eq!(publish.events, [EventPackage::Dialog]);
    assert!(!publish.placeholder && !publish.remote_identity);
    let [first, second] = &config.webhooks[..] else { panic!("not two webhooks") };
    assert_eq!(first.kinds, [LineKind::Summary, LineKind::Status]);
    assert_eq!((first.secrets.as_slice(), first.queue), (&["wh-s3cret".to_owned()][..], 5));
    assert_eq!(first.source.as_deref(), Some("/taps/1"));
    assert_eq!(first.ca_file.as_deref(), Some(Path::new("ca.pem")));
    let secret_file = Some("secrets".into());
    assert_eq!(second, &WebhookSection { secret_file, ..WebhookSection::new("http://127.0.0.1:8080") });
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("k3y"), "{shown}");
    let watch = &config.watch;
    assert_eq!((watch.user.as_deref(), watch.password.as_deref()), (Some("board"), None));
    assert_eq!(watch.password_file.as_deref(), Some(std::path::Path::new("board.password")));
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn session_types_keep_their_order() {
    let text = "[session_type]\n\"sip:*97@*\" = \"voicemail\"\n\"sip:9*@*\" = \"streaming\"\n\"sip:*\" = \"conference\"\n\"sip:1*\" = \"call\"\n";
    let config = Config::parse("offhook.toml", text).unwrap();
    let types: Vec<&str> = config.rules.session_types.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(types, ["voicemail", "streaming", "conference", "call"]);
}

#[test]
fn errors_name_file_line_and_key_in_one_sentence() {
    let cases = [
        (
            "\n\ntalkin_on = \"ack\"",
            "offhook.toml, line 3: there is no key `talkin_on`; there are `talking_on`, `ended_on`,",
        ),
        ("[dialog]\ncap = 3", "offhook.toml, line 2: there is no key `cap`; there is `cap_s`"),
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
        ("domains = 3", "offhook.toml, line 1: `domains` has an invalid type: integer `3`"),
        ("[publish]\nexpires_s = 5", "offhook.toml, line 2: `publish.expires_s` must be from 30 to 86400 s"),
        (
            "[publish]\nserver = \"http://example.com\"",
            "offhook.toml, line 2: `publish.server` names no server: `http://example.com` is not a SIP URI",
        ),
        (
            "[publish]\nserver = [\n  \"sip:192.0.2.20\",\n  \"sip:192.0.2.21;transport=sctp\"\n]",
            "offhook.toml, line 4: `publish.server` names no server: `sip:192.0.2.21;transport=sctp` asks for",
        ),
        (
            "[publish]\nserver = \"sips:192.0.2.21;transport=udp\"",
            "offhook.toml, line 2: `publish.server` names no server: `sips:192.0.2.21;transport=udp` asks for sips",
        ),
        (
            "[publish]\nserver = \"sip:example.com;foo=bar\"",
            "offhook.toml, line 2: `publish.server` names no server: `sip:example.com;foo=bar` has the unknown",
        ),
        (
            "[publish]\nserver = 5060",
            "offhook.toml, line 2: `publish.server` has an invalid type: integer `5060`, expected a SIP URI or a list",
        ),
        (
            "[publish]\nserver = [5060]",
            "offhook.toml, line 2: `publish.server` has an invalid type: integer `5060`, expected a string",
        ),
        (
            "[publish]\nfacets = \"both\"",
            "offhook.toml, line 2: `publish.facets` cannot be \"both\"; it can be \"combined\"",
        ),
        ("[publish]\nper_s = 0", "offhook.toml, line 2: `publish.per_s` must be from 1 to 100000"),
        ("[publish]\noutstanding = 0", "offhook.toml, line 2: `publish.outstanding` must be from 1 to 10000"),
        (
            "[publish]\nfrom = \"me\"",
            "offhook.toml, line 2: `publish.from` must be \"presentity\" or a SIP URI",
        ),
        ("[publish]\nuser = \"me\"", "offhook.toml, line 2: `publish.user` needs a `password`"),
        ("[publish]\npassword = \"x\"", "offhook.toml, line 2: `publish.password` needs a `user`"),
        (
            "[publish]\nuser = \"me\"\npassword = \"x\"\npassword_file = \"y\"",
            "offhook.toml, line 4: `publish.password_file` and `password` exclude each other",
        ),
        ("[watch]\npassword = \"x\"", "offhook.toml, line 2: `watch.password` needs a `user`"),
        ("[dialog]\ncap_s = 1", "offhook.toml, line 2: `dialog.cap_s` must be at least 60 s"),
        ("[dialog]\ncap_s = 0", "offhook.toml, line 2: `dialog.cap_s` must be at least 60 s"),
        (
            "[dialog]\nmedia_silence_s = 9",
            "offhook.toml, line 2: `dialog.media_silence_s` must be at least 10 s, or 0",
        ),
        ("[session_type]\n\"sip:*\" = \"\"", "offhook.toml, line 2:"),
        ("[numbers]\n\"+49x*\" = \"sip:*@example.com\"", "offhook.toml, line 2:"),
        ("[numbers]\n\"+49\" = \"sip:*@example.com\"", "offhook.toml, line 2:"),
        ("[numbers]\n\"+49*\" = \"mailto:*@example.com\"", "offhook.toml, line 2:"),
        ("[[webhook]]\nqueue = 5", "offhook.toml, line 1: a [[webhook]] needs a `url`"),
        (
            "[[webhook]]\nuri = \"http://example.com\"",
            "offhook.toml, line 2: there is no key `uri`; there are `url`, `kinds`,",
        ),
        ("[[webhook]]\nurl = \"example.com\"", "offhook.toml, line 2: `webhook.url` must be a URL"),
        (
            "[[webhook]]\nurl = \"ftp://example.com\"",
            "offhook.toml, line 2: `webhook.url` must be an http or https",
        ),
        (
            "[[webhook]]\nurl = \"https://me:secret@example.com\"",
            "offhook.toml, line 2: `webhook.url` must not hold a user or a password",
        ),
        (
            "[[webhook]]\nurl = \"http://example.com\"\nkinds = [\"status\", \"states\"]",
            "offhook.toml, line 3: `webhook.kinds` cannot have \"states\" in it; it can have \"status\", \"contact\",",
        ),
        (
            "[[webhook]]\nurl = \"http://example.com\"\nkinds = []",
            "offhook.toml, line 3: `webhook.kinds` must name at least one kind",
        ),
        (
            "[[webhook]]\nurl = \"http://example.com\"\n[[webhook]]\nurl = \"http://example.com\"\nsecret = \"whsec_?\"",
            "offhook.toml, line 5: `webhook.secret` must be \"whsec_\" and base64",
        ),
        (
            "[[webhook]]\nurl = \"http://example.com\"\nsecret = \"x\"\nsecret_file = \"y\"",
            "offhook.toml, line 4: `webhook.secret_file` and `secret` exclude each other",
        ),
        (
            "[[webhook]]\nurl = \"http://example.com\"\nqueue = 0",
            "offhook.toml, line 3: `webhook.queue` must be from 1 to 1000000 events",
        ),
        (
            "[[webhook]]\nurl = \"http://example.com\"\nsource = \"my tap\"",
            "offhook.toml, line 3: `webhook.source` must be a URI reference",
        ),
        ("talking_on = ", "offhook.toml, line 1:"),
        ("talking_on = \"ack\"\ntalking_on = \"ack\"", "offhook.toml, line 2: duplicate key"),
    ];
    for (text, expected) in cases {
        let said = refused(text);
        assert!(said.starts_with(expected), "{text:?}\n said {said}\n not  {expected}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn all_faults_are_told_one_a_line() {
    let said = |text: &str| -> Vec<String> { refused(text).lines().map(str::to_owned).collect() };
    let starts = |text: &str, expected: &[&str]| {
        let said = said(text);
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(&format!("offhook.toml, {expected}")), "{said}\n not {expected}");
        }
    };
    let text = r#"talkin_on = "ack"
ended_on = "never"
domains = ["a b", "example.com", "c d"]
[registration]
grace_s = "long"
[publish]
per_s = 0
server = ["sip:example.com;foo=bar", "http://example.com"]
expires_s = 1
user = "me"
[dialog]
cap_s = 1
caps = 2
[[webhook]]
url = "https://hooks.example.com"
queue = 0
source = "my tap"
[[webhook]]
kind = "status"
queue = "long"
[[webhook]]
queue = 5
[presence]
listen = ["udp:localhost:5060", "tls:127.0.0.1:5061"]
min_expires_s = 0
[presence.users]
"a:b" = ""
"#;
    starts(
        text,
        &[
            "line 1: there is no key `talkin_on`",
            "line 2: `ended_on` cannot be \"never\"",
            "line 3: `domains` is neither a domain",
            "line 5: `registration.grace_s` has an invalid type",
            "line 7: `publish.per_s` must be from",
            "line 8: `publish.server` names no server: `sip:example.com;foo=bar`",
            "line 8: `publish.server` names no server: `http://example.com`",
            "line 9: `publish.expires_s` must be from",
            "line 10: `publish.user` needs a `password`",
            "line 13: there is no key `caps`",
            "line 16: `webhook.queue` must be from",
            "line 17: `webhook.source` must be",
            "line 19: there is no key `kind`",
            "line 20: `webhook.queue` has an invalid type",
            "line 21: a [[webhook]] needs a `url`",
            "line 24: `presence.listen` names no place to listen",
            "line 24: `presence.listen` with TLS needs",
            "line 25: `presence.min_expires_s` must be from",
            "line 27: `presence.users.\"a:b\"` must not be empty",
            "line 27: `presence.users.\"a:b\"` needs a password",
        ],
    );
    // Of a text that is no TOML nothing more is said than where.
    starts("talking_on = \nended_on = \"never\"\n[publish\nper_s = 0\n", &["line 1: ", "line 3: "]);
}

#[test]
fn what_is_shown_is_a_configuration_that_says_the_same() {
    let mut config = Config::default();
    let shown = config.to_toml();
    assert_eq!(Config::parse("shown", &shown).unwrap(), config);
    // The example of a table that is not there becomes one when its mark is taken off.
    let webhook = shown.split_once("# [[webhook]]").unwrap().1.replace("# url", "url");
    let webhook = Config::parse("shown", &format!("[[webhook]]{webhook}")).unwrap().webhooks;
    assert_eq!(webhook, [WebhookSection::new("https://hooks.example.com/offhook")]);
    config.rules.talking_on = TalkingOn::Response;
    config.rules.ended_on = EndedOn::Response;
    config.rules.domains = vec!["example.com".to_owned(), "any".to_owned()];
    config.rules.grace_s = 5;
    config.rules.registrar_lists = RegistrarLists::Own;
    config.rules.session_types =
        vec![("sip:*97@*".to_owned(), "voicemail".to_owned()), ("sip:\"*".to_owned(), "a \\ b".to_owned())];
    config.rules.numbers = vec![("+49301234*".to_owned(), "sip:*@example.com".to_owned())];
    config.rules.dialog_cap_s = 600;
    config.rules.media_silence_s = 0;
    config.publish.servers = servers(&["sip:192.0.2.20"]);
    assert_eq!(Config::parse("shown", &config.to_toml()).unwrap(), config);
    config.publish.servers.extend(servers(&["sips:presence.example.com"]));
    config.publish.tls_ca_file = Some("ca.pem".into());
    config.publish.method = PublishMethod::Register;
    config.publish.facets = Facets::Separate;
    config.publish.refresh = RefreshOn::Registration;
    (config.publish.per_s, config.publish.outstanding) = (10, 1);
    config.publish.from = Some("sip:offhook@example.com".to_owned());
    config.publish.expires_s = 60;
    config.publish.on_stop = OnStop::Keep;
    config.publish.events = vec![EventPackage::Presence];
    (config.publish.placeholder, config.publish.remote_identity) = (false, false);
    config.webhooks = vec![
        WebhookSection::new("https://hooks.example.com"),
        WebhookSection {
            kinds: LineKind::ALL.to_vec(),
            secret_file: Some("secrets".into()),
            ca_file: Some("ca.pem".into()),
            queue: 3,
            source: Some("urn:offhook:tap-1".to_owned()),
            ..WebhookSection::new("http://127.0.0.1:8080/")
        },
    ];
    (config.watch.user, config.watch.password_file) = (Some("board".into()), Some("board.password".into()));
    assert_eq!(Config::parse("shown", &config.to_toml()).unwrap(), config, "{}", config.to_toml());
    config.webhooks[0].secrets.push("wh-s3cret".to_owned());
    (config.publish.user, config.publish.password) = (Some("offhook".into()), Some("s3cret".into()));
    (config.watch.password, config.watch.password_file) = (Some("s3cret".into()), None);
    assert!(!config.to_toml().contains("s3cret"));
}
