//! Does an interface show everything? From its state and its drop counters.
//! In: looks at both, each with its time. Out: `CaptureEvent` when blindness begins or ends. Knows nothing of libpcap, threads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Blindness, CaptureChange, CaptureEvent, FrameCounts, Timestamp};
use crate::config::CaptureSection;

/// So many looks are kept of the time over which drops are counted.
const LOOKS: u32 = 100;

/// Judges one interface.
pub(super) struct Sight {
    interface: Arc<str>,
    share: f64,
    window: Duration,
    /// The newest last; at most one more than [`LOOKS`] and the newest.
    looks: VecDeque<(Timestamp, FrameCounts)>,
    blind: Option<Blindness>,
    /// When all was well last.
    well_at: Timestamp,
}

impl Sight {
    /// It sees, from `at` on.
    pub(super) fn new(interface: Arc<str>, section: &CaptureSection, at: Timestamp) -> Self {
        Self {
            interface,
            share: section.blind_drops_share,
            window: Duration::from_secs(u64::from(section.blind_drops_window_s)),
            looks: VecDeque::from([(at, FrameCounts::default())]),
            blind: None,
            well_at: at,
        }
    }

    /// Looks at the counters so far, and at what is wrong with the interface itself. Says what began or ended.
    pub(super) fn look(
        &mut self,
        at: Timestamp,
        counts: FrameCounts,
        fault: Option<Blindness>,
    ) -> Option<CaptureEvent> {
        let (first_at, lost) = self.count(at, counts);
        let now = fault.or(lost.then_some(Blindness::Drops));
        let before = std::mem::replace(&mut self.blind, now);
        let what = match (before, now) {
            (None, Some(why)) => {
                let since = if why == Blindness::Drops { first_at } else { self.well_at };
                Some(CaptureChange::Blind { why, since })
            }
            (Some(_), None) => Some(CaptureChange::Seeing),
            _ => None,
        };
        if now.is_none() {
            self.well_at = at;
        }
        what.map(|what| CaptureEvent { at, interface: Arc::clone(&self.interface), what, counts })
    }

    /// Whether more is lost than is borne, and since when that is counted.
    fn count(&mut self, at: Timestamp, counts: FrameCounts) -> (Timestamp, bool) {
        while self.looks.len() > 1
            && self.looks.get(1).is_some_and(|(next, _)| at.since(*next) >= self.window)
        {
            self.looks.pop_front();
        }
        let (first_at, first) = self.looks.front().copied().unwrap_or((at, counts));
        let apart = self.window / LOOKS;
        if self.looks.back().is_none_or(|(last, _)| at.since(*last) >= apart) {
            self.looks.push_back((at, counts));
        }
        let meanwhile = counts.since(first);
        let dropped = meanwhile.dropped();
        let passed = meanwhile.received.saturating_add(meanwhile.interface_dropped).max(dropped);
        (first_at, dropped > 0 && dropped as f64 > self.share * passed as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(received: u64, kernel_dropped: u64) -> FrameCounts {
        FrameCounts { received, kernel_dropped, interface_dropped: 0 }
    }

    fn sight(share: f64) -> Sight {
        let section = CaptureSection {
            blind_drops_share: share,
            blind_drops_window_s: 10,
            ..CaptureSection::default()
        };
        Sight::new("eth1".into(), &section, Timestamp::from_secs(100))
    }

    #[test]
    fn drops_above_the_limit_make_blind_until_a_whole_window_is_clean() {
        let mut sight = sight(0.01);
        let mut at = |second, received, dropped| {
            let event = sight.look(Timestamp::from_secs(second), counts(received, dropped), None);
            event.map(|event| event.what)
        };
        assert_eq!(at(101, 1_000, 0), None);
        assert_eq!(at(102, 2_000, 10), None, "half a per cent");
        let since = Timestamp::from_secs(100);
        assert_eq!(at(103, 3_000, 100), Some(CaptureChange::Blind { why: Blindness::Drops, since }));
        for second in 104..112 {
            assert_eq!(at(second, 3_000, 100), None, "nothing comes, nothing is known to be well");
        }
        assert_eq!(at(112, 3_000, 100), None, "what was lost between 102 and 103 is in the window");
        assert_eq!(at(113, 4_000, 100), Some(CaptureChange::Seeing));
    }

    #[test]
    fn what_the_interface_dropped_counts_too_and_with_a_share_of_nothing_one_frame_is_enough() {
        let mut sight = sight(0.0);
        let lost = FrameCounts { received: 1_000_000, kernel_dropped: 0, interface_dropped: 1 };
        let event = sight.look(Timestamp::from_secs(101), lost, None).expect("it is blind");
        assert!(matches!(event.what, CaptureChange::Blind { why: Blindness::Drops, .. }));
        assert_eq!((event.counts, &*event.interface), (lost, "eth1"));
    }

    #[test]
    fn an_interface_that_is_down_is_blind_since_it_was_seen_well_last() {
        let mut sight = sight(0.01);
        let mut at = |second, fault| sight.look(Timestamp::from_secs(second), counts(0, 0), fault);
        assert_eq!(at(101, None), None);
        let since = Timestamp::from_secs(101);
        let event = at(102, Some(Blindness::NoLink)).expect("it is blind");
        assert_eq!(event.what, CaptureChange::Blind { why: Blindness::NoLink, since });
        assert_eq!(at(103, Some(Blindness::Removed)), None, "the same spell goes on");
        assert_eq!(at(104, None).map(|event| event.what), Some(CaptureChange::Seeing));
    }

    #[test]
    fn looks_are_few_however_often_one_looks() {
        let mut sight = sight(0.01);
        for tick in 0..100_000_u64 {
            sight.look(Timestamp::from_nanos(100_000_000_000 + tick * 1_000_000), counts(tick, 0), None);
        }
        assert!(sight.looks.len() <= LOOKS as usize + 2, "{}", sight.looks.len());
    }
}
