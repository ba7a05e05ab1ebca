//! A running program whose lines are read.
//! In: a command. Out: its lines, one by one or all. Ended with the value. Knows nothing of what they mean.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

/// Something that was started.
pub struct Program {
    name: String,
    child: Child,
    /// Where it is told what to do, if it is.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    /// Starts one that listens, and waits until it does.
    ///
    /// # Panics
    /// It cannot be started, or never says that it is listening.
    pub fn listening(name: &str, command: &mut Command) -> Self {
        let mut program = Self::start(name, command.stderr(Stdio::piped()));
        wait_until_listening(name, &mut program.child);
        program
    }

    /// Starts it.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::spawn(name, command.stdin(Stdio::null()))
    }

    /// Starts one that is told what to do by [`Self::say`].
    ///
    /// # Panics
    /// It cannot be started.
    pub fn told(name: &str, command: &mut Command) -> Self {
        Self::spawn(name, command.stdin(Stdio::piped()))
    }

    fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started ({error}): scripts/test installs it"));
        let stdin = child.stdin.take();
        let out = child.stdout.take().expect("it was asked for");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name: name.to_owned(), child, stdin, lines, said: Vec::new() }
    }

    /// Tells it to do something, in a line.
    ///
    /// # Panics
    /// It does not listen any more.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is one that is told");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("it listens");
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that pleases, and gives it.
    ///
    /// # Panics
    /// It does not come; says what came.
    pub fn wait_for(&mut self, what: &str, pleases: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if pleases(&line) {
                        return line;
                    }
                }
                Err(_) => panic!("{} never said {what}, but:\n{}", self.name, self.said.join("\n")),
            }
        }
    }

    /// Asks it to end, as Ctrl-C would (SIGTERM), and gives all that it said.
    ///
    /// # Panics
    /// It fails, or does not end.
    pub fn finish(self) -> Vec<String> {
        self.terminate();
        self.ended()
    }

    /// Tells it to end by this word, and gives all that it said.
    ///
    /// # Panics
    /// It fails, or does not end.
    pub fn leave(mut self, word: &str) -> Vec<String> {
        self.say(word);
        self.ended()
    }

    fn ended(mut self) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{} does not end", self.name),
            }
        }
        let status = self.child.wait().expect("it ended");
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.said.join("\n"));
        std::mem::take(&mut self.said)
    }

    fn terminate(&self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
    }
}

/// Waits until it says on standard error that it is listening. What it says goes to ours.
///
/// # Panics
/// It never does.
pub fn wait_until_listening(name: &str, child: &mut Child) {
    let errors = child.stderr.take().expect("it was asked for");
    let (send, is_listening) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            if line.contains("listening") {
                // Who waited may have given up.
                let _ = send.send(());
            } else {
                eprintln!("{line}");
            }
        }
    });
    let is_listening = is_listening.recv_timeout(PATIENCE);
    assert!(is_listening.is_ok(), "{name} never listens");
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // In order, so that what it started ends with it.
        self.terminate();
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
