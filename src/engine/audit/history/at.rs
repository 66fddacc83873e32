//! What a record was at some time.
//!
//! From the INSERT on, every UPDATE adds what it changed. Where there is no INSERT, because the row is older than its
//! trail, the way leads back: from the row as it is, or as its DELETE found it, every UPDATE takes away what it
//! changed. On the way, each entry has to find what the one before it has left, and the last one's state has to be
//! the row as it is: otherwise entries are missing, or the table is another one, and nobody knows what was when.

use super::gap::Span;
use super::life::{self, End, Hole, Life};
use super::trail::{Entry, Operation, Present, State, Trail};
use crate::error::{Error, Result};
use crate::postgres::time;
use gemba_core::seal::Id;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// What was logged of a table, as AUDIT notes it.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Logged {
    exclude: Vec<String>,
    mask: Vec<String>,
    full_rows: bool,
}

/// The record that had the key then. None: there was none.
///
/// # Errors
/// `55000` when the trail does not tell.
pub fn row_at(trail: &Trail, record: &str, at: i64) -> Result<Option<State>> {
    let marks = trail.marks()?;
    let search = Search {
        span: span(trail, &marks, at)?,
        record,
        at,
    };
    if trail.has_nameless(search.span.from, search.span.to)? {
        return Err(search.unknown("there are entries that name no record"));
    }
    let found = search.find()?;
    found
        .map(|(state, until)| search.as_logged(state, until))
        .transpose()
}

/// The time under audit that this one is in.
fn span<'a>(trail: &'a Trail, marks: &'a [Entry], at: i64) -> Result<Span<'a>> {
    let switches: Vec<_> = marks
        .iter()
        .filter(|mark| mark.operation != Operation::Truncate)
        .collect();
    let next = switches.partition_point(|mark| mark.at <= at);
    let before = &switches[..next];
    if before
        .last()
        .is_none_or(|mark| mark.operation == Operation::Unaudit)
    {
        return Err(Error::state("the table was not under audit at that time")
            .detail(format!(
                "table {}, {}",
                trail.name(),
                time::instant_text(at)
            ))
            .hint("its entries AUDIT and UNAUDIT in cloudwatcher.audit_logs tell when it was"));
    }
    let begun = (0..before.len())
        .rev()
        .find(|place| *place == 0 || begins(before[place - 1], before[*place]))
        .unwrap_or_default();
    Ok(Span {
        trail,
        marks,
        from: before.get(begun).map(|mark| mark.id),
        to: (next..switches.len())
            .find(|place| {
                switches[*place].operation == Operation::Unaudit
                    || begins(switches[place - 1], switches[*place])
            })
            .map(|place| switches[place].id),
    })
}

/// Does a time under audit begin with this mark? Also with one that says what was so already: then the triggers had
/// been taken away, or the table is another one of the same name.
fn begins(before: &Entry, mark: &Entry) -> bool {
    mark.operation == Operation::Audit
        && (before.operation == Operation::Unaudit || logged(before) == logged(mark))
}

struct Search<'a> {
    span: Span<'a>,
    record: &'a str,
    at: i64,
}

/// A state, and the entry that it was taken from (None: the row as it is), for what was logged meanwhile.
type Found = (State, Option<Id>);

