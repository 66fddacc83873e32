//! Expressions that cut time into buckets, as the planner sees them.
//!
//! Rows of a segment are in order of time, so those of one bucket lie together, provided that the expression never
//! comes back to a bucket that it has left. That holds for the functions below while the clocks of the zones that
//! they look at are not changed; where they are changed, [`super::windows`] begins anew. What is none of these
//! is computed row by row.

#![expect(unsafe_code, reason = "reads the planner's expressions")]

use crate::engine::history::layout::Layout;
use pgrx::PgList;
use pgrx::prelude::*;
use std::ffi::CStr;

// The server's functions by their oids, which are the same in every version.
const DATE_TRUNC_TZ: u32 = 1217;
const DATE_TRUNC_ZONE: u32 = 1284;
const DATE_TRUNC: u32 = 2020;
const DATE_BIN: u32 = 6177;
const DATE_BIN_TZ: u32 = 6178;
/// `timestamptz AT TIME ZONE zone`
const TO_LOCAL: u32 = 1159;
/// `timestamp AT TIME ZONE zone`
const TO_INSTANT: u32 = 2069;
const DATE_TO_TIMESTAMP: u32 = 2024;

/// How buckets are found.
pub enum Buckets {
    /// `gemba.bucket_start(width, time, zone)`: by the engine's own calendar.
    Calendar {
        width: *mut pg_sys::Expr,
        zone: *mut pg_sys::Expr,
    },
    /// By asking the server where `inner` changes.
    Asked {
        inner: *mut pg_sys::Expr,
        zones: Vec<*mut pg_sys::Expr>,
        /// The session's time zone decides as well.
        session: bool,
    },
}

/// What it takes to find the buckets of an expression; none where it has to be computed row by row.
///
/// # Safety
/// The planner's expression.
pub unsafe fn recognise(
    layout: &Layout,
    table: pg_sys::Index,
    expression: *mut pg_sys::Expr,
) -> Option<Buckets> {
    // SAFETY: as the caller says; each cast follows the node's own tag.
    unsafe {
        if let Some((function, arguments)) = call(expression) {
            if is_bucket_start(function) {
                let [width, time, zone] = arguments[..] else {
                    return None;
                };
                return (is_constant(width, table)
                    && is_constant(zone, table)
                    && is_time(layout, table, time))
                .then_some(Buckets::Calendar { width, zone });
            }
            // Only what is inside is asked where it changes: two local times may be one instant.
            if let (TO_INSTANT, [zone, local]) = (u32::from(function), &arguments[..]) {
                return is_constant(*zone, table)
                    .then(|| asked(layout, table, *local))
                    .flatten();
            }
        }
        asked(layout, table, expression)
    }
}

unsafe fn asked(
    layout: &Layout,
    table: pg_sys::Index,
    inner: *mut pg_sys::Expr,
) -> Option<Buckets> {
    let mut zones = Vec::new();
    let mut session = false;
    // SAFETY: as the caller says.
    let steady = unsafe { is_steady(layout, table, inner, &mut zones, &mut session) };
    let by_zone = zones.len() + usize::from(session);
    // Of two zones one might go back where the other does not; and a date has no clock.
    let time = layout.columns[layout.order].type_oid;
    let fits = by_zone == 0 || by_zone == 1 && time == pg_sys::TIMESTAMPTZOID;
    (steady && fits).then_some(Buckets::Asked {
        inner,
        zones,
        session,
    })
}

/// Does the expression ascend with the time, apart from changes of the clocks?
unsafe fn is_steady(
    layout: &Layout,
    table: pg_sys::Index,
    expression: *mut pg_sys::Expr,
    zones: &mut Vec<*mut pg_sys::Expr>,
    session: &mut bool,
) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        if is_time(layout, table, expression) {
            return true;
        }
        let Some((function, arguments)) = call(expression) else {
            return false;
        };
        let inner = match (u32::from(function), &arguments[..]) {
            (DATE_TRUNC, [unit, inner]) if is_constant(*unit, table) => inner,
            (DATE_TRUNC_TZ, [unit, inner]) if is_constant(*unit, table) => {
                if *session {
                    return false;
                }
                *session = true;
                inner
            }
            (DATE_TRUNC_ZONE, [unit, inner, zone])
                if is_constant(*unit, table) && is_constant(*zone, table) =>
            {
                zones.push(*zone);
                inner
            }
            (DATE_BIN | DATE_BIN_TZ, [width, inner, origin])
                if is_constant(*width, table) && is_constant(*origin, table) =>
            {
                inner
            }
            (TO_LOCAL, [zone, inner]) if is_constant(*zone, table) => {
                zones.push(*zone);
                inner
            }
            (DATE_TO_TIMESTAMP, [inner]) => inner,
            _ => return false,
        };
        is_steady(layout, table, *inner, zones, session)
    }
}

/// The function that an expression calls, and its arguments.
unsafe fn call(expression: *mut pg_sys::Expr) -> Option<(pg_sys::Oid, Vec<*mut pg_sys::Expr>)> {
    // SAFETY: the cast follows the node's own tag.
    unsafe {
        if (*expression).type_ != pg_sys::NodeTag::T_FuncExpr {
            return None;
        }
        let call = &*expression.cast::<pg_sys::FuncExpr>();
        let arguments = PgList::<pg_sys::Expr>::from_pg(call.args)
            .iter_ptr()
            .collect();
        Some((call.funcid, arguments))
    }
}

fn is_bucket_start(function: pg_sys::Oid) -> bool {
    if u32::from(function) < pg_sys::FirstNormalObjectId {
        return false;
    }
    let is = |name: *mut std::ffi::c_char, wanted: &CStr| {
        // SAFETY: the catalog's name, or null where there is none any more.
        !name.is_null() && unsafe { CStr::from_ptr(name) } == wanted
    };
    // SAFETY: look-ups in the system caches.
    unsafe {
        is(pg_sys::get_func_name(function), c"bucket_start")
            && is(
                pg_sys::get_namespace_name(pg_sys::get_func_namespace(function)),
                c"gemba",
            )
    }
}

unsafe fn is_time(layout: &Layout, table: pg_sys::Index, expression: *mut pg_sys::Expr) -> bool {
    // SAFETY: the cast follows the node's own tag.
    unsafe {
        if (*expression).type_ != pg_sys::NodeTag::T_Var {
            return false;
        }
        let var = &*expression.cast::<pg_sys::Var>();
        var.varno as pg_sys::Index == table
            && var.varlevelsup == 0
            && i32::from(var.varattno) == layout.order as i32 + 1
    }
}

unsafe fn is_constant(expression: *mut pg_sys::Expr, table: pg_sys::Index) -> bool {
    // SAFETY: the planner's expression.
    unsafe {
        crate::engine::history::select::columns_of(expression.cast(), table).is_empty()
            && !pg_sys::contain_volatile_functions(expression.cast())
            && !pg_sys::contain_subplans(expression.cast())
    }
}
