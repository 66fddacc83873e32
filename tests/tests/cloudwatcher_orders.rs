//! Orders: drafts and their items, what is frozen when they are submitted, and that nobody skips a step.

mod cloudwatcher_order_support;
mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_order_support::*;
use cloudwatcher_support::*;
use gemba_tests::{expect_sqlstate, table, value};

#[test]
fn a_draft_is_filled_changed_and_submitted() -> Result<()> {
    let (_db, mut client) = furnished("orders_draft")?;
    let order = draft(&mut client, TECH_A, AT_A);
    let filters = add(&mut client, TECH_A, &order, FILTER, GOOD, 3);
    let belts = said(
        &mut client,
        TECH_A,
        &format!(
            "a.item_id FROM cloudwatcher.add_item('{order}', '{BELT}', 2, '{GOOD}', unit_price => 41.5, variant => '{LONG}', expected_delivery => '2027-01-02') AS a"
        ),
    );
    assert_eq!(stands(&mut client, &order), "draft 119.00");
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!("c::text FROM cloudwatcher.change_item('{filters}', quantity => 1) AS c")
        ),
        format!("({filters},{GOOD},12.00,12.00,95.00)")
    );
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!(
                "c.order_total FROM cloudwatcher.change_item('{filters}', unit_price => 13) AS c"
            )
        ),
        "96.00"
    );
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!("cloudwatcher.remove_item('{belts}')")
        ),
        "true"
    );
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!("cloudwatcher.remove_item('{belts}')")
        ),
        "false"
    );
    assert_eq!(stands(&mut client, &order), "draft 13.00");
    // Up to 100 a technician asks nobody.
    assert_eq!(submit(&mut client, TECH_A, &order), "approved 0");
    assert_eq!(submit(&mut client, TECH_A, &order), "approved 0");
    assert_eq!(
        history(&mut client, &order),
        "created:tech-a item-added:tech-a item-added:tech-a item-changed:tech-a item-changed:tech-a item-removed:tech-a submitted:tech-a approved:tech-a"
    );
    assert_eq!(
        table(&mut client, &format!("SELECT o.approved_by, o.approval_levels, o.submitted_at = o.approved_at, h.metadata ->> 'automatic'
            FROM cloudwatcher.orders o JOIN cloudwatcher.order_history h ON h.order_id = o.id AND h.event_type = 'approved' WHERE o.id = '{order}'")),
        ["- | 0 | t | true"]
    );
    Ok(())
}

#[test]
fn an_id_makes_it_once() -> Result<()> {
    let (_db, mut client) = furnished("orders_once")?;
    let id = "50000000-0000-0000-0000-000000000001";
    let create = format!("cloudwatcher.create_order('{AT_A}', id => '{id}')");
    assert_eq!(said(&mut client, TECH_A, &create), id);
    assert_eq!(said(&mut client, TECH_A, &create), id);
    for other in [
        format!("cloudwatcher.create_order('{AT_A}', 'return', id => '{id}')"),
        format!("cloudwatcher.create_order('{AT_B}', id => '{id}')"),
    ] {
        assert!(
            said(&mut client, NORTH, &other).starts_with("22023 the id is that of another order")
        );
    }
    assert!(
        said(
            &mut client,
            TECH_A,
            &format!("cloudwatcher.create_order('{AT_A}', 'return', id => '{id}')")
        )
        .starts_with("22023")
    );
    // Somebody moved it meanwhile: it is the same order still.
    asked(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.set_order_location('{id}', '{WAREHOUSE}')"),
    );
    assert_eq!(said(&mut client, TECH_A, &create), id);
    asked(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.set_order_location('{id}', '{AT_A}')"),
    );
    let item = "51000000-0000-0000-0000-000000000001";
    let mut adds = |rest: &str| {
        said(
            &mut client,
            TECH_A,
            &format!(
                "concat_ws(' ', a.item_id, a.order_total) FROM cloudwatcher.add_item('{id}', '{FILTER}', {rest}, item => '{item}') AS a"
            ),
        )
    };
    assert_eq!(adds(&format!("3, '{GOOD}'")), format!("{item} 36.00"));
    assert_eq!(adds(&format!("3, '{GOOD}'")), format!("{item} 36.00"));
    assert!(adds(&format!("4, '{GOOD}'")).starts_with("22023"));
    assert!(adds(&format!("3, '{CHEAP}'")).starts_with("22023"));
    assert!(adds(&format!("3, '{GOOD}', 11")).starts_with("22023"));
    assert_eq!(stands(&mut client, id), "draft 36.00");
    Ok(())
}

#[test]
fn the_best_supplier_is_asked_unless_one_is_named() -> Result<()> {
    let (_db, mut client) = furnished("orders_best")?;
    let order = draft(&mut client, TECH_A, AT_A);
    let mut adds = |part: &str, rest: &str| {
        said(
            &mut client,
            TECH_A,
            &format!(
                "concat_ws(' ', a.supplier_id, a.price) FROM cloudwatcher.add_item('{order}', '{part}', {rest}) AS a"
            ),
        )
    };
    // The preferred one of the part; the cheap one sells no fewer than ten.
    assert_eq!(adds(FILTER, "1"), format!("{GOOD} 12.00"));
    assert_eq!(
        adds(FILTER, &format!("10, '{CHEAP}'")),
        format!("{CHEAP} 9.50")
    );
    client.batch_execute("UPDATE cloudwatcher.part_suppliers SET is_preferred = false; UPDATE cloudwatcher.suppliers SET is_preferred = false")?;
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!("a.supplier_id FROM cloudwatcher.add_item('{order}', '{FILTER}', 20) AS a")
        ),
        CHEAP
    );
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!("a.supplier_id FROM cloudwatcher.add_item('{order}', '{FILTER}', 9) AS a")
        ),
        GOOD
    );
    // A variant at its own price, otherwise at the part's.
    client.batch_execute(&format!("INSERT INTO cloudwatcher.part_suppliers (part_id, variant_id, supplier_id, supplier_cost) VALUES ('{BELT}', '{LONG}', '{GOOD}', 55)"))?;
    for (variant, price) in [(LONG, "55.00"), (SHORT, "40.00")] {
        assert_eq!(
            said(
                &mut client,
                TECH_A,
                &format!(
                    "a.price FROM cloudwatcher.add_item('{order}', '{BELT}', 1, variant => '{variant}') AS a"
                )
            ),
            price
        );
    }
    // A transfer costs nothing unless it is said to.
    let order = asked_one(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.create_order('{AT_A}', 'internal_transfer', '{AT_B}')"),
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!(
                "concat_ws(' ', a.supplier_id, a.price) FROM cloudwatcher.add_item('{order}', '{FILTER}', 1) AS a"
            )
        ),
        format!("{GOOD} 0.00")
    );
    client.batch_execute("DELETE FROM cloudwatcher.part_suppliers")?;
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.add_item('{order}', '{FILTER}', 1)")
        ),
        "55000 nobody sells this part"
    );
    Ok(())
}

