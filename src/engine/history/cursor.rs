//! The segments that a query needs, one after the other.
//!
//! A [`Cursor`] evaluates what is constant during the scan when it starts, and again after a rescan; then it goes
//! through the segment table, all of it or by its index, and leaves out what lies outside the time range or fails
//! the conditions that are asked once per segment. What a segment's own head has to say, [`Cursor::verdict`] reads
//! from it once it is open.

#![expect(unsafe_code, reason = "evaluates the executor's expressions")]

use super::filter::{Filter, Verdict};
use super::layout::{Layout, Shape};
use super::range::TimeRange;
use super::select::{Chosen, Order, Test, Use};
use super::store::{Everything, OfKey, Store, Stored};
use crate::error::{OrRaise, Result};
use crate::postgres::descriptor::{self, storage};
use crate::postgres::expression;
use gemba_segment::{Segment, Stats};
use pg_sys::Datum;
use pgrx::prelude::*;
use std::collections::HashSet;
use std::rc::Rc;

/// Counts for EXPLAIN.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub read: u64,
    pub skipped: u64,
    pub late: u64,
}

/// Where a cursor runs: the executor's node and what belongs to it.
pub struct Place {
    pub context: *mut pg_sys::ExprContext,
    /// The row that conditions on keys are evaluated on, and where in it each key stands.
    pub slot: *mut pg_sys::TupleTableSlot,
    pub keys: Vec<usize>,
    pub snapshot: pg_sys::Snapshot,
}

pub struct Cursor {
    layout: Rc<Layout>,
    pub chosen: Chosen,
    place: Place,
    once_per_segment: *mut pg_sys::ExprState,
    values: Vec<*mut pg_sys::ExprState>,
    started: Option<Started>,
    /// What is constant during a scan, freed by the next one.
    memory: pg_sys::MemoryContext,
    /// The keys of the segment before, and what the conditions on them said.
    last_memory: pg_sys::MemoryContext,
    last: Option<(Vec<Option<Datum>>, bool)>,
    pub counts: Counts,
}

/// What the conditions of a scan came to.
struct Started {
    range: TimeRange,
    filters: Vec<Filter>,
    /// For each of the keys that are looked up, its values.
    keys: Vec<Vec<Option<Datum>>>,
    /// Which combination of them comes next.
    combination: usize,
    /// No row can match.
    nothing: bool,
    source: Source,
}

enum Source {
    None,
    Everything(Everything),
    OfKey(OfKey),
    Ended,
}

impl Cursor {
    /// Prepares the expressions of a plan. The memory contexts are children of the current one.
    ///
    /// # Errors
    /// A plan that cannot be read.
    ///
    /// # Safety
    /// Called when the node begins, with its plan's selection; the places are those of the keys in the slot.
    pub unsafe fn begin(
        layout: Rc<Layout>,
        chosen: Chosen,
        node: *mut pg_sys::PlanState,
        place: Place,
    ) -> Result<Self> {
        // SAFETY: as the caller says. The contexts are the query's, which frees them.
        unsafe {
            Ok(Self {
                once_per_segment: if pgrx::PgList::<()>::from_pg(chosen.by_segment).is_empty() {
                    std::ptr::null_mut()
                } else {
                    pg_sys::ExecInitQual(chosen.by_segment, node)
                },
                values: chosen
                    .conditions
                    .iter()
                    .map(|condition| {
                        if condition.value.is_null() {
                            std::ptr::null_mut()
                        } else {
                            pg_sys::ExecInitExpr(condition.value, node)
                        }
                    })
                    .collect(),
                layout,
                chosen,
                place,
                started: None,
                memory: memory(c"gemba history values"),
                last_memory: memory(c"gemba history keys"),
                last: None,
                counts: Counts::default(),
            })
        }
    }

    /// Starts again, with values that may have changed.
    pub fn rescan(&mut self) {
        self.finish();
        self.last = None;
    }

