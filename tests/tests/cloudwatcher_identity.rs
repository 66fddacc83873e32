//! Who may do what, and where: roles that add up, the tree of departments, and the policies that read them.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use gemba_tests::{expect_sqlstate, lines, table, value, wait_until};
use postgres::Client;

fn role(name: &str) -> String {
    format!("(SELECT id FROM cloudwatcher.roles WHERE name = '{name}')")
}

#[test]
fn everybody_sees_what_roles_and_departments_say() -> Result<()> {
    let (_db, mut client) = organised("identity_matrix")?;
    let cases: &[(&str, &[&str])] = &[
        (
            "SELECT FROM cloudwatcher.departments",
            &[
                "42501: anon",
                "0: stranger retired",
                "1: viewer a b c",
                "3: north",
                "2: south",
                "6: head admin service",
            ],
        ),
        (
            "SELECT FROM cloudwatcher.locations",
            &[
                "42501: anon",
                "0: stranger retired",
                "1: viewer a b c south",
                "3: north",
                "4: head admin service",
            ],
        ),
        (
            // Colleagues, superiors, and whoever may be asked to approve: admins.
            "SELECT FROM cloudwatcher.users",
            &[
                "42501: anon",
                "0: stranger",
                "1: retired",
                "6: viewer a",
                "5: b",
                "5: c south",
                "7: north",
                "9: head admin service",
            ],
        ),
        (
            "SELECT FROM cloudwatcher.user_roles",
            &[
                "42501: anon",
                "0: stranger",
                "1: retired",
                "6: viewer a",
                "5: b",
                "5: c south",
                "7: north",
                "9: head admin service",
            ],
        ),
        (
            "SELECT FROM cloudwatcher.user_departments",
            &[
                "42501: anon",
                "0: stranger retired",
                "2: viewer a",
                "1: b c south",
                "3: north",
                "4: head admin service",
            ],
        ),
        (
            "SELECT FROM cloudwatcher.roles",
            &[
                "42501: anon",
                "0: stranger retired",
                "4: viewer a b c north south head admin service",
            ],
        ),
        (
            "SELECT FROM cloudwatcher.role_permissions WHERE permission = 'orders.read'",
            &[
                "42501: anon",
                "0: stranger retired",
                "4: viewer a b c north south head admin service",
            ],
        ),
        (
            "SELECT FROM cloudwatcher.parts",
            &[
                "42501: anon",
                "0: stranger retired",
                "2: viewer a b c north south head admin service",
            ],
        ),
        (
            "SELECT FROM cloudwatcher.devices",
            &[
                "42501: anon",
                "0: stranger retired",
                "1: viewer a b c south",
                "2: north",
                "3: head admin service",
            ],
        ),
        (
            "SELECT FROM cloudwatcher.settings",
            &[
                "42501: anon",
                "0: stranger retired",
                "1: viewer a b c north south head admin service",
            ],
        ),
        (
            "SELECT FROM cloudwatcher.audit_logs WHERE table_name = 'nothing'",
            &[
                "42501: anon",
                "0: stranger retired viewer a b c north south head admin service",
            ],
        ),
    ];
    for (sql, expected) in cases {
        let found = outcomes(&mut client, sql);
        assert_eq!(sorted(&found), sorted(expected), "{sql}");
    }
    Ok(())
}

/// The people of each outcome, one by one: which outcome comes first does not matter.
fn sorted<T: AsRef<str>>(outcomes: &[T]) -> Vec<String> {
    let mut people: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().split_once(": "))
        .flat_map(|(came, names)| names.split(' ').map(move |name| format!("{name} {came}")))
        .collect();
    people.sort();
    people
}

