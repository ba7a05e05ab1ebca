//! Moments in packet time.
//! In: seconds and nanoseconds as a capture has them. Out: `Timestamp`. Knows nothing of clocks.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A moment: nanoseconds since 1970-01-01T00:00:00Z, without leap seconds. It ends in the year 2554.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// The last moment that can be told.
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// From whole seconds since the epoch; saturates.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(NANOSECONDS_PER_SECOND))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The earlier of two moments that may not be.
    pub fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// This moment and `later` after it; saturates.
    pub fn after(self, later: Duration) -> Self {
        let nanoseconds = u64::try_from(later.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }

    /// This moment and so many seconds after it; saturates.
    pub fn after_s(self, seconds: u32) -> Self {
        self.after(Duration::from_secs(u64::from(seconds)))
    }

    /// This moment and `earlier` before it; the epoch at most.
    pub fn before(self, earlier: Duration) -> Self {
        let nanoseconds = u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanoseconds))
    }

    /// How long ago `earlier` was; zero when it was not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// RFC 3339 in UTC with exactly six digits of fraction, truncated: `2026-11-22T06:08:01.123456Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl Timestamp {
    /// Lends its text. Every line has one: written without the machinery of formats.
    pub fn with_text<T>(self, reader: impl FnOnce(&str) -> T) -> T {
        let seconds = self.0 / NANOSECONDS_PER_SECOND;
        let microseconds = self.0 % NANOSECONDS_PER_SECOND / 1_000;
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let of_day = seconds % 86_400;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        for (last, digits, mut number) in [
            (3, 4, year),
            (6, 2, month),
            (9, 2, day),
            (12, 2, of_day / 3_600),
            (15, 2, of_day / 60 % 60),
            (18, 2, of_day % 60),
            (25, 6, microseconds),
        ] {
            for digit in text.iter_mut().take(last + 1).rev().take(digits) {
                *digit += (number % 10) as u8;
                number /= 10;
            }
        }
        reader(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

/// Days since 1970-01-01 to year, month, day of the proleptic Gregorian calendar. Years are counted
/// from March, so that the leap day is the last of its year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_truncated_never_rounded() {
        let at = Timestamp::from_nanos(1_795_327_681_123_456_999);
        assert_eq!(at.to_string(), "2026-11-22T06:08:01.123456Z");
    }

    #[test]
    fn leap_days_and_the_ends_of_years() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(Timestamp::from_secs(seconds).to_string(), expected);
        }
    }
}
