//! Which tables are compressed, how, and when a partition is closed.

use super::layout::Shape;
use crate::engine::partitions::set::{Leaf, Set};
use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{spi, time};
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// More columns would make segments of a few rows each.
const MOST_KEYS: usize = 8;

/// How the partitions of a table are compressed.
#[derive(Debug, Clone)]
pub struct Policy {
    pub segment_by: Vec<String>,
    pub order_by: String,
    pub after: Interval,
}

impl Policy {
    pub fn find(parent: pg_sys::Oid) -> Result<Option<Self>> {
        let row = spi::read_row(
            "SELECT segment_by::text[], order_by::text, after FROM gemba.compression_policies WHERE parent = $1",
            &[parent.into()],
            |row| {
                Ok((
                    row.get::<Vec<String>>(1)?.unwrap_or_default(),
                    row.get::<String>(2)?.unwrap_or_default(),
                    row.get::<Interval>(3)?,
                ))
            },
        )?;
        Ok(row.and_then(|(segment_by, order_by, after)| {
            Some(Self {
                segment_by,
                order_by,
                after: after?,
            })
        }))
    }

    /// # Errors
    /// `55000` when the table has none.
    pub fn of(table: &Relation) -> Result<Self> {
        Self::find(table.oid)?.ok_or_else(|| {
            Error::state("nothing says how the table is to be compressed")
                .detail(format!("table {}", table.sql()))
                .hint("call gemba.compress_after(parent, segment_by, order_by, after) first")
        })
    }

    pub fn save(&self, parent: pg_sys::Oid) -> Result<()> {
        spi::write(
            "INSERT INTO gemba.compression_policies (parent, segment_by, order_by, after)
             VALUES ($1, $2::name[], $3::name, $4)
             ON CONFLICT (parent) DO UPDATE SET segment_by = excluded.segment_by,
               order_by = excluded.order_by, after = excluded.after",
            &[
                parent.into(),
                self.segment_by.clone().into(),
                self.order_by.as_str().into(),
                self.after.into(),
            ],
        )?;
        Ok(())
    }

    /// Partitions that end at this time or before are closed: nobody is expected to write there any more.
    pub fn horizon(&self, set: &Set) -> Result<i64> {
        let closed = spi::read_one::<TimestampWithTimeZone>(
            "SELECT (pg_catalog.now() AT TIME ZONE $1 - $2) AT TIME ZONE $1",
            &[set.zone.name().into(), self.after.into()],
        )?;
        Ok(closed.map_or(i64::MIN, |at| set.on_grid(time::micros(at))))
    }

    /// The ordinary partitions that are closed.
    pub fn closed(&self, set: &Set) -> Result<Vec<Leaf>> {
        let horizon = self.horizon(set)?;
        let mut closed = Vec::new();
        for leaf in set.leaves()? {
            if leaf.to <= horizon && Relation::find(leaf.oid)?.is_some_and(|leaf| leaf.kind == 'r')
            {
                closed.push(leaf);
            }
        }
        Ok(closed)
    }

    /// Refuses what could not be compressed and stay the same table.
    ///
    /// # Errors
    /// `22023` for columns that do not fit, `0A000` for a type or a constraint that segments cannot keep.
    pub fn check(&self, set: &Set) -> Result<()> {
        let table = &set.parent.relation;
        self.check_names(set)?;
        refuse_types(table, &self.segment_by)?;
        refuse_constraints(table)?;
        refuse_triggers(table)?;
        refuse_audit(table)
    }

    fn check_names(&self, set: &Set) -> Result<()> {
        let table = &set.parent.relation;
        for name in self.segment_by.iter().chain([&self.order_by]) {
            table.column(name)?;
        }
        let key = spi::read_one::<String>(
            "SELECT a.attname::text FROM pg_catalog.pg_partitioned_table p
               JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
              WHERE p.partrelid = $1",
            &[table.oid.into()],
        )?;
        if key.as_deref() != Some(self.order_by.as_str()) {
            return Err(Error::invalid(
                "order_by is not the column that the table is partitioned by",
            )
            .detail(format!(
                "order_by {:?}, table {}",
                self.order_by,
                table.sql()
            ))
            .hint(format!("give {:?}", key.unwrap_or_default())));
        }
        let mut sorted: Vec<&String> = self.segment_by.iter().chain([&self.order_by]).collect();
        sorted.sort();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid("a column is named twice")
                .detail(format!("column {:?}", pair[0]))
                .hint(
                    "segment_by names columns that tell one series from another, order_by the time",
                ));
        }
        if self.segment_by.len() > MOST_KEYS {
            return Err(Error::invalid("segment_by names too many columns")
                .detail(format!("{} columns", self.segment_by.len()))
                .hint(format!(
                    "name up to {MOST_KEYS}: those that tell one series from another"
                )));
        }
        let mut unique: Vec<&String> = set.unique_on.iter().collect();
        unique.sort();
        if !unique.is_empty() && unique != sorted {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "what is unique in the table could not be kept so in segments",
            )
            .detail(format!(
                "unique_on {:?}, segment_by and order_by {sorted:?}",
                set.unique_on
            ))
            .hint("segment_by and order_by together must be the columns of unique_on"));
        }
        let after = &self.after;
        if after.months() < 0 || after.days() < 0 || after.micros() < 0 {
            return Err(Error::invalid("after must not be negative")
                .detail(format!("after {}", time::interval_text(after)))
                .hint("give the age after which nobody is expected to write to a partition"));
        }
        Ok(())
    }
}

