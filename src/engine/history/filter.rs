//! Comparisons of a column with a constant, looked at in a segment's head and on its decoded values, without making
//! a row of them.

#![expect(unsafe_code, reason = "reads the server's values")]

use super::layout::Shape;
use super::select::Test;
use super::values;
use crate::postgres::numeric;
use crate::postgres::varlena;
use gemba_segment::{Column, Nulls, Scalar, Stats, Values};
use pg_sys::Datum;
use pgrx::prelude::*;
use std::cmp::Ordering;

/// Inclusive; empty where the first is greater.
type Bounds = (i64, i64);

const EMPTY: Bounds = (1, 0);

/// A column's comparison, with its value.
pub struct Filter {
    /// The column's number in a segment.
    pub stored: usize,
    shape: Shape,
    test: Test,
    wanted: Wanted,
}

enum Wanted {
    Null(bool),
    /// Whole numbers, and floats by their rank.
    Ints(Bounds),
    Number {
        mantissa: i64,
        scale: u16,
        datum: Datum,
    },
    /// NaN, an infinity, or more digits than 64 bits hold: the server compares.
    OtherNumber {
        datum: Datum,
    },
    Bytes(Vec<u8>),
}

/// Rows of a segment that are left.
#[derive(Default)]
pub struct Rows {
    /// None: all from `start` to `end`.
    listed: Option<Vec<u32>>,
    start: usize,
    end: usize,
    /// The room of a list that is not in use.
    spare: Vec<u32>,
}

impl Rows {
    pub fn reset(&mut self, rows: std::ops::Range<usize>) {
        if let Some(listed) = self.listed.take() {
            self.spare = listed;
        }
        (self.start, self.end) = (rows.start, rows.end);
    }

    pub fn len(&self) -> usize {
        self.listed.as_ref().map_or(self.end - self.start, Vec::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The n-th of them.
    #[inline(always)]
    pub fn at(&self, position: usize) -> usize {
        match &self.listed {
            Some(listed) => listed[position] as usize,
            None => self.start + position,
        }
    }

    fn keep(&mut self, mut test: impl FnMut(usize) -> bool) {
        match &mut self.listed {
            Some(listed) => listed.retain(|&row| test(row as usize)),
            None => {
                let mut kept = std::mem::take(&mut self.spare);
                kept.clear();
                kept.resize(self.end - self.start, 0);
                // Written first and counted after: no branch for the processor to guess.
                let mut count = 0;
                for row in self.start..self.end {
                    kept[count] = row as u32;
                    count += usize::from(test(row));
                }
                kept.truncate(count);
                self.listed = Some(kept);
            }
        }
    }

    fn none(&mut self) {
        self.reset(0..0);
    }
}

/// What a segment's head says about a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    No,
    Maybe,
    Yes,
}

impl Filter {
    /// None where no value can match.
    ///
    /// # Safety
    /// The datum is of the type, and lives as long as this.
    pub unsafe fn new(
        stored: usize,
        shape: Shape,
        test: Test,
        value: Option<(Datum, pg_sys::Oid)>,
    ) -> Option<Self> {
        let wanted = match (test, value) {
            (Test::Null | Test::NotNull, _) => Wanted::Null(test == Test::Null),
            (_, None) => return None,
            // SAFETY: the caller vouches for the type.
            (_, Some((datum, type_oid))) => unsafe {
                match shape {
                    Shape::Float4 | Shape::Float8 => {
                        let number = match Shape::of(type_oid) {
                            Some(Shape::Float4) => f64::from(f32::from_bits(datum.value() as u32)),
                            _ => f64::from_bits(datum.value() as u64),
                        };
                        Wanted::Ints(bounds(test, rank(number)))
                    }
                    Shape::Numeric => match numeric::mantissa(varlena::bytes(datum)) {
                        Some((mantissa, scale)) => Wanted::Number {
                            mantissa,
                            scale,
                            datum,
                        },
                        None => Wanted::OtherNumber { datum },
                    },
                    Shape::Text => Wanted::Bytes(varlena::bytes(datum).to_vec()),
                    Shape::Uuid => Wanted::Bytes((*datum.cast_mut_ptr::<[u8; 16]>()).to_vec()),
                    _ => {
                        let own = Shape::of(type_oid).unwrap_or(shape);
                        Wanted::Ints(bounds(test, own.int(datum)))
                    }
                }
            },
        };
        Some(Self {
            stored,
            shape,
            test,
            wanted,
        })
    }

