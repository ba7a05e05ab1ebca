//! What several publications make of one presentity.

use super::*;
use crate::presence::pidf::Facet;
use crate::presence::{EventPackage, Session, Terminal};
use crate::track::{DialogState, Side};

fn confirmed() -> crate::presence::DialogView {
    dialog(1, DialogState::Confirmed)
}

fn over() -> crate::presence::DialogView {
    dialog(1, DialogState::Terminated)
}

/// A phone's own document: no ids of ours, no word of ours.
fn phone(open: Option<bool>, activity: Option<&str>) -> Vec<u8> {
    let tuple = match open {
        Some(true) => "<tuple id=\"me\"><status><basic>open</basic></status><note>at my desk</note></tuple>",
        Some(false) => "<tuple id=\"me\"><status><basic>closed</basic></status></tuple>",
        None => "",
    };
    let person = activity.map_or_else(String::new, |activity| {
        format!("<dm:person id=\"p\"><rpid:activities><rpid:{activity}/></rpid:activities></dm:person>")
    });
    format!(
        "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         entity=\"sip:alice@example.com\">{tuple}{person}</presence>"
    )
    .into_bytes()
}

/// Alice's terminal and session, published apart as system A does.
struct Apart {
    bench: Bench,
    terminal: Published,
    session: Published,
}

impl Apart {
    fn new() -> Self {
        Self {
            bench: Bench::new(),
            terminal: Published::presence(Facet::Terminal),
            session: Published::presence(Facet::Session),
        }
    }

    fn online(mut self) -> Self {
        self.terminal.say(&mut self.bench, &Known::online());
        self
    }

    fn offline(mut self) -> Self {
        self.terminal.say(&mut self.bench, &Known::offline());
        self
    }

    fn session(mut self, dialogs: &[crate::presence::DialogView]) -> Self {
        self.session.say(&mut self.bench, &Known::default().with(dialogs));
        self
    }

    fn talking(self) -> Self {
        self.session(&[confirmed()])
    }

    /// Another call each time: one that is over does not come back.
    fn calling(self) -> Self {
        self.session(&[dialog(2, DialogState::Trying)])
    }

    fn idle(self) -> Self {
        self.session(&[])
    }

    fn is(self, terminal: Terminal, session: Session) -> Self {
        assert_eq!(self.bench.status(), (terminal, session));
        self
    }
}

#[test]
fn the_consistency_table_row_by_row() {
    use Session::{Calling, Idle, Talking};
    use Terminal::{Offline, OfflineWaiting, Online, Unknown};
    // online, whatever was.
    Apart::new().online().is(Online, Idle);
    Apart::new().offline().online().is(Online, Idle);
    Apart::new().online().talking().offline().online().is(Online, Talking);
    // online clears what was only inferred: the end of the talk does not take it back.
    Apart::new().talking().is(Online, Talking).online().idle().is(Online, Idle);
    // offline while talking waits; else it is offline at once.
    Apart::new().online().talking().offline().is(OfflineWaiting, Talking);
    Apart::new().online().offline().is(Offline, Idle);
    Apart::new().online().calling().offline().is(Offline, Calling);
    // Who talks is there; and is what it was before when the talk ends.
    Apart::new().talking().is(Online, Talking).idle().is(Unknown, Idle);
    Apart::new().offline().talking().is(Online, Talking).idle().is(Offline, Idle);
    Apart::new().online().talking().is(Online, Talking).idle().is(Online, Idle);
    // The end of a talk ends the wait, and so does another call that has not been answered.
    Apart::new().online().talking().offline().idle().is(Offline, Idle);
    Apart::new().online().talking().offline().calling().is(Offline, Calling);
    Apart::new().online().talking().calling().is(Online, Calling);
    // Held is talking.
    let held = crate::presence::DialogView { held: true, ..confirmed() };
    Apart::new()
        .online()
        .session(&[held])
        .is(Online, Session::Held)
        .offline()
        .is(OfflineWaiting, Session::Held);
}

#[test]
fn a_word_that_expires_or_is_removed_is_withdrawn_unknown_not_offline() {
    let mut apart = Apart::new().online().talking();
    apart.terminal.remove(&mut apart.bench);
    let mut apart = apart.is(Terminal::Online, Session::Talking).idle().is(Terminal::Unknown, Session::Idle);
    apart.terminal.expires_s = 60;
    let mut apart = apart.offline().is(Terminal::Offline, Session::Idle);
    apart.bench.pass(Duration::from_secs(60));
    let mut apart = apart.is(Terminal::Unknown, Session::Idle);
    apart.bench.pass(Duration::from_secs(10_000));
    assert!(apart.bench.server.state(&alice()).is_none(), "nothing is left of who is not published");
    assert_eq!(apart.bench.server.counters().presentities, 0);
}

