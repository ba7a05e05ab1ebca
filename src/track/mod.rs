//! Tracking: from messages to observations.
//! In: `Heard`. Out: `Observation`. Knows nothing of presence, sockets, clocks.

mod observation;

pub use observation::*;
