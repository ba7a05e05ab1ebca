//! The sockets of whatever speaks SIP: datagrams and connections of one program, behind one door.
//! In: messages to send. Out: messages received, and peers that cannot be reached. Knows nothing of SIP but where a
//! message ends.
//! RFC 3261 section 18, RFC 5626 section 3.5.1.

mod connection;
mod framing;
mod routes;
mod streams;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use self::routes::Routes;
use self::streams::Streams;
use self::udp::UdpSockets;
use crate::base::{Hop, Listen, Transmit, Transport};

/// How much an endpoint will hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct EndpointBounds {
    /// Connections that peers opened, and as many that we opened. The one idle for longest makes room.
    pub connections: usize,
    /// Bytes of one message over TCP or TLS; a peer that sends longer ones loses its connection.
    pub message_bytes: usize,
    /// Bytes that wait to be written to one connection; a peer that lets more wait loses it.
    pub queued_bytes: usize,
    /// To open a connection, and again for a TLS handshake.
    pub open_time: Duration,
    /// For a peer to read what is being written to it.
    pub write_time: Duration,
    /// A connection over which no message and no ping went for so long is closed.
    pub idle_time: Duration,
}

impl Default for EndpointBounds {
    fn default() -> Self {
        Self {
            connections: 1_024,
            message_bytes: 131_072,
            queued_bytes: 1 << 20,
            open_time: Duration::from_secs(5),
            write_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(600),
        }
    }
}

/// What an endpoint is opened with.
#[derive(Clone, Debug, Default)]
pub struct EndpointOptions {
    /// Where to listen. None at all: only answers come in, and what peers send over connections that we opened.
    pub listens: Vec<Listen>,
    /// Our certificate. Needed to listen to TLS.
    pub server_tls: Option<Arc<ServerConfig>>,
    /// Whom to believe. Needed to connect by TLS.
    pub client_tls: Option<Arc<ClientConfig>>,
    /// How much to hold.
    pub bounds: EndpointBounds,
}

/// Why an endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The system does not let us listen there.
    #[error("cannot listen on {listen}: {}", reason(*.listen, .error))]
    Listen {
        /// Where.
        listen: Listen,
        /// What the system said; the sentence has it already.
        error: io::Error,
    },
    /// TLS without a certificate.
    #[error("cannot listen on {0}: TLS needs a certificate and its key")]
    NoCertificate(Listen),
}

fn reason(listen: Listen, error: &io::Error) -> String {
    match (error.kind(), listen.address.ip()) {
        (io::ErrorKind::AddrInUse, IpAddr::V6(any)) if any.is_unspecified() => {
            "something listens there already ([::] takes in IPv4 too)".to_owned()
        }
        (io::ErrorKind::AddrInUse, _) => "something listens there already".to_owned(),
        (io::ErrorKind::PermissionDenied, _) => "that port is for privileged programs".to_owned(),
        (io::ErrorKind::AddrNotAvailable, _) => "this machine does not have that address".to_owned(),
        _ => error.to_string(),
    }
}

/// What bounds have cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounters {
    /// Datagrams that were not sent, because too many waited already.
    pub datagrams_lost: u64,
    /// Connections that made room for others.
    pub connections_evicted: u64,
    /// Connections that were closed because what came over them is not SIP, or too long.
    pub streams_unreadable: u64,
    /// Connections that were closed because the peer did not read.
    pub readers_slow: u64,
}

/// What happens at an endpoint.
#[derive(Debug)]
pub enum EndpointEvent {
    /// A peer sent a message.
    Message {
        /// From where to where; what is sent there goes back to it.
        hop: Hop,
        /// One datagram, or one whole message of a connection.
        bytes: Vec<u8>,
    },
    /// What was sent to `hop.remote` over `hop.transport` does not arrive, or is not going to be answered: ICMP says
    /// so, no connection could be opened, or it ended while an answer was awaited over it.
    Failed {
        /// Where to. `local` may be unspecified.
        hop: Hop,
        /// What the system said.
        error: io::Error,
    },
}

