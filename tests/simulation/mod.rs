//! The proving ground: seeded phones, a mirror that shows more or less of them, the tap and its presence server, all in
//! virtual time. In: a seed and a kind. Out: a [`Report`]. Knows nothing of sockets, threads, clocks.
//!
//! ```text
//! world (people, phones, PBX, network) ──messages──► mirror ──frames──► listener (tap, publisher, server, lamp)
//!        │ truth                                                            │ status lines, what is held and told
//!        └──────────────────────────────► judge ◄───────────────────────────┘
//! ```
#![allow(dead_code, reason = "the tests and the program for runs by hand use each its own part")]

pub mod judge;
pub mod listener;
pub mod measure;
pub mod message;
pub mod mirror;
pub mod pbx;
pub mod pcapng;
pub mod people;
pub mod redial;
pub mod transactions;
pub mod truth;
pub mod ua;
pub mod world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use offhook::base::{Limits, Random, Rules};
use offhook::publish::{Facets, PublishOptions, RefreshOn};

use crate::support::ladder::Link;
use crate::support::wire::{self, Wrapping};
use judge::Share;
use listener::{Heard, Listener, Mood, Sabotage, Setup, Status, Told, Trouble, timestamp};
use mirror::{Faults, Shown};
use pbx::Manner;
use truth::Moment;
use world::{SECOND_US, Setting, Shape, USERS, World};

/// What kind of run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A perfect mirror: everything exact.
    Perfect,
    /// The mirror loses 1 % of the frames, each by itself.
    LostOne,
    /// 5 %.
    LostFive,
    /// Losses and bursts, doubles, reordering, one direction only; the phones' own network loses too; the presence
    /// server fails, the tap is killed: some of these, as the seed says.
    Rough,
    /// The proxy does not stay in the path: ACK, BYE and all else inside a dialog pass the mirror by.
    Bypass,
    /// Tables that hold nearly nothing: what is claimed must still have been true.
    Cramped,
    /// The mirror is perfect, but for some times in which it shows nothing, and the tap is told so: what is sure must be
    /// true.
    Spells,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Perfect,
        Self::LostOne,
        Self::LostFive,
        Self::Rough,
        Self::Bypass,
        Self::Cramped,
        Self::Spells,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Perfect => "perfect",
            Self::LostOne => "lost-1",
            Self::LostFive => "lost-5",
            Self::Rough => "rough",
            Self::Bypass => "bypass",
            Self::Cramped => "cramped",
            Self::Spells => "spells",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A dialog without a sign of life is believed so long in these runs: longer than any call, shorter than the run.
const CAP_S: u32 = 600;
/// From a message to what it means nothing takes longer, as long as everything is shown.
const LAG_US: u64 = 20_000;
/// From a status to what the server holds of it, and from there to the lamp, it takes no longer where all is well.
const HANDED_ON_US: u64 = 300_000;
/// Until then the mirror and the server are bad.
const HEALS_US: u64 = 720 * SECOND_US;
/// So long after it, nothing of the bad time is believed any more: the cap, the longest timers, two refreshes.
const WASHED_US: u64 = HEALS_US + (CAP_S as u64 + 60) * SECOND_US;
/// Then everything is exact again, until the end.
const END_US: u64 = WASHED_US + 240 * SECOND_US;
/// A run with a perfect mirror.
const PERFECT_END_US: u64 = 900 * SECOND_US;

/// What came of one run.
pub struct Report {
    pub seed: u64,
    pub kind: Kind,
    pub shape: Shape,
    /// Some of its phones spoke TCP.
    pub tcp: bool,
    pub breaches: Vec<String>,
    pub share: Share,
    /// All that the tap, its publisher and the lamp said.
    pub lines: Vec<u8>,
    pub shown: Vec<Shown>,
    pub hidden: u64,
    pub truth: Vec<Vec<Moment>>,
    pub messages: usize,
    pub calls: usize,
}

