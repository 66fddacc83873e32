//! What the rows of one group come to in one column: count, sum, least and greatest value.
//!
//! All of it is exact. Sums of decimals are kept per scale, so that nothing is ever rescaled; numbers that have no
//! mantissa of 64 bits are added by the server. Of values that are equal but look different (1.0 and 1.00, or the
//! two zeros of floats) the last one stays, as in the server's own min() and max().

#![expect(unsafe_code, reason = "calls the server's functions for numbers")]

use crate::engine::history::layout::Shape;
use crate::engine::history::values;
use crate::postgres::varlena;
use gemba_segment::{Column, Nulls, Scalar, Stats, Values};
use pgrx::pg_sys::{self, Datum};
use std::cmp::Ordering;
use std::ops::Range;

/// What is wanted of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    pub sum: bool,
    pub low: bool,
    pub high: bool,
}

/// A column that is aggregated.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Its place in the layout, and its number in a segment.
    pub place: usize,
    pub stored: usize,
    pub shape: Shape,
    pub wanted: Wanted,
}

/// A value as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Int(i64),
    Float4(u32),
    Float8(u64),
    Number { mantissa: i64, scale: u16 },
    OtherNumber(Box<[u8]>),
}

/// The sum of the numbers of one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfScale {
    pub scale: u16,
    pub count: u64,
    pub sum: i128,
}

/// Numbers that have no mantissa.
#[derive(Debug, Clone, Default)]
pub struct Others {
    pub nan: u64,
    pub infinite: u64,
    pub negative_infinite: u64,
    /// The sum of the huge ones, as the server stores it.
    pub huge: Option<Box<[u8]>>,
}

#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Rows that are not NULL.
    pub count: u64,
    /// Of whole numbers.
    pub sum: i128,
    /// Of decimals; one entry where all have one scale.
    pub scales: Vec<OfScale>,
    pub others: Option<Box<Others>>,
    pub low: Option<Value>,
    pub high: Option<Value>,
}

impl Tally {
    /// Adds a whole segment by what its head says, if that is enough.
    pub fn add_head(&mut self, work: &Work, stats: &Stats, rows: usize) -> bool {
        let count = rows.saturating_sub(stats.nulls as usize) as u64;
        if count > 0 {
            if work.wanted.sum && stats.sum.is_none() {
                return false;
            }
            if work.wanted.low && !stats.low.as_ref().is_some_and(|low| is_sure(stats, low))
                || work.wanted.high && !stats.high.as_ref().is_some_and(|high| is_sure(stats, high))
            {
                return false;
            }
            if let (true, Some(sum)) = (work.wanted.sum, stats.sum) {
                if work.shape == Shape::Numeric {
                    self.add_scale(sum.scale, count, sum.mantissa);
                } else {
                    self.sum += sum.mantissa;
                }
            }
            if let (true, Some(low)) = (work.wanted.low, &stats.low) {
                self.lower(low);
            }
            if let (true, Some(high)) = (work.wanted.high, &stats.high) {
                self.raise(high);
            }
            self.count += count;
        }
        true
    }

