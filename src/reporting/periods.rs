//! What the keys of periods say.

use pgrx::prelude::*;

/// The last day of a week's key, `YYYY-MM-DD_YYYY-MM-DD`; NULL where it is none.
#[pg_extern(schema = "reporting", immutable, parallel_safe, strict)]
pub fn _week_end(aggregation_key: &str) -> Option<Date> {
    let (_, end) = aggregation_key.split_once('_')?;
    let mut parts = end.split('-').map(str::parse::<u16>);
    let (year, month, day) = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    );
    if parts.next().is_some() {
        return None;
    }
    Date::new(
        year.into(),
        u8::try_from(month).ok()?,
        u8::try_from(day).ok()?,
    )
    .ok()
}