#[test]
fn bad_arguments_have_clear_errors() -> Result<()> {
    let (_db, mut client) = furnished("orders_bad")?;
    let order = draft(&mut client, TECH_A, AT_A);
    let item = add(&mut client, TECH_A, &order, FILTER, GOOD, 1);
    let other = draft(&mut client, TECH_A, AT_A);
    let dozen = add(&mut client, TECH_A, &other, FILTER, CHEAP, 12);
    let add = |rest: &str| format!("cloudwatcher.add_item('{order}', {rest})");
    for (sql, expected) in [
        (
            "cloudwatcher.create_order(NULL)".to_owned(),
            "22004 an argument must not be NULL",
        ),
        (
            format!("cloudwatcher.create_order('{NOTHING}')"),
            "P0002 the location was not found",
        ),
        // He does not see it.
        (
            format!("cloudwatcher.create_order('{AT_B}')"),
            "P0002 the location was not found",
        ),
        (
            format!("cloudwatcher.create_order('{AT_A}', 'gift')"),
            "22023 there is no such type of order",
        ),
        (
            format!("cloudwatcher.create_order('{AT_A}', NULL)"),
            "22023 there is no such type of order",
        ),
        (
            format!("cloudwatcher.create_order('{AT_A}', 'purchase', '{AT_B}')"),
            "22023 only a transfer has a source location",
        ),
        (
            format!("cloudwatcher.create_order('{AT_A}', 'internal_transfer', '{AT_B}')"),
            "P0002 the location was not found",
        ),
        (
            format!("cloudwatcher.create_order('{AT_A}', on_behalf_of => '{TECH_B}')"),
            "42501 only the application's servers order for somebody else",
        ),
        (
            "cloudwatcher.add_item(NULL, NULL, 1)".to_owned(),
            "22004 an argument must not be NULL",
        ),
        (
            format!("cloudwatcher.add_item('{NOTHING}', '{FILTER}', 1)"),
            "P0002 the order was not found",
        ),
        (
            add(&format!("NULL, 1, '{GOOD}'")),
            "22004 an argument must not be NULL",
        ),
        (
            add(&format!("'{NOTHING}', 1, '{GOOD}'")),
            "P0002 the part was not found",
        ),
        (
            add(&format!("'{RELIC}', 1, '{GOOD}'")),
            "P0002 the part was not found",
        ),
        (
            add(&format!("'{FILTER}', 1, '{GOOD}', variant => '{LONG}'")),
            "P0002 the part was not found",
        ),
        (
            add(&format!("'{FILTER}', 1, '{NOTHING}'")),
            "P0002 the supplier was not found",
        ),
        (
            add(&format!("'{FILTER}', 1, '{CLOSED}'")),
            "P0002 the supplier was not found",
        ),
        (
            add(&format!("'{FILTER}', 0, '{GOOD}'")),
            "22023 the quantity must be at least 1",
        ),
        (
            add(&format!("'{FILTER}', -1, '{GOOD}'")),
            "22023 the quantity must be at least 1",
        ),
        (
            add(&format!("'{FILTER}', NULL, '{GOOD}'")),
            "22004 the quantity must be at least 1",
        ),
        (
            add(&format!("'{FILTER}', 9, '{CHEAP}'")),
            "22023 the supplier does not sell so few",
        ),
        (
            add(&format!("'{FILTER}', 1, '{GOOD}', -1")),
            "22023 this is no price",
        ),
        (
            add(&format!("'{FILTER}', 1, '{GOOD}', 'NaN'")),
            "22023 this is no price",
        ),
        (
            add(&format!("'{FILTER}', 1, '{GOOD}', 'infinity'")),
            "22023 this is no price",
        ),
        (
            add(&format!("'{FILTER}', 1, '{GOOD}', 1.001")),
            "22023 this is no price",
        ),
        (
            add(&format!("'{FILTER}', 1, '{GOOD}', 1e8")),
            "22023 this is no price",
        ),
        (
            add(&format!("'{FILTER}', 2147483647, '{GOOD}', 99999999.99")),
            "22003 the amount is too great",
        ),
        (
            add(&format!("'{BELT}', 1, '{CHEAP}'")),
            "22004 the price is not known",
        ),
        (
            add(&format!(
                "'{FILTER}', 1, '{GOOD}', expected_delivery => 'infinity'"
            )),
            "22023 nothing is delivered on this day",
        ),
        (
            format!("cloudwatcher.create_order('{AT_A}', 'internal_transfer', '{AT_A}')"),
            "22023 a transfer needs two locations",
        ),
        (
            format!("cloudwatcher.change_item('{dozen}', 9)"),
            "22023 the supplier does not sell so few",
        ),
        (
            "cloudwatcher.change_item(NULL)".to_owned(),
            "22004 an argument must not be NULL",
        ),
        (
            format!("cloudwatcher.change_item('{NOTHING}', 1)"),
            "P0002 the item was not found",
        ),
        (
            format!("cloudwatcher.change_item('{item}', 0)"),
            "22023 the quantity must be at least 1",
        ),
        (
            format!("cloudwatcher.change_item('{item}', unit_price => -1)"),
            "22023 this is no price",
        ),
        (
            "cloudwatcher.submit_order(NULL)".to_owned(),
            "22004 an argument must not be NULL",
        ),
        (
            format!("cloudwatcher.submit_order('{order}', 13)"),
            "55000 the total is another one",
        ),
        (
            format!("cloudwatcher.decide_approval('{order}', NULL)"),
            "22023 there is no such decision",
        ),
        (
            format!("cloudwatcher.decide_approval('{order}', 'perhaps')"),
            "22023 there is no such decision",
        ),
        (
            format!("cloudwatcher.decide_approval('{order}', 'approved')"),
            "55000 nobody is asked to approve this order",
        ),
        (
            format!("cloudwatcher.receive_items('{order}')"),
            "55000 nothing is expected of this order",
        ),
        (
            format!("cloudwatcher.cancel_order('{NOTHING}')"),
            "P0002 the order was not found",
        ),
        (
            "cloudwatcher.create_order_from_request(NULL)".to_owned(),
            "22004 an argument must not be NULL",
        ),
        (
            format!("cloudwatcher.create_order_from_request('{NOTHING}')"),
            "P0002 the request was not found",
        ),
    ] {
        assert_eq!(said(&mut client, TECH_A, &sql), expected, "{sql}");
    }
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.mark_ordered('{order}')")
        ),
        "55000 the order is not approved"
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.mark_ordered('{order}', '-infinity')")
        ),
        "22023 nothing is delivered on this day"
    );
    // The price of few changes, whatever the minimum is.
    client.batch_execute("UPDATE cloudwatcher.part_suppliers SET minimum_order_qty = 20 WHERE minimum_order_qty = 10")?;
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!("c.price FROM cloudwatcher.change_item('{dozen}', unit_price => 9) AS c")
        ),
        "9.00"
    );
    // Errors say what was wrong and what to do.
    let error = refused(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.add_item('{order}', '{FILTER}', 9, '{CHEAP}')"),
        "22023",
    );
    assert_eq!(
        error.detail(),
        Some(format!("quantity 9, minimum 20, supplier {CHEAP}").as_str())
    );
    assert!(error.hint().is_some());
    // Nothing of this changed anything.
    assert_eq!(stands(&mut client, &order), "draft 12.00");
    let empty = draft(&mut client, TECH_A, AT_A);
    assert_eq!(
        submit(&mut client, TECH_A, &empty),
        "55000 the order is not complete"
    );
    Ok(())
}

