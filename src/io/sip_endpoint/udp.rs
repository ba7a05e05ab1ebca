//! The datagram sockets of an endpoint.
//! In: datagrams to send, and the system's. Out: messages, and peers that cannot be reached. Knows nothing of
//! connections.
//!
//! There are two kinds. A listening socket hears anybody. The system does not tell such a socket which peer an ICMP
//! error is about (that takes `IP_RECVERR` and reading the error queue, which neither std nor tokio offers), so a
//! peer that is gone shows there only by silence. Where no listening socket is on the way to a peer, a client socket
//! of its own is connected to that peer: the system reports `ConnectionRefused` on it, and a dead server is known
//! within a round trip. Client sockets are few: the one unused for longest makes room.
#![expect(clippy::disallowed_types, reason = "this is where sockets live")]

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::framing::{PING, PONG};
use super::routes::{Routes, canonical, unspecified};
use super::{EndpointEvent, Happened};
use crate::base::{Hop, Transmit, Transport};

/// The longest UDP payload.
const LONGEST_DATAGRAM: usize = 65_535;
/// Datagrams taken from one socket before the others have their turn.
const BATCH: usize = 32;
/// Client sockets open at once.
const MOST_CLIENTS: usize = 32;
/// Datagrams that wait for a socket that is full; further ones are lost as on the network.
const MOST_WAITING: usize = 1_024;

/// All datagram sockets.
pub(super) struct UdpSockets {
    listening: Vec<Socket>,
    /// The one used last is last.
    clients: Vec<Socket>,
    buffer: Vec<u8>,
}

struct Socket {
    inner: Arc<UdpSocket>,
    /// Done once the system says that something came, or that the peer cannot be reached.
    readable: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The same socket. A runtime refuses to send until it has heard from the system that the socket can, which
    /// would keep the first datagram of a new socket back.
    direct: std::net::UdpSocket,
    local: SocketAddr,
    /// The only peer of a client socket.
    peer: Option<SocketAddr>,
    waiting: VecDeque<Transmit>,
}

impl Socket {
    fn bind(address: SocketAddr, peer: Option<SocketAddr>) -> io::Result<Self> {
        let direct = std::net::UdpSocket::bind(address)?;
        direct.set_nonblocking(true)?;
        if let Some(peer) = peer {
            direct.connect(peer)?;
        }
        let inner = Arc::new(UdpSocket::from_std(direct.try_clone()?)?);
        let (readable, local) = (Box::pin(readable(Arc::clone(&inner))), direct.local_addr()?);
        Ok(Self { inner, readable, direct, local, peer, waiting: VecDeque::new() })
    }

    /// Whether a hop that begins at `local` begins here.
    fn is_at(&self, local: SocketAddr) -> bool {
        self.local.port() == local.port() && self.hears(local.ip())
    }

    /// Whether what is sent to this address of ours arrives here.
    fn hears(&self, own: IpAddr) -> bool {
        match self.local.ip() {
            IpAddr::V4(any) if any.is_unspecified() => own.is_ipv4(),
            IpAddr::V6(any) if any.is_unspecified() => true,
            one => one == own,
        }
    }

    /// Where the system is to send what is for this peer. A socket of both families wants IPv4 written as IPv6.
    fn target(&self, remote: SocketAddr) -> SocketAddr {
        match (self.local, remote) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => remote,
        }
    }

    fn send_now(&self, bytes: &[u8], remote: SocketAddr) -> io::Result<usize> {
        match self.peer {
            Some(_) => self.direct.send(bytes),
            None => self.direct.send_to(bytes, self.target(remote)),
        }
    }

    fn send_when_possible(&self, bytes: &[u8], remote: SocketAddr) -> io::Result<usize> {
        match self.peer {
            Some(_) => self.inner.try_send(bytes),
            None => self.inner.try_send_to(bytes, self.target(remote)),
        }
    }

    /// Sends, or lets it wait until the socket can.
    fn send(&mut self, transmit: Transmit, happened: &mut Happened) -> io::Result<()> {
        if self.waiting.is_empty() {
            match self.send_now(&transmit.bytes, transmit.hop.remote) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent.map(drop),
            }
        }
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(transmit);
        } else {
            happened.counters.datagrams_lost += 1;
        }
        Ok(())
    }

    fn poll_waiting(&mut self, context: &mut Context<'_>, happened: &mut Happened) {
        while !self.waiting.is_empty() && self.inner.poll_send_ready(context).is_ready() {
            let Some(transmit) = self.waiting.pop_front() else { return };
            match self.send_when_possible(&transmit.bytes, transmit.hop.remote) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.waiting.push_front(transmit),
                Err(error) => tell_failure(transmit.hop, error, happened),
            }
        }
    }

    /// Whether anything came.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        routes: &mut Routes,
        happened: &mut Happened,
    ) -> bool {
        while self.readable.as_mut().poll(context).is_ready() {
            self.readable = Box::pin(readable(Arc::clone(&self.inner)));
            let failed = self.take_error(happened);
            let received = (0..BATCH).take_while(|_| self.receive(buffer, routes, happened)).count();
            if failed || received > 0 {
                return true;
            }
        }
        false
    }

    /// Whether the system has something to say of an earlier datagram.
    fn take_error(&self, happened: &mut Happened) -> bool {
        let none = || io::Error::from(io::ErrorKind::WouldBlock);
        let error = self.inner.try_io(Interest::ERROR, || self.direct.take_error()?.ok_or_else(none));
        let is_there = error.is_ok();
        if let Ok(error) = error {
            self.fail(error, happened);
        }
        is_there
    }

    /// Tells what the system said of an earlier datagram. Of a listening socket it is not known whose that was.
    fn fail(&self, error: io::Error, happened: &mut Happened) {
        if let Some(remote) = self.peer {
            tell_failure(Hop { transport: Transport::Udp, local: self.local, remote }, error, happened);
        }
    }

    /// Takes one datagram; false when there is none.
    fn receive(&self, buffer: &mut [u8], routes: &mut Routes, happened: &mut Happened) -> bool {
        let (length, remote) = match self.inner.try_recv_from(buffer) {
            Ok((length, from)) => (length, canonical(from)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                self.fail(error, happened);
                return true;
            }
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            if bytes.starts_with(PING) {
                // Who gets no answer asks again.
                let _ = self.send_now(PONG, remote);
            }
            return true;
        }
        let local = match self.local.ip().is_unspecified() {
            true => routes.towards(remote).unwrap_or(self.local.ip()),
            false => self.local.ip(),
        };
        let local = SocketAddr::new(local, self.local.port());
        let hop = Hop { transport: Transport::Udp, local, remote };
        happened.events.push_back(EndpointEvent::Message { hop, bytes: bytes.to_vec() });
        true
    }
}

