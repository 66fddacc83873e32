//! Policies, and rollups that are refreshed from compressed months.

use super::{on_segments, twins};
use anyhow::Result;
use gemba_tests::{table, value};

#[test]
fn policies_hold_for_what_is_computed_on_segments() -> Result<()> {
    let db = twins("aggregates_policies")?;
    let client = &mut db.connect()?;
    client.batch_execute(
        "CREATE ROLE aggregates_reader;
         CREATE TABLE s.allowed (reader name, sensor int);
         INSERT INTO s.allowed VALUES ('aggregates_reader', 2), ('aggregates_reader', 4);
         CREATE FUNCTION s.is_open() RETURNS bool LANGUAGE sql STABLE AS
           $$ SELECT coalesce(current_setting('s.open', true), 'yes') = 'yes' $$;
         -- Tells whoever calls it what it was called with.
         CREATE FUNCTION s.tell(n int) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS
           $$ BEGIN RAISE NOTICE 'seen %', n; RETURN true; END $$;
         CREATE FUNCTION s.tell_stable(n int) RETURNS bool LANGUAGE plpgsql STABLE COST 0.0001 AS
           $$ BEGIN IF n NOT IN (2, 4) THEN RAISE EXCEPTION 'seen %', n; END IF; RETURN true; END $$;
         GRANT USAGE ON SCHEMA s TO aggregates_reader;
         GRANT SELECT ON s.raw, s.twin, s.allowed TO aggregates_reader;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA s TO aggregates_reader",
    )?;
    for table in ["raw", "twin"] {
        client.batch_execute(&format!(
            "ALTER TABLE s.{table} ENABLE ROW LEVEL SECURITY;
             CREATE POLICY readers ON s.{table} FOR SELECT TO aggregates_reader
              USING ((SELECT s.is_open()) AND sensor IN (SELECT sensor FROM s.allowed WHERE reader = current_user))"
        ))?;
    }
    table(client, "SET ROLE aggregates_reader");
    for query in [
        "SELECT sensor, count(*), sum(exact) FROM {t} GROUP BY 1 ORDER BY 1",
        "SELECT date_trunc('day', at), count(*), max(number) FROM {t} WHERE exact > 0 GROUP BY 1 ORDER BY 1",
        "SELECT count(*), avg(exact) FROM {t} WHERE sensor = 1",
        "SELECT count(*), avg(exact) FROM {t} WHERE s.tell_stable(sensor)",
        "SELECT count(*), avg(exact) FROM {t} WHERE s.tell_stable(sensor) AND label LIKE '%1'",
    ] {
        super::assert_same(client, query);
    }
    assert!(on_segments(client, "SELECT sensor, count(*) FROM s.raw GROUP BY 1") > 0);
    assert_eq!(
        value(
            client,
            "SELECT string_agg(DISTINCT sensor::text, ',') FROM (SELECT sensor FROM s.raw GROUP BY 1) AS x"
        ),
        "2,4"
    );
    table(client, "SET s.open = 'no'");
    assert_eq!(value(client, "SELECT count(*) FROM s.raw"), "0");
    assert!(table(client, "SELECT sensor, count(*) FROM s.raw GROUP BY 1").is_empty());
    Ok(())
}

#[test]
fn rollups_are_refreshed_from_compressed_months() -> Result<()> {
    let db = twins("aggregates_rollup")?;
    let client = &mut db.connect()?;
    client.batch_execute("SET TimeZone = 'UTC'")?;
    for (name, bucket, zone) in [
        ("hourly", "1 hour", "UTC"),
        ("daily", "1 day", "Asia/Bangkok"),
        ("weekly", "7 days", "UTC"),
    ] {
        client.batch_execute(&format!(
            "SELECT gemba.create_rollup('s.{name}', 's.raw', 'at', '{bucket}', ARRAY['sensor'],
               '{{\"n\": {{\"function\": \"count\"}}, \"total\": {{\"function\": \"sum\", \"column\": \"exact\"}},
                  \"mean\": {{\"function\": \"avg\", \"column\": \"middle\"}},
                  \"least\": {{\"function\": \"min\", \"column\": \"double\"}}}}'::jsonb, time_zone => '{zone}')"
        ))?;
    }
    table(client, "SELECT * FROM gemba.refresh_rollups()");
    for (name, bucket, zone) in [
        ("hourly", "1 hour", "UTC"),
        ("daily", "1 day", "Asia/Bangkok"),
        ("weekly", "7 days", "UTC"),
    ] {
        let found = table(
            client,
            &format!(
                "SELECT bucket, sensor, n, total, mean::numeric(30,8), least FROM s.{name} ORDER BY 1, 2"
            ),
        );
        let expected = table(
            client,
            &format!(
                "SELECT gemba.bucket_start('{bucket}', at, '{zone}'), sensor, count(*), sum(exact),
                        avg(middle)::numeric(30,8), min(double) FROM s.twin GROUP BY 1, 2 ORDER BY 1, 2"
            ),
        );
        assert_eq!(found, expected, "{name}");
    }
    Ok(())
}
