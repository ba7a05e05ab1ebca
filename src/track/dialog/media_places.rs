//! Where the media of calls pass: when a packet was seen there last, and whether they have ceased.
//! In: addresses that calls agree on, addresses of datagrams that are no SIP, what the capture shows. Out: `Silence`, and the call
//! whose media came back. Knows nothing of messages, dialogs, codecs, what is said.
//! RFC 3264 section 5 (where media go), RFC 3550 section 11 (RTP and its RTCP).

use std::net::SocketAddr;
use std::time::Duration;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::legs::CallRef;
use crate::base::{AddressMark, FrameId, Timestamp};

/// Media that have passed for so long pass here, and not by chance. What both sides sent before they had agreed on another way
/// may go on for 4 s (RFC 3261 section 14.1: a re-INVITE that met another one is sent again).
const FLOWED: Duration = Duration::from_secs(5);
/// Media pass of which there was a packet within this time. Of those on an interface the tap is shown one in 2 s.
const PASSING: Duration = Duration::from_secs(10);
/// One packet in so long is enough, whatever copies of it the mirror shows.
const NOTED: Duration = Duration::from_secs(1);
/// A capture shows frames until so short before the end of a silence, or it was not seen to be one.
const SHOWN_UNTIL_S: u32 = 5;
/// An address of which nothing was seen for so long is forgotten, where silence counts within half of that.
const KEPT_S: u32 = 600;
/// Addresses of one dialog: those of two streams on two hops.
const ADDRESSES: usize = 8;
/// So many addresses are never swept.
const FEW: usize = 1_024;
/// Between two sweeps of a table that stays full.
const SWEPT_S: u32 = 10;

/// Where somebody takes the media of a call. RTP and the RTCP of it, one port higher, are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MediaAddress(AddressMark);

impl MediaAddress {
    #[inline]
    pub(super) fn new(address: SocketAddr) -> Self {
        Self(AddressMark::from(SocketAddr::new(address.ip(), address.port() & !1)))
    }
}

/// The way of a dialog's media.
pub(super) struct MediaPath {
    addresses: SmallVec<[MediaAddress; 4]>,
    /// Since when it is known to be this one.
    began_at: Timestamp,
    /// When both sides last agreed to send, or showed that the call goes on.
    agreed_at: Timestamp,
}

impl MediaPath {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { addresses: SmallVec::new(), began_at: now, agreed_at: now }
    }

    pub(super) const fn agreed_at(&self) -> Timestamp {
        self.agreed_at
    }

    pub(super) fn contains(&self, address: MediaAddress) -> bool {
        self.addresses.contains(&address)
    }

    /// Both sides agree to send, or show that they go on; copies of what they say come soon after it.
    pub(super) fn agree(&mut self, now: Timestamp) {
        if self.agreed_at.after(NOTED) <= now {
            self.agreed_at = now;
        }
    }

    /// From now on the media may go another way than before.
    pub(super) const fn begin(&mut self, now: Timestamp) {
        self.began_at = now;
    }

    /// Offer and answer name all addresses from now on.
    pub(super) fn replace(&mut self, addresses: impl Iterator<Item = MediaAddress>, now: Timestamp) {
        let before = std::mem::take(&mut self.addresses);
        for address in addresses {
            if !before.contains(&address) {
                self.begin(now);
            }
            self.keep(address);
        }
    }

    /// One of them, or another hop, names some.
    pub(super) fn add(&mut self, addresses: impl Iterator<Item = MediaAddress>, now: Timestamp) {
        for address in addresses {
            if !self.contains(address) {
                self.begin(now);
                self.keep(address);
            }
        }
    }

    fn keep(&mut self, address: MediaAddress) {
        if !self.contains(address) {
            if self.addresses.len() >= ADDRESSES {
                self.addresses.remove(0);
            }
            self.addresses.push(address);
        }
    }
}

/// The last packet to or from an address, within [`NOTED`], and those before it between the same ends.
#[derive(Clone, Copy)]
struct Packet {
    at: Timestamp,
    /// From then on another one is noted.
    next_at: Timestamp,
    frame: FrameId,
    /// Its other end.
    other: MediaAddress,
    /// Since when they have come one soon after the other.
    since: Timestamp,
    /// When they last had come for [`FLOWED`].
    flowed_at: Option<Timestamp>,
}

struct Place {
    agreed_at: Timestamp,
    last: Option<Packet>,
    /// A call is held to be over since nothing passes here.
    awaited_by: Option<CallRef>,
}

