//! Dialog documents as somebody else wrote them, or another of us.
//! In: bytes. Out: `DialogDocument`. Knows nothing of publications, SIP messages.
//! RFC 4235.

use super::xml_read::DocumentError;
use crate::track::{DialogState, Side};

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

/// Reads a dialog document.
///
/// # Errors
/// [`DocumentError`].
pub fn read(_bytes: &[u8]) -> Result<DialogDocument, DocumentError> {
    Err(DocumentError::Root("dialog-info"))
}
