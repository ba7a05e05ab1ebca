//! Seeded phones with known truth, a mirror that hides some of it, a presence server that fails: what the tap says
//! must be true, or late by a rule that has a name. In: seeds. Out: pass, or the seed and a capture that shows what
//! went wrong. Knows nothing of sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "simulation/mod.rs"]
mod simulation;
mod support;

use simulation::listener::Sabotage;
use simulation::{Kind, must_hold, run};

#[test]
fn one_perfect_run() {
    let seed = std::env::var("SEED").map_or(1_000, |seed| seed.parse().unwrap());
    let kind = std::env::var("KIND").map_or(Kind::Perfect, |kind| Kind::from_name(&kind).unwrap());
    let report = run(seed, kind, Sabotage::Nothing);
    println!(
        "{} messages {} calls {:.4} % {}",
        report.messages,
        report.calls,
        report.share.percent(),
        report.share.causes().join("\n   ")
    );
    must_hold(&report);
}
