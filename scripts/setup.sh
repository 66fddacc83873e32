#!/usr/bin/env bash
# Everything a bare Debian machine needs to build and test gemba, as root; for an ordinary user it
# installs nothing outside the home folder and says what is missing.
#   scripts/setup.sh [MAJOR …]
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

majors=${*:-$(majors_wanted)}
state=/var/lib/gemba-setup

debian_packages=(build-essential ca-certificates sudo pkg-config libclang-dev clang python3-venv shellcheck
  bison flex libreadline-dev zlib1g-dev libicu-dev liblz4-dev libzstd-dev libssl-dev dpkg-dev bzip2)

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 \
    || { tail -20 "$log" >&2; die "apt-get could not install: $*"; }
}

# Does the distribution package this major?
packaged() { apt-cache show "postgresql-server-dev-$1" >/dev/null 2>&1; }

# The mirror this machine already uses.
mirror() {
  { sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null
    sed -n 's/^deb \(\[.*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null; } \
    | grep -v security | head -1
}

# Debian's source package of a newer suite, built with the options that the tests need.
build_from_source() {
  local major=$1 prefix work tarball
  prefix="$(pin pg_prefix)/$major"
  work=$(mktemp -d)
  say "PostgreSQL $major: building from Debian's source package (about two minutes)"
  ( cd "$work"
    apt-get source --download-only -qq "postgresql-$major" >>"$log" 2>&1 \
      || { tail -5 "$log" >&2; die "no source package postgresql-$major in the configured suites"; }
    tarball=$(ls postgresql-"$major"_*.orig.tar.bz2)
    tar xjf "$tarball"
    cd postgresql-"$major"*/
    { ./configure --quiet --prefix="$prefix" --with-openssl --with-lz4 --with-zstd --with-icu \
        --without-llvm
      make -s -j"$(nproc)"
      make -s install
      make -s -C contrib -j"$(nproc)" install
    } >>"$log" 2>&1
  ) || { tail -20 "$log" >&2; die "PostgreSQL $major did not build; see $log"; }
  rm -rf "$work"
}

install_as_root() {
  log=/var/tmp/gemba-setup.log
  : >"$log"
  mkdir -p "$state"
  local missing=() major
  for major in $majors; do pg_config_of "$major" >/dev/null || missing+=("$major"); done
  if [ ! -e "$state/packages" ] || [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || die "this script sets up Debian and its relatives; elsewhere install PostgreSQL (with server headers), clang and Rust, then run make as an ordinary user"
    say "system packages"
    apt-get update -qq >>"$log" 2>&1 || warn "apt-get update complained; see $log"
    apt_install "${debian_packages[@]}"
    touch "$state/packages"
  fi
  for major in "${missing[@]}"; do
    if packaged "$major"; then
      say "PostgreSQL $major: Debian package"
      # An older server with newer headers does not load what we build: both move together.
      apt_install "postgresql-$major" "postgresql-client-$major" "postgresql-server-dev-$major"
    else
      if [ ! -e /etc/apt/sources.list.d/gemba-src.list ]; then
        printf 'deb-src %s %s main\n' "$(mirror)" trixie "$(mirror)" sid >/etc/apt/sources.list.d/gemba-src.list
        apt-get update -qq >>"$log" 2>&1 || warn "apt-get update complained; see $log"
      fi
      build_from_source "$major"
    fi
  done
  # The tests look at the pages that the database makes as a person would.
  if ! browser >/dev/null; then
    say "a browser for the tests of pages"
    apt-get update -qq >>"$log" 2>&1 || warn "apt-get update complained; see $log"
    apt_install chromium fonts-dejavu-core
  fi
  id postgres >/dev/null 2>&1 || useradd --system --create-home --shell /bin/bash postgres
}

install_cargo_tools() {
  local want
  want=$(pin pgrx)
  if [ "$(cargo pgrx --version 2>/dev/null | awk '{print $2}')" != "$want" ]; then
    say "cargo-pgrx $want (about three minutes)"
    cargo install --quiet --locked cargo-pgrx --version "$want"
  fi
  local args=() major config
  for major in $majors; do
    config=$(pg_config_of "$major") || continue
    args+=("--pg$major" "$config")
  done
  # cargo-pgrx keeps its own list of majors; rewrite it only when one is missing or has moved.
  local known=${PGRX_HOME:-$HOME/.pgrx}/config.toml needs=0
  for major in $majors; do
    config=$(pg_config_of "$major") || continue
    grep -qs "pg$major *= *\"$config\"" "$known" || needs=1
  done
  if [ "$needs" = 1 ]; then
    for major in $(pin pg_majors_all); do
      config=$(pg_config_of "$major") || continue
      case " $majors " in *" $major "*) ;; *) args+=("--pg$major" "$config") ;; esac
    done
    cargo pgrx init "${args[@]}" >/dev/null
  fi
}

command -v cargo >/dev/null || die "Rust is missing: install rustup (https://rustup.rs), then run this again"
if is_root; then
  install_as_root
else
  found=0
  for major in $majors; do
    if config=$(pg_config_of "$major"); then
      found=1
      say "PostgreSQL $major: $config"
    else
      warn "PostgreSQL $major with server headers is missing: install postgresql-$major and postgresql-server-dev-$major, or run: cargo pgrx init --pg$major=download, or set PG_CONFIG_$major"
    fi
  done
  [ "$found" = 1 ] || die "no PostgreSQL with server headers was found"
  browser >/dev/null || warn "there is no Chromium: the tests of pages are skipped; install chromium, or set GEMBA_CHROMIUM"
  command -v clang >/dev/null || warn "clang is missing (bindgen needs libclang): install clang and libclang-dev"
fi
install_cargo_tools
