//! Who moves stock, and who sees it: by role and department.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use gemba_tests::{table, value};
use postgres::Client;

/// Ten filters in each of the rooms, three of those in room a reserved.
fn stocked(client: &mut Client) {
    for room in [AT_A, AT_B, AT_C, WAREHOUSE] {
        served(
            client,
            &format!("SELECT cloudwatcher.receive_stock('{FILTER}', '{room}', 10)"),
        );
    }
    served(
        client,
        &format!(
            "SELECT cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', 3, reservation => '{RESERVED}')"
        ),
    );
    served(
        client,
        &format!("SELECT cloudwatcher.consume_part('{FILTER}', '{AT_A}', 1)"),
    );
}

const RESERVED: &str = "aaaaaaaa-0000-0000-0000-000000000001";

#[test]
fn stock_is_moved_by_who_works_there_or_manages_it() -> Result<()> {
    let (_db, mut client) = organised("stock_rights")?;
    let client = &mut client;
    stocked(client);
    // (Not found is P0002: what one does not see is not there. 42501 is a right that is missing.)
    let writers = [
        "42501: anon viewer",
        "P0002: stranger retired b c south",
        "1: a north head admin service",
    ];
    for call in [
        format!("reserve_stock('{FILTER}', '{AT_A}', 1)"),
        format!("release_stock('{RESERVED}', 1)"),
        format!("consume_part('{FILTER}', '{AT_A}', 1)"),
        format!("consume_part('{FILTER}', '{AT_A}', 1, reservation => '{RESERVED}')"),
        format!("receive_stock('{FILTER}', '{AT_A}', 1)"),
    ] {
        assert_eq!(
            outcomes(client, &format!("SELECT * FROM cloudwatcher.{call}")),
            writers,
            "{call}"
        );
    }
    assert_eq!(
        outcomes(
            client,
            &format!("SELECT * FROM cloudwatcher.count_stock('{FILTER}', '{AT_A}', 1)")
        ),
        [
            "42501: anon viewer a",
            "P0002: stranger retired b c south",
            "1: north head admin service"
        ]
    );
    // Whoever takes it away has to see where it goes; who only sees the source may not.
    assert_eq!(
        outcomes(
            client,
            &format!(
                "SELECT * FROM cloudwatcher.transfer_stock('{FILTER}', '{AT_A}', '{AT_B}', 1)"
            )
        ),
        [
            "42501: anon viewer",
            "P0002: stranger retired a b c south",
            "2: north head admin service"
        ]
    );
    assert_eq!(
        outcomes(
            client,
            &format!(
                "SELECT * FROM cloudwatcher.transfer_stock('{FILTER}', '{AT_A}', '{AT_C}', 1)"
            )
        ),
        [
            "42501: anon viewer",
            "P0002: stranger retired a b c north south",
            "2: head admin service"
        ]
    );
    Ok(())
}

#[test]
fn stock_is_seen_by_department() -> Result<()> {
    let (_db, mut client) = organised("stock_sight")?;
    let client = &mut client;
    stocked(client);
    for (relation, expected) in [
        (
            "inventory",
            [
                "42501: anon",
                "0: stranger retired",
                "1: viewer a b c south",
                "3: north",
                "4: head admin service",
            ]
            .as_slice(),
        ),
        (
            "stock_levels",
            &[
                "42501: anon",
                "0: stranger retired",
                "1: viewer a b c south",
                "3: north",
                "4: head admin service",
            ],
        ),
        (
            "locations",
            &[
                "42501: anon",
                "0: stranger retired",
                "1: viewer a b c south",
                "3: north",
                "4: head admin service",
            ],
        ),
        (
            "stock_reservations",
            &[
                "42501: anon",
                "0: stranger retired b c south",
                "1: viewer a north head admin service",
            ],
        ),
        (
            "part_consumption",
            &[
                "42501: anon",
                "0: stranger retired b c south",
                "1: viewer a north head admin service",
            ],
        ),
        (
            "stock_movements",
            &[
                "42501: anon",
                "0: stranger retired",
                "2: viewer a",
                "1: b c south",
                "4: north",
                "5: head admin service",
            ],
        ),
        (
            "parts",
            &[
                "42501: anon",
                "0: stranger retired",
                "2: viewer a b c north south head admin service",
            ],
        ),
        (
            "part_suppliers",
            &[
                "42501: anon",
                "0: stranger retired",
                "3: viewer a b c north south head admin service",
            ],
        ),
    ] {
        assert_eq!(
            outcomes(client, &format!("SELECT * FROM cloudwatcher.{relation}")),
            expected,
            "{relation}"
        );
    }
    Ok(())
}

