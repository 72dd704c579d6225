#!/usr/bin/env bash
# Runs the tests: all of them, or the named parts.
#   test.sh [rust] [eunit] [ct] [exunit] [fixtures] [compat] [peers]
# ct, exunit and fixtures talk to a real Kafka, which is started here and stopped in the end, whatever
# happens; KAFKA_PORT_BASE moves its ports. Where BROD_BOOTSTRAP is set, that cluster is used instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

parts=("$@")
[ $# -gt 0 ] || parts=(rust eunit ct exunit fixtures compat peers)
step() { echo; echo "== $*"; }

kafka() {
  [ -z "${BROD_BOOTSTRAP:-}" ] || return 0
  export KAFKA_PORT_BASE=${KAFKA_PORT_BASE:-29092}
  trap 'scripts/kafka-down.sh' EXIT
  # Suites that are not about permissions connect as somebody who may do all.
  export KAFKA_ACL=${KAFKA_ACL:-1}
  step "a real Kafka"
  scripts/kafka-up.sh
  . scripts/kafka-env.sh
  . "$KAFKA_DIR/env"
  export BROD_SCRIPTS=$PWD/scripts
}

rust() { cargo test --workspace --locked; }

eunit() { rebar3 eunit; }

ct() {
  compgen -G 'test/*_SUITE.erl' >/dev/null || { echo "no suites yet"; return; }
  scripts/build-mock.sh priv
  kafka
  rebar3 ct --readable=compact
}

exunit() {
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
    rust | eunit | ct | exunit | fixtures | compat | peers) "$part" ;;
    *) echo "unknown part $part" >&2; exit 2 ;;
  esac
done
step "all passed: ${parts[*]}"
