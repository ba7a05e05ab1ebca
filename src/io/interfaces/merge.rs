//! The frames of several interfaces in the order of time.
//! In: batches of each interface. Out: frames and events, as soon as nothing earlier can come. Knows nothing of threads.

use std::collections::VecDeque;

use super::batch::Batch;
use crate::base::Timestamp;
use crate::io::capture::Captured;

/// Bytes of frames that wait for another interface, at most: then the earliest go on without it.
const MOST_BYTES: usize = 64 << 20;

/// One interface.
#[derive(Default)]
struct Lane {
    batches: VecDeque<Batch>,
    /// Taken of the first batch: its frames, then its events.
    frames_taken: usize,
    events_taken: usize,
    /// No frame from before that is still to come.
    reached: Timestamp,
    is_over: bool,
}

impl Lane {
    /// When its next item is from.
    fn next_at(&self) -> Option<Timestamp> {
        let batch = self.batches.front()?;
        let event_at = || batch.events.get(self.events_taken).map(|event| event.at);
        batch.at(self.frames_taken).or_else(event_at)
    }

    fn is_spent(&self) -> bool {
        self.batches
            .front()
            .is_some_and(|batch| self.frames_taken >= batch.len() && self.events_taken >= batch.events.len())
    }
}

/// Merges. The order inside each interface is never changed; at equal times interfaces come in their order.
pub(super) struct Merge {
    lanes: Vec<Lane>,
    bytes: usize,
}

impl Merge {
    pub(super) fn new(interfaces: usize) -> Self {
        Self { lanes: (0..interfaces).map(|_| Lane::default()).collect(), bytes: 0 }
    }

    /// What this interface showed next.
    pub(super) fn push(&mut self, source: u16, batch: Batch) {
        let Some(lane) = self.lanes.get_mut(usize::from(source)) else { return };
        lane.reached = lane.reached.max(batch.reached);
        lane.is_over |= batch.is_last;
        if batch.len() > 0 || !batch.events.is_empty() {
            self.bytes += batch.bytes();
            lane.batches.push_back(batch);
        }
    }

    /// The next thing, if nothing that comes before it can still come.
    pub(super) fn next(&mut self) -> Option<(u16, Captured<'_>)> {
        for lane in &mut self.lanes {
            while lane.is_spent() {
                let spent = lane.batches.pop_front();
                self.bytes -= spent.map_or(0, |batch| batch.bytes());
                (lane.frames_taken, lane.events_taken) = (0, 0);
            }
        }
        let earliest = |(source, lane): (usize, &Lane)| Some((lane.next_at()?, source));
        let (at, source) = self.lanes.iter().enumerate().filter_map(earliest).min()?;
        let others = || self.lanes.iter().enumerate().filter(|&(other, _)| other != source);
        let is_awaited = |(other, lane): (usize, &Lane)| {
            lane.batches.is_empty() && !lane.is_over && (lane.reached, other) < (at, source)
        };
        if self.bytes <= MOST_BYTES && others().any(is_awaited) {
            return None;
        }
        let lane = self.lanes.get_mut(source)?;
        let source = u16::try_from(source).unwrap_or(u16::MAX);
        let batch = lane.batches.front()?;
        if lane.frames_taken < batch.len() {
            lane.frames_taken += 1;
            return Some((source, Captured::Frame(batch.frame(lane.frames_taken - 1, source)?)));
        }
        lane.events_taken += 1;
        Some((source, Captured::Event(batch.events.get(lane.events_taken - 1)?.clone())))
    }

    /// Nothing from before that is still to come.
    pub(super) fn reached(&self) -> Timestamp {
        let reached = |lane: &Lane| match lane.next_at() {
            Some(at) => at,
            None if lane.is_over => Timestamp::MAX,
            None => lane.reached,
        };
        let all = self.lanes.iter().map(reached).min().unwrap_or_default();
        let last = || self.lanes.iter().map(|lane| lane.reached).max().unwrap_or_default();
        if all == Timestamp::MAX { last() } else { all }
    }

    /// This interface has said its last word.
    pub(super) fn is_over_at(&self, source: usize) -> bool {
        self.lanes.get(source).is_some_and(|lane| lane.is_over)
    }

