//! Making, changing and removing jobs.

use super::{allow, due, idle, run_due_briefly};
use anyhow::Result;
use gemba_tests::{expect_sqlstate, table, value};
use std::thread;

#[test]
fn scheduling_again_changes_the_job_and_keeps_its_place_in_time() -> Result<()> {
    let (_db, mut client) = idle("again")?;
    let first = value(
        &mut client,
        "SELECT gemba.schedule('tidy', '2 hours', 'SELECT 1', run_as => 'service_role')",
    );
    let place = "SELECT anchor, next_run_at, created_at FROM gemba.jobs WHERE name = 'tidy'";
    let before = table(&mut client, place);
    let second = value(
        &mut client,
        "SELECT gemba.schedule('tidy', '2 hours', 'SELECT 2', run_as => 'postgres', timeout => '5 s', retries => 3,
                               retry_after => '7 s', enabled => false)",
    );
    assert_eq!(first, second, "it is the same job");
    assert_eq!(table(&mut client, place), before);
    assert_eq!(
        table(
            &mut client,
            "SELECT command, run_as, owner, timeout, retries, retry_after, enabled, updated_at > created_at FROM gemba.jobs"
        ),
        ["SELECT 2 | postgres | postgres | 00:00:05 | 3 | 00:00:07 | f | t"]
    );
    Ok(())
}

