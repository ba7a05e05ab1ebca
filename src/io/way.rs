//! The way to SIP servers: their addresses, and the sockets to reach them from.
//! In: servers as an operator names them. Out: hops, and an endpoint for them. Knows nothing of what is said there.

use std::io;
use std::path::{Path, PathBuf};

use super::dns::{self, Dns, DnsError};
use super::sip_endpoint::{Endpoint, EndpointError, EndpointOptions};
use super::tls::{TlsError, client_tls};
use crate::base::{Hop, Random, Transport};
use crate::config::{NextHop, Security};

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum WayError {
    /// None of the servers has an address.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// They have addresses, and no route leads there.
    #[error("no route leads to {0}")]
    NoRoute(String),
    /// Whom to believe over TLS cannot be told.
    #[error("TLS servers cannot be verified")]
    Tls(#[from] TlsError),
    /// The sockets.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// Whom to talk to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Servers, the best first; each may be several machines.
    pub servers: Vec<NextHop>,
    /// Whose certificates are believed, PEM; `None`: those that the system believes.
    pub ca_file: Option<PathBuf>,
}

impl Target {
    /// The servers as a person says them.
    pub fn name(&self) -> String {
        self.servers.iter().map(NextHop::to_string).collect::<Vec<_>>().join(" or ")
    }
}

/// Looks servers up and keeps the sockets to reach them from.
pub struct Way {
    target: Target,
    dns: Dns,
    random: Random,
    /// Its sockets.
    pub endpoint: Endpoint,
}

impl Way {
    /// Opens the sockets. Nobody but these servers reaches them.
    ///
    /// # Errors
    /// [`WayError`].
    pub async fn open(target: Target, seed: u64) -> Result<Self, WayError> {
        let client_tls = tls(target.ca_file.as_deref(), &target.servers)?;
        let options = EndpointOptions { client_tls, ..EndpointOptions::default() };
        let endpoint = Endpoint::open(options).await?;
        Ok(Self { target, dns: Dns::of_system()?, random: Random::new(seed), endpoint })
    }

    /// The addresses of all servers, the best first, looked up at the same time. An error only where none has one.
    pub fn look_up(
        &mut self,
    ) -> impl Future<Output = Result<Vec<dns::Server>, DnsError>> + Send + 'static + use<> {
        let look_up = |server: &NextHop| {
            let (dns, server) = (self.dns.clone(), server.clone());
            let mut random = Random::new(self.random.next());
            tokio::spawn(async move { dns.resolve(&server, || random.next()).await })
        };
        let running: Vec<_> = self.target.servers.iter().map(look_up).collect();
        async move {
            let mut located = Vec::new();
            let mut failure = None;
            // A panic over there has been told on stderr: that one has no address.
            for found in running {
                match found.await {
                    Ok(Ok(found)) => located.extend(found),
                    Ok(Err(error)) => failure = failure.or(Some(error)),
                    Err(_) => {}
                }
            }
            match failure {
                Some(failure) if located.is_empty() => Err(failure),
                _ => Ok(located),
            }
        }
    }

    /// The hops to these servers as they are now: at least one.
    ///
    /// # Errors
    /// None has an address, or no route leads there.
    pub async fn find(&mut self) -> Result<Vec<Hop>, WayError> {
        let located = self.look_up().await?;
        match self.reach(located) {
            hops if hops.is_empty() => Err(WayError::NoRoute(self.target.name())),
            hops => Ok(hops),
        }
    }

    /// The hops to these; those to which no route leads are left out.
    pub fn reach(&mut self, located: Vec<dns::Server>) -> Vec<Hop> {
        let mut hops = Vec::with_capacity(located.len());
        for dns::Server { transport, address, name } in located {
            if let Ok(local) = self.endpoint.local_for(transport, address) {
                self.endpoint.expect_name(address, &name);
                hops.push(Hop { transport, local, remote: address });
            }
        }
        hops
    }
}

/// Why what was sent over this hop did not arrive, in words; `ca_key` is what the configuration calls whom to believe.
pub fn failure(hop: Hop, error: &io::Error, ca_key: &str) -> String {
    let what = error.to_string();
    let advice = if what.contains("UnknownIssuer") {
        format!(" ({ca_key} in the configuration says whom to believe)")
    } else if what.contains("CaUsedAsEndEntity") {
        " (its certificate is an authority's, not a server's)".to_owned()
    } else {
        String::new()
    };
    format!("{}:{}: {what}{advice}", hop.transport, hop.remote)
}

/// Who has no roots and asks for no TLS needs none.
fn tls(
    ca_file: Option<&Path>,
    servers: &[NextHop],
) -> Result<Option<std::sync::Arc<rustls::ClientConfig>>, TlsError> {
    let wants_tls =
        |server: &NextHop| server.security == Security::Tls || server.transport == Some(Transport::Tls);
    match client_tls(ca_file) {
        Ok(tls) => Ok(Some(tls)),
        Err(_) if ca_file.is_none() && !servers.iter().any(wants_tls) => Ok(None),
        Err(error) => Err(error),
    }
}
