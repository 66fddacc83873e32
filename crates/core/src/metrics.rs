//! Exact sums of decimals as PostgreSQL writes them: digits of base 10,000, and a number of decimals to show.
//!
//! A sum holds what fits 128 bits at its finest place. What does not fit is the caller's: it puts the sum
//! aside and begins another.

mod ratio;

pub use ratio::RATIO_SCALE;

/// A digit of a stored number is one of this base: four decimal ones.
pub const BASE: u16 = 10_000;
const PLACES: u32 = 4;

/// So many digits fit 64 bits.
const SHORT: usize = 4;

/// Powers of the base, as far as 128 bits go.
const POWERS: [i128; 10] = {
    let mut powers = [1; 10];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * BASE as i128;
        i += 1;
    }
    powers
};

/// A number, or the sum of several. It shows as many decimals as the longest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// In units of 10,000^-fraction.
    units: i128,
    fraction: u16,
    scale: u16,
}

impl Sum {
    pub const ZERO: Self = Self {
        units: 0,
        fraction: 0,
        scale: 0,
    };

    /// Its units, in how many digits of base 10,000 behind the point these are, and the decimals that it shows.
    pub fn parts(&self) -> (i128, u16, u16) {
        (self.units, self.fraction, self.scale)
    }

    /// The number of these digits, each a native 16-bit word, the first of which counts for 10,000^weight;
    /// it shows `scale` decimals. None when it needs more than 128 bits.
    #[inline(always)]
    #[must_use]
    pub fn of_digits(negative: bool, weight: i16, digits: &[[u8; 2]], scale: u16) -> Option<Self> {
        let digit = |pair: &[u8; 2]| u16::from_ne_bytes(*pair);
        let magnitude = if digits.len() <= SHORT {
            let short = digits.iter().fold(0_u64, |sum, pair| {
                sum * u64::from(BASE) + u64::from(digit(pair))
            });
            i128::from(short)
        } else {
            digits.iter().try_fold(0_i128, |sum, pair| {
                sum.checked_mul(BASE.into())?
                    .checked_add(digit(pair).into())
            })?
        };
        let units = if negative { -magnitude } else { magnitude };
        // Zeros at the end are not stored, before the point neither.
        match i32::try_from(digits.len()).ok()? - 1 - i32::from(weight) {
            fraction @ 0.. => Some(Self {
                units,
                fraction: u16::try_from(fraction).ok()?,
                scale,
            }),
            _ if units == 0 => Some(Self {
                scale,
                ..Self::ZERO
            }),
            zeros => Some(Self {
                units: units.checked_mul(power(zeros.unsigned_abs())?)?,
                fraction: 0,
                scale,
            }),
        }
    }

    /// Both together, exactly. None when that needs more than 128 bits.
    #[inline(always)]
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let (fraction, a, b) = if self.fraction == other.fraction {
            (self.fraction, self.units, other.units)
        } else {
            let fraction = self.fraction.max(other.fraction);
            (fraction, self.at(fraction)?, other.at(fraction)?)
        };
        Some(Self {
            units: a.checked_add(b)?,
            fraction,
            scale,
        })
    }

    /// The units of a finer place.
    fn at(self, fraction: u16) -> Option<i128> {
        if self.units == 0 {
            return Some(0);
        }
        let finer = power(u32::from(fraction) - u32::from(self.fraction))?;
        self.units.checked_mul(finer)
    }

    /// The decimals that it shows.
    #[must_use]
    pub fn scale(self) -> u16 {
        self.scale
    }

    /// The sum in units of 10^-scale, where that fits.
    #[must_use]
    pub fn mantissa(self) -> Option<i64> {
        let (have, want) = (u32::from(self.fraction) * PLACES, u32::from(self.scale));
        let units = if self.units == 0 {
            0
        } else if have > want {
            self.units / 10_i128.checked_pow(have - want)?
        } else {
            self.units.checked_mul(10_i128.checked_pow(want - have)?)?
        };
        i64::try_from(units).ok()
    }

    /// The sum as it is written, with all its decimals.
    #[must_use]
    pub fn text(self) -> String {
        let places = usize::from(self.fraction) * PLACES as usize;
        let units = self.units;
        let digits = format!("{:0>width$}", units.unsigned_abs(), width = places + 1);
        let (whole, decimals) = digits.split_at(digits.len() - places);
        let scale = usize::from(self.scale);
        let sign = if units < 0 { "-" } else { "" };
        let point = if scale > 0 { "." } else { "" };
        // Places are those of whole digits: the last may be finer than what is shown, and is zero there.
        let decimals = &decimals[..decimals.len().min(scale)];
        format!("{sign}{whole}{point}{decimals:0<scale$}")
    }

    /// As bytes, for [`Self::from_bytes`].
    #[must_use]
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&self.units.to_ne_bytes());
        bytes[16..18].copy_from_slice(&self.fraction.to_ne_bytes());
        bytes[18..].copy_from_slice(&self.scale.to_ne_bytes());
        bytes
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8; 20]) -> Self {
        let [units @ .., f0, f1, s0, s1] = *bytes;
        Self {
            units: i128::from_ne_bytes(units),
            fraction: u16::from_ne_bytes([f0, f1]),
            scale: u16::from_ne_bytes([s0, s1]),
        }
    }
}

