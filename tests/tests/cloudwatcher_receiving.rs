//! Orders: from the approval to the goods, with the stock that moves.

mod cloudwatcher_order_support;
mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_order_support::*;
use cloudwatcher_support::*;
use gemba_tests::{Database, Random, table, value};
use postgres::Client;

const OPERATION: &str = "60000000-0000-0000-0000-000000000001";

/// `status received still_open`
fn receive(client: &mut Client, who: &str, order: &str, rest: &str) -> String {
    said(
        client,
        who,
        &format!(
            "concat_ws(' ', r.status, r.received, r.still_open) FROM cloudwatcher.receive_items('{order}'{rest}) AS r"
        ),
    )
}

fn stock(client: &mut Client, part: &str, room: &str) -> String {
    value(
        client,
        &format!(
            "SELECT coalesce(sum(quantity_on_hand), 0) FROM cloudwatcher.inventory WHERE part_id = '{part}' AND location_id = '{room}'"
        ),
    )
}

fn item(client: &mut Client, order: &str) -> String {
    value(
        client,
        &format!("SELECT id FROM cloudwatcher.order_items WHERE order_id = '{order}'"),
    )
}

/// What is on hand is what moved, and what orders say was received is what moved for them.
fn assert_in_order(client: &mut Client) {
    let wrong = table(
        client,
        "SELECT 'stock', i.id, i.quantity_on_hand FROM cloudwatcher.inventory i
          WHERE i.quantity_on_hand <> (SELECT coalesce(sum(m.quantity), 0) FROM cloudwatcher.stock_movements m WHERE m.inventory_id = i.id)
         UNION ALL
         SELECT 'order', o.id, sum(i.quantity_received) FROM cloudwatcher.orders o JOIN cloudwatcher.order_items i ON i.order_id = o.id
          GROUP BY o.id
         HAVING sum(i.quantity_received) <> (SELECT coalesce(sum((h.metadata ->> 'received')::int), 0) FROM cloudwatcher.order_history h
                                              WHERE h.order_id = o.id AND h.event_type = 'received-part')
             OR sum(i.quantity_received) <> (SELECT coalesce(sum(abs(m.quantity)), 0) FROM cloudwatcher.stock_movements m
                                              WHERE m.notes = 'order ' || o.id AND m.movement_type <> 'transfer-out')
             OR (o.status = 'received') <> (bool_and(i.quantity_received = i.quantity_ordered))",
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn goods_come_in_parts_and_once() -> Result<()> {
    let (_db, mut client) = furnished("receiving_parts")?;
    let order = submitted(&mut client, NORTH, AT_A, 5, "approved 0");
    assert_eq!(
        receive(&mut client, TECH_A, &order, ""),
        "55000 nothing is expected of this order"
    );
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!("cloudwatcher.mark_ordered('{order}')")
        ),
        "42501 permission is missing"
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("m.status FROM cloudwatcher.mark_ordered('{order}', '2027-03-01') AS m")
        ),
        "ordered"
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("m.status FROM cloudwatcher.mark_ordered('{order}') AS m")
        ),
        "ordered"
    );
    let item = item(&mut client, &order);
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT expected_delivery_date FROM cloudwatcher.order_items WHERE id = '{item}'"
            )
        ),
        "2027-03-01"
    );
    let two = format!(", '[{{\"item\": \"{item}\", \"quantity\": 2}}]', '{OPERATION}'");
    assert_eq!(receive(&mut client, TECH_A, &order, &two), "ordered 2 3");
    assert_eq!(receive(&mut client, TECH_A, &order, &two), "ordered 2 3");
    assert_eq!(stock(&mut client, ENGINE, AT_A), "2");
    assert_eq!(
        receive(
            &mut client,
            TECH_A,
            &order,
            &format!(", NULL, '{OPERATION}'")
        ),
        "22023 the operation was another one"
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.cancel_order('{order}')")
        ),
        "55000 something of the order has been received already"
    );
    let more = format!(", '[{{\"item\": \"{item}\", \"quantity\": 4}}]'");
    assert_eq!(
        receive(&mut client, TECH_A, &order, &more),
        "55000 this is more than is open"
    );
    assert_eq!(receive(&mut client, TECH_A, &order, ""), "received 3 0");
    assert_eq!(receive(&mut client, TECH_A, &order, ""), "received 0 0");
    assert_eq!(receive(&mut client, TECH_A, &order, &two), "received 2 0");
    assert_eq!(stock(&mut client, ENGINE, AT_A), "5");
    assert_eq!(
        history(&mut client, &order),
        "created:north item-added:north submitted:north approved:north ordered:north received-part:tech-a received-part:tech-a received:tech-a"
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.cancel_order('{order}')")
        ),
        "55000 the order has ended"
    );
    assert_in_order(&mut client);
    Ok(())
}

