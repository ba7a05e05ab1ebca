//! How right offhook was: against what the PBX says of its phones, and against what the phones know of themselves.
//! In: samples, lives. Out: counts. Knows nothing of how either came about.

use crate::testbed::truth::{Lives, Moment, Session, Status};

use super::phone::user;
use super::view::Sample;

/// What changes is told within this time.
const TOLERANCE_S: f64 = 1.0;
/// As long around a change whoever is asked may say either.
const CHANGING_S: f64 = 0.1;
/// The PBX counts registrations in whole seconds: to it one runs out so much earlier.
const WHOLE_SECOND_S: f64 = 1.0;

/// Against the PBX's own view, each phone once a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds {
    /// Phone-seconds.
    pub all: u64,
    /// Those in which terminal and session were both the same.
    pub right: u64,
    /// Of the others, those within 0.1 s of a change, or in the last second of a registration that runs out.
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
}

/// The same, but for the terminal of one who talks.
fn talks_unregistered(is: Status, told: Status) -> bool {
    is.session == Session::Talking && told.session == Session::Talking && !is.online && told.online
}

/// Who begins to talk on a phone that is not registered is there until the talk ends: so it is agreed (system A).
fn as_agreed(life: &[Moment]) -> Vec<Moment> {
    let mut agreed: Vec<Moment> = Vec::new();
    let (mut before, mut inferred) = (NOTHING, false);
    for moment in life {
        let mut status = moment.status;
        if status.session != Session::Talking {
            inferred = false;
        } else if before.session != Session::Talking {
            inferred = !status.online;
        }
        before = status;
        status.online |= inferred;
        if agreed.last().is_none_or(|last| last.status != status) {
            agreed.push(Moment { at_s: moment.at_s, status });
        }
    }
    agreed
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
            } else if is_changing(was, sample.at_s) {
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

fn is_changing(life: &[Moment], at_s: f64) -> bool {
    let mut before = NOTHING;
    life.iter().any(|moment| {
        let runs_out = std::mem::replace(&mut before, moment.status).online && !moment.status.online;
        let early_s = if runs_out { WHOLE_SECOND_S } else { 0.0 };
        moment.at_s - early_s - CHANGING_S <= at_s && at_s <= moment.at_s + CHANGING_S
    })
}

/// Compares with the phones. Says on standard error what the first few differences are.
pub fn changes(told: &Lives, truth: &Lives) -> Changes {
    let mut changes = Changes::default();
    for (name, was) in truth {
        let was = as_agreed(was);
        let mut said: Vec<_> = told.get(name).cloned().unwrap_or_default();
        changes.all += was.len() as u64;
        for moment in &was {
            let found = said.iter().position(|told| {
                told.status == moment.status && (told.at_s - moment.at_s).abs() <= TOLERANCE_S
            });
            if let Some(place) = found {
                said.remove(place);
                continue;
            }
            changes.missed += 1;
            if changes.missed <= 5 {
                eprintln!("Missed: {name} became {} at {:.3}", moment.status, moment.at_s);
            }
        }
        changes.spurious += said.len() as u64;
        for moment in said.iter().take(2) {
            if changes.spurious <= 10 {
                let itself = at(&was, moment.at_s);
                eprintln!(
                    "Spurious: {name} became {} at {:.3}, and was {itself} to itself",
                    moment.status, moment.at_s
                );
            }
        }
    }
    changes
}
