//! Time in each machine state: what carries in, what interrupts, and an independent count of every minute.

mod plant_rows;

use anyhow::Result;
use gemba_tests::{Database, extended};
use plant_rows::*;
use postgres::Client;

fn with_plant(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    plant(&mut client)?;
    Ok((db, client))
}

/// Rows of the press: begin, end, state, reason; times of one day in UTC, `-` for no end or no reason.
fn says(client: &mut Client, rows: &[&str]) -> Result<()> {
    for row in rows {
        let parts: Vec<&str> = row.split_whitespace().collect();
        let [from, until, state, reason] = parts[..] else {
            panic!("four words: {row}");
        };
        client.execute(
            "INSERT INTO plant.machine_states (asset_id, started_at, ended_at, state, reason_code)
             VALUES ($1::text::uuid, ('2026-05-' || $2::text || 'Z')::timestamptz, ('2026-05-' || nullif($3::text, '-') || 'Z')::timestamptz, $4::text, nullif($5::text, '-'))",
            &[&PRESS, &from.replace('T', " "), &until.replace('T', " "), &state, &reason],
        )?;
    }
    Ok(())
}

/// State, reason, minutes, entries, carried in.
fn durations(client: &mut Client, from: &str, to: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "SELECT state, reason_code, (seconds / 60)::numeric(12, 2) AS minutes, entries, carried_in
               FROM plant.state_durations('2026-05-{from}Z', '2026-05-{to}Z', ARRAY['{PRESS}']::uuid[])
              ORDER BY array_position(ARRAY['running', 'stopped', 'planned_stop', 'idle', 'unknown'], state), reason_code NULLS FIRST"
        ),
    )
}

/// Planned, downtime, run, planned stop, idle and unknown minutes, and the availability.
fn availability(client: &mut Client, from: &str, to: &str) -> String {
    value(
        client,
        &format!(
            "SELECT planned_minutes || ' ' || downtime_minutes || ' ' || run_minutes || ' ' || planned_stop_minutes || ' '
                    || idle_minutes || ' ' || unknown_minutes || ' ' || coalesce(round(availability, 6)::text, '-')
               FROM plant.availability('2026-05-{from}Z', '2026-05-{to}Z', ARRAY['{PRESS}']::uuid[])"
        ),
    )
}

#[test]
fn the_state_at_the_opening_is_carried_in() -> Result<()> {
    let (_db, mut client) = with_plant("states_carried_in")?;
    says(
        &mut client,
        &[
            "01T20:00 - running -",
            "10T09:00 - stopped jam",
            "10T09:30 - running -",
        ],
    )?;
    // Nine days before the window.
    assert_eq!(
        durations(&mut client, "10 06:00", "10 14:00"),
        [
            "running | - | 450.00 | 1 | t",
            "stopped | jam | 30.00 | 1 | f"
        ]
    );
    assert_eq!(
        availability(&mut client, "10 06:00", "10 14:00"),
        "480 30 450 0 0 0 0.937500"
    );
    // A window that opens inside of the stop, at its begin, and at its end.
    assert_eq!(
        durations(&mut client, "10 09:10", "10 10:00"),
        [
            "running | - | 30.00 | 1 | f",
            "stopped | jam | 20.00 | 0 | t"
        ]
    );
    assert_eq!(
        durations(&mut client, "10 09:00", "10 09:30"),
        ["stopped | jam | 30.00 | 1 | f"]
    );
    assert_eq!(
        durations(&mut client, "10 09:30", "10 09:31"),
        ["running | - | 1.00 | 1 | f"]
    );
    // Before anything was said nothing is known.
    assert_eq!(
        durations(&mut client, "01 19:00", "01 21:00"),
        ["running | - | 60.00 | 1 | f", "unknown | - | 60.00 | 0 | t"]
    );
    assert_eq!(
        availability(&mut client, "01 19:00", "01 20:00"),
        "0 0 0 0 0 60 -"
    );
    Ok(())
}

