//! Numerics of any length, which only the server itself computes with.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::memory::Memory;
use super::numeric::{Stored, out_of_range};
use super::varlena;
use crate::error::Result;
use gemba_core::metrics::Sum;
use pgrx::pg_sys::{self, Datum};
use pgrx::{AnyNumeric, IntoDatum};
use std::cmp::Ordering;
use std::ffi::CStr;

type Operator = unsafe fn(pg_sys::FunctionCallInfo) -> Datum;

/// A numeric in one piece.
#[derive(Debug, Clone, Copy)]
pub struct Long(Datum);

impl Long {
    /// A copy of a stored number, in the current memory context.
    pub fn of(number: Stored) -> Self {
        Self(varlena::of_bytes(number.body()))
    }

    /// The sum, with the decimals that it shows.
    ///
    /// # Errors
    /// `22003` when it has more digits than a numeric can, which no sum of 128 bits has.
    pub fn of_sum(sum: Sum) -> Result<Self> {
        if let Some(mantissa) = sum.mantissa() {
            // SAFETY: returns a palloc'd numeric; every i64 and every scale of a numeric is valid input.
            let numeric =
                unsafe { pg_sys::int64_div_fast_to_numeric(mantissa, sum.scale().into()) };
            return Ok(Self(Datum::from(numeric)));
        }
        Self::of_text(&sum.text())
    }

    /// A number as it is written.
    ///
    /// # Errors
    /// `22003` when it is none.
    pub fn of_text(text: &str) -> Result<Self> {
        AnyNumeric::try_from(text)
            .ok()
            .and_then(IntoDatum::into_datum)
            .map(Self)
            .ok_or_else(too_long)
    }

    /// Both together, as the server adds them, which raises `22003` when they are too large.
    ///
    /// # Errors
    /// None but that; as for the operators that follow.
    pub fn plus(self, other: Self) -> Result<Self> {
        self.with(pg_sys::numeric_add, other.0)
    }

    pub fn minus(self, other: Self) -> Result<Self> {
        self.with(pg_sys::numeric_sub, other.0)
    }

    pub fn times(self, other: Self) -> Result<Self> {
        self.with(pg_sys::numeric_mul, other.0)
    }

    /// Raises `22012` where the other one is zero.
    pub fn over(self, other: Self) -> Result<Self> {
        self.with(pg_sys::numeric_div, other.0)
    }

    /// Half away from zero.
    pub fn rounded(self, scale: u16) -> Result<Self> {
        self.with(pg_sys::numeric_round, Datum::from(i32::from(scale)))
    }

    fn with(self, operator: Operator, other: Datum) -> Result<Self> {
        // SAFETY: operators of numerics, each with what it wants beside the first, and none is ever null.
        let result =
            unsafe { pgrx::direct_function_call_as_datum(operator, &[Some(self.0), Some(other)]) };
        result.map(Self).ok_or_else(too_long)
    }

    pub fn compared(self, other: Self) -> Ordering {
        // SAFETY: as above.
        let order = unsafe {
            pgrx::direct_function_call::<i32>(pg_sys::numeric_cmp, &[Some(self.0), Some(other.0)])
        };
        order.unwrap_or_default().cmp(&0)
    }

    /// As it is written.
    ///
    /// # Errors
    /// None: what is a number can be written.
    pub fn text(self) -> Result<String> {
        // SAFETY: a numeric in one piece; what is written is a C string.
        let text =
            unsafe { pgrx::direct_function_call::<&CStr>(pg_sys::numeric_out, &[Some(self.0)]) };
        text.map(|text| text.to_string_lossy().into_owned())
            .ok_or_else(too_long)
    }

    pub fn datum(self) -> Datum {
        self.0
    }
}

fn too_long() -> crate::error::Error {
    out_of_range("it has too many digits")
}

/// A sum of such numbers that outlives a call. Only a handle: of its copies one may be added to.
#[derive(Debug, Clone, Copy)]
pub struct LongSum(Option<Long>);

impl LongSum {
    pub const NOTHING: Self = Self(None);

    /// # Errors
    /// As for [`Long::plus`].
    pub fn add(&mut self, memory: Memory, number: Long) -> Result<()> {
        let sum = match self.0 {
            Some(sum) => sum.plus(number)?,
            None => number,
        };
        // SAFETY: a numeric in one piece, and what was kept before was kept here.
        unsafe {
            let kept = Long(memory.keep_varlena(sum.0));
            if let Some(before) = self.0.replace(kept) {
                pg_sys::pfree(before.0.cast_mut_ptr());
            }
        }
        Ok(())
    }

    pub fn get(&self) -> Option<Long> {
        self.0
    }

    /// Without the length in front; nothing, when nothing was added.
    pub fn body(&self) -> &[u8] {
        // SAFETY: what is kept lives as long as this.
        self.0.map_or(&[], |sum| unsafe { varlena::bytes(sum.0) })
    }
}