    /// Adds some rows of a decoded column.
    pub fn add(&mut self, work: &Work, column: &Column, rows: Range<usize>) {
        let nulls = column.nulls.as_ref();
        let wanted = work.wanted;
        match &column.values {
            Values::Nothing => {}
            Values::Constant(scalar) => {
                let count = match nulls {
                    None => rows.len(),
                    Some(nulls) => rows.filter(|&row| !nulls.is_null(row)).count(),
                };
                if count > 0 {
                    self.count += count as u64;
                    self.add_times(wanted, scalar, count as u64);
                }
            }
            Values::Ints(ints) => {
                let Some(found) = Span::of(ints, nulls, rows) else {
                    return;
                };
                self.count += found.count;
                self.sum += found.sum;
                self.lower_if(wanted, &Scalar::Int(found.low));
                self.raise_if(wanted, &Scalar::Int(found.high));
            }
            Values::Numbers { mantissas, scale } => {
                let Some(found) = Span::of(mantissas, nulls, rows) else {
                    return;
                };
                self.count += found.count;
                if wanted.sum {
                    self.add_scale(*scale, found.count, found.sum);
                }
                let number = |mantissa| Scalar::Number {
                    mantissa,
                    scale: *scale,
                };
                self.lower_if(wanted, &number(found.low));
                self.raise_if(wanted, &number(found.high));
            }
            Values::MixedNumbers {
                mantissas,
                scales,
                others,
            } => {
                for row in rows {
                    if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                        continue;
                    }
                    let scalar = match others.other(row) {
                        Some(bytes) => Scalar::OtherNumber(bytes),
                        None => Scalar::Number {
                            mantissa: mantissas[row],
                            scale: scales[row],
                        },
                    };
                    self.count += 1;
                    self.add_times(wanted, &scalar, 1);
                }
            }
            Values::Float4(bits) => {
                self.add_each(wanted, nulls, rows, |row| Scalar::Float4(bits[row]))
            }
            Values::Float8(bits) => {
                self.add_each(wanted, nulls, rows, |row| Scalar::Float8(bits[row]))
            }
            // Of these only the count is ever asked for.
            Values::Bytes(_) => {
                self.count += match nulls {
                    None => rows.len() as u64,
                    Some(nulls) => rows.filter(|&row| !nulls.is_null(row)).count() as u64,
                };
            }
        }
    }

    fn add_each<'b>(
        &mut self,
        wanted: Wanted,
        nulls: Option<&Nulls>,
        rows: Range<usize>,
        value: impl Fn(usize) -> Scalar<'b>,
    ) {
        for row in rows {
            if !nulls.is_some_and(|nulls| nulls.is_null(row)) {
                self.count += 1;
                let value = value(row);
                self.lower_if(wanted, &value);
                self.raise_if(wanted, &value);
            }
        }
    }

    /// Adds a value of a row.
    ///
    /// # Safety
    /// The datum is of the column's type.
    pub unsafe fn add_datum(&mut self, work: &Work, datum: Datum) {
        self.count += 1;
        if work.wanted == Wanted::default() {
            return;
        }
        // SAFETY: as the caller says.
        let scalar = unsafe {
            match work.shape {
                Shape::Float4 => Scalar::Float4(datum.value() as u32),
                Shape::Float8 => Scalar::Float8(datum.value() as u64),
                Shape::Numeric => {
                    let stored = varlena::bytes(datum);
                    match crate::postgres::numeric::mantissa(stored) {
                        Some((mantissa, scale)) => Scalar::Number { mantissa, scale },
                        None => Scalar::OtherNumber(stored),
                    }
                }
                Shape::Text | Shape::Uuid => return,
                shape => Scalar::Int(shape.int(datum)),
            }
        };
        self.add_times(work.wanted, &scalar, 1);
    }

    fn add_times(&mut self, wanted: Wanted, scalar: &Scalar, count: u64) {
        if wanted.sum {
            match *scalar {
                Scalar::Int(int) => self.sum += i128::from(int) * i128::from(count),
                Scalar::Number { mantissa, scale } => {
                    self.add_scale(scale, count, i128::from(mantissa) * i128::from(count));
                }
                Scalar::OtherNumber(bytes) => {
                    for _ in 0..count {
                        self.add_other(bytes);
                    }
                }
                _ => {}
            }
        }
        self.lower_if(wanted, scalar);
        self.raise_if(wanted, scalar);
    }

    fn add_scale(&mut self, scale: u16, count: u64, sum: i128) {
        match self.scales.iter_mut().find(|known| known.scale == scale) {
            Some(known) => {
                known.count += count;
                known.sum += sum;
            }
            None => self.scales.push(OfScale { scale, count, sum }),
        }
    }

    fn add_other(&mut self, bytes: &[u8]) {
        let others = self.others.get_or_insert_default();
        match special(bytes) {
            Some(Special::Nan) => others.nan += 1,
            Some(Special::Infinite) => others.infinite += 1,
            Some(Special::NegativeInfinite) => others.negative_infinite += 1,
            None => {
                let sum = others
                    .huge
                    .as_deref()
                    .map_or_else(|| bytes.into(), |sum| add(sum, bytes));
                others.huge = Some(sum);
                // Its scale counts, and it counts among those of its scale.
                self.add_scale(scale_of(bytes), 1, 0);
            }
        }
    }

    fn lower_if(&mut self, wanted: Wanted, value: &Scalar) {
        if wanted.low {
            self.lower(value);
        }
    }

    fn raise_if(&mut self, wanted: Wanted, value: &Scalar) {
        if wanted.high {
            self.raise(value);
        }
    }

    fn lower(&mut self, value: &Scalar) {
        let keep = self
            .low
            .as_ref()
            .is_some_and(|low| compare(low, value) == Ordering::Less);
        if !keep {
            self.low = kept(value);
        }
    }

    fn raise(&mut self, value: &Scalar) {
        let keep = self
            .high
            .as_ref()
            .is_some_and(|high| compare(high, value) == Ordering::Greater);
        if !keep {
            self.high = kept(value);
        }
    }
}

