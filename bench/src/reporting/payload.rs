//! A dashboard in one answer, beside a hand-written query for each of its widgets.

use super::{Size, target};
use crate::Options;
use crate::reads::{WARM_UP, as_user, calls_row};
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress, time};
use anyhow::{Context, Result, ensure};
use chrono::{NaiveDate, TimeDelta};
use gemba_tests::Random;
use postgres::{Client, Statement};
use std::collections::BTreeSet;
use std::time::Duration;

const DATABASE: &str = "bench_reporting_payload";
const OWNER: &str = "00000000-0000-4000-8000-00000000000a";
const VIEWER: &str = "00000000-0000-4000-8000-00000000000b";

const DASHBOARDS: usize = 10;
const LIMIT: Duration = Duration::from_millis(25);

const PAYLOAD: &str = "SELECT reporting.dashboard_payload($1)::text";
const KNOWN: &str = "SELECT reporting.dashboard_payload($1, $2)::text";

/// Widgets of one kind.
struct Shape {
    count: usize,
    kind: &'static str,
    workflows: usize,
    metrics: &'static [&'static str],
    aggregation: &'static str,
    last: i32,
    by_workflow: bool,
}

/// What 20 widgets are: numbers of the quarter, lines of a year and of three, tables by month, pies by quarter.
const SHAPES: [Shape; 6] = [
    Shape {
        count: 6,
        kind: "metric_card",
        workflows: 5,
        metrics: &["clicks"],
        aggregation: "weekly",
        last: 12,
        by_workflow: false,
    },
    Shape {
        count: 6,
        kind: "line",
        workflows: 5,
        metrics: &["clicks", "impressions", "ctr"],
        aggregation: "weekly",
        last: 52,
        by_workflow: true,
    },
    Shape {
        count: 3,
        kind: "area",
        workflows: 1,
        metrics: &["spend", "sales", "acos"],
        aggregation: "weekly",
        last: 156,
        by_workflow: false,
    },
    Shape {
        count: 2,
        kind: "table",
        workflows: 10,
        metrics: &["spend", "sales", "purchases", "roas", "cpc"],
        aggregation: "monthly",
        last: 36,
        by_workflow: true,
    },
    Shape {
        count: 2,
        kind: "pie",
        workflows: 20,
        metrics: &["sales"],
        aggregation: "quarterly",
        last: 12,
        by_workflow: true,
    },
    Shape {
        count: 1,
        kind: "scatter",
        workflows: 10,
        metrics: &["clicks", "purchases"],
        aggregation: "weekly",
        last: 26,
        by_workflow: false,
    },
];

/// A widget as whoever writes its query by hand knows it.
struct Widget {
    name: String,
    shape: &'static Shape,
    workflows: Vec<String>,
}

struct Dashboard {
    id: String,
    widgets: Vec<Widget>,
}

pub fn measure(server: &Server, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    progress("dashboards: three years of figures");
    server.create_database(DATABASE)?;
    let mut owner = server.connect(DATABASE)?;
    owner.batch_execute("CREATE EXTENSION gemba")?;
    let sql = include_str!("../../sql/reporting/figures.sql");
    owner.batch_execute(&sql.replace("{workflows}", &size.workflows.to_string()))?;
    let dashboards = dashboards(&mut owner, size)?;
    owner.batch_execute("VACUUM ANALYZE")?;
    owner.batch_execute("CHECKPOINT")?;
    let rows: i64 = owner
        .query_one("SELECT count(*) FROM reporting.report_data_aggregates", &[])?
        .get(0);
    let calls = options.calls;
    report.note(&format!(
        "dashboards: 156 weeks, their months and quarters of {} workflows on two accounts each, 10 metrics in each of {} rows. {DASHBOARDS} dashboards of 20 widgets each over 40 workflows: 6 cards (12 weeks and the 12 before), 6 lines (52 weeks, 5 workflows apart), 3 areas (156 weeks), 2 tables (36 months, 10 workflows apart), 2 pies (12 quarters, 20 workflows apart), a scatter; {calls} calls each after {WARM_UP} that do not count, dashboards and askers in turns, the whole answer fetched as text; the cache is warm. By hand: a prepared query for each widget, jsonb_each and sum, without row security, ratios and what frames the figures; cards ask twice. Base metrics of both are compared",
        thousands(u64::from(size.workflows)),
        thousands(rows.unsigned_abs())
    ));
    let mut size_of_answer = 0;
    for dashboard in &dashboards {
        check(&mut owner, dashboard)?;
        let row = owner.query_one(PAYLOAD, &[&dashboard.id])?;
        size_of_answer = row.get::<_, &str>(0).len() / 1_000;
    }
    let results = take_turns(server, &dashboards, calls)?;
    let what = "a dashboard of 20 widgets";
    let superuser = results[0].median().as_secs_f64().max(1e-9);
    for (asker, samples) in Asker::ALL.iter().zip(&results) {
        let (detail, ratio) = match asker {
            Asker::Superuser => (format!("{size_of_answer} kB"), String::new()),
            Asker::Owner | Asker::Viewer => {
                let ratio = factor(samples.median().as_secs_f64() / superuser);
                (
                    String::new(),
                    format!("row security: {ratio} the superuser's time"),
                )
            }
            Asker::ByHand => {
                let ratio = factor(samples.median().as_secs_f64() / superuser);
                (
                    "26 queries".to_owned(),
                    format!("gemba's superuser is {ratio} as fast"),
                )
            }
        };
        calls_row(report, what, asker.label(), samples, detail, ratio);
    }
    let mut viewer = as_user(server.connect_with_timeout(DATABASE, "60s")?, VIEWER)?;
    let unchanged = unchanged(&mut viewer, &dashboards, calls)?;
    calls_row(
        report,
        "the same, unchanged",
        "gemba: as a viewer, with the known version",
        &unchanged,
        String::new(),
        String::new(),
    );
    let slowest = results[..3]
        .iter()
        .map(|samples| samples.percentile(95))
        .max();
    let slowest = slowest.unwrap_or_default();
    target(
        report,
        &format!("{what} in less than {} (p95), whoever asks", show(LIMIT)),
        slowest < LIMIT,
        &show(slowest),
    );
    drop((owner, viewer));
    server.drop_database(DATABASE)
}

