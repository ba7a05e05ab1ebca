//! Live capture: any number of interfaces, each listened to by a thread of its own, as one line of frames.
//! In: names of interfaces. Out: frames in the order of time, and what became of the interfaces. Knows nothing of SIP.
//!
//! ```text
//!   eth1 ─► open ─► listen (thread) ─┐ batches
//!   eth2 ─► open ─► listen (thread) ─┴─► merge ─► frames and events
//!                     └ link, sight: what state it is in, what is lost
//! ```

mod batch;
mod link;
mod listen;
mod media;
mod merge;
mod open;
mod sight;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::base::{Blindness, FrameCounts, Timestamp};
use crate::config::CaptureSection;
use crate::io::capture::Captured;
use crate::io::clock::wall_clock;

use listen::{Listener, Listening, Shown};
use merge::Merge;
pub use open::InterfaceError;

/// Batches that may wait for the tap. One has 512 frames at most.
const BATCHES: usize = 16;

/// Interfaces that are listened to. The threads end when it is dropped.
pub struct Interfaces {
    names: Vec<String>,
    shown: Receiver<Shown>,
    merge: Merge,
    counts: Vec<FrameCounts>,
    refused: Vec<u64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Interfaces {
    /// Opens them all, and begins to listen: to those of that name, or without any to all that are up, but for the
    /// loopback. One that is down is waited for.
    ///
    /// # Errors
    /// One cannot be listened to: see [`InterfaceError`].
    pub fn open(
        names: &[String],
        filter: Option<&str>,
        section: &CaptureSection,
    ) -> Result<Self, InterfaceError> {
        let names = if names.is_empty() { link::usual() } else { names.to_vec() };
        if names.is_empty() {
            return Err(InterfaceError::NoneUp { there: link::list() });
        }
        let began = wall_clock();
        let mut opened = Vec::new();
        for (at, name) in names.iter().enumerate() {
            if names.iter().take(at).any(|before| before == name) {
                return Err(InterfaceError::Twice { name: name.clone() });
            }
            opened.push(match link::fault(name) {
                Some(Blindness::Removed) => {
                    return Err(InterfaceError::Missing { name: name.clone(), there: link::list() });
                }
                Some(Blindness::Down) => {
                    filter.map_or(Ok(()), |filter| open::check_filter(name, filter))?;
                    None
                }
                _ => Some(open::open(name, filter, section)?),
            });
        }
        let (out, shown) = sync_channel(BATCHES);
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (source, (name, opened)) in names.iter().zip(opened).enumerate() {
            let listening = Listening {
                source: u16::try_from(source).unwrap_or(u16::MAX),
                name: name.as_str().into(),
                filter: filter.map(str::to_owned),
                section: section.clone(),
                stop: Arc::clone(&stop),
                out: out.clone(),
            };
            let listen = move || Listener::new(listening, opened, began).run();
            let thread = thread::Builder::new().name(format!("listen {name}")).spawn(listen);
            threads.push(thread.map_err(|error| InterfaceError::Unopenable {
                name: name.clone(),
                reason: format!("its thread cannot be started: {error}"),
            })?);
        }
        Ok(Self {
            merge: Merge::new(names.len()),
            counts: vec![FrameCounts::default(); names.len()],
            refused: vec![0; names.len()],
            names,
            shown,
            stop,
            threads,
        })
    }

    /// What they are called, by [`crate::base::FrameId::source`].
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What each of them counted so far.
    pub fn counts(&self) -> &[FrameCounts] {
        &self.counts
    }

    /// Frames of all of them that were refused at the first look: media.
    pub fn refused(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Waits until some interface shows something, or says how far it is, at most so long.
    pub fn wait(&mut self, at_most: Duration) {
        match self.shown.recv_timeout(at_most) {
            Ok(shown) => self.take(shown),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        for _ in 0..BATCHES {
            let Ok(shown) = self.shown.try_recv() else { return };
            self.take(shown);
        }
    }

    fn take(&mut self, (source, batch): Shown) {
        if let Some(counts) = self.counts.get_mut(usize::from(source)) {
            *counts = batch.counts;
        }
        if let Some(refused) = self.refused.get_mut(usize::from(source)) {
            *refused = batch.refused;
        }
        self.merge.push(source, batch);
    }

    /// The next thing in the order of time and the interface that showed it, if it is sure that it is the next.
    #[expect(clippy::should_implement_trait, reason = "the frame is lent, which no Iterator can do")]
    pub fn next(&mut self) -> Option<(u16, Captured<'_>)> {
        self.merge.next()
    }

    /// No frame from before this moment is still to come.
    pub fn reached(&self) -> Timestamp {
        self.merge.reached()
    }

    /// From now on the interfaces give what they still hold, and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Everything was given.
    pub fn is_over(&self) -> bool {
        self.merge.is_over()
    }
}

impl Drop for Interfaces {
    fn drop(&mut self) {
        self.stop();
        // A thread that waits for room in the channel finds nobody at its other end.
        let (_, nothing) = sync_channel(0);
        drop(std::mem::replace(&mut self.shown, nothing));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
