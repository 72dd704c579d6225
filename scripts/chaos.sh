#!/usr/bin/env bash
# A random walk on the Kafka in memory (test/brod_walk.erl): brokers, leaders, coordinators and requests fare as seeds say,
# while messages are counted. What fails is cut down to a small script and printed with its seed.
#   CHAOS_MINUTES=N   instead of 60
#   CHAOS_SEED=N      the first seed, instead of the time
# With KAFKA=real, producers and consumers on a real cluster whose brokers are killed, stopped and hang, one or all of them
# (bench/soak.sh): each message must come once and in order.
# With the argument `malformed`, clients of every kind and answers of which one in eight comes damaged (test/brod_malformed.erl).
#   MALFORMED_ANSWERS=N  until so many have, instead of 100000
#   MALFORMED_SEED=N     what they are drawn from, instead of the time
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${KAFKA:-mock}" = real ]; then
  export SOAK_MINUTES=${CHAOS_MINUTES:-30} SOAK_KILL=${SOAK_KILL:-20} SOAK_FAULTS='kill stop pause all' SOAK_LIMIT=300
  export ${CHAOS_SEED:+SOAK_SEED="$CHAOS_SEED"}
  exec bench/soak.sh
fi

scripts/setup.sh demo
make --no-print-directory build >&2
scripts/build-mock.sh priv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
module=brod_${1:-walk}
erlc -o "$work" -pa _build/default/lib/brod/ebin "test/$module.erl"
erl -noshell -pa _build/default/lib/brod/ebin -pa "$work" -s "$module" main </dev/null 2>"$work/log" ||
  { tail -n 50 "$work/log" >&2; exit 1; }