#[test]
fn one_tap_sees_registrations_and_another_calls() {
    let mut bench = Bench::new();
    let (mut one, mut other) = (Published::presence(Facet::Combined), Published::presence(Facet::Combined));
    one.say(&mut bench, &Known::online());
    other.say(&mut bench, &Known::default().with(&[confirmed()]));
    assert_eq!(bench.status(), (Terminal::Online, Session::Talking));
    // The first, which hears no calls, goes on saying idle, and the phone is unregistered meanwhile.
    one.say(&mut bench, &Known::offline());
    assert_eq!(bench.status(), (Terminal::OfflineWaiting, Session::Talking));
    other.say(&mut bench, &Known::default());
    assert_eq!(bench.status(), (Terminal::Offline, Session::Idle));
}

#[test]
fn a_tap_that_missed_the_bye_does_not_keep_the_call_up() {
    let mut bench = Bench::new();
    let (mut one, mut other) = (Published::presence(Facet::Combined), Published::dialog());
    one.say(&mut bench, &Known::online().with(&[confirmed()]));
    other.say(&mut bench, &Known::default().with(&[confirmed()]));
    other.say(&mut bench, &Known::default().with(&[over()]));
    assert_eq!(bench.status(), (Terminal::Online, Session::Idle));
    // Neither its refresh nor its next document nor its next publication revives it.
    other.say(&mut bench, &Known::default());
    one.refresh(&mut bench);
    one.say(&mut bench, &Known::online().with(&[crate::presence::DialogView { held: true, ..confirmed() }]));
    one.remove(&mut bench);
    other.remove(&mut bench);
    bench.pass(Duration::from_secs(60));
    one.say(&mut bench, &Known::online().with(&[confirmed()]));
    assert_eq!(bench.status(), (Terminal::Online, Session::Idle));
    // Another call counts.
    one.say(&mut bench, &Known::online().with(&[confirmed(), dialog(2, DialogState::Confirmed)]));
    assert_eq!(bench.status(), (Terminal::Online, Session::Talking));
}

#[test]
fn a_bye_that_is_told_before_the_call_is_final_too() {
    let mut bench = Bench::new();
    Published::dialog().say(&mut bench, &Known::default().with(&[over()]));
    Published::presence(Facet::Combined).say(&mut bench, &Known::online().with(&[confirmed()]));
    assert_eq!(bench.status(), (Terminal::Online, Session::Idle));
}

#[test]
fn a_caller_whose_answer_one_tap_missed_is_one_dialog() {
    let mut bench = Bench::new();
    let trying = crate::presence::DialogView { remote_tag: None, ..dialog(1, DialogState::Trying) };
    let mut deaf = Published::dialog();
    deaf.say(&mut bench, &Known::default().with(&[trying]));
    assert_eq!(bench.status().1, Session::Calling);
    let mut other = Published::presence(Facet::Session);
    other.say(&mut bench, &Known::default().with(&[confirmed()]));
    assert_eq!(bench.status().1, Session::Talking);
    let watched =
        bench.ask("SUBSCRIBE", &[("Event", "dialog"), ("Contact", "<sip:peer@192.0.2.7:5070>")], b"");
    assert_eq!(
        watched[1].body().matches("<dialog ").count(),
        2,
        "the placeholder and one: {}",
        watched[1].text
    );
    // It is over under both of its names.
    other.say(&mut bench, &Known::default().with(&[over()]));
    assert_eq!(bench.status().1, Session::Idle);
}

#[test]
fn a_fork_that_ends_leaves_the_other_branch_up() {
    let mut bench = Bench::new();
    let branch =
        |tag: &str, state| crate::presence::DialogView { remote_tag: Some(tag.into()), ..dialog(1, state) };
    let mut tap = Published::dialog();
    let both = [branch("b", DialogState::Confirmed), branch("c", DialogState::Confirmed)];
    tap.say(&mut bench, &Known::default().with(&both));
    tap.say(&mut bench, &Known::default().with(&[branch("b", DialogState::Terminated), both[1].clone()]));
    assert_eq!(bench.status().1, Session::Talking);
    tap.say(&mut bench, &Known::default().with(&[branch("c", DialogState::Terminated)]));
    assert_eq!(bench.status().1, Session::Idle);
}

