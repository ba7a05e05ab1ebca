//! Real presence servers, and a watcher of what they say.
//! In: a test's wishes. Out: NOTIFY bodies. Started on free loopback ports, ended by their process ids.
//! Knows nothing of the inside of either: Kamailio and `offhook presence` are asked the same.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    dead_code,
    reason = "tests are outside the house, and not each uses everything"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use offhook::base::{Limits, Transport};
use offhook::sip::digest::{DigestChallenge, DigestSession, DigestUser};
use offhook::sip::write::{self, Header, RequestMethod, header, tagged, via};
use offhook::sip::{HeaderName, Method, Scanner};
use tempfile::TempDir;

/// Where Kamailio's package puts its table definitions.
const TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Which program serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kamailio with its presence modules.
    Kamailio,
    /// `offhook presence`.
    Offhook,
}

/// How Kamailio keeps what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In tables, which are searched one record after another: right in all cases, for few presentities.
    Tables,
    /// In hash tables, as fast as it can, with memory for the transactions of a busy server.
    Memory,
}

/// What kind of presence server is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Which program.
    pub kind: Kind,
    /// Ask every PUBLISH for digest credentials: user `tap`, password `secret`.
    pub auth: bool,
    /// Answer 423 to a PUBLISH that asks for less.
    pub least_expires_s: u32,
    /// How Kamailio keeps what is published.
    pub keeping: Keeping,
}

impl Wanted {
    /// Without digest, and with short publications allowed.
    pub const fn new(kind: Kind) -> Self {
        Self { kind, auth: false, least_expires_s: 5, keeping: Keeping::Tables }
    }
}

/// A running presence server: UDP and TCP on one port, TLS on another. Ends with the value.
pub struct PresenceServer {
    wanted: Wanted,
    address: SocketAddr,
    tls_address: SocketAddr,
    run: TempDir,
    child: Option<Child>,
}

