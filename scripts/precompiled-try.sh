#!/usr/bin/env bash
# Starts the libraries of `make precompiled` where they are to run, as far as one Linux on x86_64 can: each produces to a Kafka in
# memory on this machine and fetches what it has produced.
#   precompiled-try.sh [NAME...]    of: gnu (Debian 11, glibc 2.31), aarch64 (Debian 13 in qemu), musl and musl_aarch64 (an Erlang that
#                                   scripts/erlang-musl.sh builds). Needs root, debootstrap, and for aarch64 mmdebstrap
# PRECOMPILED_DIR (_build/precompiled) is where the archives are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

archives=$(cd "${PRECOMPILED_DIR:-_build/precompiled}" && pwd -P)
version=$(sed -n 's/.*{vsn, "\(.*\)"}.*/\1/p' src/brod.app.src)
chroots=${MATRIX_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/brod-matrix}
work=$(mktemp -d)
trap 'kill ${mock:+"$mock"} 2>/dev/null || true; rm -rf "$work"' EXIT

# unpack TARGET FILE
unpack() { tar -xzOf "$archives/libbrod_nif-v$version-nif-2.16-$1.so.tar.gz" >"$2"; }

# application ROOT TARGET: the application in a chroot, but for its beam files
application() {
  local root=$1 target=$2
  rm -rf "$root/brod"
  mkdir -p "$root/brod/ebin" "$root/brod/priv"
  cp -r src include "$root/brod/"
  cp src/brod.app.src "$root/brod/ebin/brod.app"
  unpack "$target" "$root/brod/priv/brod_nif.so"
}

start_mock() {
  [ -x priv/brod_mock ] || scripts/build-mock.sh priv
  mkfifo "$work/control"
  exec {control}<>"$work/control"
  priv/brod_mock '{"topics": {"tried": 1}}' <"$work/control" >"$work/mock" {control}>&- &
  mock=$!
  until [ -s "$work/mock" ]; do kill -0 "$mock"; sleep 0.1; done
  port=$(head -1 "$work/mock" | sed 's/.*://')
}

# What is run: a message there and back, and the machine's names.
program() {
  cat <<ERLANG
    {ok, _} = application:ensure_all_started(brod),
    At = [{"127.0.0.1", $port}],
    ok = brod:start_client(At, tried),
    ok = brod:start_producer(tried, <<"tried">>, [{compression, zstd}]),
    {ok, Offset} = brod:produce_sync_offset(tried, <<"tried">>, 0, <<"k">>, <<"$1">>),
    {ok, {_, [{kafka_message, Offset, <<"k">>, <<"$1">>, _, _, _} | _]}} = brod:fetch(At, <<"tried">>, 0, Offset),
    io:format("$1: produced and fetched, OTP ~s, ~s~n",
              [erlang:system_info(otp_release), erlang:system_info(system_architecture)]),
    halt().
ERLANG
}

try_gnu() {
  local root
  root=$(scripts/chroot.sh bullseye erlang-base erlang-crypto erlang-ssl)
  application "$root" x86_64-unknown-linux-gnu
  # That Erlang is older than brod's: what it cannot compile is not needed here.
  chroot "$root" bash -c 'cd /brod && { erlc -I include -o ebin src/*.erl >/dev/null 2>&1 || true; }
    erl -noshell -pa ebin -eval "$1"' bash "$(program gnu)"
}

# Programs for aarch64 run as any others from now on.
start_qemu() {
  command -v update-binfmts >/dev/null || apt-get install -y -qq binfmt-support qemu-user-static >&2
  mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
  [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64
}

try_aarch64() {
  local root=$chroots/trixie-arm64
  start_qemu
  # Its packages are only unpacked: nothing of them has to run for that.
  if [ ! -e "$root/usr/bin/erl" ]; then
    rm -rf "$root"
    mmdebstrap --quiet --arch=arm64 --variant=extract \
      --include=erlang-base,erlang-crypto,erlang-ssl,libc-bin,bash,dash,coreutils,sed trixie "$root"
    cp "$(command -v qemu-aarch64-static)" "$root/usr/bin/"
  fi
  application "$root" aarch64-unknown-linux-gnu
  erlc -I include -o "$root/brod/ebin" src/*.erl >/dev/null
  # Without +JMsingle the code that the VM has made is not seen by qemu.
  chroot "$root" env HOME=/root LANG=C.UTF-8 erl +S 1 +JMsingle true -noshell -pa /brod/ebin -eval "$(program aarch64)"
}

# musl ARCH: in an Erlang that is built for it
musl() {
  local root
  root=$(scripts/erlang-musl.sh "$1")
  application "$root" "$1-unknown-linux-musl"
  erlc -I include -o "$root/brod/ebin" src/*.erl >/dev/null
  # What `erl` would do, which is not built.
  env -i HOME=/root LANG=C.UTF-8 BINDIR=/erts ROOTDIR=/erlang EMU=beam PROGNAME=erl "$(command -v chroot)" "$root" /erts/beam.smp -S 1 \
    -- -root /erlang -bindir /erts -progname erl -- -home /root -- -noshell -pa /brod/ebin -eval "$(program "musl on $1")" </dev/null
}

try_musl() { musl x86_64; }

try_musl_aarch64() {
  start_qemu
  musl aarch64
}

start_mock
[ $# -gt 0 ] || set -- gnu aarch64 musl musl_aarch64
for name in "$@"; do "try_$name"; done
