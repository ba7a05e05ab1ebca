//! Dialog documents, for busy lamps.
//! In: an AOR and its dialogs. Out: dialog-info. Knows nothing of publications, SIP messages.
//! RFC 4235; hold as its section 4.1.6.2 says: the parameter `+sip.rendering` of the target.

use std::sync::Arc;

use crate::presence::DialogView;
use crate::presence::dialog_info_read::DialogElement;
use crate::presence::xml::{XmlWriter, any_uri, stable_id};
use crate::sip::Aor;
use crate::track::{DialogState, Side};

/// The body's media type.
pub const CONTENT_TYPE: &str = "application/dialog-info+xml";

/// What of the dialogs is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogInfoOptions {
    /// Each document lists a terminated dialog of the presentity's own, first. Phones in the field want an element
    /// even when nobody talks, and Kamailio takes two publications whose first dialogs have one id for the same.
    pub placeholder: bool,
    /// Tell who is at the other end.
    pub remote_identity: bool,
    /// At most so many dialogs, the youngest.
    pub dialogs_per_document: usize,
}

/// The id of the dialog of this Call-ID and these tags: the same in every tap, whichever end it belongs to. Until the
/// other end's tag is known, only the own end has it.
pub fn id_of(call_id: &str, local_tag: &str, remote_tag: Option<&str>) -> String {
    match remote_tag {
        None => stable_id('d', &[call_id, local_tag]),
        Some(remote) => {
            let (first, second) = if local_tag <= remote { (local_tag, remote) } else { (remote, local_tag) };
            stable_id('d', &[call_id, first, second])
        }
    }
}

/// The id of a dialog. `None` for an end without a tag of its own: it is not listed yet. That a dialog is over is final
/// for its id: one whose end was inferred and revoked goes on under its id with `-1` behind it, and so on.
pub fn dialog_id(dialog: &DialogView) -> Option<String> {
    let id = id_of(&dialog.call_id, dialog.local_tag.as_deref()?, dialog.remote_tag.as_deref());
    Some(if dialog.revoked_ends == 0 { id } else { format!("{id}-{}", dialog.revoked_ends) })
}

/// The id by which a presence document marks it: [`dialog_id`], and for a live end without a tag one that no dialog
/// document has. That such an end is over is told by its mark being gone: its id may be needed again.
pub fn mark_id(dialog: &DialogView) -> Option<String> {
    let untagged = || id_of(&dialog.call_id, "", dialog.remote_tag.as_deref());
    dialog_id(dialog).or_else(|| (dialog.state != DialogState::Terminated).then(untagged))
}

/// The dialog of this id goes on under that `id`, see [`dialog_id`].
pub fn goes_on_as(of: &str, id: &str) -> bool {
    let count = id.strip_prefix(of).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    !count.is_empty() && count.bytes().all(|digit| digit.is_ascii_digit())
}

/// The id that the caller's own end of this dialog had while the other end's tag was not known: who has heard that the
/// dialog is over need not believe one of that id any more. Not the other way round: whoever did not see the answer may
/// have given the attempt up, or another branch of it may have been answered too. `None` for a called end, and while it
/// is the id.
pub fn dialog_alias(dialog: &DialogView) -> Option<String> {
    let local = dialog.local_tag.as_deref().filter(|_| dialog.side == Side::Caller)?;
    dialog.remote_tag.as_ref().map(|_| id_of(&dialog.call_id, local, None))
}

/// The dialog document of a presentity: all of its dialogs (`state="full"`). `version` counts the documents of one
/// publication, from 0.
pub fn document<'a>(
    aor: &Aor,
    dialogs: impl IntoIterator<Item = &'a DialogView>,
    version: u32,
    options: DialogInfoOptions,
) -> Vec<u8> {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let elements: Vec<DialogElement> = dialogs
        .into_iter()
        .filter_map(|dialog| {
            Some(DialogElement {
                id: dialog_id(dialog)?,
                call_id: Some(dialog.call_id.to_string()),
                local_tag: text(&dialog.local_tag),
                remote_tag: text(&dialog.remote_tag),
                side: Some(dialog.side),
                state: dialog.state,
                held: dialog.held,
                remote_identity: text(&dialog.remote),
            })
        })
        .collect();
    document_of(aor, &elements, version, options)
}

