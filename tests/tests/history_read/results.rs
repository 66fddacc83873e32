//! The same rows as from a heap.

use crate::{add_late_rows, assert_same, twins};
use anyhow::Result;

/// Each has an order that is total, or gives one row.
const QUERIES: &[&str] = &[
    "SELECT * FROM {t} ORDER BY id",
    "SELECT count(*) FROM {t}",
    "SELECT count(*), count(value), count(label), count(doubled) FROM {t}",
    "SELECT id, doubled FROM {t} WHERE doubled > 1200 ORDER BY id",
    "SELECT id FROM {t} WHERE sensor = 3 ORDER BY id",
    "SELECT id FROM {t} WHERE sensor = 3::bigint AND at >= '2018-03-10' AND at < '2018-03-11' ORDER BY at",
    "SELECT id FROM {t} WHERE sensor IN (1, 5, 5, NULL) AND at > '2018-04-20 12:00+02' ORDER BY id",
    "SELECT id FROM {t} WHERE sensor = ANY ('{2,4}'::bigint[]) AND value > 690 ORDER BY id",
    "SELECT id FROM {t} WHERE sensor % 2 = 0 AND at BETWEEN '2018-03-31' AND '2018-04-02' ORDER BY id",
    "SELECT id FROM {t} WHERE at = '2018-03-10 00:35+00' ORDER BY id",
    "SELECT id FROM {t} WHERE at >= date '2018-04-28' AND at < timestamp '2018-05-02 10:00' ORDER BY id",
    "SELECT id FROM {t} WHERE '2018-03-02' > at ORDER BY id",
    "SELECT id FROM {t} WHERE value > 695 ORDER BY id",
    "SELECT id FROM {t} WHERE value = 100 OR value IS NULL AND sensor = 2 ORDER BY id",
    "SELECT id FROM {t} WHERE value < -299.5 ORDER BY id",
    "SELECT id FROM {t} WHERE value <= 12.34567 AND value >= 11.999999 ORDER BY id",
    "SELECT id FROM {t} WHERE number > 142000 ORDER BY id",
    "SELECT id FROM {t} WHERE number = 'NaN' ORDER BY id",
    "SELECT id FROM {t} WHERE number < 'Infinity' AND number > 1e29 ORDER BY id",
    "SELECT id FROM {t} WHERE number <= '-Infinity' ORDER BY id",
    "SELECT id FROM {t} WHERE single = 0 ORDER BY id",
    "SELECT id FROM {t} WHERE single > 99 ORDER BY id",
    "SELECT id FROM {t} WHERE single = 'NaN'::float8 ORDER BY id",
    "SELECT id FROM {t} WHERE double >= 'Infinity' OR double = 0 ORDER BY id",
    "SELECT id FROM {t} WHERE double < 10 ORDER BY id",
    "SELECT id FROM {t} WHERE flag AND small = 5 ORDER BY id",
    "SELECT id FROM {t} WHERE flag = true AND small > 3400::bigint ORDER BY id",
    "SELECT id FROM {t} WHERE small BETWEEN -3500 AND -3450 ORDER BY id",
    "SELECT id FROM {t} WHERE day < '2018-02-01' ORDER BY id",
    "SELECT id FROM {t} WHERE moment > '2018-05-30' ORDER BY id",
    "SELECT id FROM {t} WHERE code > 'f8000000-0000-0000-0000-000000000000' ORDER BY id",
    "SELECT id FROM {t} WHERE label = 'label 7' ORDER BY id",
    "SELECT id FROM {t} WHERE label IS NULL AND value IS NOT NULL AND sensor = 6 ORDER BY id",
    "SELECT id FROM {t} WHERE label LIKE '%9' AND at < '2018-03-03' ORDER BY id",
    "SELECT id FROM {t} WHERE place = 'floor 1' AND at < '2018-03-03' ORDER BY id",
    "SELECT id FROM {t} WHERE sensor = 4 ORDER BY at DESC LIMIT 5",
    "SELECT id FROM {t} WHERE sensor = 4 ORDER BY at LIMIT 5 OFFSET 2000",
    "SELECT id FROM {t} WHERE sensor = 1 AND at <= '2018-03-08 10:10' ORDER BY at DESC LIMIT 40",
    "SELECT min(at), max(at) FROM {t} WHERE sensor = 2",
    "SELECT min(at), max(at), min(value), max(double), max(label) FROM {t}",
    "SELECT DISTINCT sensor, place FROM {t} ORDER BY 1",
    "SELECT s.name, r.id FROM s.sensors s JOIN {t} r USING (sensor) WHERE r.at >= '2018-04-29 23:00' AND r.at < '2018-05-01 03:00' ORDER BY r.id",
    "SELECT s.name, l.* FROM s.sensors s, LATERAL (SELECT id, at, value FROM {t} r WHERE r.sensor = s.sensor ORDER BY at DESC LIMIT 1) l ORDER BY 1",
    "SELECT s.name, l.* FROM s.sensors s, LATERAL (SELECT id, at FROM {t} r WHERE r.sensor = s.sensor AND at < '2018-03-12' ORDER BY at DESC LIMIT 3) l ORDER BY 1, at",
    "SELECT name, (SELECT count(value) FROM {t} r WHERE r.sensor = s.sensor AND r.at >= '2018-03-15') FROM s.sensors s ORDER BY 1",
    "SELECT id FROM {t} WHERE sensor IN (SELECT sensor FROM s.sensors WHERE name > 'sensor 4') AND value > 600 ORDER BY id",
    "SELECT id, lag(value) OVER (PARTITION BY sensor ORDER BY at) FROM {t} WHERE sensor < 3 ORDER BY id",
    "SELECT sensor, date_trunc('day', at), avg(value), sum(number) FROM {t} WHERE number <> 'NaN' GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT (t).value, t.id FROM {t} t WHERE (t.*) IS NOT NULL ORDER BY id LIMIT 50",
    "SELECT row_to_json(t)::text FROM {t} t WHERE sensor = 5 AND at < '2018-03-02' ORDER BY id",
    "SELECT a.id, b.id FROM {t} a JOIN {t} b ON a.sensor = b.sensor AND a.at = b.at WHERE a.value > 698 ORDER BY 1",
    "SELECT id FROM {t} WHERE at IS NOT NULL AND sensor IS NOT NULL AND value > 698 ORDER BY id",
];