#[test]
fn everybody_changes_what_roles_and_departments_say() -> Result<()> {
    let (_db, mut client) = organised("identity_writes")?;
    let nobody_but_admins: &[&str] = &[
        "INSERT INTO cloudwatcher.parts (part_code, name) VALUES ('X', 'x')",
        "INSERT INTO cloudwatcher.roles (name) VALUES ('auditor')",
        "INSERT INTO cloudwatcher.departments (name, parent_id) VALUES ('depot d', 'd0000000-0000-0000-0000-000000000002')",
        "INSERT INTO cloudwatcher.locations (name, dept_id) VALUES ('room', 'd0000000-0000-0000-0000-00000000000a')",
        "INSERT INTO cloudwatcher.user_departments (user_id, dept_id)
         VALUES ('00000000-0000-0000-0000-00000000000a', 'd0000000-0000-0000-0000-00000000000b')",
        "INSERT INTO cloudwatcher.user_roles (user_id, role_id)
         SELECT '00000000-0000-0000-0000-00000000000a', id FROM cloudwatcher.roles WHERE name = 'admin'",
    ];
    for sql in nobody_but_admins {
        let found = sorted(&outcomes(&mut client, sql));
        // (Who sees no role adds none.)
        let allowed: Vec<_> = found
            .iter()
            .filter(|line| line.ends_with(" 1"))
            .cloned()
            .collect();
        assert_eq!(allowed, ["admin 1", "service 1"], "{sql}: {found:?}");
    }
    for sql in [
        "UPDATE cloudwatcher.users SET is_active = false WHERE name = 'tech-a'",
        "UPDATE cloudwatcher.departments SET manager_id = '00000000-0000-0000-0000-00000000000a' WHERE name = 'depot a'",
        "UPDATE cloudwatcher.roles SET approval_threshold_amount = 25000 WHERE name = 'technician'",
        "UPDATE cloudwatcher.settings SET escalate_after = '1 second'",
        "UPDATE cloudwatcher.parts SET name = 'y' WHERE part_code = 'F-1'",
        "DELETE FROM cloudwatcher.user_roles WHERE user_id = '00000000-0000-0000-0000-00000000000a'",
        "DELETE FROM cloudwatcher.role_permissions WHERE permission = 'orders.approve' AND role_id =
         (SELECT id FROM cloudwatcher.roles WHERE name = 'manager')",
    ] {
        let found = sorted(&outcomes(&mut client, sql));
        let allowed: Vec<_> = found
            .iter()
            .filter(|line| line.ends_with(" 1"))
            .cloned()
            .collect();
        assert_eq!(allowed, ["admin 1", "service 1"], "{sql}: {found:?}");
    }
    // Nobody deletes people, not even the application.
    assert_eq!(
        sorted(&outcomes(&mut client, "DELETE FROM cloudwatcher.users")),
        sorted(&["42501: anon stranger retired viewer a b c north south head admin service"])
    );
    Ok(())
}

#[test]
fn roles_add_up_and_permissions_change_at_once() -> Result<()> {
    let (_db, mut client) = organised("identity_add_up")?;
    let may = |client: &mut Client, permission: &str| {
        asked_one(
            client,
            VIEWER,
            &format!("SELECT cloudwatcher.has_permission('{permission}')"),
        )
    };
    assert_eq!(may(&mut client, "requests.read"), "t");
    assert_eq!(may(&mut client, "requests.create"), "f");
    assert_eq!(may(&mut client, "no.such"), "f");
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.user_roles (user_id, role_id) VALUES ('{VIEWER}', {})",
        role("technician")
    ))?;
    assert_eq!(may(&mut client, "requests.create"), "t");
    assert_eq!(may(&mut client, "parts.read"), "t");
    let both = asked(&mut client, VIEWER, "SELECT cloudwatcher.my_permissions()");
    assert_eq!(both.len(), 12, "{both:?}");
    assert!(both.is_sorted(), "{both:?}");
    // What a role may do is data.
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.role_permissions (role_id, permission) VALUES ({}, 'tea.make')",
        role("viewer")
    ))?;
    assert_eq!(may(&mut client, "tea.make"), "t");
    client
        .batch_execute("DELETE FROM cloudwatcher.role_permissions WHERE permission = 'tea.make'")?;
    assert_eq!(may(&mut client, "tea.make"), "f");
    let error = expect_sqlstate(
        client.batch_execute(&format!(
            "INSERT INTO cloudwatcher.role_permissions (role_id, permission) VALUES ({}, 'Make tea')",
            role("viewer")
        )),
        "23514",
    );
    assert_eq!(
        error.constraint(),
        Some("role_permissions_permission_check")
    );
    Ok(())
}

