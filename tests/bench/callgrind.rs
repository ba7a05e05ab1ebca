//! Instructions of a program, counted by valgrind, and in which room of the house they are executed.
//! In: a command. Out: [`Profile`]. Knows nothing of captures.
//!
//! valgrind shows every program the same processor (one with AVX2, where the machine has that), so that what is chosen at run
//! time by the processor is the same everywhere. What library code executes is charged to the rooms that call it, in
//! proportion to what each caused. Inlined code counts where it was inlined.
//! The format: <https://valgrind.org/docs/manual/cl-format.html>.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The rooms that are told apart, in the order of a packet's journey. `base` is everybody's vocabulary and is charged to who
/// uses it.
pub const ROOMS: [&str; 8] = ["io", "decode", "stream", "sip", "track", "identity", "presence", "tap"];
/// Whom the rest is charged to, mostly the start of the program.
pub const ELSEWHERE: &str = "elsewhere";
/// Not a room, but part of all: what is spent in malloc and free.
pub const ALLOCATOR: &str = "malloc and free";
/// The same for copying, comparing and searching bytes.
pub const BYTES: &str = "memcpy, memcmp, memchr";

/// Instructions.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// All.
    pub total: f64,
    /// By room, [`ELSEWHERE`], and what is part of all.
    pub parts: BTreeMap<&'static str, f64>,
}

impl Profile {
    /// What each of so many more messages cost.
    pub fn slope(&self, smaller: &Self, messages: f64) -> Self {
        let parts = self.parts.iter().map(|(&name, &count)| {
            let less = smaller.parts.get(name).copied().unwrap_or_default();
            (name, (count - less) / messages)
        });
        Self { total: (self.total - smaller.total) / messages, parts: parts.collect() }
    }
}

/// Is valgrind here?
pub fn is_there() -> bool {
    Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Counts the instructions of a command.
///
/// # Errors
/// valgrind is not there, or the command fails.
pub fn count(command: &[String], directory: &Path) -> Result<Profile> {
    let out = directory.join("callgrind.out");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .context("valgrind cannot be started; scripts/bench installs it")?;
    if !output.status.success() {
        bail!("{command:?} failed under valgrind:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Calls::read(&fs::read_to_string(&out)?)?.profile()
}

/// Functions, and who calls whom.
#[derive(Default)]
struct Calls {
    names: HashMap<u32, String>,
    own: HashMap<u32, f64>,
    /// From, to: instructions, with all that was called from there.
    edges: HashMap<(u32, u32), f64>,
    total: f64,
}

impl Calls {
    fn read(text: &str) -> Result<Self> {
        let mut calls = Self::default();
        let (mut function, mut called, mut is_call) = (0, 0, false);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = calls.id(name).with_context(|| line.to_owned())?;
            } else if let Some(name) = line.strip_prefix("cfn=") {
                called = calls.id(name).with_context(|| line.to_owned())?;
            } else if line.starts_with("calls=") {
                is_call = true;
            } else if let Some(total) = line.strip_prefix("totals:") {
                calls.total = total.trim().parse()?;
            } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
                let count: f64 = line.split(' ').nth(1).context("a line without a count")?.parse()?;
                let counter = if is_call {
                    calls.edges.entry((function, called)).or_default()
                } else {
                    calls.own.entry(function).or_default()
                };
                *counter += count;
                is_call = false;
            }
        }
        if calls.total == 0.0 {
            bail!("valgrind counted nothing");
        }
        Ok(calls)
    }

    /// `(12) name` the first time, `(12)` after that.
    fn id(&mut self, text: &str) -> Option<u32> {
        let (id, name) = text.strip_prefix('(')?.split_once(')')?;
        let id = id.parse().ok()?;
        if !name.is_empty() {
            self.names.insert(id, name.trim_start().to_owned());
        }
        Some(id)
    }

    fn profile(&self) -> Result<Profile> {
        let shares = self.shares();
        let mut parts: BTreeMap<&'static str, f64> = BTreeMap::new();
        for name in ROOMS.into_iter().chain([ELSEWHERE, ALLOCATOR, BYTES]) {
            parts.insert(name, 0.0);
        }
        let mut add = |name, count: f64| *parts.entry(name).or_default() += count;
        for (id, &own) in &self.own {
            let share = shares.get(id).copied().unwrap_or_default();
            for (room, share) in ROOMS.into_iter().zip(share) {
                add(room, own * share);
            }
            add(ELSEWHERE, own * (1.0 - share.iter().sum::<f64>()));
            if let Some(kind) = self.names.get(id).and_then(|name| kind(name)) {
                add(kind, own);
            }
        }
        let counted: f64 = self.own.values().sum();
        if (counted - self.total).abs() > self.total * 0.01 {
            bail!("valgrind counted {} instructions, {counted} of them in functions", self.total);
        }
        Ok(Profile { total: self.total, parts })
    }

    /// How much of each function is each room's.
    fn shares(&self) -> HashMap<u32, [f64; ROOMS.len()]> {
        let mut shares: HashMap<u32, [f64; ROOMS.len()]> = HashMap::new();
        for (&id, name) in &self.names {
            if let Some(room) = room(name) {
                let mut share = [0.0; ROOMS.len()];
                share[room] = 1.0;
                shares.insert(id, share);
            }
        }
        let is_own = |id: &u32| self.names.get(id).is_some_and(|name| room(name).is_some());
        let mut callers: HashMap<u32, Vec<(u32, f64)>> = HashMap::new();
        for (&(from, to), &count) in &self.edges {
            if !is_own(&to) && from != to {
                callers.entry(to).or_default().push((from, count));
            }
        }
        // Libraries call libraries: what they do becomes known step by step.
        for _ in 0..40 {
            for (&function, callers) in &callers {
                let all: f64 = callers.iter().map(|(_, count)| count).sum();
                let mut share = [0.0; ROOMS.len()];
                for (caller, count) in callers {
                    for (sum, part) in share.iter_mut().zip(shares.get(caller).copied().unwrap_or_default()) {
                        *sum += part * count / all;
                    }
                }
                shares.insert(function, share);
            }
        }
        shares
    }
}

/// Which room a function is of; `None`: a library's.
fn room(name: &str) -> Option<usize> {
    let (_, behind) = name.split_once("offhook::")?;
    let room = behind.split(|character: char| !character.is_alphanumeric() && character != '_').next()?;
    // The way in.
    let room = if room == "cli" { "io" } else { room };
    ROOMS.iter().position(|&one| one == room)
}

fn kind(name: &str) -> Option<&'static str> {
    const MALLOC: [&str; 9] = [
        "malloc",
        "_int_malloc",
        "free",
        "_int_free",
        "realloc",
        "_int_realloc",
        "calloc",
        "malloc_consolidate",
        "unlink_chunk",
    ];
    let name = name.split(['@', '.', '\'']).next().unwrap_or(name);
    if MALLOC.contains(&name) || name.starts_with("mi_") || name.starts_with("_mi_") {
        return Some(ALLOCATOR);
    }
    let is_bytes = name.starts_with("memchr::")
        || name.starts_with("__memcpy")
        || name.starts_with("__memmove")
        || name.starts_with("__memcmp")
        || name.starts_with("__memset")
        || name.contains("memchr::arch");
    is_bytes.then_some(BYTES)
}
