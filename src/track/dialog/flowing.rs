//! The media of calls: when a packet of them passed last, and whether they have ceased.
//! In: addresses from session descriptions, and those of datagrams that are no SIP. Out: `Silence`, and the call whose media
//! came back. Knows nothing of messages, codecs, what is said.
//! RFC 3264 section 5 (where media go), RFC 3550 section 11 (RTP and its RTCP).

use std::net::SocketAddr;
use std::time::Duration;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::super::heard::Heard;
use super::super::{EndReason, Rule};
use super::Context;
use super::call::{Call, Dialog, Ending, Progress};
use super::legs::CallRef;
use super::media::Description;
use crate::base::{AddressMark, FrameId, Timestamp};
use crate::sip::Sdp;

/// What was on its way when both sides agreed on something else has arrived within this time.
const SETTLES: Duration = Duration::from_secs(2);
/// Media pass of which there was a packet within this time: of those on an interface, the tap is shown one in 5 s.
const PASSING: Duration = Duration::from_secs(10);
/// One packet in so long is enough, whatever copies of it the mirror shows.
const NOTED: Duration = Duration::from_secs(1);
/// An address of which nothing was seen for so long is forgotten, where silence counts within half of that.
const KEPT_S: u32 = 600;
/// Addresses of one dialog: those of two streams on two hops.
const ADDRESSES: usize = 8;
/// So many addresses are never swept.
const FEW: usize = 1_024;

/// Where somebody takes the media of a call. RTP and the RTCP of it, one port higher, are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MediaAddress(AddressMark);

impl MediaAddress {
    pub(super) fn new(mut address: SocketAddr) -> Self {
        address.set_port(address.port() & !1);
        Self(AddressMark::from(address))
    }
}

/// The way of a dialog's media.
pub(super) struct MediaPath {
    addresses: SmallVec<[MediaAddress; 4]>,
    /// Since when it is this one.
    pub began_at: Timestamp,
    /// When both sides last agreed to send.
    pub agreed_at: Timestamp,
}

impl MediaPath {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { addresses: SmallVec::new(), began_at: now, agreed_at: now }
    }

    /// Both sides agree to send, or show that they go on; copies of what they say come soon after it.
    pub(super) fn agree(&mut self, now: Timestamp) {
        if self.agreed_at.after(NOTED) <= now {
            self.agreed_at = now;
        }
    }
}

/// The last packet to or from an address, within [`NOTED`].
#[derive(Clone, Copy)]
struct Packet {
    at: Timestamp,
    frame: FrameId,
    /// Its other end.
    other: MediaAddress,
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

/// The addresses of all calls.
#[derive(Default)]
pub(super) struct MediaPlaces {
    places: HashMap<MediaAddress, Place>,
    sweep_at: usize,
    /// How many addresses there may be.
    most: usize,
    /// Silence for so long is the end; 0: it says nothing, and no address is kept.
    limit_s: u32,
    overflowed: bool,
    /// The newest frame, of whatever kind.
    frame_at: Timestamp,
    /// Since when the capture shows what passes; `None` while it is blind.
    sees_since: Option<Timestamp>,
}

impl MediaPlaces {
    pub(super) fn new(most: usize, limit_s: u32) -> Self {
        Self { most, limit_s, sweep_at: FEW, sees_since: Some(Timestamp::EPOCH), ..Self::default() }
    }

    /// Silence says something.
    const fn are_wanted(&self) -> bool {
        self.limit_s > 0
    }

    /// When what was agreed on then may prove to be silent; `None` if nothing does.
    pub(super) fn first_due(&self, agreed_at: Timestamp) -> Option<Timestamp> {
        self.are_wanted().then(|| agreed_at.after_s(self.limit_s))
    }

    /// A frame passed: the capture shows something.
    #[inline]
    pub(super) fn see_frame(&mut self, at: Timestamp) {
        // Between two captures, or where a cable was pulled, everything is silent.
        if self.limit_s > 0 && self.frame_at.after_s(self.limit_s) < at {
            self.sees_since = self.sees_since.map(|_| at);
        }
        self.frame_at = at;
    }

