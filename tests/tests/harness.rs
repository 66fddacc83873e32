//! The harness itself: if it lied, every other test would.

use anyhow::Result;
use gemba_tests::{Cluster, as_user, empty, expect_sqlstate, snapshot};

#[test]
fn a_dropped_cluster_leaves_nothing() -> Result<()> {
    let cluster = Cluster::new()?;
    let dir = cluster.dir().to_owned();
    let pid: u32 = std::fs::read_to_string(cluster.data().join("postmaster.pid"))?
        .lines()
        .next()
        .unwrap_or_default()
        .parse()?;
    drop(cluster);
    assert!(!dir.exists(), "{dir:?} is still there");
    // One that has ended but has not been reaped yet has no command line any more.
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert_eq!(command, "", "the server {pid} still runs");
    Ok(())
}

#[test]
fn a_crashed_cluster_comes_back() -> Result<()> {
    let cluster = Cluster::new()?;
    cluster
        .connect("postgres")?
        .batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1); CHECKPOINT")?;
    cluster.crash()?;
    cluster.start()?;
    let kept: i64 = cluster
        .connect("postgres")?
        .query_one("SELECT count(*) FROM t", &[])?
        .get(0);
    assert_eq!(kept, 1);
    Ok(())
}

#[test]
fn as_user_sets_role_and_claims_for_one_transaction() -> Result<()> {
    let db = empty("as_user")?;
    let role = db.role("visitor")?;
    let mut client = db.connect()?;
    let seen = as_user(&mut client, &role, Some("42"), |tx| {
        tx.query_one(
            "SELECT current_user::text, current_setting('request.jwt.claims')",
            &[],
        )
    })?;
    assert_eq!(seen.get::<_, String>(0), role);
    let claims: serde_json::Value = serde_json::from_str(seen.get(1))?;
    assert_eq!(claims["sub"], "42");
    assert_eq!(claims["role"], role.as_str());
    let after = client.query_one(
        "SELECT current_user::text, current_setting('request.jwt.claims', true)",
        &[],
    )?;
    assert_eq!(after.get::<_, String>(0), "postgres");
    assert_eq!(after.get::<_, Option<String>>(1).unwrap_or_default(), "");
    let refused = as_user(&mut client, &role, None, |tx| {
        tx.execute("CREATE TABLE public.t ()", &[])
    });
    expect_sqlstate(refused, "42501");
    Ok(())
}

/// Each kind of change that the dump tests rely on noticing.
#[test]
fn a_snapshot_notices_every_kind_of_change() -> Result<()> {
    let db = empty("snapshot")?;
    let role = db.role("grantee")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE SCHEMA s; CREATE TABLE s.t (a int PRIMARY KEY, b serial); INSERT INTO s.t VALUES (1);
         CREATE FUNCTION s.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE FUNCTION s.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    )?;
    let mut before = snapshot(&mut client)?;
    let changes = [
        "INSERT INTO s.t VALUES (2)".to_owned(),
        "UPDATE s.t SET b = 7".to_owned(),
        "SELECT nextval('s.t_b_seq')".to_owned(),
        format!("GRANT SELECT ON s.t TO {role}"),
        format!("GRANT SELECT (a) ON s.t TO {role}"),
        format!("GRANT USAGE ON SCHEMA s TO {role}"),
        "REVOKE EXECUTE ON FUNCTION s.f() FROM PUBLIC".to_owned(),
        "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY".to_owned(),
        "CREATE POLICY p ON s.t USING (a > 0)".to_owned(),
        "ALTER POLICY p ON s.t USING (a > 1)".to_owned(),
        "CREATE TRIGGER g BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.f()".to_owned(),
        "ALTER TABLE s.t DISABLE TRIGGER g".to_owned(),
        "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION s.e()".to_owned(),
        "ALTER EVENT TRIGGER e DISABLE".to_owned(),
        "ALTER TABLE s.t ADD CONSTRAINT c CHECK (a < 99)".to_owned(),
        "CREATE INDEX i ON s.t (b)".to_owned(),
        "COMMENT ON COLUMN s.t.a IS 'x'".to_owned(),
        "ALTER TABLE s.t ALTER a SET DEFAULT 3".to_owned(),
        "ALTER FUNCTION s.f() SET search_path = ''".to_owned(),
        format!("ALTER TABLE s.t OWNER TO {role}"),
    ];
    for change in changes {
        client.batch_execute(&change)?;
        let after = snapshot(&mut client)?;
        assert_ne!(before.differences(&after), "", "not noticed: {change}");
        before = after;
    }
    before.assert_same(&snapshot(&mut client)?, "reading it twice");
    Ok(())
}
