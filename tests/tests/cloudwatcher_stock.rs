//! Stock: what each of the functions does, and refuses.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use gemba_tests::{expect_sqlstate, table};

const STOCK: &str =
    "SELECT quantity_on_hand, quantity_reserved, quantity_available FROM cloudwatcher.inventory";

#[test]
fn what_is_received_is_there_once_for_each_operation() -> Result<()> {
    let (_db, mut client) = organised("stock_receive_step")?;
    let receive = |quantity: i32, movement: &str, operation: u8| {
        format!(
            "SELECT cloudwatcher._receive('{FILTER}', NULL, '{AT_A}', {quantity},
                      'aaaaaaaa-0000-0000-0000-0000000000{operation:02}', '{movement}', '{TECH_A}', 'as told')"
        )
    };
    for _ in 0..2 {
        client.batch_execute(&receive(10, "receive", 1))?;
        client.batch_execute(&receive(-4, "transfer-out", 2))?;
    }
    assert_eq!(table(&mut client, STOCK), ["6 | 0 | 6"]);
    assert_eq!(
        table(
            &mut client,
            "SELECT movement_type, quantity, on_hand, moved_by, notes FROM cloudwatcher.stock_movements ORDER BY created_at"
        ),
        [
            format!("receive | 10 | 10 | {TECH_A} | as told"),
            format!("transfer-out | -4 | 6 | {TECH_A} | as told")
        ]
    );
    // The same id for something else, or somewhere else; more than there is; kinds and signs that do not fit.
    for (sql, code) in [
        (receive(11, "receive", 1), "22023"),
        (receive(-10, "return", 1), "22023"),
        (receive(10, "receive", 1).replace(FILTER, BELT), "22023"),
        (
            receive(10, "receive", 1).replace("as told", "otherwise"),
            "22023",
        ),
        (receive(-7, "return", 3), "55000"),
        (receive(7, "return", 3), "22023"),
        (receive(-7, "receive", 3), "22023"),
        (receive(0, "receive", 3), "22023"),
        (receive(7, "count", 3), "22023"),
        (receive(2_147_483_647, "receive", 3), "22003"),
    ] {
        let error = expect_sqlstate(client.simple_query(&sql), code);
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{error:?}"
        );
    }
    assert_eq!(table(&mut client, STOCK), ["6 | 0 | 6"]);
    Ok(())
}

