//! Calls that cannot succeed: each says what is wrong and what to do.

use super::{events, value};
use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};

#[test]
fn bad_calls_are_refused_with_a_remedy() -> Result<()> {
    let db = extended("bad_calls")?;
    let mut client = events(&db)?;
    client.batch_execute(
        "CREATE TABLE s.plain (at timestamptz);
         CREATE TABLE s.listed (at timestamptz) PARTITION BY LIST (at);
         CREATE TABLE s.hashed (at timestamptz) PARTITION BY HASH (at);
         CREATE TABLE s.two (at timestamptz, b int) PARTITION BY RANGE (at, b);
         CREATE TABLE s.computed (at timestamptz) PARTITION BY RANGE ((at AT TIME ZONE 'UTC'));
         CREATE TABLE s.number (at bigint) PARTITION BY RANGE (at);
         CREATE TABLE s.unmanaged (at timestamptz) PARTITION BY RANGE (at);
         CREATE TABLE s.days (at date) PARTITION BY RANGE (at);
         CREATE VIEW s.seen AS SELECT 1 AS at",
    )?;
    let manage = |arguments: &str| format!("SELECT gemba.manage_partitions({arguments})");
    let ensure = |arguments: &str| format!("SELECT gemba.ensure_partitions({arguments})");
    client.batch_execute(&manage("'s.events', '1 day', premake => 0"))?;
    let before = value(
        &mut client,
        "SELECT array_agg(s ORDER BY s.parent::oid) FROM gemba.partition_sets s",
    );
    let mut wrong = Vec::new();
    for (call, code) in [
        (manage("'s.plain', '1 day'"), "42809"),
        (manage("'s.listed', '1 day'"), "42809"),
        (manage("'s.hashed', '1 day'"), "42809"),
        (manage("'s.two', '1 day'"), "42809"),
        (manage("'s.computed', '1 day'"), "42809"),
        (manage("'s.number', '1 day'"), "42809"),
        (manage("'s.seen', '1 day'"), "42809"),
        (manage("'s.events', '0 days'"), "22023"),
        (manage("'s.events', '-1 day'"), "22023"),
        (manage("'s.events', '7 hours'"), "22023"),
        (manage("'s.events', '1 month 1 day'"), "22023"),
        (manage("'s.events', '1 day 1 hour'"), "22023"),
        (manage("'s.days', '1 hour'"), "22023"),
        (manage("'s.events', '1 day', premake => -1"), "22023"),
        (manage("'s.events', '1 day', retain => '-1 day'"), "22023"),
        (manage("'s.events', '1 day', on_expire => 'burn'"), "22023"),
        (
            manage("'s.events', '1 day', time_zone => 'Mars/Phobos'"),
            "22023",
        ),
        (
            manage("'s.events', '1 day', unique_on => ARRAY['nothing']"),
            "42703",
        ),
        (ensure("'s.events', '2024-01-02', '2024-01-01'"), "22023"),
        (ensure("'s.events', '2024-01-01', '2024-01-01'"), "22023"),
        (ensure("'s.events', '-infinity', '2024-01-01'"), "22023"),
        (ensure("'s.events', '2024-01-01', 'infinity'"), "22023"),
        (ensure("'s.events', '-infinity', 'infinity'"), "22023"),
        (ensure("'s.events', 'infinity', 'infinity'"), "22023"),
        (ensure("'s.unmanaged', '2024-01-01', '2024-01-02'"), "55000"),
        (ensure("'s.plain', '2024-01-01', '2024-01-02'"), "55000"),
    ] {
        match client.batch_execute(&call) {
            Ok(()) => wrong.push(format!("{call}: succeeds")),
            Err(error) => match error.as_db_error() {
                Some(e) if e.code().code() == code && e.hint().is_some() => {}
                Some(e) => wrong.push(format!(
                    "{call}: {} {} (hint: {:?})",
                    e.code().code(),
                    e.message(),
                    e.hint()
                )),
                None => return Err(error.into()),
            },
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(
        value(
            &mut client,
            "SELECT array_agg(s ORDER BY s.parent::oid) FROM gemba.partition_sets s"
        ),
        before,
        "a refused call leaves nothing behind"
    );
    Ok(())
}

#[test]
fn only_the_owner_manages() -> Result<()> {
    let db = extended("owners")?;
    let mut client = events(&db)?;
    let owner = db.role("owner")?;
    let other = db.role("other")?;
    client.batch_execute(&format!(
        "ALTER SCHEMA s OWNER TO {owner}; ALTER TABLE s.events OWNER TO {owner};
         GRANT USAGE ON SCHEMA gemba, s TO {owner}, {other};
         GRANT ALL ON s.events TO {other};
         GRANT EXECUTE ON FUNCTION gemba.manage_partitions, gemba.ensure_partitions, gemba.unmanage_partitions
           TO {owner}, {other}"
    ))?;
    let calls = [
        "SELECT gemba.manage_partitions('s.events', '1 day')",
        "SELECT gemba.ensure_partitions('s.events', '2024-01-01', '2024-01-02')",
        "SELECT gemba.unmanage_partitions('s.events')",
    ];
    let mut owned = db.connect_as(&owner)?;
    owned.batch_execute(calls[0])?;
    let mut stranger = db.connect_as(&other)?;
    for call in calls {
        let error = expect_sqlstate(stranger.batch_execute(call), "42501");
        assert!(error.hint().is_some(), "no hint: {call}: {error:?}");
    }
    for call in calls {
        owned.batch_execute(call)?;
    }
    Ok(())
}

/// Without the privilege even a call with nonsense says nothing else.
#[test]
fn clients_may_call_nothing() -> Result<()> {
    let db = extended("clients")?;
    let mut client = events(&db)?;
    client.batch_execute("SELECT gemba.manage_partitions('s.events', '1 day'); GRANT USAGE ON SCHEMA s TO anon, authenticated")?;
    for role in ["anon", "authenticated"] {
        let mut session = db.connect_as(role)?;
        for call in [
            "SELECT gemba.manage_partitions('s.events', '1 day')",
            "SELECT gemba.ensure_partitions('s.events', '2024-01-01', '2024-01-02')",
            "SELECT gemba.unmanage_partitions('s.events')",
            "SELECT gemba.maintain_partitions()",
            "SELECT * FROM gemba.partitions",
            "DELETE FROM gemba.partition_sets",
        ] {
            expect_sqlstate(session.batch_execute(call), "42501");
        }
    }
    Ok(())
}