#[test]
fn a_dialog_never_goes_back_and_hold_is_the_newest_word() {
    let mut bench = Bench::new();
    let (mut one, mut other) = (Published::dialog(), Published::dialog());
    let called = |state| crate::presence::DialogView { side: Side::Called, ..dialog(1, state) };
    one.say(&mut bench, &Known::default().with(&[called(DialogState::Confirmed)]));
    other.say(&mut bench, &Known::default().with(&[called(DialogState::Early)]));
    assert_eq!(bench.status().1, Session::Talking, "a late word on the ringing");
    other.say(&mut bench, &Known::default().with(&[called(DialogState::Confirmed)]));
    let held = crate::presence::DialogView { held: true, ..called(DialogState::Confirmed) };
    one.say(&mut bench, &Known::default().with(&[held]));
    assert_eq!(bench.status().1, Session::Held);
    other.refresh(&mut bench);
    assert_eq!(bench.status().1, Session::Held, "a refresh is no change");
}

#[test]
fn a_restarted_publisher_makes_no_double() {
    let mut bench = Bench::new();
    let known = Known::online().with(&[confirmed()]);
    let (mut orphan, mut orphan_dialogs) = (Published::presence(Facet::Combined), Published::dialog());
    orphan.expires_s = 60;
    orphan_dialogs.expires_s = 60;
    orphan.say(&mut bench, &known);
    orphan_dialogs.say(&mut bench, &known);
    let (mut again, mut again_dialogs) = (Published::presence(Facet::Combined), Published::dialog());
    again.say(&mut bench, &known);
    again_dialogs.say(&mut bench, &known);
    for (package, element) in [("presence", "<tuple "), ("dialog", "call-id=")] {
        let headers = [("Event", package), ("Expires", "0"), ("Contact", "<sip:peer@192.0.2.7:5070>")];
        let fetched = bench.ask("SUBSCRIBE", &headers, b"");
        assert_eq!(fetched[1].body().matches(element).count(), 1, "{}", fetched[1].text);
    }
    again.say(&mut bench, &Known::online());
    again_dialogs.say(&mut bench, &Known::online().with(&[over()]));
    assert_eq!(bench.status(), (Terminal::Online, Session::Idle), "what ended after the restart is over");
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.status(), (Terminal::Online, Session::Idle), "the orphans took nothing with them");
}

#[test]
fn two_bindings_are_online_until_the_last_goes() {
    let mut bench = Bench::new();
    let (mut one, mut other) = (Published::presence(Facet::Terminal), Published::presence(Facet::Terminal));
    one.say(&mut bench, &Known::online());
    other.say(&mut bench, &Known { contacts: vec!["sip:alice@192.0.2.51"], ..Known::online() });
    one.say(&mut bench, &Known::offline());
    assert_eq!(bench.status().0, Terminal::Online);
    other.say(&mut bench, &Known::offline());
    assert_eq!(bench.status().0, Terminal::Offline);
}

#[test]
fn an_online_that_only_follows_from_talking_is_no_registration() {
    let mut bench = Bench::new();
    let (mut one, mut other) = (Published::presence(Facet::Combined), Published::presence(Facet::Combined));
    other.say(&mut bench, &Known::offline());
    one.say(&mut bench, &Known::default().with(&[confirmed()]));
    assert_eq!(bench.status(), (Terminal::Online, Session::Talking));
    one.say(&mut bench, &Known::default());
    assert_eq!(bench.status(), (Terminal::Offline, Session::Idle));
}

#[test]
fn a_phone_publishes_beside_the_tap_and_the_newest_change_counts() {
    let mut bench = Bench::new();
    let (mut tap, mut own) = (Published::presence(Facet::Combined), Published::presence(Facet::Combined));
    tap.say(&mut bench, &Known::online());
    own.raw(&mut bench, &phone(Some(false), None));
    assert_eq!(bench.status(), (Terminal::Offline, Session::Idle), "the phone's word is the newer");
    tap.refresh(&mut bench);
    tap.say(&mut bench, &Known::online().with(&[confirmed()]));
    assert_eq!(bench.status(), (Terminal::Online, Session::Talking), "inferred; facets compose separately");
    own.raw(&mut bench, &phone(Some(true), Some("away")));
    assert_eq!(bench.status(), (Terminal::Online, Session::Talking));
    tap.say(&mut bench, &Known::offline());
    assert_eq!(bench.status(), (Terminal::Offline, Session::Idle));
    own.raw(&mut bench, &phone(Some(true), Some("on-the-phone")));
    assert_eq!(bench.status(), (Terminal::Online, Session::Talking), "inferred");
    own.raw(&mut bench, &phone(None, None));
    assert_eq!(bench.status(), (Terminal::Offline, Session::Idle), "no word, so the tap's");
}

