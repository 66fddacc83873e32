//! The three tables of a compressed partition: making them, and taking them away.

use super::cut::Span;
use super::layout::{self, Layout, late_name};
use super::policy::Policy;
use crate::engine::partitions::leaf;
use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{backend, role, spi};
use pgrx::prelude::*;

/// Longest name that PostgreSQL keeps.
const NAME_BYTES: usize = 63;

/// A column as the catalog has it, in the words of SQL.
struct Column {
    name: String,
    type_sql: String,
    /// With the word in front, or nothing.
    collate: String,
    not_null: bool,
    generated: Option<String>,
    default: Option<String>,
}

impl Column {
    fn plain(&self) -> String {
        format!("{}{}", self.type_sql, self.collate)
    }
}

fn columns(table: &Relation) -> Result<Vec<Column>> {
    spi::read_all(
        "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attcollation <> t.typcollation THEN
                  pg_catalog.format(' COLLATE %I.%I', n.nspname, c.collname) ELSE '' END,
                a.attnotnull,
                CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
                CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END
           FROM pg_catalog.pg_attribute a
           JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
           LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
           LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
           LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        &[table.oid.into()],
        |row| {
            Ok(Column {
                name: row.get::<String>(1)?.unwrap_or_default(),
                type_sql: row.get::<String>(2)?.unwrap_or_default(),
                collate: row.get::<String>(3)?.unwrap_or_default(),
                not_null: row.get::<bool>(4)?.unwrap_or(false),
                generated: row.get::<String>(5)?,
                default: row.get::<String>(6)?,
            })
        },
    )
}

/// CHECK constraints as CREATE TABLE takes them. Without its parent's, a partition cannot be attached.
fn checks(table: &Relation) -> Result<Vec<String>> {
    spi::read_all(
        "SELECT pg_catalog.format('CONSTRAINT %I %s', conname, pg_catalog.pg_get_constraintdef(oid))
           FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND contype = 'c' ORDER BY conname",
        &[table.oid.into()],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )
}

/// Makes the tables for a partition with the columns of `like` (the partition that is to be replaced, or the
/// parent), all empty: the foreign one of this name, not attached yet, and behind it one for segments of that name, or one
/// like it.
pub fn make(
    like: &Relation,
    name: &str,
    segments: &str,
    policy: &Policy,
    unique: bool,
) -> Result<Relation> {
    let columns = columns(like)?;
    let segments = free_name(segments)?;
    let owner = spi::ident(&role::name(like.owner));
    let foreign = spi::qualified(&like.schema, name);
    let segments_sql = spi::qualified("gemba_history", &segments);
    let late_sql = spi::qualified("gemba_history", &late_name(&segments));
    let mut statements = vec![
        segment_table(&segments_sql, &columns, policy)?,
        // Its bytes are compressed already.
        format!("ALTER TABLE {segments_sql} ALTER COLUMN data SET STORAGE EXTERNAL"),
        segment_index(&segments_sql, policy),
        late_table(&late_sql, &columns),
        late_index(&late_sql, policy, unique),
        foreign_table(
            &foreign,
            &segments,
            &columns,
            &checks(like)?,
            policy,
            unique,
        ),
    ];
    for table in [&segments_sql, &late_sql] {
        statements.push(format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"));
        statements.push(format!("ALTER TABLE {table} OWNER TO {owner}"));
    }
    statements.push(format!("ALTER FOREIGN TABLE {foreign} OWNER TO {owner}"));
    // To event triggers they would look like any other new tables.
    backend::as_own_ddl(|| -> Result<()> {
        for sql in &statements {
            spi::write(sql, &[])?;
        }
        Ok(())
    })?;
    for table in [&segments_sql, &late_sql, &foreign] {
        leaf::revoke_default_grants(&named(table)?)?;
    }
    named(&foreign)
}

fn named(table: &str) -> Result<Relation> {
    Relation::open(
        spi::read_one::<pg_sys::Oid>("SELECT $1::pg_catalog.regclass::oid", &[table.into()])?
            .unwrap_or(pg_sys::InvalidOid),
    )
}

fn find<'c>(columns: &'c [Column], name: &str) -> Result<&'c Column> {
    columns
        .iter()
        .find(|column| column.name == name)
        .ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                "the table has no such column",
            )
            .detail(format!("column {name:?}"))
            .hint("call gemba.compress_after() with the columns that the table has now")
        })
}

fn segment_table(table: &str, columns: &[Column], policy: &Policy) -> Result<String> {
    let time = find(columns, &policy.order_by)?.plain();
    let mut definitions = vec![
        format!("first_at {time} NOT NULL"),
        format!("last_at {time} NOT NULL"),
        "row_count int NOT NULL".to_owned(),
    ];
    for (position, name) in policy.segment_by.iter().enumerate() {
        definitions.push(format!(
            "key_{} {}",
            position + 1,
            find(columns, name)?.plain()
        ));
    }
    definitions.push("data bytea NOT NULL".to_owned());
    Ok(format!("CREATE TABLE {table} ({})", definitions.join(", ")))
}

