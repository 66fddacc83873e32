//! The table.

use crate::Options;
use crate::samples::{Samples, show};
use crate::server::{Facts, progress};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

struct Row {
    what: String,
    side: String,
    result: String,
    detail: String,
    runs: usize,
    ratio: String,
}

#[derive(Default)]
pub struct Report {
    head: String,
    notes: Vec<String>,
    rows: Vec<Row>,
}

impl Report {
    pub fn new(facts: &Facts, options: &Options) -> Self {
        let mut head = format!("PostgreSQL {}, gemba {}", facts.version, facts.gemba);
        match &facts.timescaledb {
            Some(version) => write!(head, ", TimescaleDB {version}"),
            None => write!(head, ", no TimescaleDB"),
        }
        .ok();
        write!(head, "; {}", machine()).ok();
        let settings: Vec<_> = facts
            .settings
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        write!(
            head,
            "\n\nSettings that are the same for all: {}.",
            settings.join(", ")
        )
        .ok();
        let mut report = Self {
            head,
            ..Self::default()
        };
        if options.quick {
            report.note("**`--quick`: this shows that the benchmark works and measures nothing**");
        }
        report.note(
            "times are medians of the runs that are listed; \"x as fast\" is the baseline's median divided by this one's",
        );
        report
    }

    /// A line above the table.
    pub fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    pub fn row(
        &mut self,
        what: &str,
        side: &str,
        result: String,
        detail: String,
        runs: usize,
        ratio: String,
    ) {
        progress(&format!(
            "  {what} | {side} | {result} | {detail} | {ratio}"
        ));
        self.rows.push(Row {
            what: what.to_owned(),
            side: side.to_owned(),
            result,
            detail,
            runs,
            ratio,
        });
    }

    /// A row of durations. `items` adds a rate, `baseline` a ratio.
    pub fn timing(
        &mut self,
        what: &str,
        side: &str,
        samples: &Samples,
        items: Option<u64>,
        baselines: &[(&str, Duration)],
    ) {
        let median = samples.median();
        let mut result = show(median);
        if let Some(items) = items {
            let rate = items as f64 / median.as_secs_f64().max(1e-9);
            write!(result, " ({} rows/s)", thousands(rate as u64)).ok();
        }
        let ratio: Vec<_> = baselines
            .iter()
            .map(|(name, baseline)| {
                format!(
                    "{} as fast as {name}",
                    factor(baseline.as_secs_f64() / median.as_secs_f64().max(1e-9))
                )
            })
            .collect();
        self.row(
            what,
            side,
            result,
            samples.spread(),
            samples.count(),
            ratio.join("; "),
        );
    }

    pub fn finish(&self, path: &Path) -> Result<()> {
        let mut text = format!("{}\n\n", self.head);
        for note in &self.notes {
            writeln!(text, "- {note}")?;
        }
        writeln!(
            text,
            "\n| measurement | side | result | runs or details | n | ratio |"
        )?;
        writeln!(text, "|---|---|---|---|---:|---|")?;
        let mut before = "";
        for row in &self.rows {
            let what = if row.what == before { "" } else { &row.what };
            before = &row.what;
            writeln!(
                text,
                "| {what} | {} | {} | {} | {} | {} |",
                row.side, row.result, row.detail, row.runs, row.ratio
            )?;
        }
        print!("{text}");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// `12,345,678`
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.23x`, with fewer decimals as it grows.
pub fn factor(ratio: f64) -> String {
    if ratio >= 100.0 {
        format!("{ratio:.0}x")
    } else if ratio >= 10.0 {
        format!("{ratio:.1}x")
    } else {
        format!("{ratio:.2}x")
    }
}

/// Cores, memory and processor, where the system tells.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let field = |file: &str, name: &str| -> Option<String> {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .map_or_else(String::new, |kb| {
            format!(", {} GB of memory", (kb + (1 << 19)) >> 20)
        });
    let processor =
        field("/proc/cpuinfo", "model name").map_or_else(String::new, |name| format!(" ({name})"));
    format!("{cores} cores{processor}{memory}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(124_900_000), "124,900,000");
    }

    #[test]
    fn factors_lose_decimals() {
        assert_eq!(factor(0.5), "0.50x");
        assert_eq!(factor(12.34), "12.3x");
        assert_eq!(factor(1234.5), "1234x");
    }
}
