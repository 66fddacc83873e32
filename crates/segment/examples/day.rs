//! What a day of a sensor takes: bytes a reading, and how fast it goes in and comes out.
//!
//! `cargo run --release -p gemba-segment --example day`

use chrono::NaiveDate;
use gemba_cubems::{Plan, files, write_file};
use gemba_segment::{Buffer, ColumnBuilder, Damage, Kind, Segment, Values, encode_into};
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

const MINUTE: i64 = 60_000_000;
/// Microseconds from 1 January 2000 to 1 July 2018.
const START: i64 = 6_756 * 1_440 * MINUTE;

/// The readings of one sensor on one day: minute and hundredths.
struct Series {
    sensor: i64,
    minutes: Vec<i64>,
    values: Vec<i64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let days = days()?;
    let readings: usize = days.iter().map(|day| day.values.len()).sum();
    println!("{} days of a sensor, {readings} readings", days.len());

    let mut columns = columns();
    let mut segments = Vec::new();
    let mut first_id = 4_000_000;
    let mut spent = Duration::ZERO;
    for day in &days {
        let mut bytes = Vec::new();
        // Of several runs the fastest: others may be using the machine.
        spent += fastest(|| {
            bytes.clear();
            gather(day, first_id, &mut columns);
            encode_into(&columns, &mut bytes)
        })?;
        first_id += day.values.len() as i64;
        segments.push(bytes);
    }
    let total: usize = segments.iter().map(Vec::len).sum();
    let mut bodies = [0; 8];
    for bytes in &segments {
        let segment = Segment::open(bytes)?;
        for (at, body) in bodies.iter_mut().enumerate() {
            *body += segment.body_size(at);
        }
    }
    let each = |bytes: usize| bytes as f64 / segments.len() as f64;
    println!("{:.4} bytes a reading", total as f64 / readings as f64);
    println!(
        "{:.1} bytes a segment: values {:.1}, other columns {:.1}, heads {:.1}",
        each(total),
        each(bodies[5]),
        each(bodies.iter().sum::<usize>() - bodies[5]),
        each(total - bodies.iter().sum::<usize>()),
    );
    let speed = |spent: Duration| readings as f64 / spent.as_secs_f64() / 1e6;
    println!("encode {:.0} M readings/s (8 columns)", speed(spent));

    let mut buffer = Buffer::new();
    for (what, wanted) in [
        ("open", &[][..]),
        ("open + values", &[5]),
        ("open + values + times", &[1, 5]),
        ("open + all 8", &[0, 1, 2, 3, 4, 5, 6, 7]),
    ] {
        let mut best = Duration::ZERO;
        for bytes in &segments {
            best += fastest(|| {
                let segment = Segment::open(black_box(bytes))?;
                for &at in wanted {
                    black_box(segment.decode(at, &mut buffer)?);
                }
                Ok::<_, Damage>(())
            })?;
        }
        println!(
            "{what}: {:.2} µs a segment, {:.0} M readings/s",
            best.as_secs_f64() * 1e6 / segments.len() as f64,
            speed(best)
        );
    }
    check(&days, &segments)
}

fn fastest<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    let mut best = Duration::MAX;
    for _ in 0..9 {
        let before = Instant::now();
        run()?;
        best = best.min(before.elapsed());
    }
    Ok(best)
}

fn columns() -> Vec<ColumnBuilder> {
    use Kind::{Bytes, Int, Numeric};
    [Int, Int, Int, Int, Bytes, Numeric, Bytes, Bytes]
        .map(ColumnBuilder::new)
        .to_vec()
}

/// id, time, sensor, floor, equipment, value, unit, status.
fn gather(day: &Series, first_id: i64, columns: &mut [ColumnBuilder]) {
    let rows = day.values.len();
    columns.iter_mut().for_each(ColumnBuilder::clear);
    for (id, &minute) in (first_id..).zip(&day.minutes) {
        columns[0].push_int(id);
        columns[1].push_int(START + minute * MINUTE);
    }
    columns[2].repeat_int(day.sensor, rows);
    columns[3].repeat_int(3, rows);
    columns[4].repeat_bytes(b"AC", rows);
    // numeric(10,4) of two decimals.
    let mantissas: Vec<i64> = day.values.iter().map(|value| value * 100).collect();
    columns[5].extend_numbers(&mantissas, 4);
    columns[6].repeat_bytes(b"kW", rows);
    columns[7].repeat_bytes(b"valid", rows);
}

/// Three weeks of two floors.
fn days() -> Result<Vec<Series>, Box<dyn Error>> {
    let day = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).ok_or("no such day");
    let plan = Plan {
        from: day(2018, 7, 2)?,
        to: day(2018, 7, 23)?,
        floors: vec![3, 7],
        seed: 1,
    };
    let mut days = Vec::new();
    for (floor, spec) in files(&plan).iter().enumerate() {
        let mut csv = Vec::new();
        write_file(spec, &mut csv)?;
        let text = String::from_utf8(csv)?;
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(1)
            .map(|row| row.split(',').collect())
            .collect();
        for column in 1..rows.first().map_or(0, Vec::len) {
            for (at, of_day) in rows.chunks(1440).enumerate() {
                let mut series = Series {
                    sensor: (floor * 100 + column) as i64,
                    minutes: Vec::new(),
                    values: Vec::new(),
                };
                for (minute, row) in of_day.iter().enumerate() {
                    if let Ok(value) = row[column].parse::<f64>() {
                        series.minutes.push((at * 1440 + minute) as i64);
                        series.values.push((value * 100.0).round() as i64);
                    }
                }
                if !series.values.is_empty() {
                    days.push(series);
                }
            }
        }
    }
    Ok(days)
}

/// That it is the same again.
fn check(days: &[Series], segments: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    let mut buffer = Buffer::new();
    for (day, bytes) in days.iter().zip(segments) {
        let same = match Segment::open(bytes)?.decode(5, &mut buffer)?.values {
            Values::Numbers { mantissas, .. } => mantissas
                .iter()
                .copied()
                .eq(day.values.iter().map(|value| value * 100)),
            Values::Constant(_) => day.values.windows(2).all(|pair| pair[0] == pair[1]),
            _ => false,
        };
        if !same {
            return Err("values differ".into());
        }
    }
    Ok(())
}