/// In one session, in one transaction even: nothing that was found out outlives what it was found out of.
#[test]
fn what_was_known_is_not_believed_for_long() -> Result<()> {
    let (db, mut client) = organised("identity_at_once")?;
    let mut other = db.connect()?;
    let sees = "SELECT count(*) FROM cloudwatcher.locations";
    let mut tx = client.transaction()?;
    let claim = |who: &str| {
        format!(
            "SET LOCAL request.jwt.claims = '{{\"sub\": \"{who}\", \"role\": \"authenticated\"}}'"
        )
    };
    let count =
        |tx: &mut postgres::Transaction<'_>| -> Result<i64> { Ok(tx.query_one(sees, &[])?.get(0)) };
    tx.batch_execute("SET LOCAL ROLE authenticated")?;
    tx.batch_execute(&claim(NORTH))?;
    assert_eq!(count(&mut tx)?, 3);
    // Another user in the same transaction.
    tx.batch_execute(&claim(TECH_C))?;
    assert_eq!(count(&mut tx)?, 1);
    tx.batch_execute(&claim(NORTH))?;
    assert_eq!(count(&mut tx)?, 3);
    // Another session deactivates, and commits.
    other.batch_execute(&format!(
        "UPDATE cloudwatcher.users SET is_active = false WHERE id = '{NORTH}'"
    ))?;
    assert_eq!(count(&mut tx)?, 0);
    assert!(
        !tx.query_one("SELECT cloudwatcher.has_permission('parts.read')", &[])?
            .get::<_, bool>(0)
    );
    other.batch_execute(&format!(
        "UPDATE cloudwatcher.users SET is_active = true WHERE id = '{NORTH}'"
    ))?;
    assert_eq!(count(&mut tx)?, 3);
    // One's own change, taken back by a savepoint.
    tx.batch_execute("SAVEPOINT before; RESET ROLE")?;
    tx.batch_execute(&format!("DELETE FROM cloudwatcher.user_roles WHERE user_id = '{NORTH}'; SET LOCAL ROLE authenticated"))?;
    assert_eq!(count(&mut tx)?, 0);
    tx.batch_execute("ROLLBACK TO before; SET LOCAL ROLE authenticated")?;
    assert_eq!(count(&mut tx)?, 3);
    // A cursor that is open stays as it was opened; a new query does not.
    tx.batch_execute("DECLARE slow CURSOR FOR SELECT id FROM cloudwatcher.locations")?;
    other.batch_execute(&format!(
        "UPDATE cloudwatcher.departments SET manager_id = NULL WHERE manager_id = '{NORTH}'"
    ))?;
    assert_eq!(tx.query("FETCH ALL FROM slow", &[])?.len(), 3);
    assert_eq!(count(&mut tx)?, 0);
    tx.rollback()?;
    Ok(())
}

#[test]
fn a_parallel_scan_asks_as_the_same_caller() -> Result<()> {
    let (_db, mut client) = organised("identity_parallel")?;
    client.batch_execute(
        "INSERT INTO cloudwatcher.parts (id, part_code, name)
         SELECT gen_random_uuid(), 'P' || i, 'part' FROM generate_series(1, 5000) AS i;
         INSERT INTO cloudwatcher.inventory (part_id, location_id, quantity_on_hand)
         SELECT p.id, l.id, 1 FROM cloudwatcher.parts p, cloudwatcher.locations l WHERE p.name = 'part';
         ANALYZE cloudwatcher.inventory"
    )?;
    let counted = as_(&mut client, TECH_A, |tx| {
        tx.batch_execute(
            "SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0;
             SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL max_parallel_workers_per_gather = 2;
             SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexonlyscan = off",
        )?;
        let plan = lines(&tx.simple_query("EXPLAIN SELECT count(*) FROM cloudwatcher.inventory")?);
        assert!(plan.iter().any(|line| line.contains("Gather")), "{plan:?}");
        tx.query_one("SELECT count(*) FROM cloudwatcher.inventory", &[])
    })?;
    assert_eq!(counted.get::<_, i64>(0), 5000);
    Ok(())
}

