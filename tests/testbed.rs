//! The whole thing on a network: SIPp phones call each other through a Kamailio that knows nothing of presence, offhook hears
//! it on mirror ports as they are found in the field, publishes to a second Kamailio, and watchers there are told.
//! In: `scripts/testbed`, SIPp's scenarios. Out: pass, or where what offhook says differs from what the PBX knows. Needs
//! root and the packages that scripts/test installs; says so when there are no namespaces to be had.
//! Knows nothing of offhook's inside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test's helpers are tests, and they wait for real programs"
)]

#[path = "support/mod.rs"]
mod support;
#[path = "support/testbed/mod.rs"]
mod testbed;

use support::{mirror, tunnels, wire};

use mirror::Mirror;
use testbed::program::Program;
use testbed::relay::{Change, Relay};
use testbed::truth::{self, Lives};
use testbed::{PBX, Testbed};
use tunnels::Tunnel;

/// Between the frame on the mirror port and the line in the PBX's log: both write when they come to it.
const TOLERANCE_S: f64 = 1.0;

/// offhook at an interface of the tap.
fn tap(testbed: &Testbed, interface: &str, more: &[&str]) -> Program {
    let mut command = testbed.command("tap", env!("CARGO_BIN_EXE_offhook"));
    command.args(["tap", "-i", interface, "--format", "jsonl"]).args(more);
    Program::start(interface, command.env_remove("OFFHOOK_CONFIG"))
}

fn finished(taps: Vec<Program>) -> Vec<Vec<String>> {
    taps.into_iter().map(Program::finish).collect()
}

fn assert_none(what: &str, differences: &[String]) {
    assert!(differences.is_empty(), "{what}:\n  {}", differences.join("\n  "));
}

fn truth_of(testbed: &Testbed, users: usize) -> Lives {
    let truth = truth::of_log(&testbed.log("pbx"));
    assert_eq!(truth.len(), users, "the phones did not do as they were told:\n{}", testbed.log("sipp"));
    truth
}

#[test]
fn every_kind_of_mirror_port_tells_the_same() {
    let exact = [
        ("plain", Change::None),
        ("copies", Change::Mirror(Mirror::Copies(2))),
        ("tagged", Change::Vlan(10)),
        ("erspan2", Change::Tunnel(Tunnel::ErspanII)),
        ("erspan3", Change::Tunnel(Tunnel::ErspanIII)),
        ("gre", Change::Tunnel(Tunnel::Gre)),
        ("vxlan", Change::Tunnel(Tunnel::Vxlan)),
    ];
    let partial = [
        ("oneway", Change::Mirror(Mirror::Only(PBX.parse().unwrap()))),
        ("loses1", Change::loses(1, 3261)),
        ("loses5", Change::loses(5, 3261)),
    ];
    let names: Vec<_> = exact.iter().chain(&partial).map(|(name, _)| *name).collect();
    let Some(testbed) = Testbed::up(&["--relay", &names.join(",")]) else { return };
    let exact_count = exact.len();
    let changes = exact.into_iter().chain(partial).map(|(name, change)| (name.to_owned(), change)).collect();
    let relay = Relay::start(&testbed, changes);
    let taps: Vec<_> = names.iter().map(|name| tap(&testbed, &format!("span-{name}"), &[])).collect();
    testbed.wait_for_listeners(taps.len());
    testbed.script(&["call", "5"]);
    let lines = finished(taps);
    drop(relay);

    let truth = truth_of(&testbed, 10);
    for (place, (name, lines)) in names.iter().zip(&lines).enumerate() {
        let told = truth::of_lines(lines);
        if place < exact_count {
            assert_none(name, &truth::differences(&truth, &told, TOLERANCE_S));
        } else {
            assert_none(name, &truth::false_claims(&truth, &told, TOLERANCE_S));
            assert_eq!(told.len(), truth.len(), "{name} does not know everybody: {lines:#?}");
        }
    }
}