impl Search<'_> {
    fn find(&self) -> Result<Option<Found>> {
        let entries = self.span.entries(self.record)?;
        let next = entries.partition_point(|entry| entry.at <= self.at);
        let (last, next) = (next.checked_sub(1).map(|n| &entries[n]), entries.get(next));
        let life = match last {
            Some(last) if last.operation == Operation::Delete => return self.deleted(next),
            Some(last) => life::of(&self.span, last)?.map(Some),
            None => life::from_beginning(&self.span, self.record)?,
        };
        let Some(life) = life.map_err(|Hole(why)| self.unknown(why))? else {
            self.require_audited()?;
            return Ok(None);
        };
        if matches!(life.end, End::Present(_) | End::Open) {
            self.require_audited()?;
        }
        if !self.is_consistent(&life)? {
            return Err(self.unknown("its entries and the record as it is do not fit together"));
        }
        let done = life.entries.partition_point(|entry| entry.at <= self.at);
        let elsewhere =
            |entry: &Entry| entry.operation == Operation::Delete || entry.record != self.record;
        if done
            .checked_sub(1)
            .is_some_and(|n| elsewhere(&life.entries[n]))
        {
            return Ok(None);
        }
        if done == life.entries.len()
            && let End::Truncated(marks) = &life.end
            && !self.before_truncates(marks, done > 0)?
        {
            return Ok(None);
        }
        self.state(&life, done).map(Some)
    }

    /// After a DELETE there is none, as long as nothing says otherwise.
    fn deleted(&self, next: Option<&Entry>) -> Result<Option<Found>> {
        let appears = match next {
            Some(next) => !next.arrives(),
            None => {
                self.require_audited()?;
                self.span.to.is_none()
                    && matches!(self.span.trail.present(self.record)?, Present::Row(_))
            }
        };
        if appears {
            return Err(self.unknown("it is there again, and no entry tells since when"));
        }
        Ok(None)
    }

    /// What lasts to this day tells nothing, if the table with the name is another one by now.
    fn require_audited(&self) -> Result<()> {
        if self.span.to.is_none() && !self.span.trail.is_audited()? {
            return Err(self.unknown("the table is not under audit now, and no entry says so"));
        }
        Ok(())
    }

    /// Was the record still there, which one of these took away?
    fn before_truncates(&self, marks: &[Entry], logged: bool) -> Result<bool> {
        let (Some(first), Some(end)) = (marks.first(), marks.last()) else {
            return Ok(false);
        };
        if end.at <= self.at {
            return Ok(false);
        }
        if first.at > self.at && logged {
            return Ok(true);
        }
        Err(self.unknown("a TRUNCATE may have taken it away"))
    }

    /// Does each entry find what the ones before have left?
    fn is_consistent(&self, life: &Life) -> Result<bool> {
        let changed = self.changed_columns();
        let mut known = Known {
            trail: self.span.trail,
            changed: &changed,
            state: State::new(),
            whole: false,
        };
        for entry in &life.entries {
            let old = entry.old_values()?;
            let fits = match entry.operation {
                Operation::Insert => true,
                Operation::Delete => known.is(&old)?,
                _ => known.has(&old)?,
            };
            if !fits {
                return Ok(false);
            }
            if self.is_whole(entry) {
                known.state = entry.new_values()?;
                known.whole = true;
            } else {
                known.state.extend(entry.new_values()?);
            }
        }
        let End::Present(row) = &life.end else {
            return Ok(true);
        };
        let mut row = row.clone();
        if let Some(mark) = self.audits().last() {
            logged(mark).restrict(&mut row)?;
        }
        known.is(&row)
    }

    /// The state when so many of its entries were written.
    fn state(&self, life: &Life, done: usize) -> Result<Found> {
        let (past, future) = life.entries.split_at(done);
        if let Some(place) = past.iter().rposition(|entry| self.is_whole(entry)) {
            let mut state = past[place].new_values()?;
            for entry in &past[place + 1..] {
                state.extend(entry.new_values()?);
            }
            return Ok((state, Some(past[place].id)));
        }
        let whole = future
            .iter()
            .position(|entry| entry.operation == Operation::Delete || self.is_whole(entry));
        let (mut state, until) = match (whole, &life.end) {
            (Some(place), _) => (future[place].old_values()?, Some(future[place].id)),
            (None, End::Present(row)) => (row.clone(), None),
            (None, End::Truncated(_)) => {
                return Err(self.unknown("a TRUNCATE ended it, and nothing tells all that it was"));
            }
            (None, _) => return Err(self.unknown("nothing tells all that it was")),
        };
        for entry in future[..whole.unwrap_or(future.len())].iter().rev() {
            state.extend(entry.old_values()?);
        }
        Ok((state, until))
    }

    /// Does an entry have all columns of the row?
    fn is_whole(&self, entry: &Entry) -> bool {
        match entry.operation {
            Operation::Insert => true,
            Operation::Update => self.logged_at(entry.id).full_rows,
            _ => false,
        }
    }

    /// What AUDIT noted in this time.
    fn audits(&self) -> Vec<&Entry> {
        self.span
            .marks
            .iter()
            .filter(|mark| mark.operation == Operation::Audit)
            .filter(|mark| self.span.from.is_none_or(|from| mark.id >= from))
            .filter(|mark| self.span.to.is_none_or(|to| mark.id < to))
            .collect()
    }

    /// Columns that were logged at one time and not, or not openly, at another.
    fn changed_columns(&self) -> BTreeSet<String> {
        let logged: Vec<_> = self.audits().into_iter().map(logged).collect();
        let how = |logged: &Logged, column: &String| {
            (
                logged.exclude.contains(column),
                logged.mask.contains(column),
            )
        };
        logged
            .iter()
            .flat_map(|one| one.exclude.iter().chain(&one.mask))
            .filter(|column| {
                logged
                    .windows(2)
                    .any(|pair| how(&pair[0], column) != how(&pair[1], column))
            })
            .cloned()
            .collect()
    }

    /// What was logged of the table when an entry was written.
    fn logged_at(&self, id: Id) -> Logged {
        let mark = self
            .span
            .marks
            .iter()
            .rev()
            .find(|mark| mark.operation == Operation::Audit && mark.id < id);
        mark.map(logged).unwrap_or_default()
    }

    /// Without what was not logged at some time between that one and the entry that the state was taken from: nobody
    /// knows whether it was the same.
    fn as_logged(&self, mut state: State, until: Option<Id>) -> Result<State> {
        let audits = self.audits();
        let then = audits.partition_point(|mark| mark.at <= self.at);
        let other = until.map_or(audits.len(), |id| {
            audits.partition_point(|mark| mark.id < id)
        });
        let from = then.min(other).saturating_sub(1);
        for mark in &audits[from..then.max(other)] {
            logged(mark).restrict(&mut state)?;
        }
        Ok(state)
    }

    fn unknown(&self, why: &str) -> Error {
        Error::state("the trail does not tell what the record was at that time")
            .detail(format!(
                "record {} of table {}, {}: {why}",
                self.record,
                self.span.trail.name(),
                time::instant_text(self.at)
            ))
            .hint("gemba.row_history() has what there is; an altered table, changes that were made while the trail was off, and triggers that change the same row again leave such gaps")
    }
}

