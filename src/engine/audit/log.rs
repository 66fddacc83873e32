//! Writing entries: a thousand at a time, past the executor, as COPY does. So whoever changes an audited table
//! needs no right on the log, and nobody has one to write there.

#![expect(unsafe_code, reason = "calls the server's heap directly")]

use super::ids;
use super::indexes::Indexes;
use super::place::{self, COLUMNS, Place};
use super::who::{self, Who};
use crate::postgres::varlena;
use pg_sys::{Datum, MemoryContext};
use pgrx::{IntoDatum, pg_sys};

/// Entries that are written together, as many as COPY takes; ten times that was no faster.
const BATCH: usize = 1_000;

/// Or fewer, when their values take up so many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// From so many entries on, pages are filled through a buffer of their own, which spares everybody else's.
const MANY: i64 = 1_000;

/// The log, open for the entries of one statement.
///
/// There is no `Drop`: when an error ends the (sub-)transaction, the server itself closes what is open, frees
/// the memory, and no entry is left.
pub struct Log {
    relation: pg_sys::Relation,
    place: Place,
    state: *mut pg_sys::EState,
    indexes: Indexes,
    bulk: pg_sys::BulkInsertState,
    command: pg_sys::CommandId,
    /// What all entries have in common.
    common: [Option<Datum>; COLUMNS.len()],
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    used: usize,
    bytes: usize,
    /// The entries of a batch, and what one row needs on the way.
    batch: MemoryContext,
    row: MemoryContext,
}

