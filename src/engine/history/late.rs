//! The table of late rows: an ordinary one, written as the server's executor writes ordinary tables.

#![expect(unsafe_code, reason = "calls the server's tables and indexes directly")]

use super::layout::Layout;
use super::store::comparison;
use crate::error::{Error, OrRaise, Result};
use crate::postgres::{descriptor, relation};
use pg_sys::Datum;
use pgrx::prelude::*;
use std::rc::Rc;

/// Rows that are handed to the heap at once.
pub const BATCH: usize = 1000;

/// The late rows' table, open for writing. The server closes it when an error ends the transaction.
pub struct Late {
    pub relation: pg_sys::Relation,
    layout: Rc<Layout>,
    /// What the executor's functions for indexes want.
    target: *mut pg_sys::ResultRelInfo,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    bulk: pg_sys::BulkInsertState,
    memory: pg_sys::MemoryContext,
}

impl Late {
    /// `speculative` says whether rows may be inserted that are only kept if there is no such row already.
    ///
    /// # Safety
    /// The memory context lives until [`Self::close`], or until an error.
    pub unsafe fn open(
        layout: &Rc<Layout>,
        memory: pg_sys::MemoryContext,
        speculative: bool,
    ) -> Result<Self> {
        // SAFETY: plain calls in a transaction; the node is made in the caller's memory.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(memory);
            let table =
                pg_sys::table_open(layout.late, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            check(layout, table)?;
            let target =
                PgBox::<pg_sys::ResultRelInfo>::alloc_node(pg_sys::NodeTag::T_ResultRelInfo)
                    .into_pg();
            pg_sys::InitResultRelInfo(target, table, 0, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(target, speculative);
            let bulk = pg_sys::GetBulkInsertState();
            pg_sys::MemoryContextSwitchTo(before);
            Ok(Self {
                relation: table,
                layout: Rc::clone(layout),
                target,
                slots: Vec::new(),
                bulk,
                memory,
            })
        }
    }

    pub fn close(self) {
        // SAFETY: all were made by `open` and are used for the last time here. Locks are kept.
        unsafe {
            for slot in self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::FreeBulkInsertState(self.bulk);
            pg_sys::ExecCloseIndices(self.target);
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }

    /// Its one index: (keys…, time).
    pub fn index(&self) -> pg_sys::Relation {
        // SAFETY: the indexes were opened with the table.
        unsafe { first_index(self.target) }
    }

    fn slot(&mut self, number: usize) -> *mut pg_sys::TupleTableSlot {
        while self.slots.len() <= number {
            // SAFETY: the slot lies in the memory that lives as long as this.
            unsafe {
                let before = pg_sys::MemoryContextSwitchTo(self.memory);
                let slot = pg_sys::table_slot_create(self.relation, std::ptr::null_mut());
                pg_sys::MemoryContextSwitchTo(before);
                self.slots.push(slot);
            }
        }
        self.slots[number]
    }

    /// Fills a slot of this table with a row of the partition.
    ///
    /// # Safety
    /// `row` holds a row of the partition, and is not changed before the slot has been written.
    pub unsafe fn fill(
        &mut self,
        number: usize,
        row: *mut pg_sys::TupleTableSlot,
    ) -> *mut pg_sys::TupleTableSlot {
        let slot = self.slot(number);
        // SAFETY: both have room for so many values as their descriptors have attributes, and `check` saw that places
        // lie within.
        unsafe {
            pg_sys::slot_getallattrs(row);
            pg_sys::ExecClearTuple(slot);
            let width = (*(*slot).tts_tupleDescriptor).natts as usize;
            std::slice::from_raw_parts_mut((*slot).tts_isnull, width).fill(true);
            for (place, column) in self.layout.columns.iter().enumerate() {
                let (value, null) = (*(*row).tts_values.add(place), *(*row).tts_isnull.add(place));
                match column.late {
                    Some(at) => {
                        *(*slot).tts_values.add(at) = value;
                        *(*slot).tts_isnull.add(at) = null;
                    }
                    None if null || column.dropped => {}
                    None => Err(no_room(&self.layout, place)).or_raise(),
                }
            }
            pg_sys::ExecStoreVirtualTuple(slot);
        }
        slot
    }

    /// Writes rows; an error says which of them is there already.
    ///
    /// # Safety
    /// The slots hold rows of the partition; the query's state is alive.
    pub unsafe fn insert(
        &mut self,
        rows: &[*mut pg_sys::TupleTableSlot],
        estate: *mut pg_sys::EState,
    ) {
        // SAFETY: as the caller says.
        unsafe {
            let command = (*estate).es_output_cid;
            let mut slots: Vec<_> = (0..rows.len()).map(|at| self.fill(at, rows[at])).collect();
            if let [slot] = slots[..] {
                pg_sys::table_tuple_insert(self.relation, slot, command, 0, self.bulk.cast());
            } else {
                // What the heap needs for so many rows is freed after them.
                let memory = per_row_memory(estate);
                let before = pg_sys::MemoryContextSwitchTo(memory);
                pg_sys::table_multi_insert(
                    self.relation,
                    slots.as_mut_ptr(),
                    slots.len() as i32,
                    command,
                    0,
                    self.bulk.cast(),
                );
                pg_sys::MemoryContextSwitchTo(before);
            }
            for (at, &slot) in slots.iter().enumerate() {
                self.add_to_indexes(slot, estate, None, false);
                (*rows[at]).tts_tid = super::fdw::late_tid(&(*slot).tts_tid);
                pg_sys::ExecClearTuple(slot);
            }
        }
    }

    /// Writes a row unless there is one with its key and time already; returns whether it did. Waits for others who
    /// are just writing such a row.
    ///
    /// # Safety
    /// As for [`Self::insert`]; the table was opened for it.
    pub unsafe fn insert_if_new(
        &mut self,
        row: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
    ) -> bool {
        // SAFETY: as the caller says. A row that is inserted speculatively is completed or taken back at once.
        unsafe {
            let slot = self.fill(0, row);
            loop {
                let mut conflict = pg_sys::ItemPointerData::default();
                if !self.is_new(slot, estate, &raw mut conflict) {
                    check_visible(self.relation, &raw mut conflict, estate);
                    return false;
                }
                let transaction = pg_sys::GetCurrentTransactionId();
                let token = pg_sys::SpeculativeInsertionLockAcquire(transaction);
                pg_sys::table_tuple_insert_speculative(
                    self.relation,
                    slot,
                    (*estate).es_output_cid,
                    0,
                    std::ptr::null_mut(),
                    token,
                );
                let mut lost = false;
                self.add_to_indexes(slot, estate, Some(&raw mut lost), false);
                pg_sys::table_tuple_complete_speculative(self.relation, slot, token, !lost);
                pg_sys::SpeculativeInsertionLockRelease(transaction);
                if !lost {
                    (*row).tts_tid = super::fdw::late_tid(&(*slot).tts_tid);
                    return true;
                }
                // Somebody else wrote one at the same moment.
                self.fill(0, row);
            }
        }
    }

    /// # Safety
    /// As for [`Self::insert`].
    unsafe fn is_new(
        &self,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
        conflict: pg_sys::ItemPointer,
    ) -> bool {
        // SAFETY: as the caller says.
        unsafe {
            #[cfg(feature = "pg18")]
            let mut own = pg_sys::ItemPointerData {
                ip_posid: 0,
                ..Default::default()
            };
            pg_sys::ExecCheckIndexConstraints(
                self.target,
                slot,
                estate,
                conflict,
                #[cfg(feature = "pg18")]
                &raw mut own,
                std::ptr::null_mut(),
            )
        }
    }

    /// # Safety
    /// The slot holds a row of this table that was just written.
    unsafe fn add_to_indexes(
        &self,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
        lost: Option<*mut bool>,
        _summarizing_only: bool,
    ) {
        // SAFETY: as the caller says. The context that index expressions would be computed in is the query's, which
        // finds its own row in there again.
        unsafe {
            let mut context = (*estate).es_per_tuple_exprcontext;
            if context.is_null() {
                context = pg_sys::MakePerTupleExprContext(estate);
            }
            let own = (*context).ecxt_scantuple;
            pg_sys::ExecInsertIndexTuples(
                self.target,
                slot,
                estate,
                false,
                lost.is_some(),
                lost.unwrap_or(std::ptr::null_mut()),
                std::ptr::null_mut(),
                #[cfg(not(feature = "pg15"))]
                _summarizing_only,
            );
            (*context).ecxt_scantuple = own;
        }
    }

    /// Locks a late row for a change. The slot, of this table, gets its newest version.
    ///
    /// # Safety
    /// The slot is of this table.
    pub unsafe fn lock(
        &self,
        mut tid: pg_sys::ItemPointerData,
        slot: *mut pg_sys::TupleTableSlot,
        snapshot: pg_sys::Snapshot,
        command: pg_sys::CommandId,
        follow: bool,
    ) -> (pg_sys::TM_Result::Type, pg_sys::TM_FailureData) {
        let mut failure = pg_sys::TM_FailureData::default();
        let flags = if follow {
            pg_sys::TUPLE_LOCK_FLAG_FIND_LAST_VERSION as u8
        } else {
            0
        };
        // SAFETY: as the caller says.
        let outcome = unsafe {
            pg_sys::table_tuple_lock(
                self.relation,
                &raw mut tid,
                snapshot,
                slot,
                command,
                pg_sys::LockTupleMode::LockTupleExclusive,
                pg_sys::LockWaitPolicy::LockWaitBlock,
                flags,
                &raw mut failure,
            )
        };
        (outcome, failure)
    }

    /// Puts a row of the partition in the place of a late row that this transaction has locked.
    ///
    /// # Safety
    /// As for [`Self::insert`].
    pub unsafe fn update(
        &mut self,
        mut tid: pg_sys::ItemPointerData,
        row: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
    ) {
        // SAFETY: as the caller says.
        unsafe {
            let slot = self.fill(0, row);
            let mut failure = pg_sys::TM_FailureData::default();
            let mut mode = pg_sys::LockTupleMode::LockTupleExclusive;
            let mut indexes = Default::default();
            let outcome = pg_sys::table_tuple_update(
                self.relation,
                &raw mut tid,
                slot,
                (*estate).es_output_cid,
                (*estate).es_snapshot,
                std::ptr::null_mut(),
                true,
                &raw mut failure,
                &raw mut mode,
                &raw mut indexes,
            );
            if outcome != pg_sys::TM_Result::TM_Ok {
                Err::<(), _>(super::fdw::changed_meanwhile()).or_raise();
            }
            #[cfg(feature = "pg15")]
            let (any, summarizing) = (indexes, false);
            #[cfg(not(feature = "pg15"))]
            let (any, summarizing) = (
                indexes != pg_sys::TU_UpdateIndexes::TU_None,
                indexes == pg_sys::TU_UpdateIndexes::TU_Summarizing,
            );
            if any {
                self.add_to_indexes(slot, estate, None, summarizing);
            }
            (*row).tts_tid = super::fdw::late_tid(&(*slot).tts_tid);
            pg_sys::ExecClearTuple(slot);
        }
    }

    /// Takes away a late row that this transaction has locked.
    ///
    /// # Safety
    /// The query's state is alive.
    pub unsafe fn delete(&self, mut tid: pg_sys::ItemPointerData, estate: *mut pg_sys::EState) {
        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: as the caller says.
        let outcome = unsafe {
            pg_sys::table_tuple_delete(
                self.relation,
                &raw mut tid,
                (*estate).es_output_cid,
                (*estate).es_snapshot,
                std::ptr::null_mut(),
                true,
                &raw mut failure,
                false,
            )
        };
        if outcome != pg_sys::TM_Result::TM_Ok {
            Err::<(), _>(super::fdw::changed_meanwhile()).or_raise();
        }
    }
}

/// # Safety
/// The indexes are open.
unsafe fn first_index(target: *mut pg_sys::ResultRelInfo) -> pg_sys::Relation {
    // SAFETY: as the caller says.
    unsafe {
        if (*target).ri_NumIndices < 1 {
            Err(Error::state("the table of late rows has lost its index")
                .detail(relation::name_of((*target).ri_RelationDesc))
                .hint("restore the partition from a backup"))
            .or_raise()
        }
        *(*target).ri_IndexRelationDescs
    }
}

/// Memory that the executor frees after each row.
///
/// # Safety
/// The query's state is alive.
pub unsafe fn per_row_memory(estate: *mut pg_sys::EState) -> pg_sys::MemoryContext {
    // SAFETY: as the caller says.
    unsafe {
        if (*estate).es_per_tuple_exprcontext.is_null() {
            pg_sys::MakePerTupleExprContext(estate);
        }
        (*(*estate).es_per_tuple_exprcontext).ecxt_per_tuple_memory
    }
}

/// A row that stands in the way has to be one that the statement can see, where that is promised to it.
///
/// # Safety
/// The table is open.
unsafe fn check_visible(
    table: pg_sys::Relation,
    tid: pg_sys::ItemPointer,
    estate: *mut pg_sys::EState,
) {
    // SAFETY: reads the transaction's isolation level; the slot is dropped.
    unsafe {
        if pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32 {
            return;
        }
        let slot = pg_sys::table_slot_create(table, std::ptr::null_mut());
        if pg_sys::table_tuple_fetch_row_version(table, tid, &raw mut pg_sys::SnapshotAnyData, slot)
        {
            let visible =
                pg_sys::table_tuple_satisfies_snapshot(table, slot, (*estate).es_snapshot);
            let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, std::ptr::null_mut());
            let writer = (*(*tuple).t_data).t_choice.t_heap.t_xmin;
            if !visible && !pg_sys::TransactionIdIsCurrentTransactionId(writer) {
                Err::<(), _>(serialization()).or_raise();
            }
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
    }
}

/// What the server says when others changed what a transaction with one snapshot wants to change.
pub fn serialization() -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "could not serialize access due to concurrent update",
    )
    .detail("somebody else changed rows of a compressed partition after this transaction began")
    .hint("run the transaction again")
}

