//! Captures through the tap to an outlet, as fast as can be or as time passed.
//! In: the names of inputs. Out: lines on standard output, PUBLISH requests and webhooks if asked for. Knows nothing of SIP.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::capture::{CaptureError, MergedCapture};
use super::http::{WebhookError, WebhookHandle, WebhookReport};
use super::output::explain::Story;
use super::output::{JsonLines, Ladder, Outlet, PublicationCounts, Sources, Style, Summary};
use super::presence_server::{PresenceServerError, PresenceServerHandle};
use super::publisher::{PublishError, PublisherHandle};
use super::stop;
use super::watch::{WatchError, WatcherHandle, Watching};
use super::way::Target;
use crate::base::{Limits, Rules, Timestamp};
use crate::config::{Config, NextHop, PublishSection, WatchSection, WebhookSection};
use crate::presence::pidf::Facet;
use crate::presence::{ChangesWanted, PresentityChange};
use crate::publish::{EventPackage, PublishOptions};
use crate::sip::Aor;
use crate::sip::write::reason_phrase;
use crate::tap::{Tap, TapOptions, TapOutput};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A call ladder with statuses.
    Text,
    /// One JSON object a line.
    JsonLines,
}

/// How fast time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Without waiting.
    Max,
    /// So many times as fast as it did; finite and above 0.
    Times(f64),
}

/// Where and how to publish.
pub struct Publishing {
    /// Where.
    pub to: PublishTo,
    /// How; the servers that it names are looked at no more.
    pub section: PublishSection,
    /// What is published is watched there too, by this watcher, to show what it is told.
    pub watch: Option<WatchSection>,
}

/// Where to publish.
pub enum PublishTo {
    /// To these presence servers.
    Servers(Vec<NextHop>),
    /// To a presence server of our own, in this process, configured so.
    Embedded(Box<Config>),
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
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All was read and said.
    Done,
    /// Something could not be done, and standard error says what.
    Incomplete,
}

