//! An endpoint in virtual time: order, retries, bounds, and what is lost when.

use super::*;

/// An endpoint, its webhook, and the time.
struct World {
    webhook: Webhook,
    now: Timestamp,
    lines: u64,
    requests: u64,
    /// Numbers of the lines that were taken, in their order of arrival.
    arrived: Vec<u64>,
}

impl World {
    fn new(change: impl FnOnce(&mut WebhookOptions)) -> Self {
        let mut options = WebhookOptions {
            url: "https://hooks.example.com/offhook".to_owned(),
            kinds: vec![LineKind::Status],
            secrets: vec![WebhookSecret::parse("a secret").unwrap()],
            source: "urn:offhook:tap".to_owned(),
            queue: 10_000,
            seed: 7,
        };
        change(&mut options);
        Self {
            webhook: Webhook::new(options),
            now: Timestamp::from_secs(1_000),
            lines: 0,
            requests: 0,
            arrived: Vec::new(),
        }
    }

    /// Further lines, each with the next number in it.
    fn lines(&mut self, count: u64) {
        for _ in 0..count {
            self.lines += 1;
            let json = self.lines.to_string();
            let line = Line {
                kind: LineKind::Status,
                time: None,
                presentity: Some("sip:alice@example.com"),
                json: json.as_bytes(),
            };
            self.webhook.handle_line(self.now, &line);
        }
    }

    fn request(&mut self) -> Option<WebhookRequest> {
        let request = self.webhook.poll_request(self.now, self.now)?;
        self.requests += 1;
        assert_eq!(self.webhook.poll_request(self.now, self.now), None, "never two in flight");
        Some(request)
    }

    fn answer(&mut self, request: &WebhookRequest, answer: WebhookAnswer) {
        if matches!(answer, WebhookAnswer::Status { status: 200..=299, .. }) {
            let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            self.arrived.push(event["data"].as_u64().unwrap());
        }
        self.webhook.handle_answer(self.now, &request.id, answer);
    }

    /// Lets time pass up to then; the endpoint answers each request at once by what `answers` says of the time.
    fn run(&mut self, until: Timestamp, mut answers: impl FnMut(Timestamp) -> WebhookAnswer) {
        loop {
            while let Some(request) = self.request() {
                let answer = answers(self.now);
                self.answer(&request, answer);
            }
            match self.webhook.poll_timeout() {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => break,
            }
        }
        self.now = until;
        self.webhook.handle_timeout(until);
    }

    fn in_a(&self, seconds: u32) -> Timestamp {
        self.now.after_s(seconds)
    }

    fn notices(&mut self) -> Vec<WebhookNotice> {
        std::iter::from_fn(|| self.webhook.poll_notice()).collect()
    }
}

const fn status(status: u16) -> WebhookAnswer {
    WebhookAnswer::Status { status, retry_after_s: None }
}

const fn in_order(first: u64, last: u64) -> std::ops::RangeInclusive<u64> {
    first..=last
}

#[test]
fn events_arrive_one_by_one_in_order_each_with_its_own_id() {
    let mut world = World::new(|_| {});
    world.lines(3);
    let mut ids = Vec::new();
    while let Some(request) = world.request() {
        ids.push(request.id.clone());
        world.answer(&request, status(204));
    }
    assert!(world.arrived.iter().copied().eq(in_order(1, 3)), "{:?}", world.arrived);
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!(world.webhook.counters(), WebhookCounters { delivered: 3, dropped: 0, waiting: 0 });
    assert!(world.webhook.is_settled() && world.notices().is_empty());
    let other = World::new(|options| options.seed = 8).webhook;
    assert_ne!(other.run, world.webhook.run, "another run has other ids");
}

