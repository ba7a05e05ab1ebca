//! The right-hand side of a ladder: what watchers are told, each thing on the row of its moment.
//! In: rows of the ladder, words. Out: rows to write. Knows nothing of messages, subscriptions.
//! Rows wait a little before they are written, so that what is told because of one can stand beside it.

use std::collections::VecDeque;

use super::super::style::{Cells, Ink, shorten};
use super::columns::{MAX_COLUMNS, width_of};
use crate::sip::Aor;

/// The least width of the right-hand side: an address without its domain and a few words.
const MIN_RIGHT: usize = 34;
/// Fewer hosts make no ladder worth two sides: narrower terminals have one.
const MIN_HOSTS: usize = 3;
/// Between the sides.
const GAP: usize = 2;
/// Rows that wait; the oldest is written when another comes.
const MAX_ROWS: usize = 24;
/// Where the words begin, counted from the mark, behind a name that is not longer.
const WORDS_AT: usize = 10;
/// Longer names are cut.
const NAME_WIDTH: usize = 16;

/// What a row that waits has on its left-hand side.
#[derive(PartialEq, Eq)]
enum Left {
    /// Somebody's status.
    Status(Aor),
    /// Something else: a message, a remark.
    Other,
    /// Only lifelines: the row is there for its right-hand side.
    Nothing,
}

/// A row that waits to be written.
struct Row {
    cells: Cells,
    left: Left,
    /// Something stands on its right-hand side.
    is_full: bool,
}

/// See the module.
pub struct Beside {
    hosts: usize,
    column: usize,
    right: usize,
    rows: VecDeque<Row>,
}

impl Beside {
    /// As many hosts as leave room for the right-hand side; `None` when so many characters are too few for two sides.
    pub fn of(width: usize) -> Option<Self> {
        let hosts = (MIN_HOSTS..=MAX_COLUMNS).rfind(|&hosts| width_of(hosts) + GAP + MIN_RIGHT <= width)?;
        let column = width_of(hosts) + GAP;
        Some(Self { hosts, column, right: width - column, rows: VecDeque::new() })
    }

    /// How many hosts the ladder may have.
    pub const fn hosts(&self) -> usize {
        self.hosts
    }

    /// Characters that the ladder itself may use.
    pub const fn left_width(&self) -> usize {
        self.column - GAP
    }

    /// Takes the row that names the hosts, and names the right-hand side too.
    pub fn push_heading(&mut self, mut cells: Cells) -> Option<Cells> {
        cells.cut(self.left_width());
        cells.put(self.column, Ink::Bold, "what a watcher is told");
        self.wait(Row { cells, left: Left::Other, is_full: true })
    }

    /// Takes a row of the ladder, and whose status it tells; gives back one that has waited long enough.
    pub fn push(&mut self, mut cells: Cells, about: Option<Aor>) -> Option<Cells> {
        cells.cut(self.left_width());
        let left = about.map_or(Left::Other, Left::Status);
        self.wait(Row { cells, left, is_full: false })
    }

    fn wait(&mut self, row: Row) -> Option<Cells> {
        self.rows.push_back(row);
        if self.rows.len() > MAX_ROWS { self.pop() } else { None }
    }

    /// The row that waits longest.
    pub fn pop(&mut self) -> Option<Cells> {
        self.rows.pop_front().map(|row| row.cells)
    }

    /// Puts words about somebody beside the newest of their statuses; else beside the newest row, if that is nobody
    /// else's status. Where something stands already they get `own_row`, which comes next.
    pub fn tell(
        &mut self,
        aor: &Aor,
        name: &str,
        ink: Ink,
        words: &str,
        mut own_row: Cells,
    ) -> Option<Cells> {
        let (column, right) = (self.column, self.right);
        let is_theirs = |row: &&mut Row| matches!(&row.left, Left::Status(whose) if whose == aor);
        let place = match self.rows.iter_mut().rfind(is_theirs) {
            Some(row) => Some(row),
            None => self.rows.back_mut().filter(|row| row.left == Left::Other),
        };
        if let Some(row) = place.filter(|row| !row.is_full) {
            write(&mut row.cells, column, right, (name, ink, words));
            row.is_full = true;
            return None;
        }
        write(&mut own_row, column, right, (name, ink, words));
        self.wait(Row { cells: own_row, left: Left::Nothing, is_full: true })
    }
}

fn write(line: &mut Cells, column: usize, width: usize, (name, ink, words): (&str, Ink, &str)) {
    let name = shorten(name, NAME_WIDTH);
    let words_at = (2 + name.chars().count() + 2).max(WORDS_AT);
    line.put(column, ink, "◆");
    line.put(column + 2, Ink::Bold, &name);
    line.put(column + words_at, ink, &shorten(words, width.saturating_sub(words_at)));
}
