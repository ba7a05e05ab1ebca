//! Redial beside the proving ground: wishes that come of its calls, judged by what the phones really were.
//! In: a seed. Out: what was told of wishes, and what of it was wrong. Knows nothing of sockets. Nobody is asked: a dry run.

use std::collections::{BTreeMap, BTreeSet};

use offhook::base::{Limits, Random};
use offhook::presence::{Session, Terminal};
use offhook::redial::{BackBy, Outcome, RedialOptions, RedialTold, Redialer, Step, Until, Why, WishRecord};
use offhook::tap::{Tap, TapOptions, TapOutput};

use super::listener::{microseconds, timestamp};
use super::mirror::{self, Faults};
use super::pbx::Manner;
use super::truth::Moment;
use super::world::{SECOND_US, Setting, USERS, World, aor};
use super::{LAG_US, shape_of};
use crate::support::heard;
use crate::support::ladder::Link;
use crate::support::wire::{self, Wrapping};

/// How long a run lasts.
const END_US: u64 = 1_800 * SECOND_US;
/// How long wishes last in these runs.
const WATCH_S: u32 = 240;
/// An attempt is answered or given up within this time.
const ATTEMPT_US: u64 = 60 * SECOND_US;

/// What came of one run.
#[derive(Default)]
pub struct Redialled {
    pub told: Vec<RedialTold>,
    pub breaches: Vec<String>,
}

/// One run: people come, go and call; of 1,000 frames so many are lost on their way to the tap.
pub fn run(seed: u64, lost_per_mille: u64) -> Redialled {
    let mut random = Random::new(seed ^ 0x4ed1);
    let mut pick = |one_of: u64| random.next().is_multiple_of(one_of);
    let setting = Setting {
        shape: shape_of(seed),
        manner: Manner {
            challenges: pick(2),
            one_binding: pick(4),
            granted_s: if pick(2) { 120 } else { 300 },
            record_route: true,
        },
        lost_per_mille: 0,
        some_tcp: pick(2),
        accidents: true,
        between_calls_us: 6 * SECOND_US,
        calls_until_us: END_US - 30 * SECOND_US,
        end_us: END_US,
        sound_every_us: None,
        cap_s: 600,
    };
    let options = RedialOptions {
        dry_run: true,
        until: if pick(2) { Until::Refer } else { Until::Talking },
        watch_s: WATCH_S,
        spacing_s: if pick(2) { 5 } else { 0 },
        per_caller_per_h: 1_000,
        per_minute: 1_000,
        ..RedialOptions::default()
    };
    let restarts_us = if pick(2) { Some(END_US / 3 + random.next() % (END_US / 3)) } else { None };
    let mut world = World::new(seed, setting);
    world.run();
    let frames = wire::wrap(&world.sent, Wrapping { link: Link::Ethernet, vlan: None });
    let faults = Faults { lost_per_mille, ..Faults::default() };
    let shown = mirror::show(&frames, faults, END_US, world.pbx_address.ip(), &mut random);

    let limits = Limits::default();
    let mut tap = Tap::new(TapOptions { trace_observations: true, ..TapOptions::default() }, limits.clone());
    let mut beside =
        Beside { redialer: Redialer::new(options.clone(), &limits), told: Vec::new(), records: Vec::new() };
    let mut restart_us = restarts_us;
    for (number, frame) in (1..).zip(&shown) {
        if restart_us.take_if(|at_us| *at_us <= frame.at_us).is_some() {
            beside.restart(options.clone(), frame.at_us);
        }
        tap.handle(&heard::frame(number, timestamp(frame.at_us), &frame.bytes));
        beside.hear(&mut tap, frame.at_us);
    }
    tap.handle_timeout(timestamp(END_US));
    beside.hear(&mut tap, END_US);
    let mut breaches = well_formed(&beside.told);
    if lost_per_mille == 0 {
        breaches.extend(true_to_life(&beside.told, &world.truth.timelines, restarts_us));
    }
    Redialled { told: beside.told, breaches }
}

/// Redial beside a tap.
struct Beside {
    redialer: Redialer,
    told: Vec<RedialTold>,
    records: Vec<WishRecord>,
}

impl Beside {
    fn hear(&mut self, tap: &mut Tap, now_us: u64) {
        while let Some(output) = tap.poll_output() {
            match output {
                TapOutput::Observed(attributed) => self.redialer.handle(&attributed),
                TapOutput::Capture(event) => self.redialer.handle_capture(&event),
                _ => {}
            }
        }
        self.redialer.flush();
        self.redialer.handle_timeout(timestamp(now_us));
        self.told.extend(std::iter::from_fn(|| self.redialer.poll_told()));
        self.records.extend(std::iter::from_fn(|| self.redialer.poll_record()));
        assert!(self.redialer.poll_order().is_none(), "a dry run asks nobody");
    }

    /// The program ends and begins again: of all that it knew, the list is what is left. What it has heard since is heard by
    /// the new one too, as a phone's next registration would tell it.
    fn restart(&mut self, options: RedialOptions, now_us: u64) {
        self.redialer = Redialer::new(options, &Limits::default());
        self.redialer.restore(timestamp(now_us), self.records.clone());
    }
}

