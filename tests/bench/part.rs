//! A part of the bench that runs in a process of its own, so that its processor time is its own.
//! In: the part's arguments. Out: the lines that it prints. Ends with the value, by its process id. Knows nothing of
//! what the parts do.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A running part.
pub struct Part {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Part {
    /// Starts this program once more, as that part.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start the part {arguments:?}"))?;
        let lines = BufReader::new(child.stdout.take().context("it has an output")?);
        Ok(Self { child, lines })
    }

    /// The next line that it prints. Waits for it.
    ///
    /// # Errors
    /// It ended without one; what was wrong it has told on stderr.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            bail!("a part of the bench ended ({})", self.child.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }

    /// Its process group, which is its own.
    pub fn group(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For a part that runs until it is ended: it also ends when nobody is there any more to end it.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
