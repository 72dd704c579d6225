#!/usr/bin/env bash
# Everything about the sources that can be checked without running them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { echo "lint: $*"; }

step layers
scripts/check-layers.sh
step cargo fmt
cargo fmt --all --check
step cargo clippy
cargo clippy --workspace --all-targets --locked -- -D warnings
step cargo check of fuzz/
# Nothing else builds it but `make fuzz`. libFuzzer itself is not compiled here, which would need a C++ compiler.
(cd fuzz && cargo fmt --check && CUSTOM_LIBFUZZER_PATH=/libfuzzer.a cargo check --locked --target-dir ../target)
step cargo-deny
scripts/cargo-deny.sh --log-level error check bans licenses sources
step erlc, warnings are errors
rebar3 as lint compile
step options.md
scripts/generate-options.escript _build/lint/lib/brod/ebin --check
step erlc of the companion, warnings are errors
companion=$(mktemp -d)
trap 'rm -rf "$companion"' EXIT
erlc -Werror +debug_info -pa _build/lint/lib/brod/ebin -I kafka_protocol/include -o "$companion" kafka_protocol/src/*.erl
step what brod 4 has
scripts/check-contract.escript _build/lint/lib/brod/ebin include
step xref
rebar3 as lint xref
step dialyzer
rebar3 as lint dialyzer
step dialyzer finds misspelt options
scripts/check-typos.escript _build/lint/lib/brod/ebin "$(ls _build/lint/rebar3_*_plt)"
step mix format
mix format --check-formatted
step mix compile, warnings are errors
MIX_ENV=test mix compile --warnings-as-errors --force
step ok
