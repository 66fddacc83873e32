-- Grants and comments on what belongs to the extension. They stand here, where they run at every
-- CREATE EXTENSION, because a dump does not carry the grants that an extension makes on its own members.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cloudwatcher, gemba, plant, reporting, sqp, telemetry FROM PUBLIC;
-- Supabase and others give new objects away by default privileges.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cloudwatcher, gemba, plant, reporting, sqp, telemetry FROM anon, authenticated, service_role;
REVOKE ALL ON ALL TABLES IN SCHEMA gemba FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA gemba FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA sqp FROM PUBLIC, anon, authenticated, service_role;
REVOKE ALL ON SCHEMA cloudwatcher, gemba, gemba_archive, gemba_history, plant, reporting, sqp, telemetry FROM PUBLIC, anon, authenticated, service_role;

-- Triggers run with the writer's rights, so whoever writes must be able to execute these; nobody can
-- name them, though, without USAGE on their schema.
REVOKE ALL ON SCHEMA gemba_internal FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
    gemba_internal.note_insert(timestamptz, int, int, int, bigint, text), gemba_internal.capture_rows(),
    gemba_internal.capture_truncate()
  TO PUBLIC;
-- The server itself calls these.
REVOKE ALL ON FUNCTION gemba_internal.history_handler(), gemba_internal.history_validator(text[], oid),
    gemba_internal.guard_history() FROM PUBLIC, anon, authenticated, service_role;

-- Audit: capture.
GRANT EXECUTE ON FUNCTION gemba_internal.audit_rows() TO PUBLIC;

-- Clients -----------------------------------------------------------------------------------------
GRANT USAGE ON SCHEMA cloudwatcher, plant, reporting, sqp, telemetry TO authenticated, service_role;
-- Rollups and live views of anybody's tables call these with the rights of owner and reader. The first
-- two only calculate; the third asks whether the caller may read the rollup.
GRANT USAGE ON SCHEMA gemba TO PUBLIC;
GRANT EXECUTE ON FUNCTION gemba.bucket_start(interval, timestamptz, text),
    gemba.buckets(interval, timestamptz, timestamptz, text), gemba.pending_buckets(int)
  TO PUBLIC;
-- Policies call these as the reader; they say something about nobody but the caller.
GRANT EXECUTE ON FUNCTION telemetry.access_tier(), telemetry.sees_everything(), telemetry.sample_sensor_ids()
  TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION
    telemetry.latest_values(text[]),
    telemetry.series(text, timestamptz, timestamptz, interval, text, text),
    telemetry.totals(timestamptz, timestamptz, interval, text),
    telemetry.data_quality(timestamptz, timestamptz, text[])
  TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION
    plant.oee(numeric, numeric, numeric, bigint, bigint), plant.teep(numeric, numeric, numeric, bigint, bigint, numeric),
    plant.oee_figures(plant.oee_state), plant.oee_agg(numeric, numeric, numeric, bigint, bigint),
    plant.oee_agg(plant.oee_state), plant.oee_state_agg(numeric, numeric, numeric, bigint, bigint),
    plant.oee_merge(plant.oee_state), plant.variance(numeric, numeric, numeric),
    plant.financial_loss(numeric, numeric, bigint, numeric),
    plant.loss_waterfall(numeric, numeric, numeric, bigint, bigint, numeric),
    plant.today(), plant.target_at(uuid, timestamptz), plant.state_durations(timestamptz, timestamptz, uuid[]),
    plant.availability(timestamptz, timestamptz, uuid[]),
    plant.morning_report(date), plant.live_status(), plant.oee_trend(uuid, date, date, interval),
    plant.loss_pareto(date, date, text), plant.safety_summary(date, date), plant.morning_report_html(date),
    plant._percent(numeric), plant._morning_page(date)
  TO authenticated, service_role;
-- These write, in one narrow way, and note who did it; plant.settings.users_resolve can keep users out.
GRANT EXECUTE ON FUNCTION plant.resolve_safety_event(uuid, text, uuid), plant.reopen_safety_event(uuid, text, uuid)
  TO authenticated, service_role;

GRANT EXECUTE ON FUNCTION reporting.metrics_sum(jsonb) TO authenticated, service_role;

GRANT EXECUTE ON FUNCTION sqp.refresh_plan() TO authenticated, service_role;

-- Reports. Policies call the first three as the reader; the rest runs with the caller's rights.
GRANT EXECUTE ON FUNCTION
    reporting.shared_dashboards(text), reporting.editable_dashboards(), reporting.is_shown(uuid), reporting.new_id(text),
    reporting.create_dashboard(text, text, text, jsonb, jsonb, boolean, boolean, uuid),
    reporting.add_widget(text, text, text, jsonb, jsonb, text, jsonb, text), reporting.remove_widget(text, text),
    reporting.move_widgets(text, jsonb), reporting.create_from_template(text, text, uuid),
    reporting.duplicate_dashboard(text, text, uuid), reporting.share_dashboard(text, uuid, text),
    reporting.unshare(text, uuid), reporting.layout_versions(text), reporting.restore_layout(text, int),
    reporting._dashboard(text), reporting._editable_dashboard(text, boolean), reporting._own_dashboard(text), reporting._owner(uuid),
    reporting._copy(uuid, text, uuid)
  TO authenticated, service_role;
-- Reports: widgets and serving. Triggers call the first two as the writer; the others read with the caller's rights.
GRANT EXECUTE ON FUNCTION
    reporting._check_widget(text, text, text, jsonb, jsonb, jsonb), reporting._check_dashboard(jsonb, jsonb),
    reporting.dashboard_payload(text, text), reporting.series(uuid, text, text, date, date, uuid, jsonb)
  TO authenticated, service_role;

-- Reports: collections. Users start and stop their own; workers are the application's.
GRANT EXECUTE ON FUNCTION
    reporting.start_collection(uuid, uuid, text, int, date, jsonb), reporting.pause(text), reporting.resume(text),
    reporting.retry_failed(text), reporting.cancel(text)
  TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION
    reporting.claim_week(text, interval), reporting.heartbeat_week(uuid, interval, bigint),
    reporting.complete_week(uuid, bigint, text, uuid, bigint), reporting.fail_week(uuid, text, bigint),
    reporting.skip_week(uuid, text), reporting.reap_weeks(), reporting._check_lease(interval), reporting._free_place(int),
    reporting._admit(uuid), reporting._check_execution(uuid, uuid), reporting._refuse_week(uuid, bigint)
  TO service_role;
-- Reports: insights.
GRANT EXECUTE ON FUNCTION
    reporting.trend(float8[], float8[], float8), reporting.anomalies(date[], float8[], text, int, numeric, int),
    reporting.detect_trend(uuid, text, text, int, uuid, jsonb),
    reporting.detect_anomalies(uuid, text, text, int, uuid, numeric, jsonb),
    reporting.detect_movers(text, text, int, uuid[], jsonb), reporting.dashboard_insights(text, boolean, numeric),
    reporting.record_insight(text, text, text, text, numeric, jsonb, jsonb, uuid, boolean, uuid),
    reporting.search_insights(text, text, text, int, text), reporting.conversation(uuid),
    reporting._author(uuid, uuid), reporting._record_finding(text, uuid[], text, text, text, numeric, jsonb, uuid)
  TO authenticated, service_role;

