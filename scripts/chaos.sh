#!/usr/bin/env bash
# A random walk on the Kafka in memory (test/brod_walk.erl): brokers, leaders, coordinators and requests fare as seeds say,
# while messages are counted. What fails is cut down to a small script and printed with its seed.
#   CHAOS_MINUTES=N   instead of 60
#   CHAOS_SEED=N      the first seed, instead of the time
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh demo
make --no-print-directory build >&2
scripts/build-mock.sh priv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
erlc -o "$work" test/brod_walk.erl
erl -noshell -pa _build/default/lib/brod/ebin -pa "$work" -s brod_walk main </dev/null 2>"$work/log" ||
  { tail -n 50 "$work/log" >&2; exit 1; }
