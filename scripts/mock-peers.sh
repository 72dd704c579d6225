#!/usr/bin/env bash
# Another client, kcat (librdkafka), on the mock: what it produces it consumes in a group, goes on where it
# committed, and logs in by SASL. So the mock is no mirror of our own mistakes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Built once: Common Test uses the same.
scripts/build-mock.sh priv
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
fail() { echo "mock-peers: $*" >&2; exit 1; }

# The mock ends with its standard input.
start() {
  sleep 120 | priv/brod_mock "$1" >"$dir/endpoints" &
  for _ in $(seq 100); do
    [ ! -s "$dir/endpoints" ] || { bootstrap=$(head -1 "$dir/endpoints" | cut -d' ' -f2); return; }
    sleep 0.1
  done
  fail "the mock does not start"
}
k() { timeout 20 kcat -b "$bootstrap" -X auto.offset.reset=earliest "$@" 2>"$dir/errors"; }

start '{"brokers": 3, "topics": {"t": 4}}'
seq 1 1000 | k -P -t t -X enable.idempotence=true || fail "kcat does not produce"
consumed=$(k -G group -c 1000 t | sort -u | wc -l) || fail "kcat does not consume in a group: $(tail -1 "$dir/errors")"
[ "$consumed" = 1000 ] || fail "kcat consumed $consumed of 1000 messages"
echo more | k -P -t t
[ "$(k -G group -c 1 t)" = more ] || fail "the group does not go on where it committed"

: >"$dir/endpoints"
start '{"brokers": 1, "topics": {"t": 1}, "users": {"alice": "secret"}}'
for mechanism in PLAIN SCRAM-SHA-256 SCRAM-SHA-512; do
  login=(-X security.protocol=sasl_plaintext -X sasl.mechanism="$mechanism" -X sasl.username=alice)
  echo x | k -P -t t "${login[@]}" -X sasl.password=secret || fail "kcat does not log in by $mechanism"
done
echo "mock-peers: kcat produces, consumes in a group and logs in"
