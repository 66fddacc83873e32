//! Partitions that have expired: retired as the set says, and never in the way of those to come.

use super::{Action, actions, bounds, events, partitions_with, table, value};
use anyhow::Result;
use gemba_tests::extended;
use postgres::Client;

/// A managed daily table whose two partitions of long ago have expired, and whose tomorrow is missing.
fn expired(client: &mut Client, name: &str, on_expire: &str) -> Result<()> {
    client.batch_execute(&format!(
        "CREATE TABLE s.{name} (at timestamptz NOT NULL, n int) PARTITION BY RANGE (at);
         SELECT gemba.manage_partitions('s.{name}', '1 day', premake => 2, retain => '30 days',
                                        on_expire => '{on_expire}', unique_on => ARRAY['at']);
         SELECT gemba.ensure_partitions('s.{name}', '2020-01-01', '2020-01-03');
         INSERT INTO s.{name} VALUES ('2020-01-01 12:00', 1), ('2020-01-02 12:00', 2)"
    ))?;
    drop_tomorrow(client, name)
}

/// Takes the newest partition away, so that the next run has one to make.
fn drop_tomorrow(client: &mut Client, name: &str) -> Result<()> {
    let newest = value(
        client,
        &format!(
            "SELECT partition FROM gemba.partitions WHERE parent = 's.{name}'::regclass ORDER BY to_time DESC LIMIT 1"
        ),
    );
    client.batch_execute(&format!("DROP TABLE {newest}"))?;
    Ok(())
}

/// What a run did with one table.
fn maintain(client: &mut Client, name: &str) -> Result<Vec<Action>> {
    let all = actions(client, "gemba.maintain_partitions()")?;
    Ok(all
        .into_iter()
        .filter(|a| a.parent == format!("s.{name}"))
        .collect())
}

#[test]
fn drop_detach_and_archive() -> Result<()> {
    let db = extended("on_expire")?;
    let mut client = db.connect()?;
    client.batch_execute("CREATE SCHEMA s")?;
    for on_expire in ["drop", "detach", "archive"] {
        expired(&mut client, &format!("t_{on_expire}"), on_expire)?;
    }
    let run = actions(&mut client, "gemba.maintain_partitions()")?;
    for (on_expire, action) in [
        ("drop", "dropped"),
        ("detach", "detached"),
        ("archive", "archived"),
    ] {
        let name = format!("t_{on_expire}");
        let done: Vec<_> = run
            .iter()
            .filter(|a| a.parent == format!("s.{name}"))
            .cloned()
            .collect();
        assert_eq!(partitions_with(&done, "created").len(), 1, "{done:?}");
        assert_eq!(
            partitions_with(&done, action),
            [format!("s.{name}_p20200101"), format!("s.{name}_p20200102")],
            "{done:?}"
        );
        assert_eq!(done.len(), 3, "{done:?}");
        assert_eq!(
            value(&mut client, &format!("SELECT count(*) FROM s.{name}")),
            "0"
        );
        assert_eq!(maintain(&mut client, &name)?, [], "nothing is left to do");
    }
    // What is kept is kept whole: its rows, its index, its seal.
    let places = table(
        &mut client,
        "SELECT c.oid::regclass, c.relrowsecurity, c.relispartition,
                (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique)
           FROM pg_class c WHERE c.relname ~ '_p2020010[12]$' ORDER BY c.oid::regclass::text",
    );
    assert_eq!(
        places,
        [
            "gemba_archive.t_archive_p20200101 | t | f | 1",
            "gemba_archive.t_archive_p20200102 | t | f | 1",
            "s.t_detach_p20200101 | t | f | 1",
            "s.t_detach_p20200102 | t | f | 1",
        ]
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT (SELECT sum(n) FROM gemba_archive.t_archive_p20200101) + (SELECT sum(n) FROM s.t_detach_p20200102)"
        ),
        "3"
    );
    Ok(())
}

