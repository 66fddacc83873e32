//! Naive local timestamps of data files, as microseconds since 2000-01-01 00:00 (PostgreSQL's epoch), without zone.
//!
//! Texts read: `YYYY-MM-DD[ T]HH:MM[:SS[.ffffff]]`, and day/month/year or month/day/year with `/`, `-` or `.`, one or
//! two digits a part and two or four for the year; a date alone is midnight. A text that states a zone is refused
//! rather than read as if it were local.

use std::fmt;
use std::str::FromStr;

/// Microseconds of a day.
pub const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Order of the parts of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateOrder {
    /// Year first. The year has four digits.
    Ymd,
    /// Day, month, year.
    Dmy,
    /// Month, day, year.
    Mdy,
}

impl fmt::Display for DateOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ymd => "ymd",
            Self::Dmy => "dmy",
            Self::Mdy => "mdy",
        })
    }
}

/// The text names no date order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown date order \"{0}\": expected ymd, dmy or mdy")]
pub struct UnknownDateOrder(pub String);

impl FromStr for DateOrder {
    type Err = UnknownDateOrder;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "ymd" => Ok(Self::Ymd),
            "dmy" => Ok(Self::Dmy),
            "mdy" => Ok(Self::Mdy),
            _ => Err(UnknownDateOrder(text.to_owned())),
        }
    }
}

/// The samples read as day/month and as month/day, and nothing tells which is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "dates such as \"{sample}\" may be day/month or month/day: name the date order (dmy or mdy)"
)]
pub struct AmbiguousDates {
    /// The first of the samples in question.
    pub sample: String,
}

/// Reads one timestamp; `None` where the text is none, or is an impossible date or time.
/// A date that begins with four digits is year first under every `order`.
#[must_use]
pub fn parse(text: &[u8], order: DateOrder) -> Option<i64> {
    if let Some(time) = parse_iso(text) {
        return Some(time);
    }
    let text = text.trim_ascii();
    match text.iter().position(|b| matches!(b, b' ' | b'T')) {
        Some(at) => parse_pair(&text[..at], text[at + 1..].trim_ascii(), order),
        None => Some(parse_date(text, order)? * MICROS_PER_DAY),
    }
}

/// Reads a timestamp whose date and time of day stand in two columns.
#[must_use]
pub fn parse_pair(date: &[u8], time: &[u8], order: DateOrder) -> Option<i64> {
    Some(parse_date(date, order)? * MICROS_PER_DAY + parse_time_of_day(time)?)
}

/// The ISO form, digit by digit at fixed places: almost every row of almost every file takes this path.
fn parse_iso(b: &[u8]) -> Option<i64> {
    if b.len() < 16
        || b[4] != b'-'
        || b[7] != b'-'
        || !matches!(b[10], b' ' | b'T')
        || b[13] != b':'
    {
        return None;
    }
    let days = days_from_civil(two(b, 0)? * 100 + two(b, 2)?, two(b, 5)?, two(b, 8)?)?;
    let (second, micros) = match b.len() {
        16 => (0, 0),
        19 if b[16] == b':' => (two(b, 17)?, 0),
        21..=26 if b[16] == b':' && b[19] == b'.' => (two(b, 17)?, fraction(&b[20..])?),
        _ => return None,
    };
    Some(days * MICROS_PER_DAY + time_of_day(two(b, 11)?, two(b, 14)?, second, micros)?)
}

fn two(b: &[u8], at: usize) -> Option<u32> {
    let (tens, units) = (b[at].wrapping_sub(b'0'), b[at + 1].wrapping_sub(b'0'));
    (tens < 10 && units < 10).then(|| u32::from(tens) * 10 + u32::from(units))
}

/// One to six digits after the point, as microseconds.
fn fraction(digits: &[u8]) -> Option<i64> {
    let scale = *[100_000, 10_000, 1_000, 100, 10, 1].get(digits.len().checked_sub(1)?)?;
    Some(i64::from(number(digits, 1..=6)?) * scale)
}

