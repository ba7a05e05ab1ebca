//! Outages, failovers and every answer, one at a time: how long what is shown is wrong, and what the servers get to see.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{Instead, Mood, START, World, change, hop};
use super::*;
use crate::base::Transport;
use crate::presence::{PresentityChange, Session, Terminal};
use crate::publish::options::{Facets, PublishMethod};
use crate::sip::write::header;

fn world(name: &str, options: PublishOptions, stores: &[usize]) -> World {
    World::new(name.to_owned(), PublishOptions { seed: 7, ..options }, Transport::Udp, stores)
}

fn presence_only() -> PublishOptions {
    PublishOptions { events: vec![EventPackage::Presence], ..PublishOptions::default() }
}

fn says(world: &World, store: usize, session: Session) -> bool {
    let word = format!(" session=\"{}\"", session.name());
    matches!(*world.told(store).bodies("sip:user1@example.com", "presence"), [body] if body.contains(&word))
}

/// Ten thousand presentities, published; an hour without a server, in which a third of them change; and back, with
/// nothing left of what it knew.
fn ten_thousand(mood: Mood) {
    const PRESENTITIES: u64 = 10_000;
    let mut world = world("ten thousand", PublishOptions::default(), &[0]);
    let mut last: BTreeMap<u64, PresentityChange> = BTreeMap::new();
    for user in 0..PRESENTITIES {
        let change = change(START, user, Terminal::Online, Session::Idle, user);
        world.change(&change);
        last.insert(user, change);
    }
    assert!(world.settle_until(START.after_s(60)), "20,000 publications at 1000 a second");
    assert!(world.now.since(START) < Duration::from_secs(25), "{:?}", world.now.since(START));
    assert!(world.most_in_flight > 16, "the window has grown");
    // A round of refreshes: spread, as the checks on each request say.
    world.run_until(START.after_s(700));

    let down_at = world.now;
    world.servers[0].mood = mood;
    let before = world.servers[0].asked;
    for step in 0..3_600 {
        if step % 3 == 0 {
            let user = world.random.next() % PRESENTITIES;
            let session = if step % 2 == 0 { Session::Talking } else { Session::Ringing };
            let change = change(world.now, user, Terminal::Online, session, u64::from(step));
            world.change(&change);
            last.insert(user, change);
        }
        world.run_until(down_at.after_s(step + 1));
    }
    let asked = world.servers[0].asked - before;
    assert!(asked < 300, "{asked} requests into an hour's silence");

    let up_at = world.now;
    world.stores[0].clear();
    world.servers[0].mood = Mood::Answers;
    assert!(world.settle_until(up_at.after_s(3_600)), "{mood:?}: not settled");
    let recovery = world.now.since(up_at);
    // A minute until it is noticed, at most a silence that has to be waited out, and 20,000 requests.
    assert!(recovery < Duration::from_secs(120), "{mood:?}: recovered after {recovery:?}");
    assert!(world.most_in_flight <= 64);
    let told = world.told(0);
    for change in last.values() {
        told.check(change, Facets::Combined);
    }
}

#[test]
fn ten_thousand_presentities_come_back_after_an_hour_of_silence() {
    ten_thousand(Mood::Silent);
}

#[test]
fn ten_thousand_presentities_come_back_after_an_hour_of_refusal() {
    ten_thousand(Mood::Refuses);
}

