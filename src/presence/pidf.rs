//! Presence documents.
//! In: an AOR and its `PresentityState`. Out: PIDF with RPID. Knows nothing of publications, SIP messages.
//! RFC 3863 (PIDF), RFC 4479 (`dm:person`), RFC 4480 (RPID). Watchers in the field read only the literal prefixes
//! `dm:` and `rpid:`, and an activity only inside the person.

use std::collections::BTreeSet;

use crate::base::Timestamp;
use crate::presence::dialog_info::{dialog_alias, mark_id};
use crate::presence::pidf_read::{DialogMark, Tuple};
use crate::presence::xml::{XmlWriter, any_uri, stable_id};
use crate::presence::{BindingView, DialogView, PresentityState, Session, Terminal};
use crate::sip::Aor;
use crate::track::DialogState;

/// The body's media type.
pub const CONTENT_TYPE: &str = "application/pidf+xml";

/// Our own namespace for what PIDF and RPID have no word for.
pub const NAMESPACE: &str = "urn:offhook:presence:1";

/// Which part of a presentity's status a document tells (SPEC sections 2 and 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// Both, already consistent: for any presence server.
    #[default]
    Combined,
    /// Whether it is registered, whatever it does: for a presence server that composes.
    Terminal,
    /// What it does, whether or not it is registered: for a presence server that composes.
    Session,
}

/// A tuple's id: the same for the same binding in every tap and after every restart. An AOR without bindings has
/// one tuple, for the contact `""`.
pub fn tuple_id(aor: &Aor, contact: &str) -> String {
    stable_id('t', &[aor.as_str(), contact])
}

/// The person's id in every document about it.
pub fn person_id(aor: &Aor) -> String {
    stable_id('p', &[aor.as_str()])
}

/// What others than offhook said of a presentity, to be handed on beside what offhook says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Tuples; their ids are unique in the document.
    pub tuples: Vec<Tuple>,
    /// RPID activities of the person, by their local names, without `on-the-phone` and `unknown`.
    pub activities: Vec<String>,
    /// Notes.
    pub notes: Vec<String>,
}

/// The presence document of a presentity, or of one facet of it. `dialogs` are those that it rests on, with those that
/// are over and were listed before. `at` is the moment of the status that it tells; without one the document has no
/// timestamps, and two are equal exactly when they say the same. A terminal of which nothing is known has no tuple.
/// For `most_dialogs` see [`document_of`].
pub fn document<'a>(
    aor: &Aor,
    state: &PresentityState,
    dialogs: impl IntoIterator<Item = &'a DialogView>,
    facet: Facet,
    at: Option<Timestamp>,
    most_dialogs: usize,
) -> Vec<u8> {
    let mut ids = BTreeSet::new();
    let marks: Vec<DialogMark> = dialogs
        .into_iter()
        .filter_map(|dialog| {
            let alias = dialog_alias(dialog);
            Some(DialogMark {
                // Several phones of one call have one id as long as they have no tag.
                id: mark_id(dialog).filter(|id| dialog.local_tag.is_some() || ids.insert(id.clone()))?,
                remote_tag: alias.as_ref().and(dialog.remote_tag.as_deref()).map(str::to_owned),
                alias,
                state: dialog.state,
                held: dialog.held,
            })
        })
        .collect();
    document_of(aor, state, &marks, &Foreign::default(), facet, at, most_dialogs)
}

