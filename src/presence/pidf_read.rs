//! Presence documents as somebody else wrote them, or another of us.
//! In: bytes. Out: `PresenceDocument`. Knows nothing of publications, SIP messages.
//! RFC 3863 (PIDF), RFC 4479 (`dm:person`), RFC 4480 (RPID), and our own namespace.

use super::dialog_info_read::MAX_DIALOGS;
use super::xml_read::{DocumentError, Element, Namespace, XmlReader};
use super::{Session, Terminal};
use crate::track::{Confidence, DialogState, Media};

/// Tuples of a document.
pub const MAX_TUPLES: usize = 128;
/// Activities of a document.
pub const MAX_ACTIVITIES: usize = 32;
/// Notes of the document with its person, and of each tuple.
pub const MAX_NOTES: usize = 32;
/// Media of a session.
pub const MAX_MEDIA: usize = 32;

/// The activities of RFC 4480 section 3.2: only these count where they stand without `<rpid:activities>`.
const ACTIVITIES: &[&str] = &[
    "appointment",
    "away",
    "breakfast",
    "busy",
    "dinner",
    "holiday",
    "in-transit",
    "looking-for-work",
    "lunch",
    "meal",
    "meeting",
    "on-the-phone",
    "other",
    "performance",
    "permanent-absence",
    "playing",
    "presentation",
    "shopping",
    "sleeping",
    "spectator",
    "steering",
    "travel",
    "tv",
    "unknown",
    "vacation",
    "working",
    "worship",
];

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
    /// The other end's tag, where there is an alias: with it, who knows the dialog by its alias knows the whole of it.
    pub remote_tag: Option<String>,
    /// Its state.
    pub state: DialogState,
    /// On hold.
    pub held: bool,
}

/// Reads a presence document. Of two tuples with one id the later counts.
///
/// # Errors
/// [`DocumentError`].
pub fn read(bytes: &[u8]) -> Result<PresenceDocument, DocumentError> {
    let (mut xml, root) = XmlReader::open(bytes, Namespace::Pidf, "presence")?;
    let mut document =
        PresenceDocument { entity: root.demanded("presence", "entity")?, ..Default::default() };
    xml.children(|xml, element| match (element.namespace, element.name()) {
        (Namespace::Pidf, "tuple") => {
            let tuple = read_tuple(xml, element, &mut document.activities)?;
            document.tuples.retain(|earlier| earlier.id != tuple.id);
            push(&mut document.tuples, tuple, MAX_TUPLES, "tuples")
        }
        (Namespace::Pidf | Namespace::DataModel, "note") => {
            push(&mut document.notes, xml.text()?, MAX_NOTES, "notes")
        }
        (Namespace::DataModel, "person") => read_person(xml, &mut document),
        (Namespace::Rpid, _) => read_activities(xml, element, &mut document.activities, &mut document.notes),
        (Namespace::Offhook, "status") if document.status.is_some() => {
            Err(DocumentError::Invalid("more than one oh:status".to_owned()))
        }
        (Namespace::Offhook, "status") => {
            document.status = Some(read_status(xml, element)?);
            Ok(())
        }
        _ => Ok(()),
    })?;
    xml.finish()?;
    Ok(document)
}

