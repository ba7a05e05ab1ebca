//! One status out of what several publications say.
//! In: the contents of a presentity's publications. Out: what it is. Knows nothing of SIP messages, subscriptions.
//! SPEC section 9: facts, not words. Facts merge by their ids, wherever they come from: the newest word on a binding, and
//! on a dialog the furthest, for a dialog never goes back; that it is over is final. The facts have one word for each
//! facet. Between that and the words of documents without facts the newest change counts.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{About, Binding, Content, Dialog, DialogKey, Order, Said};
use crate::base::Timestamp;
use crate::presence::dialog_info_read::DialogElement;
use crate::presence::pidf::{Foreign, person_id, tuple_id};
use crate::presence::pidf_read::DialogMark;
use crate::presence::rules::{Stored, Update, apply};
use crate::presence::xml::stable_id;
use crate::presence::{BindingView, PresentityState, Session, Terminal};
use crate::sip::Aor;
use crate::track::DialogState;

/// What all publications together say of the two facets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Unknown, online or offline.
    pub(super) registered: Terminal,
    pub(super) session: Session,
}

/// What becomes of what is stored when the words change. The session goes first: who is no longer registered while a
/// talk begins may have been so at its beginning, and waits for its end.
pub(super) fn settle(stored: Stored, old: Words, new: Words) -> Stored {
    let mut stored = stored;
    if new.session != old.session {
        stored = apply(stored, Update::Session(new.session));
    }
    if new.registered != old.registered {
        stored = match new.registered {
            Terminal::Online => apply(stored, Update::Online),
            Terminal::Offline | Terminal::OfflineWaiting => apply(stored, Update::Offline),
            Terminal::Unknown => withdraw(stored),
        };
    }
    stored
}

/// Nobody has a word on the terminal any more: unknown, or online for as long only as it talks.
const fn withdraw(stored: Stored) -> Stored {
    let talking = matches!(stored.session, Session::Talking | Session::Held);
    if talking || stored.inferred.is_some() {
        Stored { terminal: Terminal::Online, inferred: Some(Terminal::Unknown), ..stored }
    } else {
        Stored { terminal: Terminal::Unknown, inferred: None, ..stored }
    }
}

/// A presentity as its publications make it.
#[derive(Clone, Debug, Default)]
pub(super) struct Composed {
    pub(super) state: PresentityState,
    pub(super) foreign: Foreign,
    /// The live dialogs that dialog documents list, the one that changed last at the end. Who watches dialogs is not
    /// told of those that have no more than a mark: the document that names them is on its way, or nobody has it.
    pub(super) dialogs: Vec<DialogElement>,
    /// All live dialogs, for presence documents.
    pub(super) marks: Vec<DialogMark>,
}

/// What has to be remembered of a presentity from one composition to the next.
#[derive(Debug, Default)]
pub(super) struct Composition {
    stored: Stored,
    words: Words,
    /// The facts' own words.
    registrations: Option<Said<Terminal>>,
    sessions: Option<Said<Session>>,
    ended: Ended,
}

/// Bounds and times of a composition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Dialogs that are over, at most.
    pub(super) most_ended: usize,
    /// Seconds for which a dialog that is over is remembered after the last document that still believed in it.
    pub(super) ended_s: u32,
}

/// Dialogs that are over, by id, and until when that is remembered.
#[derive(Debug, Default)]
struct Ended(BTreeMap<String, Timestamp>);

impl Ended {
    fn add(&mut self, id: &str, until: Timestamp, most: usize) {
        self.0.insert(id.to_owned(), until);
        while self.0.len() > most {
            let oldest = self.0.iter().min_by_key(|(_, until)| **until).map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
    }
}

impl Composition {
    /// What the table of SPEC section 9 made of it.
    #[cfg(test)]
    pub(super) const fn stored(&self) -> Stored {
        self.stored
    }

    /// When nothing is left to remember, if nobody publishes any more.
    pub(super) fn forgettable_at(&self) -> Option<Timestamp> {
        self.ended.0.values().max().copied()
    }

