//! Random histories of two tables, compared with a plain GROUP BY after every refresh and, for the live
//! views, at moments when there was none.
//!
//! A failure prints its seed; `GEMBA_TEST_SEED=<seed>` repeats it alone.
//!
//! Partitions that go take their rows with them, and the rollups keep what they had counted. So beside
//! the partitioned table stands a copy of the rows *as the rollups have seen them*: at each refresh the
//! days that have their partition still are copied anew, the others stay as they are.

use super::model::Rollup;
use super::{assert_same, refresh, refreshed, table, value};
use anyhow::Result;
use gemba_tests::{Database, Random, extended};
use postgres::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const DAYS: u64 = 6;

const HOURLY: Rollup = Rollup {
    name: "s.part_hourly",
    parent: None,
    bucket: "1 hour",
    zone: "UTC",
    group_by: &["g"],
    start: "date_trunc('hour', at)",
    partition_by: None,
};

/// Over the partitioned table, each after the one that it is built from.
const OF_PARTITIONED: [Rollup; 9] = [
    HOURLY,
    Rollup {
        name: "s.part_quarters",
        parent: None,
        bucket: "15 minutes",
        zone: "UTC",
        group_by: &["g", "h"],
        start: "date_bin('15 minutes', at, '2000-01-01')",
        partition_by: None,
    },
    Rollup {
        name: "s.part_total",
        parent: None,
        bucket: "1 day",
        zone: "UTC",
        group_by: &[],
        start: "date_trunc('day', at, 'UTC')",
        partition_by: None,
    },
    Rollup {
        name: "s.part_days",
        parent: Some("s.part_hourly"),
        bucket: "1 day",
        zone: "Asia/Bangkok",
        group_by: &["g"],
        start: "date_trunc('day', at, 'Asia/Bangkok')",
        partition_by: None,
    },
    Rollup {
        name: "s.part_months",
        parent: Some("s.part_days"),
        bucket: "1 month",
        zone: "Asia/Bangkok",
        group_by: &[],
        start: "date_trunc('month', at, 'Asia/Bangkok')",
        partition_by: None,
    },
    // The same hours, and what is built from them, in partitions: as wide as the source's, wider, and across.
    Rollup {
        name: "s.cut_hourly",
        parent: None,
        bucket: "1 hour",
        zone: "UTC",
        group_by: &["g"],
        start: "date_trunc('hour', at)",
        partition_by: Some("1 day"),
    },
    Rollup {
        name: "s.cut_quarters",
        parent: None,
        bucket: "15 minutes",
        zone: "Asia/Bangkok",
        group_by: &["g", "h"],
        start: "date_bin('15 minutes', at, '2000-01-01')",
        partition_by: Some("6 hours"),
    },
    Rollup {
        name: "s.cut_days",
        parent: Some("s.cut_hourly"),
        bucket: "1 day",
        zone: "UTC",
        group_by: &["g"],
        start: "date_trunc('day', at, 'UTC')",
        partition_by: Some("7 days"),
    },
    Rollup {
        name: "s.cut_week",
        parent: Some("s.cut_days"),
        bucket: "7 days",
        zone: "UTC",
        group_by: &[],
        start: "date_trunc('week', at, 'UTC')",
        partition_by: None,
    },
];

