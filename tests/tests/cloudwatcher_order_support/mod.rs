//! What the tests of orders share besides the organisation: a part that costs 1,000, and what calls come to.

#![allow(dead_code, reason = "each test binary uses its part")]

use crate::cloudwatcher_support::*;
use anyhow::Result;
use gemba_tests::{Database, as_user, value};
use postgres::Client;

/// Costs 1,000 at GOOD.
pub const ENGINE: &str = "20000000-0000-0000-0000-000000000003";
/// Nobody sells it, and it is not ordered any more.
pub const RELIC: &str = "20000000-0000-0000-0000-000000000004";
/// Sells nothing any more.
pub const CLOSED: &str = "30000000-0000-0000-0000-000000000003";

/// The organisation, with more parts and with short names for people.
pub fn furnished(name: &str) -> Result<(Database<'static>, Client)> {
    let (db, mut client) = organised(name)?;
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.parts (id, part_code, name, is_active) VALUES ('{ENGINE}', 'E-1', 'engine', true), ('{RELIC}', 'R-1', 'relic', false);
         INSERT INTO cloudwatcher.suppliers (id, name, is_active) VALUES ('{CLOSED}', 'Closed', false);
         INSERT INTO cloudwatcher.part_suppliers (part_id, supplier_id, supplier_cost) VALUES ('{ENGINE}', '{GOOD}', 1000);
         CREATE FUNCTION public.name_of(who uuid) RETURNS text LANGUAGE sql SECURITY DEFINER
           AS 'SELECT u.name FROM cloudwatcher.users u WHERE u.id = who'",
    ))?;
    Ok((db, client))
}

/// One value (of the first row), asked as somebody; an error as its SQLSTATE and message.
pub fn said(client: &mut Client, who: &str, sql: &str) -> String {
    said_as(client, "authenticated", Some(who), sql)
}

pub fn said_as(client: &mut Client, role: &str, who: Option<&str>, sql: &str) -> String {
    let result = as_user(client, role, who, |tx| {
        let rows = tx.query(
            &format!("SELECT q.q::text FROM (SELECT {sql}) AS q(q)"),
            &[],
        )?;
        Ok(rows.first().and_then(|row| row.get::<_, Option<String>>(0)))
    });
    match result {
        Ok(answer) => answer.unwrap_or_else(|| "-".to_owned()),
        Err(error) => error.as_db_error().map_or_else(
            || panic!("{error:?}\nin {sql}"),
            |error| format!("{} {}", error.code().code(), error.message()),
        ),
    }
}

/// A draft of somebody's for a stock room.
#[track_caller]
pub fn draft(client: &mut Client, who: &str, room: &str) -> String {
    asked_one(
        client,
        who,
        &format!("SELECT cloudwatcher.create_order('{room}')"),
    )
}

/// Adds a part to a draft at its supplier's price; returns the item.
#[track_caller]
pub fn add(
    client: &mut Client,
    who: &str,
    order: &str,
    part: &str,
    supplier: &str,
    number: u32,
) -> String {
    asked_one(
        client,
        who,
        &format!(
            "SELECT a.item_id FROM cloudwatcher.add_item('{order}', '{part}', {number}, '{supplier}') AS a"
        ),
    )
}

/// A draft of so many engines at 1,000 each.
#[track_caller]
pub fn engines(client: &mut Client, who: &str, room: &str, number: u32) -> String {
    let order = draft(client, who, room);
    add(client, who, &order, ENGINE, GOOD, number);
    order
}

/// The same, submitted, which has to come to this state.
#[track_caller]
pub fn submitted(
    client: &mut Client,
    who: &str,
    room: &str,
    number: u32,
    expected: &str,
) -> String {
    let order = engines(client, who, room, number);
    assert_eq!(submit(client, who, &order), expected);
    order
}

/// An order that is ready to be received: so many engines for depot a's room.
#[track_caller]
pub fn ordered(client: &mut Client, number: u32) -> String {
    let order = submitted(client, NORTH, AT_A, number, "approved 0");
    asked(
        client,
        NORTH,
        &format!("SELECT cloudwatcher.mark_ordered('{order}')"),
    );
    order
}

/// `status approver levels`
pub fn submit(client: &mut Client, who: &str, order: &str) -> String {
    said(
        client,
        who,
        &format!(
            "concat_ws(' ', s.status, name_of(s.approver), s.levels) FROM cloudwatcher.submit_order('{order}') AS s"
        ),
    )
}

/// `status next_approver`
pub fn decide(client: &mut Client, who: &str, order: &str, decision: &str) -> String {
    said(
        client,
        who,
        &format!(
            "concat_ws(' ', d.status, name_of(d.next_approver)) FROM cloudwatcher.decide_approval('{order}', '{decision}') AS d"
        ),
    )
}

/// `level:name:status` of all who were asked.
pub fn chain(client: &mut Client, order: &str) -> String {
    value(
        client,
        &format!(
            "SELECT coalesce(string_agg(concat_ws(':', a.approval_level, u.name, a.status), ' '
                       ORDER BY a.approval_level, a.created_at, a.status IN ('pending', 'approved'), u.name), '')
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

/// `status total`
pub fn stands(client: &mut Client, order: &str) -> String {
    value(
        client,
        &format!(
            "SELECT concat_ws(' ', o.status, o.total_amount) FROM cloudwatcher.orders o WHERE o.id = '{order}'"
        ),
    )
}
