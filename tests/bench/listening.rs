//! What it costs to listen: processor time, memory and instructions of `offhook replay`, beside the floors.
//! In: how much to do. Out: tables and goals. Knows nothing of how workloads are made, or of what offhook does with them.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::callgrind::{self, ALLOCATOR, BYTES, ELSEWHERE, Profile, ROOMS};
use crate::child::{self, Took};
use crate::report::{Bound, Goal, Table, median, written};
use crate::workload::{Kind, MESSAGES_PER_USER, RTP_PER_MESSAGE, Workload, Written};

/// How much is done.
pub struct Size {
    /// Turns that programs take.
    pub runs: usize,
    /// Users of the workload that all is compared with.
    pub users: u32,
    /// The same with fewer and with more users.
    pub other_users: [u32; 2],
    /// Registrations, and calls, of the smaller of two workloads for memory; the larger has twice as many, so that tables are
    /// equally full.
    pub kept: u32,
    /// Users of the smaller of two workloads for instructions; the larger has twice as many.
    pub counted: u32,
    /// The workloads whose instructions are counted.
    pub counted_kinds: &'static [(&'static str, Kind)],
}

/// Workloads whose instructions are counted, with their letters.
pub const COUNTED_KINDS: [(&str, Kind); 3] = [("a", Kind::Udp), ("b", Kind::UdpAndRtp), ("c", Kind::Tcp)];
/// See [`Size::counted`].
pub const COUNTED_USERS: u32 = 1_000;

/// Runs of the workload with most users, which takes longest.
const MOST_LONG_RUNS: usize = 3;

impl Size {
    /// With 100,000 users some minutes, and up to 8 GB of disk at a time.
    pub fn full(users: u32, runs: usize) -> Self {
        Self {
            runs,
            users,
            other_users: [users / 10, users.saturating_mul(10)],
            kept: users,
            counted: COUNTED_USERS,
            counted_kinds: &COUNTED_KINDS,
        }
    }

    /// Some seconds.
    pub const QUICK: Self = Self {
        runs: 1,
        users: 200,
        other_users: [100, 400],
        kept: 500,
        counted: 50,
        counted_kinds: COUNTED_KINDS.split_at(1).0,
    };
}

/// All that was measured.
pub struct Measured {
    /// In the order to be read.
    pub tables: Vec<Table>,
    /// What is to be reached.
    pub goals: Vec<Goal>,
}

const MIB: f64 = 1024.0 * 1024.0;
/// A file for which there is no room in memory is read from the disk: its time says nothing.
const SHARE_OF_MEMORY: f64 = 0.5;
/// About what a message takes in a capture.
const BYTES_PER_MESSAGE: f64 = 725.0;

/// Measures a program.
pub struct Bench {
    /// The `offhook` that is measured.
    pub program: PathBuf,
    /// Where workloads are written.
    pub directory: PathBuf,
    /// How much.
    pub size: Size,
}

/// Medians of several runs.
#[derive(Clone, Copy, Default)]
struct Cost {
    ns_each: Option<f64>,
    peak_mib: Option<f64>,
}

impl Cost {
    fn of(runs: &[Took], messages: u64) -> Self {
        let ns_each = median(runs.iter().map(|took| took.cpu_s * 1e9 / messages as f64));
        Self { ns_each, peak_mib: median(runs.iter().map(|took| took.peak_bytes / MIB)) }
    }

    fn rate(self) -> Option<f64> {
        Some(1e9 / self.ns_each?)
    }
}

fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other?)
}

