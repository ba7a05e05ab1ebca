//! Which servers to try in which order, as DNS records say it.
//! In: NAPTR and SRV records, addresses. Out: servers in order. Knows nothing of lookups.
//! RFC 3263 section 4.1 and 4.2, RFC 2782 (priority and weight), RFC 3403 (NAPTR).

use std::net::{IpAddr, SocketAddr};

use crate::base::Transport;
use crate::base::default_port;
use crate::config::{NextHop, Security};

/// One way to a SIP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What to speak with it.
    pub transport: Transport,
    /// Where it is.
    pub address: SocketAddr,
    /// What its certificate has to name: the host that was asked for, whatever names DNS led to (RFC 5922 section 4).
    pub name: String,
}

/// A NAPTR record, what matters of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    pub service: String,
    pub replacement: String,
}

/// A service as SRV knows it: `_sip._udp.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub transport: Transport,
    pub name: String,
}

/// A SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// What to do first for a next hop.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Its address is given.
    Address(Server),
    /// The port is given: only the addresses of the host are to be found.
    Host(Transport, u16),
    /// The transport is given: the service is to be found, and NAPTR is not asked.
    Service(Service),
    /// NAPTR says which transports there are.
    Naptr,
}

pub(super) fn plan(next_hop: &NextHop) -> Plan {
    let transport = default_transport(next_hop);
    let port = next_hop.port.unwrap_or(default_port(transport));
    match (next_hop.host.parse::<IpAddr>(), next_hop.port, next_hop.transport) {
        (Ok(ip), ..) => {
            let address = SocketAddr::new(ip, port);
            Plan::Address(Server { transport, address, name: next_hop.host.clone() })
        }
        (Err(_), Some(port), _) => Plan::Host(transport, port),
        (Err(_), None, Some(transport)) => Plan::Service(service(transport, &next_hop.host)),
        (Err(_), None, None) => Plan::Naptr,
    }
}

/// What is spoken where neither the operator nor DNS says otherwise.
pub(super) fn default_transport(next_hop: &NextHop) -> Transport {
    next_hop.transport.unwrap_or(match next_hop.security {
        Security::Any => Transport::Udp,
        Security::Tls => Transport::Tls,
    })
}

fn service(transport: Transport, host: &str) -> Service {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    };
    Service { transport, name: format!("{prefix}.{host}") }
}

