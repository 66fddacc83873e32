//! Loading, first builds, refreshes.

use crate::Options;
use crate::data::{Data, HOURS, SCATTERED};
use crate::report::{Report, factor, thousands};
use crate::samples::Samples;
use crate::server::{Server, progress, time};
use crate::sides::{Side, stop_compressing};
use anyhow::{Result, ensure};
use postgres::Client;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What the last run leaves for the queries.
#[derive(Debug, Default)]
pub struct Kept {
    sides: Vec<Side>,
}

impl Kept {
    pub fn has(&self, side: Side) -> bool {
        self.sides.contains(&side)
    }

    pub fn all(&self) -> impl Iterator<Item = &'static str> {
        self.sides.iter().map(|side| side.database())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Copy,
    GroupBy,
    Build,
    BuildIndexes,
    AfterHour,
    AfterLate,
    AfterUpdate,
}

/// Samples of a step on a side.
type Times = BTreeMap<(Step, Side), Samples>;

pub fn measure(
    server: &Server,
    options: &Options,
    data: &Data,
    timescale: bool,
    report: &mut Report,
) -> Result<Kept> {
    let mut sides = vec![Side::Seed, Side::Gemba, Side::GembaBare];
    if timescale {
        sides.push(Side::Timescale);
    }
    let mut times = Times::new();
    let mut bytes: BTreeMap<Side, (i64, i64)> = BTreeMap::new();
    let (mut imports, mut import_bytes) = ([Samples::default(), Samples::default()], (0, 0));
    // The aggregates after each step, as the first side has them.
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for run in 0..options.runs {
        let last = run + 1 == options.runs;
        // Another side begins each time.
        for turn in 0..sides.len() {
            let side = sides[(run + turn) % sides.len()];
            progress(&format!(
                "run {} of {}: {}",
                run + 1,
                options.runs,
                side.label()
            ));
            let size = one(server, data, side, run, &mut times, &mut expected)?;
            bytes.insert(side, size);
            if !last || side == Side::GembaBare {
                server.drop_database(side.database())?;
            }
        }
        progress(&format!("run {} of {}: import_csv", run + 1, options.runs));
        let (duration, size) = import_once(server, data, false)?;
        imports[0].push(duration);
        import_bytes = size;
        imports[1].push(import_once(server, data, true)?.0);
    }
    sides.retain(|side| times.contains_key(&(Step::Copy, *side)));
    rows(options, data, &sides, &times, &bytes, report);
    import_rows(data, &imports, import_bytes, &times, &bytes, report);
    aggregate_rows(data, &times, report);
    if timescale {
        compress(server, data, bytes.get(&Side::Seed).copied(), report)?;
    }
    Ok(Kept {
        sides: sides
            .into_iter()
            .filter(|side| *side != Side::GembaBare)
            .collect(),
    })
}

