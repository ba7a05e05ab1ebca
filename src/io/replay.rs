//! Captures through the tap to an outlet, as fast as can be or as time passed.
//! In: the names of inputs. Out: lines on standard output, PUBLISH requests and webhooks if asked for. Knows nothing of SIP.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::capture::{Captured, MergedCapture};
use super::output::explain::Story;
use super::output::{PublicationCounts, Sources, Style};
use super::redialing::Redialing;
use super::results::{Ended, Format, Publishing, Results, RunError, Wanted, stdout, tell};
use super::run::{Run, Sink, Visible};
use super::stop;
use crate::base::{Rules, Timestamp};
use crate::config::{RedialSection, WebhookSection};
use crate::redial::RedialTold;
use crate::sip::Aor;
use crate::tap::{TapOptions, TapOutput};

/// How fast time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Without waiting.
    Max,
    /// So many times as fast as it did; finite and above 0.
    Times(f64),
}

/// What to replay and how.
pub struct ReplayOptions {
    /// Names of captures, `-` for standard input.
    pub inputs: Vec<String>,
    /// A filter in the language of tcpdump.
    pub filter: Option<String>,
    /// What counts as what.
    pub rules: Rules,
    /// How results are written.
    pub format: Format,
    /// How fast time passes.
    pub speed: Speed,
    /// Whom to tell; `None`: nobody.
    pub publishing: Option<Publishing>,
    /// Whom to send lines over HTTP; empty: nobody.
    pub webhooks: Vec<WebhookSection>,
    /// Say who would be called back, and ask nobody; `None`: say nothing of that.
    pub redial: Option<RedialSection>,
    /// A progress bar may be drawn on standard error.
    pub progress: bool,
}

/// Whose status to explain.
pub struct ExplainOptions {
    /// Names of captures, `-` for standard input.
    pub inputs: Vec<String>,
    /// A filter in the language of tcpdump.
    pub filter: Option<String>,
    /// What counts as what.
    pub rules: Rules,
    /// Whose.
    pub aor: Aor,
    /// Wishes to call again belong to the story.
    pub redial: Option<RedialSection>,
}

/// Shorter inputs are read before anybody looks at a bar.
const LONG_INPUT_BYTES: u64 = 16 << 20;
/// Frames between two looks at the progress.
const FRAMES_PER_LOOK: u64 = 4_096;
/// While waiting for packet time, outcomes of publications are looked for so often.
const LOOK: Duration = Duration::from_millis(100);

/// Replays captures. Input that cannot be read is told on standard error, the rest goes on.
///
/// # Errors
/// [`RunError`].
pub fn replay(options: ReplayOptions) -> Result<Ended, RunError> {
    stop::on_signals().map_err(RunError::Signals)?;
    let capture = MergedCapture::open(&options.inputs, options.filter.as_deref())?;
    let bar = options.progress.then(|| progress_bar(&capture)).flatten();
    let wanted = Wanted {
        format: options.format,
        publishing: options.publishing,
        webhooks: options.webhooks,
        in_real_time: options.speed != Speed::Max,
    };
    let mut results = Results::start(wanted, capture.names(), bar.clone())?;
    let somebody_reads_along = io::stdout().is_terminal()
        || options.inputs.iter().any(|input| input == "-")
        || options.speed != Speed::Max;
    let redial = options.redial.map(|redial| Redialing::dry(redial.options, &options.rules));
    if redial.is_some() {
        let what = "redial is a dry run in a replay: what would be done is said, and old calls ring no phone";
        tell(bar.as_ref(), &what);
    }
    let mut replay = Replay {
        run: Run::new(
            results.tap_options(options.rules),
            redial,
            if somebody_reads_along { Visible::AtOnce } else { Visible::Later },
        ),
        capture,
        pace: Pace::new(options.speed),
        bar,
        failed_inputs: 0,
        warnings_told: 0,
    };
    let written = replay.all(&mut results);
    let arrived = results.finish(&replay.run, written)?;
    Ok(if arrived && replay.failed_inputs == 0 { Ended::Done } else { Ended::Incomplete })
}

/// Tells why an AOR has the status that it has at the end of the captures.
///
/// # Errors
/// [`RunError`].
pub fn explain(options: ExplainOptions) -> Result<Ended, RunError> {
    let capture = MergedCapture::open(&options.inputs, options.filter.as_deref())?;
    let sources = Sources::new(capture.names());
    let style = Style::for_stdout(io::stdout().is_terminal());
    let redial = options.redial.map(|redial| Redialing::dry(redial.options, &options.rules));
    let domains = &options.rules.domains;
    let mut story = Story::new(stdout(), style, sources, options.aor, domains);
    let tap_options = TapOptions { rules: options.rules, trace_observations: true, ..TapOptions::default() };
    let mut replay = Replay {
        run: Run::new(tap_options, redial, Visible::Later),
        capture,
        pace: Pace::new(Speed::Max),
        bar: None,
        failed_inputs: 0,
        warnings_told: 0,
    };
    replay.all(&mut story)?;
    if !story.end(&replay.run.summary(PublicationCounts::default()))? {
        eprintln!("offhook: {}", story.unknown());
        return Ok(Ended::Incomplete);
    }
    Ok(if replay.failed_inputs == 0 { Ended::Done } else { Ended::Incomplete })
}

