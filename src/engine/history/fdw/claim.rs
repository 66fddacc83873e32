//! Making a row this transaction's own before it is changed.
//!
//! As in an ordinary table, somebody else who is changing it is waited for. What they did then decides, in READ
//! COMMITTED: a row that is gone is left alone, one that was changed is looked at again, as it is now. A segment may
//! have been written anew because of other rows in it, or folded: then the row is looked for by its key and time, and
//! is the same one if nothing of it differs. (So an update that changes the time of a row in a segment looks to those
//! who waited for it like a deletion.) Transactions with one snapshot end with 40001.

#![expect(unsafe_code, reason = "works with the server's rows and locks")]

use super::super::late::{self, serialization};
use super::super::layout::Layout;
use super::super::rows::Rows;
use super::super::store::OfKey;
use super::modify::Changer;
use super::places::{Places, Row, changed_meanwhile};
use crate::error::{Error, Result};
use crate::postgres::descriptor;
use pg_sys::{Datum, TM_Result};
use pgrx::prelude::*;
use std::rc::Rc;

/// A row as the statement has found it.
pub struct Old {
    pub tuple: pg_sys::HeapTupleData,
    pub values: Vec<Datum>,
    pub nulls: Vec<bool>,
}

pub enum Claim {
    /// Somebody else took it away, or this statement has changed it already.
    Gone,
    Same(Row),
    /// The slot has what it is now.
    Changed(Row, *mut pg_sys::TupleTableSlot),
}

impl Changer {
    /// Which row a row of the plan stands for, and what it was.
    ///
    /// # Safety
    /// The slot holds a row of the plan that lives as long as what is returned.
    pub unsafe fn row_of(
        &self,
        target: *mut pg_sys::ResultRelInfo,
        plan_slot: *mut pg_sys::TupleTableSlot,
    ) -> Result<(Row, Old)> {
        let missing = || {
            Error::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "a row of a compressed partition came without what tells it from others",
            )
            .hint("please report this")
        };
        if self.row_at <= 0 || self.whole_at <= 0 {
            return Err(missing());
        }
        let mut null = false;
        // SAFETY: as the caller says; the columns have these types.
        unsafe {
            let tid = pg_sys::ExecGetJunkAttribute(plan_slot, self.row_at, &raw mut null);
            if null {
                return Err(missing());
            }
            let row = Row::of(&*tid.cast_mut_ptr::<pg_sys::ItemPointerData>());
            let whole = pg_sys::ExecGetJunkAttribute(plan_slot, self.whole_at, &raw mut null);
            if null {
                return Err(missing());
            }
            let head = pg_sys::pg_detoast_datum(whole.cast_mut_ptr())
                .cast::<pg_sys::HeapTupleHeaderData>();
            let mut tuple = pg_sys::HeapTupleData {
                t_len: pgrx::varlena::varsize(head.cast()) as u32,
                t_data: head,
                t_tableOid: self.layout.table,
                ..Default::default()
            };
            tuple.t_self.ip_posid = 0;
            let width = self.layout.columns.len();
            let (mut values, mut nulls) = (vec![Datum::null(); width], vec![true; width]);
            pg_sys::heap_deform_tuple(
                &raw mut tuple,
                (*(*target).ri_RelationDesc).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            Ok((
                row,
                Old {
                    tuple,
                    values,
                    nulls,
                },
            ))
        }
    }

