//! Reader of *wide* CSV files: one time column, one column per channel, one row per moment.
//!
//! The file comes in blocks of one local day, column by column, as scaled integers: the form in which readings are
//! stored. What cannot be read is reported with its line and column, and costs no more than its cell or its row.

mod header;
mod lines;
#[cfg(test)]
mod tests;
mod value;

pub use value::{MISSING, SCALE, format_scaled, parse as parse_value};

use crate::cu_bems::Channel;
use crate::local_time::{AmbiguousDates, DateOrder, MICROS_PER_DAY};
use header::TimeColumns;
use lines::{Fields, Lines};
use std::fmt;
use std::io::Read;

/// Most rows of a block, and most rejects: what bounds the memory that a block can take.
pub const BLOCK_ROWS: usize = 5_000;
/// Longest raw text kept of a reject, in characters.
pub const RAW_MAX: usize = 200;

/// How a file is to be read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Order of the date's parts; found from the file's first rows where it is not given.
    pub date_order: Option<DateOrder>,
    /// Ranges outside of which the caller holds a value suspect.
    pub plausible: Vec<PlausibleRange>,
}

/// Plausible values of one unit, bounds included, × 10^4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlausibleRange {
    /// Unit as in the headers' parentheses, in any case.
    pub unit: String,
    /// Least plausible value.
    pub min: i64,
    /// Greatest plausible value.
    pub max: i64,
}

/// Rows of one local day in strictly increasing time, as columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Local times, microseconds since 2000-01-01. Empty where a block holds only rejects.
    pub times: Vec<i64>,
    /// Physical line (from 1) at which the row of each time begins.
    pub lines: Vec<u64>,
    /// One column per channel, each as long as `times`: value × 10^4, or [`MISSING`].
    pub columns: Vec<Vec<i64>>,
    /// The block's first time is later than every time of the file's earlier blocks (true where it has none).
    pub after_all_before: bool,
    /// What could not be read, in file order.
    pub rejects: Vec<Reject>,
}

/// A row or a cell that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Physical line (from 1) at which the row begins.
    pub line: u64,
    /// Header of the cell's column; the time column's for a bad timestamp; none where the row's shape is wrong.
    pub column: Option<String>,
    /// Why.
    pub reason: RejectReason,
    /// The text of the cell, or of the row where the row is refused; at most [`RAW_MAX`] characters.
    pub raw: String,
}

/// Why a row or a cell was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// The row's time is none, or impossible. Refuses the row.
    NotATimestamp,
    /// The row has more fields than the header. Refuses the row.
    TooManyFields,
    /// The cell is no decimal number.
    NotANumber,
    /// The cell's value has no place in numeric(10,4).
    OutOfRange,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotATimestamp => "not a local timestamp",
            Self::TooManyFields => "more fields than the header",
            Self::NotANumber => "not a number",
            Self::OutOfRange => "out of range for numeric(10,4)",
        })
    }
}

/// The file cannot be read as a wide file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No header at all.
    #[error("the file is empty")]
    Empty,
    /// Neither a name nor the first rows tell which column holds the time.
    #[error(
        "no time column: none is named date, time, timestamp, datetime or ts, and none begins with a timestamp"
    )]
    NoTimeColumn,
    /// Nothing but time columns.
    #[error("no data column beside the time column")]
    NoChannels,
    /// Two columns would be the same sensor.
    #[error("the header \"{header}\" occurs twice")]
    DuplicateHeader {
        /// The second of them.
        header: String,
    },
    /// The order of day and month has to be given.
    #[error(transparent)]
    AmbiguousDates(#[from] AmbiguousDates),
    /// The input failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The input failed, or is no CSV.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system's error.
    #[error("cannot read the file after line {line}: {source}")]
    Io {
        /// First line that was not read to the end.
        line: u64,
        /// The cause.
        source: std::io::Error,
    },
    /// A record of more than a mebibyte.
    #[error("the record at line {line} or after is too long: a quote may be unclosed")]
    RecordTooLong {
        /// First line that was not read to the end.
        line: u64,
    },
}

/// Reads a wide file block by block.
pub struct WideReader<R: Read> {
    lines: Lines<R>,
    fields: Fields,
    names: Vec<String>,
    time: TimeColumns,
    channels: Vec<Channel>,
    order: DateOrder,
    plausible: Vec<Option<(i64, i64)>>,
    /// Greatest time of the blocks given out.
    greatest: Option<i64>,
    /// Rows of the last block: the next one will likely have as many.
    expected_rows: usize,
}