#[test]
fn plain_statements_do_not_move_stock() -> Result<()> {
    let (_db, mut client) = organised("stock_plain")?;
    let client = &mut client;
    stocked(client);
    for sql in [
        "UPDATE cloudwatcher.inventory SET quantity_on_hand = 100".to_owned(),
        "UPDATE cloudwatcher.inventory SET quantity_reserved = 0".to_owned(),
        format!("UPDATE cloudwatcher.inventory SET location_id = '{AT_B}'"),
        "DELETE FROM cloudwatcher.inventory".to_owned(),
        format!("INSERT INTO cloudwatcher.inventory (part_id, location_id, quantity_on_hand) VALUES ('{BELT}', '{AT_A}', 5)"),
        "UPDATE cloudwatcher.stock_reservations SET open = 0".to_owned(),
        "DELETE FROM cloudwatcher.stock_movements".to_owned(),
        "UPDATE cloudwatcher.part_consumption SET quantity_consumed = 9".to_owned(),
        format!(
            "INSERT INTO cloudwatcher.part_consumption (part_id, location_id, quantity_consumed, consumption_date)
             VALUES ('{FILTER}', '{AT_A}', 5, '2025-01-01')"
        ),
        format!("SELECT cloudwatcher._receive('{FILTER}', NULL, '{AT_A}', 1, gen_random_uuid(), 'receive', NULL, NULL)"),
        "SELECT cloudwatcher._move((SELECT id FROM cloudwatcher.inventory LIMIT 1), 'receive', 1, gen_random_uuid(), NULL, NULL)".to_owned(),
    ] {
        assert_eq!(
            outcomes(client, &sql),
            ["42501: anon stranger retired viewer a b c north south head admin service"],
            "{sql}"
        );
    }
    // When to order more is for whoever counts.
    assert_eq!(
        outcomes(
            client,
            "UPDATE cloudwatcher.inventory SET reorder_point = 5, reorder_quantity = 20"
        ),
        [
            "42501: anon",
            "0: stranger retired viewer a b c",
            "3: north",
            "1: south",
            "4: head admin service"
        ]
    );
    Ok(())
}

#[test]
fn the_catalogue_is_changed_by_who_may_change_it() -> Result<()> {
    let (_db, mut client) = organised("catalogue_rights")?;
    let client = &mut client;
    assert_eq!(
        outcomes(
            client,
            "INSERT INTO cloudwatcher.parts (part_code, name) VALUES ('N-1', 'new')"
        ),
        [
            "42501: anon stranger retired viewer a b c north south head",
            "1: admin service"
        ]
    );
    assert_eq!(
        outcomes(
            client,
            &format!("UPDATE cloudwatcher.locations SET dept_id = '{DEPOT_A}'")
        ),
        [
            "42501: anon",
            "0: stranger retired viewer a b c north south head",
            "4: admin service"
        ]
    );
    Ok(())
}

