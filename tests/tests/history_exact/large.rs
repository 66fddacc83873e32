//! More rows than a segment holds.

use anyhow::Result;
use gemba_tests::{extended, table, value};

/// 70,000 rows of one series within minutes, and as many at one moment.
#[test]
fn seventy_thousand_rows_of_one_series() -> Result<()> {
    let db = extended("exact_large")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE SCHEMA s;
         CREATE TABLE s.raw (at timestamptz NOT NULL, machine text, value numeric, n int) PARTITION BY RANGE (at);
         CREATE TABLE s.twin (at timestamptz NOT NULL, machine text, value numeric, n int);
         SELECT gemba.manage_partitions('s.raw', '1 hour', premake => 0);
         SELECT gemba.ensure_partitions('s.raw', '2024-03-01 00:00+00', '2024-03-01 01:00+00');
         INSERT INTO s.twin
           SELECT timestamptz '2024-03-01 00:00+00' + n * interval '1 millisecond', 'dense', round(n / 7.0, n % 4), n FROM generate_series(1, 70000) AS n
           UNION ALL
           SELECT '2024-03-01 00:30+00', 'at once', n % 50, n FROM generate_series(1, 70000) AS n
           UNION ALL
           SELECT timestamptz '2024-03-01 00:30+00' + n * interval '1 second', 'at once', n, n FROM generate_series(-20, 20) AS n
           UNION ALL
           SELECT '2024-03-01 00:30+00', NULL, n, n FROM generate_series(1, 300) AS n;
         INSERT INTO s.raw SELECT * FROM s.twin;
         SELECT gemba.compress_after('s.raw', '{machine}', 'at', '1 hour')",
    )?;
    let leaf = table(
        &mut client,
        "SELECT DISTINCT tableoid::regclass::text FROM s.raw",
    )
    .remove(0);
    client.batch_execute(&format!("SELECT gemba.compress_partition('{leaf}')"))?;
    let most = value(
        &mut client,
        &format!(
            "SELECT max(row_count) FROM gemba_history.{}",
            leaf.trim_start_matches("s.")
        ),
    );
    assert_eq!(most, "65000");
    let same = |client: &mut postgres::Client, when: &str| {
        for (a, b) in [("s.raw", "s.twin"), ("s.twin", "s.raw")] {
            let different = value(
                client,
                &format!(
                    "SELECT count(*) FROM (SELECT at, machine, value::text, n FROM {a} EXCEPT ALL SELECT at, machine, value::text, n FROM {b}) AS x"
                ),
            );
            assert_eq!(different, "0", "{when}: {a} has more");
        }
        for query in [
            "SELECT machine, count(*), sum(value), avg(value), min(n), max(n) FROM {t} GROUP BY 1 ORDER BY 1",
            "SELECT date_trunc('minute', at), count(*), sum(n) FROM {t} GROUP BY 1 ORDER BY 1",
            "SELECT array_agg(at)::text FROM (SELECT at FROM {t} WHERE machine = 'at once' ORDER BY at LIMIT 30) AS x",
            "SELECT array_agg(at)::text FROM (SELECT at FROM {t} WHERE machine = 'at once' ORDER BY at DESC LIMIT 30 OFFSET 70000) AS x",
            "SELECT md5(string_agg(at::text, '')) FROM (SELECT at FROM {t} WHERE machine = 'dense' ORDER BY at) AS x",
            "SELECT n FROM {t} WHERE machine = 'dense' AND at = '2024-03-01 00:01:05.001+00'",
            "SELECT count(*) FROM {t} WHERE at = '2024-03-01 00:30+00'",
        ] {
            let [found, expected] =
                ["s.raw", "s.twin"].map(|name| table(client, &query.replace("{t}", name)));
            assert_eq!(found, expected, "{when}: {query}");
        }
        assert!(
            table(client, "SELECT * FROM gemba.verify_history()").is_empty(),
            "{when}"
        );
    };
    same(&mut client, "compressed");
    // At the seam of two segments, and in the midst of a moment.
    for name in ["s.raw", "s.twin"] {
        client.batch_execute(&format!(
            "INSERT INTO {name} SELECT '2024-03-01 00:30+00', 'at once', 0.50, -n FROM generate_series(1, 10) AS n;
             INSERT INTO {name} SELECT timestamptz '2024-03-01 00:01:05+00' + n * interval '1 microsecond', 'dense', 0, -n FROM generate_series(0, 10) AS n;
             UPDATE {name} SET value = -1 WHERE machine = 'dense' AND n BETWEEN 64990 AND 65010;
             DELETE FROM {name} WHERE machine = 'at once' AND n % 1000 = 7;
             UPDATE {name} SET value = 5.0 WHERE machine = 'at once' AND n BETWEEN 64995 AND 65005"
        ))?;
    }
    same(&mut client, "changed");
    client.batch_execute(&format!("SELECT gemba.compress_partition('{leaf}')"))?;
    same(&mut client, "folded");
    client.batch_execute(&format!("SELECT gemba.decompress_partition('{leaf}')"))?;
    same(&mut client, "decompressed");
    Ok(())
}