fn read_tuple<'a>(
    xml: &mut XmlReader<'a>,
    element: &Element<'a>,
    activities: &mut Vec<String>,
) -> Result<Tuple, DocumentError> {
    let mut tuple = Tuple { id: element.demanded("a tuple", "id")?, ..Default::default() };
    xml.children(|xml, element| {
        match (element.namespace, element.name()) {
            (Namespace::Pidf, "status") => tuple.open = read_basic(xml, activities, &mut tuple.notes)?,
            (Namespace::Pidf, "contact") => {
                tuple.priority = element.attribute("priority");
                tuple.contact = Some(xml.text()?).filter(|contact| !contact.is_empty());
            }
            (Namespace::Pidf, "note") => push(&mut tuple.notes, xml.text()?, MAX_NOTES, "notes")?,
            (Namespace::Offhook, "terminal-type") => tuple.terminal_type = Some(xml.text()?),
            (Namespace::Rpid, _) => read_activities(xml, element, activities, &mut tuple.notes)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(tuple)
}

/// A tuple's `<status>`; some phones put their activity here.
fn read_basic(
    xml: &mut XmlReader<'_>,
    activities: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<Option<bool>, DocumentError> {
    let mut open = None;
    xml.children(|xml, element| match (element.namespace, element.name()) {
        (Namespace::Pidf, "basic") => {
            open = match xml.text()?.to_ascii_lowercase().as_str() {
                "open" => Some(true),
                "closed" => Some(false),
                _ => None,
            };
            Ok(())
        }
        (Namespace::Rpid, _) => read_activities(xml, element, activities, notes),
        _ => Ok(()),
    })?;
    Ok(open)
}

fn read_person(xml: &mut XmlReader<'_>, document: &mut PresenceDocument) -> Result<(), DocumentError> {
    xml.children(|xml, element| match (element.namespace, element.name()) {
        (Namespace::DataModel | Namespace::Pidf, "note") => {
            push(&mut document.notes, xml.text()?, MAX_NOTES, "notes")
        }
        (Namespace::Rpid, _) => read_activities(xml, element, &mut document.activities, &mut document.notes),
        _ => Ok(()),
    })
}

/// `<rpid:activities>` with what is in it, or an activity that stands without it.
fn read_activities<'a>(
    xml: &mut XmlReader<'a>,
    element: &Element<'a>,
    activities: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<(), DocumentError> {
    if element.name() == "activities" {
        xml.children(|xml, element| match (element.namespace, element.name()) {
            (Namespace::Rpid, "note") => push(notes, xml.text()?, MAX_NOTES, "notes"),
            (Namespace::Rpid, name) => add_activity(activities, name),
            _ => Ok(()),
        })
    } else if ACTIVITIES.contains(&element.name()) {
        add_activity(activities, element.name())
    } else {
        Ok(())
    }
}

fn add_activity(activities: &mut Vec<String>, name: &str) -> Result<(), DocumentError> {
    if activities.iter().any(|known| known == name) {
        return Ok(());
    }
    push(activities, name.to_owned(), MAX_ACTIVITIES, "activities")
}

fn read_status<'a>(xml: &mut XmlReader<'a>, element: &Element<'a>) -> Result<StatusElement, DocumentError> {
    let mut status = StatusElement {
        terminal: word(element, "terminal", Terminal::from_name)?,
        registered: word(element, "registered", Terminal::from_name)?,
        session: word(element, "session", Session::from_name)?,
        session_type: element.attribute("session-type"),
        watching: word(element, "watching", truth)?,
        confidence: word(element, "confidence", Confidence::from_name)?,
        media: Vec::new(),
        dialogs: Vec::new(),
    };
    xml.children(|_, element| match (element.namespace, element.name()) {
        (Namespace::Offhook, "media") => push(&mut status.media, read_media(element)?, MAX_MEDIA, "media"),
        (Namespace::Offhook, "dialog") => {
            push(&mut status.dialogs, read_mark(element)?, MAX_DIALOGS, "dialogs")
        }
        _ => Ok(()),
    })?;
    Ok(status)
}

fn read_media(element: &Element<'_>) -> Result<Media, DocumentError> {
    Ok(Media {
        kind: element.attribute("type").ok_or_else(|| DocumentError::missing("oh:media", "type"))?.into(),
        codec: element.attribute("codec").map(Into::into),
        clock_rate_hz: word(element, "clock-rate", |rate| rate.parse().ok())?,
        bit_rate: word(element, "bit-rate", |rate| rate.parse().ok())?,
    })
}

fn read_mark(element: &Element<'_>) -> Result<DialogMark, DocumentError> {
    Ok(DialogMark {
        id: element.demanded("oh:dialog", "id")?,
        alias: element.attribute("alias"),
        remote_tag: element.attribute("remote-tag"),
        state: word(element, "state", DialogState::from_name)?
            .ok_or_else(|| DocumentError::missing("oh:dialog", "state"))?,
        held: word(element, "held", truth)?.unwrap_or(false),
    })
}

fn truth(word: &str) -> Option<bool> {
    match word {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// The value of an attribute that has only certain values, if it is there.
fn word<T>(
    element: &Element<'_>,
    name: &'static str,
    known: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, DocumentError> {
    let Some(value) = element.attribute(name) else { return Ok(None) };
    known(&value).map(Some).ok_or_else(|| DocumentError::unknown(name))
}

fn push<T>(list: &mut Vec<T>, item: T, bound: usize, what: &'static str) -> Result<(), DocumentError> {
    if list.len() >= bound {
        return Err(DocumentError::TooMany(what));
    }
    list.push(item);
    Ok(())
}
