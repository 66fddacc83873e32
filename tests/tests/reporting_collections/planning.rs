//! Which weeks a collection has.

use super::*;
use gemba_tests::{Random, expect_sqlstate, extended};

/// First and last days of a collection's weeks, as days from the 28th of June 2025.
pub fn planned(client: &mut Client, collection: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "SELECT concat(w.week_start_date - date '2025-06-28', '..', w.week_end_date - date '2025-06-28')
               FROM reporting.report_data_weeks w JOIN reporting.report_data_collections c ON c.id = w.collection_id
              WHERE c.collection_id = '{collection}' ORDER BY w.week_start_date"
        ),
    )
}

/// Today is made to be so many days after the 28th of June 2025, as far as collections end by themselves.
pub fn pretend(client: &mut Client, days: i32) -> Result<()> {
    client.execute(
        "UPDATE reporting.settings SET end_lag_days = (clock_timestamp() AT TIME ZONE 'UTC')::date - (date '2025-06-28' + $1::int)",
        &[&days],
    )?;
    Ok(())
}

#[test]
fn a_backfill_is_a_year_of_weeks_up_to_two_weeks_ago() -> Result<()> {
    let db = extended("planning_default")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT c.weeks, c.end_date - (now() AT TIME ZONE 'UTC')::date, c.end_date - c.start_date, c.status, c.created
                   FROM reporting.start_collection('{FLOW}') AS c"
            )
        ),
        ["52 | -14 | 363 | pending | t"]
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), count(DISTINCT w.week_start_date), bool_and(w.week_end_date = w.week_start_date + 6),
                    bool_and((w.week_start_date - c.start_date) % 7 = 0), min(w.week_start_date) = min(c.start_date),
                    max(w.week_end_date) = max(c.end_date), bool_and(w.workflow_id = c.workflow_id AND w.instance_id = c.instance_id),
                    min(w.status), bool_and(w.claimable_at IS NULL)
               FROM reporting.report_data_weeks w JOIN reporting.report_data_collections c ON c.id = w.collection_id"
        ),
        ["52 | 52 | t | t | t | t | t | pending | t"]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT user_id FROM reporting.report_data_collections"
        ),
        ANNA
    );
    Ok(())
}

