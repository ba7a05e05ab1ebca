//! The call ladder: every SIP message as an arrow between hosts, every status change below the message that brought it.
//! Beside it, if there is a watcher, what that is told.
//! In: `TapOutput`, publication outcomes, what a watcher is told, counters. Out: text for eyes, line by line. Knows
//! nothing of captures and sockets.

mod beside;
mod columns;
mod repeats;
mod table;

use std::io::{self, Write};
use std::time::Duration;

use super::redial_words::{counts_in_words, in_words as redial_in_words};
use super::style::{Cells, Ink, Style, counted, in_words, short_aor, shorten};
use super::told::{LastWords, in_words as told_in_words};
use super::words::blindness;
use super::{Outlet, Sources, Summary, clean};
use crate::base::{CaptureChange, CaptureEvent, FrameId, Oddity, Timestamp};
use crate::presence::{ChangeKind, PresentityChange, Session, Terminal};
use crate::publish::{Operation, PublicationOutcome};
use crate::redial::RedialTold;
use crate::sip::Aor;
use crate::tap::{MessageSeen, TapOutput};
use crate::track::Confidence;
use crate::watch::Told;

use beside::Beside;
use columns::{Columns, FIRST_CELL};
use repeats::Repeats;
use table::Table;

/// A silence at least this long gets a line of its own.
const TOLD_SILENCE: Duration = Duration::from_secs(60);
/// After so many messages the hosts are named again.
const MESSAGES_PER_HEADING: u32 = 40;

/// What is said of a message beside its arrow is left out where there is less room to say it.
const LEAST_ROOM: usize = 8;

/// Writes a run as a ladder.
pub struct Ladder<W: Write> {
    out: W,
    style: Style,
    sources: Sources,
    start: Option<Timestamp>,
    last: Option<Timestamp>,
    since_heading: u32,
    columns: Columns,
    repeats: Repeats,
    table: Table,
    beside: Option<Beside>,
    /// Where names need no domain: that of the first presentity.
    home: Option<String>,
    last_words: LastWords,
}

impl<W: Write> Ladder<W> {
    /// A ladder into `out`, which should be buffered.
    pub fn new(out: W, style: Style, sources: Sources) -> Self {
        Self {
            out,
            style,
            sources,
            start: None,
            last: None,
            since_heading: 0,
            columns: Columns::new(style.width),
            repeats: Repeats::default(),
            table: Table::default(),
            beside: None,
            home: None,
            last_words: LastWords::default(),
        }
    }

    /// From the beginning with a right-hand side that says what a watcher is told, where that has room; the ladder is
    /// drawn more closely then. Else what is told has rows of its own.
    pub fn beside_watcher(mut self) -> Self {
        self.beside = Beside::of(self.style.width);
        if let Some(beside) = &self.beside {
            self.columns = Columns::of(beside.hosts());
        }
        self
    }

    /// Characters that a row of the ladder may use.
    fn width(&self) -> usize {
        self.beside.as_ref().map_or(self.style.width, Beside::left_width)
    }

    /// An address as short as is clear. Beside a watcher's view there is no room for the domain that all have.
    fn name(&self, address: &str) -> String {
        let address = short_aor(address);
        let home = self.home.as_deref().filter(|_| self.beside.is_some());
        match (address.split_once('@'), home) {
            (Some((user, domain)), Some(home)) if domain == home => user.to_owned(),
            _ => address.into_owned(),
        }
    }

    fn learn_home(&mut self, aor: &Aor) {
        if self.home.is_none() {
            self.home = aor.domain().map(|domain| clean(domain).into_owned());
        }
    }

    /// The first thing that happens says when the run begins.
    fn begin(&mut self, at: Timestamp) -> io::Result<()> {
        if self.start.is_some() {
            return Ok(());
        }
        (self.start, self.last) = (Some(at), Some(at));
        let paint = |ink, text: String| self.style.paint(ink, text);
        let names = self.sources.all();
        if let [name] = names {
            let name = if name == "-" { "standard input" } else { name };
            write!(self.out, "{} · ", paint(Ink::Bold, clean(name).into_owned()))?;
        } else {
            for (index, name) in names.iter().enumerate() {
                let letter = source_letter(index);
                writeln!(self.out, "{letter} = {}", paint(Ink::Bold, clean(name).into_owned()))?;
            }
        }
        writeln!(self.out, "begins {} UTC; times are counted from there\n", readable(at))
    }