const OF_PLAIN: [Rollup; 7] = [
    Rollup {
        name: "s.plain_hourly",
        parent: None,
        bucket: "1 hour",
        zone: "UTC",
        group_by: &["g"],
        start: "date_trunc('hour', at)",
        partition_by: None,
    },
    // The clocks change within the test's days.
    Rollup {
        name: "s.plain_days",
        parent: None,
        bucket: "1 day",
        zone: "Europe/Berlin",
        group_by: &[],
        start: "date_trunc('day', at, 'Europe/Berlin')",
        partition_by: None,
    },
    Rollup {
        name: "s.plain_months",
        parent: None,
        bucket: "1 month",
        zone: "UTC",
        group_by: &["g", "h"],
        start: "date_trunc('month', at, 'UTC')",
        partition_by: None,
    },
    Rollup {
        name: "s.plain_weeks",
        parent: Some("s.plain_hourly"),
        bucket: "7 days",
        zone: "UTC",
        group_by: &["g"],
        start: "date_trunc('week', at, 'UTC')",
        partition_by: None,
    },
    Rollup {
        name: "s.plain_cut",
        parent: None,
        bucket: "1 hour",
        zone: "UTC",
        group_by: &["g"],
        start: "date_trunc('hour', at)",
        partition_by: Some("1 month"),
    },
    Rollup {
        name: "s.plain_cut_days",
        parent: None,
        bucket: "1 day",
        zone: "Europe/Berlin",
        group_by: &[],
        start: "date_trunc('day', at, 'Europe/Berlin')",
        partition_by: Some("1 month"),
    },
    Rollup {
        name: "s.plain_cut_weeks",
        parent: Some("s.plain_cut"),
        bucket: "7 days",
        zone: "UTC",
        group_by: &["g"],
        start: "date_trunc('week', at, 'UTC')",
        partition_by: Some("14 days"),
    },
];

/// What one direct rollup knows of the partitions of its source.
#[derive(Default, Clone)]
struct Seen {
    /// Table of each day, as of its last refresh.
    leaves: BTreeMap<u64, String>,
    /// Days that lost their partition: kept as they were for ever.
    frozen: BTreeSet<u64>,
}

struct History {
    client: Client,
    random: Random,
    /// Everything that was done, for the report of a failure.
    log: String,
    /// Partition of each day that has one, by the server's number for it.
    leaves: BTreeMap<u64, String>,
    seen: BTreeMap<&'static str, Seen>,
    /// A partition with rows was attached, and no refresh has looked since: live views cannot know.
    blind: bool,
    next_id: u64,
    next_table: u64,
}

impl History {
    fn new(db: &Database, seed: u64) -> Result<Self> {
        let mut client = db.connect()?;
        // Instants are read and written in UTC.
        client.batch_execute(
            "SET TimeZone = 'UTC';
             CREATE SCHEMA s;
             CREATE TABLE s.plain (id bigint PRIMARY KEY, at timestamptz, g text, h int NOT NULL, i int, n numeric, f float8);
             -- A dropped column moves the others in leaves that are made later.
             CREATE TABLE s.part (gone int, id bigint, at timestamptz NOT NULL, g text, h int NOT NULL, i int, n numeric, f float8)
               PARTITION BY RANGE (at);
             SELECT gemba.manage_partitions('s.part', '1 day', premake => 0, unique_on => ARRAY['id', 'at']);
             SELECT gemba.ensure_partitions('s.part', '2024-03-28', '2024-03-30');
             ALTER TABLE s.part DROP COLUMN gone;
             SELECT gemba.ensure_partitions('s.part', '2024-03-30', '2024-04-03')",
        )?;
        for rollup in OF_PARTITIONED {
            client.batch_execute(&rollup.create("s.part"))?;
        }
        for rollup in OF_PLAIN {
            client.batch_execute(&rollup.create("s.plain"))?;
        }
        let mut seen = BTreeMap::new();
        for rollup in OF_PARTITIONED
            .iter()
            .filter(|rollup| rollup.parent.is_none())
        {
            client.batch_execute(&format!("CREATE TABLE {} (LIKE s.part)", seen_by(rollup)))?;
            seen.insert(rollup.name, Seen::default());
        }
        let mut history = Self {
            client,
            random: Random::new(seed),
            log: String::new(),
            leaves: BTreeMap::new(),
            seen,
            blind: false,
            next_id: 1,
            next_table: 1,
        };
        history.look_for_leaves();
        Ok(history)
    }

    /// A statement that meets a unique index fails as a whole; that too must leave no trace.
    fn run(&mut self, sql: &str) -> Result<()> {
        writeln!(self.log, "{sql};")?;
        match self.client.batch_execute(sql) {
            Err(error) if error.code().is_some_and(|code| code.code() == "23505") => {
                writeln!(self.log, "ROLLBACK; -- unique violation")?;
                Ok(self.client.batch_execute("ROLLBACK")?)
            }
            other => Ok(other?),
        }
    }

