//! Which figures a widget shows: the `data_source` of charts, tables and metric cards.

use super::Invalid;
use super::filters::{Defaults, Filters, Written};
use super::strict::{self, Bool, Form, List, Name, Object, Spelt, Whole, Word};
use chrono::NaiveDate;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use uuid::Uuid;

/// The path of a data source.
pub(super) const NAME: &str = "data_source";

/// Figures over periods of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Query {
    pub workflows: Vec<Uuid>,
    /// Those whose figures count; none means all that the workflows have.
    pub instances: Vec<Uuid>,
    pub metrics: Vec<String>,
    pub aggregation: Aggregation,
    /// `None` leaves it to the dashboard: see [`Query::period`].
    pub period: Option<Period>,
    /// The dashboard's come to these: see [`Query::filters`].
    pub filters: Filters,
    /// Whether the period of the same length before it is shown too.
    pub compare: bool,
    pub group_by: GroupBy,
}

/// A query whose rows are listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    #[serde(flatten)]
    pub query: Query,
    pub sort: Option<Sort>,
    pub limit: Option<u32>,
}

/// How long the periods are that figures are kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    #[default]
    Weekly,
    Monthly,
    Quarterly,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Period {
    /// So many periods of the aggregation, up to the newest one that has figures.
    Last { last: u32 },
    /// Both days are part of it.
    Between { from: NaiveDate, to: NaiveDate },
}

/// What has figures of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// All together.
    #[default]
    None,
    Workflow,
    Instance,
}

/// The order of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sort {
    pub by: SortBy,
    pub descending: bool,
}

/// What a table is ordered by. A metric that is called `period` cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortBy {
    Period,
    /// One of the query's.
    Metric(String),
}

/// How many metrics a query has to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metrics {
    Some,
    Exactly(usize),
}

/// The fields of a data source, as they come.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(deserialize_with = "strict::required::<List<Word<Uuid>, 1, 50>, _>")]
    workflows: Vec<Uuid>,
    #[serde(
        default,
        deserialize_with = "strict::defaulted::<List<Word<Uuid>, 0, 1_000>, _>"
    )]
    instances: Vec<Uuid>,
    #[serde(deserialize_with = "strict::required::<List<Name<200>, 1, 20>, _>")]
    metrics: Vec<String>,
    #[serde(
        default,
        deserialize_with = "strict::defaulted::<Word<Aggregation>, _>"
    )]
    aggregation: Aggregation,
    #[serde(default, deserialize_with = "strict::optional::<Period, _>")]
    period: Option<Period>,
    filters: Option<Written>,
    #[serde(default, deserialize_with = "strict::optional::<Bool, _>")]
    compare: Option<bool>,
    #[serde(default, deserialize_with = "strict::defaulted::<Word<GroupBy>, _>")]
    group_by: GroupBy,
    #[serde(
        default,
        deserialize_with = "strict::optional::<Object<SortFields>, _>"
    )]
    sort: Option<SortFields>,
    #[serde(default, deserialize_with = "strict::optional::<Whole<1, 1_000>, _>")]
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SortFields {
    #[serde(deserialize_with = "strict::required::<Name<200>, _>")]
    by: String,
    #[serde(default, deserialize_with = "strict::defaulted::<Bool, _>")]
    descending: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeriodFields {
    #[serde(default, deserialize_with = "strict::optional::<Whole<1, 520>, _>")]
    last: Option<u32>,
    #[serde(default, deserialize_with = "strict::optional::<Word<NaiveDate>, _>")]
    from: Option<NaiveDate>,
    #[serde(default, deserialize_with = "strict::optional::<Word<NaiveDate>, _>")]
    to: Option<NaiveDate>,
}

impl Query {
    /// Reads the data source of a widget that lists nothing; `compare` is what that is by default.
    pub(super) fn read(json: &str, metrics: Metrics, compare: bool) -> Result<Self, Invalid> {
        let Table { query, sort, limit } = Table::with(json, metrics, compare)?;
        for (key, given) in [("sort", sort.is_some()), ("limit", limit.is_some())] {
            if given {
                return Err(invalid(key, "only a table has it"));
            }
        }
        Ok(query)
    }

    /// The period to show: its own, or the dashboard's, or the last twelve.
    #[must_use]
    pub fn period(&self, dashboard: &Defaults) -> Period {
        self.period
            .or(dashboard.period)
            .unwrap_or(Period::Last { last: 12 })
    }

    /// Its own filters, and for other dimensions the dashboard's.
    #[must_use]
    pub fn filters(&self, dashboard: &Defaults) -> Filters {
        self.filters.or(&dashboard.filters)
    }
}

impl Table {
    pub(super) fn read(json: &str) -> Result<Self, Invalid> {
        Self::with(json, Metrics::Some, false)
    }

    fn with(json: &str, metrics: Metrics, compare: bool) -> Result<Self, Invalid> {
        let fields: Fields = strict::object(NAME, json)?;
        distinct("workflows", &fields.workflows)?;
        distinct("instances", &fields.instances)?;
        distinct("metrics", &fields.metrics)?;
        match (metrics, fields.metrics.len()) {
            (Metrics::Exactly(expected), given) if given != expected => {
                let why = format!("invalid length {given}, expected exactly {expected} here");
                return Err(invalid("metrics", why));
            }
            _ => {}
        }
        let sort = match fields.sort {
            Some(sort) => Some(Sort {
                by: SortBy::read(sort.by, &fields.metrics)?,
                descending: sort.descending,
            }),
            None => None,
        };
        Ok(Self {
            query: Query {
                workflows: fields.workflows,
                instances: fields.instances,
                metrics: fields.metrics,
                aggregation: fields.aggregation,
                period: fields.period,
                filters: Filters::read(&format!("{NAME}.filters"), fields.filters)?,
                compare: fields.compare.unwrap_or(compare),
                group_by: fields.group_by,
            },
            sort,
            limit: fields.limit,
        })
    }
}

impl SortBy {
    fn read(name: String, metrics: &[String]) -> Result<Self, Invalid> {
        match name.as_str() {
            "period" => Ok(Self::Period),
            _ if metrics.contains(&name) => Ok(Self::Metric(name)),
            _ => {
                let why = format!("invalid value: {name:?}, expected period or one of the metrics");
                Err(invalid("sort.by", why))
            }
        }
    }
}

impl Serialize for SortBy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match self {
            Self::Period => "period",
            Self::Metric(name) => name,
        })
    }
}