/// What is looked at of a column.
struct Facts {
    name: String,
    type_oid: pg_sys::Oid,
    type_sql: String,
    deterministic: bool,
}

fn refuse_types(table: &Relation, segment_by: &[String]) -> Result<()> {
    let columns = spi::read_all(
        "SELECT a.attname::text, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod),
                coalesce(c.collisdeterministic, true)
           FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum",
        &[table.oid.into()],
        |row| {
            Ok(Facts {
                name: row.get::<String>(1)?.unwrap_or_default(),
                type_oid: row.get::<pg_sys::Oid>(2)?.unwrap_or(pg_sys::InvalidOid),
                type_sql: row.get::<String>(3)?.unwrap_or_default(),
                deterministic: row.get::<bool>(4)?.unwrap_or(true),
            })
        },
    )?;
    let refuse = |column: &Facts, why: &str, hint: &str| {
        Err(
            Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, why)
                .detail(format!(
                    "column {:?} of {} is {}",
                    column.name,
                    table.sql(),
                    column.type_sql
                ))
                .hint(hint),
        )
    };
    for column in &columns {
        let Some(shape) = Shape::of(column.type_oid) else {
            return refuse(
                column,
                "a column's type cannot be compressed",
                "types are integers, numeric, real and double precision, boolean, date, timestamp with and without time zone, uuid, text and varchar",
            );
        };
        if !segment_by.contains(&column.name) {
            continue;
        }
        // Values that are equal and yet look different would be one series to the index, and two to a segment.
        if matches!(shape, Shape::Numeric | Shape::Float4 | Shape::Float8) || !column.deterministic
        {
            return refuse(
                column,
                "segments cannot be told apart by this column",
                "name columns whose equal values are the same bytes: integers, text with a deterministic collation, uuid, boolean, date or a timestamp",
            );
        }
    }
    #[cfg(feature = "pg18")]
    refuse_virtual(table)?;
    if let Some(name) = segment_by
        .iter()
        .find(|name| !columns.iter().any(|column| column.name == **name))
    {
        return Err(Error::invalid("segment_by names a generated column")
            .detail(format!("column {name:?}"))
            .hint("name columns that are stored"));
    }
    Ok(())
}

/// Their values are nowhere, and those of late rows would be somewhere.
#[cfg(feature = "pg18")]
fn refuse_virtual(table: &Relation) -> Result<()> {
    let column = spi::read_one::<String>(
        "SELECT attname::text FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = 'v' ORDER BY attnum LIMIT 1",
        &[table.oid.into()],
    )?;
    match column {
        None => Ok(()),
        Some(name) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "a virtual generated column cannot be compressed",
        )
        .detail(format!("column {name:?} of {}", table.sql()))
        .hint("make it GENERATED ALWAYS AS (...) STORED")),
    }
}

/// A foreign partition has no foreign keys, and shuts out unique indexes on its parent.
fn refuse_constraints(table: &Relation) -> Result<()> {
    let in_the_way = spi::read_one::<String>(
        "SELECT conname::text FROM pg_catalog.pg_constraint
          WHERE (conrelid = $1 AND contype IN ('p', 'u', 'x', 'f')) OR (confrelid = $1 AND contype = 'f')
          UNION
         SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
          WHERE i.indrelid = $1 AND i.indisunique
          ORDER BY 1 LIMIT 1",
        &[table.oid.into()],
    )?;
    match in_the_way {
        None => Ok(()),
        Some(name) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "a constraint of the table could not be kept for compressed partitions",
        )
        .detail(format!("constraint {name:?} of {}", table.sql()))
        .hint("drop it; what is to be unique in each partition is said by gemba.manage_partitions(unique_on)")),
    }
}

/// Constraint triggers, which may be put off until the end of a transaction, and triggers that look at all rows of a
/// statement do not exist on foreign tables.
fn refuse_triggers(table: &Relation) -> Result<()> {
    let trigger = spi::read_one::<String>(
        "SELECT tgname::text FROM pg_catalog.pg_trigger
          WHERE tgrelid = $1 AND NOT tgisinternal
            AND (tgconstraint <> 0 OR tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL) ORDER BY 1 LIMIT 1",
        &[table.oid.into()],
    )?;
    match trigger {
        None => Ok(()),
        Some(name) => Err(Error::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "a trigger of the table could not be kept for compressed partitions",
        )
        .detail(format!("trigger {name:?} of {}", table.sql()))
        .hint("make an ordinary trigger for each row of it, or keep the partitions as they are")),
    }
}

fn refuse_audit(table: &Relation) -> Result<()> {
    let audited = spi::read_one::<bool>(
        "SELECT true FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
           JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
          WHERE t.tgrelid = $1 AND n.nspname = 'gemba_internal' AND p.proname = 'audit_rows' LIMIT 1",
        &[table.oid.into()],
    )?;
    if audited.is_none() {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "an audited table cannot be compressed",
    )
    .detail(format!("table {}", table.sql()))
    .hint("call gemba.unaudit() first, or keep its partitions as they are"))
}
