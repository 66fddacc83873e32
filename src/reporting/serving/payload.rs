//! A dashboard's answer.

use super::board::{Board, Shown};
use super::figure::Figure;
use super::rows::{Items, Slots, date};
use super::sources::{Definition, Sources, definitions};
use super::tally::{Cell, Count, Key, Keys};
use super::version::version;
use super::view::{Metric, Side, View};
use super::write::{self, Fields};
use crate::error::{Error, Result};
use chrono::NaiveDate;
use gemba_core::dashboard::{GroupBy, Kind, Sort, SortBy, Table};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, HashMap};

/// The dashboard with the figures of all its widgets; where the version is still the known one, only that.
///
/// # Errors
/// `P0002` when there is no such dashboard for the caller.
pub fn payload(dashboard: &str, known_version: Option<&str>) -> Result<String> {
    let board = Board::read(dashboard)?;
    let sources = board.sources()?;
    let definitions = definitions(
        board
            .queries()
            .flat_map(|query| query.metrics.iter().map(String::as_str))
            .collect(),
    )?;
    let version = version(&board, &sources, &definitions);
    let mut out = String::new();
    if known_version == Some(version.as_str()) {
        write::object(&mut out, |fields| {
            fields.text("dashboard_id", &board.dashboard_id)?;
            fields.text("version", &version)?;
            fields.json("unchanged", "true")
        })?;
        return Ok(out);
    }
    let mut keys = Keys::default();
    let (views, places) = figures(&board, &sources, &definitions, &mut keys)?;
    write::object(&mut out, |fields| {
        fields.text("dashboard_id", &board.dashboard_id)?;
        fields.text("name", &board.name)?;
        fields.text("version", &version)?;
        fields.json("layout", &json(&board.layout)?)?;
        fields.json("filters", &board.filter_config)?;
        fields.text("permission", &board.permission)?;
        fields.with("widgets", |out| {
            write::list(
                out,
                board.widgets.iter().zip(places),
                |out, (shown, place)| {
                    write::object(out, |fields| {
                        frame(fields, shown)?;
                        match (&shown.widget, &place) {
                            (Ok(widget), Ok(place)) => content(
                                fields,
                                &widget.kind,
                                place.map(|place| &views[place]),
                                &keys,
                            ),
                            (Err(why), _) | (_, Err(why)) => trouble(fields, why),
                        }
                    })
                },
            )
        })
    })?;
    Ok(out)
}

/// Where a widget's view is among all of them; a text has none. Or why there is none.
type Place = Result<Option<usize>, String>;

/// The views of all widgets, with their figures.
fn figures<'a>(
    board: &'a Board,
    sources: &Sources,
    definitions: &'a HashMap<String, Definition>,
    keys: &mut Keys,
) -> Result<(Vec<View<'a>>, Vec<Place>)> {
    let (mut slots, mut items) = (Slots::default(), Items::default());
    let (mut views, mut places) = (Vec::new(), Vec::new());
    for shown in &board.widgets {
        let Some(query) = shown.query() else {
            places.push(Ok(None));
            continue;
        };
        let place = board.defaults_of(query, sources).map(|defaults| {
            let period = query.period(defaults);
            let filters = query.filters(defaults);
            views.push(View::new(
                query,
                period,
                &filters,
                sources,
                definitions,
                &mut slots,
                &mut items,
            ));
            Some(views.len() - 1)
        });
        places.push(place);
    }
    items.read(&slots, &mut views, keys)?;
    Ok((views, places))
}

/// What a widget is, whether or not there are figures.
fn frame(fields: &mut Fields, shown: &Shown) -> Result<()> {
    fields.text("widget_id", &shown.widget_id)?;
    fields.text("type", &shown.widget_type)?;
    if let Some(chart_type) = &shown.chart_type {
        fields.text("chart_type", chart_type)?;
    }
    fields.text("title", &shown.title)?;
    fields.json("display", &shown.display_config)?;
    fields.json("position", &shown.position_config)
}

fn trouble(fields: &mut Fields, why: &str) -> Result<()> {
    fields.json("data", "[]")?;
    fields.text("error", why)
}