-- Cloudwatcher: rights. Policies call these as the reader; they say something about nobody but the caller.
GRANT EXECUTE ON FUNCTION
    cloudwatcher.has_permission(text), cloudwatcher.my_permissions(), cloudwatcher.my_departments(),
    cloudwatcher.department_subtree(uuid), cloudwatcher.sees_department(uuid), cloudwatcher.sees_location(uuid),
    cloudwatcher.sees_user(uuid), cloudwatcher.is_asked(uuid)
  TO authenticated, service_role;
-- Cloudwatcher: stock. They ask for permission themselves.
GRANT EXECUTE ON FUNCTION
    cloudwatcher.reserve_stock(uuid, uuid, int, uuid, uuid, text), cloudwatcher.release_stock(uuid, int, uuid),
    cloudwatcher.consume_part(uuid, uuid, int, uuid, uuid, date, text, uuid),
    cloudwatcher.receive_stock(uuid, uuid, int, uuid, uuid, text),
    cloudwatcher.transfer_stock(uuid, uuid, uuid, int, uuid, uuid, text),
    cloudwatcher.count_stock(uuid, uuid, int, uuid, uuid, text)
  TO authenticated, service_role;
-- Cloudwatcher: what to order. These read with the caller's rights; those with _ calculate, or raise errors.
GRANT EXECUTE ON FUNCTION
    cloudwatcher.best_supplier(uuid, uuid, int), cloudwatcher.reorder_report(uuid),
    cloudwatcher.consumption_forecast(uuid, uuid, int, uuid, date), cloudwatcher._forecast(float8[], int),
    cloudwatcher._not_found(text, uuid), cloudwatcher._refuse_part(uuid, uuid), cloudwatcher._refuse_quantity(int)
  TO authenticated, service_role;

-- Cloudwatcher: orders. These ask who calls.
GRANT EXECUTE ON FUNCTION
    cloudwatcher.create_order(uuid, text, uuid, uuid, uuid), cloudwatcher.create_order_from_request(uuid, uuid, text, uuid),
    cloudwatcher.set_order_location(uuid, uuid, uuid), cloudwatcher.add_item(uuid, uuid, int, uuid, numeric, uuid, date, uuid),
    cloudwatcher.change_item(uuid, int, numeric), cloudwatcher.remove_item(uuid), cloudwatcher.submit_order(uuid, numeric),
    cloudwatcher.decide_approval(uuid, text, text), cloudwatcher.delegate_approval(uuid, uuid, text),
    cloudwatcher.set_delegate(uuid, timestamptz, timestamptz), cloudwatcher.end_delegation(), cloudwatcher.my_approvals(),
    cloudwatcher._my_pending(),
    cloudwatcher.mark_ordered(uuid, date), cloudwatcher.receive_items(uuid, jsonb, uuid), cloudwatcher.cancel_order(uuid, text)
  TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION cloudwatcher.escalate_approvals() TO service_role;

-- Cloudwatcher: requests. Who may what is asked in each of them.
GRANT EXECUTE ON FUNCTION
    cloudwatcher.payload_hash(jsonb), cloudwatcher.submit_request(text, text, jsonb, jsonb),
    cloudwatcher.submit_requests(jsonb), cloudwatcher.retry_request(uuid),
    cloudwatcher.pending_responses(text, int), cloudwatcher.acknowledge(uuid), cloudwatcher.fail_response(uuid, text),
    cloudwatcher.retry_response(uuid),
    cloudwatcher.connect_device(text, text, inet), cloudwatcher.device_alive(text), cloudwatcher.disconnect_device(text),
    cloudwatcher.device_status(text), cloudwatcher.add_file_ref(uuid, uuid, text, text, bigint),
    cloudwatcher.file_synced(uuid, bigint), cloudwatcher.file_failed(uuid, text), cloudwatcher.retry_file(uuid),
    cloudwatcher.files_out_of_sync(text, int), cloudwatcher.decisions(uuid, text, text, jsonb, numeric, numeric, int),
    cloudwatcher._check_count(int), cloudwatcher._refuse_null(text)
  TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION
    cloudwatcher.claim_requests(text, int, interval, text[]), cloudwatcher.extend_lease(text, uuid[], interval),
    cloudwatcher.begin_response(uuid, text), cloudwatcher.complete_request(uuid, jsonb, boolean, text, int),
    cloudwatcher.complete_requests(jsonb, text), cloudwatcher.fail_request(uuid, text, text, boolean, int),
    cloudwatcher.close_lost_connections(), cloudwatcher.archive_requests(),
    cloudwatcher.record_decision(uuid, text, text, text, jsonb, numeric)
  TO service_role;

-- Operation: the application's own servers and jobs ------------------------------------------------
GRANT SELECT ON ALL TABLES IN SCHEMA gemba TO service_role;
GRANT EXECUTE ON FUNCTION
    gemba._leaves(oid, text), gemba._history(), gemba._check_lease(interval), gemba._require_current_snapshots(text), gemba.available_migrations(),
    gemba.maintain_partitions(), gemba.refresh_rollup(text), gemba.refresh_rollups(),
    gemba.schedule(text, text, text, text, text, interval, int, interval, boolean), gemba.unschedule(text),
    gemba.enable_job(text, boolean), gemba.run_job_now(text), gemba.run_due_jobs(int), gemba.expire_job_runs(),
    gemba.worker_status(),
    plant.ingest_daily(jsonb), plant.ingest_live(jsonb), plant.process_daily(int), plant.process_live(int),
    plant._summary(text, numeric, numeric, numeric, numeric, numeric, plant.oee_state, int, int, numeric, text, numeric,
      numeric, text[]),
    telemetry.refresh(), telemetry.choose_sample(), telemetry.ensure_partitions(timestamptz, timestamptz),
    telemetry.upload_session(), telemetry.import_uploaded(text, int, text, text, text)
  TO service_role;