/// Dashboards of the owner's, which the viewer may see.
fn dashboards(client: &mut Client, size: Size) -> Result<Vec<Dashboard>> {
    let mut random = Random::new(5);
    let mut tx = client.transaction()?;
    tx.batch_execute(&format!(
        "SELECT set_config('request.jwt.claims', '{{\"sub\": \"{OWNER}\"}}', true)"
    ))?;
    let mut made = Vec::new();
    for number in 0..DASHBOARDS {
        let id: String = tx
            .query_one(
                "SELECT reporting.create_dashboard($1)",
                &[&format!("dashboard {number}")],
            )?
            .get(0);
        let mut known: Vec<String> = (1..=size.workflows)
            .map(|number| format!("20000000-0000-4000-8000-{number:012}"))
            .collect();
        random.shuffle(&mut known);
        known.truncate(40);
        let mut widgets = Vec::new();
        for shape in &SHAPES {
            for _ in 0..shape.count {
                random.shuffle(&mut known);
                let widget = Widget {
                    name: format!("w{}", widgets.len()),
                    shape,
                    workflows: known[..shape.workflows.min(known.len())].to_vec(),
                };
                widget.add(&mut tx, &id)?;
                widgets.push(widget);
            }
        }
        tx.execute(
            "SELECT reporting.share_dashboard($1, $2::text::uuid)",
            &[&id, &VIEWER],
        )?;
        made.push(Dashboard { id, widgets });
    }
    tx.commit()?;
    Ok(made)
}

impl Widget {
    fn add(&self, client: &mut impl postgres::GenericClient, dashboard: &str) -> Result<()> {
        let shape = self.shape;
        let (widget_type, chart_type) = match shape.kind {
            "metric_card" | "table" => (shape.kind, None),
            chart => ("chart", Some(chart)),
        };
        let list = |items: &[String]| {
            let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
            items.join(", ")
        };
        let metrics: Vec<String> = shape
            .metrics
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        let source = format!(
            r#"{{"workflows": [{}], "metrics": [{}], "aggregation": "{}", "period": {{"last": {}}}, "group_by": "{}"}}"#,
            list(&self.workflows),
            list(&metrics),
            shape.aggregation,
            shape.last,
            if shape.by_workflow {
                "workflow"
            } else {
                "none"
            }
        );
        client.execute(
            "SELECT reporting.add_widget($1, $2, $3, $4::text::jsonb, chart_type => $5, widget_id => $3)",
            &[&dashboard, &widget_type, &self.name, &source, &chart_type],
        )?;
        Ok(())
    }

    /// The first days of the periods that it shows, and of as many before, from the newest back.
    fn days(&self, before: bool) -> (String, String) {
        let shape = self.shape;
        let back = if before { shape.last } else { 0 };
        let month = |number: i32| format!("{:04}-{:02}-01", 2023 + number / 12, number % 12 + 1);
        match shape.aggregation {
            "weekly" => {
                let first = NaiveDate::from_ymd_opt(2023, 1, 2).unwrap_or_default();
                let day = |number: i32| first + TimeDelta::weeks(number.into());
                let last = 155 - back;
                (
                    day(last - shape.last + 1).to_string(),
                    day(last).to_string(),
                )
            }
            "monthly" => (month(35 - back - shape.last + 1), month(35 - back)),
            _ => (
                month((11 - back - shape.last + 1) * 3),
                month((11 - back) * 3),
            ),
        }
    }

