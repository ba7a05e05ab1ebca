//! Which of our addresses a peer sees.
//! In: a peer's address. Out: ours, as the system's routes have it. Knows nothing of SIP.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "io has sockets and reads the clock"
)]

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Addresses of the machine may change; what was found out is believed for so long.
const BELIEVED: Duration = Duration::from_secs(60);
/// Peers remembered; at this bound all are forgotten and asked for again.
const MOST_PEERS: usize = 4_096;

/// Our addresses towards the peers of late.
pub(super) struct Routes {
    known: HashMap<IpAddr, IpAddr>,
    since: Instant,
}

impl Routes {
    pub fn new() -> Self {
        Self { known: HashMap::new(), since: Instant::now() }
    }

    /// Our address on the way to `peer`. Nothing is sent.
    ///
    /// # Errors
    /// What the system says: there is no route.
    pub fn towards(&mut self, peer: SocketAddr) -> io::Result<IpAddr> {
        if self.since.elapsed() > BELIEVED || self.known.len() >= MOST_PEERS {
            self.known.clear();
            self.since = Instant::now();
        }
        if let Some(own) = self.known.get(&peer.ip()) {
            return Ok(*own);
        }
        // Connecting a datagram socket only asks for the route.
        let socket = UdpSocket::bind((unspecified(peer), 0))?;
        socket.connect(peer)?;
        let own = socket.local_addr()?.ip();
        self.known.insert(peer.ip(), own);
        Ok(own)
    }
}

/// The address of the same family that stands for any.
pub(super) const fn unspecified(peer: SocketAddr) -> IpAddr {
    match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// An IPv4 address that a socket of both families wrote as IPv6, as IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}