#[test]
fn what_is_no_list_of_items_is_refused() -> Result<()> {
    let (_db, mut client) = furnished("receiving_bad")?;
    let order = ordered(&mut client, 3);
    let other = ordered(&mut client, 3);
    let (mine, others) = (item(&mut client, &order), item(&mut client, &other));
    for (items, expected) in [
        ("[]".to_owned(), "22023 these are no items to receive"),
        ("{}".to_owned(), "22023 these are no items to receive"),
        ("1".to_owned(), "22023 these are no items to receive"),
        ("null".to_owned(), "22023 these are no items to receive"),
        ("[1]".to_owned(), "22023 these are no items to receive"),
        ("[{}]".to_owned(), "22023 these are no items to receive"),
        (
            format!("[{{\"item\": \"{mine}\"}}]"),
            "22023 these are no items to receive",
        ),
        (
            format!("[{{\"item\": \"{mine}\", \"quantity\": 0}}]"),
            "22023 these are no items to receive",
        ),
        (
            format!("[{{\"item\": \"{mine}\", \"quantity\": -1}}]"),
            "22023 these are no items to receive",
        ),
        (
            format!("[{{\"item\": \"{mine}\", \"quantity\": 1.5}}]"),
            "22023 these are no items to receive",
        ),
        (
            format!("[{{\"item\": \"{mine}\", \"quantity\": \"1\"}}]"),
            "22023 these are no items to receive",
        ),
        (
            format!("[{{\"item\": \"{mine}\", \"quantity\": 99999999999}}]"),
            "22023 these are no items to receive",
        ),
        (
            format!("[{{\"item\": \"{mine}\", \"quantity\": 1, \"price\": 1}}]"),
            "22023 these are no items to receive",
        ),
        (
            "[{\"item\": \"x\", \"quantity\": 1}]".to_owned(),
            "22023 these are no items to receive",
        ),
        (
            format!(
                "[{{\"item\": \"{mine}\", \"quantity\": 1}}, {{\"item\": \"{mine}\", \"quantity\": 1}}]"
            ),
            "22023 these are no items to receive",
        ),
        (
            format!("[{{\"item\": \"{others}\", \"quantity\": 1}}]"),
            "P0002 the item was not found",
        ),
        (
            format!("[{{\"item\": \"{NOTHING}\", \"quantity\": 1}}]"),
            "P0002 the item was not found",
        ),
        (
            format!("[{{\"item\": \"{mine}\", \"quantity\": 4}}]"),
            "55000 this is more than is open",
        ),
    ] {
        assert_eq!(
            receive(&mut client, TECH_A, &order, &format!(", '{items}'")),
            expected,
            "{items}"
        );
    }
    assert_eq!(stock(&mut client, ENGINE, AT_A), "0");
    assert_eq!(
        outcomes(
            &mut client,
            &format!("SELECT cloudwatcher.receive_items('{order}')")
        ),
        [
            "42501: anon stranger retired viewer",
            "1: a north head admin service",
            "P0002: b c south"
        ]
    );
    assert_eq!(
        outcomes(
            &mut client,
            &format!("SELECT cloudwatcher.mark_ordered('{order}')")
        ),
        [
            "42501: anon stranger retired viewer a",
            "P0002: b c south",
            "1: north head admin service"
        ]
    );
    Ok(())
}

