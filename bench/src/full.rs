//! The whole data set.

use crate::Options;
use crate::data::{FullData, HOURS, LONG_COLUMNS};
use crate::reads;
use crate::report::{Report, thousands};
use crate::samples::Samples;
use crate::server::{Server, progress, time};
use crate::sides::{Side, bytes, stop_compressing};
use crate::writes::import;
use anyhow::{Result, ensure};
use postgres::Client;
use std::fs;
use std::time::Duration;

fn once(duration: Duration) -> Samples {
    let mut samples = Samples::default();
    samples.push(duration);
    samples
}

pub fn measure(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    progress("the whole data set: making the files");
    let data = FullData::make(&options.work.join("full"), options.quick)?;
    let all = thousands(data.readings);
    report.note(&format!(
        "the whole data set: {all} readings, {} MB of wide files; loaded once",
        data.wide_bytes / 1_000_000
    ));

    server.create_database(Side::Gemba.database())?;
    let mut client = server.connect(Side::Gemba.database())?;
    client.batch_execute("CREATE EXTENSION gemba")?;
    stop_compressing(&mut client)?;
    client.batch_execute("CHECKPOINT")?;
    progress("the whole data set: import_csv");
    let duration = import(&mut client, &data.wide, data.readings)?;
    report.timing(
        &format!("import_csv of all {all} readings"),
        "gemba",
        &once(duration),
        Some(data.readings),
        &[],
    );
    fs::remove_dir_all(&data.wide)?;
    sizes(&mut client, Side::Gemba, &data, report)?;
    progress("the whole data set: vacuum, first build");
    let (duration, ()) = time(|| Side::Gemba.settle(&mut client))?;
    report.timing(
        &format!("VACUUM (ANALYZE) over {all} readings"),
        "gemba",
        &once(duration),
        None,
        &[],
    );
    builds(
        &mut client,
        Side::Gemba,
        "gemba: refresh_rollups(), indexes included",
        &data,
        options,
        report,
    )?;
    Side::Gemba.register_sensors(&mut client, &data.sensors)?;
    drop(client);

    let what = format!("over {all} readings: ");
    if options.full_seed {
        load_seed(server, options, &data, report)?;
        reads::measure(
            server,
            options.calls,
            data.range,
            &what,
            &[(Side::Seed, Side::Seed.label())],
            report,
        )?;
        server.drop_database(Side::Seed.database())?;
    } else {
        reads::measure(server, options.calls, data.range, &what, &[], report)?;
    }
    server.drop_database(Side::Gemba.database())
}

/// First build of the aggregates, and refreshes after one more hour.
fn builds(
    client: &mut Client,
    side: Side,
    how: &str,
    data: &FullData,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let all = thousands(data.readings);
    let (duration, ()) = time(|| side.build(client))?;
    report.timing(
        &format!("first build of both aggregates over {all} readings"),
        how,
        &once(duration),
        None,
        &[],
    );
    side.index_aggregates(client)?;
    client.batch_execute(&format!(
        "VACUUM (ANALYZE) {}, {}",
        side.table("hourly_aggregates"),
        side.table("daily_aggregates")
    ))?;
    if side == Side::Gemba {
        client.query(
            "SELECT * FROM gemba.ensure_partitions('telemetry.sensor_readings', $1, $2)",
            &[
                &data.range.to,
                &(data.range.to + chrono::TimeDelta::days(1)),
            ],
        )?;
    }
    let mut samples = Samples::default();
    for hour in 0..HOURS {
        let file = options.work.join("hour.csv");
        data.hour_after(hour, &file)?;
        side.copy(client, &file)?;
        samples.push(time(|| side.refresh(client))?.0);
        fs::remove_file(&file)?;
    }
    report.timing(
        &format!("refresh of both after one more hour, over {all} readings"),
        how,
        &samples,
        None,
        &[],
    );
    Ok(())
}

fn sizes(client: &mut Client, side: Side, data: &FullData, report: &mut Report) -> Result<()> {
    let (table, all) = bytes(client, &side.table("sensor_readings"))?;
    let each = |bytes: i64| bytes as f64 / data.readings as f64;
    report.row(
        &format!("bytes a reading, {} readings", thousands(data.readings)),
        side.label(),
        format!("{:.1} with indexes, {:.1} without", each(all), each(table)),
        format!("{} MB in all", thousands(all.unsigned_abs() / 1_000_000)),
        1,
        String::new(),
    );
    Ok(())
}

/// All readings into the seed's own tables; the data maker writes straight into COPY, because the long
/// form would take gigabytes more.
fn load_seed(
    server: &Server,
    options: &Options,
    data: &FullData,
    report: &mut Report,
) -> Result<()> {
    let all = thousands(data.readings);
    progress("the whole data set: COPY into the seed's DDL");
    let mut client = Side::Seed.create(server, data.range)?;
    // Its b-trees outgrow the cache.
    client.batch_execute("SET statement_timeout = '6h'")?;
    let (duration, rows) = time(|| {
        let mut writer = client.copy_in(&format!(
            "COPY sensor_readings ({LONG_COLUMNS}) FROM STDIN WITH (FORMAT csv, HEADER)"
        ))?;
        gemba_cubems::write_long(&data.plan, &mut writer)?;
        Ok(writer.finish()?)
    })?;
    ensure!(
        rows == data.readings,
        "{rows} of {} readings loaded",
        data.readings
    );
    report.timing(
        &format!("COPY of all {all} readings, made on the way"),
        Side::Seed.label(),
        &once(duration),
        Some(rows),
        &[],
    );
    sizes(&mut client, Side::Seed, data, report)?;
    Side::Seed.settle(&mut client)?;
    builds(
        &mut client,
        Side::Seed,
        "seed's DDL: materialized views",
        data,
        options,
        report,
    )?;
    Side::Seed.register_sensors(&mut client, &data.sensors)
}
