//! What a record was at some time.
//!
//! From the INSERT on, every UPDATE adds what it changed. Where there is no INSERT, because the row is older than its
//! trail, the way leads back: from the row as it is, or as its DELETE found it, every UPDATE takes away what it
//! changed.

use super::gap::{Gap, Span};
use super::trail::{Entry, Operation, State, Trail};
use crate::error::{Error, Result};
use crate::postgres::time;
use gemba_core::seal::Id;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What was logged of a table, as AUDIT notes it.
#[derive(Debug, Default, Deserialize)]
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
    let span = span(trail, &marks, at)?;
    let search = Search { span, record, at };
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
    let begun = before
        .iter()
        .rposition(|mark| mark.operation == Operation::Unaudit)
        .map_or(0, |place| place + 1);
    Ok(Span {
        trail,
        marks,
        from: before.get(begun).map(|mark| mark.id),
        to: switches[next..]
            .iter()
            .find(|mark| mark.operation == Operation::Unaudit)
            .map(|mark| mark.id),
    })
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
        if last.is_some_and(|last| last.operation == Operation::Delete) {
            return Ok(None);
        }
        let gap = self.span.gap(self.record, last.map(|last| last.id), next)?;
        let there = match (&gap, next) {
            (Gap::There | Gap::Present(_), _) => true,
            (Gap::Left(entry), _) => entry.at > self.at,
            (Gap::Truncated(marks), _) => self.before_truncates(marks, last)?,
            (Gap::Unknown, Some(_)) if last.is_none() => false,
            (Gap::Unknown, None) if last.is_none() && self.span.to.is_none() => {
                if !self.span.trail.sees_all()? {
                    return Err(self.unknown("the caller does not see all rows of the table"));
                }
                false
            }
            (Gap::Unknown, None) if last.is_some() && !self.span.trail.sees_all()? => true,
            (Gap::Unknown, _) => {
                return Err(self.unknown("the trail does not say how its record ended"));
            }
        };
        if !there {
            return Ok(None);
        }
        if let Some(last) = last
            && let Some(found) = self.forward(last)?
        {
            return Ok(Some(found));
        }
        self.backward(self.record.to_owned(), last.map(|last| last.id))
            .map(Some)
    }

    /// Was the record still there, which one of these took away?
    fn before_truncates(&self, marks: &[Entry], last: Option<&Entry>) -> Result<bool> {
        let (Some(first), Some(end)) = (marks.first(), marks.last()) else {
            return Ok(false);
        };
        if end.at <= self.at {
            return Ok(false);
        }
        if first.at > self.at && last.is_some() {
            return Ok(true);
        }
        Err(self.unknown("a TRUNCATE may have taken it away"))
    }

    /// The state after an entry, from the beginning of the record's life. None where that is not in the trail.
    fn forward(&self, last: &Entry) -> Result<Option<Found>> {
        let mut changes = Vec::new();
        let mut entry = last.clone();
        while !self.is_whole(&entry) {
            if entry.operation != Operation::Update {
                return Ok(None);
            }
            let key = entry.old_key.clone().unwrap_or_default();
            let before = self.span.entries(&key)?;
            let place = before.partition_point(|other| other.id < entry.id);
            let Some(earlier) = place.checked_sub(1).map(|n| before[n].clone()) else {
                return Ok(None);
            };
            changes.push(entry.new_values()?);
            entry = earlier;
        }
        let mut state = entry.new_values()?;
        for change in changes.into_iter().rev() {
            state.extend(change);
        }
        Ok(Some((state, Some(entry.id))))
    }

    /// Does an entry have all columns of the row?
    fn is_whole(&self, entry: &Entry) -> bool {
        match entry.operation {
            Operation::Insert => true,
            Operation::Update => self.logged_at(entry.id).full_rows,
            _ => false,
        }
    }

    /// The state after an entry (None: at the beginning), from the end of the record's life, or from now.
    fn backward(&self, mut record: String, mut after: Option<Id>) -> Result<Found> {
        let mut changes = Vec::new();
        let (mut state, until) = loop {
            let entries = self.span.entries(&record)?;
            let place = after.map_or(0, |id| entries.partition_point(|entry| entry.id <= id));
            let next = entries.get(place);
            let change = match (self.span.gap(&record, after, next)?, next) {
                (Gap::There, Some(next)) => next.clone(),
                (Gap::Left(entry), _) => entry,
                (Gap::Present(row), _) => break (row, None),
                (Gap::Truncated(_), _) => {
                    return Err(
                        self.unknown("a TRUNCATE ended it, and nothing tells all that it was")
                    );
                }
                _ => return Err(self.unknown("nothing tells all that it was")),
            };
            if change.operation == Operation::Delete || self.is_whole(&change) {
                break (change.old_values()?, Some(change.id));
            }
            changes.push(change.old_values()?);
            record.clone_from(&change.record);
            after = Some(change.id);
        };
        for change in changes.into_iter().rev() {
            state.extend(change);
        }
        Ok((state, until))
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
        let audits: Vec<_> = self
            .span
            .marks
            .iter()
            .filter(|mark| mark.operation == Operation::Audit)
            .filter(|mark| self.span.from.is_none_or(|from| mark.id >= from))
            .filter(|mark| self.span.to.is_none_or(|to| mark.id < to))
            .collect();
        let then = audits.partition_point(|mark| mark.at <= self.at);
        let other = until.map_or(audits.len(), |id| {
            audits.partition_point(|mark| mark.id < id)
        });
        let from = then.min(other).saturating_sub(1);
        for mark in &audits[from..then.max(other)] {
            let logged = logged(mark);
            for column in &logged.exclude {
                state.remove(column);
            }
            for column in &logged.mask {
                if let Some(value) = state.get_mut(column)
                    && value.get() != "null"
                {
                    *value = masked()?;
                }
            }
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
            .hint("gemba.row_history() has what there is")
    }
}

fn logged(mark: &Entry) -> Logged {
    mark.new_values_as().unwrap_or_default()
}

fn masked() -> Result<Box<RawValue>> {
    RawValue::from_string("\"***\"".to_owned()).map_err(|error| Error::state(error.to_string()))
}
