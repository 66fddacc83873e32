//! What the tests of reports share: people, workflows of theirs, and what a statement comes to.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod figures;

use anyhow::Result;
use gemba_tests::{as_user, value};
use postgres::Client;

pub const ANNA: &str = "00000000-0000-0000-0000-00000000000a";
pub const BEN: &str = "00000000-0000-0000-0000-00000000000b";
pub const CLEO: &str = "00000000-0000-0000-0000-00000000000c";
pub const DORA: &str = "00000000-0000-0000-0000-00000000000d";

/// An account, and workflows on it: two of Anna's, one each of Cleo's and Dora's.
pub const ACCOUNT: &str = "10000000-0000-0000-0000-000000000001";
pub const SALES: &str = "20000000-0000-0000-0000-00000000000a";
pub const SECRET: &str = "20000000-0000-0000-0000-0000000000aa";
pub const OF_CLEO: &str = "20000000-0000-0000-0000-00000000000c";
pub const OF_DORA: &str = "20000000-0000-0000-0000-00000000000d";

/// The people, the account and the workflows, with one week of data each.
pub fn people(client: &mut Client) -> Result<()> {
    client.batch_execute(&format!(
        "INSERT INTO auth.users (id, email) VALUES ('{ANNA}', 'anna@x'), ('{BEN}', 'ben@x'), ('{CLEO}', 'cleo@x'), ('{DORA}', 'dora@x');
         INSERT INTO reporting.amc_instances (id, instance_id, instance_name) VALUES ('{ACCOUNT}', 'amc-1', 'one');
         INSERT INTO reporting.workflows (id, workflow_id, name, user_id, instance_id) VALUES
           ('{SALES}', 'wf_sales', 'sales', '{ANNA}', '{ACCOUNT}'), ('{SECRET}', 'wf_secret', 'secret', '{ANNA}', '{ACCOUNT}'),
           ('{OF_CLEO}', 'wf_cleo', 'of Cleo', '{CLEO}', '{ACCOUNT}'), ('{OF_DORA}', 'wf_dora', 'of Dora', '{DORA}', '{ACCOUNT}');
         INSERT INTO reporting.report_data_aggregates
                (workflow_id, instance_id, aggregation_type, aggregation_key, data_date, metrics)
         SELECT id, '{ACCOUNT}', 'weekly', '2025-01-06_2025-01-12', '2025-01-06', '{{\"clicks\": 5, \"impressions\": 100}}'
           FROM reporting.workflows",
    ))?;
    Ok(())
}

/// A widget's data source over one workflow.
pub fn source(workflow: &str) -> String {
    format!("{{\"workflows\": [\"{workflow}\"], \"metrics\": [\"clicks\"]}}")
}

/// One value, asked as a user.
pub fn ask(client: &mut Client, role: &str, user: Option<&str>, sql: &str) -> Result<String> {
    Ok(as_user(client, role, user, |tx| {
        Ok(tx
            .query_one(&format!("SELECT ({sql})::text"), &[])?
            .get::<_, Option<String>>(0))
    })?
    .unwrap_or_else(|| "-".to_owned()))
}

/// One value, asked as a logged-in user.
#[track_caller]
pub fn asked(client: &mut Client, user: &str, sql: &str) -> String {
    ask(client, "authenticated", Some(user), sql)
        .unwrap_or_else(|error| panic!("{error:#}\nin {sql}"))
}

/// A dashboard of a user's, with a card of one workflow of the user's; returns its dashboard_id.
pub fn dashboard(client: &mut Client, owner: &str, name: &str, workflow: &str) -> Result<String> {
    let made = ask(
        client,
        "authenticated",
        Some(owner),
        &format!("SELECT reporting.create_dashboard('{name}')"),
    )?;
    ask(
        client,
        "authenticated",
        Some(owner),
        &format!(
            "SELECT reporting.add_widget('{made}', 'metric_card', 'clicks', '{}', widget_id => 'card')",
            source(workflow)
        ),
    )?;
    Ok(made)
}

/// The id that the tables use for a dashboard.
pub fn id_of(client: &mut Client, dashboard: &str) -> String {
    value(
        client,
        &format!("SELECT id FROM reporting.dashboards WHERE dashboard_id = '{dashboard}'"),
    )
}

/// What a statement comes to for somebody: how many rows it finds or changes, or its SQLSTATE. Changes nothing.
pub fn outcome(client: &mut Client, role: &str, user: Option<&str>, sql: &str) -> String {
    let mut rows = 0;
    let result = as_user(client, role, user, |tx| {
        let mut inner = tx.transaction()?;
        rows = inner.execute(sql, &[])?;
        inner.rollback()
    });
    match result {
        Ok(()) => rows.to_string(),
        Err(error) => error.as_db_error().map_or_else(
            || panic!("{error:?}\nin {sql}"),
            |error| error.code().code().to_owned(),
        ),
    }
}
