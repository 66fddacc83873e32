//! PostgreSQL's numeric as a decimal and back, without a text between them on the way in.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::varlena;
use crate::error::{Error, OrRaise, Result};
use gemba_core::fixed::{Fixed, PLACES};
use gemba_core::metrics::Sum;
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;
use rust_decimal::Decimal;

/// A numeric argument or result, rounded to [`PLACES`] decimal places when it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numeric(pub Decimal);

// The first two bytes of a stored numeric say how the rest is to be read.
const KIND: u16 = 0xC000;
const LONG_NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xC000;
const LONG_SCALE: u16 = 0x3FFF;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_SCALE: u16 = 0x1F80;
const SHORT_SCALE_SHIFT: u32 = 7;
const SHORT_WEIGHT_SIGN: u16 = 0x0040;
const SHORT_WEIGHT: u16 = 0x003F;

/// A digit of a stored numeric is one of this base.
const BASE: i128 = 10_000;

/// Digits of that base behind the point that [`PLACES`] has room for.
const FRACTION_DIGITS: i32 = PLACES as i32 / 4;

/// The decimal that a datum of type numeric stands for, rounded to [`PLACES`] places, or to fewer when the
/// number is so large that they do not fit.
///
/// # Errors
/// `22003` for NaN, the infinities, and numbers past 28 digits.
///
/// # Safety
/// The datum is a numeric and not null.
pub unsafe fn decimal(datum: pg_sys::Datum) -> Result<Decimal> {
    // SAFETY: the caller vouches for the type.
    let stored = unsafe { Stored::read(datum) }?;
    (0..=FRACTION_DIGITS)
        .rev()
        .find_map(|fraction| {
            let units = stored.units(fraction)?;
            Decimal::try_from_i128_with_scale(units, fraction as u32 * 4).ok()
        })
        .ok_or_else(|| out_of_range("it has too many digits"))
}

/// The amount that a datum of type numeric stands for, rounded to [`PLACES`] places.
///
/// # Errors
/// `22003` for NaN, the infinities, and numbers past 26 digits before the point.
///
/// # Safety
/// The datum is a numeric and not null.
pub unsafe fn fixed(datum: pg_sys::Datum) -> Result<Fixed> {
    // SAFETY: the caller vouches for the type.
    let stored = unsafe { Stored::read(datum) }?;
    stored
        .units(FRACTION_DIGITS)
        .map(Fixed)
        .ok_or_else(|| out_of_range("it has too many digits"))
}

/// The amount as a datum of type numeric, exactly.
pub fn of_fixed(value: Fixed) -> Option<pg_sys::Datum> {
    AnyNumeric::try_from(value.to_string().as_str())
        .ok()
        .and_then(IntoDatum::into_datum)
}

/// A numeric as it is stored, without the length in front. Its data are 2-byte words, and a length of one
/// byte may leave them at an odd address, which is why they are read by bytes.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a>(&'a [u8]);

/// What it says.
struct Parts<'a> {
    negative: bool,
    /// The first digit's place: it counts for this power of [`BASE`].
    weight: i16,
    /// Decimals that it shows.
    scale: u16,
    digits: &'a [[u8; 2]],
}

impl<'a> Stored<'a> {
    /// # Safety
    /// The datum is a numeric and not null, and lives longer than what is made of it.
    unsafe fn read(datum: pg_sys::Datum) -> Result<Self> {
        // SAFETY: the caller vouches for the type.
        Self::finite(unsafe { varlena::bytes(datum) })
            .ok_or_else(|| out_of_range("it is not a finite number"))
    }

    /// None for NaN and the infinities.
    #[inline(always)]
    pub fn finite(body: &'a [u8]) -> Option<Self> {
        let word = u16::from_ne_bytes(*body.first_chunk()?);
        (word & KIND != SPECIAL).then_some(Self(body))
    }