    /// Which partition each day has, asked of the server.
    fn look_for_leaves(&mut self) {
        self.leaves = table(
            &mut self.client,
            "SELECT (from_time::date - date '2024-03-28') || ' ' || leaf FROM gemba._leaves('s.part'::regclass, 'UTC')
              WHERE from_time BETWEEN '2024-03-28' AND '2024-04-02'",
        )
        .iter()
        .filter_map(|line| {
            let (day, leaf) = line.split_once(' ')?;
            Some((day.parse().ok()?, leaf.to_owned()))
        })
        .collect();
    }

    /// A time in one of the days that have a partition; whole seconds of few minutes, so that times meet.
    fn time(&mut self) -> String {
        let days: Vec<u64> = self.leaves.keys().copied().collect();
        let day = *self.random.pick(&days);
        self.time_of(day)
    }

    fn time_of(&mut self, day: u64) -> String {
        let minute = self.random.below(24) * 60 + self.random.below(6) * 10;
        let second = self.random.below(2) * 59;
        format!(
            "timestamptz '2024-03-28' + interval '{day} days {minute} minutes {second} seconds'"
        )
    }

    /// `id, at, g, h, i, n, f`, the numbers exact in binary so that sums do not depend on the order.
    fn row(&mut self, at: &str) -> String {
        let id = self.next_id;
        self.next_id += 1;
        let g = *self.random.pick(&["NULL", "'a'", "'b'", "''"]);
        let h = self.random.below(2);
        let mut number = |quarter: bool| {
            if self.random.chance(15) {
                return "NULL".to_owned();
            }
            let n = self.random.below(2_000) as i64 - 1_000;
            if quarter {
                format!("{}", n as f64 / 4.0)
            } else {
                n.to_string()
            }
        };
        let (i, n, f) = (number(false), number(true), number(true));
        format!("{id}, {at}, {g}, {h}, {i}, {n}, {f}")
    }

    fn rows(&mut self, plain: bool, count: u64) -> String {
        let rows: Vec<_> = (0..count)
            .map(|_| {
                let at = if plain && self.random.chance(3) {
                    "NULL".to_owned()
                } else {
                    self.time()
                };
                format!("({})", self.row(&at))
            })
            .collect();
        rows.join(", ")
    }

    /// One statement that changes rows of one of the tables.
    fn change(&mut self) -> String {
        let plain = self.random.chance(40);
        let name = if plain { "s.plain" } else { "s.part" };
        let columns = "(id, at, g, h, i, n, f)";
        let some = format!(
            "id % {} = {}",
            self.random.below(7) + 3,
            self.random.below(3)
        );
        match self.random.below(12) {
            0..=3 => {
                let count = self.random.below(5) + 1;
                format!(
                    "INSERT INTO {name} {columns} VALUES {}",
                    self.rows(plain, count)
                )
            }
            4 => {
                // Rows in order of time, as they come when nothing is late.
                let at = self.time();
                format!(
                    "INSERT INTO {name} {columns} SELECT {0} + k, {at} + k * interval '1 second', 'a', 0, k, k / 4.0, k
                       FROM generate_series(0, 9) AS k WHERE date_trunc('day', {at} + k * interval '1 second') = date_trunc('day', {at})",
                    { self.next_id += 10; self.next_id - 10 }
                )
            }
            5 => format!("UPDATE {name} SET i = i + 1, n = -n, f = f * 2 WHERE {some}"),
            6 => format!(
                "UPDATE {name} SET g = CASE WHEN g IS NULL THEN 'a' WHEN g = 'a' THEN NULL ELSE 'a' END WHERE {some}"
            ),
            7 => format!(
                "UPDATE {name} SET at = {}, h = 1 - h WHERE {some}",
                self.time()
            ),
            8 => format!("DELETE FROM {name} WHERE {some}"),
            9 => {
                let again = self.random.below(self.next_id) + 1;
                let at = self.time();
                let row =
                    self.row(&at)
                        .replacen(&(self.next_id - 1).to_string(), &again.to_string(), 1);
                format!("INSERT INTO {name} {columns} VALUES ({row}) ON CONFLICT DO NOTHING")
            }
            10 if plain => {
                let again = self.random.below(self.next_id) + 1;
                let at = self.time();
                let row =
                    self.row(&at)
                        .replacen(&(self.next_id - 1).to_string(), &again.to_string(), 1);
                format!(
                    "INSERT INTO {name} {columns} VALUES ({row}) ON CONFLICT (id) DO UPDATE SET at = excluded.at, n = excluded.n"
                )
            }
            10 => {
                let leaves: Vec<_> = self.leaves.values().cloned().collect();
                let leaf = self.random.pick(&leaves).clone();
                format!("TRUNCATE {}", self.table_name(&leaf))
            }
            _ if self.random.chance(25) => format!("TRUNCATE {name}"),
            _ => format!("DELETE FROM {name} WHERE {some}"),
        }
    }

