//! One interface, listened to by a thread of its own: it never waits for another, and never gives up.
//! In: a libpcap handle. Out: batches of frames, in a bounded channel, with what became of the interface. Knows nothing of SIP.
//!
//! ```text
//!              poll, dispatch ─► batch
//!   ┌──────────────┐  down, removed, error   ┌─────────┐
//!   │  listening   │ ──────────────────────► │ waiting │ ─┐ looks whether it is there
//!   └──────────────┘ ◄────────────────────── └─────────┘ ◄┘
//!                     opened again
//! ```
//! When the tap is slower than the wire the channel is full, this thread waits, the kernel's ring fills, and the kernel
//! counts what it drops: there is one place where frames are lost, and it is counted.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Packet, Stat};

use super::batch::Batch;
use super::link;
use super::media::{Look, MediaShown};
use super::open::{HandOver, Opened, SLOT_SNAP_BYTES, open, reason};
use super::sight::Sight;
use super::tags::Tagged;
use crate::base::{Blindness, CaptureChange, CaptureEvent, FrameCounts, Timestamp};
use crate::config::CaptureSection;
use crate::io::clock::{Jump, WatchedClock};

/// Frames fetched at once, at most.
const BATCH_FRAMES: usize = 512;
/// So many at once show that frames come faster than they can well be handed over one by one.
const CROWD_FRAMES: usize = 128;
/// When there was no crowd for so long, they are again.
pub(super) const CALM: Duration = Duration::from_secs(60);
/// What is handed over at once is in the ring within this time.
const AT_ONCE: Duration = Duration::from_millis(1);
/// How often an interface and its counters are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// What came until a moment is handed over by the kernel within this time.
const HANDED_OVER: Duration = Duration::from_millis(50);
/// How often one that is not there is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What a thread sends: which interface, and what it showed.
pub(super) type Shown = (u16, Batch);

/// What a listener listens to, and how.
pub(super) struct Listening {
    /// Its place among the interfaces.
    pub source: u16,
    pub name: Arc<str>,
    /// Somebody named it, or it showed something of which a status came; else it was there, and no more.
    pub is_relied_on: Arc<AtomicBool>,
    pub filter: Option<String>,
    pub section: CaptureSection,
    /// [`CALM`], but for tests that cannot wait so long.
    pub calm: Duration,
    /// Raised when all are to stop.
    pub stop: Arc<AtomicBool>,
    pub out: SyncSender<Shown>,
}

/// The thread's own.
pub(super) struct Listener {
    listening: Listening,
    opened: Option<Opened>,
    sight: Sight,
    clock: WatchedClock,
    /// Of all handles before this one.
    counts_before: FrameCounts,
    counts: FrameCounts,
    looked_at: Instant,
    /// When it was tried last to open it again.
    tried_at: Option<Instant>,
    fault: Option<Blindness>,
    /// A frame was longer than a slot.
    showed_longer: bool,
    /// When many frames came at once.
    crowded_at: Option<Instant>,
    /// What passed before was shown by the handle before this one.
    shown_until: Timestamp,
    /// The clock jumped: until this moment is reached, what comes is from before.
    jumped_to: Option<Timestamp>,
    frames: u64,
    refused: u64,
    media: MediaShown,
    /// When the last frame passed.
    last_at: Timestamp,
    /// No frame from before that is still to come.
    reached: Timestamp,
    batch: Batch,
    /// That it cannot be opened again was said.
    told: bool,
    /// So it was that its filter does not look behind tags.
    told_of_tags: bool,
}

impl Listener {
    /// Begins to listen; without a handle it waits for the interface first. The handle was opened after `began`.
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    pub(super) fn new(listening: Listening, opened: Option<Opened>, began: Timestamp) -> Self {
        let mut batch = Batch::default();
        batch.events.push(CaptureEvent {
            at: began,
            interface: Arc::clone(&listening.name),
            what: CaptureChange::Began,
            counts: FrameCounts::default(),
        });
        Self {
            sight: Sight::new(Arc::clone(&listening.name), &listening.section, began),
            listening,
            opened,
            clock: WatchedClock::start(),
            counts_before: FrameCounts::default(),
            counts: FrameCounts::default(),
            looked_at: Instant::now(),
            tried_at: None,
            fault: None,
            showed_longer: false,
            crowded_at: None,
            shown_until: Timestamp::EPOCH,
            jumped_to: None,
            frames: 0,
            refused: 0,
            media: MediaShown::default(),
            last_at: Timestamp::EPOCH,
            reached: began,
            batch,
            told: false,
            told_of_tags: false,
        }
    }