    /// Ends what is under way.
    pub fn finish(&mut self) {
        if let Some(started) = self.started.take() {
            started.source.end();
        }
    }

    fn started(&mut self) -> &mut Started {
        if self.started.is_none() {
            // SAFETY: nothing of the scan before is used any more.
            let started = unsafe { self.start() };
            self.started = Some(started);
        }
        // It was put there above.
        self.started.get_or_insert_with(Started::nothing)
    }

    /// # Safety
    /// No values of an earlier start are in use.
    unsafe fn start(&self) -> Started {
        // SAFETY: as the caller says; each value is of the type that its condition names.
        unsafe {
            pg_sys::MemoryContextReset(self.memory);
            let mut started = Started {
                nothing: false,
                source: Source::None,
                keys: vec![Vec::new(); self.chosen.fixed_keys],
                ..Started::nothing()
            };
            for (condition, &state) in self.chosen.conditions.iter().zip(&self.values) {
                let value = if state.is_null() {
                    None
                } else {
                    expression::value(state, self.place.context)
                };
                if !state.is_null() && value.is_none() {
                    // A comparison with NULL is true for no row.
                    return Started::nothing();
                }
                let value_type = condition.value_type;
                let column = &self.layout.columns[condition.place];
                let (Some(shape), Some(stored)) = (column.shape, column.stored) else {
                    continue;
                };
                match condition.purpose {
                    Use::Time => {
                        if let Some(bound) = value.and_then(|value| {
                            bound(column.type_oid, shape, condition.test, value, value_type)
                        }) {
                            started.range = started.range.narrowed(condition.test, bound);
                        }
                    }
                    Use::Filter => {
                        let value = value.map(|value| (self.keep(value, value_type), value_type));
                        match Filter::new(stored, shape, condition.test, value) {
                            Some(filter) => started.filters.push(filter),
                            None => return Started::nothing(),
                        }
                    }
                    Use::Key(key) => {
                        let values = match (condition.test, value) {
                            (Test::Null, _) | (_, None) => vec![None],
                            (Test::AnyOf, Some(array)) => self.elements(array, value_type, shape),
                            (_, Some(value)) => key_of(value, value_type, shape)
                                .map(|value| Some(self.keep(value, column.type_oid)))
                                .into_iter()
                                .collect(),
                        };
                        if let Some(place) = started.keys.get_mut(key) {
                            *place = values;
                        }
                    }
                }
            }
            if started.range.is_empty() || started.keys.iter().any(Vec::is_empty) {
                return Started::nothing();
            }
            started
        }
    }

    /// A copy that lives until the next start.
    ///
    /// # Safety
    /// The datum is of the type.
    unsafe fn keep(&self, value: Datum, type_oid: pg_sys::Oid) -> Datum {
        // SAFETY: as the caller says.
        unsafe { copy(self.memory, value, type_oid) }
    }

    /// The different elements of an array that a key can have.
    ///
    /// # Safety
    /// The datum is an array of the type.
    unsafe fn elements(
        &self,
        array: Datum,
        type_oid: pg_sys::Oid,
        shape: Shape,
    ) -> Vec<Option<Datum>> {
        // SAFETY: as the caller says; what is taken apart is copied or lives with the copy of the array.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.memory);
            let array =
                pg_sys::pg_detoast_datum_copy(array.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
            let (mut length, mut by_value, mut align) = (0_i16, false, 0);
            pg_sys::get_typlenbyvalalign(
                type_oid,
                &raw mut length,
                &raw mut by_value,
                &raw mut align,
            );
            let (mut elements, mut nulls, mut count) =
                (std::ptr::null_mut(), std::ptr::null_mut(), 0);
            pg_sys::deconstruct_array(
                array,
                type_oid,
                i32::from(length),
                by_value,
                align,
                &raw mut elements,
                &raw mut nulls,
                &raw mut count,
            );
            pg_sys::MemoryContextSwitchTo(before);
            let mut seen = HashSet::new();
            let mut different = Vec::new();
            for place in 0..usize::try_from(count).unwrap_or(0) {
                if *nulls.add(place) {
                    continue;
                }
                let Some(value) = key_of(*elements.add(place), type_oid, shape) else {
                    continue;
                };
                let bytes = match shape {
                    Shape::Text => crate::postgres::varlena::bytes(value).to_vec(),
                    Shape::Uuid => (*value.cast_mut_ptr::<[u8; 16]>()).to_vec(),
                    _ => value.value().to_ne_bytes().to_vec(),
                };
                if seen.insert(bytes) {
                    different.push(Some(value));
                }
            }
            different
        }
    }

