#!/usr/bin/env bash
# The NIF under AddressSanitizer, in a VM whose own allocators are off, so that every block is malloc's: all its functions
# called with anything (test/brod_nif_misuse_tests.erl), a random walk of clients (test/brod_walk.erl), and clients that get damaged
# answers (test/brod_malformed.erl), both on the Kafka in memory. The first access that is wrong ends it with a report.
#   SANITIZE_MINUTES=N   of the walk (1)
#   SANITIZE_ANSWERS=N   that are damaged or not (3000)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh demo
make --no-print-directory build >&2
scripts/build-mock.sh priv

# rustc links no runtime into a library: the one of the C compiler is loaded before everything else, and both speak the same
# version of its interface. Sanitizers are not stable in rustc.
runtime=$(realpath "$(cc -print-file-name=libasan.so)")
[ -f "$runtime" ] || { echo "sanitize: the C compiler has no libasan.so" >&2; exit 1; }
triple=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-$PWD/target}/address
# With a target named, build scripts and macros of the compiler's own are not instrumented. zstd's C is.
env RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address "CFLAGS_${triple//-/_}=-fsanitize=address" \
  cargo build --release --locked --package brod_nif --target "$triple" --target-dir "$target" >&2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -rL _build/default/lib/brod "$work/brod"
cp "$target/$triple/release/libbrod_nif.so" "$work/brod/priv/brod_nif.so"
grep -q __asan_ "$work/brod/priv/brod_nif.so" || { echo "sanitize: the library is not instrumented" >&2; exit 1; }
erlc -o "$work" -pa "$work/brod/ebin" test/brod_nif_misuse_tests.erl test/brod_walk.erl test/brod_malformed.erl

# vm NAME EXPRESSION: what it prints in its last lines. The VM looks after its own stack overflows and signals.
vm() {
  echo "sanitize: $1"
  LD_PRELOAD=$runtime ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:malloc_context_size=20 \
    erl -noshell +Mea min -pa "$work/brod/ebin" -pa "$work" -eval "$2" </dev/null >"$work/out" 2>&1 ||
    { grep -n -A60 AddressSanitizer "$work/out" >&2 || tail -n 60 "$work/out" >&2; echo "sanitize: $1 failed" >&2; exit 1; }
  tail -n 2 "$work/out"
}

export CHAOS_MINUTES=${SANITIZE_MINUTES:-1} MALFORMED_ANSWERS=${SANITIZE_ANSWERS:-3000}
vm 'any call from many processes' 'brod_nif_misuse_tests:storm(), {ok, Maps} = file:read_file("/proc/self/maps"),
  {match, _} = re:run(Maps, "libasan"), init:stop().'
grep -q 'all is well' "$work/out" || { cat "$work/out" >&2; exit 1; }
vm 'a random walk' 'brod_walk:main().'
vm 'damaged answers' 'brod_malformed:main().'
echo 'sanitize: nothing is wrong'
