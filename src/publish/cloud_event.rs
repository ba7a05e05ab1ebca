//! A line as a CloudEvent.
//! In: a JSON line and what it is about. Out: the body and media type of an HTTP request. Knows nothing of HTTP, retries.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::base::Timestamp;

/// The media type of an event in structured content mode (CloudEvents HTTP binding 1.0 section 3.2).
pub(crate) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// The kinds of JSON lines that can be sent as events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineKind {
    /// A presentity's status changed.
    Status,
    /// A presentity's newest contact changed.
    Contact,
    /// What became of a PUBLISH.
    Publication,
    /// What a watcher is told.
    Told,
    /// Somebody called in vain, and is to be called back.
    Redial,
    /// The first of something strange.
    Oddity,
    /// The capture became blind, or sees again.
    Capture,
    /// The end of a run.
    Summary,
}

impl LineKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Status,
        Self::Contact,
        Self::Publication,
        Self::Told,
        Self::Redial,
        Self::Oddity,
        Self::Capture,
        Self::Summary,
    ];

    /// The value of `kind` in a JSON line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Contact => "contact",
            Self::Publication => "publication",
            Self::Told => "told",
            Self::Redial => "redial",
            Self::Oddity => "oddity",
            Self::Capture => "capture",
            Self::Summary => "summary",
        }
    }

    /// The event's `type`. The number rises when a consumer of the old one could no longer read the new; that keys are
    /// added is no such change.
    const fn event_type(self) -> &'static str {
        match self {
            Self::Status => "offhook.status.v1",
            Self::Contact => "offhook.contact.v1",
            Self::Publication => "offhook.publication.v1",
            Self::Told => "offhook.told.v1",
            Self::Redial => "offhook.redial.v1",
            Self::Oddity => "offhook.oddity.v1",
            Self::Capture => "offhook.capture.v1",
            Self::Summary => "offhook.summary.v1",
        }
    }
}

/// A JSON line, and what must be known of it to send it on.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its kind.
    pub kind: LineKind,
    /// Its time; `None` where it has none.
    pub time: Option<Timestamp>,
    /// The presentity that it is about, if it is about one.
    pub presentity: Option<&'a str>,
    /// The whole line, as one JSON object.
    pub json: &'a [u8],
}

/// CloudEvents 1.0 sections 2 and 3, in their JSON form.
#[derive(Serialize)]
struct CloudEvent<'a> {
    /// The version of the format: always `1.0`.
    specversion: &'static str,
    /// Together with `source` it names the event; the same in every attempt to deliver it.
    id: &'a str,
    /// Which offhook says so: a URI reference.
    source: &'a str,
    /// What kind of line it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The presentity, where the line is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    /// When it happened: the line's own time, which is packet time.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    /// The media type of `data`: always `application/json`.
    datacontenttype: &'static str,
    /// The line.
    data: Option<&'a RawValue>,
}

/// The line as an event in structured content mode.
pub(crate) fn body(line: &Line<'_>, id: &str, source: &str) -> Vec<u8> {
    let event = CloudEvent {
        specversion: "1.0",
        id,
        source,
        kind: line.kind.event_type(),
        subject: line.presentity,
        time: line.time,
        datacontenttype: "application/json",
        data: serde_json::from_slice(line.json).ok(),
    };
    // Strings, a time and a value that is JSON already: nothing here can fail.
    serde_json::to_vec(&event).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_carried_to_the_letter() {
        let line = Line {
            kind: LineKind::Status,
            time: Some(Timestamp::from_secs(60)),
            presentity: Some("sip:alice@example.com"),
            json: br#"{"kind":"status", "b":1,"a":2}"#,
        };
        assert_eq!(
            String::from_utf8(body(&line, "1-1", "urn:offhook:tap")).unwrap(),
            concat!(
                r#"{"specversion":"1.0","id":"1-1","source":"urn:offhook:tap","type":"offhook.status.v1","#,
                r#""subject":"sip:alice@example.com","time":"1970-01-01T00:01:00.000000Z","#,
                r#""datacontenttype":"application/json","data":{"kind":"status", "b":1,"a":2}}"#
            )
        );
    }

    #[test]
    fn what_a_line_does_not_have_its_event_does_not_have() {
        let line = Line { kind: LineKind::Summary, time: None, presentity: None, json: b"{}" };
        let event = String::from_utf8(body(&line, "1-1", "/tap")).unwrap();
        assert!(!event.contains("subject") && !event.contains("\"time\""), "{event}");
    }

    #[test]
    fn a_type_is_named_after_its_kind() {
        for kind in LineKind::ALL {
            assert_eq!(kind.event_type(), format!("offhook.{}.v1", kind.name()));
        }
    }
}
