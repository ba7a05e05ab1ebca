//! What state an interface is in, and which interfaces there are.
//! In: a name. Out: its state. Knows nothing of frames.
//! The list of addresses is asked for, not the files below `/sys`: in a network namespace those may be another one's.

use std::collections::BTreeMap;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::base::Blindness;

/// Stands for all interfaces at once.
pub(super) const ANY: &str = "any";

/// Why this interface cannot show anything now; `None`: it can.
pub(super) fn fault(name: &str) -> Option<Blindness> {
    if name == ANY {
        return None;
    }
    // Without an answer nothing is known to be wrong.
    match all()?.get(name) {
        None => Some(Blindness::Removed),
        Some(flags) if !flags.contains(InterfaceFlags::IFF_UP) => Some(Blindness::Down),
        Some(flags) if !flags.contains(InterfaceFlags::IFF_RUNNING) => Some(Blindness::NoLink),
        Some(_) => None,
    }
}

/// Those that are up and have a link, but for the loopback, in the order of their names.
pub(super) fn usual() -> Vec<String> {
    let usual = |flags: InterfaceFlags| {
        flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING)
            && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    all().into_iter().flatten().filter(|(_, flags)| usual(*flags)).map(|(name, _)| name).collect()
}

/// All of them in words: `eth0, eth1 (down), lo`.
pub(super) fn list() -> String {
    let word = |flags: InterfaceFlags| {
        if flags.contains(InterfaceFlags::IFF_RUNNING) {
            ""
        } else if flags.contains(InterfaceFlags::IFF_UP) {
            " (no link)"
        } else {
            " (down)"
        }
    };
    let names: Vec<String> =
        all().into_iter().flatten().map(|(name, flags)| format!("{name}{}", word(flags))).collect();
    names.join(", ")
}

/// Each has an entry without an IP address, too. `None`: the system does not say.
fn all() -> Option<BTreeMap<String, InterfaceFlags>> {
    let entries = getifaddrs().ok()?;
    Some(entries.map(|interface| (interface.interface_name, interface.flags)).collect())
}