-- Refreshes. All of these run with the caller's rights, which service_role has on the tables.
GRANT EXECUTE ON FUNCTION
    sqp.claim_refresh(text, interval, int, text[]), sqp.heartbeat(bigint, interval),
    sqp.complete_refresh(bigint, bigint, bigint, bigint, bigint, jsonb, numeric, text),
    sqp.complete_refreshes(bigint[], bigint[], bigint[], bigint[], bigint[], jsonb[], numeric[], text[]),
    sqp.fail_refresh(bigint, text, jsonb), sqp.reap_expired_runs(), sqp.retry_refresh(text), sqp.request_refresh(text),
    sqp.add_dependency(text, text, text), sqp.remove_dependency(text, text),
    sqp.save_checkpoint(text, text, jsonb, bigint, bigint, interval, bigint), sqp.resume_checkpoint(text, text),
    sqp.complete_checkpoint(text, text), sqp.expire_checkpoints(),
    sqp.record_quality(bigint, text, numeric, numeric, numeric, numeric), sqp.measure_quality(bigint),
    sqp.set_refresh_function(text, regprocedure), sqp.refresh_in_database(bigint), sqp.refresh_due(int),
    sqp.watch_schema(text), sqp.unwatch_schema(text), sqp.register_existing(text),
    sqp.build_weekly_summary(date, date), sqp.build_monthly_summary(date, date),
    sqp.build_quarterly_summary(date, date), sqp.build_yearly_summary(date, date),
    sqp._backoff(int, bigint, bigint, double precision), sqp._trailing_median(bigint[]), sqp._cycle(int[], int[]),
    sqp._ready_audit_log(), sqp._hold_table(text, text), sqp._find_config(text), sqp._config(text), sqp._priority(text),
    sqp._list_dependencies(int[]), sqp._wake(int[]), sqp._wake_children(int[]),
    sqp._will_run(int, timestamptz), sqp._free_slots(int, int), sqp._refuse_ended(bigint),
    sqp._session_lives(text), sqp._claim_many(text, interval, int, text[]), sqp._next_turn(timestamptz, int, timestamptz),
    sqp._complete(bigint[], bigint[], bigint[], bigint[], bigint[], jsonb[], numeric[], text[]),
    sqp._fail(bigint, text, jsonb, boolean), sqp._register(oid[], boolean),
    sqp._build_summary(name, text, text, name, date, date)
  TO service_role;
GRANT EXECUTE ON PROCEDURE sqp.refresh_all_due() TO service_role;
-- Reports: aggregates.
GRANT EXECUTE ON FUNCTION
    reporting.record_week_metrics(uuid, jsonb, jsonb, bigint), reporting.rebuild_aggregates(uuid, uuid),
    reporting._week_end(text), reporting._ratios(jsonb), reporting._note_row_count(uuid),
    reporting._united(jsonb[]), reporting._build_periods(uuid, uuid, date, date), reporting._take_turns_on_data(uuid, uuid),
    reporting._checked_metrics(jsonb)
  TO service_role;
-- Audit: seals. These read and write with the extension's rights; verify_audit() tells of rows of every table.
GRANT EXECUTE ON FUNCTION
    gemba.seal_audit(), gemba.audit_head(), gemba.verify_audit(timestamptz, timestamptz, bigint, text)
  TO service_role;
-- Audit: access.
GRANT EXECUTE ON FUNCTION gemba.collect_access(), gemba.access_status() TO service_role;
-- Audit: history. These read with the caller's rights.
GRANT EXECUTE ON FUNCTION gemba.row_history(regclass, text), gemba.row_at(regclass, text, timestamptz)
  TO authenticated, service_role;
-- Reading the server's files is a right of its own.
GRANT USAGE ON SCHEMA telemetry TO pg_read_server_files;
GRANT EXECUTE ON FUNCTION telemetry.import_csv(text, int, text, text, text) TO pg_read_server_files;

-- What these return is short; planned for a thousand rows, a live view would look like a monster.
ALTER FUNCTION gemba.pending_buckets(int) ROWS 1;
ALTER FUNCTION gemba.buckets(interval, timestamptz, timestamptz, text) ROWS 100;
ALTER FUNCTION reporting.shared_dashboards(text) ROWS 20;
ALTER FUNCTION reporting.editable_dashboards() ROWS 50;
ALTER FUNCTION reporting.is_shown(uuid) COST 500;
-- These look something up for each that they are asked about: better to ask about few.
ALTER FUNCTION cloudwatcher.sees_user(uuid) COST 100;
ALTER FUNCTION cloudwatcher.is_asked(uuid) COST 100;
ALTER FUNCTION gemba._sealed_ids(bytea) ROWS 20000;

