//! offhook's publisher and real presence servers: Kamailio and `offhook presence`, started by these tests on loopback.
//! In: Alice's states. Out: what watchers are told. Needs the packages that scripts/test installs.
//! Knows nothing of the inside of either server: each test runs against both, where it does not say otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test's helpers are tests, and they wait for a real server"
)]

#[path = "support/presence_server.rs"]
mod presence_server;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook::base::{FrameId, Limits, Timestamp, Transport};
use offhook::config::NextHop;
use offhook::io::publisher::PublisherHandle;
use offhook::io::way::Target;
use offhook::presence::{
    BindingView, ChangeKind, DialogView, PresentityChange, PresentityState, Session, Terminal,
};
use offhook::publish::{
    EventPackage, Facets, OnStop, Operation, PublicationOutcome, PublishMethod, PublishOptions,
};
use offhook::sip::Aor;
use offhook::track::{DialogState, EndId, Evidence, Rule, Side};
use presence_server::{Kind, PATIENCE, PresenceServer, Wanted, Watcher};

const ALICE: &str = "sip:alice@example.com";

/// Each of these once for each server.
macro_rules! against_both {
    ($($test:ident),+ $(,)?) => {
        mod kamailio {
            $(#[test] fn $test() { super::$test(super::Kind::Kamailio); })+
        }
        mod offhook_presence {
            $(#[test] fn $test() { super::$test(super::Kind::Offhook); })+
        }
    };
}

against_both! {
    a_call_is_seen_by_watchers_of_presence_and_of_dialog,
    a_call_is_told_over_tcp,
    a_call_is_told_over_tls_to_a_server_that_wants_digest,
    a_stranger_s_certificate_is_refused,
    lamps_follow_one_call_after_the_other_and_nothing_piles_up,
    a_refresh_keeps_what_is_published,
    a_wrong_password_fails_and_is_not_tried_again_at_once,
    a_server_that_forgot_everything_is_told_again,
    too_brief_is_asked_for_longer,
    a_server_that_is_away_is_waited_for,
    a_server_that_is_killed_in_the_middle_ends_with_the_truth,
    the_two_facets_are_published_apart,
    watchers_follow_a_replayed_morning,
}

fn options() -> PublishOptions {
    PublishOptions::default()
}

fn with_password(password: &str) -> PublishOptions {
    PublishOptions { user: Some("tap".to_owned()), password: Some(password.to_owned()), ..options() }
}

fn start_over(transport: Transport, server: &PresenceServer, options: PublishOptions) -> PublisherHandle {
    let target = Target {
        servers: vec![NextHop::parse(&server.uri(transport)).unwrap()],
        ca_file: Some(server.ca_file()),
    };
    PublisherHandle::start(target, options, &Limits::default()).unwrap()
}

fn start(server: &PresenceServer, options: PublishOptions) -> PublisherHandle {
    start_over(Transport::Udp, server, options)
}

/// Alice's registered phone, with at most one dialog.
fn alice(session: Session) -> PresentityChange {
    somebody(ALICE, session, 1)
}

/// Somebody's registered phone, with at most one dialog, which is that of this call.
fn somebody(aor: &str, session: Session, call: u32) -> PresentityChange {
    let state = match session {
        Session::Idle => None,
        Session::Calling => Some(DialogState::Trying),
        Session::Ringing => Some(DialogState::Early),
        Session::Held | Session::Talking => Some(DialogState::Confirmed),
    };
    let dialogs = state.map(|state| DialogView {
        end: EndId(call.into()),
        call_id: format!("call-{call}@{aor}").into(),
        local_tag: Some("a".into()),
        remote_tag: Some("b".into()),
        revoked_ends: 0,
        side: Side::Caller,
        state,
        held: session == Session::Held,
        remote: Some("sip:bob@example.com".into()),
    });
    PresentityChange {
        at: Timestamp::from_secs(1_795_327_681),
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
            bindings: vec![BindingView {
                contact: "sip:alice@192.0.2.1:5060".into(),
                user_agent: Some("Phone & Co".into()),
                expires_at: Timestamp::MAX,
            }],
            dialogs: dialogs.into_iter().collect(),
            ..PresentityState::default()
        }),
    }
}

