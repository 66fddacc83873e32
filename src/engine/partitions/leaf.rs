//! Making and retiring one partition.

use super::set::{Leaf, Set};
use crate::engine::rollups::definition::Rollup;
use crate::engine::{audit, rollups};
use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{backend, lock, role, spi};
use gemba_core::calendar;
use pgrx::prelude::*;

/// Longest name that PostgreSQL keeps.
const NAME_BYTES: usize = 63;

/// Takes the lock under which partitions of the table may be added. It conflicts with itself, so two
/// maintainers take turns, and with no reader or writer.
///
/// # Errors
/// `55P03` when it is not to be had within `gemba.lock_patience`.
pub fn lock_for_attach(set: &Set) -> Result<()> {
    let relation = &set.parent.relation;
    if lock::try_table(
        relation.oid,
        pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE,
    ) {
        return lock_referenced(relation, lock::try_table);
    }
    Err(busy(relation))
}

/// An attach copies the parent's foreign keys, and a detach makes them the leaf's own, for which the
/// referenced tables are locked against writers; that must not wait in line either.
fn lock_referenced(
    parent: &Relation,
    take: fn(pg_sys::Oid, pg_sys::LOCKMODE) -> bool,
) -> Result<()> {
    let referenced = spi::read_all(
        "SELECT DISTINCT confrelid FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND contype = 'f' ORDER BY 1",
        &[parent.oid.into()],
        |row| Ok(row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid)),
    )?;
    for table in referenced {
        if !take(table, pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE) {
            return Err(busy(&Relation::open(table)?));
        }
    }
    Ok(())
}

/// Takes the weakest lock there is, so that the partitions that are there stay until this transaction has
/// written what it wanted them for.
///
/// # Errors
/// `55P03`, as above.
pub fn lock_against_retirement(set: &Set) -> Result<()> {
    let relation = &set.parent.relation;
    if lock::try_table(relation.oid, pg_sys::AccessShareLock as pg_sys::LOCKMODE) {
        return Ok(());
    }
    Err(busy(relation))
}

/// The error of a lock that was not to be had.
pub fn busy(relation: &Relation) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        "the table is locked by another session",
    )
    .detail(format!("table {}", relation.sql()))
    .hint("try again later, or raise gemba.lock_patience")
}

/// Makes and attaches the partition of `[from, to)`; returns its name as SQL writes it.
pub fn create(set: &Set, from: i64, to: i64) -> Result<String> {
    let leaf = build(set, from)?;
    index(set, &leaf)?;
    attach(set, &leaf, from, to)?;
    rollups::leaves::made_empty(set.parent.relation.oid, leaf.oid, from, to)?;
    Ok(leaf.sql())
}

/// Makes the table that will hold the step from `from` on, without indexes of its own, not yet attached:
/// nobody else sees it before the transaction commits, so it can be loaded at full speed.
pub fn build(set: &Set, from: i64) -> Result<Relation> {
    let parent = &set.parent.relation;
    let name = free_name(set, from)?;
    let sql = spi::qualified(&parent.schema, &name);
    role::as_owner(parent.owner, || -> Result<()> {
        // Until it is attached it looks like any other new table.
        backend::as_own_ddl(|| {
            spi::write(
                &format!(
                    "CREATE TABLE {sql} (LIKE {} INCLUDING ALL EXCLUDING IDENTITY EXCLUDING INDEXES)",
                    parent.sql()
                ),
                &[],
            )
        })?;
        // Nobody reads a partition past its parent's policies.
        spi::write(&format!("ALTER TABLE {sql} ENABLE ROW LEVEL SECURITY"), &[])?;
        Ok(())
    })?;
    let oid = spi::read_one::<pg_sys::Oid>("SELECT $1::pg_catalog.regclass::oid", &[sql.into()])?
        .unwrap_or(pg_sys::InvalidOid);
    let leaf = Relation::open(oid)?;
    revoke_default_grants(&leaf)?;
    Ok(leaf)
}

/// Gives the leaf the unique index that its parent cannot have. (The parent's own indexes come with
/// the attach.)
pub fn index(set: &Set, leaf: &Relation) -> Result<()> {
    if set.unique_on.is_empty() {
        return Ok(());
    }
    let columns: Vec<_> = set.unique_on.iter().map(|name| spi::ident(name)).collect();
    // A rollup has one row for the group of NULL.
    let nulls = match Rollup::id_of(set.parent.relation.oid)? {
        Some(_) => " NULLS NOT DISTINCT",
        None => "",
    };
    role::as_owner(leaf.owner, || {
        spi::write(
            &format!(
                "CREATE UNIQUE INDEX ON {} ({}){nulls}",
                leaf.sql(),
                columns.join(", ")
            ),
            &[],
        )
    })?;
    Ok(())
}

/// Attaches the leaf to its parent, with the parent's indexes and triggers.
pub fn attach(set: &Set, leaf: &Relation, from: i64, to: i64) -> Result<()> {
    let parent = &set.parent.relation;
    role::as_owner(parent.owner, || {
        spi::write(
            &format!(
                "ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})",
                parent.sql(),
                leaf.sql(),
                set.bound(from),
                set.bound(to)
            ),
            &[],
        )
    })?;
    audit::triggers::watch_leaf(parent.oid, leaf)?;
    rollups::capture::watch_truncate(parent.oid, leaf)
}

