//! Windows, blame and the choice among servers.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const START: Timestamp = Timestamp::from_secs(1_000);

fn server(number: u8) -> Server {
    let address = |last| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 5060);
    Server { hop: Hop { transport: Transport::Udp, local: address(5), remote: address(20 + number) } }
}

struct Bench {
    servers: Servers,
    random: Random,
}

impl Bench {
    fn new(count: u8) -> Self {
        let mut bench = Self { servers: Servers::new(64, 100_000), random: Random::new(1) };
        let servers: Vec<Server> = (0..count).map(server).collect();
        bench.servers.replace(START, &servers, &mut bench.random);
        bench
    }

    fn take_all(&mut self, now: Timestamp) -> Vec<ServerId> {
        std::iter::from_fn(|| self.servers.take(now, false).ok()).map(|(id, _)| id).collect()
    }

    fn fail(
        &mut self,
        now: Timestamp,
        id: ServerId,
        sent_at: Timestamp,
        failure: Failure,
        who: u32,
    ) -> Blame {
        self.servers.failed(now, id, sent_at, failure, who, &mut self.random)
    }

    /// When the first server may be asked again.
    fn again(&mut self, now: Timestamp) -> Timestamp {
        match self.servers.take(now, false) {
            Err(Blocked::Until(at)) => at,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_window_doubles_with_each_round_of_answers_and_is_halved_by_a_failure_among_answers() {
    let mut bench = Bench::new(1);
    let mut now = START;
    for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
        let taken = bench.take_all(now);
        assert_eq!(taken.len(), expected);
        now = now.after_s(1);
        for id in taken {
            bench.servers.answered(now, id);
        }
    }
    let taken = bench.take_all(now);
    let (lost, rest) = taken.split_first().unwrap();
    for &id in rest {
        bench.servers.answered(now.after_s(1), id);
    }
    let later = now.after_s(32);
    for failure in [Failure::Silence, Failure::Unavailable { retry_after_s: None }] {
        assert_eq!(bench.fail(later, *lost, now, failure, 1), Blame::Publication);
        bench.servers.take_again(later, *lost);
    }
    assert_eq!(bench.take_all(later).len(), 15, "a quarter of 64, of which one is taken");
}

#[test]
fn silence_to_all_is_the_servers_and_one_request_proves_it_again() {
    let mut bench = Bench::new(1);
    let id = bench.take_all(START)[0];
    bench.servers.answered(START, id);
    assert_eq!(bench.take_all(START.after_s(1)).len(), 2);
    let failed_at = START.after_s(33);
    for who in [1, 2] {
        assert_eq!(bench.fail(failed_at, id, START.after_s(1), Failure::Silence, who), Blame::AllServers);
    }
    let again = bench.again(failed_at);
    assert!(again > failed_at && again <= failed_at.after_s(2), "what failed together counts once");
    assert_eq!(bench.take_all(again).len(), 1);
    assert_eq!(bench.servers.answered(again, id), Service::Restored);
    assert_eq!(bench.take_all(again).len(), 2);
}

#[test]
fn each_failure_doubles_the_wait_until_it_has_worked_for_a_minute_but_one_publication_again_does_not() {
    let mut bench = Bench::new(1);
    let mut now = START;
    let mut round = |bench: &mut Bench, who: u32| {
        let id = bench.take_all(now)[0];
        bench.fail(now, id, now, Failure::Transport, who);
        let again = bench.again(now);
        let wait = again.since(now);
        now = again;
        wait
    };
    let waits: Vec<Duration> = (0..8).map(|who| round(&mut bench, who)).collect();
    assert!(waits.iter().all(|wait| *wait <= AWAY_LONGEST) && waits[7] >= AWAY_LONGEST / 2, "{waits:?}");
    let mut bench = Bench::new(1);
    for _ in 0..8 {
        assert!(round(&mut bench, 1) <= 2 * AWAY_FIRST);
    }
    // It works for a minute, and fails.
    let id = bench.take_all(now)[0];
    bench.servers.answered(now, id);
    let later = now.after_s(61);
    let id = bench.take_all(later)[0];
    bench.fail(later, id, later, Failure::Transport, 9);
    assert!(bench.again(later) <= later.after_s(2));
}

#[test]
fn the_next_server_is_asked_and_the_better_one_proven_by_a_refresh_alone() {
    let mut bench = Bench::new(2);
    let first = bench.take_all(START)[0];
    assert_eq!(bench.fail(START, first, START, Failure::Transport, 1), Blame::OneServer);
    let second = bench.take_all(START)[0];
    assert_ne!(first, second);
    assert_eq!(bench.servers.answered(START, second), Service::Restored);
    let later = START.after_s(10);
    let (id, _) = bench.servers.take(later, false).unwrap();
    assert_eq!(id, second);
    let (id, _) = bench.servers.take(later, true).unwrap();
    assert_eq!(id, first);
    let (id, _) = bench.servers.take(later, true).unwrap();
    assert_eq!(id, second, "one at a time");
    assert_eq!(bench.servers.answered(later, first), Service::Moved);
    assert!(bench.take_all(later).iter().all(|&id| id == first));
}

#[test]
fn retry_after_is_kept_and_a_late_answer_does_not_shorten_it() {
    let mut bench = Bench::new(1);
    let id = bench.take_all(START)[0];
    bench.servers.answered(START, id);
    bench.take_all(START);
    let failure = Failure::Unavailable { retry_after_s: Some(100) };
    assert_eq!(bench.fail(START, id, START, failure, 1), Blame::AllServers);
    bench.servers.answered(START.after_s(1), id);
    let again = bench.again(START.after_s(1));
    assert!(again > START.after_s(100) && again <= START.after_s(102), "{again}");
    assert!(bench.servers.poll_resolve(START.after_s(1)));
    // A new list keeps what is known of those that stay.
    bench.servers.replace(START.after_s(1), &[server(1), server(0), server(1)], &mut bench.random);
    assert_ne!(bench.take_all(START.after_s(1)), [id]);
}
