//! TLS between endpoints: who is believed, and who is not.

use std::fs;

use super::*;
use crate::io::tls::{client_tls, server_tls};

const NAME: &str = "presence.example.com";

/// A certificate for these names, signed by itself, with whom to believe to trust it.
fn identity(names: &[&str]) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let own = rcgen::generate_simple_self_signed(names).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    fs::write(&certificate, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    (server_tls(&certificate, &key).unwrap(), client_tls(Some(&certificate)).unwrap())
}

async fn server(tls: Arc<ServerConfig>) -> Endpoint {
    let listens = vec!["tls:127.0.0.1:0".parse().unwrap()];
    let options = EndpointOptions { listens, server_tls: Some(tls), ..EndpointOptions::default() };
    Endpoint::open(options).await.unwrap()
}

async fn client(tls: Arc<ClientConfig>) -> Endpoint {
    Endpoint::open(EndpointOptions { client_tls: Some(tls), ..EndpointOptions::default() }).await.unwrap()
}

async fn refused(alice: &mut Endpoint, bob: &mut Endpoint, hop: Hop) -> String {
    send(alice, hop, &request(1));
    let (failed, error) = tokio::select! {
        failure = failure(alice) => failure,
        event = bob.next() => panic!("{event:?}"),
    };
    assert_eq!((failed.transport, failed.remote), (Transport::Tls, hop.remote));
    error.to_string()
}

#[tokio::test]
async fn messages_go_both_ways_under_the_right_name() {
    let (own, trusting) = identity(&[NAME]);
    let (mut alice, mut bob) = (client(trusting).await, server(own).await);
    let hop = to(&mut alice, Transport::Tls, address(&bob));
    alice.expect_name(hop.remote, NAME);
    for number in 0..50 {
        send(&mut alice, hop, &request(number));
    }
    for number in 0..50 {
        let event =
            tokio::select! { event = next(&mut bob) => event, event = alice.next() => panic!("{event:?}") };
        let EndpointEvent::Message { hop: at_bob, bytes } = event else { panic!("{event:?}") };
        assert_eq!(String::from_utf8(bytes).unwrap(), request(number));
        assert_eq!((at_bob.transport, at_bob.local), (Transport::Tls, hop.remote));
        send(&mut bob, at_bob, OK);
    }
    for _ in 0..50 {
        assert_eq!(message(&mut alice).await.1, OK);
    }
}

#[tokio::test]
async fn a_certificate_may_name_the_address() {
    let (own, trusting) = identity(&["127.0.0.1"]);
    let (mut alice, mut bob) = (client(trusting).await, server(own).await);
    let hop = to(&mut alice, Transport::Tls, address(&bob));
    send(&mut alice, hop, &request(1));
    assert_eq!(message(&mut bob).await.1, request(1));
}

#[tokio::test]
async fn another_name_or_an_unknown_signer_is_refused() {
    let (own, trusting) = identity(&[NAME]);
    let (_, trusting_another) = identity(&[NAME]);
    let mut bob = server(own).await;
    let mut alice = client(trusting).await;
    let hop = to(&mut alice, Transport::Tls, address(&bob));
    alice.expect_name(hop.remote, "other.example.com");
    let said = refused(&mut alice, &mut bob, hop).await;
    assert!(said.contains("not valid for name"), "{said}");
    let mut carol = client(trusting_another).await;
    carol.expect_name(hop.remote, NAME);
    let said = refused(&mut carol, &mut bob, hop).await;
    assert!(said.contains("certificate"), "{said}");
    let mut dave = endpoint(&[]).await;
    let said = refused(&mut dave, &mut bob, hop).await;
    assert!(said.contains("no certificates are known"), "{said}");
}

#[tokio::test]
async fn a_connection_verified_for_one_name_is_not_used_for_another() {
    let (own, trusting) = identity(&[NAME]);
    let (mut alice, mut bob) = (client(trusting).await, server(own).await);
    let hop = to(&mut alice, Transport::Tls, address(&bob));
    alice.expect_name(hop.remote, NAME);
    send(&mut alice, hop, &request(1));
    let (at_bob, _) = message(&mut bob).await;
    send(&mut bob, at_bob, OK);
    assert_eq!(message(&mut alice).await.1, OK);
    alice.expect_name(hop.remote, "other.example.com");
    let said = refused(&mut alice, &mut bob, hop).await;
    assert!(said.contains("not valid for name"), "{said}");
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends() {
    let (own, trusting) = identity(&[NAME]);
    let bounds = EndpointBounds { open_time: Duration::from_millis(100), ..EndpointBounds::default() };
    let listens = vec!["tls:127.0.0.1:0".parse().unwrap()];
    let options = EndpointOptions { listens, server_tls: Some(own), client_tls: Some(trusting), bounds };
    let mut bob = Endpoint::open(options).await.unwrap();
    let mut silent_client = TcpStream::connect(address(&bob)).await.unwrap();
    let mut nothing = [0];
    tokio::select! {
        read = tokio::time::timeout(PATIENCE, silent_client.read(&mut nothing)) => assert_eq!(read.unwrap().unwrap(), 0),
        event = bob.next() => panic!("{event:?}"),
    }
    let silent_server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop = to(&mut bob, Transport::Tls, silent_server.local_addr().unwrap());
    send(&mut bob, hop, &request(1));
    let (_, error) = failure(&mut bob).await;
    assert_eq!(error.to_string(), "the TLS handshake took longer than 0.1 s");
}