impl<R: Read> WideReader<R> {
    /// Name of the time column.
    pub fn time_column(&self) -> &str {
        self.names.get(self.time.date).map_or("", String::as_str)
    }

    /// Reads the header and as many rows as it takes to find the time column and the date order.
    /// The input needs no buffering of its own.
    ///
    /// # Errors
    /// [`OpenError`] where the file is empty, has no time column, no channel or a header twice, where its dates are
    /// ambiguous, or where the input fails.
    pub fn open(input: R, options: &Options) -> Result<Self, OpenError> {
        let mut lines = Lines::new(input);
        let layout = header::read(&mut lines, options)?;
        let range_of = |channel: &Channel| {
            let unit = channel.unit.as_deref()?.to_lowercase();
            let range = options
                .plausible
                .iter()
                .find(|range| range.unit.to_lowercase() == unit)?;
            Some((range.min, range.max))
        };
        Ok(Self {
            plausible: layout.channels.iter().map(range_of).collect(),
            lines,
            fields: Fields::default(),
            names: layout.names,
            time: layout.time,
            channels: layout.channels,
            order: layout.order,
            greatest: None,
            expected_rows: 0,
        })
    }

    /// The channels, in file order.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// The date order given or found.
    #[must_use]
    pub fn date_order(&self) -> DateOrder {
        self.order
    }

    /// Least and greatest plausible value (× 10^4) of a channel, where its unit has a range.
    #[must_use]
    pub fn plausible(&self, channel: usize) -> Option<(i64, i64)> {
        self.plausible.get(channel).copied().flatten()
    }

    /// The next block; `None` at the end. A block ends with the local day, where time does not increase, at
    /// [`BLOCK_ROWS`] rows or rejects, and with the file.
    ///
    /// # Errors
    /// [`ReadError`] where the input fails or a record is longer than a mebibyte. The rows since the last block are
    /// lost then.
    pub fn next_block(&mut self) -> Result<Option<Block>, ReadError> {
        let mut block = Block {
            times: Vec::with_capacity(self.expected_rows),
            lines: Vec::with_capacity(self.expected_rows),
            columns: self
                .channels
                .iter()
                .map(|_| Vec::with_capacity(self.expected_rows))
                .collect(),
            after_all_before: true,
            rejects: Vec::new(),
        };
        while block.times.len() < BLOCK_ROWS && block.rejects.len() < BLOCK_ROWS {
            let Some(span) = self.lines.record(0, &mut self.fields)? else {
                break;
            };
            let (buffer, line) = (self.lines.buffer(), self.lines.line());
            if self.fields.is_blank(buffer) {
                self.lines.consume(span);
                continue;
            }
            let reject = |column: Option<&str>, reason, raw| Reject {
                line,
                column: column.map(str::to_owned),
                reason,
                raw: cut(raw),
            };
            if self.fields.len() > self.names.len() {
                block.rejects.push(reject(
                    None,
                    RejectReason::TooManyFields,
                    self.fields.raw(buffer),
                ));
            } else if let Some(time) = self.time.parse(&self.fields, buffer, self.order) {
                match block.times.last() {
                    None => {
                        block.after_all_before =
                            self.greatest.is_none_or(|greatest| time > greatest)
                    }
                    // The row stays unconsumed and begins the next block.
                    Some(&last) if time <= last || !same_day(last, time) => break,
                    Some(_) => {}
                }
                block.times.push(time);
                block.lines.push(line);
                for (channel, column) in self.channels.iter().zip(&mut block.columns) {
                    let cell = self.fields.get(buffer, channel.column);
                    column.push(value::parse(cell).unwrap_or_else(|reason| {
                        block
                            .rejects
                            .push(reject(Some(&channel.header), reason, cell));
                        MISSING
                    }));
                }
            } else {
                let column = self.names.get(self.time.date).map(String::as_str);
                block.rejects.push(reject(
                    column,
                    RejectReason::NotATimestamp,
                    self.fields.raw(buffer),
                ));
            }
            self.lines.consume(span);
        }
        self.expected_rows = block.times.len();
        self.greatest = self.greatest.max(block.times.last().copied());
        Ok((!block.times.is_empty() || !block.rejects.is_empty()).then_some(block))
    }
}

fn same_day(a: i64, b: i64) -> bool {
    a.div_euclid(MICROS_PER_DAY) == b.div_euclid(MICROS_PER_DAY)
}

fn cut(raw: &[u8]) -> String {
    // A character takes four bytes at most: more need not be decoded.
    let raw = raw.trim_ascii();
    String::from_utf8_lossy(&raw[..raw.len().min(4 * RAW_MAX)])
        .chars()
        .take(RAW_MAX)
        .collect()
}
