//! `offhook tap` on a real interface: in a network namespace of its own, at the end of a cable (veth) into which the test
//! sends frames. Without root, or without `ip`, each test says that it was skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "frames are sent as time passes, and lines waited for")]

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use offhook::io::capture::CaptureReader;
use serde_json::Value;
use support::ladder::Ladder;
use support::wire::{self, CapturedFrame};

/// Nothing here takes longer on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(20);

const PARTIES: &str = "phone alice 192.0.2.11\nphone bob 192.0.2.12\nproxy pbx 192.0.2.1\n";

const REGISTER_AND_CALL: &str = "
0.000 alice registers
0.020 bob registers
0.100 alice -> pbx -> bob INVITE
0.120 bob -> pbx -> alice 180
0.200 bob -> pbx -> alice 200
0.210 alice -> pbx -> bob ACK
0.400 alice -> pbx -> bob BYE
0.410 bob -> pbx -> alice 200
";

fn frames_of(name: &str, text: &str) -> Vec<CapturedFrame> {
    let ladder = Ladder::parse(name, &format!("{PARTIES}{text}")).unwrap();
    wire::frames(&ladder).unwrap()
}

/// A network namespace with cables in it, whose ends are called span0 and in0, span1 and in1, ….
struct Net(String);

impl Net {
    /// `None`: it cannot be made here, which was said.
    fn new(cables: u32) -> Option<Self> {
        remove_what_was_left();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self(format!("offhook-tap-{}-{number}", std::process::id()));
        let made = Command::new("ip").args(["netns", "add", &net.0]).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            std::mem::forget(net);
            println!("skipped: it takes root and `ip` to make a network namespace");
            return None;
        }
        net.ip("link set lo up");
        for cable in 0..cables {
            net.plug(cable);
        }
        Some(net)
    }

    fn ip(&self, arguments: &str) {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.0]).args(arguments.split(' '));
        assert!(ip.status().unwrap().success(), "ip {arguments}");
    }

    fn plug(&self, cable: u32) {
        self.ip(&format!("link add span{cable} type veth peer name in{cable}"));
        for end in ["span", "in"] {
            // No frames of its own.
            self.ip(&format!("link set {end}{cable} addrgenmode none"));
            self.ip(&format!("link set {end}{cable} up"));
        }
    }

    /// Sends frames into an interface, as time passed between them.
    fn send(&self, interface: &str, frames: &[CapturedFrame]) {
        let (name, interface) = (self.0.clone(), interface.to_owned());
        let frames = frames.to_vec();
        let send = move || {
            let namespace = File::open(format!("/run/netns/{name}")).unwrap();
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let mut out = pcap::Capture::from_device(&*interface).unwrap().open().unwrap();
            let mut last_us = frames[0].at_us;
            for frame in &frames {
                thread::sleep(Duration::from_micros(frame.at_us.saturating_sub(last_us)));
                last_us = frame.at_us;
                out.sendpacket(&*frame.bytes).unwrap();
            }
        };
        // Only that thread is in the other namespace.
        thread::spawn(send).join().unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, env!("CARGO_BIN_EXE_offhook"), "tap"]).args(arguments);
        command.env_remove("OFFHOOK_CONFIG").stdin(Stdio::null());
        command
    }

    /// A tap that listens already.
    fn tap(&self, arguments: &[&str]) -> Tap {
        let mut command = self.command(&[arguments, &["--format", "jsonl"]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines() {
                let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
                let _ = send.send(line);
            }
        });
        let mut complaints = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("offhook: listening on ") {
            assert_ne!(complaints.read_line(&mut said).unwrap(), 0, "{said}");
        }
        let (send, complaints_after) = channel();
        thread::spawn(move || {
            for line in complaints.lines() {
                let _ = send.send(format!("{}\n", line.unwrap()));
            }
        });
        Tap { child, lines, complaints: complaints_after, seen: Vec::new() }
    }

    /// Exit code and what it complains of.
    fn refusal(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.stdout, b"");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

