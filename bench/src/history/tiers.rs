//! What is compared, and how each comes from CSV to queryable.

use super::{steps_in_words, suspects};
use crate::Options;
use crate::data::Data;
use crate::report::{Report, factor, thousands};
use crate::samples::Samples;
use crate::server::{Server, progress, time};
use crate::sides::{Side, bytes, stop_compressing};
use crate::writes::import;
use anyhow::{Result, bail, ensure};
use postgres::Client;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Segments,
    Ordinary,
    /// The seed's DDL on plain PostgreSQL.
    Seed,
    /// TimescaleDB's columnstore, chunks compressed after the load.
    Timescale,
    /// TimescaleDB's columnstore, chunks written compressed.
    TimescaleDirect,
}

impl Tier {
    pub fn label(self) -> &'static str {
        match self {
            Self::Segments => "gemba, segments",
            Self::Ordinary => "gemba, ordinary partitions",
            Self::Seed => "seed's DDL",
            Self::Timescale => "TimescaleDB, columnstore",
            Self::TimescaleDirect => "TimescaleDB, columnstore straight from COPY",
        }
    }

    pub fn database(self) -> &'static str {
        match self {
            Self::Segments => "bench_segments",
            Self::Ordinary => "bench_ordinary",
            Self::Seed => Side::Seed.database(),
            Self::Timescale => "bench_columns",
            Self::TimescaleDirect => "bench_columns_direct",
        }
    }

    pub fn is_gemba(self) -> bool {
        matches!(self, Self::Segments | Self::Ordinary)
    }

    /// Whose words it is asked in.
    pub fn side(self) -> Side {
        match self {
            Self::Segments | Self::Ordinary => Side::Gemba,
            Self::Seed => Side::Seed,
            Self::Timescale | Self::TimescaleDirect => Side::Timescale,
        }
    }

    /// A new database, ready for the readings.
    pub fn create(self, server: &Server, data: &Data) -> Result<Client> {
        if self == Self::Seed {
            return Side::Seed.create(server, data.range);
        }
        server.create_database(self.database())?;
        let mut client = server.connect(self.database())?;
        match self {
            Self::Segments => client.batch_execute("CREATE EXTENSION gemba")?,
            Self::Ordinary => {
                client.batch_execute("CREATE EXTENSION gemba")?;
                stop_compressing(&mut client)?;
            }
            Self::Seed | Self::Timescale | Self::TimescaleDirect => {
                client.batch_execute("CREATE EXTENSION timescaledb")?;
                client.batch_execute(include_str!("../../sql/timescale_tables.sql"))?;
                client.batch_execute(
                    "ALTER TABLE sensor_readings SET (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id',
                                                      timescaledb.compress_orderby = '\"timestamp\"')",
                )?;
                if self == Self::TimescaleDirect {
                    client.batch_execute("SET timescaledb.enable_direct_compress_copy = on")?;
                }
            }
        }
        Ok(client)
    }

    /// Bytes of the readings, indexes and what lies behind them included.
    fn readings_bytes(self, client: &mut Client) -> Result<i64> {
        Ok(match self {
            Self::Segments | Self::Ordinary => gemba_bytes(client)?,
            Self::Seed => bytes(client, "sensor_readings")?.1,
            Self::Timescale | Self::TimescaleDirect => client
                .query_one("SELECT hypertable_size('sensor_readings')", &[])?
                .get(0),
        })
    }

    /// Statistics and hint bits, so that nobody pays for another's first look.
    pub fn settle(self, server: &Server) -> Result<()> {
        progress(&format!("{}: VACUUM (ANALYZE)", self.label()));
        let mut client = server.connect(self.database())?;
        client.batch_execute("VACUUM (ANALYZE)")?;
        // Without a name it leaves foreign tables out.
        client.batch_execute(&format!("ANALYZE {}", self.side().table("sensor_readings")))?;
        client.batch_execute("CHECKPOINT")?;
        Ok(())
    }
}

