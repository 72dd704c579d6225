#!/usr/bin/env bash
# Tries brod on the Erlang of another Debian release, in a chroot of it: compiles without warnings, EUnit with the library
# built here, the documentation chunks; and, where BROD_BOOTSTRAP is set, the suites that need nothing but a Kafka.
#   matrix.sh [RELEASE...]   trixie (OTP 27) without arguments; needs root and debootstrap
# The chroots stay in MATRIX_DIR, and are made once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=${MATRIX_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/brod-matrix}
suites=${MATRIX_SUITES:-brod_contract,brod_message_contract,brod_group_contract}

command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap
[ -n "${MATRIX_KEEP_NIF:-}" ] || scripts/build-nif.sh priv
[ $# -gt 0 ] || set -- trixie
for release in "$@"; do
  root=$dir/$release
  if [ ! -e "$root/ready" ]; then
    rm -rf "$root"
    mkdir -p "$dir"
    debootstrap --variant=minbase "$release" "$root" >&2
    DEBIAN_FRONTEND=noninteractive chroot "$root" sh -c 'apt-get update -qq && apt-get install -y -qq \
      --no-install-recommends erlang-base erlang-dev erlang-eunit erlang-common-test erlang-edoc erlang-ssl rebar3' >&2
    touch "$root/ready"
  fi
  mkdir -p "$root/brod"
  rm -rf "$root/brod"/*
  git ls-files -z src include test scripts kafka_protocol rebar.config rebar.config.script rebar.lock | tar --null -cT - | tar -xC "$root/brod"
  # The library is not built there: no Rust is needed.
  mkdir "$root/brod/priv"
  cp priv/brod_nif.so "$root/brod/priv/"
  printf '#!/bin/sh\n' >"$root/brod/scripts/build-nif.sh"
  chroot "$root" env -i HOME=/root LANG=C.UTF-8 PATH="$PATH" REBAR_OFFLINE=1 BROD_BOOTSTRAP="${BROD_BOOTSTRAP:-}" \
    SUITES="$suites" bash -euc '
      cd /brod
      echo "== OTP $(erl -noshell -eval "io:put_chars(erlang:system_info(otp_release)), halt().")"
      rebar3 as lint compile
      rebar3 eunit
      test -s _build/lint/lib/brod/doc/chunks/brod.chunk
      [ -z "$BROD_BOOTSTRAP" ] || rebar3 ct --readable=compact --suite "$(sed "s/\w\+/test\/&_SUITE/g" <<<"$SUITES")"
      echo "== passed"'
done
