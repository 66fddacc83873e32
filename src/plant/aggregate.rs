//! `plant.oee_agg` and its relatives: aggregates whose running state is a `gemba_core::oee::State`, and how
//! many rows are in it.
//!
//! All four share their parts. A row's state is added (`_oee_add` from the five inputs, `_oee_add_state`
//! from a stored state) or taken away again when a window moves on, which is exact; the final functions
//! give the ratios or the state itself.

#![expect(
    unsafe_code,
    reason = "aggregate functions, called by PostgreSQL itself"
)]

use super::formulas;
use crate::error::{Error, OrRaise, Result};
use crate::postgres::c_function::{Call, aggregate_memory, argument, c_function, null};
use crate::postgres::composite::{Composite, composite, fields};
use crate::postgres::{numeric, varlena};
use gemba_core::fixed::Fixed;
use gemba_core::oee::{Ideal, Invalid, Production, State};
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;

#[rustfmt::skip]
mod exported {
    use super::*;

    c_function!(gemba_oee_add, pg_finfo_gemba_oee_add, change(inputs, Running::with));
    c_function!(gemba_oee_remove, pg_finfo_gemba_oee_remove, change(inputs, Running::without));
    c_function!(gemba_oee_add_state, pg_finfo_gemba_oee_add_state, change(stored, Running::with));
    c_function!(gemba_oee_remove_state, pg_finfo_gemba_oee_remove_state, change(stored, Running::without));
    c_function!(gemba_oee_combine, pg_finfo_gemba_oee_combine, combine());
    c_function!(gemba_oee_serialize, pg_finfo_gemba_oee_serialize, serialize());
    c_function!(gemba_oee_deserialize, pg_finfo_gemba_oee_deserialize, deserialize());
    c_function!(gemba_oee_final_figures, pg_finfo_gemba_oee_final_figures, finish(figures_value));
    c_function!(gemba_oee_final_state, pg_finfo_gemba_oee_final_state, finish(state_value));
}

/// A stored state's fields, in the order of [`State::parts`].
const PARTS: usize = 7;

/// What an aggregate has seen so far. Of no rows there is no result, also when a moving window has let
/// go of all it had.
#[derive(Clone, Copy, Default)]
struct Running {
    rows: u64,
    state: State,
}

impl Running {
    fn with(&self, state: &State) -> Option<Self> {
        Some(Self {
            rows: self.rows.checked_add(1)?,
            state: self.state.merged(state)?,
        })
    }

    fn without(&self, state: &State) -> Option<Self> {
        Some(Self {
            rows: self.rows.checked_sub(1)?,
            state: self.state.without(state)?,
        })
    }

    fn merged(&self, other: &Self) -> Option<Self> {
        Some(Self {
            rows: self.rows.checked_add(other.rows)?,
            state: self.state.merged(&other.state)?,
        })
    }
}

/// # Safety
/// The first argument is an internal that one of these functions returned, or null.
unsafe fn running(fcinfo: Call) -> Option<*mut Running> {
    // SAFETY: only these functions return this internal, and it lives in the aggregate's memory.
    unsafe { argument(fcinfo, 0) }.map(|datum| datum.cast_mut_ptr::<Running>())
}

/// A new running state in the memory that lives as long as the aggregate.
///
/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL.
unsafe fn keep(fcinfo: Call, running: Running) -> *mut Running {
    // SAFETY: the call is PostgreSQL's.
    unsafe {
        aggregate_memory(
            fcinfo,
            "call plant.oee_agg, plant.oee_state_agg or plant.oee_merge",
        )
    }
    .keep(running)
}

/// Adds a row to the running state, or takes one away. Rows with a NULL among their inputs do not count.
///
/// # Safety
/// The first argument is the running state.
unsafe fn change(
    fcinfo: Call,
    row: unsafe fn(Call) -> Result<Option<State>>,
    by: fn(&Running, &State) -> Option<Running>,
) -> pg_sys::Datum {
    // SAFETY: the arguments are as declared; the running state is ours alone. Moving windows must never
    // see a null, so there is one from the first row on, whatever that is.
    unsafe {
        let kept = running(fcinfo).unwrap_or_else(|| keep(fcinfo, Running::default()));
        if let Some(state) = row(fcinfo).or_raise() {
            *kept = by(&*kept, &state).ok_or_else(too_large).or_raise();
        }
        kept.into()
    }
}

fn too_large() -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        "the sums of the aggregate are too large",
    )
    .detail("more than 26 digits before the point")
    .hint("aggregate fewer rows")
}

/// The state of a row's five inputs: planned minutes, downtime minutes, ideal cycle seconds, total, good.
///
/// # Safety
/// The arguments are declared as these, after the running state.
unsafe fn inputs(fcinfo: Call) -> Result<Option<State>> {
    // SAFETY: three numerics and two bigints, each looked at for null.
    unsafe {
        let (Some(planned), Some(down), Some(cycle), Some(total), Some(good)) = (
            argument(fcinfo, 1),
            argument(fcinfo, 2),
            argument(fcinfo, 3),
            argument(fcinfo, 4),
            argument(fcinfo, 5),
        ) else {
            return Ok(None);
        };
        let state = State::of(&Production {
            planned_minutes: numeric::fixed(planned)?,
            downtime_minutes: numeric::fixed(down)?,
            ideal: Ideal::CycleSeconds(numeric::fixed(cycle)?),
            total_count: total.value() as i64,
            good_count: good.value() as i64,
        })?;
        Ok(Some(state))
    }
}

