//! Which row is which while a statement changes a compressed partition, and which rows it has taken away so far.
//!
//! The executor tells rows apart by their ctid, and so do queries that look for rows which are there twice. That of a
//! late row is its own, with the highest bit of the block set; that of a row in a segment is made of the place of the
//! segment, as 31 bits, and the number of the row in it. So it is the same in all parts of a query, whether they
//! change rows or only read them.
//!
//! A row that is changed in a segment is marked; a segment is written anew once, when the statement has changed all
//! that it changes: before its AFTER triggers fire, or when it ends. What queries inside the statement read until
//! then (in a BEFORE trigger, say) has the rows still.

#![expect(unsafe_code, reason = "works with the server's rows and executor")]

use super::super::cut::Cut;
use super::super::layout::Layout;
use super::super::rows::Rows;
use super::super::store::Store;
use super::super::writer::Writer;
use crate::error::{Error, OrRaise, Result};
use pgrx::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

/// Set in the block number of late rows.
const LATE: u32 = 1 << 31;

/// Bits of a place that say where in a block of the segment table its segment stands: more than the 291 rows that a
/// block can have. The others are good for a table of 32 GB.
const IN_BLOCK: u32 = 9;

/// The place of a segment; None where the table is larger than that.
pub fn place(tid: &pg_sys::ItemPointerData) -> Option<usize> {
    let (block, offset) = (block(tid), u32::from(tid.ip_posid));
    (block < LATE >> IN_BLOCK && offset < 1 << IN_BLOCK)
        .then_some((block << IN_BLOCK | offset) as usize)
}

/// A row of a compressed partition.
#[derive(Clone, Copy)]
pub enum Row {
    InSegment { place: usize, row: usize },
    Late(pg_sys::ItemPointerData),
}

impl Row {
    /// As the executor passes it around.
    pub fn tid(self) -> pg_sys::ItemPointerData {
        match self {
            Self::InSegment { place, row } => tid(place as u32, row as u16 + 1),
            Self::Late(own) => tid(block(&own) | LATE, own.ip_posid),
        }
    }

    pub fn of(given: &pg_sys::ItemPointerData) -> Self {
        let number = block(given);
        if number & LATE == 0 {
            Self::InSegment {
                place: number as usize,
                row: usize::from(given.ip_posid).saturating_sub(1),
            }
        } else {
            Self::Late(tid(number & !LATE, given.ip_posid))
        }
    }
}

fn block(tid: &pg_sys::ItemPointerData) -> u32 {
    (u32::from(tid.ip_blkid.bi_hi) << 16) | u32::from(tid.ip_blkid.bi_lo)
}

fn tid(block: u32, offset: u16) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: (block >> 16) as u16,
            bi_lo: block as u16,
        },
        ip_posid: offset,
    }
}

/// The places of one partition in one query.
pub struct Places {
    estate: *mut pg_sys::EState,
    table: pg_sys::Oid,
    layout: Rc<Layout>,
    /// By place.
    segments: HashMap<usize, Segment>,
    /// Segments with rows that are marked and not yet written.
    unwritten: Vec<usize>,
}

struct Segment {
    tid: pg_sys::ItemPointerData,
    /// From the moment in which this transaction has it for itself.
    claimed: Option<Box<Claimed>>,
}

#[derive(Default)]
struct Claimed {
    marks: Vec<u64>,
    marked: usize,
}

thread_local! {
    static OPEN: RefCell<Vec<Weak<RefCell<Places>>>> = const { RefCell::new(Vec::new()) };
}

impl Places {
    /// Those of this query and partition, which are the same for all parts of it. They go with what is returned.
    pub fn of(estate: *mut pg_sys::EState, layout: &Rc<Layout>) -> Rc<RefCell<Self>> {
        if let Some(open) = Self::find(estate, layout.table) {
            return open;
        }
        let places = Rc::new(RefCell::new(Self {
            estate,
            table: layout.table,
            layout: Rc::clone(layout),
            segments: HashMap::new(),
            unwritten: Vec::new(),
        }));
        OPEN.with_borrow_mut(|open| {
            open.retain(|places| places.strong_count() > 0);
            open.push(Rc::downgrade(&places));
        });
        places
    }

    pub fn find(estate: *mut pg_sys::EState, table: pg_sys::Oid) -> Option<Rc<RefCell<Self>>> {
        Self::all(estate)
            .into_iter()
            .find(|places| places.borrow().table == table)
    }

    fn all(estate: *mut pg_sys::EState) -> Vec<Rc<RefCell<Self>>> {
        OPEN.with_borrow(|open| {
            open.iter()
                .filter_map(Weak::upgrade)
                .filter(|places| places.borrow().estate == estate)
                .collect()
        })
    }

