//! A compressed partition: which of its columns stand where in its segments.
//!
//! All of it is in the options of the foreign table and its columns, which a dump carries and which follow
//! a column that is renamed:
//!
//! | option of | name | says |
//! |---|---|---|
//! | the table | `segments` | the table in schema `gemba_history` that holds the segments |
//! | the table | `unique` | whether (keys…, time) is unique |
//! | the table | `cut` | where its segments are cut: at each `hour`, `day`, `week`, `month`, or for the whole `partition` |
//! | the table | `raw_bytes` | what the same rows took up in an ordinary table, or would have |
//! | the table | `copied` | that its rows were an ordinary partition's before |
//! | a column | `column` | its number inside a segment, from 0; a column without is computed or was added later |
//! | a column | `late` | its number in the table of late rows, from 1; a column without was added later |
//! | a column | `key` | its position among the keys, from 1 |
//! | a column | `order` | that it is the time |

#![expect(unsafe_code, reason = "reads the server's catalog")]

use super::cut::Span;
use crate::error::{Error, OrRaise, Result};
use crate::postgres::descriptor;
use gemba_segment::Kind;
use pgrx::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

/// The schema of segment tables.
pub const SCHEMA: &CStr = c"gemba_history";

/// What comes behind the name of a segment table in that of its late rows.
pub const LATE: &str = "_late";

/// How a type is held in a segment, and passed in the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Int2,
    Int4,
    Int8,
    Bool,
    Date,
    /// `timestamp` and `timestamptz`: microseconds.
    Time,
    Float4,
    Float8,
    Numeric,
    Text,
    Uuid,
}

impl Shape {
    /// None for a type that segments cannot hold.
    pub fn of(type_oid: pg_sys::Oid) -> Option<Self> {
        Some(match type_oid {
            pg_sys::INT2OID => Self::Int2,
            pg_sys::INT4OID => Self::Int4,
            pg_sys::INT8OID => Self::Int8,
            pg_sys::BOOLOID => Self::Bool,
            pg_sys::DATEOID => Self::Date,
            pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Self::Time,
            pg_sys::FLOAT4OID => Self::Float4,
            pg_sys::FLOAT8OID => Self::Float8,
            pg_sys::NUMERICOID => Self::Numeric,
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Self::Text,
            pg_sys::UUIDOID => Self::Uuid,
            _ => return None,
        })
    }

    pub fn kind(self) -> Kind {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Bool | Self::Date | Self::Time => {
                Kind::Int
            }
            Self::Float4 => Kind::Float4,
            Self::Float8 => Kind::Float8,
            Self::Numeric => Kind::Numeric,
            Self::Text | Self::Uuid => Kind::Bytes,
        }
    }

    /// The number that a datum of a [`Kind::Int`] stands for.
    #[inline(always)]
    pub fn int(self, datum: pg_sys::Datum) -> i64 {
        let raw = datum.value();
        match self {
            Self::Int2 => i64::from(raw as i16),
            Self::Int4 | Self::Date => i64::from(raw as i32),
            Self::Bool => i64::from(raw & 0xFF != 0),
            _ => raw as i64,
        }
    }

    /// And back.
    #[inline(always)]
    pub fn datum(self, int: i64) -> pg_sys::Datum {
        match self {
            Self::Int2 => pg_sys::Datum::from(int as i16),
            Self::Int4 | Self::Date => pg_sys::Datum::from(int as i32),
            Self::Bool => pg_sys::Datum::from(int != 0),
            _ => pg_sys::Datum::from(int),
        }
    }
}

/// A column of the partition. Its place in [`Layout::columns`] is its number less one.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub type_oid: pg_sys::Oid,
    pub typmod: i32,
    pub collation: pg_sys::Oid,
    pub shape: Option<Shape>,
    /// Its number inside a segment.
    pub stored: Option<usize>,
    /// Its place in a late row; none if it was added since.
    pub late: Option<usize>,
    /// `GENERATED … STORED`: computed when a segment is read.
    pub generated: bool,
    pub not_null: bool,
    pub dropped: bool,
}

