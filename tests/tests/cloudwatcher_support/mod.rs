//! What the tests of cloudwatcher share: a small organisation with its people, devices and stock rooms, a catalogue,
//! and what a statement comes to for each of the people.
//!
//! ```text
//! company (HEAD)
//! ├── north (NORTH)          warehouse
//! │   ├── depot a            TECH_A, VIEWER
//! │   └── depot b            TECH_B
//! └── south (SOUTH)
//!     └── depot c            TECH_C
//! ```

#![allow(dead_code, reason = "each test binary uses its part")]

use anyhow::Result;
use gemba_tests::{Database, as_user, expect_sqlstate, extended, lines, table};
use postgres::error::DbError;
use postgres::{Client, Error, Transaction};

/// Sees and may do everything; works in no department.
pub const ADMIN: &str = "00000000-0000-0000-0000-0000000000ad";
/// Managers of the company, of region north and of region south.
pub const HEAD: &str = "00000000-0000-0000-0000-000000000001";
pub const NORTH: &str = "00000000-0000-0000-0000-000000000002";
pub const SOUTH: &str = "00000000-0000-0000-0000-000000000003";
/// Technicians of depots a and b in the north and c in the south, and a viewer of depot a.
pub const TECH_A: &str = "00000000-0000-0000-0000-00000000000a";
pub const TECH_B: &str = "00000000-0000-0000-0000-00000000000b";
pub const TECH_C: &str = "00000000-0000-0000-0000-00000000000c";
pub const VIEWER: &str = "00000000-0000-0000-0000-00000000000f";
/// An admin who was deactivated, and somebody who is logged in and nobody here.
pub const RETIRED: &str = "00000000-0000-0000-0000-0000000000ee";
pub const STRANGER: &str = "00000000-0000-0000-0000-0000000000ff";
/// What is nowhere.
pub const NOTHING: &str = "ffffffff-0000-0000-0000-000000000000";

pub const COMPANY: &str = "d0000000-0000-0000-0000-000000000001";
pub const REGION_NORTH: &str = "d0000000-0000-0000-0000-000000000002";
pub const REGION_SOUTH: &str = "d0000000-0000-0000-0000-000000000003";
pub const DEPOT_A: &str = "d0000000-0000-0000-0000-00000000000a";
pub const DEPOT_B: &str = "d0000000-0000-0000-0000-00000000000b";
pub const DEPOT_C: &str = "d0000000-0000-0000-0000-00000000000c";

/// Devices of the depots, by their device_id.
pub const TRUCK_A: &str = "truck-a";
pub const TRUCK_B: &str = "truck-b";
pub const TRUCK_C: &str = "truck-c";

/// A stock room in each depot, and the warehouse of region north.
pub const AT_A: &str = "10000000-0000-0000-0000-00000000000a";
pub const AT_B: &str = "10000000-0000-0000-0000-00000000000b";
pub const AT_C: &str = "10000000-0000-0000-0000-00000000000c";
pub const WAREHOUSE: &str = "10000000-0000-0000-0000-000000000002";

/// Two parts, the second in two variants.
pub const FILTER: &str = "20000000-0000-0000-0000-000000000001";
pub const BELT: &str = "20000000-0000-0000-0000-000000000002";
pub const LONG: &str = "21000000-0000-0000-0000-000000000001";
pub const SHORT: &str = "21000000-0000-0000-0000-000000000002";

/// Who sells filters for 9.50 (in tens), and who for 12 (preferred; belts as well, for 40).
pub const CHEAP: &str = "30000000-0000-0000-0000-000000000001";
pub const GOOD: &str = "30000000-0000-0000-0000-000000000002";

/// Everybody who may call, by a name for messages (technicians by their depot): role and who is logged in.
pub const CALLERS: [(&str, &str, Option<&str>); 12] = [
    ("anon", "anon", None),
    ("stranger", "authenticated", Some(STRANGER)),
    ("retired", "authenticated", Some(RETIRED)),
    ("viewer", "authenticated", Some(VIEWER)),
    ("a", "authenticated", Some(TECH_A)),
    ("b", "authenticated", Some(TECH_B)),
    ("c", "authenticated", Some(TECH_C)),
    ("north", "authenticated", Some(NORTH)),
    ("south", "authenticated", Some(SOUTH)),
    ("head", "authenticated", Some(HEAD)),
    ("admin", "authenticated", Some(ADMIN)),
    ("service", "service_role", None),
];

/// A database with the organisation and the catalogue, and a superuser's session in it.
pub fn organised(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    organisation(&mut client)?;
    catalogue(&mut client)?;
    Ok((db, client))
}

