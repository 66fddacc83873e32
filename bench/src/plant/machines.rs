//! What machines report, the same in every run, and what a client that writes to tables of its own has to
//! compute from it: whole numbers only, so that it owes nothing to the code that it is compared with.

use chrono::{DateTime, NaiveDate, TimeDelta, Timelike, Utc};
use gemba_tests::Random;
use std::fmt::Write as _;

const SHIFTS: i64 = 3;
const SHIFT_SECONDS: i64 = 8 * 3_600;
const DAY_SECONDS: i64 = 24 * 3_600;
/// The day shift begins at 06:00, the others follow.
const FIRST_SHIFT: i64 = 6 * 3_600;

/// Planned for each machine and day.
const PLANNED_MINUTES: i64 = 480;

const QUARTER: i64 = 15 * 60;

/// Units in a shift; as in `assets.gemba.sql`.
fn shift_target(machine: u32, shift: i64) -> i64 {
    300 + (i64::from(machine) * 7 + shift * 13) % 200
}

fn ideal_rate(machine: u32) -> i64 {
    60 + i64::from(machine % 40)
}

fn hourly_rate(machine: u32) -> i64 {
    100 + i64::from(machine % 5) * 10
}

fn cost_per_unit(machine: u32) -> i64 {
    10 + i64::from(machine % 3)
}

fn half_up(numerator: i64, denominator: i64) -> i64 {
    (2 * numerator + denominator) / (2 * denominator)
}

/// A number with two decimals, from its hundredths.
fn decimal(hundredths: i64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// One look at every machine.
#[derive(Debug)]
pub struct Poll {
    pub at: DateTime<Utc>,
    pub snapshots: Vec<Snapshot>,
}

#[derive(Debug)]
pub struct Snapshot {
    pub machine: u32,
    pub output: i64,
    pub target: i64,
    pub status: &'static str,
}

impl Snapshot {
    fn new(machine: u32, at: DateTime<Utc>, random: &mut Random) -> Self {
        let since =
            (i64::from(at.num_seconds_from_midnight()) - FIRST_SHIFT).rem_euclid(DAY_SECONDS);
        let due = shift_target(machine, since / SHIFT_SECONDS) * (since % SHIFT_SECONDS);
        let target = half_up(due, SHIFT_SECONDS);
        let output = target * i64::try_from(88 + random.below(25)).unwrap_or(100) / 100;
        Self {
            machine,
            output,
            target,
            status: status(output, target),
        }
    }
}

/// Within 5 % it is on target.
fn status(output: i64, target: i64) -> &'static str {
    if target == 0 || (output - target).abs() * 100 <= target * 5 {
        "on_target"
    } else if output < target {
        "behind"
    } else {
        "ahead"
    }
}

/// The quarter of an hour that `now` lies in, and those before it; the oldest first.
pub fn polls(now: DateTime<Utc>, number: u32, machines: u32) -> Vec<Poll> {
    let last = now.timestamp() - now.timestamp().rem_euclid(QUARTER);
    let mut random = Random::new(2);
    (0..i64::from(number))
        .rev()
        .filter_map(|back| DateTime::from_timestamp(last - back * QUARTER, 0))
        .map(|at| Poll {
            at,
            snapshots: (0..machines)
                .map(|machine| Snapshot::new(machine, at, &mut random))
                .collect(),
        })
        .collect()
}

impl Poll {
    /// What `plant.ingest_live` takes: the source system's name, and no target.
    pub fn json(&self) -> String {
        let at = self.at.format("%Y-%m-%dT%H:%M:%SZ");
        let rows: Vec<_> = self
            .snapshots
            .iter()
            .map(|s| {
                format!(
                    r#"{{"source_id":"M{}","snapshot_timestamp":"{at}","current_output":{}}}"#,
                    s.machine, s.output
                )
            })
            .collect();
        format!("[{}]", rows.join(","))
    }

    /// One statement for the seed's table, by a client that knows the ids of the machines.
    pub fn upsert(&self, ids: &[String]) -> String {
        let at = self.at.format("%Y-%m-%d %H:%M:%S+00");
        let rows: Vec<_> = self
            .snapshots
            .iter()
            .map(|s| {
                let id = &ids[s.machine as usize];
                format!("('{id}','{at}',{},{},'{}')", s.output, s.target, s.status)
            })
            .collect();
        format!(
            "INSERT INTO live_snapshots (asset_id, snapshot_timestamp, current_output, target_output, status)
             VALUES {}
             ON CONFLICT (asset_id, snapshot_timestamp) DO UPDATE
               SET current_output = excluded.current_output, target_output = excluded.target_output,
                   status = excluded.status",
            rows.join(",")
        )
    }
}

/// A machine's day.
#[derive(Debug)]
pub struct Day {
    machine: u32,
    date: NaiveDate,
    /// Hundredths of minutes.
    downtime: i64,
    total: i64,
    good: i64,
}

