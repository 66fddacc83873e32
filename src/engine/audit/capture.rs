//! The trigger that logs what a statement did to a table: one call a statement, which reads the rows as they were
//! and as they are.
//!
//! Whoever may write to a table has to be able to execute what its triggers call. So the function is executable
//! by PUBLIC, but stands in schema `gemba_internal`, on which nobody has USAGE: a trigger finds it by oid, a
//! person cannot name it, nor put it on a table of their own.

#![expect(unsafe_code, reason = "a trigger, called by PostgreSQL itself")]

use super::log::Log;
use super::table::{self, Column, Table};
use crate::error::{Error, OrRaise};
use crate::postgres::c_function::c_function;
use crate::postgres::json_value::Converter;
use crate::postgres::jsonb_writer::{Keys, ObjectWriter};
use crate::postgres::{trigger, varlena};
use pgrx::pg_sys::{self, Datum};
use std::collections::HashSet;

#[rustfmt::skip]
mod exported {
    use super::*;

    c_function!(gemba_audit_rows, pg_finfo_gemba_audit_rows, fired());
}

const MASK: &[u8] = b"***";

/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL.
unsafe fn fired(fcinfo: pg_sys::FunctionCallInfo) -> Datum {
    // SAFETY: the data of a trigger's call live as long as the call, and so do its relation and tables of rows.
    unsafe {
        let data = &*trigger::data(fcinfo);
        let event = data.tg_event;
        if event & (pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK) != 0 {
            refuse();
        }
        let table = || table::of(data.tg_relation, &*data.tg_trigger);
        let rows = |store: *mut pg_sys::Tuplestorestate| {
            if store.is_null() {
                refuse();
            }
            Rows::open(store, data.tg_relation)
        };
        match event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => {
                if let Some(new) = rows(data.tg_newtable) {
                    inserted(&table(), new, "INSERT");
                }
            }
            pg_sys::TRIGGER_EVENT_DELETE => {
                if let Some(old) = rows(data.tg_oldtable) {
                    inserted(&table(), old, "DELETE");
                }
            }
            pg_sys::TRIGGER_EVENT_UPDATE => {
                match (rows(data.tg_oldtable), rows(data.tg_newtable)) {
                    (Some(old), Some(new)) if old.count == new.count => {
                        updated(&table(), old, new);
                    }
                    (Some(old), Some(new)) => moved(&table(), old, new),
                    (Some(old), None) => inserted(&table(), old, "DELETE"),
                    (None, _) => {}
                }
            }
            _ => {
                let mut log = Log::open(&table().name, "TRUNCATE", 1);
                log.add(None, None, None, 0);
                log.finish();
            }
        }
    }
    Datum::from(0)
}

#[cold]
fn refuse() {
    Err::<(), _>(
        Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            "the audit trigger was not made by gemba.audit()",
        )
        .detail("it fires after statements, with tables of old and new rows")
        .hint("drop the trigger and call gemba.audit()"),
    )
    .or_raise();
}

/// The rows of a statement, one after the other.
struct Rows {
    store: *mut pg_sys::Tuplestorestate,
    pointer: i32,
    slot: *mut pg_sys::TupleTableSlot,
    count: i64,
}

/// A row; its values live until the next one is asked for.
#[derive(Clone, Copy)]
struct Row {
    values: *const Datum,
    nulls: *const bool,
}

impl Rows {
    /// None where there are none.
    ///
    /// # Safety
    /// The store holds rows of the relation, and both live as long as this.
    unsafe fn open(
        store: *mut pg_sys::Tuplestorestate,
        relation: pg_sys::Relation,
    ) -> Option<Self> {
        // SAFETY: as the caller says. Other triggers may read the same store, each through its own pointer.
        unsafe {
            let count = pg_sys::tuplestore_tuple_count(store);
            if count == 0 {
                return None;
            }
            let pointer =
                pg_sys::tuplestore_alloc_read_pointer(store, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(store, pointer);
            pg_sys::tuplestore_rescan(store);
            let slot = pg_sys::MakeSingleTupleTableSlot(
                (*relation).rd_att,
                &raw const pg_sys::TTSOpsMinimalTuple,
            );
            Some(Self {
                store,
                pointer,
                slot,
                count,
            })
        }
    }

    fn next(&mut self) -> Option<Row> {
        // SAFETY: the slot is of the rows' descriptor; deforming fills as many values as that has.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.store, self.pointer);
            if !pg_sys::tuplestore_gettupleslot(self.store, true, false, self.slot) {
                return None;
            }
            let attributes = (*(*self.slot).tts_tupleDescriptor).natts;
            if i32::from((*self.slot).tts_nvalid) < attributes {
                pg_sys::slot_getsomeattrs_int(self.slot, attributes);
            }
            Some(Row {
                values: (*self.slot).tts_values,
                nulls: (*self.slot).tts_isnull,
            })
        }
    }

