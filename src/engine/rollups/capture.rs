//! Noting which buckets a transaction touches.
//!
//! Inserts are the hot path. Their trigger never fires: its WHEN condition, a function in C that the
//! executor calls for each row that was inserted, looks at nothing but the time, remembers the bucket in
//! this backend's memory, and says no. A fired trigger would be queued, and fetch its row again, at ten
//! times the cost. Updates and deletes fire a row trigger that does the same with both rows.
//!
//! Just before the commit the buckets, merged into ranges, are appended to `gemba.rollup_changes`: one row
//! for a million rows loaded in order. A sub-transaction that is rolled back may leave a bucket too many,
//! which costs a recomputation and no error.
//!
//! Whoever may write to a table has to be able to execute what its triggers call. So these functions are
//! executable by PUBLIC, but stand in schema `gemba_internal`, on which nobody has USAGE: a trigger finds
//! them by oid, a person cannot name them.

#![expect(unsafe_code, reason = "a trigger per row, called by PostgreSQL itself")]

use super::definition::Rollup;
use crate::error::{OrRaise, Result};
use crate::postgres::relation::Relation;
use crate::postgres::spi::{self, ident, literal};
use crate::postgres::trigger::{self, argument};
use crate::postgres::{lock, time};
use gemba_core::calendar::Step;
use gemba_core::ranges::RangeSet;
use pgrx::callbacks::{PgXactCallbackEvent, register_xact_callback};
use pgrx::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;

/// What one trigger (of one partition) needs to know; read from its arguments once a transaction.
struct Capture {
    rollup: i32,
    /// Number of the time column, which may differ from partition to partition.
    attribute: i32,
    step: Step,
    zone: time::ServerZone,
    /// The bucket of the last row: rows come in order, so the next is nearly always in it too.
    from: i64,
    to: i64,
}

#[derive(Default)]
struct Memory {
    captures: HashMap<pg_sys::Oid, Capture>,
    changed: HashMap<i32, RangeSet>,
    /// Callbacks for the end of this transaction are registered.
    armed: bool,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

fn trigger_name(rollup: i32) -> String {
    format!("gemba_rollup_{rollup}")
}

fn insert_trigger_name(rollup: i32) -> String {
    format!("gemba_rollup_{rollup}_insert")
}

fn truncate_trigger_name(rollup: i32) -> String {
    format!("gemba_rollup_{rollup}_truncate")
}

/// Puts the triggers on the source and, of those that partitions do not inherit, on each partition.
pub fn watch(rollup: &Rollup) -> Result<()> {
    let (months, days, micros) = (
        rollup.bucket.months(),
        rollup.bucket.days(),
        rollup.bucket.micros(),
    );
    let (id, zone) = (rollup.id, literal(rollup.zone.name()));
    let time = ident(&rollup.time_column);
    let source = rollup.source.sql();
    let capture = format!(
        "gemba_internal.capture_rows('{id}', {}, '{months}', '{days}', '{micros}', {zone})",
        literal(&rollup.time_column)
    );
    spi::write(
        &format!(
            "CREATE TRIGGER {} AFTER INSERT ON {source} FOR EACH ROW \
             WHEN (gemba_internal.note_insert(NEW.{time}, {id}, {months}, {days}, {micros}, {zone})) \
             EXECUTE FUNCTION {capture}",
            ident(&insert_trigger_name(id)),
        ),
        &[],
    )?;
    spi::write(
        &format!(
            "CREATE TRIGGER {} AFTER UPDATE OR DELETE ON {source} FOR EACH ROW \
             EXECUTE FUNCTION {capture}",
            ident(&trigger_name(id)),
        ),
        &[],
    )?;
    // Also for rows that replication applies. (Partitions follow.)
    for name in [trigger_name(id), insert_trigger_name(id)] {
        spi::write(
            &format!(
                "ALTER TABLE {source} ENABLE ALWAYS TRIGGER {}",
                ident(&name)
            ),
            &[],
        )?;
    }
    create_truncate_trigger(rollup.id, &rollup.source)?;
    for leaf in super::super::partitions::set::leaves(rollup.source.oid, rollup.zone.name())? {
        create_truncate_trigger(rollup.id, &Relation::open(leaf.oid)?)?;
    }
    Ok(())
}

/// Takes the triggers away, and what this transaction remembers.
pub fn unwatch(rollup: &Rollup) -> Result<()> {
    MEMORY.with_borrow_mut(|memory| memory.changed.remove(&rollup.id));
    let source = rollup.source.sql();
    for name in [trigger_name(rollup.id), insert_trigger_name(rollup.id)] {
        spi::write(
            &format!("DROP TRIGGER IF EXISTS {} ON {source}", ident(&name)),
            &[],
        )?;
    }
    let name = truncate_trigger_name(rollup.id);
    let holders = spi::read_all(
        "SELECT t.tgrelid FROM pg_catalog.pg_trigger t WHERE t.tgname = $1::name",
        &[name.as_str().into()],
        |row| Ok(row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid)),
    )?;
    for holder in holders {
        spi::write(
            &format!(
                "DROP TRIGGER IF EXISTS {} ON {}",
                ident(&name),
                Relation::open(holder)?.sql()
            ),
            &[],
        )?;
    }
    Ok(())
}

