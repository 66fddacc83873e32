//! What the tests of orders share: a small organisation, parts with prices, and what a call comes to.

#![allow(dead_code, reason = "each test binary uses its part")]

use anyhow::Result;
use gemba_tests::{Database, as_user, extended, value};
use postgres::Client;

/// Company, its two regions, and depots: a and b in the north, c in the south.
pub const COMPANY: &str = "d0000000-0000-0000-0000-000000000001";
pub const NORTH: &str = "d0000000-0000-0000-0000-000000000002";
pub const SOUTH: &str = "d0000000-0000-0000-0000-000000000003";
pub const DEPOT_A: &str = "d0000000-0000-0000-0000-00000000000a";
pub const DEPOT_B: &str = "d0000000-0000-0000-0000-00000000000b";
pub const DEPOT_C: &str = "d0000000-0000-0000-0000-00000000000c";
/// The stores of the depots.
pub const STORE_A: &str = "e0000000-0000-0000-0000-00000000000a";
pub const STORE_B: &str = "e0000000-0000-0000-0000-00000000000b";
pub const STORE_C: &str = "e0000000-0000-0000-0000-00000000000c";

pub const ADA: &str = "a0000000-0000-0000-0000-000000000001";
/// Manages the company.
pub const CARL: &str = "a0000000-0000-0000-0000-000000000002";
/// Manages the north.
pub const NORA: &str = "a0000000-0000-0000-0000-000000000003";
/// Manages the south.
pub const SAM: &str = "a0000000-0000-0000-0000-000000000004";
/// Technicians of the depots a, b and c.
pub const TIM: &str = "a0000000-0000-0000-0000-00000000000a";
pub const TOM: &str = "a0000000-0000-0000-0000-00000000000b";
pub const SUE: &str = "a0000000-0000-0000-0000-00000000000c";
pub const VERA: &str = "a0000000-0000-0000-0000-00000000000d";
/// An admin who was deactivated.
pub const GONE: &str = "a0000000-0000-0000-0000-00000000000e";
/// Has an account and is none of the people here.
pub const STRANGER: &str = "a0000000-0000-0000-0000-00000000000f";

/// Costs 10 at one supplier, 9 at another one who sells 100 at least.
pub const BOLT: &str = "c0000000-0000-0000-0000-000000000001";
/// Costs 1,000.
pub const ENGINE: &str = "c0000000-0000-0000-0000-000000000002";
/// In red, 12, and in blue, which nobody sells by itself.
pub const PAINT: &str = "c0000000-0000-0000-0000-000000000003";
pub const RED: &str = "c0000000-0000-0000-0000-000000000031";
pub const BLUE: &str = "c0000000-0000-0000-0000-000000000032";
/// Nobody sells it.
pub const RELIC: &str = "c0000000-0000-0000-0000-000000000004";
/// Is not ordered any more.
pub const OLD: &str = "c0000000-0000-0000-0000-000000000005";
pub const ACME: &str = "b0000000-0000-0000-0000-000000000001";
pub const BULK: &str = "b0000000-0000-0000-0000-000000000002";
pub const CLOSED: &str = "b0000000-0000-0000-0000-000000000003";

/// A database with all of them.
pub fn organisation(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    client.batch_execute(&format!(
        "INSERT INTO auth.users (id) VALUES ('{ADA}'), ('{CARL}'), ('{NORA}'), ('{SAM}'), ('{TIM}'), ('{TOM}'), ('{SUE}'), ('{VERA}'), ('{GONE}'), ('{STRANGER}');
         INSERT INTO cloudwatcher.users (id, email, name, is_active)
         SELECT u.id::uuid, u.name || '@example.com', u.name, u.name <> 'gone'
           FROM (VALUES ('{ADA}', 'ada'), ('{CARL}', 'carl'), ('{NORA}', 'nora'), ('{SAM}', 'sam'), ('{TIM}', 'tim'), ('{TOM}', 'tom'),
                        ('{SUE}', 'sue'), ('{VERA}', 'vera'), ('{GONE}', 'gone')) AS u(id, name);
         INSERT INTO cloudwatcher.departments (id, name, parent_id, manager_id) VALUES
           ('{COMPANY}', 'company', NULL, '{CARL}'), ('{NORTH}', 'north', '{COMPANY}', '{NORA}'), ('{SOUTH}', 'south', '{COMPANY}', '{SAM}'),
           ('{DEPOT_A}', 'depot a', '{NORTH}', NULL), ('{DEPOT_B}', 'depot b', '{NORTH}', NULL), ('{DEPOT_C}', 'depot c', '{SOUTH}', NULL);
         INSERT INTO cloudwatcher.user_departments (user_id, dept_id) VALUES ('{ADA}', '{COMPANY}'), ('{GONE}', '{COMPANY}'), ('{CARL}', '{COMPANY}'),
           ('{NORA}', '{NORTH}'), ('{SAM}', '{SOUTH}'), ('{TIM}', '{DEPOT_A}'), ('{TOM}', '{DEPOT_B}'), ('{SUE}', '{DEPOT_C}'), ('{VERA}', '{DEPOT_A}');
         INSERT INTO cloudwatcher.user_roles (user_id, role_id)
         SELECT g.id::uuid, r.id FROM (VALUES ('{ADA}', 'admin'), ('{GONE}', 'admin'), ('{CARL}', 'manager'), ('{NORA}', 'manager'), ('{SAM}', 'manager'),
           ('{TIM}', 'technician'), ('{TOM}', 'technician'), ('{SUE}', 'technician'), ('{VERA}', 'viewer')) AS g(id, role)
           JOIN cloudwatcher.roles r ON r.name = g.role;
         INSERT INTO cloudwatcher.locations (id, name, dept_id) VALUES
           ('{STORE_A}', 'a', '{DEPOT_A}'), ('{STORE_B}', 'b', '{DEPOT_B}'), ('{STORE_C}', 'c', '{DEPOT_C}');
         INSERT INTO cloudwatcher.parts (id, part_code, name, is_active) VALUES ('{BOLT}', 'BOLT', 'bolt', true), ('{ENGINE}', 'ENGINE', 'engine', true),
           ('{PAINT}', 'PAINT', 'paint', true), ('{RELIC}', 'RELIC', 'relic', true), ('{OLD}', 'OLD', 'old', false);
         INSERT INTO cloudwatcher.part_variants (id, part_id, variant_code) VALUES ('{RED}', '{PAINT}', 'RED'), ('{BLUE}', '{PAINT}', 'BLUE');
         INSERT INTO cloudwatcher.suppliers (id, name, is_active) VALUES ('{ACME}', 'acme', true), ('{BULK}', 'bulk', true), ('{CLOSED}', 'closed', false);
         INSERT INTO cloudwatcher.part_suppliers (part_id, variant_id, supplier_id, supplier_cost, minimum_order_qty) VALUES
           ('{BOLT}', NULL, '{ACME}', 10, 1), ('{BOLT}', NULL, '{BULK}', 9, 100), ('{ENGINE}', NULL, '{ACME}', 1000, 1),
           ('{PAINT}', NULL, '{ACME}', 11, 1), ('{PAINT}', '{RED}', '{ACME}', 12, 1)",
    ))?;
    client.batch_execute(
        "CREATE FUNCTION public.name_of(who uuid) RETURNS text LANGUAGE sql SECURITY DEFINER
           AS 'SELECT u.name FROM cloudwatcher.users u WHERE u.id = who'",
    )?;
    Ok((db, client))
}

