//! The testbed of `scripts/testbed`, for tests and benches: network namespaces with phones, a PBX, a presence server, a
//! mirror port.
//! In: options of `scripts/testbed up`. Out: programs and threads at its hosts. Ends with the value. Needs root.
//! Knows nothing of what offhook makes of it.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    dead_code,
    reason = "tests are outside the house, and not each uses everything"
)]

pub mod program;
pub mod truth;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Where the presence server is.
pub const PRESENCE: &str = "198.18.0.20";
/// Where the PBX is.
pub const PBX: &str = "198.18.0.10";
/// Its tap, on the network.
pub const TAP: &str = "198.18.0.30";
/// Each begins so, and then says whose it is.
const PREFIX: &str = "oh-";

/// Where a phone is, as `scripts/testbed` numbers them from 0; any process in its namespace may have any of the addresses.
pub fn phone_address(number: usize) -> SocketAddr {
    let place = (number + 1) % 62_500;
    let [high, low] = [place / 250, place % 250].map(|part| part as u8);
    SocketAddr::from(([198, 19, high, low], 5_060))
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network that is up.
pub struct Testbed {
    name: String,
}

impl Testbed {
    /// Lays one, and waits until its servers answer. `None` where this machine allows no namespaces; says so.
    ///
    /// # Panics
    /// The servers do not come up.
    pub fn up(options: &[&str]) -> Option<Self> {
        remove_what_was_left();
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Whether it is allowed at all is asked with one that is removed at once.
        let probe = format!("{name}-probe");
        let can = Command::new("ip").args(["netns", "add", &probe]).stderr(Stdio::null()).status();
        if !can.is_ok_and(|status| status.success()) {
            eprintln!("skipped: the testbed needs root and network namespaces, which are not to be had here");
            return None;
        }
        let _ = Command::new("ip").args(["netns", "del", &probe]).status();
        let testbed = Self { name };
        testbed.script(&[&["up"], options].concat());
        Some(testbed)
    }

    /// Runs `scripts/testbed` on this one and waits for it.
    ///
    /// # Panics
    /// It fails.
    pub fn script(&self, words: &[&str]) {
        let output = script(&self.name).args(words).stdin(Stdio::null()).output().expect("scripts/testbed");
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "scripts/testbed {words:?} fails:\n{}\n{}",
            String::from_utf8_lossy(&said),
            self.log("sipp")
        );
    }

    /// The same, without waiting.
    pub fn start_script(&self, words: &[&str]) -> std::process::Child {
        script(&self.name).args(words).stdin(Stdio::null()).spawn().expect("scripts/testbed")
    }

    /// A program at a host: `switch`, `pbx`, `phones`, `presence`, `tap`. Its process id is the program's own.
    pub fn command(&self, host: &str, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{host}", self.name)]).arg(program.as_ref());
        command
    }

    /// A thread at a host: sockets and captures that it opens are there, and stay there.
    ///
    /// # Panics
    /// There is no such host.
    pub fn spawn<T: Send + 'static>(
        &self,
        host: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = File::open(format!("/run/netns/{}-{host}", self.name)).expect("the host's namespace");
        std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
            work()
        })
    }

    /// Does something at a host and waits for it.
    ///
    /// # Panics
    /// It panics.
    pub fn at<T: Send + 'static>(&self, host: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(host, work).join().expect("it comes to its end")
    }

    /// Where programs at it may write; removed with it.
    pub fn folder(&self) -> PathBuf {
        std::env::temp_dir().join(format!("testbed.{}", self.name))
    }

    /// What a server, or the phones, said so far.
    pub fn log(&self, of: &str) -> String {
        fs::read_to_string(self.folder().join(format!("{of}.log"))).unwrap_or_default()
    }

    /// Waits until a server's log has that in it.
    ///
    /// # Panics
    /// It never comes.
    pub fn wait_for_log(&self, of: &str, what: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.log(of).contains(what) {
            assert!(Instant::now() < until, "{of} never says {what}:\n{}", self.log(of));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The end of it: why a test failed is rarely far from there.
            let log = self.log("pbx");
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(40);
            eprintln!("The PBX said last:\n{}", lines.get(from..).unwrap_or_default().join("\n"));
        }
        let _ = script(&self.name).arg("down").status();
    }
}

fn script(name: &str) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/testbed"));
    command.args(["--name", name]);
    command
}

/// Networks of runs that were killed: nobody else would remove them.
fn remove_what_was_left() {
    let Ok(namespaces) = fs::read_dir("/run/netns") else { return };
    for namespace in namespaces.flatten() {
        let file = namespace.file_name();
        // Such as oh-4711-0-switch, of the testbed oh-4711-0.
        let Some((name, host)) = file.to_str().and_then(|file| file.rsplit_once('-')) else { continue };
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = script(name).arg("down").status();
            if host == "probe" {
                let _ = Command::new("ip").args(["netns", "del", &format!("{name}-probe")]).status();
            }
        }
    }
}
