//! CSV import: wide files in, long readings out, nothing lost and nothing twice.
//!
//! - [`source`]: files and sent lines, parsed in a thread of their own
//! - [`sensors`]: the sensors behind a file's columns
//! - [`loader`]: readings to their partitions
//! - [`segments`]: readings of closed months as segments, past any ordinary table
//!
//! One import is one transaction: it succeeds as a whole or leaves nothing behind.

mod loader;
mod segments;
mod sensors;
mod source;

use crate::error::{Error, Result};
use crate::postgres::time::{self, ServerZone};
use crate::postgres::{lock, spi};
use gemba_core::calendar::Zone;
use gemba_core::cu_bems;
use gemba_core::local_time::DateOrder;
use gemba_core::wide_csv::{Block, Options, PlausibleRange, Reject, RejectReason};
use loader::Loader;
use pgrx::PgMemoryContexts;
use pgrx::prelude::*;
use source::{Ending, Part, SentLines};
use std::path::Path;
use std::time::Instant;

/// How the caller wants files read.
pub struct Request {
    pub floor: Option<i32>,
    pub time_zone: String,
    pub date_order: Option<String>,
    pub sensor_prefix: Option<String>,
}

impl Request {
    /// The sensors of a file: what the caller says of floor and prefix wins over what its name says.
    fn sensors(&self, file: &str, opening: &source::Opening) -> Vec<sensors::Sensor> {
        let stem = Path::new(file).file_stem().map_or_else(
            || file.to_owned(),
            |stem| stem.to_string_lossy().into_owned(),
        );
        let prefix = match &self.sensor_prefix {
            Some(prefix) => prefix,
            None => cu_bems::source_prefix(&stem),
        };
        let floor = self.floor.or_else(|| cu_bems::floor_from_file_name(file));
        sensors::of_file(opening, prefix, floor)
    }
}

/// What became of one file.
pub struct Report {
    pub file: String,
    pub sensors: i32,
    pub rows_read: i64,
    pub readings: i64,
    pub inserted: i64,
    pub duplicates: i64,
    pub suspect: i64,
    pub rejected: i64,
    pub seconds: f64,
}

/// Imports files of the server: one, a folder, or a pattern.
pub fn files(path: &str, request: &Request) -> Result<Vec<Report>> {
    let files = source::files(path)?;
    let count = files.len();
    let mut import = Import::start(request)?;
    for (number, file) in files.into_iter().enumerate() {
        let name = file.file_name().map_or_else(
            || file.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        import.begin(&name);
        let (parts, reader) = source::read_file(file, import.options.clone())?;
        for part in parts {
            import.take(part)?;
        }
        if reader.join().is_err() {
            return Err(unreadable(&name, "the reader stopped unexpectedly"));
        }
        let done = import.end()?;
        notice!(
            "gemba: file {} of {count}: {name}, {} readings of {} sensors, {} rejects",
            number + 1,
            done.readings,
            done.sensors,
            done.rejected
        );
    }
    import.finish()
}

/// Imports the lines that this session has sent to `telemetry.import_lines`, and takes them away.
pub fn sent_lines(name: &str, request: &Request) -> Result<Vec<Report>> {
    let mut import = Import::start(request)?;
    import.begin(name);
    let options = import.options.clone();
    let mut outcome = Ok(());
    source::read_all(SentLines::default(), &options, |part| {
        outcome = import.take(part);
        outcome.is_ok()
    })
    .map_err(|why| unreadable(name, &why))?;
    outcome?;
    import.end()?;
    spi::write(
        "DELETE FROM telemetry.import_lines WHERE session = telemetry.upload_session()
            -- and what sessions left behind that never came back
            OR sent_at < pg_catalog.now() - interval '1 day'",
        &[],
    )?;
    import.finish()
}

fn unreadable(file: &str, why: &str) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT, "the file cannot be imported")
        .detail(format!("{file}: {why}"))
        .hint("nothing was imported; a wide CSV has a header, one time column and one column for each sensor")
}

/// One import under way.
struct Import<'a> {
    request: &'a Request,
    options: Options,
    zone: ServerZone,
    loader: Loader,
    done: Vec<FileState>,
    at: Option<FileState>,
}

