//! How many packets a second are taken without one lost: by a program that only counts, and by offhook.
//! In: frames of the made-up site of `bench replay`, sent from the switch to an interface of the tap. Out: rates, memory.
//! Knows nothing of what is in the frames, but for the places of Call-IDs and branches: each round has others.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use pcap::Capture;

use super::memory;
use crate::cpu;
use crate::floor;
use crate::testbed::Testbed;
use crate::testbed::program::wait_until_listening;
use crate::workload::{Kind, MESSAGES_PER_USER, Workload};

/// The port of the switch, and the interface of the tap.
pub const PORT: &str = "to-flood";
/// See [`PORT`].
pub const INTERFACE: &str = "span-flood";
/// Frames sent between two looks at the clock.
const BURST: usize = 16;
/// After the last frame who listens has this long to take what is under way.
const SETTLE: Duration = Duration::from_millis(500);
/// No last line is longer.
const PIECE: usize = 1 << 16;
/// Where a datagram's checksum is, in Ethernet and IPv4 without options.
const CHECKSUM_AT: usize = 14 + 20 + 6;
/// Characters of a Call-ID or a branch that differ from round to round.
const ROUND_LENGTH: usize = 4;

/// A frame, and where its round is written.
struct Shot {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

/// What is sent.
pub struct Flood {
    shots: Vec<Shot>,
    next: usize,
    round: u32,
}

impl Flood {
    /// The site of so many users. In each round all its calls end.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub fn new(users: u32) -> Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        let messages = u64::from(users) * MESSAGES_PER_USER;
        let workload = Workload { kind: Kind::Ended, users, messages, hours: 1, seed: 5060 };
        workload.write(std::io::BufWriter::with_capacity(1 << 20, file.reopen()?))?;
        let mut shots = Vec::new();
        floor::records(file.path(), |_, frame| shots.push(shot(frame)))?;
        Ok(Self { shots, next: 0, round: 0 })
    }

    /// Frames of one round.
    pub fn len(&self) -> usize {
        self.shots.len()
    }

    /// Sends at that rate, or as fast as it goes. Gives how many, and the rate that it was.
    fn send(
        &mut self,
        capture: &mut Capture<pcap::Active>,
        per_s: f64,
        how_long: Duration,
    ) -> Result<(u64, f64)> {
        let began = Instant::now();
        let mut sent = 0_u64;
        while began.elapsed() < how_long {
            let due = began.elapsed().as_secs_f64() * per_s;
            if sent as f64 > due {
                std::hint::spin_loop();
                continue;
            }
            for _ in 0..BURST {
                if self.next == self.shots.len() {
                    self.next = 0;
                    self.round += 1;
                    self.write_round();
                }
                let shot = self.shots.get(self.next).context("a frame")?;
                capture.sendpacket(&*shot.bytes)?;
                self.next += 1;
                sent += 1;
            }
        }
        Ok((sent, sent as f64 / began.elapsed().as_secs_f64()))
    }

    /// Writes the round's number over the first characters of each Call-ID and branch.
    fn write_round(&mut self) {
        let digits = format!("{:0ROUND_LENGTH$}", self.round % 10_u32.pow(ROUND_LENGTH as u32));
        for shot in &mut self.shots {
            for &place in &shot.places {
                if let Some(there) = shot.bytes.get_mut(place..place + ROUND_LENGTH) {
                    there.copy_from_slice(digits.as_bytes());
                }
            }
        }
    }
}

fn shot(frame: &[u8]) -> Shot {
    let mut bytes = frame.to_vec();
    // 0: none was computed (RFC 768).
    if let Some(sum) = bytes.get_mut(CHECKSUM_AT..CHECKSUM_AT + 2) {
        sum.fill(0);
    }
    let places = [&b"Call-ID: "[..], b"branch=z9hG4bK"]
        .iter()
        .flat_map(|name| memmem::find_iter(frame, name).map(|at| at + name.len()))
        .collect();
    Shot { bytes, places }
}

/// Who listens to the flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// libpcap's `dispatch` with the same ring, and a counter.
    Counter,
    /// `offhook tap`, its lines thrown away but for the last.
    Offhook,
}

/// What became of one flood.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Sent a second.
    pub per_s: f64,
    /// How many of them were not taken.
    pub lost: u64,
    /// Processor time of who listened, for each packet.
    pub cpu_us: f64,
    /// Resident memory of who listened: after a quarter of the time, after half of it, at the end.
    pub memory: [u64; 3],
}

