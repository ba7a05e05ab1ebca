//! Golden cases: each `captures/NAME.ladder` gives exactly `captures/NAME.pcap` (and `NAME.split.pcap`), and the program gives exactly
//! `captures/NAME.expected.jsonl` for it, whose status lines are those that a person worked out in the ladder (`#=`).
//! `scripts/bless` rewrites the pcap and expected files; a human reads the difference.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use support::ladder::{Ladder, MIDNIGHT_S, START_US, Says, Truth};
use support::wire;

type Outcome<T> = Result<T, String>;

struct Case {
    ladder: Ladder,
    stem: PathBuf,
}

impl Case {
    fn file(&self, extension: &str) -> PathBuf {
        let mut name = self.stem.clone().into_os_string();
        name.push(".");
        name.push(extension);
        name.into()
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")
}

/// All cases in the order of their names, or those that `OFFHOOK_CASES` names.
fn cases() -> Outcome<Vec<Case>> {
    let wanted = std::env::var("OFFHOOK_CASES").unwrap_or_default();
    let wanted: Vec<_> = wanted.split_whitespace().collect();
    let mut names: Vec<_> = names_with("ladder")?;
    if let Some(unknown) = wanted.iter().find(|&&name| !names.iter().any(|known| known == name)) {
        return Err(format!("there is no captures/{unknown}.ladder"));
    }
    names.retain(|name| wanted.is_empty() || wanted.contains(&name.as_str()));
    names
        .into_iter()
        .map(|name| {
            let stem = directory().join(&name);
            let text = fs::read_to_string(directory().join(format!("{name}.ladder")));
            let ladder = Ladder::parse(&name, &text.map_err(|error| format!("{name}: {error}"))?)?;
            Ok(Case { ladder, stem })
        })
        .collect()
}

fn names_with(extension: &str) -> Outcome<Vec<String>> {
    let entries = fs::read_dir(directory()).map_err(|error| error.to_string())?;
    let mut names: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_suffix(&format!(".{extension}"))?.to_owned())
        })
        .collect();
    names.sort();
    Ok(names)
}

fn blessing() -> bool {
    std::env::var_os("OFFHOOK_BLESS").is_some()
}