/// Everything that is written on one side, once; returns the bytes after the load.
fn one(
    server: &Server,
    data: &Data,
    side: Side,
    run: usize,
    times: &mut Times,
    expected: &mut BTreeMap<String, String>,
) -> Result<(i64, i64)> {
    let mut client = side.create(server, data.range)?;
    client.batch_execute("CHECKPOINT")?;
    let mut note = |step, duration| {
        progress(&format!(
            "  {step:?}: {:.3} s",
            Duration::as_secs_f64(&duration)
        ));
        times.entry((step, side)).or_default().push(duration);
    };
    let (duration, rows) = time(|| side.copy(&mut client, &data.long))?;
    ensure!(
        rows == data.readings,
        "{}: {rows} of {} readings loaded",
        side.label(),
        data.readings
    );
    note(Step::Copy, duration);
    let size = side.bytes(&mut client)?;
    side.settle(&mut client)?;
    if side == Side::GembaBare {
        return Ok(size);
    }

    // Whoever comes second may find more in the cache: they take turns.
    if side == Side::Gemba && run.is_multiple_of(2) {
        note(Step::GroupBy, group_by(&mut client)?);
    }
    note(Step::Build, time(|| side.build(&mut client))?.0);
    if side == Side::Seed {
        note(
            Step::BuildIndexes,
            time(|| side.index_aggregates(&mut client))?.0,
        );
    }
    if side == Side::Gemba && !run.is_multiple_of(2) {
        note(Step::GroupBy, group_by(&mut client)?);
    }
    let mut agree = |client: &mut Client, step: &str| -> Result<()> {
        let found = side.digest(client)?;
        let wanted = expected
            .entry(step.to_owned())
            .or_insert_with(|| found.clone());
        ensure!(
            *wanted == found,
            "{} {step}: {found}; expected {wanted}",
            side.label()
        );
        Ok(())
    };
    agree(&mut client, "after the first build")?;
    client.batch_execute("CHECKPOINT")?;

    for (number, file) in data.hours.iter().enumerate() {
        side.copy(&mut client, file)?;
        note(Step::AfterHour, time(|| side.refresh(&mut client))?.0);
        agree(&mut client, &format!("after hour {}", number + 1))?;
    }
    let late = side.copy(&mut client, &data.late)?;
    ensure!(
        late == SCATTERED as u64,
        "{}: {late} late rows",
        side.label()
    );
    note(Step::AfterLate, time(|| side.refresh(&mut client))?.0);
    agree(&mut client, "after late rows")?;
    let updated = side.update(&mut client, &data.updated)?;
    ensure!(
        updated == SCATTERED as u64,
        "{}: {updated} rows updated",
        side.label()
    );
    note(Step::AfterUpdate, time(|| side.refresh(&mut client))?.0);
    agree(&mut client, "after updates")?;
    Ok(size)
}

fn group_by(client: &mut Client) -> Result<Duration> {
    let (duration, ()) =
        time(|| Ok(client.batch_execute(include_str!("../sql/gemba_group_by.sql"))?))?;
    client.batch_execute("DROP TABLE public.by_hour, public.by_day")?;
    Ok(duration)
}

/// `telemetry.import_csv` into a new database, which is dropped; the months' partitions may be there
/// before.
fn import_once(server: &Server, data: &Data, months_exist: bool) -> Result<(Duration, (i64, i64))> {
    let database = "bench_import";
    server.create_database(database)?;
    let mut client = server.connect(database)?;
    client.batch_execute("CREATE EXTENSION gemba")?;
    stop_compressing(&mut client)?;
    if months_exist {
        client.query(
            "SELECT * FROM gemba.ensure_partitions('telemetry.sensor_readings', $1, $2)",
            &[&data.range.from, &data.range.to],
        )?;
    }
    client.batch_execute("CHECKPOINT")?;
    let duration = import(&mut client, &data.wide, data.readings)?;
    let size = Side::Gemba.bytes(&mut client)?;
    drop(client);
    server.drop_database(database)?;
    Ok((duration, size))
}

/// `telemetry.import_csv` of a folder, which has to bring `readings`.
pub fn import(client: &mut Client, folder: &Path, readings: u64) -> Result<Duration> {
    let path = folder.to_string_lossy().into_owned();
    let (duration, _) =
        time(|| Ok(client.query("SELECT * FROM telemetry.import_csv($1)", &[&path])?))?;
    let held: i64 = client
        .query_one("SELECT count(*) FROM telemetry.sensor_readings", &[])?
        .get(0);
    ensure!(
        held.unsigned_abs() == readings,
        "import_csv brought {held} of {readings} readings"
    );
    progress(&format!("  import_csv: {:.3} s", duration.as_secs_f64()));
    Ok(duration)
}

fn median(times: &Times, step: Step, side: Side) -> Option<Duration> {
    times.get(&(step, side)).map(Samples::median)
}

