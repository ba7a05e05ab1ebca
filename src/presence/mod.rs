//! Presence: from attributed observations to what a presentity is.
//! In: `Attributed`. Out: `PresentityChange`. Knows nothing of sockets, clocks, publications.

pub mod dialog_info;
mod model;
pub mod pidf;
mod presences;
mod presentity;
pub mod rules;
mod session_type;
mod xml;

pub use model::*;
pub use presences::Presences;
