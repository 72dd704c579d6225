#!/usr/bin/env bash
# Writes src/brod_kafka_schema.erl anew, from the message schemas in Kafka's own clients jar. They are those of
# Kafka 2.8, the last that describes all versions of requests from 0 on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=2.8.2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cat > "$tmp/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>brod</groupId><artifactId>schema</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-clients</artifactId><version>$version</version>
    </dependency>
  </dependencies>
</project>
POM
mvn -q -B -f "$tmp/pom.xml" dependency:copy-dependencies -DoutputDirectory="$tmp" -DexcludeTransitive=true \
  -Dstyle.color=never </dev/null >&2
(cd "$tmp" && unzip -q kafka-clients-$version.jar 'common/message/*.json')
cp scripts/schemas/*.json "$tmp/common/message/"
escript scripts/generate-schema.escript "$tmp/common/message" > "$tmp/brod_kafka_schema.erl"
cp "$tmp/brod_kafka_schema.erl" src/brod_kafka_schema.erl
