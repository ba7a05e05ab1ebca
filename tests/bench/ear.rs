//! Listens at interfaces of the testbed; every frame bears the kernel's time.
//! In: hosts and their interfaces. Out: frames, to whoever makes something of them. Knows nothing of what is in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use pcap::{Capture, Direction};

use crate::testbed::{PATIENCE, Testbed};

/// What is made of frames. Each interface has one of its own, until the end.
pub trait Hears: Default + Send + 'static {
    /// Takes in a frame; seconds since the epoch.
    fn frame(&mut self, at_s: f64, bytes: &[u8]);

    /// Takes in what another interface showed.
    fn add(&mut self, other: Self);
}

/// Where to listen: at a host's interface, to frames of this direction.
pub type Place = (&'static str, &'static str, Direction);

/// What the tap's mirror port shows.
pub const MIRROR: Place = ("tap", "span0", Direction::In);
/// What the tap's host sends.
pub const FROM_TAP: Place = ("tap", "eth0", Direction::Out);

/// Listens until it is told to stop.
pub struct Ear<H> {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<H>>>,
}

impl<H: Hears> Ear<H> {
    /// Begins.
    pub fn open(testbed: &Testbed, places: &[Place]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = channel();
        let listen = |&(host, interface, direction): &Place| {
            let (stop, ready) = (Arc::clone(&stop), ready.clone());
            testbed.spawn(host, move || listen(interface, direction, &stop, &ready))
        };
        let threads: Vec<_> = places.iter().map(listen).collect();
        for _ in &threads {
            // One that fails says so when it is closed.
            let _ = is_ready.recv_timeout(PATIENCE);
        }
        Self { stop, threads }
    }

    /// What was heard.
    ///
    /// # Errors
    /// An interface could not be listened to, or frames were lost.
    pub fn close(self) -> Result<H> {
        self.stop.store(true, Ordering::Relaxed);
        let mut heard = H::default();
        for thread in self.threads {
            match thread.join() {
                Ok(one) => heard.add(one?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(heard)
    }
}

fn listen<H: Hears>(
    interface: &'static str,
    direction: Direction,
    stop: &AtomicBool,
    ready: &Sender<()>,
) -> Result<H> {
    let capture = Capture::from_device(interface)?.promisc(true).snaplen(65_535).timeout(10);
    let mut capture = capture.buffer_size(32 << 20).open()?.setnonblock()?;
    capture.direction(direction)?;
    capture.filter("port 5060", true)?;
    let _ = ready.send(());
    let mut heard = H::default();
    while !stop.load(Ordering::Relaxed) {
        match capture.next_packet() {
            Ok(packet) => {
                let at = packet.header.ts;
                heard.frame(at.tv_sec as f64 + at.tv_usec as f64 / 1e6, packet.data);
            }
            // What comes is stamped by the kernel: nothing is lost by looking late.
            Err(pcap::Error::TimeoutExpired) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error).context(interface),
        }
    }
    let lost = capture.stats()?.dropped;
    anyhow::ensure!(lost == 0, "{lost} frames were lost at {interface}");
    Ok(heard)
}
