//! Where the next entry goes: the log's partition of this year.

#![expect(unsafe_code, reason = "reads the server's own description of a table")]

use super::{LOG, table};
use crate::engine::partitions::ensure_written;
use crate::engine::partitions::set::{self, Set};
use crate::error::{Error, OrRaise, Result};
use crate::postgres::{role, spi, time};
use pgrx::{PgTupleDesc, pg_sys};
use std::cell::Cell;

/// The columns that an entry has, in the order in which [`super::log`] gives them.
pub const COLUMNS: [&str; 14] = [
    "id",
    "table_name",
    "operation",
    "record_id",
    "user_id",
    "role_name",
    "old_values",
    "new_values",
    "change_reason",
    "ip_address",
    "transaction_id",
    "system_id",
    "statement_at",
    "created_at",
];

/// Their types, and whether they may stay empty.
const TYPES: [(pg_sys::Oid, bool); COLUMNS.len()] = [
    (pg_sys::UUIDOID, false),
    (pg_sys::TEXTOID, false),
    (pg_sys::VARCHAROID, false),
    (pg_sys::TEXTOID, true),
    (pg_sys::UUIDOID, true),
    (pg_sys::TEXTOID, false),
    (pg_sys::JSONBOID, true),
    (pg_sys::JSONBOID, true),
    (pg_sys::TEXTOID, true),
    (pg_sys::INETOID, true),
    (pg_sys::INT8OID, false),
    (pg_sys::INT8OID, false),
    (pg_sys::TIMESTAMPTZOID, false),
    (pg_sys::TIMESTAMPTZOID, false),
];

#[derive(Debug, Clone, Copy)]
pub struct Place {
    log: pg_sys::Oid,
    pub leaf: pg_sys::Oid,
    /// The times that belong here.
    from: i64,
    to: i64,
    /// Where in a row each of [`COLUMNS`] stands.
    pub columns: [usize; COLUMNS.len()],
}

thread_local! {
    static PLACE: Cell<Option<Place>> = const { Cell::new(None) };
}

/// Forgets it when it is about one of these tables.
pub fn forget(is: impl Fn(pg_sys::Oid) -> bool) {
    if PLACE
        .get()
        .is_some_and(|place| is(place.log) || is(place.leaf))
    {
        PLACE.set(None);
    }
}

/// The log's oid.
///
/// # Errors
/// `55000` when it has not been deployed.
pub fn log() -> Result<pg_sys::Oid> {
    // SAFETY: look-ups in the system caches; with missing_ok an unknown name is no error.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(LOG.0.as_ptr(), true);
        pg_sys::get_relname_relid(LOG.1.as_ptr(), schema)
    };
    if oid == pg_sys::InvalidOid {
        return Err(Error::state("there is no audit log in this database")
            .detail("its module has not been deployed, or was taken away")
            .hint("SELECT * FROM gemba.deploy('audit')"));
    }
    Ok(oid)
}

/// The partition for entries of this time, open and locked as for any INSERT. It is made when it is missing.
pub fn open(at: i64) -> (pg_sys::Relation, Place) {
    loop {
        let known = PLACE
            .get()
            .filter(|place| (place.from..place.to).contains(&at));
        let place = match known {
            Some(place) => place,
            None => {
                let before = table::changes();
                let place = find(at).or_raise();
                if table::changes() == before {
                    PLACE.set(Some(place));
                }
                place
            }
        };
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let before = table::changes();
        // SAFETY: an oid that is none any more opens nothing.
        let relation = unsafe { pg_sys::try_table_open(place.leaf, lock) };
        // While we waited for the lock it may have ceased to be the log's partition.
        let same = PLACE.get().is_some_and(|known| known.leaf == place.leaf);
        if !relation.is_null() && (same || table::changes() == before) {
            return (relation, place);
        }
        if !relation.is_null() {
            // SAFETY: it was opened above, and is not used any more.
            unsafe { pg_sys::table_close(relation, lock) };
        }
        PLACE.set(None);
    }
}

/// Looks it up with the extension's rights, which whoever writes to an audited table need not have.
fn find(at: i64) -> Result<Place> {
    let log = log()?;
    let leaf = role::with_pinned_search_path(|| {
        role::as_extension(|| {
            if let Some(set) = Set::find(log)? {
                ensure_written(&set, at, at + 1)?;
            }
            let leaves = set::leaves(log, "UTC")?;
            Ok(leaves
                .into_iter()
                .find(|leaf| (leaf.from..leaf.to).contains(&at)))
        })
    })?;
    let Some(leaf) = leaf else {
        return Err(Error::state("the audit log has no partition for this time")
            .detail(format!("an entry of {}", time::instant_text(at)))
            .hint("call gemba.manage_partitions() for the log, or make the partition"));
    };
    Ok(Place {
        log,
        leaf: leaf.oid,
        from: leaf.from,
        to: leaf.to,
        columns: columns(leaf.oid)?,
    })
}

fn columns(leaf: pg_sys::Oid) -> Result<[usize; COLUMNS.len()]> {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: opened, copied from and closed.
    let descriptor = unsafe {
        let relation = pg_sys::table_open(leaf, lock);
        let descriptor = PgTupleDesc::from_pg_copy((*relation).rd_att);
        pg_sys::table_close(relation, lock);
        descriptor
    };
    let mut columns = [0; COLUMNS.len()];
    for ((place, name), (type_, nullable)) in columns.iter_mut().zip(COLUMNS).zip(TYPES) {
        let column = descriptor
            .iter()
            .find(|a| !a.attisdropped && a.name() == name);
        let Some(column) = column else {
            return Err(Error::state("the audit log lacks a column")
                .detail(format!("column {name:?}"))
                .hint("deploy the module audit anew, or put the column back"));
        };
        if column.atttypid != type_ || nullable && column.attnotnull {
            return Err(altered(column)?);
        }
        *place = column.attnum as usize - 1;
    }
    // Entries are written past the executor, which would fill such columns.
    let unknown = descriptor.iter().find(|a| {
        !a.attisdropped
            && !COLUMNS.contains(&a.name())
            && (a.attnotnull || a.attgenerated != 0 as std::ffi::c_char)
    });
    match unknown {
        Some(column) => Err(altered(column)?),
        None => Ok(columns),
    }
}

fn altered(column: &pg_sys::FormData_pg_attribute) -> Result<Error> {
    let type_name = spi::read_one::<String>(
        "SELECT pg_catalog.format_type($1, NULL)",
        &[column.atttypid.into()],
    )?;
    let null = if column.attnotnull { " NOT NULL" } else { "" };
    Ok(Error::state("a column of the audit log was altered")
        .detail(format!(
            "column {:?} of type {}{null}",
            column.name(),
            type_name.unwrap_or_default()
        ))
        .hint("give the column back the type that the module audit made it with; further columns have to be nullable and not generated"))
}
