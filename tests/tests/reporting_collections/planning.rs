//! Which weeks a collection has.

use super::*;
use gemba_tests::{Random, expect_sqlstate, extended};

/// First and last days of a collection's weeks, as days from the 28th of June 2025.
fn planned(client: &mut Client, collection: &str) -> Vec<String> {
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
fn pretend(client: &mut Client, days: i32) -> Result<()> {
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

/// What happens to a workflow, and what a call then plans: weeks, or an SQLSTATE and part of what it says.
struct Case {
    name: &'static str,
    history: &'static [Event],
    call: &'static str,
    planned: Result<&'static [&'static str], (&'static str, &'static str)>,
}

enum Event {
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

const CASES: &[Case] = &[
    Case {
        name: "so many weeks up to a day",
        history: &[],
        call: "target_weeks => 3, end_date => '2025-06-28'",
        planned: Ok(&["-20..-14", "-13..-7", "-6..0"]),
    },
    Case {
        name: "one week",
        history: &[],
        call: "target_weeks => 1, end_date => '2025-06-26'",
        planned: Ok(&["-8..-2"]),
    },
    Case {
        name: "up to where there is data",
        history: &[Day(5)],
        call: "target_weeks => 2",
        planned: Ok(&["-8..-2", "-1..5"]),
    },
    Case {
        name: "a day later in step with the weeks that there are",
        history: &[Done("target_weeks => 2, end_date => '2025-06-28'"), Day(4)],
        call: "target_weeks => 3",
        planned: Ok(&["-20..-14", "-13..-7", "-6..0"]),
    },
    Case {
        name: "a week later with the next one",
        history: &[Done("target_weeks => 2, end_date => '2025-06-28'"), Day(7)],
        call: "target_weeks => 3",
        planned: Ok(&["-13..-7", "-6..0", "1..7"]),
    },
    Case {
        name: "out of step",
        history: &[Done("target_weeks => 2, end_date => '2025-06-28'")],
        call: "target_weeks => 2, end_date => '2025-06-25'",
        planned: Err(("22023", "the nearest end_date that fits is 2025-06-28")),
    },
    Case {
        name: "out of step, the other way",
        history: &[Done("target_weeks => 2, end_date => '2025-06-28'")],
        call: "target_weeks => 2, end_date => '2025-06-24'",
        planned: Err(("22023", "the nearest end_date that fits is 2025-06-21")),
    },
    Case {
        name: "beside the others nothing has to be in step",
        history: &[Done("target_weeks => 2, end_date => '2025-06-28'")],
        call: "target_weeks => 2, end_date => '2025-06-14'",
        planned: Ok(&["-27..-21", "-20..-14"]),
    },
    Case {
        name: "beside the others, three days off",
        history: &[Done("target_weeks => 2, end_date => '2025-06-28'")],
        call: "target_weeks => 2, end_date => '2025-06-11'",
        planned: Ok(&["-30..-24", "-23..-17"]),
    },
    Case {
        name: "a cancelled one is in the way only where it was done",
        history: &[Cancelled("target_weeks => 4, end_date => '2025-06-28'", 1)],
        call: "target_weeks => 2, end_date => '2025-06-26'",
        planned: Ok(&["-15..-9", "-8..-2"]),
    },
    Case {
        name: "a failed one is in the way",
        history: &[Failed("target_weeks => 4, end_date => '2025-06-28'", &[-6])],
        call: "target_weeks => 1, end_date => '2025-06-26'",
        planned: Err(("22023", "2025-06-28")),
    },
    Case {
        name: "an update without a backfill",
        history: &[],
        call: "type => 'weekly_update'",
        planned: Err(("55000", "start a backfill first")),
    },
    Case {
        name: "an update of a backfill of which nothing was done",
        history: &[Cancelled("target_weeks => 2, end_date => '2025-06-28'", 0)],
        call: "type => 'weekly_update'",
        planned: Err(("55000", "start a backfill first")),
    },
    Case {
        name: "an update: the weeks since",
        history: &[Done("target_weeks => 2, end_date => '2025-06-28'"), Day(15)],
        call: "type => 'weekly_update'",
        planned: Ok(&["1..7", "8..14"]),
    },
    Case {
        name: "an update with a day to end on: the last week is cut",
        history: &[Done("target_weeks => 2, end_date => '2025-06-28'")],
        call: "type => 'weekly_update', end_date => '2025-07-08'",
        planned: Ok(&["1..7", "8..10"]),
    },
    Case {
        name: "after a cut week it goes on the day after",
        history: &[
            Done("target_weeks => 2, end_date => '2025-06-28'"),
            Done("type => 'weekly_update', end_date => '2025-07-08'"),
            Day(20),
        ],
        call: "type => 'weekly_update'",
        planned: Ok(&["11..17"]),
    },
    Case {
        name: "no more than so many",
        history: &[Done("target_weeks => 2, end_date => '2025-06-28'"), Day(50)],
        call: "type => 'weekly_update', target_weeks => 2",
        planned: Ok(&["1..7", "8..14"]),
    },
    Case {
        name: "holes first",
        history: &[
            Failed("target_weeks => 4, end_date => '2025-06-28'", &[-20, -6]),
            Day(8),
        ],
        call: "type => 'weekly_update'",
        planned: Ok(&["-20..-14", "-6..0", "1..7"]),
    },
    Case {
        name: "holes first, and only so many",
        history: &[
            Failed("target_weeks => 4, end_date => '2025-06-28'", &[-20, -6]),
            Day(8),
        ],
        call: "type => 'weekly_update', target_weeks => 2",
        planned: Ok(&["-20..-14", "-6..0"]),
    },
    Case {
        name: "what was cancelled is missing too",
        history: &[
            Cancelled("target_weeks => 4, end_date => '2025-06-28'", 2),
            Day(8),
        ],
        call: "type => 'weekly_update'",
        planned: Ok(&["-13..-7", "-6..0", "1..7"]),
    },
    Case {
        name: "a hole that has been filled is none",
        history: &[
            Failed("target_weeks => 4, end_date => '2025-06-28'", &[-20]),
            Done("type => 'weekly_update', end_date => '2025-06-28'"),
            Day(8),
        ],
        call: "type => 'weekly_update'",
        planned: Ok(&["1..7"]),
    },
    Case {
        name: "holes of two that went different ways",
        history: &[
            Cancelled("target_weeks => 3, end_date => '2025-06-28'", 1),
            Cancelled("target_weeks => 2, end_date => '2025-06-30'", 0),
            Day(10),
        ],
        call: "type => 'weekly_update'",
        planned: Ok(&["-13..-7", "-6..0", "1..7"]),
    },
    Case {
        name: "a failed one goes before a cancelled one that went another way",
        history: &[
            Done("target_weeks => 1, end_date => '2025-06-12'"),
            Cancelled("target_weeks => 1, end_date => '2025-06-19'", 0),
            Failed("target_weeks => 1, end_date => '2025-06-23'", &[-11]),
            Day(3),
        ],
        call: "type => 'weekly_update'",
        planned: Ok(&["-11..-5", "-4..2"]),
    },
    Case {
        name: "what was left out between two collections is missing too",
        history: &[
            Done("target_weeks => 1, end_date => '2025-05-31'"),
            Failed("target_weeks => 1, end_date => '2025-06-23'", &[-11]),
            Day(3),
        ],
        call: "type => 'weekly_update'",
        planned: Ok(&["-27..-21", "-20..-14", "-11..-5", "-4..2"]),
    },
    Case {
        name: "holes before what was left out, where there are too many",
        history: &[
            Done("target_weeks => 1, end_date => '2025-05-31'"),
            Failed("target_weeks => 1, end_date => '2025-06-23'", &[-11]),
            Day(3),
        ],
        call: "type => 'weekly_update', target_weeks => 2",
        planned: Ok(&["-27..-21", "-11..-5"]),
    },
    Case {
        name: "an update up to a day in the past fills holes only",
        history: &[Failed(
            "target_weeks => 4, end_date => '2025-06-28'",
            &[-20, -6],
        )],
        call: "type => 'weekly_update', end_date => '2025-06-20'",
        planned: Ok(&["-20..-14"]),
    },
];

fn happen(client: &mut Client, event: &Event) -> Result<()> {
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
fn plans() -> Result<()> {
    let db = extended("planning_cases")?;
    let mut client = db.connect()?;
    furnish(&mut client)?;
    for case in CASES {
        client.batch_execute("DELETE FROM reporting.report_data_collections")?;
        pretend(&mut client, 0)?;
        for event in case.history {
            happen(&mut client, event)?;
        }
        assert_in_order(&mut client, case.name);
        let got = start(&mut client, &format!("'{FLOW}', {}", case.call));
        match case.planned {
            Ok(weeks) => {
                let (id, created) = got?;
                assert!(created, "{}: {id} was there already", case.name);
                assert_eq!(planned(&mut client, &id), weeks, "{}", case.name);
                // Asked again, the same.
                let again = start(&mut client, &format!("'{FLOW}', {}", case.call))?;
                assert_eq!(again, (id.clone(), false), "{}", case.name);
                assert_eq!(
                    value(
                        &mut client,
                        &format!(
                            "SELECT target_weeks = {} AND start_date = date '2025-06-28' + {} AND end_date = date '2025-06-28' + {}
                               FROM reporting.report_data_collections WHERE collection_id = '{id}'",
                            weeks.len(),
                            weeks[0].split_once("..").unwrap_or_default().0,
                            weeks[weeks.len() - 1].split_once("..").unwrap_or_default().1,
                        )
                    ),
                    "t",
                    "{}",
                    case.name
                );
            }
            Err((code, said)) => {
                let error = expect_sqlstate(got, code);
                assert!(
                    error.hint().unwrap_or_default().contains(said),
                    "{}: {error:?}",
                    case.name
                );
            }
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
