//! Dialog documents as somebody else wrote them, or another of us.
//! In: bytes. Out: `DialogDocument`. Knows nothing of publications, SIP messages.
//! RFC 4235.

use super::xml_read::{DocumentError, Element, Namespace, XmlReader};
use crate::track::{DialogState, Side};

/// Dialogs of a document.
pub const MAX_DIALOGS: usize = 512;

/// What a dialog document says; what it says beyond this is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialogDocument {
    /// The URI of whose dialogs these are, as written.
    pub entity: String,
    /// It lists all dialogs; else only those that changed.
    pub full: bool,
    /// In document order.
    pub dialogs: Vec<DialogElement>,
}

/// A `<dialog>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogElement {
    /// Its id, unique in its document only unless offhook gave it.
    pub id: String,
    /// Call-ID.
    pub call_id: Option<String>,
    /// The presentity's own tag.
    pub local_tag: Option<String>,
    /// The other end's tag.
    pub remote_tag: Option<String>,
    /// `initiator` is the caller, `recipient` the called.
    pub side: Option<Side>,
    /// Its state; "proceeding" counts as trying. Read without regard to case: Kamailio writes `Trying`.
    pub state: DialogState,
    /// The local target has `+sip.rendering` `no`.
    pub held: bool,
    /// The other party's identity.
    pub remote_identity: Option<String>,
}

/// Reads a dialog document. Of two dialogs with one id the later counts.
///
/// # Errors
/// [`DocumentError`].
pub fn read(bytes: &[u8]) -> Result<DialogDocument, DocumentError> {
    let (mut xml, root) = XmlReader::open(bytes, Namespace::DialogInfo, "dialog-info")?;
    let mut document = DialogDocument {
        entity: root.demanded("dialog-info", "entity")?,
        full: is_full(&root)?,
        dialogs: Vec::new(),
    };
    xml.children(|xml, element| {
        if !element.is(Namespace::DialogInfo, "dialog") {
            return Ok(());
        }
        let dialog = read_dialog(xml, element)?;
        document.dialogs.retain(|earlier| earlier.id != dialog.id);
        if document.dialogs.len() == MAX_DIALOGS {
            return Err(DocumentError::TooMany("dialogs"));
        }
        document.dialogs.push(dialog);
        Ok(())
    })?;
    xml.finish()?;
    Ok(document)
}

/// Who does not say whether it is all tells all.
fn is_full(root: &Element<'_>) -> Result<bool, DocumentError> {
    match root.attribute("state").as_deref() {
        None | Some("full") => Ok(true),
        Some("partial") => Ok(false),
        Some(_) => Err(DocumentError::unknown("the document's state")),
    }
}

fn read_dialog<'a>(xml: &mut XmlReader<'a>, element: &Element<'a>) -> Result<DialogElement, DocumentError> {
    let id = element.demanded("a dialog", "id")?;
    let mut state = None;
    let mut held = false;
    let mut remote_identity = None;
    xml.children(|xml, element| {
        if element.namespace != Namespace::DialogInfo {
            return Ok(());
        }
        match element.name() {
            "state" => state = Some(dialog_state(&xml.text()?)?),
            "local" => held |= is_rendering_off(xml)?,
            "remote" => remote_identity = identity(xml)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(DialogElement {
        id,
        call_id: element.attribute("call-id"),
        local_tag: element.attribute("local-tag"),
        remote_tag: element.attribute("remote-tag"),
        side: match element.attribute("direction").as_deref() {
            Some("initiator") => Some(Side::Caller),
            Some("recipient") => Some(Side::Called),
            _ => None,
        },
        state: state.ok_or_else(|| DocumentError::missing("a dialog", "state"))?,
        held,
        remote_identity,
    })
}

fn dialog_state(text: &str) -> Result<DialogState, DocumentError> {
    let name = text.to_ascii_lowercase();
    let state = if name == "proceeding" { Some(DialogState::Trying) } else { DialogState::from_name(&name) };
    state.ok_or_else(|| DocumentError::unknown("a dialog's state"))
}

/// RFC 4235 section 4.1.6.2: who has put the other on hold does not render.
fn is_rendering_off(xml: &mut XmlReader<'_>) -> Result<bool, DocumentError> {
    let mut off = false;
    xml.children(|xml, element| {
        if !element.is(Namespace::DialogInfo, "target") {
            return Ok(());
        }
        xml.children(|_, element| {
            let is = |attribute, word: &str| {
                element.attribute(attribute).is_some_and(|value| value.eq_ignore_ascii_case(word))
            };
            off |= element.is(Namespace::DialogInfo, "param")
                && is("pname", "+sip.rendering")
                && is("pval", "no");
            Ok(())
        })
    })?;
    Ok(off)
}

fn identity(xml: &mut XmlReader<'_>) -> Result<Option<String>, DocumentError> {
    let mut identity = None;
    xml.children(|xml, element| {
        if element.is(Namespace::DialogInfo, "identity") {
            identity = Some(xml.text()?).filter(|identity| !identity.is_empty());
        }
        Ok(())
    })?;
    Ok(identity)
}