/// The same from dialogs as documents tell them, with what others said. It names at most `most_dialogs`: those that
/// engage the presentity most, since a presence server works the session out from them; among equals the youngest.
pub fn document_of(
    aor: &Aor,
    state: &PresentityState,
    dialogs: &[DialogMark],
    foreign: &Foreign,
    facet: Facet,
    at: Option<Timestamp>,
    most_dialogs: usize,
) -> Vec<u8> {
    let mut marks: Vec<&DialogMark> = dialogs.iter().collect();
    let too_many = marks.len().saturating_sub(most_dialogs);
    if too_many > 0 {
        marks.sort_by_key(|mark| engagement(mark));
        marks.drain(..too_many);
    }
    let mut xml = XmlWriter::new();
    let stamp = at.map(|at| at.to_string());
    xml.open(
        "presence",
        &[
            ("xmlns", Some("urn:ietf:params:xml:ns:pidf")),
            ("xmlns:dm", Some("urn:ietf:params:xml:ns:pidf:data-model")),
            ("xmlns:rpid", Some("urn:ietf:params:xml:ns:pidf:rpid")),
            ("xmlns:oh", Some(NAMESPACE)),
            ("entity", Some(aor.as_str())),
        ],
    );
    let terminal = if facet == Facet::Terminal { state.registered } else { state.terminal };
    if facet != Facet::Session && terminal != Terminal::Unknown {
        if state.bindings.is_empty() {
            tuple(&mut xml, aor, state, terminal, None, stamp.as_deref());
        }
        for binding in &state.bindings {
            tuple(&mut xml, aor, state, terminal, Some(binding), stamp.as_deref());
        }
    }
    for tuple in &foreign.tuples {
        foreign_tuple(&mut xml, tuple);
    }
    for note in &foreign.notes {
        xml.text("note", note);
    }
    let talking = facet != Facet::Terminal && matches!(state.session, Session::Talking | Session::Held);
    if talking || !foreign.activities.is_empty() {
        person(&mut xml, aor, talking, &foreign.activities, stamp.as_deref());
    }
    status(&mut xml, state, &marks, facet);
    xml.finish()
}

/// How much a dialog engages who takes part in it; the larger, the more (SPEC section 7).
const fn engagement(mark: &DialogMark) -> u8 {
    match (mark.state, mark.held) {
        (DialogState::Terminated, _) => 0,
        (DialogState::Trying, _) => 1,
        (DialogState::Early, _) => 2,
        (DialogState::Confirmed, true) => 3,
        (DialogState::Confirmed, false) => 4,
    }
}

/// RFC 3863 section 4.4: 0 to 1 with at most three digits of fraction.
fn is_qvalue(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |most| fraction.len() <= 3 && fraction.bytes().all(|digit| (b'0'..=most).contains(&digit));
    (whole == "0" && digits(b'9')) || (whole == "1" && digits(b'0'))
}

/// The person of RFC 4479 with what it does.
fn person(xml: &mut XmlWriter, aor: &Aor, talking: bool, activities: &[String], stamp: Option<&str>) {
    xml.open("dm:person", &[("id", Some(&person_id(aor)))]);
    xml.open("rpid:activities", &[]);
    if talking {
        xml.empty("rpid:on-the-phone", &[]);
    }
    for activity in activities {
        match ACTIVITIES.iter().find(|name| name.strip_prefix("rpid:") == Some(activity)) {
            Some(name) => xml.empty(name, &[]),
            None => xml.text("rpid:other", activity),
        }
    }
    xml.close();
    if let Some(stamp) = stamp {
        xml.text("dm:timestamp", stamp);
    }
    xml.close();
}

/// The activities of RFC 4480 section 3.2 that are handed on; others become `rpid:other`.
const ACTIVITIES: [&str; 24] = [
    "rpid:appointment",
    "rpid:away",
    "rpid:breakfast",
    "rpid:busy",
    "rpid:dinner",
    "rpid:holiday",
    "rpid:in-transit",
    "rpid:looking-for-work",
    "rpid:lunch",
    "rpid:meal",
    "rpid:meeting",
    "rpid:performance",
    "rpid:permanent-absence",
    "rpid:playing",
    "rpid:presentation",
    "rpid:shopping",
    "rpid:sleeping",
    "rpid:spectator",
    "rpid:steering",
    "rpid:travel",
    "rpid:tv",
    "rpid:vacation",
    "rpid:working",
    "rpid:worship",
];

fn foreign_tuple(xml: &mut XmlWriter, tuple: &Tuple) {
    xml.open("tuple", &[("id", Some(&tuple.id))]);
    xml.open("status", &[]);
    if let Some(open) = tuple.open {
        xml.text("basic", if open { "open" } else { "closed" });
    }
    xml.close();
    if let Some(terminal_type) = &tuple.terminal_type {
        xml.text("oh:terminal-type", terminal_type);
    }
    if let Some(contact) = &tuple.contact {
        let priority = tuple.priority.as_deref().filter(|priority| is_qvalue(priority));
        xml.text_with("contact", &[("priority", priority)], &any_uri(contact));
    }
    for note in &tuple.notes {
        xml.text("note", note);
    }
    xml.close();
}