impl Day {
    fn new(machine: u32, date: NaiveDate, random: &mut Random) -> Self {
        let mut below = |end| i64::try_from(random.below(end)).unwrap_or(0);
        let downtime = below(12_000);
        let run = PLANNED_MINUTES * 100 - downtime;
        // Between 60 and 110 % of the ideal speed.
        let total = run * ideal_rate(machine) * (60 + below(51)) / (100 * 60 * 100);
        let good = total - total * below(8) / 100;
        Self {
            machine,
            date,
            downtime,
            total,
            good,
        }
    }

    /// OEE in hundredths of per cent.
    fn oee(&self) -> i64 {
        let rate = ideal_rate(self.machine);
        let run = PLANNED_MINUTES * 100 - self.downtime;
        if self.total * 6_000 <= run * rate {
            half_up(10_000 * self.good * 3_600, rate * PLANNED_MINUTES * 60)
        } else {
            // Faster than ideal counts as ideal.
            half_up(10_000 * run * self.good, self.total * PLANNED_MINUTES * 100)
        }
    }

    /// Money in hundredths.
    fn loss(&self) -> i64 {
        half_up(self.downtime * hourly_rate(self.machine), 60)
            + (self.total - self.good) * cost_per_unit(self.machine) * 100
    }
}

/// So many days up to `last`, each with every machine; the oldest first.
pub fn days(last: NaiveDate, number: u32, machines: u32) -> Vec<Vec<Day>> {
    let mut random = Random::new(3);
    (0..i64::from(number))
        .rev()
        .map(|back| last - TimeDelta::days(back))
        .map(|date| {
            (0..machines)
                .map(|machine| Day::new(machine, date, &mut random))
                .collect()
        })
        .collect()
}

/// What `plant.ingest_daily` takes.
pub fn days_json<'a>(days: impl IntoIterator<Item = &'a Day>) -> String {
    let mut text = "[".to_owned();
    for day in days {
        if text.len() > 1 {
            text.push(',');
        }
        write!(
            text,
            r#"{{"source_id":"M{}","report_date":"{}","downtime_minutes":{},"total_count":{},"good_count":{}}}"#,
            day.machine,
            day.date,
            decimal(day.downtime),
            day.total,
            day.good
        )
        .ok();
    }
    text.push(']');
    text
}

/// One statement for the seed's table, with everything computed but the text.
pub fn days_upsert(days: &[Day], ids: &[String]) -> String {
    let rows: Vec<_> = days
        .iter()
        .map(|day| {
            let target: i64 = (0..SHIFTS)
                .map(|shift| shift_target(day.machine, shift))
                .sum();
            format!(
                "('{}','{}',{},{},{target},{},{},{})",
                ids[day.machine as usize],
                day.date,
                decimal(day.oee()),
                day.total,
                half_up(day.downtime, 100),
                day.total - day.good,
                decimal(day.loss())
            )
        })
        .collect();
    format!(
        "INSERT INTO daily_summaries (asset_id, report_date, oee_percentage, actual_output, target_output,
                                      downtime_minutes, waste_count, financial_loss_dollars)
         VALUES {}
         ON CONFLICT (asset_id, report_date) DO UPDATE
           SET oee_percentage = excluded.oee_percentage, actual_output = excluded.actual_output,
               target_output = excluded.target_output, downtime_minutes = excluded.downtime_minutes,
               waste_count = excluded.waste_count, financial_loss_dollars = excluded.financial_loss_dollars,
               updated_at = now()",
        rows.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_follow_the_shifts() {
        let mut random = Random::new(1);
        let mut at = |text: &str| {
            text.parse::<DateTime<Utc>>()
                .map(|at| Snapshot::new(3, at, &mut random).target)
                .ok()
        };
        // 321, 334 and 347 units in the three shifts.
        assert_eq!(at("2025-03-04T06:00:00Z"), Some(0));
        assert_eq!(at("2025-03-04T10:00:00Z"), Some(161));
        assert_eq!(at("2025-03-04T13:45:00Z"), Some(311));
        assert_eq!(at("2025-03-04T18:00:00Z"), Some(167));
        assert_eq!(at("2025-03-05T02:00:00Z"), Some(174));
    }

    #[test]
    fn close_is_on_target() {
        assert_eq!(status(95, 100), "on_target");
        assert_eq!(status(94, 100), "behind");
        assert_eq!(status(106, 100), "ahead");
        assert_eq!(status(7, 0), "on_target");
    }

    #[test]
    fn a_day_is_computed() {
        // Machine 0 makes 60 an hour at best, costs 100 an hour and 10 a piece.
        let day = |downtime, total, good| Day {
            machine: 0,
            date: NaiveDate::MIN,
            downtime,
            total,
            good,
        };
        assert_eq!(day(4_800, 400, 380).oee(), 7_917);
        assert_eq!(day(4_800, 400, 380).loss(), 8_000 + 20_000);
        // 432 minutes of run time, 480 items: all of it counts, shared with the bad ones.
        assert_eq!(day(4_800, 480, 240).oee(), 4_500);
    }
}
