//! A dashboard and its widgets.

use super::sources::Sources;
use crate::error::{Error, Result};
use crate::postgres::json::JsonText;
use crate::postgres::plan::Plan;
use gemba_core::dashboard::{Defaults, Draft, Layout, Query, Widget, validate_widget};
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;

thread_local! {
    // Whom policies do not bind may do everything.
    static BOARD: Plan = const { Plan::new(
        c"SELECT d.id, d.name::text, d.layout_config, d.filter_config,
                 CASE WHEN NOT row_security_active('reporting.dashboards'::text) OR d.user_id = u.id THEN 'owner'
                      ELSE coalesce((SELECT s.permission_level::text FROM reporting.dashboard_shares s
                                      WHERE s.dashboard_id = d.id AND s.shared_with_user_id = u.id), 'view') END
            FROM reporting.dashboards d CROSS JOIN (SELECT auth.uid() AS id) AS u
           WHERE d.dashboard_id = $1",
        &[pg_sys::TEXTOID],
    ) };
    static WIDGETS: Plan = const { Plan::new(
        c"SELECT w.widget_id::text, w.widget_type::text, w.chart_type::text, w.title::text, w.data_source,
                 w.display_config, w.position_config
            FROM reporting.dashboard_widgets w WHERE w.dashboard_id = $1",
        &[pg_sys::UUIDOID],
    ) };
}

/// A dashboard, as far as the caller may read it.
pub struct Board {
    pub dashboard_id: String,
    pub name: String,
    pub layout_config: String,
    pub filter_config: String,
    /// `owner`, `edit` or `view`.
    pub permission: String,
    pub layout: Layout,
    /// Or what is wrong with them.
    pub defaults: Result<Defaults, String>,
    /// From the top, and from the left.
    pub widgets: Vec<Shown>,
}

/// A widget as it is stored, and what it means.
pub struct Shown {
    pub widget_id: String,
    pub widget_type: String,
    pub chart_type: Option<String>,
    pub title: String,
    pub data_source: String,
    pub display_config: String,
    pub position_config: String,
    /// Or what is wrong with it. Nothing is, unless it was written past the triggers.
    pub widget: Result<Widget, String>,
}

impl Board {
    /// # Errors
    /// `P0002` when there is none that the caller may read.
    pub fn read(dashboard: &str) -> Result<Self> {
        let mut found = BOARD.with(|plan| {
            plan.all(&[dashboard.into()], |row| {
                let id = row.need::<pgrx::Uuid>(1)?;
                let (layout_config, filter_config) =
                    (row.need::<JsonText>(3)?.0, row.need::<JsonText>(4)?.0);
                let board = Self {
                    dashboard_id: dashboard.to_owned(),
                    name: row.need(2)?,
                    permission: row.need(5)?,
                    layout: Layout::read(&layout_config).unwrap_or_default(),
                    defaults: Defaults::read(&filter_config).map_err(|invalid| invalid.to_string()),
                    layout_config,
                    filter_config,
                    widgets: Vec::new(),
                };
                Ok((id, board))
            })
        })?;
        let Some((id, mut board)) = found.pop() else {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
                "the dashboard does not exist",
            )
            .detail(format!("dashboard {dashboard}"))
            .hint(
                "see reporting.my_dashboards; one that is not shared with you is not there for you",
            ));
        };
        board.widgets = widgets(id, board.layout.columns)?;
        Ok(board)
    }

    /// What widgets ask for.
    pub fn queries(&self) -> impl Iterator<Item = &Query> {
        self.widgets.iter().filter_map(Shown::query)
    }

    /// The workflows behind the widgets.
    pub fn sources(&self) -> Result<Sources> {
        let workflows = self.queries().flat_map(|query| &query.workflows);
        Sources::read(workflows.copied().collect())
    }

    /// The defaults that a query is read with, or why it cannot be read.
    pub fn defaults_of(&self, query: &Query, sources: &Sources) -> Result<&Defaults, String> {
        let workflows = query.workflows.iter();
        let hidden = workflows
            .filter(|workflow| !sources.readable.contains(workflow))
            .count();
        if hidden > 0 {
            // A part of the sum would look like all of it.
            let all = query.workflows.len();
            return Err(format!("not readable: {hidden} of {all} workflows"));
        }
        self.defaults.as_ref().map_err(Clone::clone)
    }
}

impl Shown {
    /// What it asks for. A text asks for nothing.
    pub fn query(&self) -> Option<&Query> {
        self.widget.as_ref().ok()?.query()
    }
}

fn widgets(board: pgrx::Uuid, columns: u32) -> Result<Vec<Shown>> {
    let mut widgets = WIDGETS.with(|plan| {
        plan.all(&[board.into()], |row| {
            let widget_type: String = row.need(2)?;
            let chart_type: Option<String> = row.get(3)?;
            let title: String = row.need(4)?;
            let data_source = row.need::<JsonText>(5)?.0;
            let display_config = row.need::<JsonText>(6)?.0;
            let position_config = row.need::<JsonText>(7)?.0;
            let draft = Draft {
                widget_type: &widget_type,
                chart_type: chart_type.as_deref(),
                title: &title,
                data_source: &data_source,
                display_config: Some(&display_config),
                position_config: &position_config,
            };
            let widget = validate_widget(&draft, columns).map_err(|invalid| invalid.to_string());
            Ok(Shown {
                widget_id: row.need(1)?,
                widget_type,
                chart_type,
                title,
                data_source,
                display_config,
                position_config,
                widget,
            })
        })
    })?;
    // Those of which nothing is known come last.
    widgets.sort_by_cached_key(|shown| {
        let place = shown
            .widget
            .as_ref()
            .map(|widget| (widget.position.y, widget.position.x));
        (
            place.unwrap_or((u32::MAX, u32::MAX)),
            shown.widget_id.clone(),
        )
    });
    Ok(widgets)
}
