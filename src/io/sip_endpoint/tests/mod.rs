//! Endpoints that talk to each other and to plain sockets over loopback.
#![expect(clippy::disallowed_types, reason = "the other side of a socket is a socket")]

mod bounds;
mod tls;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

async fn endpoint(listens: &[&str]) -> Endpoint {
    let listens = listens.iter().map(|text| text.parse().unwrap()).collect();
    Endpoint::open(EndpointOptions { listens, ..EndpointOptions::default() }).await.unwrap()
}

fn address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.listening()[0].address
}

async fn next(endpoint: &mut Endpoint) -> EndpointEvent {
    tokio::time::timeout(PATIENCE, endpoint.next()).await.expect("nothing happens at the endpoint")
}

async fn message(endpoint: &mut Endpoint) -> (Hop, String) {
    match next(endpoint).await {
        EndpointEvent::Message { hop, bytes } => (hop, String::from_utf8(bytes).unwrap()),
        failed @ EndpointEvent::Failed { .. } => panic!("{failed:?}"),
    }
}

async fn failure(endpoint: &mut Endpoint) -> (Hop, io::Error) {
    match next(endpoint).await {
        EndpointEvent::Failed { hop, error } => (hop, error),
        message @ EndpointEvent::Message { .. } => panic!("{message:?}"),
    }
}

/// Nothing may happen at this endpoint while the other one waits.
async fn quiet(endpoint: &mut Endpoint) {
    let happened = tokio::time::timeout(Duration::from_millis(100), endpoint.next()).await;
    assert!(happened.is_err(), "{happened:?}");
}

fn request(number: usize) -> String {
    format!("OPTIONS sip:bob@example.com SIP/2.0\r\nCSeq: {number} OPTIONS\r\nContent-Length: 4\r\n\r\nbody")
}

const OK: &str = "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";

fn to(endpoint: &mut Endpoint, transport: Transport, remote: SocketAddr) -> Hop {
    Hop { transport, local: endpoint.local_for(transport, remote).unwrap(), remote }
}

fn send(endpoint: &mut Endpoint, hop: Hop, text: &str) {
    endpoint.send(Transmit { hop, bytes: text.as_bytes().to_vec() });
}

#[tokio::test]
async fn datagrams_go_both_ways() {
    let (mut alice, mut bob) = (endpoint(&[]).await, endpoint(&["udp:127.0.0.1:0"]).await);
    let hop = to(&mut alice, Transport::Udp, address(&bob));
    for number in 0..100 {
        send(&mut alice, hop, &request(number));
        let (at_bob, text) = message(&mut bob).await;
        assert_eq!(text, request(number));
        assert_eq!((at_bob.local, at_bob.remote), (hop.remote, hop.local));
        send(&mut bob, at_bob, OK);
        assert_eq!(message(&mut alice).await, (hop, OK.to_owned()));
    }
}

#[tokio::test]
async fn a_socket_on_any_address_says_which_one_the_peer_sees() {
    let (mut alice, mut bob) = (endpoint(&["udp:0.0.0.0:0"]).await, endpoint(&["udp:[::]:0"]).await);
    let bobs_port = address(&bob).port();
    let hop = to(&mut alice, Transport::Udp, SocketAddr::from(([127, 0, 0, 1], bobs_port)));
    assert_eq!(hop.local, SocketAddr::from(([127, 0, 0, 1], address(&alice).port())));
    send(&mut alice, hop, &request(1));
    let (at_bob, _) = message(&mut bob).await;
    assert_eq!((at_bob.local, at_bob.remote), (hop.remote, hop.local));
    send(&mut bob, at_bob, OK);
    assert_eq!(message(&mut alice).await, (hop, OK.to_owned()));
}