impl Column {
    /// Are values that are equal always the same, bit for bit?
    pub fn is_distinct(&self) -> bool {
        match self.shape {
            Some(Shape::Float4 | Shape::Float8 | Shape::Numeric) | None => false,
            Some(Shape::Text) => is_deterministic(self.collation),
            Some(_) => true,
        }
    }
}

/// Do only equal bytes compare as equal?
pub fn is_deterministic(collation: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in the system caches.
    collation == pg_sys::InvalidOid || unsafe { pg_sys::get_collation_isdeterministic(collation) }
}

/// How a compressed partition is laid out.
#[derive(Debug)]
pub struct Layout {
    pub table: pg_sys::Oid,
    pub segments: pg_sys::Oid,
    pub late: pg_sys::Oid,
    pub columns: Vec<Column>,
    /// Places in `columns` of the keys, in their order.
    pub keys: Vec<usize>,
    /// Place in `columns` of the time.
    pub order: usize,
    pub unique: bool,
    /// Whether the rows were there before the segments were.
    pub copied: bool,
    /// Where its segments are cut.
    pub cut: Option<Span>,
    /// How many columns a segment has.
    pub stored: usize,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

#[derive(Default)]
struct Known {
    layouts: HashMap<pg_sys::Oid, Rc<Layout>>,
    listening: bool,
}

/// Something about a table has changed, or (oid 0) about any.
unsafe extern "C-unwind" fn forget(_: pg_sys::Datum, table: pg_sys::Oid) {
    // It may be called from within a look-up: then nothing that is being looked up is in there yet.
    let _ = KNOWN.try_with(|known| {
        if let Ok(mut known) = known.try_borrow_mut() {
            if table == pg_sys::InvalidOid {
                known.layouts.clear();
            } else {
                known.layouts.retain(|_, layout| {
                    layout.table != table && layout.segments != table && layout.late != table
                });
            }
        }
    });
}

impl Layout {
    /// The layout of a compressed partition, which is open and locked.
    ///
    /// # Errors
    /// `HV00J` (option not found) when its options do not fit it, `42501` when its segments are somebody else's.
    pub fn of(table: pg_sys::Oid) -> Result<Rc<Self>> {
        let known = KNOWN.with_borrow_mut(|known| {
            if !known.listening {
                known.listening = true;
                // SAFETY: the function is there as long as the library, which is never unloaded.
                unsafe {
                    pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::null());
                }
            }
            known.layouts.get(&table).cloned()
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let layout = Rc::new(read(table)?);
        KNOWN.with_borrow_mut(|known| known.layouts.insert(table, Rc::clone(&layout)));
        Ok(layout)
    }

    /// The same for callbacks of the server, which have no other way to fail.
    pub fn need(table: pg_sys::Oid) -> Rc<Self> {
        Self::of(table).or_raise()
    }

    pub fn order_shape(&self) -> Shape {
        self.columns[self.order].shape.unwrap_or(Shape::Time)
    }

    /// Its position among the keys, for the place of a column.
    pub fn key_at(&self, place: usize) -> Option<usize> {
        self.keys.iter().position(|&key| key == place)
    }

    /// Are keys that are equal always the same, bit for bit? Not so 1.0 and 1.00, and the two zeros.
    pub fn keys_are_distinct(&self) -> bool {
        self.keys
            .iter()
            .all(|&place| self.columns[place].is_distinct())
    }
}

fn wrong(table: &str, why: impl Into<String>) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_FDW_OPTION_NAME_NOT_FOUND,
        "the compressed partition does not fit its segments",
    )
    .detail(format!("table {table}: {}", why.into()))
    .hint("compressed partitions are made by gemba.compress_partition(); leave their options and types alone")
}

/// An option's text among those of a table or column.
unsafe fn options(list: *mut pg_sys::List) -> HashMap<String, String> {
    let mut found = HashMap::new();
    // SAFETY: the catalog's options are a list of DefElem with texts.
    unsafe {
        for element in pgrx::PgList::<pg_sys::DefElem>::from_pg(list).iter_ptr() {
            let text = |pointer: *const std::ffi::c_char| {
                CStr::from_ptr(pointer).to_string_lossy().into_owned()
            };
            found.insert(
                text((*element).defname),
                text(pg_sys::defGetString(element)),
            );
        }
    }
    found
}

