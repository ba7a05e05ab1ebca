//! The clocks, and seeds.
//! In: the system's clocks and random numbers. Out: `Timestamp`s, seeds. Knows nothing of what they are for.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::{Duration, Instant, SystemTime};

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

/// What the wall clock did since it was looked at last, besides going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// Nothing.
    None,
    /// It went ahead so far: the machine slept, or it was set.
    Ahead(Duration),
    /// It was set back so far.
    Back(Duration),
}

/// Clocks that are set right little by little do not jump so far.
const JUMP: Duration = Duration::from_secs(2);

/// The wall clock, watched.
pub struct WatchedClock {
    last: (Timestamp, Instant),
}

impl WatchedClock {
    /// From now on.
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    pub fn start() -> Self {
        Self { last: (wall_clock(), Instant::now()) }
    }

    /// What it is now, and what it did meanwhile.
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    pub fn read(&mut self) -> (Timestamp, Jump) {
        let now = (wall_clock(), Instant::now());
        let last = std::mem::replace(&mut self.last, now);
        (now.0, jump(last.0, now.0, now.1.duration_since(last.1)))
    }
}

fn jump(last: Timestamp, now: Timestamp, passed: Duration) -> Jump {
    let expected = last.after(passed);
    match (now.since(expected), expected.since(now)) {
        (ahead, _) if ahead > JUMP => Jump::Ahead(ahead),
        (_, back) if back > JUMP => Jump::Back(back),
        _ => Jump::None,
    }
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
    fn a_clock_that_is_set_or_that_slept_has_jumped() {
        let at = Timestamp::from_secs;
        let second = Duration::from_secs(1);
        assert_eq!(jump(at(100), at(101), second), Jump::None);
        assert_eq!(jump(at(100), at(103), second), Jump::None, "set right");
        assert_eq!(jump(at(100), at(3_701), second), Jump::Ahead(3_600 * second));
        assert_eq!(jump(at(100), at(41), second), Jump::Back(60 * second));
        assert_eq!(jump(at(100), at(3_700), 3_600 * second), Jump::None, "so long was nobody looking");
        assert_eq!(WatchedClock::start().read().1, Jump::None);
    }

    #[test]
    fn two_runs_have_two_seeds() {
        assert_ne!(fresh_seed(), fresh_seed());
        assert_ne!(fresh_key().unwrap(), fresh_key().unwrap());
    }
}
