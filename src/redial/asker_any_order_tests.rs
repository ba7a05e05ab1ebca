//! Orders, answers, requests, rubbish and time in any order: nothing panics, what is sent are messages, every order
//! ends once, and in the end nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::world::{START, check, hop, order, reach};
use super::*;
use crate::redial::Manner;

#[derive(Clone, Debug)]
enum Operation {
    Order(u8, u8),
    /// Which of our requests, how it is answered, and with what.
    Answer {
        request: usize,
        status: u16,
        tag: u8,
        more: u8,
    },
    /// A request in the dialog of one of ours.
    Request {
        request: usize,
        method: u8,
        cseq: u32,
        tag: u8,
        more: u8,
    },
    /// One of our own messages, or an answer to it, with a byte changed or cut off there.
    Rubbish {
        request: usize,
        place: usize,
        byte: u8,
    },
    Withdraw(u64),
    TransportError,
    Stop,
    Wait(u32),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let request = 0..1_000_usize;
    let statuses = prop_oneof![
        Just(100_u16),
        Just(180),
        Just(200),
        Just(202),
        Just(401),
        Just(407),
        Just(481),
        Just(487),
        Just(491),
        100..700_u16
    ];
    let operation = prop_oneof![
        3 => (0..3_u8, 0..6_u8).prop_map(|(manner, uri)| Operation::Order(manner, uri)),
        8 => (request.clone(), statuses, 0..4_u8, 0..10_u8)
            .prop_map(|(request, status, tag, more)| Operation::Answer { request, status, tag, more }),
        6 => (request.clone(), 0..10_u8, 0..9_u32, 0..4_u8, 0..10_u8)
            .prop_map(|(request, method, cseq, tag, more)| Operation::Request { request, method, cseq, tag, more }),
        2 => (request, 0..600_usize, any::<u8>())
            .prop_map(|(request, place, byte)| Operation::Rubbish { request, place, byte }),
        1 => (0..8_u64).prop_map(Operation::Withdraw),
        1 => Just(Operation::TransportError),
        1 => Just(Operation::Stop),
        6 => prop_oneof![0..50_u32, 0..3_000_u32, 0..40_000_u32].prop_map(Operation::Wait),
    ];
    proptest::collection::vec(operation, 1..60)
}

/// Fields and bodies as no phone should send them, and as some do.
fn more(number: u8) -> (&'static str, &'static str) {
    match number {
        0 => ("", ""),
        1 => ("Contact: <sip:alice@192.0.2.7:5062>\r\n", "SIP/2.0 180 Ringing"),
        2 => ("Contact: <sip:a\u{1}b>\r\nRecord-Route: <sip:\u{2}>, <sip:192.0.2.9>\r\n", "SIP/2.0 200 OK"),
        3 => ("Contact: rubbish\r\nRecord-Route: <tel:1>,<x>,\"\r\n", "SIP/2.0 999 x"),
        4 => ("WWW-Authenticate: Digest realm=\"a\", nonce=\"b\", qop=\"auth\"\r\n", ""),
        5 => ("Proxy-Authenticate: Digest realm=\"c\", nonce=\"d\", stale=true\r\n", ""),
        6 => ("Refer-Sub: false\r\nEvent: refer\r\nSubscription-State: terminated\r\n", "SIP/2.0 486 Busy"),
        7 => (
            "Content-Type: application/sdp\r\nContact: <sip:alice@192.0.2.7>\r\n",
            "v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 6000 RTP/AVP 8\r\na=sendonly\r\n",
        ),
        8 => ("Content-Type: application/sdp\r\n", "v=0\r\nm=x 1 y z\r\nm=audio 65535 RTP/AVP 0\u{7f}\r\n"),
        _ => ("Require: 100rel, x\r\nEvent: presence\r\nContent-Length: 9999\r\n", "x"),
    }
}