impl Logged {
    /// Leaves what is logged.
    fn restrict(&self, state: &mut State) -> Result<()> {
        for column in &self.exclude {
            state.remove(column);
        }
        for column in &self.mask {
            if let Some(value) = state.get_mut(column)
                && value.get() != "null"
            {
                *value = masked()?;
            }
        }
        Ok(())
    }
}

/// What is known of a record, going from one entry to the next.
struct Known<'a> {
    trail: &'a Trail,
    /// Columns that are not to be compared.
    changed: &'a BTreeSet<String>,
    state: State,
    /// Are these all columns?
    whole: bool,
}

impl Known<'_> {
    /// Does the record have these values, as far as is known?
    fn has(&self, values: &State) -> Result<bool> {
        for (column, value) in values {
            let same = match self.state.get(column) {
                _ if self.changed.contains(column) => true,
                Some(known) => self.trail.same(column, known.get(), value.get())?,
                None => !self.whole,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Are these all its values?
    fn is(&self, values: &State) -> Result<bool> {
        let all = |column: &String| values.contains_key(column) || self.changed.contains(column);
        Ok(self.state.keys().all(all) && self.has(values)?)
    }
}

fn logged(mark: &Entry) -> Logged {
    mark.new_values_as().unwrap_or_default()
}

fn masked() -> Result<Box<RawValue>> {
    RawValue::from_string("\"***\"".to_owned()).map_err(|error| Error::state(error.to_string()))
}
