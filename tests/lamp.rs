//! From the mirror port to the lamp: tap, publisher and presence server side by side, and who watches.
//! In: ladders. Out: the NOTIFYs that each change of a call costs, and what they say. Knows nothing of sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;

use offhook::base::{Hop, Limits, Rules, Timestamp, Transport};
use offhook::compositor::{PresenceServer, PresenceServerOptions};
use offhook::presence::dialog_info_read::{self, DialogElement};
use offhook::presence::pidf_read;
use offhook::publish::{PublishOptions, Publisher, Server};
use offhook::sip::{Method, Scanner, write};
use offhook::tap::{Tap, TapOptions, TapOutput};
use offhook::track::DialogState;
use support::heard;
use support::ladder::Ladder;
use support::wire::{self, CapturedFrame};

const CALL: &str = "
phone alice 192.0.2.11
phone bob   192.0.2.12
proxy pbx   192.0.2.1
0.000 alice registers
0.100 bob registers
1.000 alice -> pbx -> bob INVITE
1.100 bob -> pbx -> alice 180
2.000 bob -> pbx -> alice 200
2.020 alice -> pbx -> bob ACK
";

fn hop(remote: &str) -> Hop {
    let [local, remote] = ["192.0.2.99:5060", remote].map(|address| address.parse::<SocketAddr>().unwrap());
    Hop { transport: Transport::Udp, local, remote }
}

/// The whole chain; a message takes no time.
struct Chain {
    tap: Tap,
    publisher: Publisher,
    server: PresenceServer,
    scanner: Scanner,
    /// Package and body of each NOTIFY since the last look.
    told: Vec<(String, Vec<u8>)>,
}

impl Chain {
    /// Somebody watches whom from the beginning, in both packages.
    fn watching(whom: &str) -> Self {
        let limits = Limits::default();
        let mut publisher = Publisher::new(PublishOptions::default(), &limits);
        publisher.handle_servers(Timestamp::EPOCH, &[Server { hop: hop("192.0.2.98:5060") }]);
        let mut chain = Self {
            tap: Tap::new(TapOptions::default(), limits.clone()),
            publisher,
            server: PresenceServer::new(PresenceServerOptions::new([7; 32]), &limits),
            scanner: Scanner::new(&limits),
            told: Vec::new(),
        };
        for package in ["presence", "dialog"] {
            let request = format!(
                "SUBSCRIBE {whom} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;rport;branch=z9hG4bK{package}\r\n\
                 From: <sip:carol@example.com>;tag=c\r\nTo: <{whom}>\r\nCall-ID: {package}\r\nCSeq: 1 SUBSCRIBE\r\n\
                 Contact: <sip:carol@192.0.2.7>\r\nEvent: {package}\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
            );
            let start = Timestamp::from_secs(support::ladder::START_US / 1_000_000);
            chain.server.handle_message(start, hop("192.0.2.7:5060"), request.as_bytes());
            chain.pump(start);
        }
        chain.told.clear();
        chain
    }

    fn pump(&mut self, now: Timestamp) {
        loop {
            if let Some(request) = self.publisher.poll_transmit() {
                self.server.handle_message(now, hop("192.0.2.97:5060"), &request.bytes);
            } else if let Some(sent) = self.server.poll_transmit() {
                let message = self.scanner.scan(&sent.bytes).unwrap();
                if message.method() == Some(Method::Notify) {
                    let package = String::from_utf8_lossy(message.event().unwrap()).into_owned();
                    self.told.push((package, message.body().to_vec()));
                    let ok = write::response_to(&message, 200, None, Vec::new(), b"").unwrap();
                    self.server.handle_message(now, sent.hop, &ok);
                } else if message.cseq().method == Method::Publish {
                    self.publisher.handle_message(now, hop("192.0.2.98:5060"), &sent.bytes);
                }
            } else {
                return;
            }
        }
    }

    /// All timers up to then, each at its own time.
    fn pass(&mut self, until: Timestamp) {
        loop {
            let (tap, publisher) = (self.tap.poll_timeout(), self.publisher.poll_timeout());
            let next = [tap, publisher, self.server.poll_timeout()].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= until) else { return };
            self.tap.handle_timeout(at);
            self.publisher.handle_timeout(at);
            self.server.handle_timeout(at);
            self.publish(at);
        }
    }

    fn publish(&mut self, now: Timestamp) {
        while let Some(output) = self.tap.poll_output() {
            if let TapOutput::Change(change) = output {
                self.publisher.handle_change(now, &change);
            }
        }
        self.pump(now);
    }

    fn frame(&mut self, number: u64, frame: &CapturedFrame) {
        let at = Timestamp::from_nanos(frame.at_us * 1_000);
        self.pass(at);
        self.tap.handle(&heard::captured(number, frame));
        self.publish(at);
    }
}

