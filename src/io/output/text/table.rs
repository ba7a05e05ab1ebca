//! Who is what at the end, as a table.
//! In: `PresentityChange`. Out: text. Knows nothing of messages.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::super::style::{Ink, Style, short_aor, shorten};
use crate::base::{FrameId, Timestamp};
use crate::presence::{ChangeKind, PresentityChange, PresentityState, Session};
use crate::sip::Aor;
use crate::track::{Confidence, Rule};

use super::status_ink;

/// Presentities that are remembered for the table; further ones are only counted.
const MAX_KEPT: usize = 100_000;
/// Rows that are printed: more are not read.
const MAX_ROWS: usize = 200;

struct Row {
    since: Timestamp,
    rule: Rule,
    frame: FrameId,
    state: Arc<PresentityState>,
}

/// The last status of each presentity.
#[derive(Default)]
pub struct Table {
    rows: BTreeMap<Aor, Row>,
    left_out: u64,
}

impl Table {
    /// Takes in a change.
    pub fn change(&mut self, change: &PresentityChange) {
        if let Some(row) = self.rows.get_mut(&change.aor) {
            if change.kind == ChangeKind::Status {
                (row.since, row.rule, row.frame) = (change.at, change.because.rule, change.because.frame);
            }
            row.state = Arc::clone(&change.state);
        } else if self.rows.len() < MAX_KEPT {
            let row = Row {
                since: change.at,
                rule: change.because.rule,
                frame: change.because.frame,
                state: Arc::clone(&change.state),
            };
            self.rows.insert(change.aor.clone(), row);
        } else {
            self.left_out += 1;
        }
    }

    /// The table; empty when nobody has a status.
    pub fn render(
        &self,
        style: Style,
        clock: &dyn Fn(Timestamp) -> String,
        frame: &dyn Fn(FrameId) -> String,
    ) -> String {
        let mut text = String::new();
        if self.rows.is_empty() {
            return text;
        }
        let names: Vec<String> = self
            .rows
            .keys()
            .take(MAX_ROWS)
            .map(|aor| shorten(&short_aor(aor.as_str()), 48).into_owned())
            .collect();
        let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("presentity".len());
        let heading = format!(
            "{:widest$}  {:<15}  {:<7}  {:>11}  because",
            "presentity", "terminal", "session", "since"
        );
        let _ = writeln!(text, "{}", style.paint(Ink::Bold, heading));
        for ((_, row), name) in self.rows.iter().zip(&names) {
            let state = &row.state;
            let ink = status_ink(state.terminal, state.session);
            let mut because = format!("{}, frame {}", row.rule.name(), frame(row.frame));
            if let (Some(peer), true) = (&state.peer, state.session != Session::Idle) {
                let _ = write!(because, ", with {}", shorten(&short_aor(peer), 40));
            }
            if state.watching {
                because.push_str(", watches others");
            }
            if state.confidence != Confidence::Full {
                let _ = write!(because, " [{}]", state.confidence.name());
            }
            let _ = writeln!(
                text,
                "{name:widest$}  {}  {}  {:>11}  {because}",
                style.paint(ink, format_args!("{:<15}", state.terminal.name())),
                style.paint(ink, format_args!("{:<7}", state.session.name())),
                clock(row.since),
            );
        }
        let more = self.rows.len().saturating_sub(MAX_ROWS) as u64;
        if more > 0 {
            let _ = writeln!(text, "… and {more} more: --format jsonl tells of all.");
        }
        text.push('\n');
        text
    }
}

/// What an oddity means, for somebody who never read the code.
pub fn oddity_in_words(name: &str) -> String {
    let words = match name {
        "time_went_back" => "a frame's time was before the frame before it",
        "truncated_frame" => "a frame is shorter than its headers say, or was cut by the capture",
        "malformed_packet" => "an IP or transport header cannot be read",
        "nested_too_deep" => "more tags or headers inside each other than are followed",
        "unknown_link_type" => "a frame of a link type that is not read",
        "fragments_given_up" => "fragments of which some never came",
        "fragment_overlap" => "fragments that contradict each other",
        "stream_gap" => "bytes of a TCP stream that were not captured",
        "stream_evicted" => "a TCP stream given up because there were too many",
        "stream_overflow" => "a TCP stream given up because its buffer was full",
        "websocket_compressed" => "a WebSocket message that is compressed",
        "stream_not_sip" => "text on a SIP stream that is not SIP",
        "malformed_message" => "a SIP message without a field that it must have",
        "message_too_long" => "a SIP message longer than is held",
        "message_cut" => "a SIP message that ended too early",
        "content_length" => "a Content-Length that cannot be right",
        "register_without_contact" => "a 2xx to REGISTER that lists no contact although one was asked for",
        "register_out_of_order" => "an old 2xx to REGISTER after a newer one",
        "contact_unreadable" => "a contact that is no URI",
        "ambiguous_end" => "an end of a call that could be several users'",
        "table_full" => "a table was full and its oldest entry was given up",
        other => return other.replace('_', " "),
    };
    words.to_owned()
}