/// People, departments and devices.
pub fn organisation(client: &mut Client) -> Result<()> {
    let people = [
        (ADMIN, "admin", "admin", ""),
        (HEAD, "head", "manager", ""),
        (NORTH, "north", "manager", ""),
        (SOUTH, "south", "manager", ""),
        (TECH_A, "tech-a", "technician", DEPOT_A),
        (TECH_B, "tech-b", "technician", DEPOT_B),
        (TECH_C, "tech-c", "technician", DEPOT_C),
        (VIEWER, "viewer", "viewer", DEPOT_A),
        (RETIRED, "retired", "admin", ""),
    ];
    for (id, name, _, _) in people {
        client.batch_execute(&format!(
            "INSERT INTO auth.users (id, email) VALUES ('{id}', '{name}@x');
             INSERT INTO cloudwatcher.users (id, email, name) VALUES ('{id}', '{name}@x', '{name}')",
        ))?;
    }
    client.batch_execute(&format!(
        "INSERT INTO auth.users (id, email) VALUES ('{STRANGER}', 'stranger@x');
         INSERT INTO cloudwatcher.departments (id, name, parent_id, manager_id) VALUES
           ('{COMPANY}', 'company', NULL, '{HEAD}'),
           ('{REGION_NORTH}', 'north', '{COMPANY}', '{NORTH}'), ('{REGION_SOUTH}', 'south', '{COMPANY}', '{SOUTH}'),
           ('{DEPOT_A}', 'depot a', '{REGION_NORTH}', NULL), ('{DEPOT_B}', 'depot b', '{REGION_NORTH}', NULL),
           ('{DEPOT_C}', 'depot c', '{REGION_SOUTH}', NULL);
         INSERT INTO cloudwatcher.devices (device_id, dept_id) VALUES
           ('{TRUCK_A}', '{DEPOT_A}'), ('{TRUCK_B}', '{DEPOT_B}'), ('{TRUCK_C}', '{DEPOT_C}')"
    ))?;
    for (id, _, role, department) in people {
        client.batch_execute(&format!(
            "INSERT INTO cloudwatcher.user_roles (user_id, role_id) SELECT '{id}', id FROM cloudwatcher.roles WHERE name = '{role}';
             INSERT INTO cloudwatcher.user_departments (user_id, dept_id)
             SELECT '{id}', id FROM cloudwatcher.departments WHERE id::text = '{department}'"
        ))?;
    }
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.users SET is_active = false WHERE id = '{RETIRED}'"
    ))?;
    Ok(())
}

/// Stock rooms, parts and who sells them; no stock yet.
pub fn catalogue(client: &mut Client) -> Result<()> {
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.locations (id, name, dept_id, location_type) VALUES
           ('{AT_A}', 'room a', '{DEPOT_A}', 'depot'), ('{AT_B}', 'room b', '{DEPOT_B}', 'depot'),
           ('{AT_C}', 'room c', '{DEPOT_C}', 'depot'), ('{WAREHOUSE}', 'warehouse', '{REGION_NORTH}', 'warehouse');
         INSERT INTO cloudwatcher.parts (id, part_code, name) VALUES ('{FILTER}', 'F-1', 'filter'), ('{BELT}', 'B-1', 'belt');
         INSERT INTO cloudwatcher.part_variants (id, part_id, variant_code) VALUES
           ('{LONG}', '{BELT}', 'long'), ('{SHORT}', '{BELT}', 'short');
         INSERT INTO cloudwatcher.suppliers (id, name, lead_time_days, is_preferred) VALUES
           ('{CHEAP}', 'Cheap', 14, false), ('{GOOD}', 'Good', 2, true);
         INSERT INTO cloudwatcher.part_suppliers
                (part_id, variant_id, supplier_id, sku, supplier_cost, lead_time_days, minimum_order_qty, is_preferred) VALUES
           ('{FILTER}', NULL, '{CHEAP}', 'c-f', 9.50, NULL, 10, false), ('{FILTER}', NULL, '{GOOD}', 'g-f', 12, 1, 1, true),
           ('{BELT}', NULL, '{GOOD}', 'g-b', 40, NULL, 1, false)"
    ))?;
    Ok(())
}

/// One of the people, for one transaction: `as_(&mut client, TECH_A, |tx| …)`.
pub fn as_<T>(
    client: &mut Client,
    who: &str,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    as_user(client, "authenticated", Some(who), work)
}

/// The application's servers, for one transaction.
pub fn as_service<T>(
    client: &mut Client,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    as_user(client, "service_role", None, work)
}

/// The rows of a statement as one of the people, as `gemba_tests::table` gives them.
#[track_caller]
pub fn asked(client: &mut Client, who: &str, sql: &str) -> Vec<String> {
    as_(client, who, |tx| tx.simple_query(sql)).map_or_else(
        |error| panic!("{error:?}\nin {sql}"),
        |messages| lines(&messages),
    )
}

