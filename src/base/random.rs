//! Chance that can be repeated.
//! In: a seed. Out: numbers, tokens, delays. Knows nothing of what they are for.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same run. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Sixteen hexadecimal digits: a tag, a branch, a client nonce.
    pub fn token(&mut self) -> String {
        format!("{:016x}", self.next())
    }

    /// Between half of `most` and `most`.
    pub fn jittered(&mut self, most: Duration) -> Duration {
        let nanoseconds = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let half = nanoseconds / 2;
        Duration::from_nanos(nanoseconds - self.next() % (half + 1))
    }
}

/// Doubles from `first` with each failure until `longest`, jittered: many publications that failed together do not
/// come back together.
pub fn backoff(random: &mut Random, first: Duration, longest: Duration, failures: u32) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX));
    random.jittered(doubled.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_stay_in_their_upper_half() {
        let mut random = Random::new(7);
        for failures in 0..40 {
            let most = Duration::from_secs(1 << failures.min(6)).min(Duration::from_secs(60));
            let delay = backoff(&mut random, Duration::from_secs(1), Duration::from_secs(60), failures);
            assert!(delay <= most && delay >= most / 2, "{failures} {delay:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        assert_eq!(Random::new(1).token(), Random::new(1).token());
        assert_ne!(Random::new(1).token(), Random::new(2).token());
    }
}
