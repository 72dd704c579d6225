#!/usr/bin/env bash
# The last words of a run of tests that failed: each failure with its first lines, short enough for a CI
# that shows no more than the end of what was printed.
#   failures.sh LOG
set -euo pipefail

log=${1:?usage: failures.sh LOG}
echo "== what failed"
plain=$(sed 's/\x1b\[[0-9;]*m//g' "$log")
# Cargo, EUnit, Common Test, ExUnit, in this order.
found=$(
  grep -aE -A4 '^test .* FAILED$|panicked at|\*failed\*|==> .*: FAILED|^ +[0-9]+\) (test|property) |^(ERROR|FAILED|error)\b' <<<"$plain" |
    grep -avE '^(--)?$|==> *$'
) || true
# Our own scripts stop at what fails.
cut -c1-180 <<<"${found:-$plain}" | tail -n 16
