//! The SQL functions that put a table under audit.

use super::log::Log;
use super::options::Options;
use super::{LOG, place, triggers};
use crate::error::{Error, Result};
use crate::postgres::json::JsonText;
use crate::postgres::names::Names;
use crate::postgres::relation::{self, Relation};
use crate::postgres::{role, spi};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Schemas whose tables nobody writes to but the server and the engine.
const NOT_AUDITED: [&str; 5] = [
    "pg_catalog",
    "information_schema",
    "pg_toast",
    "gemba",
    "gemba_internal",
];

/// The trail's own tables.
const OWN: [&str; 2] = ["audit_seals", "data_access"];

#[pg_extern(sql = r#"
CREATE FUNCTION gemba."audit"("target" regclass, VARIADIC "exclude" name[] DEFAULT '{}') RETURNS bool
  VOLATILE PARALLEL UNSAFE SET search_path TO pg_catalog, pg_temp
  LANGUAGE c AS 'MODULE_PATHNAME', 'audit_wrapper';
"#)]
fn audit(target: Option<pg_sys::Oid>, exclude: Option<Names>) -> Result<bool, ErrorReport> {
    let table = auditable(target)?;
    let exclude = exclude.unwrap_or_default();
    check_columns(&table, &exclude)?;
    Ok(change(&table, |options| {
        let mut options = options.unwrap_or_default();
        options.mask.retain(|name| !exclude.0.contains(name));
        options.exclude = sorted(exclude.0);
        Ok(options)
    })?)
}

#[pg_extern(sql = r#"
CREATE FUNCTION gemba."audit_options"("target" regclass, "mask" name[] DEFAULT NULL, "full_rows" bool DEFAULT NULL) RETURNS bool
  VOLATILE PARALLEL UNSAFE SET search_path TO pg_catalog, pg_temp
  LANGUAGE c AS 'MODULE_PATHNAME', 'audit_options_wrapper';
"#)]
fn audit_options(
    target: Option<pg_sys::Oid>,
    mask: Option<Names>,
    full_rows: Option<bool>,
) -> Result<bool, ErrorReport> {
    let table = auditable(target)?;
    if let Some(mask) = &mask {
        check_columns(&table, mask)?;
    }
    Ok(change(&table, |options| {
        let Some(mut options) = options else {
            return Err(Error::state("the table is not audited")
                .detail(format!("table {}", table.sql()))
                .hint("call gemba.audit() for it first"));
        };
        if let Some(Names(mask)) = mask {
            if let Some(name) = mask.iter().find(|name| options.exclude.contains(name)) {
                return Err(
                    Error::invalid("a column cannot be both excluded and masked")
                        .detail(format!("column {name:?} of table {}", table.sql()))
                        .hint("call gemba.audit() with the columns that stay excluded first"),
                );
            }
            options.mask = sorted(mask);
        }
        options.full_rows = full_rows.unwrap_or(options.full_rows);
        Ok(options)
    })?)
}

#[pg_extern(sql = r#"
CREATE FUNCTION gemba."unaudit"("target" regclass) RETURNS bool
  VOLATILE PARALLEL UNSAFE SET search_path TO pg_catalog, pg_temp
  LANGUAGE c AS 'MODULE_PATHNAME', 'unaudit_wrapper';
"#)]
fn unaudit(target: Option<pg_sys::Oid>) -> Result<bool, ErrorReport> {
    let table = Relation::open(relation::given(target)?)?;
    role::require_owner(&table)?;
    refuse_partition(&table)?;
    Ok(role::as_extension(|| {
        let options = triggers::options(table.oid)?;
        if !triggers::unwatch(&table)? {
            return Ok(false);
        }
        note(&table, "UNAUDIT", &options.unwrap_or_default());
        Ok(true)
    })?)
}

/// The table, which the caller owns and which can be audited.
fn auditable(target: Option<pg_sys::Oid>) -> Result<Relation> {
    let table = Relation::open(relation::given(target)?)?;
    role::require_owner(&table)?;
    if !matches!(table.kind, 'r' | 'p') {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            "only tables can be audited",
        )
        .detail(format!("{} is something else", table.sql()))
        .hint("name an ordinary or partitioned table"));
    }
    let log = place::log()?;
    let trails_own = table.oid == log
        || OWN.contains(&table.name.as_str()) && table.schema.as_bytes() == LOG.0.to_bytes();
    if trails_own || NOT_AUDITED.contains(&table.schema.as_str()) {
        return Err(Error::invalid("this table cannot be audited")
            .detail(format!("table {}", table.sql()))
            .hint("the audit trail, the engine's catalog and the server's own tables are not"));
    }
    refuse_partition(&table)?;
    refuse_foreign_partitions(&table)?;
    refuse_relatives(&table)?;
    Ok(table)
}

