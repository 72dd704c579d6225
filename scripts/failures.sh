#!/usr/bin/env bash
# The last words of a run of tests that failed: each failure with its first lines, short enough for a CI
# that shows no more than the end of what was printed.
#   failures.sh LOG
set -euo pipefail

log=${1:?usage: failures.sh LOG}
echo "== what failed"
# Cargo, EUnit, Common Test, ExUnit, and our own scripts, in this order.
sed 's/\x1b\[[0-9;]*m//g' "$log" |
  grep -aE -A4 '^test .* FAILED$|panicked at|\*failed\*|==> .*: FAILED|^ +[0-9]+\) (test|property) |^(ERROR|FAILED|error)\b' |
  grep -avE '^(--)?$|==> *$' | cut -c1-180 | tail -n 16
