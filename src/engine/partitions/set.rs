//! One managed table: what `gemba.partition_sets` says of it, and its partitions.

use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{spi, time};
use gemba_core::calendar::{Step, Zone};
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// The type of the partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    Instant,
    /// `timestamp`: local times without a zone.
    Local,
    Date,
}

/// A table with one time column as its range key.
#[derive(Debug, Clone)]
pub struct Parent {
    pub relation: Relation,
    pub key: KeyType,
}

/// A managed table.
#[derive(Debug, Clone)]
pub struct Set {
    pub parent: Parent,
    pub step: Step,
    pub zone: time::ServerZone,
    /// The zone on whose calendar boundaries are: `zone`, or for a key without a zone none, and then all
    /// times of this set are local times.
    pub grid: time::ServerZone,
    pub premake: i32,
    pub retain: Option<Interval>,
    pub on_expire: String,
    pub unique_on: Vec<String>,
}

/// A partition and the half-open range of instants that it holds.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub oid: pg_sys::Oid,
    pub from: i64,
    pub to: i64,
}

impl Parent {
    /// # Errors
    /// `42809` when the table is not partitioned by range on one timestamptz, timestamp or date column.
    pub fn open(oid: pg_sys::Oid) -> Result<Self> {
        let relation = Relation::open(oid)?;
        let key = spi::read_row(
            "SELECT a.atttypid::pg_catalog.regtype::text
               FROM pg_catalog.pg_partitioned_table p
               JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
              WHERE p.partrelid = $1 AND p.partstrat = 'r' AND p.partnatts = 1",
            &[oid.into()],
            |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
        )?;
        let key = match key.as_deref() {
            Some("timestamp with time zone") => KeyType::Instant,
            Some("timestamp without time zone") => KeyType::Local,
            Some("date") => KeyType::Date,
            _ => {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                    "the table is not partitioned by range on one time column",
                )
                .detail(format!("table {}", relation.sql()))
                .hint("create it with PARTITION BY RANGE (column), the column being timestamptz, timestamp or date"));
            }
        };
        Ok(Self { relation, key })
    }

    /// The partitions, in order of time. `zone` reads the bounds of a key without a zone.
    pub fn leaves(&self, zone: &str) -> Result<Vec<Leaf>> {
        leaves(self.relation.oid, zone)
    }
}

/// The partitions of a table that [`Parent::open`] accepts (of any other table: none).
pub fn leaves(parent: pg_sys::Oid, zone: &str) -> Result<Vec<Leaf>> {
    spi::read_all(
        "SELECT leaf, from_time, to_time FROM gemba._leaves($1, $2) ORDER BY from_time",
        &[parent.into(), zone.into()],
        |row| {
            let edge = |column| -> Result<i64> {
                Ok(row
                    .get::<TimestampWithTimeZone>(column)?
                    .map_or(i64::MIN, time::micros))
            };
            Ok(Leaf {
                oid: row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid),
                from: edge(2)?,
                to: edge(3)?,
            })
        },
    )
}

impl Set {
    /// # Errors
    /// `55000` when the table is not managed.
    pub fn of(parent: pg_sys::Oid) -> Result<Self> {
        let relation = Relation::open(parent)?;
        Self::find(parent)?.ok_or_else(|| {
            Error::state("the table's partitions are not managed")
                .detail(format!("table {}", relation.sql()))
                .hint("call gemba.manage_partitions(parent, step) first")
        })
    }

    pub fn find(parent: pg_sys::Oid) -> Result<Option<Self>> {
        let row = spi::read_row(
            "SELECT step, premake, retain, on_expire, time_zone, unique_on::text[]
               FROM gemba.partition_sets WHERE parent = $1",
            &[parent.into()],
            |row| {
                Ok((
                    row.get::<Interval>(1)?,
                    row.get::<i32>(2)?.unwrap_or_default(),
                    row.get::<Interval>(3)?,
                    row.get::<String>(4)?.unwrap_or_default(),
                    row.get::<String>(5)?.unwrap_or_default(),
                    row.get::<Vec<String>>(6)?.unwrap_or_default(),
                ))
            },
        )?;
        let Some((Some(step), premake, retain, on_expire, zone, unique_on)) = row else {
            return Ok(None);
        };
        let parent = Parent::open(parent)?;
        let zone = time::ServerZone::trusted(&zone);
        let grid = match parent.key {
            KeyType::Instant => zone.clone(),
            KeyType::Local | KeyType::Date => time::ServerZone::trusted("UTC"),
        };
        Ok(Some(Self {
            parent,
            step: time::step(&step)?,
            zone,
            grid,
            premake,
            retain,
            on_expire,
            unique_on,
        }))
    }

    /// Every managed table that still exists.
    pub fn all() -> Result<Vec<pg_sys::Oid>> {
        spi::read_all(
            "SELECT s.parent::oid FROM gemba.partition_sets s
               JOIN pg_catalog.pg_class c ON c.oid = s.parent ORDER BY s.parent::oid",
            &[],
            |row| Ok(row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid)),
        )
    }

    /// An instant as this set counts time.
    pub fn on_grid(&self, instant: i64) -> i64 {
        match self.parent.key {
            KeyType::Instant => instant,
            KeyType::Local | KeyType::Date => self.zone.local(instant),
        }
    }

    /// The partitions, in order of time.
    pub fn leaves(&self) -> Result<Vec<Leaf>> {
        self.parent.leaves(self.grid.name())
    }

    /// Start of the step that a time lies in.
    pub fn floor(&self, at: i64) -> i64 {
        self.step.floor(at, &self.grid)
    }

    pub fn next(&self, at: i64) -> i64 {
        self.step.next(at, &self.grid)
    }

    /// A bound as a literal of the key's type.
    pub fn bound(&self, at: i64) -> String {
        spi::literal(&match self.parent.key {
            KeyType::Instant => time::instant_text(at),
            KeyType::Local | KeyType::Date => time::local_text(at),
        })
    }

    /// The steps that touch `[from, to)` and are not yet covered by a partition, each cut to the gap
    /// that it fills.
    pub fn gaps(&self, from: i64, to: i64) -> Result<Vec<(i64, i64)>> {
        let leaves = self.leaves()?;
        let mut gaps = Vec::new();
        let mut next_leaf = leaves.iter().peekable();
        let mut start = self.floor(from);
        while start < to {
            let end = self.next(start);
            let mut cursor = start;
            while next_leaf.next_if(|leaf| leaf.to <= start).is_some() {}
            for leaf in next_leaf.clone().take_while(|leaf| leaf.from < end) {
                if leaf.from > cursor {
                    gaps.push((cursor, leaf.from));
                }
                cursor = cursor.max(leaf.to);
            }
            if cursor < end {
                gaps.push((cursor, end));
            }
            start = end;
        }
        Ok(gaps)
    }
}