/// The same from dialogs as documents tell them.
pub fn document_of(
    aor: &Aor,
    dialogs: &[DialogElement],
    version: u32,
    options: DialogInfoOptions,
) -> Vec<u8> {
    let too_many = dialogs.len().saturating_sub(options.dialogs_per_document);
    let listed = dialogs.get(too_many..).unwrap_or(dialogs);
    let mut xml = XmlWriter::new();
    xml.open(
        "dialog-info",
        &[
            ("xmlns", Some("urn:ietf:params:xml:ns:dialog-info")),
            ("version", Some(&version.to_string())),
            ("state", Some("full")),
            ("entity", Some(aor.as_str())),
        ],
    );
    if options.placeholder {
        let id = stable_id('d', &[aor.as_str()]);
        xml.open("dialog", &[("id", Some(&id))]);
        xml.text("state", "terminated");
        xml.close();
    }
    for (at, dialog) in listed.iter().enumerate() {
        // Who calls himself has both ends of one dialog.
        let again = listed.iter().skip(at + 1).any(|later| later.id == dialog.id);
        if !again {
            write_dialog(&mut xml, aor, dialog, options);
        }
    }
    xml.finish()
}

/// Children in the order of RFC 4235 section 4.4: state, local, remote.
fn write_dialog(xml: &mut XmlWriter, aor: &Aor, dialog: &DialogElement, options: DialogInfoOptions) {
    xml.open(
        "dialog",
        &[
            ("id", Some(&dialog.id)),
            ("call-id", dialog.call_id.as_deref()),
            ("local-tag", dialog.local_tag.as_deref()),
            ("remote-tag", dialog.remote_tag.as_deref()),
            (
                "direction",
                dialog.side.map(|side| match side {
                    Side::Caller => "initiator",
                    Side::Called => "recipient",
                }),
            ),
        ],
    );
    xml.text("state", dialog.state.name());
    xml.open("local", &[]);
    xml.text("identity", aor.as_str());
    if dialog.held && dialog.state == DialogState::Confirmed {
        xml.open("target", &[("uri", Some(aor.as_str()))]);
        xml.empty("param", &[("pname", Some("+sip.rendering")), ("pval", Some("no"))]);
        xml.close();
    } else {
        xml.empty("target", &[("uri", Some(aor.as_str()))]);
    }
    xml.close();
    if let Some(remote) = dialog.remote_identity.as_deref().filter(|_| options.remote_identity) {
        xml.open("remote", &[]);
        let remote = any_uri(remote);
        xml.text("identity", &remote);
        xml.empty("target", &[("uri", Some(&remote))]);
        xml.close();
    }
    xml.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::EndId;

    const OPTIONS: DialogInfoOptions =
        DialogInfoOptions { placeholder: true, remote_identity: true, dialogs_per_document: 16 };

    fn alice() -> Aor {
        Aor::from_uri(b"sip:alice@example.com").unwrap()
    }

    fn talking() -> DialogView {
        let call_id = "call-1@192.0.2.1".into();
        DialogView { call_id, ..DialogView::to_bob(1, DialogState::Confirmed) }
    }

    fn text(dialogs: &[DialogView], options: DialogInfoOptions) -> String {
        let body = document(&alice(), dialogs, 7, options);
        String::from_utf8(body).unwrap().replace("><", ">\n<")
    }

    #[test]
    fn a_confirmed_dialog_behind_the_placeholder() {
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="7" state="full" entity="sip:alice@example.com">
<dialog id="PLACEHOLDER">
<state>terminated</state>
</dialog>
<dialog id="ID" call-id="call-1@192.0.2.1" local-tag="a" remote-tag="b" direction="initiator">
<state>confirmed</state>
<local>
<identity>sip:alice@example.com</identity>
<target uri="sip:alice@example.com"/>
</local>
<remote>
<identity>sip:bob@example.com</identity>
<target uri="sip:bob@example.com"/>
</remote>
</dialog>
</dialog-info>"#
            .replace("PLACEHOLDER", &stable_id('d', &["sip:alice@example.com"]))
            .replace("ID", &dialog_id(&talking()).unwrap());
        assert_eq!(text(&[talking()], OPTIONS), expected);
    }

    #[test]
    fn a_held_dialog_without_remote_identity() {
        let held = DialogView { held: true, ..talking() };
        let quiet = DialogInfoOptions { remote_identity: false, ..OPTIONS };
        let text = text(&[held], quiet);
        let param = "<target uri=\"sip:alice@example.com\">\n<param pname=\"+sip.rendering\" pval=\"no\"/>\n</target>";
        assert!(text.contains(param), "{text}");
        assert!(!text.contains("bob"));
    }

    #[test]
    fn without_dialogs_there_is_the_placeholder_if_wanted() {
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="7" state="full" entity="sip:alice@example.com">
<dialog id="ID">
<state>terminated</state>
</dialog>
</dialog-info>"#
            .replace("ID", &stable_id('d', &["sip:alice@example.com"]));
        assert_eq!(text(&[], OPTIONS), expected);
        let none = DialogInfoOptions { placeholder: false, ..OPTIONS };
        assert!(!text(&[], none).contains("<dialog "));
    }

    #[test]
    fn both_ends_give_the_dialog_the_same_id_and_a_lone_tag_another() {
        let other_end = DialogView {
            local_tag: Some("b".into()),
            remote_tag: Some("a".into()),
            side: Side::Called,
            ..talking()
        };
        assert_eq!(dialog_id(&talking()), dialog_id(&other_end));
        let calling = DialogView { remote_tag: None, ..talking() };
        assert_ne!(dialog_id(&talking()), dialog_id(&calling));
        let untagged = DialogView { local_tag: None, ..talking() };
        assert_eq!(dialog_id(&untagged), None);
    }

    #[test]
    fn a_dialog_that_goes_on_after_all_has_an_id_that_tells_of_the_old_one() {
        let (before, after) = (talking(), DialogView { revoked_ends: 2, ..talking() });
        let (before, after) = (dialog_id(&before).unwrap(), dialog_id(&after).unwrap());
        assert_eq!(after, format!("{before}-2"));
        assert!(goes_on_as(&before, &after));
        for other in [&before, &format!("{before}-"), &format!("{before}-x"), &format!("{before}2"), "1-2"] {
            assert!(!goes_on_as(&before, other), "{other}");
        }
    }

    #[test]
    fn who_calls_himself_has_one_dialog() {
        let called = DialogView {
            end: EndId(2),
            local_tag: Some("b".into()),
            remote_tag: Some("a".into()),
            side: Side::Called,
            ..talking()
        };
        let text = text(&[talking(), called], OPTIONS);
        assert_eq!(text.matches("<dialog ").count(), 2, "the placeholder and one more: {text}");
        assert!(text.contains("recipient") && !text.contains("initiator"));
    }

    #[test]
    fn the_youngest_dialogs_are_kept_at_the_bound() {
        let dialogs: Vec<DialogView> =
            (0..5).map(|n| DialogView { call_id: format!("call-{n}").into(), ..talking() }).collect();
        let two = DialogInfoOptions { dialogs_per_document: 2, ..OPTIONS };
        let text = text(&dialogs, two);
        assert!(!text.contains("call-2\""));
        assert!(text.contains("call-3\"") && text.contains("call-4\""));
    }
}