#[test]
fn orders_belong_to_departments() -> Result<()> {
    let (_db, mut client) = furnished("orders_departments")?;
    let order = engines(&mut client, TECH_A, AT_A, 1);
    let item = value(&mut client, "SELECT id FROM cloudwatcher.order_items");
    for sql in [
        "SELECT FROM cloudwatcher.orders".to_owned(),
        "SELECT FROM cloudwatcher.order_items".to_owned(),
        "SELECT DISTINCT order_id FROM cloudwatcher.order_history".to_owned(),
    ] {
        assert_eq!(
            outcomes(&mut client, &sql),
            [
                "42501: anon",
                "0: stranger retired b c south",
                "1: viewer a north head admin service"
            ],
            "{sql}"
        );
    }
    // Not there for those who do not see it, refused to those who only read.
    for sql in [
        format!("SELECT cloudwatcher.add_item('{order}', '{FILTER}', 1, '{GOOD}')"),
        format!("SELECT cloudwatcher.change_item('{item}', 2)"),
        format!("SELECT cloudwatcher.submit_order('{order}')"),
        format!("SELECT cloudwatcher.set_order_location('{order}', '{AT_A}')"),
        format!("SELECT cloudwatcher.cancel_order('{order}', 'x')"),
    ] {
        assert_eq!(
            outcomes(&mut client, &sql),
            [
                "42501: anon stranger retired viewer",
                "1: a north head admin service",
                "P0002: b c south"
            ],
            "{sql}"
        );
    }
    assert_eq!(
        outcomes(
            &mut client,
            &format!("SELECT cloudwatcher.create_order('{AT_A}')")
        ),
        [
            "42501: anon stranger retired viewer",
            "1: a north head admin",
            "P0002: b c south",
            "22004: service"
        ]
    );
    // A technician cancels what he ordered, and nothing else.
    let of_north = engines(&mut client, NORTH, AT_A, 1);
    assert_eq!(
        outcomes(
            &mut client,
            &format!("SELECT cloudwatcher.cancel_order('{of_north}', 'x')")
        ),
        [
            "42501: anon stranger retired viewer a",
            "P0002: b c south",
            "1: north head admin service"
        ]
    );
    // Servers order for somebody.
    let made = served_one(
        &mut client,
        &format!("SELECT cloudwatcher.create_order('{AT_C}', on_behalf_of => '{TECH_C}')"),
    );
    assert_eq!(
        asked_one(
            &mut client,
            TECH_C,
            &format!("SELECT o.created_by FROM cloudwatcher.orders o WHERE o.id = '{made}'")
        ),
        TECH_C
    );
    refused_service(
        &mut client,
        &format!("SELECT cloudwatcher.create_order('{AT_C}', on_behalf_of => '{RETIRED}')"),
        "P0002",
    );
    refused_service(
        &mut client,
        &format!("SELECT cloudwatcher.create_order('{AT_C}', on_behalf_of => '{STRANGER}')"),
        "P0002",
    );
    Ok(())
}

