//! What a watcher is told, in words.
//! In: `Told`. Out: a few words and their ink, lines of `offhook watch`. Knows nothing of subscriptions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::style::{Ink, Style, clean, short_aor, shorten};
use super::text::status_ink;
use crate::presence::{EventPackage, Session, Terminal};
use crate::sip::Aor;
use crate::sip::write::reason_phrase;
use crate::track::{DialogState, Side};
use crate::watch::{DialogTold, Next, PresenceTold, Told, What};

/// Words of so many presentities are remembered; those of others may be said twice.
const MAX_KEPT: usize = 100_000;
/// A note longer than this is cut; JSON lines have it whole.
const NOTE_WIDTH: usize = 40;
/// An address wider than this does not widen the column of all.
const ADDRESS_WIDTH: usize = 48;

/// What is told, in a few words. `name` says how to write an address.
pub fn in_words(told: &Told, name: &dyn Fn(&str) -> String) -> (Ink, String) {
    let event = told.event.name();
    match &told.what {
        What::Presence(presence) => presence_in_words(presence),
        What::Dialogs(dialogs) => dialogs_in_words(dialogs, name),
        What::Refused { status, next } => {
            let later = if *next == Next::Again { ", asked again later" } else { "" };
            (Ink::Red, format!("{event}: refused with {status} {}{later}", reason_phrase(*status)))
        }
        What::Ended { reason, .. } if reason.is_empty() => {
            (Ink::Red, format!("{event}: ended by the server"))
        }
        What::Ended { reason, .. } => {
            (Ink::Red, format!("{event}: ended by the server, {}", shorten(&clean(reason), NOTE_WIDTH)))
        }
        What::Silent => (Ink::Red, format!("{event}: no answer from the server")),
    }
}

fn presence_in_words(presence: &PresenceTold) -> (Ink, String) {
    let session = presence.session.unwrap_or_default();
    let mut words: Vec<Cow<'_, str>> = Vec::new();
    if let Some(open) = presence.open {
        words.push(if open { "open" } else { "closed" }.into());
    }
    words.extend(presence.activities.iter().map(|activity| Cow::Owned(clean(activity).replace('-', " "))));
    // Who talks is on the phone, which RPID has a word for.
    if !matches!(session, Session::Idle | Session::Talking) {
        words.push(session.name().into());
    }
    if presence.terminal == Some(Terminal::OfflineWaiting) {
        words.push(Terminal::OfflineWaiting.name().into());
    }
    if let Some(note) = &presence.note {
        words.push(format!("“{}”", shorten(&clean(note), NOTE_WIDTH)).into());
    }
    if words.is_empty() {
        return (Ink::Dim, "nothing is known".to_owned());
    }
    let on_the_phone = presence.activities.iter().any(|activity| activity == "on-the-phone");
    let terminal = if presence.open == Some(true) { Terminal::Online } else { Terminal::Offline };
    let session = if on_the_phone && session == Session::Idle { Session::Talking } else { session };
    (status_ink(terminal, session), words.join(", "))
}

fn dialogs_in_words(dialogs: &[DialogTold], name: &dyn Fn(&str) -> String) -> (Ink, String) {
    let in_words = |dialog: &DialogTold| {
        let state = if dialog.held { "held" } else { dialog.state.name() };
        let link = match (dialog.state, dialog.side) {
            (DialogState::Confirmed | DialogState::Terminated, _) | (_, None) => "with",
            (_, Some(Side::Caller)) => "to",
            (_, Some(Side::Called)) => "from",
        };
        match &dialog.remote {
            Some(remote) => format!("{state} {link} {}", name(remote)),
            None => state.to_owned(),
        }
    };
    let mut words: Vec<String> = Vec::new();
    for said in dialogs.iter().map(in_words) {
        // Each of somebody's phones that ring says the same.
        if !words.contains(&said) {
            words.push(said);
        }
    }
    if words.is_empty() {
        return (Ink::Dim, "no dialog".to_owned());
    }
    let session = dialogs.iter().map(session_of).max().unwrap_or_default();
    (status_ink(Terminal::Online, session), words.join(", "))
}

fn session_of(dialog: &DialogTold) -> Session {
    match dialog.state {
        DialogState::Confirmed if dialog.held => Session::Held,
        DialogState::Confirmed => Session::Talking,
        DialogState::Early => Session::Ringing,
        DialogState::Trying => Session::Calling,
        DialogState::Terminated => Session::Idle,
    }
}

/// The last words about each presentity, so that none are said twice in a row.
#[derive(Default)]
pub struct LastWords(BTreeMap<(Aor, EventPackage), String>);

impl LastWords {
    /// These words differ from the last ones about the same.
    pub fn are_new(&mut self, told: &Told, words: &str) -> bool {
        let key = (told.aor.clone(), told.event);
        if self.0.get(&key).is_some_and(|last| last == words) {
            return false;
        }
        if self.0.len() < MAX_KEPT || self.0.contains_key(&key) {
            self.0.insert(key, words.to_owned());
        }
        true
    }
}

/// One line each: when, of whom, what.
pub struct ToldLines<W: Write> {
    out: W,
    style: Style,
    width: usize,
    last: LastWords,
}