/// Is the least or greatest value that a head names the very one that the rows would give? Of floats, not
/// where several bit patterns are equal; of decimals, where all have one scale.
fn is_sure(stats: &Stats, bound: &Scalar) -> bool {
    match *bound {
        Scalar::Int(_) => true,
        Scalar::Float4(bits) => f32::from_bits(bits) != 0.0 && !f32::from_bits(bits).is_nan(),
        Scalar::Float8(bits) => f64::from_bits(bits) != 0.0 && !f64::from_bits(bits).is_nan(),
        Scalar::Number { .. } => stats.sum.is_some(),
        Scalar::OtherNumber(_) | Scalar::Bytes(_) => false,
    }
}

/// Rows of whole numbers together.
struct Span {
    count: u64,
    sum: i128,
    low: i64,
    high: i64,
}

impl Span {
    /// None where no row has a value.
    fn of(values: &[i64], nulls: Option<&Nulls>, rows: Range<usize>) -> Option<Self> {
        let rows = rows.start.min(values.len())..rows.end.min(values.len());
        let mut found = Self {
            count: 0,
            sum: 0,
            low: i64::MAX,
            high: i64::MIN,
        };
        match nulls {
            None => {
                let values = &values[rows];
                found.count = values.len() as u64;
                for &value in values {
                    found.low = found.low.min(value);
                    found.high = found.high.max(value);
                }
                // Where no partial sum can leave 64 bits, they are added in them.
                let most = found.low.unsigned_abs().max(found.high.unsigned_abs());
                found.sum = if most
                    .checked_mul(found.count)
                    .is_some_and(|most| most <= i64::MAX as u64)
                {
                    i128::from(values.iter().sum::<i64>())
                } else {
                    values.iter().map(|&value| i128::from(value)).sum()
                };
            }
            Some(nulls) => {
                for row in rows {
                    if !nulls.is_null(row) {
                        let value = values[row];
                        found.count += 1;
                        found.sum += i128::from(value);
                        found.low = found.low.min(value);
                        found.high = found.high.max(value);
                    }
                }
            }
        }
        (found.count > 0).then_some(found)
    }
}

fn kept(scalar: &Scalar) -> Option<Value> {
    Some(match *scalar {
        Scalar::Int(int) => Value::Int(int),
        Scalar::Float4(bits) => Value::Float4(bits),
        Scalar::Float8(bits) => Value::Float8(bits),
        Scalar::Number { mantissa, scale } => Value::Number { mantissa, scale },
        Scalar::OtherNumber(bytes) => Value::OtherNumber(bytes.into()),
        Scalar::Bytes(_) => return None,
    })
}

