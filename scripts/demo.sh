#!/usr/bin/env bash
# The main job, from nothing: build, start a private cluster, CREATE EXTENSION, import a week of a
# building's sensors, refresh the aggregates, answer a dashboard's questions under row level security; then
# a plant's morning report, also as a page; then derived tables, one of whose sources fails and recovers.
#   scripts/demo.sh [stop]
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

major=${PG:-$(pin pg_default)}
home=/var/tmp/gemba-demo-$(id -u)
port=28999

# The server must not run as root.
as_server() { if is_root; then runuser -u postgres -- "$@"; else "$@"; fi; }

stop() {
  [ -e "$home/data/postmaster.pid" ] || return 0
  as_server "$(cat "$home/bindir")/pg_ctl" -D "$home/data" -m fast -w stop >/dev/null
}

if [ "${1:-}" = stop ]; then
  stop
  rm -rf "$home"
  say "the demo's cluster is gone"
  exit 0
fi

"$root/scripts/setup.sh" "$major"
config=$(pg_config_of "$major") || die "PostgreSQL $major is missing; see the messages above"
bindir=$("$config" --bindir)
can_install "$config" || die "$(cannot_install "$config")"

cd "$root"
say "building for PostgreSQL $major"
cargo pgrx install --package gemba --pg-config "$config" --no-default-features --features "pg$major" 2>&1 \
  | grep -vE 'Discovered|Copying|Writing' || die "the build failed"
cargo build --quiet --release --package gemba-cubems

say "a private cluster in $home (socket only, nothing listens on the network)"
stop
rm -rf "$home"
mkdir -p "$home/files"
if is_root; then chown postgres "$home"; fi
printf '%s\n' "$bindir" >"$home/bindir"
as_server "$bindir/initdb" -D "$home/data" -U postgres -A trust --no-sync >"$home/initdb.log" 2>&1 \
  || { cat "$home/initdb.log" >&2; die "initdb failed"; }
cat >>"$home/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$home'
port = $port
max_wal_size = 4GB
shared_preload_libraries = 'gemba'
CONF
as_server "$bindir/pg_ctl" -D "$home/data" -l "$home/log" -w start >/dev/null \
  || { tail "$home/log" >&2; die "the server did not start"; }

say "a week of seven floors, shaped like the CU-BEMS data set"
"$target_dir/release/cubems-maker" --out "$home/files" --from 2018-09-06 --to 2018-09-13
chmod -R a+rX "$home/files"

run() { "$bindir/psql" -X -q -h "$home" -p "$port" -U postgres -v ON_ERROR_STOP=1 "$@"; }
say "CREATE EXTENSION, import, refresh, dashboard"
run -v files="$home/files" -f "$root/scripts/demo.sql"
say "a closed month: before and after, late rows"
run -f "$root/scripts/demo_history.sql"
say "a plant: both pipelines, the morning report"
run -f "$root/scripts/demo_plant.sql"
run -At -o "$home/morning-report.html" -c 'SELECT plant.morning_report_html()'
say "derived tables: a plan, a failing source, a recovery, the worker"
run -f "$root/scripts/demo_sqp.sql"
say "reports: a backfill of 52 weeks, a shared dashboard, detectors"
run -f "$root/scripts/demo_reporting.sql"
say "parts: a truck's request, stock, an order that needs approval, the audit trail"
run -f "$root/scripts/demo_cloudwatcher.sql"

cat <<TEXT

The cluster is running. Connect, and look around:

  $bindir/psql -h $home -p $port -U postgres

  SELECT * FROM gemba.modules;
  SELECT * FROM gemba.partitions;
  SELECT * FROM gemba.history;
  SELECT * FROM gemba.rollups;
  SELECT * FROM telemetry.data_quality('2018-09-11 00:00+07', '2018-09-12 00:00+07');

  SELECT * FROM plant.morning_report();
  SELECT * FROM plant.loss_pareto(plant.today() - 30, plant.today() - 1);

  SELECT * FROM reporting.collection_progress;
  SELECT jsonb_pretty(reporting.dashboard_payload(dashboard_id)) FROM reporting.dashboards;

  SELECT * FROM cloudwatcher.stock_levels;
  SELECT * FROM gemba.audited_tables;
  SELECT table_name, operation, record_id, new_values FROM cloudwatcher.audit_logs ORDER BY id DESC LIMIT 20;

  SELECT * FROM sqp.refresh_plan();
  SELECT name, schedule, next_run_at FROM gemba.jobs;
  SELECT job, status, finished_at - started_at AS took FROM gemba.job_runs ORDER BY id DESC LIMIT 20;

Yesterday's morning report as a page, for any browser or printer:

  $home/morning-report.html

Stop it and remove everything:  scripts/demo.sh stop
TEXT
