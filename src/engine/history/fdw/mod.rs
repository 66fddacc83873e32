//! The wrapper behind compressed partitions: what the server's planner and executor call.
//!
//! - [`plan`]: how large a partition is, and by which ways it can be read
//! - [`paths`]: what they cost
//! - [`scan`]: reading it, row by row: [`reader`] for segments, [`late_rows`], [`parallel`]
//! - [`explain`], [`analyze`]: what EXPLAIN says, and what ANALYZE sees
//! - [`places`]: which row is which while it is changed
//! - [`modify`]: what all changes have in common
//! - [`insert`], [`change`], [`truncate`]: INSERT and COPY, UPDATE and DELETE, TRUNCATE
//! - [`claim`]: what others are changing at the same time
//! - [`witness`]: triggers that were shown a row as it is no more
//! - [`moved`]: rows that an UPDATE moves to another partition

#![expect(unsafe_code, reason = "called by the server")]

mod analyze;
mod change;
mod claim;
mod explain;
mod insert;
pub mod late_rows;
mod modify;
mod moved;
mod parallel;
mod paths;
mod places;
mod plan;
mod reader;
mod scan;
mod truncate;
mod witness;

pub use places::{Places, changed_meanwhile, register};

use crate::error::{Error, OrRaise};
use crate::postgres::c_function::{Call, argument, c_function};
use pgrx::prelude::*;

c_function!(
    gemba_history_handler,
    pg_finfo_gemba_history_handler,
    handler()
);
c_function!(
    gemba_history_validator,
    pg_finfo_gemba_history_validator,
    validator()
);

/// # Safety
/// Called by the server.
unsafe fn handler(_: Call) -> pg_sys::Datum {
    // SAFETY: a node that the server keeps as long as it wants to.
    let mut routine =
        unsafe { PgBox::<pg_sys::FdwRoutine>::alloc_node(pg_sys::NodeTag::T_FdwRoutine) };
    plan::register(&mut routine);
    scan::register(&mut routine);
    parallel::register(&mut routine);
    explain::register(&mut routine);
    analyze::register(&mut routine);
    super::aggregate::register(&mut routine);
    modify::register(&mut routine);
    pg_sys::Datum::from(routine.into_pg())
}

/// Options are checked where they are used, with the table at hand; here only that nobody expects others to have an
/// effect.
///
/// # Safety
/// Called by the server with an array of texts and the catalog's oid.
unsafe fn validator(call: Call) -> pg_sys::Datum {
    // SAFETY: the server passes what the function is declared with.
    unsafe {
        let given = argument(call, 0)
            .and_then(|datum| Vec::<String>::from_datum(datum, false))
            .unwrap_or_default();
        let known = [
            "segments",
            "unique",
            "cut",
            "raw_bytes",
            "copied",
            "column",
            "late",
            "key",
            "order",
        ];
        for option in given {
            let name = option.split('=').next().unwrap_or_default();
            if !known.contains(&name) {
                Err::<(), _>(
                    Error::new(
                        PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
                        "compressed partitions have no such option",
                    )
                    .detail(format!("option {name:?}"))
                    .hint("they are made by gemba.compress_partition(), with all that they need"),
                )
                .or_raise();
            }
        }
    }
    pg_sys::Datum::null()
}

/// The ctid of a late row as one of the partition.
pub fn late_tid(own: &pg_sys::ItemPointerData) -> pg_sys::ItemPointerData {
    places::Row::Late(*own).tid()
}
