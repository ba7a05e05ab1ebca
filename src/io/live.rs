//! Interfaces through the tap to an outlet, as it happens: `offhook tap`.
//! In: the names of interfaces. Out: what a replay gives out, line by line. Knows nothing of SIP.
//!
//! Packet time is tied to the wall clock here: frames bear the kernel's stamps, and each interface says how far it is. A
//! timer fires when all of them are past its time, which is `capture.merge_window_ms` later at least: no timer beats a
//! frame that is still in the kernel's ring.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::capture::Captured;
use super::interfaces::{InterfaceError, Interfaces};
use super::recording::{Recording, RecordingError};
use super::redialing::Redialing;
use super::results::{Ended, Format, Publishing, Results, RunError, Wanted};
use super::run::{Run, Sink, Visible};
use super::stop;
use crate::base::{Rules, Timestamp};
use crate::config::{CaptureSection, RedialSection, WebhookSection};

/// What to listen to and how.
pub struct LiveOptions {
    /// Names of interfaces; none: all that are up and have a link, but for the loopback.
    pub interfaces: Vec<String>,
    /// A filter in the language of tcpdump.
    pub filter: Option<String>,
    /// Where to keep what was heard; `None`: nowhere.
    pub write: Option<PathBuf>,
    /// How to capture, and to keep.
    pub capture: CaptureSection,
    /// What counts as what.
    pub rules: Rules,
    /// How results are written.
    pub format: Format,
    /// Whom to tell; `None`: nobody.
    pub publishing: Option<Publishing>,
    /// Whom to send lines over HTTP; empty: nobody.
    pub webhooks: Vec<WebhookSection>,
    /// Who called in vain is called back, so; `None`: nobody is.
    pub redial: Option<RedialSection>,
}

/// Nothing is waited for longer without a look at what else there is to do.
const LOOK: Duration = Duration::from_millis(50);
/// When a stop is asked for, what the kernel still holds is taken in within this time.
const LAST_FRAMES: Duration = Duration::from_secs(2);

/// Listens until a stop is asked for. An interface that goes away is waited for.
///
/// # Errors
/// [`RunError`].
pub fn tap(options: LiveOptions) -> Result<Ended, RunError> {
    stop::on_signals().map_err(RunError::Signals)?;
    let filter = options.filter.as_deref();
    let interfaces = Interfaces::open(&options.interfaces, filter, &options.capture)?;
    let begin = |path: &PathBuf| Recording::begin(path, interfaces.names(), filter, &options.capture);
    let recording = options.write.as_ref().map(begin).transpose()?;
    let wanted = Wanted {
        format: options.format,
        publishing: options.publishing,
        webhooks: options.webhooks,
        in_real_time: true,
    };
    let mut results = Results::start(wanted, interfaces.names(), None)?;
    let redial = options.redial.map(|section| Redialing::live(section, &options.rules)).transpose()?;
    let run = Run::new(results.tap_options(options.rules), redial, Visible::AtOnce);
    eprintln!("offhook: listening on {}", interfaces.names().join(", "));
    let mut live = Live { interfaces, run, recording, all_was_kept: true, broken: None };
    let written = live.all(&mut results);
    let last_words = live.run.leave_phones(&mut results);
    let written = written.and(last_words);
    live.end();
    let arrived = results.finish(&live.run, written)?;
    if let Some(broken) = live.broken {
        return Err(broken.into());
    }
    Ok(if arrived && live.all_was_kept { Ended::Done } else { Ended::Incomplete })
}

struct Live {
    interfaces: Interfaces,
    run: Run,
    recording: Option<Recording>,
    all_was_kept: bool,
    broken: Option<InterfaceError>,
}

impl Live {
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    fn all(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let mut stopped_at: Option<Instant> = None;
        while !self.interfaces.is_over() {
            if stop::requested() {
                let stopped_at = *stopped_at.get_or_insert_with(|| {
                    self.interfaces.stop();
                    Instant::now()
                });
                if stopped_at.elapsed() > LAST_FRAMES {
                    break;
                }
            }
            self.interfaces.wait(LOOK);
            self.take_in(sink)?;
            self.broken = self.interfaces.broken();
            if self.broken.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// All that is known to be next.
    fn take_in(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let Self { interfaces, run, recording, all_was_kept, .. } = self;
        let mut keep = |keep: &dyn Fn(&mut Recording) -> Result<(), RecordingError>| {
            if let Some(Err(error)) = recording.as_mut().map(keep) {
                eprintln!("offhook: {error}; nothing more is kept");
                (*recording, *all_was_kept) = (None, false);
            }
        };
        while let Some((source, captured)) = interfaces.next() {
            match captured {
                Captured::Frame(frame) => {
                    let tap_at = run.last().unwrap_or_default();
                    keep(&|recording| recording.frame(&frame, tap_at));
                    if run.frame(&frame, sink)? {
                        interfaces.relied_on(source);
                    }
                }
                Captured::Event(event) => {
                    keep(&|recording| recording.event(source, &event));
                    run.capture(&event, sink)?;
                }
            }
        }
        let reached = interfaces.reached();
        if reached == Timestamp::EPOCH {
            return sink.idle();
        }
        let said = run.reach(reached, sink)?;
        keep(&|recording| {
            if said {
                recording.reached(reached)?;
            }
            recording.tick(reached)
        });
        Ok(())
    }

    /// The last counts, and the last word of the recording.
    fn end(&mut self) {
        for (name, counts) in self.interfaces.names().iter().zip(self.interfaces.counts()) {
            self.run.count(&name.as_str().into(), *counts);
        }
        self.run.refuse(self.interfaces.refused());
        if let Some(mut recording) = self.recording.take() {
            recording.count(self.interfaces.counts());
            if let Err(error) = recording.end(self.run.last().unwrap_or_default()) {
                eprintln!("offhook: {error}");
                self.all_was_kept = false;
            }
        }
    }
}
