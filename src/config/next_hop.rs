//! A SIP server as the operator names it.
//! In: `sip:presence.example.com;transport=tcp`. Out: host, port and transport. Knows nothing of DNS.
//! RFC 3261 section 19.1; `sips` means TLS: section 26.2.2, RFC 5630.

use std::fmt;

use crate::base::Transport;
use crate::sip::{Scheme, Uri};

/// Why a text names no SIP server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NextHopError {
    /// Not `sip:host` or `sips:host`.
    #[error("`{0}` is not a SIP URI such as sip:presence.example.com or sip:192.0.2.20:5060")]
    NotAUri(String),
    /// Not spoken here.
    #[error("`{uri}` asks for transport {transport}: only udp, tcp and tls are supported")]
    Transport {
        /// What was given.
        uri: String,
        /// What it asks for.
        transport: String,
    },
    /// The two contradict each other.
    #[error("`{0}` asks for sips over udp: sips is TLS over TCP, so leave the transport out")]
    SipsOverUdp(String),
    /// What says nothing here would be believed to say something.
    #[error("`{uri}` has {what}: there is only ;transport=udp, tcp or tls, and ;lr, which changes nothing")]
    Unknown {
        /// What was given.
        uri: String,
        /// What of it is not known.
        what: String,
    },
    /// RFC 3261 section 19.1.1: the address that is used instead of the host.
    #[error("`{0}` has the parameter maddr, which is not supported: write that address in place of the host")]
    Maddr(String),
}

/// Whether the way to a server has to be secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// `sip:`: any transport will do.
    Any,
    /// `sips:`: only TLS will do.
    Tls,
}

/// A SIP server as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// As given.
    pub port: Option<u16>,
    /// As given, with `tcp` made secure where only TLS will do; `None`: to be found out.
    pub transport: Option<Transport>,
    /// What the scheme says.
    pub security: Security,
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.security {
            Security::Any => "sip",
            Security::Tls => "sips",
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}:[{}]", self.host)?,
            false => write!(f, "{scheme}:{}", self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match (self.transport, self.security) {
            (None, _) => Ok(()),
            (Some(_), Security::Tls) => f.write_str(";transport=tcp"),
            (Some(transport), Security::Any) => write!(f, ";transport={transport}"),
        }
    }
}

impl NextHop {
    /// Reads `sip:host[:port][;transport=udp|tcp|tls]` or `sips:host[:port][;transport=tcp]`. A user part is ignored, and
    /// so is `;lr`, as a route has it: requests go there whatever their Request-URI, which is what it asks for.
    ///
    /// # Errors
    /// [`NextHopError`].
    pub fn parse(text: &str) -> Result<Self, NextHopError> {
        let not_a_uri = || NextHopError::NotAUri(text.to_owned());
        let uri = Uri::parse(text.as_bytes()).ok_or_else(not_a_uri)?;
        let security = match uri.scheme {
            Scheme::Sip => Security::Any,
            Scheme::Sips => Security::Tls,
            _ => return Err(not_a_uri()),
        };
        if let Some(error) = unknown(text, &uri) {
            return Err(error);
        }
        let transport = match uri.params.get(b"transport") {
            None => None,
            Some(transport) => {
                let transport = String::from_utf8_lossy(transport.unwrap_or_default()).to_lowercase();
                match (transport.as_str(), security) {
                    ("udp", Security::Any) => Some(Transport::Udp),
                    ("tcp", Security::Any) => Some(Transport::Tcp),
                    ("tls", _) | ("tcp", Security::Tls) => Some(Transport::Tls),
                    ("udp", Security::Tls) => return Err(NextHopError::SipsOverUdp(text.to_owned())),
                    _ => return Err(NextHopError::Transport { uri: text.to_owned(), transport }),
                }
            }
        };
        let host = std::str::from_utf8(uri.host).map_err(|_| not_a_uri())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(not_a_uri());
        }
        Ok(Self { host: host.to_owned(), port: uri.port, transport, security })
    }
}

/// The first thing in it that a server's URI does not have, or has twice (RFC 3261 section 19.1.1).
fn unknown(text: &str, uri: &Uri<'_>) -> Option<NextHopError> {
    let unknown = |what: String| Some(NextHopError::Unknown { uri: text.to_owned(), what });
    let mut transports = 0;
    for (name, value) in uri.params.iter() {
        let name = String::from_utf8_lossy(name).to_lowercase();
        match name.as_str() {
            "transport" if value.is_none_or(<[u8]>::is_empty) => {
                return unknown("a transport without a name".to_owned());
            }
            "transport" => transports += 1,
            "lr" => {}
            "maddr" => return Some(NextHopError::Maddr(text.to_owned())),
            _ => return unknown(format!("the unknown parameter `{name}`")),
        }
    }
    if transports > 1 {
        return unknown("two transports".to_owned());
    }
    if !uri.headers.is_empty() {
        return unknown(format!("headers, `?{}`", String::from_utf8_lossy(uri.headers)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_read_and_written() {
        use Security::{Any, Tls as Secure};
        use Transport::{Tcp, Tls, Udp};
        let cases = [
            ("sip:presence.example.com", "presence.example.com", None, None, Any),
            ("sip:192.0.2.20:5070;transport=udp", "192.0.2.20", Some(5070), Some(Udp), Any),
            ("sip:[2001:db8::1]", "2001:db8::1", None, None, Any),
            ("sip:[2001:db8::1]:5070;transport=tcp", "2001:db8::1", Some(5070), Some(Tcp), Any),
            ("sip:presence.example.com;transport=tls", "presence.example.com", None, Some(Tls), Any),
            ("sips:presence.example.com", "presence.example.com", None, None, Secure),
            ("sips:192.0.2.20:5071;transport=tcp", "192.0.2.20", Some(5071), Some(Tls), Secure),
        ];
        for (text, host, port, transport, security) in cases {
            let next_hop = NextHop::parse(text).unwrap();
            assert_eq!(next_hop, NextHop { host: host.to_owned(), port, transport, security });
            assert_eq!(next_hop.to_string(), text);
        }
        let written_otherwise = [
            ("sip:alice@example.com;transport=UDP", "sip:example.com;transport=udp"),
            ("sip:example.com;lr", "sip:example.com"),
            ("sips:example.com;transport=tls", "sips:example.com;transport=tcp"),
        ];
        for (text, written) in written_otherwise {
            assert_eq!(NextHop::parse(text).unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_names_no_server_is_refused_in_a_sentence() {
        for (text, said) in [
            ("", "not a SIP URI"),
            ("presence.example.com", "not a SIP URI"),
            ("http://example.com", "not a SIP URI"),
            ("tel:+491234", "not a SIP URI"),
            ("sip:example.com;transport=ws", "transport ws: only udp, tcp and tls are supported"),
            ("sip:example.com;transport=sctp", "transport sctp: only"),
            ("sip:example.com;transport=", "has a transport without a name"),
            ("sips:example.com;transport=udp", "asks for sips over udp"),
            ("sip:example.com;foo=bar", "has the unknown parameter `foo`: there is only ;transport="),
            ("sip:example.com;lr;user=phone", "has the unknown parameter `user`"),
            ("sip:example.com;transport=udp;Transport=tcp", "has two transports"),
            ("sip:example.com?Subject=x", "has headers, `?Subject=x`"),
            ("sip:example.com;maddr=192.0.2.1", "write that address in place of the host"),
        ] {
            let error = NextHop::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
