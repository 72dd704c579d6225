#!/usr/bin/env bash
# The NIF in a VM that has each access to memory looked at: all its functions called with anything
# (test/brod_nif_misuse_tests.erl), and clients on the Kafka in memory. The VM's own allocators are off, so that every block is malloc's.
#   SANITIZE_WITH=address   by AddressSanitizer instead of valgrind: all is built anew for it, but it is fast enough for a random
#                           walk (test/brod_walk.erl) and for damaged answers (test/brod_malformed.erl)
#   BROD_CALLS=N            of each of eight processes (500 by valgrind, else 5000)
#   SANITIZE_MINUTES=N      of the walk (1)
#   SANITIZE_ANSWERS=N      of which one in eight is damaged (3000)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

with=${SANITIZE_WITH:-valgrind}
scripts/setup.sh demo
make --no-print-directory build >&2
scripts/build-mock.sh priv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -rL _build/default/lib/brod "$work/brod"
erlc -o "$work" -pa "$work/brod/ebin" test/brod_nif_misuse_tests.erl test/brod_walk.erl test/brod_malformed.erl

case "$with" in
  address)
    # rustc links no runtime into a library: the one of the C compiler is loaded before everything else, and both speak the same
    # version of its interface. Sanitizers are not stable in rustc.
    runtime=$(realpath "$(cc -print-file-name=libasan.so)")
    [ -f "$runtime" ] || { echo "sanitize: the C compiler has no libasan.so" >&2; exit 1; }
    triple=$(rustc -vV | sed -n 's/^host: //p')
    target=${CARGO_TARGET_DIR:-$PWD/target}/address
    # With a target named, build scripts and macros of the compiler's own are not instrumented. zstd's C is.
    env RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address "CFLAGS_${triple//-/_}=-fsanitize=address" \
      cargo build --release --locked --package brod_nif --target "$triple" --target-dir "$target" >&2
    cp "$target/$triple/release/libbrod_nif.so" "$work/brod/priv/brod_nif.so"
    grep -q __asan_ "$work/brod/priv/brod_nif.so" || { echo "sanitize: the library is not instrumented" >&2; exit 1; }
    ;;
  valgrind) command -v valgrind >/dev/null || { echo "sanitize: valgrind is missing: install the package of that name" >&2; exit 1; } ;;
  *) echo "sanitize: unknown $with" >&2; exit 2 ;;
esac

# The VM looks after its own stack overflows and signals.
under_address() {
  LD_PRELOAD=$runtime ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0 erl "$@"
}

# Compiled Erlang has its stack in the process's heap, so that valgrind takes jumps between stacks for pushes and parts of
# live blocks for unused stack. What it says of the NIF counts where the address is in no live block.
under_valgrind() {
  local emulator=() root
  mapfile -t emulator < <(erl "$@" -emu_args_exit)
  root=$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().')
  BINDIR=$(erl -noshell -eval 'io:put_chars(os:getenv("BINDIR")), halt().')
  ROOTDIR=$root BINDIR=$BINDIR EMU=beam PROGNAME=erl valgrind --tool=memcheck --smc-check=all --error-limit=no \
    --max-stackframe=65536 --undef-value-errors=no --num-callers=20 --log-file="$work/valgrind" "$BINDIR/beam.smp" "${emulator[@]}"
  sed 's/^==[0-9]*== \?//' "$work/valgrind" |
    awk 'BEGIN { RS = "" } /^(Invalid|Mismatched|Syscall)/ && /brod_nif/ && !/Address [^\n]* inside a block of size [^\n]* alloc/ { print; print ""; bad = 1 }
         END { exit bad }'
}

# vm NAME EXPRESSION: what it prints in its last lines
vm() {
  echo "sanitize: $1"
  "under_$with" -noshell +Mea min +S 2:2 -pa "$work/brod/ebin" -pa "$work" -eval "$2" </dev/null >"$work/out" 2>&1 ||
    { grep -A60 AddressSanitizer "$work/out" >&2 || tail -n 60 "$work/out" >&2; echo "sanitize: $1 failed" >&2; exit 1; }
}

[ "$with" = address ] || export BROD_CALLS=${BROD_CALLS:-500}
# Calls take long here, which the test's own verdict counts as a fault; only what ends the VM or is reported does.
vm 'any call from many processes' 'brod_nif_misuse_tests:storm(), init:stop().'
grep '^seed' "$work/out"
if [ "$with" = valgrind ]; then
  # Too slow for the clients' own limits while brokers fail.
  vm 'producing, a subscriber and a group' '{ok, _} = application:ensure_all_started(brod),
    [ok = brod_walk:play(How, [{produce, P, 100} || P <- [0, 1, 2, 0]]) || How <- [subscribe, group]], halt().'
else
  export CHAOS_MINUTES=${SANITIZE_MINUTES:-1} MALFORMED_ANSWERS=${SANITIZE_ANSWERS:-3000}
  vm 'a random walk' 'brod_walk:main().'
  grep '^chaos' "$work/out"
  vm 'damaged answers' 'brod_malformed:main().'
  tail -n 1 "$work/out"
fi
echo 'sanitize: nothing is wrong'
