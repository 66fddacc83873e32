//! Who may do it, and as whom it runs.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::plan::Plan;
use super::relation::Relation;
use super::setting::with_setting;
use crate::error::{Error, Result};
use pgrx::PgRelation;
use pgrx::prelude::*;

/// Refuses unless the current user owns the table. Functions that ask this are not SECURITY DEFINER:
/// the current user is whoever really calls, also when that is a trigger of somebody's table, and what
/// needs the extension's rights runs in [`as_extension`] afterwards.
pub fn require_owner(relation: &Relation) -> Result<()> {
    let caller = current();
    // SAFETY: functions run in a transaction.
    if unsafe { owns_relation(relation.oid, caller) } {
        return Ok(());
    }
    Err(Error::denied("only the owner of the table may do this")
        .detail(format!(
            "table {}, called by {}",
            relation.sql(),
            name(caller)
        ))
        .hint("SET ROLE to the table's owner first"))
}

/// Refuses unless the current user is a member of the role.
pub fn require_membership(of: &str) -> Result<()> {
    let caller = current();
    let member = super::spi::read_one::<bool>(
        "SELECT pg_catalog.pg_has_role($1::oid, $2::name, 'USAGE')",
        &[caller.into(), of.into()],
    )?;
    if member == Some(true) {
        return Ok(());
    }
    Err(Error::denied("only members of a certain role may do this")
        .detail(format!("role {of}, called by {}", name(caller)))
        .hint(format!(
            "GRANT {of} TO the role, or use the variant that needs no such right"
        )))
}

/// Refuses in a transaction that has one snapshot for all its statements, and so could not see what others
/// committed since, also after it has waited for them. `what` says what cannot be done there.
pub fn require_current_snapshots(what: &str) -> Result<()> {
    let level = super::spi::read_one::<String>(
        "SELECT pg_catalog.current_setting('transaction_isolation')",
        &[],
    )?;
    match level.as_deref() {
        Some("repeatable read" | "serializable") => Err(Error::new(
            PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
            format!("{what} in a transaction of this isolation level"),
        )
        .detail(format!("isolation level {}", level.unwrap_or_default()))
        .hint("call it in READ COMMITTED")),
        _ => Ok(()),
    }
}

/// Refuses a table that belongs neither to the extension's owner nor to a superuser: its triggers would run with
/// the rights of whoever writes there, which are the extension's.
pub fn refuse_foreign_owner(table: &PgRelation) -> Result<()> {
    // SAFETY: the table is open, and with it its row of pg_class.
    let owner = unsafe { (*table.rd_rel).relowner };
    if is_superuser(owner) || owner == extension_owner()? {
        return Ok(());
    }
    Err(
        Error::state("the table belongs to somebody else than the extension")
            .detail(format!(
                "table {}",
                super::spi::qualified(table.namespace(), table.name())
            ))
            .hint("give it back to the owner of the extension"),
    )
}

/// # Safety
/// Needs a transaction, like every look-up in the system caches.
unsafe fn owns_relation(relation: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: plain look-ups by oid; an unknown oid raises an ordinary error.
    unsafe {
        #[cfg(feature = "pg15")]
        return pg_sys::pg_class_ownercheck(relation, role);
        #[cfg(not(feature = "pg15"))]
        pg_sys::object_ownercheck(pg_sys::RelationRelationId, relation, role)
    }
}

/// What `pg_has_role` is asked for to learn whether somebody could take a role by SET ROLE: since 16 a membership
/// may be without that.
pub const MAY_SET: &str = if cfg!(feature = "pg15") {
    "MEMBER"
} else {
    "SET"
};

/// The role whose rights apply now.
pub fn current() -> pg_sys::Oid {
    // SAFETY: reads the backend's own state.
    unsafe { pg_sys::GetUserId() }
}

pub fn is_superuser(role: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in the system caches.
    unsafe { pg_sys::superuser_arg(role) }
}

