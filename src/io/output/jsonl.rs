//! JSON lines: the contract with other programs.
//! In: `TapOutput`, publication outcomes, counters. Out: one JSON object a line, to a writer or to who else takes lines. Knows nothing of captures and sockets.
//! The README lists every key. Keys are never renamed; a value that is not known is absent, never null.

use std::io::{self, Write};
use std::sync::Arc;

use super::jsonl_redial::{RedialLine, RedialSummary};
use super::jsonl_told::ToldLine;
use super::{Outlet, Sources, Summary};
use crate::base::{CaptureChange, CaptureEvent, FrameCounts, FrameId, Oddity, Timestamp};
use crate::presence::pidf::Facet;
use crate::presence::{ChangeKind, PresentityChange, PresentityState, Session};
use crate::publish::{Line, LineKind, PublicationOutcome};
use crate::redial::RedialTold;
use crate::tap::TapOutput;
use crate::track::{Evidence, Media};
use crate::watch::Told;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

#[derive(Serialize)]
struct StatusLine<'a> {
    kind: &'static str,
    time: Timestamp,
    presentity: &'a str,
    terminal: &'static str,
    session: &'static str,
    previous: Status,
    because: Because<'a>,
    confidence: &'static str,
    watching: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_type: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Media]>::is_empty", serialize_with = "as_objects")]
    media: &'a [Media],
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

#[derive(Serialize)]
struct Status {
    terminal: &'static str,
    session: &'static str,
}

/// `because` of a line.
#[derive(Serialize)]
pub(super) struct Because<'a> {
    rule: &'static str,
    frame: u64,
    call_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
}

#[derive(Serialize)]
struct MediaObject<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_rate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bit_rate: Option<u32>,
}

#[derive(Serialize)]
struct ContactLine<'a> {
    kind: &'static str,
    time: Timestamp,
    presentity: &'a str,
    contact: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_contact: Option<&'a str>,
    because: Because<'a>,
}

#[derive(Serialize)]
struct CaptureLine<'a> {
    kind: &'static str,
    time: Timestamp,
    event: &'static str,
    interface: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    received: u64,
    kernel_dropped: u64,
    interface_dropped: u64,
}

#[derive(Serialize)]
struct OddityLine<'a> {
    kind: &'static str,
    time: Timestamp,
    name: &'static str,
    frame: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
}

#[derive(Serialize)]
struct PublicationLine<'a> {
    kind: &'static str,
    time: Timestamp,
    presentity: &'a str,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    facet: Option<&'static str>,
    operation: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_s: Option<u32>,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    frames: u64,
    sip_messages: u64,
    presentities: u64,
    changes: u64,
    #[serde(serialize_with = "as_object")]
    oddities: &'a [(&'static str, u64)],
    #[serde(serialize_with = "as_object")]
    ends: &'a [(&'static str, u64)],
    publications: Publications,
    #[serde(skip_serializing_if = "Option::is_none")]
    redial: Option<RedialSummary<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    capture: Vec<InterfaceCounts<'a>>,
}

#[derive(Serialize)]
struct InterfaceCounts<'a> {
    interface: &'a str,
    received: u64,
    kernel_dropped: u64,
    interface_dropped: u64,
}

#[derive(Serialize)]
struct Publications {
    acknowledged: u64,
    failed: u64,
}