fn read(table: pg_sys::Oid) -> Result<Layout> {
    // SAFETY: the caller holds a lock on the table; what is read is copied before it is closed.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::NoLock as pg_sys::LOCKMODE);
        let layout = read_open(relation);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        layout
    }
}

/// # Safety
/// The relation is open.
unsafe fn read_open(relation: pg_sys::Relation) -> Result<Layout> {
    // SAFETY: an open relation has its row of pg_class and a descriptor with so many attributes.
    unsafe {
        let table = (*relation).rd_id;
        let name = crate::postgres::relation::name_of(relation);
        let of_table = options((*pg_sys::GetForeignTable(table)).options);
        let segments_name = of_table
            .get("segments")
            .ok_or_else(|| wrong(&name, "it has no option \"segments\""))?;
        let segments = table_of_history(segments_name).ok_or_else(|| {
            wrong(
                &name,
                format!("there is no table {segments_name:?} in schema gemba_history"),
            )
        })?;
        let late_name = late_name(segments_name);
        let late = table_of_history(&late_name).ok_or_else(|| {
            wrong(
                &name,
                format!("there is no table {late_name:?} in schema gemba_history"),
            )
        })?;
        let owner = (*(*relation).rd_rel).relowner;
        for oid in [segments, late] {
            if owner_of(oid) != Some(owner) {
                return Err(
                    Error::denied("the segments belong to somebody else than the table")
                        .detail(format!("table {name}, segments {segments_name:?}"))
                        .hint("give both to one role"),
                );
            }
        }
        let attributes = (*(*relation).rd_att).natts as usize;
        let mut columns = Vec::with_capacity(attributes);
        let (mut keys, mut order) = (Vec::new(), None);
        for place in 0..attributes {
            let attribute = descriptor::attribute((*relation).rd_att, place);
            let given = if attribute.attisdropped {
                HashMap::new()
            } else {
                options(pg_sys::GetForeignColumnOptions(table, attribute.attnum))
            };
            let number = |option: &str| -> Result<Option<usize>> {
                given
                    .get(option)
                    .map(|text| {
                        text.parse()
                            .ok()
                            .filter(|&number: &usize| {
                                number <= pg_sys::MaxTupleAttributeNumber as usize
                            })
                            .ok_or_else(|| wrong(&name, format!("option {option} {text:?}")))
                    })
                    .transpose()
            };
            if let Some(position) = number("key")? {
                keys.push((position, place));
            }
            if given.contains_key("order") {
                order = Some(place);
            }
            columns.push(Column {
                name: name_data_to_str(&attribute.attname).to_owned(),
                type_oid: attribute.atttypid,
                typmod: attribute.atttypmod,
                collation: attribute.attcollation,
                shape: Shape::of(attribute.atttypid),
                stored: number("column")?,
                // Never guessed by its place: a restored table has no gaps where columns were dropped.
                late: number("late")?.and_then(|position| position.checked_sub(1)),
                generated: attribute.attgenerated != 0,
                not_null: attribute.attnotnull,
                dropped: attribute.attisdropped,
            });
        }
        keys.sort_unstable();
        let layout = Layout {
            table,
            segments,
            late,
            keys: keys.iter().map(|(_, place)| *place).collect(),
            order: order.ok_or_else(|| wrong(&name, "no column has the option \"order\""))?,
            unique: of_table.get("unique").is_some_and(|value| value == "true"),
            copied: of_table.get("copied").is_some_and(|value| value == "true"),
            cut: of_table.get("cut").map(|name| Span::named(name)),
            stored: columns
                .iter()
                .filter_map(|column| column.stored)
                .max()
                .map_or(0, |n| n + 1),
            columns,
        };
        if !keys
            .iter()
            .map(|(position, _)| *position)
            .eq(1..=keys.len())
        {
            return Err(wrong(&name, "its keys are not numbered from 1"));
        }
        check_columns(&layout, &name)?;
        check_segments(&layout, &name)?;
        let late_columns = types_of(layout.late);
        check_late(layout, &late_columns, &name)
    }
}

