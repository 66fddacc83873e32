//! PostgreSQL's own clock and time zones, the latter for `gemba_core::calendar`, and intervals as steps.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use crate::error::{Error, Result};
use gemba_core::calendar::{DAY, FixedOffset, Step, Zone};
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// A time zone by name, converted by the server, so that its tables and nobody else's decide.
#[derive(Debug, Clone)]
pub struct ServerZone {
    name: String,
    /// UTC and the like need no call.
    fixed: Option<FixedOffset>,
}

impl ServerZone {
    /// # Errors
    /// `22023` when the server does not know the zone.
    pub fn named(name: &str) -> Result<Self> {
        let zone = Self::trusted(name);
        if zone.is_utc() || super::subtransaction::run(|| zone.local(0)).is_ok() {
            return Ok(zone);
        }
        Err(Error::invalid("the time zone is not known to this server")
            .detail(format!("time zone {name:?}"))
            .hint("use a name of pg_timezone_names, such as 'Asia/Bangkok' or 'UTC'"))
    }

    /// A name that was checked when it was stored.
    pub fn trusted(name: &str) -> Self {
        let fixed = ["utc", "etc/utc", "gmt"]
            .contains(&name.to_ascii_lowercase().as_str())
            .then_some(FixedOffset(0));
        Self {
            name: name.to_owned(),
            fixed,
        }
    }

    pub fn is_utc(&self) -> bool {
        self.fixed.is_some()
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Zone for ServerZone {
    fn local(&self, instant: i64) -> i64 {
        match self.fixed {
            Some(zone) => zone.local(instant),
            None => convert(&self.name, instant, pg_sys::timestamptz_zone),
        }
    }

    fn instant(&self, local: i64) -> i64 {
        match self.fixed {
            Some(zone) => zone.instant(local),
            None => convert(&self.name, local, pg_sys::timestamp_zone),
        }
    }
}

/// `timezone(zone, time)` of the server, in either direction; both types are an i64 of microseconds.
fn convert(
    zone: &str,
    micros: i64,
    function: unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum,
) -> i64 {
    // SAFETY: both functions take (text, 8-byte time) and return an 8-byte time, by value.
    unsafe {
        pgrx::direct_function_call_as_datum(function, &[zone.into_datum(), micros.into_datum()])
            .and_then(|datum| i64::from_datum(datum, false))
            .unwrap_or(micros)
    }
}

/// The step that an SQL interval stands for.
///
/// # Errors
/// `22023` with the interval and what would do.
pub fn step(interval: &Interval) -> Result<Step> {
    Step::from_interval(interval.months(), interval.days(), interval.micros()).map_err(|error| {
        Error::invalid(error.to_string())
            .detail(format!("interval {}", interval_text(interval)))
            .hint("use for instance '1 hour', '1 day', '7 days', '1 month' or '1 year'")
    })
}

/// About how many microseconds an interval is long: a month counts as 30 days.
pub fn interval_micros(interval: &Interval) -> i64 {
    let days = i64::from(interval.months()) * 30 + i64::from(interval.days());
    days.saturating_mul(DAY).saturating_add(interval.micros())
}

/// An interval as a literal that PostgreSQL reads back unchanged whatever the session's IntervalStyle.
pub fn interval_text(interval: &Interval) -> String {
    format!(
        "{} months {} days {} microseconds",
        interval.months(),
        interval.days(),
        interval.micros()
    )
}

/// The present moment, as clock_timestamp() tells it, in microseconds since 2000-01-01 UTC.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// The beginning of the transaction, which is SQL's now(), in the same.
pub fn transaction_start() -> i64 {
    // SAFETY: reads the backend's own state.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}

/// Microseconds since 2000-01-01 UTC of a timestamptz; infinities are `i64::MIN` and `i64::MAX`.
pub fn micros(instant: TimestampWithTimeZone) -> i64 {
    instant.into()
}

/// The timestamptz of these microseconds.
pub fn timestamptz(micros: i64) -> TimestampWithTimeZone {
    // SAFETY: a timestamptz datum is exactly this i64, and every i64 in PostgreSQL's range, which all
    // callers' values come from, is one.
    unsafe { TimestampWithTimeZone::from_datum(pg_sys::Datum::from(micros), false) }
        .unwrap_or_else(TimestampWithTimeZone::positive_infinity)
}

/// The date so many days after 2000-01-01.
pub fn date(days: i32) -> Date {
    // SAFETY: a date datum is exactly this i32.
    unsafe { Date::from_datum(pg_sys::Datum::from(days), false) }
        .unwrap_or_else(Date::positive_infinity)
}

/// An instant as a literal that does not depend on the session's DateStyle or TimeZone.
pub fn instant_text(micros: i64) -> String {
    format!("{}+00", local_text(micros))
}

/// A local time as a literal that does not depend on the session's DateStyle.
pub fn local_text(micros: i64) -> String {
    use gemba_core::calendar::{SECOND, date_of};
    let time = micros.rem_euclid(DAY);
    let seconds = time / SECOND;
    format!(
        "{} {:02}:{:02}:{:02}.{:06}",
        date_of(micros).format("%Y-%m-%d"),
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        time % SECOND
    )
}
