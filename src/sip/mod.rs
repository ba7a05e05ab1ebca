//! SIP: bytes to messages and back.
//! In: the bytes of one message. Out: borrowed views of it. Knows nothing of dialogs, presence, sockets, clocks.

mod aor;
pub mod authenticator;
mod cut;
pub mod dialog;
pub mod digest;
pub mod digest_guard;
pub mod flights;
mod headers;
pub mod invite_transaction;
mod lex;
mod message;
mod method;
mod multipart;
mod names;
mod params;
mod scan;
pub mod sdp;
pub mod server_transaction;
pub mod transaction;
pub mod unreadable;
pub mod uri;
pub mod write;

pub use aor::Aor;
pub use cut::CutMessages;
pub use headers::{CSeq, Challenge, Contact, Credentials, NameAddr, Via};
pub use message::SipMessage;
pub use method::Method;
pub use names::HeaderName;
pub use params::Params;
pub use scan::{ScanError, Scanner, looks_like_sip};
pub use sdp::{Direction, Sdp, SdpMedia};
pub use uri::{Scheme, Uri};

/// How the Call-IDs of offhook's own requests begin: a tap that hears them leaves them alone.
pub const OWN_CALL_ID_PREFIX: &str = "offhook-";

/// With this begins the Call-ID of a dialog in which we ring a caller's phone: of that the phone's end is tracked as any, and
/// ours is nobody's.
pub const OWN_RECALL_PREFIX: &str = "recall-offhook-";
