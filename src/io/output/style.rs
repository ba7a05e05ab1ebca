//! Text for a terminal: what may reach it, how wide it is, in which colour.
//! In: words, some of them from the wire. Out: words that are safe to print. Knows nothing of calls.

use std::borrow::Cow;
use std::env;
use std::fmt::{self, Write};
use std::time::Duration;

/// Control characters, and those that change the direction or hide text, as escapes: words from the
/// wire must not steer somebody's terminal, nor pretend to be other words.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_unsafe(character) {
            cleaned.extend(character.escape_default());
        } else {
            cleaned.push(character);
        }
    }
    Cow::Owned(cleaned)
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The text cut to so many characters, the last of which then is an ellipsis.
pub fn shorten(text: &str, characters: usize) -> Cow<'_, str> {
    if text.chars().count() <= characters {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(characters.saturating_sub(1)).collect();
    Cow::Owned(kept.trim_end().to_owned() + "…")
}

/// `sip:alice@example.com` as people write it: `alice@example.com`.
pub fn short_aor(aor: &str) -> Cow<'_, str> {
    clean(aor.strip_prefix("sip:").unwrap_or(aor))
}

/// A length of time in the two largest units that it has: `3 h 20 min`, `12.5 s`, `80 ms`.
pub fn in_words(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..=59 => format!("{seconds}.{} s", length.subsec_millis() / 100),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// `1 frame`, `2 frames`: a count and its noun.
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 {
        noun.to_owned()
    } else if let Some(stem) = noun.strip_suffix('y') {
        format!("{stem}ies")
    } else if noun.ends_with("sh") {
        format!("{noun}es")
    } else {
        format!("{noun}s")
    };
    format!("{count} {plural}")
}

/// How words stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// As all other text.
    Plain,
    /// Less than other text.
    Dim,
    /// More than other text.
    Bold,
    /// Red: talking, refused.
    Red,
    /// Yellow: ringing.
    Yellow,
    /// Green: online.
    Green,
    /// Blue: calling.
    Blue,
    /// Magenta: held.
    Magenta,
    /// Cyan: requests.
    Cyan,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Green => "32",
            Self::Blue => "34",
            Self::Magenta => "35",
            Self::Cyan => "36",
        }
    }
}

/// How text looks on the medium it goes to.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colours may be used.
    pub colours: bool,
    /// Characters that fit on a line.
    pub width: usize,
}

impl Style {
    /// Narrower terminals get lines that are folded.
    const MIN_WIDTH: usize = 60;
    /// Wider ones gain nothing.
    const MAX_WIDTH: usize = 200;
    /// For files and pipes.
    const FILE_WIDTH: usize = 160;
    /// For a terminal that does not tell its width.
    const TERMINAL_WIDTH: usize = 120;

    /// The style for standard output: colours on a terminal only, and not where `NO_COLOR` is set
    /// (no-color.org) or `TERM` is `dumb`; the width that `COLUMNS` says, else that of the terminal.
    pub fn for_stdout(is_terminal: bool) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        let measured = || {
            let (_, columns) = console::Term::stdout().size_checked().filter(|_| is_terminal)?;
            Some(usize::from(columns)).filter(|&columns| columns > 0)
        };
        let told = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).or_else(measured);
        let usual = if is_terminal { Self::TERMINAL_WIDTH } else { Self::FILE_WIDTH };
        Self {
            colours: is_terminal && !refused,
            width: told.unwrap_or(usual).clamp(Self::MIN_WIDTH, Self::MAX_WIDTH),
        }
    }

    /// For a file: no colours.
    pub const fn plain() -> Self {
        Self { colours: false, width: Self::FILE_WIDTH }
    }

    /// The text in this ink.
    pub const fn paint<T: fmt::Display>(self, ink: Ink, text: T) -> Painted<T> {
        Painted { colours: self.colours, ink, text }
    }
}

/// Text in an ink.
pub struct Painted<T> {
    colours: bool,
    ink: Ink,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.colours || self.ink == Ink::Plain {
            return self.text.fmt(f);
        }
        write!(f, "\x1b[{}m", self.ink.code())?;
        self.text.fmt(f)?;
        f.write_str("\x1b[0m")
    }
}

/// A line of characters in inks, put together cell by cell.
#[derive(Debug, Default)]
pub struct Cells(Vec<(char, Ink)>);

impl Cells {
    /// Writes text from a column on, over what is there; the line grows by blanks as needed.
    pub fn put(&mut self, column: usize, ink: Ink, text: &str) {
        for (at, character) in (column..).zip(text.chars()) {
            if self.0.len() <= at {
                self.0.resize(at + 1, (' ', Ink::Plain));
            }
            if let Some(cell) = self.0.get_mut(at) {
                *cell = (character, ink);
            }
        }
    }

    /// Leaves so many characters, the last of which is an ellipsis if there were more.
    pub fn cut(&mut self, characters: usize) {
        if self.0.len() > characters {
            self.0.truncate(characters);
            if let Some((last, _)) = self.0.last_mut() {
                *last = '…';
            }
        }
    }

    /// The line as text, without blanks at its end.
    pub fn render(&self, style: Style) -> String {
        let end = self.0.iter().rposition(|(character, _)| *character != ' ').map_or(0, |at| at + 1);
        let mut text = String::with_capacity(end * 2);
        let mut current = Ink::Plain;
        for &(character, ink) in self.0.iter().take(end) {
            if style.colours && ink != current {
                // The codes add up: back to plain first.
                let _ = write!(text, "\x1b[0m\x1b[{}m", ink.code());
                current = ink;
            }
            text.push(character);
        }
        if current != Ink::Plain {
            text.push_str("\x1b[0m");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_wire_steers_the_terminal() {
        assert_eq!(clean("alice"), "alice");
        assert_eq!(clean("a\x1b[2Jb\r\n\u{9b}c\u{202e}d"), "a\\u{1b}[2Jb\\r\\n\\u{9b}c\\u{202e}d");
        assert_eq!(clean("Zoë 日本"), "Zoë 日本");
    }

    #[test]
    fn lengths_of_time_and_counts_in_words() {
        assert_eq!(in_words(Duration::from_millis(80)), "80 ms");
        assert_eq!(in_words(Duration::from_millis(12_560)), "12.5 s");
        assert_eq!(in_words(Duration::from_secs(12_000)), "3 h 20 min");
        assert_eq!(counted(1, "frame"), "1 frame");
        assert_eq!(counted(2, "presentity"), "2 presentities");
        assert_eq!(shorten("407 Proxy Authentication Required", 12), "407 Proxy A…");
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let mut cells = Cells::default();
        cells.put(2, Ink::Red, "x");
        assert_eq!(cells.render(Style::plain()), "  x");
        let style = Style { colours: true, width: 80 };
        assert_eq!(cells.render(style), "  \x1b[0m\x1b[31mx\x1b[0m");
        assert_eq!(style.paint(Ink::Bold, "b").to_string(), "\x1b[1mb\x1b[0m");
        assert_eq!(Style::plain().paint(Ink::Bold, "b").to_string(), "b");
    }
}