/// Why a run could not be begun, or not be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No input can be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Nothing can be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Our own presence server cannot serve.
    #[error(transparent)]
    PresenceServer(#[from] PresenceServerError),
    /// No webhook can be sent.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// Nobody can be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The system lets no signal be caught.
    #[error("SIGINT and SIGTERM cannot be caught: {0}")]
    Signals(#[source] io::Error),
    /// Standard output is gone or full.
    #[error("standard output cannot be written")]
    Output(#[from] io::Error),
}

/// Shorter inputs are read before anybody looks at a bar.
const LONG_INPUT_BYTES: u64 = 16 << 20;
/// Frames between two looks at the progress.
const FRAMES_PER_LOOK: u64 = 4_096;
/// Publications are given so long to be acknowledged at the end, and then webhooks to be delivered.
const SETTLE: Duration = Duration::from_secs(40);
/// A wait of so long needs no remark.
const UNREMARKED: Duration = Duration::from_secs(2);
/// What is published last has so long to be told to the watcher.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The watcher has so long to end its subscriptions.
const FAREWELL: Duration = Duration::from_secs(2);
/// A row waits so long for what a watcher is told of it; nobody sees that with the eye.
const BESIDE: Duration = Duration::from_millis(50);
/// However many rows come.
const BESIDE_AT_MOST: Duration = Duration::from_millis(300);
/// While waiting for packet time, outcomes of publications are looked for so often.
const LOOK: Duration = Duration::from_millis(100);

/// Replays captures. Input that cannot be read is told on standard error, the rest goes on.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(options: ReplayOptions) -> Result<Ended, ReplayError> {
    stop::on_signals().map_err(ReplayError::Signals)?;
    let mut capture = MergedCapture::open(&options.inputs, options.filter.as_deref())?;
    let limits = Limits::default();
    let (mut presence_server, publisher, watcher, server) = match options.publishing {
        None => (None, None, None, String::new()),
        Some(publishing) => {
            let (presence_server, target) = presence_server(publishing.to, &publishing.section, &limits)?;
            let name = target.name();
            let watch = |section| {
                let events = publishing.section.events.clone();
                WatcherHandle::start(Watching { target: target.clone(), section, events }, &limits)
            };
            let watcher = publishing.watch.map(watch).transpose()?;
            let publisher = PublisherHandle::start(target, publish_options(publishing.section), &limits)?;
            (presence_server, Some(publisher), watcher, name)
        }
    };
    let webhooks = match options.webhooks.as_slice() {
        [] => None,
        sections => Some(WebhookHandle::start(sections)?),
    };
    let sources = Sources::new(capture.names());
    let out = stdout();
    let mut outlet: Vec<Box<dyn Outlet>> = vec![match options.format {
        Format::JsonLines => Box::new(JsonLines::new(out, sources.clone())),
        Format::Text => {
            let ladder = Ladder::new(out, Style::for_stdout(io::stdout().is_terminal()), sources.clone());
            Box::new(if watcher.is_some() { ladder.beside_watcher() } else { ladder })
        }
    }];
    if let Some(webhooks) = &webhooks {
        outlet.push(Box::new(JsonLines::new(webhooks.lines(), sources)));
    }
    let bar = options.progress.then(|| progress_bar(&capture)).flatten();
    let tap_options = TapOptions {
        rules: options.rules,
        changes: match (&publisher, options.format) {
            (None, Format::JsonLines) => ChangesWanted::Lines,
            _ => ChangesWanted::All,
        },
        trace_messages: options.format == Format::Text,
        trace_observations: false,
    };
    let mut results = Results {
        outlet,
        publisher,
        publications: PublicationCounts::default(),
        unpublished: BTreeMap::new(),
        webhooks,
        bar: bar.clone(),
        flushing: match (&watcher, options.speed) {
            (Some(_), Speed::Times(_)) => Flushing::Later { asked: None },
            _ => Flushing::AtOnce,
        },
        watcher,
    };
    let mut run = Run {
        tap: Tap::new(tap_options, Limits::default()),
        pace: Pace::new(options.speed),
        live: io::stdout().is_terminal()
            || options.inputs.iter().any(|input| input == "-")
            || options.speed != Speed::Max,
        bar,
        last: None,
        failed_inputs: 0,
        warnings_told: 0,
    };
    // Whoever reads no further has not asked for lamps to stay on, nor for events to be lost.
    let mut written = run.all(&mut capture, &mut results).and_then(|()| results.outlet.flush());
    if let Some(bar) = run.bar.take() {
        bar.finish_and_clear();
    }

    let mut complete = run.failed_inputs == 0;
    let mut settled = true;
    if let Some(publisher) = &mut results.publisher {
        let patience = tell_if_it_takes_long(&server);
        settled = publisher.finish(SETTLE).settled;
        drop(patience);
        let (not_taken, _) = publisher.lost();
        if not_taken > 0 {
            eprintln!("offhook: {not_taken} changes were not published: there are too many presentities");
            complete = false;
        }
    }
    written = written.and_then(|()| results.finish_watcher());
    if let Some(presence_server) = &mut presence_server {
        presence_server.finish(FAREWELL);
    }
    written = written.and_then(|()| results.poll_publisher());
    if written.is_ok() && !(settled && results.unpublished.is_empty()) {
        let why = unacknowledged(settled, results.unpublished.values());
        let failure = results.publisher.as_ref().and_then(PublisherHandle::last_failure);
        let failure = failure.map(|failure| format!("; {failure}")).unwrap_or_default();
        eprintln!("offhook: the presence server {server} did not acknowledge everything: {why}{failure}");
        complete = false;
    }
    let summary =
        Summary { last: run.last, counters: run.tap.counters(), publications: results.publications };
    written = written.and_then(|()| results.outlet.summary(&summary)).and_then(|()| results.outlet.flush());
    if let Some(webhooks) = &mut results.webhooks {
        let patience = tell_if_it_takes_long("the webhooks");
        let reports = webhooks.finish(SETTLE);
        drop(patience);
        results.tell_of_webhooks();
        for report in reports.iter().filter(|report| !is_delivered(report)) {
            tell_undelivered(report);
            complete = false;
        }
    }
    written?;
    Ok(if complete { Ended::Done } else { Ended::Incomplete })
}

/// `failed` are the final responses to what failed last of each publication that did.
fn unacknowledged<'a>(settled: bool, failed: impl ExactSizeIterator<Item = &'a Option<u16>>) -> String {
    let how = match failed.len() {
        _ if !settled => format!("not within {} s", SETTLE.as_secs()),
        1 => "one publication failed to the end".to_owned(),
        count => format!("{count} publications failed to the end"),
    };
    match failed.flatten().next() {
        None => how,
        Some(status) => {
            let advice = match status {
                401 | 407 => "; it wants credentials that it accepts: see [publish] in the configuration",
                _ => "",
            };
            format!("{how} ({status} {}){advice}", reason_phrase(*status))
        }
    }
}

