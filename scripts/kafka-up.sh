#!/usr/bin/env bash
# Starts a fresh Apache Kafka cluster in KRaft mode on loopback and prints where its listeners are.
# Settings: see kafka-env.sh. A cluster that ran in KAFKA_DIR is stopped first and its data dropped.
#   SASL user alice, password alice-secret (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512); bob, bob-secret (the same).
#   OAUTHBEARER: any unsecured token; on the listeners of SASL_SSL one that KAFKA_DIR/tls/jwt.key has signed
#   (RS256, key id "test", audience "kafka", issuer "brod-tests"). On the REAUTH listeners every session ends after KAFKA_REAUTH_MS.
#   KAFKA_DIR/tls: ca.pem, client.pem, client.key; KAFKA_DIR/env: all of it as shell variables
#   KAFKA_ACL=1      permissions are checked: alice, the client certificate and who has no name may do all, others
#                    what they are permitted
#   KAFKA_REAUTH_MS  connections.max.reauth.ms of the REAUTH listeners (5000)
#   KAFKA_AUTO_CREATE=true  brokers create topics that are asked for
#   KAFKA_PROXIED=1  brokers say that their first listener is at a port of eight more: somebody listens there and passes on
#   KAFKA_SMALL_DISK=400m  the last broker has a second directory for partitions, data-N-small, a tmpfs of this size (root)
#   KAFKA_PROPERTIES more lines for the settings of each broker
set -euo pipefail
KAFKA_BROKERS=${KAFKA_BROKERS:-3}
KAFKA_ACL=${KAFKA_ACL:-0}
KAFKA_REAUTH_MS=${KAFKA_REAUTH_MS:-5000}
KAFKA_AUTO_CREATE=${KAFKA_AUTO_CREATE:-false}
KAFKA_PROXIED=${KAFKA_PROXIED:-0}
KAFKA_SMALL_DISK=${KAFKA_SMALL_DISK:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
. "$here/kafka-env.sh"

for tool in java openssl kcat; do
  command -v "$tool" >/dev/null || die "$tool is missing: scripts/setup.sh installs it"
done

# signed NAME SUBJECT EXTENSIONS: NAME.key and NAME.pem, signed by our CA
signed() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" \
    -subj "$2" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out "$1.pem" \
    -extfile <(echo "$3") 2>/dev/null
}

make_keys() (
  mkdir -p "$KAFKA_DIR/tls"
  cd "$KAFKA_DIR/tls"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem \
    -days 3650 -subj /CN=brod-test-ca 2>/dev/null
  signed server /CN=localhost 'subjectAltName=DNS:localhost,IP:127.0.0.1'
  signed client /CN=brod-test-client 'extendedKeyUsage=clientAuth'
  cat server.key server.pem >server-store.pem
  openssl genrsa -out jwt.key 2048 2>/dev/null
  write_jwks
)

# The public half of jwt.key as a JSON Web Key Set.
write_jwks() {
  local modulus
  modulus=$(openssl rsa -in jwt.key -noout -modulus 2>/dev/null | sed 's/^Modulus=//; s/../\\x&/g')
  modulus=$(printf '%b' "$modulus" | openssl base64 -A | tr '+/' '-_' | tr -d '=')
  echo '{"keys":[{"kty":"RSA","kid":"test","use":"sig","alg":"RS256","e":"AQAB","n":"'"$modulus"'"}]}' >jwks.json
}

write_log_config() {
  cat >"$KAFKA_DIR/log4j2.properties" <<'LOG'
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %m (%c{1})%n%throwable
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
LOG
}

# small_disk N: makes it, and prints where
small_disk() {
  local directory=$KAFKA_DIR/data-$1-small
  mkdir -p "$directory"
  mount -t tmpfs -o "size=$KAFKA_SMALL_DISK" tmpfs "$directory" >&2 || die "a small disk needs root"
  echo "$directory"
}