impl Place {
    fn touched_at(&self) -> Timestamp {
        self.last.map_or(self.agreed_at, |last| last.at.max(self.agreed_at))
    }

    /// `is_media`: it looks like RTP or RTCP. What else goes between two ends, as in search of a way, shows no media.
    #[inline]
    fn note(&mut self, at: Timestamp, frame: FrameId, other: MediaAddress, is_media: bool) {
        if !self.last.as_ref().is_some_and(|last| last.other == other && at < last.next_at) {
            self.note_next(at, frame, other, is_media);
        }
    }

    fn note_next(&mut self, at: Timestamp, frame: FrameId, other: MediaAddress, is_media: bool) {
        let before = self.last.filter(|last| last.other == other);
        let since = match before {
            Some(last) if last.at.after(PASSING) >= at => last.since,
            _ if is_media => at,
            _ => return,
        };
        let flowed_at =
            if since.after(FLOWED) <= at { Some(at) } else { before.and_then(|last| last.flowed_at) };
        self.last = Some(Packet { at, next_at: at.after(NOTED), frame, other, since, flowed_at });
    }
}

/// What one input shows.
#[derive(Clone, Copy, Default)]
struct Shows {
    /// Since when it does so without a gap.
    since: Timestamp,
    until: Timestamp,
}

/// What the media of a call say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// They passed, and ceased after this frame.
    Since(FrameId),
    /// They pass; or they may have ceased, which is not known before then.
    NotBefore(Timestamp),
    /// They go other ways than the mirror's.
    Elsewhere,
}

/// A packet of a call that was held to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Return {
    pub call: CallRef,
    pub ends: [MediaAddress; 2],
}

/// The addresses of all calls.
#[derive(Default)]
pub(super) struct MediaPlaces {
    places: HashMap<MediaAddress, Place>,
    sweep_at: usize,
    swept_at: Timestamp,
    /// How many addresses there may be.
    most: usize,
    /// Silence for so long is the end; 0: it says nothing, and no address is kept.
    limit_s: u32,
    overflowed: bool,
    /// By the number of the input.
    inputs: Vec<Shows>,
    /// Since when the capture shows all that passes; `None` while it is blind.
    sees_since: Option<Timestamp>,
}

impl MediaPlaces {
    pub(super) fn new(most: usize, limit_s: u32) -> Self {
        Self { most, limit_s, sweep_at: FEW, sees_since: Some(Timestamp::EPOCH), ..Self::default() }
    }

    /// Silence says something.
    pub(super) const fn are_wanted(&self) -> bool {
        self.limit_s > 0
    }

    /// When what was agreed on then may prove to be silent; `None` if nothing does.
    pub(super) fn first_due(&self, agreed_at: Timestamp) -> Option<Timestamp> {
        self.are_wanted().then(|| agreed_at.after_s(self.limit_s))
    }

    /// A frame passed, of whatever kind: its input shows something. Between two captures, or where a cable was pulled,
    /// everything is silent.
    #[inline]
    pub(super) fn see_frame(&mut self, at: Timestamp, frame: FrameId) {
        match self.inputs.get_mut(usize::from(frame.source())) {
            Some(shows) => {
                if shows.until.after_s(self.limit_s) < at {
                    shows.since = at;
                }
                shows.until = at;
            }
            None => {
                let shown = Shows { since: at, until: at };
                self.inputs.resize(usize::from(frame.source()) + 1, shown);
            }
        }
    }

    /// The capture shows what passes since then; at no time, while it is blind.
    pub(super) const fn sees_since(&mut self, since: Option<Timestamp>) {
        self.sees_since = since;
    }

    /// There was an address for which there was no room.
    pub(super) const fn take_overflow(&mut self) -> bool {
        std::mem::replace(&mut self.overflowed, false)
    }

    fn kept_s(&self) -> u32 {
        KEPT_S.max(self.limit_s.saturating_mul(2))
    }

    /// A call wants media at this address: no other one that did so before comes back there.
    pub(super) fn claim(&mut self, address: MediaAddress) {
        if let Some(place) = self.places.get_mut(&address) {
            place.awaited_by = None;
        }
    }

