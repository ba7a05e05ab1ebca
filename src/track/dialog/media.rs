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

/// The media of an answer, refused streams left out.
pub(super) fn media_of(sdp: &Sdp) -> Arc<[Media]> {
    sdp.media
        .iter()
        .filter(|line| line.port != 0)
        .map(|line| Media {
            kind: Arc::from(line.kind.as_str()),
            codec: line.codec.as_deref().map(Arc::from),
            clock_rate_hz: line.clock_rate_hz,
            bit_rate: line.bit_rate,
        })
        .collect()
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

fn line_held(offered: &SdpMedia, answered: &SdpMedia) -> bool {
    let stops = |line: &SdpMedia| {
        line.connection_is_zero || matches!(line.direction, Direction::SendOnly | Direction::Inactive)
    };
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
