//! Which cells are missing: known outages, then scattered runs that bring each file to its published count exactly.
//!
//! Every decision is a function of file, column and minute, found without walking the minutes before it: a slice of
//! the data set is the same whether made alone or within the whole.

use crate::published::{Published, headers};
use crate::random::{below, hash};
use crate::spikes;
use std::ops::Range;

const DAY: u32 = 1_440;
/// Multisensors were removed from 15 September 2018 …
const REMOVED_2018: u32 = 76 * DAY;
/// … to 4 March 2019.
const REMOVED_2019: u32 = 63 * DAY;
/// 59,101 minutes of 2018Floor3 hold no value at all; set in early October, while the multisensors were out.
const FLOOR3_EMPTY: Range<u32> = 136_937..136_937 + 59_101;
/// Share of the scattered missing cells that falls on power channels, per cent: with the outages it makes the
/// published 5.9 % and 2.0 % of missing power readings.
const POWER_SHARE: [(u16, u64); 2] = [(2018, 57), (2019, 36)];

/// Missing minutes of one column of one file.
#[derive(Debug)]
pub struct ColumnGaps {
    /// Outages, in order, disjoint.
    outages: Vec<Range<u32>>,
    /// What lies between them, apart from minutes that must hold a value, with the free minutes before each.
    free: Vec<(Range<u32>, u64)>,
    free_total: u64,
    /// Missing minutes to scatter over the free ones, in as many runs as there are chunks.
    scattered: u64,
    chunks: u64,
    key: u64,
}

impl ColumnGaps {
    fn new(outages: Vec<Range<u32>>, kept: &[u32], rows: u32, key: u64) -> Self {
        let mut barriers = outages.clone();
        barriers.extend(kept.iter().map(|&minute| minute..minute + 1));
        barriers.sort_by_key(|barrier| barrier.start);
        let (mut free, mut free_total, mut from) = (Vec::new(), 0, 0);
        for barrier in barriers.into_iter().chain(std::iter::once(rows..rows)) {
            if from < barrier.start {
                free.push((from..barrier.start, free_total));
                free_total += u64::from(barrier.start - from);
            }
            from = from.max(barrier.end);
        }
        // A run every one to three days: each column has a length of its own, so that runs do not line up.
        let chunks =
            (free_total / (u64::from(DAY) + below(hash(key, u64::MAX), 2 * u64::from(DAY)))).max(1);
        Self {
            outages,
            free,
            free_total,
            scattered: 0,
            chunks,
            key,
        }
    }

    /// Whether the cell of `minute` is missing, and the minute up to which that holds.
    #[must_use]
    pub fn at(&self, minute: u32) -> (bool, u32) {
        let next = self.outages.partition_point(|outage| outage.end <= minute);
        if let Some(outage) = self
            .outages
            .get(next)
            .filter(|outage| outage.contains(&minute))
        {
            return (true, outage.end);
        }
        let next = self.free.partition_point(|(range, _)| range.end <= minute);
        let Some((range, before)) = self
            .free
            .get(next)
            .filter(|(range, _)| range.contains(&minute))
        else {
            // A minute that must hold a value.
            return (false, minute + 1);
        };
        // Position among the free minutes, and the run of its chunk.
        let position = before + u64::from(minute - range.start);
        let share = |total: u64, chunk: u64| total * chunk / self.chunks;
        let chunk = ((position + 1) * self.chunks - 1) / self.free_total;
        let (start, end) = (
            share(self.free_total, chunk),
            share(self.free_total, chunk + 1),
        );
        let length = share(self.scattered, chunk + 1) - share(self.scattered, chunk);
        let run = start
            + below(
                hash(self.key, chunk),
                (end - start).saturating_sub(length) + 1,
            );
        let (missing, until) = if position < run {
            (false, run)
        } else if position < run + length {
            (true, run + length)
        } else {
            (false, end)
        };
        (
            missing,
            range.end.min(range.start + (until - before) as u32),
        )
    }
}

/// Missing minutes of every data column of a file. `seed` moves the scattered runs, never their number.
#[must_use]
pub fn gaps(file: &Published, seed: u64) -> Vec<ColumnGaps> {
    let headers = headers(file.floor);
    let is_power: Vec<bool> = headers
        .iter()
        .map(|header| header.ends_with("(kW)"))
        .collect();
    let mut columns: Vec<ColumnGaps> = headers
        .iter()
        .zip(&is_power)
        .enumerate()
        .map(|(column, (header, &power))| {
            let kept: Vec<u32> = spikes::of(file.year, file.floor, header)
                .map(|spike| spike.minute)
                .collect();
            let place = u64::from(file.year) << 32 | u64::from(file.floor) << 16 | column as u64;
            ColumnGaps::new(
                outages(file, header, power),
                &kept,
                file.rows,
                hash(hash(seed, 1), place),
            )
        })
        .collect();

    let planned: u64 = columns
        .iter()
        .flat_map(|c| &c.outages)
        .map(|outage| outage.len() as u64)
        .sum();
    let missing = u64::from(file.rows) * headers.len() as u64 - file.readings;
    let rest = missing.saturating_sub(planned);
    let percent = POWER_SHARE
        .iter()
        .find(|(year, _)| *year == file.year)
        .map_or(0, |&(_, percent)| percent);
    let on_power = if is_power.iter().all(|&power| power) {
        rest
    } else {
        rest * percent / 100
    };
    for (power, share) in [(true, on_power), (false, rest - on_power)] {
        let of_kind = columns
            .iter_mut()
            .zip(&is_power)
            .filter(|(c, p)| **p == power && c.free_total > 0);
        scatter(of_kind.map(|(column, _)| column).collect(), share);
    }
    columns
}

/// Shares `total` missing cells out to the columns, unevenly, to the last one.
fn scatter(columns: Vec<&mut ColumnGaps>, total: u64) {
    let weights: Vec<u64> = columns
        .iter()
        .map(|column| 1 + below(hash(column.key, u64::MAX - 1), 3))
        .collect();
    let sum: u64 = weights.iter().sum();
    let mut before = 0;
    for (column, weight) in columns.into_iter().zip(weights) {
        column.scattered = total * (before + weight) / sum - total * before / sum;
        before += weight;
    }
}

fn outages(file: &Published, header: &str, power: bool) -> Vec<Range<u32>> {
    match (file.year, file.floor) {
        (2018, 3) if power => vec![FLOOR3_EMPTY],
        (2018, 2) if header.starts_with("z4_S1") => std::iter::once(0..file.rows).collect(),
        _ if power => Vec::new(),
        (2018, _) => std::iter::once(REMOVED_2018..file.rows).collect(),
        _ => std::iter::once(0..REMOVED_2019).collect(),
    }
}
