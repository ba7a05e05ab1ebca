//! What we write obeys the schemas, and reading it gives back what was written.

use std::collections::BTreeSet;

use offhook::presence::dialog_info::{self, dialog_alias, dialog_id, mark_id};
use offhook::presence::dialog_info_read;
use offhook::presence::pidf::{self, Facet, tuple_id};
use offhook::presence::pidf_read::{self, DialogMark, StatusElement};
use offhook::presence::{Session, Terminal};
use offhook::track::{DialogState, Side};
use proptest::prelude::*;

use crate::making;
use crate::xml_rules::{check_dialog_info, check_pidf};

/// A text as it comes back: no control characters, no blanks around it.
fn back(text: &str) -> String {
    let illegal = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.replace(illegal, "\u{fffd}").trim().to_owned()
}

/// A URI as it comes back: what makes it none is escaped.
fn uri_back(uri: &str) -> String {
    let mut parts = uri.split('#');
    let mut escaped = parts.next().unwrap().to_owned();
    let rest: Vec<&str> = parts.collect();
    if !rest.is_empty() {
        escaped = format!("{escaped}#{}", rest.join("%23"));
    }
    let mut out = String::new();
    for (number, piece) in escaped.split('%').enumerate() {
        let is_escape = piece.len() >= 2 && piece.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        out.push_str(match number {
            0 => "",
            _ if is_escape => "%",
            _ => "%25",
        });
        out.push_str(piece);
    }
    back(&out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn every_presence_document_is_valid_and_gives_back_what_was_written(
        aor in making::aor(), state in making::state(), facet in making::facet(), at in making::moment()
    ) {
        let body = pidf::document(&aor, &state, &state.dialogs, facet, at, 16);
        let shown = String::from_utf8_lossy(&body).into_owned();
        prop_assert_eq!(check_pidf(&body), Ok(()), "{}", shown);
        let read = pidf_read::read(&body).unwrap();
        prop_assert_eq!(&read.entity, aor.as_str());
        prop_assert!(read.notes.is_empty());

        let terminal = if facet == Facet::Terminal { state.registered } else { state.terminal };
        let open = matches!(terminal, Terminal::Online | Terminal::OfflineWaiting);
        let written: Vec<_> = match facet {
            Facet::Session => Vec::new(),
            _ if terminal == Terminal::Unknown => Vec::new(),
            _ if state.bindings.is_empty() => vec![(tuple_id(&aor, ""), None, &state.user_agent)],
            _ => state.bindings.iter().map(|binding| {
                (tuple_id(&aor, &binding.contact), Some(uri_back(&binding.contact)), &binding.user_agent)
            }).collect(),
        };
        prop_assert_eq!(read.tuples.len(), written.len());
        for (tuple, (id, contact, user_agent)) in read.tuples.iter().zip(written) {
            prop_assert_eq!(&tuple.id, &id);
            prop_assert_eq!(&tuple.contact, &contact);
            prop_assert_eq!(tuple.open, Some(open));
            prop_assert_eq!(&tuple.terminal_type, &user_agent.as_deref().map(back));
        }

        let on_the_phone = facet != Facet::Terminal && matches!(state.session, Session::Talking | Session::Held);
        prop_assert_eq!(read.activities, if on_the_phone { vec!["on-the-phone"] } else { vec![] });

        let of_terminal = facet != Facet::Session;
        let of_session = facet != Facet::Terminal;
        let mut expected = StatusElement {
            terminal: Some(state.terminal).filter(|_| facet == Facet::Combined),
            registered: Some(state.registered).filter(|_| of_terminal),
            session: Some(state.session).filter(|_| of_session),
            session_type: state.session_type.as_deref().map(back).filter(|_| of_session),
            watching: Some(state.watching).filter(|_| of_terminal),
            confidence: Some(state.confidence),
            ..StatusElement::default()
        };
        if of_session {
            expected.media = state.media.to_vec();
            for media in &mut expected.media {
                media.kind = back(&media.kind).into();
                media.codec = media.codec.as_deref().map(|codec| back(codec).into());
            }
            // Several ends of one call without a tag are marked once.
            let mut untagged = BTreeSet::new();
            expected.dialogs = state.dialogs.iter().filter_map(|dialog| Some(DialogMark {
                id: mark_id(dialog).filter(|id| dialog.local_tag.is_some() || untagged.insert(id.clone()))?,
                alias: dialog_alias(dialog),
                remote_tag: dialog_alias(dialog).and(dialog.remote_tag.as_deref()).map(back),
                state: dialog.state,
                held: dialog.held,
            })).collect();
        }
        prop_assert_eq!(read.status, Some(expected));
    }

    #[test]
    fn every_dialog_document_is_valid_and_gives_back_what_was_written(
        aor in making::aor(), dialogs in making::dialogs(), version in any::<u32>(), options in making::options()
    ) {
        let body = dialog_info::document(&aor, &dialogs, version, options);
        let shown = String::from_utf8_lossy(&body).into_owned();
        prop_assert_eq!(check_dialog_info(&body), Ok(()), "{}", shown);
        let read = dialog_info_read::read(&body).unwrap();
        prop_assert_eq!(&read.entity, aor.as_str());
        prop_assert!(read.full);

        let mut elements = read.dialogs.iter();
        if options.placeholder {
            let placeholder = elements.next().unwrap();
            prop_assert_eq!(placeholder.state, DialogState::Terminated);
            prop_assert_eq!(&placeholder.call_id, &None);
        }
        let identified: Vec<_> = dialogs.iter().filter_map(|dialog| Some((dialog_id(dialog)?, dialog))).collect();
        let youngest = identified.iter().skip(identified.len().saturating_sub(options.dialogs_per_document));
        let mut listed: Vec<&(String, _)> = Vec::new();
        for one in youngest {
            listed.retain(|earlier| earlier.0 != one.0);
            listed.push(one);
        }
        prop_assert_eq!(elements.len(), listed.len());
        for (element, (id, dialog)) in elements.zip(listed) {
            prop_assert_eq!(&element.id, id);
            prop_assert_eq!(element.call_id.as_ref(), Some(&back(&dialog.call_id)));
            prop_assert_eq!(&element.local_tag, &dialog.local_tag.as_deref().map(back));
            prop_assert_eq!(&element.remote_tag, &dialog.remote_tag.as_deref().map(back));
            prop_assert_eq!(element.side, Some(dialog.side));
            prop_assert_eq!(element.state, dialog.state);
            prop_assert_eq!(element.held, dialog.held && dialog.state == DialogState::Confirmed);
            let remote = dialog.remote.as_deref().filter(|_| options.remote_identity).map(uri_back);
            prop_assert_eq!(&element.remote_identity, &remote);
        }
    }
}

#[test]
fn a_caller_and_a_called_party_are_told_apart() {
    let document = |direction: &str| {
        format!(
            "<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info' version='0' state='full' \
             entity='sip:alice@example.com'><dialog id='a' direction='{direction}'><state>early</state></dialog>\
             </dialog-info>"
        )
    };
    for (direction, side) in
        [("initiator", Some(Side::Caller)), ("recipient", Some(Side::Called)), ("sideways", None)]
    {
        let read = dialog_info_read::read(document(direction).as_bytes()).unwrap();
        assert_eq!(read.dialogs[0].side, side);
    }
}
