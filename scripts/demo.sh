#!/usr/bin/env bash
# The whole way of a newcomer: sets up, builds, starts a Kafka of its own, runs the main job from an Erlang and
# from an Elixir program, stops Kafka. Ends with 'demo: ok', or says which step failed and why.
#   KAFKA=mock            the Kafka in memory, which needs no JDK; 'real' is Kafka itself
#   DEMO_MESSAGES=N       instead of 1000000 messages in each language
#   DEMO_KILL_BROKER=1    kills broker 2 while messages are produced (a real one with -9)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kafka=${KAFKA:-mock}
case "$kafka" in mock | real) ;; *) echo "demo: KAFKA is 'mock' or 'real', not '$kafka'" >&2; exit 2 ;; esac
step=starting
work=$(mktemp -d)
finish() {
  local status=$?
  "stop_$kafka" || true
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

start_real() {
  export KAFKA_PORT_BASE=${KAFKA_PORT_BASE:-27092}
  scripts/kafka-up.sh
  . scripts/kafka-env.sh
  . "$KAFKA_DIR/env"
  kill_broker="scripts/kafka-broker.sh kill 2"
  revive_broker="scripts/kafka-broker.sh start 2"
}
stop_real() { scripts/kafka-down.sh; }

# The mock takes commands from its standard input and ends with it.
start_mock() {
  mkfifo "$work/control"
  exec {control}<>"$work/control"
  priv/brod_mock '{"brokers": 3}' <"$work/control" >"$work/mock" {control}>&- &
  mock=$!
  for _ in $(seq 100); do
    [ "$(wc -l <"$work/mock")" -lt 3 ] || break
    kill -0 "$mock"
    sleep 0.1
  done
  BROD_BOOTSTRAP=$(cut -d' ' -f2 "$work/mock" | head -3 | paste -sd,)
  export BROD_BOOTSTRAP
  kill_broker="echo '{\"do\": \"stop_broker\", \"broker\": 2}' >$work/control"
  revive_broker="echo '{\"do\": \"start_broker\", \"broker\": 2}' >$work/control"
}
stop_mock() { [ -z "${mock:-}" ] || kill "$mock" 2>/dev/null; }

begin setting up
if [ "$kafka" = mock ]; then scripts/setup.sh demo; else scripts/setup.sh; fi
begin building
make --no-print-directory build
[ "$kafka" = real ] || scripts/build-mock.sh priv
MIX_ENV=prod mix compile
ERL_LIBS=_build/default/lib erlc -o "$work" examples/erlang/*.erl
begin "starting Kafka ($kafka)"
"start_$kafka"

[ "${DEMO_KILL_BROKER:-0}" != 1 ] || export DEMO_AT_QUARTER=$kill_broker
whole_again() { [ -z "${DEMO_AT_QUARTER:-}" ] || sh -c "$revive_broker"; }

begin running the Erlang program
erl -noshell -pa _build/default/lib/brod/ebin -pa "$work" -s demo main </dev/null
whole_again
begin running the Elixir program
MIX_ENV=prod mix run examples/elixir/demo.exs </dev/null
begin stopping Kafka