    fn table_name(&mut self, oid: &str) -> String {
        value(&mut self.client, &format!("SELECT {oid}::regclass"))
    }

    fn copy(&mut self) -> Result<()> {
        let plain = self.random.chance(40);
        let name = if plain { "s.plain" } else { "s.part" };
        let count = self.random.below(60) + 20;
        let values = self.rows(plain, count);
        // The server computes the literals once, so that what is copied is text like any client's.
        let lines = table(
            &mut self.client,
            &format!("SELECT concat_ws(E'\\t', id, coalesce(at::text, '\\N'), coalesce(g, '\\N'), h, coalesce(i::text, '\\N'),
                                       coalesce(n::text, '\\N'), coalesce(f::text, '\\N'))
                        FROM (VALUES {values}) AS v (id, at, g, h, i, n, f)"),
        );
        writeln!(
            self.log,
            "COPY {name} (id, at, g, h, i, n, f) FROM stdin;\n{}\n\\.",
            lines.join("\n")
        )?;
        let mut writer = self
            .client
            .copy_in(&format!("COPY {name} (id, at, g, h, i, n, f) FROM stdin"))?;
        writer.write_all(format!("{}\n", lines.join("\n")).as_bytes())?;
        writer.finish()?;
        Ok(())
    }

    /// A partition goes, with its rows.
    fn lose_partition(&mut self) -> Result<()> {
        // One day stays, so that there is always somewhere to write.
        let days: Vec<u64> = self
            .leaves
            .keys()
            .copied()
            .filter(|&day| day != 2)
            .collect();
        if days.is_empty() {
            return Ok(());
        }
        let leaf = self.leaves[self.random.pick(&days)].clone();
        let name = self.table_name(&leaf);
        match self.random.below(3) {
            0 => self.run(&format!("DROP TABLE {name}"))?,
            1 => self.run(&format!("ALTER TABLE s.part DETACH PARTITION {name}"))?,
            _ => self.run(&format!("BEGIN; DROP TABLE {name}; ROLLBACK"))?,
        }
        self.look_for_leaves();
        Ok(())
    }