#[test]
fn a_reservation_is_made_released_and_consumed() -> Result<()> {
    let (_db, mut client) = organised("stock_reservation")?;
    let client = &mut client;
    assert_eq!(
        asked(
            client,
            TECH_A,
            &format!(
                "SELECT * FROM cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 10, operation => '{}')",
                id(1)
            )
        ),
        [format!("{} | 10 | 0 | 10", id(1))]
    );
    let reserve = |quantity: i32, number: u32| {
        format!(
            "SELECT * FROM cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', {quantity}, reservation => '{}', notes => 'for the truck')",
            id(number)
        )
    };
    // Again: the same answer, nothing done twice.
    for _ in 0..2 {
        assert_eq!(
            asked(client, TECH_A, &reserve(7, 10)),
            [format!("{} | 10 | 7 | 3", id(10))]
        );
    }
    let error = refused(client, TECH_A, &reserve(4, 11), "55000");
    assert_eq!(error.message(), "not enough stock");
    assert!(
        error
            .detail()
            .is_some_and(|detail| detail.starts_with("available 3, wanted 4")),
        "{error:?}"
    );
    assert_eq!(
        asked(client, TECH_A, &reserve(3, 11)),
        [format!("{} | 10 | 10 | 0", id(11))]
    );
    // The id says what was reserved.
    refused(client, TECH_A, &reserve(4, 10), "22023");
    refused(
        client,
        TECH_A,
        &format!(
            "SELECT cloudwatcher.reserve_stock('{BELT}', '{AT_A}', 7, reservation => '{}')",
            id(10)
        ),
        "22023",
    );

    // Some of it, once; then too much; then what is left, again and again.
    let release = |rest: &str| {
        format!(
            "SELECT * FROM cloudwatcher.release_stock('{}'{rest})",
            id(10)
        )
    };
    for _ in 0..2 {
        assert_eq!(
            asked(client, TECH_A, &release(&format!(", 2, '{}'", id(20)))),
            [format!("{} | 5 | 10 | 8 | 2", id(10))]
        );
    }
    assert_eq!(
        refused(client, TECH_A, &release(", 6"), "55000").message(),
        "less is reserved"
    );

    // Some of what is left is used up, and some of what nobody has reserved.
    let consume = |quantity: i32, rest: &str| {
        format!(
            "SELECT quantity_on_hand, quantity_reserved, quantity_available FROM cloudwatcher.consume_part('{FILTER}', '{AT_A}', {quantity}{rest})"
        )
    };
    let reserved = format!(
        ", reservation => '{}', operation => '{}', consumed_on => '2025-02-03'",
        id(10),
        id(30)
    );
    for _ in 0..2 {
        assert_eq!(asked(client, TECH_A, &consume(4, &reserved)), ["6 | 4 | 2"]);
    }
    refused(client, TECH_A, &consume(3, &reserved), "22023");
    refused(
        client,
        TECH_A,
        &consume(2, &format!(", reservation => '{}'", id(10))),
        "55000",
    );
    refused(client, TECH_A, &consume(3, ""), "55000");
    assert_eq!(
        asked(client, TECH_A, &consume(2, ", notes => 'spilled'")),
        ["4 | 4 | 0"]
    );
    for _ in 0..2 {
        assert_eq!(
            asked(client, TECH_A, &release("")),
            [format!("{} | 0 | 4 | 3 | 1", id(10))]
        );
    }

    assert_eq!(
        table(
            client,
            "SELECT quantity, open, reserved_by, notes FROM cloudwatcher.stock_reservations ORDER BY quantity"
        ),
        [
            format!("3 | 3 | {TECH_A} | for the truck"),
            format!("7 | 0 | {TECH_A} | for the truck")
        ]
    );
    assert_eq!(
        table(
            client,
            "SELECT c.quantity_consumed, c.consumption_date = '2025-02-03',
                    c.consumed_by, m.quantity, m.on_hand, m.notes
               FROM cloudwatcher.part_consumption c JOIN cloudwatcher.stock_movements m USING (id) ORDER BY m.created_at"
        ),
        [format!("4 | t | {TECH_A} | -4 | 6 | -"), format!("2 | f | {TECH_A} | -2 | 4 | spilled")]
    );
    stock_adds_up(client);
    Ok(())
}

