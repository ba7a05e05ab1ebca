//! A publisher against strict presence servers behind a bad network, in virtual time, seeded: whatever was lost, late,
//! refused or forgotten, over UDP or TCP, by PUBLISH or REGISTER, whole or by facets, at one server, at two that share
//! their state or at two that do not: in the end the server in use says what the publisher was told last.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{Mood, START, World, change};
use super::*;
use crate::base::Transport;
use crate::presence::{PresentityChange, Session, Terminal};
use crate::publish::options::{Facets, PublishMethod};

const PRESENTITIES: u64 = 5;
/// How long the network is bad, and then good.
const BAD_S: u32 = 3_000;
const GOOD_S: u32 = 2_000;

fn any_change(random: &mut Random, at: Timestamp, user: u64) -> PresentityChange {
    let (terminal, session) = match random.next() % 5 {
        0 => (Terminal::Online, Session::Idle),
        1 => (Terminal::Offline, Session::Idle),
        2 => (Terminal::Unknown, Session::Idle),
        3 => (Terminal::Online, Session::Ringing),
        _ => (Terminal::Online, Session::Talking),
    };
    let mut change = change(at, user, terminal, session, random.next());
    // Now and then a document that is too large for UDP.
    if random.next().is_multiple_of(8)
        && let Some(state) = std::sync::Arc::get_mut(&mut change.state)
    {
        state.user_agent = Some("A Phone With Much To Say ".repeat(60).into());
        for binding in &mut state.bindings {
            binding.user_agent.clone_from(&state.user_agent);
        }
    }
    change
}

fn run(seed: u64, stores: &[usize]) {
    let pick = |bit: u64| seed >> bit & 1 == 1;
    let options = PublishOptions {
        seed,
        outstanding: 3,
        per_s: 20,
        method: if pick(0) { PublishMethod::Register } else { PublishMethod::Publish },
        facets: if pick(1) { Facets::Separate } else { Facets::Combined },
        refresh: if pick(2) { RefreshOn::Registration } else { RefreshOn::OwnTimer },
        ..PublishOptions::default()
    };
    let transport = if pick(3) { Transport::Tcp } else { Transport::Udp };
    let facets = options.facets;
    let name =
        format!("seed {seed}, {transport} {:?} {facets:?} {:?} {stores:?}", options.method, options.refresh);
    let mut random = Random::new(seed);
    let mut world = World::new(name.clone(), options, transport, stores);
    world.bad = true;
    world.servers[0].takes_tcp = pick(4);
    let mut last: BTreeMap<u64, PresentityChange> = BTreeMap::new();
    let bad_until = START.after_s(BAD_S);
    while world.now < bad_until {
        let user = random.next() % PRESENTITIES;
        let change = any_change(&mut random, world.now, user);
        world.change(&change);
        last.insert(user, change);
        let next = world.now.after(Duration::from_millis(random.next() % 20_000));
        world.run_until(next.min(bad_until));
        if random.next().is_multiple_of(50) {
            // A restart without a disk.
            let store = random.next() as usize % world.stores.len();
            world.stores[store].clear();
        }
        if random.next().is_multiple_of(20) {
            let server = random.next() as usize % world.servers.len();
            world.servers[server].mood = match random.next() % 4 {
                0 => Mood::Silent,
                1 => Mood::Refuses,
                2 => Mood::Overloaded(None),
                _ => Mood::Overloaded(Some(30)),
            };
        } else if random.next().is_multiple_of(4) {
            world.servers.iter_mut().for_each(|server| server.mood = Mood::Answers);
        }
    }
    world.bad = false;
    world.servers.iter_mut().for_each(|server| server.mood = Mood::Answers);
    // Phones refresh their registrations.
    while world.now < bad_until.after_s(GOOD_S) {
        for change in last.values_mut() {
            change.at = world.now;
            let state = std::sync::Arc::make_mut(&mut change.state);
            for binding in &mut state.bindings {
                binding.expires_at = change.at.after_s(300);
            }
        }
        for change in last.values() {
            world.change(change);
        }
        let next = world.now.after_s(150);
        world.run_until(next);
    }
    assert!(world.publisher.is_settled(), "{name}: not settled");
    // The best server works again, and so it is the one that is used.
    let told = world.told(stores[0]);
    for change in last.values() {
        told.check(change, facets);
    }
}

#[test]
fn in_the_end_the_server_says_what_the_publisher_was_told() {
    for seed in 0..32 {
        run(seed, &[0]);
    }
}

#[test]
fn and_so_does_a_cluster_whichever_of_its_servers_is_asked() {
    for seed in 100..132 {
        run(seed, &[0, 0]);
    }
}

#[test]
fn and_so_does_the_better_of_two_that_share_nothing() {
    for seed in 200..232 {
        run(seed, &[0, 1]);
    }
}
