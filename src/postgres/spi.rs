//! SPI through one door: values are always bound, names always quoted.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use crate::error::Result;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;

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
    Spi::connect(|client| {
        let table = client.select(sql, None, args)?;
        let mut rows = Vec::with_capacity(table.len());
        for tuple in table {
            rows.push(row(&tuple)?);
        }
        Ok(rows)
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
