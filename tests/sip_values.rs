//! The traps of reading SIP, one row or one test each.
#![allow(missing_docs)]

mod sip_common;

use offhook::base::Limits;
use offhook::sip::{HeaderName, Method, NameAddr, ScanError, Scanner, SipMessage, looks_like_sip};
use sip_common::text;

const BASE: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>;tag=b\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n";

fn read<T>(message: &[u8], ask: impl FnOnce(SipMessage<'_>) -> T) -> T {
    let mut scanner = Scanner::new(&Limits::default());
    match scanner.scan(message) {
        Ok(message) => ask(message),
        Err(error) => panic!("{error} in {}", text(message)),
    }
}

/// An INVITE with these fields besides those that every message has.
fn with<T>(fields: &str, ask: impl FnOnce(SipMessage<'_>) -> T) -> T {
    read(format!("INVITE sip:bob@example.com SIP/2.0\r\n{BASE}{fields}\r\n").as_bytes(), ask)
}

fn refusal(message: &[u8]) -> Option<ScanError> {
    Scanner::new(&Limits::default()).scan(message).err()
}

/// The first of these fields' values that parses as From does, whatever From says in [`BASE`].
fn address(value: &str) -> Option<(String, String, Option<String>)> {
    let address = NameAddr::parse(value.as_bytes())?;
    Some((address.display.map(text).unwrap_or_default(), text(address.uri), address.tag().map(text)))
}

#[test]
fn start_lines() {
    let first = |line: &str| {
        let bytes = format!("{line}\r\n{BASE}\r\n");
        let mut scanner = Scanner::new(&Limits::default());
        scanner
            .scan(bytes.as_bytes())
            .map(|message| (message.status(), text(message.request_uri().unwrap_or(message.reason()))))
    };
    let request = |uri: &str| Ok((None, uri.to_owned()));
    let status = |status, reason: &str| Ok((Some(status), reason.to_owned()));
    let none = Err(ScanError::StartLine { offset: 0 });
    let rows = [
        ("INVITE sip:bob@example.com SIP/2.0", request("sip:bob@example.com")),
        ("INVITE\tsip:bob@example.com  sip/2.0 ", request("sip:bob@example.com")),
        ("INVITE sip:[2001:db8::1]:5060 SIP/2.0", request("sip:[2001:db8::1]:5060")),
        ("INVITE urn:service:sos SIP/2.0", request("urn:service:sos")),
        ("INVITE sip:a;b/c?d@example.com SIP/2.0", request("sip:a;b/c?d@example.com")),
        ("SIP/2.0 200", status(200, "")),
        ("SIP/2.0 200 ", status(200, "")),
        ("sip/2.0  486 Busy Here", status(486, "Busy Here")),
        ("\r\n\r\n\nSIP/2.0 180 Ringing", status(180, "Ringing")),
        ("SIP/2.0 20", Err(ScanError::Status { offset: 8 })),
        ("SIP/2.0 099 X", Err(ScanError::Status { offset: 8 })),
        ("SIP/2.0 700 X", Err(ScanError::Status { offset: 8 })),
        ("SIP/2.0 2000 X", Err(ScanError::Status { offset: 8 })),
        ("SIP/2.0", none.clone()),
        ("INVITE sip:bob@example.com SIP/3.0", Err(ScanError::Version { offset: 27 })),
        ("INVITE sip:bob@example.com HTTP/1.1", none.clone()),
        ("INVITE SIP/2.0", none.clone()),
        ("INV@TE sip:bob@example.com SIP/2.0", none.clone()),
        (" INVITE sip:bob@example.com SIP/2.0", none),
    ];
    for (line, expected) in rows {
        assert_eq!(first(line), expected, "{line:?}");
    }
}

#[test]
fn methods_are_case_sensitive_and_unknown_ones_keep_their_text() {
    for (written, method) in [("UPDATE", Method::Update), ("invite", Method::Other), ("NEW!", Method::Other)]
    {
        let bytes = format!("{written} sip:bob@example.com SIP/2.0\r\n{BASE}\r\n")
            .replace("1 INVITE", &format!("1 {written}"));
        read(bytes.as_bytes(), |message| {
            assert_eq!(message.method(), Some(method));
            assert_eq!(text(message.method_text()), written);
            assert_eq!(message.cseq().method, method);
        });
    }
}

#[test]
fn what_every_message_has() {
    let whole = format!("INVITE sip:bob@example.com SIP/2.0\r\n{BASE}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let without = whole.replace(&format!("\r\n{name}:"), "\r\nX-Gone:");
        assert_eq!(refusal(without.as_bytes()), Some(ScanError::Missing(name)), "{name}");
        let start = whole.find(&format!("\r\n{name}:")).unwrap_or_default() + 2 + name.len() + 1;
        let end = start + whole[start..].find("\r\n").unwrap_or_default();
        let empty = format!("{}{}", &whole[..start], &whole[end..]);
        let refused = refusal(empty.as_bytes());
        assert!(
            matches!(refused, Some(ScanError::Malformed { name: told, .. }) if told == name),
            "{name}: {refused:?}"
        );
        // A field whose line was cut does not count.
        let cut = &whole[..end];
        assert!(refusal(cut.as_bytes()).is_some(), "{name}");
    }
    assert_eq!(refusal(b""), Some(ScanError::Empty));
    assert_eq!(refusal(b"\r\n\r\n"), Some(ScanError::Empty));
    assert_eq!(
        refusal(whole.replace("1 INVITE", "1 BYE").as_bytes()),
        whole.find("1 INVITE").map(|offset| ScanError::MethodMismatch { offset })
    );
    let twice = whole.replace("CSeq: 1", "Call-ID: c2\r\nCSeq: 1");
    assert_eq!(refusal(twice.as_bytes()), Some(ScanError::Contradictory("Call-ID")));
    let repeated = whole.replace("CSeq: 1", "i: c1\r\nCSeq: 1");
    assert_eq!(refusal(repeated.as_bytes()), None);
    let mut scanner = Scanner::new(&Limits { message_bytes: 100, ..Limits::default() });
    assert!(matches!(scanner.scan(whole.as_bytes()), Err(ScanError::TooLong(_))));
}

#[test]
fn cseq_numbers() {
    let cseq = |value: &str| {
        let bytes = format!("INVITE sip:b@example.com SIP/2.0\r\n{BASE}\r\n")
            .replace("CSeq: 1 INVITE", &format!("CSeq:{value}"));
        Scanner::new(&Limits::default()).scan(bytes.as_bytes()).ok().map(|message| message.cseq().number)
    };
    let rows = [
        ("1 INVITE", Some(1)),
        (" 0009\r\n\t INVITE", Some(9)),
        (" 2147483648 INVITE", Some(2_147_483_648)),
        (" 4294967295 INVITE", Some(u32::MAX)),
        (" 4294967296 INVITE", None),
        (" 99999999999999999999999999 INVITE", None),
        (" -1 INVITE", None),
        (" 1INVITE", None),
        (" 1", None),
        (" INVITE", None),
        (" 1 INVITE x", None),
    ];
    for (value, expected) in rows {
        assert_eq!(cseq(value), expected, "{value:?}");
    }
}

#[test]
fn lines_of_all_kinds() {
    let message = b"OPTIONS sip:b@example.com SIP/2.0\n folded into nothing\nno colon here\nv\t :SIP/2.0/UDP a\n ;branch=x\nF:<sip:a@b>;tag=\xff\xfe\nt:\n <sip:c@d>\nI:id\ncSEQ: 2\n OPTIONS\nSubject:\n\nbody";
    read(message, |message| {
        assert_eq!(text(message.top_branch()), "x");
        assert_eq!(message.from_tag(), Some(&b"\xff\xfe"[..]));
        assert_eq!(message.to_tag(), None);
        assert_eq!(text(message.to().uri), "sip:c@d");
        assert_eq!(message.header(HeaderName::Subject), Some(&b""[..]));
        assert_eq!(text(message.body()), "body");
        assert!(message.headers_are_whole() && message.body_is_whole());
    });
    let limits = Limits { message_headers: 6, ..Limits::default() };
    let many = format!("INVITE sip:b@c SIP/2.0\r\n{BASE}Expires: 1\r\nEvent: dialog\r\n\r\n");
    let mut scanner = Scanner::new(&limits);
    let message = scanner.scan(many.as_bytes()).map(|message| (message.expires(), message.event().map(text)));
    assert_eq!(message, Ok((Some(1), None)), "the seventh field is not looked at");
}

#[test]
fn a_message_that_was_cut() {
    let cut = format!("INVITE sip:b@c SIP/2.0\r\n{BASE}Expires: 12");
    read(cut.as_bytes(), |message| {
        assert!(!message.headers_are_whole() && !message.body_is_whole());
        assert_eq!(message.expires(), None, "the line may have gone on");
        assert_eq!(message.body(), b"");
    });
    with("Content-Length: 3\r\n", |message| {
        assert!(message.headers_are_whole() && !message.body_is_whole());
    });
}

#[test]
fn names_and_addresses() {
    let row = |display: &str, uri: &str, tag: Option<&str>| {
        Some((display.to_owned(), uri.to_owned(), tag.map(str::to_owned)))
    };
    let rows = [
        ("<sip:a@b>", row("", "sip:a@b", None)),
        ("Alice A <sip:a@b>;tag=1", row("Alice A", "sip:a@b", Some("1"))),
        ("Alice<sip:a@b;x=y> ; TAG = 1", row("Alice", "sip:a@b;x=y", Some("1"))),
        (
            r#""<sip:x@y>;tag=2, \" \\"<sip:a@b>;tag=1"#,
            row(r#"<sip:x@y>;tag=2, \" \\"#, "sip:a@b", Some("1")),
        ),
        ("\"\" <sip:a@b>", row("", "sip:a@b", None)),
        ("sip:a@b;tag=1", row("", "sip:a@b", Some("1"))),
        ("sip:a@b ; x=\"<;tag=2>\";tag=1", row("", "sip:a@b", Some("1"))),
        ("sip:a@b?Subject=x;tag=1", row("", "sip:a@b?Subject=x", Some("1"))),
        ("< sip:a@b >;tag=", row("", "sip:a@b", None)),
        ("<tel:+1-555-0100;phone-context=x>;tag=1", row("", "tel:+1-555-0100;phone-context=x", Some("1"))),
        ("Ext. 7: Alice <sip:a@b>;tag=1", row("Ext. 7: Alice", "sip:a@b", Some("1"))),
        ("\"Alice <sip:a@b>;tag=1", None),
        ("\"Alice\" sip:a@b", None),
        ("\"Alice\" x <sip:a@b>", None),
        ("<sip:a@b;tag=1", None),
        ("sip:a@b>;tag=1", None),
        ("<>;tag=1", None),
        (";tag=1", None),
        ("", None),
    ];
    for (value, expected) in rows {
        assert_eq!(address(value), expected, "{value:?}");
    }
}

#[test]
fn vias() {
    let fields = "v: SIP / 2.0 / TCP  proxy.example.com : 5061 ;rport ; branch = z9hG4bK2 , SIP/2.0/UDP [2001:db8::1]:5070;received=[2001:db8::2];rport=4000\r\nVIA : SIP/2.0/TLS host.example.com:;received=2001:db8::3;branch=;x=\"a,b;branch=no\"\r\nVia: broken, SIP/2.0/UDP 192.0.2.9:70000, SIP/2.0/WS a.invalid\r\n";
    with(fields, |message| {
        let told: Vec<_> = message
            .vias()
            .map(|via| {
                format!(
                    "{} {} {:?} {:?} {:?} {:?}",
                    text(via.transport),
                    text(via.host),
                    via.port,
                    via.branch.map(text),
                    via.received_ip().map(|ip| ip.to_string()),
                    via.rport,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                r#"UDP 192.0.2.1 None Some("z9hG4bK1") None None"#,
                r#"TCP proxy.example.com Some(5061) Some("z9hG4bK2") None None"#,
                r#"UDP [2001:db8::1] Some(5070) None Some("2001:db8::2") Some(4000)"#,
                r#"TLS host.example.com None None Some("2001:db8::3") None"#,
                r#"WS a.invalid None None None None"#,
            ]
        );
        assert_eq!(message.via_count(), 5);
        assert_eq!(text(message.top_branch()), "z9hG4bK1");
    });
}

#[test]
fn contacts() {
    let fields = "m: \"A, <b>\" <sip:a@192.0.2.1;ob>;expires=60;q=0.7;+sip.instance=\"<urn:uuid:1>\", sip:b@c;expires=\"70\"\r\nContact: <sip:d@e>;expires=99999999999;q=1.000,<broken\r\nContact:\r\n";
    with(fields, |message| {
        let told: Vec<_> = message
            .contacts()
            .map(|contact| {
                (
                    text(contact.addr.uri),
                    contact.expires(),
                    contact.q(),
                    contact.param(b"+SIP.instance").map(text),
                )
            })
            .collect();
        let instance = Some("<urn:uuid:1>".to_owned());
        assert_eq!(
            told,
            [
                ("sip:a@192.0.2.1;ob".to_owned(), Some(60), Some(700), instance),
                ("sip:b@c".to_owned(), Some(70), None, None),
                ("sip:d@e".to_owned(), Some(u32::MAX), Some(1_000), None),
                ("<broken".to_owned(), None, None, None),
            ]
        );
    });
    for star in ["*", " * ", "\r\n *;expires=0"] {
        with(&format!("Contact:{star}\r\n"), |message| {
            let contacts: Vec<_> = message.contacts().collect();
            assert!(contacts.len() == 1 && contacts[0].star, "{star:?}");
        });
    }
    with("Contact: *x\r\n", |message| assert!(message.contacts().all(|contact| !contact.star)));
    for (q, expected) in [
        ("0", Some(0)),
        ("0.", Some(0)),
        ("0.05", Some(50)),
        ("1.1", None),
        ("0.1234", None),
        ("2", None),
        ("x", None),
    ] {
        with(&format!("m: <sip:a@b>;q={q}\r\n"), |message| {
            assert_eq!(message.contacts().next().and_then(|contact| contact.q()), expected, "{q}");
        });
    }
}

#[test]
fn numbers_of_seconds() {
    let fields = "Expires: 4294967297\r\nx: 1800 ;refresher=uac\r\nMin-Expires: 60\r\nRetry-After: 18000 (in a meeting);duration=3600\r\nSubscription-State: active ;reason=x; expires=599\r\no: presence;id=1\r\n";
    with(fields, |message| {
        assert_eq!(message.expires(), Some(u32::MAX));
        assert_eq!(message.session_expires(), Some(1_800));
        assert_eq!(message.min_expires(), Some(60));
        assert_eq!(message.retry_after(), Some(18_000));
        assert_eq!(message.subscription_state(), Some((&b"active"[..], Some(599))));
        assert_eq!(message.event().map(text).as_deref(), Some("presence"));
    });
    with("Expires: Thu, 01 Dec 1994\r\nRetry-After: soon\r\nEvent: ;x\r\n", |message| {
        assert_eq!((message.expires(), message.retry_after(), message.event()), (None, None, None));
        assert_eq!((message.session_expires(), message.subscription_state()), (None, None));
    });
}

#[test]
fn digest() {
    let fields = "Authorization: Basic YWxpY2U=\r\nAuthorization: digest username=\"al,ice\\\"\",\r\n realm = \"example.com\" , nonce=\"n\",uri=\"sip:example.com\",response=\"r\",algorithm=MD5, qop=auth,nc=00000001,cnonce=\"0\"\r\nProxy-Authorization: Digest username=bob, realm=\"x\"\r\nWWW-Authenticate: Negotiate abc, Digest realm=\"a\", qop=\"auth,auth-int\", nonce=\"1\", Digest realm=\"b\", algorithm=SHA-256, nonce=\"2\", opaque=\"\", stale=TRUE\r\nProxy-Authenticate: Digest realm=\"c\",nonce=\"3\"\r\n";
    with(fields, |message| {
        let credentials: Vec<_> = message
            .credentials()
            .map(|found| (found.proxy, text(found.username), text(found.realm), found.nc.map(text)))
            .collect();
        let nc = Some("00000001".to_owned());
        assert_eq!(
            credentials,
            [
                (false, "al,ice\\\"".to_owned(), "example.com".to_owned(), nc),
                (true, "bob".to_owned(), "x".to_owned(), None),
            ]
        );
        let challenges: Vec<_> = message
            .challenges()
            .map(|found| {
                format!(
                    "{} {} {} {:?} {:?} {:?} {}",
                    found.proxy,
                    text(found.realm),
                    text(found.nonce),
                    found.qop.map(text),
                    found.algorithm.map(text),
                    found.opaque.map(text),
                    found.stale
                )
            })
            .collect();
        assert_eq!(
            challenges,
            [
                r#"false a 1 Some("auth,auth-int") None None false"#,
                r#"false b 2 None Some("SHA-256") Some("") true"#,
                r#"true c 3 None None None false"#,
            ]
        );
    });
}

#[test]
fn the_dialog_whose_place_is_asked_for() {
    let cases = [
        ("Replaces: a@192.0.2.1;to-tag=1;from-tag=2\r\n", Some("a@192.0.2.1")),
        (
            "Refer-To: <sip:bob@example.com?Replaces=a%40192.0.2.1%3Bto-tag%3D1%3Bfrom-tag%3D2&Require=replaces>\r\n",
            Some("a@192.0.2.1"),
        ),
        ("Refer-To: <sip:bob@example.com;method=INVITE?require=replaces&replaces=a>\r\n", Some("a")),
        ("Refer-To: <sip:bob@example.com>\r\n", None),
        ("Refer-To: sip:replaces=@example.com\r\n", None),
    ];
    for (field, expected) in cases {
        with(field, |message| {
            assert_eq!(message.replaced_call_id().as_deref(), expected.map(str::as_bytes), "{field}");
        });
    }
}

#[test]
fn options_and_identities() {
    with(
        "Require: timer,\r\n 100REL\r\nReplaces: a;to-tag=1;from-tag=2\r\nP-Asserted-Identity: \"A\" <sip:alice@example.com>, tel:+15550100\r\nUser-Agent: \r\n",
        |message| {
            assert!(message.requires_100rel());
            assert_eq!(message.replaced_call_id().as_deref(), Some(b"a".as_slice()));
            let asserted: Vec<_> = message.asserted().map(|address| text(address.uri)).collect();
            assert_eq!(asserted, ["sip:alice@example.com", "tel:+15550100"]);
            assert_eq!(message.user_agent(), None);
        },
    );
    with("Supported: 100rel\r\n", |message| assert!(!message.requires_100rel()));
}

#[test]
fn bodies() {
    let body = |fields: &str, body: &str| {
        with(&format!("{fields}\r\n{body}"), |message| {
            (message.content_length(), text(message.body()), message.sdp().map(text))
        })
    };
    let sdp = Some("v=0".to_owned());
    assert_eq!(
        body("c: Application/SDP;charset=x\r\nl: 3\r\n", "v=0trailing"),
        (Some(Ok(3)), "v=0".to_owned(), sdp.clone())
    );
    assert_eq!(body("Content-Length: 3\r\nl: 3\r\n", "v=0xx").0, Some(Ok(3)));
    assert_eq!(body("Content-Length: 3\r\nl: 4\r\n", "v=0xx").0, Some(Err(())));
    assert_eq!(body("Content-Length: -3\r\n", "").0, Some(Err(())));
    assert_eq!(body("Content-Length: 99999999999999999999999\r\n", "v").1, "v\r\n");
    assert_eq!(body("", "v=0").2, Some("v=0\r\n".to_owned()));
    assert_eq!(body("c: text/plain\r\n", "v=0").2, None);
    assert_eq!(body("c: application/sdp\r\ne: gzip\r\n", "v=0").2, None);
    assert_eq!(body("c: application/sdp\r\nl: 0\r\n", "").2, None);
}

#[test]
fn bodies_in_parts() {
    let sdp = |content_type: &str, body: &str| {
        with(&format!("Content-Type: {content_type}\r\n\r\n{body}"), |message| message.sdp().map(text))
    };
    let part = "preamble --b\r\n--bb\r\n--b \r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Type:\r\n application/sdp\r\nContent-Disposition: session\r\n\r\nv=0\r\ns=-\r\n--b--\r\nepilogue";
    assert_eq!(sdp("multipart/mixed;boundary=\"b\"", part).as_deref(), Some("v=0\r\ns=-"));
    assert_eq!(sdp("multipart/mixed", part), None);
    assert_eq!(sdp("multipart/mixed;boundary=none", part), None);
    let nested = format!("--o\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n{part}\r\n--o--");
    assert_eq!(sdp("multipart/mixed; boundary=o", &nested).as_deref(), Some("v=0\r\ns=-"));
    let encoded = part.replace("Content-Disposition: session", "Content-Transfer-Encoding: base64");
    assert_eq!(sdp("multipart/mixed;boundary=b", &encoded), None);
    let unfinished = "--b\nc: application/sdp\n\nv=0";
    assert_eq!(sdp("multipart/mixed;boundary=b", unfinished).as_deref(), Some("v=0\r\n"));
}

#[test]
fn what_looks_like_sip() {
    for sip in [
        "SIP/2.0 200 OK\r\n",
        "\r\n\r\nINVITE sip:a@b SIP/2.0\r\n",
        "X urn:service:sos SIP/2.0\n",
        "REGISTER sip:example.c",
        "sip/2.0 100",
    ] {
        assert!(looks_like_sip(sip.as_bytes()), "{sip:?}");
    }
    for other in [
        &b""[..],
        b"\r\n\r\n",
        b"\x80\x00\x12\x34 rtp",
        b"GET / HTTP/1.1\r\n",
        b"OPTIONS rtsp://example.com RTSP/1.0\r\n",
        b"SIP/2.0",
        b"hello sip:a@b",
        b"INVITE",
        b"INVITE http://example.com",
    ] {
        assert!(!looks_like_sip(other), "{}", text(other));
    }
}
