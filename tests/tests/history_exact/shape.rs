//! A random table, in partitions and as its twin.

use super::values::{self, Type, quoted};
use gemba_tests::Random;

/// A table's steps and where its rows lie, as its clocks show it. Most have a change of clocks in them.
#[derive(Debug, Clone, Copy)]
pub struct Calendar {
    pub step: &'static str,
    pub zone: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

const CALENDARS: &[Calendar] = &[
    Calendar {
        step: "1 month",
        zone: "Europe/Berlin",
        from: "2024-03-01 00:00",
        to: "2024-05-01 00:00",
    },
    Calendar {
        step: "1 month",
        zone: "UTC",
        from: "1999-12-01 00:00",
        to: "2000-02-01 00:00",
    },
    Calendar {
        step: "1 month",
        zone: "Africa/Monrovia",
        from: "1971-12-01 00:00",
        to: "1972-02-01 00:00",
    },
    Calendar {
        step: "1 day",
        zone: "America/Havana",
        from: "2024-03-09 00:00",
        to: "2024-03-12 00:00",
    },
    Calendar {
        step: "1 day",
        zone: "America/Havana",
        from: "2024-11-02 00:00",
        to: "2024-11-05 00:00",
    },
    Calendar {
        step: "1 day",
        zone: "Asia/Bangkok",
        from: "2018-07-01 00:00",
        to: "2018-07-03 00:00",
    },
    Calendar {
        step: "7 days",
        zone: "Australia/Lord_Howe",
        from: "2024-04-01 00:00",
        to: "2024-04-15 00:00",
    },
    Calendar {
        step: "1 hour",
        zone: "America/New_York",
        from: "2024-11-03 00:00",
        to: "2024-11-03 04:00",
    },
    Calendar {
        step: "6 hours",
        zone: "Europe/Berlin",
        from: "2024-03-31 00:00",
        to: "2024-04-01 00:00",
    },
];

/// How the values of a column follow one another.
#[derive(Debug, Clone)]
pub enum Style {
    Any,
    Ordinary,
    Extremes,
    Constant(String),
    Alternating(String, String),
    Few(Vec<String>),
    Rising(i64),
    Nothing,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub bare: String,
    /// As SQL writes it.
    pub name: String,
    pub of: Type,
    pub style: Style,
    /// Per cent.
    pub nulls: u64,
    pub generated: Option<String>,
}

/// When rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Regular,
    Random,
    Few,
    One,
    Edges,
}

#[derive(Debug, Clone)]
pub struct Shape {
    pub calendar: Calendar,
    pub time: Type,
    pub times: Times,
    /// Without the time, those of `segment_by` first.
    pub columns: Vec<Column>,
    pub keys: usize,
    pub unique: bool,
    pub rows: u64,
}

fn style(of: Type, random: &mut Random) -> Style {
    match random.below(9) {
        0 | 1 => Style::Any,
        2 => Style::Ordinary,
        3 => Style::Extremes,
        4 => Style::Constant(values::any(of, random)),
        5 => Style::Alternating(values::any(of, random), values::any(of, random)),
        6 => few(of, random),
        7 => Style::Rising(1 + random.below(40) as i64),
        _ => Style::Nothing,
    }
}

fn few(of: Type, random: &mut Random) -> Style {
    let mut few = Vec::new();
    for _ in 0..1 + random.below(5) {
        let value = if random.chance(50) {
            values::any(of, random)
        } else {
            values::ordinary(of, random)
        };
        // A key has to fit into an index.
        few.push(if value.len() > 1_000 {
            values::ordinary(of, random)
        } else {
            value
        });
    }
    Style::Few(few)
}

impl Shape {
    pub fn new(random: &mut Random) -> Self {
        let time = *random.pick(&[Type::Instant, Type::Instant, Type::Local, Type::Date]);
        let mut calendar = *random.pick(CALENDARS);
        while time == Type::Date
            && calendar.step.ends_with("hour") | calendar.step.ends_with("hours")
        {
            calendar = *random.pick(CALENDARS);
        }
        let keys = random.below(4) as usize;
        let others = random.below(10) as usize;
        let mut columns = Vec::new();
        for number in 0..keys + others {
            let is_key = number < keys;
            let of = *random.pick(if is_key { values::KEYS } else { values::ALL });
            let bare = match random.below(12) {
                0 => format!("Größe {number}"),
                1 => format!("say \"{number}\""),
                _ => format!("c{number}"),
            };
            columns.push(Column {
                name: format!("\"{}\"", bare.replace('"', "\"\"")),
                bare,
                of,
                style: if is_key {
                    few(of, random)
                } else {
                    style(of, random)
                },
                nulls: *random.pick(&[0, 0, 10, 50, 98]),
                generated: None,
            });
        }
        for number in 0..random.below(3) {
            if columns.is_empty() {
                break;
            }
            let base = random.pick(&columns).clone();
            if base.generated.is_some() {
                continue;
            }
            let (of, expression) = match base.of {
                Type::Numeric | Type::Fixed => (Type::Numeric, format!("{} + 0.10", base.name)),
                Type::Int2 | Type::Int4 | Type::Int8 => {
                    (Type::Numeric, format!("{}::numeric * 2", base.name))
                }
                Type::Text | Type::Varchar => (Type::Text, format!("{} || '!'", base.name)),
                _ => (Type::Bool, format!("{} IS NULL", base.name)),
            };
            columns.push(Column {
                bare: format!("g{number}"),
                name: format!("g{number}"),
                of,
                style: Style::Nothing,
                nulls: 0,
                generated: Some(expression),
            });
        }
        Self {
            calendar,
            time,
            times: *random.pick(&[
                Times::Regular,
                Times::Random,
                Times::Random,
                Times::Few,
                Times::One,
                Times::Edges,
            ]),
            columns,
            keys,
            unique: random.chance(50),
            rows: *random.pick(&[0, 1, 2, 40, 300, 300, 1_500]),
        }
    }

