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

/// What is to be reached.
pub struct Goal {
    /// Of what, with its unit.
    pub what: &'static str,
    /// If it was.
    pub measured: Option<f64>,
    /// How it is met.
    pub bound: Bound,
}

/// Where a goal is met.
pub enum Bound {
    /// From here on.
    AtLeast(f64),
    /// Up to here.
    AtMost(f64),
}

impl Goal {
    fn is_met(&self) -> Option<bool> {
        let measured = self.measured?;
        Some(match self.bound {
            Bound::AtLeast(bound) => measured >= bound,
            Bound::AtMost(bound) => measured <= bound,
        })
    }

    /// A line for people.
    fn line(&self) -> String {
        let (sign, bound) = match self.bound {
            Bound::AtLeast(bound) => ("≥", bound),
            Bound::AtMost(bound) => ("≤", bound),
        };
        let decimals = if bound < 10.0 { 2 } else { 0 };
        let (measured, bound) = (written(self.measured, decimals), written(Some(bound), decimals));
        let word = match self.is_met() {
            Some(true) => "met",
            Some(false) => "not met",
            None => "not measured",
        };
        format!("{word:>12}  {}: {measured} (goal {sign} {bound})", self.what)
    }

    /// The same for programs.
    fn json(&self) -> Value {
        let (at_least, at_most) = match self.bound {
            Bound::AtLeast(bound) => (Some(bound), None),
            Bound::AtMost(bound) => (None, Some(bound)),
        };
        json!({ "what": self.what, "measured": self.measured, "at_least": at_least, "at_most": at_most,
            "met": self.is_met() })
    }
}

/// What every bench can be asked.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Little is done, in a short time: shows that the bench works, not how fast anything is.
    #[arg(long)]
    quick: bool,
    /// One JSON object in place of tables.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Tables for a README.
    #[arg(long)]
    markdown: bool,
    /// Given by `cargo bench`, behind everything, so that subcommands take it, too; without it, as `cargo test` does, it is quick.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// The command line; `None`: a test runner asks what tests there are, and a bench has none.
pub fn arguments<Arguments: clap::Parser>() -> Option<Arguments> {
    (!std::env::args().any(|argument| argument == "--list")).then(Arguments::parse)
}

/// How a bench is run, and under which circumstances.
pub struct Run {
    options: Options,
    /// Processor and the like, in words.
    machine: String,
    /// The load average before it began.
    load: f64,
}

impl Run {
    /// Before anything is done: `load` is the load average.
    pub const fn begin(options: Options, machine: String, load: f64) -> Self {
        Self { options, machine, load }
    }

    /// Too little is done to say how fast anything is.
    pub const fn is_quick(&self) -> bool {
        self.options.quick || !self.options.bench
    }

    /// Writes it all on standard output. `runs`: figures are medians of so many.
    pub fn show(&self, tables: &[Table], goals: &[Goal], runs: usize) {
        let (version, machine, load) = (env!("CARGO_PKG_VERSION"), &self.machine, self.load);
        let medians = if runs > 1 { format!(", median of {runs} runs") } else { String::new() };
        if self.options.json {
            let tables: Vec<_> = tables.iter().map(Table::json).collect();
            let goals: Vec<_> = goals.iter().map(Goal::json).collect();
            let report = json!({
                "version": version, "machine": machine, "load_before": load, "quick": self.is_quick(), "tables": tables,
                "goals": goals,
            });
            println!("{report}");
        } else if self.options.markdown {
            println!("On {machine}{medians}:\n");
            for table in tables {
                println!("{}", table.markdown());
            }
        } else {
            println!("offhook {version}, {machine}{medians}");
            println!(
                "Load average before it began: {load:.2}. Other work on the machine disturbs what is measured, delays most: \
                 compare within one run."
            );
            if self.is_quick() {
                println!("Quick: this shows that the bench works, not how fast anything is.");
            }
            for table in tables {
                println!("\n{table}");
            }
            if !goals.is_empty() {
                println!("\nGoals");
            }
            for goal in goals {
                println!("{}", goal.line());
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
