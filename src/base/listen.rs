//! Where to listen, as the operator writes it.
//! In: `udp:192.0.2.1:5060`. Out: transport and address. Knows nothing of sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::Transport;

/// One transport at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// What is listened to.
    pub transport: Transport,
    /// Where. The address may be `0.0.0.0` or `::`, the port 0 for any that is free.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.address)
    }
}

/// What is wrong with a place to listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Before the first colon stands something else.
    #[error("`{0}` does not begin with udp:, tcp: or tls:, as in udp:192.0.2.1:5060")]
    Transport(String),
    /// Names are not looked up: which of its addresses to take would be a guess.
    #[error("`{0}` names no IP address to listen on, as in udp:192.0.2.1:5060 or tcp:[2001:db8::1]:5060")]
    Address(String),
}

/// The port of a transport where none is said (RFC 3261 section 19.1.2).
pub const fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Udp | Transport::Tcp => 5060,
        Transport::Tls => 5061,
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (transport, address) = text.split_once(':').unwrap_or((text, ""));
        let transport = [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|known| transport.eq_ignore_ascii_case(known.via_name()))
            .ok_or_else(|| ListenError::Transport(text.to_owned()))?;
        let without_port = || {
            let ip = address.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(address);
            ip.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, default_port(transport)))
        };
        let address =
            address.parse().or_else(|_| without_port()).map_err(|_| ListenError::Address(text.to_owned()))?;
        Ok(Self { transport, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_listen_are_read_or_refused_with_a_reason() {
        for (text, expected) in [
            ("udp:127.0.0.1:5070", "udp:127.0.0.1:5070"),
            ("UDP:127.0.0.1", "udp:127.0.0.1:5060"),
            ("tcp:[::1]:0", "tcp:[::1]:0"),
            ("tcp:[::1]", "tcp:[::1]:5060"),
            ("tls:::", "tls:[::]:5061"),
            ("tls:0.0.0.0", "tls:0.0.0.0:5061"),
        ] {
            assert_eq!(text.parse::<Listen>().map(|listen| listen.to_string()), Ok(expected.to_owned()));
        }
        for text in ["", "127.0.0.1:5060", "ws:127.0.0.1:80"] {
            assert_eq!(text.parse::<Listen>(), Err(ListenError::Transport(text.to_owned())));
        }
        for text in ["udp", "udp:", "udp:localhost:5060", "tcp:127.0.0.1:70000", "tls:127.0.0.1:"] {
            assert_eq!(text.parse::<Listen>(), Err(ListenError::Address(text.to_owned())));
        }
    }
}