fn start(testbed: &Testbed, listener: Listener, program: &Path) -> Result<Child> {
    let mut command = match listener {
        Listener::Counter => {
            let mut command = testbed.command("tap", std::env::current_exe()?);
            command.args(["counter", INTERFACE]);
            command
        }
        Listener::Offhook => {
            let mut command = testbed.command("tap", program);
            command.args(["tap", "-i", INTERFACE, "--format", "jsonl"]).env_remove("OFFHOOK_CONFIG");
            command
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("who listens")?;
    wait_until_listening("who takes the flood", &mut child);
    Ok(child)
}

/// The last line; what comes before is read and thrown away, for as little as that can be done.
fn last_line(child: &mut Child) -> Result<JoinHandle<std::io::Result<String>>> {
    let mut out = child.stdout.take().context("it was asked for")?;
    Ok(std::thread::spawn(move || {
        let (mut piece, mut last) = (vec![0; PIECE], Vec::new());
        loop {
            let length = out.read(&mut piece)?;
            if length == 0 {
                let text = String::from_utf8_lossy(&last).into_owned();
                return Ok(text.lines().last().unwrap_or_default().to_owned());
            }
            last.extend_from_slice(piece.get(..length).unwrap_or_default());
            last.drain(..last.len().saturating_sub(PIECE));
        }
    }))
}

/// Sends a flood to a listener.
///
/// # Errors
/// It does not run.
pub fn pour(
    testbed: &Testbed,
    flood: &mut Option<Flood>,
    listener: Listener,
    program: &Path,
    per_s: f64,
    how_long: Duration,
) -> Result<Taken> {
    let mut child = start(testbed, listener, program)?;
    let lines = last_line(&mut child)?;
    let mut pours = flood.take().context("a flood")?;
    let id = child.id();
    let (poured, sent) = testbed.at("switch", move || {
        let sent = (|| {
            let mut port = Capture::from_device(PORT)?.snaplen(64).open()?;
            // It is for sending only.
            port.filter("less 1", true)?;
            let (first, _) = pours.send(&mut port, per_s, how_long / 4)?;
            let quarter = memory(id);
            let (second, _) = pours.send(&mut port, per_s, how_long / 4)?;
            let half = memory(id);
            let (rest, rate) = pours.send(&mut port, per_s, how_long / 2)?;
            std::thread::sleep(SETTLE);
            let sent = first + second + rest;
            let cpu_us = cpu::of_process(id)?.as_secs_f64() * 1e6 / sent as f64;
            Ok::<_, anyhow::Error>((sent, rate, cpu_us, [quarter, half, memory(id)]))
        })();
        (pours, sent)
    });
    *flood = Some(poured);
    let stopped = Command::new("bash").args(["-c", "kill -TERM $0", &id.to_string()]).status()?;
    ensure!(stopped.success(), "who listened has ended before");
    let (sent, per_s, cpu_us, memory) = sent?;
    let last = match lines.join() {
        Ok(line) => line?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    child.wait()?;
    let taken: serde_json::Value = serde_json::from_str(&last).with_context(|| last.clone())?;
    let Some(taken) = taken["frames"].as_u64() else { bail!("no count of frames: {last}") };
    Ok(Taken { per_s, lost: sent.saturating_sub(taken), cpu_us, memory })
}

/// The part of the bench that only counts, until SIGTERM.
///
/// # Errors
/// The interface cannot be opened.
pub fn count(interface: &str) -> Result<()> {
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, Ordering};
    static STOP: AtomicBool = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut terminated = {
        let _guard = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
    };
    std::thread::spawn(move || {
        runtime.block_on(terminated.recv());
        STOP.store(true, Ordering::Relaxed);
    });
    // As the tap opens it.
    let capture = Capture::from_device(interface)?.promisc(true).snaplen(65_535).timeout(1);
    let mut capture = capture.buffer_size(32 << 20).open()?.setnonblock()?;
    eprintln!("listening");
    let (mut frames, mut bytes) = (0_u64, 0_u64);
    while !STOP.load(Ordering::Relaxed) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let _ = poll(&mut [PollFd::new(capture.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_u16));
        match capture.dispatch(Some(512), |packet| {
            frames += 1;
            bytes += packet.data.len() as u64;
        }) {
            Ok(_) | Err(pcap::Error::TimeoutExpired) => {}
            Err(error) => return Err(error.into()),
        }
    }
    println!("{{\"frames\":{frames},\"bytes\":{bytes}}}");
    Ok(())
}
