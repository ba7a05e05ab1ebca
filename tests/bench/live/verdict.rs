//! How right offhook was: against what the PBX says of its phones, and against what the phones know of themselves.
//! In: samples, lives. Out: counts. Knows nothing of how either came about.

use crate::testbed::truth::{Lives, Moment, Session, Status};

use super::phone::user;
use super::view::Sample;

/// What changes is told within this time.
const TOLERANCE_S: f64 = 1.0;
/// As long around a change whoever is asked may say either.
const CHANGING_S: f64 = 0.1;

/// Against the PBX's own view, each phone once a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds {
    /// Phone-seconds.
    pub all: u64,
    /// Those in which terminal and session were both the same.
    pub right: u64,
    /// Of the others, those within 0.1 s of a change.
    pub changing: u64,
    /// Of the others, those of somebody who talks on a phone that is not registered: to offhook who talks is there.
    pub unregistered: u64,
}

/// Against the phones: each change once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// What changed.
    pub all: u64,
    /// Never told, or a second too late.
    pub missed: u64,
    /// Told and never so.
    pub spurious: u64,
    /// Told and so, but that to offhook who talks on a phone that is not registered is there.
    pub unregistered: u64,
}

/// The same, but for the terminal of one who talks.
fn talks_unregistered(is: Status, told: Status) -> bool {
    is.session == Session::Talking && told.session == Session::Talking && !is.online && told.online
}

const NOTHING: Status = Status { online: false, session: Session::Idle };

fn at(life: &[Moment], at_s: f64) -> Status {
    let before = life.partition_point(|moment| moment.at_s <= at_s);
    before.checked_sub(1).and_then(|last| life.get(last)).map_or(NOTHING, |moment| moment.status)
}

/// Compares with the PBX. Says on standard error where they differ and nothing was changing.
pub fn seconds(samples: &[Sample], told: &Lives, truth: &Lives, phones: usize) -> Seconds {
    let mut seconds = Seconds::default();
    for number in 0..phones {
        let name = user(number);
        let said = told.get(&name).map_or(&[][..], Vec::as_slice);
        let was = truth.get(&name).map_or(&[][..], Vec::as_slice);
        for sample in samples {
            let pbx = sample.users.get(&name).copied().unwrap_or(NOTHING);
            let ours = at(said, sample.at_s);
            seconds.all += 1;
            if pbx == ours {
                seconds.right += 1;
            } else if talks_unregistered(pbx, ours) {
                seconds.unregistered += 1;
            } else if was.iter().any(|moment| (moment.at_s - sample.at_s).abs() <= CHANGING_S) {
                seconds.changing += 1;
            } else if seconds.all - seconds.right - seconds.changing - seconds.unregistered <= 10 {
                eprintln!(
                    "At {:.3} {name} is {pbx} to the PBX, {ours} to offhook, {} to itself",
                    sample.at_s,
                    at(was, sample.at_s)
                );
            }
        }
    }
    seconds
}

/// Compares with the phones. Says on standard error what the first few differences are.
pub fn changes(told: &Lives, truth: &Lives) -> Changes {
    let mut changes = Changes::default();
    for (name, was) in truth {
        let mut said: Vec<_> = told.get(name).cloned().unwrap_or_default();
        changes.all += was.len() as u64;
        for moment in was {
            let found = said.iter().position(|told| {
                let is_same = told.status == moment.status || talks_unregistered(moment.status, told.status);
                is_same && (told.at_s - moment.at_s).abs() <= TOLERANCE_S
            });
            match found {
                Some(place) => {
                    let told = said.remove(place);
                    changes.unregistered += u64::from(told.status != moment.status);
                }
                None => {
                    changes.missed += 1;
                    if changes.missed <= 5 {
                        eprintln!("Missed: {name} became {} at {:.3}", moment.status, moment.at_s);
                    }
                }
            }
        }
        changes.spurious += said.len() as u64;
        for moment in said.iter().take(2) {
            if changes.spurious <= 10 {
                eprintln!("Spurious: {name} became {} at {:.3}", moment.status, moment.at_s);
            }
        }
    }
    changes
}
