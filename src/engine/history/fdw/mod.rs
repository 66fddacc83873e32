//! The wrapper behind compressed partitions: what the server's planner and executor call.
//!
//! - [`plan`]: how large a partition is, and by which ways it can be read
//! - [`paths`]: what they cost
//! - [`scan`]: reading it, row by row: [`reader`] for segments, [`late_rows`], [`parallel`]
//! - [`explain`], [`analyze`]: what EXPLAIN says, and what ANALYZE sees

#![expect(unsafe_code, reason = "called by the server")]

mod analyze;
mod explain;
pub mod late_rows;
mod parallel;
mod paths;
mod plan;
mod reader;
mod scan;

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
            "column",
            "key",
            "order",
            "late",
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