impl Form for Period {
    type Value = Self;

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Object::<PeriodFields>::read(from)? {
            PeriodFields {
                last: Some(last),
                from: None,
                to: None,
            } => Ok(Self::Last { last }),
            PeriodFields {
                last: None,
                from: Some(from),
                to: Some(to),
            } if from <= to => Ok(Self::Between { from, to }),
            PeriodFields {
                last: None,
                from: Some(from),
                to: Some(to),
            } => Err(D::Error::custom(format_args!("{from} is after {to}"))),
            _ => Err(D::Error::custom("expected either last, or from and to")),
        }
    }
}

impl Aggregation {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
        }
    }

    /// The one that is written so.
    ///
    /// # Errors
    /// Another word; `path` is what it is called.
    pub fn parse(path: &str, text: &str) -> Result<Self, Invalid> {
        strict::text::<Word<Self>>(path, text)
    }
}

impl Spelt for Aggregation {
    const EXPECTED: &'static str = "weekly, monthly or quarterly";

    fn spelt(text: &str) -> Option<Self> {
        [Self::Weekly, Self::Monthly, Self::Quarterly]
            .into_iter()
            .find(|aggregation| aggregation.name() == text)
    }
}

impl Spelt for GroupBy {
    const EXPECTED: &'static str = "none, workflow or instance";

    fn spelt(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "workflow" => Some(Self::Workflow),
            "instance" => Some(Self::Instance),
            _ => None,
        }
    }
}

/// A copy would be counted twice.
fn distinct<T: Eq + Hash + Debug>(key: &str, items: &[T]) -> Result<(), Invalid> {
    let mut seen = HashSet::new();
    match items.iter().position(|item| !seen.insert(item)) {
        Some(number) => Err(invalid(
            &format!("{key}[{number}]"),
            format!("{:?} stands there twice", items[number]),
        )),
        None => Ok(()),
    }
}

fn invalid(key: &str, why: impl Into<String>) -> Invalid {
    Invalid::new(format!("{NAME}.{key}"), why)
}
