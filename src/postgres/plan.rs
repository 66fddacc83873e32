//! Queries that are asked again and again, whose plans are kept for the session.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::jsonb::Part;
use super::numeric::Stored;
use super::varlena;
use crate::error::{Error, Result};
use pgrx::PgMemoryContexts;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

/// A query of constant text. It is planned once, for all values of its arguments, and again when a role or a
/// table changes; planning takes longer than answering here.
pub struct Plan {
    sql: &'static CStr,
    types: &'static [pg_sys::Oid],
    kept: Cell<pg_sys::SPIPlanPtr>,
}

/// A row of an answer, as long as it is looked at.
pub struct Row<'a> {
    tuple: pg_sys::HeapTuple,
    columns: pg_sys::TupleDesc,
    answer: PhantomData<&'a ()>,
}

impl Plan {
    /// `types` are those of `$1`, `$2` …
    pub const fn new(sql: &'static CStr, types: &'static [pg_sys::Oid]) -> Self {
        Self {
            sql,
            types,
            kept: Cell::new(std::ptr::null_mut()),
        }
    }

    /// Gives each row of the answer to `row`. Everything is as the calling query sees it, also for several plans
    /// one after the other, which is what STABLE promises.
    ///
    /// # Errors
    /// Those of `row`, and arguments that are not as many as types.
    pub fn each(&self, args: &[DatumWithOid], row: impl FnMut(&Row) -> Result<()>) -> Result<()> {
        self.run(args, |plan, values, nulls| {
            // SAFETY: as many values as the plan has arguments, of their types. The answer lives until this
            // connection ends, and nothing else runs in it meanwhile.
            unsafe {
                pg_sys::SPI_execute_plan(plan, values, nulls, true, 0);
                give(pg_sys::SPI_tuptable, row).map(|_| ())
            }
        })
    }

    /// The same for answers that may be long: of their rows only a few are in memory at a time, and what `row` gets
    /// from the server for them is gone with them.
    ///
    /// # Errors
    /// As for [`Self::each`].
    pub fn stream(&self, args: &[DatumWithOid], row: impl FnMut(&Row) -> Result<()>) -> Result<()> {
        self.run(args, |plan, values, nulls| {
            // SAFETY: as above.
            unsafe {
                let cursor = pg_sys::SPI_cursor_open(std::ptr::null(), plan, values, nulls, true);
                drain(cursor, row)
            }
        })
    }

    /// Prepares what the server wants to be called with.
    fn run(
        &self,
        args: &[DatumWithOid],
        work: impl FnOnce(pg_sys::SPIPlanPtr, *mut pg_sys::Datum, *const c_char) -> Result<()>,
    ) -> Result<()> {
        let types = args.iter().map(DatumWithOid::oid);
        if types.ne(self.types.iter().copied()) {
            return Err(internal("arguments of other types"));
        }
        let (mut values, nulls) = values(args);
        Spi::connect(|_| work(self.prepared()?, values.as_mut_ptr(), nulls.as_ptr()))
    }

    /// What `row` makes of each row.
    ///
    /// # Errors
    /// As for [`Self::each`].
    pub fn all<T>(
        &self,
        args: &[DatumWithOid],
        mut row: impl FnMut(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.each(args, |found| {
            all.push(row(found)?);
            Ok(())
        })?;
        Ok(all)
    }

    fn prepared(&self) -> Result<pg_sys::SPIPlanPtr> {
        if self.kept.get().is_null() {
            // SAFETY: the text and the types live for ever; the server only reads them. What is kept stays.
            unsafe {
                let plan = pg_sys::SPI_prepare_cursor(
                    self.sql.as_ptr(),
                    self.types.len() as i32,
                    self.types.as_ptr().cast_mut(),
                    pg_sys::CURSOR_OPT_GENERIC_PLAN as i32,
                );
                if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                    return Err(internal("no plan"));
                }
                self.kept.set(plan);
            }
        }
        Ok(self.kept.get())
    }
}

/// What the server wants of values: them, and which of them are NULL.
pub(super) fn values(args: &[DatumWithOid]) -> (Vec<pg_sys::Datum>, Vec<c_char>) {
    args.iter()
        .map(|arg| match arg.datum() {
            Some(datum) => (datum.sans_lifetime(), b' ' as c_char),
            None => (pg_sys::Datum::null(), b'n' as c_char),
        })
        .unzip()
}

/// Gives each row of a cursor to `row` and closes it. A batch is looked at before it is freed, and with it what
/// `row` got from the server.
///
/// # Safety
/// A cursor of the present connection, which nobody else moves.
pub(super) unsafe fn drain(
    cursor: pg_sys::Portal,
    mut row: impl FnMut(&Row) -> Result<()>,
) -> Result<()> {
    const BATCH: u64 = 1_000;
    let mut memory = PgMemoryContexts::new("gemba rows");
    // SAFETY: the caller vouches for the cursor; it is closed after the last batch.
    unsafe {
        loop {
            pg_sys::SPI_cursor_fetch(cursor, true, BATCH as _);
            let batch = pg_sys::SPI_tuptable;
            let given = memory.switch_to(|_| give(batch, &mut row));
            pg_sys::SPI_freetuptable(batch);
            memory.reset();
            match given {
                Ok(BATCH) => {}
                ended => {
                    pg_sys::SPI_cursor_close(cursor);
                    return ended.map(|_| ());
                }
            }
        }
    }
}

