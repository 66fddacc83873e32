//! Orders: everybody does anything at once, and what always has to be true still is.

mod cloudwatcher_order_support;
mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_order_support::*;
use cloudwatcher_support::*;
use gemba_tests::{Random, table, value};
use postgres::Client;

/// People of all kinds, and the servers.
const ACTORS: [(&str, Option<&str>); 10] = [
    ("authenticated", Some(TECH_A)),
    ("authenticated", Some(TECH_A)),
    ("authenticated", Some(TECH_B)),
    ("authenticated", Some(NORTH)),
    ("authenticated", Some(NORTH)),
    ("authenticated", Some(HEAD)),
    ("authenticated", Some(SOUTH)),
    ("authenticated", Some(ADMIN)),
    ("authenticated", Some(VIEWER)),
    ("service_role", None),
];

/// A call of anything, with arguments that may fit.
fn call(random: &mut Random) -> String {
    let order = format!(
        "(SELECT o.id FROM cloudwatcher.orders o ORDER BY o.id OFFSET {} LIMIT 1)",
        random.below(12)
    );
    let item = format!(
        "(SELECT i.id FROM cloudwatcher.order_items i ORDER BY i.id OFFSET {} LIMIT 1)",
        random.below(20)
    );
    let person = *random.pick(&[TECH_A, NORTH, HEAD, SOUTH, ADMIN, RETIRED]);
    let part = *random.pick(&[FILTER, ENGINE, BELT]);
    let room = *random.pick(&[AT_A, AT_B]);
    match random.below(20) {
        0 => format!("cloudwatcher.create_order('{room}')"),
        1 => "cloudwatcher.create_order($$10000000-0000-0000-0000-00000000000b$$, 'internal_transfer', $$10000000-0000-0000-0000-00000000000a$$)".to_owned(),
        2 => format!("cloudwatcher.create_order('{room}', 'return')"),
        3..=5 => format!("cloudwatcher.add_item({order}, '{part}', {}, '{GOOD}')", random.below(8)),
        6 => format!("cloudwatcher.change_item({item}, {}, {})", random.below(9), random.below(2000)),
        7 => format!("cloudwatcher.remove_item({item})"),
        8..=10 => format!("cloudwatcher.submit_order({order})"),
        11..=13 => format!("cloudwatcher.decide_approval({order}, '{}')", if random.chance(85) { "approved" } else { "rejected" }),
        14 => format!("cloudwatcher.delegate_approval({order}, '{person}')"),
        15 => format!("cloudwatcher.set_delegate('{person}', now() + interval '{} seconds')", random.below(3)),
        16 => "cloudwatcher.escalate_approvals()".to_owned(),
        17 => format!("cloudwatcher.mark_ordered({order})"),
        18 => format!("cloudwatcher.receive_items({order})"),
        _ if random.chance(30) => format!("cloudwatcher.cancel_order({order})"),
        _ => format!("cloudwatcher.receive_items({order}, jsonb_build_array(jsonb_build_object('item', {item}, 'quantity', 1)))"),
    }
}