/// Networks of runs that were killed: nobody else would remove them.
fn remove_what_was_left() {
    let Ok(namespaces) = fs::read_dir("/run/netns") else { return };
    for namespace in namespaces.flatten() {
        let file = namespace.file_name();
        let Some(name) = file.to_str() else { continue };
        let process = name.strip_prefix("offhook-tap-").and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

struct Tap {
    child: Child,
    lines: Receiver<Value>,
    /// Lines on standard error after the first one.
    complaints: Receiver<String>,
    seen: Vec<Value>,
}

impl Tap {
    /// The next line of which this is true; those before it are kept, too.
    fn wait_for(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if is(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line: {what}; there were {:#?}", self.seen);
                }
            }
        }
    }

    fn wait_for_status(&mut self, who: &str, terminal: &str, session: &str) -> Value {
        let presentity = format!("sip:{who}@example.com");
        self.wait_for(&format!("{who} {terminal}/{session}"), |line| {
            line["presentity"] == *presentity && line["terminal"] == terminal && line["session"] == session
        })
    }

    /// Waits until it has said this on standard error; gives all that was said until then.
    fn wait_for_complaint(&mut self, words: &str) -> String {
        let began = Instant::now();
        let mut said = String::new();
        while !said.contains(words) {
            let left = PATIENCE.saturating_sub(began.elapsed());
            said += &self
                .complaints
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("not said: {words}; but {said}"));
        }
        said
    }

    fn wait_for_capture(&mut self, event: &str) -> Value {
        self.wait_for(event, |line| line["kind"] == "capture" && line["event"] == event)
    }

    fn signal(&self, name: &str) {
        // `ip netns exec` becomes the program that it runs: the id is the tap's.
        let pid = self.child.id().to_string();
        let killed = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &pid]).status().unwrap();
        assert!(killed.success());
    }

    /// Ended in order: all lines, and what was said on standard error after the first line.
    fn end(mut self) -> (Vec<Value>, String) {
        self.signal("TERM");
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(20));
        };
        let said: String = self.complaints.iter().collect();
        assert_eq!(status.code(), Some(0), "{said}");
        self.seen.extend(self.lines.iter());
        let last = self.seen.last().expect("a summary");
        assert_eq!(last["kind"], "summary");
        (std::mem::take(&mut self.seen), said)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program says of these files, frame and source aside; only what a tap says of the same.
fn replayed(files: &[&Path]) -> Vec<Value> {
    replayed_with(files, &[])
}

