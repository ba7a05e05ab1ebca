//! Presence: from attributed observations to what a presentity is.
//! In: `Attributed`. Out: `PresentityChange`. Knows nothing of sockets, clocks, publications.

mod model;
mod presences;
mod presentity;
pub mod rules;
mod session_type;

pub use model::*;
pub use presences::Presences;
