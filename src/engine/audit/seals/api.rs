//! The SQL functions of seals.

use super::verify::{self, Bounds, Known};
use super::{chain, require_tables, sealing};
use crate::postgres::time;
use gemba_core::seal::{entries, hex};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(schema = "gemba", volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn seal_audit() -> Result<
    TableIterator<'static, (name!(seal, i64), name!(row_count, i64), name!(head, String))>,
    ErrorReport,
> {
    let made = sealing::seal()?;
    Ok(TableIterator::new(
        made.into_iter()
            .map(|made| (made.seal, made.rows, hex(&made.hash))),
    ))
}

#[pg_extern(schema = "gemba", stable, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn audit_head() -> Result<
    TableIterator<
        'static,
        (
            name!(seal, i64),
            name!(hash, String),
            name!(sealed_at, TimestampWithTimeZone),
        ),
    >,
    ErrorReport,
> {
    require_tables()?;
    let head = chain::head()?;
    Ok(TableIterator::new(head.into_iter().map(|link| {
        (link.id, hex(&link.hash), time::timestamptz(link.sealed_at))
    })))
}

// Whoever is allowed to execute it learns of every row of the log, policies or not: one that hides rows would make
// a sound trail look broken.
#[pg_extern(
    schema = "gemba",
    stable,
    parallel_unsafe,
    security_definer,
    sql = r#"
CREATE FUNCTION gemba."verify_audit"(
  "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL, known_seal bigint DEFAULT NULL, known_hash text DEFAULT NULL)
  RETURNS TABLE (seal bigint, record uuid, table_name text, created_at timestamptz, problem text, detail text)
  LANGUAGE c STABLE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#
)]
#[search_path(pg_catalog, pg_temp)]
fn verify_audit(
    from: default!(Option<TimestampWithTimeZone>, "NULL"),
    to: default!(Option<TimestampWithTimeZone>, "NULL"),
    known_seal: default!(Option<i64>, "NULL"),
    known_hash: default!(Option<String>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(seal, Option<i64>),
            name!(record, Option<pgrx::Uuid>),
            name!(table_name, Option<String>),
            name!(created_at, Option<TimestampWithTimeZone>),
            name!(problem, String),
            name!(detail, String),
        ),
    >,
    ErrorReport,
> {
    let bounds = Bounds {
        from: from.map(time::micros),
        to: to.map(time::micros),
    };
    let known = Known {
        seal: known_seal,
        hash: known_hash,
    };
    let problems = verify::verify(bounds, &known)?;
    Ok(TableIterator::new(problems.into_iter().map(|problem| {
        (
            problem.seal,
            problem.record.map(pgrx::Uuid::from_bytes),
            problem.table,
            problem.created_at.map(time::timestamptz),
            problem.kind.text().to_owned(),
            problem.detail,
        )
    })))
}

/// The ids of the rows that a seal names.
#[pg_extern(schema = "gemba", immutable, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn _sealed_ids(digests: &[u8]) -> SetOfIterator<'static, pgrx::Uuid> {
    let ids: Vec<_> = entries(digests)
        .map(|entry| pgrx::Uuid::from_bytes(entry.id()))
        .collect();
    SetOfIterator::new(ids)
}