    /// Minutes, seconds and milliseconds since the beginning.
    fn clock(&self, at: Timestamp) -> String {
        let since = at.since(self.start.unwrap_or(at));
        let (seconds, milliseconds) = (since.as_secs(), since.subsec_millis());
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            format!("{hours}:{minutes:02}:{seconds:02}.{milliseconds:03}")
        } else {
            format!("{minutes}:{seconds:02}.{milliseconds:03}")
        }
    }

    /// A frame's number, with its input's letter where there are several.
    fn frame(&self, frame: FrameId) -> String {
        match self.sources.name(frame) {
            Some(_) => format!("{}{}", source_letter(usize::from(frame.source())), frame.number()),
            None => frame.number().to_string(),
        }
    }

    fn beginning_of_line(&self, at: Timestamp, frame: &str) -> Cells {
        let mut line = Cells::default();
        line.put(0, Ink::Dim, &format!("{:>11} {frame:>7}", self.clock(at)));
        line
    }

    /// What follows from a message has no time of its own, what a timer brings about has.
    fn beginning_of_consequence(&mut self, at: Timestamp) -> Cells {
        if self.last.is_some_and(|last| at > last) {
            self.last = Some(at);
            self.beginning_of_line(at, "timer")
        } else {
            Cells::default()
        }
    }

    fn print(&mut self, line: Cells) -> io::Result<()> {
        self.print_about(line, None)
    }

    /// Prints a row that tells somebody's status.
    fn print_about(&mut self, line: Cells, about: Option<&Aor>) -> io::Result<()> {
        let line = match &mut self.beside {
            Some(beside) => beside.push(line, about.cloned()),
            None => Some(line),
        };
        self.write(line)
    }

    fn write(&mut self, line: Option<Cells>) -> io::Result<()> {
        line.map_or(Ok(()), |line| writeln!(self.out, "{}", line.render(self.style)))
    }

    /// Writes the rows that wait.
    fn write_all(&mut self) -> io::Result<()> {
        while let Some(line) = self.beside.as_mut().and_then(Beside::pop) {
            self.write(Some(line))?;
        }
        Ok(())
    }

    fn message(&mut self, message: &MessageSeen) -> io::Result<()> {
        self.begin(message.at)?;
        let silence = message.at.since(self.last.unwrap_or(message.at));
        if silence >= TOLD_SILENCE {
            let mut line = Cells::default();
            self.columns.draw_lifelines(&mut line, '⋮');
            line.put(self.columns.margin(), Ink::Dim, &format!("{} later", in_words(silence)));
            self.print(line)?;
        }
        self.last = self.last.max(Some(message.at));

        let repeated = self.repeats.is_repeat(message);
        let place = self.columns.place(message.source, message.destination, message.at);
        self.since_heading += 1;
        if place.is_some_and(|place| place.opened) || self.since_heading > MESSAGES_PER_HEADING {
            self.since_heading = 0;
            let mut heading = Cells::default();
            heading.put(0, Ink::Dim, "       time   frame");
            self.columns.draw_names(&mut heading);
            let heading = match &mut self.beside {
                Some(beside) => beside.push_heading(heading),
                None => Some(heading),
            };
            self.write(heading)?;
        }

        let mut line = self.beginning_of_line(message.at, &self.frame(message.frame));
        let about = self.who(message);
        let (label, ink) = (label(message), ink(message));
        match place {
            Some(place) => {
                self.columns.draw_lifelines(&mut line, '│');
                self.columns.draw_arrow(&mut line, place, &label, ink, repeated);
                let margin = self.columns.margin();
                let room = self.width().saturating_sub(margin);
                if room >= LEAST_ROOM {
                    let (ink, words) =
                        if repeated { (Ink::Dim, "repeated") } else { (Ink::Plain, about.as_str()) };
                    line.put(margin, ink, &shorten(words, room));
                }
            }
            None => {
                let mut words = format!("{} → {}  {label}", message.source, message.destination);
                for more in [about.as_str(), if repeated { "(repeated)" } else { "" }] {
                    if !more.is_empty() {
                        words.push_str("  ");
                        words.push_str(more);
                    }
                }
                let room = self.width().saturating_sub(FIRST_CELL);
                line.put(FIRST_CELL, Ink::Plain, &shorten(&words, room));
            }
        }
        self.print(line)
    }

    /// Whom a request is about, for those requests that begin something.
    fn who(&self, message: &MessageSeen) -> String {
        let (from, to) = (self.name(&message.from), self.name(&message.to));
        match message.title.split(' ').next() {
            Some("INVITE" | "MESSAGE" | "REFER" | "SUBSCRIBE") => format!("{from} → {to}"),
            Some("REGISTER" | "PUBLISH") => to,
            _ => String::new(),
        }
    }

    fn change(&mut self, change: &PresentityChange) -> io::Result<()> {
        self.begin(change.at)?;
        self.table.change(change);
        self.learn_home(&change.aor);
        let mut line = self.beginning_of_consequence(change.at);
        let state = &change.state;
        let ink = status_ink(state.terminal, state.session);
        line.put(FIRST_CELL, ink, "●");
        let mut words = Words { line, at: FIRST_CELL + 2 };
        words.say(Ink::Bold, &shorten(&self.name(change.aor.as_str()), 60));
        words.say(Ink::Plain, "  ");
        let mut reason =
            format!("{}, frame {}", change.because.rule.name(), self.frame(change.because.frame));
        if state.confidence != Confidence::Full {
            reason = format!("{reason}, {}", state.confidence.name());
        }
        match change.kind {
            ChangeKind::Status => {
                let before = status_name(change.previous.0, change.previous.1);
                let after = status_name(state.terminal, state.session);
                let is_short = self.beside.is_some() && change.previous.0 == state.terminal;
                if before == after {
                    let watching =
                        if state.watching { "now watches others" } else { "watches others no more" };
                    words.say(ink, &format!("{after}, {watching}"));
                } else {
                    words.say(Ink::Plain, &format!("{before} → "));
                    words.say(ink, if is_short { state.session.name() } else { &after });
                }
                if let (Some(peer), true) = (&state.peer, state.session != Session::Idle) {
                    words.say(Ink::Plain, &format!("  with {}", shorten(&self.name(peer), 40)));
                }
            }
            ChangeKind::Contact => {
                let contact =
                    state.bindings.last().map(|binding| &binding.contact).or(state.contact.as_ref());
                let contact = contact.map_or("another address", |contact| contact);
                words.say(Ink::Plain, &format!("is now at {}", shorten(&short_aor(contact), 60)));
            }
            ChangeKind::Document => return Ok(()),
        }
        words.say(Ink::Dim, &format!("  ({reason})"));
        self.print_about(words.line, Some(&change.aor))
    }

    fn capture(&mut self, event: &CaptureEvent) -> io::Result<()> {
        self.begin(event.at)?;
        let interface = clean(&event.interface);
        let mut line = self.beginning_of_line(event.at, "");
        let (ink, words) = match event.what {
            CaptureChange::Blind { why, since } => {
                (Ink::Red, format!("! blind since {}: {interface} {}", self.clock(since), blindness(why)))
            }
            CaptureChange::Seeing => (Ink::Green, format!("! {interface} shows everything again")),
            CaptureChange::Began
            | CaptureChange::Continues
            | CaptureChange::Reached
            | CaptureChange::Counted => return Ok(()),
        };
        line.put(FIRST_CELL, ink, &words);
        self.print(line)
    }

    fn oddity(&mut self, oddity: Oddity, at: Timestamp, frame: FrameId) -> io::Result<()> {
        self.begin(at)?;
        let mut line = Cells::default();
        let words =
            format!("! {}, first in frame {}", table::oddity_in_words(oddity.name()), self.frame(frame));
        line.put(FIRST_CELL, Ink::Yellow, &words);
        self.print(line)
    }
}