fn rows(
    options: &Options,
    data: &Data,
    sides: &[Side],
    times: &Times,
    bytes: &BTreeMap<Side, (i64, i64)>,
    report: &mut Report,
) {
    report.note(&format!(
        "small case: {} readings, {} days of the whole building ({} channels); {} runs, each on new tables, another side first each time; a CHECKPOINT before each load",
        thousands(data.readings),
        data.range.days(),
        data.sensors.len(),
        options.runs
    ));
    report.note(
        "seed's DDL: monthly partitions, PRIMARY KEY (id, timestamp) because a partitioned table takes no BIGSERIAL PRIMARY KEY, BRIN (timestamp), b-trees (sensor_id, timestamp), (equipment_type), (floor_number); TimescaleDB: the same columns, chunks of 7 days (its default), b-trees (timestamp), (sensor_id, timestamp); gemba keeps (sensor_id, timestamp) unique, the others do not",
    );
    let what = format!("COPY of {} readings from a file", thousands(data.readings));
    for side in sides {
        let Some(samples) = times.get(&(Step::Copy, *side)) else {
            continue;
        };
        let others = [Side::Seed, Side::GembaBare, Side::Timescale];
        let baselines: Vec<_> = others
            .into_iter()
            .filter(|other| other != side && (*other == Side::Seed || *side == Side::Gemba))
            .filter_map(|other| Some((other.label(), median(times, Step::Copy, other)?)))
            .collect();
        report.timing(
            &what,
            side.label(),
            samples,
            Some(data.readings),
            &baselines,
        );
    }
    for side in sides {
        let (Some(size), Some(seed)) = (bytes.get(side), bytes.get(&Side::Seed)) else {
            continue;
        };
        size_row(
            report,
            "bytes a reading, after COPY",
            side.label(),
            *size,
            *seed,
            data.readings,
        );
    }
}

/// Bytes a reading, with indexes and without.
fn size_row(
    report: &mut Report,
    what: &str,
    side: &str,
    (table, all): (i64, i64),
    (_, seed): (i64, i64),
    readings: u64,
) {
    let each = |bytes: i64| bytes as f64 / readings as f64;
    let ratio = if side == Side::Seed.label() {
        String::new()
    } else {
        format!(
            "{} the bytes of {}",
            factor(all as f64 / seed as f64),
            Side::Seed.label()
        )
    };
    report.row(
        what,
        side,
        format!("{:.1} with indexes, {:.1} without", each(all), each(table)),
        format!("{} MB in all", thousands(all.unsigned_abs() / 1_000_000)),
        1,
        ratio,
    );
}

fn import_rows(
    data: &Data,
    [new_months, old_months]: &[Samples; 2],
    size: (i64, i64),
    times: &Times,
    bytes: &BTreeMap<Side, (i64, i64)>,
    report: &mut Report,
) {
    report.note(&format!(
        "import_csv reads the same readings from wide files ({} MB against {} MB of long form), registers sensors, makes partitions, checks ranges and duplicates; COPY finds its partitions there. Months that have no partition yet are written as new tables and indexed afterwards; months that have one take the ordinary way, with every row checked against those that are there",
        data.wide_bytes / 1_000_000,
        data.long_bytes / 1_000_000
    ));
    let what = format!(
        "import_csv of the same {} readings",
        thousands(data.readings)
    );
    let baselines: Vec<_> = [
        (Side::Gemba, "COPY into gemba"),
        (Side::Seed, "COPY into the seed's DDL"),
    ]
    .into_iter()
    .filter_map(|(side, name)| Some((name, median(times, Step::Copy, side)?)))
    .collect();
    report.timing(
        &what,
        "gemba, months that are new",
        new_months,
        Some(data.readings),
        &baselines,
    );
    report.timing(
        &what,
        "gemba, months that have partitions",
        old_months,
        Some(data.readings),
        &baselines,
    );
    if let Some(seed) = bytes.get(&Side::Seed) {
        size_row(
            report,
            "bytes a reading, after import_csv",
            Side::Gemba.label(),
            size,
            *seed,
            data.readings,
        );
    }
}

