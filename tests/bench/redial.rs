//! `scripts/bench redial`: how fast a caller's phone is asked to call again, and how many messages that takes, at the testbed
//! of `scripts/testbed`.
//! In: phones, a PBX, a presence server, a mirror port. Out: tables, each figure beside a rival's of the same run. Needs
//! root; without, it says so. Knows nothing of the inside of what it measures.
//!
//! Pairs of phones: one calls the other, who is away; some seconds later that one registers. Kamailio publishes that from
//! inside (its pua modules), offhook asks the caller's phone with REFER. Then other pairs, whose callers also watch the callee
//! at the presence server meanwhile: both ways of waiting are counted on the wire.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench is outside the house: it has clocks and sockets"
)]

#[allow(dead_code, reason = "the other benches use the rest")]
mod cpu;
mod ear;
mod redial {
    pub mod heard;
    pub mod pair;
}
#[allow(dead_code, reason = "the other benches use the rest")]
mod report;
mod speech;
#[path = "../support/testbed/mod.rs"]
mod testbed;
#[allow(dead_code, reason = "the other benches use the rest")]
mod wire;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pcap::Direction;
use serde_json::Value;

use ear::{Ear, Place};
use redial::heard::{Count, Heard, Log, Moments};
use redial::pair::{self, Following, Script, Waited, Watching};
use report::{Column, Options, Run, Table, percentile_ms};
use testbed::program::Program;
use testbed::{PBX, Testbed};

/// Measures redial.
#[derive(Parser)]
#[command(name = "bench redial", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Waits whose end is timed.
    #[arg(long, default_value_t = 200)]
    redials: usize,
    /// Waits whose messages are counted.
    #[arg(long, default_value_t = 40)]
    watched: usize,
    /// The program.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_offhook"), hide = true)]
    offhook: PathBuf,
}

/// What the presence server receives and sends.
const AT_PRESENCE: Place = ("presence", "eth0", Direction::InOut);
/// One pair begins so long after the other.
const BETWEEN: Duration = Duration::from_millis(100);
/// Of waits whose end is timed.
const AWAY: Duration = Duration::from_secs(3);
/// Of waits whose messages are counted; their subscription is refreshed once.
const WATCHED_S: u64 = 6;
const WATCHING: Watching = Watching { subscribed_s: 5, refreshed_after: Duration::from_secs(4) };
/// What is computed besides: a wait of an hour, with subscriptions of ten minutes.
const LONG_WAIT_S: u64 = 3_600;
const LONG_SUBSCRIPTION_S: u64 = 600;
/// At the end, offhook hears within this time what the last phone answered.
const LAST_ANSWER: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    let Some(arguments) = report::arguments::<Arguments>() else { return Ok(()) };
    let run = Run::begin(arguments.options, cpu::machine(), cpu::load());
    let (timed, watched) = if run.is_quick() {
        (arguments.redials.min(40), arguments.watched.min(6))
    } else {
        (arguments.redials, arguments.watched)
    };
    let Some(day) = day(&arguments, timed, watched)? else { return Ok(()) };
    run.show(&[delays(&day)?, messages(&day)?], &[], 1);
    Ok(())
}

/// What was waited for, and what was heard.
struct Day {
    heard: Heard,
    timed: Vec<Waited>,
    watched: Vec<Waited>,
}

fn day(arguments: &Arguments, timed: usize, watched: usize) -> Result<Option<Day>> {
    let Some(testbed) = Testbed::up(&["--pua", "--in-memory"]) else { return Ok(None) };
    let [mirror, from_tap, presence] =
        [ear::MIRROR, ear::FROM_TAP, AT_PRESENCE].map(|place| Ear::<Log>::open(&testbed, &[place]));
    let config = testbed.folder().join("redial.toml");
    fs::write(
        &config,
        format!(
            "[redial]\nenabled = true\nway = \"refer\"\nuntil = \"refer\"\nserver = \"sip:{PBX}\"\nuser = \"offhook\"\n\
             password = \"secret\"\nspacing_s = 0\nper_minute = 1000\n"
        ),
    )?;
    let mut command = testbed.command("tap", &arguments.offhook);
    command.args(["tap", "-i", "span0", "--redial", "--format", "jsonl", "--config"]).arg(&config);
    let tap = Program::listening("offhook tap", command.env_remove("OFFHOOK_CONFIG"));
    let count = timed + watched;
    let timed = all_wait(&testbed, 0..timed, Script { away: AWAY, watching: None })?;
    let script = Script { away: Duration::from_secs(WATCHED_S), watching: Some(WATCHING) };
    let watched = all_wait(&testbed, timed.len()..count, script)?;
    std::thread::sleep(LAST_ANSWER);
    let asked = asked(&tap.finish())?;
    ensure!(asked == count, "of {count} wishes {asked} ended `asked`: numbers of half a run are no numbers");
    let heard = Heard { mirror: mirror.close()?, from_tap: from_tap.close()?, presence: presence.close()? };
    Ok(Some(Day { heard, timed, watched }))
}