fn next_outcome(publisher: &PublisherHandle, server: &PresenceServer) -> PublicationOutcome {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(outcome) = publisher.poll_outcome() {
            return outcome;
        }
        assert!(Instant::now() < until, "no outcome:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_on_the_phone(body: &str) -> bool {
    body.contains("<rpid:on-the-phone")
}

fn is_free(body: &str) -> bool {
    body.contains("<basic>open</basic>") && !is_on_the_phone(body)
}

/// What a lamp makes of a presence document and of a dialog document.
fn lamp(body: &str) -> &'static str {
    let live = |word: &str| body.contains(&format!("<state>{word}</state>"));
    match () {
        () if is_on_the_phone(body) => "on the phone",
        () if body.contains("<basic>open</basic>") => "open",
        () if body.contains("<basic>closed</basic>") => "closed",
        () if body.contains("+sip.rendering") => "held",
        () if live("confirmed") => "confirmed",
        () if live("early") => "early",
        () if live("trying") => "trying",
        () => "dark",
    }
}

/// What the watcher was told happened, in that order; what lay in between may have been left out.
fn assert_true(watcher: &Watcher, event: &str, happened: &[&str]) {
    let told: Vec<&str> = watcher.told(event).map(lamp).collect();
    let mut left = happened.iter().peekable();
    for lamp in &told {
        while left.peek().is_some_and(|happened| *happened != lamp) {
            left.next();
        }
        assert!(left.peek().is_some(), "{lamp} never was, or not then: told {told:?}, happened {happened:?}");
    }
}

/// One call of Alice's, told to a server and by it to watchers.
fn a_call(kind: Kind, transport: Transport, auth: bool) {
    let server = PresenceServer::start(Wanted { auth, ..Wanted::new(kind) });
    let mut watcher = Watcher::subscribe(&server, ALICE);
    let mut publisher =
        start_over(transport, &server, if auth { with_password("secret") } else { options() });

    publisher.send(alice(Session::Idle));
    let open = watcher.wait_for("presence", "open", is_free);
    assert!(open.contains("<contact>sip:alice@192.0.2.1:5060</contact>"), "{open}");
    watcher.wait_for("dialog", "the placeholder", |body| body.contains("<state>terminated</state>"));

    publisher.send(alice(Session::Ringing));
    watcher.wait_for("dialog", "early", |body| body.contains("<state>early</state>"));
    publisher.send(alice(Session::Talking));
    watcher.wait_for("presence", "on the phone", is_on_the_phone);
    let confirmed = watcher.wait_for("dialog", "confirmed", |body| body.contains("<state>confirmed</state>"));
    assert!(confirmed.contains("call-id=\"call-1@sip:alice@example.com\""), "{confirmed}");
    assert!(confirmed.contains("sip:bob@example.com"), "{confirmed}");
    publisher.send(alice(Session::Held));
    watcher.wait_for("dialog", "held", |body| body.contains("+sip.rendering"));

    publisher.send(alice(Session::Idle));
    watcher.wait_for("presence", "idle again", is_free);
    watcher.wait_for("dialog", "terminated", |body| {
        body.contains("<state>terminated</state>") && !body.contains("<state>confirmed</state>")
    });

    let totals = publisher.finish(PATIENCE);
    assert!(totals.settled && totals.acknowledged >= 7, "{totals:?}\n{}", server.log());
    assert_eq!(totals.failed, 0, "{}", server.log());
    watcher.wait_for("presence", "nothing any more", |body| !body.contains("<basic>open</basic>"));
    // Kamailio tells of a publication that was taken back as closed.
    assert_true(&watcher, "presence", &["dark", "open", "on the phone", "open", "closed", "dark"]);
    assert_true(&watcher, "dialog", &["dark", "early", "confirmed", "held", "dark"]);
}

fn a_call_is_seen_by_watchers_of_presence_and_of_dialog(kind: Kind) {
    a_call(kind, Transport::Udp, false);
}

fn a_call_is_told_over_tcp(kind: Kind) {
    a_call(kind, Transport::Tcp, false);
}

fn a_call_is_told_over_tls_to_a_server_that_wants_digest(kind: Kind) {
    a_call(kind, Transport::Tls, true);
}

fn a_stranger_s_certificate_is_refused(kind: Kind) {
    let server = PresenceServer::start(Wanted::new(kind));
    let other = PresenceServer::start(Wanted::new(Kind::Offhook));
    let target = Target {
        servers: vec![NextHop::parse(&server.uri(Transport::Tls)).unwrap()],
        ca_file: Some(other.ca_file()),
    };
    let mut publisher = PublisherHandle::start(target, options(), &Limits::default()).unwrap();
    publisher.send(alice(Session::Idle));
    let outcome = next_outcome(&publisher, &server);
    assert_eq!((outcome.acknowledged, outcome.status), (false, None));
    assert_eq!(publisher.finish(Duration::from_millis(100)).acknowledged, 0);
}

