//! Presence: from attributed observations to what a presentity is.
//! In: `Attributed`. Out: `PresentityChange`. Knows nothing of sockets, clocks, publications.

mod model;

pub use model::*;
