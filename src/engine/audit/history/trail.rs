//! The entries of one table, read as they are needed.

use crate::engine::audit::record::{self, with_key_settings};
use crate::engine::audit::triggers;
use crate::error::{Error, Result};
use crate::postgres::relation::Relation;
use crate::postgres::{role, spi, subtransaction, time};
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
    pub transaction: i64,
    pub record: String,
    /// Of an UPDATE, the key before it, which mostly is the same. None: it cannot be told.
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

    /// Was it written with another one by the same UPDATE?
    pub fn with(&self, other: &Self) -> bool {
        let update = |entry: &Self| entry.operation == Operation::Update;
        update(self)
            && update(other)
            && (self.transaction, self.at) == (other.transaction, other.at)
    }

    pub fn old_values(&self) -> Result<State> {
        self.state(self.old.as_deref())
    }

    pub fn new_values(&self) -> Result<State> {
        self.state(self.new.as_deref())
    }

    fn state(&self, text: Option<&str>) -> Result<State> {
        // What is wrong with them would have the values in it, which may be long.
        state(text).ok_or_else(|| {
            Error::state("an entry of the audit trail is not as it should be")
                .detail(format!("entry {}", pgrx::Uuid::from_bytes(self.id)))
                .hint("gemba.verify_audit() tells whether somebody has altered it")
        })
    }

    /// The new values as something else than columns.
    pub fn new_values_as<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.new.as_deref()?).ok()
    }
}

fn state(text: Option<&str>) -> Option<State> {
    serde_json::from_str(text.unwrap_or("{}")).ok()
}

/// What stands in an entry for a value that was too long for it.
const LEFT_OUT: &str = "\"*** left out: too long\"";

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
    /// As the type's output function does.
    AsInSql,
}

/// The record as it is now.
pub enum Present {
    Row(State),
    NotThere,
    /// The caller may not see it, or it cannot be read.
    Unseen,
}

impl Column {
    /// What the log writes for a value, in SQL.
    fn logged(&self, value: &str) -> String {
        let type_name = &self.type_name;
        match self.written {
            Written::AsInJson => value.to_owned(),
            Written::InUtc => {
                format!("(pg_catalog.to_jsonb(({value})::timestamptz) #>> '{{}}')")
            }
            Written::WithoutBlanks => format!("pg_catalog.rtrim({value}, ' ')"),
            Written::AsInSql => format!("pg_catalog.format('%s', ({value})::{type_name})"),
        }
    }

    /// The same for one that somebody gives.
    fn as_logged(&self, value: &str) -> Result<String> {
        let typed = format!("$1::{}", self.type_name);
        let sql = match self.written {
            Written::AsInJson => format!("SELECT pg_catalog.to_jsonb({typed}) #>> '{{}}'"),
            _ => format!("SELECT {}, {typed}", self.logged("$1")),
        };
        let read = subtransaction::run(|| {
            with_key_settings(|| spi::read_one::<String>(&sql, &[value.into()]))
        });
        let text = read.map_err(|failure| {
            let shown: String = value.chars().take(100).collect();
            Error::invalid("the record's id is no value of its key's type")
                .detail(format!(
                    "record_id {shown:?}, column {:?} of type {}: {}",
                    self.name,
                    self.type_name,
                    failure.message.chars().take(200).collect::<String>()
                ))
                .hint("write it as cloudwatcher.audit_logs has it in record_id")
        })??;
        Ok(text.unwrap_or_default())
    }
}

