//! URIs: reading, equivalence (RFC 3261 section 19.1.4), and the one spelling of an address of record.
#![allow(missing_docs)]

mod sip_common;

use offhook::sip::{Aor, Scheme, Uri, uri};
use sip_common::text;

#[test]
fn parts() {
    let told = |written: &str| {
        Uri::parse(written.as_bytes()).map(|uri| {
            format!(
                "{:?} {} {} {} {:?} [{}] [{}]",
                uri.scheme,
                uri.user.map_or("-".to_owned(), text),
                uri.password.map_or("-".to_owned(), text),
                text(uri.host),
                uri.port,
                text(uri.params.text()),
                text(uri.headers)
            )
        })
    };
    let rows = [
        ("sip:alice@example.com", Some("Sip alice - example.com None [] []")),
        (
            " SIPS:alice:pw@example.com:5061;lr?a=b \r\n",
            Some("Sips alice pw example.com Some(5061) [;lr] [a=b]"),
        ),
        ("sip:example.com", Some("Sip - - example.com None [] []")),
        ("sip:@example.com", Some("Sip - - example.com None [] []")),
        ("sip:a;b/c?d=e@example.com;f", Some("Sip a;b/c?d=e - example.com None [;f] []")),
        (
            "sip:user;par=u%40example.net@example.com",
            Some("Sip user;par=u%40example.net - example.com None [] []"),
        ),
        ("sip:alice@home@example.com", Some("Sip alice@home - example.com None [] []")),
        ("sip:bob@example.com;x=a@b", Some("Sip bob - example.com None [;x=a@b] []")),
        ("sip:#31#555@example.com", Some("Sip #31#555 - example.com None [] []")),
        ("sip:a@[2001:db8::1]:5070", Some("Sip a - [2001:db8::1] Some(5070) [] []")),
        ("sip:[2001:db8::10:5070]", Some("Sip - - [2001:db8::10:5070] None [] []")),
        ("sip:a@example.com:", Some("Sip a - example.com None [] []")),
        ("sip:a@example.com; lr", Some("Sip a - example.com None [; lr] []")),
        ("sip:\u{e9}@example.com", Some("Sip \u{e9} - example.com None [] []")),
        ("tel:+1-555-0100;phone-context=+1", Some("Tel +1-555-0100 -  None [;phone-context=+1] []")),
        ("urn:service:sos", Some("Other - -  None [] []")),
        ("sip:2001:db8::1", None),
        ("sip:a@example.com:70000", None),
        ("sip:a@example.com:5060x", None),
        ("sip:a@exam ple.com", None),
        ("sip:a b@example.com", None),
        ("sip:a@", None),
        ("sip:", None),
        ("sip", None),
        ("<sip:a@b>", None),
        ("a@example.com", None),
        ("sip:a@[2001:db8::1", None),
        ("sip:a@[]", None),
        ("sip:a@...", None),
        ("tel:alice", None),
        ("tel:+", None),
        ("1x:y", None),
        ("", None),
    ];
    for (written, expected) in rows {
        assert_eq!(told(written).as_deref(), expected, "{written:?}");
    }
}

fn equivalent(one: &str, other: &str) -> bool {
    let (Some(one), Some(other)) = (Uri::parse(one.as_bytes()), Uri::parse(other.as_bytes())) else {
        panic!("{one} or {other} is no URI");
    };
    let answer = one.equivalent(&other);
    assert_eq!(answer, other.equivalent(&one), "equivalence is symmetric");
    assert!(!answer || one.key() == other.key(), "{} {}", one.key(), other.key());
    answer
}

#[test]
fn equivalent_as_the_rfc_says() {
    let same = [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a%3bb@example.com", "sip:a%3Bb@example.com"),
        ("sip:a%23@example.com", "sip:a#@example.com"),
        ("sip:a@[2001:DB8:0::1]", "sip:a@[2001:db8::1]"),
        ("sip:a@[2001:db8:::192.0.2.1]", "sip:a@[2001:db8::192.0.2.1]"),
        ("tel:+1-555-0100", "tel:+1(555)0100"),
        ("tel:7042;phone-context=EXAMPLE.com;x=1", "tel:70-42;x=1;phone-context=example.com"),
        ("urn:service:SOS", "urn:service:sos"),
    ];
    for (one, other) in same {
        assert!(equivalent(one, other), "{one} {other}");
    }
    let different = [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@example.com", "sips:a@example.com"),
        ("sip:a@example.com", "sip:example.com"),
        ("sip:a:x@example.com", "sip:a@example.com"),
        ("sip:a%3Bb@example.com", "sip:a;b@example.com"),
        ("sip:a@example.com;user=phone", "sip:a@example.com"),
        ("sip:a@example.com;ttl=1", "sip:a@example.com"),
        ("sip:a@example.com;method=INVITE", "sip:a@example.com"),
        ("sip:a@example.com;maddr=192.0.2.1", "sip:a@example.com"),
        ("tel:7042;phone-context=a.example.com", "tel:7042"),
        ("tel:7042", "tel:7043"),
    ];
    for (one, other) in different {
        assert!(!equivalent(one, other), "{one} {other}");
    }
}