#[test]
fn the_same_part_twice_moves_twice() -> Result<()> {
    let (_db, mut client) = furnished("receiving_twice")?;
    let order = draft(&mut client, NORTH, AT_A);
    add(&mut client, NORTH, &order, FILTER, GOOD, 1);
    add(&mut client, NORTH, &order, FILTER, CHEAP, 10);
    asked(
        &mut client,
        NORTH,
        &format!(
            "SELECT cloudwatcher.add_item('{order}', '{BELT}', 2, '{GOOD}', variant => '{LONG}')"
        ),
    );
    assert_eq!(submit(&mut client, NORTH, &order), "approved 0");
    asked(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.mark_ordered('{order}')"),
    );
    assert_eq!(
        receive(
            &mut client,
            NORTH,
            &order,
            &format!(", NULL, '{OPERATION}'")
        ),
        "received 13 0"
    );
    assert_eq!(
        receive(
            &mut client,
            NORTH,
            &order,
            &format!(", NULL, '{OPERATION}'")
        ),
        "received 13 0"
    );
    assert_eq!(stock(&mut client, FILTER, AT_A), "11");
    assert_eq!(
        table(
            &mut client,
            "SELECT variant_id, quantity_on_hand FROM cloudwatcher.inventory ORDER BY 1"
        ),
        [format!("{LONG} | 2"), "- | 11".to_owned()]
    );
    assert_in_order(&mut client);
    Ok(())
}

#[test]
fn a_return_takes_goods_away() -> Result<()> {
    let (_db, mut client) = furnished("receiving_return")?;
    let came = ordered(&mut client, 3);
    receive(&mut client, TECH_A, &came, "");
    let back = |client: &mut Client, number: u32| {
        let order = asked_one(
            client,
            NORTH,
            &format!("SELECT cloudwatcher.create_order('{AT_A}', 'return')"),
        );
        add(client, NORTH, &order, ENGINE, GOOD, number);
        assert_eq!(submit(client, NORTH, &order), "approved 0");
        asked(
            client,
            NORTH,
            &format!("SELECT cloudwatcher.mark_ordered('{order}')"),
        );
        order
    };
    let order = back(&mut client, 2);
    assert_eq!(receive(&mut client, TECH_A, &order, ""), "received 2 0");
    assert_eq!(stock(&mut client, ENGINE, AT_A), "1");
    let order = back(&mut client, 2);
    assert_eq!(
        receive(&mut client, TECH_A, &order, ""),
        "55000 not enough stock"
    );
    assert_eq!(stands(&mut client, &order), "ordered 2000.00");
    assert_in_order(&mut client);
    Ok(())
}

/// A transfer of so many engines, ready to be received, by the manager of both depots.
fn transfer(client: &mut Client, from: &str, to: &str, number: u32) -> String {
    let order = asked_one(
        client,
        NORTH,
        &format!("SELECT cloudwatcher.create_order('{to}', 'internal_transfer', '{from}')"),
    );
    add(client, NORTH, &order, ENGINE, GOOD, number);
    assert_eq!(stands(client, &order), "draft 0.00");
    assert_eq!(submit(client, NORTH, &order), "approved 0");
    asked(
        client,
        NORTH,
        &format!("SELECT cloudwatcher.mark_ordered('{order}')"),
    );
    order
}

