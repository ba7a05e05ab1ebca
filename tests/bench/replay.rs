//! `scripts/bench replay`: what it costs to hear so many messages.
//! In: seeded workloads. Out: tables of messages per second of processor time, instructions and bytes, each beside floor
//! programs measured in the same run. Knows nothing of the insides of what it measures.
//! Absolute figures drift with the machine; programs take turns, and medians and ratios are what counts.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench is outside the house: it has clocks and processes"
)]

mod callgrind;
mod child;
#[allow(dead_code, reason = "the other bench uses the rest")]
mod cpu;
mod floor;
mod instructions;
mod listening;
#[allow(dead_code, reason = "the other bench uses the rest")]
mod part;
#[allow(dead_code, reason = "the other bench uses the rest")]
mod report;
mod workload;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

use offhook::base::{FrameId, Limits, LinkType, Timestamp};
use offhook::decode::Frame;
use offhook::tap::{Tap, TapOptions};

use child::Took;
use floor::Floor;
use listening::{Bench, Measured, Size};
use report::{Options, Run};
use workload::{Kind, MESSAGES_PER_USER, Workload};

/// The floors and offhook's machine in their loop have what the program has.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Measures what it costs to listen.
#[derive(Parser)]
#[command(name = "bench replay", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Users of what is measured; also measured with a tenth and with ten times of them.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..10_000_000))]
    users: u32,
    /// Turns that the programs take.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Only count the instructions of a message, and fail if they are 5 % more than those committed.
    #[arg(long, conflicts_with = "bless")]
    check: bool,
    /// Only count the instructions of a message, and write them down to be committed.
    #[arg(long)]
    bless: bool,
    /// The program to measure, in place of the one just built.
    #[arg(long, value_name = "PROGRAM", default_value = env!("CARGO_BIN_EXE_offhook"))]
    offhook: PathBuf,
    /// Where captures are written, up to 8 GB at a time.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    directory: PathBuf,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Only write a workload to a file.
    Write(Write),
    /// A floor, in a process of its own.
    #[command(hide = true)]
    Floor {
        #[arg(value_enum)]
        floor: Floor,
        file: PathBuf,
    },
    /// The machine, without files and output of its own.
    #[command(hide = true)]
    Machine { file: PathBuf },
    /// Waits for a program.
    #[command(hide = true)]
    WaitFor {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Write {
    /// Which.
    #[arg(value_enum)]
    workload: Letter,
    /// Where to.
    file: PathBuf,
    /// Users.
    #[arg(long, default_value_t = 100_000)]
    users: u32,
    /// SIP messages of an hour; without it, 10 for each user. Workload d has as many as it needs.
    #[arg(long)]
    messages: Option<u64>,
    /// Hours. Workload d has one.
    #[arg(long, default_value_t = 1)]
    hours: u64,
    /// Calls that stay open in workload d; without it, one for each user.
    #[arg(long)]
    calls: Option<u64>,
    /// Another seed, other bytes.
    #[arg(long, default_value_t = listening::SEED)]
    seed: u64,
}

/// The workloads' names.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Letter {
    /// Registrations and calls over UDP.
    A,
    /// The same, and four RTP packets for each message.
    B,
    /// The same as a, over TCP.
    C,
    /// Registrations and calls that stay.
    D,
    /// The same as a, until all calls have ended.
    E,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Some(arguments) = report::arguments::<Arguments>() else { return Ok(()) };
    match &arguments.role {
        None => act(&arguments),
        Some(Role::Write(what)) => write(what),
        Some(Role::Floor { floor, file }) => {
            floor::run(*floor, file)?;
            tell_what_it_took(Took::so_far()?)
        }
        Some(Role::Machine { file }) => {
            machine(file)?;
            tell_what_it_took(Took::so_far()?)
        }
        Some(Role::WaitFor { command }) => tell_what_it_took(child::wait_for(command)?),
    }
}

fn act(arguments: &Arguments) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("offhook-bench").tempdir_in(&arguments.directory)?;
    if arguments.check {
        return instructions::check(&arguments.offhook, directory.path());
    }
    if arguments.bless {
        return instructions::bless(&arguments.offhook, directory.path());
    }
    let run = Run::begin(arguments.options, cpu::machine(), cpu::load());
    let size =
        if run.is_quick() { Size::QUICK } else { Size::full(arguments.users, usize::from(arguments.runs)) };
    let runs = size.runs;
    let bench = Bench { program: arguments.offhook.clone(), directory: directory.path().to_owned(), size };
    let Measured { tables, goals } = bench.measure()?;
    run.show(&tables, &goals, runs);
    Ok(())
}

fn tell_what_it_took(took: Took) -> Result<()> {
    println!("{}", serde_json::to_string(&took)?);
    Ok(())
}

/// The tap without the way in and out of the program: frames as the floors read them, and nobody is told.
fn machine(file: &Path) -> Result<()> {
    let mut tap = Tap::new(TapOptions::default(), Limits::default());
    let (mut number, mut told) = (0, 0_u64);
    floor::records(file, |at_us, bytes| {
        number += 1;
        let at = Timestamp::from_nanos(at_us * 1_000);
        let (id, link) = (FrameId::new(0, number), LinkType(1));
        tap.handle(&Frame { at, id, link, bytes, wire_length: bytes.len() });
        while tap.poll_output().is_some() {
            told += 1;
        }
    })?;
    std::hint::black_box(told);
    Ok(())
}

fn write(what: &Write) -> Result<()> {
    let users = what.users;
    let kind = match what.workload {
        Letter::A => Kind::Udp,
        Letter::B => Kind::UdpAndRtp,
        Letter::C => Kind::Tcp,
        Letter::E => Kind::Ended,
        Letter::D => Kind::Open { dialogs: what.calls.unwrap_or(u64::from(users)) },
    };
    let messages = what.messages.unwrap_or(u64::from(users) * MESSAGES_PER_USER);
    let out = File::create(&what.file).with_context(|| what.file.display().to_string())?;
    let workload = Workload { kind, users, messages, hours: what.hours, seed: what.seed };
    let written = workload.write(BufWriter::with_capacity(1 << 20, out))?;
    println!(
        "{}: {} frames; {} SIP messages, {:.0} bytes a frame; {} RTP packets; {} users registered, {} calls, \
         at most {} at once",
        what.file.display(),
        written.frames,
        written.messages,
        written.sip_bytes as f64 / written.messages.max(1) as f64,
        written.rtp,
        written.registered,
        written.calls,
        written.most_talking,
    );
    Ok(())
}