/// The same, with further arguments.
fn replayed_with(files: &[&Path], arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command
        .arg("replay")
        .args(files)
        .args(["--format", "jsonl"])
        .args(arguments)
        .env_remove("OFFHOOK_CONFIG");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    comparable(&text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
}

/// Status, contact and capture lines without frame and source.
fn comparable(lines: &[Value]) -> Vec<Value> {
    let mut lines = lines.to_vec();
    lines.retain(|line| ["status", "contact", "capture"].iter().any(|kind| line["kind"] == *kind));
    for because in lines.iter_mut().filter_map(|line| line.get_mut("because")?.as_object_mut()) {
        because.remove("frame");
        because.remove("source");
    }
    lines
}

fn statuses(lines: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .iter()
        .filter(|line| line["kind"] == "status")
        .map(|line| {
            let presentity = text(&line["presentity"]);
            let rule = text(&line["because"]["rule"]);
            format!("{presentity} {}/{} {rule}", text(&line["terminal"]), text(&line["session"]))
        })
        .collect()
}

#[test]
fn lines_come_at_once_and_a_signal_ends_it_in_order() {
    let Some(net) = Net::new(1) else { return };
    let mut tap = net.tap(&["-i", "span0"]);
    let frames = frames_of("tap", REGISTER_AND_CALL);
    let (before_the_bye, rest) = frames.split_at(frames.len() - 4);
    net.send("in0", before_the_bye);
    let sent = Instant::now();
    let line = tap.wait_for_status("bob", "online", "talking");
    assert!(sent.elapsed() < Duration::from_secs(2), "it took {:?}", sent.elapsed());
    assert_eq!(line["because"]["rule"], "invite-200");
    assert!(line["because"].get("source").is_none(), "{line}");
    net.send("in0", rest);
    tap.wait_for_status("bob", "online", "idle");
    let (lines, said) = tap.end();
    assert_eq!(said, "");
    let summary = lines.last().unwrap();
    assert_eq!(summary["frames"], frames.len());
    assert_eq!(summary["capture"][0]["interface"], "span0");
    assert_eq!(summary["capture"][0]["received"], frames.len());
    assert_eq!(summary["capture"][0]["kernel_dropped"], 0);
    // The same that a replay says of the same frames.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("same.pcap");
    fs::write(&file, wire::pcap(support::ladder::Link::Ethernet, &frames)).unwrap();
    assert_eq!(statuses(&lines), statuses(&replayed(&[&file])));
    let ends: Vec<_> = lines.iter().filter(|line| line["because"]["rule"] == "bye").collect();
    assert!(ends.iter().all(|line| line["because"]["frame"] == frames.len() as u64 - 3), "{ends:?}");
}

#[test]
fn a_timer_fires_by_the_wall_clock_while_nothing_comes_and_a_replay_of_the_recording_says_the_same() {
    let Some(net) = Net::new(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.pcapng");
    let mut tap = net.tap(&["-i", "span0", "--write", file.to_str().unwrap()]);
    net.send("in0", &frames_of("expires", "0.000 alice registers granted=2\n"));
    let online = tap.wait_for_status("alice", "online", "idle");
    let offline = tap.wait_for_status("alice", "offline", "idle");
    assert_eq!(offline["because"]["rule"], "register-expired");
    let second = |line: &Value| line["time"].as_str().unwrap()[17..26].parse::<f64>().unwrap();
    let apart = (second(&offline) - second(&online)).rem_euclid(60.0);
    assert!((apart - 2.0).abs() < 1e-5, "to the microsecond: {online} {offline}");
    let (lines, _) = tap.end();
    assert_eq!(replayed(&[&file]), comparable(&lines));
}

#[test]
fn an_interface_that_goes_and_comes_back_is_waited_for_and_what_it_hid_is_not_claimed() {
    let Some(net) = Net::new(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.pcapng");
    let mut tap = net.tap(&["-i", "span0", "--write", file.to_str().unwrap()]);
    let (register, call) = REGISTER_AND_CALL.split_at(REGISTER_AND_CALL.find("0.100").unwrap());
    let (set_up, end) = call.split_at(call.find("0.400").unwrap());
    let frames = frames_of("spell", &format!("{register}{set_up}{end}"));
    let (talk, bye) = frames.split_at(frames.len() - 4);
    net.send("in0", talk);
    assert_eq!(tap.wait_for_status("bob", "online", "talking")["confidence"], "full");

    net.ip("link set in0 down");
    let blind = tap.wait_for_capture("blind_began");
    assert_eq!((&blind["interface"], &blind["reason"]), (&"span0".into(), &"no_link".into()));
    net.ip("link set in0 up");
    tap.wait_for_capture("blind_ended");
    net.ip("link set span0 down");
    assert_eq!(tap.wait_for_capture("blind_began")["reason"], "down");
    net.ip("link set span0 up");
    tap.wait_for_capture("blind_ended");
    net.ip("link del span0");
    // On its way out it may be seen down first.
    let reason = tap.wait_for_capture("blind_began")["reason"].clone();
    assert!(["removed", "down"].iter().any(|word| reason == *word), "{reason}");
    let gone = if reason == "removed" { "span0 is gone; waiting" } else { "span0 is down; waiting" };
    net.plug(0);
    tap.wait_for_capture("blind_ended");

    // Somebody else's registration: what they did in the dark is not known. Then the BYE: that is seen.
    net.send("in0", &frames_of("again", "0.000 bob registers contact=sip:bob@192.0.2.99\n"));
    net.send("in0", bye);
    let bob = tap.wait_for_status("bob", "online", "idle");
    assert_eq!(bob["because"]["rule"], "bye");
    let (lines, said) = tap.end();
    for words in ["span0 has no link; waiting", "span0 is down; waiting", gone, "span0 is back"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(replayed(&[&file]), comparable(&lines));
}

#[test]
fn an_interface_that_nobody_named_blinds_only_if_phones_were_heard_there() {
    let Some(net) = Net::new(2) else { return };
    let mut tap = net.tap(&[]);
    net.ip("link set in1 down");
    tap.wait_for_complaint("span1 has no link; waiting");
    let frames = frames_of("unnamed", REGISTER_AND_CALL);
    let (talk, bye) = frames.split_at(frames.len() - 4);
    net.send("in0", talk);
    assert_eq!(tap.wait_for_status("bob", "online", "talking")["confidence"], "full");
    assert!(tap.seen.iter().all(|line| line["kind"] != "capture"), "{:#?}", tap.seen);

    net.ip("link del in0");
    let blind = tap.wait_for_capture("blind_began");
    assert!(["in0", "span0"].iter().any(|name| blind["interface"] == *name), "{blind}");
    net.plug(0);
    tap.wait_for_capture("blind_ended");
    tap.wait_for_capture("blind_ended");
    net.send("in0", bye);
    assert_eq!(tap.wait_for_status("bob", "online", "idle")["confidence"], "degraded");
    tap.end();
}

#[test]
fn the_tag_that_the_kernel_took_off_is_put_back() {
    let Some(net) = Net::new(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let [all, mine, others] =
        ["all", "mine", "others"].map(|name| folder.path().join(format!("{name}.pcapng")));
    let mut tap = net.tap(&["-i", "span0", "--write", all.to_str().unwrap()]);
    let mut filtered =
        net.tap(&["-i", "span0", "--write", mine.to_str().unwrap(), "vlan 10 and udp port 5060"]);
    let other = net.tap(&["-i", "span0", "--write", others.to_str().unwrap(), "vlan", "11"]);
    let frames = frames_of("tagged", &format!("vlan 10\n{REGISTER_AND_CALL}"));
    assert_eq!(frames[0].bytes[12..16], [0x81, 0, 0, 10]);
    net.send("in0", &frames);
    for tap in [&mut tap, &mut filtered] {
        tap.wait_for_status("bob", "online", "talking");
        tap.wait_for_status("bob", "online", "idle");
    }
    for tap in [tap, filtered] {
        assert_eq!(tap.end().0.last().unwrap()["frames"], frames.len());
    }
    assert_eq!(other.end().0.last().unwrap()["frames"], 0);
    let kept = |path: &Path| {
        let mut reader = CaptureReader::open(path.to_str().unwrap()).unwrap();
        let mut kept = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            kept.push(record.bytes.to_vec());
        }
        kept
    };
    let sent: Vec<_> = frames.iter().map(|frame| frame.bytes.clone()).collect();
    assert_eq!(kept(&all), sent, "byte for byte as it was on the wire");
    assert_eq!(kept(&mine), sent);
    assert_eq!(kept(&others), Vec::<Vec<u8>>::new());
}

#[test]
fn of_frames_with_two_tags_that_a_filter_does_not_look_behind_it_tells_what_filter_would() {
    let Some(net) = Net::new(1) else { return };
    let filter = "udp port 5060";
    let better = format!("({filter}) or (vlan and vlan and ({filter}))");
    let mut tap = net.tap(&["-i", "span0", filter]);
    let mut enlightened = net.tap(&["-i", "span0", &better]);
    // One tag the kernel takes off before the filter looks: no word of that.
    net.send("in0", &frames_of("one tag", "vlan 10\n0.000 alice registers\n"));
    tap.wait_for_status("alice", "online", "idle");
    let mut frames = frames_of("two tags", "vlan 10\n0.000 bob registers\n0.010 bob registers\n");
    for frame in &mut frames {
        frame.bytes.splice(12..12, [0x88, 0xa8, 0, 20]);
    }
    net.send("in0", &frames);
    enlightened.wait_for_status("bob", "online", "idle");
    let said = tap.wait_for_complaint("offhook: ");
    assert_eq!(
        said,
        format!(
            "offhook: span0 shows frames with two VLAN tags, which the filter \"{filter}\" does not look behind; \
             \"{better}\" would\n"
        )
    );
    let (lines, said) = tap.end();
    assert_eq!((lines.last().unwrap()["frames"].as_u64(), said.as_str()), (Some(2), ""), "told once");
    let (lines, said) = enlightened.end();
    assert_eq!((lines.last().unwrap()["frames"].as_u64(), said.as_str()), (Some(6), ""));
}

#[test]
fn two_interfaces_are_merged_and_named() {
    let Some(net) = Net::new(2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.pcapng");
    let mut tap = net.tap(&["-i", "span1", "-i", "span0", "--write", file.to_str().unwrap()]);
    // The two directions of a link, each mirrored to a port of its own; nothing between the frames.
    let frames = frames_of("merged", REGISTER_AND_CALL);
    for frame in &frames {
        let from_server = frame.bytes[26..30] == [192, 0, 2, 1];
        let frame = CapturedFrame { at_us: 0, ..frame.clone() };
        net.send(if from_server { "in0" } else { "in1" }, &[frame]);
    }
    tap.wait_for_status("alice", "online", "talking");
    tap.wait_for_status("alice", "online", "idle");
    let (lines, _) = tap.end();
    let source = |who: &str, rule: &str| {
        let line = lines.iter().find(|line| {
            line["presentity"] == format!("sip:{who}@example.com") && line["because"]["rule"] == rule
        });
        line.unwrap_or_else(|| panic!("{who} {rule} in {lines:#?}"))["because"]["source"].clone()
    };
    assert_eq!(source("alice", "register-200"), "span0");
    assert_eq!(source("alice", "invite"), "span1");
    assert_eq!(source("bob", "invite-180"), "span1");
    assert_eq!(lines.last().unwrap()["oddities"], serde_json::json!({}));
    assert_eq!(replayed(&[&file]), comparable(&lines));
}

#[test]
fn of_media_is_kept_that_they_pass_and_nothing_that_they_say() {
    let Some(net) = Net::new(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.pcapng");
    let mut tap = net.tap(&["-i", "span0", "--write", file.to_str().unwrap()]);
    let mut frames = frames_of("media", "0.000 alice registers\n");
    let mut rtp = frames[0].clone();
    rtp.bytes[42..44].copy_from_slice(&[0x80, 0]);
    let rtp_bytes = rtp.bytes.len();
    frames.splice(0..0, std::iter::repeat_n(rtp, 100));
    net.send("in0", &frames);
    tap.wait_for_status("alice", "online", "idle");
    let (lines, _) = tap.end();
    assert_eq!(lines.last().unwrap()["frames"], 102);
    let mut reader = CaptureReader::open(file.to_str().unwrap()).unwrap();
    let mut kept = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        kept.push((frame.bytes.len(), frame.wire_length));
    }
    let voiceless = (14 + 20 + 8 + 8, rtp_bytes);
    assert_eq!(
        (kept.len(), kept.first()),
        (3, Some(&voiceless)),
        "the first of a hundred, without its sound"
    );
    assert_eq!(lines.last().unwrap()["oddities"], serde_json::json!({}));
    assert_eq!(replayed(&[&file]), comparable(&lines));
}

#[test]
fn a_call_whose_media_cease_is_over() {
    let Some(net) = Net::new(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("offhook.toml");
    fs::write(&config, "[dialog]\nmedia_silence_s = 10\n").unwrap();
    let file = folder.path().join("calls.pcapng");
    let (config, path) = (config.to_str().unwrap(), file.to_str().unwrap());
    let mut tap = net.tap(&["-i", "span0", "--config", config, "--write", path]);
    let call = "0.000 alice registers\n0.100 alice -> pbx INVITE sip:bob@example.com\n0.200 pbx -> alice 200\n\
                0.220 alice -> pbx ACK\n0.230 alice -> pbx rtp for=6 every=20\n0.230 pbx -> alice rtp for=6 every=20\n\
                13.000 [ping] pbx -> alice OPTIONS\n";
    net.send("in0", &frames_of("ceased", call));
    tap.wait_for_status("alice", "online", "talking");
    let over = tap.wait_for_status("alice", "online", "idle");
    assert_eq!(
        (over["because"]["rule"].as_str(), over["confidence"].as_str()),
        (Some("media-silent"), Some("weak"))
    );
    net.send("in0", &frames_of("gone", "0.000 alice unregisters\n"));
    tap.wait_for_status("alice", "offline", "idle");
    let (lines, _) = tap.end();
    assert_eq!(lines.last().unwrap()["ends"], serde_json::json!({ "media_silent": 1 }));
    assert_eq!(replayed_with(&[&file], &["--config", config]), comparable(&lines));
}

#[test]
fn frames_that_the_kernel_dropped_are_counted_and_make_blind() {
    let Some(net) = Net::new(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("offhook.toml");
    fs::write(&config, "[capture]\nring_mib = 1\nblind_drops_window_s = 5\n").unwrap();
    let file = folder.path().join("calls.pcapng");
    let (config, path) = (config.to_str().unwrap(), file.to_str().unwrap());
    let mut tap = net.tap(&["-i", "span0", "--config", config, "--write", path]);
    let register = |name: &str| frames_of(name, "0.000 alice registers\n");
    net.send("in0", &register("before"));
    tap.wait_for_status("alice", "online", "idle");
    // Nobody fetches, and the ring is full.
    tap.signal("STOP");
    let noise = CapturedFrame { at_us: 0, bytes: [&[0xff; 12][..], &[0x88, 0xb5], &[0; 1_400]].concat() };
    net.send("in0", &vec![noise; 6_000]);
    tap.signal("CONT");
    let blind = tap.wait_for_capture("blind_began");
    assert_eq!(blind["reason"], "drops");
    assert!(blind["kernel_dropped"].as_u64().unwrap() > 1_000, "{blind}");
    net.send("in0", &frames_of("gone", "0.000 alice unregisters\n"));
    assert_eq!(tap.wait_for_status("alice", "offline", "idle")["confidence"], "degraded");
    tap.wait_for_capture("blind_ended");
    let (lines, _) = tap.end();
    assert_eq!(lines.last().unwrap()["capture"][0]["kernel_dropped"], blind["kernel_dropped"]);
    assert_eq!(replayed(&[&file]), comparable(&lines));
}

/// A frame of no protocol that is known, with a number in it.
fn numbered(number: u32, length: usize) -> CapturedFrame {
    let mut bytes = [&[0xff; 12][..], &[0x88, 0xb5], &number.to_be_bytes()].concat();
    bytes.resize(length, 0);
    CapturedFrame { at_us: 0, bytes }
}

/// The numbers of those that were kept, and how many bytes of each there are.
fn kept(file: &Path) -> Vec<(u32, usize)> {
    let mut reader = CaptureReader::open(file.to_str().unwrap()).unwrap();
    let mut kept = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        kept.push((u32::from_be_bytes(record.bytes[14..18].try_into().unwrap()), record.bytes.len()));
    }
    kept
}

#[test]
fn when_frames_come_in_crowds_none_is_missed_and_none_comes_twice() {
    let Some(net) = Net::new(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crowd.pcapng");
    let config = folder.path().join("offhook.toml");
    fs::write(&config, "[capture]\nring_mib = 128\n").unwrap();
    let (config, path) = (config.to_str().unwrap(), file.to_str().unwrap());
    let tap = net.tap(&["-i", "span0", "--config", config, "--write", path]);
    let crowd: Vec<CapturedFrame> = (0..40_000).map(|number| numbered(number, 200)).collect();
    // What came while it stood still is a crowd; more come while it begins to take them in blocks.
    tap.signal("STOP");
    thread::scope(|scope| {
        scope.spawn(|| net.send("in0", &crowd));
        thread::sleep(Duration::from_millis(5));
        tap.signal("CONT");
    });
    let (lines, _) = tap.end();
    let summary = lines.last().unwrap();
    assert_eq!((&summary["frames"], &summary["capture"][0]["kernel_dropped"]), (&40_000.into(), &0.into()));
    let numbers: Vec<u32> = kept(&file).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (0..40_000).collect::<Vec<_>>());
}

#[test]
fn of_frames_longer_than_a_slot_of_the_ring_only_the_first_is_cut() {
    let Some(net) = Net::new(1) else { return };
    for end in ["span0", "in0"] {
        net.ip(&format!("link set {end} mtu 9000"));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("long.pcapng");
    let tap = net.tap(&["-i", "span0", "--write", file.to_str().unwrap()]);
    for number in 0..4 {
        net.send("in0", &[numbered(2 * number, 200), numbered(2 * number + 1, 3_000)]);
        thread::sleep(Duration::from_millis(100));
    }
    tap.end();
    let kept = kept(&file);
    assert_eq!(kept.iter().map(|&(number, _)| number).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert!((1..3_000).contains(&kept[1].1), "{kept:?}");
    assert!(
        kept[3..].iter().all(|&(number, length)| length == if number % 2 == 0 { 200 } else { 3_000 }),
        "{kept:?}"
    );
}

#[test]
fn it_publishes_as_a_replay_does() {
    let Some(net) = Net::new(1) else { return };
    let mut tap =
        net.tap(&["-i", "span0", "--publish", "embedded", "--listen", "udp:127.0.0.1:5060", "--watch"]);
    let frames = frames_of("published", REGISTER_AND_CALL);
    let (before_the_bye, rest) = frames.split_at(frames.len() - 4);
    net.send("in0", before_the_bye);
    let acknowledged = |line: &Value| line["kind"] == "publication" && line["outcome"] == "acknowledged";
    tap.wait_for("a publication", acknowledged);
    tap.wait_for("what a watcher is told", |line| line["kind"] == "told" && line["session"] == "talking");
    net.send("in0", rest);
    tap.wait_for_status("bob", "online", "idle");
    let (lines, _) = tap.end();
    let removed = |line: &&Value| acknowledged(line) && line["operation"] == "remove";
    assert!(lines.iter().filter(removed).count() >= 2, "a clean stop takes back what was published");
    assert_eq!(lines.last().unwrap()["publications"]["failed"], 0);
}

#[test]
fn what_cannot_be_listened_to_is_told_in_one_sentence() {
    let Some(net) = Net::new(1) else { return };
    let cases: [(&[&str], &str); 5] = [
        (&["-i", "eth9"], "offhook: there is no interface eth9; there are: in0, lo, span0\n"),
        (&["-i", "span0", "port port"], "offhook: the filter \"port port\" cannot be used on span0: "),
        (&["-i", "span0", "-i", "span0"], "offhook: the interface span0 is named twice\n"),
        (&["-i", "span0", "--write", "/nowhere/x.pcapng"], "offhook: /nowhere/x.pcapng cannot be written: "),
        (&["-i", "span0", "--publish", "sip:192.0.2.1;x=y"], "error: "),
    ];
    for (arguments, expected) in cases {
        let (code, said) = net.refusal(arguments);
        assert!(said.starts_with(expected), "{arguments:?}: {said}");
        assert_eq!(code, Some(if expected.starts_with("error") { 2 } else { 1 }), "{said}");
        assert!(code == Some(2) || said.lines().count() == 1, "{said}");
    }
    let mut helpless = Command::new("ip");
    helpless.args(["netns", "exec", &net.0, "setpriv", "--reuid", "65534", "--clear-groups"]);
    helpless.args(["--bounding-set", "-all", "--inh-caps", "-all", env!("CARGO_BIN_EXE_offhook"), "tap"]);
    let output = helpless.args(["-i", "span0"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("offhook: there is no permission to capture on span0: run offhook as root"),
        "{said}"
    );
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1));
}

#[test]
fn without_a_name_it_listens_where_something_is_plugged_in_and_one_that_is_down_is_waited_for() {
    let Some(net) = Net::new(1) else { return };
    net.ip("link set in0 down");
    net.ip("link set span0 down");
    let (code, said) = net.refusal(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        said,
        "offhook: no interface is up to listen on: name one with -i; there are: in0 (down), lo, span0 (down)\n"
    );
    let (code, said) = net.refusal(&["-i", "span0", "port port"]);
    assert!(
        code == Some(1) && said.starts_with("offhook: the filter \"port port\" cannot be used on span0: "),
        "{said}"
    );
    assert_eq!(net.refusal(&["-i", "span0", "--write", "-"]).0, Some(2));
    let mut tap = net.tap(&["-i", "span0"]);
    assert_eq!(tap.wait_for_capture("blind_began")["reason"], "down");
    net.ip("link set span0 up");
    net.ip("link set in0 up");
    tap.wait_for_capture("blind_ended");
    net.send("in0", &frames_of("later", "0.000 alice registers\n"));
    tap.wait_for_status("alice", "online", "idle");
    tap.end();
    let mut tap = net.tap(&[]);
    net.send("in0", &frames_of("unnamed", "0.000 alice registers\n"));
    let line = tap.wait_for_status("alice", "online", "idle");
    assert!(["in0", "span0"].iter().any(|name| line["because"]["source"] == *name), "{line}");
}
