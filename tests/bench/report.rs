//! What was measured, for people and for programs.
//! In: numbers. Out: tables on the terminal, JSON. Knows nothing of what they mean.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// A column: its title, and with how many decimals people read it.
pub type Column = (&'static str, usize);

/// Rows of numbers under one title.
pub struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Table {
    /// An empty one.
    pub fn new(title: impl Into<String>, columns: &[Column]) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; a number that there is not is left blank.
    pub fn row(&mut self, name: &str, numbers: impl Into<Vec<Option<f64>>>) {
        self.rows.push((name.to_owned(), numbers.into()));
    }

    /// The same for a README.
    pub fn markdown(&self) -> String {
        let titles: Vec<_> = self.columns.iter().map(|(title, _)| *title).collect();
        let mut text =
            format!("| {} | {} |\n|---|{}\n", self.title, titles.join(" | "), "--:|".repeat(titles.len()));
        for (name, numbers) in &self.rows {
            let numbers = self.columns.iter().zip(numbers);
            let cells: Vec<_> = numbers.map(|((_, decimals), number)| written(*number, *decimals)).collect();
            text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
        }
        text
    }

    /// The same for programs; the columns' titles are not unique, their order is.
    pub fn json(&self) -> Value {
        let columns: Vec<_> = self.columns.iter().map(|(title, _)| *title).collect();
        let rows: Vec<_> =
            self.rows.iter().map(|(name, numbers)| json!({ "name": name, "numbers": numbers })).collect();
        json!({ "title": self.title, "columns": columns, "rows": rows })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        writeln!(f, "{}", self.title)?;
        write!(f, "  {:names$}", "")?;
        for (title, _) in &self.columns {
            write!(f, "  {:>width$}", title, width = width(title))?;
        }
        writeln!(f)?;
        for (name, numbers) in &self.rows {
            write!(f, "  {name:names$}")?;
            for ((title, decimals), number) in self.columns.iter().zip(numbers) {
                let number = written(*number, *decimals);
                write!(f, "  {number:>width$}", width = width(title))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn width(title: &str) -> usize {
    title.chars().count().max(6)
}

/// For whom it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// People at a terminal.
    Text,
    /// Programs: one JSON object.
    Json,
    /// A README.
    Markdown,
}

impl Shape {
    /// As options say it; at most one of them is given.
    pub const fn of(is_json: bool, is_markdown: bool) -> Self {
        match (is_json, is_markdown) {
            (true, _) => Self::Json,
            (false, true) => Self::Markdown,
            (false, false) => Self::Text,
        }
    }
}

/// Under which circumstances it was measured.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Processor and the like, in words.
    pub machine: &'a str,
    /// The load average before it began.
    pub load: f64,
    /// Too little was done to say how fast anything is.
    pub is_quick: bool,
}

/// Writes it all on standard output.
pub fn show(tables: &[Table], shape: Shape, run: Run<'_>) {
    let version = env!("CARGO_PKG_VERSION");
    let Run { machine, load, is_quick } = run;
    match shape {
        Shape::Json => {
            let tables: Vec<_> = tables.iter().map(Table::json).collect();
            let report = json!({
                "version": version, "machine": machine, "load_before": load, "quick": is_quick, "tables": tables,
            });
            println!("{report}");
        }
        Shape::Markdown => {
            println!("On {machine}:\n");
            for table in tables {
                println!("{}", table.markdown());
            }
        }
        Shape::Text => {
            println!("offhook {version}, {machine}");
            println!(
                "Load average before it began: {load:.2}. Other work on the machine disturbs delays most."
            );
            if is_quick {
                println!("Quick: this shows that the bench works, not how fast anything is.");
            }
            for table in tables {
                println!("\n{table}");
            }
        }
    }
}

/// `1,234,567` and `0.25`; `–` for none.
pub fn written(number: Option<f64>, decimals: usize) -> String {
    let Some(number) = number else { return "–".to_owned() };
    let digits = format!("{:.decimals$}", number.abs());
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut text = if number < 0.0 { "−".to_owned() } else { String::new() };
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + fraction
}

/// The middle one; the lower of two.
pub fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().checked_sub(1)? / 2).copied()
}

/// So many in a hundred took no longer than this, in milliseconds.
pub fn percentile_ms(times: &[Duration], percent: usize) -> Option<f64> {
    let mut times = times.to_vec();
    times.sort();
    let rank = (times.len() * percent).div_ceil(100).checked_sub(1)?;
    times.get(rank).map(|time| time.as_secs_f64() * 1e3)
}
