//! What the tables ask about dashboards and widgets: may they hold this, and do the widgets fit?

use crate::error::{Error, Result};
use crate::postgres::json::JsonText;
use crate::postgres::spi;
use gemba_core::dashboard::{
    Defaults, Draft, Invalid, Layout, MOST_COLUMNS, Position, overlap, validate_widget,
};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Widgets of one dashboard.
const MOST_WIDGETS: usize = 500;

/// Of one configuration, as text.
const MOST_BYTES: usize = 200_000;

const DOCUMENTED: &str = "docs/reporting.md says what a configuration may hold";

/// Refuses a widget whose configuration cannot be shown. What is NULL, the columns themselves refuse; how many
/// columns the grid has, [`_check_layout`] knows.
#[pg_extern(schema = "reporting", immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn _check_widget(
    widget_type: Option<&str>,
    chart_type: Option<&str>,
    title: Option<&str>,
    data_source: Option<JsonText>,
    display_config: Option<JsonText>,
    position_config: Option<JsonText>,
) -> Result<(), ErrorReport> {
    let (Some(widget_type), Some(title), Some(data_source), Some(position_config)) =
        (widget_type, title, data_source, position_config)
    else {
        return Ok(());
    };
    for (name, json) in [
        ("data_source", Some(&data_source)),
        ("display_config", display_config.as_ref()),
    ] {
        require_small(name, json)?;
    }
    let draft = Draft {
        widget_type,
        chart_type,
        title,
        data_source: &data_source.0,
        display_config: display_config.as_ref().map(|json| json.0.as_str()),
        position_config: &position_config.0,
    };
    validate_widget(&draft, MOST_COLUMNS)
        .map_err(|invalid| refused("the widget cannot be shown", &invalid))?;
    Ok(())
}

/// Refuses a layout or filters that no dashboard can have.
#[pg_extern(schema = "reporting", immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn _check_dashboard(
    layout_config: Option<JsonText>,
    filter_config: Option<JsonText>,
) -> Result<(), ErrorReport> {
    let refused = |invalid| refused("the dashboard cannot be shown", &invalid);
    require_small("layout_config", layout_config.as_ref())?;
    require_small("filter_config", filter_config.as_ref())?;
    if let Some(layout) = layout_config {
        Layout::read(&layout.0).map_err(refused)?;
    }
    if let Some(filters) = filter_config {
        Defaults::read(&filters.0).map_err(refused)?;
    }
    Ok(())
}

/// Each version of a dashboard keeps a copy of it.
fn require_small(name: &str, json: Option<&JsonText>) -> Result<()> {
    match json.map_or(0, |json| json.0.len()) {
        size if size > MOST_BYTES => Err(Error::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "the configuration is too large",
        )
        .detail(format!("{name}: {size} bytes"))
        .hint(format!("it may have {MOST_BYTES}"))),
        _ => Ok(()),
    }
}

fn refused(message: &str, invalid: &Invalid) -> Error {
    Error::invalid(message)
        .detail(invalid.to_string())
        .hint(DOCUMENTED)
}

/// Refuses widgets that do not fit in the dashboard's grid, or stand on each other.
///
/// # Errors
/// `23514` for one outside the grid, `23P01` for two that overlap, `54000` for too many.
#[pg_extern(schema = "reporting", stable, parallel_unsafe, strict)]
#[search_path(pg_catalog, pg_temp)]
fn _check_layout(board: pgrx::Uuid) -> Result<(), ErrorReport> {
    Ok(check_layout(board)?)
}

fn check_layout(board: pgrx::Uuid) -> Result<()> {
    let layout = spi::read_one::<JsonText>(
        "SELECT d.layout_config FROM reporting.dashboards d WHERE d.id = $1",
        &[board.into()],
    )?;
    let Some(layout) = layout else { return Ok(()) };
    let layout = Layout::read(&layout.0)
        .map_err(|invalid| refused("the dashboard cannot be shown", &invalid))?;
    let widgets = spi::read_all(
        "SELECT w.widget_id::text, w.position_config FROM reporting.dashboard_widgets w
          WHERE w.dashboard_id = $1 ORDER BY w.widget_id",
        &[board.into()],
        |row| {
            let json = row.get::<JsonText>(2)?.map_or(String::new(), |json| json.0);
            Ok((row.get::<String>(1)?.unwrap_or_default(), json))
        },
    )?;
    if widgets.len() > MOST_WIDGETS {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "a dashboard has too many widgets",
        )
        .detail(format!("{} widgets", widgets.len()))
        .hint(format!(
            "at most {MOST_WIDGETS} fit; make a second dashboard"
        )));
    }
    let mut positions = Vec::with_capacity(widgets.len());
    for (widget, json) in &widgets {
        let position = Position::read(json, MOST_COLUMNS)
            .map_err(|invalid| refused("the widget cannot be shown", &invalid))?;
        let last = position.x + position.width - 1;
        if last >= layout.columns {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
                "the widget is outside the grid",
            )
            .detail(format!(
                "widget {widget}: columns {} to {last} of {}",
                position.x, layout.columns
            ))
            .hint("place it inside, or give layout_config more columns"));
        }
        positions.push(position);
    }
    let Some(overlap) = overlap(&positions) else {
        return Ok(());
    };
    let cells = overlap.cells;
    let (one, other) = (
        overlap.first.min(overlap.second),
        overlap.first.max(overlap.second),
    );
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_EXCLUSION_VIOLATION,
        "two widgets overlap",
    )
    .detail(format!(
        "widgets {} and {}, at column {}, row {}",
        widgets[one].0, widgets[other].0, cells.x, cells.y
    ))
    .hint("reporting.move_widgets() moves several at once"))
}
