//! Where partitions begin and end, what they are called, and which gaps they fill.

use super::{actions, bounds, events, partitions_with, table, value};
use anyhow::Result;
use gemba_tests::{Database, extended};
use postgres::Client;

/// A managed table without a premade future, whose partitions the test asks for.
fn managed(db: &Database, key: &str, step: &str, zone: &str) -> Result<Client> {
    let mut client = db.connect()?;
    client.batch_execute(&format!(
        "CREATE SCHEMA s; CREATE TABLE s.t (at {key} NOT NULL) PARTITION BY RANGE (at);
         SELECT gemba.manage_partitions('s.t', '{step}', premake => 0, time_zone => '{zone}')"
    ))?;
    // The present partition, which managing made, only stands in the way of exact expectations.
    let present = value(
        &mut client,
        "SELECT string_agg(inhrelid::regclass::text, ', ') FROM pg_inherits WHERE inhparent = 's.t'::regclass",
    );
    client.batch_execute(&format!("DROP TABLE {present}"))?;
    Ok(client)
}

/// Asks for the partitions of `[from, to)`, local times of the zone, and compares their bounds with
/// those that the server's own calendar gives: `starts` is a query for the local start of each.
#[track_caller]
fn check(key: &str, step: &str, zone: &str, from: &str, to: &str, starts: &str) -> Result<()> {
    let case = format!("{step} of {key} in {zone}");
    let db = extended("boundaries")?;
    let mut client = managed(&db, key, step, zone)?;
    let ensure = format!(
        "gemba.ensure_partitions('s.t', timestamp '{from}' AT TIME ZONE '{zone}',
                                        timestamp '{to}' AT TIME ZONE '{zone}')"
    );
    let made = actions(&mut client, &ensure)?;
    let bound = match key {
        "timestamptz" => format!("start AT TIME ZONE '{zone}'"),
        _ => format!("start::{key}"),
    };
    let expected = table(
        &mut client,
        &format!(
            "SELECT format('FOR VALUES FROM (%L) TO (%L)', bound, lead) FROM (
               SELECT {bound} AS bound, lead({bound}) OVER (ORDER BY {bound}) FROM ({starts}) AS s (start)) AS b
              WHERE lead IS NOT NULL ORDER BY bound"
        ),
    );
    assert!(expected.len() > 1, "{case}: nothing to compare");
    let found = table(
        &mut client,
        "SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = 's.t'::regclass ORDER BY c.relname COLLATE \"C\"",
    );
    // In the order of the names, which therefore has to be that of the times.
    assert_eq!(found, expected, "{case}");
    assert_eq!(
        partitions_with(&made, "created").len(),
        expected.len(),
        "{case}"
    );
    assert_eq!(actions(&mut client, &ensure)?, [], "{case}: a second time");

    // Every row of the range finds its partition: 13 minutes meet every kind of boundary.
    client.batch_execute(&match key {
        "timestamptz" => format!(
            "INSERT INTO s.t SELECT generate_series(timestamp '{from}' AT TIME ZONE '{zone}',
               timestamp '{to}' AT TIME ZONE '{zone}' - interval '1 microsecond', interval '13 minutes')"
        ),
        _ => format!(
            "INSERT INTO s.t SELECT generate_series(timestamp '{from}',
               timestamp '{to}' - interval '1 microsecond', interval '13 minutes')"
        ),
    })?;
    Ok(())
}

#[test]
fn parts_of_a_day() -> Result<()> {
    let series = |width: &str| {
        format!("SELECT generate_series(timestamp '2024-03-05', timestamp '2024-03-07', '{width}')")
    };
    for key in ["timestamptz", "timestamp"] {
        for (step, zone) in [
            ("1 hour", "UTC"),
            ("15 minutes", "UTC"),
            ("90 minutes", "UTC"),
            ("6 hours", "UTC"),
            ("12 hours", "UTC"),
            ("1 hour", "Asia/Bangkok"),
            ("15 minutes", "Asia/Kolkata"),
        ] {
            check(key, step, zone, "2024-03-05", "2024-03-07", &series(step))?;
        }
    }
    Ok(())
}