/// Each column has a number of its own, and a type that segments can hold. Numbers of columns that were dropped are
/// missing.
fn check_columns(layout: &Layout, name: &str) -> Result<()> {
    let mut stored: Vec<_> = layout
        .columns
        .iter()
        .filter_map(|column| column.stored)
        .collect();
    stored.sort_unstable();
    let twice = stored.windows(2).any(|pair| pair[0] == pair[1]);
    if twice || layout.stored > pg_sys::MaxTupleAttributeNumber as usize {
        return Err(wrong(
            name,
            "two of its columns have one number, or a number is too large",
        ));
    }
    for place in layout.keys.iter().chain([&layout.order]) {
        let column = &layout.columns[*place];
        if column.stored.is_none() {
            return Err(wrong(
                name,
                format!("column {:?} is not in its segments", column.name),
            ));
        }
    }
    if !matches!(
        layout.columns[layout.order].shape,
        Some(Shape::Date | Shape::Time)
    ) {
        return Err(wrong(name, "its order is no time"));
    }
    for column in &layout.columns {
        if column.stored.is_some() && column.shape.is_none() {
            return Err(wrong(
                name,
                format!(
                    "column {:?} has a type that segments cannot hold",
                    column.name
                ),
            ));
        }
    }
    Ok(())
}

/// Type and collation, as a table has them.
type Typed = (pg_sys::Oid, pg_sys::Oid);

/// Those of a table's columns; none where one was dropped.
fn types_of(table: pg_sys::Oid) -> Vec<Option<Typed>> {
    // SAFETY: the table exists; it is closed after it was read. Its lock goes with the transaction, as that of the
    // partition does.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let types = (0..(*(*relation).rd_att).natts as usize)
            .map(|place| {
                let attribute = descriptor::attribute((*relation).rd_att, place);
                (!attribute.attisdropped).then_some((attribute.atttypid, attribute.attcollation))
            })
            .collect();
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        types
    }
}

/// The segment table has times, a count, the keys and the bytes.
fn check_segments(layout: &Layout, name: &str) -> Result<()> {
    let typed = |place: usize| {
        let column = &layout.columns[place];
        Some((column.type_oid, column.collation))
    };
    let time = typed(layout.order);
    let mut wanted = vec![time, time, Some((pg_sys::INT4OID, pg_sys::InvalidOid))];
    wanted.extend(layout.keys.iter().map(|&place| typed(place)));
    wanted.push(Some((pg_sys::BYTEAOID, pg_sys::InvalidOid)));
    if types_of(layout.segments) != wanted {
        return Err(wrong(
            name,
            "a key or the time has another type than in its segments",
        ));
    }
    Ok(())
}

/// The late rows' columns are of the same types. Those that they do not have read as NULL.
fn check_late(mut layout: Layout, late: &[Option<Typed>], name: &str) -> Result<Layout> {
    for column in &mut layout.columns {
        let found = column
            .late
            .and_then(|place| late.get(place).copied().flatten());
        match found {
            _ if column.dropped => column.late = None,
            Some(found) if found == (column.type_oid, column.collation) => {}
            None if column.stored.is_none() => column.late = None,
            _ => {
                return Err(wrong(
                    name,
                    format!(
                        "column {:?} has another type than among its late rows",
                        column.name
                    ),
                ));
            }
        }
    }
    Ok(layout)
}

/// The name of the late rows' table beside a segment table.
pub fn late_name(segments: &str) -> String {
    format!("{segments}{LATE}")
}

/// A table of the history schema by its name.
pub fn table_of_history(name: &str) -> Option<pg_sys::Oid> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: look-ups in the system caches.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The segment table that the options of a compressed partition name, where there is one.
pub fn segments_of(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: the table is foreign.
    let of_table = unsafe { options((*pg_sys::GetForeignTable(table)).options) };
    table_of_history(of_table.get("segments")?)
}

pub fn owner_of(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a look-up in the system caches; the tuple is released after it was read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(table),
        );
        if tuple.is_null() {
            return None;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}
