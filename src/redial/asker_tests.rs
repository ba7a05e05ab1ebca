//! The asker against phones that keep to a script, in virtual time, in fair weather and in foul.

use std::time::Duration;

use super::world::{
    Challenges, HangsUp, OnInvite, OnRefer, PHONE, START, Script, Weather, World, check, hop, reach,
};
use super::*;
use crate::base::Transport;
use crate::redial::Manner;
use crate::sip::{Aor, Direction};

use AskEnd::{Followed, HungUp, NotPickedUp, Refused, Silent, There};
use AskEvent::{Accepted, Ended, PickedUp, Progress, Ringing};

fn after(ms: u64) -> Timestamp {
    START.after(Duration::from_millis(ms))
}

/// Every script that a phone may have, and what becomes of the asking.
fn scripts() -> Vec<(&'static str, Manner, Script, AskEnd)> {
    let plain = Script::default();
    let refer = |refer| Script { refer, ..plain };
    let invite = |invite| Script { invite, ..plain };
    let followed = Followed { status: Some(200) };
    let untold = Followed { status: None };
    let recall = Manner::Recall;
    let mut all = vec![
        ("accepts and notifies", Manner::Refer, plain, followed),
        ("accepts and is silent", Manner::Refer, refer(OnRefer::Accepts(&[])), untold),
        (
            "the call fails",
            Manner::Refer,
            refer(OnRefer::Accepts(&[100, 486])),
            Followed { status: Some(486) },
        ),
        ("no subscription", Manner::Refer, refer(OnRefer::AcceptsWithoutSubscription), untold),
        ("silent", Manner::Refer, refer(OnRefer::IsSilent), Silent),
        ("there", Manner::Probe, plain, There { status: 200 }),
        ("picked up", recall, plain, followed),
        ("picked up, accepts and is silent", recall, refer(OnRefer::Accepts(&[])), untold),
        ("picked up and refused", recall, refer(OnRefer::Refuses(603)), Refused { status: 603 }),
        ("picked up and silent", recall, refer(OnRefer::IsSilent), Silent),
        ("rings on", recall, invite(OnInvite::RingsOn), NotPickedUp { status: None }),
        ("silent when rung", recall, invite(OnInvite::IsSilent), Silent),
        ("hangs up before", recall, Script { hangs_up: HangsUp::BeforeRefer, ..plain }, HungUp),
        ("hangs up after", recall, Script { hangs_up: HangsUp::AfterRefer, ..plain }, followed),
        ("holds", recall, Script { holds: true, ..plain }, followed),
        ("forks", recall, Script { forks: true, ..plain }, followed),
        ("glares once", recall, Script { glares: 1, ..plain }, followed),
        ("glares twice", recall, Script { glares: 2, ..plain }, Refused { status: 491 }),
    ];
    for status in [403, 501, 603] {
        all.push(("refuses", Manner::Refer, refer(OnRefer::Refuses(status)), Refused { status }));
    }
    for status in [302, 480, 486, 603] {
        let end = NotPickedUp { status: Some(status) };
        all.push(("refuses to be rung", recall, invite(OnInvite::Refuses(status)), end));
    }
    for challenges in [Challenges::Phone, Challenges::Proxy, Challenges::Both] {
        let script = Script { challenges, ..plain };
        all.push(("challenges", Manner::Refer, script, followed));
        all.push(("challenges", recall, script, followed));
        all.push(("challenges", Manner::Probe, script, There { status: 200 }));
    }
    all
}

#[test]
fn every_script_ends_as_it_must_in_fair_weather() {
    for (name, manner, script, end) in scripts() {
        let mut world = World::new(1, script, Weather::FAIR);
        world.ask(manner);
        world.finish(name);
        assert_eq!(world.end(), end, "{name} {script:?}");
    }
}

#[test]
fn every_script_ends_as_it_must_in_foul_weather() {
    for (name, manner, script, end) in scripts() {
        for seed in 0..40 {
            let name = format!("{name}, seed {seed}");
            let mut world = World::new(seed, script, Weather::FOUL);
            world.ask(manner);
            world.finish(&name);
            assert_eq!(world.end(), end, "{name} {script:?}");
        }
    }
}

#[test]
fn whatever_the_weather_nothing_is_left_behind() {
    let storm = Weather { lost: 12, doubled: 30, late_ms: 1_500 };
    for (name, manner, script, _) in scripts() {
        for seed in 0..30 {
            let mut world = World::new(seed, script, storm);
            world.ask(manner);
            world.finish(&format!("{name}, seed {seed}"));
        }
    }
}

#[test]
fn a_phone_that_is_picked_up_while_we_give_up_is_hung_up_again() {
    for seed in 0..60 {
        // Around the 20 s that it rings.
        let script = Script { invite: OnInvite::PickedUp(19_960 + seed), ..Script::default() };
        let mut world = World::new(seed, script, Weather::FOUL);
        world.ask(Manner::Recall);
        world.finish(&format!("seed {seed}"));
        let ends = [NotPickedUp { status: None }, Followed { status: Some(200) }];
        assert!(ends.contains(&world.end()), "seed {seed}: {:?}", world.events);
    }
}

