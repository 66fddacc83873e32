//! Instants as pipelines write them: ISO 8601 and RFC 3339, and nothing that has to be guessed.
//!
//! An instant that states its zone is a point on the line of time; one without is a local time, and its
//! meaning depends on where the machine stands. The two stay apart until the caller brings a zone.

use crate::calendar::{DAY, HOUR, SECOND};
use crate::local_time::days_from_civil;

/// Microseconds in a minute.
const MINUTE: i64 = 60 * SECOND;
/// Years that are read. What lies outside is a typing error, not a time at which a machine ran.
const YEARS: std::ops::RangeInclusive<u32> = 1900..=2200;
/// PostgreSQL's own limit; the farthest zones are at +14 and −12.
const MAX_OFFSET_HOURS: u32 = 15;

/// A time as it was written, in microseconds since 2000-01-01 00:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instant {
    /// With a zone: since that moment in UTC.
    Absolute(i64),
    /// Without one: since that reading of the local clock.
    Local(i64),
}

/// Why a text is no instant, or no date. The messages leave the value out, because the caller shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstantError {
    /// The text is empty or blank.
    #[error("the time is empty")]
    Empty,
    /// Not of the form that [`parse`] reads.
    #[error("the time is not of the form YYYY-MM-DDTHH:MM:SS")]
    Form,
    /// Not of the form that [`parse_date`] reads.
    #[error("the date is not of the form YYYY-MM-DD")]
    DateForm,
    /// A date alone, where an instant is asked for.
    #[error("the time of day is missing")]
    NoTimeOfDay,
    /// Before 1900 or after 2200.
    #[error("the year must be between 1900 and 2200")]
    Year,
    /// For instance the 30th of February.
    #[error("the calendar has no such date")]
    NoSuchDate,
    /// An hour above 24, or a minute or second above 59.
    #[error("hours end at 23, minutes and seconds at 59")]
    TimeOfDay,
    /// 24:00, which would be a second name of the next midnight.
    #[error("hour 24 is not read: write 00:00 of the next day")]
    Hour24,
    /// Second 60, which PostgreSQL's clock does not have.
    #[error("leap seconds are not read: seconds end at 59")]
    LeapSecond,
    /// A point without digits after it, or with more than nine.
    #[error("a fraction of a second has one to nine digits")]
    Fraction,
    /// The name of a zone, or an offset that is not written in one of the forms read.
    #[error("the zone must be Z or an offset such as +07:00")]
    Zone,
    /// An offset of 16 hours or more, or with more than 59 minutes.
    #[error("the offset must be between -15:59 and +15:59")]
    Offset,
}

/// Reads `YYYY-MM-DD[T ]HH:MM[:SS[.f{1,9}]]`, followed by nothing (a local time), by `Z`, or by an offset
/// `+HH`, `+HH:MM` or `+HHMM`, with or without a space before it. Blanks around the text are left out.
///
/// The fraction is rounded to the microsecond, half up, so that `23:59:59.9999999` is the next midnight.
///
/// # Errors
/// Any other form, an impossible date or time, or a year (as written) outside 1900 to 2200.
pub fn parse(text: &str) -> Result<Instant, InstantError> {
    let text = text.trim_ascii().as_bytes();
    if text.is_empty() {
        return Err(InstantError::Empty);
    }
    let (days, rest) = split_date(text)?.ok_or(InstantError::Form)?;
    let (micros, rest) = match rest {
        [] => return Err(InstantError::NoTimeOfDay),
        [b'T' | b' ', rest @ ..] => split_time_of_day(rest)?,
        _ => return Err(InstantError::Form),
    };
    let local = days * DAY + micros;
    Ok(match offset(rest)? {
        Some(offset) => Instant::Absolute(local - offset),
        None => Instant::Local(local),
    })
}

/// Reads `YYYY-MM-DD`, as days since 2000-01-01. Blanks around the text are left out.
///
/// # Errors
/// Any other form, an impossible date, or a year outside 1900 to 2200.
pub fn parse_date(text: &str) -> Result<i32, InstantError> {
    let text = text.trim_ascii().as_bytes();
    if text.is_empty() {
        return Err(InstantError::Empty);
    }
    match split_date(text)? {
        Some((days, [])) => i32::try_from(days).map_err(|_| InstantError::Year),
        _ => Err(InstantError::DateForm),
    }
}