#[test]
fn a_draft_moves_to_another_department_with_its_location() -> Result<()> {
    let (_db, mut client) = furnished("orders_move")?;
    let order = engines(&mut client, NORTH, AT_A, 1);
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.set_order_location('{order}', '{AT_B}')")
        ),
        DEPOT_B
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.set_order_location('{order}', '{AT_C}')")
        ),
        "P0002 the location was not found"
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.set_order_location('{order}', '{AT_B}', '{AT_A}')")
        ),
        "22023 only a transfer has a source location"
    );
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!("cloudwatcher.submit_order('{order}')")
        ),
        "P0002 the order was not found"
    );
    assert_eq!(submit(&mut client, NORTH, &order), "approved 0");
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.set_order_location('{order}', '{AT_A}')")
        ),
        "55000 the order is no draft any more"
    );
    assert_eq!(
        history(&mut client, &order),
        "created:north item-added:north location-changed:north submitted:north approved:north"
    );
    Ok(())
}

#[test]
fn a_request_has_one_order() -> Result<()> {
    let (db, mut client) = furnished("orders_request")?;
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.requests (id, device_id, request_type, dept_id) VALUES
           ('40000000-0000-0000-0000-00000000000a', '{TRUCK_A}', 'get_parts', '{DEPOT_A}'),
           ('40000000-0000-0000-0000-00000000000c', '{TRUCK_C}', 'get_parts', '{DEPOT_C}')"
    ))?;
    let call = "cloudwatcher.create_order_from_request('40000000-0000-0000-0000-00000000000a')";
    let order = said(&mut client, TECH_A, call);
    assert_eq!(said(&mut client, NORTH, call), order);
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT concat_ws(' ', dept_id, location_id, created_by) FROM cloudwatcher.orders WHERE id = '{order}'"
            )
        ),
        format!("{DEPOT_A} {TECH_A}")
    );
    assert_eq!(
        said(&mut client, TECH_B, call),
        "P0002 the request was not found"
    );
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            "cloudwatcher.create_order_from_request('40000000-0000-0000-0000-00000000000a', NULL, 'return')"
        ),
        "55000 there is another order of this request"
    );
    // A location is needed before it goes on.
    add(&mut client, TECH_A, &order, FILTER, GOOD, 1);
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "55000 the order is not complete"
    );
    said(
        &mut client,
        TECH_A,
        &format!("cloudwatcher.set_order_location('{order}', '{AT_A}')"),
    );
    assert_eq!(submit(&mut client, TECH_A, &order), "approved 0");
    // All at once, and one order comes of it.
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let mut client = db.connect()?;
            Ok(std::thread::spawn(move || {
                said(&mut client, TECH_C, "cloudwatcher.create_order_from_request('40000000-0000-0000-0000-00000000000c')")
            }))
        })
        .collect::<Result<_>>()?;
    let mut made: Vec<String> = workers
        .into_iter()
        .filter_map(|worker| worker.join().ok())
        .collect();
    made.dedup();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(made.concat().len(), 36);
    Ok(())
}

