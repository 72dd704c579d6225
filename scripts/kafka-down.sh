#!/usr/bin/env bash
# Stops the cluster of KAFKA_DIR (see kafka-env.sh) for sure, and drops its data; the logs stay.
set -euo pipefail
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/kafka-env.sh"

[ -d "$KAFKA_DIR" ] || exit 0
KAFKA_DIR=$(cd "$KAFKA_DIR" && pwd -P)
for file in "$KAFKA_DIR"/broker-*.pid; do
  [ -e "$file" ] || continue
  n=${file##*/broker-}
  n=${n%.pid}
  if pid=$(running "$n"); then
    # The data goes away anyway: no need for the broker to say goodbye.
    kill -KILL "$pid" 2>/dev/null || true
    wait_until 20 gone "$n" || die "broker $n (pid $pid) does not die"
  fi
  rm -f "$file"
done
for disk in "$KAFKA_DIR"/data-*-small; do
  # What a killed broker had mapped may take the kernel a moment.
  ! mountpoint -q "$disk" || umount --lazy "$disk"
done
rm -rf "$KAFKA_DIR"/data-* "$KAFKA_DIR/env"
