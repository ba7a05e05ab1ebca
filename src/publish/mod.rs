//! Publication: presentities' states to a presence server.
//! In: `PresentityChange`, messages, time. Out: messages, outcomes. Knows nothing of tracking, sockets, clocks.
//! RFC 3903. One PUBLISH is in flight per publication; what comes meanwhile waits, and the latest of it counts.

mod cloud_event;
mod document;
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
pub use options::{OnStop, PublishOptions};
pub use publication::Operation;
pub use publisher::Publisher;
pub use server::Server;
pub use webhook::{
    DropReason, TRIED_FOR, Webhook, WebhookAnswer, WebhookCounters, WebhookNotice, WebhookOptions,
    WebhookRequest,
};
pub use webhook_signature::WebhookSecret;

use crate::base::Timestamp;
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
    /// What was done.
    pub operation: Operation,
    /// The server took it. A 404, 412 or 500 to a removal counts: it is gone.
    pub acknowledged: bool,
    /// The final response; `None` when there was none.
    pub status: Option<u16>,
    /// Seconds granted, when acknowledged; 0 for a removal.
    pub expires_s: Option<u32>,
}