#[test]
fn what_interrupts_and_what_resumes() -> Result<()> {
    let (_db, mut client) = with_plant("states_overlaps")?;
    says(
        &mut client,
        &[
            // Inserted out of order: the short stop in the break, the break, the run around both.
            "10T12:10 10T12:20 stopped spill",
            "10T12:00 10T12:30 planned_stop break",
            "10T08:00 10T16:00 running -",
            // Overlaps the end of the run: the later start wins, and nothing follows it.
            "10T15:30 10T17:00 stopped jam",
            // Nothing: it ends where it begins.
            "10T10:00 10T10:00 idle -",
        ],
    )?;
    assert_eq!(
        durations(&mut client, "10 07:00", "10 18:00"),
        [
            // 8:00 to 12:00, 12:30 to 15:30.
            "running | - | 420.00 | 2 | f",
            "stopped | jam | 90.00 | 1 | f",
            "stopped | spill | 10.00 | 1 | f",
            "planned_stop | break | 20.00 | 2 | f",
            "unknown | - | 120.00 | 1 | t",
        ]
    );
    assert_eq!(
        availability(&mut client, "10 07:00", "10 18:00"),
        "520 100 420 20 0 120 0.807692"
    );
    // Rows without an end last until the next one without, whatever interrupts them.
    client.batch_execute("DELETE FROM plant.machine_states")?;
    says(
        &mut client,
        &[
            "10T14:00 - idle -",
            "10T08:00 - running -",
            "10T09:00 10T09:30 stopped jam",
            // An interruption that outlasts what it interrupted: the later start wins.
            "10T13:30 10T14:30 stopped power",
        ],
    )?;
    assert_eq!(
        durations(&mut client, "10 08:00", "10 16:00"),
        [
            "running | - | 300.00 | 2 | f",
            "stopped | jam | 30.00 | 1 | f",
            "stopped | power | 30.00 | 1 | f",
            "idle | - | 120.00 | 1 | f",
        ]
    );
    assert_eq!(
        availability(&mut client, "10 08:00", "10 16:00"),
        "360 60 300 0 120 0 0.833333"
    );
    // To say again what is the case is not to enter it again; another reason is another spell.
    client.batch_execute("DELETE FROM plant.machine_states")?;
    says(
        &mut client,
        &[
            "10T08:00 - running -",
            "10T09:00 - running -",
            "10T10:00 - stopped a",
            "10T10:30 - stopped b",
            "10T10:45 - stopped a",
            "10T11:00 - stopped -",
        ],
    )?;
    assert_eq!(
        durations(&mut client, "10 08:30", "10 12:00"),
        [
            "running | - | 90.00 | 0 | t",
            "stopped | - | 60.00 | 1 | f",
            "stopped | a | 45.00 | 2 | f",
            "stopped | b | 15.00 | 1 | f",
        ]
    );
    Ok(())
}

#[test]
fn a_gap_is_unknown_and_not_planned() -> Result<()> {
    let (_db, mut client) = with_plant("states_gaps")?;
    says(
        &mut client,
        &[
            "10T08:00 10T09:00 running -",
            "10T10:00 10T10:15 stopped jam",
            "10T10:15 10T10:45 planned_stop -",
            "10T10:45 10T11:00 idle -",
        ],
    )?;
    assert_eq!(
        durations(&mut client, "10 08:00", "10 12:00"),
        [
            "running | - | 60.00 | 1 | f",
            "stopped | jam | 15.00 | 1 | f",
            "planned_stop | - | 30.00 | 1 | f",
            "idle | - | 15.00 | 1 | f",
            "unknown | - | 120.00 | 2 | f",
        ]
    );
    assert_eq!(
        availability(&mut client, "10 08:00", "10 12:00"),
        "75 15 60 30 15 120 0.800000"
    );
    // The shares are of the window.
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT string_agg(trim_scale(share)::text, ' ') FROM plant.state_durations('2026-05-10 08:00Z', '2026-05-10 12:00Z', ARRAY['{PRESS}']::uuid[])"
            )
        ),
        "0.25 0.0625 0.125 0.0625 0.5"
    );
    Ok(())
}

