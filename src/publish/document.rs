//! What one publication is to say, and for how long.
//! In: a presentity's state. Out: bodies, and whether two say the same. Knows nothing of requests, answers.

use std::sync::Arc;

use crate::base::Timestamp;
use crate::presence::dialog_info::{self, DialogInfoOptions};
use crate::presence::pidf::{self, Facet};
use crate::presence::{DialogView, EventPackage, PresentityChange, PresentityState, Session, Terminal};
use crate::publish::options::Facets;
use crate::sip::Aor;
use crate::track::DialogState;

/// Which of a presentity's publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Part {
    pub(crate) event: EventPackage,
    /// Of the status; a dialog document tells no status and has but one.
    pub(crate) facet: Facet,
}

impl Part {
    /// The parts that are published.
    pub(crate) fn chosen(events: &[EventPackage], facets: Facets) -> Vec<Self> {
        let all = match facets {
            Facets::Combined => &[Facet::Combined][..],
            Facets::Separate => &[Facet::Terminal, Facet::Session],
        };
        let presence = all.iter().map(|&facet| Self { event: EventPackage::Presence, facet });
        let dialog = [Self { event: EventPackage::Dialog, facet: Facet::Combined }];
        presence.chain(dialog).filter(|part| events.contains(&part.event)).collect()
    }

    /// The dialogs that its documents list as not terminated.
    fn live(self, state: &PresentityState) -> impl Iterator<Item = &DialogView> {
        let lists = self.facet != Facet::Terminal;
        state.dialogs.iter().filter(move |dialog| lists && dialog.state != DialogState::Terminated)
    }

    /// There is something to say: a terminal without evidence is not published (SPEC section 7), nor is what one does
    /// of whom nothing is known.
    fn is_told(self, state: &PresentityState) -> bool {
        let known = state.terminal != Terminal::Unknown;
        let engaged = state.session != Session::Idle || self.live(state).next().is_some();
        match (self.event, self.facet) {
            (EventPackage::Presence, Facet::Combined) => known,
            (EventPackage::Presence, Facet::Terminal) => state.registered != Terminal::Unknown,
            (EventPackage::Presence, Facet::Session) => known || engaged,
            (EventPackage::Dialog, _) => known || self.live(state).next().is_some(),
        }
    }
}

/// How long a publication is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// As long as is configured, and refreshed before that is over.
    OwnTimer,
    /// As long as the phone's registration, and refreshed when that is.
    Registration {
        /// The end of the granted time.
        until: Timestamp,
        /// The same in packet time, by which a refresh is known.
        ends: Timestamp,
    },
}

/// What a publication is to say from now on.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    at: Timestamp,
    state: Arc<PresentityState>,
    /// The body without what changes although nothing is said anew: timestamps, versions, terminated dialogs.
    essence: Vec<u8>,
    lifetime: Lifetime,
}

impl Document {
    /// The document of what a presentity now is, or `None` if there is nothing to say.
    pub(crate) fn new(part: Part, change: &PresentityChange, options: DialogInfoOptions) -> Option<Self> {
        let PresentityChange { at, aor, state, .. } = change;
        if !part.is_told(state) {
            return None;
        }
        let essence = match part.event {
            EventPackage::Presence => {
                pidf::document(aor, state, part.live(state), part.facet, None, options.dialogs_per_document)
            }
            EventPackage::Dialog => dialog_info::document(aor, part.live(state), 0, options),
        };
        Some(Self { at: *at, state: Arc::clone(state), essence, lifetime: Lifetime::OwnTimer })
    }

    /// It is to last as long as the registration that it tells, if it tells an online terminal and nothing else: a
    /// session outlives no dead tap for longer than the own timer. Packet time runs apart from `now`: what counts is
    /// how long the longest binding still had when the change happened.
    pub(crate) fn follow_registration(&mut self, part: Part, now: Timestamp) {
        let Self { at, state, .. } = self;
        let online_only = match (part.event, part.facet) {
            (EventPackage::Presence, Facet::Terminal) => state.registered == Terminal::Online,
            (EventPackage::Presence, Facet::Combined) => {
                state.terminal == Terminal::Online && state.session == Session::Idle
            }
            (EventPackage::Presence, Facet::Session) | (EventPackage::Dialog, _) => false,
        };
        let ends = state.bindings.iter().map(|binding| binding.expires_at).max();
        if let Some(ends) = ends.filter(|_| online_only) {
            self.lifetime = Lifetime::Registration { until: now.after(ends.since(*at)), ends };
        }
    }

    pub(crate) fn essence(&self) -> &[u8] {
        &self.essence
    }

    pub(crate) const fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// The dialogs that it lists as not terminated.
    pub(crate) fn live(&self, part: Part) -> Vec<DialogView> {
        part.live(&self.state).cloned().collect()
    }

    /// The body. `listed` are dialogs that watchers may still believe in: those that are no longer live are
    /// listed as terminated.
    pub(crate) fn body(
        &self,
        part: Part,
        aor: &Aor,
        listed: &[DialogView],
        version: u32,
        options: DialogInfoOptions,
    ) -> Vec<u8> {
        let live: Vec<&DialogView> = part.live(&self.state).collect();
        let gone = gone(listed, &live);
        let dialogs = gone.iter().chain(live.iter().copied());
        match part.event {
            EventPackage::Presence => pidf::document(
                aor,
                &self.state,
                dialogs,
                part.facet,
                Some(self.at),
                options.dialogs_per_document,
            ),
            EventPackage::Dialog => dialog_info::document(aor, dialogs, version, options),
        }
    }
}

/// A dialog document that says of all those `listed` that they are over.
pub(crate) fn farewell(
    aor: &Aor,
    listed: &[DialogView],
    version: u32,
    options: DialogInfoOptions,
) -> Vec<u8> {
    dialog_info::document(aor, &gone(listed, &[]), version, options)
}

/// Those `listed` that are not live, as terminated.
fn gone(listed: &[DialogView], live: &[&DialogView]) -> Vec<DialogView> {
    listed
        .iter()
        .filter(|listed| live.iter().all(|live| live.end != listed.end))
        .map(|listed| DialogView { state: DialogState::Terminated, held: false, ..listed.clone() })
        .collect()
}
