//! offhook and a real presence server: Kamailio, started by these tests on loopback.
//! In: Alice's states. Out: what watchers are told. Needs the packages kamailio and kamailio-presence-modules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test's helpers are tests, and they wait for a real server"
)]

#[path = "support/kamailio.rs"]
mod kamailio;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kamailio::{Kamailio, Wanted, Watcher};
use offhook::base::{FrameId, Limits, Timestamp};
use offhook::io::next_hop::NextHop;
use offhook::io::publisher::PublisherHandle;
use offhook::presence::{
    BindingView, ChangeKind, DialogView, PresentityChange, PresentityState, Session, Terminal,
};
use offhook::publish::{EventPackage, OnStop, Operation, PublicationOutcome, PublishOptions};
use offhook::sip::Aor;
use offhook::track::{DialogState, EndId, Evidence, Rule, Side};

const ALICE: &str = "sip:alice@example.com";
const PATIENCE: Duration = Duration::from_secs(20);

fn options(server: &Kamailio) -> PublishOptions {
    let next_hop = NextHop::parse(&server.uri()).unwrap().resolve().unwrap();
    PublishOptions::new(next_hop)
}

fn start(options: PublishOptions) -> PublisherHandle {
    PublisherHandle::start(options, &Limits::default()).unwrap()
}