    /// The next segment that may hold rows. It lives until the one after it is asked for.
    pub fn next(&mut self, store: &Store) -> Option<Stored> {
        self.next_from(store, None)
    }

    /// The same, with other processes sharing the scan of the whole table.
    pub fn next_from(
        &mut self,
        store: &Store,
        shared: Option<pg_sys::ParallelTableScanDesc>,
    ) -> Option<Stored> {
        // Callers are in memory that is freed after each row; what scans open, now or later, lives longer.
        // SAFETY: the context is the node's own.
        let before =
            unsafe { pg_sys::MemoryContextSwitchTo((*self.place.context).ecxt_per_query_memory) };
        let found = self.find(store, shared);
        // SAFETY: as it was.
        unsafe { pg_sys::MemoryContextSwitchTo(before) };
        found
    }

    fn find(
        &mut self,
        store: &Store,
        shared: Option<pg_sys::ParallelTableScanDesc>,
    ) -> Option<Stored> {
        loop {
            let stored = self.advance(store, shared)?;
            let range = self.range();
            // SAFETY: the segment's keys are of the layout's types.
            if range.touches(stored.first, stored.last) && unsafe { self.accepts(&stored) } {
                return Some(stored);
            }
            self.counts.skipped += 1;
            pgrx::check_for_interrupts!();
        }
    }

    fn advance(
        &mut self,
        store: &Store,
        shared: Option<pg_sys::ParallelTableScanDesc>,
    ) -> Option<Stored> {
        let snapshot = self.place.snapshot;
        let backward = self.chosen.order == Order::Backward;
        let indexed = self.chosen.fixed_keys > 0 || self.chosen.order != Order::None;
        let started = self.started();
        loop {
            pgrx::check_for_interrupts!();
            let found = match &mut started.source {
                Source::Ended => return None,
                Source::Everything(all) => all.next(store),
                Source::OfKey(some) => some.next(store),
                Source::None => None,
            };
            if found.is_some() {
                return found;
            }
            let before = std::mem::replace(&mut started.source, Source::Ended);
            let first = matches!(before, Source::None);
            before.end();
            // SAFETY: the snapshot is the query's own.
            started.source = unsafe {
                match (indexed, shared) {
                    (true, _) => {
                        let Some(keys) = started.next_keys() else {
                            continue;
                        };
                        let range = started.range;
                        Source::OfKey(OfKey::within(store, &keys, range, backward, snapshot))
                    }
                    (false, _) if !first => continue,
                    (false, Some(shared)) => Source::Everything(Everything::share(store, shared)),
                    (false, None) => Source::Everything(Everything::begin(store, snapshot)),
                }
            };
        }
    }

