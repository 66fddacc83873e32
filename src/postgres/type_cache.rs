//! What the server knows of a type.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::pg_sys;

/// Can values of the type be hashed?
pub fn is_hashable(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: the entry of a type lives as long as the session; an unknown oid raises an ordinary error.
    unsafe {
        let entry = pg_sys::lookup_type_cache(type_oid, pg_sys::TYPECACHE_HASH_PROC as i32);
        (*entry).hash_proc != pg_sys::InvalidOid
    }
}