#[test]
fn an_asking_that_is_withdrawn_at_any_moment_leaves_nothing_behind() {
    for (name, manner, script, _) in scripts() {
        for step in 0..24 {
            let name = format!("{name} after {step}");
            let mut world = World::new(step, script, Weather::FOUL);
            world.ask(manner);
            world.pass(after(step * 250));
            if step % 2 == 0 {
                world.asker.withdraw(world.now, AskId(1));
            } else {
                world.asker.stop(world.now);
            }
            world.finish(&name);
        }
    }
}

#[test]
fn what_becomes_of_a_refer_is_told_in_its_order() {
    let mut world = World::new(1, Script::default(), Weather::FAIR);
    world.ask(Manner::Refer);
    world.finish("refer");
    let told = [100, 180, 200].map(|status| Progress { status });
    let mut expected = vec![Accepted { status: 202 }];
    expected.extend(told);
    expected.push(Ended(Followed { status: Some(200) }));
    assert_eq!(world.events, expected);
    assert_eq!(world.phone.answers, [(Method::Notify, 200); 3]);
    assert_eq!(world.media, []);
}

#[test]
fn what_becomes_of_a_recall_is_told_in_its_order() {
    let mut world = World::new(1, Script { holds: true, ..Script::default() }, Weather::FAIR);
    world.ask(Manner::Recall);
    world.finish("recall");
    let mut expected = vec![Ringing, PickedUp, Accepted { status: 202 }];
    expected.extend([100, 180, 200].map(|status| Progress { status }));
    expected.push(Ended(Followed { status: Some(200) }));
    assert_eq!(world.events, expected);
    assert_eq!(world.phone.held, Some(Direction::RecvOnly));
    let remote = "192.0.2.7:6000".parse().unwrap();
    let start = MediaCommand::Start { id: AskId(1), remote, payload_type: 8 };
    assert_eq!(world.media, [start, MediaCommand::Stop { id: AskId(1) }], "silence until it holds");
    let methods: Vec<&str> = world
        .sent
        .iter()
        .map(|text| text.split(' ').next().unwrap())
        .filter(|word| *word != "SIP/2.0")
        .collect();
    assert_eq!(methods, ["INVITE", "ACK", "REFER", "BYE"]);
}

#[test]
fn refer_comes_half_a_second_after_the_ack_and_bye_after_the_answer_to_the_last_notify() {
    let mut world = World::new(1, Script::default(), Weather::FAIR);
    world.ask(Manner::Recall);
    let sent =
        |world: &World, method: &str| world.sent.iter().filter(|text| text.starts_with(method)).count();
    // One millisecond there, two seconds, one back.
    world.pass(after(2_501));
    assert_eq!((sent(&world, "ACK "), sent(&world, "REFER ")), (1, 0));
    world.pass(after(2_502));
    assert_eq!(sent(&world, "REFER "), 1);
    world.finish("recall");
    let last_two: Vec<&str> =
        world.sent.iter().rev().take(2).map(|text| text.lines().next().unwrap()).collect();
    let bye = format!("BYE sip:alice@{PHONE} SIP/2.0");
    assert_eq!(last_two, [&*bye, "SIP/2.0 200 OK"]);
}

