//! What is compared, and how each side does the same work.

use crate::data::{LONG_COLUMNS, Range, Sensor, lookup};
use crate::server::Server;
use anyhow::{Context, Result, ensure};
use postgres::Client;
use std::io::Write as _;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The seed's DDL on plain PostgreSQL.
    Seed,
    Gemba,
    /// Gemba without its rollups, and thus without their triggers: what capturing changes costs.
    GembaBare,
    Timescale,
}

impl Side {
    pub fn label(self) -> &'static str {
        match self {
            Self::Seed => "seed's DDL",
            Self::Gemba => "gemba",
            Self::GembaBare => "gemba without rollups",
            Self::Timescale => "TimescaleDB",
        }
    }

    pub fn database(self) -> &'static str {
        match self {
            Self::Seed => "bench_seed",
            Self::Gemba => "bench_gemba",
            Self::GembaBare => "bench_gemba_bare",
            Self::Timescale => "bench_timescale",
        }
    }

    fn schema(self) -> &'static str {
        match self {
            Self::Gemba | Self::GembaBare => "telemetry",
            Self::Seed | Self::Timescale => "public",
        }
    }

    /// A name with its schema.
    pub fn table(self, name: &str) -> String {
        format!("{}.{name}", self.schema())
    }

    /// A new database with empty tables, ready for the readings of `range` and a day more.
    pub fn create(self, server: &Server, range: Range) -> Result<Client> {
        server.create_database(self.database())?;
        let mut client = server.connect(self.database())?;
        match self {
            Self::Seed => client.batch_execute(include_str!("../sql/plain_tables.sql"))?,
            Self::Timescale => {
                client.batch_execute("CREATE EXTENSION timescaledb")?;
                client.batch_execute(include_str!("../sql/timescale_tables.sql"))?;
            }
            Self::Gemba | Self::GembaBare => {
                client.batch_execute("CREATE EXTENSION gemba")?;
                stop_compressing(&mut client)?;
                client.query(
                    "SELECT * FROM gemba.ensure_partitions('telemetry.sensor_readings', $1, $2)",
                    &[&range.from, &(range.to + chrono::TimeDelta::days(1))],
                )?;
            }
        }
        if self == Self::GembaBare {
            client.batch_execute(
                "SELECT gemba.drop_rollup('telemetry.daily_aggregates');
                 SELECT gemba.drop_rollup('telemetry.hourly_aggregates')",
            )?;
        }
        Ok(client)
    }

    /// `COPY` from a file on the server.
    pub fn copy(self, client: &mut Client, file: &Path) -> Result<u64> {
        let file = file
            .to_str()
            .context("a file's name is not UTF-8")?
            .replace('\'', "''");
        Ok(client.execute(
            &format!(
                "COPY {} ({LONG_COLUMNS}) FROM '{file}' WITH (FORMAT csv, HEADER)",
                self.table("sensor_readings")
            ),
            &[],
        )?)
    }

    /// Adds one to the readings that `file` names; returns how many.
    pub fn update(self, client: &mut Client, file: &Path) -> Result<u64> {
        let file = file
            .to_str()
            .context("a file's name is not UTF-8")?
            .replace('\'', "''");
        client.batch_execute(&format!(
            "CREATE TEMP TABLE wanted (sensor_id varchar(50) COLLATE \"C\", \"timestamp\" timestamptz);
             COPY wanted FROM '{file}' WITH (FORMAT csv);
             ANALYZE wanted"
        ))?;
        let rows = client.execute(
            &format!(
                "UPDATE {} AS r SET reading_value = r.reading_value + 1 FROM wanted w
                  WHERE r.sensor_id = w.sensor_id AND r.\"timestamp\" = w.\"timestamp\"",
                self.table("sensor_readings")
            ),
            &[],
        )?;
        client.batch_execute("DROP TABLE wanted")?;
        Ok(rows)
    }

    /// The first build of both aggregates.
    pub fn build(self, client: &mut Client) -> Result<()> {
        match self {
            Self::Seed => client.batch_execute(include_str!("../sql/plain_aggregates.sql"))?,
            Self::Gemba => self.refresh(client)?,
            Self::GembaBare => {}
            Self::Timescale => {
                // Neither may stand in a transaction with others.
                client.batch_execute(include_str!("../sql/timescale_hourly.sql"))?;
                client.batch_execute(include_str!("../sql/timescale_daily.sql"))?;
                self.refresh(client)?;
            }
        }
        Ok(())
    }

    /// What the seed's materialized views still need for dashboards; the others have it from the start.
    pub fn index_aggregates(self, client: &mut Client) -> Result<()> {
        if self == Self::Seed {
            client.batch_execute(include_str!("../sql/plain_aggregate_indexes.sql"))?;
        }
        Ok(())
    }

    /// Brings both aggregates up to date, the way the side does it.
    pub fn refresh(self, client: &mut Client) -> Result<()> {
        match self {
            Self::Seed => client.batch_execute(
                "REFRESH MATERIALIZED VIEW hourly_aggregates; REFRESH MATERIALIZED VIEW daily_aggregates",
            )?,
            Self::Gemba => {
                for row in client.query("SELECT rollup, error FROM gemba.refresh_rollups()", &[])? {
                    let error: Option<String> = row.get(1);
                    ensure!(error.is_none(), "{}: {error:?}", row.get::<_, String>(0));
                }
            }
            Self::GembaBare => {}
            Self::Timescale => {
                client.batch_execute("CALL refresh_continuous_aggregate('hourly_aggregates', NULL, NULL)")?;
                client.batch_execute("CALL refresh_continuous_aggregate('daily_aggregates', NULL, NULL)")?;
            }
        }
        Ok(())
    }

    /// The same on every side where both aggregates are.
    pub fn digest(self, client: &mut Client) -> Result<String> {
        let sql = include_str!("../sql/aggregates_digest.sql")
            .replace("{hourly}", &self.table("hourly_aggregates"))
            .replace("{daily}", &self.table("daily_aggregates"));
        Ok(client.query_one(&sql, &[])?.get(0))
    }

    /// Bytes of the readings without and with their indexes.
    pub fn bytes(self, client: &mut Client) -> Result<(i64, i64)> {
        bytes(client, &self.table("sensor_readings"))
    }

    /// Statistics and hint bits, so that nobody pays for another's first look.
    pub fn settle(self, client: &mut Client) -> Result<()> {
        client.batch_execute(&format!(
            "VACUUM (ANALYZE) {}",
            self.table("sensor_readings")
        ))?;
        client.batch_execute("CHECKPOINT")?;
        Ok(())
    }

    /// The sensors, which the seed's DDL has no table for: a dashboard needs them on every side.
    pub fn register_sensors(self, client: &mut Client, sensors: &[Sensor]) -> Result<()> {
        if self.schema() == "public" {
            client.batch_execute(
                "CREATE TABLE sensors (sensor_id varchar(50) PRIMARY KEY, floor_number int NOT NULL,
                                       equipment_type varchar(100), unit varchar(20))",
            )?;
        }
        // The import may have registered them already.
        client.batch_execute("CREATE TEMP TABLE known (sensor_id text, floor_number int, equipment_type text, unit text)")?;
        let mut writer = client.copy_in("COPY known FROM STDIN WITH (FORMAT csv)")?;
        writer.write_all(lookup(sensors).as_bytes())?;
        writer.finish()?;
        client.batch_execute(&format!(
            "INSERT INTO {table} (sensor_id, floor_number, equipment_type, unit)
               SELECT * FROM known ON CONFLICT DO NOTHING;
             DROP TABLE known;
             ANALYZE {table}",
            table = self.table("sensors")
        ))?;
        Ok(())
    }
}

/// From here on gemba's partitions stay what they are.
pub fn stop_compressing(client: &mut Client) -> Result<()> {
    for table in ["sensor_readings", "hourly_aggregates", "daily_aggregates"] {
        let stopped: bool = client
            .query_one(
                &format!("SELECT gemba.stop_compressing('telemetry.{table}')"),
                &[],
            )?
            .get(0);
        ensure!(stopped, "telemetry.{table} has no policy to stop");
    }
    Ok(())
}

pub fn bytes(client: &mut Client, table: &str) -> Result<(i64, i64)> {
    let row = client.query_one(include_str!("../sql/size.sql"), &[&table])?;
    Ok((row.get(0), row.get(1)))
}