    /// Composes anew. `contents` are those of all publications, in the order of their first documents.
    pub(super) fn update(
        &mut self,
        aor: &Aor,
        now: Timestamp,
        order: Order,
        contents: &[&Content],
        memory: Memory,
    ) -> Composed {
        self.remember(now, contents, memory);
        let dialogs = self.merged(contents);
        let newest_bindings = bindings(contents);
        let registered = newest_bindings.values().map(|(_, binding)| binding.registered.word);
        // Online is the less of the two.
        let registered = registered.min();
        self.registrations = again(self.registrations, registered, order);
        let about_sessions = contents.iter().any(|content| content.dialogs.is_some());
        let session =
            about_sessions.then(|| dialogs.values().map(|dialog| dialog.session()).max().unwrap_or_default());
        self.sessions = again(self.sessions, session, order);

        let terminals = contents.iter().filter_map(|content| content.foreign_terminal);
        let sessions = contents.iter().filter_map(|content| content.foreign_session);
        let words = Words {
            registered: newest(self.registrations, terminals).unwrap_or_default(),
            session: newest(self.sessions, sessions).unwrap_or_default(),
        };
        self.stored = settle(self.stored, self.words, words);
        self.words = words;
        self.composed(aor, contents, &newest_bindings, dialogs)
    }

    fn remember(&mut self, now: Timestamp, contents: &[&Content], memory: Memory) {
        let until = now.after_s(memory.ended_s);
        for (id, alias) in contents.iter().flat_map(|content| &content.over) {
            for id in [Some(id), alias.as_ref()].into_iter().flatten() {
                self.ended.add(id, until, memory.most_ended);
            }
        }
        for key in contents.iter().flat_map(|content| content.dialogs.iter().flat_map(BTreeMap::keys)) {
            if let DialogKey::Everywhere(id) = key
                && let Some(remembered) = self.ended.0.get_mut(id)
            {
                *remembered = until;
            }
        }
        self.ended.0.retain(|_, until| *until > now);
    }

    /// Each live dialog once: the furthest, then newest word on it, with whatever else somebody says of it.
    fn merged(&self, contents: &[&Content]) -> BTreeMap<DialogKey, Dialog> {
        let mut merged: BTreeMap<DialogKey, Dialog> = BTreeMap::new();
        let all = || contents.iter().flat_map(|content| content.dialogs.iter().flatten());
        for (key, dialog) in all() {
            if matches!(key, DialogKey::Everywhere(id) if self.ended.0.contains_key(id)) {
                continue;
            }
            let Some(known) = merged.get_mut(key) else {
                merged.insert(key.clone(), dialog.clone());
                continue;
            };
            let rank = |dialog: &Dialog| (dialog.state.word.0, dialog.state.changed);
            if rank(dialog) > rank(known) {
                known.state = dialog.state;
            }
            known.documented |= dialog.documented;
            known.alias = known.alias.take().or_else(|| dialog.alias.clone());
            known.side = known.side.or(dialog.side);
            known.names = known.names.take().or_else(|| dialog.names.clone());
            known.remote = known.remote.take().or_else(|| dialog.remote.clone());
        }
        // Who says the same later does not make it younger.
        for (key, dialog) in all() {
            if let Some(known) = merged.get_mut(key).filter(|known| known.state.word == dialog.state.word) {
                known.state.changed = known.state.changed.min(dialog.state.changed);
            }
        }
        let before_answer = |dialog: &Dialog| Some(DialogKey::Everywhere(dialog.alias.clone()?.id));
        let aliases: BTreeSet<DialogKey> = merged.values().filter_map(before_answer).collect();
        let (answered, mut merged): (BTreeMap<_, _>, BTreeMap<_, _>) =
            merged.into_iter().partition(|(key, _)| aliases.contains(key));
        for dialog in merged.values_mut() {
            if let Some(before) = before_answer(dialog).and_then(|key| answered.get(&key)) {
                dialog.follows(before);
            }
        }
        merged
    }