    /// Listens until it is to stop, or nobody takes batches any more.
    pub(super) fn run(mut self) {
        self.look();
        while self.hand_over() {
            if self.listening.stop.load(Ordering::Relaxed) {
                return self.end();
            }
            match self.opened.take() {
                Some(opened) => self.opened = self.listen(opened),
                None => self.wait(),
            }
            if self.looked_at.elapsed() >= LOOK {
                self.look();
            }
        }
    }

    /// Gives what came, and how far it came. Whether somebody took it.
    fn hand_over(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        (batch.reached, batch.counts, batch.refused) = (self.reached, self.counts, self.refused);
        self.listening.out.send((self.listening.source, batch)).is_ok()
    }

    /// The last frames that the kernel holds, and the last counts.
    fn end(mut self) {
        thread_sleep(HANDED_OVER);
        if let Some(mut opened) = self.opened.take() {
            while matches!(self.fetch(&mut opened, Timestamp::MAX), Ok(BATCH_FRAMES)) {
                self.reach(self.last_at);
                if !self.hand_over() {
                    break;
                }
            }
            self.opened = Some(opened);
        }
        self.look();
        self.batch.is_last = true;
        self.hand_over();
    }

    /// Waits a little until something comes, and fetches it. Gives the handle back if it can still be used.
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    fn listen(&mut self, mut opened: Opened) -> Option<Opened> {
        let waited = poll(
            &mut [PollFd::new(opened.handle.as_fd(), PollFlags::POLLIN)],
            PollTimeout::from(u16::try_from(self.period_ms()).unwrap_or(u16::MAX)),
        );
        // A signal interrupts the wait; what else may be wrong is told by the next step.
        let _ = waited;
        let now = self.now();
        let fetched = match self.fetch(&mut opened, Timestamp::MAX) {
            Ok(fetched) => fetched,
            Err(error) => {
                self.lose(opened, &reason(error));
                return None;
            }
        };
        if fetched < BATCH_FRAMES {
            // The ring is empty: what is older than the time in which the kernel hands over has come.
            let window = Duration::from_millis(u64::from(self.listening.section.merge_window_ms));
            self.reach(now.before(window));
        } else {
            self.reach(self.last_at);
        }
        // What waited for a handle that was just opened is no crowd.
        if fetched >= CROWD_FRAMES && self.is_settled() {
            self.crowded_at = Some(Instant::now());
        }
        Some(self.hand_over_well(opened))
    }

    /// Takes frames that passed before a moment out of the kernel's ring, a batch at most. Gives how many were there.
    fn fetch(&mut self, opened: &mut Opened, before: Timestamp) -> Result<usize, pcap::Error> {
        let Self { batch, frames, refused, media, listening, last_at, showed_longer, shown_until, .. } = self;
        let refuse_media = listening.filter.is_none();
        let link = opened.link;
        opened.handle.dispatch(Some(BATCH_FRAMES), |packet| {
            *last_at = stamp(&packet);
            if *last_at < *shown_until || *last_at >= before {
                return;
            }
            *frames += 1;
            let wire_length = packet.header.len;
            *showed_longer |= wire_length > SLOT_SNAP_BYTES;
            let look = if refuse_media { media.look(*last_at, link, packet.data) } else { Look::All };
            let bytes = match look {
                Look::All => Some(packet.data),
                Look::Headers(bytes) => packet.data.get(..bytes),
                Look::Nothing => None,
            };
            match bytes {
                Some(bytes) => batch.push(*last_at, *frames, link, bytes, wire_length as usize),
                None => *refused += 1,
            }
        })
    }

