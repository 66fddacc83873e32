//! Cron expressions.
//!
//! `croner` reads them and matches dates and times of day. It is given local times as if no clock ever
//! changed; what becomes of the times that are skipped or repeated is decided here. Which characters may
//! stand where is checked beforehand, because `croner` also takes names in fields that have none, empty
//! members of lists, and an `L` in the days of the week that matches nothing.

use super::clocks::{Change, Instants};
use super::{RANGE, TimetableError, date_time, micros};
use crate::calendar::{DAY, SECOND, Zone};
use croner::errors::CronError;
use croner::parser::{CronParser, Year};
use croner::{Cron as Pattern, YEAR_UPPER_LIMIT};

/// After 400 years the calendar repeats itself, weekdays included.
const CYCLE: i64 = 146_097 * DAY;

const DAY_OF_MONTH: usize = 3;
const MONTH: usize = 4;
const DAY_OF_WEEK: usize = 5;

/// Names in the order of the six fields.
const FIELDS: [&str; 6] = [
    "second",
    "minute",
    "hour",
    "day of month",
    "month",
    "day of week",
];

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];

const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pattern: Pattern,
    /// Whether the hour is a wildcard: then the job follows elapsed time.
    all_hours: bool,
}

impl Cron {
    pub fn parse(text: &str) -> Result<Self, TimetableError> {
        let upper = text.trim().to_ascii_uppercase();
        let expression = match upper.as_str() {
            "@HOURLY" => "0 * * * *",
            "@DAILY" | "@MIDNIGHT" => "0 0 * * *",
            "@WEEKLY" => "0 0 * * 0",
            "@MONTHLY" => "0 0 1 * *",
            "@YEARLY" | "@ANNUALLY" => "0 0 1 1 *",
            name if name.starts_with('@') => {
                return Err(TimetableError::Name(text.trim().to_owned()));
            }
            fields => fields,
        };
        let mut fields: Vec<&str> = expression.split_ascii_whitespace().collect();
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let fields: [&str; 6] = fields
            .try_into()
            .map_err(|fields: Vec<&str>| TimetableError::Fields(fields.len()))?;
        for (field, text) in fields.into_iter().enumerate() {
            check(field, text).map_err(|reason| wrong(field, text, reason))?;
        }
        let pattern = parser(&fields)
            .parse(&fields.join(" "))
            .map_err(|error| explain(&fields, &error))?;
        // The calendar's last 400 years that are searched: what does not match in them never does.
        let start = chrono::NaiveDate::from_ymd_opt(YEAR_UPPER_LIMIT - 400, 1, 1)
            .and_then(|date| date.and_hms_opt(0, 0, 0));
        if start.is_none_or(|start| pattern.find_next_occurrence(&start, true).is_err()) {
            return Err(TimetableError::Never(text.trim().to_owned()));
        }
        Ok(Self {
            all_hours: pattern.pattern.hours.from_wildcard,
            pattern,
        })
    }

    pub fn next_after(&self, instant: i64, zone: &impl Zone) -> Option<i64> {
        if self.all_hours {
            self.next_by_elapsed_time(instant, zone)
        } else {
            self.next_by_local_time(instant, zone)
        }
    }

    /// The next instant at which the clocks show a time that matches.
    fn next_by_elapsed_time(&self, instant: i64, zone: &impl Zone) -> Option<i64> {
        let local = zone.local(instant);
        // Clocks about to go back show times again that `local` is already past.
        let again = Change::between(instant, instant + DAY, zone)
            .filter(|change| change.after < change.before)
            .and_then(|change| {
                let time = self.at_or_after(change.local())?;
                (time <= local).then_some(time - change.after)
            });
        let onward = self.next_shown(self.after(local)?, instant, zone);
        earlier(again, onward)
    }

    /// The first instant after another at which the clocks show a time that matches, where `time` is the
    /// first one to look at.
    fn next_shown(&self, mut time: i64, instant: i64, zone: &impl Zone) -> Option<i64> {
        // A job may name nothing but times that are skipped, for a year or for two; a zone that shows no
        // time at all must not be searched for ever.
        for _ in 0..1_000 {
            time = match Instants::of(time, zone) {
                Instants::Shown(first, _) if first > instant => return Some(first),
                Instants::Shown(_, last) if last > instant => return Some(last),
                Instants::Skipped(gap) if gap.local() > time => self.at_or_after(gap.local())?,
                _ => self.after(time)?,
            };
        }
        None
    }