/// What is stored elsewhere goes the same ways.
#[test]
fn foreign_partitions_are_retired_too() -> Result<()> {
    let db = extended("on_expire_foreign")?;
    let mut client = db.connect()?;
    // Without a handler nobody can read such a table; retiring it must not try.
    client.batch_execute(
        "CREATE SCHEMA s; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER v FOREIGN DATA WRAPPER w;
         CREATE FOREIGN TABLE gemba_archive.t_archive_p20191231 (at timestamptz NOT NULL, n int) SERVER v",
    )?;
    for on_expire in ["drop", "detach", "archive"] {
        let name = format!("t_{on_expire}");
        expired(&mut client, &name, on_expire)?;
        client.batch_execute(&format!(
            "CREATE FOREIGN TABLE s.{name}_p20191231 PARTITION OF s.{name} FOR VALUES FROM ('2019-12-31') TO ('2020-01-01') SERVER v"
        ))?;
    }
    client.batch_execute("GRANT SELECT ON s.t_drop_p20191231 TO anon")?;
    assert_eq!(
        table(
            &mut client,
            "SELECT partition, rls, no_grants, bytes FROM gemba.partitions WHERE from_time = '2019-12-31' ORDER BY partition::text"
        ),
        [
            "s.t_archive_p20191231 | t | t | 0",
            "s.t_detach_p20191231 | t | t | 0",
            "s.t_drop_p20191231 | t | f | 0",
        ]
    );
    let run = actions(&mut client, "gemba.maintain_partitions()")?;
    assert_eq!(
        partitions_with(&run, "failed"),
        Vec::<String>::new(),
        "{run:?}"
    );
    for (on_expire, action) in [
        ("drop", "dropped"),
        ("detach", "detached"),
        ("archive", "archived"),
    ] {
        let leaf = format!("s.t_{on_expire}_p20191231");
        assert!(
            partitions_with(&run, action).contains(&leaf),
            "{leaf}: {run:?}"
        );
    }
    // The name was taken in the archive.
    assert_eq!(
        table(
            &mut client,
            "SELECT c.oid::regclass, c.relkind, c.relispartition FROM pg_class c WHERE c.relname ~ '_p20191231' ORDER BY c.oid::regclass::text",
        ),
        [
            "gemba_archive.t_archive_p20191231 | f | f",
            "gemba_archive.t_archive_p20191231_1 | f | f",
            "s.t_detach_p20191231 | f | f",
        ]
    );
    Ok(())
}

#[test]
fn only_what_ended_long_enough_ago_is_retired() -> Result<()> {
    let db = extended("horizon")?;
    let mut client = events(&db)?;
    client.batch_execute(
        "SELECT gemba.manage_partitions('s.events', '1 day', premake => 0, retain => '3 days', on_expire => 'drop',
                                        time_zone => 'Asia/Bangkok');
         SELECT gemba.ensure_partitions('s.events', now() - interval '7 days', now())",
    )?;
    actions(&mut client, "gemba.maintain_partitions()")?;
    // One partition ends before the horizon at most while it is still needed: that which contains it.
    assert_eq!(
        value(
            &mut client,
            "SELECT min(to_time) > now() - interval '3 days' - interval '1 minute'
                    AND min(from_time) < now() - interval '3 days' AND count(*) = 4
               FROM gemba.partitions WHERE parent = 's.events'::regclass"
        ),
        "t"
    );
    Ok(())
}