    /// From the first row again.
    fn again(&mut self) {
        // SAFETY: the pointer is this one's own.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.store, self.pointer);
            pg_sys::tuplestore_rescan(self.store);
        }
    }

    fn close(self) {
        // SAFETY: made by `open`, used for the last time.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) }
    }
}

impl Row {
    /// # Safety
    /// The row has a value at this place.
    #[inline]
    unsafe fn value(self, place: usize) -> Option<Datum> {
        // SAFETY: the caller vouches for the place.
        unsafe { (!*self.nulls.add(place)).then(|| *self.values.add(place)) }
    }
}

/// What writes the rows of one table.
struct Writer<'a> {
    table: &'a Table,
    values: Vec<Converter>,
    key: Vec<Converter>,
    object: ObjectWriter,
    record: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// In the current memory context, in which it lives.
    fn new(table: &'a Table) -> Self {
        Self {
            table,
            values: table
                .columns
                .iter()
                .map(|column| Converter::to_json(column.kind, column.type_))
                .collect(),
            key: table
                .key
                .iter()
                .map(|column| Converter::to_text(column.kind, column.type_))
                .collect(),
            object: ObjectWriter::default(),
            record: Vec::new(),
        }
    }

    /// Notes the row's key.
    ///
    /// # Safety
    /// The row is one of the table's.
    unsafe fn read_key(&mut self, row: Row) {
        self.record.clear();
        // SAFETY: the columns are the table's.
        unsafe {
            match (self.table.key.as_slice(), self.key.as_slice()) {
                ([column], [converter]) => {
                    if let Some(value) = row.value(column.place) {
                        converter.write_text(value, &mut self.record);
                    }
                }
                (columns, converters) => {
                    let mut texts = Vec::with_capacity(columns.len());
                    for (column, converter) in columns.iter().zip(converters) {
                        let mut text = Vec::new();
                        if let Some(value) = row.value(column.place) {
                            converter.write_text(value, &mut text);
                        }
                        texts.push(
                            serde_json::Value::from(String::from_utf8_lossy(&text)).to_string(),
                        );
                    }
                    self.record.push(b'[');
                    self.record.extend_from_slice(texts.join(", ").as_bytes());
                    self.record.push(b']');
                }
            }
        }
    }

    fn record(&self) -> Option<&[u8]> {
        (!self.key.is_empty()).then_some(self.record.as_slice())
    }

    /// The row as an object of these columns, by number; the keys are theirs.
    ///
    /// # Safety
    /// The row is one of the table's.
    unsafe fn write(&mut self, row: Row, keys: &Keys, columns: impl Iterator<Item = usize>) {
        self.object.begin(keys);
        for number in columns {
            let column = &self.table.columns[number];
            // SAFETY: the column is the table's, and its converter of its type.
            unsafe {
                match row.value(column.place) {
                    None => self.object.null(),
                    Some(_) if column.masked => self.object.string(MASK),
                    Some(value) => self.values[number].write(value, &mut self.object),
                }
            }
        }
    }

    /// An entry of a whole row.
    ///
    /// # Safety
    /// The row is one of the table's.
    unsafe fn log_row(&mut self, log: &mut Log, row: Row, new: bool) {
        let table = self.table;
        // SAFETY: as the caller says.
        log.in_row_memory(|| unsafe {
            self.read_key(row);
            self.write(row, &table.keys, 0..table.columns.len());
        });
        let size = self.object.size();
        let values = Some(log.in_batch_memory(|| self.object.finish()));
        let (old, new) = if new { (None, values) } else { (values, None) };
        log.add(self.record(), old, new, size);
    }
}

/// Logs rows that came, or went.
///
/// # Safety
/// The rows are the table's.
unsafe fn inserted(table: &Table, mut rows: Rows, operation: &str) {
    let mut writer = Writer::new(table);
    let mut log = Log::open(&table.name, operation, rows.count);
    let new = operation == "INSERT";
    while let Some(row) = rows.next() {
        // SAFETY: as the caller says.
        unsafe { writer.log_row(&mut log, row, new) };
    }
    log.finish();
    rows.close();
}

/// What an UPDATE changed: which columns, and their keys, which one row mostly shares with the next.
#[derive(Default)]
struct Changes {
    columns: Vec<usize>,
    of_keys: Vec<usize>,
    keys: Keys,
}

/// Logs rows that changed, old and new in the same order.
///
/// # Safety
/// The rows are the table's.
unsafe fn updated(table: &Table, mut old: Rows, mut new: Rows) {
    let mut writer = Writer::new(table);
    let mut changes = Changes::default();
    let mut log = Log::open(&table.name, "UPDATE", old.count);
    while let (Some(before), Some(after)) = (old.next(), new.next()) {
        // SAFETY: as the caller says.
        unsafe { log_change(&mut writer, &mut log, &mut changes, before, after) };
    }
    log.finish();
    old.close();
    new.close();
}