#[test]
fn what_a_phone_says_of_itself_is_handed_on() {
    let mut bench = Bench::new();
    Published::presence(Facet::Combined).say(&mut bench, &Known::online());
    for _ in 0..2 {
        Published::presence(Facet::Combined).raw(&mut bench, &phone(Some(true), Some("meeting")));
    }
    let headers = [("Event", "presence"), ("Expires", "0"), ("Contact", "<sip:peer@192.0.2.7:5070>")];
    let fetched = bench.ask("SUBSCRIBE", &headers, b"");
    let document = crate::presence::pidf_read::read(fetched[1].body().as_bytes()).unwrap();
    assert_eq!(document.activities, ["meeting"]);
    assert_eq!(document.tuples.len(), 3, "two phones with the same id, and the binding: {}", fetched[1].text);
    assert!(document.tuples[1].id == "me" && document.tuples[2].id != "me");
    assert_eq!(document.tuples[1].notes, ["at my desk"]);
}

#[test]
fn a_phones_partial_dialog_documents_add_up() {
    let mut bench = Bench::new();
    let mut own = Published::dialog();
    let document = |state: &str, dialogs: &str| {
        format!(
            "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"{state}\" \
             entity=\"sip:alice@example.com\">{dialogs}</dialog-info>"
        )
        .into_bytes()
    };
    let dialog = |id: &str, state: &str| {
        format!("<dialog id=\"{id}\" direction=\"recipient\"><state>{state}</state></dialog>")
    };
    own.raw(&mut bench, &document("full", &dialog("1", "confirmed")));
    own.raw(&mut bench, &document("partial", &dialog("2", "early")));
    assert_eq!(bench.status().1, Session::Talking);
    own.raw(&mut bench, &document("partial", &dialog("1", "terminated")));
    assert_eq!(bench.status().1, Session::Ringing);
    own.raw(&mut bench, &document("full", ""));
    assert_eq!(bench.status().1, Session::Idle);
    // Its ids mean something in its own documents only, and it may use them again.
    own.raw(&mut bench, &document("partial", &dialog("1", "confirmed")));
    assert_eq!(bench.status().1, Session::Talking);
}

#[test]
fn a_session_without_a_named_dialog_counts_as_one() {
    let mut bench = Bench::new();
    let state = PresentityState {
        session: Session::Talking,
        registered: Terminal::Unknown,
        ..PresentityState::default()
    };
    let body = crate::presence::pidf::document(&alice(), &state, [], Facet::Session, None, 16);
    Published::presence(Facet::Session).raw(&mut bench, &body);
    assert_eq!(bench.status(), (Terminal::Online, Session::Talking));
}

#[test]
fn watchers_of_either_package_see_one_presentity() {
    let mut bench = Bench::new();
    let mut tap = Published::dialog();
    tap.say(&mut bench, &Known::default().with(&[confirmed()]));
    let headers = [("Event", "presence"), ("Expires", "0"), ("Contact", "<sip:peer@192.0.2.7:5070>")];
    let fetched = bench.ask("SUBSCRIBE", &headers, b"");
    assert!(fetched[1].body().contains("<rpid:on-the-phone/>"), "{}", fetched[1].text);
    assert!(fetched[1].body().contains("<basic>open</basic>"), "who talks is there");
    assert_eq!(tap.package, EventPackage::Dialog);
}