/// What is known of a file so far.
struct FileState {
    name: String,
    started: Instant,
    /// From its first byte to its last row; indexes and late rows come after all files.
    seconds: f64,
    ending: Option<Ending>,
    opening: Option<source::Opening>,
    sensors: i32,
    registered: bool,
    rows: i64,
    readings: i64,
    rejected: i64,
    /// Not written yet.
    rejects: Vec<Reject>,
    /// Its row in `import_runs`, once there is one.
    run: Option<i64>,
    first: Option<i64>,
    last: Option<i64>,
}

impl<'a> Import<'a> {
    fn start(request: &'a Request) -> Result<Self> {
        lock::take_turns("telemetry.import_runs")?;
        let run = spi::write_returning(
            "SELECT pg_catalog.nextval(pg_catalog.pg_get_serial_sequence('telemetry.import_runs', 'id'))",
            &[],
            |row| Ok(row.get::<i64>(1)?.unwrap_or(1)),
        )?
        .first()
        .copied()
        .unwrap_or(1);
        let date_order = request
            .date_order
            .as_deref()
            .map(|order| {
                order.parse::<DateOrder>().map_err(|_| {
                    Error::invalid("the order of dates is not one of its values")
                        .detail(format!("date_order {order:?}"))
                        .hint("use 'ymd', 'dmy' or 'mdy', or NULL to find out from the file")
                })
            })
            .transpose()?;
        Ok(Self {
            options: Options {
                date_order,
                plausible: plausible_ranges()?,
            },
            zone: ServerZone::named(&request.time_zone)?,
            loader: Loader::start(run)?,
            request,
            done: Vec::new(),
            at: None,
        })
    }

    fn begin(&mut self, name: &str) {
        self.at = Some(FileState {
            name: name.to_owned(),
            started: Instant::now(),
            seconds: 0.0,
            ending: None,
            opening: None,
            sensors: 0,
            registered: false,
            rows: 0,
            readings: 0,
            rejected: 0,
            rejects: Vec::new(),
            run: None,
            first: None,
            last: None,
        });
    }

    fn take(&mut self, part: Part) -> Result<()> {
        pgrx::check_for_interrupts!();
        let Some(state) = self.at.as_mut() else {
            return Ok(());
        };
        match part {
            Part::Open(opening) => {
                let sensors = self.request.sensors(&state.name, &opening);
                if let Some(pair) = sensors.windows(2).find(|pair| pair[0].id == pair[1].id) {
                    let why = format!("two columns would both be sensor {:?}", pair[0].id);
                    return Err(unreadable(&state.name, &why));
                }
                state.sensors = sensors.len() as i32;
                state.opening = Some(opening);
                self.loader.begin_file(sensors);
                Ok(())
            }
            Part::Block(block) => self.add(block),
            Part::End(ending) => {
                state.ending = Some(ending);
                Ok(())
            }
            Part::Failed(why) => Err(unreadable(&state.name, &why)),
        }
    }

    fn add(&mut self, mut block: Block) -> Result<()> {
        let Some(state) = self.at.as_mut() else {
            return Ok(());
        };
        state.rejected += block.rejects.len() as i64;
        state.rejects.append(&mut block.rejects);
        if state.rejects.len() >= REJECTS_HELD {
            write_rejects(state)?;
        }
        if block.times.is_empty() {
            return Ok(());
        }
        if !state.registered {
            state.registered = true;
            if let Some(opening) = &state.opening {
                let sensors = self.request.sensors(&state.name, opening);
                sensors::register(&sensors, &opening.channels, usual_step(&block.times))?;
            }
        }
        let instants = self.instants(&block.times);
        let state = match self.at.as_mut() {
            Some(state) => state,
            None => return Ok(()),
        };
        let instants = keep_plausible_times(instants, &mut block, state);
        state.rows += instants.len() as i64;
        for &instant in &instants {
            state.first = Some(state.first.map_or(instant, |first| first.min(instant)));
            state.last = Some(state.last.map_or(instant, |last| last.max(instant)));
        }
        if instants.windows(2).all(|pair| pair[0] < pair[1]) {
            return self.loader.add(&instants, &block.columns);
        }
        // The clocks were changed within this block: its rows go one by one, and a repeated instant
        // ends as a duplicate.
        for (row, instant) in instants.iter().enumerate() {
            let columns: Vec<Vec<i64>> = block
                .columns
                .iter()
                .map(|column| vec![column[row]])
                .collect();
            self.loader.add(&[*instant], &columns)?;
        }
        Ok(())
    }

