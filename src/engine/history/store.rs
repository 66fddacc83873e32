//! The segment table of a compressed partition: finding segments, and writing them.
//!
//! Its columns: `first_at`, `last_at`, `row_count`, the keys, `data`; its one index: (keys…, last_at).

#![expect(unsafe_code, reason = "calls the server's tables and indexes directly")]

use super::layout::{Layout, Shape};
use super::range::TimeRange;
use super::seen;
use crate::error::{Error, OrRaise, Result};
use crate::postgres::{descriptor, varlena};
use gemba_segment::{Damage, Segment};
use pg_sys::Datum;
use pgrx::prelude::*;
use std::ops::Range;
use std::rc::Rc;

// Attribute numbers of a segment table.
const FIRST_AT: usize = 1;
const LAST_AT: usize = 2;
const ROW_COUNT: usize = 3;
/// The first key's.
pub const KEYS: usize = 4;

/// The segment table, open. The server closes it when an error ends the transaction.
pub struct Store {
    pub relation: pg_sys::Relation,
    pub index: pg_sys::Relation,
    pub layout: Rc<Layout>,
}

/// One segment as the table holds it. It lives until the next one is asked for.
pub struct Stored {
    pub tid: pg_sys::ItemPointerData,
    pub first: i64,
    pub last: i64,
    pub rows: usize,
    pub keys: Vec<Option<Datum>>,
    /// The bytes, maybe still out of line.
    data: Datum,
}

impl Stored {
    /// The segment's bytes. Those that lie out of line are copied into the current memory context.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the column is a bytea that is never NULL, and lives as long as this.
        unsafe { varlena::bytes(self.data) }
    }

    /// # Errors
    /// `XX001` with where the damage is; `0A000` for a newer format.
    pub fn open(&self, store: &Store) -> Result<Segment<'_>> {
        let segment =
            Segment::open(self.bytes()).map_err(|damage| damaged(store, self, &damage))?;
        if segment.rows() != self.rows {
            return Err(damaged_because(
                store,
                self,
                "its head does not fit its row",
            ));
        }
        for column in store.layout.columns.iter() {
            // A column may have been added since the segment was written.
            if let (Some(number), Some(shape)) = (column.stored, column.shape)
                && number < segment.columns()
                && segment.kind(number) != shape.kind()
            {
                return Err(damaged_because(
                    store,
                    self,
                    &format!("column {:?} has another type", column.name),
                ));
            }
        }
        Ok(segment)
    }
}

/// What a damaged segment is reported as.
pub fn damaged(store: &Store, stored: &Stored, damage: &Damage) -> Error {
    let error = damaged_because(store, stored, &damage.to_string());
    match damage {
        Damage::NewerFormat { .. } => Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "the segment was written by a newer version of gemba",
        )
        .detail(error.into_parts().2.unwrap_or_default())
        .hint("install that version: ALTER EXTENSION gemba UPDATE"),
        _ => error,
    }
}

fn damaged_because(store: &Store, stored: &Stored, why: &str) -> Error {
    // SAFETY: the relation is open.
    let table = unsafe { crate::postgres::relation::name_of(store.relation) };
    Error::new(
        PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        "a segment is damaged",
    )
    .detail(format!(
        "table {table}, row {}: {why}",
        tid_text(&stored.tid)
    ))
    .hint("restore the partition from a backup; gemba.verify_history() lists all that is damaged")
}

/// `(block,row)`, as ctid is written.
pub fn tid_text(tid: &pg_sys::ItemPointerData) -> String {
    let block = (u32::from(tid.ip_blkid.bi_hi) << 16) | u32::from(tid.ip_blkid.bi_lo);
    format!("({block},{})", tid.ip_posid)
}

/// A segment to be written.
pub struct NewSegment<'a> {
    pub first: i64,
    pub last: i64,
    pub rows: usize,
    pub keys: &'a [Option<Datum>],
    pub data: &'a [u8],
}

