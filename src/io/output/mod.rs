//! What a run says on standard output: JSON lines for programs, a call ladder for eyes.
//! In: `TapOutput`, publication outcomes, what watchers are told, counters. Out: text. Knows nothing of captures and sockets.

pub mod explain;
mod jsonl;
mod jsonl_redial;
mod jsonl_told;
mod redial_words;
mod style;
mod text;
mod told;
mod words;

use std::io;
use std::sync::Arc;

use crate::base::{FrameCounts, FrameId, Timestamp};
use crate::io::redialer::VoiceCounters;
use crate::publish::PublicationOutcome;
use crate::redial::{RedialCounters, RedialTold};
use crate::tap::{Counters, TapOutput};
use crate::watch::Told;

pub use jsonl::{JsonLines, LineSink};
pub use style::{Style, clean};
pub use text::Ladder;
pub use told::ToldLines;

/// The inputs of a run, by the index that [`FrameId::source`] is.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<[String]>);

impl Sources {
    /// The inputs in command-line order.
    pub fn new(names: &[String]) -> Self {
        Self(names.into())
    }

    /// The name of the frame's input; `None` when there is but one input, and nothing to tell apart.
    pub fn name(&self, frame: FrameId) -> Option<&str> {
        if self.0.len() < 2 {
            return None;
        }
        self.0.get(usize::from(frame.source())).map(String::as_str)
    }

    /// All of them.
    pub fn all(&self) -> &[String] {
        &self.0
    }
}

/// How many publications ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublicationCounts {
    /// Accepted by the presence server.
    pub acknowledged: u64,
    /// Refused, or never answered.
    pub failed: u64,
}

impl PublicationCounts {
    /// Counts one.
    pub fn count(&mut self, outcome: &PublicationOutcome) {
        if outcome.acknowledged {
            self.acknowledged += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// All that is said at the end of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The last frame's time; `None` when there was no frame.
    pub last: Option<Timestamp>,
    /// What the tap counted.
    pub counters: Counters,
    /// What each interface counted; empty when no counters are known.
    pub capture: Vec<(Arc<str>, FrameCounts)>,
    /// What became of the publications; all zero when nothing was published.
    pub publications: PublicationCounts,
    /// What became of wishes to call again; `None`: it is not switched on.
    pub redial: Option<RedialCounts>,
}

/// What became of wishes to call again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedialCounts {
    /// What was counted.
    pub counters: RedialCounters,
    /// What was counted by whoever asks phones.
    pub voice: VoiceCounters,
    /// No phone was really asked.
    pub dry_run: bool,
}

/// Where the results of a run go, one by one, in order.
pub trait Outlet {
    /// Takes one thing that the tap put out.
    ///
    /// # Errors
    /// When the text cannot be written, as to a pipe that nobody reads any more.
    fn output(&mut self, output: &TapOutput) -> io::Result<()>;

    /// Takes the end of one PUBLISH.
    ///
    /// # Errors
    /// As [`Self::output`].
    fn publication(&mut self, outcome: &PublicationOutcome) -> io::Result<()>;

    /// Takes what a watcher is told.
    ///
    /// # Errors
    /// As [`Self::output`].
    fn told(&mut self, told: &Told) -> io::Result<()>;

    /// Takes a step of a wish to call again.
    ///
    /// # Errors
    /// As [`Self::output`].
    fn redial(&mut self, told: &RedialTold) -> io::Result<()>;

    /// Ends the run.
    ///
    /// # Errors
    /// As [`Self::output`].
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;

    /// Makes everything said so far visible to whoever reads.
    ///
    /// # Errors
    /// As [`Self::output`].
    fn flush(&mut self) -> io::Result<()>;
}

/// Several outlets: each takes everything, in their order.
impl Outlet for Vec<Box<dyn Outlet>> {
    fn output(&mut self, output: &TapOutput) -> io::Result<()> {
        self.iter_mut().try_for_each(|outlet| outlet.output(output))
    }

    fn publication(&mut self, outcome: &PublicationOutcome) -> io::Result<()> {
        self.iter_mut().try_for_each(|outlet| outlet.publication(outcome))
    }

    fn told(&mut self, told: &Told) -> io::Result<()> {
        self.iter_mut().try_for_each(|outlet| outlet.told(told))
    }

    fn redial(&mut self, told: &RedialTold) -> io::Result<()> {
        self.iter_mut().try_for_each(|outlet| outlet.redial(told))
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.iter_mut().try_for_each(|outlet| outlet.summary(summary))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.iter_mut().try_for_each(|outlet| outlet.flush())
    }
}
