//! All entries of a record, whatever keys it had.

use super::gap::{Gap, Span};
use super::trail::{Entry, Operation, Trail};
use crate::error::Result;
use gemba_core::seal::Id;
use std::collections::BTreeSet;

/// The ids of the entries that belong to whatever had this key at some time: those of the key, those under other keys
/// before and after, and the TRUNCATE that ended it.
pub fn entries(trail: &Trail, record: &str) -> Result<BTreeSet<Id>> {
    let marks = trail.marks()?;
    let mut lives = Lives {
        // Also what was between two times under audit: whatever there is.
        span: Span {
            trail,
            marks: &marks,
            from: None,
            to: None,
        },
        found: BTreeSet::new(),
    };
    let own = trail.entries(record)?;
    for (place, entry) in own.iter().enumerate() {
        lives.found.insert(entry.id);
        lives.before(entry)?;
        if entry.operation != Operation::Delete {
            lives.after(entry, own.get(place + 1))?;
        }
    }
    if own.is_empty()
        && let Gap::Left(entry) = lives.span.gap(record, None, None)?
    {
        lives.follow(entry)?;
    }
    Ok(lives.found)
}

struct Lives<'a> {
    span: Span<'a>,
    found: BTreeSet<Id>,
}

impl Lives<'_> {
    /// What was before an entry under another key.
    fn before(&mut self, entry: &Entry) -> Result<()> {
        let mut arrival = entry.clone();
        loop {
            let Some(key) = arrival.old_key.clone().filter(|_| arrival.arrives()) else {
                return Ok(());
            };
            let entries = self.span.trail.entries(&key)?;
            let place = entries.partition_point(|other| other.id < arrival.id);
            let mut begun = None;
            let earlier = entries[..place].iter().rev();
            for earlier in earlier.filter(|other| !other.with(&arrival)) {
                if earlier.operation == Operation::Delete {
                    break;
                }
                self.found.insert(earlier.id);
                if earlier.arrives() {
                    begun = Some(earlier.clone());
                    break;
                }
            }
            match begun {
                Some(earlier) => arrival = earlier,
                None => return Ok(()),
            }
        }
    }

    /// What came after an entry, up to the next one of the same key.
    fn after(&mut self, entry: &Entry, next: Option<&Entry>) -> Result<()> {
        match self.span.gap(&entry.record, Some(entry), next)? {
            Gap::Left(entry) => self.follow(entry),
            Gap::Truncated(marks) => {
                self.found.extend(marks.iter().map(|mark| mark.id));
                Ok(())
            }
            Gap::There | Gap::Present(_) | Gap::Unknown | Gap::Unseen => Ok(()),
        }
    }

    /// The rest of a life, from the entry on that gave it another key.
    fn follow(&mut self, mut departure: Entry) -> Result<()> {
        loop {
            self.found.insert(departure.id);
            let entries = self.span.trail.entries(&departure.record)?;
            let place = entries.partition_point(|entry| entry.id <= departure.id);
            let mut last = &departure;
            let mut next = None;
            for entry in &entries[place..] {
                if entry.arrives() {
                    next = Some(entry);
                    break;
                }
                self.found.insert(entry.id);
                last = entry;
                if entry.operation == Operation::Delete {
                    return Ok(());
                }
            }
            match self.span.gap(&departure.record, Some(last), next)? {
                Gap::Left(entry) => departure = entry,
                Gap::Truncated(marks) => {
                    self.found.extend(marks.iter().map(|mark| mark.id));
                    return Ok(());
                }
                Gap::There | Gap::Present(_) | Gap::Unknown | Gap::Unseen => return Ok(()),
            }
        }
    }
}
