//! What the head of a wide file decides: the time column, the channels, the order of dates.

use super::lines::{Fields, Lines};
use super::{OpenError, Options, ReadError};
use crate::cu_bems::{self, Channel};
use crate::local_time::{self, DateOrder};
use std::collections::{HashMap, HashSet};
use std::io::Read;

/// Rows looked at to find a time column among unnamed ones.
const COLUMN_SAMPLES: usize = 20;
/// Rows looked at to tell day/month from month/day, and the most bytes that they may take.
const ORDER_SAMPLES: usize = 2_000;
const ORDER_BYTES: usize = 8 * 1024 * 1024;

/// Headers that hold date and time in one cell, in order of preference.
const TIMESTAMP_NAMES: [&str; 3] = ["timestamp", "datetime", "ts"];

pub(super) struct Layout {
    /// Header cells, trimmed.
    pub names: Vec<String>,
    pub time: TimeColumns,
    pub channels: Vec<Channel>,
    pub order: DateOrder,
}

#[derive(Clone, Copy)]
pub(super) struct TimeColumns {
    pub date: usize,
    /// Column of the time of day, where it is apart.
    pub time_of_day: Option<usize>,
}

impl TimeColumns {
    pub fn parse(self, fields: &Fields, buffer: &[u8], order: DateOrder) -> Option<i64> {
        let date = fields.get(buffer, self.date);
        match self.time_of_day {
            None => local_time::parse(date, order),
            Some(column) => local_time::parse_pair(date, fields.get(buffer, column), order),
        }
    }
}

/// Reads the header, consumes it, and looks ahead at the rows after it.
pub(super) fn read<R: Read>(lines: &mut Lines<R>, options: &Options) -> Result<Layout, OpenError> {
    lines.skip_bom()?;
    let names = names(lines)?;
    let mut seen = HashSet::new();
    if let Some(twice) = names
        .iter()
        .find(|name| !name.is_empty() && !seen.insert(name.as_str()))
    {
        return Err(OpenError::DuplicateHeader {
            header: twice.clone(),
        });
    }
    let time = match named_time(&names) {
        Some(time) => time,
        None => sampled_time(lines, &names)?,
    };
    let channels = channels(&names, time)?;
    let order = match options.date_order {
        Some(order) => order,
        None => detect_order(lines, time)?,
    };
    Ok(Layout {
        names,
        time,
        channels,
        order,
    })
}

fn names<R: Read>(lines: &mut Lines<R>) -> Result<Vec<String>, OpenError> {
    let mut fields = Fields::default();
    while let Some(span) = lines.record(0, &mut fields)? {
        let buffer = lines.buffer();
        let name = |i| {
            String::from_utf8_lossy(fields.get(buffer, i))
                .trim()
                .to_owned()
        };
        let names = (!fields.is_blank(buffer)).then(|| (0..fields.len()).map(name).collect());
        lines.consume(span);
        if let Some(names) = names {
            return Ok(names);
        }
    }
    Err(OpenError::Empty)
}

fn is_time_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TIMESTAMP_NAMES.contains(&name.as_str()) || matches!(name.as_str(), "date" | "time")
}

fn named_time(names: &[String]) -> Option<TimeColumns> {
    let find = |wanted: &str| {
        names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(wanted))
    };
    let alone = |date| TimeColumns {
        date,
        time_of_day: None,
    };
    if let Some(column) = TIMESTAMP_NAMES.iter().find_map(|name| find(name)) {
        return Some(alone(column));
    }
    match (find("date"), find("time")) {
        (Some(date), time_of_day) => Some(TimeColumns { date, time_of_day }),
        (None, time) => time.map(alone),
    }
}