    /// The place of a segment, which is kept in mind.
    ///
    /// # Errors
    /// `54000` where the table of segments is too large for places.
    pub fn segment(&mut self, tid: &pg_sys::ItemPointerData) -> Result<usize> {
        let place = place(tid).ok_or_else(|| self.too_large())?;
        self.segments.entry(place).or_insert(Segment {
            tid: *tid,
            claimed: None,
        });
        Ok(place)
    }

    fn too_large(&self) -> Error {
        Error::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "the compressed partition is too large for its rows to be changed",
        )
        .detail(format!(
            "oid {}: its table of segments has more than {} blocks",
            self.table.to_u32(),
            LATE >> IN_BLOCK
        ))
        .hint("decompress the partition, or use a smaller step for new ones")
    }

    /// # Errors
    /// `XX000` for a place where this query has not been.
    fn at(&mut self, place: usize) -> Result<&mut Segment> {
        self.segments.get_mut(&place).ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "a row of a compressed partition is not where it was",
            )
            .detail(format!("place {place}"))
            .hint("please report this")
        })
    }

    pub fn tid_of(&mut self, place: usize) -> Result<pg_sys::ItemPointerData> {
        Ok(self.at(place)?.tid)
    }

    pub fn is_claimed(&self, place: usize) -> bool {
        self.segments
            .get(&place)
            .is_some_and(|segment| segment.claimed.is_some())
    }

    /// Nobody else can change the segment any more.
    pub fn claim(&mut self, place: usize) -> Result<()> {
        self.at(place)?.claimed.get_or_insert_default();
        Ok(())
    }

    /// Has this statement taken the row away?
    pub fn is_marked(&self, place: usize, row: usize) -> bool {
        self.segments
            .get(&place)
            .and_then(|segment| segment.claimed.as_ref())
            .is_some_and(|claimed| claimed.has(row))
    }

    /// The same for a row of a segment that may not be among these.
    pub fn is_marked_at(&self, tid: &pg_sys::ItemPointerData, row: usize) -> bool {
        place(tid).is_some_and(|place| self.is_marked(place, row))
    }

    /// Takes a row of a claimed segment away.
    pub fn mark(&mut self, place: usize, row: usize) -> Result<()> {
        let claimed = self.at(place)?.claimed.get_or_insert_default();
        if claimed.has(row) {
            return Ok(());
        }
        let first = claimed.marked == 0;
        let word = row / 64;
        if claimed.marks.len() <= word {
            claimed.marks.resize(word + 1, 0);
        }
        claimed.marks[word] |= 1 << (row % 64);
        claimed.marked += 1;
        if first {
            self.unwritten.push(place);
        }
        Ok(())
    }

    /// Writes all segments with marked rows anew.
    fn write(&mut self) -> Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let mut unwritten = std::mem::take(&mut self.unwritten);
        // In the order in which they lie, as others do: so fewer end in a deadlock, and the disk has it easier.
        unwritten.sort_unstable();
        let store = Store::open(Rc::clone(&self.layout), pg_sys::RowExclusiveLock);
        let mut rows = Rows::new();
        // SAFETY: a slot for this very table, dropped below.
        let slot = unsafe { pg_sys::table_slot_create(store.relation, std::ptr::null_mut()) };
        for place in unwritten {
            pgrx::check_for_interrupts!();
            let Some(segment) = self.segments.get(&place) else {
                continue;
            };
            if let Some(claimed) = &segment.claimed {
                // SAFETY: as above.
                unsafe { rewrite(&store, &mut rows, &segment.tid, claimed, slot)? };
            }
        }
        // SAFETY: used for the last time.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(slot) };
        store.close();
        Ok(())
    }
}

impl Claimed {
    fn has(&self, row: usize) -> bool {
        self.marks
            .get(row / 64)
            .is_some_and(|word| word & (1 << (row % 64)) != 0)
    }
}

