//! The triggers that make an audited table one. A statement on a partition fires only that partition's own, so
//! each partition has them too.

use super::options::Options;
use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::spi::{self, ident, literal};
use pgrx::{PgSqlErrorCode, pg_sys};

/// Name, when it fires, and what it wants to see.
const TRIGGERS: [(&str, &str); 4] = [
    (
        "gemba_audit_insert",
        "AFTER INSERT ON {} REFERENCING NEW TABLE AS new_rows",
    ),
    (
        "gemba_audit_update",
        "AFTER UPDATE ON {} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    ),
    (
        "gemba_audit_delete",
        "AFTER DELETE ON {} REFERENCING OLD TABLE AS old_rows",
    ),
    ("gemba_audit_truncate", "AFTER TRUNCATE ON {}"),
];

/// The triggers that a table has of them: those that are on, and those that are not.
const OF_TABLE: &str = "SELECT t.tgname::text, t.tgenabled = ANY ('{O,A}'::\"char\"[]),
          pg_catalog.convert_from(pg_catalog.substr(t.tgargs, 1, pg_catalog.octet_length(t.tgargs) - 1), 'UTF8')
     FROM pg_catalog.pg_trigger t
     JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = $1 AND p.proname = 'audit_rows'
      AND p.pronamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'gemba_internal')";

struct Found {
    name: String,
    on: bool,
    options: String,
}

fn of(table: pg_sys::Oid) -> Result<Vec<Found>> {
    spi::read_all(OF_TABLE, &[table.into()], |row| {
        Ok(Found {
            name: row.get::<String>(1)?.unwrap_or_default(),
            on: row.get::<bool>(2)?.unwrap_or(false),
            options: row.get::<String>(3)?.unwrap_or_default(),
        })
    })
}

/// What is logged of a table; nothing where it is not audited.
pub fn options(table: pg_sys::Oid) -> Result<Option<Options>> {
    Ok(of(table)?
        .iter()
        .find_map(|found| Options::read(&found.options)))
}

/// The table and its partitions, those that can have such triggers.
fn tables(root: &Relation) -> Result<Vec<Relation>> {
    let partitions = spi::read_all(
        "SELECT c.oid FROM pg_catalog.pg_partition_tree($1) p JOIN pg_catalog.pg_class c ON c.oid = p.relid
          WHERE c.relkind = ANY ('{r,p}'::\"char\"[]) AND c.oid <> $1 ORDER BY p.level, c.oid",
        &[root.oid.into()],
        |row| Ok(row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid)),
    )?;
    let mut tables = vec![root.clone()];
    for partition in partitions {
        tables.push(Relation::open(partition)?);
    }
    Ok(tables)
}

/// Puts the triggers on a table and its partitions; returns whether anything was not so already.
pub fn watch(root: &Relation, options: &Options) -> Result<bool> {
    let mut changed = false;
    for table in tables(root)? {
        changed |= put(&table, options)?;
    }
    Ok(changed)
}

fn put(table: &Relation, options: &Options) -> Result<bool> {
    let found = of(table.oid)?;
    let argument = options.text();
    let mut changed = false;
    // One that was renamed would log everything twice.
    for other in &found {
        if TRIGGERS.iter().all(|(name, _)| *name != other.name) {
            drop(table, &other.name)?;
            changed = true;
        }
    }
    for (name, fires) in TRIGGERS {
        // Making it takes a lock that writers hold; so not again.
        if found
            .iter()
            .any(|found| found.name == name && found.on && found.options == argument)
        {
            continue;
        }
        if found.iter().all(|found| found.name != name) {
            refuse_other(table, name)?;
        }
        spi::write(
            &format!(
                "CREATE OR REPLACE TRIGGER {} {} FOR EACH STATEMENT EXECUTE FUNCTION gemba_internal.audit_rows({})",
                ident(name),
                fires.replace("{}", &table.sql()),
                literal(&argument)
            ),
            &[],
        )?;
        changed = true;
    }
    Ok(changed)
}

/// Takes them away; returns whether there were any.
pub fn unwatch(root: &Relation) -> Result<bool> {
    let mut changed = false;
    for table in tables(root)? {
        changed |= unwatch_leaf(&table)?;
    }
    Ok(changed)
}

/// A new partition of an audited table. (Foreign tables have no triggers that see all rows of a statement.)
pub fn watch_leaf(parent: pg_sys::Oid, leaf: &Relation) -> Result<()> {
    if leaf.kind == 'f' {
        return Ok(());
    }
    if let Some(options) = options(parent)? {
        watch(leaf, &options)?;
    }
    Ok(())
}

/// A partition that leaves its table.
pub fn unwatch_leaf(table: &Relation) -> Result<bool> {
    let found = of(table.oid)?;
    for trigger in &found {
        drop(table, &trigger.name)?;
    }
    Ok(!found.is_empty())
}

fn drop(table: &Relation, name: &str) -> Result<()> {
    spi::write(
        &format!("DROP TRIGGER {} ON {}", ident(name), table.sql()),
        &[],
    )?;
    Ok(())
}

/// Somebody's own trigger of this name is not replaced.
fn refuse_other(table: &Relation, name: &str) -> Result<()> {
    let there = spi::read_one::<bool>(
        "SELECT true FROM pg_catalog.pg_trigger t WHERE t.tgrelid = $1 AND t.tgname = $2::name",
        &[table.oid.into(), name.into()],
    )?;
    match there {
        None => Ok(()),
        Some(_) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            "the table has a trigger of this name already",
        )
        .detail(format!("trigger {name:?} of table {}", table.sql()))
        .hint("rename that trigger, and call gemba.audit() again")),
    }
}
