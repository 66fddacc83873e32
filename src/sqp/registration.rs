//! Tables register themselves: event triggers that look at what data definition did.
//!
//! They are C functions, because only those see which statement it was: a table that has come by SET SCHEMA is
//! new, one that got a column is not, and a deliberately removed registration must not come back with it. They
//! run with the rights of the extension's owner, whoever creates the table. Nothing that goes wrong here may fail
//! a user's statement: it is undone and reported as a WARNING.

#![expect(unsafe_code, reason = "event triggers, called by PostgreSQL itself")]

use crate::engine::install;
use crate::error::{Error, OrRaise, Result};
use crate::gucs;
use crate::postgres::{backend, spi, subtransaction};
use pgrx::prelude::*;

/// Declares an event trigger's function that the install script names.
macro_rules! event_trigger {
    ($name:ident, $info:ident, $work:ident) => {
        /// # Safety
        /// Called by PostgreSQL as an event trigger.
        #[unsafe(no_mangle)]
        #[pg_guard]
        pub unsafe extern "C-unwind" fn $name(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: fcinfo is the argument of this very call.
            unsafe {
                fired(fcinfo, $work);
                (*fcinfo).isnull = true;
            }
            pg_sys::Datum::null()
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pg_sys::Pg_finfo_record {
            &pg_sys::Pg_finfo_record { api_version: 1 }
        }
    };
}

#[rustfmt::skip]
mod exported {
    use super::*;

    event_trigger!(gemba_register_tables, pg_finfo_gemba_register_tables, follow);
    event_trigger!(gemba_forget_tables, pg_finfo_gemba_forget_tables, forget);
}

/// What a statement did to tables.
enum Ddl {
    /// It may have made tables, or brought them here.
    New,
    /// It may have changed a name, or attached a partition.
    Changed,
    /// It renamed a schema, which was called this.
    SchemaRenamed(String),
}

/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL.
unsafe fn fired(fcinfo: pg_sys::FunctionCallInfo, work: fn(Ddl) -> Result<()>) {
    // SAFETY: an event trigger's context is an EventTriggerData, as its tag says; its parse tree is the
    // statement's, which lives as long as the statement.
    let ddl = unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
            Err::<(), _>(
                Error::state("this function is an event trigger's")
                    .detail("it was called otherwise")
                    .hint("see sqp.watch_schema() and sqp.register_existing()"),
            )
            .or_raise();
        }
        statement((*context.cast::<pg_sys::EventTriggerData>()).parsetree)
    };
    if !gucs::AUTO_REGISTER.get() || backend::in_own_ddl() {
        return;
    }
    if let Err(failure) = subtransaction::run(|| {
        if !install::is_restore().or_raise() {
            work(ddl).or_raise();
        }
    }) {
        let detail = failure.detail.unwrap_or_default();
        warning!(
            "gemba: sqp.refresh_config does not follow this statement: {}{}{detail}; sqp.register_existing() makes up for it",
            failure.message,
            if detail.is_empty() { "" } else { ": " }
        );
    }
}

/// # Safety
/// A parse tree, or null.
unsafe fn statement(tree: *mut pg_sys::Node) -> Ddl {
    use pg_sys::NodeTag;
    // SAFETY: the tag says what the node is.
    unsafe {
        if tree.is_null() {
            return Ddl::New;
        }
        match (*tree).type_ {
            NodeTag::T_RenameStmt => {
                let rename = tree.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType == pg_sys::ObjectType::OBJECT_SCHEMA
                    && !(*rename).subname.is_null()
                {
                    let old = core::ffi::CStr::from_ptr((*rename).subname);
                    return Ddl::SchemaRenamed(old.to_string_lossy().into_owned());
                }
                Ddl::Changed
            }
            NodeTag::T_AlterTableStmt => Ddl::Changed,
            _ => Ddl::New,
        }
    }
}

/// After data definition: registrations follow.
fn follow(ddl: Ddl) -> Result<()> {
    let are_new = matches!(ddl, Ddl::New);
    let old_name = match ddl {
        Ddl::SchemaRenamed(old) => Some(old),
        _ => None,
    };
    // As a write: it has to see what the statement has just done.
    spi::write(
        "SELECT sqp._follow_ddl(
                  array_agg(DISTINCT d.objid) FILTER (WHERE d.classid = 'pg_class'::regclass
                                                        AND d.object_type IN ('table', 'materialized view')
                                                        AND NOT d.in_extension),
                  $1, max(d.objid) FILTER (WHERE d.classid = 'pg_namespace'::regclass AND $2 IS NOT NULL), $2)
           FROM pg_event_trigger_ddl_commands() AS d",
        &[are_new.into(), old_name.into()],
    )?;
    Ok(())
}

/// After a drop: registrations go, their history stays.
fn forget(_: Ddl) -> Result<()> {
    spi::write(
        "SELECT sqp._forget(g.tables)
           FROM (SELECT array_agg(d.objid) AS tables FROM pg_event_trigger_dropped_objects() AS d
                  WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0
                    AND d.object_type IN ('table', 'materialized view') AND NOT d.is_temporary) AS g
          WHERE g.tables IS NOT NULL",
        &[],
    )?;
    Ok(())
}