    /// # Safety
    /// The keys are of the layout's types.
    unsafe fn accepts(&mut self, stored: &Stored) -> bool {
        if self.once_per_segment.is_null() {
            return true;
        }
        // SAFETY: as the caller says; the slot has room for the columns that the conditions were prepared for.
        unsafe {
            if let Some((keys, accepted)) = &self.last
                && self.same_keys(keys, &stored.keys)
            {
                return *accepted;
            }
            let slot = self.place.slot;
            clear(slot);
            for (place, value) in self.place.keys.iter().zip(&stored.keys) {
                *(*slot).tts_values.add(*place) = value.unwrap_or(Datum::null());
                *(*slot).tts_isnull.add(*place) = value.is_none();
            }
            pg_sys::ExecStoreVirtualTuple(slot);
            (*self.place.context).ecxt_scantuple = slot;
            let accepted = expression::holds(self.once_per_segment, self.place.context);
            pg_sys::MemoryContextReset((*self.place.context).ecxt_per_tuple_memory);
            clear(slot);
            pg_sys::MemoryContextReset(self.last_memory);
            let keys = stored
                .keys
                .iter()
                .zip(&self.layout.keys)
                .map(|(value, &place)| {
                    value.map(|value| {
                        copy(self.last_memory, value, self.layout.columns[place].type_oid)
                    })
                })
                .collect();
            self.last = Some((keys, accepted));
            accepted
        }
    }

    /// # Safety
    /// Both are of the layout's types.
    unsafe fn same_keys(&self, a: &[Option<Datum>], b: &[Option<Datum>]) -> bool {
        a.iter()
            .zip(b)
            .zip(&self.layout.keys)
            .all(|((a, b), &place)| match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => {
                    let storage = storage(self.layout.columns[place].type_oid);
                    // SAFETY: as the caller says.
                    unsafe { descriptor::same(*a, *b, storage) }
                }
                _ => false,
            })
    }

    /// The conditions that are asked once per segment, for late rows; null where there are none.
    pub fn once_per_segment(&self) -> *mut pg_sys::ExprState {
        self.once_per_segment
    }

    /// Within which times rows are wanted.
    pub fn range(&mut self) -> TimeRange {
        self.started().range
    }

    /// Comparisons of other columns, each of which every row must pass.
    pub fn filters(&mut self) -> &[Filter] {
        &self.started().filters
    }

    /// What the head of a segment says about all comparisons together.
    pub fn verdict(&mut self, segment: &Segment) -> Verdict {
        let mut all = Verdict::Yes;
        for filter in &self.started().filters {
            match filter.head(&stats(segment, filter.stored), segment.rows()) {
                Verdict::No => return Verdict::No,
                Verdict::Maybe => all = Verdict::Maybe,
                Verdict::Yes => {}
            }
        }
        all
    }

    /// The combinations of values of the keys that are looked up; one that is empty where none is. None where no
    /// row can match.
    pub fn keys(&mut self) -> Option<Vec<Vec<Option<Datum>>>> {
        let started = self.started();
        (!started.nothing).then(|| {
            (0..started.combinations())
                .map(|n| started.keys_at(n))
                .collect()
        })
    }
}

impl Started {
    fn nothing() -> Self {
        Self {
            range: TimeRange::ALL,
            filters: Vec::new(),
            keys: Vec::new(),
            combination: 0,
            nothing: true,
            source: Source::Ended,
        }
    }

    fn combinations(&self) -> usize {
        self.keys.iter().map(Vec::len).product()
    }

    fn keys_at(&self, mut number: usize) -> Vec<Option<Datum>> {
        let mut chosen: Vec<_> = self
            .keys
            .iter()
            .rev()
            .map(|values| {
                let value = values[number % values.len()];
                number /= values.len();
                value
            })
            .collect();
        chosen.reverse();
        chosen
    }

    fn next_keys(&mut self) -> Option<Vec<Option<Datum>>> {
        let number = self.combination;
        self.combination += 1;
        (number < self.combinations()).then(|| self.keys_at(number))
    }
}

impl Source {
    fn end(self) {
        match self {
            Self::Everything(all) => all.end(),
            Self::OfKey(some) => some.end(),
            Self::None | Self::Ended => {}
        }
    }
}

/// What a segment's head says about a column; of one that was added since, that all is NULL.
pub fn stats<'a>(segment: &Segment<'a>, column: usize) -> Stats<'a> {
    if column < segment.columns() {
        segment.stats(column)
    } else {
        Stats {
            nulls: segment.rows() as u32,
            ..Stats::default()
        }
    }
}

