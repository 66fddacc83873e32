//! The trigger that logs what a statement did to a table: one call a statement, which reads the rows as they were
//! and as they are.
//!
//! Whoever may write to a table has to be able to execute what its triggers call. So the function is executable
//! by PUBLIC, but stands in schema `gemba_internal`, on which nobody has USAGE: a trigger finds it by oid, a
//! person cannot name it, nor put it on a table of their own.

#![expect(unsafe_code, reason = "a trigger, called by PostgreSQL itself")]

use super::log::Log;
use super::record;
use super::table::{self, Column, Table};
use crate::error::{Error, OrRaise};
use crate::postgres::c_function::c_function;
use crate::postgres::json_value::{Converter, LEFT_OUT};
use crate::postgres::jsonb_writer::{Keys, ObjectWriter};
use crate::postgres::{trigger, varlena};
use pgrx::pg_sys::{self, Datum};
use std::collections::{HashSet, VecDeque};

#[rustfmt::skip]
mod exported {
    use super::*;

    c_function!(gemba_audit_rows, pg_finfo_gemba_audit_rows, fired());
}

const MASK: &[u8] = b"***";

/// Bytes of text that the values of an entry may take up, so that it can be dumped and sealed.
const LONGEST: usize = 128 << 20;

/// Keys that are read ahead.
const AHEAD: usize = 1_000;

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

    /// The same rows from the first one on, to be read apart from these.
    fn twin(&self) -> Self {
        // SAFETY: as `open`; the slot knows the descriptor.
        unsafe {
            let pointer =
                pg_sys::tuplestore_alloc_read_pointer(self.store, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(self.store, pointer);
            pg_sys::tuplestore_rescan(self.store);
            let slot = pg_sys::MakeSingleTupleTableSlot(
                (*self.slot).tts_tupleDescriptor,
                &raw const pg_sys::TTSOpsMinimalTuple,
            );
            Self {
                pointer,
                slot,
                ..*self
            }
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
    ahead: Option<Ahead>,
    /// Columns, by number, for which an entry has no room.
    left_out: Vec<usize>,
}

/// Keys that are read before their rows' turn comes: what they are as text depends on settings, which are not
/// changed for each of them.
struct Ahead {
    rows: Rows,
    keys: VecDeque<Vec<u8>>,
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
            ahead: None,
            left_out: Vec::new(),
        }
    }

    /// For these rows, one after the other.
    fn of_rows(table: &'a Table, rows: &Rows) -> Self {
        let ahead = table.key_settings.then(|| Ahead {
            rows: rows.twin(),
            keys: VecDeque::new(),
        });
        Self {
            ahead,
            ..Self::new(table)
        }
    }

    /// Notes the key of the row whose turn it is.
    ///
    /// # Safety
    /// The row is one of the table's.
    unsafe fn next_key(&mut self, log: &mut Log, row: Row) {
        let Some(mut ahead) = self.ahead.take() else {
            // SAFETY: as the caller says.
            return log.in_row_memory(|| unsafe { self.read_key(row) });
        };
        if ahead.keys.is_empty() {
            record::with_key_settings(|| {
                while ahead.keys.len() < AHEAD
                    && let Some(row) = ahead.rows.next()
                {
                    // SAFETY: they are the same rows.
                    log.in_row_memory(|| unsafe { self.write_key(row) });
                    ahead.keys.push_back(self.record.clone());
                }
            });
        }
        self.record = ahead.keys.pop_front().unwrap_or_default();
        self.ahead = Some(ahead);
    }

    /// Notes the row's key.
    ///
    /// # Safety
    /// The row is one of the table's.
    unsafe fn read_key(&mut self, row: Row) {
        // SAFETY: as the caller says.
        unsafe {
            if self.table.key_settings {
                record::with_key_settings(|| self.write_key(row));
            } else {
                self.write_key(row);
            }
        }
    }

    /// # Safety
    /// The row is one of the table's.
    unsafe fn write_key(&mut self, row: Row) {
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
        if self.record.len() > record::LONGEST {
            let id = record::id(&String::from_utf8_lossy(&self.record)).into_owned();
            self.record = id.into_bytes();
        }
    }

    fn record(&self) -> Option<&[u8]> {
        (!self.key.is_empty()).then_some(self.record.as_slice())
    }

    /// The row as an object of these columns, by number; the keys are theirs. Adds to the length of the entry;
    /// where that is too long, the object is not whole.
    ///
    /// # Safety
    /// The row is one of the table's.
    unsafe fn write(
        &mut self,
        row: Row,
        keys: &Keys,
        columns: impl Iterator<Item = usize>,
        length: &mut usize,
    ) {
        self.object.begin(keys);
        for number in columns {
            if *length > LONGEST {
                return;
            }
            let column = &self.table.columns[number];
            // SAFETY: the column is the table's, and its converter of its type.
            unsafe {
                match row.value(column.place) {
                    None => self.object.null(),
                    Some(_) if column.masked => self.object.string(MASK),
                    Some(_) if self.left_out.contains(&number) => self.object.string(LEFT_OUT),
                    Some(value) => *length += self.values[number].write(value, &mut self.object),
                }
            }
        }
    }

    fn close(self) {
        if let Some(ahead) = self.ahead {
            ahead.rows.close();
        }
    }

    /// Leaves out the largest of these columns, so that the entry is not too long.
    ///
    /// # Safety
    /// The rows are the table's.
    #[cold]
    unsafe fn leave_out(&mut self, log: &mut Log, rows: &[Row], columns: &[usize]) {
        let mut lengths = Vec::with_capacity(columns.len());
        for &number in columns {
            let column = &self.table.columns[number];
            let only = Keys::of(std::iter::once(column.name.as_bytes()));
            let mut length = 0;
            for row in rows {
                let mut of_row = 0;
                // SAFETY: as the caller says.
                log.in_row_memory(|| unsafe {
                    self.write(*row, &only, std::iter::once(number), &mut of_row);
                });
                length += of_row;
            }
            lengths.push((length, number));
        }
        lengths.sort_unstable();
        let mut all: usize = lengths.iter().map(|(length, _)| length).sum();
        while all > LONGEST
            && let Some((length, number)) = lengths.pop()
        {
            all -= length;
            self.left_out.push(number);
        }
    }

    /// An entry of a whole row.
    ///
    /// # Safety
    /// The row is one of the table's.
    unsafe fn log_row(&mut self, log: &mut Log, row: Row, new: bool) {
        let table = self.table;
        let columns = 0..table.columns.len();
        let mut length = 0;
        // SAFETY: as the caller says.
        unsafe {
            self.next_key(log, row);
            log.in_row_memory(|| self.write(row, &table.keys, columns.clone(), &mut length));
            if length > LONGEST {
                self.leave_out(log, &[row], &columns.clone().collect::<Vec<_>>());
                log.in_row_memory(|| self.write(row, &table.keys, columns, &mut 0));
                self.left_out.clear();
            }
        }
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
    let mut writer = Writer::of_rows(table, &rows);
    let mut log = Log::open(&table.name, operation, rows.count);
    let new = operation == "INSERT";
    while let Some(row) = rows.next() {
        // SAFETY: as the caller says.
        unsafe { writer.log_row(&mut log, row, new) };
    }
    log.finish();
    writer.close();
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
    let mut writer = Writer::of_rows(table, &new);
    let mut changes = Changes::default();
    let mut log = Log::open(&table.name, "UPDATE", old.count);
    while let (Some(before), Some(after)) = (old.next(), new.next()) {
        // SAFETY: as the caller says.
        unsafe { log_change(&mut writer, &mut log, &mut changes, before, after) };
    }
    log.finish();
    writer.close();
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
    if writer.ahead.is_some() {
        // Its turn passes, also where nothing changed.
        // SAFETY: as the caller says.
        unsafe { writer.next_key(log, after) };
    }
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
    // SAFETY: as the caller says.
    unsafe {
        let (mut values, mut size, length) = write_both(writer, log, changes, before, after);
        if length > LONGEST {
            writer.leave_out(log, &[before, after], &changes.columns);
            (values, size, _) = write_both(writer, log, changes, before, after);
            writer.left_out.clear();
        }
        if writer.ahead.is_none() {
            log.in_row_memory(|| writer.read_key(after));
        }
        log.add(writer.record(), values[0], values[1], size);
    }
}

/// The changes of a row, and how many bytes they take up, here and at most as text.
///
/// # Safety
/// The rows are the table's.
unsafe fn write_both(
    writer: &mut Writer,
    log: &mut Log,
    changes: &Changes,
    before: Row,
    after: Row,
) -> ([Option<Datum>; 2], usize, usize) {
    let (mut size, mut length) = (0, 0);
    let values = [before, after].map(|row| {
        let columns = changes.columns.iter().copied();
        // SAFETY: as the caller says.
        log.in_row_memory(|| unsafe { writer.write(row, &changes.keys, columns, &mut length) });
        size += writer.object.size();
        // What is not whole is made again.
        (length <= LONGEST).then(|| log.in_batch_memory(|| writer.object.finish()))
    });
    (values, size, length)
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
