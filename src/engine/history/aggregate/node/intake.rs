//! What segments and late rows add to their groups.

#![expect(unsafe_code, reason = "evaluates the executor's expressions")]

use super::super::groups::storage_of_key;
use super::{Bucket, Node};
use crate::engine::history::cursor::{clear, stats};
use crate::engine::history::fdw::late_rows::{LateRows, Request};
use crate::engine::history::filter::{Rows, Verdict};
use crate::engine::history::store::{Store, Stored};
use crate::engine::history::values::Cells;
use crate::postgres::expression;
use gemba_segment::{Column, Values};
use pg_sys::Datum;
use pgrx::prelude::*;
use std::ops::Range;

impl Node {
    /// Takes in a segment.
    ///
    /// # Safety
    /// As for [`Self::put_next`]; in the segment's memory.
    pub(super) unsafe fn take_in(&mut self, store: &Store, stored: &Stored) {
        // SAFETY: as the caller says.
        unsafe {
            let range = self.cursor.range();
            let covered = range.covers(stored.first, stored.last);
            let filtered = !self.cursor.filters().is_empty();
            if !covered || filtered || !self.works.is_empty() || !self.by_row.is_null() {
                self.decoded.open(store, stored);
            }
            let mut verdict = Verdict::Yes;
            if filtered && let Some(segment) = &self.decoded.segment {
                verdict = self.cursor.verdict(segment);
                if verdict == Verdict::No {
                    self.cursor.counts.skipped += 1;
                    return;
                }
            }
            self.cursor.counts.read += 1;
            let mut rows = 0..stored.rows;
            if !covered {
                let times = self.decoded.column(store, stored, self.order());
                rows = range.rows(&times, stored.rows);
            }
            let runs = if verdict == Verdict::Maybe || !self.by_row.is_null() {
                self.runs(store, stored, rows, verdict)
            } else {
                vec![rows]
            };
            clear(self.slot);
            pg_sys::ExecStoreVirtualTuple(self.slot);
            for (key, value) in stored.keys.iter().enumerate() {
                self.set_column(self.layout.keys[key], *value);
            }
            for run in runs {
                if !run.is_empty() {
                    self.take_in_run(store, stored, run);
                }
            }
            if self.decoded.any {
                self.read.decoded += 1;
            } else {
                self.read.by_head += 1;
            }
        }
    }

    fn order(&self) -> usize {
        self.layout.columns[self.layout.order].stored.unwrap_or(0)
    }

    /// Puts a value where the column stands in the row that is evaluated on, if it does.
    ///
    /// # Safety
    /// Of the column's type.
    unsafe fn set_column(&self, place: usize, value: Option<Datum>) {
        if let Some(at) = self.columns.iter().position(|&column| column == place) {
            let at = self.outputs.len() + at;
            // SAFETY: the slot has a place for each aggregate and each column.
            unsafe {
                *(*self.slot).tts_values.add(at) = value.unwrap_or(Datum::null());
                *(*self.slot).tts_isnull.add(at) = value.is_none();
            }
        }
    }

