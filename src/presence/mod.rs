//! Presence: from attributed observations to what a presentity is.
//! In: `Attributed`. Out: `PresentityChange`. Knows nothing of sockets, clocks, publications.

pub mod dialog_info;
pub mod dialog_info_read;
mod model;
mod package;
pub mod pidf;
pub mod pidf_read;
mod presences;
mod presentity;
pub mod rules;
mod session_type;
mod sight;
pub(crate) mod xml;
pub mod xml_read;

pub use model::*;
pub use package::EventPackage;
pub use presences::Presences;