pub enum Event {
    /// Started with these arguments, and all of it completed.
    Done(&'static str),
    /// The same, but weeks that begin on these days fail.
    Failed(&'static str, &'static [i32]),
    /// Started, and after so many weeks cancelled.
    Cancelled(&'static str, usize),
    /// So many days after the 28th of June.
    Day(i32),
}
use Event::*;

pub fn happen(client: &mut Client, event: &Event) -> Result<()> {
    match event {
        Day(days) => pretend(client, *days)?,
        Done(arguments) => {
            let (id, _) = start(client, &format!("'{FLOW}', {arguments}"))?;
            work_off(client)?;
            assert!(stands(client, &id).starts_with("completed 100"));
        }
        Failed(arguments, days) => {
            let (id, _) = start(client, &format!("'{FLOW}', {arguments}"))?;
            for day in *days {
                // As an application's own hand would do it.
                client.batch_execute(&format!(
                    "SET ROLE service_role;
                     UPDATE reporting.report_data_weeks SET status = 'failed' WHERE week_start_date = date '2025-06-28' + {day};
                     RESET ROLE"
                ))?;
            }
            work_off(client)?;
            assert!(stands(client, &id).starts_with("failed"));
        }
        Cancelled(arguments, after) => {
            let (id, _) = start(client, &format!("'{FLOW}', {arguments}"))?;
            for _ in 0..*after {
                let week = next(client)?;
                complete(client, &week, None)?;
            }
            assert_eq!(call(client, "cancel", &id), "failed");
        }
    }
    Ok(())
}

#[test]
fn the_day_that_is_named_as_fitting_fits() -> Result<()> {
    let db = extended("planning_fits")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    backfill(&mut client, FLOW, 4)?;
    work_off(&mut client)?;
    happen(
        &mut client,
        &Done("type => 'weekly_update', end_date => '2025-07-02'"),
    )?;
    let mut random = Random::new(7);
    for _ in 0..40 {
        let call =
            |end: &str, weeks: u64| format!("'{FLOW}', target_weeks => {weeks}, end_date => {end}");
        let weeks = 1 + random.below(5);
        let end = format!("date '2025-06-01' + {}", random.below(50));
        let Err(error) = start(&mut client, &call(&end, weeks)) else {
            client.batch_execute(
                "DELETE FROM reporting.report_data_collections WHERE status = 'pending'",
            )?;
            continue;
        };
        let report = expect_sqlstate::<()>(Err(error), "22023");
        let hint = report.hint().unwrap_or_default();
        let day = hint
            .split("that fits is ")
            .nth(1)
            .and_then(|rest| rest.get(..10))
            .with_context(|| format!("no day in {hint:?}"))?;
        start(&mut client, &call(&format!("'{day}'"), weeks))?;
        assert_in_order(&mut client, day);
        client.batch_execute(
            "DELETE FROM reporting.report_data_collections WHERE status = 'pending'",
        )?;
    }
    Ok(())
}

#[test]
fn an_update_with_nothing_missing_is_the_last_collection() -> Result<()> {
    let db = extended("planning_nothing")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    let first = backfill(&mut client, FLOW, 2)?;
    work_off(&mut client)?;
    pretend(&mut client, 6)?;
    let call = format!("'{FLOW}', type => 'weekly_update'");
    assert_eq!(start(&mut client, &call)?, (first, false));
    pretend(&mut client, 7)?;
    let (update, created) = start(&mut client, &call)?;
    assert!(created);
    // While it is open, and days go by, it is the one.
    pretend(&mut client, 30)?;
    assert_eq!(start(&mut client, &call)?, (update.clone(), false));
    work_off(&mut client)?;
    pretend(&mut client, 7)?;
    assert_eq!(start(&mut client, &call)?, (update, false));
    Ok(())
}

#[test]
fn an_open_collection_is_the_same_one_or_in_the_way() -> Result<()> {
    let db = extended("planning_open")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    pretend(&mut client, 3)?;
    let (id, created) = start(&mut client, &format!("'{FLOW}', target_weeks => 4"))?;
    assert!(created);
    // A day later it is still the same.
    pretend(&mut client, 4)?;
    for arguments in [
        "target_weeks => 4",
        "target_weeks => 4, end_date => '2025-07-01'",
    ] {
        assert_eq!(
            start(&mut client, &format!("'{FLOW}', {arguments}"))?,
            (id.clone(), false)
        );
    }
    for arguments in [
        "target_weeks => 5",
        "target_weeks => 4, end_date => '2025-06-28'",
        "type => 'weekly_update'",
    ] {
        let error = expect_sqlstate(
            start(&mut client, &format!("'{FLOW}', {arguments}")),
            "55000",
        );
        assert!(
            error.detail().unwrap_or_default().contains(&id),
            "{error:?}"
        );
    }
    // On another account it is another collection.
    assert!(
        start(
            &mut client,
            &format!("'{FLOW}', '{OTHER_ACCOUNT}', target_weeks => 5")
        )?
        .1
    );
    work_off(&mut client)?;
    assert_eq!(
        start(&mut client, &format!("'{FLOW}', target_weeks => 4"))?,
        (id, false)
    );
    Ok(())
}

#[test]
fn two_who_start_the_same_at_once_start_one() -> Result<()> {
    let db = extended("planning_together")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    for round in 0..5 {
        let flow = &more_workflows(&mut client, 1)?[0];
        let started = std::thread::scope(|scope| -> Result<Vec<(String, bool)>> {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| -> Result<(String, bool)> {
                        let mut client = db.connect_as("service_role")?;
                        Ok(start(
                            &mut client,
                            &format!("'{flow}', target_weeks => 10"),
                        )?)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("panicked"))?)
                .collect()
        })?;
        assert_eq!(
            started.iter().filter(|(_, created)| *created).count(),
            1,
            "round {round}"
        );
        assert!(started.iter().all(|(id, _)| *id == started[0].0));
    }
    assert_in_order(&mut client, "at the end");
    Ok(())
}

#[test]
fn mistakes_are_told_with_a_remedy() -> Result<()> {
    let db = extended("planning_mistakes")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    client.batch_execute("INSERT INTO reporting.workflows (id, name) VALUES ('00000000-0000-0000-0000-0000000000c9', 'without an account')")?;
    for (arguments, code) in [
        (format!("'{BEN}'"), "P0002"),
        ("NULL".to_owned(), "P0002"),
        ("'00000000-0000-0000-0000-0000000000c9'".to_owned(), "22023"),
        (format!("'{FLOW}', '{BEN}'"), "P0002"),
        (format!("'{FLOW}', type => 'monthly'"), "22023"),
        (format!("'{FLOW}', type => NULL"), "22023"),
        (format!("'{FLOW}', target_weeks => 0"), "22023"),
        (format!("'{FLOW}', target_weeks => -1"), "22023"),
        (format!("'{FLOW}', target_weeks => 53"), "22023"),
        (
            format!("'{FLOW}', end_date => (now() AT TIME ZONE 'UTC')::date"),
            "22023",
        ),
        (format!("'{FLOW}', end_date => 'infinity'"), "22023"),
        (format!("'{FLOW}', end_date => '-infinity'"), "22023"),
        (format!("'{FLOW}', end_date => '4713-01-01 BC'"), "22023"),
        (format!("'{FLOW}', configuration => '[]'"), "22023"),
        (format!("'{FLOW}', configuration => NULL"), "22023"),
    ] {
        let error = expect_sqlstate(start(&mut client, &arguments), code);
        assert!(error.detail().is_some(), "{arguments}: no detail");
        assert!(error.hint().is_some(), "{arguments}: no hint");
    }
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut tx = client.transaction()?;
        tx.batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}"))?;
        expect_sqlstate(
            tx.query(&format!("SELECT reporting.start_collection('{FLOW}')"), &[]),
            "25001",
        );
        tx.rollback()?;
    }
    // The day before today is over, everywhere.
    assert!(
        start(
            &mut client,
            &format!(
                "'{FLOW}', end_date => (now() AT TIME ZONE 'UTC')::date - 1, target_weeks => 52"
            )
        )?
        .1
    );
    // With no days between, the last one that is over.
    client.batch_execute("UPDATE reporting.settings SET end_lag_days = 0, max_weeks = 3")?;
    let flow = &more_workflows(&mut client, 1)?[0];
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT concat_ws(' ', weeks, end_date - (now() AT TIME ZONE 'UTC')::date) FROM reporting.start_collection('{flow}')"
            )
        ),
        "3 -1"
    );
    Ok(())
}

