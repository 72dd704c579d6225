#!/usr/bin/env bash
# Does something to one broker of the cluster of KAFKA_DIR, and returns when it is done.
#   kafka-broker.sh kill|stop|start|pause|resume N
# kill: at once, as a crash; stop: in order; start: after either of them; pause: it hangs; resume: no more
set -euo pipefail
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/kafka-env.sh"

[ $# -eq 2 ] || die "usage: kafka-broker.sh kill|stop|start|pause|resume N"
[ -d "$KAFKA_DIR" ] || die "there is no cluster in $KAFKA_DIR"
KAFKA_DIR=$(cd "$KAFKA_DIR" && pwd -P)
n=$2
signal() {
  local pid
  pid=$(running "$n") || die "broker $n does not run"
  kill "-$1" "$pid"
}

case "$1" in
  kill) signal KILL; wait_until 20 gone "$n" || die "broker $n does not die" ;;
  stop) signal TERM; wait_until 60 gone "$n" || die "broker $n did not stop within 60 s" ;;
  start)
    gone "$n" || die "broker $n runs already"
    start_broker "$n"
    wait_until 180 sees "$n" 1 || die "broker $n did not join within 180 s"
    ;;
  pause) signal STOP ;;
  resume) signal CONT ;;
  *) die "unknown action $1" ;;
esac
