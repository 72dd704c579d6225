#!/usr/bin/env bash
# Builds librdkafka's own benchmark program from the sources inside the rdkafka-sys crate, once, into a
# cache outside the checkout, and prints its path. Beside it, as librdkafka_txn, bench/peer/txn.c.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
version=$(sed -n 's/^rdkafka-sys.*"=\([0-9.]*\)".*/\1/p' "$root/bench/peer/Cargo.toml")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/brod-bench
program=$cache/rdkafka_performance-$version-zstd-ssl
txn=$cache/librdkafka_txn

if [ ! -x "$program" ] || [ ! -x "$txn" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  echo "bench: building rdkafka_performance $version" >&2
  (cd "$root/bench/peer" && cargo vendor --locked --versioned-dirs "$work/vendor" >/dev/null 2>"$work/log") ||
    { cat "$work/log" >&2; exit 1; }
  # Copied out of the vendor tree: cargo keeps check sums of that one.
  cp -r "$work/vendor/rdkafka-sys-$version"*/librdkafka "$work/src"
  (
    cd "$work/src"
    bash configure --disable-gssapi --disable-curl --enable-static --CFLAGS=-O2
    make -j2 -C src librdkafka.a
    make -C examples rdkafka_performance
    cp "$root/bench/peer/txn.c" examples/
    make -C examples -f - txn <<'MAKE'
include Makefile
txn: ../src/librdkafka.a txn.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -I../src txn.c -o $@ $(LDFLAGS) ../src/librdkafka.a $(LIBS)
MAKE
  ) >"$work/log" 2>&1 </dev/null || { tail -n 30 "$work/log" >&2; exit 1; }
  mkdir -p "$cache"
  mv "$work/src/examples/rdkafka_performance" "$program"
  mv "$work/src/examples/txn" "$txn"
fi
echo "$program"
