//! Simulated runs by hand: any number of seeds, of any kind (`scripts/simulate`).
//! In: the command line. Out: shares of time and causes; for a failing run its breaches and files. Knows nothing of how.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "whoever runs it sees it fail")]

#[path = "mod.rs"]
mod simulation;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;

use simulation::judge::Share;
use simulation::listener::Sabotage;
use simulation::world::Shape;
use simulation::{Kind, folder, run};

const HELP: &str = "\
Usage: scripts/simulate [SEED] [--count N] [--kind KIND]... [--keep] [--worst N]

Lets seeded phones, a PBX, a mirror port and a presence server happen in virtual time, and compares what offhook says
with what was true. Without a SEED it begins at 1; with one, and no --count, it is that seed only.

  --count N     so many seeds, from SEED on (100)
  --kind KIND   perfect, lost-1, lost-5, rough, bypass, cramped or spells; may be repeated (all of them)
  --keep        leave the files of runs that passed, too
  --worst N     the N longest times in which a status was wrong

Even seeds have a proxy as their PBX, odd ones a back-to-back user agent. A failing run leaves a capture (pcapng) with
the truth as remarks on its packets, the truth, the lines and the breaches as text, and exit code 1.";

struct Arguments {
    seed: u64,
    count: u64,
    kinds: Vec<Kind>,
    keep: bool,
    worst: usize,
}

fn arguments() -> Result<Option<Arguments>, String> {
    let (mut seed, mut count, mut kinds, mut keep) = (None, None, Vec::new(), false);
    let mut worst = 0;
    // Cargo adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--count" => {
                let value = words.next().ok_or("--count: how many?")?;
                count = Some(value.parse().map_err(|_| format!("--count: not a number: {value}"))?);
            }
            "--kind" => {
                let name = words.next().unwrap_or_default();
                let kind = Kind::from_name(&name).ok_or_else(|| format!("--kind: no such kind: {name}"))?;
                kinds.push(kind);
            }
            "--keep" => keep = true,
            "--worst" => {
                let value = words.next().ok_or("--worst: how many?")?;
                worst = value.parse().map_err(|_| format!("--worst: not a number: {value}"))?;
            }
            _ if seed.is_none() => {
                seed = Some(word.parse().map_err(|_| format!("not a seed: {word}"))?);
            }
            _ => return Err(format!("not understood: {word}")),
        }
    }
    if kinds.is_empty() {
        kinds = Kind::ALL.to_vec();
    }
    let count = count.unwrap_or(if seed.is_some() { 1 } else { 100 });
    Ok(Some(Arguments { seed: seed.unwrap_or(1), count, kinds, keep, worst }))
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong}; scripts/simulate --help says how");
            return ExitCode::from(2);
        }
    };
    let mut shares: BTreeMap<(Kind, &str, &str), Share> = BTreeMap::new();
    let mut wrong: Vec<(u64, String)> = Vec::new();
    let (mut runs, mut failed, mut messages, mut calls) = (0_u64, 0_u64, 0, 0);
    for seed in arguments.seed..arguments.seed + arguments.count {
        for &kind in &arguments.kinds {
            let report = run(seed, kind, Sabotage::Nothing);
            runs += 1;
            messages += report.messages;
            calls += report.calls;
            let shape = match report.shape {
                Shape::Proxy => "proxy",
                Shape::B2bua => "b2bua",
            };
            shares
                .entry((kind, if report.tcp { "tcp" } else { "udp" }, shape))
                .or_default()
                .add(&report.share);
            for it in &report.share.wrong {
                let time = format!(
                    "seed {seed} {} {shape}: {:.3} to {:.3} s  {}",
                    kind.name(),
                    it.from_us as f64 / 1e6,
                    it.to_us as f64 / 1e6,
                    it.what
                );
                wrong.push((it.to_us - it.from_us, time));
            }
            wrong.sort_by_key(|(time_us, _)| std::cmp::Reverse(*time_us));
            wrong.truncate(arguments.worst);
            if !report.breaches.is_empty() {
                failed += 1;
                println!("seed {seed} ({}, {shape}): {} breaches", kind.name(), report.breaches.len());
                for breach in report.breaches.iter().take(if arguments.count > 1 { 3 } else { 40 }) {
                    println!("    {breach}");
                }
                println!("    {}", report.leave(&folder()).display());
            } else if arguments.keep {
                println!("seed {seed} ({}): {}", kind.name(), report.leave(&folder()).display());
            }
        }
    }
    println!("{runs} runs, {messages} SIP messages, {calls} calls: {failed} runs failed");
    for ((kind, transport, shape), share) in &shares {
        println!(
            "{:8} {shape:5} {transport}  right for {:.4} % of the user-time",
            kind.name(),
            share.percent()
        );
        for cause in share.causes() {
            println!("          {cause}");
        }
    }
    for (_, what) in &wrong {
        println!("{what}");
    }
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