write_properties() {
  local n=$1 voters=() i replicas=$((KAFKA_BROKERS < 3 ? KAFKA_BROKERS : 3)) scheme listeners=""
  for ((i = 1; i <= KAFKA_BROKERS; i++)); do voters+=("$i@127.0.0.1:$(port "$i" 6)"); done
  i=0
  for scheme in PLAINTEXT SSL MTLS SASL_PLAINTEXT SASL_SSL INNER CONTROLLER REAUTH; do
    [ $scheme = CONTROLLER ] || listeners+="$scheme://127.0.0.1:$(port "$n" $i),"
    i=$((i + 1))
  done
  local advertised=${listeners%,} directories=$KAFKA_DIR/data-$n
  [ "$KAFKA_PROXIED" = 0 ] || advertised=${advertised/127.0.0.1:$(port "$n" 0)/127.0.0.1:$(port "$n" 8)}
  [ -z "$KAFKA_SMALL_DISK" ] || [ "$n" -lt "$KAFKA_BROKERS" ] || directories+=,$(small_disk "$n")
  local modules=org.apache.kafka.common.security
  local plain="$modules.plain.PlainLoginModule required user_alice=\"alice-secret\" user_bob=\"bob-secret\";"
  local scram="$modules.scram.ScramLoginModule required;"
  local oauth="$modules.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
  cat >"$KAFKA_DIR/broker-$n.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$n
broker.rack=rack$n
controller.quorum.voters=$(IFS=,; echo "${voters[*]}")
controller.listener.names=CONTROLLER
listeners=${listeners}CONTROLLER://127.0.0.1:$(port "$n" 6)
advertised.listeners=$advertised
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,MTLS:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,REAUTH:SASL_PLAINTEXT,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INNER
log.dirs=$directories
metadata.log.dir=$KAFKA_DIR/data-$n
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
ssl.keystore.type=PEM
ssl.keystore.location=$KAFKA_DIR/tls/server-store.pem
ssl.truststore.type=PEM
ssl.truststore.location=$KAFKA_DIR/tls/ca.pem
ssl.client.auth=none
listener.name.mtls.ssl.client.auth=required
auto.create.topics.enable=$KAFKA_AUTO_CREATE
delete.topic.enable=true
unclean.leader.election.enable=false
replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector
offsets.topic.num.partitions=12
offsets.topic.replication.factor=$replicas
transaction.state.log.num.partitions=12
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$((replicas > 1 ? replicas - 1 : 1))
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=10485760
log.index.size.max.bytes=1048576
PROPERTIES
  local listener
  for listener in sasl_plaintext sasl_ssl reauth; do
    cat >>"$KAFKA_DIR/broker-$n.properties" <<PROPERTIES
listener.name.$listener.plain.sasl.jaas.config=$plain
listener.name.$listener.scram-sha-256.sasl.jaas.config=$scram
listener.name.$listener.scram-sha-512.sasl.jaas.config=$scram
listener.name.$listener.oauthbearer.sasl.jaas.config=$oauth
PROPERTIES
  done
  cat >>"$KAFKA_DIR/broker-$n.properties" <<PROPERTIES
listener.name.reauth.connections.max.reauth.ms=$KAFKA_REAUTH_MS
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class=$modules.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=file://$KAFKA_DIR/tls/jwks.json
listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.expected.audience=kafka
listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.expected.issuer=brod-tests
PROPERTIES
  [ "$KAFKA_ACL" = 0 ] || cat >>"$KAFKA_DIR/broker-$n.properties" <<PROPERTIES
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:alice;User:CN=brod-test-client
PROPERTIES
  echo "${KAFKA_PROPERTIES:-}" >>"$KAFKA_DIR/broker-$n.properties"
}

