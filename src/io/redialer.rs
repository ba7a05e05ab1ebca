//! The voice of redial at work: a thread of its own with the wall clock and sockets.
//! In: whom to ask, from the capture side, which is never made to wait. Out: SIP to phones, silence, what became of it.
//! Knows nothing of captures, wishes.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::clock::{Clock, fresh_seed};
use super::dns;
use super::mailbox::{LastFailure, Mailbox};
use super::silence::{Silence, SilenceSockets};
use super::sip_endpoint::{Endpoint, EndpointError, EndpointEvent, EndpointOptions};
use super::way::{Target, Way, WayError, failure};
use super::worker::{self, WorkerError};
use crate::base::{HeardTransport, Hop, Limits, Listen, Timestamp, Transport, default_port};
use crate::config::{NextHop, RedialRoute, RedialSection};
use crate::redial::{AskEnd, AskEvent, AskId, AskOrder, Asker, AskerCounters, AskerOptions, Manner, Reach};
use crate::sip::Uri;

/// Why no phone can be asked.
#[derive(Debug, thiserror::Error)]
pub enum RedialError {
    /// The proxy cannot be reached from here.
    #[error("cannot redial")]
    Way(#[from] WayError),
    /// Phones cannot answer.
    #[error("cannot redial")]
    Endpoint(#[from] EndpointError),
    /// Phones are to be reached through a proxy, and none is named.
    #[error("cannot redial: `redial.server` names no proxy that reaches the phones")]
    NoServer,
    /// There is no thread for it.
    #[error("cannot redial")]
    Worker(#[from] WorkerError),
    /// The sockets for media.
    #[error("cannot redial: there is no socket for media")]
    Media(#[from] io::Error),
}

/// What the thread is asked for.
enum Request {
    Ask(AskOrder),
    Withdraw(AskId),
}

/// What came or was wanted, and of which no asking tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoiceCounters {
    /// What the asker counted, and orders and withdrawals that found no room on their way to it.
    pub asker: AskerCounters,
    /// Steps of askings that were left out, as nobody fetched those before them.
    pub untold: u64,
}

#[derive(Default)]
struct Inbox {
    requests: VecDeque<Request>,
    events: VecDeque<(AskId, AskEvent)>,
    /// Of the asker, as they were last.
    asker: AskerCounters,
    turned_away: u64,
    untold: u64,
    /// Why something could not be sent last.
    failure: LastFailure,
    /// To be over by then.
    stop: Option<Duration>,
}

impl Inbox {
    fn tell(&mut self, id: AskId, event: AskEvent) {
        // How it goes may be left out; that it ended, of which there is one for each order, may not.
        if self.events.len() >= MOST_EVENTS && matches!(event, AskEvent::Progress { .. }) {
            self.untold += 1;
            return;
        }
        self.events.push_back((id, event));
    }
}

/// Orders that wait for the thread; beyond that, phones count as not to be reached.
const MOST_ORDERS: usize = 1_024;
/// Withdrawals find room beside them.
const MOST_REQUESTS: usize = 2 * MOST_ORDERS;
/// Events that wait to be polled; beyond that, how a call goes is not told.
const MOST_EVENTS: usize = 1 << 16;
/// The proxy's addresses are believed for so long.
const ADDRESSES_BELIEVED: Duration = Duration::from_secs(300);

/// The capture side's end of the thread. Dropped, it stops at once.
pub struct RedialHandle {
    mailbox: Arc<Mailbox<Inbox>>,
    way: String,
    listening: Vec<Listen>,
    thread: Option<JoinHandle<()>>,
}

impl RedialHandle {
    /// Opens the sockets, finds the proxy's addresses, waiting for that, and starts the thread.
    ///
    /// # Errors
    /// [`RedialError`].
    pub fn start(section: RedialSection, limits: &Limits) -> Result<Self, RedialError> {
        let server = match section.route {
            RedialRoute::Proxy => Some(section.server.ok_or(RedialError::NoServer)?),
            RedialRoute::Direct => None,
        };
        let seed = fresh_seed();
        let options = AskerOptions {
            from: section.from,
            user: section.user,
            password: section.password,
            ring_s: section.ring_s,
            seed,
            ..AskerOptions::default()
        };
        let way = server.as_ref().map_or_else(
            || "phones are asked where their REGISTERs come from".to_owned(),
            |server| format!("phones are asked through {server}"),
        );
        let (mailbox, limits) = (Arc::new(Mailbox::default()), limits.clone());
        let (in_thread, local, ca_file) = (Arc::clone(&mailbox), section.local, section.tls_ca_file);
        let begin = async move || {
            let mut road = Road::open(server, ca_file, seed).await?;
            road.listen(local).await?;
            road.find().await?;
            let listening = road.endpoint().listening().to_vec();
            let sockets = SilenceSockets::open(local.map(|local| local.address.ip()))?;
            Ok::<_, RedialError>(((road, sockets), listening))
        };
        let (thread, listening) = worker::start("redial", begin, async move |(road, sockets)| {
            let (located, looked_up) = channel(1);
            let voice = Voice {
                asker: Asker::new(options, &limits),
                road,
                silence: Silence::new(seed),
                sockets,
                clock: Clock::start(),
                mailbox: in_thread,
                located,
            };
            voice.run(looked_up).await;
        })?;
        Ok(Self { mailbox, way, listening, thread: Some(thread) })
    }

    /// By which way phones are asked, in words.
    pub fn way(&self) -> String {
        let places: Vec<String> = self.listening.iter().map(Listen::to_string).collect();
        format!("{}, and reach offhook at {}", self.way, places.join(", "))
    }

    /// Where it listens.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// Hands over an order; never waits.
    pub fn ask(&self, order: AskOrder) {
        self.mailbox.put(|inbox| {
            if inbox.requests.len() < MOST_ORDERS {
                inbox.requests.push_back(Request::Ask(order));
            } else {
                inbox.turned_away += 1;
                inbox.tell(order.id, AskEvent::Ended(AskEnd::Undeliverable));
            }
        });
    }

    /// An asking is to be given up; never waits.
    pub fn withdraw(&self, id: AskId) {
        self.mailbox.put(|inbox| {
            if inbox.requests.len() < MOST_REQUESTS {
                inbox.requests.push_back(Request::Withdraw(id));
            } else {
                inbox.turned_away += 1;
            }
        });
    }

    /// What became of an asking. Goes on giving what is left after [`Self::finish`].
    pub fn poll_event(&self) -> Option<(AskId, AskEvent)> {
        self.mailbox.open().events.pop_front()
    }

    /// Why something could not be sent, once each time that it is another reason.
    pub fn poll_failure(&self) -> Option<String> {
        self.mailbox.open().failure.poll()
    }

    /// What was counted so far.
    pub fn counters(&self) -> VoiceCounters {
        let inbox = self.mailbox.open();
        let turned_away = inbox.asker.turned_away + inbox.turned_away;
        VoiceCounters { asker: AskerCounters { turned_away, ..inbox.asker }, untold: inbox.untold }
    }

    /// Ends all askings and waits until no phone is left ringing, at most for `timeout`.
    pub fn finish(&mut self, timeout: Duration) {
        self.mailbox.put(|inbox| {
            inbox.stop.get_or_insert(timeout);
        });
        if let Some(thread) = self.thread.take() {
            // A panic over there has been told on stderr.
            let _ = thread.join();
        }
    }
}

impl Drop for RedialHandle {
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}

/// How phones are reached.
enum Road {
    Proxy {
        way: Box<Way>,
        /// To the proxy, the one that is used first.
        hops: Vec<Hop>,
        looked_up_at: Option<Timestamp>,
    },
    Direct(Box<Endpoint>),
}

impl Road {
    async fn open(server: Option<NextHop>, ca_file: Option<PathBuf>, seed: u64) -> Result<Self, RedialError> {
        Ok(match server {
            Some(server) => {
                let way = Way::open(Target { servers: vec![server], ca_file }, seed).await?;
                Self::Proxy { way: Box::new(way), hops: Vec::new(), looked_up_at: None }
            }
            None => Self::Direct(Box::new(Endpoint::open(EndpointOptions::default()).await?)),
        })
    }

    fn endpoint(&mut self) -> &mut Endpoint {
        match self {
            Self::Proxy { way, .. } => &mut way.endpoint,
            Self::Direct(endpoint) => endpoint,
        }
    }

    /// Phones answer to a proxy, but send what is new by another way: anybody has to be heard.
    async fn listen(&mut self, local: Option<Listen>) -> Result<(), EndpointError> {
        let any = Listen { transport: Transport::Udp, address: SocketAddr::from(([0; 4], 0)) };
        self.endpoint().listen(local.unwrap_or(any)).await
    }

    /// The hops to the proxy. Over TCP it may come back by another connection, so that it is listened to as well; for TLS,
    /// which would take a certificate of ours, it has to keep the connection.
    async fn find(&mut self) -> Result<(), RedialError> {
        let Self::Proxy { way, hops, .. } = self else { return Ok(()) };
        *hops = way.find().await?;
        if hops.iter().any(|hop| hop.transport == Transport::Tcp) {
            let address = way.endpoint.listening().first().map(|listen| listen.address);
            let address = address.unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
            way.endpoint.listen(Listen { transport: Transport::Tcp, address }).await?;
        }
        hops.iter_mut().for_each(|hop| hop.local = own_end(&way.endpoint, *hop));
        Ok(())
    }

    /// Over what, from where, to where; `None`: the phone cannot be reached.
    fn hop(&mut self, order: &AskOrder) -> Option<Hop> {
        match self {
            // Whom the proxy does not know any more is looked for where it was.
            Self::Proxy { hops, .. } if order.manner != Manner::Probe => hops.first().copied(),
            _ => {
                let (transport, remote) = phone_address(order)?;
                let local = self.endpoint().local_for(transport, remote).ok()?;
                let hop = Hop { transport, local, remote };
                Some(Hop { local: own_end(self.endpoint(), hop), ..hop })
            }
        }
    }

    fn request_uri(&self, order: &AskOrder) -> Option<String> {
        match self {
            Self::Proxy { .. } if order.manner != Manner::Probe => Some(order.phone.as_str().to_owned()),
            _ => order.contact.as_deref().map(str::to_owned),
        }
    }

    /// The next address of the proxy has its turn.
    fn failed(&mut self, hop: Hop) {
        if let Self::Proxy { hops, .. } = self
            && hops
                .first()
                .is_some_and(|first| (first.transport, first.remote) == (hop.transport, hop.remote))
        {
            hops.rotate_left(1);
        }
    }

    fn found(&mut self, located: Vec<dns::Server>) {
        if let Self::Proxy { way, hops, .. } = self {
            let mut found = way.reach(located);
            found.iter_mut().for_each(|hop| hop.local = own_end(&way.endpoint, *hop));
            // Where nothing is found, those that are known stay.
            if !found.is_empty() {
                *hops = found;
            }
        }
    }
}

/// Where we are reached: where we listen, with the address that the operator chose; else with the one that the way to the peer
/// begins at.
fn own_end(endpoint: &Endpoint, hop: Hop) -> SocketAddr {
    let is_there = |listen: &&Listen| {
        listen.transport == hop.transport && listen.address.is_ipv4() == hop.remote.is_ipv4()
    };
    match endpoint.listening().iter().find(is_there).map(|listen| listen.address) {
        Some(address) if address.ip().is_unspecified() => SocketAddr::new(hop.local.ip(), address.port()),
        Some(address) => address,
        None => hop.local,
    }
}

/// Where a phone is to be found without its proxy: where its REGISTER came from; over TCP, whose connection is not ours,
/// where it says that it listens.
fn phone_address(order: &AskOrder) -> Option<(Transport, SocketAddr)> {
    let flow = order.flow.map(|flow| (flow.transport, SocketAddr::from(flow.address)));
    match (flow, order.contact.as_deref().and_then(contact_address)) {
        (Some((HeardTransport::Udp, address)), _) => Some((Transport::Udp, address)),
        (Some((HeardTransport::Tcp, _)), Some((_, address))) => Some((Transport::Tcp, address)),
        (None, Some(contact)) => Some(contact),
        _ => None,
    }
}

/// The address that a contact names, and over what it is reached there; `None` for a name.
fn contact_address(contact: &str) -> Option<(Transport, SocketAddr)> {
    let uri = Uri::parse(contact.as_bytes())?;
    let transport = match uri.params.get(b"transport").flatten() {
        None => Transport::Udp,
        Some(name) if name.eq_ignore_ascii_case(b"udp") => Transport::Udp,
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(_) => return None,
    };
    let host = std::str::from_utf8(uri.host).ok()?;
    let ip: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some((transport, SocketAddr::new(ip, uri.port.unwrap_or_else(|| default_port(transport)))))
}

/// The thread's side.
struct Voice {
    asker: Asker,
    road: Road,
    silence: Silence,
    sockets: SilenceSockets,
    clock: Clock,
    mailbox: Arc<Mailbox<Inbox>>,
    located: Sender<Vec<dns::Server>>,
}

impl Voice {
    async fn run(mut self, mut looked_up: Receiver<Vec<dns::Server>>) {
        let mut stopping: Option<Timestamp> = None;
        loop {
            self.take_requests();
            let now = self.clock.now();
            self.asker.handle_timeout(now);
            let stop = self.mailbox.open().stop;
            if let (None, Some(timeout)) = (stopping, stop) {
                self.asker.stop(now);
                stopping = Some(now.after(timeout));
            }
            self.hand_over();
            if stopping.is_some_and(|until| until <= now || self.asker.is_idle()) {
                return;
            }
            let due = [self.asker.poll_timeout(), self.silence.poll_timeout(), stopping];
            let wait = due
                .into_iter()
                .flatten()
                .min()
                .map_or(Duration::from_secs(3_600), |due| due.since(self.clock.now()));
            tokio::select! {
                () = self.mailbox.called() => {}
                () = tokio::time::sleep(wait) => {}
                event = self.road.endpoint().next() => self.heard(event),
                Some(found) = looked_up.recv() => self.road.found(found),
            }
        }
    }

    fn take_requests(&mut self) {
        let requests = std::mem::take(&mut self.mailbox.open().requests);
        for request in requests {
            match request {
                Request::Ask(order) => self.ask(order),
                Request::Withdraw(id) => self.asker.withdraw(self.clock.now(), id),
            }
        }
    }

    fn ask(&mut self, order: AskOrder) {
        self.look_up_again();
        let way = self.road.hop(&order).zip(self.road.request_uri(&order));
        let media = way.as_ref().and_then(|(hop, _)| self.sockets.local_for(hop.local.ip()));
        match way.zip(media) {
            Some(((hop, request_uri), media)) => {
                self.asker.handle_order(self.clock.now(), order, Reach { request_uri, hop, media });
            }
            None => self.mailbox.open().tell(order.id, AskEvent::Ended(AskEnd::Undeliverable)),
        }
    }

    /// The proxy may have moved: it is looked for again meanwhile, for the next time.
    fn look_up_again(&mut self) {
        let now = self.clock.now();
        let Road::Proxy { way, looked_up_at, .. } = &mut self.road else { return };
        let since = *looked_up_at.get_or_insert(now);
        if now.since(since) < ADDRESSES_BELIEVED {
            return;
        }
        *looked_up_at = Some(now);
        let (look_up, located) = (way.look_up(), self.located.clone());
        tokio::spawn(async move {
            // Nobody listens any more when all is over.
            let _ = located.send(look_up.await.unwrap_or_default()).await;
        });
    }

    fn heard(&mut self, event: EndpointEvent) {
        let now = self.clock.now();
        match event {
            EndpointEvent::Message { hop, bytes } => self.asker.handle_message(now, hop, &bytes),
            EndpointEvent::Failed { hop, error } => {
                self.mailbox.open().failure.fail(failure(hop, &error, "redial.tls_ca_file"));
                self.road.failed(hop);
                self.asker.handle_transport_error(now, hop);
            }
        }
    }

    /// Everything that has come of what went in.
    fn hand_over(&mut self) {
        while let Some(transmit) = self.asker.poll_transmit() {
            self.road.endpoint().send(transmit);
        }
        let now = self.clock.now();
        while let Some(command) = self.asker.poll_media() {
            self.silence.handle(now, command);
        }
        self.silence.handle_timeout(now);
        while let Some((remote, packet)) = self.silence.poll_packet() {
            self.sockets.send(remote, &packet);
        }
        let mut inbox = self.mailbox.open();
        inbox.asker = self.asker.counters();
        while let Some((id, event)) = self.asker.poll_event() {
            inbox.tell(id, event);
        }
    }
}

#[cfg(test)]
#[path = "redialer_tests.rs"]
mod tests;