/// What nobody planned for: whatever is started, done, failed and cancelled in whatever order, no day is collected
/// in two different weeks.
#[test]
fn weeks_never_overlap() -> Result<()> {
    let db = extended("planning_property")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    for seed in 0..12 {
        let mut random = Random::new(seed);
        client.batch_execute("DELETE FROM reporting.report_data_collections")?;
        let mut day = 0;
        for step in 0..25 {
            day += random.below(12) as i32;
            pretend(&mut client, day)?;
            let end = if random.one_in(2) {
                format!(
                    ", end_date => date '2025-06-28' + {}",
                    day - random.below(40) as i32
                )
            } else {
                String::new()
            };
            let kind = random.pick(&["backfill", "weekly_update", "weekly_update"]);
            let arguments = format!(
                "'{FLOW}', type => '{kind}', target_weeks => {}{end}",
                1 + random.below(6)
            );
            match start(&mut client, &arguments) {
                Ok(_) => {}
                Err(error) => {
                    let code = error.code().map(|code| code.code().to_owned());
                    assert!(
                        matches!(code.as_deref(), Some("22023" | "55000")),
                        "seed {seed}, step {step}: {error:?}"
                    );
                }
            }
            while let Some(week) = claim(&mut client)? {
                match random.below(12) {
                    0 => {
                        client.batch_execute(&format!(
                            "UPDATE reporting.report_data_weeks SET status = 'failed' WHERE id = '{}'",
                            week.week
                        ))?;
                    }
                    1 => {
                        call(&mut client, "cancel", &week.collection);
                    }
                    _ => {
                        complete(&mut client, &week, None)?;
                    }
                }
            }
            assert_in_order(&mut client, &format!("seed {seed}, step {step}"));
        }
        assert!(
            !table(
                &mut client,
                "SELECT FROM reporting.report_data_weeks WHERE status = 'completed'"
            )
            .is_empty()
        );
    }
    Ok(())
}