/// Statement triggers are not inherited: a new partition gets those of its parent's rollups.
pub fn watch_truncate(parent: pg_sys::Oid, leaf: &Relation) -> Result<()> {
    for rollup in watchers(parent)? {
        create_truncate_trigger(rollup, leaf)?;
    }
    Ok(())
}

/// The same for a partition that others may be writing to: returns false, without waiting, when they are.
pub fn try_watch_truncate(parent: pg_sys::Oid, leaf: &Relation) -> Result<bool> {
    for rollup in watchers(parent)? {
        if leaf.kind == 'f' || has_truncate_trigger(rollup, leaf)? {
            continue;
        }
        if !lock::try_table_once(leaf.oid, pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE) {
            return Ok(false);
        }
        create_truncate_trigger(rollup, leaf)?;
    }
    Ok(true)
}

fn has_truncate_trigger(rollup: i32, table: &Relation) -> Result<bool> {
    Ok(spi::read_one::<bool>(
        "SELECT true FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND tgname = $2::name",
        &[table.oid.into(), truncate_trigger_name(rollup).into()],
    )?
    .is_some())
}

/// A partition that is detached keeps its rows to itself from now on.
pub fn unwatch_truncate(leaf: &Relation) -> Result<()> {
    let triggers = spi::read_all(
        "SELECT tgname::text FROM pg_catalog.pg_trigger
          WHERE tgrelid = $1 AND tgname ~ '^gemba_rollup_[0-9]+_truncate$'",
        &[leaf.oid.into()],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )?;
    for trigger in triggers {
        spi::write(
            &format!("DROP TRIGGER {} ON {}", ident(&trigger), leaf.sql()),
            &[],
        )?;
    }
    Ok(())
}

fn create_truncate_trigger(rollup: i32, table: &Relation) -> Result<()> {
    // Foreign tables have such triggers in newer servers only. Making one takes a lock that writers hold; so
    // not again.
    if table.kind == 'f' || has_truncate_trigger(rollup, table)? {
        return Ok(());
    }
    spi::write(
        &format!(
            "CREATE TRIGGER {} AFTER TRUNCATE ON {} \
             FOR EACH STATEMENT EXECUTE FUNCTION gemba_internal.capture_truncate({})",
            ident(&truncate_trigger_name(rollup)),
            table.sql(),
            literal(&rollup.to_string())
        ),
        &[],
    )?;
    spi::write(
        &format!(
            "ALTER TABLE {} ENABLE ALWAYS TRIGGER {}",
            table.sql(),
            ident(&truncate_trigger_name(rollup))
        ),
        &[],
    )?;
    Ok(())
}

/// Rollups that read this table directly, oldest first.
pub fn rollups_on(source: pg_sys::Oid) -> Result<Vec<i32>> {
    spi::read_all(
        "SELECT id FROM gemba.rollup_definitions WHERE source = $1 ORDER BY id",
        &[source.into()],
        |row| Ok(row.get::<i32>(1)?.unwrap_or_default()),
    )
}

/// Those of them that go by triggers: what a refresh writes to a rollup, it notes itself for those that are
/// built from it.
fn watchers(source: pg_sys::Oid) -> Result<Vec<i32>> {
    spi::read_all(
        "SELECT id FROM gemba.rollup_definitions WHERE source = $1 AND source_rollup IS NULL ORDER BY id",
        &[source.into()],
        |row| Ok(row.get::<i32>(1)?.unwrap_or_default()),
    )
}

/// Notes that rows with times in `[from, to)` of this table changed, for code that writes past the
/// triggers.
pub fn note(source: pg_sys::Oid, from: i64, to: i64) -> Result<()> {
    for id in rollups_on(source)? {
        note_rollup(&Rollup::by_id(id)?, from, to)?;
    }
    Ok(())
}