fn power(exponent: u32) -> Option<i128> {
    POWERS.get(exponent as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    /// The parts of a number as the server stores them: no zeros at either end.
    fn stored(text: &str) -> (bool, i16, Vec<[u8; 2]>, u16) {
        let (negative, number) = text
            .strip_prefix('-')
            .map_or((false, text), |rest| (true, rest));
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let padded = format!(
            "{whole:0>before$}{decimals:0<behind$}",
            before = whole.len().next_multiple_of(4),
            behind = decimals.len().next_multiple_of(4)
        );
        let mut digits: Vec<u16> = padded
            .as_bytes()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|four| four.iter().fold(0, |sum, c| sum * 10 + u16::from(c - b'0')))
            .collect();
        let mut weight = whole.len().div_ceil(4) as i16 - 1;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..zeros);
        weight = if digits.is_empty() {
            0
        } else {
            weight - zeros as i16
        };
        let digits = digits.into_iter().map(u16::to_ne_bytes).collect();
        (negative, weight, digits, decimals.len() as u16)
    }

    pub fn sum(text: &str) -> Option<Sum> {
        let (negative, weight, digits, scale) = stored(text);
        Sum::of_digits(negative, weight, &digits, scale)
    }

    #[test]
    fn numbers_are_written_as_they_came() {
        for text in [
            "0",
            "0.00",
            "0.00000",
            "1",
            "-1",
            "9999",
            "10000",
            "100000000",
            "10000.00",
            "0.1",
            "0.00001",
            "-0.000000000001",
            "12.50",
            "12.5000000",
            "123456789.123456789",
            "-99999999999999999999999999999999999999",
            "0.00000000000000000000000000000000000001",
            "1000000000000000000000000000000000000",
            "3402823669209384634633.746074317682",
        ] {
            assert_eq!(sum(text).map(Sum::text).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_needs_more_than_128_bits_is_none() {
        for text in [
            "170141183460469231731687303715884105728",
            "1000000000000000000000000000000000000000000000000",
            "17014118346046923173168730371588410.5728",
            "10000000000000000000.00000000000000000001",
        ] {
            assert_eq!(sum(text), None, "{text}");
        }
        let most = sum("170141183460469231731687303715884105727");
        let one = sum("1");
        assert_eq!(most.zip(one).and_then(|(a, b)| a.plus(b)), None);
        let (large, small) = (
            sum("1e30".replace("e30", &"0".repeat(30)).as_str()),
            sum("0.00000000000000000001"),
        );
        assert_eq!(large.zip(small).and_then(|(a, b)| a.plus(b)), None);
        // Far from each other, but one of them is zero.
        let tiny = format!("0.{}1", "0".repeat(400));
        let together = sum(&tiny).zip(sum("0.0")).and_then(|(a, b)| a.plus(b));
        assert_eq!(together.map(Sum::text), Some(tiny));
    }

    #[test]
    fn mantissas() {
        for (text, mantissa) in [
            ("0.000", Some(0)),
            ("12.5", Some(125)),
            ("-12.50", Some(-1250)),
            ("12.50000", Some(1_250_000)),
            ("70000.0", Some(700_000)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("922337203685477580.8", None),
            ("0.0000000000000000000000000000000001", Some(1)),
        ] {
            assert_eq!(sum(text).and_then(Sum::mantissa), mantissa, "{text}");
        }
    }

    proptest! {
        #[test]
        fn sums_are_those_of_decimals(terms in prop::collection::vec((-1_000_000_000_000_000_i64..1_000_000_000_000_000, 0_u32..12), 1..50)) {
            let mut ours = Sum::ZERO;
            let mut theirs = Decimal::ZERO;
            for (mantissa, scale) in terms {
                let term = Decimal::new(mantissa, scale);
                let read = sum(&term.to_string()).expect("it fits");
                prop_assert_eq!(read.text(), term.to_string());
                ours = ours.plus(read).expect("it fits");
                theirs += term;
            }
            theirs.rescale(u32::from(ours.scale()));
            prop_assert_eq!(ours.text(), theirs.to_string());
            prop_assert_eq!(ours.mantissa().map(i128::from), i64::try_from(theirs.mantissa()).ok().map(i128::from));
            prop_assert_eq!(Sum::from_bytes(&ours.to_bytes()), ours);
        }

        #[test]
        fn neither_order_nor_grouping_shows(
            a in (any::<i128>(), 0_usize..60), b in (any::<i128>(), 0_usize..60), c in (any::<i128>(), 0_usize..60)
        ) {
            let [a, b, c] = [a, b, c].map(|(units, places)| {
                let digits = format!("{:0>width$}", (units >> 64).unsigned_abs(), width = places + 1);
                let (whole, decimals) = digits.split_at(digits.len() - places);
                let point = if places > 0 { "." } else { "" };
                let sign = if units >> 64 < 0 { "-" } else { "" };
                sum(&format!("{sign}{whole}{point}{decimals}"))
            });
            let (Some(a), Some(b), Some(c)) = (a, b, c) else { return Ok(()) };
            prop_assert_eq!(a.plus(b), b.plus(a));
            let (left, right) = (a.plus(b).and_then(|ab| ab.plus(c)), b.plus(c).and_then(|bc| a.plus(bc)));
            if let (Some(left), Some(right)) = (left, right) {
                prop_assert_eq!(left.text(), right.text());
            }
        }

        #[test]
        fn whole_numbers_are_those_of_the_language(a: i64, b: i64) {
            let both = sum(&a.to_string()).zip(sum(&b.to_string())).and_then(|(a, b)| a.plus(b));
            prop_assert_eq!(both.map(Sum::text), Some((i128::from(a) + i128::from(b)).to_string()));
        }
    }
}
