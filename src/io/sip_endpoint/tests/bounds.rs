//! What peers may not do to an endpoint.

use super::*;

async fn bounded(listen: &str, bounds: EndpointBounds) -> Endpoint {
    let listens = vec![listen.parse().unwrap()];
    Endpoint::open(EndpointOptions { listens, bounds, ..EndpointOptions::default() }).await.unwrap()
}

/// Waits until the other side closes this connection, while the endpoint goes on.
async fn closed(stream: &mut TcpStream, endpoint: &mut Endpoint) {
    let mut some = [0; 64];
    tokio::select! {
        read = tokio::time::timeout(PATIENCE, stream.read(&mut some)) => {
            assert!(matches!(read.expect("the connection stays"), Ok(0) | Err(_)));
        }
        event = endpoint.next() => panic!("{event:?}"),
    }
}

/// The connection is good for another message.
async fn goes_on(stream: &mut TcpStream, endpoint: &mut Endpoint) {
    stream.write_all(request(99).as_bytes()).await.unwrap();
    assert_eq!(message(endpoint).await.1, request(99));
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_is_closed_and_nobody_is_told() {
    let bounds = EndpointBounds { message_bytes: 1_000, ..EndpointBounds::default() };
    let mut bob = bounded("tcp:127.0.0.1:0", bounds).await;
    let too_long = format!("OPTIONS sip:bob@example.com SIP/2.0\r\nSubject: {}\r\n\r\n", "x".repeat(1_000));
    for bytes in ["GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}", &too_long] {
        let mut mallory = TcpStream::connect(address(&bob)).await.unwrap();
        mallory.write_all(bytes.as_bytes()).await.unwrap();
        closed(&mut mallory, &mut bob).await;
    }
    quiet(&mut bob).await;
    assert_eq!(bob.counters(), EndpointCounters { streams_unreadable: 3, ..EndpointCounters::default() });
}

#[tokio::test]
async fn too_many_connections_cost_the_one_that_was_idle_for_longest() {
    let bounds = EndpointBounds { connections: 3, ..EndpointBounds::default() };
    let mut bob = bounded("tcp:127.0.0.1:0", bounds).await;
    let mut peers = Vec::new();
    for number in 0..3 {
        let mut peer = TcpStream::connect(address(&bob)).await.unwrap();
        peer.write_all(request(number).as_bytes()).await.unwrap();
        assert_eq!(message(&mut bob).await.1, request(number));
        tokio::time::sleep(Duration::from_millis(20)).await;
        peers.push(peer);
    }
    // The first speaks again, so the second is the idle one. A message that is not whole does not count.
    peers[1].write_all(b"OPTIONS").await.unwrap();
    peers[0].write_all(request(7).as_bytes()).await.unwrap();
    assert_eq!(message(&mut bob).await.1, request(7));
    let _newcomer = TcpStream::connect(address(&bob)).await.unwrap();
    closed(&mut peers[1], &mut bob).await;
    goes_on(&mut peers[0], &mut bob).await;
    goes_on(&mut peers[2], &mut bob).await;
    assert_eq!(bob.counters().connections_evicted, 1);
}

#[tokio::test]
async fn who_only_connects_drives_out_nobody_who_has_spoken() {
    let bounds = EndpointBounds { connections: 8, ..EndpointBounds::default() };
    let mut bob = bounded("tcp:127.0.0.1:0", bounds).await;
    let mut watchers = Vec::new();
    for number in 0..5 {
        let mut watcher = TcpStream::connect(address(&bob)).await.unwrap();
        watcher.write_all(request(number).as_bytes()).await.unwrap();
        assert_eq!(message(&mut bob).await.1, request(number));
        watchers.push(watcher);
    }
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut mallory = TcpStream::connect(address(&bob)).await.unwrap();
        mallory.write_all(b"OPTIONS sip:bob").await.unwrap();
        silent.push(mallory);
        // The endpoint's turn.
        let _ = tokio::time::timeout(Duration::from_millis(5), bob.next()).await;
    }
    for watcher in &mut watchers {
        goes_on(watcher, &mut bob).await;
    }
    // The last of the silent ones is there, and may speak yet.
    let last = silent.last_mut().unwrap();
    last.write_all(&request(99).as_bytes()[15..]).await.unwrap();
    assert_eq!(message(&mut bob).await.1, request(99));
    assert_eq!(bob.counters().connections_evicted, 47);
}

