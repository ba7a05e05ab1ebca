//! URIs, addresses of record, parameters, digest challenges and credentials, names: read or refused, and what is read
//! keeps its meaning however it is written.

use offhook::base::{Limits, Random, Secret, Timestamp};
use offhook::sip::authenticator::{Attempt, Authenticator};
use offhook::sip::digest::DigestUser;
use offhook::sip::digest_guard::DigestGuard;
use offhook::sip::write::{Header, RequestMethod, request};
use offhook::sip::{Aor, HeaderName, NameAddr, Scanner, Scheme, Uri, uri};

use super::input::{Input, Reached};

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "sip",
    "sips",
    "tel",
    "other scheme",
    "no uri",
    "equivalent",
    "not equivalent",
    "aor",
    "no aor",
    "address",
    "no address",
    "challenge answered",
    "challenge not answered",
    "credentials refused",
    "credentials taken",
    "named",
];

/// The first byte chooses what the others are.
pub fn target(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let mut input = Input::new(data);
    match input.byte() % 6 {
        0 => one_uri(input.rest(), &mut reached),
        1 => two_uris(input, &mut reached),
        2 => address(input.rest(), &mut reached),
        3 => challenge(input.rest(), &mut reached),
        4 => credentials(input.rest(), &mut reached),
        _ => name(input.rest(), &mut reached),
    }
    reached
}

fn one_uri(text: &[u8], reached: &mut Reached) {
    assert!(!uri::display(text).chars().any(char::is_control));
    if let Some(aor) = Aor::from_uri(text) {
        reached.note("aor");
        assert_eq!(Aor::from_uri(aor.as_str().as_bytes()).as_ref(), Some(&aor));
        assert!(aor.as_str().contains(aor.user()));
        assert!(aor.domain().is_none_or(|domain| aor.as_str().ends_with(domain)), "{aor:?}");
    } else {
        reached.note("no aor");
    }
    let Some(read) = Uri::parse(text) else {
        reached.note("no uri");
        return;
    };
    reached.note(match read.scheme {
        Scheme::Sip => "sip",
        Scheme::Sips => "sips",
        Scheme::Tel => "tel",
        Scheme::Other => "other scheme",
    });
    assert!(read.equivalent(&read));
    assert_eq!(read.address().map(|address| address.ip()), read.ip());
    for (name, value) in read.params.iter() {
        // Of two with one name the first counts.
        assert!(read.params.get(name).is_some(), "{name:?} {value:?}");
    }
}

/// A URI, and one that differs from it at one place: in the case of a letter, or in how a byte is written.
fn two_uris(mut input: Input<'_>, reached: &mut Reached) {
    let (how, place) = (input.byte(), usize::from(input.byte()));
    let first = input.rest();
    let Some(&byte) = first.get(place) else { return };
    let instead = match how % 4 {
        0 => vec![byte ^ 0x20],
        1 => format!("%{byte:02x}").into_bytes(),
        2 => format!("%{byte:02X}").into_bytes(),
        _ => vec![how],
    };
    let second = [&first[..place], &instead, &first[place + 1..]].concat();
    let (Some(one), Some(other)) = (Uri::parse(first), Uri::parse(&second)) else { return };
    assert_eq!(one.equivalent(&other), other.equivalent(&one), "{one:?} {other:?}");
    if one.equivalent(&other) {
        reached.note("equivalent");
        assert_eq!(one.key(), other.key(), "an index would not find it");
    } else {
        reached.note("not equivalent");
    }
}

fn address(text: &[u8], reached: &mut Reached) {
    let Some(read) = NameAddr::parse(text) else {
        reached.note("no address");
        return;
    };
    reached.note("address");
    assert!(!read.uri.is_empty());
    assert!(read.tag().is_none_or(|tag| !tag.is_empty()));
    for (name, value) in read.params.iter() {
        assert!(read.params.get(name).is_some(), "{name:?} {value:?}");
    }
}

const REQUEST: &str = "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=1\r\n\
    To: <sip:alice@example.com>\r\nCall-ID: 1\r\nCSeq: 1 PUBLISH\r\n";

fn lines(first: &str, name: &str, value: &[u8]) -> Vec<u8> {
    [first.as_bytes(), b"\r\n", REQUEST.as_bytes(), name.as_bytes(), b": ", value, b"\r\n\r\n"].concat()
}

