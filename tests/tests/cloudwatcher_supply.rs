//! What to order, and of whom.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use gemba_tests::{expect_sqlstate, table};

/// Pattern 3 of the seed, word for word but for its parameters.
const OFFERS: &str = "SELECT ps.*, s.name, s.lead_time_days
FROM part_suppliers ps
JOIN suppliers s ON ps.supplier_id = s.id
WHERE ps.part_id = $1 
  AND ps.variant_id = $2
  AND s.is_active = true
ORDER BY ps.is_preferred DESC, ps.supplier_cost ASC;";

/// Pattern 2.
const REORDER: &str = "SELECT i.*, p.name 
FROM inventory i
JOIN parts p ON i.part_id = p.id
WHERE i.location_id = $1 
  AND i.quantity_available <= i.reorder_point
ORDER BY i.quantity_available;";

#[test]
fn suppliers_are_ranked() -> Result<()> {
    let (_db, mut client) = organised("supply_rank")?;
    let client = &mut client;
    let best = |part: &str, rest: &str| {
        format!("SELECT rank, supplier_name, sku, unit_cost, order_quantity, total_cost, lead_time_days, is_preferred
                   FROM cloudwatcher.best_supplier('{part}'{rest})")
    };
    // Preferred for the part, whatever it costs; its own lead time before the supplier's usual one.
    assert_eq!(
        asked(client, TECH_A, &best(FILTER, ", quantity => 3")),
        [
            "1 | Good | g-f | 12.00 | 3 | 36.00 | 1 | t",
            "2 | Cheap | c-f | 9.50 | 10 | 95.00 | 14 | f"
        ]
    );
    // Nobody preferred: what the whole order costs, then how long it takes, then the name; no price comes last.
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.part_suppliers SET is_preferred = false;
         UPDATE cloudwatcher.suppliers SET is_preferred = false;
         INSERT INTO cloudwatcher.suppliers (id, name, lead_time_days) VALUES
           ('30000000-0000-0000-0000-000000000003', 'Slow', 30), ('30000000-0000-0000-0000-000000000004', 'Secret', 1),
           ('30000000-0000-0000-0000-000000000005', 'Gone', 0);
         UPDATE cloudwatcher.suppliers SET is_active = false WHERE name = 'Gone';
         INSERT INTO cloudwatcher.part_suppliers (part_id, supplier_id, supplier_cost, sku) VALUES
           ('{FILTER}', '30000000-0000-0000-0000-000000000003', 12, 's'), ('{FILTER}', '30000000-0000-0000-0000-000000000004', NULL, NULL),
           ('{FILTER}', '30000000-0000-0000-0000-000000000005', 1, 'x')"
    ))?;
    assert_eq!(
        asked(client, TECH_A, &best(FILTER, "")),
        [
            "1 | Good | g-f | 12.00 | 1 | 12.00 | 1 | f",
            "2 | Slow | s | 12.00 | 1 | 12.00 | 30 | f",
            "3 | Cheap | c-f | 9.50 | 10 | 95.00 | 14 | f",
            "4 | Secret | - | - | 1 | - | 1 | f"
        ]
    );
    assert_eq!(
        asked(
            client,
            TECH_A,
            &format!(
                "SELECT supplier_name FROM ({}) AS b WHERE rank = 1",
                best(FILTER, ", quantity => 10")
            )
        ),
        ["Cheap"]
    );
    client.batch_execute(
        "UPDATE cloudwatcher.suppliers SET is_preferred = true WHERE name = 'Secret'",
    )?;
    // Not even to the preferred one, of whom nothing can be ordered.
    assert_eq!(
        asked(
            client,
            TECH_A,
            &format!(
                "SELECT rank, supplier_name, is_preferred FROM ({}) AS b WHERE rank IN (1, 4)",
                best(FILTER, "")
            )
        ),
        ["1 | Good | f", "4 | Secret | t"]
    );
    for column in [
        "part_suppliers SET supplier_cost",
        "part_variants SET cost_per_unit",
        "part_variants SET retail_price",
    ] {
        expect_sqlstate(
            client.simple_query(&format!("UPDATE cloudwatcher.{column} = 'NaN'")),
            "23514",
        );
    }

    // What is said of a variant goes before what is said of the part, supplier by supplier.
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.part_suppliers (part_id, variant_id, supplier_id, supplier_cost, sku) VALUES
           ('{BELT}', '{LONG}', '{GOOD}', 55, 'g-b-long'), ('{BELT}', '{LONG}', '{CHEAP}', 50, 'c-b-long')"
    ))?;
    let names = |rest: &str| {
        format!(
            "SELECT supplier_name, sku, unit_cost FROM cloudwatcher.best_supplier('{BELT}'{rest})"
        )
    };
    assert_eq!(asked(client, TECH_A, &names("")), ["Good | g-b | 40.00"]);
    assert_eq!(
        asked(client, TECH_A, &names(&format!(", '{SHORT}'"))),
        ["Good | g-b | 40.00"]
    );
    assert_eq!(
        asked(client, TECH_A, &names(&format!(", '{LONG}'"))),
        ["Cheap | c-b-long | 50.00", "Good | g-b-long | 55.00"]
    );

    for (arguments, code) in [
        (format!("'{FILTER}', quantity => 0"), "22023"),
        (format!("'{FILTER}', quantity => NULL"), "22004"),
        ("NULL".to_owned(), "22004"),
        (format!("'{NOTHING}'"), "P0002"),
    ] {
        refused(
            client,
            TECH_A,
            &format!("SELECT * FROM cloudwatcher.best_supplier({arguments})"),
            code,
        );
    }
    // Nobody sells it, or nobody that one may know of.
    client.batch_execute("DELETE FROM cloudwatcher.part_suppliers")?;
    assert!(asked(client, TECH_A, &best(FILTER, "")).is_empty());
    assert_eq!(
        outcomes(client, &best(FILTER, "")),
        [
            "42501: anon",
            "P0002: stranger retired",
            "0: viewer a b c north south head admin service"
        ]
    );
    Ok(())
}