    /// # Safety
    /// The row is one that this query has read; the target is its partition.
    pub unsafe fn claim(
        &mut self,
        estate: *mut pg_sys::EState,
        target: *mut pg_sys::ResultRelInfo,
        row: Row,
        old: &Old,
    ) -> Result<Claim> {
        // SAFETY: as the caller says.
        unsafe {
            let one_snapshot = pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32;
            let gone = match row {
                Row::InSegment { place, row: number } => {
                    let places = Places::of(estate, &self.layout);
                    let mut places = places.borrow_mut();
                    if places.is_marked(place, number) {
                        return Ok(Claim::Gone);
                    }
                    if places.is_claimed(place)
                        || self.claim_segment(estate, &places.tid_of(place)?)?
                    {
                        places.claim(place)?;
                        return Ok(Claim::Same(row));
                    }
                    true
                }
                Row::Late(tid) => {
                    let slot = pg_sys::table_slot_create(self.late.relation, std::ptr::null_mut());
                    let (outcome, failure) = self.late.lock(
                        tid,
                        slot,
                        (*estate).es_snapshot,
                        (*estate).es_output_cid,
                        !one_snapshot,
                    );
                    let claim = match outcome {
                        TM_Result::TM_Ok if failure.traversed => {
                            let tid = (*slot).tts_tid;
                            Some(Claim::Changed(Row::Late(tid), self.newest(target, slot)))
                        }
                        TM_Result::TM_Ok => Some(Claim::Same(row)),
                        TM_Result::TM_SelfModified if failure.cmax == (*estate).es_output_cid => {
                            Some(Claim::Gone)
                        }
                        TM_Result::TM_SelfModified | TM_Result::TM_Invisible => {
                            return Err(changed_meanwhile());
                        }
                        _ => None,
                    };
                    pg_sys::ExecDropSingleTupleTableSlot(slot);
                    if let Some(claim) = claim {
                        return Ok(claim);
                    }
                    true
                }
            };
            if gone && one_snapshot {
                return Err(serialization());
            }
            self.look_again(estate, target, old)
        }
    }

    /// Locks a segment; false when somebody else has changed it meanwhile.
    ///
    /// # Safety
    /// The row is of the segment table; the query's state is alive.
    unsafe fn claim_segment(
        &self,
        estate: *mut pg_sys::EState,
        tid: &pg_sys::ItemPointerData,
    ) -> Result<bool> {
        let mut tid = *tid;
        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: as the caller says; the slot is dropped.
        unsafe {
            let slot = pg_sys::table_slot_create(self.store.relation, std::ptr::null_mut());
            let outcome = pg_sys::table_tuple_lock(
                self.store.relation,
                &raw mut tid,
                (*estate).es_snapshot,
                slot,
                (*estate).es_output_cid,
                pg_sys::LockTupleMode::LockTupleExclusive,
                pg_sys::LockWaitPolicy::LockWaitBlock,
                0,
                &raw mut failure,
            );
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            match outcome {
                TM_Result::TM_Ok => Ok(true),
                TM_Result::TM_Updated | TM_Result::TM_Deleted => Ok(false),
                _ => Err(changed_meanwhile()),
            }
        }
    }

    /// Looks for a row where it is now.
    ///
    /// # Safety
    /// As for [`Self::claim`].
    unsafe fn look_again(
        &mut self,
        estate: *mut pg_sys::EState,
        target: *mut pg_sys::ResultRelInfo,
        old: &Old,
    ) -> Result<Claim> {
        loop {
            pgrx::check_for_interrupts!();
            // SAFETY: the snapshot is registered while it is used.
            let found = unsafe {
                let now = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
                let found = match self.look_in_segments(estate, old, now)? {
                    Looked::NotThere => self.look_in_late(estate, target, old, now)?,
                    found => found,
                };
                pg_sys::UnregisterSnapshot(now);
                found
            };
            match found {
                Looked::Found(claim) => return Ok(claim),
                Looked::NotThere => return Ok(Claim::Gone),
                Looked::Moved => {}
            }
        }
    }

    /// # Safety
    /// The snapshot is registered.
    unsafe fn look_in_segments(
        &mut self,
        estate: *mut pg_sys::EState,
        old: &Old,
        now: pg_sys::Snapshot,
    ) -> Result<Looked> {
        let layout = Rc::clone(&self.layout);
        let keys: Vec<_> = layout
            .keys
            .iter()
            .map(|&place| (!old.nulls[place]).then_some(old.values[place]))
            .collect();
        let time = layout.order_shape().int(old.values[layout.order]);
        let mut rows = Rows::new();
        // SAFETY: as the caller says; each segment's row stays where it is until the next is asked for.
        unsafe {
            let mut scan =
                OfKey::begin(&self.store, &keys, time..time.saturating_add(1), false, now);
            let mut found = Looked::NotThere;
            while let Some(stored) = scan.next(&self.store) {
                let places = Places::of(estate, &layout);
                let mut places = places.borrow_mut();
                let count = rows.open(&self.store, &stored)?;
                let place = places.segment(&stored.tid)?;
                let row = (0..count).find(|&row| {
                    let (values, nulls) = rows.get(row);
                    is_same(&layout, old, values, nulls) && !places.is_marked(place, row)
                });
                let Some(row) = row else { continue };
                if !places.is_claimed(place) && !self.claim_segment(estate, &stored.tid)? {
                    found = Looked::Moved;
                    break;
                }
                places.claim(place)?;
                found = Looked::Found(Claim::Same(Row::InSegment { place, row }));
                break;
            }
            scan.end();
            Ok(found)
        }
    }

