//! The clocks, and seeds.
//! In: the system's clocks and random numbers. Out: `Timestamp`s, seeds. Knows nothing of what they are for.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::{Instant, SystemTime};

use crate::base::Timestamp;

/// The wall clock as it was at the start, going on without jumps: for timers.
pub struct Clock {
    began: Timestamp,
    since: Instant,
}

impl Clock {
    /// Begins at the wall clock's time.
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    pub fn start() -> Self {
        Self { began: wall_clock(), since: Instant::now() }
    }

    /// What it is now.
    pub fn now(&self) -> Timestamp {
        self.began.after(self.since.elapsed())
    }
}

/// The wall clock as it is now, set right as it may have been: for what others compare with theirs.
#[expect(clippy::disallowed_methods, reason = "io reads the clock")]
pub fn wall_clock() -> Timestamp {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH.after(wall)
}

/// A seed that no other run has.
pub fn fresh_seed() -> u64 {
    // RandomState is keyed by the system's random numbers.
    RandomState::new().build_hasher().finish()
}

/// A key that nobody can guess.
///
/// # Errors
/// The system has no random numbers.
pub fn fresh_key() -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut key);
    filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_have_two_seeds() {
        assert_ne!(fresh_seed(), fresh_seed());
        assert_ne!(fresh_key().unwrap(), fresh_key().unwrap());
    }
}
