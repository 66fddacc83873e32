//! What can be wrong with a segment, and with what should become one.

use thiserror::Error;

/// Why bytes are not a segment, or not one any more.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// The bytes never were a segment.
    #[error("these bytes are not a segment")]
    NotASegment,
    /// A later version of the library wrote it.
    #[error("the segment is of format version {found}, and this library reads up to {known}")]
    NewerFormat {
        /// Its version.
        found: u8,
        /// The newest that is known here.
        known: u8,
    },
    /// At least one bit is not what was written.
    #[error("the segment's checksum is {stored:08x}, and its bytes give {computed:08x}")]
    Checksum {
        /// In the segment.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The bytes end too early.
    #[error("the segment ends before its {what}")]
    Truncated {
        /// What is missing.
        what: &'static str,
    },
    /// The checksum is right, and what it covers makes no sense.
    #[error("the segment's {what} cannot be right")]
    Malformed {
        /// What it is about.
        what: &'static str,
    },
    /// A column was asked for that the segment has not.
    #[error(
        "the segment has {columns} columns, and column {asked} was asked for (they count from 0)"
    )]
    NoSuchColumn {
        /// The one asked for.
        asked: usize,
        /// How many there are.
        columns: usize,
    },
}

/// Why columns cannot become a segment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A segment has at least a column.
    #[error("a segment needs at least one column")]
    NoColumns,
    /// A format's limit.
    #[error("a segment has at most {most} columns, not {columns}")]
    TooManyColumns {
        /// Given.
        columns: usize,
        /// Allowed.
        most: usize,
    },
    /// A segment has at least a row, and at most [`crate::MAX_ROWS`].
    #[error("a segment has 1 to 16777216 rows, not {rows}")]
    Rows {
        /// Given.
        rows: usize,
    },
    /// All columns have the same number of rows.
    #[error("column {column} has {found} rows, and the first has {expected}")]
    Uneven {
        /// Which, from 0.
        column: usize,
        /// Its rows.
        found: usize,
        /// Those of the first.
        expected: usize,
    },
    /// The values of one column take more bytes than a segment holds.
    #[error("the values of column {column} take more than 1 GiB")]
    TooLong {
        /// Which, from 0.
        column: usize,
    },
}
