//! Presence servers side by side: a bare answerer, Kamailio, `offhook presence`.
//! In: how much to do. Out: tables. Knows nothing of the servers' insides.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Size;
use crate::cpu;
use crate::load::{self, Amount, Delays, Flow, Load};
use crate::part::Part;
use crate::presence_server::{Keeping, Kind, PresenceServer, Wanted};
use crate::ratio;
use crate::report::{Table, median, percentile_ms};

/// Keeps a server running.
enum Running {
    Answerer(Part),
    Server(PresenceServer),
}

impl Running {
    fn group(&self) -> u32 {
        match self {
            Self::Answerer(part) => part.group(),
            Self::Server(server) => server.process_group(),
        }
    }
}

struct Rival {
    name: String,
    running: Running,
    load: Load,
}

impl Rival {
    fn answerer(size: &Size) -> Result<Self> {
        let mut part = Part::start(&["answerer"])?;
        let address: SocketAddr = part.line()?.parse().context("the answerer's address")?;
        let name = "bare answerer".to_owned();
        Ok(Self { name, running: Running::Answerer(part), load: Load::begin(address, size.served)? })
    }

    fn server(kind: Kind, name: String, size: &Size) -> Result<Self> {
        let server = PresenceServer::start(Wanted { keeping: Keeping::Memory, ..Wanted::new(kind) });
        let load = Load::begin(server.address(), size.served)
            .with_context(|| format!("{name}:\n{}", server.log()))?;
        Ok(Self { name, running: Running::Server(server), load })
    }

    /// Kept busy; what that took the server and what it took us.
    fn busy(&mut self, size: &Size) -> Result<Busy> {
        let group = self.running.group();
        let (server, own) = (cpu::of_group(group)?, cpu::of_process(std::process::id())?);
        let flow = self.load.publish(Amount::For(size.busy_for)).with_context(|| self.name.clone())?;
        Ok(Busy {
            flow,
            server: cpu::of_group(group)?.saturating_sub(server),
            own: cpu::of_process(std::process::id())?.saturating_sub(own),
        })
    }
}

struct Busy {
    flow: Flow,
    server: Duration,
    own: Duration,
}

/// `kamailio 5.6.3`, if it is installed.
fn kamailio() -> Option<String> {
    let output = Command::new("kamailio").arg("-v").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().skip_while(|word| *word != "kamailio").nth(1)?;
    Some(format!("Kamailio {version}"))
}

/// All tables about servers.
///
/// # Errors
/// One of them does not do what a presence server does.
pub fn measure(size: &Size) -> Result<Vec<Table>> {
    let mut rivals = vec![Rival::answerer(size)?];
    match kamailio() {
        Some(name) => rivals.push(Rival::server(Kind::Kamailio, name, size)?),
        None => eprintln!("Kamailio is not installed: no figures beside it. scripts/bench installs it."),
    }
    let is_there = rivals.len() > 1;
    rivals.push(Rival::server(Kind::Offhook, "offhook presence".to_owned(), size)?);
    let kamailio = is_there.then_some(1);

    let mut tables = vec![busy(size, &mut rivals, kamailio, "nobody watches")?];
    for rival in &mut rivals {
        rival.load.watch().with_context(|| rival.name.clone())?;
    }
    tables.push(busy(size, &mut rivals, kamailio, "each presentity is watched once")?);
    tables.push(singly(size, &mut rivals, kamailio)?);
    Ok(tables)
}

fn busy(size: &Size, rivals: &mut [Rival], kamailio: Option<usize>, who: &str) -> Result<Table> {
    let mut runs: Vec<Vec<Busy>> = rivals.iter().map(|_| Vec::new()).collect();
    for _ in 0..size.runs {
        for (rival, runs) in rivals.iter_mut().zip(&mut runs) {
            runs.push(rival.busy(size)?);
        }
    }
    let title = format!(
        "Presence servers kept busy, {who}. UDP, {} presentities, {} outstanding",
        size.served,
        load::WINDOW
    );
    let mut table = Table::new(
        title,
        &[
            ("PUBLISH/s", 0),
            ("× floor", 2),
            ("× Kamailio", 2),
            ("CPU µs each", 1),
            ("× floor", 2),
            ("× Kamailio", 2),
            ("NOTIFY each", 2),
            ("sent again", 0),
            ("generator µs", 1),
        ],
    );
    let per = |runs: &[Busy], figure: fn(&Busy) -> f64| {
        median(runs.iter().map(|busy| figure(busy) / busy.flow.publications as f64))
    };
    let rate = |runs: &[Busy]| {
        median(runs.iter().map(|busy| busy.flow.publications as f64 / busy.flow.elapsed.as_secs_f64()))
    };
    let cost = |runs: &[Busy]| per(runs, |busy| busy.server.as_secs_f64() * 1e6);
    let at = |place: usize| runs.get(place).map(|runs| (rate(runs), cost(runs))).unwrap_or_default();
    let (floor, other) = (at(0), kamailio.map(at).unwrap_or_default());
    for (rival, runs) in rivals.iter().zip(&runs) {
        let (rate, cost) = (rate(runs), cost(runs));
        table.row(
            &rival.name,
            [
                rate,
                ratio(rate, floor.0),
                ratio(rate, other.0),
                cost,
                ratio(cost, floor.1),
                ratio(cost, other.1),
                per(runs, |busy| busy.flow.notifications as f64),
                Some(runs.iter().map(|busy| busy.flow.repeated as f64).sum()),
                per(runs, |busy| busy.own.as_secs_f64() * 1e6),
            ],
        );
    }
    Ok(table)
}

fn singly(size: &Size, rivals: &mut [Rival], kamailio: Option<usize>) -> Result<Table> {
    let mut runs: Vec<Vec<Delays>> = rivals.iter().map(|_| Vec::new()).collect();
    for _ in 0..size.runs {
        for (rival, runs) in rivals.iter_mut().zip(&mut runs) {
            let delays = rival.load.publish_singly(size.single, size.single_among);
            runs.push(delays.with_context(|| rival.name.clone())?);
        }
    }
    let title = format!(
        "One PUBLISH after another, {} of {} presentities: until the answer, until the watcher is told. Milliseconds",
        size.single * size.runs,
        size.single_among
    );
    let mut table = Table::new(
        title,
        &[
            ("200 p50", 3),
            ("200 p99", 3),
            ("NOTIFY p50", 3),
            ("× floor", 2),
            ("× Kamailio", 2),
            ("NOTIFY p99", 3),
            ("× floor", 2),
            ("× Kamailio", 2),
        ],
    );
    let answered = |runs: &[Delays], percent| {
        median(runs.iter().filter_map(|delays| percentile_ms(&delays.answered, percent)))
    };
    let told = |runs: &[Delays], percent| {
        median(runs.iter().filter_map(|delays| percentile_ms(&delays.told, percent)))
    };
    let at = |place: usize| runs.get(place).map(|runs| (told(runs, 50), told(runs, 99))).unwrap_or_default();
    let (floor, other) = (at(0), kamailio.map(at).unwrap_or_default());
    for (rival, runs) in rivals.iter().zip(&runs) {
        let (p50, p99) = (told(runs, 50), told(runs, 99));
        table.row(
            &rival.name,
            [
                answered(runs, 50),
                answered(runs, 99),
                p50,
                ratio(p50, floor.0),
                ratio(p50, other.0),
                p99,
                ratio(p99, floor.1),
                ratio(p99, other.1),
            ],
        );
    }
    Ok(table)
}