    /// The rows that pass all conditions, as runs of rows that lie together.
    ///
    /// # Safety
    /// As for [`Self::take_in`].
    unsafe fn runs(
        &mut self,
        store: &Store,
        stored: &Stored,
        rows: Range<usize>,
        verdict: Verdict,
    ) -> Vec<Range<usize>> {
        let mut kept = Rows::default();
        kept.reset(rows);
        if verdict == Verdict::Maybe {
            for filter in self.cursor.filters() {
                if kept.is_empty() {
                    break;
                }
                // SAFETY: as the caller says.
                let column = unsafe { self.decoded.column(store, stored, filter.stored) };
                filter.keep(&column, &mut kept);
            }
        }
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut add = |row: usize| match runs.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => runs.push(row..row + 1),
        };
        if self.by_row.is_null() {
            for position in 0..kept.len() {
                add(kept.at(position));
            }
            return runs;
        }
        // SAFETY: as the caller says; cells are dropped with this, before the segment's memory is.
        unsafe {
            clear(self.slot);
            pg_sys::ExecStoreVirtualTuple(self.slot);
            let mut cells = Vec::with_capacity(self.tested.len());
            for &(place, at) in &self.tested {
                if let (Some(number), Some(shape)) = (
                    self.layout.columns[place].stored,
                    self.layout.columns[place].shape,
                ) {
                    cells.push((
                        at,
                        Cells::new(shape, self.decoded.column(store, stored, number)),
                    ));
                }
            }
            for position in 0..kept.len() {
                let row = kept.at(position);
                for (at, cells) in &mut cells {
                    let value = cells.get(row);
                    *(*self.slot).tts_values.add(*at) = value.unwrap_or(Datum::null());
                    *(*self.slot).tts_isnull.add(*at) = value.is_none();
                }
                (*self.context).ecxt_scantuple = self.slot;
                if expression::holds(self.by_row, self.context) {
                    add(row);
                }
                pg_sys::MemoryContextReset((*self.context).ecxt_per_tuple_memory);
            }
        }
        runs
    }

    /// Takes in rows that lie together: cut where the group changes.
    ///
    /// # Safety
    /// As for [`Self::take_in`].
    unsafe fn take_in_run(&mut self, store: &Store, stored: &Stored, run: Range<usize>) {
        // SAFETY: as the caller says.
        unsafe {
            let whole = run == (0..stored.rows);
            let mut start = run.start;
            while start < run.end {
                // Times are looked at only where it matters which row has which.
                let (first, last) = if whole && start == 0 {
                    (stored.first, stored.last)
                } else if self.buckets.iter().any(Bucket::is_of_time) {
                    let times = self.decoded.column(store, stored, self.order());
                    (time_at(&times, start), time_at(&times, run.end - 1))
                } else {
                    (stored.first, stored.last)
                };
                let until = self.identify(&stored.keys, first, last);
                let end = match until {
                    None => run.end,
                    Some(until) if until > last => run.end,
                    Some(until) => {
                        let times = self.decoded.column(store, stored, self.order());
                        cut(&times, start..run.end, until)
                    }
                };
                let group = self
                    .groups
                    .of(&self.identity, &self.layout, &stored.keys, first);
                self.add(store, stored, group, start..end);
                start = end;
            }
        }
    }

    /// Finds out which group a row of these keys and this time belongs to, and from which time on rows may
    /// belong to another.
    ///
    /// # Safety
    /// As for [`Self::take_in`]; the row that is evaluated on holds the keys.
    unsafe fn identify(&mut self, keys: &[Option<Datum>], time: i64, last: i64) -> Option<i64> {
        let mut until: Option<i64> = None;
        self.identity.clear();
        // SAFETY: as the caller says.
        unsafe {
            for bucket in &mut self.buckets {
                let part = match bucket {
                    Bucket::Key(key) => {
                        let (by_value, length) = storage_of_key(&self.layout, *key);
                        self.groups.part(keys[*key], by_value, length)
                    }
                    Bucket::Windows(windows) => {
                        let window = windows.of(&self.clock, time, last);
                        if window.end != i64::MAX {
                            until = Some(until.map_or(window.end, |until| until.min(window.end)));
                        }
                        window.value.map_or([1, 0], |value| [0, value])
                    }
                    Bucket::Each {
                        state,
                        by_value,
                        length,
                        of_keys,
                    } => {
                        let at = self.clock.position;
                        *(*self.slot).tts_values.add(at) = self.clock.shape.datum(time);
                        *(*self.slot).tts_isnull.add(at) = false;
                        (*self.context).ecxt_scantuple = self.slot;
                        let value = expression::value(*state, self.context);
                        let part = self.groups.part(value, *by_value, *length);
                        pg_sys::MemoryContextReset((*self.context).ecxt_per_tuple_memory);
                        if !*of_keys {
                            until = Some(time.saturating_add(1));
                        }
                        part
                    }
                };
                self.identity.extend(part);
            }
        }
        until
    }

    /// # Safety
    /// As for [`Self::take_in`].
    unsafe fn add(&mut self, store: &Store, stored: &Stored, group: usize, rows: Range<usize>) {
        let whole = rows == (0..stored.rows);
        self.groups.all[group].rows += rows.len() as u64;
        for number in 0..self.works.len() {
            let work = self.works[number];
            if whole
                && let Some(segment) = &self.decoded.segment
                && self.groups.all[group].tallies[number].add_head(
                    &work,
                    &stats(segment, work.stored),
                    stored.rows,
                )
            {
                continue;
            }
            // SAFETY: as the caller says.
            let column = unsafe { self.decoded.column(store, stored, work.stored) };
            self.groups.all[group].tallies[number].add(&work, &column, rows.clone());
        }
    }

    /// Takes in the late rows.
    ///
    /// # Safety
    /// As for [`Self::put_next`].
    pub(super) unsafe fn take_in_late(&mut self) {
        // SAFETY: as the caller says; rows stay until the next is asked for.
        unsafe {
            let Some(keys) = self.cursor.keys() else {
                return;
            };
            let mut rows = LateRows::begin(
                self.layout.clone(),
                Request {
                    keys: (self.cursor.chosen.fixed_keys > 0).then_some(keys),
                    range: self.cursor.range(),
                    backward: false,
                    snapshot: self.snapshot,
                    quals: [std::ptr::null_mut(); 2],
                    context: self.context,
                },
            );
            while rows.put(self.late_slot) {
                clear(self.slot);
                pg_sys::ExecStoreVirtualTuple(self.slot);
                let value = |place: usize| {
                    (!*(*self.late_slot).tts_isnull.add(place))
                        .then(|| *(*self.late_slot).tts_values.add(place))
                };
                for &place in &self.columns {
                    self.set_column(place, value(place));
                }
                (*self.context).ecxt_scantuple = self.slot;
                let wanted = expression::holds(self.of_late, self.context);
                pg_sys::MemoryContextReset((*self.context).ecxt_per_tuple_memory);
                if !wanted {
                    continue;
                }
                self.cursor.counts.late += 1;
                let keys: Vec<_> = self.layout.keys.iter().map(|&place| value(place)).collect();
                let values: Vec<_> = self.works.iter().map(|work| value(work.place)).collect();
                let time = value(self.layout.order).map_or(0, |time| self.clock.shape.int(time));
                self.identify(&keys, time, time);
                let group = self.groups.of(&self.identity, &self.layout, &keys, time);
                let group = &mut self.groups.all[group];
                group.rows += 1;
                for ((work, tally), value) in self.works.iter().zip(&mut group.tallies).zip(values)
                {
                    if let Some(value) = value {
                        tally.add_datum(work, value);
                    }
                }
            }
            rows.end();
        }
    }
}

/// The time of a row.
fn time_at(times: &Column, row: usize) -> i64 {
    match times.values {
        Values::Ints(times) => times.get(row).copied().unwrap_or(i64::MAX),
        Values::Constant(gemba_segment::Scalar::Int(time)) => time,
        _ => i64::MAX,
    }
}

/// The first of the rows, but never the very first, whose time is not before this one.
fn cut(times: &Column, rows: Range<usize>, until: i64) -> usize {
    match times.values {
        Values::Ints(times) => {
            let some = times.get(rows.clone()).unwrap_or_default();
            (rows.start + some.partition_point(|&time| time < until)).max(rows.start + 1)
        }
        _ => rows.end,
    }
}
