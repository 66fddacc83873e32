//! Segments that come ready-made, for a partition that was never an ordinary table: what an import writes.

use super::cut::{Cut, Span};
use super::layout::Layout;
use super::policy::Policy;
use super::{store, tables};
use crate::engine::partitions::leaf;
use crate::engine::partitions::set::Set;
use crate::error::Result;
use crate::postgres::heap::HeapWriter;
use crate::postgres::relation::Relation;
use crate::postgres::{role, spi, varlena};
use pg_sys::Datum;
use pgrx::prelude::*;

/// A compressed partition in the making, which nobody else can see yet.
pub struct Direct {
    foreign: Relation,
    policy: Policy,
    writer: HeapWriter,
    pub cut: Cut,
    pub from: i64,
    pub to: i64,
    pub rows: u64,
    /// About what the rows would take up in an ordinary table.
    pub raw_bytes: u64,
}

/// A segment, encoded.
pub struct Encoded<'a> {
    /// In the order of the policy; they live until the segment is written.
    pub keys: &'a [Option<Datum>],
    pub first: i64,
    pub last: i64,
    pub rows: usize,
    pub data: &'a [u8],
}

impl Direct {
    /// Makes the tables for the step that begins there. Segments of the span are to come.
    pub fn create(
        set: &Set,
        policy: &Policy,
        range: std::ops::Range<i64>,
        span: Span,
    ) -> Result<Self> {
        let name = leaf::free_name(set, range.start)?;
        let parent = &set.parent.relation;
        let foreign = tables::make(parent, &name, &name, policy, !set.unique_on.is_empty())?;
        let layout = Layout::of(foreign.oid)?;
        // Built when all is in: without looking for the place of each.
        tables::drop_index(layout.segments)?;
        Ok(Self {
            cut: Cut::new(
                set,
                span,
                layout.order_shape() == super::layout::Shape::Date,
            ),
            writer: HeapWriter::open(layout.segments, true),
            foreign,
            policy: policy.clone(),
            from: range.start,
            to: range.end,
            rows: 0,
            raw_bytes: 0,
        })
    }

    /// Adds a segment. Those of one key come in the order of time and do not overlap.
    pub fn push(&mut self, segment: &Encoded) {
        self.rows += segment.rows as u64;
        self.writer.push(|values, nulls| {
            nulls[..store::KEYS - 1].fill(false);
            values[0] = Datum::from(segment.first);
            values[1] = Datum::from(segment.last);
            values[2] = Datum::from(segment.rows as i32);
            for (place, key) in segment.keys.iter().enumerate() {
                if let Some(key) = key {
                    values[store::KEYS - 1 + place] = *key;
                    nulls[store::KEYS - 1 + place] = false;
                }
            }
            let data = store::KEYS - 1 + segment.keys.len();
            values[data] = varlena::of_bytes(segment.data);
            nulls[data] = false;
        });
    }

    /// Indexes what was written and attaches it to its table; returns the partition's name and rows.
    pub fn attach(self, set: &Set) -> Result<(String, u64)> {
        self.writer.finish();
        let layout = Layout::of(self.foreign.oid)?;
        tables::index(layout.segments, &self.policy)?;
        tables::note(&self.foreign, self.cut.span, self.raw_bytes as i64)?;
        leaf::attach(set, &self.foreign, self.from, self.to)?;
        role::as_owner(self.foreign.owner, || {
            spi::write(&format!("ANALYZE {}", self.foreign.sql()), &[])
        })?;
        Ok((self.foreign.name, self.rows))
    }
}