#[test]
fn a_transfer_takes_from_one_room_what_it_brings_to_another() -> Result<()> {
    let (_db, mut client) = furnished("receiving_transfer")?;
    let came = ordered(&mut client, 3);
    receive(&mut client, TECH_A, &came, "");
    let order = transfer(&mut client, AT_A, AT_B, 2);
    assert_eq!(
        receive(&mut client, TECH_A, &order, ""),
        "P0002 the order was not found"
    );
    assert_eq!(receive(&mut client, TECH_B, &order, ""), "received 2 0");
    assert_eq!(
        (
            stock(&mut client, ENGINE, AT_A),
            stock(&mut client, ENGINE, AT_B)
        ),
        ("1".to_owned(), "2".to_owned())
    );
    let order = transfer(&mut client, AT_A, AT_B, 2);
    assert_eq!(
        receive(&mut client, TECH_B, &order, ""),
        "55000 not enough stock"
    );
    assert_eq!(
        (
            stock(&mut client, ENGINE, AT_A),
            stock(&mut client, ENGINE, AT_B)
        ),
        ("1".to_owned(), "2".to_owned())
    );
    // It needs a source, and somebody who may order there too.
    let order = asked_one(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.create_order('{AT_A}', 'internal_transfer')"),
    );
    add(&mut client, NORTH, &order, ENGINE, GOOD, 1);
    assert_eq!(
        submit(&mut client, NORTH, &order),
        "55000 the order is not complete"
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.set_order_location('{order}', '{AT_A}', '{AT_C}')")
        ),
        "P0002 the location was not found"
    );
    assert_eq!(
        said(
            &mut client,
            HEAD,
            &format!("cloudwatcher.set_order_location('{order}', '{AT_A}', '{AT_A}')")
        ),
        "22023 a transfer needs two locations"
    );
    said(
        &mut client,
        HEAD,
        &format!("cloudwatcher.set_order_location('{order}', '{AT_A}', '{AT_C}')"),
    );
    assert_eq!(submit(&mut client, NORTH, &order), "approved 0");
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.mark_ordered('{order}')")
        ),
        "42501 permission is missing"
    );
    assert_eq!(
        said(
            &mut client,
            HEAD,
            &format!("m.status FROM cloudwatcher.mark_ordered('{order}') AS m")
        ),
        "ordered"
    );
    assert_in_order(&mut client);
    Ok(())
}

/// Rooms that have never had the part: both sides make the rows, and lock them.
#[test]
fn a_transfer_and_the_goods_of_another_do_not_wait_in_a_circle() -> Result<()> {
    let (db, mut client) = furnished("receiving_circle")?;
    let rooms = 12;
    let room = |number: usize| format!("10000000-0000-0000-0001-{number:012}");
    let mut orders = Vec::new();
    for number in 0..rooms {
        client.batch_execute(&format!(
            "INSERT INTO cloudwatcher.locations (id, name, dept_id) VALUES ('{}', 'new {number}', '{DEPOT_B}')",
            room(number)
        ))?;
    }
    served(
        &mut client,
        &format!("SELECT cloudwatcher.receive_stock('{ENGINE}', '{AT_A}', 1000)"),
    );
    for number in 0..rooms {
        orders.push(transfer(&mut client, AT_A, &room(number), 2));
    }
    let told = at_once(&db, 4, move |number, client| {
        (0..rooms)
            .map(|step| {
                if number % 2 == 0 {
                    said(
                        client,
                        NORTH,
                        &format!(
                            "t.quantity_on_hand > 0 FROM cloudwatcher.transfer_stock('{ENGINE}', '{AT_A}', '{}', 1) AS t",
                            room(step)
                        ),
                    )
                } else {
                    said(
                        client,
                        NORTH,
                        &format!(
                            "r.status FROM cloudwatcher.receive_items('{}') AS r",
                            orders[step]
                        ),
                    )
                }
            })
            .collect()
    })?;
    assert!(
        told.iter()
            .all(|told| ["true", "received"].contains(&told.as_str())),
        "{told:?}"
    );
    assert_eq!(stock(&mut client, ENGINE, AT_A), "952");
    assert_in_order(&mut client);
    stock_adds_up(&mut client);
    Ok(())
}