#[test]
fn a_department_is_never_below_itself() -> Result<()> {
    let (db, mut client) = organised("identity_cycle")?;
    for (department, parent) in [
        (COMPANY, COMPANY),
        (COMPANY, REGION_NORTH),
        (COMPANY, DEPOT_A),
        (REGION_NORTH, DEPOT_B),
    ] {
        let error = expect_sqlstate(
            client.batch_execute(&format!(
                "UPDATE cloudwatcher.departments SET parent_id = '{parent}' WHERE id = '{department}'"
            )),
            "23514",
        );
        assert!(
            error.constraint() == Some("departments_parent_id_check")
                || error.detail().unwrap_or_default().contains(department)
                    && error.hint().is_some(),
            "{error:?}"
        );
    }
    // Two moves that would close a circle only together.
    let mut first = db.connect()?;
    let mut second = db.connect()?;
    let move_below = |department: &str, parent: &str| {
        format!(
            "UPDATE cloudwatcher.departments SET parent_id = '{parent}' WHERE id = '{department}'"
        )
    };
    first.batch_execute(&format!(
        "BEGIN; {}",
        move_below(REGION_NORTH, REGION_SOUTH)
    ))?;
    let waiting =
        std::thread::spawn(move || second.batch_execute(&move_below(REGION_SOUTH, REGION_NORTH)));
    wait_until("the second move waits", || {
        value(
            &mut client,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        ) == "1"
    });
    first.batch_execute("COMMIT")?;
    let result = waiting
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    expect_sqlstate(result, "23514");
    assert_eq!(
        table(
            &mut client,
            &format!("SELECT name, depth FROM cloudwatcher.department_subtree('{REGION_SOUTH}')")
        ),
        [
            "south | 0",
            "depot c | 1",
            "north | 1",
            "depot a | 2",
            "depot b | 2"
        ]
    );
    // In a transaction that could not see the other's move it is refused at once.
    expect_sqlstate(
        client.batch_execute(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; {}; COMMIT",
            move_below(DEPOT_A, COMPANY)
        )),
        "25001",
    );
    client.batch_execute("ROLLBACK")?;
    Ok(())
}

#[test]
fn the_subtree_is_what_the_caller_sees_of_it() -> Result<()> {
    let (_db, mut client) = organised("identity_subtree")?;
    let below = format!("SELECT name, depth FROM cloudwatcher.department_subtree('{COMPANY}')");
    assert_eq!(
        asked(&mut client, HEAD, &below),
        [
            "company | 0",
            "north | 1",
            "south | 1",
            "depot a | 2",
            "depot b | 2",
            "depot c | 2"
        ]
    );
    assert_eq!(asked(&mut client, NORTH, &below), Vec::<String>::new());
    let below =
        format!("SELECT name, depth FROM cloudwatcher.department_subtree('{REGION_NORTH}')");
    assert_eq!(
        asked(&mut client, NORTH, &below),
        ["north | 0", "depot a | 1", "depot b | 1"]
    );
    assert_eq!(
        asked(
            &mut client,
            NORTH,
            "SELECT count(*) FROM cloudwatcher.my_departments()"
        ),
        ["3"]
    );
    // A manager by role sees what is below the department that he works in, a technician only that.
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.user_departments (user_id, dept_id) VALUES ('{TECH_C}', '{REGION_NORTH}')"
    ))?;
    assert_eq!(
        asked(
            &mut client,
            TECH_C,
            "SELECT count(*) FROM cloudwatcher.my_departments()"
        ),
        ["2"]
    );
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.user_roles (user_id, role_id) VALUES ('{TECH_C}', {})",
        role("manager")
    ))?;
    assert_eq!(
        asked(
            &mut client,
            TECH_C,
            "SELECT count(*) FROM cloudwatcher.my_departments()"
        ),
        ["4"]
    );
    Ok(())
}