/// What came to nothing is out of the way of the next one.
#[test]
fn a_request_is_ordered_again_after_an_end() -> Result<()> {
    let (_db, mut client) = furnished("orders_again")?;
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.requests (id, device_id, request_type, dept_id) VALUES
           ('40000000-0000-0000-0000-00000000000a', '{TRUCK_A}', 'get_parts', '{DEPOT_A}')"
    ))?;
    let call = |location: &str| {
        format!(
            "cloudwatcher.create_order_from_request('40000000-0000-0000-0000-00000000000a'{location})"
        )
    };
    let at_a = call(&format!(", '{AT_A}'"));
    let first = said(&mut client, TECH_A, &at_a);
    assert_eq!(said(&mut client, TECH_A, &at_a), first);
    assert_eq!(said(&mut client, TECH_A, &call("")), first);
    let error = refused(
        &mut client,
        NORTH,
        &format!("SELECT {}", call(&format!(", '{AT_B}'"))),
        "22023",
    );
    assert!(
        error.detail().unwrap_or_default().contains(&first) && error.hint().is_some(),
        "{error:?}"
    );
    said(
        &mut client,
        TECH_A,
        &format!("cloudwatcher.cancel_order('{first}')"),
    );
    let second = said(&mut client, TECH_A, &at_a);
    assert_ne!(second, first);
    assert_eq!(said(&mut client, TECH_A, &at_a), second);
    add(&mut client, TECH_A, &second, ENGINE, GOOD, 1);
    submit(&mut client, TECH_A, &second);
    assert_eq!(decide(&mut client, NORTH, &second, "rejected"), "rejected");
    let third = said(&mut client, TECH_A, &call(""));
    assert!(third != second && third != first && third.len() == 36);
    assert_eq!(
        value(
            &mut client,
            "SELECT string_agg(status, ' ' ORDER BY created_at) FROM cloudwatcher.orders"
        ),
        "cancelled rejected draft"
    );
    Ok(())
}

