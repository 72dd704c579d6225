#!/usr/bin/env bash
# What works on which Kafka: starts each version in turn, runs test/compat/compat.erl on it, prints a table.
#   compat.sh [VERSION...]      all that are known without; COMPAT_PORT_BASE moves the ports; fails when anything that has to work does not
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
versions=("$@")
[ $# -gt 0 ] || versions=(0.8.2.2 0.9.0.1 0.10.2.2 0.11.0.3 1.1.1 2.0.1 2.8.2 3.9.1 4.1.1 4.4.0)

scripts/setup.sh
make --no-print-directory build >&2
# Beside a cluster that the tests may have.
unset KAFKA_DIR KAFKA_ACL BROD_BOOTSTRAP
export KAFKA_PORT_BASE=${COMPAT_PORT_BASE:-26092} KAFKA_BROKERS=1
built=${REBAR_BASE_DIR:-_build}/default/lib
work=$(mktemp -d)
trap 'scripts/kafka-down.sh; rm -rf "$work"' EXIT
ERL_LIBS=$built erlc -o "$work" test/compat/compat.erl

echo '| Kafka | produce | gzip | snappy | lz4 | zstd | consume | group | admin | transactions |'
echo '|---|---|---|---|---|---|---|---|---|---|'
status=0
for version in "${versions[@]}"; do
  export KAFKA_VERSION=$version
  case "$version" in
    0.* | 1.* | 2.*) scripts/kafka-old.sh >&2 ;;
    *) scripts/kafka-up.sh >&2 ;;
  esac
  (
    . scripts/kafka-env.sh
    . "$KAFKA_DIR/env"
    erl -noshell -pa "$built/brod/ebin" -pa "$work" -s compat main \
      -extra "$version" "$BROD_BOOTSTRAP" </dev/null
  ) || status=1
  scripts/kafka-down.sh
done
exit $status