/// The first column whose first cell that is not empty is a timestamp; failing that, an unnamed first column.
fn sampled_time<R: Read>(lines: &mut Lines<R>, names: &[String]) -> Result<TimeColumns, OpenError> {
    let mut first: Vec<Option<bool>> = vec![None; names.len()];
    look_ahead(lines, COLUMN_SAMPLES, |fields, buffer| {
        for (column, is_time) in first.iter_mut().enumerate() {
            let cell = fields.get(buffer, column);
            if is_time.is_none() && !cell.is_empty() {
                let reads = |order| local_time::parse(cell, order).is_some();
                *is_time = Some(reads(DateOrder::Dmy) || reads(DateOrder::Mdy));
            }
        }
    })?;
    let unnamed = || names.first().filter(|name| name.is_empty()).map(|_| 0);
    let found = first
        .iter()
        .position(|is_time| *is_time == Some(true))
        .or_else(unnamed);
    found
        .map(|date| TimeColumns {
            date,
            time_of_day: None,
        })
        .ok_or(OpenError::NoTimeColumn)
}

/// An unnamed column is no channel (a data frame's index, a comma at the line's end), nor is a second time column.
fn channels(names: &[String], time: TimeColumns) -> Result<Vec<Channel>, OpenError> {
    let is_channel = |(column, name): &(usize, &String)| {
        *column != time.date
            && Some(*column) != time.time_of_day
            && !name.is_empty()
            && !is_time_name(name)
    };
    let mut channels: Vec<Channel> = names
        .iter()
        .enumerate()
        .filter(is_channel)
        .map(|(column, name)| Channel::parse(column, name))
        .collect();
    if channels.is_empty() {
        return Err(OpenError::NoChannels);
    }
    // "Power(kW)" and "Power(kWh)" would be one sensor by name: there the unit joins the name.
    let mut uses: HashMap<String, usize> = HashMap::new();
    for channel in &channels {
        *uses
            .entry(cu_bems::sensor_id("", None, channel))
            .or_default() += 1;
    }
    let mut ids = HashSet::new();
    for channel in &mut channels {
        if channel.zone.is_none()
            && uses
                .get(&cu_bems::sensor_id("", None, channel))
                .is_some_and(|&n| n > 1)
            && let Some(unit) = &channel.unit
        {
            channel.device = format!("{}.{unit}", channel.device);
        }
        if !ids.insert(cu_bems::sensor_id("", None, channel)) {
            return Err(OpenError::DuplicateHeader {
                header: channel.header.clone(),
            });
        }
    }
    Ok(channels)
}

fn detect_order<R: Read>(lines: &mut Lines<R>, time: TimeColumns) -> Result<DateOrder, OpenError> {
    // Files with the year first, nearly all, need no long look.
    let few = time_texts(lines, time, COLUMN_SAMPLES)?;
    if few
        .iter()
        .any(|text| local_time::parse(text, DateOrder::Ymd).is_some())
    {
        return Ok(DateOrder::Ymd);
    }
    let texts = time_texts(lines, time, ORDER_SAMPLES)?;
    Ok(local_time::detect(texts.iter().map(Vec::as_slice))?)
}

/// Date and time of the next rows as one text each.
fn time_texts<R: Read>(
    lines: &mut Lines<R>,
    time: TimeColumns,
    rows: usize,
) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut texts = Vec::new();
    look_ahead(lines, rows, |fields, buffer| {
        let mut text = fields.get(buffer, time.date).to_vec();
        if let Some(column) = time.time_of_day {
            text.push(b' ');
            text.extend_from_slice(fields.get(buffer, column));
        }
        texts.push(text);
    })?;
    Ok(texts)
}

/// Shows up to `rows` of the next rows without consuming them.
fn look_ahead<R: Read>(
    lines: &mut Lines<R>,
    rows: usize,
    mut show: impl FnMut(&Fields, &[u8]),
) -> Result<(), ReadError> {
    let mut fields = Fields::default();
    let (mut offset, mut shown) = (0, 0);
    while shown < rows && offset < ORDER_BYTES {
        let Some(span) = lines.record(offset, &mut fields)? else {
            break;
        };
        offset += span.bytes;
        if !fields.is_blank(lines.buffer()) {
            show(&fields, lines.buffer());
            shown += 1;
        }
    }
    Ok(())
}
