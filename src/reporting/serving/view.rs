//! Which figures a widget wants, and what they add up to.

use super::figure::Figure;
use super::rows::{Items, Slots};
use super::sources::{Definition, Sources};
use super::tally::{Count, Tally};
use crate::error::Result;
use crate::postgres::jsonb::Part;
use gemba_core::dashboard::{Aggregation, Filters, GroupBy, Period, Query, Range};
use std::collections::HashMap;
use uuid::Uuid;

/// The figures of a query. Items are what has to be read for it.
pub struct View<'a> {
    pub query: &'a Query,
    pub period: Period,
    pub metrics: Vec<Metric<'a>>,
    /// The base metrics that are added up for them.
    pub slots: Vec<usize>,
    pub items: Vec<usize>,
    /// Of each dimension, documents of which the aggregate's dimensions hold at least one.
    pub filters: Vec<Vec<Part>>,
    pub now: Side,
    /// The period before, where it is wanted.
    pub before: Option<Side>,
    /// What could not be added up.
    pub trouble: Option<String>,
}

/// Some days, and the sums of what was found in them.
pub struct Side {
    /// None without any figures.
    pub range: Option<Range>,
    pub tally: Tally,
}

/// A metric that is shown, and how it is made. Places are those among the view's slots.
pub struct Metric<'a> {
    pub name: &'a str,
    /// What is stored under its name.
    own: usize,
    ratio: Option<Ratio<'a>>,
}

struct Ratio<'a> {
    numerator: usize,
    denominator: usize,
    factor: &'a Figure,
}

impl<'a> View<'a> {
    pub fn new(
        query: &'a Query,
        period: Period,
        filters: &Filters,
        sources: &Sources,
        definitions: &'a HashMap<String, Definition>,
        slots: &mut Slots,
        items: &mut Items,
    ) -> Self {
        let (metrics, slots) = metrics(&query.metrics, definitions, slots);
        let series = series(query, sources);
        let side = || Side {
            range: None,
            tally: Tally::new(slots.len(), series.iter().copied()),
        };
        Self {
            query,
            period,
            now: side(),
            before: query.compare.then(side),
            metrics,
            slots,
            items: wanted(query, sources)
                .map(|(workflow, instance)| items.of(workflow, instance, query.aggregation))
                .collect(),
            filters: parts(filters),
            trouble: None,
        }
    }

    pub fn aggregation(&self) -> Aggregation {
        self.query.aggregation
    }

    /// Which series the figures of a workflow and an account belong to.
    pub fn series_of(&self, workflow: Uuid, instance: Uuid) -> Option<Uuid> {
        match self.query.group_by {
            GroupBy::None => None,
            GroupBy::Workflow => Some(workflow),
            GroupBy::Instance => Some(instance),
        }
    }
}

/// The workflows, and which of their accounts: none means all of them.
fn wanted<'a>(
    query: &'a Query,
    sources: &'a Sources,
) -> impl Iterator<Item = (Uuid, Option<Uuid>)> + 'a {
    query.workflows.iter().flat_map(|workflow| {
        let all = query.instances.is_empty().then_some((*workflow, None));
        let some = sources
            .instances(*workflow)
            .filter(|instance| query.instances.contains(instance))
            .map(|instance| (*workflow, Some(instance)));
        all.into_iter().chain(some)
    })
}

/// What has a series of its own, in order; one of nothing in particular where all are added up.
fn series(query: &Query, sources: &Sources) -> Vec<Option<Uuid>> {
    match query.group_by {
        GroupBy::None => vec![None],
        GroupBy::Workflow => query.workflows.iter().copied().map(Some).collect(),
        GroupBy::Instance if !query.instances.is_empty() => {
            query.instances.iter().copied().map(Some).collect()
        }
        GroupBy::Instance => {
            let workflows = query.workflows.iter();
            let mut all: Vec<Option<Uuid>> = workflows
                .flat_map(|workflow| sources.instances(*workflow))
                .map(Some)
                .collect();
            all.sort_unstable();
            all.dedup();
            all
        }
    }
}

fn metrics<'a>(
    names: &'a [String],
    definitions: &'a HashMap<String, Definition>,
    all: &mut Slots,
) -> (Vec<Metric<'a>>, Vec<usize>) {
    let mut slots = Vec::new();
    let mut place = |name: &str| {
        let slot = all.of(name);
        slots
            .iter()
            .position(|known| *known == slot)
            .unwrap_or_else(|| {
                slots.push(slot);
                slots.len() - 1
            })
    };
    let metrics = names
        .iter()
        .map(|name| Metric {
            name,
            own: place(name),
            ratio: definitions.get(name).map(|definition| Ratio {
                numerator: place(&definition.numerator),
                denominator: place(&definition.denominator),
                factor: &definition.factor,
            }),
        })
        .collect();
    (metrics, slots)
}

impl Metric<'_> {
    /// Its value, from sums. A ratio is that of the sums. Where those are not known, one that was stored by itself is
    /// shown as long as it is the only one: ratios are not added up.
    pub fn value(&self, sums: &[Count]) -> Result<Option<Figure>> {
        let Some(ratio) = &self.ratio else {
            return Ok(sums[self.own].known().cloned());
        };
        match (
            sums[ratio.numerator].known(),
            sums[ratio.denominator].known(),
        ) {
            (Some(numerator), Some(denominator)) => {
                Figure::ratio(ratio.factor, numerator, denominator)
            }
            _ => Ok(sums[self.own].single().cloned()),
        }
    }
}

/// A dimension is one value or a list of them: both ways a value can be in it.
fn parts(filters: &Filters) -> Vec<Vec<Part>> {
    let part = |dimension: &str, value: String| {
        let dimension = serde_json::Value::from(dimension);
        Part::of(format!("{{{dimension}: {value}}}"))
    };
    filters
        .iter()
        .map(|(dimension, values)| {
            let written = values
                .iter()
                .filter_map(|value| serde_json::to_string(value).ok());
            written
                .flat_map(|value| {
                    [
                        part(dimension, format!("[{value}]")),
                        part(dimension, value),
                    ]
                })
                .flatten()
                .collect()
        })
        .collect()
}
