//! What there is of the workflows behind widgets, as far as the caller may read it, and how ratios are made.

use super::figure::Figure;
use crate::error::Result;
use crate::postgres::plan::Plan;
use pgrx::pg_sys;
use std::collections::{BTreeSet, HashMap, HashSet};
use uuid::Uuid;

thread_local! {
    // The first condition is the policies' own of the aggregates; it tells a workflow that has no figures yet from
    // one that the caller may not read. Rows of workflow_data are under the same policy: whoever sees one may read
    // the workflow.
    static SOURCES: Plan = const { Plan::new(
        c"SELECT w.id, d.instance_id, d.version,
                 d.workflow_id IS NOT NULL
                 OR CASE WHEN row_security_active('reporting.report_data_aggregates'::text)
                         THEN w.id IN (SELECT o.id FROM reporting.workflows o WHERE o.user_id = (SELECT auth.uid()))
                              OR reporting.is_shown(w.id)
                         ELSE w.id IN (SELECT o.id FROM reporting.workflows o) END
            FROM unnest($1) AS w (id) LEFT JOIN reporting.workflow_data d ON d.workflow_id = w.id
           ORDER BY w.id, d.instance_id",
        &[pg_sys::UUIDARRAYOID],
    ) };
    static DEFINITIONS: Plan = const { Plan::new(
        c"SELECT m.name, m.numerator, m.denominator, m.factor FROM reporting.metric_definitions m
           WHERE m.name = ANY ($1) ORDER BY m.name",
        &[pg_sys::TEXTARRAYOID],
    ) };
}

/// The workflows that widgets name.
#[derive(Default)]
pub struct Sources {
    /// Those that the caller may read, with or without figures.
    pub readable: HashSet<Uuid>,
    /// Workflow, account, and a number that changes with its figures; in order.
    pub versions: Vec<(Uuid, Uuid, i64)>,
}

/// A metric that is factor × numerator / denominator.
pub struct Definition {
    pub numerator: String,
    pub denominator: String,
    pub factor: Figure,
}

impl Sources {
    pub fn read(workflows: BTreeSet<Uuid>) -> Result<Self> {
        let mut sources = Self::default();
        if workflows.is_empty() {
            return Ok(sources);
        }
        let ids: Vec<pgrx::Uuid> = workflows.into_iter().map(to_sql).collect();
        SOURCES.with(|plan| {
            plan.each(&[ids.into()], |row| {
                let workflow = of_sql(row.need(1)?);
                if let (Some(instance), Some(version)) =
                    (row.get::<pgrx::Uuid>(2)?, row.get::<i64>(3)?)
                {
                    sources.versions.push((workflow, of_sql(instance), version));
                }
                if row.get::<bool>(4)? == Some(true) {
                    sources.readable.insert(workflow);
                }
                Ok(())
            })
        })?;
        Ok(sources)
    }

    /// The accounts that a workflow has figures of.
    pub fn instances(&self, workflow: Uuid) -> impl Iterator<Item = Uuid> {
        let from = self
            .versions
            .partition_point(|(other, _, _)| *other < workflow);
        self.versions[from..]
            .iter()
            .take_while(move |(other, _, _)| *other == workflow)
            .map(|(_, instance, _)| *instance)
    }
}

/// Those of the metrics that are ratios.
pub fn definitions(metrics: BTreeSet<&str>) -> Result<HashMap<String, Definition>> {
    if metrics.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<&str> = metrics.into_iter().collect();
    let definitions = DEFINITIONS.with(|plan| {
        plan.all(&[names.into()], |row| {
            let definition = Definition {
                numerator: row.need(2)?,
                denominator: row.need(3)?,
                factor: row.numeric(4)?.map_or(Ok(Figure::ZERO), Figure::of)?,
            };
            Ok((row.need(1)?, definition))
        })
    })?;
    Ok(definitions.into_iter().collect())
}

pub fn to_sql(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(id.into_bytes())
}

pub fn of_sql(id: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}