    /// It was not tried just now to open the interface anew.
    fn is_settled(&self) -> bool {
        self.tried_at.is_none_or(|tried_at| tried_at.elapsed() >= LOOK_AGAIN)
    }

    /// How what passes now is best handed over.
    fn suitable(&self) -> HandOver {
        let are_few = self.crowded_at.is_none_or(|crowded_at| crowded_at.elapsed() >= self.listening.calm);
        HandOver::of(self.showed_longer, are_few)
    }

    /// Goes on with a handle that hands over frames as what passes now asks for. No frame is missed, none comes twice.
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    fn hand_over_well(&mut self, mut opened: Opened) -> Opened {
        let hand_over = self.suitable();
        if opened.hand_over == hand_over || !self.is_settled() {
            return opened;
        }
        self.tried_at = Some(Instant::now());
        let Some(next) = self.try_open(hand_over) else { return opened };
        let both_since = self.now();
        if self.jumped_to.is_some() {
            return opened; // the stamps in the rings say nothing of what came first
        }
        // What passed until then comes to the ring of the old one; that of the new one holds the rest meanwhile.
        thread_sleep(if opened.hand_over == HandOver::AtOnce { AT_ONCE } else { HANDED_OVER });
        while matches!(self.fetch(&mut opened, both_since), Ok(BATCH_FRAMES)) && self.last_at < both_since {
            if !self.hand_over() {
                break;
            }
        }
        self.read_counts(&mut opened);
        self.counts_before = self.counts;
        self.shown_until = both_since;
        next
    }