-- Comments ----------------------------------------------------------------------------------------
COMMENT ON FUNCTION gemba.deploy(text[]) IS 'brings the named modules (all, without arguments) and those they require to their latest version; safe to repeat';
COMMENT ON FUNCTION gemba.undeploy(text, boolean) IS 'takes a module''s tables away; refuses while they hold rows unless force is true';
COMMENT ON FUNCTION gemba.migrate(text, int) IS 'brings one module up or down to a version (NULL: the latest)';
COMMENT ON FUNCTION gemba.available_migrations() IS 'every migration that this version of the extension carries, with its checksum';
COMMENT ON FUNCTION gemba.manage_partitions(regclass, interval, int, interval, text, text, text[]) IS 'keeps a table''s partitions by time: step, number to make ahead, age at which they are retired (dropped, detached or archived), time zone of the boundaries, columns of the unique index of each partition';
COMMENT ON FUNCTION gemba.compress_after(regclass, name[], text, interval) IS 'has partitions compressed that ended longer ago than that: segment_by names the columns that tell one series from another, order_by the time by which the table is partitioned; gemba.maintain_partitions() does it';
COMMENT ON FUNCTION gemba.stop_compressing(regclass) IS 'lets a table''s partitions be from now on, compressed or not; returns whether they were compressed';
COMMENT ON FUNCTION gemba.compress_partition(regclass) IS 'compresses one partition now, beside its readers and writers; returns its rows';
COMMENT ON FUNCTION gemba.decompress_partition(regclass) IS 'makes a compressed partition an ordinary table again; returns its rows';
COMMENT ON FUNCTION gemba.verify_history(regclass) IS 'reads all segments of a compressed partition, or of all, and returns what is damaged: no row when all is well';
COMMENT ON FUNCTION gemba._history() IS 'what gemba.history shows';
COMMENT ON FUNCTION gemba.unmanage_partitions(regclass) IS 'stops keeping a table''s partitions; returns whether it was managed';
COMMENT ON FUNCTION gemba.ensure_partitions(regclass, timestamptz, timestamptz) IS 'makes the partitions that are missing for the half-open range of times';
COMMENT ON FUNCTION gemba.maintain_partitions() IS 'makes partitions ahead, compresses closed ones and retires expired ones, for all managed tables; one row for each thing done, deferred or failed';
COMMENT ON FUNCTION gemba.create_rollup(text, regclass, text, interval, text[], jsonb, text, interval) IS 'makes a table of aggregates by time bucket and group that refreshes keep exact, partitioned by time if asked for; measures are structured, never SQL';
COMMENT ON FUNCTION gemba.drop_rollup(text) IS 'drops a rollup, its live view and its triggers';
COMMENT ON FUNCTION gemba.unfreeze_rollup(text, timestamptz, timestamptz) IS 'says that the source rows of a range are all there again (re-attached, reloaded): the next refresh computes it from them; returns the number of frozen ranges freed';
COMMENT ON FUNCTION gemba.refresh_rollup(text) IS 'recomputes the buckets of one rollup that changed, those of its source rollups first';
COMMENT ON FUNCTION gemba.refresh_rollups() IS 'the same for every rollup; one that fails is reported and does not stop the others';
COMMENT ON FUNCTION gemba.pending_buckets(int) IS 'ranges of buckets that changed since a rollup was refreshed; the live views compute them from the source';
COMMENT ON FUNCTION gemba.schedule(text, text, text, text, text, interval, int, interval, boolean) IS 'runs a command by a timetable (cron with five or six fields, or an interval) in a time zone, as a role (the caller), within a timeout, with retries; a name that exists is changed; returns the job''s id';
COMMENT ON FUNCTION gemba.unschedule(text) IS 'forgets a job; a run that is going on ends as it would; returns whether there was one';
COMMENT ON FUNCTION gemba.enable_job(text, boolean) IS 'lets a job run, or keeps it from running, without forgetting it; returns whether that changed anything';
COMMENT ON FUNCTION gemba.run_job_now(text) IS 'makes a job due at once, beside its timetable; the worker, or gemba.run_due_jobs(), runs it';
COMMENT ON FUNCTION gemba.run_due_jobs(int) IS 'runs what is due in this transaction, those jobs that the caller could run by SET ROLE: the same work without a worker';
COMMENT ON FUNCTION gemba.expire_job_runs() IS 'removes runs that ended longer ago than gemba.job_history';
COMMENT ON FUNCTION gemba.worker_status() IS 'whether a background worker looks after this database, what to do if not, what runs and what is overdue';
COMMENT ON FUNCTION gemba.bucket_start(interval, timestamptz, text) IS 'start of the time bucket that an instant lies in, on the calendar of a time zone';
COMMENT ON FUNCTION gemba.buckets(interval, timestamptz, timestamptz, text) IS 'starts of all buckets that touch the half-open range of times';
COMMENT ON FUNCTION plant.oee(numeric, numeric, numeric, bigint, bigint) IS 'OEE and its parts as ratios, after ISO 22400-2; NULL where nothing was planned, 0 where it was planned and nothing ran';
COMMENT ON FUNCTION plant.teep(numeric, numeric, numeric, bigint, bigint, numeric) IS 'OEE × utilisation of the calendar time, which is a day of 1440 minutes unless given';
COMMENT ON FUNCTION plant.oee_figures(plant.oee_state) IS 'OEE and its parts of stored times and counts';
COMMENT ON AGGREGATE plant.oee_agg(numeric, numeric, numeric, bigint, bigint) IS 'OEE and its parts over many rows: times and counts are summed, then divided; percentages are never averaged';
COMMENT ON AGGREGATE plant.oee_agg(plant.oee_state) IS 'the same over stored states';
COMMENT ON AGGREGATE plant.oee_state_agg(numeric, numeric, numeric, bigint, bigint) IS 'times and counts of many rows, to be stored and merged later';
COMMENT ON AGGREGATE plant.oee_merge(plant.oee_state) IS 'stored states as one: days to weeks, machines to areas';
COMMENT ON FUNCTION plant.variance(numeric, numeric, numeric) IS 'actual against target: difference, percentage (NULL against zero), and on_target within ± tolerance_pct, else behind or ahead';
COMMENT ON FUNCTION plant.financial_loss(numeric, numeric, bigint, numeric) IS 'money: downtime hours × hourly rate, waste × unit cost, and both, to the cent';
COMMENT ON FUNCTION plant.loss_waterfall(numeric, numeric, numeric, bigint, bigint, numeric) IS 'money: what the planned time is worth and what availability, performance and quality each take off what the one before left';
COMMENT ON FUNCTION plant.today() IS 'the production date that it is now at the plant';
COMMENT ON FUNCTION plant.target_at(uuid, timestamptz) IS 'the shift (or production day) of a machine at a moment, its target, and the part of it that is due by then; no row without a target';
COMMENT ON FUNCTION plant.state_durations(timestamptz, timestamptz, uuid[]) IS 'seconds in each state and reason inside a window, the state at its opening carried in from before; time that nobody reported is unknown';
COMMENT ON FUNCTION plant.availability(timestamptz, timestamptz, uuid[]) IS 'availability of machines from their states inside a window: running by running and stopped';
COMMENT ON FUNCTION plant.ingest_daily(jsonb) IS 'takes rows of production days, computes and upserts plant.daily_summaries; bad rows come back with a reason and cost the good ones nothing; safe to repeat';
COMMENT ON FUNCTION plant.ingest_live(jsonb) IS 'takes rows of the live pulse, upserts plant.live_snapshots and records safety events once; bad rows come back with a reason; safe to repeat';
COMMENT ON FUNCTION plant.process_daily(int) IS 'ingest_daily for up to so many rows that wait in plant.daily_inbox';
COMMENT ON FUNCTION plant.process_live(int) IS 'ingest_live for up to so many rows that wait in plant.live_inbox';
COMMENT ON FUNCTION plant.resolve_safety_event(uuid, text, uuid) IS 'resolves a safety event and notes who and when; safe to repeat; on_behalf_of is for service_role';
COMMENT ON FUNCTION plant.reopen_safety_event(uuid, text, uuid) IS 'opens a resolved safety event again and notes who and when; safe to repeat';
COMMENT ON FUNCTION plant.morning_report(date) IS 'yesterday (or a date) by machine: OEE and its parts in percent, against target, loss, ranks, trend in points against the 7 and 30 days before, open safety events, priority, summary';
COMMENT ON FUNCTION plant.live_status() IS 'the latest snapshot of each active machine: on_target, behind, ahead, no target, stale (older than the live window) or no data';
COMMENT ON FUNCTION plant.oee_trend(uuid, date, date, interval) IS 'OEE of a machine (NULL: of the plant) by day, week or month between two dates, both included; empty buckets are NULL';
COMMENT ON FUNCTION plant.loss_pareto(date, date, text) IS 'what lost most money between two dates, both included, by asset, area, kind or reason, with cumulative share in percent';
COMMENT ON FUNCTION plant.safety_summary(date, date) IS 'safety events between two dates, both included, by severity and code';
COMMENT ON FUNCTION plant.morning_report_html(date) IS 'the morning report as one self-contained HTML page with charts';
COMMENT ON FUNCTION reporting.new_id(text) IS 'a new id that nobody can guess: the prefix, _ and 24 random digits';
COMMENT ON FUNCTION reporting.shared_dashboards(text) IS 'dashboards of others that are shared with the caller; with ''edit'', those that the caller may change';
COMMENT ON FUNCTION reporting.editable_dashboards() IS 'dashboards that the caller may change: the caller''s own, and those shared for it';
COMMENT ON FUNCTION reporting.is_shown(uuid) IS 'is there a dashboard that the caller may read and that shows this workflow, with its owner''s consent? Templates do not count';
COMMENT ON FUNCTION reporting.update_updated_at_column() IS 'trigger: keeps updated_at';
COMMENT ON FUNCTION reporting.create_dashboard(text, text, text, jsonb, jsonb, boolean, boolean, uuid) IS 'makes an empty dashboard of the caller''s (owner is for service_role); returns its dashboard_id';
COMMENT ON FUNCTION reporting.add_widget(text, text, text, jsonb, jsonb, text, jsonb, text) IS 'puts a widget on a dashboard, below the others where no position is given; returns its widget_id';
COMMENT ON FUNCTION reporting.remove_widget(text, text) IS 'takes a widget off a dashboard; returns whether it was there';
COMMENT ON FUNCTION reporting.move_widgets(text, jsonb) IS 'moves widgets, all at once: {"widget_…": {"x", "y", "width", "height"}, …}; refuses what overlaps or is outside the grid; returns how many moved';
COMMENT ON FUNCTION reporting.create_from_template(text, text, uuid) IS 'makes a dashboard like a template, its widgets included; returns its dashboard_id';
COMMENT ON FUNCTION reporting.duplicate_dashboard(text, text, uuid) IS 'makes a dashboard like any that the caller may read; returns its dashboard_id';
COMMENT ON FUNCTION reporting.share_dashboard(text, uuid, text) IS 'lets a user see a dashboard (view) or change its widgets and layout too (edit), and see what it shows of its owner''s workflows; returns whether that changed anything';
COMMENT ON FUNCTION reporting.unshare(text, uuid) IS 'takes that back, or gives it back; returns whether there was anything';
COMMENT ON FUNCTION reporting.layout_versions(text) IS 'how a dashboard looked, newest first';
COMMENT ON FUNCTION reporting.restore_layout(text, int) IS 'makes a dashboard look as in an earlier version; returns the number of the new one';
COMMENT ON FUNCTION reporting.record_week_metrics(uuid, jsonb, jsonb, bigint) IS 'records what a week brought, or replaces it, and builds the months and quarters that it belongs to; returns the rows that changed, none for a week that was skipped as a duplicate';
COMMENT ON FUNCTION reporting.rebuild_aggregates(uuid, uuid) IS 'builds all months and quarters anew from their weeks, and all ratios; needed after a change of metric_definitions; returns how many rows changed';
COMMENT ON FUNCTION reporting.start_collection(uuid, uuid, text, int, date, jsonb) IS 'plans the weeks of a workflow on an account: a backfill of so many up to a day, or a weekly_update of those that are missing; safe to repeat: created says whether it is a new one';
COMMENT ON FUNCTION reporting.pause(text) IS 'hands out no more weeks of a collection; those that run may end; returns the status';
COMMENT ON FUNCTION reporting.resume(text) IS 'goes on with a collection that was paused or has failed: pending and failed weeks, by date; returns the status, pending where it has to wait for its turn';
COMMENT ON FUNCTION reporting.retry_failed(text) IS 'tries the failed weeks of a collection again from the beginning; returns how many';
COMMENT ON FUNCTION reporting.cancel(text) IS 'ends a collection for good; workers on its weeks are refused from then on; returns the status';
COMMENT ON FUNCTION reporting.claim_week(text, interval) IS 'hands out the next week to collect, to one caller only and within the bounds of reporting.settings; it is taken back when the lease ends without a heartbeat';
COMMENT ON FUNCTION reporting.heartbeat_week(uuid, interval, bigint) IS 'renews the lease of a week that is being collected; returns its new end';
COMMENT ON FUNCTION reporting.complete_week(uuid, bigint, text, uuid, bigint) IS 'ends a week with its result; one whose result another collection has already is skipped as its duplicate; safe to repeat';
COMMENT ON FUNCTION reporting.fail_week(uuid, text, bigint) IS 'ends a try that failed: the week is tried again, or has failed after settings.max_attempts; safe to repeat';
COMMENT ON FUNCTION reporting.skip_week(uuid, text) IS 'leaves a week out, which counts as done; safe to repeat';
COMMENT ON FUNCTION reporting.reap_weeks() IS 'takes back weeks whose lease ended without a heartbeat; they are tried again, or have failed after settings.max_attempts; returns how many';
COMMENT ON FUNCTION reporting.trend(float8[], float8[], float8) IS 'how values go: the median slope (Theil, Sen) per position with 95 % limits, and Mann and Kendall''s test of whether they go anywhere; positions count from 0 unless given';
COMMENT ON FUNCTION reporting.anomalies(date[], float8[], text, int, numeric, int) IS 'values out of the ordinary by the modified z-score (Iglewicz, Hoaglin) against the same weekday of so many weeks before (weekday) or so many values before (trailing)';
COMMENT ON FUNCTION reporting.detect_trend(uuid, text, text, int, uuid, jsonb) IS 'how a metric of a workflow goes over its last periods: one row, with a sentence, numbers and confidence';
COMMENT ON FUNCTION reporting.detect_anomalies(uuid, text, text, int, uuid, numeric, jsonb) IS 'which of a metric''s last periods are out of the ordinary against the 12 before each; no rows where none is';
COMMENT ON FUNCTION reporting.detect_movers(text, text, int, uuid[], jsonb) IS 'which of the workflows that the caller may read (or of those named) rose and fell most from one period to the newest';
COMMENT ON FUNCTION reporting.dashboard_insights(text, boolean, numeric) IS 'what stands out in all that a dashboard shows, with at least this confidence; with record, kept in reporting.ai_insights, each once, and privately unless the dashboard may show what it is about';
COMMENT ON FUNCTION reporting.record_insight(text, text, text, text, numeric, jsonb, jsonb, uuid, boolean, uuid) IS 'keeps a question and its answer; private unless the caller may change the dashboard, or says otherwise (owner is for service_role); returns its insight_id';
COMMENT ON FUNCTION reporting.search_insights(text, text, text, int, text) IS 'the caller''s insights and those of the caller''s own and shared dashboards, or of the one that is named, best match first (newest first without search); before takes the insight_id of the last row to page on';
COMMENT ON FUNCTION reporting.conversation(uuid) IS 'what the caller may read of a conversation, in its order: that of whoever began it, of others on the same dashboards, and the caller''s own';
COMMENT ON FUNCTION reporting.dashboard_payload(text, text) IS 'a dashboard with the figures of all its widgets in one answer, as far as the caller may read them; given the version of the last answer, only {"unchanged": true} while nothing has changed';
COMMENT ON FUNCTION reporting.series(uuid, text, text, date, date, uuid, jsonb) IS 'a metric of a workflow by week, month or quarter, in order: base metrics added up over accounts, ratios computed from the sums';
COMMENT ON AGGREGATE reporting.metrics_sum(jsonb) IS 'metrics of many JSON objects, each key summed exactly; null is nothing';
COMMENT ON FUNCTION sqp.refresh_plan() IS 'every registered table, parents before children: running, due, waiting (a parent comes first), blocked (by a parent that does not come), backing off, parked, scheduled or disabled, and why';
COMMENT ON FUNCTION sqp.claim_refresh(text, interval, int, text[]) IS 'hands out refreshes that are due and whose parents are done, highest priority first, each to one caller only; the run is lost when the lease ends without a heartbeat';
COMMENT ON FUNCTION sqp.heartbeat(bigint, interval) IS 'renews the lease of a run; returns its new end';
COMMENT ON FUNCTION sqp.complete_refresh(bigint, bigint, bigint, bigint, bigint, jsonb, numeric, text) IS 'ends a run with success, or with a warning where its quality was not as expected; returns the next turn, which does not depend on when the run ended; safe to repeat';
COMMENT ON FUNCTION sqp.complete_refreshes(bigint[], bigint[], bigint[], bigint[], bigint[], jsonb[], numeric[], text[]) IS 'the same for many runs at once; one that cannot be completed comes back with its problem and costs the others nothing';
COMMENT ON FUNCTION sqp.fail_refresh(bigint, text, jsonb) IS 'ends a run that failed: it is tried again after a back-off, or parked after max_attempts failures in a row; safe to repeat';
COMMENT ON FUNCTION sqp.reap_expired_runs() IS 'takes back runs whose lease ended without a heartbeat; others may claim them at once';
COMMENT ON FUNCTION sqp.retry_refresh(text) IS 'lets a table that is parked or in back-off be tried again now; returns whether it was either';
COMMENT ON FUNCTION sqp.request_refresh(text) IS 'makes a table due now, without moving its schedule; returns since when it counts as due';
COMMENT ON FUNCTION sqp.add_dependency(text, text, text) IS 'says that the second table is refreshed after the first, hard or soft; returns whether that changed anything';
COMMENT ON FUNCTION sqp.remove_dependency(text, text) IS 'takes a dependency away; returns whether there was one';
COMMENT ON FUNCTION sqp.save_checkpoint(text, text, jsonb, bigint, bigint, interval, bigint) IS 'saves how far a function got with a table; returns when that expires unless it is saved again; never goes backwards; with the number of its run, refuses whoever has lost it';
COMMENT ON FUNCTION sqp.resume_checkpoint(text, text) IS 'the active checkpoint of a function and a table, if it has not expired';
COMMENT ON FUNCTION sqp.complete_checkpoint(text, text) IS 'ends a checkpoint, the work being done; returns whether there was one that had not expired';
COMMENT ON FUNCTION sqp.expire_checkpoints() IS 'marks checkpoints that have expired; returns how many';
COMMENT ON FUNCTION sqp.record_quality(bigint, text, numeric, numeric, numeric, numeric) IS 'notes a metric of a run; outside its thresholds the run ends with a warning; returns whether it is within';
COMMENT ON FUNCTION sqp.measure_quality(bigint) IS 'measures and notes what sqp.refresh_quality_rules says of a run''s table, in one pass over it';
COMMENT ON FUNCTION sqp.set_refresh_function(text, regprocedure) IS 'says which function refreshes a table (NULL: none); it runs with the rights of whoever refreshes';
COMMENT ON FUNCTION sqp.refresh_in_database(bigint) IS 'performs a claimed run of a materialized view or of a table with a refresh function, and reports its end';
COMMENT ON FUNCTION sqp.refresh_due(int) IS 'claims and performs what this database can refresh itself, one after the other in this transaction';
COMMENT ON PROCEDURE sqp.refresh_all_due() IS 'the same until nothing is due, committing after each where it is called by itself';
COMMENT ON FUNCTION sqp.watch_schema(text) IS 'registers the tables of a schema for refresh, those to come by themselves; returns how many it registered';
COMMENT ON FUNCTION sqp.unwatch_schema(text) IS 'stops that; registrations stay; returns whether it was watched';
COMMENT ON FUNCTION sqp.register_existing(text) IS 'brings the registrations of watched schemas (or of one) up to date with the tables that there are; returns how many it registered';
COMMENT ON FUNCTION sqp.build_weekly_summary(date, date) IS 'sqp.weekly_summary from sqp.daily_sqp_data, for the weeks from one date to another (NULL: no bound); writes only what changed';
COMMENT ON FUNCTION sqp.build_monthly_summary(date, date) IS 'the same by month';
COMMENT ON FUNCTION sqp.build_quarterly_summary(date, date) IS 'the same by quarter';
COMMENT ON FUNCTION sqp.build_yearly_summary(date, date) IS 'the same by year';
COMMENT ON FUNCTION sqp.auto_register_table_for_refresh() IS 'event trigger: registrations follow what happens to tables of sqp.watched_schemas';
COMMENT ON FUNCTION sqp.update_refresh_config_timestamp() IS 'trigger: keeps updated_at, and lets a changed schedule take effect';
COMMENT ON FUNCTION sqp.cleanup_expired_checkpoints() IS 'trigger: marks checkpoints that have expired';
COMMENT ON FUNCTION telemetry.access_tier() IS 'the caller''s best valid subscription: professional, free, or NULL';
COMMENT ON FUNCTION telemetry.sees_everything() IS 'does the caller hold a professional subscription?';
COMMENT ON FUNCTION telemetry.sample_sensor_ids() IS 'the sensors of the free sample; none without a valid subscription';
COMMENT ON FUNCTION telemetry.upload_session() IS 'the name of this session, by which lines sent to telemetry.import_lines belong together';
COMMENT ON FUNCTION telemetry.latest_values(text[]) IS 'the newest reading of each sensor (or of those named) that the caller may see';
COMMENT ON FUNCTION telemetry.series(text, timestamptz, timestamptz, interval, text, text) IS 'one sensor by time bucket; fill is none (only buckets with readings), null (gaps as NULL) or previous (carried forward, also from before the range)';
COMMENT ON FUNCTION telemetry.totals(timestamptz, timestamptz, interval, text) IS 'by time bucket, floor, equipment type and unit: the sum of the sensors'' averages, their extremes and the number of readings';
COMMENT ON FUNCTION telemetry.data_quality(timestamptz, timestamptz, text[]) IS 'by sensor and day of the site: readings expected, held, missing, and suspect';
COMMENT ON FUNCTION telemetry.import_csv(text, int, text, text, text) IS 'imports a wide CSV file of the server, a folder of them, or a pattern: one row for each file; all or nothing';
COMMENT ON FUNCTION telemetry.import_uploaded(text, int, text, text, text) IS 'imports the lines that this session has sent to telemetry.import_lines as one file of this name';
COMMENT ON FUNCTION telemetry.refresh() IS 'brings hours and days up to date, registers sensors that are new, keeps the free sample at a tenth';
COMMENT ON FUNCTION telemetry.choose_sample() IS 'keeps the free sample at a tenth of all readings by whole sensors; returns its share';
COMMENT ON FUNCTION telemetry.ensure_partitions(timestamptz, timestamptz) IS 'makes the months of telemetry.sensor_readings that are missing for a range; returns how many';
COMMENT ON FUNCTION cloudwatcher.has_permission(text) IS 'does a role of the caller have this permission?';
COMMENT ON FUNCTION cloudwatcher.my_permissions() IS 'everything that the caller''s roles permit';
COMMENT ON FUNCTION cloudwatcher.my_departments() IS 'the departments that the caller works in or manages, with those below where the roles say so';
COMMENT ON FUNCTION cloudwatcher.department_subtree(uuid) IS 'a department and everything below it, as far as the caller sees it, from the top down';
COMMENT ON FUNCTION cloudwatcher.sees_department(uuid) IS 'may the caller see what belongs to this department? (NULL: to none)';
COMMENT ON FUNCTION cloudwatcher.sees_location(uuid) IS 'may the caller see what is at this location?';
COMMENT ON FUNCTION cloudwatcher.sees_user(uuid) IS 'may the caller know this person: colleagues, superiors, and who approves';
COMMENT ON FUNCTION cloudwatcher.is_asked(uuid) IS 'was the caller asked to approve this order?';
-- Cloudwatcher: stock.
COMMENT ON FUNCTION cloudwatcher.reserve_stock(uuid, uuid, int, uuid, uuid, text) IS 'promises so many of a part (or of a variant) at a location to the caller, never more than are available; given the same reservation id again, the same answer';
COMMENT ON FUNCTION cloudwatcher.release_stock(uuid, int, uuid) IS 'gives back what is open of a reservation, or some of it (once for each operation id); safe to repeat without a quantity';
COMMENT ON FUNCTION cloudwatcher.consume_part(uuid, uuid, int, uuid, uuid, date, text, uuid) IS 'uses parts up, those of a reservation or what is available, and records it in cloudwatcher.part_consumption; once for each operation id';
COMMENT ON FUNCTION cloudwatcher.receive_stock(uuid, uuid, int, uuid, uuid, text) IS 'adds to the stock of a location; once for each operation id';
COMMENT ON FUNCTION cloudwatcher.transfer_stock(uuid, uuid, uuid, int, uuid, uuid, text) IS 'moves what is available to another location that the caller sees, both ends at once; once for each operation id; returns the source, then the target';
COMMENT ON FUNCTION cloudwatcher.count_stock(uuid, uuid, int, uuid, uuid, text) IS 'what was counted is what is on hand from now on; where that is less than was reserved, stock_levels shows a backorder; once for each operation id';
-- Cloudwatcher: what to order.
COMMENT ON FUNCTION cloudwatcher.best_supplier(uuid, uuid, int) IS 'who sells a part (or a variant of it), best first: preferred, then what the order would cost with its least quantity, then lead time';
COMMENT ON FUNCTION cloudwatcher.consumption_forecast(uuid, uuid, int, uuid, date) IS 'how many of a part will be used on each of so many days after as_of (yesterday), with limits of 95 %: Holt and Winters with a season of a week, Syntetos and Boylan where use is intermittent, or the mean of less than two weeks';
COMMENT ON FUNCTION cloudwatcher.reorder_report(uuid) IS 'stock at or below its reorder point (or short of what was promised) that the caller sees: what is on order, how many more to order of whom, for how many days it lasts';
COMMENT ON FUNCTION cloudwatcher.create_order(uuid, text, uuid, uuid, uuid) IS 'begins an order (purchase, internal_transfer or return) for a location; servers say on whose behalf; safe to repeat with an id; returns the order';
COMMENT ON FUNCTION cloudwatcher.create_order_from_request(uuid, uuid, text, uuid) IS 'begins the order of a request, which has one at a time (after one that was cancelled or rejected, the next); safe to repeat; returns the order';
COMMENT ON FUNCTION cloudwatcher.set_order_location(uuid, uuid, uuid) IS 'says where a draft''s goods go (and where a transfer''s come from); returns the department whose order it is now';
COMMENT ON FUNCTION cloudwatcher.add_item(uuid, uuid, int, uuid, numeric, uuid, date, uuid) IS 'adds a part to a draft, from the best supplier and at his price unless said otherwise; safe to repeat with an id';
COMMENT ON FUNCTION cloudwatcher.change_item(uuid, int, numeric) IS 'changes quantity or price of a draft''s item';
COMMENT ON FUNCTION cloudwatcher.remove_item(uuid) IS 'takes an item out of a draft; returns whether it was there';
COMMENT ON FUNCTION cloudwatcher.submit_order(uuid, numeric) IS 'freezes a draft and asks those who have to approve it, or approves it at once where nobody has to; safe to repeat; returns the state, who is asked first and how many have to approve';
COMMENT ON FUNCTION cloudwatcher.decide_approval(uuid, text, text) IS 'approves or rejects, for whoever is asked or stands in; safe to repeat; returns the order''s state and who is asked next';
COMMENT ON FUNCTION cloudwatcher.delegate_approval(uuid, uuid, text) IS 'hands an approval that one was asked for on to somebody else; returns who is asked now';
COMMENT ON FUNCTION cloudwatcher.set_delegate(uuid, timestamptz, timestamptz) IS 'names who approves in the caller''s place for a time, instead of whoever was named for it before; returns the delegation';
COMMENT ON FUNCTION cloudwatcher.end_delegation() IS 'ends the caller''s delegations, those to come too; returns how many';
COMMENT ON FUNCTION cloudwatcher.escalate_approvals() IS 'hands on what was undecided for settings.escalate_after, or whose approver cannot decide any more, and rejects what was undecided for settings.approvals_expire_after; returns what it did';
COMMENT ON FUNCTION cloudwatcher.my_approvals() IS 'what the caller is waited for to decide, oldest first';
COMMENT ON FUNCTION cloudwatcher.mark_ordered(uuid, date) IS 'says that an approved order has been placed; safe to repeat';
COMMENT ON FUNCTION cloudwatcher.receive_items(uuid, jsonb, uuid) IS 'takes in what came of an order (all that is open, or some items), with its stock; safe to repeat with an operation id; returns the state, what was taken in and what is still open';
COMMENT ON FUNCTION cloudwatcher.cancel_order(uuid, text) IS 'ends an order of which nothing was received; safe to repeat; returns the state';
-- Cloudwatcher: requests.
COMMENT ON FUNCTION cloudwatcher.payload_hash(jsonb) IS 'SHA-256 (hexadecimal) of a payload in canonical form; equal payloads have the same';
COMMENT ON FUNCTION cloudwatcher.submit_request(text, text, jsonb, jsonb) IS 'a device''s request; the same payload of the same device and type is the same request, as long as that is kept';
COMMENT ON FUNCTION cloudwatcher.submit_requests(jsonb) IS 'up to 1000 of them; what is wrong with one is told in its row and spares the others';
COMMENT ON FUNCTION cloudwatcher.claim_requests(text, int, interval, text[]) IS 'gives a worker up to n pending requests (of some types), the oldest first, until the lease ends';
COMMENT ON FUNCTION cloudwatcher.extend_lease(text, uuid[], interval) IS 'a worker needs longer; returns those that are still its own';
COMMENT ON FUNCTION cloudwatcher.begin_response(uuid, text) IS 'announces the answer to a request that is being worked on; returns the response''s id';
COMMENT ON FUNCTION cloudwatcher.complete_request(uuid, jsonb, boolean, text, int) IS 'answers a request; returns the response''s id; again with the same answer: the same; refused when the given attempt is not the present one';
COMMENT ON FUNCTION cloudwatcher.complete_requests(jsonb, text) IS 'answers many; what cannot be completed is told in its row and spares the others';
COMMENT ON FUNCTION cloudwatcher.fail_request(uuid, text, text, boolean, int) IS 'a request was not to be answered: pending again after a while, or failed after settings.max_attempts, without retry, or when it has expired; returns which; refused when the given attempt is not the present one';
COMMENT ON FUNCTION cloudwatcher.retry_request(uuid) IS 'a failed request is tried again from the beginning; returns its status';
COMMENT ON FUNCTION cloudwatcher.pending_responses(text, int) IS 'answers that are ready for a device and were not delivered yet, the oldest first';
COMMENT ON FUNCTION cloudwatcher.acknowledge(uuid) IS 'the device has a response; returns since when';
COMMENT ON FUNCTION cloudwatcher.fail_response(uuid, text) IS 'a response was not to be delivered; the error goes into its metadata; returns its status';
COMMENT ON FUNCTION cloudwatcher.retry_response(uuid) IS 'an answer that failed to be delivered is ready to be delivered again; returns its status';
COMMENT ON FUNCTION cloudwatcher.connect_device(text, text, inet) IS 'a device is there, by websocket, polling or webhook; returns the connection; the same kind again is the same connection';
COMMENT ON FUNCTION cloudwatcher.device_alive(text) IS 'a sign of life; returns when it was noted';
COMMENT ON FUNCTION cloudwatcher.disconnect_device(text) IS 'a device leaves; returns for how many seconds it was connected';
COMMENT ON FUNCTION cloudwatcher.close_lost_connections() IS 'ends connections of devices that were silent for settings.offline_after; returns how many';
COMMENT ON FUNCTION cloudwatcher.device_status(text) IS 'the devices (or one) that the caller sees: online, offline or never heard of, since when, open requests, undelivered answers';
COMMENT ON FUNCTION cloudwatcher.add_file_ref(uuid, uuid, text, text, bigint) IS 'a file in a cloud (sharepoint, google-drive, local) that belongs to a request or to a response; the same again is the same file; returns its id';
COMMENT ON FUNCTION cloudwatcher.file_synced(uuid, bigint) IS 'the file is in the cloud; returns since when';
COMMENT ON FUNCTION cloudwatcher.file_failed(uuid, text) IS 'the file did not get into the cloud; returns its sync_status';
COMMENT ON FUNCTION cloudwatcher.retry_file(uuid) IS 'a failed file waits for another try; returns its sync_status';
COMMENT ON FUNCTION cloudwatcher.files_out_of_sync(text, int) IS 'files (of one provider) that are not in sync, the oldest first, as far as the caller sees them';
COMMENT ON FUNCTION cloudwatcher.record_decision(uuid, text, text, text, jsonb, numeric) IS 'what an agent decided about a request, why, and how sure it was (0 to 1); returns the decision';
COMMENT ON FUNCTION cloudwatcher.decisions(uuid, text, text, jsonb, numeric, numeric, int) IS 'decisions of agents that the caller sees, the newest first: by request, agent, type, what the reasoning holds, confidence';
COMMENT ON FUNCTION cloudwatcher.archive_requests() IS 'puts away months of requests that ended settings.requests_kept ago, with what hangs on them, in gemba_archive; what was in the way is deferred to the next run';
COMMENT ON FUNCTION gemba_internal.note_insert(timestamptz, int, int, int, bigint, text) IS 'condition of a rollup''s insert trigger: remembers the row''s bucket, and says no';
COMMENT ON FUNCTION gemba_internal.capture_rows() IS 'trigger: remembers the buckets of updated and deleted rows';
COMMENT ON FUNCTION gemba_internal.capture_truncate() IS 'trigger: remembers what a TRUNCATE emptied';
-- Audit: seals.
COMMENT ON FUNCTION gemba.seal_audit() IS 'seals the rows of the audit trail whose transactions have ended: one row for each batch; none where there was nothing to seal';
COMMENT ON FUNCTION gemba.audit_head() IS 'the last seal and its hash, to be written down elsewhere: whoever changes the trail cannot change that';
COMMENT ON FUNCTION gemba.verify_audit(timestamptz, timestamptz, bigint, text) IS 'what is wrong with the audit trail (rows altered, removed or inserted; seals altered or missing), for the batches that touch the times from "from" to "to"; no row: it is what was sealed. known_seal and known_hash: what audit_head() returned once';
-- Audit: history.
COMMENT ON FUNCTION gemba.row_history(regclass, text) IS 'what the audit trail says of a record, in order, also under keys that it had before or got later; a key of several columns is a JSON array of its values';
COMMENT ON FUNCTION gemba.row_at(regclass, text, timestamptz) IS 'the record that had this key at that time, as far as it is logged; NULL: there was none; an error where the audit trail does not tell';

