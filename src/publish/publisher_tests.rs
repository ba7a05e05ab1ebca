//! A publisher and a server in virtual time.

use std::sync::Arc;

use super::*;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::base::{FrameId, Transport};
use crate::presence::{ChangeKind, PresentityState, Session, Terminal};
use crate::sip::authenticator::CHALLENGES_PER_ATTEMPT;
use crate::sip::write::{Header, header, response_to};
use crate::sip::{HeaderName, Method};
use crate::track::{Evidence, Rule};

const START: Timestamp = Timestamp::from_secs(1_000);

fn options() -> PublishOptions {
    PublishOptions {
        seed: 1,
        events: vec![EventPackage::Presence],
        user: Some("tap".to_owned()),
        password: Some("secret".to_owned()),
        ..PublishOptions::default()
    }
}

const HOP: Hop = Hop {
    transport: Transport::Udp,
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 5)), 5060),
    remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 20)), 5060),
};

fn publisher(options: PublishOptions) -> Publisher {
    let mut publisher = Publisher::new(options, &Limits::default());
    publisher.handle_servers(START, &[Server { hop: HOP }]);
    publisher
}

fn change(aor: &str, session: Session) -> PresentityChange {
    PresentityChange {
        at: START,
        aor: Aor::from_uri(aor.as_bytes()).unwrap(),
        kind: ChangeKind::Status,
        previous: (Terminal::Unknown, Session::Idle),
        previous_contact: None,
        because: Evidence { rule: Rule::Register200, frame: FrameId::default(), call_id: "call".into() },
        state: Arc::new(PresentityState {
            terminal: Terminal::Online,
            registered: Terminal::Online,
            session,
            publishable: true,
            ..PresentityState::default()
        }),
    }
}

fn alice(session: Session) -> PresentityChange {
    change("sip:alice@example.com", session)
}

/// What a test looks at in a request.
#[derive(Debug)]
struct Seen {
    bytes: Vec<u8>,
    authorization: Option<String>,
    if_match: Option<String>,
    expires_s: Option<u32>,
    uri: String,
}

fn next_request(publisher: &mut Publisher) -> Option<Seen> {
    let bytes = publisher.poll_transmit()?.bytes;
    let mut scanner = Scanner::new(&Limits::default());
    let message = scanner.scan(&bytes).unwrap();
    assert_eq!(message.method(), Some(Method::Publish));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Some(Seen {
        authorization: message.header(HeaderName::Authorization).map(text),
        if_match: message.header(HeaderName::SipIfMatch).map(text),
        expires_s: message.expires(),
        uri: text(message.request_uri().unwrap()),
        bytes: bytes.clone(),
    })
}

fn reply(publisher: &mut Publisher, now: Timestamp, to: &Seen, status: u16, more: Vec<Header>) {
    let mut scanner = Scanner::new(&Limits::default());
    let message = scanner.scan(&to.bytes).unwrap();
    let bytes = response_to(&message, status, Some("server"), more, b"").unwrap();
    publisher.handle_message(now, HOP, &bytes);
}

fn accept(publisher: &mut Publisher, now: Timestamp, to: &Seen) {
    let more = vec![header("SIP-ETag", "tag-1"), header("Expires", "600")];
    reply(publisher, now, to, 200, more);
}

fn challenge(nonce: &str, stale: bool) -> Vec<Header> {
    let stale = if stale { ", stale=true" } else { "" };
    vec![header(
        "WWW-Authenticate",
        format!("Digest realm=\"example.com\", nonce=\"{nonce}\", qop=\"auth\"{stale}"),
    )]
}

#[test]
fn a_change_is_published_and_its_outcome_told() {
    let mut publisher = publisher(options());
    publisher.handle_change(START, &alice(Session::Idle));
    let request = next_request(&mut publisher).unwrap();
    assert_eq!(request.uri, "sip:alice@example.com");
    assert_eq!(request.expires_s, Some(600));
    assert!(request.authorization.is_none());
    assert!(!publisher.is_settled());
    accept(&mut publisher, START, &request);
    // The copy of an answer finds nothing.
    accept(&mut publisher, START, &request);
    let outcome = publisher.poll_outcome().unwrap();
    assert!(outcome.acknowledged);
    assert_eq!(outcome.operation, Operation::Initial);
    assert_eq!((outcome.status, outcome.expires_s), (Some(200), Some(600)));
    assert!(publisher.poll_outcome().is_none());
    assert!(publisher.is_settled());

    publisher.handle_change(START, &alice(Session::Talking));
    let modify = next_request(&mut publisher).unwrap();
    assert_eq!(modify.if_match.as_deref(), Some("tag-1"));
    accept(&mut publisher, START, &modify);

    publisher.stop(START);
    let remove = next_request(&mut publisher).unwrap();
    assert_eq!(remove.expires_s, Some(0));
    accept(&mut publisher, START, &remove);
    assert!(publisher.is_settled());
    assert!(publisher.index.is_empty() && publisher.poll_timeout().is_none());
}