impl Value {
    fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Int(int) => Scalar::Int(*int),
            Self::Float4(bits) => Scalar::Float4(*bits),
            Self::Float8(bits) => Scalar::Float8(*bits),
            Self::Number { mantissa, scale } => Scalar::Number {
                mantissa: *mantissa,
                scale: *scale,
            },
            Self::OtherNumber(bytes) => Scalar::OtherNumber(bytes),
        }
    }

    /// As a datum of the shape's type, in the current memory context.
    pub fn datum(&self, shape: Shape) -> Datum {
        values::datum(shape, &self.scalar())
    }
}

/// The server's order of two values of one type.
fn compare(a: &Value, b: &Scalar) -> Ordering {
    match (a, *b) {
        (Value::Int(a), Scalar::Int(b)) => a.cmp(&b),
        (Value::Float4(a), Scalar::Float4(b)) => {
            floats(f32::from_bits(*a).into(), f32::from_bits(b).into())
        }
        (Value::Float8(a), Scalar::Float8(b)) => floats(f64::from_bits(*a), f64::from_bits(b)),
        (
            Value::Number { mantissa, scale },
            Scalar::Number {
                mantissa: other,
                scale: of_other,
            },
        ) if *scale == of_other => mantissa.cmp(&other),
        _ => numbers(
            values::datum(Shape::Numeric, &a.scalar()),
            values::datum(Shape::Numeric, b),
        ),
    }
}

/// NaN is above everything and equal to itself; the zeros are equal.
fn floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn numbers(a: Datum, b: Datum) -> Ordering {
    // SAFETY: both are numerics.
    let order = unsafe {
        let order = call(pg_sys::numeric_cmp, a, b);
        pg_sys::pfree(a.cast_mut_ptr());
        pg_sys::pfree(b.cast_mut_ptr());
        order
    };
    (order.value() as i32).cmp(&0)
}

/// The sum of two numbers as the server stores them.
pub fn add(a: &[u8], b: &[u8]) -> Box<[u8]> {
    let (a, b) = (varlena::of_bytes(a), varlena::of_bytes(b));
    // SAFETY: both are numerics; the sum is copied before it is freed.
    unsafe {
        let sum = call(pg_sys::numeric_add, a, b);
        let copy = varlena::bytes(sum).into();
        for number in [a, b, sum] {
            pg_sys::pfree(number.cast_mut_ptr());
        }
        copy
    }
}

/// Calls a function of two numbers that gives something for any two.
///
/// # Safety
/// Both are numerics.
unsafe fn call(
    function: unsafe fn(pg_sys::FunctionCallInfo) -> Datum,
    a: Datum,
    b: Datum,
) -> Datum {
    // SAFETY: as the caller says.
    unsafe { pgrx::direct_function_call_as_datum(function, &[Some(a), Some(b)]) }
        .unwrap_or(Datum::null())
}

enum Special {
    Nan,
    Infinite,
    NegativeInfinite,
}

// The first two bytes of a number that is none.
const NAN: u16 = 0xC000;
const INFINITE: u16 = 0xD000;
const NEGATIVE_INFINITE: u16 = 0xF000;

fn special(bytes: &[u8]) -> Option<Special> {
    let head = u16::from_ne_bytes(*bytes.first_chunk()?);
    match head & 0xF000 {
        NAN => Some(Special::Nan),
        INFINITE => Some(Special::Infinite),
        NEGATIVE_INFINITE => Some(Special::NegativeInfinite),
        _ => None,
    }
}

fn scale_of(bytes: &[u8]) -> u16 {
    let head = bytes
        .first_chunk()
        .map_or(0, |head| u16::from_ne_bytes(*head));
    if head & 0xC000 == 0x8000 {
        (head & 0x1F80) >> 7
    } else {
        head & 0x3FFF
    }
}
