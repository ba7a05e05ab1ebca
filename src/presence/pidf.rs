//! Presence documents.
//! In: an AOR and its `PresentityState`. Out: PIDF with RPID. Knows nothing of publications, SIP messages.
//! RFC 3863 (PIDF), RFC 4479 (`dm:person`), RFC 4480 (RPID). Watchers in the field read only the literal prefixes
//! `dm:` and `rpid:`, and an activity only inside the person.

use crate::base::Timestamp;
use crate::presence::xml::{XmlWriter, stable_id};
use crate::presence::{BindingView, PresentityState, Session, Terminal};
use crate::sip::Aor;

/// The body's media type.
pub const CONTENT_TYPE: &str = "application/pidf+xml";

/// Our own namespace for what PIDF and RPID have no word for.
pub const NAMESPACE: &str = "urn:offhook:presence:1";

/// A tuple's id: the same for the same binding in every tap and after every restart. An AOR without bindings has
/// one tuple, for the contact `""`.
pub fn tuple_id(aor: &Aor, contact: &str) -> String {
    stable_id('t', &[aor.as_str(), contact])
}

/// The presence document of a presentity. `at` is the moment of the status that it tells; without one the
/// document has no timestamps, and two are equal exactly when they say the same.
pub fn document(aor: &Aor, state: &PresentityState, at: Option<Timestamp>) -> Vec<u8> {
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
    if state.bindings.is_empty() {
        tuple(&mut xml, aor, state, None, stamp.as_deref());
    }
    for binding in &state.bindings {
        tuple(&mut xml, aor, state, Some(binding), stamp.as_deref());
    }
    if matches!(state.session, Session::Talking | Session::Held) {
        let id = stable_id('p', &[aor.as_str()]);
        xml.open("dm:person", &[("id", Some(&id))]);
        xml.open("rpid:activities", &[]);
        xml.empty("rpid:on-the-phone", &[]);
        xml.close();
        if let Some(stamp) = &stamp {
            xml.text("dm:timestamp", stamp);
        }
        xml.close();
    }
    status(&mut xml, state);
    xml.finish()
}

/// Children in the order of RFC 3863 section 4.4: status, extensions, contact, note, timestamp.
fn tuple(
    xml: &mut XmlWriter,
    aor: &Aor,
    state: &PresentityState,
    binding: Option<&BindingView>,
    stamp: Option<&str>,
) {
    let contact = binding.map(|binding| &*binding.contact);
    let id = tuple_id(aor, contact.unwrap_or_default());
    xml.open("tuple", &[("id", Some(&id))]);
    xml.open("status", &[]);
    xml.text(
        "basic",
        match state.terminal {
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
        xml.text("contact", contact);
    }
    if let Some(stamp) = stamp {
        xml.text("timestamp", stamp);
    }
    xml.close();
}

/// What the session is, how far all this is to be believed.
fn status(xml: &mut XmlWriter, state: &PresentityState) {
    xml.open(
        "oh:status",
        &[
            ("terminal", Some(state.terminal.name())),
            ("session", Some(state.session.name())),
            ("session-type", state.session_type.as_deref()),
            ("watching", Some(if state.watching { "true" } else { "false" })),
            ("confidence", Some(state.confidence.name())),
        ],
    );
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
    xml.close();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::track::Media;

    fn alice() -> Aor {
        Aor::from_uri(b"sip:alice@example.com").unwrap()
    }

    fn text(state: &PresentityState) -> String {
        let at = Timestamp::from_nanos(1_795_327_681_123_456_000);
        let body = document(&alice(), state, Some(at));
        String::from_utf8(body).unwrap().replace("><", ">\n<")
    }

    #[test]
    fn talking_is_on_the_phone_inside_the_person() {
        let state = PresentityState {
            terminal: Terminal::Online,
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
<oh:status terminal="online" session="talking" session-type="call" watching="false" confidence="full">
<oh:media type="audio" codec="PCMU" clock-rate="8000" bit-rate="64000"/>
</oh:status>
</presence>"#
            .replace("TUPLE", &tuple_id(&alice(), "sip:alice@192.0.2.1:5060"))
            .replace("PERSON", &stable_id('p', &["sip:alice@example.com"]));
        assert_eq!(text(&state), expected);
    }

    #[test]
    fn without_a_binding_there_is_one_tuple_without_contact() {
        let state = PresentityState { terminal: Terminal::Offline, ..PresentityState::default() };
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:oh="urn:offhook:presence:1" entity="sip:alice@example.com">
<tuple id="TUPLE">
<status>
<basic>closed</basic>
</status>
<timestamp>2026-11-22T06:08:01.123456Z</timestamp>
</tuple>
<oh:status terminal="offline" session="idle" watching="false" confidence="full">
</oh:status>
</presence>"#
            .replace("TUPLE", &tuple_id(&alice(), ""));
        assert_eq!(text(&state), expected);
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