#[test]
fn a_refer_is_written_so() {
    let mut world = World::new(1, Script::default(), Weather::FAIR);
    world.ask(Manner::Refer);
    world.drain();
    assert_eq!(
        without_chance(&world.sent[0]),
        "REFER sip:alice@192.0.2.7:5062 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.5:5060;rport;branch=z9hG4bK*\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:offhook@192.0.2.5:5060>;tag=*\r\n\
         To: <sip:alice@example.com>\r\n\
         Call-ID: offhook-*\r\n\
         CSeq: 1 REFER\r\n\
         Contact: <sip:offhook@192.0.2.5:5060>\r\n\
         Refer-To: <sip:bob@example.com>\r\n\
         Referred-By: <sip:offhook@192.0.2.5:5060>\r\n\
         Refer-Sub: false\r\n\
         Supported: norefersub\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, UPDATE, NOTIFY, OPTIONS\r\n\
         User-Agent: offhook/*\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

#[test]
fn a_recall_is_written_so() {
    let mut world = World::new(1, Script::default(), Weather::FAIR);
    world.ask(Manner::Recall);
    world.finish("recall");
    assert_eq!(
        without_chance(&world.sent[0]),
        "INVITE sip:alice@192.0.2.7:5062 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.5:5060;rport;branch=z9hG4bK*\r\n\
         Max-Forwards: 70\r\n\
         From: \"bob is back\" <sip:offhook@192.0.2.5:5060>;tag=*\r\n\
         To: <sip:alice@example.com>\r\n\
         Call-ID: recall-offhook-*\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:offhook@192.0.2.5:5060>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, UPDATE, NOTIFY, OPTIONS\r\n\
         User-Agent: offhook/*\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: 170\r\n\r\n\
         v=0\r\n\
         o=- * 1 IN IP4 192.0.2.5\r\n\
         s=offhook\r\n\
         c=IN IP4 192.0.2.5\r\n\
         t=0 0\r\n\
         m=audio 40000 RTP/AVP 0 8\r\n\
         a=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:8 PCMA/8000\r\n\
         a=sendrecv\r\n"
    );
    let refer = world.sent.iter().find(|text| text.starts_with("REFER ")).unwrap();
    assert_eq!(
        without_chance(refer),
        "REFER sip:alice@192.0.2.7:5062 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.5:5060;rport;branch=z9hG4bK*\r\n\
         Max-Forwards: 70\r\n\
         From: \"bob is back\" <sip:offhook@192.0.2.5:5060>;tag=*\r\n\
         To: <sip:alice@example.com>;tag=*\r\n\
         Call-ID: recall-offhook-*\r\n\
         CSeq: 2 REFER\r\n\
         Contact: <sip:offhook@192.0.2.5:5060>\r\n\
         Refer-To: <sip:bob@example.com>\r\n\
         Referred-By: <sip:offhook@192.0.2.5:5060>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, UPDATE, NOTIFY, OPTIONS\r\n\
         User-Agent: offhook/*\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

/// What chance made is shown as `*`.
fn without_chance(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive("\r\n") {
        let marks =
            ["branch=z9hG4bK", ";tag=", "Call-ID: offhook-", "Call-ID: recall-offhook-", "offhook/", "o=- "];
        match marks.iter().find_map(|mark| line.find(mark).map(|at| at + mark.len())) {
            Some(at) if line.starts_with("o=") => {
                let (kept, rest) = line.split_at(at);
                out.push_str(&format!("{kept}* {}", rest.split_once(' ').unwrap().1));
            }
            Some(at) => out.push_str(&format!("{}*\r\n", &line[..at])),
            None => out.push_str(line),
        }
    }
    out
}

#[test]
fn credentials_for_proxy_and_phone_stand_in_one_request() {
    let script = Script { challenges: Challenges::Both, ..Script::default() };
    for (manner, method) in [(Manner::Refer, "REFER "), (Manner::Recall, "INVITE ")] {
        let mut world = World::new(1, script, Weather::FAIR);
        world.ask(manner);
        world.finish(method);
        let sent: Vec<&String> = world.sent.iter().filter(|text| text.starts_with(method)).collect();
        assert_eq!(sent.len(), 3, "{method}");
        assert!(sent[2].contains("\r\nAuthorization: ") && sent[2].contains("\r\nProxy-Authorization: "));
        for ack in world.sent.iter().filter(|text| text.starts_with("ACK ")).skip(2) {
            assert!(ack.contains("\r\nAuthorization: "), "the ACK has those of its INVITE: {ack}");
        }
    }
}

#[test]
fn at_the_bound_orders_wait_in_a_row_and_beyond_that_end_at_once() {
    let options = AskerOptions { most: 2, ..AskerOptions::default() };
    let mut asker = Asker::new(options, &Limits::default());
    let orders = 2 + MAX_WAITING as u64;
    for id in 0..=orders {
        asker.handle_order(START, super::world::order(id, Manner::Refer), reach());
    }
    assert_eq!(std::iter::from_fn(|| asker.poll_transmit()).count(), 2);
    let turned_away = (AskId(orders), Ended(AskEnd::Undeliverable));
    assert_eq!(std::iter::from_fn(|| asker.poll_event()).collect::<Vec<_>>(), [turned_away]);
    assert_eq!(asker.counters().turned_away, 1);
    let mut ended = Vec::new();
    while ended.len() < orders as usize {
        let due = asker.poll_timeout().expect("something is due");
        asker.handle_timeout(due);
        while asker.poll_transmit().is_some() {}
        assert!(asker.askings.len() <= 8);
        ended.extend(std::iter::from_fn(|| asker.poll_event()).map(|(id, event)| {
            assert_eq!(event, Ended(Silent));
            id.0
        }));
    }
    assert_eq!(ended, (0..orders).collect::<Vec<_>>(), "in their order");
}

/// The asker alone, and the phone's end of the wire.
struct Scene {
    asker: Asker,
    hop: Hop,
    sent: Vec<Vec<u8>>,
    branches: u32,
}

impl Scene {
    fn of(options: AskerOptions, manner: Manner) -> Self {
        Self::over(Transport::Udp, options, manner)
    }

    fn over(transport: Transport, options: AskerOptions, manner: Manner) -> Self {
        let hop = Hop { transport, ..hop() };
        let mut asker = Asker::new(options, &Limits::default());
        asker.handle_order(START, super::world::order(1, manner), Reach { hop, ..reach() });
        let mut scene = Self { asker, hop, sent: Vec::new(), branches: 0 };
        scene.drain();
        scene
    }

    fn plain(manner: Manner) -> Self {
        Self::of(AskerOptions::default(), manner)
    }

    /// Picked up by alice, whose tag is `alice`, over this many milliseconds' time none.
    fn picked_up() -> Self {
        let mut scene = Self::plain(Manner::Recall);
        scene.answer("INVITE", 200, "alice", ALICE, "");
        assert_eq!(scene.events(), [PickedUp]);
        scene
    }

    /// The same, and the REFER was accepted.
    fn accepted() -> Self {
        let mut scene = Self::picked_up();
        scene.wait(500);
        scene.answer("REFER", 202, "alice", "", "");
        assert_eq!(scene.events(), [Accepted { status: 202 }]);
        scene
    }

    fn drain(&mut self) {
        while let Some(Transmit { bytes, .. }) = self.asker.poll_transmit() {
            check(&bytes);
            self.sent.push(bytes);
        }
    }

    fn events(&mut self) -> Vec<AskEvent> {
        std::iter::from_fn(|| self.asker.poll_event()).map(|(_, event)| event).collect()
    }

    fn wait(&mut self, ms: u64) {
        self.asker.handle_timeout(after(ms));
        self.drain();
    }

    fn receive(&mut self, ms: u64, text: &str) {
        self.asker.handle_message(after(ms), self.hop, text.as_bytes());
        self.drain();
    }

    /// The newest request of this method, as text.
    fn last(&self, method: &str) -> Option<String> {
        let begin = format!("{method} ");
        let found = self.sent.iter().rev().find(|bytes| bytes.starts_with(begin.as_bytes()));
        found.map(|bytes| String::from_utf8(bytes.clone()).unwrap())
    }

    fn field(&self, method: &str, name: &str) -> String {
        let text = self.last(method).unwrap();
        let begin = format!("{name}: ");
        text.lines().find_map(|line| line.strip_prefix(&begin)).unwrap().to_owned()
    }

    /// Answers the newest request of this method.
    fn answer(&mut self, method: &str, status: u16, tag: &str, more: &str, body: &str) {
        let field = |name| self.field(method, name);
        let to = match field("To") {
            to if to.contains(";tag=") => to,
            to => format!("{to};tag={tag}"),
        };
        let text = format!(
            "SIP/2.0 {status} x\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}\r\n{body}",
            field("Via"),
            field("From"),
            field("Call-ID"),
            field("CSeq"),
        );
        self.receive(0, &text);
    }

    /// A request of the phone in the dialog of our newest request of this method; gives the answer.
    fn request(&mut self, of: &str, method: &str, cseq: u32, tag: &str, more: &str, body: &str) -> String {
        self.branches += 1;
        let text = format!(
            "{method} sip:offhook@192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK{}\r\n\
             From: <sip:alice@example.com>;tag={tag}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{more}\r\n{body}",
            self.branches,
            self.field(of, "From"),
            self.field(of, "Call-ID"),
        );
        self.repeat(&text)
    }

    /// The answer to this request.
    fn repeat(&mut self, text: &str) -> String {
        let before = self.sent.len();
        self.receive(0, text);
        let answers = self.sent.get(before..).unwrap().iter().filter(|bytes| bytes.starts_with(b"SIP/2.0 "));
        let answers: Vec<String> = answers.map(|bytes| String::from_utf8(bytes.clone()).unwrap()).collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers[0].clone()
    }

    fn status_of(answer: &str) -> u16 {
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

const ALICE: &str = "Contact: <sip:alice@192.0.2.7:5062>\r\n";
const ACTIVE: &str = "Event: refer\r\nSubscription-State: active\r\nContent-Type: message/sipfrag\r\n";
const OFFER: &str = "Contact: <sip:alice@192.0.2.7:5062>\r\nContent-Type: application/sdp\r\n";
const ON_HOLD: &str = "v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 6000 RTP/AVP 0\r\na=sendonly\r\n";

#[test]
fn what_is_of_no_dialog_of_ours_is_told_so() {
    let mut scene = Scene::accepted();
    let status = |scene: &mut Scene, method, tag| {
        Scene::status_of(&scene.request("REFER", method, 1, tag, ACTIVE, "SIP/2.0 200 OK"))
    };
    for method in ["NOTIFY", "BYE", "INVITE", "UPDATE", "CANCEL"] {
        assert_eq!(status(&mut scene, method, "mallory"), 481, "{method}");
    }
    let stranger = |method: &str, to_tag: &str| {
        format!(
            "{method} sip:offhook@192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKs{method}{}\r\n\
             From: <sip:m@example.com>;tag=m\r\nTo: <sip:offhook@192.0.2.5>{to_tag}\r\nCall-ID: none\r\n\
             CSeq: 1 {method}\r\n\r\n",
            to_tag.len()
        )
    };
    for (method, to_tag, expected) in [
        ("NOTIFY", ";tag=x", 481),
        ("BYE", ";tag=x", 481),
        ("INVITE", ";tag=x", 481),
        ("INVITE", "", 405),
        ("REFER", "", 405),
        ("MESSAGE", "", 405),
        ("OPTIONS", "", 200),
    ] {
        let answer = scene.repeat(&stranger(method, to_tag));
        assert_eq!(Scene::status_of(&answer), expected, "{method}");
        assert_eq!(answer.contains("\r\nAllow: INVITE, "), expected == 200, "{answer}");
        assert_eq!(answer.contains("\r\nAllow: NOTIFY, OPTIONS\r\n"), expected == 405, "{answer}");
        assert_eq!(scene.repeat(&stranger(method, to_tag)), answer, "a retransmission gets the same");
    }
    assert_eq!(scene.events(), []);
    assert!(scene.asker.counters().strangers >= 12);
    assert_eq!(status(&mut scene, "NOTIFY", "alice"), 200);
    assert_eq!(scene.events().last(), Some(&Ended(Followed { status: Some(200) })));
}

#[test]
fn answers_to_what_was_not_asked_count_for_nothing() {
    let mut scene = Scene::plain(Manner::Refer);
    let refer = scene.last("REFER").unwrap();
    let answer = refer.replacen("REFER sip:alice@192.0.2.7:5062 SIP/2.0", "SIP/2.0 202 Accepted", 1);
    let answer = answer.replace("Refer-Sub: false\r\n", "");
    for (part, other) in
        [("branch=", "branch=x"), (";tag=", ";tag=x"), ("offhook-", "offhook-x"), ("1 REFER", "1 BYE")]
    {
        scene.receive(0, &answer.replacen(part, other, 1));
        assert_eq!(scene.events(), [], "{other}");
    }
    scene.receive(0, &answer);
    assert_eq!(scene.events(), [Accepted { status: 202 }]);
}

#[test]
fn a_notify_may_come_before_the_answer_to_refer() {
    let mut scene = Scene::plain(Manner::Refer);
    let answer = scene.request("REFER", "NOTIFY", 1, "alice", ACTIVE, "SIP/2.0 100 Trying");
    assert_eq!(Scene::status_of(&answer), 200);
    assert_eq!(scene.events(), [Accepted { status: 202 }, Progress { status: 100 }]);
    scene.answer("REFER", 202, "alice", "", "");
    let other = scene.request("REFER", "NOTIFY", 1, "other", ACTIVE, "SIP/2.0 200 OK");
    assert_eq!(Scene::status_of(&other), 481, "the notifier that comes first is believed");
    let strange = scene.request("REFER", "NOTIFY", 2, "alice", "Event: presence\r\n", "SIP/2.0 200 OK");
    assert_eq!(Scene::status_of(&strange), 489);
    assert_eq!(scene.events(), []);
}

#[test]
fn a_notify_without_a_refer_to_tell_of_is_of_nothing() {
    let mut scene = Scene::picked_up();
    let answer = scene.request("INVITE", "NOTIFY", 1, "alice", ACTIVE, "SIP/2.0 200 OK");
    assert_eq!(Scene::status_of(&answer), 481);
    let mut scene = Scene::plain(Manner::Probe);
    let answer = scene.request("OPTIONS", "NOTIFY", 1, "alice", ACTIVE, "SIP/2.0 200 OK");
    assert_eq!(Scene::status_of(&answer), 481);
    assert_eq!(scene.events(), []);
}

#[test]
fn after_the_end_the_phone_is_still_answered_for_a_while() {
    let mut scene = Scene::accepted();
    scene.request("REFER", "NOTIFY", 1, "alice", ACTIVE, "SIP/2.0 200 OK");
    assert_eq!(scene.events().last(), Some(&Ended(Followed { status: Some(200) })));
    scene.answer("BYE", 481, "alice", "", "");
    let last = "Event: refer\r\nSubscription-State: terminated\r\n";
    assert_eq!(Scene::status_of(&scene.request("REFER", "NOTIFY", 2, "alice", last, "")), 200);
    assert_eq!(Scene::status_of(&scene.request("REFER", "BYE", 3, "alice", "", "")), 200);
    assert!(scene.asker.is_idle(), "nothing hinders us to go");
    scene.wait(40_000);
    assert_eq!(Scene::status_of(&scene.request("REFER", "NOTIFY", 4, "alice", last, "")), 481);
    assert_eq!(scene.events(), []);
}

#[test]
fn a_phone_that_tells_for_ever_is_followed_ten_times_as_long_as_silence() {
    let mut scene = Scene::accepted();
    let mut now_s = 0;
    for cseq in 1..100 {
        now_s += 50;
        scene.wait(now_s * 1_000);
        scene.branches += 1;
        let text = format!(
            "NOTIFY sip:o@192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKe{cseq}\r\n\
             From: <sip:alice@example.com>;tag=alice\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} NOTIFY\r\n{ACTIVE}\r\n\
             SIP/2.0 180 Ringing",
            scene.field("REFER", "From"),
            scene.field("REFER", "Call-ID")
        );
        scene.receive(now_s * 1_000, &text);
        if scene.events().contains(&Ended(Followed { status: Some(180) })) {
            assert_eq!(now_s, 600);
            return;
        }
    }
    panic!("it is followed for ever");
}

#[test]
fn offers_of_the_phone_are_answered_and_one_without_is_answered_with_ours() {
    let mut scene = Scene::accepted();
    let held = scene.request("REFER", "INVITE", 1, "alice", OFFER, ON_HOLD);
    assert!(held.starts_with("SIP/2.0 200 OK\r\n") && held.contains("\r\nContact: <sip:offhook@"), "{held}");
    assert!(held.contains("m=audio 40000 RTP/AVP 0\r\n") && held.ends_with("a=recvonly\r\n"), "{held}");
    let updated = scene.request("REFER", "UPDATE", 2, "alice", OFFER, ON_HOLD);
    assert!(updated.ends_with("a=recvonly\r\n"));
    let refreshed = scene.request("REFER", "UPDATE", 3, "alice", "", "");
    assert!(refreshed.contains("\r\nContent-Length: 0\r\n") && refreshed.starts_with("SIP/2.0 200 "));
    let ours = scene.request("REFER", "INVITE", 4, "alice", "", "");
    assert!(ours.contains("m=audio 40000 RTP/AVP 0 8\r\n") && ours.ends_with("a=sendrecv\r\n"), "{ours}");
    let versions: Vec<&str> = [&held, &updated, &ours]
        .iter()
        .map(|answer| answer.lines().find(|line| line.starts_with("o=")).unwrap().split(' ').nth(2).unwrap())
        .collect();
    assert_eq!(versions, ["2", "3", "4"], "each description is a new one");
    let video = "v=0\r\nc=IN IP4 192.0.2.7\r\nm=video 6000 RTP/AVP 31\r\n";
    assert_eq!(Scene::status_of(&scene.request("REFER", "INVITE", 5, "alice", OFFER, video)), 488);
    let other = "Content-Type: text/plain\r\n";
    assert_eq!(Scene::status_of(&scene.request("REFER", "INVITE", 6, "alice", other, "x")), 415);
    assert_eq!(Scene::status_of(&scene.request("REFER", "INVITE", 6, "alice", OFFER, ON_HOLD)), 500, "late");
    let required = scene.request("REFER", "INVITE", 7, "alice", "Require: 100rel\r\n", "");
    assert!(required.starts_with("SIP/2.0 420 ") && required.contains("\r\nUnsupported: 100rel\r\n"));
    assert_eq!(Scene::status_of(&scene.request("REFER", "CANCEL", 4, "alice", "", "")), 200);
    assert_eq!(Scene::status_of(&scene.request("REFER", "INFO", 8, "alice", "", "")), 405);
    assert_eq!(scene.events(), []);
    assert_eq!(Scene::status_of(&scene.request("REFER", "BYE", 9, "alice", "", "")), 200);
    assert_eq!(Scene::status_of(&scene.request("REFER", "INVITE", 10, "alice", OFFER, ON_HOLD)), 481);
}

#[test]
fn requests_in_the_dialog_follow_the_recorded_route_and_go_over_the_hop_of_the_order() {
    let mut scene = Scene::plain(Manner::Recall);
    let more =
        "Contact: <sip:alice@198.51.100.7;gr=x>\r\nRecord-Route: <sip:192.0.2.2;lr>,<sip:192.0.2.1;lr>\r\n";
    scene.answer("INVITE", 200, "alice", more, "");
    scene.wait(500);
    for method in ["ACK", "REFER"] {
        let text = scene.last(method).unwrap();
        assert!(text.starts_with(&format!("{method} sip:alice@198.51.100.7;gr=x SIP/2.0\r\n")), "{text}");
        assert!(text.contains("Route: <sip:192.0.2.1;lr>\r\nRoute: <sip:192.0.2.2;lr>\r\n"), "{text}");
        assert!(text.contains(";tag=alice\r\n"), "{text}");
    }
    assert!(scene.last("ACK").unwrap().contains("\r\nCSeq: 1 ACK\r\n"));
    assert!(scene.last("REFER").unwrap().contains("\r\nCSeq: 2 REFER\r\n"));
}

#[test]
fn every_copy_of_a_2xx_is_acknowledged_alike_and_another_fork_is_hung_up() {
    let mut scene = Scene::picked_up();
    let ack = scene.last("ACK").unwrap();
    let acks =
        |scene: &Scene, text: &str| scene.sent.iter().filter(|bytes| &***bytes == text.as_bytes()).count();
    scene.answer("INVITE", 200, "alice", ALICE, "");
    assert_eq!(acks(&scene, &ack), 2);
    scene.answer("INVITE", 200, "other", "Contact: <sip:alice@192.0.2.8>\r\n", "");
    let other = scene.last("ACK").unwrap();
    assert!(other.starts_with("ACK sip:alice@192.0.2.8 ") && other.contains(";tag=other\r\n"), "{other}");
    let bye = scene.last("BYE").unwrap();
    assert!(bye.starts_with("BYE sip:alice@192.0.2.8 ") && bye.contains(";tag=other\r\n"), "{bye}");
    scene.answer("INVITE", 200, "other", "Contact: <sip:alice@192.0.2.8>\r\n", "");
    assert_eq!(acks(&scene, &other), 2);
    assert_eq!(acks(&scene, &bye), 1);
    assert_eq!(scene.events(), []);
    for fork in 0..50 {
        scene.answer("INVITE", 200, &format!("fork{fork}"), "", "");
    }
    let byes = scene.sent.iter().filter(|bytes| bytes.starts_with(b"BYE ")).count();
    assert_eq!(byes, 7, "no more forks than anybody has");
}

#[test]
fn a_2xx_after_our_cancel_is_acknowledged_and_hung_up() {
    let mut scene = Scene::plain(Manner::Recall);
    scene.answer("INVITE", 180, "alice", "", "");
    scene.wait(30_000);
    assert!(scene.last("CANCEL").is_some());
    assert_eq!(scene.events(), [Ringing], "the phone has not stopped yet");
    scene.answer("INVITE", 200, "alice", ALICE, "");
    assert!(scene.last("ACK").is_some() && scene.last("BYE").is_some() && scene.last("REFER").is_none());
    assert_eq!(scene.events(), [Ended(NotPickedUp { status: None })]);
    assert_eq!(scene.asker.poll_media(), None);
}

#[test]
fn an_invite_that_is_withdrawn_before_anything_is_heard_is_cancelled_as_soon_as_something_is() {
    let mut scene = Scene::plain(Manner::Recall);
    scene.asker.withdraw(START, AskId(1));
    scene.drain();
    assert_eq!(scene.events(), [Ended(NotPickedUp { status: None })]);
    assert!(scene.last("CANCEL").is_none() && !scene.asker.is_idle());
    scene.answer("INVITE", 180, "alice", "", "");
    assert!(scene.last("CANCEL").is_some());
    scene.answer("CANCEL", 200, "alice", "", "");
    scene.answer("INVITE", 487, "alice", "", "");
    assert!(scene.asker.is_idle());
    assert_eq!(scene.events(), []);
}

#[test]
fn a_network_that_delivers_nothing_is_told_at_once() {
    for manner in [Manner::Refer, Manner::Recall, Manner::Probe] {
        let mut scene = Scene::plain(manner);
        let elsewhere = Hop { remote: "192.0.2.99:5060".parse().unwrap(), ..hop() };
        scene.asker.handle_transport_error(START, elsewhere);
        assert_eq!(scene.events(), []);
        scene.asker.handle_transport_error(START, hop());
        assert_eq!(scene.events(), [Ended(AskEnd::Undeliverable)]);
    }
    let mut scene = Scene::accepted();
    scene.asker.handle_transport_error(START, hop());
    assert_eq!(scene.events(), [], "nothing is on its way");
}

#[test]
fn a_phone_whose_tag_cannot_be_written_is_given_up_at_once() {
    let mut scene = Scene::plain(Manner::Recall);
    scene.answer("INVITE", 200, "al\u{1}ice", ALICE, "");
    assert_eq!(scene.events(), [Ended(AskEnd::Undeliverable)]);
    assert!(scene.last("ACK").is_none());
}

#[test]
fn what_cannot_be_written_ends_at_once() {
    for (manner, uri) in [(Manner::Refer, "sip:a\r\nX: 1"), (Manner::Recall, ""), (Manner::Probe, "rubbish")]
    {
        let mut asker = Asker::new(AskerOptions::default(), &Limits::default());
        let reach = Reach { request_uri: uri.to_owned(), ..reach() };
        asker.handle_order(START, super::world::order(1, manner), reach);
        assert_eq!(asker.poll_event(), Some((AskId(1), Ended(AskEnd::Undeliverable))));
        assert_eq!((asker.poll_event(), asker.poll_transmit()), (None, None));
        assert!(asker.is_idle());
    }
}

#[test]
fn over_tcp_nothing_is_sent_again_and_the_contact_says_so() {
    for (transport, word) in [(Transport::Tcp, "tcp"), (Transport::Tls, "tls")] {
        let mut scene = Scene::over(transport, AskerOptions::default(), Manner::Recall);
        assert_eq!(
            scene.field("INVITE", "Contact"),
            format!("<sip:offhook@192.0.2.5:5060;transport={word}>")
        );
        assert!(scene.field("INVITE", "Via").starts_with(&format!("SIP/2.0/{} ", word.to_uppercase())));
        scene.wait(29_000);
        assert_eq!(scene.sent.len(), 1);
        scene.answer("INVITE", 603, "alice", "", "");
        assert!(scene.last("ACK").is_some());
        assert_eq!(scene.events(), [Ended(NotPickedUp { status: Some(603) })]);
    }
}

#[test]
fn from_is_who_we_are_told_to_be_and_a_name_cannot_break_it() {
    let from = Some("sip:redial@example.com".to_owned());
    let mut asker = Asker::new(AskerOptions { from, ..AskerOptions::default() }, &Limits::default());
    let user = format!("a%22%0D%0Ab%C3%BC{}", "c".repeat(99));
    let callee = Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap();
    let order = AskOrder { callee, ..super::world::order(1, Manner::Recall) };
    asker.handle_order(START, order, reach());
    let bytes = asker.poll_transmit().unwrap().bytes;
    check(&bytes);
    let mut scanner = Scanner::new(&Limits::default());
    let invite = scanner.scan(&bytes).unwrap();
    assert_eq!(invite.from().uri, b"sip:redial@example.com");
    let name = String::from_utf8(invite.from().display.unwrap().to_vec()).unwrap();
    assert!(name.starts_with("a\\\"büccc") && name.ends_with("c is back") && name.len() < 64, "{name}");
}

#[test]
fn a_probe_says_whether_somebody_is_there() {
    for status in [200, 401, 405, 486, 501, 603] {
        let mut scene = Scene::plain(Manner::Probe);
        scene.answer("OPTIONS", status, "bob", "", "");
        assert_eq!(scene.events(), [Ended(There { status })]);
    }
    for status in [404, 407, 408, 480, 503] {
        let mut scene = Scene::plain(Manner::Probe);
        scene.answer("OPTIONS", status, "bob", "", "");
        assert_eq!(scene.events(), [Ended(Refused { status })]);
    }
    let mut scene = Scene::plain(Manner::Probe);
    scene.wait(32_000);
    assert_eq!(scene.events(), [Ended(Silent)]);
}

#[test]
fn a_bye_that_overtakes_the_202_is_no_hanging_up() {
    let mut scene = Scene::picked_up();
    scene.wait(500);
    assert_eq!(Scene::status_of(&scene.request("REFER", "BYE", 1, "alice", "", "")), 200);
    assert_eq!(scene.events(), []);
    scene.answer("REFER", 202, "alice", "", "");
    let answer = scene.request("REFER", "NOTIFY", 2, "alice", ACTIVE, "SIP/2.0 486 Busy Here");
    assert_eq!(Scene::status_of(&answer), 200);
    assert_eq!(
        scene.events(),
        [Accepted { status: 202 }, Progress { status: 486 }, Ended(Followed { status: Some(486) })]
    );
    assert!(scene.last("BYE").is_none());
    let mut scene = Scene::picked_up();
    scene.wait(500);
    scene.request("REFER", "BYE", 1, "alice", "", "");
    scene.answer("REFER", 481, "alice", "", "");
    assert_eq!(scene.events(), [Ended(HungUp)]);
    assert!(scene.last("BYE").is_none());
    let mut scene = Scene::picked_up();
    scene.wait(500);
    scene.request("REFER", "BYE", 1, "alice", "", "");
    scene.wait(32_500);
    assert_eq!(scene.events(), [Ended(HungUp)], "no answer is none to a REFER that came too late");
}

#[test]
fn a_bye_that_is_challenged_is_sent_again_with_credentials() {
    let (user, password) = (Some("offhook".to_owned()), Some("secret".to_owned()));
    let mut scene = Scene::of(AskerOptions { user, password, ..AskerOptions::default() }, Manner::Recall);
    scene.answer("INVITE", 200, "alice", ALICE, "");
    scene.asker.withdraw(START, AskId(1));
    scene.drain();
    assert_eq!(scene.field("BYE", "CSeq"), "2 BYE");
    let challenge = "Proxy-Authenticate: Digest realm=\"a\", nonce=\"b\"\r\n";
    scene.answer("BYE", 407, "alice", challenge, "");
    assert_eq!(scene.field("BYE", "CSeq"), "3 BYE");
    assert!(scene.field("BYE", "Proxy-Authorization").contains("realm=\"a\""));
    assert!(!scene.asker.is_idle());
    scene.answer("BYE", 407, "alice", challenge, "");
    assert!(scene.asker.is_idle(), "a password is tried once");
    assert_eq!(scene.events(), [PickedUp, Ended(HungUp)]);
}

#[test]
fn what_a_proxy_asked_once_it_is_told_at_once_and_what_a_phone_asked_stays_with_it() {
    let asks = [
        ("Proxy-Authenticate", 407, "Proxy-Authorization", true),
        ("WWW-Authenticate", 401, "Authorization", false),
    ];
    for (field, status, answer, is_told) in asks {
        let (user, password) = (Some("offhook".to_owned()), Some("secret".to_owned()));
        let mut scene = Scene::of(AskerOptions { user, password, ..AskerOptions::default() }, Manner::Refer);
        scene.answer("REFER", status, "alice", &format!("{field}: Digest realm=\"a\", nonce=\"b\"\r\n"), "");
        assert!(scene.field("REFER", answer).contains("realm=\"a\""));
        let elsewhere = Hop { remote: "192.0.2.99:5060".parse().unwrap(), ..hop() };
        for (id, hop, is_told) in [(2, hop(), is_told), (3, elsewhere, false)] {
            scene.asker.handle_order(START, super::world::order(id, Manner::Refer), Reach { hop, ..reach() });
            let refer = String::from_utf8(scene.asker.poll_transmit().unwrap().bytes).unwrap();
            assert_eq!(refer.contains(&format!("\r\n{answer}: ")), is_told, "{refer}");
        }
    }
}

#[test]
fn silence_goes_nowhere_without_an_address_that_one_can_send_to() {
    let sdp = |address: &str| format!("v=0\r\nc=IN IP4 {address}\r\nm=audio 6000 RTP/AVP 0\r\n");
    for (address, sent) in [("192.0.2.7", true), ("0.0.0.0", false), ("224.0.0.1", false)] {
        let mut scene = Scene::plain(Manner::Recall);
        scene.answer("INVITE", 200, "alice", OFFER, &sdp(address));
        let start =
            MediaCommand::Start { id: AskId(1), remote: "192.0.2.7:6000".parse().unwrap(), payload_type: 0 };
        assert_eq!(scene.asker.poll_media(), sent.then_some(start), "{address}");
        scene.asker.withdraw(START, AskId(1));
        assert_eq!(scene.asker.poll_media(), sent.then_some(MediaCommand::Stop { id: AskId(1) }));
        scene.drain();
        assert!(scene.last("BYE").is_some());
        assert_eq!(scene.events(), [PickedUp, Ended(HungUp)]);
    }
}

#[test]
fn a_password_is_not_shown() {
    let options = AskerOptions { password: Some("secret".to_owned()), ..AskerOptions::default() };
    assert!(!format!("{options:?}").contains("secret"));
}