    #[inline(always)]
    fn parts(self) -> Parts<'a> {
        let (word, rest) = self.0.split_first_chunk().unwrap_or((&[0; 2], &[]));
        let word = u16::from_ne_bytes(*word);
        if word & KIND == SHORT {
            let magnitude = (word & SHORT_WEIGHT) as i16;
            let below = word & SHORT_WEIGHT_SIGN != 0;
            return Parts {
                negative: word & SHORT_NEGATIVE != 0,
                weight: if below { magnitude - 64 } else { magnitude },
                scale: (word & SHORT_SCALE) >> SHORT_SCALE_SHIFT,
                digits: rest.as_chunks().0,
            };
        }
        let (weight, digits) = rest.split_first_chunk().unwrap_or((&[0; 2], &[]));
        Parts {
            negative: word & KIND == LONG_NEGATIVE,
            weight: i16::from_ne_bytes(*weight),
            scale: word & LONG_SCALE,
            digits: digits.as_chunks().0,
        }
    }

    /// The number to be added up, where 128 bits are enough for it.
    #[inline(always)]
    pub fn sum(self) -> Option<Sum> {
        let parts = self.parts();
        Sum::of_digits(parts.negative, parts.weight, parts.digits, parts.scale)
    }

    /// The number without the length in front.
    pub fn body(self) -> &'a [u8] {
        self.0
    }

    /// Decimals that it shows.
    pub fn scale(self) -> u16 {
        self.parts().scale
    }

    /// Whether it is below zero, for which power of 10,000 the first digit counts, and the digits of that base.
    pub fn digits(self) -> (bool, i16, Vec<u16>) {
        let parts = self.parts();
        let digits = parts.digits.iter().map(|pair| u16::from_ne_bytes(*pair));
        (parts.negative, parts.weight, digits.collect())
    }

    /// The number in units of its `fraction`th digit behind the point, rounded half away from zero. None
    /// past an i128.
    fn units(self, fraction: i32) -> Option<i128> {
        let parts = self.parts();
        let units = parts.magnitude(fraction)?;
        Some(if parts.negative { -units } else { units })
    }
}

impl Parts<'_> {
    fn magnitude(&self, fraction: i32) -> Option<i128> {
        let mut units: i128 = 0;
        let mut place = i32::from(self.weight);
        for pair in self.digits {
            let digit = i128::from(u16::from_ne_bytes(*pair));
            if place < -fraction {
                // The first digit that has no room decides.
                return Some(units + i128::from(digit * 2 >= BASE && place == -fraction - 1));
            }
            units = units.checked_mul(BASE)?.checked_add(digit)?;
            place -= 1;
        }
        // Zeros at the end are not stored.
        if units != 0 && place >= -fraction {
            let zeros = u32::try_from(place + fraction + 1).ok()?;
            units = units.checked_mul(BASE.checked_pow(zeros)?)?;
        }
        Some(units)
    }
}

/// A stored numeric, without the length in front, as `mantissa × 10^-scale`, the scale being the decimals that it
/// shows. None for NaN, the infinities, and where 64 bits are too few.
#[inline]
pub fn mantissa(stored: &[u8]) -> Option<(i64, u16)> {
    let (units, fraction, scale) = Stored::finite(stored)?.sum()?.parts();
    let decimals = i32::from(fraction) * 4 - i32::from(scale);
    let power = 10_i128.checked_pow(decimals.unsigned_abs())?;
    let mantissa = if decimals > 0 {
        // Digits behind the decimals that are shown are not stored, so nothing is cut off here.
        (units % power == 0).then_some(units / power)?
    } else {
        units.checked_mul(power)?
    };
    Some((i64::try_from(mantissa).ok()?, scale))
}

/// A numeric datum in the current memory context, as the server itself would store it.
pub fn of_mantissa(mantissa: i64, scale: u16) -> pg_sys::Datum {
    let mut scratch = Scratch::default();
    scratch.datum(mantissa, scale);
    varlena::of_bytes(scratch.body())
}

/// Words of a numeric: its length, head and weight, and the digits of 64 bits shifted by up to three decimals.
const WORDS: usize = 2 + 2 + 6;

/// Room for one numeric, used again for the next.
#[derive(Debug)]
pub struct Scratch {
    // The length in front is a word of four bytes.
    words: [u32; WORDS.div_ceil(2)],
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            words: [0; WORDS.div_ceil(2)],
        }
    }
}