#[test]
fn literal_addresses() {
    let rows = [
        ("sip:a@192.0.2.1", Some("192.0.2.1:5060")),
        ("sips:a@192.0.2.1", Some("192.0.2.1:5061")),
        ("sip:a@[2001:db8::1]:5070;transport=tcp", Some("[2001:db8::1]:5070")),
        ("sip:a@example.com", None),
        ("sip:a@[192.0.2.1:80]", None),
        ("tel:+15550100", None),
    ];
    for (written, expected) in rows {
        let address = Uri::parse(written.as_bytes()).and_then(|uri| uri.address());
        assert_eq!(address.map(|address| address.to_string()).as_deref(), expected, "{written}");
    }
    assert_eq!(Uri::parse(b"Sip:a@b").map(|uri| uri.scheme), Some(Scheme::Sip));
}

#[test]
fn addresses_of_record_have_one_spelling() {
    let rows = [
        ("sip:Alice@Example.COM", Some("sip:Alice@example.com")),
        ("sips:alice:secret@example.com:5061;transport=tls?a=b", Some("sip:alice@example.com")),
        ("sip:%61li%63e%3a%23@example.com.", Some("sip:alice%3A%23@example.com")),
        ("sip:alice@example.com..", None),
        ("sip:a;b=c@example.com", Some("sip:a;b=c@example.com")),
        ("sip:a%3bb@example.com", Some("sip:a%3Bb@example.com")),
        ("sip:a%00%@example.com", Some("sip:a%00%25@example.com")),
        ("sip:a@home@example.com", Some("sip:a%40home@example.com")),
        ("sip:\u{e9}@example.com", Some("sip:%C3%A9@example.com")),
        ("sip:a@[2001:DB8:0:0::1]:5060", Some("sip:a@[2001:db8::1]")),
        ("sip:a@[::ffff:192.0.2.1]", Some("sip:a@[::ffff:192.0.2.1]")),
        ("sip:example.com", Some("sip:example.com")),
        ("tel:+1-(555)-01.00;ext=5", Some("tel:+15550100")),
        ("sip:+1-555-0100@example.com;user=phone", Some("sip:+1-555-0100@example.com")),
        ("im:alice@example.com", None),
        ("alice", None),
        ("", None),
    ];
    for (written, expected) in rows {
        let aor = Aor::from_uri(written.as_bytes());
        assert_eq!(aor.as_ref().map(Aor::as_str), expected, "{written}");
    }
    let long = format!("sip:{}@example.com", "a".repeat(2_000));
    assert_eq!(Aor::from_uri(long.as_bytes()), None);
}

#[test]
fn parts_of_an_address_of_record() {
    let parts = |written: &[u8]| {
        Aor::from_uri(written).map(|aor| (aor.user().to_owned(), aor.domain().map(str::to_owned)))
    };
    assert_eq!(parts(b"sip:alice@example.com"), Some(("alice".into(), Some("example.com".into()))));
    assert_eq!(parts(b"sip:example.com"), Some(("".into(), Some("example.com".into()))));
    assert_eq!(parts(b"tel:+15550100"), Some(("+15550100".into(), None)));
    let debug = Aor::from_uri(b"sip:alice@example.com").map(|aor| format!("{aor:?}"));
    assert_eq!(debug.as_deref(), Some("sip:a\u{2026}@example.com"));
}

#[test]
fn shown_to_people() {
    assert_eq!(uri::display(b" sip:alice@example.com\r\n"), "sip:alice@example.com");
    assert_eq!(uri::display(b"sip:\xff\x1b[2J@b"), "sip:\u{fffd}\u{fffd}[2J@b");
}
