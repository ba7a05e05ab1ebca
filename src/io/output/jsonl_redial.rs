//! A step of a wish, and what was counted of wishes, as JSON objects.
//! In: `RedialTold`, `RedialCounts`. Out: what serde writes. Knows nothing of wishes, files.

use serde::Serialize;

use super::jsonl::{Because, as_object, because};
use super::{RedialCounts, Sources};
use crate::base::Timestamp;
use crate::io::redialer::VoiceCounters;
use crate::publish::LineKind;
use crate::redial::{AskerCounters, Outcome, RedialCounters, RedialTold, Step};

/// The keys of a line of kind `redial`.
#[derive(Serialize)]
pub struct RedialLine<'a> {
    kind: &'static str,
    time: Timestamp,
    wish: u64,
    caller: &'a str,
    callee: &'a str,
    step: &'static str,
    #[serde(flatten)]
    facts: Facts,
    until: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    dry_run: bool,
    because: Because<'a>,
}

/// What one step has to say and others have not.
#[derive(Default, Serialize)]
struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    way: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

/// `false`, or nothing counted.
fn is_default<Value: Default + PartialEq>(value: &Value) -> bool {
    *value == Value::default()
}

impl<'a> RedialLine<'a> {
    /// The line that says it.
    pub fn new(told: &'a RedialTold, sources: &'a Sources) -> Self {
        Self {
            kind: LineKind::Redial.name(),
            time: told.at,
            wish: told.wish,
            caller: told.caller.as_str(),
            callee: told.callee.as_str(),
            step: told.step.name(),
            facts: Facts::of(told.step),
            until: told.until,
            dry_run: told.dry_run,
            because: because(&told.because, sources),
        }
    }
}

impl Facts {
    fn of(step: Step) -> Self {
        let none = Self::default();
        match step {
            Step::Wished(why) | Step::Renewed(why) => {
                Self { why: Some(why.name()), status: why.status(), ..none }
            }
            Step::Back(by) => Self { by: Some(by.name()), ..none },
            Step::Waits(reason) => Self { waits_for: Some(reason.name()), ..none },
            Step::Asked(manner) => Self { way: Some(manner.name()), ..none },
            Step::Accepted(status) | Step::Progress(status) => Self { status: Some(status), ..none },
            Step::Closed(outcome) => Self {
                outcome: Some(outcome.name()),
                status: match outcome {
                    Outcome::Refused { status } => Some(status),
                    _ => None,
                },
                ..none
            },
            Step::Gone | Step::Ringing | Step::PickedUp | Step::Dialled => none,
        }
    }
}

/// `redial` in the summary.
#[derive(Serialize)]
pub struct RedialSummary<'a> {
    wished: u64,
    asked: u64,
    open: u64,
    #[serde(serialize_with = "as_object")]
    outcomes: &'a [(&'static str, u64)],
    #[serde(skip_serializing_if = "is_default")]
    table_full: u64,
    #[serde(skip_serializing_if = "is_default")]
    strangers: u64,
    #[serde(skip_serializing_if = "is_default")]
    unreadable: u64,
    #[serde(skip_serializing_if = "is_default")]
    turned_away: u64,
    #[serde(skip_serializing_if = "is_default")]
    untold: u64,
    #[serde(skip_serializing_if = "is_default")]
    dry_run: bool,
}

impl<'a> From<&'a RedialCounts> for RedialSummary<'a> {
    fn from(counts: &'a RedialCounts) -> Self {
        let RedialCounters { wished, asked, open, ref outcomes, table_full } = counts.counters;
        let VoiceCounters { asker, untold } = counts.voice;
        let AskerCounters { strangers, unreadable, turned_away } = asker;
        let dry_run = counts.dry_run;
        Self {
            wished,
            asked,
            open,
            outcomes,
            table_full,
            strangers,
            unreadable,
            turned_away,
            untold,
            dry_run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FrameId;
    use crate::redial::{BackBy, Manner, WaitsFor, Why};
    use crate::sip::Aor;
    use crate::track::{Evidence, Rule};

    fn line(step: Step, dry_run: bool) -> String {
        let aor = |user: &str| Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap();
        let told = RedialTold {
            at: Timestamp::from_secs(1),
            wish: 7,
            caller: aor("alice"),
            callee: aor("bob"),
            until: Timestamp::from_secs(3_601),
            step,
            dry_run,
            because: Evidence { rule: Rule::InviteFailed, frame: FrameId::new(0, 4), call_id: "c1".into() },
        };
        serde_json::to_string(&RedialLine::new(&told, &Sources::default())).unwrap()
    }

    #[test]
    fn a_line_has_the_keys_of_the_contract_in_their_order() {
        assert_eq!(
            line(Step::Wished(Why::Status(404)), true),
            concat!(
                r#"{"kind":"redial","time":"1970-01-01T00:00:01.000000Z","wish":7,"caller":"sip:alice@example.com","#,
                r#""callee":"sip:bob@example.com","step":"wished","why":"refused","status":404,"#,
                r#""until":"1970-01-01T01:00:01.000000Z","dry_run":true,"#,
                r#""because":{"rule":"invite-failed","frame":4,"call_id":"c1"}}"#
            )
        );
    }

    #[test]
    fn each_step_has_what_it_has_to_say_and_no_more() {
        let cases = [
            (Step::Renewed(Why::Busy(486)), r#""renewed","why":"busy","status":486,"until""#),
            (Step::Wished(Why::AnsweredElsewhere), r#""wished","why":"answered-elsewhere","until""#),
            (Step::Back(BackBy::Registered), r#""back","by":"registered","until""#),
            (Step::Gone, r#""gone","until""#),
            (Step::Waits(WaitsFor::CallerRegistration), r#""waits","for":"caller-registration","until""#),
            (Step::Asked(Manner::Recall), r#""asked","way":"recall","until""#),
            (Step::Ringing, r#""ringing","until""#),
            (Step::PickedUp, r#""picked-up","until""#),
            (Step::Accepted(202), r#""accepted","status":202,"until""#),
            (Step::Progress(180), r#""progress","status":180,"until""#),
            (Step::Dialled, r#""dialled","until""#),
            (
                Step::Closed(Outcome::Refused { status: 403 }),
                r#""closed","status":403,"outcome":"refused","until""#,
            ),
            (Step::Closed(Outcome::Talked), r#""closed","outcome":"talked","until""#),
        ];
        for (step, keys) in cases {
            let line = line(step, false);
            assert!(line.contains(&format!(r#""step":{keys}"#)), "{line}");
            assert!(!line.contains("null") && !line.contains("dry_run"), "{line}");
        }
    }
}