fn content(fields: &mut Fields, kind: &Kind, view: Option<&View>, keys: &Keys) -> Result<()> {
    if let Some(why) = view.and_then(|view| view.trouble.as_deref()) {
        return trouble(fields, why);
    }
    match (kind, view) {
        (Kind::Text(prose), _) => fields.json("data", &json(prose)?),
        (_, None) => Ok(()),
        (Kind::MetricCard(_), Some(view)) => {
            let now = card(fields, view, &view.now, keys)?;
            let Some(side) = &view.before else {
                return Ok(());
            };
            let mut before = None;
            fields.with("previous", |out| {
                write::object(out, |fields| {
                    before = card(fields, view, side, keys)?;
                    Ok(())
                })
            })?;
            fields.with("change", |out| change(out, now.as_ref(), before.as_ref()))
        }
        (kind, Some(view)) => {
            let now = figures_of(fields, kind, view, &view.now, keys)?;
            let Some(side) = &view.before else {
                return Ok(());
            };
            let mut before = Vec::new();
            fields.with("previous", |out| {
                write::object(out, |fields| {
                    before = figures_of(fields, kind, view, side, keys)?;
                    Ok(())
                })
            })?;
            fields.with("change", |out| {
                write::object(out, |fields| {
                    for metric in &view.metrics {
                        let (now, before) = (metric.value(&now)?, metric.value(&before)?);
                        fields.with(metric.name, |out| {
                            change(out, now.as_ref(), before.as_ref())
                        })?;
                    }
                    Ok(())
                })
            })
        }
    }
}

/// One number over all days; that of each series too, where there are groups.
fn card(fields: &mut Fields, view: &View, side: &Side, keys: &Keys) -> Result<Option<Figure>> {
    let cells = side.tally.cells(keys);
    period(fields, view, side, &cells)?;
    let value = |sums: &[Count]| match view.metrics.first() {
        Some(metric) => metric.value(sums),
        None => Ok(None),
    };
    let all = value(&side.tally.together(&cells)?)?;
    fields.with("data", |out| {
        write::object(out, |fields| {
            fields.json("value", &number(all.as_ref()))?;
            let Some(group) = group(view) else {
                return Ok(());
            };
            fields.with("series", |out| {
                write::list(out, series(side, &cells), |out, (id, cells)| {
                    write::object(out, |fields| {
                        fields.text(group, &id)?;
                        let value = value(&side.tally.together(cells)?)?;
                        fields.json("value", &number(value.as_ref()))
                    })
                })
            })
        })
    })?;
    Ok(all)
}

/// Points or rows, and the metrics over all days; returns their sums.
fn figures_of(
    fields: &mut Fields,
    kind: &Kind,
    view: &View,
    side: &Side,
    keys: &Keys,
) -> Result<Vec<Count>> {
    let cells = side.tally.cells(keys);
    period(fields, view, side, &cells)?;
    fields.with("data", |out| match (kind, group(view)) {
        (Kind::Table(table), group) => rows(out, table, view, side, cells.iter().collect(), group),
        (_, None) => write::list(out, &cells, |out, cell| {
            write::object(out, |fields| point(fields, view, cell))
        }),
        (_, Some(group)) => write::list(out, series(side, &cells), |out, (id, cells)| {
            write::object(out, |fields| {
                fields.text(group, &id)?;
                fields.with("points", |out| {
                    write::list(out, cells, |out, cell| {
                        write::object(out, |fields| point(fields, view, cell))
                    })
                })?;
                let sums = side.tally.together(cells)?;
                fields.with("total", |out| metrics(out, &view.metrics, &sums))
            })
        }),
    })?;
    let sums = side.tally.together(&cells)?;
    fields.with("total", |out| metrics(out, &view.metrics, &sums))?;
    Ok(sums)
}

/// The days, and the periods among them that have figures.
fn period(fields: &mut Fields, view: &View, side: &Side, cells: &[Cell]) -> Result<()> {
    let Some(range) = side.range else {
        return fields.json("period", "null");
    };
    fields.with("period", |out| {
        write::object(out, |fields| {
            fields.text("aggregation", view.aggregation().name())?;
            fields.date("from", range.from)?;
            fields.date("to", range.to)?;
            let keys: BTreeSet<&Key> = cells.iter().map(|cell| cell.key).collect();
            fields.with("keys", |out| {
                write::list(out, keys, |out, key| {
                    write::text(out, &key.name);
                    Ok(())
                })
            })
        })
    })
}