/// A loopback address whose port is free over UDP and TCP.
fn free_address() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = udp.local_addr().expect("its number");
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl PresenceServer {
    /// Starts one and waits until it answers OPTIONS.
    ///
    /// # Panics
    /// When it is not installed or does not come up: interoperability cannot be shown without it.
    pub fn start(wanted: Wanted) -> Self {
        let mut server = Self {
            wanted,
            address: free_address(),
            tls_address: free_address(),
            run: TempDir::new().expect("a temporary directory"),
            child: None,
        };
        make_certificate(server.run.path());
        server.spawn();
        server
    }

    /// Where it listens for UDP and TCP.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process group of all its processes; 0 while it does not run.
    pub fn process_group(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// What `--publish` takes.
    pub fn uri(&self, transport: Transport) -> String {
        match transport {
            Transport::Udp => format!("sip:{}", self.address),
            Transport::Tcp => format!("sip:{};transport=tcp", self.address),
            Transport::Tls => format!("sips:{}", self.tls_address),
        }
    }

    /// Whoever trusts this certificate trusts the server.
    pub fn ca_file(&self) -> PathBuf {
        self.run.path().join("certificate.pem")
    }

    /// Ends it and starts it again on the same ports with nothing remembered.
    pub fn restart(&mut self) {
        self.stop();
        self.spawn();
    }

    /// Ends it as a crash would, without a word to anybody.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.signal("-KILL", &format!("-{}", child.id()));
            let _ = child.wait();
        }
    }

    /// Ends it.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        self.signal("-TERM", &child.id().to_string());
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // The group is its own: see process_group below.
        self.signal("-KILL", &format!("-{}", child.id()));
        let _ = child.wait();
    }

    /// The shell's own kill: the program of that name is not on every machine.
    fn signal(&self, name: &str, target: &str) {
        let sent = Command::new("bash").args(["-c", "kill \"$0\" -- \"$1\"", name, target]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal {name} to {target}");
    }

    fn spawn(&mut self) {
        let log = fs::File::create(self.run.path().join("log")).expect("a log file");
        let mut command = match self.wanted.kind {
            Kind::Kamailio => self.kamailio(),
            Kind::Offhook => self.offhook(),
        };
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file again"))
            .stderr(log)
            .process_group(0);
        match command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => panic!(
                "{:?} cannot be started ({error}): scripts/test installs what is needed",
                self.wanted.kind
            ),
        }
        self.wait_until_ready();
    }

    fn kamailio(&self) -> Command {
        let run = self.run.path();
        make_tables(run);
        let config = include_str!("../kamailio/presence.cfg")
            .replace("LEAST_EXPIRES", &self.wanted.least_expires_s.to_string())
            .replace("ADDRESS", "127.0.0.1")
            .replace("TLS_PORT", &self.tls_address.port().to_string())
            .replace("PORT", &self.address.port().to_string())
            .replace("RUN", &run.display().to_string());
        fs::write(run.join("presence.cfg"), config).expect("the configuration is written");
        let mut command = Command::new("kamailio");
        command
            .args(["-DD", "-E", "-M", "8", "-A", "WITH_TLS", "-f"])
            .arg(run.join("presence.cfg"))
            .arg("-Y")
            .arg(run)
            .arg("-w")
            .arg(run);
        match self.wanted.keeping {
            Keeping::Tables => command.args(["-m", "64"]),
            Keeping::Memory => command.args(["-m", "1024", "-A", "IN_MEMORY"]),
        };
        if self.wanted.auth {
            command.args(["-A", "WITH_AUTH"]);
        }
        command
    }

    fn offhook(&self) -> Command {
        let run = self.run.path();
        let users = if self.wanted.auth {
            "realm = \"example.com\"\n[presence.users]\ntap = \"secret\"\n"
        } else {
            ""
        };
        let config = format!(
            "[presence]\nlisten = [\"udp:{0}\", \"tcp:{0}\", \"tls:{1}\"]\ntls_certificate = \"certificate.pem\"\n\
             tls_key = \"key.pem\"\nmin_expires_s = {2}\n{users}",
            self.address, self.tls_address, self.wanted.least_expires_s
        );
        fs::write(run.join("offhook.toml"), config).expect("the configuration is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
        command.arg("--config").arg(run.join("offhook.toml")).arg("presence");
        command
    }

    fn wait_until_ready(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(self.address).expect("a route to loopback");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let until = Instant::now() + PATIENCE;
        let mut attempt = 0;
        let mut buffer = [0; 4_096];
        while Instant::now() < until {
            attempt += 1;
            let local = socket.local_addr().expect("an address");
            let uri = self.uri(Transport::Udp);
            let request = write::request(
                RequestMethod::Options,
                &uri,
                common(local, &format!("ready{attempt}"), "OPTIONS", 1, "sip:test@example.com", &uri),
                b"",
            );
            let _ = socket.send(&request.expect("OPTIONS"));
            if socket.recv(&mut buffer).is_ok() {
                return;
            }
            if let Some(child) = &mut self.child
                && let Ok(Some(status)) = child.try_wait()
            {
                self.child = None;
                panic!("{:?} ended at once ({status}):\n{}", self.wanted.kind, self.log());
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        panic!("{:?} does not answer OPTIONS:\n{}", self.wanted.kind, self.log());
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.run.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PresenceServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A certificate for 127.0.0.1 that is its own authority, and its key.
fn make_certificate(run: &Path) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])
        .expect("a certificate");
    fs::write(run.join("certificate.pem"), made.cert.pem()).expect("it is written");
    fs::write(run.join("key.pem"), made.signing_key.serialize_pem()).expect("it is written");
}

/// Empty tables: the definition is the first line of those that come with the package.
fn make_tables(run: &Path) {
    let directory = run.join("tables");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).expect("a directory for tables");
    for table in ["version", "presentity", "active_watchers", "watchers", "xcap", "subscriber"] {
        let Ok(shipped) = fs::read_to_string(Path::new(TABLES).join(table)) else {
            panic!(
                "{TABLES}/{table} is missing: install the packages kamailio and kamailio-presence-modules"
            );
        };
        let contents = match table {
            "version" => shipped,
            _ => {
                let mut definition = shipped.lines().next().unwrap_or_default().to_owned();
                definition.push('\n');
                if table == "subscriber" {
                    definition.push_str("1:tap:example.com:secret:-:-\n");
                }
                definition
            }
        };
        fs::write(directory.join(table), contents).expect("a table is written");
    }
}

fn common(local: SocketAddr, token: &str, method: &str, cseq: u32, from: &str, to: &str) -> Vec<Header> {
    vec![
        via("UDP", local, &format!("z9hG4bK{token}{cseq}")),
        Header::MaxForwards("70".to_owned().into()),
        Header::From(tagged(from, Some(token)).into()),
        Header::To(tagged(to, None).into()),
        Header::CallId(format!("{token}-{}", local.port()).into()),
        Header::CSeq(format!("{cseq} {method}").into()),
    ]
}

struct Answered {
    status: u16,
    challenge: Option<DigestChallenge>,
}

