//! The voice's thread against a scripted phone on the loopback.
//! In: orders. Out: what the phone receives, what is told of it. Knows nothing of captures, wishes.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a phone has a socket, and a test waits"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use super::*;
use crate::base::Flow;
use crate::redial::RedialOptions;
use crate::sip::Aor;

/// Nothing on a loopback takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A phone, or the proxy before it: a UDP socket, and what it knows of the dialog.
struct Phone {
    socket: UdpSocket,
    peer: Option<SocketAddr>,
}

/// A message as the phone reads it.
struct Read(String);

impl Read {
    fn field(&self, name: &str) -> &str {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        let line = head.lines().find(|line| {
            line.split_once(':').is_some_and(|(field, _)| field.trim().eq_ignore_ascii_case(name))
        });
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    }

    fn is(&self, start: &str) -> bool {
        self.0.starts_with(start)
    }
}

impl Phone {
    fn open() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, peer: None }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn contact(&self) -> String {
        format!("sip:alice@{}", self.address())
    }

    /// The next message that begins so; others, such as retransmissions, are passed over.
    fn expect(&mut self, start: &str) -> Read {
        for _ in 0..50 {
            let mut bytes = [0; 65_535];
            let (length, from) =
                self.socket.recv_from(&mut bytes).unwrap_or_else(|error| panic!("no {start}: {error}"));
            let read = Read(String::from_utf8(bytes[..length].to_vec()).unwrap());
            if read.is(start) {
                self.peer = Some(from);
                return read;
            }
        }
        panic!("no {start}");
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.peer.unwrap()).unwrap();
    }

    fn answer(&self, request: &Read, status: &str, more: &str, body: &str) {
        let to = request.field("To");
        let tag = if to.contains("tag=") { "" } else { ";tag=phone" };
        let [via, from, call_id, cseq] = ["Via", "From", "Call-ID", "CSeq"].map(|name| request.field(name));
        self.send(&format!(
            "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq}\r\nContact: <{}>\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.contact(),
            body.len()
        ));
    }

    /// A NOTIFY of the subscription that a REFER made, with what it asked for as its last word.
    fn notify(&self, refer: &Read, sequence: u32, sipfrag: &str) {
        let (to, from) = (refer.field("From"), refer.field("To"));
        let tag = if from.contains("tag=") { "" } else { ";tag=phone" };
        let target = refer.field("Contact").trim_matches(['<', '>']).to_owned();
        let call_id = refer.field("Call-ID");
        self.send(&format!(
            "NOTIFY {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKnotify{sequence}\r\nMax-Forwards: 70\r\n\
             From: {from}{tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {sequence} NOTIFY\r\n\
             Contact: <{}>\r\nEvent: refer\r\nSubscription-State: terminated;reason=noresource\r\n\
             Content-Type: message/sipfrag;version=2.0\r\nContent-Length: {}\r\n\r\n{sipfrag}",
            self.address(),
            self.contact(),
            sipfrag.len()
        ));
    }
}

fn aor(user: &str) -> Aor {
    Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap()
}

fn order(phone: &Phone, manner: Manner) -> AskOrder {
    AskOrder {
        id: AskId(1),
        manner,
        phone: aor("alice"),
        callee: aor("bob"),
        contact: Some(phone.contact().into()),
        flow: Some(Flow { address: phone.address().into(), transport: HeardTransport::Udp }),
    }
}

fn direct() -> RedialSection {
    RedialSection {
        route: RedialRoute::Direct,
        local: "udp:127.0.0.1:0".parse().ok(),
        options: RedialOptions::default(),
        ..RedialSection::default()
    }
}

fn start(section: RedialSection) -> RedialHandle {
    RedialHandle::start(section, &Limits::default()).unwrap()
}

