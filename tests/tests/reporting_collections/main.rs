//! Collections: which weeks they plan, how weeks go from hand to hand, and that nothing is lost or counted twice.

mod bounds;
mod counts;
mod crashes;
mod duplicates;
mod planning;
mod plans;
mod roles;
mod states;

use anyhow::{Context, Result};
use gemba_tests::{table, value};
use postgres::{Client, Error, Row};

const ANNA: &str = "00000000-0000-0000-0000-0000000000a1";
const BEN: &str = "00000000-0000-0000-0000-0000000000a2";
const ACCOUNT: &str = "00000000-0000-0000-0000-0000000000b1";
const OTHER_ACCOUNT: &str = "00000000-0000-0000-0000-0000000000b2";
/// Anna's, on the first account.
const FLOW: &str = "00000000-0000-0000-0000-0000000000c1";

/// Two users, two accounts, and Anna's workflow.
fn furnish(client: &mut Client) -> Result<()> {
    client.batch_execute(&format!(
        "INSERT INTO auth.users (id) VALUES ('{ANNA}'), ('{BEN}');
         INSERT INTO reporting.amc_instances (id, instance_id, instance_name) VALUES ('{ACCOUNT}', 'one', 'One'), ('{OTHER_ACCOUNT}', 'two', 'Two');
         INSERT INTO reporting.workflows (id, name, instance_id, user_id) VALUES ('{FLOW}', 'sales', '{ACCOUNT}', '{ANNA}')"
    ))?;
    Ok(())
}

