//! What happens to a capture itself: it begins, it is blind for a while, it sees again.
//! In: nothing. Out: vocabulary between who captures, who records and who draws conclusions. Knows nothing of interfaces.

use std::sync::Arc;

use super::Timestamp;

/// Why an interface shows nothing, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blindness {
    /// It was switched off.
    Down,
    /// It is not there.
    Removed,
    /// Nothing is plugged in, or the other end is off.
    NoLink,
    /// More frames are lost on the way to us than is borne.
    Drops,
    /// The clock went ahead: the machine slept, or its clock was set. Of that time no frame was seen.
    ClockJump,
}

impl Blindness {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Down, Self::Removed, Self::NoLink, Self::Drops, Self::ClockJump];

    /// The word in JSON lines and in recordings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Removed => "removed",
            Self::NoLink => "no_link",
            Self::Drops => "drops",
            Self::ClockJump => "clock_jump",
        }
    }

    /// Whose word it is.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// What an interface showed and lost since the capture began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Frames that passed the filter, those that the kernel dropped among them.
    pub received: u64,
    /// Dropped by the kernel: nobody fetched them in time.
    pub kernel_dropped: u64,
    /// Dropped by the interface or its driver.
    pub interface_dropped: u64,
}

impl FrameCounts {
    /// Lost, wherever.
    pub const fn dropped(self) -> u64 {
        self.kernel_dropped.saturating_add(self.interface_dropped)
    }

    /// Those since `before`.
    pub const fn since(self, before: Self) -> Self {
        Self {
            received: self.received.saturating_sub(before.received),
            kernel_dropped: self.kernel_dropped.saturating_sub(before.kernel_dropped),
            interface_dropped: self.interface_dropped.saturating_sub(before.interface_dropped),
        }
    }
}

/// Something that happened to the capture at one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureEvent {
    /// When it was noticed: its place among the frames.
    pub at: Timestamp,
    /// The interface's name.
    pub interface: Arc<str>,
    /// What.
    pub what: CaptureChange,
    /// What was counted there so far.
    pub counts: FrameCounts,
}

/// What happened to a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureChange {
    /// It begins: what was before is not known.
    Began,
    /// It goes on, in another file: what was before is not known to whom has this file only.
    Continues,
    /// No frame from before this moment is still to come.
    Reached,
    /// It does not see, or not all.
    Blind {
        /// Why.
        why: Blindness,
        /// It saw everything until then, at least.
        since: Timestamp,
    },
    /// It sees again.
    Seeing,
    /// Nothing: its frames were counted.
    Counted,
}