/// What one watcher was told of the call: a line for each NOTIFY.
fn lines(whom: &str, package: &str, ladder: &str) -> Vec<String> {
    let ladder = Ladder::parse("lamp", ladder).unwrap();
    let mut chain = Chain::watching(whom);
    let frames = wire::frames(&ladder).unwrap();
    for (number, frame) in (1..).zip(&frames) {
        chain.frame(number, frame);
    }
    chain.pass(Timestamp::from_nanos(frames.last().unwrap().at_us * 1_000).after_s(5));
    let told = chain.told.iter().filter(|(told, _)| told == package);
    match package {
        "presence" => told.map(|(_, body)| presence_line(body)).collect(),
        _ => told.map(|(_, body)| dialog_line(body)).collect(),
    }
}

fn presence_line(body: &[u8]) -> String {
    let status = pidf_read::read(body).unwrap().status.unwrap();
    format!("{}/{}", status.terminal.unwrap().name(), status.session.unwrap().name())
}

/// The dialogs but for the placeholder: each one's state, the number behind its id, and whether all is known of it.
fn dialog_line(body: &[u8]) -> String {
    let say = |dialog: &DialogElement| {
        let again =
            dialog.id.split_once('-').map_or_else(String::new, |(_, count)| format!(" again {count}"));
        let whole =
            dialog.call_id.is_some() && dialog.local_tag.is_some() && dialog.remote_identity.is_some();
        let answered = dialog.remote_tag.is_some() || dialog.state != DialogState::Confirmed;
        format!("{}{again}{}", dialog.state.name(), if whole && answered { "" } else { " not whole" })
    };
    let dialogs = dialog_info_read::read(body).unwrap().dialogs;
    dialogs.iter().skip(1).map(say).collect::<Vec<_>>().join(", ")
}

#[test]
fn each_change_of_a_call_costs_one_notify_a_watcher() {
    let call = format!("{CALL}5.000 alice -> pbx -> bob BYE\n5.010 bob -> pbx -> alice 200\n");
    let (alice, bob) = ("sip:alice@example.com", "sip:bob@example.com");
    let presence = |doing: &str| {
        [
            "online/idle".to_owned(),
            format!("online/{doing}"),
            "online/talking".to_owned(),
            "online/idle".to_owned(),
        ]
    };
    assert_eq!(lines(alice, "presence", &call), presence("calling"));
    assert_eq!(lines(bob, "presence", &call), presence("ringing"));
    assert_eq!(lines(alice, "dialog", &call), ["trying", "terminated, confirmed", "terminated"]);
    assert_eq!(lines(bob, "dialog", &call), ["early", "confirmed", "terminated"]);
}

#[test]
fn the_lamp_of_a_call_whose_end_was_revoked_is_lit_again() {
    let call = format!(
        "{CALL}10.000 alice -> pbx -> bob INVITE\n10.050 bob -> pbx -> alice 481\n10.051 pbx -> bob ACK\n\
         10.060 alice -> pbx ACK\n20.000 alice -> pbx -> bob INVITE\n20.050 bob -> pbx -> alice 200\n\
         20.060 alice -> pbx -> bob ACK\n25.000 alice -> pbx -> bob BYE\n25.010 bob -> pbx -> alice 200\n"
    );
    for (whom, first) in [
        ("sip:alice@example.com", ["trying", "terminated, confirmed"]),
        ("sip:bob@example.com", ["early", "confirmed"]),
    ] {
        let rest = ["terminated", "confirmed again 1", "terminated again 1"];
        assert_eq!(lines(whom, "dialog", &call), [&first[..], &rest].concat(), "{whom}");
        let presence = lines(whom, "presence", &call);
        let rest = ["online/talking", "online/idle", "online/talking", "online/idle"];
        assert_eq!(presence[presence.len() - 4..], rest, "{whom}");
    }
}

#[test]
fn the_lamp_of_a_phone_that_answers_across_a_cancel_is_lit() {
    let set_up = CALL.split_once("2.000").unwrap().0;
    let call = format!(
        "{set_up}2.000 alice -> pbx CANCEL\n2.001 pbx -> alice 200 CANCEL\n2.002 pbx -> bob CANCEL\n\
         2.050 bob -> pbx -> alice 200 INVITE\n2.060 bob -> pbx 481 CANCEL\n2.100 alice -> pbx -> bob ACK\n\
         5.000 alice -> pbx -> bob BYE\n5.010 bob -> pbx -> alice 200 BYE\n"
    );
    let bob = "sip:bob@example.com";
    assert_eq!(
        lines(bob, "presence", &call),
        ["online/idle", "online/ringing", "online/idle", "online/talking", "online/idle"]
    );
    assert_eq!(
        lines(bob, "dialog", &call),
        ["early", "terminated", "confirmed again 1", "terminated again 1"]
    );
}

