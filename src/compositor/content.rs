//! What one publication says, and since when.
//! In: a document, what the publication said before. Out: `Content`. Knows nothing of other publications, SIP messages.
//! SPEC section 9: facts (tuples and dialogs that have the same id in whatever document tells them) are kept one by one;
//! of documents without them, only the word that they have for each facet.

use std::collections::BTreeMap;

use crate::presence::dialog_info::{goes_on_as, id_of};
use crate::presence::dialog_info_read::{DialogDocument, DialogElement};
use crate::presence::pidf_read::{PresenceDocument, StatusElement, Tuple};
use crate::presence::{Session, Terminal};
use crate::track::{Confidence, DialogState, Media, Side};

/// Dialogs of one publication. Partial documents may add to them; beyond it they are not believed.
const MOST_DIALOGS: usize = 256;

/// The place of a change among all changes: the greater, the newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(pub(super) u64);

/// A word, and when it became this word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said<T> {
    pub(super) word: T,
    pub(super) changed: Order,
}

impl<T: PartialEq> Said<T> {
    /// Says this now; what was said before and is said again is no change.
    fn now(word: T, before: Option<&Self>, order: Order) -> Self {
        let changed = before.filter(|before| before.word == word).map_or(order, |before| before.changed);
        Self { word, changed }
    }
}

/// What names a dialog.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DialogKey {
    /// The same in every document about it.
    Everywhere(String),
    /// An id that means something in the publication of this number only.
    Within(u64, String),
}

/// A binding as a document of ours tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) registered: Said<Terminal>,
    pub(super) contact: Option<String>,
    pub(super) terminal_type: Option<String>,
}

/// What a caller's dialog was before it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    /// The id that it had.
    pub(super) id: String,
    /// The tag that came with the answer.
    pub(super) remote_tag: Option<String>,
}

/// A dialog that is not over, as a document tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dialog {
    /// State and hold.
    pub(super) state: Said<(DialogState, bool)>,
    /// A dialog document lists it; else a mark in a presence document is all there is, or not even that.
    pub(super) documented: bool,
    pub(super) alias: Option<Alias>,
    pub(super) side: Option<Side>,
    /// Call-ID, the presentity's tag, the other's.
    pub(super) names: Option<(String, Option<String>, Option<String>)>,
    pub(super) remote: Option<String>,
}

impl Dialog {
    /// As the mark in a presence document tells it.
    const fn marked(state: Said<(DialogState, bool)>, alias: Option<Alias>) -> Self {
        Self { state, documented: false, alias, side: None, names: None, remote: None }
    }

    /// A document still lists it as it was before the answer: all but the answer is known from there.
    pub(super) fn follows(&mut self, before: &Self) {
        if self.documented || !before.documented {
            return;
        }
        let remote_tag = self.alias.as_ref().and_then(|alias| alias.remote_tag.clone());
        self.names = before.names.clone().map(|(call_id, local_tag, _)| (call_id, local_tag, remote_tag));
        (self.documented, self.side, self.remote) = (true, before.side, before.remote.clone());
    }

    /// How engaged one is by a dialog (SPEC section 7). Who is called and whose phone does not ring yet is not.
    pub(super) const fn session(&self) -> Session {
        match (self.state.word, self.side) {
            ((DialogState::Confirmed, false), _) => Session::Talking,
            ((DialogState::Confirmed, true), _) => Session::Held,
            ((DialogState::Early, _), Some(Side::Caller)) => Session::Calling,
            ((DialogState::Early, _), _) => Session::Ringing,
            ((DialogState::Trying, _), Some(Side::Called)) => Session::Idle,
            ((DialogState::Trying, _), _) => Session::Calling,
            ((DialogState::Terminated, _), _) => Session::Idle,
        }
    }
}

/// What documents of ours say besides the facts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct About {
    pub(super) session: Option<Session>,
    pub(super) session_type: Option<String>,
    pub(super) media: Vec<Media>,
    pub(super) watching: bool,
    pub(super) confidence: Confidence,
}

