//! TRUNCATE of compressed partitions.

#![expect(unsafe_code, reason = "called by the server")]

use super::super::layout::Layout;
use crate::engine::partitions::set::Set;
use crate::engine::rollups::capture;
use crate::error::{OrRaise, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{role, spi};
use pgrx::prelude::*;

/// # Safety
/// Called by the server with a list of tables that are open and locked for nobody else.
#[pg_guard]
pub unsafe extern "C-unwind" fn truncate(
    tables: *mut pg_sys::List,
    _behavior: pg_sys::DropBehavior::Type,
    _restart: bool,
) {
    // SAFETY: as the server says.
    let tables: Vec<pg_sys::Oid> = unsafe {
        pgrx::PgList::<pg_sys::RelationData>::from_pg(tables)
            .iter_ptr()
            .map(|table| (*table).rd_id)
            .collect()
    };
    for table in tables {
        empty(table).or_raise();
    }
}

fn empty(table: pg_sys::Oid) -> Result<()> {
    let layout = Layout::of(table)?;
    // The server has asked for the caller's right to truncate the table that was named.
    role::as_extension(|| {
        let (segments, late) = (
            Relation::open(layout.segments)?,
            Relation::open(layout.late)?,
        );
        spi::write(&format!("TRUNCATE {}, {}", segments.sql(), late.sql()), &[])?;
        note(table)
    })
}

/// Tells the rollups on the table: triggers for TRUNCATE, which tell them of ordinary partitions, are not to be had on
/// foreign tables everywhere.
fn note(table: pg_sys::Oid) -> Result<()> {
    let parent = spi::read_one::<pg_sys::Oid>(
        "SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = $1",
        &[table.into()],
    )?;
    let Some(parent) = parent else {
        return Ok(());
    };
    let range = match Set::find(parent)? {
        Some(set) => set.leaves()?.into_iter().find(|leaf| leaf.oid == table),
        None => None,
    };
    let (from, to) = range.map_or((i64::MIN, i64::MAX), |leaf| (leaf.from, leaf.to));
    capture::note(parent, from, to)
}