/// The days since 2000-01-01, and what follows the date; `None` where no date begins the text.
fn split_date(text: &[u8]) -> Result<Option<(i64, &[u8])>, InstantError> {
    let [c, y, e, a, b'-', m, n, b'-', d, f, rest @ ..] = text else {
        return Ok(None);
    };
    let (Some(century), Some(year), Some(month), Some(day)) =
        (pair(*c, *y), pair(*e, *a), pair(*m, *n), pair(*d, *f))
    else {
        return Ok(None);
    };
    let year = century * 100 + year;
    if !YEARS.contains(&year) {
        return Err(InstantError::Year);
    }
    let days = days_from_civil(year, month, day).ok_or(InstantError::NoSuchDate)?;
    Ok(Some((days, rest)))
}

/// The microseconds since midnight of `HH:MM[:SS[.f]]`, and what follows.
fn split_time_of_day(text: &[u8]) -> Result<(i64, &[u8]), InstantError> {
    let [h, i, b':', m, n, rest @ ..] = text else {
        return Err(InstantError::Form);
    };
    let hour = pair(*h, *i).ok_or(InstantError::Form)?;
    let minute = pair(*m, *n).ok_or(InstantError::Form)?;
    let (second, micros, rest) = match rest {
        [b':', s, t, rest @ ..] => {
            let second = pair(*s, *t).ok_or(InstantError::Form)?;
            let (micros, rest) = split_fraction(rest)?;
            (second, micros, rest)
        }
        [b':', ..] => return Err(InstantError::Form),
        _ => (0, 0, rest),
    };
    match (hour, minute, second) {
        (24, _, _) => Err(InstantError::Hour24),
        (0..24, 0..60, 60) => Err(InstantError::LeapSecond),
        (0..24, 0..60, 0..60) => Ok((
            i64::from(hour) * HOUR
                + i64::from(minute) * MINUTE
                + i64::from(second) * SECOND
                + micros,
            rest,
        )),
        _ => Err(InstantError::TimeOfDay),
    }
}

/// The microseconds of `.f{1,9}`, none if no point follows.
fn split_fraction(text: &[u8]) -> Result<(i64, &[u8]), InstantError> {
    let [b'.', digits @ ..] = text else {
        return Ok((0, text));
    };
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let Some((digits, rest)) = digits.split_at_checked(length) else {
        return Err(InstantError::Fraction);
    };
    if !(1..=9).contains(&length) {
        return Err(InstantError::Fraction);
    }
    let nanos = (0..9).fold(0, |sum, place| {
        sum * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'))
    });
    Ok(((nanos + 500) / 1_000, rest))
}

/// Microseconds ahead of UTC; `None` if nothing is written.
fn offset(text: &[u8]) -> Result<Option<i64>, InstantError> {
    let text = match text {
        [b' ', text @ ..] => text,
        text => text,
    };
    let (sign, digits) = match text {
        [] => return Ok(None),
        b"Z" => return Ok(Some(0)),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        [b, ..] if b.is_ascii_alphabetic() => return Err(InstantError::Zone),
        _ => return Err(InstantError::Form),
    };
    let (hours, minutes) = match digits {
        [h, i] => (pair(*h, *i), Some(0)),
        [h, i, b':', m, n] | [h, i, m, n] => (pair(*h, *i), pair(*m, *n)),
        _ => return Err(InstantError::Zone),
    };
    match (hours, minutes) {
        (Some(hours @ 0..=MAX_OFFSET_HOURS), Some(minutes @ 0..60)) => Ok(Some(
            sign * (i64::from(hours) * HOUR + i64::from(minutes) * MINUTE),
        )),
        (Some(_), Some(_)) => Err(InstantError::Offset),
        _ => Err(InstantError::Zone),
    }
}