/// Sockets for SIP. Belongs to one task of a tokio runtime; connections are tasks of the same runtime. Dropped, it
/// closes all of them at once.
pub struct Endpoint {
    listening: Vec<Listen>,
    udp: UdpSockets,
    streams: Streams,
    routes: Routes,
    happened: Happened,
}

/// What has happened and was not yet asked for.
#[derive(Default)]
struct Happened {
    events: VecDeque<EndpointEvent>,
    counters: EndpointCounters,
}

impl Endpoint {
    /// Opens all the listening sockets.
    ///
    /// # Errors
    /// [`EndpointError`]: one of them cannot be opened.
    pub async fn open(options: EndpointOptions) -> Result<Self, EndpointError> {
        let EndpointOptions { listens, server_tls, client_tls, bounds } = options;
        let mut endpoint = Self {
            listening: Vec::new(),
            udp: UdpSockets::new(),
            streams: Streams::new(bounds, server_tls, client_tls),
            routes: Routes::new(),
            happened: Happened::default(),
        };
        for listen in listens {
            endpoint.listen(listen).await?;
        }
        Ok(endpoint)
    }

    /// Listens there too.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn listen(&mut self, listen: Listen) -> Result<(), EndpointError> {
        let opened = match listen.transport {
            Transport::Tls if !self.streams.has_certificate() => {
                return Err(EndpointError::NoCertificate(listen));
            }
            Transport::Udp => self.udp.listen(listen.address),
            Transport::Tcp | Transport::Tls => self.streams.listen(listen.transport, listen.address).await,
        };
        let address = opened.map_err(|error| EndpointError::Listen { listen, error })?;
        self.listening.push(Listen { address, ..listen });
        Ok(())
    }

    /// Where it listens, with the real ports.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// What bounds have cost so far.
    pub fn counters(&self) -> EndpointCounters {
        self.happened.counters
    }

    /// Our own address towards a peer, for Via and Contact. Over UDP its port is the one that the peer sees; over
    /// TCP and TLS the one that is listened to on that transport, 0 if none is.
    ///
    /// # Errors
    /// What the system says: no route, no free port.
    pub fn local_for(&mut self, transport: Transport, remote: SocketAddr) -> io::Result<SocketAddr> {
        if transport == Transport::Udp {
            return self.udp.local_for(remote, &mut self.routes);
        }
        let own = self.routes.towards(remote)?;
        let hears = |listen: &&Listen| {
            let ip = listen.address.ip();
            listen.transport == transport && (ip == own || ip.is_unspecified())
        };
        let port = self.listening.iter().find(hears).map_or(0, |listen| listen.address.port());
        Ok(SocketAddr::new(own, port))
    }

    /// The TLS server at `remote` has to show a certificate for `name`, which is asked for by that name (SNI). Where
    /// nothing is said, the certificate has to name the address. What is no name at all is verified as the address.
    pub fn expect_name(&mut self, remote: SocketAddr, name: &str) {
        let name = ServerName::try_from(name.to_owned()).unwrap_or_else(|_| remote.ip().into());
        self.streams.expect_name(remote, name);
    }

    /// Sends a message; never waits. What goes wrong comes as an event.
    pub fn send(&mut self, transmit: Transmit) {
        match transmit.hop.transport {
            Transport::Udp => self.udp.send(transmit, &mut self.happened),
            Transport::Tcp | Transport::Tls => self.streams.send(transmit, &mut self.happened),
        }
    }

    /// The next event. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> EndpointEvent {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<EndpointEvent> {
        // However much comes in, the connections' tasks have their turn too.
        if tokio::task::coop::has_budget_remaining() {
            if self.happened.events.is_empty() {
                let came = self.udp.poll(context, &mut self.routes, &mut self.happened);
                let told = self.streams.poll(context, &mut self.happened);
                if !came && !told && self.happened.events.is_empty() {
                    return Poll::Pending;
                }
            }
            if let Some(event) = self.happened.events.pop_front() {
                return Poll::Ready(event);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
