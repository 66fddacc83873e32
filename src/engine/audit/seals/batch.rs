//! The rows of one seal, held against what the seal says of them.

use super::beyond::Unsealed;
use super::chain::{Body, Link};
use super::row::{Reader, Sealed, rows};
use super::verify::{Kind, Problem, Problems};
use crate::error::Result;
use crate::postgres::plan::{Plan, Row};
use crate::postgres::{cursor, time};
use gemba_core::seal::{Batch, Entry, Hash, Id, entries};
use pgrx::datum::DatumWithOid;

/// A row as the seal names it.
struct Expected<'a> {
    entry: Entry<'a>,
    found: Option<Hash>,
}

thread_local! {
    // Where they should be; the table is partitioned by that.
    static WITHIN: Plan = const {
        Plan::new(
            cstr(concat!(rows!("WHERE l.id = ANY ($1) AND l.created_at BETWEEN $2 AND $3"), "\0")),
            &[pgrx::pg_sys::UUIDARRAYOID, pgrx::pg_sys::TIMESTAMPTZOID, pgrx::pg_sys::TIMESTAMPTZOID],
        )
    };
}

const fn cstr(text: &'static str) -> &'static core::ffi::CStr {
    match core::ffi::CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    }
}

/// Holds the rows of a seal against it; `unsealed` counts those that have to be in a seal.
pub fn check(
    link: &Link,
    body: &Body,
    unsealed: &mut Unsealed,
    reader: &mut Reader,
    problems: &mut Problems,
) -> Result<()> {
    let mut expected: Vec<_> = entries(&body.digests)
        .map(|entry| Expected { entry, found: None })
        .collect();
    // They are in order, unless somebody has altered the seal.
    expected.sort_by_key(|row| row.entry.id());
    let mut checking = Checking {
        seal: link.id,
        expected,
        next: 0,
        sound: true,
        unsealed,
        problems,
    };
    let range = [link.first_at, link.last_at].map(|at| at.map(time::timestamptz));
    WITHIN.with(|plan| {
        plan.stream(
            &[checking.missing(), range[0].into(), range[1].into()],
            |row| checking.found(row, reader),
        )
    })?;
    if checking.expected.iter().any(|row| row.found.is_none()) {
        // Somebody has changed the time, or has taken the row away.
        let missing = checking.missing();
        cursor::stream(rows!("WHERE l.id = ANY ($1)"), &[missing], |row| {
            checking.found(row, reader)
        })?;
    }
    checking.end(body)
}

struct Checking<'a> {
    seal: i64,
    /// In the order of ids.
    expected: Vec<Expected<'a>>,
    /// The place at which the next row will probably be: they come in the order of ids.
    next: usize,
    sound: bool,
    unsealed: &'a mut Unsealed,
    problems: &'a mut Problems,
}

impl Checking<'_> {
    /// The ids of what was not found.
    fn missing(&self) -> DatumWithOid<'static> {
        let ids: Vec<pgrx::Uuid> = self
            .expected
            .iter()
            .filter(|row| row.found.is_none())
            .map(|row| pgrx::Uuid::from_bytes(row.entry.id()))
            .collect();
        ids.into()
    }

    /// The place of a row that was not found before.
    fn place(&self, id: &Id) -> Option<usize> {
        let fits = |row: &Expected| row.found.is_none() && row.entry.id() == *id;
        if self.expected.get(self.next).is_some_and(fits) {
            return Some(self.next);
        }
        let first = self.expected.partition_point(|row| row.entry.id() < *id);
        (first..self.expected.len())
            .take_while(|place| self.expected[*place].entry.id() == *id)
            .find(|place| self.expected[*place].found.is_none())
    }

    fn found(&mut self, row: &Row, reader: &mut Reader) -> Result<()> {
        let sealed = reader.read(row)?;
        let Some(place) = self.place(&sealed.id) else {
            return self.report(
                Kind::Inserted,
                &sealed,
                row,
                "there is another row with this id",
            );
        };
        self.next = place + 1;
        self.unsealed.note_sealed(&sealed);
        self.expected[place].found = Some(sealed.hash);
        if !self.expected[place].entry.is_of(&sealed.hash) {
            self.sound = false;
            return self.report(Kind::Altered, &sealed, row, "it is not what was sealed");
        }
        Ok(())
    }

    fn report(&mut self, kind: Kind, sealed: &Sealed, row: &Row, detail: &str) -> Result<()> {
        self.problems.push(Problem {
            seal: Some(self.seal),
            record: Some(sealed.id),
            table: row.text(2)?.map(str::to_owned),
            created_at: Some(sealed.created_at),
            ..Problem::new(kind, detail)
        });
        Ok(())
    }

    fn end(self, body: &Body) -> Result<()> {
        let mut batch = Batch::default();
        let mut sound = self.sound;
        for row in &self.expected {
            match row.found {
                Some(hash) => batch.add(row.entry.id(), hash),
                None => {
                    sound = false;
                    self.problems.push(Problem {
                        seal: Some(self.seal),
                        record: Some(row.entry.id()),
                        ..Problem::new(Kind::Removed, "the log has no row with this id")
                    });
                }
            }
        }
        // The seal names rows by half of their hashes, which says which one it is; the whole ones are in this.
        if sound && batch.take().1[..] != body.batch[..] {
            self.problems.push(Problem {
                seal: Some(self.seal),
                ..Problem::new(
                    Kind::SealAltered,
                    "its batch_hash is not that of the rows that it names",
                )
            });
        }
        Ok(())
    }
}
