//! What is known of one user's rights.

use crate::error::Result;
use crate::postgres::plan::Plan;
use crate::postgres::role;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::thread::LocalKey;

type Id = [u8; 16];

thread_local! {
    static PERMISSIONS: Plan = const { Plan::new(
        c"SELECT p.permission::text
            FROM cloudwatcher.users u
            JOIN cloudwatcher.user_roles h ON h.user_id = u.id
            JOIN cloudwatcher.role_permissions p ON p.role_id = h.role_id
           WHERE u.id = $1 AND u.is_active",
        &[pg_sys::UUIDOID],
    ) };
    // Where one works, and with $2 what is below it; what one manages, and what is below that.
    static DEPARTMENTS: Plan = const { Plan::new(
        c"WITH RECURSIVE seen AS (
            SELECT w.dept_id AS id, $2 AS deep FROM cloudwatcher.user_departments w WHERE w.user_id = $1
            UNION
            SELECT d.id, true FROM cloudwatcher.departments d WHERE d.manager_id = $1
            UNION
            SELECT d.id, true FROM seen s JOIN cloudwatcher.departments d ON d.parent_id = s.id WHERE s.deep)
          SELECT DISTINCT s.id FROM seen s
            JOIN cloudwatcher.users u ON u.id = $1 AND u.is_active",
        &[pg_sys::UUIDOID, pg_sys::BOOLOID],
    ) };
    static ABOVE: Plan = const { Plan::new(
        c"WITH RECURSIVE above AS (
            SELECT d.id, d.parent_id FROM cloudwatcher.departments d
             WHERE d.id = ANY (ARRAY(SELECT w.dept_id FROM cloudwatcher.user_departments w WHERE w.user_id = $1))
                OR d.manager_id = $1
            UNION
            SELECT d.id, d.parent_id FROM above a JOIN cloudwatcher.departments d ON d.id = a.parent_id)
          SELECT a.id FROM above a",
        &[pg_sys::UUIDOID],
    ) };
    static LOCATIONS: Plan = const { Plan::new(
        c"SELECT l.id, l.dept_id FROM cloudwatcher.locations l",
        &[],
    ) };
    static USERS_DEPARTMENTS: Plan = const { Plan::new(
        c"SELECT w.dept_id FROM cloudwatcher.user_departments w WHERE w.user_id = $1
          UNION ALL
          SELECT d.id FROM cloudwatcher.departments d WHERE d.manager_id = $1",
        &[pg_sys::UUIDOID],
    ) };
    static EVERYBODYS_DEPARTMENTS: Plan = const { Plan::new(
        c"SELECT w.user_id, w.dept_id FROM cloudwatcher.user_departments w
          UNION ALL
          SELECT d.manager_id, d.id FROM cloudwatcher.departments d WHERE d.manager_id IS NOT NULL",
        &[],
    ) };
    static APPROVES_ANY: Plan = const { Plan::new(
        c"SELECT DISTINCT h.user_id FROM cloudwatcher.role_permissions p
            JOIN cloudwatcher.user_roles h ON h.role_id = p.role_id
           WHERE p.permission = 'orders.approve_any'",
        &[],
    ) };
    static ASKED: Plan = const { Plan::new(
        c"SELECT EXISTS (
            SELECT FROM cloudwatcher.order_approvals a
             WHERE a.order_id = $1
               AND (a.approver_id = $2
                    OR a.status = 'pending' AND EXISTS (
                         SELECT FROM cloudwatcher.approval_delegations d
                          WHERE d.approver_id = a.approver_id AND d.delegate_id = $2
                            AND d.starts_at <= pg_catalog.now() AND d.ends_at > pg_catalog.now())))",
        &[pg_sys::UUIDOID, pg_sys::UUIDOID],
    ) };
}

/// So many people are looked up one by one; a query that asks for more looks all of them up at once.
const FEW: usize = 32;

/// Found out step by step: most queries ask for little of it.
pub struct Known {
    user: pgrx::Uuid,
    permissions: HashSet<String>,
    departments: OnceCell<HashSet<Id>>,
    locations: OnceCell<HashSet<Id>>,
    people: RefCell<People>,
    asked: RefCell<HashMap<Id, bool>>,
}

#[derive(Default)]
struct People {
    one_by_one: HashMap<Id, bool>,
    all: Option<HashSet<Id>>,
    /// Departments whose people are known: those that are seen and those above one's own.
    circle: Option<HashSet<Id>>,
    /// Who may be asked to approve anything.
    approvers: HashSet<Id>,
}

impl Known {
    pub fn of(user: pgrx::Uuid) -> Result<Self> {
        let permissions = read(&PERMISSIONS, &[user.into()], |row| row.get::<String>(1))?;
        Ok(Self {
            user,
            permissions: permissions.into_iter().flatten().collect(),
            departments: OnceCell::new(),
            locations: OnceCell::new(),
            people: RefCell::default(),
            asked: RefCell::default(),
        })
    }

