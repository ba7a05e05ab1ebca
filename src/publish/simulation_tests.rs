//! A publisher against a strict presence server behind a bad network, in virtual time, seeded: whatever was lost,
//! refused or forgotten, in the end the server says what the publisher was told last.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::base::{FrameId, Transport};
use crate::presence::{ChangeKind, DialogView, PresentityState, Session, Terminal};
use crate::sip::HeaderName;
use crate::sip::write::{header, response_to};
use crate::track::{DialogState, EndId, Evidence, Rule, Side};

const START: Timestamp = Timestamp::from_secs(1_000);
const PRESENTITIES: u64 = 5;
/// How long the network is bad, and then good.
const BAD_S: u32 = 3_000;
const GOOD_S: u32 = 1_500;

/// One stored publication (RFC 3903 section 6).
#[derive(Debug)]
struct Stored {
    name: (String, String),
    body: String,
    expires_at: Timestamp,
}

/// An event state compositor that keeps to the letter, and a network that does not.
struct World {
    random: Random,
    stored: BTreeMap<String, Stored>,
    tags: u64,
    bad: bool,
    /// Datagrams under way to the publisher.
    under_way: Vec<(Timestamp, Vec<u8>)>,
}

impl World {
    fn chance(&mut self, percent: u64) -> bool {
        self.bad && self.random.next() % 100 < percent
    }

    fn take(&mut self, now: Timestamp, bytes: &[u8]) {
        if self.chance(20) {
            return;
        }
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(bytes).unwrap();
        let (status, more) = if self.chance(10) {
            (503, vec![header("Retry-After", "3")])
        } else if self.chance(5) {
            (500, Vec::new())
        } else {
            self.publish(now, &message)
        };
        let answer = response_to(&message, status, Some("s"), more, b"").unwrap();
        // A retransmitted request is answered anew: harsher than a server with transactions.
        for _ in 0..=u64::from(self.chance(10)) {
            if !self.chance(20) {
                let delay = std::time::Duration::from_millis(1 + self.random.next() % 40);
                self.under_way.push((now.after(delay), answer.clone()));
            }
        }
    }

    fn publish(&mut self, now: Timestamp, message: &SipMessage<'_>) -> (u16, Vec<crate::sip::write::Header>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.stored.retain(|_, stored| stored.expires_at > now);
        let name = (text(message.request_uri().unwrap()), text(message.event().unwrap()));
        let expires_s = message.expires().unwrap();
        let mut body = text(message.body());
        if let Some(tag) = message.header(HeaderName::SipIfMatch) {
            match self.stored.remove(&text(tag)) {
                Some(old) if old.name == name => {
                    if body.is_empty() {
                        body = old.body;
                    }
                }
                _ => return (412, Vec::new()),
            }
        } else if body.is_empty() {
            return (400, Vec::new());
        }
        let mut more = vec![header("Expires", expires_s.to_string())];
        if expires_s > 0 {
            self.tags += 1;
            let tag = format!("tag{}", self.tags);
            more.push(header("SIP-ETag", tag.clone()));
            let stored = Stored { name, body, expires_at: now.after_s(expires_s) };
            self.stored.insert(tag, stored);
        }
        (200, more)
    }
}

