//! How often callers are asked.
//! In: who was asked when. Out: whether one may be asked, or when. Knows nothing of wishes.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

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
    /// The same of each caller: at most as many as its limit lets through.
    by_caller: HashMap<Aor, VecDeque<Timestamp>>,
}

impl Pace {
    pub(super) fn new(per_minute: u32, per_caller_per_h: u32) -> Self {
        Self {
            per_minute: per_minute.max(1) as usize,
            per_caller_per_h: per_caller_per_h.max(1) as usize,
            asked: VecDeque::new(),
            by_caller: HashMap::new(),
        }
    }

    /// Until when this caller is not to be asked; `None`: it may be asked now.
    pub(super) fn not_before(&mut self, caller: &Aor, now: Timestamp) -> Option<Timestamp> {
        while self.asked.front().is_some_and(|(at, _)| now.since(*at) >= HOUR) {
            if let Some((_, gone)) = self.asked.pop_front() {
                self.forget_oldest_of(&gone);
            }
        }
        // Of as many as are let through the oldest has to be out of the window.
        let nth_last = |length: usize, most: usize| length.checked_sub(most);
        let all = nth_last(self.asked.len(), self.per_minute).and_then(|at| self.asked.get(at));
        let all = all.map(|(at, _)| at.after(MINUTE));
        let its_own = self.by_caller.get(caller).and_then(|times| {
            let oldest = times.get(nth_last(times.len(), self.per_caller_per_h)?)?;
            Some(oldest.after(HOUR))
        });
        all.max(its_own).filter(|&at| at > now)
    }

    fn forget_oldest_of(&mut self, caller: &Aor) {
        if let Some(times) = self.by_caller.get_mut(caller) {
            times.pop_front();
            if times.is_empty() {
                self.by_caller.remove(caller);
            }
        }
    }

    /// It is asked now.
    pub(super) fn asked(&mut self, caller: &Aor, now: Timestamp) {
        self.asked.push_back((now, caller.clone()));
        self.by_caller.entry(caller.clone()).or_default().push_back(now);
    }
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
        assert_eq!((pace.asked.len(), pace.by_caller.len()), (2, 2));
    }
}
