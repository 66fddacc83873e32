//! An ordinary partition becomes a compressed one.
//!
//! First its rows are copied into segments as one snapshot sees them, beside readers and writers. Then writers are
//! kept out while what they did meanwhile is caught up with, and readers only for the moment in which the one table
//! takes the other's place.

#![expect(unsafe_code, reason = "works with snapshots and tuples of the server")]

use super::changes::{self, Changes};
use super::cut::{Cut, Span};
use super::layout::{Layout, Shape};
use super::policy::Policy;
use super::store::Store;
use super::swap;
use super::tables;
use super::writer::Writer;
use crate::engine::partitions::leaf;
use crate::engine::partitions::set::{KeyType, Leaf, Set};
use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::setting::with_setting;
use crate::postgres::{backend, lock, role, spi};
use gemba_core::calendar::DAY;
use pgrx::prelude::*;
use std::ffi::CString;

/// A partition whose segments are written, and which is not replaced yet.
pub struct Prepared {
    old: Relation,
    range: Leaf,
    foreign: Relation,
    policy: Policy,
    /// What the segments hold is what this one sees.
    snapshot: Kept,
}

impl Prepared {
    /// The partition, as SQL writes it.
    pub fn partition(&self) -> String {
        self.old.sql()
    }

    /// What is to take its place.
    pub fn replacement(&self) -> pg_sys::Oid {
        self.foreign.oid
    }

    /// What it takes up, with its indexes.
    pub fn bytes(&self) -> Result<i64> {
        bytes_of(&[self.old.oid])
    }
}

/// What a partition is once it is compressed.
pub struct Done {
    pub rows: i64,
    /// With indexes.
    pub bytes: i64,
}

fn bytes_of(tables: &[pg_sys::Oid]) -> Result<i64> {
    Ok(spi::read_one::<i64>(
        "SELECT coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(t)), 0)::bigint FROM pg_catalog.unnest($1) AS t",
        &[tables.to_vec().into()],
    )?
    .unwrap_or(0))
}

/// A snapshot that is kept beyond the sub-transaction in which it was taken.
struct Kept(pg_sys::Snapshot);