    /// A call is to take media at this address.
    pub(super) fn agree(&mut self, address: MediaAddress, now: Timestamp) {
        if let Some(place) = self.places.get_mut(&address) {
            (place.agreed_at, place.awaited_by) = (now, None);
            return;
        }
        let is_full = self.places.len() >= self.sweep_at.min(self.most);
        if is_full && (self.sweep_at <= self.most || self.swept_at.after_s(SWEPT_S) <= now) {
            let kept_s = self.kept_s();
            self.places.retain(|_, place| place.touched_at().after_s(kept_s) > now);
            (self.sweep_at, self.swept_at) = (FEW.max(2 * self.places.len()), now);
        }
        if self.places.len() >= self.most {
            self.overflowed = true;
            return;
        }
        self.places.insert(address, Place { agreed_at: now, last: None, awaited_by: None });
    }

    /// A datagram that is no SIP. `is_media`: it looks like RTP or RTCP.
    #[inline]
    pub(super) fn hear(
        &mut self,
        at: Timestamp,
        frame: FrameId,
        [source, destination]: [SocketAddr; 2],
        is_media: bool,
    ) -> Option<Return> {
        if self.places.is_empty() {
            return None;
        }
        let [source, destination] = [source, destination].map(MediaAddress::new);
        for (here, other) in [(destination, source), (source, destination)] {
            let Some(place) = self.places.get_mut(&here) else { continue };
            if place.awaited_by.is_some() {
                return self.hear_awaited(at, [here, other]);
            }
            place.note(at, frame, other, is_media);
            return None;
        }
        None
    }

    fn hear_awaited(&mut self, at: Timestamp, [here, other]: [MediaAddress; 2]) -> Option<Return> {
        let kept_s = self.kept_s();
        let place = self.places.get_mut(&here)?;
        let call = place.awaited_by?;
        if place.touched_at().after_s(kept_s) <= at {
            place.awaited_by = None;
            return None;
        }
        let last = place.last;
        // Between other ends it is of another call, whose beginning was not seen.
        let is_its_own = match self.places.get(&other) {
            Some(end) => end.awaited_by == Some(call),
            None => last.is_some_and(|last| last.other == other),
        };
        is_its_own.then_some(Return { call, ends: [here, other] })
    }

    /// The last packet at an address that is not of another call.
    fn last(&self, path: &MediaPath, address: MediaAddress) -> Option<Packet> {
        let last = self.places.get(&address)?.last?;
        (path.contains(last.other) || !self.places.contains_key(&last.other)).then_some(last)
    }

    /// Whether media that passed this way have ceased: nothing has passed for long enough while the capture saw.
    pub(super) fn silence(&self, path: &MediaPath, now: Timestamp) -> Silence {
        let limit_s = self.limit_s;
        let later = Silence::NotBefore(now.after_s(limit_s));
        if !path.addresses.iter().any(|address| self.places.contains_key(address)) {
            return Silence::Elsewhere;
        }
        let lasts = || path.addresses.iter().filter_map(|&address| self.last(path, address));
        let is_flow = |flowed_at: Timestamp| flowed_at >= path.began_at.after(FLOWED);
        let Some(last) = lasts().max_by_key(|last| last.at) else { return later };
        if !lasts().filter_map(|last| last.flowed_at).any(is_flow) {
            return later;
        }
        let Some(sees_since) = self.sees_since else { return later };
        let shows = self.inputs.get(usize::from(last.frame.source())).copied().unwrap_or_default();
        let end = last.at.max(path.agreed_at).max(sees_since).max(shows.since).after_s(limit_s);
        if end > now {
            return Silence::NotBefore(end);
        }
        if shows.until.after_s(SHOWN_UNTIL_S) < end {
            return Silence::NotBefore(now.after_s(SHOWN_UNTIL_S));
        }
        Silence::Since(last.frame)
    }

    /// Packets of them pass.
    pub(super) fn pass(&self, path: &MediaPath, now: Timestamp) -> bool {
        let mut lasts = path.addresses.iter().filter_map(|&address| self.last(path, address));
        lasts.any(|last| last.at.after(PASSING) >= now)
    }

    /// A call is held to be over because its media ceased: it is to be told when they come back.
    pub(super) fn await_return(&mut self, path: &MediaPath, call: CallRef) {
        self.await_with(path, Some(call));
    }

    /// It goes on.
    pub(super) fn await_no_more(&mut self, path: &MediaPath) {
        self.await_with(path, None);
    }

