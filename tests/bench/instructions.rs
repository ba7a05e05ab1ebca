//! Has it become slower? Instructions a message now, beside those that were committed.
//! In: `instructions.toml` beside this file, a program. Out: pass, or what became how much more. Knows nothing of why.
//! Time drifts with the machine and its other work; instructions hardly do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::child;
use crate::listening::{COUNTED_KINDS, COUNTED_USERS, slope};
use crate::report::written;

const SLACK: f64 = 0.05;
const HEAD: &str = "\
# Instructions a SIP message costs `offhook replay` on each workload, and by which compiler: `scripts/bench replay --check` fails
# when it is 5 % more. Written by `scripts/bench replay --bless`; commit it with what made the difference.
";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Blessed {
    compiler: String,
    architecture: String,
    instructions: BTreeMap<String, u64>,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/instructions.toml")
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split(" (").next().unwrap_or_default().trim().to_owned()
}

/// What is chosen at run time by the processor counts too.
fn architecture() -> String {
    let name = std::env::consts::ARCH;
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        return format!("{name} with AVX2");
    }
    name.to_owned()
}

fn count(program: &Path, directory: &Path) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for (letter, kind) in COUNTED_KINDS {
        let profile =
            slope(directory, kind, COUNTED_USERS, |capture| child::replay_command(program, capture))?;
        counts.insert(letter.to_owned(), profile.total.round() as u64);
    }
    Ok(counts)
}

/// Counts, and writes down what was counted.
///
/// # Errors
/// It cannot be counted or written.
pub fn bless(program: &Path, directory: &Path) -> Result<()> {
    let instructions = count(program, directory)?;
    let blessed = Blessed { compiler: compiler(), architecture: architecture(), instructions };
    fs::write(path(), format!("{HEAD}{}", toml::to_string(&blessed)?))?;
    println!("{}", fs::read_to_string(path())?);
    Ok(())
}

/// Counts, and compares with what was written down.
///
/// # Errors
/// It cannot be counted, or something costs clearly more than it did.
pub fn check(program: &Path, directory: &Path) -> Result<()> {
    let text = fs::read_to_string(path()).with_context(|| path().display().to_string())?;
    let blessed: Blessed = toml::from_str(&text)?;
    let (compiler, architecture) = (compiler(), architecture());
    if architecture != blessed.architecture {
        println!(
            "Not compared: the instructions were counted on {}, this is {architecture}.",
            blessed.architecture
        );
        return Ok(());
    }
    let (mut more, mut less) = (Vec::new(), Vec::new());
    for (letter, now) in count(program, directory)? {
        let was =
            *blessed.instructions.get(&letter).with_context(|| format!("{letter} was never counted"))?;
        let change = now as f64 / was as f64 - 1.0;
        let line = format!(
            "workload {letter}: {} instructions a message, {} when blessed ({:+.1} %)",
            written(Some(now as f64), 0),
            written(Some(was as f64), 0),
            change * 100.0
        );
        println!("{line}");
        match change {
            change if change > SLACK => more.push(line),
            change if change < -SLACK => less.push(line),
            _ => {}
        }
    }
    if !less.is_empty() {
        println!(
            "That is clearly less than it was. `scripts/bench replay --bless` writes it down, so that it stays:\n  {}",
            less.join("\n  ")
        );
    }
    if more.is_empty() {
        return Ok(());
    }
    let other_compiler = if compiler == blessed.compiler {
        String::new()
    } else {
        format!(
            "\nIt was compiled by {compiler}, then by {}: that alone may be the difference.",
            blessed.compiler
        )
    };
    bail!(
        "listening has become more than {:.0} % dearer:\n  {}{other_compiler}\n\
         `scripts/bench replay` shows in which room the instructions are. If it is worth it, \
         `scripts/bench replay --bless` writes the new numbers down, to be committed.",
        SLACK * 100.0,
        more.join("\n  ")
    )
}
