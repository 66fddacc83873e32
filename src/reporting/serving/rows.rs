//! Reads the aggregates that views want, each row once, and adds up what is in them.

use super::figure::Figure;
use super::sources::{of_sql, to_sql};
use super::tally::Keys;
use super::view::View;
use crate::error::{Error, Result};
use crate::postgres::jsonb::{Object, Value};
use crate::postgres::plan::{Plan, Row};
use chrono::{Datelike, NaiveDate};
use gemba_core::dashboard::{Aggregation, Period};
use pgrx::datum::Date;
use pgrx::pg_sys;
use std::collections::HashMap;
use uuid::Uuid;

thread_local! {
    static NEWEST: Plan = const { Plan::new(
        c"SELECT i.item, n.day
            FROM unnest($1, $2, $3) WITH ORDINALITY AS i (workflow, instance, aggregation, item)
           CROSS JOIN LATERAL (
                 SELECT a.data_date - date '2000-01-01' FROM reporting.report_data_aggregates a
                  WHERE a.workflow_id = i.workflow AND a.aggregation_type = i.aggregation
                    AND (i.instance IS NULL OR a.instance_id = i.instance)
                  ORDER BY a.data_date DESC LIMIT 1) AS n (day)",
        &[pg_sys::UUIDARRAYOID, pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID],
    ) };
    // All conditions on columns are operators that cannot fail, and values as they come: only those does the server
    // look up in the index before it has asked the policies.
    static ROWS: Plan = const { Plan::new(
        c"SELECT i.item, a.data_date - date '2000-01-01', a.aggregation_key::text, a.instance_id, a.metrics, a.dimensions
            FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS i (workflow, instance, aggregation, first, last, item)
            JOIN reporting.report_data_aggregates a
              ON a.workflow_id = i.workflow AND a.aggregation_type = i.aggregation
             AND a.data_date BETWEEN i.first AND i.last
             AND (i.instance IS NULL OR a.instance_id = i.instance)",
        &[
            pg_sys::UUIDARRAYOID, pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::DATEARRAYOID,
            pg_sys::DATEARRAYOID,
        ],
    ) };
}

/// The days from 2000-01-01, counted from the first day of the calendar.
const EPOCH: i32 = 730_120;

/// A date as days from 2000-01-01.
pub fn day(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - EPOCH
}

pub fn date(day: i32) -> Option<NaiveDate> {
    NaiveDate::from_num_days_from_ce_opt(day.checked_add(EPOCH)?)
}

/// The names of all base metrics that anybody wants; a slot is a place among them.
#[derive(Default)]
pub struct Slots {
    names: Vec<String>,
    by_name: HashMap<String, usize>,
}

impl Slots {
    pub fn of(&mut self, name: &str) -> usize {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }
}

/// What has to be read: each combination once, however many views want it.
#[derive(Default)]
pub struct Items {
    list: Vec<Item>,
    by_content: HashMap<(Uuid, Option<Uuid>, Aggregation), usize>,
}

struct Item {
    workflow: Uuid,
    /// None: all of the workflow's.
    instance: Option<Uuid>,
    aggregation: Aggregation,
    /// The days that any view wants.
    days: Option<(i32, i32)>,
    /// The views.
    users: Vec<usize>,
    newest: Option<NaiveDate>,
}

impl Items {
    pub fn of(
        &mut self,
        workflow: Uuid,
        instance: Option<Uuid>,
        aggregation: Aggregation,
    ) -> usize {
        *self
            .by_content
            .entry((workflow, instance, aggregation))
            .or_insert_with(|| {
                self.list.push(Item {
                    workflow,
                    instance,
                    aggregation,
                    days: None,
                    users: Vec::new(),
                    newest: None,
                });
                self.list.len() - 1
            })
    }

    /// Reads everything, and adds it up.
    pub fn read(mut self, slots: &Slots, views: &mut [View], keys: &mut Keys) -> Result<()> {
        self.read_newest(views)?;
        for (number, view) in views.iter_mut().enumerate() {
            let newest = view
                .items
                .iter()
                .filter_map(|item| self.list[*item].newest)
                .max();
            let range = view.period.range(view.aggregation(), newest);
            view.now.range = range;
            let mut first = range;
            if let Some(before) = &mut view.before {
                before.range = range.and_then(|range| range.previous(view.query.aggregation));
                first = before.range.or(range);
            }
            let (Some(first), Some(range)) = (first, range) else {
                continue;
            };
            for item in &view.items {
                let item = &mut self.list[*item];
                let (from, to) = item.days.unwrap_or((i32::MAX, i32::MIN));
                item.days = Some((from.min(day(first.from)), to.max(day(range.to))));
                item.users.push(number);
            }
        }
        self.read_rows(slots, views, keys)
    }

    /// The newest period of what belongs to the last so many.
    fn read_newest(&mut self, views: &[View]) -> Result<()> {
        let mut asked: Vec<usize> = views
            .iter()
            .filter(|view| matches!(view.period, Period::Last { .. }))
            .flat_map(|view| view.items.iter().copied())
            .collect();
        asked.sort_unstable();
        asked.dedup();
        if asked.is_empty() {
            return Ok(());
        }
        let (workflows, instances, aggregations) = self.columns(&asked);
        let args = [workflows.into(), instances.into(), aggregations.into()];
        NEWEST.with(|plan| {
            plan.each(&args, |row| {
                let item = asked[place(row)?];
                self.list[item].newest = row.get::<i32>(2)?.and_then(date);
                Ok(())
            })
        })
    }

