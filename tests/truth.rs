//! Recorded traffic whose truth is known: what the phones themselves logged, against what offhook says.
//! In: the recordings beside the project and their scorer. Out: a score that must be right. Knows nothing of how.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Correct share of user-time in percent that every recording must reach.
const CORRECT_TIME_PCT: f64 = 99.99;

/// Where the recordings are, or `None` when this machine has none.
fn recordings() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/truth");
    if directory.is_dir() {
        return Some(directory);
    }
    // Past the test runner, which shows nothing of a test that passes.
    let line = format!("skipped: {} is not here\n", directory.display());
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    None
}

fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{shown} does not start: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{shown}: {}: {}", output.status, errors.trim()))
}

/// Replays a recording and asks the scorer what it thinks of the lines.
fn score(directory: &Path, recording: &str, truth: &str) -> Result<Value, String> {
    Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().map_err(
        |error| format!("python3 is needed to score recorded traffic, but does not start: {error}"),
    )?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let lines = scratch.path().join("lines.jsonl");
    let events = scratch.path().join("events.jsonl");
    let replayed = run(Command::new(env!("CARGO_BIN_EXE_offhook"))
        .arg("replay")
        .arg(directory.join(recording))
        .args(["--format", "jsonl"]))?;
    fs::write(&lines, replayed).map_err(|error| error.to_string())?;
    let lines = fs::File::open(&lines).map_err(|error| error.to_string())?;
    let translated = run(Command::new("python3").arg(directory.join("from_offhook.py")).stdin(lines))?;
    fs::write(&events, translated).map_err(|error| error.to_string())?;
    let scored = run(Command::new("python3")
        .arg(directory.join("score.py"))
        .arg("--truth")
        .arg(directory.join(truth))
        .arg("--events")
        .arg(&events)
        .arg("--json"))?;
    serde_json::from_slice(&scored).map_err(|error| format!("the score is no JSON: {error}"))
}

fn check(recording: &str, truth: &str) {
    check_at_least(CORRECT_TIME_PCT, recording, truth);
}

fn check_at_least(wanted_pct: f64, recording: &str, truth: &str) {
    let Some(directory) = recordings() else {
        return;
    };
    let score = score(&directory, recording, truth).unwrap_or_else(|error| panic!("{error}"));
    let number = |key: &str| score.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let good = number("correct_time_pct") >= wanted_pct
        && number("missed") == 0.0
        && number("spurious") == 0.0
        && number("unreadable_lines") == 0.0;
    assert!(
        good,
        "{recording}: at least {wanted_pct} % of the time correct, none missed, none spurious wanted: {score:#}"
    );
}

#[test]
fn twenty_phones_behind_a_proxy() {
    check("small.pcap.gz", "small.truth.jsonl");
}

#[test]
fn the_same_with_a_vlan_tag() {
    check("small-vlan.pcap.gz", "small.truth.jsonl");
}

#[test]
fn the_same_with_two_vlan_tags() {
    check("small-qinq.pcap.gz", "small.truth.jsonl");
}

#[test]
fn the_same_with_each_frame_routed_by_twice() {
    check("small-dup-routed.pcap.gz", "small.truth.jsonl");
}

/// Frames out of order change when something is seen, but neither hide nor invent anything. The stamps stay in order
/// while what they are on changes places: a BYE that stands 0.3 s before its time ends the call there. Who knew each
/// message, and took the stamp that it has here, would be right 99.919 % of the time, and so is offhook.
#[test]
fn the_same_with_one_frame_in_twenty_out_of_order() {
    check_at_least(99.918, "small-reorder5.pcap.gz", "small.truth.jsonl");
}

/// What a switch or a cloud's mirror wraps frames in to carry them to whoever listens.
#[test]
fn the_same_inside_each_tunnel() {
    for tunnel in ["gre", "erspan1", "erspan2", "erspan3", "vxlan"] {
        check(&format!("small-{tunnel}.pcap.gz"), "small.truth.jsonl");
    }
}

#[test]
fn thirty_phones_behind_a_b2bua() {
    check("b2bua.pcap.gz", "b2bua.truth.jsonl");
}

/// Most messages of a call through the proxy are cut within their header fields.
#[test]
fn the_same_cut_by_the_snap_length() {
    check_at_least(99.9, "small-snap512.pcap.gz", "small.truth.jsonl");
}
