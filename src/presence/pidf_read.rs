//! Presence documents as somebody else wrote them, or another of us.
//! In: bytes. Out: `PresenceDocument`. Knows nothing of publications, SIP messages.
//! RFC 3863 (PIDF), RFC 4479 (`dm:person`), RFC 4480 (RPID), and our own namespace.

use super::xml_read::DocumentError;
use super::{Session, Terminal};
use crate::track::{Confidence, DialogState, Media};

/// What a presence document says; what it says beyond this is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceDocument {
    /// The presentity's URI, as written.
    pub entity: String,
    /// In document order.
    pub tuples: Vec<Tuple>,
    /// RPID activities of the person (or of a tuple, where some phones put them), by their local names.
    pub activities: Vec<String>,
    /// Notes of the document and of the person.
    pub notes: Vec<String>,
    /// What only offhook says.
    pub status: Option<StatusElement>,
}

/// A PIDF tuple.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Its id.
    pub id: String,
    /// `open` or not; `None` when nothing is said.
    pub open: Option<bool>,
    /// The contact's URI.
    pub contact: Option<String>,
    /// Priority of the contact, 0 to 1, as written.
    pub priority: Option<String>,
    /// What kind of phone it is: `oh:terminal-type`.
    pub terminal_type: Option<String>,
    /// Its notes.
    pub notes: Vec<String>,
}

/// `oh:status`: a status in offhook's own words. What the document does not say is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusElement {
    /// The terminal, the session taken into account.
    pub terminal: Option<Terminal>,
    /// What the registrations alone say.
    pub registered: Option<Terminal>,
    /// The session.
    pub session: Option<Session>,
    /// `call`, `voicemail`, …
    pub session_type: Option<String>,
    /// It watches others.
    pub watching: Option<bool>,
    /// How far all this is to be believed.
    pub confidence: Option<Confidence>,
    /// What the session carries.
    pub media: Vec<Media>,
    /// The dialogs that the session rests on.
    pub dialogs: Vec<DialogMark>,
}

/// `oh:dialog`: a dialog by its id only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogMark {
    /// See [`super::dialog_info::dialog_id`].
    pub id: String,
    /// See [`super::dialog_info::dialog_alias`].
    pub alias: Option<String>,
    /// Its state.
    pub state: DialogState,
    /// On hold.
    pub held: bool,
}

/// Reads a presence document.
///
/// # Errors
/// [`DocumentError`].
pub fn read(_bytes: &[u8]) -> Result<PresenceDocument, DocumentError> {
    Err(DocumentError::Root("presence"))
}
