//! Plain C functions: those of aggregates, because the server's `internal` type has no counterpart that pgrx
//! could declare for all of them, and those that keep something between the calls of a query.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::memory::Memory;
use crate::error::{Error, OrRaise, Result};
use pgrx::pg_sys;

pub type Call = pg_sys::FunctionCallInfo;

/// Declares a function that the install script names, with the record by which the server knows how to
/// call it. The work is an unsafe function of the call.
macro_rules! c_function {
    ($name:ident, $info:ident, $work:ident($($argument:expr),*)) => {
        /// # Safety
        /// Called by PostgreSQL with the arguments that the install script declares.
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $name(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            // SAFETY: fcinfo is the argument of this very call.
            unsafe { $work(fcinfo $(, $argument)*) }
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            &pgrx::pg_sys::Pg_finfo_record { api_version: 1 }
        }
    };
}
pub(crate) use c_function;

/// # Safety
/// The function was declared with more than `number` arguments.
pub unsafe fn argument(fcinfo: Call, number: usize) -> Option<pg_sys::Datum> {
    // SAFETY: the caller vouches for the number.
    unsafe {
        let argument = &(*fcinfo).args.as_slice(number + 1)[number];
        (!argument.isnull).then_some(argument.value)
    }
}

/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL.
pub unsafe fn null(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: as above.
    unsafe { (*fcinfo).isnull = true }
    pg_sys::Datum::null()
}

/// What this place in a running query keeps between its calls, made by `first` at the first of them; None where
/// nothing can be kept.
///
/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL, and whatever function stands at a place keeps one type there.
/// What is returned is let go of before the place is called again.
pub unsafe fn kept<'a, T>(
    fcinfo: Call,
    first: impl FnOnce() -> Result<T>,
) -> Result<Option<&'a mut T>> {
    // SAFETY: as the caller says; it is kept in the memory that lives as long as the place does.
    unsafe {
        let place = (*fcinfo).flinfo;
        if place.is_null() {
            return Ok(None);
        }
        if (*place).fn_extra.is_null() {
            (*place).fn_extra = pgrx::PgMemoryContexts::For((*place).fn_mcxt)
                .leak_and_drop_on_delete(first()?)
                .cast();
        }
        Ok(Some(&mut *(*place).fn_extra.cast::<T>()))
    }
}

/// The memory that lives as long as the aggregate which this call is a part of.
///
/// # Errors
/// Raises `55000` when it is none; the hint says what to call.
///
/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL.
pub unsafe fn aggregate_memory(fcinfo: Call, hint: &str) -> Memory {
    let mut context = std::ptr::null_mut();
    // SAFETY: the out-pointer is live; states are not used after their aggregate.
    unsafe {
        if pg_sys::AggCheckCallContext(fcinfo, &raw mut context) == 0 {
            Err::<(), _>(Error::state("this function is part of an aggregate").hint(hint))
                .or_raise();
        }
        Memory::of(context)
    }
}