impl Bench {
    /// Everything.
    ///
    /// # Errors
    /// A workload cannot be written, or a program fails.
    pub fn measure(&self) -> Result<Measured> {
        let instructions = if callgrind::is_there() {
            Some(self.instructions()?)
        } else {
            eprintln!("valgrind is not installed: no instructions are counted. scripts/bench installs it.");
            None
        };
        let (floors, main) = self.floors(instructions.as_ref())?;
        let (workloads, rtp_ns, tcp_ratio) = self.workloads(main)?;
        let memory = self.memory()?;
        let goal = |what, measured, bound| Goal { what, measured, bound };
        let mut goals = vec![
            goal("messages per second of processor time, a", main.rate(), Bound::AtLeast(600e3)),
            goal("ns for an RTP packet", rtp_ns, Bound::AtMost(80.0)),
            goal("TCP in UDP's processor time, c ÷ a", tcp_ratio, Bound::AtMost(1.6)),
            goal("bytes of a registration", Some(memory.registration), Bound::AtMost(250.0)),
            goal("bytes of a call", Some(memory.call), Bound::AtMost(300.0)),
            goal("MiB idle", Some(memory.idle_mib), Bound::AtMost(20.0)),
        ];
        let mut tables = vec![floors, workloads, memory.table];
        if let Some(instructions) = instructions {
            let a = instructions.kinds.first().map(|(_, profile)| profile.total);
            goals.push(goal("instructions a message, a", a, Bound::AtMost(4_500.0)));
            tables.push(instructions.table());
        }
        Ok(Measured { tables, goals })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.pcap"))
    }

    fn write(&self, name: &str, kind: Kind, users: u32) -> Result<(PathBuf, Written)> {
        let path = self.path(name);
        let written = write(&path, kind, users)?;
        Ok((path, written))
    }

    /// Workload a, by the floors and by offhook.
    fn floors(&self, instructions: Option<&Instructions>) -> Result<(Table, Cost)> {
        let (path, written) = self.write("a", Kind::Udp, self.size.users)?;
        let file = path.display().to_string();
        let mut runs: [Vec<Took>; FLOORS.len() + 1] = Default::default();
        for _ in 0..self.size.runs {
            for ((_, part), runs) in FLOORS.iter().zip(&mut runs) {
                let mut arguments = part.to_vec();
                arguments.push(&file);
                runs.push(child::part(&arguments)?);
            }
            runs[FLOORS.len()].push(child::offhook(&self.program, &path)?);
        }
        let title = format!(
            "Workload a: {} SIP messages over UDP of {} users, {} bytes a frame",
            written_count(written.messages),
            written_count(u64::from(self.size.users)),
            written.sip_bytes / written.messages
        );
        let columns = [
            ("messages/CPU s", 0),
            ("ns each", 0),
            ("offhook ÷ this", 2),
            ("instructions each", 0),
            ("offhook ÷ this", 2),
            ("peak MiB", 1),
        ];
        let mut table = Table::new(title, &columns);
        let main = Cost::of(&runs[FLOORS.len()], written.messages);
        let main_count = instructions.and_then(|counted| Some(counted.kinds.first()?.1.total));
        let names = FLOORS.iter().map(|(name, _)| *name).chain(["offhook replay: also tells every change"]);
        for (place, (name, runs)) in names.zip(&runs).enumerate() {
            let cost = Cost::of(runs, written.messages);
            let count = match place {
                place if place < FLOORS.len() => {
                    instructions.and_then(|counted| counted.floors.get(place).copied())
                }
                _ => main_count,
            };
            table.row(
                name,
                [
                    cost.rate(),
                    cost.ns_each,
                    ratio(main.ns_each, cost.ns_each),
                    count,
                    ratio(main_count, count),
                    cost.peak_mib,
                ],
            );
        }
        Ok((table, main))
    }

