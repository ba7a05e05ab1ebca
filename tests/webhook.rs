//! Webhooks end to end: the program, and an HTTP server on loopback that is not always well.
//! In: `captures/office-morning.pcap`. Out: what arrives, in which order, how signed, and what the user is told. Knows
//! nothing of the machine inside.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this is the other side's server")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use offhook::base::Timestamp;
use offhook::config::WebhookSection;
use offhook::io::http::WebhookHandle;
use offhook::io::output::LineSink;
use offhook::publish::{Line, LineKind, WebhookCounters};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tempfile::TempDir;

/// A request as the server read it, and what it answered.
#[derive(Clone)]
struct Request {
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: String,
    answered: u16,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What the server does with a request.
enum Act {
    /// Answers with this status and these further header lines.
    Answer(u16, &'static str),
    /// Answers 200 and then sends a body for as long as anybody reads.
    AnswerWithoutEnd,
    /// Breaks the connection, and is not there for so long.
    Die(Duration),
}

const OK: Act = Act::Answer(204, "");

struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves HTTP; `script` says what to do with each request, by its number from 0.
    fn start(script: impl FnMut(usize) -> Act + Send + 'static) -> Self {
        Self::start_over(|stream| Box::new(stream), script)
    }

    fn start_over(
        wrap: impl Fn(std::net::TcpStream) -> Box<dyn Stream> + Send + 'static,
        mut script: impl FnMut(usize) -> Act + Send + 'static,
    ) -> Self {
        let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            loop {
                let mut stream = wrap(listener.accept().unwrap().0);
                let Some((headers, body)) = read_request(stream.as_mut()) else { continue };
                let number = seen.lock().unwrap().len();
                let act = script(number);
                let answered = match act {
                    Act::Answer(status, _) => status,
                    Act::AnswerWithoutEnd => 200,
                    Act::Die(_) => 0,
                };
                seen.lock().unwrap().push(Request { headers, body, answered });
                match act {
                    Act::Answer(status, headers) => {
                        let head =
                            format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: 0\r\n");
                        stream.write_all(format!("{head}{headers}\r\n").as_bytes()).unwrap();
                    }
                    Act::AnswerWithoutEnd => {
                        stream.write_all(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n").unwrap();
                        while stream.write_all(&[b'x'; 1_024]).is_ok() {}
                    }
                    Act::Die(time) => {
                        drop((stream, listener));
                        thread::sleep(time);
                        listener = TcpListener::bind(address).unwrap();
                    }
                }
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("http://{}/offhook?token=t0ken", self.address)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Those that it took.
    fn taken(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| (200..300).contains(&request.answered)).collect()
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn read_request(stream: &mut dyn Stream) -> Option<(Vec<(String, String)>, String)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            assert!(lines.next().unwrap().starts_with("POST /offhook?token=t0ken HTTP/1.1"), "{head}");
            let headers: Vec<(String, String)> = lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let length =
                headers.iter().find(|(name, _)| name == "content-length").unwrap().1.parse().unwrap();
            if body.len() >= length {
                return Some((headers, body.to_owned()));
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(length) => bytes.extend(&piece[..length]),
        }
    }
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// The lines of a kind, to the letter.
    fn lines(&self, kind: &str) -> Vec<&str> {
        let start = format!("{{\"kind\":\"{kind}\",");
        self.out.lines().filter(|line| line.starts_with(&start)).collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn offhook(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_offhook"))
        .args(arguments)
        // Nothing listens there: who heeded it would deliver nothing.
        .envs(
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"]
                .map(|name| (name, "http://127.0.0.1:9")),
        )
        .env_remove("OFFHOOK_CONFIG")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Replays the office's morning with these `[[webhook]]` tables.
fn replay(folder: &TempDir, tables: &str) -> Ran {
    let config = folder.path().join("offhook.toml");
    fs::write(&config, tables).unwrap();
    let capture = root().join("captures/office-morning.pcap");
    let (config, capture) = (config.to_str().unwrap(), capture.to_str().unwrap());
    offhook(&["replay", "--format", "jsonl", "--webhooks", "--config", config, capture])
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The example of the README, as a receiver has it: does it accept these requests?
fn accepted_by_the_readme(secret: &str, requests: &[Request]) -> bool {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = readme.split_once("```python\n").unwrap().1.split_once("```").unwrap().0;
    let main = "import json, sys\n\
                for secret, headers, body in json.load(sys.stdin):\n    \
                if not verify(secret, headers, body.encode()): sys.exit(3)\n";
    let mut python = Command::new("python3")
        .args(["-c", &format!("{example}\n{main}")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let input: Vec<Value> = requests
        .iter()
        .map(|request| {
            let headers: serde_json::Map<String, Value> =
                request.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
            serde_json::json!([secret, headers, request.body])
        })
        .collect();
    python.stdin.take().unwrap().write_all(serde_json::to_string(&input).unwrap().as_bytes()).unwrap();
    match python.wait().unwrap().code() {
        Some(0) => true,
        Some(3) => false,
        other => panic!("the example of the README ended with {other:?}"),
    }
}

fn assert_arrived(taken: &[Request], lines: &[&str]) {
    assert_eq!(taken.len(), lines.len());
    for (request, line) in taken.iter().zip(lines) {
        assert!(request.body.ends_with(&format!("\"data\":{line}}}")), "{}\n is not {line}", request.body);
    }
    let mut ids: Vec<&str> = taken.iter().map(|request| request.header("webhook-id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), lines.len(), "each event has its own id");
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn each_status_line_arrives_once_in_order_and_signed() {
    let server = Server::start(|_| OK);
    let folder = folder();
    let ran = replay(
        &folder,
        &format!("[[webhook]]\nurl = \"{}\"\nsecret = \"{SECRET}\"\nsource = \"/tap\"\n", server.url()),
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let (taken, lines) = (server.taken(), ran.lines("status"));
    assert!(lines.len() > 10);
    assert_arrived(&taken, &lines);
    assert!(accepted_by_the_readme(SECRET, &taken));
    assert!(!accepted_by_the_readme("whsec_AAAA", &taken[..1]));
    let mut forged = taken[0].clone();
    forged.body = forged.body.replace("online", "offline");
    assert!(!accepted_by_the_readme(SECRET, &[forged]));

    let (request, line) = (&taken[0], serde_json::from_str::<Value>(lines[0]).unwrap());
    assert_eq!(request.header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert!(request.header("user-agent").starts_with("offhook/"));
    let event = request.event();
    assert_eq!((&event["specversion"], &event["type"]), (&"1.0".into(), &"offhook.status.v1".into()));
    assert_eq!((&event["source"], &event["datacontenttype"]), (&"/tap".into(), &"application/json".into()));
    assert_eq!((&event["subject"], &event["time"]), (&line["presentity"], &line["time"]));
    assert_eq!(event["id"], request.header("webhook-id"));
    assert_eq!(event["data"], line);
}

#[test]
fn an_endpoint_that_stumbles_still_has_every_event_once_in_order() {
    let server = Server::start(|number| match number {
        1 => Act::Answer(500, ""),
        3 => Act::Answer(429, "Retry-After: 1\r\n"),
        6 => Act::Die(Duration::from_millis(1_200)),
        8 => Act::AnswerWithoutEnd,
        _ => OK,
    });
    let folder = folder();
    let secrets = format!("{SECRET}\nthe old one, in words\n");
    fs::write(folder.path().join("secrets"), secrets).unwrap();
    let ran =
        replay(&folder, &format!("[[webhook]]\nurl = \"{}\"\nsecret_file = \"secrets\"\n", server.url()));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("it answered 500; events wait and are tried again"), "{}", ran.err);
    assert!(!ran.err.contains("t0ken"), "{}", ran.err);
    let (taken, requests) = (server.taken(), server.requests());
    assert_arrived(&taken, &ran.lines("status"));
    assert!(accepted_by_the_readme(SECRET, &taken));
    assert!(accepted_by_the_readme("the old one, in words", &taken));
    for again in [1, 3, 6] {
        let (first, second) = (&requests[again], &requests[again + 1]);
        assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
        assert_eq!(first.body, second.body);
    }
    assert!(taken[0].event()["source"].as_str().unwrap().starts_with("urn:offhook:"));
}

#[test]
fn several_endpoints_have_each_the_kinds_that_they_want() {
    let (all, some) = (Server::start(|_| OK), Server::start(|_| OK));
    let folder = folder();
    let ran = replay(
        &folder,
        &format!(
            "[[webhook]]\nurl = \"{}\"\nkinds = [\"status\", \"contact\", \"publication\", \"oddity\", \"summary\"]\n\
             [[webhook]]\nurl = \"{}\"\nkinds = [\"summary\"]\n",
            all.url(),
            some.url()
        ),
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_arrived(&all.taken(), &lines);
    assert_arrived(&some.taken(), &ran.lines("summary"));
    assert_eq!(some.taken()[0].event()["type"], "offhook.summary.v1");
    assert_eq!(some.taken()[0].header("webhook-signature"), "", "there is no secret");
}

#[test]
fn what_an_endpoint_refuses_is_told_and_exit_1() {
    for (answer, said) in [(404, "as it answered 404"), (410, "as it answered 410 and is switched off")] {
        let server = Server::start(move |number| if number == 2 { Act::Answer(answer, "") } else { OK });
        let folder = folder();
        let ran = replay(&folder, &format!("[[webhook]]\nurl = \"{}\"\n", server.url()));
        assert_eq!(ran.code, 1);
        let told: Vec<&str> = ran.err.lines().collect();
        // More than one where the replay takes its time: what is dropped is told every now and then.
        let (end, dropped) = told.split_last().unwrap();
        let name = format!("offhook: webhook 1 (http://{})", server.address);
        let is_told = |line: &&str| line.starts_with(&name) && line.ends_with(said);
        assert!(!dropped.is_empty() && dropped.iter().all(is_told), "{}", ran.err);
        let lines = ran.lines("status").len();
        let lost = if answer == 410 { lines - 2 } else { 1 };
        let expected = format!("{name} did not take everything: {lost} of {lines} events were not delivered");
        assert!(end.starts_with(&expected), "{end}");
        assert_eq!(server.taken().len(), lines - lost);
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_| OK);
    let location: &'static str = format!("Location: {}\r\n", elsewhere.url()).leak();
    let server = Server::start(move |_| Act::Answer(307, location));
    let folder = folder();
    let ran = replay(&folder, &format!("[[webhook]]\nurl = \"{}\"\n", server.url()));
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("it answered 307"), "{}", ran.err);
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn nothing_is_sent_unless_it_is_asked_for() {
    let server = Server::start(|_| OK);
    let folder = folder();
    let config = folder.path().join("offhook.toml");
    fs::write(&config, format!("[[webhook]]\nurl = \"{}\"\n", server.url())).unwrap();
    let capture = root().join("captures/office-morning.pcap");
    let (config, capture) = (config.to_str().unwrap(), capture.to_str().unwrap());
    assert_eq!(offhook(&["replay", "--config", config, capture]).code, 0);
    assert_eq!(offhook(&["config", "check", config]).code, 0);
    assert!(server.requests().is_empty());

    let ran = offhook(&["replay", "--webhooks", capture]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("the configuration has no [[webhook]] table"), "{}", ran.err);
}

#[test]
fn a_secret_is_shown_to_nobody() {
    let folder = folder();
    let config = folder.path().join("offhook.toml");
    fs::write(&config, "[[webhook]]\nurl = \"https://hooks.example.com\"\nsecret = \"s3cret\"\n").unwrap();
    let ran = offhook(&["config", "show", "--config", config.to_str().unwrap()]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("url = \"https://hooks.example.com\""), "{}", ran.out);
    assert!(ran.out.contains("secret is set, and not shown") && !ran.out.contains("s3cret"), "{}", ran.out);
}

/// An authority, and a server at 127.0.0.1 that it vouches for.
fn https_server() -> (Server, String) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.unwrap().into()], key)
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |stream| -> Box<dyn Stream> {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        Box::new(rustls::StreamOwned::new(connection, stream))
    };
    (Server::start_over(wrap, |_| OK), authority_pem)
}

#[test]
fn https_to_a_server_that_the_given_authority_vouches_for() {
    let (server, authority) = https_server();
    let folder = folder();
    fs::write(folder.path().join("ca.pem"), authority).unwrap();
    let url = server.url().replace("http:", "https:");
    let ran = replay(&folder, &format!("[[webhook]]\nurl = \"{url}\"\nca_file = \"ca.pem\"\n"));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_arrived(&server.taken(), &ran.lines("status"));
}

#[test]
fn an_authority_file_that_is_none_is_told_before_anything_is_read() {
    let folder = folder();
    let table = "[[webhook]]\nurl = \"https://127.0.0.1:9/\"\nca_file = \"ca.pem\"\n";
    for (text, said) in [
        (None, "ca.pem: "),
        (Some("not PEM"), "ca.pem: it holds no certificate in PEM form"),
        (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "ca.pem: "),
    ] {
        if let Some(text) = text {
            fs::write(folder.path().join("ca.pem"), text).unwrap();
        }
        let ran = replay(&folder, table);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (1, "", 1), "{}", ran.err);
        assert!(ran.err.contains(said), "{}", ran.err);
        let config = folder.path().join("offhook.toml");
        let checked = offhook(&["config", "check", config.to_str().unwrap()]);
        assert_eq!((checked.code, checked.err), (1, ran.err));
    }
}

/// Hands over so many lines and waits for so long; what was said, and the counters and the failure at the end.
fn hand_over(section: WebhookSection, count: u32, ms: u64) -> (Vec<String>, WebhookCounters, Option<String>) {
    let mut handle = WebhookHandle::start(&[section]).unwrap();
    let mut lines = handle.lines();
    for number in 0..count {
        let json = number.to_string();
        let line = Line {
            kind: LineKind::Status,
            time: Some(Timestamp::EPOCH),
            presentity: None,
            json: json.as_bytes(),
        };
        lines.take(&line).unwrap();
    }
    let report = handle.finish(Duration::from_millis(ms)).pop().unwrap();
    (std::iter::from_fn(|| handle.poll_notice()).collect(), report.counters, report.last_failure)
}

#[test]
fn nobody_is_waited_for_longer_than_asked_and_what_is_left_is_known() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let began = Instant::now();
    let (told, counters, failure) = hand_over(WebhookSection::new(&format!("http://{closed}/")), 3, 1_500);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(counters, WebhookCounters { delivered: 0, dropped: 0, waiting: 3 });
    assert!(failure.unwrap().contains("refused"));
    assert!(told[0].contains("it cannot be reached (Connection refused"), "{told:?}");

    // One that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let began = Instant::now();
    let (_, counters, failure) = hand_over(WebhookSection::new(&url), 3, 1_500);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((counters.waiting, failure), (3, None), "the first attempt still goes on");

    let (told, counters, failure) = hand_over(WebhookSection::new(&url), 1, 12_000);
    assert_eq!((counters.waiting, failure.as_deref()), (1, Some("no answer within 10 s")));
    assert!(told[0].contains("it cannot be reached (no answer within 10 s)"), "{told:?}");
}

#[test]
fn a_server_that_another_authority_vouches_for_is_told_nothing() {
    let ((server, _), (_, other_authority)) = (https_server(), https_server());
    let folder = folder();
    let ca_file: PathBuf = folder.path().join("ca.pem");
    fs::write(&ca_file, other_authority).unwrap();
    let url = server.url().replace("http:", "https:");
    let section = WebhookSection { ca_file: Some(ca_file), ..WebhookSection::new(&url) };
    let (_, counters, failure) = hand_over(section, 1, 1_500);
    assert_eq!(counters.waiting, 1);
    assert!(failure.as_ref().is_some_and(|failure| failure.contains("certificate")), "{failure:?}");
    assert!(server.requests().is_empty());
}