/// What is told, until the end of the asking.
fn told(handle: &RedialHandle) -> Vec<AskEvent> {
    let (mut events, until) = (Vec::new(), Instant::now() + PATIENCE);
    while !matches!(events.last(), Some(AskEvent::Ended(_))) {
        assert!(Instant::now() < until, "no end after {events:?}");
        match handle.poll_event() {
            Some((id, event)) => {
                assert_eq!(id, AskId(1));
                events.push(event);
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    events
}

#[test]
fn a_phone_is_asked_where_it_is_and_followed() {
    let mut phone = Phone::open();
    let handle = start(direct());
    handle.ask(order(&phone, Manner::Refer));
    let refer = phone.expect("REFER ");
    assert!(refer.is(&format!("REFER {} SIP/2.0\r\n", phone.contact())), "{}", refer.0);
    assert!(refer.field("Refer-To").contains("sip:bob@example.com"), "{}", refer.0);
    let listening = handle.listening()[0].address;
    assert!(refer.field("Contact").contains(&listening.to_string()), "{}", refer.0);
    phone.answer(&refer, "202 Accepted", "", "");
    phone.notify(&refer, 1, "SIP/2.0 200 OK\r\n");
    phone.expect("SIP/2.0 200 OK");
    assert_eq!(
        told(&handle),
        [
            AskEvent::Accepted { status: 202 },
            AskEvent::Progress { status: 200 },
            AskEvent::Ended(AskEnd::Followed { status: Some(200) })
        ]
    );
}

#[test]
fn a_phone_sees_the_address_that_the_operator_chose() {
    let mut phone = Phone::open();
    let handle = start(RedialSection { local: "udp:127.0.0.3:0".parse().ok(), ..direct() });
    handle.ask(order(&phone, Manner::Recall));
    let invite = phone.expect("INVITE ");
    let chosen = handle.listening()[0].address;
    assert_eq!(phone.peer, Some(chosen));
    assert!(invite.field("Contact").contains(&chosen.to_string()), "{}", invite.0);
    assert!(invite.0.contains("c=IN IP4 127.0.0.3\r\n"), "{}", invite.0);
    phone.answer(&invite, "480 Temporarily Unavailable", "", "");
    assert_eq!(told(&handle), [AskEvent::Ended(AskEnd::NotPickedUp { status: Some(480) })]);
}

#[test]
fn through_a_proxy_a_phone_is_asked_by_its_address_of_record() {
    let mut proxy = Phone::open();
    let server = NextHop::parse(&format!("sip:{};transport=udp", proxy.address())).ok();
    let handle = start(RedialSection { route: RedialRoute::Proxy, server, ..direct() });
    let somewhere = Phone::open();
    handle.ask(order(&somewhere, Manner::Refer));
    let refer = proxy.expect("REFER ");
    assert!(refer.is("REFER sip:alice@example.com SIP/2.0\r\n"), "{}", refer.0);
    proxy.answer(&refer, "603 Decline", "", "");
    assert_eq!(told(&handle), [AskEvent::Ended(AskEnd::Refused { status: 603 })]);
}

#[test]
fn a_proxy_over_tcp_can_come_back_by_a_connection_of_its_own() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = NextHop::parse(&format!("sip:{};transport=tcp", proxy.local_addr().unwrap())).ok();
    let handle = start(RedialSection { route: RedialRoute::Proxy, server, ..direct() });
    handle.ask(order(&Phone::open(), Manner::Refer));
    let (mut connection, _) = proxy.accept().unwrap();
    let mut bytes = vec![0; 65_535];
    let mut length = 0;
    while !bytes[..length].ends_with(b"\r\n\r\n") {
        length += connection.read(&mut bytes[length..]).unwrap();
    }
    let refer = Read(String::from_utf8(bytes[..length].to_vec()).unwrap());
    let listening = handle.listening();
    assert_eq!(listening.len(), 2);
    assert_eq!(listening[1], Listen { transport: Transport::Tcp, ..listening[0] });
    let contact = format!("{};transport=tcp", listening[1].address);
    assert!(refer.field("Contact").contains(&contact), "{}", refer.0);
    let [via, from, to, call_id] = ["Via", "From", "To", "Call-ID"].map(|name| refer.field(name));
    let answer = format!(
        "SIP/2.0 405 Method Not Allowed\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to};tag=p\r\nCall-ID: {call_id}\r\n\
         CSeq: {}\r\nContent-Length: 0\r\n\r\n",
        refer.field("CSeq")
    );
    connection.write_all(answer.as_bytes()).unwrap();
    assert_eq!(told(&handle), [AskEvent::Ended(AskEnd::Refused { status: 405 })]);
}

#[test]
fn whoever_is_probed_is_looked_for_where_it_was_though_there_is_a_proxy() {
    let (proxy, mut phone) = (Phone::open(), Phone::open());
    let server = NextHop::parse(&format!("sip:{};transport=udp", proxy.address())).ok();
    let handle = start(RedialSection { route: RedialRoute::Proxy, server, ..direct() });
    handle.ask(AskOrder { phone: aor("bob"), ..order(&phone, Manner::Probe) });
    let options = phone.expect("OPTIONS ");
    assert!(options.is(&format!("OPTIONS {} SIP/2.0\r\n", phone.contact())), "{}", options.0);
    phone.answer(&options, "200 OK", "", "");
    assert_eq!(told(&handle), [AskEvent::Ended(AskEnd::There { status: 200 })]);
}

#[test]
fn a_recalled_phone_hears_silence_until_it_is_left() {
    let (mut phone, media) = (Phone::open(), Phone::open());
    let handle = start(direct());
    handle.ask(order(&phone, Manner::Recall));
    let invite = phone.expect("INVITE ");
    phone.answer(&invite, "180 Ringing", "", "");
    let port = media.address().port();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"
    );
    phone.answer(&invite, "200 OK", "Content-Type: application/sdp\r\n", &sdp);
    phone.expect("ACK ");
    let mut packet = [0; 200];
    let (length, from) = media.socket.recv_from(&mut packet).unwrap();
    assert_eq!((length, packet[0], packet[1] & 0x7f, packet[12]), (172, 0x80, 8, 0xd5));
    assert!(
        invite.0.contains(&format!("m=audio {} ", from.port())),
        "where it offered to hear: {}",
        invite.0
    );
    let refer = phone.expect("REFER ");
    assert!(refer.field("To").contains("tag=phone"), "inside the dialog: {}", refer.0);
    phone.answer(&refer, "202 Accepted", "", "");
    phone.notify(&refer, 1, "SIP/2.0 200 OK\r\n");
    let bye = phone.expect("BYE ");
    phone.answer(&bye, "200 OK", "", "");
    let events = told(&handle);
    assert_eq!(events.first(), Some(&AskEvent::Ringing));
    assert!(events.contains(&AskEvent::PickedUp), "{events:?}");
    media.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut left = 0;
    while media.socket.recv_from(&mut packet).is_ok() {
        left += 1;
        assert!(left < 1_000, "silence goes on");
    }
}

#[test]
fn at_the_end_no_phone_is_left_ringing() {
    let mut phone = Phone::open();
    let mut handle = start(direct());
    handle.ask(order(&phone, Manner::Recall));
    let invite = phone.expect("INVITE ");
    phone.answer(&invite, "180 Ringing", "", "");
    let phone = std::thread::scope(|scope| {
        let hangs_up = scope.spawn(|| {
            let cancel = phone.expect("CANCEL ");
            phone.answer(&cancel, "200 OK", "", "");
            phone.answer(&invite, "487 Request Terminated", "", "");
            phone
        });
        // Until the 180 is there; without it there is nothing to cancel yet.
        std::thread::sleep(Duration::from_millis(50));
        handle.finish(Duration::from_secs(5));
        hangs_up.join().unwrap()
    });
    assert!(phone.peer.is_some());
    let events = told(&handle);
    assert!(
        matches!(events.last(), Some(AskEvent::Ended(AskEnd::NotPickedUp { .. }))),
        "what was open is told: {events:?}"
    );
}

#[test]
fn a_phone_without_an_address_is_not_reached_and_said_to_be_so() {
    let phone = Phone::open();
    let handle = start(direct());
    let nowhere = AskOrder {
        contact: Some("sip:alice@phone.example.com".into()),
        flow: Some(Flow { address: phone.address().into(), transport: HeardTransport::WebSocket }),
        ..order(&phone, Manner::Refer)
    };
    handle.ask(nowhere);
    assert_eq!(told(&handle), [AskEvent::Ended(AskEnd::Undeliverable)]);
}

#[test]
fn what_offhook_has_no_use_for_is_counted() {
    let mut phone = Phone::open();
    let handle = start(direct());
    phone.peer = Some(handle.listening()[0].address);
    phone.send("this is not SIP\r\n\r\n");
    phone.send(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKother\r\nFrom: <sip:a@example.com>;tag=1\r\n\
         To: <sip:b@example.com>;tag=2\r\nCall-ID: other\r\nCSeq: 1 REFER\r\nContent-Length: 0\r\n\r\n",
    );
    let (until, expected) =
        (Instant::now() + PATIENCE, AskerCounters { strangers: 1, unreadable: 1, turned_away: 0 });
    while handle.counters() != (VoiceCounters { asker: expected, untold: 0 }) {
        assert!(Instant::now() < until, "{:?}", handle.counters());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_finds_no_room_between_the_threads_is_counted() {
    // Nobody fetches.
    let handle =
        RedialHandle { mailbox: Arc::default(), way: String::new(), listening: Vec::new(), thread: None };
    let order = order(&Phone::open(), Manner::Refer);
    for _ in 0..MOST_ORDERS + 2 {
        handle.ask(order.clone());
    }
    for _ in MOST_ORDERS..MOST_REQUESTS + 3 {
        handle.withdraw(AskId(1));
    }
    let known = handle.mailbox.open().events.len();
    for _ in known..MOST_EVENTS + 4 {
        handle.mailbox.open().tell(AskId(1), AskEvent::Progress { status: 180 });
    }
    let asker = AskerCounters { turned_away: 5, ..AskerCounters::default() };
    assert_eq!(handle.counters(), VoiceCounters { asker, untold: 4 });
}

#[test]
fn without_a_proxy_where_one_is_wanted_nothing_begins() {
    let section = RedialSection { route: RedialRoute::Proxy, ..direct() };
    assert!(matches!(RedialHandle::start(section, &Limits::default()), Err(RedialError::NoServer)));
}

#[test]
fn a_phone_is_where_its_register_came_from_or_where_it_says_that_it_listens() {
    let phone = Phone::open();
    let address = |flow: Option<HeardTransport>, contact: &str| {
        let flow = flow.map(|transport| Flow {
            address: "192.0.2.99:1024".parse::<SocketAddr>().unwrap().into(),
            transport,
        });
        phone_address(&AskOrder { flow, contact: Some(contact.into()), ..order(&phone, Manner::Refer) })
            .map(|(transport, address)| format!("{transport}:{address}"))
    };
    let udp = Some(HeardTransport::Udp);
    let tcp = Some(HeardTransport::Tcp);
    assert_eq!(address(udp, "sip:alice@192.0.2.11").unwrap(), "udp:192.0.2.99:1024");
    assert_eq!(address(tcp, "sip:alice@192.0.2.11;transport=tcp").unwrap(), "tcp:192.0.2.11:5060");
    assert_eq!(address(tcp, "sip:alice@phone.example.com;transport=tcp"), None);
    assert_eq!(address(None, "sip:alice@[2001:db8::1]:5070").unwrap(), "udp:[2001:db8::1]:5070");
    assert_eq!(address(None, "sip:alice@192.0.2.11;transport=ws"), None);
}