/// The runtime's polling of a datagram socket does not wake for an error, its waiting does.
async fn readable(socket: Arc<UdpSocket>) {
    // It fails only when the runtime ends.
    let _ = socket.ready(Interest::READABLE | Interest::ERROR).await;
}

impl UdpSockets {
    pub fn new() -> Self {
        Self { listening: Vec::new(), clients: Vec::new(), buffer: vec![0; LONGEST_DATAGRAM] }
    }

    /// Opens a listening socket; gives its address with the real port.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = Socket::bind(address, None)?;
        let local = socket.local;
        self.listening.push(socket);
        Ok(local)
    }

    /// Our address towards this peer, with the port that it sees. Opens a client socket if need be.
    pub fn local_for(&mut self, remote: SocketAddr, routes: &mut Routes) -> io::Result<SocketAddr> {
        let own = routes.towards(remote)?;
        match self.listening.iter().find(|socket| socket.hears(own)) {
            Some(socket) => Ok(SocketAddr::new(own, socket.local.port())),
            None => Ok(self.client(remote)?.local),
        }
    }

    /// The client socket of this peer.
    fn client(&mut self, remote: SocketAddr) -> io::Result<&mut Socket> {
        let socket = match self.clients.iter().position(|socket| socket.peer == Some(remote)) {
            Some(place) => self.clients.remove(place),
            None => {
                let socket = Socket::bind(SocketAddr::new(unspecified(remote), 0), Some(remote))?;
                if self.clients.len() >= MOST_CLIENTS {
                    self.clients.remove(0);
                }
                socket
            }
        };
        self.clients.push(socket);
        self.clients.last_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Sends from the listening socket that the hop begins at, else from the peer's client socket.
    pub fn send(&mut self, transmit: Transmit, happened: &mut Happened) {
        let hop = transmit.hop;
        let socket = match self.listening.iter_mut().find(|socket| socket.is_at(hop.local)) {
            Some(socket) => Ok(socket),
            None => self.client(hop.remote),
        };
        if let Err(error) = socket.and_then(|socket| socket.send(transmit, happened)) {
            tell_failure(hop, error, happened);
        }
    }

    /// Puts what the sockets have into `happened`; whether anything came. When nothing did, the context is woken once
    /// something does.
    pub fn poll(&mut self, context: &mut Context<'_>, routes: &mut Routes, happened: &mut Happened) -> bool {
        let mut came = false;
        for socket in self.listening.iter_mut().chain(&mut self.clients) {
            socket.poll_waiting(context, happened);
            came |= socket.poll_receive(context, &mut self.buffer, routes, happened);
        }
        came
    }
}

/// Tells what keeps all datagrams from the peer. Another error is one datagram's own (too long, say): its transaction
/// times out.
fn tell_failure(hop: Hop, error: io::Error, happened: &mut Happened) {
    let is_about_the_peer = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
    );
    let is_told =
        |event: &EndpointEvent| matches!(event, EndpointEvent::Failed { hop: told, .. } if *told == hop);
    if is_about_the_peer && !happened.events.back().is_some_and(is_told) {
        happened.events.push_back(EndpointEvent::Failed { hop, error });
    }
}
