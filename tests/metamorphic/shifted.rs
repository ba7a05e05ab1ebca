//! Time itself: another day is no other traffic.
//! In: captures. Out: the same at another time. Knows nothing of calendars.

use std::time::Duration;

use crate::support::captures::all;
use crate::support::{Capture, Faults, Seen};

/// Exact: all rules speak of how long ago something was, none of the date.
#[test]
fn shifted_time_shifts_the_lines() {
    let mut faults = Faults::default();
    let shift = Duration::new(3 * 365 * 86_400 + 17, 123_456_789);
    for capture in all() {
        let later = |seen: &Seen| Seen { at: seen.at.after(shift), ..seen.clone() };
        let shifted = Capture { frames: capture.frames.iter().map(later).collect(), ..capture.clone() };
        let found = shifted.outcome().everything(shift);
        faults.compare(&capture.name, &found, &capture.outcome().everything(Duration::ZERO));
    }
    faults.assert_none();
}