/// However many items there are, one more does not read them all; nor does the total run over.
#[test]
fn the_total_follows_each_item() -> Result<()> {
    let (_db, mut client) = furnished("orders_total")?;
    let order = draft(&mut client, TECH_A, AT_A);
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.order_items (order_id, part_id, supplier_id, quantity_ordered, unit_price)
         SELECT '{order}', '{FILTER}', '{GOOD}', 1, 2 FROM generate_series(1, 300)"
    ))?;
    assert_eq!(stands(&mut client, &order), "draft 600.00");
    // (What is counted goes on from one transaction to the next.)
    let count = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_all_tables
                  WHERE relid = 'cloudwatcher.order_items'::regclass";
    let read = as_(&mut client, TECH_A, |tx| {
        let before: i64 = tx.query_one(count, &[])?.get(0);
        tx.batch_execute(&format!(
            "SELECT cloudwatcher.add_item('{order}', '{FILTER}', 1, '{GOOD}')"
        ))?;
        Ok(tx.query_one(count, &[])?.get::<_, i64>(0) - before)
    })?;
    assert!(read < 100, "{read}");
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.order_items SET unit_price = 3 WHERE order_id = '{order}' AND unit_price = 2;
         DELETE FROM cloudwatcher.order_items WHERE order_id = '{order}' AND unit_price = 12"
    ))?;
    assert_eq!(stands(&mut client, &order), "draft 900.00");
    // Nobody else sets it.
    expect_sqlstate(
        client.batch_execute(&format!(
            "UPDATE cloudwatcher.orders SET total_amount = 901 WHERE id = '{order}'"
        )),
        "55000",
    );
    let dear = format!(
        "SELECT cloudwatcher.add_item('{order}', '{FILTER}', 99999, '{GOOD}', 99999999.99)"
    );
    for _ in 0..10 {
        asked(&mut client, TECH_A, &dear);
    }
    let error = refused(&mut client, TECH_A, &dear, "22003");
    assert_eq!(error.message(), "the amount is too great");
    assert!(error.detail().is_some() && error.hint().is_some());
    Ok(())
}