fn lamps_follow_one_call_after_the_other_and_nothing_piles_up(kind: Kind) {
    let server = PresenceServer::start(Wanted::new(kind));
    let mut watcher = Watcher::subscribe(&server, ALICE);
    let mut publisher = start(&server, PublishOptions { events: vec![EventPackage::Dialog], ..options() });
    for call in 1..=3 {
        publisher.send(somebody(ALICE, Session::Talking, call));
        watcher.wait_for("dialog", "confirmed", |body| body.contains("<state>confirmed</state>"));
        publisher.send(alice(Session::Idle));
        let over = watcher.wait_for("dialog", "terminated", |body| {
            body.contains("<state>terminated</state>") && !body.contains("<state>confirmed</state>")
        });
        assert!(over.matches("<dialog ").count() <= 2, "{over}");
    }
    let totals = publisher.finish(PATIENCE);
    assert!(totals.settled, "{totals:?}");
    let operations: Vec<_> = std::iter::from_fn(|| publisher.poll_outcome())
        .map(|outcome| (outcome.operation, outcome.status))
        .collect();
    assert_eq!(totals.failed, 0, "{operations:?}");
    // A second and a third call each replaced the quiet publication before them; Kamailio may have dropped it by then.
    let replaced = |status| status == Some(200) || (kind == Kind::Kamailio && status == Some(412));
    let is_replaced =
        |&&(operation, status): &&(Operation, _)| operation == Operation::Remove && replaced(status);
    let count = operations.iter().filter(is_replaced).count();
    assert!(count >= 2, "{operations:?}");
}

fn a_refresh_keeps_what_is_published(kind: Kind) {
    let server = PresenceServer::start(Wanted::new(kind));
    let mut watcher = Watcher::subscribe(&server, ALICE);
    let mut publisher = start(&server, PublishOptions { expires_s: 6, on_stop: OnStop::Keep, ..options() });
    publisher.send(alice(Session::Talking));
    for operation in [Operation::Initial, Operation::Refresh, Operation::Refresh] {
        for _ in EventPackage::ALL {
            let outcome = next_outcome(&publisher, &server);
            assert!(outcome.acknowledged, "{outcome:?}");
            assert_eq!(outcome.operation, operation);
        }
    }
    // 6 s are over: without the refreshes it would be gone. A new watcher is told the body at once.
    let mut late = Watcher::subscribe(&server, ALICE);
    late.wait_for("presence", "on the phone", is_on_the_phone);
    watcher.wait_for("presence", "on the phone", is_on_the_phone);
    assert!(publisher.finish(PATIENCE).settled);
    assert_true(&watcher, "presence", &["dark", "on the phone"]);
}

fn a_wrong_password_fails_and_is_not_tried_again_at_once(kind: Kind) {
    let server = PresenceServer::start(Wanted { auth: true, ..Wanted::new(kind) });
    let mut publisher = start(&server, with_password("wrong"));
    publisher.send(alice(Session::Idle));
    for _ in EventPackage::ALL {
        let outcome = next_outcome(&publisher, &server);
        assert!(!outcome.acknowledged);
        assert!(matches!(outcome.status, Some(401 | 407)), "{outcome:?}");
    }
    let totals = publisher.finish(PATIENCE);
    assert_eq!((totals.acknowledged, totals.failed), (0, 2));
}

fn a_server_that_forgot_everything_is_told_again(kind: Kind) {
    let mut server = PresenceServer::start(Wanted::new(kind));
    let mut publisher = start(&server, PublishOptions { events: vec![EventPackage::Presence], ..options() });
    publisher.send(alice(Session::Idle));
    assert!(next_outcome(&publisher, &server).acknowledged);

    server.restart();
    let mut watcher = Watcher::subscribe(&server, ALICE);
    publisher.send(alice(Session::Talking));
    let lost = next_outcome(&publisher, &server);
    assert_eq!((lost.operation, lost.status), (Operation::Modify, Some(412)));
    let told = next_outcome(&publisher, &server);
    assert_eq!((told.operation, told.acknowledged), (Operation::Initial, true));
    watcher.wait_for("presence", "on the phone", is_on_the_phone);
    assert!(publisher.finish(PATIENCE).settled);
    assert_true(&watcher, "presence", &["dark", "on the phone", "closed", "dark"]);
}

