#!/usr/bin/env bash
# The measurements: a release build, a private cluster with the same settings for every side, one table.
#   scripts/bench.sh [options]            PG=17 chooses another major than the pinned one
#     --readings N   readings of the small case (default 5,000,000)
#     --runs N       fresh repetitions of each write (default 3)
#     --calls N      calls of each query (default 200)
#     --quick        200,000 readings, a day for --full, a hundred machines: shows that it works, measures
#                    nothing
#     --full         also all 124.9 million readings, in ordinary partitions (45 GB of disk, about half an hour
#                    more); the room history has them compressed anyway
#     --full-seed    with --full: the seed's own tables with all readings too (70 GB, hours)
#     --only ROOM    telemetry, history, plant, reporting, sqp, cloudwatcher or audit (default: all)
#     --keep         leave the cluster's folder
#     --no-install   measure what is installed; only a release build means anything
# BENCH_DIR=/folder is where the cluster and its files go (default /var/tmp).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

options=()
keep=0
install=1
quick=0
need_gb=15
while [ $# -gt 0 ]; do
  case $1 in
    --readings|--runs|--calls)
      [ $# -ge 2 ] || die "$1 needs a number"
      options+=("$1" "$2")
      shift ;;
    --only)
      case ${2:-} in
        telemetry|history|plant|reporting|sqp|audit) options+=("$1" "$2") ;;
        cloudwatcher) options+=("$1" "$2"); need_gb=6 ;;
        *) die "$1 needs a room: telemetry, history, plant, reporting, sqp, cloudwatcher or audit" ;;
      esac
      shift ;;
    --quick) options+=("$1"); quick=1 ;;
    --full) options+=("$1"); [ "$need_gb" -gt 45 ] || need_gb=45 ;;
    --full-seed) options+=("$1"); need_gb=70 ;;
    --keep) keep=1 ;;
    --no-install) install=0 ;;
    --help|-h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) die "unknown option $1; scripts/bench.sh --help lists them" ;;
  esac
  shift
done
[ "$quick" = 0 ] || need_gb=5

major=${PG:-$(pin pg_default)}
[[ $major =~ ^[0-9]+$ ]] || die "the benchmark runs on one major: PG=$(pin pg_default)"

# Before anything is built: is there room, and is it a disk?
place=${BENCH_DIR:-/var/tmp}
[ -d "$place" ] || die "there is no folder $place"
free_gb=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
[ "$free_gb" -ge "$need_gb" ] \
  || die "$place has $free_gb GB free, and this needs $need_gb GB: name another place with BENCH_DIR=/folder, or measure less"
say "disk: $free_gb GB free in $place, $need_gb GB needed"
[ "$(df -PT "$place" | awk 'NR == 2 { print $2 }')" != tmpfs ] \
  || die "$place is in memory, where writing costs nothing: name a folder on a disk with BENCH_DIR=/folder"

"$root/scripts/setup.sh" "$major"
choose_target_dir
config=$(pg_config_of "$major") || die "PostgreSQL $major is missing; see the messages above"
bindir=$("$config" --bindir)
cd "$root"
if [ "$install" = 1 ]; then
  PG_CONFIG=$config "$root/scripts/install.sh"
else
  warn "measuring the build that is installed, whatever it is"
fi
cargo build --quiet --release --package gemba-bench

# The server must not run as root.
as_server() { if is_root; then runuser -u postgres -- "$@"; else "$@"; fi; }

# Absolute, because the server's user may not enter the folder that this one was called in.
target_dir=$(cd "$target_dir" && pwd)
umask 022
cd /
work=$(as_server mktemp -d "$place/gemba-bench.XXXXXX")
socket=$(as_server mktemp -d /tmp/gemba-bench.XXXXXX)   # a socket's path must be short
finish() {
  local code=$?
  trap - EXIT
  if [ -e "$work/data/postmaster.pid" ]; then
    as_server "$bindir/pg_ctl" -D "$work/data" -m fast -w -t 120 stop >/dev/null 2>&1 \
      || as_server "$bindir/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null 2>&1 \
      || warn "the server in $work did not stop"
  fi
  if [ "$keep" = 1 ]; then
    say "kept: $work"
  else
    [ "$code" = 0 ] || tail -n 20 "$work/log" >&2 2>/dev/null || true
    rm -rf "$work"
  fi
  rm -rf "$socket"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM
chmod 755 "$work" "$socket"

# 2 GB, or a quarter of a small machine's memory.
memory_mb=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo 2>/dev/null || echo 4096)
buffers_mb=$((memory_mb / 4 < 2048 ? memory_mb / 4 : 2048))

as_server "$bindir/initdb" -D "$work/data" -U postgres -A trust --encoding=UTF8 --locale=C \
  >"$work/initdb.log" 2>&1 || { cat "$work/initdb.log" >&2; die "initdb failed"; }
# The worker looks after one database only, so that it disturbs no other measurement.
preload=gemba
# Only what the server has already: nothing is fetched or built for it.
if [ -e "$("$config" --pkglibdir)/timescaledb.so" ]; then
  preload=timescaledb,gemba
else
  warn "TimescaleDB: not on this server, so nothing is measured beside it"
fi
# fsync, synchronous_commit, full_page_writes, autovacuum and the planner's costs stay at their defaults.
cat >>"$work/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$socket'
timezone = 'UTC'
max_connections = 50
shared_buffers = ${buffers_mb}MB
effective_cache_size = $((memory_mb / 2))MB
maintenance_work_mem = 512MB
work_mem = 32MB
max_wal_size = 8GB
checkpoint_timeout = 30min
max_worker_processes = 24
max_locks_per_transaction = 256
shared_preload_libraries = '$preload'
gemba.worker_databases = 'bench_jobs'
CONF
[ "$preload" = gemba ] || echo "timescaledb.telemetry_level = off" >>"$work/data/postgresql.conf"
as_server "$bindir/pg_ctl" -D "$work/data" -l "$work/log" -w -t 60 start >/dev/null \
  || { tail "$work/log" >&2; die "the server did not start"; }

out=$target_dir/bench/latest.md
"$target_dir/release/gemba-bench" --socket "$socket" --work "$work" --out "$out" "${options[@]}"
say "the table stands in $out too"
