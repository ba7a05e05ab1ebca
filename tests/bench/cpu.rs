//! Processor time, and what machine this is.
//! In: process ids. Out: nanoseconds on a processor, user and system together. Knows nothing of what was worked on.
//! The kernel's own count of each thread (`schedstat`), not ticks. What the kernel does for a datagram on loopback up
//! to the receiver's socket is done in the sender's time.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// All threads that the process has now.
///
/// # Errors
/// There is no such process.
pub fn of_process(id: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread may end while it is being looked at.
        let Ok(counts) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanoseconds += counts.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// All processes of a process group.
///
/// # Errors
/// The processes cannot be listed.
pub fn of_group(group: u32) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if group_of(&entry.path()) == Some(group) {
            sum += of_process(id).unwrap_or_default();
        }
    }
    Ok(sum)
}

/// The program's name in `stat` is in parentheses and may hold anything; then come state, parent, group.
fn group_of(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(2)?.parse().ok()
}

/// `2 × Intel(R) Xeon(R) Processor`.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} × {}", model.map_or("unknown processor", |(_, model)| model))
}

/// How many threads wanted a processor in the last minute, on average. Well above 0, others disturbed what is measured.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}
