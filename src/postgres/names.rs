//! Lists of names, SQL's `name[]`.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;
use std::ffi::CStr;

/// A `name[]` argument, without its NULLs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl FromDatum for Names {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        let (mut values, mut nulls) = (std::ptr::null_mut(), std::ptr::null_mut());
        let mut count = 0;
        // SAFETY: the caller vouches for the type, whose elements are names of a fixed length, each ended by
        // a zero; the server fills both arrays with as many as it says.
        unsafe {
            pg_sys::deconstruct_array(
                pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast(),
                pg_sys::NAMEOID,
                pg_sys::NAMEDATALEN as i32,
                false,
                b'c' as std::ffi::c_char,
                &raw mut values,
                &raw mut nulls,
                &raw mut count,
            );
            let names = (0..count as usize)
                .filter(|&number| !*nulls.add(number))
                .map(|number| {
                    CStr::from_ptr((*values.add(number)).cast_mut_ptr())
                        .to_string_lossy()
                        .into_owned()
                });
            Some(Self(names.collect()))
        }
    }
}

// SAFETY: declared as what the server calls the type.
unsafe impl SqlTranslatable for Names {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Names);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("name[]"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("name[]")));
}

// SAFETY: an argument is read by its datum, as declared above.
unsafe impl<'fcx> ArgAbi<'fcx> for Names {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the server passes what the function was declared with.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_default()
    }
}
