//! A real Kamailio as the presence server, and a watcher of what it says.
//! In: a test's wishes. Out: NOTIFY bodies. Started on a free loopback port, ended by its process id.
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
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use offhook::base::Limits;
use offhook::sip::write::{self, Header, RequestMethod, header, tagged, via};
use offhook::sip::{HeaderName, Method, Scanner};
use tempfile::TempDir;

/// Where the package puts its table definitions.
const TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What kind of presence server is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Ask every PUBLISH for digest credentials: user `tap`, password `secret`.
    pub auth: bool,
    /// Answer 423 to a PUBLISH that asks for less.
    pub least_expires_s: u32,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { auth: false, least_expires_s: 5 }
    }
}

/// A running Kamailio; ends with the value.
pub struct Kamailio {
    wanted: Wanted,
    address: SocketAddr,
    run: TempDir,
    child: Option<Child>,
}

impl Kamailio {
    /// Starts one and waits until it answers OPTIONS.
    ///
    /// # Panics
    /// When Kamailio is not installed or does not come up: interoperability cannot be shown without it.
    pub fn start(wanted: Wanted) -> Self {
        let free = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("its number");
        drop(free);
        let mut kamailio =
            Self { wanted, address, run: TempDir::new().expect("a temporary directory"), child: None };
        kamailio.spawn();
        kamailio
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `--publish` takes.
    pub fn uri(&self) -> String {
        format!("sip:{}", self.address)
    }

    /// Ends it and starts it again on the same port with nothing in its tables.
    pub fn restart(&mut self) {
        self.stop();
        self.spawn();
    }

    /// Ends it.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // The shell's own kill: the program of that name is not on every machine.
        let signal = |name: &str, target: String| {
            let sent = Command::new("bash").args(["-c", "kill \"$0\" -- \"$1\"", name, &target]).status();
            assert!(sent.is_ok_and(|status| status.success()), "no signal {name} to {target}");
        };
        signal("-TERM", child.id().to_string());
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // The group is its own: see process_group below.
        signal("-KILL", format!("-{}", child.id()));
        let _ = child.wait();
    }

    fn spawn(&mut self) {
        let run = self.run.path();
        make_tables(run);
        let config = include_str!("../kamailio/presence.cfg")
            .replace("LEAST_EXPIRES", &self.wanted.least_expires_s.to_string())
            .replace("PORT", &self.address.port().to_string())
            .replace("text://RUN", &format!("text://{}", run.display()));
        fs::write(run.join("presence.cfg"), config).expect("the configuration is written");
        let log = fs::File::create(run.join("log")).expect("a log file");
        let mut command = Command::new("kamailio");
        command
            .args(["-DD", "-E", "-m", "64", "-M", "8", "-f"])
            .arg(run.join("presence.cfg"))
            .arg("-Y")
            .arg(run)
            .arg("-w")
            .arg(run)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file again"))
            .stderr(log)
            .process_group(0);
        if self.wanted.auth {
            command.args(["-A", "WITH_AUTH"]);
        }
        match command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => panic!(
                "Kamailio cannot be started ({error}): install the packages kamailio and kamailio-presence-modules"
            ),
        }
        self.wait_until_ready();
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
            let request = write::request(
                RequestMethod::Options,
                &self.uri(),
                common(local, &format!("ready{attempt}"), "OPTIONS", 1, "sip:test@example.com", &self.uri()),
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
                panic!("Kamailio ended at once ({status}):\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        panic!("Kamailio does not answer OPTIONS:\n{}", self.log());
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.run.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        self.stop();
    }
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

/// Subscribes to one presentity's `presence` and `dialog` and keeps the last body of each.
pub struct Watcher {
    socket: UdpSocket,
    bodies: BTreeMap<String, String>,
}

impl Watcher {
    /// Subscribes to both packages and waits until both are accepted.
    ///
    /// # Panics
    /// When the server does not accept it.
    pub fn subscribe(server: &Kamailio, presentity: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(server.address()).expect("a route to loopback");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut watcher = Self { socket, bodies: BTreeMap::new() };
        let local = watcher.socket.local_addr().expect("an address");
        for (event, accept) in
            [("presence", "application/pidf+xml"), ("dialog", "application/dialog-info+xml")]
        {
            let mut headers = common(local, event, "SUBSCRIBE", 1, "sip:carol@example.com", presentity);
            headers.extend([
                Header::Contact(format!("<sip:carol@{local}>").into()),
                header("Event", event),
                header("Accept", accept),
                header("Expires", "600"),
            ]);
            let request = write::request(RequestMethod::Subscribe, presentity, headers, b"");
            watcher.socket.send(&request.expect("SUBSCRIBE")).expect("it is sent");
            let until = Instant::now() + PATIENCE;
            while watcher.receive() != Some(200) {
                assert!(Instant::now() < until, "SUBSCRIBE to {event} is not accepted:\n{}", server.log());
            }
        }
        watcher
    }

    /// Takes one datagram: answers a NOTIFY and keeps its body; gives the status of a response.
    fn receive(&mut self) -> Option<u16> {
        let mut buffer = [0; 65_535];
        let length = self.socket.recv(&mut buffer).ok()?;
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(&buffer[..length]).ok()?;
        if message.method() == Some(Method::Notify) {
            let answer = write::response_to(&message, 200, None, Vec::new(), b"");
            self.socket.send(&answer.expect("a response")).expect("it is sent");
            let event = String::from_utf8_lossy(message.header(HeaderName::Event).unwrap_or_default());
            let event = event.split(';').next().unwrap_or_default().to_owned();
            let body = String::from_utf8_lossy(message.body()).into_owned();
            self.bodies.insert(event, body);
        }
        message.status()
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
}
