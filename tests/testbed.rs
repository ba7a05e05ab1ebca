//! The whole thing on a network: SIPp phones call each other through a Kamailio that knows nothing of presence, offhook hears
//! it on mirror ports as they are found in the field, publishes to a second Kamailio, and watchers there are told.
//! In: `scripts/testbed`, SIPp's scenarios. Out: pass, or where what offhook says differs from what the PBX knows. Needs
//! root and the packages that scripts/test installs; says so when there are no namespaces to be had.
//! Knows nothing of offhook's inside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test's helpers are tests, and they wait for real programs"
)]

#[path = "support/testbed/relay.rs"]
mod relay;
#[allow(dead_code, reason = "the tests of redial use the rest")]
#[path = "support/testbed/soft_phone.rs"]
mod soft_phone;
#[path = "support/mod.rs"]
mod support;
#[path = "support/testbed/mod.rs"]
mod testbed;

use support::{mirror, tunnels, wire};

use mirror::Mirror;
use relay::{Change, Relay};
use soft_phone::{Answers, SoftPhone};
use testbed::program::Program;
use testbed::truth::{self, Lives};
use testbed::{PBX, PRESENCE, Testbed};
use tunnels::Tunnel;

/// Between the frame on the mirror port and the line in the PBX's log, which is written when a busy machine comes to it.
/// What counts is the order.
const TOLERANCE_S: f64 = 5.0;

/// offhook at an interface of the tap.
fn tap(testbed: &Testbed, interface: &str, more: &[&str]) -> Program {
    let mut command = testbed.command("tap", env!("CARGO_BIN_EXE_offhook"));
    command.args(["tap", "-i", interface, "--format", "jsonl"]).args(more);
    Program::listening(interface, command.env_remove("OFFHOOK_CONFIG"))
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

/// Without offloads each frame is as it would be on a wire. With them the mirror shows frames that no card has finished:
/// no checksums, TCP segments longer than the link takes. And with all ports mirrored, each of them twice.
#[test]
fn cards_that_finish_frames_later_and_a_mirror_of_all_ports_change_nothing() {
    let Some(testbed) = Testbed::up(&["--offloads", "--mirror", "all"]) else { return };
    let server = format!("sip:{PRESENCE}");
    let listens = tap(&testbed, "span0", &["--publish", &server]);
    let watched =
        ["watch", "bob@example.com", "--server", &server, "--events", "presence", "--format", "jsonl"];
    let mut command = testbed.command("tap", env!("CARGO_BIN_EXE_offhook"));
    let mut watcher = Program::start("the watcher", command.args(watched).env_remove("OFFHOOK_CONFIG"));
    let phones = testbed.start_script(&["call", "3"]);
    let is_told = |what: &'static str| move |line: &str| line.contains("\"active\"") && line.contains(what);
    watcher.wait_for("that Bob is there", is_told("\"open\":true,\"activities\":[]"));
    watcher.wait_for("that Bob is busy", is_told("\"open\":true,\"activities\":[\"on-the-phone\"]"));
    watcher.wait_for("that Bob is free again", is_told("\"open\":true,\"activities\":[]"));
    watcher.wait_for("that Bob is gone", is_told("\"open\":false"));
    assert!(phones.wait_with_output().unwrap().status.success(), "{}", testbed.log("sipp"));
    let lines = listens.finish();
    let told = truth::of_lines(&lines);
    assert_none("offloads", &truth::differences(&truth_of(&testbed, 6), &told, TOLERANCE_S));
    let failed = lines.iter().find(|line| line.contains("\"outcome\":\"failed\""));
    assert_eq!(failed, None, "every publication is acknowledged");
}

/// A soft phone of the field, over TCP too: baresip calls baresip.
#[test]
fn soft_phones_that_call_each_other_are_heard_over_udp_and_tcp() {
    let Some(testbed) = Testbed::up(&["--offloads"]) else { return };
    let listens = tap(&testbed, "span0", &[]);
    let called = SoftPhone::baresip(&testbed, "bob", "198.19.0.2", "tcp", Answers::AtOnce);
    let mut caller = SoftPhone::baresip(&testbed, "alice", "198.19.0.1", "udp", Answers::AtOnce);
    testbed.wait_for_log("pbx", "registered bob ");
    testbed.wait_for_log("pbx", "registered alice ");
    caller.dial(&testbed, "sip:bob@example.com");
    testbed.wait_for_log("pbx", "answered alice bob");
    std::thread::sleep(std::time::Duration::from_secs(1));
    // In order: it hangs up and unregisters.
    caller.finish();
    testbed.wait_for_log("pbx", "bye alice bob");
    called.finish();
    testbed.wait_for_log("pbx", "unregistered bob");
    let told = truth::of_lines(&listens.finish());
    assert_none("soft phones", &truth::differences(&truth_of(&testbed, 2), &told, TOLERANCE_S));
}

/// The cable to the mirror port is out for ten seconds while people talk: how their calls ended nobody heard. Nothing is
/// claimed as if all had been heard that was not so, and of those who come later all is right.
#[test]
fn an_interface_that_goes_down_during_calls_comes_back() {
    let Some(testbed) = Testbed::up(&[]) else { return };
    let listens = tap(&testbed, "span0", &[]);
    let link = |way: &str| {
        let status = testbed.command("tap", "ip").args(["link", "set", "span0", way]).status();
        assert!(status.unwrap().success(), "the interface does not go {way}");
    };
    let mut calls = testbed.start_script(&["call", "2"]);
    testbed.wait_for_log("pbx", "answered ");
    link("down");
    std::thread::sleep(std::time::Duration::from_secs(10));
    link("up");
    assert!(calls.wait().unwrap().success(), "{}", testbed.log("sipp"));
    let unheard = truth::of_log(&testbed.log("pbx"));
    testbed.script(&["call", "4"]);
    let lines = listens.finish();
    let (mut truth, mut told) = (truth_of(&testbed, 8), truth::of_lines(&lines));
    let sure: Vec<_> = lines.iter().filter(|line| !line.contains("\"degraded\"")).cloned().collect();
    let claims = truth::false_claims(&truth, &truth::of_lines(&sure), TOLERANCE_S);
    assert_none("an interface down and up", &claims);
    truth.retain(|user, _| !unheard.contains_key(user));
    told.retain(|user, _| !unheard.contains_key(user));
    assert_eq!(truth.len(), 4);
    assert_none("those who came later", &truth::differences(&truth, &told, TOLERANCE_S));
    let blind: Vec<_> = lines.iter().filter(|line| line.contains("\"kind\":\"capture\"")).collect();
    assert_eq!(blind.len(), 2, "blindness begins and ends with a line: {lines:#?}");
}