#[test]
fn what_may_not_be_published_is_not() {
    let mut publisher = publisher(options());
    let mut hidden = alice(Session::Idle);
    hidden.state = Arc::new(PresentityState { publishable: false, ..(*hidden.state).clone() });
    publisher.handle_change(START, &hidden);
    assert!(next_request(&mut publisher).is_none());
    assert!(publisher.is_settled());
}

#[test]
fn a_challenge_is_answered_and_its_nonce_used_again() {
    let mut publisher = publisher(options());
    publisher.handle_change(START, &alice(Session::Idle));
    let first = next_request(&mut publisher).unwrap();
    reply(&mut publisher, START, &first, 401, challenge("n1", false));
    let second = next_request(&mut publisher).unwrap();
    let credentials = second.authorization.clone().unwrap();
    assert!(credentials.contains("nonce=\"n1\"") && credentials.contains("nc=00000001"));
    assert!(credentials.contains("username=\"tap\""));
    accept(&mut publisher, START, &second);
    assert!(publisher.poll_outcome().unwrap().acknowledged);

    publisher.handle_change(START, &alice(Session::Talking));
    let third = next_request(&mut publisher).unwrap();
    assert!(third.authorization.clone().unwrap().contains("nc=00000002"));
    // The nonce was too old.
    reply(&mut publisher, START, &third, 401, challenge("n2", true));
    let fourth = next_request(&mut publisher).unwrap();
    assert!(fourth.authorization.clone().unwrap().contains("nonce=\"n2\""));
    accept(&mut publisher, START, &fourth);
    assert!(publisher.poll_outcome().unwrap().acknowledged);
}

#[test]
fn a_wrong_password_is_tried_once_and_again_after_an_hour() {
    let mut publisher = publisher(options());
    publisher.handle_change(START, &alice(Session::Idle));
    for nonce in ["n1", "n2"] {
        let request = next_request(&mut publisher).unwrap();
        reply(&mut publisher, START, &request, 401, challenge(nonce, false));
    }
    assert!(next_request(&mut publisher).is_none());
    let outcome = publisher.poll_outcome().unwrap();
    assert_eq!((outcome.acknowledged, outcome.status), (false, Some(401)));
    assert!(publisher.is_settled(), "given up for now");
    let again = publisher.poll_timeout().unwrap();
    assert!(again >= START.after_s(3_600));
    publisher.handle_timeout(again);
    assert!(next_request(&mut publisher).is_some());
}

#[test]
fn a_server_that_calls_every_nonce_stale_is_not_followed_for_ever() {
    let mut publisher = publisher(options());
    publisher.handle_change(START, &alice(Session::Idle));
    let mut requests = 0;
    while let Some(request) = next_request(&mut publisher) {
        requests += 1;
        reply(&mut publisher, START, &request, 401, challenge("n", true));
    }
    assert_eq!(requests, 1 + CHALLENGES_PER_ATTEMPT);
    assert!(!publisher.poll_outcome().unwrap().acknowledged);
}

#[test]
fn without_a_password_a_challenge_is_a_refusal() {
    let mut publisher = publisher(PublishOptions { password: None, ..options() });
    publisher.handle_change(START, &alice(Session::Idle));
    let request = next_request(&mut publisher).unwrap();
    reply(&mut publisher, START, &request, 407, challenge("n", false));
    assert!(next_request(&mut publisher).is_none());
    assert_eq!(publisher.poll_outcome().unwrap().status, Some(407));
}

#[test]
fn silence_is_retransmitted_into_and_told_after_32_s() {
    let mut publisher = publisher(options());
    publisher.handle_change(START, &alice(Session::Idle));
    let mut sent = 0;
    let outcome = loop {
        while next_request(&mut publisher).is_some() {
            sent += 1;
        }
        if let Some(outcome) = publisher.poll_outcome() {
            break outcome;
        }
        let next = publisher.poll_timeout().unwrap();
        publisher.handle_timeout(next);
    };
    assert_eq!(sent, 11);
    assert_eq!(outcome.at, START.after_s(32));
    assert_eq!((outcome.acknowledged, outcome.status), (false, None));
}

