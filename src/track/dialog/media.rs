//! Offers and answers: what a session carries, and whether it is on hold.
//! In: session descriptions. Out: `Media`, and held or not. Knows nothing of dialogs.
//! RFC 3264 section 8.4 (hold), RFC 8866.

use std::sync::Arc;

use super::super::Media;
use super::super::heard::Heard;
use crate::sip::{Direction, Sdp, SdpMedia};

/// What a message says of the session.
pub(super) enum Description {
    /// It has one.
    Present(Box<Sdp>),
    /// It has none.
    Absent,
    /// It may have had one, but the bytes were not seen, or cannot be read.
    Unseen,
}

impl Description {
    pub(super) fn of(heard: &Heard<'_, '_>) -> Self {
        let message = heard.message;
        if let Some(sdp) = message.sdp().filter(|_| heard.whole) {
            return Sdp::parse(sdp).map_or(Self::Unseen, |sdp| Self::Present(Box::new(sdp)));
        }
        let announced = matches!(message.content_length(), Some(Ok(1..)));
        if !heard.whole && (announced || !message.body().is_empty() || !message.headers_are_whole()) {
            return Self::Unseen;
        }
        Self::Absent
    }

    pub(super) fn sdp(self) -> Option<Box<Sdp>> {
        match self {
            Self::Present(sdp) => Some(sdp),
            Self::Absent | Self::Unseen => None,
        }
    }
}

/// Different media that are remembered, so that calls with the same share them.
const REMEMBERED: usize = 32;

/// What was negotiated lately: nearly all calls have the media of another one.
#[derive(Default)]
pub(super) struct MediaTable {
    known: Vec<Arc<[Media]>>,
    next: usize,
}

impl MediaTable {
    /// The media of an answer, refused streams left out.
    pub(super) fn of(&mut self, sdp: &Sdp) -> Arc<[Media]> {
        let lines = || sdp.media.iter().filter(|line| line.port != 0);
        let is = |known: &&Arc<[Media]>| {
            let mut known = known.iter();
            lines().all(|line| known.next().is_some_and(|media| is_media(media, line)))
                && known.next().is_none()
        };
        if let Some(known) = self.known.iter().find(is) {
            return Arc::clone(known);
        }
        let media: Arc<[Media]> = lines()
            .map(|line| Media {
                kind: Arc::from(&*line.kind),
                codec: line.codec.as_deref().map(Arc::from),
                clock_rate_hz: line.clock_rate_hz,
                bit_rate: line.bit_rate,
            })
            .collect();
        // The oldest gives its place.
        match self.known.get_mut(self.next) {
            Some(oldest) => *oldest = Arc::clone(&media),
            None => self.known.push(Arc::clone(&media)),
        }
        self.next = (self.next + 1) % REMEMBERED;
        media
    }
}

fn is_media(media: &Media, line: &SdpMedia) -> bool {
    *media.kind == *line.kind
        && media.codec.as_deref() == line.codec.as_deref()
        && media.clock_rate_hz == line.clock_rate_hz
        && media.bit_rate == line.bit_rate
}

/// Whether an offer and its answer put all active audio on hold; `None` when there is no active audio.
pub(super) fn held(offer: &Sdp, answer: &Sdp) -> Option<bool> {
    let mut active = offer
        .media
        .iter()
        .zip(&answer.media)
        .filter(|(offered, answered)| {
            offered.kind.eq_ignore_ascii_case("audio") && offered.port != 0 && answered.port != 0
        })
        .peekable();
    active.peek()?;
    Some(active.all(|(offered, answered)| line_held(offered, answered)))
}

/// Whether an offer alone asks for a hold of all active audio; `None` when there is none.
pub(super) fn offers_hold(offer: &Sdp) -> Option<bool> {
    all_audio(offer, stops)
}

/// Whether an answer alone shows that all active audio was put on hold; `None` when there is none.
pub(super) fn answers_hold(answer: &Sdp) -> Option<bool> {
    all_audio(answer, |line| stops(line) || line.direction == Direction::RecvOnly)
}

fn all_audio(description: &Sdp, holds: impl Fn(&SdpMedia) -> bool) -> Option<bool> {
    let is_active = |line: &&SdpMedia| line.kind.eq_ignore_ascii_case("audio") && line.port != 0;
    let mut active = description.media.iter().filter(is_active).peekable();
    active.peek()?;
    Some(active.all(holds))
}

/// Its sender takes nothing from the other side.
fn stops(line: &SdpMedia) -> bool {
    line.connection_is_zero || matches!(line.direction, Direction::SendOnly | Direction::Inactive)
}

fn line_held(offered: &SdpMedia, answered: &SdpMedia) -> bool {
    // Who offers to only receive gets "sendonly" back: a loudspeaker, not a hold.
    let only_listens = offered.direction == Direction::RecvOnly && answered.direction == Direction::SendOnly;
    (stops(offered) || stops(answered)) && !only_listens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(attributes: &str) -> Sdp {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n{attributes}");
        Sdp::parse(text.as_bytes()).expect("a description")
    }

    #[test]
    fn hold_is_judged_by_both_descriptions() {
        let cases = [
            ("", "", false),
            ("a=sendonly\r\n", "a=recvonly\r\n", true),
            ("a=inactive\r\n", "a=inactive\r\n", true),
            ("c=IN IP4 0.0.0.0\r\n", "", true),
            ("", "a=sendonly\r\n", true),
            ("", "a=inactive\r\n", true),
            ("a=recvonly\r\n", "a=sendonly\r\n", false),
            ("a=recvonly\r\n", "a=inactive\r\n", true),
        ];
        for (offer, answer, expected) in cases {
            assert_eq!(held(&audio(offer), &audio(answer)), Some(expected), "{offer:?} {answer:?}");
        }
    }

    #[test]
    fn refused_audio_says_nothing() {
        let refused = Sdp::parse(b"v=0\r\nm=audio 0 RTP/AVP 0\r\n").expect("a description");
        assert_eq!(held(&audio(""), &refused), None);
    }
}