impl Kept {
    fn latest() -> Self {
        // SAFETY: plain calls in a transaction.
        Self(unsafe {
            pg_sys::RegisterSnapshotOnOwner(
                pg_sys::GetLatestSnapshot(),
                pg_sys::TopTransactionResourceOwner,
            )
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: registered there, and let go of once.
        unsafe {
            pg_sys::UnregisterSnapshotFromOwner(self.0, pg_sys::TopTransactionResourceOwner);
        }
    }
}

/// Rows that are taken from the cursor at once.
const BATCH: i64 = 10_000;

/// Copies the rows of a partition into segments. Nobody has to wait.
///
/// # Errors
/// `55P03` when somebody else maintains the partition.
pub fn prepare(set: &Set, range: &Leaf, policy: &Policy) -> Result<Prepared> {
    let old = Relation::open(range.oid)?;
    // It conflicts with itself and with maintenance, and with no reader or writer.
    if !lock::try_table(
        old.oid,
        pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE,
    ) {
        return Err(leaf::busy(&old));
    }
    swap::still_there(set, &old)?;
    policy.check(set)?;
    swap::refuse_dependents(&old)?;
    let name = free_name(&old)?;
    let foreign = tables::make(&old, &name, &old.name, policy, !set.unique_on.is_empty())?;
    let snapshot = Kept::latest();
    fill(set, &old, &foreign, policy, &snapshot)?;
    role::as_owner(old.owner, || {
        spi::write(&format!("ANALYZE {}", foreign.sql()), &[])
    })?;
    Ok(Prepared {
        old,
        range: range.clone(),
        foreign,
        policy: policy.clone(),
        snapshot,
    })
}

/// The name of the new table until it takes the old one's.
fn free_name(old: &Relation) -> Result<String> {
    let mut number = 0;
    loop {
        let name = match number {
            0 => format!("{}_compressed", leaf::shorten(&old.name, 52)),
            _ => format!("{}_compressed_{number}", leaf::shorten(&old.name, 45)),
        };
        let taken = spi::read_one::<bool>(
            "SELECT true FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = $1 AND c.relname = $2",
            &[old.schema.as_str().into(), name.as_str().into()],
        )?;
        if taken.is_none() {
            return Ok(name);
        }
        number += 1;
    }
}

/// Takes away again what [`prepare`] made, because the partition could not be replaced.
pub fn discard(foreign: pg_sys::Oid) -> Result<()> {
    if let Some(foreign) = Relation::find(foreign)? {
        backend::as_own_ddl(|| spi::write(&format!("DROP FOREIGN TABLE {}", foreign.sql()), &[]))?;
    }
    Ok(())
}

/// Catches up with what was written meanwhile, and puts the segments in the partition's place. Returns its rows.
///
/// # Errors
/// `55P03` when the locks are not to be had within `gemba.lock_patience`.
pub fn finish(set: &Set, prepared: Prepared) -> Result<Done> {
    let Prepared {
        old,
        range,
        foreign,
        policy,
        snapshot,
    } = prepared;
    // No writers from here on; readers are not disturbed.
    if !lock::try_table(old.oid, pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE) {
        return Err(leaf::busy(&old));
    }
    // SAFETY: both snapshots are registered, and the table is locked.
    let missed = unsafe { changes::between(old.oid, snapshot.0, Kept::latest().0) };
    drop(snapshot);
    catch_up(set, &old, &foreign, &policy, &missed)?;
    let done = done(&foreign)?;
    swap::require_same_rows(&old, done.rows, missed.rows as i64)?;
    swap::replace(set, &range, &old, &foreign)?;
    Ok(done)
}

/// What a compressed partition holds.
pub fn done(foreign: &Relation) -> Result<Done> {
    let layout = Layout::of(foreign.oid)?;
    let (segments, late) = (
        Relation::open(layout.segments)?,
        Relation::open(layout.late)?,
    );
    let rows = spi::read_one::<i64>(
        &format!(
            "SELECT (SELECT coalesce(pg_catalog.sum(row_count), 0)::bigint FROM {})
                    + (SELECT pg_catalog.count(*) FROM {})",
            segments.sql(),
            late.sql()
        ),
        &[],
    )?;
    Ok(Done {
        rows: rows.unwrap_or(0),
        bytes: bytes_of(&[segments.oid, late.oid])?,
    })
}

/// Rows that came are late ones. Where rows went, or too many came, everything is copied anew, now that nobody
/// writes: nobody is expected to write to a closed partition, so that hardly ever happens.
fn catch_up(
    set: &Set,
    old: &Relation,
    foreign: &Relation,
    policy: &Policy,
    missed: &Changes,
) -> Result<()> {
    if missed.went == 0 && missed.came.is_empty() {
        return Ok(());
    }
    let layout = Layout::of(foreign.oid)?;
    if missed.went > 0 || missed.came.len() > changes::MANY {
        let segments = Relation::open(layout.segments)?;
        spi::write(&format!("TRUNCATE {}", segments.sql()), &[])?;
        fill(set, old, foreign, policy, &Kept::latest())?;
        return Ok(());
    }
    let late = Relation::open(layout.late)?;
    let columns: Vec<_> = layout
        .columns
        .iter()
        .filter(|column| !column.dropped)
        .map(|column| spi::ident(&column.name))
        .collect();
    let columns = columns.join(", ");
    let places: Vec<String> = missed.came.iter().map(super::store::tid_text).collect();
    role::as_owner(old.owner, || {
        spi::write(
            &format!(
                "INSERT INTO {} ({columns}) SELECT {columns} FROM {} WHERE ctid = ANY ($1::pg_catalog.tid[])",
                late.sql(),
                old.sql()
            ),
            &[places.into()],
        )
    })?;
    Ok(())
}

/// Copies the rows that the snapshot sees, in the order of keys and time, into segments.
fn fill(
    set: &Set,
    old: &Relation,
    foreign: &Relation,
    policy: &Policy,
    snapshot: &Kept,
) -> Result<()> {
    let layout = Layout::of(foreign.oid)?;
    let store = Store::open(layout, pg_sys::RowExclusiveLock);
    let columns: Vec<_> = store
        .layout
        .columns
        .iter()
        .map(|column| spi::ident(&column.name))
        .collect();
    let order: Vec<_> = policy
        .segment_by
        .iter()
        .chain([&policy.order_by])
        .map(|name| spi::ident(name))
        .collect();
    let sql = format!(
        "SELECT {} FROM {} ORDER BY {}",
        columns.join(", "),
        old.sql(),
        order.join(", ")
    );
    // SAFETY: the snapshot is registered, and taken off again in any case but an error's, which ends the
    // (sub-)transaction.
    unsafe { pg_sys::PushActiveSnapshot(snapshot.0) };
    // Where the owner is subject to policies too, an error is better than rows that are missing.
    let copied = role::as_owner(old.owner, || {
        with_setting(c"row_security", "off", || copy(&sql, set, &store))
    });
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    let span = copied?;
    store.close();
    tables::note(foreign, span, bytes_of(&[old.oid])?)
}

fn copy(sql: &str, set: &Set, store: &Store) -> Result<Span> {
    let command = CString::new(sql).unwrap_or_default();
    let width = store.layout.columns.len();
    let of_dates = store.layout.order_shape() == Shape::Date;
    let mut writer = Writer::new(store, Cut::new(set, Span::Partition, of_dates));
    Spi::connect(|_| {
        let mut values = vec![pg_sys::Datum::null(); width];
        let mut nulls = vec![true; width];
        // SAFETY: the cursor belongs to this connection and reads with the active snapshot; each batch is freed
        // after its rows were taken, whose columns are the layout's.
        unsafe {
            let cursor = pg_sys::SPI_cursor_open_with_args(
                std::ptr::null(),
                command.as_ptr(),
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null(),
                true,
                0,
            );
            let mut first = true;
            loop {
                pg_sys::SPI_cursor_fetch(cursor, true, BATCH as _);
                let table = pg_sys::SPI_tuptable;
                let tuples = std::slice::from_raw_parts((*table).vals, (*table).numvals as usize);
                if std::mem::take(&mut first) {
                    let times = tuples
                        .iter()
                        .map(|&tuple| time_of(tuple, (*table).tupdesc, &store.layout));
                    writer.cut = Cut::new(set, span_of(set, times), of_dates);
                }
                for &tuple in tuples {
                    pg_sys::heap_deform_tuple(
                        tuple,
                        (*table).tupdesc,
                        values.as_mut_ptr(),
                        nulls.as_mut_ptr(),
                    );
                    writer.push(&values, &nulls)?;
                }
                let ended = tuples.is_empty();
                pg_sys::SPI_freetuptable(table);
                if ended {
                    break;
                }
            }
            pg_sys::SPI_cursor_close(cursor);
        }
        writer.flush()?;
        Ok(writer.cut.span)
    })
}

/// # Safety
/// The tuple has the layout's columns.
unsafe fn time_of(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc, layout: &Layout) -> i64 {
    let mut is_null = false;
    // SAFETY: as the caller says; a partition key is never NULL.
    let datum =
        unsafe { pg_sys::heap_getattr(tuple, layout.order as i32 + 1, descriptor, &mut is_null) };
    layout.order_shape().int(datum)
}

/// The span that suits the first rows, which come in the order of keys and time: where time goes back, a new series
/// begins.
fn span_of(set: &Set, times: impl Iterator<Item = i64>) -> Span {
    let times: Vec<i64> = times
        .filter(|&time| time != i64::MIN && time != i64::MAX)
        .collect();
    let (mut steps, mut length) = (0_u64, 0_i64);
    for pair in times.windows(2).filter(|pair| pair[1] > pair[0]) {
        steps += 1;
        length = length.saturating_add(pair[1].saturating_sub(pair[0]));
    }
    let unit = if set.parent.key == KeyType::Date {
        DAY
    } else {
        1
    };
    let start = times.first().copied().unwrap_or(0).saturating_mul(unit);
    let partition = set.floor(start)..set.next(start);
    Span::choose(
        partition,
        steps.max(1) as f64 / (length.max(1) as f64 * unit as f64),
    )
}

/// Compresses one partition of a managed table, or returns its rows when it is compressed already.
///
/// # Errors
/// `55000` when it is no partition of a table with a policy.
pub fn partition(set: &Set, range: &Leaf) -> Result<Done> {
    let policy = Policy::of(&set.parent.relation)?;
    role::require_current_snapshots("a partition cannot be compressed")?;
    let prepared = prepare(set, range, &policy)?;
    finish(set, prepared)
}

/// The managed table that a partition belongs to, and its range there.
pub fn place_of(partition: &Relation) -> Result<(Set, Leaf)> {
    let nowhere = || {
        Error::state("the table is no partition of a managed table")
            .detail(format!("table {}", partition.sql()))
            .hint("name a partition that gemba.partitions lists")
    };
    let parent = spi::read_one::<pg_sys::Oid>(
        "SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = $1",
        &[partition.oid.into()],
    )?
    .ok_or_else(nowhere)?;
    let set = Set::find(parent)?.ok_or_else(nowhere)?;
    let range = set
        .leaves()?
        .into_iter()
        .find(|leaf| leaf.oid == partition.oid)
        .ok_or_else(nowhere)?;
    Ok((set, range))
}
