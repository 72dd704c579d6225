#!/usr/bin/env bash
# Measures brod beside librdkafka, and franz-go where there is Go to build it, on a real single-broker Kafka, and prints a table.
#   run.sh [SCENARIO...]      those whose names begin with one of the words; all of them without
#   BENCH_MESSAGES=N          messages a scenario (1000000)
#   MOCK=1                    on the Kafka in memory, where the broker costs little: brod's own produce and subscribe
#   BENCH_RESULTS=FILE        the same fields separated by tabs (_build/bench-results.tsv)
# Messages of 100 bytes, acks of all replicas, 8 partitions where nothing else is said. Each scenario runs
# in a VM of its own; CPU is that of the client process alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export KAFKA_PORT_BASE=${KAFKA_PORT_BASE:-25092} KAFKA_BROKERS=1 KAFKA_HEAP=1g KAFKA_JVM=
messages=${BENCH_MESSAGES:-1000000}
wanted=("$@")

scripts/setup.sh bench
make --no-print-directory build >&2
peer=$(scripts/build-rdkafka-performance.sh)
work=$(mktemp -d)
if [ "${MOCK:-0}" = 1 ]; then
  trap 'kill ${mock:+"$mock"} 2>/dev/null || true; rm -rf "$work"' EXIT
else
  trap 'scripts/kafka-down.sh; rm -rf "$work"' EXIT
fi
ERL_LIBS=_build/default/lib erlc -o "$work" bench/bench_client.erl
if command -v go >/dev/null; then
  (cd bench/peer/franz && go build -o "$work/franz" .) >&2
else
  echo "bench: without Go there is no franz-go to compare with" >&2