/// The same for one rollup.
pub fn note_rollup(rollup: &Rollup, from: i64, to: i64) -> Result<()> {
    let floor = |at| {
        if at == i64::MIN {
            at
        } else {
            rollup.step.floor(at, &rollup.zone)
        }
    };
    let ceil = |at| {
        if at == i64::MAX {
            at
        } else {
            rollup.step.ceil(at, &rollup.zone)
        }
    };
    spi::write(
        "INSERT INTO gemba.rollup_changes (rollup_id, from_bucket, to_bucket) VALUES ($1, $2, $3)",
        &[
            rollup.id.into(),
            time::timestamptz(floor(from)).into(),
            time::timestamptz(ceil(to)).into(),
        ],
    )?;
    Ok(())
}

/// The bucket that the last row of a statement fell into.
struct LastBucket {
    from: i64,
    to: i64,
}

/// `note_insert(at, rollup, months, days, microseconds, zone)`: the WHEN condition of the insert trigger.
/// Notes the bucket of `at` and returns false.
///
/// # Safety
/// Called by PostgreSQL through the version-1 calling convention.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn gemba_note_insert(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    let no = pg_sys::Datum::from(false);
    // SAFETY: the function is declared with six arguments, the first five passed by value. What hangs on
    // fn_extra is allocated in the memory that lives as long as it, which is one statement.
    unsafe {
        let arguments = (*fcinfo).args.as_slice(6);
        if arguments[0].isnull {
            return no;
        }
        let instant = arguments[0].value.value() as i64;
        let call = (*fcinfo).flinfo;
        let last = (*call).fn_extra.cast::<LastBucket>();
        if !last.is_null() && instant >= (*last).from && instant < (*last).to {
            return no;
        }
        if instant == i64::MIN || instant == i64::MAX || arguments[1..].iter().any(|a| a.isnull) {
            return no;
        }
        let number = |index: usize| arguments[index].value.value() as i64;
        let Ok(step) = Step::from_interval(number(2) as i32, number(3) as i32, number(4)) else {
            return no;
        };
        let zone = String::from_datum(arguments[5].value, false).unwrap_or_default();
        let zone = time::ServerZone::trusted(&zone);
        let (from, to) = (step.floor(instant, &zone), step.next(instant, &zone));
        remember(number(1) as i32, from, to);
        let last = if last.is_null() {
            let size = size_of::<LastBucket>();
            pg_sys::MemoryContextAlloc((*call).fn_mcxt, size).cast::<LastBucket>()
        } else {
            last
        };
        last.write(LastBucket { from, to });
        (*call).fn_extra = last.cast();
    }
    no
}

fn remember(rollup: i32, from: i64, to: i64) {
    MEMORY.with_borrow_mut(|memory| {
        if !memory.armed {
            arm(memory);
        }
        memory.changed.entry(rollup).or_default().insert(from, to);
    });
}

/// `AFTER UPDATE OR DELETE … FOR EACH ROW`. Arguments: rollup, time column, months, days and
/// microseconds of the bucket, time zone.
///
/// # Safety
/// Called by PostgreSQL through the version-1 calling convention.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn gemba_capture_rows(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: the context of a trigger call is a TriggerData that lives as long as the call, and its
    // relation, trigger and tuples with it.
    unsafe {
        let data = trigger::data(fcinfo);
        let trigger = (*data).tg_trigger;
        let descriptor = (*(*data).tg_relation).rd_att;
        MEMORY.with_borrow_mut(|memory| {
            if !memory.armed {
                arm(memory);
            }
            let Memory {
                captures, changed, ..
            } = memory;
            let capture = captures
                .entry((*trigger).tgoid)
                .or_insert_with(|| read_arguments(&*trigger, (*(*data).tg_relation).rd_id));
            for tuple in [(*data).tg_trigtuple, (*data).tg_newtuple] {
                if tuple.is_null() {
                    continue;
                }
                let mut is_null = false;
                let datum =
                    pg_sys::heap_getattr(tuple, capture.attribute, descriptor, &mut is_null);
                if is_null {
                    continue;
                }
                let instant = datum.value() as i64;
                if instant >= capture.from && instant < capture.to {
                    continue;
                }
                (capture.from, capture.to) = if instant == i64::MIN || instant == i64::MAX {
                    // 'infinity' lies in no bucket.
                    continue;
                } else {
                    (
                        capture.step.floor(instant, &capture.zone),
                        capture.step.next(instant, &capture.zone),
                    )
                };
                changed
                    .entry(capture.rollup)
                    .or_default()
                    .insert(capture.from, capture.to);
            }
        });
    }
    pg_sys::Datum::from(0)
}

