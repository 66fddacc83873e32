//! The entries of one table, read as they are needed.

use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::setting::with_setting;
use crate::postgres::{role, spi, time};
use gemba_core::seal::Id;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
use serde_json::value::RawValue;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Columns and their values as JSON, each as it was written.
pub type State = BTreeMap<String, Box<RawValue>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
    Audit,
    Unaudit,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub id: Id,
    pub operation: Operation,
    /// Microseconds since 2000-01-01 UTC.
    pub at: i64,
    pub record: String,
    /// Of an UPDATE, the key before it, which mostly is the same.
    pub old_key: Option<String>,
    old: Option<String>,
    new: Option<String>,
}

impl Entry {
    /// Does the record have its key only since this?
    pub fn arrives(&self) -> bool {
        match self.operation {
            Operation::Insert => true,
            Operation::Update => self.old_key.as_ref() != Some(&self.record),
            _ => false,
        }
    }

    pub fn old_values(&self) -> Result<State> {
        state(self.old.as_deref())
    }

    pub fn new_values(&self) -> Result<State> {
        state(self.new.as_deref())
    }

    /// The new values as something else than columns.
    pub fn new_values_as<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.new.as_deref()?).ok()
    }
}

fn state(text: Option<&str>) -> Result<State> {
    serde_json::from_str(text.unwrap_or("{}")).map_err(|error| {
        Error::state("an entry of the audit trail is not as it should be")
            .detail(error.to_string())
            .hint("gemba.verify_audit() tells whether somebody has altered it")
    })
}

/// A column of the primary key.
struct Column {
    name: String,
    /// As SQL writes it.
    type_name: String,
    written: Written,
}

/// How the log writes a value of a key, seen from how JSON does.
enum Written {
    AsInJson,
    /// JSON writes it in the session's time zone, a key in UTC.
    InUtc,
    WithoutBlanks,
    /// What is an array or an object in JSON.
    AsInSql,
}

/// A table as its trail knows it.
pub struct Trail {
    table: Relation,
    /// As the log names it.
    name: String,
    /// The primary key.
    key: Vec<Column>,
    entries: RefCell<HashMap<String, Rc<Vec<Entry>>>>,
}