/// The role's name, or its oid when it is gone.
pub fn name(role: pg_sys::Oid) -> String {
    // SAFETY: with `noerr` the call returns NULL for an unknown role, otherwise a palloc'd C string.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            return role.to_u32().to_string();
        }
        core::ffi::CStr::from_ptr(name)
            .to_string_lossy()
            .into_owned()
    }
}

/// May the current user read this table, as far as grants go?
pub fn may_select(table: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in the system caches.
    unsafe {
        pg_sys::pg_class_aclcheck(table, current(), pg_sys::ACL_SELECT as pg_sys::AclMode)
            == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// Runs `work` as `owner`, the way REFRESH MATERIALIZED VIEW does: whatever the table's own expressions,
/// operators and triggers call runs with the rights of its owner, cannot be put off to a time when
/// somebody else's rights apply (a deferred trigger is refused), and leaves no setting changed.
pub fn as_owner<T>(owner: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    // SAFETY: every nest level that is begun is ended here; an error ends it with its transaction.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    let value = as_user(owner, flags, work);
    // SAFETY: as above.
    unsafe { pg_sys::AtEOXact_GUC(false, level) };
    value
}

/// Runs `work` as `owner`, for a statement that itself takes care of what the owner's expressions may do, and
/// that [`as_owner`] would hinder: REFRESH MATERIALIZED VIEW CONCURRENTLY makes a temporary table.
pub fn as_owner_of_statement<T>(owner: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    as_user(owner, pg_sys::SECURITY_LOCAL_USERID_CHANGE, work)
}

/// Runs `work` with the rights of the extension's owner, for its own catalog.
pub fn as_extension<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    as_user(
        extension_owner()?,
        pg_sys::SECURITY_LOCAL_USERID_CHANGE,
        work,
    )
}

thread_local! {
    static OWNER: Plan = const { Plan::new(
        c"SELECT extowner FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'gemba'",
        &[],
    ) };
}

fn extension_owner() -> Result<pg_sys::Oid> {
    let found = OWNER.with(|plan| plan.all(&[], |row| row.need::<pg_sys::Oid>(1)))?;
    Ok(found.first().copied().unwrap_or(pg_sys::InvalidOid))
}

/// Names and operators in what `work` runs mean the server's own, whatever the session's search_path says.
/// For code that runs with the extension's rights in a session that is not ours.
pub fn with_pinned_search_path<T>(work: impl FnOnce() -> T) -> T {
    with_setting(c"search_path", "pg_catalog, pg_temp", work)
}

/// Names mean what they mean in a new session of this database and user, whatever this function has set.
pub fn with_session_search_path<T>(work: impl FnOnce() -> T) -> T {
    let path = super::spi::read_one::<String>(
        "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'search_path'",
        &[],
    );
    let path = path.ok().flatten().unwrap_or_default();
    with_setting(c"search_path", &path, work)
}

/// The oid of a role, if there is one of this name.
pub fn find(name: &str) -> Result<Option<pg_sys::Oid>> {
    super::spi::read_one(
        "SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1::name",
        &[name.into()],
    )
}

/// May the role log in?
pub fn can_login(role: pg_sys::Oid) -> Result<bool> {
    Ok(super::spi::read_one::<bool>(
        "SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE oid = $1",
        &[role.into()],
    )?
    .unwrap_or(false))
}

fn as_user<T>(user: pg_sys::Oid, flags: u32, work: impl FnOnce() -> T) -> T {
    /// Restores the user also when `work` unwinds. (A PostgreSQL error restores it at the end of the
    /// sub-transaction or transaction as well.)
    struct Restore(pg_sys::Oid, i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: puts back exactly what GetUserIdAndSecContext gave.
            unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) }
        }
    }
    let mut before = pg_sys::InvalidOid;
    let mut context = 0;
    // SAFETY: the out-pointers are live; the new context only adds flags to the present one.
    let _restore = unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut before, &raw mut context);
        pg_sys::SetUserIdAndSecContext(user, context | flags as i32);
        Restore(before, context)
    };
    work()
}
