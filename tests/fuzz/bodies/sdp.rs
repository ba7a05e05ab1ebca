//! Session descriptions: read or refused, the same with either line end, and within bounds.

use offhook::sip::{Direction, Sdp};

use super::input::Reached;

/// Seen by the corpus.
pub const MUST_REACH: &[&str] =
    &["none", "no media", "media", "send only", "receive only", "inactive", "zero", "codec", "bit rate"];

/// The text of a description.
pub fn target(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let read = Sdp::parse(data);
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    assert_eq!(Sdp::parse(&lines.join(&b"\r\n"[..])), read, "with CRLF");
    let Some(sdp) = read else {
        reached.note("none");
        return reached;
    };
    reached.note(if sdp.media.is_empty() { "no media" } else { "media" });
    assert!(sdp.media.len() <= 16);
    for media in &sdp.media {
        // 32 bytes of the wire, each of which may become a replacement character.
        assert!(media.kind.len() <= 96 && media.codec.as_ref().is_none_or(|codec| codec.len() <= 96));
        match media.direction {
            Direction::SendRecv => {}
            Direction::SendOnly => reached.note("send only"),
            Direction::RecvOnly => reached.note("receive only"),
            Direction::Inactive => reached.note("inactive"),
        }
        reached.note_if(media.connection_is_zero, "zero");
        reached.note_if(media.codec.is_some(), "codec");
        reached.note_if(media.bit_rate.is_some(), "bit rate");
    }
    reached
}