/// Each wish is made once, is asked for once at most, and ends once at most, with nothing after its end; it lasts no longer
/// than it may.
fn well_formed(told: &[RedialTold]) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut wishes: BTreeMap<u64, (u32, bool)> = BTreeMap::new();
    for line in told {
        let known = wishes.get(&line.wish).copied();
        let (asked, closed) = known.unwrap_or_default();
        let mut say = |what: &str| breaches.push(format!("{what}: {}", in_words(line)));
        match line.step {
            Step::Wished(_) if known.is_some() => say("made twice"),
            Step::Wished(_) => {}
            _ if known.is_none() => say("never made"),
            _ if closed => say("already over"),
            Step::Asked(_) if asked > 0 => say("asked twice"),
            _ => {}
        }
        // What expired while nobody looked is told afterwards.
        if line.at > line.until && !matches!(line.step, Step::Closed(Outcome::Expired)) {
            say("after its time");
        }
        let asked = asked + u32::from(matches!(line.step, Step::Asked(_)));
        wishes.insert(line.wish, (asked, closed || matches!(line.step, Step::Closed(_))));
    }
    breaches
}

/// What was told is so.
fn true_to_life(told: &[RedialTold], truth: &[Vec<Moment>], restarts_us: Option<u64>) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut made_us: BTreeMap<u64, (u64, Why)> = BTreeMap::new();
    let mut back: BTreeMap<u64, bool> = BTreeMap::new();
    for line in told {
        let at_us = microseconds(line.at);
        let people = [&line.caller, &line.callee].map(|aor| user_of(aor.as_str()));
        let [Some(caller), Some(callee)] = people else {
            breaches.push(format!("nobody's: {}", in_words(line)));
            continue;
        };
        let ever = |user: usize, from_us: u64, to_us: u64, is: &dyn Fn(&Moment) -> bool| {
            within(&truth[user], from_us, to_us).any(is)
        };
        let lag = at_us.saturating_sub(LAG_US);
        // Who talks counts as online, with or without a binding.
        let is_offline = |moment: &Moment| {
            moment.terminal != Terminal::Online || matches!(moment.session, Session::Talking | Session::Held)
        };
        let is_free =
            |moment: &Moment| moment.terminal == Terminal::Online && moment.session == Session::Idle;
        let right = match line.step {
            Step::Wished(why @ Why::Busy(_)) => {
                made_us.insert(line.wish, (at_us, why));
                ever(callee, lag, at_us, &|moment| moment.session != Session::Idle)
            }
            Step::Wished(why) => {
                made_us.insert(line.wish, (at_us, why));
                ever(callee, at_us.saturating_sub(ATTEMPT_US), at_us, &is_offline)
            }
            Step::Back(BackBy::Registered) => {
                back.insert(line.wish, true);
                ever(callee, lag, at_us, &|moment| moment.terminal == Terminal::Online)
            }
            Step::Back(_) => {
                back.insert(line.wish, true);
                true
            }
            Step::Gone => ever(callee, lag, at_us, &is_offline),
            Step::Asked(_) => [callee, caller].into_iter().all(|user| {
                // A call that began before a restart is not known after it.
                let is_idle = |moment: &Moment| moment.session == Session::Idle;
                let forgotten = restarts_us.is_some_and(|then_us| !ever(user, then_us, at_us, &is_idle));
                // A CANCEL that passes is at its phone a little later.
                forgotten || ever(user, lag, at_us + LAG_US, &is_free)
            }),
            Step::Closed(Outcome::Talked | Outcome::Reached) => {
                let [one, other] = [caller, callee].map(|user| peers(&truth[user], lag, at_us));
                // One of them may have dialled a group; somebody else may have brought them together.
                one.contains(&aor(callee))
                    || other.contains(&aor(caller))
                    || one.intersection(&other).next().is_some()
            }
            // Whoever was not told to be back was not there, but for what a restart made forgotten.
            Step::Closed(Outcome::Expired) => match made_us.get(&line.wish) {
                Some(&(made_us, why)) if restarts_us.is_none() && !matches!(why, Why::Busy(_)) => {
                    back.contains_key(&line.wish)
                        || !came_back(&truth[callee], made_us + LAG_US, at_us.saturating_sub(LAG_US))
                }
                _ => true,
            },
            _ => true,
        };
        if !right {
            let then = [caller, callee].map(|user| within(&truth[user], lag, at_us).last());
            breaches.push(format!("not so: {}\n    {then:?}", in_words(line)));
        }
    }
    breaches
}

/// The moments of a time, with the one that it begins in.
fn within(timeline: &[Moment], from_us: u64, to_us: u64) -> impl Iterator<Item = &Moment> {
    let first = timeline.partition_point(|moment| moment.at_us <= from_us).saturating_sub(1);
    timeline.iter().skip(first).take_while(move |moment| moment.at_us <= to_us)
}

/// It was offline in that time, and registered after that.
fn came_back(timeline: &[Moment], from_us: u64, to_us: u64) -> bool {
    let mut was_offline = false;
    within(timeline, from_us, to_us).any(|moment| {
        let returned = was_offline && moment.terminal == Terminal::Online && moment.session == Session::Idle;
        was_offline |= moment.terminal == Terminal::Offline;
        returned
    })
}

/// Whom it is in a session with, as it was called or dialled.
fn peers(timeline: &[Moment], from_us: u64, to_us: u64) -> BTreeSet<String> {
    let doing = within(timeline, from_us, to_us).flat_map(|moment| &moment.doing);
    let sessions = doing.filter(|(session, _)| matches!(session, Session::Talking | Session::Held));
    sessions.map(|(_, peer)| peer.clone()).collect()
}

fn user_of(text: &str) -> Option<usize> {
    (0..USERS.len()).find(|&user| aor(user) == text)
}

fn in_words(line: &RedialTold) -> String {
    let seconds = microseconds(line.at) as f64 / 1e6;
    format!("{seconds:.3} wish {} {}>{} {:?}", line.wish, line.caller.user(), line.callee.user(), line.step)
}
