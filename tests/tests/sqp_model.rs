//! The tables of the refreshes: every column, check and index of the seed, and what the room adds.

mod sqp_support;

use anyhow::Result;
use gemba_tests::{expect_sqlstate, extended};
use sqp_support::*;

/// Table, and its columns as the seed has them. Counts that could overflow are bigint, and so are ids of rows that
/// come with every run.
const SEED: &[(&str, &str)] = &[
    (
        "refresh_config",
        "id integer, table_schema text, table_name text, is_enabled boolean, refresh_frequency_hours integer, priority integer, \
         last_refresh_at timestamp with time zone, next_refresh_at timestamp with time zone, custom_sync_params jsonb, \
         dependencies text[], created_at timestamp with time zone, updated_at timestamp with time zone",
    ),
    (
        "refresh_audit_log",
        "id bigint, refresh_config_id integer, table_schema text, table_name text, refresh_started_at timestamp with time zone, \
         refresh_completed_at timestamp with time zone, status text, rows_processed bigint, rows_inserted bigint, rows_updated bigint, \
         rows_deleted bigint, execution_time_ms bigint, memory_used_mb numeric(10,2), error_message text, error_details jsonb, \
         bigquery_job_id text, sync_metadata jsonb, created_at timestamp with time zone",
    ),
    (
        "refresh_dependencies",
        "id integer, parent_config_id integer, dependent_config_id integer, dependency_type text, created_at timestamp with time zone",
    ),
    (
        "refresh_data_quality",
        "id bigint, audit_log_id bigint, metric_name text, metric_value numeric, expected_value numeric, threshold_min numeric, \
         threshold_max numeric, is_within_threshold boolean, created_at timestamp with time zone",
    ),
    (
        "refresh_checkpoints",
        "id bigint, function_name text, table_schema text, table_name text, checkpoint_data jsonb, last_processed_row bigint, \
         total_rows bigint, status text, created_at timestamp with time zone, updated_at timestamp with time zone, \
         expires_at timestamp with time zone",
    ),
];

const INDEXES: &[(&str, &str)] = &[
    (
        "idx_refresh_config_next_refresh",
        "btree (next_refresh_at) WHERE (is_enabled = true)",
    ),
    (
        "idx_refresh_config_priority",
        "btree (priority DESC) WHERE (is_enabled = true)",
    ),
    (
        "idx_audit_log_status_time",
        "btree (status, refresh_started_at DESC)",
    ),
    (
        "idx_audit_log_table",
        "btree (table_schema, table_name, refresh_started_at DESC)",
    ),
    (
        "idx_audit_log_config_id",
        "btree (refresh_config_id, refresh_started_at DESC)",
    ),
    ("idx_dependencies_parent", "btree (parent_config_id)"),
    ("idx_dependencies_dependent", "btree (dependent_config_id)"),
    ("idx_quality_audit_id", "btree (audit_log_id)"),
    (
        "idx_quality_threshold",
        "btree (is_within_threshold, created_at DESC)",
    ),
    (
        "idx_checkpoints_active",
        "btree (function_name, status) WHERE (status = 'active'::text)",
    ),
    (
        "idx_checkpoints_expired",
        "btree (expires_at) WHERE (status = 'active'::text)",
    ),
];

#[test]
fn every_column_index_function_and_trigger_of_the_seed() -> Result<()> {
    let db = extended("model_seed")?;
    let mut client = db.connect()?;
    for (table, columns) in SEED {
        let found: String = client
            .query_one(
                "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
                   FROM pg_attribute WHERE attrelid = ('sqp.' || $1::text)::regclass AND attnum > 0",
                &[table],
            )?
            .get(0);
        assert!(found.starts_with(columns), "{table}\n{found}\n{columns}");
    }
    for (index, definition) in INDEXES {
        let found: String = client
            .query_one(
                "SELECT pg_get_indexdef(('sqp.' || $1::text)::regclass)",
                &[index],
            )?
            .get(0);
        assert!(found.ends_with(definition), "{found}");
    }
    assert_eq!(
        rows(
            &mut client,
            "SELECT tgname, tgrelid::regclass, tgfoid::regproc FROM pg_trigger WHERE tgname IN ('update_refresh_config_timestamp', 'cleanup_expired_checkpoints') ORDER BY 1"
        )?,
        "(cleanup_expired_checkpoints,sqp.refresh_checkpoints,sqp.cleanup_expired_checkpoints)\n\
         (update_refresh_config_timestamp,sqp.refresh_config,sqp.update_refresh_config_timestamp)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT evtname, evtevent, evtfoid::regproc FROM pg_event_trigger WHERE evtname NOT LIKE 'gemba%' ORDER BY 1"
        )?,
        "(auto_register_refresh_tables,ddl_command_end,sqp.auto_register_table_for_refresh)\n\
         (auto_register_refresh_tables_drop,sql_drop,sqp._forget_dropped_tables)"
    );
    Ok(())
}

