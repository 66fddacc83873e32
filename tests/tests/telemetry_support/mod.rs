//! What the tests of the telemetry room share: files for the server, an independent reading of them, and the
//! state of a database as text.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use anyhow::{Context, Result, ensure};
use gemba_cubems::{FileSummary, Plan};
use gemba_tests::Database;
use postgres::{Client, GenericClient};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A folder of the database's own that the server can read.
pub fn folder(db: &Database<'_>, name: &str) -> Result<PathBuf> {
    let dir = db.cluster().dir().join("files").join(db.name()).join(name);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

pub fn put(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
    let path = dir.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Writes the files of some days, as the data set would have them.
pub fn slice(
    dir: &Path,
    from: &str,
    to: &str,
    floors: &[u8],
) -> Result<Vec<(String, FileSummary)>> {
    let plan = Plan {
        from: from.parse()?,
        to: to.parse()?,
        floors: floors.to_vec(),
        seed: 7,
    };
    let mut made = Vec::new();
    for spec in gemba_cubems::files(&plan) {
        let mut out = std::io::BufWriter::new(std::fs::File::create(dir.join(spec.name()))?);
        let summary = gemba_cubems::write_file(&spec, &mut out)?;
        out.flush()?;
        made.push((spec.name(), summary));
    }
    made.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(made)
}

/// One row of an import's answer, without the seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub file: String,
    pub sensors: i32,
    pub rows_read: i64,
    pub readings: i64,
    pub inserted: i64,
    pub duplicates: i64,
    pub suspect: i64,
    pub rejected: i64,
}

impl Report {
    pub fn counts(&self) -> (i32, i64, i64, i64, i64, i64, i64) {
        (
            self.sensors,
            self.rows_read,
            self.readings,
            self.inserted,
            self.duplicates,
            self.suspect,
            self.rejected,
        )
    }
}

/// Runs an import function: its name and arguments as SQL.
pub fn import_as(
    client: &mut impl GenericClient,
    call: &str,
) -> Result<Vec<Report>, postgres::Error> {
    let rows = client.query(
        &format!(
            "SELECT file, sensors, rows_read, readings, inserted, duplicates, suspect, rejected, seconds
               FROM telemetry.{call}"
        ),
        &[],
    )?;
    Ok(rows
        .iter()
        .map(|row| {
            assert!(row.get::<_, f64>(8) >= 0.0);
            Report {
                file: row.get(0),
                sensors: row.get(1),
                rows_read: row.get(2),
                readings: row.get(3),
                inserted: row.get(4),
                duplicates: row.get(5),
                suspect: row.get(6),
                rejected: row.get(7),
            }
        })
        .collect())
}

/// Imports a file, a folder or a pattern of the server.
pub fn import(
    client: &mut impl GenericClient,
    path: &Path,
) -> Result<Vec<Report>, postgres::Error> {
    import_as(client, &call(path, ""))
}

/// `import_csv('…'<more>)`
pub fn call(path: &Path, more: &str) -> String {
    format!("import_csv({}{more})", literal(&path.display().to_string()))
}

pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A query's rows, each as the text of a composite; in the query's order.
pub fn rows(client: &mut impl GenericClient, sql: &str) -> Result<Vec<String>, postgres::Error> {
    Ok(client
        .query(&format!("SELECT q::text FROM ({sql}) AS q"), &[])?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

/// The single value of a query, as text; `NULL` where it is.
pub fn one(client: &mut impl GenericClient, sql: &str) -> Result<String, postgres::Error> {
    let value: Option<String> = client
        .query_one(&format!("SELECT (({sql}))::text"), &[])?
        .get(0);
    Ok(value.unwrap_or_else(|| "NULL".into()))
}

/// A count.
pub fn count(client: &mut impl GenericClient, of: &str) -> Result<i64, postgres::Error> {
    Ok(client
        .query_one(&format!("SELECT count(*) FROM {of}"), &[])?
        .get(0))
}

/// Everything that an import could leave behind, ids included; two equal texts are two equal states.
pub fn state(client: &mut Client) -> Result<String> {
    let mut text = String::new();
    for (name, sql) in [
        (
            "readings",
            "SELECT count(*) || ' ' || coalesce(md5(string_agg(r::text, E'\\n' ORDER BY r.sensor_id, r.\"timestamp\", r.id)), '-')
               FROM telemetry.sensor_readings r",
        ),
        (
            "sensors",
            "SELECT count(*) || ' ' || coalesce(md5(string_agg(s::text, E'\\n' ORDER BY s.sensor_id)), '-') FROM telemetry.sensors s",
        ),
        (
            "runs",
            "SELECT count(*) || ' ' || coalesce(max(id), 0) FROM telemetry.import_runs",
        ),
        ("rejects", "SELECT count(*)::text FROM telemetry.import_rejects"),
        (
            "changes",
            "SELECT count(*) || ' ' || coalesce(md5(string_agg(c::text, ',' ORDER BY c::text)), '-') FROM gemba.rollup_changes c",
        ),
        (
            "relations",
            "SELECT count(*) || ' ' || md5(string_agg(relname, ',' ORDER BY relname)) FROM pg_class
              WHERE relnamespace = 'telemetry'::regnamespace",
        ),
        (
            "temporary",
            "SELECT count(*)::text FROM pg_class WHERE relname = 'gemba_late'",
        ),
    ] {
        text += &format!("{name}: {}\n", one(client, sql)?);
    }
    Ok(text)
}

/// One reading as the file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub time: String,
    pub sensor: String,
    pub floor: i32,
    pub equipment: &'static str,
    pub value: String,
    pub unit: String,
    pub status: &'static str,
}

/// One column as its header says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub header: String,
    pub sensor: String,
    pub zone: i32,
    pub device: String,
    pub unit: String,
    pub equipment: &'static str,
}

/// Reads a CU-BEMS header cell in the plainest way there is.
pub fn column(floor: i32, header: &str) -> Column {
    let (zone, rest) = header[1..].split_once('_').expect("zN_…");
    let (device, unit) = rest.split_once('(').expect("(unit)");
    let unit = unit.trim_end_matches(')');
    let equipment = match device {
        "Light" => "lighting",
        "Plug" => "electrical",
        d if d.starts_with("AC") => "HVAC",
        _ => "environment",
    };
    Column {
        header: header.to_owned(),
        sensor: format!("F{floor}.z{zone}.{device}.{}", unit.trim_end_matches('%')),
        zone: zone.parse().expect("a zone"),
        device: device.to_owned(),
        unit: unit.to_owned(),
        equipment,
    }
}

/// Reads a CU-BEMS file in the plainest way there is: columns, and readings in the file's order. Rows whose
/// date is not `YYYY-…` are left out.
pub fn said(path: &Path) -> Result<(Vec<Column>, Vec<Said>)> {
    let text = std::fs::read_to_string(path)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let floor: i32 = name[name.len() - 1..].parse()?;
    let mut lines = text.lines();
    let header = lines.next().context("a header")?;
    let columns: Vec<Column> = header
        .split(',')
        .skip(1)
        .map(|h| column(floor, h))
        .collect();
    let mut readings = Vec::new();
    for line in lines {
        let mut cells = line.split(',');
        let time = cells.next().unwrap_or_default();
        if !time.starts_with("20") {
            continue;
        }
        for (column, cell) in columns.iter().zip(cells) {
            if cell.is_empty() {
                continue;
            }
            let value: f64 = cell.parse()?;
            let (low, high) = match column.unit.as_str() {
                "kW" => (0.0, 300.0),
                "degC" => (15.0, 45.0),
                "RH%" => (5.0, 100.0),
                _ => (0.0, 100_000.0),
            };
            readings.push(Said {
                time: format!("{time}+07"),
                sensor: column.sensor.clone(),
                floor,
                equipment: column.equipment,
                value: cell.to_owned(),
                unit: column.unit.clone(),
                status: if (low..=high).contains(&value) {
                    "normal"
                } else {
                    "suspect"
                },
            });
        }
    }
    Ok((columns, readings))
}

/// Loads what files say into `pg_temp.said` and demands that the table holds exactly that.
pub fn expect_readings(client: &mut Client, said: &[Said]) -> Result<()> {
    client.batch_execute(
        "CREATE TEMPORARY TABLE IF NOT EXISTS said (\"timestamp\" timestamptz, sensor_id varchar(50), floor_number int,
           equipment_type varchar(100), reading_value numeric(10,4), unit varchar(20), status varchar(20));
         TRUNCATE pg_temp.said",
    )?;
    let mut copy = client.copy_in("COPY pg_temp.said FROM STDIN")?;
    for s in said {
        writeln!(
            copy,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}",
            s.time, s.sensor, s.floor, s.equipment, s.value, s.unit, s.status
        )?;
    }
    let copied = copy.finish()?;
    ensure!(
        copied == said.len() as u64,
        "{copied} of {} copied",
        said.len()
    );
    let columns =
        "\"timestamp\", sensor_id, floor_number, equipment_type, reading_value, unit, status";
    for (what, sql) in [
        (
            "the files say, the table does not",
            format!(
                "SELECT {columns} FROM pg_temp.said EXCEPT ALL SELECT {columns} FROM telemetry.sensor_readings"
            ),
        ),
        (
            "the table holds, the files do not say",
            format!(
                "SELECT {columns} FROM telemetry.sensor_readings EXCEPT ALL SELECT {columns} FROM pg_temp.said"
            ),
        ),
    ] {
        let found = rows(client, &format!("{sql} LIMIT 3"))?;
        ensure!(found.is_empty(), "{what}: {found:#?}");
    }
    let held = count(client, "telemetry.sensor_readings")?;
    ensure!(
        held == said.len() as i64,
        "{held} rows instead of {}",
        said.len()
    );
    Ok(())
}

