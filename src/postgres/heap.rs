//! Writing rows into a table at full speed, as COPY does: a thousand at a time, past the executor.

#![expect(unsafe_code, reason = "calls the server's heap directly")]

use pgrx::pg_sys;

/// Rows that are written together; COPY uses the same number.
const BATCH: usize = 1_000;

/// A table that nobody else can see yet, open for writing.
///
/// There is no `Drop`: when an error ends the transaction, the server itself closes the table and frees
/// the memory.
pub struct HeapWriter {
    relation: pg_sys::Relation,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    used: usize,
    state: pg_sys::BulkInsertState,
    /// Tuples of one batch, and the values they are formed of.
    memory: pg_sys::MemoryContext,
    command: pg_sys::CommandId,
    options: i32,
    pub rows: u64,
}

impl HeapWriter {
    /// Opens a table that was created in this very (sub-)transaction. With `frozen`, its rows are marked
    /// as visible to all from the start, which spares the vacuum that would say so later; as with COPY
    /// FREEZE that is only allowed while the table is not visible to others.
    pub fn open(table: pg_sys::Oid, frozen: bool) -> Self {
        // SAFETY: plain calls in a transaction; the pointers stay valid until `finish`, because the
        // memory context and the relation are this writer's own.
        unsafe {
            let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            let slots = (0..BATCH)
                .map(|_| {
                    pg_sys::MakeSingleTupleTableSlot(
                        (*relation).rd_att,
                        &raw const pg_sys::TTSOpsVirtual,
                    )
                })
                .collect();
            let memory = pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"gemba batch".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            let options = pg_sys::HEAP_INSERT_SKIP_FSM
                | if frozen {
                    pg_sys::HEAP_INSERT_FROZEN
                } else {
                    0
                };
            Self {
                relation,
                slots,
                used: 0,
                state: pg_sys::GetBulkInsertState(),
                memory,
                command: pg_sys::GetCurrentCommandId(true),
                options: options as i32,
                rows: 0,
            }
        }
    }

    /// Adds a row. `fill` is called with the slot's values, all NULL, in the table's order; what it
    /// allocates lives as long as the batch.
    pub fn push(&mut self, fill: impl FnOnce(&mut [pg_sys::Datum], &mut [bool])) {
        // SAFETY: the slot has room for one value per attribute of its descriptor.
        unsafe {
            let slot = self.slots[self.used];
            if !(*slot).tts_flags & pg_sys::TTS_FLAG_EMPTY as u16 != 0 {
                pg_sys::ExecClearTuple(slot);
            }
            let attributes = (*(*slot).tts_tupleDescriptor).natts as usize;
            let values = std::slice::from_raw_parts_mut((*slot).tts_values, attributes);
            let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, attributes);
            nulls.fill(true);
            let outer = pg_sys::MemoryContextSwitchTo(self.memory);
            fill(values, nulls);
            pg_sys::MemoryContextSwitchTo(outer);
            pg_sys::ExecStoreVirtualTuple(slot);
        }
        self.used += 1;
        self.rows += 1;
        if self.used == BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.used == 0 {
            return;
        }
        // SAFETY: the first `used` slots hold tuples for this relation; their memory is reset only after
        // they have been written.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.memory);
            pg_sys::heap_multi_insert(
                self.relation,
                self.slots.as_mut_ptr(),
                self.used as i32,
                self.command,
                self.options,
                self.state,
            );
            pg_sys::MemoryContextSwitchTo(outer);
            for &slot in &self.slots[..self.used] {
                pg_sys::ExecClearTuple(slot);
            }
            pg_sys::MemoryContextReset(self.memory);
        }
        self.used = 0;
    }

    /// Writes what is left and closes the table; returns the number of rows written in all.
    pub fn finish(mut self) -> u64 {
        self.flush();
        // SAFETY: each was made by `open` and is used for the last time here. The lock is kept.
        unsafe {
            pg_sys::FreeBulkInsertState(self.state);
            for &slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::MemoryContextDelete(self.memory);
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            // The rows are there for the next statement of this transaction.
            pg_sys::CommandCounterIncrement();
        }
        self.rows
    }
}