    /// What can be said without decoding.
    pub fn head(&self, stats: &Stats, rows: usize) -> Verdict {
        let nulls = stats.nulls as usize;
        if let Wanted::Null(wanted) = self.wanted {
            return match (nulls, wanted) {
                (0, true) => Verdict::No,
                (0, false) => Verdict::Yes,
                _ if nulls >= rows => {
                    if wanted {
                        Verdict::Yes
                    } else {
                        Verdict::No
                    }
                }
                _ => Verdict::Maybe,
            };
        }
        if nulls >= rows {
            return Verdict::No;
        }
        // What is below the least, or above the greatest, is not there.
        let below = stats.low.as_ref().and_then(|low| self.against(low));
        let above = stats.high.as_ref().and_then(|high| self.against(high));
        let (Some(low), high) = (below, above) else {
            return Verdict::Maybe;
        };
        let none = match self.test {
            Test::Less => low != Ordering::Less,
            Test::LessEqual => low == Ordering::Greater,
            Test::Equal => low == Ordering::Greater || high == Some(Ordering::Less),
            Test::GreaterEqual => high == Some(Ordering::Less),
            Test::Greater => matches!(high, Some(Ordering::Less | Ordering::Equal)),
            _ => false,
        };
        // The least bytes may be cut short: of them all may be said only by the greatest.
        let exact = !matches!(self.wanted, Wanted::Bytes(_));
        let all = exact
            && nulls == 0
            && match self.test {
                Test::Less => high == Some(Ordering::Less),
                Test::LessEqual => matches!(high, Some(Ordering::Less | Ordering::Equal)),
                Test::Equal => low == Ordering::Equal && high == Some(Ordering::Equal),
                Test::GreaterEqual => low != Ordering::Less,
                Test::Greater => low == Ordering::Greater,
                _ => false,
            };
        match (none, all) {
            (true, _) => Verdict::No,
            (_, true) => Verdict::Yes,
            _ => Verdict::Maybe,
        }
    }

    /// How a value compares with the wanted one; none where it takes the server to say.
    fn against(&self, scalar: &Scalar) -> Option<Ordering> {
        match (&self.wanted, scalar) {
            (Wanted::Ints(wanted), Scalar::Int(int)) => Some(self.beside(*wanted, *int)),
            (Wanted::Ints(wanted), Scalar::Float4(bits)) => {
                Some(self.beside(*wanted, rank(f64::from(f32::from_bits(*bits)))))
            }
            (Wanted::Ints(wanted), Scalar::Float8(bits)) => {
                Some(self.beside(*wanted, rank(f64::from_bits(*bits))))
            }
            (
                Wanted::Number {
                    mantissa, scale, ..
                },
                Scalar::Number {
                    mantissa: own,
                    scale: own_scale,
                },
            ) => Some(compare((*own, *own_scale), (*mantissa, *scale))),
            (Wanted::Bytes(wanted), Scalar::Bytes(bytes)) => Some((*bytes).cmp(wanted.as_slice())),
            _ => None,
        }
    }

