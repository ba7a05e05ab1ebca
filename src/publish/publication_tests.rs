//! Every answer, and silence, in virtual time.

use std::sync::Arc;

use super::*;
use crate::base::FrameId;
use crate::presence::pidf::Facet;
use crate::presence::{BindingView, ChangeKind, PresentityChange, PresentityState, Session, Terminal};
use crate::publish::options::Facets;
use crate::track::{DialogState, Evidence, Rule};

const START: Timestamp = Timestamp::from_secs(1_000);
const OPTIONS: PublicationOptions = PublicationOptions {
    method: PublishMethod::Publish,
    expires_s: 600,
    dialog_info: DialogInfoOptions { placeholder: true, remote_identity: true, dialogs_per_document: 16 },
};
const SERVER: ServerId = ServerId(1);
const OTHER: ServerId = ServerId(2);

const fn whole(event: EventPackage) -> Part {
    Part { event, facet: Facet::Combined }
}

fn change(state: PresentityState) -> PresentityChange {
    PresentityChange {
        at: START,
        aor: alice(),
        kind: ChangeKind::Status,
        previous: (Terminal::Unknown, Session::Idle),
        previous_contact: None,
        because: Evidence { rule: Rule::Register200, frame: FrameId::default(), call_id: "call".into() },
        state: Arc::new(state),
    }
}

fn alice() -> Aor {
    Aor::from_uri(b"sip:alice@example.com").unwrap()
}

fn view(end: u64, state: DialogState) -> DialogView {
    DialogView::to_bob(end, state)
}