/// The shape of PBX that a seed has.
pub const fn shape_of(seed: u64) -> Shape {
    if seed.is_multiple_of(2) { Shape::Proxy } else { Shape::B2bua }
}

/// One run.
pub fn run(seed: u64, kind: Kind, sabotage: Sabotage) -> Report {
    run_with(seed, kind, sabotage, None)
}

/// The same, with sound that passes the PBX: a packet in so long of each call in each direction.
pub fn run_with(seed: u64, kind: Kind, sabotage: Sabotage, sound_every_us: Option<u64>) -> Report {
    let mut random = Random::new(seed.wrapping_mul(0x9e37) ^ kind as u64);
    let mut pick = |one_of: u64| random.next().is_multiple_of(one_of);
    let shape = if kind == Kind::Bypass { Shape::Proxy } else { shape_of(seed) };
    let manner = Manner {
        challenges: pick(2),
        one_binding: pick(4),
        granted_s: if pick(2) { 120 } else { 300 },
        record_route: kind != Kind::Bypass,
    };
    let perfect = kind == Kind::Perfect;
    let end_us = if perfect { PERFECT_END_US } else { END_US };
    let setting = Setting {
        shape,
        manner,
        lost_per_mille: if kind == Kind::Rough && pick(2) { 30 } else { 0 },
        some_tcp: pick(2),
        accidents: true,
        between_calls_us: 12 * SECOND_US,
        calls_until_us: match kind {
            Kind::Bypass | Kind::Cramped => HEALS_US - 300 * SECOND_US,
            _ => end_us - 30 * SECOND_US,
        },
        end_us,
        sound_every_us,
        cap_s: CAP_S,
    };
    let mut world = World::new(seed, setting);
    world.run();
    let wrapping = Wrapping { link: Link::Ethernet, vlan: None };
    let frames = wire::wrap(&world.sent, wrapping);
    let faults = faults(kind, &mut random);
    let mut shown = mirror::show(&frames, faults, HEALS_US, world.pbx_address.ip(), &mut random);
    let mut setup = setup(kind, sabotage, &mut random);
    let spells = if kind == Kind::Spells { spells(&mut random) } else { Vec::new() };
    for &(from_us, to_us) in &spells {
        shown.retain(|frame| !(from_us..to_us).contains(&frame.at_us));
        setup.troubles.extend([(from_us, Trouble::Blind), (to_us, Trouble::Sees)]);
    }
    let mut listener = Listener::new(seed, setup);
    for frame in shown.iter().filter(|frame| frame.at_us <= end_us) {
        listener.frame(frame);
    }
    listener.run_until(timestamp(end_us));
    let heard = listener.finish();
    let (breaches, share) = judged(kind, &world, &heard, &shown, &spells, end_us);
    Report {
        seed,
        kind,
        shape,
        tcp: setting.some_tcp,
        breaches,
        share,
        hidden: (frames.len() as u64).saturating_sub(shown.len() as u64),
        lines: heard.lines,
        shown,
        truth: world.truth.timelines,
        messages: world.sent.len(),
        calls: world.calls.len(),
    }
}

fn faults(kind: Kind, random: &mut Random) -> Faults {
    let mut some = |most: u64| if random.next().is_multiple_of(2) { random.next() % most } else { 0 };
    match kind {
        Kind::Perfect | Kind::Bypass | Kind::Spells | Kind::Cramped => Faults::default(),
        Kind::LostOne => Faults { lost_per_mille: 10, ..Faults::default() },
        Kind::LostFive => Faults { lost_per_mille: 50, ..Faults::default() },
        Kind::Rough => Faults {
            lost_per_mille: some(100),
            lost_at_once: None,
            bursts_per_mille: some(20),
            doubled_per_mille: some(1_000),
            mixed_us: some(20_000),
            late_us: some(2) * 250_000,
            one_way: some(4) == 3,
        },
    }
}