/// More workflows of Anna's on the first account; returns their ids.
fn more_workflows(client: &mut Client, number: i32) -> Result<Vec<String>> {
    let rows = client.query(
        "INSERT INTO reporting.workflows (name, instance_id, user_id)
         SELECT 'flow ' || n, $2::text::uuid, $3::text::uuid FROM generate_series(1, $1) AS n RETURNING id::text",
        &[&number, &ACCOUNT, &ANNA],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What `reporting.start_collection(arguments)` returned: `collection_id` and whether it was created.
fn start(client: &mut Client, arguments: &str) -> Result<(String, bool), Error> {
    let row = client.query_one(
        &format!("SELECT collection_id, created FROM reporting.start_collection({arguments})"),
        &[],
    )?;
    Ok((row.get(0), row.get(1)))
}

/// A backfill of the workflow that ends on a certain Saturday.
fn backfill(client: &mut Client, workflow: &str, weeks: i32) -> Result<String> {
    let (id, created) = start(
        client,
        &format!("'{workflow}', target_weeks => {weeks}, end_date => '2025-06-28'"),
    )?;
    anyhow::ensure!(created, "{id} was there already");
    Ok(id)
}

#[derive(Debug, Clone)]
struct Claimed {
    week: String,
    claim: i64,
    collection: String,
    start: String,
    attempt: i32,
}

fn claimed(row: &Row) -> Claimed {
    Claimed {
        week: row.get(0),
        claim: row.get(1),
        collection: row.get(2),
        start: row.get(3),
        attempt: row.get(4),
    }
}

const CLAIM: &str =
    "SELECT week::text, claim, collection, week_start::text, attempt FROM reporting.claim_week";

fn claim(client: &mut Client) -> Result<Option<Claimed>, Error> {
    let row = client.query_opt(&format!("{CLAIM}('test')"), &[])?;
    Ok(row.as_ref().map(claimed))
}

/// The next week, which has to be there.
fn next(client: &mut Client) -> Result<Claimed> {
    claim(client)?.context("there was no week to claim")
}

/// `status duplicate_of? collection_status progress`
fn complete(client: &mut Client, week: &Claimed, checksum: Option<&str>) -> Result<String, Error> {
    let row = client.query_one(
        "SELECT c::text FROM reporting.complete_week($1::text::uuid, 10, $2, claim => $3) AS c",
        &[&week.week, &checksum, &week.claim],
    )?;
    Ok(row.get(0))
}

fn fail(client: &mut Client, week: &Claimed) -> Result<String, Error> {
    let row = client.query_one(
        "SELECT concat_ws(' ', f.status, f.attempts, f.next_attempt_at IS NOT NULL) FROM reporting.fail_week($1::text::uuid, 'no reason', $2) AS f",
        &[&week.week, &week.claim],
    )?;
    Ok(row.get(0))
}

/// Claims and completes all that there is.
fn work_off(client: &mut Client) -> Result<usize> {
    let mut done = 0;
    while let Some(week) = claim(client)? {
        complete(client, &week, None)?;
        done += 1;
    }
    Ok(done)
}

/// `reporting.pause('…')` and the like.
fn call(client: &mut Client, function: &str, collection: &str) -> String {
    value(
        client,
        &format!("SELECT reporting.{function}('{collection}')"),
    )
}

/// `status progress completed skipped failed` of a collection.
fn stands(client: &mut Client, collection: &str) -> String {
    value(
        client,
        &format!(
            "SELECT concat_ws(' ', status, progress_percentage, weeks_completed, weeks_skipped, weeks_failed)
               FROM reporting.report_data_collections WHERE collection_id = '{collection}'"
        ),
    )
}

/// States of a collection's weeks, by date.
fn weeks(client: &mut Client, collection: &str) -> String {
    table(
        client,
        &format!(
            "SELECT w.status FROM reporting.report_data_weeks w JOIN reporting.report_data_collections c ON c.id = w.collection_id
              WHERE c.collection_id = '{collection}' ORDER BY w.week_start_date"
        ),
    )
    .join(" ")
}

/// Whatever is not as it always has to be.
fn assert_in_order(client: &mut Client, when: &str) {
    let wrong = table(
        client,
        "SELECT 'counts', c.collection_id::text, c.status::text, w::text
           FROM reporting.report_data_collections c
          CROSS JOIN LATERAL (
                SELECT count(*) AS weeks, count(*) FILTER (WHERE k.status = 'completed') AS completed,
                       count(*) FILTER (WHERE k.status = 'skipped') AS skipped, count(*) FILTER (WHERE k.status = 'failed') AS failed
                  FROM reporting.report_data_weeks k WHERE k.collection_id = c.id) AS w
          WHERE (c.target_weeks, c.weeks_completed, c.weeks_skipped, c.weeks_failed)
                IS DISTINCT FROM (w.weeks, w.completed, w.skipped, w.failed)
             OR c.progress_percentage < 100 * (w.completed + w.skipped) / w.weeks
             OR (c.status = 'completed') <> (c.cancelled_at IS NULL AND w.completed + w.skipped = w.weeks)
             OR c.status = 'failed' AND c.cancelled_at IS NULL AND (w.failed = 0 OR w.completed + w.skipped + w.failed < w.weeks)
             OR c.status IN ('pending', 'running') AND w.completed + w.skipped + w.failed = w.weeks
         UNION ALL
         SELECT 'week', w.id::text, w.status::text, c.status::text
           FROM reporting.report_data_weeks w JOIN reporting.report_data_collections c ON c.id = w.collection_id
          WHERE (w.claimable_at IS NOT NULL) <> (w.status = 'pending' AND c.status = 'running')
             OR (w.slot IS NOT NULL) <> (w.status = 'running') OR (w.lease_expires_at IS NOT NULL) <> (w.status = 'running')
             OR w.status = 'running' AND c.status NOT IN ('running', 'paused', 'pending')
         UNION ALL
         SELECT 'bound', count(*)::text, '', '' FROM reporting.report_data_collections c, reporting.settings s
          WHERE c.status = 'running' GROUP BY s.max_running_collections HAVING count(*) > s.max_running_collections
         UNION ALL
         SELECT 'bound of weeks', count(*)::text, '', '' FROM reporting.report_data_weeks w, reporting.settings s
          WHERE w.status = 'running' GROUP BY s.max_running_weeks HAVING count(*) > s.max_running_weeks
         UNION ALL
         SELECT 'overlap', a.id::text, b.id::text, ''
           FROM reporting.report_data_weeks a
           JOIN reporting.report_data_weeks b ON (b.workflow_id, b.instance_id) = (a.workflow_id, a.instance_id) AND b.id > a.id
            AND b.week_start_date <= a.week_end_date AND b.week_end_date >= a.week_start_date
            AND (b.week_start_date, b.week_end_date) <> (a.week_start_date, a.week_end_date)
          WHERE a.status IN ('completed', 'skipped', 'running') AND b.status IN ('completed', 'skipped', 'running')",
    );
    assert!(wrong.is_empty(), "{when}: {wrong:#?}");
}
