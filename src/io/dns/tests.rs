//! Lookups against a little name server on loopback.
#![expect(clippy::disallowed_types, reason = "the name server has a socket")]

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{NAPTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::*;

const REQUEST_TIME: Duration = Duration::from_millis(200);

/// A zone and whoever answers for it.
struct NameServer {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers out of these records; does not answer at all about the silent kinds.
async fn name_server(zone: Vec<Record>, silent: &'static [RecordType]) -> NameServer {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let serve = async move {
        let mut buffer = [0; 1_500];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let request = Message::from_vec(&buffer[..length]).unwrap();
            let query = request.queries[0].clone();
            if silent.contains(&query.query_type) {
                continue;
            }
            let of_name = || zone.iter().filter(|record| record.name == query.name);
            let mut response = request.clone();
            response.metadata.message_type = MessageType::Response;
            if of_name().count() == 0 {
                response.metadata.response_code = ResponseCode::NXDomain;
            }
            response
                .answers
                .extend(of_name().filter(|record| record.record_type() == query.query_type).cloned());
            socket.send_to(&response.to_vec().unwrap(), from).await.unwrap();
        }
    };
    NameServer { address, task: tokio::spawn(serve).abort_handle() }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn naptr(owner: &str, order: u16, service: &str, replacement: &str) -> Record {
    let bytes = |text: &str| text.as_bytes().into();
    record(
        owner,
        RData::NAPTR(NAPTR::new(order, 50, bytes("s"), bytes(service), bytes(""), name(replacement))),
    )
}

fn srv(owner: &str, priority: u16, port: u16, target: &str) -> Record {
    record(owner, RData::SRV(SRV::new(priority, 0, port, name(target))))
}

fn address(owner: &str, ip: &str) -> Record {
    record(owner, RData::from(ip.parse::<IpAddr>().unwrap()))
}

async fn resolve(server: &NameServer, next_hop: &str) -> Result<Vec<String>, String> {
    let dns = Dns::with_name_servers(&[server.address], REQUEST_TIME).unwrap();
    let found = dns.resolve(&NextHop::parse(next_hop).unwrap(), || 0).await;
    let written = |server: &Server| format!("{} {} {}", server.transport, server.address, server.name);
    found.map(|servers| servers.iter().map(written).collect()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn naptr_leads_to_services_and_these_to_addresses() {
    let zone = vec![
        naptr("example.com.", 20, "SIP+D2U", "_sip._udp.example.com."),
        naptr("example.com.", 10, "SIPS+D2T", "_sips._tcp.pool.example.com."),
        srv("_sip._udp.example.com.", 1, 5060, "a.example.com."),
        srv("_sips._tcp.pool.example.com.", 2, 5063, "b.example.com."),
        srv("_sips._tcp.pool.example.com.", 1, 5062, "a.example.com."),
        address("a.example.com.", "192.0.2.1"),
        address("a.example.com.", "2001:db8::1"),
        address("b.example.com.", "192.0.2.2"),
    ];
    let server = name_server(zone, &[]).await;
    let secure = [
        "tls 192.0.2.1:5062 example.com",
        "tls [2001:db8::1]:5062 example.com",
        "tls 192.0.2.2:5063 example.com",
    ];
    let any =
        [&secure[..], &["udp 192.0.2.1:5060 example.com", "udp [2001:db8::1]:5060 example.com"]].concat();
    assert_eq!(resolve(&server, "sip:example.com").await.unwrap(), any);
    assert_eq!(resolve(&server, "sips:example.com").await.unwrap(), secure);
}

#[tokio::test]
async fn without_naptr_services_are_found_by_their_usual_names() {
    let zone = vec![
        srv("_sip._tcp.example.com.", 1, 5070, "a.example.com."),
        srv("_sip._udp.example.com.", 1, 5060, "gone.example.com."),
        srv("_sip._udp.example.com.", 2, 5080, "a.example.com."),
        address("a.example.com.", "192.0.2.1"),
        address("example.com.", "192.0.2.9"),
    ];
    for silent in [&[][..], &[RecordType::NAPTR]] {
        let server = name_server(zone.clone(), silent).await;
        assert_eq!(
            resolve(&server, "sip:example.com").await.unwrap(),
            ["udp 192.0.2.1:5080 example.com", "tcp 192.0.2.1:5070 example.com"]
        );
        assert_eq!(
            resolve(&server, "sip:example.com;transport=tcp").await.unwrap(),
            ["tcp 192.0.2.1:5070 example.com"]
        );
    }
}

#[tokio::test]
async fn without_services_the_host_is_the_server() {
    let zone = vec![
        address("pbx.example.com.", "192.0.2.1"),
        address("pbx.example.com.", "2001:db8::1"),
        srv("_sip._udp.pbx.example.com.", 0, 0, "."),
    ];
    let server = name_server(zone, &[]).await;
    for (next_hop, transport, port) in [
        ("sip:pbx.example.com", "udp", 5060),
        ("sips:pbx.example.com", "tls", 5061),
        ("sip:pbx.example.com;transport=tcp", "tcp", 5060),
        ("sip:pbx.example.com;transport=tls", "tls", 5061),
        ("sip:pbx.example.com:5070", "udp", 5070),
        ("sips:pbx.example.com:5070", "tls", 5070),
    ] {
        let expected = [
            format!("{transport} 192.0.2.1:{port} pbx.example.com"),
            format!("{transport} [2001:db8::1]:{port} pbx.example.com"),
        ];
        assert_eq!(resolve(&server, next_hop).await.unwrap(), expected, "{next_hop}");
    }
}

#[tokio::test]
async fn a_port_that_is_given_overrides_what_services_say() {
    let zone = vec![
        srv("_sip._udp.example.com.", 1, 5080, "a.example.com."),
        address("a.example.com.", "192.0.2.1"),
        address("example.com.", "192.0.2.9"),
    ];
    let server = name_server(zone, &[]).await;
    assert_eq!(resolve(&server, "sip:example.com:5070").await.unwrap(), ["udp 192.0.2.9:5070 example.com"]);
}

#[tokio::test]
async fn a_name_that_is_none_and_a_server_that_is_silent_are_told_apart() {
    let server = name_server(vec![], &[]).await;
    assert_eq!(
        resolve(&server, "sip:example.com").await.unwrap_err(),
        "`example.com` cannot be resolved: there is no such name, or it has no address"
    );
    let server = name_server(vec![], &[RecordType::NAPTR, RecordType::SRV, RecordType::A, RecordType::AAAA]);
    let server = server.await;
    for next_hop in ["sip:example.com", "sip:example.com;transport=tcp", "sip:example.com:5070"] {
        #[expect(clippy::disallowed_methods, reason = "measures the wait")]
        let began = std::time::Instant::now();
        assert_eq!(
            resolve(&server, next_hop).await.unwrap_err(),
            "`example.com` cannot be resolved: no name server answers in time"
        );
        let one_lookup = REQUEST_TIME * REQUESTS_PER_LOOKUP;
        assert!(began.elapsed() < one_lookup * 3 / 2, "{next_hop}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_silent_name_server_does_not_hide_one_that_answers() {
    let silent = name_server(vec![], &[RecordType::A, RecordType::AAAA]).await;
    let answering = name_server(vec![address("pbx.example.com.", "192.0.2.1")], &[]).await;
    let dns = Dns::with_name_servers(&[silent.address, answering.address], REQUEST_TIME).unwrap();
    let next_hop = NextHop::parse("sip:pbx.example.com:5060").unwrap();
    let found = dns.resolve(&next_hop, || 0).await.unwrap();
    assert_eq!(found[0].address, "192.0.2.1:5060".parse().unwrap());
}

#[tokio::test]
async fn this_machine_is_known_without_asking_anybody() {
    let server = name_server(vec![], &[]).await;
    let found = resolve(&server, "sip:localhost").await.unwrap();
    assert_eq!(found.first().unwrap(), "udp 127.0.0.1:5060 localhost");
    let dns = Dns::of_system().unwrap();
    let found = dns.resolve(&NextHop::parse("sip:192.0.2.20").unwrap(), || 0).await.unwrap();
    assert_eq!(found[0].address, "192.0.2.20:5060".parse().unwrap());
}