/// Words one behind the other, each in its ink.
struct Words {
    line: Cells,
    at: usize,
}

impl Words {
    fn say(&mut self, ink: Ink, text: &str) {
        self.line.put(self.at, ink, text);
        self.at += text.chars().count();
    }
}

/// Inputs are told apart by a letter, as long as there are letters.
fn source_letter(index: usize) -> String {
    match u8::try_from(index) {
        Ok(index @ 0..26) => char::from(b'a' + index).to_string(),
        _ => format!("{}:", index + 1),
    }
}

fn readable(at: Timestamp) -> String {
    at.to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

fn status_name(terminal: Terminal, session: Session) -> String {
    format!("{}/{}", terminal.name(), session.name())
}

/// The colour of a status.
pub const fn status_ink(terminal: Terminal, session: Session) -> Ink {
    match (session, terminal) {
        (Session::Talking, _) => Ink::Red,
        (Session::Held, _) => Ink::Magenta,
        (Session::Ringing, _) => Ink::Yellow,
        (Session::Calling, _) => Ink::Blue,
        (Session::Idle, Terminal::Online) => Ink::Green,
        (Session::Idle, Terminal::OfflineWaiting | Terminal::Offline | Terminal::Unknown) => Ink::Dim,
    }
}

/// The status code of a response, from its title.
fn status_code(title: &str) -> Option<u16> {
    title.get(..3)?.parse().ok()
}

/// What stands on the arrow, in at most [`columns::LABEL_WIDTH`] characters.
fn label(message: &MessageSeen) -> String {
    let title = clean(&message.title);
    let (words, method) = match status_code(&title) {
        Some(_) => match title.rsplit_once(" (") {
            Some((words, method)) => (words, method.trim_end_matches(')')),
            None => (&*title, ""),
        },
        None => (title.split_once(' ').map_or(&*title, |(method, _)| method), ""),
    };
    if message.has_sdp {
        return format!("{} (SDP)", shorten(words, columns::LABEL_WIDTH - 6));
    }
    let provisional = status_code(&title).is_some_and(|code| code < 200);
    let with_method = format!("{words} ({method})");
    if !method.is_empty() && !provisional && with_method.chars().count() <= columns::LABEL_WIDTH {
        return with_method;
    }
    shorten(words, columns::LABEL_WIDTH).into_owned()
}

fn ink(message: &MessageSeen) -> Ink {
    match status_code(&message.title) {
        None => Ink::Cyan,
        Some(401 | 407 | 100) => Ink::Plain,
        Some(code) if code < 200 => Ink::Yellow,
        Some(code) if code < 300 => Ink::Green,
        Some(_) => Ink::Red,
    }
}

impl<W: Write> Outlet for Ladder<W> {
    fn output(&mut self, output: &TapOutput) -> io::Result<()> {
        match output {
            TapOutput::Message(message) => self.message(message),
            TapOutput::Change(change) => self.change(change),
            TapOutput::Oddity { oddity, at, frame } => self.oddity(*oddity, *at, *frame),
            TapOutput::Capture(event) => self.capture(event),
            TapOutput::Observed(_) | TapOutput::Nobodys(_) => Ok(()),
        }
    }

    fn publication(&mut self, outcome: &PublicationOutcome) -> io::Result<()> {
        if outcome.acknowledged && self.beside.is_some() {
            // That it arrived is seen on the other side.
            return Ok(());
        }
        let mut line = Cells::default();
        let (mark, ink) = if outcome.acknowledged { ("▲", Ink::Green) } else { ("△", Ink::Red) };
        line.put(FIRST_CELL, ink, mark);
        let mut words = format!(
            "{}  {} publication of {}: ",
            shorten(&self.name(outcome.aor.as_str()), 60),
            outcome.operation.name(),
            outcome.event.name()
        );
        let granted = outcome.acknowledged && outcome.operation != Operation::Remove;
        match (outcome.acknowledged, outcome.status) {
            (true, _) => words.push_str("acknowledged"),
            (false, Some(status)) => words.push_str(&format!("refused with {status}")),
            (false, None) => words.push_str("not answered"),
        }
        if let (true, Some(expires_s)) = (granted, outcome.expires_s) {
            words.push_str(&format!(" for {expires_s} s"));
        }
        line.put(FIRST_CELL + 2, Ink::Plain, &words);
        self.print(line)
    }

    fn told(&mut self, told: &Told) -> io::Result<()> {
        let name = |address: &str| self.name(address);
        let (ink, words) = told_in_words(told, &name);
        if !self.last_words.are_new(told, &words) {
            return Ok(());
        }
        let name = self.name(told.aor.as_str());
        let mut row = Cells::default();
        let line = match &mut self.beside {
            Some(beside) => {
                self.columns.draw_lifelines(&mut row, '│');
                beside.tell(&told.aor, &name, ink, &words, row)
            }
            None => {
                row.put(FIRST_CELL, ink, "◆");
                let mut words_of_row = Words { line: row, at: FIRST_CELL + 2 };
                words_of_row.say(Ink::Bold, &shorten(&name, 60));
                words_of_row.say(Ink::Plain, " is told to watchers as: ");
                words_of_row.say(ink, &words);
                Some(words_of_row.line)
            }
        };
        self.write(line)
    }

    fn redial(&mut self, told: &RedialTold) -> io::Result<()> {
        self.begin(told.at)?;
        let (ink, words) = redial_in_words(told, &|address| shorten(&self.name(address), 60).into_owned());
        let mut line = self.beginning_of_consequence(told.at);
        line.put(FIRST_CELL, ink, "↻");
        let mut row = Words { line, at: FIRST_CELL + 2 };
        row.say(ink, &words);
        let reason = format!("{}, frame {}", told.because.rule.name(), self.frame(told.because.frame));
        row.say(Ink::Dim, &format!("  ({reason})"));
        self.print(row.line)
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.write_all()?;
        let clock = |at| self.clock(at);
        let frame = |id| self.frame(id);
        let table = self.table.render(self.style, &clock, &frame);
        if self.start.is_some() {
            writeln!(self.out)?;
        }
        self.out.write_all(table.as_bytes())?;
        let counters = &summary.counters;
        write!(
            self.out,
            "{}, {}, {}, {}",
            counted(counters.frames, "frame"),
            counted(counters.sip_messages, "SIP message"),
            counted(counters.presentities, "presentity"),
            counted(counters.changes, "change"),
        )?;
        if let (Some(start), Some(last)) = (self.start, summary.last) {
            write!(self.out, " in {}", in_words(last.since(start)))?;
        }
        writeln!(self.out, ".")?;
        if counters.frames > 0 && counters.sip_messages == 0 {
            writeln!(self.out, "No SIP was seen: it may be encrypted, or not in this capture.")?;
        } else if counters.sip_messages > 0 && counters.presentities == 0 {
            writeln!(self.out, "Nobody of a managed domain was seen.")?;
        }
        if !counters.ends.is_empty() {
            let ends: Vec<String> = counters
                .ends
                .iter()
                .map(|(reason, count)| format!("{} {count}", reason.replace('_', " ")))
                .collect();
            writeln!(self.out, "Dialogs ended: {}.", ends.join(", "))?;
        }
        if counters.oddities.is_empty() {
            if counters.sip_messages > 0 {
                writeln!(self.out, "Nothing strange was seen.")?;
            }
        } else {
            writeln!(self.out, "Strange:")?;
            for (name, count) in &counters.oddities {
                writeln!(self.out, "  {count:>8} × {}", table::oddity_in_words(name))?;
            }
        }
        for (interface, counts) in &summary.capture {
            writeln!(
                self.out,
                "{}: {} received, {} dropped by the kernel, {} by the interface.",
                clean(interface),
                counts.received,
                counts.kernel_dropped,
                counts.interface_dropped
            )?;
        }
        let publications = summary.publications;
        if publications.acknowledged + publications.failed > 0 {
            writeln!(
                self.out,
                "Publications: {} acknowledged, {} failed.",
                publications.acknowledged, publications.failed
            )?;
        }
        if let Some(redial) = &summary.redial {
            writeln!(self.out, "{}", counts_in_words(redial))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_all()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