#[tokio::test]
async fn a_connection_that_is_idle_is_closed() {
    let bounds = EndpointBounds { idle_time: Duration::from_secs(1), ..EndpointBounds::default() };
    let mut bob = bounded("tcp:127.0.0.1:0", bounds).await;
    let mut alice = TcpStream::connect(address(&bob)).await.unwrap();
    for number in 0..5 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        alice.write_all(request(number).as_bytes()).await.unwrap();
        assert_eq!(message(&mut bob).await.1, request(number));
    }
    closed(&mut alice, &mut bob).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_loses_its_connection() {
    let bounds = EndpointBounds { queued_bytes: 10_000, ..EndpointBounds::default() };
    let mut bob = bounded("tcp:127.0.0.1:0", bounds).await;
    let mut slow = TcpStream::connect(address(&bob)).await.unwrap();
    slow.write_all(request(1).as_bytes()).await.unwrap();
    let (hop, _) = message(&mut bob).await;
    let notify = request(2);
    let mut sent = 0;
    let (failed, error) = loop {
        send(&mut bob, hop, &notify);
        sent += notify.len();
        assert!(sent < 100_000_000, "it never ends");
        if sent % (notify.len() * 50) != 0 {
            continue;
        }
        if let Ok(EndpointEvent::Failed { hop, error }) =
            tokio::time::timeout(Duration::from_millis(1), bob.next()).await
        {
            break (hop, error);
        }
    };
    assert_eq!(failed, hop);
    assert_eq!(error.to_string(), "the peer does not read what it is sent");
    assert_eq!(bob.counters().readers_slow, 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_cannot_hold_a_write_for_long() {
    let bounds = EndpointBounds {
        queued_bytes: 100_000_000,
        write_time: Duration::from_millis(100),
        ..EndpointBounds::default()
    };
    let mut bob = bounded("tcp:127.0.0.1:0", bounds).await;
    let mut slow = TcpStream::connect(address(&bob)).await.unwrap();
    slow.write_all(request(1).as_bytes()).await.unwrap();
    let (hop, _) = message(&mut bob).await;
    for number in 0..200_000 {
        send(&mut bob, hop, &request(number));
    }
    let (_, error) = failure(&mut bob).await;
    assert_eq!(error.to_string(), "the peer does not read what it is sent");
    assert_eq!(bob.counters().readers_slow, 1);
}

#[tokio::test]
async fn many_peers_may_be_asked_over_udp() {
    let mut alice = endpoint(&[]).await;
    let mut peers = Vec::new();
    for number in 0..100 {
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let hop = to(&mut alice, Transport::Udp, peer.local_addr().unwrap());
        send(&mut alice, hop, &request(number));
        peers.push((peer, hop));
    }
    let mut buffer = [0; 1_000];
    for (number, (peer, hop)) in peers.iter().enumerate() {
        let received = tokio::time::timeout(PATIENCE, peer.recv_from(&mut buffer)).await;
        let (length, from) = received.unwrap().unwrap();
        assert_eq!(buffer[..length], *request(number).as_bytes());
        assert_eq!(from, hop.local);
    }
    let (last, hop) = peers.last().unwrap();
    last.send_to(OK.as_bytes(), hop.local).await.unwrap();
    assert_eq!(message(&mut alice).await, (*hop, OK.to_owned()));
}

#[tokio::test]
async fn ipv6_is_spoken_too() {
    for transport in ["udp", "tcp"] {
        let listens = vec![format!("{transport}:[::1]:0").parse().unwrap()];
        let Ok(mut bob) = Endpoint::open(EndpointOptions { listens, ..EndpointOptions::default() }).await
        else {
            eprintln!("this machine has no IPv6 loopback");
            return;
        };
        let mut alice = endpoint(&[]).await;
        let hop = to(&mut alice, bob.listening()[0].transport, address(&bob));
        assert!(hop.local.is_ipv6());
        send(&mut alice, hop, &request(1));
        let (at_bob, text) = message(&mut bob).await;
        assert_eq!(text, request(1));
        send(&mut bob, at_bob, OK);
        assert_eq!(message(&mut alice).await.1, OK);
    }
}