/// Each way in which a retirement can fail: the failure is a row, and everything else is done.
#[test]
fn a_failing_retirement_hinders_nothing_else() -> Result<()> {
    struct Case {
        on_expire: &'static str,
        spoil: &'static str,
        /// Part of the reason that the row has to give.
        reason: &'static str,
        /// How many of the two expired partitions cannot be retired.
        stuck: usize,
    }
    let cases = [
        Case {
            on_expire: "drop",
            spoil: "CREATE VIEW s.depends AS SELECT * FROM s.bad_p20200101",
            reason: "depend",
            stuck: 1,
        },
        Case {
            on_expire: "drop",
            spoil: "CREATE TABLE s.refers (at timestamptz REFERENCES s.bad_p20200101 (at))",
            reason: "depend",
            stuck: 1,
        },
        Case {
            on_expire: "drop",
            spoil: "CREATE FUNCTION s.veto() RETURNS event_trigger LANGUAGE plpgsql AS $$
                    BEGIN
                      IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE object_name ~ '^bad_p') THEN
                        RAISE 'not on my watch';
                      END IF;
                    END $$;
                    CREATE EVENT TRIGGER veto ON sql_drop EXECUTE FUNCTION s.veto()",
            reason: "not on my watch",
            stuck: 2,
        },
        Case {
            on_expire: "detach",
            spoil: "ALTER TABLE s.bad ADD UNIQUE (at);
                    CREATE TABLE s.refers (at timestamptz REFERENCES s.bad (at));
                    INSERT INTO s.refers VALUES ('2020-01-02 12:00')",
            reason: "violates foreign key",
            stuck: 1,
        },
    ];
    for case in cases {
        let what = case.spoil;
        let db = extended("failing_retirement")?;
        let mut client = db.connect()?;
        client.batch_execute("CREATE SCHEMA s")?;
        // One before and one behind the bad one, whatever the order of the run.
        for (name, on_expire) in [
            ("good1", "drop"),
            ("bad", case.on_expire),
            ("good2", "drop"),
        ] {
            expired(&mut client, name, on_expire)?;
        }
        client.batch_execute(case.spoil)?;
        let run = actions(&mut client, "gemba.maintain_partitions()")?;
        for name in ["good1", "bad", "good2"] {
            let made: Vec<_> = run
                .iter()
                .filter(|a| a.parent == format!("s.{name}") && a.action == "created")
                .collect();
            assert_eq!(made.len(), 1, "{name} has its tomorrow: {what}: {run:?}");
        }
        assert_eq!(
            partitions_with(&run, "dropped")
                .iter()
                .filter(|p| p.contains("good"))
                .count(),
            4,
            "{what}: {run:?}"
        );
        let failed: Vec<_> = run.iter().filter(|a| a.action == "failed").collect();
        assert_eq!(failed.len(), case.stuck, "{what}: {run:?}");
        for row in failed {
            assert_eq!(row.parent, "s.bad", "{what}");
            assert!(
                row.detail
                    .as_deref()
                    .unwrap_or_default()
                    .contains(case.reason),
                "{what}: {row:?}"
            );
        }
        // The rows of a partition that could not go are all still there.
        assert_eq!(bounds(&mut client, "s.bad").len(), 3 + case.stuck, "{what}");
        assert_eq!(
            value(&mut client, "SELECT count(*) FROM s.bad"),
            case.stuck.to_string(),
            "{what}"
        );
    }
    Ok(())
}

#[test]
fn a_failing_premake_hinders_nothing_else() -> Result<()> {
    let db = extended("failing_premake")?;
    let mut client = db.connect()?;
    client.batch_execute("CREATE SCHEMA s")?;
    for name in ["good1", "bad", "good2"] {
        expired(&mut client, name, "drop")?;
    }
    // The default partition has a row of the day after tomorrow.
    client.batch_execute(
        "CREATE TABLE s.rest PARTITION OF s.bad DEFAULT;
         INSERT INTO s.bad VALUES (date_trunc('day', now()) + interval '2 days 1 hour', 1)",
    )?;
    let run = actions(&mut client, "gemba.maintain_partitions()")?;
    let failed: Vec<_> = run.iter().filter(|a| a.action == "failed").collect();
    assert_eq!(failed.len(), 1, "{run:?}");
    assert_eq!(failed[0].parent, "s.bad");
    assert!(
        failed[0]
            .detail
            .as_deref()
            .unwrap_or_default()
            .contains("default partition"),
        "{failed:?}"
    );
    assert_eq!(partitions_with(&run, "created").len(), 2, "{run:?}");
    assert_eq!(
        partitions_with(&run, "dropped").len(),
        6,
        "its own expired ones too: {run:?}"
    );
    Ok(())
}

/// Maintenance is the work of a role that owns none of the tables.
#[test]
fn service_role_maintains_the_tables_of_others() -> Result<()> {
    let db = extended("service_maintains")?;
    let mut client = db.connect()?;
    let owner = db.role("owner")?;
    client.batch_execute(&format!("CREATE SCHEMA s AUTHORIZATION {owner}"))?;
    expired(&mut client, "t", "archive")?;
    let leaves = bounds(&mut client, "s.t");
    client.batch_execute(&format!("ALTER TABLE s.t OWNER TO {owner}"))?;
    for leaf in &leaves {
        let name = leaf.split(' ').next().unwrap_or_default();
        client.batch_execute(&format!("ALTER TABLE s.{name} OWNER TO {owner}"))?;
    }
    let mut service = db.connect_as("service_role")?;
    let run = maintain(&mut service, "t")?;
    assert_eq!(run.len(), 3, "{run:?}");
    assert_eq!(partitions_with(&run, "archived").len(), 2, "{run:?}");
    assert_eq!(
        table(
            &mut client,
            "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relname ~ '^t_p'"
        ),
        [owner]
    );
    Ok(())
}
