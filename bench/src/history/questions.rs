//! The queries, as whom and in which words.

use super::tiers::Tier;
use crate::sides::Side;
use chrono::{DateTime, Utc};

/// What a query is about, and thus how a free user's is compared with the owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Every sensor: the owner asks for those of the sample by name.
    Everything,
    /// One sensor and so many days: a free user asks about one of the sample.
    Sensor { days: u64 },
}

#[derive(Debug)]
pub struct Question {
    pub name: &'static str,
    pub about: About,
    /// `{readings}`, `{sensor}`, `{floor}`, `{from}`, `{to}`, `{threshold}`, `{hour}` and `{day}` are filled in.
    sql: &'static str,
}

pub const DAILY: &str = "days of every sensor over everything: avg, min, max, count";
pub const TOTAL: &str = "avg, min, max, count over everything";
pub const HOURLY_YEAR: &str = "one sensor, averages of the hours of a year";
pub const SENSOR_DAY: &str = "one sensor and day: count and avg";

const COUNT: Question = Question {
    name: "count(*)",
    about: About::Everything,
    sql: "SELECT count(*) FROM {readings} AS r",
};

const DAYS: Question = Question {
    name: DAILY,
    about: About::Everything,
    sql: "SELECT sensor_id, {day} AS day, avg(reading_value), min(reading_value), max(reading_value), count(reading_value)
            FROM {readings} AS r GROUP BY 1, 2",
};

const ALL: Question = Question {
    name: TOTAL,
    about: About::Everything,
    sql: "SELECT avg(reading_value), min(reading_value), max(reading_value), count(reading_value) FROM {readings} AS r",
};

const ONE_DAY: Question = Question {
    name: SENSOR_DAY,
    about: About::Sensor { days: 1 },
    sql: r#"SELECT count(*), avg(reading_value) FROM {readings} AS r
             WHERE sensor_id = {sensor} AND "timestamp" >= {from} AND "timestamp" < {to}"#,
};

pub const SMALL: [Question; 11] = [
    COUNT,
    DAYS,
    ALL,
    Question {
        name: "one sensor, averages of the hours of everything",
        about: About::Sensor { days: 1 },
        sql: "SELECT {hour} AS hour, avg(reading_value) FROM {readings} AS r WHERE sensor_id = {sensor} GROUP BY 1 ORDER BY 1",
    },
    ONE_DAY,
    Question {
        name: "one sensor and day: all rows",
        about: About::Sensor { days: 1 },
        sql: r#"SELECT * FROM {readings} AS r
                 WHERE sensor_id = {sensor} AND "timestamp" >= {from} AND "timestamp" < {to} ORDER BY "timestamp""#,
    },
    Question {
        name: "values above a threshold, which are rare",
        about: About::Everything,
        sql: r#"SELECT sensor_id, "timestamp", reading_value FROM {readings} AS r WHERE reading_value > {threshold}"#,
    },
    Question {
        name: "suspect rows",
        about: About::Everything,
        sql: r#"SELECT sensor_id, "timestamp", reading_value FROM {readings} AS r WHERE status = 'suspect'"#,
    },
    Question {
        name: "newest reading of a sensor",
        about: About::Sensor { days: 1 },
        sql: r#"SELECT * FROM {readings} AS r WHERE sensor_id = {sensor} ORDER BY "timestamp" DESC LIMIT 1"#,
    },
    Question {
        name: "a day of one floor, joined with its sensors",
        about: About::Everything,
        sql: r#"SELECT s.sensor_id, s.equipment_type, count(*), avg(r.reading_value)
                  FROM {readings} AS r JOIN sensors AS s ON s.sensor_id = r.sensor_id
                 WHERE s.floor_number = {floor} AND r."timestamp" >= {from} AND r."timestamp" < {to} GROUP BY 1, 2"#,
    },
    Question {
        name: "one sensor and 30 days: all rows and columns",
        about: About::Sensor { days: 30 },
        sql: r#"SELECT * FROM {readings} AS r WHERE sensor_id = {sensor} AND "timestamp" >= {from} AND "timestamp" < {to}"#,
    },
];