fn document(event: EventPackage, session: Session, dialogs: &[DialogView]) -> Option<Document> {
    let state = PresentityState {
        terminal: Terminal::Online,
        registered: Terminal::Online,
        session,
        dialogs: dialogs.to_vec(),
        ..PresentityState::default()
    };
    Document::new(whole(event), &change(state), OPTIONS.dialog_info)
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
            publication: Publication::new(alice(), whole(event), OPTIONS),
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
            if let Some(due) = self.publication.poll_due(self.now, SERVER) {
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
        assert!(bench.publication.poll_due(bench.now, SERVER).is_none());
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
    assert!(bench.publication.poll_due(bench.now, SERVER).is_none());
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
    let unknown = change(PresentityState::default());
    for facets in [Facets::Combined, Facets::Separate] {
        for part in Part::chosen(&EventPackage::ALL, facets) {
            assert!(Document::new(part, &unknown, OPTIONS.dialog_info).is_none());
        }
    }
}

#[test]
fn facets_are_told_apart_and_each_as_long_as_there_is_something_to_say() {
    let told = |state: PresentityState| -> Vec<(EventPackage, Facet)> {
        Part::chosen(&EventPackage::ALL, Facets::Separate)
            .into_iter()
            .filter(|&part| Document::new(part, &change(state.clone()), OPTIONS.dialog_info).is_some())
            .map(|part| (part.event, part.facet))
            .collect()
    };
    let terminal = (EventPackage::Presence, Facet::Terminal);
    let session = (EventPackage::Presence, Facet::Session);
    let dialog = (EventPackage::Dialog, Facet::Combined);
    let online = PresentityState {
        terminal: Terminal::Online,
        registered: Terminal::Online,
        ..PresentityState::default()
    };
    assert_eq!(told(online.clone()), [terminal, session, dialog]);
    // A call without a registration: the terminal is online only because it talks.
    let inferred = PresentityState {
        registered: Terminal::Unknown,
        session: Session::Talking,
        dialogs: vec![view(1, DialogState::Confirmed)],
        ..online
    };
    assert_eq!(told(inferred.clone()), [session, dialog]);
    let calling = PresentityState { terminal: Terminal::Unknown, ..inferred };
    assert_eq!(told(calling), [session, dialog]);
    assert_eq!(told(PresentityState::default()), []);
}

#[test]
fn a_presence_document_lists_a_dialog_that_ended_until_acknowledged_and_is_removed_at_once() {
    let mut bench = Bench::new(EventPackage::Presence);
    let talking = [view(1, DialogState::Confirmed)];
    bench.want(document(EventPackage::Presence, Session::Talking, &talking));
    bench.due().unwrap();
    bench.answer(200);
    bench.want(presence(Session::Idle));
    for status in [503, 200] {
        let body = String::from_utf8(bench.due().unwrap().body).unwrap();
        assert!(body.contains("state=\"terminated\""), "{body}");
        bench.answer(status);
    }
    bench.want(presence(Session::Calling));
    assert!(!String::from_utf8(bench.due().unwrap().body).unwrap().contains("oh:dialog"));
    bench.answer(200);
    bench.want(document(EventPackage::Presence, Session::Talking, &talking));
    bench.due().unwrap();
    bench.answer(200);
    bench.publication.leave(true);
    assert_eq!(bench.due().unwrap().operation, Operation::Remove);
}

/// Alice online and idle, her phone registered for so many seconds from the start of packet time on.
fn registered(granted_s: u32, passed_s: u32) -> PresentityChange {
    let binding = BindingView {
        contact: "sip:alice@192.0.2.1".into(),
        user_agent: None,
        expires_at: START.after_s(granted_s),
    };
    let state = PresentityState {
        terminal: Terminal::Online,
        registered: Terminal::Online,
        bindings: vec![binding],
        ..PresentityState::default()
    };
    PresentityChange { at: START.after_s(passed_s), ..change(state) }
}

impl Bench {
    fn want_followed(&mut self, change: &PresentityChange) {
        let part = self.publication.part;
        let mut document = Document::new(part, change, OPTIONS.dialog_info);
        if let Some(document) = &mut document {
            document.follow_registration(part, self.now);
        }
        self.want(document);
    }

    fn grant(&mut self, expires_s: u32) {
        let answer = Answer::Response {
            status: 200,
            entity_tag: Some("tag"),
            expires_s: Some(expires_s),
            min_expires_s: None,
            retry_after_s: None,
        };
        self.publication.handle_answer(self.now, answer, Blame::Publication, &mut self.random);
    }
}

#[test]
fn what_follows_a_registration_lasts_as_long_and_is_refreshed_with_it() {
    let mut bench = Bench::new(EventPackage::Presence);
    // The clock has nothing to do with packet time.
    bench.now = Timestamp::from_secs(9_000_000);
    let began = bench.now;
    bench.want_followed(&registered(3_600, 100));
    let initial = bench.due().unwrap();
    assert_eq!((initial.operation, initial.expires_s), (Operation::Initial, 3_500));
    bench.grant(3_500);
    assert_eq!(bench.publication.poll_timeout(), Some(began.after_s(3_500)), "no timer of its own");

    bench.now = began.after_s(1_000);
    bench.want_followed(&registered(3_600, 1_100));
    assert_eq!(bench.publication.next(bench.now), None, "the same registration");
    bench.want_followed(&registered(4_700, 1_100));
    let refresh = bench.due().unwrap();
    assert_eq!((refresh.operation, refresh.expires_s), (Operation::Refresh, 3_600));
    assert_eq!(bench.now, began.after_s(1_000));
    bench.grant(3_600);

    // A phone that asks for less, or was believed to have got more.
    bench.want_followed(&registered(1_900, 1_100));
    let refresh = bench.due().unwrap();
    assert_eq!((refresh.operation, refresh.expires_s), (Operation::Refresh, 800));
    bench.grant(800);
    bench.want_followed(&registered(4_700, 1_100));
    assert_eq!(bench.due().unwrap().operation, Operation::Refresh);
    bench.grant(3_600);

    // A call is published by the own timer, and so is what follows until it is over.
    let mut talking = registered(4_700, 1_200);
    talking.state = Arc::new(PresentityState { session: Session::Talking, ..(*talking.state).clone() });
    bench.now = began.after_s(1_100);
    bench.want_followed(&talking);
    let modify = bench.due().unwrap();
    assert_eq!((modify.operation, modify.expires_s), (Operation::Modify, 600));
    bench.grant(600);
    let refresh = bench.due().unwrap();
    assert_eq!((refresh.operation, refresh.expires_s), (Operation::Refresh, 600));
    bench.grant(600);
    let elapsed = u32::try_from(bench.now.since(began).as_secs()).unwrap();
    bench.want_followed(&registered(4_700, elapsed + 100));
    assert_eq!(bench.due().unwrap().expires_s, 4_600 - elapsed);
    bench.grant(4_600 - elapsed);

    // It ends with the registration, and is not begun anew before the tap says what is now.
    assert!(bench.due().is_none());
    bench.publication.handle_timeout(began.after_s(4_600));
    assert!(bench.publication.is_over());
}

#[test]
fn what_follows_a_registration_but_is_granted_less_goes_by_the_own_timer() {
    let mut bench = Bench::new(EventPackage::Presence);
    bench.want_followed(&registered(3_600, 0));
    bench.due().unwrap();
    bench.grant(300);
    let refresh = bench.due().unwrap();
    assert_eq!(refresh.operation, Operation::Refresh);
    assert!((200..=260).contains(&bench.since_start()), "{}", bench.since_start());
    assert_eq!(u64::from(refresh.expires_s), 3_600 - bench.since_start());
}

#[test]
fn closed_is_published_by_the_own_timer() {
    let mut bench = Bench::new(EventPackage::Presence);
    let offline = PresentityState {
        terminal: Terminal::Offline,
        registered: Terminal::Offline,
        ..PresentityState::default()
    };
    bench.want_followed(&change(offline));
    assert_eq!(bench.due().unwrap().expires_s, 600);
}

#[test]
fn a_register_carries_the_body_each_time_and_needs_no_entity_tag() {
    let options = PublicationOptions { method: PublishMethod::Register, ..OPTIONS };
    for event in EventPackage::ALL {
        let mut bench = Bench::new(event);
        bench.publication = Publication::new(alice(), whole(event), options);
        bench.want(document(event, Session::Idle, &[]));
        for operation in [Operation::Initial, Operation::Refresh] {
            let due = bench.due().unwrap();
            assert_eq!((due.operation, due.body.is_empty()), (operation, false));
            bench.answer(200);
        }
        // 412 and 500 say nothing of an entity-tag here.
        bench.want(document(event, Session::Ringing, &[view(1, DialogState::Early)]));
        for status in [500, 200] {
            let due = bench.due().unwrap();
            assert_eq!((due.operation, due.entity_tag), (Operation::Modify, None));
            bench.answer(status);
        }
        bench.want(document(event, Session::Idle, &[]));
        assert_eq!(bench.due().unwrap().operation, Operation::Modify);
        bench.answer(200);
        bench.want(None);
        let remove = bench.due().unwrap();
        assert_eq!((remove.operation, remove.expires_s), (Operation::Remove, 0));
        assert!(remove.body.is_empty());
        bench.answer(200);
        assert!(bench.publication.is_over());
    }
}

impl Bench {
    /// What is due with this server.
    fn due_at(&mut self, server: ServerId) -> Due {
        loop {
            if let Some(due) = self.publication.poll_due(self.now, server) {
                return due;
            }
            self.now = self.publication.poll_timeout().unwrap().max(self.now);
        }
    }

    fn answer_tagged(&mut self, entity_tag: &str) {
        let answer = Answer::Response {
            status: 200,
            entity_tag: Some(entity_tag),
            expires_s: Some(600),
            min_expires_s: None,
            retry_after_s: None,
        };
        self.publication.handle_answer(self.now, answer, Blame::Publication, &mut self.random);
    }
}

#[test]
fn a_server_that_shares_the_state_goes_on_with_the_publication() {
    let mut bench = published();
    bench.want(presence(Session::Talking));
    let due = bench.due_at(OTHER);
    assert_eq!((due.operation, due.entity_tag.as_deref()), (Operation::Modify, Some("tag-1")));
    bench.answer_tagged("tag-2");
    bench.want(presence(Session::Idle));
    let due = bench.due_at(SERVER);
    assert_eq!((due.operation, due.entity_tag.as_deref()), (Operation::Modify, Some("tag-2")));
}

#[test]
fn one_that_shares_none_begins_anew_and_back_at_the_first_nothing_is_doubled() {
    let mut bench = published();
    bench.want(presence(Session::Talking));
    assert_eq!(bench.due_at(OTHER).operation, Operation::Modify);
    assert_eq!(bench.answer(412), Verdict::NotShared);
    let initial = bench.due_at(OTHER);
    assert_eq!((initial.operation, initial.entity_tag), (Operation::Initial, None));
    bench.answer_tagged("other-1");
    assert!(bench.publication.is_settled());
    // Back: a refresh would leave there what was said before the failover.
    bench.publication.move_to(bench.now, SERVER);
    let due = bench.due_at(SERVER);
    assert_eq!((due.operation, due.entity_tag.as_deref()), (Operation::Modify, Some("tag-1")));
    bench.answer_tagged("tag-2");
    bench.publication.move_to(bench.now, OTHER);
    let due = bench.due_at(OTHER);
    assert_eq!((due.operation, due.entity_tag.as_deref()), (Operation::Refresh, Some("other-1")));
    bench.answer_tagged("other-2");
    // The first one's has expired: 412 would be all that it brings.
    bench.now = bench.now.after_s(550);
    bench.want(presence(Session::Ringing));
    bench.due_at(OTHER);
    bench.answer_tagged("other-3");
    bench.now = bench.now.after_s(100);
    bench.want(presence(Session::Idle));
    assert_eq!(bench.due_at(SERVER).entity_tag.as_deref(), Some("other-3"));
}

#[test]
fn what_no_server_took_goes_to_the_next_at_once_or_waits_until_one_works() {
    let mut bench = published();
    bench.want(presence(Session::Talking));
    bench.due_at(SERVER);
    let silence = |bench: &mut Bench, blame| {
        bench.publication.handle_answer(bench.now, Answer::Silence, blame, &mut bench.random);
        bench.publication.next(bench.now)
    };
    assert_eq!(silence(&mut bench, Blame::OneServer), Some(Operation::Modify));
    bench.due_at(OTHER);
    assert_eq!(silence(&mut bench, Blame::AllServers), None);
    bench.publication.handle_server_back();
    assert_eq!(bench.publication.next(bench.now), Some(Operation::Modify));
    bench.due_at(OTHER);
    assert_eq!(silence(&mut bench, Blame::Publication), None);
    bench.publication.handle_server_back();
    assert_eq!(bench.publication.next(bench.now), None, "its own failure");
}