    /// The next instant that a matching local time stands for, if each stands for one.
    fn next_by_local_time(&self, instant: i64, zone: &impl Zone) -> Option<i64> {
        let local = zone.local(instant);
        match Change::between(instant - DAY, instant, zone) {
            // The clocks went ahead. Times that they skipped may still be to come, beside those that they
            // show.
            Some(gap) if gap.after > gap.before => {
                let skipped = self
                    .after(instant + gap.before)
                    .filter(|&time| time < gap.local())
                    .map(|time| time - gap.before);
                earlier(skipped, self.next_once(self.after(local)?, zone))
            }
            // They went back. What they show again has run the first time.
            Some(fold) if fold.at + fold.before > local => {
                self.next_once(self.at_or_after(fold.at + fold.before)?, zone)
            }
            _ => self.next_once(self.after(local)?, zone),
        }
    }

    /// The first run among the local times that match, where `time` is the first of these, and no time
    /// before it is to run any more.
    fn next_once(&self, time: i64, zone: &impl Zone) -> Option<i64> {
        match Instants::of(time, zone) {
            Instants::Shown(first, _) => Some(first),
            // It runs after the gap, where another time may come before it.
            Instants::Skipped(gap) => {
                let shown = self.at_or_after(gap.local()).map(|time| time - gap.after);
                earlier(Some(time - gap.before), shown)
            }
            Instants::Unknown => Some(zone.instant(time)),
        }
    }

    /// The first local time that matches and is later than another.
    fn after(&self, local: i64) -> Option<i64> {
        self.at_or_after(local.checked_add(1)?)
    }

    /// The first local time that matches and is not earlier than another.
    fn at_or_after(&self, local: i64) -> Option<i64> {
        // Expressions match whole seconds.
        let local = local.checked_add(SECOND - 1)?.div_euclid(SECOND) * SECOND;
        // Searched in the years from 2000 to 2400 and, where the match lies beyond them, the next few.
        let cycle = local - local.rem_euclid(CYCLE);
        let start = date_time(local - cycle)?;
        let found = self.pattern.find_next_occurrence(&start, true).ok()?;
        cycle
            .checked_add(micros(found)?)
            .filter(|time| RANGE.contains(time))
    }
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

fn parser(fields: &[&str; 6]) -> CronParser {
    let is_star = |field: usize| fields[field].starts_with(['*', '?']);
    CronParser::builder()
        .year(Year::Disallowed)
        // Vixie's rule. A field that is nothing but a star is left out of it by `croner` itself.
        .dom_and_dow(is_star(DAY_OF_MONTH) || is_star(DAY_OF_WEEK))
        .build()
}

/// Whether a field is made of what may stand in it. Bounds are left to `croner`.
fn check(field: usize, text: &str) -> Result<(), String> {
    let items = || text.split(',');
    for item in items() {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (range, nth) = match range.split_once('#') {
            Some((range, nth)) if field == DAY_OF_WEEK => (range, Some(nth)),
            _ => (range, None),
        };
        let counts = [step, nth];
        if !range.split('-').all(|atom| is_atom(field, atom))
            || !counts.into_iter().flatten().all(is_number)
        {
            return Err(match item {
                "" => "a part is empty".to_owned(),
                "L" if field == DAY_OF_WEEK => {
                    "L needs the day before it, for instance 5L for the last Friday".to_owned()
                }
                _ => format!("{item:?} does not belong there"),
            });
        }
    }
    // `croner` would only see the second.
    if items().any(|item| item == "L") && items().any(|item| item == "LW") {
        return Err("L and LW exclude each other".to_owned());
    }
    Ok(())
}

fn is_atom(field: usize, atom: &str) -> bool {
    match (field, atom) {
        (_, "*") | (DAY_OF_MONTH, "?" | "L" | "LW") | (DAY_OF_WEEK, "?") => true,
        (DAY_OF_MONTH, day) => is_number(day.strip_suffix('W').unwrap_or(day)),
        (MONTH, month) => is_number(month) || MONTHS.contains(&month),
        (DAY_OF_WEEK, day) => {
            let day = day.strip_suffix('L').unwrap_or(day);
            is_number(day) || DAYS.contains(&day)
        }
        (_, number) => is_number(number),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Which field is to blame for an error: the one that fails among stars.
fn explain(fields: &[&str; 6], error: &CronError) -> TimetableError {
    for (field, text) in fields.iter().enumerate() {
        let mut alone = ["*"; 6];
        alone[field] = text;
        if let Err(error) = parser(&alone).parse(&alone.join(" ")) {
            return wrong(field, text, reason(&error));
        }
    }
    TimetableError::Expression {
        text: fields.join(" "),
        reason: reason(error),
    }
}

fn wrong(field: usize, text: &str, reason: String) -> TimetableError {
    TimetableError::Field {
        field: FIELDS[field],
        text: text.to_owned(),
        reason,
    }
}

/// An error of `croner` as the end of a sentence.
fn reason(error: &CronError) -> String {
    let text = match error {
        CronError::ComponentError(text)
        | CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text) => text.clone(),
        other => other.to_string(),
    };
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}
