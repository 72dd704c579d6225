#!/usr/bin/env bash
# Looks at brod_dashboard's page with a browser, headless Chromium: the page has to show the client, its brokers and its group by
# what it asked for, without an error in the console.
#   dashboard.sh [PICTURE]    also a picture of it, as docs/images/dashboard.png is one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
  echo "dashboard: there is no Chromium here; Debian's package is chromium" >&2
  exit 1
}
make --no-print-directory build >&2
[ -x priv/brod_mock ] || scripts/build-mock.sh priv
work=$(mktemp -d)
mkfifo "$work/control"
exec {control}<>"$work/control"
escript scripts/dashboard.escript _build/default/lib/brod/ebin <"$work/control" >"$work/port" {control}>&- &
node=$!
trap 'kill $node 2>/dev/null || true; rm -rf "$work"' EXIT
until [ -s "$work/port" ]; do
  kill -0 "$node"
  sleep 0.1
done

# look ARGUMENT...: a minute of the page's time, which passes faster than ours
look() {
  timeout 120 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" \
    --enable-logging=stderr --virtual-time-budget=60000 "$@" "http://127.0.0.1:$(cat "$work/port")/" 2>"$work/log"
}
look --dump-dom >"$work/dom"
failed=0
complain() { echo "dashboard: $*" >&2; failed=1; }
if grep -a CONSOLE "$work/log" >&2; then complain "the console has lines"; fi
for shown in 'id="client-shop"' '>127.0.0.1:' '<td class="">billing</td>' '<td class="">orders</td>' '>connected<' '>group.assigned<'; do
  grep -qF -- "$shown" "$work/dom" || complain "the page does not show: $shown"
done
[ $# -eq 0 ] || look --window-size=1140,1180 --screenshot="$(realpath "$1")"
[ $failed -eq 0 ] && echo "dashboard: ok"
exit $failed