/// Days since 2000-01-01 of a date text.
#[must_use]
pub fn parse_date(text: &[u8], order: DateOrder) -> Option<i64> {
    let text = text.trim_ascii();
    let separator = *text.iter().find(|b| !b.is_ascii_digit())?;
    if !matches!(separator, b'/' | b'-' | b'.') {
        return None;
    }
    let mut parts = text.split(|&b| b == separator);
    let (a, b, c) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (year, month, day) = match (a.len(), order) {
        (4, _) => (a, b, c),
        (_, DateOrder::Ymd) => return None,
        (_, DateOrder::Dmy) => (c, b, a),
        (_, DateOrder::Mdy) => (c, a, b),
    };
    let year = match (year.len(), number(year, 2..=4)?) {
        // PostgreSQL's and POSIX's rule for two digits.
        (2, short @ 0..70) => 2000 + short,
        (2, short) => 1900 + short,
        (4, long) => long,
        _ => return None,
    };
    days_from_civil(year, number(month, 1..=2)?, number(day, 1..=2)?)
}

/// Microseconds since midnight of `H:MM[:SS[.ffffff]]`.
#[must_use]
pub fn parse_time_of_day(text: &[u8]) -> Option<i64> {
    let mut parts = text.trim_ascii().split(|&b| b == b':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let (second, micros) = match second {
        None => (0, 0),
        Some(text) => match text.iter().position(|&b| b == b'.') {
            None => (number(text, 2..=2)?, 0),
            Some(point) => (
                number(&text[..point], 2..=2)?,
                fraction(&text[point + 1..])?,
            ),
        },
    };
    time_of_day(number(hour, 1..=2)?, number(minute, 2..=2)?, second, micros)
}

fn number(digits: &[u8], lengths: std::ops::RangeInclusive<usize>) -> Option<u32> {
    if !lengths.contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0, |sum, b| {
        b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0'))
    })
}

