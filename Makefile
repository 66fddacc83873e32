# Every target is a script in scripts/; this file only names them.
#   PG="15 17"      limits setup, build, test and package to these majors
#   PG_CONFIG=…     the server that `make install` installs to
#   PG_CONFIG_17=…  the pg_config of one major, where it is not found by itself

SHELL := bash
export PG PG_CONFIG

.DEFAULT_GOAL := help
.PHONY: help setup build test test-long demo bench install package fmt clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) \
	  | while IFS='|' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

setup: ## PostgreSQL, cargo-pgrx and what they need (root on Debian installs; others are told)
	scripts/setup.sh

build: ## A debug build for each major
	scripts/build.sh

test: ## Everything that must pass; PG=17 limits it to one major
	scripts/test.sh

test-long: ## The same, and the tests that take long
	scripts/test.sh --long

demo: ## The main job on sample data, in a private cluster
	scripts/demo.sh

bench: ## The measurements of docs/performance.md
	scripts/bench.sh

install: ## A release build into the server of PG_CONFIG=/path/to/pg_config
	scripts/install.sh

package: ## A release tarball for each major, in dist/
	scripts/package.sh

fmt: ## Format the Rust code
	cargo fmt --all

clean: ## Remove what was built here
	cargo clean
	rm -rf dist .demo
