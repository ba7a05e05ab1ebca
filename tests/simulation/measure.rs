//! How right a tap is that loses a share of the frames, beside whoever could have told best from what was shown.
//! In: a seed, a share. Out: shares of user-time. Knows nothing of pictures.

use std::collections::{BTreeMap, BTreeSet};

use offhook::base::Random;

use super::judge::{self, Share};
use super::listener::{Listener, Sabotage, Status, Told, timestamp};
use super::mirror::{self, AtOnce, Faults, Shown};
use super::pbx::Manner;
use super::truth::Moment;
use super::world::{SECOND_US, Setting, USERS, World};
use super::{CAP_S, Kind, LAG_US, setup, shape_of};
use crate::support::ladder::Link;
use crate::support::wire::{self, Wrapping};

/// As long as this the phones live in one run.
const END_US: u64 = 3_600 * SECOND_US;

/// Shares of user-time that were right.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub offhook: Share,
    /// Of one who, with each frame that is shown, knows the whole truth about everybody in its call and about the phone that
    /// it is from or to; who needs no frame for what no frame shows, such as a registration that runs out; and who besides
    /// knows all that offhook is right about, by the time that has passed.
    pub bound: Share,
    pub lost: u64,
    pub frames: u64,
}

impl Measured {
    pub fn add(&mut self, other: &Self) {
        self.offhook.add(&other.offhook);
        self.bound.add(&other.bound);
        self.lost += other.lost;
        self.frames += other.frames;
    }
}

/// One run: a mirror that is perfect but for the frames that it loses. The same seed gives the same calls, whatever is lost.
pub fn measure(seed: u64, lost: AtOnce, sound_every_us: Option<u64>) -> Measured {
    let mut random = Random::new(seed);
    let mut pick = |one_of: u64| random.next().is_multiple_of(one_of);
    let manner = Manner {
        challenges: pick(2),
        one_binding: pick(4),
        granted_s: if pick(2) { 120 } else { 300 },
        record_route: true,
    };
    let setting = Setting {
        shape: shape_of(seed),
        manner,
        lost_per_mille: 0,
        some_tcp: pick(2),
        accidents: true,
        between_calls_us: 12 * SECOND_US,
        calls_until_us: END_US - 30 * SECOND_US,
        end_us: END_US,
        sound_every_us,
        cap_s: CAP_S,
    };
    let mut world = World::new(seed, setting);
    world.run();
    let frames = wire::wrap(&world.sent, Wrapping { link: Link::Ethernet, vlan: None });
    let mut show = |faults| mirror::show(&frames, faults, u64::MAX, world.pbx_address.ip(), &mut random);
    let all = show(Faults::default());
    let shown = match lost.per_million {
        0 => all.clone(),
        _ => show(Faults { lost_at_once: Some(lost), ..Faults::default() }),
    };
    let mut listener = Listener::new(seed, setup(Kind::Perfect, Sabotage::Nothing, &mut Random::new(seed)));
    for frame in shown.iter().filter(|frame| frame.at_us <= END_US) {
        listener.frame(frame);
    }
    listener.run_until(timestamp(END_US));
    let heard = listener.finish();
    let owners = owners(&world);
    let [seen, there] = [&shown, &all].map(|frames| moments(frames, &all, &owners));
    let mut measured =
        Measured { lost: (all.len() - shown.len()) as u64, frames: all.len() as u64, ..Measured::default() };
    for user in 0..USERS.len() {
        let truth = &world.truth.timelines[user];
        let share = judge::share(user, truth, &heard.statuses[user], 0, END_US);
        measured.offhook.add(&share);
        measured.offhook.wrong.extend(share.wrong);
        measured.bound.add(&bound(truth, &heard.statuses[user], &seen[user], &there[user]));
    }
    measured
}

/// Whose phone has which address.
fn owners(world: &World) -> BTreeMap<[u8; 4], usize> {
    world
        .phones
        .iter()
        .filter_map(|phone| match phone.agent.address.ip() {
            std::net::IpAddr::V4(address) => Some((address.octets(), phone.user)),
            std::net::IpAddr::V6(_) => None,
        })
        .collect()
}

/// When each user was in a frame: its phone sent or received it, or has part in the call that it belongs to.
fn moments(frames: &[Shown], all: &[Shown], owners: &BTreeMap<[u8; 4], usize>) -> Vec<BTreeSet<u64>> {
    let mut parts: BTreeMap<&[u8], BTreeSet<usize>> = BTreeMap::new();
    for frame in all {
        if let Some(call_id) = call_id(&frame.bytes) {
            parts.entry(call_id).or_default().extend(ends(&frame.bytes, owners));
        }
    }
    let mut moments = vec![BTreeSet::new(); USERS.len()];
    for frame in frames {
        for user in call_id(&frame.bytes).and_then(|call_id| parts.get(call_id)).into_iter().flatten() {
            moments[*user].insert(frame.at_us);
        }
    }
    moments
}

fn ends(bytes: &[u8], owners: &BTreeMap<[u8; 4], usize>) -> impl Iterator<Item = usize> {
    let owner = |at: usize| owners.get(bytes.get(at..at + 4)?).copied();
    [owner(26), owner(30)].into_iter().flatten()
}

fn call_id(bytes: &[u8]) -> Option<&[u8]> {
    let name = b"\r\nCall-ID: ";
    let begin = bytes.windows(name.len()).position(|window| window == name)? + name.len();
    let rest = bytes.get(begin..)?;
    rest.get(..rest.iter().position(|byte| *byte == b'\r')?)
}

/// How right one could have been who saw a user at these moments. `there` are those at which there was something to see.
fn bound(truth: &[Moment], told: &[Told], seen: &BTreeSet<u64>, there: &BTreeSet<u64>) -> Share {
    let told = judge::told_spans(told, 0, END_US);
    let mut share = Share { all_us: END_US, ..Share::default() };
    let mut believed = Status::default();
    for (begin, end, truly) in judge::truth_spans(truth, 0, END_US) {
        let shows_itself = there.range(begin.saturating_sub(LAG_US)..=begin + LAG_US).next().is_none();
        let known = if believed == truly || shows_itself {
            begin
        } else {
            seen.range(begin..end).next().copied().unwrap_or(end)
        };
        if known < end {
            believed = truly;
        }
        share.right_us += end - known;
        let inferred = told.iter().filter(|(.., status)| *status == truly);
        share.right_us +=
            inferred.map(|(from, to, _)| known.min(*to).saturating_sub(begin.max(*from))).sum::<u64>();
    }
    share
}
