#!/usr/bin/env bash
# Runs the tests: all of them, or the named parts.
#   test.sh [rust] [eunit] [ct] [exunit] [fixtures] [compat] [peers]; of ct alone: [outages] [in_memory] [others]
# ct, exunit and fixtures talk to a real Kafka, which is started here and stopped in the end, whatever
# happens; KAFKA_PORT_BASE moves its ports. Where BROD_BOOTSTRAP is set, that cluster is used instead.
# Suites that break brokers have a cluster of their own, and those on Kafka in memory need none: the three
# kinds run beside each other, as all of them mostly wait.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Crates are not built once more for the mock alone, after the part `rust`.
export BROD_MOCK_BUILD=tests

# What needs none of the suites' clusters runs in the shortest lane where everything is wanted.
parts=("$@") beside=()
[ $# -gt 0 ] || parts=(rust eunit ct exunit fixtures) beside=(compat peers)
step() { echo; echo "== $* ($((SECONDS / 60)) min $((SECONDS % 60)) s)"; }

kafka() {
  [ -z "${BROD_BOOTSTRAP:-}" ] || return 0
  export KAFKA_PORT_BASE=${KAFKA_PORT_BASE:-29092}
  trap 'scripts/kafka-down.sh' EXIT
  # Suites that are not about permissions connect as somebody who may do all.
  export KAFKA_ACL=${KAFKA_ACL:-1}
  # On a machine that is busy a controller is late, not gone: one that loses its office over it makes brokers send
  # requests a second time, and a topic that was just created "exists already". So is a broker: partitions on it alone
  # would have no leader.
  export KAFKA_PROPERTIES=${KAFKA_PROPERTIES-$'controller.quorum.fetch.timeout.ms=20000\nbroker.session.timeout.ms=20000'}
  step "a real Kafka"
  scripts/kafka-up.sh
  . scripts/kafka-env.sh
  . "$KAFKA_DIR/env"
  export BROD_SCRIPTS=$PWD/scripts
}

rust() { cargo test --workspace --locked; }

eunit() { rebar3 eunit; }

outage_suites=(brod_failover_SUITE brod_group_faults_SUITE brod_exactly_once_SUITE brod_upgrade_SUITE
  brod_replica_SUITE)
in_memory_suites=(brod_mock_SUITE brod_mock_txn_SUITE brod_cli_SUITE brod_misuse_SUITE brod_health_SUITE)

# suites NAME...: Common Test of these alone
suites() {
  local IFS=,
  rebar3 ct --readable=compact --suite "${*/#/test/}"
}

outages() { KAFKA_PROPERTIES='' kafka && suites "${outage_suites[@]}"; }

in_memory() { suites "${in_memory_suites[@]}"; }

others() {
  local all suite
  kafka
  all=$(cd test && printf '%s\n' *_SUITE.erl)
  for suite in "${outage_suites[@]}" "${in_memory_suites[@]}"; do all=${all/$suite.erl/}; done
  # shellcheck disable=SC2086 # names without spaces
  suites ${all//.erl/}
}

# lane NAME PART...: these parts in the background, with what they print in a file and their process in $!. The
# same build as for this shell's suites, in a folder of its own: two runs of rebar3 must not meet in one.
lane() {
  env -u BROD_BOOTSTRAP -u KAFKA_DIR KAFKA_PORT_BASE=$((KAFKA_PORT_BASE + 200)) REBAR_BASE_DIR="$PWD/_build/$1" \
    scripts/test.sh "${@:2}" >"_build/$1.log" 2>&1 &
}

ct() {
  scripts/build-mock.sh priv
  if [ -n "${BROD_BOOTSTRAP:-}" ]; then
    others
    in_memory
    outages
    return
  fi
  kafka
  rebar3 as test compile
  local outages in_memory failed=0
  lane outages outages
  outages=$!
  lane in_memory in_memory ${beside[@]+"${beside[@]}"}
  in_memory=$!
  (others) || failed=1
  wait "$in_memory" || failed=1
  step "what needs no cluster"
  cat _build/in_memory.log
  wait "$outages" || failed=1
  step "suites that break brokers"
  cat _build/outages.log
  return "$failed"
}

exunit() {
  scripts/build-mock.sh priv
  kafka
  mix test
}

fixtures() {
  kafka
  test/fixtures/run.sh
}

# The oldest and the newest Kafka, and one in between; `make compat` tries more.
compat() { scripts/compat.sh 0.10.2.2 2.8.2 4.4.0; }

# Other clients on our own Kafka in memory.
peers() { scripts/mock-peers.sh; }

scripts/setup.sh
for part in "${parts[@]}"; do
  step "$part"
  case "$part" in
    rust | eunit | ct | outages | in_memory | others | exunit | fixtures | compat | peers) "$part" ;;
    *) echo "unknown part $part" >&2; exit 2 ;;
  esac
done
step "all passed: ${parts[*]}"