#[test]
fn stock_is_transferred_at_both_ends_or_not_at_all() -> Result<()> {
    let (_db, mut client) = organised("stock_transfer")?;
    let client = &mut client;
    served(
        client,
        &format!("SELECT cloudwatcher.receive_stock('{BELT}', '{AT_A}', 10, '{LONG}')"),
    );
    served(
        client,
        &format!("SELECT cloudwatcher.receive_stock('{BELT}', '{AT_A}', 2, '{SHORT}')"),
    );
    served(
        client,
        &format!("SELECT cloudwatcher.reserve_stock('{BELT}', '{AT_A}', 7, '{LONG}')"),
    );
    let transfer = |quantity: i32, rest: &str| {
        format!("SELECT location_id, quantity_on_hand, quantity_reserved, quantity_available
                   FROM cloudwatcher.transfer_stock('{BELT}', '{AT_A}', '{AT_B}', {quantity}{rest})")
    };
    let long = format!(", '{LONG}', '{}'", id(1));
    for _ in 0..2 {
        assert_eq!(
            asked(client, NORTH, &transfer(3, &long)),
            [format!("{AT_A} | 7 | 7 | 0"), format!("{AT_B} | 3 | 0 | 3")]
        );
    }
    refused(client, NORTH, &transfer(2, &long), "22023");
    // What is promised stays; what has no variant is something else, and is not there.
    refused(client, NORTH, &transfer(1, &format!(", '{LONG}'")), "55000");
    refused(client, NORTH, &transfer(1, ""), "55000");
    refused(
        client,
        NORTH,
        &format!("SELECT cloudwatcher.transfer_stock('{BELT}', '{AT_A}', '{AT_A}', 1, '{SHORT}')"),
        "22023",
    );
    assert_eq!(
        table(
            client,
            "SELECT l.name, v.variant_code, i.quantity_on_hand, i.quantity_reserved FROM cloudwatcher.inventory i
               JOIN cloudwatcher.locations l ON l.id = i.location_id LEFT JOIN cloudwatcher.part_variants v ON v.id = i.variant_id ORDER BY 1, 2"
        ),
        ["room a | long | 7 | 7", "room a | short | 2 | 0", "room b | long | 3 | 0"]
    );
    assert_eq!(
        table(
            client,
            "SELECT movement_type, quantity, operation_id FROM cloudwatcher.stock_movements WHERE movement_type LIKE 'transfer%' ORDER BY 2"
        ),
        [
            format!("transfer-out | -3 | {}", id(1)),
            format!("transfer-in | 3 | {}", id(1))
        ]
    );
    stock_adds_up(client);
    Ok(())
}

/// An id is that of one operation with all that was asked for: to repeat it otherwise, or elsewhere, is refused and
/// changes nothing.
#[test]
fn an_operation_is_repeated_as_it_was() -> Result<()> {
    let (_db, mut client) = organised("stock_repeats")?;
    let client = &mut client;
    for (part, room, variant) in [
        (FILTER, AT_A, "NULL".to_owned()),
        (FILTER, WAREHOUSE, "NULL".to_owned()),
        (BELT, AT_A, format!("'{LONG}'")),
    ] {
        served(
            client,
            &format!("SELECT cloudwatcher.receive_stock('{part}', '{room}', 50, {variant})"),
        );
    }
    for number in [1, 2] {
        served(
            client,
            &format!(
                "SELECT cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', 9, reservation => '{}', notes => 'soon')",
                id(number)
            ),
        );
    }
    let (one, two) = (id(1), id(2));
    let done = [
        format!(
            "receive_stock('{FILTER}', '{AT_A}', 10, NULL, '{}')",
            id(11)
        ),
        format!(
            "receive_stock('{FILTER}', '{AT_B}', 10, NULL, '{}', 'by train')",
            id(12)
        ),
        format!(
            "transfer_stock('{FILTER}', '{AT_A}', '{AT_B}', 10, NULL, '{}')",
            id(13)
        ),
        format!(
            "count_stock('{FILTER}', '{WAREHOUSE}', 40, NULL, '{}')",
            id(14)
        ),
        format!(
            "consume_part('{FILTER}', '{AT_A}', 2, NULL, '{one}', '2025-02-03', NULL, '{}')",
            id(15)
        ),
        format!(
            "consume_part('{FILTER}', '{AT_A}', 2, operation => '{}')",
            id(16)
        ),
        format!("release_stock('{one}', 2, '{}')", id(17)),
        format!("release_stock('{two}', NULL, '{}')", id(18)),
    ];
    for call in &done {
        served(client, &format!("SELECT cloudwatcher.{call}"));
    }
    let before = table(client, &format!("{STOCK} ORDER BY part_id, location_id"));
    for call in [
        format!("receive_stock('{BELT}', '{AT_A}', 10, NULL, '{}')", id(11)),
        format!(
            "receive_stock('{BELT}', '{AT_A}', 10, '{LONG}', '{}')",
            id(11)
        ),
        format!(
            "receive_stock('{FILTER}', '{AT_B}', 10, NULL, '{}')",
            id(11)
        ),
        format!("receive_stock('{FILTER}', '{AT_A}', 9, NULL, '{}')", id(11)),
        format!(
            "receive_stock('{FILTER}', '{AT_B}', 10, NULL, '{}', 'by ship')",
            id(12)
        ),
        format!("count_stock('{FILTER}', '{AT_A}', 10, NULL, '{}')", id(11)),
        format!(
            "consume_part('{FILTER}', '{AT_A}', 10, operation => '{}')",
            id(11)
        ),
        // Another target, source, part, number or direction; and something else than a transfer.
        format!(
            "transfer_stock('{FILTER}', '{AT_A}', '{AT_C}', 10, NULL, '{}')",
            id(13)
        ),
        format!(
            "transfer_stock('{FILTER}', '{WAREHOUSE}', '{AT_B}', 10, NULL, '{}')",
            id(13)
        ),
        format!(
            "transfer_stock('{FILTER}', '{WAREHOUSE}', '{AT_C}', 10, NULL, '{}')",
            id(13)
        ),
        format!(
            "transfer_stock('{BELT}', '{AT_A}', '{AT_B}', 10, '{LONG}', '{}')",
            id(13)
        ),
        format!(
            "transfer_stock('{FILTER}', '{AT_B}', '{AT_A}', 10, NULL, '{}')",
            id(13)
        ),
        format!(
            "receive_stock('{FILTER}', '{AT_B}', 10, NULL, '{}')",
            id(13)
        ),
        format!(
            "transfer_stock('{FILTER}', '{AT_A}', '{AT_B}', 10, NULL, '{}')",
            id(11)
        ),
        format!(
            "count_stock('{FILTER}', '{WAREHOUSE}', 41, NULL, '{}')",
            id(14)
        ),
        format!("count_stock('{FILTER}', '{AT_A}', 40, NULL, '{}')", id(14)),
        // From another reservation or none, on another day.
        format!(
            "consume_part('{FILTER}', '{AT_A}', 2, NULL, '{two}', '2025-02-03', NULL, '{}')",
            id(15)
        ),
        format!(
            "consume_part('{FILTER}', '{AT_A}', 2, NULL, NULL, '2025-02-03', NULL, '{}')",
            id(15)
        ),
        format!(
            "consume_part('{FILTER}', '{AT_A}', 2, NULL, '{one}', '2025-02-04', NULL, '{}')",
            id(15)
        ),
        format!(
            "consume_part('{FILTER}', '{AT_A}', 2, NULL, '{one}', NULL, NULL, '{}')",
            id(15)
        ),
        format!(
            "consume_part('{FILTER}', '{AT_A}', 2, NULL, '{one}', operation => '{}')",
            id(16)
        ),
        format!(
            "consume_part('{BELT}', '{AT_A}', 2, '{LONG}', operation => '{}')",
            id(16)
        ),
        format!(
            "consume_part('{FILTER}', '{AT_A}', 2, notes => 'other', operation => '{}')",
            id(16)
        ),
        format!("release_stock('{one}', 3, '{}')", id(17)),
        format!("release_stock('{one}', NULL, '{}')", id(17)),
        format!("release_stock('{two}', 2, '{}')", id(17)),
        format!("release_stock('{two}', 9, '{}')", id(18)),
        format!("reserve_stock('{FILTER}', '{AT_A}', 9, reservation => '{one}', notes => 'later')"),
    ] {
        let error = refused_service(client, &format!("SELECT cloudwatcher.{call}"), "22023");
        assert_eq!(
            error.message(),
            "this id stands for something else",
            "{call}"
        );
    }
    for call in &done {
        served(client, &format!("SELECT cloudwatcher.{call}"));
    }
    assert_eq!(
        table(client, &format!("{STOCK} ORDER BY part_id, location_id")),
        before
    );
    stock_adds_up(client);
    Ok(())
}

#[test]
fn what_was_counted_is_what_there_is() -> Result<()> {
    let (_db, mut client) = organised("stock_count")?;
    let client = &mut client;
    let count = |counted: i32, number: u32| {
        format!("SELECT difference, quantity_on_hand, quantity_reserved, quantity_available
                   FROM cloudwatcher.count_stock('{FILTER}', '{AT_A}', {counted}, operation => '{}')", id(number))
    };
    assert_eq!(asked(client, NORTH, &count(5, 1)), ["5 | 5 | 0 | 5"]);
    served(
        client,
        &format!(
            "SELECT cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', 4, reservation => '{}')",
            id(9)
        ),
    );
    for _ in 0..2 {
        assert_eq!(asked(client, NORTH, &count(3, 2)), ["-2 | 3 | 4 | -1"]);
    }
    refused(client, NORTH, &count(4, 2), "22023");
    assert_eq!(
        asked(
            client,
            TECH_A,
            "SELECT quantity, quantity_reserved, quantity_available, backorder, reorder_due, last_counted_at IS NOT NULL FROM cloudwatcher.stock_levels"
        ),
        ["3 | 4 | -1 | 1 | f | t"]
    );
    // Nothing more is promised, what was promised can be had as far as it is there, and receiving fills the gap.
    refused(
        client,
        TECH_A,
        &format!("SELECT cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', 1)"),
        "55000",
    );
    let consume = |quantity: i32| {
        format!(
            "SELECT cloudwatcher.consume_part('{FILTER}', '{AT_A}', {quantity}, reservation => '{}')",
            id(9)
        )
    };
    refused(client, TECH_A, &consume(4), "55000");
    asked(client, TECH_A, &consume(3));
    assert_eq!(table(client, STOCK), ["0 | 1 | -1"]);
    asked(
        client,
        TECH_A,
        &format!("SELECT cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 2)"),
    );
    assert_eq!(table(client, STOCK), ["2 | 1 | 1"]);
    // A count that changes nothing is on record too.
    assert_eq!(asked(client, NORTH, &count(2, 3)), ["0 | 2 | 1 | 1"]);
    assert_eq!(
        table(
            client,
            "SELECT quantity, on_hand FROM cloudwatcher.stock_movements WHERE movement_type = 'count' ORDER BY created_at"
        ),
        ["5 | 5", "-2 | 3", "0 | 2"]
    );
    stock_adds_up(client);
    Ok(())
}

#[test]
fn every_argument_has_its_error() -> Result<()> {
    let (_db, mut client) = organised("stock_errors")?;
    let client = &mut client;
    served(
        client,
        &format!("SELECT cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 10)"),
    );
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.locations SET is_active = false WHERE id = '{WAREHOUSE}'"
    ))?;
    served(
        client,
        &format!("SELECT cloudwatcher.count_stock('{FILTER}', '{WAREHOUSE}', 4)"),
    );
    let nothing = format!("'{NOTHING}'");
    let (part, room) = (format!("'{FILTER}'"), format!("'{AT_A}'"));
    for (call, code) in [
        (format!("reserve_stock(NULL, {room}, 1)"), "22004"),
        (format!("reserve_stock({part}, NULL, 1)"), "22004"),
        (format!("reserve_stock({part}, {room}, NULL)"), "22004"),
        (format!("reserve_stock({part}, {room}, 0)"), "22023"),
        (format!("reserve_stock({part}, {room}, -1)"), "22023"),
        (
            format!("reserve_stock({part}, {room}, 2147483647)"),
            "55000",
        ),
        (format!("reserve_stock({nothing}, {room}, 1)"), "P0002"),
        (format!("reserve_stock({part}, {nothing}, 1)"), "P0002"),
        (
            format!("reserve_stock({part}, {room}, 1, {nothing})"),
            "P0002",
        ),
        (
            format!("reserve_stock({part}, {room}, 1, '{LONG}')"),
            "P0002",
        ),
        (
            format!("reserve_stock('{BELT}', {room}, 1, '{LONG}')"),
            "55000",
        ),
        (format!("reserve_stock({part}, '{WAREHOUSE}', 1)"), "55000"),
        (format!("receive_stock({part}, '{WAREHOUSE}', 1)"), "55000"),
        (
            format!("transfer_stock({part}, {room}, '{WAREHOUSE}', 1)"),
            "55000",
        ),
        ("release_stock(NULL)".to_owned(), "22004"),
        (format!("release_stock({nothing})"), "P0002"),
        (format!("release_stock({nothing}, 0)"), "22023"),
        (format!("consume_part({part}, {room}, NULL)"), "22004"),
        (
            format!("consume_part({part}, {room}, 1, reservation => {nothing})"),
            "P0002",
        ),
        (
            format!("consume_part({part}, {room}, 1, consumed_on => current_date + 2)"),
            "22023",
        ),
        (
            format!("consume_part({part}, {room}, 1, consumed_on => 'infinity')"),
            "22023",
        ),
        (
            format!("consume_part({part}, {room}, 1, consumed_on => '-infinity')"),
            "22023",
        ),
        (format!("consume_part('{BELT}', {room}, 1)"), "55000"),
        (
            format!("receive_stock({part}, {room}, 2147483647)"),
            "22003",
        ),
        (format!("receive_stock({nothing}, {room}, 1)"), "P0002"),
        (
            format!("transfer_stock({part}, {room}, {nothing}, 1)"),
            "P0002",
        ),
        (format!("transfer_stock({part}, {room}, NULL, 1)"), "22004"),
        (
            format!("transfer_stock({part}, {room}, '{AT_B}', 11)"),
            "55000",
        ),
        (format!("count_stock({part}, {room}, -1)"), "22023"),
        (format!("count_stock({part}, {room}, NULL)"), "22004"),
        (format!("count_stock(NULL, {room}, 1)"), "22004"),
    ] {
        let error = refused_service(client, &format!("SELECT cloudwatcher.{call}"), code);
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{call}: {error:?}"
        );
    }
    // What a closed location still has can be used.
    served(
        client,
        &format!("SELECT cloudwatcher.consume_part({part}, '{WAREHOUSE}', 1)"),
    );
    served(
        client,
        &format!("SELECT cloudwatcher.transfer_stock({part}, '{WAREHOUSE}', {room}, 3)"),
    );
    assert_eq!(
        table(client, &format!("{STOCK} ORDER BY 1")),
        ["0 | 0 | 0", "13 | 0 | 13"]
    );
    Ok(())
}