    /// Its figures by hand: series, period, metric and sum.
    fn ask(&self, client: &mut Client, statement: &Statement, before: bool) -> Result<Vec<String>> {
        let shape = self.shape;
        let (first, last) = self.days(before);
        let by_period = shape.kind != "metric_card";
        let rows = client.query(
            statement,
            &[
                &self.workflows,
                &shape.aggregation,
                &first,
                &last,
                &shape.metrics,
                &shape.by_workflow,
                &by_period,
            ],
        )?;
        let line = |row: &postgres::Row| {
            let metric: &str = if by_period { row.get(2) } else { "-" };
            let [series, key, sum] = [0, 1, 3].map(|column| row.get::<_, &str>(column));
            format!("{} {series} {key} {metric} {sum}", self.name)
        };
        Ok(rows.iter().map(line).collect())
    }
}

fn prepared(client: &mut Client) -> Result<Statement> {
    let sql = include_str!("../../sql/reporting/widget.by_hand.sql");
    client.prepare(sql).context("the query by hand")
}

/// Both sides have the same base metrics.
fn check(client: &mut Client, dashboard: &Dashboard) -> Result<()> {
    let statement = prepared(client)?;
    let mut wanted = BTreeSet::new();
    for widget in &dashboard.widgets {
        wanted.extend(widget.ask(client, &statement, false)?);
    }
    let sql = include_str!("../../sql/reporting/payload.unrolled.sql");
    let found: BTreeSet<String> = client
        .query(sql, &[&dashboard.id])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let ratio = |line: &&String| {
        [" ctr ", " acos ", " roas ", " cpc "]
            .iter()
            .any(|name| line.contains(name))
    };
    let missing = wanted.difference(&found).next();
    let surplus = found.difference(&wanted).find(|line| !ratio(line));
    ensure!(
        missing.is_none() && surplus.is_none() && !wanted.is_empty(),
        "the sides differ: by hand {missing:?}, gemba {surplus:?}"
    );
    Ok(())
}

/// Who asks, or writes the queries.
#[derive(Clone, Copy)]
enum Asker {
    Superuser,
    Owner,
    Viewer,
    ByHand,
}

impl Asker {
    const ALL: [Self; 4] = [Self::Superuser, Self::Owner, Self::Viewer, Self::ByHand];

    fn label(self) -> &'static str {
        match self {
            Self::Superuser => "gemba: dashboard_payload() as superuser",
            Self::Owner => "as its owner, a user",
            Self::Viewer => "as a viewer, a user",
            Self::ByHand => "by hand: jsonb_each and sum for each widget",
        }
    }

    fn connect(self, server: &Server) -> Result<(Client, Statement)> {
        let mut client = server.connect_with_timeout(DATABASE, "60s")?;
        client = match self {
            Self::Owner => as_user(client, OWNER)?,
            Self::Viewer => as_user(client, VIEWER)?,
            Self::Superuser | Self::ByHand => client,
        };
        let statement = match self {
            Self::ByHand => prepared(&mut client)?,
            _ => client.prepare(PAYLOAD)?,
        };
        Ok((client, statement))
    }

    fn ask(self, client: &mut Client, statement: &Statement, dashboard: &Dashboard) -> Result<()> {
        if let Self::ByHand = self {
            for widget in &dashboard.widgets {
                widget.ask(client, statement, false)?;
                if widget.shape.kind == "metric_card" {
                    widget.ask(client, statement, true)?;
                }
            }
            return Ok(());
        }
        let row = client.query_one(statement, &[&dashboard.id])?;
        ensure!(
            row.get::<_, &str>(0).len() > 1_000,
            "there is nothing in the answer"
        );
        Ok(())
    }
}

/// All ask the same, another one first each time.
fn take_turns(server: &Server, dashboards: &[Dashboard], calls: usize) -> Result<[Samples; 4]> {
    let mut clients = Vec::new();
    for asker in Asker::ALL {
        clients.push(asker.connect(server)?);
    }
    let mut results: [Samples; 4] = Default::default();
    for call in 0..calls + WARM_UP {
        let dashboard = &dashboards[call % dashboards.len()];
        for turn in 0..Asker::ALL.len() {
            let who = (call + turn) % Asker::ALL.len();
            let (client, statement) = &mut clients[who];
            let (took, ()) = time(|| Asker::ALL[who].ask(client, statement, dashboard))?;
            if call >= WARM_UP {
                results[who].push(took);
            }
        }
    }
    Ok(results)
}

fn unchanged(client: &mut Client, dashboards: &[Dashboard], calls: usize) -> Result<Samples> {
    let mut versions = Vec::new();
    for dashboard in dashboards {
        let sql = "SELECT reporting.dashboard_payload($1) ->> 'version'";
        versions.push(client.query_one(sql, &[&dashboard.id])?.get::<_, String>(0));
    }
    let statement = client.prepare(KNOWN)?;
    let mut samples = Samples::default();
    for call in 0..calls + WARM_UP {
        let number = call % dashboards.len();
        let (took, row) = time(|| {
            Ok(client.query_one(&statement, &[&dashboards[number].id, &versions[number]])?)
        })?;
        ensure!(
            row.get::<_, &str>(0).contains("\"unchanged\": true"),
            "something changed"
        );
        if call >= WARM_UP {
            samples.push(took);
        }
    }
    Ok(samples)
}