    /// The value compared with the one that the bounds were made of.
    fn beside(&self, (low, high): Bounds, value: i64) -> Ordering {
        // Bounds of an inequality say it with their one end.
        match self.test {
            Test::Less if high == i64::MAX || low > high => Ordering::Greater,
            Test::Less => {
                if value <= high {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            Test::LessEqual => {
                if value <= high {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            Test::Greater if low > high => Ordering::Less,
            Test::Greater => {
                if value >= low {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            Test::GreaterEqual => {
                if value >= low {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            _ => value.cmp(&low),
        }
    }

    /// Keeps the rows whose values match.
    pub fn keep(&self, column: &Column, rows: &mut Rows) {
        if let Wanted::Null(wanted) = self.wanted {
            return rows.keep(|row| column.is_null(row) == wanted);
        }
        match &column.values {
            Values::Nothing => rows.none(),
            Values::Constant(scalar) => {
                if !self.matches(scalar) {
                    return rows.none();
                }
                if let Some(nulls) = &column.nulls {
                    rows.keep(|row| !nulls.is_null(row));
                }
            }
            Values::Ints(ints) => {
                if let Wanted::Ints(bounds) = self.wanted {
                    keep_within(rows, column.nulls.as_ref(), bounds, |row| ints[row]);
                }
            }
            Values::Float4(bits) => {
                if let Wanted::Ints(bounds) = self.wanted {
                    keep_within(rows, column.nulls.as_ref(), bounds, |row| {
                        rank(f64::from(f32::from_bits(bits[row])))
                    });
                }
            }
            Values::Float8(bits) => {
                if let Wanted::Ints(bounds) = self.wanted {
                    keep_within(rows, column.nulls.as_ref(), bounds, |row| {
                        rank(f64::from_bits(bits[row]))
                    });
                }
            }
            Values::Numbers { mantissas, scale } => match self.wanted {
                Wanted::Number {
                    mantissa,
                    scale: wanted,
                    ..
                } => {
                    let bounds = number_bounds(self.test, (mantissa, wanted), *scale);
                    keep_within(rows, column.nulls.as_ref(), bounds, |row| mantissas[row]);
                }
                _ => self.keep_slowly(column, rows, |row| Scalar::Number {
                    mantissa: mantissas[row],
                    scale: *scale,
                }),
            },
            Values::MixedNumbers {
                mantissas,
                scales,
                others,
            } => {
                self.keep_slowly(column, rows, |row| match others.other(row) {
                    Some(bytes) => Scalar::OtherNumber(bytes),
                    None => Scalar::Number {
                        mantissa: mantissas[row],
                        scale: scales[row],
                    },
                });
            }
            Values::Bytes(bytes) if bytes.has_dictionary() => {
                let entries = bytes.len_of_dictionary() as u32;
                let matching: Vec<bool> = (0..entries)
                    .map(|code| self.matches(&Scalar::Bytes(bytes.entry(code))))
                    .collect();
                rows.keep(|row| {
                    matching
                        .get(bytes.code(row) as usize)
                        .copied()
                        .unwrap_or(false)
                        && !column.is_null(row)
                });
            }
            Values::Bytes(bytes) => {
                self.keep_slowly(column, rows, |row| {
                    Scalar::Bytes(bytes.entry(bytes.code(row)))
                });
            }
        }
    }

    fn keep_slowly<'b>(
        &self,
        column: &Column,
        rows: &mut Rows,
        value: impl Fn(usize) -> Scalar<'b>,
    ) {
        rows.keep(|row| !column.is_null(row) && self.matches(&value(row)));
    }

    /// Does a value that is not NULL match?
    fn matches(&self, scalar: &Scalar) -> bool {
        let (Wanted::Number { datum, .. } | Wanted::OtherNumber { datum }) = self.wanted else {
            return self
                .against(scalar)
                .is_some_and(|order| self.accepts(order));
        };
        let order = self.against(scalar).unwrap_or_else(|| {
            // SAFETY: both are numerics.
            let order = unsafe {
                pgrx::direct_function_call_as_datum(
                    pg_sys::numeric_cmp,
                    &[Some(values::datum(self.shape, scalar)), Some(datum)],
                )
            };
            order.map_or(0, |order| order.value() as i32).cmp(&0)
        });
        self.accepts(order)
    }

    fn accepts(&self, order: Ordering) -> bool {
        match self.test {
            Test::Less => order == Ordering::Less,
            Test::LessEqual => order != Ordering::Greater,
            Test::Equal => order == Ordering::Equal,
            Test::GreaterEqual => order != Ordering::Less,
            Test::Greater => order == Ordering::Greater,
            Test::AnyOf | Test::Null | Test::NotNull => false,
        }
    }
}

#[inline(always)]
fn keep_within(
    rows: &mut Rows,
    nulls: Option<&Nulls>,
    (low, high): Bounds,
    value: impl Fn(usize) -> i64,
) {
    match nulls {
        None => rows.keep(|row| {
            let value = value(row);
            (value >= low) & (value <= high)
        }),
        Some(nulls) => rows.keep(|row| {
            let value = value(row);
            (value >= low) & (value <= high) & !nulls.is_null(row)
        }),
    }
}

fn bounds(test: Test, value: i64) -> Bounds {
    match test {
        Test::Less => value.checked_sub(1).map_or(EMPTY, |high| (i64::MIN, high)),
        Test::LessEqual => (i64::MIN, value),
        Test::Equal => (value, value),
        Test::GreaterEqual => (value, i64::MAX),
        Test::Greater => value.checked_add(1).map_or(EMPTY, |low| (low, i64::MAX)),
        Test::AnyOf | Test::Null | Test::NotNull => EMPTY,
    }
}

/// Which mantissas of a scale match a number.
fn number_bounds(test: Test, (mantissa, scale): (i64, u16), own: u16) -> Bounds {
    // The greatest that is not above the number, and whether it is the number.
    let (floor, exact) = if own >= scale {
        (i128::from(mantissa) * power(own - scale), true)
    } else {
        let unit = power(scale - own);
        let floor = i128::from(mantissa).div_euclid(unit);
        (floor, floor * unit == i128::from(mantissa))
    };
    let (low, high) = match test {
        Test::Less if exact => (i128::MIN, floor - 1),
        Test::Less | Test::LessEqual => (i128::MIN, floor),
        Test::Equal if exact => (floor, floor),
        Test::GreaterEqual if exact => (floor, i128::MAX),
        Test::GreaterEqual | Test::Greater => (floor + 1, i128::MAX),
        _ => return EMPTY,
    };
    let (least, greatest) = (i128::from(i64::MIN), i128::from(i64::MAX));
    if low > greatest || high < least {
        return EMPTY;
    }
    (low.max(least) as i64, high.min(greatest) as i64)
}

/// From 10^19 on any number of 64 bits but 0 is beyond all others.
fn power(decimals: u16) -> i128 {
    10_i128.pow(u32::from(decimals.min(19)))
}

fn compare(a: (i64, u16), b: (i64, u16)) -> Ordering {
    let (first, second) = (i128::from(a.0), i128::from(b.0));
    if a.1 <= b.1 {
        (first * power(b.1 - a.1)).cmp(&second)
    } else {
        first.cmp(&(second * power(a.1 - b.1)))
    }
}

/// Ascends as the server orders floats: the zeros are equal, NaN is above everything.
#[inline(always)]
fn rank(number: f64) -> i64 {
    if number.is_nan() {
        return i64::MAX;
    }
    // Adding zero turns -0 into +0.
    let bits = (number + 0.0).to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use super::*;

    const TESTS: [Test; 5] = [
        Test::Less,
        Test::LessEqual,
        Test::Equal,
        Test::GreaterEqual,
        Test::Greater,
    ];

    #[pg_test]
    fn bounds_of_numbers_agree_with_comparing_them() {
        let numbers = [
            0,
            1,
            -1,
            9,
            10,
            11,
            -10,
            99,
            100,
            101,
            12_345,
            i64::MAX,
            i64::MIN,
        ];
        for wanted in numbers {
            for own in numbers {
                for (scale, own_scale) in [
                    (0, 0),
                    (2, 0),
                    (0, 2),
                    (1, 3),
                    (3, 1),
                    (25, 0),
                    (0, 25),
                    (40, 41),
                ] {
                    let order = compare((own, own_scale), (wanted, scale));
                    for test in TESTS {
                        let (low, high) = number_bounds(test, (wanted, scale), own_scale);
                        let filter = Filter {
                            stored: 0,
                            shape: Shape::Numeric,
                            test,
                            wanted: Wanted::Null(true),
                        };
                        assert_eq!(
                            (low..=high).contains(&own),
                            filter.accepts(order),
                            "{own}e-{own_scale} {test:?} {wanted}e-{scale}"
                        );
                    }
                }
            }
        }
    }

    #[pg_test]
    fn heads_never_lie() {
        let numbers = [i64::MIN, -5, 0, 3, 4, 9, i64::MAX];
        for test in TESTS {
            for wanted in numbers {
                let filter = Filter {
                    stored: 0,
                    shape: Shape::Int8,
                    test,
                    wanted: Wanted::Ints(bounds(test, wanted)),
                };
                for low in numbers {
                    for high in numbers.into_iter().filter(|&high| high >= low) {
                        let stats = Stats {
                            nulls: 0,
                            low: Some(Scalar::Int(low)),
                            high: Some(Scalar::Int(high)),
                            sum: None,
                        };
                        let within: Vec<_> = numbers
                            .into_iter()
                            .filter(|n| (low..=high).contains(n))
                            .collect();
                        let matching = within
                            .iter()
                            .filter(|&&n| filter.accepts(n.cmp(&wanted)))
                            .count();
                        match filter.head(&stats, 10) {
                            Verdict::No => {
                                assert_eq!(matching, 0, "{test:?} {wanted} in {low}..{high}")
                            }
                            Verdict::Yes => {
                                assert_eq!(
                                    matching,
                                    within.len(),
                                    "{test:?} {wanted} in {low}..{high}"
                                );
                            }
                            Verdict::Maybe => {}
                        }
                    }
                }
            }
        }
    }
}