struct Trial {
    asker: Asker,
    now: Timestamp,
    sent: Vec<Vec<u8>>,
    ends: BTreeMap<AskId, u32>,
    orders: u64,
    branches: u32,
    /// The kinds of events that occurred.
    seen: BTreeSet<String>,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let options = AskerOptions {
            user: Some("offhook".to_owned()),
            password: Some("secret".to_owned()),
            ring_s: 10,
            follow_s: 10,
            most: 3,
            seed,
            ..AskerOptions::default()
        };
        Self {
            asker: Asker::new(options, &Limits::default()),
            now: START,
            sent: Vec::new(),
            ends: BTreeMap::new(),
            orders: 0,
            branches: 0,
            seen: BTreeSet::new(),
        }
    }

    fn drain(&mut self) {
        while let Some(Transmit { bytes, .. }) = self.asker.poll_transmit() {
            if !bytes.starts_with(b"SIP/2.0") {
                check(&bytes);
                self.sent.push(bytes);
            }
        }
        while let Some((id, event)) = self.asker.poll_event() {
            assert!(!self.ends.contains_key(&id), "{event:?} after the end");
            let kind = |text: String| text.split(" {").next().unwrap_or_default().to_owned();
            self.seen.insert(kind(format!("{event:?}")));
            if let AskEvent::Ended(_) = event {
                *self.ends.entry(id).or_default() += 1;
            }
        }
        while self.asker.poll_media().is_some() {}
        assert!(self.asker.askings.len() <= 12);
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.asker.handle_message(self.now, hop(), bytes);
    }

    /// The fields of one of our requests.
    fn fields(&self, request: usize) -> Option<BTreeMap<&'static str, String>> {
        let bytes = self.sent.get(request % self.sent.len().max(1))?;
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(bytes).unwrap();
        let value = |name| message.header(name).map(unfolded).unwrap_or_default();
        Some(BTreeMap::from([
            ("Via", value(HeaderName::Via)),
            ("From", value(HeaderName::From)),
            ("To", value(HeaderName::To)),
            ("Call-ID", value(HeaderName::CallId)),
            ("CSeq", value(HeaderName::CSeq)),
        ]))
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Order(manner, uri) => {
                let manner = [Manner::Refer, Manner::Recall, Manner::Probe][usize::from(manner)];
                let uris = ["sip:alice@192.0.2.7:5062", "", "rubbish", "sip:a\r\nb@c", "tel:+1", "sip:<>@ x"];
                let request_uri = uris[usize::from(uri)].to_owned();
                let reach = Reach { request_uri, ..reach() };
                self.asker.handle_order(self.now, order(self.orders, manner), reach);
                self.orders += 1;
            }
            Operation::Answer { request, status, tag, more: number } => {
                let Some(fields) = self.fields(request) else { return };
                let (more, body) = more(number);
                let to = with_tag(&fields["To"], tag);
                let text = format!(
                    "SIP/2.0 {status} x\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}\r\n{body}",
                    fields["Via"], fields["From"], fields["Call-ID"], fields["CSeq"]
                );
                self.receive(text.as_bytes());
            }
            Operation::Request { request, method, cseq, tag, more: number } => {
                let Some(fields) = self.fields(request) else { return };
                let (more, body) = more(number);
                let methods =
                    ["NOTIFY", "BYE", "INVITE", "UPDATE", "CANCEL", "OPTIONS", "ACK", "INFO", "REFER", "X"];
                let (method, from) = (methods[usize::from(method)], with_tag(&fields["To"], tag));
                self.branches += 1;
                let text = format!(
                    "{method} sip:offhook@192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK{}\r\n\
                     From: {from}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{more}\r\n{body}",
                    self.branches, fields["From"], fields["Call-ID"]
                );
                self.receive(text.as_bytes());
            }
            Operation::Rubbish { request, place, byte } => {
                let Some(mut bytes) = self.sent.get(request % self.sent.len().max(1)).cloned() else {
                    return;
                };
                if let Some(changed) = bytes.get_mut(place) {
                    *changed = byte;
                }
                self.receive(&bytes);
                bytes.truncate(place);
                self.receive(&bytes);
            }
            Operation::Withdraw(id) => self.asker.withdraw(self.now, AskId(id)),
            Operation::TransportError => self.asker.handle_transport_error(self.now, hop()),
            Operation::Stop => self.asker.stop(self.now),
            Operation::Wait(ms) => {
                self.now = self.now.after(std::time::Duration::from_millis(u64::from(ms)));
                self.asker.handle_timeout(self.now);
            }
        }
    }
}

fn with_tag(to: &str, tag: u8) -> String {
    match (to.contains(";tag="), tag) {
        (true, _) | (false, 0) => to.to_owned(),
        (false, tag) => format!("{to};tag=phone{tag}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_every_order_ends_once_and_nothing_is_left(
        seed in any::<u64>(),
        operations in operations(),
    ) {
        let mut trial = Trial::new(seed);
        for operation in operations {
            trial.run(operation);
            trial.drain();
        }
        let at_latest = trial.now.after_s(3_600);
        while let Some(due) = trial.asker.poll_timeout() {
            prop_assert!(due < at_latest, "it goes on for ever");
            trial.now = trial.now.max(due);
            trial.asker.handle_timeout(trial.now);
            trial.drain();
        }
        prop_assert_eq!(trial.ends.len() as u64, trial.orders);
        prop_assert!(trial.ends.values().all(|ends| *ends == 1));
        prop_assert!(trial.asker.is_idle() && trial.asker.askings.is_empty());
        prop_assert!(trial.asker.call_ids.is_empty() && trial.asker.means.flights.is_empty());
    }
}

/// Else the test above would prove little.
#[test]
fn operations_in_any_order_lead_to_every_event() {
    let (mut runner, strategy) = (TestRunner::deterministic(), operations());
    let mut seen = BTreeSet::new();
    for seed in 0..2_000 {
        let mut trial = Trial::new(seed);
        for operation in strategy.new_tree(&mut runner).unwrap().current() {
            trial.run(operation);
            trial.drain();
        }
        seen.extend(trial.seen);
    }
    for event in ["Ringing", "PickedUp", "Accepted", "Progress"] {
        assert!(seen.contains(event), "{event}: {seen:?}");
    }
    for end in ["Followed", "HungUp)", "NotPickedUp", "Refused", "Silent)", "There", "Undeliverable)"] {
        assert!(seen.contains(&format!("Ended({end}")), "{end}: {seen:?}");
    }
}

#[test]
fn any_bytes_are_borne() {
    let mut random = Random::new(7);
    let mut asker = Asker::new(AskerOptions::default(), &Limits::default());
    asker.handle_order(START, order(1, Manner::Recall), reach());
    for length in 0..2_000_u64 {
        let bytes: Vec<u8> = (0..length % 300).map(|_| random.next() as u8).collect();
        asker.handle_message(START, hop(), &bytes);
    }
    assert!(asker.counters().unreadable > 1_000);
}