#[test]
fn a_failed_server_is_left_and_turned_to_again_by_one_refresh() {
    let mut world = world("failover", presence_only(), &[0, 0]);
    for user in 0..200 {
        world.change(&change(START, user, Terminal::Online, Session::Idle, 0));
    }
    world.run_until(START.after_s(60));
    assert!(world.publisher.is_settled());
    assert_eq!(world.servers[1].asked, 0, "the next one is for when the first fails");

    world.servers[0].mood = Mood::Silent;
    let before = world.servers[0].asked;
    let talking = change(world.now, 1, Terminal::Online, Session::Talking, 1);
    world.change(&talking);
    let failed_at = world.now;
    assert!(world.settle_until(failed_at.after_s(100)));
    // Timer F, and then at once.
    assert!(world.now.since(failed_at) < Duration::from_secs(33), "{:?}", world.now.since(failed_at));
    assert!(says(&world, 0, Session::Talking));
    for (second, session) in [(100, Session::Idle), (101, Session::Ringing), (102, Session::Talking)] {
        world.run_until(failed_at.after_s(second));
        world.change(&change(world.now, 1, Terminal::Online, session, 2));
        world.run_until(failed_at.after_s(second).after(Duration::from_millis(200)));
        assert!(says(&world, 0, session), "no change waits for a server that may be away");
    }
    world.run_until(failed_at.after_s(1_800));
    let probes = world.servers[0].asked - before;
    assert!((2..60).contains(&probes), "{probes} requests in half an hour");
    assert!(world.publisher.is_settled());

    world.servers[0].mood = Mood::Answers;
    world.run_until(failed_at.after_s(2_700));
    let second = world.servers[1].asked;
    for user in 0..200 {
        world.change(&change(world.now, user, Terminal::Online, Session::Ringing, 3));
    }
    let ringing_at = world.now;
    assert!(world.settle_until(ringing_at.after_s(2)));
    assert_eq!(world.servers[1].asked, second, "the first one is used again");
    for user in 0..200 {
        let ringing = change(ringing_at, user, Terminal::Online, Session::Ringing, 3);
        world.told(0).check_presence(&ringing);
    }
}

#[test]
fn servers_that_share_nothing_are_each_told_all_as_soon_as_they_are_turned_to() {
    let mut world = world("unshared", presence_only(), &[0, 1]);
    for user in 0..300 {
        world.change(&change(START, user, Terminal::Online, Session::Idle, 0));
    }
    world.run_until(START.after_s(60));
    world.servers[0].mood = Mood::Refuses;
    world.change(&change(world.now, 1, Terminal::Online, Session::Talking, 1));
    world.run_until(START.after_s(70));
    for user in 2..300 {
        world.told(1).check_presence(&change(START, user, Terminal::Online, Session::Idle, 0));
    }
    assert!(says(&world, 1, Session::Talking));
    // Back again, with what it stored: replaced, not doubled, and of all as soon as the first refresh has shown it.
    world.servers[0].mood = Mood::Answers;
    let asked = world.servers[0].asked;
    while world.servers[0].asked == asked {
        let next = world.now.after(Duration::from_millis(100));
        world.run_until(next);
        assert!(world.now < START.after_s(660), "never asked again");
    }
    let next = world.now.after_s(3);
    world.run_until(next);
    assert!(world.servers[0].asked >= asked + 300);
    assert!(says(&world, 0, Session::Talking));
    for user in 2..300 {
        world.told(0).check_presence(&change(START, user, Terminal::Online, Session::Idle, 0));
    }
}

#[test]
fn retry_after_keeps_away_from_that_server_alone() {
    let mut world = world("retry-after", presence_only(), &[0, 0]);
    world.servers[0].mood = Mood::Overloaded(Some(120));
    world.change(&change(START, 1, Terminal::Online, Session::Idle, 0));
    world.run_until(START.after_s(1));
    assert!(says(&world, 0, Session::Idle), "the next one takes it at once");
    assert_eq!(world.servers[0].asked, 1);
    world.servers[1].mood = Mood::Refuses;
    world.servers[0].mood = Mood::Answers;
    let talking = change(world.now, 1, Terminal::Online, Session::Talking, 1);
    world.change(&talking);
    world.run_until(START.after_s(119));
    assert_eq!(world.servers[0].asked, 1);
    assert!(world.resolutions > 1, "nobody is left: perhaps there are new addresses");
    world.run_until(START.after_s(190));
    assert!(says(&world, 0, Session::Talking));
}

#[test]
fn an_unresolved_name_is_asked_for_again() {
    let mut publisher = Publisher::new(presence_only(), &Limits::default());
    let mut now = START;
    publisher.handle_change(now, &change(now, 1, Terminal::Online, Session::Idle, 0));
    for _ in 0..10 {
        assert!(publisher.poll_resolve() && !publisher.poll_resolve(), "told once");
        publisher.handle_servers(now, &[]);
        assert!(publisher.poll_transmit().is_none());
        let next = publisher.poll_timeout().unwrap();
        assert!(next > now && next.since(now) <= Duration::from_secs(60));
        now = next;
        publisher.handle_timeout(now);
    }
    assert!(publisher.poll_resolve());
    publisher.handle_servers(now, &[Server { hop: hop(Transport::Udp, 0) }]);
    assert!(publisher.poll_transmit().is_some());
}

