# Sourced by the kafka-*.sh scripts: where a cluster lives, and what they all do to its brokers.
#   KAFKA_PORT_BASE  first port (19092); a broker takes eight ports, broker N from base + 10 * (N - 1)
#   KAFKA_VERSION    which Kafka (4.1.1); before 3.9 see kafka-old.sh
#   KAFKA_BROKERS    how many brokers (3)
#   KAFKA_DIR        data, logs, keys and pid files of this cluster
#   KAFKA_HEAP       maximum heap of each broker (512m)
#   KAFKA_JVM        more options of its JVM (-XX:TieredStopAtLevel=1: a start takes 8 s of CPU instead of 14, but a
#                    broker that runs for long is slower; empty: none)
# shellcheck shell=bash

KAFKA_VERSION=${KAFKA_VERSION:-4.1.1}
KAFKA_PORT_BASE=${KAFKA_PORT_BASE:-19092}
KAFKA_HEAP=${KAFKA_HEAP:-512m}
KAFKA_JVM=${KAFKA_JVM--XX:TieredStopAtLevel=1}
kafka_cache=${XDG_CACHE_HOME:-$HOME/.cache}/brod-kafka
KAFKA_DIR=${KAFKA_DIR:-$kafka_cache/cluster-$KAFKA_PORT_BASE}
kafka_jars=$kafka_cache/$KAFKA_VERSION

say() { echo "kafka: $*" >&2; }
die() { say "$@"; exit 1; }

# port BROKER OFFSET
port() { echo $((KAFKA_PORT_BASE + 10 * ($1 - 1) + $2)); }

# dependency GROUP ARTIFACT VERSION: as a POM has it
dependency() {
  echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"
}

# resolve_jars DEPENDENCY...: has kafka_jars, with what these need, unless it is there
resolve_jars() {
  [ ! -d "$kafka_jars" ] || return 0
  command -v mvn >/dev/null || die "mvn is missing: scripts/setup.sh installs it"
  say "resolving Kafka $KAFKA_VERSION into $kafka_jars"
  mkdir -p "$kafka_cache"
  local tmp
  tmp=$(mktemp -d "$kafka_cache/.resolve.XXXXXX")
  cat >"$tmp/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>brod</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies>$*</dependencies>
</project>
POM
  mvn -q -B -f "$tmp/pom.xml" dependency:copy-dependencies -DoutputDirectory="$tmp/lib" \
    -DincludeScope=runtime -Dstyle.color=never </dev/null >&2 || { rm -rf "$tmp"; die "Maven could not resolve Kafka"; }
  # Somebody else may have been quicker; theirs is as good.
  [ -d "$kafka_jars" ] || mv "$tmp/lib" "$kafka_jars"
  rm -rf "$tmp"
}

# listens PORT
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# addresses OFFSET: that listener of every broker, comma separated
addresses() {
  local n all=()
  for ((n = 1; n <= KAFKA_BROKERS; n++)); do all+=("127.0.0.1:$(port "$n" "$1")"); done
  local IFS=,
  echo "${all[*]}"
}

# running N: prints broker N's pid and succeeds if that process is alive and really is this broker
running() {
  local pid command
  pid=$(cat "$KAFKA_DIR/broker-$1.pid" 2>/dev/null) || return 1
  if [ -r "/proc/$pid/cmdline" ]; then
    command=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || return 1
    # Empty for a moment while the process becomes another program.
    [ -n "$command" ] || { sleep 0.1 && command=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || return 1; }
  else
    command=$(ps -p "$pid" -o command= 2>/dev/null) || return 1
  fi
  case "$command" in *"$KAFKA_DIR/broker-$1.properties"*) echo "$pid" ;; *) return 1 ;; esac
}

# wait_until SECONDS COMMAND...: polls until COMMAND succeeds; fails when the time is up
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.1
  done
}

gone() { ! running "$1" >/dev/null; }

# begun N: what was started as broker N is java by now, or has ended. For a moment it is a copy of this shell.
begun() { running "$1" >/dev/null || ! kill -0 "$(cat "$KAFKA_DIR/broker-$1.pid")" 2>/dev/null; }

start_broker() {
  local properties=$KAFKA_DIR/broker-$1.properties
  [ -f "$properties" ] || die "there is no broker $1 in $KAFKA_DIR"
  # Job control gives the broker a process group of its own: an interrupt at the terminal is not for it.
  (
    set -m
    # shellcheck disable=SC2086 # options, in words
    nohup java "-Xmx$KAFKA_HEAP" -XX:+UseSerialGC $KAFKA_JVM \
      "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://$KAFKA_DIR/tls/jwks.json" \
      "-Dlog4j2.configurationFile=$KAFKA_DIR/log4j2.properties" \
      -cp "$kafka_jars/*" kafka.Kafka "$properties" </dev/null >>"$KAFKA_DIR/broker-$1.log" 2>&1 &
    echo $! >"$KAFKA_DIR/broker-$1.pid"
  )
  wait_until 60 begun "$1" || die "broker $1 is no process that java runs in"
}

# sees N COUNT: broker N knows of COUNT live brokers or more, itself among them
sees() {
  local listing
  running "$1" >/dev/null || { tail -n 20 "$KAFKA_DIR/broker-$1.log" >&2; die "broker $1 died"; }
  listing=$(kcat -L -m 2 -b "127.0.0.1:$(port "$1" 0)" 2>/dev/null) || return 1
  grep -q "^  broker $1 at " <<<"$listing" && [ "$(grep -c '^  broker ' <<<"$listing")" -ge "$2" ]
}