/// Somebody who may manage roles, but is no admin, makes nobody more than he is himself.
#[test]
fn nobody_gives_away_more_than_he_has() -> Result<()> {
    let (_db, mut client) = organised("identity_escalation")?;
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.roles (name) VALUES ('deputy');
         INSERT INTO cloudwatcher.role_permissions (role_id, permission)
         SELECT {deputy}, p FROM unnest(ARRAY['roles.read', 'roles.write', 'users.read', 'users.write', 'tea.make']) AS p;
         INSERT INTO cloudwatcher.user_roles (user_id, role_id) VALUES ('{TECH_A}', {deputy})",
        deputy = role("deputy")
    ))?;
    for (sql, missing) in [
        (
            format!(
                "INSERT INTO cloudwatcher.user_roles (user_id, role_id) VALUES ('{TECH_A}', {})",
                role("admin")
            ),
            "audit.read",
        ),
        (
            format!(
                "INSERT INTO cloudwatcher.user_roles (user_id, role_id) VALUES ('{VIEWER}', {})",
                role("manager")
            ),
            "decisions.read",
        ),
        (
            format!(
                "INSERT INTO cloudwatcher.role_permissions (role_id, permission) VALUES ({}, 'departments.all')",
                role("deputy")
            ),
            "departments.all",
        ),
        (
            format!(
                "UPDATE cloudwatcher.role_permissions SET permission = 'orders.approve_any'
                  WHERE permission = 'tea.make' AND role_id = {}",
                role("deputy")
            ),
            "orders.approve_any",
        ),
        (
            // What he may not add to his role, he may not move there.
            format!(
                "UPDATE cloudwatcher.role_permissions SET role_id = {}
                  WHERE permission = 'audit.read'",
                role("deputy")
            ),
            "audit.read",
        ),
    ] {
        let error = refused(&mut client, TECH_A, &sql, "42501");
        assert!(
            error.detail().unwrap_or_default().contains(missing),
            "{error:?}"
        );
        assert!(error.hint().is_some());
    }
    // What he has, he may give, and it is noted who gave it, whatever he says.
    as_(&mut client, TECH_A, |tx| {
        tx.batch_execute(&format!(
            "INSERT INTO cloudwatcher.user_roles (user_id, role_id, assigned_by) VALUES ('{VIEWER}', {}, '{ADMIN}')",
            role("deputy")
        ))
    })?;
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT assigned_by FROM cloudwatcher.user_roles WHERE user_id = '{VIEWER}' AND role_id = {}",
                role("deputy")
            )
        ),
        TECH_A
    );
    // Beyond his departments he does not reach.
    refused(
        &mut client,
        TECH_A,
        &format!(
            "INSERT INTO cloudwatcher.user_departments (user_id, dept_id) VALUES ('{TECH_A}', '{DEPOT_C}')"
        ),
        "42501",
    );
    Ok(())
}

/// Nor does anybody who manages roles order more, or approve, by way of a role.
#[test]
fn nobody_raises_a_limit_above_his_own() -> Result<()> {
    let (_db, mut client) = organised("identity_limits")?;
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.roles (name) VALUES ('deputy');
         INSERT INTO cloudwatcher.role_permissions (role_id, permission)
         SELECT {deputy}, p FROM unnest(ARRAY['roles.read', 'roles.write', 'users.read']) AS p;
         INSERT INTO cloudwatcher.user_roles (user_id, role_id) VALUES ('{TECH_A}', {deputy});
         INSERT INTO cloudwatcher.roles (name, approval_threshold_amount, requires_approval, can_approve_subordinate_requests) VALUES
           ('buyer', 999999999, false, false), ('small', 50, false, false), ('chief', 0, true, true), ('asks', 0, true, false)",
        deputy = role("deputy")
    ))?;
    let give = |to: &str, name: &str| {
        format!(
            "INSERT INTO cloudwatcher.user_roles (user_id, role_id) VALUES ('{to}', {})",
            role(name)
        )
    };
    let change = |name: &str, what: &str| {
        format!("UPDATE cloudwatcher.roles SET {what} WHERE name = '{name}'")
    };
    for sql in [
        give(TECH_A, "buyer"),
        give(VIEWER, "buyer"),
        give(VIEWER, "chief"),
        "INSERT INTO cloudwatcher.roles (name, approval_threshold_amount) VALUES ('x', 100.01)"
            .to_owned(),
        "INSERT INTO cloudwatcher.roles (name, approval_threshold_amount, requires_approval) VALUES ('x', 100.01, true)"
            .to_owned(),
        "INSERT INTO cloudwatcher.roles (name, can_approve_subordinate_requests) VALUES ('x', true)"
            .to_owned(),
        change("deputy", "approval_threshold_amount = 99"),
        change("technician", "can_approve_subordinate_requests = true"),
        change("small", "approval_threshold_amount = 101"),
        change("manager", "approval_threshold_amount = 5001"),
        change("small", "can_approve_subordinate_requests = true"),
        change("asks", "requires_approval = false"),
        "UPDATE cloudwatcher.settings SET approval_thresholds = '{101,5000,25000}'".to_owned(),
        "UPDATE cloudwatcher.settings SET approval_thresholds = '{100,5000}'".to_owned(),
        "UPDATE cloudwatcher.settings SET approval_thresholds = '{100,5000,25000.01}'".to_owned(),
    ] {
        let error = refused(&mut client, TECH_A, &sql, "42501");
        assert!(error.detail().is_some() && error.hint().is_some(), "{sql}");
    }
    // Up to his own, and down.
    for sql in [
        give(VIEWER, "small"),
        give(VIEWER, "asks"),
        change("small", "approval_threshold_amount = 100"),
        change("manager", "approval_threshold_amount = 4000"),
        change("manager", "description = 'x'"),
        change("deputy", "description = 'x'"),
        change("small", "requires_approval = true"),
        "INSERT INTO cloudwatcher.roles (name) VALUES ('y')".to_owned(),
        "UPDATE cloudwatcher.settings SET approval_thresholds = '{100,200,25000}'".to_owned(),
        "UPDATE cloudwatcher.settings SET escalate_after = '1 hour'".to_owned(),
    ] {
        assert_eq!(
            outcome(&mut client, "authenticated", Some(TECH_A), &sql),
            "1",
            "{sql}"
        );
    }
    // An admin is not asked less of; servers are.
    for (sql, admins) in [
        (
            change("technician", "approval_threshold_amount = 25000"),
            "1",
        ),
        (
            change("technician", "approval_threshold_amount = 25000.01"),
            "42501",
        ),
        (
            change("technician", "can_approve_subordinate_requests = true"),
            "1",
        ),
        (change("admin", "approval_threshold_amount = 1"), "42501"),
        (change("asks", "requires_approval = false"), "42501"),
        (give(TECH_B, "buyer"), "42501"),
    ] {
        assert_eq!(
            outcome(&mut client, "authenticated", Some(ADMIN), &sql),
            admins,
            "{sql}"
        );
        assert_eq!(
            outcome(&mut client, "service_role", None, &sql),
            "1",
            "{sql}"
        );
    }
    Ok(())
}

