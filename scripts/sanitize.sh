#!/usr/bin/env bash
# The NIF under valgrind, with the VM's own allocators off, so that every block is malloc's: all its functions called with
# anything (test/brod_nif_misuse_tests.erl), then a producer, a subscriber and a group on the Kafka in memory (test/brod_walk.erl). Takes
# some minutes.
#   BROD_CALLS=N   of each of eight processes (500)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh demo
command -v valgrind >/dev/null || { echo "sanitize: valgrind is missing: install the package of that name" >&2; exit 1; }
make --no-print-directory build >&2
scripts/build-mock.sh priv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
erlc -o "$work" -pa _build/default/lib/brod/ebin test/brod_nif_misuse_tests.erl test/brod_walk.erl

root=$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().')
bin=$(erl -noshell -eval 'io:put_chars(os:getenv("BINDIR")), halt().')

# under_valgrind ERL-ARGUMENT...: a VM, and what valgrind says of the NIF in it. Compiled Erlang has its stack in the process's heap, so
# that valgrind takes jumps between stacks for pushes and parts of live blocks for unused stack. What it says counts where the address
# is in no live block.
under_valgrind() {
  local emulator
  mapfile -t emulator < <(erl "$@" -emu_args_exit)
  ROOTDIR=$root BINDIR=$bin EMU=beam PROGNAME=erl valgrind --tool=memcheck --smc-check=all --error-limit=no \
    --max-stackframe=65536 --undef-value-errors=no --num-callers=20 --log-file="$work/valgrind" "$bin/beam.smp" "${emulator[@]}" || return 1
  sed 's/^==[0-9]*== \?//' "$work/valgrind" | awk '
    BEGIN { RS = "" }
    /^(Invalid|Mismatched|Syscall)/ && /brod_nif/ && !/Address [^\n]* inside a block of size [^\n]* alloc/ { print; print ""; bad = 1 }
    END { exit bad }'
}

# vm NAME EXPRESSION, in one line: the VM tells its arguments so.
vm() {
  echo "sanitize: $1"
  under_valgrind -noshell +Mea min +S 2:2 -pa _build/default/lib/brod/ebin -pa "$work" -eval "${2//$'\n'/ }" </dev/null >"$work/out" 2>&1 ||
    { tail -n 100 "$work/out" >&2; echo "sanitize: $1 failed" >&2; exit 1; }
}

# Calls take long here, which the test's own verdict counts as a fault; only what ends the VM or is reported does. Clients' own
# limits are too short for brokers that fail, so the script of the walk has no faults.
export BROD_CALLS=${BROD_CALLS:-500}
vm 'any call from many processes' 'brod_nif_misuse_tests:storm(), init:stop().'
grep '^seed' "$work/out"
vm 'a producer, a subscriber and a group' '{ok, _} = application:ensure_all_started(brod),
  [ok = brod_walk:play(How, [{produce, P, 100} || P <- [0, 1, 2, 0]]) || How <- [subscribe, group]], halt().'
echo 'sanitize: nothing is wrong'
