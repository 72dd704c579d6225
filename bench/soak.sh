#!/usr/bin/env bash
# Runs bench/soak.erl against a real Kafka.
#   SOAK_MINUTES=N   how long (10)
#   SOAK_KILL=N      with three brokers, of which one is killed and started again every N seconds
#   SOAK_PARTITIONS=N
#                    partitions of the topic (8)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kill_every=${SOAK_KILL:-0}
export KAFKA_PORT_BASE=${KAFKA_PORT_BASE:-25092} KAFKA_HEAP=1g KAFKA_JVM=
export KAFKA_BROKERS=$((kill_every > 0 ? 3 : 1))

scripts/setup.sh
make --no-print-directory build >&2
work=$(mktemp -d)
killer=
trap '[ -z "$killer" ] || kill "$killer" 2>/dev/null; scripts/kafka-down.sh; rm -rf "$work"' EXIT
ERL_LIBS=_build/default/lib erlc -o "$work" bench/soak.erl
scripts/kafka-up.sh >&2
. scripts/kafka-env.sh
. "$KAFKA_DIR/env"

if [ "$kill_every" -gt 0 ]; then
  (
    while :; do
      for n in 1 2 3; do
        sleep "$kill_every"
        echo "soak: broker $n is killed"
        scripts/kafka-broker.sh kill "$n"
        scripts/kafka-broker.sh start "$n"
      done
    done
  ) &
  killer=$!
fi
erl -noshell -pa _build/default/lib/brod/ebin -pa "$work" -s soak main -extra \
  "bootstrap=$BROD_BOOTSTRAP" "minutes=${SOAK_MINUTES:-10}" "replicas=$KAFKA_BROKERS" \
  "partitions=${SOAK_PARTITIONS:-8}" </dev/null
