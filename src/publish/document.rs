//! What one publication is to say.
//! In: a presentity's state. Out: bodies, and whether two say the same. Knows nothing of requests, answers.

use std::sync::Arc;

use crate::base::Timestamp;
use crate::presence::dialog_info::{self, DialogInfoOptions};
use crate::presence::pidf::Facet;
use crate::presence::{DialogView, EventPackage, PresentityState, Terminal, pidf};
use crate::sip::Aor;
use crate::track::DialogState;

/// What a publication is to say from now on.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    at: Timestamp,
    state: Arc<PresentityState>,
    /// The body without what changes although nothing is said anew: timestamps, versions, terminated dialogs.
    essence: Vec<u8>,
}

impl Document {
    /// The document of a state, or `None` if there is nothing to say: a terminal without evidence is not published
    /// (SPEC section 7), nor are the dialogs of one that has none.
    pub(crate) fn new(
        event: EventPackage,
        aor: &Aor,
        at: Timestamp,
        state: &Arc<PresentityState>,
        options: DialogInfoOptions,
    ) -> Option<Self> {
        let unknown = state.terminal == Terminal::Unknown;
        let essence = match event {
            EventPackage::Presence if unknown => return None,
            EventPackage::Dialog if unknown && live(state).next().is_none() => return None,
            EventPackage::Presence => pidf::document(aor, state, live(state), Facet::Combined, None),
            EventPackage::Dialog => dialog_info::document(aor, live(state), 0, options),
        };
        Some(Self { at, state: Arc::clone(state), essence })
    }

    pub(crate) fn essence(&self) -> &[u8] {
        &self.essence
    }

    /// The dialogs that it lists as not terminated; none for presence.
    pub(crate) fn live(&self, event: EventPackage) -> Vec<DialogView> {
        match event {
            EventPackage::Presence => Vec::new(),
            EventPackage::Dialog => live(&self.state).cloned().collect(),
        }
    }

    /// The body. `listed` are dialogs that watchers may still believe in: those that are no longer live are
    /// listed as terminated.
    pub(crate) fn body(
        &self,
        event: EventPackage,
        aor: &Aor,
        listed: &[DialogView],
        version: u32,
        options: DialogInfoOptions,
    ) -> Vec<u8> {
        match event {
            EventPackage::Presence => {
                pidf::document(aor, &self.state, live(&self.state), Facet::Combined, Some(self.at))
            }
            EventPackage::Dialog => {
                let live: Vec<&DialogView> = live(&self.state).collect();
                farewell(aor, listed, &live, version, options)
            }
        }
    }
}

/// A dialog document of `live` and of those `listed` that are not live, as terminated.
pub(crate) fn farewell(
    aor: &Aor,
    listed: &[DialogView],
    live: &[&DialogView],
    version: u32,
    options: DialogInfoOptions,
) -> Vec<u8> {
    let gone: Vec<DialogView> = listed
        .iter()
        .filter(|listed| live.iter().all(|live| live.end != listed.end))
        .map(|listed| DialogView { state: DialogState::Terminated, held: false, ..listed.clone() })
        .collect();
    dialog_info::document(aor, gone.iter().chain(live.iter().copied()), version, options)
}

fn live(state: &PresentityState) -> impl Iterator<Item = &DialogView> {
    state.dialogs.iter().filter(|dialog| dialog.state != DialogState::Terminated)
}
