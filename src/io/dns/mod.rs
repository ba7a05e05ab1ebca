//! From a SIP URI to addresses.
//! In: a next hop. Out: servers in the order in which to try them. Knows nothing of what is sent to them.
//! RFC 3263 section 4: NAPTR, then SRV, then A and AAAA; `/etc/hosts` counts as A and AAAA.
//!
//! NAPTR and SRV are asked for whole names only, A and AAAA also below the search domains of the system: a short name
//! such as `pbx` is found, and no search domain can slip in a service.

mod order;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};

pub use self::order::Server;
use self::order::{Naptr, Plan, Service, Srv, by_priority_and_weight, default_transport, plan, services};
use crate::base::Transport;
use crate::base::default_port;
use crate::config::NextHop;

/// One request to a name server is waited for so long, and made once more.
const REQUEST_TIME: Duration = Duration::from_secs(2);
/// One lookup may take so many times that, whatever the resolver does in it.
const REQUESTS_PER_LOOKUP: u32 = 3;
/// Servers that are looked at; a domain with more has made a mistake.
const MOST_SERVERS: usize = 32;

/// Why a next hop has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// DNS is sure of it.
    #[error("`{0}` cannot be resolved: there is no such name, or it has no address")]
    NoAddress(String),
    /// No name server answers.
    #[error("`{0}` cannot be resolved: no name server answers in time")]
    Timeout(String),
    /// Name servers answer that they cannot.
    #[error("`{host}` cannot be resolved: {what}")]
    Failed {
        /// The name.
        host: String,
        /// What the resolver said.
        what: String,
    },
    /// The resolver does not start.
    #[error("names cannot be resolved: {0}")]
    Setup(String),
}

/// Looks names up; remembers answers for as long as DNS allows.
#[derive(Clone)]
pub struct Dns {
    resolver: TokioResolver,
    lookup_time: Duration,
}

