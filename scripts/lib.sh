# Shared by the scripts: pins, messages, and where PostgreSQL is. Source it, do not run it.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export root

# pin NAME: a value of pgrx.toml.
pin() { sed -n "s/^$1 *= *\"\(.*\)\"/\1/p" "$root/pgrx.toml"; }

say()  { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
warn() { printf '\033[1;33mWARNING: %s\033[0m\n' "$*" >&2; }
die()  { printf '\033[1;31mERROR: %s\033[0m\n' "$*" >&2; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# pg_major_of PG_CONFIG: its major version.
pg_major_of() { "$1" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'; }

# pg_config_of MAJOR: path of that major's pg_config, or nothing.
# PG_CONFIG_17=/path and so on win over what is found.
pg_config_of() {
  local major=$1 var="PG_CONFIG_$1" candidate
  for candidate in "${!var:-}" \
      "$(pin pg_prefix)/$major/bin/pg_config" \
      "/usr/lib/postgresql/$major/bin/pg_config" \
      "/usr/pgsql-$major/bin/pg_config" \
      "${PGRX_HOME:-$HOME/.pgrx}"/"$major".*/pgrx-install/bin/pg_config \
      "/opt/homebrew/opt/postgresql@$major/bin/pg_config"; do
    [ -x "$candidate" ] || continue
    [ "$(pg_major_of "$candidate")" = "$major" ] || continue
    [ -f "$("$candidate" --includedir-server)/postgres.h" ] || continue
    [ -x "$("$candidate" --bindir)/initdb" ] || continue
    printf '%s\n' "$candidate"
    return 0
  done
  return 1
}

# majors_wanted: the majors named by PG=…, or all tested ones.
majors_wanted() { printf '%s\n' "${PG:-$(pin pg_majors)}"; }

# can_install PG_CONFIG: may this user put an extension into that server?
can_install() { [ -w "$("$1" --pkglibdir)" ] && [ -w "$("$1" --sharedir)/extension" ]; }

# cannot_install PG_CONFIG: what to do about it, in one line.
cannot_install() {
  printf '%s cannot write to %s and %s/extension: run this as root, or give them to the user for a test machine (sudo chown -R %s …)\n' \
    "$(id -un)" "$("$1" --pkglibdir)" "$("$1" --sharedir)" "$(id -un)"
}

# browser: the Chromium that tests of pages run, or nothing. (tests/src/browser.rs looks for the same.)
browser() {
  local name
  for name in "${GEMBA_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    [ -n "$name" ] && command -v "$name" && return 0
  done
  return 1
}

# The target folder has to be readable by the user that runs PostgreSQL. Root's clone may sit in a
# folder that nobody else can enter; then the build goes elsewhere. (Again after setup.sh, which may be
# what makes that user.)
choose_target_dir() {
  if is_root && [ -z "${CARGO_TARGET_DIR:-}" ] && id postgres >/dev/null 2>&1 \
      && ! runuser -u postgres -- test -x "$root"; then
    CARGO_TARGET_DIR="/var/tmp/gemba-target-$(printf '%s' "$root" | cksum | cut -d' ' -f1)"
    export CARGO_TARGET_DIR
  fi
  target_dir=${CARGO_TARGET_DIR:-$root/target}
  export target_dir
}
choose_target_dir

# cargo-pgrx passes a linker flag by way of RUSTFLAGS when it installs, and none when it tests, so that
# each step would build every dependency again (two minutes a time). The flag keeps the section that
# holds the extension's schema; where the linker keeps it anyway it is not needed, and where it does not,
# cargo-pgrx stops with a message.
if [ "$(uname -sm)" = "Linux x86_64" ]; then
  export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1
fi
