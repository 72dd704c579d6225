#!/usr/bin/env bash
# Feeds every decoder with inputs that libFuzzer makes up as it sees which paths they take (fuzz/): record batches,
# codecs, message sets, frames, responses of every version, SASL. What fails is kept in fuzz/failures/TARGET.
#   fuzz.sh [TARGET...]       all without
#   FUZZ_SECONDS=N            for each target, instead of 60
#   FUZZ_SANITIZER=address    with AddressSanitizer as well, slower
#   FUZZ_SEEDS=1              seeds/TARGET.tar.gz is written anew afterwards: of all that was found, and what fuzz/seeds.rs has
#                             written to seeds/TARGET, as few and small ones as take the same paths
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"

scripts=../scripts
"$scripts/setup.sh" demo
command -v c++ >/dev/null || { echo "fuzz: libFuzzer is built with a C++ compiler: install g++" >&2; exit 1; }

target=${CARGO_TARGET_DIR:-$PWD/../target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares)
if [ -n "${FUZZ_SANITIZER:-}" ]; then
  # Sanitizers are not stable in rustc.
  export RUSTC_BOOTSTRAP=1
  coverage+=("-Zsanitizer=$FUZZ_SANITIZER")
  target+=-$FUZZ_SANITIZER
fi
# With a target named, build scripts and macros of the compiler's own are not instrumented.
RUSTFLAGS="${coverage[*]}" cargo build --release --locked --bins --target "$triple" --target-dir "$target" >&2

names=("$@")
[ $# -gt 0 ] || names=(targets/*.rs)
inputs=0
failed=()
for name in "${names[@]}"; do
  name=$(basename "$name" .rs)
  corpus=$target/corpus/$name
  mkdir -p "$corpus" "failures/$name"
  [ ! -e "seeds/$name.tar.gz" ] || tar -xzf "seeds/$name.tar.gz" -C "$corpus"
  log=$target/$name.log
  if ! "$target/$triple/release/$name" "$corpus" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 \
    -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 -artifact_prefix="failures/$name/" >"$log" 2>&1; then
    failed+=("$name")
    tail -n 40 "$log" >&2
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  covered=$(grep -oE 'cov: [0-9]+' "$log" | tail -1 | cut -d' ' -f2)
  printf 'fuzz: %-14s %12s inputs, %6s edges\n' "$name" "${runs:-?}" "${covered:-?}"
  inputs=$((inputs + ${runs:-0}))
done
if [ -n "${FUZZ_SEEDS:-}" ]; then
  least=$(mktemp -d)
  trap 'rm -rf "$least"' EXIT
  for name in "${names[@]}"; do
    name=$(basename "$name" .rs)
    mkdir -p "$least/$name" "seeds/$name"
    "$target/$triple/release/$name" -merge=1 -max_len=4096 "$least/$name" "seeds/$name" "$target/corpus/$name" \
      >"$target/$name.log" 2>&1 || { tail -n 40 "$target/$name.log" >&2; exit 1; }
    # The same bytes for the same seeds.
    tar -C "$least/$name" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c . | gzip -9n >"seeds/$name.tar.gz"
  done
fi
find failures seeds -type d -empty -delete 2>/dev/null || true
echo "fuzz: $inputs inputs in all, failed: ${failed[*]:-none}"
[ ${#failed[@]} -eq 0 ]
