#!/usr/bin/env bash
# The whole way of a newcomer: sets up, builds, starts a real Kafka of its own, runs the main job from an
# Erlang and from an Elixir program, stops Kafka. Ends with 'demo: ok', or says which step failed and why.
#   DEMO_MESSAGES=N       instead of 1000000 messages in each language
#   DEMO_KILL_BROKER=1    kills broker 2 with -9 while messages are produced
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export KAFKA_PORT_BASE=${KAFKA_PORT_BASE:-27092}
step=starting
work=$(mktemp -d)
finish() {
  local status=$?
  scripts/kafka-down.sh || true
  rm -rf "$work"
  if [ $status -eq 0 ]; then
    echo "demo: ok"
  else
    echo "demo: failed while $step (exit status $status); the reason stands above" >&2
    exit 1
  fi
}
trap finish EXIT
begin() { step=$*; echo "demo: $step"; }

begin setting up
scripts/setup.sh
begin building
make --no-print-directory build
MIX_ENV=prod mix compile
ERL_LIBS=_build/default/lib erlc -o "$work" examples/erlang/*.erl
begin starting Kafka
scripts/kafka-up.sh
. scripts/kafka-env.sh
. "$KAFKA_DIR/env"

if [ "${DEMO_KILL_BROKER:-0}" = 1 ]; then
  export DEMO_AT_QUARTER="scripts/kafka-broker.sh kill 2"
fi
whole_again() {
  [ -z "${DEMO_AT_QUARTER:-}" ] || scripts/kafka-broker.sh start 2
}

begin running the Erlang program
erl -noshell -pa _build/default/lib/brod/ebin -pa "$work" -s demo main </dev/null
whole_again
begin running the Elixir program
MIX_ENV=prod mix run examples/elixir/demo.exs </dev/null
begin stopping Kafka
