//! What of an aggregate stands in its plan.
//!
//! A plan can be copied, cached and sent to a worker, so it is numbers and expressions. The row that the node
//! makes has the aggregates first and then columns of the partition: keys, time and what conditions need. Of a
//! group they hold the values of one of its rows, from which the server computes what is grouped by, if that
//! is more than a column.

#![expect(unsafe_code, reason = "reads and makes lists of the server's")]

use super::functions::Function;
use crate::error::{Error, Result};
use pgrx::PgList;
use pgrx::prelude::*;

/// An aggregate, and the place of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aggregate {
    pub function: Function,
    /// Of any column, for counting rows.
    pub place: usize,
}

/// What rows are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The n-th key.
    Key(usize),
    /// Width and zone of the calendar's buckets, by the numbers of their expressions.
    Calendar {
        whole: usize,
        width: usize,
        zone: usize,
    },
    /// An expression of the time, what to ask for where it changes, and which zones it looks at.
    Asked {
        whole: usize,
        inner: usize,
        zones: (usize, usize),
        session: bool,
    },
    /// An expression of keys and time, row by row, or of keys alone.
    Each { whole: usize, of_keys: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub table: pg_sys::Oid,
    pub aggregates: Vec<Aggregate>,
    /// Places of the columns behind them in the row.
    pub columns: Vec<usize>,
    pub groups: Vec<Group>,
    /// Expressions of its own, behind those of the selection: asked once, asked for each row, and the groups'.
    pub once: usize,
    pub by_row: usize,
    pub of_groups: usize,
}

impl Spec {
    /// As a list for the plan.
    pub fn numbers(&self) -> *mut pg_sys::List {
        let mut numbers = vec![
            u32::from(self.table).cast_signed(),
            self.once as i32,
            self.by_row as i32,
            self.of_groups as i32,
            self.aggregates.len() as i32,
        ];
        for aggregate in &self.aggregates {
            numbers.extend([aggregate.function as i32, aggregate.place as i32]);
        }
        numbers.push(self.columns.len() as i32);
        numbers.extend(self.columns.iter().map(|&place| place as i32));
        for group in &self.groups {
            numbers.extend(match *group {
                Group::Key(key) => [0, key as i32, 0, 0, 0, 0],
                Group::Calendar { whole, width, zone } => {
                    [1, whole as i32, width as i32, zone as i32, 0, 0]
                }
                Group::Asked {
                    whole,
                    inner,
                    zones,
                    session,
                } => [
                    2,
                    whole as i32,
                    inner as i32,
                    zones.0 as i32,
                    zones.1 as i32,
                    i32::from(session),
                ],
                Group::Each { whole, of_keys } => [3, whole as i32, i32::from(of_keys), 0, 0, 0],
            });
        }
        let mut list = std::ptr::null_mut();
        for number in numbers {
            // SAFETY: a list of the planner's.
            list = unsafe { pg_sys::lappend_int(list, number) };
        }
        list
    }

    /// # Errors
    /// `XX000` where it is not what [`Self::numbers`] wrote.
    ///
    /// # Safety
    /// A list of integers of a plan.
    pub unsafe fn read(list: *mut pg_sys::List) -> Result<Self> {
        // SAFETY: as the caller says.
        let all: Vec<i32> = unsafe { PgList::<()>::from_pg(list).iter_int().collect() };
        Self::of(&all).ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "the plan of an aggregate over a compressed partition is unreadable",
            )
            .hint("please report this")
        })
    }

    fn of(numbers: &[i32]) -> Option<Self> {
        let ([table, once, by_row, of_groups, aggregates], rest) = numbers.split_first_chunk()?;
        let number = |number: &i32| usize::try_from(*number).ok();
        let (aggregates, rest) = rest.split_at_checked(number(aggregates)? * 2)?;
        let (columns, rest) = rest.split_first()?;
        let (columns, groups) = rest.split_at_checked(number(columns)?)?;
        Some(Self {
            table: pg_sys::Oid::from(table.cast_unsigned()),
            once: number(once)?,
            by_row: number(by_row)?,
            of_groups: number(of_groups)?,
            aggregates: aggregates
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[function, place]| {
                    Some(Aggregate {
                        function: Function::numbered(*function)?,
                        place: number(place)?,
                    })
                })
                .collect::<Option<_>>()?,
            columns: columns.iter().map(number).collect::<Option<_>>()?,
            groups: groups
                .as_chunks::<6>()
                .0
                .iter()
                .map(|[kind, a, b, c, d, e]| {
                    Some(match kind {
                        0 => Group::Key(number(a)?),
                        1 => Group::Calendar {
                            whole: number(a)?,
                            width: number(b)?,
                            zone: number(c)?,
                        },
                        2 => Group::Asked {
                            whole: number(a)?,
                            inner: number(b)?,
                            zones: (number(c)?, number(d)?),
                            session: *e != 0,
                        },
                        3 => Group::Each {
                            whole: number(a)?,
                            of_keys: *b != 0,
                        },
                        _ => return None,
                    })
                })
                .collect::<Option<_>>()?,
        })
    }
}
