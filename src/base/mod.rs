//! What every room uses and what knows nobody: time, deadlines, bounds, oddities, redaction, chance, shared texts.
//! In: nothing. Out: small vocabulary types. Knows nothing of SIP, presence, sockets, clocks.

mod deadlines;
mod limits;
mod listen;
mod oddity;
mod packet;
mod pattern;
mod places;
mod random;
mod redact;
mod rules;
mod secret;
mod sight;
mod texts;
mod time;

pub use deadlines::Deadlines;
pub use limits::Limits;
pub use listen::{Listen, ListenError, default_port};
pub use oddity::{Oddities, Oddity};
pub use packet::{Address, AddressMark, Flow, FrameId, HeardTransport, Hop, LinkType, Transmit, Transport};
pub use pattern::matches_pattern;
pub use places::Places;
pub use random::{Random, backoff};
pub use redact::Redacted;
pub use rules::{EndedOn, RegistrarLists, Rules, TalkingOn};
pub use secret::Secret;
pub use sight::{Blindness, CaptureChange, CaptureEvent, FrameCounts};
pub use texts::Texts;
pub use time::Timestamp;
