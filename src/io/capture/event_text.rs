//! What happened to a capture, as a comment beside the counters in a recording.
//! In: an event, or a comment. Out: the other. Knows nothing of pcapng.
//! Such as `offhook: blind, why=down, since=1795327681123456999` (nanoseconds): to be read by eyes, too.

use std::sync::Arc;

use crate::base::{Blindness, CaptureChange, CaptureEvent, FrameCounts, Timestamp};

const OURS: &str = "offhook: ";

/// The event's comment; `None`: it has none.
pub(in crate::io) fn comment(what: CaptureChange) -> Option<String> {
    Some(match what {
        CaptureChange::Began => format!("{OURS}began"),
        CaptureChange::Continues => format!("{OURS}continues"),
        CaptureChange::Reached => format!("{OURS}reached"),
        CaptureChange::Blind { why, since } => {
            format!("{OURS}blind, why={}, since={}", why.name(), since.as_nanos())
        }
        CaptureChange::Seeing => format!("{OURS}seeing"),
        CaptureChange::Counted => return None,
    })
}

/// What a comment says; a comment that is not ours says that something was counted.
pub(super) fn event(
    comment: Option<&str>,
    at: Timestamp,
    interface: Arc<str>,
    counts: FrameCounts,
) -> CaptureEvent {
    let what = comment.and_then(|comment| change(comment.strip_prefix(OURS)?));
    CaptureEvent { at, interface, what: what.unwrap_or(CaptureChange::Counted), counts }
}

fn change(words: &str) -> Option<CaptureChange> {
    Some(match words {
        "began" => CaptureChange::Began,
        "continues" => CaptureChange::Continues,
        "reached" => CaptureChange::Reached,
        "seeing" => CaptureChange::Seeing,
        _ => {
            let (why, since) = words.strip_prefix("blind, why=")?.split_once(", since=")?;
            let since = Timestamp::from_nanos(since.parse().ok()?);
            CaptureChange::Blind { why: Blindness::from_name(why)?, since }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_comes_back_from_its_comment() {
        let since = Timestamp::from_nanos(1_795_327_681_123_456_999);
        let blind = Blindness::ALL.map(|why| CaptureChange::Blind { why, since });
        for what in
            [CaptureChange::Began, CaptureChange::Continues, CaptureChange::Reached, CaptureChange::Seeing]
                .into_iter()
                .chain(blind)
        {
            let comment = comment(what).expect("a comment");
            let again = event(Some(&comment), since, "eth1".into(), FrameCounts::default());
            assert_eq!(again.what, what, "{comment}");
        }
    }

    #[test]
    fn what_is_not_ours_only_counts() {
        for words in [
            None,
            Some("by hand"),
            Some("offhook: "),
            Some("offhook: blind"),
            Some("offhook: blind, why=fog, since=1"),
            Some("offhook: blind, why=down, since=yesterday"),
        ] {
            let event = event(words, Timestamp::EPOCH, "eth1".into(), FrameCounts::default());
            assert_eq!(event.what, CaptureChange::Counted, "{words:?}");
        }
    }
}