pub const WHOLE: [Question; 5] = [
    COUNT,
    DAYS,
    ALL,
    Question {
        name: HOURLY_YEAR,
        about: About::Sensor { days: 365 },
        sql: r#"SELECT {hour} AS hour, avg(reading_value) FROM {readings} AS r
                 WHERE sensor_id = {sensor} AND "timestamp" >= {from} AND "timestamp" < {to} GROUP BY 1 ORDER BY 1"#,
    },
    ONE_DAY,
];

/// What one call fills in.
#[derive(Debug)]
pub struct Call {
    /// Any sensor.
    pub sensor: String,
    /// One of the sample.
    pub sampled: String,
    /// That one's floor.
    pub floor: i32,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub threshold: String,
}

impl Question {
    /// The days that a call covers; of those about everything, only some use it.
    pub fn days(&self) -> u64 {
        match self.about {
            About::Everything => 1,
            About::Sensor { days } => days,
        }
    }

    /// Its text on a side. With `sample` as its owner asks what a free user may see.
    pub fn text(
        &self,
        tier: Tier,
        call: &Call,
        sampled: bool,
        sample: Option<&[String]>,
    ) -> String {
        let (hour, day) = if tier.side() == Side::Timescale {
            (
                r#"time_bucket('1 hour', "timestamp")"#,
                r#"time_bucket('1 day', "timestamp", 'Asia/Bangkok')"#,
            )
        } else {
            (
                r#"date_trunc('hour', "timestamp")"#,
                r#"date_trunc('day', "timestamp", 'Asia/Bangkok')"#,
            )
        };
        let readings = match (self.about, sample) {
            (About::Everything, Some(sample)) => {
                let list: Vec<_> = sample.iter().map(|id| literal(id)).collect();
                format!(
                    "(SELECT * FROM sensor_readings WHERE sensor_id IN ({}))",
                    list.join(", ")
                )
            }
            _ => "sensor_readings".to_owned(),
        };
        let sensor = if sampled { &call.sampled } else { &call.sensor };
        self.sql
            .replace("{readings}", &readings)
            .replace("{hour}", hour)
            .replace("{day}", day)
            .replace("{sensor}", &literal(sensor))
            .replace("{floor}", &call.floor.to_string())
            .replace("{from}", &literal(&call.from.to_rfc3339()))
            .replace("{to}", &literal(&call.to.to_rfc3339()))
            .replace("{threshold}", &call.threshold)
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            sensor: "F1.z1.AC1.kW".to_owned(),
            sampled: "it's".to_owned(),
            floor: 3,
            from: DateTime::UNIX_EPOCH,
            to: DateTime::UNIX_EPOCH,
            threshold: "1.5".to_owned(),
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for question in SMALL.iter().chain(&WHOLE) {
            for tier in [Tier::Segments, Tier::Seed, Tier::Timescale] {
                let text = question.text(tier, &call(), false, None);
                assert!(!text.contains(['{', '}']), "{text}");
            }
        }
        assert!(
            WHOLE
                .iter()
                .all(|question| !question.sql.contains("{threshold}"))
        );
    }

    #[test]
    fn owners_name_the_sample_only_where_everything_is_asked_for() {
        let sample = ["a".to_owned(), "it's".to_owned()];
        let everything = COUNT.text(Tier::Segments, &call(), true, Some(&sample));
        assert!(
            everything.contains("sensor_id IN ('a', 'it''s')"),
            "{everything}"
        );
        let one = ONE_DAY.text(Tier::Segments, &call(), true, Some(&sample));
        assert!(
            one.contains("sensor_id = 'it''s'") && !one.contains(" IN ("),
            "{one}"
        );
    }
}
