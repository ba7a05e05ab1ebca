//! One message, spelled in every way that the grammar allows, says the same: folds, compact forms, any case, white space
//! around every separator, quoted strings with escapes and commas, values in one line or in several, any order of fields.
//! In: generated messages. Out: our reading of the spelled one, against what was written, and against what `rsip` reads
//! of the plain one. Knows nothing of captures.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod sip_common;

use std::cell::RefCell;

use offhook::base::Limits;
use offhook::sip::Scanner;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sip_common::against_rsip::{Comparison, Met};
use sip_common::spelling::{
    Body, Choices, Contacts, First, SpelledAddress, SpelledMessage, SpelledUri, SpelledVia,
};
use sip_common::{reading, streamed, text};

type Params = Vec<(&'static str, Option<&'static str>)>;

const HOSTS: [&str; 7] = [
    "example.com",
    "pc-33.EXAMPLE.com",
    "192.0.2.7",
    "[2001:db8::1]",
    "[2001:DB8:0:0::9:1]",
    "[::ffff:192.0.2.2]",
    "localhost",
];

fn port() -> impl Strategy<Value = Option<u16>> {
    select(vec![None, Some(5060), Some(5061), Some(1), Some(65_535)])
}

fn uri_params() -> impl Strategy<Value = Params> {
    prop::collection::vec(
        select(vec![
            ("transport", Some("tcp")),
            ("transport", Some("UDP")),
            ("lr", None),
            ("maddr", Some("192.0.2.9")),
            ("user", Some("phone")),
            ("gw", Some("a%3Db-[1]")),
            ("ob", None),
        ]),
        0..3,
    )
    .prop_map(|mut params| {
        let mut seen = Vec::new();
        params.retain(|(name, _)| {
            !seen.contains(name) && {
                seen.push(*name);
                true
            }
        });
        params
    })
}

fn uri() -> impl Strategy<Value = SpelledUri> {
    let user = select(vec![
        None,
        Some("alice"),
        Some("bob"),
        Some("+19725552222"),
        Some("alice.b-c_d!e~f*g'h(i)"),
        Some("%61lice%40home"),
        Some("1234;phone-context=+1"),
        Some("a&b=c+d$e,f?g/h"),
        Some("*97"),
    ]);
    (
        select(vec!["sip", "sip", "sips"]),
        user,
        select(vec![None, None, Some("s3cret"), Some("a&=+$,b")]),
        select(HOSTS.to_vec()),
        port(),
        uri_params(),
        select(vec!["", "", "Subject=a%20b&Priority=urgent"]),
    )
        .prop_map(|(scheme, user, password, host, port, params, headers)| SpelledUri {
            scheme,
            user,
            password,
            host,
            port,
            params,
            headers,
        })
}

fn address() -> impl Strategy<Value = SpelledAddress> {
    let display = select(vec![
        "",
        "",
        "Alice",
        "Alice B. Carol",
        "\"Alice\"",
        "\"Smith, Alice\"",
        "\"a \\\" <sip:mallory@example.org>;tag=no, \\\\\"",
        "\"\"",
        "\"\u{c4}rzte\"",
    ]);
    let params = prop::collection::vec(
        select(vec![
            ("q", Some("0.5")),
            ("+sip.instance", Some("\"<urn:uuid:1,2;tag=x>\"")),
            ("x", None),
            ("y", Some("\";tag=no;expires=1\"")),
        ]),
        0..3,
    );
    (display, uri(), params).prop_map(|(display, uri, params)| SpelledAddress { display, uri, params })
}

fn via() -> impl Strategy<Value = SpelledVia> {
    (
        select(vec!["UDP", "TCP", "TLS", "WS", "SCTP"]),
        select(HOSTS.to_vec()),
        port(),
        select(vec![None, Some("z9hG4bK74bf9"), Some("z9hG4bK-.!%66*_+`'~"), Some("1"), Some("z9hG4bKa.0")]),
        select(vec![None, None, Some("192.0.2.201"), Some("2001:db8::9")]),
        select(vec![None, None, Some(None), Some(Some("5062")), Some(Some("1"))]),
        select(vec![
            vec![],
            vec![("ttl", Some("16"))],
            vec![("x", Some("\"a,b;branch=no\"")), ("alias", None)],
        ]),
    )
        .prop_map(|(transport, host, port, branch, received, rport, other)| SpelledVia {
            transport,
            host,
            port,
            branch,
            received,
            rport,
            other,
        })
}

fn first() -> impl Strategy<Value = First> {
    let methods = ["INVITE", "REGISTER", "BYE", "OPTIONS", "SUBSCRIBE", "X-Method.1"];
    prop_oneof![
        (select(methods.to_vec()), uri()).prop_map(|(method, uri)| First::Request(method, uri)),
        (
            select(vec![100_u16, 180, 200, 302, 486, 699]),
            select(vec!["", "OK", "Hi: \u{fc}, <x> \"y\" SIP/2.0"]),
            select(methods.to_vec())
        )
            .prop_map(|(status, reason, method)| First::Status(status, reason, method)),
    ]
}