    /// The capture shows what passes since then; at no time, while it is blind.
    pub(super) const fn sees_since(&mut self, since: Option<Timestamp>) {
        self.sees_since = since;
    }

    /// There was an address for which there was no room.
    pub(super) const fn take_overflow(&mut self) -> bool {
        std::mem::replace(&mut self.overflowed, false)
    }

    /// A call is to take media at this address. No other one that did so before comes back there.
    pub(super) fn agree(&mut self, address: MediaAddress, now: Timestamp) {
        if let Some(place) = self.places.get_mut(&address) {
            (place.agreed_at, place.awaited_by) = (now, None);
            return;
        }
        if self.places.len() >= self.sweep_at.min(self.most) {
            let kept_s = KEPT_S.max(self.limit_s.saturating_mul(2));
            self.places.retain(|_, place| place.touched_at().after_s(kept_s) > now);
            self.sweep_at = FEW.max(2 * self.places.len());
        }
        if self.places.len() >= self.most {
            self.overflowed = true;
            return;
        }
        self.places.insert(address, Place { agreed_at: now, last: None, awaited_by: None });
    }

    /// A datagram that is no SIP. Gives the call that was held to be over and of which it is.
    pub(super) fn hear(
        &mut self,
        at: Timestamp,
        frame: FrameId,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Option<CallRef> {
        if self.places.is_empty() {
            return None;
        }
        let [source, destination] = [source, destination].map(MediaAddress::new);
        for (here, other) in [(destination, source), (source, destination)] {
            let Some(place) = self.places.get_mut(&here) else { continue };
            let packet = Packet { at, frame, other };
            let Some(call) = place.awaited_by else {
                if place.last.is_none_or(|last| last.at.after(NOTED) <= at) {
                    place.last = Some(packet);
                }
                return None;
            };
            // Between other ends it is of another call, whose beginning was not seen.
            let is_its_own = place.last.is_some_and(|last| last.other == other)
                || self.places.get(&other).is_some_and(|place| place.awaited_by == Some(call));
            return is_its_own.then(|| self.come_back(here, packet, call));
        }
        None
    }

    fn come_back(&mut self, here: MediaAddress, packet: Packet, call: CallRef) -> CallRef {
        if let Some(place) = self.places.get_mut(&here) {
            (place.last, place.awaited_by) = (Some(packet), None);
        }
        call
    }

    /// Whether media that passed this way have ceased: nothing has passed for long enough while the capture saw.
    pub(super) fn silence(&self, path: &MediaPath, now: Timestamp) -> Silence {
        let limit_s = self.limit_s;
        let mut known = path.addresses.iter().filter_map(|address| self.places.get(address)).peekable();
        if known.peek().is_none() {
            return Silence::Elsewhere;
        }
        let last = known.filter_map(|place| place.last).max_by_key(|last| last.at);
        let Some(last) = last.filter(|last| last.at >= path.began_at.after(SETTLES)) else {
            return Silence::NotBefore(now.after_s(limit_s));
        };
        let Some(sees_since) = self.sees_since else { return Silence::NotBefore(now.after_s(limit_s)) };
        let since = last.at.max(path.agreed_at).max(sees_since);
        if since.after_s(limit_s) > now {
            return Silence::NotBefore(since.after_s(limit_s));
        }
        // Nor may all else have been silent since.
        if since.after_s(limit_s / 2) > self.frame_at {
            return Silence::NotBefore(now.after_s(limit_s));
        }
        Silence::Since(last.frame)
    }

    /// Packets of them pass.
    fn pass(&self, path: &MediaPath, now: Timestamp) -> bool {
        let last = |address| self.places.get(address).and_then(|place| place.last);
        path.addresses.iter().filter_map(last).any(|last| last.at.after(PASSING) >= now)
    }

    /// A call is held to be over because its media ceased: it is to be told when they come back.
    pub(super) fn await_return(&mut self, path: &MediaPath, call: CallRef) {
        for address in &path.addresses {
            if let Some(place) = self.places.get_mut(address) {
                place.awaited_by = Some(call);
            }
        }
    }
}

impl Dialog {
    /// An offer or an answer of it: what both sides agreed on counts from now. Addresses of before count on, since one of several
    /// hops may show them still.
    pub(super) fn agree(&mut self, sdp: &Sdp, frame: FrameId, context: &mut Context<'_>) {
        if !context.places.are_wanted() {
            return;
        }
        for line in sdp.media.iter().filter(|line| line.port != 0 && !line.connection_is_zero) {
            let Some(address) = line.address.map(|ip| MediaAddress::new(SocketAddr::new(ip, line.port)))
            else {
                continue;
            };
            context.places.agree(address, context.now);
            let MediaPath { addresses, began_at, .. } = &mut self.media;
            if !addresses.contains(&address) {
                if addresses.len() >= ADDRESSES {
                    addresses.remove(0);
                }
                addresses.push(address);
                *began_at = context.now;
            }
        }
        self.media.agree(context.now);
        self.silent_at = context.places.first_due(self.media.agreed_at).map(|due| (due, frame));
    }

