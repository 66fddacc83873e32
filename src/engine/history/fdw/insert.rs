//! INSERT and COPY: all rows become late ones.

#![expect(unsafe_code, reason = "called by the server's executor")]

use super::super::late::{self, per_row_memory};
use super::super::unique::duplicate;
use super::modify::{Changer, check_new_row, state};
use super::places::Places;
use crate::error::{OrRaise, Result};
use crate::postgres::{descriptor, varlena};
use pg_sys::Datum;
use pgrx::prelude::*;

/// How many rows the executor gathers before it hands them over.
///
/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn batch_size(target: *mut pg_sys::ResultRelInfo) -> i32 {
    // SAFETY: the executor's own structures.
    unsafe {
        let Some(changer) = state(target) else {
            return 1;
        };
        let triggers = (*target).ri_TrigDesc;
        // A BEFORE trigger may look for the rows before; RETURNING wants each at once. An UPDATE that moves rows in
        // never hands over the last batch.
        let singly = (*changer.modify).operation != pg_sys::CmdType::CMD_INSERT
            || !(*target).ri_projectReturning.is_null()
            || (!triggers.is_null() && (*triggers).trig_insert_before_row);
        if singly { 1 } else { late::BATCH as i32 }
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn one(
    estate: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    _plan_slot: *mut pg_sys::TupleTableSlot,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the executor's own structures.
    unsafe {
        let Some(changer) = state(target) else {
            return std::ptr::null_mut();
        };
        let kept = changer.insert(estate, target, &[slot]).or_raise();
        kept.first().copied().unwrap_or(std::ptr::null_mut())
    }
}

/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn many(
    estate: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    slots: *mut *mut pg_sys::TupleTableSlot,
    _plan_slots: *mut *mut pg_sys::TupleTableSlot,
    count: *mut i32,
) -> *mut *mut pg_sys::TupleTableSlot {
    // SAFETY: the executor's own structures; what is returned lives in the memory that is current.
    unsafe {
        let given = std::slice::from_raw_parts(slots, *count as usize);
        let Some(changer) = state(target) else {
            *count = 0;
            return slots;
        };
        let kept = changer.insert(estate, target, given).or_raise();
        *count = kept.len() as i32;
        if kept.len() == given.len() {
            return slots;
        }
        let list =
            pg_sys::palloc(size_of_val(&kept[..]).max(1)).cast::<*mut pg_sys::TupleTableSlot>();
        std::ptr::copy_nonoverlapping(kept.as_ptr(), list, kept.len());
        list
    }
}

impl Changer {
    /// Writes rows, and returns those that were written.
    ///
    /// # Safety
    /// The slots hold rows for this partition.
    unsafe fn insert(
        &mut self,
        estate: *mut pg_sys::EState,
        target: *mut pg_sys::ResultRelInfo,
        slots: &[*mut pg_sys::TupleTableSlot],
    ) -> Result<Vec<*mut pg_sys::TupleTableSlot>> {
        // SAFETY: as the caller says.
        unsafe {
            let of_update = (*self.modify).operation == pg_sys::CmdType::CMD_UPDATE;
            for &slot in slots {
                check_new_row(target, slot, estate, of_update);
            }
            let taken = self.taken(estate, slots)?;
            let mut kept = Vec::with_capacity(slots.len());
            for (at, &slot) in slots.iter().enumerate() {
                if !taken[at] {
                    kept.push(slot);
                } else if !self.do_nothing {
                    return Err(duplicate(&self.late, self.key_of(slot)));
                }
            }
            if self.do_nothing {
                let late = &mut self.late;
                kept.retain(|&slot| late.insert_if_new(slot, estate));
            } else if !kept.is_empty() {
                self.late.insert(&kept, estate);
            }
            Ok(kept)
        }
    }

    /// Keys and time of a row.
    ///
    /// # Safety
    /// The slot holds a row of this partition.
    pub unsafe fn key_of(&self, slot: *mut pg_sys::TupleTableSlot) -> Vec<Datum> {
        // SAFETY: as the caller says.
        unsafe {
            pg_sys::slot_getallattrs(slot);
            let layout = &self.layout;
            let places = layout.keys.iter().chain([&layout.order]);
            places
                .map(|&place| *(*slot).tts_values.add(place))
                .collect()
        }
    }

    /// Which of the rows have keys and time of a row that stands in a segment.
    ///
    /// # Safety
    /// The slots hold rows of this partition.
    pub unsafe fn taken(
        &mut self,
        estate: *mut pg_sys::EState,
        slots: &[*mut pg_sys::TupleTableSlot],
    ) -> Result<Vec<bool>> {
        let mut taken = vec![false; slots.len()];
        if !self.layout.unique {
            return Ok(taken);
        }
        // SAFETY: as the caller says. What is looked up needs memory for one batch.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(per_row_memory(estate));
            let mut asked = Vec::with_capacity(slots.len());
            for (at, &slot) in slots.iter().enumerate() {
                pg_sys::slot_getallattrs(slot);
                let layout = &self.layout;
                // NULLs are never the same.
                if layout
                    .keys
                    .iter()
                    .any(|&place| *(*slot).tts_isnull.add(place))
                {
                    continue;
                }
                let mut image = Vec::with_capacity(8 * layout.keys.len());
                for &place in &layout.keys {
                    let value = *(*slot).tts_values.add(place);
                    add_image(&mut image, layout.columns[place].type_oid, value);
                }
                let time = layout
                    .order_shape()
                    .int(*(*slot).tts_values.add(layout.order));
                asked.push((image, time, at));
            }
            // One look-up for all rows of a key.
            asked.sort_unstable();
            let open = Places::find(estate, self.layout.table);
            let places = open.as_ref().map(|places| places.borrow());
            for group in asked.chunk_by(|a, b| a.0 == b.0) {
                let slot = slots[group[0].2];
                let keys: Vec<_> = self
                    .layout
                    .keys
                    .iter()
                    .map(|&place| Some(*(*slot).tts_values.add(place)))
                    .collect();
                let times: Vec<i64> = group.iter().map(|asked| asked.1).collect();
                let found = self.probe.taken(
                    &self.store,
                    &keys,
                    &times,
                    places.as_deref(),
                    (*estate).es_snapshot,
                )?;
                for (found, asked) in found.into_iter().zip(group) {
                    taken[asked.2] = found;
                }
            }
            pg_sys::MemoryContextSwitchTo(before);
        }
        Ok(taken)
    }
}

/// Adds the bytes of a key, by which equal keys come together.
///
/// # Safety
/// The datum is of the type.
unsafe fn add_image(image: &mut Vec<u8>, type_oid: pg_sys::Oid, value: Datum) {
    // SAFETY: as the caller says.
    unsafe {
        match descriptor::storage(type_oid) {
            (true, _) => image.extend_from_slice(&value.value().to_ne_bytes()),
            (false, length @ 1..) => image.extend_from_slice(std::slice::from_raw_parts(
                value.cast_mut_ptr::<u8>(),
                length as usize,
            )),
            _ => {
                let bytes = varlena::bytes(value);
                image.extend_from_slice(&bytes.len().to_ne_bytes());
                image.extend_from_slice(bytes);
            }
        }
    }
}
