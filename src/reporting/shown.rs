//! Whether a workflow is shown to the caller. Policies of tables with many rows ask this for each row, of few
//! workflows: what was answered once is remembered as long as the query runs.
//!
//! It is asked by workflow, and not answered with all workflows that are shown, because those of public
//! dashboards may be very many.

#![expect(unsafe_code, reason = "a function that keeps something between calls")]

use crate::error::{OrRaise, Result};
use crate::postgres::c_function::{Call, argument, c_function, kept, null};
use crate::postgres::plan::Plan;
use crate::postgres::seen::Seen;
use crate::postgres::{caller, role};
use pgrx::IntoDatum;
use pgrx::prelude::*;
use std::collections::HashMap;

thread_local! {
    static SHOWN: Plan = const { Plan::new(
        c"SELECT EXISTS (
            SELECT FROM reporting.dashboard_sources s JOIN reporting.dashboards d ON d.id = s.dashboard_id
             WHERE s.workflow_id = $1
               AND (d.is_public OR d.user_id = $2
                    OR EXISTS (SELECT FROM reporting.dashboard_shares h
                                WHERE h.dashboard_id = s.dashboard_id AND h.shared_with_user_id = $2)))",
        &[pg_sys::UUIDOID, pg_sys::UUIDOID],
    ) };
}

#[rustfmt::skip]
mod exported {
    use super::*;

    c_function!(gemba_is_shown, pg_finfo_gemba_is_shown, is_shown());
}

/// What one place in a running query has found out so far.
struct Answers {
    seen: Seen,
    user: Option<pgrx::Uuid>,
    /// Rows of one workflow mostly come one after the other.
    last: Option<(pgrx::Uuid, bool)>,
    by_workflow: HashMap<pgrx::Uuid, bool>,
}

impl Answers {
    fn none_yet(seen: Seen) -> Result<Self> {
        Ok(Self {
            seen,
            user: caller::user()?,
            last: None,
            by_workflow: HashMap::new(),
        })
    }
}

/// # Safety
/// The argument is a uuid, and never null: the function is strict.
unsafe fn is_shown(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: as declared.
    let workflow = unsafe {
        let Some(datum) = argument(fcinfo, 0) else {
            return null(fcinfo);
        };
        pgrx::Uuid::from_polymorphic_datum(datum, false, pg_sys::UUIDOID)
    };
    let shown = workflow
        .map_or(Ok(false), |workflow| {
            // SAFETY: as above.
            unsafe { answer(fcinfo, workflow) }
        })
        .or_raise();
    shown.into_datum().unwrap_or(pg_sys::Datum::null())
}

/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL.
unsafe fn answer(fcinfo: Call, workflow: pgrx::Uuid) -> Result<bool> {
    let seen = Seen::now();
    // SAFETY: the places of this function keep answers, and what is asked below does not call it for the same place.
    let Some(known) = (unsafe { kept(fcinfo, || Answers::none_yet(seen))? }) else {
        return ask(workflow, caller::user()?);
    };
    if known.seen != seen {
        *known = Answers::none_yet(seen)?;
    }
    if let Some((last, shown)) = known.last
        && last == workflow
    {
        return Ok(shown);
    }
    let shown = match known.by_workflow.get(&workflow) {
        Some(shown) => *shown,
        None => ask(workflow, known.user)?,
    };
    known.by_workflow.insert(workflow, shown);
    known.last = Some((workflow, shown));
    Ok(shown)
}

/// With the extension's rights: the tables' policies refer to each other.
fn ask(workflow: pgrx::Uuid, user: Option<pgrx::Uuid>) -> Result<bool> {
    let Some(user) = user else {
        return Ok(false);
    };
    role::with_pinned_search_path(|| {
        role::as_extension(|| {
            let found = SHOWN.with(|plan| {
                plan.all(&[workflow.into(), user.into()], |row| row.need::<bool>(1))
            })?;
            Ok(found.first() == Some(&true))
        })
    })
}