#[test]
fn amounts_are_amounts() -> Result<()> {
    let (_db, mut client) = organised("identity_amounts")?;
    for (sql, constraint) in [
        (
            "UPDATE cloudwatcher.roles SET approval_threshold_amount = 'NaN'",
            "roles_approval_threshold_amount_check",
        ),
        (
            "UPDATE cloudwatcher.settings SET approval_thresholds = '{NaN}'",
            "settings_approval_thresholds_check",
        ),
        (
            "UPDATE cloudwatcher.settings SET approval_thresholds = '{100,5000,NaN}'",
            "settings_approval_thresholds_check",
        ),
        (
            "UPDATE cloudwatcher.settings SET approval_thresholds = '{{100,5000}}'",
            "settings_approval_thresholds_check",
        ),
        (
            "UPDATE cloudwatcher.settings SET approval_thresholds = '[0:1]={100,5000}'",
            "settings_approval_thresholds_check",
        ),
        (
            "UPDATE cloudwatcher.settings SET approval_thresholds = '{}'",
            "settings_approval_thresholds_check",
        ),
    ] {
        let error = expect_sqlstate(client.batch_execute(sql), "23514");
        assert_eq!(error.constraint(), Some(constraint), "{sql}");
    }
    Ok(())
}

#[test]
fn many_people_are_looked_up_alike() -> Result<()> {
    let (_db, mut client) = organised("identity_many")?;
    client.batch_execute(&format!(
        "INSERT INTO auth.users (id, email) SELECT ('aaaaaaaa-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, 'm' || i FROM generate_series(1, 200) AS i;
         INSERT INTO cloudwatcher.users (id, email, name) SELECT id, email, email FROM auth.users WHERE email ~ '^m[0-9]';
         INSERT INTO cloudwatcher.user_departments (user_id, dept_id)
         SELECT id, CASE WHEN id::text ~ '[02468]$' THEN '{DEPOT_A}' ELSE '{DEPOT_C}' END::uuid FROM cloudwatcher.users WHERE email ~ '^m[0-9]'"
    ))?;
    // Beyond the first dozens they are looked up at once: the answers are the same.
    assert_eq!(
        asked(
            &mut client,
            TECH_A,
            "SELECT count(*) FROM cloudwatcher.users WHERE email ~ '^m[0-9]'"
        ),
        ["100"]
    );
    assert_eq!(
        asked(
            &mut client,
            TECH_A,
            "SELECT bool_and(email ~ '[02468]$') FROM cloudwatcher.users WHERE email ~ '^m[0-9]'"
        ),
        ["t"]
    );
    assert_eq!(
        asked(
            &mut client,
            TECH_A,
            "SELECT count(*) FROM cloudwatcher.users WHERE email IN ('m2', 'm3')"
        ),
        ["1"]
    );
    Ok(())
}

