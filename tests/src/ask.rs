//! Short questions to a session, and waiting for an answer.

use postgres::{Client, SimpleQueryMessage};
use std::time::{Duration, Instant};

/// The rows of a query as text, columns joined with ` | `, NULL as `-`.
#[track_caller]
pub fn table(client: &mut Client, sql: &str) -> Vec<String> {
    let messages = client
        .simple_query(sql)
        .unwrap_or_else(|error| panic!("{error:?}\nin {sql}"));
    lines(&messages)
}

/// The rows among these messages, as [`table`] gives them.
pub fn lines(messages: &[SimpleQueryMessage]) -> Vec<String> {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|i| row.get(i).unwrap_or("-"))
                    .collect::<Vec<_>>()
                    .join(" | "),
            ),
            _ => None,
        })
        .collect()
}

/// The only value of a query, as text.
#[track_caller]
pub fn value(client: &mut Client, sql: &str) -> String {
    let rows = table(client, sql);
    assert_eq!(rows.len(), 1, "one row was expected of {sql}");
    rows.into_iter().next().unwrap_or_default()
}

/// How long anything may take that happens in another process.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that others bring about. Returns whether it came in time.
pub fn comes_true(mut happened: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if happened() {
            return true;
        }
        if Instant::now() >= give_up {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same; fails the test when it does not come.
#[track_caller]
pub fn wait_until(what: &str, happened: impl FnMut() -> bool) {
    assert!(comes_true(happened), "in vain: {what}");
}

/// Waits until a query returns exactly this value.
#[track_caller]
pub fn wait_for(client: &mut Client, sql: &str, expected: &str) {
    let mut last = String::new();
    let came = comes_true(|| {
        last = value(client, sql);
        last == expected
    });
    assert!(came, "in vain: {expected:?} from {sql}\nlast: {last:?}");
}