#[test]
fn what_is_too_large_for_udp_goes_over_tcp_unless_that_is_refused() {
    let large = |at, session| {
        let mut large = change(at, 1, Terminal::Online, session, 1);
        std::sync::Arc::get_mut(&mut large.state).unwrap().bindings[0].user_agent =
            Some("A Phone With Much To Say ".repeat(60).into());
        large
    };
    for takes_tcp in [true, false] {
        let mut publisher = Publisher::new(presence_only(), &Limits::default());
        let udp = hop(Transport::Udp, 0);
        publisher.handle_servers(START, &[Server { hop: udp }]);
        publisher.handle_change(START, &large(START, Session::Idle));
        let sent = publisher.poll_transmit().unwrap();
        assert!(sent.bytes.len() > 1_300);
        assert_eq!((sent.hop.transport, sent.hop.remote), (Transport::Tcp, udp.remote));
        assert_eq!((sent.hop.local.ip(), sent.hop.local.port()), (udp.local.ip(), 0));
        assert!(sent.bytes.windows(27).any(|window| window == b"Via: SIP/2.0/TCP 192.0.2.5;"));
        if takes_tcp {
            continue;
        }
        publisher.handle_transport_error(START, sent.hop);
        let again = publisher.poll_transmit().unwrap();
        assert_eq!(again.hop, udp);
        assert!(publisher.poll_outcome().is_none(), "it is the same attempt");
    }
    // A whole life, with such a server and one that does not take TCP.
    for takes_tcp in [true, false] {
        let mut world = world("large", presence_only(), &[0]);
        world.servers[0].takes_tcp = takes_tcp;
        for (number, session) in (0..).zip([Session::Idle, Session::Ringing, Session::Talking]) {
            let at = START.after_s(number);
            world.run_until(at);
            world.change(&large(at, session));
        }
        world.run_until(START.after_s(4));
        assert!(says(&world, 0, Session::Talking));
        assert_eq!(world.servers[0].asked, if takes_tcp { 3 } else { 4 }, "TCP is not tried again");
    }
}

/// Every final answer, once, to each operation, over UDP and TCP, by both methods. The longest time until the server
/// says again what it should, in milliseconds; `None` for one that switches the package off.
fn longest_ms(method: PublishMethod, operation: Operation, status: u16) -> Option<u64> {
    const NOW: u64 = 100;
    const HOUR: u64 = 3_960_000 + NOW;
    let publish = method == PublishMethod::Publish;
    Some(match (status, operation) {
        // The server took it, or so it says: it stored nothing, which the next refresh shows.
        (200..=299, Operation::Initial | Operation::Modify | Operation::Refresh) => 601_000,
        (200..=299 | 404 | 412 | 500, Operation::Remove) => NOW,
        (412, Operation::Modify | Operation::Refresh) if publish => 400 + NOW,
        (500, Operation::Modify | Operation::Refresh) if publish => 400 + NOW,
        (415 | 489, _) => return None,
        (408 | 480 | 500..=599, _) => 4_000 + NOW,
        _ => HOUR,
    })
}

#[test]
fn after_every_answer_the_server_says_what_it_should_in_due_time() {
    const STATUSES: [u16; 46] = [
        200, 202, 204, 300, 301, 302, 305, 380, 400, 401, 402, 403, 404, 405, 406, 407, 408, 410, 412, 413,
        414, 415, 416, 420, 421, 423, 480, 481, 482, 483, 486, 488, 489, 491, 493, 500, 501, 502, 503, 504,
        505, 513, 600, 603, 604, 606,
    ];
    const OPERATIONS: [Operation; 4] =
        [Operation::Initial, Operation::Refresh, Operation::Modify, Operation::Remove];
    for transport in [Transport::Udp, Transport::Tcp] {
        for method in [PublishMethod::Publish, PublishMethod::Register] {
            for operation in OPERATIONS {
                for status in STATUSES {
                    one_answer(transport, method, operation, status);
                }
            }
        }
    }
}

