//! What became of a record between two entries of its key.

use super::trail::{Entry, Operation, Present, State, Trail};
use crate::error::Result;
use gemba_core::seal::Id;

/// Between an entry of a key (or the beginning), after which the record is there (or may be), and the next one.
pub enum Gap {
    /// It was there all the time.
    There,
    /// There all the time, and now.
    Present(State),
    /// Until it got another key.
    Left(Entry),
    /// Until a TRUNCATE, which may have been of one partition only: one of these.
    Truncated(Vec<Entry>),
    /// Nothing tells.
    Unknown,
    /// Nothing tells, and the caller does not see whether it is there now.
    Unseen,
}

/// What is known of a table over a time without interruptions.
pub struct Span<'a> {
    pub trail: &'a Trail,
    /// TRUNCATE, AUDIT and UNAUDIT, all that there are.
    pub marks: &'a [Entry],
    pub from: Option<Id>,
    /// None: it lasts.
    pub to: Option<Id>,
}

impl Span<'_> {
    pub fn holds(&self, id: Id) -> bool {
        self.from.is_none_or(|from| id > from) && self.to.is_none_or(|to| id < to)
    }

    /// What the trail says of a record in this time.
    pub fn entries(&self, record: &str) -> Result<Vec<Entry>> {
        let all = self.trail.entries(record)?;
        Ok(all
            .iter()
            .filter(|entry| self.holds(entry.id))
            .cloned()
            .collect())
    }

    /// The TRUNCATEs between two entries.
    pub fn truncates(&self, after: Option<Id>, before: Option<Id>) -> impl Iterator<Item = &Entry> {
        let (after, before) = (after.or(self.from), before.or(self.to));
        self.marks
            .iter()
            .filter(|mark| mark.operation == Operation::Truncate)
            .filter(move |mark| {
                after.is_none_or(|id| mark.id > id) && before.is_none_or(|id| mark.id < id)
            })
    }

    /// After the entry `after` of the record (None: from the beginning on) up to `next`, the next one (None: to the
    /// end). In one statement a record leaves before another one arrives, whatever the order of their entries.
    pub fn gap(&self, record: &str, after: Option<&Entry>, next: Option<&Entry>) -> Result<Gap> {
        if next.is_some_and(|next| !next.arrives()) {
            return Ok(Gap::There);
        }
        let mut otherwise = Gap::Unknown;
        if next.is_none() && self.to.is_none() {
            match self.trail.present(record)? {
                Present::Row(row) => return Ok(Gap::Present(row)),
                Present::NotThere => {}
                Present::Unseen => otherwise = Gap::Unseen,
            }
        }
        let left = self.trail.departures(record, after, next)?;
        if let Some(entry) = left.into_iter().find(|entry| self.holds(entry.id)) {
            return Ok(Gap::Left(entry));
        }
        let truncated: Vec<_> = self
            .truncates(after.map(|entry| entry.id), next.map(|entry| entry.id))
            // Of a whole table, the first one leaves nothing for the others.
            .take(if self.trail.is_partitioned() {
                usize::MAX
            } else {
                1
            })
            .cloned()
            .collect();
        Ok(if truncated.is_empty() {
            otherwise
        } else {
            Gap::Truncated(truncated)
        })
    }
}
