//! One question about one user and one department, for functions that write: they ask once and are gone, so finding
//! out everything that [`super::Known`] keeps would cost more than what they do. The answers are the same.

use super::known::read;
use crate::error::Result;
use crate::postgres::plan::Plan;
use pgrx::prelude::*;

thread_local! {
    // From the department upwards: a tree has fewer levels than a subtree has departments.
    static ALLOWED: Plan = const { Plan::new(
        c"WITH RECURSIVE granted AS (
            SELECT bool_or(p.permission = $2) AS may, bool_or(p.permission = 'departments.all') AS everywhere,
                   bool_or(p.permission = 'departments.subtree') AS deep
              FROM cloudwatcher.users u
              JOIN cloudwatcher.user_roles h ON h.user_id = u.id
              JOIN cloudwatcher.role_permissions p ON p.role_id = h.role_id
             WHERE u.id = $1 AND u.is_active AND p.permission IN ($2, 'departments.all', 'departments.subtree')
          ), above AS (
            SELECT d.id, d.parent_id, d.manager_id, true AS itself FROM cloudwatcher.departments d WHERE d.id = $3
            UNION
            SELECT d.id, d.parent_id, d.manager_id, false
              FROM above a JOIN cloudwatcher.departments d ON d.id = a.parent_id)
          SELECT coalesce(g.may, false) AND (g.everywhere OR EXISTS (
                   SELECT FROM above a
                    WHERE a.manager_id = $1
                       OR (a.itself OR g.deep) AND EXISTS (
                            SELECT FROM cloudwatcher.user_departments w WHERE w.user_id = $1 AND w.dept_id = a.id)))
            FROM granted g",
        &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::UUIDOID],
    ) };
}

/// Has the user the permission, and sees he the department? (What belongs to none is seen by those who see all.)
pub fn allowed(user: pgrx::Uuid, permission: &str, department: Option<pgrx::Uuid>) -> Result<bool> {
    let arguments = [user.into(), permission.into(), department.into()];
    let found = read(&ALLOWED, &arguments, |row| row.get::<bool>(1))?;
    Ok(found.first() == Some(&Some(true)))
}