/// `AFTER TRUNCATE … FOR EACH STATEMENT`. Argument: rollup.
///
/// # Safety
/// Called by PostgreSQL through the version-1 calling convention.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn gemba_capture_truncate(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: as above.
    let (rollup, table) = unsafe {
        let data = trigger::data(fcinfo);
        let trigger = &*(*data).tg_trigger;
        (
            argument(trigger, 0).parse::<i32>().unwrap_or_default(),
            (*(*data).tg_relation).rd_id,
        )
    };
    // A truncated partition changes its own range, a truncated table everything.
    let (from, to) = spi::read_row(
        "SELECT l.from_time, l.to_time FROM gemba.rollup_leaves l WHERE l.rollup_id = $1 AND l.leaf = $2",
        &[rollup.into(), table.into()],
        |row| {
            Ok((
                row.get::<TimestampWithTimeZone>(1)?.map_or(i64::MIN, time::micros),
                row.get::<TimestampWithTimeZone>(2)?.map_or(i64::MAX, time::micros),
            ))
        },
    )
    .or_raise()
    .unwrap_or((i64::MIN, i64::MAX));
    remember(rollup, from, to);
    pg_sys::Datum::from(0)
}

/// Tells PostgreSQL which calling convention the functions above use.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_gemba_note_insert() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

/// See above.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_gemba_capture_rows() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

/// See above.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_gemba_capture_truncate() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

/// # Safety
/// `table` is the relation that the trigger is on, and open.
unsafe fn read_arguments(trigger: &pg_sys::Trigger, table: pg_sys::Oid) -> Capture {
    let number = |index| argument(trigger, index).parse::<i64>().unwrap_or_default();
    let step = Step::from_interval(number(2) as i32, number(3) as i32, number(4));
    let name = std::ffi::CString::new(argument(trigger, 1)).unwrap_or_default();
    // SAFETY: a look-up in the system cache; the result is checked.
    let attribute = unsafe { pg_sys::get_attnum(table, name.as_ptr()) };
    let (Ok(step), true) = (step, attribute > 0) else {
        pgrx::ereport!(
            ERROR,
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the rollup's trigger does not fit its table",
            "drop the rollup with gemba.drop_rollup() and create it again"
        );
    };
    Capture {
        rollup: number(0) as i32,
        attribute: i32::from(attribute),
        step,
        zone: time::ServerZone::trusted(&argument(trigger, 5)),
        from: 1,
        to: 0,
    }
}

/// Registers what has to happen at the end of this transaction.
fn arm(memory: &mut Memory) {
    memory.armed = true;
    register_xact_callback(PgXactCallbackEvent::PreCommit, write_and_forget);
    register_xact_callback(PgXactCallbackEvent::PrePrepare, write_and_forget);
    register_xact_callback(PgXactCallbackEvent::Abort, forget);
}

fn forget() {
    MEMORY.take();
}

fn write_and_forget() {
    write(&MEMORY.take().changed);
}

/// Writes what this transaction has changed so far, for a refresh of the rollup within it. It stays in
/// memory and is written again at the commit: this write may still be rolled back with a savepoint.
pub fn write_so_far(rollup: i32) {
    write(&HashMap::from([(rollup, unwritten(rollup))]));
}

/// What this transaction has changed so far, which no table shows yet.
pub fn unwritten(rollup: i32) -> RangeSet {
    MEMORY.with_borrow(|memory| memory.changed.get(&rollup).cloned().unwrap_or_default())
}

/// Appends ranges to `gemba.rollup_changes`, past SPI: the writer needs no right on that table, and
/// during a commit there is no statement to run one in.
fn write(changed: &HashMap<i32, RangeSet>) {
    if changed.values().all(RangeSet::is_empty) {
        return;
    }
    // SAFETY: the relation is opened under the lock that an INSERT takes and closed again; tuples are
    // built for its own descriptor of (int4, timestamptz, timestamptz), all passed by value; it has no
    // indexes to keep (the install script says so).
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"gemba".as_ptr(), true);
        let oid = pg_sys::get_relname_relid(c"rollup_changes".as_ptr(), schema);
        if oid == pg_sys::InvalidOid {
            // The extension was dropped in this very transaction.
            return;
        }
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(oid, lock);
        for (rollup, ranges) in changed {
            for (from, to) in ranges.iter() {
                let mut values = [
                    pg_sys::Datum::from(*rollup),
                    pg_sys::Datum::from(from),
                    pg_sys::Datum::from(to),
                ];
                let mut nulls = [false; 3];
                let tuple = pg_sys::heap_form_tuple(
                    (*relation).rd_att,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                );
                pg_sys::simple_heap_insert(relation, tuple);
                pg_sys::heap_freetuple(tuple);
            }
        }
        pg_sys::table_close(relation, lock);
        pg_sys::CommandCounterIncrement();
    }
}