/// Makes a row empty: all of it NULL.
///
/// # Safety
/// A virtual slot.
pub unsafe fn clear(slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: a slot has as many places as its descriptor has columns.
    unsafe {
        pg_sys::ExecClearTuple(slot);
        let columns = (*(*slot).tts_tupleDescriptor).natts as usize;
        std::slice::from_raw_parts_mut((*slot).tts_isnull, columns).fill(true);
    }
}

/// A context below the current one. The query frees it.
pub fn memory(name: &'static std::ffi::CStr) -> pg_sys::MemoryContext {
    // SAFETY: the name lives for ever.
    unsafe {
        pg_sys::AllocSetContextCreateExtended(
            pg_sys::CurrentMemoryContext,
            name.as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

/// # Safety
/// The datum is of the type.
unsafe fn copy(memory: pg_sys::MemoryContext, value: Datum, type_oid: pg_sys::Oid) -> Datum {
    let (by_value, length) = storage(type_oid);
    // SAFETY: as the caller says. What may be out of line is fetched, since it is looked at again and again.
    unsafe {
        let before = pg_sys::MemoryContextSwitchTo(memory);
        let copied = if length == -1 {
            Datum::from(pg_sys::pg_detoast_datum_copy(value.cast_mut_ptr()))
        } else {
            descriptor::copy(value, (by_value, length))
        };
        pg_sys::MemoryContextSwitchTo(before);
        copied
    }
}

/// A value as one of a key's own type; none where no key can be equal to it.
fn key_of(value: Datum, type_oid: pg_sys::Oid, shape: Shape) -> Option<Datum> {
    match shape {
        Shape::Int2 | Shape::Int4 | Shape::Int8 => {
            let number = Shape::of(type_oid)?.int(value);
            let fits = match shape {
                Shape::Int2 => i16::try_from(number).is_ok(),
                Shape::Int4 => i32::try_from(number).is_ok(),
                _ => true,
            };
            fits.then(|| shape.datum(number))
        }
        _ => Some(value),
    }
}

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// What a time is compared with, as one of its own type; none where that cannot be said for sure.
///
/// # Safety
/// The datum is of its type.
unsafe fn bound(
    own: pg_sys::Oid,
    shape: Shape,
    test: Test,
    value: Datum,
    value_type: pg_sys::Oid,
) -> Option<i64> {
    if own == value_type {
        return Some(shape.int(value));
    }
    let given = Shape::of(value_type)?.int(value);
    // Far from the ends of what the server can convert.
    let safe = |days: i64| (-2_000_000..100_000_000).contains(&days);
    match (own, value_type) {
        (pg_sys::TIMESTAMPOID, pg_sys::DATEOID) if safe(given) => Some(given * DAY),
        (pg_sys::TIMESTAMPTZOID, pg_sys::DATEOID) if safe(given) => {
            // SAFETY: a date.
            let at = unsafe {
                pgrx::direct_function_call_as_datum(pg_sys::date_timestamptz, &[Some(value)])?
            };
            Some(Shape::Time.int(at))
        }
        (pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPOID) if safe(given / DAY) => {
            // SAFETY: a timestamp.
            let at = unsafe {
                pgrx::direct_function_call_as_datum(pg_sys::timestamp_timestamptz, &[Some(value)])?
            };
            Some(Shape::Time.int(at))
        }
        // Here the server converts each row's time, across changes of the clocks: no zone is a day off.
        (pg_sys::TIMESTAMPOID, pg_sys::TIMESTAMPTZOID) if safe(given / DAY) => match test {
            Test::Less | Test::LessEqual => Some(given + DAY),
            Test::Greater | Test::GreaterEqual => Some(given - DAY),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a plan's numbers and expressions, or raises.
///
/// # Safety
/// The lists are those of a plan of this wrapper.
pub unsafe fn chosen(numbers: *mut pg_sys::List, expressions: *mut pg_sys::List) -> Chosen {
    // SAFETY: as the caller says.
    unsafe { Chosen::of(numbers, expressions) }.or_raise()
}
