//! Kinds of columns, single values, and what a segment knows of a column without decoding it.

use std::cmp::Ordering;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Whole numbers of up to 64 bits: int2, int4, int8, bool, date, timestamp, timestamptz.
    Int = 0,
    /// The bits of single precision numbers.
    Float4 = 1,
    /// The bits of double precision numbers.
    Float8 = 2,
    /// Decimal numbers with their scale; those that have none as bytes.
    Numeric = 3,
    /// Texts and other runs of bytes.
    Bytes = 4,
}

impl Kind {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Int),
            1 => Some(Self::Float4),
            2 => Some(Self::Float8),
            3 => Some(Self::Numeric),
            4 => Some(Self::Bytes),
            _ => None,
        }
    }
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// Of [`Kind::Int`].
    Int(i64),
    /// Of [`Kind::Float4`]: its bits.
    Float4(u32),
    /// Of [`Kind::Float8`]: its bits.
    Float8(u64),
    /// Of [`Kind::Numeric`]: `mantissa × 10^-scale`; 1.0 and 1.00 are two different values of the same size.
    Number {
        /// The digits.
        mantissa: i64,
        /// How many of them are decimals.
        scale: u16,
    },
    /// Of [`Kind::Numeric`], as it was given: what has no mantissa of 64 bits.
    OtherNumber(&'a [u8]),
    /// Of [`Kind::Bytes`].
    Bytes(&'a [u8]),
}

/// An exact sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// The digits.
    pub mantissa: i128,
    /// How many of them are decimals: 0 for [`Kind::Int`].
    pub scale: u16,
}

/// What a segment knows of a column without decoding it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats<'a> {
    /// Rows that are NULL.
    pub nulls: u32,
    /// No value is below this. None where all rows are NULL or a number has no mantissa. Exact, but for
    /// [`Kind::Bytes`], where it may be the beginning of the least value.
    ///
    /// Floats are in PostgreSQL's order (NaN is above everything, the two zeros are equal), bytes in that of memcmp.
    pub low: Option<Scalar<'a>>,
    /// No value is above this. Exact; none where [`Self::low`] is none, and where the greatest value of
    /// [`Kind::Bytes`] is longer than 32 bytes.
    pub high: Option<Scalar<'a>>,
    /// Sum of all values that are not NULL: of [`Kind::Int`], and of [`Kind::Numeric`] if all have the same scale.
    pub sum: Option<Sum>,
}

/// Order of the bits of floats of either size, as PostgreSQL orders floats.
pub(crate) trait FloatBits: Copy + Eq {
    /// Ascends with the number; equal for the zeros, and for all NaN.
    fn rank(self) -> i64;
}

impl FloatBits for u32 {
    fn rank(self) -> i64 {
        rank(f64::from(f32::from_bits(self)))
    }
}

impl FloatBits for u64 {
    fn rank(self) -> i64 {
        rank(f64::from_bits(self))
    }
}

fn rank(value: f64) -> i64 {
    if value.is_nan() {
        return i64::MAX;
    }
    // Adding zero turns -0 into +0.
    let bits = (value + 0.0).to_bits().cast_signed();
    bits ^ (((bits >> 63).cast_unsigned()) >> 1).cast_signed()
}

/// Order of two numbers of any scale.
pub(crate) fn compare_numbers(a: (i64, u16), b: (i64, u16)) -> Ordering {
    let (first, second) = (i128::from(a.0), i128::from(b.0));
    match a.1.cmp(&b.1) {
        Ordering::Equal => first.cmp(&second),
        Ordering::Less => raise(first, b.1 - a.1).cmp(&second),
        Ordering::Greater => first.cmp(&raise(second, a.1 - b.1)),
    }
}

/// Times a power of ten; from 10^19 on, any number of 64 bits other than 0 is beyond all others already.
fn raise(mantissa: i128, by: u16) -> i128 {
    mantissa * 10_i128.pow(u32::from(by.min(19)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_different_scales_compare() {
        assert_eq!(compare_numbers((10, 1), (100, 2)), Ordering::Equal);
        assert_eq!(compare_numbers((11, 1), (100, 2)), Ordering::Greater);
        assert_eq!(compare_numbers((1, 0), (i64::MAX, 19)), Ordering::Greater);
        assert_eq!(compare_numbers((-1, 0), (i64::MIN, 60_000)), Ordering::Less);
        assert_eq!(compare_numbers((0, 0), (0, 60_000)), Ordering::Equal);
        assert_eq!(
            compare_numbers((i64::MIN, 65_535), (-1, 0)),
            Ordering::Greater
        );
    }

    #[test]
    fn floats_are_ordered_as_postgresql_orders_them() {
        let ascending = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.0,
            -f64::from_bits(1),
            0.0,
            f64::from_bits(1),
            1.0,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        for pair in ascending.windows(2) {
            assert!(
                pair[0].to_bits().rank() < pair[1].to_bits().rank(),
                "{pair:?}"
            );
        }
        assert_eq!((-0.0_f64).to_bits().rank(), 0.0_f64.to_bits().rank());
        assert_eq!((-f64::NAN).to_bits().rank(), f64::NAN.to_bits().rank());
        assert_eq!((-0.0_f32).to_bits().rank(), 0.0_f32.to_bits().rank());
    }
}