#[test]
fn the_report_says_what_to_order() -> Result<()> {
    let (_db, mut client) = organised("supply_reorder")?;
    let client = &mut client;
    // (On hand, reorder point, reorder quantity.)
    let stock = |client: &mut postgres::Client,
                 part: &str,
                 variant: &str,
                 room: &str,
                 on_hand: i32,
                 point: &str,
                 quantity: &str| {
        served(
            client,
            &format!("SELECT cloudwatcher.count_stock('{part}', '{room}', {on_hand}, {variant})"),
        );
        client
            .batch_execute(&format!(
                "UPDATE cloudwatcher.inventory SET reorder_point = {point}, reorder_quantity = {quantity}
                  WHERE part_id = '{part}' AND location_id = '{room}' AND variant_id IS NOT DISTINCT FROM {variant}"
            ))
            .expect("a reorder point");
    };
    let (long, short) = (format!("'{LONG}'"), format!("'{SHORT}'"));
    stock(client, FILTER, "NULL", AT_A, 5, "5", "NULL");
    stock(client, BELT, &long, AT_A, 2, "6", "10");
    stock(client, BELT, &short, AT_A, 7, "6", "10");
    stock(client, FILTER, "NULL", AT_B, 0, "20", "4");
    stock(client, FILTER, "NULL", AT_C, 3, "NULL", "NULL");
    let report = |rest: &str| {
        format!("SELECT location_name, part_code, variant_code, quantity_available, backorder, on_order, reorder_point, suggested_quantity,
                        supplier_name, unit_cost, total_cost, days_of_stock FROM cloudwatcher.reorder_report({rest})")
    };
    // One more than the reorder point without a usual quantity; the usual quantity; as many as it takes.
    assert_eq!(
        asked(client, HEAD, &report("")),
        [
            "room a | B-1 | long | 2 | 0 | 0 | 6 | 10 | Good | 40.00 | 400.00 | -",
            "room a | F-1 | - | 5 | 0 | 0 | 5 | 1 | Good | 12.00 | 12.00 | -",
            "room b | F-1 | - | 0 | 0 | 0 | 20 | 21 | Good | 12.00 | 252.00 | -"
        ]
    );
    // The least that the supplier sells.
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.suppliers SET is_active = false WHERE id = '{GOOD}'"
    ))?;
    assert_eq!(
        asked(client, TECH_A, &report(&format!("'{AT_A}'"))),
        [
            "room a | B-1 | long | 2 | 0 | 0 | 6 | 10 | - | - | - | -",
            "room a | F-1 | - | 5 | 0 | 0 | 5 | 10 | Cheap | 9.50 | 95.00 | -"
        ]
    );
    // What is on its way: the whole of it, then a part.
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.orders (id, dept_id, location_id, created_by) VALUES
           ('{order}', '{DEPOT_B}', '{AT_B}', '{TECH_B}'), ('{NOTHING}', '{DEPOT_B}', '{AT_B}', '{TECH_B}');
         INSERT INTO cloudwatcher.order_items (order_id, part_id, supplier_id, quantity_ordered, unit_price) VALUES
           ('{order}', '{FILTER}', '{CHEAP}', 15, 9.50), ('{order}', '{FILTER}', '{CHEAP}', 6, 9.50),
           ('{order}', '{BELT}', '{CHEAP}', 6, 9.50), ('{NOTHING}', '{FILTER}', '{CHEAP}', 100, 9.50);
         SET session_replication_role = replica;
         UPDATE cloudwatcher.orders SET status = 'pending-approval' WHERE id = '{order}';
         SET session_replication_role = origin",
        order = id(1)
    ))?;
    let b = report(&format!("'{AT_B}'"));
    assert_eq!(
        asked(client, TECH_B, &b),
        ["room b | F-1 | - | 0 | 0 | 21 | 20 | 0 | Cheap | 9.50 | 0 | -"]
    );
    client.batch_execute(&format!(
        "SET session_replication_role = replica;
         UPDATE cloudwatcher.orders SET status = 'ordered' WHERE id = '{}';
         UPDATE cloudwatcher.order_items SET quantity_received = 5 WHERE quantity_ordered = 15;
         SET session_replication_role = origin",
        id(1)
    ))?;
    assert_eq!(
        asked(client, TECH_B, &b),
        ["room b | F-1 | - | 0 | 0 | 16 | 20 | 10 | Cheap | 9.50 | 95.00 | -"]
    );

    // More was promised than there is, with and without a reorder point; and how long the rest lasts.
    served(
        client,
        &format!("SELECT cloudwatcher.reserve_stock('{FILTER}', '{AT_C}', 3)"),
    );
    served(
        client,
        &format!("SELECT cloudwatcher.count_stock('{FILTER}', '{AT_C}', 1)"),
    );
    assert_eq!(
        asked(client, TECH_C, &report("")),
        ["room c | F-1 | - | -2 | 2 | 0 | - | 10 | Cheap | 9.50 | 95.00 | -"]
    );
    for (ago, quantity) in [(9, 1), (3, 1)] {
        served(
            client,
            &format!(
                "SELECT cloudwatcher.consume_part('{FILTER}', '{AT_A}', {quantity}, consumed_on => current_date - {ago})"
            ),
        );
    }
    assert_eq!(
        asked(
            client,
            TECH_A,
            &format!("SELECT part_code, days_of_stock FROM cloudwatcher.reorder_report('{AT_A}')")
        ),
        ["B-1 | -", "F-1 | 15.0"]
    );
    // Everybody sees the report of what he sees.
    assert_eq!(
        outcomes(client, "SELECT * FROM cloudwatcher.reorder_report()"),
        [
            "42501: anon",
            "0: stranger retired",
            "2: viewer a",
            "1: b c south",
            "3: north",
            "4: head admin service"
        ]
    );
    assert_eq!(
        outcomes(
            client,
            &format!("SELECT * FROM cloudwatcher.reorder_report('{AT_A}')")
        ),
        [
            "42501: anon",
            "P0002: stranger retired b c south",
            "2: viewer a north head admin service"
        ]
    );
    // The largest reorder point that there is.
    client.batch_execute(&format!(
        "BEGIN; UPDATE cloudwatcher.inventory SET reorder_point = 2147483647 WHERE part_id = '{FILTER}' AND location_id = '{AT_A}'"
    ))?;
    assert_eq!(
        table(
            client,
            &format!(
                "SELECT max(suggested_quantity) > 2147480000 FROM cloudwatcher.reorder_report('{AT_A}')"
            )
        ),
        ["t"]
    );
    client.batch_execute("ROLLBACK")?;
    // What is closed or sold no more is not ordered.
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.parts SET is_active = false WHERE id = '{BELT}';
         UPDATE cloudwatcher.locations SET is_active = false WHERE id = '{AT_C}'"
    ))?;
    assert_eq!(
        asked(
            client,
            HEAD,
            "SELECT location_name, part_code FROM cloudwatcher.reorder_report()"
        ),
        ["room a | F-1", "room b | F-1"]
    );
    Ok(())
}