/// What the log has instead of a key that is too long.
fn is_short_form(id: &str) -> bool {
    id.len() == 71
        && id
            .strip_prefix("sha256:")
            .is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A table as its trail knows it.
pub struct Trail {
    table: Relation,
    /// As the log names it.
    name: String,
    /// The primary key.
    key: Vec<Column>,
    entries: RefCell<HashMap<String, Rc<Vec<Entry>>>>,
    /// The values of keys that are too long to be ids themselves.
    long: RefCell<HashMap<String, Vec<String>>>,
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
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, -1),
                    CASE WHEN base.type = 'bpchar'::regtype THEN 'padded' WHEN base.type = 'timestamptz'::regtype THEN 'time'
                         WHEN t.typtype = 'e' OR base.type = ANY ('{int2,int4,int8,numeric,bool,text,varchar,uuid,date,timestamp}'::regtype[])
                         THEN '' ELSE 'output' END
               FROM pg_catalog.pg_index i
              CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
              CROSS JOIN LATERAL (
                WITH RECURSIVE b (type, level) AS (
                  SELECT a.atttypid, 0 UNION ALL
                  SELECT d.typbasetype, b.level + 1 FROM b JOIN pg_catalog.pg_type d ON d.oid = b.type WHERE d.typtype = 'd')
                SELECT b.type FROM b ORDER BY b.level DESC LIMIT 1) AS base
               JOIN pg_catalog.pg_type t ON t.oid = base.type
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
                        "output" => Written::AsInSql,
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
            long: RefCell::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_partitioned(&self) -> bool {
        self.table.kind == 'p'
    }

    /// Is it audited, as far as its triggers tell?
    pub fn is_audited(&self) -> Result<bool> {
        Ok(triggers::options(self.table.oid)?.is_some())
    }

    /// A key as the log has it: of several columns, an array of texts as jsonb writes it; what is too long, as the log
    /// shortens it, which may also be given itself.
    ///
    /// # Errors
    /// `22023` for something else than an array of so many values, and for what is no value of the key's type.
    pub fn key(&self, given: &str) -> Result<String> {
        if is_short_form(given) {
            return Ok(given.to_owned());
        }
        let given = self.values(given)?;
        let mut texts = Vec::with_capacity(given.len());
        for (column, value) in self.key.iter().zip(&given) {
            texts.push(column.as_logged(value)?);
        }
        let text = match texts.as_slice() {
            [text] => text.clone(),
            _ => spi::read_one::<String>(
                "SELECT pg_catalog.to_jsonb($1::text[])::text",
                &[texts.into()],
            )?
            .unwrap_or_default(),
        };
        let id = record::id(&text).into_owned();
        if id != text {
            self.long.borrow_mut().insert(id.clone(), given);
        }
        Ok(id)
    }

    /// The values of a key.
    fn values(&self, given: &str) -> Result<Vec<String>> {
        if self.key.len() == 1 {
            return Ok(vec![given.to_owned()]);
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
        Ok(values
            .into_iter()
            .map(|value| {
                serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
            })
            .collect())
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

    /// Are there changes of records between two entries that do not say of which one?
    pub fn has_nameless(&self, after: Option<Id>, before: Option<Id>) -> Result<bool> {
        let found = spi::read_one::<bool>(
            "SELECT true FROM cloudwatcher.audit_logs l
              WHERE l.table_name = $1 AND l.record_id IS NULL AND l.operation IN ('INSERT', 'UPDATE', 'DELETE')
                AND ($2 IS NULL OR l.id > $2) AND ($3 IS NULL OR l.id < $3) LIMIT 1",
            &[
                self.name.as_str().into(),
                after.map(pgrx::Uuid::from_bytes).into(),
                before.map(pgrx::Uuid::from_bytes).into(),
            ],
        )?;
        Ok(found.is_some())
    }

    /// UPDATEs by which a record's key became another one, between two entries.
    pub fn departures(
        &self,
        record: &str,
        after: Option<&Entry>,
        before: Option<&Entry>,
    ) -> Result<Vec<Entry>> {
        let names: Vec<_> = self
            .key
            .iter()
            .map(|column| spi::literal(&column.name))
            .collect();
        let uuid = |entry: Option<&Entry>| entry.map(|entry| pgrx::Uuid::from_bytes(entry.id));
        let mut found = self.read(
            &format!(
                "l.operation = 'UPDATE' AND l.record_id <> $2 AND l.old_values ?| ARRAY[{}] AND {} = $2
                 AND ($3 IS NULL OR l.id > $3)
                 AND ($4 IS NULL OR l.id < $4 OR l.transaction_id = $5 AND l.created_at = $6)",
                names.join(", "),
                self.old_key()
            ),
            vec![
                record.into(),
                uuid(after).into(),
                uuid(before).into(),
                before.map(|entry| entry.transaction).into(),
                before.map(|entry| time::timestamptz(entry.at)).into(),
            ],
        )?;
        found.retain(|entry| {
            !after.is_some_and(|after| entry.with(after))
                && before.is_none_or(|before| entry.id < before.id || entry.with(before))
        });
        Ok(found)
    }

    fn read(&self, which: &str, args: Vec<DatumWithOid>) -> Result<Vec<Entry>> {
        let sql = format!(
            "SELECT l.id, l.operation::text, l.created_at, l.record_id, l.old_values::text, l.new_values::text,
                    CASE WHEN l.operation = 'UPDATE' THEN {} END, l.transaction_id
               FROM cloudwatcher.audit_logs l WHERE l.table_name = $1 AND {which} ORDER BY l.id",
            self.old_key()
        );
        let mut all: Vec<DatumWithOid> = vec![self.name.as_str().into()];
        all.extend(args);
        with_key_settings(|| spi::read_all(&sql, &all, entry))
    }

    /// The key before an UPDATE, in SQL, as the log writes keys. NULL where a part of it is in no entry.
    fn old_key(&self) -> String {
        let table = self.table.sql();
        let names: Vec<_> = self
            .key
            .iter()
            .map(|column| spi::literal(&column.name))
            .collect();
        let values: Vec<_> = self
            .key
            .iter()
            .zip(&names)
            .enumerate()
            .map(|(place, (column, name))| {
                let value = format!("(l.old_values ->> {name})");
                let written = match column.written {
                    Written::AsInSql => format!(
                        "pg_catalog.format('%s', (pg_catalog.jsonb_populate_record(
                           NULL::{table}, pg_catalog.jsonb_build_object({name}, l.old_values -> {name}))).{})",
                        spi::ident(&column.name)
                    ),
                    _ => column.logged(&value),
                };
                format!(
                    "CASE WHEN l.old_values ? {name} THEN {written} WHEN l.record_id NOT LIKE 'sha256:%'
                          THEN l.record_id::jsonb ->> {place} END"
                )
            })
            .collect();
        let whole = match values.as_slice() {
            [value] => value.clone(),
            _ => format!(
                "CASE WHEN {} THEN pg_catalog.jsonb_build_array({})::text END",
                values
                    .iter()
                    .map(|value| format!("({value}) IS NOT NULL"))
                    .collect::<Vec<_>>()
                    .join(" AND "),
                values.join(", ")
            ),
        };
        format!(
            "CASE WHEN l.old_values ?| ARRAY[{}] THEN (SELECT CASE WHEN pg_catalog.octet_length(k.id) <= {} THEN k.id
               ELSE 'sha256:' || pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(k.id, 'UTF8')), 'hex') END
               FROM (SELECT {whole}) AS k (id)) ELSE l.record_id END",
            names.join(", "),
            record::LONGEST
        )
    }

    /// The record as it is now, if the caller may see it.
    pub fn present(&self, record: &str) -> Result<Present> {
        let values = match self.long.borrow().get(record) {
            Some(values) => values.clone(),
            None if is_short_form(record) => return Ok(Present::Unseen),
            None => self.values(record)?,
        };
        if !role::may_select(self.table.oid) {
            return Ok(Present::Unseen);
        }
        let conditions: Vec<_> = (1..)
            .zip(&self.key)
            .map(|(place, column)| {
                format!(
                    "t.{} = ($1::text[])[{place}]::{}",
                    spi::ident(&column.name),
                    column.type_name
                )
            })
            .collect();
        let sql = format!(
            "SELECT pg_catalog.to_jsonb(t.*)::text FROM {} t WHERE {}",
            self.table.sql(),
            conditions.join(" AND ")
        );
        // Not every value is one for JSON, nor every key of before one of today's.
        let found = subtransaction::run(|| spi::read_one::<String>(&sql, &[values.into()]));
        let Ok(found) = found else {
            return Ok(Present::Unseen);
        };
        match found? {
            Some(text) => Ok(state(Some(&text)).map_or(Present::Unseen, Present::Row)),
            None if self.sees_all()? => Ok(Present::NotThere),
            None => Ok(Present::Unseen),
        }
    }

    /// Do two entries mean the same value? They may have been written with different settings.
    pub fn same(&self, column: &str, one: &str, other: &str) -> Result<bool> {
        if one == other || one == LEFT_OUT || other == LEFT_OUT {
            return Ok(true);
        }
        let value = |place: usize| {
            format!(
                "pg_catalog.format('%s', (pg_catalog.jsonb_populate_record(NULL::{},
                   pg_catalog.jsonb_build_object({}, ${place}::jsonb))).{})",
                self.table.sql(),
                spi::literal(column),
                spi::ident(column)
            )
        };
        if one == "null" || other == "null" || self.table.column(column).is_err() {
            return Ok(false);
        }
        let sql = format!("SELECT {} = {}", value(1), value(2));
        let same = subtransaction::run(|| {
            with_key_settings(|| spi::read_one::<bool>(&sql, &[one.into(), other.into()]))
        });
        same.map_or(Ok(false), |same| Ok(same? == Some(true)))
    }

    /// Is what the caller does not see now not there?
    fn sees_all(&self) -> Result<bool> {
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
        transaction: row.get(8)?.unwrap_or_default(),
    })
}
