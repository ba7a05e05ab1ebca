//! What a presentity is, and what changed about it.
//! In: nothing. Out: vocabulary for lines, documents and publications. Knows nothing of SIP messages or output.

use std::sync::Arc;

use crate::base::Timestamp;
use crate::sip::Aor;
use crate::track::{Confidence, DialogState, EndId, Evidence, Media, Side};

/// Is the presentity's terminal reachable?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Terminal {
    /// No evidence.
    #[default]
    Unknown,
    /// Registered.
    Online,
    /// No longer registered, but still talking.
    OfflineWaiting,
    /// Not registered.
    Offline,
}

impl Terminal {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Online => "online",
            Self::OfflineWaiting => "offline-waiting",
            Self::Offline => "offline",
        }
    }

    /// Whose word it is.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Unknown, Self::Online, Self::OfflineWaiting, Self::Offline]
            .into_iter()
            .find(|known| known.name() == name)
    }
}

/// What does the presentity do? The greater, the more engaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Session {
    /// Nothing.
    #[default]
    Idle,
    /// It sent an INVITE.
    Calling,
    /// Its phone rings.
    Ringing,
    /// In a session on hold.
    Held,
    /// In a session.
    Talking,
}

impl Session {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Calling => "calling",
            Self::Ringing => "ringing",
            Self::Held => "held",
            Self::Talking => "talking",
        }
    }

    /// Whose word it is.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Idle, Self::Calling, Self::Ringing, Self::Held, Self::Talking]
            .into_iter()
            .find(|known| known.name() == name)
    }
}

/// A presentity as it now is.
#[derive(Clone, Debug, Default)]
pub struct PresentityState {
    /// Reachable or not.
    pub terminal: Terminal,
    /// What the registrations alone say: unknown, online or offline. One who talks is online without them, and one who
    /// is offline-waiting has none.
    pub registered: Terminal,
    /// Engaged or not.
    pub session: Session,
    /// It subscribes to somebody's presence.
    pub watching: bool,
    /// The worst of the evidence that holds the status.
    pub confidence: Confidence,
    /// An accepted registration supports this AOR, or its domain was given: it may be published.
    pub publishable: bool,
    /// Contact of the engaged phone, else the newest registered.
    pub contact: Option<Arc<str>>,
    /// User-Agent of that contact's phone.
    pub user_agent: Option<Arc<str>>,
    /// Whom the engaged end dialled or was called by; only while not idle.
    pub peer: Option<Arc<str>>,
    /// `call`, or what the destination says; only while not idle.
    pub session_type: Option<Arc<str>>,
    /// What the engaged session carries; only while not idle.
    pub media: Arc<[Media]>,
    /// The bindings, newest last; none where only lines are wanted and this one tells no new address.
    pub bindings: Vec<BindingView>,
    /// The live dialogs, and terminated ones that were listed before, oldest first; none where only lines are wanted.
    pub dialogs: Vec<DialogView>,
}

/// A binding in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingView {
    /// The contact's URI.
    pub contact: Arc<str>,
    /// The phone's User-Agent.
    pub user_agent: Option<Arc<str>>,
    /// When the granted time ends.
    pub expires_at: Timestamp,
}

/// A dialog end in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogView {
    /// Which end.
    pub end: EndId,
    /// Call-ID.
    pub call_id: Arc<str>,
    /// The presentity's own tag.
    pub local_tag: Option<Arc<str>>,
    /// The other end's tag.
    pub remote_tag: Option<Arc<str>>,
    /// See [`crate::track::DialogFact::revoked_ends`].
    pub revoked_ends: u32,
    /// Caller → `initiator`, called → `recipient`.
    pub side: Side,
    /// RFC 4235: a ringing end is early, a calling one trying.
    pub state: DialogState,
    /// On hold.
    pub held: bool,
    /// The other party's URI.
    pub remote: Option<Arc<str>>,
}

#[cfg(test)]
impl DialogView {
    /// Of the call with this number: an end that was called, by nobody knows whom.
    pub(crate) fn numbered(number: u64, state: DialogState) -> Self {
        Self {
            end: EndId(number),
            call_id: format!("call-{number}").into(),
            local_tag: Some("a".into()),
            remote_tag: Some("b".into()),
            revoked_ends: 0,
            side: Side::Called,
            state,
            held: false,
            remote: None,
        }
    }

    /// The same of an end that called Bob.
    pub(crate) fn to_bob(number: u64, state: DialogState) -> Self {
        let remote = Some("sip:bob@example.com".into());
        Self { side: Side::Caller, remote, ..Self::numbered(number, state) }
    }
}

/// What kind of change a [`PresentityChange`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// (terminal, session, watching) changed: a status line.
    Status,
    /// The registered address changed: a line of kind `contact`.
    Contact,
    /// Only what documents list changed: no line.
    Document,
}

/// Which changes somebody wants to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangesWanted {
    /// All: documents are published.
    #[default]
    All,
    /// Those that make a line.
    Lines,
}

/// One change of one presentity, as of the end of one frame or timer.
#[derive(Clone, Debug)]
pub struct PresentityChange {
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub aor: Aor,
    /// What kind of change.
    pub kind: ChangeKind,
    /// Terminal and session before it.
    pub previous: (Terminal, Session),
    /// The contact that was registered last before it; only for [`ChangeKind::Contact`].
    pub previous_contact: Option<Arc<str>>,
    /// Why.
    pub because: Evidence,
    /// All that is now true.
    pub state: Arc<PresentityState>,
}
