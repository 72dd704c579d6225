#!/usr/bin/env bash
# Builds the engine's library for the machines that brod runs on, packed and named as scripts/precompiled.escript looks for
# it, and writes checksum-brod_nif.exs. Names what could not be built, and then fails.
#   precompiled.sh [TARGET...]
# PRECOMPILED_DIR (_build/precompiled) is where the archives go. The C compiler and linker for all targets is zig, from
# PyPI; it also chooses the glibc that a library needs at least (GLIBC, 2.17). Libraries for macOS are linked without
# Apple's SDK, whose frameworks are looked up when they are loaded; they have been started nowhere here.
# Nobody waits for these builds, so all is optimized as one, and for size where no message comes (the profile in Cargo.toml, ADR 46).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${PRECOMPILED_DIR:-_build/precompiled}
glibc=${GLIBC:-2.17}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/brod-tools/zigbuild
version=$(sed -n 's/.*{vsn, "\(.*\)"}.*/\1/p' src/brod.app.src)
target_dir=${CARGO_TARGET_DIR:-target}/precompiled
sysroot=$(rustc --print sysroot)

# LLVM's objcopy, which comes with Rust and knows the formats of all targets.
llvm_objcopy() {
  LD_LIBRARY_PATH=$sysroot/lib "$sysroot/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-objcopy" "$@"
}

if [ ! -e "$tools/ready" ]; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" install -q ziglang==0.17.1 cargo-zigbuild==0.24.1 >&2
  touch "$tools/ready"
fi
export PATH=$tools/bin:$PATH
# Panics name files of crates: not with the folder where they lie here.
crates=''
for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do crates+=" --remap-path-prefix=$folder="; done
mkdir -p "$out"
out=$(cd "$out" && pwd -P)

[ $# -gt 0 ] || set -- {x86_64,aarch64}-unknown-linux-{gnu,musl} {x86_64,aarch64}-apple-darwin

# build TARGET: the archive, or why there is none
build() {
  local target=$1 library=libbrod_nif-v$version-nif-2.16-$1.so log=$out/$1.log flags='' as=$1 built=libbrod_nif.so
  case "$target" in
    *-gnu) as=$target.$glibc ;;
    *-musl) flags='-C target-feature=-crt-static' ;;
    *-darwin) flags='-C link-arg=-undefined -C link-arg=dynamic_lookup' built=libbrod_nif.dylib ;;
  esac
  if command -v rustup >/dev/null && ! rustup target add "$target" >"$log" 2>&1; then
    echo "Rust's standard library for it cannot be had"
    return 1
  fi
  if ! RUSTFLAGS="${RUSTFLAGS:-}$crates $flags" cargo zigbuild --profile precompiled --locked --package brod_nif \
    --target "$as" --target-dir "$target_dir" >>"$log" 2>&1; then
    echo "cargo: $(grep -m1 -E '^(error|  = note: .*(error|unable))' "$log"), see $log"
    return 1
  fi
  if ! llvm_objcopy --strip-unneeded "$target_dir/$target/precompiled/$built" "$out/$library" >>"$log" 2>&1; then
    echo "strip: $(tail -1 "$log")"
    return 1
  fi
  # The same sources make the same archive.
  tar -C "$out" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=755 -c "$library" |
    gzip -n9 >"$out/$library.tar.gz"
  rm "$out/$library" "$log"
}

failed=()
for target in "$@"; do
  if why=$(build "$target"); then
    echo "$target: $(stat -c %s "$out/libbrod_nif-v$version-nif-2.16-$target.so.tar.gz") bytes"
  else
    echo "$target: not built: $why"
    failed+=("$target")
  fi
done

{
  echo '%{'
  (cd "$out" && for archive in libbrod_nif-v"$version"-*.tar.gz; do
    [ ! -e "$archive" ] || printf '  "%s" => "sha256:%s",\n' "$archive" "$(sha256sum "$archive" | cut -d' ' -f1)"
  done)
  echo '}'
} >"$out/checksum-brod_nif.exs"
cp "$out/checksum-brod_nif.exs" checksum-brod_nif.exs

if [ ${#failed[@]} -gt 0 ]; then
  echo "precompiled: not built: ${failed[*]}" >&2
  exit 1
fi
