//! The dialogs that a subscription's documents list, put together.
//! In: dialog documents in the order in which they came. Out: which dialogs there are. Knows nothing of SIP messages.
//! RFC 4235 section 4.3.

use crate::presence::dialog_info_read::{DialogDocument, DialogElement};
use crate::track::DialogState;

use super::told::DialogTold;

/// Dialogs of one presentity that are remembered; further ones are not.
const MAX_DIALOGS: usize = 64;

/// What a document did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is now part of what is known.
    Merged,
    /// It says nothing newer than what is known.
    Old,
    /// Documents before it are missing: a full one is needed.
    Gap,
}

/// What one subscription's documents say.
#[derive(Debug, Default)]
pub(super) struct Dialogs {
    version: Option<u32>,
    /// In the order in which they were first listed.
    live: Vec<DialogElement>,
}

impl Dialogs {
    /// Takes the next document. One that is partial counts only directly after the one before it, one that is full
    /// whenever its version is higher, or when it has none.
    pub(super) fn take(&mut self, document: DialogDocument) -> Taken {
        match (self.version, document.version) {
            (Some(known), Some(version)) if version <= known => return Taken::Old,
            (Some(known), Some(version)) if !document.full && version - known > 1 => return Taken::Gap,
            (None, _) | (_, None) if !document.full => return Taken::Gap,
            _ => {}
        }
        self.version = document.version.or(self.version);
        if document.full {
            self.live.retain(|known| document.dialogs.iter().any(|dialog| dialog.id == known.id));
        }
        for dialog in document.dialogs {
            if dialog.state == DialogState::Terminated {
                self.live.retain(|known| known.id != dialog.id);
            } else if let Some(known) = self.live.iter_mut().find(|known| known.id == dialog.id) {
                *known = dialog;
            } else if self.live.len() < MAX_DIALOGS {
                self.live.push(dialog);
            }
        }
        Taken::Merged
    }

    /// The dialogs that are not over.
    pub(super) fn told(&self) -> Vec<DialogTold> {
        self.live.iter().map(DialogTold::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(version: u32, full: bool, dialogs: &[(&str, DialogState)]) -> DialogDocument {
        let dialogs = dialogs.iter().map(|(id, state)| DialogElement {
            id: (*id).to_owned(),
            call_id: None,
            local_tag: None,
            remote_tag: None,
            side: None,
            state: *state,
            held: false,
            remote_identity: None,
        });
        DialogDocument {
            entity: "sip:bob@example.com".to_owned(),
            version: Some(version),
            full,
            dialogs: dialogs.collect(),
        }
    }

    fn states(dialogs: &Dialogs) -> Vec<DialogState> {
        dialogs.told().into_iter().map(|dialog| dialog.state).collect()
    }

    #[test]
    fn a_partial_document_changes_what_it_lists_and_leaves_the_rest() {
        use DialogState::{Confirmed, Early, Terminated, Trying};
        let mut dialogs = Dialogs::default();
        assert_eq!(dialogs.take(document(0, true, &[("a", Early), ("b", Trying)])), Taken::Merged);
        assert_eq!(dialogs.take(document(1, false, &[("a", Confirmed)])), Taken::Merged);
        assert_eq!(states(&dialogs), [Confirmed, Trying]);
        assert_eq!(dialogs.take(document(2, false, &[("a", Terminated)])), Taken::Merged);
        assert_eq!(states(&dialogs), [Trying]);
        assert_eq!(dialogs.take(document(3, true, &[])), Taken::Merged);
        assert_eq!(states(&dialogs), []);
    }

    #[test]
    fn an_old_version_is_not_believed_and_a_missing_one_is_missed() {
        use DialogState::{Confirmed, Early};
        let mut dialogs = Dialogs::default();
        assert_eq!(dialogs.take(document(4, false, &[("a", Early)])), Taken::Gap, "nothing to change yet");
        assert_eq!(dialogs.take(document(4, true, &[("a", Confirmed)])), Taken::Merged);
        assert_eq!(dialogs.take(document(4, true, &[])), Taken::Old);
        assert_eq!(dialogs.take(document(3, true, &[])), Taken::Old);
        assert_eq!(dialogs.take(document(6, false, &[])), Taken::Gap);
        assert_eq!(states(&dialogs), [Confirmed]);
        assert_eq!(dialogs.take(document(6, true, &[])), Taken::Merged, "a full one needs none before it");
        assert_eq!(states(&dialogs), []);
    }

    #[test]
    fn no_document_makes_the_list_grow_without_bound() {
        let ids: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let listed: Vec<_> = ids.iter().map(|id| (id.as_str(), DialogState::Early)).collect();
        let mut dialogs = Dialogs::default();
        dialogs.take(document(0, true, &listed));
        assert_eq!(dialogs.told().len(), MAX_DIALOGS);
    }
}
