//! Facts about one table: its names, owner and columns.

use super::spi;
use crate::error::{Error, Result};
use pgrx::PgRelation;
use pgrx::prelude::*;

/// A table as DDL names it.
#[derive(Debug, Clone)]
pub struct Relation {
    pub oid: pg_sys::Oid,
    pub schema: String,
    pub name: String,
    pub owner: pg_sys::Oid,
    /// `pg_class.relkind`: `r` ordinary, `p` partitioned, `f` foreign, `v` view, `m` materialized view.
    pub kind: char,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    pub type_oid: pg_sys::Oid,
    /// Its type as SQL writes it, without a length.
    pub type_name: String,
    pub not_null: bool,
}

impl Relation {
    /// # Errors
    /// `42P01` when no relation has this oid (it was dropped meanwhile).
    pub fn open(oid: pg_sys::Oid) -> Result<Self> {
        Self::find(oid)?.ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                "the table does not exist",
            )
            .detail(format!("no relation has the oid {}", oid.to_u32()))
            .hint("name a table of this database")
        })
    }

    pub fn find(oid: pg_sys::Oid) -> Result<Option<Self>> {
        spi::read_row(
            "SELECT n.nspname::text, c.relname::text, c.relowner, c.relkind::text
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE c.oid = $1",
            &[oid.into()],
            |row| {
                Ok(Self {
                    oid,
                    schema: row.get::<String>(1)?.unwrap_or_default(),
                    name: row.get::<String>(2)?.unwrap_or_default(),
                    owner: row.get::<pg_sys::Oid>(3)?.unwrap_or(pg_sys::InvalidOid),
                    kind: row
                        .get::<String>(4)?
                        .and_then(|kind| kind.chars().next())
                        .unwrap_or(' '),
                })
            },
        )
    }

    /// `schema.table`, quoted.
    pub fn sql(&self) -> String {
        spi::qualified(&self.schema, &self.name)
    }

    /// What DDL calls it.
    pub fn ddl_kind(&self) -> &'static str {
        match self.kind {
            'f' => "FOREIGN TABLE",
            _ => "TABLE",
        }
    }

    pub fn column(&self, name: &str) -> Result<Column> {
        spi::read_row(
            "SELECT pg_catalog.format_type(a.atttypid, NULL), a.attnotnull, a.atttypid
               FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = $1 AND a.attname = $2::name AND a.attnum > 0 AND NOT a.attisdropped",
            &[self.oid.into(), name.into()],
            |row| {
                Ok(Column {
                    type_name: row.get::<String>(1)?.unwrap_or_default(),
                    not_null: row.get::<bool>(2)?.unwrap_or(false),
                    type_oid: row.get::<pg_sys::Oid>(3)?.unwrap_or(pg_sys::InvalidOid),
                })
            },
        )?
        .ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                "the table has no such column",
            )
            .detail(format!("column {name:?} of table {}", self.sql()))
            .hint("name an existing column")
        })
    }
}

/// `schema.table` of an open relation, quoted.
///
/// # Safety
/// The relation is open.
#[expect(unsafe_code, reason = "reads the relation's row of pg_class")]
pub unsafe fn name_of(relation: pg_sys::Relation) -> String {
    // SAFETY: an open relation has its row; the schema's name is a palloc'd C string or NULL.
    unsafe {
        let row = &*(*relation).rd_rel;
        let schema = pg_sys::get_namespace_name(row.relnamespace);
        let schema = if schema.is_null() {
            String::new()
        } else {
            std::ffi::CStr::from_ptr(schema)
                .to_string_lossy()
                .into_owned()
        };
        spi::qualified(&schema, name_data_to_str(&row.relname))
    }
}

/// The oid of a `regclass` argument. The argument itself is an open reference, with which DDL on the
/// table would be refused; this closes it.
pub fn oid(argument: PgRelation) -> pg_sys::Oid {
    argument.oid()
}

/// The oid of a `regclass` argument that may be any oid, or none.
///
/// # Errors
/// `22004` for NULL.
pub fn given(argument: Option<pg_sys::Oid>) -> Result<pg_sys::Oid> {
    argument.ok_or_else(|| {
        Error::new(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "the table must not be NULL",
        )
        .detail("it was given as NULL")
        .hint("name a table, for instance 'public.orders'")
    })
}