fn is_delivered(report: &WebhookReport) -> bool {
    report.counters.dropped == 0 && report.counters.waiting == 0
}

fn tell_undelivered(report: &WebhookReport) {
    let counters = report.counters;
    let lost = counters.dropped + counters.waiting;
    let why = report.last_failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
    eprintln!(
        "offhook: {} did not take everything: {lost} of {} events were not delivered{why}",
        report.name,
        lost + counters.delivered
    );
}

/// Tells why an AOR has the status that it has at the end of the captures.
///
/// # Errors
/// [`ReplayError`].
pub fn explain(options: ExplainOptions) -> Result<Ended, ReplayError> {
    let mut capture = MergedCapture::open(&options.inputs, options.filter.as_deref())?;
    let sources = Sources::new(capture.names());
    let style = Style::for_stdout(io::stdout().is_terminal());
    let domains = &options.rules.domains;
    let mut story = Story::new(stdout(), style, sources, options.aor, domains);
    let tap_options = TapOptions { rules: options.rules, trace_observations: true, ..TapOptions::default() };
    let mut run = Run {
        tap: Tap::new(tap_options, Limits::default()),
        pace: Pace::new(Speed::Max),
        live: false,
        bar: None,
        last: None,
        failed_inputs: 0,
        warnings_told: 0,
    };
    run.all(&mut capture, &mut story)?;
    let summary =
        Summary { last: run.last, counters: run.tap.counters(), publications: PublicationCounts::default() };
    if !story.end(&summary)? {
        eprintln!("offhook: {}", story.unknown());
        return Ok(Ended::Incomplete);
    }
    Ok(if run.failed_inputs == 0 { Ended::Done } else { Ended::Incomplete })
}

/// Says after a while what the wait is for, unless what it gives is dropped before.
fn tell_if_it_takes_long(server: &str) -> Sender<()> {
    let (waiting, over) = mpsc::channel();
    let sentence = format!(
        "offhook: waiting up to {} s for {server} to acknowledge; Ctrl-C twice ends it now",
        SETTLE.as_secs()
    );
    // Without the thread the wait is the same, only silent.
    let _ = thread::Builder::new().name("patience".to_owned()).spawn(move || {
        if over.recv_timeout(UNREMARKED) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{sentence}");
        }
    });
    waiting
}

fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// The presence servers to publish to; our own is started first.
fn presence_server(
    to: PublishTo,
    section: &PublishSection,
    limits: &Limits,
) -> Result<(Option<PresenceServerHandle>, Target), ReplayError> {
    match to {
        PublishTo::Servers(servers) => Ok((None, Target { servers, ca_file: section.tls_ca_file.clone() })),
        PublishTo::Embedded(config) => {
            let handle = PresenceServerHandle::start(&config, limits)?;
            handle.tell(&config);
            let target = handle.own_target(&config);
            Ok((Some(handle), target))
        }
    }
}

