//! The partition for now, for rooms that write there all the time: it was usually made long ago.

use super::set::Set;
use crate::error::{Error, Result};
use crate::postgres::{role, spi, time};
use pgrx::prelude::*;
use std::cell::Cell;

/// A partitioned table, and the times for which this session has seen a partition of it. (A session has one
/// database.)
pub struct Ready {
    schema: &'static str,
    table: &'static str,
    seen: Cell<(i64, i64)>,
}

impl Ready {
    pub const fn new(schema: &'static str, table: &'static str) -> Self {
        Self {
            schema,
            table,
            seen: Cell::new((0, 0)),
        }
    }

    /// Makes the partition for this time where nobody has run `gemba.maintain_partitions()` in time: a write is
    /// not to fail for that.
    pub fn ensure(&self, now: i64) -> Result<()> {
        let (from, to) = self.seen.get();
        if (from..to).contains(&now) {
            return Ok(());
        }
        role::as_extension(|| self.look(now))
    }

    fn look(&self, now: i64) -> Result<()> {
        let parent = self.parent()?;
        let present = spi::read_row(
            "SELECT l.from_time, l.to_time FROM gemba._leaves($1, 'UTC') AS l WHERE l.from_time <= $2 AND l.to_time > $2",
            &[parent.into(), time::timestamptz(now).into()],
            |row| {
                Ok((
                    row.get::<TimestampWithTimeZone>(1)?,
                    row.get::<TimestampWithTimeZone>(2)?,
                ))
            },
        )?;
        if let Some((Some(from), Some(to))) = present {
            self.seen.set((time::micros(from), time::micros(to)));
            return Ok(());
        }
        // Not remembered: it is gone again if this transaction fails.
        let set = Set::of(parent)?;
        let from = set.floor(now);
        super::ensure_written(&set, from, set.next(from))
    }

    /// The table, as the extension finds it.
    pub fn parent(&self) -> Result<pg_sys::Oid> {
        spi::read_one::<pg_sys::Oid>(
            "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'p'",
            &[self.schema.into(), self.table.into()],
        )?
        .ok_or_else(|| {
            Error::state("a partitioned table is missing")
                .detail(format!("table {}.{}", self.schema, self.table))
                .hint(format!("SELECT gemba.deploy('{}') makes it", self.schema))
        })
    }
}