fn no_room(layout: &Layout, place: usize) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "a compressed partition has no room for a column that was added later",
    )
    .detail(format!("column {:?}", layout.columns[place].name))
    .hint("decompress the partition first: gemba.decompress_partition()")
}

/// Places and types of late rows are the partition's.
///
/// # Safety
/// The table is open.
pub unsafe fn check(layout: &Layout, table: pg_sys::Relation) -> Result<()> {
    // SAFETY: an open relation has its descriptor.
    unsafe {
        let described = (*table).rd_att;
        for column in &layout.columns {
            let Some(at) = column.late.filter(|_| !column.dropped) else {
                continue;
            };
            if at >= (*described).natts as usize
                || descriptor::attribute(described, at).atttypid != column.type_oid
            {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_FDW_INVALID_DATA_TYPE,
                    "the compressed partition does not fit its late rows",
                )
                .detail(format!(
                    "column {:?}, table {}",
                    column.name,
                    relation::name_of(table)
                ))
                .hint("compressed partitions are made by gemba.compress_partition(); leave their options and types alone"));
            }
        }
        Ok(())
    }
}

/// What the index of late rows is asked for: those of one key and time.
///
/// # Safety
/// Values and NULLs are those of the partition's columns; the table is that of its late rows.
pub unsafe fn of_key(
    layout: &Layout,
    table: pg_sys::Relation,
    values: &[Datum],
    nulls: &[bool],
) -> Vec<pg_sys::ScanKeyData> {
    let places = layout.keys.iter().chain([&layout.order]);
    places
        .map(|&place| {
            let at = layout.columns[place].late.unwrap_or(place);
            let mut key = pg_sys::ScanKeyData::default();
            // SAFETY: as the caller says; the operator is the type's own.
            unsafe {
                let facts = descriptor::attribute((*table).rd_att, at);
                let (flags, strategy, function) = if nulls[place] {
                    let flags = pg_sys::SK_ISNULL | pg_sys::SK_SEARCHNULL;
                    (flags as i32, 0, pg_sys::InvalidOid)
                } else {
                    let equal = pg_sys::BTEqualStrategyNumber;
                    (0, equal, comparison(facts.atttypid, equal))
                };
                pg_sys::ScanKeyEntryInitialize(
                    &raw mut key,
                    flags,
                    at as i16 + 1,
                    strategy as u16,
                    pg_sys::InvalidOid,
                    facts.attcollation,
                    function,
                    values[place],
                );
            }
            key
        })
        .collect()
}

impl Layout {
    /// A late row in the order of the partition's columns.
    ///
    /// # Safety
    /// The slot holds a row of the late rows' table, whose values live as long as it does.
    pub unsafe fn of_late(
        &self,
        slot: *mut pg_sys::TupleTableSlot,
        values: &mut [Datum],
        nulls: &mut [bool],
    ) {
        // SAFETY: as the caller says; places lie within the row, as `check` saw.
        unsafe {
            pg_sys::slot_getallattrs(slot);
            for (place, column) in self.columns.iter().enumerate() {
                let at = column.late.filter(|_| !column.dropped);
                values[place] = at.map_or(Datum::null(), |at| *(*slot).tts_values.add(at));
                nulls[place] = at.is_none_or(|at| *(*slot).tts_isnull.add(at));
            }
        }
    }
}
