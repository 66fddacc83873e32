//! The files that every side loads: the same readings in long form and as the published wide files, and
//! the changes that come later.

use crate::server::progress;
use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use gemba_core::cu_bems;
use gemba_cubems::{FileSummary, Plan, count, files, published, write_file, write_long};
use gemba_tests::Random;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Columns of the long form, as `COPY` needs them.
pub const LONG_COLUMNS: &str =
    r#""timestamp", sensor_id, floor_number, equipment_type, reading_value, unit, status"#;

/// Seed of the data maker; any other gives other readings.
const SEED: u64 = 1;

/// The small case begins in the middle of a month, so that it has more than one partition.
const FIRST_DAY: (i32, u32, u32) = (2018, 7, 15);

/// Hours of new readings that follow the load.
pub const HOURS: usize = 3;

/// Late rows, and updated rows.
pub const SCATTERED: usize = 1_000;

/// One channel, for the lookup table that each side is given.
#[derive(Debug, Clone)]
pub struct Sensor {
    pub id: String,
    pub floor: i32,
    pub equipment_type: String,
    pub unit: String,
}

/// Half-open, from midnight to midnight in Bangkok.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

impl Range {
    pub fn days(&self) -> u64 {
        (self.to - self.from).num_days().unsigned_abs()
    }
}

/// Files on disk.
#[derive(Debug)]
pub struct Data {
    folder: PathBuf,
    pub range: Range,
    /// Readings in [`Self::long`] and in [`Self::wide`].
    pub readings: u64,
    pub long: PathBuf,
    pub long_bytes: u64,
    /// A folder of wide files.
    pub wide: PathBuf,
    pub wide_bytes: u64,
    /// The hours after the load, every channel, every minute.
    pub hours: Vec<PathBuf>,
    pub rows_per_hour: usize,
    /// Rows that come late, between the others, over the whole range.
    pub late: PathBuf,
    /// Sensor and time of rows to update.
    pub updated: PathBuf,
    pub sensors: Vec<Sensor>,
}

impl Data {
    /// Whole days of the whole building, as many as it takes to reach `readings`.
    pub fn make(readings: u64, folder: &Path) -> Result<Self> {
        let plan = plan_of(readings)?;
        fs::create_dir_all(folder)?;
        let long = folder.join("long.csv");
        let summary = write_long(&plan, &mut File::create(&long)?)
            .with_context(|| format!("cannot write {}", long.display()))?;
        let wide = folder.join("wide");
        let wide_summary = write_wide(&plan, &wide)?;
        ensure!(
            summary.readings == wide_summary.readings,
            "long and wide files differ"
        );
        let sensors = sensors();
        let range = Range {
            from: midnight(plan.from),
            to: midnight(plan.to),
        };
        let mut hours = Vec::new();
        for hour in 0..HOURS {
            let path = folder.join(format!("hour{hour}.csv"));
            let from = range.to + TimeDelta::hours(i64::try_from(hour)?);
            fs::write(&path, hour_of_rows(&sensors, from)?)?;
            hours.push(path);
        }
        let (late, updated) = (folder.join("late.csv"), folder.join("updated.csv"));
        write_scattered(&long, &late, &updated)?;
        let data = Self {
            folder: folder.to_owned(),
            range,
            readings: summary.readings,
            long_bytes: fs::metadata(&long)?.len(),
            long,
            wide_bytes: bytes_in(&wide)?,
            wide,
            hours,
            rows_per_hour: sensors.len() * 60,
            late,
            updated,
            sensors,
        };
        progress(&format!(
            "{} readings of {} channels, {} days: {} MB long, {} MB wide",
            data.readings,
            data.sensors.len(),
            data.range.days(),
            data.long_bytes >> 20,
            data.wide_bytes >> 20
        ));
        Ok(data)
    }

    pub fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.folder)?;
        Ok(())
    }
}

/// The whole data set: all files, 1 July 2018 to 31 December 2019.
#[derive(Debug)]
pub struct FullData {
    pub plan: Plan,
    pub range: Range,
    pub readings: u64,
    pub wide: PathBuf,
    pub wide_bytes: u64,
    pub sensors: Vec<Sensor>,
}

impl FullData {
    /// All of it, or with `quick` a day, which shows that the way is free.
    pub fn make(folder: &Path, quick: bool) -> Result<Self> {
        let plan = if quick { plan_of(1)? } else { Plan::full(SEED) };
        let summary = write_wide(&plan, folder)?;
        let wide_bytes = bytes_in(folder)?;
        progress(&format!(
            "{} readings, {} MB of wide files",
            summary.readings,
            wide_bytes >> 20
        ));
        Ok(Self {
            range: Range {
                from: midnight(plan.from),
                to: midnight(plan.to),
            },
            plan,
            readings: summary.readings,
            wide: folder.to_owned(),
            wide_bytes,
            sensors: sensors(),
        })
    }

    /// Readings of one hour more for every channel; see [`Data::hours`].
    pub fn hour_after(&self, hour: usize, path: &Path) -> Result<()> {
        let from = self.range.to + TimeDelta::hours(i64::try_from(hour)?);
        fs::write(path, hour_of_rows(&self.sensors, from)?)?;
        Ok(())
    }
}

pub fn lookup(sensors: &[Sensor]) -> String {
    sensors
        .iter()
        .map(|s| format!("{},{},{},{}\n", s.id, s.floor, s.equipment_type, s.unit))
        .collect()
}

