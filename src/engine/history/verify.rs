//! Reading every segment and comparing it with what its row says of it.

#![expect(unsafe_code, reason = "reads the segment table directly")]

use super::layout::{Layout, Shape};
use super::store::{self, Everything, Store, Stored};
use crate::error::{Error, OrRaise, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{descriptor, role, spi, subtransaction};
use gemba_segment::{Buffer, Segment};
use pgrx::prelude::*;
use std::rc::Rc;

/// What is wrong with a segment.
pub struct Finding {
    pub partition: String,
    /// Its row in the segment table, as ctid is written.
    pub segment: String,
    pub problem: String,
}

/// The compressed partitions of this database.
pub fn partitions() -> Result<Vec<pg_sys::Oid>> {
    spi::read_all(
        "SELECT f.ftrelid FROM pg_catalog.pg_foreign_table f
           JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
           JOIN pg_catalog.pg_class c ON c.oid = f.ftrelid
          WHERE s.srvname = 'gemba_history' ORDER BY c.relname, c.oid",
        &[],
        |row| Ok(row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid)),
    )
}

/// The same; what keeps the partition from being read at all is a finding too, and spares the others.
pub fn partition_or_why_not(asked: &Relation) -> Vec<Finding> {
    let outcome = subtransaction::run(|| role::as_extension(|| partition(asked)).or_raise());
    outcome.unwrap_or_else(|failure| {
        vec![Finding {
            partition: asked.sql(),
            segment: "all".to_owned(),
            problem: match failure.detail {
                Some(detail) => format!("{}: {detail}", failure.message),
                None => failure.message,
            },
        }]
    })
}

/// All that is wrong with the segments of a partition.
pub fn partition(partition: &Relation) -> Result<Vec<Finding>> {
    // SAFETY: a plain call; the lock is kept until the transaction ends.
    unsafe { pg_sys::LockRelationOid(partition.oid, pg_sys::AccessShareLock as pg_sys::LOCKMODE) };
    let layout = Layout::of(partition.oid)?;
    let store = Store::open(Rc::clone(&layout), pg_sys::AccessShareLock);
    let mut findings = Vec::new();
    let mut found = |segment: String, problem: String| {
        findings.push(Finding {
            partition: partition.sql(),
            segment,
            problem,
        });
    };
    let mut buffers: Vec<Buffer> = (0..layout.stored).map(|_| Buffer::new()).collect();
    let mut memory = pgrx::PgMemoryContexts::new("gemba history check");
    // SAFETY: a function runs with an active snapshot, and what a segment needs is freed before the next one.
    unsafe {
        let mut everything = Everything::begin(&store, pg_sys::GetActiveSnapshot());
        while let Some(stored) = everything.next(&store) {
            pgrx::check_for_interrupts!();
            memory.reset();
            let outcome = memory.switch_to(|_| segment(&store, &stored, &mut buffers));
            if let Err(error) = outcome {
                let (_, message, detail) = error.into_parts();
                found(store::tid_text(&stored.tid), detail.unwrap_or(message));
            }
        }
        everything.end();
    }
    store.close();
    for segment in overlaps(&layout)? {
        found(
            segment,
            "it overlaps another segment of its series".to_owned(),
        );
    }
    Ok(findings)
}

/// # Safety
/// The row is the segment table's, and the current memory context is the caller's to free.
unsafe fn segment(store: &Store, stored: &Stored, buffers: &mut [Buffer]) -> Result<()> {
    let opened = stored.open(store)?;
    let wrong = |why: String| {
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            "a segment is damaged",
        )
        .detail(why))
    };
    for (number, buffer) in buffers.iter_mut().enumerate() {
        if let Err(damage) = opened.decode(number, buffer) {
            return wrong(damage.to_string());
        }
    }
    let layout = &store.layout;
    let times = times(&opened, layout, buffers);
    let (first, last) = (times.first().copied(), times.last().copied());
    if first != Some(stored.first) || last != Some(stored.last) {
        return wrong("its times are not those that its row says".to_owned());
    }
    // Keys that are NULL are not equal to one another: such rows may share a time.
    let unique = layout.unique && stored.keys.iter().all(Option::is_some);
    let in_order = times.windows(2).all(|pair| {
        if unique {
            pair[0] < pair[1]
        } else {
            pair[0] <= pair[1]
        }
    });
    if !in_order {
        return wrong("its rows are not in the order of time".to_owned());
    }
    for (key, &place) in layout.keys.iter().enumerate() {
        let column = &layout.columns[place];
        let (Some(number), Some(shape)) = (column.stored, column.shape) else {
            continue;
        };
        // SAFETY: both are values of the column's type.
        let same = unsafe {
            same_key(
                &opened,
                number,
                shape,
                column.type_oid,
                stored.keys[key],
                buffers,
            )
        };
        if !same {
            return wrong(format!("column {:?} is not what its row says", column.name));
        }
    }
    Ok(())
}

fn times(segment: &Segment, layout: &Layout, buffers: &mut [Buffer]) -> Vec<i64> {
    let Some(number) = layout.columns[layout.order].stored else {
        return Vec::new();
    };
    match segment
        .decode(number, &mut buffers[number])
        .map(|column| column.values)
    {
        Ok(gemba_segment::Values::Ints(ints)) => ints.to_vec(),
        Ok(gemba_segment::Values::Constant(gemba_segment::Scalar::Int(int))) => {
            vec![int; segment.rows()]
        }
        _ => Vec::new(),
    }
}

/// # Safety
/// The key is NULL or of the type.
unsafe fn same_key(
    segment: &Segment,
    number: usize,
    shape: Shape,
    type_oid: pg_sys::Oid,
    key: Option<pg_sys::Datum>,
    buffers: &mut [Buffer],
) -> bool {
    let Ok(column) = segment.decode(number, &mut buffers[number]) else {
        return false;
    };
    let has_nulls = column.nulls.is_some();
    match (column.values, key) {
        (gemba_segment::Values::Nothing, None) => true,
        (gemba_segment::Values::Constant(scalar), Some(key)) if !has_nulls => {
            let value = super::values::datum(shape, &scalar);
            // SAFETY: as the caller says, and made for the type.
            unsafe { descriptor::same(value, key, descriptor::storage(type_oid)) }
        }
        _ => false,
    }
}

/// Rows of segments that reach into the one before them.
fn overlaps(layout: &Layout) -> Result<Vec<String>> {
    let segments = Relation::open(layout.segments)?;
    let keys: Vec<_> = (1..=layout.keys.len())
        .map(|n| format!("key_{n}"))
        .collect();
    let partition = if keys.is_empty() {
        String::new()
    } else {
        format!("PARTITION BY {} ", keys.join(", "))
    };
    // Where the rows of a series are unique, not even a time is in two segments.
    let apart = if layout.unique {
        keys.iter()
            .fold("first_at = before".to_owned(), |apart, key| {
                format!("{apart} AND {key} IS NOT NULL")
            })
    } else {
        "false".to_owned()
    };
    spi::read_all(
        &format!(
            "SELECT place::text FROM (
               SELECT *, ctid AS place, pg_catalog.lag(last_at) OVER ({partition}ORDER BY last_at, first_at) AS before
                 FROM {}) AS s WHERE first_at < before OR ({apart})",
            segments.sql()
        ),
        &[],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )
}
