//! Opens an interface for capture.
//! In: its name, a filter, how. Out: a libpcap handle, or one sentence that says what to do. Knows nothing of threads.

use pcap::{Active, Capture, Linktype, Precision};

use super::link;
use super::tags::Tagged;
use crate::base::LinkType;
use crate::config::CaptureSection;
use crate::decode::is_known_link;

/// How the kernel hands over what it captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandOver {
    /// Each frame at once. It has a slot of the ring to itself, so that slots are small, and what is longer than
    /// [`SLOT_SNAP_BYTES`] is cut.
    AtOnce,
    /// In blocks that hold as many frames of any length as there is room for, after [`BLOCK_MS`] at the latest.
    InBlocks,
}

impl HandOver {
    /// At once, if it costs nothing: where frames are long they must not be cut, and where there are many the ring has to have
    /// room for them.
    pub(super) fn of(are_long: bool, are_few: bool) -> Self {
        if are_long || !are_few { Self::InBlocks } else { Self::AtOnce }
    }
}

/// Any frame of an MTU of 1500 bytes, in a tunnel too. With the kernel's own header that makes a slot of 2 KiB. Longer are
/// those that a network card has joined, and those of a large MTU.
pub(super) const SLOT_SNAP_BYTES: u32 = 1_920;
/// A block is handed over when it is full, or has waited so long.
const BLOCK_MS: i32 = 1;

/// Why nothing can be captured, in one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// No such interface.
    #[error("there is no interface {name}; there are: {there}")]
    Missing {
        /// The name.
        name: String,
        /// Those that there are.
        there: String,
    },
    /// None was named, and none is up.
    #[error("no interface is up to listen on: name one with -i; there are: {there}")]
    NoneUp {
        /// Those that there are.
        there: String,
    },
    /// Named twice.
    #[error("the interface {name} is named twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// Not allowed.
    #[error(
        "there is no permission to capture on {name}: run offhook as root, or give it the right once by \
         `setcap cap_net_raw+ep` and the path of the program"
    )]
    NoPermission {
        /// The name.
        name: String,
    },
    /// The filter cannot be used.
    #[error("the filter \"{expression}\" cannot be used on {name}: {reason}")]
    Filter {
        /// The name.
        name: String,
        /// The expression.
        expression: String,
        /// What libpcap says.
        reason: String,
    },
    /// Its frames cannot be read.
    #[error(
        "frames of {name} begin in a way that is not read here (link type {number}): name an Ethernet interface"
    )]
    LinkType {
        /// The name.
        name: String,
        /// The `DLT_` number.
        number: i32,
    },
    /// Its thread ended by itself.
    #[error("nobody listens to {name} any more: its thread failed, as was said above")]
    Abandoned {
        /// The name.
        name: String,
    },
    /// Anything else.
    #[error("{name} cannot be opened: {reason}")]
    Unopenable {
        /// The name.
        name: String,
        /// What libpcap says.
        reason: String,
    },
}

/// An interface that is captured on.
pub(super) struct Opened {
    pub handle: Capture<Active>,
    pub link: LinkType,
    pub hand_over: HandOver,
    /// Waits for frames that the filter does not look behind.
    pub tagged: Option<Tagged>,
}

/// Opens it: promiscuous, with a large ring, stamps in nanoseconds.
pub(super) fn open(
    name: &str,
    filter: Option<&str>,
    section: &CaptureSection,
    hand_over: HandOver,
) -> Result<Opened, InterfaceError> {
    let unopenable = |error: pcap::Error| {
        let reason = reason(error);
        let lower = reason.to_ascii_lowercase();
        if ["permi", "cap_net_raw"].iter().any(|word| lower.contains(word)) {
            InterfaceError::NoPermission { name: name.to_owned() }
        } else {
            InterfaceError::Unopenable { name: name.to_owned(), reason }
        }
    };
    let ring_bytes = i32::try_from(u64::from(section.ring_mib) << 20).unwrap_or(i32::MAX);
    let snap_bytes = match hand_over {
        HandOver::AtOnce => section.snap_bytes.min(SLOT_SNAP_BYTES),
        HandOver::InBlocks => section.snap_bytes,
    };
    let handle = Capture::from_device(name)
        .map_err(unopenable)?
        .promisc(name != link::ANY)
        .snaplen(i32::try_from(snap_bytes).unwrap_or(i32::MAX))
        .buffer_size(ring_bytes)
        .timeout(BLOCK_MS)
        .immediate_mode(hand_over == HandOver::AtOnce)
        .precision(Precision::Nano)
        .open()
        .map_err(unopenable)?;
    let mut handle = handle.setnonblock().map_err(unopenable)?;
    let number = handle.get_datalink().0;
    let link = u16::try_from(number).map(LinkType).ok().filter(|&link| is_known_link(link));
    let link = link.ok_or_else(|| InterfaceError::LinkType { name: name.to_owned(), number })?;
    if let Some(expression) = filter {
        handle.filter(expression, true).map_err(|error| InterfaceError::Filter {
            name: name.to_owned(),
            expression: expression.to_owned(),
            reason: reason(error),
        })?;
    }
    Ok(Opened { handle, link, hand_over, tagged: Tagged::watch(name, link, filter) })
}

/// Whether a filter can be used at all: for an interface that is not up yet, which is taken for an Ethernet.
pub(super) fn check_filter(name: &str, expression: &str) -> Result<(), InterfaceError> {
    let compiled = Capture::dead(Linktype::ETHERNET).and_then(|handle| handle.compile(expression, true));
    compiled.map(|_| ()).map_err(|error| InterfaceError::Filter {
        name: name.to_owned(),
        expression: expression.to_owned(),
        reason: reason(error),
    })
}

/// libpcap's own words.
pub(super) fn reason(error: pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(reason) => reason,
        other => other.to_string(),
    }
}
