//! Every answer, and silence, in virtual time.

use std::sync::Arc;

use super::*;
use crate::presence::{PresentityState, Session, Terminal};
use crate::track::{DialogState, EndId, Side};

const START: Timestamp = Timestamp::from_secs(1_000);
const OPTIONS: DialogInfoOptions =
    DialogInfoOptions { placeholder: true, remote_identity: true, dialogs_per_document: 16 };

fn alice() -> Aor {
    Aor::from_uri(b"sip:alice@example.com").unwrap()
}

fn view(end: u64, state: DialogState) -> DialogView {
    DialogView {
        end: EndId(end),
        call_id: format!("call-{end}").into(),
        local_tag: Some("a".into()),
        remote_tag: Some("b".into()),
        side: Side::Caller,
        state,
        held: false,
        remote: Some("sip:bob@example.com".into()),
    }
}

fn document(event: EventPackage, session: Session, dialogs: &[DialogView]) -> Option<Document> {
    let state = Arc::new(PresentityState {
        terminal: Terminal::Online,
        session,
        dialogs: dialogs.to_vec(),
        ..PresentityState::default()
    });
    Document::new(event, &alice(), START, &state, OPTIONS)
}

fn presence(session: Session) -> Option<Document> {
    document(EventPackage::Presence, session, &[])
}

fn dialogs(views: &[DialogView]) -> Option<Document> {
    document(EventPackage::Dialog, Session::Talking, views)
}

struct Bench {
    publication: Publication,
    random: Random,
    now: Timestamp,
}

impl Bench {
    fn new(event: EventPackage) -> Self {
        Self {
            publication: Publication::new(alice(), event, 600, OPTIONS),
            random: Random::new(1),
            now: START,
        }
    }

    fn want(&mut self, document: Option<Document>) {
        self.publication.want(document);
    }

    /// Goes to the next moment at which something is due, and gives what is; `None` when nothing ever is.
    fn due(&mut self) -> Option<Due> {
        loop {
            if let Some(due) = self.publication.poll_due(self.now) {
                return Some(due);
            }
            let next = self.publication.poll_timeout()?;
            assert!(next > self.now, "something is due and nothing happens");
            self.now = next;
        }
    }

    fn answer(&mut self, status: u16) -> Verdict {
        self.answer_with(status, None, None)
    }

    fn answer_with(
        &mut self,
        status: u16,
        min_expires_s: Option<u32>,
        retry_after_s: Option<u32>,
    ) -> Verdict {
        let answer = Answer::Response {
            status,
            entity_tag: (status == 200).then_some("tag-1"),
            expires_s: (status == 200).then_some(600),
            min_expires_s,
            retry_after_s,
        };
        self.publication.handle_answer(self.now, answer, Blame::Publication, &mut self.random)
    }

    fn since_start(&self) -> u64 {
        self.now.since(START).as_secs()
    }
}

/// Presence of an idle presentity, acknowledged.
fn published() -> Bench {
    let mut bench = Bench::new(EventPackage::Presence);
    bench.want(presence(Session::Idle));
    assert_eq!(bench.due().unwrap().operation, Operation::Initial);
    assert_eq!(bench.answer(200), Verdict::Acknowledged { expires_s: 600 });
    bench
}

#[test]
fn initial_modify_refresh_remove() {
    let mut bench = published();
    assert!(bench.publication.is_settled());

    bench.want(presence(Session::Talking));
    let modify = bench.due().unwrap();
    assert_eq!(modify.operation, Operation::Modify);
    assert_eq!(modify.entity_tag.as_deref(), Some("tag-1"));
    assert!(!modify.body.is_empty());
    assert_eq!(bench.since_start(), 0);
    bench.answer(200);

    let refresh = bench.due().unwrap();
    assert_eq!(refresh.operation, Operation::Refresh);
    assert!(refresh.body.is_empty());
    // Between 600 - 40 - 60 and 600 - 40 - 30: time for one refresh to be lost and the next to arrive.
    assert!((500..=530).contains(&bench.since_start()));
    bench.answer(200);

    bench.want(None);
    let remove = bench.due().unwrap();
    assert_eq!((remove.operation, remove.expires_s), (Operation::Remove, 0));
    assert!(remove.body.is_empty());
    assert_eq!(bench.answer(200), Verdict::Acknowledged { expires_s: 0 });
    assert!(bench.publication.is_over());
    assert!(bench.due().is_none());
}

#[test]
fn what_says_the_same_is_not_sent_again() {
    let mut bench = published();
    bench.want(presence(Session::Idle));
    assert!(bench.publication.is_settled());
    assert_eq!(bench.due().unwrap().operation, Operation::Refresh);
}

