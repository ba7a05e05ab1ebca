//! `scripts/bench replay`: what it costs to hear so many messages.
//! In: seeded workloads. Out: tables of messages per second of processor time, instructions and bytes, each beside floor
//! programs measured in the same run. Knows nothing of the insides of what it measures.

mod workload;

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use workload::{Kind, MESSAGES_PER_USER, Workload};

/// Measures the tap.
#[derive(Parser)]
#[command(name = "bench replay", version)]
struct Arguments {
    /// Only write a workload, to FILE.
    #[arg(long, value_name = "WORKLOAD", requires = "file")]
    write: Option<Letter>,
    /// Users of the workload to write.
    #[arg(long, default_value_t = 100_000)]
    users: u32,
    /// Messages of the workload to write; without it, 10 for each user.
    #[arg(long)]
    messages: Option<u64>,
    /// Calls that stay open in workload d; without it, one for each user.
    #[arg(long)]
    dialogs: Option<u64>,
    /// Another seed, other bytes.
    #[arg(long, default_value_t = 3261)]
    seed: u64,
    /// Where to write it.
    file: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The workloads' names.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Letter {
    /// Registrations and calls over UDP.
    A,
    /// The same, and four RTP packets for each message.
    B,
    /// The same as a, over TCP.
    C,
    /// Registrations and calls that stay.
    D,
}

fn main() -> Result<()> {
    // Test runners ask what tests there are; this has none.
    if std::env::args().any(|argument| argument == "--list") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    if let (Some(letter), Some(file)) = (arguments.write, &arguments.file) {
        let users = arguments.users;
        let kind = match letter {
            Letter::A => Kind::Udp,
            Letter::B => Kind::UdpAndRtp,
            Letter::C => Kind::Tcp,
            Letter::D => Kind::Open { dialogs: arguments.dialogs.unwrap_or(u64::from(users)) },
        };
        let messages = arguments.messages.unwrap_or(u64::from(users) * MESSAGES_PER_USER);
        let out = File::create(file).with_context(|| file.display().to_string())?;
        let workload = Workload { kind, users, messages, seed: arguments.seed };
        let written = workload.write(BufWriter::with_capacity(1 << 20, out))?;
        println!("{}: {written:?}", file.display());
        println!("mean frame with SIP: {:.0} bytes", written.sip_bytes as f64 / written.messages as f64);
    }
    Ok(())
}
