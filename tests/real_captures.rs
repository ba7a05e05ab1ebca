//! What people who recorded calls really saw: 42 captures of other projects, read by hand in a packet analyser.
//! In: the captures beside the project, and what their packets say (`real_captures/`). Out: a diff for each file
//! whose lines differ. Knows nothing of how offhook works: the expectations come from the packets, not from it.

#[path = "real_captures/model.rs"]
mod model;
#[path = "real_captures/networks.rs"]
mod networks;
#[path = "real_captures/phones.rs"]
mod phones;
#[path = "real_captures/snippets.rs"]
mod snippets;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use model::{Capture, Exit, Step};
use serde_json::Value;

/// Where the captures are, or `None` when this machine has none.
fn captures() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    if directory.is_dir() {
        return Some(directory);
    }
    // Past the test runner, which shows nothing of a test that passes.
    let line = format!("skipped: {} is not here\n", directory.display());
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    None
}

fn replay(file: &Path) -> Result<Output, String> {
    Command::new(env!("CARGO_BIN_EXE_offhook"))
        .arg("replay")
        .arg(file)
        .args(["--format", "jsonl"])
        .output()
        .map_err(|error| format!("offhook does not start: {error}"))
}

fn expectations() -> Vec<&'static Capture> {
    snippets::CAPTURES.iter().chain(phones::CAPTURES).chain(networks::CAPTURES).collect()
}

#[test]
fn every_real_capture_shows_what_its_packets_say() {
    let Some(directory) = captures() else { return };
    compare_all(&directory, &expectations());
}

#[test]
fn every_capture_has_its_expectation() {
    let Some(directory) = captures() else { return };
    let present: BTreeSet<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != "INDEX.tsv")
        .collect();
    let described: BTreeSet<String> = expectations().iter().map(|row| row.file.to_owned()).collect();
    assert_eq!(described.len(), expectations().len(), "a file has two rows");
    assert_eq!(described, present);
}

fn compare_all(directory: &Path, rows: &[&Capture]) {
    let mut report = String::new();
    let mut failed = 0;
    for row in rows {
        let differences = compare(directory, row);
        if !differences.is_empty() {
            failed += 1;
            report.push_str(&format!("\n== {}\n", row.file));
            for difference in differences {
                report.push_str(&format!("   {difference}\n"));
            }
        }
    }
    assert!(failed == 0, "{failed} of {} captures differ:\n{report}", rows.len());
}

/// Runs one file twice and says everything that is wrong with the output.
fn compare(directory: &Path, row: &Capture) -> Vec<String> {
    let path = directory.join(row.file);
    let (first, second) = match (replay(&path), replay(&path)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => return vec![error],
    };
    let mut wrong = Vec::new();
    if first.stdout != second.stdout {
        wrong.push("a second run printed other bytes".to_owned());
    }
    let errors = String::from_utf8_lossy(&first.stderr);
    match (row.exit, first.status.code()) {
        (Exit::Success, Some(0)) | (Exit::EmptyEitherWay, Some(0)) => {}
        (Exit::EmptyEitherWay, Some(1)) if errors.contains(row.file) => return wrong,
        (_, code) => wrong.push(format!("exit {code:?}, stderr: {}", errors.trim())),
    }
    match parse(&first.stdout) {
        Ok(lines) => {
            wrong.extend(broken_promises(&lines, row));
            wrong.extend(wrong_people(&lines, row));
            wrong.extend(wrong_summary(&lines, row));
        }
        Err(error) => wrong.push(error),
    }
    wrong
}

fn parse(stdout: &[u8]) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(stdout).map_err(|error| format!("not UTF-8: {error}"))?;
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{error} in: {line}")))
        .collect()
}