/// Children in the order of RFC 3863 section 4.4: status, extensions, contact, note, timestamp.
fn tuple(
    xml: &mut XmlWriter,
    aor: &Aor,
    state: &PresentityState,
    terminal: Terminal,
    binding: Option<&BindingView>,
    stamp: Option<&str>,
) {
    let contact = binding.map(|binding| &*binding.contact);
    let id = tuple_id(aor, contact.unwrap_or_default());
    xml.open("tuple", &[("id", Some(&id))]);
    xml.open("status", &[]);
    xml.text(
        "basic",
        match terminal {
            Terminal::Online | Terminal::OfflineWaiting => "open",
            Terminal::Offline | Terminal::Unknown => "closed",
        },
    );
    xml.close();
    let user_agent = match binding {
        Some(binding) => binding.user_agent.as_deref(),
        None => state.user_agent.as_deref(),
    };
    if let Some(user_agent) = user_agent {
        xml.text("oh:terminal-type", user_agent);
    }
    if let Some(contact) = contact {
        xml.text("contact", &any_uri(contact));
    }
    if let Some(stamp) = stamp {
        xml.text("timestamp", stamp);
    }
    xml.close();
}

/// The status in our own words, how far it is to be believed, and the dialogs that it rests on: what a presence server
/// composes. `registered` is what the registrations alone say.
fn status(xml: &mut XmlWriter, state: &PresentityState, dialogs: &[&DialogMark], facet: Facet) {
    let of_terminal = |value| if facet == Facet::Session { None } else { Some(value) };
    let of_session = |value| if facet == Facet::Terminal { None } else { Some(value) };
    let combined = facet == Facet::Combined;
    xml.open(
        "oh:status",
        &[
            ("terminal", Some(state.terminal.name()).filter(|_| combined)),
            ("registered", of_terminal(state.registered.name())),
            ("session", of_session(state.session.name())),
            ("session-type", state.session_type.as_deref().and_then(of_session)),
            ("watching", of_terminal(if state.watching { "true" } else { "false" })),
            ("confidence", Some(state.confidence.name())),
        ],
    );
    if facet != Facet::Terminal {
        for media in state.media.iter() {
            let clock_rate = media.clock_rate_hz.map(|rate| rate.to_string());
            let bit_rate = media.bit_rate.map(|rate| rate.to_string());
            xml.empty(
                "oh:media",
                &[
                    ("type", Some(&media.kind)),
                    ("codec", media.codec.as_deref()),
                    ("clock-rate", clock_rate.as_deref()),
                    ("bit-rate", bit_rate.as_deref()),
                ],
            );
        }
        for dialog in dialogs {
            xml.empty(
                "oh:dialog",
                &[
                    ("id", Some(&dialog.id)),
                    ("alias", dialog.alias.as_deref()),
                    ("remote-tag", dialog.remote_tag.as_deref()),
                    ("state", Some(dialog.state.name())),
                    ("held", Some("true").filter(|_| dialog.held)),
                ],
            );
        }
    }
    xml.close();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::presence::pidf_read;
    use crate::track::Media;

    fn alice() -> Aor {
        Aor::from_uri(b"sip:alice@example.com").unwrap()
    }

    fn text(state: &PresentityState) -> String {
        let at = Timestamp::from_nanos(1_795_327_681_123_456_000);
        let body = document(&alice(), state, &state.dialogs, Facet::Combined, Some(at), 16);
        String::from_utf8(body).unwrap().replace("><", ">\n<")
    }

    #[test]
    fn talking_is_on_the_phone_inside_the_person() {
        let state = PresentityState {
            terminal: Terminal::Online,
            registered: Terminal::Online,
            session: Session::Talking,
            session_type: Some("call".into()),
            media: Arc::new([Media {
                kind: "audio".into(),
                codec: Some("PCMU".into()),
                clock_rate_hz: Some(8_000),
                bit_rate: Some(64_000),
            }]),
            bindings: vec![BindingView {
                contact: "sip:alice@192.0.2.1:5060".into(),
                user_agent: Some("Phone <1> & Co".into()),
                expires_at: Timestamp::MAX,
            }],
            ..PresentityState::default()
        };
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:oh="urn:offhook:presence:1" entity="sip:alice@example.com">
<tuple id="TUPLE">
<status>
<basic>open</basic>
</status>
<oh:terminal-type>Phone &lt;1&gt; &amp; Co</oh:terminal-type>
<contact>sip:alice@192.0.2.1:5060</contact>
<timestamp>2026-11-22T06:08:01.123456Z</timestamp>
</tuple>
<dm:person id="PERSON">
<rpid:activities>
<rpid:on-the-phone/>
</rpid:activities>
<dm:timestamp>2026-11-22T06:08:01.123456Z</dm:timestamp>
</dm:person>
<oh:status terminal="online" registered="online" session="talking" session-type="call" watching="false" confidence="full">
<oh:media type="audio" codec="PCMU" clock-rate="8000" bit-rate="64000"/>
</oh:status>
</presence>"#
            .replace("TUPLE", &tuple_id(&alice(), "sip:alice@192.0.2.1:5060"))
            .replace("PERSON", &stable_id('p', &["sip:alice@example.com"]));
        assert_eq!(text(&state), expected);
    }

    #[test]
    fn without_a_binding_there_is_one_tuple_without_contact() {
        let state = PresentityState {
            terminal: Terminal::Offline,
            registered: Terminal::Offline,
            ..PresentityState::default()
        };
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:oh="urn:offhook:presence:1" entity="sip:alice@example.com">
<tuple id="TUPLE">
<status>
<basic>closed</basic>
</status>
<timestamp>2026-11-22T06:08:01.123456Z</timestamp>
</tuple>
<oh:status terminal="offline" registered="offline" session="idle" watching="false" confidence="full">
</oh:status>
</presence>"#
            .replace("TUPLE", &tuple_id(&alice(), ""));
        assert_eq!(text(&state), expected);
    }

    #[test]
    fn of_too_many_dialogs_the_most_engaging_are_named_and_of_these_the_youngest() {
        let mut dialogs = vec![DialogView::numbered(0, DialogState::Confirmed)];
        dialogs.extend((1..2_000).map(|number| DialogView::numbered(number, DialogState::Early)));
        dialogs.push(DialogView::numbered(2_000, DialogState::Terminated));
        let state = PresentityState { session: Session::Talking, dialogs, ..PresentityState::default() };
        let read = pidf_read::read(text(&state).as_bytes()).unwrap().status.unwrap();
        let named: Vec<String> = read.dialogs.into_iter().map(|mark| mark.id).collect();
        let ids = |numbers: std::ops::Range<usize>| {
            state.dialogs[numbers].iter().map(|dialog| mark_id(dialog).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(named, [ids(1_985..2_000), ids(0..1)].concat());
    }

    #[test]
    fn a_phone_that_rings_without_a_tag_is_marked_once_and_when_it_is_over_not_at_all() {
        let dialog = |number: u64, local_tag: Option<&str>, state| DialogView {
            call_id: if local_tag.is_some() { "call-1".into() } else { "call-2".into() },
            local_tag: local_tag.map(Into::into),
            ..DialogView::numbered(number, state)
        };
        let marks = |ringing| {
            let dialogs = vec![
                dialog(1, Some("a"), DialogState::Confirmed),
                dialog(2, None, ringing),
                dialog(3, None, ringing),
            ];
            let state = PresentityState { session: Session::Talking, dialogs, ..PresentityState::default() };
            let read = pidf_read::read(text(&state).as_bytes()).unwrap().status.unwrap();
            read.dialogs.iter().map(|mark| mark.state).collect::<Vec<_>>()
        };
        assert_eq!(marks(DialogState::Early), [DialogState::Confirmed, DialogState::Early]);
        assert_eq!(marks(DialogState::Terminated), [DialogState::Confirmed]);
    }

    #[test]
    fn basic_and_activity_of_every_status() {
        for (terminal, basic) in
            [(Terminal::Online, "open"), (Terminal::OfflineWaiting, "open"), (Terminal::Offline, "closed")]
        {
            for session in
                [Session::Idle, Session::Calling, Session::Ringing, Session::Held, Session::Talking]
            {
                let text = text(&PresentityState { terminal, session, ..PresentityState::default() });
                assert!(text.contains(&format!("<basic>{basic}</basic>")));
                let busy = matches!(session, Session::Held | Session::Talking);
                assert_eq!(text.contains("<rpid:on-the-phone/>"), busy);
            }
        }
    }
}