-- Audit: capture.
COMMENT ON FUNCTION gemba.audit(regclass, name[]) IS 'logs every change of a table from now on, but for the columns named (called again, with those only); returns whether that changed anything';
COMMENT ON FUNCTION gemba.audit_options(regclass, name[], boolean) IS 'of an audited table: columns of which the log only says that they changed, and whether an UPDATE logs the whole row; NULL leaves it as it is; returns whether that changed anything';
COMMENT ON FUNCTION gemba.unaudit(regclass) IS 'logs no more changes of a table; what was logged stays; returns whether it was audited';
COMMENT ON FUNCTION gemba_internal.history_handler() IS 'what the server calls to read and write compressed partitions';
COMMENT ON FUNCTION gemba_internal.history_validator(text[], oid) IS 'knows the options of compressed partitions';
COMMENT ON FUNCTION gemba_internal.guard_history() IS 'event trigger: refuses changes of a table that its compressed partitions cannot follow';
COMMENT ON FUNCTION gemba_internal.audit_rows() IS 'trigger: writes what a statement did to a table to the audit trail';
-- Audit: access.
COMMENT ON FUNCTION gemba.collect_access() IS 'moves what was counted of accesses to tables with row level security into cloudwatcher.data_access; returns how many queries; NULL, with a notice, where nothing can be collected';
COMMENT ON FUNCTION gemba.access_status() IS 'whether accesses are counted, and why not; counts that wait to be collected, room for them, and queries that were lost for want of it since the server started';

-- A dump that is being restored brings the tables itself; otherwise they are made now.
SELECT gemba._install();
