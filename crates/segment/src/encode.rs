//! Columns into a segment.

use crate::builder::{ColumnBuilder, Held};
use crate::damage::EncodeError;
use crate::ints::Encoder;
use crate::wire::{self, put};
use crate::{FORMAT, bits, bytes, floats, numbers};

/// Columns that a segment has at most: PostgreSQL's tables have fewer.
pub(crate) const MAX_COLUMNS: usize = 4096;

/// NULLs, in the first byte of a head.
pub(crate) const NO_NULLS: u8 = 0;
pub(crate) const NULL_BITS: u8 = 1;
pub(crate) const NULL_RUNS: u8 = 2;
pub(crate) const ALL_NULL: u8 = 3;

/// Columns of equal length as a segment.
///
/// # Errors
/// Where there is no column or row, or too many, or their lengths differ, or a column takes more than 1 GiB.
pub fn encode(columns: &[ColumnBuilder]) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode_into(columns, &mut out)?;
    Ok(out)
}

/// [`encode`], appended to bytes that exist.
///
/// # Errors
/// As [`encode`]; nothing was appended then.
pub fn encode_into(columns: &[ColumnBuilder], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let rows = check(columns)?;
    let start = out.len();
    out.extend_from_slice(&wire::MAGIC);
    out.push(FORMAT);
    put(out, rows as u64);
    put(out, columns.len() as u64);
    let mut body = Vec::new();
    let mut ints = Encoder::default();
    for column in columns {
        put_column(column, rows, &mut ints, out, &mut body);
    }
    out.extend_from_slice(&body);
    wire::seal(out, start);
    Ok(())
}

fn check(columns: &[ColumnBuilder]) -> Result<usize, EncodeError> {
    let first = columns.first().ok_or(EncodeError::NoColumns)?;
    if columns.len() > MAX_COLUMNS {
        return Err(EncodeError::TooManyColumns {
            columns: columns.len(),
            most: MAX_COLUMNS,
        });
    }
    for (at, column) in columns.iter().enumerate() {
        if column.len() != first.len() {
            return Err(EncodeError::Uneven {
                column: at,
                found: column.len(),
                expected: first.len(),
            });
        }
        column.check(at)?;
    }
    Ok(first.len())
}

fn put_column(
    column: &ColumnBuilder,
    rows: usize,
    ints: &mut Encoder,
    head: &mut Vec<u8>,
    body: &mut Vec<u8>,
) {
    let (nulls, null_bits) = column.nulls();
    let kind = column.kind() as u8;
    let at = head.len();
    head.push(0);
    if nulls == rows {
        head[at] = kind | ALL_NULL << 3;
        return;
    }
    let mut form = NO_NULLS;
    if nulls > 0 {
        put(head, nulls as u64);
        let start = body.len();
        form = if bits::put_set(body, null_bits, rows) {
            put(head, (body.len() - start) as u64);
            NULL_RUNS
        } else {
            NULL_BITS
        };
    }
    let codec = match column.values() {
        Held::Ints(values) => ints.encode_column(values, head, body),
        Held::Float4(values) => floats::encode(values, head, body),
        Held::Float8(values) => floats::encode(values, head, body),
        Held::Numbers(values) => numbers::encode(values, ints, head, body),
        Held::Bytes(texts) => bytes::encode(texts, ints, head, body),
    };
    head[at] = kind | form << 3 | codec << 5;
}