const OTHERS: [&str; 8] = [
    "Max-Forwards: 70\r\n",
    "Subject: no fold\r\n From: mallory\r\n\tContent-Length: 7\r\n",
    "s :\r\n",
    "NewFangled:;;,,;;,;\r\n",
    "X-Via: SIP/2.0/UDP nowhere\r\n",
    "Allow: INVITE, ACK , BYE\r\n",
    "User-Agent: phone (a \\) comment, From: x) /2\r\n",
    "Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n",
];

fn message() -> impl Strategy<Value = SpelledMessage> {
    let tag = || select(vec![None, Some("1928301774"), Some("a-._!%*+`'~b"), Some("x")]);
    let expires = || select(vec![None, Some(0_u32), Some(60), Some(3_600), Some(u32::MAX)]);
    let contacts = prop_oneof![
        1 => Just(Contacts::Star),
        4 => prop::collection::vec((address(), expires()), 0..4).prop_map(Contacts::List),
    ];
    let call_id = select(vec![
        "a84b4c76e66710@pc33.example.com",
        "1",
        "word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    ]);
    (
        (first(), prop::collection::vec(via(), 1..4)),
        (address(), tag(), address(), tag()),
        (call_id, select(vec![0_u32, 1, 314_159, 2_147_483_647, u32::MAX])),
        (contacts, expires()),
        prop::collection::vec(select(OTHERS.to_vec()), 0..4),
        select(vec![Body::None, Body::Sdp, Body::Text, Body::Multipart]),
    )
        .prop_map(
            |(
                (first, vias),
                (from, from_tag, to, to_tag),
                (call_id, cseq),
                (contacts, expires),
                others,
                body,
            )| {
                SpelledMessage {
                    first,
                    vias,
                    from,
                    from_tag,
                    to,
                    to_tag,
                    call_id,
                    cseq,
                    contacts,
                    expires,
                    others,
                    body,
                }
            },
        )
}

/// Our reading must be what was written.
fn check(scanner: &mut Scanner, written: &SpelledMessage, spelled: &str) -> Result<(), TestCaseError> {
    let message = scanner
        .scan(spelled.as_bytes())
        .map_err(|error| TestCaseError::fail(format!("{error}\n{spelled}")))?;
    let (ours, expected) = (reading::ours(&message), written.reading());
    prop_assert_eq!(ours.len(), expected.len());
    for (field, expected) in &expected {
        prop_assert_eq!(&ours[field], expected, "{}\n{}", field, spelled);
    }
    prop_assert!(message.body_is_whole());
    prop_assert_eq!(message.sdp().map(text), written.body.sdp().map(str::to_owned), "{}", spelled);
    for via in message.vias().zip(&written.vias) {
        prop_assert_eq!(text(via.0.host), via.1.host);
        prop_assert_eq!(via.0.asks_rport, via.1.rport.is_some());
    }
    Ok(())
}

#[test]
fn every_spelling_says_the_same() {
    // The same cases each time: what rsip makes of a spelling is not ours to be surprised by.
    let config = Config { cases: 6_000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let comparison = RefCell::new(Comparison::default());
    let spelled = (message(), prop::collection::vec(any::<u8>(), 0..400));
    let outcome = runner.run(&spelled, |(written, choices)| {
        let mut scanner = Scanner::new(&Limits::default());
        let plain = written.spell(&mut Choices::plain());
        // Odd in a few places only, so that rsip can often read it.
        let few: Vec<u8> = choices.iter().map(|&choice| if choice < 230 { 0 } else { choice }).collect();
        let mild = written.spell(&mut Choices::new(&few));
        let spelled = written.spell(&mut Choices::new(&choices));
        for spelling in [&plain, &mild, &spelled] {
            check(&mut scanner, &written, spelling)?;
        }
        // Whatever carries it, it comes as one message, byte for byte.
        let whole = vec![(spelled.as_bytes().to_vec(), true)];
        for streamed in [streamed::datagram(spelled.as_bytes()), streamed::connection(spelled.as_bytes(), 97)]
        {
            prop_assert_eq!(&streamed.messages, &whole, "{}", spelled);
            prop_assert!(streamed.oddities.is_empty(), "{:?}\n{}", streamed.oddities, spelled);
        }
        let mut comparison = comparison.borrow_mut();
        comparison.compare(&mut scanner, "plain", plain.as_bytes());
        comparison.compare(&mut scanner, "mild", mild.as_bytes());
        comparison.compare(&mut scanner, "spelled", spelled.as_bytes());
        match comparison.wrong.is_empty() {
            true => Ok(()),
            false => {
                let wrong = std::mem::take(&mut comparison.wrong).join("\n");
                Err(TestCaseError::fail(format!("{wrong}\n{plain}\n{mild}\n{spelled}")))
            }
        }
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let comparison = comparison.borrow();
    println!("{}", comparison.told());
    assert!(comparison.read_by_both > comparison.total / 4, "{}", comparison.told());
    assert_eq!(comparison.never_met(Met::Spellings), Vec::<&str>::new(), "named, and in no spelling");
}
