//! A UDP socket to one SIP server.
//! In: datagrams to send. Out: datagrams received. Knows nothing of SIP.
#![expect(clippy::disallowed_types, reason = "this is where sockets live")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

/// The longest UDP payload.
pub const LONGEST_DATAGRAM: usize = 65_535;

/// A UDP socket that sends to one address and receives from it alone.
pub struct SipSocket {
    inner: UdpSocket,
}

impl SipSocket {
    /// Binds a free port of the family of `peer` and connects.
    ///
    /// # Errors
    /// What the system says: no route, no permission, no free port.
    pub async fn connect(peer: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = match peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let inner = UdpSocket::bind((any, 0)).await?;
        inner.connect(peer).await?;
        Ok(Self { inner })
    }

    /// The own address, as the route to the peer has it.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// `ConnectionRefused` when an earlier one was answered by ICMP; then this one was not sent.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.inner.send(bytes).await.map(drop)
    }

    /// Receives one datagram into `buffer` ([`LONGEST_DATAGRAM`] bytes hold any); gives its length. Nothing is lost
    /// when the future is dropped.
    ///
    /// # Errors
    /// `ConnectionRefused` when a datagram sent was answered by ICMP.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.recv(buffer).await
    }
}