/// Subscribes to one presentity's `presence` and `dialog` and keeps the last body of each.
pub struct Watcher {
    socket: UdpSocket,
    bodies: BTreeMap<String, String>,
    /// All that it was told, in order.
    told: Vec<(String, String)>,
    /// The CSeq number of the newest NOTIFY of each package.
    newest: BTreeMap<String, u32>,
}

impl Watcher {
    /// Subscribes to both packages and waits until both are accepted.
    ///
    /// # Panics
    /// When the server does not accept it.
    pub fn subscribe(server: &PresenceServer, presentity: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(server.address()).expect("a route to loopback");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut watcher = Self { socket, bodies: BTreeMap::new(), told: Vec::new(), newest: BTreeMap::new() };
        let local = watcher.socket.local_addr().expect("an address");
        for (event, accept) in
            [("presence", "application/pidf+xml"), ("dialog", "application/dialog-info+xml")]
        {
            let mut credentials = None;
            let mut cseq = 1;
            let until = Instant::now() + PATIENCE;
            loop {
                let mut headers =
                    common(local, event, "SUBSCRIBE", cseq, "sip:carol@example.com", presentity);
                headers.extend([
                    Header::Contact(format!("<sip:carol@{local}>").into()),
                    header("Event", event),
                    header("Accept", accept),
                    header("Expires", "600"),
                ]);
                headers.extend(credentials.take());
                let request =
                    write::request(RequestMethod::Subscribe, presentity, headers, b"").expect("SUBSCRIBE");
                let answer = loop {
                    assert!(
                        Instant::now() < until,
                        "SUBSCRIBE to {event} is not accepted:\n{}",
                        server.log()
                    );
                    // Sent again until it is answered, as over UDP every request is (RFC 3261 section 17.1.2.2).
                    watcher.socket.send(&request).expect("it is sent");
                    let again_at = Instant::now() + Duration::from_millis(500);
                    let answer = loop {
                        match watcher.receive() {
                            Some(answer) if answer.status >= 200 => break Some(answer),
                            _ if Instant::now() >= again_at => break None,
                            _ => {}
                        }
                    };
                    if let Some(answer) = answer {
                        break answer;
                    }
                };
                let Some(challenge) = answer.challenge else {
                    assert_eq!(answer.status, 200, "SUBSCRIBE to {event}:\n{}", server.log());
                    break;
                };
                let user = DigestUser { user: "tap".to_owned(), password: "secret".to_owned() };
                let mut session = DigestSession::new(challenge, "c0ffee".to_owned());
                credentials = Some(header("Authorization", session.answer(&user, "SUBSCRIBE", presentity)));
                cseq += 1;
            }
        }
        watcher
    }

    /// Takes one datagram: answers a NOTIFY and keeps its body; gives what a response says.
    fn receive(&mut self) -> Option<Answered> {
        let mut buffer = [0; 65_535];
        let length = self.socket.recv(&mut buffer).ok()?;
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(&buffer[..length]).ok()?;
        if message.method() == Some(Method::Notify) {
            let answer = write::response_to(&message, 200, None, Vec::new(), b"");
            self.socket.send(&answer.expect("a response")).expect("it is sent");
            let event = String::from_utf8_lossy(message.header(HeaderName::Event).unwrap_or_default());
            let event = event.split(';').next().unwrap_or_default().to_owned();
            // One that was overtaken, or comes again, says nothing new (RFC 3261 section 12.2.2).
            let number = message.cseq().number;
            if self.newest.get(&event).is_none_or(|newest| number > *newest) {
                let body = String::from_utf8_lossy(message.body()).into_owned();
                self.newest.insert(event.clone(), number);
                self.told.push((event.clone(), body.clone()));
                self.bodies.insert(event, body);
            }
        }
        let challenge = DigestChallenge::strongest(message.challenges());
        message.status().map(|status| Answered { status, challenge })
    }

    /// Waits until the last body of the package pleases, and gives it.
    ///
    /// # Panics
    /// When that takes too long; says what the last body was.
    pub fn wait_for(&mut self, event: &str, what: &str, pleases: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(body) = self.bodies.get(event)
                && pleases(body)
            {
                return body.clone();
            }
            assert!(
                Instant::now() < until,
                "the watcher of {event} never saw {what}; last it saw:\n{}",
                self.bodies.get(event).map_or("nothing", String::as_str)
            );
            self.receive();
        }
    }

    /// All bodies of the package so far, in order.
    pub fn told(&self, event: &str) -> impl Iterator<Item = &str> {
        self.told.iter().filter(move |(of, _)| of == event).map(|(_, body)| body.as_str())
    }
}