    fn composed(
        &self,
        aor: &Aor,
        contents: &[&Content],
        bindings: &BTreeMap<&String, (Order, &Binding)>,
        dialogs: BTreeMap<DialogKey, Dialog>,
    ) -> Composed {
        let Stored { terminal, session, .. } = self.stored;
        let abouts =
            || contents.iter().filter_map(|content| Some((content.changed, content.about.as_ref()?)));
        let engaged: Option<&About> = abouts()
            .filter(|(_, about)| session != Session::Idle && about.session == Some(session))
            .max_by_key(|(changed, _)| *changed)
            .map(|(_, about)| about);
        let mut open: Vec<_> =
            bindings.values().filter(|(_, binding)| binding.registered.word == Terminal::Online).collect();
        open.sort_by_key(|(_, binding)| binding.registered.changed);
        let mut contacts = BTreeSet::new();
        let views: Vec<BindingView> = open
            .iter()
            .filter(|(_, binding)| contacts.insert(&binding.contact))
            .filter_map(|(_, binding)| {
                Some(BindingView {
                    contact: binding.contact.as_deref()?.into(),
                    user_agent: binding.terminal_type.as_deref().map(Into::into),
                    expires_at: Timestamp::MAX,
                })
            })
            .collect();
        let without_contact = bindings.values().find(|(_, binding)| binding.contact.is_none());
        let state = PresentityState {
            terminal,
            registered: self.stored.registered(),
            session,
            watching: abouts().any(|(_, about)| about.watching),
            confidence: abouts().map(|(_, about)| about.confidence).max().unwrap_or_default(),
            publishable: true,
            contact: views.last().map(|view| view.contact.clone()),
            user_agent: without_contact
                .and_then(|(_, binding)| binding.terminal_type.as_deref())
                .map(Into::into),
            peer: None,
            session_type: engaged.and_then(|about| about.session_type.as_deref()).map(Into::into),
            media: engaged.map(|about| about.media.as_slice().into()).unwrap_or_default(),
            bindings: views,
            dialogs: Vec::new(),
        };
        let mut dialogs: Vec<(DialogKey, Dialog)> = dialogs.into_iter().collect();
        dialogs.sort_by_key(|(_, dialog)| dialog.state.changed);
        Composed {
            foreign: foreign(aor, contents, &state),
            marks: dialogs.iter().map(|(key, dialog)| mark(key, dialog)).collect(),
            dialogs: dialogs
                .into_iter()
                .filter(|(_, dialog)| dialog.documented)
                .map(|(key, dialog)| element(&key, dialog))
                .collect(),
            state,
        }
    }
}

/// Of each binding the newest word.
fn bindings<'a>(contents: &[&'a Content]) -> BTreeMap<&'a String, (Order, &'a Binding)> {
    let mut newest: BTreeMap<&String, (Order, &Binding)> = BTreeMap::new();
    for (id, binding) in contents.iter().flat_map(|content| &content.bindings) {
        let changed = binding.registered.changed;
        let known = newest.entry(id).or_insert((changed, binding));
        if changed > known.0 {
            *known = (changed, binding);
        }
    }
    newest
}

/// The facts' word and since when; the same word again is no change.
fn again<T: PartialEq + Copy>(before: Option<Said<T>>, word: Option<T>, order: Order) -> Option<Said<T>> {
    let word = word?;
    Some(before.filter(|before| before.word == word).unwrap_or(Said { word, changed: order }))
}

fn newest<T: Copy>(facts: Option<Said<T>>, others: impl Iterator<Item = Said<T>>) -> Option<T> {
    facts.into_iter().chain(others).max_by_key(|said| said.changed).map(|said| said.word)
}

fn id_text(key: &DialogKey) -> String {
    match key {
        DialogKey::Everywhere(id) => id.clone(),
        DialogKey::Within(publication, id) => stable_id('d', &["within", &publication.to_string(), id]),
    }
}

fn mark(key: &DialogKey, dialog: &Dialog) -> DialogMark {
    let (state, held) = dialog.state.word;
    let alias = dialog.alias.as_ref().map(|alias| alias.id.clone());
    // A tag is for who composes, not for watchers.
    DialogMark { id: id_text(key), alias, remote_tag: None, state, held }
}

fn element(key: &DialogKey, dialog: Dialog) -> DialogElement {
    let id = id_text(key);
    let (state, held) = dialog.state.word;
    let (call_id, local_tag, remote_tag) = match dialog.names {
        Some((call_id, local, remote)) => (Some(call_id), local, remote),
        None => (None, None, None),
    };
    DialogElement {
        id,
        call_id,
        local_tag,
        remote_tag,
        side: dialog.side,
        state,
        held: held && state == DialogState::Confirmed,
        remote_identity: dialog.remote,
    }
}

