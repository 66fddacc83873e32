//! What became of a record between two entries of its key.

use super::trail::{Entry, Operation, State, Trail};
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

    /// After the entry `after` of the record (None: from the beginning on) up to `next`, the next one (None: to the
    /// end).
    pub fn gap(&self, record: &str, after: Option<Id>, next: Option<&Entry>) -> Result<Gap> {
        if next.is_some_and(|next| !next.arrives()) {
            return Ok(Gap::There);
        }
        if next.is_none()
            && self.to.is_none()
            && let Some(row) = self.trail.present(record)?
        {
            return Ok(Gap::Present(row));
        }
        let (after, before) = (after.or(self.from), next.map(|next| next.id).or(self.to));
        let left = self.trail.departures(record, after, before)?;
        if let Some(entry) = left.into_iter().next() {
            return Ok(Gap::Left(entry));
        }
        let truncated: Vec<_> = self
            .marks
            .iter()
            .filter(|mark| mark.operation == Operation::Truncate)
            .filter(|mark| {
                after.is_none_or(|id| mark.id > id) && before.is_none_or(|id| mark.id < id)
            })
            // Of a whole table, the first one leaves nothing for the others.
            .take(if self.trail.is_partitioned() {
                usize::MAX
            } else {
                1
            })
            .cloned()
            .collect();
        Ok(if truncated.is_empty() {
            Gap::Unknown
        } else {
            Gap::Truncated(truncated)
        })
    }
}
