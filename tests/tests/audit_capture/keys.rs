//! What an entry calls its row: nothing that is to be kept out of the log, and the same in every session.

use super::{audited, logged};
use anyhow::Result;
use gemba_tests::{table, value};

#[test]
fn a_key_that_is_kept_out_of_the_log() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_secret_keys",
        "CREATE TABLE s.t (id int NOT NULL, secret text NOT NULL, v int)",
    )?;
    client.batch_execute("SELECT gemba.audit('s.t', 'secret')")?;
    assert_eq!(
        logged(
            &mut client,
            "ALTER TABLE s.t ADD PRIMARY KEY (id, secret); INSERT INTO s.t VALUES (1, 'hidden', 1); UPDATE s.t SET secret = 'more', v = 2"
        ),
        [
            "INSERT | - | - | {\"v\": 1, \"id\": 1}",
            "UPDATE | - | {\"v\": 1} | {\"v\": 2}",
        ]
    );
    client.batch_execute("ALTER TABLE s.t DROP CONSTRAINT t_pkey; SELECT gemba.audit('s.t'); SELECT gemba.audit_options('s.t', '{secret}')")?;
    assert_eq!(
        logged(
            &mut client,
            "ALTER TABLE s.t ADD PRIMARY KEY (secret); DELETE FROM s.t"
        ),
        ["DELETE | - | {\"v\": 2, \"id\": 1, \"secret\": \"***\"} | -"]
    );
    Ok(())
}

/// A partition's own key is not what the rows of its table are known by.
#[test]
fn a_partition_with_a_key_of_its_own() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_leaf_keys",
        "CREATE TABLE s.t (secret text NOT NULL, id int NOT NULL, v int) PARTITION BY RANGE (id);
         CREATE TABLE s.low (v int, id int NOT NULL, secret text PRIMARY KEY);
         ALTER TABLE s.t ATTACH PARTITION s.low FOR VALUES FROM (0) TO (10)",
    )?;
    client.batch_execute("SELECT gemba.audit('s.t', 'secret')")?;
    assert_eq!(
        logged(
            &mut client,
            "INSERT INTO s.t VALUES ('hidden', 1, 1); INSERT INTO s.low VALUES (1, 2, 'also')"
        ),
        [
            "INSERT | - | - | {\"v\": 1, \"id\": 1}",
            "INSERT | - | - | {\"v\": 1, \"id\": 2}",
        ]
    );
    // The table's key is the partition's too, wherever its columns stand there.
    assert_eq!(
        logged(
            &mut client,
            "ALTER TABLE s.low DROP CONSTRAINT low_pkey; ALTER TABLE s.t ADD PRIMARY KEY (id);
             INSERT INTO s.t VALUES ('hidden', 3, 1); INSERT INTO s.low VALUES (1, 4, 'also'); DELETE FROM s.low WHERE id = 3"
        ),
        [
            "INSERT | 3 | - | {\"v\": 1, \"id\": 3}",
            "INSERT | 4 | - | {\"v\": 1, \"id\": 4}",
            "DELETE | 3 | {\"v\": 1, \"id\": 3} | -",
        ]
    );
    Ok(())
}

#[test]
fn long_keys_are_hashed() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_long_keys",
        "CREATE TABLE s.t (k text PRIMARY KEY, n int);
         CREATE TABLE s.b (k bytea, n int, PRIMARY KEY (k, n)); SELECT gemba.audit('s.b')",
    )?;
    client.batch_execute(
        "INSERT INTO s.t VALUES (repeat('x', 1000)), (repeat('y', 1001)), (repeat('é', 501));
         -- What cannot be compressed.
         INSERT INTO s.t SELECT left(string_agg(md5(n::text), ''), 2600) FROM generate_series(1, 100) n;
         INSERT INTO s.b SELECT decode(string_agg(md5(n::text), ''), 'hex'), 7 FROM generate_series(1, 100) n;
         UPDATE s.t SET n = 1",
    )?;
    let expected = "CASE WHEN octet_length(key) > 1000 THEN 'sha256:' || encode(sha256(convert_to(key, 'UTF8')), 'hex') ELSE key END";
    for (table_name, keys) in [
        ("s.t", "SELECT k AS key FROM s.t"),
        (
            "s.b",
            "SELECT jsonb_build_array(k::text, n::text)::text AS key FROM s.b",
        ),
    ] {
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT (SELECT array_agg(record_id ORDER BY record_id) FROM cloudwatcher.audit_logs WHERE table_name = '{table_name}' AND operation = 'INSERT')
                          = (SELECT array_agg({expected} ORDER BY {expected} COLLATE \"C\") FROM ({keys}) x)"
                )
            ),
            "t",
            "{table_name}"
        );
    }
    assert_eq!(
        value(
            &mut client,
            "SELECT count(DISTINCT record_id) FROM cloudwatcher.audit_logs WHERE table_name = 's.t' AND record_id IS NOT NULL"
        ),
        "4",
        "updates name rows as inserts do"
    );
    Ok(())
}

#[test]
fn sessions_agree_on_names() -> Result<()> {
    let (_db, mut client) = audited(
        "audit_key_settings",
        "CREATE TABLE s.t (b bytea, i interval, f float8, r tstzrange, a date[], v int, at interval, PRIMARY KEY (b, i, f, r, a))",
    )?;
    // More rows than are read at once.
    client.batch_execute(
        "INSERT INTO s.t SELECT '\\x0102', '1 day 2 hours', 0.1::float8 + n, '[2026-01-01 00:00+00,2026-01-02 00:00+00)', '{2026-02-01}', 1, '1 day'
           FROM generate_series(1, 2500) n;
         SET bytea_output = 'escape'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = -3; SET datestyle = 'German'; SET timezone = 'Asia/Tokyo';
         UPDATE s.t SET v = CASE WHEN f > 1000 THEN 2 ELSE v END, at = CASE WHEN f > 1000 THEN interval '2 days' ELSE at END; DELETE FROM s.t; RESET ALL",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT operation, count(*), count(DISTINCT record_id), min(record_id) FROM cloudwatcher.audit_logs WHERE record_id IS NOT NULL GROUP BY 1 ORDER BY 1"
        )[0],
        "DELETE | 2500 | 2500 | [\"\\\\x0102\", \"1 day 02:00:00\", \"1.1\", \"[\\\"2026-01-01 00:00:00+00\\\",\\\"2026-01-02 00:00:00+00\\\")\", \"{2026-02-01}\"]"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT count(*), bool_and(u.new_values ->> 'at' = 'P2D'),
                    bool_and(((u.record_id::jsonb) ->> 2)::float8 > 1000),
                    bool_and(EXISTS (SELECT FROM cloudwatcher.audit_logs i WHERE i.operation = 'INSERT' AND i.record_id = u.record_id)),
                    count(DISTINCT u.record_id)
               FROM cloudwatcher.audit_logs u WHERE u.operation = 'UPDATE'"
        ),
        ["1501 | t | t | t | 1501"],
        "values are as to_jsonb has them in the session, keys as in any"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.audit_logs d JOIN cloudwatcher.audit_logs i USING (record_id)
              WHERE d.operation = 'DELETE' AND i.operation = 'INSERT' AND (d.old_values ->> 'f')::numeric::int = (i.new_values ->> 'f')::numeric::int"
        ),
        "2500"
    );
    Ok(())
}