#[test]
fn the_future_is_not_counted() -> Result<()> {
    let (_db, mut client) = with_plant("states_future")?;
    client.batch_execute(&format!(
        "INSERT INTO plant.machine_states (asset_id, started_at, ended_at, state) VALUES
           ('{PRESS}', now() - interval '3 hours', NULL, 'running'), ('{PRESS}', now() + interval '1 hour', NULL, 'stopped'),
           ('{LATHE}', now() - interval '1 hour', now() + interval '5 hours', 'stopped')"
    ))?;
    client.batch_execute("BEGIN")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT asset_id, state, round(seconds - extract(epoch FROM now() - (SELECT min(m.started_at) FROM plant.machine_states m WHERE m.asset_id = d.asset_id)), 6),
                    round(share, 6), entries
               FROM plant.state_durations(now() - interval '4 hours', now() + interval '8 hours') AS d WHERE state <> 'unknown' ORDER BY 1"
        )
        .iter()
        .map(|row| row.split(" | ").skip(1).take(2).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>(),
        ["running 0.000000", "stopped 0.000000"]
    );
    // The share is of the time that has been.
    assert_eq!(
        value(
            &mut client,
            "SELECT round(sum(share), 6) || ' ' || round(sum(seconds), 3) FROM plant.state_durations(now() - interval '4 hours', now() + interval '8 hours') GROUP BY asset_id LIMIT 1"
        ),
        "1.000000 14400.000"
    );
    client.batch_execute("COMMIT")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT * FROM plant.state_durations(now() + interval '2 hours', now() + interval '8 hours')"
        ),
        [""; 0]
    );
    Ok(())
}

#[test]
fn which_machines() -> Result<()> {
    let (_db, mut client) = with_plant("states_assets")?;
    says(&mut client, &["10T08:00 - running -"])?;
    client.batch_execute(&format!(
        "INSERT INTO plant.machine_states (asset_id, started_at, state) VALUES ('{LATHE}', '2026-05-10 09:00Z', 'stopped')"
    ))?;
    const NOBODY: &str = "00000000-0000-0000-0000-00000000beef";
    let ask = |client: &mut Client, assets: &str| {
        table(
            client,
            &format!(
                "SELECT right(asset_id::text, 4), state, seconds FROM plant.state_durations('2026-05-10 08:00Z', '2026-05-10 10:00Z'{assets}) ORDER BY 1, 2"
            ),
        )
    };
    let press = "0001 | running | 7200";
    let lathe = ["0002 | stopped | 3600", "0002 | unknown | 3600"];
    // Of a machine that never said anything nothing is known; of one that is not in use neither, nor asked.
    client.batch_execute(
        "INSERT INTO plant.assets (name, source_id, is_active) VALUES ('Gone', 'G', false)",
    )?;
    for all in ["", ", NULL"] {
        assert_eq!(
            ask(&mut client, all),
            [press, lathe[0], lathe[1], "0003 | unknown | 7200"]
        );
    }
    assert_eq!(
        ask(&mut client, &format!(", ARRAY['{LATHE}']::uuid[]")),
        lathe
    );
    assert_eq!(ask(&mut client, ", '{}'"), [""; 0]);
    // Of a machine that said nothing, or that does not exist, nothing is known; once, however often it is named.
    assert_eq!(
        ask(
            &mut client,
            &format!(", ARRAY['{MILL}', '{NOBODY}', '{PRESS}', '{MILL}', '{PRESS}']::uuid[]")
        ),
        [press, "0003 | unknown | 7200", "beef | unknown | 7200"]
    );
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT planned_minutes, unknown_minutes, availability FROM plant.availability('2026-05-10 08:00Z', '2026-05-10 10:00Z', ARRAY['{NOBODY}']::uuid[])"
            )
        ),
        ["0 | 120 | -"]
    );
    Ok(())
}

