//! Rows for a random table.

use super::shape::{Column, Shape, Style, Times};
use super::values::{self, Type};
use anyhow::Result;
use gemba_tests::Random;
use postgres::Client;
use std::fmt::Write as _;
use std::io::Write as _;

/// Numbers that are none, in four guises: text knows one of them only.
const NANS: [(u32, u64); 4] = [
    (0x7fc0_0000, 0x7ff8_0000_0000_0000),
    (0xffc0_0000, 0xfff8_0000_0000_0000),
    (0x7fc0_0001, 0x7ff8_0000_0000_0001),
    (0xffff_ffff, 0xffff_ffff_ffff_ffff),
];

pub fn put_nans(client: &mut Client) -> Result<()> {
    for (k, (single, double)) in NANS.iter().enumerate() {
        client.execute(
            "INSERT INTO s.bits VALUES ($1, $2, $3)",
            &[
                &(k as i32),
                &f32::from_bits(*single),
                &f64::from_bits(*double),
            ],
        )?;
    }
    Ok(())
}

fn value(column: &Column, n: i64, random: &mut Random) -> Option<String> {
    if random.chance(column.nulls) {
        return None;
    }
    Some(match &column.style {
        Style::Any => values::any(column.of, random),
        Style::Ordinary => values::ordinary(column.of, random),
        Style::Extremes => values::extreme(column.of, random),
        Style::Constant(value) => value.clone(),
        Style::Alternating(a, b) => if n % 2 == 0 { a } else { b }.clone(),
        Style::Few(few) => random.pick(few).clone(),
        Style::Rising(step) => match column.of {
            Type::Int2 => (n * step % 30_000).to_string(),
            Type::Int4 | Type::Int8 | Type::Float4 | Type::Float8 => (n * step).to_string(),
            Type::Numeric | Type::Fixed => format!("{}.{:02}", n * step / 100, n * step % 100),
            Type::Date => format!("J{}", 2_451_545 + n * step),
            Type::Instant => format!(
                "J2451545 00:{:02}:{:02}+00",
                n * step / 60 % 60,
                n * step % 60
            ),
            Type::Local => format!("J2451545 00:{:02}:{:02}", n * step / 60 % 60, n * step % 60),
            _ => values::ordinary(column.of, random),
        },
        Style::Nothing => return None,
    })
}

/// Microseconds from the first moment to the end.
pub fn length(client: &mut Client, shape: &Shape) -> u64 {
    let (from, to, zone) = (shape.calendar.from, shape.calendar.to, shape.calendar.zone);
    let span = match shape.time {
        Type::Instant => format!(
            "timestamp '{to}' AT TIME ZONE '{zone}' - timestamp '{from}' AT TIME ZONE '{zone}'"
        ),
        _ => format!("timestamp '{to}' - timestamp '{from}'"),
    };
    gemba_tests::value(
        client,
        &format!("SELECT (extract(epoch FROM {span}) * 1000000)::bigint"),
    )
    .parse()
    .unwrap_or(1)
}

/// A time of the table so many microseconds after its first.
pub fn moment(shape: &Shape, micros: &str) -> String {
    let (from, zone) = (shape.calendar.from, shape.calendar.zone);
    match shape.time {
        Type::Instant => format!(
            "((timestamp '{from}' AT TIME ZONE '{zone}') + {micros} * interval '1 microsecond')"
        ),
        Type::Local => format!("(timestamp '{from}' + {micros} * interval '1 microsecond')"),
        _ => format!("(timestamp '{from}' + {micros} * interval '1 microsecond')::date"),
    }
}

const HOUR: u64 = 3_600_000_000;

pub fn offset(shape: &Shape, n: u64, rows: u64, length: u64, random: &mut Random) -> u64 {
    let at = match shape.times {
        Times::Regular => n * (length / rows.max(1)),
        Times::Random => random.below(length),
        Times::Few => (random.below(5) + 1) * (length / 7),
        Times::One => length / 3,
        // Beside the hours, where segments, days and partitions end.
        Times::Edges => {
            (random.below(length / HOUR + 1) * HOUR + random.below(3)).saturating_sub(1)
        }
    };
    at.min(length - 1)
}

/// Fills `s.load` with so many rows, fewer where they are to be unique.
pub fn load(client: &mut Client, shape: &Shape, rows: u64, random: &mut Random) -> Result<()> {
    let length = length(client, shape);
    let mut text = String::new();
    for n in 0..rows {
        write!(text, "{n}\t{}", offset(shape, n, rows, length, random))?;
        for column in shape.stored() {
            match value(column, n as i64, random) {
                None => text.push_str("\t\\N"),
                Some(value) => {
                    let value = value
                        .replace('\\', "\\\\")
                        .replace('\t', "\\t")
                        .replace('\n', "\\n")
                        .replace('\r', "\\r");
                    write!(text, "\t{value}")?;
                }
            }
        }
        text.push('\n');
    }
    client.batch_execute("TRUNCATE s.given, s.load")?;
    let mut copy = client.copy_in("COPY s.given FROM stdin")?;
    copy.write_all(text.as_bytes())?;
    copy.finish()?;
    let mut list = String::new();
    for column in shape.stored() {
        let name = &column.name;
        list += ", ";
        list += &match column.of {
            Type::Float4 => format!(
                "CASE WHEN {name} = 'NaN' THEN (SELECT c4 FROM s.bits WHERE k = n % 4) ELSE {name} END"
            ),
            Type::Float8 => format!(
                "CASE WHEN {name} = 'NaN' THEN (SELECT c8 FROM s.bits WHERE k = n % 4) ELSE {name} END"
            ),
            _ => name.clone(),
        };
    }
    client.batch_execute(&format!(
        "INSERT INTO s.load SELECT n, {} {list} FROM s.given ORDER BY n ON CONFLICT DO NOTHING",
        moment(shape, "t")
    ))?;
    Ok(())
}