/// No table of changed rows can be had of a foreign one, and without those nothing could be written.
fn refuse_foreign_partitions(table: &Relation) -> Result<()> {
    let foreign = spi::read_one::<pg_sys::Oid>(
        "SELECT c.oid FROM pg_catalog.pg_partition_tree($1) p JOIN pg_catalog.pg_class c ON c.oid = p.relid
          WHERE c.relkind = 'f' ORDER BY p.level, c.oid LIMIT 1",
        &[table.oid.into()],
    )?;
    let Some(foreign) = foreign else {
        return Ok(());
    };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        "a table with foreign partitions cannot be audited",
    )
    .detail(format!(
        "{} is a foreign partition of {}",
        Relation::open(foreign)?.sql(),
        table.sql()
    ))
    .hint("detach the foreign partition first"))
}

/// A statement on a table fires no trigger of those that inherit from it, but changes their rows.
fn refuse_relatives(table: &Relation) -> Result<()> {
    let relative = spi::read_row(
        "SELECT i.inhparent = $1, CASE WHEN i.inhparent = $1 THEN i.inhrelid ELSE i.inhparent END
           FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
          WHERE $1 IN (i.inhparent, i.inhrelid) AND NOT c.relispartition AND c.relkind IN ('r', 'f')
          ORDER BY 1, 2 LIMIT 1",
        &[table.oid.into()],
        |row| {
            Ok((
                row.get::<bool>(1)?.unwrap_or_default(),
                row.get::<pg_sys::Oid>(2)?.unwrap_or(pg_sys::InvalidOid),
            ))
        },
    )?;
    let Some((is_parent, other)) = relative else {
        return Ok(());
    };
    let (name, other) = (table.sql(), Relation::open(other)?.sql());
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "a table with inheritance cannot be audited",
    )
    .detail(if is_parent {
        format!("{other} inherits from {name}")
    } else {
        format!("{name} inherits from {other}")
    })
    .hint("use partitions instead, or end it with ALTER TABLE ... NO INHERIT"))
}

fn refuse_partition(table: &Relation) -> Result<()> {
    let parent = spi::read_one::<pg_sys::Oid>(
        "SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
          WHERE i.inhrelid = $1 AND c.relispartition",
        &[table.oid.into()],
    )?;
    let Some(parent) = parent else {
        return Ok(());
    };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        "a partition is audited as a part of its table",
    )
    .detail(format!(
        "{} is a partition of {}",
        table.sql(),
        Relation::open(parent)?.sql()
    ))
    .hint("name the table that it is a partition of"))
}

/// Refuses columns that are not there, and those that every entry has in its record_id.
fn check_columns(table: &Relation, Names(names): &Names) -> Result<()> {
    for name in names {
        table.column(name)?;
        let in_key = spi::read_one::<bool>(
            "SELECT true FROM pg_catalog.pg_index i
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
              WHERE i.indrelid = $1 AND i.indisprimary AND a.attname = $2::name",
            &[table.oid.into(), name.as_str().into()],
        )?;
        if in_key.is_some() {
            return Err(Error::invalid(
                "a column of the primary key cannot be kept out of the log",
            )
            .detail(format!("column {name:?} of table {}", table.sql()))
            .hint("every entry names its row by the primary key"));
        }
    }
    Ok(())
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

/// Lets the table be logged with other options; returns whether that is something new.
fn change(
    table: &Relation,
    options: impl FnOnce(Option<Options>) -> Result<Options>,
) -> Result<bool> {
    role::as_extension(|| {
        let options = options(triggers::options(table.oid)?)?;
        // Renamed, a table has a trail that does not say when it began.
        if !triggers::watch(table, &options)? && is_marked(table)? {
            return Ok(false);
        }
        note(table, "AUDIT", &options);
        Ok(true)
    })
}

/// Does the log say, under the table's name, that it is audited?
fn is_marked(table: &Relation) -> Result<bool> {
    let last = spi::read_one::<String>(
        "SELECT l.operation::text FROM cloudwatcher.audit_logs l
          WHERE l.table_name = $1 AND l.record_id IS NULL AND l.operation IN ('AUDIT', 'UNAUDIT')
          ORDER BY l.id DESC LIMIT 1",
        &[table.sql().into()],
    )?;
    Ok(last.as_deref() == Some("AUDIT"))
}

/// An entry about the trail itself.
fn note(table: &Relation, operation: &str, options: &Options) {
    let mut log = Log::open(&table.sql(), operation, 1);
    let values = log.in_batch_memory(|| JsonText(options.text()).into_datum());
    log.add(None, None, values, 0);
    log.finish();
}