    /// All interfaces are at their end.
    pub(super) fn is_over(&self) -> bool {
        self.lanes.iter().all(|lane| lane.is_over && lane.batches.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CaptureChange, CaptureEvent, FrameCounts, LinkType};

    fn batch(seconds: &[u64], reached: u64) -> Batch {
        let mut batch = Batch::default();
        batch.reached = Timestamp::from_secs(reached);
        for (number, &second) in (1..).zip(seconds) {
            batch.push(Timestamp::from_secs(second), number, LinkType(1), &[second as u8], 1);
        }
        batch
    }

    fn last(reached: u64) -> Batch {
        let mut batch = batch(&[], reached);
        batch.is_last = true;
        batch
    }

    /// What comes out now: seconds, interfaces, and `true` for frames.
    fn out(merge: &mut Merge) -> Vec<(u64, u16, bool)> {
        let mut all = Vec::new();
        while let Some((source, item)) = merge.next() {
            all.push(match item {
                Captured::Frame(frame) => {
                    assert_eq!((frame.id.source(), frame.bytes), (source, &[seconds(frame.at) as u8][..]));
                    (seconds(frame.at), source, true)
                }
                Captured::Event(event) => (seconds(event.at), source, false),
            });
        }
        all
    }

    fn seconds(at: Timestamp) -> u64 {
        at.as_nanos() / 1_000_000_000
    }

    #[test]
    fn one_interface_waits_for_nobody() {
        let mut merge = Merge::new(1);
        merge.push(0, batch(&[5, 6], 4));
        assert_eq!(out(&mut merge), [(5, 0, true), (6, 0, true)]);
        assert_eq!(merge.reached(), Timestamp::from_secs(4));
        merge.push(0, batch(&[], 9));
        assert_eq!(merge.reached(), Timestamp::from_secs(9));
    }

    #[test]
    fn a_frame_waits_until_the_other_interface_is_as_far() {
        let mut merge = Merge::new(2);
        merge.push(0, batch(&[5, 8], 8));
        assert_eq!(out(&mut merge), [], "the other one was not heard of");
        assert_eq!(merge.reached(), Timestamp::EPOCH);
        merge.push(1, batch(&[], 5));
        assert_eq!(out(&mut merge), [(5, 0, true)], "at equal times the first comes first");
        merge.push(1, batch(&[6, 7, 8], 8));
        let more_may_come = "another of that time may come from the first one";
        assert_eq!(out(&mut merge), [(6, 1, true), (7, 1, true), (8, 0, true)], "{more_may_come}");
        assert_eq!(merge.reached(), Timestamp::from_secs(8));
        merge.push(1, batch(&[9], 20));
        assert_eq!(out(&mut merge), [], "the first has reached 8 only");
        merge.push(0, batch(&[], 9));
        assert_eq!(out(&mut merge), [(8, 1, true)]);
        assert_eq!(merge.reached(), Timestamp::from_secs(9));
        merge.push(0, last(9));
        assert_eq!(out(&mut merge), [(9, 1, true)], "the first one is over");
        merge.push(1, last(21));
        assert!(merge.is_over());
        assert_eq!(merge.reached(), Timestamp::from_secs(21));
    }

    #[test]
    fn events_stand_behind_the_frames_before_them() {
        let mut merge = Merge::new(1);
        let mut one = batch(&[5], 5);
        one.events.push(CaptureEvent {
            at: Timestamp::from_secs(6),
            interface: "eth1".into(),
            what: CaptureChange::Seeing,
            counts: FrameCounts::default(),
        });
        merge.push(0, one);
        merge.push(0, batch(&[7], 7));
        assert_eq!(out(&mut merge), [(5, 0, true), (6, 0, false), (7, 0, true)]);
    }

    #[test]
    fn an_interface_that_stands_still_holds_up_so_much_and_no_more() {
        let mut merge = Merge::new(2);
        let large = vec![0; 1 << 20];
        for second in 1..=70 {
            let mut one = batch(&[], second);
            one.push(Timestamp::from_secs(second), second, LinkType(1), &large, large.len());
            merge.push(0, one);
        }
        let mut came = 0;
        while merge.next().is_some() {
            came += 1;
        }
        assert!((5..=8).contains(&came), "{came}");
    }
}