/// Whatever a server asks, what is answered to it can be written, and is read as the answer to just that.
fn challenge(value: &[u8], reached: &mut Reached) {
    if value.contains(&b'\n') {
        return;
    }
    let bytes = lines("SIP/2.0 401 Unauthorized", "WWW-Authenticate", value);
    let mut scanner = Scanner::new(&Limits::default());
    let Ok(response) = scanner.scan(&bytes) else { panic!("the head is whole") };
    let mut authenticator = Authenticator::new(Some("ali\"ce"), Some("secret"));
    let (mut attempt, mut random) = (Attempt::default(), Random::new(1));
    let accepted = authenticator.accept(&mut attempt, &response, &mut random);
    let fields = authenticator.headers("PUBLISH", "sip:alice@example.com");
    assert_eq!(accepted, !fields.is_empty());
    let again = (0..10).take_while(|_| authenticator.accept(&mut attempt, &response, &mut random)).count();
    assert!(again < 10, "it would go on without end");
    if !accepted {
        reached.note("challenge not answered");
        return;
    }
    let Some(asked) = response.challenges().find(|asked| {
        // The one that was answered.
        fields.iter().any(|field| {
            let [realm, nonce] =
                [asked.realm, asked.nonce].map(|text| String::from_utf8_lossy(text).into_owned());
            field.to_string().contains(&format!("realm=\"{realm}\", nonce=\"{nonce}\""))
        })
    }) else {
        panic!("{fields:?} answers nothing in {}", String::from_utf8_lossy(&bytes));
    };
    let mut headers: Vec<Header> = [
        "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK2",
        "From: <sip:a@b>;tag=1",
        "To: <sip:a@b>",
        "Call-ID: 1",
        "CSeq: 2 PUBLISH",
    ]
    .iter()
    .filter_map(|line| line.split_once(": "))
    .map(|(name, value)| Header::Other(name.to_owned(), value.to_owned()))
    .collect();
    headers.extend(fields);
    // A challenge with a control character in it cannot be answered.
    let Ok(written) = request(RequestMethod::Publish, "sip:alice@example.com", headers, b"") else { return };
    let mut scanner = Scanner::new(&Limits::default());
    let Ok(read) = scanner.scan(&written) else { panic!("{}", String::from_utf8_lossy(&written)) };
    let Some(given) = read.credentials().next() else { panic!("{}", String::from_utf8_lossy(&written)) };
    reached.note("challenge answered");
    assert_eq!(String::from_utf8_lossy(given.realm), String::from_utf8_lossy(asked.realm));
    assert_eq!(String::from_utf8_lossy(given.nonce), String::from_utf8_lossy(asked.nonce));
    assert_eq!(given.username, b"ali\\\"ce");
    assert_eq!(given.uri, b"sip:alice@example.com");
}

/// Nobody gets in by credentials that were not made with the password; one who has it does, whatever stands beside.
fn credentials(value: &[u8], reached: &mut Reached) {
    if value.contains(&b'\n') {
        return;
    }
    let now = Timestamp::from_secs(1_000);
    let user = DigestUser { user: "alice".to_owned(), password: "secret".to_owned() };
    let mut guard = DigestGuard::new("example.com".to_owned(), vec![user], Secret::new([7; 32]), 4);
    let mut check = |bytes: &[u8]| {
        let mut scanner = Scanner::new(&Limits::default());
        let Ok(message) = scanner.scan(bytes) else { panic!("the head is whole") };
        guard.check(now, message.credentials(), b"PUBLISH", b"sip:alice@example.com").is_ok()
    };
    let bytes = lines("PUBLISH sip:alice@example.com SIP/2.0", "Authorization", value);
    assert!(
        !check(&bytes),
        "whoever wrote this does not know the password: {}",
        String::from_utf8_lossy(&bytes)
    );
    reached.note("credentials refused");

    let mut guard = DigestGuard::new(
        "example.com".to_owned(),
        vec![DigestUser { user: "alice".to_owned(), password: "secret".to_owned() }],
        Secret::new([7; 32]),
        4,
    );
    let asked = guard.challenges(now, false);
    let bytes = lines("SIP/2.0 401 Unauthorized", "WWW-Authenticate", asked[0].as_bytes());
    let mut scanner = Scanner::new(&Limits::default());
    let Ok(response) = scanner.scan(&bytes) else { panic!("the head is whole") };
    let mut authenticator = Authenticator::new(Some("alice"), Some("secret"));
    assert!(authenticator.accept(&mut Attempt::default(), &response, &mut Random::new(1)));
    let fields = authenticator.headers("PUBLISH", "sip:alice@example.com");
    let right = fields[0].to_string();
    let both = [value, b"\r\n", right.as_bytes()].concat();
    let bytes = lines("PUBLISH sip:alice@example.com SIP/2.0", "Authorization", &both);
    let mut scanner = Scanner::new(&Limits::default());
    let Ok(message) = scanner.scan(&bytes) else { panic!("the head is whole") };
    let taken = guard.check(now, message.credentials(), b"PUBLISH", b"sip:alice@example.com");
    assert_eq!(taken, Ok("alice"), "{}", String::from_utf8_lossy(&bytes));
    reached.note("credentials taken");
}

fn name(text: &[u8], reached: &mut Reached) {
    let name = HeaderName::of(text);
    if name != HeaderName::Other {
        reached.note("named");
        assert_eq!(HeaderName::of(name.text().as_bytes()), name);
        assert!(text.len() == 1 || text.eq_ignore_ascii_case(name.text().as_bytes()));
    }
}
