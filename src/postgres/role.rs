//! Who may do it, and as whom it runs.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::relation::Relation;
use crate::error::{Error, Result};
use pgrx::prelude::*;

/// Refuses unless the caller owns the table. Functions that call this are SECURITY DEFINER, so the
/// caller is the *outer* user, not the one the function runs as.
pub fn require_owner(relation: &Relation) -> Result<()> {
    // SAFETY: both calls only read the backend's own state and the system caches.
    let (owns, caller) = unsafe {
        let caller = pg_sys::GetOuterUserId();
        (owns_relation(relation.oid, caller), caller)
    };
    if owns {
        return Ok(());
    }
    Err(Error::denied("only the owner of the table may do this")
        .detail(format!(
            "table {}, called by {}",
            relation.sql(),
            role_name(caller)
        ))
        .hint("SET ROLE to the table's owner first"))
}

/// Refuses unless the caller (again the outer user) is a member of the role.
pub fn require_membership(of: &str) -> Result<()> {
    // SAFETY: reads the backend's own state.
    let caller = unsafe { pg_sys::GetOuterUserId() };
    let member = super::spi::read_one::<bool>(
        "SELECT pg_catalog.pg_has_role($1::oid, $2::name, 'USAGE')",
        &[caller.into(), of.into()],
    )?;
    if member == Some(true) {
        return Ok(());
    }
    Err(Error::denied("only members of a certain role may do this")
        .detail(format!("role {of}, called by {}", role_name(caller)))
        .hint(format!(
            "GRANT {of} TO the role, or use the variant that needs no such right"
        )))
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

/// The role's name, for messages.
fn role_name(role: pg_sys::Oid) -> String {
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

/// Runs `work` as `owner`, the way REFRESH MATERIALIZED VIEW does: whatever the table's own expressions,
/// operators and triggers call runs with the rights of its owner and not with the extension's.
pub fn as_owner<T>(owner: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    /// Restores the user also when `work` unwinds. (A PostgreSQL error restores it at the end of the
    /// sub-transaction or transaction as well.)
    struct Restore(pg_sys::Oid, i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: puts back exactly what GetUserIdAndSecContext gave.
            unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) }
        }
    }
    let mut user = pg_sys::InvalidOid;
    let mut context = 0;
    // SAFETY: the out-pointers are live; the new context only adds a flag to the present one.
    let _restore = unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
        pg_sys::SetUserIdAndSecContext(
            owner,
            context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32,
        );
        Restore(user, context)
    };
    work()
}