/// From when to when the mirror shows nothing.
fn spells(random: &mut Random) -> Vec<(u64, u64)> {
    let mut spells = Vec::new();
    let mut at_us = 0;
    loop {
        let from_us = at_us + (20 + random.next() % 120) * SECOND_US + random.next() % SECOND_US;
        at_us = from_us + SECOND_US / 10 + random.next() % (40 * SECOND_US);
        if at_us >= HEALS_US {
            return spells;
        }
        spells.push((from_us, at_us));
    }
}

fn setup(kind: Kind, sabotage: Sabotage, random: &mut Random) -> Setup {
    let mut pick = |one_of: u64| random.next().is_multiple_of(one_of);
    let publish = PublishOptions {
        expires_s: 300,
        facets: if pick(3) { Facets::Separate } else { Facets::Combined },
        refresh: if pick(3) { RefreshOn::Registration } else { RefreshOn::OwnTimer },
        ..PublishOptions::default()
    };
    let domains = if pick(3) { vec!["example.com".to_owned()] } else { Vec::new() };
    let rules = Rules { dialog_cap_s: CAP_S, domains, ..Rules::default() };
    let mut troubles = Vec::new();
    let (mut lost_per_mille, mut well_from_us) = (0, 0);
    if kind == Kind::Rough {
        lost_per_mille = 50;
        well_from_us = HEALS_US;
        let mut at_us = 0;
        loop {
            at_us += (5 + random.next() % 90) * SECOND_US;
            if at_us >= HEALS_US {
                break;
            }
            troubles.push((
                at_us,
                match random.next() % 12 {
                    0 => Trouble::Server(Mood::Silent),
                    1 => Trouble::Server(Mood::Refuses),
                    2 => Trouble::Server(Mood::Overloaded(None)),
                    3 => Trouble::Server(Mood::Overloaded(Some(30))),
                    4 => Trouble::Server(Mood::Slow(3 + random.next() % 40)),
                    5 => Trouble::ServerRestarts,
                    6 => Trouble::TapRestarts,
                    _ => Trouble::Server(Mood::Well),
                },
            ));
        }
        troubles.push((HEALS_US, Trouble::Server(Mood::Well)));
    }
    let limits = if kind == Kind::Cramped { cramped() } else { Limits::default() };
    Setup { rules, limits, publish, troubles, lost_per_mille, well_from_us, sabotage }
}

/// Every table of the tap has room for next to nothing; the presence server's are as they are.
fn cramped() -> Limits {
    Limits {
        fragmented_datagrams: 1,
        tcp_streams: 3,
        pending_transactions: 3,
        registered_aors: 4,
        bindings_per_aor: 1,
        calls: 3,
        branches_per_call: 2,
        presentities: 4,
        known_addresses: 4,
        ..Limits::default()
    }
}

fn judged(
    kind: Kind,
    world: &World,
    heard: &Heard,
    shown: &[Shown],
    spells: &[(u64, u64)],
    end_us: u64,
) -> (Vec<String>, Share) {
    let mut breaches = heard.breaches.clone();
    let mut share = Share::default();
    let windows = judge::windows(CAP_S, world.setting.manner.granted_s);
    let byes = judge::byes(shown);
    let lossy = world.setting.lost_per_mille > 0;
    for user in 0..USERS.len() {
        let (truth, told) = (&world.truth.timelines[user], &heard.statuses[user]);
        let (from_us, to_us) = if kind == Kind::Perfect { (0, end_us) } else { (WASHED_US, end_us) };
        let lag_us = if lossy { 4 * SECOND_US } else { LAG_US };
        if kind != Kind::Cramped {
            breaches.extend(judge::exact(user, truth, told, from_us, to_us, lag_us));
        }
        let lag_us = if kind == Kind::Rough { 8 * SECOND_US } else { SECOND_US };
        breaches.extend(judge::safe(user, truth, told, end_us, lag_us, &windows));
        if kind == Kind::Spells {
            let granted = judge::granted(user, &world.sent, spells);
            breaches.extend(judge::honest(user, truth, told, &granted, spells, LAG_US));
        }
        breaches.extend(judge::final_ends(user, told, &byes, end_us, LAG_US));
        let share_until_us = if kind == Kind::Perfect { end_us } else { HEALS_US };
        let one = judge::share(user, truth, told, 0, share_until_us);
        share.add(&one);
        share.wrong.extend(one.wrong);
        if kind != Kind::Cramped {
            breaches.extend(handed_on(kind, user, told, heard, end_us));
        }
    }
    if !heard.settled {
        breaches.push("the publisher is not settled".to_owned());
    }
    (breaches, share)
}