#[test]
fn one_is_in_flight_and_the_latest_waits() {
    let mut bench = published();
    bench.want(presence(Session::Ringing));
    bench.due().unwrap();
    for session in [Session::Talking, Session::Held] {
        bench.want(presence(session));
        assert!(bench.publication.poll_due(bench.now).is_none());
    }
    bench.answer(200);
    let body = String::from_utf8(bench.due().unwrap().body).unwrap();
    assert!(body.contains("session=\"held\""));
    bench.answer(200);
    assert!(bench.publication.is_settled());
}

#[test]
fn answers_to_a_modification() {
    // status, Retry-After; what comes next, and after how many seconds at least and at most.
    let table = [
        (412, None, Operation::Initial, 0, 1),
        (500, None, Operation::Initial, 0, 1),
        (408, None, Operation::Modify, 1, 2),
        (480, None, Operation::Modify, 1, 2),
        (503, None, Operation::Modify, 1, 2),
        (503, Some(100), Operation::Modify, 1, 2),
        (480, Some(100), Operation::Modify, 101, 102),
        (504, None, Operation::Modify, 1, 2),
        // The entity-tag expires after 600 s, before the hour is over.
        (403, None, Operation::Initial, 3_780, 3_960),
        (404, None, Operation::Initial, 3_780, 3_960),
        (401, None, Operation::Initial, 3_780, 3_960),
        (423, None, Operation::Initial, 3_780, 3_960),
        (302, None, Operation::Initial, 3_780, 3_960),
        (603, None, Operation::Initial, 3_780, 3_960),
    ];
    for (status, retry_after_s, next, least_s, most_s) in table {
        let mut bench = published();
        bench.want(presence(Session::Talking));
        bench.due().unwrap();
        assert_eq!(bench.answer_with(status, None, retry_after_s), Verdict::Failed);
        let due = bench.due().unwrap();
        assert_eq!(due.operation, next, "{status}");
        assert!(
            (least_s..=most_s).contains(&bench.since_start()),
            "{status} after {} s",
            bench.since_start()
        );
        assert!(!due.body.is_empty());
        bench.answer(200);
        assert!(bench.publication.is_settled());
    }
}

#[test]
fn silence_is_waited_for_longer_each_time() {
    let mut bench = Bench::new(EventPackage::Presence);
    bench.want(presence(Session::Idle));
    let mut waits = Vec::new();
    for _ in 0..12 {
        bench.due().unwrap();
        let sent = bench.now;
        bench.now = bench.now.after(TIMER_F);
        let verdict = bench.publication.handle_answer(
            bench.now,
            Answer::Silence,
            Blame::Publication,
            &mut bench.random,
        );
        assert_eq!(verdict, Verdict::Failed);
        assert!(!bench.publication.is_settled());
        let due_at = bench.publication.poll_timeout().unwrap();
        waits.push(due_at.since(sent).as_secs() - 32);
    }
    assert!(waits[0] <= 2 && waits[11] >= 150 && waits[11] <= 300, "{waits:?}");
}

#[test]
fn answers_to_a_removal() {
    for (status, gone) in [(200, true), (404, true), (412, true), (500, true), (503, false), (403, false)] {
        let mut bench = published();
        bench.want(None);
        assert_eq!(bench.due().unwrap().operation, Operation::Remove);
        let verdict = bench.answer(status);
        assert_eq!(matches!(verdict, Verdict::Acknowledged { .. }), gone, "{status}");
        assert_eq!(bench.publication.is_over(), gone, "{status}");
    }
}

#[test]
fn too_brief_is_followed_while_it_makes_sense() {
    let mut bench = Bench::new(EventPackage::Presence);
    bench.want(presence(Session::Idle));
    bench.due().unwrap();
    assert_eq!(bench.answer_with(423, Some(1_800), None), Verdict::Again);
    let again = bench.due().unwrap();
    assert_eq!((again.operation, again.expires_s), (Operation::Initial, 1_800));
    assert_eq!(bench.since_start(), 0);
    assert_eq!(bench.answer_with(423, Some(1_800), None), Verdict::Failed);
    assert!(bench.publication.is_settled());
}

#[test]
fn a_short_grant_rules_and_an_expired_one_begins_anew() {
    let mut bench = Bench::new(EventPackage::Presence);
    bench.want(presence(Session::Idle));
    bench.due().unwrap();
    let answer = Answer::Response {
        status: 200,
        entity_tag: Some("tag"),
        expires_s: Some(20),
        min_expires_s: None,
        retry_after_s: None,
    };
    bench.publication.handle_answer(bench.now, answer, Blame::Publication, &mut bench.random);
    assert_eq!(bench.due().unwrap().operation, Operation::Refresh);
    assert!((8..=9).contains(&bench.since_start()));
    bench.now = bench.now.after(TIMER_F);
    bench.publication.handle_answer(bench.now, Answer::Silence, Blame::Publication, &mut bench.random);
    let due = bench.due().unwrap();
    assert_eq!(due.operation, Operation::Initial);
    assert!(due.entity_tag.is_none());
}