#[test]
fn a_dialog_whose_end_was_revoked_goes_on_in_both_packages() {
    for first in ["presence", "dialog"] {
        let mut bench = Bench::new();
        let mut taps = [Published::presence(Facet::Combined), Published::dialog()];
        if first == "dialog" {
            taps.reverse();
        }
        let again = crate::presence::DialogView { revoked_ends: 1, ..confirmed() };
        // A second tap did not see the sign of life, and goes on saying that it is over.
        let mut other = Published::dialog();
        let mut step = |dialogs: &[crate::presence::DialogView]| {
            for tap in &mut taps {
                tap.say(&mut bench, &Known::online().with(dialogs));
            }
            bench.status().1
        };
        assert_eq!(step(&[confirmed()]), Session::Talking);
        assert_eq!(step(&[over()]), Session::Idle);
        assert_eq!(step(&[over(), again.clone()]), Session::Talking);
        other.say(&mut bench, &Known::online().with(&[over()]));
        assert_eq!(bench.status(), (Terminal::Online, Session::Talking));
        let headers = [("Event", "dialog"), ("Contact", "<sip:peer@192.0.2.7:5070>")];
        let told = bench.ask("SUBSCRIBE", &headers, b"").remove(1);
        let id = crate::presence::dialog_info::dialog_id(&again).unwrap();
        assert_eq!(told.body().matches("<state>confirmed</state>").count(), 1, "{}", told.body());
        assert!(told.body().contains(&format!("id=\"{id}\" call-id=")), "{}", told.body());
        // Its own end is final.
        for tap in &mut taps {
            let over = crate::presence::DialogView { state: DialogState::Terminated, ..again.clone() };
            tap.say(&mut bench, &Known::online().with(&[over]));
        }
        other.say(&mut bench, &Known::online().with(&[again]));
        assert_eq!(bench.status(), (Terminal::Online, Session::Idle));
    }
}

#[test]
fn to_say_the_same_again_is_no_change() {
    let mut bench = Bench::new();
    let (mut one, mut other) = (Published::presence(Facet::Combined), Published::presence(Facet::Combined));
    one.raw(&mut bench, &phone(Some(false), None));
    other.raw(&mut bench, &phone(Some(true), Some("on-the-phone")));
    assert_eq!(bench.status(), (Terminal::Online, Session::Talking));
    one.raw(&mut bench, &phone(Some(false), None));
    assert_eq!(bench.status(), (Terminal::Online, Session::Talking), "closed is the older word");
    one.raw(&mut bench, &phone(Some(true), None));
    one.raw(&mut bench, &phone(Some(false), None));
    assert_eq!(bench.status().0, Terminal::OfflineWaiting, "closed is the newer word");
    // Nor does one that changed in another thing say its old word anew.
    one.raw(&mut bench, &phone(Some(true), None));
    other.raw(&mut bench, &phone(Some(false), Some("on-the-phone")));
    one.raw(&mut bench, &phone(Some(true), Some("meeting")));
    assert_eq!(bench.status().0, Terminal::OfflineWaiting, "only the activity is new");
}

#[test]
fn what_is_told_of_a_session_is_what_was_told_of_it_last() {
    let mut bench = Bench::new();
    let mut taps = [Published::presence(Facet::Combined), Published::presence(Facet::Combined)];
    let document = |session_type: &str| {
        let document = String::from_utf8(Known::online().with(&[confirmed()]).pidf(Facet::Combined)).unwrap();
        let attribute = format!("session=\"talking\" session-type=\"{session_type}\"");
        document.replace("session=\"talking\"", &attribute).into_bytes()
    };
    for (tap, session_type) in [(0, "call"), (1, "voicemail"), (0, "call")] {
        taps[tap].raw(&mut bench, &document(session_type));
    }
    let told = |bench: &Bench| bench.server.state(&alice()).unwrap().session_type.clone();
    assert_eq!(told(&bench).as_deref(), Some("voicemail"), "the first only said the same again");
    taps[0].raw(&mut bench, &document("conference"));
    assert_eq!(told(&bench).as_deref(), Some("conference"));
}

#[test]
fn a_dialog_that_is_over_stays_over_for_as_long_as_somebody_believes_in_it() {
    let mut bench = Bench::new();
    let (mut believer, mut other) = (Published::presence(Facet::Session), Published::dialog());
    believer.say(&mut bench, &Known::default().with(&[confirmed()]));
    other.say(&mut bench, &Known::default().with(&[over()]));
    other.remove(&mut bench);
    for round in 0..20 {
        bench.pass(Duration::from_secs(500));
        believer.refresh(&mut bench);
        // Something changes now and then.
        let mut third = Published::presence(Facet::Terminal);
        third.say(&mut bench, &Known::online());
        assert_eq!(bench.status(), (Terminal::Online, Session::Idle), "after {round} refreshes");
        third.remove(&mut bench);
    }
}

#[test]
fn a_registration_that_is_withdrawn_while_a_talk_turned_into_a_ring_is_unknown_at_the_end() {
    let mut apart = Apart::new().offline().talking().calling().is(Terminal::Online, Session::Calling);
    apart.terminal.remove(&mut apart.bench);
    // Online only follows from the talk, and that ends when it is idle.
    apart.is(Terminal::Online, Session::Calling).idle().is(Terminal::Unknown, Session::Idle);
}
