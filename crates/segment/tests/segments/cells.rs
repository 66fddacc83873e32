//! Columns as lists of single values, and the long way from and to segments.

use gemba_segment::{
    Buffer, Column, ColumnBuilder, Damage, Kind, Scalar, Segment, Stats, Sum, Values, encode,
};
use std::cmp::Ordering;

/// A value that is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Int(i64),
    Float4(u32),
    Float8(u64),
    Number(i64, u16),
    Other(Vec<u8>),
    Bytes(Vec<u8>),
}

/// A kind and its values.
pub type Cells = (Kind, Vec<Cell>);

pub fn builder(kind: Kind, cells: &[Cell]) -> ColumnBuilder {
    let mut builder = ColumnBuilder::new(kind);
    fill(&mut builder, cells);
    builder
}

pub fn fill(builder: &mut ColumnBuilder, cells: &[Cell]) {
    for cell in cells {
        match cell {
            Cell::Null => builder.push_null(),
            Cell::Int(value) => builder.push_int(*value),
            Cell::Float4(bits) => builder.push_float4(*bits),
            Cell::Float8(bits) => builder.push_float8(*bits),
            Cell::Number(mantissa, scale) => builder.push_number(*mantissa, *scale),
            Cell::Other(bytes) => builder.push_other_number(bytes),
            Cell::Bytes(bytes) => builder.push_bytes(bytes),
        }
    }
}

pub fn segment(columns: &[Cells]) -> Vec<u8> {
    let builders: Vec<ColumnBuilder> = columns
        .iter()
        .map(|(kind, cells)| builder(*kind, cells))
        .collect();
    encode(&builders).unwrap()
}

fn cell(scalar: Scalar) -> Cell {
    match scalar {
        Scalar::Int(value) => Cell::Int(value),
        Scalar::Float4(bits) => Cell::Float4(bits),
        Scalar::Float8(bits) => Cell::Float8(bits),
        Scalar::Number { mantissa, scale } => Cell::Number(mantissa, scale),
        Scalar::OtherNumber(bytes) => Cell::Other(bytes.to_vec()),
        Scalar::Bytes(bytes) => Cell::Bytes(bytes.to_vec()),
    }
}

/// The value of one row.
pub fn cell_at(column: &Column, row: usize) -> Cell {
    if column.is_null(row) {
        return Cell::Null;
    }
    match column.values {
        Values::Nothing => Cell::Null,
        Values::Constant(scalar) => cell(scalar),
        Values::Ints(values) => Cell::Int(values[row]),
        Values::Float4(values) => Cell::Float4(values[row]),
        Values::Float8(values) => Cell::Float8(values[row]),
        Values::Numbers { mantissas, scale } => Cell::Number(mantissas[row], scale),
        Values::MixedNumbers {
            mantissas,
            scales,
            others,
        } => others.other(row).map_or_else(
            || Cell::Number(mantissas[row], scales[row]),
            |other| Cell::Other(other.to_vec()),
        ),
        Values::Bytes(values) => Cell::Bytes(values.entry(values.code(row)).to_vec()),
    }
}

/// All columns again, one buffer serving all of them.
pub fn cells(bytes: &[u8], buffer: &mut Buffer) -> Result<Vec<Cells>, Damage> {
    let segment = Segment::open(bytes)?;
    let mut columns = Vec::new();
    for at in 0..segment.columns() {
        let column = segment.decode(at, buffer)?;
        let cells = (0..segment.rows())
            .map(|row| cell_at(&column, row))
            .collect();
        columns.push((segment.kind(at), cells));
    }
    Ok(columns)
}

fn float(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Float4(bits) => Some(f64::from(f32::from_bits(*bits))),
        Cell::Float8(bits) => Some(f64::from_bits(*bits)),
        _ => None,
    }
}