/// One value, asked as a logged-in user; an error as its SQLSTATE and message.
pub fn said(client: &mut Client, user: &str, sql: &str) -> String {
    said_as(client, "authenticated", Some(user), sql)
}

pub fn said_as(client: &mut Client, role: &str, user: Option<&str>, sql: &str) -> String {
    let result = as_user(client, role, user, |tx| {
        let row = tx.query_one(&format!("SELECT q::text FROM (SELECT {sql}) AS q(q)"), &[])?;
        Ok(row.get::<_, Option<String>>(0))
    });
    match result {
        Ok(answer) => answer.unwrap_or_else(|| "-".to_owned()),
        Err(error) => error.as_db_error().map_or_else(
            || panic!("{error:?}\nin {sql}"),
            |error| format!("{} {}", error.code().code(), error.message()),
        ),
    }
}

/// The same, where it has to succeed.
#[track_caller]
pub fn does(client: &mut Client, user: &str, sql: &str) -> String {
    let answer = said(client, user, sql);
    let is_error = answer.len() > 6
        && answer.as_bytes()[5] == b' '
        && answer[..5].chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    assert!(!is_error, "{answer}\nin {sql}");
    answer
}

/// A draft of this user's for a store.
#[track_caller]
pub fn draft(client: &mut Client, user: &str, store: &str) -> String {
    does(client, user, &format!("cloudwatcher.create_order('{store}')"))
}

/// So many engines at 1,000 each, in a draft of this user's for a store.
#[track_caller]
pub fn engines(client: &mut Client, user: &str, store: &str, number: u32) -> String {
    let order = draft(client, user, store);
    does(
        client,
        user,
        &format!("item_id FROM cloudwatcher.add_item('{order}', '{ENGINE}', {number}, '{ACME}')"),
    );
    order
}

/// `status approver levels` of a submission.
pub fn submit(client: &mut Client, user: &str, order: &str) -> String {
    said(
        client,
        user,
        &format!("concat_ws(' ', s.status, name_of(s.approver), s.levels) FROM cloudwatcher.submit_order('{order}') AS s"),
    )
}

/// `status next_approver` of a decision.
pub fn decide(client: &mut Client, user: &str, order: &str, decision: &str) -> String {
    said(
        client,
        user,
        &format!("concat_ws(' ', d.status, name_of(d.next_approver)) FROM cloudwatcher.decide_approval('{order}', '{decision}') AS d"),
    )
}

/// `level:name:status` of all that were asked, in order.
pub fn chain(client: &mut Client, order: &str) -> String {
    value(
        client,
        &format!(
            "SELECT coalesce(string_agg(concat_ws(':', a.approval_level, u.name, a.status), ' ' ORDER BY a.approval_level, a.asked_at, a.created_at, a.decision_at), '')
               FROM cloudwatcher.order_approvals a JOIN cloudwatcher.users u ON u.id = a.approver_id WHERE a.order_id = '{order}'"
        ),
    )
}

/// What happened to an order, as `event:who`.
pub fn history(client: &mut Client, order: &str) -> String {
    value(
        client,
        &format!(
            "SELECT string_agg(concat_ws(':', h.event_type, u.name), ' ' ORDER BY h.created_at)
               FROM cloudwatcher.order_history h LEFT JOIN cloudwatcher.users u ON u.id = h.user_id WHERE h.order_id = '{order}'"
        ),
    )
}

pub fn state(client: &mut Client, order: &str) -> String {
    value(
        client,
        &format!("SELECT status FROM cloudwatcher.orders WHERE id = '{order}'"),
    )
}
