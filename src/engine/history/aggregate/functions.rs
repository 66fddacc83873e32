//! The aggregates that are computed on segments, and the transition values that they hand to the server.
//!
//! The server combines and finishes them as it does those of its own partial aggregates, so each is exactly what
//! the aggregate's transition function would have arrived at, and where that is `internal`, what its serial
//! function would have written.

#![expect(unsafe_code, reason = "makes the server's values")]

use super::tally::{OfScale, Others, Tally, Wanted, add};
use crate::engine::history::layout::Shape;
use crate::postgres::numeric::Stored;
use crate::postgres::varlena;
use pgrx::pg_sys::{self, Datum};

/// What is computed of a column, or of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    CountRows = 0,
    Count = 1,
    Sum = 2,
    Avg = 3,
    Min = 4,
    Max = 5,
}

/// The server's aggregates by their oids, which are the same in every version.
const KNOWN: [(u32, Function); 28] = [
    (2803, Function::CountRows),
    (2147, Function::Count),
    // bigint, integer, smallint, numeric
    (2107, Function::Sum),
    (2108, Function::Sum),
    (2109, Function::Sum),
    (2114, Function::Sum),
    (2100, Function::Avg),
    (2101, Function::Avg),
    (2102, Function::Avg),
    (2103, Function::Avg),
    // bigint, integer, smallint, real, double precision, date, timestamp, timestamptz, numeric
    (2131, Function::Min),
    (2132, Function::Min),
    (2133, Function::Min),
    (2135, Function::Min),
    (2136, Function::Min),
    (2138, Function::Min),
    (2142, Function::Min),
    (2143, Function::Min),
    (2146, Function::Min),
    // The same types.
    (2115, Function::Max),
    (2116, Function::Max),
    (2117, Function::Max),
    (2119, Function::Max),
    (2120, Function::Max),
    (2122, Function::Max),
    (2126, Function::Max),
    (2127, Function::Max),
    (2130, Function::Max),
];

impl Function {
    pub fn of(aggregate: pg_sys::Oid) -> Option<Self> {
        let oid = u32::from(aggregate);
        KNOWN
            .iter()
            .find(|(known, _)| *known == oid)
            .map(|(_, function)| *function)
    }

    pub fn numbered(number: i32) -> Option<Self> {
        [
            Self::CountRows,
            Self::Count,
            Self::Sum,
            Self::Avg,
            Self::Min,
            Self::Max,
        ]
        .into_iter()
        .find(|function| *function as i32 == number)
    }

    /// What has to be known of the column.
    pub fn wanted(self) -> Wanted {
        Wanted {
            sum: matches!(self, Self::Sum | Self::Avg),
            low: self == Self::Min,
            high: self == Self::Max,
        }
    }
}

/// The transition value of a group; none for NULL. It is in the current memory context.
pub fn state(function: Function, shape: Shape, rows: u64, tally: &Tally) -> Option<Datum> {
    let any = tally.count > 0;
    match (function, shape) {
        (Function::CountRows, _) => Some(Datum::from(rows as i64)),
        (Function::Count, _) => Some(Datum::from(tally.count as i64)),
        (Function::Min, _) => tally.low.as_ref().map(|low| low.datum(shape)),
        (Function::Max, _) => tally.high.as_ref().map(|high| high.datum(shape)),
        // Past 64 bits the server's own sums go round as well.
        (Function::Sum, Shape::Int2 | Shape::Int4) => any.then(|| Datum::from(tally.sum as i64)),
        (Function::Avg, Shape::Int2 | Shape::Int4) => {
            Some(pair(tally.count as i64, tally.sum as i64))
        }
        (_, Shape::Numeric) => Some(of_numbers(tally)),
        (_, _) => {
            let mut state = Vec::with_capacity(48);
            state.extend(tally.count.to_be_bytes());
            Var::of(tally.sum, 0).write(&mut state);
            Some(varlena::of_bytes(&state))
        }
    }
}

/// `{count,sum}` as bigint[].
fn pair(count: i64, sum: i64) -> Datum {
    let mut elements = [Datum::from(count), Datum::from(sum)];
    // SAFETY: two elements of a type of eight bytes, passed by value.
    unsafe {
        Datum::from(pg_sys::construct_array(
            elements.as_mut_ptr(),
            2,
            pg_sys::INT8OID,
            8,
            true,
            pg_sys::TYPALIGN_DOUBLE as _,
        ))
    }
}

