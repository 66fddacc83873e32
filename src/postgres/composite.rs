//! Values of composite types.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use crate::error::{Error, Result};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::{
    AllocatedByRust, PgTupleDesc, heap_tuple_header_get_datum_length,
    heap_tuple_header_get_type_id, heap_tuple_header_get_typmod, pg_sys,
};

/// What a function returns that is declared to return a composite type.
pub type Composite = PgHeapTuple<'static, AllocatedByRust>;

/// A value of the composite type of this name, from its fields in order.
///
/// # Errors
/// Only when the type and the fields do not go together, which is a mistake of ours.
///
/// # Safety
/// The datums are of the types that the fields have.
pub unsafe fn composite(name: &str, fields: &[Option<pg_sys::Datum>]) -> Result<Composite> {
    let strange = |what: String| {
        Error::state("a type of the extension is not as it should be")
            .detail(format!("{name}: {what}"))
    };
    let descriptor = PgTupleDesc::for_composite_type(name)
        .ok_or_else(|| strange("it does not exist".to_owned()))?;
    // SAFETY: the caller vouches for the types, and the number is checked.
    unsafe { PgHeapTuple::from_datums(descriptor, fields.iter().copied()) }
        .map_err(|error| strange(error.to_string()))
}

/// The fields of a composite value, none where one is NULL.
///
/// # Errors
/// When the type has another number of fields, which is a mistake of ours.
///
/// # Safety
/// The datum is a composite value and not null.
pub unsafe fn fields<const N: usize>(datum: pg_sys::Datum) -> Result<[Option<pg_sys::Datum>; N]> {
    let mut values = [pg_sys::Datum::null(); N];
    let mut nulls = [true; N];
    // SAFETY: the header names the type, whose descriptor tells how many fields are written; there is room
    // for exactly these.
    unsafe {
        let header: pg_sys::HeapTupleHeader = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
        let descriptor = PgTupleDesc::from_pg(pg_sys::lookup_rowtype_tupdesc(
            heap_tuple_header_get_type_id(header),
            heap_tuple_header_get_typmod(header),
        ));
        if descriptor.len() != N {
            return Err(
                Error::state("a type of the extension is not as it should be")
                    .detail(format!("it has {} fields instead of {N}", descriptor.len())),
            );
        }
        let mut tuple = pg_sys::HeapTupleData {
            t_len: heap_tuple_header_get_datum_length(header) as u32,
            t_data: header,
            ..Default::default()
        };
        pg_sys::heap_deform_tuple(
            &raw mut tuple,
            descriptor.as_ptr(),
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
        );
    }
    let mut found = [None; N];
    for ((field, value), null) in found.iter_mut().zip(values).zip(nulls) {
        *field = (!null).then_some(value);
    }
    Ok(found)
}
