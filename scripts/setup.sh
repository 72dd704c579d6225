#!/usr/bin/env bash
# Installs, on Debian and its relatives, what is missing of what building, testing and benchmarking need.
# Does nothing where everything is there. cargo is expected: any recent one does.
#   setup.sh demo      only what building and the demo on the Kafka in memory need: no JDK, no Maven
#   setup.sh [bench]   all else, and with `bench` what librdkafka needs, which `make bench` builds
set -euo pipefail

for_what=${1:-tests}
say() { echo "setup: $*" >&2; }

missing=()
need() { command -v "$1" >/dev/null || missing+=("${@:2}"); }

# An Erlang application may be absent although erl is there: Debian packs them one by one.
need_app() {
  erl -noshell -eval "halt(case code:lib_dir($1) of {error, _} -> 1; _ -> 0 end)." || missing+=("$2")
}

need make make
need cc gcc libc6-dev
need pkg-config pkg-config
need elixir elixir
need rebar3 rebar3
tests_need=(common_test dialyzer eunit tools)
[ "$for_what" != demo ] || tests_need=()
if command -v erl >/dev/null; then
  need_app crypto erlang-crypto
  need_app ssl erlang-ssl
  for app in ${tests_need[@]+"${tests_need[@]}"}; do need_app "$app" "erlang-${app//_/-}"; done
  [ -e "$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().')/usr/include/erl_nif.h" ] ||
    missing+=(erlang-dev)
else
  missing+=(erlang-base erlang-crypto erlang-dev erlang-ssl)
  for app in ${tests_need[@]+"${tests_need[@]}"}; do missing+=("erlang-${app//_/-}"); done
fi
if [ "$for_what" != demo ]; then
  need openssl openssl
  need kcat kcat
  need mvn maven
  need java default-jre-headless
fi

if [ "$for_what" = bench ]; then
  pkg-config --exists zlib 2>/dev/null || missing+=(zlib1g-dev)
  pkg-config --exists libzstd 2>/dev/null || missing+=(libzstd-dev)
  pkg-config --exists libssl 2>/dev/null || missing+=(libssl-dev)
fi

if [ ${#missing[@]} -gt 0 ]; then
  say "missing: ${missing[*]}"
  if ! command -v apt-get >/dev/null; then
    say "no apt-get here: install these with your own package manager, then try again"
    exit 1
  fi
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { say "run this as root, or install sudo"; exit 1; }
    as_root=(sudo)
  fi
  export DEBIAN_FRONTEND=noninteractive
  ${as_root[@]+"${as_root[@]}"} apt-get update -qq </dev/null >&2
  ${as_root[@]+"${as_root[@]}"} apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2
fi

if ! command -v cargo >/dev/null; then
  say "cargo is missing: install Rust 1.85 or newer (Debian's own is too old), then try again"
  exit 1
fi
say "everything is there"
