//! A row of the log, and its hash: over all of its columns, and the same in every session, after a restore and on
//! every version of the server. jsonb and addresses count as the text that the server writes for them.

#![expect(unsafe_code, reason = "values are read as the server stores them")]

use crate::error::Result;
use crate::postgres::plan::Row;
use crate::postgres::varlena;
use gemba_core::seal::{Fields, Hash, Id};
use pgrx::pg_sys::{self, Datum};

/// A question for rows of the log, `l`, with everything that [`Reader`] wants to know of them.
macro_rules! rows {
    ($rest:literal) => {
        concat!(
            "SELECT l.id, l.table_name, l.operation, l.record_id, l.user_id, l.role_name, l.old_values, l.new_values,
                    l.change_reason, l.ip_address, l.transaction_id, l.system_id, l.statement_at, l.created_at
               FROM cloudwatcher.audit_logs l ",
            $rest
        )
    };
}
pub(super) use rows;

const TYPES: [pg_sys::Oid; 14] = [
    pg_sys::UUIDOID,
    pg_sys::TEXTOID,
    pg_sys::VARCHAROID,
    pg_sys::TEXTOID,
    pg_sys::UUIDOID,
    pg_sys::TEXTOID,
    pg_sys::JSONBOID,
    pg_sys::JSONBOID,
    pg_sys::TEXTOID,
    pg_sys::INETOID,
    pg_sys::INT8OID,
    pg_sys::INT8OID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
];

/// What sealing and verifying want to know of a row.
pub struct Sealed {
    pub id: Id,
    pub transaction: i64,
    pub system: i64,
    /// Microseconds since 2000-01-01 UTC.
    pub created_at: i64,
    pub hash: Hash,
}

/// Reads one row after the other, in the same memory.
pub struct Reader {
    fields: Fields,
    text: pg_sys::StringInfo,
}

impl Reader {
    pub fn new() -> Self {
        Self {
            fields: Fields::default(),
            // SAFETY: in the memory of the function that reads, which outlives its rows.
            text: unsafe { pg_sys::makeStringInfo() },
        }
    }

    /// # Errors
    /// Columns of other types, because somebody has changed the log's.
    pub fn read(&mut self, row: &Row) -> Result<Sealed> {
        let columns = row.datums(&TYPES)?;
        self.fields.row();
        for (value, kind) in columns.into_iter().zip(TYPES) {
            // SAFETY: the value is of this type.
            unsafe { self.field(value, kind) };
        }
        let integer = |place: usize| columns[place].map_or(0, |datum: Datum| datum.value() as i64);
        Ok(Sealed {
            // SAFETY: a uuid is a pointer to sixteen bytes.
            id: columns[0].map_or([0; 16], |datum| unsafe { *datum.cast_mut_ptr::<Id>() }),
            transaction: integer(10),
            system: integer(11),
            created_at: integer(13),
            hash: self.fields.hash(),
        })
    }

    /// # Safety
    /// The value is of the type.
    unsafe fn field(&mut self, value: Option<Datum>, kind: pg_sys::Oid) {
        let Some(datum) = value else {
            return self.fields.bytes(None);
        };
        // SAFETY: each is read as the type is stored: by pointer, of variable length, or in the datum itself. What
        // the server allocates for it goes with the rows that are read together.
        unsafe {
            match kind {
                pg_sys::UUIDOID => self.fields.bytes(Some(&*datum.cast_mut_ptr::<Id>())),
                pg_sys::INT8OID | pg_sys::TIMESTAMPTZOID => {
                    self.fields.integer(Some(datum.value() as i64));
                }
                pg_sys::JSONBOID => {
                    let jsonb: *mut pg_sys::Jsonb =
                        pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
                    let size = pgrx::varlena::varsize_4b(jsonb.cast()) as i32;
                    pg_sys::resetStringInfo(self.text);
                    pg_sys::JsonbToCString(self.text, &raw mut (*jsonb).root, size);
                    let text = &*self.text;
                    self.fields.bytes(Some(std::slice::from_raw_parts(
                        text.data.cast(),
                        text.len as usize,
                    )));
                }
                pg_sys::INETOID => {
                    let text = pgrx::direct_function_call::<&core::ffi::CStr>(
                        pg_sys::inet_out,
                        &[Some(datum)],
                    );
                    self.fields.bytes(text.map(core::ffi::CStr::to_bytes));
                }
                _ => self.fields.bytes(Some(varlena::bytes(datum))),
            }
        }
    }
}