/// Alice's registered phone, with at most one dialog.
fn alice(session: Session) -> PresentityChange {
    let state = match session {
        Session::Idle => None,
        Session::Calling => Some(DialogState::Trying),
        Session::Ringing => Some(DialogState::Early),
        Session::Held | Session::Talking => Some(DialogState::Confirmed),
    };
    let dialogs = state.map(|state| DialogView {
        end: EndId(1),
        call_id: "call-1@192.0.2.1".into(),
        local_tag: Some("a".into()),
        remote_tag: Some("b".into()),
        side: Side::Caller,
        state,
        held: session == Session::Held,
        remote: Some("sip:bob@example.com".into()),
    });
    PresentityChange {
        at: Timestamp::from_secs(1_795_327_681),
        aor: Aor::from_uri(ALICE.as_bytes()).unwrap(),
        kind: ChangeKind::Status,
        previous: (Terminal::Unknown, Session::Idle),
        previous_contact: None,
        because: Evidence { rule: Rule::Register200, frame: FrameId::default(), call_id: "call".into() },
        state: Arc::new(PresentityState {
            terminal: Terminal::Online,
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

fn next_outcome(publisher: &PublisherHandle, server: &Kamailio) -> PublicationOutcome {
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

#[test]
fn a_call_is_seen_by_watchers_of_presence_and_of_dialog() {
    let server = Kamailio::start(Wanted::default());
    let mut watcher = Watcher::subscribe(&server, ALICE);
    let mut publisher = start(options(&server));

    publisher.send(alice(Session::Idle));
    let open = watcher.wait_for("presence", "open", |body| body.contains("<basic>open</basic>"));
    assert!(!is_on_the_phone(&open), "{open}");
    assert!(open.contains("<contact>sip:alice@192.0.2.1:5060</contact>"), "{open}");
    watcher.wait_for("dialog", "the placeholder", |body| body.contains("<state>terminated</state>"));

    publisher.send(alice(Session::Ringing));
    watcher.wait_for("dialog", "early", |body| body.contains("<state>early</state>"));
    publisher.send(alice(Session::Talking));
    watcher.wait_for("presence", "on the phone", is_on_the_phone);
    let confirmed = watcher.wait_for("dialog", "confirmed", |body| body.contains("<state>confirmed</state>"));
    assert!(confirmed.contains("call-id=\"call-1@192.0.2.1\""), "{confirmed}");
    assert!(confirmed.contains("sip:bob@example.com"), "{confirmed}");
    publisher.send(alice(Session::Held));
    watcher.wait_for("dialog", "held", |body| body.contains("+sip.rendering"));

    publisher.send(alice(Session::Idle));
    watcher.wait_for("presence", "idle again", |body| {
        body.contains("<basic>open</basic>") && !is_on_the_phone(body)
    });
    watcher.wait_for("dialog", "terminated", |body| {
        body.contains("<state>terminated</state>") && !body.contains("<state>confirmed</state>")
    });

    let totals = publisher.finish(PATIENCE);
    assert!(totals.settled && totals.acknowledged >= 7, "{totals:?}");
    assert_eq!(totals.failed, 0);
    watcher.wait_for("presence", "nothing any more", |body| !body.contains("<basic>open</basic>"));
}

#[test]
fn lamps_follow_one_call_after_the_other_and_nothing_piles_up() {
    let server = Kamailio::start(Wanted::default());
    let mut watcher = Watcher::subscribe(&server, ALICE);
    let mut publisher = start(PublishOptions { events: vec![EventPackage::Dialog], ..options(&server) });
    for _ in 0..3 {
        publisher.send(alice(Session::Talking));
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
    // A second and a third call each replaced the quiet publication before them.
    let replaced = (Operation::Remove, Some(412));
    let count = operations.iter().filter(|seen| **seen == replaced).count();
    assert_eq!(count, 2, "{operations:?}");
}

#[test]
fn a_refresh_keeps_what_is_published() {
    let server = Kamailio::start(Wanted::default());
    let mut watcher = Watcher::subscribe(&server, ALICE);
    let mut publisher = start(PublishOptions { expires_s: 6, on_stop: OnStop::Keep, ..options(&server) });
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
}

#[test]
fn digest_credentials_are_given_when_asked_for() {
    let server = Kamailio::start(Wanted { auth: true, ..Wanted::default() });
    let mut publisher = start(PublishOptions {
        user: Some("tap".to_owned()),
        password: Some("secret".to_owned()),
        ..options(&server)
    });
    publisher.send(alice(Session::Idle));
    publisher.send(alice(Session::Talking));
    let totals = publisher.finish(PATIENCE);
    assert!(totals.settled && totals.acknowledged >= 4, "{totals:?}\n{}", server.log());
    assert_eq!(totals.failed, 0, "{}", server.log());
}

#[test]
fn a_wrong_password_fails_and_is_not_tried_again_at_once() {
    let server = Kamailio::start(Wanted { auth: true, ..Wanted::default() });
    let mut publisher = start(PublishOptions {
        user: Some("tap".to_owned()),
        password: Some("wrong".to_owned()),
        ..options(&server)
    });
    publisher.send(alice(Session::Idle));
    for _ in EventPackage::ALL {
        let outcome = next_outcome(&publisher, &server);
        assert!(!outcome.acknowledged);
        assert!(matches!(outcome.status, Some(401 | 407)), "{outcome:?}");
    }
    let totals = publisher.finish(PATIENCE);
    assert_eq!((totals.acknowledged, totals.failed), (0, 2));
}

#[test]
fn a_server_that_forgot_everything_is_told_again() {
    let mut server = Kamailio::start(Wanted::default());
    let mut publisher = start(PublishOptions { events: vec![EventPackage::Presence], ..options(&server) });
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
}

#[test]
fn too_brief_is_asked_for_longer() {
    let server = Kamailio::start(Wanted { least_expires_s: 1_200, ..Wanted::default() });
    let mut publisher = start(options(&server));
    publisher.send(alice(Session::Idle));
    for _ in EventPackage::ALL {
        let outcome = next_outcome(&publisher, &server);
        assert!(outcome.acknowledged, "{outcome:?}");
        assert_eq!(outcome.expires_s, Some(1_200));
    }
    let totals = publisher.finish(PATIENCE);
    assert_eq!(totals.failed, 0);
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    let mut server = Kamailio::start(Wanted::default());
    server.stop();
    let mut publisher = start(PublishOptions { events: vec![EventPackage::Presence], ..options(&server) });
    publisher.send(alice(Session::Idle));
    let outcome = next_outcome(&publisher, &server);
    assert_eq!((outcome.acknowledged, outcome.status), (false, None));
    server.restart();
    let totals = publisher.finish(PATIENCE);
    assert!(totals.settled && totals.acknowledged >= 1, "{totals:?}");
}

/// The whole way: a recorded morning is replayed at twice its speed into Kamailio, by the program itself, and
/// people who watch Alice, Bob and Carol are told what happened to them, in order.
#[test]
fn watchers_follow_a_replayed_morning() {
    let server = Kamailio::start(Wanted::default());
    let mut alice = Watcher::subscribe(&server, ALICE);
    let mut bob = Watcher::subscribe(&server, "sip:bob@example.com");
    let mut carol = Watcher::subscribe(&server, "sip:carol@example.com");
    let replay = Command::new(env!("CARGO_BIN_EXE_offhook"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["replay", "captures/office-morning.pcap", "--format", "jsonl", "--speed", "2"])
        .args(["--publish", &server.uri()])
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