/// The seed's fourth query joins people: whoever was asked about an order is known to those who see it, from
/// wherever he came to it.
#[test]
fn who_was_asked_about_an_order_is_known_to_those_who_see_it() -> Result<()> {
    let (_db, mut client) = organised("identity_asked")?;
    let chain = "SELECT count(*), count(u.id) FROM cloudwatcher.order_approvals oa
                   LEFT JOIN cloudwatcher.users u ON oa.approver_id = u.id";
    // The manager of the other region stands in for that of this one.
    as_(&mut client, NORTH, |tx| {
        tx.batch_execute(&format!(
            "SELECT cloudwatcher.set_delegate('{SOUTH}', now() + interval '1 day')"
        ))
    })?;
    as_(&mut client, TECH_A, |tx| {
        tx.batch_execute(&format!(
            "SELECT cloudwatcher.create_order('{AT_A}', id => '70000000-0000-0000-0000-000000000001');
             SELECT cloudwatcher.add_item('70000000-0000-0000-0000-000000000001', '{FILTER}', 20);
             SELECT FROM cloudwatcher.submit_order('70000000-0000-0000-0000-000000000001')"
        ))
    })?;
    assert_eq!(
        value(
            &mut client,
            "SELECT DISTINCT approver_id FROM cloudwatcher.order_approvals"
        ),
        SOUTH
    );
    assert_eq!(asked(&mut client, TECH_A, chain), ["1 | 1"]);
    assert_eq!(asked(&mut client, SOUTH, chain), ["1 | 1"]);
    // Whoever has nothing to do with it knows neither.
    assert_eq!(asked(&mut client, TECH_B, chain), ["0 | 0"]);
    let knows = |client: &mut Client, who: &str, whom: &str| {
        asked_one(
            client,
            who,
            &format!("SELECT cloudwatcher.sees_user('{whom}')"),
        )
    };
    assert_eq!(knows(&mut client, TECH_A, SOUTH), "t");
    assert_eq!(knows(&mut client, TECH_B, SOUTH), "f");
    Ok(())
}

/// Beyond the first dozens it is looked up at once which orders one was asked about: the answers are the same.
#[test]
fn many_orders_of_others_are_looked_up_alike() -> Result<()> {
    let (_db, mut client) = organised("identity_orders")?;
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.orders (id, dept_id, created_by)
         SELECT ('71000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, '{DEPOT_C}', '{TECH_C}' FROM generate_series(1, 200) AS i;
         SET session_replication_role = replica;
         INSERT INTO cloudwatcher.order_approvals (order_id, approver_id, approval_level)
         SELECT id, '{NORTH}', 1 FROM cloudwatcher.orders WHERE id::text ~ '0$';
         RESET session_replication_role"
    ))?;
    assert_eq!(
        asked(
            &mut client,
            NORTH,
            "SELECT count(*) FROM cloudwatcher.orders"
        ),
        ["20"]
    );
    assert_eq!(
        asked(
            &mut client,
            NORTH,
            "SELECT bool_and(id::text ~ '0$') FROM cloudwatcher.orders"
        ),
        ["t"]
    );
    assert_eq!(
        asked(
            &mut client,
            NORTH,
            "SELECT count(*) FROM cloudwatcher.orders WHERE id IN ('71000000-0000-0000-0000-000000000010', '71000000-0000-0000-0000-000000000011')"
        ),
        ["1"]
    );
    assert_eq!(
        asked(
            &mut client,
            TECH_A,
            "SELECT count(*) FROM cloudwatcher.orders"
        ),
        ["0"]
    );
    Ok(())
}