/// A key without a zone knows local times only, so the day is cut at its own hours.
#[test]
fn parts_of_a_local_day() -> Result<()> {
    let series = |width: &str| {
        format!("SELECT generate_series(timestamp '2024-03-05', timestamp '2024-03-07', '{width}')")
    };
    for (step, zone) in [("1 hour", "Asia/Kolkata"), ("6 hours", "Asia/Bangkok")] {
        check(
            "timestamp",
            step,
            zone,
            "2024-03-05",
            "2024-03-07",
            &series(step),
        )?;
    }
    Ok(())
}

#[test]
fn days_weeks_months_and_years() -> Result<()> {
    let series = |from: &str, to: &str, step: &str| {
        format!("SELECT generate_series(timestamp '{from}', timestamp '{to}', '{step}')")
    };
    for key in ["timestamptz", "timestamp", "date"] {
        for zone in ["UTC", "Asia/Bangkok", "Europe/Berlin"] {
            for (step, from, to, first, last) in [
                // Over both changes of the clocks.
                (
                    "1 day",
                    "2024-03-29",
                    "2024-04-02",
                    "2024-03-29",
                    "2024-04-02",
                ),
                (
                    "1 day",
                    "2024-10-25",
                    "2024-10-29",
                    "2024-10-25",
                    "2024-10-29",
                ),
                // Monday is 2024-03-18; the range begins and ends in the middle of a week.
                (
                    "7 days",
                    "2024-03-20",
                    "2024-04-05",
                    "2024-03-18",
                    "2024-04-08",
                ),
                (
                    "1 month",
                    "2024-01-15",
                    "2024-12-02",
                    "2024-01-01",
                    "2025-01-01",
                ),
                (
                    "3 months",
                    "2023-11-15",
                    "2024-12-02",
                    "2023-10-01",
                    "2025-01-01",
                ),
                (
                    "1 year",
                    "2019-11-15",
                    "2024-12-02",
                    "2019-01-01",
                    "2025-01-01",
                ),
            ] {
                check(key, step, zone, from, to, &series(first, last, step))?;
            }
        }
    }
    Ok(())
}

/// Where the clocks change at midnight a day may begin at 01:00, or its first hour may come twice.
#[test]
fn days_whose_midnight_is_missing_or_comes_twice() -> Result<()> {
    for key in ["timestamptz", "timestamp", "date"] {
        for (zone, from, to) in [
            ("America/Sao_Paulo", "2018-11-02", "2018-11-07"),
            ("America/Sao_Paulo", "2018-02-16", "2018-02-20"),
            ("America/Havana", "2024-03-08", "2024-03-12"),
            ("America/Havana", "2024-11-01", "2024-11-05"),
        ] {
            let series =
                format!("SELECT generate_series(timestamp '{from}', timestamp '{to}', '1 day')");
            check(key, "1 day", zone, from, to, &series)?;
        }
    }
    Ok(())
}

/// The hour that comes twice is one range of a key that cannot tell the two apart.
#[test]
fn local_hours_when_the_clocks_change() -> Result<()> {
    for (from, to) in [
        ("2024-10-26 12:00", "2024-10-27 12:00"),
        ("2024-03-30 12:00", "2024-03-31 12:00"),
    ] {
        let db = extended("local_hours")?;
        let mut client = managed(&db, "timestamp", "1 hour", "Europe/Berlin")?;
        let ensure = format!(
            "gemba.ensure_partitions('s.t', timestamp '{from}' AT TIME ZONE 'Europe/Berlin',
                                            timestamp '{to}' AT TIME ZONE 'Europe/Berlin')"
        );
        assert!(actions(&mut client, &ensure)?.len() >= 23, "{from}");
        client.batch_execute(&format!(
            "INSERT INTO s.t SELECT generate_series(timestamp '{from}', timestamp '{to}' - interval '1 us', '13 min')"
        ))?;
        assert_eq!(actions(&mut client, &ensure)?, [], "{from}: a second time");
    }
    Ok(())
}