impl Dns {
    /// As the system is configured. Where no name servers are, only `/etc/hosts` speaks.
    ///
    /// # Errors
    /// [`DnsError::Setup`]: not even that will do.
    pub fn of_system() -> Result<Self, DnsError> {
        let builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        });
        Self::build(builder, REQUEST_TIME)
    }

    /// Asks these name servers over UDP, and each request once more after this time.
    ///
    /// # Errors
    /// [`DnsError::Setup`].
    pub fn with_name_servers(name_servers: &[SocketAddr], request_time: Duration) -> Result<Self, DnsError> {
        let servers = name_servers.iter().map(|server| {
            let mut connection = ConnectionConfig::udp();
            connection.port = server.port();
            NameServerConfig::new(server.ip(), true, vec![connection])
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        Self::build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()), request_time)
    }

    fn build(
        mut builder: ResolverBuilder<TokioRuntimeProvider>,
        request_time: Duration,
    ) -> Result<Self, DnsError> {
        let options = builder.options_mut();
        options.timeout = request_time;
        options.attempts = 2;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = builder.build().map_err(|error| DnsError::Setup(error.to_string()))?;
        Ok(Self { resolver, lookup_time: request_time * REQUESTS_PER_LOOKUP })
    }

    /// The servers of a next hop, the first to try first. `random` decides among equals. An address takes no time, a
    /// name at most three lookups one after another. What may be needed is asked for at once: where no name server
    /// answers anything, that is known after one lookup, 6 s.
    ///
    /// # Errors
    /// [`DnsError`]: there is none.
    pub async fn resolve(
        &self,
        next_hop: &NextHop,
        mut random: impl FnMut() -> u64,
    ) -> Result<Vec<Server>, DnsError> {
        let host = || next_hop.host.clone();
        let (services, records, addresses) = match plan(next_hop) {
            Plan::Address(server) => return Ok(vec![server]),
            Plan::Host(transport, port) => {
                let addresses = self.clone().addresses(host()).await?;
                return Ok(servers(next_hop, addresses.into_iter().map(|ip| (transport, ip, port))));
            }
            Plan::Service(service) => {
                let service = vec![service];
                let (records, addresses) =
                    tokio::join!(self.services(&service), self.clone().addresses(host()));
                (service, records, addresses)
            }
            Plan::Naptr => {
                let usual = services(next_hop, Vec::new());
                let (naptr, records, addresses) = tokio::join!(
                    self.clone().naptr(host()),
                    self.services(&usual),
                    self.clone().addresses(host())
                );
                // Some name servers do not answer what they do not know.
                let services = services(next_hop, naptr.unwrap_or_default());
                let records = if services == usual { records } else { self.services(&services).await };
                (services, records, addresses)
            }
        };
        let mut targets = Vec::new();
        for (service, records) in services.iter().zip(records) {
            let records = by_priority_and_weight(records, &mut random);
            targets.extend(records.into_iter().map(|record| (service.transport, record)));
        }
        targets.truncate(MOST_SERVERS);
        let names = targets.iter().map(|(_, record)| format!("{}.", record.target));
        let of_targets = all(names.map(|name| self.clone().addresses(name))).await;
        let found: Vec<_> = targets
            .iter()
            .zip(of_targets)
            .flat_map(|((transport, record), addresses)| {
                addresses.into_iter().map(|ip| (*transport, ip, record.port))
            })
            .collect();
        if !found.is_empty() {
            return Ok(servers(next_hop, found));
        }
        let transport = default_transport(next_hop);
        let port = default_port(transport);
        Ok(servers(next_hop, addresses?.into_iter().map(|ip| (transport, ip, port))))
    }

    async fn services(&self, services: &[Service]) -> Vec<Vec<Srv>> {
        all(services.iter().map(|Service { name, .. }| self.clone().srv(name.clone()))).await
    }

    async fn naptr(self, host: String) -> Result<Vec<Naptr>, DnsError> {
        self.records(host, RecordType::NAPTR, |data| match data {
            RData::NAPTR(record) => Some(Naptr {
                order: record.order,
                preference: record.preference,
                flags: String::from_utf8_lossy(&record.flags).into_owned(),
                service: String::from_utf8_lossy(&record.services).into_owned(),
                replacement: text_of(&record.replacement),
            }),
            _ => None,
        })
        .await
    }

    async fn srv(self, service: String) -> Result<Vec<Srv>, DnsError> {
        self.records(service, RecordType::SRV, |data| match data {
            RData::SRV(record) => Some(Srv {
                priority: record.priority,
                weight: record.weight,
                port: record.port,
                target: text_of(&record.target),
            }),
            _ => None,
        })
        .await
    }

    async fn records<T>(
        &self,
        name: String,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, DnsError> {
        let whole = Name::from_ascii(format!("{}.", name.trim_end_matches('.')));
        let whole =
            whole.map_err(|error| DnsError::Failed { host: name.clone(), what: error.to_string() })?;
        let lookup = self.within(&name, self.resolver.lookup(whole, kind)).await?;
        Ok(lookup.answers().iter().filter_map(|record| read(&record.data)).take(MOST_SERVERS).collect())
    }

    async fn addresses(self, host: String) -> Result<Vec<IpAddr>, DnsError> {
        let lookup = self.within(&host, self.resolver.lookup_ip(host.as_str())).await?;
        Ok(lookup.iter().take(MOST_SERVERS).collect())
    }

    async fn within<T>(
        &self,
        name: &str,
        lookup: impl Future<Output = Result<T, NetError>>,
    ) -> Result<T, DnsError> {
        match tokio::time::timeout(self.lookup_time, lookup).await {
            Ok(found) => found.map_err(|error| failed(name, &error)),
            Err(_) => Err(DnsError::Timeout(name.to_owned())),
        }
    }
}

/// A name without the dot at its end.
fn text_of(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

/// Addresses as servers, each once.
fn servers(next_hop: &NextHop, found: impl IntoIterator<Item = (Transport, IpAddr, u16)>) -> Vec<Server> {
    let mut servers = Vec::new();
    for (transport, ip, port) in found {
        let server = Server { transport, address: SocketAddr::new(ip, port), name: next_hop.host.clone() };
        if servers.len() < MOST_SERVERS && !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

/// Looks all up at once. One that fails has found nothing.
async fn all<T: Send + 'static>(
    lookups: impl Iterator<Item = impl Future<Output = Result<Vec<T>, DnsError>> + Send + 'static>,
) -> Vec<Vec<T>> {
    let running: Vec<_> = lookups.map(tokio::spawn).collect();
    let mut found = Vec::with_capacity(running.len());
    for lookup in running {
        found.push(lookup.await.ok().and_then(Result::ok).unwrap_or_default());
    }
    found
}

fn failed(name: &str, error: &NetError) -> DnsError {
    let host = name.to_owned();
    match error {
        NetError::Timeout => DnsError::Timeout(host),
        error if error.is_no_records_found() => DnsError::NoAddress(host),
        error => DnsError::Failed { host, what: error.to_string() },
    }
}
