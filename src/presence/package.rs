//! The event packages of presence.
//! In: nothing. Out: `EventPackage`. Knows nothing of publications, subscriptions.

use super::{dialog_info, pidf};

/// An event package that is published and watched (RFC 3856, RFC 4235).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventPackage {
    /// `presence`: PIDF.
    Presence,
    /// `dialog`: dialog-info.
    Dialog,
}

impl EventPackage {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Presence, Self::Dialog];

    /// The word in `Event` and in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Dialog => "dialog",
        }
    }

    /// The media type of its bodies.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Presence => pidf::CONTENT_TYPE,
            Self::Dialog => dialog_info::CONTENT_TYPE,
        }
    }
}
