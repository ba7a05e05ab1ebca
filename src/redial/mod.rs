//! Redial: somebody called in vain; when the callee is back, the caller's phone is asked to call again.
//! In: what the tap found out, SIP messages of our own, time. Out: steps, SIP messages to send. Knows nothing of sockets,
//! clocks, configuration files.
//! RFC 3515 (REFER), 4488 (norefersub), 3892 (Referred-By), 5589 (REFER in practice), 3420 (message/sipfrag).
//!
//! ```text
//! tap ──► Redialer ──AskOrder──► Asker ──► SIP to the caller's phone
//!            │   ▲                 │
//!            │   └────AskEvent─────┘
//!            └──► RedialTold (a line), WishRecord (for a store)
//! ```
//!
//! [`Redialer`] keeps the list of wishes and decides whom to ask, in the time of the capture: the same in a replay. [`Asker`] is
//! the voice: it speaks SIP, by the wall clock. In a dry run, and in every replay, nobody is asked.

mod ask;
mod asker;
mod asking;
mod attempts;
mod ends;
mod offer;
mod options;
mod pace;
mod phones;
mod recall;
mod record;
mod redialer;
mod refer;
mod sipfrag;
mod told;
mod turns;
mod wishes;

pub use ask::{AskEnd, AskEvent, AskId, AskOrder, Manner, Reach};
pub use asker::{Asker, AskerCounters, AskerOptions, MAX_WAITING, MediaCommand};
pub use options::{RedialOptions, Until, WayWanted};
pub use record::{KeptWish, WishRecord};
pub use redialer::{RedialCounters, Redialer};
pub use told::{BackBy, Outcome, RedialTold, Step, WaitsFor, Why};
