//! Frames with VLAN tags that a filter does not look behind: they never come, and nobody would know.
//! In: the name of an interface, the filter there. Out: one sentence. Knows nothing of what the frames carry.
//!
//! A filter without `vlan` looks behind one tag: the kernel takes that off before the filter sees the frame. A frame that
//! still has a tag then passes no filter that looks for IP. So a handle of its own, with next to no ring, waits for the
//! first of them.

use pcap::{Active, Capture};

use super::link;
use crate::base::LinkType;
use crate::io::capture::{is_tagged, knows_tags};

const ETHERNET: LinkType = LinkType(1);
/// Frames that are tagged when a filter sees them.
const TAGGED: &str = "ether proto 0x8100 or ether proto 0x88a8 or ether proto 0x9100";
/// Addresses and two tags.
const SNAP_BYTES: i32 = 64;
/// The kernel makes as much of it as it must.
const RING_BYTES: i32 = 64 << 10;
const TAG_BYTES: usize = 4;

/// Waits for a frame that the filter does not look behind.
pub(super) struct Tagged {
    handle: Capture<Active>,
    name: String,
    filter: String,
}

impl Tagged {
    /// `None`: there is no filter or it speaks of tags, or there is no such handle to be had; nothing depends on it.
    pub(super) fn watch(name: &str, link: LinkType, filter: Option<&str>) -> Option<Self> {
        let filter = filter.filter(|filter| link == ETHERNET && !knows_tags(filter))?;
        let handle = Capture::from_device(name).ok()?.promisc(name != link::ANY).snaplen(SNAP_BYTES);
        let handle = handle.buffer_size(RING_BYTES).immediate_mode(true).open().ok()?;
        let mut handle = handle.setnonblock().ok()?;
        handle.filter(TAGGED, true).ok()?;
        Some(Self { handle, name: name.to_owned(), filter: filter.to_owned() })
    }

    /// What is to be said when there was one.
    pub(super) fn met(&mut self) -> Option<String> {
        let frame = self.handle.next_packet().ok()?;
        let Self { name, filter, .. } = self;
        // The tag that the kernel took off is back; of what this machine sends it took none off.
        let has_two = frame.data.get(TAG_BYTES..).is_some_and(|behind_one| is_tagged(ETHERNET, behind_one));
        let (tags, behind) =
            if has_two { ("two VLAN tags", "vlan and vlan") } else { ("a VLAN tag", "vlan") };
        Some(format!(
            "{name} shows frames with {tags}, which the filter \"{filter}\" does not look behind; \
             \"({filter}) or ({behind} and ({filter}))\" would"
        ))
    }
}