/// As numeric_avg_serialize() writes it: how many numbers there are, their sum, the largest scale and how
/// many have it, and how many are NaN, infinity and -infinity.
fn of_numbers(tally: &Tally) -> Datum {
    let none = Others::default();
    let others = tally.others.as_deref().unwrap_or(&none);
    let finite: u64 = tally.scales.iter().map(|of| of.count).sum();
    let largest = tally.scales.iter().max_by_key(|of| of.scale);
    let mut state = Vec::with_capacity(96);
    state.extend(finite.to_be_bytes());
    sum(&tally.scales, others).write(&mut state);
    state.extend(u32::from(largest.map_or(0, |of| of.scale)).to_be_bytes());
    state.extend(largest.map_or(0, |of| of.count).to_be_bytes());
    state.extend(others.nan.to_be_bytes());
    state.extend(others.infinite.to_be_bytes());
    state.extend(others.negative_infinite.to_be_bytes());
    varlena::of_bytes(&state)
}

fn sum(scales: &[OfScale], others: &Others) -> Var {
    match (scales, &others.huge) {
        ([], None) => Var::of(0, 0),
        ([of], None) => Var::of(of.sum, of.scale),
        (scales, huge) => {
            let mut total = huge.clone();
            for of in scales {
                let number = Var::of(of.sum, of.scale).stored();
                total = Some(match total {
                    Some(total) => add(&total, &number),
                    None => number.into(),
                });
            }
            Var::read(&total.unwrap_or_default())
        }
    }
}

/// A number as the server computes with it: digits of base 10,000, the first of which counts for
/// `10,000 ^ weight`.
struct Var {
    negative: bool,
    weight: i32,
    scale: u16,
    digits: Vec<u16>,
}

const BASE: u128 = 10_000;

/// The sign of a negative number in the server's own notation.
const NEGATIVE: u32 = 0x4000;

impl Var {
    fn of(mantissa: i128, scale: u16) -> Self {
        let fraction = scale.div_ceil(4);
        let shift = 10_u128.pow(u32::from(fraction * 4 - scale));
        let mut digits = Vec::with_capacity(12);
        // Shifted digit by digit, so that nothing can go past 128 bits.
        let mut rest = mantissa.unsigned_abs();
        let last = BASE / shift;
        digits.push(((rest % last) * shift) as u16);
        rest /= last;
        while rest > 0 {
            digits.push((rest % BASE) as u16);
            rest /= BASE;
        }
        digits.reverse();
        let mut weight = digits.len() as i32 - 1 - i32::from(fraction);
        let zeros = digits.iter().take_while(|&&digit| digit == 0).count();
        digits.drain(..zeros);
        weight -= zeros as i32;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Self {
            negative: mantissa < 0,
            weight: if digits.is_empty() { 0 } else { weight },
            scale,
            digits,
        }
    }

    /// Of a finite number as it is stored.
    fn read(stored: &[u8]) -> Self {
        let Some(number) = Stored::finite(stored) else {
            return Self::of(0, 0);
        };
        let (negative, weight, digits) = number.digits();
        Self {
            negative,
            weight: i32::from(weight),
            scale: number.scale(),
            digits,
        }
    }

    /// As it is stored, in the long form, which has room for all that comes here.
    fn stored(&self) -> Vec<u8> {
        let sign = if self.negative { NEGATIVE as u16 } else { 0 };
        let mut bytes = Vec::with_capacity(4 + self.digits.len() * 2);
        bytes.extend((sign | self.scale & 0x3FFF).to_ne_bytes());
        bytes.extend((self.weight as i16).to_ne_bytes());
        for digit in &self.digits {
            bytes.extend(digit.to_ne_bytes());
        }
        bytes
    }

    /// As the server's serial functions write it.
    fn write(&self, state: &mut Vec<u8>) {
        let negative = self.negative && !self.digits.is_empty();
        state.extend((self.digits.len() as u32).to_be_bytes());
        state.extend(self.weight.to_be_bytes());
        state.extend(if negative { NEGATIVE } else { 0 }.to_be_bytes());
        state.extend(u32::from(self.scale).to_be_bytes());
        for digit in &self.digits {
            state.extend(digit.to_be_bytes());
        }
    }
}
