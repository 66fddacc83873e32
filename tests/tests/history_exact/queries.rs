//! Random questions about a random table, and changes of it.

use super::data;
use super::shape::{Column, Shape};
use super::values::{self, Type};
use gemba_tests::Random;

/// Asks about one table; knows values that are in it.
pub struct Asker<'s> {
    pub shape: &'s Shape,
    /// Microseconds.
    pub length: u64,
    /// For each column, some values that it has.
    pub known: Vec<Vec<String>>,
}

impl Asker<'_> {
    fn moment(&self, random: &mut Random) -> String {
        let micros = data::offset(self.shape, random.below(60), 60, self.length, random);
        data::moment(self.shape, &micros.to_string())
    }

    fn column(&self, random: &mut Random) -> Option<(usize, &Column)> {
        let number = random.below(self.shape.columns.len() as u64) as usize;
        Some((number, self.shape.columns.get(number)?))
    }

    fn value(&self, number: usize, random: &mut Random) -> String {
        let of = self.shape.columns[number].of;
        let value = match self.known.get(number) {
            Some(known) if !known.is_empty() && random.chance(70) => random.pick(known).clone(),
            _ if random.chance(50) => values::any(of, random),
            _ => values::ordinary(of, random),
        };
        of.literal(&value)
    }

    fn of_time(&self, random: &mut Random) -> String {
        let (a, b) = (self.moment(random), self.moment(random));
        match random.below(9) {
            0 => format!("at = {a}"),
            1 => format!("at {} {a}", random.pick(&["<", "<=", ">", ">=", "<>"])),
            2 => format!("{a} {} at", random.pick(&["<", "<=", ">", ">="])),
            3 => format!("at BETWEEN {a} AND {b}"),
            4 => format!("at >= least({a}, {b}) AND at < greatest({a}, {b})"),
            5 => format!("at IN ({a}, {b}, {a})"),
            6 => format!("at > ({a})::date"),
            7 => format!("at <= ({a})::timestamp"),
            _ => format!("at >= (SELECT {a})"),
        }
    }

    fn of_column(&self, number: usize, column: &Column, random: &mut Random) -> String {
        let name = &column.name;
        let (a, b, c) = (
            self.value(number, random),
            self.value(number, random),
            self.value(number, random),
        );
        match random.below(20) {
            0..=3 => format!("{name} = {a}"),
            4 | 5 => format!("{name} {} {a}", random.pick(&["<", "<=", ">", ">=", "<>"])),
            6 => format!(
                "{a} {} {name}",
                random.pick(&["<", "<=", ">", ">=", "=", "<>"])
            ),
            7 => format!("{name} BETWEEN {a} AND {b}"),
            8 => format!("{name} BETWEEN SYMMETRIC {a} AND {b}"),
            9 => format!("{name} IN ({a}, {b}, {c})"),
            10 => format!("{name} IN ({a}, NULL)"),
            11 => format!("{name} NOT IN ({a}, {b})"),
            12 => format!("{name} IS NULL"),
            13 => format!("{name} IS NOT NULL"),
            14 => format!("{name} IS {}DISTINCT FROM {a}", random.pick(&["", "NOT "])),
            15 => format!("{name} = ANY (ARRAY[{a}, {b}])"),
            16 => format!(
                "{name} {} ALL (ARRAY[{a}, {b}])",
                random.pick(&["<", ">", "<>"])
            ),
            17 => format!("{name} = (SELECT {a})"),
            18 => self
                .across(column, random)
                .unwrap_or_else(|| format!("{name} = {b}")),
            _ => match column.of {
                Type::Bool => format!("{}{name}", random.pick(&["", "NOT "])),
                of if of.is_text() => {
                    let pattern = random.pick(&[
                        "pump%",
                        "%1%",
                        "a%",
                        "%",
                        "_",
                        "%\\%",
                        "valve of%2",
                        "",
                        "日%",
                    ]);
                    format!("{name} {}LIKE '{pattern}'", random.pick(&["", "", "NOT "]))
                }
                Type::Float4 | Type::Float8 => format!("{name} = 'NaN'"),
                _ => format!("{name} >= {a}"),
            },
        }
    }

    /// A comparison with something of another type, or with another column.
    fn across(&self, column: &Column, random: &mut Random) -> Option<String> {
        let name = &column.name;
        let operator = random.pick(&["=", "<", "<=", ">", ">=", "<>"]);
        let same: Vec<_> = self
            .shape
            .columns
            .iter()
            .filter(|other| other.of == column.of && other.name != *name)
            .collect();
        if !same.is_empty() && random.chance(50) {
            return Some(format!("{name} {operator} {}", random.pick(&same).name));
        }
        let number = random.below(1_000) as i64 - 200;
        let other: &&str = match column.of {
            Type::Int2 | Type::Int4 | Type::Int8 => random.pick(&[
                "::bigint",
                "::smallint",
                "::numeric",
                "::float8",
                ".5::numeric",
                ".5::float8",
                "000000000000::bigint",
            ]),
            Type::Numeric | Type::Fixed => random.pick(&["::int", "::bigint", ".50000::numeric"]),
            Type::Float4 | Type::Float8 => {
                random.pick(&["::float8", "::float4", ".1::float8", ".1::float4", "::int"])
            }
            Type::Instant | Type::Local | Type::Date => {
                let other = *random.pick(&["timestamptz", "timestamp", "date"]);
                let day = *random.pick(&["2024-03-03", "2000-01-01", "1999-12-31", "infinity"]);
                return Some(format!("{name} {operator} {other} '{day}'"));
            }
            _ => return None,
        };
        Some(format!(
            "{name} {operator} '{number}{}",
            other.replacen("::", "'::", 1)
        ))
    }

    pub fn condition(&self, random: &mut Random) -> String {
        let one = match self.column(random) {
            Some((number, column)) if random.chance(75) => self.of_column(number, column, random),
            _ => self.of_time(random),
        };
        match random.below(10) {
            0 | 1 => format!("({one} AND {})", self.condition(random)),
            2 => format!("({one} OR {})", self.condition(random)),
            3 => format!("NOT ({one})"),
            4 => format!("({one}) IS NOT TRUE"),
            _ => one,
        }
    }

    /// One key and a time, as a look-up has it.
    fn series(&self, random: &mut Random) -> String {
        let mut parts: Vec<String> = (0..self.shape.keys)
            .map(|number| {
                let name = &self.shape.columns[number].name;
                match self.value(number, random) {
                    _ if random.one_in(6) => format!("{name} IS NULL"),
                    value => format!("{name} = {value}"),
                }
            })
            .collect();
        if random.chance(40) {
            parts.push(self.of_time(random));
        }
        if parts.is_empty() {
            "true".to_owned()
        } else {
            parts.join(" AND ")
        }
    }

    fn aggregate(&self, random: &mut Random) -> String {
        let filter = if random.one_in(8) {
            format!(" FILTER (WHERE {})", self.condition(random))
        } else {
            String::new()
        };
        let Some((_, column)) = self.column(random) else {
            return random.pick(&["count(*)", "min(at)", "max(at)"]).to_string();
        };
        let name = &column.name;
        match random.below(8) {
            0 => format!("count(*){filter}"),
            1 => format!("count({name}){filter}"),
            2 => random
                .pick(&["min(at)", "max(at)", "count(at)"])
                .to_string(),
            3 | 4 if column.of.has_extremes() => column
                .of
                .plain(&format!("{}({name}){filter}", random.pick(&["min", "max"]))),
            _ if column.of.has_sums() => format!(
                "md5({}({name}){filter}::text)",
                random.pick(&["sum", "avg"])
            ),
            _ => format!("count({name})"),
        }
    }

    fn group(&self, random: &mut Random) -> (String, String) {
        if random.chance(30) || self.shape.columns.is_empty() {
            let unit = random.pick(&["hour", "day", "week", "month"]);
            let bucket = match self.shape.time {
                Type::Instant => match random.below(4) {
                    0 => format!("date_trunc('{unit}', at, '{}')", self.shape.calendar.zone),
                    1 => "date_bin('90 minutes', at, timestamptz '2000-01-01 00:10+00')".to_owned(),
                    2 => format!(
                        "gemba.bucket_start('1 {unit}', at, '{}')",
                        self.shape.calendar.zone
                    ),
                    _ => format!("date_trunc('{unit}', at)"),
                },
                Type::Local if random.chance(30) => {
                    "date_bin('7 hours', at, timestamp '2000-01-01')".to_owned()
                }
                _ => format!("date_trunc('{unit}', at)"),
            };
            return (bucket.clone(), bucket);
        }
        let of_keys = self.shape.keys > 0 && random.chance(60);
        let number = random.below(if of_keys {
            self.shape.keys
        } else {
            self.shape.columns.len()
        } as u64) as usize;
        let column = &self.shape.columns[number];
        (column.of.plain(&column.name), column.name.clone())
    }

    /// `{t}` stands for the table. Rows come in any order.
    pub fn query(&self, random: &mut Random) -> String {
        let bits = self.shape.bits();
        match random.below(12) {
            0..=2 => format!("SELECT {bits} FROM {{t}} WHERE {}", self.condition(random)),
            3 => match self.column(random) {
                // Few columns: others are not even decoded.
                Some((_, column)) => {
                    format!(
                        "SELECT {} FROM {{t}} WHERE {}",
                        column.of.bits(&column.name),
                        self.condition(random)
                    )
                }
                None => format!("SELECT FROM {{t}} WHERE {}", self.condition(random)),
            },
            4 => {
                let by = self
                    .column(random)
                    .map_or("at", |(_, column)| column.name.as_str());
                let order = random.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
                // Ordered by everything: which of two equal rows comes first is not said.
                let all: Vec<String> = self
                    .shape
                    .columns
                    .iter()
                    .map(|column| column.of.bits(&column.name))
                    .collect();
                let all = all.iter().fold(String::new(), |list, one| {
                    format!("{list}, {one} COLLATE \"C\"")
                });
                format!(
                    "SELECT {bits} FROM {{t}} WHERE {} ORDER BY {by}{order}, {{t}}.at{all} LIMIT {} OFFSET {}",
                    self.condition(random),
                    random.below(30),
                    random.below(3) * 5
                )
            }
            5 => {
                let order = random.pick(&["", " DESC"]);
                format!(
                    "SELECT array_agg(x.at)::text FROM (SELECT at FROM {{t}} WHERE {} ORDER BY {{t}}.at{order} LIMIT {}) AS x",
                    self.series(random),
                    1 + random.below(50)
                )
            }
            6 => format!("SELECT {bits} FROM {{t}} WHERE {}", self.series(random)),
            7 => {
                let (shown, by) = self.group(random);
                format!(
                    "SELECT DISTINCT ON ({by}) {shown}, count(*) OVER (PARTITION BY {by}) FROM {{t}} WHERE {}",
                    self.condition(random)
                )
            }
            8 if self.shape.keys > 0 => {
                let number = random.below(self.shape.keys as u64) as usize;
                let name = &self.shape.columns[number].name;
                let values: Vec<String> = (0..3)
                    .map(|_| format!("({})", self.value(number, random)))
                    .collect();
                format!(
                    "SELECT v.k::text, x.* FROM (VALUES {}) AS v (k) LEFT JOIN LATERAL (SELECT count(*), max(at) AS at FROM {{t}} WHERE {name} = v.k AND {}) AS x ON true",
                    values.join(", "),
                    self.of_time(random)
                )
            }
            _ => {
                let aggregates: Vec<String> = (0..1 + random.below(4))
                    .map(|_| self.aggregate(random))
                    .collect();
                let aggregates = aggregates.join(", ");
                let condition = if random.chance(40) {
                    "true".to_owned()
                } else {
                    self.condition(random)
                };
                if random.one_in(4) {
                    return format!("SELECT {aggregates} FROM {{t}} WHERE {condition}");
                }
                let mut groups = vec![self.group(random)];
                if random.chance(50) {
                    groups.push(self.group(random));
                }
                let shown: Vec<&str> = groups.iter().map(|group| group.0.as_str()).collect();
                let by: Vec<&str> = groups.iter().map(|group| group.1.as_str()).collect();
                let having = if random.one_in(5) {
                    " HAVING count(*) > 2"
                } else {
                    ""
                };
                format!(
                    "SELECT {}, {aggregates} FROM {{t}} WHERE {condition} GROUP BY {}{having}",
                    shown.join(", "),
                    by.join(", ")
                )
            }
        }
    }

    /// A statement that changes rows, the same ones whatever order they are met in.
    pub fn change(&self, random: &mut Random) -> String {
        let condition = if random.chance(40) {
            self.series(random)
        } else {
            self.condition(random)
        };
        let stored: Vec<usize> = (0..self.shape.columns.len())
            .filter(|&n| self.shape.columns[n].generated.is_none())
            .collect();
        match random.below(6) {
            0 | 1 => format!("DELETE FROM {{t}} WHERE {condition}"),
            2 => format!(
                "UPDATE {{t}} SET at = {} WHERE {condition}",
                self.moment(random)
            ),
            _ if stored.is_empty() => format!("DELETE FROM {{t}} WHERE {condition}"),
            kind => {
                let number = *random.pick(&stored);
                let value = match kind {
                    3 => "NULL".to_owned(),
                    // What fits into the column: a value that it could have been given.
                    _ => {
                        let of = self.shape.columns[number].of;
                        format!("{}::{}", values::quoted(&values::any(of, random)), of.sql())
                    }
                };
                format!(
                    "UPDATE {{t}} SET {} = {value} WHERE {condition}",
                    self.shape.columns[number].name
                )
            }
        }
    }
}