/// Bytes of gemba's readings, in whatever form their partitions are.
pub fn gemba_bytes(client: &mut Client) -> Result<i64> {
    Ok(client
        .query_one(
            "SELECT sum(bytes)::bigint FROM gemba.partitions WHERE parent = 'telemetry.sensor_readings'::regclass",
            &[],
        )?
        .get(0))
}

pub fn database_bytes(client: &mut Client) -> Result<i64> {
    Ok(client
        .query_one("SELECT pg_database_size(current_database())", &[])?
        .get(0))
}

/// What one tier took, over all runs.
#[derive(Debug, Default)]
pub struct Load {
    pub total: Samples,
    steps: BTreeMap<(usize, &'static str), Samples>,
    pub readings_bytes: i64,
    database_bytes: i64,
    /// Of a database that has no readings yet.
    empty_bytes: i64,
}

pub type Loads = BTreeMap<Tier, Load>;

/// Loads every tier, each time into a new database; the last run's are left for the queries.
pub fn measure(
    server: &Server,
    options: &Options,
    data: &Data,
    tiers: &[Tier],
    report: &mut Report,
) -> Result<Loads> {
    let marked = options.work.join("history").join("marked.csv");
    let mut loads = Loads::new();
    for run in 0..options.runs {
        // Another one begins each time.
        for turn in 0..tiers.len() {
            let tier = tiers[(run + turn) % tiers.len()];
            progress(&format!(
                "history, run {} of {}: {}",
                run + 1,
                options.runs,
                tier.label()
            ));
            let mut client = tier.create(server, data)?;
            if run == 0 && turn == 0 {
                // The first one is gemba's, which knows what is plausible.
                suspects::mark(&mut client, &data.long, &marked)?;
            }
            let load = loads.entry(tier).or_default();
            load.empty_bytes = database_bytes(&mut client)?;
            client.batch_execute("CHECKPOINT")?;
            let steps = fill(tier, &mut client, data, &marked)?;
            let mut total = Duration::ZERO;
            for (number, (name, duration)) in steps.into_iter().enumerate() {
                progress(&format!("  {name}: {:.3} s", duration.as_secs_f64()));
                load.steps.entry((number, name)).or_default().push(duration);
                total += duration;
            }
            load.total.push(total);
            load.readings_bytes = tier.readings_bytes(&mut client)?;
            load.database_bytes = database_bytes(&mut client)?;
            if tier.side() != Side::Gemba {
                tier.side().register_sensors(&mut client, &data.sensors)?;
            }
            drop(client);
            if run + 1 < options.runs || tier == Tier::TimescaleDirect {
                server.drop_database(tier.database())?;
            }
        }
    }
    rows(data, tiers, &loads, report);
    Ok(loads)
}

/// From CSV to queryable with aggregates: how long each step takes.
fn fill(
    tier: Tier,
    client: &mut Client,
    data: &Data,
    long: &Path,
) -> Result<Vec<(&'static str, Duration)>> {
    if tier.is_gemba() {
        let steps = fill_gemba(client, &data.wide, data.readings)?;
        check_form(tier, client)?;
        return Ok(steps);
    }
    let side = tier.side();
    let mut steps = Vec::new();
    let (duration, rows) = time(|| side.copy(client, long))?;
    ensure!(
        rows == data.readings,
        "{}: {rows} of {} readings loaded",
        tier.label(),
        data.readings
    );
    steps.push(("COPY", duration));
    if side == Side::Timescale {
        let (duration, _) = time(|| {
            Ok(client.query(
                "SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('sensor_readings') AS c",
                &[],
            )?)
        })?;
        steps.push(("compress_chunk", duration));
    }
    let (duration, ()) = time(|| {
        side.build(client)?;
        side.index_aggregates(client)
    })?;
    steps.push(("aggregates", duration));
    Ok(steps)
}

/// The same for gemba, in a database that has the extension.
pub fn fill_gemba(
    client: &mut Client,
    wide: &Path,
    readings: u64,
) -> Result<Vec<(&'static str, Duration)>> {
    let imported = import(client, wide, readings)?;
    let (refreshed, _) = time(|| Ok(client.query("SELECT * FROM telemetry.refresh()", &[])?))?;
    let (maintained, ()) = time(|| maintain(client))?;
    Ok(vec![
        ("import_csv", imported),
        ("refresh", refreshed),
        ("maintain_partitions", maintained),
    ])
}

/// Until it finds nothing left to do.
fn maintain(client: &mut Client) -> Result<()> {
    for _ in 0..100 {
        let mut done = true;
        for row in client.query(
            "SELECT action, concat_ws(' ', parent, partition, detail) FROM gemba.maintain_partitions()",
            &[],
        )? {
            let (action, what): (String, String) = (row.get(0), row.get(1));
            ensure!(action != "failed", "maintain_partitions: {what}");
            done = false;
        }
        if done {
            return Ok(());
        }
    }
    bail!("maintain_partitions finds something to do again and again")
}

/// A side that is not what it says it is would be measured as something else.
fn check_form(tier: Tier, client: &mut Client) -> Result<()> {
    let row = client.query_one(
        "SELECT count(*) FILTER (WHERE c.relkind = 'f'), count(*) FILTER (WHERE c.relkind = 'r')
           FROM gemba.partitions p JOIN pg_class c ON c.oid = p.partition
          WHERE p.parent = 'telemetry.sensor_readings'::regclass AND p.to_time < '2020-02-01'",
        &[],
    )?;
    let (compressed, ordinary): (i64, i64) = (row.get(0), row.get(1));
    let fits = match tier {
        Tier::Segments => compressed > 0 && ordinary == 0,
        _ => compressed == 0 && ordinary > 0,
    };
    ensure!(
        fits,
        "{}: {compressed} compressed partitions, {ordinary} ordinary ones",
        tier.label()
    );
    Ok(())
}

fn rows(data: &Data, tiers: &[Tier], loads: &Loads, report: &mut Report) {
    let readings = thousands(data.readings);
    let known = || {
        tiers
            .iter()
            .filter_map(|tier| Some((*tier, loads.get(tier)?)))
    };
    let others = |tier: Tier| {
        known()
            .filter(|(other, _)| tier == Tier::Segments && *other != tier)
            .collect::<Vec<_>>()
    };
    for (tier, load) in known() {
        let rate = data.readings as f64 / load.total.median().as_secs_f64().max(1e-9);
        let ratios: Vec<_> = others(tier)
            .iter()
            .map(|(other, theirs)| {
                let ratio = theirs.total.median().as_secs_f64()
                    / load.total.median().as_secs_f64().max(1e-9);
                format!("{} as fast as {}", factor(ratio), other.label())
            })
            .collect();
        report.row(
            &format!("from CSV to queryable with aggregates, {readings} readings"),
            tier.label(),
            format!(
                "{} ({} rows/s)",
                crate::samples::show(load.total.median()),
                thousands(rate as u64)
            ),
            steps_in_words(&load.steps),
            load.total.count(),
            ratios.join("; "),
        );
    }
    for (tier, load) in known() {
        let each = |bytes: i64| bytes as f64 / data.readings as f64;
        let ratios: Vec<_> = others(tier)
            .iter()
            .map(|(other, theirs)| {
                format!(
                    "{} smaller than {}",
                    factor(theirs.readings_bytes as f64 / load.readings_bytes.max(1) as f64),
                    other.label()
                )
            })
            .collect();
        report.row(
            &format!("bytes a reading, {readings} readings, indexes included"),
            tier.label(),
            format!("{:.2}", each(load.readings_bytes)),
            format!(
                "{:.1} MB; the whole database {:.1} MB, of which {:.1} MB when it was empty",
                load.readings_bytes as f64 / 1e6,
                load.database_bytes as f64 / 1e6,
                load.empty_bytes as f64 / 1e6
            ),
            1,
            ratios.join("; "),
        );
    }
}
