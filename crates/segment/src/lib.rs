//! Compressed column segments: up to 16,777,216 rows of a few columns as one run of bytes, and back, bit for bit.
//!
//! A segment carries its format version, what a reader needs to pass it over (rows, and of every column the NULLs, the
//! bounds and the sum) and a checksum. Nothing in it is trusted: whatever the bytes are, reading them ends in values or
//! in a [`Damage`], never in a panic, and allocates no more than a fixed size per row.
//!
//! The layout, all integers being variable-length unless their size is given:
//!
//! ```text
//! magic (2 bytes)  version (1)  rows  columns  head of each column  body of each column  CRC-32C of all that (4)
//! head: kind, NULLs and codec in one byte; NULLs; bounds, sum and what the codec needs
//! body: bits of the NULLs, if any; values that are not NULL
//! ```

mod bits;
mod builder;
mod bytes;
mod column;
mod damage;
mod encode;
mod floats;
mod ints;
mod numbers;
mod pcodec;
mod scalar;
mod segment;
mod wire;

pub use builder::ColumnBuilder;
pub use column::{Buffer, BytesColumn, Column, Nulls, Others, Values};
pub use damage::{Damage, EncodeError};
pub use encode::{encode, encode_into};
pub use scalar::{Kind, Scalar, Stats, Sum};
pub use segment::Segment;
#[doc(hidden)]
pub use wire::reseal;

/// Rows that a segment holds at most.
pub const MAX_ROWS: usize = 1 << 24;
/// Version of the format that this crate writes, and the newest that it reads.
pub const FORMAT: u8 = 1;
