//! Damage, and tables that are not what they say, are errors and nothing worse.

use crate::twins;
use anyhow::Result;
use gemba_tests::expect_sqlstate;

#[test]
fn damage_is_reported() -> Result<()> {
    let db = twins("damage")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "UPDATE gemba_history.raw_p20180301 SET data = set_byte(data, length(data) / 2, 255 - get_byte(data, length(data) / 2))
          WHERE key_1 = 2 AND first_at < '2018-03-02'",
    )?;
    let error = client.query(
        "SELECT sum(value) FROM s.raw WHERE sensor = 2 AND value > 0",
        &[],
    );
    expect_sqlstate(error, "XX001");
    client.query("SELECT sum(value) FROM s.raw WHERE sensor = 3", &[])?;
    Ok(())
}

#[test]
fn other_types_and_other_tables_are_refused() -> Result<()> {
    let db = twins("hostile")?;
    let mut client = db.connect()?;
    // Past the first defence.
    client.batch_execute("ALTER EVENT TRIGGER gemba_guard_history DISABLE")?;
    for change in [
        "ALTER TABLE s.raw ALTER COLUMN small TYPE int",
        "ALTER TABLE s.raw DETACH PARTITION s.raw_p20180301;
         ALTER FOREIGN TABLE s.raw_p20180301 ALTER COLUMN sensor TYPE bigint",
        "ALTER FOREIGN TABLE s.raw_p20180301 OPTIONS (SET segments 'nothing')",
        "ALTER FOREIGN TABLE s.raw_p20180301 ALTER COLUMN value OPTIONS (SET \"column\" '1')",
        "ALTER FOREIGN TABLE s.raw_p20180301 ALTER COLUMN value OPTIONS (SET \"column\" '100000000')",
        "ALTER FOREIGN TABLE s.raw_p20180301 ALTER COLUMN sensor OPTIONS (SET key '7')",
    ] {
        client.batch_execute("BEGIN")?;
        client.batch_execute(change)?;
        let error = client.query("SELECT * FROM s.raw_p20180301", &[]);
        expect_sqlstate(error, "HV00J");
        client.batch_execute("ROLLBACK")?;
    }
    Ok(())
}

#[test]
fn columns_come_and_go() -> Result<()> {
    let db = twins("columns")?;
    let mut client = db.connect()?;
    for table in ["s.raw", "s.twin"] {
        client.batch_execute(&format!(
            "ALTER TABLE {table} ADD COLUMN note text;
             ALTER TABLE {table} RENAME COLUMN label TO caption;
             ALTER TABLE {table} DROP COLUMN single"
        ))?;
    }
    crate::assert_same(
        &mut client,
        "SELECT id, note, caption, double, code FROM {t} ORDER BY id",
    );
    crate::assert_same(
        &mut client,
        "SELECT * FROM {t} WHERE note IS NULL AND caption = 'label 7' ORDER BY id",
    );
    Ok(())
}