/// Runs `check` on each case and tells of all that fail, not of the first only.
fn for_each_case(check: impl Fn(&Case) -> Outcome<()>) {
    let cases = cases().unwrap_or_else(|wrong| panic!("{wrong}"));
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|case| Some(format!("== {}\n{}", case.ladder.name, check(case).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What is behind the case's name in the file names of its captures, and each as it is compiled: one, or two where the
/// ladder splits them.
fn captures_of(ladder: &Ladder) -> Outcome<Vec<(&'static str, Vec<u8>)>> {
    let frames = wire::frames(ladder)?;
    let Some(address) = ladder.split else {
        return Ok(vec![("pcap", wire::pcap(ladder.link, &frames))]);
    };
    let (apart, rest): (Vec<_>, Vec<_>) =
        frames.into_iter().partition(|frame| wire::sender(frame) == Some(address));
    Ok(vec![("pcap", wire::pcap(ladder.link, &rest)), (SPLIT, wire::pcap(ladder.link, &apart))])
}

/// The capture of what the address sends by which a ladder splits.
const SPLIT: &str = "split.pcap";

/// The program's lines for a case.
fn lines_of(case: &Case) -> Outcome<Vec<String>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.current_dir(directory()).arg("replay");
    command.arg(format!("{}.pcap", case.ladder.name));
    if case.ladder.split.is_some() {
        command.arg(format!("{}.{SPLIT}", case.ladder.name));
    }
    command.args(["--format", "jsonl"]);
    if case.file("toml").exists() {
        command.arg("--config").arg(format!("{}.toml", case.ladder.name));
    }
    command.args(&case.ladder.options);
    let output = command.output().map_err(|error| error.to_string())?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}: {complaint}", output.status));
    }
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[test]
fn ladders_give_the_committed_captures() {
    for_each_case(|case| {
        let captures = captures_of(&case.ladder)?;
        if blessing() {
            return write_captures(case, &captures);
        }
        for (extension, compiled) in captures {
            let committed = fs::read(case.file(extension))
                .map_err(|error| format!("{error}: scripts/bless {} writes it", case.ladder.name))?;
            if committed != compiled {
                let first = committed.iter().zip(&compiled).take_while(|(old, new)| old == new).count();
                return Err(format!(
                    "the ladder gives another {extension} from byte {first} on ({} bytes committed, {} compiled)",
                    committed.len(),
                    compiled.len()
                ));
            }
        }
        Ok(())
    });
}

#[test]
fn captures_give_the_expected_lines() {
    for_each_case(|case| {
        let lines = lines_from_ladder_or_file(case)?;
        if blessing() {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            return fs::write(case.file("expected.jsonl"), text).map_err(|error| error.to_string());
        }
        let expected = fs::read_to_string(case.file("expected.jsonl"))
            .map_err(|error| format!("{error}: scripts/bless {} writes it", case.ladder.name))?;
        differences(&expected.lines().map(str::to_owned).collect::<Vec<_>>(), &lines)
    });
}

#[test]
fn lines_agree_with_what_a_person_worked_out() {
    for_each_case(|case| {
        let lines = lines_from_ladder_or_file(case)?;
        let mut seen = Vec::new();
        for line in &lines {
            let line: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
            seen.extend(statement(&line)?);
        }
        agree(&case.ladder.truth, &seen)
    });
}

#[test]
fn every_capture_has_its_ladder() {
    let ladders = names_with("ladder").unwrap_or_default();
    let own: Vec<_> = names_with("expected.jsonl")
        .into_iter()
        .chain(names_with("toml"))
        .flatten()
        .filter(|name| !ladders.contains(name) && !directory().join(format!("{name}.pcap")).exists())
        .collect();
    assert!(own.is_empty(), "files of no case: {own:?}");
}

#[test]
fn every_case_says_what_it_proves_in_the_table() {
    let readme = fs::read_to_string(directory().join("README.md")).unwrap_or_default();
    let untold: Vec<_> = names_with("ladder")
        .unwrap_or_default()
        .into_iter()
        .filter(|name| !readme.contains(&format!("| `{name}` |")))
        .collect();
    assert!(untold.is_empty(), "not in captures/README.md: {untold:?}");
}

/// Puts each capture in its place at once: two tests write it, and the program must not read half of it.
fn write_captures(case: &Case, captures: &[(&str, Vec<u8>)]) -> Outcome<()> {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    for (extension, capture) in captures {
        let serial = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let aside = case.file(&format!("{extension}.{}-{serial}", std::process::id()));
        fs::write(&aside, capture)
            .and_then(|()| fs::rename(&aside, case.file(extension)))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// While blessing, the capture may not be written yet by the other test: it is written here too, with the same bytes.
fn lines_from_ladder_or_file(case: &Case) -> Outcome<Vec<String>> {
    if blessing() {
        write_captures(case, &captures_of(&case.ladder)?)?;
    }
    lines_of(case)
}

/// Which lines differ, and in them which keys.
fn differences(expected: &[String], seen: &[String]) -> Outcome<()> {
    let mut wrong = Vec::new();
    for index in 0..expected.len().max(seen.len()) {
        let number = index + 1;
        match (expected.get(index), seen.get(index)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => {
                wrong.push(format!("line {number}:"));
                let keys = differing_keys(old, new);
                if keys.is_empty() {
                    wrong.push(format!("  expected {old}\n  seen     {new}"));
                }
                wrong.extend(keys);
            }
            (Some(old), None) => wrong.push(format!("line {number} is missing: {old}")),
            (None, Some(new)) => wrong.push(format!("line {number} was not expected: {new}")),
            (None, None) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn differing_keys(old: &str, new: &str) -> Vec<String> {
    let parse = |text: &str| -> BTreeMap<String, Value> { serde_json::from_str(text).unwrap_or_default() };
    let (old, new) = (parse(old), parse(new));
    let show = |value: Option<&Value>| value.map_or("(absent)".to_owned(), Value::to_string);
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|&key| old.get(key) != new.get(key))
        .map(|key| format!("  {key}: expected {}, seen {}", show(old.get(key)), show(new.get(key))))
        .collect()
}

/// A status or contact line as a truth; `None` for lines of other kinds.
fn statement(line: &Value) -> Outcome<Option<Truth>> {
    let text = |pointer: &str| {
        let found = line.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        found.ok_or_else(|| format!("no {pointer} in {line}"))
    };
    let says = match text("/kind")?.as_str() {
        "status" => Says::Status {
            terminal: text("/terminal")?,
            session: text("/session")?,
            rule: text("/because/rule")?,
            confidence: Some(text("/confidence")?),
            watching: line.get("watching").and_then(Value::as_bool),
        },
        "contact" => Says::Contact(text("/contact")?),
        "redial" => Says::Redial {
            callee: text("/callee")?,
            step: text("/step")?,
            word: ["/outcome", "/why", "/by", "/for", "/way"].iter().find_map(|key| text(key).ok()),
        },
        _ => return Ok(None),
    };
    let time = text("/time")?;
    let at_ms = milliseconds(&time).ok_or_else(|| format!("not a time: {time}"))?;
    let aor = text("/presentity").or_else(|_| text("/caller"))?;
    Ok(Some(Truth { at_ms, aor, says }))
}

/// `2026-11-22T08:00:04.210000Z` → 4210. All ladders happen on that day or the next days of November.
fn milliseconds(time: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<u64>().ok();
    let day = number(8..10)?.checked_sub(22)?;
    let seconds = ((day * 24 + number(11..13)?) * 60 + number(14..16)?) * 60 + number(17..19)?;
    let micros = (MIDNIGHT_S + seconds) * 1_000_000 + number(20..26)?;
    Some(micros.checked_sub(START_US)? / 1_000)
}

/// Compares line by line. Contact lines are compared where the ladder tells any.
fn agree(truth: &[Truth], seen: &[Truth]) -> Outcome<()> {
    let contacts = truth.iter().any(|line| matches!(line.says, Says::Contact(_)));
    let seen = seen.iter().filter(|line| contacts || !matches!(line.says, Says::Contact(_)));
    let mut seen: Vec<_> = seen.collect();
    let mut truth: Vec<_> = truth.iter().collect();
    truth.sort_by(|a, b| order(a).cmp(&order(b)));
    seen.sort_by(|a, b| order(a).cmp(&order(b)));
    let mut wrong = Vec::new();
    let (mut left, mut right) = (truth.iter().peekable(), seen.iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(want), Some(have)) if matches(want, have) => {
                left.next();
                right.next();
            }
            (Some(want), Some(have)) if order(want) == order(have) => {
                wrong.push(format!("  worked out {}\n  seen       {}", show(want), show(have)));
                left.next();
                right.next();
            }
            (Some(want), have) if have.is_none_or(|have| order(want) < order(have)) => {
                wrong.push(format!("  missing    {}", show(want)));
                left.next();
            }
            (_, have) => {
                wrong.extend(have.map(|have| format!("  unexpected {}", show(have))));
                right.next();
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn order(line: &Truth) -> (u64, &str, u8) {
    let kind = match line.says {
        Says::Status { .. } => 0,
        Says::Contact(_) => 1,
        Says::Redial { .. } => 2,
    };
    (line.at_ms, &line.aor, kind)
}

/// What the person left out is not compared.
fn matches(want: &Truth, have: &Truth) -> bool {
    let same = match (&want.says, &have.says) {
        (
            Says::Status { terminal, session, rule, confidence, watching },
            Says::Status { terminal: t, session: s, rule: r, confidence: c, watching: w },
        ) => {
            (terminal, session, rule) == (t, s, r)
                && (confidence.is_none() || confidence == c)
                && (watching.is_none() || watching == w)
        }
        (want, have) => want == have,
    };
    same && order(want) == order(have)
}

fn show(line: &Truth) -> String {
    let (seconds, millis) = (line.at_ms / 1_000, line.at_ms % 1_000);
    let says = match &line.says {
        Says::Status { terminal, session, rule, confidence, watching } => {
            let confidence = confidence.as_deref().unwrap_or("(any confidence)");
            let watching = match watching {
                Some(true) => " watching",
                Some(false) | None => "",
            };
            format!("{terminal}/{session} {rule} {confidence}{watching}")
        }
        Says::Contact(contact) => format!("contact {contact}"),
        Says::Redial { callee, step, word } => {
            format!("redial {callee} {step} {}", word.as_deref().unwrap_or_default())
        }
    };
    format!("{seconds}.{millis:03} {} {says}", line.aor)
}

#[test]
fn a_difference_is_told_by_line_and_key() {
    let old = [r#"{"kind":"status","session":"idle","peer":"sip:bob@example.com"}"#.to_owned()];
    let new = [r#"{"kind":"status","session":"talking"}"#.to_owned()];
    let told = differences(&old, &new).unwrap_err();
    assert_eq!(
        told,
        "line 1:\n  peer: expected \"sip:bob@example.com\", seen (absent)\n  session: expected \"idle\", seen \"talking\""
    );
    assert!(differences(&old, &old).is_ok());
    assert!(differences(&old, &[]).unwrap_err().contains("line 1 is missing"));
}

#[test]
fn what_a_person_worked_out_is_compared_to_the_millisecond() {
    let text = "phone alice 192.0.2.11\n#= 1.000 alice online/idle register-200\n#= 2.500 alice offline/idle register-expired weak\n";
    let truth = Ladder::parse("test", text).unwrap().truth;
    let line = |time: &str, terminal: &str, rule: &str| {
        let line = serde_json::json!({
            "kind": "status", "time": time, "presentity": "sip:alice@example.com", "terminal": terminal,
            "session": "idle", "because": {"rule": rule}, "confidence": "weak", "watching": false,
        });
        statement(&line).unwrap().unwrap()
    };
    let first = line("2026-11-22T08:00:01.000999Z", "online", "register-200");
    let second = line("2026-11-22T08:00:02.500000Z", "offline", "register-expired");
    assert!(agree(&truth, &[first.clone(), second.clone()]).is_ok());
    assert!(agree(&truth, std::slice::from_ref(&first)).unwrap_err().contains("missing    2.500"));
    let late = line("2026-11-22T08:00:02.501000Z", "offline", "register-expired");
    let told = agree(&truth, &[first.clone(), late]).unwrap_err();
    assert!(told.contains("missing    2.500") && told.contains("unexpected 2.501"), "{told}");
    let other = line("2026-11-22T08:00:02.500000Z", "offline", "unregister-200");
    assert!(agree(&truth, &[first, other]).unwrap_err().contains("worked out 2.500"));
}

#[test]
fn a_ladder_that_makes_no_sense_is_refused_with_its_line() {
    let cases = [
        ("0.0 alice registers", "nobody is called alice"),
        ("phone alice 192.0.2.11\n0.0 alice -> bob INVITE", "nobody is called bob"),
        ("phone alice nowhere", "not an address"),
        (
            "phone alice 192.0.2.11\nphone bob 192.0.2.12\n0.0 alice -> bob INVITE frobnicate=1",
            "no such word",
        ),
    ];
    for (text, complaint) in cases {
        let told = Ladder::parse("test", text).unwrap_err();
        let line = format!("line {}", text.lines().count());
        assert!(told.contains(complaint) && told.contains(&line), "{told}");
    }
}