    /// The instants of local times. Where no clock changes between the first and the last, which is
    /// nearly always, two conversions do for all.
    fn instants(&self, times: &[i64]) -> Vec<i64> {
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            return Vec::new();
        };
        let offset = first - self.zone.instant(first);
        if last - self.zone.instant(last) == offset {
            times.iter().map(|&time| time - offset).collect()
        } else {
            times.iter().map(|&time| self.zone.instant(time)).collect()
        }
    }

    fn end(&mut self) -> Result<&FileState> {
        self.loader.end_file()?;
        if let Some(mut state) = self.at.take() {
            state.readings = self.loader.readings();
            state.seconds = state.started.elapsed().as_secs_f64();
            self.done.push(state);
        }
        self.done
            .last()
            .ok_or_else(|| unreadable("", "no file was begun"))
    }

    fn finish(self) -> Result<Vec<Report>> {
        let tallies = self.loader.finish()?;
        let mut reports = Vec::with_capacity(tallies.len());
        for (mut state, tally) in self.done.into_iter().zip(tallies) {
            record(&mut state, &tally)?;
            reports.push(Report {
                sensors: state.sensors,
                rows_read: state.rows,
                readings: tally.readings as i64,
                inserted: tally.inserted as i64,
                duplicates: tally.duplicates as i64,
                suspect: tally.suspect as i64,
                rejected: state.rejected,
                seconds: state.seconds,
                file: state.name,
            });
        }
        Ok(reports)
    }
}

/// Times of a sensor lie in this range (1900 to 2200, as microseconds since 2000), or they are mistakes,
/// for which no partition shall be made.
const PLAUSIBLE_TIMES: std::ops::Range<i64> = -3_155_673_600_000_000..6_311_433_600_000_000;

/// Takes rows with impossible times out of a block and rejects them.
fn keep_plausible_times(instants: Vec<i64>, block: &mut Block, state: &mut FileState) -> Vec<i64> {
    if instants
        .iter()
        .all(|instant| PLAUSIBLE_TIMES.contains(instant))
    {
        return instants;
    }
    let keep: Vec<bool> = instants
        .iter()
        .map(|instant| PLAUSIBLE_TIMES.contains(instant))
        .collect();
    for (row, &kept) in keep.iter().enumerate() {
        if !kept {
            state.rejected += 1;
            state.rejects.push(Reject {
                line: block.lines[row],
                column: state
                    .opening
                    .as_ref()
                    .map(|opening| opening.time_column.clone()),
                reason: RejectReason::NotATimestamp,
                raw: time::local_text(block.times[row]),
            });
        }
    }
    for column in &mut block.columns {
        let mut row = 0;
        column.retain(|_| {
            row += 1;
            keep[row - 1]
        });
    }
    instants
        .into_iter()
        .zip(keep)
        .filter(|&(_, kept)| kept)
        .map(|(instant, _)| instant)
        .collect()
}

/// The most frequent distance between neighbouring times.
fn usual_step(times: &[i64]) -> Option<i64> {
    let mut counts = std::collections::HashMap::new();
    for pair in times.windows(2) {
        *counts.entry(pair[1] - pair[0]).or_insert(0_u32) += 1;
    }
    counts
        .into_iter()
        .max_by_key(|&(step, count)| (count, -step))
        .map(|(step, _)| step)
}

fn plausible_ranges() -> Result<Vec<PlausibleRange>> {
    spi::read_all(
        "SELECT unit::text, (min_value * 10000)::bigint, (max_value * 10000)::bigint
           FROM telemetry.plausible_ranges",
        &[],
        |row| {
            Ok(PlausibleRange {
                unit: row.get::<String>(1)?.unwrap_or_default(),
                min: row.get::<i64>(2)?.unwrap_or(i64::MIN),
                max: row.get::<i64>(3)?.unwrap_or(i64::MAX),
            })
        },
    )
}