/// Goods are received where the room is now, by whoever may do that there.
#[test]
fn a_room_that_moved_receives_with_its_new_department() -> Result<()> {
    let (_db, mut client) = furnished("receiving_moved")?;
    let order = ordered(&mut client, 2);
    client.batch_execute(&format!(
        "UPDATE cloudwatcher.locations SET dept_id = '{DEPOT_C}' WHERE id = '{AT_A}'"
    ))?;
    for who in [TECH_A, NORTH] {
        assert_eq!(
            receive(&mut client, who, &order, ""),
            "42501 permission is missing"
        );
    }
    assert_eq!(stock(&mut client, ENGINE, AT_A), "0");
    assert_eq!(receive(&mut client, HEAD, &order, ""), "received 2 0");
    assert_in_order(&mut client);
    Ok(())
}

/// All at once, `work` for each of so many clients; what each was told.
fn at_once(
    db: &Database<'static>,
    clients: usize,
    work: impl Fn(usize, &mut Client) -> Vec<String> + Send + Sync + 'static,
) -> Result<Vec<String>> {
    let work = std::sync::Arc::new(work);
    let workers: Vec<_> = (0..clients)
        .map(|n| {
            let mut client = db.connect()?;
            let work = std::sync::Arc::clone(&work);
            Ok(std::thread::spawn(move || work(n, &mut client)))
        })
        .collect::<Result<_>>()?;
    let answers: Vec<_> = workers
        .into_iter()
        .filter_map(|worker| worker.join().ok())
        .collect();
    assert_eq!(answers.len(), clients, "a client broke down");
    Ok(answers.concat())
}

#[test]
fn thirty_two_clients_receive_no_more_than_was_ordered() -> Result<()> {
    let (db, mut client) = furnished("receiving_32")?;
    set_limits(&mut client)?;
    let order = ordered(&mut client, 50);
    let item = item(&mut client, &order);
    let answers = at_once(&db, 32, move |_, client| {
        (0..3)
            .map(|_| {
                receive(
                    client,
                    TECH_A,
                    &order,
                    &format!(", '[{{\"item\": \"{item}\", \"quantity\": 1}}]'"),
                )
            })
            .collect()
    })?;
    let came = answers
        .iter()
        .filter(|answer| answer.starts_with("ordered 1 ") || *answer == "received 1 0")
        .count();
    assert_eq!(came, 50);
    assert!(
        answers.iter().all(|answer| answer.starts_with("ordered 1 ")
            || answer == "received 1 0"
            || answer.starts_with("55000")),
        "{answers:?}"
    );
    assert_eq!(stock(&mut client, ENGINE, AT_A), "50");
    assert_in_order(&mut client);
    Ok(())
}

/// The manager of the north orders what he likes.
fn set_limits(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "UPDATE cloudwatcher.roles SET approval_threshold_amount = 1e9 WHERE name = 'manager'",
    )?;
    Ok(())
}

/// Goods come in, or the order is cancelled: never both.
#[test]
fn cancelling_and_receiving_race() -> Result<()> {
    let (db, mut client) = furnished("receiving_cancel")?;
    for _ in 0..10 {
        let order = ordered(&mut client, 2);
        let id = order.clone();
        let answers = at_once(&db, 4, move |n, client| {
            vec![if n % 2 == 0 {
                said(client, NORTH, &format!("cloudwatcher.cancel_order('{id}')"))
            } else {
                receive(client, TECH_A, &id, "")
            }]
        })?;
        match stands(&mut client, &order).as_str() {
            "cancelled 2000.00" => assert!(
                !answers.iter().any(|a| a.starts_with("received")),
                "{answers:?}"
            ),
            "received 2000.00" => assert!(!answers.iter().any(|a| a == "cancelled"), "{answers:?}"),
            other => panic!("{other} {answers:?}"),
        }
    }
    assert_in_order(&mut client);
    Ok(())
}

