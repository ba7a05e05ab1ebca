//! What is read, what is refused and how, and that what is shown reads back.
//! In: TOML. Out: configurations and sentences. Knows nothing of files.

use super::*;
use crate::publish::{EventPackage, Facets, OnStop, PublishMethod, RefreshOn};

fn refused(text: &str) -> String {
    Config::parse("offhook.toml", text).unwrap_err().to_string()
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
        "#,
    )
    .unwrap();
    assert_eq!(config.rules.talking_on, TalkingOn::Ack);
    assert_eq!(config.rules.ended_on, EndedOn::Response);
    assert_eq!(config.rules.domains, ["example.com", "192.0.2.1", "[2001:db8::1]", "any"]);
    assert_eq!((config.rules.grace_s, config.rules.dialog_cap_s), (30, 7_200));
    let publish = &config.publish;
    assert_eq!(publish.servers, ["sips:presence@a.example.com", "sip:192.0.2.20;transport=TCP"]);
    assert_eq!(publish.tls_ca_file.as_deref(), Some(std::path::Path::new("ca.pem")));
    assert_eq!((publish.method, publish.facets), (PublishMethod::Register, Facets::Separate));
    assert_eq!(publish.refresh, RefreshOn::Registration);
    assert_eq!((publish.per_s, publish.outstanding), (50, 8));
    assert_eq!(publish.from.as_deref(), Some("sip:offhook@example.com"));
    assert_eq!((publish.user.as_deref(), publish.password.as_deref()), (Some("offhook"), Some("s3cret")));
    assert_eq!((publish.expires_s, publish.on_stop), (120, OnStop::Keep));
    assert_eq!(publish.events, [EventPackage::Dialog]);
    assert!(!publish.placeholder && !publish.remote_identity);
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
            "offhook.toml, line 2: `publish.server` must be a SIP URI",
        ),
        (
            "[publish]\nserver = [\n  \"sip:192.0.2.20\",\n  \"sip:192.0.2.21;transport=sctp\"\n]",
            "offhook.toml, line 4: `publish.server` must be a SIP URI",
        ),
        (
            "[publish]\nserver = \"sips:192.0.2.21;transport=udp\"",
            "offhook.toml, line 2: `publish.server` must be a SIP URI",
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
        ("[dialog]\ncap_s = 1", "offhook.toml, line 2: `dialog.cap_s` must be at least 60 s"),
        ("[session_type]\n\"sip:*\" = \"\"", "offhook.toml, line 2:"),
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
fn what_is_shown_is_a_configuration_that_says_the_same() {
    let mut config = Config::default();
    assert_eq!(Config::parse("shown", &config.to_toml()).unwrap(), config);
    config.rules.talking_on = TalkingOn::Response;
    config.rules.ended_on = EndedOn::Response;
    config.rules.domains = vec!["example.com".to_owned(), "any".to_owned()];
    config.rules.grace_s = 5;
    config.rules.session_types =
        vec![("sip:*97@*".to_owned(), "voicemail".to_owned()), ("sip:\"*".to_owned(), "a \\ b".to_owned())];
    config.rules.dialog_cap_s = 600;
    config.publish.servers = vec!["sip:192.0.2.20".to_owned()];
    assert_eq!(Config::parse("shown", &config.to_toml()).unwrap(), config);
    config.publish.servers.push("sips:presence.example.com".to_owned());
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
    assert_eq!(Config::parse("shown", &config.to_toml()).unwrap(), config, "{}", config.to_toml());
    (config.publish.user, config.publish.password) = (Some("offhook".into()), Some("s3cret".into()));
    assert!(!config.to_toml().contains("s3cret"));
}
