//! Presence and dialog documents: read or refused; what was read and is written by us obeys the schemas, and is read as
//! the same again.

use offhook::presence::dialog_info::{self, DialogInfoOptions};
use offhook::presence::dialog_info_read;
use offhook::presence::pidf::{self, Facet, Foreign};
use offhook::presence::pidf_read::{self, PresenceDocument};
use offhook::presence::{PresentityState, Session, Terminal};
use offhook::sip::{Aor, Scheme, Uri};

use super::input::Reached;

#[path = "../../support/xml_rules.rs"]
mod xml_rules;

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "refused",
    "presence",
    "tuples",
    "contact",
    "activities",
    "notes",
    "status",
    "media",
    "marks",
    "dialog info",
    "dialogs",
    "held",
    "remote",
];

/// A document.
pub fn target(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let presence = pidf_read::read(data);
    let dialogs = dialog_info_read::read(data);
    assert!(presence.is_err() || dialogs.is_err(), "a document is of one package");
    match (presence, dialogs) {
        (Ok(document), _) => presence_again(&document, &mut reached),
        (_, Ok(document)) => dialogs_again(&document, &mut reached),
        (Err(one), Err(other)) => {
            reached.note("refused");
            assert!(one.to_string().len() < 300 && other.to_string().len() < 300, "{one}, {other}");
        }
    }
    reached
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(document: &PresenceDocument) -> Option<Vec<u8>> {
    let aor = Aor::from_uri(document.entity.as_bytes())?;
    let status = document.status.clone().unwrap_or_default();
    let state = PresentityState {
        terminal: status.terminal.unwrap_or(Terminal::Unknown),
        registered: status.registered.unwrap_or(Terminal::Unknown),
        session: status.session.unwrap_or(Session::Idle),
        watching: status.watching.unwrap_or(false),
        confidence: status.confidence.unwrap_or_default(),
        session_type: status.session_type.as_deref().map(Into::into),
        media: status.media.clone().into(),
        ..PresentityState::default()
    };
    let handed_on = |activity: &&String| !matches!(activity.as_str(), "on-the-phone" | "unknown");
    let foreign = Foreign {
        tuples: document.tuples.clone(),
        activities: document.activities.iter().filter(handed_on).cloned().collect(),
        notes: document.notes.clone(),
    };
    Some(pidf::document_of(&aor, &state, &status.dialogs, &foreign, Facet::Combined, None, usize::MAX))
}

fn presence_again(document: &PresenceDocument, reached: &mut Reached) {
    reached.note("presence");
    reached.note_if(!document.tuples.is_empty(), "tuples");
    reached.note_if(document.tuples.iter().any(|tuple| tuple.contact.is_some()), "contact");
    reached.note_if(!document.activities.is_empty(), "activities");
    reached.note_if(!document.notes.is_empty(), "notes");
    if let Some(status) = &document.status {
        reached.note("status");
        reached.note_if(!status.media.is_empty(), "media");
        reached.note_if(!status.dialogs.is_empty(), "marks");
    }
    // The compositor gives ids of its own to tuples whose ids are none.
    let is_id = |id: &str| {
        id.starts_with(|first: char| first.is_ascii_alphabetic())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !document.tuples.iter().all(|tuple| is_id(&tuple.id)) {
        return;
    }
    // What is written has a tuple of our own besides.
    if document.tuples.len() >= pidf_read::MAX_TUPLES {
        return;
    }
    let Some(written) = write(document) else { return };
    // What others call a URI is handed on as it is.
    if document.tuples.iter().all(|tuple| tuple.contact.as_deref().is_none_or(is_uri)) {
        assert_eq!(xml_rules::check_pidf(&written), Ok(()), "{}", text(&written));
    }
    let read = match pidf_read::read(&written) {
        Ok(read) => read,
        Err(why) => panic!("{why}: {}", text(&written)),
    };
    let Some(again) = write(&read) else { panic!("an AOR stays one: {}", text(&written)) };
    assert_eq!(pidf_read::read(&again).as_ref(), Ok(&read), "{}\n{}", text(&written), text(&again));
}

fn dialogs_again(document: &dialog_info_read::DialogDocument, reached: &mut Reached) {
    reached.note("dialog info");
    reached.note_if(!document.dialogs.is_empty(), "dialogs");
    reached.note_if(document.dialogs.iter().any(|dialog| dialog.held), "held");
    reached.note_if(document.dialogs.iter().any(|dialog| dialog.remote_identity.is_some()), "remote");
    let Some(aor) = Aor::from_uri(document.entity.as_bytes()) else { return };
    let options =
        DialogInfoOptions { placeholder: false, remote_identity: true, dialogs_per_document: usize::MAX };
    let version = document.version.unwrap_or(0);
    let written = dialog_info::document_of(&aor, &document.dialogs, version, options);
    // What others call a URI is handed on as it is.
    if document.dialogs.iter().all(|dialog| dialog.remote_identity.as_deref().is_none_or(is_uri)) {
        assert_eq!(xml_rules::check_dialog_info(&written), Ok(()), "{}", text(&written));
    }
    let read = match dialog_info_read::read(&written) {
        Ok(read) => read,
        Err(why) => panic!("{why}: {}", text(&written)),
    };
    assert_eq!(read.version, Some(version));
    let again = dialog_info::document_of(&aor, &read.dialogs, version, options);
    assert_eq!(dialog_info_read::read(&again).as_ref(), Ok(&read), "{}\n{}", text(&written), text(&again));
}

fn is_uri(text: &str) -> bool {
    Uri::parse(text.as_bytes())
        .is_some_and(|uri| matches!(uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel))
}