/// By whomever, and whatever grants they have.
#[test]
fn plain_sql_skips_no_step() -> Result<()> {
    let (_db, mut client) = furnished("orders_plain")?;
    let order = submitted(&mut client, TECH_A, AT_A, 6, "pending-approval north 2");
    let draft = engines(&mut client, TECH_A, AT_A, 1);
    for (role, user) in [
        ("authenticated", Some(ADMIN)),
        ("authenticated", Some(TECH_A)),
        ("service_role", None),
    ] {
        for sql in [
            "UPDATE cloudwatcher.orders SET status = 'approved'",
            "DELETE FROM cloudwatcher.orders",
            "UPDATE cloudwatcher.order_items SET unit_price = 1",
            "UPDATE cloudwatcher.order_approvals SET status = 'approved'",
            "UPDATE cloudwatcher.order_history SET user_id = NULL",
            "DELETE FROM cloudwatcher.order_history",
            "TRUNCATE cloudwatcher.order_history",
            "DELETE FROM cloudwatcher.approval_delegations",
            "INSERT INTO cloudwatcher.orders (dept_id, created_by) SELECT dept_id, created_by FROM cloudwatcher.orders",
            "INSERT INTO cloudwatcher.order_history (order_id, event_type) SELECT id, 'approved' FROM cloudwatcher.orders",
        ] {
            assert_eq!(
                outcome(&mut client, role, user, sql),
                "42501",
                "{role} {sql}"
            );
        }
    }
    // The owner of the tables does not either.
    let insert = |columns: &str, values: &str| {
        format!(
            "INSERT INTO cloudwatcher.orders (dept_id, created_by, {columns}) VALUES ('{DEPOT_A}', '{TECH_A}', {values})"
        )
    };
    for sql in [
        insert("status", "'approved'"),
        insert("total_amount", "1"),
        insert("submitted_at", "now()"),
        format!("UPDATE cloudwatcher.orders SET status = 'approved' WHERE id = '{draft}'"),
        format!("UPDATE cloudwatcher.orders SET status = 'ordered' WHERE id = '{draft}'"),
        format!("UPDATE cloudwatcher.orders SET status = 'received' WHERE id = '{draft}'"),
        format!("UPDATE cloudwatcher.orders SET status = 'rejected' WHERE id = '{draft}'"),
        format!("UPDATE cloudwatcher.orders SET total_amount = 1 WHERE id = '{draft}'"),
        format!("UPDATE cloudwatcher.orders SET created_by = '{NORTH}' WHERE id = '{draft}'"),
        format!("UPDATE cloudwatcher.orders SET order_type = 'return' WHERE id = '{draft}'"),
        format!(
            "UPDATE cloudwatcher.orders SET request_id = gen_random_uuid() WHERE id = '{draft}'"
        ),
        format!(
            "UPDATE cloudwatcher.orders SET status = 'approved', approved_by = '{NORTH}' WHERE id = '{order}'"
        ),
        format!("UPDATE cloudwatcher.orders SET status = 'rejected' WHERE id = '{order}'"),
        format!("UPDATE cloudwatcher.orders SET status = 'draft' WHERE id = '{order}'"),
        format!("UPDATE cloudwatcher.orders SET total_amount = 1 WHERE id = '{order}'"),
        format!("UPDATE cloudwatcher.orders SET location_id = '{AT_B}' WHERE id = '{order}'"),
        format!("DELETE FROM cloudwatcher.orders WHERE id = '{order}'"),
        format!("UPDATE cloudwatcher.order_items SET unit_price = 1 WHERE order_id = '{order}'"),
        format!(
            "UPDATE cloudwatcher.order_items SET quantity_received = 1 WHERE order_id = '{order}'"
        ),
        format!(
            "UPDATE cloudwatcher.order_items SET order_id = '{draft}' WHERE order_id = '{order}'"
        ),
        format!("DELETE FROM cloudwatcher.order_items WHERE order_id = '{order}'"),
        format!(
            "INSERT INTO cloudwatcher.order_items (order_id, part_id, supplier_id, quantity_ordered, unit_price) VALUES ('{order}', '{FILTER}', '{GOOD}', 1, 1)"
        ),
        format!(
            "INSERT INTO cloudwatcher.order_items (order_id, part_id, supplier_id, quantity_ordered, quantity_received, unit_price) VALUES ('{draft}', '{FILTER}', '{GOOD}', 1, 1, 1)"
        ),
        "UPDATE cloudwatcher.order_history SET event_type = 'x'".to_owned(),
        "DELETE FROM cloudwatcher.order_history".to_owned(),
        "TRUNCATE cloudwatcher.order_history".to_owned(),
        "TRUNCATE cloudwatcher.orders CASCADE".to_owned(),
        format!("DELETE FROM cloudwatcher.order_approvals WHERE order_id = '{order}'"),
        format!(
            "UPDATE cloudwatcher.order_approvals SET approver_id = '{TECH_A}' WHERE order_id = '{order}'"
        ),
        format!(
            "UPDATE cloudwatcher.order_approvals SET status = 'cancelled' WHERE order_id = '{order}'"
        ),
        format!(
            "UPDATE cloudwatcher.order_approvals SET status = 'waiting' WHERE order_id = '{order}' AND status = 'pending'"
        ),
        format!(
            "INSERT INTO cloudwatcher.order_approvals (order_id, approver_id, approval_level, status) VALUES ('{draft}', '{NORTH}', 1, 'pending')"
        ),
        format!(
            "INSERT INTO cloudwatcher.order_approvals (order_id, approver_id, approval_level, status) VALUES ('{order}', '{ADMIN}', 3, 'waiting')"
        ),
    ] {
        let error = expect_sqlstate(client.execute(&sql, &[]), "55000");
        assert!(error.detail().is_some() && error.hint().is_some(), "{sql}");
    }
    // Nor in somebody else's name.
    for (sql, message) in [
        (
            format!(
                "UPDATE cloudwatcher.order_approvals SET status = 'approved', decided_by = '{NORTH}' WHERE order_id = '{order}' AND status = 'pending'"
            ),
            "approvals are decided by people who are logged in",
        ),
        (
            format!(
                "INSERT INTO cloudwatcher.order_approvals (order_id, approver_id, approval_level, status) VALUES ('{order}', '{TECH_A}', 2, 'waiting')"
            ),
            "nobody approves an order of their own",
        ),
    ] {
        assert_eq!(
            expect_sqlstate(client.execute(&sql, &[]), "42501").message(),
            message
        );
    }
    assert_eq!(stands(&mut client, &order), "pending-approval 6000.00");
    assert_eq!(chain(&mut client, &order), "1:north:pending 2:head:waiting");
    // A draft goes with all that belongs to it.
    assert_eq!(
        client.execute(
            &format!("DELETE FROM cloudwatcher.orders WHERE id = '{draft}'"),
            &[]
        )?,
        1
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(DISTINCT order_id) FROM cloudwatcher.order_history"
        ),
        "1"
    );
    Ok(())
}

