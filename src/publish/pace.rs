//! How fast: so many a second, and few at once.
//! In: time. Out: now, or when. Knows nothing of what is paced.

use std::time::Duration;

use crate::base::Timestamp;

/// A token bucket, kept as the moment at which it will be full (the generic cell rate algorithm, ITU-T I.371). It holds
/// a hundredth of a second's worth, at least one.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    full_at: Timestamp,
    depth: Duration,
}

impl Pace {
    pub(crate) fn new(per_s: u32) -> Self {
        let per_s = per_s.max(1);
        let interval = Duration::from_secs(1) / per_s;
        Self { interval, full_at: Timestamp::EPOCH, depth: interval * (per_s / 100).max(1) }
    }

    /// Takes one, or says when there will be one.
    pub(crate) fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let next = self.full_at.max(now).after(self.interval);
        if next.since(now) > self.depth {
            return Err(now.after(next.since(now) - self.depth));
        }
        self.full_at = next;
        Ok(())
    }

    /// Takes one that may not be there yet.
    pub(crate) fn borrow(&mut self, now: Timestamp) {
        self.full_at = self.full_at.max(now).after(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gives_as_many_as_it_should_and_few_at_once() {
        for (per_s, at_once) in [(1_u32, 1_u32), (50, 1), (1_000, 10)] {
            let mut pace = Pace::new(per_s);
            let start = Timestamp::from_secs(7);
            let end = start.after_s(10);
            let (mut now, mut taken, mut first) = (start, 0, 0);
            while now < end {
                match pace.take(now) {
                    Ok(()) => {
                        taken += 1;
                        first += u32::from(now == start);
                    }
                    Err(at) => {
                        assert!(at > now, "waits for the past");
                        now = at;
                    }
                }
            }
            assert_eq!(first, at_once, "{per_s} a second");
            assert!((10 * per_s..10 * per_s + at_once).contains(&taken), "{taken} at {per_s} a second");
        }
    }
}
