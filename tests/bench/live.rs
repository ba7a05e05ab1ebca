//! `scripts/bench live`: how fast and how right a live tap is, at the testbed of `scripts/testbed`.
//! In: phones, a PBX, a presence server, a mirror port. Out: tables, each figure beside a rival's of the same run. Needs
//! root; without, it says so. Knows nothing of the inside of what it measures.
//!
//! One run of an office gives delays, correctness and memory: the PBX publishes from inside (Kamailio's pua modules), offhook
//! from the mirror port, both to the same presence server. Floods give the packet rate, beside a program that only counts.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench is outside the house: it has clocks and sockets"
)]

#[allow(dead_code, reason = "the other benches use the rest")]
mod cpu;
mod ear;
#[allow(dead_code, reason = "the other bench uses the rest")]
mod floor;
mod live {
    pub mod flood;
    pub mod heard;
    pub mod office;
    pub mod phone;
    pub mod verdict;
    pub mod view;

    /// Resident memory of a process, in bytes; 0 when it is gone.
    pub fn memory(process: u32) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1_024
    }
}
#[allow(dead_code, reason = "the other benches use the rest")]
mod report;
mod speech;
#[path = "../support/testbed/mod.rs"]
mod testbed;
#[allow(dead_code, reason = "the other benches use the rest")]
mod wire;
#[allow(dead_code, reason = "the other benches use the rest")]
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use ear::Ear;
use live::flood::{Flood, Listener, Taken, pour};
use live::heard::{Cause, Heard, Rival};
use live::memory;
use live::office::{Office, now_s};
use live::verdict::{Changes, Seconds, changes, seconds};
use live::view::View;
use report::{Column, Options, Run, Table, median, percentile_ms};
use testbed::program::Program;
use testbed::{PRESENCE, Testbed, truth};

/// Measures a live tap.
#[derive(Parser)]
#[command(name = "bench live", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Phones of the office.
    #[arg(long, default_value_t = 300)]
    phones: usize,
    /// Seconds that the office lives.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Seconds of the last flood, a soak.
    #[arg(long, default_value_t = 240)]
    soak: u64,
    /// Packets a second of the soak.
    #[arg(long, default_value_t = 10_000.0)]
    soak_rate: f64,
    /// What the phones do: another seed, other calls.
    #[arg(long, default_value_t = 3_261)]
    seed: u64,
    /// Only the office, or only the floods, or only the soak.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// The program.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_offhook"), hide = true)]
    offhook: PathBuf,
    #[command(subcommand)]
    role: Option<Role>,
}

/// Parts of the bench that run in processes of their own.
#[derive(Subcommand)]
#[command(hide = true)]
enum Role {
    #[command(hide = true)]
    Counter { interface: String },
}

/// What can be measured alone.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Office,
    Flood,
    Soak,
}

/// So few that a round takes two seconds. In each, a phone registers under another Call-ID, of which 16 are remembered, and a
/// call that was seen to end is remembered for 64 s: after half of the soak, tables are as large as they will be.
const SOAK_USERS: u32 = 2_000;
/// What the soak may take of memory at its end, as a share of what it took after half of it.
const MORE_AT_THE_END_PERCENT: u64 = 120;

/// How much is done.
struct Size {
    phones: usize,
    lives: Duration,
    /// Users of the flood.
    users: u32,
    /// Users of the soak.
    soak_users: u32,
    /// One flood while the rate is looked for.
    pours: Duration,
    /// As often it is looked for.
    runs: usize,
    /// Steps of each search.
    steps: u32,
    soak: Duration,
}

