//! The table that a rollup is kept in.

use super::definition::Rollup;
use crate::engine::partitions;
use crate::error::Result;
use crate::postgres::relation::Relation;
use crate::postgres::spi::{self, ident, literal};
use crate::postgres::{backend, role, time};
use pgrx::datum::Interval;

/// Makes the table, as the owner of the source.
pub fn create(rollup: &Rollup, table: &str, schema: &str, partitioned: bool) -> Result<()> {
    if partitioned {
        // CREATE TABLE … AS makes ordinary tables only; one of them lends its columns.
        let pattern = spi::qualified(schema, &format!("gemba_rollup_{}_columns", rollup.id));
        backend::as_own_ddl(|| create_ordinary(rollup, &pattern))?;
        spi::write(
            &format!(
                "CREATE TABLE {table} (LIKE {pattern} INCLUDING GENERATED) PARTITION BY RANGE (bucket)"
            ),
            &[],
        )?;
        spi::write(
            &format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"),
            &[],
        )?;
        backend::as_own_ddl(|| spi::write(&format!("DROP TABLE {pattern}"), &[]))?;
    } else {
        create_ordinary(rollup, table)?;
        spi::write(
            &format!(
                "CREATE UNIQUE INDEX ON {table} ({}) NULLS NOT DISTINCT",
                key(rollup)
                    .iter()
                    .map(|name| ident(name))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            &[],
        )?;
    }
    if !rollup.group_by.is_empty() {
        // A refresh, and a chart over everything, go by time alone.
        spi::write(&format!("CREATE INDEX ON {table} (bucket)"), &[])?;
    }
    let comment = format!(
        "aggregates of {} by {}, kept by gemba.refresh_rollup()",
        rollup.source.sql(),
        time::interval_text(&rollup.bucket)
    );
    spi::write(
        &format!("COMMENT ON TABLE {table} IS {}", literal(&comment)),
        &[],
    )?;
    Ok(())
}

/// Has the table's partitions managed, each of them unique by the rollup's key: the table itself has no
/// such index, which would shut out foreign-table partitions.
pub fn manage(rollup: &Rollup, step: &Interval) -> Result<()> {
    partitions::keep(rollup.table.oid, step, rollup.zone.name(), key(rollup))
}

/// What is unique in a rollup: in the order in which a chart of one group reads it.
pub fn key(rollup: &Rollup) -> Vec<String> {
    let mut key = rollup.group_by.clone();
    key.push("bucket".to_owned());
    key
}

fn create_ordinary(rollup: &Rollup, table: &str) -> Result<()> {
    let select = rollup.select(&rollup.source.sql(), "'-infinity'", "'-infinity'");
    spi::write(
        &format!("CREATE TABLE {table} AS {select} WITH NO DATA"),
        &[],
    )?;
    let mut changes = vec![
        "ALTER COLUMN bucket SET NOT NULL".to_owned(),
        "ENABLE ROW LEVEL SECURITY".to_owned(),
    ];
    for name in &rollup.group_by {
        if rollup.source.column(name)?.not_null {
            changes.push(format!("ALTER COLUMN {} SET NOT NULL", ident(name)));
        }
    }
    for (name, expression) in rollup.derived() {
        let generated = format!("GENERATED ALWAYS AS ({expression}) STORED");
        // The type follows from the expression; asking the server needs the states to exist.
        let type_name = spi::read_one::<String>(
            &format!(
                "SELECT pg_catalog.format_type(pg_catalog.pg_typeof(max({expression})), NULL) FROM {table}"
            ),
            &[],
        )?
        .unwrap_or_else(|| "numeric".into());
        changes.push(format!(
            "ADD COLUMN {} {type_name} {generated}",
            ident(&name)
        ));
    }
    spi::write(&format!("ALTER TABLE {table} {}", changes.join(", ")), &[])?;
    Ok(())
}

/// The rollup that is kept in this table, if one is.
pub fn rollup_in(table: &Relation) -> Result<Option<Rollup>> {
    role::as_extension(|| Rollup::id_of(table.oid)?.map(Rollup::by_id).transpose())
}