    pub fn keys(&self) -> &[Column] {
        &self.columns[..self.keys]
    }

    /// Those that are written.
    pub fn stored(&self) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(|column| column.generated.is_none())
    }

    /// Names of the time and of what is written, with commas.
    pub fn names(&self) -> String {
        self.stored()
            .fold("at".to_owned(), |names, column| names + ", " + &column.name)
    }

    /// Every column with every bit of it.
    pub fn bits(&self) -> String {
        self.columns
            .iter()
            .fold(self.time.bits("at") + " AS at", |list, column| {
                format!(
                    "{list}, {} AS {}",
                    column.of.bits(&column.name),
                    column.name
                )
            })
    }

    /// `s.raw`, some of whose leaves are older than others, and `s.twin`; `s.load`, through which rows come.
    pub fn create(&self, random: &mut Random) -> String {
        let mut definitions: Vec<String> = self
            .columns
            .iter()
            .map(|column| match &column.generated {
                Some(expression) => format!(
                    "{} {} GENERATED ALWAYS AS ({expression}) STORED",
                    column.name,
                    column.of.sql()
                ),
                None => format!("{} {}", column.name, column.of.sql()),
            })
            .collect();
        definitions.push(format!("at {} NOT NULL", self.time.sql()));
        random.shuffle(&mut definitions);
        let twin = definitions.join(", ");
        let gone = random.below(definitions.len() as u64 + 1) as usize;
        definitions.insert(gone, "gone numeric DEFAULT 5".to_owned());
        let raw = definitions.join(", ");
        let load: String = self
            .stored()
            .map(|column| format!(", {} {}", column.name, column.of.sql()))
            .collect();
        let Calendar {
            step,
            zone,
            from,
            to,
        } = self.calendar;
        let segment_by: Vec<_> = self.keys().iter().map(|key| quoted(&key.bare)).collect();
        let segment_by = segment_by.join(", ");
        let (unique, index) = if self.unique {
            let names = self
                .keys()
                .iter()
                .fold(String::new(), |list, key| list + &key.name + ", ");
            let bare = self
                .keys()
                .iter()
                .fold(String::new(), |list, key| list + &quoted(&key.bare) + ", ");
            (
                format!("ARRAY[{bare}'at']"),
                format!(
                    "CREATE UNIQUE INDEX ON s.twin ({names}at); CREATE UNIQUE INDEX ON s.load ({names}at);"
                ),
            )
        } else {
            ("NULL".to_owned(), String::new())
        };
        let middle = format!("timestamp '{from}' + (timestamp '{to}' - timestamp '{from}') / 2");
        format!(
            "CREATE SCHEMA s;
             CREATE COLLATION s.folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             CREATE TABLE s.raw ({raw}) PARTITION BY RANGE (at);
             CREATE TABLE s.twin ({twin});
             CREATE TABLE s.given (n bigint, t bigint {load});
             CREATE TABLE s.load (n bigint, at {} {load});
             CREATE TABLE s.bits (k int, c4 real, c8 double precision);
             {index}
             SELECT gemba.manage_partitions('s.raw', '{step}', premake => 0, time_zone => '{zone}', unique_on => {unique});
             SELECT gemba.ensure_partitions('s.raw', timestamp '{from}' AT TIME ZONE '{zone}', ({middle}) AT TIME ZONE '{zone}');
             ALTER TABLE s.raw DROP COLUMN gone;
             SELECT gemba.ensure_partitions('s.raw', timestamp '{from}' AT TIME ZONE '{zone}', timestamp '{to}' AT TIME ZONE '{zone}');
             SELECT gemba.compress_after('s.raw', ARRAY[{segment_by}]::name[], 'at', '1 day')",
            self.time.sql()
        )
    }
}