fn main() -> Result<()> {
    let Some(arguments) = report::arguments::<Arguments>() else { return Ok(()) };
    match &arguments.role {
        Some(Role::Counter { interface }) => live::flood::count(interface),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let run = Run::begin(arguments.options, cpu::machine(), cpu::load());
    let size = if run.is_quick() {
        Size {
            phones: arguments.phones.min(40),
            lives: Duration::from_secs(15),
            users: 500,
            soak_users: 100,
            pours: Duration::from_millis(500),
            runs: 1,
            steps: 2,
            soak: Duration::from_secs(4),
        }
    } else {
        Size {
            phones: arguments.phones,
            lives: Duration::from_secs(arguments.seconds),
            users: 20_000,
            soak_users: SOAK_USERS,
            pours: Duration::from_secs(3),
            runs: 3,
            steps: 6,
            soak: Duration::from_secs(arguments.soak),
        }
    };
    let mut tables = Vec::new();
    if matches!(arguments.only, None | Some(Part::Office)) {
        let Some(day) = office(arguments, &size)? else { return Ok(()) };
        tables.extend([delays(&day), rightness(&day, &size), busy(&day)]);
    }
    if arguments.only != Some(Part::Office) {
        let Some(flooded) = floods(arguments, &size)? else { return Ok(()) };
        if arguments.only != Some(Part::Soak) {
            tables.push(rates(&flooded));
        }
        tables.push(soak(&flooded));
    }
    run.show(&tables, &[], 1);
    Ok(())
}

/// What an office showed.
struct Day {
    heard: Heard,
    truth: truth::Lives,
    /// When it closed; then all hang up at once, which is not what offices do.
    closed_s: f64,
    seconds: Seconds,
    changes: Changes,
    /// Processor time of the tap.
    cpu: Duration,
    lived: Duration,
    /// The tap's, after the first fifth and at the end.
    memory: [u64; 2],
}

fn office(arguments: &Arguments, size: &Size) -> Result<Option<Day>> {
    let Some(testbed) = Testbed::up(&["--pua", "--in-memory"]) else { return Ok(None) };
    let ear = Ear::<Heard>::open(&testbed, &[ear::MIRROR, ear::FROM_TAP]);
    let mut command = testbed.command("tap", &arguments.offhook);
    let server = format!("sip:{PRESENCE}");
    command.args(["tap", "-i", "span0", "--format", "jsonl", "--publish", &server]);
    let tap = Program::listening("offhook tap", command.env_remove("OFFHOOK_CONFIG"));
    let process = tap.id();
    let phones = Office::open(&testbed, size.phones, arguments.seed);
    // All are registered by then.
    std::thread::sleep(Duration::from_secs(7));
    let view = View::begin(&testbed);
    let before = cpu::of_process(process)?;
    std::thread::sleep(size.lives / 5);
    let early = memory(process);
    std::thread::sleep(size.lives * 4 / 5);
    let cpu = cpu::of_process(process)?.saturating_sub(before);
    let samples = view.end()?;
    let memory = [early, memory(process)];
    let closed_s = now_s();
    let truth = phones.end()?;
    let told = truth::of_lines(&tap.finish());
    let heard = ear.close()?;
    Ok(Some(Day {
        heard,
        seconds: seconds(&samples, &told, &truth, size.phones),
        changes: changes(&told, &truth),
        truth,
        closed_s,
        cpu,
        lived: size.lives,
        memory,
    }))
}

fn delays(day: &Day) -> Table {
    const COLUMNS: [Column; 5] =
        [("how many", 0), ("p50 ms", 2), ("− Kamailio", 2), ("p99 ms", 2), ("− Kamailio", 2)];
    let mut table = Table::new("From the cause on the mirror port to the PUBLISH on the wire", &COLUMNS);
    let causes = [
        (Cause::Answered, "200 to INVITE → confirmed"),
        (Cause::HungUp, "BYE → terminated"),
        (Cause::Came, "REGISTER → open"),
    ];
    for (cause, name) in causes {
        let of = |rival| {
            let delays = day.heard.delays(rival, cause, &day.truth, day.closed_s);
            (delays.len() as f64, percentile_ms(&delays, 50), percentile_ms(&delays, 99))
        };
        let (inside, outside) = (of(Rival::Kamailio), of(Rival::Offhook));
        let less = |one: Option<f64>, other: Option<f64>| Some(one? - other?);
        table
            .row(&format!("{name}: Kamailio, from inside"), [Some(inside.0), inside.1, None, inside.2, None]);
        table.row(
            &format!("{name}: offhook"),
            [Some(outside.0), outside.1, less(outside.1, inside.1), outside.2, less(outside.2, inside.2)],
        );
    }
    table
}

fn percent(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| 100.0 * part as f64 / all as f64)
}

fn rightness(day: &Day, size: &Size) -> Table {
    let title = format!("How right, of {} phones in {} s", size.phones, day.lived.as_secs());
    let mut table = Table::new(title, &[("of", 0), ("how many", 0), ("%", 3)]);
    let Seconds { all, right, changing, unregistered } = day.seconds;
    let row = |part: u64, all: u64| [Some(all as f64), Some(part as f64), percent(part, all)];
    table.row("phone-seconds in which the PBX's view is the same", row(right, all));
    table.row(
        "not the same, within 0.1 s of a change (1 s before a registration runs out)",
        row(changing, all),
    );
    table.row(
        "not the same, since who talks without a registration is online to offhook",
        row(unregistered, all),
    );
    table.row("otherwise not the same", row(all - right - changing - unregistered, all));
    let Changes { all, missed, spurious } = day.changes;
    table.row("changes that the phones know of, missed", row(missed, all));
    table.row("spurious ones that offhook told", row(spurious, all));
    table
}

/// What floods showed.
struct Flooded {
    /// Of each run: the highest rates without a loss and processor time a packet, counter and offhook.
    rates: Vec<[(f64, f64); 2]>,
    /// Once there was no loss as fast as it was sent: more may be taken.
    sent_all: [bool; 2],
    frames: usize,
    soak: Taken,
    soaked: Duration,
    soak_frames: usize,
}

