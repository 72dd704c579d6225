#!/usr/bin/env bash
# Other clients on the mock: kcat and rdkafka_performance (librdkafka), and Kafka's own console tools (Java). What they
# produce they consume in a group; they go on where they committed, speak TLS and log in by SASL. So the mock is no mirror
# of our own mistakes. What is not installed is said and left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Built once: Common Test uses the same.
scripts/build-mock.sh priv
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
# As scripts/failures.sh looks for it.
fail() { echo "FAILED: mock-peers: $*" >&2; exit 1; }

# The mock ends with its standard input.
start() {
  sleep 3600 | priv/brod_mock "$1" >"$dir/endpoints" &
  for _ in $(seq 600); do
    [ ! -s "$dir/endpoints" ] || { bootstrap=$(head -1 "$dir/endpoints" | cut -d' ' -f2); return; }
    sleep 0.1
  done
  fail "the mock does not start"
}
k() { timeout 120 kcat -b "$bootstrap" -X auto.offset.reset=earliest "$@" 2>"$dir/errors"; }

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
: >"$dir/endpoints"
start '{"brokers": 3, "topics": {"t": 4, "perf": 4, "franz": 8}, "control_port": 0}'
. scripts/kafka-env.sh
if [ -d "$kafka_jars" ] && command -v java >/dev/null; then
  tool() {
    timeout 300 java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$kafka_jars/*" "$@" 2>"$dir/errors"
  }
  seq 1 500 | tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$bootstrap" --topic t ||
    fail "Kafka's console producer: $(tail -1 "$dir/errors")"
  for protocol in classic consumer; do
    consumed=$(tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic t --group "java-$protocol" \
      --consumer-property "group.protocol=$protocol" --from-beginning --max-messages 500 --timeout-ms 200000 | sort -u | wc -l) || consumed=0
    [ "$consumed" = 500 ] || fail "Kafka's console consumer ($protocol) has $consumed of 500: $(tail -1 "$dir/errors")"
  done
  tool org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$bootstrap" --describe --group java-classic \
    >"$dir/described" || fail "Kafka's groups command: $(tail -1 "$dir/errors")"
  # A consumer that has its 500 messages leaves, perhaps before it knows where the empty partitions begin: those are not
  # committed, and not listed.
  [ "$(awk '$2 == "t" { committed += $4; lag += $6 } END { print committed, lag }' "$dir/described")" = "500 0" ] ||
    fail "Kafka's groups command says: $(cat "$dir/described")"
  echo "mock-peers: Kafka's console tools produce, consume in groups of both protocols, and describe them"
else
  echo "mock-peers: without Kafka's jars (scripts/kafka-up.sh gets them) its console tools are left out"
fi
performance=$(compgen -G "${XDG_CACHE_HOME:-$HOME/.cache}/brod-bench/rdkafka_performance-*" | head -1) || performance=
if [ -n "$performance" ]; then
  timeout 240 "$performance" -q -P -t perf -s 100 -c 100000 -a -1 -b "$bootstrap" -X enable.idempotence=true >"$dir/perf" 2>&1 ||
    fail "rdkafka_performance does not produce: $(tail -3 "$dir/perf")"
  timeout 240 "$performance" -q -G perf -t perf -c 100000 -b "$bootstrap" -X auto.offset.reset=earliest >"$dir/perf" 2>&1 ||
    fail "rdkafka_performance does not consume in a group: $(tail -3 "$dir/perf")"
  echo "mock-peers: rdkafka_performance produces and consumes in a group"
else
  echo "mock-peers: without rdkafka_performance (scripts/build-rdkafka-performance.sh) it is left out"
fi
if command -v go >/dev/null && (cd bench/peer/franz && go build -o "$dir/franz" .) 2>"$dir/errors"; then
  "$dir/franz" txn "bootstrap=$bootstrap" name=peer topic=franz messages=8000 per_txn=100 >"$dir/perf" 2>&1 ||
    fail "franz-go's transactions: $(tail -1 "$dir/perf")"
  # Offsets: values are bytes, line ends among them.
  consumed=$(k -G franz -c 8000 -X isolation.level=read_committed -f '%o\n' franz | wc -l) || consumed=0
  [ "$consumed" = 8000 ] || fail "of franz-go's 8000 messages in transactions kcat sees $consumed"
  echo "mock-peers: franz-go produces in transactions"
else
  echo "mock-peers: without Go, or the network to build franz-go, it is left out"
fi
echo "mock-peers: kcat produces, consumes in a group and logs in"