fi
if [ "${MOCK:-0}" = 1 ]; then
  scripts/build-mock.sh priv
  # It ends with its standard input.
  mkfifo "$work/control"
  exec {control}<>"$work/control"
  priv/brod_mock '{"brokers": 1}' <"$work/control" >"$work/mock" {control}>&- &
  mock=$!
  until [ -s "$work/mock" ]; do kill -0 "$mock"; sleep 0.1; done
  BROD_BOOTSTRAP=$(head -1 "$work/mock" | cut -d' ' -f2) BROD_BOOTSTRAP_TLS='' BROD_TLS_DIR=''
  [ ${#wanted[@]} -gt 0 ] || wanted=(produce subscribe topic_subscriber)
else
  scripts/kafka-up.sh >&2
  . scripts/kafka-env.sh
  . "$KAFKA_DIR/env"
fi

is_wanted() {
  local word
  [ ${#wanted[@]} -gt 0 ] || return 0
  for word in "${wanted[@]}"; do [[ $1 == "$word"* ]] && return 0; done
  return 1
}

# Whether any scenario is that begins so.
is_some_wanted() {
  local word
  ! is_wanted "$1" || return 0
  for word in ${wanted[@]+"${wanted[@]}"}; do [[ $word == "$1"* ]] && return 0; done
  return 1
}

results=${BENCH_RESULTS:-_build/bench-results.tsv}
: >"$results"
row() { tee -a "$results" | awk -F '\t' '{ printf "%-34s %10s %8s %8s %8s  %s\n", $1, $2, $3, $4, $5, $6 }'; }

# client SCENARIO KEY=VALUE...: one line of fields
client() {
  erl -noshell -pa _build/default/lib/brod/ebin -pa "$work" -s bench_client main \
    -kernel logger '[{handler, default, logger_std_h, #{config => #{type => standard_error}}}]' \
    -extra "$1" "bootstrap=$BROD_BOOTSTRAP" "${@:2}" </dev/null
}

# What the Kafka in memory has taken of the CPU, in ticks.
mock_ticks() { [ -z "${mock:-}" ] && echo 0 || awk '{ print $14 + $15 }' "/proc/$mock/stat"; }

# scenario NAME SCENARIO KEY=VALUE...
scenario() {
  is_wanted "$1" || return 0
  local name=$1 line before
  shift
  before=$(mock_ticks)
  line=$(client "$@" "name=$name")
  [ -z "${mock:-}" ] ||
    line+=", mock $(awk -v ticks=$(($(mock_ticks) - before)) -v hz="$(getconf CLK_TCK)" -v n="$messages" \
      'BEGIN { printf "%.2f", ticks * 1e6 / hz / n }') CPU s/M"
  row <<<"$line"
}

# filled TOPIC PARTITIONS KEY=VALUE...: makes the topic and fills it, the first time
filled() {
  [ ! -e "$work/$1" ] || return 0
  client produce_batch name=fill "topic=$1" "partitions=$2" "messages=$messages" "${@:3}" >/dev/null
  touch "$work/$1"
}

# librdkafka NAME ARGUMENT...: the peer's own rate, and CPU and memory as the system saw them
librdkafka() {
  is_wanted "$1" || return 0
  local name=$1 job pid peak=0 now rate cpu
  local TIMEFORMAT='%U %S'
  shift
  rm -f "$work/peer.pid"
  # shellcheck disable=SC2016
  { time bash -c 'echo $$ >"$0"; exec "$@"' "$work/peer.pid" "$peer" -q -b "$BROD_BOOTSTRAP" "$@" \
    </dev/null >"$work/peer.out" 2>&1; } 2>"$work/peer.cpu" &
  job=$!
  # The highest that it has been, as seen in the last look before the program ends.
  while kill -0 "$job" 2>/dev/null; do
    pid=$(cat "$work/peer.pid" 2>/dev/null) || pid=none
    now=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || now=
    peak=${now:-$peak}
    sleep 0.02
  done
  wait "$job" || { cat "$work/peer.out" >&2; echo "bench: rdkafka_performance failed" >&2; return 1; }
  rate=$(grep -oE '[0-9]+ msgs/s' "$work/peer.out" | tail -n 1)
  cpu=$(awk '{ print $1 + $2 }' "$work/peer.cpu")
  printf '%s\t%s\n' "$name" "${rate% *}" | awk -F '\t' -v cpu="$cpu" -v n="$messages" -v size="${peer_size:-100}" -v kb="$peak" '{
      printf "%s\t%d\t%.1f\t%.2f\t%.1f\t%s\n", $1, $2, $2 * size / 1e6, cpu * 1e6 / n, kb / 1024, "peer"
    }' | row
}

# franz NAME SCENARIO KEY=VALUE...: as client, by franz-go
franz() {
  is_wanted "$1" && [ -x "$work/franz" ] || return 0
  "$work/franz" "$2" "bootstrap=$BROD_BOOTSTRAP" "name=$1" "${@:3}" | row
}

# librdkafka_txn NAME TOPIC TRANSACTIONS PER_TXN: as client, one after the other
librdkafka_txn() {
  is_wanted "$1" || return 0
  "$(dirname "$peer")/librdkafka_txn" "$BROD_BOOTSTRAP" "$2" "$3" "$4" 8 |
    awk -F '\t' -v name="$1" '{
      printf "%s\t%d\t%.1f\t%.2f\t%.1f\tpeer, p50 %d us, p99 %d us, p99.9 %d us\n", name, $1, $1 / 1e4, $2, $3 / 1024, $4, $5, $6
    }' | row
}

# A broker that has just started is slow: its JVM has not compiled anything yet. Nor has it what it has not done until then,
# and whoever is measured first would pay for all.
warmed() {
  local n
  for ((n = 0; n < $1; n++)); do client "${@:2}" name=warm "messages=$messages" >/dev/null; done
}

warmed 3 produce_batch topic=warm
warmed 12 produce topic=warm
printf '%s\t%s\t%s\t%s\t%s\n' scenario msgs/s MB/s 'CPU s/M' 'peak MB' | row

scenario 'produce' produce topic=produce "messages=$messages"
scenario 'produce, 512 callers' produce topic=produce-512 "messages=$messages" callers=512 window=16
scenario 'produce, 100 a call' produce_batch topic=batch "messages=$messages"
peer_topic() { client produce_batch name=make "topic=$1" "partitions=$2" messages=800 >/dev/null; }
# The program's own linger of a second is no match for anybody. It fills one partition's batch before it takes the next;
# "spread" takes a partition a message, as the scenarios above do.
peer_own=(-X linger.ms=5)
peer_spread=(-X linger.ms=5 -X sticky.partitioning.linger.ms=0)
if is_wanted 'librdkafka produce'; then
  peer_topic peer-8 8
  librdkafka 'librdkafka produce, spread' -P -t peer-8 -s 100 -c "$messages" -a -1 "${peer_spread[@]}"
  librdkafka 'librdkafka produce, sticky' -P -t peer-8 -s 100 -c "$messages" -a -1 "${peer_own[@]}"
fi
if is_wanted 'franz-go produce'; then
  peer_topic peer-go 8
  franz 'franz-go produce, spread' produce topic=peer-go "messages=$messages"
  franz 'franz-go produce, sticky' produce topic=peer-go "messages=$messages" choice=sticky
fi
# Transactions take ways of their own through the broker, and need ten thousand of them until they are fast.
if is_some_wanted 'transactions' || is_some_wanted 'franz-go transactions'; then warmed 12 txn topic=warm-txn; fi
scenario 'transactions of 1000' txn topic=txn-1000 "messages=$messages" per_txn=1000
scenario 'transactions of 1000, 1 a call' txn topic=txn-1000 "messages=$messages" per_txn=1000 per_call=1
if is_wanted 'franz-go transactions of 1000'; then peer_topic txn-1000 8; fi
franz 'franz-go transactions of 1000' txn topic=txn-1000 "messages=$messages" per_txn=1000
scenario 'transactions of 1, 1 caller' txn topic=txn-1 messages=2000 per_txn=1 callers=1
if is_wanted 'franz-go transactions of 1, 1 caller'; then peer_topic txn-1 8; fi
franz 'franz-go transactions of 1, 1 caller' txn topic=txn-1 messages=2000 per_txn=1 callers=1
if is_wanted 'librdkafka transactions of 1, 1 caller'; then peer_topic txn-1 8; fi
librdkafka_txn 'librdkafka transactions of 1, 1 caller' txn-1 2000 1
if is_some_wanted 'sync'; then warmed 1 sync topic=warm-sync callers=64; fi
scenario 'sync, 1 caller' sync topic=sync-1 messages=10000
scenario 'sync, 16 callers' sync topic=sync-16 messages=160000 callers=16
scenario 'sync, 64 callers' sync topic=sync-64 messages=320000 callers=64

if is_some_wanted 'latency'; then client latency name=warm topic=warm-latency via=subscribe messages=10000 >/dev/null; fi
for via in subscribe topic_subscriber group_subscriber; do
  scenario "latency, $via" latency "topic=latency-$via" via=$via messages=5000
  scenario "latency, $via, 10000/s" latency "topic=latency-$via-rate" via=$via messages=100000 rate=10000
done
if is_wanted 'latency, franz-go'; then
  peer_topic latency-peer 8
  franz 'latency, franz-go' latency topic=latency-peer messages=5000
  franz 'latency, franz-go, 10000/s' latency topic=latency-peer messages=100000 rate=10000
fi

scenario 'call' calls topic=calls

filled full-8 8
warmed 2 subscribe topic=full-8
scenario 'subscribe' subscribe topic=full-8 "messages=$messages"
scenario 'topic_subscriber, per message' topic_subscriber topic=full-8 "messages=$messages"
scenario 'topic_subscriber, per set' topic_subscriber topic=full-8 "messages=$messages" type=message_set
scenario 'group_subscriber, per message' group_subscriber topic=full-8 "messages=$messages"
scenario 'group_subscriber, per set' group_subscriber topic=full-8 "messages=$messages" type=message_set
librdkafka 'librdkafka consume, group' -G bench-8 -t full-8 -c "$messages" -X auto.offset.reset=earliest
franz 'franz-go consume' consume topic=full-8 "messages=$messages"

# TLS 1.3, the broker's certificate verified; beside the plaintext figures above.
tls=("bootstrap=$BROD_BOOTSTRAP_TLS" "ca=$BROD_TLS_DIR/ca.pem")
peer_tls=(-b "$BROD_BOOTSTRAP_TLS" -X security.protocol=ssl -X "ssl.ca.location=$BROD_TLS_DIR/ca.pem")
if is_some_wanted 'TLS'; then warmed 6 produce topic=warm-tls "${tls[@]}"; fi
scenario 'TLS, produce' produce topic=tls "messages=$messages" "${tls[@]}"
# As many as librdkafka's queue may hold.
scenario 'TLS, produce, 100000 outstanding' produce topic=tls "messages=$messages" window=12500 "${tls[@]}"
if is_wanted 'TLS, librdkafka produce'; then
  peer_topic peer-tls 8
  librdkafka 'TLS, librdkafka produce' -P -t peer-tls -s 100 -c "$messages" -a -1 "${peer_spread[@]}" "${peer_tls[@]}"
fi
if is_some_wanted 'TLS, subscribe'; then warmed 6 subscribe topic=full-8 "${tls[@]}"; fi
scenario 'TLS, subscribe' subscribe topic=full-8 "messages=$messages" "${tls[@]}"
librdkafka 'TLS, librdkafka consume' -G bench-tls -t full-8 -c "$messages" -X auto.offset.reset=earliest \
  "${peer_tls[@]}"

for codec in gzip snappy lz4 zstd; do
  scenario "$codec, produce" produce "topic=$codec" "messages=$messages" "compression=$codec"
  if is_wanted "$codec, librdkafka produce"; then
    peer_topic "peer-$codec" 8
    librdkafka "$codec, librdkafka produce" -P -t "peer-$codec" -s 100 -c "$messages" -a -1 "${peer_spread[@]}" -z "$codec"
  fi
  if is_wanted "$codec, subscribe" || is_wanted "$codec, librdkafka consume"; then
    filled "full-$codec" 8 "compression=$codec"
  fi
  scenario "$codec, subscribe" subscribe "topic=full-$codec" "messages=$messages"
  librdkafka "$codec, librdkafka consume" -G "bench-$codec" -t "full-$codec" -c "$messages" \
    -X auto.offset.reset=earliest
done

# As many bytes of each size, 100 MB where a million messages are asked for.
for size in 1000 10000 100000 1000000; do
  n=$((messages * 100 / size))
  scenario "$size bytes, produce" produce "topic=size-$size" "messages=$n" "size=$size"
  if is_wanted "$size bytes, librdkafka produce"; then
    peer_topic "peer-size-$size" 8
    messages=$n peer_size=$size librdkafka "$size bytes, librdkafka produce" -P -t "peer-size-$size" -s "$size" -c "$n" -a -1 \
      -X message.max.bytes=1100000 "${peer_spread[@]}"
  fi
  if is_wanted "$size bytes, subscribe" || is_wanted "$size bytes, librdkafka consume"; then
    filled "full-size-$size" 8 "messages=$n" "size=$size" per_call=1
  fi
  scenario "$size bytes, subscribe" subscribe "topic=full-size-$size" "messages=$n" "size=$size"
  messages=$n peer_size=$size librdkafka "$size bytes, librdkafka consume" -G "bench-$size" -t "full-size-$size" -c "$n" \
    -X auto.offset.reset=earliest
done

# Kafka maps an index of each partition into memory with its first few kilobytes, which takes longer than
# all the rest: the topics have been written to.
filled produce-1000 1000
scenario '1000 partitions, produce' produce topic=produce-1000 "messages=$messages" partitions=1000
filled full-1000 1000
scenario '1000 partitions, subscribe' subscribe topic=full-1000 "messages=$messages" partitions=1000
if is_wanted '1000 partitions, librdkafka'; then
  filled peer-1000 1000
  librdkafka '1000 partitions, librdkafka produce' -P -t peer-1000 -s 100 -c "$messages" -a -1 "${peer_spread[@]}"
  franz '1000 partitions, franz-go produce' produce topic=peer-1000 "messages=$messages" partitions=1000
  franz '1000 partitions, franz-go consume' consume topic=full-1000 "messages=$messages"
  librdkafka '1000 partitions, librdkafka consume' -G bench-1000 -t full-1000 -c "$messages" \
    -X auto.offset.reset=earliest
fi
scenario '1000 partitions, idle' idle topic=idle partitions=1000