impl Scratch {
    /// The numeric `mantissa × 10^-scale`. It lives until the next one is made here.
    #[inline]
    pub fn datum(&mut self, mantissa: i64, scale: u16) -> pg_sys::Datum {
        // Digits stand for four decimals each, counted from the point.
        let fraction = scale.div_ceil(4);
        let shift = [1_u128, 10, 100, 1_000][usize::from(fraction * 4 - scale)];
        let mut rest = u128::from(mantissa.unsigned_abs()) * shift;
        let mut digits = [0_u16; 6];
        let mut first = digits.len();
        // Nearly all fit into 64 bits, which are divided much faster.
        while rest > u128::from(u64::MAX) {
            first -= 1;
            digits[first] = (rest % 10_000) as u16;
            rest /= 10_000;
        }
        let mut rest = rest as u64;
        while rest > 0 {
            first -= 1;
            digits[first] = (rest % 10_000) as u16;
            rest /= 10_000;
        }
        let mut digits = &digits[first..];
        // The first digit counts for this power of 10,000.
        let weight = digits.len() as i32 - 1 - i32::from(fraction);
        while let [kept @ .., 0] = digits {
            digits = kept;
        }
        let negative = mantissa < 0;
        let weight = if digits.is_empty() { 0 } else { weight };
        let words: &mut [u16] = {
            // SAFETY: words of two bytes in the room of half as many words of four.
            unsafe {
                std::slice::from_raw_parts_mut(
                    self.words.as_mut_ptr().cast::<u16>(),
                    self.words.len() * 2,
                )
            }
        };
        let short = scale <= SHORT_SCALE >> SHORT_SCALE_SHIFT && (-64..=63).contains(&weight);
        let head = if short {
            words[2] = SHORT
                | if negative { SHORT_NEGATIVE } else { 0 }
                | (scale << SHORT_SCALE_SHIFT)
                | if weight < 0 { SHORT_WEIGHT_SIGN } else { 0 }
                | (weight as u16 & SHORT_WEIGHT);
            1
        } else {
            words[2] = if negative { LONG_NEGATIVE } else { 0 } | (scale & LONG_SCALE);
            words[3] = weight as i16 as u16;
            2
        };
        words[2 + head..2 + head + digits.len()].copy_from_slice(digits);
        let size = pg_sys::VARHDRSZ + (head + digits.len()) * 2;
        let start = self.words.as_mut_ptr();
        // SAFETY: the room begins with the length.
        unsafe { pgrx::varlena::set_varsize_4b(start.cast(), size as i32) };
        pg_sys::Datum::from(start)
    }

    /// The numeric made last, without the length in front.
    fn body(&self) -> &[u8] {
        // SAFETY: the room begins with the length of what was written there.
        unsafe {
            let start: *const pg_sys::varlena = self.words.as_ptr().cast();
            std::slice::from_raw_parts(
                pgrx::varlena::vardata_any(start).cast::<u8>(),
                pgrx::varlena::varsize_any_exhdr(start),
            )
        }
    }
}

pub fn out_of_range(why: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        "the number cannot be computed with",
    )
    .detail(why)
    .hint("give a finite number of at most 28 digits before the point")
}

impl FromDatum for Numeric {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: the caller vouches for the type, and null is looked at first.
        (!is_null).then(|| Self(unsafe { decimal(datum) }.or_raise()))
    }
}

impl IntoDatum for Numeric {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let Ok(mantissa) = i64::try_from(self.0.mantissa()) else {
            return AnyNumeric::try_from(self.0.to_string().as_str())
                .ok()
                .and_then(IntoDatum::into_datum);
        };
        // SAFETY: returns a palloc'd numeric; every i64 and every scale of a decimal is valid input.
        let numeric = unsafe { pg_sys::int64_div_fast_to_numeric(mantissa, self.0.scale() as i32) };
        Some(pg_sys::Datum::from(numeric))
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::NUMERICOID
    }
}

// SAFETY: declared as what the server calls the type.
unsafe impl SqlTranslatable for Numeric {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Numeric);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal("numeric"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("numeric")));
}

// SAFETY: the result is a datum of the type declared above, or null.
unsafe impl BoxRet for Numeric {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: it is returned, as the caller promises.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

// SAFETY: an argument is read by its datum, as declared above.
unsafe impl<'fcx> ArgAbi<'fcx> for Numeric {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the server passes what the function was declared with.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self(Decimal::ZERO))
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use super::Numeric;
    use crate::postgres::spi;
    use pgrx::prelude::*;

    fn read(number: &str) -> Option<String> {
        spi::read_one::<Numeric>(&format!("SELECT '{number}'::numeric"), &[])
            .ok()
            .flatten()
            .map(|Numeric(value)| value.normalize().to_string())
    }