    fn read_rows(&self, slots: &Slots, views: &mut [View], keys: &mut Keys) -> Result<()> {
        let (asked, days): (Vec<usize>, Vec<(i32, i32)>) = (0..self.list.len())
            .filter_map(|item| Some((item, self.list[item].days?)))
            .unzip();
        if asked.is_empty() {
            return Ok(());
        }
        let (workflows, instances, aggregations) = self.columns(&asked);
        let (first, last): (Vec<Date>, Vec<Date>) = days
            .into_iter()
            .map(|(first, last)| {
                (
                    Date::saturating_from_raw(first),
                    Date::saturating_from_raw(last),
                )
            })
            .unzip();
        let args = [
            workflows.into(),
            instances.into(),
            aggregations.into(),
            first.into(),
            last.into(),
        ];
        let mut reader = Reader::new(slots);
        ROWS.with(|plan| {
            plan.stream(&args, |row| {
                let item = &self.list[asked[place(row)?]];
                let from = row.need::<i32>(2)?;
                let key = keys.of(from, row.text(3)?.unwrap_or_default());
                let instance = of_sql(row.need(4)?);
                reader.read(row)?;
                for user in &item.users {
                    reader.add(&mut views[*user], row, item.workflow, instance, from, key)?;
                }
                Ok(())
            })
        })
    }

    fn columns(
        &self,
        items: &[usize],
    ) -> (Vec<pgrx::Uuid>, Vec<Option<pgrx::Uuid>>, Vec<&'static str>) {
        let items = || items.iter().map(|item| &self.list[*item]);
        (
            items().map(|item| to_sql(item.workflow)).collect(),
            items().map(|item| item.instance.map(to_sql)).collect(),
            items().map(|item| item.aggregation.name()).collect(),
        )
    }
}

/// The item that a row belongs to, as its place among those asked for.
fn place(row: &Row) -> Result<usize> {
    Ok(row.need::<i64>(1)? as usize - 1)
}

/// Takes the numbers out of rows. Those that follow each other mostly have the same keys: of the last ones it knows
/// which are wanted.
struct Reader<'a> {
    slots: &'a Slots,
    head: Vec<u8>,
    keys: Vec<u8>,
    /// The slot of each key of the last row.
    wanted: Vec<Option<usize>>,
    /// By slot, what the last row has.
    numbers: Vec<Found>,
}

#[derive(Clone)]
enum Found {
    Nothing,
    Number(Figure),
    Other(&'static str),
}

impl<'a> Reader<'a> {
    fn new(slots: &'a Slots) -> Self {
        Self {
            slots,
            head: Vec::new(),
            keys: Vec::new(),
            wanted: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// Takes the numbers of a row's metrics.
    fn read(&mut self, row: &Row) -> Result<()> {
        self.numbers.clear();
        self.numbers.resize(self.slots.names.len(), Found::Nothing);
        // The table's constraints see to it that it is an object.
        let Some(object) = row
            .jsonb(5)?
            .and_then(|document| Object::read(document).ok())
        else {
            return Ok(());
        };
        if self.head.is_empty() || !object.has_shape(&self.head, &self.keys) {
            let (head, keys) = object.shape().unwrap_or_default();
            self.head = head.to_vec();
            self.keys = keys.to_vec();
            let slot = |key: &[u8]| {
                let name = std::str::from_utf8(key).ok()?;
                self.slots.by_name.get(name).copied()
            };
            self.wanted.clear();
            object.each(|_, key, _| {
                self.wanted.push(slot(key));
                Ok::<_, Error>(())
            })?;
        }
        for (value, wanted) in object.values(self.keys.len()).zip(&self.wanted) {
            let Some(slot) = wanted else { continue };
            self.numbers[*slot] = match value {
                Value::Number(number) => Found::Number(Figure::of(number)?),
                Value::Null => Found::Nothing,
                Value::Other(kind) => Found::Other(kind),
                Value::Broken => Found::Other("damaged"),
            };
        }
        Ok(())
    }

    /// Adds the numbers to those of a view, where it wants this row.
    fn add(
        &self,
        view: &mut View,
        row: &Row,
        workflow: Uuid,
        instance: Uuid,
        from: i32,
        key: usize,
    ) -> Result<()> {
        let series = view.series_of(workflow, instance);
        let holds = |range: Option<gemba_core::dashboard::Range>| {
            range.is_some_and(|range| (day(range.from)..=day(range.to)).contains(&from))
        };
        let side = if holds(view.now.range) {
            &mut view.now
        } else {
            match &mut view.before {
                Some(before) if holds(before.range) => before,
                _ => return Ok(()),
            }
        };
        for parts in &view.filters {
            let mut found = false;
            for part in parts {
                found = found || row.holds(6, part)?;
            }
            if !found {
                return Ok(());
            }
        }
        let sums = side.tally.cell(series, key);
        for (sum, slot) in sums.iter_mut().zip(&view.slots) {
            match &self.numbers[*slot] {
                Found::Nothing => {}
                Found::Number(number) => sum.add(number)?,
                Found::Other(kind) => {
                    view.trouble =
                        Some(format!("the metric {} is {kind}", self.slots.names[*slot]));
                }
            }
        }
        Ok(())
    }
}