#[test]
fn queries_give_the_same() -> Result<()> {
    let db = twins("same")?;
    let mut client = db.connect()?;
    for settings in [
        "SELECT 1",
        "SET enable_hashjoin = off; SET enable_mergejoin = off",
        "RESET ALL; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         -- As it is called from 16 on, and before.
         SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode')",
        "RESET ALL; SET enable_nestloop = off; SET enable_sort = off",
    ] {
        client.batch_execute(settings)?;
        client.batch_execute("SET TimeZone = 'Asia/Bangkok'")?;
        for query in QUERIES {
            assert_same(&mut client, query);
        }
    }
    client.batch_execute("RESET ALL")?;
    add_late_rows(&mut client)?;
    for query in QUERIES {
        assert_same(&mut client, query);
    }
    client.batch_execute(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    )?;
    for query in QUERIES {
        assert_same(&mut client, query);
    }
    Ok(())
}

#[test]
fn all_values_come_back_bit_for_bit() -> Result<()> {
    let db = twins("bits")?;
    let mut client = db.connect()?;
    assert_same(
        &mut client,
        "SELECT id, value::text, number::text, numeric_send(number), float4send(single), float8send(double), label,
                code, moment, day, small, flag, at FROM {t} ORDER BY id",
    );
    let different = "SELECT count(*) FROM (SELECT * FROM s.raw EXCEPT ALL SELECT * FROM s.twin) x
                     UNION ALL SELECT count(*) FROM (SELECT * FROM s.twin EXCEPT ALL SELECT * FROM s.raw) x";
    assert_eq!(gemba_tests::table(&mut client, different), ["0", "0"]);
    Ok(())
}

