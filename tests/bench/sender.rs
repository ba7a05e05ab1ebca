//! The publisher's side: three parts that send the same PUBLISH requests and take their answers.
//! In: an answerer's address, how many presentities change how often. Out: how many requests went in what time for how
//! much processor time. Knows nothing of presence servers.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use offhook::base::{FrameId, Hop, Limits, Timestamp, Transport};
use offhook::config::NextHop;
use offhook::io::publisher::PublisherHandle;
use offhook::io::way::Target;
use offhook::presence::{
    BindingView, ChangeKind, DialogView, PresentityChange, PresentityState, Session, Terminal,
};
use offhook::publish::{OnStop, PublishOptions, Publisher, Server};
use offhook::sip::Aor;
use offhook::track::{DialogState, EndId, Evidence, Rule, Side};
use serde::{Deserialize, Serialize};

use crate::cpu;
use crate::wire;

/// Requests that await their answer at once.
pub const WINDOW: usize = 64;
/// Longer than this nothing takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many requests were sent and answered, and what that took.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// PUBLISH requests, each answered with a 200.
    pub publications: usize,
    /// Time on the clock.
    pub elapsed_s: f64,
    /// Processor time of the sending process.
    pub cpu_s: f64,
}

impl Sent {
    fn add(&mut self, publications: usize, before: (Instant, Duration)) -> Result<()> {
        self.publications += publications;
        self.elapsed_s += before.0.elapsed().as_secs_f64();
        self.cpu_s += (own_cpu()? - before.1).as_secs_f64();
        Ok(())
    }
}

/// The kernel brings a thread's count up to date when the thread sleeps.
fn own_cpu() -> Result<Duration> {
    std::thread::sleep(Duration::from_micros(100));
    Ok(cpu::of_process(std::process::id())?)
}

fn now_and_cpu() -> Result<(Instant, Duration)> {
    let cpu = own_cpu()?;
    Ok((Instant::now(), cpu))
}

/// All presentities become idle, then again and again they ring, talk, and are idle.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// How many there are.
    pub presentities: usize,
    /// Calls of each.
    pub calls: usize,
}

impl Work {
    fn rounds(self) -> usize {
        1 + 3 * self.calls
    }

    /// What changes in one round: everybody, once.
    fn round(self, round: usize) -> Result<Vec<PresentityChange>> {
        let session = [Session::Idle, Session::Ringing, Session::Talking][round % 3];
        (0..self.presentities).map(|index| change(index, round / 3, session)).collect()
    }

    fn options() -> PublishOptions {
        PublishOptions {
            seed: 3903,
            outstanding: WINDOW,
            per_s: u32::MAX,
            on_stop: OnStop::Keep,
            ..PublishOptions::default()
        }
    }

    /// The requests of each round and their answers, as the publisher's machine makes and takes them without sockets.
    fn exchanges(self) -> Result<Vec<Vec<Exchange>>> {
        let mut machine = Machine::new()?;
        (0..self.rounds())
            .map(|round| {
                let mut exchanges = Vec::new();
                machine.run(&self.round(round)?, |request, answer| {
                    wire::answer(&request, wire::ENTITY_TAG, answer);
                    exchanges.push(Exchange { request, answer: answer.clone() });
                    Ok(())
                })?;
                Ok(exchanges)
            })
            .collect()
    }
}

struct Exchange {
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// A phone that is registered, with at most one dialog.
fn change(index: usize, call: usize, session: Session) -> Result<PresentityChange> {
    let state = match session {
        Session::Idle => None,
        Session::Calling => Some(DialogState::Trying),
        Session::Ringing => Some(DialogState::Early),
        Session::Held | Session::Talking => Some(DialogState::Confirmed),
    };
    let dialogs = state.map(|state| DialogView {
        end: EndId((call * 1_000_000 + index) as u64),
        call_id: format!("{call}-{index}@192.0.2.1").into(),
        local_tag: Some("a".into()),
        remote_tag: Some("b".into()),
        revoked_ends: 0,
        side: Side::Called,
        state,
        held: false,
        remote: Some("sip:bob@example.com".into()),
    });
    let aor = format!("sip:user{index}@example.com");
    Ok(PresentityChange {
        at: Timestamp::from_secs(1_795_327_681),
        aor: Aor::from_uri(aor.as_bytes()).context("an address of record")?,
        kind: ChangeKind::Status,
        previous: (Terminal::Online, Session::Idle),
        previous_contact: None,
        because: Evidence { rule: Rule::Invite180, frame: FrameId::default(), call_id: "call".into() },
        state: Arc::new(PresentityState {
            terminal: Terminal::Online,
            registered: Terminal::Online,
            session,
            publishable: true,
            bindings: vec![BindingView {
                contact: format!("sip:user{index}@192.0.2.1:5060").into(),
                user_agent: Some("Phone".into()),
                expires_at: Timestamp::MAX,
            }],
            dialogs: dialogs.into_iter().collect(),
            ..PresentityState::default()
        }),
    })
}

/// The publisher's machine with nothing around it.
struct Machine {
    publisher: Publisher,
    hop: Hop,
    now: Timestamp,
}

impl Machine {
    fn new() -> Result<Self> {
        let hop = Hop {
            transport: Transport::Udp,
            local: "127.0.0.1:5070".parse()?,
            remote: "127.0.0.1:5060".parse()?,
        };
        let mut publisher = Publisher::new(Work::options(), &Limits::default());
        let now = Timestamp::from_secs(1_795_327_681);
        publisher.handle_servers(now, &[Server { hop }]);
        Ok(Self { publisher, hop, now })
    }

