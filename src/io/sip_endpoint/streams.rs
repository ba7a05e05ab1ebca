//! The connections of an endpoint, TCP and TLS: who is connected, who is to be.
//! In: messages to send, what connections tell. Out: messages, and peers that cannot be reached. Knows nothing of
//! datagrams.
//!
//! A connection is known by transport and peer address. One that a peer opened carries what goes back to it; where
//! there is none, one is opened and messages wait for it.
#![expect(clippy::disallowed_types, reason = "this is where sockets live")]

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedSender};
use tokio::task::AbortHandle;

use super::connection::{Connection, Opening, SlowReader, Vitals};
use super::framing::FramingError;
use super::routes::{canonical, unspecified};
use super::{EndpointBounds, EndpointEvent, Happened};
use crate::base::{Hop, Transmit, Transport};

/// News that wait to be taken; beyond it, connections are not read on.
const MOST_NEWS: usize = 1_024;
/// News taken before the datagram sockets have their turn.
const BATCH: usize = 64;
/// Names expected of TLS servers. They come from a configuration and DNS, so this many are never met.
const MOST_NAMES: usize = 4_096;
/// After a failure to accept (no descriptor is free, say) nothing is accepted for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What tasks tell the table.
pub(super) enum News {
    /// A peer connected.
    Accepted { transport: Transport, stream: TcpStream, remote: SocketAddr },
    /// A peer sent a message.
    Message { hop: Hop, bytes: Vec<u8> },
    /// A connection is over.
    Ended { transport: Transport, remote: SocketAddr, id: u64, error: io::Error },
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opener {
    Peer,
    Us,
}

/// The table's end of a connection; dropped, it ends the connection at once: no peer can hold more than the bounds say.
struct Entry {
    id: u64,
    opener: Opener,
    vitals: Arc<Vitals>,
    outgoing: UnboundedSender<Vec<u8>>,
    task: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All connections, and the sockets that wait for more.
pub(super) struct Streams {
    connections: HashMap<(Transport, SocketAddr), Entry>,
    next_id: u64,
    names: HashMap<SocketAddr, ServerName<'static>>,
    listeners: Vec<AbortHandle>,
    news: Receiver<News>,
    tell: Sender<News>,
    bounds: EndpointBounds,
    server_tls: Option<Arc<ServerConfig>>,
    client_tls: Option<Arc<ClientConfig>>,
}

impl Drop for Streams {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

impl Streams {
    pub fn new(
        bounds: EndpointBounds,
        server_tls: Option<Arc<ServerConfig>>,
        client_tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        let (tell, news) = mpsc::channel(MOST_NEWS);
        Self {
            connections: HashMap::new(),
            next_id: 0,
            names: HashMap::new(),
            listeners: Vec::new(),
            news,
            tell,
            bounds,
            server_tls,
            client_tls,
        }
    }

    /// Whether TLS can be listened to.
    pub const fn has_certificate(&self) -> bool {
        self.server_tls.is_some()
    }

    /// Waits for connections at this address; gives it with the real port.
    pub async fn listen(&mut self, transport: Transport, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, transport, self.tell.clone()));
        self.listeners.push(task.abort_handle());
        Ok(address)
    }

    /// The TLS server at this address has to prove that it is `name`. A connection to it under another name ends.
    pub fn expect_name(&mut self, remote: SocketAddr, name: ServerName<'static>) {
        if self.names.get(&remote) == Some(&name) {
            return;
        }
        if self.names.len() >= MOST_NAMES {
            self.names.clear();
        }
        self.names.insert(remote, name);
        self.connections.remove(&(Transport::Tls, remote));
    }

    /// Sends over the connection to that peer, opens one if there is none. A peer that lets too much wait loses its
    /// connection.
    pub fn send(&mut self, transmit: Transmit, happened: &mut Happened) {
        let Transmit { hop, bytes } = transmit;
        let key = (hop.transport, hop.remote);
        if !self.connections.contains_key(&key) {
            match self.connect_by(hop) {
                Ok(opening) => self.begin(hop.transport, hop.remote, Opener::Us, opening, happened),
                Err(error) => return happened.events.push_back(EndpointEvent::Failed { hop, error }),
            }
        }
        let Some(entry) = self.connections.get(&key) else { return };
        let waiting = entry.vitals.queued_bytes.load(Ordering::Relaxed);
        if waiting.saturating_add(bytes.len()) > self.bounds.queued_bytes {
            self.connections.remove(&key);
            happened.counters.readers_slow += 1;
            return happened.events.push_back(EndpointEvent::Failed { hop, error: SlowReader.into() });
        }
        entry.vitals.queued(&bytes);
        // A connection that ended this moment tells so itself.
        let _ = entry.outgoing.send(bytes);
    }

