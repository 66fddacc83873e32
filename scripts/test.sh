#!/usr/bin/env bash
# Everything that must pass, in stages; a table at the end says how each went.
#   scripts/test.sh [--long]        PG="17" limits it to these majors
#
# One debug build serves a major's pgrx tests, install and schema: same profile, same features where
# they can be the same. The integration tests are built once and run against each server.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

long=0
for argument in "$@"; do
  case $argument in
    --long) long=1 ;;
    *) die "unknown argument $argument; usage: scripts/test.sh [--long]" ;;
  esac
done

cd "$root"
work=$(mktemp -d)
declare -a names=() results=() times=() reasons=()
failed=0
skipped=0

finish() {
  local i
  rm -rf "$work"
  [ ${#names[@]} -gt 0 ] || return 0
  printf '\n%-28s %-8s %6s\n' stage result time
  for i in "${!names[@]}"; do
    printf '%-28s %-8s %5ds  %s\n' "${names[i]}" "${results[i]}" "${times[i]}" "${reasons[i]}"
  done
  [ "$skipped" = 0 ] || warn "$skipped stage(s) SKIPPED: what they test is not known to work"
  [ "$failed" = 0 ] || printf '\033[1;31mFAILED: %s stage(s)\033[0m\n' "$failed"
}
trap finish EXIT

# skip REASON: ends the stage that calls it.
skip() { printf '%s\n' "$*" >"$work/reason"; exit 77; }

# stage NAME COMMAND …: runs it, and notes how it went; never ends the script.
stage() {
  local name=$1 begin=$SECONDS code
  shift
  printf '\n'
  say "$name"
  : >"$work/reason"
  # In a subshell, outside any condition, because bash ignores set -e within one.
  set +e
  ( set -e; "$@" )
  code=$?
  set -e
  names+=("$name")
  times+=($((SECONDS - begin)))
  reasons+=("$(cat "$work/reason")")
  case $code in
    0) results+=(ok) ;;
    77) results+=(SKIPPED); skipped=$((skipped + 1)); warn "$name SKIPPED: $(cat "$work/reason")" ;;
    *) results+=(FAILED); failed=$((failed + 1)) ;;
  esac
  last=${results[-1]}
}

# -- The stages ---------------------------------------------------------------------------------

pins_agree() {
  local want bad=0 major workflow
  want=$(pin pgrx)
  complain() { printf '%s\n' "$*" >&2; bad=1; }
  for crate in pgrx pgrx-tests; do
    grep -q "^$crate = \"=$want\"" Cargo.toml || complain "Cargo.toml: $crate is not =$want, as pgrx.toml has it"
  done
  for major in $(pin pg_majors_all); do
    grep -q "^pg$major = " Cargo.toml || complain "Cargo.toml: no feature pg$major"
  done
  for workflow in .github/workflows/*.yml; do
    grep -q 'matrix:' "$workflow" || continue
    [ "$(sed -n 's/^ *pg: *\[\(.*\)\]/\1/p' "$workflow" | tr -d ',"')" = "$(pin pg_majors_all)" ] \
      || complain "$workflow: its majors are not those of pgrx.toml ($(pin pg_majors_all))"
  done
  return $bad
}

formatting() { cargo fmt --all --check; }

shell_lint() {
  command -v shellcheck >/dev/null || skip "shellcheck is not installed"
  shellcheck -x scripts/*.sh .ci/run
}

lint_workspace() {
  cargo clippy --workspace --exclude gemba --all-targets -- -D warnings
}

lint_extension() {
  cargo clippy --package gemba --all-targets --no-default-features --features "pg$1 pg_test" \
    -- -D warnings
}

# Either runner prints its own totals, which stay visible.
core_tests() {
  local packages=(--package gemba-core --package gemba-cubems --package gemba-report --package gemba-segment)
  if cargo nextest --version >/dev/null 2>&1; then
    local more=()
    [ "$long" = 0 ] || more=(--run-ignored all)
    # nextest runs no doc tests.
    cargo nextest run "${packages[@]}" "${more[@]}"
    cargo test --quiet --doc "${packages[@]}"
  else
    local more=()
    [ "$long" = 0 ] || more=(-- --include-ignored)
    cargo test "${packages[@]}" "${more[@]}"
  fi
}

pgrx_tests() {
  local major=$1 config=$2 data code=0
  can_install "$config" || skip "$(cannot_install "$config")"
  # The servers' sockets stand in this folder too, so its path is kept short; and the user that
  # runs them has to be able to enter it.
  local as_postgres=()
  if is_root; then
    data=$(runuser -u postgres -- mktemp -d /var/tmp/gemba-pgrx.XXXXXX)
    as_postgres=(--runas postgres)
  else
    data=$(mktemp -d /var/tmp/gemba-pgrx.XXXXXX)
  fi
  cargo pgrx test "pg$major" --package gemba --no-default-features "${as_postgres[@]}" \
    --pgdata "$data" </dev/null 2>&1 | tee "$work/pgrx" || code=$?
  # A test process that died leaves its server behind.
  local pid
  for pid in "$data"/*/postmaster.pid; do
    [ -e "$pid" ] && kill -QUIT "$(head -1 "$pid")" 2>/dev/null
  done
  rm -rf "$data"
  [ "$code" = 0 ] || return "$code"
  grep -q '^running [1-9]' "$work/pgrx" || skip "there is no #[pg_test] in src/"
}