/// Items come and go while the order is submitted: what was submitted is what it says.
#[test]
fn the_total_is_that_of_the_items_however_many_write() -> Result<()> {
    let (db, mut client) = furnished("orders_racing")?;
    for round in 0..6 {
        let order = draft(&mut client, TECH_A, AT_A);
        add(&mut client, TECH_A, &order, FILTER, GOOD, 1);
        let workers: Vec<_> = (0..6)
            .map(|n| {
                let mut client = db.connect()?;
                let order = order.clone();
                Ok(std::thread::spawn(move || {
                    if n == round {
                        submit(&mut client, TECH_A, &order)
                    } else {
                        said(&mut client, TECH_A, &format!("a.price FROM cloudwatcher.add_item('{order}', '{ENGINE}', {}, '{GOOD}') AS a", n + 1))
                    }
                }))
            })
            .collect::<Result<_>>()?;
        let said: Vec<String> = workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .collect();
        assert_eq!(said.len(), 6);
        for answer in &said {
            assert!(
                answer == "1000.00"
                    || answer == "55000 the order is no draft any more"
                    || answer.starts_with("approved")
                    || answer.starts_with("pending-approval"),
                "{answer}"
            );
        }
        assert_eq!(
            table(&mut client, &format!("SELECT o.total_amount = sum(i.total_price), (h.metadata ->> 'total')::numeric = o.total_amount,
                    o.status = CASE WHEN o.total_amount > 100 THEN 'pending-approval' ELSE 'approved' END
               FROM cloudwatcher.orders o JOIN cloudwatcher.order_items i ON i.order_id = o.id
               JOIN cloudwatcher.order_history h ON h.order_id = o.id AND h.event_type = 'submitted'
              WHERE o.id = '{order}' GROUP BY o.id, h.metadata")),
            ["t | t | t"]
        );
    }
    Ok(())
}
