//! What mirror ports and capture programs do to frames: copies, another order, one direction only, no more than so many bytes.
//! In: frames as they passed, and a ladder's `mirror` line. Out: frames as they were captured. Knows nothing of SIP.

use std::net::IpAddr;

use super::wire::{self, CapturedFrame};

/// Copies come so long after one another.
const COPY_US: u64 = 20;
/// Frames that change places are no further apart.
const SWAPPED_US: u64 = 2_000;

/// One thing that is done to all frames. Ethernet and IPv4 only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// Each frame so many times: as routed (other MAC addresses, TTL), as tagged, without a checksum.
    Copies(u64),
    /// A frame changes places with the next one, if that comes soon, and then the so-manieth behind it; the stamps stay in
    /// order.
    Swap(usize),
    /// These frames, by their numbers from 1, were lost.
    Lose(Vec<usize>),
    /// Only what this address sends.
    Only(IpAddr),
    /// Frames are cut to so many bytes.
    Snap(usize),
    /// The network card does the work: frames longer than the link takes, checksums not filled in.
    Offload,
}

impl Mirror {
    /// Reads `copies=4`, `swap=7`, `lose=3,8`, `only=192.0.2.1`, `snap=512`, `offload`.
    pub fn parse(text: &str) -> Option<Self> {
        let (what, value) = text.split_once('=').unwrap_or((text, ""));
        Some(match what {
            "copies" => Self::Copies(value.parse().ok()?),
            "swap" => Self::Swap(value.parse().ok()?),
            "lose" => Self::Lose(value.split(',').map(str::parse).collect::<Result<_, _>>().ok()?),
            "only" => Self::Only(value.parse().ok()?),
            "snap" => Self::Snap(value.parse().ok()?),
            "offload" if value.is_empty() => Self::Offload,
            _ => return None,
        })
    }

    /// The frames as they were captured.
    pub fn shows(&self, frames: Vec<CapturedFrame>) -> Vec<CapturedFrame> {
        match *self {
            Self::Copies(copies) => {
                let mut all: Vec<_> = frames
                    .iter()
                    .flat_map(|frame| {
                        (0..copies).map(|copy| CapturedFrame {
                            at_us: frame.at_us + copy * COPY_US,
                            bytes: disguised(&frame.bytes, copy),
                        })
                    })
                    .collect();
                all.sort_by_key(|frame| frame.at_us);
                all
            }
            Self::Swap(every) => {
                let mut swapped = frames.clone();
                let mut next = 0;
                while next + 1 < frames.len() {
                    let at = next;
                    if frames[at + 1].at_us - frames[at].at_us > SWAPPED_US {
                        next += 1;
                        continue;
                    }
                    next += every;
                    swapped[at].bytes.clone_from(&frames[at + 1].bytes);
                    swapped[at + 1].bytes.clone_from(&frames[at].bytes);
                }
                swapped
            }
            Self::Lose(ref numbers) => {
                let kept = frames.into_iter().zip(1..).filter(|(_, number)| !numbers.contains(number));
                kept.map(|(frame, _)| frame).collect()
            }
            Self::Only(sender) => {
                frames.into_iter().filter(|frame| wire::sender(frame) == Some(sender)).collect()
            }
            Self::Snap(most) => frames
                .into_iter()
                .map(|mut frame| {
                    frame.bytes.truncate(most);
                    frame
                })
                .collect(),
            Self::Offload => frames
                .into_iter()
                .map(|mut frame| {
                    forget_checksum(&mut frame.bytes, 14);
                    frame
                })
                .collect(),
        }
    }
}

/// A copy as another port of the switch shows it.
fn disguised(frame: &[u8], copy: u64) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    match copy % 4 {
        0 => {}
        1 => {
            bytes[..12].copy_from_slice(&[2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2]);
            bytes[22] -= 1;
            // RFC 1624: the TTL is the high byte of its word, and the sum is the complement.
            let sum = u32::from(bytes[24]) << 8 | u32::from(bytes[25]);
            let sum = sum + 0x100;
            let sum = (sum & 0xffff) + (sum >> 16);
            bytes[24..26].copy_from_slice(&(sum as u16).to_be_bytes());
        }
        2 => {
            bytes.splice(12..12, [0x81, 0, 0, 99]);
        }
        _ => {
            bytes.splice(12..12, [0x81, 0, 0, 98]);
            forget_checksum(&mut bytes, 18);
        }
    }
    bytes
}

/// The transport's checksum as a card that computes it itself is given it. `at`: where the IPv4 header begins.
fn forget_checksum(bytes: &mut [u8], at: usize) {
    let first_fragment = bytes[at + 6] & 0x1f == 0 && bytes[at + 7] == 0;
    let sum_at = at + 20 + if bytes[at + 9] == 17 { 6 } else { 16 };
    if first_fragment && let Some(sum) = bytes.get_mut(sum_at..sum_at + 2) {
        sum.fill(0);
    }
}