/// The services that NAPTR names, the best first. Without any that will do: those that there may be, UDP first.
pub(super) fn services(next_hop: &NextHop, mut records: Vec<Naptr>) -> Vec<Service> {
    records.sort_by_key(|record| (record.order, record.preference));
    let will_do = |transport| next_hop.security == Security::Any || transport == Transport::Tls;
    let named = records.into_iter().filter(|record| record.flags.eq_ignore_ascii_case("s"));
    let named = named.filter_map(|record| {
        let transport = match record.service.to_ascii_uppercase().as_str() {
            "SIP+D2U" => Transport::Udp,
            "SIP+D2T" => Transport::Tcp,
            "SIPS+D2T" => Transport::Tls,
            _ => return None,
        };
        Some(Service { transport, name: record.replacement })
    });
    let named: Vec<_> = named.filter(|service| will_do(service.transport)).collect();
    if !named.is_empty() {
        return named;
    }
    let all = [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter();
    all.filter(|&transport| will_do(transport)).map(|transport| service(transport, &next_hop.host)).collect()
}

/// The records of one service in the order in which to try them: by priority, and within one, each next by chance in
/// proportion to its weight. A service that says it is not there (target `.`) has none.
pub(super) fn by_priority_and_weight(records: Vec<Srv>, random: &mut impl FnMut() -> u64) -> Vec<Srv> {
    let mut left: Vec<Srv> = records.into_iter().filter(|record| !record.target.is_empty()).collect();
    // Weight 0 first, so that it has its small chance (RFC 2782).
    left.sort_by(|a, b| {
        (a.priority, a.weight, &a.target, a.port).cmp(&(b.priority, b.weight, &b.target, b.port))
    });
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(priority) = left.first().map(|record| record.priority) {
        let equals = || left.iter().take_while(|record| record.priority == priority);
        let sum: u64 = equals().map(|record| u64::from(record.weight)).sum();
        let drawn = random() % (sum + 1);
        let mut running = 0;
        let place = equals().position(|record| {
            running += u64::from(record.weight);
            running >= drawn
        });
        ordered.push(left.remove(place.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naptr(order: u16, preference: u16, flags: &str, service: &str, replacement: &str) -> Naptr {
        let text = str::to_owned;
        Naptr {
            order,
            preference,
            flags: text(flags),
            service: text(service),
            replacement: text(replacement),
        }
    }

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 5060, target: target.to_owned() }
    }

    fn next_hop(text: &str) -> NextHop {
        NextHop::parse(text).unwrap()
    }

    fn written(services: &[Service]) -> Vec<String> {
        services.iter().map(|service| format!("{} {}", service.transport, service.name)).collect()
    }

    #[test]
    fn what_is_given_is_not_looked_up() {
        use Transport::{Tcp, Tls, Udp};
        let address = |transport, address: &str, name: &str| {
            Plan::Address(Server { transport, address: address.parse().unwrap(), name: name.to_owned() })
        };
        let named = |transport, name: &str| Plan::Service(Service { transport, name: name.to_owned() });
        let cases = [
            ("sip:192.0.2.20", address(Udp, "192.0.2.20:5060", "192.0.2.20")),
            ("sip:[2001:db8::1]:5070;transport=tcp", address(Tcp, "[2001:db8::1]:5070", "2001:db8::1")),
            ("sips:192.0.2.20", address(Tls, "192.0.2.20:5061", "192.0.2.20")),
            ("sip:192.0.2.20;transport=tls", address(Tls, "192.0.2.20:5061", "192.0.2.20")),
            ("sip:example.com:5070", Plan::Host(Udp, 5070)),
            ("sips:example.com:5070", Plan::Host(Tls, 5070)),
            ("sip:example.com:5070;transport=tcp", Plan::Host(Tcp, 5070)),
            ("sip:example.com;transport=udp", named(Udp, "_sip._udp.example.com")),
            ("sip:example.com;transport=tcp", named(Tcp, "_sip._tcp.example.com")),
            ("sip:example.com;transport=tls", named(Tls, "_sips._tcp.example.com")),
            ("sips:example.com;transport=tcp", named(Tls, "_sips._tcp.example.com")),
            ("sip:example.com", Plan::Naptr),
            ("sips:example.com", Plan::Naptr),
        ];
        for (text, expected) in cases {
            assert_eq!(plan(&next_hop(text)), expected, "{text}");
        }
    }

    #[test]
    fn naptr_chooses_the_transport_by_order_and_preference() {
        let records = vec![
            naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com"),
            naptr(50, 60, "S", "sip+d2u", "_sip._udp.pool.example.com"),
            naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com"),
            naptr(10, 50, "s", "SIP+D2S", "_sip._sctp.example.com"),
            naptr(10, 50, "u", "SIP+D2T", ""),
            naptr(10, 50, "s", "E2U+sip", "example.com"),
        ];
        let found = services(&next_hop("sip:example.com"), records.clone());
        assert_eq!(
            written(&found),
            ["tls _sips._tcp.example.com", "udp _sip._udp.pool.example.com", "tcp _sip._tcp.example.com"]
        );
        let found = services(&next_hop("sips:example.com"), records);
        assert_eq!(written(&found), ["tls _sips._tcp.example.com"]);
    }

    #[test]
    fn without_naptr_each_service_is_asked_for_udp_first() {
        let useless = vec![naptr(10, 50, "s", "SIP+D2S", "_sip._sctp.example.com")];
        for records in [vec![], useless] {
            let found = services(&next_hop("sip:example.com"), records.clone());
            assert_eq!(
                written(&found),
                ["udp _sip._udp.example.com", "tcp _sip._tcp.example.com", "tls _sips._tcp.example.com"]
            );
            let found = services(&next_hop("sips:example.com"), records);
            assert_eq!(written(&found), ["tls _sips._tcp.example.com"]);
        }
    }

    #[test]
    fn a_lower_priority_number_comes_first_whatever_the_weights() {
        let records = vec![srv(20, 100, "c"), srv(10, 0, "a"), srv(10, 1, "b"), srv(5, 0, "")];
        for number in 0..20 {
            let ordered = by_priority_and_weight(records.clone(), &mut || number);
            let targets: Vec<&str> = ordered.iter().map(|record| record.target.as_str()).collect();
            assert!(targets == ["a", "b", "c"] || targets == ["b", "a", "c"], "{targets:?}");
        }
    }

    #[test]
    fn a_weight_is_a_share_of_the_first_tries() {
        let records = vec![srv(1, 60, "a"), srv(1, 30, "b"), srv(1, 10, "c"), srv(1, 0, "d")];
        let mut count = std::collections::BTreeMap::<String, u32>::new();
        for number in 0..1_010 {
            let ordered = by_priority_and_weight(records.clone(), &mut || number);
            assert_eq!(ordered.len(), 4);
            *count.entry(ordered.into_iter().next().unwrap().target).or_default() += 1;
        }
        // Of the 101 numbers that may be drawn, 0 is the one without weight.
        assert_eq!(count.into_values().collect::<Vec<_>>(), [600, 300, 100, 10]);
    }
}