#[test]
fn defaults_are_the_seeds() -> Result<()> {
    let db = extended("model_defaults")?;
    let mut client = db.connect()?;
    only(&mut client, &[])?;
    client.batch_execute(
        "INSERT INTO sqp.refresh_config (table_schema, table_name) VALUES ('x', 'a');
         INSERT INTO sqp.refresh_audit_log (table_schema, table_name, refresh_started_at, status) VALUES ('x', 'a', now(), 'running');
         INSERT INTO sqp.refresh_checkpoints (function_name, table_schema, table_name, checkpoint_data) VALUES ('f', 'x', 'a', '{}')",
    )?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT is_enabled, refresh_frequency_hours, priority, custom_sync_params, dependencies, next_refresh_at = created_at, updated_at = created_at, relation FROM sqp.refresh_config"
        )?,
        "(t,24,100,{},{},t,t,)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT sync_metadata, created_at = refresh_started_at FROM sqp.refresh_audit_log"
        )?,
        "({},t)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT status, expires_at - created_at FROM sqp.refresh_checkpoints"
        )?,
        "(active,01:00:00)"
    );
    client.batch_execute("UPDATE sqp.refresh_config SET priority = 1, updated_at = NULL")?;
    assert!(one::<bool>(
        &mut client,
        "SELECT updated_at > created_at FROM sqp.refresh_config"
    )?);
    // An early NULL means now.
    client.batch_execute("UPDATE sqp.refresh_config SET next_refresh_at = NULL")?;
    assert!(one::<bool>(
        &mut client,
        "SELECT now() - next_refresh_at < '1 minute' FROM sqp.refresh_config"
    )?);
    Ok(())
}