    /// It shows life. If its media do not pass meanwhile, though nobody holds it, they go another way, or nobody speaks: that
    /// they do not says nothing then.
    pub(super) fn goes_on_without_media(&mut self, context: &Context<'_>) {
        let had_time = self.media.agreed_at.after(PASSING) < context.now;
        if had_time && !self.held && !context.places.pass(&self.media, context.now) {
            self.media.began_at = context.now;
        }
        self.media.agree(context.now);
    }

    /// The same of a message that is another sight of one that was agreed on already, as a server passed it on with an address
    /// of its own, perhaps.
    pub(super) fn agree_on_hop(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let Some(body) = heard.message.sdp() else { return };
        let described = heard.texts.mark(body);
        if std::mem::replace(&mut self.described, described) != described
            && let Some(sdp) = Description::of(heard).sdp()
        {
            self.agree(&sdp, heard.frame, context);
        }
    }
}

impl Call {
    /// The media of a dialog pass: that is a sign of life.
    pub(super) fn has_media(&self, at: usize, context: &Context<'_>) -> bool {
        self.dialogs.get(at).is_some_and(|dialog| context.places.pass(&dialog.media, context.now))
    }

    /// Whether the media of a dialog pass still.
    pub(super) fn listen_for_media(&mut self, at: usize, armed_by: FrameId, context: &mut Context<'_>) {
        let Some(dialog) = self.dialogs.get_mut(at) else { return };
        let now = context.now;
        match context.places.silence(&dialog.media, now) {
            Silence::Elsewhere => dialog.silent_at = None,
            Silence::NotBefore(due) => dialog.silent_at = Some((due, armed_by)),
            // On hold nobody need send anything.
            Silence::Since(_) if dialog.held => {
                dialog.silent_at = context.places.first_due(now).map(|due| (due, armed_by));
            }
            Silence::Since(last) => {
                context.places.await_return(&dialog.media, context.this);
                self.end_dialog(at, Ending::new(EndReason::MediaSilent, Rule::MediaSilent, last), context);
            }
        }
    }

