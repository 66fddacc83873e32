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
        client.batch_execute(&receive(-4, "transfer-out", 1))?;
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
    // The same id for something else; more than there is; kinds and signs that do not fit.
    for (sql, code) in [
        (receive(11, "receive", 1), "22023"),
        (receive(-7, "return", 2), "55000"),
        (receive(7, "return", 2), "22023"),
        (receive(-7, "receive", 2), "22023"),
        (receive(0, "receive", 2), "22023"),
        (receive(7, "count", 2), "22023"),
        (receive(2_147_483_647, "receive", 2), "22003"),
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
