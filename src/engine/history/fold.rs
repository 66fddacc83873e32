//! Late rows into segments.
//!
//! Writers are kept out meanwhile, readers are not: all happens in one transaction, and whoever looks with an older
//! snapshot sees the late rows and the segments as they were.

#![expect(unsafe_code, reason = "works with the server's rows and indexes")]

use super::cut::{Cut, MOST_ROWS, Span};
use super::layout::{Layout, Shape};
use super::rows::Rows;
use super::store::{OfKey, Store};
use super::writer::Writer;
use crate::engine::partitions::set::Set;
use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{descriptor, lock, relation, role, spi};
use pg_sys::Datum;
use pgrx::PgMemoryContexts;
use pgrx::prelude::*;
use std::ops::Range;
use std::rc::Rc;

/// What a fold did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folded {
    /// Late rows that are in segments now.
    pub rows: u64,
    /// Segments that were written.
    pub segments: u64,
}

/// A segment that is not full takes up late rows that come after its last.
const ROOM: usize = MOST_ROWS / 2;

/// Does a compressed partition have late rows?
pub fn has_late(partition: &Relation) -> Result<bool> {
    if !super::verify::partitions()?.contains(&partition.oid) {
        return Ok(false);
    }
    let late = Relation::open(Layout::of(partition.oid)?.late)?;
    let any = spi::read_one::<bool>(&format!("SELECT EXISTS (SELECT FROM {})", late.sql()), &[])?;
    Ok(any == Some(true))
}

/// Folds the late rows of a compressed partition. None when its writers do not let us in within
/// `gemba.lock_patience`.
///
/// # Errors
/// `25001` in a transaction with one snapshot; `XX001` for a damaged segment.
pub fn partition(set: &Set, partition: &Relation) -> Result<Option<Folded>> {
    role::require_current_snapshots("late rows cannot be folded")?;
    if !lock::try_table(
        partition.oid,
        pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE,
    ) {
        return Ok(None);
    }
    let layout = Layout::of(partition.oid)?;
    let of_dates = layout.order_shape() == Shape::Date;
    let cut = Cut::new(set, layout.cut.unwrap_or(Span::Partition), of_dates);
    let store = Store::open(Rc::clone(&layout), pg_sys::RowExclusiveLock);
    // SAFETY: a transaction is under way; what it did until now is to be seen.
    let folded = unsafe {
        pg_sys::CommandCounterIncrement();
        let mut late = Stream::open(&layout)?;
        let mut writer = Writer::new(&store, cut);
        let mut folded = Folded::default();
        while late.is_there() {
            folded.rows += run(&store, &mut late, &mut writer)?;
        }
        folded.segments = writer.segments;
        late.close();
        folded
    };
    store.close();
    Ok(Some(folded))
}

/// A segment that the late rows of a run may belong to.
struct Near {
    tid: pg_sys::ItemPointerData,
    first: i64,
    last: i64,
    rows: usize,
}

/// Folds the late rows of one key and span, the first of which is at hand; returns how many they were.
///
/// # Safety
/// Nobody else writes the partition.
unsafe fn run(store: &Store, late: &mut Stream, writer: &mut Writer) -> Result<u64> {
    let mut memory = PgMemoryContexts::new("gemba fold");
    // SAFETY: as the caller says. The snapshot shows what the runs before have written.
    unsafe {
        pg_sys::CommandCounterIncrement();
        let now = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let keys = late.keys(&mut memory);
        let span = writer.cut.start(late.time)..writer.cut.after(late.time);
        let near = list(store, &keys, span.clone(), now);
        // A segment that reaches further takes along what falls into it.
        let end = near
            .last()
            .map_or(span.end, |last| span.end.max(last.last.saturating_add(1)));
        let mut merge = Merge {
            store,
            writer,
            keys,
            end,
            rows: Rows::new(),
            slot: pg_sys::table_slot_create(store.relation, std::ptr::null_mut()),
            now,
            folded: 0,
        };
        let mut near = near.into_iter().peekable();
        while late.has(&merge.keys, end) {
            while let Some(segment) = near.next_if(|segment| segment.first <= late.time) {
                let is_nearest = near.peek().is_none_or(|next| next.first > late.time);
                let has_room = is_nearest && segment.rows + merge.writer.gathered() <= ROOM;
                if segment.last >= late.time || has_room {
                    merge.take(&segment, late)?;
                } else {
                    // It stays as it is.
                    merge.writer.flush()?;
                }
                if !late.has(&merge.keys, end) {
                    break;
                }
            }
            if late.has(&merge.keys, end) {
                merge.push(late)?;
            }
        }
        if let Some(next) = near.next()
            && merge.writer.gathered() > 0
            && merge.writer.gathered() + next.rows <= ROOM
        {
            merge.take(&next, late)?;
        }
        merge.writer.finish()?;
        pg_sys::ExecDropSingleTupleTableSlot(merge.slot);
        pg_sys::UnregisterSnapshot(now);
        Ok(merge.folded)
    }
}

