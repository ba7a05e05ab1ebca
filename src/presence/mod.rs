//! Presence: from attributed observations to what a presentity is.
//! In: `Attributed`. Out: `PresentityChange`. Knows nothing of sockets, clocks, publications.

pub mod dialog_info;
mod model;
pub mod pidf;
mod xml;

pub use model::*;