#[test]
fn a_server_without_entity_tags_gets_initial_publications() {
    let mut bench = Bench::new(EventPackage::Presence);
    bench.want(presence(Session::Idle));
    for _ in 0..3 {
        let due = bench.due().unwrap();
        assert_eq!(due.operation, Operation::Initial);
        assert!(!due.body.is_empty());
        let answer = Answer::Response {
            status: 200,
            entity_tag: None,
            expires_s: None,
            min_expires_s: None,
            retry_after_s: None,
        };
        bench.publication.handle_answer(bench.now, answer, Blame::Publication, &mut bench.random);
    }
    bench.want(None);
    assert!(bench.publication.poll_due(bench.now).is_none());
    assert!(bench.publication.is_over());
}

#[test]
fn a_dialog_that_ended_unseen_is_listed_as_terminated_until_acknowledged() {
    let mut bench = Bench::new(EventPackage::Dialog);
    let body = |due: Due| String::from_utf8(due.body).unwrap();
    bench.want(dialogs(&[view(1, DialogState::Confirmed)]));
    let first = body(bench.due().unwrap());
    assert!(first.contains("version=\"0\"") && first.contains("<state>confirmed</state>"));
    bench.answer(200);

    // It ended and was forgotten while nothing could be sent; the first try is lost.
    bench.want(dialogs(&[view(1, DialogState::Terminated)]));
    bench.want(dialogs(&[view(2, DialogState::Trying)]));
    for version in ["version=\"1\"", "version=\"2\""] {
        let text = body(bench.due().unwrap());
        assert!(text.contains(version), "{text}");
        assert!(text.contains("call-id=\"call-1\""), "{text}");
        assert!(text.contains("<state>terminated</state>"), "{text}");
        assert!(text.contains("<state>trying</state>"), "{text}");
        if version.contains('1') {
            bench.answer(503);
        } else {
            bench.answer(200);
        }
    }
    bench.want(dialogs(&[view(2, DialogState::Confirmed)]));
    assert!(!body(bench.due().unwrap()).contains("call-1"));
    bench.answer(200);

    // A dialog that is over changes nothing that is said.
    bench.want(dialogs(&[view(2, DialogState::Confirmed), view(3, DialogState::Terminated)]));
    assert!(bench.publication.is_settled());
}

#[test]
fn after_a_document_without_live_dialogs_a_new_publication_replaces_the_old_one() {
    let mut bench = Bench::new(EventPackage::Dialog);
    bench.want(dialogs(&[]));
    bench.due().unwrap();
    bench.answer(200);
    bench.want(dialogs(&[view(1, DialogState::Trying)]));
    let initial = bench.due().unwrap();
    assert_eq!((initial.operation, initial.entity_tag), (Operation::Initial, None));
    bench.answer(200);
    // What is wanted goes first, then the old publication is taken back; whatever is answered, once.
    bench.want(dialogs(&[view(1, DialogState::Confirmed)]));
    assert_eq!(bench.due().unwrap().operation, Operation::Modify);
    bench.answer(200);
    let remove = bench.due().unwrap();
    assert_eq!((remove.operation, remove.expires_s), (Operation::Remove, 0));
    assert!(!bench.publication.is_settled());
    assert_eq!(bench.answer(412), Verdict::Acknowledged { expires_s: 0 });
    assert!(bench.publication.is_settled());
    assert_eq!(bench.due().unwrap().operation, Operation::Refresh);
}

#[test]
fn dialogs_are_ended_before_their_publication_is_removed() {
    let mut bench = Bench::new(EventPackage::Dialog);
    bench.want(dialogs(&[view(1, DialogState::Confirmed)]));
    bench.due().unwrap();
    bench.answer(200);
    bench.publication.leave(true);
    let modify = bench.due().unwrap();
    assert_eq!(modify.operation, Operation::Modify);
    let text = String::from_utf8(modify.body).unwrap();
    assert!(text.contains("<state>terminated</state>") && !text.contains("confirmed"));
    bench.answer(200);
    assert_eq!(bench.due().unwrap().operation, Operation::Remove);
    bench.answer(200);
    assert!(bench.publication.is_over());
}

#[test]
fn leaving_without_removal_refreshes_no_more() {
    let mut bench = published();
    bench.publication.leave(false);
    assert!(bench.publication.is_settled());
    assert!(bench.due().is_none());
    assert!(bench.publication.is_over(), "it expired");
}

#[test]
fn an_unknown_terminal_is_not_published() {
    let unknown = Arc::new(PresentityState::default());
    for event in EventPackage::ALL {
        assert!(Document::new(event, &alice(), START, &unknown, OPTIONS).is_none());
    }
}