/// # Safety
/// The keys are of the segment table's types; the snapshot is registered.
unsafe fn list(
    store: &Store,
    keys: &[Option<Datum>],
    span: Range<i64>,
    now: pg_sys::Snapshot,
) -> Vec<Near> {
    let mut near = Vec::new();
    // SAFETY: as the caller says.
    unsafe {
        let mut scan = OfKey::begin(store, keys, span, false, now);
        while let Some(stored) = scan.next(store) {
            near.push(Near {
                tid: stored.tid,
                first: stored.first,
                last: stored.last,
                rows: stored.rows,
            });
        }
        scan.end();
    }
    near
}

/// Segments and late rows of one key on their way into new segments.
struct Merge<'m, 's> {
    store: &'m Store,
    writer: &'m mut Writer<'s>,
    keys: Vec<Option<Datum>>,
    /// The first time that belongs to another run.
    end: i64,
    rows: Rows,
    slot: *mut pg_sys::TupleTableSlot,
    now: pg_sys::Snapshot,
    folded: u64,
}

impl Merge<'_, '_> {
    /// Writes a segment's rows, and those late ones that come between them.
    ///
    /// # Safety
    /// The segment is one that the snapshot shows.
    unsafe fn take(&mut self, segment: &Near, late: &mut Stream) -> Result<()> {
        let layout = &self.store.layout;
        let mut tid = segment.tid;
        // SAFETY: as the caller says; the row stays pinned in the slot while its values are read.
        unsafe {
            pg_sys::table_tuple_fetch_row_version(
                self.store.relation,
                &raw mut tid,
                self.now,
                self.slot,
            );
            let tuple = pg_sys::ExecFetchSlotHeapTuple(self.slot, false, std::ptr::null_mut());
            let stored = self.store.read(tuple);
            let count = self.rows.open(self.store, &stored)?;
            self.writer.replaces(segment.tid);
            for row in 0..count {
                let (values, _) = self.rows.get(row);
                let time = layout.order_shape().int(values[layout.order]);
                while late.time < time && late.has(&self.keys, self.end) {
                    self.writer.push(&late.values, &late.nulls)?;
                    late.pop();
                    self.folded += 1;
                }
                let (values, nulls) = self.rows.get(row);
                self.writer.push(values, nulls)?;
            }
        }
        Ok(())
    }

    /// # Safety
    /// There is a late row at hand.
    unsafe fn push(&mut self, late: &mut Stream) -> Result<()> {
        // SAFETY: it has the values of the partition's columns.
        unsafe { self.writer.push(&late.values, &late.nulls)? };
        late.pop();
        self.folded += 1;
        Ok(())
    }
}

/// The late rows in the order of keys and time, each of which is taken away when the next is looked at.
struct Stream {
    layout: Rc<Layout>,
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    scan: pg_sys::SysScanDesc,
    snapshot: pg_sys::Snapshot,
    slot: *mut pg_sys::TupleTableSlot,
    tid: Option<pg_sys::ItemPointerData>,
    /// Of the row at hand, in the order of the partition's columns.
    values: Vec<Datum>,
    nulls: Vec<bool>,
    time: i64,
}