/// The state of a row's second argument, a `plant.oee_state`.
///
/// # Safety
/// It is declared as that.
unsafe fn stored(fcinfo: Call) -> Result<Option<State>> {
    // SAFETY: the type is as declared.
    unsafe { argument(fcinfo, 1).map_or(Ok(None), |datum| state_of(datum)) }
}

/// The state that a `plant.oee_state` holds; none when any of its fields is NULL.
///
/// # Safety
/// The datum is of that type.
pub unsafe fn state_of(datum: pg_sys::Datum) -> Result<Option<State>> {
    let mut parts = [Fixed::ZERO; PARTS];
    // SAFETY: the caller vouches for the type, whose fields are all numeric.
    unsafe {
        for (part, field) in parts.iter_mut().zip(fields::<PARTS>(datum)?) {
            match field {
                Some(value) => *part = numeric::fixed(value)?,
                None => return Ok(None),
            }
        }
    }
    Ok(Some(State::from_parts(parts).map_err(
        |invalid: Invalid| {
            Error::invalid(format!("in a plant.oee_state, {invalid}"))
                .detail(format!("{} {}", invalid.field, invalid.value))
                .hint("make states with plant.oee_state_agg and plant.oee_merge")
        },
    )?))
}

fn figures_value(state: &State) -> Result<Composite> {
    formulas::figures(&state.figures())
}

/// A state as a `plant.oee_state`.
fn state_value(state: &State) -> Result<Composite> {
    let fields = state.parts().map(numeric::of_fixed);
    // SAFETY: all fields of the type are numeric.
    unsafe { composite("plant.oee_state", &fields) }
}

/// # Safety
/// Both arguments are running states.
unsafe fn combine(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: the second state may belong to another aggregate's memory, so it is copied.
    unsafe {
        let other = argument(fcinfo, 1).map(|datum| datum.cast_mut_ptr::<Running>());
        match (running(fcinfo), other) {
            (None, None) => null(fcinfo),
            (Some(kept), None) => kept.into(),
            (None, Some(other)) => keep(fcinfo, *other).into(),
            (Some(kept), Some(other)) => {
                *kept = (*kept).merged(&*other).ok_or_else(too_large).or_raise();
                kept.into()
            }
        }
    }
}

/// # Safety
/// The argument is a running state; the server never calls this with a null.
unsafe fn serialize(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: as above.
    unsafe {
        let Some(running) = running(fcinfo) else {
            return null(fcinfo);
        };
        let bytes: Vec<u8> = (*running)
            .rows
            .to_be_bytes()
            .into_iter()
            .chain(
                (*running)
                    .state
                    .parts()
                    .into_iter()
                    .flat_map(|part| part.0.to_be_bytes()),
            )
            .collect();
        bytes.into_datum().unwrap_or_else(|| null(fcinfo))
    }
}

/// # Safety
/// The first argument is the bytea that [`serialize`] made.
unsafe fn deserialize(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: a bytea, read within its length.
    unsafe {
        let Some(datum) = argument(fcinfo, 0) else {
            return null(fcinfo);
        };
        let bytes = varlena::bytes(datum);
        let (rows, bytes) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let mut parts = [Fixed::ZERO; PARTS];
        for (part, bytes) in parts.iter_mut().zip(bytes.as_chunks().0) {
            *part = Fixed(i128::from_be_bytes(*bytes));
        }
        let running = Running {
            rows: u64::from_be_bytes(*rows),
            state: State::from_parts(parts).map_err(Error::from).or_raise(),
        };
        keep(fcinfo, running).into()
    }
}

/// # Safety
/// The first argument is a running state.
unsafe fn finish(fcinfo: Call, value: fn(&State) -> Result<Composite>) -> pg_sys::Datum {
    // SAFETY: a final function only reads the state.
    unsafe {
        match running(fcinfo).filter(|running| (**running).rows > 0) {
            None => null(fcinfo),
            Some(running) => value(&(*running).state)
                .or_raise()
                .into_datum()
                .unwrap_or_else(|| null(fcinfo)),
        }
    }
}

/// A `plant.oee_state` as an argument.
pub struct Stored(pub State);

impl FromDatum for Stored {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller vouches for the type.
        unsafe { state_of(datum) }.or_raise().map(Self)
    }
}

// SAFETY: declared as what the install script calls the type.
unsafe impl SqlTranslatable for Stored {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Stored);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal("plant.oee_state"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("plant.oee_state")));
}

// SAFETY: an argument is read by its datum, as declared above. A state with NULLs in it is an empty one.
unsafe impl<'fcx> ArgAbi<'fcx> for Stored {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the server passes what the function was declared with.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Self(State::default()))
    }
}

/// The ratios of a stored state.
#[pg_extern(
    schema = "plant",
    name = "oee_figures",
    immutable,
    parallel_safe,
    strict,
    requires = ["plant_types"]
)]
#[search_path(pg_catalog, pg_temp)]
fn figures_of_state(
    state: Stored,
) -> Result<pgrx::composite_type!('static, "plant.oee_figures"), ErrorReport> {
    Ok(figures_value(&state.0)?)
}