#[test]
fn what_the_checks_refuse() -> Result<()> {
    let db = extended("model_checks")?;
    let mut client = db.connect()?;
    only(&mut client, &["a", "b"])?;
    client.batch_execute(
        "SELECT sqp.add_dependency('x.a', 'x.b'); SELECT sqp.save_checkpoint('f', 'x.a', '{}')",
    )?;
    for (statement, code) in [
        (
            "INSERT INTO sqp.refresh_config (table_schema, table_name) VALUES ('x', 'a')",
            "23505",
        ),
        (
            "INSERT INTO sqp.refresh_config (table_schema, table_name) VALUES ('', 'a')",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_config (table_schema, table_name, refresh_frequency_hours) VALUES ('x', 'c', 0)",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_config (table_schema, table_name, next_refresh_at) VALUES ('x', 'c', 'infinity')",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_config (table_schema, table_name, max_attempts) VALUES ('x', 'c', 0)",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_config (table_schema, table_name, retry_base) VALUES ('x', 'c', '-1 s')",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_config (table_schema, table_name, function_name) VALUES ('x', 'c', 'f')",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_audit_log (table_schema, table_name, refresh_started_at, status) VALUES ('x', 'a', now(), 'in_progress')",
            "23514",
        ),
        (
            "UPDATE sqp.refresh_config SET next_refresh_at = '-infinity'",
            "23514",
        ),
        ("UPDATE sqp.refresh_config SET max_attempts = 0", "23514"),
        ("SELECT sqp.complete_refresh(1, -1)", "22023"),
        (
            "SELECT sqp.complete_refresh(1, memory_used_mb => 'NaN')",
            "22023",
        ),
        (
            "SELECT sqp.complete_refreshes(ARRAY[1], memory_used_mb => ARRAY[-1])",
            "22023",
        ),
        (
            "INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id) SELECT parent_config_id, dependent_config_id FROM sqp.refresh_dependencies",
            "23505",
        ),
        (
            "INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id) SELECT NULL, dependent_config_id FROM sqp.refresh_dependencies",
            "23502",
        ),
        (
            "UPDATE sqp.refresh_dependencies SET dependency_type = 'firm'",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_checkpoints (function_name, table_schema, table_name, checkpoint_data) VALUES ('f', 'x', 'a', '{}')",
            "23505",
        ),
        (
            "UPDATE sqp.refresh_checkpoints SET status = 'running'",
            "23514",
        ),
        (
            "UPDATE sqp.refresh_checkpoints SET last_processed_row = 2, total_rows = 1",
            "23514",
        ),
        (
            "UPDATE sqp.refresh_checkpoints SET last_processed_row = -1",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_quality_rules (config_id, metric) SELECT id, 'freshness' FROM sqp.refresh_config",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_quality_rules (config_id, metric, threshold_min, threshold_max) SELECT id, 'row_count', 2, 1 FROM sqp.refresh_config",
            "23514",
        ),
        (
            "INSERT INTO sqp.refresh_quality_rules (config_id, metric, threshold_min) SELECT id, 'row_count', 'NaN' FROM sqp.refresh_config",
            "23514",
        ),
        ("INSERT INTO sqp.settings VALUES (false)", "23514"),
        ("UPDATE sqp.settings SET max_parallel = -1", "23514"),
        ("UPDATE sqp.settings SET stale_after = 'NaN'", "23514"),
        (
            "INSERT INTO sqp.daily_sqp_data (date, query, asin, spend) VALUES ('2025-01-01', 'q', 'A', 'NaN')",
            "23514",
        ),
        (
            "INSERT INTO sqp.asin_performance_data (start_date, end_date, asin) VALUES ('2025-01-02', '2025-01-01', 'A')",
            "23514",
        ),
    ] {
        expect_sqlstate(client.batch_execute(statement), code);
    }
    // Only the active one is unique.
    client.batch_execute(
        "UPDATE sqp.refresh_checkpoints SET status = 'completed';
         INSERT INTO sqp.refresh_checkpoints (function_name, table_schema, table_name, checkpoint_data, status) VALUES ('f', 'x', 'a', '{}', 'completed'), ('f', 'x', 'a', '{}', 'active')",
    )?;
    Ok(())
}

#[test]
fn the_audit_log_is_partitioned_and_outlives_everything() -> Result<()> {
    let db = extended("model_partitions")?;
    let mut client = db.connect()?;
    only(&mut client, &["a"])?;
    assert_eq!(
        rows(
            &mut client,
            "SELECT step, retain, on_expire, premake FROM gemba.partition_sets WHERE parent = 'sqp.refresh_audit_log'::regclass"
        )?,
        "(\"1 mon\",\"2 years\",archive,3)"
    );
    // A run of three years ago.
    client.batch_execute(
        "SELECT gemba.ensure_partitions('sqp.refresh_audit_log', now() - interval '3 years', now() - interval '3 years' + interval '1 day');
         INSERT INTO sqp.refresh_audit_log (refresh_config_id, table_schema, table_name, refresh_started_at, status)
           SELECT id, 'x', 'a', now() - interval '3 years', 'success' FROM sqp.refresh_config;
         SELECT gemba.maintain_partitions()",
    )?;
    let archived: String = one(
        &mut client,
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'gemba_archive'::regnamespace AND relkind = 'r'",
    )?;
    client.batch_execute("DELETE FROM sqp.refresh_config")?;
    assert_eq!(
        rows(
            &mut client,
            &format!("SELECT table_name, refresh_config_id FROM {archived}")
        )?,
        "(a,)"
    );
    // The module can go, and what is archived stays.
    client.batch_execute("SELECT gemba.undeploy('sqp', force => true)")?;
    assert_eq!(
        rows(&mut client, &format!("SELECT table_name FROM {archived}"))?,
        "(a)"
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT relname FROM pg_class WHERE relnamespace = 'sqp'::regnamespace AND relkind <> 'c'"
        )?,
        ""
    );
    client.batch_execute(
        "CREATE TABLE public.quiet (a int); DROP TABLE public.quiet; SELECT gemba.deploy('sqp')",
    )?;
    assert_eq!(plan(&mut client)?.len(), 8);
    Ok(())
}