    fn connect_by(&self, hop: Hop) -> io::Result<Opening> {
        if hop.transport != Transport::Tls {
            return Ok(Opening::Connect(None));
        }
        let config = self.client_tls.clone().ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "no certificates are known to verify a TLS server by")
        })?;
        let name = self.names.get(&hop.remote).cloned();
        Ok(Opening::Connect(Some((config, name.unwrap_or_else(|| hop.remote.ip().into())))))
    }

    /// Starts a connection's task. Another connection to the same address gives way to it, and at the bound one of the
    /// same opener.
    fn begin(
        &mut self,
        transport: Transport,
        remote: SocketAddr,
        opener: Opener,
        opening: Opening,
        happened: &mut Happened,
    ) {
        if let Some(key) = self.in_excess(opener) {
            happened.counters.connections_evicted += 1;
            let error = io::Error::other("there were too many connections");
            self.end(key, error, happened);
        }
        self.end((transport, remote), io::Error::other("the peer connected anew"), happened);
        let id = self.next_id;
        self.next_id += 1;
        let vitals = Arc::new(Vitals::new());
        let (outgoing, queue) = mpsc::unbounded_channel();
        let connection = Connection {
            transport,
            remote,
            id,
            vitals: Arc::clone(&vitals),
            outgoing: queue,
            answer: outgoing.downgrade(),
            tell: self.tell.clone(),
            bounds: self.bounds,
        };
        let task = tokio::spawn(connection.run(opening)).abort_handle();
        self.connections.insert((transport, remote), Entry { id, opener, vitals, outgoing, task });
    }

    /// At the bound, the connection that makes room: the one that was idle for longest. Where a quarter of the peers
    /// has not said anything yet, it is one of those: who only connects does not drive out who waits to be notified.
    fn in_excess(&self, opener: Opener) -> Option<(Transport, SocketAddr)> {
        let all = || self.connections.iter().filter(|(_, entry)| entry.opener == opener);
        if all().count() < self.bounds.connections {
            return None;
        }
        let silent = || all().filter(|(_, entry)| entry.vitals.is_silent());
        let many_silent = opener == Opener::Peer && silent().count() > self.bounds.connections / 4;
        let idlest = match many_silent {
            true => silent().max_by_key(|(_, entry)| entry.vitals.idle()),
            false => all().max_by_key(|(_, entry)| entry.vitals.idle()),
        };
        idlest.map(|(key, _)| *key)
    }

    /// Forgets a connection. Whoever waits for an answer over it is told.
    fn end(&mut self, key: (Transport, SocketAddr), error: io::Error, happened: &mut Happened) {
        let Some(entry) = self.connections.remove(&key) else { return };
        if entry.vitals.owes_an_answer() {
            let (transport, remote) = key;
            let local = SocketAddr::new(unspecified(remote), 0);
            happened.events.push_back(EndpointEvent::Failed { hop: Hop { transport, local, remote }, error });
        }
    }

    /// Puts what the connections told into `happened`; whether they told anything. When they did not, the context is
    /// woken once they do.
    pub fn poll(&mut self, context: &mut Context<'_>, happened: &mut Happened) -> bool {
        let mut told = false;
        for _ in 0..BATCH {
            let Poll::Ready(Some(news)) = self.news.poll_recv(context) else { break };
            told = true;
            match news {
                News::Message { hop, bytes } => {
                    happened.events.push_back(EndpointEvent::Message { hop, bytes })
                }
                News::Accepted { transport, stream, remote } => {
                    let tls = self.server_tls.clone().filter(|_| transport == Transport::Tls);
                    self.begin(transport, remote, Opener::Peer, Opening::Accept(stream, tls), happened);
                }
                News::Ended { transport, remote, id, error } => {
                    let cause = error.get_ref();
                    happened.counters.streams_unreadable +=
                        u64::from(cause.is_some_and(|cause| cause.is::<FramingError>()));
                    happened.counters.readers_slow +=
                        u64::from(cause.is_some_and(|cause| cause.is::<SlowReader>()));
                    let key = (transport, remote);
                    if self.connections.get(&key).is_some_and(|entry| entry.id == id) {
                        self.end(key, error, happened);
                    }
                }
            }
        }
        told
    }
}

async fn accept(listener: TcpListener, transport: Transport, tell: Sender<News>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let accepted = News::Accepted { transport, stream, remote: canonical(remote) };
                if tell.send(accepted).await.is_err() {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}
