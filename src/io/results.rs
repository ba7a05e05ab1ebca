//! Where the results of a run go: standard output, a presence server and its watcher, webhooks.
//! In: `TapOutput`. Out: lines, PUBLISH requests, webhooks; at the end, whether all of it arrived. Knows nothing of where
//! frames come from.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::capture::CaptureError;
use super::http::{WebhookError, WebhookHandle, WebhookReport};
use super::interfaces::InterfaceError;
use super::output::{JsonLines, Ladder, Outlet, PublicationCounts, Sources, Style};
use super::presence_server::{PresenceServerError, PresenceServerHandle};
use super::publisher::{PublishError, PublisherHandle};
use super::recording::RecordingError;
use super::redialer::RedialError;
use super::run::{Run, Sink};
use super::watch::{WatchError, WatcherHandle, Watching};
use super::way::Target;
use crate::base::{Limits, Rules};
use crate::config::{Config, NextHop, PublishSection, WatchSection, WebhookSection};
use crate::presence::pidf::Facet;
use crate::presence::{ChangesWanted, PresentityChange};
use crate::publish::{EventPackage, PublishOptions};
use crate::redial::RedialTold;
use crate::sip::Aor;
use crate::sip::write::reason_phrase;
use crate::tap::{TapOptions, TapOutput};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A call ladder with statuses.
    Text,
    /// One JSON object a line.
    JsonLines,
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
pub enum RunError {
    /// No input can be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// An interface cannot be listened to.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// Nothing can be kept.
    #[error(transparent)]
    Recording(#[from] RecordingError),
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
    /// No phone can be asked.
    #[error(transparent)]
    Redial(#[from] RedialError),
    /// The system lets no signal be caught.
    #[error("SIGINT and SIGTERM cannot be caught: {0}")]
    Signals(#[source] io::Error),
    /// Standard output is gone or full.
    #[error("standard output cannot be written")]
    Output(#[from] io::Error),
}

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
/// What a run's results are wanted as, and where.
pub(super) struct Wanted {
    /// How lines are written on standard output.
    pub format: Format,
    /// Whom to tell; `None`: nobody.
    pub publishing: Option<Publishing>,
    /// Whom to send lines over HTTP; empty: nobody.
    pub webhooks: Vec<WebhookSection>,
    /// Frames come as time passes: what a watcher is told then stands beside what brought it about.
    pub in_real_time: bool,
}

/// Where results go.
pub(super) struct Results {
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
    /// Our own, if there is one.
    presence_server: Option<PresenceServerHandle>,
    /// What the presence server is called in sentences.
    server: String,
    format: Format,
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
    /// Starts whatever is to take results of inputs that are called so.
    pub(super) fn start(
        wanted: Wanted,
        names: &[String],
        bar: Option<ProgressBar>,
    ) -> Result<Self, RunError> {
        let limits = Limits::default();
        let (presence_server, publisher, watcher, server) = match wanted.publishing {
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
        let webhooks = match wanted.webhooks.as_slice() {
            [] => None,
            sections => Some(WebhookHandle::start(sections)?),
        };
        let sources = Sources::new(names);
        let out = stdout();
        let mut outlet: Vec<Box<dyn Outlet>> = vec![match wanted.format {
            Format::JsonLines => Box::new(JsonLines::new(out, sources.clone())),
            Format::Text => {
                let ladder = Ladder::new(out, Style::for_stdout(io::stdout().is_terminal()), sources.clone());
                Box::new(if watcher.is_some() { ladder.beside_watcher() } else { ladder })
            }
        }];
        if let Some(webhooks) = &webhooks {
            outlet.push(Box::new(JsonLines::new(webhooks.lines(), sources)));
        }
        Ok(Self {
            outlet,
            publisher,
            publications: PublicationCounts::default(),
            unpublished: BTreeMap::new(),
            webhooks,
            bar,
            flushing: match (&watcher, wanted.in_real_time) {
                (Some(_), true) => Flushing::Later { asked: None },
                _ => Flushing::AtOnce,
            },
            watcher,
            presence_server,
            server,
            format: wanted.format,
        })
    }

    /// What the tap has to tell for these results.
    pub(super) fn tap_options(&self, rules: Rules) -> TapOptions {
        TapOptions {
            rules,
            changes: match (&self.publisher, self.format) {
                (None, Format::JsonLines) => ChangesWanted::Lines,
                _ => ChangesWanted::All,
            },
            trace_messages: self.format == Format::Text,
            trace_observations: false,
        }
    }

    /// The frames are over: everything is seen through to its end. `written` says whether standard output took all so
    /// far; whoever reads no further has not asked for lamps to stay on, nor for events to be lost.
    ///
    /// Says whether everything arrived.
    pub(super) fn finish(mut self, run: &Run, written: io::Result<()>) -> Result<bool, RunError> {
        let mut written = written.and_then(|()| self.outlet.flush());
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let mut complete = true;
        let mut settled = true;
        if let Some(publisher) = &mut self.publisher {
            let patience = tell_if_it_takes_long(&self.server);
            settled = publisher.finish(SETTLE).settled;
            drop(patience);
            let (not_taken, _) = publisher.lost();
            if not_taken > 0 {
                eprintln!("offhook: {not_taken} changes were not published: there are too many presentities");
                complete = false;
            }
        }
        written = written.and_then(|()| self.finish_watcher());
        if let Some(presence_server) = &mut self.presence_server {
            presence_server.finish(FAREWELL);
        }
        written = written.and_then(|()| self.poll_publisher());
        if written.is_ok() && !(settled && self.unpublished.is_empty()) {
            let why = unacknowledged(settled, self.unpublished.values());
            let failure = self.publisher.as_ref().and_then(PublisherHandle::last_failure);
            let failure = failure.map(|failure| format!("; {failure}")).unwrap_or_default();
            let server = &self.server;
            eprintln!("offhook: the presence server {server} did not acknowledge everything: {why}{failure}");
            complete = false;
        }
        let summary = run.summary(self.publications);
        written = written.and_then(|()| self.outlet.summary(&summary)).and_then(|()| self.outlet.flush());
        if let Some(webhooks) = &mut self.webhooks {
            let patience = tell_if_it_takes_long("the webhooks");
            let reports = webhooks.finish(SETTLE);
            drop(patience);
            self.tell_of_webhooks();
            for report in reports.iter().filter(|report| !is_delivered(report)) {
                tell_undelivered(report);
                complete = false;
            }
        }
        written?;
        Ok(complete)
    }

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

    fn redial(&mut self, told: &RedialTold) -> io::Result<()> {
        self.outlet.redial(told)
    }

    fn idle(&mut self) -> io::Result<()> {
        // Asked with every frame: where nobody works beside us, nothing is to be fetched.
        if self.webhooks.is_none() && self.publisher.is_none() && self.watcher.is_none() {
            return Ok(());
        }
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

pub(super) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// The presence servers to publish to; our own is started first.
fn presence_server(
    to: PublishTo,
    section: &PublishSection,
    limits: &Limits,
) -> Result<(Option<PresenceServerHandle>, Target), RunError> {
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

/// One sentence on standard error, above the bar.
pub(super) fn tell(bar: Option<&ProgressBar>, what: &dyn fmt::Display) {
    match bar {
        Some(bar) => bar.suspend(|| eprintln!("offhook: {what}")),
        None => eprintln!("offhook: {what}"),
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
}
