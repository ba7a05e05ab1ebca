//! `scripts/bench accuracy`: how much of the time each status is right when a mirror port loses frames.
//! In: seeds of the simulation. Out: a table, and the same as a picture (`tests/bench/accuracy.svg`). Knows nothing of how a
//! run goes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "whoever runs it sees it fail")]

mod accuracy {
    pub mod picture;
}
#[allow(dead_code, reason = "the other benches use the rest")]
mod report;
#[path = "../simulation/mod.rs"]
mod simulation;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use anyhow::{Context, Result};
use clap::Parser;

use accuracy::picture::{Line, Panel, picture};
use report::{Column, Table};
use simulation::measure::{Measured, measure};
use simulation::mirror::AtOnce;

/// Frames lost, of a million.
const LOST_PER_MILLION: [u64; 6] = [0, 1_000, 10_000, 20_000, 50_000, 100_000];
/// The same for people, and with how many decimals what is measured there is told.
const COLUMNS: [Column; 6] = [("0 %", 3), ("0.1 %", 3), ("1 %", 3), ("2 %", 3), ("5 %", 3), ("10 %", 3)];
/// A burst hides so many frames one behind the other.
const BURST_FRAMES: u64 = 10;

/// What the PBX is, the first seed at which it is that, and whether the sound of calls passes it: a packet in so long of each
/// call in each direction, a hundredth of what phones send.
const SHAPES: [(&str, u64, Option<u64>); 3] =
    [("proxy", 2, None), ("B2BUA", 1, None), ("B2BUA with sound", 1, Some(2_000_000))];
/// So many lines of each kind are told by `--why`.
const LONGEST: usize = 25;

const HOW: &str = "\
User-time is the time of all users together; a status is right while terminal and session both are what the phones know to
be so. Simulated: nine phones of seven users, a call every 12 s, an hour a run; every other run with phones that speak TCP,
that are challenged, that lose power. With sound: that of each call passes the PBX, too, one packet in two seconds and
direction, where phones send a hundred. Each loses frames of its own; bursts hide 10 frames one behind the other.
The bound is one who knows the whole truth about a user with each frame, be it any, that is shown of that user's phones or
of a call that one of them has part in, who needs no frame for what no frame shows (a registration that runs out), and who
besides is right wherever offhook is, for the time that has passed tells something, too. Nobody who has to infer what a
frame means can do as well.";

/// Draws how much of the time each status is right when frames are lost.
#[derive(Parser)]
#[command(name = "bench accuracy", version)]
struct Arguments {
    /// Runs for each point; without it one run, and no picture is written, which shows only that the bench works.
    #[arg(long, overrides_with = "seeds")]
    seeds: Option<u64>,
    /// One JSON object in place of a table.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// A table for a README.
    #[arg(long)]
    markdown: bool,
    /// One run for each point, and no picture.
    #[arg(long)]
    quick: bool,
    /// In place of all that: what was told instead of what, and the longest times of it, when so many of a million frames are
    /// lost.
    #[arg(long, value_name = "PER_MILLION")]
    why: Option<u64>,
    /// With `--why`: so many frames are lost one behind the other.
    #[arg(long, value_name = "FRAMES", default_value_t = 1, requires = "why")]
    at_once: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Kinds of mistakes by the time that they took, and the longest ones by the seed of their run.
fn why(lost: AtOnce, seeds: u64) {
    for (shape, first, sound_every_us) in SHAPES {
        let mut sum = Measured::default();
        let mut longest = Vec::new();
        for seed in (first..).step_by(2).take(seeds as usize) {
            let measured = measure(seed, lost, sound_every_us);
            longest.extend(
                measured.offhook.wrong.iter().map(|wrong| (wrong.to_us - wrong.from_us, seed, wrong.clone())),
            );
            sum.add(&measured);
        }
        longest.sort_by_key(|(us, ..)| std::cmp::Reverse(*us));
        println!("{shape}: {:.3} % right", sum.offhook.percent());
        sum.offhook.causes().iter().take(LONGEST).for_each(|cause| println!("  {cause}"));
        for (us, seed, wrong) in longest.iter().take(LONGEST) {
            println!(
                "  {:.1} s from {:.3} s, seed {seed}: {}",
                *us as f64 / 1e6,
                wrong.from_us as f64 / 1e6,
                wrong.what
            );
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seeds = arguments.seeds.filter(|_| !arguments.quick);
    if let Some(per_million) = arguments.why {
        why(AtOnce { frames: arguments.at_once, per_million }, seeds.unwrap_or(1));
        return Ok(());
    }
    let mut table = Table::new("right, % of user-time, at frames lost:", &COLUMNS);
    let mut panels = Vec::new();
    for (shape, first, sound_every_us) in SHAPES {
        let mut lines = Vec::new();
        for (way, frames) in [("one by one", 1), ("in bursts", BURST_FRAMES)] {
            let points = LOST_PER_MILLION.map(|per_million| {
                let mut sum = Measured::default();
                for seed in (first..).step_by(2).take(seeds.unwrap_or(1) as usize) {
                    sum.add(&measure(seed, AtOnce { frames, per_million }, sound_every_us));
                }
                sum
            });
            let mut row = |who, right: [f64; LOST_PER_MILLION.len()]| {
                table.row(&format!("{shape}, {way}: {who}"), right.map(Some));
                lines.push(Line { who, way, wrong_percent: right.map(|right| 100.0 - right).to_vec() });
            };
            row("offhook", points.each_ref().map(|it| it.offhook.percent()));
            row("bound", points.each_ref().map(|it| it.bound.percent()));
        }
        panels.push(Panel { title: shape, lines });
    }
    if arguments.json {
        println!("{}", table.json());
    } else if arguments.markdown {
        print!("{}", table.markdown());
    } else {
        println!("{table}\n{HOW}");
    }
    if seeds.is_some() {
        let labels = COLUMNS.map(|(label, _)| label);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/accuracy.svg");
        let svg = picture(&labels, &panels)?;
        std::fs::write(&path, svg).with_context(|| path.display().to_string())?;
        eprintln!("drawn: {}", path.display());
    }
    Ok(())
}