/// What holds for the output of any capture (SPEC section 11).
fn broken_promises(lines: &[Value], row: &Capture) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut last: BTreeMap<&str, (&str, &str, bool)> = BTreeMap::new();
    let mut before: Option<(u64, u64, &str)> = None;
    for line in lines {
        let kind = text(line, "/kind");
        if !line.is_object() || has_null(line) {
            wrong.push(format!("not an object, or a null in it: {line}"));
        }
        // A run without a frame has no time to tell.
        let timeless = kind == "summary" && line["frames"] == 0 && line.get("time").is_none();
        if micros(text(line, "/time")).is_none() && !timeless {
            wrong.push(format!("time without exactly six digits: {line}"));
        }
        // No registered address changes in these captures, and nothing is published: no such lines.
        if !["status", "oddity", "capture", "summary"].contains(&kind) {
            wrong.push(format!("a line of kind {kind:?} has no place here: {line}"));
        }
        if kind != "status" {
            continue;
        }
        for key in [
            "/presentity",
            "/terminal",
            "/session",
            "/previous/terminal",
            "/previous/session",
            "/because/rule",
            "/because/call_id",
            "/confidence",
        ] {
            if text(line, key).is_empty() {
                wrong.push(format!("no {key}: {line}"));
            }
        }
        let (Some(frame), Some(watching)) = (
            line.pointer("/because/frame").and_then(Value::as_u64),
            line.pointer("/watching").and_then(Value::as_bool),
        ) else {
            wrong.push(format!("no frame number or no watching: {line}"));
            continue;
        };
        if frame == 0 || frame > row.frames {
            wrong.push(format!("frame {frame} of {}: {line}", row.frames));
        }
        let aor = text(line, "/presentity");
        let now = (text(line, "/terminal"), text(line, "/session"), watching);
        let was = last.get(aor).copied().unwrap_or(("unknown", "idle", false));
        if now == was {
            wrong.push(format!("no change: {line}"));
        }
        if (was.0, was.1) != (text(line, "/previous/terminal"), text(line, "/previous/session")) {
            wrong.push(format!("previous was {}/{}: {line}", was.0, was.1));
        }
        last.insert(aor, now);
        if now.1 == "idle" && ["peer", "session_type", "media"].iter().any(|key| line.get(key).is_some()) {
            wrong.push(format!("idle, with peer, session_type or media: {line}"));
        }
        if now.1 == "talking" && !["online", "offline-waiting"].contains(&now.0) {
            wrong.push(format!("talking without a terminal: {line}"));
        }
        let time = micros(text(line, "/time")).unwrap_or(0);
        if let Some((time_before, frame_before, aor_before)) = before {
            if time < time_before {
                wrong.push(format!("time goes back: {line}"));
            }
            if (time, frame) == (time_before, frame_before) && aor.as_bytes() <= aor_before.as_bytes() {
                wrong.push(format!("within a frame the order is that of the names, one line each: {line}"));
            }
        }
        before = Some((time, frame, aor));
    }
    if text(lines.last().unwrap_or(&Value::Null), "/kind") != "summary" {
        wrong.push("the last line is no summary".to_owned());
    }
    if lines.iter().filter(|line| text(line, "/kind") == "summary").count() > 1 {
        wrong.push("more than one summary".to_owned());
    }
    wrong
}

/// Who did what, by person: each history must be one of those that the packets allow.
fn wrong_people(lines: &[Value], row: &Capture) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut histories: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for line in lines.iter().filter(|line| text(line, "/kind") == "status") {
        histories.entry(text(line, "/presentity")).or_default().push(line);
    }
    for person in row.people {
        let seen = histories.remove(person.aor).unwrap_or_default();
        let reading = person.readings.iter().position(|reading| {
            reading.len() == seen.len()
                && reading.iter().zip(&seen).all(|(step, line)| is_step(step, line, row))
        });
        match reading {
            Some(0) => {}
            Some(other) => {
                println!("note: {}: {} took reading {} ({})", row.file, person.aor, other + 1, row.question)
            }
            None if person.anything_but.is_some() => {}
            None => wrong.push(difference(person.readings, &seen, person.aor, row)),
        }
        // No set-up and no end of a call comes before anybody's first registration here.
        if let Some(line) = seen.first()
            && text(line, "/because/rule") == "register-200"
            && text(line, "/confidence") != "degraded"
        {
            wrong.push(format!("whether a phone just registered is in a call is not known yet: {line}"));
        }
        for line in seen {
            let session = text(line, "/session");
            if person.anything_but.is_some_and(|never| never.contains(&session)) {
                wrong.push(format!("{} is never {session}: {line}", person.aor));
            }
            if !person.registers && text(line, "/confidence") == "full" {
                wrong.push(format!("no registration supports this: {line}"));
            }
            // Nothing in these captures is a subscription to somebody's presence that was accepted.
            if line.pointer("/watching") != Some(&Value::Bool(false)) {
                wrong.push(format!("nobody watches here: {line}"));
            }
        }
    }
    for (aor, seen) in histories {
        wrong.push(difference(&[&[]], &seen, aor, row));
    }
    wrong
}