/// What a series is called after; none where there is only one.
fn group(view: &View) -> Option<&'static str> {
    match view.query.group_by {
        GroupBy::None => None,
        GroupBy::Workflow => Some("workflow"),
        GroupBy::Instance => Some("instance"),
    }
}

/// Each series with its periods, also those without any.
fn series<'a>(
    side: &'a Side,
    cells: &'a [Cell<'a>],
) -> impl Iterator<Item = (String, &'a [Cell<'a>])> {
    side.tally.series.iter().enumerate().map(|(number, id)| {
        let from = cells.partition_point(|cell| cell.series < number);
        let to = cells.partition_point(|cell| cell.series <= number);
        (id.unwrap_or_default().to_string(), &cells[from..to])
    })
}

fn point(fields: &mut Fields, view: &View, cell: &Cell) -> Result<()> {
    fields.text("key", &cell.key.name)?;
    fields.date("from", date(cell.key.from).unwrap_or(NaiveDate::MIN))?;
    fields.with("metrics", |out| metrics(out, &view.metrics, cell.sums))
}

/// A table's rows in its order: without one, the newest period first.
fn rows(
    out: &mut String,
    table: &Table,
    view: &View,
    side: &Side,
    cells: Vec<&Cell>,
    group: Option<&str>,
) -> Result<()> {
    let limit = table.limit.map_or(usize::MAX, |limit| limit as usize);
    let cells = sorted(table.sort.as_ref(), view, cells)?;
    write::list(out, cells.into_iter().take(limit), |out, cell| {
        write::object(out, |fields| {
            if let (Some(group), Some(id)) = (group, side.tally.series[cell.series]) {
                fields.text(group, &id.to_string())?;
            }
            point(fields, view, cell)
        })
    })
}

fn sorted<'a>(
    sort: Option<&Sort>,
    view: &View,
    mut cells: Vec<&'a Cell<'a>>,
) -> Result<Vec<&'a Cell<'a>>> {
    cells.sort_by_key(|cell| (Reverse(cell.key), cell.series));
    let Some(sort) = sort else { return Ok(cells) };
    let by = match &sort.by {
        SortBy::Metric(name) => view.metrics.iter().find(|metric| metric.name == name),
        SortBy::Period => None,
    };
    let Some(metric) = by else {
        if !sort.descending {
            cells.sort_by_key(|cell| (cell.key, cell.series));
        }
        return Ok(cells);
    };
    let mut valued = Vec::with_capacity(cells.len());
    for cell in cells {
        valued.push((metric.value(cell.sums)?, cell));
    }
    let mut failed = None;
    // What is not known comes last in either order.
    valued.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => {
            let order = a.compared(b).unwrap_or_else(|error| {
                failed = Some(error);
                Ordering::Equal
            });
            if sort.descending {
                order.reverse()
            } else {
                order
            }
        }
        (a, b) => a.is_none().cmp(&b.is_none()),
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(valued.into_iter().map(|(_, cell)| cell).collect()),
    }
}

fn metrics(out: &mut String, metrics: &[Metric], sums: &[Count]) -> Result<()> {
    write::object(out, |fields| {
        for metric in metrics {
            fields.json(metric.name, &number(metric.value(sums)?.as_ref()))?;
        }
        Ok(())
    })
}

fn change(out: &mut String, now: Option<&Figure>, before: Option<&Figure>) -> Result<()> {
    let change = match (now, before) {
        (Some(now), Some(before)) => Some(now.change(before)?),
        _ => None,
    };
    write::object(out, |fields| {
        let absolute = change.as_ref().map(|change| &change.absolute);
        let percent = change.as_ref().and_then(|change| change.percent.as_ref());
        fields.json("absolute", &number(absolute))?;
        fields.json("percent", &number(percent))
    })
}

fn number(figure: Option<&Figure>) -> String {
    figure.map_or_else(|| "null".to_owned(), Figure::text)
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            "a configuration cannot be written",
        )
        .detail(error.to_string())
    })
}