/// # Safety
/// The slot is of the segment table.
unsafe fn rewrite(
    store: &Store,
    rows: &mut Rows,
    tid: &pg_sys::ItemPointerData,
    claimed: &Claimed,
    slot: *mut pg_sys::TupleTableSlot,
) -> Result<()> {
    let mut tid = *tid;
    let mut failure = pg_sys::TM_FailureData::default();
    // SAFETY: the row is there: this transaction has locked it. The tuple stays pinned in the slot.
    unsafe {
        let outcome = pg_sys::table_tuple_lock(
            store.relation,
            &raw mut tid,
            &raw mut pg_sys::SnapshotAnyData,
            slot,
            pg_sys::GetCurrentCommandId(true),
            pg_sys::LockTupleMode::LockTupleExclusive,
            pg_sys::LockWaitPolicy::LockWaitBlock,
            0,
            &raw mut failure,
        );
        if outcome != pg_sys::TM_Result::TM_Ok {
            return Err(changed_meanwhile());
        }
        let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, std::ptr::null_mut());
        let stored = store.read(tuple);
        if claimed.marked >= stored.rows {
            store.delete(&tid);
            return Ok(());
        }
        let count = rows.open(store, &stored)?;
        let mut writer = Writer::new(store, Cut::nowhere());
        writer.replaces(tid);
        for row in 0..count {
            if !claimed.has(row) {
                let (values, nulls) = rows.get(row);
                writer.push(values, nulls)?;
            }
        }
        writer.finish()
    }
}

/// What the server says when the same happens to a row of an ordinary table.
pub fn changed_meanwhile() -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
        "tuple to be changed was already modified by an operation triggered by the current command",
    )
    .detail("it is in a segment of a compressed partition, of which other rows may have been modified")
    .hint("consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows")
}

/// Writes what a query has changed in segments so far.
pub fn write(estate: *mut pg_sys::EState) {
    let open = Places::all(estate);
    if open
        .iter()
        .all(|places| places.borrow().unwritten.is_empty())
    {
        return;
    }
    // SAFETY: the query's own snapshot, which is registered until it ends. Long values are fetched and taken away
    // under an active one, and a query that is run to its end may have none by then.
    unsafe {
        let memory = pg_sys::MemoryContextSwitchTo((*estate).es_query_cxt);
        let pushed = !pg_sys::ActiveSnapshotSet();
        if pushed {
            pg_sys::PushActiveSnapshot((*estate).es_snapshot);
        }
        for places in open {
            places.borrow_mut().write().or_raise();
        }
        if pushed {
            pg_sys::PopActiveSnapshot();
        }
        pg_sys::MemoryContextSwitchTo(memory);
    }
}

/// The hook that was there before; written once, when the library is loaded, before anybody uses it.
static mut FINISH_BEFORE: pg_sys::ExecutorFinish_hook_type = None;

pub fn register() {
    // SAFETY: libraries are loaded one after the other, in one thread.
    unsafe {
        FINISH_BEFORE = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(finish);
    }
}

// As the server has it. An error of any query's triggers passes here, and what pgrx does around calls would take away
// what it says of table and constraint.
unsafe extern "C-unwind" {
    fn standard_ExecutorFinish(query: *mut pg_sys::QueryDesc);
}

/// Called when a query has returned all its rows; its AFTER triggers fire in here. Nothing here needs to be dropped.
unsafe extern "C-unwind" fn finish(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the hook that was there before, or what the server would have called.
    unsafe {
        write_before_triggers(query);
        match FINISH_BEFORE {
            Some(before) => before(query),
            None => standard_ExecutorFinish(query),
        }
    }
}

/// # Safety
/// The query is being finished.
#[pg_guard]
unsafe extern "C-unwind" fn write_before_triggers(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the query's own executor state.
    unsafe {
        let estate = (*query).estate;
        if !estate.is_null() && !Places::all(estate).is_empty() {
            run_to_the_end(estate);
            write(estate);
        }
    }
}

/// Runs the data-modifying WITH queries whose rows nobody has asked for, as the server is just about to do: what they
/// change has to be written before triggers see it.
///
/// # Safety
/// The query is being finished.
unsafe fn run_to_the_end(estate: *mut pg_sys::EState) {
    // SAFETY: the list has the states of ModifyTable nodes; each is run until it has no more rows, and then remembers
    // that it has none.
    unsafe {
        let memory = pg_sys::MemoryContextSwitchTo((*estate).es_query_cxt);
        (*estate).es_direction = pg_sys::ScanDirection::ForwardScanDirection;
        let nodes = pgrx::PgList::<pg_sys::PlanState>::from_pg((*estate).es_auxmodifytables);
        for node in nodes.iter_ptr() {
            loop {
                if !(*estate).es_per_tuple_exprcontext.is_null() {
                    pg_sys::MemoryContextReset(
                        (*(*estate).es_per_tuple_exprcontext).ecxt_per_tuple_memory,
                    );
                }
                let slot = pg_sys::ExecProcNode(node);
                if slot.is_null() || (*slot).tts_flags & pg_sys::TTS_FLAG_EMPTY as u16 != 0 {
                    break;
                }
            }
        }
        pg_sys::MemoryContextSwitchTo(memory);
    }
}