/// All that one publication says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Content {
    /// Registration facts by tuple id; those without a word are left out.
    pub(super) bindings: BTreeMap<String, Binding>,
    /// Session facts; `None` when the publication is not about sessions.
    pub(super) dialogs: Option<BTreeMap<DialogKey, Dialog>>,
    /// Dialogs that the latest document says are over, with their aliases.
    pub(super) over: Vec<(String, Option<String>)>,
    /// A terminal's word without facts.
    pub(super) foreign_terminal: Option<Said<Terminal>>,
    /// A session's word without facts.
    pub(super) foreign_session: Option<Said<Session>>,
    /// Tuples to hand on.
    pub(super) tuples: Vec<Tuple>,
    /// Activities to hand on.
    pub(super) activities: Vec<String>,
    /// Notes to hand on.
    pub(super) notes: Vec<String>,
    pub(super) about: Option<About>,
    /// When the publication last said something else than before.
    pub(super) changed: Order,
}

/// Which publication, and the place of this document among all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) publication: u64,
    pub(super) order: Order,
}

impl Content {
    /// Of a presence document.
    pub(super) fn of_presence(document: PresenceDocument, before: &Self, place: Place) -> Self {
        let PresenceDocument { entity: _, tuples, activities, notes, status } = document;
        let mut content = Self { notes, ..Self::default() };
        match status.as_ref().and_then(|status| status.registered) {
            Some(registered) => content.take_bindings(tuples, registered, before, place.order),
            None => content.take_tuples(tuples, before, place.order),
        }
        match status.as_ref().and_then(|status| status.session.map(|session| (status, session))) {
            Some((status, session)) => content.take_marks(status, session, before, place),
            None => content.take_activities(activities, before, place.order),
        }
        content.about = status.map(|status| About {
            session: status.session,
            session_type: status.session_type,
            media: status.media,
            watching: status.watching == Some(true),
            confidence: status.confidence.unwrap_or_default(),
        });
        content.since(before, place.order)
    }

    /// Of a dialog document.
    pub(super) fn of_dialogs(document: DialogDocument, before: &Self, place: Place) -> Self {
        let mut content = Self::default();
        let mut dialogs = match (document.full, &before.dialogs) {
            (false, Some(dialogs)) => dialogs.clone(),
            _ => BTreeMap::new(),
        };
        for element in document.dialogs {
            let (key, alias) = names_of(&element, place.publication);
            if element.state == DialogState::Terminated {
                dialogs.remove(&key);
                if let DialogKey::Everywhere(id) = key {
                    content.over.push((id, alias.map(|alias| alias.id)));
                }
                continue;
            }
            let known = before.dialog(&key);
            let state = Said::now((element.state, element.held), known, place.order);
            let dialog = Dialog {
                state,
                documented: true,
                alias,
                side: element.side,
                names: element.call_id.map(|call_id| (call_id, element.local_tag, element.remote_tag)),
                remote: element.remote_identity,
            };
            if dialogs.len() < MOST_DIALOGS || dialogs.contains_key(&key) {
                dialogs.insert(key, dialog);
            }
        }
        content.dialogs = Some(dialogs);
        content.since(before, place.order)
    }

    fn dialog(&self, key: &DialogKey) -> Option<&Said<(DialogState, bool)>> {
        self.dialogs.as_ref()?.get(key).map(|dialog| &dialog.state)
    }

    /// A binding is registered as its tuple says. In a document without bindings the tuple also says that who talks is
    /// there; what the registrations say is then the word.
    fn take_bindings(&mut self, tuples: Vec<Tuple>, registered: Terminal, before: &Self, order: Order) {
        for tuple in tuples {
            let word = match (&tuple.contact, tuple.open) {
                (None, _) => registered,
                (Some(_), Some(true)) => Terminal::Online,
                (Some(_), Some(false)) => Terminal::Offline,
                (Some(_), None) => continue,
            };
            if !matches!(word, Terminal::Online | Terminal::Offline) {
                continue;
            }
            let known = before.bindings.get(&tuple.id).map(|known| &known.registered);
            let registered = Said::now(word, known, order);
            let Tuple { id, contact, terminal_type, .. } = tuple;
            self.bindings.insert(id, Binding { registered, contact, terminal_type });
        }
    }

