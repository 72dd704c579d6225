#!/usr/bin/env bash
# Starts one broker of a Kafka that still needs ZooKeeper, with plaintext alone, and prints where it listens.
#   KAFKA_VERSION=0.10.2.2 kafka-old.sh     settings: see kafka-env.sh; kafka-down.sh stops it
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
. "$here/kafka-env.sh"

# What each version needs beyond its own POM on a Java that is younger than it.
dependencies() {
  case "$KAFKA_VERSION" in
    0.*) dependency org.apache.kafka kafka_2.11 "$KAFKA_VERSION" ;;
    1.* | 2.0.*) dependency org.apache.kafka kafka_2.12 "$KAFKA_VERSION" ;;
    *) dependency org.apache.kafka kafka_2.13 "$KAFKA_VERSION" ;;
  esac
  case "$KAFKA_VERSION" in
    0.10.2.* | 0.11.*) dependency javax.xml.bind jaxb-api 2.3.1 ;;
    1.1.*) dependency org.slf4j slf4j-log4j12 1.7.25 ;;
    2.0.*)
      dependency org.slf4j slf4j-log4j12 1.7.25
      dependency org.apache.zookeeper zookeeper 3.4.12
      ;;
  esac
}

start() { # PID-FILE LOG MAIN-CLASS FILE
  (
    set -m
    nohup java "-Xmx$KAFKA_HEAP" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
      "-Dlog4j.configuration=file:$KAFKA_DIR/log4j.properties" \
      -cp "$kafka_jars/*" "$3" "$4" </dev/null >>"$2" 2>&1 &
    echo $! >"$1"
  )
}

resolve_jars "$(dependencies)"
"$here/kafka-down.sh"
mkdir -p "$KAFKA_DIR"
zookeeper=$(port 1 6)
# kafka-down.sh stops what has such a name: the second "broker" is ZooKeeper.
cat >"$KAFKA_DIR/broker-2.properties" <<PROPERTIES
dataDir=$KAFKA_DIR/data-2
clientPort=$zookeeper
clientPortAddress=127.0.0.1
admin.enableServer=false
PROPERTIES
cat >"$KAFKA_DIR/log4j.properties" <<'LOG'
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n
LOG
case "$KAFKA_VERSION" in
  0.8.*) listener="port=$(port 1 0)
host.name=127.0.0.1" ;;
  *) listener="listeners=PLAINTEXT://127.0.0.1:$(port 1 0)" ;;
esac
cat >"$KAFKA_DIR/broker-1.properties" <<PROPERTIES
broker.id=1
$listener
zookeeper.connect=127.0.0.1:$zookeeper
log.dirs=$KAFKA_DIR/data-1
num.partitions=3
auto.create.topics.enable=true
delete.topic.enable=true
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.max.session.timeout.ms=300000
log.cleaner.dedupe.buffer.size=10485760
PROPERTIES

trap '"$here/kafka-down.sh"' EXIT
start "$KAFKA_DIR/broker-2.pid" "$KAFKA_DIR/broker-2.log" \
  org.apache.zookeeper.server.quorum.QuorumPeerMain "$KAFKA_DIR/broker-2.properties"
wait_until 180 listens "$zookeeper" ||
  { tail -n 20 "$KAFKA_DIR/broker-2.log" >&2; die "ZooKeeper did not start within 180 s"; }
start "$KAFKA_DIR/broker-1.pid" "$KAFKA_DIR/broker-1.log" kafka.Kafka "$KAFKA_DIR/broker-1.properties"
wait_until 180 listens "$(port 1 0)" ||
  { tail -n 20 "$KAFKA_DIR/broker-1.log" >&2; die "the broker did not start within 180 s"; }
trap - EXIT
echo "export KAFKA_DIR='$KAFKA_DIR' BROD_BOOTSTRAP=127.0.0.1:$(port 1 0)" >"$KAFKA_DIR/env"
echo "bootstrap: 127.0.0.1:$(port 1 0)"