fn assert_in_order(client: &mut Client) {
    let wrong = table(
        client,
        "WITH path AS (
           SELECT h.order_id, string_agg(h.event_type, ' ' ORDER BY h.created_at) AS steps
             FROM cloudwatcher.order_history h
            WHERE h.event_type IN ('created', 'submitted', 'approved', 'rejected', 'ordered', 'received', 'cancelled') GROUP BY h.order_id)
         SELECT 'path', o.id, p.steps, o.status FROM cloudwatcher.orders o JOIN path p ON p.order_id = o.id
          WHERE p.steps !~ '^created( cancelled| submitted( cancelled| rejected| approved( cancelled| ordered( cancelled| received)?)?)?)?$'
             OR o.status <> CASE WHEN p.steps ~ 'created$' THEN 'draft' WHEN p.steps ~ 'submitted$' THEN 'pending-approval'
                            ELSE substring(p.steps FROM '[a-z]+$') END
         UNION ALL
         SELECT 'total', o.id, o.total_amount::text, NULL FROM cloudwatcher.orders o
          WHERE o.total_amount <> (SELECT coalesce(sum(i.total_price), 0) FROM cloudwatcher.order_items i WHERE i.order_id = o.id)
             OR o.submitted_at IS NOT NULL
                AND o.total_amount <> (SELECT (h.metadata ->> 'total')::numeric FROM cloudwatcher.order_history h
                                        WHERE h.order_id = o.id AND h.event_type = 'submitted')
         UNION ALL
         SELECT 'limit', o.id, o.total_amount::text, NULL FROM cloudwatcher.orders o
          WHERE o.approval_levels = 0 AND o.total_amount > cloudwatcher._own_limit(o.created_by)
         UNION ALL
         SELECT 'approvals', o.id, o.status::text, a::text
           FROM cloudwatcher.orders o
          CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE a.status = 'approved') AS approved, count(DISTINCT a.decided_by) FILTER (WHERE a.status = 'approved') AS people,
                   count(*) FILTER (WHERE a.status = 'pending') AS pending, count(*) FILTER (WHERE a.status = 'waiting') AS waiting,
                   bool_or(a.decided_by = ANY (cloudwatcher._authors(o.id))) AS own
              FROM cloudwatcher.order_approvals a WHERE a.order_id = o.id) AS a
          WHERE a.own OR a.people <> a.approved
             OR o.approved_at IS NOT NULL AND (a.approved, a.pending, a.waiting) <> (o.approval_levels, 0, 0)
             OR o.status = 'pending-approval' AND (a.pending <> 1 OR a.approved + a.pending + a.waiting <> o.approval_levels)
             OR o.status <> 'pending-approval' AND a.pending + a.waiting > 0
         UNION ALL
         SELECT 'goods', o.id, o.status::text, NULL FROM cloudwatcher.orders o JOIN cloudwatcher.order_items i ON i.order_id = o.id
          GROUP BY o.id
         HAVING sum(i.quantity_received) <> (SELECT coalesce(sum(abs(m.quantity)), 0) FROM cloudwatcher.stock_movements m
                                              WHERE m.notes = 'order ' || o.id AND m.movement_type <> 'transfer-out')
             OR o.status = 'received' AND bool_or(i.quantity_received < i.quantity_ordered)
             OR o.status NOT IN ('ordered', 'received') AND sum(i.quantity_received) > 0",
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn whatever_people_do_orders_go_their_way() -> Result<()> {
    let (db, mut client) = furnished("orders_mixed")?;
    client.batch_execute("UPDATE cloudwatcher.settings SET escalate_after = '200 milliseconds', approvals_expire_after = '3 seconds'")?;
    let workers: Vec<_> = (0..8)
        .map(|seed| {
            let mut client = db.connect()?;
            Ok(std::thread::spawn(move || {
                let mut random = Random::new(seed);
                (0..150)
                    .map(|_| {
                        let (role, user) = *random.pick(&ACTORS);
                        let sql = call(&mut random);
                        let answer = said_as(&mut client, role, user, &sql);
                        (sql, answer)
                    })
                    .collect::<Vec<_>>()
            }))
        })
        .collect::<Result<_>>()?;
    let mut answers = Vec::new();
    for worker in workers {
        answers.extend(
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a client broke down"))?,
        );
    }
    // Refused for a reason of the room's, never by a constraint, a deadlock or a fault of the code.
    for (sql, answer) in &answers {
        let code = answer.split(' ').next().unwrap_or_default();
        let is_error = code.len() == 5
            && code
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        assert!(
            !is_error || ["42501", "P0002", "55000", "22023", "22004"].contains(&code),
            "{answer}\nin {sql}"
        );
    }
    assert_in_order(&mut client);
    // Enough happened for that to mean something.
    let happened = value(
        &mut client,
        "SELECT count(DISTINCT event_type) >= 8 AND count(*) > 100 FROM cloudwatcher.order_history",
    );
    assert_eq!(
        happened,
        "t",
        "{:#?}",
        table(
            &mut client,
            "SELECT event_type, count(*) FROM cloudwatcher.order_history GROUP BY 1"
        )
    );
    Ok(())
}