fn time_of_day(hour: u32, minute: u32, second: u32, micros: i64) -> Option<i64> {
    (hour < 24 && minute < 60 && second < 60)
        .then(|| i64::from((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// Days since 2000-01-01 of a date of the Gregorian calendar, years 1 to 9999; `None` for an impossible date.
#[must_use]
pub fn days_from_civil(year: u32, month: u32, day: u32) -> Option<i64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9999).contains(&year) || !(1..=last).contains(&day) {
        return None;
    }
    // The year begins in March, so that the leap day is its last; 730_425 days lie before 2000-01-01.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Some(i64::from(days) - 730_425)
}

/// Finds the date order of a file from its first timestamps, in file order.
///
/// Samples that read under no order are left out. Year first wins with the first sample that reads so; then the order
/// under which every sample is valid; then, where both are, the one under which time does not run backwards; then the
/// one under which it steps more evenly. Without any readable sample the answer is [`DateOrder::Ymd`].
///
/// # Errors
/// [`AmbiguousDates`] where both orders fit equally well, or each is needed by some sample.
pub fn detect<'a>(
    samples: impl IntoIterator<Item = &'a [u8]>,
) -> Result<DateOrder, AmbiguousDates> {
    let (mut dmy, mut mdy) = (Steps::default(), Steps::default());
    let (mut only_dmy, mut only_mdy) = (false, false);
    let mut first = None;
    for sample in samples {
        if first.is_none() && parse(sample, DateOrder::Ymd).is_some() {
            return Ok(DateOrder::Ymd);
        }
        match (parse(sample, DateOrder::Dmy), parse(sample, DateOrder::Mdy)) {
            (None, None) => continue,
            (Some(_), None) => only_dmy = true,
            (None, Some(_)) => only_mdy = true,
            (Some(a), Some(b)) => {
                dmy.push(a);
                mdy.push(b);
            }
        }
        first.get_or_insert(sample);
    }
    let Some(sample) = first else {
        return Ok(DateOrder::Ymd);
    };
    let ambiguous = || AmbiguousDates {
        sample: String::from_utf8_lossy(sample).into_owned(),
    };
    match (only_dmy, only_mdy) {
        (true, false) => return Ok(DateOrder::Dmy),
        (false, true) => return Ok(DateOrder::Mdy),
        (true, true) => return Err(ambiguous()),
        (false, false) => {}
    }
    match (dmy.backwards, mdy.backwards) {
        (false, true) => return Ok(DateOrder::Dmy),
        (true, false) => return Ok(DateOrder::Mdy),
        _ => {}
    }
    let (dmy_uneven, mdy_uneven) = (dmy.uneven(), mdy.uneven());
    // Only a really regular series proves anything: among irregular steps a difference would be chance.
    let regular = dmy.steps.len() / 5;
    if dmy_uneven < mdy_uneven && dmy_uneven <= regular {
        Ok(DateOrder::Dmy)
    } else if mdy_uneven < dmy_uneven && mdy_uneven <= regular {
        Ok(DateOrder::Mdy)
    } else {
        Err(ambiguous())
    }
}

#[derive(Default)]
struct Steps {
    last: Option<i64>,
    steps: Vec<i64>,
    backwards: bool,
}

impl Steps {
    fn push(&mut self, time: i64) {
        if let Some(last) = self.last.replace(time) {
            // Months count as equal, or first-of-month dates would always pass for successive days.
            let step = match (time - last) / MICROS_PER_DAY {
                28..=31 => 30 * MICROS_PER_DAY,
                _ => time - last,
            };
            self.backwards |= step < 0;
            self.steps.push(step);
        }
    }

    /// How many steps differ from the most frequent one.
    fn uneven(&mut self) -> usize {
        self.steps.sort_unstable();
        let longest = self.steps.chunk_by(|a, b| a == b).map(<[i64]>::len).max();
        self.steps.len() - longest.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::DateOrder::{Dmy, Mdy, Ymd};
    use super::*;
    use chrono::NaiveDate;
    use proptest::prelude::*;

    fn at(text: &str, order: DateOrder) -> Option<String> {
        let micros = parse(text.as_bytes(), order)?;
        let epoch = NaiveDate::from_ymd_opt(2000, 1, 1)?.and_hms_opt(0, 0, 0)?;
        Some((epoch + chrono::TimeDelta::microseconds(micros)).to_string())
    }

    #[test]
    fn forms() {
        for (text, order, want) in [
            ("2018-07-01 00:05:09", Ymd, "2018-07-01 00:05:09"),
            ("2018-07-01T00:05", Ymd, "2018-07-01 00:05:00"),
            ("2018-07-01 00:05:09.25", Ymd, "2018-07-01 00:05:09.250"),
            ("2018/7/1 9:05", Mdy, "2018-07-01 09:05:00"),
            ("2018-07-01", Dmy, "2018-07-01 00:00:00"),
            ("7/1/18 0:00", Mdy, "2018-07-01 00:00:00"),
            ("7/1/18 0:00", Dmy, "2018-01-07 00:00:00"),
            ("31.12.1999 23:59:59", Dmy, "1999-12-31 23:59:59"),
            (" 01-02-70 ", Dmy, "1970-02-01 00:00:00"),
            ("2020-02-29 00:00:00", Ymd, "2020-02-29 00:00:00"),
        ] {
            assert_eq!(at(text, order).as_deref(), Some(want), "{text}");
        }
        assert_eq!(parse(b"2000-01-01 00:00:00", Ymd), Some(0));
        assert_eq!(
            parse_pair(b"1/2/16", b"0:01", Mdy),
            parse(b"2016-01-02 00:01", Ymd)
        );
    }

    #[test]
    fn refused() {
        for text in [
            "2",
            "",
            " ",
            "2018-13-01 00:00:00",
            "2018-02-30 00:00:00",
            "2019-02-29",
            "2018-07-01 25:00:00",
            "2018-07-01 24:00",
            "2018-07-01 00:60",
            "2018-07-01 00:00:60",
            "2018-07-01 00:00:00Z",
            "2018-07-01 00:00:00+07",
            "2018-07-01 00:00:00.",
            "2018-07-01 00:00:00.1234567",
            "0000-01-01",
            "1/2",
            "1/2/3/4",
            "1/2-18",
            "1/2/018",
            "1,2,18",
            "x/1/18",
            "7/1/18 5",
            "7/1/18 5:0",
        ] {
            for order in [Ymd, Dmy, Mdy] {
                assert_eq!(parse(text.as_bytes(), order), None, "{text}");
            }
        }
        assert_eq!(parse(b"1/2/18", Ymd), None);
    }

    fn order_of(samples: &[&str]) -> Option<DateOrder> {
        detect(samples.iter().map(|s| s.as_bytes())).ok()
    }

    #[test]
    fn detection() {
        assert_eq!(order_of(&["2", "2018-07-01 00:00:00"]), Some(Ymd));
        assert_eq!(order_of(&["1/7/18", "13/7/18"]), Some(Dmy));
        assert_eq!(order_of(&["7/1/18", "x", "7/13/18"]), Some(Mdy));
        assert_eq!(order_of(&["13/7/18", "7/13/18"]), None);
        // As month/day, the first of February 2019 would be followed by the second of January.
        assert_eq!(
            order_of(&["1/12/18 0:00", "2/1/19 0:00", "1/2/19 0:00"]),
            Some(Dmy)
        );
        assert_eq!(
            order_of(&["7/1/18 0:00", "7/1/18 12:00", "7/2/18 0:00", "7/2/18 12:00"]),
            Some(Mdy)
        );
        let hourly = |day_first: bool| {
            (0..48).map(move |h| {
                let (day, hour) = (h / 24 + 1, h % 24);
                if day_first {
                    format!("{day}/7/18 {hour}:00")
                } else {
                    format!("7/{day}/18 {hour}:00")
                }
            })
        };
        for (day_first, want) in [(true, Dmy), (false, Mdy)] {
            let samples: Vec<String> = hourly(day_first).collect();
            assert_eq!(detect(samples.iter().map(|s| s.as_bytes())), Ok(want));
        }
        // Twelve days or twelve months: no way to tell.
        let days: Vec<String> = (1..=12).map(|d| format!("1/{d}/18")).collect();
        assert!(detect(days.iter().map(|s| s.as_bytes())).is_err());
        assert_eq!(order_of(&["1/1/18 0:00", "1/1/18 0:01"]), None);
        assert_eq!(order_of(&[]), Some(Ymd));
    }

    proptest! {
        #[test]
        fn round_trip_with_chrono(micros in -60_000_000_000_000_000_i64..250_000_000_000_000_000) {
            let epoch = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
            let time = epoch + chrono::TimeDelta::microseconds(micros);
            let minute = micros.div_euclid(60_000_000) * 60_000_000;
            let fmt = |f: &str| time.format(f).to_string();
            prop_assert_eq!(parse(fmt("%Y-%m-%d %H:%M:%S%.6f").as_bytes(), Ymd), Some(micros));
            prop_assert_eq!(parse(fmt("%Y-%m-%dT%H:%M").as_bytes(), Mdy), Some(minute));
            prop_assert_eq!(parse(fmt("%d/%m/%Y %H:%M").as_bytes(), Dmy), Some(minute));
            prop_assert_eq!(parse(fmt("%-m.%-d.%Y %-H:%M").as_bytes(), Mdy), Some(minute));
        }

        #[test]
        fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for order in [Ymd, Dmy, Mdy] {
                let _ = parse(&bytes, order);
                let _ = parse_pair(&bytes, &bytes, order);
            }
        }
    }
}