fn one_answer(transport: Transport, method: PublishMethod, operation: Operation, status: u16) {
    let name = format!("{status} to {operation:?} by {method:?} over {transport}");
    let options = PublishOptions { seed: 7, method, ..presence_only() };
    let mut world = World::new(name.clone(), options, transport, &[0]);
    world.run_until(START);
    let idle = change(START, 1, Terminal::Online, Session::Idle, 0);
    let mut wanted = Some(Session::Idle);
    if operation != Operation::Initial {
        world.change(&idle);
        world.run_until(START.after_s(1));
        assert!(says(&world, 0, Session::Idle), "{name}");
    }
    world.instead = Some(Instead { operation, status, more: Vec::new() });
    let began = world.now;
    match operation {
        Operation::Initial => world.change(&idle),
        Operation::Refresh => {}
        Operation::Modify => {
            wanted = Some(Session::Talking);
            world.change(&change(began, 1, Terminal::Online, Session::Talking, 1));
        }
        Operation::Remove => {
            wanted = None;
            world.change(&change(began, 1, Terminal::Unknown, Session::Idle, 1));
        }
    }
    while world.instead.is_some() {
        let next = world.now.after(Duration::from_millis(20));
        world.run_until(next);
        assert!(world.now < began.after_s(700), "{name}: never asked");
    }
    // A removal's failure leaves it to expire; a success that stored nothing does so too.
    let fine = |world: &World| match wanted {
        Some(session) => says(world, 0, session),
        None => world.told(0).bodies("sip:user1@example.com", "presence").is_empty(),
    };
    let longest = longest_ms(method, operation, status);
    if operation == Operation::Remove && !matches!(status, 408 | 480 | 501..=599) {
        let next = world.now.after(Duration::from_millis(100));
        world.run_until(next);
        let gone = matches!(status, 200..=299 | 404 | 412 | 500);
        assert_eq!(world.outcomes.last().unwrap().acknowledged, gone, "{name}");
        world.run_until(START.after_s(700));
        assert!(fine(&world), "{name}");
        return;
    }
    let answered_at = world.now;
    match longest {
        None => {
            world.run_until(answered_at.after_s(2 * 3_600));
            assert_eq!(world.publisher.packages_off(), [EventPackage::Presence], "{name}");
            assert!(world.publisher.is_settled(), "{name}");
            assert!(world.told(0).bodies("sip:user1@example.com", "presence").is_empty(), "{name}");
        }
        Some(longest) => {
            // Over the whole time, for a refusal whose publication goes on until it expires.
            if longest > 600_000 {
                let before = answered_at.after(Duration::from_millis(longest)).after_s(60);
                world.run_until(before);
            } else {
                world.run_until(answered_at.after(Duration::from_millis(longest)));
            }
            assert!(fine(&world), "{name}");
            assert!(world.publisher.is_settled(), "{name}");
        }
    }
}

#[test]
fn a_refusal_is_asked_again_hourly_and_not_before() {
    for status in [400, 403, 404, 603] {
        let mut world = world("refused", presence_only(), &[0]);
        world.instead = Some(Instead { operation: Operation::Initial, status, more: Vec::new() });
        world.change(&change(START, 1, Terminal::Online, Session::Idle, 0));
        world.run_until(START.after_s(3_599));
        assert_eq!(world.sent, 1, "{status}");
        world.run_until(START.after_s(4_000));
        assert_eq!(world.sent, 2, "{status}");
        assert!(says(&world, 0, Session::Idle));
    }
}

#[test]
fn an_interval_too_brief_is_lengthened_for_good() {
    let mut world = world("423", presence_only(), &[0]);
    let more = vec![header("Min-Expires", "1200")];
    world.instead = Some(Instead { operation: Operation::Initial, status: 423, more });
    world.change(&change(START, 1, Terminal::Online, Session::Idle, 0));
    world.run_until(START.after_s(1_000));
    assert_eq!(world.sent, 2);
    world.run_until(START.after_s(1_201));
    assert!(says(&world, 0, Session::Idle));
    assert_eq!(world.sent, 3, "and refreshed as granted");
}