/// Readings, sensor and local time as the site's clock shows it, in order: for small files.
pub fn readings(client: &mut impl GenericClient) -> Result<Vec<String>, postgres::Error> {
    readings_in(client, "Asia/Bangkok")
}

pub fn readings_in(
    client: &mut impl GenericClient,
    zone: &str,
) -> Result<Vec<String>, postgres::Error> {
    rows(
        client,
        &format!(
            "SELECT sensor_id, to_char(\"timestamp\" AT TIME ZONE '{zone}', 'YYYY-MM-DD HH24:MI:SS'), reading_value, status
               FROM telemetry.sensor_readings ORDER BY sensor_id, \"timestamp\", id"
        ),
    )
}

/// (line, column, reason, raw) of all rejects, in order.
pub fn rejects(client: &mut Client) -> Result<Vec<(i64, Option<String>, String, String)>> {
    Ok(client
        .query(
            "SELECT line, column_name, reason, raw FROM telemetry.import_rejects ORDER BY run_id, line, id",
            &[],
        )?
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect())
}

/// Hours and days have to equal a plain GROUP BY over the readings.
pub fn expect_exact_aggregates(client: &mut Client) -> Result<()> {
    for (rollup, bucket) in [
        (
            "telemetry.hourly_aggregates",
            "date_trunc('hour', \"timestamp\", 'UTC')",
        ),
        (
            "telemetry.daily_aggregates",
            "date_trunc('day', \"timestamp\", 'Asia/Bangkok')",
        ),
        (
            "telemetry.hourly_aggregates_live",
            "date_trunc('hour', \"timestamp\", 'UTC')",
        ),
        (
            "telemetry.daily_aggregates_live",
            "date_trunc('day', \"timestamp\", 'Asia/Bangkok')",
        ),
    ] {
        let found = rows(
            client,
            &format!(
                "SELECT * FROM (SELECT bucket, sensor_id, reading_count, sum_value, min_value, max_value, avg_value FROM {rollup}) kept
                 FULL JOIN (
                   SELECT {bucket} AS bucket, sensor_id, count(reading_value) AS n, sum(reading_value) AS total,
                          min(reading_value) AS low, max(reading_value) AS high, avg(reading_value) AS mean
                     FROM telemetry.sensor_readings GROUP BY 1, 2) fresh USING (bucket, sensor_id)
                 WHERE (reading_count, sum_value, min_value, max_value) IS DISTINCT FROM (n, total, low, high)
                    OR round(avg_value, 10) IS DISTINCT FROM round(mean, 10)
                 LIMIT 3"
            ),
        )?;
        ensure!(
            found.is_empty(),
            "{rollup} is not what its readings say: {found:#?}"
        );
    }
    Ok(())
}

