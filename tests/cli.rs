//! The program as its users meet it: arguments in, standard output, standard error and exit code out.
//! In: small captures written here. Out: what a shell sees. Knows nothing of the library inside.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// How a run of the program ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        self.out.lines().map(parse).collect()
    }

    fn of_kind(&self, kind: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["kind"] == kind).collect()
    }

    /// Standard error is one sentence that names all of these.
    fn says(&self, words: &[&str]) {
        assert_eq!(self.err.lines().count(), 1, "not one sentence: {}", self.err);
        assert!(self.err.starts_with("offhook: "), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "`{word}` is not in: {}", self.err);
        }
    }
}

fn offhook() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.env_remove("OFFHOOK_CONFIG").env_remove("COLUMNS").stdin(Stdio::null());
    command
}

fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(arguments: &[&str]) -> Ran {
    finish(offhook().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn run_fed(arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = offhook()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    finish(child)
}

const ALICE: ([u8; 4], u16) = ([192, 0, 2, 10], 5060);
const REGISTRAR: ([u8; 4], u16) = ([192, 0, 2, 1], 5060);
/// 2026-11-22T06:08:01Z.
const START_S: u32 = 1_795_327_681;
const PCAP_HEADER: usize = 24;

/// A pcap file of raw IPv4 packets (LINKTYPE_RAW).
struct Capture(Vec<u8>);

impl Capture {
    fn of_link_type(link_type: u32) -> Self {
        let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(262_144_u32.to_le_bytes());
        bytes.extend(link_type.to_le_bytes());
        Self(bytes)
    }

    fn packet(&mut self, ms: u32, from: ([u8; 4], u16), to: ([u8; 4], u16), text: &str) {
        let text = text.replace('\n', "\r\n");
        let udp_length = u16::try_from(8 + text.len()).unwrap();
        let length = 20 + udp_length;
        let [time_s, time_us] = [START_S + ms / 1_000, ms % 1_000 * 1_000];
        for field in [time_s, time_us, u32::from(length), u32::from(length)] {
            self.0.extend(field.to_le_bytes());
        }
        let mut header = vec![0x45, 0];
        header.extend(length.to_be_bytes());
        header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        header.extend(from.0);
        header.extend(to.0);
        let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        header[10..12].copy_from_slice(&(!u16::try_from(folded & 0xffff).unwrap()).to_be_bytes());
        self.0.extend(header);
        for field in [from.1, to.1, udp_length, 0] {
            self.0.extend(field.to_be_bytes());
        }
        self.0.extend(text.bytes());
    }

    /// `user` registers from `address`, and is accepted 10 ms later.
    fn registration(&mut self, ms: u32, user: &str, address: [u8; 4]) {
        let ip = address.map(|byte| byte.to_string()).join(".");
        let fields = format!(
            "Via: SIP/2.0/UDP {ip}:5060;branch=z9hG4bK{user}{ms}\n\
             From: <sip:{user}@example.com>;tag={user}\n\
             To: <sip:{user}@example.com>{{tag}}\n\
             Call-ID: register-{user}@{ip}\n\
             CSeq: 1 REGISTER\n\
             Contact: <sip:{user}@{ip}:5060>;expires=3600\n"
        );
        let request = format!(
            "REGISTER sip:example.com SIP/2.0\n{}Max-Forwards: 70\nUser-Agent: Phone/1\nContent-Length: 0\n\n",
            fields.replace("{tag}", "")
        );
        let response =
            format!("SIP/2.0 200 OK\n{}Content-Length: 0\n\n", fields.replace("{tag}", ";tag=registrar"));
        self.packet(ms, (address, 5060), REGISTRAR, &request);
        self.packet(ms + 10, REGISTRAR, (address, 5060), &response);
    }

    fn alice_registers() -> Self {
        let mut capture = Self::of_link_type(101);
        capture.registration(0, "alice", ALICE.0);
        capture
    }

    fn bob_registers_later() -> Self {
        let mut capture = Self::of_link_type(101);
        capture.registration(5_000, "bob", [192, 0, 2, 11]);
        capture
    }
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

// Reading.

#[test]
fn a_registration_makes_a_presentity_online() {
    let folder = Folder::new();
    let file = folder.file("alice.pcap", &Capture::alice_registers().0);
    let ran = run(&["replay", "--format", "jsonl", &file]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let [status] = &ran.of_kind("status")[..] else { panic!("{}", ran.out) };
    assert_eq!(status["time"], "2026-11-22T06:08:01.010000Z");
    assert_eq!(status["presentity"], "sip:alice@example.com");
    assert_eq!((&status["terminal"], &status["session"]), (&"online".into(), &"idle".into()));
    assert_eq!(status["because"]["rule"], "register-200");
    assert_eq!(status["because"]["frame"], 2);
    assert!(status["because"].get("source").is_none(), "one input needs no name");
    let last = ran.lines().pop().unwrap();
    assert_eq!(last["kind"], "summary");
    assert_eq!((&last["frames"], &last["sip_messages"]), (&2.into(), &2.into()));
    assert_eq!(last["time"], "2026-11-22T06:08:01.010000Z");
}

#[test]
fn the_end_of_a_file_expires_nothing() {
    let folder = Folder::new();
    let file = folder.file("alice.pcap", &Capture::alice_registers().0);
    let ran = run(&["replay", "--format", "jsonl", &file]);
    assert!(!ran.out.contains("register-expired"), "{}", ran.out);
}

#[test]
fn standard_input_and_compressed_files_give_the_same_lines() {
    let folder = Folder::new();
    let capture = Capture::alice_registers().0;
    let file = folder.file("alice.pcap", &capture);
    let expected = run(&["replay", "--format", "jsonl", &file]);
    let packed = folder.file("alice.pcap.gz", &gzip(&capture));
    let zstd = folder.file("alice", &zstd::encode_all(&capture[..], 1).unwrap());
    for ran in [
        run(&["replay", "--format", "jsonl", &packed]),
        run(&["replay", "--format", "jsonl", &zstd]),
        run_fed(&["replay", "--format", "jsonl", "-"], &capture),
        run_fed(&["replay", "--format", "jsonl", "-"], &gzip(&capture)),
    ] {
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert_eq!(ran.out, expected.out);
    }
}

#[test]
fn lines_come_while_standard_input_is_still_open() {
    let mut child = offhook()
        .args(["replay", "--format", "jsonl", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&Capture::alice_registers().0).unwrap();
    input.flush().unwrap();
    // Blocks for ever if the line is held back: then the test run's own time limit tells.
    let mut first = [0; 16];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, br#"{"kind":"status""#);
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn several_files_are_merged_by_time_and_named() {
    let folder = Folder::new();
    let late = folder.file("late.pcap", &Capture::bob_registers_later().0);
    let early = folder.file("early.pcap", &Capture::alice_registers().0);
    let ran = run(&["replay", "--format", "jsonl", &late, &early]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let status = ran.of_kind("status");
    let who: Vec<_> = status.iter().map(|line| line["presentity"].as_str().unwrap()).collect();
    assert_eq!(who, ["sip:alice@example.com", "sip:bob@example.com"]);
    assert_eq!(status[0]["because"]["source"], early.as_str());
    assert_eq!(status[1]["because"]["source"], late.as_str());
}

#[test]
fn a_filter_leaves_out_what_does_not_pass_it() {
    let folder = Folder::new();
    let mut capture = Capture::alice_registers();
    capture.registration(5_000, "bob", [192, 0, 2, 11]);
    let file = folder.file("both.pcap", &capture.0);
    let ran = run(&["replay", "--format", "jsonl", "--filter", "host 192.0.2.11", &file]);
    let [status] = &ran.of_kind("status")[..] else { panic!("{}", ran.out) };
    assert_eq!(status["presentity"], "sip:bob@example.com");
    assert_eq!(status["because"]["frame"], 4, "records are counted before the filter");
    let ran = run(&["replay", "--filter", "host and host", &file]);
    assert_eq!(ran.code, 1);
    ran.says(&["filter", "host and host"]);
}

#[test]
fn the_ladder_shows_messages_statuses_and_a_table() {
    let folder = Folder::new();
    let file = folder.file("alice.pcap", &Capture::alice_registers().0);
    let ran = run(&["replay", &file]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for part in [
        "2026-11-22 06:08:01.000000 UTC",
        "192.0.2.10",
        "REGISTER",
        "200 OK",
        "● alice@example.com  unknown/idle → online/idle",
        "(register-200, frame 2",
        "2 frames, 2 SIP messages, 1 presentity, 1 change",
    ] {
        assert!(ran.out.contains(part), "`{part}` is not in:\n{}", ran.out);
    }
    assert!(!ran.out.contains('\x1b'), "colours are for terminals");
}

#[test]
fn nothing_on_the_wire_steers_the_terminal() {
    let folder = Folder::new();
    let mut capture = Capture::of_link_type(101);
    let hostile = "INVITE sip:bob\x1b[2J@example.com SIP/2.0\n\
        Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\n\
        From: \"\x1b]0;owned\x07\" <sip:al\x1b[31mice@example.com>;tag=1\n\
        To: <sip:bob@example.com>\nCall-ID: \x1b[5m1\nCSeq: 1 INVITE\nContent-Length: 0\n\n";
    capture.packet(0, ALICE, REGISTRAR, hostile);
    let ringing =
        hostile.replace("INVITE sip:bob\x1b[2J@example.com SIP/2.0", "SIP/2.0 180 \x1b[2JRing\x07ing");
    capture.packet(
        10,
        REGISTRAR,
        ALICE,
        &ringing.replace("To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=2"),
    );
    let file = folder.file("hostile.pcap", &capture.0);
    for arguments in [
        &["replay", &file][..],
        &["replay", "--format", "jsonl", &file],
        &["explain", "bob@example.com", &file],
        &["explain", "carol@example.com", &file],
    ] {
        let ran = run(arguments);
        let shown = ran.out + &ran.err;
        let control = shown.chars().find(|character| character.is_control() && *character != '\n');
        assert_eq!(control, None, "{arguments:?}: {shown:?}");
    }
}

#[test]
fn time_passes_as_fast_as_asked() {
    let folder = Folder::new();
    let mut capture = Capture::alice_registers();
    capture.registration(3_000, "bob", [192, 0, 2, 11]);
    let file = folder.file("both.pcap", &capture.0);
    #[expect(clippy::disallowed_methods, reason = "measures the wait")]
    let began = std::time::Instant::now();
    let slow = run(&["replay", "--format", "jsonl", "--speed", "10", &file]);
    assert!(began.elapsed().as_millis() >= 300, "3 s of packets at ten times the speed");
    assert_eq!(slow.out, run(&["replay", "--format", "jsonl", &file]).out, "speed changes no line");
}

// Bad input: SPEC section 13.

#[test]
fn missing_files_and_directories() {
    let folder = Folder::new();
    let missing = folder.path("nowhere.pcap");
    let ran = run(&["replay", "--format", "jsonl", &missing]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    ran.says(&["nowhere.pcap", "no such file"]);
    let ran = run(&["replay", folder.0.path().to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    ran.says(&[folder.0.path().to_str().unwrap(), "directory"]);
}

#[test]
fn files_that_are_no_captures() {
    let folder = Folder::new();
    for (name, bytes, words) in [
        ("empty.pcap", &b""[..], &["empty.pcap", "empty", "byte 0"][..]),
        ("letter.txt", b"Dear Sir or Madam, this is no capture.", &["letter.txt", "not a"]),
        ("short.pcap", &Capture::of_link_type(101).0[..10], &["short.pcap", "truncated"]),
        ("strange.pcap", &Capture::of_link_type(147).0, &["strange.pcap", "link type 147"]),
    ] {
        let file = folder.file(name, bytes);
        let ran = run(&["replay", "--format", "jsonl", &file]);
        assert_eq!(ran.code, 1, "{name}");
        ran.says(words);
        assert!(ran.of_kind("status").is_empty(), "{}", ran.out);
    }
}

#[test]
fn what_was_read_before_the_file_broke_off_is_kept() {
    let folder = Folder::new();
    let mut capture = Capture::alice_registers();
    let whole = capture.0.len();
    capture.registration(5_000, "bob", [192, 0, 2, 11]);
    capture.0.truncate(whole + 40);
    let file = folder.file("cut.pcap", &capture.0);
    let ran = run(&["replay", "--format", "jsonl", &file]);
    assert_eq!(ran.code, 1);
    ran.says(&["cut.pcap", "truncated", "record 3", &whole.to_string()]);
    assert_eq!(ran.of_kind("status").len(), 1);
    let summary = ran.lines().pop().unwrap();
    assert_eq!((&summary["kind"], &summary["frames"]), (&"summary".into(), &2.into()));
}

#[test]
fn damaged_compression_keeps_what_was_read() {
    let folder = Folder::new();
    let mut capture = Capture::alice_registers();
    // Enough that whole blocks come out before the damage.
    for number in 0..2_000 {
        let address = [198, 51, 100, u8::try_from(number % 250).unwrap()];
        capture.registration(1_000 + number, &format!("user{number}"), address);
    }
    let mut packed = gzip(&capture.0);
    let half = packed.len() / 2;
    packed.truncate(half);
    let file = folder.file("cut.pcap.gz", &packed);
    let ran = run(&["replay", "--format", "jsonl", &file]);
    assert_eq!(ran.code, 1);
    ran.says(&["cut.pcap.gz"]);
    assert!(!ran.of_kind("status").is_empty());
    assert_eq!(ran.lines().pop().unwrap()["kind"], "summary");
}

#[test]
fn one_bad_file_among_several_does_not_stop_the_others() {
    let folder = Folder::new();
    let bad = folder.file("bad.pcap", b"this is not a capture at all, but long enough to be one");
    let good = folder.file("good.pcap", &Capture::alice_registers().0);
    let later = folder.file("later.pcap", &Capture::bob_registers_later().0);
    let ran = run(&["replay", "--format", "jsonl", &good, &bad, &later]);
    assert_eq!(ran.code, 1);
    ran.says(&["bad.pcap"]);
    assert_eq!(ran.of_kind("status").len(), 2);
    assert_eq!(ran.lines().pop().unwrap()["kind"], "summary");
}

#[test]
fn every_cut_of_a_capture_ends_in_an_exit_code() {
    let capture = Capture::alice_registers().0;
    for length in (0..capture.len()).step_by(37) {
        let ran = run_fed(&["replay", "--format", "jsonl", "-"], &capture[..length]);
        let whole = length == PCAP_HEADER;
        assert!(ran.code == 1 || (whole && ran.code == 0), "{length} bytes: {}", ran.code);
        assert!(!ran.err.contains("panicked"), "{length} bytes: {}", ran.err);
    }
}

#[test]
fn a_capture_without_packets_is_no_error() {
    let ran = run_fed(&["replay", "--format", "jsonl", "-"], &Capture::of_link_type(101).0);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.lines()[0]["frames"], 0);
}

// Usage.

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["nonsense"][..],
        &["replay"],
        &["replay", "--format", "xml", "a.pcap"],
        &["replay", "--speed", "0", "a.pcap"],
        &["replay", "--speed", "fast", "a.pcap"],
        &["replay", "--publish", "presence.example.com", "a.pcap"],
        &["replay", "--publish", "sip:presence.example.com;transport=ws", "a.pcap"],
        &["replay", "--watch", "a.pcap"],
        &["watch", "--server", "sip:192.0.2.20"],
        &["watch", "bob@example.com"],
        &["watch", "bob@example.com", "--server", "presence.example.com"],
        &["watch", "bob@example.com", "--server", "sip:192.0.2.20", "--events", "winfo"],
        &["replay", "--publish", "config", "a.pcap"],
        &["replay", "--domain", "alice@example.com", "a.pcap"],
        &["replay", "--unknown", "a.pcap"],
        &["explain", "alice@example.com"],
        &["explain", "", "a.pcap"],
        &["config"],
        &["config", "check"],
        &[],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments:?}");
        assert!(!ran.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_results() {
    for arguments in [&["--help"][..], &["--version"], &["replay", "--help"], &["explain", "--help"]] {
        let ran = run(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        assert!(!ran.out.is_empty());
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let folder = Folder::new();
    let mut capture = Capture::of_link_type(101);
    for number in 0..3_000 {
        let address = [198, 51, 100, u8::try_from(number % 250).unwrap()];
        capture.registration(number * 20, &format!("user{number}"), address);
    }
    let file = folder.file("many.pcap", &capture.0);
    for format in ["text", "jsonl"] {
        let mut child = offhook()
            .args(["replay", "--format", format, &file])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 100]).unwrap();
        drop(out);
        let ran = finish(child);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{format}");
    }
}

// Explaining.

#[test]
fn explain_tells_what_is_known_and_why() {
    let folder = Folder::new();
    let file = folder.file("alice.pcap", &Capture::alice_registers().0);
    for spelling in ["alice@example.com", "sip:alice@EXAMPLE.com:5060;transport=udp"] {
        let ran = run(&["explain", spelling, &file]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        for part in [
            "sip:alice@example.com\n",
            "registered at 192.0.2.1:5060",
            "register-alice@192.0.2.10",
            "now: online/idle",
        ] {
            assert!(ran.out.contains(part), "`{part}` is not in:\n{}", ran.out);
        }
    }
}

#[test]
fn explain_names_similar_users_when_there_is_no_such_one() {
    let folder = Folder::new();
    let file = folder.file("alice.pcap", &Capture::alice_registers().0);
    let ran = run(&["explain", "alicia@example.com", &file]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    ran.says(&["sip:alicia@example.com", "sip:alice@example.com"]);
}

#[test]
fn explain_says_when_the_managed_domains_leave_the_user_out() {
    let folder = Folder::new();
    let file = folder.file("alice.pcap", &Capture::alice_registers().0);
    let ran =
        run(&["explain", "alice@example.com", &file, "--domain", "example.org", "--domain", "b.example"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let why = "now: sip:alice@example.com is not watched: the managed domains are example.org, b.example, so";
    assert!(ran.out.contains(why) && !ran.out.contains("nobody"), "{}", ran.out);
    let ran = run(&["explain", "carol@example.com", &file, "--domain", "example.org"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    ran.says(&["carol@example.com is not watched", "example.org", "never comes up"]);
}

// Configuration.

#[test]
fn configuration_errors_name_file_line_and_key_and_exit_1() {
    let folder = Folder::new();
    let wrong = folder.file("wrong.toml", b"talking_on = \"ack\"\n\n[publish]\nexpires = 60\n");
    let capture = folder.file("alice.pcap", &Capture::alice_registers().0);
    for arguments in [
        &["config", "check", &wrong][..],
        &["config", "check", "--config", &wrong],
        &["config", "show", "--config", &wrong],
        &["replay", "--config", &wrong, &capture],
    ] {
        let ran = run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{arguments:?}");
        ran.says(&["wrong.toml", "line 4", "`expires`"]);
    }
    let ran = run(&["config", "check", &folder.path("none.toml")]);
    assert_eq!(ran.code, 1);
    ran.says(&["none.toml", "no such file"]);
}

#[test]
fn all_faults_of_a_configuration_are_told_one_a_line() {
    let folder = Folder::new();
    let text = b"talkin_on = \"ack\"\n[publish]\nserver = \"sip:example.com;foo=bar\"\nuser = \"me\"\n\
                 password_file = \"no.password\"\n[[webhook]]\nurl = \"http://127.0.0.1\"\nsecret_file = \"no.secret\"\n";
    let wrong = folder.file("wrong.toml", text);
    let ran = run(&["config", "check", &wrong]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let told: Vec<&str> = ran.err.lines().collect();
    let expected = [
        ["line 1: ", "`talkin_on`"],
        ["line 3: `publish.server` ", "unknown parameter `foo`"],
        ["line 5: `publish.password_file` ", "no.password: there is no such file"],
        ["line 8: `webhook.secret_file` ", "no.secret: there is no such file"],
    ];
    assert_eq!(told.len(), expected.len(), "{}", ran.err);
    for (told, words) in told.iter().zip(expected) {
        assert!(told.contains("wrong.toml, ") && words.iter().all(|word| told.contains(word)), "{told}");
    }
}

#[test]
fn files_that_a_configuration_names_are_shown_where_they_are() {
    let folder = Folder::new();
    folder.file("secret", b"s3cret\n");
    let text = b"[publish]\ntls_ca_file = \"ca.pem\"\nuser = \"me\"\npassword_file = \"secret\"\n";
    folder.file("offhook.toml", text);
    let mut command = offhook();
    command.current_dir(folder.0.path()).args(["config", "show", "--config", "offhook.toml"]);
    let shown = finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    let path = |name: &str| fs::canonicalize(folder.0.path()).unwrap().join(name).display().to_string();
    assert!(shown.out.contains(&format!("tls_ca_file = \"{}\"", path("ca.pem"))), "{}", shown.out);
    assert!(shown.out.contains(&format!("password_file = \"{}\"", path("secret"))), "{}", shown.out);
    // Wherever it is kept, what was shown means the same files.
    let elsewhere = Folder::new().0;
    let copy = elsewhere.path().join("copy.toml");
    fs::write(&copy, &shown.out).unwrap();
    assert_eq!(run(&["config", "show", "--config", copy.to_str().unwrap()]).out, shown.out);
}

#[test]
fn usage_that_is_wrong_shows_how_the_subcommand_is_used() {
    for (arguments, usage) in [
        (&["config", "check"][..], "Usage: offhook config check"),
        (&["replay", "--publish", "config", "a.pcap"], "Usage: offhook replay"),
        (&["replay", "--webhooks", "a.pcap"], "Usage: offhook replay"),
        (&["replay", "--listen", "udp:127.0.0.1:0", "a.pcap"], "Usage: offhook replay"),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.err.contains(usage), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn what_config_show_prints_is_a_right_configuration() {
    let folder = Folder::new();
    let shown = run(&["config", "show"]);
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    let file = folder.file("shown.toml", shown.out.as_bytes());
    let checked = run(&["config", "check", &file]);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
    assert!(checked.out.ends_with("shown.toml: ok\n"), "{}", checked.out);
    assert_eq!(run(&["config", "show", "--config", &file]).out, shown.out);
}

/// The keys of a configuration file, also those that stand there as a comment. A table whose keys are an operator's
/// own counts as one.
fn keys_of(toml: &str) -> BTreeSet<String> {
    let (mut keys, mut table) = (BTreeSet::new(), None);
    for line in toml.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            keys.extend(
                table
                    .replace(name.trim_matches(['[', ']']).to_owned())
                    .filter(|table| matches!(table.as_str(), "session_type" | "numbers" | "presence.users")),
            );
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.insert(table.as_ref().map_or(key.to_owned(), |table| format!("{table}.{key}")));
        }
    }
    keys
}

/// The keys in the first column of the README's table of them: `a.b`, or `a.b`, `.c` for two of one table.
fn keys_of_readme(readme: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let rows = readme.lines().skip_while(|line| !line.starts_with("| key | default |")).skip(2);
    for row in rows.take_while(|line| line.starts_with('|')) {
        let mut table = "";
        for key in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            let key = key.split(".\"").next().unwrap();
            table = key
                .rsplit_once('.')
                .map(|(table, _)| table)
                .filter(|table| !table.is_empty())
                .unwrap_or(table);
            keys.insert(if key.starts_with('.') { format!("{table}{key}") } else { key.to_owned() });
        }
    }
    keys
}

#[test]
fn the_readme_lists_each_key_of_the_configuration_and_no_other() {
    let shown = keys_of(&run(&["config", "show"]).out);
    assert!(shown.contains("talking_on") && shown.contains("publish.server"), "{shown:?}");
    assert_eq!(keys_of_readme(&fs::read_to_string("README.md").unwrap()), shown);
}

#[test]
fn the_flag_wins_over_the_environment() {
    let folder = Folder::new();
    let given = folder.file("given.toml", b"talking_on = \"ack\"");
    let other = folder.file("other.toml", b"talking_on = \"200\"");
    let show = |arguments: &[&str]| {
        let output = offhook().env("OFFHOOK_CONFIG", &other).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(show(&["config", "show"]).contains("talking_on = \"200\""));
    assert!(show(&["config", "show", "--config", &given]).contains("talking_on = \"ack\""));
}

#[test]
fn a_presence_server_that_does_not_answer_is_told_and_exit_1() {
    // A socket that is bound and never read.
    #[expect(clippy::disallowed_types, reason = "stands for a dead server")]
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = Folder::new();
    let file = folder.file("alice.pcap", &Capture::alice_registers().0);
    let server = format!("sip:{}", silent.local_addr().unwrap());
    let ran = run(&["replay", "--format", "jsonl", "--publish", &server, &file]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("did not acknowledge"), "{}", ran.err);
    assert_eq!(ran.of_kind("status").len(), 1);
    let failed: u64 = ran.lines().pop().unwrap()["publications"]["failed"].as_u64().unwrap();
    assert_eq!(failed, ran.of_kind("publication").len() as u64);
    let mut request = [0; 64];
    let (length, _) = silent.recv_from(&mut request).unwrap();
    assert!(request[..length].starts_with(b"PUBLISH sip:alice@example.com SIP/2.0\r\n"));
}

#[test]
fn a_presence_server_that_is_not_there_is_told_and_exit_1() {
    let folder = Folder::new();
    let file = folder.file("alice.pcap", &Capture::alice_registers().0);
    // Port 9 discards, where anything listens there at all.
    let ran = run(&["replay", "--format", "jsonl", "--publish", "sip:127.0.0.1:9", &file]);
    assert_eq!(ran.code, 1);
    let told: Vec<&str> = ran.err.lines().collect();
    // Where the refusal comes before the end of the capture, it is told at once as well.
    let (waiting, failed) = match told[..] {
        [waiting, failed] => (waiting, failed),
        [early, waiting, failed] if early.contains("cannot be reached, and is tried again: udp:") => {
            (waiting, failed)
        }
        _ => panic!("not two sentences: {}", ran.err),
    };
    assert!(waiting.contains("waiting up to 40 s for sip:127.0.0.1:9"), "{waiting}");
    assert!(failed.contains("sip:127.0.0.1:9 did not acknowledge everything"), "{failed}");
    let ran = run(&["replay", "--publish", "sip:presence.invalid", &file]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    ran.says(&["presence.invalid"]);
}

/// `offhook presence` on a free port of loopback.
struct PresenceServer {
    child: Child,
    uri: String,
}

impl PresenceServer {
    fn start() -> Self {
        let mut child = offhook()
            .args(["presence", "--listen", "udp:127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        // Byte by byte: what comes after stays in the pipe.
        let mut err = child.stderr.take().unwrap();
        while !said.ends_with('\n') {
            let mut byte = [0];
            err.read_exact(&mut byte).unwrap();
            said.push(char::from(byte[0]));
        }
        child.stderr = Some(err);
        let port = said.trim().rsplit_once(':').unwrap().1;
        Self { uri: format!("sip:127.0.0.1:{port}"), child }
    }

    /// What it says at its end.
    fn stop(self) -> String {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        finish(self.child).err
    }
}

#[test]
fn of_several_presence_servers_one_that_has_no_address_is_done_without() {
    let folder = Folder::new();
    let file = folder.file("alice.pcap", &Capture::alice_registers().0);
    let server = PresenceServer::start();
    let both = format!("[publish]\nserver = [\"sip:presence.invalid\", \"{}\"]\n", server.uri);
    let both = folder.file("both.toml", both.as_bytes());
    let ran = run(&["replay", "--format", "jsonl", "--publish", "config", "--config", &both, &file]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.lines().pop().unwrap()["publications"]["acknowledged"].as_u64().unwrap() >= 2);
    let end = server.stop();
    assert!(end.contains(" 0 refused"), "{end}");
    let neither = b"[publish]\nserver = [\"sip:presence.invalid\", \"sip:gone.invalid\"]\n";
    let neither = folder.file("neither.toml", neither);
    let ran = run(&["replay", "--publish", "config", "--config", &neither, &file]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (1, "", 1), "{}", ran.err);
}

#[test]
fn what_was_published_is_taken_back_when_nobody_reads_on() {
    let folder = Folder::new();
    let mut capture = Capture::of_link_type(101);
    for number in 0..40 {
        capture.registration(number * 50, &format!("user{number}"), [198, 51, 100, 1]);
    }
    let file = folder.file("many.pcap", &capture.0);
    let server = PresenceServer::start();
    let mut child = offhook()
        .args(["replay", "--format", "jsonl", "--speed", "1", "--publish", &server.uri, &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.by_ref().map(Result::unwrap).find(|line| line.contains("\"acknowledged\"")).unwrap();
    drop(lines);
    let ran = finish(child);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let end = server.stop();
    assert!(end.contains("; 0 presentities were known at the end"), "{end}");
}

/// The README shows every command as it is.
#[test]
fn the_readme_names_only_commands_that_exist() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let help = String::from_utf8(offhook().arg("--help").output().unwrap().stdout).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let commands: Vec<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"presence") && commands.contains(&"replay"), "{help}");
    // Every second part between fences is an example.
    let examples = readme.split("```").skip(1).step_by(2).flat_map(str::lines);
    let told = examples.filter_map(|line| line.strip_prefix("offhook "));
    let quoted = readme.split("`offhook ").skip(1);
    let words = told.clone().chain(quoted).filter_map(|rest| rest.split([' ', '`']).next());
    for word in words.filter(|word| word.starts_with(|first: char| first.is_ascii_lowercase())) {
        assert!(commands.contains(&word), "the README tells of `offhook {word}`, which does not exist");
    }
    for command in commands.iter().filter(|&&command| command != "help") {
        assert!(
            told.clone().any(|line| line.starts_with(command)),
            "the README does not tell of `{command}`"
        );
    }
}

#[test]
fn scripts_are_there_and_run() {
    use std::os::unix::fs::PermissionsExt;
    for name in ["scripts/run", "scripts/test", ".ci/run"] {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name} is not executable");
        let checked = Command::new("bash").arg("-n").arg(&path).status().unwrap();
        assert!(checked.success(), "{name} is no valid shell script");
    }
}

#[test]
fn a_live_pipe_is_ended_in_order_by_a_signal() {
    let mut child = offhook()
        .args(["replay", "--format", "jsonl", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut input = child.stdin.take().unwrap();
    input.write_all(&fs::read(captures.join("busy-486.pcap")).unwrap()).unwrap();
    let expected = fs::read_to_string(captures.join("busy-486.expected.jsonl")).unwrap();
    let lines = expected.lines().count() - 1;
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..lines {
        output.read_line(&mut String::new()).unwrap();
    }

    // All was told but the summary. Nothing more comes, and the pipe stays open: only the signal ends it.
    let pid = child.id().to_string();
    assert!(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(finish(child).code, 0);
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!(last["kind"], "summary");
    assert_eq!(last["changes"], lines);
    drop(input);
}
