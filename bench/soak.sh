#!/usr/bin/env bash
# Runs bench/soak.erl against a real Kafka.
#   SOAK_MINUTES=N   how long (10)
#   SOAK_KILL=N      with three brokers, of which one is killed and started again every N seconds
#   SOAK_FAULTS='kill stop pause all'
#                    what happens to brokers then, drawn by chance: one is killed, stopped or hangs for 5 to 20 s, or all are
#                    killed; SOAK_SEED draws the same again. Without it they are killed in turn.
#   SOAK_PARTITIONS=N
#                    partitions of the topic (8)
#   SOAK_LIMIT=N     nothing may come to a halt for so many seconds (60)
#   SOAK_RATE=N      messages a second, instead of as many as can be
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

broker() { scripts/kafka-broker.sh "$@"; }

# disturb WHAT N
disturb() {
  echo "soak: $1 of broker $2"
  case "$1" in
    kill | stop) broker "$1" "$2"; broker start "$2" ;;
    pause) broker pause "$2"; sleep $((5 + RANDOM % 16)); broker resume "$2" ;;
    all)
      for n in 1 2 3; do broker kill "$n"; done
      # None of them is ready before another one is there.
      for n in 1 2 3; do broker start "$n" & done
      wait
      ;;
    *) echo "soak: unknown fault $1" >&2; exit 2 ;;
  esac
}

if [ "$kill_every" -gt 0 ]; then
  seed=${SOAK_SEED:-$((SECONDS + $(date +%s) % 32768))}
  read -ra faults <<<"${SOAK_FAULTS:-}"
  [ ${#faults[@]} -eq 0 ] || echo "soak: seed $seed"
  (
    RANDOM=$seed
    n=0
    while sleep "$kill_every"; do
      if [ ${#faults[@]} -eq 0 ]; then
        n=$((n % 3 + 1))
        disturb kill "$n"
      else
        disturb "${faults[RANDOM % ${#faults[@]}]}" $((RANDOM % 3 + 1))
      fi
    done
  ) &
  killer=$!
fi
erl -noshell -pa _build/default/lib/brod/ebin -pa "$work" -s soak main -extra \
  "bootstrap=$BROD_BOOTSTRAP" "minutes=${SOAK_MINUTES:-10}" "replicas=$KAFKA_BROKERS" \
  "partitions=${SOAK_PARTITIONS:-8}" "limit=${SOAK_LIMIT:-60}" "rate=${SOAK_RATE:-0}" </dev/null