#[tokio::test]
async fn keep_alives_are_answered_and_not_passed_on() {
    let mut bob = endpoint(&["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]).await;
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.connect(bob.listening()[0].address).await.unwrap();
    for keep_alive in [&b""[..], b"\0", b"\r\n", b"\r\n\r\n"] {
        udp.send(keep_alive).await.unwrap();
    }
    let mut tcp = TcpStream::connect(bob.listening()[1].address).await.unwrap();
    tcp.write_all(b"\r\n\r\n").await.unwrap();
    quiet(&mut bob).await;
    let mut answer = [0; 8];
    assert_eq!(udp.try_recv(&mut answer).unwrap(), 2);
    assert!(udp.try_recv(&mut answer).is_err(), "only the ping is answered");
    assert_eq!(tcp.read(&mut answer).await.unwrap(), 2);
    assert!(answer.starts_with(b"\r\n"));
}

#[tokio::test]
async fn a_closed_port_is_known_within_a_round_trip() {
    let mut alice = endpoint(&[]).await;
    for transport in [Transport::Udp, Transport::Tcp] {
        // Bound and closed again: nobody else has it.
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let hop = to(&mut alice, transport, closed);
        send(&mut alice, hop, &request(1));
        let (failed, error) = failure(&mut alice).await;
        assert_eq!((failed.transport, failed.remote), (transport, closed));
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn one_connection_carries_all_messages_and_their_answers() {
    let (mut alice, mut bob) = (endpoint(&[]).await, endpoint(&["tcp:127.0.0.1:0"]).await);
    let hop = to(&mut alice, Transport::Tcp, address(&bob));
    assert_eq!(hop.local, "127.0.0.1:0".parse().unwrap());
    for number in 0..200 {
        send(&mut alice, hop, &request(number));
    }
    let mut came_over = None;
    for number in 0..200 {
        let (at_bob, text) = message(&mut bob).await;
        assert_eq!(text, request(number));
        assert_eq!(at_bob.local, hop.remote);
        assert_eq!(*came_over.get_or_insert(at_bob.remote), at_bob.remote);
        send(&mut bob, at_bob, OK);
    }
    for _ in 0..200 {
        let (at_alice, text) = message(&mut alice).await;
        assert_eq!((Some(at_alice.local), at_alice.remote), (came_over, hop.remote));
        assert_eq!(text, OK);
    }
}

#[tokio::test]
async fn a_stream_may_be_cut_anywhere() {
    let mut bob = endpoint(&["tcp:127.0.0.1:0"]).await;
    let mut alice = TcpStream::connect(address(&bob)).await.unwrap();
    alice.set_nodelay(true).unwrap();
    let text = request(1);
    for at in 0..=text.len() {
        // A whole message and the front of the next in one segment.
        alice.write_all(format!("{text}{}", &text[..at]).as_bytes()).await.unwrap();
        assert_eq!(message(&mut bob).await.1, text);
        alice.write_all(&text.as_bytes()[at..]).await.unwrap();
        assert_eq!(message(&mut bob).await.1, text, "cut at {at}");
    }
}

#[tokio::test]
async fn a_server_that_closes_before_it_answers_has_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut alice = endpoint(&[]).await;
    let hop = to(&mut alice, Transport::Tcp, listener.local_addr().unwrap());
    send(&mut alice, hop, &request(1));
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = vec![0; request(1).len()];
        stream.read_exact(&mut text).await.unwrap();
    };
    let ((), (failed, _)) = tokio::join!(server, failure(&mut alice));
    assert_eq!((failed.transport, failed.remote), (Transport::Tcp, hop.remote));
    // After an answer, closing is anybody's right, and the next message opens a connection again.
    for number in 2..4 {
        send(&mut alice, hop, &request(number));
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = vec![0; request(number).len()];
            stream.read_exact(&mut text).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        };
        let ((), (_, text)) = tokio::join!(server, message(&mut alice));
        assert_eq!(text, OK);
        quiet(&mut alice).await;
    }
}

#[tokio::test]
async fn an_address_that_is_taken_or_not_ours_is_told_in_a_sentence() {
    let bob = endpoint(&["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]).await;
    let cases = [
        (bob.listening()[0].to_string(), "another program listens there"),
        (bob.listening()[1].to_string(), "another program listens there"),
        ("udp:192.0.2.1:5060".to_owned(), "this machine does not have that address"),
        ("tls:127.0.0.1:0".to_owned(), "TLS needs a certificate and its key"),
    ];
    for (listen, said) in cases {
        let listens = vec![listen.parse().unwrap()];
        let opened = Endpoint::open(EndpointOptions { listens, ..EndpointOptions::default() }).await;
        let error = opened.err().unwrap().to_string();
        assert_eq!(error, format!("cannot listen on {listen}: {said}"));
    }
}
