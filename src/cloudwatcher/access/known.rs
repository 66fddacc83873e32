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

thread_local! {
    static EVERYTHING_ASKED: Plan = const { Plan::new(
        c"SELECT a.order_id FROM cloudwatcher.order_approvals a WHERE a.approver_id = $1
          UNION
          SELECT a.order_id FROM cloudwatcher.approval_delegations d
            JOIN cloudwatcher.order_approvals a ON a.approver_id = d.approver_id AND a.status = 'pending'
           WHERE d.delegate_id = $1 AND d.starts_at <= pg_catalog.now() AND d.ends_at > pg_catalog.now()",
        &[pg_sys::UUIDOID],
    ) };
    // Whoever was asked about an order that is seen, from wherever he came to it.
    static WAS_ASKED_HERE: Plan = const { Plan::new(
        c"SELECT EXISTS (
            SELECT FROM cloudwatcher.order_approvals a JOIN cloudwatcher.orders o ON o.id = a.order_id
             WHERE a.approver_id = $1
               AND (o.dept_id = ANY ($2)
                    OR EXISTS (SELECT FROM cloudwatcher.order_approvals m
                                WHERE m.order_id = a.order_id AND m.approver_id = $3)))",
        &[pg_sys::UUIDOID, pg_sys::UUIDARRAYOID, pg_sys::UUIDOID],
    ) };
    static ALL_ASKED_HERE: Plan = const { Plan::new(
        c"SELECT a.approver_id FROM cloudwatcher.orders o JOIN cloudwatcher.order_approvals a ON a.order_id = o.id
           WHERE o.dept_id = ANY ($1)
          UNION
          SELECT a.approver_id FROM cloudwatcher.order_approvals m
            JOIN cloudwatcher.order_approvals a ON a.order_id = m.order_id
           WHERE m.approver_id = $2",
        &[pg_sys::UUIDARRAYOID, pg_sys::UUIDOID],
    ) };
}

/// So many people or orders are looked up one by one; a query that asks for more looks all of them up at once.
const FEW: usize = 32;

/// What was answered about some, or is known of all.
#[derive(Default)]
struct Answers {
    one_by_one: HashMap<Id, bool>,
    all: Option<HashSet<Id>>,
}

impl Answers {
    fn of(
        &mut self,
        about: Id,
        one: impl FnOnce() -> Result<bool>,
        all: impl FnOnce() -> Result<HashSet<Id>>,
    ) -> Result<bool> {
        if let Some(all) = &self.all {
            return Ok(all.contains(&about));
        }
        if let Some(answer) = self.one_by_one.get(&about) {
            return Ok(*answer);
        }
        if self.one_by_one.len() >= FEW {
            return Ok(self.all.insert(all()?).contains(&about));
        }
        let answer = one()?;
        self.one_by_one.insert(about, answer);
        Ok(answer)
    }
}

/// Found out step by step: most queries ask for little of it.
pub struct Known {
    user: pgrx::Uuid,
    permissions: HashSet<String>,
    departments: OnceCell<HashSet<Id>>,
    locations: OnceCell<HashSet<Id>>,
    circle: OnceCell<Circle>,
    people: RefCell<Answers>,
    asked: RefCell<Answers>,
}

/// Whom one knows.
struct Circle {
    /// Departments whose people are known: those that are seen and those above one's own.
    departments: HashSet<Id>,
    /// Oneself, and who may be asked to approve anything.
    people: HashSet<Id>,
}

impl Known {
    pub fn of(user: pgrx::Uuid) -> Result<Self> {
        let permissions = read(&PERMISSIONS, &[user.into()], |row| row.get::<String>(1))?;
        Ok(Self {
            user,
            permissions: permissions.into_iter().flatten().collect(),
            departments: OnceCell::new(),
            locations: OnceCell::new(),
            circle: OnceCell::new(),
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
    /// be asked to approve anything, or was asked about an order that one sees.
    pub fn sees_user(&self, who: Option<Id>) -> Result<bool> {
        if self.sees_all() {
            return Ok(true);
        }
        let Some(who) = who else {
            return Ok(false);
        };
        let circle = self.circle()?;
        self.people
            .borrow_mut()
            .of(who, || self.sees_one(circle, who), || self.all_seen(circle))
    }

    fn circle(&self) -> Result<&Circle> {
        if let Some(found) = self.circle.get() {
            return Ok(found);
        }
        let mut departments = self.departments()?.clone();
        departments.extend(ids(&ABOVE, &[self.user.into()])?);
        let mut people = ids(&APPROVES_ANY, &[])?;
        people.insert(*self.user.as_bytes());
        Ok(self.circle.get_or_init(|| Circle {
            departments,
            people,
        }))
    }

    fn sees_one(&self, circle: &Circle, who: Id) -> Result<bool> {
        if circle.people.contains(&who) {
            return Ok(true);
        }
        let person = pgrx::Uuid::from_bytes(who);
        let works_in = ids(&USERS_DEPARTMENTS, &[person.into()])?;
        if !works_in.is_disjoint(&circle.departments) {
            return Ok(true);
        }
        let asked = read(
            &WAS_ASKED_HERE,
            &[
                person.into(),
                self.departments_listed()?.into(),
                self.user.into(),
            ],
            |row| row.need::<bool>(1),
        )?;
        Ok(asked.first() == Some(&true))
    }

    fn all_seen(&self, circle: &Circle) -> Result<HashSet<Id>> {
        let pairs = read(&EVERYBODYS_DEPARTMENTS, &[], |row| {
            Ok((id(row.get::<pgrx::Uuid>(1)?), id(row.get::<pgrx::Uuid>(2)?)))
        })?;
        let mut all = circle.people.clone();
        all.extend(
            pairs
                .into_iter()
                .filter(|(_, department)| circle.departments.contains(department))
                .map(|(person, _)| person),
        );
        let listed = self.departments_listed()?;
        all.extend(ids(&ALL_ASKED_HERE, &[listed.into(), self.user.into()])?);
        Ok(all)
    }

    fn departments_listed(&self) -> Result<Vec<pgrx::Uuid>> {
        let departments = self.departments()?.iter();
        Ok(departments.map(|id| pgrx::Uuid::from_bytes(*id)).collect())
    }

    /// Has the user been asked to approve this order?
    pub fn is_asked(&self, order: Option<Id>) -> Result<bool> {
        let Some(order) = order else {
            return Ok(false);
        };
        let one = || {
            let found = read(
                &ASKED,
                &[pgrx::Uuid::from_bytes(order).into(), self.user.into()],
                |row| row.need::<bool>(1),
            )?;
            Ok(found.first() == Some(&true))
        };
        let all = || ids(&EVERYTHING_ASKED, &[self.user.into()]);
        self.asked.borrow_mut().of(order, one, all)
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
