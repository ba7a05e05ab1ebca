//! What all these tests share: the captures, what the tap makes of them, and frames taken apart and made anew.
//! In: capture files. Out: [`Capture`], [`Outcome`], [`Packet`]. Knows nothing of what is changed and what must hold.

pub mod captures;
pub mod claims;
pub mod dice;
pub mod outcome;
pub mod packets;
pub mod sip;
#[path = "../../support/websocket.rs"]
pub mod websocket;

pub use captures::{Capture, Seen};
pub use dice::Dice;
pub use outcome::{Faults, Outcome, outcome};
pub use packets::{Load, Packet};