    /// # Safety
    /// The snapshot is registered.
    unsafe fn look_in_late(
        &mut self,
        estate: *mut pg_sys::EState,
        target: *mut pg_sys::ResultRelInfo,
        old: &Old,
        now: pg_sys::Snapshot,
    ) -> Result<Looked> {
        let layout = Rc::clone(&self.layout);
        // SAFETY: the scan and its slots are used within it. There are few late rows of one key and time.
        unsafe {
            let relation = self.late.relation;
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            let newest = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            let mut keys = late::of_key(&layout, relation, &old.values, &old.nulls);
            let scan = pg_sys::systable_beginscan_ordered(
                relation,
                self.late.index(),
                now,
                keys.len() as i32,
                keys.as_mut_ptr(),
            );
            let mut found = Looked::NotThere;
            loop {
                let tuple = pg_sys::systable_getnext_ordered(
                    scan,
                    pg_sys::ScanDirection::ForwardScanDirection,
                );
                if tuple.is_null() {
                    break;
                }
                pg_sys::ExecForceStoreHeapTuple(tuple, slot, false);
                let tid = (*tuple).t_self;
                let mut own = tid;
                // What the statement sees by itself it comes to by itself.
                if pg_sys::table_tuple_fetch_row_version(
                    relation,
                    &raw mut own,
                    (*estate).es_snapshot,
                    newest,
                ) {
                    continue;
                }
                let (outcome, failure) =
                    self.late
                        .lock(tid, newest, now, (*estate).es_output_cid, true);
                match outcome {
                    TM_Result::TM_Ok => {
                        let tid = (*newest).tts_tid;
                        found = Looked::Found(Claim::Changed(
                            Row::Late(tid),
                            self.newest(target, newest),
                        ));
                        break;
                    }
                    TM_Result::TM_SelfModified if failure.cmax == (*estate).es_output_cid => {}
                    TM_Result::TM_SelfModified | TM_Result::TM_Invisible => {
                        return Err(changed_meanwhile());
                    }
                    _ => {
                        found = Looked::Moved;
                        break;
                    }
                }
            }
            pg_sys::systable_endscan_ordered(scan);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::ExecDropSingleTupleTableSlot(newest);
            Ok(found)
        }
    }

    /// A late row in the slot in which the executor looks at it again.
    ///
    /// # Safety
    /// The slot holds a late row.
    unsafe fn newest(
        &self,
        target: *mut pg_sys::ResultRelInfo,
        late: *mut pg_sys::TupleTableSlot,
    ) -> *mut pg_sys::TupleTableSlot {
        // SAFETY: as the caller says; the slot has the partition's columns.
        unsafe {
            let relation = (*target).ri_RelationDesc;
            let slot = pg_sys::EvalPlanQualSlot(
                &raw mut (*self.modify).mt_epqstate,
                relation,
                (*target).ri_RangeTableIndex,
            );
            pg_sys::ExecClearTuple(slot);
            let width = self.layout.columns.len();
            self.layout.of_late(
                late,
                std::slice::from_raw_parts_mut((*slot).tts_values, width),
                std::slice::from_raw_parts_mut((*slot).tts_isnull, width),
            );
            pg_sys::ExecStoreVirtualTuple(slot);
            pg_sys::ExecMaterializeSlot(slot);
            (*slot).tts_tid = Row::Late((*late).tts_tid).tid();
            (*slot).tts_tableOid = (*relation).rd_id;
            slot
        }
    }
}

enum Looked {
    Found(Claim),
    NotThere,
    /// It was changed since the snapshot was taken.
    Moved,
}

/// Are all values that segments hold the same?
fn is_same(layout: &Layout, old: &Old, values: &[Datum], nulls: &[bool]) -> bool {
    layout.columns.iter().enumerate().all(|(place, column)| {
        if column.stored.is_none() || column.dropped {
            return true;
        }
        nulls[place] == old.nulls[place]
            && (nulls[place]
                // SAFETY: both are of the column's type.
                || unsafe {
                    descriptor::same(
                        values[place],
                        old.values[place],
                        descriptor::storage(column.type_oid),
                    )
                })
    })
}
