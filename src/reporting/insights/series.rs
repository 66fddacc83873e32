//! A metric by period, as stored or, of a ratio, from the sums of what it is made of.

use crate::error::Result;
use crate::postgres::json::JsonText;
use crate::postgres::spi;
use gemba_core::insights::Period;
use pgrx::datum::{Date, DatumWithOid};

/// Whose figures, and which.
pub struct Source<'a> {
    /// `None`: of all workflows that the caller may read.
    pub workflows: Option<Vec<pgrx::Uuid>>,
    /// `None`: on all accounts.
    pub instances: Option<Vec<pgrx::Uuid>>,
    pub metric: &'a str,
    pub unit: Period,
    /// Values that dimensions must have.
    pub filters: &'a JsonText,
    /// Nothing after this day.
    pub until: Option<Date>,
}

/// Which periods are looked at.
#[derive(Clone, Copy)]
pub enum Window {
    /// So many, up to the newest one that has figures.
    Last(i32),
    /// Those that begin on this day or later.
    From(Date),
}

/// A metric in one period.
pub struct Figure {
    /// Its first day, counted from a Monday.
    pub day: i32,
    /// The number of the period; of weeks it may have a fraction.
    pub position: f64,
    pub key: String,
    /// It is one of those that are looked at, not one before them.
    pub shown: bool,
    /// Not finite where it is not known.
    pub value: f64,
}

/// How a ratio is made.
pub struct Ratio {
    numerator: String,
    denominator: String,
    factor: String,
}

impl Source<'_> {
    /// How the metric is made, if it is a ratio.
    pub fn ratio(&self) -> Result<Option<Ratio>> {
        spi::read_row(
            "SELECT d.numerator, d.denominator, d.factor::text FROM reporting.metric_definitions AS d WHERE d.name = $1",
            &[self.metric.into()],
            |row| {
                Ok(Ratio {
                    numerator: row.get(1)?.unwrap_or_default(),
                    denominator: row.get(2)?.unwrap_or_default(),
                    factor: row.get(3)?.unwrap_or_default(),
                })
            },
        )
    }

    /// The arguments $1 to $9 of all that begins with figures.sql.
    pub fn arguments<'a>(
        &'a self,
        ratio: Option<&'a Ratio>,
        since: Option<Date>,
        until: Option<Date>,
    ) -> Vec<DatumWithOid<'a>> {
        let metric = ratio.map_or(self.metric, |ratio| &ratio.numerator);
        vec![
            self.workflows.clone().into(),
            aggregation(self.unit).into(),
            self.instances.clone().into(),
            metric.into(),
            ratio.map(|ratio| ratio.denominator.as_str()).into(),
            self.filters.clone().into(),
            since.into(),
            until.into(),
            ratio.map(|ratio| ratio.factor.as_str()).into(),
        ]
    }

    /// The sums by period, oldest first, and those of so many periods before.
    pub fn figures(&self, window: Window, before: i32) -> Result<Vec<Figure>> {
        let ratio = self.ratio()?;
        let mut arguments = self.arguments(ratio.as_ref(), None, self.until);
        let (last, from) = match window {
            Window::Last(last) => (Some(last), None),
            Window::From(from) => (None, Some(from)),
        };
        arguments.extend([last.into(), from.into(), before.into()]);
        let sql = concat!(include_str!("figures.sql"), include_str!("series.sql"));
        spi::read_all(sql, &arguments, |row| {
            Ok(Figure {
                day: row.get(1)?.unwrap_or_default(),
                position: row.get(2)?.unwrap_or_default(),
                key: row.get(3)?.unwrap_or_default(),
                shown: row.get(4)?.unwrap_or_default(),
                value: float(row.get(5)?),
            })
        })
    }
}

/// The nearest float; not a number where there is none, and the largest one for what no float can hold, which
/// the detectors refuse.
pub fn float(text: Option<String>) -> f64 {
    text.and_then(|text| text.parse().ok())
        .map_or(f64::NAN, |value: f64| value.clamp(f64::MIN, f64::MAX))
}

/// As the tables call it. There are no stored figures by day.
fn aggregation(unit: Period) -> &'static str {
    match unit {
        Period::Day | Period::Week => "weekly",
        Period::Month => "monthly",
        Period::Quarter => "quarterly",
    }
}
