#!/usr/bin/env bash
# A random walk on the Kafka in memory (test/brod_walk.erl): brokers, leaders, coordinators and requests fare as seeds say,
# while messages are counted. What fails is cut down to a small script and printed with its seed.
#   CHAOS_MINUTES=N   instead of 60
#   CHAOS_SEED=N      the first seed, instead of the time
# With KAFKA=real, faults of every kind on a real cluster of three brokers, with proxies before them (bench/chaos): brokers that are
# killed, stopped and hang, networks that are cut in both directions or in one, a full disk, elections, reassignments,
# a topic that is deleted and created again, quotas; every message is accounted for. 30 minutes of it.
#   CHAOS_RATE=N      messages a second (20000)
#   CHAOS_KINDS='kill,pause'  these faults only
#   CHAOS_PAUSE=N     seconds between faults (10)
#   CHAOS_LIMIT=N     nothing may come to a halt for so many seconds (180)
#   CHAOS_LOG=FILE    what clients log
# With the argument `malformed`, clients of every kind and answers of which one in eight comes damaged (test/brod_malformed.erl).
#   MALFORMED_ANSWERS=N  until so many have, instead of 100000
#   MALFORMED_SEED=N     what they are drawn from, instead of the time
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${KAFKA:-mock}" = real ]; then
  export KAFKA_PORT_BASE=${KAFKA_PORT_BASE:-25092} KAFKA_BROKERS=3 KAFKA_PROXIED=1
  export KAFKA_PROPERTIES='log.retention.check.interval.ms=10000'
  # A full disk takes one that is small enough.
  [ "$(id -u)" != 0 ] || export KAFKA_SMALL_DISK=500m
  scripts/setup.sh
  make --no-print-directory build >&2
  work=$(mktemp -d)
  trap 'scripts/kafka-down.sh; rm -rf "$work"' EXIT
  ERL_LIBS=_build/default/lib erlc -o "$work" bench/chaos/*.erl
  scripts/kafka-up.sh >&2
  . scripts/kafka-env.sh
  . "$KAFKA_DIR/env"
  erl -noshell -pa _build/default/lib/brod/ebin -pa "$work" -s chaos main -extra \
    "base=$KAFKA_PORT_BASE" "scripts=$PWD/scripts" "jars=$kafka_jars" "log=${CHAOS_LOG:-$work/log}" \
    "small_disk=${KAFKA_SMALL_DISK:+$KAFKA_DIR/data-3-small}" "seed=${CHAOS_SEED:-$(date +%s)}" \
    "minutes=${CHAOS_MINUTES:-30}" "rate=${CHAOS_RATE:-20000}" "kinds=${CHAOS_KINDS:-}" \
    "pause=${CHAOS_PAUSE:-10}" "limit=${CHAOS_LIMIT:-180}" </dev/null ||
    { [ -n "${CHAOS_LOG:-}" ] || tail -n 200 "$work/log" >&2; exit 1; }
  exit
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
