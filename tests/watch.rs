//! `offhook watch` and `replay --watch` against servers on loopback: a notifier that does as a test wants, and Kamailio.
//! In: arguments. Out: what was printed, the exit code, what the server saw. Needs the packages kamailio and
//! kamailio-presence-modules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test's helpers are tests, and the server is outside the house"
)]

#[path = "support/presence_server.rs"]
mod presence_server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use offhook::base::{Limits, Transport};
use offhook::sip::write::{self, Header, RequestMethod, header, via};
use offhook::sip::{HeaderName, Method, Scanner};
use presence_server::{Kind, PresenceServer, Wanted};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);
const OPEN: &str = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:bob@example.com\">\
                    <tuple id=\"t\"><status><basic>open</basic></status></tuple></presence>";

fn offhook(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command
        .args(arguments)
        .env_remove("OFFHOOK_CONFIG")
        .env("COLUMNS", "130")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn watch(server: &str, more: &[&str]) -> Child {
    let arguments = ["watch", "bob@example.com", "--events", "presence", "--server", server];
    offhook(&[&arguments[..], more].concat()).spawn().unwrap()
}

/// Exit code and what was said on standard error.
fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// What a server does with a request that it heard, whatever brought it: the messages to send back.
fn accept(local: SocketAddr, transport: &str, bytes: &[u8], cseq: u32) -> Vec<Vec<u8>> {
    let mut scanner = Scanner::new(&Limits::default());
    let request = scanner.scan(bytes).unwrap();
    if request.method() != Some(Method::Subscribe) {
        return Vec::new();
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let expires_s = request.expires().unwrap();
    let field = |name: HeaderName| text(request.header(name).unwrap());
    let from = match request.to_tag() {
        Some(_) => field(HeaderName::To),
        None => format!("{};tag=server", field(HeaderName::To)),
    };
    let contact = format!("<sip:{local};transport={transport}>");
    let more = vec![header("Expires", expires_s.to_string()), header("Contact", contact.clone())];
    let answer = write::response_to(&request, 200, Some("server"), more, b"").unwrap();
    let (state, body) = match expires_s {
        0 => ("terminated;reason=timeout".to_owned(), ""),
        seconds => (format!("active;expires={seconds}"), OPEN),
    };
    let headers = vec![
        via(&transport.to_uppercase(), local, &format!("z9hG4bKn{cseq}")),
        Header::MaxForwards("70".to_owned().into()),
        header("From", from),
        header("To", field(HeaderName::From)),
        header("Call-ID", field(HeaderName::CallId)),
        header("CSeq", format!("{cseq} NOTIFY")),
        header("Contact", contact),
        header("Event", "presence"),
        header("Subscription-State", state),
        header("Content-Type", "application/pidf+xml"),
    ];
    let target = text(request.contacts().next().unwrap().addr.uri);
    let notify = write::request(RequestMethod::Notify, &target, headers, body.as_bytes()).unwrap();
    vec![answer, notify]
}

fn udp_server() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let uri = format!("sip:{}", socket.local_addr().unwrap());
    (socket, uri)
}

/// Hears the next request over UDP.
fn hear(server: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    loop {
        let mut buffer = [0; 65_535];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        if !buffer.starts_with(b"SIP/2.0") {
            return (buffer[..length].to_vec(), from);
        }
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

fn terminate(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().unwrap().success());
}

#[test]
fn what_a_server_tells_is_printed_and_a_signal_ends_the_subscription() {
    let (server, uri) = udp_server();
    let local = server.local_addr().unwrap();
    let mut child = watch(&uri, &["--format", "jsonl"]);
    let (subscribe, from) = hear(&server);
    assert!(subscribe.starts_with(b"SUBSCRIBE sip:bob@example.com SIP/2.0\r\n"));
    for message in accept(local, "udp", &subscribe, 1) {
        server.send_to(&message, from).unwrap();
    }
    let told: Value = serde_json::from_str(&first_line(&mut child)).unwrap();
    assert_eq!((&told["kind"], &told["presentity"]), (&"told".into(), &"sip:bob@example.com".into()));
    assert_eq!((&told["subscription"], &told["open"]), (&"active".into(), &true.into()));

    terminate(&child);
    let (unsubscribe, from) = hear(&server);
    assert!(String::from_utf8_lossy(&unsubscribe).contains("\r\nExpires: 0\r\n"));
    for message in accept(local, "udp", &unsubscribe, 2) {
        server.send_to(&message, from).unwrap();
    }
    assert_eq!(end(child), (Some(0), String::new()));
}

/// One message of a connection.
fn read_message(stream: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let begin = head.len();
        assert_ne!(stream.read_until(b'\n', &mut head).unwrap(), 0, "the connection was closed");
        let line = String::from_utf8_lossy(&head[begin..]).into_owned();
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head.extend(body);
    head
}

#[test]
fn over_tcp_the_server_may_notify_over_the_connection_that_is_open() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap();
    let mut child = watch(&format!("sip:{local};transport=tcp"), &[]);
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut out = stream.try_clone().unwrap();
    let mut stream = BufReader::new(stream);
    let subscribe = read_message(&mut stream);
    for message in accept(local, "tcp", &subscribe, 1) {
        out.write_all(&message).unwrap();
    }
    assert!(read_message(&mut stream).starts_with(b"SIP/2.0 200 OK\r\n"), "the NOTIFY is answered");
    let line = first_line(&mut child);
    assert!(line.ends_with("Z  ◆ bob@example.com  open\n"), "{line}");
    terminate(&child);
    let unsubscribe = read_message(&mut stream);
    for message in accept(local, "tcp", &unsubscribe, 2) {
        out.write_all(&message).unwrap();
    }
    assert_eq!(end(child).0, Some(0));
}

#[test]
fn a_server_that_refuses_everything_is_told_in_a_sentence_and_exit_1() {
    for (status, said) in [(403, "refused to be watched: 403 Forbidden"), (401, "wants credentials")] {
        let (server, uri) = udp_server();
        let child = watch(&uri, &[]);
        let (subscribe, from) = hear(&server);
        let mut scanner = Scanner::new(&Limits::default());
        let request = scanner.scan(&subscribe).unwrap();
        let answer = write::response_to(&request, status, Some("server"), Vec::new(), b"").unwrap();
        server.send_to(&answer, from).unwrap();
        let (code, err) = end(child);
        assert_eq!(code, Some(1));
        assert!(err.contains(said) && err.contains(&uri), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn a_server_that_does_not_answer_is_told_in_a_sentence_and_exit_1() {
    let (server, uri) = udp_server();
    let (code, err) = end(watch(&uri, &["--for", "1"]));
    assert_eq!((code, err), (Some(1), format!("offhook: the presence server {uri} does not answer\n")));
    drop(server);
    let (code, err) = end(watch(&uri, &[]));
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with(&format!("offhook: the presence server {uri} does not answer: udp:127.0.0.1:")),
        "{err}"
    );
    assert!(err.contains("refused") && err.lines().count() == 1, "{err}");
    let (code, err) = end(watch("sip:presence.invalid", &[]));
    assert_eq!(code, Some(1));
    assert!(err.starts_with("offhook: cannot watch: `presence.invalid` cannot be resolved"), "{err}");
}

#[test]
fn a_replay_shows_beside_the_ladder_what_kamailio_tells_a_watcher() {
    let server = PresenceServer::start(Wanted::new(Kind::Kamailio));
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/office-morning.pcap");
    let arguments = ["replay", "--publish", &server.uri(Transport::Udp), "--watch", "--speed", "5"];
    let output = offhook(&arguments).arg(capture).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("what a watcher is told"), "{text}");
    // Each in its order; how much else is told depends on how the server gathers what changes quickly.
    let mut rest = text.as_str();
    for told in [
        "◆ bob     open\n",
        "◆ bob     early from alice\n",
        "◆ bob     open, on the phone\n",
        "◆ bob     closed\n",
    ] {
        let at = rest.find(told).unwrap_or_else(|| panic!("no {told:?} in its order:\n{text}"));
        rest = &rest[at + told.len()..];
    }
    for line in text.lines().skip(2) {
        assert!(line.chars().count() <= 130, "{line}");
    }
}
