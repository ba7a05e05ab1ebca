//! What a watcher is told, as a JSON object.
//! In: `Told`. Out: what serde writes as a line. Knows nothing of subscriptions, files.

use serde::Serialize;

use crate::base::Timestamp;
use crate::publish::LineKind;
use crate::track::Side;
use crate::watch::{Next, Told, What};

/// The keys of a line of kind `told`.
#[derive(Serialize)]
pub struct ToldLine<'a> {
    kind: &'static str,
    time: Timestamp,
    presentity: &'a str,
    event: &'static str,
    subscription: &'static str,
    #[serde(flatten)]
    facts: Facts<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Facts<'a> {
    Presence {
        #[serde(skip_serializing_if = "Option::is_none")]
        open: Option<bool>,
        activities: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        terminal: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<&'a str>,
    },
    Dialogs {
        dialogs: Vec<DialogObject<'a>>,
    },
    Refused {
        status: u16,
        again: bool,
    },
    Ended {
        #[serde(skip_serializing_if = "str::is_empty")]
        reason: &'a str,
        again: bool,
    },
    Nothing {},
}

#[derive(Serialize)]
struct DialogObject<'a> {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<&'a str>,
}

impl<'a> From<&'a Told> for ToldLine<'a> {
    fn from(told: &'a Told) -> Self {
        let (subscription, facts) = match &told.what {
            What::Presence(presence) => (
                "active",
                Facts::Presence {
                    open: presence.open,
                    activities: &presence.activities,
                    terminal: presence.terminal.map(|terminal| terminal.name()),
                    session: presence.session.map(|session| session.name()),
                    note: presence.note.as_deref(),
                },
            ),
            What::Dialogs(dialogs) => {
                let dialogs = dialogs.iter().map(|dialog| DialogObject {
                    state: dialog.state.name(),
                    direction: dialog.side.map(|side| match side {
                        Side::Caller => "initiator",
                        Side::Called => "recipient",
                    }),
                    held: dialog.held,
                    remote: dialog.remote.as_deref(),
                });
                ("active", Facts::Dialogs { dialogs: dialogs.collect() })
            }
            What::Refused { status, next } => {
                ("refused", Facts::Refused { status: *status, again: *next == Next::Again })
            }
            What::Ended { reason, next } => ("ended", Facts::Ended { reason, again: *next == Next::Again }),
            What::Silent => ("silent", Facts::Nothing {}),
        };
        Self {
            kind: LineKind::Told.name(),
            time: told.at,
            presentity: told.aor.as_str(),
            event: told.event.name(),
            subscription,
            facts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::{EventPackage, Session, Terminal};
    use crate::sip::Aor;
    use crate::track::DialogState;
    use crate::watch::{DialogTold, PresenceTold};

    fn line(event: EventPackage, what: What) -> String {
        let aor = Aor::from_uri(b"sip:bob@example.com").unwrap();
        let told = Told { at: Timestamp::from_secs(1), aor, event, what };
        let text = serde_json::to_string(&ToldLine::from(&told)).unwrap();
        let begin = "{\"kind\":\"told\",\"time\":\"1970-01-01T00:00:01.000000Z\",\"presentity\":\"sip:bob@example.com\",";
        text.strip_prefix(begin).expect("what every line has").to_owned()
    }

    #[test]
    fn what_is_told_as_lines() {
        let presence = PresenceTold {
            open: Some(true),
            activities: vec!["on-the-phone".to_owned()],
            terminal: Some(Terminal::Online),
            session: Some(Session::Talking),
            note: None,
        };
        let dialog = DialogTold {
            state: DialogState::Early,
            side: Some(Side::Called),
            held: false,
            remote: Some("sip:alice@example.com".to_owned()),
        };
        let cases = [
            (
                EventPackage::Presence,
                What::Presence(presence),
                r#""event":"presence","subscription":"active","open":true,"activities":["on-the-phone"],"terminal":"online","session":"talking"}"#,
            ),
            (
                EventPackage::Presence,
                What::Presence(PresenceTold::default()),
                r#""event":"presence","subscription":"active","activities":[]}"#,
            ),
            (
                EventPackage::Dialog,
                What::Dialogs(vec![dialog]),
                r#""event":"dialog","subscription":"active","dialogs":[{"state":"early","direction":"recipient","held":false,"remote":"sip:alice@example.com"}]}"#,
            ),
            (
                EventPackage::Dialog,
                What::Refused { status: 489, next: Next::Nothing },
                r#""event":"dialog","subscription":"refused","status":489,"again":false}"#,
            ),
            (
                EventPackage::Dialog,
                What::Ended { reason: String::new(), next: Next::Again },
                r#""event":"dialog","subscription":"ended","again":true}"#,
            ),
            (EventPackage::Presence, What::Silent, r#""event":"presence","subscription":"silent"}"#),
        ];
        for (event, what, expected) in cases {
            assert_eq!(line(event, what), expected);
        }
    }
}