/// Rejects that are held in memory; a file of nothing but garbage must not fill it.
const REJECTS_HELD: usize = 10_000;

/// The file's row in `import_runs`, made when it is first needed and filled in by [`record`].
fn run_of(state: &mut FileState) -> Result<i64> {
    if let Some(run) = state.run {
        return Ok(run);
    }
    let run = spi::write_returning(
        "INSERT INTO telemetry.import_runs
           (file, checksum, bytes, sensors, rows_read, readings, inserted, duplicates, suspect, rejected,
            started_at)
         VALUES ($1, '', 0, $2, 0, 0, 0, 0, 0, 0,
                 pg_catalog.clock_timestamp() - $3 * interval '1 second')
         RETURNING id",
        &[
            state.name.as_str().into(),
            state.sensors.into(),
            state.started.elapsed().as_secs_f64().into(),
        ],
        |row| Ok(row.get::<i64>(1)?.unwrap_or_default()),
    )?
    .first()
    .copied()
    .unwrap_or_default();
    state.run = Some(run);
    Ok(run)
}

fn write_rejects(state: &mut FileState) -> Result<()> {
    let rejects = std::mem::take(&mut state.rejects);
    if rejects.is_empty() {
        return Ok(());
    }
    let run = run_of(state)?;
    // NUL cannot be stored in a text.
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    // The arrays are copied into memory of their own, which goes with this batch and not with the import.
    in_own_memory(|| {
        spi::write(
            "INSERT INTO telemetry.import_rejects (run_id, file, line, column_name, reason, raw)
             SELECT $1, $2, r.* FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[]) AS r",
            &[
                run.into(),
                state.name.as_str().into(),
                rejects
                    .iter()
                    .map(|reject| reject.line as i64)
                    .collect::<Vec<_>>()
                    .into(),
                rejects
                    .iter()
                    .map(|reject| reject.column.as_deref().map(clean))
                    .collect::<Vec<_>>()
                    .into(),
                rejects
                    .iter()
                    .map(|reject| reject.reason.to_string())
                    .collect::<Vec<_>>()
                    .into(),
                rejects
                    .iter()
                    .map(|reject| clean(&reject.raw))
                    .collect::<Vec<_>>()
                    .into(),
            ],
        )
    })?;
    Ok(())
}

#[expect(unsafe_code, reason = "nothing made inside leaves the closure")]
fn in_own_memory<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut work = Some(work);
    // SAFETY: the result is a Rust value; what PostgreSQL allocated for it is not referred to any more.
    unsafe {
        PgMemoryContexts::new("gemba rejects").switch_to(|_| match work.take() {
            Some(work) => work(),
            None => Err(unreadable("", "the work was already done")),
        })
    }
}

/// Writes what became of a file.
fn record(state: &mut FileState, tally: &loader::Tally) -> Result<()> {
    write_rejects(state)?;
    let run = run_of(state)?;
    let (checksum, bytes) = state.ending.as_ref().map_or_else(
        || (String::new(), 0),
        |ending| (ending.checksum.clone(), ending.bytes as i64),
    );
    spi::write(
        "UPDATE telemetry.import_runs
            SET checksum = $2, bytes = $3, rows_read = $4, readings = $5, inserted = $6, duplicates = $7,
                suspect = $8, rejected = $9, first_reading = $10, last_reading = $11,
                finished_at = pg_catalog.clock_timestamp()
          WHERE id = $1",
        &[
            run.into(),
            checksum.into(),
            bytes.into(),
            state.rows.into(),
            (tally.readings as i64).into(),
            (tally.inserted as i64).into(),
            (tally.duplicates as i64).into(),
            (tally.suspect as i64).into(),
            state.rejected.into(),
            state.first.map(time::timestamptz).into(),
            state.last.map(time::timestamptz).into(),
        ],
    )?;
    Ok(())
}
