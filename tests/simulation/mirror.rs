//! The mirror port: what of the network's frames it shows, how often, when, and how they look.
//! In: frames in the order in which they were sent, a seed. Out: frames as a tap sees them. Knows nothing of SIP.

use std::net::IpAddr;

use offhook::base::Random;

use super::world::SECOND_US;
use crate::support::ladder::START_US;
use crate::support::wire::CapturedFrame;

/// How a mirror is bad, until it heals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Of a thousand frames so many are lost, each by itself.
    pub lost_per_mille: u64,
    /// Frames are lost so many at once, one behind the other, and so many of a million in all.
    pub lost_at_once: Option<AtOnce>,
    /// Of a thousand frames so many begin a loss of some milliseconds in which nothing is shown.
    pub bursts_per_mille: u64,
    /// Of a thousand frames so many are shown twice: as they are, or with another TTL, MAC address, VLAN.
    pub doubled_per_mille: u64,
    /// Frames overtake each other within this time.
    pub mixed_us: u64,
    /// Everything is shown so much later.
    pub late_us: u64,
    /// For some time only what the PBX sends is shown, or only what it receives.
    pub one_way: bool,
}

/// How many frames are lost together, and of a million how many in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtOnce {
    pub frames: u64,
    pub per_million: u64,
}

impl Faults {
    pub fn is_perfect(&self) -> bool {
        *self == Self::default()
    }
}

/// A frame that the tap is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Since the beginning of the run.
    pub at_us: u64,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Both,
    OnlyFromPbx,
    OnlyToPbx,
}

/// What the mirror shows. `pbx` is whose port is mirrored: what does not pass it is not shown.
pub fn show(
    frames: &[CapturedFrame],
    faults: Faults,
    heals_us: u64,
    pbx: IpAddr,
    random: &mut Random,
) -> Vec<Shown> {
    let mut shown = Vec::with_capacity(frames.len());
    let mut dark_until_us = 0;
    let mut still_lost = 0;
    let (mut way, mut way_until_us) = (Way::Both, 0);
    for frame in frames {
        let at_us = frame.at_us.saturating_sub(START_US);
        let Some((from, to)) = addresses(&frame.bytes) else { continue };
        if from != pbx && to != pbx {
            continue;
        }
        if faults.is_perfect() || at_us >= heals_us {
            shown.push(Shown { at_us, bytes: frame.bytes.clone() });
            continue;
        }
        let mut chance = |per_mille: u64| random.next() % 1_000 < per_mille;
        if at_us >= way_until_us && faults.one_way {
            way = match (chance(250), chance(500)) {
                (false, _) => Way::Both,
                (true, true) => Way::OnlyFromPbx,
                (true, false) => Way::OnlyToPbx,
            };
            way_until_us = at_us + 10 * SECOND_US + u64::from(chance(500)) * 20 * SECOND_US;
        }
        let hidden = match way {
            Way::Both => false,
            Way::OnlyFromPbx => from != pbx,
            Way::OnlyToPbx => to != pbx,
        };
        let mut lost = chance(faults.lost_per_mille);
        if let Some(AtOnce { frames, per_million }) = faults.lost_at_once {
            // Between two losses there are so many frames on average that the share comes out right.
            let between = frames * (1_000_000 - per_million);
            if still_lost == 0 && random.next() % between < per_million {
                still_lost = frames;
            }
            lost |= still_lost > 0;
            still_lost = still_lost.saturating_sub(1);
        }
        let mut chance = |per_mille: u64| random.next() % 1_000 < per_mille;
        let burst = chance(faults.bursts_per_mille);
        let doubled = chance(faults.doubled_per_mille);
        if burst {
            dark_until_us = at_us + 5_000 + random.next() % 400_000;
        }
        if hidden || lost || at_us < dark_until_us {
            continue;
        }
        let mut moment_us = || at_us + faults.late_us + random.next() % (faults.mixed_us + 1);
        let first_us = moment_us();
        shown.push(Shown { at_us: first_us, bytes: frame.bytes.clone() });
        if doubled {
            let again_us = if faults.mixed_us == 0 { first_us + 3 } else { moment_us() };
            let how = random.next() % 4;
            shown.push(Shown { at_us: again_us, bytes: copy(&frame.bytes, how) });
        }
    }
    shown.sort_by_key(|frame| frame.at_us);
    shown
}

/// Source and destination of an IPv4 packet in an Ethernet frame.
fn addresses(bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let four = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
    Some((IpAddr::from(four(26)?), IpAddr::from(four(30)?)))
}

/// The same packet as another port of the switch shows it.
fn copy(bytes: &[u8], how: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match how {
        1 => {
            // One hop further: TTL one less, and the header's checksum with it (RFC 1624).
            bytes[22] -= 1;
            let sum = u32::from(u16::from_be_bytes([bytes[24], bytes[25]])) + 0x0100;
            let sum = (sum & 0xffff) + (sum >> 16);
            bytes[24..26].copy_from_slice(&(sum as u16).to_be_bytes());
        }
        2 => bytes[0..12].copy_from_slice(&[2, 0, 0, 9, 9, 9, 2, 0, 0, 8, 8, 8]),
        3 => {
            bytes.splice(12..12, [0x81, 0x00, 0x00, 0x64]);
        }
        _ => {}
    }
    bytes
}
