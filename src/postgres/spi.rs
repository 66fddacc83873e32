//! SPI through one door: values are always bound, names always quoted.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use crate::error::Result;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
use std::cell::Cell;

/// Reads rows. Goes through SPI's read-only path while the transaction has written nothing, so that it
/// works on a standby and in parallel workers.
///
/// # Errors
/// When a column is not of the type that `row` asks for.
pub fn read_all<T>(
    sql: &str,
    args: &[DatumWithOid],
    mut row: impl FnMut(&SpiHeapTupleData) -> Result<T>,
) -> Result<Vec<T>> {
    if WITH_CALLERS_SNAPSHOT.get() {
        return read_all_with_callers_snapshot(sql, args, row);
    }
    Spi::connect(|client| {
        let table = client.select(sql, None, args)?;
        let mut rows = Vec::with_capacity(table.len());
        for tuple in table {
            rows.push(row(&tuple)?);
        }
        Ok(rows)
    })
}

thread_local! {
    static WITH_CALLERS_SNAPSHOT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` so that everything it reads is as the calling query sees it, which is what STABLE promises.
/// (Otherwise, once the transaction has written, each read sees what was committed since.)
pub fn with_callers_snapshot<T>(work: impl FnOnce() -> T) -> T {
    /// Puts the flag back also when `work` unwinds.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            WITH_CALLERS_SNAPSHOT.set(self.0);
        }
    }
    let _restore = Restore(WITH_CALLERS_SNAPSHOT.replace(true));
    work()
}

fn read_all_with_callers_snapshot<T>(
    sql: &str,
    args: &[DatumWithOid],
    mut row: impl FnMut(&SpiHeapTupleData) -> Result<T>,
) -> Result<Vec<T>> {
    let command = std::ffi::CString::new(sql).unwrap_or_default();
    Spi::connect(|_| {
        let mut types: Vec<pg_sys::Oid> = args.iter().map(DatumWithOid::oid).collect();
        let mut values: Vec<pg_sys::Datum> = args
            .iter()
            .map(|arg| {
                arg.datum()
                    .map_or(pg_sys::Datum::null(), |datum| datum.sans_lifetime())
            })
            .collect();
        let nulls: Vec<std::ffi::c_char> = args
            .iter()
            .map(|arg| if arg.datum().is_some() { b' ' } else { b'n' } as _)
            .collect();
        // SAFETY: three arrays of one length; the result lives until this connection ends, and each tuple
        // is read with the result's own descriptor.
        unsafe {
            pg_sys::SPI_execute_with_args(
                command.as_ptr(),
                args.len() as i32,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr(),
                true,
                0,
            );
            let table = pg_sys::SPI_tuptable;
            let mut rows = Vec::new();
            if !table.is_null() {
                for number in 0..(*table).numvals as usize {
                    if let Some(tuple) =
                        SpiHeapTupleData::new((*table).tupdesc, *(*table).vals.add(number))?
                    {
                        rows.push(row(&tuple)?);
                    }
                }
            }
            Ok(rows)
        }
    })
}

/// Reads the first row, if any.
pub fn read_row<T>(
    sql: &str,
    args: &[DatumWithOid],
    row: impl FnMut(&SpiHeapTupleData) -> Result<T>,
) -> Result<Option<T>> {
    Ok(read_all(sql, args, row)?.into_iter().next())
}

/// Reads the first column of the first row.
pub fn read_one<T: FromDatum + IntoDatum>(sql: &str, args: &[DatumWithOid]) -> Result<Option<T>> {
    Ok(read_row(sql, args, |row| Ok(row.get::<T>(1)?))?.flatten())
}

/// Runs one statement that changes something; returns the number of rows it touched.
pub fn write(sql: &str, args: &[DatumWithOid]) -> Result<u64> {
    Spi::connect_mut(|client| {
        client.update(sql, None, args)?;
        // SAFETY: the statement above has just ended in this connection, and nothing else ran since.
        Ok(unsafe { pg_sys::SPI_processed })
    })
}

/// Runs one statement that changes something and returns rows.
pub fn write_returning<T>(
    sql: &str,
    args: &[DatumWithOid],
    mut row: impl FnMut(&SpiHeapTupleData) -> Result<T>,
) -> Result<Vec<T>> {
    Spi::connect_mut(|client| {
        let table = client.update(sql, None, args)?;
        let mut rows = Vec::with_capacity(table.len());
        for tuple in table {
            rows.push(row(&tuple)?);
        }
        Ok(rows)
    })
}

/// A name as an SQL identifier, quoted where needed.
pub fn ident(name: &str) -> String {
    spi::quote_identifier(name)
}

/// Two names as `schema.name`.
pub fn qualified(schema: &str, name: &str) -> String {
    spi::quote_qualified_identifier(schema, name)
}

/// A text as an SQL literal, for DDL, which takes no parameters.
pub fn literal(text: &str) -> String {
    spi::quote_literal(text)
}