    /// All workloads, by offhook; also what an RTP packet costs, and TCP in the cost of UDP.
    fn workloads(&self, main: Cost) -> Result<(Table, Option<f64>, Option<f64>)> {
        let columns =
            [("messages/CPU s", 0), ("ns each", 0), ("× a", 2), ("ns an RTP packet", 0), ("peak MiB", 1)];
        let mut table = Table::new("offhook replay on all workloads", &columns);
        let users = self.size.users;
        let [fewer, more] = self.size.other_users;
        let of = |users: u32| format!("{} users", written_count(u64::from(users)));
        let measured = |kind, users| -> Result<(Cost, Written)> {
            let (path, written) = self.write("other", kind, users)?;
            let mut runs = Vec::new();
            let most = if users == more { MOST_LONG_RUNS } else { usize::MAX };
            for _ in 0..self.size.runs.min(most) {
                runs.push(child::offhook(&self.program, &path)?);
            }
            std::fs::remove_file(&path)?;
            Ok((Cost::of(&runs, written.messages), written))
        };
        let row = |table: &mut Table, name: String, cost: Cost, rtp_ns| {
            table.row(
                &name,
                [cost.rate(), cost.ns_each, ratio(cost.ns_each, main.ns_each), rtp_ns, cost.peak_mib],
            );
        };
        let (cost, _) = measured(Kind::Udp, fewer)?;
        row(&mut table, format!("a: {}", of(fewer)), cost, None);
        row(&mut table, format!("a: {}", of(users)), main, None);
        let needed = f64::from(more) * MESSAGES_PER_USER as f64 * BYTES_PER_MESSAGE;
        let cost = if available_memory() * SHARE_OF_MEMORY > needed {
            measured(Kind::Udp, more)?.0
        } else {
            eprintln!("Not measured with {}: the capture does not fit into memory.", of(more));
            Cost::default()
        };
        row(&mut table, format!("a: {}", of(more)), cost, None);
        let (cost, written) = measured(Kind::UdpAndRtp, users)?;
        let more_ns = cost.ns_each.zip(main.ns_each).map(|(with, without)| with - without);
        let rtp_ns = more_ns.map(|more_ns| more_ns * written.messages as f64 / written.rtp as f64);
        row(&mut table, format!("b: {}, and 4 RTP packets for each message", of(users)), cost, rtp_ns);
        let (cost, _) = measured(Kind::Tcp, users)?;
        row(&mut table, format!("c: {}, over TCP", of(users)), cost, None);
        Ok((table, rtp_ns, ratio(cost.ns_each, main.ns_each)))
    }

    /// Memory: idle, of a registration, of a call that is open.
    fn memory(&self) -> Result<Memory> {
        let peak = |kind, users| -> Result<f64> {
            let (path, _) = self.write("kept", kind, users)?;
            let took = child::offhook(&self.program, &path)?;
            std::fs::remove_file(&path)?;
            Ok(took.peak_bytes)
        };
        let kept = self.size.kept;
        let idle = peak(Kind::Open { dialogs: 0 }, 0)?;
        let registered = [kept, 2 * kept].map(|users| peak(Kind::Open { dialogs: 0 }, users));
        let called = [kept, 2 * kept].map(|calls| peak(Kind::Open { dialogs: u64::from(calls) }, kept));
        let [registered, called] = [registered, called]
            .map(|[smaller, larger]| -> Result<f64> { Ok((larger? - smaller?) / f64::from(kept)) });
        let (registered, called) = (registered?, called?);
        let title = format!(
            "Memory of offhook replay, by the slope of its peak from {} to {}",
            written_count(u64::from(kept)),
            written_count(2 * u64::from(kept))
        );
        let columns =
            [("MiB idle", 1), ("bytes a registration", 0), ("bytes a call", 0), ("MiB with 1 M of each", 0)];
        let mut table = Table::new(title, &columns);
        let million = (idle + 1e6 * (registered + called)) / MIB;
        table.row("offhook replay", [Some(idle / MIB), Some(registered), Some(called), Some(million)]);
        Ok(Memory { table, idle_mib: idle / MIB, registration: registered, call: called })
    }

    /// Instructions a message, of the floors and of offhook.
    fn instructions(&self) -> Result<Instructions> {
        let users = self.size.counted;
        let own = std::env::current_exe()?.display().to_string();
        let mut kinds = Vec::new();
        for &(letter, kind) in self.size.counted_kinds {
            let profile =
                slope(&self.directory, kind, users, |capture| child::replay_command(&self.program, capture))?;
            kinds.push((letter, profile));
        }
        let mut floors = Vec::new();
        for (_, part) in FLOORS {
            let profile = slope(&self.directory, Kind::Udp, users, |capture| {
                let mut command = vec![own.clone()];
                command.extend(part.iter().map(|&word| word.to_owned()));
                command.push(capture.display().to_string());
                command
            })?;
            floors.push(profile.total);
        }
        Ok(Instructions { users, kinds, floors })
    }
}