/// Counts by name.
pub(super) fn as_object<S: Serializer>(
    pairs: &[(&'static str, u64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(pairs.len()))?;
    for (name, count) in pairs {
        object.serialize_entry(name, count)?;
    }
    object.end()
}

fn as_objects<S: Serializer>(media: &[Media], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(media.iter().map(|media| MediaObject {
        kind: &media.kind,
        codec: media.codec.as_deref(),
        clock_rate: media.clock_rate_hz,
        bit_rate: media.bit_rate,
    }))
}

/// Takes lines, one by one, in order.
pub trait LineSink {
    /// Takes one.
    ///
    /// # Errors
    /// When it cannot be written, as to a pipe that nobody reads any more.
    fn take(&mut self, line: &Line<'_>) -> io::Result<()>;

    /// Makes everything taken so far visible to whoever reads.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn flush(&mut self) -> io::Result<()>;
}

/// A writer, which should be buffered: each line is two writes.
impl<W: Write> LineSink for W {
    fn take(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.write_all(line.json)?;
        self.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(self)
    }
}

/// Makes each thing one JSON object.
pub struct JsonLines<S: LineSink> {
    out: S,
    sources: Sources,
    /// The line being written, its room used again.
    json: Vec<u8>,
}

impl<S: LineSink> JsonLines<S> {
    /// Lines to `out`.
    pub fn new(out: S, sources: Sources) -> Self {
        Self { out, sources, json: Vec::new() }
    }

    fn line(
        &mut self,
        kind: LineKind,
        time: Option<Timestamp>,
        presentity: Option<&str>,
        line: &impl Serialize,
    ) -> io::Result<()> {
        self.json.clear();
        serde_json::to_writer(&mut self.json, line)?;
        self.out.take(&Line { kind, time, presentity, json: &self.json })
    }

    fn change(&mut self, change: &PresentityChange) -> io::Result<()> {
        let sources = self.sources.clone();
        let (at, presentity) = (Some(change.at), Some(change.aor.as_str()));
        match change.kind {
            ChangeKind::Status => self.line(LineKind::Status, at, presentity, &status_line(change, &sources)),
            ChangeKind::Contact => {
                let Some(newest) = change.state.bindings.last() else { return Ok(()) };
                let line = ContactLine {
                    kind: LineKind::Contact.name(),
                    time: change.at,
                    presentity: change.aor.as_str(),
                    contact: &newest.contact,
                    previous_contact: change.previous_contact.as_deref(),
                    because: because(&change.because, &sources),
                };
                self.line(LineKind::Contact, at, presentity, &line)
            }
            ChangeKind::Document => Ok(()),
        }
    }

    fn capture(&mut self, event: &CaptureEvent) -> io::Result<()> {
        let (name, reason, since) = match event.what {
            CaptureChange::Blind { why, since } => ("blind_began", Some(why.name()), Some(since)),
            CaptureChange::Seeing => ("blind_ended", None, None),
            CaptureChange::Began
            | CaptureChange::Continues
            | CaptureChange::Reached
            | CaptureChange::Counted => return Ok(()),
        };
        let line = CaptureLine {
            kind: LineKind::Capture.name(),
            time: event.at,
            event: name,
            interface: &event.interface,
            reason,
            since,
            received: event.counts.received,
            kernel_dropped: event.counts.kernel_dropped,
            interface_dropped: event.counts.interface_dropped,
        };
        self.line(LineKind::Capture, Some(event.at), None, &line)
    }

    fn oddity(&mut self, oddity: Oddity, at: Timestamp, frame: FrameId) -> io::Result<()> {
        let sources = self.sources.clone();
        let line = OddityLine {
            kind: LineKind::Oddity.name(),
            time: at,
            name: oddity.name(),
            frame: frame.number(),
            source: sources.name(frame),
        };
        self.line(LineKind::Oddity, Some(at), None, &line)
    }
}

fn interface_counts((interface, counts): &(Arc<str>, FrameCounts)) -> InterfaceCounts<'_> {
    InterfaceCounts {
        interface,
        received: counts.received,
        kernel_dropped: counts.kernel_dropped,
        interface_dropped: counts.interface_dropped,
    }
}

fn status_line<'a>(change: &'a PresentityChange, sources: &'a Sources) -> StatusLine<'a> {
    let state: &PresentityState = &change.state;
    let engaged = state.session != Session::Idle;
    StatusLine {
        kind: LineKind::Status.name(),
        time: change.at,
        presentity: change.aor.as_str(),
        terminal: state.terminal.name(),
        session: state.session.name(),
        previous: Status { terminal: change.previous.0.name(), session: change.previous.1.name() },
        because: because(&change.because, sources),
        confidence: state.confidence.name(),
        watching: state.watching,
        peer: state.peer.as_deref().filter(|_| engaged),
        session_type: state.session_type.as_deref().filter(|_| engaged),
        media: if engaged { &state.media } else { &[] },
        contact: state.contact.as_deref(),
        user_agent: state.user_agent.as_deref(),
    }
}

/// What a line rests on.
pub(super) fn because<'a>(evidence: &'a Evidence, sources: &'a Sources) -> Because<'a> {
    Because {
        rule: evidence.rule.name(),
        frame: evidence.frame.number(),
        call_id: &evidence.call_id,
        source: sources.name(evidence.frame),
    }
}

impl<S: LineSink> Outlet for JsonLines<S> {
    fn output(&mut self, output: &TapOutput) -> io::Result<()> {
        match output {
            TapOutput::Change(change) => self.change(change),
            TapOutput::Oddity { oddity, at, frame } => self.oddity(*oddity, *at, *frame),
            TapOutput::Capture(event) => self.capture(event),
            TapOutput::Message(_) | TapOutput::Observed(_) | TapOutput::Nobodys(_) => Ok(()),
        }
    }

    fn publication(&mut self, outcome: &PublicationOutcome) -> io::Result<()> {
        let presentity = outcome.aor.as_str();
        let line = PublicationLine {
            kind: LineKind::Publication.name(),
            time: outcome.at,
            presentity,
            event: outcome.event.name(),
            facet: match outcome.facet {
                Facet::Combined => None,
                Facet::Terminal => Some("terminal"),
                Facet::Session => Some("session"),
            },
            operation: outcome.operation.name(),
            outcome: if outcome.acknowledged { "acknowledged" } else { "failed" },
            status: outcome.status,
            expires_s: outcome.expires_s,
        };
        self.line(LineKind::Publication, Some(outcome.at), Some(presentity), &line)
    }

    fn told(&mut self, told: &Told) -> io::Result<()> {
        self.line(LineKind::Told, Some(told.at), Some(told.aor.as_str()), &ToldLine::from(told))
    }

    fn redial(&mut self, told: &RedialTold) -> io::Result<()> {
        let sources = self.sources.clone();
        let line = RedialLine::new(told, &sources);
        self.line(LineKind::Redial, Some(told.at), Some(told.caller.as_str()), &line)
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let line = SummaryLine {
            kind: LineKind::Summary.name(),
            time: summary.last,
            frames: summary.counters.frames,
            sip_messages: summary.counters.sip_messages,
            presentities: summary.counters.presentities,
            changes: summary.counters.changes,
            oddities: &summary.counters.oddities,
            ends: &summary.counters.ends,
            publications: Publications {
                acknowledged: summary.publications.acknowledged,
                failed: summary.publications.failed,
            },
            redial: summary.redial.as_ref().map(RedialSummary::from),
            capture: summary.capture.iter().map(interface_counts).collect(),
        };
        self.line(LineKind::Summary, summary.last, None, &line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PublicationCounts, RedialCounts};

    use super::*;
    use crate::io::redialer::VoiceCounters;
    use crate::presence::{BindingView, Terminal};
    use crate::publish::{EventPackage, Operation};
    use crate::redial::{AskerCounters, RedialCounters};
    use crate::sip::Aor;
    use crate::tap::Counters;
    use crate::track::{Confidence, Media, Rule};

    fn talking() -> PresentityChange {
        PresentityChange {
            at: Timestamp::from_nanos(1_795_327_681_123_456_999),
            aor: Aor::from_uri(b"sip:alice@example.com").unwrap(),
            kind: ChangeKind::Status,
            previous: (Terminal::Online, Session::Ringing),
            previous_contact: None,
            because: Evidence { rule: Rule::Invite200, frame: FrameId::new(0, 42), call_id: "c1".into() },
            state: Arc::new(PresentityState {
                terminal: Terminal::Online,
                session: Session::Talking,
                confidence: Confidence::Full,
                peer: Some("sip:bob@example.com".into()),
                session_type: Some("call".into()),
                media: Arc::new([Media {
                    kind: "audio".into(),
                    codec: Some("PCMU".into()),
                    clock_rate_hz: Some(8_000),
                    bit_rate: Some(64_000),
                }]),
                contact: Some("sip:alice@192.0.2.10".into()),
                user_agent: Some("Phone/1".into()),
                ..PresentityState::default()
            }),
        }
    }

    fn written(sources: &[&str], outputs: &[TapOutput]) -> String {
        let names: Vec<String> = sources.iter().map(ToString::to_string).collect();
        let mut lines = JsonLines::new(Vec::new(), Sources::new(&names));
        for output in outputs {
            lines.output(output).unwrap();
        }
        String::from_utf8(lines.out).unwrap()
    }

    #[test]
    fn a_status_line_has_the_keys_of_the_contract_in_their_order() {
        assert_eq!(
            written(&["a.pcap"], &[TapOutput::Change(talking())]),
            concat!(
                r#"{"kind":"status","time":"2026-11-22T06:08:01.123456Z","presentity":"sip:alice@example.com","#,
                r#""terminal":"online","session":"talking","previous":{"terminal":"online","session":"ringing"},"#,
                r#""because":{"rule":"invite-200","frame":42,"call_id":"c1"},"confidence":"full","watching":false,"#,
                r#""peer":"sip:bob@example.com","session_type":"call","#,
                r#""media":[{"type":"audio","codec":"PCMU","clock_rate":8000,"bit_rate":64000}],"#,
                r#""contact":"sip:alice@192.0.2.10","user_agent":"Phone/1"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_source_is_named_only_where_there_are_several() {
        let line = written(&["a.pcap", "b.pcap"], &[TapOutput::Change(talking())]);
        assert!(line.contains(r#""call_id":"c1","source":"a.pcap"}"#), "{line}");
        let oddity = TapOutput::Oddity {
            oddity: Oddity::StreamGap,
            at: Timestamp::from_secs(1),
            frame: FrameId::new(1, 7),
        };
        assert_eq!(
            written(&["a.pcap", "b.pcap"], &[oddity]),
            "{\"kind\":\"oddity\",\"time\":\"1970-01-01T00:00:01.000000Z\",\"name\":\"stream_gap\",\"frame\":7,\"source\":\"b.pcap\"}\n"
        );
    }

    #[test]
    fn what_is_unknown_is_absent_and_an_idle_line_names_no_peer() {
        let mut change = talking();
        let mut state = (*change.state).clone();
        state.session = Session::Idle;
        (state.contact, state.user_agent) = (None, None);
        change.state = Arc::new(state);
        let line = written(&["a.pcap"], &[TapOutput::Change(change)]);
        assert!(line.ends_with("\"watching\":false}\n"), "{line}");
        assert!(!line.contains("null"), "{line}");
    }

    #[test]
    fn a_new_address_says_which_one_it_replaces_and_documents_say_nothing() {
        let mut change = talking();
        let mut state = (*change.state).clone();
        state.bindings = vec![BindingView {
            contact: "sip:alice@192.0.2.11".into(),
            user_agent: None,
            expires_at: Timestamp::from_secs(9),
        }];
        (change.kind, change.state) = (ChangeKind::Contact, Arc::new(state));
        change.previous_contact = Some("sip:alice@192.0.2.10".into());
        let mut document = change.clone();
        document.kind = ChangeKind::Document;
        let lines = written(&["a.pcap"], &[TapOutput::Change(document), TapOutput::Change(change)]);
        assert_eq!(
            lines,
            concat!(
                r#"{"kind":"contact","time":"2026-11-22T06:08:01.123456Z","presentity":"sip:alice@example.com","#,
                r#""contact":"sip:alice@192.0.2.11","previous_contact":"sip:alice@192.0.2.10","#,
                r#""because":{"rule":"invite-200","frame":42,"call_id":"c1"}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn publications_and_the_summary() {
        let mut lines = JsonLines::new(Vec::new(), Sources::new(&["-".to_owned()]));
        let mut outcome = PublicationOutcome {
            at: Timestamp::EPOCH,
            aor: Aor::from_uri(b"sip:bob@example.com").unwrap(),
            event: EventPackage::Dialog,
            facet: Facet::Combined,
            operation: Operation::Initial,
            acknowledged: true,
            status: Some(200),
            expires_s: Some(600),
        };
        lines.publication(&outcome).unwrap();
        (outcome.acknowledged, outcome.status, outcome.expires_s) = (false, None, None);
        (outcome.event, outcome.facet) = (EventPackage::Presence, Facet::Terminal);
        lines.publication(&outcome).unwrap();
        let summary = Summary {
            last: Some(Timestamp::from_secs(60)),
            counters: Counters {
                frames: 10,
                sip_messages: 9,
                presentities: 2,
                changes: 4,
                oddities: vec![("stream_gap", 1)],
                ends: vec![("bye", 1)],
            },
            capture: Vec::new(),
            publications: PublicationCounts { acknowledged: 1, failed: 1 },
            redial: None,
        };
        lines.summary(&summary).unwrap();
        let outcomes = vec![("talked", 1)];
        let counters = RedialCounters { wished: 3, asked: 2, open: 2, outcomes, table_full: 0 };
        let counts = RedialCounts { counters, ..RedialCounts::default() };
        lines.summary(&Summary { redial: Some(counts.clone()), ..summary.clone() }).unwrap();
        let asker = AskerCounters { strangers: 4, unreadable: 3, turned_away: 2 };
        let counts = RedialCounts { voice: VoiceCounters { asker, untold: 1 }, ..counts };
        lines.summary(&Summary { redial: Some(counts), ..summary }).unwrap();
        assert_eq!(
            String::from_utf8(lines.out).unwrap(),
            concat!(
                r#"{"kind":"publication","time":"1970-01-01T00:00:00.000000Z","presentity":"sip:bob@example.com","event":"dialog","operation":"initial","outcome":"acknowledged","status":200,"expires_s":600}"#,
                "\n",
                r#"{"kind":"publication","time":"1970-01-01T00:00:00.000000Z","presentity":"sip:bob@example.com","event":"presence","facet":"terminal","operation":"initial","outcome":"failed"}"#,
                "\n",
                r#"{"kind":"summary","time":"1970-01-01T00:01:00.000000Z","frames":10,"sip_messages":9,"presentities":2,"changes":4,"oddities":{"stream_gap":1},"ends":{"bye":1},"publications":{"acknowledged":1,"failed":1}}"#,
                "\n",
                r#"{"kind":"summary","time":"1970-01-01T00:01:00.000000Z","frames":10,"sip_messages":9,"presentities":2,"changes":4,"oddities":{"stream_gap":1},"ends":{"bye":1},"publications":{"acknowledged":1,"failed":1},"redial":{"wished":3,"asked":2,"open":2,"outcomes":{"talked":1}}}"#,
                "\n",
                r#"{"kind":"summary","time":"1970-01-01T00:01:00.000000Z","frames":10,"sip_messages":9,"presentities":2,"changes":4,"oddities":{"stream_gap":1},"ends":{"bye":1},"publications":{"acknowledged":1,"failed":1},"redial":{"wished":3,"asked":2,"open":2,"outcomes":{"talked":1},"strangers":4,"unreadable":3,"turned_away":2,"untold":1}}"#,
                "\n",
            )
        );
    }
}
