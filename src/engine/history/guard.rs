//! What compressed rows cannot follow is refused before it happens.
//!
//! Of a foreign partition the server believes what it is told: it would accept a NOT NULL or a CHECK that rows in
//! segments break, and then plan as if it were true. So an event trigger looks at each ALTER TABLE first. Whatever is not
//! a compressed partition, or the table of one, is none of its business.

#![expect(unsafe_code, reason = "reads a statement's parse tree and the catalog")]

use super::layout;
use crate::engine::install;
use crate::error::{Error, OrRaise, Result};
use crate::postgres::backend;
use crate::postgres::c_function::{Call, c_function};
use crate::postgres::relation::Relation;
use crate::postgres::role;
use pg_sys::{AlterTableCmd, AlterTableType, ConstrType, NodeTag};
use pgrx::prelude::*;
use std::ffi::{CStr, c_char, c_void};

c_function!(gemba_guard_history, pg_finfo_gemba_guard_history, guard());

unsafe extern "C-unwind" {
    fn RangeVarCallbackOwnsRelation(
        named: *const pg_sys::RangeVar,
        table: pg_sys::Oid,
        before: pg_sys::Oid,
        argument: *mut c_void,
    );
    fn find_all_inheritors(
        parent: pg_sys::Oid,
        lock: pg_sys::LOCKMODE,
        parents: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::List;
}

/// # Safety
/// Called by the server.
unsafe fn guard(call: Call) -> pg_sys::Datum {
    // SAFETY: an event trigger's context is an EventTriggerData, as its tag says; its parse tree is the statement's, and
    // its tag says what it is.
    unsafe {
        let context = (*call).context;
        if context.is_null() || (*context).type_ != NodeTag::T_EventTriggerData {
            Err::<(), _>(
                Error::state("this function is an event trigger's")
                    .detail("it was called otherwise")
                    .hint("ALTER TABLE calls it"),
            )
            .or_raise();
        }
        let tree = (*context.cast::<pg_sys::EventTriggerData>()).parsetree;
        if !tree.is_null() && (*tree).type_ == NodeTag::T_AlterTableStmt && !backend::in_own_ddl() {
            check(tree.cast()).or_raise();
        }
    }
    pg_sys::Datum::null()
}

/// # Safety
/// The statement is one that is about to be executed.
unsafe fn check(statement: *mut pg_sys::AlterTableStmt) -> Result<()> {
    // SAFETY: as the caller says; its commands are a list of such nodes.
    unsafe {
        let commands: Vec<_> = pgrx::PgList::<AlterTableCmd>::from_pg((*statement).cmds)
            .iter_ptr()
            .filter(|&command| matters(command))
            .collect();
        if commands.is_empty() {
            return Ok(());
        }
        // The statement takes this lock next, for those who own the table, and with the same error for others. Taken
        // here, nobody compresses a partition in between.
        let table = pg_sys::RangeVarGetRelidExtended(
            (*statement).relation,
            pg_sys::AlterTableGetLockLevel((*statement).cmds),
            pg_sys::RVROption::RVR_MISSING_OK,
            Some(RangeVarCallbackOwnsRelation),
            std::ptr::null_mut(),
        );
        let Some(leaf) = compressed(table) else {
            return Ok(());
        };
        for command in commands {
            if let Some(what) = refused(command, table, leaf) {
                role::with_pinned_search_path(|| refuse(&what, table, leaf))?;
            }
        }
    }
    Ok(())
}

fn refuse(what: &str, table: pg_sys::Oid, leaf: pg_sys::Oid) -> Result<()> {
    // A dump only says again what there was.
    if install::is_restore()? {
        return Ok(());
    }
    let mut detail = format!("{what}, table {}", Relation::open(table)?.sql());
    if leaf != table {
        detail.push_str(&format!(
            "; its partition {} is compressed",
            Relation::open(leaf)?.sql()
        ));
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "compressed rows cannot follow this change of their table",
    )
    .detail(detail)
    .hint(
        "call gemba.stop_compressing(), and gemba.decompress_partition() for what is compressed; \
         gemba.compress_after() afterwards",
    ))
}

/// Could it be one that is refused? Others cost nothing more than this.
///
/// # Safety
/// The command is one of a statement's.
unsafe fn matters(command: *mut AlterTableCmd) -> bool {
    // SAFETY: as the caller says.
    let kind = unsafe { (*command).subtype };
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    if kind == AlterTableType::AT_SetExpression {
        return true;
    }
    matches!(
        kind,
        AlterTableType::AT_AddColumn
            | AlterTableType::AT_DropColumn
            | AlterTableType::AT_AlterColumnType
            | AlterTableType::AT_SetNotNull
            | AlterTableType::AT_AddConstraint
            | AlterTableType::AT_ValidateConstraint
            | AlterTableType::AT_DropExpression
            | AlterTableType::AT_ChangeOwner
            | AlterTableType::AT_AlterColumnGenericOptions
            | AlterTableType::AT_GenericOptions
    )
}

/// The table itself where it is a compressed partition, or a compressed one among its partitions.
///
/// # Safety
/// The caller has a lock on the table, or it is no table.
unsafe fn compressed(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: look-ups in the system caches, which take any oid.
    unsafe {
        let server = pg_sys::get_foreign_server_oid(c"gemba_history".as_ptr(), true);
        if table == pg_sys::InvalidOid || server == pg_sys::InvalidOid {
            return None;
        }
        let is_one = |table: pg_sys::Oid| {
            pg_sys::get_rel_relkind(table) == pg_sys::RELKIND_FOREIGN_TABLE as c_char
                && (*pg_sys::GetForeignTable(table)).serverid == server
        };
        if pg_sys::get_rel_relkind(table) != pg_sys::RELKIND_PARTITIONED_TABLE as c_char {
            return is_one(table).then_some(table);
        }
        let partitions = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            find_all_inheritors(
                table,
                pg_sys::NoLock as pg_sys::LOCKMODE,
                std::ptr::null_mut(),
            )
        });
        pgrx::PgList::<c_void>::from_pg(partitions)
            .iter_oid()
            .find(|&partition| is_one(partition))
    }
}