#[test]
fn a_new_timetable_or_time_zone_begins_now() -> Result<()> {
    let (_db, mut client) = idle("new_timetable")?;
    for (schedule, zone) in [
        ("2 hours", "UTC"),
        ("3 hours", "UTC"),
        ("3 hours", "Asia/Bangkok"),
    ] {
        client.execute(
            "UPDATE gemba.jobs SET anchor = anchor - interval '30 minutes', next_run_at = next_run_at - interval '30 minutes'",
            &[],
        )?;
        client.execute(
            "SELECT gemba.schedule('tidy', $1, 'SELECT 1', $2, run_as => 'service_role')",
            &[&schedule, &zone],
        )?;
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT now() - anchor < interval '1 minute' AND next_run_at = anchor + interval '{schedule}' FROM gemba.jobs"
                )
            ),
            "t",
            "{schedule} in {zone}"
        );
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_a_job_is_said() -> Result<()> {
    let (_db, mut client) = idle("wrong")?;
    let long_cron = format!("'{} * * * *'", "1,".repeat(50_000));
    let mut calls = vec![
        "'', '1 hour', 'SELECT 1'".to_owned(),
        "' ', '1 hour', 'SELECT 1'".to_owned(),
        "'n', '1 hour', ''".to_owned(),
        "'n', '1 hour', E' \\n\\t'".to_owned(),
        "'n', '1 hour', 'SELECT 1', 'Mars/Olympus'".to_owned(),
        "'n', '1 hour', 'SELECT 1', ''".to_owned(),
        "'n', '1 hour', 'SELECT 1', retries => -1".to_owned(),
        "'n', '1 hour', 'SELECT 1', retries => 101".to_owned(),
        "'n', '1 hour', 'SELECT 1', retries => 2147483647".to_owned(),
        "'n', '1 hour', 'SELECT 1', timeout => '-1 second'".to_owned(),
        "'n', '1 hour', 'SELECT 1', timeout => '-1 month'".to_owned(),
        "'n', '1 hour', 'SELECT 1', retry_after => '-1 day'".to_owned(),
        format!("'n', {long_cron}, 'SELECT 1'"),
    ];
    for schedule in [
        "",
        " ",
        "banana",
        "0 seconds",
        "-1 hour",
        "1 month -40 days",
        // Whole months, whole days or a time: a mixture has no multiples.
        "1 day 2 hours 3 minutes",
        "@sometimes",
        "@",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "-1 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * JANUARY *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1/ * * * *",
        "1,,2 * * * *",
        "60 * * * * *",
        "0 0 31 2 *",
        "0 0 30 FEB *",
        "99999999999999999999 * * * *",
        "1 2 3 4 5; DROP TABLE gemba.jobs",
        "'1 hour'::interval",
        "\u{661} * * * *",
        // Before 17 there is no such interval, which is as wrong.
        "infinity",
    ] {
        let schedule = schedule.replace('\'', "''");
        calls.push(format!("'n', '{schedule}', 'SELECT 1'"));
    }
    let mut missed = Vec::new();
    for call in &calls {
        let shown: String = call.chars().take(100).collect();
        match client.batch_execute(&format!(
            "SELECT gemba.schedule({call}, run_as => 'service_role')"
        )) {
            Ok(()) => missed.push(format!("accepted: {shown}")),
            Err(error) => match error.as_db_error() {
                Some(report)
                    if report.code().code() == "22023"
                        && report.detail().is_some()
                        && report.hint().is_some() => {}
                other => missed.push(format!("{shown}: {other:?}")),
            },
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert_eq!(value(&mut client, "SELECT count(*) FROM gemba.jobs"), "0");
    Ok(())
}

#[test]
fn null_arguments_are_refused_and_never_a_panic() -> Result<()> {
    let (_db, mut client) = idle("nulls")?;
    let mut wrong = Vec::new();
    for call in [
        "gemba.schedule(NULL, '1 hour', 'SELECT 1')",
        "gemba.schedule('n', NULL, 'SELECT 1')",
        "gemba.schedule('n', '1 hour', NULL)",
        "gemba.schedule('n', '1 hour', 'SELECT 1', time_zone => NULL)",
        "gemba.schedule('n', '1 hour', 'SELECT 1', timeout => NULL)",
        "gemba.schedule('n', '1 hour', 'SELECT 1', retries => NULL)",
        "gemba.schedule('n', '1 hour', 'SELECT 1', retry_after => NULL)",
        "gemba.schedule('n', '1 hour', 'SELECT 1', enabled => NULL)",
        "gemba.schedule(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        "gemba.unschedule(NULL)",
        "gemba.enable_job(NULL)",
        "gemba.enable_job('n', NULL)",
        "gemba.run_job_now(NULL)",
        "gemba.run_due_jobs(NULL)",
    ] {
        // An error with a reason, or the NULL of a strict function.
        if let Err(error) = client.batch_execute(&format!("SELECT {call}")) {
            let code = error
                .code()
                .map_or(String::new(), |code| code.code().to_owned());
            if !["22004", "22023"].contains(&code.as_str()) {
                wrong.push(format!("{call}: {error:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(value(&mut client, "SELECT count(*) FROM gemba.jobs"), "0");
    // NULL for run_as is the caller.
    client.batch_execute("SELECT gemba.schedule('n', '1 hour', 'SELECT 1', run_as => NULL)")?;
    assert_eq!(
        value(&mut client, "SELECT run_as FROM gemba.jobs"),
        "service_role"
    );
    Ok(())
}

#[test]
fn cron_and_intervals_are_taken_and_come_next_when_they_should() -> Result<()> {
    let (_db, mut client) = idle("taken")?;
    // The longest time to wait, and what has to be true of the next run.
    let cases = [
        ("* * * * *", "1 minute", "extract(second FROM at) = 0"),
        (
            "*/5 * * * *",
            "5 minutes",
            "extract(second FROM at) = 0 AND extract(minute FROM at)::int % 5 = 0",
        ),
        (
            "*/10 * * * * *",
            "10 seconds",
            "extract(second FROM at)::int % 10 = 0",
        ),
        (
            "30 15 4 * * *",
            "25 hours",
            "(at AT TIME ZONE 'UTC')::time = '04:15:30'",
        ),
        (
            "  7\t3 * * *  ",
            "25 hours",
            "(at AT TIME ZONE 'UTC')::time = '03:07'",
        ),
        (
            "@hourly",
            "1 hour",
            "extract(minute FROM at) = 0 AND extract(second FROM at) = 0",
        ),
        (
            "@daily",
            "25 hours",
            "(at AT TIME ZONE 'UTC')::time = '00:00'",
        ),
        (
            "@weekly",
            "8 days",
            "extract(dow FROM at AT TIME ZONE 'UTC') = 0",
        ),
        (
            "@monthly",
            "32 days",
            "extract(day FROM at AT TIME ZONE 'UTC') = 1",
        ),
        (
            "0 12 * * MON-FRI",
            "4 days",
            "extract(isodow FROM at AT TIME ZONE 'UTC') BETWEEN 1 AND 5",
        ),
        (
            "0 0 1 jan,JUL *",
            "185 days",
            "extract(month FROM at AT TIME ZONE 'UTC') IN (1, 7)",
        ),
        (
            "0 0 29 2 *",
            "8 years 2 days",
            "extract(day FROM at AT TIME ZONE 'UTC') = 29",
        ),
        (
            "90 minutes",
            "2 hours",
            "at = anchor + interval '90 minutes'",
        ),
        ("1 second", "2 seconds", "at = anchor + interval '1 second'"),
        (
            "1 hour 2 minutes 3 seconds",
            "2 hours",
            "at = anchor + interval '1 hour 2 minutes 3 seconds'",
        ),
        ("PT1H", "2 hours", "at = anchor + interval '1 hour'"),
        ("01:30", "2 hours", "at = anchor + interval '90 minutes'"),
        (
            "1 month",
            "32 days",
            "at = anchor AT TIME ZONE 'UTC' + interval '1 month'",
        ),
        ("3 days", "4 days", "at = anchor + interval '3 days'"),
    ];
    let mut wrong = Vec::new();
    for (schedule, longest, condition) in cases {
        if let Err(error) = client.execute(
            "SELECT gemba.schedule($1, $1, 'SELECT 1', run_as => 'service_role')",
            &[&schedule],
        ) {
            wrong.push(format!("{schedule:?}: {error:?}"));
            continue;
        }
        let found = client
            .query_one(
                &format!(
                    "SELECT at > anchor AND at <= anchor + interval '{longest}' AND ({condition}), at::text
                       FROM (SELECT anchor, next_run_at AS at FROM gemba.jobs WHERE name = $1) AS j"
                ),
                &[&schedule],
            )?;
        if !found.get::<_, bool>(0) {
            wrong.push(format!(
                "{schedule:?} next at {}",
                found.get::<_, String>(1)
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn a_time_zone_decides_which_hour_it_is() -> Result<()> {
    let (_db, mut client) = idle("zones")?;
    for zone in [
        "Europe/Berlin",
        "Asia/Bangkok",
        "America/St_Johns",
        "Pacific/Chatham",
        "UTC",
    ] {
        client.execute(
            "SELECT gemba.schedule($1, '30 12 * * *', 'SELECT 1', $1, run_as => 'service_role')",
            &[&zone],
        )?;
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT (next_run_at AT TIME ZONE time_zone)::time FROM gemba.jobs"
        ),
        ["12:30:00"]
    );
    Ok(())
}

#[test]
fn unscheduling_twice_removes_once() -> Result<()> {
    let (_db, mut client) = idle("unschedule")?;
    due(&mut client, "j", "SELECT 1", ", run_as => 'service_role'")?;
    run_due_briefly(&mut client)?;
    assert_eq!(value(&mut client, "SELECT gemba.unschedule('j')"), "t");
    assert_eq!(value(&mut client, "SELECT gemba.unschedule('j')"), "f");
    assert_eq!(value(&mut client, "SELECT count(*) FROM gemba.jobs"), "0");
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM gemba.job_runs"),
        "1",
        "what ran stays known"
    );
    Ok(())
}

#[test]
fn a_disabled_job_does_not_run_until_it_is_enabled() -> Result<()> {
    let (_db, mut client) = idle("enabling")?;
    client.batch_execute(
        "SELECT gemba.schedule('j', '1 hour', 'SELECT 1', run_as => 'service_role', enabled => false);
         UPDATE gemba.jobs SET next_run_at = now() - interval '1 second'",
    )?;
    assert_eq!(run_due_briefly(&mut client)?, [""; 0]);
    assert_eq!(
        table(
            &mut client,
            "SELECT due, next_run_at IS NULL FROM gemba.worker_status()"
        ),
        ["0 | t"]
    );
    assert_eq!(
        value(&mut client, "SELECT gemba.enable_job('j', false)"),
        "f"
    );
    assert_eq!(value(&mut client, "SELECT gemba.enable_job('j')"), "t");
    assert_eq!(value(&mut client, "SELECT gemba.enable_job('j')"), "f");
    // What was missed meanwhile was meant to be.
    assert_eq!(run_due_briefly(&mut client)?, [""; 0]);
    client.execute("UPDATE gemba.jobs SET next_run_at = now()", &[])?;
    assert_eq!(run_due_briefly(&mut client)?, ["j succeeded"]);
    assert_eq!(
        value(&mut client, "SELECT gemba.enable_job('j', false)"),
        "t"
    );
    client.execute("UPDATE gemba.jobs SET next_run_at = now()", &[])?;
    assert_eq!(run_due_briefly(&mut client)?, [""; 0]);
    Ok(())
}

#[test]
fn a_job_that_is_not_there_is_named() -> Result<()> {
    let (_db, mut client) = idle("not_there")?;
    for call in ["gemba.enable_job('no')", "gemba.run_job_now('no')"] {
        let error = expect_sqlstate(client.batch_execute(&format!("SELECT {call}")), "42704");
        assert!(
            error.detail().is_some_and(|d| d.contains("no")) && error.hint().is_some(),
            "{call}: {error:?}"
        );
    }
    Ok(())
}

#[test]
fn what_is_rolled_back_was_never_scheduled() -> Result<()> {
    let (_db, mut client) = idle("rolled_back")?;
    client.batch_execute(
        "BEGIN; SELECT gemba.schedule('j', '1 second', 'SELECT 1', run_as => 'service_role');
         SAVEPOINT a; SELECT gemba.run_job_now('j'); ROLLBACK TO a; ROLLBACK",
    )?;
    assert_eq!(value(&mut client, "SELECT count(*) FROM gemba.jobs"), "0");
    Ok(())
}

#[test]
fn one_name_scheduled_by_many_at_once_is_one_job() -> Result<()> {
    let (db, mut client) = idle("same_name")?;
    thread::scope(|scope| -> Result<()> {
        let mut threads = Vec::new();
        for number in 0..6 {
            let mut session = db.connect()?;
            threads.push(scope.spawn(move || -> Result<(), postgres::Error> {
                for turn in 0..20 {
                    session.batch_execute(&format!(
                        "SELECT gemba.schedule('same', '{} hours', 'SELECT {turn}', run_as => 'service_role')",
                        number + 1
                    ))?;
                }
                Ok(())
            }));
        }
        for thread in threads {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })?;
    assert_eq!(
        table(
            &mut client,
            "SELECT name, command, next_run_at = anchor + schedule::interval FROM gemba.jobs"
        ),
        ["same | SELECT 19 | t"]
    );
    Ok(())
}

/// Quotes, semicolons, dollar quotes, format characters, other scripts: nothing is read as anything else.
#[test]
fn names_and_commands_are_taken_as_they_are() -> Result<()> {
    let (_db, mut client) = idle("strange_names")?;
    let names = [
        "it's",
        "\"quoted\"",
        "a; DROP TABLE gemba.jobs; --",
        "$$ $1 $body$",
        "%s %n %d",
        "back\\slash",
        "two\nlines\tand a tab",
        "ประชุม 会議 📅 a\u{301}",
        " spaces around ",
        "a",
        "A",
    ];
    for name in names {
        let command = format!(
            "INSERT INTO s.done (what) VALUES ({}); SELECT $q$ ; ' \" $$ -- /* $q$ -- {}",
            // A literal of the name, with its backslashes as they are.
            format_args!("'{}'", name.replace('\'', "''")),
            name.replace('\n', " ")
        );
        due(&mut client, name, &command, ", run_as => 'service_role'")?;
    }
    for (name, run) in names.iter().zip(run_due_briefly(&mut client)?) {
        assert_eq!(run, format!("{name} succeeded"));
    }
    let done: Vec<String> = client
        .query("SELECT what FROM s.done ORDER BY n", &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(done, names);
    let kept: Vec<String> = client
        .query("SELECT job FROM gemba.job_runs ORDER BY id", &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(kept, names);
    for name in names {
        let removed = client.query_one("SELECT gemba.unschedule($1)", &[&name])?;
        assert!(removed.get::<_, bool>(0), "{name:?}");
    }
    Ok(())
}

#[test]
fn a_very_long_command_runs_and_a_very_long_name_is_no_accident() -> Result<()> {
    let (_db, mut client) = idle("very_long")?;
    let text = "ก".repeat(700_000);
    due(
        &mut client,
        "long",
        &format!("INSERT INTO s.done (what) VALUES ('{text}')"),
        ", run_as => 'service_role'",
    )?;
    assert_eq!(run_due_briefly(&mut client)?, ["long succeeded"]);
    assert_eq!(
        value(&mut client, "SELECT length(what) FROM s.done"),
        "700000"
    );
    // What no index takes: refused with a reason, if at all.
    let name = value(
        &mut client,
        "SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) AS n",
    );
    if let Err(error) = due(&mut client, &name, "SELECT 1", ", run_as => 'service_role'") {
        let code = error
            .code()
            .map_or(String::new(), |code| code.code().to_owned());
        assert!(["22023", "54000"].contains(&code.as_str()), "{error:?}");
    }
    Ok(())
}

/// Timers hold 24 days, intervals hold 178 million years. One job of that kind must not stop the others.
#[test]
fn a_timeout_of_ages_is_none() -> Result<()> {
    let (_db, mut client) = idle("ages")?;
    let mut ages = vec![
        "30 days",
        "2147483647 days",
        "178000000 years",
        "100000000 hours",
        "1 microsecond",
    ];
    if value(&mut client, "SHOW server_version_num").parse::<u32>()? >= 170_000 {
        ages.push("infinity");
    }
    let mut wrong = Vec::new();
    for age in ages {
        for name in ["timeout", "retry_after"] {
            let job = format!("{name} {age}");
            // Refusing it is an answer too.
            if due(
                &mut client,
                &job,
                if name == "timeout" {
                    "SELECT 1"
                } else {
                    "SELECT 1 / 0"
                },
                &format!(", retries => 1, {name} => '{age}', run_as => 'service_role'"),
            )
            .is_err()
            {
                continue;
            }
            match run_due_briefly(&mut client) {
                Ok(runs) => {
                    let expected = if name == "timeout" {
                        format!("{job} succeeded")
                    } else {
                        format!("{job} failed 22012")
                    };
                    // A microsecond may well be over.
                    if runs != [expected] && age != "1 microsecond" {
                        wrong.push(format!("{job}: {runs:?}"));
                    }
                }
                Err(error) => wrong.push(format!("{job}: {error:?}")),
            }
            client.execute("SELECT gemba.unschedule($1)", &[&job])?;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn without_a_worker_its_status_says_so() -> Result<()> {
    let (db, mut client) = idle("not_preloaded")?;
    let status = "SELECT state, advice LIKE '%run_due_jobs%', preloaded, launcher_pid, scheduler_pid, running, due,
                         overdue_by > interval '59 minutes' AND overdue_by < interval '2 hours', next_run_at < now()
                    FROM gemba.worker_status()";
    assert_eq!(
        table(&mut client, status),
        ["not preloaded | t | f | - | - | 0 | 0 | - | -"]
    );
    client.batch_execute(
        "SELECT gemba.schedule('a', '1 day', 'SELECT 1', run_as => 'service_role'),
                gemba.schedule('b', '1 day', 'SELECT 1', run_as => 'service_role');
         UPDATE gemba.jobs SET next_run_at = now() - interval '1 hour' WHERE name = 'a'",
    )?;
    let mut service = db.connect_as("service_role")?;
    for session in [&mut client, &mut service] {
        assert_eq!(
            table(session, status),
            ["not preloaded | t | f | - | - | 0 | 1 | t | t"]
        );
    }
    // And whoever asks for a run is told that nobody comes.
    let (mut noting, notices) = db.connect_noting()?;
    noting.batch_execute("SELECT gemba.run_job_now('b')")?;
    let heard = notices.take();
    assert!(
        heard.iter().any(|n| n.message().contains("run_due_jobs")),
        "{heard:?}"
    );
    Ok(())
}

/// Whoever may schedule may do it through a function of somebody's, whose rights count then.
#[test]
fn a_job_made_by_a_security_definer_function_is_its_owners() -> Result<()> {
    let (db, mut client) = idle("definer")?;
    let (owner, caller) = (db.role("owner")?, db.role("caller")?);
    allow(&mut client, &owner)?;
    client.batch_execute(&format!(
        "CREATE FUNCTION s.plan() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = ''
           RETURN gemba.schedule('j', '1 hour', 'SELECT 1');
         ALTER FUNCTION s.plan OWNER TO {owner}"
    ))?;
    db.connect_as(&caller)?.batch_execute("SELECT s.plan()")?;
    assert_eq!(
        table(&mut client, "SELECT owner, run_as FROM gemba.jobs"),
        [format!("{owner} | {owner}")]
    );
    Ok(())
}
