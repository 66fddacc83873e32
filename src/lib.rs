//! gemba: the operations back end that lives inside PostgreSQL.
//!
//! This file is the table of contents. Each room of the house is one module here, one schema in the
//! database and one folder under `sql/`; `docs/` has a page for each.

use pgrx::prelude::*;

pg_module_magic!(name, version);

mod cloudwatcher;
mod engine;
mod error;
mod gucs;
mod modules;
mod plant;
mod postgres;
mod reporting;
mod sqp;
mod telemetry;

/// The schemas by name, for pgrx, which wants to know the schema of every function. bootstrap.sql has
/// created them by then, in a way that refuses a schema that somebody else made before us.
mod schemas {
    use pgrx::pg_schema;

    #[pg_schema]
    mod cloudwatcher {}
    #[pg_schema]
    mod gemba {}
    #[pg_schema]
    mod plant {}
    #[pg_schema]
    mod reporting {}
    #[pg_schema]
    mod sqp {}
    #[pg_schema]
    mod telemetry {}
}

// The install script, in order: what everything needs (schemas, roles, the engine's catalog), then the
// functions that pgrx writes from the modules above, then grants, comments and the first deploy.
extension_sql_file!(
    "../sql/install/bootstrap.sql",
    name = "bootstrap",
    bootstrap
);
extension_sql_file!(
    "../sql/install/engine.sql",
    name = "engine",
    requires = [
        engine::rollups::pending::pending_buckets_sql,
        engine::migrate::available_migrations,
    ]
);
extension_sql_file!(
    "../sql/install/telemetry.sql",
    name = "telemetry",
    requires = [
        engine::buckets::bucket_start,
        engine::buckets::buckets,
        telemetry::access::access_tier,
    ]
);
extension_sql_file!("../sql/install/plant_types.sql", name = "plant_types");
extension_sql_file!(
    "../sql/install/plant.sql",
    name = "plant",
    requires = [
        "plant_types",
        plant::states::state_durations,
        plant::targets::today,
        plant::page::_summary,
    ]
);
// In parts, each after the one before.
extension_sql_file!(
    "../sql/install/sqp/triggers.sql",
    name = "sqp_triggers",
    requires = [sqp::helpers::_cycle, sqp::in_database::refresh_in_database]
);
extension_sql_file!(
    "../sql/install/sqp/names.sql",
    name = "sqp_names",
    requires = ["sqp_triggers"]
);
extension_sql_file!(
    "../sql/install/sqp/dependencies.sql",
    name = "sqp_dependencies",
    requires = ["sqp_names"]
);
extension_sql_file!(
    "../sql/install/sqp/claims.sql",
    name = "sqp_claims",
    requires = ["sqp_dependencies"]
);
extension_sql_file!(
    "../sql/install/sqp/reports.sql",
    name = "sqp_reports",
    requires = ["sqp_claims"]
);
extension_sql_file!(
    "../sql/install/sqp/quality.sql",
    name = "sqp_quality",
    requires = ["sqp_reports"]
);
extension_sql_file!(
    "../sql/install/sqp/in_database.sql",
    name = "sqp_in_database",
    requires = ["sqp_quality"]
);
extension_sql_file!(
    "../sql/install/sqp/registration.sql",
    name = "sqp_registration",
    requires = ["sqp_in_database"]
);
extension_sql_file!(
    "../sql/install/sqp/summaries.sql",
    name = "sqp_summaries",
    requires = ["sqp_registration"]
);
extension_sql_file!(
    "../sql/install/reporting/access.sql",
    name = "reporting_access"
);
extension_sql_file!(
    "../sql/install/reporting/triggers.sql",
    name = "reporting_triggers",
    requires = [
        "reporting_access",
        reporting::ids::new_id,
        reporting::widgets::_check_widget,
        reporting::widgets::_check_layout,
    ]
);
extension_sql_file!(
    "../sql/install/reporting/dashboards.sql",
    name = "reporting_dashboards",
    requires = ["reporting_triggers"]
);
extension_sql_file!(
    "../sql/install/reporting/aggregates.sql",
    name = "reporting_aggregates",
    requires = ["reporting_triggers", reporting::periods::_week_end]
);
extension_sql_file!(
    "../sql/install/reporting/collections.sql",
    name = "reporting_collections",
    requires = ["reporting_dashboards"]
);
extension_sql_file!(
    "../sql/install/reporting/weeks.sql",
    name = "reporting_weeks",
    requires = ["reporting_collections"]
);
extension_sql_file!(
    "../sql/install/reporting/insights.sql",
    name = "reporting_insights",
    requires = ["reporting_dashboards"]
);
extension_sql_file!(
    "../sql/install/reporting/metrics.sql",
    name = "reporting_metrics"
);
extension_sql_file!(
    "../sql/install/cloudwatcher/identity.sql",
    name = "cloudwatcher_identity",
    requires = [
        cloudwatcher::access::api::_allows,
        cloudwatcher::access::api::_allows_in,
    ]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/stock.sql",
    name = "cloudwatcher_stock",
    requires = ["cloudwatcher_identity"]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/supply.sql",
    name = "cloudwatcher_supply",
    requires = ["cloudwatcher_stock", cloudwatcher::forecast::_forecast]
);
// Cloudwatcher: orders.
extension_sql_file!(
    "../sql/install/cloudwatcher/order_rules.sql",
    name = "cloudwatcher_order_rules",
    requires = ["cloudwatcher_identity"]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/orders.sql",
    name = "cloudwatcher_orders",
    requires = ["cloudwatcher_order_rules"]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/approvals.sql",
    name = "cloudwatcher_approvals",
    requires = ["cloudwatcher_orders"]
);
// Requests, in parts, each after the one before.
extension_sql_file!(
    "../sql/install/cloudwatcher/requests/rules.sql",
    name = "cloudwatcher_requests_rules",
    requires = ["cloudwatcher_identity"]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/requests/submit.sql",
    name = "cloudwatcher_requests_submit",
    requires = [
        "cloudwatcher_requests_rules",
        cloudwatcher::requests::months::_ready_requests,
    ]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/requests/work.sql",
    name = "cloudwatcher_requests_work",
    requires = ["cloudwatcher_requests_submit"]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/requests/responses.sql",
    name = "cloudwatcher_requests_responses",
    requires = ["cloudwatcher_requests_work"]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/requests/devices.sql",
    name = "cloudwatcher_requests_devices",
    requires = ["cloudwatcher_requests_responses"]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/requests/files.sql",
    name = "cloudwatcher_requests_files",
    requires = ["cloudwatcher_requests_devices"]
);
extension_sql_file!(
    "../sql/install/cloudwatcher/requests/archive.sql",
    name = "cloudwatcher_requests_archive",
    requires = ["cloudwatcher_requests_files"]
);
extension_sql_file!("../sql/install/finish.sql", name = "finish", finalize);

#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    gucs::register();
    engine::jobs::worker::register();
    engine::audit::access::register();
    engine::history::aggregate::switch::register();
    engine::history::register();
}

/// Set-up that `cargo pgrx test` asks for.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["fsync = off", "max_locks_per_transaction = 256"]
    }
}
