//! What a process knows about an audited table, until something about it changes.

#![expect(unsafe_code, reason = "reads the server's own description of a table")]

use super::options::Options;
use super::place;
use crate::error::{Error, OrRaise};
use crate::postgres::json_value::Kind;
use crate::postgres::jsonb_writer::{Keys, in_order};
use crate::postgres::spi;
use crate::postgres::trigger::argument;
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::{PgTupleDesc, pg_guard};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

/// A column that is logged.
#[derive(Debug)]
pub struct Column {
    pub name: String,
    /// Its place in the row, from 0 on.
    pub place: usize,
    pub type_: Oid,
    pub kind: Kind,
    pub by_value: bool,
    /// Bytes of a value, or -1 where it says so itself.
    pub length: i16,
    pub masked: bool,
}

/// A column of the primary key.
#[derive(Debug)]
pub struct KeyColumn {
    pub place: usize,
    pub type_: Oid,
    pub kind: Kind,
}

#[derive(Debug)]
pub struct Table {
    /// As the log names it.
    pub name: String,
    /// What that is the name of: the table itself, or the one that it is a partition of.
    named: Oid,
    /// In the order of a jsonb's keys.
    pub columns: Vec<Column>,
    pub keys: Keys,
    pub key: Vec<KeyColumn>,
    /// Are there types in the key whose texts depend on settings of the session?
    pub key_settings: bool,
    pub full_rows: bool,
}

thread_local! {
    static KNOWN: RefCell<HashMap<Oid, Rc<Table>>> = RefCell::default();
    /// Counts what has become stale, so that nothing is kept that became so while it was read.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// How many changes of tables this process has heard of.
pub fn changes() -> u64 {
    listen();
    CHANGES.get()
}

/// The table whose trigger fired.
///
/// # Safety
/// The relation is open, and the trigger one of its own.
pub unsafe fn of(relation: pg_sys::Relation, trigger: &pg_sys::Trigger) -> Rc<Table> {
    // SAFETY: the caller vouches for the relation.
    let oid = unsafe { (*relation).rd_id };
    if let Some(table) = KNOWN.with_borrow(|known| known.get(&oid).cloned()) {
        return table;
    }
    let before = changes();
    // SAFETY: as above.
    let table = Rc::new(unsafe { read(relation, &argument(trigger, 0)) });
    if changes() == before {
        KNOWN.with_borrow_mut(|known| known.insert(oid, Rc::clone(&table)));
    }
    table
}

/// # Safety
/// The relation is open.
unsafe fn read(relation: pg_sys::Relation, options: &str) -> Table {
    let Some(options) = Options::read(options) else {
        return Err(
            Error::state("an audit trigger has arguments that it cannot read")
                .detail(format!("argument {options}"))
                .hint("call gemba.audit() for the table again"),
        )
        .or_raise();
    };
    // SAFETY: the caller vouches for the relation; its descriptor is copied.
    let (descriptor, named, key) = unsafe {
        let named = root(relation);
        (
            PgTupleDesc::from_pg_copy((*relation).rd_att),
            named,
            key_names(relation, named),
        )
    };
    let attributes: Vec<_> = descriptor.iter().filter(|a| !a.attisdropped).collect();
    let hidden = key
        .iter()
        .any(|name| options.columns().any(|other| name == other));
    let key: Vec<_> = key
        .iter()
        .filter_map(|name| attributes.iter().find(|a| a.name() == name))
        .map(|a| (a.attnum, a.atttypid))
        // What is kept out of the values is not told by the row's name either.
        .filter(|_| !hidden)
        .collect();
    // A list that names what is not there any more may have meant any other column.
    let complete = options
        .columns()
        .all(|name| attributes.iter().any(|a| a.name() == name));
    let mut columns: Vec<_> = attributes
        .iter()
        // What is computed whenever it is read is not in the row.
        .filter(|a| a.attgenerated != b'v' as std::ffi::c_char)
        .filter(|a| !options.exclude.iter().any(|name| a.name() == name))
        .map(|a| Column {
            name: a.name().to_owned(),
            place: a.attnum as usize - 1,
            type_: a.atttypid,
            kind: Kind::of(a.atttypid),
            by_value: a.attbyval,
            length: a.attlen,
            masked: options.mask.iter().any(|name| a.name() == name)
                || !complete && key.iter().all(|(number, _)| *number != a.attnum),
        })
        .collect();
    columns.sort_unstable_by(|a, b| in_order(a.name.as_bytes(), b.name.as_bytes()));
    let key = key
        .into_iter()
        .map(|(number, type_)| KeyColumn {
            place: number as usize - 1,
            type_,
            kind: Kind::of(type_),
        })
        .collect::<Vec<_>>();
    Table {
        name: name_of(named),
        named,
        keys: Keys::of(columns.iter().map(|column| column.name.as_bytes())),
        columns,
        key_settings: key
            .iter()
            .any(|column| column.kind.depends_on_settings(column.type_)),
        key,
        full_rows: options.full_rows,
    }
}

/// A partition's rows are logged as those of its table.
///
/// # Safety
/// The relation is open.
unsafe fn root(relation: pg_sys::Relation) -> Oid {
    // SAFETY: the caller vouches for the relation; the function takes an oid and returns one, or null.
    unsafe {
        let oid = (*relation).rd_id;
        if !(*(*relation).rd_rel).relispartition {
            return oid;
        }
        pgrx::direct_function_call::<Oid>(pg_sys::pg_partition_root, &[Some(oid.into())])
            .unwrap_or(oid)
    }
}

fn name_of(table: Oid) -> String {
    // SAFETY: the names are palloc'd C strings, or NULL where the table was dropped.
    let text = |name: *mut std::ffi::c_char| unsafe {
        if name.is_null() {
            return String::new();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    };
    // SAFETY: look-ups in the system caches.
    unsafe {
        spi::qualified(
            &text(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table))),
            &text(pg_sys::get_rel_name(table)),
        )
    }
}