#[test]
fn generic_plans_and_cursors() -> Result<()> {
    let db = twins("generic")?;
    let mut client = db.connect()?;
    add_late_rows(&mut client)?;
    client.batch_execute("SET plan_cache_mode = force_generic_plan")?;
    for name in ["raw", "twin"] {
        client.batch_execute(&format!(
            "PREPARE of_{name} (int, timestamptz, numeric) AS
               SELECT id FROM s.{name} WHERE sensor = $1 AND at >= $2 AND at < $2 + interval '1 day' AND value > $3
                ORDER BY at"
        ))?;
    }
    for arguments in [
        "3, '2018-03-10', 0",
        "4, '2018-03-31 12:00', -400",
        "1, '2018-04-30 12:00', 100.5",
        "1, NULL, 0",
        "99, '2018-03-10', 0",
    ] {
        let found = gemba_tests::table(&mut client, &format!("EXECUTE of_raw ({arguments})"));
        let expected = gemba_tests::table(&mut client, &format!("EXECUTE of_twin ({arguments})"));
        assert_eq!(found, expected, "{arguments}");
    }
    client.batch_execute(
        "BEGIN;
         DECLARE a SCROLL CURSOR FOR SELECT id FROM s.raw WHERE sensor = 2 ORDER BY at;
         DECLARE b SCROLL CURSOR FOR SELECT id FROM s.twin WHERE sensor = 2 ORDER BY at",
    )?;
    for fetch in [
        "10",
        "BACKWARD 3",
        "LAST",
        "BACKWARD 20",
        "FIRST",
        "ABSOLUTE 700",
        "RELATIVE -7",
    ] {
        let found = gemba_tests::table(&mut client, &format!("FETCH {fetch} FROM a"));
        let expected = gemba_tests::table(&mut client, &format!("FETCH {fetch} FROM b"));
        assert_eq!(found, expected, "{fetch}");
    }
    Ok(())
}

/// A function that tells what it is shown must not be shown rows that a policy hides.
#[test]
fn leaky_conditions_wait_for_policies() -> Result<()> {
    let db = twins("leaky")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE FUNCTION s.hidden(place text) RETURNS boolean LANGUAGE sql STABLE COST 1000 AS $$ SELECT $1 = 'floor 0' $$;
         ALTER TABLE s.raw ENABLE ROW LEVEL SECURITY;
         CREATE POLICY of_rows ON s.raw FOR SELECT TO authenticated USING (NOT s.hidden(place));
         CREATE POLICY of_keys ON s.raw AS RESTRICTIVE FOR SELECT TO authenticated
           USING (sensor IN (SELECT sensor FROM s.sensors WHERE name <> 'sensor 5'));
         GRANT USAGE ON SCHEMA s TO authenticated;
         GRANT SELECT ON s.raw, s.sensors TO authenticated;
         GRANT EXECUTE ON FUNCTION s.hidden(text) TO authenticated;
         CREATE FUNCTION s.tell(sensor int) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
           $$ BEGIN IF sensor IN (3, 5, 6) THEN RAISE 'told %', sensor; END IF; RETURN true; END $$;
         GRANT EXECUTE ON FUNCTION s.tell(int) TO authenticated;
         ALTER FUNCTION s.tell(int) STABLE;
         SET ROLE authenticated",
    )?;
    for condition in [
        "s.tell(sensor)",
        "s.tell(sensor) AND id > 0",
        "s.tell((id * 0 + sensor)::int)",
    ] {
        let query = format!("SELECT DISTINCT sensor FROM s.raw WHERE {condition} ORDER BY 1");
        assert_eq!(
            gemba_tests::table(&mut client, &query),
            ["1", "2", "4"],
            "{condition}"
        );
    }
    Ok(())
}
