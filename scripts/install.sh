#!/usr/bin/env bash
# A release build into the server that PG_CONFIG names.
#   PG_CONFIG=/path/to/pg_config scripts/install.sh
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ -n "${PG_CONFIG:-}" ] || die "say which server: make install PG_CONFIG=/path/to/pg_config"
[ -x "$(command -v "$PG_CONFIG")" ] || die "PG_CONFIG=$PG_CONFIG is not a program"
PG_CONFIG=$(command -v "$PG_CONFIG")
major=$(pg_major_of "$PG_CONFIG")
case " $(pin pg_majors_all) " in
  *" $major "*) ;;
  *) die "PostgreSQL $major is not supported; these are: $(pin pg_majors_all)" ;;
esac
[ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] \
  || die "$PG_CONFIG has no server headers: install postgresql-server-dev-$major"

# setup.sh looks at this variable first, so cargo-pgrx learns of the server that was named.
export "PG_CONFIG_$major=$PG_CONFIG"
"$root/scripts/setup.sh" "$major"

as_root=()
if ! can_install "$PG_CONFIG"; then
  command -v sudo >/dev/null || die "$(cannot_install "$PG_CONFIG")"
  as_root=(--sudo)
fi
cd "$root"
cargo pgrx install --release "${as_root[@]}" --pg-config "$PG_CONFIG" \
  --no-default-features --features "pg$major"
say "installed for PostgreSQL $major; in a database: CREATE EXTENSION gemba;"