/// ALTER DEFAULT PRIVILEGES (Supabase has some) gives new tables to client roles; not this one.
pub fn revoke_default_grants(leaf: &Relation) -> Result<()> {
    let grantees = spi::read_all(
        "SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'
                              ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)::text) END
           FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) AS a
          WHERE c.oid = $1 AND a.grantee <> c.relowner",
        &[leaf.oid.into()],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )?;
    if grantees.is_empty() {
        return Ok(());
    }
    role::as_owner(leaf.owner, || {
        spi::write(
            &format!("REVOKE ALL ON {} FROM {}", leaf.sql(), grantees.join(", ")),
            &[],
        )
    })?;
    Ok(())
}

/// `<parent>_p20180701`: sorts by time. Names that are cut, or taken, get a suffix.
pub fn free_name(set: &Set, from: i64) -> Result<String> {
    let parent = &set.parent.relation;
    let label = calendar::label(set.step, from, &set.grid);
    for attempt in 0..100 {
        let suffix = match attempt {
            0 => format!("_p{label}"),
            n => format!("_p{label}_{n}"),
        };
        let name = format!(
            "{}{suffix}",
            shorten(&parent.name, NAME_BYTES - suffix.len())
        );
        let taken = spi::read_one::<bool>(
            "SELECT true FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = $1 AND c.relname = $2",
            &[parent.schema.as_str().into(), name.as_str().into()],
        )?;
        if taken.is_none() {
            return Ok(name);
        }
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE,
        "no free name is left for a partition",
    )
    .detail(format!("partition {label} of {}", parent.sql()))
    .hint("drop or rename the tables that look like its partitions"))
}

/// The name cut on a character boundary.
pub fn shorten(name: &str, bytes: usize) -> &str {
    let mut end = name.len().min(bytes);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// Retires a partition as the set says; returns the action taken, or nothing when it was retired already.
///
/// # Errors
/// `55P03` when the locks are not to be had within `gemba.lock_patience`.
///
/// `holding`: this transaction holds such a lock already, so others wait for it and it must not wait.
pub fn retire(set: &Set, leaf: &Leaf, holding: bool) -> Result<Option<&'static str>> {
    let parent = &set.parent.relation;
    let exclusive = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    // A plain DETACH: the concurrent form cannot run in a function. The locks are held for the blink
    // of an eye that the catalog change takes.
    let granted = if holding {
        lock::try_table_once(parent.oid, exclusive) && lock::try_table_once(leaf.oid, exclusive)
    } else {
        lock::try_table(parent.oid, exclusive) && lock::try_table_once(leaf.oid, exclusive)
    };
    if !granted {
        return Err(busy(parent));
    }
    if !set.leaves()?.iter().any(|other| other.oid == leaf.oid) {
        return Ok(None);
    }
    if set.on_expire != "drop" {
        lock_referenced(parent, lock::try_table_once)?;
    }
    // Whoever was still writing when the rollups were refreshed has committed by now.
    rollups::refresh::refresh_source(parent.oid)?;
    let relation = Relation::open(leaf.oid)?;
    role::as_owner(parent.owner, || -> Result<()> {
        if set.on_expire == "drop" {
            spi::write(
                &format!("DROP {} {}", relation.ddl_kind(), relation.sql()),
                &[],
            )?;
        } else {
            spi::write(
                &format!(
                    "ALTER TABLE {} DETACH PARTITION {}",
                    parent.sql(),
                    relation.sql()
                ),
                &[],
            )?;
        }
        Ok(())
    })?;
    match set.on_expire.as_str() {
        "drop" => return Ok(Some("dropped")),
        "archive" => {
            rollups::capture::unwatch_truncate(&relation)?;
            audit::triggers::unwatch_leaf(&relation)?;
            // With the extension's rights: the archive belongs to it, and takes no objects from others.
            let relation = make_name_free_in_archive(&relation)?;
            spi::write(
                &format!(
                    "ALTER {} {} SET SCHEMA gemba_archive",
                    relation.ddl_kind(),
                    relation.sql()
                ),
                &[],
            )?;
            return Ok(Some("archived"));
        }
        _ => {
            rollups::capture::unwatch_truncate(&relation)?;
            audit::triggers::unwatch_leaf(&relation)?;
        }
    }
    Ok(Some("detached"))
}

/// Two tables of one name in different schemas have partitions of one name too, and a month that was archived and
/// made again has the name of the first; so have their indexes (a foreign table has none).
fn make_name_free_in_archive(leaf: &Relation) -> Result<Relation> {
    if let Some(name) = free_in_archive(&leaf.name)? {
        spi::write(
            &format!(
                "ALTER {} {} RENAME TO {}",
                leaf.ddl_kind(),
                leaf.sql(),
                spi::ident(&name)
            ),
            &[],
        )?;
    }
    let indexes = spi::read_all(
        "SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
          WHERE i.indrelid = $1",
        &[leaf.oid.into()],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )?;
    for index in indexes {
        if let Some(name) = free_in_archive(&index)? {
            spi::write(
                &format!(
                    "ALTER INDEX {} RENAME TO {}",
                    spi::qualified(&leaf.schema, &index),
                    spi::ident(&name)
                ),
                &[],
            )?;
        }
    }
    Relation::open(leaf.oid)
}

/// The first name with a number behind it that nothing in the archive has; none where the name itself is free.
fn free_in_archive(name: &str) -> Result<Option<String>> {
    let taken = |name: &str| {
        spi::read_one::<bool>(
            "SELECT true FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = 'gemba_archive' AND c.relname = $1",
            &[name.into()],
        )
        .map(|found| found.is_some())
    };
    let mut number = 0;
    let mut free = name.to_owned();
    while taken(&free)? {
        number += 1;
        let suffix = format!("_{number}");
        free = format!("{}{suffix}", shorten(name, NAME_BYTES - suffix.len()));
    }
    Ok((number > 0).then_some(free))
}
