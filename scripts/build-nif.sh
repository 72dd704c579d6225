#!/usr/bin/env bash
# Builds the engine's cdylib with cargo and installs it as PRIV_DIR/brod_nif.so.
#   build-nif.sh PRIV_DIR
# make, rebar3 and mix all come here, so that there is one way to build it. CARGO_TARGET_DIR is honoured;
# without it cargo works in this tree, or beside PRIV_DIR where the tree is read-only.
# Where BROD_PRECOMPILED names a folder or a URL, the library is taken from there if it can be; BROD_BUILD=1 never does.
set -euo pipefail

mkdir -p "${1:?usage: build-nif.sh PRIV_DIR}"
priv=$(cd "$1" && pwd -P)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

if [ -n "${BROD_PRECOMPILED:-}" ] && [ -z "${BROD_BUILD:-}" ]; then
  if escript "$root/scripts/precompiled.escript" "$BROD_PRECOMPILED" "$priv"; then
    exit 0
  fi
  echo "brod: so cargo builds it (BROD_BUILD=1 does at once)" >&2
fi

no_cargo() {
  echo "brod: $1; the engine is written in Rust and needs it to build: install Rust 1.85 or newer, or let" \
    "BROD_PRECOMPILED name a built library (docs/guides/installing.md)" >&2
  exit 1
}
command -v cargo >/dev/null || no_cargo "cargo is not on the PATH"
# An older one would stop at the form of the lock file, with words that do not say what is missing.
cargo=$(cargo --version)
if [[ $cargo =~ ^cargo\ ([0-9]+)\.([0-9]+) ]] && ((BASH_REMATCH[1] == 1 && BASH_REMATCH[2] < 85)); then
  no_cargo "$cargo is too old"
fi

if [ -n "${CARGO_TARGET_DIR:-}" ]; then
  target=$CARGO_TARGET_DIR
elif [ -w "$root" ]; then
  target=$root/target
else
  target=$(dirname "$priv")/.cargo-target
fi
mkdir -p "$target"
target=$(cd "$target" && pwd -P)

rustflags=()
case "$(uname -s)" in
  Darwin)
    built=libbrod_nif.dylib
    # The VM supplies the enif_* symbols when it loads the library.
    rustflags=(--config 'build.rustflags=["-C","link-arg=-undefined","-C","link-arg=dynamic_lookup"]')
    ;;
  *) built=libbrod_nif.so ;;
esac

cd "$root"
cargo build --release --locked --package brod_nif --target-dir "$target" ${rustflags[@]+"${rustflags[@]}"} >&2

# What a debugger needs goes into a file beside the library, which it finds by itself: seven eighths of the size.
strip_to() {
  case "$(uname -s)" in Darwin) ;; *)
    if command -v objcopy >/dev/null &&
      objcopy --only-keep-debug "$1" "$priv/brod_nif.debug.$$" && objcopy --strip-unneeded "$1" "$2"; then
      mv -f "$priv/brod_nif.debug.$$" "$priv/brod_nif.debug"
      (cd "$priv" && objcopy --add-gnu-debuglink=brod_nif.debug "$2")
      return
    fi
    rm -f "$priv/brod_nif.debug.$$"
    ;;
  esac
  cp "$1" "$2"
}

# erlang:load_nif/2 looks for .so on macOS too. A file that a running VM has mapped must not be written to:
# a rename leaves the old one alone, and an unchanged one keeps its time stamp.
from=$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release/$built
to=$priv/brod_nif.so
if [ ! -e "$to" ] || [ "$from" -nt "$to" ] || [ -e "$priv/brod_nif.precompiled" ]; then
  tmp=$(mktemp "$priv/.brod_nif.XXXXXX")
  strip_to "$from" "$tmp"
  chmod 755 "$tmp"
  mv -f "$tmp" "$to"
  rm -f "$priv/brod_nif.precompiled"
fi