/// What the server holds is the status, and the lamp was told that: with everything well at all times, else at the end.
fn handed_on(kind: Kind, user: usize, told: &[Told], heard: &Heard, end_us: u64) -> Vec<String> {
    let published: Vec<(u64, Status)> = told
        .iter()
        .map(|it| (it.at_us, if it.publishable { (it.terminal, it.session) } else { Status::default() }))
        .collect();
    let (held, lamp) = (&heard.held[user], &heard.lamp[user]);
    if kind != Kind::Rough {
        let mut breaches = judge::follows("the server holds", user, held, &published, HANDED_ON_US, end_us);
        breaches.extend(judge::follows("the lamp was told", user, lamp, held, HANDED_ON_US, end_us));
        return breaches;
    }
    let last = |entries: &[(u64, Status)]| {
        judge::name(entries.last().map_or_else(Status::default, |(_, status)| *status))
    };
    let (status, held, lamp) = (last(&published), last(held), last(lamp));
    let mut breaches = Vec::new();
    if held != status {
        breaches.push(format!("at the end {} is {status}, and the server holds {held}", USERS[user]));
    }
    if lamp != held {
        breaches.push(format!(
            "at the end the server holds {held} of {}, and the lamp was told {lamp}",
            USERS[user]
        ));
    }
    breaches
}

impl Report {
    /// Leaves what is needed to understand a failure, and says where.
    pub fn leave(&self, folder: &Path) -> PathBuf {
        let name = format!("{}-{}", self.kind.name(), self.seed);
        let _ = std::fs::create_dir_all(folder);
        let about = format!("seed {}, kind {}\n{}", self.seed, self.kind.name(), self.breaches.join("\n"));
        let mut remarks: Vec<(u64, String)> = Vec::new();
        for (user, timeline) in self.truth.iter().enumerate() {
            for moment in timeline {
                let status = judge::name((moment.terminal, moment.session));
                let peers: Vec<_> =
                    moment.doing.iter().map(|(what, peer)| format!("{} {peer}", what.name())).collect();
                let peers = peers.join(", ");
                remarks.push((moment.at_us, format!("truth: {} {status} {peers}", USERS[user])));
            }
        }
        remarks.sort();
        let file = pcapng::file(&about, &self.shown, self.hidden, &remarks);
        let capture = folder.join(format!("{name}.pcapng"));
        let mut truth = String::new();
        for (at_us, remark) in &remarks {
            let _ = writeln!(truth, "{:>12.6}  {remark}", *at_us as f64 / 1e6);
        }
        let _ = std::fs::write(&capture, file);
        let _ = std::fs::write(folder.join(format!("{name}.truth.txt")), truth);
        let _ = std::fs::write(folder.join(format!("{name}.lines.jsonl")), &self.lines);
        let _ = std::fs::write(folder.join(format!("{name}.breaches.txt")), about);
        capture
    }
}

/// Where failing runs leave their files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("simulation")
}

/// Fails with the seed and how to repeat it, if anything was wrong.
pub fn must_hold(report: &Report) {
    if report.breaches.is_empty() {
        return;
    }
    let capture = report.leave(&folder());
    let first: Vec<_> = report.breaches.iter().take(12).map(String::as_str).collect();
    panic!(
        "seed {} ({}, {:?}): {} breaches\n  {}\nrepeat it: scripts/simulate --kind {} {}\nwhat was shown: {}",
        report.seed,
        report.kind.name(),
        report.shape,
        report.breaches.len(),
        first.join("\n  "),
        report.kind.name(),
        report.seed,
        capture.display()
    );
}
