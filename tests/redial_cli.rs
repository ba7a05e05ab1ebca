//! Redial as its users meet it: arguments and a configuration in, standard output, standard error and exit code out.
//! In: the golden case of somebody who is called in vain and comes back. Out: what a shell sees. Knows nothing of the library inside.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// How a run of the program ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of_kind(&self, kind: &str) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        self.out.lines().map(parse).filter(|line: &Value| line["kind"] == kind).collect()
    }

    /// Standard error is one sentence that has these words.
    fn says(&self, words: &str) {
        assert_eq!(self.err.lines().count(), 1, "not one sentence: {}", self.err);
        assert!(self.err.starts_with("offhook: ") && self.err.contains(words), "{}", self.err);
    }
}

fn run(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.env_remove("OFFHOOK_CONFIG").env_remove("COLUMNS").stdin(Stdio::null());
    let output = command.args(arguments).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A configuration file, and the folder that it is in as long as that is kept.
fn configuration(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("redial.toml");
    fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap().to_owned();
    (folder, name)
}

const WHEN_BACK: &str = "captures/redial-when-back.pcap";

#[test]
#[expect(clippy::disallowed_types, reason = "a proxy that nobody talks to")]
fn redial_in_a_replay_says_what_it_would_do_and_rings_no_phone() {
    let proxy = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = format!("[redial]\nenabled = true\nserver = \"sip:{}\"\n", proxy.local_addr().unwrap());
    let (_folder, config) = configuration(&text);
    let ran = run(&["replay", "--config", &config, "--format", "jsonl", WHEN_BACK]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.says("redial is a dry run in a replay");
    let steps = ran.of_kind("redial");
    let asked: Vec<_> = steps.iter().filter(|line| line["step"] == "asked").collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["caller"], "sip:alice@example.com");
    assert_eq!(asked[0]["callee"], "sip:bob@example.com");
    assert_eq!(asked[0]["way"], "refer");
    assert!(steps.iter().all(|line| line["dry_run"] == true && line["because"]["frame"].is_u64()));
    let counts = &ran.of_kind("summary")[0]["redial"];
    assert_eq!((&counts["wished"], &counts["asked"], &counts["open"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!((&counts["outcomes"]["talked"], &counts["dry_run"]), (&1.into(), &true.into()));
    proxy.set_nonblocking(true).unwrap();
    assert!(proxy.recv_from(&mut [0; 100]).is_err(), "nothing was sent");
    let slowly = run(&["replay", "--config", &config, "--format", "jsonl", "--speed", "200", WHEN_BACK]);
    assert_eq!(slowly.out, ran.out, "the same at any speed");
}

#[test]
fn without_redial_nothing_is_said_of_wishes_and_a_flag_switches_it_on() {
    let without = run(&["replay", "--format", "jsonl", WHEN_BACK]);
    assert_eq!((without.code, without.err.as_str()), (0, ""));
    assert!(without.of_kind("redial").is_empty() && without.of_kind("summary")[0].get("redial").is_none());
    let with = run(&["replay", "--redial", WHEN_BACK]);
    assert_eq!(with.code, 0, "{}", with.err);
    for words in [
        "↻ alice@example.com called bob@example.com in vain: bob@example.com is not registered (480 Temporarily",
        "↻ alice@example.com's phone would be asked to call bob@example.com (refer)  (register-200, frame 16)",
        "↻ carol@example.com's phone is not asked yet to call bob@example.com: another caller was asked just now",
        "↻ alice@example.com and bob@example.com talk: the wish is fulfilled  (invite-200, frame 21)",
        "Redial (dry run: no phone was asked): 2 wishes, phones would have been asked 1 time, 1 still open; talked 1.",
    ] {
        assert!(with.out.contains(words), "no {words}\n{}", with.out);
    }
}

#[test]
fn explain_tells_the_wishes_of_the_caller_and_of_the_callee() {
    let of = |user: &str| run(&["explain", "--redial", &format!("{user}@example.com"), WHEN_BACK]);
    let bob = of("bob");
    assert_eq!((bob.code, bob.err.as_str()), (0, ""));
    for words in [
        "↻ carol@example.com called bob@example.com in vain: bob@example.com is not registered (404 Not Found)\n",
        "wish 2 until 2026-11-22T09:00:05.010000Z: the call was refused or could not be connected (invite-failed, \
         frame 13, Call-ID ",
        "↻ bob@example.com, whom alice@example.com called, is back: the phone registered\n",
    ] {
        assert!(bob.out.contains(words), "no {words}\n{}", bob.out);
    }
    let alice = of("alice");
    assert!(alice.out.contains("wish 1") && !alice.out.contains("wish 2"), "{}", alice.out);
    assert!(!run(&["explain", "bob@example.com", WHEN_BACK]).out.contains('↻'));
}

#[test]
fn a_tap_asks_no_phone_unless_it_is_told_how() {
    let refused = |arguments: &[&str], words: &str| {
        let ran = run(arguments);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains(words) && ran.err.contains("Usage: offhook tap"), "{}", ran.err);
    };
    refused(&["tap", "--dry-run"], "--dry-run says what --redial would do");
    refused(&["tap", "--redial"], "--redial: the configuration names no proxy that reaches the phones");
    let (_folder, config) = configuration("[redial]\nenabled = true\n");
    let ran = run(&["tap", "--config", &config]);
    assert_eq!(ran.code, 1);
    ran.says("redial.toml, line 2: `redial.enabled` needs a `server` beside it");
    // What is said of the interface shows that the rest was taken.
    let begun = run(&["tap", "--redial", "--dry-run", "-i", "no-such-interface"]);
    assert_eq!(begun.code, 1, "{}", begun.err);
    begun.says("no-such-interface");
}