fn publish_options(section: PublishSection) -> PublishOptions {
    PublishOptions {
        from: section.from,
        user: section.user,
        password: section.password,
        expires_s: section.expires_s,
        method: section.method,
        facets: section.facets,
        refresh: section.refresh,
        per_s: section.per_s,
        outstanding: section.outstanding,
        events: section.events,
        on_stop: section.on_stop,
        placeholder: section.placeholder,
        remote_identity: section.remote_identity,
        ..PublishOptions::default()
    }
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

/// Takes what the tap puts out.
trait Sink {
    fn take(&mut self, output: TapOutput) -> io::Result<()>;
    /// Nothing more comes for a while.
    fn idle(&mut self) -> io::Result<()>;
    fn flush(&mut self) -> io::Result<()>;
}

struct Results {
    /// Standard output, and the webhooks.
    outlet: Vec<Box<dyn Outlet>>,
    publisher: Option<PublisherHandle>,
    publications: PublicationCounts,
    /// Publications whose last operation failed, and the final response to it if one came.
    unpublished: BTreeMap<(Aor, EventPackage, Facet), Option<u16>>,
    webhooks: Option<WebhookHandle>,
    bar: Option<ProgressBar>,
    watcher: Option<WatcherHandle>,
    flushing: Flushing,
}

/// When what was written becomes visible.
enum Flushing {
    /// As soon as it is asked for.
    AtOnce,
    /// A moment later: what a watcher is told meanwhile can stand beside what brought it about.
    Later {
        /// When it was asked for first and last since it was done.
        asked: Option<(Instant, Instant)>,
    },
}

impl Results {
    fn tell_of_webhooks(&self) {
        while let Some(notice) = self.webhooks.as_ref().and_then(WebhookHandle::poll_notice) {
            tell(self.bar.as_ref(), &notice);
        }
    }

    fn poll_publisher(&mut self) -> io::Result<()> {
        while let Some(outcome) = self.publisher.as_ref().and_then(PublisherHandle::poll_outcome) {
            self.publications.count(&outcome);
            let publication = (outcome.aor.clone(), outcome.event, outcome.facet);
            if outcome.acknowledged {
                self.unpublished.remove(&publication);
            } else {
                self.unpublished.insert(publication, outcome.status);
            }
            self.outlet.publication(&outcome)?;
        }
        Ok(())
    }

    /// Says so while there is still time to mend it; at the end the last sentence does.
    fn tell_of_publisher(&self) {
        if let Some(failure) = self.publisher.as_ref().and_then(PublisherHandle::poll_failure) {
            tell(
                self.bar.as_ref(),
                &format_args!("the presence server cannot be reached, and is tried again: {failure}"),
            );
        }
    }

    fn publish(&mut self, change: &PresentityChange) {
        if let Some(publisher) = &self.publisher {
            publisher.send(change.clone());
        }
        if let Some(watcher) = self.watcher.as_mut().filter(|_| change.state.publishable) {
            watcher.watch(&change.aor);
        }
    }

    fn poll_watcher(&mut self) -> io::Result<()> {
        while let Some(told) = self.watcher.as_ref().and_then(WatcherHandle::poll_told) {
            self.outlet.told(&told)?;
        }
        Ok(())
    }

    /// Shows what is still told, until nothing is for a while.
    fn finish_watcher(&mut self) -> io::Result<()> {
        let Some(mut watcher) = self.watcher.take() else {
            return Ok(());
        };
        while let Some(told) = watcher.wait_told(LAST_WORDS) {
            self.outlet.told(&told)?;
        }
        watcher.finish(FAREWELL);
        while let Some(told) = watcher.poll_told() {
            self.outlet.told(&told)?;
        }
        Ok(())
    }
}

impl Sink for Results {
    fn take(&mut self, output: TapOutput) -> io::Result<()> {
        self.outlet.output(&output)?;
        if let TapOutput::Change(change) = &output {
            self.publish(change);
        }
        Ok(())
    }

    fn idle(&mut self) -> io::Result<()> {
        self.tell_of_webhooks();
        self.tell_of_publisher();
        self.poll_publisher()?;
        self.poll_watcher()?;
        match &mut self.flushing {
            Flushing::Later { asked: Some((first, last)) }
                if last.elapsed() >= BESIDE || first.elapsed() >= BESIDE_AT_MOST =>
            {
                self.flushing = Flushing::Later { asked: None };
                self.outlet.flush()
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.flushing {
            Flushing::AtOnce => self.outlet.flush(),
            Flushing::Later { asked } => {
                #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
                let now = Instant::now();
                *asked = Some((asked.map_or(now, |(first, _)| first), now));
                Ok(())
            }
        }
    }
}

impl<W: io::Write> Sink for Story<W> {
    fn take(&mut self, output: TapOutput) -> io::Result<()> {
        self.output(&output)
    }

    fn idle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Story::flush(self)
    }
}

/// One run through the captures.
struct Run {
    tap: Tap,
    pace: Pace,
    /// Somebody reads along: everything is shown at once.
    live: bool,
    bar: Option<ProgressBar>,
    last: Option<Timestamp>,
    failed_inputs: u32,
    warnings_told: usize,
}

impl Run {
    fn all(&mut self, capture: &mut MergedCapture, sink: &mut dyn Sink) -> io::Result<()> {
        let mut frames = 0_u64;
        loop {
            self.tell_warnings(capture);
            if let Some(bar) = self.bar.as_ref().filter(|_| frames.is_multiple_of(FRAMES_PER_LOOK)) {
                bar.set_position(capture.progress().0);
            }
            frames += 1;
            if stop::requested() {
                break;
            }
            let frame = match capture.next() {
                None => break,
                // A pipe that ends because we were asked to stop was not cut off.
                Some(Err(_)) if stop::requested() => break,
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.failed_inputs += 1;
                    tell(self.bar.as_ref(), &error);
                    continue;
                }
            };
            self.wait_for(frame.at, sink)?;
            if stop::requested() {
                break;
            }
            // Merged inputs may still step back a little: the tap counts that, the end must not.
            self.last = self.last.max(Some(frame.at));
            self.tap.handle(&frame);
            self.drain(sink)?;
        }
        if let Some(last) = self.last {
            // Nothing is expired that the captures have not reached.
            self.tap.handle_timeout(last);
            self.drain(sink)?;
        }
        Ok(())
    }

    /// What the inputs found out that the user should know, once each.
    fn tell_warnings(&mut self, capture: &MergedCapture) {
        for warning in capture.warnings().iter().skip(self.warnings_told) {
            tell(self.bar.as_ref(), warning);
        }
        self.warnings_told = capture.warnings().len();
    }

    /// At a given speed: waits until a frame of this time is due. What the tap has due before is fired at its time.
    fn wait_for(&mut self, at: Timestamp, sink: &mut dyn Sink) -> io::Result<()> {
        if self.pace.speed == Speed::Max {
            return Ok(());
        }
        while let Some(due) = self.tap.poll_timeout().filter(|&due| due < at) {
            self.pace.wait_until(due, &mut || sink.idle())?;
            self.tap.handle_timeout(due);
            self.drain(sink)?;
        }
        self.pace.wait_until(at, &mut || sink.idle())
    }

    fn drain(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let mut said = false;
        while let Some(output) = self.tap.poll_output() {
            sink.take(output)?;
            said = true;
        }
        sink.idle()?;
        if said && self.live { sink.flush() } else { Ok(()) }
    }
}

/// One sentence on standard error, above the bar.
fn tell(bar: Option<&ProgressBar>, what: &dyn fmt::Display) {
    match bar {
        Some(bar) => bar.suspend(|| eprintln!("offhook: {what}")),
        None => eprintln!("offhook: {what}"),
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
    fn what_is_not_acknowledged_is_told_with_the_last_response_and_what_to_do() {
        let said = |settled, failed: &[Option<u16>]| unacknowledged(settled, failed.iter());
        assert_eq!(said(false, &[]), "not within 40 s");
        assert_eq!(said(false, &[None, Some(503)]), "not within 40 s (503 Service Unavailable)");
        assert_eq!(said(true, &[Some(403)]), "one publication failed to the end (403 Forbidden)");
        let said = said(true, &[Some(401), Some(401)]);
        assert!(said.starts_with("2 publications failed to the end (401 Unauthorized); "), "{said}");
        assert!(said.ends_with("see [publish] in the configuration"), "{said}");
    }

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
