//! The tap at work: each thing that goes in is followed by all that comes out.
//! In: frames and moments, from files or from interfaces. Out: `TapOutput`, to a `Sink`. Knows nothing of where frames
//! come from and where results go.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::output::{PublicationCounts, Summary};
use super::redialing::Redialing;
use crate::base::{CaptureChange, CaptureEvent, FrameCounts, Limits, Timestamp};
use crate::decode::Frame;
use crate::redial::RedialTold;
use crate::tap::{Tap, TapOptions, TapOutput};

/// Interfaces whose counters are told at the end; a recording may name any number.
const MOST_COUNTED: usize = 256;

/// Takes what the tap puts out.
pub(super) trait Sink {
    /// Takes one thing.
    fn take(&mut self, output: TapOutput) -> io::Result<()>;
    /// Takes a step of a wish to call again.
    fn redial(&mut self, told: &RedialTold) -> io::Result<()>;
    /// Nothing more comes for a while.
    fn idle(&mut self) -> io::Result<()>;
    /// What was taken is to be visible now.
    fn flush(&mut self) -> io::Result<()>;
}

/// When what was said becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visible {
    /// Line by line: somebody reads along.
    AtOnce,
    /// When a buffer is full, and at the end.
    Later,
}

/// One run: a tap, and how far it came.
pub(super) struct Run {
    tap: Tap,
    redial: Option<Redialing>,
    visible: Visible,
    last: Option<Timestamp>,
    /// What interfaces counted, by their names; at most [`MOST_COUNTED`].
    counts: BTreeMap<Arc<str>, FrameCounts>,
    /// Frames that were refused before they came to the tap.
    refused: u64,
}

impl Run {
    pub(super) fn new(options: TapOptions, redial: Option<Redialing>, visible: Visible) -> Self {
        let trace_observations = options.trace_observations || redial.is_some();
        let tap = Tap::new(TapOptions { trace_observations, ..options }, Limits::default());
        Self { tap, redial, visible, last: None, counts: BTreeMap::new(), refused: 0 }
    }

    /// Takes in one frame. Says whether it completed a message of which a status may come.
    pub(super) fn frame(&mut self, frame: &Frame<'_>, sink: &mut dyn Sink) -> io::Result<bool> {
        // Merged inputs may still step back a little: the tap counts that, the end must not.
        self.last = self.last.max(Some(frame.at));
        let before = self.tap.messages_of_phones();
        self.tap.handle(frame);
        self.drain(sink)?;
        Ok(self.tap.messages_of_phones() > before)
    }

    /// No frame from before this moment is still to come: what is due up to then is fired, each thing at its own time.
    /// Says whether something came of it.
    pub(super) fn reach(&mut self, at: Timestamp, sink: &mut dyn Sink) -> io::Result<bool> {
        self.last = self.last.max(Some(at));
        self.tap.handle_timeout(at);
        let said = self.drain(sink)?;
        self.listen_to_phones(sink)?;
        Ok(said)
    }

    /// Takes in what happened to the capture.
    pub(super) fn capture(&mut self, event: &CaptureEvent, sink: &mut dyn Sink) -> io::Result<()> {
        self.count(&event.interface, event.counts);
        if event.what != CaptureChange::Counted {
            self.last = self.last.max(Some(event.at));
        }
        self.tap.handle_capture(event);
        self.drain(sink)?;
        if let (CaptureChange::Began, Some(redial)) = (event.what, &mut self.redial) {
            redial.begin(event);
        }
        Ok(())
    }

    /// What an interface counted so far.
    pub(super) fn count(&mut self, interface: &Arc<str>, counts: FrameCounts) {
        if self.counts.len() < MOST_COUNTED || self.counts.contains_key(interface) {
            self.counts.insert(Arc::clone(interface), counts);
        }
    }

    /// So many frames were refused at the first look.
    pub(super) const fn refuse(&mut self, frames: u64) {
        self.refused = frames;
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let redial = self.redial.as_ref().and_then(Redialing::next_due);
        Timestamp::earlier(self.tap.poll_timeout(), redial)
    }

    /// How far it came.
    pub(super) const fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// All that is said at the end.
    pub(super) fn summary(&self, publications: PublicationCounts) -> Summary {
        let mut counters = self.tap.counters();
        counters.frames += self.refused;
        let capture = self.counts.iter().map(|(name, counts)| (Arc::clone(name), *counts)).collect();
        let redial = self.redial.as_ref().map(Redialing::counts);
        Summary { last: self.last, counters, capture, publications, redial }
    }

    /// The frames are over: no phone is left ringing, and what became of askings is said.
    pub(super) fn leave_phones(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let now = self.last.unwrap_or_default();
        self.redial.as_mut().map_or(Ok(false), |redial| redial.end(now, sink)).map(|_| ())
    }

    /// What phones answered counts as of the time that the capture has reached.
    fn listen_to_phones(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let now = self.last.unwrap_or_default();
        let said = self.redial.as_mut().map_or(Ok(false), |redial| redial.listen(now, sink))?;
        if said && self.visible == Visible::AtOnce {
            sink.flush()?;
        }
        Ok(())
    }

    /// Passes on what came out. Of most frames nothing came.
    #[inline]
    fn drain(&mut self, sink: &mut dyn Sink) -> io::Result<bool> {
        let said = (self.redial.is_some() || self.tap.has_output()) && self.pass_on(sink)?;
        sink.idle()?;
        if said && self.visible == Visible::AtOnce {
            sink.flush()?;
        }
        Ok(said)
    }

    fn pass_on(&mut self, sink: &mut dyn Sink) -> io::Result<bool> {
        let mut said = false;
        if let Some(redial) = &mut self.redial {
            said = redial.pass_on(&mut self.tap, self.last, sink)?;
        }
        while let Some(output) = self.tap.poll_output() {
            sink.take(output)?;
            said = true;
        }
        Ok(said)
    }
}
