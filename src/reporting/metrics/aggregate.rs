//! `reporting.metrics_sum` as the server calls it: an aggregate whose running state is a [`State`].

#![expect(
    unsafe_code,
    reason = "aggregate functions, called by PostgreSQL itself"
)]

use super::object;
use super::state::State;
use crate::error::{Error, OrRaise};
use crate::postgres::c_function::{Call, aggregate_memory, argument, c_function, null};
use crate::postgres::memory::Memory;
use crate::postgres::varlena;
use pgrx::prelude::*;

#[rustfmt::skip]
mod exported {
    use super::*;

    c_function!(gemba_metrics_add, pg_finfo_gemba_metrics_add, add());
    c_function!(gemba_metrics_combine, pg_finfo_gemba_metrics_combine, combine());
    c_function!(gemba_metrics_serialize, pg_finfo_gemba_metrics_serialize, serialize());
    c_function!(gemba_metrics_deserialize, pg_finfo_gemba_metrics_deserialize, deserialize());
    c_function!(gemba_metrics_final, pg_finfo_gemba_metrics_final, finish());
}

/// # Safety
/// The argument is an internal that one of these functions returned, or null.
unsafe fn state(fcinfo: Call, number: usize) -> Option<*mut State> {
    // SAFETY: only these functions return this internal, and it lives in the aggregate's memory.
    unsafe { argument(fcinfo, number) }.map(|datum| datum.cast_mut_ptr::<State>())
}

/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL.
unsafe fn memory(fcinfo: Call) -> Memory {
    // SAFETY: as above.
    unsafe { aggregate_memory(fcinfo, "call reporting.metrics_sum") }
}

/// Adds a document to the state. NULL is nothing, but an object without keys is something.
///
/// # Safety
/// The arguments are a state and a jsonb.
unsafe fn add(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: the arguments are as declared; the state is ours alone.
    unsafe {
        let kept = state(fcinfo, 0);
        match (argument(fcinfo, 1), kept) {
            (None, None) => null(fcinfo),
            (None, Some(kept)) => kept.into(),
            (Some(document), kept) => {
                let document = varlena::bytes(document);
                varlena::prefetch(document);
                let memory = memory(fcinfo);
                let kept = kept.unwrap_or_else(|| memory.keep(State::EMPTY));
                let object = object(document).or_raise();
                (*kept).add(memory, &object).or_raise();
                kept.into()
            }
        }
    }
}

/// # Safety
/// Both arguments are states.
unsafe fn combine(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: the second state may live shorter than this aggregate, so what it has is copied.
    unsafe {
        match (state(fcinfo, 0), state(fcinfo, 1)) {
            (None, None) => null(fcinfo),
            (Some(kept), None) => kept.into(),
            (kept, Some(other)) => {
                let memory = memory(fcinfo);
                let kept = kept.unwrap_or_else(|| memory.keep(State::EMPTY));
                (*kept).merge(memory, &*other).or_raise();
                kept.into()
            }
        }
    }
}

/// # Safety
/// The argument is a state; the server never calls this with a null.
unsafe fn serialize(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: as above.
    unsafe {
        match state(fcinfo, 0) {
            None => null(fcinfo),
            Some(state) => varlena::of_bytes(&(*state).bytes()),
        }
    }
}

/// # Safety
/// The first argument is the bytea that [`serialize`] made.
unsafe fn deserialize(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: a bytea, read within its length. What is made of it goes into the aggregate by way of
    // combine, which copies it, so that the memory of this call is enough.
    unsafe {
        let Some(bytes) = argument(fcinfo, 0) else {
            return null(fcinfo);
        };
        memory(fcinfo);
        let memory = Memory::current();
        let state = State::from_bytes(memory, varlena::bytes(bytes))
            .ok_or_else(|| Error::state("the state of an aggregate is damaged"))
            .or_raise();
        memory.keep(state).into()
    }
}

/// # Safety
/// The first argument is a state.
unsafe fn finish(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: a final function only reads the state.
    unsafe {
        match state(fcinfo, 0) {
            None => null(fcinfo),
            Some(state) => (*state).jsonb().or_raise(),
        }
    }
}
