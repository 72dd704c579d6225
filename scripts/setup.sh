#!/usr/bin/env bash
# Installs, on Debian and its relatives, what is missing of what building, testing and benchmarking need.
# Does nothing where everything is there. cargo and a JDK are expected: any recent ones do.
#   setup.sh [bench]   with what librdkafka needs, which `make bench` builds
set -euo pipefail

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
need openssl openssl
need elixir elixir
need rebar3 rebar3
need kcat kcat
if command -v erl >/dev/null; then
  need_app common_test erlang-common-test
  need_app crypto erlang-crypto
  need_app dialyzer erlang-dialyzer
  need_app eunit erlang-eunit
  need_app ssl erlang-ssl
  need_app tools erlang-tools
  [ -e "$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().')/usr/include/erl_nif.h" ] ||
    missing+=(erlang-dev)
else
  missing+=(erlang-base erlang-common-test erlang-crypto erlang-dev erlang-dialyzer erlang-eunit
            erlang-ssl erlang-tools)
fi
need mvn maven
command -v java >/dev/null || missing+=(default-jre-headless)

if [ "${1:-}" = bench ]; then
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
