//! An ordinary partition becomes a compressed one.

#![expect(unsafe_code, reason = "reads the server's tuples")]

use super::layout::{Layout, Shape, late_name};
use super::store::Store;
use super::writer::{Cut, Writer};
use crate::engine::partitions::leaf;
use crate::engine::partitions::set::Set;
use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{role, spi};
use gemba_core::calendar::Step;
use pgrx::prelude::*;

/// A column as the catalog has it.
struct Described {
    name: String,
    type_sql: String,
    collation: Option<String>,
    type_oid: pg_sys::Oid,
    not_null: bool,
    generated: Option<String>,
}

/// Compresses a partition of a managed table; returns its rows.
pub fn partition(old: &Relation, segment_by: &[String], order_by: &str) -> Result<u64> {
    let parent = spi::read_one::<pg_sys::Oid>(
        "SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = $1",
        &[old.oid.into()],
    )?
    .ok_or_else(|| {
        Error::state("the table is no partition")
            .detail(format!("table {}", old.sql()))
            .hint("name a partition of a table under gemba.manage_partitions()")
    })?;
    let set = Set::of(parent)?;
    let parent = &set.parent.relation;
    let range = set
        .leaves()?
        .into_iter()
        .find(|leaf| leaf.oid == old.oid)
        .ok_or_else(|| Error::state("the partition has no range of time"))?;
    let columns = described(old)?;
    for column in &columns {
        if column.generated.is_none() && Shape::of(column.type_oid).is_none() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "a column's type cannot be compressed",
            )
            .detail(format!("column {:?} of {} is {}", column.name, old.sql(), column.type_sql))
            .hint("types are integers, numeric, float, boolean, date, timestamp, timestamptz, uuid, text and varchar"));
        }
    }
    spi::write(&format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", old.sql()), &[])?;
    let unique = !set.unique_on.is_empty();
    let foreign = make_tables(old, &columns, segment_by, order_by, unique)?;
    let layout = Layout::of(foreign)?;
    let store = Store::open(layout, pg_sys::RowExclusiveLock);
    let rows = fill(&store, old, segment_by, order_by)?;
    store.close();
    let foreign = Relation::open(foreign)?;
    leaf::lock_for_attach(&set)?;
    role::as_owner(parent.owner, || -> Result<()> {
        spi::write(
            &format!("ALTER TABLE {} DETACH PARTITION {}", parent.sql(), old.sql()),
            &[],
        )?;
        spi::write(&format!("DROP TABLE {}", old.sql()), &[])?;
        spi::write(
            &format!("ALTER FOREIGN TABLE {} RENAME TO {}", foreign.sql(), spi::ident(&old.name)),
            &[],
        )?;
        Ok(())
    })?;
    let foreign = Relation::open(foreign.oid)?;
    role::as_owner(parent.owner, || spi::write(&format!("ANALYZE {}", foreign.sql()), &[]))?;
    leaf::attach(&set, &foreign, range.from, range.to)?;
    Ok(rows)
}

fn described(table: &Relation) -> Result<Vec<Described>> {
    spi::read_all(
        "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attcollation <> t.typcollation
                     THEN pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname) END,
                a.atttypid, a.attnotnull,
                CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END
           FROM pg_catalog.pg_attribute a
           JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
           LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
           LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
           LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        &[table.oid.into()],
        |row| {
            Ok(Described {
                name: row.get::<String>(1)?.unwrap_or_default(),
                type_sql: row.get::<String>(2)?.unwrap_or_default(),
                collation: row.get::<String>(3)?,
                type_oid: row.get::<pg_sys::Oid>(4)?.unwrap_or(pg_sys::InvalidOid),
                not_null: row.get::<bool>(5)?.unwrap_or(false),
                generated: row.get::<String>(6)?,
            })
        },
    )
}