/// Every partition of the readings is sealed and has its unique index.
pub fn expect_sealed_partitions(client: &mut Client) -> Result<()> {
    let open = rows(
        client,
        "SELECT partition::text FROM gemba.partitions
          WHERE parent = 'telemetry.sensor_readings'::regclass
            AND (NOT rls OR NOT no_grants
                 OR (SELECT relacl::text FROM pg_class WHERE oid = partition) ~ '(anon|authenticated|service_role|[{,])=')",
    )?;
    ensure!(open.is_empty(), "not sealed: {open:?}");
    let bare = rows(
        client,
        "SELECT partition::text FROM gemba.partitions p
           JOIN pg_class l ON l.oid = p.partition
          WHERE parent = 'telemetry.sensor_readings'::regclass AND l.relkind = 'r'
            AND (SELECT array_agg(CASE WHEN i.indisunique THEN 'unique' ELSE am.amname || CASE WHEN indpred IS NULL THEN '' ELSE ' partial' END END
                                  ORDER BY i.indisunique DESC, am.amname)
                   FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
                  WHERE i.indrelid = p.partition AND i.indisvalid)
                IS DISTINCT FROM ARRAY['unique', 'brin', 'btree partial']",
    )?;
    ensure!(bare.is_empty(), "without its three indexes: {bare:?}");
    // What is compressed keeps what is unique in its own way.
    let lax = rows(
        client,
        "SELECT partition::text FROM gemba.partitions p JOIN pg_foreign_table f ON f.ftrelid = p.partition
          WHERE parent = 'telemetry.sensor_readings'::regclass AND NOT 'unique=true' = ANY (f.ftoptions)",
    )?;
    ensure!(lax.is_empty(), "not unique: {lax:?}");
    Ok(())
}

/// Waits until a query answers true; an import on its way is somewhere by then.
pub fn until(client: &mut Client, sql: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        if client.query_one(sql, &[])?.get::<_, Option<bool>>(0) == Some(true) {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(60),
            "never came true: {sql}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn pid(client: &mut Client) -> Result<i32> {
    Ok(client.query_one("SELECT pg_backend_pid()", &[])?.get(0))
}

/// A user with these subscriptions, as `(tier, status, expires)`; returns the id.
pub fn user(
    client: &mut Client,
    number: u32,
    subscriptions: &[(&str, &str, Option<&str>)],
) -> Result<String> {
    let id = format!("00000000-0000-0000-0000-{number:012}");
    client.batch_execute(&format!("INSERT INTO auth.users (id) VALUES ('{id}')"))?;
    for (tier, status, expires) in subscriptions {
        let expires = expires.map_or_else(
            || "NULL".into(),
            |when| format!("now() + interval '{when}'"),
        );
        client.batch_execute(&format!(
            "INSERT INTO telemetry.subscriptions (user_id, tier, status, expires_at)
             VALUES ('{id}', '{tier}', '{status}', {expires})"
        ))?;
    }
    Ok(id)
}