/// The seed's own queries, as they stand there, and by way of an index.
#[test]
fn the_seeds_queries_run_as_they_are() -> Result<()> {
    let (_db, mut client) = organised("supply_patterns")?;
    let client = &mut client;
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.parts (part_code, name) SELECT 'x-' || n, 'x' FROM generate_series(1, 3000) AS n;
         INSERT INTO cloudwatcher.inventory (part_id, location_id, quantity_on_hand, reorder_point)
         SELECT p.id, l.id, CASE WHEN p.part_code LIKE '%00' THEN 1 ELSE 9 END, 5 FROM cloudwatcher.parts p, cloudwatcher.locations l;
         INSERT INTO cloudwatcher.part_suppliers (part_id, supplier_id, supplier_cost)
         SELECT p.id, s.id, 5 FROM cloudwatcher.parts p, cloudwatcher.suppliers s ON CONFLICT DO NOTHING;
         INSERT INTO cloudwatcher.part_suppliers (part_id, variant_id, supplier_id, supplier_cost, is_preferred) VALUES
           ('{BELT}', '{LONG}', '{CHEAP}', 5, false), ('{BELT}', '{LONG}', '{GOOD}', 7, true);
         ANALYZE"
    ))?;
    let ask = |client: &mut postgres::Client, pattern: &str, arguments: [&str; 2]| {
        let sql = pattern
            .replace("$1", &format!("'{}'", arguments[0]))
            .replace("$2", &format!("'{}'", arguments[1]));
        as_(client, TECH_A, |tx| {
            tx.batch_execute("SET LOCAL search_path = cloudwatcher")?;
            let plan: Vec<String> = tx
                .query(&format!("EXPLAIN {sql}"), &[])?
                .iter()
                .map(|row| row.get(0))
                .collect();
            Ok((tx.query(sql.trim_end_matches(';'), &[])?, plan.join("\n")))
        })
        .expect("an answer")
    };
    let (rows, plan) = ask(client, REORDER, [AT_A, ""]);
    assert_eq!(rows.len(), 30);
    assert!(
        plan.contains("inventory_location_id_quantity_available_idx")
            && !plan.contains("Seq Scan on inventory"),
        "{plan}"
    );
    assert!(ask(client, REORDER, [AT_B, ""]).0.is_empty());
    let (rows, plan) = ask(client, OFFERS, [BELT, LONG]);
    let names: Vec<String> = rows.iter().map(|row| row.get("name")).collect();
    assert_eq!(names, ["Good", "Cheap"]);
    assert!(!plan.contains("Seq Scan on part_suppliers"), "{plan}");
    Ok(())
}
