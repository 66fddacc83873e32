//! The SQL functions of the history tier.

use super::policy::Policy;
use super::{compress, decompress, fold, verify};
use crate::engine::partitions::leaf;
use crate::engine::partitions::set::{Parent, Set};
use crate::error::{Error, Result};
use crate::postgres::names::Names;
use crate::postgres::relation::{self, Relation};
use crate::postgres::{backend, role, spi};
use pgrx::PgRelation;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn compress_after(
    parent: Option<PgRelation>,
    segment_by: Option<Names>,
    order_by: Option<&str>,
    after: Option<Interval>,
) -> Result<(), ErrorReport> {
    let (Some(parent), Some(segment_by), Some(order_by), Some(after)) =
        (parent, segment_by, order_by, after)
    else {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "how a table is compressed must not be NULL",
        )
        .detail("one of parent, segment_by, order_by and after is NULL")
        .hint("segment_by may be an empty list, and after an interval of 0")
        .into());
    };
    let parent = Parent::open(relation::oid(parent))?.relation;
    role::require_owner(&parent)?;
    let policy = Policy {
        segment_by: segment_by.0,
        order_by: order_by.to_owned(),
        after,
    };
    role::as_extension(|| {
        policy.check(&Set::of(parent.oid)?)?;
        policy.save(parent.oid)
    })?;
    Ok(())
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn stop_compressing(parent: PgRelation) -> Result<bool, ErrorReport> {
    let parent = Relation::open(relation::oid(parent))?;
    role::require_owner(&parent)?;
    let removed = role::as_extension(|| {
        spi::write(
            "DELETE FROM gemba.compression_policies WHERE parent = $1",
            &[parent.oid.into()],
        )
    })?;
    Ok(removed > 0)
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn compress_partition(partition: PgRelation) -> Result<i64, ErrorReport> {
    backend::refuse_read_only(c"gemba.compress_partition()");
    let partition = Relation::open(relation::oid(partition))?;
    role::require_owner(&partition)?;
    let done = role::as_extension(|| {
        let (set, range) = compress::place_of(&partition)?;
        if partition.kind == 'f' {
            // It is compressed already, but for what came since.
            if fold::partition(&set, &partition)?.is_none() {
                return Err(leaf::busy(&partition));
            }
            return Ok(compress::done(&partition)?.rows);
        }
        Ok(compress::partition(&set, &range)?.rows)
    })?;
    Ok(done)
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn decompress_partition(partition: PgRelation) -> Result<i64, ErrorReport> {
    backend::refuse_read_only(c"gemba.decompress_partition()");
    let partition = Relation::open(relation::oid(partition))?;
    role::require_owner(&partition)?;
    let rows = role::as_extension(|| {
        let (set, range) = compress::place_of(&partition)?;
        if partition.kind != 'f' {
            return Err(Error::state("the partition is not compressed")
                .detail(format!("partition {}", partition.sql()))
                .hint("gemba.history lists those that are"));
        }
        decompress::partition(&set, &range)
    })?;
    Ok(rows as i64)
}

#[pg_extern(schema = "gemba", stable, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn verify_history(
    partition: default!(Option<PgRelation>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(partition, String),
            name!(segment, String),
            name!(problem, String),
        ),
    >,
    ErrorReport,
> {
    let asked = match partition {
        Some(partition) => vec![relation::oid(partition)],
        None => verify::partitions()?,
    };
    let mut findings = Vec::new();
    for partition in asked {
        let partition = Relation::open(partition)?;
        role::require_owner(&partition)?;
        if partition.kind == 'f' {
            findings.extend(verify::partition_or_why_not(&partition));
        }
    }
    Ok(TableIterator::new(findings.into_iter().map(|finding| {
        (finding.partition, finding.segment, finding.problem)
    })))
}
