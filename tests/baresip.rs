//! A soft phone from the field watches offhook's own presence server: baresip, as Debian ships it.
//! In: a bundled capture, replayed into the embedded server. Out: what baresip says of its buddy. Needs the package
//! baresip.
//! Knows nothing of the server's inside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test's helpers are tests, and they wait for a real program"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program whose lines are read; ended with the value.
struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started ({error}): scripts/test installs it"));
        let out = child.stdout.take().unwrap();
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name, child, lines }
    }

    fn wait_for(&self, what: &str) {
        let until = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(what) => return,
                Ok(line) => said.push(line),
                Err(_) => break,
            }
        }
        panic!("{} never said `{what}`, but:\n{}", self.name, said.join("\n"));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_soft_phone_shows_its_buddy_busy_and_free_again() {
    let run = tempfile::TempDir::new().unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = free.local_addr().unwrap();
    drop(free);
    // Its own console wants a terminal, and its menu a sound card: neither is needed to watch.
    let write = |name: &str, text: &str| fs::write(run.path().join(name), text).unwrap();
    write(
        "config",
        "module_path /usr/lib/baresip/modules\nsip_listen 127.0.0.1:0\naudio_player none,none\n\
         audio_source none,none\nmodule g711.so\nmodule_tmp account.so\nmodule_app contact.so\n\
         module_app presence.so\n",
    );
    write("accounts", &format!("<sip:carol@example.com>;outbound=\"sip:{server}\";regint=0\n"));
    write("contacts", "\"Bob\" <sip:bob@example.com>;presence=p2p\n");

    let listen = format!("udp:{server}");
    let replay = Program::start(
        "offhook",
        Command::new(env!("CARGO_BIN_EXE_offhook"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["replay", "captures/office-morning.pcap", "--format", "jsonl", "--speed", "1"])
            .args(["--publish", "embedded", "--listen", &listen]),
    );
    replay.wait_for("\"kind\":\"publication\"");
    let phone =
        Program::start("baresip", Command::new("baresip").arg("-f").arg(run.path()).args(["-v", "-t", "60"]));
    // Bob talks to Alice, is free, talks to Carol while his registration runs out, and is gone.
    for step in [
        "to \u{1b}[31mBusy",
        "Busy\u{1b}[;m to \u{1b}[32mOnline",
        "to \u{1b}[31mBusy",
        "to \u{1b}[31mOffline",
    ] {
        phone.wait_for(step);
    }
    replay.wait_for("\"kind\":\"summary\"");
}
