//! Damage is found, named, and never read as if it were data.

use super::*;
use gemba_tests::{expect_sqlstate, extended};

/// January, compressed: segments of two machines.
fn compressed(name: &str) -> Result<(Database<'static>, Client)> {
    let db = extended(name)?;
    let mut client = mill(&db)?;
    compress(&mut client, JANUARY)?;
    let segments: i64 = value(&mut client, "SELECT segments FROM gemba.history").parse()?;
    ensure!(segments >= 2, "{segments} segments");
    expect_sound(&mut client)?;
    Ok((db, client))
}

const SEGMENTS: &str = "gemba_history.vibration_p20240101";

/// The first of the press's.
const ONE: &str = "ctid = (SELECT ctid FROM gemba_history.vibration_p20240101 WHERE key_1 = 'press' ORDER BY first_at LIMIT 1)";

/// Wherever a bit flips, the segment is not read, and it alone.
#[test]
fn a_flipped_bit_is_found_and_named() -> Result<()> {
    let (_db, mut client) = compressed("damage_bits")?;
    let bytes: i64 = value(
        &mut client,
        &format!("SELECT length(data) FROM {SEGMENTS} WHERE {ONE}"),
    )
    .parse()?;
    let saw = "SELECT count(*), sum(speed) FROM mill.vibration WHERE machine = 'saw'";
    let untouched = table(&mut client, saw);
    for at in (0..bytes)
        .step_by((bytes / 40).max(1) as usize)
        .chain([bytes - 1])
    {
        client.batch_execute("BEGIN")?;
        let place = value(
            &mut client,
            &format!(
                "UPDATE {SEGMENTS} SET data = set_bit(data, {}, 1 - get_bit(data, {0})) WHERE {ONE} RETURNING ctid",
                at * 8 + at % 8
            ),
        );
        let found = table(
            &mut client,
            &format!("SELECT partition, segment, problem FROM gemba.verify_history('{JANUARY}')"),
        );
        assert_eq!(found.len(), 1, "byte {at}: {found:?}");
        assert!(
            found[0].starts_with(&format!("{JANUARY} | {place} | ")),
            "{found:?}"
        );
        assert_eq!(table(&mut client, saw), untouched);
        client.batch_execute("SAVEPOINT before")?;
        let error = client
            .simple_query("SELECT * FROM mill.vibration")
            .expect_err("a damaged segment was read");
        let report = error.as_db_error().expect("the server's error");
        // The version of the format stands in the bytes too.
        assert!(
            ["XX001", "0A000"].contains(&report.code().code()),
            "{report:?}"
        );
        assert!(
            report
                .detail()
                .is_some_and(|d| d.contains("vibration_p20240101") && d.contains(&place))
                && report.hint().is_some(),
            "{report:?}"
        );
        client.batch_execute("ROLLBACK TO before")?;
        expect_sqlstate(compress_again(&mut client), report.code().code());
        client.batch_execute("ROLLBACK")?;
    }
    expect_sound(&mut client)?;
    expect_same(&mut client);
    Ok(())
}

/// Makes an ordinary table of it, which reads all.
fn compress_again(client: &mut Client) -> Result<u64, postgres::Error> {
    client.execute(
        "SELECT gemba.decompress_partition('mill.vibration_p20240101')",
        &[],
    )
}

/// What a segment's row says of it has to be so.
#[test]
fn a_row_that_says_something_else_is_found() -> Result<()> {
    let (_db, mut client) = compressed("damage_rows")?;
    for (change, problem) in [
        ("SET first_at = first_at - interval '1 second'", "times"),
        ("SET last_at = last_at + interval '1 second'", "times"),
        ("SET row_count = row_count - 1", "head"),
        ("SET key_1 = 'lathe'", "machine"),
        ("SET data = substr(data, 1, length(data) - 3)", ""),
        ("SET data = data || '\\x00'", ""),
        ("SET data = ''", ""),
        ("SET data = '\\x00'", ""),
    ] {
        client.batch_execute("BEGIN")?;
        client.batch_execute(&format!("UPDATE {SEGMENTS} {change} WHERE {ONE}"))?;
        let found = table(&mut client, "SELECT problem FROM gemba.verify_history()");
        assert!(
            !found.is_empty() && found.iter().any(|line| line.contains(problem)),
            "{change}: {found:?}"
        );
        client.batch_execute("ROLLBACK")?;
    }
    client.batch_execute("BEGIN")?;
    client.batch_execute(&format!(
        "INSERT INTO {SEGMENTS} SELECT * FROM {SEGMENTS} WHERE {ONE}"
    ))?;
    let found = table(&mut client, "SELECT problem FROM gemba.verify_history()");
    assert!(
        found.len() == 1 && found[0].contains("overlaps"),
        "{found:?}"
    );
    client.batch_execute("ROLLBACK")?;
    expect_sound(&mut client)
}

/// Whoever has a later version's segments is told that, and not that they are broken.
#[test]
fn a_newer_format_is_refused_as_such() -> Result<()> {
    let (_db, mut client) = compressed("damage_newer")?;
    let row = client.query_one(&format!("SELECT data FROM {SEGMENTS} WHERE {ONE}"), &[])?;
    let mut bytes: Vec<u8> = row.get(0);
    // Two letters, then the version; the checksum comes last.
    bytes[2] += 1;
    let body = bytes.len() - 4;
    let checksum = crc32c(&bytes[..body]);
    bytes[body..].copy_from_slice(&checksum.to_le_bytes());
    client.execute(
        &format!("UPDATE {SEGMENTS} SET data = $1 WHERE {ONE}"),
        &[&bytes],
    )?;
    let error = expect_sqlstate(client.simple_query("SELECT * FROM mill.vibration"), "0A000");
    assert!(
        error.message().contains("newer") && error.detail().is_some() && error.hint().is_some(),
        "{error:?}"
    );
    let found = table(&mut client, "SELECT problem FROM gemba.verify_history()");
    assert!(
        found.len() == 1 && found[0].contains("version"),
        "{found:?}"
    );
    Ok(())
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

/// Options that do not fit, and tables that are missing, are errors and nothing worse.
#[test]
fn options_that_do_not_fit_are_refused() -> Result<()> {
    let (_db, mut client) = compressed("damage_options")?;
    for (change, code) in [
        ("OPTIONS (SET segments 'nothing')", "HV00J"),
        ("OPTIONS (DROP segments)", "HV00J"),
        ("OPTIONS (ADD colour 'red')", "HV00D"),
        ("ALTER COLUMN at OPTIONS (DROP \"order\")", "HV00J"),
        ("ALTER COLUMN speed OPTIONS (SET \"column\" '4')", "HV00J"),
        ("ALTER COLUMN speed OPTIONS (SET \"column\" '-1')", "HV00J"),
        ("ALTER COLUMN speed OPTIONS (SET \"column\" 'x')", "HV00J"),
    ] {
        client.batch_execute("BEGIN")?;
        let outcome = client
            .batch_execute(&format!("ALTER FOREIGN TABLE {JANUARY} {change}"))
            .and_then(|()| client.simple_query("SELECT * FROM mill.vibration"));
        match outcome {
            Err(error) => {
                let report = error
                    .as_db_error()
                    .unwrap_or_else(|| panic!("{change}: {error:?}"));
                assert_eq!(report.code().code(), code, "{change}: {report:?}");
            }
            Ok(_) => panic!("read all the same: {change}"),
        }
        client.batch_execute("ROLLBACK")?;
    }
    expect_same(&mut client);
    Ok(())
}