fn make_tables(
    old: &Relation,
    columns: &[Described],
    segment_by: &[String],
    order_by: &str,
    unique: bool,
) -> Result<pg_sys::Oid> {
    let plain = |name: &str| -> Result<String> {
        columns
            .iter()
            .find(|column| column.name == name)
            .map(|column| {
                let collation = column
                    .collation
                    .as_ref()
                    .map_or(String::new(), |collation| format!(" COLLATE {collation}"));
                format!("{}{collation}", column.type_sql)
            })
            .ok_or_else(|| Error::invalid("there is no such column").detail(name))
    };
    let order_type = plain(order_by)?;
    let mut keys = Vec::new();
    for (position, name) in segment_by.iter().enumerate() {
        keys.push(format!("key_{} {}", position + 1, plain(name)?));
    }
    let key_names: Vec<_> = (1..=segment_by.len()).map(|n| format!("key_{n}")).collect();
    let segments = spi::qualified("gemba_history", &old.name);
    let late = spi::qualified("gemba_history", &late_name(&old.name));
    let (comma, comma_names) = if keys.is_empty() {
        (String::new(), String::new())
    } else {
        (format!(", {}", keys.join(", ")), format!("{}, ", key_names.join(", ")))
    };
    let mut late_columns = Vec::new();
    let mut foreign_columns = Vec::new();
    let mut number = 0;
    for column in columns {
        let definition = format!("{} {}", spi::ident(&column.name), plain(&column.name)?);
        late_columns.push(definition.clone());
        let mut options = Vec::new();
        let mut rest = String::new();
        match &column.generated {
            Some(expression) => rest.push_str(&format!(" GENERATED ALWAYS AS ({expression}) STORED")),
            None => {
                options.push(format!("column '{number}'"));
                number += 1;
            }
        }
        if column.not_null {
            rest.push_str(" NOT NULL");
        }
        if let Some(position) = segment_by.iter().position(|name| *name == column.name) {
            options.push(format!("key '{}'", position + 1));
        }
        if column.name == order_by {
            options.push("\"order\" 'true'".into());
        }
        let collation = "";
        let options = if options.is_empty() {
            String::new()
        } else {
            format!(" OPTIONS ({})", options.join(", "))
        };
        let (name, type_sql) = definition.split_once(' ').unwrap_or((&definition, ""));
        let _ = (name, type_sql, collation);
        // OPTIONS stands between the type and COLLATE.
        let type_only = &column.type_sql;
        let collate = column
            .collation
            .as_ref()
            .map_or(String::new(), |collation| format!(" COLLATE {collation}"));
        foreign_columns.push(format!(
            "{} {type_only}{options}{collate}{rest}",
            spi::ident(&column.name)
        ));
    }
    let late_key: Vec<_> = segment_by
        .iter()
        .map(String::as_str)
        .chain([order_by])
        .map(spi::ident)
        .collect();
    let foreign = spi::qualified(&old.schema, &format!("{}_compressed", old.name));
    let owner = spi::ident(&role::name(old.owner));
    for sql in [
        format!(
            "CREATE TABLE {segments} (first_at {order_type} NOT NULL, last_at {order_type} NOT NULL,
               row_count int NOT NULL{comma}, data bytea NOT NULL)"
        ),
        // It is compressed already.
        format!("ALTER TABLE {segments} ALTER COLUMN data SET STORAGE EXTERNAL"),
        format!("CREATE INDEX ON {segments} ({comma_names}last_at)"),
        format!("CREATE TABLE {late} ({})", late_columns.join(", ")),
        format!(
            "CREATE {} INDEX ON {late} ({})",
            if unique { "UNIQUE" } else { "" },
            late_key.join(", ")
        ),
        format!("ALTER TABLE {segments} ENABLE ROW LEVEL SECURITY"),
        format!("ALTER TABLE {late} ENABLE ROW LEVEL SECURITY"),
        format!(
            "CREATE FOREIGN TABLE {foreign} ({}) SERVER gemba_history
               OPTIONS (segments {}, \"unique\" '{unique}')",
            foreign_columns.join(", "),
            spi::literal(&old.name)
        ),
        format!("ALTER TABLE {segments} OWNER TO {owner}"),
        format!("ALTER TABLE {late} OWNER TO {owner}"),
        format!("ALTER FOREIGN TABLE {foreign} OWNER TO {owner}"),
    ] {
        spi::write(&sql, &[])?;
    }
    Ok(
        spi::read_one::<pg_sys::Oid>("SELECT $1::pg_catalog.regclass::oid", &[foreign.into()])?
            .unwrap_or(pg_sys::InvalidOid),
    )
}

/// Copies all rows of the partition, in order, into segments.
fn fill(store: &Store, old: &Relation, segment_by: &[String], order_by: &str) -> Result<u64> {
    let names: Vec<_> = store
        .layout
        .columns
        .iter()
        .map(|column| spi::ident(&column.name))
        .collect();
    let order: Vec<_> = segment_by
        .iter()
        .map(String::as_str)
        .chain([order_by])
        .map(spi::ident)
        .collect();
    let sql = format!(
        "SELECT {} FROM {} ORDER BY {}",
        names.join(", "),
        old.sql(),
        order.join(", ")
    );
    let zone = crate::postgres::time::ServerZone::trusted("UTC");
    let mut writer = Writer::new(
        store,
        Cut {
            step: Some((Step::Days(1), zone)),
        },
    );
    let width = names.len();
    let command = std::ffi::CString::new(sql).unwrap_or_default();
    Spi::connect(|_| -> Result<()> {
        let mut values = vec![pg_sys::Datum::null(); width];
        let mut nulls = vec![true; width];
        // SAFETY: the cursor belongs to this connection; each batch is freed after it was read.
        unsafe {
            let cursor = pg_sys::SPI_cursor_open_with_args(
                std::ptr::null(),
                command.as_ptr(),
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null(),
                true,
                0,
            );
            loop {
                pg_sys::SPI_cursor_fetch(cursor, true, 10_000);
                let table = pg_sys::SPI_tuptable;
                let count = (*table).numvals as usize;
                for number in 0..count {
                    pg_sys::heap_deform_tuple(
                        *(*table).vals.add(number),
                        (*table).tupdesc,
                        values.as_mut_ptr(),
                        nulls.as_mut_ptr(),
                    );
                    writer.push(&values, &nulls)?;
                }
                pg_sys::SPI_freetuptable(table);
                if count == 0 {
                    break;
                }
            }
            pg_sys::SPI_cursor_close(cursor);
        }
        writer.flush()
    })?;
    Ok(writer.rows)
}