    fn take_tuples(&mut self, tuples: Vec<Tuple>, before: &Self, order: Order) {
        let mut said = tuples.iter().filter_map(|tuple| tuple.open);
        let word = match (said.clone().any(|open| open), said.next()) {
            (true, _) => Some(Terminal::Online),
            (false, Some(_)) => Some(Terminal::Offline),
            (false, None) => None,
        };
        self.foreign_terminal = word.map(|word| Said::now(word, before.foreign_terminal.as_ref(), order));
        self.tuples = tuples;
    }

    /// A session more engaged than the dialogs that it names rests on one that has no name.
    fn take_marks(&mut self, status: &StatusElement, session: Session, before: &Self, place: Place) {
        let mut dialogs = BTreeMap::new();
        let mut add = |key: DialogKey, alias, state: (DialogState, bool)| {
            let state = Said::now(state, before.dialog(&key), place.order);
            dialogs.insert(key, Dialog::marked(state, alias));
        };
        for mark in &status.dialogs {
            if mark.state == DialogState::Terminated {
                self.over.push((mark.id.clone(), mark.alias.clone()));
            } else {
                let remote_tag = mark.remote_tag.clone();
                let alias = mark.alias.clone().map(|id| Alias { id, remote_tag });
                add(DialogKey::Everywhere(mark.id.clone()), alias, (mark.state, mark.held));
            }
        }
        let named = dialogs.values().map(Dialog::session).max().unwrap_or_default();
        let nameless = match session {
            Session::Idle => None,
            Session::Calling => Some((DialogState::Trying, false)),
            Session::Ringing => Some((DialogState::Early, false)),
            Session::Held => Some((DialogState::Confirmed, true)),
            Session::Talking => Some((DialogState::Confirmed, false)),
        };
        if let Some(state) = nameless.filter(|_| session > named) {
            let key = DialogKey::Within(place.publication, String::new());
            let state = Said::now(state, before.dialog(&key), place.order);
            dialogs.insert(key, Dialog::marked(state, None));
        }
        self.dialogs = Some(dialogs);
    }

    fn take_activities(&mut self, activities: Vec<String>, before: &Self, order: Order) {
        let talking = activities.iter().any(|activity| activity == "on-the-phone");
        let word = talking.then_some(Session::Talking);
        self.foreign_session = word.map(|word| Said::now(word, before.foreign_session.as_ref(), order));
        self.activities = activities;
        self.activities.retain(|activity| !matches!(activity.as_str(), "on-the-phone" | "unknown"));
    }

    /// With the moment when it was first said.
    fn since(mut self, before: &Self, order: Order) -> Self {
        self.changed = before.changed;
        if self != *before {
            self.changed = order;
        }
        self
    }
}

/// By Call-ID and tags where the document has them, and the alias that the caller's end had. That a dialog goes on after
/// its end was revoked is told by its id only.
fn names_of(element: &DialogElement, publication: u64) -> (DialogKey, Option<Alias>) {
    let (Some(call_id), Some(local)) = (&element.call_id, &element.local_tag) else {
        return (DialogKey::Within(publication, element.id.clone()), None);
    };
    let remote = element.remote_tag.as_deref();
    let alias = remote
        .filter(|_| element.side == Some(Side::Caller))
        .map(|remote| Alias { id: id_of(call_id, local, None), remote_tag: Some(remote.to_owned()) });
    let id = id_of(call_id, local, remote);
    let id = if goes_on_as(&id, &element.id) { element.id.clone() } else { id };
    (DialogKey::Everywhere(id), alias)
}
