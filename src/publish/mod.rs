//! Publication: presentities' states to a presence server.
//! In: `PresentityChange`, messages, time. Out: messages, outcomes. Knows nothing of tracking, sockets, clocks.
//! RFC 3903. A presentity has one publication per event package, or per facet of it. One request is in flight per
//! publication; what comes meanwhile waits, and the latest of it counts.

mod cloud_event;
mod document;
mod operation;
mod options;
mod pace;
mod publication;
mod publisher;
mod request;
mod server;
mod webhook;
mod webhook_signature;

pub use crate::presence::EventPackage;
pub use cloud_event::{Line, LineKind};
pub use operation::Operation;
pub use options::{Facets, OnStop, PublishMethod, PublishOptions, RefreshOn};
pub use publisher::Publisher;
pub use server::Server;
pub use webhook::{
    DropReason, TRIED_FOR, Webhook, WebhookAnswer, WebhookCounters, WebhookNotice, WebhookOptions,
    WebhookRequest,
};
pub use webhook_signature::WebhookSecret;

use crate::base::Timestamp;
use crate::presence::pidf::Facet;
use crate::sip::Aor;

/// What became of one operation. A challenge that was answered and a 423 that was followed are steps, not outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationOutcome {
    /// When the answer came, or was given up.
    pub at: Timestamp,
    /// Whose publication.
    pub aor: Aor,
    /// Of which package.
    pub event: EventPackage,
    /// Of which part of the status; all of it unless [`Facets::Separate`] was chosen, and for `dialog` always.
    pub facet: Facet,
    /// What was done.
    pub operation: Operation,
    /// The server took it. A 404, 412 or 500 to a removal counts: it is gone.
    pub acknowledged: bool,
    /// The final response; `None` when there was none.
    pub status: Option<u16>,
    /// Seconds granted, when acknowledged; 0 for a removal.
    pub expires_s: Option<u32>,
}
