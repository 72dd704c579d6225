#!/usr/bin/env bash
# Builds the Kafka in memory and installs it as PRIV_DIR/brod_mock. Only tests need it.
#   build-mock.sh PRIV_DIR
#   BROD_MOCK_BUILD=tests    the one that the tests of all crates have been built with, instead of a release of its own
set -euo pipefail

mkdir -p "${1:?usage: build-mock.sh PRIV_DIR}"
priv=$(cd "$1" && pwd -P)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
if [ "${BROD_MOCK_BUILD:-release}" = tests ]; then
  profile=debug
  cargo test --workspace --no-run --quiet --locked --target-dir "$target" >&2
else
  profile=release
  cargo build --release --locked --package brod_mock --target-dir "$target" >&2
fi
install -m 755 "$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}$profile/brod_mock" "$priv/brod_mock.$$"
mv -f "$priv/brod_mock.$$" "$priv/brod_mock"
