//! Files shaped like the CU-BEMS data set: the published headers, row counts, readings, outages and outliers, with
//! invented readings, at any scale from a day of one floor to all of it. The same seed gives the same bytes, and a
//! slice gives the same rows as the whole.
//!
//! The data set: Pipattanasomporn et al., Scientific Data 2020, doi 10.1038/s41597-020-00582-3.

pub mod missing;
pub mod published;
mod random;
pub mod spikes;
#[cfg(test)]
mod tests;
mod values;
mod write;

pub use write::{count, write_file, write_long};

use chrono::NaiveDate;
use published::{FILES, Published, headers};

const MINUTES_PER_DAY: u32 = 1_440;

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// First day.
    pub from: NaiveDate,
    /// Day after the last.
    pub to: NaiveDate,
    /// Floors, 1 to 7.
    pub floors: Vec<u8>,
    /// Moves the readings and the scattered gaps; the published counts hold under every seed.
    pub seed: u64,
}

impl Plan {
    /// The whole data set: 1 July 2018 to 31 December 2019, all floors.
    #[must_use]
    pub fn full(seed: u64) -> Self {
        Self {
            from: first_day(2018),
            to: first_day(2020),
            floors: (1..=7).collect(),
            seed,
        }
    }
}

/// The part of one published file that a plan covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// The file.
    pub published: Published,
    /// First row, in minutes from the file's beginning.
    pub first: u32,
    /// Row after the last.
    pub end: u32,
    /// The file breaks off within the plan, with a row whose date is `2`.
    pub broken_tail: bool,
    /// See [`Plan::seed`].
    pub seed: u64,
}

impl FileSpec {
    /// `2018Floor1.csv`
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}Floor{}.csv", self.published.year, self.published.floor)
    }

    /// The header line, without line end.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Date,{}", headers(self.published.floor).join(","))
    }

    fn year_start(&self) -> NaiveDate {
        first_day(self.published.year)
    }

    /// Minutes from 1 July 2018 to the file's beginning.
    fn year_offset(&self) -> u32 {
        minutes_between(first_day(2018), self.year_start())
    }
}

/// What a file holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileSummary {
    /// Rows under the header.
    pub rows: u64,
    /// Cells with a value.
    pub readings: u64,
    /// Rows that a reader must refuse.
    pub rejects_expected: u64,
    /// Readings among [`spikes::SPIKES`]. How many a check finds suspect depends on the ranges that it is given.
    pub suspects_expected: u64,
}

impl std::ops::AddAssign for FileSummary {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.readings += other.readings;
        self.rejects_expected += other.rejects_expected;
        self.suspects_expected += other.suspects_expected;
    }
}

/// The files of a plan, by year and floor; those without a row in its days are left out.
#[must_use]
pub fn files(plan: &Plan) -> Vec<FileSpec> {
    let spec = |published: &Published| {
        let start = first_day(published.year);
        let (first, end) = (
            minutes_between(start, plan.from),
            minutes_between(start, plan.to),
        );
        let ends_early = start.checked_add_days(chrono::Days::new(u64::from(
            published.rows.div_ceil(MINUTES_PER_DAY),
        ))) != Some(first_day(published.year + 1));
        FileSpec {
            published: *published,
            first,
            end: end.min(published.rows),
            broken_tail: ends_early && end > published.rows,
            seed: plan.seed,
        }
    };
    let planned = FILES
        .iter()
        .filter(|file| plan.floors.contains(&file.floor));
    planned
        .map(spec)
        .filter(|spec| spec.first < spec.end)
        .collect()
}

/// First day of the data set's files of a year.
fn first_day(year: u16) -> NaiveDate {
    let month = if year == 2018 { 7 } else { 1 };
    NaiveDate::from_ymd_opt(i32::from(year), month, 1).unwrap_or_default()
}

/// Minutes between two midnights; 0 where `to` is earlier.
fn minutes_between(from: NaiveDate, to: NaiveDate) -> u32 {
    u32::try_from((to - from).num_minutes()).unwrap_or(if to < from { 0 } else { u32::MAX })
}
