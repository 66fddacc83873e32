//! Columns of rows, as the server describes them to itself.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::pg_sys;

/// An attribute of a row's description, by its number less one.
///
/// # Safety
/// The description is live and has the attribute.
#[inline]
pub unsafe fn attribute<'a>(
    descriptor: pg_sys::TupleDesc,
    place: usize,
) -> &'a pg_sys::FormData_pg_attribute {
    // SAFETY: as the caller says.
    unsafe {
        #[cfg(feature = "pg18")]
        return &*pg_sys::TupleDescAttr(descriptor, place as i32);
        #[cfg(not(feature = "pg18"))]
        &(*descriptor).attrs.as_slice((*descriptor).natts as usize)[place]
    }
}

/// Whether a type is passed by value, and its length.
pub fn storage(type_oid: pg_sys::Oid) -> (bool, i32) {
    let (mut length, mut by_value, mut align) = (0_i16, false, 0);
    // SAFETY: the out-pointers are live.
    unsafe {
        pg_sys::get_typlenbyvalalign(type_oid, &raw mut length, &raw mut by_value, &raw mut align);
    }
    (by_value, i32::from(length))
}

unsafe extern "C-unwind" {
    fn datumCopy(value: pg_sys::Datum, by_value: bool, length: i32) -> pg_sys::Datum;
    fn datum_image_eq(a: pg_sys::Datum, b: pg_sys::Datum, by_value: bool, length: i32) -> bool;
}

/// A copy of a value in the current memory context.
///
/// # Safety
/// The datum is of a type that is stored so.
pub unsafe fn copy(value: pg_sys::Datum, (by_value, length): (bool, i32)) -> pg_sys::Datum {
    // SAFETY: as the caller says.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| datumCopy(value, by_value, length)) }
}

/// Whether two values are the same bytes.
///
/// # Safety
/// Both datums are of a type that is stored so.
pub unsafe fn same(a: pg_sys::Datum, b: pg_sys::Datum, (by_value, length): (bool, i32)) -> bool {
    if by_value {
        return a == b;
    }
    // SAFETY: as the caller says.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| datum_image_eq(a, b, by_value, length)) }
}