#[test]
fn instants_have_an_hour_that_comes_twice() -> Result<()> {
    let db = extended("instant_hours")?;
    let mut client = managed(&db, "timestamptz", "1 hour", "Europe/Berlin")?;
    let made = actions(
        &mut client,
        "gemba.ensure_partitions('s.t', '2024-10-27 00:00+02', '2024-10-28 00:00+01')",
    )?;
    assert_eq!(made.len(), 25);
    let mut sorted = partitions_with(&made, "created");
    sorted.sort();
    assert_eq!(
        sorted,
        partitions_with(&made, "created"),
        "names sort as the times do"
    );
    Ok(())
}

/// Bounds are read and written in the session's own style.
#[test]
fn a_sessions_styles_do_not_matter() -> Result<()> {
    let db = extended("styles")?;
    let mut plain = managed(&db, "timestamptz", "1 day", "Asia/Bangkok")?;
    let ensure = "gemba.ensure_partitions('s.t', '2024-02-28 17:00+00', '2024-03-02 17:00+00')";
    let mut odd = db.connect()?;
    odd.batch_execute(
        "SET DateStyle = 'SQL, DMY'; SET TimeZone = 'America/St_Johns'; SET IntervalStyle = 'sql_standard'",
    )?;
    assert_eq!(actions(&mut odd, ensure)?.len(), 3);
    assert_eq!(actions(&mut odd, ensure)?, []);
    assert_eq!(actions(&mut plain, ensure)?, []);
    assert_eq!(
        bounds(&mut plain, "s.t"),
        [
            "t_p20240229 FOR VALUES FROM ('2024-02-28 17:00:00+00') TO ('2024-02-29 17:00:00+00')",
            "t_p20240301 FOR VALUES FROM ('2024-02-29 17:00:00+00') TO ('2024-03-01 17:00:00+00')",
            "t_p20240302 FOR VALUES FROM ('2024-03-01 17:00:00+00') TO ('2024-03-02 17:00:00+00')",
        ]
    );
    Ok(())
}

/// Partitions that a person made are left alone; exactly what they leave open is filled.
#[test]
fn odd_partitions_leave_gaps_that_are_filled_exactly() -> Result<()> {
    let db = extended("gaps")?;
    let mut client = managed(&db, "timestamptz", "1 day", "UTC")?;
    client.batch_execute(
        "CREATE TABLE s.odd PARTITION OF s.t FOR VALUES FROM ('2024-01-02 06:00+00') TO ('2024-01-02 18:00+00');
         CREATE TABLE s.wide PARTITION OF s.t FOR VALUES FROM ('2024-01-03 12:00+00') TO ('2024-01-05 12:00+00');
         CREATE TABLE s.past PARTITION OF s.t FOR VALUES FROM (MINVALUE) TO ('2023-12-31 12:00+00')",
    )?;
    let ensure = "gemba.ensure_partitions('s.t', '2023-12-31 13:00+00', '2024-01-06 00:00+00')";
    assert_eq!(actions(&mut client, ensure)?.len(), 6);
    let mut found = table(
        &mut client,
        "SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = 's.t'::regclass AND c.relname LIKE 't\\_p%' ORDER BY 1",
    );
    found.sort();
    assert_eq!(
        found,
        [
            "FOR VALUES FROM ('2023-12-31 12:00:00+00') TO ('2024-01-01 00:00:00+00')",
            "FOR VALUES FROM ('2024-01-01 00:00:00+00') TO ('2024-01-02 00:00:00+00')",
            "FOR VALUES FROM ('2024-01-02 00:00:00+00') TO ('2024-01-02 06:00:00+00')",
            "FOR VALUES FROM ('2024-01-02 18:00:00+00') TO ('2024-01-03 00:00:00+00')",
            "FOR VALUES FROM ('2024-01-03 00:00:00+00') TO ('2024-01-03 12:00:00+00')",
            "FOR VALUES FROM ('2024-01-05 12:00:00+00') TO ('2024-01-06 00:00:00+00')",
        ]
    );
    assert_eq!(actions(&mut client, ensure)?, []);
    client.batch_execute(
        "INSERT INTO s.t SELECT generate_series('2023-12-31 00:00+00'::timestamptz, '2024-01-05 23:59+00', '7 min')",
    )?;
    Ok(())
}