fn change(random: &mut Random, number: u64) -> PresentityChange {
    let dialog = |state| DialogView {
        end: EndId(random.clone().next()),
        call_id: format!("call-{}", random.clone().next()).into(),
        local_tag: Some("a".into()),
        remote_tag: Some("b".into()),
        side: Side::Called,
        state,
        held: false,
        remote: None,
    };
    let (terminal, session, dialogs) = match random.clone().next() % 5 {
        0 => (Terminal::Online, Session::Idle, vec![]),
        1 => (Terminal::Offline, Session::Idle, vec![]),
        2 => (Terminal::Unknown, Session::Idle, vec![]),
        3 => (Terminal::Online, Session::Ringing, vec![dialog(DialogState::Early)]),
        _ => (Terminal::Online, Session::Talking, vec![dialog(DialogState::Confirmed)]),
    };
    random.next();
    PresentityChange {
        at: START,
        aor: Aor::from_uri(format!("sip:user{number}@example.com").as_bytes()).unwrap(),
        kind: ChangeKind::Status,
        previous: (Terminal::Unknown, Session::Idle),
        previous_contact: None,
        because: Evidence { rule: Rule::Invite200, frame: FrameId::default(), call_id: "call".into() },
        state: Arc::new(PresentityState {
            terminal,
            session,
            publishable: true,
            dialogs,
            ..PresentityState::default()
        }),
    }
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World {
        random: Random::new(seed ^ 0xabcd),
        stored: BTreeMap::new(),
        tags: 0,
        bad: true,
        under_way: Vec::new(),
    };
    let options = PublishOptions { seed, outstanding: 3, ..PublishOptions::default() };
    let mut publisher = Publisher::new(options, &Limits::default());
    let hop = Hop {
        transport: Transport::Udp,
        local: "192.0.2.5:5060".parse().unwrap(),
        remote: "192.0.2.20:5060".parse().unwrap(),
    };
    publisher.handle_servers(START, &[Server { hop }]);
    let mut last = BTreeMap::new();
    let bad_until = START.after_s(BAD_S);
    let good_until = bad_until.after_s(GOOD_S);
    let mut now = START;
    let mut next_change = START;
    while now < good_until {
        if now >= bad_until {
            world.bad = false;
        } else if now >= next_change {
            let number = random.next() % PRESENTITIES;
            let change = change(&mut random, number);
            publisher.handle_change(now, &change);
            last.insert(number, change);
            next_change = now.after(std::time::Duration::from_millis(random.next() % 20_000));
            if world.chance(2) {
                world.stored.clear();
            }
        }
        publisher.handle_timeout(now);
        let (due, later) =
            std::mem::take(&mut world.under_way).into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= now);
        world.under_way = later;
        for (_, bytes) in due {
            publisher.handle_message(now, hop, &bytes);
        }
        let mut sent = 0;
        while let Some(transmit) = publisher.poll_transmit() {
            world.take(now, &transmit.bytes);
            sent += 1;
            assert!(sent < 1_000, "seed {seed}: a storm");
        }
        while publisher.poll_outcome().is_some() {}
        let moments = world.under_way.iter().map(|(at, _)| *at);
        let next = moments.chain(publisher.poll_timeout()).min();
        let change = (now < bad_until).then_some(next_change);
        let tick = if now < bad_until { bad_until } else { good_until };
        now = next.into_iter().chain(change).chain([tick]).min().unwrap().max(now);
    }
    assert!(publisher.is_settled(), "seed {seed}: not settled");
    world.stored.retain(|_, stored| stored.expires_at > now);
    for (number, change) in last {
        let uri = format!("sip:user{number}@example.com");
        for event in EventPackage::ALL {
            let bodies: Vec<&str> = world
                .stored
                .values()
                .filter(|stored| stored.name == (uri.clone(), event.name().to_owned()))
                .map(|stored| stored.body.as_str())
                .collect();
            let state = &change.state;
            if state.terminal == Terminal::Unknown {
                assert!(bodies.is_empty(), "seed {seed}: {bodies:?} of {state:?}");
                continue;
            }
            let [body] = bodies[..] else {
                panic!("seed {seed}: {bodies:?} of {state:?}");
            };
            match event {
                EventPackage::Presence => {
                    let session = format!("session=\"{}\"", state.session.name());
                    assert!(body.contains(&session), "seed {seed}: {body}");
                }
                EventPackage::Dialog => {
                    let live = |word: &str| body.contains(&format!("<state>{word}</state>"));
                    assert_eq!(live("confirmed"), state.session == Session::Talking, "seed {seed}");
                    assert_eq!(live("early"), state.session == Session::Ringing, "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn in_the_end_the_server_says_what_the_publisher_was_told() {
    for seed in 1..=40 {
        run(seed);
    }
}
