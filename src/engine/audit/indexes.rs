//! The log's indexes, which are told of a whole batch of entries one after the other: what of one index is at hand
//! then serves the next entry too.

#![expect(unsafe_code, reason = "calls the server's indexes directly")]

use super::place::Place;
use pg_sys::Datum;
use pgrx::pg_sys;

// A batch is thousands of these: what pgrx does around each call that may fail is done around all of them.
unsafe extern "C-unwind" {
    fn index_insert(
        index: pg_sys::Relation,
        values: *mut Datum,
        nulls: *mut bool,
        row: pg_sys::ItemPointer,
        table: pg_sys::Relation,
        unique: pg_sys::IndexUniqueCheck::Type,
        unchanged: bool,
        info: *mut pg_sys::IndexInfo,
    ) -> bool;
}

/// What tells one record from the other in [`super::place::COLUMNS`].
const RECORD: usize = 3;

/// Those of [`super::place::COLUMNS`] that entries of one statement differ in.
const OWN: [usize; 4] = [0, RECORD, 6, 7];

/// An index on plain columns of every row.
struct Plain {
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    unique: pg_sys::IndexUniqueCheck::Type,
    /// Where in a row its columns stand.
    columns: Vec<usize>,
    /// It only keeps what the rows of some pages have in common, and those of one statement have that in common:
    /// one of each page will do.
    once_a_page: bool,
    /// Its entries come in no order by themselves.
    by_record: bool,
}

pub struct Indexes {
    result: *mut pg_sys::ResultRelInfo,
    record: usize,
    plain: Vec<Plain>,
    /// There are others, which the server knows how to deal with.
    others: bool,
}

impl Indexes {
    /// # Safety
    /// The result is of the open partition of the place, and lives longer than this.
    pub unsafe fn open(result: *mut pg_sys::ResultRelInfo, place: &Place) -> Self {
        // SAFETY: the server opens as many indexes as it says.
        unsafe {
            pg_sys::ExecOpenIndices(result, false);
            let count = (*result).ri_NumIndices as usize;
            let plain: Option<Vec<_>> = (0..count)
                .map(|number| {
                    plain(
                        *(*result).ri_IndexRelationDescs.add(number),
                        *(*result).ri_IndexRelationInfo.add(number),
                        place,
                    )
                })
                .collect();
            Self {
                result,
                record: place.columns[RECORD],
                others: plain.is_none(),
                plain: plain.unwrap_or_default(),
            }
        }
    }

    /// # Safety
    /// The slots hold tuples that have just been written to the partition.
    pub unsafe fn insert(
        &mut self,
        slots: &[*mut pg_sys::TupleTableSlot],
        state: *mut pg_sys::EState,
    ) {
        if self.others {
            for &slot in slots {
                // SAFETY: as the caller says.
                unsafe { insert_by_executor(self.result, slot, state) };
            }
            return;
        }
        let mut by_record = Vec::new();
        for index in &self.plain {
            // SAFETY: as the caller says; the columns are the partition's.
            unsafe {
                let slots = if index.by_record && slots.len() > 1 {
                    if by_record.is_empty() {
                        by_record = sorted(slots, self.record);
                    }
                    &by_record
                } else {
                    slots
                };
                self.insert_into(index, slots);
            }
        }
    }

    /// # Safety
    /// As for [`Self::insert`].
    unsafe fn insert_into(&self, index: &Plain, slots: &[*mut pg_sys::TupleTableSlot]) {
        // SAFETY: as the caller says; an error jumps over nothing that would have to be dropped.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| self.insert_all(index, slots)) }
    }

    /// # Safety
    /// As for [`Self::insert`], and within pgrx's guard: nothing here may need to be dropped.
    unsafe fn insert_all(&self, index: &Plain, slots: &[*mut pg_sys::TupleTableSlot]) {
        let mut values = [Datum::null(); pg_sys::INDEX_MAX_KEYS as usize];
        let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
        let mut last_page = None;
        for &slot in slots {
            // SAFETY: as the caller says.
            unsafe {
                let page = (*slot).tts_tid.ip_blkid;
                let page = (page.bi_hi, page.bi_lo);
                if index.once_a_page && last_page.replace(page) == Some(page) {
                    continue;
                }
                for (number, &column) in index.columns.iter().enumerate() {
                    values[number] = *(*slot).tts_values.add(column);
                    nulls[number] = *(*slot).tts_isnull.add(column);
                }
                index_insert(
                    index.index,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    &raw mut (*slot).tts_tid,
                    (*self.result).ri_RelationDesc,
                    index.unique,
                    false,
                    index.info,
                );
            }
        }
    }

    /// # Safety
    /// Called once, at the end.
    pub unsafe fn close(&mut self) {
        // SAFETY: what `open` opened.
        unsafe { pg_sys::ExecCloseIndices(self.result) }
    }
}

/// None for an index on expressions, of some rows only, or that is checked in another way.
///
/// # Safety
/// Both are of one open index.
unsafe fn plain(
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    place: &Place,
) -> Option<Plain> {
    // SAFETY: as the caller says; the info has as many columns as it says.
    unsafe {
        let (form, facts) = (&*(*index).rd_index, &*info);
        let simple = facts.ii_Expressions.is_null()
            && facts.ii_Predicate.is_null()
            && facts.ii_ExclusionOps.is_null()
            && facts.ii_ReadyForInserts
            && form.indimmediate;
        if !simple {
            return None;
        }
        let count = facts.ii_NumIndexAttrs as usize;
        let columns: Option<Vec<_>> = facts.ii_IndexAttrNumbers[..count]
            .iter()
            .map(|number| usize::try_from(number - 1).ok())
            .collect();
        let columns = columns?;
        let own: Vec<_> = OWN.iter().map(|column| place.columns[*column]).collect();
        Some(Plain {
            index,
            info,
            unique: if form.indisunique {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
            } else {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
            },
            once_a_page: (*(*index).rd_rel).relam == pg_sys::BRIN_AM_OID
                && columns.iter().all(|column| !own.contains(column)),
            by_record: columns.contains(&place.columns[RECORD]),
            columns,
        })
    }
}

/// The entries in the order of their records.
///
/// # Safety
/// The slots have a text, or null, in this column.
unsafe fn sorted(
    slots: &[*mut pg_sys::TupleTableSlot],
    column: usize,
) -> Vec<*mut pg_sys::TupleTableSlot> {
    let mut keyed: Vec<(&[u8], _)> = slots
        .iter()
        .map(|&slot| {
            // SAFETY: as the caller says; the text is in one piece, and outlives this call.
            let key: &[u8] = unsafe {
                if *(*slot).tts_isnull.add(column) {
                    &[]
                } else {
                    crate::postgres::varlena::bytes(*(*slot).tts_values.add(column))
                }
            };
            (key, slot)
        })
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, slot)| slot).collect()
}

/// # Safety
/// The slot holds a tuple that was just written.
unsafe fn insert_by_executor(
    result: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    state: *mut pg_sys::EState,
) {
    // SAFETY: as the caller says.
    unsafe {
        pg_sys::ExecInsertIndexTuples(
            result,
            slot,
            state,
            false,
            false,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            #[cfg(not(feature = "pg15"))]
            false,
        );
    }
}