/// Gives each row to `row`; returns how many there were.
///
/// # Safety
/// The answer of a query that has just been run, or null; it lives until this ends.
unsafe fn give(
    answer: *mut pg_sys::SPITupleTable,
    mut row: impl FnMut(&Row) -> Result<()>,
) -> Result<u64> {
    if answer.is_null() {
        return Err(internal("no rows"));
    }
    // SAFETY: so many tuples of this description.
    unsafe {
        for number in 0..(*answer).numvals as usize {
            row(&Row {
                tuple: *(*answer).vals.add(number),
                columns: (*answer).tupdesc,
                answer: PhantomData,
            })?;
        }
        Ok((*answer).numvals)
    }
}

impl Row<'_> {
    /// The value of a column, counted from 1; none where it is NULL.
    ///
    /// # Errors
    /// A column of another type.
    pub fn get<T: FromDatum + IntoDatum>(&self, column: i32) -> Result<Option<T>> {
        let Some(datum) = self.datum(column, |found| T::is_compatible_with(found))? else {
            return Ok(None);
        };
        // SAFETY: the column has the type, and is not NULL.
        Ok(unsafe { T::from_polymorphic_datum(datum, false, T::type_oid()) })
    }

    /// The same where it cannot be NULL.
    ///
    /// # Errors
    /// As for [`Self::get`], and NULL.
    pub fn need<T: FromDatum + IntoDatum>(&self, column: i32) -> Result<T> {
        self.get(column)?.ok_or_else(|| internal("NULL"))
    }

    /// A jsonb column as it is stored, without its length; nothing where it is NULL.
    ///
    /// # Errors
    /// A column of another type.
    pub fn jsonb(&self, column: i32) -> Result<Option<&[u8]>> {
        self.stored(column, pg_sys::JSONBOID)
    }

    /// Does a jsonb column hold this? Not where it is NULL.
    ///
    /// # Errors
    /// A column of another type.
    pub fn holds(&self, column: i32, part: &Part) -> Result<bool> {
        let datum = self.datum(column, |found| found == pg_sys::JSONBOID)?;
        // SAFETY: the column is a jsonb.
        Ok(datum.is_some_and(|datum| unsafe { part.is_in(datum) }))
    }

    /// A text column, without a copy of it; nothing where it is NULL.
    ///
    /// # Errors
    /// A column of another type.
    pub fn text(&self, column: i32) -> Result<Option<&str>> {
        let bytes = self.stored(column, pg_sys::TEXTOID)?;
        bytes
            .map(|bytes| std::str::from_utf8(bytes).map_err(|_| internal("no UTF-8")))
            .transpose()
    }

    /// A numeric column as it is stored; nothing where it is NULL or no finite number.
    ///
    /// # Errors
    /// A column of another type.
    pub fn numeric(&self, column: i32) -> Result<Option<Stored<'_>>> {
        Ok(self
            .stored(column, pg_sys::NUMERICOID)?
            .and_then(Stored::finite))
    }

    /// All columns at once, which is quicker than one by one: of these types, none where it is NULL.
    ///
    /// # Errors
    /// Another number of columns, or other types.
    pub fn datums<const N: usize>(
        &self,
        types: &[pg_sys::Oid; N],
    ) -> Result<[Option<pg_sys::Datum>; N]> {
        let mut values = [pg_sys::Datum::null(); N];
        let mut nulls = [true; N];
        // SAFETY: the tuple is of this description, which has as many columns as there is room for.
        unsafe {
            let fits = (*self.columns).natts as usize == N
                && (1..)
                    .zip(types)
                    .all(|(column, wanted)| pg_sys::SPI_gettypeid(self.columns, column) == *wanted);
            if !fits {
                return Err(internal("columns of other types"));
            }
            pg_sys::heap_deform_tuple(
                self.tuple,
                self.columns,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
        let mut found = [None; N];
        for ((field, value), null) in found.iter_mut().zip(values).zip(nulls) {
            *field = (!null).then_some(value);
        }
        Ok(found)
    }

    /// `kind` is one of variable length.
    fn stored(&self, column: i32, kind: pg_sys::Oid) -> Result<Option<&[u8]>> {
        let datum = self.datum(column, |found| found == kind)?;
        // SAFETY: of variable length, and it lives as long as the answer.
        Ok(datum.map(|datum| unsafe { varlena::bytes(datum) }))
    }

    fn datum(
        &self,
        column: i32,
        fits: impl Fn(pg_sys::Oid) -> bool,
    ) -> Result<Option<pg_sys::Datum>> {
        // SAFETY: the tuple is of this description, and both live as long as the answer. The server says
        // InvalidOid of a column that there is not.
        unsafe {
            if !fits(pg_sys::SPI_gettypeid(self.columns, column)) {
                return Err(internal("a column of another type"));
            }
            let mut null = false;
            let datum = pg_sys::SPI_getbinval(self.tuple, self.columns, column, &raw mut null);
            Ok((!null).then_some(datum))
        }
    }
}

fn internal(what: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        "a query of the extension returned something unexpected",
    )
    .detail(what)
}