    /// Sees the changes through. `answer` writes each request's answer.
    fn run(
        &mut self,
        changes: &[PresentityChange],
        mut answer: impl FnMut(Vec<u8>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        for change in changes {
            self.publisher.handle_change(self.now, change);
        }
        let mut response = Vec::new();
        while let Some(transmit) = self.publisher.poll_transmit() {
            ensure!(transmit.hop == self.hop, "a request that does not go by UDP");
            self.now = self.now.after(Duration::from_micros(10));
            answer(transmit.bytes, &mut response)?;
            self.publisher.handle_message(self.now, self.hop, &response);
        }
        while let Some(outcome) = self.publisher.poll_outcome() {
            ensure!(outcome.acknowledged, "not acknowledged: {outcome:?}");
        }
        Ok(())
    }
}

/// The floor: sockets that send requests made beforehand, and receive.
///
/// # Errors
/// The answerer is silent.
pub fn bare_sockets(server: SocketAddr, work: Work) -> Result<Sent> {
    let rounds = work.exchanges()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut received = vec![0; 65_535];
    let mut sent = Sent::default();
    for round in &rounds {
        let before = now_and_cpu()?;
        let mut requests = round.iter();
        for exchange in requests.by_ref().take(WINDOW) {
            socket.send(&exchange.request)?;
        }
        for _ in 0..round.len() {
            socket.recv(&mut received).context("an answer")?;
            if let Some(exchange) = requests.next() {
                socket.send(&exchange.request)?;
            }
        }
        sent.add(round.len(), before)?;
    }
    Ok(sent)
}

/// The publisher's machine, given the changes and the answers in memory.
///
/// # Errors
/// It sends other requests than it did the first time.
pub fn machine(work: Work) -> Result<Sent> {
    let rounds = work.exchanges()?;
    let mut machine = Machine::new()?;
    let mut sent = Sent::default();
    for (number, round) in rounds.iter().enumerate() {
        let changes = work.round(number)?;
        let mut answers = round.iter();
        let before = now_and_cpu()?;
        machine.run(&changes, |_, answer| {
            answer.clone_from(&answers.next().context("a request too many")?.answer);
            Ok(())
        })?;
        sent.add(round.len(), before)?;
        ensure!(answers.next().is_none(), "requests are missing");
    }
    Ok(sent)
}

/// The publisher whole: its thread, its sockets, its clock.
///
/// # Errors
/// A publication fails.
pub fn publisher(server: SocketAddr, work: Work) -> Result<Sent> {
    let rounds: Vec<usize> = work.exchanges()?.iter().map(Vec::len).collect();
    let target = Target { servers: vec![NextHop::parse(&format!("sip:{server}"))?], ca_file: None };
    let mut publisher = PublisherHandle::start(target, Work::options(), &Limits::default())?;
    let mut sent = Sent::default();
    for (number, expected) in rounds.into_iter().enumerate() {
        let changes = work.round(number)?;
        let before = now_and_cpu()?;
        for change in changes {
            publisher.send(change);
        }
        let mut left = expected;
        while left > 0 {
            match publisher.poll_outcome() {
                Some(outcome) if outcome.acknowledged => left -= 1,
                Some(outcome) => bail!("not acknowledged: {outcome:?}"),
                None if before.0.elapsed() > PATIENCE => bail!("{left} publications have no outcome"),
                None => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        sent.add(expected, before)?;
    }
    publisher.finish(PATIENCE);
    Ok(sent)
}
