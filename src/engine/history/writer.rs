//! Rows in the order of keys and time become segments.

#![expect(unsafe_code, reason = "reads and compares the server's values")]

use super::cut::{Cut, MOST_ROWS};
use super::store::{NewSegment, Store};
use super::values;
use crate::error::{Error, Result};
use crate::postgres::descriptor;
use gemba_segment::ColumnBuilder;
use pg_sys::Datum;
use pgrx::prelude::*;
use std::collections::VecDeque;

/// Gathers the rows of one segment after the other, and writes them.
pub struct Writer<'s> {
    store: &'s Store,
    pub cut: Cut,
    builders: Vec<ColumnBuilder>,
    /// Numbers of columns that were dropped: NULL in what is written from now on.
    gaps: Vec<usize>,
    /// Of the segment at hand; in memory of its own.
    keys: Vec<Option<Datum>>,
    memory: pgrx::PgMemoryContexts,
    first: i64,
    last: i64,
    /// The first time that belongs to another segment.
    until: i64,
    encoded: Vec<u8>,
    /// Segments that are taken the place of, one by each that is written.
    replaced: VecDeque<pg_sys::ItemPointerData>,
    pub rows: u64,
    pub segments: u64,
    pub bytes: u64,
}

impl<'s> Writer<'s> {
    pub fn new(store: &'s Store, cut: Cut) -> Self {
        let layout = &store.layout;
        let mut builders = Vec::with_capacity(layout.stored);
        let mut gaps = Vec::new();
        for number in 0..layout.stored {
            let shape = layout
                .columns
                .iter()
                .find(|column| column.stored == Some(number))
                .and_then(|column| column.shape);
            if shape.is_none() {
                gaps.push(number);
            }
            builders.push(ColumnBuilder::new(
                shape.map_or(gemba_segment::Kind::Int, |shape| shape.kind()),
            ));
        }
        Self {
            store,
            cut,
            builders,
            gaps,
            keys: Vec::new(),
            memory: pgrx::PgMemoryContexts::new("gemba segment"),
            first: 0,
            last: 0,
            until: i64::MIN,
            encoded: Vec::new(),
            replaced: VecDeque::new(),
            rows: 0,
            segments: 0,
            bytes: 0,
        }
    }

    /// Adds a row of the partition. Rows come in the order of keys and time.
    ///
    /// # Safety
    /// There is a value for each of the layout's columns, of its type.
    pub unsafe fn push(&mut self, values: &[Datum], nulls: &[bool]) -> Result<()> {
        let layout = &self.store.layout;
        let time = layout.order_shape().int(values[layout.order]);
        // SAFETY: as the caller says.
        unsafe {
            let full = self.gathered() >= MOST_ROWS;
            if self.gathered() == 0 || time >= self.until || full || !self.same_keys(values, nulls)
            {
                self.flush()?;
                self.begin(values, nulls, time);
            }
            self.last = time;
            for (place, column) in layout.columns.iter().enumerate() {
                if let (Some(number), Some(shape)) = (column.stored, column.shape) {
                    let value = (!nulls[place]).then_some(values[place]);
                    values::push(&mut self.builders[number], shape, value);
                }
            }
            for &number in &self.gaps {
                self.builders[number].push_null();
            }
        }
        Ok(())
    }

    /// The rows of this segment, which nobody else can change, are among those to come: it goes.
    pub fn replaces(&mut self, segment: pg_sys::ItemPointerData) {
        self.replaced.push_back(segment);
    }

    /// Writes the segment at hand, and takes away those whose rows went into fewer.
    pub fn finish(&mut self) -> Result<()> {
        self.flush()?;
        for segment in self.replaced.drain(..) {
            self.store.delete(&segment);
        }
        Ok(())
    }

    pub fn gathered(&self) -> usize {
        self.builders.first().map_or(0, ColumnBuilder::len)
    }

    /// # Safety
    /// As for [`Self::push`].
    unsafe fn same_keys(&self, values: &[Datum], nulls: &[bool]) -> bool {
        let layout = &self.store.layout;
        layout.keys.iter().zip(&self.keys).all(|(&place, key)| {
            match (key, nulls[place]) {
                (None, null) => null,
                (Some(_), true) => false,
                (Some(key), false) => {
                    let column = &layout.columns[place];
                    // SAFETY: both are of the column's type. Bit for bit: values that are equal but look different
                    // (1.0 and 1.00) are kept apart, and each as it is.
                    unsafe {
                        descriptor::same(*key, values[place], descriptor::storage(column.type_oid))
                    }
                }
            }
        })
    }

    /// # Safety
    /// As for [`Self::push`].
    unsafe fn begin(&mut self, values: &[Datum], nulls: &[bool], time: i64) {
        let layout = &self.store.layout;
        self.first = time;
        self.until = self.cut.after(time);
        // SAFETY: nothing of the last segment is used any more; keys are copied as their types say.
        unsafe {
            self.memory.reset();
            self.keys = self.memory.switch_to(|_| {
                layout
                    .keys
                    .iter()
                    .map(|&place| {
                        (!nulls[place]).then(|| {
                            let storage = descriptor::storage(layout.columns[place].type_oid);
                            descriptor::copy(values[place], storage)
                        })
                    })
                    .collect()
            });
        }
    }

    /// Writes the segment at hand.
    pub fn flush(&mut self) -> Result<()> {
        let rows = self.gathered();
        if rows == 0 {
            return Ok(());
        }
        pgrx::check_for_interrupts!();
        self.encoded.clear();
        gemba_segment::encode_into(&self.builders, &mut self.encoded).map_err(|error| {
            Error::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "a segment cannot be written",
            )
            .detail(error.to_string())
            .hint("please report this")
        })?;
        let segment = NewSegment {
            first: self.first,
            last: self.last,
            rows,
            keys: &self.keys,
            data: &self.encoded,
        };
        match self.replaced.pop_front() {
            Some(old) => self.store.replace(&old, &segment),
            None => self.store.insert(&segment),
        }
        self.rows += rows as u64;
        self.segments += 1;
        self.bytes += self.encoded.len() as u64;
        for builder in &mut self.builders {
            builder.clear();
        }
        Ok(())
    }
}
