//! The life of a row, from its first entry to its last, whatever keys it had.

use super::gap::{Gap, Span};
use super::trail::{Entry, Operation, State};
use crate::error::Result;

/// How it ended, in the time that is looked at.
pub enum End {
    /// By its last entry.
    Deleted,
    /// By one of these.
    Truncated(Vec<Entry>),
    /// Not yet.
    Present(State),
    /// It was there when auditing ended, or is, unseen by the caller.
    Open,
}

pub struct Life {
    /// In order. Where the first one is no INSERT, the row is older than its trail.
    pub entries: Vec<Entry>,
    pub end: End,
}

/// Why a life cannot be told.
pub struct Hole(pub &'static str);

pub type Told<T> = Result<std::result::Result<T, Hole>>;

const MISSING: Hole = Hole("entries are missing: it changed while nothing was logged");

/// The life that an entry is part of; an entry that ended one belongs to it.
pub fn of(span: &Span, entry: &Entry) -> Told<Life> {
    let mut entries = match before(span, entry)? {
        Ok(entries) => entries,
        Err(hole) => return Ok(Err(hole)),
    };
    if entry.operation == Operation::Delete {
        return Ok(Ok(Life {
            entries,
            end: End::Deleted,
        }));
    }
    let end = match after(
        span,
        entry.record.clone(),
        Some(entry.clone()),
        &mut entries,
    )? {
        Ok(Some(end)) => end,
        Ok(None) => return Ok(Err(MISSING)),
        Err(hole) => return Ok(Err(hole)),
    };
    Ok(Ok(Life { entries, end }))
}

/// The life of what had this key when the time began. None: nothing had it, as far as the trail tells.
pub fn from_beginning(span: &Span, record: &str) -> Told<Option<Life>> {
    let mut entries = Vec::new();
    let end = after(span, record.to_owned(), None, &mut entries)?;
    Ok(end.map(|end| end.map(|end| Life { entries, end })))
}

/// The entries up to this one.
fn before(span: &Span, entry: &Entry) -> Told<Vec<Entry>> {
    let mut found = vec![entry.clone()];
    let mut entry = entry.clone();
    while entry.operation != Operation::Insert {
        let key = match entry.operation {
            Operation::Update => entry.old_key.clone(),
            _ => Some(entry.record.clone()),
        };
        let Some(key) = key else {
            return Ok(Err(Hole("its key before an UPDATE is too long to be told")));
        };
        let entries = span.entries(&key)?;
        let earlier = entries
            .iter()
            .rfind(|other| other.id < entry.id && !other.with(&entry));
        let lower = earlier.map(|earlier| earlier.id);
        if !span.trail.is_partitioned() && span.truncates(lower, Some(entry.id)).next().is_some() {
            return Ok(Err(MISSING));
        }
        let Some(earlier) = earlier else {
            break;
        };
        if earlier.operation == Operation::Delete {
            return Ok(Err(MISSING));
        }
        found.push(earlier.clone());
        entry = earlier.clone();
    }
    found.reverse();
    Ok(Ok(found))
}

/// Adds the entries after one of the record (None: from the beginning on), and says how it ended. None: the record
/// was not there at all.
fn after(
    span: &Span,
    mut record: String,
    mut last: Option<Entry>,
    found: &mut Vec<Entry>,
) -> Told<Option<End>> {
    loop {
        let entries = span.entries(&record)?;
        let next = entries
            .iter()
            .find(|entry| last.as_ref().is_none_or(|last| entry.id > last.id));
        let gap = span.gap(&record, last.as_ref(), next)?;
        let entry = match (gap, next) {
            (Gap::There, Some(next)) => next.clone(),
            (Gap::Left(entry), _) => entry,
            (Gap::Present(row), _) => return Ok(Ok(Some(End::Present(row)))),
            (Gap::Truncated(marks), _) => return Ok(Ok(Some(End::Truncated(marks)))),
            (_, Some(_)) if last.is_none() => return Ok(Ok(None)),
            (_, Some(_)) => return Ok(Err(MISSING)),
            (gap, None) => {
                return Ok(match (last, span.to.is_none()) {
                    (Some(_), false) => Ok(Some(End::Open)),
                    (None, false) => Err(Hole("no entry tells whether there was such a record")),
                    (Some(_), true) if matches!(gap, Gap::Unseen) => Ok(Some(End::Open)),
                    (Some(_), true) => Err(Hole("it is gone, and no entry tells how")),
                    (None, true) if matches!(gap, Gap::Unseen) => {
                        Err(Hole("the caller does not see all rows of the table"))
                    }
                    (None, true) => Ok(None),
                });
            }
        };
        found.push(entry.clone());
        if entry.operation == Operation::Delete {
            return Ok(Ok(Some(End::Deleted)));
        }
        record.clone_from(&entry.record);
        last = Some(entry);
    }
}
