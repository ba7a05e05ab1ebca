//! The presence server at work: a thread of its own with the wall clock and sockets.
//! In: what to listen on, SIP from publishers and watchers. Out: SIP to them, counters. Knows nothing of captures.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock::{Clock, fresh_key};
use super::mailbox::Mailbox;
use super::results::Ended;
use super::sip_endpoint::{Endpoint, EndpointError, EndpointEvent, EndpointOptions};
use super::stop;
use super::tls::{TlsError, server_tls};
use super::way::Target;
use super::worker::{self, WorkerError};
use crate::base::{Limits, Listen, Timestamp, Transport};
use crate::compositor::{PresenceServer, PresenceServerCounters};
use crate::config::{Config, NextHop, Security};

/// Why the presence server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum PresenceServerError {
    /// It cannot listen where it should.
    #[error("the presence server cannot serve")]
    Endpoint(#[from] EndpointError),
    /// Its certificate or key.
    #[error("the presence server has no certificate")]
    Tls(#[from] TlsError),
    /// There is no thread for it.
    #[error("the presence server cannot serve")]
    Worker(#[from] WorkerError),
    /// Random numbers, signals, or its thread on the way.
    #[error("the presence server cannot serve")]
    System(#[from] io::Error),
}

#[derive(Default)]
struct State {
    /// To be over by then.
    stop: Option<Duration>,
    counters: PresenceServerCounters,
}

/// A running presence server; dropped, it stops.
pub struct PresenceServerHandle {
    mailbox: Arc<Mailbox<State>>,
    listening: Vec<Listen>,
    thread: Option<JoinHandle<()>>,
}

/// The counters are renewed so often.
const COUNTED: Duration = Duration::from_secs(1);

impl PresenceServerHandle {
    /// Opens the sockets that the configuration names and starts the thread.
    ///
    /// # Errors
    /// [`PresenceServerError`].
    pub fn start(config: &Config, limits: &Limits) -> Result<Self, PresenceServerError> {
        let section = &config.presence;
        let server_tls = match (&section.tls_certificate, &section.tls_key) {
            (Some(certificate), Some(key)) => Some(server_tls(certificate, key)?),
            _ => None,
        };
        let endpoint =
            EndpointOptions { listens: section.listen.clone(), server_tls, ..EndpointOptions::default() };
        let options = config.presence_server_options(fresh_key()?);
        let mailbox = Arc::new(Mailbox::default());
        let (in_thread, limits) = (Arc::clone(&mailbox), limits.clone());
        let begin = async move || {
            let endpoint = Endpoint::open(endpoint).await?;
            let listening = endpoint.listening().to_vec();
            Ok::<_, PresenceServerError>((endpoint, listening))
        };
        let (thread, listening) = worker::start("presence server", begin, async move |endpoint| {
            run(PresenceServer::new(options, &limits), endpoint, &in_thread).await;
        })?;
        Ok(Self { mailbox, listening, thread: Some(thread) })
    }

    /// Says on standard error where it listens, and what should be known of that.
    pub fn tell(&self, config: &Config) {
        let places: Vec<String> = self.listening.iter().map(Listen::to_string).collect();
        eprintln!("offhook: the presence server listens on {}", places.join(", "));
        self.warn(config);
    }

    /// What whoever runs it should know: everybody who reaches it may publish and watch.
    fn warn(&self, config: &Config) {
        let is_far = |listen: &&Listen| !listen.address.ip().is_loopback();
        if let Some(listen) = self.listening.iter().find(is_far).filter(|_| config.presence.users.is_empty())
        {
            eprintln!(
                "offhook: whoever reaches {listen} may publish and watch: there are no [presence.users] in the \
                 configuration"
            );
        }
    }

    /// How this machine itself reaches it: without TLS if it can, else believing its own certificate.
    pub fn own_target(&self, config: &Config) -> Target {
        let is_plain = |listen: &&Listen| listen.transport != Transport::Tls;
        let listen = self.listening.iter().find(is_plain).or(self.listening.first());
        let servers = listen.into_iter().map(|listen| {
            let ip = match listen.address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            NextHop {
                host: ip.to_string(),
                port: Some(listen.address.port()),
                transport: Some(listen.transport),
                security: Security::Any,
            }
        });
        Target { servers: servers.collect(), ca_file: config.presence.tls_certificate.clone() }
    }

    /// It serves no more, though nobody asked it to stop.
    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What it has counted, as of a second ago at most.
    pub fn counters(&self) -> PresenceServerCounters {
        self.mailbox.open().counters.clone()
    }

    /// Tells watchers that their subscriptions are over, waits for that, at most for `timeout`, and stops; gives the
    /// last counters.
    pub fn finish(&mut self, timeout: Duration) -> PresenceServerCounters {
        self.mailbox.put(|state| {
            state.stop.get_or_insert(timeout);
        });
        if let Some(thread) = self.thread.take() {
            // A panic over there has been told on stderr.
            let _ = thread.join();
        }
        self.counters()
    }
}

impl Drop for PresenceServerHandle {
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}

async fn run(mut server: PresenceServer, mut endpoint: Endpoint, mailbox: &Mailbox<State>) {
    let clock = Clock::start();
    let mut counted_at = clock.now();
    let mut stopping: Option<Timestamp> = None;
    loop {
        let now = clock.now();
        server.handle_timeout(now);
        let stop = mailbox.open().stop;
        if let (None, Some(timeout)) = (stopping, stop) {
            server.stop(now);
            stopping = Some(now.after(timeout));
        }
        while let Some(transmit) = server.poll_transmit() {
            endpoint.send(transmit);
        }
        let over = stopping.is_some_and(|until| until <= now || server.is_settled());
        if over || now.since(counted_at) >= COUNTED {
            mailbox.open().counters = server.counters();
            counted_at = now;
        }
        if over {
            return;
        }
        let due = [server.poll_timeout(), stopping, Some(now.after(COUNTED))].into_iter().flatten().min();
        tokio::select! {
            event = endpoint.next() => match event {
                EndpointEvent::Message { hop, bytes } => server.handle_message(clock.now(), hop, &bytes),
                EndpointEvent::Failed { hop, .. } => server.handle_transport_error(clock.now(), hop),
            },
            () = tokio::time::sleep(due.map_or(COUNTED, |due| due.since(now))) => {}
            () = mailbox.called() => {}
        }
    }
}

/// Watchers have so long to confirm that their subscriptions are over.
const FAREWELL: Duration = Duration::from_secs(2);
/// A stop is looked for so often.
const LOOK: Duration = Duration::from_millis(100);

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// [`PresenceServerError`].
#[expect(clippy::disallowed_methods, reason = "io waits")]
pub fn serve(config: &Config) -> Result<Ended, PresenceServerError> {
    stop::on_signals()?;
    let mut server = PresenceServerHandle::start(config, &Limits::default())?;
    server.tell(config);
    while !stop::requested() {
        if server.has_ended() {
            return Err(io::Error::other("its thread ended").into());
        }
        thread::sleep(LOOK);
    }
    let counters = server.finish(FAREWELL);
    let refused: u64 = counters.refused.values().sum();
    eprintln!(
        "offhook: {} requests accepted, {refused} refused; {} NOTIFYs sent; {} presentities were known at the end",
        counters.accepted, counters.notifies, counters.presentities
    );
    Ok(Ended::Done)
}
