//! Cell texts as exact decimals, scaled by 10^4 as numeric(10,4) stores them.

use super::RejectReason;

/// Factor between a value and its integer form.
pub const SCALE: i64 = 10_000;
/// Stands for a missing value in a column of scaled values.
pub const MISSING: i64 = i64::MIN;
/// Scaled values of numeric(10,4) lie strictly between minus this and this.
const LIMIT: i64 = 1_000_000 * SCALE;

/// Reads one trimmed cell: the value × 10^4, rounded half away from zero, or [`MISSING`] for an empty cell, `NaN`,
/// `NA`, `null` (any case) and `-`.
///
/// # Errors
/// [`RejectReason::OutOfRange`] from one million on (and for infinities); [`RejectReason::NotANumber`] otherwise.
#[inline]
pub fn parse(text: &[u8]) -> Result<i64, RejectReason> {
    match plain(text) {
        Some(value) => Ok(value),
        None => general(text),
    }
}

/// `ddd`, `ddd.d` … `dddddd.dddd` with an optional minus: nearly every cell there is.
#[inline]
fn plain(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut value = 0;
    let mut at = 0;
    while let Some(digit) = digits.get(at).map(|b| b.wrapping_sub(b'0'))
        && digit < 10
    {
        value = value * 10 + i64::from(digit);
        at += 1;
        if at > 6 {
            return None;
        }
    }
    if at == 0 {
        return None;
    }
    let fraction = match &digits[at..] {
        [] => return Some(signed(value * SCALE, negative)),
        [b'.', fraction @ ..] if fraction.len() <= 4 => fraction,
        _ => return None,
    };
    for byte in fraction {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(signed(
        value * [SCALE, 1000, 100, 10, 1][fraction.len()],
        negative,
    ))
}

fn signed(value: i64, negative: bool) -> i64 {
    if negative { -value } else { value }
}

fn general(text: &[u8]) -> Result<i64, RejectReason> {
    let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    if text.is_empty() || text == b"-" || is("nan") || is("na") || is("null") {
        return Ok(MISSING);
    }
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if unsigned.eq_ignore_ascii_case(b"infinity") || unsigned.eq_ignore_ascii_case(b"inf") {
        return Err(RejectReason::OutOfRange);
    }
    let (mantissa, exponent) = match unsigned.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (
            &unsigned[..at],
            parse_exponent(&unsigned[at + 1..]).ok_or(RejectReason::NotANumber)?,
        ),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|&b| b == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    let digits = || whole.iter().chain(fraction);
    if digits().next().is_none() || !digits().all(u8::is_ascii_digit) {
        return Err(RejectReason::NotANumber);
    }
    let zeros = digits().take_while(|&&b| b == b'0').count();
    let mut significant = digits().skip(zeros).map(|b| i64::from(b - b'0')).peekable();
    if significant.peek().is_none() {
        return Ok(0);
    }
    // The first `kept` significant digits are those of the scaled integer.
    let kept = whole.len() as i64 - zeros as i64 + exponent + 4;
    if kept > 10 {
        return Err(RejectReason::OutOfRange);
    }
    if kept < 0 {
        return Ok(0);
    }
    let mut value = 0;
    for _ in 0..kept {
        value = value * 10 + significant.next().unwrap_or(0);
    }
    value += i64::from(significant.next().unwrap_or(0) >= 5);
    if value >= LIMIT {
        return Err(RejectReason::OutOfRange);
    }
    Ok(signed(value, negative))
}

/// Saturates far beyond any exponent that could matter, so that no text overflows the sum above.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let size = digits.iter().try_fold(0_i64, |sum, b| {
        b.is_ascii_digit()
            .then(|| (sum * 10 + i64::from(b - b'0')).min(1_000_000_000_000))
    })?;
    Some(signed(size, negative))
}

/// Text of a scaled value, with four decimals; empty for [`MISSING`].
#[must_use]
pub fn format_scaled(value: i64) -> String {
    if value == MISSING {
        return String::new();
    }
    let (sign, size) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let scale = SCALE.unsigned_abs();
    format!("{sign}{}.{:04}", size / scale, size % scale)
}