    /// If it cannot be opened, that is said once.
    fn try_open(&mut self, hand_over: HandOver) -> Option<Opened> {
        let Listening { name, filter, section, .. } = &self.listening;
        match open(name, filter.as_deref(), section, hand_over) {
            Ok(opened) => {
                self.told = false;
                Some(opened)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    eprintln!("offhook: {error}; it is tried again");
                }
                None
            }
        }
    }

    /// Half of the time within which others wait for this one's word.
    fn period_ms(&self) -> u32 {
        (self.listening.section.merge_window_ms / 2).clamp(2, 20)
    }

    /// The handle can be used no more: the interface went down, or away.
    fn lose(&mut self, mut opened: Opened, reason: &str) {
        self.read_counts(&mut opened);
        self.counts_before = self.counts;
        drop(opened);
        if link::fault(&self.listening.name).is_none() {
            eprintln!("offhook: {} cannot be listened to: {reason}; it is opened again", self.listening.name);
        }
        self.look();
    }

    /// Looks whether the interface is there again.
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    fn wait(&mut self) {
        let name = &self.listening.name;
        let is_time = self.is_settled();
        if is_time {
            self.tried_at = Some(Instant::now());
        }
        if is_time
            && matches!(link::fault(name), None | Some(Blindness::NoLink))
            && let Some(opened) = self.try_open(self.suitable())
        {
            self.opened = Some(opened);
            return self.look();
        }
        thread_sleep(Duration::from_millis(u64::from(self.period_ms())));
        let window = Duration::from_millis(u64::from(self.listening.section.merge_window_ms));
        let now = self.now();
        self.reach(now.before(window));
    }

    /// The wall clock.
    fn now(&mut self) -> Timestamp {
        let (now, jump) = self.clock.read();
        self.jumped(now, jump);
        now
    }

    /// When the clock jumped, what passed meanwhile was not seen, or no timer fires in its time. That is told before any
    /// frame that follows.
    fn jumped(&mut self, now: Timestamp, jump: Jump) {
        let name = &self.listening.name;
        match jump {
            Jump::None => return,
            Jump::Ahead(by) => {
                eprintln!(
                    "offhook: {name}: the clock went {} s ahead; nothing was seen meanwhile",
                    by.as_secs()
                );
            }
            Jump::Back(by) => {
                let by = by.as_secs();
                eprintln!(
                    "offhook: {name}: the clock was set back by {by} s; until it has caught up, times stand still"
                );
            }
        }
        self.jumped_to = Some(now.max(self.reached));
        self.shown_until = Timestamp::EPOCH;
        self.judge(now, None);
        // Whether somebody takes it is seen the next time.
        let _ = self.hand_over();
    }

    fn reach(&mut self, at: Timestamp) {
        self.reached = self.reached.max(at);
    }

    /// Looks at the interface and its counters.
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    fn look(&mut self) {
        let now = self.now();
        self.looked_at = Instant::now();
        if let Some(mut opened) = self.opened.take() {
            self.read_counts(&mut opened);
            self.warn_of_tags(&mut opened.tagged);
            self.opened = Some(opened);
        }
        let fault = link::fault(&self.listening.name).or(self.opened.is_none().then_some(Blindness::Down));
        self.tell(fault);
        self.judge(now, fault.filter(|_| self.listening.is_relied_on.load(Ordering::Relaxed)));
    }

    fn judge(&mut self, now: Timestamp, fault: Option<Blindness>) {
        if self.jumped_to.is_some_and(|jumped_to| self.reached >= jumped_to && now >= jumped_to) {
            self.jumped_to = None;
        }
        let fault = fault.or(self.jumped_to.map(|_| Blindness::ClockJump));
        if let Some(event) = self.sight.look(now, self.counts, fault) {
            // Its place is behind the frames that were fetched, and before those that are still to come.
            let at = self.reached.max(self.batch.last_at().unwrap_or_default());
            let what = match event.what {
                CaptureChange::Blind { why, since } => CaptureChange::Blind { why, since: since.min(at) },
                other => other,
            };
            self.batch.events.push(CaptureEvent { at, what, ..event });
        }
    }

    fn read_counts(&mut self, opened: &mut Opened) {
        if let Ok(stat) = opened.handle.stats() {
            self.counts = sum(self.counts_before, self.counts, stat);
        }
    }

    /// Says once that there are frames which the filter hides for their tags, and looks for them no more.
    fn warn_of_tags(&mut self, tagged: &mut Option<Tagged>) {
        let Some(words) = tagged.as_mut().and_then(Tagged::met) else { return };
        *tagged = None;
        if !std::mem::replace(&mut self.told_of_tags, true) {
            eprintln!("offhook: {words}");
        }
    }

    /// Says what became of the interface, once each time.
    fn tell(&mut self, fault: Option<Blindness>) {
        if self.fault == fault {
            return;
        }
        let name = &self.listening.name;
        match fault {
            Some(Blindness::Removed) => eprintln!("offhook: {name} is gone; waiting for it to come back"),
            Some(Blindness::Down) => eprintln!("offhook: {name} is down; waiting for it to come up"),
            Some(Blindness::NoLink) => eprintln!("offhook: {name} has no link; waiting for it"),
            Some(Blindness::Drops | Blindness::ClockJump) | None => eprintln!("offhook: {name} is back"),
        }
        self.fault = fault;
    }
}