#[test]
fn records_cannot_be_changed_by_anybody() -> Result<()> {
    let (_db, mut client) = organised("stock_records")?;
    let client = &mut client;
    served(
        client,
        &format!("SELECT cloudwatcher.receive_stock('{FILTER}', '{AT_A}', 10)"),
    );
    served(
        client,
        &format!("SELECT cloudwatcher.reserve_stock('{FILTER}', '{AT_A}', 4)"),
    );
    for sql in [
        "UPDATE cloudwatcher.inventory SET quantity_reserved = 11",
        "DELETE FROM cloudwatcher.inventory",
        "DELETE FROM cloudwatcher.parts",
        "DELETE FROM cloudwatcher.locations",
        "UPDATE cloudwatcher.stock_movements SET quantity = 11",
        "UPDATE cloudwatcher.stock_movements SET notes = 'x'",
        "DELETE FROM cloudwatcher.stock_movements",
        "TRUNCATE cloudwatcher.stock_movements",
        "UPDATE cloudwatcher.stock_reservations SET open = 5, quantity = 5",
        "UPDATE cloudwatcher.stock_reservations SET reserved_by = NULL, inventory_id = gen_random_uuid()",
        "DELETE FROM cloudwatcher.stock_reservations",
        "TRUNCATE cloudwatcher.stock_reservations CASCADE",
    ] {
        let error = expect_sqlstate(client.simple_query(sql), "55000");
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{sql}: {error:?}"
        );
        let served = outcome(client, "service_role", None, sql);
        assert!(
            ["42501", "55000"].contains(&served.as_str()),
            "{sql}: {served}"
        );
    }
    stock_adds_up(client);
    // What is empty stays as well, for its records; only what never moved goes.
    served(
        client,
        &format!("SELECT cloudwatcher.count_stock('{FILTER}', '{AT_A}', 0)"),
    );
    expect_sqlstate(
        client.simple_query("DELETE FROM cloudwatcher.locations"),
        "55000",
    );
    served(
        client,
        "SELECT cloudwatcher.release_stock(id) FROM cloudwatcher.stock_reservations",
    );
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.inventory (part_id, variant_id, location_id, reorder_point, reorder_quantity)
         VALUES ('{BELT}', '{LONG}', '{AT_B}', 1, 1)"
    ))?;
    for sql in [
        "DELETE FROM cloudwatcher.locations".to_owned(),
        "DELETE FROM cloudwatcher.inventory".to_owned(),
        format!("DELETE FROM cloudwatcher.parts WHERE id = '{FILTER}'"),
    ] {
        let error = expect_sqlstate(client.simple_query(&sql), "55000");
        assert_eq!(error.message(), "there are records of it", "{sql}");
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("is_active") && hint.contains("false")),
            "{error:?}"
        );
    }
    client.batch_execute(&format!(
        "DELETE FROM cloudwatcher.parts WHERE id = '{BELT}'; DELETE FROM cloudwatcher.locations WHERE id = '{AT_B}'"
    ))?;
    assert_eq!(
        table(
            client,
            "SELECT count(*) FROM cloudwatcher.stock_movements UNION ALL SELECT count(*) FROM cloudwatcher.stock_reservations
             UNION ALL SELECT count(*) FROM cloudwatcher.inventory"
        ),
        ["2", "1", "1"]
    );
    Ok(())
}