format_storage() {
  java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dlog4j2.configurationFile=$KAFKA_DIR/log4j2.properties" \
    -cp "$kafka_jars/*" kafka.tools.StorageTool format -t "$2" -c "$KAFKA_DIR/broker-$1.properties" \
    --add-scram 'SCRAM-SHA-256=[name=alice,password=alice-secret]' \
    --add-scram 'SCRAM-SHA-512=[name=alice,password=alice-secret]' \
    --add-scram 'SCRAM-SHA-256=[name=bob,password=bob-secret]' \
    --add-scram 'SCRAM-SHA-512=[name=bob,password=bob-secret]' >"$KAFKA_DIR/broker-$1.log" 2>&1 ||
    { tail -n 20 "$KAFKA_DIR/broker-$1.log" >&2; die "formatting the storage of broker $1 failed"; }
}

closed() { ! listens "$1"; }

# A broker that is started again must find its ports free, and the kernel gives these to any connection.
own_ports() {
  local first
  read -r first _ 2>/dev/null </proc/sys/net/ipv4/ip_local_port_range || return 0
  [ "$(port "$KAFKA_BROKERS" 9)" -lt "$first" ] ||
    say "ports from $first on may be taken by connections while a broker is down: a lower KAFKA_PORT_BASE is safer"
}

# The kernel may still be closing the ports of a broker that was killed just now.
ports_free() {
  local n offset
  for ((n = 1; n <= KAFKA_BROKERS; n++)); do
    for offset in 0 1 2 3 4 5 6 7; do
      wait_until 5 closed "$(port "$n" $offset)" ||
        die "port $(port "$n" $offset) is taken: set KAFKA_PORT_BASE to another first port"
    done
  done
}

resolve_jars \
  "$(dependency org.apache.kafka kafka_2.13 "$KAFKA_VERSION")" \
  "$(dependency org.apache.kafka kafka-tools "$KAFKA_VERSION")" \
  "$(dependency org.apache.logging.log4j log4j-slf4j-impl 2.24.3)"
"$here/kafka-down.sh"
mkdir -p "$KAFKA_DIR"
KAFKA_DIR=$(cd "$KAFKA_DIR" && pwd -P)
ports_free
own_ports
make_keys
write_log_config

# An id that starts with a dash would be taken for an option.
cluster_id=$(openssl rand -base64 16 | tr '+/' 'Aa' | tr -d '=')
pids=()
for ((n = 1; n <= KAFKA_BROKERS; n++)); do
  write_properties "$n"
  format_storage "$n" "$cluster_id" &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done

# A start that fails or is interrupted leaves no broker behind.
trap '"$here/kafka-down.sh"' EXIT
for ((n = 1; n <= KAFKA_BROKERS; n++)); do start_broker "$n"; done
for ((n = 1; n <= KAFKA_BROKERS; n++)); do
  wait_until 180 sees "$n" "$KAFKA_BROKERS" ||
    { tail -n 20 "$KAFKA_DIR/broker-$n.log" >&2; die "broker $n did not join within 180 s"; }
done
trap - EXIT

cat >"$KAFKA_DIR/env" <<ENV
export KAFKA_DIR='$KAFKA_DIR' KAFKA_PORT_BASE=$KAFKA_PORT_BASE KAFKA_BROKERS=$KAFKA_BROKERS
export BROD_BOOTSTRAP=$(addresses 0)
export BROD_BOOTSTRAP_TLS=$(addresses 1)
export BROD_BOOTSTRAP_MTLS=$(addresses 2)
export BROD_BOOTSTRAP_SASL=$(addresses 3)
export BROD_BOOTSTRAP_SASL_TLS=$(addresses 4)
export BROD_BOOTSTRAP_REAUTH=$(addresses 7)
export BROD_TLS_DIR='$KAFKA_DIR/tls' BROD_ACL=$KAFKA_ACL
ENV
cat <<OUT
bootstrap: $(addresses 0)
bootstrap-tls: $(addresses 1)
bootstrap-mtls: $(addresses 2)
bootstrap-sasl: $(addresses 3)
bootstrap-sasl-tls: $(addresses 4)
bootstrap-reauth: $(addresses 7)
OUT
