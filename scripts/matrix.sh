#!/usr/bin/env bash
# Tries brod on the Erlang of another Debian release, in a chroot of it: compiles without warnings, EUnit with the library
# built here, the documentation chunks; and, where BROD_BOOTSTRAP is set, the suites that need nothing but a Kafka.
#   matrix.sh [RELEASE...]   trixie (OTP 27) without arguments; needs root and debootstrap (scripts/chroot.sh)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
suites=${MATRIX_SUITES:-brod_contract,brod_message_contract,brod_group_contract}

[ -n "${MATRIX_KEEP_NIF:-}" ] || scripts/build-nif.sh priv
[ $# -gt 0 ] || set -- trixie
for release in "$@"; do
  root=$(scripts/chroot.sh "$release" erlang-base erlang-dev erlang-eunit erlang-common-test erlang-edoc erlang-ssl rebar3)
  mkdir -p "$root/brod"
  rm -rf "$root/brod"/*
  git ls-files -z src include test scripts docs kafka_protocol rebar.config rebar.config.script rebar.lock | tar --null -cT - | tar -xC "$root/brod"
  # The library is not built there: no Rust is needed. Tests call the script, too, for folders of their own.
  mkdir "$root/brod/priv"
  cp priv/brod_nif.so "$root/brod/priv/"
  sed -i '2i [ "$1" != priv ] || exit 0' "$root/brod/scripts/build-nif.sh"
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