impl Stream {
    /// # Safety
    /// The caller keeps writers out until it is closed.
    unsafe fn open(layout: &Rc<Layout>) -> Result<Self> {
        let width = layout.columns.len();
        // SAFETY: plain calls in a transaction; what is opened is closed by `close`, or by the server.
        unsafe {
            let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
            let relation = pg_sys::table_open(layout.late, mode);
            super::late::check(layout, relation)?;
            let indexes = pg_sys::RelationGetIndexList(relation);
            let Some(index) = pgrx::PgList::<()>::from_pg(indexes).get_oid(0) else {
                return Err(Error::state("the table of late rows has lost its index")
                    .detail(relation::name_of(relation))
                    .hint("restore the partition from a backup"));
            };
            let index = pg_sys::index_open(index, mode);
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
            let mut stream = Self {
                layout: Rc::clone(layout),
                relation,
                index,
                scan: pg_sys::systable_beginscan_ordered(
                    relation,
                    index,
                    snapshot,
                    0,
                    std::ptr::null_mut(),
                ),
                snapshot,
                slot: pg_sys::table_slot_create(relation, std::ptr::null_mut()),
                tid: None,
                values: vec![Datum::null(); width],
                nulls: vec![true; width],
                time: 0,
            };
            stream.advance();
            Ok(stream)
        }
    }

    fn close(self) {
        // SAFETY: all used for the last time. Locks are kept.
        unsafe {
            let none = pg_sys::NoLock as pg_sys::LOCKMODE;
            pg_sys::systable_endscan_ordered(self.scan);
            pg_sys::UnregisterSnapshot(self.snapshot);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::index_close(self.index, none);
            pg_sys::table_close(self.relation, none);
        }
    }

    fn is_there(&self) -> bool {
        self.tid.is_some()
    }

    fn advance(&mut self) {
        // SAFETY: the tuple stays pinned until the next one is asked for, and the slot only borrows it.
        unsafe {
            let tuple = pg_sys::systable_getnext_ordered(
                self.scan,
                pg_sys::ScanDirection::ForwardScanDirection,
            );
            self.tid = (!tuple.is_null()).then(|| (*tuple).t_self);
            if !tuple.is_null() {
                pg_sys::ExecForceStoreHeapTuple(tuple, self.slot, false);
                self.layout
                    .of_late(self.slot, &mut self.values, &mut self.nulls);
                let order = self.layout.order;
                self.time = self.layout.order_shape().int(self.values[order]);
            }
        }
    }

    /// Takes the row at hand away, and looks at the next one.
    fn pop(&mut self) {
        if let Some(mut tid) = self.tid {
            // SAFETY: the row is this table's, and nobody else can change it.
            unsafe { pg_sys::simple_heap_delete(self.relation, &raw mut tid) };
        }
        self.advance();
    }

    /// Is there a row of this key, before this time?
    fn has(&self, keys: &[Option<Datum>], end: i64) -> bool {
        self.is_there()
            && self.time < end
            && self.layout.keys.iter().zip(keys).all(|(&place, key)| {
                let storage = descriptor::storage(self.layout.columns[place].type_oid);
                match key {
                    None => self.nulls[place],
                    Some(_) if self.nulls[place] => false,
                    // SAFETY: both are of the column's type.
                    Some(key) => unsafe { descriptor::same(*key, self.values[place], storage) },
                }
            })
    }

    /// A copy of the keys of the row at hand.
    fn keys(&self, memory: &mut PgMemoryContexts) -> Vec<Option<Datum>> {
        // SAFETY: values are of their columns' types.
        unsafe {
            memory.switch_to(|_| {
                self.layout
                    .keys
                    .iter()
                    .map(|&place| {
                        let storage = descriptor::storage(self.layout.columns[place].type_oid);
                        (!self.nulls[place]).then(|| descriptor::copy(self.values[place], storage))
                    })
                    .collect()
            })
        }
    }
}