    /// A day that has no partition gets one: empty from the manager, or one with rows from a person.
    fn gain_partition(&mut self) -> Result<()> {
        let days: Vec<u64> = (0..DAYS)
            .filter(|day| !self.leaves.contains_key(day))
            .collect();
        if days.is_empty() {
            return Ok(());
        }
        let day = *self.random.pick(&days);
        let bound = |day| format!("timestamptz '2024-03-28' + interval '{day} days'");
        if self.random.chance(50) {
            self.run(&format!(
                "SELECT gemba.ensure_partitions('s.part', {}, {})",
                bound(day),
                bound(day + 1)
            ))?;
        } else {
            let name = format!("s.own{}", self.next_table);
            self.next_table += 1;
            let rows: Vec<_> = (0..self.random.below(20))
                .map(|_| {
                    let at = self.time_of(day);
                    format!("({})", self.row(&at))
                })
                .collect();
            self.run(&format!("CREATE TABLE {name} (LIKE s.part)"))?;
            if !rows.is_empty() {
                self.run(&format!(
                    "INSERT INTO {name} (id, at, g, h, i, n, f) VALUES {}",
                    rows.join(", ")
                ))?;
            }
            let literal = |client: &mut Client, day| {
                value(client, &format!("SELECT quote_literal({})", bound(day)))
            };
            let (from, to) = (
                literal(&mut self.client, day),
                literal(&mut self.client, day + 1),
            );
            self.run(&format!(
                "ALTER TABLE s.part ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})"
            ))?;
            self.blind = true;
        }
        self.look_for_leaves();
        Ok(())
    }

    /// The days that this rollup would not recompute now.
    fn frozen_now(&self, rollup: &str) -> BTreeSet<u64> {
        let seen = &self.seen[rollup];
        let vanished = seen
            .leaves
            .iter()
            .filter(|(_, leaf)| !self.leaves.values().any(|now| now == *leaf));
        seen.frozen
            .iter()
            .copied()
            .chain(vanished.map(|(&day, _)| day))
            .collect()
    }

    /// The model's side of a refresh.
    fn remember(&mut self, rollup: &Rollup) -> Result<()> {
        let frozen = self.frozen_now(rollup.name);
        let days = sql_list(&frozen);
        let copy = seen_by(rollup);
        self.client.batch_execute(&format!(
            "DELETE FROM {copy} WHERE at::date - date '2024-03-28' <> ALL ({days});
             INSERT INTO {copy} SELECT * FROM s.part WHERE at::date - date '2024-03-28' <> ALL ({days})"
        ))?;
        let leaves = self.leaves.clone();
        self.seen.insert(rollup.name, Seen { leaves, frozen });
        Ok(())
    }

    fn refresh_all(&mut self) -> Result<()> {
        writeln!(self.log, "SELECT * FROM gemba.refresh_rollups();")?;
        refresh(&mut self.client)?;
        for rollup in OF_PARTITIONED
            .iter()
            .filter(|rollup| rollup.parent.is_none())
        {
            self.remember(rollup)?;
        }
        self.blind = false;
        for rollup in OF_PARTITIONED {
            self.check(
                &rollup,
                rollup.name,
                &seen_by(root(&rollup)),
                "after a refresh of all",
            );
        }
        for rollup in OF_PLAIN {
            self.check(
                &rollup,
                rollup.name,
                "(SELECT * FROM s.plain WHERE at IS NOT NULL)",
                "after a refresh of all",
            );
        }
        Ok(())
    }

    fn refresh_one(&mut self) -> Result<()> {
        if self.random.chance(50) {
            let rollup = *self.random.pick(&OF_PLAIN);
            self.refresh_named(&rollup)?;
            self.check(
                &rollup,
                rollup.name,
                "(SELECT * FROM s.plain WHERE at IS NOT NULL)",
                "after its refresh",
            );
        } else {
            let rollup = *self.random.pick(&OF_PARTITIONED);
            self.refresh_named(&rollup)?;
            self.remember(root(&rollup))?;
            self.check(
                &rollup,
                rollup.name,
                &seen_by(root(&rollup)),
                "after its refresh",
            );
        }
        Ok(())
    }

    fn refresh_named(&mut self, rollup: &Rollup) -> Result<()> {
        writeln!(
            self.log,
            "SELECT * FROM gemba.refresh_rollup('{}');",
            rollup.name
        )?;
        refreshed(
            &mut self.client,
            &format!("gemba.refresh_rollup('{}')", rollup.name),
        )?;
        Ok(())
    }