#[test]
fn a_refused_connection_is_not_waited_out() {
    let mut publisher = publisher(options());
    publisher.handle_change(START, &alice(Session::Idle));
    assert!(next_request(&mut publisher).is_some());
    publisher.handle_transport_error(START, HOP);
    assert!(!publisher.poll_outcome().unwrap().acknowledged);
    let again = publisher.poll_timeout().unwrap();
    assert!(again <= START.after_s(2));
    publisher.handle_timeout(again);
    assert!(next_request(&mut publisher).is_some());
}

#[test]
fn few_are_in_flight_and_the_others_wait_their_turn() {
    let mut publisher = publisher(PublishOptions { outstanding: 2, ..options() });
    for n in 0..6 {
        publisher.handle_change(START, &change(&format!("sip:user{n}@example.com"), Session::Idle));
    }
    let mut order = Vec::new();
    let mut waiting: VecDeque<Seen> = VecDeque::new();
    loop {
        while let Some(request) = next_request(&mut publisher) {
            order.push(request.uri.clone());
            waiting.push_back(request);
        }
        assert!(waiting.len() <= 2);
        let Some(request) = waiting.pop_front() else {
            break;
        };
        accept(&mut publisher, START, &request);
    }
    let expected: Vec<String> = (0..6).map(|n| format!("sip:user{n}@example.com")).collect();
    assert_eq!(order, expected);
    assert!(publisher.is_settled());
}

#[test]
fn a_package_that_the_server_does_not_know_is_switched_off() {
    let mut publisher = publisher(PublishOptions { events: EventPackage::ALL.to_vec(), ..options() });
    publisher.handle_change(START, &alice(Session::Idle));
    while let Some(request) = next_request(&mut publisher) {
        let text = String::from_utf8_lossy(&request.bytes).into_owned();
        if text.contains("Event: dialog") {
            reply(&mut publisher, START, &request, 489, Vec::new());
        } else {
            accept(&mut publisher, START, &request);
        }
    }
    assert_eq!(publisher.packages_off(), [EventPackage::Dialog]);
    publisher.handle_change(START, &alice(Session::Talking));
    let request = next_request(&mut publisher).unwrap();
    accept(&mut publisher, START, &request);
    assert!(next_request(&mut publisher).is_none());
    assert!(publisher.is_settled());
}

#[test]
fn a_longer_time_is_asked_for_at_once() {
    let mut publisher = publisher(options());
    publisher.handle_change(START, &alice(Session::Idle));
    let brief = next_request(&mut publisher).unwrap();
    let more = vec![header("Min-Expires", "1200")];
    reply(&mut publisher, START, &brief, 423, more);
    let longer = next_request(&mut publisher).unwrap();
    assert_eq!(longer.expires_s, Some(1_200));
    assert!(publisher.poll_outcome().is_none());
    accept(&mut publisher, START, &longer);
    assert!(publisher.poll_outcome().unwrap().acknowledged);
}

#[test]
fn noise_is_ignored() {
    let mut publisher = publisher(options());
    publisher.handle_change(START, &alice(Session::Idle));
    let request = next_request(&mut publisher).unwrap();
    for noise in [&b""[..], b"\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"\xff\x00", &request.bytes] {
        publisher.handle_message(START, HOP, noise);
    }
    assert!(!publisher.is_settled() && publisher.poll_outcome().is_none());
    accept(&mut publisher, START, &request);
    assert!(publisher.is_settled());
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes = |seed| {
        let mut publisher = publisher(PublishOptions { seed, ..options() });
        publisher.handle_change(START, &alice(Session::Idle));
        next_request(&mut publisher).unwrap().bytes
    };
    assert_eq!(bytes(5), bytes(5));
    assert_ne!(bytes(5), bytes(6));
}

#[test]
fn a_publication_bound_is_kept() {
    let limits = Limits { presentities: 1, ..Limits::default() };
    let mut publisher = Publisher::new(options(), &limits);
    for n in 0..3 {
        publisher.handle_change(START, &change(&format!("sip:user{n}@example.com"), Session::Idle));
    }
    assert_eq!(publisher.index.len(), 1);
    assert_eq!(publisher.not_taken(), 2);
}