/// The status lines of a ladder, with the domain given.
fn statuses(ladder: &str) -> Vec<String> {
    let rules = Rules { domains: vec!["example.com".to_owned()], ..Rules::default() };
    let mut tap = Tap::new(TapOptions { rules, ..TapOptions::default() }, Limits::default());
    let ladder = Ladder::parse("lamp", ladder).unwrap();
    let mut statuses = Vec::new();
    for (number, frame) in (1..).zip(&wire::frames(&ladder).unwrap()) {
        tap.handle(&heard::captured(number, frame));
        while let Some(output) = tap.poll_output() {
            let TapOutput::Change(change) = output else { continue };
            let state = &change.state;
            let status = (state.terminal, state.session);
            if change.previous != status {
                let user = change.aor.as_str().trim_end_matches("@example.com").trim_start_matches("sip:");
                let (terminal, session) = (status.0.name(), status.1.name());
                statuses.push(format!("{user} {terminal}/{session} {}", change.because.rule.name()));
            }
        }
    }
    statuses
}

/// In a call that it answered for a team a phone's From is the name that was dialled (RFC 3261 section 12.2.1.1), and the
/// team does not talk; nor is it one of two names that the phone's INVITEs go by.
#[test]
fn the_name_by_which_a_phone_was_called_is_no_claim() {
    let ladder = "
phone  alice 192.0.2.11
phone  bob   192.0.2.12
phone  carol 192.0.2.13
proxy  pbx   192.0.2.1
server b2b   192.0.2.3

0.000 [team] b2b -> bob INVITE to=sip:team@example.com unseen
0.100 [team] bob -> b2b 200 unseen
0.120 [team] b2b -> bob ACK unseen

1.000 alice registers

2.000 [team] bob -> b2b INVITE
2.050 [team] b2b -> bob 200
2.070 [team] bob -> b2b ACK
2.500 [other] b2b -> bob INVITE to=sip:team@example.com unseen
2.510 [other] bob -> b2b 200 unseen
2.520 [other] b2b -> bob ACK unseen
2.600 [other] bob -> b2b INVITE unseen
2.650 [other] b2b -> bob 200
2.670 [other] bob -> b2b ACK
2.900 [other] bob -> b2b BYE
2.910 [other] b2b -> bob 200
3.000 [team] bob -> b2b BYE
3.010 [team] b2b -> bob 200

5.000 [own] bob -> b2b INVITE carol
5.100 [own] b2b -> bob 180
6.000 [own] b2b -> bob 200
6.020 [own] bob -> b2b ACK
9.000 [own] bob -> b2b BYE
9.010 [own] b2b -> bob 200
";
    assert_eq!(
        statuses(ladder),
        [
            "alice online/idle register-200",
            "bob unknown/calling invite-180",
            "bob online/talking invite-200",
            "bob unknown/idle bye"
        ]
    );
}

/// The mirror shows an INVITE after the 200 that answers it, as after a hole in a TCP stream: nobody calls beside the talk,
/// or after it. The hop from the phone to its edge proxy is not mirrored.
#[test]
fn an_invite_after_its_200_calls_nobody() {
    let ladder = "
phone alice 192.0.2.11
proxy edge  192.0.2.2
server b2b  192.0.2.1

0.000 alice registers at=edge

1.000 alice -> edge -> b2b INVITE sip:bob@example.com unseen=1 hop=1010
2.000 b2b -> edge -> alice 200 unseen=2
2.050 alice -> edge -> b2b ACK unseen=1
6.000 alice -> edge -> b2b BYE unseen=1
6.010 b2b -> edge -> alice 200 unseen=2
100.000 alice registers
";
    assert_eq!(
        statuses(ladder),
        ["alice online/idle register-200", "alice online/talking invite-200", "alice online/idle bye"]
    );
}

/// Who is not registered counts as online for a talk; that the phone takes its registration back once more is no news.
#[test]
fn who_is_offline_already_is_not_told_to_be_so_in_a_talk() {
    let ladder = "
phone alice 192.0.2.11
phone bob   192.0.2.12
proxy pbx   192.0.2.1

0.000 alice registers
0.500 alice unregisters

1.000 alice -> pbx -> bob INVITE
1.0005 pbx -> alice 100
1.100 bob -> pbx -> alice 180
3.000 bob -> pbx -> alice 200
3.020 alice -> pbx -> bob ACK
4.000 alice unregisters
6.000 bob -> pbx -> alice BYE
6.010 alice -> pbx -> bob 200
";
    let alice: Vec<String> = statuses(ladder).into_iter().filter(|line| line.starts_with("alice")).collect();
    assert_eq!(
        alice,
        [
            "alice online/idle register-200",
            "alice offline/idle unregister-200",
            "alice offline/calling invite-180",
            "alice online/talking invite-200",
            "alice offline/idle bye"
        ]
    );
}
