//! How often callers are asked.
//! In: who was asked when. Out: whether one may be asked, or when. Knows nothing of wishes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::Timestamp;
use crate::sip::Aor;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Who was asked within the last hour: as many as the limit for a minute lets through in that time.
pub(super) struct Pace {
    per_minute: usize,
    per_caller_per_h: usize,
    /// The oldest first.
    asked: VecDeque<(Timestamp, Aor)>,
}

impl Pace {
    pub(super) fn new(per_minute: u32, per_caller_per_h: u32) -> Self {
        Self {
            per_minute: per_minute.max(1) as usize,
            per_caller_per_h: per_caller_per_h.max(1) as usize,
            asked: VecDeque::new(),
        }
    }

    /// Until when this caller is not to be asked; `None`: it may be asked now.
    pub(super) fn not_before(&mut self, caller: &Aor, now: Timestamp) -> Option<Timestamp> {
        while self.asked.front().is_some_and(|(at, _)| now.since(*at) >= HOUR) {
            self.asked.pop_front();
        }
        let all = self.asked.iter().rev().map(|(at, _)| *at);
        let its_own = self.asked.iter().rev().filter(|(_, asked)| asked == caller).map(|(at, _)| *at);
        let all = open_at(all, self.per_minute, MINUTE);
        all.max(open_at(its_own, self.per_caller_per_h, HOUR)).filter(|&at| at > now)
    }

    /// It is asked now.
    pub(super) fn asked(&mut self, caller: &Aor, now: Timestamp) {
        self.asked.push_back((now, caller.clone()));
    }
}

/// When the oldest of as many as are let through, newest first, will be out of the window.
fn open_at(times: impl Iterator<Item = Timestamp>, most: usize, window: Duration) -> Option<Timestamp> {
    times.skip(most - 1).map(|at| at.after(window)).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_is_asked_so_often_an_hour_and_all_so_often_a_minute() {
        let aor = |user: &str| Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap();
        let (alice, bob) = (aor("alice"), aor("bob"));
        let at = |seconds: u64| Timestamp::from_secs(10_000 + seconds);
        let mut pace = Pace::new(3, 2);
        for seconds in [0, 1] {
            assert_eq!(pace.not_before(&alice, at(seconds)), None);
            pace.asked(&alice, at(seconds));
        }
        assert_eq!(pace.not_before(&alice, at(2)), Some(at(3_600)));
        assert_eq!(pace.not_before(&bob, at(2)), None);
        pace.asked(&bob, at(2));
        assert_eq!(pace.not_before(&bob, at(3)), Some(at(60)));
        assert_eq!(pace.not_before(&bob, at(60)), None);
        assert_eq!(pace.not_before(&alice, at(3_599)), Some(at(3_600)));
        assert_eq!(pace.not_before(&alice, at(3_600)), None);
        assert_eq!(pace.asked.len(), 2);
    }
}