/// The only value that a statement returns to one of the people.
#[track_caller]
pub fn asked_one(client: &mut Client, who: &str, sql: &str) -> String {
    let rows = asked(client, who, sql);
    assert_eq!(rows.len(), 1, "one row was expected of {sql}");
    rows.into_iter().next().unwrap_or_default()
}

/// The same two for the application's servers.
#[track_caller]
pub fn served(client: &mut Client, sql: &str) -> Vec<String> {
    as_service(client, |tx| tx.simple_query(sql)).map_or_else(
        |error| panic!("{error:?}\nin {sql}"),
        |messages| lines(&messages),
    )
}

#[track_caller]
pub fn served_one(client: &mut Client, sql: &str) -> String {
    let rows = served(client, sql);
    assert_eq!(rows.len(), 1, "one row was expected of {sql}");
    rows.into_iter().next().unwrap_or_default()
}

/// The error that one of the people gets, which must have this SQLSTATE.
#[track_caller]
pub fn refused(client: &mut Client, who: &str, sql: &str, code: &str) -> DbError {
    expect_sqlstate(as_(client, who, |tx| tx.simple_query(sql)), code)
}

/// The error that the application's servers get.
#[track_caller]
pub fn refused_service(client: &mut Client, sql: &str, code: &str) -> DbError {
    expect_sqlstate(as_service(client, |tx| tx.simple_query(sql)), code)
}

/// What a statement comes to for somebody: how many rows it finds or changes, or its SQLSTATE. Changes nothing.
#[track_caller]
pub fn outcome(client: &mut Client, role: &str, user: Option<&str>, sql: &str) -> String {
    let mut rows = 0;
    let result = as_user(client, role, user, |tx| {
        let mut inner = tx.transaction()?;
        rows = inner.execute(sql, &[])?;
        inner.rollback()
    });
    match result {
        Ok(()) => rows.to_string(),
        Err(error) => error.as_db_error().map_or_else(
            || panic!("{error:?}\nin {sql}"),
            |error| error.code().code().to_owned(),
        ),
    }
}

/// What a statement comes to for all of [`CALLERS`], who are joined where it comes to the same:
/// `["42501: anon stranger", "1: admin"]`, in the order of the first of each.
#[track_caller]
pub fn outcomes(client: &mut Client, sql: &str) -> Vec<String> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, role, user) in CALLERS {
        let came = outcome(client, role, user, sql);
        match found.iter_mut().find(|(outcome, _)| *outcome == came) {
            Some((_, names)) => names.push(name),
            None => found.push((came, vec![name])),
        }
    }
    found
        .into_iter()
        .map(|(outcome, names)| format!("{outcome}: {}", names.join(" ")))
        .collect()
}

/// An id for an operation or a reservation.
pub fn id(number: u32) -> String {
    format!("aaaaaaaa-0000-0000-0000-{number:012}")
}

/// What must hold whatever happened to stock: what is on hand is what came and went, what is reserved is what is open
/// of reservations, what was used up is what consumption says, and what left one place for another came there.
#[track_caller]
pub fn stock_adds_up(client: &mut Client) {
    let wrong = table(
        client,
        "SELECT i.id, quantity_on_hand, quantity_reserved FROM cloudwatcher.inventory i
          WHERE quantity_on_hand <> (SELECT coalesce(sum(m.quantity), 0) FROM cloudwatcher.stock_movements m WHERE m.inventory_id = i.id)
             OR quantity_reserved <> (SELECT coalesce(sum(r.open), 0) FROM cloudwatcher.stock_reservations r WHERE r.inventory_id = i.id)
             OR quantity_on_hand < 0 OR quantity_reserved < 0
         UNION ALL
         SELECT m.id, m.quantity, m.on_hand
           FROM (SELECT m.*, lag(m.on_hand, 1, 0) OVER (PARTITION BY m.inventory_id ORDER BY m.created_at) AS before
                   FROM cloudwatcher.stock_movements m) AS m
           LEFT JOIN cloudwatcher.part_consumption c ON c.id = m.id
          WHERE m.before + m.quantity <> m.on_hand
             OR (m.movement_type = 'consume') <> (c.id IS NOT NULL) OR c.quantity_consumed <> -m.quantity
         UNION ALL
         SELECT m.operation_id, sum(m.quantity), count(*) FROM cloudwatcher.stock_movements m
          WHERE m.movement_type IN ('transfer-out', 'transfer-in')
          GROUP BY m.operation_id HAVING sum(m.quantity) <> 0 OR count(*) <> 2",
    );
    assert!(wrong.is_empty(), "stock does not add up: {wrong:?}");
}