fn floods(arguments: &Arguments, size: &Size) -> Result<Option<Flooded>> {
    let Some(testbed) = Testbed::up(&["--relay", "flood"]) else { return Ok(None) };
    let flood = Flood::new(size.users)?;
    let frames = flood.len();
    let mut flood = Some(flood);
    let (mut rates, mut sent_all) = (Vec::new(), [false; 2]);
    for _ in 0..if arguments.only == Some(Part::Soak) { 0 } else { size.runs } {
        let mut best = [(0.0, 0.0); 2];
        for (place, listener) in [Listener::Counter, Listener::Offhook].into_iter().enumerate() {
            let mut taken =
                |per_s: f64| pour(&testbed, &mut flood, listener, &arguments.offhook, per_s, size.pours);
            // As fast as it goes, then between what was taken and what was not.
            let first = taken(f64::MAX)?;
            let (mut least, mut most) = (0.0, first.per_s);
            let mut cpu_us = first.cpu_us;
            if first.lost == 0 {
                least = most;
                sent_all[place] = true;
            } else {
                for _ in 0..size.steps {
                    let now = taken(f64::midpoint(least, most))?;
                    if now.lost == 0 {
                        (least, cpu_us) = (now.per_s, now.cpu_us);
                    } else {
                        most = now.per_s;
                    }
                }
            }
            best[place] = (least, cpu_us);
        }
        rates.push(best);
    }
    let flood = Flood::new(size.soak_users)?;
    let soak_frames = flood.len();
    let (program, per_s) = (&arguments.offhook, arguments.soak_rate);
    let soak = pour(&testbed, &mut Some(flood), Listener::Offhook, program, per_s, size.soak)?;
    let [_, half, end] = soak.memory;
    ensure!(
        end * 100 <= half * MORE_AT_THE_END_PERCENT,
        "the soak: {half} bytes of memory after half of it, {end} at its end"
    );
    Ok(Some(Flooded { rates, sent_all, frames, soak, soaked: size.soak, soak_frames }))
}

fn rates(flooded: &Flooded) -> Table {
    let title = format!(
        "Most packets a second of which none is lost; SIP over UDP, {} different ones in turn",
        flooded.frames
    );
    let columns = [("packets/s", 0), ("% of the counter", 0), ("CPU µs each", 2)];
    let mut table = Table::new(title, &columns);
    let of = |figure: fn(&[(f64, f64); 2]) -> f64| median(flooded.rates.iter().map(figure));
    let more = |sent_all: bool| if sent_all { ", all that could be sent" } else { "" };
    let [counter_all, offhook_all] = flooded.sent_all.map(more);
    let counter = [of(|[counter, _]| counter.0), None, of(|[counter, _]| counter.1)];
    table.row(&format!("a counter on libpcap's dispatch{counter_all}"), counter);
    let share = of(|[counter, offhook]| 100.0 * offhook.0 / counter.0);
    let offhook = [of(|[_, offhook]| offhook.0), share, of(|[_, offhook]| offhook.1)];
    table.row(&format!("offhook tap{offhook_all}"), offhook);
    table
}

const MIB: f64 = 1_048_576.0;

fn busy(day: &Day) -> Table {
    let title = format!("What the tap took in {} s of the office", day.lived.as_secs());
    let columns = [("PUBLISH/s", 0), ("CPU %", 1), ("MiB after a fifth", 1), ("MiB at the end", 1)];
    let mut table = Table::new(title, &columns);
    let [early, late] = day.memory.map(|bytes| Some(bytes as f64 / MIB));
    let lived_s = day.lived.as_secs_f64();
    let requests = day.heard.requests(Rival::Offhook) as f64;
    let busy = 100.0 * day.cpu.as_secs_f64() / lived_s;
    table.row("offhook tap", [Some(requests / lived_s), Some(busy), early, late]);
    table
}

fn soak(flooded: &Flooded) -> Table {
    let title = format!(
        "A soak of {} s, the same users and other calls in each round of {} packets",
        flooded.soaked.as_secs(),
        flooded.soak_frames
    );
    let columns = [
        ("packets/s", 0),
        ("lost", 0),
        ("CPU µs each", 2),
        ("MiB at ¼", 1),
        ("MiB at ½", 1),
        ("MiB at the end", 1),
    ];
    let mut table = Table::new(title, &columns);
    let Taken { per_s, lost, cpu_us, memory } = flooded.soak;
    let [quarter, half, end] = memory.map(|bytes| Some(bytes as f64 / MIB));
    table.row("offhook tap", [Some(per_s), Some(lost as f64), Some(cpu_us), quarter, half, end]);
    table
}