    pub fn may(&self, permission: &str) -> bool {
        self.permissions.contains(permission)
    }

    pub fn permissions(&self) -> impl Iterator<Item = &String> {
        self.permissions.iter()
    }

    /// All departments, those that do not exist included.
    fn sees_all(&self) -> bool {
        self.may("departments.all")
    }

    /// What belongs to no department is seen by those who see all of them.
    pub fn sees_department(&self, department: Option<Id>) -> Result<bool> {
        if self.sees_all() {
            return Ok(true);
        }
        department.map_or(Ok(false), |id| Ok(self.departments()?.contains(&id)))
    }

    pub fn departments(&self) -> Result<&HashSet<Id>> {
        if let Some(found) = self.departments.get() {
            return Ok(found);
        }
        let deep = self.may("departments.subtree");
        let found = ids(&DEPARTMENTS, &[self.user.into(), deep.into()])?;
        Ok(self.departments.get_or_init(|| found))
    }

    pub fn sees_location(&self, location: Option<Id>) -> Result<bool> {
        if self.sees_all() {
            return Ok(true);
        }
        let Some(location) = location else {
            return Ok(false);
        };
        if let Some(found) = self.locations.get() {
            return Ok(found.contains(&location));
        }
        let departments = self.departments()?;
        let found = read(&LOCATIONS, &[], |row| {
            Ok((id(row.get::<pgrx::Uuid>(1)?), id(row.get::<pgrx::Uuid>(2)?)))
        })?;
        let found = found
            .into_iter()
            .filter(|(_, department)| departments.contains(department))
            .map(|(location, _)| location)
            .collect();
        Ok(self.locations.get_or_init(|| found).contains(&location))
    }

    /// Oneself, who works in or manages a department that one sees or that is above one's own, and whoever may
    /// be asked to approve anything.
    pub fn sees_user(&self, who: Option<Id>) -> Result<bool> {
        if self.sees_all() {
            return Ok(true);
        }
        let Some(who) = who else {
            return Ok(false);
        };
        let mut people = self.people.borrow_mut();
        let people = &mut *people;
        if let Some(all) = &people.all {
            return Ok(all.contains(&who));
        }
        if let Some(answer) = people.one_by_one.get(&who) {
            return Ok(*answer);
        }
        let circle = match &people.circle {
            Some(circle) => circle,
            None => {
                let mut circle = self.departments()?.clone();
                circle.extend(ids(&ABOVE, &[self.user.into()])?);
                people.approvers = ids(&APPROVES_ANY, &[])?;
                people.approvers.insert(*self.user.as_bytes());
                people.circle.insert(circle)
            }
        };
        if people.one_by_one.len() >= FEW {
            let pairs = read(&EVERYBODYS_DEPARTMENTS, &[], |row| {
                Ok((id(row.get::<pgrx::Uuid>(1)?), id(row.get::<pgrx::Uuid>(2)?)))
            })?;
            let mut all = people.approvers.clone();
            all.extend(
                pairs
                    .into_iter()
                    .filter(|(_, department)| circle.contains(department))
                    .map(|(person, _)| person),
            );
            return Ok(people.all.insert(all).contains(&who));
        }
        let answer = people.approvers.contains(&who)
            || ids(&USERS_DEPARTMENTS, &[pgrx::Uuid::from_bytes(who).into()])?
                .iter()
                .any(|department| circle.contains(department));
        people.one_by_one.insert(who, answer);
        Ok(answer)
    }

    /// Has the user been asked to approve this order, or somebody in whose place the user is now?
    pub fn is_asked(&self, order: Option<Id>) -> Result<bool> {
        let Some(order) = order else {
            return Ok(false);
        };
        if let Some(answer) = self.asked.borrow().get(&order) {
            return Ok(*answer);
        }
        let found = read(
            &ASKED,
            &[pgrx::Uuid::from_bytes(order).into(), self.user.into()],
            |row| row.need::<bool>(1),
        )?;
        let answer = found.first() == Some(&true);
        self.asked.borrow_mut().insert(order, answer);
        Ok(answer)
    }
}

fn id(found: Option<pgrx::Uuid>) -> Id {
    found.map(|id| *id.as_bytes()).unwrap_or_default()
}

fn ids(plan: &'static LocalKey<Plan>, arguments: &[DatumWithOid]) -> Result<HashSet<Id>> {
    let found = read(plan, arguments, |row| row.get::<pgrx::Uuid>(1))?;
    Ok(found
        .into_iter()
        .flatten()
        .map(|id| *id.as_bytes())
        .collect())
}

/// With the extension's rights.
pub(super) fn read<T>(
    plan: &'static LocalKey<Plan>,
    arguments: &[DatumWithOid],
    row: impl Fn(&crate::postgres::plan::Row) -> Result<T>,
) -> Result<Vec<T>> {
    role::with_pinned_search_path(|| {
        role::as_extension(|| plan.with(|plan| plan.all(arguments, |found| row(found))))
    })
}