fn progress_bar(capture: &MergedCapture) -> Option<ProgressBar> {
    let (_, size) = capture.progress();
    let bar = ProgressBar::new(size.filter(|&size| size >= LONG_INPUT_BYTES)?);
    let template = "{bar:40} {percent:>3} %  {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    Some(bar)
}

impl<W: io::Write> Sink for Story<W> {
    fn take(&mut self, output: TapOutput) -> io::Result<()> {
        self.output(&output)
    }

    fn redial(&mut self, told: &RedialTold) -> io::Result<()> {
        Story::redial(self, told)
    }

    fn idle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Story::flush(self)
    }
}

/// One run through the captures.
struct Replay {
    run: Run,
    capture: MergedCapture,
    pace: Pace,
    bar: Option<ProgressBar>,
    failed_inputs: u32,
    warnings_told: usize,
}

impl Replay {
    fn all(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let Self { run, capture, pace, bar, failed_inputs, warnings_told } = self;
        let mut frames = 0_u64;
        loop {
            // What the inputs found out that the user should know, once each.
            for warning in capture.warnings().iter().skip(*warnings_told) {
                tell(bar.as_ref(), warning);
            }
            *warnings_told = capture.warnings().len();
            if let Some(bar) = bar.as_ref().filter(|_| frames.is_multiple_of(FRAMES_PER_LOOK)) {
                bar.set_position(capture.progress().0);
            }
            frames += 1;
            if stop::requested() {
                break;
            }
            let captured = match capture.next() {
                None => break,
                // A pipe that ends because we were asked to stop was not cut off.
                Some(Err(_)) if stop::requested() => break,
                Some(Ok(captured)) => captured,
                Some(Err(error)) => {
                    *failed_inputs += 1;
                    tell(bar.as_ref(), &error);
                    continue;
                }
            };
            let at = match &captured {
                Captured::Frame(frame) => frame.at,
                Captured::Event(event) => event.at,
            };
            pace.wait_for(at, run, sink)?;
            if stop::requested() {
                break;
            }
            match captured {
                Captured::Frame(frame) => {
                    run.frame(&frame, sink)?;
                }
                Captured::Event(event) => run.capture(&event, sink)?,
            }
        }
        // Nothing is expired that the captures have not reached.
        if let Some(last) = run.last() {
            run.reach(last, sink)?;
        }
        Ok(())
    }
}

/// Lets packet time pass as wall time does.
struct Pace {
    speed: Speed,
    began: Option<(Timestamp, Instant)>,
}

impl Pace {
    const fn new(speed: Speed) -> Self {
        Self { speed, began: None }
    }

    /// Waits until what is from this time is due. What the tap has due before is fired at its time.
    fn wait_for(&mut self, at: Timestamp, run: &mut Run, sink: &mut dyn Sink) -> io::Result<()> {
        if self.speed == Speed::Max {
            return Ok(());
        }
        while let Some(due) = run.next_due().filter(|&due| due < at) {
            self.wait_until(due, &mut || sink.idle())?;
            run.reach(due, sink)?;
        }
        self.wait_until(at, &mut || sink.idle())
    }

    /// Waits until a moment of packet time; calls `meanwhile` now and then. The first moment is at once.
    #[expect(clippy::disallowed_methods, reason = "io reads the clock and waits")]
    fn wait_until(&mut self, at: Timestamp, meanwhile: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let Speed::Times(factor) = self.speed else {
            return Ok(());
        };
        let (first, began) = *self.began.get_or_insert_with(|| (at, Instant::now()));
        let wanted =
            Duration::try_from_secs_f64(at.since(first).as_secs_f64() / factor).unwrap_or(Duration::MAX);
        loop {
            let left = wanted.saturating_sub(began.elapsed());
            meanwhile()?;
            if left.is_zero() || stop::requested() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_as_fast_as_asked() {
        let mut looks = 0;
        let mut pace = Pace::new(Speed::Times(100.0));
        #[expect(clippy::disallowed_methods, reason = "measures the wait")]
        let began = Instant::now();
        for second in [10, 12, 25] {
            pace.wait_until(Timestamp::from_secs(second), &mut || {
                looks += 1;
                Ok(())
            })
            .unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(150), "15 s at 100 times the speed");
        assert!(looks >= 2);
        Pace::new(Speed::Max).wait_until(Timestamp::MAX, &mut || Ok(())).unwrap();
    }
}
