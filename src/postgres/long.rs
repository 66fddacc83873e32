//! Numerics of any length, which only the server itself computes with.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::memory::Memory;
use super::numeric::{Stored, out_of_range};
use super::varlena;
use crate::error::Result;
use gemba_core::metrics::Sum;
use pgrx::pg_sys::{self, Datum};
use pgrx::{AnyNumeric, IntoDatum};

/// A numeric in one piece.
#[derive(Debug, Clone, Copy)]
pub struct Long(Datum);

impl Long {
    /// A copy of a stored number, in the current memory context.
    pub fn of(number: &Stored) -> Self {
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
        AnyNumeric::try_from(sum.text().as_str())
            .ok()
            .and_then(IntoDatum::into_datum)
            .map(Self)
            .ok_or_else(too_long)
    }

    /// Both together, as the server adds them, which raises `22003` when they are too large.
    ///
    /// # Errors
    /// None but that.
    pub fn plus(self, other: Self) -> Result<Self> {
        // SAFETY: both are numerics, and their sum is none that is null.
        let sum = unsafe {
            pgrx::direct_function_call_as_datum(pg_sys::numeric_add, &[Some(self.0), Some(other.0)])
        };
        sum.map(Self).ok_or_else(too_long)
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
