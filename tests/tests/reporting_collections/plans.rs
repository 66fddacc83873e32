//! What a call plans after what has happened: one case after the other.

use super::planning::{Event, happen, planned, pretend};
use super::*;
use Event::*;
use gemba_tests::expect_sqlstate;
use gemba_tests::extended;

/// What happens to a workflow, and what a call then plans: weeks, or an SQLSTATE and part of what it says.
struct Case {
    name: &'static str,
    history: &'static [Event],
    call: &'static str,
    planned: Result<&'static [&'static str], (&'static str, &'static str)>,
}

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
