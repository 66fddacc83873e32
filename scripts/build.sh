#!/usr/bin/env bash
# A debug build of the extension for each wanted major that is here.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

"$root/scripts/setup.sh"
cd "$root"
for major in $(majors_wanted); do
  pg_config_of "$major" >/dev/null || { warn "PostgreSQL $major is missing: not built"; continue; }
  say "building for PostgreSQL $major"
  cargo build --package gemba --lib --no-default-features --features "pg$major"
done