fn segment_index(table: &str, policy: &Policy) -> String {
    let mut key: Vec<_> = (1..=policy.segment_by.len())
        .map(|n| format!("key_{n}"))
        .collect();
    key.push("last_at".to_owned());
    format!("CREATE INDEX ON {table} ({})", key.join(", "))
}

fn late_table(table: &str, columns: &[Column]) -> String {
    let definitions: Vec<_> = columns
        .iter()
        .map(|column| format!("{} {}", spi::ident(&column.name), column.plain()))
        .collect();
    format!("CREATE TABLE {table} ({})", definitions.join(", "))
}

fn late_index(table: &str, policy: &Policy, unique: bool) -> String {
    let key: Vec<_> = policy
        .segment_by
        .iter()
        .chain([&policy.order_by])
        .map(|name| spi::ident(name))
        .collect();
    let unique = if unique { "UNIQUE " } else { "" };
    format!("CREATE {unique}INDEX ON {table} ({})", key.join(", "))
}

fn foreign_table(
    table: &str,
    segments: &str,
    columns: &[Column],
    checks: &[String],
    policy: &Policy,
    unique: bool,
) -> String {
    let mut definitions = Vec::with_capacity(columns.len() + checks.len());
    let mut number = 0;
    for (place, column) in columns.iter().enumerate() {
        let mut options = vec![format!("\"late\" '{}'", place + 1)];
        let mut constraints = String::new();
        match &column.generated {
            Some(expression) => constraints = format!(" GENERATED ALWAYS AS ({expression}) STORED"),
            None => {
                options.push(format!("\"column\" '{number}'"));
                number += 1;
            }
        }
        if let Some(position) = policy
            .segment_by
            .iter()
            .position(|name| *name == column.name)
        {
            options.push(format!("\"key\" '{}'", position + 1));
        }
        if column.name == policy.order_by {
            options.push("\"order\" 'true'".to_owned());
        }
        let options = format!(" OPTIONS ({})", options.join(", "));
        // As its table has it: a dump would otherwise say that there is none, which is one too.
        if let Some(default) = &column.default {
            constraints.push_str(&format!(" DEFAULT {default}"));
        }
        if column.not_null {
            constraints.push_str(" NOT NULL");
        }
        definitions.push(format!(
            "{} {}{options}{}{constraints}",
            spi::ident(&column.name),
            column.type_sql,
            column.collate
        ));
    }
    definitions.extend_from_slice(checks);
    format!(
        "CREATE FOREIGN TABLE {table} ({}) SERVER gemba_history OPTIONS (segments {}, \"unique\" '{unique}')",
        definitions.join(", "),
        spi::literal(segments)
    )
}

/// Takes the index of a segment table away while it is filled.
pub fn drop_index(segments: pg_sys::Oid) -> Result<()> {
    let indexes = spi::read_all(
        "SELECT indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_index WHERE indrelid = $1",
        &[segments.into()],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )?;
    for index in indexes {
        spi::write(&format!("DROP INDEX {index}"), &[])?;
    }
    Ok(())
}

/// And makes it again.
pub fn index(segments: pg_sys::Oid, policy: &Policy) -> Result<()> {
    let segments = Relation::open(segments)?;
    spi::write(&segment_index(&segments.sql(), policy), &[])?;
    Ok(())
}

/// Says in a new partition's options where its segments are cut, and what the same rows took up before (or would).
pub fn note(foreign: &Relation, span: Span, raw_bytes: i64) -> Result<()> {
    let known = Layout::of(foreign.oid)?.cut.is_some();
    let add = if known { "SET" } else { "ADD" };
    let sql = format!(
        "ALTER FOREIGN TABLE {} OPTIONS ({add} cut {}, {add} raw_bytes '{raw_bytes}')",
        foreign.sql(),
        spi::literal(span.name())
    );
    backend::as_own_ddl(|| spi::write(&sql, &[]))?;
    Ok(())
}

/// The partition's name, or with a number behind it where tables of the history have it already: another schema's
/// partition, or one that was archived and made again.
fn free_name(name: &str) -> Result<String> {
    let mut number = 0;
    loop {
        let suffix = if number == 0 {
            String::new()
        } else {
            format!("_{number}")
        };
        let room = NAME_BYTES - suffix.len() - layout::LATE.len();
        let free = format!("{}{suffix}", leaf::shorten(name, room));
        let taken = spi::read_one::<bool>(
            "SELECT true FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = 'gemba_history' AND c.relname IN ($1, $2)",
            &[free.as_str().into(), late_name(&free).as_str().into()],
        )?;
        if taken.is_none() {
            return Ok(free);
        }
        number += 1;
    }
}
