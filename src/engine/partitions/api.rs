//! The SQL functions of partition management.

use super::leaf;
use super::set::{KeyType, Leaf, Parent, Set};
use crate::engine::history::compress;
use crate::engine::history::fold;
use crate::engine::history::policy::Policy;
use crate::engine::rollups;
use crate::engine::rollups::definition::Rollup;
use crate::error::{Error, OrRaise, Result};
use crate::postgres::relation::{self, Relation};
use crate::postgres::subtransaction::{self, Failure};
use crate::postgres::{role, spi, time};
use gemba_core::calendar::Step;
use pgrx::PgRelation;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// More would hardly be meant, and would take hours to make.
const MOST_AHEAD: i32 = 10_000;

/// One thing that a call did, or could not do.
struct Action {
    parent: String,
    partition: Option<String>,
    action: &'static str,
    detail: Option<String>,
}

type ActionRow = (String, Option<String>, String, Option<String>);

fn rows(actions: Vec<Action>) -> impl Iterator<Item = ActionRow> {
    actions
        .into_iter()
        .map(|a| (a.parent, a.partition, a.action.to_owned(), a.detail))
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn manage_partitions(
    parent: PgRelation,
    step: Interval,
    premake: default!(i32, "4"),
    retain: default!(Option<Interval>, "NULL"),
    on_expire: default!(&str, "'detach'"),
    time_zone: default!(&str, "'UTC'"),
    unique_on: default!(Option<Vec<String>>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(parent, String),
            name!(partition, Option<String>),
            name!(action, String),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let parent = Parent::open(relation::oid(parent))?;
    role::require_owner(&parent.relation)?;
    time::step(&step)?;
    if !(0..=MOST_AHEAD).contains(&premake) {
        return Err(Error::invalid("premake is out of its range")
            .detail(format!("premake {premake}"))
            .hint(format!("give the number of partitions to make ahead, from 0 (only the present one) to {MOST_AHEAD}"))
            .into());
    }
    if !["drop", "detach", "archive"].contains(&on_expire) {
        return Err(Error::invalid("on_expire is not one of its values")
            .detail(format!("on_expire {on_expire:?}"))
            .hint("use 'drop', 'detach' or 'archive'")
            .into());
    }
    if let Some(retain) = &retain
        && (retain.months() < 0 || retain.days() < 0 || retain.micros() < 0)
    {
        return Err(Error::invalid("retain must not be negative")
            .detail(format!("retain {}", time::interval_text(retain)))
            .hint("give the age after which a partition is retired, or NULL to keep all")
            .into());
    }
    for column in unique_on.iter().flatten() {
        parent.relation.column(column)?;
    }
    time::ServerZone::named(time_zone)?;
    check_key(&parent, time::step(&step)?)?;
    refuse_wide_rollups(&parent, time::step(&step)?)?;
    let mut unique_on = unique_on;
    if let Some(rollup) = rollups::table::rollup_in(&parent.relation)? {
        let zone = time::ServerZone::named(time_zone)?;
        rollups::definition::refuse_cut_buckets(
            &rollup.table.sql(),
            (rollup.step, &rollup.zone),
            (time::step(&step)?, &zone),
        )?;
        unique_on.get_or_insert_with(|| rollups::table::key(&rollup));
    }
    let actions = role::as_extension(|| {
        manage(
            &parent,
            &step,
            premake,
            retain.as_ref(),
            on_expire,
            time_zone,
            unique_on,
        )
    })?;
    Ok(TableIterator::new(rows(actions)))
}

/// Has the partitions of a rollup's own table kept, for ever and one ahead: a refresh makes what it needs.
pub fn keep(
    table: pg_sys::Oid,
    step: &Interval,
    time_zone: &str,
    unique_on: Vec<String>,
) -> Result<()> {
    let parent = Parent::open(table)?;
    manage(&parent, step, 1, None, "detach", time_zone, Some(unique_on)).map(drop)
}

fn manage(
    parent: &Parent,
    step: &Interval,
    premake: i32,
    retain: Option<&Interval>,
    on_expire: &str,
    time_zone: &str,
    unique_on: Option<Vec<String>>,
) -> Result<Vec<Action>> {
    spi::write(
        "INSERT INTO gemba.partition_sets (parent, step, premake, retain, on_expire, time_zone, unique_on)
         VALUES ($1, $2, $3, $4, $5, $6, $7::name[])
         ON CONFLICT (parent) DO UPDATE SET step = excluded.step, premake = excluded.premake,
           retain = excluded.retain, on_expire = excluded.on_expire,
           time_zone = excluded.time_zone, unique_on = excluded.unique_on",
        &[
            parent.relation.oid.into(),
            (*step).into(),
            premake.into(),
            retain.copied().into(),
            on_expire.into(),
            time_zone.into(),
            unique_on.into(),
        ],
        )?;
    make_ahead(&Set::of(parent.relation.oid)?)
}

fn check_key(parent: &Parent, step: Step) -> Result<()> {
    if parent.key == KeyType::Date && matches!(step, Step::Fixed(_)) {
        return Err(Error::invalid("a date cannot be cut into parts of a day")
            .detail(format!("table {}", parent.relation.sql()))
            .hint("use a step of whole days, or a key of type timestamptz"));
    }
    Ok(())
}

/// A rollup of buckets wider than a partition would lose part of a bucket with each partition that is
/// retired.
fn refuse_wide_rollups(parent: &Parent, step: Step) -> Result<()> {
    for id in role::as_extension(|| rollups::capture::rollups_on(parent.relation.oid))? {
        let rollup = role::as_extension(|| Rollup::by_id(id))?;
        rollups::definition::refuse_wider_than(&rollup.table.sql(), rollup.step, step)?;
    }
    Ok(())
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn unmanage_partitions(parent: PgRelation) -> Result<bool, ErrorReport> {
    let relation = Relation::open(relation::oid(parent))?;
    role::require_owner(&relation)?;
    let removed = role::as_extension(|| {
        spi::write(
            "DELETE FROM gemba.partition_sets WHERE parent = $1",
            &[relation.oid.into()],
        )
    })?;
    Ok(removed > 0)
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn ensure_partitions(
    parent: PgRelation,
    from_ts: TimestampWithTimeZone,
    to_ts: TimestampWithTimeZone,
) -> Result<
    TableIterator<
        'static,
        (
            name!(parent, String),
            name!(partition, Option<String>),
            name!(action, String),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let parent = relation::oid(parent);
    role::require_owner(&Relation::open(parent)?)?;
    let set = role::as_extension(|| Set::of(parent))?;
    let (from, to) = (time::micros(from_ts), time::micros(to_ts));
    if from == i64::MIN || to == i64::MAX {
        return Err(Error::invalid("the range must be finite")
            .detail(format!("table {}", set.parent.relation.sql()))
            .hint("give two instants")
            .into());
    }
    if from >= to {
        return Err(Error::invalid("from_ts must be before to_ts")
            .detail(format!(
                "from {} to {}",
                time::instant_text(from),
                time::instant_text(to)
            ))
            .hint("the range is half-open: to_ts is the first instant that is not needed")
            .into());
    }
    Ok(TableIterator::new(rows(role::as_extension(|| {
        ensure_kept(&set, from, to)
    })?)))
}

/// Makes the partitions that are missing, and holds off the retirement of those that are there until the
/// transaction ends.
fn ensure_kept(set: &Set, from: i64, to: i64) -> Result<Vec<Action>> {
    leaf::lock_against_retirement(set)?;
    ensure(set, set.on_grid(from), set.on_grid(to))
}

/// The same for a room's own writes, with the rights of the extension.
pub fn ensure_written(set: &Set, from: i64, to: i64) -> Result<()> {
    ensure_kept(set, from, to).map(drop)
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn maintain_partitions() -> Result<
    TableIterator<
        'static,
        (
            name!(parent, String),
            name!(partition, Option<String>),
            name!(action, String),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let sets = Set::all()?;
    let mut actions = Vec::new();
    // All of tomorrow's partitions before any of yesterday's are touched: a retirement that fails
    // must never cost an insert.
    for set in &sets {
        attempt(*set, &mut actions, make_ahead);
    }
    // What the rollups have not read yet would be lost with the rows. All of that, which may take a
    // while, before the first strong lock is taken, which everybody would wait for.
    let mut ready = Vec::new();
    for set in &sets {
        let before = actions.len();
        attempt(*set, &mut actions, |set| {
            if !expired(set)?.is_empty() {
                // Otherwise the last refresh before a partition goes could not see what was committed since.
                role::require_current_snapshots("partitions cannot be maintained")?;
                rollups::refresh::refresh_source(set.parent.relation.oid)?;
            }
            Ok(Vec::new())
        });
        if actions.len() == before {
            ready.push(*set);
        }
    }
    // The long part of compressing, which nobody waits for, also before those locks.
    let prepared = prepare_closed(&sets, &mut actions);
    for set in ready {
        // Patience is for the first lock only: whoever waits while holding one makes others wait.
        let holding = actions
            .iter()
            .any(|action| RETIRED.contains(&action.action));
        attempt(set, &mut actions, |set| retire_expired(set, holding));
    }
    for (set, prepared) in prepared {
        let replacement = prepared.replacement();
        let before = actions.len();
        attempt(set, &mut actions, |set| replace_closed(set, prepared));
        // What was prepared would otherwise stay beside the partition for ever.
        if !actions[before..]
            .iter()
            .any(|action| action.action == COMPRESSED)
        {
            attempt(set, &mut actions, |_| {
                compress::discard(replacement)?;
                Ok(Vec::new())
            });
        }
    }
    // Last, as writers of those partitions wait from then on until all this is committed.
    for set in sets {
        attempt(set, &mut actions, fold_late);
    }
    Ok(TableIterator::new(rows(actions)))
}

/// Months that one run compresses of a table. A backlog is worked off by several, each of which lets go of its locks.
const MOST_COMPRESSED: usize = 12;

/// Writes the segments of what is closed and will not be retired at once.
fn prepare_closed(
    sets: &[pg_sys::Oid],
    actions: &mut Vec<Action>,
) -> Vec<(pg_sys::Oid, compress::Prepared)> {
    let mut prepared = Vec::new();
    for set in sets {
        let mut closed = Vec::new();
        attempt(*set, actions, |set| {
            if let Some(policy) = Policy::find(set.parent.relation.oid)? {
                role::require_current_snapshots("partitions cannot be maintained")?;
                let horizon = horizon(set)?.unwrap_or(i64::MIN);
                closed = policy.closed(set)?;
                closed.retain(|leaf| leaf.to > horizon);
                closed.truncate(MOST_COMPRESSED);
            }
            Ok(Vec::new())
        });
        for leaf in closed {
            attempt(*set, actions, |set| {
                let policy = Policy::of(&set.parent.relation)?;
                prepared.push((
                    set.parent.relation.oid,
                    compress::prepare(set, &leaf, &policy)?,
                ));
                Ok(Vec::new())
            });
        }
    }
    prepared
}

fn replace_closed(set: &Set, prepared: compress::Prepared) -> Result<Vec<Action>> {
    let partition = prepared.partition();
    let before = prepared.bytes()?;
    let done = compress::finish(set, prepared)?;
    Ok(vec![Action {
        parent: set.parent.relation.sql(),
        partition: Some(partition),
        action: COMPRESSED,
        detail: Some(format!(
            "{} rows, from {before} bytes to {}",
            done.rows, done.bytes
        )),
    }])
}

/// Puts late rows into segments, where no writer is in the way.
fn fold_late(set: &Set) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    for leaf in set.leaves()? {
        let partition = Relation::open(leaf.oid)?;
        if partition.kind != 'f' || !fold::has_late(&partition)? {
            continue;
        }
        if let Some(folded) = fold::partition(set, &partition)? {
            actions.push(Action {
                parent: set.parent.relation.sql(),
                partition: Some(partition.sql()),
                action: "folded",
                detail: Some(format!(
                    "{} late rows, {} segments written",
                    folded.rows, folded.segments
                )),
            });
        }
    }
    Ok(actions)
}

/// Runs one set's work in a sub-transaction; a failure becomes a row and spares the other sets.
fn attempt(
    parent: pg_sys::Oid,
    actions: &mut Vec<Action>,
    work: impl FnOnce(&Set) -> Result<Vec<Action>>,
) {
    let outcome = subtransaction::run(|| {
        Set::find(parent)
            .and_then(|set| set.map_or(Ok(Vec::new()), |set| work(&set)))
            .or_raise()
    });
    match outcome {
        Ok(done) => actions.extend(done),
        Err(failure) => actions.push(failed(parent, None, &failure)),
    }
}

fn failed(parent: pg_sys::Oid, partition: Option<String>, failure: &Failure) -> Action {
    Action {
        parent: Relation::find(parent)
            .ok()
            .flatten()
            .map_or_else(|| parent.to_u32().to_string(), |relation| relation.sql()),
        partition,
        // A lock that was not to be had is nobody's fault; the next run tries again.
        action: if failure.lock_not_available {
            "deferred"
        } else {
            "failed"
        },
        detail: Some(match &failure.detail {
            Some(detail) => format!("{}: {detail}", failure.message),
            None => failure.message.clone(),
        }),
    }
}

fn make_ahead(set: &Set) -> Result<Vec<Action>> {
    let now = set.on_grid(time::transaction_start());
    let mut until = set.next(now);
    for _ in 0..set.premake {
        until = set.next(until);
    }
    ensure(set, now, until)
}

fn ensure(set: &Set, from: i64, to: i64) -> Result<Vec<Action>> {
    if set.gaps(from, to)?.is_empty() {
        return Ok(Vec::new());
    }
    leaf::lock_for_attach(set)?;
    // Somebody may have filled the gaps while we waited for the lock.
    let gaps = set.gaps(from, to)?;
    refuse_too_many(set, gaps.len())?;
    let mut actions = Vec::with_capacity(gaps.len());
    for (done, (from, to)) in gaps.iter().enumerate() {
        pgrx::check_for_interrupts!();
        if done > 0 && done % 1_000 == 0 {
            notice!("gemba: {done} of {} partitions made", gaps.len());
        }
        actions.push(Action {
            parent: set.parent.relation.sql(),
            partition: Some(leaf::create(set, *from, *to)?),
            action: "created",
            detail: Some(format!(
                "from {} to {}",
                time::instant_text(*from),
                time::instant_text(*to)
            )),
        });
    }
    Ok(actions)
}

/// Every new table and index holds a lock until the transaction ends. Better an error now, with the
/// number that would do, than "out of shared memory" after minutes of work.
fn refuse_too_many(set: &Set, partitions: usize) -> Result<()> {
    let (slots, indexes) = spi::read_row(
        "SELECT pg_catalog.current_setting('max_locks_per_transaction')::bigint
                * (pg_catalog.current_setting('max_connections')::bigint
                   + pg_catalog.current_setting('max_prepared_transactions')::bigint),
                (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index WHERE indrelid = $1)",
        &[set.parent.relation.oid.into()],
        |row| {
            Ok((
                row.get::<i64>(1)?.unwrap_or(0),
                row.get::<i64>(2)?.unwrap_or(0),
            ))
        },
    )?
    .unwrap_or((0, 0));
    // Table, TOAST table and its index, the parent's indexes, the unique one.
    let each = 3 + indexes + i64::from(!set.unique_on.is_empty());
    let fit = (slots / each).max(1);
    if partitions as i64 <= fit {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        "so many partitions do not fit into one transaction's locks",
    )
    .detail(format!(
        "{partitions} partitions need about {} locks, the server has {slots}",
        partitions as i64 * each
    ))
    .hint(format!(
        "call ensure_partitions for at most {fit} partitions at a time, or raise max_locks_per_transaction"
    )))
}

/// What a compression is called in the result.
const COMPRESSED: &str = "compressed";

/// What a retirement is called in the result.
const RETIRED: [&str; 3] = ["dropped", "detached", "archived"];

/// Partitions that end at this time or before are past what the set retains: they are retired, or about
/// to be. None when it retains everything.
pub fn horizon(set: &Set) -> Result<Option<i64>> {
    let Some(retain) = set.retain else {
        return Ok(None);
    };
    let kept_from = spi::read_one::<TimestampWithTimeZone>(
        "SELECT (pg_catalog.now() AT TIME ZONE $1 - $2) AT TIME ZONE $1",
        &[set.zone.name().into(), retain.into()],
    )?;
    Ok(kept_from.map(|at| set.on_grid(time::micros(at))))
}

/// The partitions that ended longer ago than the set retains.
fn expired(set: &Set) -> Result<Vec<Leaf>> {
    let Some(horizon) = horizon(set)? else {
        return Ok(Vec::new());
    };
    Ok(set
        .leaves()?
        .into_iter()
        .filter(|leaf| leaf.to <= horizon)
        .collect())
}

fn retire_expired(set: &Set, holding: bool) -> Result<Vec<Action>> {
    let mut holding = holding;
    let mut actions = Vec::new();
    for old in &expired(set)? {
        let Some(relation) = Relation::find(old.oid)? else {
            continue; // another maintainer was faster
        };
        let name = relation.sql();
        let outcome = subtransaction::run(|| leaf::retire(set, old, holding).or_raise());
        match outcome {
            Ok(None) => {}
            Ok(Some(action)) => {
                holding = true;
                actions.push(Action {
                    parent: set.parent.relation.sql(),
                    partition: Some(name),
                    action,
                    detail: None,
                });
            }
            Err(failure) => {
                actions.push(failed(set.parent.relation.oid, Some(name), &failure));
                if failure.lock_not_available {
                    // Its other partitions hang on the same lock.
                    break;
                }
            }
        }
    }
    Ok(actions)
}