#[test]
fn bad_windows() -> Result<()> {
    let (_db, mut client) = with_plant("states_bad_windows")?;
    for function in ["state_durations", "availability"] {
        for (from, to) in [
            ("2026-05-10", "2026-05-10"),
            ("2026-05-11", "2026-05-10"),
            ("-infinity", "2026-05-10"),
            ("2026-05-10", "infinity"),
            ("-infinity", "infinity"),
            ("infinity", "infinity"),
        ] {
            let error = refused(
                &mut client,
                &format!("SELECT * FROM plant.{function}('{from}', '{to}')"),
                "22023",
            );
            assert!(
                error.message().contains("from_ts") && error.hint().is_some(),
                "{error:?}"
            );
            assert!(
                error
                    .detail()
                    .is_some_and(|detail| detail.starts_with("from ")),
                "{error:?}"
            );
        }
    }
    // The longest window that there is, and the shortest.
    says(&mut client, &["10T08:00 - running -"])?;
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT state, round(seconds) > 0 FROM plant.state_durations('4713-01-01 BC', '294276-12-31', ARRAY['{PRESS}']::uuid[])"
            )
        ),
        ["running | t", "unknown | t"]
    );
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT state, seconds, share FROM plant.state_durations('2026-05-10 08:00:00.000001Z', '2026-05-10 08:00:00.000002Z', ARRAY['{PRESS}']::uuid[])"
            )
        ),
        ["running | 0.000001 | 1"]
    );
    Ok(())
}

