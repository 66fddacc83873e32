#!/usr/bin/env bash
# A tarball for each wanted major, to be unpacked at / of a machine with the same layout.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

"$root/scripts/setup.sh"
cd "$root"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
mkdir -p dist
made=0
for major in $(majors_wanted); do
  config=$(pg_config_of "$major") || { warn "PostgreSQL $major is missing: not packaged"; continue; }
  stem="gemba-$version-pg$major-$(uname -m)"
  rm -rf "dist/$stem"
  cargo pgrx package --pg-config "$config" --no-default-features --features "pg$major" \
    --out-dir "dist/$stem"
  tar -C "dist/$stem" --owner=0 --group=0 -czf "dist/$stem.tar.gz" .
  rm -rf "dist/$stem"
  say "dist/$stem.tar.gz"
  made=1
done
[ "$made" = 1 ] || die "no wanted major is here: nothing was packaged"