/// Names, and the part of the bench that does it.
const FLOORS: [(&str, &[&str]); 5] = [
    ("floor: read the file, walk its records", &["floor", "read"]),
    ("floor: also slice Ethernet, IP, UDP", &["floor", "slice"]),
    ("floor: also scan for the fields needed", &["floor", "scan"]),
    ("floor: also keep state in hash tables", &["floor", "state"]),
    ("offhook's machine in the first floor's loop", &["machine"]),
];

struct Memory {
    table: Table,
    idle_mib: f64,
    /// Bytes.
    registration: f64,
    /// Bytes.
    call: f64,
}

struct Instructions {
    users: u32,
    kinds: Vec<(&'static str, Profile)>,
    floors: Vec<f64>,
}

impl Instructions {
    fn table(&self) -> Table {
        let title = format!(
            "Instructions a SIP message by room, {} to {} users",
            written_count(u64::from(self.users)),
            written_count(2 * u64::from(self.users))
        );
        let columns = self.kinds.iter().flat_map(|(letter, _)| [(*letter, 0), ("%", 1)]).collect::<Vec<_>>();
        let mut table = Table::new(title, &columns);
        let mut row = |name: &str, count: &dyn Fn(&Profile) -> f64| {
            let numbers = self.kinds.iter().flat_map(|(_, profile)| {
                let count = count(profile);
                [Some(count), Some(100.0 * count / profile.total)]
            });
            table.row(name, numbers.collect::<Vec<_>>());
        };
        let part = |profile: &Profile, name| profile.parts.get(name).copied().unwrap_or_default();
        for room in ROOMS.into_iter().chain([ELSEWHERE]) {
            row(room, &|profile| part(profile, room));
        }
        row("all", &|profile| profile.total);
        for kind in [ALLOCATOR, BYTES] {
            row(&format!("  of which {kind}"), &|profile| part(profile, kind));
        }
        if let [(_, plain), (_, with_rtp), ..] = self.kinds.as_slice() {
            let each = (with_rtp.total - plain.total) / RTP_PER_MESSAGE as f64;
            table.row(
                "  of which each RTP packet",
                [None, None, Some(each), Some(100.0 * each / with_rtp.total)],
            );
        }
        table
    }
}

/// Writes a workload.
fn write(path: &Path, kind: Kind, users: u32) -> Result<Written> {
    let out = File::create(path).with_context(|| path.display().to_string())?;
    let workload =
        Workload { kind, users, messages: u64::from(users) * MESSAGES_PER_USER, hours: 1, seed: SEED };
    Ok(workload.write(BufWriter::with_capacity(1 << 20, out))?)
}

/// The seed of all that is measured.
pub const SEED: u64 = 3261;

/// Instructions for one more message, as the difference between two workloads: what the start of a program costs is in both.
///
/// # Errors
/// A workload cannot be written, or the program fails.
pub fn slope(
    directory: &Path,
    kind: Kind,
    users: u32,
    command: impl Fn(&Path) -> Vec<String>,
) -> Result<Profile> {
    let path = directory.join("counted.pcap");
    let count = |users| -> Result<(Profile, u64)> {
        let written = write(&path, kind, users)?;
        Ok((callgrind::count(&command(&path), directory)?, written.messages))
    };
    let ((smaller, fewer), (larger, more)) = (count(users)?, count(2 * users)?);
    if more <= fewer {
        bail!("the larger workload is not larger");
    }
    Ok(larger.slope(&smaller, (more - fewer) as f64))
}

fn written_count(count: u64) -> String {
    written(Some(count as f64), 0)
}

/// What the kernel says that programs may still use.
fn available_memory() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0
}
