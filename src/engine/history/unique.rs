//! Whether segments have a row with a key and time already.
//!
//! Rows come into segments by a fold only, which no writer runs beside. So while a writer holds its lock, what is not
//! in the segments does not get there; what is there, somebody may be taking away, and then their transaction
//! decides: it is waited for, as a unique index does.

#![expect(unsafe_code, reason = "reads the segment table past the snapshot")]

use super::fdw::Places;
use super::late::{Late, serialization};
use super::store::{OfKey, Store, Stored, damaged};
use crate::error::{Error, Result};
use gemba_segment::{Buffer, Scalar, Values};
use pg_sys::Datum;
use pgrx::prelude::*;

/// Looks for rows in segments.
pub struct Probe {
    buffer: Buffer,
    /// What a look-up needs, freed after it.
    memory: pg_sys::MemoryContext,
}

impl Probe {
    /// # Safety
    /// The context outlives this.
    pub unsafe fn new(parent: pg_sys::MemoryContext) -> Self {
        Self {
            buffer: Buffer::default(),
            // SAFETY: as the caller says; it goes with its parent.
            memory: unsafe {
                pg_sys::AllocSetContextCreateInternal(
                    parent,
                    c"gemba history probe".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                )
            },
        }
    }

    /// Which of these times, in ascending order, have a row of this key. Rows that the running statement has marked
    /// are gone.
    ///
    /// # Errors
    /// `40001` where the transaction has one snapshot, and that does not show the row; `XX001` for a damaged segment.
    ///
    /// # Safety
    /// The keys are of the types of the keys.
    pub unsafe fn taken(
        &mut self,
        store: &Store,
        keys: &[Option<Datum>],
        times: &[i64],
        places: Option<&Places>,
        snapshot: pg_sys::Snapshot,
    ) -> Result<Vec<bool>> {
        let (Some(&from), Some(&to)) = (times.first(), times.last()) else {
            return Ok(Vec::new());
        };
        loop {
            let mut taken = vec![false; times.len()];
            let mut wait = None;
            // SAFETY: the snapshot outlives the scan; memory is reset when nothing of it is used any more.
            unsafe {
                let before = pg_sys::MemoryContextSwitchTo(self.memory);
                let mut dirty = pg_sys::SnapshotData {
                    snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY,
                    ..Default::default()
                };
                let mut scan = OfKey::begin(store, keys, from..i64::MAX, false, &raw mut dirty);
                while let Some(stored) = scan.next(store) {
                    let changer = [dirty.xmin, dirty.xmax]
                        .into_iter()
                        .find(|&xid| xid != pg_sys::InvalidTransactionId);
                    if stored.first > to {
                        // Segments do not overlap, but versions of one do.
                        if changer.is_none() {
                            break;
                        }
                        continue;
                    }
                    let asked = times.partition_point(|&time| time < stored.first)
                        ..times.partition_point(|&time| time <= stored.last);
                    if asked.is_empty() {
                        continue;
                    }
                    let found = self.times_in(store, &stored, times, asked, places)?;
                    if found.is_empty() {
                        continue;
                    }
                    if let Some(changer) = changer {
                        wait = Some((changer, stored.tid));
                        break;
                    }
                    if pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32
                        && !is_visible(store, &stored, snapshot)
                    {
                        return Err(serialization());
                    }
                    for at in found {
                        taken[at] = true;
                    }
                }
                scan.end();
                pg_sys::MemoryContextSwitchTo(before);
                pg_sys::MemoryContextReset(self.memory);
                let Some((changer, mut tid)) = wait else {
                    return Ok(taken);
                };
                pg_sys::XactLockTableWait(
                    changer,
                    store.relation,
                    &raw mut tid,
                    pg_sys::XLTW_Oper::XLTW_InsertIndex,
                );
            }
        }
    }

    fn times_in(
        &mut self,
        store: &Store,
        stored: &Stored,
        times: &[i64],
        asked: std::ops::Range<usize>,
        places: Option<&Places>,
    ) -> Result<Vec<usize>> {
        let layout = &store.layout;
        let number = layout.columns[layout.order].stored.unwrap_or_default();
        let segment = stored.open(store)?;
        let decoded = segment
            .decode(number, &mut self.buffer)
            .map_err(|damage| damaged(store, stored, &damage))?;
        let rows_at = |time: i64| match &decoded.values {
            Values::Ints(ints) => {
                ints.partition_point(|&at| at < time)..ints.partition_point(|&at| at <= time)
            }
            Values::Constant(Scalar::Int(at)) if *at == time => 0..stored.rows,
            _ => 0..0,
        };
        Ok(asked
            .filter(|&at| {
                rows_at(times[at])
                    .any(|row| !places.is_some_and(|places| places.is_marked_at(&stored.tid, row)))
            })
            .collect())
    }
}

/// Does the snapshot show this version of a segment, or is it this transaction's own?
///
/// # Safety
/// The snapshot is registered or active.
unsafe fn is_visible(store: &Store, stored: &Stored, snapshot: pg_sys::Snapshot) -> bool {
    let mut tid = stored.tid;
    // SAFETY: as the caller says; the slot is dropped.
    unsafe {
        let slot = pg_sys::table_slot_create(store.relation, std::ptr::null_mut());
        let mut visible = false;
        if pg_sys::table_tuple_fetch_row_version(
            store.relation,
            &raw mut tid,
            &raw mut pg_sys::SnapshotAnyData,
            slot,
        ) {
            let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, std::ptr::null_mut());
            let writer = (*(*tuple).t_data).t_choice.t_heap.t_xmin;
            visible = pg_sys::TransactionIdIsCurrentTransactionId(writer)
                || pg_sys::table_tuple_satisfies_snapshot(store.relation, slot, snapshot);
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        visible
    }
}

/// What a unique index says, with as much of the row as the caller may know.
///
/// # Safety
/// Values are those of the index's columns: keys, then the time.
pub unsafe fn duplicate(late: &Late, mut values: Vec<Datum>) -> Error {
    let index = late.index();
    // SAFETY: as the caller says; keys that are NULL are never duplicates. The text is palloc'd, or NULL.
    let (name, detail) = unsafe {
        let mut nulls = vec![false; values.len()];
        let text =
            pg_sys::BuildIndexValueDescription(index, values.as_mut_ptr(), nulls.as_mut_ptr());
        let detail = (!text.is_null()).then(|| {
            std::ffi::CStr::from_ptr(text)
                .to_string_lossy()
                .into_owned()
        });
        (
            name_data_to_str(&(*(*index).rd_rel).relname).to_owned(),
            detail,
        )
    };
    let error = Error::new(
        PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
        format!("duplicate key value violates unique constraint {name:?}"),
    );
    match detail {
        Some(key) => error.detail(format!("Key {key} already exists.")),
        None => error,
    }
}
