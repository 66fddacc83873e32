//! Who calls, as the application's tokens say it. Policies ask this once a query, so it has to be quick.

use super::plan::Plan;
use super::role;
use crate::error::Result;

thread_local! {
    static USER: Plan = const { Plan::new(c"SELECT auth.uid()", &[]) };
}

/// The user who is logged in. `auth.uid()` says who, which is somebody else's code: call this with the caller's
/// rights, never with the extension's.
pub fn user() -> Result<Option<pgrx::Uuid>> {
    let found = role::with_pinned_search_path(|| {
        USER.with(|plan| plan.all(&[], |row| row.get::<pgrx::Uuid>(1)))
    })?;
    Ok(found.into_iter().next().flatten())
}