fn aggregate_rows(data: &Data, times: &Times, report: &mut Report) {
    report.note(
        "aggregates: hours and days (in Asia/Bangkok) of each sensor. Seed: avg, max, min, count as materialized views of the readings; gemba and TimescaleDB: also sum, days built from hours. After every step the aggregates of all sides are compared bucket by bucket",
    );
    let find = |step, side| times.get(&(step, side));
    let what = "first build of both aggregates";
    let group_by = median(times, Step::GroupBy, Side::Gemba);
    let views = median(times, Step::Build, Side::Seed);
    if let Some(samples) = find(Step::GroupBy, Side::Gemba) {
        report.timing(
            what,
            "plain GROUP BY of gemba's readings, hours and days (CREATE TABLE AS, parallel)",
            samples,
            None,
            &[],
        );
    }
    if let Some(samples) = find(Step::Build, Side::Seed) {
        report.timing(
            what,
            "seed's DDL: CREATE MATERIALIZED VIEW",
            samples,
            None,
            &[],
        );
    }
    if let Some(samples) = find(Step::BuildIndexes, Side::Seed) {
        report.timing(what, "seed's DDL: and their indexes", samples, None, &[]);
    }
    let baselines: Vec<_> = [
        ("plain GROUP BY", group_by),
        ("the views without indexes", views),
    ]
    .into_iter()
    .filter_map(|(name, median)| Some((name, median?)))
    .collect();
    if let Some(samples) = find(Step::Build, Side::Gemba) {
        report.timing(
            what,
            "gemba: refresh_rollups(), indexes included",
            samples,
            None,
            &baselines,
        );
    }
    if let Some(samples) = find(Step::Build, Side::Timescale) {
        report.timing(
            what,
            "TimescaleDB: continuous aggregates, indexes included",
            samples,
            None,
            &baselines,
        );
    }
    let steps = [
        (
            Step::AfterHour,
            format!(
                "refresh of both after one more hour ({} rows; {HOURS} hours in each run)",
                thousands(data.rows_per_hour as u64)
            ),
        ),
        (
            Step::AfterLate,
            format!(
                "refresh of both after {} late rows anywhere",
                thousands(SCATTERED as u64)
            ),
        ),
        (
            Step::AfterUpdate,
            format!(
                "refresh of both after an UPDATE of {} rows anywhere",
                thousands(SCATTERED as u64)
            ),
        ),
    ];
    for (step, what) in steps {
        for (side, how) in [
            (Side::Seed, "seed's DDL: REFRESH MATERIALIZED VIEW"),
            (Side::Gemba, "gemba: refresh_rollups()"),
            (Side::Timescale, "TimescaleDB: refresh_continuous_aggregate"),
        ] {
            let Some(samples) = find(step, side) else {
                continue;
            };
            let baselines: Vec<_> = [Side::Seed, Side::Timescale]
                .into_iter()
                .filter(|other| *other != side && (*other == Side::Seed || side == Side::Gemba))
                .filter_map(|other| Some((other.label(), median(times, step, other)?)))
                .collect();
            report.timing(&what, how, samples, None, &baselines);
        }
    }
}

/// TimescaleDB's columnstore, in a database of its own: the queries are asked of rows everywhere.
fn compress(
    server: &Server,
    data: &Data,
    seed: Option<(i64, i64)>,
    report: &mut Report,
) -> Result<()> {
    let database = "bench_timescale_columnar";
    server.create_database(database)?;
    let mut client = server.connect(database)?;
    client.batch_execute("CREATE EXTENSION timescaledb")?;
    client.batch_execute(include_str!("../sql/timescale_tables.sql"))?;
    Side::Timescale.copy(&mut client, &data.long)?;
    let (duration, _) = time(|| {
        client.batch_execute(
            "ALTER TABLE sensor_readings SET (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id',
                                              timescaledb.compress_orderby = '\"timestamp\"')",
        )?;
        Ok(client.query(
            "SELECT compress_chunk(c) FROM show_chunks('sensor_readings') AS c",
            &[],
        )?)
    })?;
    let all: i64 = client
        .query_one("SELECT hypertable_size('sensor_readings')", &[])?
        .get(0);
    drop(client);
    server.drop_database(database)?;
    let mut samples = Samples::default();
    samples.push(duration);
    report.timing(
        "compression",
        "TimescaleDB columnstore, by sensor",
        &samples,
        Some(data.readings),
        &[],
    );
    report.row(
        "bytes a reading, compressed",
        "TimescaleDB columnstore, by sensor",
        format!("{:.1} with indexes", all as f64 / data.readings as f64),
        format!("{} MB in all", thousands(all.unsigned_abs() / 1_000_000)),
        1,
        seed.map_or_else(String::new, |(_, seed)| {
            format!(
                "{} the bytes of {}",
                factor(all as f64 / seed as f64),
                Side::Seed.label()
            )
        }),
    );
    Ok(())
}
