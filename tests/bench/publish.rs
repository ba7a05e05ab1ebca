//! `scripts/bench publish`: what a publication costs whoever sends it and whoever serves it.
//! In: real sockets on loopback. Out: tables of rates, processor time and delays, each beside a floor and beside
//! Kamailio as measured in the same run. Knows nothing of the insides of what it measures.
//! Absolute figures drift with the machine; rivals take turns, and medians and ratios are what counts.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench is outside the house: it has clocks and sockets"
)]

mod answerer;
mod cpu;
mod load;
mod part;
#[path = "../support/presence_server.rs"]
mod presence_server;
#[allow(dead_code, reason = "the other bench uses the rest")]
mod report;
mod sender;
mod servers;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use part::Part;
use report::{Options, Run, Table, median};
use sender::{Sent, Work};

/// Measures publications: the sender, and presence servers.
#[derive(Parser)]
#[command(name = "bench publish", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

/// Parts of the bench that run in processes of their own.
#[derive(Subcommand)]
#[command(hide = true)]
enum Role {
    #[command(hide = true)]
    Answerer,
    #[command(hide = true)]
    Sender {
        #[arg(value_enum)]
        kind: SenderKind,
        server: SocketAddr,
        presentities: usize,
        calls: usize,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SenderKind {
    BareSockets,
    Machine,
    Publisher,
}

/// How much is done.
pub struct Size {
    /// Turns that the rivals take.
    runs: usize,
    /// Presentities of the sender.
    presentities: usize,
    /// Calls of each presentity in one run of the sender.
    calls: usize,
    /// Presentities of each server: so many that the same one is not published again before a server that tells watchers
    /// no more than 20 times a second may tell of it again.
    served: usize,
    /// How long a server is kept busy in one run.
    busy_for: Duration,
    /// Publications one after another in one run.
    single: usize,
    /// Presentities that they are of.
    single_among: usize,
}

impl Size {
    const FULL: Self = Self {
        runs: 3,
        presentities: 1_000,
        calls: 4,
        served: 5_000,
        busy_for: Duration::from_secs(2),
        single: 1_700,
        single_among: 200,
    };
    const QUICK: Self = Self {
        runs: 1,
        presentities: 100,
        calls: 2,
        served: 200,
        busy_for: Duration::from_millis(100),
        single: 50,
        single_among: 20,
    };
}

fn main() -> Result<()> {
    let Some(arguments) = report::arguments::<Arguments>() else { return Ok(()) };
    match arguments.role {
        Some(Role::Answerer) => answerer::run(),
        Some(Role::Sender { kind, server, presentities, calls }) => {
            let work = Work { presentities, calls };
            let sent = match kind {
                SenderKind::BareSockets => sender::bare_sockets(server, work),
                SenderKind::Machine => sender::machine(work),
                SenderKind::Publisher => sender::publisher(server, work),
            };
            println!("{}", serde_json::to_string(&sent?)?);
            Ok(())
        }
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let run = Run::begin(arguments.options, cpu::machine(), cpu::load());
    let size = if run.is_quick() { Size::QUICK } else { Size::FULL };
    let mut tables = vec![senders(&size)?];
    tables.extend(servers::measure(&size)?);
    run.show(&tables, &[], size.runs);
    Ok(())
}

fn senders(size: &Size) -> Result<Table> {
    let mut answerer = Part::start(&["answerer"])?;
    let server = answerer.line()?;
    let counts = [size.presentities.to_string(), size.calls.to_string()];
    let kinds = [
        ("bare-sockets", "bare sockets, the same bytes"),
        ("machine", "the publisher's machine, no sockets"),
        ("publisher", "the publisher"),
    ];
    let mut runs: [Vec<Sent>; 3] = Default::default();
    for _ in 0..size.runs {
        for ((kind, _), runs) in kinds.iter().zip(&mut runs) {
            let mut part = Part::start(&["sender", kind, &server, &counts[0], &counts[1]])?;
            runs.push(serde_json::from_str(&part.line()?).context("what a sender measured")?);
        }
    }
    let title = format!(
        "The sender, to a bare answerer. UDP, {} presentities, {} outstanding; each run {} PUBLISH",
        size.presentities,
        sender::WINDOW,
        runs[0].first().map_or(0, |sent| sent.publications),
    );
    let mut table =
        Table::new(title, &[("PUBLISH/s", 0), ("× floor", 2), ("CPU µs each", 1), ("× floor", 2)]);
    let medians = |runs: &[Sent]| {
        let count = |sent: &Sent| sent.publications as f64;
        let rate = median(runs.iter().map(|sent| count(sent) / sent.elapsed_s));
        let cost_us = median(runs.iter().map(|sent| sent.cpu_s * 1e6 / count(sent)));
        (rate, cost_us)
    };
    let floor = medians(&runs[0]);
    for ((_, name), runs) in kinds.iter().zip(&runs) {
        let (rate, cost_us) = medians(runs);
        table.row(name, [rate, ratio(rate, floor.0), cost_us, ratio(cost_us, floor.1)]);
    }
    Ok(table)
}

/// How many times the other.
pub fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other?)
}
