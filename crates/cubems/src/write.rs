//! Text of the files: as published, or as one long table.

use crate::missing::{ColumnGaps, gaps};
use crate::published::headers;
use crate::values::Channel;
use crate::{FileSpec, FileSummary, MINUTES_PER_DAY, Plan, files};
use chrono::{Datelike, Days};
use gemba_core::cu_bems;
use std::io::{self, Write};

/// Text collected before it is given to the writer.
const CHUNK: usize = 256 * 1024;

/// A column on its way through the minutes.
struct Column {
    gaps: ColumnGaps,
    channel: Channel,
    missing: bool,
    until: u32,
}

impl Column {
    fn all_of(spec: &FileSpec) -> Vec<Self> {
        let (year, floor) = (spec.published.year, spec.published.floor);
        gaps(&spec.published, spec.seed)
            .into_iter()
            .zip(headers(floor))
            .map(|(gaps, header)| Self {
                gaps,
                channel: Channel::new(spec.seed, year, floor, &header, spec.year_offset()),
                missing: false,
                until: 0,
            })
            .collect()
    }

    /// Whether the cell is missing; minutes have to come in order.
    fn is_missing(&mut self, minute: u32) -> bool {
        if minute >= self.until {
            (self.missing, self.until) = self.gaps.at(minute);
        }
        self.missing
    }

    fn write_value(&self, minute: u32, out: &mut Vec<u8>) {
        let value = self.channel.value(minute);
        if self.channel.has_decimals() {
            write_number(value / 100, out);
            out.push(b'.');
            write_two(value % 100, out);
        } else {
            write_number(value, out);
        }
    }
}

/// Writes one file, in the published form: a header, then one row a minute, `\n` at each line's end.
///
/// # Errors
/// Those of the writer.
pub fn write_file(spec: &FileSpec, out: &mut impl Write) -> io::Result<FileSummary> {
    let mut columns = Column::all_of(spec);
    let mut text = Vec::with_capacity(CHUNK + 4096);
    text.extend_from_slice(spec.header().as_bytes());
    text.push(b'\n');
    let mut summary = FileSummary::default();
    for minute in spec.first..spec.end {
        write_time(spec, minute, &mut text);
        for column in &mut columns {
            text.push(b',');
            if !column.is_missing(minute) {
                column.write_value(minute, &mut text);
                summary.readings += 1;
                summary.suspects_expected += u64::from(column.channel.is_spike(minute));
            }
        }
        text.push(b'\n');
        summary.rows += 1;
        if text.len() >= CHUNK {
            out.write_all(&text)?;
            text.clear();
        }
    }
    if spec.broken_tail {
        text.push(b'2');
        text.extend(columns.iter().map(|_| b','));
        text.push(b'\n');
        summary.rows += 1;
        summary.rejects_expected += 1;
    }
    out.write_all(&text)?;
    Ok(summary)
}

/// What [`write_file`] would write, counted by outages and runs instead of cell by cell.
#[must_use]
pub fn count(spec: &FileSpec) -> FileSummary {
    let mut summary = FileSummary {
        rows: u64::from(spec.end - spec.first) + u64::from(spec.broken_tail),
        rejects_expected: u64::from(spec.broken_tail),
        ..FileSummary::default()
    };
    for mut column in Column::all_of(spec) {
        let mut minute = spec.first;
        while minute < spec.end {
            let missing = column.is_missing(minute);
            let until = column.until.min(spec.end);
            if !missing {
                summary.readings += u64::from(until - minute);
                let spikes = (minute..until).filter(|&at| column.channel.is_spike(at));
                summary.suspects_expected += spikes.count() as u64;
            }
            minute = until;
        }
    }
    summary
}

/// Writes all readings of a plan as one table for `COPY … WITH (FORMAT csv, HEADER)`, in order of time, floor and
/// column. Rows counted are readings; the header line is not.
///
/// # Errors
/// Those of the writer.
pub fn write_long(plan: &Plan, out: &mut impl Write) -> io::Result<FileSummary> {
    let mut text = Vec::with_capacity(CHUNK + 4096);
    text.extend_from_slice(
        b"timestamp,sensor_id,floor_number,equipment_type,reading_value,unit,status\n",
    );
    let mut summary = FileSummary::default();
    let all = files(plan);
    for year in [2018, 2019] {
        let mut sources: Vec<(&FileSpec, Vec<LongColumn>)> = all
            .iter()
            .filter(|spec| spec.published.year == year)
            .map(|spec| (spec, LongColumn::all_of(spec)))
            .collect();
        let first = sources
            .iter()
            .map(|(spec, _)| spec.first)
            .min()
            .unwrap_or(0);
        let end = sources.iter().map(|(spec, _)| spec.end).max().unwrap_or(0);
        for minute in first..end {
            for (spec, columns) in sources
                .iter_mut()
                .filter(|(spec, _)| (spec.first..spec.end).contains(&minute))
            {
                for LongColumn {
                    column,
                    before,
                    after,
                } in columns
                {
                    if column.is_missing(minute) {
                        continue;
                    }
                    write_time(spec, minute, &mut text);
                    text.extend_from_slice(before);
                    column.write_value(minute, &mut text);
                    text.extend_from_slice(after);
                    summary.rows += 1;
                    summary.suspects_expected += u64::from(column.channel.is_spike(minute));
                }
            }
            if text.len() >= CHUNK {
                out.write_all(&text)?;
                text.clear();
            }
        }
    }
    out.write_all(&text)?;
    summary.readings = summary.rows;
    Ok(summary)
}

/// A column with what stands before and after the value in its long rows.
struct LongColumn {
    column: Column,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl LongColumn {
    fn all_of(spec: &FileSpec) -> Vec<Self> {
        let floor = i32::from(spec.published.floor);
        Column::all_of(spec)
            .into_iter()
            .zip(headers(spec.published.floor))
            .enumerate()
            .map(|(i, (column, header))| {
                let channel = cu_bems::Channel::parse(i + 1, &header);
                let id = cu_bems::sensor_id("", Some(floor), &channel);
                let equipment = channel.equipment_type.unwrap_or_default();
                let unit = channel.unit.as_deref().unwrap_or_default();
                Self {
                    column,
                    before: format!("+07,{id},{floor},{equipment},").into_bytes(),
                    after: format!(",{unit},normal\n").into_bytes(),
                }
            })
            .collect()
    }
}

/// `YYYY-MM-DD HH:MM:SS`
fn write_time(spec: &FileSpec, minute: u32, out: &mut Vec<u8>) {
    let (day, of_day) = (minute / MINUTES_PER_DAY, minute % MINUTES_PER_DAY);
    // Every day of both years exists: the sum cannot leave the calendar.
    let date = spec
        .year_start()
        .checked_add_days(Days::new(u64::from(day)))
        .unwrap_or_default();
    write_number(u32::from(spec.published.year), out);
    out.push(b'-');
    write_two(date.month(), out);
    out.push(b'-');
    write_two(date.day(), out);
    out.push(b' ');
    write_two(of_day / 60, out);
    out.push(b':');
    write_two(of_day % 60, out);
    out.extend_from_slice(b":00");
}

fn write_two(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
}

fn write_number(number: u32, out: &mut Vec<u8>) {
    let mut digits = [0; 10];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
