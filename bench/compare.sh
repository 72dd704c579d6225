#!/usr/bin/env bash
# Compares this checkout with another revision of itself, on one broker, in alternating rounds.
#   compare.sh REVISION [SCENARIO...]    scenarios of bench_client: produce, produce_batch, sync, subscribe, ...
#   BENCH_MESSAGES=N (1000000)  BENCH_ROUNDS=N (7)  BENCH_OPTIONS="key=value ..." for every scenario
#   BENCH_REALTIME=1         brokers and clients go before everything else on the machine (chrt, as root): where others work on it,
#                            too, rounds still differ much, but by less
# Machines drift by more than what a change brings: each round measures both builds, one after the other, the
# order turned from round to round, and what counts is the median of the rounds' ratios.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ $# -ge 1 ] || { echo "usage: compare.sh REVISION [SCENARIO...]" >&2; exit 2; }
revision=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "compare: no revision $1" >&2; exit 2; }
shift
scenarios=("$@")
[ $# -gt 0 ] || scenarios=(append produce produce_batch sync subscribe topic_subscriber group_subscriber)
export KAFKA_PORT_BASE=${KAFKA_PORT_BASE:-25092} KAFKA_BROKERS=1 KAFKA_HEAP=1g KAFKA_JVM=
messages=${BENCH_MESSAGES:-1000000}
rounds=${BENCH_ROUNDS:-7}
read -r -a options <<<"${BENCH_OPTIONS:-}"

scripts/setup.sh bench
work=$(mktemp -d)
# The other build is kept: builds take minutes.
other=${XDG_CACHE_HOME:-$HOME/.cache}/brod-bench/build-$revision
if [ ! -e "$other/.built" ]; then
  rm -rf "$other"
  git worktree prune
  git worktree add --quiet --force --detach "$other" "$revision"
  make --no-print-directory -C "$other" build >&2
  touch "$other/.built"
fi
make --no-print-directory build >&2
trap 'scripts/kafka-down.sh; rm -rf "$work"' EXIT

declare -A build=([other]=$other/_build/default/lib [this]=$PWD/_build/default/lib)
for side in other this; do
  mkdir "$work/$side"
  # One program for both, so that only the library differs; records are compiled against each build's own.
  ERL_LIBS=${build[$side]} erlc -o "$work/$side" bench/bench_client.erl
done
scripts/kafka-up.sh >&2
. scripts/kafka-env.sh
. "$KAFKA_DIR/env"
before_others=(env)
if [ "${BENCH_REALTIME:-0}" = 1 ]; then
  before_others=(chrt --rr 5)
  chrt --all-tasks --rr --pid 4 "$(running 1)" >/dev/null
fi

# client SIDE SCENARIO KEY=VALUE...: one line of fields, name, msgs/s, MB/s, CPU s a million, peak MB
client() {
  "${before_others[@]}" erl -noshell -pa "${build[$1]}/brod/ebin" -pa "$work/$1" -s bench_client main \
    -extra "$2" "bootstrap=$BROD_BOOTSTRAP" "messages=$messages" "${options[@]}" "${@:3}" </dev/null
}

# A broker that has just started is slow: its JVM has not compiled anything yet.
for n in 1 2 3; do client this produce_batch name=fill "topic=full-$n" >/dev/null; done

for scenario in "${scenarios[@]}"; do
  for round in $(seq "$rounds"); do
    sides="other this"
    [ $((round % 2)) = 0 ] || sides="this other"
    for side in $sides; do
      case $scenario in
        subscribe | topic_subscriber | group_subscriber) topic=full-1 ;;
        *) topic=$scenario-$side-$round ;;
      esac
      client "$side" "$scenario" name="$side" "topic=$topic" |
        awk -F '\t' -v s="$scenario" -v r="$round" '{ printf "%s\t%s\t%s\t%s\t%s\n", s, r, $1, $2, $4 }'
    done
  done
done | tee "$work/rounds" | awk -F '\t' '{ printf "%-20s round %2d  %-6s %9d msgs/s %7.3f s/M\n", $1, $2, $3, $4, $5 }' >&2

printf '%-20s %14s %14s %12s\n' scenario 'msgs/s ratio' 'CPU ratio' 'CPU s/M'
awk -F '\t' '
  function median(list, n,   i, j, t) {
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (list[j] < list[i]) { t = list[i]; list[i] = list[j]; list[j] = t }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
  }
  { rate[$1, $2, $3] = $4; cpu[$1, $2, $3] = $5; if (!($1 in rounds)) order[++scenarios] = $1; if ($2 > rounds[$1]) rounds[$1] = $2 }
  END {
    for (s = 1; s <= scenarios; s++) {
      name = order[s]; n = rounds[name]
      for (r = 1; r <= n; r++) {
        a[r] = rate[name, r, "this"] / rate[name, r, "other"]
        b[r] = cpu[name, r, "this"] / cpu[name, r, "other"]
        c[r] = cpu[name, r, "this"]
      }
      printf "%-20s %14.2f %14.2f %12.3f\n", name, median(a, n), median(b, n), median(c, n)
    }
  }' "$work/rounds"