impl Trail {
    /// # Errors
    /// `55000` for a table without a primary key, whose rows the log cannot name.
    pub fn of(table: pg_sys::Oid) -> Result<Self> {
        // A partition's rows are logged as those of its table.
        let root = spi::read_one::<pg_sys::Oid>(
            "SELECT coalesce(pg_catalog.pg_partition_root($1)::oid, $1)",
            &[table.into()],
        )?;
        let table = Relation::open(root.unwrap_or(table))?;
        let key = spi::read_all(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
                    CASE WHEN a.atttypid = 'timestamptz'::regtype THEN 'time' WHEN a.atttypid = 'bpchar'::regtype THEN 'padded'
                         WHEN t.typcategory IN ('A', 'C') THEN 'nested' ELSE '' END
               FROM pg_catalog.pg_index i
              CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
               JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
              WHERE i.indrelid = $1 AND i.indisprimary AND k.place <= i.indnkeyatts
              ORDER BY k.place",
            &[table.oid.into()],
            |row| {
                Ok(Column {
                    name: row.get(1)?.unwrap_or_default(),
                    type_name: row.get(2)?.unwrap_or_default(),
                    written: match row.get::<String>(3)?.unwrap_or_default().as_str() {
                        "time" => Written::InUtc,
                        "padded" => Written::WithoutBlanks,
                        "nested" => Written::AsInSql,
                        _ => Written::AsInJson,
                    },
                })
            },
        )?;
        if key.is_empty() {
            return Err(Error::state("the table has no primary key")
                .detail(format!("table {}", table.sql()))
                .hint("its trail is in cloudwatcher.audit_logs, but nothing tells one row from another there"));
        }
        Ok(Self {
            name: table.sql(),
            table,
            key,
            entries: RefCell::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_partitioned(&self) -> bool {
        self.table.kind == 'p'
    }

    /// A key as the log has it: of several columns, an array of texts as jsonb writes it.
    ///
    /// # Errors
    /// `22023` for something else than an array of so many values.
    pub fn key(&self, given: &str) -> Result<String> {
        if self.key.len() == 1 {
            return Ok(given.to_owned());
        }
        let values: Vec<&RawValue> = serde_json::from_str(given).unwrap_or_default();
        if values.len() != self.key.len() {
            let columns: Vec<_> = self.key.iter().map(|column| column.name.as_str()).collect();
            return Err(
                Error::invalid("the record's id has to be an array of its key's values")
                    .detail(format!("record_id {given:?}, key ({})", columns.join(", ")))
                    .hint("write for instance [\"7\", \"blue\"]"),
            );
        }
        let texts: Vec<String> = values
            .into_iter()
            .map(|value| {
                serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
            })
            .collect();
        Ok(spi::read_one::<String>(
            "SELECT pg_catalog.to_jsonb($1::text[])::text",
            &[texts.into()],
        )?
        .unwrap_or_default())
    }

    /// What the log says of a record, in order.
    pub fn entries(&self, record: &str) -> Result<Rc<Vec<Entry>>> {
        if let Some(known) = self.entries.borrow().get(record) {
            return Ok(Rc::clone(known));
        }
        let found = Rc::new(self.read("l.record_id = $2", vec![record.into()])?);
        self.entries
            .borrow_mut()
            .insert(record.to_owned(), Rc::clone(&found));
        Ok(found)
    }

    /// What the log says of the table as a whole: TRUNCATE, AUDIT, UNAUDIT.
    pub fn marks(&self) -> Result<Vec<Entry>> {
        self.read(
            "l.record_id IS NULL AND l.operation IN ('TRUNCATE', 'AUDIT', 'UNAUDIT')",
            vec![],
        )
    }

    /// UPDATEs by which a record's key became another one, between two entries.
    pub fn departures(
        &self,
        record: &str,
        after: Option<Id>,
        before: Option<Id>,
    ) -> Result<Vec<Entry>> {
        let names: Vec<_> = self
            .key
            .iter()
            .map(|column| spi::literal(&column.name))
            .collect();
        let uuid = |id: Option<Id>| id.map(pgrx::Uuid::from_bytes);
        self.read(
            &format!(
                "l.operation = 'UPDATE' AND l.record_id <> $2 AND l.old_values ?| ARRAY[{}] AND {} = $2
                 AND ($3 IS NULL OR l.id > $3) AND ($4 IS NULL OR l.id < $4)",
                names.join(", "),
                self.old_key()
            ),
            vec![record.into(), uuid(after).into(), uuid(before).into()],
        )
    }

    fn read(&self, which: &str, args: Vec<DatumWithOid>) -> Result<Vec<Entry>> {
        let sql = format!(
            "SELECT l.id, l.operation::text, l.created_at, l.record_id, l.old_values::text, l.new_values::text,
                    CASE WHEN l.operation = 'UPDATE' THEN {} END
               FROM cloudwatcher.audit_logs l WHERE l.table_name = $1 AND {which} ORDER BY l.id",
            self.old_key()
        );
        let mut all: Vec<DatumWithOid> = vec![self.name.as_str().into()];
        all.extend(args);
        with_setting(c"timezone", "UTC", || spi::read_all(&sql, &all, entry))
    }

    /// The key before an UPDATE, in SQL, as the log writes keys.
    fn old_key(&self) -> String {
        let table = self.table.sql();
        let mut values = self.key.iter().enumerate().map(|(place, column)| {
            let name = spi::literal(&column.name);
            let value = format!("(l.old_values ->> {name})");
            let written = match column.written {
                Written::AsInJson => value,
                Written::InUtc => format!("(pg_catalog.to_jsonb({value}::timestamptz) #>> '{{}}')"),
                Written::WithoutBlanks => format!("pg_catalog.rtrim({value}, ' ')"),
                Written::AsInSql => format!(
                    "pg_catalog.format('%s', (pg_catalog.jsonb_populate_record(
                       NULL::{table}, pg_catalog.jsonb_build_object({name}, l.old_values -> {name}))).{})",
                    spi::ident(&column.name)
                ),
            };
            let otherwise = match self.key.len() {
                1 => "l.record_id".to_owned(),
                _ => format!("(l.record_id::jsonb ->> {place})"),
            };
            format!("CASE WHEN l.old_values ? {name} THEN {written} ELSE {otherwise} END")
        });
        if self.key.len() == 1 {
            return values.next().unwrap_or_default();
        }
        let values: Vec<_> = values.collect();
        format!("pg_catalog.jsonb_build_array({})::text", values.join(", "))
    }

    /// The record as it is now, if the caller may see it.
    pub fn present(&self, record: &str) -> Result<Option<State>> {
        if !role::may_select(self.table.oid) {
            return Ok(None);
        }
        let conditions: Vec<_> = self
            .key
            .iter()
            .enumerate()
            .map(|(place, column)| {
                let value = match self.key.len() {
                    1 => "$1".to_owned(),
                    _ => format!("($1::jsonb ->> {place})"),
                };
                format!(
                    "t.{} = {value}::{}",
                    spi::ident(&column.name),
                    column.type_name
                )
            })
            .collect();
        let text = spi::read_one::<String>(
            &format!(
                "SELECT pg_catalog.to_jsonb(t)::text FROM {} t WHERE {}",
                self.table.sql(),
                conditions.join(" AND ")
            ),
            &[record.into()],
        )?;
        text.map(|text| state(Some(&text))).transpose()
    }

    /// Is what the caller does not see now not there?
    pub fn sees_all(&self) -> Result<bool> {
        Ok(role::may_select(self.table.oid)
            && spi::read_one::<bool>(
                "SELECT NOT pg_catalog.row_security_active($1::oid)",
                &[self.table.oid.into()],
            )? == Some(true))
    }
}

fn entry(row: &SpiHeapTupleData) -> Result<Entry> {
    Ok(Entry {
        id: row
            .get::<pgrx::Uuid>(1)?
            .map_or([0; 16], |id| *id.as_bytes()),
        operation: match row.get::<String>(2)?.unwrap_or_default().as_str() {
            "INSERT" => Operation::Insert,
            "UPDATE" => Operation::Update,
            "DELETE" => Operation::Delete,
            "TRUNCATE" => Operation::Truncate,
            "AUDIT" => Operation::Audit,
            _ => Operation::Unaudit,
        },
        at: row.get::<TimestampWithTimeZone>(3)?.map_or(0, time::micros),
        record: row.get(4)?.unwrap_or_default(),
        old: row.get(5)?,
        new: row.get(6)?,
        old_key: row.get(7)?,
    })
}