/// What is refused of a command, in the words of SQL.
///
/// # Safety
/// The command is one that [`matters`], of the table; the leaf is a compressed partition.
unsafe fn refused(
    command: *mut AlterTableCmd,
    table: pg_sys::Oid,
    leaf: pg_sys::Oid,
) -> Option<String> {
    // SAFETY: as the caller says; which fields a command has, follows from its kind.
    unsafe {
        let kind = (*command).subtype;
        let name = || {
            let name = (*command).name;
            if name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        };
        Some(match kind {
            AlterTableType::AT_AddColumn => {
                let column = (*command).def.cast::<pg_sys::ColumnDef>();
                if pg_sys::get_attnum(leaf, (*column).colname) != 0 || is_plain(column) {
                    return None;
                }
                let name = CStr::from_ptr((*column).colname).to_string_lossy();
                format!("ADD COLUMN {name:?} with a default or a constraint")
            }
            AlterTableType::AT_DropColumn if is_key(leaf, (*command).name) => {
                format!("DROP COLUMN {:?}, by which its rows are found", name())
            }
            AlterTableType::AT_SetNotNull if !is_not_null(leaf, (*command).name) => {
                format!("SET NOT NULL of column {:?}", name())
            }
            AlterTableType::AT_DropColumn | AlterTableType::AT_SetNotNull => return None,
            AlterTableType::AT_AddConstraint => "ADD CONSTRAINT".to_owned(),
            AlterTableType::AT_ValidateConstraint => format!("VALIDATE CONSTRAINT {:?}", name()),
            AlterTableType::AT_AlterColumnType => format!("TYPE of column {:?}", name()),
            AlterTableType::AT_ChangeOwner => {
                let owner = pg_sys::get_rolespec_oid((*command).newowner, true);
                // A table's new owner gets none of its partitions.
                if leaf != table || owns_segments(leaf, owner) {
                    return None;
                }
                "OWNER TO of a compressed partition by itself".to_owned()
            }
            AlterTableType::AT_AlterColumnGenericOptions | AlterTableType::AT_GenericOptions => {
                "OPTIONS, which say where its rows are".to_owned()
            }
            _ => format!("EXPRESSION of column {:?}", name()),
        })
    }
}

/// Is NULL in all rows, and may be?
///
/// # Safety
/// The definition is one as the parser makes it.
unsafe fn is_plain(column: *mut pg_sys::ColumnDef) -> bool {
    // SAFETY: as the caller says; constraints are a list of such nodes.
    unsafe {
        let constraints = pgrx::PgList::<pg_sys::Constraint>::from_pg((*column).constraints);
        constraints.iter_ptr().all(|constraint| {
            let default = (*constraint).raw_expr;
            match (*constraint).contype {
                ConstrType::CONSTR_NULL => true,
                ConstrType::CONSTR_DEFAULT => {
                    !default.is_null()
                        && (*default).type_ == NodeTag::T_A_Const
                        && (*default.cast::<pg_sys::A_Const>()).isnull
                }
                _ => false,
            }
        }) && !brings_more((*column).typeName)
    }
}

/// A serial brings a default, a domain may bring anything.
///
/// # Safety
/// The name is one as the parser makes it.
unsafe fn brings_more(name: *mut pg_sys::TypeName) -> bool {
    // SAFETY: as the caller says: names are a list of strings. The tuple is released after it was read.
    unsafe {
        if name.is_null() {
            return false;
        }
        let found = pg_sys::LookupTypeName(std::ptr::null_mut(), name, std::ptr::null_mut(), true);
        if found.is_null() {
            // No type is called serial. Whatever else does not exist fails next.
            return true;
        }
        let kind = (*pg_sys::GETSTRUCT(found).cast::<pg_sys::FormData_pg_type>()).typtype;
        pg_sys::ReleaseSysCache(found);
        kind == pg_sys::TYPTYPE_DOMAIN as c_char
    }
}

/// Is this column among those by which segments are found?
///
/// # Safety
/// The leaf is a compressed partition, the name a C string.
unsafe fn is_key(leaf: pg_sys::Oid, column: *const c_char) -> bool {
    // SAFETY: as the caller says; options are a list of DefElem.
    unsafe {
        let number = pg_sys::get_attnum(leaf, column);
        number > 0
            && pgrx::PgList::<pg_sys::DefElem>::from_pg(pg_sys::GetForeignColumnOptions(
                leaf, number,
            ))
            .iter_ptr()
            .any(|option| {
                let name = CStr::from_ptr((*option).defname);
                name == c"key" || name == c"order"
            })
    }
}

/// # Safety
/// The name is a C string.
unsafe fn is_not_null(leaf: pg_sys::Oid, column: *const c_char) -> bool {
    // SAFETY: a look-up in the system caches; the tuple is released after it was read.
    unsafe {
        let tuple = pg_sys::SearchSysCacheAttName(leaf, column);
        if tuple.is_null() {
            return false;
        }
        let not_null =
            (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_attribute>()).attnotnull;
        pg_sys::ReleaseSysCache(tuple);
        not_null
    }
}

/// Is it this role that the partition's segments belong to? Giving it the partition, too, mends what was broken.
fn owns_segments(leaf: pg_sys::Oid, owner: pg_sys::Oid) -> bool {
    layout::segments_of(leaf).is_some_and(|segments| layout::owner_of(segments) == Some(owner))
}