/// Transfers both ways, receipts and cancellations at once, some of them in pieces and some repeated: nothing waits
/// in a circle, and nothing gets lost or doubled.
#[test]
fn everything_at_once_adds_up() -> Result<()> {
    let (db, mut client) = furnished("receiving_mixed")?;
    set_limits(&mut client)?;
    for room in [AT_A, AT_B] {
        let order = asked_one(
            &mut client,
            NORTH,
            &format!("SELECT cloudwatcher.create_order('{room}')"),
        );
        add(&mut client, NORTH, &order, ENGINE, GOOD, 40);
        submit(&mut client, NORTH, &order);
        asked(
            &mut client,
            NORTH,
            &format!("SELECT cloudwatcher.mark_ordered('{order}')"),
        );
        assert_eq!(receive(&mut client, NORTH, &order, ""), "received 40 0");
    }
    let orders: Vec<String> = (0..12)
        .map(|n| {
            if n % 2 == 0 {
                transfer(&mut client, AT_A, AT_B, 6)
            } else {
                transfer(&mut client, AT_B, AT_A, 6)
            }
        })
        .collect();
    let answers = at_once(&db, 8, move |n, client| {
        let mut random = Random::new(n as u64);
        (0..20)
            .map(|_| {
                let order = random.pick(&orders).clone();
                if random.chance(10) {
                    return said(client, NORTH, &format!("cloudwatcher.cancel_order('{order}')"));
                }
                let number = random.below(3) + 1;
                let operation = format!("60000000-0000-0000-0000-{:012}", random.below(40));
                let items = format!("jsonb_build_array(jsonb_build_object('item', (SELECT i.id FROM cloudwatcher.order_items i WHERE i.order_id = '{order}'), 'quantity', {number}))");
                receive(client, NORTH, &order, &format!(", {items}, '{operation}'"))
            })
            .collect()
    })?;
    for answer in &answers {
        let fine = [
            "ordered ",
            "received ",
            "cancelled",
            "55000 ",
            "22023 the operation was another one",
        ]
        .iter()
        .any(|start| answer.starts_with(start));
        assert!(fine, "{answer}");
    }
    assert_in_order(&mut client);
    assert_eq!(
        value(
            &mut client,
            "SELECT sum(quantity_on_hand) FROM cloudwatcher.inventory"
        ),
        "80"
    );
    Ok(())
}

/// What runs with the extension's rights writes no table that belongs to somebody else.
#[test]
fn tables_that_were_given_away_are_not_written() -> Result<()> {
    let (db, mut client) = furnished("receiving_given")?;
    let order = ordered(&mut client, 3);
    let open = draft(&mut client, TECH_A, AT_A);
    let thief = db.role("thief")?;
    for name in ["orders", "order_items", "order_approvals", "order_history"] {
        client.batch_execute(&format!("ALTER TABLE cloudwatcher.{name} OWNER TO {thief}"))?;
        for sql in [
            format!("cloudwatcher.create_order('{AT_A}', on_behalf_of => '{TECH_A}')"),
            format!("cloudwatcher.add_item('{open}', '{FILTER}', 1, '{GOOD}')"),
            format!("cloudwatcher.receive_items('{order}')"),
            format!("cloudwatcher.cancel_order('{open}')"),
            "cloudwatcher.escalate_approvals()".to_owned(),
        ] {
            assert_eq!(
                said_as(&mut client, "service_role", None, &sql),
                "55000 the table belongs to somebody else than the extension",
                "{name} {sql}"
            );
        }
        client.batch_execute(&format!(
            "ALTER TABLE cloudwatcher.{name} OWNER TO postgres"
        ))?;
    }
    assert_eq!(receive(&mut client, TECH_A, &order, ""), "received 3 0");
    Ok(())
}

#[test]
fn a_transaction_that_cannot_see_what_others_did_is_refused() -> Result<()> {
    let (_db, mut client) = furnished("receiving_isolation")?;
    let order = ordered(&mut client, 1);
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!(
            "SET default_transaction_isolation = '{}'",
            level.to_lowercase()
        ))?;
        assert!(
            receive(&mut client, TECH_A, &order, "").starts_with("25001"),
            "{level}"
        );
    }
    client.batch_execute("RESET default_transaction_isolation")?;
    assert_eq!(receive(&mut client, TECH_A, &order, ""), "received 1 0");
    Ok(())
}
