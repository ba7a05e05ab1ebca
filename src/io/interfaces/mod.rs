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
mod tags;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::base::{Blindness, FrameCounts, Timestamp};
use crate::config::CaptureSection;
use crate::io::capture::Captured;
use crate::io::clock::wall_clock;

use listen::{CALM, Listener, Listening, Shown};
use merge::Merge;
pub use open::InterfaceError;
use open::{HandOver, Opened};

/// Batches that may wait for the tap. One has 512 frames; where an interface is opened anew, twice as many.
const BATCHES: usize = 16;

/// Interfaces that are listened to. The threads end when it is dropped.
pub struct Interfaces {
    names: Vec<String>,
    shown: Receiver<Shown>,
    merge: Merge,
    counts: Vec<FrameCounts>,
    refused: Vec<u64>,
    relied_on: Vec<Arc<AtomicBool>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Interfaces {
    /// Opens them all, and begins to listen: to those of that name, or without any to all that are up and have a link, but
    /// for the loopback: of these, one that cannot be opened is left out, and one that goes down or away takes sight with it
    /// only if it was relied on: see [`Self::relied_on`]. One that is down is waited for.
    ///
    /// # Errors
    /// One cannot be listened to: see [`InterfaceError`].
    pub fn open(
        names: &[String],
        filter: Option<&str>,
        section: &CaptureSection,
    ) -> Result<Self, InterfaceError> {
        let began = wall_clock();
        let are_named = !names.is_empty();
        let (names, opened) = if are_named {
            (names.to_vec(), open_named(names, filter, section)?)
        } else {
            open_usual(filter, section)?
        };
        let (out, shown) = sync_channel(BATCHES);
        let stop = Arc::new(AtomicBool::new(false));
        let (mut threads, mut relied_on) = (Vec::new(), Vec::new());
        for (source, (name, opened)) in names.iter().zip(opened).enumerate() {
            let listening = Listening {
                source: u16::try_from(source).unwrap_or(u16::MAX),
                name: name.as_str().into(),
                is_relied_on: Arc::new(AtomicBool::new(are_named)),
                filter: filter.map(str::to_owned),
                section: section.clone(),
                calm: CALM,
                stop: Arc::clone(&stop),
                out: out.clone(),
            };
            relied_on.push(Arc::clone(&listening.is_relied_on));
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
            relied_on,
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

    /// A status may have come of what this interface showed: from now on nothing is surely seen without it. One that
    /// somebody named is relied on from the beginning.
    pub fn relied_on(&self, source: u16) {
        if let Some(is_relied_on) = self.relied_on.get(usize::from(source)) {
            is_relied_on.store(true, Ordering::Relaxed);
        }
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

    /// An interface's thread ended before it had said its last word: nobody listens there any more.
    pub fn broken(&mut self) -> Option<InterfaceError> {
        let is_broken = |(source, thread): (usize, &JoinHandle<()>)| {
            thread.is_finished() && !self.merge.is_over_at(source)
        };
        let source = self.threads.iter().enumerate().position(is_broken)?;
        // Its last word may be in the channel.
        for _ in 0..=BATCHES {
            let Ok(shown) = self.shown.try_recv() else { break };
            self.take(shown);
        }
        let name = self.names.get(source).filter(|_| !self.merge.is_over_at(source))?;
        Some(InterfaceError::Abandoned { name: name.clone() })
    }

    /// Everything was given.
    pub fn is_over(&self) -> bool {
        self.merge.is_over()
    }
}

/// Each of them, in their order; `None`: it is down.
fn open_named(
    names: &[String],
    filter: Option<&str>,
    section: &CaptureSection,
) -> Result<Vec<Option<Opened>>, InterfaceError> {
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
            _ => Some(open::open(name, filter, section, HandOver::AtOnce)?),
        });
    }
    Ok(opened)
}

/// Those of the usual ones that can be opened, with their names.
fn open_usual(
    filter: Option<&str>,
    section: &CaptureSection,
) -> Result<(Vec<String>, Vec<Option<Opened>>), InterfaceError> {
    let (mut names, mut opened, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for name in link::usual() {
        match open::open(&name, filter, section, HandOver::AtOnce) {
            Ok(one) => {
                names.push(name);
                opened.push(Some(one));
            }
            Err(error) => errors.push(error),
        }
    }
    if names.is_empty() {
        let none_up = || InterfaceError::NoneUp { there: link::list() };
        return Err(errors.into_iter().next().unwrap_or_else(none_up));
    }
    for error in errors {
        eprintln!("offhook: {error}; it is left out");
    }
    Ok((names, opened))
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