    /// The live views, with no refresh before.
    fn check_live(&mut self) {
        for rollup in OF_PLAIN {
            let live = format!("{}_live", rollup.name);
            self.check(
                &rollup,
                &live,
                "(SELECT * FROM s.plain WHERE at IS NOT NULL)",
                "live",
            );
        }
        if self.blind {
            return;
        }
        for rollup in OF_PARTITIONED {
            let root = root(&rollup);
            let days = sql_list(&self.frozen_now(root.name));
            let source = format!(
                "(SELECT * FROM {} WHERE at::date - date '2024-03-28' = ANY ({days})
                  UNION ALL SELECT * FROM s.part WHERE at::date - date '2024-03-28' <> ALL ({days}))",
                seen_by(root)
            );
            self.check(&rollup, &format!("{}_live", rollup.name), &source, "live");
        }
    }

    #[track_caller]
    fn check(&mut self, rollup: &Rollup, relation: &str, source: &str, when: &str) {
        let (held, expected) = (rollup.held(relation), rollup.expected(source));
        assert_same(
            &mut self.client,
            &held,
            &expected,
            &format!("{relation}, {when}"),
        );
    }

    fn step(&mut self) -> Result<()> {
        match self.random.below(100) {
            0..=39 => {
                let sql = self.change();
                self.run(&sql)
            }
            40..=46 => self.copy(),
            47..=52 => {
                let sql = format!("BEGIN; {}; {}; COMMIT", self.change(), self.change());
                self.run(&sql)
            }
            53..=58 => {
                let sql = format!(
                    "BEGIN; {}; SAVEPOINT a; {}; SAVEPOINT b; {}; ROLLBACK TO a; {}; COMMIT",
                    self.change(),
                    self.change(),
                    self.change(),
                    self.change()
                );
                self.run(&sql)
            }
            59..=63 => {
                let sql = format!("BEGIN; {}; {}; ROLLBACK", self.change(), self.change());
                self.run(&sql)
            }
            64..=69 => self.lose_partition(),
            70..=75 => self.gain_partition(),
            76..=87 => self.refresh_one(),
            88..=93 => self.refresh_all(),
            _ => {
                self.check_live();
                Ok(())
            }
        }
    }
}

/// The copy of the rows that a direct rollup has seen.
fn seen_by(rollup: &Rollup) -> String {
    format!("{}_seen", rollup.name)
}

/// The direct rollup at the bottom of a chain.
fn root(rollup: &Rollup) -> &'static Rollup {
    let mut name = rollup.name;
    loop {
        let found = OF_PARTITIONED.iter().find(|other| other.name == name);
        match found.map(|found| (found, found.parent)) {
            Some((_, Some(parent))) => name = parent,
            Some((found, None)) => return found,
            None => return &OF_PARTITIONED[0],
        }
    }
}

fn sql_list(days: &BTreeSet<u64>) -> String {
    let days: Vec<_> = days.iter().map(u64::to_string).collect();
    format!("ARRAY[{}]::int[]", days.join(", "))
}

fn history(seed: u64, steps: usize) -> Result<()> {
    let db = extended("property")?;
    let mut history = History::new(&db, seed)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<()> {
        for _ in 0..steps {
            history.step()?;
        }
        history.check_live();
        history.refresh_all()
    }));
    if !matches!(outcome, Ok(Ok(()))) {
        eprintln!("the history of seed {seed}:\n{}", history.log);
        eprintln!("GEMBA_TEST_SEED={seed} repeats it");
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn histories(seeds: std::ops::Range<u64>, steps: usize) -> Result<()> {
    if let Ok(seed) = std::env::var("GEMBA_TEST_SEED") {
        return history(seed.parse()?, steps);
    }
    for seed in seeds {
        history(seed, steps)?;
    }
    Ok(())
}

#[test]
fn random_histories_are_exact() -> Result<()> {
    histories(1..6, 60)
}

#[test]
#[ignore = "long: many more histories, and longer ones"]
fn many_random_histories_are_exact() -> Result<()> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_nanos() as u64;
    // New ones each time; the seed of a failure is printed.
    histories(now..now + 40, 60)?;
    histories(now + 40..now + 50, 400)
}
