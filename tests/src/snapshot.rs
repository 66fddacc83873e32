//! Everything in a database that a dump, a restore or an upgrade must bring back.

use anyhow::{Result, bail};
use postgres::Client;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What there is → its state as text.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<Key, String>);

/// Kind and name.
type Key = (String, String);

/// Reads the whole database as it is now.
pub fn snapshot(client: &mut Client) -> Result<Snapshot> {
    // One snapshot for all queries; names are qualified by an empty path; text is stable.
    let mut tx = client
        .build_transaction()
        .isolation_level(postgres::IsolationLevel::RepeatableRead)
        .start()?;
    tx.batch_execute(
        "SET LOCAL search_path = ''; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO';
         SET LOCAL row_security = off",
    )?;
    let mut state = BTreeMap::new();
    for row in tx.query(include_str!("snapshot.sql"), &[])? {
        let key: Key = (row.get(0), row.get(1));
        let detail = row.get::<_, Option<String>>(2).unwrap_or_default();
        if state.insert(key.clone(), detail).is_some() {
            bail!("snapshot.sql names {key:?} twice");
        }
    }
    let holders: Vec<Key> = state
        .keys()
        .filter(|(kind, _)| ["table", "foreign table", "sequence"].contains(&kind.as_str()))
        .cloned()
        .collect();
    for (kind, name) in holders {
        let (label, sql) = if kind != "sequence" {
            // Partitions hold the rows; counting them at the parent too says that they hang together.
            (
                "rows",
                format!(
                    "SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(
                        md5(t::text), '' ORDER BY t::text COLLATE \"C\")), '') FROM {name} AS t"
                ),
            )
        } else {
            (
                "position",
                format!("SELECT last_value || ' ' || is_called FROM {name}"),
            )
        };
        let found: String = tx.query_one(&sql, &[])?.get(0);
        state.insert((label.to_owned(), name), found);
    }
    tx.rollback()?;
    Ok(Snapshot(state))
}

impl Snapshot {
    /// What `other` has different, one line each; empty when nothing.
    pub fn differences(&self, other: &Self) -> String {
        let mut text = String::new();
        let keys: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for key in keys {
            let (kind, name) = key;
            match (self.0.get(key), other.0.get(key)) {
                (before, after) if before == after => {}
                (Some(before), Some(after)) => {
                    let _ = writeln!(text, "{kind} {name}\n  before: {before}\n  after:  {after}");
                }
                (Some(_), None) => {
                    let _ = writeln!(text, "{kind} {name}\n  gone");
                }
                (None, _) => {
                    let _ = writeln!(text, "{kind} {name}\n  new");
                }
            }
        }
        text
    }

    /// Fails the test unless `after` is the same.
    #[track_caller]
    pub fn assert_same(&self, after: &Self, what: &str) {
        let text = self.differences(after);
        assert!(text.is_empty(), "{what} changed the database:\n{text}");
    }

    /// Leaves out what `unwanted` says, given each thing's kind and name.
    pub fn without(mut self, unwanted: impl Fn(&str, &str) -> bool) -> Self {
        self.0.retain(|(kind, name), _| !unwanted(kind, name));
        self
    }

    /// Passes every name and state through `rewrite`, to blank out what may differ.
    pub fn rewritten(self, rewrite: impl Fn(&str) -> String) -> Self {
        let rewritten =
            |((kind, name), state): (Key, String)| ((kind, rewrite(&name)), rewrite(&state));
        Self(self.0.into_iter().map(rewritten).collect())
    }

    /// How many things of this kind there are: a comparison of nothing proves nothing.
    pub fn count(&self, kind: &str) -> usize {
        self.0.keys().filter(|(other, _)| other == kind).count()
    }

    /// The state of one thing, such as `get("rows", "telemetry.sensors")`.
    pub fn get(&self, kind: &str, name: &str) -> Option<&str> {
        self.0
            .get(&(kind.to_owned(), name.to_owned()))
            .map(String::as_str)
    }
}