/// A memory context below the current one.
fn memory(parent: MemoryContext) -> MemoryContext {
    // SAFETY: the parent is a live context.
    unsafe {
        pg_sys::AllocSetContextCreateInternal(
            parent,
            c"gemba audit".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

impl Log {
    /// For about so many entries of one operation on one table.
    pub fn open(table: &str, operation: &str, about: i64) -> Self {
        let at = ids::moment();
        let (relation, place) = place::open(at);
        let common = common(who::asks(), table, operation, at);
        // SAFETY: plain calls in a transaction; what they make lives until `finish`, or the error that makes
        // it superfluous.
        unsafe {
            let state = pg_sys::CreateExecutorState();
            let result = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            pg_sys::InitResultRelInfo(result, relation, 0, std::ptr::null_mut(), 0);
            let bulk = if about >= MANY {
                pg_sys::GetBulkInsertState()
            } else {
                std::ptr::null_mut()
            };
            Self {
                relation,
                place,
                state,
                indexes: Indexes::open(result, &place),
                bulk,
                command: pg_sys::GetCurrentCommandId(true),
                common,
                slots: Vec::new(),
                used: 0,
                bytes: 0,
                batch: memory(pg_sys::CurrentMemoryContext),
                row: memory(pg_sys::CurrentMemoryContext),
            }
        }
    }

    /// Adds an entry. Old and new values were made in [`Self::in_batch_memory`] and take up so many bytes.
    pub fn add(
        &mut self,
        record: Option<&[u8]>,
        old: Option<Datum>,
        new: Option<Datum>,
        bytes: usize,
    ) {
        // SAFETY: the slot has a value for each attribute of the partition, in which the columns' places are.
        unsafe {
            let slot = self.free_slot();
            let attributes = (*(*slot).tts_tupleDescriptor).natts as usize;
            let values = std::slice::from_raw_parts_mut((*slot).tts_values, attributes);
            let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, attributes);
            nulls.fill(true);
            let mut set = |column: usize, value: Option<Datum>| {
                if let Some(value) = value {
                    let place = self.place.columns[column];
                    values[place] = value;
                    nulls[place] = false;
                }
            };
            for (column, value) in self.common.iter().enumerate() {
                set(column, *value);
            }
            let outer = pg_sys::MemoryContextSwitchTo(self.batch);
            let id = pg_sys::palloc(16).cast::<[u8; 16]>();
            id.write(ids::next());
            set(0, Some(Datum::from(id)));
            set(3, record.map(varlena::of_bytes));
            set(6, old);
            set(7, new);
            pg_sys::MemoryContextSwitchTo(outer);
            pg_sys::ExecStoreVirtualTuple(slot);
        }
        self.used += 1;
        self.bytes += bytes;
        if self.used == BATCH || self.bytes > BATCH_BYTES {
            self.flush();
        }
    }

    /// Runs `work` in memory that is freed when the next row's turn comes.
    #[inline]
    pub fn in_row_memory<T>(&mut self, work: impl FnOnce() -> T) -> T {
        // SAFETY: nothing of the last row is used any more.
        unsafe {
            pg_sys::MemoryContextReset(self.row);
            let outer = pg_sys::MemoryContextSwitchTo(self.row);
            let value = work();
            pg_sys::MemoryContextSwitchTo(outer);
            value
        }
    }

    /// Runs `work` in memory that lives until the entries made there are written.
    #[inline]
    pub fn in_batch_memory<T>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: the context lives as long as this.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.batch);
            let value = work();
            pg_sys::MemoryContextSwitchTo(outer);
            value
        }
    }

    /// # Safety
    /// The slot is filled before the next one is asked for.
    unsafe fn free_slot(&mut self) -> *mut pg_sys::TupleTableSlot {
        // SAFETY: the slots are this log's own.
        unsafe {
            if self.used == self.slots.len() {
                self.slots.push(pg_sys::MakeSingleTupleTableSlot(
                    (*self.relation).rd_att,
                    &raw const pg_sys::TTSOpsVirtual,
                ));
            }
            self.slots[self.used]
        }
    }

    fn flush(&mut self) {
        if self.used == 0 {
            return;
        }
        // SAFETY: the first `used` slots hold tuples of this relation; writing them sets where they are, which
        // the indexes are told. Their memory is reset only after that.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.batch);
            pg_sys::heap_multi_insert(
                self.relation,
                self.slots.as_mut_ptr(),
                self.used as i32,
                self.command,
                0,
                self.bulk,
            );
            self.indexes.insert(&self.slots[..self.used], self.state);
            pg_sys::MemoryContextSwitchTo(outer);
            for &slot in &self.slots[..self.used] {
                pg_sys::ExecClearTuple(slot);
            }
            pg_sys::MemoryContextReset(self.batch);
        }
        self.used = 0;
        self.bytes = 0;
    }

    /// Writes what is left. The lock is kept until the transaction ends.
    pub fn finish(mut self) {
        self.flush();
        // SAFETY: each was made by `open` and is used for the last time here.
        unsafe {
            for &slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            if !self.bulk.is_null() {
                pg_sys::FreeBulkInsertState(self.bulk);
            }
            self.indexes.close();
            pg_sys::FreeExecutorState(self.state);
            pg_sys::MemoryContextDelete(self.row);
            pg_sys::MemoryContextDelete(self.batch);
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}

/// Values that all entries of a statement share, in the current memory context.
fn common(who: Who, table: &str, operation: &str, at: i64) -> [Option<Datum>; COLUMNS.len()] {
    // SAFETY: reads the backend's own state, and gives the transaction its number.
    let (transaction, system, statement_at) = unsafe {
        (
            pg_sys::GetTopFullTransactionId().value as i64,
            pg_sys::GetSystemIdentifier() as i64,
            pg_sys::GetCurrentStatementStartTimestamp(),
        )
    };
    [
        None,
        table.into_datum(),
        operation.into_datum(),
        None,
        who.user
            .and_then(|user| pgrx::Uuid::from_bytes(user).into_datum()),
        who.role.into_datum(),
        None,
        None,
        who.reason
            .map(|reason| varlena::of_bytes(reason.to_bytes())),
        who.address.map(|address| varlena::of_bytes(&address)),
        Some(Datum::from(transaction)),
        Some(Datum::from(system)),
        Some(Datum::from(statement_at)),
        Some(Datum::from(at)),
    ]
}
