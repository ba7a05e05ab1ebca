//! Programs that run in processes of their own, and what they took.
//! In: a program with its arguments, or a part of this bench. Out: [`Took`]. Knows nothing of what they do.
//! Each is waited for by a process that waits for nothing else, since the kernel adds up what all children took.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::part::Part;

/// What a program took from its start to its end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Took {
    /// On a processor, user and system.
    pub cpu_s: f64,
    /// Most resident memory that it had.
    pub peak_bytes: f64,
}

impl Took {
    fn of(who: UsageWho) -> Result<Self> {
        let usage = getrusage(who)?;
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Ok(Self {
            cpu_s: seconds(usage.user_time()) + seconds(usage.system_time()),
            peak_bytes: usage.max_rss() as f64 * 1024.0,
        })
    }

    /// What this process took so far.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn so_far() -> Result<Self> {
        Self::of(UsageWho::RUSAGE_SELF)
    }
}

/// Of this process: starts a program, waits for it, says what it took.
///
/// # Errors
/// It cannot be started, or fails.
pub fn wait_for(command: &[String]) -> Result<Took> {
    let (program, arguments) = command.split_first().context("no program")?;
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} failed ({status})");
    }
    Took::of(UsageWho::RUSAGE_CHILDREN)
}

/// What this part of the bench took, which says so itself as its last line.
///
/// # Errors
/// It failed.
pub fn part(arguments: &[&str]) -> Result<Took> {
    let mut part = Part::start(arguments)?;
    serde_json::from_str(&part.line()?).context("what a part of the bench took")
}

/// `offhook replay` on a capture, its lines thrown away.
///
/// # Errors
/// It failed.
pub fn offhook(program: &Path, capture: &Path) -> Result<Took> {
    let mut arguments = vec!["wait-for".to_owned()];
    arguments.extend(replay_command(program, capture));
    part(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The command that is measured.
pub fn replay_command(program: &Path, capture: &Path) -> Vec<String> {
    let [program, capture] = [program, capture].map(|path| path.display().to_string());
    [program.as_str(), "replay", &capture, "--format", "jsonl", "--quiet"].map(str::to_owned).to_vec()
}