fn too_brief_is_asked_for_longer(kind: Kind) {
    let server = PresenceServer::start(Wanted { least_expires_s: 1_200, ..Wanted::new(kind) });
    let mut publisher = start(&server, options());
    publisher.send(alice(Session::Idle));
    for _ in EventPackage::ALL {
        let outcome = next_outcome(&publisher, &server);
        assert!(outcome.acknowledged, "{outcome:?}");
        assert_eq!(outcome.expires_s, Some(1_200));
    }
    let totals = publisher.finish(PATIENCE);
    assert_eq!(totals.failed, 0);
}

fn a_server_that_is_away_is_waited_for(kind: Kind) {
    let mut server = PresenceServer::start(Wanted::new(kind));
    server.stop();
    let mut publisher = start(&server, PublishOptions { events: vec![EventPackage::Presence], ..options() });
    publisher.send(alice(Session::Idle));
    let outcome = next_outcome(&publisher, &server);
    assert_eq!((outcome.acknowledged, outcome.status), (false, None));
    server.restart();
    let totals = publisher.finish(PATIENCE);
    assert!(totals.settled && totals.acknowledged >= 1, "{totals:?}");
}

/// Forty people's calls are being told when the server dies without a word; it comes back empty.
fn a_server_that_is_killed_in_the_middle_ends_with_the_truth(kind: Kind) {
    let mut server = PresenceServer::start(Wanted::new(kind));
    let people: Vec<String> = (0..40).map(|number| format!("sip:user{number}@example.com")).collect();
    let mut publisher = start_over(
        Transport::Tcp,
        &server,
        PublishOptions { events: vec![EventPackage::Presence], ..options() },
    );
    let mut killed = false;
    for (round, session) in [Session::Idle, Session::Ringing, Session::Talking].into_iter().enumerate() {
        for (number, aor) in people.iter().enumerate() {
            publisher.send(somebody(aor, session, 1));
            if round == 1 && number == 20 {
                std::thread::sleep(Duration::from_millis(5));
                server.kill();
                killed = true;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(killed);
    server.restart();
    let mut watchers: Vec<Watcher> = [0, 19, 20, 39]
        .into_iter()
        .map(|number: usize| Watcher::subscribe(&server, &people[number]))
        .collect();
    for watcher in &mut watchers {
        watcher.wait_for("presence", "on the phone", is_on_the_phone);
    }
    assert!(publisher.finish(PATIENCE).settled);
    for watcher in &watchers {
        // The server came back empty; from then on each was told the one thing that was true.
        assert_true(watcher, "presence", &["dark", "on the phone", "closed", "dark"]);
    }
}

fn the_two_facets_are_published_apart(kind: Kind) {
    let server = PresenceServer::start(Wanted::new(kind));
    let mut watcher = Watcher::subscribe(&server, ALICE);
    let mut publisher = start(
        &server,
        PublishOptions { facets: Facets::Separate, events: vec![EventPackage::Presence], ..options() },
    );
    publisher.send(alice(Session::Idle));
    watcher.wait_for("presence", "open", is_free);
    publisher.send(alice(Session::Talking));
    watcher.wait_for("presence", "on the phone", |body| {
        is_on_the_phone(body) && body.contains("<basic>open</basic>")
    });
    publisher.send(alice(Session::Idle));
    watcher.wait_for("presence", "open again", is_free);
    let totals = publisher.finish(PATIENCE);
    assert!(totals.settled && totals.failed == 0, "{totals:?}");
    assert_true(&watcher, "presence", &["dark", "open", "on the phone", "open", "closed", "dark"]);
}

/// Kamailio's presence module takes no REGISTER.
#[test]
fn updates_that_come_by_register_are_told_and_taken_back() {
    let server = PresenceServer::start(Wanted::new(Kind::Offhook));
    let mut watcher = Watcher::subscribe(&server, ALICE);
    let by_register =
        PublishOptions { method: PublishMethod::Register, facets: Facets::Separate, ..options() };
    let mut publisher = start(&server, by_register);
    publisher.send(alice(Session::Idle));
    watcher.wait_for("presence", "open", is_free);
    publisher.send(alice(Session::Talking));
    watcher.wait_for("presence", "on the phone", is_on_the_phone);
    watcher.wait_for("dialog", "confirmed", |body| body.contains("<state>confirmed</state>"));
    publisher.send(alice(Session::Idle));
    watcher.wait_for("presence", "open again", is_free);
    let totals = publisher.finish(PATIENCE);
    assert!(totals.settled && totals.failed == 0, "{totals:?}");
    watcher.wait_for("presence", "nothing any more", |body| !body.contains("<basic>open</basic>"));
    assert_true(&watcher, "presence", &["dark", "open", "on the phone", "open", "dark"]);
}

/// An entity-tag that is not of its own form: Kamailio says 500. The first server gave it, and is gone.
#[test]
fn a_second_server_that_does_not_know_the_entity_tag_is_told_anew() {
    let mut first = PresenceServer::start(Wanted::new(Kind::Offhook));
    let second = PresenceServer::start(Wanted::new(Kind::Kamailio));
    let target = Target {
        servers: [&first, &second]
            .map(|server| NextHop::parse(&server.uri(Transport::Udp)).unwrap())
            .to_vec(),
        ca_file: None,
    };
    let options = PublishOptions { events: vec![EventPackage::Presence], ..options() };
    let mut publisher = PublisherHandle::start(target, options, &Limits::default()).unwrap();
    publisher.send(alice(Session::Idle));
    assert!(next_outcome(&publisher, &first).acknowledged);
    first.kill();
    let mut watcher = Watcher::subscribe(&second, ALICE);
    publisher.send(alice(Session::Talking));
    let mut statuses = Vec::new();
    while statuses.last() != Some(&Some(200)) {
        statuses.push(next_outcome(&publisher, &second).status);
    }
    assert!(statuses.contains(&Some(500)), "{statuses:?}");
    watcher.wait_for("presence", "on the phone", is_on_the_phone);
    assert!(publisher.finish(PATIENCE).settled);
    assert_true(&watcher, "presence", &["dark", "on the phone", "closed", "dark"]);
}

/// The whole way: a recorded morning is replayed at twice its speed into Kamailio, by the program itself, and
/// people who watch Alice, Bob and Carol are told what happened to them, in order.
fn watchers_follow_a_replayed_morning(kind: Kind) {
    let server = PresenceServer::start(Wanted::new(kind));
    let mut alice = Watcher::subscribe(&server, ALICE);
    let mut bob = Watcher::subscribe(&server, "sip:bob@example.com");
    let mut carol = Watcher::subscribe(&server, "sip:carol@example.com");
    let replay = Command::new(env!("CARGO_BIN_EXE_offhook"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["replay", "captures/office-morning.pcap", "--format", "jsonl", "--speed", "2"])
        .args(["--publish", &server.uri(Transport::Udp)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    alice.wait_for("presence", "open and free", |body| {
        body.contains("<basic>open</basic>") && !is_on_the_phone(body)
    });
    alice.wait_for("presence", "on the phone", is_on_the_phone);
    let confirmed = alice.wait_for("dialog", "confirmed", |body| body.contains("<state>confirmed</state>"));
    assert!(confirmed.contains("direction=\"initiator\""), "{confirmed}");
    assert!(confirmed.contains("sip:bob@example.com"), "{confirmed}");
    bob.wait_for("dialog", "held", |body| body.contains("+sip.rendering"));
    alice.wait_for("presence", "free again", |body| {
        body.contains("<basic>open</basic>") && !is_on_the_phone(body)
    });
    carol.wait_for("dialog", "ringing", |body| body.contains("<state>early</state>"));
    carol.wait_for("presence", "on the phone", is_on_the_phone);
    // Bob's registration runs out while he talks: open until the BYE, then closed.
    bob.wait_for("presence", "on the phone", is_on_the_phone);
    bob.wait_for("presence", "closed", |body| body.contains("<basic>closed</basic>"));
    alice.wait_for("presence", "closed", |body| body.contains("<basic>closed</basic>"));

    let output = replay.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let publications = lines.iter().filter(|line| line["kind"] == "publication").count();
    let summary = lines.last().unwrap();
    assert_eq!(summary["kind"], "summary");
    assert_eq!(summary["publications"]["failed"], 0, "{summary}");
    assert_eq!(summary["publications"]["acknowledged"], publications, "{summary}");
    // The end of a replay takes back what it published.
    carol.wait_for("presence", "nothing any more", |body| !body.contains("<basic>open</basic>"));
}