/// Midnight in Bangkok, which has been seven hours ahead of UTC all these years.
fn midnight(day: NaiveDate) -> DateTime<Utc> {
    Utc.from_utc_datetime(&day.and_time(NaiveTime::MIN)) - TimeDelta::hours(7)
}

fn plan_of(readings: u64) -> Result<Plan> {
    let (year, month, day) = FIRST_DAY;
    let from = NaiveDate::from_ymd_opt(year, month, day).context("no such day")?;
    let last = Plan::full(SEED).to;
    let plan = |days: u64| -> Result<Plan> {
        let to = from
            .checked_add_days(Days::new(days))
            .context("no such day")?;
        Ok(Plan {
            from,
            to,
            ..Plan::full(SEED)
        })
    };
    let holds = |plan: &Plan| -> u64 { files(plan).iter().map(|file| count(file).readings).sum() };
    let most = u64::try_from((last - from).num_days())?;
    // The smallest number of days that holds enough.
    let (mut too_few, mut enough) = (0, most);
    ensure!(
        holds(&plan(most)?) >= readings,
        "the small case has no {readings} readings: use --full"
    );
    while enough - too_few > 1 {
        let middle = too_few.midpoint(enough);
        if holds(&plan(middle)?) >= readings {
            enough = middle
        } else {
            too_few = middle
        }
    }
    plan(enough)
}

fn write_wide(plan: &Plan, folder: &Path) -> Result<FileSummary> {
    fs::create_dir_all(folder)?;
    let mut total = FileSummary::default();
    for spec in files(plan) {
        let path = folder.join(spec.name());
        total += write_file(&spec, &mut File::create(&path)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(total)
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

fn sensors() -> Vec<Sensor> {
    (1..=7_u8)
        .flat_map(|floor| {
            published::headers(floor)
                .into_iter()
                .enumerate()
                .map(move |(i, header)| {
                    let channel = cu_bems::Channel::parse(i + 1, &header);
                    Sensor {
                        id: cu_bems::sensor_id("", Some(i32::from(floor)), &channel),
                        floor: i32::from(floor),
                        equipment_type: channel.equipment_type.unwrap_or_default().to_owned(),
                        unit: channel.unit.unwrap_or_default(),
                    }
                })
        })
        .collect()
}

const HEADER: &str = "timestamp,sensor_id,floor_number,equipment_type,reading_value,unit,status\n";

/// Every channel, every minute of the hour from `from` on.
fn hour_of_rows(sensors: &[Sensor], from: DateTime<Utc>) -> Result<String> {
    let mut random = Random::new(u64::try_from(from.timestamp())?);
    let mut text = HEADER.to_owned();
    for minute in 0..60 {
        let at = from + TimeDelta::minutes(minute);
        for sensor in sensors {
            writeln!(
                text,
                "{},{},{},{},{}.{:02},{},normal",
                at.format("%Y-%m-%d %H:%M:%S+00"),
                sensor.id,
                sensor.floor,
                sensor.equipment_type,
                20 + random.below(20),
                random.below(100),
                sensor.unit
            )?;
        }
    }
    Ok(text)
}

/// Takes rows at random places of the long file: half a minute later they are rows that come late, and
/// others are to be updated.
fn write_scattered(long: &Path, late: &Path, updated: &Path) -> Result<()> {
    let mut random = Random::new(SEED);
    let bytes = fs::metadata(long)?.len();
    let mut reader = BufReader::new(File::open(long)?);
    let mut taken = HashSet::new();
    let (mut late_text, mut updated_text) = (HEADER.to_owned(), String::new());
    let mut attempts = 0;
    while taken.len() < 2 * SCATTERED {
        attempts += 1;
        ensure!(
            attempts < 100 * SCATTERED,
            "{} has too few rows",
            long.display()
        );
        reader.seek(SeekFrom::Start(random.below(bytes)))?;
        let mut line = String::new();
        // The first is cut somewhere.
        reader.read_line(&mut line)?;
        line.clear();
        if reader.read_line(&mut line)? == 0 || !taken.insert(line.clone()) {
            continue;
        }
        let (time, rest) = line.split_once(",").context("a line without a comma")?;
        if taken.len() % 2 == 1 {
            ensure!(
                time.ends_with(":00+07"),
                "a reading is not on the minute: {time}"
            );
            late_text += &format!("{}:30+07,{rest}", time.trim_end_matches(":00+07"));
        } else {
            let sensor = rest.split(',').next().unwrap_or_default();
            writeln!(updated_text, "{sensor},{time}")?;
        }
    }
    fs::write(late, late_text)?;
    fs::write(updated, updated_text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_as_many_days_as_needed() -> Result<()> {
        let plan = plan_of(200_000)?;
        let one = Plan {
            to: plan.from + Days::new(1),
            ..plan.clone()
        };
        let held: u64 = files(&plan).iter().map(|file| count(file).readings).sum();
        assert!(held >= 200_000);
        assert!(
            plan == one || files(&one).iter().map(|f| count(f).readings).sum::<u64>() < 200_000
        );
        Ok(())
    }

    #[test]
    fn names_every_channel_once() {
        let sensors = sensors();
        let ids: HashSet<_> = sensors.iter().map(|sensor| &sensor.id).collect();
        assert_eq!(ids.len(), sensors.len());
        assert_eq!(ids.len(), 192);
    }
}