/// Servers may say for whom they act, also for somebody who is unknown here.
#[test]
fn who_moved_it_is_on_record() -> Result<()> {
    let (_db, mut client) = organised("stock_movers")?;
    let client = &mut client;
    for sub in [TECH_B, STRANGER] {
        gemba_tests::as_user(client, "service_role", Some(sub), |tx| {
            tx.batch_execute(&format!(
                "SELECT cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 1)"
            ))
        })?;
    }
    asked(
        client,
        TECH_A,
        &format!("SELECT cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 1)"),
    );
    served(
        client,
        &format!("SELECT cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 1)"),
    );
    assert_eq!(
        table(
            client,
            "SELECT moved_by FROM cloudwatcher.stock_movements ORDER BY created_at"
        ),
        [TECH_B, "-", TECH_A, "-"]
    );
    Ok(())
}

/// A right ends with the statement that takes it away, and comes with the one that gives it.
#[test]
fn rights_change_at_once() -> Result<()> {
    let (db, mut client) = organised("stock_rights_change")?;
    let client = &mut client;
    stocked(client);
    let mut other = db.connect()?;
    let reserve = format!("SELECT cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', 1)");
    asked(&mut other, TECH_A, &reserve);
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.users SET is_active = false WHERE id = '{TECH_A}'"
    ))?;
    refused(&mut other, TECH_A, &reserve, "P0002");
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.users SET is_active = true WHERE id = '{TECH_A}';
         DELETE FROM cloudwatcher.user_departments WHERE user_id = '{TECH_A}'"
    ))?;
    refused(&mut other, TECH_A, &reserve, "P0002");
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.departments SET manager_id = '{TECH_A}' WHERE id = '{REGION_NORTH}'"
    ))?;
    asked(&mut other, TECH_A, &reserve);
    refused(&mut other, NORTH, &reserve, "P0002");
    assert_eq!(
        value(
            client,
            "SELECT count(*) FROM cloudwatcher.stock_reservations"
        ),
        "3"
    );
    Ok(())
}

/// Functions that write ask about one department; policies ask about many. The answers are the same.
#[test]
fn one_question_and_many_have_the_same_answer() -> Result<()> {
    let (_db, mut client) = organised("stock_two_questions")?;
    let client = &mut client;
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.roles (name) VALUES ('deep');
         INSERT INTO cloudwatcher.role_permissions (role_id, permission) SELECT id, 'departments.subtree' FROM cloudwatcher.roles WHERE name = 'deep';
         -- One who works above and sees what is below, and one who manages without any right to.
         INSERT INTO cloudwatcher.user_roles (user_id, role_id) SELECT '{TECH_B}', id FROM cloudwatcher.roles WHERE name = 'deep';
         INSERT INTO cloudwatcher.user_departments (user_id, dept_id) VALUES ('{TECH_B}', '{REGION_SOUTH}'), ('{TECH_C}', '{COMPANY}');
         UPDATE cloudwatcher.departments SET manager_id = '{VIEWER}' WHERE id = '{DEPOT_C}'"
    ))?;
    let mut yes = 0;
    for (name, _, user) in CALLERS {
        let Some(user) = user else { continue };
        for permission in [
            "inventory.read",
            "inventory.write",
            "orders.approve_any",
            "no.such",
        ] {
            let per_department = |question: &str| {
                format!(
                    "SELECT d.name, {question} FROM (SELECT id, name::text FROM (VALUES ('{COMPANY}', 'company'), ('{REGION_NORTH}', 'north'),
                       ('{REGION_SOUTH}', 'south'), ('{DEPOT_A}', 'a'), ('{DEPOT_B}', 'b'), ('{DEPOT_C}', 'c'), ('{NOTHING}', '?'),
                       (NULL, 'none')) AS v(id, name)) AS d ORDER BY 1"
                )
            };
            let many = asked(
                client,
                user,
                &per_department(&format!(
                    "cloudwatcher.has_permission('{permission}') AND cloudwatcher.sees_department(d.id::uuid)"
                )),
            );
            let one = table(
                client,
                &per_department(&format!(
                    "cloudwatcher._allows('{user}', '{permission}', d.id::uuid)"
                )),
            );
            assert_eq!(one, many, "{name}, {permission}");
            yes += one.iter().filter(|answer| answer.ends_with('t')).count();
        }
    }
    assert!(yes > 30, "{yes}");
    Ok(())
}
