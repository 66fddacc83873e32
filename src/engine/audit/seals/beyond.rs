//! Rows that are in no seal: have they a right to be?
//!
//! They have when they are new, which their transaction's number says: it is not below `upto` of the last seal. In a
//! cluster that has sealed nothing yet, after a restore, they also have when they were written here. Nobody else's
//! rows can come any more.

use super::chain::Link;
use super::row::Sealed;
use super::verify::{Bounds, Kind, Problem, Problems};
use crate::error::Result;
use crate::postgres::plan::Row;
use crate::postgres::{cursor, spi, time};
use pgrx::pg_sys;
use pgrx::prelude::*;

/// Who may be unsealed, and how many were found that may not.
pub struct Unsealed {
    /// The cluster of the last seal and its `upto`; none before the first.
    last: Option<(i64, i64)>,
    here: i64,
    /// The number of the next transaction here: what claims a later one was not written by one.
    next: i64,
    bounds: Bounds,
    /// Rows in seals that have to be there.
    sealed: i64,
}

impl Unsealed {
    #[expect(unsafe_code, reason = "the next number is the server's to say")]
    pub fn new(last: Option<&Link>, bounds: Bounds) -> Self {
        // SAFETY: reads shared state of the server.
        let next = unsafe { pg_sys::ReadNextFullTransactionId() }.value as i64;
        Self {
            last: last.map(|link| (link.system, link.upto)),
            here: super::sealing::this_system(),
            next,
            bounds,
            sealed: 0,
        }
    }

    /// As [`WANTED`] says it, the other way round.
    fn allowed(&self, row: &Sealed) -> bool {
        let here = row.system == self.here;
        let new = match self.last {
            None => true,
            Some((system, upto)) => {
                row.system == system && row.transaction >= upto || here && system != self.here
            }
        };
        new && !(here && row.transaction >= self.next)
    }

    /// Takes notice of a row that is in a seal.
    pub fn note_sealed(&mut self, row: &Sealed) {
        if !self.allowed(row) && self.bounds.contain(row.created_at) {
            self.sealed += 1;
        }
    }

    /// Looks for rows that are in no seal and should be. Counting tells whether there are any; then they are
    /// looked for by name.
    pub fn check(&self, problems: &mut Problems) -> Result<()> {
        let (system, upto) = self.last.unwrap_or((self.here, 0));
        let args = [
            system.into(),
            upto.into(),
            (system != self.here).into(),
            self.here.into(),
            self.next.into(),
            self.last.is_none().into(),
            self.bounds.from.map(time::timestamptz).into(),
            self.bounds.to.map(time::timestamptz).into(),
        ];
        let count = spi::read_one::<i64>(
            &format!("SELECT pg_catalog.count(*) FROM cloudwatcher.audit_logs l WHERE {WANTED}"),
            &args,
        )?;
        if count == Some(self.sealed) {
            return Ok(());
        }
        let mut report = |row: &Row, detail: String| -> Result<()> {
            problems.push(Problem {
                record: row.get::<pgrx::Uuid>(1)?.map(|id| *id.as_bytes()),
                table: row.text(2)?.map(str::to_owned),
                created_at: row.get::<TimestampWithTimeZone>(3)?.map(time::micros),
                ..Problem::new(Kind::Inserted, detail)
            });
            Ok(())
        };
        cursor::stream(
            &format!(
                "SELECT l.id, l.table_name, l.created_at FROM cloudwatcher.audit_logs l WHERE {WANTED}
                    AND NOT EXISTS (SELECT FROM cloudwatcher.audit_seals s
                                     CROSS JOIN gemba._sealed_ids(s.digests) AS d (id) WHERE d.id = l.id)
                  ORDER BY l.id"
            ),
            &args,
            |row| {
                report(
                    row,
                    "no seal names it, but it claims to be older than the last one, or to come from where none can come"
                        .to_owned(),
                )
            },
        )?;
        // A partition has each id once; the log may not.
        cursor::stream(
            &format!(
                "SELECT l.id, pg_catalog.max(l.table_name), pg_catalog.max(l.created_at), pg_catalog.count(*)
                   FROM cloudwatcher.audit_logs l WHERE {WANTED}
                  GROUP BY l.id HAVING pg_catalog.count(*) > 1 ORDER BY l.id"
            ),
            &args,
            |row| {
                let rows: i64 = row.need(4)?;
                report(row, format!("there are {rows} rows with this id"))
            },
        )
    }
}

/// Rows that have to be in a seal, within the bounds.
const WANTED: &str =
    "NOT ((l.system_id = $1 AND l.transaction_id >= $2 OR $3 AND l.system_id = $4 OR $6)
         AND NOT (l.system_id = $4 AND l.transaction_id >= $5))
   AND ($7 IS NULL OR l.created_at >= $7) AND ($8 IS NULL OR l.created_at <= $8)";
