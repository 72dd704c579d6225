# What people type. Each target is a script or one line, so that it also works without make.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help setup build cli test lint fmt precompiled package docs dashboard demo bench bench-compare soak chaos malformed fuzz sanitize compat matrix kafka-up kafka-down clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: ## install what is missing (Debian, apt)
	@scripts/setup.sh

build: ## a complete application in _build/default/lib/brod
	@rebar3 compile

cli: build ## the command line as a folder that may be copied, _build/cli/bin/brod; it needs Erlang
	@rm -rf _build/cli && mkdir -p _build/cli/bin
	@cp bin/brod _build/cli/bin/
	@cp -rL _build/default/lib/brod/ebin _build/cli/
	@mkdir _build/cli/priv && cp priv/brod_nif.so _build/cli/priv/
	@echo '_build/cli/bin/brod'

precompiled: ## the library for other machines, as archives with checksums in _build/precompiled (zig, from PyPI)
	@scripts/precompiled.sh

package: ## brod-VERSION.tar as hex would have it, in _build/package (nothing is published)
	@scripts/package.escript _build/package

test: ## every test, the ones on a real Kafka included
	@scripts/test.sh

lint: ## formatters, clippy, warnings, xref, dialyzer, layers
	@scripts/lint.sh

fmt: ## format Rust and Elixir sources
	@cargo fmt --all
	@mix format

docs: ## the documentation as a site, in _build/docs (ExDoc, in a chroot where need be), its links checked
	@scripts/docs.sh

dashboard: ## brod_dashboard's page in headless Chromium: does it show what it should, without an error?
	@scripts/dashboard.sh

demo: ## the main job from Erlang and from Elixir, on a Kafka in memory (KAFKA=real: on a real one)
	@scripts/demo.sh

bench: ## measure beside librdkafka on a real Kafka (MOCK=1: on the one in memory, brod alone)
	@bench/run.sh

bench-compare: ## this checkout beside another revision (REV=...), in alternating rounds
	@bench/compare.sh "$(REV)"

soak: ## ten minutes of producing and consuming, checked message by message (SOAK_MINUTES, SOAK_KILL, SOAK_PARTITIONS)
	@bench/soak.sh

chaos: ## a random walk of clients and faults on the Kafka in memory, an hour of it (CHAOS_MINUTES, CHAOS_SEED; KAFKA=real: 30 minutes of faults of every kind on real brokers)
	@scripts/chaos.sh

malformed: ## clients of every kind that get 100,000 damaged answers (MALFORMED_ANSWERS, MALFORMED_SEED)
	@scripts/chaos.sh malformed

fuzz: ## inputs made up by libFuzzer for every decoder, a minute for each (FUZZ_SECONDS, FUZZ_SANITIZER)
	@scripts/fuzz.sh

sanitize: ## the NIF under valgrind: misuse, and clients of the Kafka in memory (BROD_CALLS)
	@scripts/sanitize.sh

compat: ## what works on which Kafka, from 0.8.2 to 4.4, as a table (takes some minutes)
	@scripts/compat.sh

matrix: ## another Erlang, in a chroot of another Debian release (root, debootstrap)
	@scripts/matrix.sh

kafka-up: ## start a real Kafka of three brokers (KAFKA_PORT_BASE, KAFKA_DIR, KAFKA_BROKERS)
	@scripts/kafka-up.sh

kafka-down: ## stop it
	@scripts/kafka-down.sh

clean: ## remove what building made
	@rm -rf _build target priv