install_extension() {
  can_install "$2" || skip "$(cannot_install "$2")"
  cargo pgrx install --package gemba --pg-config "$2" --no-default-features --features "pg$1"
}

integration_tests() {
  local more=()
  # pg_upgrade needs two servers and has its own stage.
  [ "$long" = 0 ] || more=(-- --include-ignored --skip pg_upgrade)
  GEMBA_TEST_PG_CONFIG=$2 cargo test --package gemba-tests --no-fail-fast "${more[@]}"
}

upgrade_test() {
  local config
  for major in 17 18; do
    config=$(pg_config_of $major) || skip "PostgreSQL $major is missing"
    case " $ready " in *" $major "*) ;; *) skip "needs both, and this run has not installed the extension for PostgreSQL $major" ;; esac
    export "GEMBA_TEST_PG_CONFIG_$major=$config"
  done
  GEMBA_TEST_PG_CONFIG=$config cargo test --package gemba-tests --test upgrade -- --ignored
}

security_lint() {
  local venv sql=$work/gemba.sql
  venv=$target_dir/pgspot-$(pin pgspot)
  if [ ! -x "$venv/bin/pgspot" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" || skip "python3 has no venv module"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "pgspot==$(pin pgspot)"
  fi
  cargo pgrx schema "pg$1" --package gemba --no-default-features --out "$sql"
  local script report
  # Unknown statements pass by its exit status, so its counts are read; and where it fails to understand a statement
  # it says so, leaves out the rest, and counts nothing.
  for script in "$sql" sql/gemba--*--*.sql; do
    [ -e "$script" ] || continue
    report=$("$venv/bin/pgspot" "$script" 2>&1) || true
    printf '%s\n' "$report"
    [ "$(printf '%s\n' "$report" | tr -s '[:space:]' ' ')" = ' Errors: 0 Warnings: 0 Unknown: 0 ' ] \
      || { printf '%s: not clean\n' "$script" >&2; return 1; }
  done
}

# -- In order -----------------------------------------------------------------------------------

read -ra majors <<<"$(majors_wanted)"
stage "setup" "$root/scripts/setup.sh" "${majors[@]}"
[ "$last" = ok ] || exit 1   # nothing below means anything without it
choose_target_dir

stage "pins" pins_agree
stage "formatting" formatting
stage "shellcheck" shell_lint
stage "clippy: workspace" lint_workspace
stage "core tests" core_tests

ready=""       # the majors whose server has this build of the extension
lint_major=""  # the one whose install script is looked at
for major in "${majors[@]}"; do
  if ! config=$(pg_config_of "$major"); then
    missing() { skip "no PostgreSQL $major with server headers"; }
    stage "PostgreSQL $major" missing
    continue
  fi
  stage "clippy: pg$major" lint_extension "$major"
  stage "pgrx tests: pg$major" pgrx_tests "$major" "$config"
  stage "install: pg$major" install_extension "$major" "$config"
  if [ "$last" = ok ]; then
    ready="$ready $major"
    stage "integration: pg$major" integration_tests "$major" "$config"
  else
    not_installed() { skip "the extension is not installed there"; }
    stage "integration: pg$major" not_installed
  fi
  [ -n "$lint_major" ] && [ "$major" != "$(pin pg_default)" ] || lint_major=$major
done

stage "pg_upgrade 17 to 18" upgrade_test
if [ -n "$lint_major" ]; then stage "pgspot" security_lint "$lint_major"; fi
[ "$failed" = 0 ]