    #[pg_test]
    fn numbers_arrive_as_they_are() {
        for number in [
            "0",
            "1",
            "-1",
            "10000",
            "9999",
            "100000000",
            "-0.5",
            "0.0001",
            "0.00001",
            "12.34",
            "123456789.123456789",
            "0.000000000001",
            "-9999999999999999",
            "1000000000000",
            "90000.00009",
            "0.10203040506",
        ] {
            assert_eq!(read(number).as_deref(), Some(number));
        }
        // Long headers: a scale or a weight that a short one has no room for.
        assert_eq!(read(&format!("1.{}", "0".repeat(70))).as_deref(), Some("1"));
        assert_eq!(read("0.0000000000005").as_deref(), Some("0.000000000001"));
        assert_eq!(read("-0.0000000000005").as_deref(), Some("-0.000000000001"));
        assert_eq!(read("0.00000000000049999").as_deref(), Some("0"));
        assert_eq!(read("1e-300").as_deref(), Some("0"));
        assert_eq!(read("1.9999999999999").as_deref(), Some("2"));
        // Where twelve places have no room, fewer are kept.
        assert_eq!(read("1e17").as_deref(), Some("100000000000000000"));
        assert_eq!(
            read("99999999999999999.123456789").as_deref(),
            Some("99999999999999999.12345679")
        );
        assert_eq!(
            read("12345678901234567890123456.55").as_deref(),
            Some("12345678901234567890123457")
        );
        assert_eq!(
            read("-9999999999999999999999999999").as_deref(),
            Some("-9999999999999999999999999999")
        );
    }

    #[pg_test]
    fn random_numbers_make_the_round_trip() {
        let same = spi::read_all::<bool>(
            "SELECT n FROM (SELECT ((random() - 0.5) * pow(10::numeric, (random() * 18 - 4)::int))::numeric AS n
               FROM generate_series(1, 2000)) AS x",
            &[],
            |row| {
                let ours = row.get::<Numeric>(1)?;
                let theirs = row.get::<AnyNumeric>(1)?;
                let text = ours.map(|n| n.0.normalize().to_string()).unwrap_or_default();
                Ok(AnyNumeric::try_from(text.as_str()).ok()
                    == theirs.map(|n| n.rescale::<40, 12>().map(AnyNumeric::from).unwrap_or_default()))
            },
        );
        assert!(same.is_ok_and(|all| all.len() == 2000 && all.into_iter().all(|same| same)));
    }

    #[pg_test]
    fn numbers_leave_as_they_are() {
        for number in [
            "0",
            "-1",
            "0.00",
            "225.00",
            "-0.000000000001",
            "9223372036854775807",
            "9223372036854775808",
            "-79228162514264337593543950335",
            "0.0000000000000000000000000001",
            "12345678901234567.8901",
        ] {
            let written = number
                .parse()
                .ok()
                .and_then(|value| {
                    spi::read_one::<String>("SELECT $1::text", &[Numeric(value).into()]).ok()
                })
                .flatten();
            assert_eq!(written.as_deref(), Some(number));
        }
    }

    #[pg_test(error = "the number cannot be computed with")]
    fn not_a_number() {
        let _ = read("NaN");
    }

    #[pg_test(error = "the number cannot be computed with")]
    fn infinite() {
        let _ = read("-Infinity");
    }

    #[pg_test(error = "the number cannot be computed with")]
    fn too_many_digits() {
        let _ = read("1e29");
    }

    #[pg_test(error = "the number cannot be computed with")]
    fn far_too_many_digits() {
        let _ = read("1e4000");
    }

    /// Directly built values are the ones that the server's own input would have stored.
    #[pg_test]
    fn numerics_are_what_the_server_writes() {
        for (scaled, text) in [
            (0_i64, "0.0000"),
            (1, "0.0001"),
            (-1, "-0.0001"),
            (12_300, "1.2300"),
            (47_624_300, "4762.4300"),
            (9_999_999_999, "999999.9999"),
            (-9_999_999_999, "-999999.9999"),
            (10_000_000, "1000.0000"),
        ] {
            // SAFETY: the datum is a numeric, made for this call.
            #[expect(unsafe_code, reason = "reads a datum made above")]
            let value = unsafe { AnyNumeric::from_datum(super::of_mantissa(scaled, 4), false) };
            let same = spi::read_row(
                "SELECT $1::text = $2, $1 = $2::numeric(10,4), pg_column_size($1) <= pg_column_size($2::numeric(10,4))",
                &[value.into(), text.into()],
                |row| {
                    Ok((
                        row.get::<bool>(1)?,
                        row.get::<bool>(2)?,
                        row.get::<bool>(3)?,
                    ))
                },
            );
            assert_eq!(
                same.ok().flatten(),
                Some((Some(true), Some(true), Some(true))),
                "{text}"
            );
        }
    }
}