    fn await_with(&mut self, path: &MediaPath, call: Option<CallRef>) {
        for address in &path.addresses {
            if let Some(place) = self.places.get_mut(address) {
                place.awaited_by = call;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_S: u32 = 60;
    const CALL: CallRef = CallRef { id: 7, born: 9 };

    fn at(seconds: u32) -> Timestamp {
        Timestamp::from_secs(1_000).after_s(seconds)
    }

    fn address(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    fn frame(number: u32) -> FrameId {
        FrameId::new(0, u64::from(number))
    }

    const ENDS: [([u8; 4], u16); 2] = [([192, 0, 2, 11], 4_000), ([192, 0, 2, 12], 5_000)];

    fn ends() -> [SocketAddr; 2] {
        ENDS.map(SocketAddr::from)
    }

    fn agree(places: &mut MediaPlaces, path: &mut MediaPath, second: u32, ends: &[SocketAddr]) {
        let addresses = ends.iter().copied().map(MediaAddress::new);
        addresses.clone().for_each(|address| places.agree(address, at(second)));
        path.replace(addresses, at(second));
        path.agree(at(second));
    }

    /// A call whose sides take their media at 11:4000 and 12:5000.
    fn agreed() -> (MediaPlaces, MediaPath) {
        let (mut places, mut path) = (MediaPlaces::new(10, LIMIT_S), MediaPath::new(at(0)));
        agree(&mut places, &mut path, 0, &ends());
        (places, path)
    }

    fn hear(places: &mut MediaPlaces, second: u32, ends: [SocketAddr; 2]) -> Option<CallRef> {
        places.see_frame(at(second), frame(second));
        places.hear(at(second), frame(second), ends, true).map(|back| back.call)
    }

    /// Something passes each second, and between these ends for some time.
    fn pass(places: &mut MediaPlaces, ends: [SocketAddr; 2], from: u32, to: u32) {
        for second in from..=to {
            assert_eq!(hear(places, second, ends), None, "{second}");
        }
    }

    fn see_until(places: &mut MediaPlaces, from: u32, to: u32) {
        (from..=to).for_each(|second| places.see_frame(at(second), frame(second)));
    }

    #[test]
    fn one_end_as_it_was_agreed_on_is_enough() {
        let (nat, [one, other]) = (address(99, 61_000), ends());
        let rtcp = SocketAddr::new(other.ip(), other.port() + 1);
        for ends in [[one, other], [nat, other], [other, nat], [nat, rtcp]] {
            let (mut places, path) = agreed();
            pass(&mut places, ends, 1, 10);
            see_until(&mut places, 11, 70);
            assert_eq!(places.silence(&path, at(60)), Silence::NotBefore(at(70)), "{ends:?}");
            assert_eq!(places.silence(&path, at(70)), Silence::Since(frame(10)), "{ends:?}");
        }
    }

    #[test]
    fn what_has_not_passed_here_for_a_while_is_not_missed() {
        let silence = |from: u32, to: u32, is_media: bool| {
            let (mut places, path) = agreed();
            for second in from..=to {
                places.hear(at(second), frame(second), ends(), is_media);
            }
            see_until(&mut places, 1, 200);
            places.silence(&path, at(200))
        };
        let later = Silence::NotBefore(at(260));
        assert_eq!(silence(1, 0, true), later, "nothing");
        assert_eq!(silence(0, 4, true), later, "it was on its way when they agreed");
        assert_eq!(silence(50, 54, true), later, "a flood of the switch");
        assert_eq!(silence(1, 30, false), later, "a search for a way");
        assert_eq!(silence(50, 55, true), Silence::Since(frame(55)));
        let elsewhere = MediaPath::new(at(0));
        assert_eq!(agreed().0.silence(&elsewhere, at(200)), Silence::Elsewhere);
    }

    #[test]
    fn a_way_that_was_left_and_taken_again_is_another_one() {
        let (mut places, mut path) = agreed();
        pass(&mut places, ends(), 1, 10);
        let [phone, _] = ends();
        agree(&mut places, &mut path, 10, &[phone, address(13, 6_000)]);
        see_until(&mut places, 11, 100);
        assert_eq!(places.silence(&path, at(100)), Silence::NotBefore(at(160)), "directly, elsewhere");
        agree(&mut places, &mut path, 100, &ends());
        pass(&mut places, ends(), 101, 120);
        agree(&mut places, &mut path, 120, &[phone, address(13, 6_000)]);
        see_until(&mut places, 121, 200);
        assert_eq!(places.silence(&path, at(200)), Silence::NotBefore(at(260)), "and again");
        // What is agreed on once more is no other way.
        agree(&mut places, &mut path, 200, &ends());
        pass(&mut places, ends(), 201, 220);
        agree(&mut places, &mut path, 230, &ends());
        see_until(&mut places, 221, 290);
        assert_eq!(places.silence(&path, at(289)), Silence::NotBefore(at(290)));
        assert_eq!(places.silence(&path, at(290)), Silence::Since(frame(220)));
    }

    #[test]
    fn another_call_at_the_same_port_says_nothing_of_this_one() {
        let (mut places, path) = agreed();
        let [phone, _] = ends();
        let (mut second, next) = (MediaPath::new(at(20)), address(14, 7_000));
        pass(&mut places, ends(), 1, 10);
        pass(&mut places, [ends()[1], phone], 1, 10);
        agree(&mut places, &mut second, 20, &[phone, next]);
        pass(&mut places, [next, phone], 21, 90);
        assert_eq!(places.silence(&path, at(90)), Silence::Since(frame(10)));
        assert!(!places.pass(&path, at(90)) && places.pass(&second, at(90)));
        assert_eq!(places.silence(&second, at(90)), Silence::NotBefore(at(150)));
    }

    #[test]
    fn a_capture_that_shows_nothing_is_not_silent() {
        let heard = || {
            let (mut places, path) = agreed();
            pass(&mut places, ends(), 1, 10);
            (places, path)
        };
        let (mut places, path) = heard();
        places.sees_since(None);
        see_until(&mut places, 11, 70);
        assert_eq!(places.silence(&path, at(70)), Silence::NotBefore(at(130)), "blind");
        places.sees_since(Some(at(75)));
        see_until(&mut places, 71, 135);
        assert_eq!(places.silence(&path, at(130)), Silence::NotBefore(at(135)));
        assert_eq!(places.silence(&path, at(135)), Silence::Since(frame(10)));
        let (mut places, path) = heard();
        see_until(&mut places, 11, 64);
        assert_eq!(places.silence(&path, at(70)), Silence::NotBefore(at(75)), "not all of it was seen");
        places.see_frame(at(65), frame(65));
        assert_eq!(places.silence(&path, at(70)), Silence::Since(frame(10)));
        let (mut places, path) = heard();
        places.see_frame(at(200), frame(200));
        assert_eq!(places.silence(&path, at(250)), Silence::NotBefore(at(260)), "a gap");
        let (mut places, path) = heard();
        (11..=70).for_each(|second| places.see_frame(at(second), FrameId::new(1, u64::from(second))));
        assert_eq!(places.silence(&path, at(70)), Silence::NotBefore(at(75)), "of another input");
    }

    #[test]
    fn a_call_comes_back_between_its_own_ends_only() {
        let [one, other] = ends();
        let (mut places, path) = agreed();
        pass(&mut places, ends(), 1, 10);
        places.await_return(&path, CALL);
        let mut third = MediaPath::new(at(75));
        assert_eq!(hear(&mut places, 80, [address(13, 4_000), other]), None, "another's");
        agree(&mut places, &mut third, 75, &[address(13, 4_000)]);
        assert_eq!(hear(&mut places, 80, [address(13, 4_000), other]), None, "another call's");
        assert_eq!(hear(&mut places, 81, [other, one]), Some(CALL));
        places.await_no_more(&path);
        assert_eq!(hear(&mut places, 82, [other, one]), None);
        places.await_return(&path, CALL);
        // A phone that takes the media of all its calls at one port calls again.
        places.claim(MediaAddress::new(one));
        assert_eq!(hear(&mut places, 91, ends()), None);
        let (mut places, path) = agreed();
        pass(&mut places, ends(), 1, 10);
        places.await_return(&path, CALL);
        assert_eq!(hear(&mut places, 10 + KEPT_S, ends()), None, "after ten minutes it may be any");
    }

    #[test]
    fn addresses_are_bounded_and_the_forgotten_ones_swept_now_and_then() {
        let mut places = MediaPlaces::new(10, LIMIT_S);
        for port in 0..12 {
            places.agree(MediaAddress::new(address(11, 4_000 + 2 * port)), at(0));
        }
        assert!((places.places.len(), places.take_overflow()) == (10, true) && !places.take_overflow());
        hear(&mut places, 500, [address(12, 5_000), address(11, 4_000)]);
        places.agree(MediaAddress::new(address(11, 6_000)), at(700));
        assert_eq!(
            (places.places.len(), places.take_overflow()),
            (2, false),
            "the one in use, and the new one"
        );
        (0..9).for_each(|port| places.agree(MediaAddress::new(address(11, 7_000 + 2 * port)), at(700)));
        assert_eq!((places.places.len(), places.take_overflow()), (10, true));
        assert_eq!(places.swept_at, at(700), "once, however many come");
    }
}