impl Store {
    /// Opens the segment table of a compressed partition.
    pub fn open(layout: Rc<Layout>, lock: u32) -> Self {
        seen::require(&layout).or_raise();
        let lock = lock as pg_sys::LOCKMODE;
        // SAFETY: plain calls in a transaction; the list of indexes is palloc'd.
        unsafe {
            let relation = pg_sys::table_open(layout.segments, lock);
            let keys = layout.keys.len();
            let wanted: Vec<i16> = (KEYS..KEYS + keys)
                .chain([LAST_AT])
                .map(|n| n as i16)
                .collect();
            let index = index_on(relation, &wanted, lock).or_raise();
            Self {
                relation,
                index,
                layout,
            }
        }
    }

    /// The lock is kept until the transaction ends.
    pub fn close(self) {
        // SAFETY: both were opened by `open` and are used for the last time here.
        unsafe {
            pg_sys::index_close(self.index, pg_sys::NoLock as pg_sys::LOCKMODE);
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }

    fn attributes(&self) -> usize {
        KEYS + self.layout.keys.len()
    }

    /// A row of the segment table.
    ///
    /// # Safety
    /// The tuple is of this table and lives as long as what is returned is used.
    pub unsafe fn read(&self, tuple: pg_sys::HeapTuple) -> Stored {
        let mut values = [Datum::null(); pg_sys::INDEX_MAX_KEYS as usize + KEYS];
        let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize + KEYS];
        // SAFETY: the table has fewer columns than there is room for: keys are those of an index.
        unsafe {
            pg_sys::heap_deform_tuple(
                tuple,
                (*self.relation).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            let order = self.layout.order_shape();
            Stored {
                tid: (*tuple).t_self,
                first: order.int(values[FIRST_AT - 1]),
                last: order.int(values[LAST_AT - 1]),
                rows: Shape::Int4.int(values[ROW_COUNT - 1]).max(0) as usize,
                keys: (KEYS - 1..self.attributes() - 1)
                    .map(|place| (!nulls[place]).then_some(values[place]))
                    .collect(),
                data: values[self.attributes() - 1],
            }
        }
    }

    /// A row for the segment table.
    fn form(&self, new: &NewSegment) -> pg_sys::HeapTuple {
        let mut values = vec![Datum::null(); self.attributes()];
        let mut nulls = vec![false; self.attributes()];
        let order = self.layout.order_shape();
        values[FIRST_AT - 1] = order.datum(new.first);
        values[LAST_AT - 1] = order.datum(new.last);
        values[ROW_COUNT - 1] = Datum::from(new.rows as i32);
        for (key, value) in new.keys.iter().enumerate() {
            values[KEYS - 1 + key] = value.unwrap_or(Datum::null());
            nulls[KEYS - 1 + key] = value.is_none();
        }
        values[self.attributes() - 1] = varlena::of_bytes(new.data);
        // SAFETY: as many values as the table has columns, of their types.
        unsafe {
            pg_sys::heap_form_tuple(
                (*self.relation).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            )
        }
    }

    /// Adds a segment, with its entry in the index.
    pub fn insert(&self, new: &NewSegment) {
        let tuple = self.form(new);
        // SAFETY: the tuple was formed for this table. CatalogTupleInsert writes any table with plain indexes.
        unsafe {
            pg_sys::CatalogTupleInsert(self.relation, tuple);
            pg_sys::heap_freetuple(tuple);
        }
    }

    /// Puts a segment in the place of another. The old one must be locked by this transaction.
    pub fn replace(&self, tid: &pg_sys::ItemPointerData, new: &NewSegment) {
        let tuple = self.form(new);
        let mut tid = *tid;
        // SAFETY: as above.
        unsafe {
            pg_sys::CatalogTupleUpdate(self.relation, &raw mut tid, tuple);
            pg_sys::heap_freetuple(tuple);
        }
    }

    /// Takes a segment away. It must be locked by this transaction.
    pub fn delete(&self, tid: &pg_sys::ItemPointerData) {
        let mut tid = *tid;
        // SAFETY: the row is this table's.
        unsafe { pg_sys::CatalogTupleDelete(self.relation, &raw mut tid) }
    }
}

/// All segments, in the order in which they lie.
pub struct Everything {
    scan: pg_sys::TableScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Everything {
    /// # Safety
    /// The snapshot is registered or active as long as this is used.
    pub unsafe fn begin(store: &Store, snapshot: pg_sys::Snapshot) -> Self {
        // SAFETY: the table is open.
        unsafe {
            Self {
                scan: pg_sys::table_beginscan(store.relation, snapshot, 0, std::ptr::null_mut()),
                slot: pg_sys::table_slot_create(store.relation, std::ptr::null_mut()),
            }
        }
    }

    /// Those that no other process of a parallel query takes.
    ///
    /// # Safety
    /// The description of the scan was made for this table, and lives as long as this is used.
    pub unsafe fn share(store: &Store, shared: pg_sys::ParallelTableScanDesc) -> Self {
        // SAFETY: the table is open.
        unsafe {
            Self {
                scan: pg_sys::table_beginscan_parallel(store.relation, shared),
                slot: pg_sys::table_slot_create(store.relation, std::ptr::null_mut()),
            }
        }
    }

    pub fn next(&mut self, store: &Store) -> Option<Stored> {
        // SAFETY: scan and slot belong together; the tuple stays pinned in the slot until the next call.
        unsafe {
            if !pg_sys::table_scan_getnextslot(
                self.scan,
                pg_sys::ScanDirection::ForwardScanDirection,
                self.slot,
            ) {
                return None;
            }
            let tuple = pg_sys::ExecFetchSlotHeapTuple(self.slot, false, std::ptr::null_mut());
            Some(store.read(tuple))
        }
    }

    pub fn end(self) {
        // SAFETY: used for the last time.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::table_endscan(self.scan);
        }
    }
}

/// The index of a table on these columns, in this order, opened.
///
/// # Errors
/// `55000` where there is none.
///
/// # Safety
/// The relation is open.
pub unsafe fn index_on(
    relation: pg_sys::Relation,
    columns: &[i16],
    lock: pg_sys::LOCKMODE,
) -> Result<pg_sys::Relation> {
    // SAFETY: a table's indexes can be opened while it is; each has so many columns as it says.
    unsafe {
        let indexes = pg_sys::RelationGetIndexList(relation);
        for oid in pgrx::PgList::<()>::from_pg(indexes).iter_oid() {
            let index = pg_sys::index_open(oid, lock);
            let facts = &*(*index).rd_index;
            let has = std::slice::from_raw_parts(
                facts.indkey.values.as_ptr(),
                usize::try_from(facts.indkey.dim1).unwrap_or(0),
            );
            if has == columns && facts.indisvalid {
                return Ok(index);
            }
            pg_sys::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
        Err(Error::state("a table of the history has lost its index")
            .detail(crate::postgres::relation::name_of(relation))
            .hint("restore the partition from a backup"))
    }
}

/// A condition that an index is searched with: attribute number of the table, strategy of the b-tree, value. None
/// looks for NULL.
pub type Wanted = (usize, u32, Option<Datum>);

/// Rows of a table in the order of an index.
pub struct IndexScan {
    scan: pg_sys::SysScanDesc,
    direction: pg_sys::ScanDirection::Type,
}

impl IndexScan {
    /// # Safety
    /// Both are open, and the index is on the columns of the conditions, whose values are of the columns' types. The
    /// snapshot is registered or active as long as this is used.
    pub unsafe fn begin(
        relation: pg_sys::Relation,
        index: pg_sys::Relation,
        wanted: &[Wanted],
        backward: bool,
        snapshot: pg_sys::Snapshot,
    ) -> Self {
        // SAFETY: as the caller says; the server copies the conditions.
        unsafe {
            let mut conditions = Vec::with_capacity(wanted.len());
            for &(attribute, strategy, value) in wanted {
                let facts = descriptor::attribute((*relation).rd_att, attribute - 1);
                let mut key = pg_sys::ScanKeyData::default();
                match value {
                    None => pg_sys::ScanKeyEntryInitialize(
                        &raw mut key,
                        (pg_sys::SK_ISNULL | pg_sys::SK_SEARCHNULL) as i32,
                        attribute as i16,
                        0,
                        pg_sys::InvalidOid,
                        pg_sys::InvalidOid,
                        pg_sys::InvalidOid,
                        Datum::null(),
                    ),
                    Some(value) => pg_sys::ScanKeyEntryInitialize(
                        &raw mut key,
                        0,
                        attribute as i16,
                        strategy as u16,
                        pg_sys::InvalidOid,
                        facts.attcollation,
                        comparison(facts.atttypid, strategy),
                        value,
                    ),
                }
                conditions.push(key);
            }
            Self {
                scan: pg_sys::systable_beginscan_ordered(
                    relation,
                    index,
                    snapshot,
                    conditions.len() as i32,
                    conditions.as_mut_ptr(),
                ),
                direction: if backward {
                    pg_sys::ScanDirection::BackwardScanDirection
                } else {
                    pg_sys::ScanDirection::ForwardScanDirection
                },
            }
        }
    }

    /// The next row; it stays until the one after it is asked for.
    pub fn next(&mut self) -> Option<pg_sys::HeapTuple> {
        // SAFETY: the scan has not been ended.
        let tuple = unsafe { pg_sys::systable_getnext_ordered(self.scan, self.direction) };
        (!tuple.is_null()).then_some(tuple)
    }

    pub fn end(self) {
        // SAFETY: used for the last time.
        unsafe { pg_sys::systable_endscan_ordered(self.scan) }
    }
}

/// The segments of one key that touch a range of time, in order of time, in either direction. With only the
/// first of several keys, or none, those of all that have them, in the order of the index.
pub struct OfKey {
    scan: IndexScan,
    range: TimeRange,
    /// Forward, what follows a segment behind the range is behind it as well.
    stops: bool,
}

impl OfKey {
    /// `range` is half-open. A key that is NULL is looked for as such.
    ///
    /// # Safety
    /// The snapshot is registered or active as long as this is used.
    pub unsafe fn begin(
        store: &Store,
        keys: &[Option<Datum>],
        range: Range<i64>,
        backward: bool,
        snapshot: pg_sys::Snapshot,
    ) -> Self {
        let range = TimeRange {
            low: range.start,
            high: if range.end == i64::MAX {
                i64::MAX
            } else {
                range.end.saturating_sub(1)
            },
        };
        // SAFETY: as the caller says.
        unsafe { Self::within(store, keys, range, backward, snapshot) }
    }

    /// # Safety
    /// As for [`Self::begin`].
    pub unsafe fn within(
        store: &Store,
        keys: &[Option<Datum>],
        range: TimeRange,
        backward: bool,
        snapshot: pg_sys::Snapshot,
    ) -> Self {
        let mut wanted: Vec<Wanted> = keys
            .iter()
            .enumerate()
            .map(|(key, value)| (KEYS + key, pg_sys::BTEqualStrategyNumber, *value))
            .collect();
        if range.low > i64::MIN {
            let low = store.layout.order_shape().datum(range.low);
            wanted.push((LAST_AT, pg_sys::BTGreaterEqualStrategyNumber, Some(low)));
        }
        // SAFETY: attribute numbers and types are those of the table's own columns.
        let scan =
            unsafe { IndexScan::begin(store.relation, store.index, &wanted, backward, snapshot) };
        Self {
            scan,
            range,
            stops: !backward
                && keys.len() == store.layout.keys.len()
                && store.layout.keys_are_distinct(),
        }
    }

    pub fn next(&mut self, store: &Store) -> Option<Stored> {
        loop {
            // SAFETY: the tuple stays pinned until the next call.
            let stored = unsafe { store.read(self.scan.next()?) };
            if stored.first <= self.range.high {
                return Some(stored);
            }
            // Segments of a key do not overlap: all that come are later still.
            if self.stops {
                return None;
            }
        }
    }

    pub fn end(self) {
        self.scan.end();
    }
}

/// The function behind a type's b-tree comparison.
pub fn comparison(type_oid: pg_sys::Oid, strategy: u32) -> pg_sys::RegProcedure {
    // SAFETY: look-ups in the system caches. A type without an operator class of its own is compared as the one it
    // is binary compatible with, as an index on it does.
    unsafe {
        let entry = pg_sys::lookup_type_cache(type_oid, pg_sys::TYPECACHE_BTREE_OPFAMILY as i32);
        let input = (*entry).btree_opintype;
        let operator =
            pg_sys::get_opfamily_member((*entry).btree_opf, input, input, strategy as i16);
        pg_sys::get_opcode(operator)
    }
}