#[test]
fn a_request_carries_what_the_standards_want() {
    let mut world = World::new(|_| {});
    world.lines(1);
    let request = world.request().unwrap();
    let header = |name: &str| {
        let found = request.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    assert_eq!(request.url, "https://hooks.example.com/offhook");
    assert_eq!(header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert_eq!(header("webhook-id"), request.id);
    assert_eq!(header("webhook-timestamp"), "1000");
    let secrets = [WebhookSecret::parse("a secret").unwrap()];
    assert_eq!(
        Some(header("webhook-signature").to_owned()),
        signatures(&secrets, &request.id, 1_000, &request.body)
    );
    let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(event["id"], request.id.as_str());

    let mut unsigned = World::new(|options| options.secrets.clear());
    unsigned.lines(1);
    let request = unsigned.request().unwrap();
    assert!(request.headers.iter().all(|(name, _)| *name != "webhook-signature"));
}

#[test]
fn only_kinds_that_are_wanted_are_sent() {
    let mut world = World::new(|options| options.kinds = vec![LineKind::Summary]);
    world.lines(1);
    assert_eq!(world.request(), None);
    assert_eq!(world.webhook.counters(), WebhookCounters::default());
}

#[test]
fn a_retry_keeps_id_and_body_and_is_stamped_and_signed_anew() {
    for failure in [WebhookAnswer::Failed, status(408), status(429), status(500), status(503), status(599)] {
        let mut world = World::new(|_| {});
        world.lines(2);
        let first = world.request().unwrap();
        world.now = world.in_a(10);
        world.answer(&first, failure);
        assert_eq!(world.request(), None, "{failure:?}: there is a wait");
        world.now = world.webhook.poll_timeout().unwrap();
        world.now = world.in_a(1);
        let second = world.request().unwrap();
        assert_eq!((&first.id, &first.body), (&second.id, &second.body), "{failure:?}");
        for header in ["webhook-timestamp", "webhook-signature"] {
            let of = |request: &WebhookRequest| {
                request.headers.iter().find(|(name, _)| *name == header).unwrap().1.clone()
            };
            assert_ne!(of(&first), of(&second), "{failure:?}: {header}");
        }
        world.answer(&second, status(200));
        world.run(world.now, |_| status(200));
        assert_eq!(world.arrived, [1, 2], "{failure:?}");
        let expected = match failure {
            WebhookAnswer::Status { status, .. } => Some(status),
            WebhookAnswer::Failed => None,
        };
        assert_eq!(world.notices(), [WebhookNotice::Failing { status: expected }]);
    }
}

#[test]
fn waits_grow_to_a_minute_and_begin_anew_after_a_delivery() {
    let mut world = World::new(|_| {});
    world.lines(1);
    for most_s in [1, 2, 4, 8, 16, 32, 60, 60] {
        let request = world.request().unwrap();
        world.answer(&request, WebhookAnswer::Failed);
        let wait = world.webhook.poll_timeout().unwrap().since(world.now);
        let most = Duration::from_secs(most_s);
        assert!(wait <= most && wait >= most / 2, "{wait:?} of {most:?}");
        world.now = world.webhook.poll_timeout().unwrap();
    }
    world.run(world.now, |_| status(200));
    world.lines(1);
    let request = world.request().unwrap();
    world.answer(&request, WebhookAnswer::Failed);
    assert!(world.webhook.poll_timeout().unwrap() <= world.in_a(1));
}

#[test]
fn a_retry_after_is_kept_even_when_stopping() {
    let mut world = World::new(|_| {});
    world.lines(1);
    let request = world.request().unwrap();
    world.answer(&request, WebhookAnswer::Status { status: 503, retry_after_s: Some(120) });
    world.webhook.stop(world.now);
    world.now = world.in_a(119);
    assert_eq!(world.request(), None);
    world.run(world.in_a(2), |_| status(200));
    assert_eq!(world.arrived, [1]);

    world.lines(1);
    let request = world.request().unwrap();
    world.answer(&request, WebhookAnswer::Status { status: 429, retry_after_s: Some(u32::MAX) });
    assert!(world.webhook.poll_timeout().unwrap() <= world.in_a(3_601), "not for ever");
}

#[test]
fn stopping_tries_at_once_what_waits_for_another_attempt() {
    let mut world = World::new(|_| {});
    world.lines(2);
    world.run(world.in_a(600), |_| WebhookAnswer::Failed);
    assert!(!world.webhook.is_settled());
    world.webhook.stop(world.now);
    let request = world.request().unwrap();
    world.answer(&request, WebhookAnswer::Failed);
    world.run(world.in_a(2), |_| status(200));
    assert_eq!(world.arrived, [1, 2]);
    assert!(world.webhook.is_settled());
    assert_eq!(world.notices(), [WebhookNotice::Failing { status: None }], "it is one outage");
}

#[test]
fn what_is_refused_is_dropped_and_told_and_the_next_event_goes_on() {
    for refusal in [301, 307, 400, 401, 404, 413, 422] {
        let mut world = World::new(|_| {});
        world.lines(2);
        let request = world.request().unwrap();
        world.answer(&request, status(refusal));
        world.run(world.now, |_| status(200));
        assert_eq!(world.arrived, [2], "{refusal}");
        assert_eq!(world.webhook.counters(), WebhookCounters { delivered: 1, dropped: 1, waiting: 0 });
        let reason = DropReason::Refused { status: refusal };
        assert_eq!(world.notices(), [WebhookNotice::Dropped { reason, so_far: 1 }]);
    }
}

#[test]
fn an_endpoint_that_is_gone_is_sent_nothing_more() {
    let mut world = World::new(|_| {});
    world.lines(3);
    let request = world.request().unwrap();
    world.answer(&request, status(410));
    assert_eq!(world.notices(), [WebhookNotice::Dropped { reason: DropReason::Gone, so_far: 3 }]);
    world.lines(1);
    world.webhook.stop(world.now);
    assert_eq!((world.request(), world.webhook.poll_timeout()), (None, None));
    assert_eq!(world.webhook.counters(), WebhookCounters { delivered: 0, dropped: 4, waiting: 0 });
    assert!(world.webhook.is_settled());
}

#[test]
fn a_full_queue_loses_its_oldest_but_not_what_is_in_flight() {
    let mut world = World::new(|options| options.queue = 3);
    world.lines(1);
    let request = world.request().unwrap();
    world.lines(5);
    world.answer(&request, status(200));
    world.run(world.now, |_| status(200));
    assert_eq!(world.arrived, [1, 4, 5, 6]);
    assert_eq!(world.webhook.counters(), WebhookCounters { delivered: 4, dropped: 2, waiting: 0 });
    let told = |so_far| WebhookNotice::Dropped { reason: DropReason::QueueFull, so_far };
    assert_eq!(world.notices(), [told(1), told(2)]);

    // One that was tried and failed is the oldest again.
    world.lines(1);
    let request = world.request().unwrap();
    world.lines(3);
    world.answer(&request, WebhookAnswer::Failed);
    world.run(world.in_a(10), |_| status(200));
    assert_eq!(world.arrived, [1, 4, 5, 6, 8, 9, 10]);
}

#[test]
fn uncommonly_large_events_are_bounded_by_their_bytes() {
    let mut world = World::new(|_| {});
    let json = format!("\"{}\"", "x".repeat(1 << 20));
    for _ in 0..100 {
        let line = Line { kind: LineKind::Status, time: None, presentity: None, json: json.as_bytes() };
        world.webhook.handle_line(world.now, &line);
    }
    let counters = world.webhook.counters();
    assert_eq!((counters.waiting, counters.dropped), (63, 37));
    while let Some(request) = world.request() {
        world.webhook.handle_answer(world.now, &request.id, status(200));
    }
    assert_eq!(world.webhook.waiting_bytes, 0);
}

#[test]
fn losses_are_told_each_time_that_they_have_doubled() {
    let mut world = World::new(|options| options.queue = 1);
    world.lines(1_001);
    let told: Vec<u64> = world
        .notices()
        .iter()
        .filter_map(|notice| match notice {
            WebhookNotice::Dropped { so_far, .. } => Some(*so_far),
            WebhookNotice::Failing { .. } => None,
        })
        .collect();
    assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
}

#[test]
fn an_outage_of_an_hour_loses_nothing_within_the_bound() {
    let mut world = World::new(|_| {});
    let over = world.in_a(3_600);
    for _ in 0..4_000 {
        world.lines(1);
        world.run(world.in_a(1), |now| if now < over { status(502) } else { status(200) });
    }
    world.run(world.in_a(60), |_| status(200));
    assert!(world.arrived.iter().copied().eq(in_order(1, 4_000)), "every event once, in order");
    assert_eq!(world.webhook.counters(), WebhookCounters { delivered: 4_000, dropped: 0, waiting: 0 });
    assert!(world.requests < 4_000 + 150, "{} requests: a failing endpoint is left alone", world.requests);
    assert_eq!(world.notices(), [WebhookNotice::Failing { status: Some(502) }]);
}

#[test]
fn after_a_day_of_trying_the_old_events_are_given_up_and_the_younger_ones_are_not() {
    let mut world = World::new(|_| {});
    world.lines(2);
    world.run(world.in_a(12 * 3_600), |_| WebhookAnswer::Failed);
    world.lines(1);
    world.run(world.in_a(12 * 3_600 + 120), |_| WebhookAnswer::Failed);
    world.run(world.in_a(60), |_| status(200));
    assert_eq!(world.arrived, [3]);
    assert_eq!(world.webhook.counters(), WebhookCounters { delivered: 1, dropped: 2, waiting: 0 });
    let given_up = WebhookNotice::Dropped { reason: DropReason::TooOld, so_far: 2 };
    assert_eq!(world.notices(), [WebhookNotice::Failing { status: None }, given_up]);
}

#[test]
fn an_answer_to_another_request_changes_nothing() {
    let mut world = World::new(|_| {});
    world.lines(1);
    let request = world.request().unwrap();
    world.webhook.handle_answer(world.now, "another", status(410));
    assert_eq!(world.webhook.counters().waiting, 1);
    world.answer(&request, status(200));
    world.webhook.handle_answer(world.now, &request.id, status(410));
    assert_eq!(world.webhook.counters(), WebhookCounters { delivered: 1, dropped: 0, waiting: 0 });
}

/// Any answers in any order: each event arrives once at most, in order, and all are accounted for.
#[test]
fn whatever_the_endpoint_answers_order_and_counts_are_kept() {
    for seed in 0..200 {
        let mut world = World::new(|options| (options.queue, options.seed) = (20, seed));
        let mut chance = Random::new(seed);
        for _ in 0..200 {
            world.lines(chance.next() % 4);
            let pause_s = (chance.next() % 3) as u32;
            world.run(world.in_a(pause_s), |_| match chance.next() % 8 {
                0 => WebhookAnswer::Failed,
                1 => WebhookAnswer::Status { status: 503, retry_after_s: Some(5) },
                2 => status(404),
                _ => status(200),
            });
        }
        assert!(world.arrived.is_sorted_by(|one, next| one < next), "seed {seed}");
        let counters = world.webhook.counters();
        assert_eq!(counters.delivered, world.arrived.len() as u64, "seed {seed}");
        assert_eq!(counters.delivered + counters.dropped + counters.waiting, world.lines, "seed {seed}");
    }
}