/// What others said, with ids that are unique in the document.
fn foreign(aor: &Aor, contents: &[&Content], state: &PresentityState) -> Foreign {
    let mut foreign = Foreign::default();
    let own = state.bindings.iter().map(|binding| tuple_id(aor, &binding.contact));
    let mut taken: BTreeSet<String> = own.collect();
    taken.extend([tuple_id(aor, ""), person_id(aor)]);
    for content in contents {
        for tuple in &content.tuples {
            let mut tuple = tuple.clone();
            let mut copies = 0_u32;
            while !is_name(&tuple.id) || !taken.insert(tuple.id.clone()) {
                copies += 1;
                tuple.id = stable_id('t', &[&tuple.id, &copies.to_string()]);
            }
            foreign.tuples.push(tuple);
        }
        for activity in &content.activities {
            if !foreign.activities.contains(activity) {
                foreign.activities.push(activity.clone());
            }
        }
        for note in &content.notes {
            if !foreign.notes.contains(note) {
                foreign.notes.push(note.clone());
            }
        }
    }
    foreign
}

/// An ASCII name as `xs:ID` wants it.
fn is_name(id: &str) -> bool {
    id.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERED: [Terminal; 3] = [Terminal::Unknown, Terminal::Online, Terminal::Offline];
    const SESSIONS: [Session; 5] =
        [Session::Idle, Session::Calling, Session::Ringing, Session::Held, Session::Talking];

    fn all_words() -> impl Iterator<Item = Words> {
        REGISTERED.into_iter().flat_map(|registered| SESSIONS.map(|session| Words { registered, session }))
    }

    /// All that any order of words leads to.
    fn reachable() -> Vec<(Stored, Words)> {
        let mut reached = vec![(Stored::default(), Words::default())];
        let mut next = 0;
        while let Some(&(stored, old)) = reached.get(next) {
            for new in all_words() {
                let after = (settle(stored, old, new), new);
                if !reached.contains(&after) {
                    reached.push(after);
                }
            }
            next += 1;
        }
        reached
    }

    #[test]
    fn no_order_of_words_reaches_a_contradiction() {
        let reached = reachable();
        assert!(reached.len() > 20, "{}", reached.len());
        for (stored, words) in reached {
            let talking = matches!(stored.session, Session::Talking | Session::Held);
            let wrong = match stored.terminal {
                Terminal::Offline | Terminal::Unknown => talking,
                Terminal::OfflineWaiting => !talking,
                Terminal::Online => false,
            };
            assert!(!wrong, "reachable: {stored:?} {words:?}");
            assert_eq!((stored.registered(), stored.session), (words.registered, words.session));
        }
    }

    #[test]
    fn a_change_of_one_word_is_one_row_of_the_table() {
        for (stored, old) in reachable() {
            for session in SESSIONS.into_iter().filter(|session| *session != old.session) {
                let expected = apply(stored, Update::Session(session));
                assert_eq!(settle(stored, old, Words { session, ..old }), expected);
            }
            for (registered, update) in
                [(Terminal::Online, Update::Online), (Terminal::Offline, Update::Offline)]
            {
                if registered != old.registered {
                    assert_eq!(settle(stored, old, Words { registered, ..old }), apply(stored, update));
                }
            }
            assert_eq!(settle(stored, old, old), stored, "the same words change nothing");
        }
    }

    #[test]
    fn a_word_that_is_withdrawn_leaves_unknown_not_offline() {
        for (stored, old) in reachable() {
            let after = settle(stored, old, Words { registered: Terminal::Unknown, ..old });
            let talking = matches!(after.session, Session::Talking | Session::Held);
            assert!(matches!(after.terminal, Terminal::Unknown | Terminal::Online), "{after:?}");
            assert!(!talking || after.inferred == Some(Terminal::Unknown), "{after:?}");
            let idle = settle(after, Words { registered: Terminal::Unknown, ..old }, Words::default());
            assert_eq!(idle, Stored::default());
        }
    }
}
