//! New seals.

#![expect(unsafe_code, reason = "the cluster's number is the server's to say")]

use super::chain::{self, End};
use super::row::{Reader, Sealed, rows};
use super::{require_columns, require_tables};
use crate::error::Result;
use crate::postgres::{cursor, lock, role, spi, time};
use gemba_core::seal::{Batch, Hash, Seal};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

/// So many rows are in a batch at most: it is what verifying has in memory at a time.
const BATCH: usize = 50_000;

/// A seal that was made.
pub struct Made {
    pub seal: i64,
    pub rows: i64,
    pub hash: Hash,
}

/// The cluster that this is, as it is stored.
pub fn this_system() -> i64 {
    // SAFETY: reads shared state of the server.
    unsafe { pg_sys::GetSystemIdentifier() as i64 }
}

/// Seals what can be sealed; nothing, where there is no row to seal.
///
/// # Errors
/// `55000` without the tables, `25001` where it could not see what others have sealed.
pub fn seal() -> Result<Vec<Made>> {
    require_tables()?;
    require_columns()?;
    role::require_current_snapshots("the audit trail cannot be sealed")?;
    lock::take_turns("cloudwatcher.audit_seals")?;
    let system = this_system();
    // Before the rows are looked for: of what has ended by now, none can come any more.
    let upto = oldest_running()?;
    let last = chain::last()?;
    let mut sealing = Sealing::new(system, End::of(last.as_ref()));
    match last {
        Some(last) if last.system == system => {
            sealing.upto = last.upto;
            sealing.run(
                rows!(
                    "WHERE l.system_id = $1 AND l.transaction_id >= $2 AND l.transaction_id < $3"
                ),
                &[system.into(), last.upto.into(), upto.into()],
            )?;
        }
        _ => {
            sealing.run(UNSEALED, &[system.into(), upto.into()])?;
        }
    }
    sealing.end(upto)
}

/// Rows that could not be told from their number whether they are sealed: those of other clusters, and those that
/// were here before the trail went elsewhere and came back.
const UNSEALED: &str = rows!(
    "LEFT JOIN (SELECT s.system_id, pg_catalog.max(s.upto) AS upto
               FROM cloudwatcher.audit_seals s GROUP BY s.system_id) AS u ON u.system_id = l.system_id
 WHERE l.transaction_id >= coalesce(u.upto, 0)
   AND (l.system_id <> $1 OR l.transaction_id < $2)
   AND NOT EXISTS (SELECT FROM cloudwatcher.audit_seals s CROSS JOIN gemba._sealed_ids(s.digests) AS d (id)
                    WHERE d.id = l.id)"
);

/// The oldest transaction that has not ended.
fn oldest_running() -> Result<i64> {
    let oldest = spi::write_returning(
        "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint",
        &[],
        |row| Ok(row.get::<i64>(1)?),
    )?;
    Ok(oldest.into_iter().next().flatten().unwrap_or_default())
}

struct Sealing {
    system: i64,
    /// What can be said so far: only with the last batch are all rows there.
    upto: i64,
    end: End,
    batch: Batch,
    first_at: i64,
    last_at: i64,
    made: Vec<Made>,
}

impl Sealing {
    fn new(system: i64, end: End) -> Self {
        Self {
            system,
            upto: 0,
            end,
            batch: Batch::default(),
            first_at: i64::MAX,
            last_at: i64::MIN,
            made: Vec::new(),
        }
    }

    fn run(&mut self, rows: &str, args: &[DatumWithOid]) -> Result<()> {
        let mut reader = Reader::new();
        cursor::stream_now(rows, args, |row| {
            // When one more comes, what is full is not the last.
            if self.batch.len() == BATCH {
                self.make(self.upto)?;
            }
            self.add(&reader.read(row)?);
            Ok(())
        })
    }

    fn add(&mut self, row: &Sealed) {
        self.batch.add(row.id, row.hash);
        self.first_at = self.first_at.min(row.created_at);
        self.last_at = self.last_at.max(row.created_at);
    }

    fn end(mut self, upto: i64) -> Result<Vec<Made>> {
        if !self.batch.is_empty() {
            self.make(upto)?;
        }
        Ok(self.made)
    }

    fn make(&mut self, upto: i64) -> Result<()> {
        let rows = self.batch.len() as i64;
        let (digests, batch) = self.batch.take();
        let hash = self.end.append(&Seal {
            id: 0,
            system: self.system,
            upto,
            rows,
            first_at: Some(self.first_at),
            last_at: Some(self.last_at),
            digests: &digests,
            batch: &batch,
            previous: &[],
            sealed_at: time::now(),
        })?;
        (self.first_at, self.last_at) = (i64::MAX, i64::MIN);
        self.made.push(Made {
            seal: self.end.id,
            rows,
            hash,
        });
        Ok(())
    }
}
