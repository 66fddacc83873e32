//! Long answers to questions that are asked once, planned for the values that they are asked with.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::plan::{self, Row};
use crate::error::Result;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use std::ffi::{CString, c_char};

/// Gives each row of the answer to `row`. Of the rows only a few are in memory at a time, and what `row` gets from
/// the server for them is gone with them. Everything is as the calling query sees it.
///
/// # Errors
/// Those of `row`.
pub fn stream(sql: &str, args: &[DatumWithOid], row: impl FnMut(&Row) -> Result<()>) -> Result<()> {
    Spi::connect(|_| open(sql, args, true, row))
}

/// The same as everything is at this moment, also when this transaction has waited for somebody else. `row` may
/// write, which the answer does not notice.
///
/// # Errors
/// Those of `row`.
pub fn stream_now(
    sql: &str,
    args: &[DatumWithOid],
    row: impl FnMut(&Row) -> Result<()>,
) -> Result<()> {
    Spi::connect_mut(|_| open(sql, args, false, row))
}

fn open(
    sql: &str,
    args: &[DatumWithOid],
    read_only: bool,
    row: impl FnMut(&Row) -> Result<()>,
) -> Result<()> {
    let sql = CString::new(sql).unwrap_or_default();
    let mut types: Vec<pg_sys::Oid> = args.iter().map(DatumWithOid::oid).collect();
    let (mut values, nulls): (Vec<pg_sys::Datum>, Vec<c_char>) = plan::values(args);
    // SAFETY: three arrays of one length, which the server copies. The cursor belongs to the connection in which
    // this is called.
    unsafe {
        let cursor = pg_sys::SPI_cursor_open_with_args(
            std::ptr::null(),
            sql.as_ptr(),
            args.len() as i32,
            types.as_mut_ptr(),
            values.as_mut_ptr(),
            nulls.as_ptr(),
            read_only,
            0,
        );
        plan::drain(cursor, row)
    }
}