    /// Media of a call passes again that was held to be over because it did not.
    pub(super) fn media_came_back(&mut self, context: &mut Context<'_>) {
        let is_silent = |dialog: &Dialog| dialog.progress == Progress::Ended(EndReason::MediaSilent);
        if let Some(at) = self.dialogs.iter().rposition(is_silent) {
            self.revive(at, Rule::MediaHeard, context.frame, context);
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

    fn frame(number: u64) -> FrameId {
        FrameId::new(0, number)
    }

    /// A call whose sides take their media at 11:4000 and 12:5000.
    fn agreed() -> (MediaPlaces, MediaPath) {
        let mut places = MediaPlaces::new(10, LIMIT_S);
        let mut path = MediaPath::new(at(0));
        path.addresses.extend([address(11, 4_000), address(12, 5_000)].map(MediaAddress::new));
        path.addresses.iter().for_each(|&address| places.agree(address, at(0)));
        (places, path)
    }

    fn hear(places: &mut MediaPlaces, second: u32, ends: [SocketAddr; 2]) -> Option<CallRef> {
        places.see_frame(at(second));
        places.hear(at(second), frame(u64::from(second)), ends[0], ends[1])
    }

    #[test]
    fn one_end_as_it_was_agreed_on_is_enough() {
        let nat = address(99, 61_000);
        for ends in [[nat, address(12, 5_000)], [address(12, 5_000), nat], [nat, address(12, 5_001)]] {
            let (mut places, path) = agreed();
            assert_eq!(hear(&mut places, 10, ends), None);
            places.see_frame(at(50));
            assert_eq!(places.silence(&path, at(60)), Silence::NotBefore(at(70)), "{ends:?}");
            assert_eq!(places.silence(&path, at(70)), Silence::Since(frame(10)), "{ends:?}");
        }
    }

    #[test]
    fn nothing_is_silent_that_was_not_heard_this_way() {
        let (mut places, mut path) = agreed();
        places.see_frame(at(50));
        assert_eq!(places.silence(&path, at(100)), Silence::NotBefore(at(160)));
        hear(&mut places, 61, [address(11, 4_000), address(12, 5_000)]);
        places.see_frame(at(120));
        path.began_at = at(60);
        assert_eq!(places.silence(&path, at(121)), Silence::NotBefore(at(181)), "on its way before");
        path.began_at = at(59);
        assert_eq!(places.silence(&path, at(121)), Silence::Since(frame(61)));
        path.agreed_at = at(70);
        assert_eq!(places.silence(&path, at(121)), Silence::NotBefore(at(130)), "sent from then on");
        assert_eq!(places.silence(&MediaPath::new(at(0)), at(121)), Silence::Elsewhere);
    }

    #[test]
    fn a_capture_that_shows_nothing_is_not_silent() {
        let (mut places, path) = agreed();
        hear(&mut places, 10, [address(11, 4_000), address(12, 5_000)]);
        places.sees_since(None);
        places.see_frame(at(69));
        assert_eq!(places.silence(&path, at(70)), Silence::NotBefore(at(130)), "blind");
        places.sees_since(Some(at(75)));
        places.see_frame(at(110));
        assert_eq!(places.silence(&path, at(130)), Silence::NotBefore(at(135)));
        assert_eq!(places.silence(&path, at(135)), Silence::Since(frame(10)));
        let (mut places, path) = agreed();
        hear(&mut places, 10, [address(11, 4_000), address(12, 5_000)]);
        assert_eq!(places.silence(&path, at(70)), Silence::NotBefore(at(130)), "no frame");
        places.see_frame(at(200));
        assert_eq!(places.silence(&path, at(250)), Silence::NotBefore(at(260)), "a gap");
    }

    #[test]
    fn a_call_comes_back_between_its_own_ends_only() {
        let ends = [address(11, 4_000), address(12, 5_000)];
        let (mut places, path) = agreed();
        hear(&mut places, 10, ends);
        places.await_return(&path, CALL);
        assert_eq!(hear(&mut places, 80, [address(13, 4_000), address(12, 5_000)]), None, "another's");
        assert_eq!(hear(&mut places, 81, [address(12, 5_001), address(11, 4_001)]), Some(CALL));
        places.await_return(&path, CALL);
        // Both ends were agreed on anew, by a call whose own end was seen.
        path.addresses.iter().for_each(|&address| places.agree(address, at(90)));
        assert_eq!(hear(&mut places, 91, ends), None);
    }

    #[test]
    fn addresses_are_bounded_and_the_forgotten_ones_swept() {
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
    }
}
