//! The watcher's thread and its socket, and the command that prints what it is told.
//! In: presentities. Out: SUBSCRIBEs, what the server tells. Knows nothing of documents, captures.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, BufWriter, IsTerminal};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::{Clock, fresh_seed};
use super::mailbox::{LastFailure, Mailbox};
use super::output::{JsonLines, Outlet, Sources, Style, ToldLines};
use super::results::{Ended, Format};
use super::sip_endpoint::EndpointEvent;
use super::stop;
use super::way::{Target, Way, WayError, failure};
use super::worker::{self, WorkerError};
use crate::base::{Hop, Limits, Listen, Timestamp, Transport, default_port};
use crate::config::WatchSection;
use crate::presence::EventPackage;
use crate::sip::Aor;
use crate::sip::write::reason_phrase;
use crate::watch::{Told, WatchOptions, Watcher, What};

/// Why nobody can be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The presence server cannot be reached from here.
    #[error("cannot watch")]
    Way(#[from] WayError),
    /// There is no thread for it.
    #[error("cannot watch")]
    Worker(#[from] WorkerError),
    /// The system lets no signal be caught.
    #[error("SIGINT and SIGTERM cannot be caught: {0}")]
    Signals(#[source] io::Error),
    /// Standard output is gone or full.
    #[error("standard output cannot be written")]
    Output(#[from] io::Error),
    /// There is nothing to wait for.
    #[error("{0}")]
    InVain(String),
}

/// Where and how to watch.
#[derive(Clone, Debug)]
pub struct Watching {
    /// The presence servers; the first that is found is watched at.
    pub target: Target,
    /// Who watches.
    pub section: WatchSection,
    /// The packages that are subscribed to.
    pub events: Vec<EventPackage>,
}

/// Presentities that wait to be watched, and what waits to be polled.
#[derive(Default)]
struct Inbox {
    wanted: VecDeque<Aor>,
    told: VecDeque<Told>,
    told_lost: u64,
    /// Nobody is watched any more, and nobody will be.
    in_vain: bool,
    failure: LastFailure,
    finish: Option<Duration>,
    abandoned: bool,
    settled: bool,
}

#[derive(Default)]
struct Shared {
    mailbox: Mailbox<Inbox>,
    /// Something was told, or never will be.
    came: Condvar,
}

/// Told things that wait to be polled; older ones go first and are counted.
const TOLD_KEPT: usize = 1 << 16;
/// A wait that nothing ends.
const LONG: Duration = Duration::from_secs(3_600);

/// The other side's end of the watcher's thread. Dropped without [`Self::finish`], it leaves its subscriptions to
/// expire.
pub struct WatcherHandle {
    shared: Arc<Shared>,
    /// Who was asked for.
    asked: BTreeSet<Aor>,
    most: usize,
    thread: Option<JoinHandle<()>>,
}

impl WatcherHandle {
    /// Finds the server, opens the socket and starts the thread. Waits for the resolver.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn start(watching: Watching, limits: &Limits) -> Result<Self, WatchError> {
        let shared = Arc::new(Shared::default());
        let (in_thread, limits_there) = (Arc::clone(&shared), limits.clone());
        let Watching { target, section, events } = watching;
        let begin = async move || Ok::<_, WatchError>((open(target).await?, ()));
        let (thread, ()) = worker::start("watcher", begin, async move |(way, hop, contact)| {
            let options = WatchOptions {
                contact,
                user: section.user,
                password: section.password,
                seed: fresh_seed(),
                ..WatchOptions::new(hop)
            };
            run(Watcher::new(options, &limits_there), way, &events, &in_thread).await;
        })?;
        Ok(Self { shared, asked: BTreeSet::new(), most: limits.presentities, thread: Some(thread) })
    }

    /// Watches this presentity too; never waits. One that is watched already changes nothing.
    pub fn watch(&mut self, aor: &Aor) {
        if self.asked.len() >= self.most || self.asked.contains(aor) {
            return;
        }
        self.asked.insert(aor.clone());
        self.shared.mailbox.put(|inbox| inbox.wanted.push_back(aor.clone()));
    }

    /// What was told. Goes on giving what is left after [`Self::finish`].
    pub fn poll_told(&self) -> Option<Told> {
        self.shared.mailbox.open().told.pop_front()
    }

    /// Waits for what is told next, at most so long.
    pub fn wait_told(&self, most: Duration) -> Option<Told> {
        let inbox = self.shared.mailbox.open();
        let nothing = |inbox: &mut Inbox| inbox.told.is_empty() && !inbox.in_vain;
        let waited = self.shared.came.wait_timeout_while(inbox, most, nothing);
        waited.unwrap_or_else(PoisonError::into_inner).0.told.pop_front()
    }

    /// There is nothing to wait for: the server refused or ended all that was asked for, for good.
    pub fn is_in_vain(&self) -> bool {
        self.shared.mailbox.open().in_vain
    }

    /// Why the server could not be reached last, in words; `None` while it could.
    pub fn last_failure(&self) -> Option<String> {
        self.shared.mailbox.open().failure.words().map(str::to_owned)
    }

    /// Told things that nobody polled in time.
    pub fn lost(&self) -> u64 {
        self.shared.mailbox.open().told_lost
    }

    /// Ends all subscriptions and waits for that, at most for `timeout`. `true`: all are ended.
    pub fn finish(&mut self, timeout: Duration) -> bool {
        self.shared.mailbox.put(|inbox| inbox.finish = Some(timeout));
        if let Some(thread) = self.thread.take() {
            // A panic over there has been told on stderr; what is settled says what was done.
            let _ = thread.join();
        }
        self.shared.mailbox.open().settled
    }
}

impl Drop for WatcherHandle {
    fn drop(&mut self) {
        self.shared.mailbox.put(|inbox| inbox.abandoned = true);
    }
}

/// The sockets, the way to the server, and where its NOTIFYs reach us. Over UDP they come to the socket that the
/// SUBSCRIBE left from. A connection may be gone by then, so that a TCP server finds us listening; for TLS, which
/// would take a certificate of ours, it has to keep the connection.
async fn open(target: Target) -> Result<(Way, Hop, SocketAddr), WayError> {
    let name = target.name();
    let mut way = Way::open(target, fresh_seed()).await?;
    let mut hop = way.find().await?.into_iter().next().ok_or(WayError::NoRoute(name))?;
    if hop.transport == Transport::Tcp {
        let address = SocketAddr::new(hop.local.ip(), 0);
        way.endpoint.listen(Listen { transport: hop.transport, address }).await?;
        hop.local = way.endpoint.listening().last().map_or(hop.local, |listen| listen.address);
    }
    let port = if hop.local.port() == 0 { default_port(hop.transport) } else { hop.local.port() };
    Ok((way, hop, SocketAddr::new(hop.local.ip(), port)))
}

async fn run(mut watcher: Watcher, mut way: Way, events: &[EventPackage], shared: &Shared) {
    let clock = Clock::start();
    let mut stopping: Option<Timestamp> = None;
    loop {
        let (wanted, finish, abandoned) = take(shared);
        for aor in wanted {
            for event in events {
                watcher.watch(clock.now(), aor.clone(), *event);
            }
        }
        let now = clock.now();
        watcher.handle_timeout(now);
        if let (None, Some(timeout)) = (stopping, finish) {
            watcher.stop(now);
            stopping = Some(now.after(timeout));
        }
        while let Some(transmit) = watcher.poll_transmit() {
            way.endpoint.send(transmit);
        }
        hand_over(&mut watcher, shared);
        if let Some(until) = stopping
            && (watcher.is_settled() || until <= now)
        {
            shared.mailbox.open().settled = watcher.is_settled();
            return;
        }
        if abandoned {
            return;
        }
        let due = [watcher.poll_timeout(), stopping].into_iter().flatten().min();
        let wait = due.map_or(LONG, |due| due.since(clock.now()));
        tokio::select! {
            () = shared.mailbox.called() => {}
            () = tokio::time::sleep(wait) => {}
            event = way.endpoint.next() => match event {
                EndpointEvent::Message { hop, bytes } => watcher.handle_message(clock.now(), hop, &bytes),
                EndpointEvent::Failed { hop, error } => {
                    shared.mailbox.open().failure.fail(failure(hop, &error, "publish.tls_ca_file"));
                    watcher.handle_transport_error(clock.now(), hop);
                }
            },
        }
    }
}

fn take(shared: &Shared) -> (VecDeque<Aor>, Option<Duration>, bool) {
    let mut inbox = shared.mailbox.open();
    (std::mem::take(&mut inbox.wanted), inbox.finish, inbox.abandoned)
}

fn hand_over(watcher: &mut Watcher, shared: &Shared) {
    let mut inbox = shared.mailbox.open();
    while let Some(told) = watcher.poll_told() {
        if inbox.told.len() >= TOLD_KEPT {
            inbox.told.pop_front();
            inbox.told_lost += 1;
        }
        inbox.told.push_back(told);
    }
    inbox.in_vain = watcher.is_in_vain() && inbox.wanted.is_empty();
    if !inbox.told.is_empty() || inbox.in_vain {
        shared.came.notify_all();
    }
}

/// What `offhook watch` is to do.
pub struct WatchCommand {
    /// Whom to watch.
    pub aors: Vec<Aor>,
    /// Where and how.
    pub watching: Watching,
    /// How results are written.
    pub format: Format,
    /// For how long; `None`: until a signal.
    pub length: Option<Duration>,
}

/// While waiting, a stop is looked for so often.
const LOOK: Duration = Duration::from_millis(100);
/// The server has so long to confirm that all subscriptions are ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// Watches and prints what is told, until a signal or until the time is over.
///
/// # Errors
/// [`WatchError`]; [`WatchError::InVain`] when the server refuses everything or never answers.
pub fn watch(command: WatchCommand) -> Result<Ended, WatchError> {
    stop::on_signals().map_err(WatchError::Signals)?;
    let WatchCommand { aors, watching, format, length } = command;
    let style = Style::for_stdout(io::stdout().is_terminal());
    let out = BufWriter::new(io::stdout().lock());
    let mut printer = match format {
        Format::JsonLines => Printer::JsonLines(JsonLines::new(out, Sources::default())),
        Format::Text => Printer::Text(ToldLines::new(out, style, &aors)),
    };
    let mut prospects = Prospects::new(&aors, &watching);
    let mut handle = WatcherHandle::start(watching, &Limits::default())?;
    for aor in &aors {
        handle.watch(aor);
    }
    let clock = Clock::start();
    let until = length.map(|length| clock.now().after(length));
    let mut in_vain = None;
    while !stop::requested() && until.is_none_or(|until| clock.now() < until) {
        let left = until.map_or(LOOK, |until| until.since(clock.now()).min(LOOK));
        if let Some(told) = handle.wait_told(left) {
            prospects.learn(&told);
            printer.told(&told)?;
        }
        prospects.last_failure = handle.last_failure();
        in_vain = prospects.in_vain(handle.is_in_vain());
        if in_vain.is_some() {
            break;
        }
    }
    handle.finish(FAREWELL);
    while let Some(told) = handle.poll_told() {
        prospects.learn(&told);
        printer.told(&told)?;
    }
    if in_vain.is_none() && !prospects.has_succeeded && !stop::requested() {
        in_vain = Some(prospects.unanswered());
    }
    in_vain.map_or(Ok(Ended::Done), |sentence| Err(WatchError::InVain(sentence)))
}

enum Printer<W: io::Write> {
    JsonLines(JsonLines<W>),
    Text(ToldLines<W>),
}

impl<W: io::Write> Printer<W> {
    fn told(&mut self, told: &Told) -> io::Result<()> {
        match self {
            Self::JsonLines(lines) => {
                lines.told(told)?;
                lines.flush()
            }
            Self::Text(lines) => lines.told(told),
        }
    }
}

/// Whether anything is still to be hoped for.
struct Prospects {
    server: String,
    subscriptions: usize,
    /// Something was told of somebody.
    has_succeeded: bool,
    /// Why the server could not be reached last.
    last_failure: Option<String>,
    /// What was told last of each subscription, if that was no success.
    troubles: BTreeMap<(Aor, EventPackage), What>,
}

impl Prospects {
    fn new(aors: &[Aor], watching: &Watching) -> Self {
        let aors: BTreeSet<&Aor> = aors.iter().collect();
        Self {
            server: watching.target.name(),
            subscriptions: aors.len() * watching.events.len(),
            has_succeeded: false,
            last_failure: None,
            troubles: BTreeMap::new(),
        }
    }

    fn learn(&mut self, told: &Told) {
        let key = (told.aor.clone(), told.event);
        match &told.what {
            What::Presence(_) | What::Dialogs(_) => {
                self.has_succeeded = true;
                self.troubles.remove(&key);
            }
            trouble => {
                self.troubles.insert(key, trouble.clone());
            }
        }
    }

    /// Why to give up; `None` while there is hope. A server that answered once may do so again.
    fn in_vain(&self, refused_for_good: bool) -> Option<String> {
        let server = &self.server;
        let all_in_trouble = self.troubles.len() >= self.subscriptions;
        if !all_in_trouble || (self.has_succeeded && !refused_for_good) {
            return None;
        }
        let mut refusals = self.troubles.values().filter_map(|what| match what {
            What::Refused { status, .. } => Some(*status),
            _ => None,
        });
        match refusals.next() {
            Some(status @ (401 | 407)) => Some(format!(
                "the presence server {server} wants credentials that it accepts ({status} {}): see [watch] in the \
                 configuration",
                reason_phrase(status)
            )),
            Some(status) => Some(format!(
                "the presence server {server} refused to be watched: {status} {}",
                reason_phrase(status)
            )),
            None if self.has_succeeded => {
                Some(format!("the presence server {server} ended all subscriptions"))
            }
            None => Some(self.unanswered()),
        }
    }

    fn unanswered(&self) -> String {
        let why = self.last_failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
        format!("the presence server {} does not answer{why}", self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Transmit;
    use crate::config::NextHop;
    use crate::io::sip_endpoint::{Endpoint, EndpointOptions};

    #[tokio::test]
    async fn a_tcp_server_finds_the_watcher_where_its_contact_says() {
        let listen: Listen = "tcp:127.0.0.1:0".parse().unwrap();
        let options = EndpointOptions { listens: vec![listen], ..EndpointOptions::default() };
        let mut server = Endpoint::open(options).await.unwrap();
        let uri = format!("sip:{};transport=tcp", server.listening()[0].address);
        let target = Target { servers: vec![NextHop::parse(&uri).unwrap()], ca_file: None };
        let (mut way, hop, contact) = open(target).await.unwrap();
        let listening: Vec<SocketAddr> =
            way.endpoint.listening().iter().map(|listen| listen.address).collect();
        assert_eq!(listening, [contact]);
        assert_eq!((hop.local, hop.remote), (contact, server.listening()[0].address));
        let bytes = b"NOTIFY sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n".to_vec();
        let local = server.local_for(Transport::Tcp, contact).unwrap();
        let hop = Hop { transport: Transport::Tcp, local, remote: contact };
        server.send(Transmit { hop, bytes: bytes.clone() });
        let heard = async {
            loop {
                tokio::select! {
                    _ = server.next() => {}
                    event = way.endpoint.next() => break event,
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap() {
            EndpointEvent::Message { bytes: heard, .. } => assert_eq!(heard, bytes),
            failed => panic!("{failed:?}"),
        }
    }
}