/// # Safety
/// The rows are the table's.
unsafe fn log_change(
    writer: &mut Writer,
    log: &mut Log,
    changes: &mut Changes,
    before: Row,
    after: Row,
) {
    let table = writer.table;
    changes.columns.clear();
    log.in_row_memory(|| {
        for (number, column) in table.columns.iter().enumerate() {
            // SAFETY: the column is the table's.
            if !unsafe { same(column, before, after) } {
                changes.columns.push(number);
            }
        }
    });
    if changes.columns.is_empty() {
        return;
    }
    if table.full_rows {
        changes.columns.clear();
        changes.columns.extend(0..table.columns.len());
    }
    if changes.of_keys != changes.columns {
        let names = changes
            .columns
            .iter()
            .map(|number| table.columns[*number].name.as_bytes());
        changes.keys = Keys::of(names);
        changes.of_keys.clone_from(&changes.columns);
    }
    let mut size = 0;
    let mut values = [None, None];
    for (row, value) in [before, after].into_iter().zip(&mut values) {
        log.in_row_memory(|| {
            // SAFETY: as the caller says.
            unsafe { writer.write(row, &changes.keys, changes.columns.iter().copied()) }
        });
        size += writer.object.size();
        *value = Some(log.in_batch_memory(|| writer.object.finish()));
    }
    // SAFETY: as the caller says.
    log.in_row_memory(|| unsafe { writer.read_key(after) });
    log.add(writer.record(), values[0], values[1], size);
}

/// Are both rows the same here, to the last bit?
///
/// # Safety
/// The column is one of the rows'.
unsafe fn same(column: &Column, before: Row, after: Row) -> bool {
    // SAFETY: as the caller says; what a value looks like, its type's length tells.
    unsafe {
        let (a, b) = match (before.value(column.place), after.value(column.place)) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => return true,
            _ => return false,
        };
        if column.by_value {
            return a.value() == b.value();
        }
        match column.length {
            -1 => same_varlena(a, b),
            -2 => {
                let text = |datum: Datum| std::ffi::CStr::from_ptr(datum.cast_mut_ptr());
                text(a) == text(b)
            }
            length => {
                let bytes = |datum: Datum| {
                    std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), length as usize)
                };
                bytes(a) == bytes(b)
            }
        }
    }
}

/// # Safety
/// Both datums are of a type of variable length.
unsafe fn same_varlena(a: Datum, b: Datum) -> bool {
    use pgrx::varlena::{varatt_is_1b_e, varsize_any};
    // SAFETY: as the caller says.
    unsafe {
        let stored_apart = |datum: Datum| varatt_is_1b_e(datum.cast_mut_ptr());
        if stored_apart(a) && stored_apart(b) {
            let pointer = |datum: Datum| {
                let varlena: *mut pg_sys::varlena = datum.cast_mut_ptr();
                std::slice::from_raw_parts(varlena.cast::<u8>(), varsize_any(varlena))
            };
            if pointer(a) == pointer(b) {
                return true;
            }
        }
        if (stored_apart(a) || stored_apart(b))
            && pg_sys::toast_raw_datum_size(a) != pg_sys::toast_raw_datum_size(b)
        {
            return false;
        }
        varlena::bytes(a) == varlena::bytes(b)
    }
}

/// Logs an UPDATE that moved rows to other partitions, of which some did not arrive, because a trigger there
/// swallowed them. Both tables are in the same order still, so that an old row without a new one is one that
/// is gone. Which those are, the keys tell; a row whose key changed too is logged as one that went and one that
/// came.
///
/// # Safety
/// The rows are the table's.
unsafe fn moved(table: &Table, mut old: Rows, mut new: Rows) {
    let mut writer = Writer::new(table);
    let mut before_keys = HashSet::new();
    let mut deleted = Log::open(&table.name, "DELETE", 1);
    while let Some(row) = old.next() {
        // SAFETY: as the caller says.
        deleted.in_row_memory(|| unsafe { writer.read_key(row) });
        before_keys.insert(writer.record.clone());
    }
    old.again();
    let (mut inserted, mut changed) = (
        Log::open(&table.name, "INSERT", 1),
        Log::open(&table.name, "UPDATE", old.count),
    );
    let mut changes = Changes::default();
    let keyless = table.key.is_empty();
    let mut next = new.next();
    loop {
        // SAFETY: as the caller says, for all of these.
        unsafe {
            let mut next_key = Vec::new();
            while let Some(row) = next {
                inserted.in_row_memory(|| writer.read_key(row));
                next_key.clone_from(&writer.record);
                if !keyless && before_keys.contains(&next_key) {
                    break;
                }
                writer.log_row(&mut inserted, row, true);
                next = new.next();
            }
            let Some(before) = old.next() else {
                break;
            };
            deleted.in_row_memory(|| writer.read_key(before));
            match next {
                Some(after) if !keyless && writer.record == next_key => {
                    log_change(&mut writer, &mut changed, &mut changes, before, after);
                    next = new.next();
                }
                _ => writer.log_row(&mut deleted, before, false),
            }
        }
    }
    for log in [deleted, inserted, changed] {
        log.finish();
    }
    old.close();
    new.close();
}
