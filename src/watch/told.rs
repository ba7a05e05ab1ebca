//! What a watcher is told.
//! In: nothing. Out: vocabulary for lines. Knows nothing of SIP messages, XML.

use crate::base::Timestamp;
use crate::presence::dialog_info_read::DialogElement;
use crate::presence::pidf_read::PresenceDocument;
use crate::presence::{EventPackage, Session, Terminal};
use crate::sip::Aor;
use crate::track::{DialogState, Side};

/// One thing that a watcher is told, different from what it was told of the same before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// Of whom.
    pub aor: Aor,
    /// In which package.
    pub event: EventPackage,
    /// What.
    pub what: What,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A presence document.
    Presence(PresenceTold),
    /// The dialogs that are not over, after all that the documents said, oldest first.
    Dialogs(Vec<DialogTold>),
    /// The server answered a SUBSCRIBE with this status, and there is no subscription.
    Refused {
        /// The final response.
        status: u16,
        /// What the watcher does.
        next: Next,
    },
    /// The server ended the subscription with this reason (RFC 6665 section 4.1.3; empty: none was given).
    Ended {
        /// As written.
        reason: String,
        /// What the watcher does.
        next: Next,
    },
    /// The server does not answer, or answers and does not notify. It is asked again.
    Silent,
}

/// What a watcher does without a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It subscribes again, now or later.
    Again,
    /// Nothing: asking again would be in vain.
    Nothing,
}

/// A presence document in short; what it does not say is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceTold {
    /// Some tuple is open; `Some(false)`: none is, and some are closed.
    pub open: Option<bool>,
    /// RPID activities, by their local names.
    pub activities: Vec<String>,
    /// The terminal in offhook's own words.
    pub terminal: Option<Terminal>,
    /// The session in offhook's own words.
    pub session: Option<Session>,
    /// The first note.
    pub note: Option<String>,
}

impl PresenceTold {
    /// The document in short.
    pub fn of(document: &PresenceDocument) -> Self {
        let basics = || document.tuples.iter().filter_map(|tuple| tuple.open);
        let status = document.status.as_ref();
        let notes = document.notes.iter().chain(document.tuples.iter().flat_map(|tuple| &tuple.notes));
        Self {
            open: basics().next().map(|_| basics().any(|open| open)),
            activities: document.activities.clone(),
            terminal: status.and_then(|status| status.terminal),
            session: status.and_then(|status| status.session),
            note: notes.map(|note| note.trim()).find(|note| !note.is_empty()).map(str::to_owned),
        }
    }
}

/// A dialog in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogTold {
    /// Its state.
    pub state: DialogState,
    /// Whether the presentity called or was called.
    pub side: Option<Side>,
    /// On hold.
    pub held: bool,
    /// The other party.
    pub remote: Option<String>,
}

impl From<&DialogElement> for DialogTold {
    fn from(dialog: &DialogElement) -> Self {
        Self {
            state: dialog.state,
            side: dialog.side,
            held: dialog.held,
            remote: dialog.remote_identity.clone(),
        }
    }
}