fn is_step(step: &Step, line: &Value, row: &Capture) -> bool {
    let expected_us = row.begins_us as i64 + (step.at_s * 1e6).round() as i64;
    let time_us = micros(text(line, "/time")).map_or(0, |time| time as i64);
    // Nanosecond captures: both the first frame's time and this one are truncated.
    (time_us - expected_us).abs() <= 2
        && line.pointer("/because/frame").and_then(Value::as_u64) == Some(step.frame)
        && text(line, "/terminal") == step.terminal
        && text(line, "/session") == step.session
}

fn difference(readings: &[&[Step]], seen: &[&Value], aor: &str, row: &Capture) -> String {
    let mut out = format!("{aor}\n");
    for (number, reading) in readings.iter().enumerate() {
        let title = if number == 0 { "expected" } else { "or" };
        out.push_str(&format!("      {title}:\n"));
        for step in *reading {
            let met = seen.iter().any(|line| is_step(step, line, row));
            out.push_str(&format!(
                "        {} {:>16.6} s  frame {:>5}  {}/{}\n",
                if met { ' ' } else { '-' },
                step.at_s,
                step.frame,
                step.terminal,
                step.session
            ));
        }
    }
    out.push_str("      seen:\n");
    for line in seen {
        let met = readings.iter().any(|reading| reading.iter().any(|step| is_step(step, line, row)));
        let time_us = micros(text(line, "/time")).map_or(0, |time| time as i64);
        out.push_str(&format!(
            "        {} {:>16.6} s  frame {:>5}  {}/{}  {} ({})\n",
            if met { ' ' } else { '+' },
            (time_us - row.begins_us as i64) as f64 / 1e6,
            line.pointer("/because/frame").and_then(Value::as_u64).unwrap_or(0),
            text(line, "/terminal"),
            text(line, "/session"),
            text(line, "/because/rule"),
            text(line, "/confidence"),
        ));
    }
    out.trim_end().to_owned()
}

fn wrong_summary(lines: &[Value], row: &Capture) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(summary) = lines.last() else {
        return wrong;
    };
    let number = |key: &str| summary.pointer(key).and_then(Value::as_u64);
    if number("/frames") != Some(row.frames) {
        wrong.push(format!("{} frames, summary: {summary}", row.frames));
    }
    let (fewest, most) = row.messages;
    if !number("/sip_messages").is_some_and(|count| (fewest..=most).contains(&count)) {
        wrong.push(format!("{fewest} to {most} SIP messages, summary: {summary}"));
    }
    if row.people.is_empty() && (number("/presentities") != Some(0) || number("/changes") != Some(0)) {
        wrong.push(format!("nobody is seen here, summary: {summary}"));
    }
    for (group, names) in [("ends", row.ends), ("oddities", row.oddities)] {
        for name in names {
            if number(&format!("/{group}/{name}")).is_none_or(|count| count == 0) {
                wrong.push(format!("no {name} among {group}: {summary}"));
            }
        }
    }
    wrong
}

fn text<'a>(line: &'a Value, pointer: &str) -> &'a str {
    line.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

/// `2026-11-22T06:08:01.123456Z` to microseconds since 1970; `None` for every other form.
fn micros(time: &str) -> Option<u64> {
    let bytes = time.as_bytes();
    let form = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
    let fits = bytes.len() == form.len()
        && bytes.iter().zip(form).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            _ => byte == wanted,
        });
    if !fits {
        return None;
    }
    let part = |from: usize, to: usize| time[from..to].parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    // Days before each month in a year that begins in March, so that the leap day is the last one.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day;
    let since_1970 = days.checked_sub(719_469)?;
    let seconds = since_1970 * 86_400 + part(11, 13)? * 3_600 + part(14, 16)? * 60 + part(17, 19)?;
    Some(seconds * 1_000_000 + part(20, 26)?)
}

#[test]
fn times_are_read_as_written() {
    assert_eq!(micros("1970-01-01T00:00:00.000000Z"), Some(0));
    assert_eq!(micros("2023-11-14T22:13:20.000001Z"), Some(1_700_000_000_000_001));
    assert_eq!(micros("2023-11-14T22:13:20.0001Z"), None);
    assert_eq!(micros("2023-11-14T22:13:20.000001+00"), None);
}