/// The number of two digits.
fn pair(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

#[cfg(test)]
mod tests {
    use super::Instant::{Absolute, Local};
    use super::*;
    use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta};
    use proptest::prelude::*;

    fn epoch() -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2000, 1, 1)
            .unwrap()
            .and_hms_opt(0, 0, 0)
            .unwrap()
    }

    #[test]
    fn forms() {
        let noon = 12 * HOUR;
        for (text, want) in [
            ("2000-01-01T12:00", Local(noon)),
            ("2000-01-01 12:00", Local(noon)),
            ("\t2000-01-01 12:00:00\n", Local(noon)),
            ("2000-01-01T12:00Z", Absolute(noon)),
            ("2000-01-01T12:00:00Z", Absolute(noon)),
            ("2000-01-01T12:00:00 Z", Absolute(noon)),
            ("2000-01-01T12:00:00+00:00", Absolute(noon)),
            ("2000-01-01T12:00:00-00:00", Absolute(noon)),
            ("2000-01-01 19:00:00+07", Absolute(noon)),
            ("2000-01-01 19:00:00 +07", Absolute(noon)),
            ("2000-01-01T19:00+0700", Absolute(noon)),
            ("2000-01-01T17:30:00+05:30", Absolute(noon)),
            ("2000-01-01T02:30:00.000-0930", Absolute(noon)),
            ("2000-01-01T00:00:00.1", Local(100_000)),
            ("2000-01-01T00:00:00.000001Z", Absolute(1)),
            ("2000-01-01T00:00:00.000000499Z", Absolute(0)),
            ("2000-01-01T00:00:00.0000005Z", Absolute(1)),
            ("1999-12-31T23:59:59.9999995Z", Absolute(0)),
            ("1999-12-31T23:59:59.999999499Z", Absolute(-1)),
            ("2000-01-01T15:59:00+15:59", Absolute(0)),
            ("2020-02-29T00:00Z", Absolute(7_364 * DAY)),
        ] {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        assert_eq!(parse_date("2000-01-01"), Ok(0));
        assert_eq!(parse_date(" 1999-12-31 "), Ok(-1));
        assert_eq!(parse_date("2020-02-29"), Ok(7_364));
    }

    #[test]
    fn refused() {
        use InstantError::*;
        for (text, want) in [
            ("", Empty),
            (" \n", Empty),
            ("infinity", Form),
            ("2026-03-01", NoTimeOfDay),
            ("2026-3-1 06:00", Form),
            ("01/03/2026 06:00", Form),
            ("20260301T060000Z", Form),
            ("2026-03-01_06:00", Form),
            ("2026-03-01T6:00", Form),
            ("2026-03-01T0600", Form),
            ("2026-03-01T06:0x", Form),
            ("2026-03-01T06:00:", Form),
            ("2026-03-01T06:00:5", Form),
            ("2026-03-01T06:00.5", Form),
            ("2026-03-01T06:00:00,5", Form),
            ("2026-03-01T06:00:00:00", Form),
            ("2026-03-01T06:00:00é", Form),
            ("+026-03-01T06:00", Form),
            ("2026-03-01T06:00:00.", Fraction),
            ("2026-03-01T06:00:00.Z", Fraction),
            ("2026-03-01T06:00:00.0123456789", Fraction),
            ("1899-12-31T23:59", Year),
            ("2201-01-01T00:00", Year),
            ("0000-01-01T00:00", Year),
            ("2026-02-29T06:00", NoSuchDate),
            ("2026-00-01T06:00", NoSuchDate),
            ("2026-01-00T06:00", NoSuchDate),
            ("2026-13-01T06:00", NoSuchDate),
            ("2026-03-01T24:00", Hour24),
            ("2026-03-01T24:00:00Z", Hour24),
            ("2016-12-31T23:59:60Z", LeapSecond),
            ("2026-03-01T25:00", TimeOfDay),
            ("2026-03-01T06:60", TimeOfDay),
            ("2026-03-01T06:00:61", TimeOfDay),
            ("2026-03-01T06:60:60", TimeOfDay),
            ("2026-03-01T06:00 UTC", Zone),
            ("2026-03-01T06:00 Asia/Bangkok", Zone),
            ("2026-03-01T06:00ZZ", Zone),
            ("2026-03-01T06:00z", Zone),
            ("2026-03-01T06:00+7", Zone),
            ("2026-03-01T06:00+", Zone),
            ("2026-03-01T06:00+07:", Zone),
            ("2026-03-01T06:00+07:0", Zone),
            ("2026-03-01T06:00+07:00:00", Zone),
            ("2026-03-01T06:00+07 00", Zone),
            ("2026-03-01T06:00++7", Zone),
            ("2026-03-01T06:00  +07", Form),
            ("2026-03-01T06:00+16", Offset),
            ("2026-03-01T06:00-07:60", Offset),
        ] {
            assert_eq!(parse(text), Err(want), "{text}");
        }
        for (text, want) in [
            (" ", Empty),
            ("today", DateForm),
            ("2026-03-01T00:00", DateForm),
            ("2026-03-1", DateForm),
            ("26-03-01", DateForm),
            ("2026/03/01", DateForm),
            ("2026-02-30", NoSuchDate),
            ("2201-01-01", Year),
        ] {
            assert_eq!(parse_date(text), Err(want), "{text}");
        }
    }

    #[test]
    fn messages_are_lower_case_and_short() {
        use InstantError::*;
        for error in [
            Empty,
            Form,
            DateForm,
            NoTimeOfDay,
            Year,
            NoSuchDate,
            TimeOfDay,
            Hour24,
            LeapSecond,
            Fraction,
            Zone,
            Offset,
        ] {
            let message = error.to_string();
            assert!(message.len() < 60, "{message}");
            assert!(
                message.starts_with(|c: char| c.is_ascii_lowercase()),
                "{message}"
            );
        }
    }

    proptest! {
        /// 1900-01-01 to 2200-12-31, with every offset.
        #[test]
        fn round_trip_with_chrono(
            nanos in 0_i64..1_000_000_000,
            seconds in -3_155_673_600_i64..6_342_883_200,
            offset in -959_i32..=959,
        ) {
            let local = epoch() + TimeDelta::seconds(seconds) + TimeDelta::nanoseconds(nanos);
            let micros = seconds * SECOND + (nanos + 500) / 1_000;
            let whole = seconds * SECOND;
            let ahead = i64::from(offset) * MINUTE;
            let fmt = |f: &str| local.format(f).to_string();
            prop_assert_eq!(parse(&fmt("%Y-%m-%dT%H:%M:%S%.9f")), Ok(Local(micros)));
            prop_assert_eq!(parse(&fmt("%Y-%m-%d %H:%M:%S%.9fZ")), Ok(Absolute(micros)));
            prop_assert_eq!(
                parse(&fmt("%Y-%m-%d %H:%M:%S%.6f")),
                Ok(Local(whole + nanos / 1_000))
            );
            prop_assert_eq!(parse(&fmt("%Y-%m-%d %H:%M:%S")), Ok(Local(whole)));
            prop_assert_eq!(
                parse(&fmt("%Y-%m-%d %H:%M")),
                Ok(Local(whole.div_euclid(MINUTE) * MINUTE))
            );
            let zone = FixedOffset::east_opt(offset * 60).unwrap();
            let zoned = local.and_local_timezone(zone).unwrap();
            for f in ["%Y-%m-%dT%H:%M:%S%.9f%:z", "%Y-%m-%d %H:%M:%S%.9f%z", "%FT%T%.9f %z"] {
                prop_assert_eq!(parse(&zoned.format(f).to_string()), Ok(Absolute(micros - ahead)));
            }
            prop_assert_eq!(parse(&zoned.to_rfc3339()), Ok(Absolute(micros - ahead)));
            let date = i32::try_from((local.date() - epoch().date()).num_days()).unwrap();
            prop_assert_eq!(parse_date(&fmt("%Y-%m-%d")), Ok(date));
        }

        /// Impossible parts are refused where chrono refuses them.
        #[test]
        fn accepts_what_chrono_accepts(
            date in (1890_u32..2210, 0_u32..15, 0_u32..35),
            time in (0_u32..27, 0_u32..63, 0_u32..60),
            offset in (0_u32..18, 0_u32..63),
        ) {
            let text = format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}+{:02}:{:02}",
                date.0, date.1, date.2, time.0, time.1, time.2, offset.0, offset.1
            );
            let in_range = YEARS.contains(&date.0) && offset.0 <= MAX_OFFSET_HOURS;
            let want = DateTime::parse_from_rfc3339(&text)
                .ok()
                .filter(|_| in_range)
                .map(|time| Absolute((time.naive_utc() - epoch()).num_microseconds().unwrap()));
            prop_assert_eq!(parse(&text).ok(), want, "{}", text);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
            let _ = parse_date(&text);
        }

        /// One character of a good text replaced by any other.
        #[test]
        fn no_near_miss_panics(at in 0_usize..32, by in any::<char>()) {
            let text: String = "2026-03-01T06:00:00.123456+07:00"
                .chars()
                .enumerate()
                .map(|(i, c)| if i == at { by } else { c })
                .collect();
            let _ = parse(&text);
            let _ = parse_date(&text);
            let _ = parse_date(text.get(..10).unwrap_or_default());
        }
    }
}