/// When the kernel saw it.
fn stamp(packet: &Packet<'_>) -> Timestamp {
    // With this precision the field for microseconds holds nanoseconds.
    let seconds = u64::try_from(packet.header.ts.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(packet.header.ts.tv_usec).unwrap_or_default();
    Timestamp::from_secs(seconds).after(Duration::from_nanos(nanoseconds))
}

/// libpcap's counters have 32 bits and begin anew with each handle; ours go on.
fn sum(before: FrameCounts, last: FrameCounts, stat: Stat) -> FrameCounts {
    let go_on = |before: u64, last: u64, now: u32| {
        let last_of_handle = last.saturating_sub(before);
        // The interface's own counter reads 0 when the interface goes.
        let advance = now.wrapping_sub(last_of_handle as u32).cast_signed();
        last.saturating_add(u64::try_from(advance).unwrap_or_default())
    };
    FrameCounts {
        received: go_on(before.received, last.received, stat.received),
        kernel_dropped: go_on(before.kernel_dropped, last.kernel_dropped, stat.dropped),
        interface_dropped: go_on(before.interface_dropped, last.interface_dropped, stat.if_dropped),
    }
}

#[expect(clippy::disallowed_methods, reason = "io waits")]
fn thread_sleep(pause: Duration) {
    thread::sleep(pause);
}

#[cfg(test)]
#[path = "hand_over_tests.rs"]
mod hand_over_tests;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::base::LinkType;

    fn counts(received: u64) -> FrameCounts {
        FrameCounts { received, ..FrameCounts::default() }
    }

    #[test]
    fn counters_go_on_where_those_of_32_bits_begin_anew_and_where_a_handle_does() {
        let stat = |received| Stat { received, dropped: 0, if_dropped: 0 };
        let half = u32::MAX / 2;
        let large = u64::from(half);
        let first = sum(counts(0), counts(0), stat(half));
        assert_eq!(first, counts(large));
        let first = sum(counts(0), first, stat(2 * half));
        assert_eq!(first, counts(2 * large));
        let second = sum(counts(0), first, stat(4));
        assert_eq!(second, counts(2 * large + 6), "past the largest of 32 bits");
        let of_next_handle = sum(second, second, stat(7));
        assert_eq!(of_next_handle, counts(2 * large + 13));
        assert_eq!(sum(second, of_next_handle, stat(9)), counts(2 * large + 15));
    }

    #[test]
    fn a_counter_that_steps_back_counts_nothing() {
        let stat = |if_dropped| Stat { received: 0, dropped: 0, if_dropped };
        let dropped = |interface_dropped| FrameCounts { interface_dropped, ..FrameCounts::default() };
        let first = sum(counts(0), counts(0), stat(7));
        let gone = sum(counts(0), first, stat(0));
        assert_eq!(gone, dropped(7));
        assert_eq!(sum(counts(0), gone, stat(9)), dropped(9));
    }

    const fn at(second: u64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    /// One that has reached the second 100, and what it hands over.
    fn listener() -> (Listener, Receiver<Shown>) {
        let (out, shown) = sync_channel(8);
        let listening = Listening {
            source: 0,
            name: "any".into(),
            is_relied_on: Arc::new(AtomicBool::new(true)),
            filter: None,
            section: CaptureSection::default(),
            calm: CALM,
            stop: Arc::default(),
            out,
        };
        let mut listener = Listener::new(listening, None, at(90));
        listener.batch.events.clear();
        listener.reach(at(100));
        (listener, shown)
    }

    fn told(shown: &Receiver<Shown>) -> Vec<(Timestamp, CaptureChange)> {
        let batches = shown.try_iter().map(|(_, batch)| batch);
        batches.flat_map(|batch| batch.events).map(|event| (event.at, event.what)).collect()
    }

    const JUMPED: CaptureChange = CaptureChange::Blind { why: Blindness::ClockJump, since: at(90) };

    #[test]
    fn that_the_clock_went_ahead_is_told_before_the_frames_after_it_and_over_when_they_are_reached() {
        let (mut listener, shown) = listener();
        listener.jumped(at(200), Jump::Ahead(Duration::from_secs(99)));
        assert_eq!(told(&shown), [(at(100), JUMPED)], "at once, in a batch that ends there");
        listener.judge(at(200), None);
        listener.batch.push(at(101), 1, LinkType(1), &[], 0);
        listener.reach(at(101));
        listener.judge(at(201), None);
        assert!(listener.batch.events.is_empty(), "frames from before are still to come");
        listener.reach(at(200));
        listener.judge(at(201), None);
        listener.hand_over();
        assert_eq!(told(&shown), [(at(200), CaptureChange::Seeing)]);
    }

    #[test]
    fn while_the_clock_that_was_set_back_has_not_caught_up_the_capture_is_blind() {
        let (mut listener, shown) = listener();
        listener.jumped(at(50), Jump::Back(Duration::from_secs(50)));
        assert_eq!(told(&shown), [(at(100), JUMPED)]);
        listener.reach(at(99));
        listener.judge(at(99), None);
        assert!(listener.batch.events.is_empty());
        listener.reach(at(101));
        listener.judge(at(101), None);
        listener.hand_over();
        assert_eq!(told(&shown), [(at(101), CaptureChange::Seeing)]);
    }
}