/// PostgreSQL's order of two values of one kind.
fn compare(a: &Cell, b: &Cell) -> Ordering {
    if let (Some(a), Some(b)) = (float(a), float(b)) {
        return match (a.is_nan(), b.is_nan()) {
            (false, false) => a.partial_cmp(&b).unwrap(),
            (a, b) => a.cmp(&b),
        };
    }
    match (a, b) {
        (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
        (Cell::Number(a, x), Cell::Number(b, y)) => {
            // As decimal text: sign, then digits aligned at the point.
            let aligned = |mantissa: i64, scale: u16, other: u16| {
                let digits = mantissa.unsigned_abs().to_string();
                let zeros = usize::from(other.max(scale) - scale);
                digits + &"0".repeat(zeros)
            };
            if a.signum() != b.signum() || *a == 0 {
                return a.signum().cmp(&b.signum());
            }
            let (p, q) = (aligned(*a, *x, *y), aligned(*b, *y, *x));
            let larger = p.len().cmp(&q.len()).then_with(|| p.cmp(&q));
            if *a < 0 { larger.reverse() } else { larger }
        }
        (Cell::Bytes(a), Cell::Bytes(b)) => a.cmp(b),
        other => panic!("not comparable: {other:?}"),
    }
}

/// Checks what a segment says of a column against a plain computation.
pub fn check_stats(stats: &Stats, cells: &[Cell]) {
    let nulls = cells.iter().filter(|cell| **cell == Cell::Null).count();
    assert_eq!(stats.nulls as usize, nulls);
    let values: Vec<&Cell> = cells.iter().filter(|cell| **cell != Cell::Null).collect();
    check_sum(stats.sum, &values);
    let other = |cell: &&Cell| matches!(cell, Cell::Other(_));
    if values.is_empty() || values.iter().any(other) {
        assert_eq!((stats.low, stats.high), (None, None));
        return;
    }
    let low = values.iter().copied().min_by(|a, b| compare(a, b)).unwrap();
    let high = values.iter().copied().max_by(|a, b| compare(a, b)).unwrap();
    if let Cell::Bytes(low) = low {
        let Some(Scalar::Bytes(bound)) = stats.low else {
            panic!("no lower bound: {stats:?}");
        };
        assert!(low.starts_with(bound));
        assert!(bound.len() >= low.len().min(32));
    } else {
        assert_eq!(compare(&cell(stats.low.unwrap()), low), Ordering::Equal);
    }
    match (high, stats.high) {
        (Cell::Bytes(high), None) => assert!(high.len() > 32),
        (high, bound) => assert_eq!(compare(&cell(bound.unwrap()), high), Ordering::Equal),
    }
}

fn check_sum(sum: Option<Sum>, values: &[&Cell]) {
    let mut total = 0_i128;
    let mut common = None;
    for value in values {
        let (mantissa, scale) = match value {
            Cell::Int(value) => (*value, 0),
            Cell::Number(mantissa, scale) => (*mantissa, *scale),
            _ => return assert_eq!(sum, None),
        };
        if *common.get_or_insert(scale) != scale {
            return assert_eq!(sum, None);
        }
        total += i128::from(mantissa);
    }
    let expected = common.map(|scale| Sum {
        mantissa: total,
        scale,
    });
    assert_eq!(sum, expected);
}

/// Encodes, decodes and compares columns, and what is known of them; returns the bytes.
pub fn check(columns: &[Cells]) -> Vec<u8> {
    let bytes = segment(columns);
    let read = cells(&bytes, &mut Buffer::new()).unwrap();
    assert_eq!(read.len(), columns.len());
    let opened = Segment::open(&bytes).unwrap();
    for (at, (found, expected)) in read.iter().zip(columns).enumerate() {
        assert_eq!(found.0, expected.0);
        assert_eq!(found.1.len(), expected.1.len());
        let differs = found.1.iter().zip(&expected.1).position(|(a, b)| a != b);
        if let Some(row) = differs {
            panic!(
                "column {at}, row {row}: {:?} became {:?}",
                expected.1[row], found.1[row]
            );
        }
        check_stats(&opened.stats(at), &expected.1);
    }
    bytes
}
