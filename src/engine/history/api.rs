//! The SQL functions of the history tier.

use super::compress;
use crate::error::Result;
use crate::postgres::relation::{self, Relation};
use crate::postgres::role;
use pgrx::PgRelation;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn compress_partition(
    partition: PgRelation,
    segment_by: Vec<String>,
    order_by: &str,
) -> Result<i64, ErrorReport> {
    let partition = Relation::open(relation::oid(partition))?;
    role::require_owner(&partition)?;
    let rows: Result<u64> =
        role::as_extension(|| compress::partition(&partition, &segment_by, order_by));
    Ok(rows? as i64)
}