impl<W: Write> ToldLines<W> {
    /// Lines about these presentities into `out`.
    pub fn new(out: W, style: Style, watched: &[Aor]) -> Self {
        let width = watched.iter().map(|aor| short_aor(aor.as_str()).chars().count()).max().unwrap_or(0);
        Self { out, style, width: width.min(ADDRESS_WIDTH), last: LastWords::default() }
    }

    /// Writes one thing that was told, if it reads otherwise than what was told before.
    ///
    /// # Errors
    /// When the text cannot be written, as to a pipe that nobody reads any more.
    pub fn told(&mut self, told: &Told) -> io::Result<()> {
        let (ink, words) = in_words(told, &|address| short_aor(address).into_owned());
        if !self.last.are_new(told, &words) {
            return Ok(());
        }
        let name = short_aor(told.aor.as_str());
        let width = self.width;
        writeln!(
            self.out,
            "{}  {} {}  {}",
            self.style.paint(Ink::Dim, told.at),
            self.style.paint(ink, "◆"),
            self.style.paint(Ink::Bold, format_args!("{name:width$}")),
            self.style.paint(ink, words),
        )?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;

    fn told(event: EventPackage, what: What) -> Told {
        let aor = Aor::from_uri(b"sip:bob@example.com").unwrap();
        Told { at: Timestamp::from_secs(1), aor, event, what }
    }

    fn said(event: EventPackage, what: What) -> (Ink, String) {
        in_words(&told(event, what), &|address| short_aor(address).into_owned())
    }

    fn presence(open: Option<bool>, activities: &[&str], session: Option<Session>) -> What {
        let activities = activities.iter().map(|&activity| activity.to_owned()).collect();
        What::Presence(PresenceTold { open, activities, session, ..PresenceTold::default() })
    }

    #[test]
    fn presence_in_a_few_words() {
        let said = |what| said(EventPackage::Presence, what);
        let cases = [
            (presence(None, &[], None), Ink::Dim, "nothing is known"),
            (presence(Some(true), &[], Some(Session::Idle)), Ink::Green, "open"),
            (presence(Some(false), &[], None), Ink::Dim, "closed"),
            (presence(Some(true), &["on-the-phone"], None), Ink::Red, "open, on the phone"),
            (presence(Some(true), &["on-the-phone"], Some(Session::Talking)), Ink::Red, "open, on the phone"),
            (
                presence(Some(true), &["on-the-phone"], Some(Session::Held)),
                Ink::Magenta,
                "open, on the phone, held",
            ),
            (presence(Some(true), &[], Some(Session::Ringing)), Ink::Yellow, "open, ringing"),
            (
                What::Refused { status: 403, next: Next::Nothing },
                Ink::Red,
                "presence: refused with 403 Forbidden",
            ),
            (
                What::Ended { reason: "noresource".to_owned(), next: Next::Nothing },
                Ink::Red,
                "presence: ended by the server, noresource",
            ),
            (What::Silent, Ink::Red, "presence: no answer from the server"),
        ];
        for (what, ink, words) in cases {
            assert_eq!(said(what), (ink, words.to_owned()));
        }
    }

    #[test]
    fn dialogs_in_a_few_words() {
        let dialog = |state, side, held, remote: Option<&str>| DialogTold {
            state,
            side,
            held,
            remote: remote.map(str::to_owned),
        };
        let said = |dialogs: &[DialogTold]| said(EventPackage::Dialog, What::Dialogs(dialogs.to_vec()));
        let alice = Some("sip:alice@example.com");
        let early = dialog(DialogState::Early, Some(Side::Called), false, alice);
        let talking = dialog(DialogState::Confirmed, Some(Side::Caller), false, alice);
        assert_eq!(said(&[]), (Ink::Dim, "no dialog".to_owned()));
        assert_eq!(
            said(std::slice::from_ref(&early)),
            (Ink::Yellow, "early from alice@example.com".to_owned())
        );
        assert_eq!(
            said(&[early, talking]),
            (Ink::Red, "early from alice@example.com, confirmed with alice@example.com".to_owned())
        );
        assert_eq!(
            said(&[dialog(DialogState::Trying, Some(Side::Caller), false, None)]),
            (Ink::Blue, "trying".to_owned())
        );
        assert_eq!(
            said(&[dialog(DialogState::Confirmed, None, true, Some("sip:\x1b[2J@example.com"))]),
            (Ink::Magenta, "held with \\u{1b}[2J@example.com".to_owned())
        );
    }

    #[test]
    fn a_line_says_when_of_whom_what_and_not_the_same_twice() {
        let watched = ["sip:bob@example.com", "sip:carol@example.com"];
        let watched = watched.map(|aor| Aor::from_uri(aor.as_bytes()).unwrap());
        let mut lines = ToldLines::new(Vec::new(), Style::plain(), &watched);
        let open = || told(EventPackage::Presence, presence(Some(true), &[], None));
        lines.told(&open()).unwrap();
        lines.told(&open()).unwrap();
        lines.told(&told(EventPackage::Dialog, What::Dialogs(Vec::new()))).unwrap();
        assert_eq!(
            String::from_utf8(lines.out).unwrap(),
            "1970-01-01T00:00:01.000000Z  ◆ bob@example.com    open\n\
             1970-01-01T00:00:01.000000Z  ◆ bob@example.com    no dialog\n"
        );
    }
}
