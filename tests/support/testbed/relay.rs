//! What stands between a mirror port and a tap: frames come as they passed and go on changed.
//! In: the switch's interface `mirrored`. Out: its ports `to-…`, each with another change. Knows nothing of SIP.
//! In user space: few kernels have all that would be needed.

use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use offhook::base::Random;
use pcap::{Active, BreakLoop, Capture};

use crate::mirror::Mirror;
use crate::testbed::Testbed;
use crate::tunnels::Tunnel;
use crate::wire::CapturedFrame;

/// What becomes of the frames on their way to one port.
pub enum Change {
    /// Nothing.
    None,
    /// What other mirror ports do.
    Mirror(Mirror),
    /// A tag of 802.1Q.
    Vlan(u16),
    /// Carried elsewhere inside something.
    Tunnel(Tunnel),
    /// So many in a hundred are lost, one by one, by this seed.
    Loses {
        /// How many in a hundred.
        percent: u64,
        /// Which: the same ones for the same frames.
        random: Random,
    },
}

impl Change {
    /// So many in a hundred are lost.
    pub fn loses(percent: u64, seed: u64) -> Self {
        Self::Loses { percent, random: Random::new(seed) }
    }

    fn of(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        // Who asks for addresses is not what is changed.
        if frame.get(12..14) != Some(&[8, 0]) {
            return vec![frame.to_vec()];
        }
        match self {
            Self::None => vec![frame.to_vec()],
            Self::Mirror(mirror) => {
                let frames = mirror.shows(vec![CapturedFrame { at_us: 0, bytes: frame.to_vec() }]);
                frames.into_iter().map(|frame| frame.bytes).collect()
            }
            Self::Vlan(tag) => {
                let mut frame = frame.to_vec();
                let [high, low] = tag.to_be_bytes();
                frame.splice(12..12, [0x81, 0, high, low]);
                vec![frame]
            }
            Self::Tunnel(tunnel) => vec![tunnel.wrap(frame)],
            Self::Loses { percent, random } => {
                if random.next() % 100 < *percent {
                    Vec::new()
                } else {
                    vec![frame.to_vec()]
                }
            }
        }
    }
}

/// A relay that runs. Ends with the value.
pub struct Relay {
    stop: BreakLoop,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts one in a testbed that is up with `--relay` and these names, and waits until it listens.
    ///
    /// # Panics
    /// There are no such ports.
    pub fn start(testbed: &Testbed, changes: Vec<(String, Change)>) -> Self {
        let (ready, is_ready) = channel();
        let thread = testbed.spawn("switch", move || {
            let mut mirrored = open("mirrored");
            let mut ports: Vec<_> =
                changes.into_iter().map(|(name, change)| (open(&format!("to-{name}")), change)).collect();
            ready.send(mirrored.breakloop_handle()).expect("who started it waits");
            loop {
                match mirrored.next_packet() {
                    Ok(packet) => {
                        for (port, change) in &mut ports {
                            for frame in change.of(packet.data) {
                                // An interface that is down loses it.
                                let _ = port.sendpacket(frame);
                            }
                        }
                    }
                    Err(pcap::Error::TimeoutExpired) => {}
                    // It was told to stop.
                    Err(pcap::Error::NoMorePackets) => return,
                    Err(error) => panic!("the relay hears nothing: {error}"),
                }
            }
        });
        let stop = is_ready.recv().expect("the relay comes up");
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.breakloop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(interface: &str) -> Capture<Active> {
    let capture = Capture::from_device(interface).expect("the interface");
    let capture = capture.promisc(true).immediate_mode(true).timeout(20).snaplen(65_535).open();
    let capture = capture.unwrap_or_else(|error| panic!("{interface} cannot be opened: {error}"));
    capture.direction(pcap::Direction::In).expect("what comes in alone");
    capture
}