#[test]
fn the_present_and_the_premade_ones() -> Result<()> {
    let db = extended("premake")?;
    let mut client = events(&db)?;
    let made = actions(
        &mut client,
        "gemba.manage_partitions('s.events', '1 month', premake => 3, time_zone => 'Asia/Bangkok')",
    )?;
    assert_eq!(partitions_with(&made, "created").len(), 4);
    // From the month of now on: asked of the server in the same breath as the expectation.
    assert_eq!(
        value(
            &mut client,
            "SELECT min(from_time) = date_trunc('month', now(), 'Asia/Bangkok')
                    AND max(to_time) = (date_trunc('month', now() AT TIME ZONE 'Asia/Bangkok') + interval '4 months')
                                       AT TIME ZONE 'Asia/Bangkok'
               FROM gemba.partitions WHERE parent = 's.events'::regclass"
        ),
        "t"
    );
    assert_eq!(
        actions(
            &mut client,
            "gemba.maintain_partitions() WHERE parent = 's.events'"
        )?,
        []
    );
    // Managing again changes the settings and makes what they now ask for.
    let more = actions(
        &mut client,
        "gemba.manage_partitions('s.events', '1 month', premake => 5, time_zone => 'Asia/Bangkok')",
    )?;
    assert_eq!(partitions_with(&more, "created").len(), 2);
    Ok(())
}

/// 63 bytes are all that a name may have; the time is what must not be cut off.
#[test]
fn names_of_long_parents_sort_and_do_not_collide() -> Result<()> {
    let db = extended("long_names")?;
    let mut client = db.connect()?;
    let stem = "e".repeat(62);
    let wide = "é".repeat(31);
    client.batch_execute("CREATE SCHEMA s")?;
    for parent in [format!("{stem}1"), format!("{stem}2"), wide] {
        client.batch_execute(&format!(
            "CREATE TABLE s.\"{parent}\" (at timestamptz NOT NULL) PARTITION BY RANGE (at);
             SELECT gemba.manage_partitions('s.\"{parent}\"', '1 hour', premake => 0);
             SELECT gemba.ensure_partitions('s.\"{parent}\"', '2024-01-01 20:00+00', '2024-01-02 04:00+00')"
        ))?;
        let by_name = table(
            &mut client,
            &format!(
                "SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                  WHERE i.inhparent = 's.\"{parent}\"'::regclass ORDER BY c.relname COLLATE \"C\""
            ),
        );
        let mut by_time = by_name.clone();
        by_time.sort();
        assert_eq!(by_name, by_time, "{parent}");
        assert_eq!(by_name.len(), 9, "{parent}: eight and the present one");
    }
    Ok(())
}

#[test]
fn a_table_that_has_the_name_is_left_alone() -> Result<()> {
    let db = extended("taken_name")?;
    let mut client = managed(&db, "timestamptz", "1 day", "UTC")?;
    client.batch_execute(
        "CREATE TABLE s.t_p20240102 (mine int); CREATE VIEW s.t_p20240103 AS SELECT 1 AS mine",
    )?;
    client.batch_execute("SELECT gemba.ensure_partitions('s.t', '2024-01-01', '2024-01-05')")?;
    let names: Vec<_> = bounds(&mut client, "s.t")
        .iter()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(names.len(), 4);
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted, "in the order of the times");
    assert_eq!(
        value(&mut client, "SELECT count(mine) FROM s.t_p20240102"),
        "0",
        "the table that was there is still what it was"
    );
    Ok(())
}