/// A NULL is a mistake of the caller, and told as one.
#[test]
fn nulls_are_refused() -> Result<()> {
    let (_db, mut client) = with_plant("states_nulls")?;
    for function in ["state_durations", "availability"] {
        for arguments in [
            "NULL, '2026-05-10'".to_owned(),
            "'2026-05-10', NULL".to_owned(),
            "NULL, NULL, NULL".to_owned(),
            "'2026-05-10', '2026-05-11', ARRAY[NULL]::uuid[]".to_owned(),
            format!("'2026-05-10', '2026-05-11', ARRAY['{PRESS}', NULL]::uuid[]"),
        ] {
            let sql = format!("SELECT * FROM plant.{function}({arguments})");
            match client.simple_query(&sql) {
                // Without an answer, as functions do that are strict, or with one for the others.
                Ok(_) => {}
                Err(error) => {
                    let code = error
                        .code()
                        .map(|code| code.code().to_owned())
                        .unwrap_or_default();
                    assert!(
                        ["22004", "22023"].contains(&code.as_str()),
                        "{sql}: {error:?}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Random events of five machines, some without an end, some with; whole minutes.
fn random_events(client: &mut Client, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    client.batch_execute(
        "TRUNCATE plant.machine_states;
         INSERT INTO plant.assets (id, name, source_id) SELECT ('00000000-0000-0000-0001-' || lpad(i::text, 12, '0'))::uuid, 'A' || i, 'A' || i
           FROM generate_series(1, 5) AS i ON CONFLICT DO NOTHING",
    )?;
    for machine in 1..=5 {
        let mut starts: Vec<u64> = (0..2880).collect();
        random.shuffle(&mut starts);
        let values: Vec<String> = starts
            .iter()
            .take(20 + 15 * machine as usize)
            .map(|start| {
                let state = ["running", "stopped", "planned_stop", "idle", "running"][random.below(5) as usize];
                let reason = ["NULL", "'jam'", "'tool'"][random.below(3) as usize];
                // The fifth machine says ends only, so that there are gaps.
                let end = if machine == 5 || random.below(3) == 0 {
                    format!("timestamptz '2026-05-10Z' + interval '{} minutes'", start + random.below(90))
                } else {
                    "NULL".to_owned()
                };
                format!("('00000000-0000-0000-0001-00000000000{machine}', timestamptz '2026-05-10Z' + interval '{start} minutes', {end}, '{state}', {reason})")
            })
            .collect();
        client.batch_execute(&format!(
            "INSERT INTO plant.machine_states (asset_id, started_at, ended_at, state, reason_code) VALUES {}",
            values.join(",")
        ))?;
    }
    Ok(())
}

/// The same without the extension: which row is in force in each minute, and how these minutes group.
fn minutes(from: &str, to: &str) -> String {
    format!(
        "WITH events AS (
           SELECT e.*, coalesce(e.ended_at, (SELECT min(o.started_at) FROM plant.machine_states o
                                              WHERE o.asset_id = e.asset_id AND o.ended_at IS NULL AND o.started_at > e.started_at), 'infinity') AS until
             FROM plant.machine_states e
         ), minutes AS (
           SELECT a.id AS asset_id, m, coalesce(e.state, 'unknown') AS state, e.reason_code
             FROM plant.assets a
            CROSS JOIN generate_series(timestamptz '{from}' - interval '1 minute', timestamptz '{to}' - interval '1 minute', '1 minute') AS m
             LEFT JOIN LATERAL (SELECT * FROM events e WHERE e.asset_id = a.id AND e.started_at <= m AND m < e.until ORDER BY e.started_at DESC LIMIT 1) AS e ON true
            WHERE a.source_id LIKE 'A%'
         ), steps AS (
           SELECT *, (state, reason_code) IS NOT DISTINCT FROM (lag(state) OVER w, lag(reason_code) OVER w) AND m > '-infinity' AS goes_on
             FROM minutes WINDOW w AS (PARTITION BY asset_id ORDER BY m)
         )
         SELECT asset_id, state, reason_code, count(*) * 60 AS seconds, count(*) FILTER (WHERE NOT goes_on) AS entries,
                bool_or(goes_on AND m = '{from}') AS carried_in
           FROM steps WHERE m >= '{from}' GROUP BY 1, 2, 3"
    )
}

#[test]
fn every_minute_counted_by_hand() -> Result<()> {
    let (_db, mut client) = with_plant("states_by_hand")?;
    const ASSETS: &str = "(SELECT array_agg(id) FROM plant.assets WHERE source_id LIKE 'A%')";
    for seed in 1..=4 {
        random_events(&mut client, seed)?;
        for (from, to) in [
            ("2026-05-10 00:00Z", "2026-05-12 00:00Z"),
            ("2026-05-10 13:37Z", "2026-05-11 02:11Z"),
            ("2026-05-11 06:00Z", "2026-05-11 14:00Z"),
            ("2026-05-09 20:00Z", "2026-05-10 04:00Z"),
            ("2026-05-11 20:00Z", "2026-05-13 04:00Z"),
            ("2026-05-10 10:10Z", "2026-05-10 10:11Z"),
        ] {
            assert_same(
                &mut client,
                &format!(
                    "SELECT asset_id, state, reason_code, seconds, entries, carried_in FROM plant.state_durations('{from}', '{to}', {ASSETS})"
                ),
                &minutes(from, to),
                &format!("seed {seed}: {from} to {to}"),
            );
            assert_same(
                &mut client,
                &format!("SELECT asset_id, planned_minutes, downtime_minutes, run_minutes, planned_stop_minutes, idle_minutes, unknown_minutes, availability
                            FROM plant.availability('{from}', '{to}', {ASSETS})"),
                &format!(
                    "SELECT asset_id, run + down, down, run, stop, idle, unknown, round(run / nullif(run + down, 0), 12)
                       FROM (SELECT asset_id, coalesce(sum(seconds) FILTER (WHERE state = 'running'), 0) / 60 AS run,
                                    coalesce(sum(seconds) FILTER (WHERE state = 'stopped'), 0) / 60 AS down,
                                    coalesce(sum(seconds) FILTER (WHERE state = 'planned_stop'), 0) / 60 AS stop,
                                    coalesce(sum(seconds) FILTER (WHERE state = 'idle'), 0) / 60 AS idle,
                                    coalesce(sum(seconds) FILTER (WHERE state = 'unknown'), 0) / 60 AS unknown
                               FROM ({}) AS m GROUP BY asset_id) AS s",
                    minutes(from, to)
                ),
                &format!("availability, seed {seed}: {from} to {to}"),
            );
        }
        // Two windows are as long as the one that they make, and a split adds no time to any state.
        assert_same(
            &mut client,
            &format!(
                "SELECT asset_id, state, reason_code, sum(seconds) FROM (
                   SELECT * FROM plant.state_durations('2026-05-10 00:00Z', '2026-05-10 17:23Z', {ASSETS})
                   UNION ALL SELECT * FROM plant.state_durations('2026-05-10 17:23Z', '2026-05-12 00:00Z', {ASSETS})) AS two GROUP BY 1, 2, 3"
            ),
            &format!("SELECT asset_id, state, reason_code, seconds FROM plant.state_durations('2026-05-10 00:00Z', '2026-05-12 00:00Z', {ASSETS})"),
            &format!("two windows, seed {seed}"),
        );
    }
    Ok(())
}

#[test]
fn the_order_of_insertion_does_not_matter() -> Result<()> {
    let (_db, mut client) = with_plant("states_order")?;
    random_events(&mut client, 9)?;
    const ALL: &str = "SELECT * FROM plant.state_durations('2026-05-10 05:00Z', '2026-05-11 19:00Z') ORDER BY 1, 2, 3";
    let before = table(&mut client, ALL);
    assert!(before.len() > 20);
    for order in ["started_at", "started_at DESC", "md5(id::text)"] {
        client.batch_execute(&format!(
            "CREATE TEMP TABLE again AS SELECT asset_id, started_at, ended_at, state, reason_code FROM plant.machine_states ORDER BY {order};
             TRUNCATE plant.machine_states;
             INSERT INTO plant.machine_states (asset_id, started_at, ended_at, state, reason_code) SELECT * FROM again;
             DROP TABLE again"
        ))?;
        assert_eq!(table(&mut client, ALL), before, "{order}");
    }
    Ok(())
}

#[test]
fn availability_is_that_of_the_formula() -> Result<()> {
    let (_db, mut client) = with_plant("states_formula")?;
    random_events(&mut client, 5)?;
    assert_same(
        &mut client,
        "SELECT asset_id, availability FROM plant.availability('2026-05-10 06:00Z', '2026-05-11 06:00Z')",
        "SELECT asset_id, (plant.oee(planned_minutes, downtime_minutes, 1, 0, 0)).availability FROM plant.availability('2026-05-10 06:00Z', '2026-05-11 06:00Z')",
        "availability",
    );
    // Seconds that make no whole minutes.
    client.batch_execute("TRUNCATE plant.machine_states")?;
    says(
        &mut client,
        &[
            "10T08:00:00 - running -",
            "10T08:00:20.5 - stopped -",
            "10T08:00:41 - running -",
        ],
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT planned_minutes, downtime_minutes, availability, (plant.oee(planned_minutes, downtime_minutes, 1, 0, 0)).availability
               FROM plant.availability('2026-05-10 08:00Z', '2026-05-10 08:01Z') WHERE run_minutes > 0"
        ),
        ["1 | 0.341666666667 | 0.658333333333 | 0.658333333333"]
    );
    Ok(())
}

#[test]
fn who_may_ask() -> Result<()> {
    let (_db, mut client) = with_plant("states_roles")?;
    says(&mut client, &["10T08:00 - running -"])?;
    for call in [
        "state_durations('2026-05-10 08:00Z', '2026-05-10 09:00Z')",
        "availability('2026-05-10 08:00Z', '2026-05-10 09:00Z')",
    ] {
        let sql = format!("SELECT * FROM plant.{call}");
        let all = table(&mut client, &sql);
        assert_eq!(all.len(), 3);
        for role in ["authenticated", "service_role"] {
            assert_eq!(table_as(&mut client, role, &sql), all, "{role}");
        }
        refused_as(&mut client, "anon", &sql, "42501");
    }
    // Policies decide about the rows: what a reader may not see is unknown.
    client.batch_execute("DROP POLICY machine_states_reader_select ON plant.machine_states")?;
    assert_eq!(
        table_as(
            &mut client,
            "authenticated",
            &format!(
                "SELECT state, seconds FROM plant.state_durations('2026-05-10 08:00Z', '2026-05-10 09:00Z', ARRAY['{PRESS}']::uuid[])"
            )
        ),
        ["unknown | 3600"]
    );
    Ok(())
}