/// The columns of the primary key that tells rows apart under the name that they are logged by: a partition may
/// have one of its own.
///
/// # Safety
/// The relation is open.
unsafe fn key_names(relation: pg_sys::Relation, named: Oid) -> Vec<String> {
    // SAFETY: the caller vouches for the relation; the other one is opened and closed here.
    unsafe {
        if (*relation).rd_id == named {
            return primary_key(relation);
        }
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let root = pg_sys::try_relation_open(named, lock);
        if root.is_null() {
            return Vec::new();
        }
        let names = primary_key(root);
        pg_sys::relation_close(root, lock);
        names
    }
}

/// The names of its columns, also of a key that is only checked at the end of the transaction.
///
/// # Safety
/// The relation is open.
unsafe fn primary_key(relation: pg_sys::Relation) -> Vec<String> {
    // SAFETY: each index is opened and closed; its columns are as many as it says.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let list = pg_sys::RelationGetIndexList(relation);
        let count = if list.is_null() { 0 } else { (*list).length };
        for number in 0..count as usize {
            let oid = (*(*list).elements.add(number)).oid_value;
            let index = pg_sys::index_open(oid, lock);
            let form = &*(*index).rd_index;
            let columns = form.indisprimary.then(|| {
                let columns = form.indkey.values.as_slice(form.indnkeyatts as usize);
                columns.to_vec()
            });
            pg_sys::index_close(index, lock);
            if let Some(columns) = columns {
                let descriptor = PgTupleDesc::from_pg_copy((*relation).rd_att);
                let name = |number: &i16| {
                    let column = descriptor.iter().find(|a| a.attnum == *number);
                    column.map(|a| a.name().to_owned())
                };
                return columns.iter().filter_map(name).collect();
            }
        }
    }
    Vec::new()
}

/// Hears of what changes, once a process.
fn listen() {
    if LISTENS.replace(true) {
        return;
    }
    // SAFETY: the functions are there as long as the process.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(forget), Datum::from(0));
        // The name of a schema, and a cast to json, are nothing of a table's.
        for cache in [
            pg_sys::SysCacheIdentifier::NAMESPACEOID,
            pg_sys::SysCacheIdentifier::CASTSOURCETARGET,
        ] {
            pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(forget_all), Datum::from(0));
        }
    }
}

/// Called with no table's oid when it may be any.
#[pg_guard]
unsafe extern "C-unwind" fn forget(_argument: Datum, table: Oid) {
    CHANGES.set(CHANGES.get() + 1);
    let is = |other: Oid| table == pg_sys::InvalidOid || table == other;
    KNOWN.with_borrow_mut(|known| known.retain(|oid, known| !is(*oid) && !is(known.named)));
    place::forget(is);
}

#[pg_guard]
unsafe extern "C-unwind" fn forget_all(_argument: Datum, _cache: i32, _hash: u32) {
    CHANGES.set(CHANGES.get() + 1);
    KNOWN.with_borrow_mut(HashMap::clear);
    place::forget(|_| true);
}