/// Pairs begin one after the other, and wait side by side.
fn all_wait(testbed: &Testbed, pairs: std::ops::Range<usize>, script: Script) -> Result<Vec<Waited>> {
    testbed.at("phones", move || {
        // Threads of a thread that is at a host are there, too.
        let begin = |number| {
            std::thread::sleep(BETWEEN);
            std::thread::spawn(move || {
                pair::wait(number, script).with_context(|| format!("the pair {number}"))
            })
        };
        let threads: Vec<_> = pairs.map(begin).collect();
        let all = threads.into_iter().map(|thread| match thread.join() {
            Ok(waited) => waited,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        all.collect()
    })
}

/// How many wishes ended so that the caller's phone accepted a REFER.
fn asked(lines: &[String]) -> Result<usize> {
    let mut asked = 0;
    for line in lines {
        let line: Value = serde_json::from_str(line).context("a line of offhook's")?;
        if line["kind"] == "redial" && line["step"] == "closed" {
            ensure!(line["outcome"] == "asked", "a wish ended otherwise: {line}");
            asked += 1;
        }
    }
    Ok(asked)
}

fn delays(day: &Day) -> Result<Table> {
    const COLUMNS: [Column; 5] =
        [("how many", 0), ("p50 ms", 2), ("− Kamailio", 2), ("p99 ms", 2), ("− Kamailio", 2)];
    let mut table =
        Table::new("From the callee's REGISTER on the mirror port to what is sent of it", &COLUMNS);
    let moments: Vec<Moments> =
        day.timed.iter().map(|waited| day.heard.moments(waited)).collect::<Result<_>>()?;
    let of = |delay: fn(&Moments) -> f64| {
        let delays: Vec<_> =
            moments.iter().map(|moments| Duration::from_secs_f64(delay(moments).max(0.0))).collect();
        [percentile_ms(&delays, 50), percentile_ms(&delays, 99)]
    };
    let many = Some(moments.len() as f64);
    let inside = of(|moments| moments.published_s - moments.registered_s);
    let accepted = of(|moments| moments.accepted_s - moments.registered_s);
    let outside = of(|moments| moments.referred_s - moments.registered_s);
    let since_accepted = of(|moments| moments.referred_s - moments.accepted_s);
    let less = |place: usize| Some(outside[place]? - inside[place]?);
    table.row("REGISTER → PUBLISH: Kamailio, from inside", [many, inside[0], None, inside[1], None]);
    table.row("REGISTER → REFER: offhook", [many, outside[0], less(0), outside[1], less(1)]);
    table.row(
        "of that, until the registrar's 200, before which no tap can know",
        [many, accepted[0], None, accepted[1], None],
    );
    table.row("of that, from the registrar's 200", [many, since_accepted[0], None, since_accepted[1], None]);
    Ok(table)
}

/// On average.
struct Mean {
    all: f64,
    at_phone: f64,
}

fn mean(counts: impl Iterator<Item = Count>) -> Option<Mean> {
    let counts: Vec<_> = counts.collect();
    let of =
        |count: fn(&Count) -> usize| counts.iter().map(count).sum::<usize>() as f64 / counts.len() as f64;
    (!counts.is_empty()).then(|| Mean { all: of(|count| count.all), at_phone: of(|count| count.at_phone) })
}

fn messages(day: &Day) -> Result<Table> {
    const COLUMNS: [Column; 2] = [("on all hops", 1), ("at the caller's phone", 1)];
    let title = "Signalling messages until the caller's phone knows, for one wait";
    let mut table = Table::new(title, &COLUMNS);
    let mut row = |name: &str, mean: Option<Mean>| {
        let mean = mean.as_ref();
        table.row(name, [mean.map(|mean| mean.all), mean.map(|mean| mean.at_phone)]);
    };
    let (mut redials, mut watches) = (Vec::new(), Vec::new());
    for waited in &day.watched {
        redials.push((waited.following, day.heard.redial(waited)?));
        let since_s = day.heard.moments(waited)?.registered_s;
        let subscription = waited.subscription.as_ref().context("all of these watch")?;
        watches.push(day.heard.watch(waited, subscription, since_s));
    }
    for (following, name) in [
        (Following::Silent, "redial, a wait of any length; the phone answers `Refer-Sub: false`"),
        (Following::Notifies, "redial, a wait of any length; the phone sends two NOTIFYs"),
    ] {
        let of_these = redials.iter().filter(|(other, _)| *other == following);
        row(name, mean(of_these.map(|(_, redial)| redial.count)));
    }
    let everywhere = day.timed.iter().chain(&day.watched);
    let challenges: Vec<_> = everywhere
        .map(|waited| Ok(day.heard.redial(waited)?.challenge))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|challenge| *challenge != Count::default())
        .collect();
    let name = format!("besides, when the PBX challenges a REFER (407): {} in the run", challenges.len());
    row(&name, mean(challenges.into_iter()));
    let whole = mean(watches.iter().map(|watch| watch.count)).context("nobody watched")?;
    let refresh = mean(watches.iter().map(|watch| watch.refresh)).context("nobody watched")?;
    // A last one may fall together with the end: it is left out.
    let refreshes = (LONG_WAIT_S / LONG_SUBSCRIPTION_S).saturating_sub(1);
    let more = refreshes as f64 - 1.0;
    let long =
        Mean { all: whole.all + more * refresh.all, at_phone: whole.at_phone + more * refresh.at_phone };
    row(&format!("presence, a wait of {WATCHED_S} s, refreshed once"), Some(whole));
    row("of these, the refresh", Some(refresh));
    let name = format!(
        "presence, a wait of {LONG_WAIT_S} s with subscriptions of {LONG_SUBSCRIPTION_S} s: computed, {refreshes} refreshes"
    );
    row(&name, Some(long));
    Ok(table)
}
